//! Records of all kinds, names of any octets, and whose word it is that an answer is secure.

use super::{LONG, configured, pair};
use crate::dnsd::Dnsd;
use facteur::mail::proof::name::Name;
use facteur::net::dns::{
    DnsAnswer, DnsError, DnsResolver, MxHost, Record, RecordKind, Records, Resolver,
};
use std::time::Duration;

fn found(answer: Result<DnsAnswer, DnsError>) -> Vec<Record> {
    match answer.unwrap().records {
        Records::Found(records) => records,
        other => panic!("{other:?}"),
    }
}

fn txt(texts: &[&[u8]]) -> Vec<Record> {
    texts.iter().map(|text| Record::Txt(text.to_vec())).collect()
}

fn records(answer: Result<DnsAnswer, DnsError>) -> Records {
    answer.unwrap().records
}

#[test]
fn each_kind_has_its_form() {
    let (_dnsd, resolver) = pair(
        "a.test A 192.0.2.1\na.test AAAA 2001:db8::1\na.test MX 5 Mx.A.test\nnull.test MX 0 .\n\
         _25._tcp.a.test TLSA 3 1 1 00ff10\n1.2.0.192.in-addr.arpa PTR Mx.A.test\n\
         1.2.0.192.in-addr.arpa PTR bad;name.test\n2.2.0.192.in-addr.arpa PTR a[0]b.test\n\
         3.2.0.192.in-addr.arpa CNAME 3.0/25.2.0.192.in-addr.arpa\n\
         3.0/25.2.0.192.in-addr.arpa PTR three.test\n\
         1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR six.test\n",
    );
    let ask = |name: &str, kind| resolver.lookup(name.as_bytes(), kind);
    let reverse = |address: &str| {
        ask(&Name::reverse_of(address.parse().unwrap()).unwrap().to_string(), RecordKind::Ptr)
    };
    let ptr = |host: &str| vec![Record::Ptr(host.to_owned())];
    let mx =
        |preference, host: &str| vec![Record::Mx(MxHost { preference, host: host.to_owned() })];
    let address = |ip: &str| vec![Record::Address(ip.parse().unwrap())];
    assert_eq!(found(ask("a.test", RecordKind::A)), address("192.0.2.1"));
    assert_eq!(found(ask("A.test.", RecordKind::Aaaa)), address("2001:db8::1"));
    assert_eq!(found(ask("a.test", RecordKind::Mx)), mx(5, "mx.a.test"));
    assert_eq!(found(ask("null.test", RecordKind::Mx)), mx(0, ""));
    let tlsa = Record::Tlsa { usage: 3, selector: 1, matching: 1, data: vec![0, 255, 16] };
    assert_eq!(found(ask("_25._tcp.a.test", RecordKind::Tlsa)), [tlsa]);
    for (address, host) in [
        ("192.0.2.1", "mx.a.test"),
        ("::ffff:192.0.2.1", "mx.a.test"),
        ("192.0.2.3", "three.test"),
        ("2001:db8::1", "six.test"),
    ] {
        assert_eq!(found(reverse(address)), ptr(host), "{address}");
    }
    // A name that no host can have is none.
    assert_eq!(records(reverse("192.0.2.2")), Records::Absent);
    assert_eq!(records(reverse("192.0.2.9")), Records::NoName);
    assert_eq!(records(ask("a.test", RecordKind::Txt)), Records::Absent);
    assert_eq!(records(ask("x.test", RecordKind::Txt)), Records::NoName);
}

#[test]
fn texts_of_any_octets_and_any_length() {
    let long = "x".repeat(255);
    let strings = [long.as_str(); 8].join("|");
    let mut zone = format!(
        "a.test TXT v=spf1 |-all\na.test TXT [0][255]\"[92]|\nb.test CNAME a.test\nbig.test TXT {strings}\n"
    );
    for n in 0..100 {
        zone += &format!("huge.test TXT {n}{}|{long}\n", "y".repeat(250));
        zone += &format!("many.test TXT {n}\nmany.test TXT {n}\n");
    }
    let (dnsd, resolver) = pair(&zone);
    let ask = |name: &str| resolver.lookup(name.as_bytes(), RecordKind::Txt);
    assert_eq!(found(ask("a.test")), txt(&[b"v=spf1 -all", b"\x00\xff\"\\"]));
    assert_eq!(found(ask("b.test")), found(ask("a.test")));
    assert_eq!(found(ask("big.test")), txt(&[long.repeat(8).as_bytes()]));
    let huge = found(ask("huge.test"));
    assert!(
        huge.len() == 100 && huge.iter().all(|it| matches!(it, Record::Txt(o) if o.len() > 500))
    );
    let told = ask("many.test").unwrap_err().to_string();
    let server = dnsd.address();
    let words = format!("TXT of many.test: {server}: 200 records; more than 100 are not believed");
    assert_eq!(told, words);
    // What is so large is not remembered.
    let (before, _) = (dnsd.asked("huge.test", "TXT"), found(ask("huge.test")));
    assert_eq!((before, dnsd.asked("huge.test", "TXT")), (2, 4));
    found(ask("big.test"));
    assert_eq!(dnsd.asked("big.test", "TXT"), 2, "one of them over TCP");
}

