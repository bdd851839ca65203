//! A message as the server's own session and delivery take it, on a real disk.

use super::super::trial::{SESSION, TrialCopies, TrialMessage, TrialOutcome, TrialRefusal};
use crate::conversation::bounds::Bounds;
use crate::conversation::{Shared, converse};
use crate::delivery::{Wakers, Writer};
use crate::handoff::{Hint, Hints};
use crate::limits::MEMORY_BODIES_MAX;
use crate::login::Login;
use crate::mail::address::ReversePath;
use crate::net::listener::Service;
use crate::net::registry::{Registry, Standing};
use crate::net::stream::Wire;
use crate::net::tls::{Protection, Side};
use crate::policy::Facts;
use crate::site::Site;
use crate::store::body::Budget;
use crate::store::disk::Disk;
use crate::store::entry::Entry;
use crate::store::queue::Queue;
use crossbeam_channel::{Receiver, bounded};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

/// A session to try with; dropping it ends its thread.
pub struct TrialSession {
    shared: Shared,
    registry: Arc<Registry>,
    /// Keeps the channel of hints open.
    _heard: Receiver<Hint>,
}

impl TrialSession {
    /// A session on this disk. Its delivery thread ends when the session is dropped.
    pub fn on(disk: Arc<dyn Disk>, spool: &Path) -> io::Result<TrialSession> {
        let queue = Queue::new(disk.clone(), spool);
        let writer = Arc::new(Writer::new(disk.clone(), queue.clone(), "rehearsal"));
        let ((delivery, accepted), (hints, heard)) = (bounded(1), Hints::new(1));
        let (worker, delivered) = (writer.clone(), bounded(1).0);
        let wakers = Wakers::new(delivered, hints.clone());
        let thread = thread::Builder::new().name("rehearsal".to_owned());
        thread.spawn(move || worker.run(&accepted, &wakers))?;
        let shared = Shared {
            disk,
            writer: Some(writer),
            delivery,
            budget: Budget::new(MEMORY_BODIES_MAX),
            spill: spool.join("spill"),
            queue,
            hints,
            login: Login::start()?,
            current: None,
            bounds: Bounds::default(),
            gates: Default::default(),
        };
        Ok(TrialSession { shared, registry: Arc::default(), _heard: heard })
    }

    /// Plays the client's side; returns the first reply that refuses.
    pub fn play(&self, letter: &TrialMessage, site: &Arc<Site>) -> Option<TrialRefusal> {
        let TrialMessage { client, .. } = *letter;
        let Ok(ticket) = self.registry.enter(None, client, Standing::Known, 1, 1) else {
            return Some(TrialRefusal {
                command: "",
                code: 421,
                text: "4.3.2 too many".to_owned(),
            });
        };
        let (id, service) = (SESSION.to_owned(), Service::Smtp);
        let facts = Facts::new(id, client, service);
        let mut script = Script::new(letter, site);
        converse(&self.shared, site, &facts, &ticket, &mut script);
        script.refusal
    }
}

/// The outcome by the refusal, or by the files that were made.
pub fn outcome(
    refusal: Option<TrialRefusal>,
    files: Vec<(PathBuf, Vec<u8>)>,
    spool: &Path,
) -> TrialOutcome {
    if let Some(refusal) = refusal {
        return TrialOutcome::Refused(refusal);
    }
    let mut taken = TrialCopies::default();
    let queue = spool.join("queue");
    for (path, octets) in files {
        let (dir, text) = (path.parent(), String::from_utf8_lossy(&octets));
        match dir {
            Some(dir) if dir == queue => {
                let header = text.split_once("\n\n").map(|(header, _)| header);
                let entry = header.and_then(|header| Entry::parse(header, 0).ok());
                taken.queued.extend(entry.into_iter().flat_map(|entry| entry.recipients));
            }
            Some(dir) if dir.ends_with("new") => {
                taken.copies.extend(dir.parent().map(Path::to_owned));
            }
            _ => {}
        }
    }
    taken.copies.sort();
    TrialOutcome::Taken(taken)
}

/// The client's side: command after command; QUIT after the first refusal.
struct Script {
    /// Commands that are left, the next one last: name, octets, and the beginning of a good reply.
    lines: Vec<(&'static str, String, &'static str)>,
    /// The last command, and the beginning of a good reply.
    said: Option<(&'static str, &'static str)>,
    heard: String,
    refusal: Option<TrialRefusal>,
}

impl Script {
    fn new(letter: &TrialMessage, site: &Site) -> Script {
        let TrialMessage { from, to, .. } = letter;
        let from = match from {
            ReversePath::Null => String::new(),
            ReversePath::Mailbox(mailbox) => mailbox.to_string(),
        };
        // Given where an address needs it, as a client with that address would.
        let utf8 = if format!("{from}{to}").is_ascii() { "" } else { " SMTPUTF8" };
        let lines = [
            ("EHLO", format!("EHLO {}\r\n", site.config.hostname), "250"),
            ("MAIL", format!("MAIL FROM:<{from}>{utf8}\r\n"), "250"),
            ("RCPT", format!("RCPT TO:<{to}>\r\n"), "250"),
            ("DATA", "DATA\r\n".to_owned(), "354"),
            (".", "Subject: rehearsal\r\n\r\n.\r\n".to_owned(), "250"),
        ];
        let lines = lines.into_iter().rev().collect();
        Script { lines, said: None, heard: String::new(), refusal: None }
    }

    /// Looks at the reply to the last command.
    fn hear(&mut self) {
        let heard = std::mem::take(&mut self.heard);
        let Some((command, yes)) = self.said.take() else { return }; // the greeting
        if heard.starts_with(yes) {
            return;
        }
        let last = heard.lines().last().unwrap_or_default();
        let (code, text) = last.split_at_checked(4).unwrap_or_default();
        let code = code.trim_end().parse().unwrap_or(0);
        let text = text.strip_suffix(&format!(" [{SESSION}]")).unwrap_or(text).to_owned();
        self.refusal = Some(TrialRefusal { command, code, text });
        self.lines.clear();
    }
}

impl Wire for Script {
    fn read(&mut self, buffer: &mut [u8], _: Instant) -> io::Result<usize> {
        self.hear();
        let line = self.lines.pop();
        let (name, octets, yes) = line.unwrap_or(("QUIT", "QUIT\r\n".to_owned(), "221"));
        self.said = Some((name, yes));
        // A line is shorter than what a session reads at once; a longer one is cut.
        let length = octets.len().min(buffer.len());
        buffer[..length].copy_from_slice(&octets.as_bytes()[..length]);
        Ok(length)
    }

    fn write_all(&mut self, octets: &[u8], _: Instant) -> io::Result<()> {
        self.heard.push_str(&String::from_utf8_lossy(octets));
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
