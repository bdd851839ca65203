//! Requests over HTTPS (`net::https`) to servers that answer, lie, hang and break: each is over in its time, and says
//! what went wrong.

use crate::dnsd::Dnsd;
use crate::secrecy::{self, Pair};
use crate::webd::{Page, Webd};
use facteur::config::Config;
use facteur::net::dns::{DnsResolver, Resolver};
use facteur::net::https::{Https, HttpsFault, HttpsPage};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const MOST: usize = 64 * 1024;

/// A client that believes the authority of the tests, and has so long for each request.
fn client(dns: &Dnsd, time: Duration) -> Https {
    let text = format!(
        "{}[dns]\nservers = [\"{}\"]\ntimeout = \"1s\"\n",
        crate::support::config(""),
        dns.address()
    );
    let config = Config::parse(&text, Path::new("/etc/facteur.toml")).unwrap();
    let resolver: Arc<dyn Resolver> = Arc::new(DnsResolver::new(&config.dns));
    let authority = CertificateDer::from_pem_slice(secrecy::authority().as_bytes()).unwrap();
    Https::new(resolver, &[authority], time)
}

const LONG: Duration = Duration::from_secs(30);

fn names() -> Dnsd {
    Dnsd::new("*.web.test A 127.0.0.1\na.web.test A 127.0.0.1\nb.web.test A 127.0.0.1\n")
}

fn page(status: u16, media: &str, body: &[u8]) -> HttpsPage {
    HttpsPage { status, media: Some(media.as_bytes().to_owned()), body: body.to_owned() }
}

#[test]
fn a_page_is_fetched_and_a_text_posted() {
    let (dns, web) = (names(), Webd::new(&Pair::of(&["a.web.test"])));
    let https = client(&dns, LONG);
    let url = format!("https://a.web.test:{}/x/y.txt", web.address.port());
    web.set("a.web.test", Page::text("hello\n"));
    assert_eq!(https.get(&url, MOST), Ok(page(200, "text/plain", b"hello\n")));
    // Of other answers no body is read.
    for status in [204, 301, 404, 500] {
        web.set("a.web.test", Page::of(status, "text/html", "x"));
        assert_eq!(https.get(&url, MOST).unwrap().status, status);
    }
    web.set("a.web.test", Page::Octets(b"HTTP/1.1 200 x\r\n\r\nto the end".to_vec()));
    let found = https.get(&url, MOST).unwrap();
    assert_eq!((found.media, found.body), (None, b"to the end".to_vec()));
    let chunked = b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    web.set("a.web.test", Page::Octets(chunked.to_vec()));
    assert_eq!(https.get(&url, MOST).unwrap().body, b"hi");

    web.set("a.web.test", Page::of(202, "text/plain", "thanks"));
    assert_eq!(https.post(&url, "application/tlsrpt+gzip", b"\x1f\x8b report"), Ok(202));
    let asked = web.asked().pop().unwrap();
    assert_eq!((asked.name.as_str(), asked.what.as_str()), ("a.web.test", "POST /x/y.txt"));
    assert_eq!(asked.body, b"\x1f\x8b report");
    assert!(asked.header.contains(&"content-type: application/tlsrpt+gzip".to_owned()));
    web.set("a.web.test", Page::of(500, "text/plain", ""));
    assert_eq!(https.post(&url, "text/plain", b"x"), Ok(500));
}

#[test]
fn redirects_and_the_environment_are_not_followed() {
    let (dns, web) = (names(), Webd::new(&Pair::of(&["a.web.test", "b.web.test"])));
    let url = format!("https://a.web.test:{}/", web.address.port());
    let other = format!("https://b.web.test:{}/", web.address.port());
    let head = format!("HTTP/1.1 302 x\r\nLocation: {other}\r\nContent-Length: 0\r\n\r\n");
    web.set("a.web.test", Page::Octets(head.into_bytes()));
    assert_eq!(client(&dns, LONG).get(&url, MOST).unwrap().status, 302);
    assert_eq!(web.count("b.web.test"), 0);
}

