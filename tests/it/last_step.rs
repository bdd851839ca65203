//! The last step of `facteur route`, tried for real: the Maildir that cannot be written, the next hop that
//! answers or does not, the sender that mail leaves with; and `check`, which does it for every mailbox.

use crate::commands::run_clean;
use crate::dnsd::Dnsd;
use crate::hosts::Host;
use crate::secrecy::{Pair, authority};
use crate::servers::{Binary, FACTEUR};
use crate::support::{Place, config, make_maildir, text, tree, until};
use std::fs;
use std::net::TcpListener;
use std::process::Command;

/// Of ann, bob and two aliases; in place of bob's Maildir lies a file.
fn place(more: &str) -> Place {
    let place = Place::new();
    let users = "users = \"users\"\naliases = \"aliases\"";
    place.write("facteur.toml", config(more).replace("any_user = true", users));
    place.write("users", "ann:{PLAIN}x:::::\nbob:{PLAIN}x:::::\n");
    place.write("aliases", "both: ann, bob\nout: eve@far.test\n");
    make_maildir(&place.maildir("ann"));
    place.write("mail/mx.test/bob", "");
    place
}

/// What `route` says about these, line by line, and its exit status.
fn route(place: &Place, arguments: &[&str]) -> (i32, Vec<String>) {
    let (status, out, err) = run_clean(place, &[&["route"], arguments].concat());
    assert_eq!(err, "", "{out}");
    (status, out.lines().map(|line| line.trim_start().to_owned()).collect())
}

/// Some line begins so.
fn says(lines: &[String], begin: &str) -> bool {
    lines.iter().any(|line| line.starts_with(begin))
}

#[test]
fn a_maildir_that_takes_no_mail_is_told_with_the_reply_and_the_reason() {
    let place = place("");
    let (status, lines) = route(&place, &["ann@mx.test"]);
    let own = format!("{}: owner ", place.maildir("ann").display());
    assert!(status == 0 && says(&lines, &own) && says(&lines, "delivered to ann@mx.test in "));
    let (status, lines) = route(&place, &["bob@mx.test"]);
    let why = format!("bob@mx.test: cannot make {}/tmp: Not a dir", place.maildir("bob").display());
    assert!(status == 1 && says(&lines, &why), "{lines:?}");
    assert_eq!(
        lines.last().unwrap(),
        "refused at the end of the message with 451 4.3.0 local trouble, try later"
    );
    // Others get theirs, so it is taken, and waits.
    let (status, lines) = route(&place, &["both@mx.test"]);
    assert!(status == 0 && says(&lines, "delivered to ann@mx.test in "), "{lines:?}");
    assert!(says(&lines, "taken for bob@mx.test, and waits in the queue: cannot make "));
    // Nothing can wait where there is no queue.
    place.write("spool", "");
    let (status, lines) = route(&place, &["both@mx.test"]);
    assert!(
        status == 1 && says(&lines, "nothing can wait in the queue: cannot create "),
        "{lines:?}"
    );
    assert!(says(&lines, "refused at the end of the message with 451 "), "{lines:?}");
}

#[test]
fn what_route_says_is_what_a_client_hears() {
    let place = place("");
    let said = |address| route(&place, &[address]).1.last().unwrap().clone();
    let (bob, both) = (said("bob@mx.test"), said("both@mx.test"));
    let config = fs::read_to_string(place.at("facteur.toml")).unwrap();
    let server = Binary::serve(&place, &config);
    let mut client = server.client();
    for (to, code, said) in
        [("bob@mx.test", "451 4.3.0 local trouble", bob), ("both@mx.test", "250", both)]
    {
        client.expect("MAIL FROM:<eve@far.test>", "250");
        client.expect(&format!("RCPT TO:<{to}>"), "250");
        client.expect("DATA", "354");
        client.send(b"Subject: x\r\n\r\n.\r\n");
        let reply = client.reply();
        assert!(reply.starts_with(code), "{reply}");
        assert_eq!(said.contains(" with 451 4.3.0 local trouble"), code != "250", "{said}");
    }
    server.stop();
}

#[test]
fn check_names_each_mailbox_that_takes_no_mail() {
    let place = place("");
    let (status, out, err) = run_clean(&place, &["check"]);
    assert!(status == 1 && out.contains("domain mx.test: 2 users"), "{out}");
    let line = "facteur.toml:6: domain.\"mx.test\".maildir: no mail can be delivered to bob@mx.test: \
                cannot make ";
    assert!(err.contains(line) && err.lines().count() == 1, "{err}");
    fs::remove_file(place.maildir("bob")).unwrap();
    let (status, _, err) = run_clean(&place, &["check"]);
    assert_eq!((status, err.as_str()), (0, ""), "what can be made is good");
    // What stands in the way of a folder alone.
    fs::write(place.maildir("ann").join(".Junk"), "").unwrap();
    let (status, _, err) = run_clean(&place, &["check"]);
    assert!(status == 1 && err.contains("no junk can be delivered to ann@mx.test: "), "{err}");
    fs::remove_file(place.maildir("ann").join(".Junk")).unwrap();
    // Who is reached by an alias alone, and users that nobody listed.
    let config = fs::read_to_string(place.at("facteur.toml")).unwrap();
    place.write("facteur.toml", config.replace("users = \"users\"\n", ""));
    fs::remove_file(place.maildir("ann").join("new")).unwrap_err();
    fs::remove_dir(place.maildir("ann").join("new")).unwrap();
    place.write("mail/mx.test/ann/new", "");
    let (status, _, err) = run_clean(&place, &["check"]);
    assert!(status == 1 && err.contains("no mail can be delivered to ann@mx.test"), "{err}");
}

