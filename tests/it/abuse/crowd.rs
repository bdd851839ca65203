//! Many clients at once, most of whom say nothing; and more than there may be.

use super::{MAIL, MIB, at_most, connect_from, entries, has_descriptors, memory, say};
use crate::client::Client;
use crate::servers::Binary;
use crate::support::{Place, config, files, skip, until};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Some of the 127/8, each a client of its own.
fn address(number: usize) -> IpAddr {
    Ipv4Addr::new(127, 77, (number / 200) as u8, (number % 200) as u8 + 1).into()
}

/// What the server says first to a client of that address, and the connection.
fn greeted(client: IpAddr, server: &Binary) -> (String, TcpStream) {
    let mut stream = connect_from(client, server.address);
    let (mut banner, mut octet) = (Vec::new(), [0]);
    while !banner.ends_with(b"\n") && stream.read(&mut octet).is_ok_and(|read| read == 1) {
        banner.push(octet[0]);
    }
    (String::from_utf8(banner).unwrap(), stream)
}

const CROWD: usize = 10_000;

#[test]
fn ten_thousand_idle_sessions() {
    if !has_descriptors(CROWD as u64 + 2000) {
        return skip("fewer than 12,000 open files are allowed here");
    }
    let place = Place::new();
    let server = Binary::serve(&place, &config("[limit]\nsessions = 12000"));
    server.client().delivered(&["ann@mx.test"], MAIL);
    // Its file stays open from then on.
    until("the trace has begun", || !files(&place.at("spool/trace")).is_empty());
    let (threads, descriptors) = (entries(server.pid(), "task"), entries(server.pid(), "fd"));
    let before = memory(server.pid(), "VmRSS");
    // 50 of each address, which is what `limit.sessions_per_client` allows.
    let idle: Vec<TcpStream> = (0..CROWD)
        .map(|number| {
            let (banner, stream) = greeted(address(number / 50), &server);
            assert!(banner.starts_with("220 "), "session {number}: {banner:?}");
            stream
        })
        .collect();
    assert!(entries(server.pid(), "task") >= CROWD);
    let each = (memory(server.pid(), "VmRSS") - before) / CROWD as u64;
    at_most("memory of one of 10000 idle sessions", each, 64, "KiB");
    // The best of several: what else runs on this machine is not the server's doing.
    let best = (0..20).map(|number| {
        let began = Instant::now();
        let (banner, _) = greeted(address(5000 + number), &server);
        assert!(banner.starts_with("220 "), "{banner:?}");
        began.elapsed()
    });
    let best = best.min().unwrap().as_millis() as u64;
    at_most("10000 idle sessions: banner of a new one", best, 50, "ms");
    let began = Instant::now();
    server.client().delivered(&["ann@mx.test"], MAIL);
    at_most("the same: a message", began.elapsed().as_millis() as u64, 10_000, "ms");
    drop(idle);
    until("descriptors are free again", || entries(server.pid(), "fd") <= descriptors);
    until("threads are gone", || entries(server.pid(), "task") <= threads);
    at_most("memory after them", memory(server.pid(), "VmRSS") / MIB, 128, "MiB");
    server.stop();
}

#[test]
fn one_more_than_a_client_may_have() {
    let place = Place::new();
    let both = config("").replace("[\"127.0.0.1:0\"]", "[\"127.0.0.1:0\", \"[::1]:0\"]");
    let Ok(_) = std::net::TcpListener::bind("[::1]:0") else {
        return skip("there is no IPv6 here");
    };
    let server = Binary::serve(&place, &both);
    let six = server.wait_for(&["listening service=smtp ", "address=[::1]:"]);
    let six = crate::servers::value(&six, "address").unwrap().parse().unwrap();
    for (name, own) in [("IPv4", server.address), ("IPv6", six)] {
        let _full: Vec<Client> = (0..50).map(|_| Client::greeted(own)).collect();
        for _ in 0..10 {
            Client::connect(own).expect_last("421 4.7.0 ");
        }
        say(&format!("sessions_per_client by {name}: 50 taken, then 10 of 10 heard 421 4.7.0"));
        let (banner, _) = greeted(address(0), &server);
        assert!(banner.starts_with("220 "), "another address: {banner:?}");
    }
    server.stop();
}

