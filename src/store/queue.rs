//! The queue: one file a message under `spool/queue/`, named by its id.
//!
//! A version line, a text header with the envelope and the size of the message, an empty line, the
//! message with LF line ends, then a journal: one line an attempt and recipient. `head` and `tail`
//! are the debugger. Nothing is ever rewritten: what becomes of a recipient is appended, and a
//! message leaves by unlink when its last recipient is done. What is due is computed, never stored.
//!
//! Who attempts or changes a queue file holds its claim ([`Queue::claim`]); commands beside the
//! server work under the same claims, through these same functions.

use super::disk::{Disk, DiskFile, Doing, StoreError};
use super::entry::{Entry, Line, Progress};
use crate::limits::{QUEUE_HEADER_MAX, QUEUE_JOURNAL_MAX};
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The queue of one spool.
#[derive(Clone)]
pub struct Queue {
    disk: Arc<dyn Disk>,
    spool: PathBuf,
    /// A message was removed, and its directory not yet synced.
    removed: Arc<AtomicBool>,
}

/// A message of the queue as it lies there.
pub struct Waiting {
    pub entry: Entry,
    /// What became of each recipient so far, in the order of the envelope.
    pub progress: Vec<Progress>,
    /// All journal lines, oldest first.
    pub journal: Vec<Line>,
}

/// A message that nobody else works on while this lives.
pub struct Claimed {
    queue: Queue,
    pub message: Waiting,
    file: Box<dyn DiskFile>,
    /// The last journal line was torn by a crash; the next append spoils and ends it first.
    torn: bool,
}

/// Why a queue file cannot be had.
#[derive(Debug)]
pub enum QueueError {
    /// It is not there (any more).
    Gone,
    /// Somebody else works on it.
    Busy,
    /// It is no whole queue file: what is wrong with it.
    Damaged(String),
    Disk(StoreError),
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QueueError::Gone => f.write_str("no such message in the queue"),
            QueueError::Busy => f.write_str("it is being sent at this moment"),
            QueueError::Damaged(what) => write!(f, "damaged queue file: {what}"),
            QueueError::Disk(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for QueueError {}

impl Queue {
    /// Changes nothing; [`Queue::make`] does.
    pub fn new(disk: Arc<dyn Disk>, spool: &Path) -> Queue {
        Queue { disk, spool: spool.to_owned(), removed: Arc::default() }
    }

    /// Makes the directories of the queue where they are missing.
    pub fn make(&self) -> Result<(), StoreError> {
        for dir in [self.dir(), self.tmp(), self.damaged()] {
            super::maildir::make_with_parents(&*self.disk, &dir)?;
        }
        self.disk.sync_dir(&self.spool).doing("sync", &self.spool)
    }

    /// Where the messages lie.
    pub fn dir(&self) -> PathBuf {
        self.spool.join("queue")
    }

    /// Where they are written before they are whole.
    pub fn tmp(&self) -> PathBuf {
        self.spool.join("tmp")
    }

    fn damaged(&self) -> PathBuf {
        self.spool.join("damaged")
    }

    fn path(&self, id: &str) -> PathBuf {
        self.dir().join(id)
    }

    /// The ids of all messages, oldest first; none where there is no queue.
    pub fn list(&self) -> Result<Vec<String>, StoreError> {
        let dir = self.dir();
        let names = match self.disk.list(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            listed => listed.doing("list", &dir)?,
        };
        let names = names.into_iter().filter_map(|name| name.into_string().ok());
        let mut ids: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
        ids.sort();
        Ok(ids)
    }

    /// Reads a message without claiming it; it may change meanwhile.
    pub fn read(&self, id: &str) -> Result<Waiting, QueueError> {
        let path = self.checked_path(id)?;
        let file = self.disk.open(&path).map_err(|error| gone_or(error, "open", &path))?;
        parse(&*file, id, &path).map(|(message, _)| message)
    }

    /// Opens the octets of a message, to be read from `entry.message_at` on.
    pub fn open(&self, id: &str) -> Result<Box<dyn DiskFile>, QueueError> {
        let path = self.checked_path(id)?;
        self.disk.open(&path).map_err(|error| gone_or(error, "open", &path))
    }

    /// Claims a message, then reads it.
    pub fn claim(&self, id: &str) -> Result<Claimed, QueueError> {
        let path = self.checked_path(id)?;
        let claimed = self.disk.claim(&path).map_err(|error| gone_or(error, "claim", &path))?;
        let file = claimed.ok_or(QueueError::Busy)?;
        let (message, torn) = parse(&*file, id, &path)?;
        Ok(Claimed { queue: self.clone(), message, file, torn })
    }

    /// Puts a file that is no whole queue file aside, under its name.
    pub fn put_aside(&self, id: &str) -> Result<PathBuf, StoreError> {
        let to = self.damaged().join(id);
        let from = self.path(id);
        match self.disk.link(&from, &to) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            linked => linked.doing("put aside", &from)?,
        }
        self.disk.sync_dir(&self.damaged()).doing("sync", &self.damaged())?;
        self.disk.remove(&from).doing("remove", &from)?;
        Ok(to)
    }

    /// Makes removals durable, if there were any; until then a power cut may bring them back.
    pub fn sync_removals(&self) -> Result<(), StoreError> {
        match self.removed.swap(false, Ordering::AcqRel) {
            true => self.disk.sync_dir(&self.dir()).doing("sync", &self.dir()),
            false => Ok(()),
        }
    }

    /// Removes what a crash left in `tmp/`; only the one server of this spool may.
    pub fn clean_tmp(&self) -> Result<(), StoreError> {
        let tmp = self.tmp();
        for name in self.disk.list(&tmp).doing("list", &tmp)? {
            let path = tmp.join(name);
            self.disk.remove(&path).doing("remove", &path)?;
        }
        Ok(())
    }

    /// An id comes from a person or a datagram too, and is one name in one directory.
    fn checked_path(&self, id: &str) -> Result<PathBuf, QueueError> {
        match !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric()) {
            true => Ok(self.path(id)),
            false => Err(QueueError::Gone),
        }
    }
}

