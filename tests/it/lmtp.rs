//! Servers that keep the mail of a domain, spoken to by LMTP (RFC 2033): scripted ones, however wrong. Each
//! recipient has one outcome; nothing is lost, and nothing goes twice.

mod disk;
mod dovecot;
mod kills;

use crate::abuse::{forget_peak, memory};
use crate::commands::run;
use crate::dnsd::Dnsd;
use crate::hosts::Host;
use crate::internet::{queue, until_empty};
use crate::servers::Binary;
use crate::support::{Place, config, files, text, until};
use std::io;
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::thread;

/// What a good server offers.
pub const LHLO: &str =
    "LHLO: 250-kept.test | 250-PIPELINING | 250-8BITMIME | 250 ENHANCEDSTATUSCODES";

/// A server of LMTP with this script, and LHLO.
pub fn keeper(script: &str) -> Host {
    Host::start(&format!("{script}\n{LHLO}"))
}

/// A site with dan at mx.test, and kept.test at this server; more lines of its table, and more sections. What is
/// silent is so for two seconds.
pub fn site(server: &str, users: &str, more: &str) -> String {
    config(&format!(
        "aliases = \"aliases\"\n[domain.\"kept.test\"]\nlmtp = \"{server}\"\n{users}\n\
         [timeout]\ncommand = \"2s\"\nfinal = \"2s\"\nconnect = \"2s\"\n[relay]\nretry = [\"1h\"]\n{more}"
    ))
}

/// What the client hears at last, whose mail is for these.
fn sent(server: &Binary, to: &[&str], message: &str) -> String {
    let mut client = server.client();
    client.begin(to);
    client.send(format!("{}\r\n.\r\n", message.replace('\n', "\r\n")).as_bytes());
    client.reply_at_leisure()
}

