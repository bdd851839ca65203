//! Sessions without sockets on a disk without a machine: a script in, replies and files out.
//!
//! The delivery thread of a [`Room`] begins when [`Room::open`] says so, so that a test can gather
//! several messages into one batch.

use crate::support::{PATIENCE, config, text, within};
use crossbeam_channel::{Receiver, bounded};
use facteur::config::Config;
use facteur::conversation::{House, converse};
use facteur::delivery::Post;
use facteur::handoff::Accepted;
use facteur::limits::MEMORY_BODIES_MAX;
use facteur::net::registry::Registry;
use facteur::net::stream::Wire;
use facteur::policy::Visitor;
use facteur::site::Site;
use facteur::store::body::Budget;
use facteur::store::memory::MemoryDisk;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// All that sessions need, and a disk to look at.
pub struct Room {
    pub disk: MemoryDisk,
    house: Option<House>,
    site: Arc<Site>,
    accepted: Receiver<Accepted>,
    delivery: Mutex<Option<JoinHandle<()>>>,
}

impl Room {
    /// On a new disk; nothing is delivered before [`Room::open`].
    pub fn closed(more: &str) -> Room {
        let config = Config::parse(&config(more), Path::new("/etc/facteur.toml")).unwrap();
        let (site, _) = Site::read(config).unwrap();
        let disk = MemoryDisk::new();
        let post = Arc::new(Post::new(Arc::new(disk.clone()), "mx.test"));
        let (delivery, accepted) = bounded(64);
        let house = House {
            disk: Arc::new(disk.clone()),
            post,
            delivery,
            budget: Budget::new(MEMORY_BODIES_MAX),
            spill: PathBuf::from("/spill"),
        };
        Room {
            disk,
            house: Some(house),
            site: Arc::new(site),
            accepted,
            delivery: Mutex::default(),
        }
    }

    /// The same, delivering.
    pub fn new(more: &str) -> Room {
        let room = Room::closed(more);
        room.open();
        room
    }

    /// From now on messages are delivered, first all that wait, as one batch.
    pub fn open(&self) {
        let (post, accepted) = (self.house().post.clone(), self.accepted.clone());
        let (delivered, _) = bounded(1);
        let thread = thread::spawn(move || post.run(&accepted, &delivered));
        *self.delivery.lock().unwrap() = Some(thread);
    }

    /// Waits until so many messages wait for delivery.
    pub fn wait_for(&self, messages: usize) {
        assert!(within(PATIENCE, || self.accepted.len() == messages), "{}", self.accepted.len());
    }

    /// A whole session whose client sends these pieces, then closes; gives what it was told.
    pub fn talk(&self, pieces: &[&[u8]]) -> String {
        let client = "127.0.0.1".parse().unwrap();
        let registry = Arc::new(Registry::default());
        let ticket = registry.enter(None, client, 1, 1).unwrap();
        let visitor = Visitor { id: facteur::id::session(), client };
        let pieces = pieces.iter().map(|piece| piece.to_vec()).collect();
        let mut script = Script { pieces, told: Vec::new() };
        converse(self.house(), &self.site, &visitor, &ticket, &mut script);
        text(&script.told)
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

    fn house(&self) -> &House {
        self.house.as_ref().unwrap()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.house = None; // its sender with it, so that the delivery thread ends
        if let Some(thread) = self.delivery.lock().unwrap().take() {
            let _ = thread.join();
        }
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

    fn is_early(&mut self) -> bool {
        false
    }

    fn finish(&mut self) {
        self.pieces.clear();
    }
}

/// A session of one message, of about so many octets, to these users of mx.test.
pub fn session(users: &[String], subject: &str, size: usize) -> Vec<u8> {
    let mut session = "EHLO c\r\nMAIL FROM:<a@b.test>\r\n".to_owned();
    users.iter().for_each(|user| session.push_str(&format!("RCPT TO:<{user}@mx.test>\r\n")));
    let body = "0123456789abcdef\r\n".repeat(size / 18);
    session.push_str(&format!("DATA\r\nSubject: {subject}\r\n\r\n{body}.\r\n"));
    session.into_bytes()
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
