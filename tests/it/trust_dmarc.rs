//! DMARC against the table of RFC 9989 (`tests/trust/dmarc`), and what the table leaves out.

use crate::trust_zone::{Zone, json, name};
use facteur::mail::proof::QueryType;
use facteur::mail::proof::dmarc::{
    Authors, DmarcFinding, DmarcMethod, DmarcResult, Evidence, Identifier, Policy, authors, judge,
};
use facteur::mail::proof::name::Name;
use serde_json::{Value, json};

fn names(list: &Value) -> Vec<Name> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|text| name(text.as_str().unwrap()).unwrap()).collect()
}

fn evidence(spf: Vec<Name>, dkim: Vec<Name>) -> Evidence {
    let of = |method| move |domain| Identifier { method, domain };
    let spf = spf.into_iter().map(of(DmarcMethod::Spf));
    Evidence {
        passed: spf.chain(dkim.into_iter().map(of(DmarcMethod::Dkim))).collect(),
        unknown: Vec::new(),
    }
}

fn one(domain: &str) -> Result<Authors, facteur::mail::proof::dmarc::NoAuthors> {
    Ok(Authors { domains: vec![name(domain).unwrap()], fields: 1 })
}

#[test]
fn rfc9989() {
    let cases = json("dmarc/rfc9989-cases.json");
    assert_eq!(cases.len(), 62);
    let mut others = Vec::new();
    for case in cases {
        let mut zone = Zone::of_objects(&case["zone"]);
        let evidence = evidence(names(&case["spf"]), names(&case["dkim"]));
        let found = judge(&mut zone, &one(case["from"].as_str().unwrap()), &evidence);
        let same = |key: &str, found: Option<String>| match &case[key] {
            Value::Null => true,
            wanted => wanted.as_str() == found.as_deref(),
        };
        let asked: Vec<String> = zone
            .asked
            .iter()
            .filter(|(_, kind)| *kind == QueryType::Txt)
            .map(|(name, _)| name.to_string())
            .collect();
        let queries: Vec<String> = names(&case["queries"]).iter().map(Name::to_string).collect();
        // What is asked after the walk of the author's domain is about what passed.
        let good = same("result", Some(found.result.to_string()))
            && same("policy", found.policy.map(|policy| policy.to_string()))
            && same("org", found.organization.as_ref().map(Name::to_string))
            && same("record", found.record.as_ref().map(Name::to_string))
            && asked.starts_with(&queries);
        if !good {
            others.push(format!("{case}\n  {found:?}\n  {asked:?}"));
        }
    }
    assert!(others.is_empty(), "{}", others.join("\n"));
}

/// No more than the walk, and what has to be asked about identifiers below the organization.
#[test]
fn what_others_signed_costs_nothing() {
    let zone = json!({"_dmarc.example.com": {"TXT": ["v=DMARC1; p=reject"]}});
    let mut zone = Zone::of_objects(&zone);
    let passed = ["example.net", "com", "b.example.net", "a.b.net"].map(|text| name(text).unwrap());
    let found = judge(&mut zone, &one("a.example.com"), &evidence(vec![], passed.to_vec()));
    assert_eq!(found.result, DmarcResult::Fail);
    let asked: Vec<String> = zone.asked.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(asked, ["_dmarc.a.example.com", "_dmarc.example.com", "_dmarc.com"]);
}

fn three(from: &[&[u8]], spf: &[&str]) -> DmarcFinding {
    let zone = json!({
        "_dmarc.quarantine.test": {"TXT": ["v=DMARC1; p=quarantine"]},
        "_dmarc.reject.test": {"TXT": ["v=DMARC1; p=reject"]},
        "_dmarc.none.test": {"TXT": ["v=DMARC1; p=none"]},
        "_dmarc.broken.test": "FAIL",
    });
    let spf = spf.iter().map(|text| name(text).unwrap()).collect();
    judge(&mut Zone::of_objects(&zone), &authors(from), &evidence(spf, vec![]))
}

