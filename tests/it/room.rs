//! Sessions without sockets on a disk without a machine: a script in, replies and files out.
//!
//! The delivery thread of a [`Room`] begins when [`Room::open`] says so, so that a test can gather
//! several messages into one batch.

use crate::memory::MemoryDisk;
use crate::support::{PATIENCE, config, text, within};
use crossbeam_channel::{Receiver, bounded};
use facteur::config::Config;
use facteur::conversation::bounds::Bounds;
use facteur::conversation::{Shared, converse};
use facteur::delivery::{Wakers, Writer};
use facteur::handoff::{Accepted, Hint, Hints};
use facteur::limits::MEMORY_BODIES_MAX;
use facteur::login::Login;
use facteur::mail::srs::{SrsKeys, SrsSecret};
use facteur::net::listener::Service;
use facteur::net::registry::{Registry, Standing};
use facteur::net::stream::Wire;
use facteur::net::tls::{Protection, Side};
use facteur::policy::Facts;
use facteur::site::{Current, Site};
use facteur::store::body::Budget;
use facteur::store::entry::Entry;
use facteur::store::queue::Queue;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// What signs in every room (SRS).
pub const SECRET: SrsSecret = [7; 32];

/// All that sessions need, and a disk to look at.
pub struct Room {
    pub disk: MemoryDisk,
    shared: Option<Shared>,
    site: Arc<Site>,
    accepted: Receiver<Accepted>,
    /// What the scheduler would hear.
    pub hinted: Receiver<Hint>,
    delivery: Mutex<Option<JoinHandle<()>>>,
}

impl Room {
    /// On a new disk; nothing is delivered before [`Room::open`].
    pub fn closed(more: &str) -> Room {
        Room::of(&config(more), Path::new("/etc/facteur.toml"))
    }

    /// The same with this configuration, whose users file is really there.
    pub fn of(config: &str, file: &Path) -> Room {
        let config = Config::parse(config, file).unwrap();
        let (site, _) = Site::read(config).unwrap();
        let site = site.with_keys(Arc::new(SrsKeys::new(&SECRET, &[])));
        let disk = MemoryDisk::new();
        let queue = Queue::new(Arc::new(disk.clone()), Path::new("/spool"));
        queue.make().unwrap();
        let writer = Arc::new(Writer::new(Arc::new(disk.clone()), queue.clone(), "mx.test"));
        let (delivery, accepted) = bounded(64);
        let (hints, hinted) = Hints::new(64);
        let shared = Shared {
            disk: Arc::new(disk.clone()),
            writer: Some(writer),
            delivery,
            budget: Budget::new(MEMORY_BODIES_MAX),
            spill: PathBuf::from("/spill"),
            queue,
            hints,
            login: Login::start().unwrap(),
            current: None,
            bounds: Bounds::default(),
            gates: Default::default(),
        };
        Room {
            disk,
            shared: Some(shared),
            site: Arc::new(site),
            accepted,
            hinted,
            delivery: Mutex::default(),
        }
    }

    /// The same, delivering.
    pub fn new(more: &str) -> Room {
        let room = Room::closed(more);
        room.open();
        room
    }

    /// From now on sessions are bound by these.
    pub fn bind(&mut self, bounds: Bounds) {
        self.shared.as_mut().unwrap().bounds = bounds;
    }

    /// From now on sessions take the site that holds from there.
    pub fn follow(&mut self, current: &Arc<Current>) {
        self.shared.as_mut().unwrap().current = Some(current.clone());
    }

    /// From now on messages are delivered, first all that wait, as one batch.
    pub fn open(&self) {
        let (writer, accepted) = (self.shared().writer.clone(), self.accepted.clone());
        let (delivered, _) = bounded(1);
        let wakers = Wakers::new(delivered, self.shared().hints.clone());
        let thread = thread::spawn(move || writer.unwrap().run(&accepted, &wakers));
        *self.delivery.lock().unwrap() = Some(thread);
    }

