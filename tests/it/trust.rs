//! Strangers' mail through the whole server: what is asked about it, what stands in it, where it goes.

use crate::client::Client;
use crate::commands::run;
use crate::dnsd::Dnsd;
use crate::hosts::Host;
use crate::servers::Binary;
use crate::support::{Place, config, files, make_maildir, text, until};
use crate::trust_dkim::{ed25519, signed_at};
use crate::trust_mail::Mail;
use facteur::mail::proof::dkim::sign::strings;
use std::fs;
use std::time::{Duration, Instant};

/// A server with a name server, to which every client is a stranger.
struct Strangers {
    place: Place,
    dns: Dnsd,
    server: Binary,
}

impl Strangers {
    /// `trust`: more keys of `[trust]`; `more`: other sections.
    fn new(zone: &str, trust: &str, more: &str) -> Strangers {
        Strangers::of(zone, &format!("gateways = []\n{trust}"), more)
    }

    fn of(zone: &str, trust: &str, more: &str) -> Strangers {
        let (place, dns) = (Place::new(), Dnsd::new(zone));
        let servers = format!("servers = [\"{}\"]\ntimeout = \"2s\"", dns.address());
        let config = config(&format!("{more}\n[dns]\n{servers}\n[trust]\n{trust}"));
        let server = Binary::serve(&place, &config);
        Strangers { place, dns, server }
    }

    /// All mail in a user's folder.
    fn folder(&self, user: &str, folder: &str) -> Vec<String> {
        let paths = files(&self.place.maildir(user).join(folder).join("new"));
        paths.iter().map(|path| text(&fs::read(path).unwrap())).collect()
    }

    fn inbox(&self, user: &str) -> Vec<String> {
        self.folder(user, "")
    }

    fn junk(&self, user: &str) -> Vec<String> {
        self.folder(user, ".Junk")
    }
}

/// Sends a message (with LF) from a sender; gives the reply to its end.
fn send(client: &mut Client, from: &str, to: &[&str], message: &str) -> String {
    client.expect(&format!("MAIL FROM:<{from}>"), "250");
    for to in to {
        client.expect(&format!("RCPT TO:<{to}>"), "250");
    }
    client.expect("DATA", "354");
    client.send(format!("{}.\r\n", message.replace('\n', "\r\n")).as_bytes());
    client.reply()
}

/// The session that a refusal names.
fn reply_session(reply: &str) -> String {
    reply.rsplit_once('[').unwrap().1.trim_end_matches(']').to_owned()
}

/// The header fields of this name, unfolded.
fn fields(message: &str, name: &str) -> Vec<String> {
    let header = message.split("\n\n").next().unwrap().replace("\n ", " ").replace("\n\t", " ");
    let start = format!("{}:", name.to_ascii_lowercase());
    let is_it = |line: &&str| line.to_ascii_lowercase().starts_with(&start);
    header.lines().filter(is_it).map(str::to_owned).collect()
}

const MAIL: &str = "From: Ann <ann@a.test>\nTo: bob@mx.test\nSubject: hello\n\nHello Bob\n";

/// a.test lets this machine send, and wants all else refused; b.test, c.test want it refused and put aside,
/// and let nobody send.
const ZONE: &str = "a.test TXT v=spf1 ip4:127.0.0.1 -all\nclient.test A 127.0.0.1\n\
    client.test TXT v=spf1 a -all\n_dmarc.a.test TXT v=DMARC1; p=reject\n\
    b.test TXT v=spf1 exp=why.b.test -all\nwhy.b.test TXT ask postmaster\n\
    _dmarc.b.test TXT v=DMARC1; p=reject\n\
    c.test TXT v=spf1 -all\n_dmarc.c.test TXT v=DMARC1; p=quarantine\n\
    d.test TXT !servfail\n_dmarc.d.test TXT v=DMARC1; p=reject\n";

fn from(domain: &str) -> String {
    MAIL.replace("a.test", domain)
}

