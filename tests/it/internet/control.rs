//! What people do while mail waits: commands, signals, a mended configuration.

use super::{Net, count, listed, mail, post, queue, until_empty, wait_for_count};
use crate::commands::run;
use crate::hosts::Host;
use crate::servers::Binary;
use crate::support::{Place, files, until};
use facteur::store::disk::RealDisk;
use facteur::store::queue::Queue;
use std::sync::Arc;

/// A server with one message for each of these, of whom all were deferred for an hour.
fn deferred(place: &Place, net: &Net, to: &[&str]) -> (Binary, Vec<String>) {
    let server = Binary::serve(place, &net.config("retry = [\"1h\"]", ""));
    let ids: Vec<String> = to.iter().map(|to| post(&server, &[to])).collect();
    for id in &ids {
        server.wait_for(&["deferred ", id]);
    }
    let queue = Queue::new(Arc::new(RealDisk), &place.at("spool"));
    // The log tells it a moment before the claim is given back.
    until("nothing is under way", || ids.iter().all(|id| queue.claim(id).is_ok()));
    (server, ids)
}

const LATER: &str = "RCPT: 450 4.2.0 later";

#[test]
fn retry_of_one_and_of_all() {
    let (place, net) = (Place::new(), Net::new(&[LATER]));
    net.dns.set("far.test A 127.0.0.2");
    let (server, ids) = deferred(&place, &net, &["a@far.test", "b@far.test", "c@far.test"]);
    net.hosts[0].change("RCPT: 250 2.1.5 ok");
    let (status, out, err) = run(&place, &["queue", "retry", &ids[1]]);
    assert_eq!((status, &*err), (0, ""));
    assert!(out.contains("will be attempted now"), "{out}");
    server.wait_for(&["relayed ", &ids[1], "to=b@far.test"]);
    until("two wait", || files(&place.at("spool/queue")).len() == 2);
    assert_eq!(net.taken(0), ["b@far.test"]);
    assert_eq!(run(&place, &["queue", "retry", "--all"]).0, 0);
    until_empty(&place);
    assert_eq!((net.taken(0).len(), listed(&place).len()), (3, 0));
    server.stop();
}

#[test]
fn what_is_removed_is_sent_to_nobody() {
    let (place, net) = (Place::new(), Net::new(&[LATER]));
    net.dns.set("far.test A 127.0.0.2");
    let (server, ids) = deferred(&place, &net, &["a@far.test", "b@far.test"]);
    let (status, _, err) = run(&place, &["queue", "remove", &ids[0]]);
    assert_eq!((status, &*err), (0, ""));
    assert_eq!(listed(&place).len(), 1);
    net.hosts[0].change("RCPT: 250 2.1.5 ok");
    server.signal("USR1");
    until_empty(&place);
    assert_eq!(net.taken(0), ["b@far.test"]);
    assert_eq!((count(&server, &["noticed "]), count(&server, &["bounced "])), (0, 0));
    server.stop();
}

/// A signal while an attempt is under way: that one began before its cause was mended.
#[test]
fn sigusr1_is_also_for_what_is_being_sent() {
    let (place, net) = (Place::new(), Net::new(&["MAIL: (wait 700) | 450 4.2.0 later"]));
    net.dns.set("far.test A 127.0.0.2");
    let server = Binary::serve(&place, &net.config("retry = [\"1h\"]", ""));
    post(&server, &["x@far.test"]);
    until("it is being sent", || net.hosts[0].count("MAIL") == 1);
    net.hosts[0].change("MAIL: 250 2.1.0 ok");
    server.signal("USR1");
    server.wait_for(&["deferred ", "to=x@far.test"]);
    server.wait_for(&["relayed ", "to=x@far.test"]);
    server.stop();
}

#[test]
fn a_new_route_mends_what_waits() {
    let (place, net) = (Place::new(), Net::new(&[LATER, ""]));
    net.dns.set("far.test A 127.0.0.2");
    let (server, _) = deferred(&place, &net, &["a@far.test", "b@far.test"]);
    let route = format!("[relay.route]\n\"far.test\" = \"127.0.0.3:{}\"\n", net.port);
    place.write("facteur.toml", net.config("retry = [\"1s\"]", &route));
    server.signal("HUP");
    // By the new list they are due already, or soon.
    until_empty(&place);
    assert_eq!(net.taken(1).len(), 2);
    assert_eq!(net.hosts[0].count("MAIL"), 2);
    server.stop();
}

