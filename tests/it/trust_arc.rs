//! Chains of forwarders: the suite of Valimail, which was written for a draft, and real chains
//! (`tests/trust/arc`).

use crate::trust_mail::{Mail, NOW, Silent, octets};
use crate::trust_zone::{Zone, json, name};
use facteur::mail::proof::Ask;
use facteur::mail::proof::arc::{self, ArcFinding, ArcReason, ArcResult};
use facteur::mail::proof::raw::RawHeader;
use facteur::mail::proof::results::read;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn found(mail: &Mail, ask: &mut dyn Ask) -> ArcFinding {
    let fields = mail.fields();
    let chain = arc::read(&fields);
    let forms: Vec<_> = chain.form().into_iter().collect();
    arc::verify(ask, &chain, &RawHeader::new(&fields), &mail.hashes(&forms), NOW)
}

fn zone(records: &Value) -> Zone {
    let mut zone = Zone::default();
    for (owner, record) in records.as_object().into_iter().flatten() {
        zone.add(owner, "TXT", record);
    }
    zone
}

/// Where RFC 8617 has it otherwise than the draft for which the suite was written, and what it says.
fn argued(case: &str) -> Option<ArcResult> {
    match case {
        // Without c= it is simple/simple (RFC 6376 §3.5); the suite signed relaxed/relaxed.
        "ams_fields_c_na" => Some(ArcResult::Fail),
        // From has to be signed (RFC 6376 §5.4, which RFC 8617 §4.1.2 keeps).
        "ams_fields_h_empty" => Some(ArcResult::Fail),
        _ => None,
    }
}