fn signed() -> String {
    text(signed_at(&Mail::new(MAIL.as_bytes()), &ed25519(), "s1").text())
}

fn zone_with_key() -> String {
    let record = strings(&ed25519().record().unwrap()).join("|");
    format!("{ZONE}s1._domainkey.a.test TXT {record}\n")
}

#[test]
fn results_stand_above_our_received() {
    let it = Strangers::new(&zone_with_key(), "", "");
    let mut client = it.server.client();
    let reply = send(&mut client, "ann@a.test", &["bob@mx.test"], &signed());
    assert!(reply.starts_with("250 2.0.0 Ok: queued as "), "{reply}");
    let mail = it.inbox("bob");
    let names: Vec<&str> =
        mail[0].lines().filter_map(|line| line.split_once(": ").map(|(name, _)| name)).collect();
    let top = ["Return-Path", "Delivered-To", "Authentication-Results", "Received"];
    assert_eq!(names[..4], top, "{}", mail[0]);
    let results = &fields(&mail[0], "Authentication-Results")[0];
    for part in [
        "Authentication-Results: mx.test;",
        "spf=pass",
        "smtp.helo=client.test",
        "smtp.mailfrom=a.test",
        "dkim=pass",
        "header.d=a.test",
        "header.s=s1",
        "arc=none",
        "dmarc=pass",
        "header.from=a.test",
        "policy.dmarc=reject",
    ] {
        assert!(results.contains(part), "{part}: {results}");
    }
    let id = reply.rsplit(' ').next().unwrap();
    let judged = it.server.wait_for(&["judged ", &format!("id={id} ")]);
    assert!(judged.contains(" spf=pass dkim=pass arc=none dmarc=pass verdict=accept reason="));
    it.server.stop();
    let (_, told, _) = run(&it.place, &["trace", id]);
    assert!(told.contains("judged") && told.contains("verdict=accept"), "{told}");
}

#[test]
fn what_is_forged_goes_to_junk() {
    let it = Strangers::new(ZONE, "", "");
    let mut client = it.server.client();
    for domain in ["b.test", "c.test"] {
        let reply = send(&mut client, "x@other.test", &["bob@mx.test"], &from(domain));
        assert!(reply.starts_with("250 2.0.0 Ok: queued as "), "{reply}");
        let id = reply.rsplit(' ').next().unwrap().to_owned();
        let judged = it.server.wait_for(&["judged ", &id, "dmarc=fail", "verdict=junk"]);
        assert!(judged.contains(" reason=\"DMARC: "), "{judged}");
        let delivered = it.server.wait_for(&["delivered ", &id]);
        assert!(delivered.ends_with(" folder=.Junk") || delivered.contains(" folder=.Junk "));
    }
    // Several authors, none, and one that cannot be read.
    for message in [
        MAIL.replace("To:", "From: eve@b.test\nTo:"),
        MAIL.replace("From: Ann <ann@a.test>\n", ""),
        MAIL.replace("ann@a.test", "ann@@"),
    ] {
        let reply = send(&mut client, "ann@a.test", &["bob@mx.test"], &message);
        assert!(reply.starts_with("250 "), "{reply}");
    }
    assert_eq!((it.inbox("bob").len(), it.junk("bob").len()), (0, 5));
    let folder = it.place.maildir("bob").join(".Junk");
    assert!(fs::read(folder.join("maildirfolder")).unwrap().is_empty());
    for name in ["tmp", "new", "cur"] {
        assert!(folder.join(name).is_dir(), "{name}");
    }
    let (status, out, err) = run(&it.place, &["mail", "list", "bob@mx.test"]);
    assert_eq!((status, out.as_str()), (0, ""));
    assert!(err.contains("in .Junk: 5 more (--folder .Junk)"), "{err}");
    let list = ["mail", "list", "bob@mx.test", "--folder", ".Junk", "--json"];
    let (_, out, err) = run(&it.place, &list);
    assert_eq!((out.lines().count(), err.as_str()), (5, ""));
    let row: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!(row["folder"], ".Junk");
    let key = row["key"].as_str().unwrap();
    let show = ["mail", "show", "bob@mx.test", key, "--folder", ".Junk"];
    assert!(run(&it.place, &show).1.contains("dmarc=fail"));
    for wrong in ["Junk", "../x", ".None"] {
        let (status, _, err) = run(&it.place, &["mail", "list", "bob@mx.test", "--folder", wrong]);
        assert!(status == 1 && err.contains("--folder"), "{wrong}: {err}");
    }
    it.server.stop();
}

