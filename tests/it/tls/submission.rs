//! Our users' mail over real connections: TLS, AUTH and the policy of submission together.

use super::{NETWORKS, address, site};
use crate::client::Client;
use crate::commands::run;
use crate::hosts::Host;
use crate::secrecy::{self, Pair, client_of};
use crate::servers::{Binary, value};
use crate::support::{PATIENCE, Place, text, until, within};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::{hmac, pbkdf2};
use facteur::smtp::auth::client::ClientExchange;
use facteur::smtp::auth::{decode, encode};
use facteur::store::password::{Scheme, make};
use rustls::version;
use std::fs;
use std::num::NonZeroU32;

/// A configuration with users, and mail for far.test sent to that host.
pub fn submitting(far: &Host, more: &str) -> String {
    let relay = format!("{more}\n[relay.route]\n\"far.test\" = \"{}\"\n", far.address);
    let aliases = "users = \"users\"\naliases = \"aliases\"";
    site(&relay).replacen("any_user = true", aliases, 1)
}

/// A server of ann and bob, whose password is `pencil`; `team` leads to both.
pub fn serve_users(place: &Place, far: &Host, more: &str) -> Binary {
    let keys = make(Scheme::ScramSha256, "pencil").unwrap();
    place.write("users", format!("ann:{keys}:::::\nbob:{{PLAIN}}pencil:::::\n"));
    place.write("aliases", "team: ann, bob\nboss: bob\n");
    Pair::of(&["mx.test"]).write(place);
    Binary::serve(place, &submitting(far, more))
}

/// A session by TLS that has said EHLO.
pub fn secured(server: &Binary, service: &str) -> Client {
    let mut client = match service {
        "submissions" => Client::connect_tls(address(server, service), &secrecy::client()),
        _ => Client::greeted(address(server, service)),
    };
    match service {
        "submissions" => {
            client.reply();
            client.expect("EHLO client.test", "250");
        }
        _ => drop(client.start_tls(&secrecy::client())),
    }
    client
}

/// The last reply of AUTH.
pub fn log_in(client: &mut Client, mechanism: &str, user: &str, password: &str) -> String {
    let mut login =
        ClientExchange::choose(mechanism, user, password, "fyko+d2lbbFgONRv9qkxdawL").unwrap();
    let mut reply = client.ask(&login.command());
    while let Some(challenge) = reply.strip_prefix("334") {
        let answer = login.answer(challenge).unwrap_or("*".to_owned());
        reply = client.ask(&answer);
    }
    assert!(login.is_mutual() || !reply.starts_with("235"), "{reply}");
    reply
}

#[test]
fn a_user_sends_by_every_way_in() {
    let (place, far) = (Place::new(), Host::start(""));
    let server = serve_users(&place, &far, "");
    let mut sent = 0;
    for service in ["submission", "submissions"] {
        for mechanism in ["PLAIN", "LOGIN", "SCRAM-SHA-256"] {
            let mut client = secured(&server, service);
            client.expect("MAIL FROM:<ann@mx.test>", "530 5.7.0 ");
            let offered = client.ask("EHLO client.test");
            let names = "AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN";
            assert!(offered.contains(names), "{offered}");
            assert!(
                log_in(&mut client, mechanism, "ann@mx.test", "pencil").starts_with("235 2.7.0")
            );
            client.expect("AUTH PLAIN", "503 ");
            client.expect("MAIL FROM:<bob@mx.test>", "553 5.7.1 ");
            client.expect("MAIL FROM:<boss@mx.test>", "553 5.7.1 ");
            client.expect("MAIL FROM:<eve@far.test>", "553 5.7.1 ");
            client.expect("MAIL FROM:<team@mx.test>", "250 ");
            client.expect("RSET", "250 ");
            client.expect("MAIL FROM:<ann@mx.test>", "250 ");
            client.expect("RCPT TO:<eve@far.test>", "250 ");
            client.expect("DATA", "354 ");
            client.send(b"Subject: x\r\nBcc: secret@far.test\r\n\r\nHello.\r\n.\r\n");
            assert!(client.reply().starts_with("250 2.0.0 "));
            client.expect("QUIT", "221");
            sent += 1;
            assert!(within(PATIENCE, || far.mail().len() == sent));
            let mail = text(&far.mail()[sent - 1].octets);
            for line in [" with ESMTPSA id ", "\r\n\ttls TLS_", "\r\nDate: ", "\r\nMessage-ID: <m"]
            {
                assert!(mail.contains(line), "{line:?} in {mail}");
            }
            assert!(mail.contains("\r\nFrom: ann@mx.test\r\n") && !mail.contains("Bcc"), "{mail}");
        }
    }
    server.wait_for(&["authenticated ", "user=ann@mx.test"]);
    assert!(!server.lines().iter().any(|line| line.contains("pencil")));
    server.stop();
}

#[test]
fn auth_is_nowhere_but_behind_tls_where_mail_is_submitted() {
    let (place, far) = (Place::new(), Host::start(""));
    let server = serve_users(&place, &far, NETWORKS);
    let mut clear = Client::greeted(address(&server, "submission"));
    let offered = clear.ask("EHLO client.test");
    assert!(offered.contains("STARTTLS") && !offered.contains("AUTH"), "{offered}");
    clear.expect("AUTH PLAIN AGFubgBwZW5jaWw=", "538 5.7.11 ");
    assert!(clear.start_tls(&secrecy::client()).contains("AUTH"));
    let mut smtp = server.client();
    assert!(!smtp.start_tls(&secrecy::client()).contains("AUTH"));
    smtp.expect("AUTH PLAIN AGFubgBwZW5jaWw=", "502 5.5.1 ");
    // Whom an address vouches for needs no password.
    clear.expect("MAIL FROM:<anybody@client.test>", "250 ");
    clear.expect("RSET", "250 ");
    server.stop();
}