    /// Waits until so many messages wait for delivery.
    pub fn wait_for(&self, messages: usize) {
        assert!(within(PATIENCE, || self.accepted.len() == messages), "{}", self.accepted.len());
    }

    /// A whole session whose client sends these pieces, then closes; gives what it was told.
    pub fn talk(&self, pieces: &[&[u8]]) -> String {
        let pieces = pieces.iter().map(|piece| piece.to_vec()).collect();
        let mut script = Script { pieces, told: Vec::new() };
        self.talk_by("127.0.0.1", Service::Smtp, &mut script);
        text(&script.told)
    }

    /// A whole session of this client with this service.
    pub fn talk_by(&self, client: &str, service: Service, wire: &mut dyn Wire) {
        let client = client.parse().unwrap();
        let registry = Arc::new(Registry::default());
        let ticket = registry.enter(None, client, Standing::Known, 1, 1).unwrap();
        let facts = Facts::new(facteur::id::session(), client, service);
        converse(self.shared(), &self.site, &facts, &ticket, wire);
    }

    /// All files, without ids and dates, in the order of their folders.
    pub fn files(&self) -> Vec<(PathBuf, String)> {
        let name = |path: PathBuf| path.parent().unwrap().to_owned();
        let all = self.disk.files().into_iter();
        let mut all: Vec<_> =
            all.map(|(path, octets)| (name(path), masked(&text(&octets)))).collect();
        all.sort();
        all
    }

    /// In how many files this subject stands; none may lie anywhere but in a `new/`.
    pub fn count(&self, subject: &str) -> usize {
        let files = self.disk.files();
        for (path, _) in &files {
            assert!(path.parent().unwrap().ends_with("new"), "left behind: {}", path.display());
        }
        let line = format!("\nSubject: {subject}\n");
        files.iter().filter(|(_, octets)| text(octets).contains(&line)).count()
    }

    /// Who has this message of [`letter`]; wherever it is, it has to be whole.
    pub fn found(&self, letter: &str) -> Found {
        let (subject, mut found) = (letter.split('\n').next().unwrap(), Found::default());
        for (path, octets) in self.disk.files() {
            let all = text(&octets);
            let dir = path.parent().unwrap().file_name().unwrap();
            let name = path.file_name().unwrap().to_string_lossy();
            match all.strip_suffix(letter) {
                _ if dir == "tmp" => found.left.push(path),
                None => assert!(!all.contains(&format!("\n{subject}\n")), "in pieces: {all}"),
                Some(top) if dir == "new" => {
                    let words: Vec<&str> = top.split_whitespace().take(5).collect();
                    let to = words[3];
                    assert_eq!(
                        words,
                        ["Return-Path:", "<a@b.test>", "Delivered-To:", to, "Received:"]
                    );
                    assert!(name.ends_with(&format!(",S={}", octets.len())), "{name}");
                    found.here.push(to.to_owned());
                }
                Some(top) if dir == "queue" => {
                    let (header, received) = top.split_once("\n\n").unwrap();
                    let entry = Entry::parse(header, header.len() as u64 + 2).unwrap();
                    assert!(received.starts_with("Received: from c ") && received.ends_with('\n'));
                    assert_eq!(entry.message_at + entry.size, octets.len() as u64, "{header}");
                    assert_eq!(
                        (&*entry.id, entry.sender.from.to_string()),
                        (&*name, "a@b.test".into())
                    );
                    found.queued.extend(entry.recipients.iter().map(|to| to.mailbox.to_string()));
                }
                Some(_) => panic!("it should not lie in {}", path.display()),
            }
        }
        found
    }

    /// Ends delivery; gives what the scheduler has heard of new messages: their ids.
    pub fn close(&mut self) -> Vec<String> {
        self.end();
        let new = self.hinted.try_iter().map(|hint| match hint {
            Hint::New(entry) => entry.id,
            other => panic!("{other:?}"),
        });
        let mut ids: Vec<String> = new.collect();
        ids.sort();
        ids
    }