/// One thing that a server does, and what comes of a message for ann and bob.
struct Case {
    script: &'static str,
    reply: &'static str,
    /// For each of the two: `relayed`, `deferred` or `bounced`, with words of the log; nothing of a refused message.
    told: [&'static str; 2],
}

const CASES: [Case; 19] = [
    Case { script: ".*1: 250 2.1.5 a | 250 2.1.5 b", reply: "250", told: ["relayed", "relayed"] },
    Case { script: ".*1: 250 ok | 550 5.7.1 no", reply: "250", told: ["relayed", "bounced"] },
    Case { script: ".*1: 450 4.2.2 full | 250 ok", reply: "250", told: ["deferred", "relayed"] },
    Case { script: ".*1: 450 4.2.2 full | 550 5.7.1 no", reply: "450 4.2.2", told: ["", ""] },
    Case { script: ".*1: 550 5.7.1 no | 452 4.2.2 full", reply: "452 4.2.2", told: ["", ""] },
    Case { script: ".*1: 550 5.7.1 no | 552 5.2.2 big", reply: "550 5.7.1", told: ["", ""] },
    // Too few: nobody knows what became of the second.
    Case { script: ".*1: 250 ok | (close)", reply: "250", told: ["relayed", "deferred"] },
    Case { script: ".*1: 250 ok | (silent)", reply: "250", told: ["relayed", "deferred"] },
    Case {
        script: ".*1: 250 ok | 421 4.3.2 bye | (close)",
        reply: "250",
        told: ["relayed", "deferred"],
    },
    Case { script: ".*1: (close)", reply: "451 4.4.1", told: ["", ""] },
    Case { script: ".*1: (silent)", reply: "451 4.4.1", told: ["", ""] },
    // Too many: the third is for nobody.
    Case { script: ".*1: 250 a | 250 a | 250 b", reply: "250", told: ["relayed", "relayed"] },
    Case {
        script: ".*1: 250 a | 250 b | (wait 30) | 250 c",
        reply: "250",
        told: ["relayed", "relayed"],
    },
    Case { script: "RCPT TO:<bob@*1: 550 5.1.1 who", reply: "250", told: ["relayed", "bounced"] },
    Case {
        script: "RCPT TO:<ann@*1: 450 4.2.1 later",
        reply: "250",
        told: ["deferred", "relayed"],
    },
    Case { script: "DATA*1: 554 5.7.1 no", reply: "554 5.7.1", told: ["", ""] },
    Case { script: "DATA*1: 451 4.3.0 later", reply: "451 4.3.0", told: ["", ""] },
    Case { script: "MAIL*1: 450 4.3.0 later", reply: "450 4.3.0", told: ["", ""] },
    Case { script: "LHLO*1: 500 5.5.1 what", reply: "451 4.4.1", told: ["", ""] },
];

#[test]
fn each_recipient_has_one_outcome() {
    thread::scope(|scope| {
        for case in &CASES {
            scope.spawn(|| one_case(case));
        }
    });
}

fn one_case(Case { script, reply, told }: &Case) {
    // What comes later (a notice) is taken; two recipients by default, and one where the other was refused.
    let dots = if script.starts_with("RCPT") { ".: 250 ok" } else { ".: 250 ok | 250 ok" };
    let (place, host) = (Place::new(), keeper(&format!("{script}\n{dots}")));
    let (address, users) = (format!("inet:{}", host.address), "any_user = true");
    place.write("aliases", "");
    let server = Binary::serve(&place, &site(&address, users, ""));
    let to = ["ann@kept.test", "bob@kept.test"];
    let heard = sent(&server, &to, "Subject: hi\n\n..hello");
    assert!(heard.starts_with(reply), "{script}: {heard}");
    for (to, what) in to.iter().zip(told).filter(|(_, what)| !what.is_empty()) {
        let line = server.wait_for(&[&format!("{what} id="), &format!("to={to}")]);
        let others = ["relayed id=", "deferred id=", "bounced id="];
        let lines = server.lines();
        let of_it = lines.iter().filter(|line| line.contains(&format!("to={to}")));
        let count = of_it.filter(|line| others.iter().any(|other| line.contains(other))).count();
        assert_eq!(count, 1, "{script}: {line} in {lines:#?}");
    }
    let waiting = told.iter().filter(|what| **what == "deferred").count();
    // Whoever was refused is told to the postmaster, as nobody knows the sender.
    if told.contains(&"bounced") {
        let is_told = || host.mail().iter().any(|mail| mail.to == ["postmaster@kept.test"]);
        until("the postmaster is told", is_told);
        until("only what waits is left", || queue(&place).len() == waiting);
    }
    let files = queue(&place);
    assert_eq!(files.len(), waiting, "{script}: {files:#?}");
    for (to, what) in to.iter().zip(told) {
        let stands = files.iter().any(|file| file.contains(&format!("\nto: <{to}>")));
        assert_eq!(stands, *what == "deferred", "{script}: {files:#?}");
    }
    let mail: Vec<String> = host.seen().mail.iter().map(|mail| text(&mail.octets)).collect();
    for mail in mail.iter().filter(|mail| !mail.contains("multipart/report")) {
        assert!(mail.starts_with("Received: from "), "{mail}");
        assert!(mail.ends_with("\r\n\r\n.hello\r\n"), "{mail}");
        assert!(!mail.contains("Return-Path") && !mail.contains("Delivered-To"), "{mail}");
    }
    // The next message comes through, whatever that one has left in the connection.
    if waiting == 0 && !told.contains(&"bounced") {
        assert!(sent(&server, &to, "Subject: next\n\nx").starts_with("250"), "{script}");
    }
    server.stop();
}

#[test]
fn what_waits_comes_later_and_says_why() {
    let (place, host) = (Place::new(), keeper(".*1: 250 ok | 452 4.2.2 mailbox full"));
    place.write("aliases", "");
    let server =
        Binary::serve(&place, &site(&format!("inet:{}", host.address), "any_user = true", ""));
    let heard = sent(&server, &["ann@kept.test", "Bob+Tag@Kept.test"], "Subject: hi\n\nx");
    let id = heard.rsplit(' ').next().unwrap().to_owned();
    let (_, why, _) = run(&place, &["queue", "why", &id]);
    assert!(why.contains("452 4.2.2 mailbox full"), "{why}");
    assert_eq!(run(&place, &["queue", "retry", &id]).0, 0);
    server.wait_for(&["relayed ", "to=bob+Tag@kept.test", "reply=\"250 2.0.0 taken\""]);
    until_empty(&place);
    let to: Vec<String> = host.mail().into_iter().flat_map(|mail| mail.to).collect();
    assert_eq!(to, ["ann@kept.test", "bob+Tag@kept.test", "bob+Tag@kept.test"]);
    let (_, story, _) = run(&place, &["trace", &id]);
    assert!(story.contains("LHLO mx.test") && story.contains("452 4.2.2 mailbox full"), "{story}");
    server.stop();
}

#[test]
fn other_copies_are_durable_before_the_server_is_asked() {
    let (place, host) = (Place::new(), keeper(".*1: (wait 500) | 250 ok\n.*1: 550 5.7.1 no"));
    place.write("aliases", "team: dan, ann@kept.test\n");
    let server =
        Binary::serve(&place, &site(&format!("inet:{}", host.address), "any_user = true", ""));
    let mut client = server.client();
    client.begin(&["team@mx.test"]);
    client.send(b"Subject: hi\r\n\r\nx\r\n.\r\n");
    until("the server has the message", || !host.seen().mail.is_empty());
    assert_eq!((place.mail("dan").len(), queue(&place).len()), (1, 1));
    assert!(client.reply_at_leisure().starts_with("250"));
    until_empty(&place);
    // What the server refuses for good or cannot be asked is no reason to refuse the others.
    assert!(sent(&server, &["dan@mx.test", "ann@kept.test"], "Subject: b\n\nx").starts_with("250"));
    server.wait_for(&["bounced ", "to=ann@kept.test", "550 5.7.1 no"]);
    until("the postmaster is told", || {
        host.mail().iter().any(|m| m.to == ["postmaster@kept.test"])
    });
    drop(host);
    assert!(sent(&server, &["dan@mx.test", "eve@kept.test"], "Subject: c\n\nx").starts_with("250"));
    server.wait_for(&["deferred ", "to=eve@kept.test"]);
    assert_eq!((place.mail("dan").len(), queue(&place).len()), (3, 1));
    assert!(sent(&server, &["eve@kept.test"], "Subject: d\n\nx").starts_with("451 4.4.1"));
    assert_eq!(queue(&place).len(), 1);
    server.stop();
}

#[test]
fn the_server_says_who_exists_where_nobody_else_knows() {
    let script = "RCPT TO:<no@: 550 5.1.1 who\nRCPT TO:<later@: 450 4.2.1 not now";
    let (place, host) = (Place::new(), keeper(script));
    place.write("aliases", "");
    let address = format!("inet:{}", host.address);
    let server = Binary::serve(&place, &site(&address, "", ""));
    let mut client = server.client();
    client.expect("MAIL FROM:<x@y.test>", "250");
    client.expect("RCPT TO:<no@kept.test>", "550 5.1.1 <no@kept.test>: who [");
    client.expect("RCPT TO:<later@kept.test>", "450 4.2.1 <later@kept.test>: not now [");
    client.expect("RCPT TO:<ANN+x@kept.test>", "250 2.1.5");
    client.expect("DATA", "354");
    client.send(b"Subject: hi\r\n\r\nx\r\n.\r\n");
    assert!(client.reply().starts_with("250"));
    assert_eq!(host.mail()[0].to, ["ann+x@kept.test"]);
    assert_eq!((host.count("DATA"), host.seen().connections), (1, 1));
    let (status, out, _) = run(&place, &["route", "ann@kept.test"]);
    assert!(status == 0 && out.contains("it takes mail for this recipient"), "{out}");
    let (status, out, _) = run(&place, &["route", "no@kept.test"]);
    assert!(status == 1 && out.contains("550 5.1.1"), "{out}");
    assert_eq!(host.count("DATA"), 1);
    let (status, out, err) = run(&place, &["check"]);
    assert!(out.contains(&format!(
        "domain kept.test: whoever its server knows, 0 aliases, by LMTP to {address}"
    )));
    assert_eq!(status, 0, "{err}");
    drop(host);
    client.expect("MAIL FROM:<x@y.test>", "250");
    client.expect("RCPT TO:<ann@kept.test>", "451 4.4.1");
    let (status, _, err) = run(&place, &["check"]);
    assert!(
        status == 1 && err.contains("error: ") && err.contains("no mail can be handed to"),
        "{err}"
    );
    server.stop();
    // Its server has not been started yet.
    let socket = place.at("not-there");
    place.write("facteur.toml", site(&format!("unix:{}", socket.display()), "any_user = true", ""));
    let (status, _, err) = run(&place, &["check"]);
    let is_told =
        err.contains("warning: ") && err.contains("start it, until then its mail hears 451");
    assert!(status == 0 && is_told, "{err}");
}

/// By the session that the client heard of, up to what the server said.
#[test]
fn the_story_of_a_refused_message_has_what_the_server_said() {
    let (place, host) = (Place::new(), keeper(".: 552 5.2.2 mailbox full"));
    place.write("aliases", "");
    let server =
        Binary::serve(&place, &site(&format!("inet:{}", host.address), "any_user = true", ""));
    let heard = sent(&server, &["ann@kept.test"], "Subject: hi\n\nx");
    assert!(heard.starts_with("552 5.2.2 <ann@kept.test>: mailbox full ["), "{heard}");
    let session = heard.split(['[', ']']).nth(1).unwrap().to_owned();
    server.stop();
    let (_, story, _) = run(&place, &["trace", &session]);
    assert!(story.contains("LHLO mx.test") && story.contains("RCPT TO:<ann@kept.test>"), "{story}");
    assert!(story.contains("552 5.2.2 mailbox full"), "{story}");
}

#[test]
fn a_server_that_hangs_is_waited_for_once() {
    let (place, host) = (Place::new(), keeper("greeting: (silent)"));
    place.write("aliases", "");
    let server = Binary::serve(&place, &site(&format!("inet:{}", host.address), "", ""));
    let mut client = server.client();
    client.expect("MAIL FROM:<x@y.test>", "250");
    for _ in 0..3 {
        client.expect("RCPT TO:<ann@kept.test>", "451 4.4.1");
    }
    assert_eq!(host.seen().connections, 1);
    server.stop();
}

/// The users file is asked, and the server is not.
#[test]
fn a_users_file_says_who_exists() {
    let (place, host) = (Place::new(), keeper(""));
    place.write("aliases", "");
    place.write("kept", "Ann:{PLAIN}x\n");
    let users = "users = \"kept\"";
    let server = Binary::serve(&place, &site(&format!("inet:{}", host.address), users, ""));
    let mut client = server.client();
    client.expect("MAIL FROM:<x@y.test>", "250");
    client.expect("RCPT TO:<bob@kept.test>", "550 5.1.1");
    client.expect("RCPT TO:<ann+x@kept.test>", "250");
    assert_eq!(host.seen().connections, 0);
    server.stop();
}

#[test]
fn junk_is_marked_and_no_other_mark_gets_through() {
    let zone = "_dmarc.a.test TXT v=DMARC1; p=reject\na.test TXT v=spf1 -all";
    let (place, host, dns) = (Place::new(), keeper(".*1: 450 4.2.0 later"), Dnsd::new(zone));
    place.write("aliases", "");
    let more = format!("[trust]\ngateways = []\n[dns]\nservers = [\"{}\"]", dns.address());
    let site = site(&format!("inet:{}", host.address), "any_user = true", &more);
    let server = Binary::serve(&place, &site);
    let forged = "X-Facteur-Junk: no\nX-Facteur-Junk:\n maybe\nSubject: hi\nx-facteur-junk: x\n\nx";
    let from = format!("From: e@a.test\n{forged}");
    assert!(sent(&server, &["ann@kept.test"], &from).starts_with("450"));
    assert!(sent(&server, &["ann@kept.test"], &from).starts_with("250"));
    // By the queue as well.
    host.change(".*1: 450 4.2.0 later");
    assert!(sent(&server, &["ann@kept.test", "dan@mx.test"], &from).starts_with("250"));
    assert_eq!(run(&place, &["queue", "retry", "--all"]).0, 0);
    until_empty(&place);
    let mail: Vec<String> = host.seen().mail.iter().map(|mail| text(&mail.octets)).collect();
    assert_eq!(mail.len(), 4);
    for mail in mail {
        assert!(mail.starts_with("X-Facteur-Junk: yes\r\nAuthentication-Results: "), "{mail}");
        assert_eq!(mail.to_lowercase().matches("x-facteur-junk").count(), 1, "{mail}");
        assert!(mail.ends_with("From: e@a.test\r\nSubject: hi\r\n\r\nx\r\n"), "{mail}");
    }
    server.stop();
}

/// Copies both ways until either side is gone.
fn join(one: impl io::Read + Send + 'static, mut other: impl io::Write + Send + 'static) {
    let mut one = one;
    thread::spawn(move || io::copy(&mut one, &mut other));
}

#[test]
fn a_message_of_25_mib_streams_through_a_unix_socket_in_constant_memory() {
    let (place, host) = (Place::new(), keeper(""));
    place.write("aliases", "");
    let (path, address) = (place.at("lmtp"), host.address);
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        for unix in listener.incoming() {
            let (unix, tcp) = (unix.unwrap(), TcpStream::connect(address).unwrap());
            join(unix.try_clone().unwrap(), tcp.try_clone().unwrap());
            join(tcp, unix);
        }
    });
    let server = Binary::serve(&place, &site("unix:lmtp", "any_user = true", ""));
    let body: String = (0..500_000).map(|at| format!("{at:07}{}\n", " word".repeat(9))).collect();
    let message = format!("Subject: hi\n\n{body}");
    assert!(message.len() > 25 << 20);
    // Once, so that all that is held is held already.
    assert!(sent(&server, &["ann@kept.test"], "Subject: a\n\nx").starts_with("250"));
    forget_peak(server.pid());
    let before = memory(server.pid(), "VmHWM");
    assert!(sent(&server, &["ann@kept.test"], message.trim_end()).starts_with("250"));
    let grown = memory(server.pid(), "VmHWM").saturating_sub(before);
    assert!(grown < 8 << 10, "{grown} KiB");
    let wire = message.replace('\n', "\r\n").into_bytes();
    assert!(host.mail()[1].octets.ends_with(&wire), "{}", host.mail()[1].octets.len());
    let named = format!("host=unix:{}", path.display());
    server.wait_for(&["relayed ", "to=ann@kept.test", &named]);
    server.stop();
}

