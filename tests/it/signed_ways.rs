//! Mail of ours on every way out: what leaves signed, whose mail does not, and that signatures hold whatever the octets
//! are, after the queue, a restart, a conversion to 7 bits, and a key that was away.

use crate::abuse::{forget_peak, memory};
use crate::client::Client;
use crate::commands::run;
use crate::drops::Yard;
use crate::hosts::Host;
use crate::sendmail::{feed, queued};
use crate::servers::{Binary, FACTEUR};
use crate::signed::{Signers, holding, send, signatures};
use crate::support::{Place, files, text, until};
use facteur::mail::proof::dkim::sign::strings;
use facteur::mail::proof::name::Name;
use facteur::store::keys::KeyKind;
use facteur::store::keys::make::make_key;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A message from ann, with CR LF; `more`: fields and the body.
fn mail(more: &str) -> Vec<u8> {
    format!("From: Ann <ann@mx.test>\nTo: carol@far.test\nSubject: hello  you\n{more}")
        .replace('\n', "\r\n")
        .into_bytes()
}

/// The reason for which a message left unsigned.
fn reason(it: &Signers, reply: &str) -> String {
    let id = reply.rsplit(' ').next().unwrap();
    it.server.wait_for(&["signed ", &format!("id={id} ")])
}

#[test]
fn users_and_networks() {
    let it = Signers::new("", "");
    let (mut ann, mut bob, mut program) = (it.user("ann"), it.user("bob"), it.server.client());
    let plain = mail("\nHello\n");
    let from = |from: &str| text(&plain).replace("Ann <ann@mx.test>", from).into_bytes();
    // His own address, with a tag, an alias of his; any of ours from a network; a domain below.
    let replies = [
        send(&mut ann, "ann@mx.test", &["carol@far.test", "bob@mx.test"], &plain),
        send(&mut ann, "ann@mx.test", &["carol@far.test"], &from("Ann <Ann+x@MX.test>")),
        send(&mut bob, "bob@mx.test", &["carol@far.test"], &from("info@mx.test")),
        send(&mut bob, "bob@mx.test", &["carol@far.test"], &from("info@mx.test, bob@mx.test")),
        send(&mut program, "x@y.test", &["carol@far.test"], &from("bob@mx.test")),
        send(&mut program, "x@y.test", &["carol@far.test"], &from("shop@news.mx.test")),
        // By an alias it leaves with the signature that it has.
        send(&mut ann, "ann@mx.test", &["away@mx.test"], &plain),
    ];
    for reply in &replies {
        let line = reason(&it, reply);
        assert!(line.contains("domain=mx.test selectors=r1,e1"), "{line}");
    }
    let left = it.left(replies.len());
    it.assert_signed(&left);
    let by_alias = left.iter().filter(|mail| mail.starts_with(b"Delivered-To: away@mx.test"));
    assert_eq!(by_alias.count(), 1);
    // The copy here is the same, below what delivery puts on top.
    until("it is delivered", || it.place.mail("bob").len() == 1);
    let copy = text(&it.place.mail("bob")[0]);
    it.assert_signed(&[copy.clone().into_bytes()]);
    let at = |what: &str| copy.find(what).unwrap_or_else(|| panic!("no {what} in {copy}"));
    assert!(at("Delivered-To:") < at("Received:") && at("Received:") < at("DKIM-Signature:"));
    assert!(at("DKIM-Signature:") < at("From:"), "{copy}");
    // And the story tells it.
    let id = replies[0].rsplit(' ').next().unwrap();
    let (status, out, _) = run(&it.place, &["trace", id]);
    assert!(status == 0 && out.contains("signed domain=mx.test selectors=r1,e1"), "{out}");
}

