//! Hosts that do not answer hold up nobody's mail but their own, and not even theirs for longer than
//! they have to.

use super::{Net, count, post, queue, until_empty, wait_for_count};
use crate::commands::run;
use crate::servers::Binary;
use crate::support::{Place, until};
use facteur::store::entry::{JournalLine, What};
use std::time::{Duration, Instant};

/// One host at 127.0.0.2 that is well, four that never say a word. They are silent for ever.
fn with_four_silent(relay: &str) -> (Net, String) {
    let net = Net::new(&["", SILENT, SILENT, SILENT, SILENT]);
    let silent = (1..5).map(|n| format!("silent{n}.test A 127.0.0.{}\n", n + 2));
    let names = "well.test A 127.0.0.2\nnew.test A 127.0.0.2\nnewer.test A 127.0.0.2\n";
    net.dns.set(&(silent.collect::<String>() + names));
    let config = net.config(relay, "").replace("command = \"2s\"", "command = \"5m\"");
    (net, config)
}

const SILENT: &str = "greeting: (silent)";

/// How long a message takes with nothing in its way: the machine may have much else to do.
struct Usual(Duration);

impl Usual {
    fn of(server: &Binary, to: &str) -> Usual {
        Usual(comes(server, &[to]))
    }

    /// The mail to these has to come through within a second, whatever waits.
    fn holds(&self, server: &Binary, to: &[&str]) {
        let (took, bound) = (comes(server, to), Duration::from_secs(1) + 10 * self.0);
        assert!(took < bound, "{to:?}: {took:?} of {bound:?}");
    }
}

/// How long a message takes to those who are not silent.
fn comes(server: &Binary, to: &[&str]) -> Duration {
    let began = Instant::now();
    let id = post(server, to);
    let living = to.iter().filter(|to| !to.contains("silent"));
    living.for_each(|to| drop(server.wait_for(&["relayed ", &id, &format!("to={to} ")])));
    began.elapsed()
}

