//! Mail through the whole server to other hosts: queue, next hops, retries, notices.

use crate::hosts::Host;
use crate::servers::Binary;
use crate::support::{Place, config, files, text, until};

/// A site that relays for this machine, far.test to that host, with more keys of `relay`.
fn relay(far: &Host, more: &str) -> String {
    let address = far.address;
    config(&format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\n{more}\n[relay.route]\n\"far.test\" = \"{address}\"\n"
    ))
}

/// What lies in the queue.
fn queue(place: &Place) -> Vec<String> {
    let read = |path: &std::path::PathBuf| std::fs::read(path).map(|octets| text(&octets)).ok();
    files(&place.at("spool/queue")).iter().filter_map(read).collect()
}

fn until_empty(place: &Place) {
    until("the queue is empty", || queue(place).is_empty());
}

const MESSAGE: &[u8] = b"Subject: hi\r\n\r\n.dot\r\nend\r\n";

#[test]
fn a_message_reaches_its_next_hop_and_leaves_the_queue() {
    let (place, far) = (Place::new(), Host::start(""));
    let server = Binary::serve(&place, &relay(&far, ""));
    server.client().delivered(&["bob@far.test", "ann@mx.test", "eve@far.test"], MESSAGE);
    server.wait_for(&["relayed ", "to=bob@far.test", "tls=no", "reply=\"250 2.0.0 taken\""]);
    server.wait_for(&["relayed ", "to=eve@far.test"]);
    until_empty(&place);
    let mail = far.mail();
    assert_eq!(
        (mail.len(), mail[0].to.clone()),
        (1, vec!["bob@far.test".into(), "eve@far.test".into()])
    );
    let got = text(&mail[0].octets);
    assert!(
        got.starts_with("Received: from ") && got.ends_with("\r\n\r\n.dot\r\nend\r\n"),
        "{got}"
    );
    assert_eq!(place.mail("ann").len(), 1);
    server.stop();
}

#[test]
fn a_refusal_goes_back_to_its_sender() {
    let (place, far) =
        (Place::new(), Host::start("RCPT TO:<no@: 550-5.1.1 nobody | 550 5.1.1 at all"));
    let server = Binary::serve(&place, &relay(&far, ""));
    let mut client = server.client();
    client.expect("MAIL FROM:<ann@mx.test>", "250");
    for to in ["no@far.test", "bob@far.test"] {
        client.expect(&format!("RCPT TO:<{to}>"), "250");
    }
    client.expect("DATA", "354");
    client.send(b"Subject: hi\r\n\r\nx\r\n.\r\n");
    assert!(client.reply().starts_with("250"));
    server.wait_for(&["bounced ", "to=no@far.test", "nobody / 550 5.1.1 at all"]);
    server.wait_for(&["delivered ", "to=ann@mx.test"]);
    until_empty(&place);
    let notice = text(&place.mail("ann")[0]);
    for part in ["Return-Path: <>", "Final-Recipient: rfc822; no@far.test", "Status: 5.1.1"] {
        assert!(notice.contains(part), "{part} in {notice}");
    }
    server.stop();
}

#[test]
fn what_is_deferred_is_attempted_again() {
    let (place, far) = (Place::new(), Host::start("RCPT: 450 4.2.0 later"));
    let server = Binary::serve(&place, &relay(&far, "retry = [\"1h\"]"));
    server.client().delivered(&["bob@far.test"], MESSAGE);
    let line = server.wait_for(&["deferred ", "to=bob@far.test", "450 4.2.0 later"]);
    assert!(line.contains(" next=20"), "{line}");
    assert!(queue(&place)[0].contains(" 0 deferred "), "{:?}", queue(&place));
    far.change("greeting: 220 x\nRCPT: 250 ok");
    server.signal("USR1");
    server.wait_for(&["relayed ", "to=bob@far.test"]);
    until_empty(&place);
    server.stop();
}

#[test]
fn what_waits_is_found_again_after_a_kill() {
    let (place, far) = (Place::new(), Host::start("greeting: 421 4.3.2 not now"));
    let config = relay(&far, "retry = [\"1s\"]");
    let server = Binary::serve(&place, &config);
    server.client().delivered(&["bob@far.test"], MESSAGE);
    server.wait_for(&["deferred ", "421 4.3.2 not now"]);
    drop(server);
    far.change("greeting: 220 x\nRCPT: 250 ok");
    let server = Binary::serve(&place, &config);
    server.wait_for(&["relayed ", "to=bob@far.test"]);
    until_empty(&place);
    assert_eq!(far.mail().len(), 1);
    server.stop();
}

#[test]
fn silent_hosts_hold_up_nobody() {
    let (place, far) = (Place::new(), Host::start(""));
    let silent: Vec<Host> = (0..4).map(|_| Host::start("greeting: (silent)")).collect();
    let mut config = relay(&far, "");
    for (index, host) in silent.iter().enumerate() {
        config += &format!("\"silent{index}.test\" = \"{}\"\n", host.address);
    }
    let server = Binary::serve(&place, &config);
    let mut client = server.client();
    for number in 0..200 {
        client.delivered(&[&format!("x@silent{}.test", number % 4)], MESSAGE);
    }
    // One message for a dead host and a living one, too.
    client.delivered(&["x@silent0.test", "eve@far.test"], MESSAGE);
    let began = std::time::Instant::now();
    client.delivered(&["bob@far.test"], MESSAGE);
    server.wait_for(&["relayed ", "to=bob@far.test"]);
    server.wait_for(&["relayed ", "to=eve@far.test"]);
    assert!(began.elapsed() < std::time::Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(queue(&place).len(), 201);
    server.stop();
}

#[test]
fn many_silent_hosts_hold_up_nobody() {
    let (place, far) = (Place::new(), Host::start(""));
    let silent = Host::start("greeting: (silent)");
    let port = silent.address.port();
    let mut config = relay(&far, "threads = 4");
    for index in 0..20 {
        // Each address of loopback is a next hop of its own.
        config += &format!("\"silent{index}.test\" = \"127.0.0.{}:{port}\"\n", index + 10);
    }
    let hosts: Vec<Host> = (0..20)
        .map(|i| Host::beside(&silent, &format!("127.0.0.{}", i + 10), "greeting: (silent)"))
        .collect();
    let server = Binary::serve(&place, &config);
    let mut client = server.client();
    for number in 0..20 {
        client.delivered(&[&format!("x@silent{number}.test")], MESSAGE);
    }
    until("all threads call", || {
        hosts.iter().filter(|host| host.seen().connections > 0).count() >= 3
    });
    let began = std::time::Instant::now();
    client.delivered(&["bob@far.test"], MESSAGE);
    server.wait_for(&["relayed ", "to=bob@far.test"]);
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
    server.stop();
}
