//! Servers that fail or are silent, time, and many threads.

use super::{LONG, found, hosts, mx, pair, resolver};
use crate::dnsd::Dnsd;
use crate::support::until;
use facteur::net::dns::{DnsError, DnsFault, Mx, RecordKind, Resolver};
use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

/// For tries that have to fail.
const SHORT: Duration = Duration::from_millis(250);

#[test]
fn a_server_that_fails_is_followed_by_the_next() {
    let good = Dnsd::new("example.test MX 10 mx.test");
    for fault in ["servfail", "refused", "notauth", "garbage", "lame"] {
        let bad = Dnsd::new(&format!("* !{fault}"));
        let resolver = resolver(&[bad.address(), good.address()], LONG);
        assert_eq!(mx(&resolver, "example.test"), hosts(&[(10, "mx.test")]), "{fault}");
        assert_eq!(mx(&resolver, "nowhere.test"), Ok(Mx::NoDomain), "{fault}");
        // What could be a server without EDNS is asked once without.
        let each = if ["servfail", "garbage"].contains(&fault) { 2 } else { 1 };
        assert_eq!((bad.log().len(), good.log().len()), (2 * each, 2), "{fault}");
        good.forget();
    }
}

#[test]
fn a_dead_server_is_followed_by_the_next() {
    let good = Dnsd::new("a.test MX 10 mx.test\nb.test MX 20 mx.test");
    let dead = Dnsd::new("* !silent");
    // The port of a socket that is gone: nobody listens there, and the kernel says so.
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let servers = [closed, dead.address(), good.address()];
    let resolver = resolver(&servers, Duration::from_secs(1));
    let began = Instant::now();
    assert_eq!(mx(&resolver, "a.test"), hosts(&[(10, "mx.test")]));
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    // From now on it is asked last.
    assert_eq!(mx(&resolver, "b.test"), hosts(&[(20, "mx.test")]));
    // With EDNS and without, but for one question only.
    assert_eq!((dead.log().len(), good.log().len()), (2, 2));
    // A silent server does not hide what another one says.
    good.set("* !servfail");
    assert_eq!(mx(&resolver, "c.test").unwrap_err().what, DnsFault::ServFail);
}

#[test]
fn who_waits_no_longer_than_this() {
    let dead = Dnsd::new("* !silent");
    let good = Dnsd::new("a.test MX 10 mx.test");
    let alone = resolver(&[dead.address()], LONG);
    let began = Instant::now();
    let error = alone.lookup_within(b"a.test", RecordKind::Mx, SHORT).unwrap_err();
    assert!(matches!(error.what, DnsFault::Timeout(_)), "{error}");
    assert!(began.elapsed() < LONG / 2, "{:?}", began.elapsed());
    // Nothing is left of that for who waits longer, and the server has had no whole try: it is asked first.
    let both = resolver(&[dead.address(), good.address()], 4 * SHORT);
    both.lookup_within(b"b.test", RecordKind::Mx, SHORT).unwrap_err();
    dead.forget();
    assert_eq!(mx(&both, "a.test"), hosts(&[(10, "mx.test")]));
    assert!(dead.asked("a.test", "MX") > 0);
}

#[test]
fn nobody_answers() {
    let dead = Dnsd::new("* !silent\ncut.test !truncate\ncut.test !tcp-silent");
    let resolver = resolver(&[dead.address(), dead.address()], SHORT);
    for name in ["dead.test", "cut.test"] {
        let began = Instant::now();
        let error = mx(&resolver, name).unwrap_err();
        let DnsFault::Timeout(time) = error.what else { panic!("{error}") };
        // Two servers, two tries each, with EDNS and without.
        assert!(time >= 4 * SHORT && time <= began.elapsed() && time < LONG, "{time:?}");
    }
    assert_eq!(dead.asked("dead.test", "MX"), 8);
    let what = DnsFault::Timeout(Duration::from_millis(5003));
    let servers = String::new();
    let error = DnsError { name: "MX of example.net".to_owned(), what, servers };
    assert_eq!(error.to_string(), "MX of example.net: no server answered in 5s");
}

