//! `facteur queue why`: every state in which a message can wait, what the command says of it, and that
//! what it names as the release is one.

use super::{Net, ip, post, until_empty};
use crate::commands::run;
use crate::servers::Binary;
use crate::support::{Place, until};
use facteur::store::disk::RealDisk;
use facteur::store::entry::{JournalLine, What};
use facteur::store::queue::Queue;
use jiff::Timestamp;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What it says of a message, all lines.
fn why(place: &Place, id: &str) -> String {
    let (status, out, err) = run(place, &["queue", "why", id]);
    assert_eq!((status, &*err), (0, ""), "{out}");
    let rest = out.strip_prefix(id).unwrap_or_else(|| panic!("{out}"));
    assert!(rest.starts_with(": ") && out.contains("\n  released by: "), "{out}");
    assert!(out.contains("\n  goes back to its sender: in 4d23h, at 20"), "{out}");
    out
}

/// Waits until it says so: what a next hop has not heard yet shows a moment later.
fn until_why(place: &Place, id: &str, parts: &[&str]) {
    let mut said = String::new();
    until(&format!("{id} waits so: {parts:?}"), || {
        said = why(place, id);
        parts.iter().all(|part| said.contains(part))
    });
}

/// All that waits is sent within a second from now.
fn goes_within_a_second(place: &Place) {
    let began = Instant::now();
    until_empty(place);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
}

fn retry(place: &Place, id: &str) {
    let (status, _, err) = run(place, &["queue", "retry", id]);
    assert_eq!((status, &*err), (0, ""));
}

/// A site with one host, for far.test.
fn one(script: &str) -> (Place, Net) {
    let net = Net::new(&[script]);
    net.dns.set(&format!("far.test A {}", ip(0)));
    (Place::new(), net)
}

#[test]
fn after_a_reply_until_a_time() {
    let (place, net) = one("RCPT: 450-4.2.0 not | 450 4.2.0 now");
    let server = Binary::serve(&place, &net.config("retry = [\"1h\"]", ""));
    let id = post(&server, &["bob@far.test"]);
    server.wait_for(&["deferred ", &id]);
    let said = why(&place, &id);
    let parts = [
        "waits until 20",
        "released by: that time, in 1h0",
        "450-4.2.0 not / 450 4.2.0 now",
        "127.0.0.2",
    ];
    assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    assert!(said.contains("\n  for: bob@far.test\n"), "{said}");
    net.hosts[0].change("RCPT: 250 ok");
    retry(&place, &id);
    goes_within_a_second(&place);
    server.stop();
}

#[test]
fn at_a_next_hop_that_is_left_alone_until_somebody_is_answered() {
    let (place, net) = one("greeting: 421 4.3.2 closed");
    let server = Binary::serve(&place, &net.config("retry = [\"1h\"]", ""));
    let first = post(&server, &["bob@far.test"]);
    server.wait_for(&["deferred ", &first]);
    let second = post(&server, &["eve@far.test"]);
    let alone = "waits because far.test by MX is left alone until 20";
    until_why(&place, &second, &[alone, "421 4.3.2 closed", "any answer there"]);
    net.hosts[0].change("greeting: 220 x");
    retry(&place, &first);
    goes_within_a_second(&place);
    server.stop();
}

#[test]
fn for_dns() {
    let (place, net) = one("");
    net.dns.set("far.test !servfail");
    let server = Binary::serve(&place, &net.config("retry = [\"1h\"]", ""));
    let [first, second] = ["bob", "eve"].map(|to| {
        let id = post(&server, &[&format!("{to}@far.test")]);
        server.wait_for(&["deferred ", &id]);
        id
    });
    for id in [&first, &second] {
        until_why(&place, id, &["waits until 20", "because DNS failed: 4.4.3 ", "far.test"]);
    }
    net.dns.set(&format!("far.test A {}", ip(0)));
    retry(&place, &first);
    goes_within_a_second(&place);
    server.stop();
}

#[test]
fn for_a_maildir() {
    let (place, net) = one("");
    fs::create_dir_all(place.at("mail/mx.test")).unwrap();
    fs::write(place.maildir("ann"), "in the way").unwrap();
    let server = Binary::serve(&place, &net.config("retry = [\"1h\"]", ""));
    let id = post(&server, &["ann@mx.test", "zoe@mx.test"]);
    until_why(&place, &id, &["because the Maildir of ann@mx.test failed: ", "mail/mx.test/ann"]);
    fs::remove_file(place.maildir("ann")).unwrap();
    retry(&place, &id);
    goes_within_a_second(&place);
    server.stop();
}

