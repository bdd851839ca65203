//! Signatures of domains: the suites of other verifiers in `tests/trust/dkim`, and what must hold of any
//! message.

use crate::trust_mail::{Mail, NOW, Silent, octets, path};
use crate::trust_zone::{Zone, file, name};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use base64ct::{Base64, Encoding};
use facteur::mail::proof::QueryType;
use facteur::mail::proof::canonical::{BodyForm, BodyHasher, Form};
use facteur::mail::proof::dkim::key::BadKeyRecord;
use facteur::mail::proof::dkim::sign::{self, Signer, SigningKey};
use facteur::mail::proof::dkim::{self, DkimFinding, DkimReason, DkimResult};
use facteur::mail::proof::name::Name;
use facteur::mail::proof::raw::{RawField, RawHeader};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn txt(zone: &mut Zone, owner: &str, record: &str) {
    zone.add(owner, "TXT", &json!(record));
}

fn words(found: &[DkimFinding]) -> Vec<String> {
    found.iter().map(|finding| finding.result.to_string()).collect()
}

/// `NAME: RECORD`, on several lines where `\` ends one.
fn chasquid_zone(text: &str) -> Zone {
    let mut zone = Zone::default();
    for line in text.replace("\\\n", " ").lines().filter(|line| !line.trim().is_empty()) {
        let (owner, record) = line.split_once(':').unwrap();
        match record.trim() {
            "TEMPERROR" => zone.fail(owner),
            "PERMERROR" => {}
            record => txt(&mut zone, owner, record),
        }
    }
    zone
}

#[test]
fn chasquid() {
    let mut cases: Vec<String> = std::fs::read_dir(path("dkim/chasquid"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".msg").map(str::to_owned))
        .collect();
    cases.sort();
    assert_eq!(cases.len(), 11);
    for case in cases {
        let base = format!("dkim/chasquid/{case}");
        let mail = Mail::new(&octets(&format!("{base}.msg")));
        let has = |end: &str| path(&format!("{base}.{end}")).exists();
        let dns = if has("dns") { file(&format!("{base}.dns")) } else { String::new() };
        let found = mail.verified(&mut chasquid_zone(&dns), &[], NOW);
        if !has("result") {
            assert!(found.is_empty(), "{case}: no message, and no signature");
            continue;
        }
        let expected: Value = serde_json::from_str(&file(&format!("{base}.result"))).unwrap();
        let expected = expected["Results"].as_array().unwrap();
        // It reads five fields, which is a bound of its own; here all eight are verified.
        assert!(found.len() == expected.len() || case.starts_with("02-"), "{case}");
        for (found, expected) in found.iter().zip(expected) {
            let agrees = match expected["State"].as_str().unwrap() {
                "SUCCESS" => found.result == DkimResult::Pass,
                "TEMPFAIL" => found.result == DkimResult::TempError,
                "PERMFAIL" => matches!(found.result, DkimResult::PermError | DkimResult::Fail),
                other => panic!("{other}"),
            };
            assert!(agrees, "{case}: {expected} but {found:?}");
            let domain = expected["Domain"].as_str().unwrap();
            let said = found.domain.as_ref().map(Name::to_string).unwrap_or_default();
            assert!(domain == said || domain.is_empty(), "{case}");
        }
    }
}

/// `l=17` of a longer body: it holds, and proves nothing to DMARC.
#[test]
fn a_part_of_the_body() {
    let mail = Mail::new(&octets("dkim/chasquid/09-limited_body.msg"));
    let mut zone = chasquid_zone(&file("dkim/chasquid/09-limited_body.dns"));
    let found = mail.verified(&mut zone, &[], NOW);
    assert!(matches!(found[0].reason, DkimReason::VerifiedPart(..)), "{:?}", found[0]);
    assert_eq!((found[0].result, found[0].proves()), (DkimResult::Pass, None));
    assert_eq!(found[1].proves(), name("football.example.com").as_ref());
}

