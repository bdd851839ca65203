//! Logging in where a dialog cannot say it: SCRAM, whose every word is new, what is kept as a hash, and
//! addresses that guess.

use crate::room::Room;
use crate::support::{Place, config, text};
use base64ct::{Base64, Encoding};
use facteur::config::Config;
use facteur::mail::address::Domain;
use facteur::net::listener::Service;
use facteur::net::stream::Wire;
use facteur::net::tls::{Protection, Side};
use facteur::site::{Current, Site};
use facteur::smtp::auth::client::ClientExchange;
use facteur::smtp::auth::{Bindings, Mechanism, decode, encode};
use facteur::smtp::session::{Session, Settings};
use facteur::store::password::{Scheme, make};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A site with these users, and one domain.
fn room(place: &Place, users: &str, more: &str) -> Room {
    place.write("users", users);
    let config = config(more).replace("any_user = true", "users = \"users\"");
    let room = Room::of(&config, &place.at("facteur.toml"));
    room.open();
    room
}

/// A client that speaks when it was answered, over TLS.
struct Client {
    /// What it says next, by turns; `AUTH` lets the login speak until its verdict.
    says: VecDeque<String>,
    login: Option<ClientExchange>,
    bindings: Bindings,
    out: Vec<u8>,
    /// How much of `out` was answered.
    seen: usize,
}

impl Client {
    fn new(says: &[&str], login: Option<ClientExchange>) -> Client {
        let says = says.iter().map(|&line| line.to_owned()).collect();
        Client { says, login, bindings: Bindings::default(), out: Vec::new(), seen: 0 }
    }

    /// The next line, for the last reply so far.
    fn next(&mut self) -> Option<String> {
        let told = text(&self.out[self.seen..]);
        self.seen = self.out.len();
        let last = told.lines().last().unwrap_or_default();
        if let (Some(challenge), Some(login)) = (last.strip_prefix("334"), &mut self.login) {
            return Some(login.answer(challenge).unwrap_or("*".to_owned()));
        }
        let line = self.says.pop_front()?;
        Some(if line == "AUTH" { self.login.as_ref().unwrap().command() } else { line })
    }
}

