//! A thousand logins at once, all with a wrong password: hashes are made to be dear.

use super::{MAIL, MIB, at_most, forget_peak, has_descriptors, memory, say};
use crate::client::Client;
use crate::secrecy::{self, Pair, TLS};
use crate::servers::{Binary, value};
use crate::support::{Place, config, skip};
use facteur::smtp::auth::encode;
use facteur::store::password::{Scheme, make};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

const LOGINS: usize = 1000;

/// Threads that do the handshakes.
const HANDS: usize = 4;

#[test]
fn a_thousand_failed_logins_at_once() {
    if !has_descriptors(4000) {
        return skip("fewer than 4000 open files are allowed here");
    }
    let place = Place::new();
    Pair::of(&["mx.test"]).write(&place);
    place.write("users", format!("ann:{}\n", make(Scheme::Argon2id, "right").unwrap()));
    let more =
        format!("users = \"users\"\n[limit]\nsessions = 2000\nsessions_per_client = 2000\n{TLS}");
    let config = config(&more).replacen("[domain", "submissions = [\"127.0.0.1:0\"]\n[domain", 1);
    let server = Binary::serve(&place, &config);
    let line = server.wait_for(&["listening service=submissions "]);
    let submissions: SocketAddr = value(&line, "address").unwrap().parse().unwrap();
    server.client().delivered(&["ann@mx.test"], MAIL);
    let tls = secrecy::client();
    let secured = || {
        let mut client = Client::connect_tls(submissions, &tls);
        assert!(client.reply().starts_with("220 "));
        client.expect("EHLO client.test", "250");
        client
    };
    let mut clients: Vec<Client> = thread::scope(|scope| {
        let hand = || (0..LOGINS / HANDS).map(|_| secured()).collect::<Vec<_>>();
        let hands: Vec<_> = (0..HANDS).map(|_| scope.spawn(hand)).collect();
        hands.into_iter().flat_map(|hand| hand.join().unwrap()).collect()
    });
    forget_peak(server.pid());
    let before = memory(server.pid(), "VmHWM");
    let login = format!("AUTH PLAIN {}\r\n", encode(b"\0ann@mx.test\0wrong"));
    clients.iter_mut().for_each(|client| client.send(login.as_bytes()));
    // Meanwhile others send mail.
    let (mut beside, mut slowest) = (server.client(), Duration::ZERO);
    for _ in 0..50 {
        let began = Instant::now();
        beside.delivered(&["ann@mx.test"], MAIL);
        slowest = slowest.max(began.elapsed());
    }
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    for client in &mut clients {
        let reply = client.reply();
        *told.entry(reply[..9].to_owned()).or_default() += 1;
    }
    say(&format!("{LOGINS} failed logins at once: {told:?}"));
    assert!(told.keys().all(|reply| reply == "535 5.7.8" || reply == "454 4.7.0"), "{told:?}");
    let milliseconds = slowest.as_millis() as u64;
    at_most("the same: slowest of 50 messages of others", milliseconds, 3000, "ms");
    let grown = memory(server.pid(), "VmHWM").saturating_sub(before) / MIB;
    at_most("the same: memory for all hashes", grown, 96, "MiB");
    // Who knows the password logs in.
    let mut client = secured();
    client.expect(&format!("AUTH PLAIN {}", encode(b"\0ann@mx.test\0right")), "235 ");
    drop(clients);
    server.stop();
}