/// DNS lines, an empty line, the message.
#[test]
fn real_messages() {
    for number in 1..=6 {
        let text = octets(&format!("dkim/mail-auth/{number:03}.txt"));
        let text = String::from_utf8_lossy(&text).into_owned();
        let (dns, message) = text.split_once("\n\n").unwrap();
        let mut zone = Zone::default();
        for line in dns.lines() {
            let (owner, record) = line.split_once(' ').unwrap();
            txt(&mut zone, owner, record.trim());
        }
        let found = Mail::new(message.as_bytes()).verified(&mut zone, &[], 1_667_843_664);
        assert!(!found.is_empty(), "{number}");
        assert!(found.iter().all(|one| one.result == DkimResult::Pass), "{number}: {found:#?}");
    }
}

/// The example of RFC 6376, appendix A, signed with the two keys of RFC 8463, appendix A.
fn football() -> (Mail, Zone) {
    let mut zone = Zone::default();
    txt(&mut zone, "test._domainkey.football.example.com", file("dkim/dkimpy/test.txt").trim());
    let ed25519 = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    txt(&mut zone, "brisbane._domainkey.football.example.com", ed25519);
    (Mail::new(&octets("dkim/dkimpy/rfc6376.signed.msg")), zone)
}

#[test]
fn the_example_of_the_rfc() {
    let (mail, mut zone) = football();
    let found = mail.verified(&mut zone, &[], NOW);
    assert_eq!(words(&found), ["pass", "pass"], "{found:#?}");
    assert_eq!(found[0].reason.to_string(), "256 bits ed25519-sha256");
    assert_eq!(found[1].reason.to_string(), "1024 bits rsa-sha256");
    let football = name("football.example.com");
    assert!(found.iter().all(|one| one.proves() == football.as_ref() && one.identity.is_none()));
    for (from, to) in [
        ("yet?", "yet!"),
        ("Subject: Is", "Subject:  Is"),
        ("From: Joe", "From: <eve@e.test>\nFrom: Joe"),
        ("Date: Fri", "Subject: x\nDate: Fri"),
        ("t=15", "t=25"),
    ] {
        let text = String::from_utf8(mail.text().to_vec()).unwrap();
        let changed = Mail::new(text.replace(from, to).as_bytes());
        let found = changed.verified(&mut zone, &[], NOW);
        assert!(found.iter().all(|one| one.result == DkimResult::Fail), "{to}: {found:#?}");
    }
}

#[test]
fn keys_that_do_not_serve() {
    let (mail, _) = football();
    let owner = "test._domainkey.football.example.com";
    let test = file("dkim/dkimpy/test.txt");
    let found = |records: &[&str]| {
        let mut zone = Zone::default();
        records.iter().for_each(|record| txt(&mut zone, owner, record.trim()));
        mail.verified(&mut zone, &[], NOW).remove(1)
    };
    for (file, bad) in [("badk", "type"), ("badversion", "version"), ("test_tlsrpt", "mail")] {
        let record = crate::trust_zone::file(&format!("dkim/dkimpy/{file}.txt"));
        let one = found(&[&record]);
        assert!(
            matches!(&one.reason, DkimReason::Key(_, why) if why.to_string().contains(bad)),
            "{one:?}"
        );
        assert_eq!(one.result, DkimResult::PermError);
        // A good one at the same name helps.
        assert_eq!(found(&[&record, &test]).result, DkimResult::Pass);
    }
    // Another exponent than the one that signed.
    let bad = file("dkim/dkimpy/test_bad.txt");
    assert_ne!(found(&[&bad]).result, DkimResult::Pass);
    let more = vec![test.replace("k=rsa", "k=dsa"); 3];
    let more: Vec<&str> = more.iter().map(String::as_str).chain([&test[..]]).collect();
    assert_eq!(found(&more).result, DkimResult::PermError, "the fourth record is not tried");
    assert_eq!(found(&[&test.replace("; p=", "; t=y; p=")]).result, DkimResult::Pass);
    assert!(found(&[&test.replace("; p=", "; t=y; p=")]).is_testing);
    // `test2.txt` names no type.
    assert_eq!(found(&[&file("dkim/dkimpy/test2.txt")]).result, DkimResult::Pass);
    let revoked = found(&["v=DKIM1; p="]);
    assert!(matches!(revoked.reason, DkimReason::Key(_, BadKeyRecord::Revoked)));
    assert!(matches!(found(&[]).reason, DkimReason::NoKey(_)));
    let silent = mail.verified(&mut Silent, &[], NOW).remove(1);
    assert_eq!(silent.result, DkimResult::TempError);
    let said = format!("TXT {owner}: nobody says what {owner} is");
    assert_eq!(silent.reason.to_string(), said);
}

