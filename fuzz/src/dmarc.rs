//! A From field in the first line, records of DMARC in the others: authors that a host could have, an end
//! within the bounds, and a pass only for what is in line.

use facteur::limits::trust::{AUTHORS_MAX, WALK_QUESTIONS_MAX};
use facteur::mail::proof::dmarc::{DmarcResult, Evidence, Policy, authors, judge};
use facteur::mail::proof::name::Name;
use facteur::mail::proof::{Ask, QueryAnswer, QueryType, ResourceRecord};

/// Answers that follow from the octets of a name.
struct Lines<'a> {
    records: &'a [&'a [u8]],
    asked: usize,
}

impl Ask for Lines<'_> {
    fn ask(&mut self, name: &Name, kind: QueryType) -> QueryAnswer {
        self.asked += 1;
        let sum: usize = name.as_bytes().iter().map(|octet| usize::from(*octet)).sum();
        match self.records.get(sum % (self.records.len() + 1)) {
            Some(text) if kind == QueryType::Txt => {
                QueryAnswer::Records(vec![ResourceRecord::Txt(text.to_vec())])
            }
            Some(_) => QueryAnswer::NoRecords,
            None if sum.is_multiple_of(5) => QueryAnswer::Failed("no answer".to_owned()),
            None => QueryAnswer::NoName,
        }
    }
}

pub fn run(data: &[u8]) {
    let mut lines = data.split(|&octet| octet == b'\n');
    let field = lines.next().unwrap_or_default();
    let records: Vec<&[u8]> = lines.collect();
    let authors = authors(&[field]);
    let mut evidence = Evidence::default();
    if let Ok(authors) = &authors {
        let domains = &authors.domains;
        assert!((1..=AUTHORS_MAX).contains(&domains.len()) && authors.fields == 1);
        for (at, domain) in domains.iter().enumerate() {
            let in_host = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_.".contains(octet);
            assert!(domain.as_bytes().iter().all(in_host), "{domain}");
            assert!(!domains[..at].contains(domain), "{domain} twice");
            evidence.dkim_passed(domain.parent().unwrap_or_else(|| domain.clone()));
            if let Some(below) = domain.below(b"x") {
                evidence.dkim_passed(below);
            }
        }
    }
    let mut ask = Lines { records: &records, asked: 0 };
    let found = judge(&mut ask, &authors, &evidence);
    // A walk for each name, and whether the author's domain exists.
    let most = AUTHORS_MAX + (AUTHORS_MAX + evidence.passed.len()) * WALK_QUESTIONS_MAX;
    assert!(ask.asked <= most, "{} questions", ask.asked);
    match found.result {
        DmarcResult::Fail if authors.is_err() => assert_eq!(found.policy, Some(Policy::Quarantine)),
        DmarcResult::Fail => assert!(found.policy.is_some() && found.record.is_some(), "{found:?}"),
        DmarcResult::Pass => {
            let (Some(aligned), Some(domain)) = (&found.aligned, &found.domain) else {
                panic!("{found:?}");
            };
            let organization = found.organization.as_ref();
            let within = |name: &Name| organization.is_some_and(|above| name.is_within(above));
            assert!(aligned.domain == *domain || within(&aligned.domain) && within(domain));
        }
        DmarcResult::None | DmarcResult::TempError => {}
        DmarcResult::PermError => panic!("one field: {found:?}"),
    }
    assert!(!found.reason.is_empty() && found.reason.is_ascii(), "{found:?}");
    assert_eq!(judge(&mut Lines { records: &records, asked: 0 }, &authors, &evidence), found);
}
