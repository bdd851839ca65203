//! A thousand logins at once, all with a wrong password: hashes are made to be dear. And one address that
//! does nothing else.

use super::{MAIL, MIB, at_most, connect_from, forget_peak, has_descriptors, memory, say};
use crate::client::Client;
use crate::secrecy::{self, Pair, TLS};
use crate::servers::{Binary, value};
use crate::support::{Place, config, skip};
use facteur::smtp::auth::encode;
use facteur::store::password::{Scheme, make};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
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

/// Sessions of the one address, and how many of others log in beside them.
const GUESSING: usize = 49;
const OTHERS: u8 = 25;

#[test]
fn one_address_keeps_nobody_else_out() {
    let place = Place::new();
    Pair::of(&["mx.test"]).write(&place);
    // Dear enough for a queue, and not for this test.
    let hash = make(Scheme::Sha512Crypt, "right").unwrap();
    place.write("users", format!("ann:{hash}\n"));
    // So that it is not slowed: what is looked at is the queue alone.
    let more = format!(
        "users = \"users\"\n[limit]\nsessions_per_client = 200\nauth_failures = 1000000\nerrors = 1000000\n{TLS}"
    );
    let config = config(&more).replacen("[domain", "submissions = [\"127.0.0.1:0\"]\n[domain", 1);
    let server = Binary::serve(&place, &config);
    let line = server.wait_for(&["listening service=submissions "]);
    let submissions: SocketAddr = value(&line, "address").unwrap().parse().unwrap();
    let tls = secrecy::client();
    let secured = |own: Ipv4Addr| {
        let mut client = Client::of(connect_from(own.into(), submissions));
        client.secure(&tls);
        assert!(client.reply().starts_with("220 "));
        client.expect("EHLO client.test", "250");
        client
    };
    let wrong = format!("AUTH PLAIN {}\r\n", encode(b"\0ann@mx.test\0wrong"));
    let right = format!("AUTH PLAIN {}", encode(b"\0ann@mx.test\0right"));
    let (is_over, guesses) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    thread::scope(|scope| {
        for _ in 0..GUESSING {
            scope.spawn(|| {
                let mut client = secured(Ipv4Addr::new(127, 88, 0, 1));
                while !is_over.load(SeqCst) {
                    client.send(wrong.as_bytes());
                    if client.reply_at_leisure().starts_with("421 ") {
                        client = secured(Ipv4Addr::new(127, 88, 0, 1));
                    }
                    guesses.fetch_add(1, SeqCst);
                }
            });
        }
        crate::support::until("it guesses", || guesses.load(SeqCst) > GUESSING);
        let ask = |number| {
            let (right, secured) = (&right, &secured);
            move || secured(Ipv4Addr::new(127, 88, 1, number)).ask(right)
        };
        let asked: Vec<_> = (1..=OTHERS).map(|number| scope.spawn(ask(number))).collect();
        for reply in asked.into_iter().map(|thread| thread.join().unwrap()) {
            *told.entry(reply[..9].to_owned()).or_default() += 1;
        }
        is_over.store(true, SeqCst);
    });
    say(&format!("{GUESSING} sessions that guess, {OTHERS} right logins of others: {told:?}"));
    assert_eq!(told, BTreeMap::from([("235 2.7.0".to_owned(), usize::from(OTHERS))]));
    server.stop();
}
