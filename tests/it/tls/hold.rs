//! A new certificate that no TLSA record of ours fits waits, while DNS shows securely one that fits the old.

use super::MAIL;
use super::certificates::shown;
use super::owed::record;
use crate::dnsd::Dnsd;
use crate::secrecy::{self, Pair};
use crate::servers::Binary;
use crate::support::{PATIENCE, Place, config, within};
use facteur::limits::PAIR_LOOK;
use std::thread;
use std::time::Duration;

const NAME: &str = "_25._tcp.mx.test";

/// Records that no cache keeps, and how the server says them: `ad` for validated ones.
fn zone(pairs: &[&Pair], says: &str) -> String {
    let records = pairs.iter().map(|pair| format!("{NAME} 0 TLSA {}\n", record(pair)));
    let records: String = records.collect();
    let says = if says.is_empty() { String::new() } else { format!("{NAME} TLSA !{says}\n") };
    format!("{records}{says}")
}

/// A server with this pair, whose name servers say this.
fn serve(place: &Place, dns: &Dnsd, pair: &Pair, trust_ad: bool) -> Binary {
    pair.write(place);
    let servers = format!("servers = [\"{}\"]\ntimeout = \"1s\"", dns.address());
    let dns = format!("[dns]\n{servers}\ntrust_ad = {trust_ad}\n{}", secrecy::TLS);
    Binary::serve(place, &config(&dns))
}

fn reload(server: &Binary, count: usize) {
    server.signal("HUP");
    let told = || {
        let lines = server.lines();
        lines.iter().filter(|line| line.starts_with("reloaded ")).count()
    };
    assert!(within(PATIENCE, || told() == count), "{:#?}", server.lines());
}

#[test]
fn it_waits_for_its_record() {
    let (place, dns) = (Place::new(), Dnsd::new(""));
    let (old, new) = (Pair::of(&["mx.test"]), Pair::of(&["mx.test"]));
    dns.set(&zone(&[&old], "ad"));
    let server = serve(&place, &dns, &old, true);
    // As long as nothing changes nothing is asked.
    reload(&server, 1);
    assert_eq!(dns.asked(NAME, "TLSA"), 0);
    new.write(&place);
    reload(&server, 2);
    assert_eq!(shown(&server), old.der());
    let record = format!("publish first: {NAME} TLSA {}", record(&new));
    server.wait_for(&["warning ", "tls.certificate: no TLSA record of ", &record]);
    server.client().delivered(&["ann@mx.test"], MAIL);
    // Looked at again by the next reload; while DNS does not answer, nothing changes.
    dns.set(&zone(&[], "servfail"));
    reload(&server, 3);
    assert_eq!(shown(&server), old.der());
    server.wait_for(&["warning ", "waits until DNS says", "SERVFAIL"]);
    dns.set(&zone(&[&old, &new], "ad"));
    reload(&server, 4);
    assert_eq!(shown(&server), new.der());
    server.stop();
}

/// What DNS does not say securely holds nothing back, nor what is about neither, nor where the AD bit counts
/// for nothing; and a certificate that ends soon makes way.
#[test]
fn nothing_else_holds_it_back() {
    let other = Pair::of(&["mx.test"]);
    let year = || Pair::ending_in(&["mx.test"], 365);
    for (old, says, trust_ad, about) in [
        (year(), "", true, "old"),
        (year(), "ad", true, "other"),
        (year(), "ad", true, "nothing"),
        (year(), "ad", false, "old"),
        (Pair::ending_in(&["mx.test"], 2), "ad", true, "old"),
    ] {
        let (place, dns, new) = (Place::new(), Dnsd::new(""), year());
        let own = [&old];
        dns.set(&match about {
            "old" => zone(&own, says),
            "other" => zone(&[&other], says),
            _ => zone(&[], says),
        });
        let server = serve(&place, &dns, &old, trust_ad);
        new.write(&place);
        reload(&server, 1);
        assert_eq!(shown(&server), new.der(), "{says} {trust_ad} {about}");
        assert!(!server.lines().iter().any(|line| line.contains("TLSA")), "{:#?}", server.lines());
        server.stop();
    }
}

/// Without a signal: as long as the files are not looked at, a minute.
#[test]
fn a_certificate_that_is_found_waits_too() {
    let (place, dns) = (Place::new(), Dnsd::new(""));
    let (old, new) = (Pair::of(&["mx.test"]), Pair::of(&["mx.test"]));
    dns.set(&zone(&[&old], "ad"));
    let server = serve(&place, &dns, &old, true);
    new.write(&place);
    let told = || {
        let lines = server.lines();
        lines.iter().filter(|line| line.contains("no TLSA record of ")).count()
    };
    let is_told = within(PAIR_LOOK + PATIENCE, || {
        thread::sleep(Duration::from_millis(200)); // of a minute
        shown(&server) == old.der() && told() > 0
    });
    assert!(is_told, "{:#?}", server.lines());
    assert_eq!((told(), dns.asked(NAME, "TLSA")), (1, 1));
    dns.set(&zone(&[&old, &new], "ad"));
    reload(&server, 1);
    assert_eq!(shown(&server), new.der());
    server.stop();
}