impl Wire for Client {
    fn read(&mut self, buffer: &mut [u8], _: Instant) -> io::Result<usize> {
        let line = self.next().map(|line| format!("{line}\r\n")).unwrap_or_default();
        buffer[..line.len()].copy_from_slice(line.as_bytes());
        Ok(line.len())
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

    fn bindings(&self) -> Option<Bindings> {
        Some(self.bindings.clone())
    }

    fn finish(&mut self) {
        self.says.clear();
    }
}

/// The codes of all replies of a session, and all that was said.
fn talk(room: &Room, client: &mut Client) -> (Vec<String>, String) {
    room.talk_by("192.0.2.1", Service::Submission, client);
    let told = text(&client.out);
    let ends = told.lines().filter(|line| line.get(3..4) != Some("-"));
    (ends.map(|line| line[..3].to_owned()).collect(), told)
}

fn log_in(room: &Room, mechanisms: &str, user: &str, password: &str) -> Vec<String> {
    let login =
        ClientExchange::choose(mechanisms, user, password, "fyko+d2lbbFgONRv9qkxdawL").unwrap();
    talk(room, &mut Client::new(&["EHLO c", "AUTH"], Some(login))).0
}

#[test]
fn scram_from_end_to_end() {
    let place = Place::new();
    let keys = make(Scheme::ScramSha256, "pencil").unwrap();
    let room = room(&place, &format!("ann:{keys}:::::\nbob:{{PLAIN}}p\u{e4}ss:::::\n"), "");
    let login =
        ClientExchange::choose("SCRAM-SHA-256", "ann@mx.test", "pencil", "fyko+d2").unwrap();
    let message = ["MAIL FROM:<ann@mx.test>", "RCPT TO:<bob@mx.test>", "DATA", "To: bob", "", "."];
    let mut client = Client::new(&[&["EHLO c", "AUTH"][..], &message].concat(), Some(login));
    let (codes, told) = talk(&room, &mut client);
    let expected = ["220", "250", "334", "334", "235", "250", "250", "354", "250"];
    assert_eq!(codes, expected, "{told}");
    assert!(told.contains("250-AUTH SCRAM-SHA-256 PLAIN LOGIN\r\n"), "{told}");
    assert!(client.login.unwrap().is_mutual());
    let [(_, mail)] = &room.files()[..] else { panic!("not one message") };
    assert!(mail.contains("with ESMTPSA") && mail.contains("To: bob@mx.test\n"), "{mail}");

    // A name without its domain, as there is one domain; and a password that is kept plain.
    assert_eq!(log_in(&room, "SCRAM-SHA-256", "bob", "p\u{e4}ss"), expected[..5]);
    let wrong = ["220", "250", "334", "535"];
    assert_eq!(log_in(&room, "SCRAM-SHA-256", "bob", "pass"), wrong);
    assert_eq!(log_in(&room, "SCRAM-SHA-256", "zoe@mx.test", "pencil"), wrong);
    assert_eq!(log_in(&room, "SCRAM-SHA-256", "ann@far.test", "pencil"), wrong);
    assert_eq!(log_in(&room, "PLAIN", "ann@mx.test", "pencil"), ["220", "250", "235"]);
}

/// The salt and the iterations that a name is challenged with.
fn challenge(room: &Room, name: &str) -> String {
    let first = encode(format!("n,,n={name},r=x").as_bytes());
    let mut client = Client::new(&["EHLO c", &format!("AUTH SCRAM-SHA-256 {first}")], None);
    let (_, told) = talk(room, &mut client);
    let line = told.lines().last().unwrap().strip_prefix("334 ").unwrap();
    let challenge = String::from_utf8(decode(line.as_bytes()).unwrap()).unwrap();
    challenge.split_once(",s=").unwrap().1.to_owned()
}

#[test]
fn who_is_not_there_is_challenged_alike() {
    let place = Place::new();
    let keys = make(Scheme::ScramSha256, "pencil").unwrap();
    let room = room(&place, &format!("ann:{keys}\nbob:{{PLAIN}}x\n"), "");
    let zoe = challenge(&room, "zoe@mx.test");
    let (salt, iterations) = zoe.split_once(",i=").unwrap();
    assert_eq!(Base64::decode_vec(salt).unwrap().len(), 16);
    assert!(keys.contains(&format!("}}{iterations},")), "{keys} {zoe}");
    // However it is written, and each time; but not that of somebody else.
    assert_eq!(challenge(&room, "ZOE@mx.test"), zoe);
    assert_eq!(challenge(&room, "zoe"), zoe);
    let others = ["ann@mx.test", "bob@mx.test", "eve@mx.test", "eve@far.test"];
    let mut all: Vec<String> = others.iter().map(|name| challenge(&room, name)).collect();
    all.push(zoe);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 5);
}

#[test]
fn scram_is_offered_only_while_every_password_can_do_it() {
    let place = Place::new();
    let hash = make(Scheme::Argon2id, "pencil").unwrap();
    let room = room(&place, &format!("ann:{hash}:::::\nbob:{{PLAIN}}x\neve:\n"), "");
    let (_, told) = talk(&room, &mut Client::new(&["EHLO c"], None));
    assert!(told.contains("250-AUTH PLAIN LOGIN\r\n"), "{told}");
    assert_eq!(log_in(&room, "PLAIN", "ann@mx.test", "pencil"), ["220", "250", "235"]);
    assert_eq!(log_in(&room, "LOGIN", "ann@mx.test", "pencil")[2..], ["334", "334", "235"]);
    for (user, password) in [("ann@mx.test", "pencils"), ("eve@mx.test", "x"), ("zoe", "pencil")] {
        assert_eq!(log_in(&room, "PLAIN", user, password), ["220", "250", "535"], "{user}");
    }
    assert_eq!(log_in(&room, "SCRAM-SHA-256", "ann@mx.test", "pencil"), ["220", "250", "504"]);
}