#[test]
fn messages_of_dkimpy() {
    let mut zone = Zone::default();
    txt(&mut zone, "sed._domainkey.test.ex", file("dkim/dkimpy/eximtest.dns").trim());
    let exim = Mail::new(&octets("dkim/dkimpy/ed25519test2.msg"));
    assert_eq!(words(&exim.verified(&mut zone, &[], NOW)), ["pass"]);
    // Their keys are lost; that these are asked for says that body and dates are right.
    for message in ["test2.message", "message.mbox"] {
        let found =
            Mail::new(&octets(&format!("dkim/dkimpy/{message}"))).verified(&mut zone, &[], NOW);
        assert!(matches!(found[0].reason, DkimReason::NoKey(_)), "{message}: {found:#?}");
    }
    for message in ["test.message", "test_extra.message", "test_nofrom.message", "rfc6376.msg"] {
        let mail = Mail::new(&octets(&format!("dkim/dkimpy/{message}")));
        assert!(mail.verified(&mut zone, &[], NOW).is_empty());
    }
}

#[test]
fn dates() {
    let (mail, mut zone) = football();
    let text = String::from_utf8(mail.text().to_vec()).unwrap();
    let day = 24 * 60 * 60;
    assert_eq!(words(&mail.verified(&mut zone, &[], 1_518_460_054 - day)), ["pass", "fail"]);
    let early = mail.verified(&mut zone, &[], 1_518_460_053 - day).remove(0);
    assert_eq!(early.reason, DkimReason::Early(1_518_460_054));
    let ended = text.replace("t=1518460054;", "t=1518460054; x=1518460055;");
    let ended = Mail::new(ended.as_bytes());
    let found = |now| ended.verified(&mut Zone::default(), &[], now).remove(0);
    assert!(matches!(found(1_518_460_355).reason, DkimReason::NoKey(_)));
    assert_eq!(found(1_518_460_356).reason, DkimReason::Expired(1_518_460_055));
    assert_eq!(found(u64::MAX).result, DkimResult::Fail);
    assert_eq!(found(0).result, DkimResult::Fail);
}

/// A text in PEM form.
fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    let text = Base64::encode_string(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n")).into_bytes()
}

/// The private key of RFC 8463, appendix A.
pub fn ed25519_seed() -> String {
    file("dkim/dkimpy/rfc8032_7_1.key").trim().to_owned()
}

/// The same in PEM, as OpenSSL writes it.
pub fn ed25519_pem() -> Vec<u8> {
    let seed = Base64::decode_vec(&ed25519_seed()).unwrap();
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    pem("PRIVATE KEY", &[&head[..], &seed].concat())
}

pub fn ed25519() -> SigningKey {
    SigningKey::from_pem(&ed25519_pem()).unwrap()
}

/// A new RSA key, in both forms that are read.
pub fn rsa_pems() -> [Vec<u8>; 2] {
    let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der = pair.as_der().unwrap();
    let der = der.as_ref();
    // The PKCS #1 key is the last value in that of PKCS #8: an octet string of known place.
    let at = der.windows(4).position(|four| four[..2] == [0x04, 0x82]).unwrap();
    [pem("PRIVATE KEY", der), pem("RSA PRIVATE KEY", &der[at + 4..])]
}

fn rsa() -> [SigningKey; 2] {
    rsa_pems().map(|key| SigningKey::from_pem(&key).unwrap())
}