#[test]
fn asked_on_behalf_of_a_client() {
    let place = place(
        "[relay]\nnetworks = [\"10.0.0.0/8\"]\n[relay.route]\n\"far.test\" = \"127.0.0.1:1\"",
    );
    for (client, address, status, step) in [
        ("192.0.2.1", "eve@far.test", 1, "refused with 550 5.7.1 <eve@far.test>: far.test is not "),
        ("10.1.2.3", "eve@far.test", 0, "sent to 127.0.0.1 [127.0.0.1]:1"),
        (
            "::ffff:10.1.2.3",
            "eve@far.test",
            0,
            "asked for a client at 10.1.2.3, which relay.networks",
        ),
        ("192.0.2.1", "ann@mx.test", 0, "asked for a client at 192.0.2.1, a stranger to "),
        ("192.0.2.1", "out@mx.test", 0, "sent on to eve@far.test"),
        ("192.0.2.1", "zoe@mx.test", 1, "refused with 550 5.1.1: no such user"),
    ] {
        let (found, lines) = route(&place, &["--client", client, address]);
        assert!(found == status && says(&lines, step), "{client} {address}: {lines:?}");
        assert!(!says(&lines, "only clients of "), "{lines:?}");
    }
    // Nobody in particular may send anywhere.
    let (status, lines) = route(&place, &["eve@far.test"]);
    let step = "only clients of relay.networks may send there: 10.0.0.0/8";
    assert!(status == 0 && says(&lines, step), "{lines:?}");
    for wrong in [
        &["route", "--client", "nobody", "ann@mx.test"][..],
        &["check", "--client", "10.1.2.3"],
        &["queue", "list", "--from", "a@b.test"],
        &["route", "--disk", "ann@mx.test"],
    ] {
        assert_eq!(run_clean(&place, wrong).0, 2, "{wrong:?}");
    }
}

#[test]
fn the_sender_that_mail_leaves_with() {
    let routes = "\"far.test\" = \"127.0.0.1:1\"\n\"else.test\" = \"127.0.0.1:1\"";
    let place = place(&format!("[relay.route]\n{routes}"));
    let ask = |from| route(&place, &["--from", from, "out@mx.test"]).1;
    let unknown = "its sender there (SRS) is not known: no server has made the SRS secret yet";
    assert!(says(&ask("ann@else.test"), unknown));
    let config = fs::read_to_string(place.at("facteur.toml")).unwrap();
    Binary::serve(&place, &config).stop();
    let lines = ask("ann@else.test");
    let step = lines.iter().find(|line| line.starts_with("its sender is SRS0=")).unwrap();
    assert!(step.ends_with("=else.test=ann@mx.test there (SRS)"), "{step}");
    assert!(says(&ask("<>"), "its sender stays <>") && says(&ask(""), "asked for mail from <>"));
    // And its bounce finds the way back.
    let bounce = step.split(' ').nth(3).unwrap();
    let (status, lines) = route(&place, &[bounce]);
    assert!(status == 0 && says(&lines, "sent on to ann@else.test"), "{lines:?}");
    assert!(!says(&lines, "only clients of "), "anybody may: {lines:?}");
    assert!(says(&lines, &format!("{bounce} is an SRS address of ours, for ann@else.test")));
    let forged = bounce.replacen("SRS0=", "SRS0=x", 1);
    let (status, lines) = route(&place, &[&forged]);
    let why = format!("{forged}: SRS address that was not made here");
    assert!(status == 1 && says(&lines, &why), "{lines:?}");
    assert!(says(&lines, "refused with 550 5.1.1"), "{lines:?}");
}

/// With these lines in `[relay]`, and the authority of the tests believed.
fn greeted(relay: &str, dns: &Dnsd) -> (bool, String) {
    let place = Place::new();
    let dns = format!("[dns]\nservers = [\"{}\"]\n", dns.address());
    let file = place.write("facteur.toml", config(&format!("{dns}[relay]\n{relay}")));
    let before = tree(place.path());
    let mut command = Command::new(FACTEUR);
    command.arg("-c").arg(file).args(["route", "eve@far.test"]);
    let authority = Place::new();
    command.env("SSL_CERT_FILE", authority.write("authority.pem", self::authority()));
    let output = command.output().unwrap();
    assert_eq!(tree(place.path()), before);
    (output.status.success(), text(&output.stdout))
}

