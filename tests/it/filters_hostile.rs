//! Filters that fail, hang or lie: the message is kept or put off, the log names the filter, and nobody else waits.

use crate::commands::run;
use crate::filterd::Filter;
use crate::filters::{Filtered, MAIL, MAY};
use crate::servers::Binary;
use crate::support::{Place, config, text, until};
use std::time::Duration;

/// The way to fail, by what the filter does at `mail` and at `end`.
const FAILURES: [(&str, &str); 11] = [
    ("mail", "(raw ffffffff61)"),
    ("mail", "(raw 00000000)"),
    ("mail", "(raw 000000015a)"),
    ("mail", "add X: y | continue"),
    ("mail", "skip"),
    ("mail", "reply 250 fine"),
    ("mail", "(raw 0000) | (close)"),
    ("end", "(raw ffffffff62)"),
    ("end", "(raw 00000003684120)"),
    ("end", "(close)"),
    ("negotiate", "options 7 511 0"),
];

#[test]
fn what_makes_no_sense_puts_the_message_off() {
    for (stage, what) in FAILURES {
        let it = Filtered::new(&format!("{stage}: {what}"), "");
        let mut client = it.client();
        let mut reply = client.ask("MAIL FROM:<ann@a.test>");
        if stage == "end" {
            client.expect("RCPT TO:<bob@mx.test>", "250");
            client.expect("DATA", "354");
            client.send(MAIL);
            reply = client.ask(".");
        }
        assert!(reply.starts_with("451 4.7.1 "), "{stage}, {what}: {reply}");
        it.server.wait_for(&["filtered ", "filter=f", "action=failed"]);
        // Once more by a new connection, then it rests.
        assert_eq!(it.filter.connections(), 2, "{stage}, {what}");
        let reply = it.client().ask("MAIL FROM:<ann@a.test>");
        assert!(reply.starts_with("451 4.7.1 "), "{reply}");
        assert_eq!(it.filter.connections(), 2, "{stage}, {what}");
        assert!(it.inbox("bob").is_empty() && it.queued().is_empty());
        it.server.stop();
    }
}

#[test]
fn or_goes_on_without_it() {
    for (stage, what) in FAILURES {
        let it = Filtered::new(&format!("{stage}: {what}"), "on_failure = \"pass\"");
        it.client().delivered(&["bob@mx.test"], MAIL);
        it.server.wait_for(&["filtered ", "filter=f", "action=failed"]);
        let mail = &it.inbox("bob")[0];
        assert!(mail.ends_with("From: ann@a.test\nSubject: hello\n\nHi\n"), "{mail}");
        it.server.stop();
    }
    // One that is not there at all.
    let place = Place::new();
    let table = "[[milter]]\nname = \"f\"\nsocket = \"unix:none.sock\"\non_failure = \"pass\"\n";
    let server = Binary::serve(&place, &config(table));
    server.client().delivered(&["bob@mx.test"], MAIL);
    server.wait_for(&["filtered ", "filter=f", "action=failed", "cannot connect"]);
    server.stop();
}

/// What cannot be done is left undone, whatever else is.
#[test]
fn changes_that_cannot_be() {
    let deletions = "change 1 X-Many: | ".repeat(1000);
    let script = format!(
        "end: add X\\nY: b | add : b | insert 4294967295 X-At: end | change 4000000000 Subject: last | {deletions} \
         rcpt+ <@@> | rcpt+ nobody | rcpt- <who@mx.test> | from <a b> | add X-In: a\\r\\nX-Forged: b | continue"
    );
    let it = Filtered::new(&script, MAY);
    it.client().delivered(&["bob@mx.test"], MAIL);
    let mail = &it.inbox("bob")[0];
    let header = mail.split("\n\n").next().unwrap();
    assert!(header.contains("\nX-At: end\nSubject: last\n"), "{mail}");
    assert!(!header.contains("\nX-Forged") && !header.contains("\nY:"), "{mail}");
    it.server.wait_for(&["filtered ", "action=undone"]);
    it.server.stop();
}

/// A body far larger than any message may be.
#[test]
fn a_body_without_end() {
    let part = "x".repeat(65_000);
    let parts = format!("body {part} | ").repeat(20);
    let more = format!("{MAY}\n[limit]\nmessage_size = \"1MiB\"\n");
    let it = Filtered::new(&format!("end: {parts} continue"), &more);
    let mut client = it.client();
    let reply = client.deliver(&["bob@mx.test"], MAIL);
    assert!(reply.starts_with("451 4.7.1 "), "{reply}");
    it.server.wait_for(&["filtered ", "action=failed", "larger"]);
    it.server.stop();
}

/// It holds the session that asks it, and no other; a stop waits for neither.
#[test]
fn a_filter_that_hangs_holds_nobody_else() {
    let more = "[timeout]\nshutdown = \"1s\"\n";
    let it = Filtered::new("mail <slow@: (silent)", more);
    let mut slow = it.client();
    slow.send(b"MAIL FROM:<slow@a.test>\r\n");
    until("the filter has heard it", || !it.filter.heard("mail <slow@").is_empty());
    for _ in 0..20 {
        it.client().delivered(&["bob@mx.test"], MAIL);
    }
    assert_eq!(slow.reply_within(Duration::from_millis(1)), None);
    assert_eq!(it.inbox("bob").len(), 20);
    it.server.stop();
}

