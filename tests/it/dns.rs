//! The resolver against servers that answer, lie, fail and keep silent.

mod records;
mod trouble;

use crate::dnsd::{Asked, Dnsd};
use facteur::config;
use facteur::mail::address::Domain;
use facteur::net::dns::{Addresses, DnsError, DnsFault, DnsResolver, Mx, MxHost, Resolver};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// For tries that must not fail: longer than a busy machine takes.
const LONG: Duration = Duration::from_secs(20);

fn resolver(servers: &[SocketAddr], timeout: Duration) -> DnsResolver {
    DnsResolver::new(&configured(servers, timeout, false))
}

fn configured(servers: &[SocketAddr], timeout: Duration, trust_ad: bool) -> config::Dns {
    let servers = servers.iter().map(|server| (*server).into()).collect();
    config::Dns { servers, timeout, trust_ad }
}

/// A server with this zone, and who asks it.
fn pair(zone: &str) -> (Dnsd, DnsResolver) {
    let dnsd = Dnsd::new(zone);
    let resolver = resolver(&[dnsd.address()], LONG);
    (dnsd, resolver)
}

fn mx(resolver: &DnsResolver, domain: &str) -> Result<Mx, DnsError> {
    resolver.mx(&Domain::parse(domain).unwrap()).map(|answer| answer.mx)
}

fn hosts(list: &[(u16, &str)]) -> Result<Mx, DnsError> {
    let host = |&(preference, host): &(u16, &str)| MxHost { preference, host: host.to_owned() };
    Ok(Mx::Hosts(list.iter().map(host).collect()))
}

fn found(list: &[&str]) -> Result<Addresses, DnsError> {
    Ok(Addresses::Found(list.iter().map(|text| text.parse().unwrap()).collect()))
}

