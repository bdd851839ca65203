//! Certificates against TLSA records: OpenSSL's cases (`tests/trust/dane`), as far as RFC 7672 lets them, and what
//! they leave out.

use crate::trust_zone::file;
use facteur::net::dns::Record;
use facteur::net::tls::{Chain, UsableRecords};
use facteur::smtp::tls_failure::TlsFailure;
use rustls::pki_types::UnixTime;
use std::time::Duration;

/// In 2030, when all certificates of the cases are valid but those that never are.
const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_900_000_000));

fn octets(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn record(line: &str) -> Record {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [usage, selector, matching, data] = fields[..] else { panic!("{line}") };
    let number = |text: &str| text.parse().unwrap();
    let (usage, selector, matching) = (number(usage), number(selector), number(matching));
    Record::Tlsa { usage, selector, matching, data: octets(data) }
}

/// One block of `danetest.in`.
struct OpensslCase<'a> {
    records: Vec<Record>,
    chain: Chain,
    /// X509_V_OK is 0.
    result: u32,
    text: &'a str,
}

fn case(text: &str) -> Option<OpensslCase<'_>> {
    let mut lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let head: Vec<&str> = lines.next()?.split(' ').collect();
    let records = lines.take(head[0].parse().unwrap()).map(record).collect();
    let chain = Chain::read(text.as_bytes()).unwrap();
    Some(OpensslCase { records, chain, result: head[3].parse().unwrap(), text })
}

#[test]
fn openssl_s_chains_are_judged_as_openssl_does_where_rfc_7672_lets_them() {
    let text = file("dane/danetest.in");
    let cases: Vec<OpensslCase<'_>> = text.split("\n\n").filter_map(case).collect();
    assert_eq!(cases.len(), 54);
    let names = ["example.com".to_owned()];
    let (mut unusable, mut held) = (0, 0);
    for OpensslCase { records, chain, result, text } in &cases {
        let is_for_mail = |record: &Record| matches!(record, Record::Tlsa { usage: 2 | 3, .. });
        let Some(usable) = UsableRecords::of(records) else {
            assert!(!records.iter().any(is_for_mail), "{text}");
            unusable += 1;
            continue;
        };
        let found = usable.check(chain, &names, NOW).map_err(|trouble| trouble.failure);
        let expected = match result {
            0 => Ok(()),
            65 => Err(TlsFailure::NotTrusted),
            // Usage 3 looks at no names.
            62 if matches!(records[..], [Record::Tlsa { usage: 3, .. }]) => Ok(()),
            62 => Err(TlsFailure::OtherName),
            other => panic!("{other}"),
        };
        assert_eq!(found, expected, "{text}");
        held += 1;
    }
    assert_eq!((unusable, held), (20, 34));
}