/// Silence has an end, and octets that drip do not prolong it.
#[test]
fn silence_has_an_end() {
    for what in ["(silent)", "(raw 00) | (wait 700) | (raw 00) | (wait 700) | (raw 00) | (silent)"]
    {
        let timeout = "timeout = { connect = \"1s\", command = \"1s\", message = \"1s\" }";
        let it = Filtered::new(&format!("end: {what}"), timeout);
        let reply = it.client().deliver(&["bob@mx.test"], MAIL);
        assert!(reply.starts_with("451 4.7.1 "), "{reply}");
        it.server.wait_for(&["filtered ", "action=failed", "no answer in time"]);
        it.server.stop();
    }
    // "Still at work" does.
    let progress =
        "progress | (wait 700) | progress | (wait 700) | progress | (wait 700) | continue";
    let it = Filtered::new(&format!("end: {progress}"), "timeout = { message = \"1s\" }");
    it.client().delivered(&["bob@mx.test"], MAIL);
    it.server.stop();
}

/// New sessions have the new filters, running ones keep theirs.
#[test]
fn a_reload_changes_them() {
    let it = Filtered::new("end: add X-Old: 1 | continue", "");
    let new = Filter::start("end: add X-New: 1 | continue");
    let mut running = it.client();
    it.place.write("facteur.toml", config(&new.table("new", "")));
    it.server.signal("HUP");
    it.server.wait_for(&["reloaded "]);
    running.delivered(&["bob@mx.test"], MAIL);
    it.client().delivered(&["zoe@mx.test"], MAIL);
    assert!(it.inbox("bob")[0].contains("\nX-Old: 1\n"));
    let mail = &it.inbox("zoe")[0];
    assert!(mail.contains("\nX-New: 1\n") && !mail.contains("X-Old"), "{mail}");
    it.place.write("facteur.toml", config(""));
    it.server.signal("HUP");
    until("it is read", || it.told(&["reloaded "], "config").len() == 2);
    it.client().delivered(&["ann@mx.test"], MAIL);
    assert!(!it.inbox("ann")[0].contains("X-New"));
    it.server.stop();
}

#[test]
fn check_speaks_to_each() {
    let place = Place::new();
    let (good, gone) = (Filter::start("negotiate: options 2 1 0"), Filter::start(""));
    let table = gone.table("gone", "on_failure = \"pass\"");
    drop(gone);
    let table = format!("{}{table}", good.table("good", MAY));
    place.write("facteur.toml", config(&table));
    let (status, out, err) = run(&place, &["check"]);
    assert_eq!(status, 0, "{out}{err}");
    let line = format!(
        "filter good at {}: version 2, for smtp submission submissions sendmail; wants to change header, \
         may header body recipients sender quarantine\n",
        good.socket
    );
    assert!(out.contains(&line), "{out}");
    assert!(err.contains("warning: ") && err.contains("milter.gone: gone at "), "{err}");
    place.write("facteur.toml", config(&table.replace("on_failure = \"pass\"", "")));
    let (status, _, err) = run(&place, &["check"]);
    assert!(status == 1 && err.contains("error: ") && err.contains("mail hears 451"), "{err}");
}

/// What a filter says reaches log and client escaped.
#[test]
fn no_filter_forges_a_line() {
    let it = Filtered::new("mail: reply 550 5.7.1 a\\nb \u{1b}[31m \u{202e}x", "");
    let mut client = it.client();
    let reply = client.ask("MAIL FROM:<ann@a.test>");
    assert!(reply.starts_with("550") && !reply.contains('\u{1b}'), "{reply}");
    let line = it.server.wait_for(&["filtered ", "action=reject"]);
    assert!(!line.contains('\u{1b}') && !line.contains('\u{202e}'), "{line}");
    assert!(text(line.as_bytes()).lines().count() == 1);
    it.server.stop();
}

/// A filter that comes back refuses what it let pass before: nothing of that message goes by it, and the next
/// message is a new one.
#[test]
fn one_that_comes_back_with_another_opinion() {
    for (script, passed, aborts) in [
        ("mail*1: continue\nmail*1: tempfail\nrcpt*1: (close)", 0, 0),
        ("rcpt*1: continue\nrcpt*1: (close)\nrcpt*1: reply 450 4.7.1 not yet", 1, 1),
        ("rcpt*1: (close)\nconnect*1: continue\nconnect*1: discard", 3, 0),
    ] {
        let it = Filtered::new(script, "");
        let mut client = it.client();
        client.expect("MAIL FROM:<ann@a.test>", "250");
        let replies =
            ["bob", "eve", "zoe"].map(|to| client.ask(&format!("RCPT TO:<{to}@mx.test>")));
        let taken = replies.iter().filter(|reply| reply.starts_with("250")).count();
        assert_eq!(taken, passed, "{script}: {replies:?}");
        match taken {
            0 => {}
            1 => {
                client.expect("DATA", "450 4.7.1 not yet");
            }
            _ => {
                // The one that was asked when it came back is told like all others.
                assert_eq!(it.filter.heard("rcpt <").len(), 4, "{:?}", it.filter.seen());
                client.expect("DATA", "354");
                client.send(MAIL);
                client.expect(".", "250");
            }
        }
        client.expect("RSET", "250");
        client.delivered(&["carl@mx.test"], MAIL);
        assert_eq!(it.inbox("carl").len(), 1);
        assert_eq!(it.filter.heard("abort").len(), aborts, "{:?}", it.filter.seen());
        it.server.stop();
    }
}