impl Claimed {
    /// Appends journal lines and makes them durable. After an error nobody may take them for
    /// written; the message keeps the state it had.
    pub fn record(&mut self, lines: Vec<Line>) -> Result<(), StoreError> {
        let path = self.queue.path(&self.message.entry.id);
        let mut text = String::new();
        if self.torn {
            // Not only its end: a line that was torn just before it would count from now on.
            text.push_str(" (torn)\n");
        }
        for line in &lines {
            text.push_str(&line.to_string());
            text.push('\n');
        }
        // Until it is known to be whole, it is taken for torn.
        self.torn = true;
        self.file.append(text.as_bytes()).doing("write", &path)?;
        self.file.sync().doing("sync", &path)?;
        self.torn = false;
        for line in lines {
            apply(&mut self.message.progress, &line);
            self.message.journal.push(line);
        }
        Ok(())
    }

    /// The message leaves the queue; durable after [`Queue::sync_removals`].
    pub fn remove(self) -> Result<(), StoreError> {
        let path = self.queue.path(&self.message.entry.id);
        self.queue.disk.remove(&path).doing("remove", &path)?;
        self.queue.removed.store(true, Ordering::Release);
        Ok(())
    }

    /// The file, for the octets of its message.
    pub fn file(&self) -> &dyn DiskFile {
        &*self.file
    }
}

impl Waiting {
    /// Recipients of whom nothing is decided yet, by their place in the envelope.
    pub fn open(&self) -> impl Iterator<Item = usize> {
        let progress = self.progress.iter().enumerate();
        progress.filter(|(_, p)| !p.is_done()).map(|(index, _)| index)
    }
}

