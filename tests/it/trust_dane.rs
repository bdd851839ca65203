//! Certificates against TLSA records: OpenSSL's cases (`tests/trust/dane`), as far as RFC 7672 lets them, and what
//! they leave out.

use crate::trust_zone::file;
use facteur::net::dns::Record;
use facteur::net::tls::{Chain, UsableRecords};
use facteur::smtp::tls_failure::TlsFailure;
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PublicKeyData,
    date_time_ymd,
};
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

/// A certificate for these names and until this year, its own name being the first; below that authority, or its own.
fn leaf(names: &[&str], common: &str, until: i32, above: &CertifiedIssuer<'_, KeyPair>) -> String {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, common);
    (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(until, 1, 1));
    params.signed_by(&KeyPair::generate().unwrap(), above).unwrap().pem()
}

fn authority(until: i32) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "authority");
    (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(until, 1, 1));
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn ta(selector: u8, matching: u8, data: &[u8]) -> Record {
    Record::Tlsa { usage: 2, selector, matching, data: data.to_vec() }
}

/// Names and dates below a trust anchor (RFC 7672 §3.1.2, §3.2.2, §3.2.3).
#[test]
fn names_and_dates_count_below_a_trust_anchor() {
    let (root, over) = (authority(2090), authority(2010));
    let names = ["mx.far.test".to_owned(), "far.test".to_owned()];
    let whole = ta(0, 0, root.der());
    let key = ta(1, 0, &root.key().subject_public_key_info());
    for (names_of, common, until, expected) in [
        (&["mx.far.test"][..], "x", 2090, Ok(())),
        (&["far.test"], "x", 2090, Ok(())),
        (&["*.far.test"], "x", 2090, Ok(())),
        // No top-level domain has one host.
        (&["*.test"], "x", 2090, Err(TlsFailure::OtherName)),
        (&[], "mx.far.test", 2090, Ok(())),
        (&[], "*.far.test", 2090, Ok(())),
        // The common name counts where it is the only one.
        (&["other.test"], "mx.far.test", 2090, Err(TlsFailure::OtherName)),
        (&["mx.other.test"], "x", 2090, Err(TlsFailure::OtherName)),
        (&[], "mx*.far.test", 2090, Err(TlsFailure::OtherName)),
        (&["mx.far.test"], "x", 2010, Err(TlsFailure::Expired)),
    ] {
        let chain = Chain::read(leaf(names_of, common, until, &root).as_bytes()).unwrap();
        for record in [&whole, &key] {
            let usable = UsableRecords::of(std::slice::from_ref(record)).unwrap();
            let found = usable.check(&chain, &names, NOW).map_err(|trouble| trouble.failure);
            assert_eq!(found, expected, "{names_of:?} {common} {until}");
        }
    }
    // The anchor's own end counts where its certificate is at hand, and its key has none.
    let chain = leaf(&["mx.far.test"], "x", 2090, &over) + &over.pem();
    let chain = Chain::read(chain.as_bytes()).unwrap();
    let key = ta(1, 0, &over.key().subject_public_key_info());
    for (record, expected) in [(ta(0, 0, over.der()), Err(TlsFailure::Expired)), (key, Ok(()))] {
        let usable = UsableRecords::of(&[record]).unwrap();
        let found = usable.check(&chain, &names, NOW).map_err(|trouble| trouble.failure);
        assert_eq!(found, expected);
    }
    // A trust anchor is above the host's own certificate.
    let alone = Chain::read(root.pem().as_bytes()).unwrap();
    assert!(UsableRecords::of(&[whole]).unwrap().check(&alone, &names, NOW).is_err());
}

#[test]
fn what_makes_no_sense_cannot_be_used() {
    let digest = [7; 32];
    let record = |usage, selector, matching, data: &[u8]| Record::Tlsa {
        usage,
        selector,
        matching,
        data: data.to_vec(),
    };
    for bad in [
        record(0, 0, 1, &digest),
        record(1, 1, 1, &digest),
        record(4, 0, 1, &digest),
        record(255, 0, 1, &digest),
        record(3, 2, 1, &digest),
        record(3, 1, 3, &digest),
        record(3, 1, 1, &digest[1..]),
        record(3, 1, 1, &[]),
        record(3, 1, 2, &digest),
        record(3, 1, 0, &digest),
        record(3, 0, 0, &[0x30, 0x00]),
        record(2, 0, 0, &[]),
        Record::Txt(digest.to_vec()),
    ] {
        assert_eq!(UsableRecords::of(std::slice::from_ref(&bad)), None, "{bad:?}");
    }
    assert_eq!(UsableRecords::of(&[]), None);
    assert_eq!(UsableRecords::of(&[record(3, 1, 1, &digest)]).unwrap().count(), 1);
    // RFC 7671 §9: for each usage and selector the strongest digest, and whatever is whole.
    let many = [
        record(3, 1, 1, &digest),
        record(3, 1, 2, &[1; 64]),
        record(3, 0, 1, &digest),
        record(2, 1, 1, &digest),
    ];
    assert_eq!(UsableRecords::of(&many).unwrap().count(), 3);
}

proptest! {
    #[test]
    fn any_octets_are_judged(
        records in prop::collection::vec((2u8..4, 0u8..2, 0u8..3, prop::collection::vec(any::<u8>(), 0..80)), 0..6),
        cut in 0usize..400,
        flip in any::<(u16, u8)>(),
    ) {
        let root = authority(2090);
        let chain = Chain::read((leaf(&["mx.far.test"], "x", 2090, &root) + &root.pem()).as_bytes()).unwrap();
        let mut torn = root.der().to_vec();
        torn.truncate(torn.len() - cut.min(torn.len()));
        if !torn.is_empty() {
            let at = usize::from(flip.0) % torn.len();
            torn[at] ^= flip.1;
        }
        let mut all = vec![ta(0, 0, &torn), ta(1, 0, &torn)];
        all.extend(records.into_iter().map(|(usage, selector, matching, data)| Record::Tlsa {
            usage, selector, matching, data,
        }));
        if let Some(usable) = UsableRecords::of(&all) {
            let found = usable.check(&chain, &["mx.far.test".to_owned()], NOW);
            // Only the whole authority can be above it.
            prop_assert!(found.is_err() || torn == root.der().to_vec() || flip.1 != 0);
        }
    }
}