/// Two servers, a Maildir and another host, and one mailbox by three names.
#[test]
fn a_message_for_several_servers_comes_once_to_each() {
    let (place, one, two, far) = (Place::new(), keeper(""), keeper(""), Host::start(""));
    place.write("aliases", "team: ann@kept.test, bob@two.test, dan\n");
    let at = |host: &Host| format!("inet:{}", host.address);
    let second = "[domain.\"two.test\"]\nany_user = true\n";
    let more = format!("[relay.route]\n\"far.test\" = \"{}\"\n{second}", far.address);
    let networks = format!("networks = [\"127.0.0.0/8\"]\n{more}");
    let first = site(&at(&one), "any_user = true", &networks);
    let server = Binary::serve(&place, &format!("{first}lmtp = \"{}\"\n", at(&two)));
    let everybody =
        ["Ann@kept.test", "team@mx.test", "ann@KEPT.test", "bob@two.test", "carol@far.test"];
    assert!(sent(&server, &everybody, "Subject: a\n\nx").starts_with("250"));
    until_empty(&place);
    let to = |host: &Host| host.mail().into_iter().map(|mail| mail.to).collect::<Vec<_>>();
    assert_eq!(
        (to(&one), to(&two)),
        (vec![vec!["ann@kept.test".to_owned()]], { vec![vec!["bob@two.test".to_owned()]] })
    );
    assert_eq!((far.mail().len(), place.mail("dan").len()), (1, 1));
    // Refused by both, and nothing lies anywhere.
    let both = ["ann@kept.test", "bob@two.test"];
    one.change(".*1: 550 5.7.1 no");
    two.change(".*1: 550 5.2.2 full");
    assert!(sent(&server, &both, "Subject: b\n\nx").starts_with("550 5.7.1 <ann@kept.test>: no"));
    one.change(".*1: 550 5.7.1 no");
    two.change(".*1: 450 4.2.2 full");
    assert!(sent(&server, &both, "Subject: c\n\nx").starts_with("450 4.2.2 <bob@two.test>: full"));
    assert_eq!(queue(&place).len(), 0);
    // Taken by one: the other's waits, and comes to where its domain is delivered by then.
    two.change(".*1: 450 4.2.2 full");
    assert!(sent(&server, &both, "Subject: d\n\nx").starts_with("250"));
    assert_eq!(queue(&place).len(), 1);
    server.stop();
    let moved = format!("{first}maildir = \"mail/{{domain}}/{{user}}\"\n");
    let server = Binary::serve(&place, &moved);
    assert_eq!(run(&place, &["queue", "retry", "--all"]).0, 0);
    until_empty(&place);
    let mail = files(&place.at("mail/two.test/bob/new"));
    assert_eq!((mail.len(), one.seen().mail.len(), two.seen().mail.len()), (1, 4, 4));
    server.stop();
}