#[test]
fn validation() {
    let (mut cases, mut differences, mut wrong) = (0, 0, Vec::new());
    for scenario in json("arc/validation.json") {
        let zone = zone(&scenario["txt-records"]);
        for (case, test) in scenario["tests"].as_object().unwrap() {
            cases += 1;
            let mail = Mail::new(test["message"].as_str().unwrap().as_bytes());
            let found = found(&mail, &mut zone.clone());
            let expected = match test["cv"].as_str().unwrap() {
                "None" => ArcResult::None,
                "Pass" => ArcResult::Pass,
                "Fail" => ArcResult::Fail,
                // Nothing is expected: the chain says of itself that it is broken.
                "" => ArcResult::Fail,
                other => panic!("{other}"),
            };
            differences += usize::from(argued(case).is_some());
            let expected = argued(case).unwrap_or(expected);
            if found.result != expected {
                wrong.push(format!("{case}: {} ({})", found.result, found.reason));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!((cases, differences), (171, 2));
}

/// Our own chains do not exist; what another sealer has to make of these messages is a chain that holds.
#[test]
fn signed_by_others() {
    let mut chains = 0;
    for scenario in json("arc/sign.json") {
        let zone = zone(&scenario["txt-records"]);
        for (case, test) in scenario["tests"].as_object().unwrap() {
            // They sealed the signature in one piece, and fold it to show it.
            let part = |name: &str| {
                let lines = test[name].as_str().unwrap().trim_end().replace(";\n", ";\r");
                lines.replace('\n', "").replace('\r', "\n ")
            };
            if part("AS").is_empty() {
                continue;
            }
            let number = part("AAR")[2..3].to_owned();
            let set = format!(
                "ARC-Seal: {}\nARC-Message-Signature: {}\nARC-Authentication-Results: {}\n",
                part("AS"),
                part("AMS"),
                part("AAR")
            );
            let mail = Mail::new(test["message"].as_str().unwrap().as_bytes()).under(&set);
            let found = found(&mail, &mut zone.clone());
            let (result, reason) = match part("AS").contains("cv=fail") {
                true => (ArcResult::Fail, "the chain was broken before set"),
                false => (ArcResult::Pass, "seal"),
            };
            assert_eq!(found.result, result, "{case}: {}", found.reason);
            assert!(found.reason.to_string().contains(reason), "{case}: {}", found.reason);
            let is_whole = found.sealers.len().to_string() == number;
            assert!(is_whole || result == ArcResult::Fail, "{case}: {:?}", found.sealers);
            chains += 1;
        }
    }
    assert_eq!(chains, 16);
}

/// DNS lines, an empty line, the message.
fn real(number: u32) -> (Mail, Zone) {
    let text = octets(&format!("arc/mail-auth/{number:03}.txt"));
    let text = String::from_utf8(text).unwrap();
    let (dns, message) = text.split_once("\n\n").unwrap();
    let mut zone = Zone::default();
    for line in dns.lines() {
        let (owner, record) = line.split_once(' ').unwrap();
        zone.add(owner, "TXT", &json!(record.trim()));
    }
    (Mail::new(message.as_bytes()), zone)
}

#[test]
fn real_chains() {
    for (number, sealers) in [(1, vec!["google.com"]), (2, vec!["manchego.org", "scamorza.org"])] {
        let (mail, mut zone) = real(number);
        let found = found(&mail, &mut zone);
        assert_eq!(found.result, ArcResult::Pass, "{number}: {}", found.reason);
        let names: Vec<String> = found.sealers.iter().map(ToString::to_string).collect();
        assert_eq!(names, sealers);
        assert_eq!(found.reason, ArcReason::Holds { sets: sealers.len() });
    }
}

#[test]
fn what_the_first_sealer_says() {
    let (mail, mut zone) = real(1);
    let found = found(&mail, &mut zone);
    let from = name("stalw.art").unwrap();
    let google = [name("google.com").unwrap()];
    assert_eq!(found.dmarc_of(&from), Some("fail"));
    assert!(!found.vouches(&from, &google));
    let says = |text: &str| {
        let first = Some(read(format!("mx.google.com; {text}").as_bytes()).unwrap());
        ArcFinding { first, ..found.clone() }
    };
    assert!(!says("dmarc=pass").vouches(&from, &google));
    assert!(
        !says("dmarc=pass header.from=stalw.art; dmarc=fail header.from=stalw.art")
            .vouches(&from, &google)
    );
    let found = says("dmarc=fail header.from=x.test; dmarc=pass header.from=Ann@STALW.art");
    assert!(found.vouches(&from, &google));
    assert!(!found.vouches(&from, &[]));
    assert!(!found.vouches(&name("other.test").unwrap(), &google));
    let failed = ArcFinding { result: ArcResult::TempError, ..found };
    assert!(!failed.vouches(&from, &google));
}

#[test]
fn what_dns_did_not_say() {
    let (mail, zone) = real(2);
    let silent = found(&mail, &mut Silent);
    assert_eq!(silent.result, ArcResult::TempError, "{}", silent.reason);
    assert!(silent.reason.to_string().contains("TXT rsa._domainkey.manchego.org"));
    // One key is unknown, and the other one says no.
    let mut half = zone.clone();
    half.clear("ed._domainkey.scamorza.org", "TXT");
    half.fail("rsa._domainkey.manchego.org");
    half.clear("rsa._domainkey.manchego.org", "TXT");
    assert_eq!(found(&mail, &mut half).result, ArcResult::Fail);
    let mut none = zone;
    none.clear("rsa._domainkey.manchego.org", "TXT");
    assert_eq!(found(&mail, &mut none).result, ArcResult::Fail);
}

#[test]
fn sets_by_the_thousand() {
    let (mail, mut zone) = real(2);
    let set = |number: usize| {
        format!(
            "ARC-Seal: i={number}; a=rsa-sha256; cv={}; d=a.test; s=s; b=AAAA\n\
             ARC-Message-Signature: i={number}; a=rsa-sha256; d=a.test; s=s; h=from; bh=AAAA; b=AAAA\n\
             ARC-Authentication-Results: i={number}; a.test; none\n",
            if number == 1 { "none" } else { "pass" }
        )
    };
    let sets = |numbers: std::ops::RangeInclusive<usize>| numbers.map(set).collect::<String>();
    let plain = Mail::new(b"From: x\n\nHello\n");
    let start = Instant::now();
    // Set 51 has no number that a set may have.
    let found_of = |top: &str, zone: &mut Zone| found(&plain.under(top), zone).reason.to_string();
    assert!(found_of(&sets(1..=51), &mut zone).contains("without number"));
    assert!(found_of(&sets(1..=50), &mut zone).contains("body was changed"));
    assert!(found_of(&sets(2..=50), &mut zone).contains("set 1 has no"));
    assert!(found_of(&set(1).repeat(30_000), &mut zone).contains("twice"));
    assert!(zone.asked.is_empty());
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(found(&mail, &mut zone).result, ArcResult::Pass);
}

proptest! {
    #[test]
    fn nothing_panics(at in 0..1_400_usize, octet in any::<u8>(), cut in 0..1_400_usize) {
        let (mail, mut zone) = real(2);
        let mut text = mail.text().to_vec();
        text[at] = octet;
        found(&Mail::of_lf(text.clone()), &mut zone);
        text.drain(at.min(cut)..at.max(cut));
        found(&Mail::of_lf(text), &mut zone);
    }
}
