//! A scripted DNS server over UDP and TCP on a free port of 127.0.0.1, with an encoder of its own:
//! what it sends may be wrong in any way.
//!
//! Its zone is text, a line for a record or for a behaviour; names without a line do not exist:
//!
//! ```text
//! example.net      MX 10 mx.example.net     # 300 s; or `example.net 0 MX 10 mx.example.net`
//! nomail.test      MX 0 .
//! mx.example.net   A 127.0.0.2
//! mx.example.net   AAAA !servfail           # a behaviour for one type, or for all:
//! dead.test        !silent
//! *                !refused                 # every other name
//! ```
//!
//! Aliases are followed as a recursive server does. Behaviours: [`zone::BEHAVIOURS`].

mod wire;
mod zone;

use crate::support::PATIENCE;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use wire::{AD, Answer, KINDS, Question, SOA, encode, evil, name, question};
use zone::{Does, Line, line};

pub struct Dnsd {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    zone: Mutex<Vec<Line>>,
    asked: Mutex<Vec<Asked>>,
    stopping: AtomicBool,
}

/// One question that came.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub name: String,
    pub kind: String,
    pub tcp: bool,
    /// What EDNS says may come over UDP.
    pub payload: Option<u16>,
    /// It asks for the AD bit.
    pub ad: bool,
}

impl Dnsd {
    pub fn new(zone: &str) -> Dnsd {
        let (udp, tcp) = bind();
        let address = udp.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let (one, two) = (shared.clone(), shared.clone());
        let threads = vec![
            thread::spawn(move || one.serve_udp(udp)),
            thread::spawn(move || two.serve_tcp(tcp)),
        ];
        let dnsd = Dnsd { address, shared, threads };
        dnsd.set(zone);
        dnsd
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on this zone, instead of the one before.
    pub fn set(&self, zone: &str) {
        *self.shared.zone.lock().unwrap() = zone.lines().filter_map(line).collect();
    }

    /// All questions so far.
    pub fn log(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// Begins the log anew.
    pub fn forget(&self) {
        self.shared.asked.lock().unwrap().clear();
    }

    /// How often this was asked.
    pub fn asked(&self, name: &str, kind: &str) -> usize {
        self.log().iter().filter(|asked| asked.name == name && asked.kind == kind).count()
    }
}

impl Drop for Dnsd {
    fn drop(&mut self) {
        self.shared.stopping.store(true, SeqCst);
        let waker = UdpSocket::bind("127.0.0.1:0").unwrap();
        let _ = waker.send_to(b"", self.address);
        let _ = TcpStream::connect(self.address);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The same free port twice; a port that is taken for TCP is not tried again.
fn bind() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            return (udp, tcp);
        }
    }
}

impl Shared {
    fn serve_udp(&self, socket: UdpSocket) {
        let mut buffer = [0; 4096];
        while !self.stopping.load(SeqCst) {
            let Ok((octets, client)) = socket.recv_from(&mut buffer) else { continue };
            let Some(question) = question(&buffer[..octets]) else { continue };
            self.note(&question, false);
            if self.does(&question, "spoof-source") {
                let other = UdpSocket::bind("127.0.0.1:0").unwrap();
                let _ = other.send_to(&evil(&question), client);
            }
            for answer in self.over_udp(&question) {
                let _ = socket.send_to(&answer, client);
            }
        }
    }

    fn serve_tcp(self: Arc<Shared>, listener: TcpListener) {
        for stream in listener.incoming() {
            if self.stopping.load(SeqCst) {
                return;
            }
            let (Ok(stream), shared) = (stream, self.clone()) else { continue };
            thread::spawn(move || shared.connection(stream));
        }
    }

    fn connection(&self, mut stream: TcpStream) -> Option<()> {
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        loop {
            let mut length = [0; 2];
            stream.read_exact(&mut length).ok()?;
            let mut octets = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut octets).ok()?;
            let question = question(&octets)?;
            self.note(&question, true);
            if self.does(&question, "tcp-hangup") {
                return None;
            }
            if self.does(&question, "tcp-silent") || self.does(&question, "silent") {
                continue; // until the client leaves
            }
            let truncate = self.does(&question, "truncate-tcp");
            let answer = self.answer(&question, truncate);
            let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
            stream.write_all(&[&length[..], &answer].concat()).ok()?;
        }
    }

    fn note(&self, question: &Question, tcp: bool) {
        let kind = KINDS.iter().find(|(_, kind)| *kind == question.kind);
        let kind = kind.map_or_else(|| question.kind.to_string(), |(name, _)| (*name).to_owned());
        let Question { payload, ad, .. } = *question;
        let asked = Asked { name: question.name.clone(), kind, tcp, payload, ad };
        self.asked.lock().unwrap().push(asked);
    }