/// When messages are signed here: others say "in the future" by a clock of their own.
const SIGNED: u64 = 1_700_000_000;

/// The message under its signature, whose key is at this selector of `a.test`.
pub fn signed_at(mail: &Mail, key: &SigningKey, selector: &str) -> Mail {
    let (domain, selector) = (name("a.test").unwrap(), name(selector).unwrap());
    let signer = Signer { key, domain: &domain, selector: &selector };
    let body = mail.hashes(&[sign::BODY]).get(sign::BODY).unwrap();
    let fields = mail.fields();
    let field = sign::sign(&signer, &RawHeader::new(&fields), &body, SIGNED).unwrap();
    assert!(field.ends_with('\n') && field.lines().all(|line| line.len() < 78), "{field}");
    assert!(field.lines().skip(1).all(|line| line.starts_with(' ')), "{field}");
    mail.under(&field)
}

fn signed(mail: &Mail, key: &SigningKey) -> Mail {
    signed_at(mail, key, "s1")
}

fn keys_of(key: &SigningKey) -> Zone {
    let mut zone = Zone::default();
    txt(&mut zone, "s1._domainkey.a.test", &sign::strings(&key.record().unwrap()).concat());
    zone
}

#[test]
fn keys_that_sign() {
    let key = ed25519();
    assert_eq!(
        key.record().unwrap(),
        "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    );
    assert_eq!(format!("{key:?}"), "Key(ed25519-sha256)");
    let [one, other] = rsa();
    assert_eq!(one.record().unwrap(), other.record().unwrap());
    assert_eq!(sign::strings(&one.record().unwrap()).len(), 2);
    for shown in [&one, &key] {
        let record = shown.record().unwrap().replace("v=DKIM1; ", "n=x;");
        assert!(shown.is_shown_by(record.as_bytes()));
        assert!(!shown.is_shown_by(record.replace("n=x;", "s=tlsrpt;").as_bytes()));
        assert!(!shown.is_shown_by(b"v=DKIM1; p="));
        let other = rsa().map(|other| other.record().unwrap());
        assert!(!other.iter().any(|other| shown.is_shown_by(other.as_bytes())));
    }
    assert_eq!(format!("{one:?}"), "Key(rsa-sha256)");
    let short = SigningKey::from_pem(&octets("dkim/dkimpy/test.private")).unwrap_err();
    assert_eq!(short, sign::BadSigningKey::Short);
}

/// RFC 6376 §3.6.1 wants a bare key (PKCS #1), all the world shows an SPKI; both verify.
#[test]
fn bare_rsa_keys() {
    let [key, _] = rsa();
    let record = key.record().unwrap();
    let (_, spki) = record.split_once("p=").unwrap();
    let spki = Base64::decode_vec(spki).unwrap();
    let (head, bare) = spki.split_at(24);
    assert_eq!((head[23], &bare[..2]), (0, &[0x30, 0x82][..]));
    let record = format!("p={}", Base64::encode_string(bare));
    assert!(key.is_shown_by(record.as_bytes()));
    let mut zone = Zone::default();
    txt(&mut zone, "s1._domainkey.a.test", &record);
    let signed = signed(&Mail::new(b"From: ann@a.test\n\nHello\n"), &key);
    assert_eq!(words(&signed.verified(&mut zone, &[], NOW)), ["pass"]);
}

#[test]
fn what_is_signed_verifies() {
    let text = "Received: x\nList-Id: <l.a.test>\nFrom: Ann <ann@a.test>\nTo: x@b.test\nTo: y@b.test\n\
                Subject: =?utf-8?q?h=C3=B6?=\n  folded \nMIME-Version: 1.0\n\nHello,\n\n  there  \n\n\n";
    let mail = Mail::new(text.as_bytes());
    let [rsa, _] = rsa();
    for key in [rsa, ed25519()] {
        let signed = signed(&mail, &key);
        let names = "from:from:to:to:to:cc:subject:subject:date:message-id:reply-to:in-reply-to:references:\
                     mime-version:mime-version:content-type:content-transfer-encoding:list-id;";
        let field: String =
            signed.fields()[0].whole.iter().map(|&octet| char::from(octet)).collect();
        assert!(field.replace("\n ", "").contains(names), "{field}");
        let found = signed.verified(&mut keys_of(&key), &[], NOW);
        assert_eq!(words(&found), ["pass"], "{found:#?}\n{field}");
        for added in ["From: x\n", "To: x\n", "Cc: x\n", "Date: x\n", "Content-Type: text/html\n"] {
            let found = signed.under(added).verified(&mut keys_of(&key), &[], NOW);
            assert_eq!(words(&found), ["fail"], "{added}");
        }
        for added in ["Received: x\n", "List-Post: x\n", "List-Id: x\n"] {
            let found = signed.under(added).verified(&mut keys_of(&key), &[], NOW);
            assert_eq!(words(&found), ["pass"], "{added}");
        }
    }
}

/// Long keys cost time, and no more; those past what the library verifies are refused by their length.
#[test]
fn long_keys() {
    let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa4096).unwrap();
    let der: Pkcs8V1Der = pair.as_der().unwrap();
    let key = SigningKey::from_pem(&pem("PRIVATE KEY", der.as_ref())).unwrap();
    let signed = signed(&Mail::new(b"From: ann@a.test\n\nHello\n"), &key);
    let found = signed.verified(&mut keys_of(&key), &[], NOW);
    assert_eq!(found[0].reason.to_string(), "4096 bits rsa-sha256");
    for bits in [512_usize, 1_023, 8_193, 16_384] {
        // An RSAPublicKey: the modulus, and 65,537.
        let mut modulus = vec![0; bits.div_ceil(8) + 1];
        modulus[1] = 1 << ((bits - 1) % 8);
        modulus[bits / 8] |= 1;
        let long = |tag: u8, content: &[u8]| {
            let length = u16::try_from(content.len()).unwrap().to_be_bytes();
            [&[tag, 0x82][..], &length, content].concat()
        };
        let octets = long(0x30, &[long(0x02, &modulus), vec![0x02, 3, 1, 0, 1]].concat());
        let mut zone = Zone::default();
        let record = format!("v=DKIM1; p={}", Base64::encode_string(&octets));
        txt(&mut zone, "s1._domainkey.a.test", &record);
        let found = signed.verified(&mut zone, &[], NOW).remove(0);
        assert_eq!(found.result, DkimResult::PermError);
        assert!(found.reason.to_string().contains(&format!("{bits} bits")), "{}", found.reason);
    }
}

