//! Flaws of certificates, and the words for errors of TLS.

use super::*;
use crate::limits::DAY;
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
        (until - DAY * 21 - second, vec![]),
        (until - DAY * 21, vec![Flaw::EndsSoon(1, until, 21)]),
        (until - DAY - second, vec![Flaw::EndsSoon(1, until, 1)]),
        (until - second, vec![Flaw::EndsSoon(1, until, 0)]),
        (until, vec![Flaw::EndsSoon(1, until, 0)]),
        (until + second, vec![Flaw::Expired(1, until)]),
    ] {
        assert_eq!(acceptor.flaws("mx.test", now), flaws);
    }
}

#[test]
fn what_ends_soon_works_still_and_is_told_with_its_place() {
    let (own, key) = pair(&["mx.test"]);
    let chain = format!("{own}{}", pair(&["authority.test"]).0);
    let acceptor = Acceptor::new(chain.as_bytes(), key.as_bytes()).unwrap();
    for (now, words) in [
        ("2030-12-10T00:00:00Z", "ends in 21 days, on 2030-12-31T00:00:00Z: renew it"),
        ("2030-12-29T12:00:00Z", "ends in 1 day, on 2030-12-31T00:00:00Z: renew it"),
        ("2030-12-30T12:00:00Z", "ends within a day, on 2030-12-31T00:00:00Z: renew it"),
    ] {
        let flaws = acceptor.flaws("mx.test", moment(now));
        assert!(flaws.iter().all(|flaw| flaw.is_of_time() && !flaw.is_fatal()), "{flaws:?}");
        let told: Vec<String> = flaws.iter().map(ToString::to_string).collect();
        let of_second = format!("the one at place 2 of the file {words}");
        assert_eq!(told, [words.to_owned(), of_second]);
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
    let mut protection = Protection {
        version: "TLSv1.3",
        suite,
        group,
        proof: Some(PeerProof::Nothing),
        flaw: None,
    };
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