#[test]
fn what_asks_for_it_is_refused() {
    let it = Strangers::new(ZONE, "spf = \"reject\"\ndmarc = \"reject\"", "");
    let mut client = it.server.client();
    client.expect("MAIL FROM:<eve@b.test>", "250");
    client.expect("RCPT TO:<>", "5");
    let mut refused = String::new();
    for _ in 0..2 {
        let reply = client.expect("RCPT TO:<bob@mx.test>", "550 5.7.23 SPF: ");
        assert!(reply.contains("; b.test says: ask postmaster ["), "{reply}");
        refused = reply;
    }
    client.expect("RSET", "250");
    it.server.wait_for(&["judged ", "session=", "spf=fail", "verdict=reject"]);
    // A sender without a record, in the name of somebody who wants it refused.
    let reply = send(&mut client, "x@other.test", &["bob@mx.test"], &from("b.test"));
    assert!(reply.starts_with("550 5.7.1 DMARC: "), "{reply}");
    let reply = send(&mut client, "x@other.test", &["bob@mx.test"], &from("c.test"));
    assert!(reply.starts_with("250 "), "{reply}");
    assert_eq!((it.inbox("bob").len(), it.junk("bob").len()), (0, 1));
    let all = it.server.lines();
    let told = all.iter().filter(|line| line.contains("judged ") && line.contains("spf=fail"));
    assert_eq!(told.count(), 1, "{all:#?}");
    // HELO's only marks, and where it is the only sender, too.
    client.expect("EHLO b.test", "250");
    for from in ["ann@a.test", ""] {
        let reply = send(&mut client, from, &["ann@mx.test"], &self::from("other.test"));
        assert!(reply.starts_with("250 "), "{from}: {reply}");
    }
    let mail = it.inbox("ann");
    assert!(mail.len() == 2 && mail.iter().all(|mail| mail.contains("spf=fail")), "{mail:?}");
    it.server.stop();
    let session = reply_session(&refused);
    let (_, told, _) = run(&it.place, &["trace", &session]);
    assert!(told.contains("verdict=reject") && told.contains("reason=\"SPF: "), "{told}");
}

#[test]
fn what_dns_does_not_say_is_taken_or_deferred() {
    let it = Strangers::new(ZONE, "", "");
    let reply = send(&mut it.server.client(), "x@d.test", &["bob@mx.test"], &from("d.test"));
    assert!(reply.starts_with("250 "), "{reply}");
    let mail = it.inbox("bob");
    assert!(mail[0].contains("spf=temperror") && mail[0].contains("dmarc=temperror"), "{mail:?}");
    it.server.stop();

    let it = Strangers::new(ZONE, "temperror = \"defer\"", "");
    let mut client = it.server.client();
    let reply = send(&mut client, "x@d.test", &["bob@mx.test"], &from("d.test"));
    assert!(reply.starts_with("451 4.7.0 DNS does not answer"), "{reply}");
    it.server.wait_for(&["judged ", "dmarc=temperror", "verdict=defer"]);
    let reply = send(&mut client, "ann@a.test", &["bob@mx.test"], MAIL);
    assert!(reply.starts_with("250 ") && it.inbox("bob").len() == 1, "{reply}");
    it.server.stop();
}

const FORGED: &str = "Authentication-Results: mx.test; dmarc=pass\n header.from=a.test\n\
    AUTHENTICATION-results :\n (x) MX.Test. 1 ; spf=pass\nSubject: a\n\
    Authentication-Results: other.test; spf=pass\n";

