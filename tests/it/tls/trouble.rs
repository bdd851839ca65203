//! Handshakes that are none, or never end, and connections that are cut: each ends its own session, and
//! the log says why.

use super::{MAIL, NETWORKS, address, serve};
use crate::client::Client;
use crate::secrecy::{self, Pair};
use crate::servers::{Binary, value};
use crate::support::{PATIENCE, Place, until};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use socket2::SockRef;
use std::io::Write;
use std::net::Shutdown;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How many sessions ended for this reason.
fn ended(server: &Binary, reason: &str) -> usize {
    let lines = server.lines();
    let fits = |line: &&String| line.starts_with("disconnected ") && line.contains(reason);
    lines.iter().filter(fits).count()
}

/// One that has just asked for TLS.
fn ready(server: &Binary, service: &str) -> Client {
    match service {
        "submissions" => Client::connect(address(server, service)),
        _ => {
            let mut client = Client::greeted(address(server, service));
            client.expect("STARTTLS", "220 ");
            client
        }
    }
}

/// The first octets of a client that means it.
fn hello() -> Vec<u8> {
    let name = ServerName::try_from("mx.test").unwrap();
    let mut connection = ClientConnection::new(secrecy::client(), name).unwrap();
    let mut octets = Vec::new();
    connection.write_tls(&mut octets).unwrap();
    octets
}

/// Those of a printer that is twenty years old.
fn old_hello() -> Vec<u8> {
    let hello = [&[3, 1], &[7; 32][..], &[0, 0, 2, 0, 0x2f, 1, 0]].concat();
    let length = hello.len() as u8;
    [&[0x16, 3, 1, 0, length + 4, 1, 0, 0, length], &hello[..]].concat()
}

#[test]
fn what_is_no_handshake_ends_one_session_and_tells_why() {
    let place = Place::new();
    let server = serve(&place, "");
    let mut other = server.client();
    let hello = hello();
    let giant_record = [&[0x16, 3, 1, 0xff, 0xff], &[0; 4096][..]].concat();
    let giant_hello = [&[0x16, 3, 1, 0x20, 0, 1, 0xff, 0xff, 0xff], &[3; 8192][..]].concat();
    let no_hello = [0x17, 3, 3, 0, 1, 0].to_vec();
    for service in ["smtp", "submission", "submissions"] {
        for (octets, reason) in [
            (b"EHLO client.test\r\n".to_vec(), "what came is no TLS"),
            (vec![0; 600], "what came is no TLS"),
            (giant_record.clone(), "what came is broken TLS"),
            (giant_hello.clone(), "what came is broken TLS"),
            (old_hello(), "the other side offers TLS 1.0 at most, TLS 1.2 is the least here"),
            (no_hello.clone(), "TLS handshake failed: the other side breaks the rules of TLS"),
            (Vec::new(), "TLS handshake failed: the client closed the connection"),
            (hello[..hello.len() / 2].to_vec(), "the client closed the connection"),
            (hello.clone(), "the client closed the connection"),
        ] {
            let before = ended(&server, reason);
            let mut client = ready(&server, service);
            // A server that has closed already has not read the rest.
            let _ = client.try_send(&octets);
            let _ = client.line().tcp().shutdown(Shutdown::Write);
            until(reason, || ended(&server, reason) > before);
        }
    }
    // A client that does not believe us says so.
    let nobody = ClientConfig::builder_with_provider(secrecy::client().crypto_provider().clone());
    let nobody = nobody.with_safe_default_protocol_versions().unwrap();
    let nobody = nobody.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let mut client = ready(&server, "smtp");
    assert!(client.line().secure(&Arc::new(nobody)).is_err());
    server.wait_for(&[
        "disconnected ",
        "the other side gave up: it does not trust who issued our certificate",
    ]);
    // TLS before anybody has asked for it is no command either.
    for service in ["smtp", "submission"] {
        let mut client = Client::connect(address(&server, service));
        client.reply();
        client.send(&hello);
        let last = client.expect_last("421 4.7.0 this port speaks SMTP in the clear first");
        let session = last.rsplit_once('[').unwrap().1.trim_end_matches(']').to_owned();
        server.wait_for(&["rejected ", &format!("session={session} "), "SMTP in the clear first"]);
        server.wait_for(&["disconnected ", &format!("session={session} reason=refused")]);
    }
    other.delivered(&["ann@mx.test"], MAIL);
    assert!(!server.lines().iter().any(|line| line.starts_with("panicked")));
    server.stop();
}

