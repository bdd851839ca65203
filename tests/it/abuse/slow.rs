//! Clients that say one octet after the other, at each step: none holds its session longer than that step
//! may take as a whole, and a message has to come at a pace.

use super::at_most;
use crate::client::Client;
use crate::room::Room;
use crate::secrecy::{self, Pair, TLS};
use crate::servers::{Binary, value};
use crate::support::{PATIENCE, Place, config, text};
use facteur::conversation::bounds::{Bounds, Rate};
use facteur::net::listener::Service;
use facteur::net::stream::Wire;
use facteur::net::tls::{Protection, Side};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Between two octets.
const DRIP: Duration = Duration::from_millis(100);

/// How long each session lived that dripped from this moment on, and what it was told; in seconds.
fn dripped(mut client: Client, octets: &[u8]) -> (u64, String) {
    let began = Instant::now();
    for octet in octets.iter().cycle() {
        assert!(began.elapsed() < PATIENCE, "dripped for {PATIENCE:?}, and the server bears it");
        if client.try_send(&[*octet]).is_err() {
            break;
        }
        if let Some(reply) = client.reply_within(DRIP) {
            return (began.elapsed().as_secs(), reply);
        }
    }
    (began.elapsed().as_secs(), client.reply())
}

/// The same before there is TLS, where the server has no words.
fn dripped_handshake(address: SocketAddr) -> u64 {
    let began = Instant::now();
    let mut tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(DRIP)).unwrap();
    // The beginning of a record that never ends.
    for octet in [0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc, 3, 3].into_iter().chain([0; 10_000]) {
        assert!(began.elapsed() < PATIENCE, "dripped for {PATIENCE:?}, and the server bears it");
        if tcp.write_all(&[octet]).is_err() || tcp.read(&mut [0; 100]).is_ok_and(|read| read == 0) {
            break;
        }
    }
    began.elapsed().as_secs()
}

fn secured(address: SocketAddr) -> Client {
    let mut client = Client::connect_tls(address, &secrecy::client());
    client.reply();
    client.expect("EHLO client.test", "250");
    client
}

/// Whatever drips is over about when `timeout.command` is, 2 s here.
const LATEST: u64 = 10;

#[test]
fn commands_logins_and_handshakes() {
    let place = Place::new();
    Pair::of(&["mx.test"]).write(&place);
    place.write("users", "ann:{PLAIN}x\n");
    let more = format!("users = \"users\"\n[timeout]\ncommand = \"2s\"\n{TLS}");
    let config = config(&more).replacen("[domain", "submissions = [\"127.0.0.1:0\"]\n[domain", 1);
    let server = Binary::serve(&place, &config);
    let line = server.wait_for(&["listening service=submissions "]);
    let submissions: SocketAddr = value(&line, "address").unwrap().parse().unwrap();
    thread::scope(|scope| {
        let spawn = |what: &'static str, client: Client, octets: &'static [u8]| {
            scope.spawn(move || {
                let (seconds, reply) = dripped(client, octets);
                assert!(reply.starts_with("421 4.4.2 "), "{what}: {reply:?}");
                at_most(&format!("one octet after the other: {what}"), seconds, LATEST, "s");
            })
        };
        spawn("a command", server.client(), b"N");
        spawn("lines that are none", Client::greeted(server.address), b"\r");
        spawn("a command by TLS", secured(submissions), b"N");
        let mut login = secured(submissions);
        login.expect("AUTH PLAIN", "334");
        spawn("a line of AUTH", login, b"A");
        let mut within = server.client();
        within.expect("MAIL FROM:<>", "250");
        spawn("a command in a transaction", within, b"R");
        let mut chunk = server.client();
        chunk.expect("MAIL FROM:<>", "250");
        chunk.expect("RCPT TO:<ann@mx.test>", "250");
        chunk.send(b"BDAT 1\r\nx");
        assert!(chunk.reply().starts_with("250 "));
        spawn("a command between two chunks", chunk, b"B");
        scope.spawn(move || {
            let seconds = dripped_handshake(submissions);
            at_most("one octet after the other: a TLS handshake", seconds, LATEST, "s");
        });
    });
    server.stop();
}

/// A client that says `first` at once, and then `rest`, one octet each [`Dripping::each`].
struct Dripping {
    first: Vec<u8>,
    rest: Box<dyn Iterator<Item = u8> + Send>,
    each: Duration,
    dripped: u64,
    out: Vec<u8>,
}

impl Wire for Dripping {
    fn read(&mut self, buffer: &mut [u8], _: Instant) -> io::Result<usize> {
        if !self.first.is_empty() {
            let length = self.first.len().min(buffer.len());
            buffer[..length].copy_from_slice(&self.first[..length]);
            self.first.drain(..length);
            return Ok(length);
        }
        thread::sleep(self.each);
        self.dripped += 1;
        buffer[0] = self.rest.next().unwrap();
        Ok(1)
    }

    fn write_all(&mut self, octets: &[u8], _: Instant) -> io::Result<()> {
        self.out.extend_from_slice(octets);
        Ok(())
    }

    fn poll_input(&mut self) -> bool {
        false
    }

    fn secure(&mut self, _: Side<'_>, _: Instant) -> io::Result<Protection> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn finish(&mut self) {}
}

const BEGIN: &[u8] = b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<ann@mx.test>\r\n";

/// A tenth of a second stands for a minute.
const RATE: Rate = Rate { octets: 5 * 1024, window: Duration::from_millis(500) };

fn pace(what: &str, first: &[u8], rest: impl Iterator<Item = u8> + Send + 'static) {
    let mut room = Room::new("");
    room.bind(Bounds { rate: RATE, ..Bounds::default() });
    let first = [BEGIN, first].concat();
    let each = Duration::from_millis(1);
    let mut wire = Dripping { first, rest: Box::new(rest), each, dripped: 0, out: Vec::new() };
    let began = Instant::now();
    room.talk_by("192.0.2.1", Service::Smtp, &mut wire);
    let (told, windows) = (text(&wire.out), began.elapsed().as_millis() / RATE.window.as_millis());
    let last = told.lines().last().unwrap();
    assert!(last.starts_with("421 4.4.2 "), "{what}: {told}");
    assert_eq!(room.files(), []);
    at_most(&format!("a slow message, {what}: ended after windows"), windows as u64, 10, "windows");
}

#[test]
fn a_message_that_drips() {
    pace("by DATA", b"DATA\r\n", std::iter::repeat(b'x'));
    pace(
        "by DATA after a first half",
        &[b"DATA\r\n", &[b'x'; 5000][..]].concat(),
        std::iter::repeat(b'x'),
    );
    pace("by one chunk", b"BDAT 100000 LAST\r\n", std::iter::repeat(b'x'));
    pace("by chunks of one octet", b"", b"BDAT 1\r\nx".iter().copied().cycle());
    // Read away, as there is no recipient; its octets have no other end.
    pace("by a chunk of nothing", b"RSET\r\nBDAT 100000 LAST\r\n", std::iter::repeat(b'x'));
}
