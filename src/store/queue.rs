//! The queue: one file a message under `spool/queue/`, named by its id.
//!
//! A version line, a text header with the envelope and the size of the message, an empty line, the
//! message with LF line ends, then a journal: one line an attempt and recipient. `head` and `tail`
//! are the debugger. Nothing is ever rewritten: what becomes of a recipient is appended, and a
//! message leaves by unlink when its last recipient is done. What is due is computed, never stored.
//!
//! Who attempts or changes a queue file holds its claim ([`Queue::claim`]); commands beside the
//! server work under the same claims, through these same functions. A claim may be shared by several
//! threads that attempt different recipients: each appends lines of its own, and whoever settles the
//! last recipient removes the file.

#[cfg(test)]
mod tests;

use super::disk::{Disk, DiskFile, Doing, StoreError};
use super::draft::Draft;
use super::entry::{Entry, Line, Progress};
use crate::limits::{QUEUE_HEADER_MAX, QUEUE_JOURNAL_MAX, QUEUE_TMP_AGE};
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::SystemTime;

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

/// A message that no other process works on while this lives.
pub struct Claimed {
    queue: Queue,
    /// As it was when it was claimed.
    pub message: Waiting,
    file: Box<dyn DiskFile>,
    /// The last journal line was torn, by a crash or a full disk; the next append spoils and ends it
    /// first.
    torn: AtomicBool,
    /// Threads that append at this moment.
    writers: AtomicUsize,
    /// Recipients of whom nothing is decided yet.
    open: AtomicUsize,
}

/// The lock of one server on its spool, held while this lives.
pub struct SpoolLock(#[allow(dead_code, reason = "held, never read")] Box<dyn DiskFile>);

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
        make(&*self.disk, &self.spool)
    }

    /// The one server of this spool; none when another holds it. Commands need no lock.
    pub fn lock(&self) -> Result<Option<SpoolLock>, StoreError> {
        let path = self.spool.join("lock");
        match self.disk.create(&path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(error).doing("create", &path);
            }
            _ => {}
        }
        Ok(self.disk.claim(&path).doing("lock", &path)?.map(SpoolLock))
    }

    /// Makes a file for a message, to be published in the queue under its id.
    pub fn draft(&self, id: &str) -> Result<(Draft, Box<dyn DiskFile>), StoreError> {
        Draft::create(&self.disk, &self.spool, make, "queue", || id.to_owned())
    }

    /// Puts a whole message into the queue, durably; `write` appends its octets behind the header.
    pub fn insert(
        &self,
        entry: &Entry,
        write: impl FnOnce(&dyn DiskFile) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        let (draft, file) = self.draft(&entry.id)?;
        let path = draft.path();
        file.append(entry.header().as_bytes()).doing("write", &path)?;
        write(&*file).doing("write", &path)?;
        file.sync().doing("sync", &path)?;
        let published = draft.publish()?;
        self.disk.sync_dir(&published.dir).doing("sync", &published.dir).inspect_err(|_| {
            // A name that a power cut could take was promised to nobody.
            let _ = self.disk.remove(&published.path);
        })
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
        Ok(Claimed {
            queue: self.clone(),
            open: AtomicUsize::new(message.open().count()),
            message,
            file,
            torn: AtomicBool::new(torn),
            writers: AtomicUsize::new(0),
        })
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

    /// Removes what crashes left in `tmp/`: a draft is written in moments, whoever writes it.
    pub fn clean_tmp(&self, now: SystemTime) -> Result<(), StoreError> {
        let tmp = self.tmp();
        for name in self.disk.list(&tmp).doing("list", &tmp)? {
            let path = tmp.join(name);
            let Ok(found) = self.disk.stat(&path) else { continue };
            let age = now.duration_since(found.modified).unwrap_or_default();
            if found.is_file && age >= QUEUE_TMP_AGE {
                self.disk.remove(&path).doing("remove", &path)?;
            }
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
    /// written.
    pub fn record(&self, lines: &[Line]) -> Result<(), StoreError> {
        let path = self.path();
        self.note(lines)?;
        self.file
            .sync()
            .doing("sync", &path)
            .inspect_err(|_| self.torn.store(true, Ordering::SeqCst))
    }

    /// The same for lines that a power cut may take: they only say why nothing is done.
    pub fn note(&self, lines: &[Line]) -> Result<(), StoreError> {
        let beside = self.writers.fetch_add(1, Ordering::SeqCst) > 0;
        let mut text = String::new();
        if self.torn.swap(false, Ordering::SeqCst) {
            // Not only its end: a line that was torn just before it would count from now on.
            text.push_str(" (torn)\n");
        } else if beside {
            // Another thread's line may be torn at this moment; an empty line says nothing.
            text.push('\n');
        }
        for line in lines {
            text.push_str(&line.to_string());
            text.push('\n');
        }
        let path = self.path();
        let written = self.file.append(text.as_bytes()).doing("write", &path);
        if written.is_err() {
            self.torn.store(true, Ordering::SeqCst);
        }
        self.writers.fetch_sub(1, Ordering::SeqCst);
        written
    }

    /// So many more recipients are decided, and whoever must hear of it has been told, durably. True:
    /// they were the last, the file can go, and no journal line is needed.
    pub fn settle(&self, recipients: usize) -> bool {
        self.open.fetch_sub(recipients, Ordering::AcqRel) == recipients
    }

    /// The message leaves the queue; durable after [`Queue::sync_removals`].
    pub fn remove(&self) -> Result<(), StoreError> {
        let path = self.path();
        self.queue.disk.remove(&path).doing("remove", &path)?;
        self.queue.removed.store(true, Ordering::Release);
        Ok(())
    }

    /// Where the file lies.
    pub fn path(&self) -> PathBuf {
        self.queue.path(&self.message.entry.id)
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

fn make(disk: &dyn Disk, spool: &Path) -> Result<(), StoreError> {
    for name in ["queue", "tmp", "damaged"] {
        super::maildir::make_with_parents(disk, &spool.join(name))?;
    }
    disk.sync_dir(spool).doing("sync", spool)
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
