//! One message, tried: the server's own session hears it and the server's own delivery takes it, on a disk
//! that only says whether it could ([`Rehearsal`]). So what `facteur route` says at last is what a client
//! would hear and what would lie where.
//!
//! Connects to nobody and leaves nothing behind. What other sessions have used up in this hour is not
//! known here.

use crate::conversation::bounds::Bounds;
use crate::conversation::{Shared, converse};
use crate::delivery::{Wakers, Writer};
use crate::handoff::{Hint, Hints};
use crate::limits::MEMORY_BODIES_MAX;
use crate::login::Login;
use crate::mail::address::{ForwardPath, ReversePath};
use crate::net::listener::Service;
use crate::net::registry::{Registry, Standing};
use crate::net::stream::Wire;
use crate::net::tls::{Protection, Side};
use crate::policy::Facts;
use crate::site::Site;
use crate::store::body::Budget;
use crate::store::disk::{Disk, Doing, StoreError};
use crate::store::entry::{Addressee, Entry};
use crate::store::queue::Queue;
use crate::tools::rehearsal::Rehearsal;
use crossbeam_channel::{Receiver, bounded};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

/// Who writes to whom.
#[derive(Clone, Debug)]
pub struct TrialMessage {
    pub client: IpAddr,
    pub from: ReversePath,
    pub to: ForwardPath,
}

/// What came of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrialOutcome {
    Refused(TrialRefusal),
    Taken(TrialCopies),
}

/// The reply that says no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialRefusal {
    /// The command it answers: MAIL, RCPT, DATA, or `.` for the message itself.
    pub command: &'static str,
    pub code: u16,
    /// Enhanced status code, then words for a person.
    pub text: String,
}

/// What lies where after 250.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrialCopies {
    /// Maildirs that have a copy in `new/`, in order.
    pub copies: Vec<PathBuf>,
    /// Those whose mail waits in a queue file, as they are elsewhere, or their copy is late.
    pub queued: Vec<Addressee>,
}

/// A session to talk to; its thread and channels end with it.
pub struct TrialSession {
    shared: Shared,
    registry: Arc<Registry>,
    /// Where a scheduler would listen.
    _heard: Receiver<Hint>,
}

/// The session's id, which ends each refusal.
const SESSION: &str = "route";

impl TrialMessage {
    /// How this ends on the disk of this machine, which stays as it is. An error: the system grants no
    /// thread.
    pub fn rehearse(&self, site: &Arc<Site>) -> io::Result<TrialOutcome> {
        let rehearsal = Rehearsal::new();
        let stage = TrialSession::on(Arc::new(rehearsal.clone()), &site.config.spool)?;
        let refusal = stage.play(self, site);
        Ok(outcome(refusal, rehearsal.files(), &site.config.spool))
    }
}

impl TrialSession {
    /// On this disk. Its delivery thread ends with the last message to it.
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
        };
        Ok(TrialSession { shared, registry: Arc::default(), _heard: heard })
    }

    /// Says all that a client has to say; gives the first reply that is no.
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

/// What was said, and what it left behind.
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

/// Why no copy can be put into a Maildir; none: it can.
pub fn obstacle(maildir: &Path) -> Option<StoreError> {
    let disk: Arc<dyn Disk> = Arc::new(Rehearsal::new());
    // No queue is asked for one copy.
    let writer = Writer::new(disk.clone(), Queue::new(disk, Path::new("/")), "rehearsal");
    writer
        .deliver_one(maildir, COPY_LEAST, |file, path| {
            file.append(&[b'x'; COPY_LEAST as usize]).doing("write", path)
        })
        .err()
        .map(without_name)
}

/// Why no message can be put into the queue; none: it can.
pub fn queue_obstacle(spool: &Path) -> Option<StoreError> {
    let queue = Queue::new(Arc::new(Rehearsal::new()), spool);
    let put = queue.draft(SESSION).and_then(|(draft, _)| draft.publish());
    put.err().map(without_name)
}

/// The name of a file that never was says nothing; its directory does.
fn without_name(error: StoreError) -> StoreError {
    let step = match error.step {
        "create" => "create a file in",
        "publish" => "publish a file in",
        _ => return error,
    };
    let path = error.path.parent().map(Path::to_owned).unwrap_or_default();
    StoreError { step, path, ..error }
}

/// What a message needs at least, in octets: a full disk has no room for it.
const COPY_LEAST: u64 = 4096;

/// The client: a command, its reply, and so on; QUIT after the first that is no.
struct Script {
    /// What is still to be said, the next one last: its name, its octets, and how a yes begins.
    lines: Vec<(&'static str, String, &'static str)>,
    /// What was said last.
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
        // Asked for where it is needed: whoever has such an address knows how.
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

    /// Judges the reply to what was said last.
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
        // A line is shorter than what a session reads at once; what a client may not say is cut.
        let length = octets.len().min(buffer.len());
        buffer[..length].copy_from_slice(&octets.as_bytes()[..length]);
        Ok(length)
    }

    fn write_all(&mut self, octets: &[u8], _: Instant) -> io::Result<()> {
        self.heard.push_str(&String::from_utf8_lossy(octets));
        Ok(())
    }

    fn is_early(&mut self) -> bool {
        false
    }

    fn secure(&mut self, _: Side<'_>, _: Instant) -> io::Result<Protection> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn finish(&mut self) {}
}