#[test]
fn forged_results_are_taken_out_of_all_that_is_kept() {
    let far = Host::start("");
    let route = format!("[relay.route]\n\"far.test\" = \"{}\"", far.address);
    let it = Strangers::new(ZONE, "", &route);
    fs::write(it.place.at("aliases"), "out: bob, eve@far.test\n").unwrap();
    it.server.stop();
    let Strangers { place, dns, .. } = it;
    let dns_section = format!("[dns]\nservers = [\"{}\"]\n[trust]\ngateways = []", dns.address());
    let more = format!("aliases = \"aliases\"\n{route}\n{dns_section}");
    let server = Binary::serve(&place, &config(&more));
    let message = format!("{FORGED}{MAIL}");
    let reply = send(&mut server.client(), "ann@a.test", &["out@mx.test"], &message);
    assert!(reply.starts_with("250 "), "{reply}");
    until("it is sent on", || far.mail().len() == 1);
    let sent = text(&far.mail()[0].octets).replace("\r\n", "\n");
    for mail in [text(&place.mail("bob")[0]), sent] {
        let results = fields(&mail, "Authentication-Results");
        assert_eq!(results.len(), 2, "{mail}");
        assert!(results[0].contains("mx.test; ") && results[0].contains("spf=pass"), "{mail}");
        assert_eq!(results[1], "Authentication-Results: other.test; spf=pass");
        assert!(!mail.contains("(x)") && mail.contains("Subject: a\n") && mail.contains("Hello"));
    }
    server.stop();
}

/// Of `relay.networks` and of gateways nothing is asked; only the latter may speak in our name.
#[test]
fn those_whom_we_know_cost_no_question() {
    let message = format!("{FORGED}{}", from("b.test"));
    for (trust, more, kept) in [
        ("", "", true),
        ("gateways = []", "[relay]\nnetworks = [\"127.0.0.0/8\"]", false),
        ("", "[relay]\nnetworks = [\"127.0.0.0/8\"]", false),
    ] {
        let it = Strangers::of(ZONE, trust, more);
        let reply = send(&mut it.server.client(), "eve@b.test", &["bob@mx.test"], &message);
        assert!(reply.starts_with("250 "), "{reply}");
        assert_eq!(it.dns.log(), []);
        let mail = it.inbox("bob");
        let results = fields(&mail[0], "Authentication-Results");
        assert_eq!(results.len(), 1 + usize::from(kept), "{}", mail[0]);
        assert_eq!(mail[0].contains("header.from=a.test"), kept, "{}", mail[0]);
        assert!(!it.server.lines().iter().any(|line| line.contains("judged ")));
        it.server.stop();
    }
    // Nor where all is off, nor for one who is nobody.
    let off = "gateways = []\nspf = \"off\"\ndkim = \"off\"\narc = \"off\"\ndmarc = \"off\"";
    let it = Strangers::of(ZONE, off, "");
    let mut client = it.server.client();
    client.expect("MAIL FROM:<eve@b.test>", "250");
    client.expect("RCPT TO:<bob@other.test>", "550");
    client.expect("RSET", "250");
    send(&mut client, "eve@b.test", &["bob@mx.test"], &message);
    assert_eq!((it.dns.log(), it.inbox("bob").len()), (Vec::new(), 1));
    assert_eq!(fields(&it.inbox("bob")[0], "Authentication-Results").len(), 1);
    it.server.stop();
}

#[test]
fn a_header_without_end_is_refused() {
    let it = Strangers::new(ZONE, "", "");
    let long = format!("X: {}\n", "x".repeat(994)).repeat(1100);
    let reply =
        send(&mut it.server.client(), "ann@a.test", &["bob@mx.test"], &format!("{long}{MAIL}"));
    assert!(reply.starts_with("552 5.3.4 "), "{reply}");
    // Up to there it is a header like others.
    let long = format!("X: {}\n", "x".repeat(994)).repeat(1000);
    let reply =
        send(&mut it.server.client(), "ann@a.test", &["bob@mx.test"], &format!("{long}{MAIL}"));
    assert!(reply.starts_with("250 ") && it.inbox("bob").len() == 1, "{reply}");
    it.server.stop();
}

