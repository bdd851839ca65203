//! Authentication-Results: fields that others wrote (`tests/trust/authres`), and octets that nobody should.

use crate::trust_zone::file;
use facteur::mail::proof::raw::RawField;
use facteur::mail::proof::results::{FIELD, MethodResult, is_of, read, write};
use proptest::prelude::*;
use std::time::{Duration, Instant};

fn fields() -> Vec<(String, String)> {
    let text = file("authres/headers.txt");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            assert_eq!(name, FIELD);
            (line.to_owned(), value.to_owned())
        })
        .collect()
}

#[test]
fn fields_of_others() {
    let fields = fields();
    assert_eq!(fields.len(), 34);
    for (line, value) in &fields {
        let results = read(value.as_bytes()).unwrap_or_else(|why| panic!("{line}: {why}"));
        let field = RawField { name: FIELD.as_bytes(), whole: line.as_bytes() };
        assert!(is_of(&field, &results.authserv_id.to_uppercase()), "{line}");
        assert!(!is_of(&field, "mx.test"), "{line}");
        let is_none = value.trim_start().split(';').nth(1).unwrap().trim().starts_with("none");
        let expected = if is_none { 0 } else { value.matches(';').count() };
        assert_eq!(results.entries.len(), expected, "{line}");
        // What is written of it says the same again.
        let written = write(&results.authserv_id, &results.entries);
        let (_, value) = written.split_once(':').unwrap();
        assert_eq!(read(value.as_bytes()).unwrap(), results, "{line}");
        assert!(written.lines().all(|line| line.len() < 78), "{written}");
    }
}

#[test]
fn what_they_say() {
    let fields = fields();
    let entry = |at: usize, nth: usize| read(fields[at].1.as_bytes()).unwrap().entries.remove(nth);
    let dkim = entry(8, 1);
    assert_eq!((dkim.method.as_str(), dkim.result.as_str()), ("dkim", "fail"));
    assert_eq!(dkim.property("header.i"), Some("@example.com"));
    assert_eq!(entry(10, 1).reason.as_deref(), Some("bad signature"));
    assert_eq!(entry(17, 0).property("policy.dmarc"), Some("none"));
    assert_eq!(entry(21, 0).property("smtp.remote-ip"), Some("203.0.113.1"));
    assert_eq!(entry(22, 0).property("policy.iprev"), Some("2001:748:100:40::2:2"));
    assert_eq!(entry(23, 0).property("policy.iprev"), Some("2001:748:100:40::2:2"));
    assert_eq!(entry(31, 0).property("version"), Some("TLSv1.2"));
}

#[test]
fn deep_and_long() {
    let start = Instant::now();
    for value in [
        "(".repeat(1_000_000),
        format!("{}{} mx.test; none", "(".repeat(300_000), ")".repeat(300_000)),
        "\"".repeat(1_000_000),
        "\\".repeat(1_000_000),
        "(a) ".repeat(300_000),
        format!("mx.test{}", "; spf=pass (x) smtp.mailfrom=\"a\"".repeat(30_000)),
        format!("mx.test; spf=pass {}", "a.b=c ".repeat(100_000)),
        "x".repeat(1_000_000),
        "\u{fc}.".repeat(300_000),
    ] {
        let _ = read(value.as_bytes());
        let whole = format!("{FIELD}:{value}");
        is_of(&RawField { name: FIELD.as_bytes(), whole: whole.as_bytes() }, "m\u{fc}x.test");
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

proptest! {
    #[test]
    fn nothing_panics(value in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = read(&value);
        let whole = [b"Authentication-Results:", &value[..]].concat();
        is_of(&RawField { name: b"Authentication-Results", whole: &whole }, "mx.test");
    }

    #[test]
    fn what_is_read_has_a_name_that_is_found(value in "[a-c .;\"\\\\()/=1\n\t]{0,30}") {
        if let Ok(results) = read(value.as_bytes()) {
            let whole = format!("{FIELD}:{value}");
            let field = RawField { name: FIELD.as_bytes(), whole: whole.as_bytes() };
            let token = results.authserv_id.bytes().all(|one| one.is_ascii_alphanumeric() || one == b'.');
            prop_assert!(!token || is_of(&field, &results.authserv_id), "{:?}", results);
        }
    }

    #[test]
    fn any_entry_is_one_field(
        reason in "\\PC{0,300}",
        value in any::<String>(),
        id in "[a-z.]{1,20}",
    ) {
        let entry = MethodResult::new("spf", "pass", &reason).with("smtp.mailfrom", Some(&value));
        let written = write(&id, &[entry]);
        prop_assert!(written.ends_with('\n'));
        prop_assert!(written.trim_end_matches('\n').split('\n').skip(1).all(|line| line.starts_with(' ')));
        let (_, text) = written.split_once(':').unwrap();
        let results = read(text.as_bytes()).unwrap();
        prop_assert_eq!(results.authserv_id, id);
        prop_assert_eq!(results.entries.len(), 1);
        prop_assert_eq!(results.entries[0].properties.len(), 1);
    }
}