#[test]
fn whose_mail_leaves_unsigned() {
    let it = Signers::new("", "");
    let (mut ann, mut program) = (it.user("ann"), it.server.client());
    let plain = mail("\nHello\n");
    let from = |from: &str| text(&plain).replace("Ann <ann@mx.test>", from).into_bytes();
    let mut count = 0;
    // What is signed for networks is not for users.
    let customer = from("Shop <shop@Customer.test>");
    let both = from("shop@customer.test, ann@mx.test");
    send(&mut program, "x@y.test", &["carol@far.test"], &customer);
    let records = it.keys.records("customer.test");
    assert_eq!(holding_now(&it, &it.left(1)[0], &records), ["r1", "e1"]);
    for (message, why) in [
        (from("bob@mx.test"), "bob@mx.test, which is not the sender's own"),
        (from("info@mx.test"), "info@mx.test, which is not"),
        (from("ann@mx.test, bob@mx.test"), "bob@mx.test, which is not"),
        (from("ann@far.test"), "ann@far.test, which is not"),
        (customer, "shop@customer.test, which is not"),
        (from("bob@mx.test <ann@mx.test>"), "From can be read in several ways"),
    ] {
        let reply = send(&mut ann, "ann@mx.test", &["carol@far.test"], &message);
        let line = reason(&it, &reply);
        assert!(line.contains(why) && !line.contains("domain="), "{line}");
        count += 1;
    }
    for (message, why) in [
        (from("ann@far.test"), "far.test has no keys here"),
        (both, "From names authors of customer.test and of mx.test"),
        (from("ann@mx.test, eve@far.test"), "far.test has no keys here"),
        (from("ann"), "From has no address"),
        (b"Subject: x\r\n\r\nx\r\n".to_vec(), "there is no From field"),
        (from("a@mx.test\r\nFrom: b@mx.test"), "several From fields"),
        // Below our field it is no header.
        ([b" folded\r\n", &plain[..]].concat(), "there is no From field"),
    ] {
        let reply = send(&mut program, "x@y.test", &["carol@far.test"], &message);
        let line = reason(&it, &reply);
        assert!(line.contains(why), "{line}");
        count += 1;
    }
    // Two authors' fields of a user, of whom one could be anybody.
    let two = from("ann@mx.test\r\nFrom: boss@mx.test");
    let refused = send(&mut ann, "ann@mx.test", &["carol@far.test"], &two);
    assert!(refused.starts_with("550 5.6.0 "), "{refused}");
    // A stranger's, whatever it says, to a mailbox and by an alias to the outside.
    let mut stranger = it.stranger();
    let reply = send(&mut stranger, "ann@y.test", &["away@mx.test", "bob@mx.test"], &plain);
    let id = reply.rsplit(' ').next().unwrap();
    let left = it.left(count + 2);
    assert!(left[1..].iter().all(|mail| signatures(mail) == 0));
    until("it is delivered", || it.place.mail("bob").len() == 1);
    assert_eq!(signatures(&it.place.mail("bob")[0]), 0);
    let about = |line: &String| line.starts_with("signed ") && line.contains(id);
    assert!(!it.server.lines().iter().any(about));
}

/// Every fixture, and what is hard on a signature.
fn hard() -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("maildir-fixtures/messages");
    let fixture = |path: PathBuf| {
        let mut octets = fs::read(path).unwrap();
        for author in ["ann@client.test", "j@client.test", "\u{e9}va@b\u{fc}cher.test"] {
            let at = octets.windows(author.len()).position(|part| part == author.as_bytes());
            if let Some(at) = at {
                octets.splice(at..at + author.len(), *b"ann@mx.test");
            }
        }
        octets
    };
    let mut all: Vec<Vec<u8>> = files(&dir).into_iter().map(fixture).collect();
    assert_eq!(all.len(), 28);
    all.push(mail("\n8 bits: \u{e9}\u{20ac} \n\n\n"));
    all.push(mail(&format!("X-Long: {}\n\n{}\n", "x".repeat(5_000), "y z ".repeat(5_000))));
    all.push([b" folded\r\n\tagain\r\n", &mail("\nx\n")[..]].concat());
    all.push([&mail("\n")[..], b"a\0b\x01\x7f\xff  \t \r\n \t\r\n\r\n"].concat());
    all.push(mail("\n.\n..\n...x\n"));
    all.push(mail("\n"));
    all.push(mail("\n\n\n\n"));
    all.push(mail(""));
    all.push(mail("X-Empty:\nX-White: \t \n folded  \n\twords \n\nno last line end"));
    all.push(mail("List-Id: <l.mx.test>\nCc: a@b.test,\n c@d.test\nCC: e@f.test\n\nx"));
    all
}