#[test]
fn names_of_any_octets() {
    let (label, name) = ("a".repeat(63), ["b".repeat(63).as_str(); 3].join("."));
    let (longest, too_long) =
        (format!("{name}.{}", &label[2..]), format!("{name}.{}", &label[1..]));
    let (dnsd, resolver) = pair(&format!(
        "a[92]b[0][255][32]c[61][59][34]/.test TXT odd\n{label}.test TXT long\n{longest} TXT longest\n"
    ));
    let ask = |name: &[u8]| records(resolver.lookup(name, RecordKind::Txt));
    let is = |text: &str| Records::Found(txt(&[text.as_bytes()]));
    assert_eq!(ask(b"a\\b\x00\xff c=;\"/.test"), is("odd"));
    assert_eq!(ask(format!("{label}.test").as_bytes()), is("long"));
    assert_eq!(ask(longest.as_bytes()), is("longest"));
    let asked = dnsd.log().len();
    let wide = format!("a{label}.test");
    let endless = "a.".repeat(100_000);
    let names = ["", ".", "..", "a..test", ".a.test", "a.test..", &too_long, &wide, &endless];
    for name in names {
        assert_eq!(ask(name.as_bytes()), Records::NoName, "{name:?}");
    }
    assert_eq!(dnsd.log().len(), asked);
    assert_eq!(ask(b"\xff.test"), Records::NoName);
}

/// The name at the end of aliases, by a server that follows them and by one that does not; also from the cache.
#[test]
fn aliases_lead_to_their_end_and_can_be_asked_for_themselves() {
    let dnsd = Dnsd::new(
        "end.test A 192.0.2.1\nend.test !ad\none.test CNAME two.test\ntwo.test CNAME end.test\n\
         step.test CNAME two.test\nstep.test !step\ntwo.test !step\nsafe.test CNAME end.test\nsafe.test !ad\n",
    );
    let resolver = DnsResolver::new(&configured(&[dnsd.address()], LONG, true));
    for _ in 0..2 {
        for (name, end) in
            [("one.test", Some("end.test")), ("step.test", Some("end.test")), ("end.test", None)]
        {
            let found = resolver.lookup_aliased(name.as_bytes(), RecordKind::A).unwrap();
            assert_eq!(found.end.as_deref(), end, "{name}");
            let located = resolver.located(name).unwrap();
            assert_eq!(located.end.as_deref(), end, "{name}");
            assert_eq!(located.secure, end.is_none(), "{name}");
        }
        for (name, is_secure) in [("safe.test", true), ("one.test", false), ("end.test", false)] {
            assert_eq!(resolver.is_secure_alias(name), Ok(is_secure), "{name}");
        }
        let alias = resolver.lookup(b"one.test", RecordKind::Cname).unwrap();
        assert_eq!(alias.records, Records::Found(vec![Record::Cname("two.test".to_owned())]));
    }
}

#[test]
fn secure_is_what_trusted_servers_have_validated_to_the_end() {
    let zone = "all.test TXT x\nall.test !ad\nnone.test TXT x\n\
                first.test CNAME all.test\nfirst.test !step\n\
                last.test CNAME none.test\nlast.test !step\nlast.test !ad\n\
                both.test CNAME first.test\nboth.test !step\nboth.test !ad\n\
                good.test CNAME all.test\ngood.test !step\ngood.test !ad\n\
                gone.test !ad\ngone.test !nxdomain\nall.test MX 5 a.test\n";
    for trust_ad in [true, false] {
        let dnsd = Dnsd::new(zone);
        let resolver = DnsResolver::new(&configured(&[dnsd.address()], LONG, trust_ad));
        for (name, is_secure) in [
            ("all.test", true),
            ("none.test", false),
            // The first step was not validated, the last was, and the other way round.
            ("first.test", false),
            ("last.test", false),
            ("both.test", false),
            ("good.test", true),
            ("gone.test", false),
        ] {
            // The second time from the cache.
            for _ in 0..2 {
                let answer = resolver.lookup(name.as_bytes(), RecordKind::Txt).unwrap();
                assert_eq!(answer.secure, is_secure && trust_ad, "{name}");
            }
        }
        assert!(dnsd.log().iter().all(|asked| asked.ad == trust_ad), "{:?}", dnsd.log());
    }
}

#[test]
fn without_edns_all_the_rest_stays() {
    for way in ["no-edns", "edns-notimp", "edns-silent"] {
        let zone = format!("old.test TXT x\nold.test !{way}\nold.test !ad\n");
        let dnsd = Dnsd::new(&zone);
        // A third of it passes until a silent server is asked again.
        let config = configured(&[dnsd.address()], Duration::from_secs(3), true);
        let answer = DnsResolver::new(&config).lookup(b"old.test", RecordKind::Txt).unwrap();
        assert_eq!((answer.secure, answer.records), (true, Records::Found(txt(&[b"x"]))), "{way}");
        let asked = dnsd.log().iter().map(|asked| (asked.payload, asked.ad)).collect::<Vec<_>>();
        assert_eq!(asked, [(Some(1232), true), (None, true)], "{way}");
    }
}

#[test]
fn a_failure_names_the_server() {
    let (dnsd, resolver) = pair("fail.test !servfail\nlame.test !lame\nempty.test !empty");
    let told = |name: &str, kind| match resolver.lookup(name.as_bytes(), kind) {
        Ok(DnsAnswer { records: Records::Unsure(error), .. }) | Err(error) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let server = dnsd.address();
    let servfail = format!(
        "TXT of fail.test: the servers could not find out (SERVFAIL); {server} answered SERVFAIL"
    );
    assert_eq!(told("fail.test", RecordKind::Txt), servfail);
    let lame =
        format!("PTR of lame.test: {server}: an answer from a server that does not know (lame)");
    assert_eq!(told("lame.test", RecordKind::Ptr), lame);
    let empty =
        format!("TLSA of empty.test: {server}: an empty answer that no zone vouches for (no SOA)");
    assert_eq!(told("empty.test", RecordKind::Tlsa), empty);
}
