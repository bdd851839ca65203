//! Every bound of the configuration over a socket: what is said past it, and that it is freed.

use crate::client::{Client, stuffed};
use crate::servers::{Binary, Inside};
use crate::support::{PATIENCE, Place, assert_no_drafts, config, files, until, within};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fs;
use std::time::{Duration, Instant};

const MAIL: &[u8] = b"Subject: x\r\n\r\nHello.\r\n";

/// A timeout of one second may take this long on a busy machine.
const ABOUT_A_SECOND: std::ops::Range<Duration> =
    Duration::from_millis(900)..Duration::from_secs(8);

/// A session that has said EHLO, as soon as there is a place for it.
fn admitted(server: &Inside) -> Client {
    let mut client = None;
    until("a place is free again", || {
        let mut new = Client::connect(server.address);
        let free = new.reply().starts_with("220 ");
        client = free.then_some(new);
        free
    });
    let mut client = client.unwrap();
    client.expect("EHLO client.test", "250");
    client
}

#[test]
fn sessions_at_once() {
    let place = Place::new();
    let server = Inside::serve(&place, &config("[limit]\nsessions = 2"));
    let (mut one, mut two) = (server.client(), server.client());
    // Who brings a message keeps the place.
    for client in [&mut one, &mut two] {
        client.begin(&["ann@mx.test"]);
    }
    for _ in 0..3 {
        Client::connect(server.address).expect_last("421 4.3.2 ");
    }
    drop(two);
    let mut three = admitted(&server);
    // Who waits for nothing gives it to the next one.
    let _four = admitted(&server);
    three.expect_last("421 4.3.2 ");
    one.expect("X: y\r\n\r\nz\r\n.", "250 ");
}

#[test]
fn sessions_of_one_client() {
    let place = Place::new();
    let server = Inside::serve(&place, &config("[limit]\nsessions_per_client = 2"));
    let (mut one, mut two) = (server.client(), server.client());
    Client::connect(server.address).expect_last("421 4.7.0 ");
    two.expect("QUIT", "221 2.0.0 ");
    drop(two);
    let _three = admitted(&server);
    Client::connect(server.address).expect_last("421 4.7.0 ");
    one.delivered(&["ann@mx.test"], MAIL);
}

#[test]
fn errors_in_one_session() {
    let place = Place::new();
    let server = Inside::serve(&place, &config("[limit]\nerrors = 3"));
    let mut client = server.client();
    client.expect("NONSENSE", "500 5.5.");
    client.expect("MAIL FROM:<x@y.test>", "250 2.1.0 ");
    client.expect("RCPT TO:<x@elsewhere.test>", "550 5.7.1 ");
    client.expect("DATA", "554 5.5.1 ");
    client.send(b"NONSENSE\r\n");
    client.expect_last("421 4.7.0 ");
}

#[test]
fn recipients_of_one_message() {
    let place = Place::new();
    let server = Inside::serve(&place, &config("[limit]\nrecipients = 100"));
    let mut client = server.client();
    client.expect("MAIL FROM:<>", "250 ");
    for user in 0..100 {
        client.expect(&format!("RCPT TO:<u{user}@mx.test>"), "250 2.1.5 ");
    }
    for user in 100..103 {
        client.expect(&format!("RCPT TO:<u{user}@mx.test>"), "452 4.5.3 ");
    }
    client.expect("DATA", "354 ");
    client.send(&stuffed(MAIL));
    assert!(client.reply().starts_with("250 2.0.0 "));
    assert!(place.mail("u99").len() == 1 && place.mail("u100").is_empty());
    // The next transaction begins at nothing.
    client.delivered(&["u100@mx.test"], MAIL);
}

/// An alias of very many costs memory and time at each RCPT: a few of them in one transaction, not a thousand.
#[test]
fn mailboxes_that_aliases_lead_to() {
    let place = Place::new();
    let users: String = (0..6000).map(|user| format!("u{user}:{{PLAIN}}x\n")).collect();
    let all: Vec<String> = (0..6000).map(|user| format!("u{user}")).collect();
    place.write("users", users);
    place.write("aliases", format!("all: {}\n", all.join(", ")));
    let more = config("aliases = \"aliases\"").replace("any_user = true", "users = \"users\"");
    let server = Inside::serve(&place, &more);
    let mut client = server.client();
    for _ in 0..2 {
        client.expect("MAIL FROM:<>", "250 ");
        client.expect("RCPT TO:<all@mx.test>", "250 2.1.5 ");
        client.expect("RCPT TO:<all+again@mx.test>", "250 2.1.5 ");
        client.expect("RCPT TO:<all+more@mx.test>", "452 4.5.3 ");
        client.expect("RCPT TO:<u1@mx.test>", "452 4.5.3 ");
        // The next transaction begins at nothing.
        client.expect("RSET", "250 ");
    }
}