#[test]
fn whatever_the_octets_are() {
    let it = Signers::new("", "");
    let mut ann = it.user("ann");
    let all = hard();
    for message in &all {
        ann.expect("MAIL FROM:<ann@mx.test>", "250");
        ann.expect("RCPT TO:<carol@far.test>", "250");
        ann.send(format!("BDAT {} LAST\r\n", message.len()).as_bytes());
        ann.send(message);
        let reply = ann.reply();
        assert!(reply.starts_with("250 2.0.0 "), "{reply} to {}", text(message));
    }
    it.assert_signed(&it.left(all.len()));
    assert_eq!(it.far.mail().len(), all.len());
}

#[test]
fn a_large_message_in_constant_memory() {
    let it = Signers::new("EHLO: 250-host.test | 250-8BITMIME | 250 SIZE 100000000", "");
    let mut ann = it.user("ann");
    let body: String = (0..320_000).map(|at| format!("{at} {}\n", "word ".repeat(15))).collect();
    let message = mail(&format!("\n{body}"));
    assert!(message.len() > 25 << 20);
    // Once, so that all that is held is held already.
    send(&mut ann, "ann@mx.test", &["carol@far.test"], &mail("\nx\n"));
    it.left(1);
    forget_peak(it.server.pid());
    let before = memory(it.server.pid(), "VmHWM");
    let reply = send(&mut ann, "ann@mx.test", &["carol@far.test"], &message);
    assert!(reply.starts_with("250 "), "{reply}");
    let left = it.left(2);
    let grown = memory(it.server.pid(), "VmHWM").saturating_sub(before);
    assert!(grown < 8 << 10, "{grown} KiB");
    it.assert_signed(&left[1..]);
}

#[test]
fn after_the_queue_and_a_restart() {
    let it = Signers::new("greeting: 421 4.3.2 not now", "retry = [\"1s\"]");
    let mut ann = it.user("ann");
    send(&mut ann, "ann@mx.test", &["carol@far.test"], &mail("\n\u{e9}  x \n\n"));
    it.server.wait_for(&["deferred ", "not now"]);
    let found = queued(&it.place);
    let header = found[0].0.header();
    assert!(header.contains("\nsigned: mx.test r1 e1\n"), "{header}");
    // New keys do not matter to what is signed already.
    let Signers { place, keys, dns, far, config, server } = it;
    drop(server);
    far.change("greeting: 220 x");
    let server = Binary::serve(&place, &config);
    server.signal("HUP");
    let it = Signers { place, keys, dns, far, config, server };
    let left = it.left(1);
    it.assert_signed(&left);
    assert!(text(&left[0]).replace("\r\n", "\n").contains(&found[0].1), "octet for octet");
}

