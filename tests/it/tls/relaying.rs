//! TLS towards other hosts: what is offered is used, what is broken is done without, and a password has
//! a host that proved its name.

use crate::hosts::Host;
use crate::relay::{MESSAGE, letter};
use crate::secrecy::{Pair, authority};
use crate::servers::{Binary, FACTEUR, value};
use crate::support::{PATIENCE, Place, config, files, until};
use facteur::config::Config;
use facteur::event::Talk;
use facteur::net::tls::PeerProof;
use facteur::relay::{Caller, Connection, Hop};
use facteur::smtp::client::Fate;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

const MAIL: &[u8] = b"Subject: hi\r\n\r\nHello.\r\n";

/// A server that believes the authority of the tests, with this in `[relay]`.
fn serve(place: &Place, relay: &str) -> Binary {
    let relay = format!("[relay]\nnetworks = [\"127.0.0.0/8\"]\nretry = [\"1h\"]\n{relay}");
    let file = place.write("facteur.toml", config(&relay));
    let mut command = Command::new(FACTEUR);
    command.arg("-c").arg(file).arg("serve");
    command.env("SSL_CERT_FILE", place.write("authority.pem", authority()));
    Binary::start(command)
}

/// Who speaks to hosts from this process, which believes in nobody of the tests.
fn caller(time: Duration) -> Arc<Caller> {
    let config = Config::parse(&config(""), Path::new("/etc/facteur.toml")).unwrap();
    let mut caller = Caller::new(&config);
    (caller.timeout.command, caller.timeout.r#final) = (time, time);
    Arc::new(caller)
}

fn open(host: &Host, time: Duration) -> Connection {
    let hop = Hop::offered("host.test", host.address);
    Connection::open(&caller(time), &hop, &mut Talk::default()).unwrap()
}

#[test]
fn any_certificate_is_better_than_none() {
    let place = Place::new();
    let own = &["127.0.0.1"][..];
    let pairs = [
        ("good.test", Pair::of(own), "verified"),
        ("self.test", Pair::self_signed(own), "unverified"),
        ("other.test", Pair::of(&["other.test"]), "unverified"),
        ("old.test", Pair::with(own, (2001, 2002), true), "unverified"),
    ];
    let hosts = pairs.map(|(domain, pair, word)| (domain, Host::with(&pair, ""), word));
    let routes =
        hosts.iter().map(|(domain, host, _)| format!("\"{domain}\" = \"{}\"\n", host.address));
    let server = serve(&place, &format!("[relay.route]\n{}", routes.collect::<String>()));
    let mut client = server.client();
    for (domain, host, word) in &hosts {
        client.delivered(&[&format!("bob@{domain}")], MAIL);
        let line = server.wait_for(&["relayed ", &format!("to=bob@{domain} ")]);
        let tls = value(&line, "tls").unwrap();
        assert_eq!(tls, format!("TLSv1.3:TLS_AES_256_GCM_SHA384:X25519MLKEM768:{word}"), "{line}");
        assert_eq!((host.mail().len(), host.seen().connections), (1, 1));
        // Asked anew behind TLS, and nothing else in the clear.
        let commands = host.seen().commands;
        assert_eq!(commands[..4], ["EHLO mx.test", "STARTTLS", "(tls )", "EHLO mx.test"]);
    }
    server.stop();
}

#[test]
fn the_name_is_told_and_sessions_are_remembered() {
    let host = Host::with(&Pair::of(&["host.test"]), "");
    let caller = caller(PATIENCE);
    let hop = Hop::offered("host.test", host.address);
    for _ in 0..2 {
        let connection = Connection::open(&caller, &hop, &mut Talk::default()).unwrap();
        let protection = connection.protection().unwrap();
        assert_eq!((protection.version, protection.proof), ("TLSv1.3", Some(PeerProof::Nothing)));
        assert!(connection.is_open() && connection.offers().starttls);
        connection.quit();
    }
    let told = host.seen().commands.into_iter().filter(|line| line == "(tls host.test)");
    assert_eq!(told.count(), 2);
    until("both were told to go", || host.count("QUIT") == 2);
}

#[test]
fn hosts_whose_tls_is_broken_get_mail_in_the_clear() {
    let offer = "EHLO: 250-host.test | 250 STARTTLS";
    for act in [
        "454 4.7.0 not now",
        "502 5.5.1 what",
        "421 4.3.2 bye | (close)",
        "(close)",
        "(reset)",
        "(silent)",
        "250-half",
        "(raw no reply\\r\\n) | (silent)",
        "220 go | (close)",
        "220 go | (reset)",
        "220 go | (silent)",
        "220 go | (drip \\x16)",
        "220 go | (wait 300) | 500 5.5.1 what is this | (close)",
        "220 go | (wait 300) | (raw \\x16\\x03\\x03\\xff\\xff\\x02{x*100}) | (silent)",
        "220 go | (wait 300) | (raw \\x15\\x03\\x03\\x00\\x02\\x02\\x28) | (close)",
    ] {
        let host = Host::start(&format!("{offer}\nSTARTTLS: {act}"));
        let is_slow = act.contains("silent") || act.contains("drip") || act.contains("half");
        let connection = open(&host, if is_slow { Duration::from_secs(1) } else { PATIENCE });
        assert!(connection.protection().is_none() && connection.is_open(), "{act}");
        let seen = host.seen();
        let said: Vec<&str> = seen.commands.iter().map(String::as_str).collect();
        assert!(said.starts_with(&["EHLO mx.test", "STARTTLS"]), "{act}: {said:?}");
        assert_eq!((seen.connections, said.last()), (2, Some(&"EHLO mx.test")), "{act}: {said:?}");
        assert_eq!(host.count("STARTTLS"), 1, "{act}");
        connection.quit();
    }
}

#[test]
fn words_before_the_handshake_are_not_believed() {
    for more in ["250-host.test | 250 SIZE 1", "(raw 250 x)", "220 go", "554 5.7.1 you"] {
        let script = format!("STARTTLS*1: 220 go | {more} | (tls)");
        let host = Host::with(&Pair::of(&["host.test"]), &script);
        let connection = open(&host, PATIENCE);
        assert!(connection.offers().pipelining && connection.offers().size.is_none(), "{more}");
        let seen = host.seen();
        assert_eq!((seen.connections, connection.protection()), (2, None), "{more}");
        assert!(!seen.commands.iter().any(|line| line.starts_with("(tls")), "{more}");
        connection.quit();
    }
}

#[test]
fn port_465_begins_with_tls() {
    let pair = Pair::of(&["host.test"]);
    let good = Host::with(&pair, "greeting: (tls) | 220 host.test ESMTP");
    let plain = Host::start("greeting: (wait 300) | 220 host.test ESMTP");
    for (host, is_good) in [(&good, true), (&plain, false)] {
        let config = Config::parse(&config(""), Path::new("/etc/facteur.toml")).unwrap();
        let mut caller = Caller::new(&config);
        let (real, usual) = (host.address.into(), caller.dial);
        caller.dial = Box::new(move |_, time| usual(&real, time));
        let address = SocketAddr::from(([127, 0, 0, 1], 465));
        let hop = Hop::offered("host.test", address);
        match Connection::open(&Arc::new(caller), &hop, &mut Talk::default()) {
            Ok(connection) => {
                assert!(is_good && connection.protection().is_some());
                // Offered behind TLS by a host that does not know better; once is enough.
                assert_eq!(host.seen().commands, ["(tls host.test)", "EHLO mx.test"]);
                connection.quit();
            }
            Err(fate) => {
                let words = "has no TLS that we could use: what came is no TLS (connecting)";
                assert!(!is_good && fate.reason().unwrap().to_string() == words, "{fate:?}");
                assert_eq!(host.seen().connections, 1);
            }
        }
    }
}

#[test]
fn the_log_tells_of_mail_in_the_clear() {
    let place = Place::new();
    let far = Host::start("EHLO: 250-host.test | 250 STARTTLS\nSTARTTLS: 454 4.7.0 not now");
    let server = serve(&place, &format!("[relay.route]\n\"far.test\" = \"{}\"", far.address));
    server.client().delivered(&["bob@far.test"], MAIL);
    server.wait_for(&["in-the-clear ", "reason=\"said 454 4.7.0 not now (STARTTLS)\""]);
    server.wait_for(&["relayed ", "to=bob@far.test", "tls=no"]);
    server.stop();
}

#[test]
fn a_smarthost_with_a_password_has_to_prove_its_name() {
    let own = &["127.0.0.1"][..];
    let auth = "EHLO: 250-host.test | 250-AUTH PLAIN | 250 STARTTLS\n";
    let right = format!("{auth}AUTH PLAIN AG1lAHNlY3JldA==: 235 2.7.0 ok");
    let wrong = format!("{auth}AUTH: 535 5.7.8 no");
    let pairs = [
        (Pair::of(own), &*right, ""),
        (Pair::of(own), &*wrong, "535 5.7.8 no (AUTH, as me, by the password in /"),
        (Pair::of(own), "", "offers no login that we know"),
        (Pair::self_signed(own), "", "has no TLS that we could use: "),
        (Pair::of(&["mx.test"]), "", "has no TLS that we could use: the certificate is not for "),
        (
            Pair::with(own, (2001, 2002), true),
            "",
            "that we could use: the certificate is out of date",
        ),
        (Pair::of(own), "EHLO: 250 host.test", "offers no TLS, and a password goes over TLS only"),
        (Pair::of(own), "STARTTLS: 454 4.7.0 later", "454 4.7.0 later"),
    ];
    for (pair, script, reason) in pairs {
        let (place, host) = (Place::new(), Host::with(&pair, script));
        place.write("password", "secret\n");
        let auth = "smarthost_auth = { user = \"me\", password_file = \"password\" }";
        let server = serve(&place, &format!("smarthost = \"{}\"\n{auth}", host.address));
        server.client().delivered(&["bob@far.test"], MAIL);
        match reason {
            "" => {
                let tls = "tls=TLSv1.3:TLS_AES_256_GCM_SHA384:X25519MLKEM768:verified ";
                server.wait_for(&["relayed ", tls]);
                let seen = host.seen().commands;
                let begin = ["EHLO mx.test", "STARTTLS", "(tls )", "EHLO mx.test"];
                assert_eq!(seen[..4], begin, "{seen:?}");
                assert_eq!(seen[4], "AUTH PLAIN AG1lAHNlY3JldA==");
            }
            reason => {
                server.wait_for(&["deferred ", "to=bob@far.test", reason]);
                assert_eq!(files(&place.at("spool/queue")).len(), 1);
                let seen = host.seen();
                assert_eq!((seen.connections, host.count("MAIL")), (1, 0), "{:?}", seen.commands);
                // The password has been said to nobody who has not proved its name.
                let said = seen.commands.iter().any(|line| line.contains("AG1lAHNlY3JldA=="));
                assert_eq!(said, script == wrong, "{:?}", seen.commands);
            }
        }
        server.stop();
    }
}

/// The system comes to believe one more authority while the server runs: after a reload so does the server.
#[test]
fn a_new_authority_is_believed_after_a_reload() {
    let (place, own) = (Place::new(), &["127.0.0.1"][..]);
    let script = "EHLO: 250-host.test | 250-AUTH PLAIN | 250 STARTTLS\n\
                  AUTH PLAIN AG1lAHNlY3JldA==: 235 2.7.0 ok";
    let host = Host::with(&Pair::of(own), script);
    place.write("password", "secret\n");
    let relay = format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\nretry = [\"1h\"]\nsmarthost = \"{}\"\n\
         smarthost_auth = {{ user = \"me\", password_file = \"password\" }}\n",
        host.address
    );
    let file = place.write("facteur.toml", config(&relay));
    let mut command = Command::new(FACTEUR);
    command.arg("-c").arg(&file).arg("serve");
    fs::create_dir(place.at("certs")).unwrap();
    let others = Pair::self_signed(&["authority.other.test"]).certificate;
    command.env("SSL_CERT_FILE", place.write("certs/all.pem", &others));
    let server = Binary::start(command);
    server.client().delivered(&["bob@far.test"], MAIL);
    server.wait_for(&["deferred ", "to=bob@far.test", "has no TLS that we could use: "]);
    assert_eq!(host.count("AUTH"), 0);
    // As update-ca-certificates does it: another file under the same name.
    place.write("certs/new.pem", others + &authority());
    fs::rename(place.at("certs/new.pem"), place.at("certs/all.pem")).unwrap();
    server.signal("HUP");
    server.wait_for(&["reloaded config="]);
    server.signal("USR1");
    server.wait_for(&["relayed ", "to=bob@far.test", ":verified "]);
    server.stop();
}

/// A host whose TLS hangs costs its time once an hour, and what it says in the clear is no last word where it
/// only wants the TLS that failed.
#[test]
fn broken_tls_is_remembered_and_told() {
    let script =
        "EHLO: 250-host.test | 250 STARTTLS\nSTARTTLS: 220 go | (close)\nMAIL: 530 5.7.0 TLS first";
    let host = Host::start(script);
    let caller = caller(PATIENCE);
    let hop = Hop::offered("host.test", host.address);
    for attempt in 1..3 {
        let mut connection = Connection::open(&caller, &hop, &mut Talk::default()).unwrap();
        let why = connection.in_the_clear().unwrap_or_default().to_owned();
        assert!(
            why.starts_with("closed the connection (STARTTLS); TLS is tried again from "),
            "{why}"
        );
        let fates = connection.deliver(&letter(&["ann@host.test"], &MESSAGE), &MESSAGE);
        let Fate::NextHost(reason) = &fates[0] else { panic!("{fates:?}") };
        assert_eq!(fates[0].status(), "4.7.5");
        let words = reason.to_string();
        let both = "said 530 5.7.0 TLS first (MAIL, in the clear because TLS failed: it closed the \
                    connection (STARTTLS)";
        assert!(words.starts_with(both), "{words}");
        connection.quit();
        assert_eq!((host.count("STARTTLS"), host.seen().connections), (1, attempt + 1));
    }
}