/// Of many signatures those in line with From are verified, wherever they stand.
#[test]
fn ten_thousand_signatures() {
    let mail = Mail::new(b"From: ann@a.test\n\nHello\n");
    let key = ed25519();
    let good = signed(&mail, &key);
    let alien = "DKIM-Signature: v=1; a=rsa-sha256; d=evil.test; s=s; h=from; bh=AAAA; b=AAAA\n";
    let broken = "DKIM-Signature: v=1; a=rsa-sha256; d=a.test; s=s; h=from; bh=AAAA\n";
    let top = [alien.repeat(50), broken.repeat(20)].concat();
    let authors = [name("a.test").unwrap()];
    let mut zone = keys_of(&key);
    let found = good.under(&top).verified(&mut zone, &authors, NOW);
    assert_eq!(found.len(), 71);
    assert_eq!(found[70].result, DkimResult::Pass);
    assert_eq!(found.iter().filter(|one| one.result == DkimResult::Policy).count(), 50 - 7);
    assert_eq!(zone.asked, [(name("s1._domainkey.a.test").unwrap(), QueryType::Txt)]);
    let many = good.under(&alien.repeat(10_000));
    let start = Instant::now();
    assert_eq!(many.verified(&mut zone, &authors, NOW).len(), 100);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

/// Fields by the hundred thousand, and as many names in each of eight signatures as may be.
#[test]
fn hundred_thousand_fields() {
    let field = |names: usize| {
        let names: Vec<String> = (1..names).map(|at| format!("x{at}")).collect();
        format!(
            "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d=a.test; s=s; h=from:{};\n\
             \tbh=frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=; b=AAAA\n",
            names.join(":")
        )
    };
    let fields: String = (0..100_000).map(|at| format!("X{}: {at}\n", at % 1_000)).collect();
    let mail = Mail::new(format!("{fields}From: ann@a.test\n\n").as_bytes());
    let top = [field(1_001), field(100_000), field(1_000).repeat(8)].concat();
    let mut zone = Zone::default();
    txt(&mut zone, "s._domainkey.a.test", file("dkim/dkimpy/test.txt").trim());
    let start = Instant::now();
    let found = mail.under(&top).verified(&mut zone, &[], NOW);
    assert!(found[..2].iter().all(|one| one.reason == DkimReason::Tag("h")), "{:?}", found[0]);
    assert!(found[2..].iter().all(|one| matches!(one.reason, DkimReason::Signature(_))));
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

fn form() -> impl Strategy<Value = BodyForm> {
    let form = prop_oneof![Just(Form::Simple), Just(Form::Relaxed)];
    (form, proptest::option::of(0..80_u64)).prop_map(|(form, length)| BodyForm { form, length })
}

/// Octets that canonical forms care about, more often than others.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let octet = prop_oneof![
        3 => Just(b'\n'),
        3 => Just(b' '),
        2 => Just(b'\t'),
        1 => Just(b'\r'),
        4 => any::<u8>(),
    ];
    proptest::collection::vec(octet, 0..120)
}

