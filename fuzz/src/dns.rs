//! The octets of an answer about `far.test`: whatever a server or a forger sends, what is believed of it
//! is bounded and has the form of names.

use facteur::limits::{DNS_NAME_MAX, DNS_RECORDS_MAX, LABEL_MAX, QUOTED_MAX};
use facteur::net::dns::{DnsFault, Record, RecordKind, records_in};

pub fn run(data: &[u8]) {
    use RecordKind::*;
    for kind in [Mx, A, Aaaa, Txt, Ptr, Tlsa] {
        match records_in(data, b"far.test", kind) {
            Ok(Some(records)) => {
                assert!(records.len() <= DNS_RECORDS_MAX, "{} records", records.len());
                records.iter().for_each(|record| check_record(record, kind, data.len()));
            }
            Ok(None) => {}
            Err(fault) => check_fault(&fault),
        }
    }
}

fn check_record(record: &Record, kind: RecordKind, most: usize) {
    match (record, kind) {
        (Record::Mx(mx), RecordKind::Mx) if mx.host.is_empty() => {}
        (Record::Mx(mx), RecordKind::Mx) => check_host(&mx.host),
        (Record::Ptr(host), RecordKind::Ptr) => check_host(host),
        (Record::Address(address), RecordKind::A) => assert!(address.is_ipv4()),
        (Record::Address(address), RecordKind::Aaaa) => assert!(address.is_ipv6()),
        (Record::Txt(octets), RecordKind::Txt) => assert!(octets.len() < most),
        (Record::Tlsa { data, .. }, RecordKind::Tlsa) => assert!(data.len() < most),
        other => panic!("{other:?}"),
    }
}

/// It goes into questions, logs and notices.
fn check_host(host: &str) {
    assert!((1..=DNS_NAME_MAX).contains(&host.len()), "{host:?}");
    for label in host.split('.') {
        let good = |octet: u8| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        assert!((1..=LABEL_MAX).contains(&label.len()) && label.bytes().all(good), "{host:?}");
    }
}

fn check_fault(fault: &DnsFault) {
    let text = fault.to_string();
    assert!(!text.contains(char::is_control) && text.chars().count() <= QUOTED_MAX, "{text:?}");
}
