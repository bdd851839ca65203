//! Both ends of the outside, without sockets: a client whose commands are known from the start, and next
//! hops that do what the name of a recipient asks for.

use super::letters::{Piece, piece};
use super::log::Mark;
use super::model::Recorder;
use facteur::net::stream::Wire;
use facteur::net::tls::{Protection, Side};
use facteur::relay::Dial;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// A client, and what it was told.
pub struct Client<'a> {
    pub sends: Vec<u8>,
    pub told: Vec<u8>,
    /// Called when its message is answered with 250.
    pub answered: &'a (dyn Fn() + Sync),
}

impl Wire for Client<'_> {
    fn read(&mut self, buffer: &mut [u8], _: Instant) -> io::Result<usize> {
        let length = self.sends.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.sends[..length]);
        self.sends.drain(..length);
        Ok(length)
    }

    fn write_all(&mut self, octets: &[u8], _: Instant) -> io::Result<()> {
        self.told.extend_from_slice(octets);
        if has(octets, b"250 2.0.0 Ok: queued as ") {
            (self.answered)();
        }
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

fn has(octets: &[u8], wanted: &[u8]) -> bool {
    memchr::memmem::find(octets, wanted).is_some()
}

/// A message that a next hop has taken.
#[derive(Clone)]
pub struct Taken {
    pub from: String,
    pub to: Vec<String>,
    pub text: String,
}

/// All next hops: a recipient `no…` is refused for good, `later…` for now until [`Hosts::relent`], all
/// others are taken.
#[derive(Clone)]
pub struct Hosts {
    disk: Recorder,
    taken: Arc<Mutex<Vec<Taken>>>,
    is_lenient: Arc<AtomicBool>,
}

impl Hosts {
    pub fn new(disk: Recorder) -> Hosts {
        Hosts { disk, taken: Arc::default(), is_lenient: Arc::default() }
    }

    pub fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap().clone()
    }

    pub fn relent(&self) {
        self.is_lenient.store(true, Ordering::SeqCst);
    }

    pub fn dial(&self) -> Dial {
        let hosts = self.clone();
        Box::new(move |_, _| {
            let (says, from, to) = (b"220 host.test ESMTP\r\n".to_vec(), String::new(), Vec::new());
            let (hears, is_message) = (Vec::new(), false);
            Ok(Box::new(Host { hosts: hosts.clone(), says, hears, from, to, is_message }))
        })
    }

    fn take(&self, mail: Taken) {
        match piece(&mail.text) {
            Some(Piece::Letter(tag)) => self.disk.mark(Mark::Taken { tag, to: mail.to.clone() }),
            Some(Piece::Notice(tag, to)) => self.disk.mark(Mark::Told { tag, to }),
            None => {}
        }
        if mail.from.starts_with("SRS") {
            self.disk.mark(Mark::Signed(mail.from.clone()));
        }
        self.taken.lock().unwrap().push(mail);
    }
}

/// One connection to one of them.
struct Host {
    hosts: Hosts,
    says: Vec<u8>,
    hears: Vec<u8>,
    from: String,
    to: Vec<String>,
    is_message: bool,
}

impl Host {
    fn line(&mut self, line: &str) -> &'static str {
        let path = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        match line.get(..4).unwrap_or_default() {
            "EHLO" => "250-host.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
            "MAIL" => {
                (self.from, self.to) = (path, Vec::new());
                "250 2.1.0 ok\r\n"
            }
            "RCPT" if path.starts_with("no") => "550 5.1.1 nobody\r\n",
            "RCPT"
                if path.starts_with("later") && !self.hosts.is_lenient.load(Ordering::SeqCst) =>
            {
                "450 4.2.0 later\r\n"
            }
            "RCPT" => {
                self.to.push(path);
                "250 2.1.5 ok\r\n"
            }
            "DATA" if self.to.is_empty() => "554 5.5.1 no recipients\r\n",
            "DATA" => {
                self.is_message = true;
                "354 go\r\n"
            }
            "QUIT" => "221 2.0.0 bye\r\n",
            _ => "250 2.0.0 ok\r\n",
        }
    }

    fn hear(&mut self) {
        loop {
            let end: &[u8] = if self.is_message { b"\r\n.\r\n" } else { b"\r\n" };
            let Some(at) = memchr::memmem::find(&self.hears, end) else {
                return;
            };
            let piece: Vec<u8> = self.hears.drain(..at + end.len()).collect();
            let text = String::from_utf8_lossy(&piece[..at + 2]).replace("\r\n", "\n");
            let reply = match self.is_message {
                false => self.line(text.trim_end()),
                true => {
                    self.is_message = false;
                    let (from, to) = (self.from.clone(), std::mem::take(&mut self.to));
                    self.hosts.take(Taken { from, to, text });
                    "250 2.0.0 taken\r\n"
                }
            };
            self.says.extend_from_slice(reply.as_bytes());
        }
    }
}

impl Wire for Host {
    fn read(&mut self, buffer: &mut [u8], _: Instant) -> io::Result<usize> {
        if self.says.is_empty() {
            return Err(io::ErrorKind::TimedOut.into()); // nothing was asked
        }
        let length = self.says.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.says[..length]);
        self.says.drain(..length);
        Ok(length)
    }

    fn write_all(&mut self, octets: &[u8], _: Instant) -> io::Result<()> {
        self.hears.extend_from_slice(octets);
        self.hear();
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
