//! Reports as text and as mail, and what is counted for them.

use super::counts::{DomainCounts, ReadLine, TlsCounts, TlsSession};
use super::letter::ReportLetter;
use super::*;
use crate::limits::reports::{TALLY_DETAILS_MAX, TALLY_POLICIES_MAX, TALLY_ROOM};
use jiff::ZonedDateTime;
use serde_json::{Value, json};

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

fn sts() -> AppliedPolicy {
    let lines = ["version: STSv1", "mode: enforce", "mx: *.far.test", "max_age: 86400"];
    AppliedPolicy::new(PolicyKind::Sts, "far.test", &lines, &["*.far.test"])
}

fn none(name: &str) -> AppliedPolicy {
    AppliedPolicy::new(PolicyKind::NoPolicyFound, name, &[""; 0], &[""; 0])
}

fn session(policy: AppliedPolicy, failed: Option<FailedTls>) -> TlsSession {
    TlsSession { domain: domain("far.test"), policy, failed }
}

fn expired() -> FailedTls {
    FailedTls::new("certificate-expired")
        .at("mx.far.test", Some("::ffff:192.0.2.1".parse().unwrap()))
        .from(Some("2001:db8::1".parse().unwrap()))
        .called(Some("mail.far.test"))
        .because("expired on \u{1b}[1m2026-01-01")
}

fn day() -> Date {
    "2026-11-30".parse().unwrap()
}

fn counted() -> TlsCounts {
    let mut counts = TlsCounts::default();
    counts.add(&session(sts(), None), 7);
    counts.add(&session(sts(), Some(expired())), 2);
    counts.add(&session(sts(), Some(FailedTls::new("sts-policy-fetch-error"))), 3);
    counts.add(&session(none("far.test"), None), 1);
    counts.leave_out(4);
    counts
}

