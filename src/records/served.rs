//! The MTA-STS policies of our domains as other hosts get them (RFC 8461 §3.3), each beside the MX hosts that it has to
//! name. Asked for only where the record says that there is one.

use super::{RecordPurpose, RecordRow, RecordState, mta_sts_place};
use crate::mail::address::Domain;
use crate::mail::mta_sts::{StsMode, StsPolicy};
use crate::mta_sts::fetch;
use crate::net::dns::Resolver;
use crate::smtp::tls_failure::TlsFailure;
use std::sync::Arc;

/// What a web server gives in place of a policy. The words are printable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServedPolicy {
    Policy(StsPolicy),
    /// Nothing that counts as an answer.
    NoAnswer(String),
    /// An answer that is no policy, or of a server that is not the domain's.
    Bad(String),
}

impl ServedPolicy {
    /// What the web server of a domain gives other hosts at this moment.
    pub fn fetch(domain: &Domain, resolver: &Arc<dyn Resolver>) -> ServedPolicy {
        match fetch(domain, resolver) {
            Ok(policy) => ServedPolicy::Policy(policy),
            Err(fault) if fault.failure == TlsFailure::PolicyFetch => {
                ServedPolicy::NoAnswer(fault.words)
            }
            Err(fault) => ServedPolicy::Bad(fault.words),
        }
    }
}

/// Fetches the policy of a domain, as other hosts do.
pub type FetchPolicy<'a> = dyn FnMut(&Domain) -> ServedPolicy + 'a;

/// The rows, of which those of a record that tells of a policy also say what the web server gives: a record whose policy
/// serves nobody is not ok.
pub fn with_served(mut rows: Vec<RecordRow>, fetch: &mut FetchPolicy<'_>) -> Vec<RecordRow> {
    for at in 0..rows.len() {
        if rows[at].purpose == RecordPurpose::MtaSts && rows[at].state == RecordState::Ok {
            let found = fetch(&rows[at].owner);
            let (state, mark) = judged(&rows[at], &rows, found);
            (rows[at].state, rows[at].mark) = (state, mark.or(rows[at].mark.take()));
        }
    }
    rows
}

fn judged(
    record: &RecordRow,
    rows: &[RecordRow],
    found: ServedPolicy,
) -> (RecordState, Option<String>) {
    let is_mx = |row: &&RecordRow| row.purpose == RecordPurpose::Mx && row.owner == record.owner;
    let there = rows.iter().find(is_mx).into_iter().flat_map(|row| &row.have);
    let mut hosts = there.filter_map(|mx| mx.split(' ').nth(1));
    let place = mta_sts_place(&record.owner);
    match found {
        ServedPolicy::NoAnswer(why) => {
            (RecordState::Ok, Some(format!("whether its policy serves is unknown: {why}")))
        }
        ServedPolicy::Bad(why) => (RecordState::Differs, Some(why)),
        ServedPolicy::Policy(policy) if policy.mode == StsMode::None => {
            (RecordState::Ok, Some(format!("{place} asks for nothing (mode: none)")))
        }
        ServedPolicy::Policy(policy) => match hosts.find(|host| !policy.fits(host)) {
            Some(host) => {
                let why = format!("{place} does not name {host}, which is an MX of the domain");
                (RecordState::Differs, Some(why))
            }
            None => (RecordState::Ok, None),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(purpose: RecordPurpose, state: RecordState, have: &[&str]) -> RecordRow {
        RecordRow {
            purpose,
            state,
            kind: "TXT",
            name: "x".to_owned(),
            want: String::new(),
            have: have.iter().map(|text| (*text).to_owned()).collect(),
            mark: None,
            owner: Domain::parse("a.test").unwrap(),
            is_needed: false,
        }
    }

    /// The state of a policy, and what is said of it.
    fn said(fetched: ServedPolicy) -> (RecordState, String) {
        let mx = row(RecordPurpose::Mx, RecordState::Ok, &["10 mx.a.test", "20 mx2.a.test"]);
        let rows = vec![mx, row(RecordPurpose::MtaSts, RecordState::Ok, &["v=STSv1; id=1;"])];
        let all = with_served(rows, &mut |domain| {
            assert_eq!(domain.as_str(), "a.test");
            fetched.clone()
        });
        assert_eq!(all.len(), 2);
        (all[1].state, all[1].mark.clone().unwrap_or_default())
    }

    #[test]
    fn a_policy_has_to_name_all_hosts() {
        let policy =
            |mode: &str, mx: &str| format!("version: STSv1\nmode: {mode}\n{mx}max_age: 86400\n");
        let both = "mx: mx.a.test\nmx: mx2.a.test\n";
        for (text, state, words) in [
            (policy("enforce", both), RecordState::Ok, ""),
            (policy("testing", "mx: *.a.test\n"), RecordState::Ok, ""),
            (
                policy("enforce", "mx: mx.a.test\n"),
                RecordState::Differs,
                "does not name mx2.a.test",
            ),
            (policy("none", "mx: b.test\n"), RecordState::Ok, "asks for nothing"),
        ] {
            let policy = StsPolicy::parse(text.as_bytes()).unwrap();
            let (found, mark) = said(ServedPolicy::Policy(policy));
            assert!(
                found == state && mark.contains(words) && mark.is_empty() == words.is_empty(),
                "{text} {found} {mark}"
            );
        }
        let why = || "why".to_owned();
        let unknown = "whether its policy serves is unknown: why".to_owned();
        assert_eq!(said(ServedPolicy::NoAnswer(why())), (RecordState::Ok, unknown));
        assert_eq!(said(ServedPolicy::Bad(why())), (RecordState::Differs, why()));
    }

    #[test]
    fn without_a_record_nobody_is_asked() {
        for state in [RecordState::Missing, RecordState::Differs, RecordState::Unknown] {
            let rows = vec![row(RecordPurpose::MtaSts, state, &[])];
            let all = with_served(rows.clone(), &mut |_| panic!("it was asked"));
            assert_eq!(all, rows);
        }
    }
}
