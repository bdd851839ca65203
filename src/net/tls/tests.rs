//! Flaws of certificates, and the words for errors of TLS.

use super::*;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use std::time::{Duration, SystemTime};

/// A certificate for these names that ends in 2030, and its key, in PEM.
fn pair(names: &[&str]) -> (String, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(2030, 1, 1);
    params.not_after = date_time_ymd(2030, 12, 31);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn acceptor(names: &[&str]) -> Acceptor {
    let (certificate, key) = pair(names);
    Acceptor::new(certificate.as_bytes(), key.as_bytes()).unwrap()
}

fn moment(text: &str) -> SystemTime {
    let since = text.parse::<jiff::Timestamp>().unwrap().as_second();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since as u64)
}

#[test]
fn a_certificate_is_good_from_its_first_second_to_its_last() {
    let acceptor = acceptor(&["mx.test"]);
    let (since, until) = (moment("2030-01-01T00:00:00Z"), moment("2030-12-31T00:00:00Z"));
    assert_eq!(acceptor.expires(), Some(until));
    let second = Duration::from_secs(1);
    for (now, flaws) in [
        (since - second, vec![Flaw::NotYetValid(1, since)]),
        (since, vec![]),
        (until, vec![]),
        (until + second, vec![Flaw::Expired(1, until)]),
    ] {
        assert_eq!(acceptor.flaws("mx.test", now), flaws);
    }
}

#[test]
fn names() {
    let now = moment("2030-06-01T00:00:00Z");
    let acceptor = acceptor(&["mx.test", "*.wild.test", "192.0.2.1"]);
    for (name, is_for) in [
        ("mx.test", true),
        ("a.wild.test", true),
        ("wild.test", false),
        ("a.b.wild.test", false),
        ("other.test", false),
        ("localhost", false),
    ] {
        let flaws = acceptor.flaws(name, now);
        assert_eq!(flaws.is_empty(), is_for, "{name}: {flaws:?}");
        assert!(!flaws.iter().any(Flaw::is_fatal));
    }
}

#[test]
fn a_pair_has_two_halves_that_fit() {
    let (mine, other) = (pair(&["mx.test"]), pair(&["mx.test"]));
    for (certificate, key, half) in [
        (&mine.0, &other.1, Half::Key),
        (&mine.0, &mine.0, Half::Key),
        (&mine.1, &mine.1, Half::Certificate),
        (&String::new(), &mine.1, Half::Certificate),
    ] {
        let bad = Acceptor::new(certificate.as_bytes(), key.as_bytes()).unwrap_err();
        assert_eq!(bad.half, half, "{}", bad.what);
    }
    // One file with both, in any order.
    let both = mine.1.clone() + &mine.0;
    assert!(Acceptor::new(both.as_bytes(), both.as_bytes()).is_ok());
}

#[test]
fn how_a_connection_is_protected_is_one_word() {
    let suite = suite_name(CipherSuite::TLS13_AES_256_GCM_SHA384);
    let group = Some(group_name(NamedGroup::X25519MLKEM768));
    let mut protection =
        Protection { version: "TLSv1.3", suite, group, proof: Some(PeerProof::Nothing) };
    let told = "TLSv1.3:TLS_AES_256_GCM_SHA384:X25519MLKEM768";
    assert_eq!(protection.to_string(), format!("{told}:unverified"));
    protection.proof = None;
    assert_eq!(protection.to_string(), told);
    protection.group = None;
    assert_eq!(protection.to_string(), "TLSv1.3:TLS_AES_256_GCM_SHA384");
    let old = suite_name(CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256);
    assert_eq!(old, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256");
    assert_eq!(suite_name(CipherSuite::Unknown(0x1f2)), "0x01F2");
    assert_eq!(group_name(NamedGroup::Unknown(0x1f2)), "0x01F2");
}