    /// Whether it came for the first time, or the third.
    fn is_odd(&self, question: &Question) -> bool {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| asked.name == question.name && !asked.tcp).count() % 2 == 1
    }

    /// The lines of a name, for one type.
    fn lines(&self, name: &str, kind: u16) -> Vec<Does> {
        let zone = self.zone.lock().unwrap();
        let known = if zone.iter().any(|line| line.name == name) { name } else { "*" };
        let lines = zone.iter().filter(|line| line.name == known);
        lines.filter(|l| l.kind.is_none_or(|k| k == kind)).map(|l| l.does.clone()).collect()
    }

    fn does(&self, question: &Question, what: &str) -> bool {
        let lines = self.lines(&question.name, question.kind);
        lines.iter().any(|does| matches!(does, Does::Behave(behaviour) if behaviour == what))
    }

    fn over_udp(&self, question: &Question) -> Vec<Vec<u8>> {
        let does = |what| self.does(question, what);
        let mut answers = Vec::new();
        let edns = question.payload.is_some();
        if does("silent")
            || (does("edns-silent") && edns)
            || (does("lossy") && self.is_odd(question))
        {
            return answers;
        }
        if does("spoof-id") || does("flood") {
            let mut evil = evil(question);
            for _ in 0..if does("flood") { 50 } else { 5 } {
                evil[1] = evil[1].wrapping_add(1);
                answers.push(evil.clone());
            }
        }
        if does("spoof-question") {
            let mut octets = name("other.test");
            octets.extend(&question.octets[question.octets.len() - 4..]);
            let other = Question { octets, name: "other.test".to_owned(), ..*question };
            answers.push(evil(&other));
        }
        if does("flood") {
            return answers;
        }
        let truncate = does("truncate") || does("truncate-tcp");
        let answer = self.answer(question, truncate);
        let most = usize::from(question.payload.unwrap_or(512));
        answers.push(if answer.len() > most { self.answer(question, true) } else { answer });
        answers
    }

    fn answer(&self, question: &Question, truncate: bool) -> Vec<u8> {
        let does = |what| self.does(question, what);
        let mut answer = Answer::default();
        if truncate {
            return answer.octets(question, 2, 0);
        }
        let edns = question.payload.is_some();
        for (behaviour, code) in [
            ("servfail", 2),
            ("refused", 5),
            ("notauth", 9),
            ("edns-servfail", 2),
            ("edns-notimp", 4),
        ] {
            if does(behaviour) && (edns || !behaviour.starts_with("edns-")) {
                return answer.octets(question, 0, code);
            }
        }
        if does("no-edns") && question.payload.is_some() {
            return [&question.id[..], &[0x81, 0x81], &[0; 8]].concat();
        }
        if does("garbage") || (does("edns-garbage") && edns) {
            return [&question.id[..], &[0x81, 0x80, 0, 1, 0, 9, 0, 0, 0, 0, 0xff, 0xff]].concat();
        }
        if does("empty") {
            return answer.octets(question, 0, 0);
        }
        if does("lame") {
            answer.authority("test", 2, &name("ns.elsewhere.test"));
            let mut octets = answer.octets(question, 0, 0);
            octets[3] &= 0x7f; // no recursion here
            return octets;
        }
        if does("giant") || does("pointer") {
            let giant = [&[63][..], &[b'a'; 63]].concat().repeat(5);
            let host = if does("giant") { [&giant[..], &[0]].concat() } else { Vec::new() };
            answer.record(&question.name, 300, question.kind, &[&[0, 10][..], &host].concat());
            if does("pointer") {
                answer.pointer_to_itself(question);
            }
            return answer.octets(question, 0, 0);
        }
        if does("others") {
            answer.record("other.test", 300, 15, &[&[0, 1][..], &name("evil.test")].concat());
            answer.record("other.test", 300, 1, &[6, 6, 6, 6]);
        }
        let exists = self.follow(question, &mut answer);
        if answer.count == 0 && !does("no-soa") {
            let numbers = [0, 0, 0, 1].repeat(4);
            let soa = [&name("ns.test")[..], &name("root.test"), &numbers, &[0, 0, 1, 44]].concat();
            let zone = if does("foreign-soa") { "elsewhere.test" } else { "." };
            answer.authority(zone, SOA, &soa);
        }
        let code = if exists && !does("nxdomain") { 0 } else { 3 };
        let mut octets = answer.octets(question, 0, code);
        octets[3] |= if does("ad") { AD } else { 0 };
        octets
    }

    /// Adds aliases and what they lead to; false when that does not exist.
    fn follow(&self, question: &Question, answer: &mut Answer) -> bool {
        let mut here = question.name.clone();
        for _ in 0..20 {
            for does in self.lines(&here, question.kind) {
                if let Does::Record { ttl, data } = does {
                    answer.record(&here, ttl, question.kind, &encode(question.kind, &data));
                }
            }
            let alias = self.lines(&here, 5).into_iter().find_map(|does| match does {
                Does::Record { ttl, data } => Some((ttl, data)),
                Does::Behave(_) => None,
            });
            match alias {
                Some((ttl, target)) if question.kind != 5 => {
                    answer.record(&here, ttl, 5, &name(&target));
                    here = target;
                    if self.does(question, "step") {
                        return true;
                    }
                }
                _ => break,
            }
        }
        self.zone.lock().unwrap().iter().any(|line| line.name == here)
    }
}