#[test]
fn of_several_authors_the_strictest_policy_that_fails_holds() {
    type Case<'a> = (&'a [&'a [u8]], &'a [&'a str], DmarcResult, Option<Policy>);
    let cases: [Case<'_>; 15] = [
        (&[b"a@none.test, b@quarantine.test"], &[], DmarcResult::Fail, Some(Policy::Quarantine)),
        (&[b"a@none.test", b"b@reject.test"], &[], DmarcResult::Fail, Some(Policy::Reject)),
        (
            &[b"a@quarantine.test, b@reject.test"],
            &["reject.test"],
            DmarcResult::Fail,
            Some(Policy::Quarantine),
        ),
        (
            &[b"a@quarantine.test, b@reject.test"],
            &["quarantine.test"],
            DmarcResult::Fail,
            Some(Policy::Reject),
        ),
        (&[b"a@unknown.test, b@reject.test"], &["reject.test"], DmarcResult::None, None),
        (&[b"a@broken.test, b@reject.test"], &["reject.test"], DmarcResult::TempError, None),
        (&[b"a@broken.test, b@reject.test"], &[], DmarcResult::Fail, Some(Policy::Reject)),
        (&[b"a@broken.test, b@none.test"], &[], DmarcResult::TempError, None),
        (
            &[b"a@reject.test, b@reject.test"],
            &["reject.test"],
            DmarcResult::Pass,
            Some(Policy::Reject),
        ),
        (
            &[b"a@none.test, b@reject.test"],
            &["reject.test", "none.test"],
            DmarcResult::Pass,
            Some(Policy::Reject),
        ),
        // A second From field is never proved.
        (
            &[b"a@reject.test", b"b@reject.test"],
            &["reject.test"],
            DmarcResult::PermError,
            Some(Policy::Reject),
        ),
        (&[], &["reject.test"], DmarcResult::Fail, Some(Policy::Quarantine)),
        (&[b"a:;"], &["reject.test"], DmarcResult::Fail, Some(Policy::Quarantine)),
        (&[b"a <a@reject.test"], &["reject.test"], DmarcResult::Fail, Some(Policy::Quarantine)),
        (
            &[b"a@a.test, a@b.test, a@c.test, a@d.test, a@e.test"],
            &[],
            DmarcResult::Fail,
            Some(Policy::Quarantine),
        ),
    ];
    for (from, spf, result, policy) in cases {
        let found = three(from, spf);
        let shown: Vec<_> = from.iter().map(|field| field.escape_ascii().to_string()).collect();
        assert_eq!((found.result, found.policy), (result, policy), "{shown:?} {spf:?} {found:?}");
    }
}

#[test]
fn what_is_not_known_of_an_identifier_in_line_is_no_failure() {
    let zone = json!({"_dmarc.example.com": {"TXT": ["v=DMARC1; p=reject"]}});
    for (domain, result) in [
        ("example.com", DmarcResult::TempError),
        ("mail.example.com", DmarcResult::TempError),
        ("example.net", DmarcResult::Fail),
    ] {
        let mut evidence = Evidence::default();
        evidence.dkim_unknown(name(domain).unwrap());
        let found = judge(&mut Zone::of_objects(&zone), &one("example.com"), &evidence);
        assert_eq!(found.result, result, "{found:?}");
        evidence.dkim_passed(name("a.example.com").unwrap());
        let found = judge(&mut Zone::of_objects(&zone), &one("example.com"), &evidence);
        assert_eq!(found.result, DmarcResult::Pass, "{found:?}");
    }
}

/// Whether the author's domain exists is asked for only where it matters; no answer to that is no failure.
#[test]
fn existence() {
    let zone = |policies: &str, more: Value| {
        let mut zone = json!({"_dmarc.example.com": {"TXT": [format!("v=DMARC1; {policies}")]}});
        zone["a.example.com"] = more;
        Zone::of_objects(&zone)
    };
    let cases = [
        ("p=reject; np=none", json!("FAIL"), DmarcResult::TempError, Policy::None, 1),
        ("p=none; np=reject", json!({"A": ["192.0.2.1"]}), DmarcResult::Fail, Policy::None, 1),
        ("p=none; np=reject", json!({}), DmarcResult::Fail, Policy::None, 1),
        ("p=none; sp=reject; np=reject", json!("FAIL"), DmarcResult::Fail, Policy::Reject, 0),
        ("p=none; sp=quarantine; np=none; t=y", json!("FAIL"), DmarcResult::Fail, Policy::None, 0),
    ];
    for (policies, more, result, policy, questions) in cases {
        let mut zone = zone(policies, more);
        let found = judge(&mut zone, &one("a.example.com"), &Evidence::default());
        assert_eq!((found.result, found.policy), (result, Some(policy)), "{policies}: {found:?}");
        let asked = zone.asked.iter().filter(|(_, kind)| *kind == QueryType::A).count();
        assert_eq!(asked, questions, "{policies}");
    }
}

/// Each question that fails in its turn: never a failure that an answer would have changed.
#[test]
fn an_asker_that_fails_at_any_moment() {
    use facteur::mail::proof::{Ask, QueryAnswer};
    struct But<'a>(&'a mut Zone, usize);
    impl Ask for But<'_> {
        fn ask(&mut self, name: &Name, kind: QueryType) -> QueryAnswer {
            let answer = self.0.ask(name, kind);
            let failed = QueryAnswer::Failed("no answer".to_owned());
            if self.0.asked.len() == self.1 { failed } else { answer }
        }
    }
    let zone = Zone::of_objects(&json!({
        "_dmarc.example.com": {"TXT": ["v=DMARC1; p=reject"]},
        "_dmarc.b.example.com": {"TXT": ["v=DMARC1; p=reject; psd=n"]},
    }));
    let evidence = evidence(vec![], vec![name("b.example.com").unwrap()]);
    let mut whole = zone.clone();
    assert_eq!(judge(&mut whole, &one("example.com"), &evidence).result, DmarcResult::Fail);
    for turn in 1..=whole.asked.len() {
        let mut zone = zone.clone();
        let found = judge(&mut But(&mut zone, turn), &one("example.com"), &evidence);
        assert_eq!(found.result, DmarcResult::TempError, "{turn}: {found:?}");
        assert!(found.reason.ends_with("no answer"), "{found:?}");
    }
}
