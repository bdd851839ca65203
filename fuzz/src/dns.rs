//! The octets of an answer about `far.test`: whatever a server or a forger sends, what is believed of it
//! is bounded and has the form of names.

use facteur::limits::{DNS_NAME_MAX, DNS_RECORDS_MAX, LABEL_MAX, QUOTED_MAX};
use facteur::mail::address::Domain;
use facteur::net::dns::{DnsFault, Mx, addresses_in, mx_in};

pub fn run(data: &[u8]) {
    let name = "far.test";
    let domain = Domain::parse(name).unwrap();
    match mx_in(data, &domain) {
        Ok(Some(Mx::Hosts(hosts))) => {
            assert!((1..=DNS_RECORDS_MAX).contains(&hosts.len()), "{} hosts", hosts.len());
            assert!(hosts.is_sorted_by_key(|mx| mx.preference), "{hosts:?}");
            hosts.iter().for_each(|mx| check_host(&mx.host));
        }
        Ok(Some(Mx::Null | Mx::None | Mx::NoDomain) | None) => {}
        Err(fault) => check_fault(&fault),
    }
    for v6 in [false, true] {
        match addresses_in(data, name, v6) {
            Ok(Some(addresses)) => {
                assert!(addresses.len() <= DNS_RECORDS_MAX, "{} addresses", addresses.len());
                assert!(addresses.iter().all(|address| address.is_ipv6() == v6), "{addresses:?}");
            }
            Ok(None) => {}
            Err(fault) => check_fault(&fault),
        }
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