#[test]
fn while_it_is_sent_and_behind_another() {
    let (place, net) = one("RCPT TO:<bob@: (wait 1500) | 250 ok");
    let server = Binary::serve(&place, &net.config("per_destination = 1", ""));
    let first = post(&server, &["bob@far.test"]);
    let others = ["eve", "zoe"].map(|to| post(&server, &[&format!("{to}@far.test")]));
    until_why(&place, &first, &["is being sent now"]);
    for (id, before) in others.iter().zip(1..) {
        let place_in_line = format!("is due, at place {} for ", before + 1);
        until_why(&place, id, &[&place_in_line, &format!("{before} before it"), "per_destination"]);
    }
    server.wait_for(&["relayed ", &first]);
    goes_within_a_second(&place);
    server.stop();
}

/// One thread, and one more that stands in for it while a host is slow: both are busy elsewhere.
#[test]
fn until_a_thread_is_free() {
    let slow = ".: (wait 3000) | 250 2.0.0 taken";
    let (place, net) = (Place::new(), Net::new(&[slow, slow, ""]));
    net.dns.set(&format!("a.test A {}\nb.test A {}\nc.test A {}\n", ip(0), ip(1), ip(2)));
    let config = net.config("threads = 1", "").replace("final = \"2s\"", "final = \"60s\"");
    let server = Binary::serve(&place, &config);
    let first = post(&server, &["bob@a.test"]);
    post(&server, &["bob@b.test"]);
    until("both are at it", || net.hosts[..2].iter().all(|host| host.count("DATA") == 1));
    let last = post(&server, &["bob@c.test"]);
    until_why(
        &place,
        &last,
        &["is due, as the next one for c.test by MX\n", "a free thread; of 1 "],
    );
    server.wait_for(&["relayed ", &first]);
    goes_within_a_second(&place);
    server.stop();
}

/// Its last recipient is done, and its file still there.
#[test]
fn until_its_file_is_removed() {
    let (place, net) = one("RCPT: 450 4.2.0 later");
    let server = Binary::serve(&place, &net.config("retry = [\"1h\"]", ""));
    let id = post(&server, &["bob@far.test"]);
    server.wait_for(&["deferred ", &id]);
    let queue = Queue::new(Arc::new(RealDisk), &place.at("spool"));
    let (when, what) = (Timestamp::now(), What::Relayed);
    let (host, words) = ("mx.far.test".to_owned(), "250 2.0.0 taken".to_owned());
    let line = [JournalLine { when, recipient: 0, what, host, words }];
    // The attempt that was told of may still hold it.
    until("it is noted", || queue.claim(&id).is_ok_and(|claimed| claimed.note(&line).is_ok()));
    until_why(&place, &id, &["has nobody left to go to\n", "the removal of its file"]);
    server.signal("USR1");
    goes_within_a_second(&place);
    server.stop();
}

/// Of an attempt that is not over its story has nothing yet but this.
#[test]
fn a_story_of_what_is_being_sent() {
    let (place, net) = one("RCPT TO:<bob@: (silent)");
    let server = Binary::serve(&place, &net.config("retry = [\"1s\"]", ""));
    let id = post(&server, &["bob@far.test"]);
    until("its story says so", || {
        let (_, told, _) = run(&place, &["trace", &id]);
        told.contains("next attempt now; the message is being sent now\"")
    });
    server.stop();
}

#[test]
fn without_a_server() {
    let (place, net) = one("greeting: 421 4.3.2 closed");
    let config = net.config("retry = [\"1s\"]", "");
    let server = Binary::serve(&place, &config);
    let id = post(&server, &["bob@far.test"]);
    server.wait_for(&["deferred ", &id]);
    server.stop();
    let said = why(&place, &id);
    assert!(said.contains(": waits for a server: none runs on this spool\n"), "{said}");
    net.hosts[0].change("greeting: 220 x");
    let server = Binary::serve(&place, &config);
    until_empty(&place);
    server.stop();
}
