//! The floor: the least a server can do that says 250 only of what a power cut cannot take, whatever the file system.
//! A thread for each connection, one that commits, no policy, no log, and no look at what it is told. Where the file
//! system keeps its own order, facteur needs one commit of the journal for a batch: there it may be ahead.
//!
//! It speaks just enough SMTP for the clients of [`crate::load`] and believes them everything: the octets go
//! to disk as they came.

use crate::Outcome;
use crate::shelf::{BOXES, Shelf};
use memchr::{memchr, memmem};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Messages that wait to be committed, and of one commit, at most.
const BATCH: usize = 256;

/// A message on its way to disk, and who waits for it.
struct Parcel {
    mailbox: usize,
    octets: Vec<u8>,
    done: SyncSender<()>,
}

/// Serves until it is killed.
pub fn serve(mail: &Path, syncfs_from: usize) -> Outcome<()> {
    let shelf = Shelf::open(mail, syncfs_from)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (sender, receiver) = sync_channel(BATCH);
    thread::spawn(move || commit(shelf, &receiver));
    eprintln!("listening service=smtp address={}", listener.local_addr()?);
    for stream in listener.incoming() {
        let (stream, sender) = (stream?, sender.clone());
        // A client that goes away in the middle is of no interest: its mail was not acknowledged.
        thread::spawn(move || Session::new(stream, sender)?.run());
    }
    Ok(())
}

/// Takes all that wait, and answers them together.
fn commit(mut shelf: Shelf, waiting: &Receiver<Parcel>) {
    while let Ok(first) = waiting.recv() {
        let batch: Vec<Parcel> =
            std::iter::once(first).chain(waiting.try_iter().take(BATCH - 1)).collect();
        let messages = batch.iter().map(|parcel| (parcel.mailbox, &parcel.octets[..]));
        if let Err(error) = shelf.keep(messages) {
            // Nobody is answered, and the clients find their connections closed.
            eprintln!("the floor cannot keep mail in {}: {error}", shelf.mail().display());
            process::exit(1);
        }
        for parcel in batch {
            let _ = parcel.done.send(()); // a client that has gone asks no more
        }
    }
}

struct Session {
    stream: TcpStream,
    waiting: SyncSender<Parcel>,
    kept: (SyncSender<()>, Receiver<()>),
    input: Vec<u8>,
    mailbox: usize,
}

impl Session {
    fn new(stream: TcpStream, waiting: SyncSender<Parcel>) -> io::Result<Session> {
        stream.set_nodelay(true)?;
        let kept = sync_channel(1);
        Ok(Session { stream, waiting, kept, input: Vec::new(), mailbox: 0 })
    }

    fn run(&mut self) -> io::Result<()> {
        self.say("220 floor\r\n")?;
        loop {
            let line = self.take(b"\r\n")?;
            let verb = line.first_chunk().unwrap_or(b"    ");
            match verb {
                b"DATA" => {
                    self.say("354 go\r\n")?;
                    let octets = self.take(b"\r\n.\r\n")?;
                    self.keep(octets)?;
                    self.say("250 2.0.0 kept\r\n")?;
                }
                b"RCPT" => {
                    self.mailbox = mailbox(&line);
                    self.say("250 2.1.5 fine\r\n")?;
                }
                b"QUIT" => return self.say("221 2.0.0 bye\r\n"),
                _ => self.say("250 fine\r\n")?,
            }
        }
    }

    /// All up to `end`, which is taken but not given.
    fn take(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        let mut searched = 0;
        loop {
            if let Some(at) = memmem::find(&self.input[searched..], end) {
                let rest = self.input.split_off(searched + at + end.len());
                let mut taken = std::mem::replace(&mut self.input, rest);
                taken.truncate(searched + at);
                return Ok(taken);
            }
            searched = self.input.len().saturating_sub(end.len() - 1);
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => self.input.extend_from_slice(&buffer[..length]),
            }
        }
    }

    /// Returns when the message survives a power cut.
    fn keep(&mut self, octets: Vec<u8>) -> io::Result<()> {
        let parcel = Parcel { mailbox: self.mailbox, octets, done: self.kept.0.clone() };
        self.waiting.send(parcel).map_err(io::Error::other)?;
        self.kept.1.recv().map_err(io::Error::other)
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        self.stream.write_all(line.as_bytes())
    }
}

/// The number in `RCPT TO:<u7@…>`.
fn mailbox(line: &[u8]) -> usize {
    let start = memchr(b'<', line).map_or(line.len(), |at| (at + 2).min(line.len()));
    let digits = line[start..].iter().take_while(|octet| octet.is_ascii_digit());
    digits.fold(0, |number, digit| (number * 10 + usize::from(digit - b'0')) % BOXES)
}