#[test]
fn in_seven_bits_it_is_signed_anew() {
    let it = Signers::new("EHLO: 250-host.test | 250 SIZE 1000000\nRCPT TO:<no@: 550 no", "");
    let (mut ann, mut stranger) = (it.user("ann"), it.stranger());
    let parts = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\
                 Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n\u{e9}\u{e9} \n\n--b--\n";
    for more in ["\n\u{e9}t\u{e9}  \n\n", "X-Who: \u{e9}\n\n\u{e9}", parts] {
        let mut client = it.server.client();
        let clients: [&mut Client; 2] = [&mut ann, &mut client];
        for client in clients {
            let mut message = mail(more);
            if !message.ends_with(b"\n") {
                message.extend(b"\r\n");
            }
            let reply = send(client, "ann@mx.test", &["carol@far.test"], &message);
            assert!(reply.starts_with("250 "), "{reply}");
        }
    }
    // What needs no conversion keeps its signature, beside it.
    send(&mut ann, "ann@mx.test", &["away@mx.test"], &mail("\nplain\n"));
    send(&mut ann, "ann@mx.test", &["away@mx.test"], &mail("\n\u{e9}\n"));
    let left = it.left(8);
    assert!(left.iter().all(|mail| mail.is_ascii() && signatures(mail) == 2));
    assert!(left.iter().filter(|mail| text(mail).contains("=C3=A9")).count() >= 7);
    it.assert_signed(&left);
    // A stranger's signature is broken by it, and stays.
    let theirs = "DKIM-Signature: v=1; a=rsa-sha256; d=y.test; s=r1; h=from; bh=x; b=y\r\n";
    let message = [theirs.as_bytes(), &mail("\n\u{e9}\n")].concat();
    send(&mut stranger, "ann@y.test", &["away@mx.test"], &message);
    let left = it.left(9);
    assert!(text(&left[8]).contains(theirs) && signatures(&left[8]) == 1);
    // A notice of ours, with 8 bits in what it returns.
    let mut program = it.server.client();
    send(&mut program, "carol@far.test", &["no@far.test"], &mail("\n\u{e9}\n"));
    let left = it.left(10);
    let notice = text(&left[9]);
    assert!(notice.is_ascii() && notice.contains("=C3=A9"), "{notice}");
    it.assert_signed(&left[9..]);
}

/// A server that keeps mail here, in the session and by the queue.
#[test]
fn in_seven_bits_for_a_server_that_keeps_it() {
    let refused = ".*1: 450 4.2.0 later\nLHLO: 250-kept.test | 250 PIPELINING";
    let kept = Host::start(refused);
    let domain = "[domain.\"kept.test\"]\nany_user = true\nlmtp";
    let it = Signers::new("", &format!("{domain} = \"inet:{}\"", kept.address));
    let (mut ann, message) = (it.user("ann"), mail("\n\u{e9}t\u{e9}\n"));
    let alone = send(&mut ann, "ann@mx.test", &["dan@kept.test"], &message);
    assert!(alone.starts_with("450 4.2.0"), "{alone}");
    for to in [&["dan@kept.test"][..], &["dan@kept.test", "bob@mx.test"]] {
        assert!(send(&mut ann, "ann@mx.test", to, &message).starts_with("250 "));
    }
    kept.change(refused);
    assert!(
        send(&mut ann, "ann@mx.test", &["dan@kept.test", "bob@mx.test"], &message)
            .starts_with("250 ")
    );
    assert_eq!(run(&it.place, &["queue", "retry", "--all"]).0, 0);
    until("the server has all", || kept.seen().mail.len() == 5);
    let mail: Vec<Vec<u8>> = kept.seen().mail.iter().map(|mail| mail.octets.clone()).collect();
    assert!(mail.iter().all(|mail| mail.is_ascii() && text(mail).contains("=C3=A9t=C3=A9")));
    it.assert_signed(&mail);
}