    /// The ids of the messages that lie in the queue.
    pub fn queue(&self) -> Vec<String> {
        let files = self.disk.files().into_iter().map(|(path, _)| path);
        let queued = files.filter(|path| path.parent().unwrap().ends_with("queue"));
        queued.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    fn end(&mut self) {
        self.shared = None; // its sender with it, so that the delivery thread ends
        if let Some(thread) = self.delivery.lock().unwrap().take() {
            let _ = thread.join();
        }
    }

    fn shared(&self) -> &Shared {
        self.shared.as_ref().unwrap()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.end();
    }
}

/// A connection whose client's octets are known from the start.
struct Script {
    pieces: VecDeque<Vec<u8>>,
    told: Vec<u8>,
}

impl Wire for Script {
    fn read(&mut self, buffer: &mut [u8], _deadline: Instant) -> io::Result<usize> {
        while let Some(mut piece) = self.pieces.pop_front() {
            let length = piece.len().min(buffer.len());
            buffer[..length].copy_from_slice(&piece[..length]);
            let rest = piece.split_off(length);
            if !rest.is_empty() {
                self.pieces.push_front(rest);
            }
            if length > 0 {
                return Ok(length);
            }
        }
        Ok(0)
    }

    fn write_all(&mut self, octets: &[u8], _deadline: Instant) -> io::Result<()> {
        self.told.extend_from_slice(octets);
        Ok(())
    }

    fn poll_input(&mut self) -> bool {
        false
    }

    fn secure(&mut self, _: Side<'_>, _: Instant) -> io::Result<Protection> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn finish(&mut self) {
        self.pieces.clear();
    }
}

/// Who has a message, in no order, each as often as they have it.
#[derive(Debug, Default)]
pub struct Found {
    /// In the `new/` of their Maildirs.
    pub here: Vec<String>,
    pub queued: Vec<String>,
    /// Files of any message in a `tmp/`.
    pub left: Vec<PathBuf>,
}

impl Found {
    /// All who have it, in order.
    pub fn all(&self) -> Vec<String> {
        let mut all = [&self.here[..], &self.queued].concat();
        all.sort();
        all
    }
}

/// A session of one message, of about so many octets, to these users of mx.test, or to whole addresses.
pub fn session(users: &[String], subject: &str, size: usize) -> Vec<u8> {
    let mut session = "EHLO c\r\nMAIL FROM:<a@b.test>\r\n".to_owned();
    for user in users {
        let domain = if user.contains('@') { "" } else { "@mx.test" };
        session.push_str(&format!("RCPT TO:<{user}{domain}>\r\n"));
    }
    let letter = letter(subject, size).replace('\n', "\r\n");
    session.push_str(&format!("DATA\r\n{letter}.\r\n"));
    session.into_bytes()
}

/// The message of such a session, as it lies on a disk below what we put on top.
pub fn letter(subject: &str, size: usize) -> String {
    format!("Subject: {subject}\n\n{}", "0123456789abcdef\n".repeat(size / 18))
}

/// The last reply of a session.
pub fn answer(told: &str) -> &str {
    told.lines().last().unwrap_or_default()
}

/// Replies, or a delivered message, with `ID` for every id of a message or session and `DATE` for
/// the date of our Received field.
pub fn masked(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let end = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).len();
        masked.push_str(if is_id(&word[..end]) { "ID" } else { &word[..end] });
        masked.push_str(&word[end..]);
    }
    if let Some(start) = masked.find("\nReceived: ")
        && let Some(semicolon) = masked[start..].find(";\n\t")
    {
        let date = start + semicolon + 3;
        let end = masked[date..].find('\n').map_or(masked.len(), |length| date + length);
        masked.replace_range(date..end, "DATE");
    }
    masked
}

/// Of a message (`m`) or a session (`s`): 14 letters and digits, the first of the time a digit.
fn is_id(word: &str) -> bool {
    let octets = word.as_bytes();
    octets.len() == 14 && matches!(octets[0], b'm' | b's') && octets[1].is_ascii_digit()
}