fn gone_or(error: io::Error, step: &'static str, path: &Path) -> QueueError {
    match error.kind() {
        ErrorKind::NotFound => QueueError::Gone,
        _ => QueueError::Disk(StoreError { step, path: path.to_owned(), source: error }),
    }
}

/// Reads header and journal; gives whether the last journal line is torn.
fn parse(file: &dyn DiskFile, id: &str, path: &Path) -> Result<(Waiting, bool), QueueError> {
    let disk =
        |error| QueueError::Disk(StoreError { step: "read", path: path.to_owned(), source: error });
    let header = read_some(file, 0, QUEUE_HEADER_MAX).map_err(disk)?;
    let end = memchr::memmem::find(&header, b"\n\n");
    let end = end.ok_or_else(|| QueueError::Damaged("its header has no end".to_owned()))?;
    let text = str::from_utf8(&header[..end + 1])
        .map_err(|_| QueueError::Damaged("its header is not UTF-8".to_owned()))?;
    let entry = Entry::parse(text, end as u64 + 2).map_err(QueueError::Damaged)?;
    if entry.id != id {
        return Err(QueueError::Damaged(format!("its header says that it is {}", entry.id)));
    }
    let size = file.size().map_err(disk)?;
    let journal_at = entry.message_at + entry.size;
    if size < journal_at {
        return Err(QueueError::Damaged(format!("{} octets are missing", journal_at - size)));
    }
    let journal = read_some(file, journal_at, QUEUE_JOURNAL_MAX).map_err(disk)?;
    let torn = journal.last().is_some_and(|b| *b != b'\n');
    let mut progress = vec![Progress::default(); entry.recipients.len()];
    let mut lines = Vec::new();
    for line in journal.split_inclusive(|&b| b == b'\n') {
        // A line counts when it is whole and says something; a torn one never happened.
        let Some(line) = line.strip_suffix(b"\n").and_then(|line| str::from_utf8(line).ok()) else {
            continue;
        };
        if let Some(line) = Line::parse(line).filter(|line| line.recipient < progress.len()) {
            apply(&mut progress, &line);
            lines.push(line);
        }
    }
    Ok((Waiting { entry, progress, journal: lines }, torn))
}

fn apply(progress: &mut [Progress], line: &Line) {
    if let Some(progress) = progress.get_mut(line.recipient) {
        progress.apply(line);
    }
}