#[test]
fn nothing_is_offered_where_nobody_can_log_in() {
    let place = Place::new();
    for users in ["", "ann:\n", "ann:{MD5}x\n"] {
        let room = room(&place, users, "");
        let (codes, told) = talk(&room, &mut Client::new(&["EHLO c", "AUTH PLAIN x"], None));
        assert!(!told.contains("AUTH") && codes[2] == "502", "{told}");
    }
}

#[test]
fn channel_binding_is_offered_where_it_is_known() {
    let place = Place::new();
    let room = room(&place, "ann:{PLAIN}pencil\n", "");
    let mut client = Client::new(&["EHLO c"], None);
    client.bindings.exporter = vec![7; 32];
    let (_, told) = talk(&room, &mut client);
    let offered = "250-AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN\r\n";
    assert!(told.contains(offered), "{told}");
    let first = encode(b"p=tls-exporter,,n=ann,r=x");
    let says = ["EHLO c", &format!("AUTH SCRAM-SHA-256-PLUS {first}")];
    let mut client = Client::new(&says, None);
    client.bindings.exporter = vec![7; 32];
    assert_eq!(talk(&room, &mut client).0, ["220", "250", "334"]);
}

#[test]
fn of_an_exchange_only_its_mechanism_is_told() {
    let mut session = Session::new(Settings {
        hostname: Domain::parse("mx.test").unwrap(),
        id: "s1".to_owned(),
        message_size: 1 << 20,
        recipients: 100,
        errors: 20,
        tls: true,
        auth: vec![Mechanism::Plain, Mechanism::Login],
        auth_failures: 3,
        is_filtered: false,
    });
    session.secured();
    let mut told = |line: &str| {
        let line = format!("{line}\r\n");
        let (used, action) = session.feed(line.as_bytes(), &mut Vec::new());
        assert!(used == line.len() && action.is_some(), "{line}");
        text(&session.command_text())
    };
    told("EHLO c");
    assert_eq!(told("AUTH LOGIN YW5u"), "AUTH LOGIN");
    // Whatever it is, and what comes behind an exchange that failed.
    assert_eq!(told("AUTH secret MAIL"), "AUTH LOGIN");
    assert_eq!(told("c2VjcmV0"), "(hidden after AUTH)");
    assert_eq!(told("c2VjcmV0"), "(hidden after AUTH)");
    assert_eq!(told("auth plain c2VjcmV0"), "auth plain");
    assert_eq!(told("c2VjcmV0"), "(hidden after AUTH)");
    assert_eq!(told("NOOP"), "NOOP");
    assert_eq!(told("XYZZY"), "XYZZY");
}

#[test]
fn an_address_that_guesses_waits_and_is_forgiven() {
    let place = Place::new();
    let room = room(&place, "ann:{PLAIN}x\nbob:{PLAIN}x\n", "");
    let plain = |user: &str, password: &str| {
        format!("AUTH PLAIN {}", encode(format!("\0{user}\0{password}").as_bytes()))
    };
    let session = |says: &[&str]| {
        let begin = Instant::now();
        let codes = talk(&room, &mut Client::new(says, None)).0;
        (codes, begin.elapsed())
    };
    let second = Duration::from_secs(1);
    // Two in each session, which ends none of them.
    let (codes, time) = session(&["EHLO c", &plain("ann", "y"), &plain("ANN@mx.test", "y")]);
    assert!(codes[2..] == ["535", "535"] && time < second, "{codes:?} {time:?}");
    let (codes, time) = session(&["EHLO c", &plain("ann", "y"), &plain("bob", "y")]);
    assert!(codes[2..] == ["535", "535"] && time >= second, "{codes:?} {time:?}");
    // Late, also for the right password, and mail is not held up.
    let (codes, time) = session(&["EHLO c", "MAIL FROM:<eve@mx.test>"]);
    assert!(codes[2..] == ["530"] && time < second, "{codes:?} {time:?}");
    let (codes, time) = session(&["EHLO c", &plain("bob", "x"), "MAIL FROM:<bob@mx.test>"]);
    assert!(codes[2..] == ["235", "250"] && time >= 2 * second, "{codes:?} {time:?}");
    // Bob's is forgiven; Ann's three are not, until she shows hers.
    let (codes, time) = session(&["EHLO c", &plain("ann", "x")]);
    assert!(codes[2..] == ["235"] && time >= second && time < 2 * second, "{codes:?} {time:?}");
    let (codes, time) = session(&["EHLO c", &plain("bob", "x")]);
    assert!(codes[2..] == ["235"] && time < second, "{codes:?} {time:?}");
}