#[test]
fn a_handshake_that_never_ends() {
    let place = Place::new();
    let server = serve(&place, "[timeout]\ncommand = \"1s\"");
    let hello = hello();
    let late = "TLS handshake failed: it was not done in time";
    for service in ["smtp", "submissions"] {
        // Silent; or with an octet now and then, which gains nothing.
        for drips in [false, true] {
            let before = ended(&server, late);
            let mut client = ready(&server, service);
            let began = Instant::now();
            let mut octets = hello.iter();
            let mut is_over = || {
                if drips && let Some(octet) = octets.next() {
                    let _ = client.try_send(&[*octet]);
                    thread::sleep(Duration::from_millis(20)); // the pace of the client
                }
                ended(&server, late) > before
            };
            until("the session has ended", &mut is_over);
            assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
        }
    }
    // One that was silent is named: on 465 it mostly waits for a greeting.
    assert_eq!(ended(&server, "silent and sent no ClientHello"), 2);
    server.wait_for(&["disconnected ", "sent no ClientHello", "first octet", "STARTTLS"]);
    server.stop();
}

#[test]
fn octets_may_come_one_by_one() {
    let place = Place::new();
    let server = serve(&place, NETWORKS);
    for (before, service) in ["smtp", "submissions"].into_iter().enumerate() {
        let mut client = ready(&server, service);
        let name = ServerName::try_from("mx.test").unwrap();
        let mut tls = ClientConnection::new(secrecy::client(), name).unwrap();
        let mut tcp = client.line().tcp().try_clone().unwrap();
        while tls.is_handshaking() || tls.wants_write() {
            let mut octets = Vec::new();
            while tls.wants_write() {
                tls.write_tls(&mut octets).unwrap();
            }
            octets.iter().for_each(|octet| tcp.write_all(&[*octet]).unwrap());
            if tls.is_handshaking() {
                tls.read_tls(&mut tcp).unwrap();
                tls.process_new_packets().unwrap();
            }
        }
        let mut octets = Vec::new();
        tls.writer().write_all(b"EHLO client.test\r\nQUIT\r\n").unwrap();
        tls.write_tls(&mut octets).unwrap();
        octets.iter().for_each(|octet| tcp.write_all(&[*octet]).unwrap());
        let mut secured = Vec::new();
        until("the handshake is told", || {
            secured = server.lines();
            secured.retain(|line| line.contains("secured "));
            secured.len() > before
        });
        let session = value(&secured[before], "session").unwrap();
        server.wait_for(&["disconnected ", &format!("session={session} reason=quit")]);
    }
    server.stop();
}

#[test]
fn a_cut_connection_is_told_from_one_that_ends() {
    let place = Place::new();
    let server = serve(&place, "");
    let secured = || {
        let mut client = server.client();
        client.start_tls(&secrecy::client());
        client
    };
    let mut client = secured();
    client.line().tls().send_close_notify();
    client.send(b"");
    client.hang_up();
    server.wait_for(&["disconnected ", "reason=\"closed by the client\""]);
    secured().hang_up();
    server.wait_for(&["disconnected ", "reason=\"cut off without an end of TLS\""]);
    // A message whose end never came is nothing.
    let mut client = secured();
    client.begin(&["ann@mx.test"]);
    client.send(b"Subject: x\r\n\r\nhalf");
    client.hang_up();
    until("both are cut", || ended(&server, "cut off without an end of TLS") == 2);
    assert!(place.mail("ann").is_empty());
    // Records that were changed on the way, are no records, or larger than any may be.
    let changed = [&[0x17, 3, 3, 0, 20][..], &[7; 20]].concat();
    let giant = [&[0x17, 3, 3, 0xff, 0xff][..], &[7; 4096]].concat();
    for (octets, reason) in [
        (changed, "what came cannot be decrypted"),
        (b"NOOP\r\nNOOP\r\n".to_vec(), "what came is no TLS"),
        (giant, "what came is broken TLS"),
    ] {
        let mut client = secured();
        client.line().tcp().write_all(&octets).unwrap();
        server.wait_for(&["disconnected ", reason]);
    }
    // Without any end, in the handshake and behind it.
    for (client, reason) in [
        (ready(&server, "smtp"), "reason=\"TLS handshake failed: Connection reset by peer"),
        (secured(), "reason=\"Connection reset by peer"),
    ] {
        let mut client = client;
        SockRef::from(client.line().tcp()).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        server.wait_for(&["disconnected ", reason]);
    }
    server.stop();
}

#[test]
fn octets_that_somebody_put_behind_starttls_are_not_the_clients() {
    let place = Place::new();
    Pair::of(&["mx.test"]).write(&place);
    let server = serve(&place, "");
    let mut client = server.client();
    client.send(b"STARTTLS\r\nMAIL FROM:<eve@client.test>\r\n");
    client.expect_last("421 4.7.0 ");
    server.wait_for(&["rejected ", "command=STARTTLS", "reply=\"421 4.7.0 "]);
    server.stop();
}