/// Strangers have nine places of ten. Whoever comes then takes the place of the one that says nothing for
/// the longest time, and users have the rest.
#[test]
fn strangers_that_hold_all_places_make_room() {
    let place = Place::new();
    let more = "[limit]\nsessions = 100\n[relay]\nnetworks = [\"127.99.0.0/16\"]";
    let config = config(more).replacen("[domain", "submission = [\"127.0.0.1:0\"]\n[domain", 1);
    let server = Binary::serve(&place, &config);
    let submission = server.wait_for(&["listening service=submission "]);
    let submission = crate::servers::value(&submission, "address").unwrap().parse().unwrap();
    let mut crowd: Vec<_> = (0..90)
        .map(|number| {
            let (banner, stream) = greeted(address(number), &server);
            assert!(banner.starts_with("220 "), "session {number}: {banner:?}");
            Client::of(stream)
        })
        .collect();
    // Each but the first has said something since, and one is about to send mail.
    for client in &mut crowd[1..] {
        client.expect("EHLO client.test", "250");
    }
    crowd[1].expect("MAIL FROM:<a@client.test>", "250 ");
    let began = Instant::now();
    for number in 0..20 {
        let (banner, stream) = greeted(address(1000 + number), &server);
        assert!(banner.starts_with("220 "), "newcomer {number}: {banner:?}");
        crowd.push(Client::of(stream));
    }
    let each = began.elapsed() / 20;
    at_most("sessions = 100: a stranger for another", each.as_millis() as u64, 200, "ms");
    for number in (0..21).filter(|number| *number != 1) {
        let last = crowd[number].expect_last("421 4.3.2 ");
        assert!(last.contains(" [s"), "{last}");
    }
    crowd[1].expect("RCPT TO:<ann@mx.test>", "250 ");
    crowd[21].expect("NOOP", "250 ");
    // Users, and those who send by us, have their own.
    let _users: Vec<Client> = (0..5).map(|_| Client::greeted(submission)).collect();
    let known = "127.99.0.1".parse().unwrap();
    let _known: Vec<_> = (0..5)
        .map(|_| {
            let (banner, stream) = greeted(known, &server);
            assert!(banner.starts_with("220 "), "{banner:?}");
            stream
        })
        .collect();
    crowd[22].expect("NOOP", "250 ");
    server.wait_for(&["disconnected ", "made room for another client"]);
    // What is under way would be waited for.
    crowd[1].expect("RSET", "250 ");
    server.stop();
}

/// One that does not wait for us, but we for its message, is not sent away.
#[test]
fn one_more_than_there_may_be() {
    let place = Place::new();
    let server = Binary::serve(&place, &config("[limit]\nsessions = 20"));
    let crowd: Vec<_> = (0..18)
        .map(|number| {
            let mut client = Client::of(connect_from(address(number), server.address));
            client.reply();
            client.expect("EHLO client.test", "250");
            client.expect("MAIL FROM:<a@client.test>", "250 ");
            client.expect("RCPT TO:<ann@mx.test>", "250 ");
            client.expect("DATA", "354 ");
            client
        })
        .collect();
    let began = Instant::now();
    for number in 0..100 {
        let (banner, _) = greeted(address(1000 + number), &server);
        assert!(banner.starts_with("421 4.3.2 "), "{banner:?}");
    }
    let each = began.elapsed() / 100;
    at_most("sessions = 20: 421 4.3.2 to one more", each.as_millis() as u64, 50, "ms");
    drop(crowd);
    until("there is a place again", || greeted(address(0), &server).0.starts_with("220 "));
    server.stop();
}

/// `timeout.session`: a NOOP does not prolong it, a message does, and who is known has all the time.
#[test]
fn a_stranger_that_brings_no_message_is_sent_away() {
    let place = Place::new();
    let time = Duration::from_secs(3);
    let more = "[timeout]\nsession = \"3s\"\n[relay]\nnetworks = [\"127.99.0.0/16\"]";
    let server = Binary::serve(&place, &config(more));
    let client = |own: IpAddr| {
        let mut client = Client::of(connect_from(own, server.address));
        client.reply();
        client.expect("EHLO client.test", "250");
        client
    };
    let began = Instant::now();
    let mut known = client("127.99.0.1".parse().unwrap());
    let [mut idle, mut busy] = [0, 1].map(|number| client(address(number)));
    thread::sleep(time / 2);
    idle.expect("NOOP", "250 ");
    busy.delivered(&["ann@mx.test"], MAIL);
    let brought = Instant::now();
    idle.expect("MAIL FROM:<a@client.test>", "250 ");
    idle.expect_last("421 4.4.2 ");
    assert!(began.elapsed() >= time && began.elapsed() < time + time / 2 + time);
    busy.expect_last("421 4.4.2 ");
    assert!(brought.elapsed() >= time - Duration::from_millis(100));
    known.expect("NOOP", "250 ");
    server.wait_for(&["disconnected ", "reason=timeout"]);
    server.stop();
}