/// A field, folded or not.
const FIELD: &str =
    "(From|to|Subject|X-Y|List-Id|DKIM-Signature) ?:[ -~\u{e4}\t]{0,60}(\n [ -~]{0,20})?\n";

proptest! {
    #[test]
    fn any_split_gives_the_same_hashes(
        body in body(),
        forms in proptest::collection::vec(form(), 0..12),
        cuts in proptest::collection::vec(1..9_usize, 1..40),
    ) {
        let mut whole = BodyHasher::new(&forms);
        whole.feed(&body);
        let whole = whole.finish();
        let mut split = BodyHasher::new(&forms);
        let (mut rest, mut cuts) = (&body[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            split.feed(piece);
            rest = after;
        }
        let split = split.finish();
        for form in forms {
            prop_assert_eq!(whole.get(form), split.get(form));
        }
    }

    #[test]
    fn what_we_sign_verifies(
        fields in proptest::collection::vec(FIELD, 0..8),
        body in body(),
    ) {
        let header = format!("From: ann@a.test\n{}\n", fields.concat());
        let mail = Mail::of_lf([header.as_bytes(), &body].concat());
        let key = ed25519();
        let found = signed(&mail, &key).verified(&mut keys_of(&key), &[], NOW);
        prop_assert_eq!(found[0].result, DkimResult::Pass, "{:?}", found);
    }

    #[test]
    fn nothing_panics(
        value in proptest::collection::vec(any::<u8>(), 0..200),
        record in proptest::collection::vec(any::<u8>(), 0..200),
        at in 0..400_usize,
        octet in any::<u8>(),
    ) {
        let whole = [b"DKIM-Signature:", &value[..]].concat();
        let field = RawField { name: b"DKIM-Signature", whole: &whole };
        dkim::read(&[field], &[]);
        let _ = dkim::key::DkimKey::read(&record);
        // Nearly right ones.
        let (mail, _) = football();
        let mut text = mail.text().to_vec();
        text[at] = octet;
        let mut record = file("dkim/dkimpy/test.txt").into_bytes();
        let place = at % record.len();
        record[place] = octet;
        let mut zone = Zone::default();
        let record: String = record.iter().map(|&octet| char::from(octet)).collect();
        txt(&mut zone, "test._domainkey.football.example.com", &record);
        Mail::new(&text).verified(&mut zone, &[], NOW);
    }
}