fn four_silent_hosts_hold_up_nobody(relay: &str) {
    let (place, (net, config)) = (Place::new(), with_four_silent(relay));
    let server = Binary::serve(&place, &config);
    let usual = Usual::of(&server, "a@well.test");
    let mut client = server.client();
    for number in 0..200 {
        client.delivered(&[&format!("x@silent{}.test", 1 + number % 4)], b"Subject: hi\r\n\r\n");
    }
    until("all four are asked", || net.hosts[1..].iter().all(|host| host.seen().connections > 0));
    usual.holds(&server, &["b@well.test"]);
    // Nobody has ever spoken with these.
    usual.holds(&server, &["c@new.test"]);
    usual.holds(&server, &["y@silent1.test", "d@newer.test"]);
    assert_eq!(queue(&place).len(), 201);
    // One attempt at a time at each of them.
    assert!(net.hosts[1..].iter().all(|host| host.seen().connections == 1));
    let began = Instant::now();
    server.stop();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn they_hold_up_nobody() {
    four_silent_hosts_hold_up_nobody("");
}

#[test]
fn they_hold_up_nobody_with_few_threads() {
    four_silent_hosts_hold_up_nobody("threads = 4");
}

/// Hosts that were well when they were met last take more than one thread each, and some go silent in
/// the middle of a dialog.
#[test]
fn hosts_that_fall_silent_hold_up_nobody() {
    let (place, (net, config)) = (Place::new(), with_four_silent("threads = 4"));
    net.hosts[1..].iter().for_each(|host| host.change("greeting: 220 x"));
    let server = Binary::serve(&place, &config);
    for n in 1..5 {
        post(&server, &[&format!("x@silent{n}.test")]);
        server.wait_for(&["relayed ", &format!("to=x@silent{n}.test ")]);
    }
    let usual = Usual::of(&server, "a@well.test");
    let silent =
        ["MAIL: (silent)", "RCPT: (silent)", "DATA: (silent)", "EHLO: (silent)\nMAIL: (silent)"];
    for (host, script) in net.hosts[1..].iter().zip(silent) {
        host.change(&format!("greeting: (silent)\n{script}"));
    }
    let mut client = server.client();
    for number in 0..200 {
        client.delivered(&[&format!("x@silent{}.test", 1 + number % 4)], b"Subject: hi\r\n\r\n");
    }
    usual.holds(&server, &["b@well.test"]);
    usual.holds(&server, &["c@new.test"]);
    server.stop();
}

/// Nor is one thread enough to be held up in, and a host that says nothing yet is none whose TLS is broken.
#[test]
fn hosts_that_are_silent_inside_a_handshake_hold_up_nobody() {
    let (place, (net, config)) = (Place::new(), with_four_silent("threads = 1"));
    let hosts = &net.hosts[1..3];
    let script = "greeting: 220 x\nEHLO: 250-x | 250 STARTTLS\nSTARTTLS: 220 go | (silent)";
    hosts.iter().for_each(|host| host.change(script));
    let server = Binary::serve(&place, &config);
    for (host, to) in hosts.iter().zip(["x@silent1.test", "x@silent2.test"]) {
        post(&server, &[to]);
        until("it is silent", || host.count("STARTTLS") == 1);
    }
    post(&server, &["a@well.test"]);
    server.wait_for(&["relayed ", "to=a@well.test "]);
    assert!(hosts.iter().all(|host| host.seen().connections == 1));
    assert!(!server.lines().iter().any(|line| line.starts_with("in-the-clear ")));
    server.stop();
}

/// Hosts that are met for the first time, and are silent after they have greeted.
#[test]
fn hosts_that_are_silent_later_hold_up_nobody() {
    let (place, (net, config)) = (Place::new(), with_four_silent("threads = 4"));
    for (host, step) in net.hosts[1..].iter().zip(["EHLO", "MAIL", "RCPT", "DATA"]) {
        host.change(&format!("greeting: 220 x\n{step}: (silent)"));
    }
    let server = Binary::serve(&place, &config);
    let usual = Usual::of(&server, "a@well.test");
    for number in 0..20 {
        post(&server, &[&format!("x@silent{}.test", 1 + number % 4)]);
    }
    until("all four are asked", || net.hosts[1..].iter().all(|host| host.count("EHLO") > 0));
    usual.holds(&server, &["c@new.test"]);
    usual.holds(&server, &["b@well.test"]);
    server.stop();
}

/// Nor do names whose servers do not answer.
#[test]
fn silent_names_hold_up_nobody() {
    let (place, (net, config)) = (Place::new(), with_four_silent("threads = 4"));
    net.dns.set(
        "silent1.test !silent\nsilent2.test !silent\nsilent3.test !silent\n\
                 silent4.test !silent\nnew.test A 127.0.0.2\nwell.test A 127.0.0.2",
    );
    let config = config.replace("timeout = \"1s\"", "timeout = \"60s\"");
    let server = Binary::serve(&place, &config);
    let usual = Usual::of(&server, "a@well.test");
    for number in 0..20 {
        post(&server, &[&format!("x@silent{}.test", 1 + number % 4)]);
    }
    until("all four are asked", || {
        (1..5).all(|n| net.dns.asked(&format!("silent{n}.test"), "MX") > 0)
    });
    usual.holds(&server, &["c@new.test"]);
    server.stop();
}

/// Of a dead destination one message is tried, and the others are written down as held; when it comes
/// back all go at once.
#[test]
fn a_dead_destination_is_left_alone() {
    let (place, net) = (Place::new(), Net::new(&["greeting: 421 4.3.2 no"]));
    net.dns.set("far.test A 127.0.0.2\nwell.test A 127.0.0.2");
    let server = Binary::serve(&place, &net.config("retry = [\"1h\"]", ""));
    for _ in 0..20 {
        post(&server, &["x@far.test"]);
    }
    wait_for_count(&server, &["deferred ", "to=x@far.test"], 20);
    assert_eq!(net.hosts[0].seen().connections, 1);
    let lines: Vec<JournalLine> =
        queue(&place).iter().flat_map(|file| file.lines().filter_map(JournalLine::parse)).collect();
    let with = |what| lines.iter().filter(|line| line.what == what).count();
    assert_eq!((with(What::Deferred), with(What::Held)), (1, 19), "{lines:#?}");
    let held = lines.iter().find(|line| line.what == What::Held).unwrap();
    assert!(held.words.contains("421 4.3.2 no"), "{held:?}");
    assert!(super::listed(&place).iter().all(|row| row["error"].as_str().unwrap().contains("421")));
    // One of them is asked for, and finds it well again: all others go at once.
    net.hosts[0].change("greeting: 220 x");
    retry(&place, super::listed(&place)[7]["id"].as_str().unwrap());
    until_empty(&place);
    assert_eq!(net.taken(0).len(), 20);
    server.stop();
}

/// The same when the server began anew in between, or has read its configuration again.
#[test]
fn what_is_held_goes_at_once_after_a_restart_and_a_reload() {
    for restart in [true, false] {
        let (place, net) = (Place::new(), Net::new(&["greeting: 421 4.3.2 no"]));
        net.dns.set("far.test A 127.0.0.2");
        let config = net.config("retry = [\"1h\"]", "");
        let mut server = Binary::serve(&place, &config);
        for _ in 0..10 {
            post(&server, &["x@far.test"]);
        }
        wait_for_count(&server, &["deferred ", "to=x@far.test"], 10);
        net.hosts[0].change("greeting: 220 x");
        if restart {
            server.stop();
            server = Binary::serve(&place, &config);
        } else {
            place.write("facteur.toml", config.replace("[\"1h\"]", "[\"2h\"]"));
            server.signal("HUP");
            server.wait_for(&["reloaded "]);
        }
        retry(&place, super::listed(&place)[3]["id"].as_str().unwrap());
        // Of the others one was tried itself, and has a time of its own after a restart.
        until("they are gone", || queue(&place).len() <= 1);
        server.stop();
    }
}

/// `queue retry` that is not told that the message is being sent: its claim is given back a moment
/// after the log tells of an attempt.
fn retry(place: &Place, id: &str) {
    until("its claim is given back", || {
        let (status, out, _) = run(place, &["queue", "retry", id]);
        status == 0 && !out.contains("at this moment")
    });
}

#[test]
fn a_host_that_is_slow_is_still_served_by_several() {
    let slow = "MAIL: (wait 400) | 250 2.1.0 ok";
    let (place, net) = (Place::new(), Net::new(&[slow]));
    net.dns.set("far.test A 127.0.0.2");
    let server = Binary::serve(&place, &net.config("per_destination = 3", ""));
    post(&server, &["first@far.test"]);
    server.wait_for(&["relayed ", "to=first@far.test"]);
    for _ in 0..12 {
        post(&server, &["x@far.test"]);
    }
    until_empty(&place);
    let seen = net.hosts[0].seen();
    assert!(seen.connections > 1 && seen.connections <= 3, "{}", seen.connections);
    assert_eq!(count(&server, &["deferred "]), 0);
    server.stop();
}