/// The words of an answer that has to be temporary.
fn broken<T: std::fmt::Debug>(answer: Result<T, DnsError>) -> String {
    match answer.unwrap_err().what {
        DnsFault::Broken(what) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_there() {
    let (dnsd, resolver) = pair(
        "example.test MX 20 Backup.Example.Test\nexample.test MX 10 mx.example.test\n\
         example.test MX 20 mx_2.example.test\nmx.example.test A 192.0.2.1\n\
         mx.example.test A 192.0.2.2\nmx.example.test A 192.0.2.1\n\
         mx.example.test AAAA 2001:db8::1\nfour.test A 192.0.2.4\nsix.test AAAA 2001:db8::6\n",
    );
    let three = [(10, "mx.example.test"), (20, "backup.example.test"), (20, "mx_2.example.test")];
    assert_eq!(mx(&resolver, "example.test"), hosts(&three));
    assert_eq!(mx(&resolver, "EXAMPLE.test"), hosts(&three));
    assert_eq!(
        resolver.addresses("mx.example.test"),
        found(&["2001:db8::1", "192.0.2.1", "192.0.2.2"])
    );
    assert_eq!(resolver.addresses("four.test."), found(&["192.0.2.4"]));
    assert_eq!(resolver.addresses("six.test"), found(&["2001:db8::6"]));
    assert!(dnsd.log().iter().all(|asked| asked.payload == Some(1232) && !asked.tcp));
}

#[test]
fn what_is_not_there() {
    let (_dnsd, resolver) = pair(
        "host.test A 192.0.2.1\ndomain.test MX 0 host.test\nnull.test MX 0 .\n\
         odd.test MX 0 .\nodd.test MX 5 host.test\nnone.test MX 5 mx;rm.test\n\
         old.test A !nxdomain\nold.test AAAA !empty",
    );
    assert_eq!(mx(&resolver, "nowhere.test"), Ok(Mx::NoDomain));
    assert_eq!(resolver.addresses("nowhere.test"), Ok(Addresses::NoDomain));
    assert_eq!(mx(&resolver, "host.test"), Ok(Mx::None));
    assert_eq!(resolver.addresses("domain.test"), Ok(Addresses::None));
    assert_eq!(mx(&resolver, "null.test"), Ok(Mx::Null));
    assert_eq!(mx(&resolver, "odd.test"), hosts(&[(5, "host.test")]));
    assert_eq!(broken(mx(&resolver, "none.test")), "no MX record names a host");
    // One half is sure, the other is not.
    assert!(broken(resolver.addresses("old.test")).contains("no SOA"));
}

#[test]
fn names_are_asked_as_they_are() {
    let (dnsd, resolver) = pair("mailhost A 192.0.2.1\n192.0.2.9 A 192.0.2.9");
    assert_eq!(resolver.addresses("mailhost"), found(&["192.0.2.1"]));
    assert_eq!(resolver.addresses("missing"), Ok(Addresses::NoDomain));
    assert_eq!(resolver.addresses("192.0.2.1"), Ok(Addresses::NoDomain));
    let names = ["mailhost", "missing", "192.0.2.1"];
    assert!(dnsd.log().iter().all(|asked| names.contains(&asked.name.as_str())));
    // What hickory answers by itself, or the hosts file does.
    let loopback = |address: &IpAddr| address.is_loopback();
    let Ok(Addresses::Found(local)) = resolver.addresses("localhost") else { panic!() };
    assert!(local.iter().all(loopback));
    assert_eq!(mx(&resolver, "localhost"), Ok(Mx::None));
    assert_eq!(mx(&resolver, "x.invalid"), Ok(Mx::NoDomain));
    assert!(dnsd.asked("localhost", "A") + dnsd.asked("localhost", "MX") == 0);
}

#[test]
fn names_that_dns_cannot_have() {
    let (dnsd, resolver) = pair("* A 192.0.2.1");
    let long = ["a".repeat(63).as_str(); 4].join(".");
    let wide = "a".repeat(64);
    let many = "a.".repeat(2000);
    let all = ["", ".", "a..test", "a b.test", "b\u{fc}cher.test", "a\\.test", "a\n.test", "::1"];
    for name in all.iter().copied().chain([&long[..], &wide, &many]) {
        assert!(broken(resolver.addresses(name)).contains("no name"), "{name:?}");
    }
    assert!(broken(mx(&resolver, &long)).contains("no name"));
    assert_eq!(dnsd.log(), []);
    let error = resolver.addresses("a\n.test").unwrap_err().to_string();
    assert_eq!(error, "addresses of a\\n.test: this is no name that DNS could have");
}

#[test]
fn errors_are_told_apart_and_told() {
    let (_dnsd, resolver) = pair(
        "fail.test !servfail\nno.test !refused\nodd.test !notauth\njunk.test !garbage\n\
         lame.test !lame",
    );
    let error = |name: &str| mx(&resolver, name).unwrap_err();
    assert_eq!(error("fail.test").what, DnsFault::ServFail);
    let told = error("fail.test").to_string();
    assert!(
        told.starts_with("MX of fail.test: the servers could not find out (SERVFAIL); "),
        "{told}"
    );
    assert_eq!(error("no.test").what, DnsFault::Refused);
    for name in ["odd.test", "junk.test", "lame.test"] {
        broken(mx(&resolver, name));
        broken(resolver.addresses(name));
    }
    assert_eq!(resolver.addresses("fail.test").unwrap_err().what, DnsFault::ServFail);
}

#[test]
fn one_kind_of_address_fails() {
    let (_dnsd, resolver) = pair(
        "four.test A 192.0.2.4\nfour.test AAAA !servfail\nsix.test AAAA 2001:db8::6\n\
         six.test A !refused\nhalf.test A !servfail\nhalf.test AAAA !no-soa\n\
         old.test A 192.0.2.7\nold.test AAAA !nxdomain\nnone.test A !servfail\n\
         none.test MX 1 x.test",
    );
    assert_eq!(resolver.addresses("four.test"), found(&["192.0.2.4"]));
    assert_eq!(resolver.addresses("six.test"), found(&["2001:db8::6"]));
    assert_eq!(resolver.addresses("old.test"), found(&["192.0.2.7"]));
    assert_eq!(resolver.addresses("none.test").unwrap_err().what, DnsFault::ServFail);
    assert!(resolver.addresses("half.test").is_err());
}

#[test]
fn an_empty_answer_without_soa() {
    let (_dnsd, resolver) = pair(
        "empty.test !empty\nhost.test A 192.0.2.1\nhost.test MX !no-soa\nhost.test CNAME !no-soa\n\
         alias.test CNAME host.test\nalias.test MX !no-soa\nalias.test CNAME !no-soa\n\
         gone.test !no-soa\n\
         odd.test !foreign-soa",
    );
    // No MX, as many caches say it; the addresses then have to be sure.
    assert_eq!(mx(&resolver, "host.test"), Ok(Mx::None));
    assert_eq!(resolver.addresses("host.test"), found(&["192.0.2.1"]));
    assert_eq!(mx(&resolver, "alias.test"), Ok(Mx::None));
    assert_eq!(mx(&resolver, "empty.test"), Ok(Mx::None));
    assert!(broken(resolver.addresses("empty.test")).contains("no SOA"));
    assert!(broken(resolver.addresses("gone.test")).contains("no SOA"));
    assert!(broken(resolver.addresses("odd.test")).contains("no SOA"));
}

#[test]
fn aliases() {
    let chain = |from: usize, to: usize, more: &str| {
        let link = |n| format!("a{n}.test CNAME a{}.test\na{n}.test {more}\n", n + 1);
        (from..to).map(link).collect::<String>()
    };
    let end = "MX 5 mx.test\na8.test A 192.0.2.8\n";
    for (from, more) in [(1, "TXT"), (2, "!step")] {
        let more = if more == "TXT" { "NS ns.test" } else { more };
        let (_dnsd, resolver) = pair(&format!("{}a8.test {end}", chain(1, 8, more)));
        let first = format!("a{from}.test");
        assert_eq!(mx(&resolver, &first), hosts(&[(5, "mx.test")]));
        assert_eq!(resolver.addresses(&first), found(&["192.0.2.8"]));
    }
    // Aliases of what does not exist, or has nothing.
    let (_dnsd, resolver) =
        pair("gone.test CNAME nowhere.test\nbare.test CNAME host.test\nhost.test NS ns.test\n");
    assert_eq!(mx(&resolver, "gone.test"), Ok(Mx::NoDomain));
    assert_eq!(resolver.addresses("gone.test"), Ok(Addresses::NoDomain));
    assert_eq!(mx(&resolver, "bare.test"), Ok(Mx::None));
    assert_eq!(resolver.addresses("bare.test"), Ok(Addresses::None));
}

#[test]
fn aliases_that_lead_nowhere() {
    let mut zone = "self.test CNAME self.test\none.test CNAME two.test\ntwo.test CNAME one.test\n\
                    x.test CNAME y.test\ny.test CNAME x.test\nx.test !step\ny.test !step\n\
                    nx.test CNAME nx.test\nnx.test !step\nnx.test !nxdomain\n"
        .to_owned();
    for n in 0..15 {
        zone += &format!("a{n}.test CNAME a{}.test\na{n}.test !step\n", n + 1);
        zone += &format!("b{n}.test CNAME b{}.test\n", n + 1);
    }
    zone += "a15.test MX 5 mx.test\nb15.test MX 5 mx.test\n";
    let (_dnsd, resolver) = pair(&zone);
    for name in ["self.test", "one.test", "x.test", "nx.test", "a0.test", "b0.test"] {
        for _ in 0..2 {
            broken(mx(&resolver, name));
            broken(resolver.addresses(name));
        }
    }
}

#[test]
fn spoofed_answers() {
    for lie in ["spoof-id", "spoof-question", "spoof-source", "flood"] {
        let (dnsd, resolver) = pair(&format!(
            "example.test MX 10 mx.example.test\nexample.test !{lie}\n\
             mx.example.test A 192.0.2.1\nmx.example.test !{lie}\nnowhere.test !{lie}\n\
             nowhere.test !nxdomain"
        ));
        assert_eq!(mx(&resolver, "example.test"), hosts(&[(10, "mx.example.test")]), "{lie}");
        assert_eq!(resolver.addresses("mx.example.test"), found(&["192.0.2.1"]), "{lie}");
        assert_eq!(mx(&resolver, "nowhere.test"), Ok(Mx::NoDomain), "{lie}");
        // Against somebody who guesses on and on, TCP.
        assert_eq!(dnsd.log().iter().any(|asked| asked.tcp), lie == "flood", "{lie}");
    }
}

#[test]
fn only_what_was_asked_counts() {
    let (dnsd, resolver) = pair(
        "example.test MX 10 mx.example.test\nexample.test !others\nother.test MX 5 good.test\n\
         both.test MX 10 mx.example.test\nboth.test !nxdomain\nno.test !others",
    );
    assert_eq!(mx(&resolver, "example.test"), hosts(&[(10, "mx.example.test")]));
    assert_eq!(mx(&resolver, "other.test"), hosts(&[(5, "good.test")]));
    assert_eq!(dnsd.asked("other.test", "MX"), 1);
    assert!(broken(mx(&resolver, "both.test")).contains("said not to exist"));
    assert_eq!(mx(&resolver, "no.test"), Ok(Mx::None));
}

#[test]
fn truncated_answers_go_to_tcp() {
    let mut zone = "cut.test A 192.0.2.1\ncut.test !truncate\nall.test A 192.0.2.1\n\
                    all.test !truncate-tcp\nup.test !truncate\nup.test !tcp-hangup\n"
        .to_owned();
    for n in 0..60 {
        zone += &format!("big.test MX {n} a-rather-long-name-of-a-host-{n}.big.test\n");
    }
    let (dnsd, resolver) = pair(&zone);
    assert_eq!(resolver.addresses("cut.test"), found(&["192.0.2.1"]));
    let Ok(Mx::Hosts(big)) = mx(&resolver, "big.test") else { panic!() };
    assert!(big.len() == 60 && big[59].host == "a-rather-long-name-of-a-host-59.big.test");
    let asked = |tcp| Asked {
        name: "big.test".to_owned(),
        kind: "MX".to_owned(),
        tcp,
        payload: Some(1232),
        ad: false,
    };
    assert_eq!(dnsd.log()[4..], [asked(false), asked(true)]);
    assert!(broken(mx(&resolver, "all.test")).ends_with("truncated answer over TCP"));
    broken(mx(&resolver, "up.test"));
}

#[test]
fn a_server_without_edns_is_asked_without_from_then_on() {
    for way in ["no-edns", "edns-notimp", "edns-servfail", "edns-garbage", "edns-silent"] {
        let zone = "old.test MX 10 mx.test\nother.test MX 20 mx.test\ncut.test MX 5 mx.test\ncut.test !truncate\n";
        let names = ["old.test", "other.test", "cut.test", "nowhere.test"];
        let lines = names.map(|name| format!("{name} !{way}\n")).concat();
        let dnsd = Dnsd::new(&format!("{zone}{lines}nowhere.test !nxdomain"));
        // A third of it passes until a silent server is asked again.
        let resolver = resolver(&[dnsd.address()], Duration::from_secs(3));
        assert_eq!(mx(&resolver, "old.test"), hosts(&[(10, "mx.test")]), "{way}");
        let payloads = || dnsd.log().iter().map(|a| a.payload).collect::<Vec<_>>();
        assert_eq!(payloads(), [Some(1232), None], "{way}");
        assert_eq!(mx(&resolver, "other.test"), hosts(&[(20, "mx.test")]), "{way}");
        assert_eq!(mx(&resolver, "nowhere.test"), Ok(Mx::NoDomain), "{way}");
        assert_eq!(mx(&resolver, "cut.test"), hosts(&[(5, "mx.test")]), "{way}");
        assert_eq!(payloads()[1..], [None; 5], "{way}");
    }
}

#[test]
fn a_failure_is_asked_twice_only_while_edns_is_in_doubt() {
    let (dnsd, resolver) = pair("fail.test !servfail\ngood.test MX 10 mx.test\nbad.test !servfail");
    assert!(mx(&resolver, "fail.test").is_err());
    assert_eq!(mx(&resolver, "good.test"), hosts(&[(10, "mx.test")]));
    assert!(mx(&resolver, "bad.test").is_err());
    let asked =
        |name: &str| dnsd.log().into_iter().filter(|a| a.name == name).map(|a| a.payload).collect();
    let (first, last): (Vec<_>, Vec<_>) = (asked("fail.test"), asked("bad.test"));
    assert_eq!((first, last), (vec![Some(1232), None], vec![Some(1232)]));
}

#[test]
fn trouble_names_the_question_and_who_said_what() {
    let bad = Dnsd::new(
        "* !servfail\nrefused.test !refused\nlame.test !lame\nalias.test CNAME end.test\nalias.test !step",
    );
    let dead = Dnsd::new("* !silent");
    let gone = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (two, three) = (bad.address(), dead.address());
    let short = Duration::from_secs(1);
    let all = resolver(&[gone, two, three], short);
    let told = mx(&all, "fail.test").unwrap_err().to_string();
    let start = format!(
        "MX of fail.test: the servers could not find out (SERVFAIL); {gone}: cannot be reached: \
         Connection refused (os error 111), {two} answered SERVFAIL, {three} was silent for 1"
    );
    assert!(told.starts_with(&start), "{told}");
    let told = mx(&all, "refused.test").unwrap_err().to_string();
    assert!(told.contains(&format!("{two} answered REFUSED")), "{told}");
    let one = resolver(&[two], short);
    let told = one.addresses("lame.test").unwrap_err().to_string();
    let lame =
        format!("addresses of lame.test: {two}: an answer from a server that does not know (lame)");
    assert_eq!(told, lame);
    let told = mx(&one, "alias.test").unwrap_err().to_string();
    let alias = "asked for its alias end.test, ";
    assert!(told.contains(alias) && told.ends_with(&format!("{two} answered SERVFAIL")), "{told}");
    // What an answer holds may come from the cache: any of the servers can have given it.
    bad.set("none.test MX 5 mx;rm.test");
    let told = mx(&one, "none.test").unwrap_err().to_string();
    assert_eq!(told, format!("MX of none.test: {two}: no MX record names a host"));
    let silent = resolver(&[three], Duration::from_millis(100));
    let told = mx(&silent, "dead.test").unwrap_err().to_string();
    assert!(told.contains(&format!("; {three} was silent for 2")), "{told}");
    let many = resolver(&[two; 7], short);
    bad.set("* !servfail");
    let told = mx(&many, "fail.test").unwrap_err().to_string();
    assert!(told.ends_with("answered SERVFAIL and 3 more"), "{told}");
}

#[test]
fn more_than_anybody_needs() {
    let mut zone = "giant.test !giant\npointer.test !pointer\n".to_owned();
    for n in 0..1000 {
        zone += &format!("many.test MX {n} mx{n}.test\n");
        zone += &format!("wide.test A 10.0.{}.{}\n", n / 250, n % 250);
    }
    for n in 0..100 {
        zone += &format!("most.test MX {n} mx{n}.test\n");
    }
    let (_dnsd, resolver) = pair(&zone);
    assert!(broken(mx(&resolver, "many.test")).starts_with("1000 records;"));
    assert!(broken(resolver.addresses("wide.test")).starts_with("1000 records;"));
    assert!(matches!(mx(&resolver, "most.test"), Ok(Mx::Hosts(hosts)) if hosts.len() == 100));
    assert!(broken(mx(&resolver, "giant.test")).contains("cannot be read"));
    assert!(broken(mx(&resolver, "pointer.test")).contains("cannot be read"));
}