/// A copy that could not be written goes where it would have gone.
#[test]
fn late_junk_is_junk() {
    let it = Strangers::new(ZONE, "", "");
    let maildir = it.place.maildir("bob");
    make_maildir(&maildir);
    // In the way of the folder.
    fs::write(maildir.join(".Junk"), "").unwrap();
    let to = ["bob@mx.test", "ann@mx.test"];
    let reply = send(&mut it.server.client(), "x@other.test", &to, &from("b.test"));
    assert!(reply.starts_with("250 ") && it.junk("ann").len() == 1, "{reply}");
    let queued = files(&it.place.at("spool/queue"));
    let file = text(&fs::read(&queued[0]).unwrap());
    assert!(file.contains("\njunk: yes\n"), "{file}");
    fs::remove_file(maildir.join(".Junk")).unwrap();
    it.server.signal("USR1");
    until("it is delivered", || it.junk("bob").len() == 1);
    it.server.wait_for(&["delivered ", "to=bob@mx.test", "folder=.Junk"]);
    assert!(it.inbox("bob").is_empty());
    it.server.stop();
}

/// The hashes are made while the octets come: what is large costs no memory.
#[test]
fn large_mail_is_judged_in_constant_memory() {
    let it = Strangers::new(&zone_with_key(), "", "");
    let memory = || {
        let status = fs::read_to_string(format!("/proc/{}/status", it.server.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let mut client = it.server.client();
    send(&mut client, "ann@a.test", &["bob@mx.test"], &signed());
    let before = memory();
    let body = format!("{}\n", "x".repeat(75)).repeat(25 * 1024 * 1024 / 76);
    let head = MAIL.replace("Hello Bob\n", "");
    let mail = signed_at(&Mail::new(format!("{head}{body}").as_bytes()), &ed25519(), "s1");
    let reply = send(&mut client, "ann@a.test", &["bob@mx.test"], &text(mail.text()));
    assert!(reply.starts_with("250 "), "{reply}");
    let grown = memory() - before;
    assert!(grown < 12 * 1024, "{grown} KiB");
    let mail = it.inbox("bob");
    assert!(
        mail.iter().all(|mail| fields(mail, "Authentication-Results")[0].contains("dkim=pass"))
    );
    it.server.stop();
}

/// A server that asks is killed: nothing was promised, and nothing is lost of what was.
#[test]
fn a_kill_while_dns_is_asked_loses_nothing() {
    let zone = format!("{ZONE}slow.test TXT !silent\n_dmarc.slow.test TXT !silent\n");
    let it = Strangers::new(&zone, "", "");
    let mut client = it.server.client();
    let reply = send(&mut client, "x@other.test", &["bob@mx.test"], &from("b.test"));
    assert!(reply.starts_with("250 "), "{reply}");
    client.expect("MAIL FROM:<x@other.test>", "250");
    client.expect("RCPT TO:<bob@mx.test>", "250");
    client.expect("DATA", "354");
    let began = Instant::now();
    client.send(format!("{}.\r\n", from("slow.test").replace('\n', "\r\n")).as_bytes());
    until("it is asked", || it.dns.asked("_dmarc.slow.test", "TXT") > 0);
    let Strangers { place, server, dns } = it;
    server.signal("KILL");
    drop(server);
    assert!(began.elapsed() < Duration::from_secs(20));
    dns.set(ZONE);
    let server = Binary::serve(&place, &fs::read_to_string(place.at("facteur.toml")).unwrap());
    let junk = files(&place.maildir("bob").join(".Junk/new"));
    assert_eq!((junk.len(), place.mail("bob").len()), (1, 0));
    crate::support::assert_no_drafts(&place);
    server.stop();
}