/// At most `most` octets from a place on.
fn read_some(file: &dyn DiskFile, at: u64, most: usize) -> io::Result<Vec<u8>> {
    let size = file.size()?.saturating_sub(at).min(most as u64) as usize;
    let mut octets = vec![0; size];
    let mut done = 0;
    while done < size {
        match file.read_at(&mut octets[done..], at + done as u64)? {
            0 => break,
            read => done += read,
        }
    }
    octets.truncate(done);
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::address::{Mailbox, ReversePath};
    use crate::mail::envelope::{BodyType, Sender};
    use crate::store::entry::{Addressee, What};
    use crate::store::memory::MemoryDisk;
    use std::time::SystemTime;

    const MESSAGE: &str = "Subject: x\n\nbody\n";

    /// A queue with one message for two recipients, and what its file holds.
    fn queue() -> (MemoryDisk, Queue, String) {
        let disk = MemoryDisk::new();
        let queue = Queue::new(Arc::new(disk.clone()), Path::new("/spool"));
        queue.make().unwrap();
        let (size, body, smtputf8, ret, envid) = (None, BodyType::SevenBit, false, None, None);
        let sender = Sender { from: ReversePath::Null, size, body, smtputf8, ret, envid };
        let to = |text| Addressee {
            mailbox: Mailbox::parse(text).unwrap(),
            notify: None,
            orcpt: None,
            via: None,
        };
        let entry = Entry {
            id: "m1".to_owned(),
            queued: "2026-11-23T14:00:00Z".parse().unwrap(),
            session: String::new(),
            sender,
            recipients: vec![to("ann@far.test"), to("bob@far.test")],
            size: MESSAGE.len() as u64,
            message_at: 0,
        };
        let text = entry.header() + MESSAGE;
        disk.put(Path::new("/spool/queue/m1"), text.as_bytes(), SystemTime::now());
        (disk, queue, text)
    }

    fn line(recipient: usize, what: What) -> Line {
        let when = "2026-11-23T14:00:01Z".parse().unwrap();
        Line {
            when,
            recipient,
            what,
            host: "mx.far.test".to_owned(),
            words: "451 later".to_owned(),
        }
    }

    fn rewrite(disk: &MemoryDisk, text: &str) {
        disk.put(Path::new("/spool/queue/m1"), text.as_bytes(), SystemTime::now());
    }

    #[test]
    fn what_is_recorded_is_read_again() {
        let (_, queue, _) = queue();
        assert_eq!(queue.list().unwrap(), ["m1"]);
        let mut claimed = queue.claim("m1").unwrap();
        assert!(matches!(queue.claim("m1"), Err(QueueError::Busy)));
        claimed.record(vec![line(0, What::Relayed), line(1, What::Deferred)]).unwrap();
        claimed.record(vec![line(1, What::Deferred)]).unwrap();
        assert_eq!(claimed.message.open().collect::<Vec<_>>(), [1]);
        drop(claimed);
        let read = queue.read("m1").unwrap();
        assert_eq!((read.open().collect::<Vec<_>>(), read.progress[1].attempts), (vec![1], 2));
        let at = read.entry.message_at;
        let mut octets = vec![0; MESSAGE.len()];
        queue.open("m1").unwrap().read_at(&mut octets, at).unwrap();
        assert_eq!(octets, MESSAGE.as_bytes());
        queue.claim("m1").unwrap().remove().unwrap();
        assert!(matches!(queue.read("m1"), Err(QueueError::Gone)));
        queue.sync_removals().unwrap();
    }

    #[test]
    fn a_torn_line_never_happened_and_spoils_no_other() {
        let (disk, queue, text) = queue();
        let whole = format!("{}\n", line(0, What::Relayed));
        for cut in 0..whole.len() {
            rewrite(&disk, &format!("{text}{}", &whole[..cut]));
            assert_eq!(queue.read("m1").unwrap().open().count(), 2, "cut at {cut}");
            queue.claim("m1").unwrap().record(vec![line(1, What::Failed)]).unwrap();
            assert_eq!(queue.read("m1").unwrap().open().collect::<Vec<_>>(), [0], "cut at {cut}");
        }
    }

    #[test]
    fn a_line_that_was_not_synced_is_not_taken_for_written() {
        let (disk, queue, _) = queue();
        let mut claimed = queue.claim("m1").unwrap();
        disk.set_fault(|o| (o.name == "sync").then(|| io::Error::other("EIO")));
        assert!(claimed.record(vec![line(0, What::Relayed)]).is_err());
        assert_eq!(claimed.message.open().count(), 2);
    }

    #[test]
    fn a_file_that_is_no_whole_queue_file_is_put_aside() {
        let (disk, queue, text) = queue();
        for cut in 0..text.len() {
            rewrite(&disk, &text[..cut]);
            assert!(matches!(queue.read("m1"), Err(QueueError::Damaged(_))), "cut at {cut}");
        }
        rewrite(&disk, &text.replace("id: m1", "id: m2"));
        assert!(matches!(queue.claim("m1"), Err(QueueError::Damaged(_))));
        assert_eq!(queue.put_aside("m1").unwrap(), Path::new("/spool/damaged/m1"));
        assert!(queue.list().unwrap().is_empty());
        for id in ["", "..", "../queue/m1", "a/b"] {
            assert!(matches!(queue.read(id), Err(QueueError::Gone)), "{id}");
        }
    }
}