#[test]
fn wrong_passwords_are_all_alike_and_end_the_session() {
    let (place, far) = (Place::new(), Host::start(""));
    let server = serve_users(&place, &far, "[limit]\nauth_failures = 2");
    let mut client = secured(&server, "submission");
    let reply = |reply: String| reply.split(" [s").next().unwrap().to_owned();
    let wrong = reply(log_in(&mut client, "PLAIN", "ann@mx.test", "pen"));
    assert_eq!(wrong, "535 5.7.8 wrong name or password");
    assert_eq!(reply(log_in(&mut client, "SCRAM-SHA-256", "zoe@mx.test", "pencil")), wrong);
    client.expect("AUTH PLAIN AHpvZQBwZW5jaWw=", "421 4.7.0 ");
    assert!(client.is_over());
    // One line says who failed, for people and for fail2ban.
    for user in ["ann@mx.test", "zoe@mx.test"] {
        let line = server.wait_for(&["rejected ", &format!(" user={user} "), " command=\"AUTH "]);
        assert!(line.contains(" client=127.0.0.1 ") && line.contains("535 5.7.8"), "{line}");
    }
    server.wait_for(&["rejected ", " client=127.0.0.1 user=zoe@mx.test ", "421 4.7.0 too many"]);
    let line = server.wait_for(&["rejected ", " user=ann@mx.test "]);
    let session = value(&line, "session").unwrap();
    until("trace finds the user", || {
        let (status, told, _) = run(&place, &["trace", "ann@mx.test"]);
        status == 0 && told.contains(&session)
    });
    server.stop();
}

/// SCRAM-SHA-256-PLUS for ann, whose binding has this name and these octets; the last reply.
fn log_in_bound(client: &mut Client, name: &str, binding: &[u8]) -> String {
    let header = format!("p={name},,");
    let first = "n=ann@mx.test,r=fyko+d2lbbFgONRv9qkxdawL";
    let command =
        format!("AUTH SCRAM-SHA-256-PLUS {}", encode(format!("{header}{first}").as_bytes()));
    let challenge = client.expect(&command, "334 ");
    let challenge = text(&decode(&challenge.as_bytes()[4..]).unwrap());
    let fields: Vec<&str> = challenge.split(',').map(|field| &field[2..]).collect();
    let [nonce, salt, rounds] = fields[..] else { panic!("{challenge}") };
    let (salt, rounds) = (decode(salt.as_bytes()).unwrap(), rounds.parse::<u32>().unwrap());
    let (mut salted, algorithm) = ([0; 32], pbkdf2::PBKDF2_HMAC_SHA256);
    pbkdf2::derive(algorithm, NonZeroU32::new(rounds).unwrap(), &salt, b"pencil", &mut salted);
    let sign = |key: &[u8], text: &[u8]| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
    };
    let key = sign(&salted, b"Client Key");
    let bound = encode(&[header.as_bytes(), binding].concat());
    let last = format!("c={bound},r={nonce}");
    let message = format!("{first},{challenge},{last}");
    let signature = sign(digest(&SHA256, &key).as_ref(), message.as_bytes());
    let proof: Vec<u8> = key.iter().zip(signature).map(|(key, other)| key ^ other).collect();
    let reply = client.ask(&encode(format!("{last},p={}", encode(&proof)).as_bytes()));
    match reply.starts_with("334 ") {
        true => client.ask(""),
        false => reply,
    }
}

#[test]
fn a_login_is_tied_to_its_connection() {
    let (place, far) = (Place::new(), Host::start(""));
    let server = serve_users(&place, &far, "");
    let pair = fs::read(place.at("mx.pem")).unwrap();
    let pair = Pair { certificate: text(&pair), key: String::new() };
    let end_point = digest(&SHA256, &pair.der()).as_ref().to_vec();
    for (only, has_exporter) in [(&version::TLS13, true), (&version::TLS12, false)] {
        let connect = || {
            let mut client = Client::greeted(address(&server, "submission"));
            assert!(client.start_tls(&client_of(&[only])).contains("AUTH SCRAM-SHA-256-PLUS "));
            client
        };
        let mut client = connect();
        let tls = client.line().tls();
        let exporter =
            tls.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", None).unwrap();
        let good = log_in_bound(&mut client, "tls-server-end-point", &end_point);
        assert!(good.starts_with("235 "), "{good}");
        if has_exporter {
            // That of another connection first, as somebody between the two ends would have it.
            let mut client = connect();
            let foreign = log_in_bound(&mut client, "tls-exporter", &exporter);
            assert!(foreign.starts_with("535 5.7.8 "), "{foreign}");
            let tls = client.line().tls();
            let own =
                tls.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", None).unwrap();
            let good = log_in_bound(&mut client, "tls-exporter", &own);
            assert!(good.starts_with("235 "), "{good}");
        }
    }
    server.stop();
}