#[test]
fn only_the_host_that_was_asked_for_is_believed() {
    let dns = names();
    for (pair, words) in [
        (Pair::self_signed(&["a.web.test"]), "nobody that this system trusts"),
        (Pair::of(&["b.web.test"]), "the certificate is not for a.web.test"),
        (Pair::of(&["*.other.test"]), "the certificate is not for a.web.test"),
        (Pair::with(&["a.web.test"], (2001, 2002), true), "the certificate is out of date"),
    ] {
        let web = Webd::new(&pair);
        web.set("a.web.test", Page::text("hello"));
        let url = format!("https://a.web.test:{}/", web.address.port());
        let found = client(&dns, LONG).get(&url, MOST).unwrap_err();
        assert!(
            matches!(&found, HttpsFault::Certificate(what) if what.contains(words)),
            "{found:?}"
        );
        assert!(web.asked().is_empty());
    }
    // A wildcard stands for one label, and is fine.
    let web = Webd::new(&Pair::of(&["*.web.test"]));
    web.set("a.web.test", Page::text("hello"));
    let url = format!("https://a.web.test:{}/", web.address.port());
    assert_eq!(client(&dns, LONG).get(&url, MOST).unwrap().status, 200);
}

#[test]
fn names_and_urls_that_lead_nowhere() {
    let dns = Dnsd::new(
        "none.test TXT x\nfail.test !servfail\ndead.test A 127.0.0.1\nsilent.test !silent\n",
    );
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let https = client(&dns, Duration::from_secs(3));
    let told = |url: &str| https.get(url, MOST).unwrap_err();
    for (url, words) in [
        ("https://none.test/", "none.test has no address"),
        ("https://not.there.test/", "not.there.test has no address"),
        ("https://fail.test/", "SERVFAIL"),
        ("https://silent.test/", "no server answered"),
    ] {
        let found = told(url);
        assert!(
            matches!(&found, HttpsFault::Name(what) if what.contains(words)),
            "{url} {found:?}"
        );
    }
    let refused = told(&format!("https://dead.test:{nobody}/"));
    assert!(
        matches!(&refused, HttpsFault::Broken(what) if what.contains("refused")),
        "{refused:?}"
    );
    for url in
        ["http://dead.test/", "ftp://dead.test/", "dead.test", "https://", "https://a b/", ""]
    {
        assert!(matches!(told(url), HttpsFault::Url(_)), "{url} {:?}", told(url));
    }
}

#[test]
fn what_is_too_long_or_breaks_is_no_page() {
    let (dns, web) = (names(), Webd::new(&Pair::of(&["a.web.test"])));
    let url = format!("https://a.web.test:{}/", web.address.port());
    let https = client(&dns, Duration::from_secs(5));
    let body = "x".repeat(MOST);
    web.set("a.web.test", Page::text(&body));
    assert_eq!(https.get(&url, MOST).unwrap().body.len(), MOST);
    let chunked = b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let piece = format!("1000\r\n{}\r\n", "a".repeat(0x1000)).into_bytes();
    let ok = b"HTTP/1.1 200 x\r\n".to_vec();
    for (page, long) in [
        (Page::text(&format!("{body}x")), true),
        (Page::Octets([chunked.clone(), piece.repeat(33), b"0\r\n\r\n".to_vec()].concat()), true),
        (Page::Drip(chunked.clone(), piece, 0), true),
        (Page::Drip(b"HTTP/1.1 200 x\r\n\r\n".to_vec(), b"y".repeat(999), 0), true),
        (Page::Drip(ok.clone(), b"X-Long: yes\r\n".repeat(50), 0), false),
        (Page::Drip(ok.clone(), b"z".repeat(999), 0), false),
        (Page::Drip(Vec::new(), b"HTTP/1.1 100 x\r\n\r\n".repeat(10_000), 0), false),
        (Page::Octets(b"HTTP/1.1 200 x\r\nContent-Length: 9\r\n\r\nshort".to_vec()), false),
        (Page::Octets([chunked.clone(), b"5\r\nab".to_vec()].concat()), false),
        (Page::Octets([chunked, b"zz\r\nab\r\n0\r\n\r\n".to_vec()].concat()), false),
        (Page::Octets(Vec::new()), false),
        (Page::Octets(b"220 mail.test ESMTP\r\n".to_vec()), false),
        (Page::Octets(b"\0\xff\r\n\r\n".repeat(99)), false),
        (
            Page::Octets(
                b"HTTP/1.1 200 x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello".to_vec(),
            ),
            false,
        ),
        (Page::Octets(b"HTTP/1.1 200 x\r\nContent-Length: -5\r\n\r\nhello".to_vec()), false),
        (
            Page::Octets(
                b"HTTP/1.1 200 x\r\nContent-Length: 99999999999999999999999\r\n\r\nh".to_vec(),
            ),
            false,
        ),
        (Page::Reset(ok), false),
        (Page::Reset(b"HTTP/1.1 200 x\r\nContent-Length: 9\r\n\r\nsho".to_vec()), false),
    ] {
        web.set("a.web.test", page);
        let began = Instant::now();
        let found = https.get(&url, MOST).unwrap_err();
        let is_broken = matches!(found, HttpsFault::Broken(_) | HttpsFault::Late(_));
        assert_eq!((matches!(found, HttpsFault::Long(_)), is_broken), (long, !long), "{found:?}");
        assert!(began.elapsed() < LONG, "{found:?}");
    }
}