/// A domain that is delivered here from now on: what waits for it is, and one that leaves is relayed.
#[test]
fn domains_come_and_go() {
    let (place, net) = (Place::new(), Net::new(&[LATER]));
    net.dns.set("far.test A 127.0.0.2\nleaving.test A 127.0.0.2");
    let leaving = "[domain.\"leaving.test\"]\nmaildir = \"leaving/{user}\"\nany_user = true\n";
    let coming = "[domain.\"far.test\"]\nmaildir = \"mail/far/{user}\"\nany_user = true\n";
    place.write("leaving", "no directory, so that mail has to wait");
    let server = Binary::serve(&place, &net.config("retry = [\"1h\"]", leaving));
    let id = post(&server, &["x@far.test", "y@leaving.test", "bob@mx.test"]);
    server.wait_for(&["deferred ", &id, "to=x@far.test"]);
    server.wait_for(&["deferred ", &id, "to=y@leaving.test"]);
    assert_eq!(mail(&place, "bob", 1).len(), 1);
    net.hosts[0].change("RCPT: 250 2.1.5 ok");
    place.write("facteur.toml", net.config("retry = [\"1s\"]", coming));
    server.signal("HUP");
    server.wait_for(&["delivered ", &id, "to=x@far.test", "/far/x"]);
    server.wait_for(&["relayed ", &id, "to=y@leaving.test"]);
    until_empty(&place);
    assert_eq!(files(&place.at("mail/far/x/new")).len(), 1);
    assert_eq!(net.taken(0), ["y@leaving.test"]);
    server.stop();
}

/// A copy that cannot be written waits, and does not keep the rest.
#[test]
fn a_broken_maildir_is_tried_again() {
    let (place, net) = (Place::new(), Net::new(&[""]));
    net.dns.set("far.test A 127.0.0.2");
    std::fs::create_dir_all(place.at("mail/mx.test")).unwrap();
    place.write("mail/mx.test/eve", "no directory");
    let server = Binary::serve(&place, &net.config("retry = [\"1s\"]", ""));
    let id = post(&server, &["eve@mx.test", "bob@mx.test", "x@far.test"]);
    server.wait_for(&["relayed ", &id, "to=x@far.test"]);
    wait_for_count(&server, &["deferred ", &id, "to=eve@mx.test"], 2);
    std::fs::remove_file(place.at("mail/mx.test/eve")).unwrap();
    server.wait_for(&["delivered ", &id, "to=eve@mx.test"]);
    until_empty(&place);
    let (eve, bob) = (mail(&place, "eve", 1), mail(&place, "bob", 1));
    let after = |text: &str| text[text.find("\nReceived: ").unwrap()..].to_owned();
    assert_eq!(after(&eve[0]), after(&bob[0]));
    assert!(eve[0].starts_with("Return-Path: <ann@mx.test>\nDelivered-To: eve@mx.test\n"));
    assert_eq!(net.taken(0), ["x@far.test"]);
    server.stop();
}

/// Commands work beside no server at all, and the next one finds what they did.
#[test]
fn commands_between_two_servers() {
    let (place, net) = (Place::new(), Net::new(&[LATER]));
    net.dns.set("far.test A 127.0.0.2");
    let (server, ids) = deferred(&place, &net, &["a@far.test", "b@far.test", "c@far.test"]);
    server.stop();
    net.hosts[0].change("RCPT: 250 2.1.5 ok");
    let (_, out, _) = run(&place, &["queue", "retry", &ids[0]]);
    assert!(out.contains("when the server starts"), "{out}");
    assert_eq!(run(&place, &["queue", "remove", &ids[1]]).0, 0);
    let server = Binary::serve(&place, &net.config("retry = [\"1h\"]", ""));
    server.wait_for(&["relayed ", &ids[0]]);
    until("only the third waits", || queue(&place).len() == 1);
    assert_eq!(net.taken(0), ["a@far.test"]);
    assert_eq!(listed(&place)[0]["id"], ids[2].as_str());
    server.stop();
}

/// Hosts of a goal that is gone from the configuration are asked no more.
#[test]
fn a_route_that_is_taken_away() {
    let (place, net) = (Place::new(), Net::new(&[""]));
    net.dns.set("far.test A 127.0.0.2");
    let dead = Host::on("127.0.0.1:0", "greeting: 421 4.3.2 no");
    let route = format!("[relay.route]\n\"far.test\" = \"{}\"\n", dead.address);
    let server = Binary::serve(&place, &net.config("retry = [\"1s\", \"1h\"]", &route));
    for _ in 0..5 {
        post(&server, &["x@far.test"]);
    }
    wait_for_count(&server, &["deferred ", "to=x@far.test"], 5);
    place.write("facteur.toml", net.config("retry = [\"1s\"]", ""));
    server.signal("HUP");
    until_empty(&place);
    assert_eq!(net.taken(0).len(), 5);
    server.stop();
}
