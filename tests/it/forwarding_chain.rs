//! Mail that goes on through two facteurs: bounces come back the whole way, and circles end.

use crate::forwarding::{MESSAGE, Node, without_received};
use crate::hosts::{Host, Mail};
use crate::support::{text, until};

const BOUNCE: &[u8] = b"Subject: Undelivered\r\n\r\nnobody there\r\n";

#[test]
fn a_bounce_comes_back_to_the_user_who_wrote() {
    let sink = Host::start("");
    let forwarder = Node::new("b.test").aliases("team: eve@sink.test\n");
    let forwarder = forwarder.route("sink.test", sink.address).serve();
    let sender = Node::new("a.test").trusting().route("b.test", forwarder.address()).serve();
    let forwarder = forwarder.reroute("a.test", sender.address());
    sender.send("<ann@a.test>", &["<team@b.test>"], MESSAGE);
    until("it is there", || sink.mail().len() == 1);
    let Mail { from, octets, .. } = sink.mail().remove(0);
    assert!(from.starts_with("SRS0=") && from.ends_with("=a.test=ann@b.test"), "{from}");
    let rest = octets.strip_prefix(b"Delivered-To: team@b.test\r\n").unwrap();
    assert!(without_received(without_received(rest)) == MESSAGE, "{}", text(&octets));
    // The sink has taken it, and finds out later that nobody is there.
    forwarder.send("<>", &[&format!("<{from}>")], BOUNCE);
    until("it is back", || sender.mail("ann").len() == 1);
    let bounce = sender.mail("ann").remove(0);
    assert!(bounce.starts_with("Return-Path: <>\nDelivered-To: ann@a.test\n"), "{bounce}");
    assert!(bounce.ends_with("Subject: Undelivered\n\nnobody there\n"), "{bounce}");
    forwarder.until_empty();
    sender.until_empty();
    assert!(forwarder.mail("postmaster").is_empty() && sender.mail("postmaster").is_empty());
    forwarder.stop();
    sender.stop();
}

#[test]
fn a_bounce_finds_its_way_through_two_forwarders() {
    let (sink, home) = (Host::start(""), Host::start(""));
    let second = Node::new("c.test").aliases("out: eve@sink.test\n");
    let second = second.route("sink.test", sink.address).serve();
    let first = Node::new("b.test").aliases("team: out@c.test\n").route("home.test", home.address);
    let first = first.route("c.test", second.address()).serve();
    let second = second.reroute("b.test", first.address());
    for (sender, utf8) in [("zoe@home.test", ""), ("\"z\u{e9} =oe\"@home.test", " SMTPUTF8")] {
        first.send(&format!("<{sender}>{utf8}"), &["<team@b.test>"], MESSAGE);
        until("it is there", || sink.mail().len() == home.mail().len() + 1);
        let from = sink.mail().pop().unwrap().from;
        let is_second = from.trim_start_matches('"').starts_with("SRS1=");
        assert!(is_second && from.contains("=b.test==") && from.ends_with("@c.test"), "{from}");
        second.send(&format!("<>{utf8}"), &[&format!("<{from}>")], BOUNCE);
        until("it is back", || home.mail().len() == sink.mail().len());
        let Mail { from, to, octets, .. } = home.mail().pop().unwrap();
        assert_eq!((from.as_str(), to), ("", vec![sender.to_owned()]));
        assert!(without_received(without_received(&octets)) == BOUNCE, "{}", text(&octets));
    }
    // What the first has signed is good there alone, and the second opens its own only.
    let from = sink.mail().remove(0).from;
    let mut client = second.server().client();
    client.expect("MAIL FROM:<>", "250");
    client.expect(&format!("RCPT TO:<{}>", from.replace("=b.test=", "=home.test=")), "550 5.1.1 ");
    client.expect(&format!("RCPT TO:<{}>", from.replace("SRS1", "SRS0")), "550 5.1.1 ");
    drop(client); // whose transaction a stop would wait for
    let mut client = first.server().client();
    client.expect("MAIL FROM:<>", "250");
    client.expect(&format!("RCPT TO:<{}>", from.replace("@c.test", "@b.test")), "550 5.1.1 ");
    drop(client);
    first.until_empty();
    second.until_empty();
    first.stop();
    second.stop();
}

/// Two facteurs whose aliases lead to each other, and a host for all others.
fn circle(aliases: [&str; 2]) -> (Node, Node, Host) {
    let home = Host::start("RCPT TO:<eve@: 550 5.1.1 nobody");
    let node = |domain, aliases| {
        let node = Node::new(domain).top("limit.hops = 12").aliases(aliases);
        node.route("home.test", home.address)
    };
    let first = node("b.test", aliases[0]).serve();
    let second = node("c.test", aliases[1]).route("b.test", first.address()).serve();
    let first = first.reroute("c.test", second.address());
    (first, second, home)
}

