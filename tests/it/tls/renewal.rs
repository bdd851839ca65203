//! A certificate that is renewed while many sessions are open, wherever each of them stands.

use super::{NETWORKS, address, serve};
use crate::client::{Client, stuffed};
use crate::secrecy::{self, Pair};
use crate::servers::Binary;
use crate::support::{Place, text, until};
use rustls::pki_types::CertificateDer;

const SESSIONS: usize = 100;

/// Half of them by STARTTLS, a quarter by TLS from the first octet, a quarter in the clear.
const WAYS: [(&str, Way); 4] = [
    ("smtp", Way::StartTls),
    ("submission", Way::StartTls),
    ("submissions", Way::Tls),
    ("submission", Way::Clear),
];

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Clear,
    StartTls,
    Tls,
}

/// How far a session has come.
#[derive(Clone, Copy, PartialEq)]
enum Step {
    Greeted,
    /// MAIL and RCPT were taken.
    Recipient,
    /// Half of the message was sent.
    Message,
}

struct Session {
    client: Client,
    way: Way,
    step: Step,
    user: String,
}

fn connect(server: &Binary, service: &str, way: Way) -> Client {
    let there = address(server, service);
    if way == Way::Tls {
        let mut client = Client::connect_tls(there, &secrecy::client());
        client.reply();
        client.expect("EHLO client.test", "250");
        return client;
    }
    let mut client = Client::greeted(there);
    if way == Way::StartTls {
        client.start_tls(&secrecy::client());
    }
    client
}

fn shown(client: &mut Client) -> CertificateDer<'static> {
    client.line().tls().peer_certificates().unwrap()[0].clone()
}

/// What it sends: more than is held in memory.
fn message(user: &str) -> Vec<u8> {
    let lines = (0..2000).map(|number| format!("{number} of many lines to {user}\r\n"));
    format!("Subject: x\r\n\r\n{}", lines.collect::<String>()).into_bytes()
}

impl Session {
    fn begin(server: &Binary, number: usize) -> Session {
        let (service, way) = WAYS[number % WAYS.len()];
        let step = [Step::Greeted, Step::Recipient, Step::Message][number / WAYS.len() % 3];
        let (mut client, user) = (connect(server, service, way), format!("user{number}"));
        if step != Step::Greeted {
            client.expect("MAIL FROM:<sender@client.test>", "250 ");
            client.expect(&format!("RCPT TO:<{user}@mx.test>"), "250 ");
        }
        if step == Step::Message {
            client.expect("DATA", "354 ");
            let octets = stuffed(&message(&user));
            client.send(&octets[..octets.len() / 2]);
        }
        Session { client, way, step, user }
    }

    /// Goes on to the end of its message, and says QUIT.
    fn end(mut self) {
        let to = format!("{}@mx.test", self.user);
        let octets = stuffed(&message(&self.user));
        match self.step {
            Step::Greeted => {
                // Who has waited with it gets it now.
                if self.way == Way::Clear {
                    self.client.start_tls(&secrecy::client());
                }
                self.client.delivered(&[&to], &message(&self.user));
            }
            Step::Recipient => {
                self.client.expect("DATA", "354 ");
                self.client.send(&octets);
                assert!(self.client.reply().starts_with("250 2.0.0 "));
            }
            Step::Message => {
                self.client.send(&octets[octets.len() / 2..]);
                assert!(self.client.reply().starts_with("250 2.0.0 "));
            }
        }
        self.client.expect("QUIT", "221 ");
        assert!(self.client.is_over());
    }
}

#[test]
fn a_hundred_sessions_outlive_their_certificate() {
    let place = Place::new();
    let server = serve(&place, &format!("{NETWORKS}[limit]\nsessions_per_client = 200\n"));
    let mut sessions: Vec<Session> =
        (0..SESSIONS).map(|number| Session::begin(&server, number)).collect();
    let old = shown(&mut sessions[0].client);
    let new = Pair::of(&["mx.test"]);
    assert_ne!(old, new.der());
    new.write(&place);
    server.signal("HUP");
    server.wait_for(&["reloaded "]);
    for (service, way) in WAYS.into_iter().filter(|(_, way)| *way != Way::Clear) {
        let mut client = connect(&server, service, way);
        assert_eq!(shown(&mut client), new.der(), "{service}");
        client.expect("QUIT", "221 ");
    }
    // All that have begun before have the old one to their end, and have not lost an octet.
    for session in &mut sessions {
        assert!(session.way == Way::Clear || shown(&mut session.client) == old);
    }
    sessions.into_iter().for_each(Session::end);
    let ended = |line: &&String| line.starts_with("disconnected ");
    until("all are over", || server.lines().iter().filter(ended).count() == SESSIONS + 3);
    let lines = server.lines();
    assert!(lines.iter().filter(ended).all(|line| line.contains(" reason=quit ")), "{lines:#?}");
    for number in 0..SESSIONS {
        let user = format!("user{number}");
        let [mail] = &place.mail(&user)[..] else { panic!("not one message for {user}") };
        let sent = text(&message(&user)).replace("\r\n", "\n");
        assert!(text(mail).ends_with(&sent), "not the same octets");
    }
    server.stop();
}