#[test]
fn a_request_is_over_in_its_time_whatever_the_server_does() {
    let (dns, web) = (names(), Webd::new(&Pair::of(&["a.web.test"])));
    let url = format!("https://a.web.test:{}/", web.address.port());
    let time = Duration::from_secs(1);
    let https = client(&dns, time);
    let ok = b"HTTP/1.1 200 x\r\nContent-Length: 60000\r\n\r\n".to_vec();
    let chunked = b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let late = |found: Result<HttpsPage, HttpsFault>, began: Instant| {
        assert_eq!(found, Err(HttpsFault::Late(time)));
        assert!(began.elapsed() >= time && began.elapsed() < 20 * time, "{:?}", began.elapsed());
    };
    for page in [
        Page::Held(Vec::new()),
        Page::Held(b"HTTP/1.1 200 x\r\n".to_vec()),
        Page::Held(ok.clone()),
        Page::Held(b"HTTP/1.1 200 x\r\n\r\nno end".to_vec()),
        Page::Drip(b"HTTP/1.1 200 x".to_vec(), b"x".to_vec(), 30),
        Page::Drip(b"HTTP/1.1 200 x\r\n".to_vec(), b"x: y\r\n".to_vec(), 30),
        Page::Drip(ok, b"a".to_vec(), 30),
        Page::Drip(chunked, b"1\r\na\r\n".to_vec(), 30),
    ] {
        web.set("a.web.test", page);
        let began = Instant::now();
        late(https.get(&url, MOST), began);
        let began = Instant::now();
        let posted = https.post(&url, "text/plain", b"x");
        assert!(posted.is_err() || posted == Ok(200), "{posted:?}");
        assert!(began.elapsed() < 20 * time);
    }
    // A handshake that never comes.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://a.web.test:{}/", listener.local_addr().unwrap().port());
    let began = Instant::now();
    late(https.get(&url, MOST), began);
}

#[test]
fn strangers_lead_to_no_private_address() {
    let dns = Dnsd::new(
        "a.web.test A 127.0.0.1\nmixed.web.test A 127.0.0.1\nmixed.web.test A 192.168.0.1\nsix.web.test AAAA ::1\n\
         mapped.web.test AAAA ::ffff:10.0.0.1\nlink.web.test A 169.254.169.254\n",
    );
    let web = Webd::new(&Pair::of(&["*.web.test"]));
    web.set("a.web.test", Page::text("hello"));
    let https = client(&dns, LONG).only_to_the_world();
    for name in ["a", "mixed", "six", "mapped", "link"] {
        let url = format!("https://{name}.web.test:{}/", web.address.port());
        let found = https.post(&url, "text/plain", b"x").unwrap_err();
        assert!(
            matches!(&found, HttpsFault::Name(what) if what.contains("which is no public address")),
            "{name} {found:?}"
        );
    }
    let own = format!("https://127.0.0.1:{}/", web.address.port());
    assert!(matches!(https.post(&own, "text/plain", b"x"), Err(HttpsFault::Name(_))));
    assert!(web.asked().is_empty());
}