fn until_both_are_empty(first: &Node, second: &Node) {
    let both = || first.is_empty() && second.is_empty();
    // A message on its way is never in no queue, but may be in the one that was looked at before.
    until("both queues are empty", || (0..5).all(|_| both()));
}

/// How many lines of both logs begin so.
fn told(nodes: [&Node; 2], start: &str) -> usize {
    let lines = nodes.iter().flat_map(|node| node.server().lines());
    lines.filter(|line| line.starts_with(start)).count()
}

#[test]
fn a_circle_of_aliases_ends_with_one_notice_to_a_postmaster() {
    let (first, second, home) = circle(["x: y@c.test, z@c.test\n", "y: x@b.test\nz: x@b.test\n"]);
    let to = "<x@b.test> NOTIFY=SUCCESS,FAILURE,DELAY";
    first.send("<zoe@home.test>", &[to], MESSAGE);
    let notices = || [&first, &second].map(|node| node.mail("postmaster").len());
    until("somebody is told", || notices() != [0, 0]);
    until_both_are_empty(&first, &second);
    // The host whose message the other refused; both targets failed together.
    assert_eq!(notices().iter().sum::<usize>(), 1);
    assert_eq!(told([&first, &second], "noticed "), 1);
    assert!(told([&first, &second], "accepted ") <= 12);
    assert_eq!(home.seen().connections, 0, "{:?}", home.seen().commands);
    first.stop();
    second.stop();
}

#[test]
fn a_circle_with_many_ways_makes_no_bomb() {
    let c = "three: team@a.test\nfour: team@a.test\n";
    let c = Node::new("c.test").aliases(c).serve();
    let b = Node::new("b.test").aliases("one: team@a.test, three@c.test\ntwo: team@a.test\n");
    let b = b.route("c.test", c.address()).serve();
    let a = "team: ann, one@b.test, two@b.test, three@c.test, four@c.test\n";
    let a = Node::new("a.test").aliases(a).route("b.test", b.address());
    let a = a.route("c.test", c.address()).serve();
    let (b, c) = (b.reroute("a.test", a.address()), c.reroute("a.test", a.address()));
    a.send("<zoe@home.test>", &["<team@a.test>"], MESSAGE);
    let is_idle = || [&a, &b, &c].iter().all(|node| node.is_empty());
    until("all queues are empty", || (0..5).all(|_| is_idle()));
    // It has come back by each way once, and no further.
    assert_eq!(a.mail("ann").len(), 1);
    let refused = a.server().lines();
    let refused: Vec<_> = refused.iter().filter(|line| line.starts_with("rejected ")).collect();
    let is_loop = |line: &&&String| line.contains("5.4.6") && line.contains("team@a.test");
    assert!(refused.iter().all(|line| is_loop(&line)) && !refused.is_empty(), "{refused:?}");
    let accepted = told([&a, &b], "accepted ") + told([&c, &c], "accepted ") / 2;
    assert!((4..=6).contains(&accepted), "{accepted}");
    // Each host that could not deliver tells its postmaster.
    assert!(!b.mail("postmaster").is_empty() && !c.mail("postmaster").is_empty());
    assert!(a.mail("postmaster").is_empty());
    [a, b, c].into_iter().for_each(Node::stop);
}

#[test]
fn who_is_written_to_beside_a_circle_gets_the_mail() {
    let b = Node::new("b.test").aliases("one: team@a.test, bob@a.test\n").serve();
    let a = Node::new("a.test").aliases("team: one@b.test\n").route("b.test", b.address()).serve();
    let b = b.reroute("a.test", a.address());
    a.send("<zoe@home.test>", &["<team@a.test>"], MESSAGE);
    until("it is there", || a.mail("bob").len() == 1);
    until_both_are_empty(&a, &b);
    assert_eq!(a.mail("bob").len(), 1);
    let [notice] = &a.mail("postmaster")[..] else { panic!("{:?}", a.mail("postmaster")) };
    assert!(notice.contains("rfc822; team@a.test") && notice.contains("5.4.6"), "{notice}");
    a.stop();
    b.stop();
}

#[test]
fn a_circle_of_postmasters_ends_in_the_log() {
    let aliases =
        ["dead: eve@home.test\npostmaster: postmaster@c.test\n", "postmaster: postmaster@b.test\n"];
    let (first, second, home) = circle(aliases);
    first.send("<zoe@home.test>", &["<dead@b.test>"], MESSAGE);
    first.server().wait_for(&["noticed ", "to=postmaster@b.test"]);
    until("it has gone round", || {
        told([&first, &second], "bounced ") == 2 // the message, and at last its notice
    });
    until_both_are_empty(&first, &second);
    assert_eq!(told([&first, &second], "noticed "), 1);
    assert_eq!((home.count("MAIL"), first.mail("postmaster").len()), (1, 0));
    first.stop();
    second.stop();
}