#[test]
fn notices() {
    let it = Signers::new(
        "RCPT TO:<no@: 550 5.1.1 nobody\nRCPT TO:<late@: 450 4.2.0 later",
        "retry = [\"1s\"]\ndelay_notice = \"1s\"",
    );
    let mut program = it.server.client();
    let message = mail("\n\u{e9}\n");
    // A failure, a delay, and a success; a notice that returns all, and one that returns the header.
    for (options, to, with) in [
        ("", "no@far.test", ""),
        (" RET=HDRS", "no@far.test", ""),
        (" RET=FULL", "bob@mx.test", " NOTIFY=SUCCESS"),
        ("", "late@far.test", " NOTIFY=DELAY"),
    ] {
        program.expect(&format!("MAIL FROM:<carol@far.test>{options}"), "250");
        program.expect(&format!("RCPT TO:<{to}>{with}"), "250");
        program.expect("DATA", "354");
        program.send(&crate::client::stuffed(&message));
        assert!(program.reply().starts_with("250 "));
    }
    for (what, count) in [("failed", 2), ("delivered", 1), ("delayed", 1)] {
        let word = format!("what={what}");
        until(&word, || {
            it.server.lines().iter().filter(|line| line.contains(&word)).count() >= count
        });
    }
    let is_notice = |mail: &crate::hosts::Mail| mail.from.is_empty();
    until("notices", || it.far.mail().iter().filter(|mail| is_notice(mail)).count() >= 4);
    let notices: Vec<_> = it.far.mail().into_iter().filter(is_notice).collect();
    let notices: Vec<Vec<u8>> = notices.into_iter().map(|mail| mail.octets).collect();
    it.assert_signed(&notices);
    let all: String = notices.iter().map(|notice| text(notice)).collect();
    for word in ["Action: failed", "Action: delayed", "Action: delivered"] {
        assert!(all.contains(word), "{word}");
    }
}

#[test]
fn a_key_that_is_away() {
    let it = Signers::new("", "retry = [\"1h\"]");
    let mut ann = it.user("ann");
    let keys = files(&it.place.at("keys"));
    let pems: Vec<Vec<u8>> = keys.iter().map(|key| fs::read(key).unwrap()).collect();
    keys.iter().for_each(|key| fs::write(key, "broken\n").unwrap());
    it.server.signal("HUP");
    it.server.wait_for(&["warning ", "mail of mx.test waits"]);
    let message = mail("\n\u{e9} x\n");
    let reply = send(&mut ann, "ann@mx.test", &["carol@far.test", "bob@mx.test"], &message);
    let id = reply.rsplit(' ').next().unwrap().to_owned();
    assert!(reply.starts_with("250 "), "{reply}");
    it.server.wait_for(&["delivered ", "to=bob@mx.test", &id]);
    it.server.wait_for(&["deferred ", "to=carol@far.test", &id, "4.7.5", ".pem"]);
    assert!(queued(&it.place)[0].0.header().contains("\nto-sign: yes\n"));
    let (status, out, _) = run(&it.place, &["queue", "why", &id]);
    assert!(status == 0 && out.contains("a key that signs is missing"), "{out}");
    assert!(out.contains(".pem") && out.contains("a key that the server can read"), "{out}");
    assert!(it.far.mail().is_empty());
    // A notice of ours waits as well, and nothing is lost by a restart.
    let Signers { place, keys: own, dns, far, config, server } = it;
    server.stop();
    keys.iter().zip(&pems).for_each(|(key, pem)| fs::write(key, pem).unwrap());
    let server = Binary::serve(&place, &config);
    server.signal("USR1");
    let it = Signers { place, keys: own, dns, far, config, server };
    let left = it.left(1);
    it.assert_signed(&left);
    it.server.wait_for(&["signed ", &id, "selectors=r1,e1"]);
}

/// Whoever has mended a key asks for an attempt at once, and it does not wait for the next look at the directory.
#[test]
fn a_key_that_is_back() {
    let it = Signers::new("", "retry = [\"1h\"]");
    let mut ann = it.user("ann");
    let (keys, away) = (it.place.at("keys"), it.place.at("away"));
    fs::rename(&keys, &away).unwrap();
    it.server.signal("HUP");
    it.server.wait_for(&["warning ", "mail of mx.test waits"]);
    let reply = send(&mut ann, "ann@mx.test", &["carol@far.test"], &mail("\nx\n"));
    assert!(reply.starts_with("250 "), "{reply}");
    let id = reply.rsplit(' ').next().unwrap();
    it.server.wait_for(&["deferred ", "to=carol@far.test", id, "4.7.5", "cannot list"]);
    fs::rename(&away, &keys).unwrap();
    assert_eq!(run(&it.place, &["queue", "retry", id]).0, 0);
    it.assert_signed(&it.left(1));
}