/// By webmail many people come from one address.
#[test]
fn a_client_of_relay_networks_is_slowed_by_user() {
    let place = Place::new();
    let networks = "[limit]\nauth_failures = 1\n[relay]\nnetworks = [\"0.0.0.0/0\", \"::/0\"]";
    let room = room(&place, "ann:{PLAIN}x\nbob:{PLAIN}x\n", networks);
    let plain = |user: &str, password: &str| {
        format!("AUTH PLAIN {}", encode(format!("\0{user}\0{password}").as_bytes()))
    };
    let session = |says: &[&str]| {
        let begin = Instant::now();
        let codes = talk(&room, &mut Client::new(says, None)).0;
        (codes, begin.elapsed())
    };
    let second = Duration::from_secs(1);
    assert_eq!(session(&["EHLO c", &plain("ann", "y")]).0[2..], ["535"]);
    let (codes, time) = session(&["EHLO c", &plain("bob", "x")]);
    assert!(codes[2..] == ["235"] && time < second, "{codes:?} {time:?}");
    let (codes, time) = session(&["EHLO c", &plain("ann", "x")]);
    assert!(codes[2..] == ["235"] && time >= second, "{codes:?} {time:?}");
}

/// A client that counts, each time it is waited for, who else holds the site.
struct Counter<'a> {
    client: Client,
    current: &'a Current,
    counts: Vec<usize>,
}

impl Wire for Counter<'_> {
    fn read(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
        let site = self.current.get();
        // Beside the one that holds it, and this one.
        self.counts.push(Arc::strong_count(&site) - 2);
        drop(site);
        self.client.read(buffer, deadline)
    }

    fn write_all(&mut self, octets: &[u8], deadline: Instant) -> io::Result<()> {
        self.client.write_all(octets, deadline)
    }

    fn poll_input(&mut self) -> bool {
        false
    }

    fn secure(&mut self, side: Side<'_>, deadline: Instant) -> io::Result<Protection> {
        self.client.secure(side, deadline)
    }

    fn bindings(&self) -> Option<Bindings> {
        self.client.bindings()
    }

    fn finish(&mut self) {}
}

/// Old tables go with the last transaction that has begun with them, whoever is still connected.
#[test]
fn a_session_that_waits_holds_no_users_and_no_aliases() {
    let place = Place::new();
    let mut room = room(&place, "ann:{PLAIN}x\n", "");
    let config = config("").replace("any_user = true", "users = \"users\"");
    let config = Config::parse(&config, &place.at("facteur.toml")).unwrap();
    let current = Current::new(Site::read(config).unwrap().0);
    room.follow(&current);
    let says = ["EHLO c", "AUTH PLAIN AGFubgB4", "MAIL FROM:<ann@mx.test>", "RSET", "QUIT"];
    let client = Client::new(&says, None);
    let mut counter = Counter { client, current: &current, counts: Vec::new() };
    room.talk_by("192.0.2.1", Service::Submission, &mut counter);
    assert!(text(&counter.client.out).contains("235 2.7.0"));
    // Only inside the transaction.
    assert_eq!(counter.counts, [0, 0, 0, 1, 0]);
}