fn with_report<T>(counts: &DomainCounts, look: impl FnOnce(&TlsReport<'_>) -> T) -> T {
    let (far, mx) = (domain("far.test"), domain("mx.home.test"));
    let contact = Mailbox::parse("tls@home.test").unwrap();
    look(&TlsReport { domain: &far, day: day(), part: 1, contact: &contact, hostname: &mx, counts })
}

fn of_far(counts: &TlsCounts) -> DomainCounts {
    counts.domains().next().unwrap().1.clone()
}

#[test]
fn a_report_is_as_the_rfc_has_it() {
    let written = with_report(&of_far(&counted()), |report| report.write());
    let number = written.id.strip_prefix("2026-11-30.").unwrap();
    let number = number.strip_suffix("@mx.home.test").unwrap();
    assert!(number.len() == 12 && number.bytes().all(|octet| octet.is_ascii_hexdigit()));
    assert_eq!(written.file, format!("home.test!far.test!1795996800!1796083199!{number}.json.gz"));
    let json: Value = serde_json::from_str(&written.json).unwrap();
    assert_eq!(
        json,
        json!({
            "organization-name": "home.test",
            "date-range": {
                "start-datetime": "2026-11-30T00:00:00Z",
                "end-datetime": "2026-11-30T23:59:59Z",
            },
            "contact-info": "tls@home.test",
            "report-id": written.id,
            "policies": [
                {
                    "policy": {
                        "policy-type": "sts",
                        "policy-string": [
                            "version: STSv1", "mode: enforce", "mx: *.far.test", "max_age: 86400",
                        ],
                        "policy-domain": "far.test",
                        "mx-host": ["*.far.test"],
                    },
                    "summary": {
                        "total-successful-session-count": 7,
                        "total-failure-session-count": 5,
                    },
                    "failure-details": [
                        { "result-type": "sts-policy-fetch-error", "failed-session-count": 3 },
                        {
                            "result-type": "certificate-expired",
                            "sending-mta-ip": "2001:db8::1",
                            "receiving-mx-hostname": "mx.far.test",
                            "receiving-mx-helo": "mail.far.test",
                            "receiving-ip": "192.0.2.1",
                            "failed-session-count": 2,
                            "failure-reason-code": "expired on \\x1b[1m2026-01-01",
                        },
                    ],
                },
                {
                    "policy": { "policy-type": "no-policy-found", "policy-domain": "far.test" },
                    "summary": {
                        "total-successful-session-count": 1,
                        "total-failure-session-count": 0,
                    },
                    "failure-details": [],
                },
            ],
        })
    );
}

#[test]
fn the_same_counts_have_the_same_id() {
    let counts = of_far(&counted());
    let first = with_report(&counts, |report| report.write());
    assert_eq!(first, with_report(&counts, |report| report.write()));
    let other = with_report(&counts, |report| TlsReport { part: 2, ..report.clone() }.write());
    assert_ne!(first.id, other.id);
    let mut more = counted();
    more.add(&session(sts(), None), 1);
    assert_ne!(first.id, with_report(&of_far(&more), |report| report.write()).id);
}

#[test]
fn lines_say_the_same_again() {
    let counts = counted();
    let mut read = TlsCounts::default();
    for line in counts.lines().lines() {
        assert_eq!(read.read(line.as_bytes()), ReadLine::Counted, "{line}");
    }
    assert_eq!(read, counts);
    assert_eq!((read.left_out(), of_far(&read).totals()), (4, (8, 5)));
    // Twice as many: a line says how many more.
    counts.lines().lines().for_each(|line| assert_ne!(read.read(line.as_bytes()), ReadLine::Bad));
    assert_eq!((read.left_out(), of_far(&read).totals()), (8, (16, 10)));
    assert_eq!(read.lines().len(), counts.lines().len() + 1);
}

#[test]
fn a_torn_line_is_none() {
    let whole = counted().lines();
    let whole = whole.lines().next_back().unwrap();
    for end in 0..whole.len() {
        let mut counts = TlsCounts::default();
        assert_eq!(counts.read(&whole.as_bytes()[..end]), ReadLine::Bad, "{end}");
        assert!(counts.is_empty());
    }
    for bad in [
        "{\"count\":-1}",
        "{\"count\":1,\"domain\":\"far.test\"}",
        "{\"count\":1,\"domain\":\"a b\",\"policy\":{\"policy-type\":\"sts\",\"policy-domain\":\"x\"}}",
        "{\"count\":1,\"domain\":\"a.test\",\"policy\":{\"policy-type\":\"x\",\"policy-domain\":\"x\"}}",
    ] {
        assert_eq!(TlsCounts::default().read(bad.as_bytes()), ReadLine::Bad, "{bad}");
    }
}

#[test]
fn what_finds_no_room_is_counted() {
    let mut counts = TlsCounts::default();
    for at in 0..2 * TALLY_DETAILS_MAX {
        let failed = FailedTls::new("validation-failure").at(&format!("mx{at}.far.test"), None);
        counts.add(&session(sts(), Some(failed)), 1);
    }
    let far = of_far(&counts);
    assert_eq!(
        (far.totals().1, far.details_max()),
        (2 * TALLY_DETAILS_MAX as u64, TALLY_DETAILS_MAX + 1)
    );
    // What is counted by its result alone takes no room, however many there are.
    for at in 0..TALLY_ROOM / 100 {
        let words = format!("454 4.7.0 no TLS at this moment ({at})");
        let failed = FailedTls::new("validation-failure").because(&words);
        counts.add(&session(sts(), Some(failed)), 1);
    }
    assert_eq!(counts.left_out(), 0);
    for at in 0..2 * TALLY_POLICIES_MAX {
        counts.add(&session(none(&format!("h{at}.far.test")), None), 1);
    }
    assert_eq!(counts.left_out(), TALLY_POLICIES_MAX as u64 + 1);
    let lines = vec!["x".repeat(10_000); 1_000];
    let policy = AppliedPolicy::new(PolicyKind::Sts, "x", &lines, &lines);
    let (before, mut many) = (counts.left_out(), 0);
    while counts.left_out() < before + 10 {
        let domain = domain(&format!("d{many}.test"));
        counts.add(&TlsSession { domain, policy: policy.clone(), failed: None }, 1);
        many += 1;
        assert!(many < TALLY_ROOM / 10_000, "there is no bound");
    }
    assert!(counts.lines().len() < 2 * TALLY_ROOM);
}

#[test]
fn texts_of_peers_are_cut_where_a_character_ends() {
    assert_eq!(kept(&"\u{e4}".repeat(10_000)).chars().count(), TALLY_STRING_MAX / 2);
    assert_eq!(kept(&format!("a{}", "\u{e4}".repeat(10_000))).len(), TALLY_STRING_MAX - 1);
    assert_eq!(kept(&"x".repeat(TALLY_STRING_MAX)), "x".repeat(TALLY_STRING_MAX));
    assert_eq!(kept("a\nb"), "a\\x0ab");
}

#[test]
fn a_report_that_is_too_long_loses_details() {
    let mut counts = TlsCounts::default();
    let words = "y".repeat(TALLY_STRING_MAX);
    for policy in 0..TALLY_POLICIES_MAX {
        for at in 0..TALLY_DETAILS_MAX {
            let host = format!("{at}.{words}");
            let failed = FailedTls::new("validation-failure").at(&host, None).because(&host);
            let failed = failed.called(Some(&host));
            counts.add(&session(none(&format!("h{policy}.far.test")), Some(failed)), 1);
        }
    }
    let far = of_far(&counts);
    let written = with_report(&far, |report| report.write());
    let is_long = with_report(&far, |report| report.text(usize::MAX)).json.len() > REPORT_MAX;
    assert_eq!((written.is_cut, is_long), (is_long, is_long));
    assert!(
        written.json.len() <= REPORT_MAX && serde_json::from_str::<Value>(&written.json).is_ok()
    );
}

#[test]
fn a_letter_is_as_the_rfc_has_it() {
    let counts = of_far(&counted());
    let date = "2026-12-01T00:17:00+00:00[UTC]".parse::<ZonedDateTime>().unwrap();
    let to = Mailbox::parse("reports@far.test").unwrap();
    let packed: Vec<u8> = (0..=255).collect();
    let (letter, id) = with_report(&counts, |report| {
        let written = report.write();
        let letter = ReportLetter {
            report,
            written: &written,
            packed: &packed,
            to: &to,
            id: "m1",
            random: 7,
            date: &date,
        };
        assert!(!letter.is_utf8());
        (letter.write(), written.id.clone())
    });
    assert!(
        letter.starts_with(&format!(
            "From: <tls@home.test>\nTo: <reports@far.test>\nSubject: Report Domain: far.test\n\
         \tSubmitter: home.test\n\tReport-ID: <{id}>\nDate: Tue, 01 Dec 2026 00:17:00 +0000\n\
         Message-ID: <m1@mx.home.test>\nAuto-Submitted: auto-generated\nTLS-Required: No\n\
         TLS-Report-Domain: far.test\nTLS-Report-Submitter: home.test\nMIME-Version: 1.0\n\
         Content-Type: multipart/report; report-type=\"tlsrpt\";\n\
         \tboundary=\"=_m1_0000000000000007\"\n\n--=_m1_0000000000000007\n"
        )),
        "{letter}"
    );
    assert!(letter.contains("made 13 connections for mail to far.test.\n"), "{letter}");
    assert!(letter.contains("on 8 of them, and failed on 5.\n"), "{letter}");
    assert!(letter.contains("\nContent-Type: application/tlsrpt+gzip\n"), "{letter}");
    assert!(letter.ends_with("\n\n--=_m1_0000000000000007--\n"), "{letter}");
    assert!(letter.lines().all(|line| line.len() < 200), "{letter}");
    let (_, body) = letter.split_once(".json.gz\"\n\n").unwrap();
    let (body, _) = body.split_once("\n\n").unwrap();
    use base64ct::{Base64, Encoding};
    assert_eq!(Base64::decode_vec(&body.replace('\n', "")).unwrap(), packed);
}

#[test]
fn days_are_those_of_utc() {
    let (begin, end) = bounds(day());
    assert_eq!(
        (begin.to_string(), end.to_string()),
        ("2026-11-30T00:00:00Z".into(), "2026-11-30T23:59:59Z".into())
    );
    assert_eq!(
        (day_of(begin), day_of(end), before(day())),
        (day(), day(), "2026-11-29".parse().unwrap())
    );
}
