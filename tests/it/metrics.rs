//! `listen.metrics`: what it counts, by a strict reader of Prometheus's text format, and what hostile
//! HTTP gets there.

mod chromium;
mod pages;

use crate::filterd::Filter;
use crate::hosts::Host;
use crate::secrecy::{Pair, TLS};
use crate::servers::{Binary, value};
use crate::support::{PATIENCE, Place, config, until};
use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime};

/// A server with the listener, and where that is.
pub fn serve(place: &Place, more: &str) -> (Binary, SocketAddr) {
    let listen = "smtp = [\"127.0.0.1:0\"]";
    let config = config(more);
    let with = config.replacen(listen, &format!("{listen}\nmetrics = [\"127.0.0.1:0\"]"), 1);
    let server = Binary::serve(place, &with);
    let line = server.wait_for(&["listening service=metrics "]);
    (server, value(&line, "address").unwrap().parse().unwrap())
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What comes back for these octets, up to the end; nothing when the connection is only closed.
fn said(address: SocketAddr, octets: &[u8]) -> String {
    let mut stream = connect(address);
    // It may have said all it will before it has read everything.
    let _ = stream.write_all(octets);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

/// The status code of an answer; 0 for none.
fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).map_or(0, |code| code.parse().unwrap())
}

pub fn get(address: SocketAddr, path: &str) -> (String, String) {
    let answer =
        said(address, format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes());
    assert_eq!(status(&answer), 200, "{path}: {answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// Samples by their name with labels; fails at whatever the format does not allow.
fn scrape(address: SocketAddr) -> BTreeMap<String, f64> {
    let (head, body) = get(address, "/metrics");
    assert!(head.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert!(body.ends_with('\n'));
    parse(&body)
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Reads `name="value"`, with the escapes of the format and no others; gives both and what follows.
fn label(text: &str) -> (&str, String, &str) {
    let (name, rest) = text.split_once("=\"").unwrap_or_else(|| panic!("no label: {text}"));
    let (mut is, mut chars) = (String::new(), rest.char_indices());
    loop {
        match chars.next().unwrap_or_else(|| panic!("no end: {text}")) {
            (at, '"') => return (name, is, &rest[at + 1..]),
            (_, '\\') => match chars.next().unwrap().1 {
                'n' => is.push('\n'),
                c @ ('\\' | '"') => is.push(c),
                c => panic!("the escape \\{c}: {text}"),
            },
            (_, c) => is.push(c),
        }
    }
}

fn parse(body: &str) -> BTreeMap<String, f64> {
    let (mut samples, mut seen) = (BTreeMap::new(), HashSet::new());
    let (mut family, mut kind, mut bucket) = (String::new(), String::new(), None);
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split_once(' ').expect(line).0.to_owned();
            assert!(is_name(&family) && family.starts_with("facteur_"), "{line}");
            assert!(seen.insert(family.clone()), "twice: {line}");
            (kind, bucket) = (String::new(), None);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, is) = rest.split_once(' ').expect(line);
            assert!(name == family && kind.is_empty(), "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&is), "{line}");
            assert_eq!(is == "counter", name.ends_with("_total"), "{line}");
            kind = is.to_owned();
        } else {
            assert!(!line.starts_with('#') && !kind.is_empty(), "{line}");
            let (name, number) = line.rsplit_once(' ').expect(line);
            let number: f64 = number.parse().expect(line);
            let (name, labels) = name.split_once('{').unwrap_or((name, "}"));
            let suffix = name.strip_prefix(family.as_str()).expect(line);
            let mut key = name.to_owned();
            let mut le = None;
            if labels != "}" {
                let mut rest = labels;
                while rest != "}" {
                    let (label, is, more) = label(rest.trim_start_matches(','));
                    assert!(is_name(label), "{line}");
                    key = format!("{key} {is}");
                    (le, rest) = ((label == "le").then_some(is), more);
                }
            }
            match (kind.as_str(), suffix) {
                ("histogram", "_bucket") => {
                    let le = le.expect(line).replace("+Inf", "inf").parse::<f64>().expect(line);
                    let rises = bucket.is_none_or(|(last, count)| last < le && count <= number);
                    assert!(rises, "{line}");
                    bucket = Some((le, number));
                }
                ("histogram", "_count") => assert_eq!(bucket, Some((f64::INFINITY, number))),
                ("histogram", "_sum") => assert!(number >= 0.0, "{line}"),
                ("histogram", _) => panic!("{line}"),
                _ => assert!(suffix.is_empty() && number >= 0.0, "{line}"),
            }
            assert!(samples.insert(key, number).is_none(), "twice: {line}");
        }
    }
    samples
}

#[test]
fn numbers_move_as_mail_does() {
    let place = Place::new();
    let (good, far) = (Host::start(""), Host::start("RCPT: 450 4.2.0 later"));
    let more = format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\nretry = [\"1h\"]\n[relay.route]\n\
         \"good.test\" = \"{}\"\n\"far.test\" = \"{}\"\n",
        good.address, far.address
    );
    let (server, address) = serve(&place, &more);
    let before = scrape(address);
    for (name, number) in &before {
        let zero = !name.ends_with("_total") || *number == 0.0;
        assert!(zero || name == "facteur_warnings_total", "{name} {number}");
    }
    let mut client = server.client();
    client.delivered(&["ann@mx.test"], b"Subject: a\r\n\r\nHello.\r\n");
    client.delivered(&["ann@mx.test"], b"Subject: b\r\n\r\nHello.\r\n");
    client.delivered(&["bob@good.test"], b"Subject: c\r\n\r\nHello.\r\n");
    client.delivered(&["eve@far.test"], b"Subject: d\r\n\r\nHello.\r\n");
    client.expect("MAIL FROM:<<", "501 ");
    let wanted = [
        ("facteur_sessions_total smtp", 1.0),
        ("facteur_sessions_open", 1.0),
        ("facteur_commands_total EHLO", 1.0),
        ("facteur_commands_total MAIL", 5.0),
        ("facteur_commands_total RCPT", 4.0),
        ("facteur_commands_total DATA", 4.0),
        ("facteur_commands_total other", 0.0),
        ("facteur_replies_total 354", 4.0),
        ("facteur_replies_total 501", 1.0),
        ("facteur_messages_total accepted", 4.0),
        ("facteur_messages_total refused", 0.0),
        ("facteur_recipients_total delivered", 2.0),
        ("facteur_recipients_total relayed", 1.0),
        ("facteur_recipients_total deferred", 1.0),
        ("facteur_relayed_total no", 1.0),
        ("facteur_relay_connections_total made", 2.0),
        ("facteur_maildirs_made_total", 1.0),
        ("facteur_batch_messages_sum", 4.0),
        ("facteur_queue_messages", 1.0),
        ("facteur_queue deferred", 1.0),
        ("facteur_queue sending", 0.0),
        ("facteur_trace_lost_total", 0.0),
        ("facteur_log_lost_total", 0.0),
    ];
    let mut now = before;
    until(&format!("{wanted:?}"), || {
        now = scrape(address);
        let off: Vec<_> = wanted.iter().filter(|(name, is)| now.get(*name) != Some(is)).collect();
        off.is_empty()
    });
    let next = now["facteur_queue_next_attempt_timestamp_seconds"];
    let today = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!(next > today + 3000.0 && next < today + 4500.0, "{next} {today}");
    let age = now["facteur_queue_oldest_seconds"];
    assert!(age > 0.0 && age < 600.0 && now["facteur_batch_seconds_count"] >= 1.0, "{age}");
    let (_, page) = get(address, "/");
    assert!(page.contains(">delivered</b>") && page.contains(">reply</span> 501 "), "{page}");
    // The message that waits, with its reason and its way out; and who is connected.
    assert!(page.contains("eve@far.test") && page.contains("450 4.2.0 later"), "{page}");
    assert!(page.contains("facteur queue retry m") && page.contains("Sessions<b>1</b>"), "{page}");
    assert!(!page.contains("<script") && page.contains("name=\"viewport\""), "{page}");
    server.stop();
}

#[test]
fn what_filters_did_is_counted() {
    let filter = Filter::start("");
    let place = Place::new();
    let (server, address) = serve(&place, &filter.table("rspamd", "may = [\"quarantine\"]"));
    let mail = b"Subject: x\r\n\r\nHi\r\n";
    filter.change("end*1: reject");
    assert!(server.client().deliver(&["ann@mx.test"], mail).starts_with("550"));
    for script in ["end*1: continue", "end*1: quarantine why | add X: y | continue"] {
        filter.change(script);
        server.client().delivered(&["ann@mx.test"], mail);
    }
    let numbers = || scrape(address);
    until("it is held", || numbers()["facteur_held_messages"] == 1.0);
    let numbers = numbers();
    let of = |action: &str| numbers[&format!("facteur_filtered_total rspamd {action}")];
    let counts = ["accept", "reject", "quarantine", "undone", "failed"].map(of);
    assert_eq!(counts, [2.0, 1.0, 1.0, 1.0, 0.0]);
    assert!(numbers["facteur_filter_seconds_count"] >= 3.0);
    assert_eq!(numbers["facteur_queue_messages"], 1.0);
    // The page says why it waits.
    let page = said(address, format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes());
    assert!(page.contains("is held by rspamd: why"), "{page}");
    server.stop();
}

/// What an administrator is woken for: the end of the certificate, room, a filter that fails, an attempt that is due.
#[test]
fn what_may_go_wrong_has_a_number() {
    let place = Place::new();
    let (before, days) = (SystemTime::now(), Duration::from_secs(90 * 24 * 3600));
    Pair::ending_in(&["mx.test"], 90).write(&place);
    let (server, address) = serve(&place, TLS);
    let numbers = scrape(address);
    let since =
        |when: SystemTime| when.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let ends = numbers["facteur_certificate_expiry_timestamp_seconds"];
    let within = since(before + days) - 1.0..=since(SystemTime::now() + days);
    assert!(within.contains(&ends), "{ends} {within:?}");
    for dir in ["spool", "mail/mx.test"] {
        let of = |name: &str| numbers.get(&format!("{name} {}", place.at(dir).display())).copied();
        let (free, size) = (of("facteur_disk_free_bytes"), of("facteur_disk_size_bytes"));
        assert!(free.unwrap() <= size.unwrap() && size.unwrap() > 0.0, "{dir}: {numbers:?}");
        // Some file systems count no inodes.
        let (free, all) = (of("facteur_disk_free_inodes"), of("facteur_disk_inodes"));
        assert!(free.is_some() == all.is_some() && free <= all, "{dir}: {numbers:?}");
    }
    assert_eq!(numbers["facteur_logins_total failed"], 0.0);
    assert!(!numbers.contains_key("facteur_queue_next_attempt_timestamp_seconds"));
    assert!(!numbers.keys().any(|name| name.starts_with("facteur_filter_resting")), "{numbers:?}");
    let (_, page) = get(address, "/");
    assert!(page.contains("<h2>Certificate") && page.contains("It is good until 2"), "{page}");
    assert!(!page.contains("renew it"), "{page}");
    Pair::ending_in(&["mx.test"], 3).write(&place);
    server.signal("HUP");
    server.wait_for(&["reloaded config="]);
    assert!(scrape(address)["facteur_certificate_expiry_timestamp_seconds"] < ends);
    let (_, page) = get(address, "/");
    assert!(page.contains("<p class=\"bad\">") && page.contains(": renew it</p>"), "{page}");
    server.stop();
}

#[test]
fn a_filter_rests_from_its_failure_to_its_next_answer() {
    let filter = Filter::start("mail*1: (close)\nmail*1: (close)");
    let place = Place::new();
    let table = filter.table("f", "on_failure = \"pass\"");
    let (server, address) = serve(&place, &table);
    let mail = b"Subject: x\r\n\r\nHi\r\n";
    let rests = || scrape(address)["facteur_filter_resting f"];
    assert_eq!(rests(), 0.0);
    server.client().delivered(&["ann@mx.test"], mail);
    server.wait_for(&["filtered ", "action=failed"]);
    assert_eq!(rests(), 1.0);
    // Another configuration of it is another filter, which nobody has asked yet.
    let other = config(&filter.table("f", "on_failure = \"defer\""));
    let listen = "smtp = [\"127.0.0.1:0\"]";
    place.write(
        "facteur.toml",
        other.replacen(listen, &format!("{listen}\nmetrics = [\"127.0.0.1:0\"]"), 1),
    );
    server.signal("HUP");
    server.wait_for(&["reloaded config="]);
    assert_eq!(rests(), 0.0);
    server.client().delivered(&["ann@mx.test"], mail);
    assert_eq!(rests(), 0.0);
    server.stop();
}

#[test]
fn what_is_no_request_for_us_is_refused() {
    let place = Place::new();
    let (server, address) = serve(&place, "");
    let ask =
        |line: &str, host: &str| said(address, format!("{line}\r\n{host}\r\n\r\n").as_bytes());
    let here = format!("Host: {address}");
    for (line, host, code) in [
        ("GET /metrics HTTP/1.1", here.as_str(), 200),
        ("GET /metrics HTTP/1.1", "Host: mx.test:9025", 200),
        ("HEAD / HTTP/1.1", "host: localhost", 200),
        ("GET /style.css HTTP/1.1", "Host: [::1]", 200),
        ("GET /mail HTTP/1.1", "Host: evil.test", 421),
        ("GET /trace/x HTTP/1.1", "Host: evil.test", 421),
        ("POST /mail HTTP/1.1", here.as_str(), 405),
        ("GET /mail/ HTTP/1.1", here.as_str(), 404),
        ("GET /mail/nobody@elsewhere.test HTTP/1.1", here.as_str(), 404),
        ("GET /mail/ann@mx.test/..%2f..%2fspool HTTP/1.1", here.as_str(), 404),
        ("GET /mail/..%2f..@mx.test HTTP/1.1", here.as_str(), 404),
        ("GET /trace/no-such-story HTTP/1.1", here.as_str(), 404),
        ("GET /trace/%ff HTTP/1.1", here.as_str(), 404),
        ("GET /metrics HTTP/1.1", "Host: evil.test", 421),
        ("POST /metrics HTTP/1.1", here.as_str(), 405),
        ("GET /../metrics HTTP/1.1", here.as_str(), 404),
        ("GET /..%2f..%2fetc/passwd HTTP/1.1", here.as_str(), 404),
        ("GET //metrics HTTP/1.1", here.as_str(), 404),
        ("GET /metrics HTTP/1.1", "X: y", 400),
        ("EHLO client.test", here.as_str(), 400),
        (&format!("GET /{} HTTP/1.1", "a".repeat(5000)), here.as_str(), 414),
    ] {
        let answer = ask(line, host);
        assert_eq!(status(&answer), code, "{line:.40} {host}: {answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        for field in [
            "Connection: close",
            "Content-Security-Policy: default-src 'none'; style-src 'self';",
            "X-Content-Type-Options: nosniff",
            "Referrer-Policy: no-referrer",
        ] {
            assert!(head.contains(&format!("\r\n{field}")), "{line:.40}: {head}");
        }
        assert!(!head.contains("Set-Cookie") && !head.contains("evil"), "{head}");
        assert!(!line.starts_with("HEAD") || body.is_empty(), "{body}");
    }
    // Fields without end, and requests behind a request.
    let endless = format!("GET / HTTP/1.1\r\n{here}\r\n{}", "X: y\r\n".repeat(5000));
    assert_eq!(status(&said(address, endless.as_bytes())), 431);
    let two = format!("GET /style.css HTTP/1.1\r\n{here}\r\n\r\n").repeat(2);
    assert_eq!(said(address, two.as_bytes()).matches("HTTP/1.1 ").count(), 1);
    server.stop();
}

/// Half requests keep nobody out: the oldest of them makes room for the next.
#[test]
fn connections_that_say_nothing_are_few_and_end() {
    let place = Place::new();
    let (server, address) = serve(&place, "");
    let mut idle: Vec<TcpStream> = (0..100).map(|_| connect(address)).collect();
    idle[99].write_all(b"GET /").unwrap();
    server.client().delivered(&["ann@mx.test"], b"Subject: x\r\n\r\nHello.\r\n");
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n");
    assert_eq!(status(&said(address, request.as_bytes())), 200);
    // All but the last few are closed by then, without a word, and those end in their time.
    for stream in &mut idle {
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert_eq!(answer, "");
    }
    server.stop();
}

/// A name that is not ours is refused with a reason, and the names that are.
#[test]
fn a_misdirected_request_is_told_why() {
    let place = Place::new();
    let (server, address) = serve(&place, "");
    let answer = said(address, b"GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n");
    assert_eq!(status(&answer), 421);
    for part in ["Host field", "IP address", "localhost", "mx.test"] {
        assert!(answer.contains(part), "no {part:?} in {answer}");
    }
    assert!(!answer.contains("evil"), "{answer}");
    server.stop();
}

#[test]
fn nobody_listens_without_the_key() {
    let place = Place::new();
    let server = Binary::serve(&place, &config(""));
    // Sockets are opened in the order of the services, and all before the first client is answered.
    server.client().expect("NOOP", "250 ");
    let lines = server.lines();
    let listening: Vec<_> = lines.iter().filter(|line| line.starts_with("listening ")).collect();
    assert!(listening.len() == 1 && listening[0].contains("service=smtp "), "{listening:?}");
    server.stop();
}