#[test]
fn size_of_a_message() {
    let place = Place::new();
    let server = Inside::serve(&place, &config("[limit]\nmessage_size = 65536"));
    let mut client = server.client();
    assert!(client.ask("EHLO client.test").contains("\n250-SIZE 65536"));
    client.expect("MAIL FROM:<> SIZE=65537", "552 5.3.4 ");
    client.expect("MAIL FROM:<> SIZE=65536", "250 2.1.0 ");
    client.expect("RSET", "250 ");
    // Octets as sent, with CR LF and without the dots that transparency adds (RFC 1870).
    let mut message = b"Subject: x\r\n\r\n".to_vec();
    message.extend(b".\r\n".repeat((65_536 - message.len()) / 3));
    message.splice(0..0, b"X".repeat(65_536 - message.len()));
    assert_eq!(message.len(), 65_536);
    client.delivered(&["ann@mx.test"], &message);
    message.insert(0, b'X');
    for _ in 0..3 {
        let reply = client.deliver(&["ann@mx.test", "bob@mx.test"], &message);
        assert!(reply.starts_with("552 5.3.4 "), "{reply}");
    }
    client.delivered(&["ann@mx.test"], MAIL);
    assert_eq!(place.mail("ann").len() + place.mail("bob").len(), 2);
    // Far past it, reading on is a waste.
    client.begin(&["ann@mx.test"]);
    let _ = client.try_send(&b"0123456789abcdef\r\n".repeat(10_000));
    client.expect_last("421 4.3.4 ");
    assert_no_drafts(&place);
}

#[test]
fn a_silent_client() {
    let place = Place::new();
    let server = Inside::serve(&place, &config("[timeout]\ncommand = \"1s\""));
    let mut client = server.client();
    client.delivered(&["ann@mx.test"], MAIL);
    let began = Instant::now();
    client.expect_last("421 4.4.2 ");
    assert!(ABOUT_A_SECOND.contains(&began.elapsed()), "{:?}", began.elapsed());
    // Inside a transaction as well.
    let mut client = server.client();
    client.expect("MAIL FROM:<>", "250 ");
    client.expect_last("421 4.4.2 ");
}

/// One octet at a time, slowly, until the server says something.
fn drip(client: &mut Client, octet: &[u8]) -> String {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if client.try_send(octet).is_err() {
            return client.reply();
        }
        if let Some(reply) = client.reply_within(Duration::from_millis(100)) {
            return reply;
        }
    }
    panic!("dripped for {PATIENCE:?}, and the server bears it");
}

#[test]
fn a_command_that_drips() {
    let place = Place::new();
    let server = Inside::serve(&place, &config("[timeout]\ncommand = \"1s\"\ndata = \"60s\""));
    let mut client = server.client();
    let began = Instant::now();
    let reply = drip(&mut client, b"N");
    assert!(reply.starts_with("421 4.4.2 "), "{reply:?}");
    assert!(ABOUT_A_SECOND.contains(&began.elapsed()), "{:?}", began.elapsed());
}

#[test]
fn a_message_that_stops() {
    let place = Place::new();
    let more = "[timeout]\ncommand = \"60s\"\ndata = \"2s\"";
    let server = Inside::serve(&place, &config(more));
    let mut client = server.client();
    client.begin(&["ann@mx.test"]);
    let began = Instant::now();
    client.send(b"Subject: x\r\n\r\nhalf a l");
    client.expect_last("421 4.4.2 ");
    assert!(began.elapsed() >= Duration::from_millis(1900), "{:?}", began.elapsed());
    assert!(began.elapsed() < ABOUT_A_SECOND.end, "{:?}", began.elapsed());
    assert!(place.mail("ann").is_empty());
    // Each block has its time; a message that comes on, however slowly, is not ended.
    let mut client = server.client();
    client.begin(&["ann@mx.test"]);
    for _ in 0..8 {
        client.send(b"x");
        assert_eq!(client.reply_within(Duration::from_millis(300)), None);
    }
    client.send(b"\r\n.\r\n");
    assert!(client.reply().starts_with("250 2.0.0 "));
}

#[test]
fn a_client_that_never_reads() {
    let place = Place::new();
    let server = Inside::serve(&place, &config("[timeout]\ncommand = \"1s\""));
    let mut client = server.client();
    let mut beside = server.client();
    let commands = b"HELP\r\n".repeat(10_000);
    let ended = within(PATIENCE, || client.try_send(&commands).is_err());
    assert!(ended, "the server reads on and nobody takes its replies");
    until("its session has ended", || server.sessions() <= 1);
    drop(client);
    // The other one has been silent for too long by now, or not; a new one is served.
    let _ = beside.try_send(b"NOOP\r\n");
    server.client().delivered(&["ann@mx.test"], MAIL);
}

fn entries(pid: u32, what: &str) -> usize {
    fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count()
}

#[test]
fn a_thousand_idle_sessions() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    if most < 2000 {
        return crate::support::skip("fewer than 2000 open files are allowed here");
    }
    let place = Place::new();
    let more = "[limit]\nsessions = 2000\nsessions_per_client = 2000";
    let server = Binary::serve(&place, &config(more));
    server.client().delivered(&["ann@mx.test"], MAIL);
    // Its file stays open from then on.
    until("the trace has begun", || !files(&place.at("spool/trace")).is_empty());
    let (threads, descriptors) = (entries(server.pid(), "task"), entries(server.pid(), "fd"));
    let idle: Vec<Client> = (0..1000).map(|_| server.client()).collect();
    assert!(entries(server.pid(), "fd") >= 1000);
    let began = Instant::now();
    server.client().delivered(&["ann@mx.test"], MAIL);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop(idle);
    until("descriptors are free again", || entries(server.pid(), "fd") <= descriptors);
    until("threads are gone", || entries(server.pid(), "task") <= threads);
    server.client().delivered(&["ann@mx.test"], MAIL);
    server.stop();
}