#[test]
fn a_datagram_gets_lost() {
    let dnsd = Dnsd::new("example.test MX 10 mx.test\nexample.test !lossy");
    let resolver = resolver(&[dnsd.address()], Duration::from_secs(1));
    assert_eq!(mx(&resolver, "example.test"), hosts(&[(10, "mx.test")]));
    assert_eq!(dnsd.asked("example.test", "MX"), 2);
}

#[test]
fn answers_live_as_long_as_they_say() {
    let (dnsd, resolver) = pair(
        "long.test 300 MX 10 mx.test\nnever.test 0 MX 10 mx.test\nshort.test 1 MX 10 mx.test\n\
         alias.test 0 CNAME far.test\nalias.test !step\nfar.test MX 10 mx.test\n\
         fail.test !servfail",
    );
    for _ in 0..3 {
        assert_eq!(mx(&resolver, "long.test"), hosts(&[(10, "mx.test")]));
        assert_eq!(mx(&resolver, "never.test"), hosts(&[(10, "mx.test")]));
        assert_eq!(mx(&resolver, "alias.test"), hosts(&[(10, "mx.test")]));
        assert_eq!(mx(&resolver, "nowhere.test"), Ok(Mx::NoDomain));
        assert!(mx(&resolver, "fail.test").is_err());
    }
    let asked = |name| dnsd.asked(name, "MX");
    assert_eq!((asked("long.test"), asked("nowhere.test")), (1, 1));
    assert_eq!((asked("never.test"), asked("alias.test"), asked("fail.test")), (3, 3, 3));
    // A second is over when it is over.
    let began = Instant::now();
    assert_eq!(mx(&resolver, "short.test"), hosts(&[(10, "mx.test")]));
    dnsd.set("short.test MX 10 new.test");
    until("the answer has expired", || mx(&resolver, "short.test") == hosts(&[(10, "new.test")]));
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[test]
fn sixteen_threads_at_once() {
    let mut zone = "dead.test !silent\n".to_owned();
    for n in 0..50 {
        zone += &format!("d{n}.test MX 5 mx{n}.test\nmx{n}.test CNAME h{n}.test\n");
        zone += &format!("mx{n}.test !step\nh{n}.test A 192.0.2.{n}\n");
    }
    let dnsd = Dnsd::new(&zone);
    let resolver = resolver(&[dnsd.address()], LONG);
    thread::scope(|scope| {
        for shift in 0..16 {
            let (resolver, work) = (&resolver, move |n: usize| (n + shift) % 50);
            // Small stacks, as the threads of the server have.
            let thread = thread::Builder::new().stack_size(facteur::limits::SESSION_STACK);
            let ask = move || {
                for n in (0..100).map(work) {
                    let host = format!("mx{n}.test");
                    assert_eq!(mx(resolver, &format!("d{n}.test")), hosts(&[(5, &host)]));
                    assert_eq!(resolver.addresses(&host), found(&[&format!("192.0.2.{n}")]));
                }
            };
            thread.spawn_scoped(scope, ask).unwrap();
        }
    });
    // Who asks what is being asked waits for that answer; later ones come from the cache.
    assert!(dnsd.log().len() < 16 * 250, "{}", dnsd.log().len());
}

#[test]
fn one_question_for_all_who_ask_it() {
    let dnsd = Dnsd::new("slow.test MX 10 mx.test\nslow.test !lossy");
    let resolver = resolver(&[dnsd.address()], Duration::from_secs(1));
    thread::scope(|scope| {
        let ask = || scope.spawn(|| mx(&resolver, "slow.test"));
        let first = ask();
        until("the first asks", || dnsd.asked("slow.test", "MX") == 1);
        let others = [(); 15].map(|()| ask());
        for answer in others.into_iter().chain([first]) {
            assert_eq!(answer.join().unwrap(), hosts(&[(10, "mx.test")]));
        }
    });
    assert!(dnsd.log().len() < 16, "{:?}", dnsd.log());
}
