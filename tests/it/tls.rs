//! TLS of the real binary: STARTTLS, TLS from the first octet, and whom submission is for.

mod certificates;
mod guessing;
mod hold;
mod owed;
mod programs;
mod relaying;
mod renewal;
mod scan;
pub mod submission;
mod submitters;
mod trouble;

use crate::client::Client;
use crate::secrecy::{self, Pair, TLS, client_of};
use crate::servers::{Binary, value};
use crate::support::{PATIENCE, Place, config, text};
use rustls::{HandshakeKind, NamedGroup, ProtocolVersion, version};
use std::net::SocketAddr;

const MAIL: &[u8] = b"Subject: x\r\n\r\nHello.\r\n";

/// Our users are whoever is on this machine.
const NETWORKS: &str = "[relay]\nnetworks = [\"127.0.0.0/8\"]\n";

/// A site with a certificate, that listens for all services.
pub fn site(more: &str) -> String {
    let all = "submission = [\"127.0.0.1:0\"]\nsubmissions = [\"127.0.0.1:0\"]\n[domain";
    config(&format!("{more}\n{TLS}")).replacen("[domain", all, 1)
}

/// The same, serving, with a certificate for its own name.
fn serve(place: &Place, more: &str) -> Binary {
    Pair::of(&["mx.test"]).write(place);
    Binary::serve(place, &site(more))
}

/// Where a server listens for that service.
pub fn address(server: &Binary, service: &str) -> SocketAddr {
    let line = server.wait_for(&[&format!("listening service={service} ")]);
    value(&line, "address").unwrap().parse().unwrap()
}

#[test]
fn both_versions_and_both_ways() {
    let place = Place::new();
    let server = serve(&place, NETWORKS);
    let suites = [
        (&version::TLS13, ProtocolVersion::TLSv1_3, "TLSv1.3:TLS_AES_256_GCM_SHA384"),
        (
            &version::TLS12,
            ProtocolVersion::TLSv1_2,
            "TLSv1.2:TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        ),
    ];
    for (number, (only, version, tls)) in suites.into_iter().enumerate() {
        let tls_client = client_of(&[only]);
        for service in ["smtp", "submission", "submissions"] {
            let address = address(&server, service);
            let mut client = match service {
                "submissions" => {
                    let mut client = Client::connect_tls(address, &tls_client);
                    assert!(client.reply().starts_with("220 mx.test ESMTP"));
                    assert!(!client.expect("EHLO client.test", "250").contains("STARTTLS"));
                    client
                }
                _ => {
                    let mut client = Client::greeted(address);
                    assert!(!client.start_tls(&tls_client).contains("STARTTLS"));
                    client
                }
            };
            let user = format!("{service}{number}");
            let id = client.delivered(&[&format!("{user}@mx.test")], MAIL);
            let connection = client.line().tls();
            assert_eq!(connection.protocol_version(), Some(version));
            let group = connection.negotiated_key_exchange_group().map(|group| group.name());
            if version == ProtocolVersion::TLSv1_3 {
                assert_eq!(group, Some(NamedGroup::X25519MLKEM768));
            }
            let mail = text(&place.mail(&user)[0]);
            let suite = tls.split_once(':').unwrap().1;
            let trace = format!("with ESMTPS id {id}\n\tfor <{user}@mx.test>\n\ttls {suite};\n");
            assert!(mail.contains(&trace), "{mail}");
            // What a client is told last comes by TLS, and TLS ends before the connection does.
            client.expect("QUIT", "221");
            assert!(client.is_over());
            let connected = server.wait_for(&["connected ", &format!("service={service} ")]);
            let session = value(&connected, "session").unwrap();
            server.wait_for(&["secured ", &format!("session={session} tls=TLSv1.")]);
            server.wait_for(&["secured ", tls]);
        }
    }
    server.stop();
}

#[test]
fn who_comes_again_needs_no_full_handshake() {
    let place = Place::new();
    let server = serve(&place, "");
    for only in [&version::TLS13, &version::TLS12] {
        let tls = client_of(&[only]);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut client = server.client();
            client.start_tls(&tls);
            let found = client.line().tls().handshake_kind();
            // A full one may take a round more.
            assert_eq!(found == Some(HandshakeKind::Resumed), kind == HandshakeKind::Resumed);
            client.expect("QUIT", "221");
        }
    }
}

#[test]
fn submission_is_for_our_users() {
    let place = Place::new();
    let server = serve(&place, "");
    let mut client = Client::greeted(address(&server, "submission"));
    for _ in 0..2 {
        let refusal = client.expect("MAIL FROM:<ann@mx.test>", "530 5.7.0 ");
        assert!(refusal.ends_with(']'), "{refusal}");
        client.expect("RCPT TO:<ann@mx.test>", "503 ");
        if !client.line().is_tls() {
            client.start_tls(&secrecy::client());
        }
    }
    let mut client = Client::connect_tls(address(&server, "submissions"), &secrecy::client());
    client.reply();
    client.expect("EHLO client.test", "250");
    client.expect("MAIL FROM:<ann@mx.test>", "530 5.7.0 ");
    // Mail from other servers is not asked who it is.
    server.client().delivered(&["ann@mx.test"], MAIL);
    server.stop();
}

#[test]
fn a_server_that_stops_tells_by_tls() {
    let place = Place::new();
    let mut server = serve(&place, "");
    let (mut idle, mut busy) = (server.client(), server.client());
    for client in [&mut idle, &mut busy] {
        client.start_tls(&secrecy::client());
    }
    busy.begin(&["ann@mx.test"]);
    // One in the middle of its handshake holds up nobody.
    let mut half = server.client();
    half.expect("STARTTLS", "220");
    server.signal("TERM");
    idle.expect_last("421 4.3.2 ");
    busy.send(b"Subject: x\r\n\r\nx\r\n.\r\n");
    assert!(busy.reply().starts_with("250 2.0.0 "));
    busy.expect_last("421 4.3.2 ");
    while !half.is_over() {} // TLS may have its last word
    assert_eq!(server.wait_end(PATIENCE).code(), Some(0));
    assert_eq!(place.mail("ann").len(), 1);
}

#[test]
fn too_many_sessions_are_closed_without_a_word_in_the_clear() {
    let place = Place::new();
    let server = serve(&place, "[limit]\nsessions = 1");
    // One that waits would make room for users.
    let mut only = server.client();
    only.begin(&["ann@mx.test"]);
    let mut other = Client::connect(address(&server, "submissions"));
    assert!(other.is_over());
    let mut plain = Client::connect(address(&server, "submission"));
    plain.expect_last("421 4.3.2 ");
}

#[test]
fn what_is_large_goes_through_as_it_is() {
    let place = Place::new();
    let server = serve(&place, "");
    let mut client = server.client();
    client.start_tls(&secrecy::client());
    let lines: Vec<String> = (0..100_000).map(|n| format!(".{n} of many lines\r\n")).collect();
    let message = format!("Subject: x\r\n\r\n{}", lines.concat());
    client.delivered(&["ann@mx.test"], message.as_bytes());
    assert!(text(&place.mail("ann")[0]).ends_with(&message.replace("\r\n", "\n")));
}
