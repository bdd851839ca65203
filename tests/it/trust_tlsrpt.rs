//! Reports on TLS (RFC 8460): ours have the names and the kinds of values of reports that others wrote
//! (`tests/trust/tlsrpt`), and of the RFC.

use crate::support::text;
use facteur::mail::address::{Domain, Mailbox};
use facteur::mail::tls_report::counts::{TlsCounts, TlsSession};
use facteur::mail::tls_report::letter::ReportLetter;
use facteur::mail::tls_report::{AppliedPolicy, FailedTls, PolicyKind, TlsReport};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Each name of a report, by its way from the top, with the kinds of its values.
type Shape = BTreeMap<String, BTreeSet<&'static str>>;

/// What RFC 8460 §4.4 has and no sample shows, or shows otherwise.
const OF_THE_RFC: [(&str, &str); 2] =
    [("policies/failure-details/receiving-mx-helo", "text"), ("policies/policy/mx-host", "list")];

fn shape(value: &Value, way: &str, found: &mut Shape) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "truth",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    };
    found.entry(way.to_owned()).or_default().insert(kind);
    match value {
        Value::Array(all) => all.iter().for_each(|one| shape(one, way, found)),
        Value::Object(all) => {
            for (name, one) in all {
                let way = if way.is_empty() { name.clone() } else { format!("{way}/{name}") };
                shape(one, &way, found);
            }
        }
        _ => {}
    }
}

fn samples() -> Vec<(String, Value)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trust/tlsrpt");
    let files = crate::support::files(&dir).into_iter();
    let json = files.filter(|path| path.extension().is_some_and(|end| end == "json"));
    let read = |path: std::path::PathBuf| {
        let octets = std::fs::read(&path).unwrap();
        (path.display().to_string(), serde_json::from_slice(&octets).unwrap())
    };
    json.map(read).collect()
}

/// What a report can say.
fn counts() -> TlsCounts {
    let domain = Domain::parse("company-y.example").unwrap();
    let lines =
        ["version: STSv1", "mode: testing", "mx: *.mail.company-y.example", "max_age: 86400"];
    let sts =
        AppliedPolicy::new(PolicyKind::Sts, domain.as_str(), &lines, &["*.mail.company-y.example"]);
    let none = AppliedPolicy::new(PolicyKind::NoPolicyFound, domain.as_str(), &[""; 0], &[""; 0]);
    let failed = FailedTls::new("starttls-not-supported")
        .at("mx2.mail.company-y.example", Some("203.0.113.56".parse().unwrap()))
        .from(Some("2001:db8:abcd:13::1".parse().unwrap()))
        .called(Some("mx2.mail.company-y.example"))
        .because("it offers no STARTTLS");
    let mut counts = TlsCounts::default();
    for (policy, failed, count) in [(&sts, None, 5326), (&sts, Some(failed), 200), (&none, None, 1)]
    {
        let policy = policy.clone();
        counts.add(&TlsSession { domain: domain.clone(), policy, failed }, count);
    }
    counts
}

/// A report of ours with all of it.
fn ours() -> Value {
    let counts = counts();
    let (domain, counts) = counts.domains().next().unwrap();
    let contact = Mailbox::parse("sts-reporting@company-x.example").unwrap();
    let hostname = Domain::parse("mx.company-x.example").unwrap();
    let day = "2016-04-01".parse().unwrap();
    let report = TlsReport { domain, day, part: 1, contact: &contact, hostname: &hostname, counts };
    serde_json::from_str(&report.write().json).unwrap()
}

#[test]
fn ours_say_what_others_say() {
    let samples = samples();
    assert_eq!(samples.len(), 6);
    let (mut theirs, mut own) = (Shape::new(), Shape::new());
    samples.iter().for_each(|(_, sample)| shape(sample, "", &mut theirs));
    for (way, kind) in OF_THE_RFC {
        theirs.entry(way.to_owned()).or_default().insert(kind);
    }
    shape(&ours(), "", &mut own);
    for (way, kinds) in &own {
        let known = theirs.get(way).unwrap_or_else(|| panic!("nobody has {way}"));
        assert!(kinds.is_subset(known), "{way}: {kinds:?}, elsewhere {known:?}");
    }
    // What all of them say is in ours.
    let needed = samples.iter().map(|(_, sample)| {
        let mut found = Shape::new();
        shape(sample, "", &mut found);
        found.into_keys().collect::<BTreeSet<_>>()
    });
    let needed = needed.reduce(|all, one| all.intersection(&one).cloned().collect()).unwrap();
    assert!(needed.len() > 10, "{needed:?}");
    assert!(needed.iter().all(|way| own.contains_key(way)), "{needed:?}");
}

#[test]
fn the_example_of_the_rfc_comes_out_again() {
    let (_, sample) =
        samples().into_iter().find(|(name, _)| name.contains("mail-auth-rpt01")).unwrap();
    let own = ours();
    for name in ["organization-name", "date-range", "contact-info"] {
        // The RFC names the company, we the domain.
        let is_same = own[name] == sample[name];
        assert!(is_same || name == "organization-name", "{name}: {} {}", own[name], sample[name]);
    }
    assert_eq!(own["policies"][0]["policy"], sample["policies"][0]["policy"]);
    let (own, sample) =
        (&own["policies"][0]["failure-details"][0], &sample["policies"][0]["failure-details"][1]);
    for name in ["result-type", "receiving-mx-hostname", "receiving-ip", "failed-session-count"] {
        assert_eq!(own[name], sample[name], "{name}");
    }
    // RFC 5952 §4.1: no leading zeros.
    assert_eq!(own["sending-mta-ip"], "2001:db8:abcd:13::1");
    assert_eq!(sample["sending-mta-ip"], "2001:db8:abcd:0013::1");
}

/// The names of the fields of a message, in lower case.
fn fields(message: &str) -> BTreeSet<String> {
    let (header, _) = message.split_once("\n\n").unwrap();
    let begun = header.lines().filter(|line| !line.starts_with([' ', '\t']));
    begun.map(|line| line.split_once(':').unwrap().0.to_ascii_lowercase()).collect()
}

#[test]
fn our_letter_has_the_fields_of_all_letters() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trust/tlsrpt");
    let files = crate::support::files(&dir).into_iter();
    let letters: Vec<BTreeSet<String>> = files
        .filter(|path| path.extension().is_some_and(|end| end == "eml"))
        .map(|path| fields(&text(&std::fs::read(path).unwrap()).replace("\r\n", "\n")))
        .collect();
    assert_eq!(letters.len(), 3);
    let counts = counts();
    let (domain, counts) = counts.domains().next().unwrap();
    let contact = Mailbox::parse("sts-reporting@company-x.example").unwrap();
    let hostname = Domain::parse("mx.company-x.example").unwrap();
    let day = "2016-04-01".parse().unwrap();
    let report = TlsReport { domain, day, part: 1, contact: &contact, hostname: &hostname, counts };
    let letter = ReportLetter {
        report: &report,
        written: &report.write(),
        packed: b"x",
        to: &contact,
        id: "m1",
        random: 1,
        date: &"2016-04-02T00:10:00+00:00[UTC]".parse().unwrap(),
    };
    let own = fields(&letter.write());
    let all = letters.into_iter().reduce(|all, one| &all & &one).unwrap();
    assert!(all.contains("tls-report-submitter"), "{all:?}");
    assert!(all.is_subset(&own), "{all:?} {own:?}");
}