/// The selectors of the signatures that hold, in their order.
fn holding_now(it: &Signers, mail: &[u8], more: &[(String, String)]) -> Vec<String> {
    assert!(signatures(mail) > 0, "{}\n{:#?}", text(mail), it.server.lines());
    holding(mail, &[&it.keys.records("mx.test"), more].concat())
}

#[test]
fn mail_through_a_rotation() {
    let it = Signers::new("RCPT TO:<late@: 450 4.2.0 later", "retry = [\"1h\"]");
    let mut ann = it.user("ann");
    let next = Name::parse(b"r2").unwrap();
    let new = make_key(&it.place.at("keys"), &next, KeyKind::Rsa, None).unwrap();
    let owner = "r2._domainkey.mx.test".to_owned();
    let record = [(owner.clone(), new.record.clone())];
    let line = format!("{owner} TXT {}\n", strings(&new.record).join("|"));
    let mut count = 0;
    let mut leaves = || {
        let reply = send(&mut ann, "ann@mx.test", &["carol@far.test"], &mail("\nx\n"));
        assert!(reply.starts_with("250 "), "{reply}");
        count += 1;
        holding_now(&it, &it.left(count)[count - 1], &record)
    };
    // Unpublished, shown but not for an hour, and with DNS down: the old keys sign.
    it.server.signal("HUP");
    it.server.wait_for(&["key ", "selector=r2 ", "state=waiting"]);
    assert_eq!(leaves(), ["r1", "e1"]);
    it.dns.set(&format!("{}{line}", it.keys.zone("mx.test")));
    it.server.signal("HUP");
    let shown = it.place.at("spool/dkim/mx.test");
    until("it is shown", || fs::read_to_string(&shown).unwrap().contains("key r2 "));
    assert_eq!(leaves(), ["r1", "e1"]);
    it.dns.set("* !servfail");
    assert_eq!(leaves(), ["r1", "e1"]);
    let from_bob = text(&mail("\nx\n")).replace("ann@", "bob@").into_bytes();
    send(&mut it.user("bob"), "bob@mx.test", &["late@far.test"], &from_bob);
    it.server.wait_for(&["deferred ", "to=late@far.test"]);
    // Its hour is over, and then the time of the old one: what waits is still signed with that.
    let change = |selector: &str, at: usize| {
        let text = fs::read_to_string(&shown).unwrap();
        let line = |line: &str| match line.starts_with(&format!("key {selector} ")) {
            true => {
                let mut words: Vec<&str> = line.split(' ').collect();
                words[at] = "2026-01-01T00:00:00Z";
                words.join(" ") + "\n"
            }
            false => format!("{line}\n"),
        };
        fs::write(&shown, text.lines().map(line).collect::<String>()).unwrap();
        it.server.signal("HUP");
    };
    change("r2", 5);
    it.server.wait_for(&["key ", "selector=r2 ", "state=signs"]);
    assert_eq!(leaves(), ["r2", "e1"]);
    change("r1", 13);
    until("the time of the old key is over", || {
        let (_, out, _) = run(&it.place, &["dkim", "list"]);
        out.contains("r1  rsa  retired: its record is needed while mail that it signed waits")
    });
    let (_, out, _) = run(&it.place, &["dkim", "list", "--json"]);
    let old = out.lines().find(|line| line.contains("\"r1\"")).unwrap();
    assert!(old.contains("\"state\":\"retired\",\"until\":null"), "{old}");
    it.far.change("RCPT: 250 ok");
    it.server.signal("USR1");
    it.server.wait_for(&["relayed ", "to=late@far.test"]);
    let left = it.left(5);
    assert_eq!(holding_now(&it, &left[4], &record), ["r1", "e1"]);
    until("it has left", || {
        run(&it.place, &["dkim", "list"]).1.contains("retired: its record may be removed")
    });
}