#[test]
fn the_next_hop_is_greeted_and_never_hears_mail() {
    let dns = Dnsd::new("");
    let own = &["127.0.0.1"][..];
    let verified = Host::with(&Pair::of(own), "");
    let other = Host::with(&Pair::of(&["other.test"]), "");
    let broken = Host::with(&Pair::of(own), "STARTTLS: 454 4.7.0 not now");
    let clear = Host::start("");
    let never = Host::start("greeting: 521 5.3.2 go away");
    let tls = ["EHLO mx.test", "STARTTLS", "(tls )", "EHLO mx.test", "QUIT"];
    let suite = "tls=TLSv1.3:TLS_AES_256_GCM_SHA384:X25519MLKEM768";
    for (host, is_good, words, commands) in [
        (&verified, true, format!("{suite}:verified\n"), &tls[..]),
        (&other, true, format!("{suite}:unverified\n"), &tls),
        (&clear, true, "tls=no (no STARTTLS is offered)\n".to_owned(), &["EHLO mx.test", "QUIT"]),
        (
            &broken,
            true,
            "tls=no (STARTTLS is offered and broken: it said 454 4.7.0 not now (STARTTLS))\n"
                .to_owned(),
            &["EHLO mx.test", "STARTTLS", "QUIT", "EHLO mx.test", "QUIT"],
        ),
        (&never, false, "refused by 127.0.0.1 ".to_owned(), &["QUIT"]),
    ] {
        let (good, out) = greeted(&format!("smarthost = \"{}\"", host.address), &dns);
        assert!(good == is_good && out.contains(&words), "{out}");
        until("it was told to go", || host.seen().commands.len() >= commands.len());
        assert_eq!(host.seen().commands, commands, "{out}");
    }
    // A password needs a host that proves its name.
    let auth = "smarthost_auth = { user = \"a\", password_file = \"none\" }";
    for (host, waits) in [(&verified, false), (&other, true), (&clear, true)] {
        let (good, out) = greeted(&format!("smarthost = \"{}\"\n{auth}", host.address), &dns);
        let step = "no password is given without verified TLS: mail waits";
        assert!(good && out.contains(step) == waits, "{out}");
    }
}

#[test]
fn a_next_hop_that_is_down_is_said_and_no_failure() {
    let later = Host::on("127.0.0.2:0", "greeting: 421 4.3.2 later | (close)");
    let good = Host::beside(&later, "127.0.0.3", "");
    let dns = Dnsd::new(
        "far.test MX 10 one.far.test\nfar.test MX 20 two.far.test\nfar.test MX 30 three.far.test\n\
         one.far.test A 127.0.0.2\ntwo.far.test A 127.0.0.3\nthree.far.test A 127.0.0.4",
    );
    let port = later.address.port();
    let (is_good, out) = greeted(&format!("port = {port}"), &dns);
    let lines: Vec<&str> = out.lines().map(str::trim_start).collect();
    let first = format!("not now: one.far.test [127.0.0.2]:{port}: ");
    let second = format!("greeted by two.far.test [127.0.0.3]:{port}, tls=no ");
    let at = |begin: &str| lines.iter().position(|line| line.starts_with(begin));
    assert!(is_good && at(&first) < at(&second) && at(&first).is_some(), "{out}");
    assert_eq!((good.seen().connections, good.count("MAIL")), (1, 0));
    // And when there is none at all.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (is_good, out) = greeted(&format!("smarthost = \"{free}\""), &dns);
    assert!(is_good && out.contains("not now: 127.0.0.1 "), "{out}");
    assert!(out.ends_with("  no host can be spoken to now: mail waits\n"), "{out}");
}

#[test]
fn check_tries_the_disks() {
    for (place, is_memory) in [(Place::new(), None), (Place::in_memory(), Some("tmpfs is memory"))]
    {
        place.write("facteur.toml", config(""));
        // The one of the spool and the one of the mail are one, and are told once.
        let (status, out, err) = run_clean(&place, &["check", "--disk"]);
        let is_tmpfs = place.path().starts_with("/dev/shm");
        assert_eq!(status, 0, "{err}");
        let told: Vec<&str> = out.lines().filter(|line| line.starts_with("disk ")).collect();
        let [line] = told[..] else { panic!("{out}") };
        let words = format!("disk {}: ", place.path().display());
        assert!(line.starts_with(&words) && line.contains("link and rename work, a sync takes "));
        assert!(line.ends_with(" free"), "{line}");
        let is_warned = is_memory.is_none_or(|words| err.contains(words));
        assert!(is_warned || !is_tmpfs, "{err}");
    }
    // Somebody who looks at /proc can write nothing there.
    let place = Place::new();
    place.write("facteur.toml", config("").replace("\"spool\"", "\"/proc/facteur\""));
    let (status, _, err) = run_clean(&place, &["check", "--disk"]);
    assert!(status == 1 && err.contains("/proc (proc) cannot keep mail: cannot create "), "{err}");
}