fn sendmail(place: &Place, arguments: &[&str], input: &[u8]) {
    let mut command = Command::new(FACTEUR);
    command.arg("sendmail").args(arguments);
    let (status, said) = feed(place, command, input);
    assert_eq!(status, 0, "{said}");
}

#[test]
fn sendmail_by_the_queue() {
    let it = Signers::new("", "");
    let input = text(&mail("\n\u{e9}  x\n.\ny")).replace("\r\n", "\n");
    let more = input.replace("ann@mx.test", "anybody@mx.test");
    let folded = format!(" folded\n{input}");
    for input in [&input, &more, &folded, "no header at all", ""] {
        sendmail(&it.place, &["-i", "-f", "ann@mx.test", "carol@far.test"], input.as_bytes());
    }
    let session = "HELO x\r\nMAIL FROM:<ann@mx.test>\r\nRCPT TO:<carol@far.test>\r\nDATA\r\n\
                   Subject: y\r\n\r\nz\r\n.\r\nQUIT\r\n";
    sendmail(&it.place, &["-bs"], session.as_bytes());
    it.assert_signed(&it.left(6));
    // Without a server it waits, and is signed on its way; a copy here too.
    let Signers { place, keys, dns, far, config, server } = it;
    server.stop();
    sendmail(&place, &["-i", "-f", "ann@mx.test", "carol@far.test", "bob"], input.as_bytes());
    assert!(queued(&place)[0].0.header().contains("\nto-sign: yes\n"));
    let server = Binary::serve(&place, &config);
    let it = Signers { place, keys, dns, far, config, server };
    it.assert_signed(&it.left(7)[6..]);
    until("it is delivered", || it.place.mail("bob").len() == 1);
    it.assert_signed(&it.place.mail("bob"));
}

#[test]
fn sendmail_by_a_user_of_this_machine() {
    let far = Host::start("");
    let it = Signers::new("", "");
    let resolver = it.dns.address();
    let more = format!(
        "dkim = \"keys\"\n[dns]\nservers = [\"{resolver}\"]\n[relay.route]\n\"far.test\" = \"{}\"\n",
        far.address
    );
    let Some(yard) = Yard::new(&more) else { return };
    it.keys.write(&yard.place.at("keys"));
    yard.give_to_server("keys");
    let server = yard.serve();
    until("both keys sign", || {
        yard.sent(&["bob@mx.test"], b"Subject: probe\n\nx\n");
        until("it is delivered", || !yard.place.mail("bob").is_empty());
        let paths = files(&yard.place.maildir("bob").join("new"));
        let mail = fs::read(&paths[0]).unwrap();
        paths.iter().for_each(|path| fs::remove_file(path).unwrap());
        signatures(&mail) == 2
    });
    let input = text(&mail("\n\u{e9}  x\n.\ny\n")).replace("\r\n", "\n");
    yard.sent(&["-i", "carol@far.test"], input.as_bytes());
    yard.sent(&["carol@far.test"], b"");
    yard.sent(&["carol@far.test"], b"From: boss@mx.test\nSubject: anybody may\n\nx\n");
    yard.sent(&["carol@far.test"], &[b"X: y\n\n", &b"0123456789 \n".repeat(20_000)[..]].concat());
    until("they left", || far.mail().len() == 4);
    let left: Vec<Vec<u8>> = far.mail().into_iter().map(|mail| mail.octets).collect();
    it.assert_signed(&left);
    server.wait_for(&["signed ", "domain=mx.test selectors=r1,e1"]);
    server.stop();
}
