//! The queue: one file a message under `spool/queue/`, named by its id.
//!
//! A version line, a text header with the envelope and the size of the message, an empty line, the
//! message with LF line ends, then a journal: one line an attempt and recipient. `head` and `tail`
//! are the debugger. Nothing is ever rewritten: what becomes of a recipient is appended, and a
//! message leaves by unlink when its last recipient is done. What is due is computed, never stored.
//!
//! A thread or command that attempts or changes a queue file holds its claim ([`Queue::claim`]); commands beside the
//! server work under the same claims, through these same functions. A claim may be shared by several
//! threads that attempt different recipients: each appends lines of its own, and the thread that decides the
//! last recipient removes the file.

mod known;
mod reading;
mod syncs;
#[cfg(test)]
mod tests;

use super::body::StoredMessage;
use super::disk::{Disk, DiskFile, Doing, StoreError, whose};
use super::draft::{Draft, Home};
use super::durable::{Method, Pending};
use super::entry::{Entry, JournalLine, Quarantine, RecipientProgress};
use super::homes::Homes;
use super::locked;
use super::maildir::{make_with_parents, sync_with_parents};
use crate::id::is_id;
use crate::limits::{
    MEMORY_BODY_MAX, NAME_TRIES, QUEUE_KNOWN, QUEUE_READ, QUEUE_TMP_AGE, SYNCFS_FROM,
};
use known::KnownFile;
pub(super) use reading::parse;
use reading::{apply, parse_sized, unread};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;
use syncs::Syncs;

/// The queue of one spool.
#[derive(Clone)]
pub struct Queue {
    disk: Arc<dyn Disk>,
    spool: PathBuf,
    /// A message was removed, and the directory is not yet synced.
    removed: Arc<AtomicBool>,
}

/// A message of the queue as its file has it.
pub struct QueuedMessage {
    pub entry: Entry,
    /// What became of each recipient so far, in the order of the envelope.
    pub progress: Vec<RecipientProgress>,
    /// The journal's lines, oldest first; of a very long one the newest.
    pub journal: Vec<JournalLine>,
}

/// A message that no other process works on while this lives.
pub struct Claimed {
    queue: Queue,
    /// The message as it was when it was claimed.
    pub message: QueuedMessage,
    file: Box<dyn DiskFile>,
    /// The last journal line was torn by a crash or a full disk; the next append first spoils and ends that
    /// line.
    torn: AtomicBool,
    /// How many threads append at this moment.
    writers: AtomicUsize,
    /// The syncs of the threads that append.
    syncs: Syncs,
    /// What became of each recipient up to now; never locked across I/O.
    now: Mutex<Vec<RecipientProgress>>,
    /// Lines that the disk did not take; kept as long as this lives.
    unwritten: Mutex<Vec<JournalLine>>,
    /// Recipients that a thread attempts at this moment.
    taken: Mutex<BTreeSet<usize>>,
    /// The file is gone.
    removed: AtomicBool,
}

impl fmt::Debug for Claimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Claimed").field(&self.message.entry.id).finish()
    }
}

/// Recipients that no other thread attempts while this lives.
pub struct TakenRecipients<'a> {
    claimed: &'a Claimed,
    /// By their place in the envelope.
    pub recipients: Vec<usize>,
}

/// The lock of one server on its spool, held while this lives.
pub struct SpoolLock(#[allow(dead_code, reason = "held, never read")] Vec<Box<dyn DiskFile>>);

/// Appends the octets of one of several messages, by its place among them.
pub type WriteEach<'a> = dyn Fn(usize, &dyn DiskFile, &Path) -> Result<(), StoreError> + 'a;

/// Why a queue file cannot be had.
#[derive(Debug)]
pub enum QueueError {
    /// It does not exist, or not any more.
    Gone,
    /// Another process has claimed it.
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

    /// Locks the spool for one server; none when another server has it. Commands need no lock. The directory is
    /// locked beside the file in it, so that removing the file lets no second server in.
    pub fn lock(&self) -> Result<Option<SpoolLock>, StoreError> {
        let path = self.spool.join("lock");
        match self.disk.create(&path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(error).doing("create", &path);
            }
            _ => {}
        }
        let Some(file) = self.disk.claim(&path).doing("lock", &path)? else { return Ok(None) };
        match self.disk.claim_dir(&self.spool) {
            Ok(None) => Ok(None),
            Ok(Some(dir)) => Ok(Some(SpoolLock(vec![file, dir]))),
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(Some(SpoolLock(vec![file]))),
            Err(error) => Err(error).doing("lock", &self.spool),
        }
    }

    /// Makes a file for a message, to be published in the queue under its id. `homes`: those that are open.
    pub fn draft(
        &self,
        id: &str,
        homes: &mut Homes,
    ) -> Result<(Draft, Box<dyn DiskFile>), StoreError> {
        let path = self.spool.clone();
        let open = homes.known(&path, "queue").or_else(|| homes.open(&*self.disk, &path));
        Draft::create(&self.disk, Home { path, open, make, dir: "queue" }, || id.to_owned())
    }

    /// Puts a whole message into the queue, durably; `write` appends its octets behind the header.
    pub fn insert(
        &self,
        entry: &Entry,
        write: impl FnOnce(&dyn DiskFile, &Path) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let (draft, file) = self.draft(&entry.id, &mut Homes::default())?;
        draft.put(&*file, |file, path| {
            write_header(entry, file, path)?;
            write(file, path)
        })
    }

    /// Puts a message in the place of one that is claimed, which has its id, durably: after a power cut one of both
    /// is there, whole.
    pub fn replace(
        &self,
        old: &Claimed,
        entry: &Entry,
        write: impl FnOnce(&dyn DiskFile, &Path) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let id = &old.message.entry.id;
        // A crash may have left a draft of this name, which nobody else makes.
        let _ = self.disk.remove(&self.tmp().join(id));
        let (draft, file) = self.draft(id, &mut Homes::default())?;
        let (from, to) = (draft.path(), self.path(id));
        write_header(entry, &*file, &from)?;
        write(&*file, &from)?;
        file.sync().doing("sync", &from)?;
        self.disk.rename(&from, &to).doing("publish", &to)?;
        // The old one has lost its name; the draft's drop finds none either.
        self.sync()
    }

    /// Puts several messages into the queue, made durable together; on an error none of them is there. `write`
    /// is told which message to append.
    pub fn insert_all(&self, entries: &[&Entry], write: &WriteEach<'_>) -> Result<(), StoreError> {
        let is_large = |entry: &&Entry| entry.size > MEMORY_BODY_MAX as u64;
        let mut pending =
            Pending::new(Method::choose(entries.len(), SYNCFS_FROM, entries.iter().any(is_large)));
        let (mut drafts, mut published) = (Vec::new(), Vec::new());
        for (index, entry) in entries.iter().enumerate() {
            let (draft, file) = self.draft(&entry.id, &mut Homes::default())?;
            let path = draft.path();
            drafts.push(draft);
            pending.add(path, file, |file, path| {
                write_header(entry, file, path)?;
                write(index, file, path)
            })?;
        }
        pending.sync_data()?;
        let publish = || {
            for draft in drafts {
                let name = draft.publish()?;
                pending.named(name.dir(), false);
                published.push(name);
            }
            pending.sync_names(&*self.disk).pop().map_or(Ok(()), |(_, error)| Err(error))
        };
        publish().inspect_err(|_| {
            for name in &published {
                let _ = self.disk.remove(&name.path);
            }
        })
    }

    /// Where the messages lie.
    pub fn dir(&self) -> PathBuf {
        self.spool.join("queue")
    }

    /// Where messages are written before they are whole.
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
        Ok(self.names()?.0)
    }

    /// The ids of all messages, oldest first, and other names in the directory, which are not ours.
    pub fn names(&self) -> Result<(Vec<String>, Vec<OsString>), StoreError> {
        let dir = self.dir();
        let names = match self.disk.list(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            listed => listed.doing("list", &dir)?,
        };
        let (mut ids, mut strangers) = (Vec::new(), Vec::new());
        for name in names {
            match name.into_string() {
                Ok(id) if is_id(&id) => ids.push(id),
                Ok(other) => strangers.push(other.into()),
                Err(other) => strangers.push(other),
            }
        }
        ids.sort();
        Ok((ids, strangers))
    }

    /// Whether another process has claimed a message at this moment.
    pub fn is_claimed(&self, id: &str) -> Result<bool, StoreError> {
        let path = self.path(id);
        self.disk.is_claimed(&path).doing("look for the locks of", &path)
    }

    /// Reads a message without claiming it; it may change meanwhile.
    pub fn read(&self, id: &str) -> Result<QueuedMessage, QueueError> {
        let path = self.checked_path(id)?;
        let file = self.disk.open(&path).map_err(|error| self.cannot(error, "open", &path))?;
        parse(&*file, id, &path).map(|(message, _)| message)
    }

    /// Whether a message is there, whole or not.
    pub fn has(&self, id: &str) -> bool {
        is_id(id) && self.disk.stat(&self.path(id)).is_ok()
    }

    /// Opens the octets of a message, to be read from `entry.message_at` on.
    pub fn open(&self, id: &str) -> Result<Box<dyn DiskFile>, QueueError> {
        let path = self.checked_path(id)?;
        self.disk.open(&path).map_err(|error| self.cannot(error, "open", &path))
    }

    /// Claims a message, then reads it: a small one whole, for an attempt.
    pub fn claim(&self, id: &str) -> Result<Claimed, QueueError> {
        self.claim_reading(id, QUEUE_KNOWN)
    }

    /// The same for who wants few octets of the message, if any.
    pub fn claim_briefly(&self, id: &str) -> Result<Claimed, QueueError> {
        self.claim_reading(id, QUEUE_READ)
    }

    fn claim_reading(&self, id: &str, most: usize) -> Result<Claimed, QueueError> {
        let path = self.checked_path(id)?;
        let claimed = self.disk.claim(&path).map_err(|error| self.cannot(error, "claim", &path))?;
        let file = claimed.ok_or(QueueError::Busy)?;
        let read = file.size().and_then(|size| Ok((KnownFile::read(file, size, most)?, size)));
        let (file, size) = read.map_err(|error| unread(&path, error))?;
        let (message, torn) = parse_sized(&file, size, id, &path)?;
        Ok(Claimed {
            queue: self.clone(),
            now: Mutex::new(message.progress.clone()),
            unwritten: Mutex::default(),
            taken: Mutex::default(),
            message,
            file: Box::new(file),
            torn: AtomicBool::new(torn),
            writers: AtomicUsize::new(0),
            syncs: Syncs::default(),
            removed: AtomicBool::new(false),
        })
    }

    /// Puts anything that is no whole queue file into `damaged/`, a directory or link too, under its name; with a
    /// number behind it where the name is taken. Nothing is thrown away.
    pub fn put_aside(&self, name: &OsStr) -> Result<PathBuf, StoreError> {
        let from = self.dir().join(name);
        let numbered = (1..NAME_TRIES).map(|number| {
            let mut other = name.to_owned();
            other.push(format!(".{number}"));
            other
        });
        let names = std::iter::once(name.to_owned()).chain(numbered);
        // No other process writes there: there is one server, and commands put nothing aside.
        let mut paths = names.map(|name| self.damaged().join(name));
        let free = paths.find(|path| self.disk.stat(path).is_err());
        let taken = || io::Error::from(ErrorKind::AlreadyExists);
        let to = free.ok_or_else(taken).doing("put aside", &from)?;
        self.disk.rename(&from, &to).doing("put aside", &from)?;
        if let Err(error) = self.disk.sync_dir(&self.damaged()) {
            // The next sync would make its end here durable, but its new name may be lost: it goes back.
            let _ = self.disk.rename(&to, &from);
            return Err(error).doing("sync", &self.damaged());
        }
        self.disk.sync_dir(&self.dir()).doing("sync", &self.dir())?;
        Ok(to)
    }

    /// The path of a file of this name that was put aside; none when there is none.
    pub fn aside(&self, id: &str) -> Option<PathBuf> {
        let path = self.damaged().join(id);
        (is_id(id) && self.disk.stat(&path).is_ok()).then_some(path)
    }

    /// Makes removals durable, also those of an earlier server that was killed before it could sync.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.disk.sync_dir(&self.dir()).doing("sync", &self.dir())
    }

    /// Makes removals durable, if there were any; until then a power cut may bring the messages back.
    pub fn sync_removals(&self) -> Result<(), StoreError> {
        match self.removed.swap(false, Ordering::AcqRel) {
            true => self.sync().inspect_err(|_| {
                self.removed.store(true, Ordering::Release); // to be tried again
            }),
            false => Ok(()),
        }
    }

    /// Removes what crashes left in `tmp/`: a draft is written in moments.
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

    /// What an I/O error means for a queue file.
    fn cannot(&self, error: io::Error, step: &'static str, path: &Path) -> QueueError {
        match error.kind() {
            ErrorKind::NotFound => QueueError::Gone,
            _ if self.disk.stat(path).is_ok_and(|found| !found.is_file) => {
                QueueError::Damaged("it is no regular file".to_owned())
            }
            _ => {
                let source = whose(path, error);
                QueueError::Disk(StoreError { step, path: path.to_owned(), source })
            }
        }
    }

    /// The path of an id, which may come from a person or a datagram, and must be one segment of a path.
    fn checked_path(&self, id: &str) -> Result<PathBuf, QueueError> {
        match is_id(id) {
            true => Ok(self.path(id)),
            false => Err(QueueError::Gone),
        }
    }
}

impl Claimed {
    /// Recipients that are not decided up to now, by their place in the envelope.
    pub fn open(&self) -> Vec<usize> {
        let now = locked(&self.now);
        (0..now.len()).filter(|index| !now[*index].is_done()).collect()
    }

    /// Takes the open recipients that fit and that no other thread attempts: after a reload two threads may
    /// have the same next hop, and would send to the same recipient.
    pub fn take_recipients(&self, fits: impl Fn(usize) -> bool) -> TakenRecipients<'_> {
        let mut taken = locked(&self.taken);
        // Under the lock: a thread notes what became of a recipient before it gives the recipient back.
        let open = self.open().into_iter();
        let recipients: Vec<usize> =
            open.filter(|index| !taken.contains(index) && fits(*index)).collect();
        taken.extend(&recipients);
        TakenRecipients { claimed: self, recipients }
    }

    /// What became of a recipient up to now.
    pub fn progress(&self, recipient: usize) -> RecipientProgress {
        locked(&self.now).get(recipient).cloned().unwrap_or_default()
    }

    /// Records what an attempt has decided, once its notices lie in the queue, durably. True where no recipient
    /// is open any more: the file can be removed, and these lines are not written. Else the lines are durable;
    /// lines that the disk does not take are kept as long as this lives.
    pub fn record_results(&self, lines: Vec<JournalLine>) -> Result<bool, StoreError> {
        let is_over = {
            let mut now = locked(&self.now);
            lines.iter().for_each(|line| apply(&mut now, line));
            now.iter().all(RecipientProgress::is_done)
        };
        if is_over {
            return Ok(true);
        }
        let mut all = std::mem::take(&mut *locked(&self.unwritten));
        all.extend(lines);
        let recorded = self.record(&all);
        if recorded.is_err() {
            locked(&self.unwritten).splice(0..0, all);
        }
        recorded.map(|()| false)
    }

    /// Whether memory is ahead of the file: journal lines that could not be written, or a finished file not
    /// yet removed.
    pub fn is_ahead(&self) -> bool {
        !locked(&self.unwritten).is_empty() || self.open().is_empty()
    }

    /// Appends lines that a power cut may take back: they only say why nothing is done, or that a delay was
    /// announced. They count as long as this lives, even if the disk does not take them.
    pub fn note(&self, lines: &[JournalLine]) -> Result<(), StoreError> {
        {
            let mut now = locked(&self.now);
            lines.iter().for_each(|line| apply(&mut now, line));
        }
        self.append(lines)
    }

    /// Appends journal lines and makes them durable. After an error they must not be taken for written.
    pub fn record(&self, lines: &[JournalLine]) -> Result<(), StoreError> {
        let path = self.path();
        let begun = self.syncs.begin();
        let synced = self.append(lines).and_then(|()| {
            let synced = self.file.sync().doing("sync", &path);
            synced.inspect_err(|_| self.torn.store(true, Ordering::SeqCst))
        });
        match self.syncs.end(&begun, synced.is_ok()) {
            false if synced.is_ok() => {
                let beside = io::Error::other("a sync beside this one has failed");
                Err(beside).doing("sync", &path)
            }
            _ => synced,
        }
    }

    fn append(&self, lines: &[JournalLine]) -> Result<(), StoreError> {
        let beside = self.writers.fetch_add(1, Ordering::SeqCst) > 0;
        let mut text = String::new();
        if self.torn.swap(false, Ordering::SeqCst) {
            // A line end alone would not do: a line that was torn just before its end would count then.
            text.push_str(" (torn)\n");
        } else if beside {
            // Another thread's line may be torn at this moment, so ours begins on a new line.
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

    /// The message leaves the queue; durable after [`Queue::sync_removals`].
    pub fn remove(&self) -> Result<(), StoreError> {
        let path = self.path();
        match self.queue.disk.remove(&path) {
            // Another process was faster.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            removed => removed.doing("remove", &path)?,
        }
        self.removed.store(true, Ordering::Release);
        self.queue.removed.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether a thread has removed it.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    /// Where the file lies.
    pub fn path(&self) -> PathBuf {
        self.queue.path(&self.message.entry.id)
    }

    /// The octets of its message, which lie at `path`.
    pub fn part<'a>(&'a self, path: &'a Path) -> StoredMessage<'a> {
        part_of(&self.message.entry, &*self.file, path)
    }

    /// The file, for the octets of its message.
    pub fn file(&self) -> &dyn DiskFile {
        &*self.file
    }
}

impl Drop for TakenRecipients<'_> {
    fn drop(&mut self) {
        let mut taken = locked(&self.claimed.taken);
        taken.retain(|index| !self.recipients.contains(index));
    }
}

impl QueuedMessage {
    /// By which filter the message is held, and why; none where a person has let it go, or nobody holds it.
    pub fn quarantine(&self) -> Option<&Quarantine> {
        let is_released = |index: usize| self.progress[index].released.is_some();
        // All together: a release is whole, or never happened.
        self.entry.quarantine.as_ref().filter(|_| !self.open().all(is_released))
    }

    /// Recipients that are not decided, by their place in the envelope.
    pub fn open(&self) -> impl Iterator<Item = usize> {
        let progress = self.progress.iter().enumerate();
        progress.filter(|(_, p)| !p.is_done()).map(|(index, _)| index)
    }
}

/// The octets of a message in its queue file.
pub fn part_of<'a>(entry: &Entry, file: &'a dyn DiskFile, path: &'a Path) -> StoredMessage<'a> {
    StoredMessage { file, path, at: entry.message_at, size: entry.size, sum: entry.sum }
}

/// Makes the directories of a queue, and missing ones above the spool, durably.
fn make(disk: &dyn Disk, spool: &Path) -> Result<(), StoreError> {
    let dirs = ["queue", "tmp", "damaged"].map(|name| spool.join(name));
    let made = dirs.iter().try_for_each(|dir| make_with_parents(disk, dir));
    made.and_then(|()| sync_with_parents(disk, spool, 0)).inspect_err(|_| {
        // Else the next message would take them for durable; only empty directories are removed.
        dirs.iter().for_each(|dir| drop(disk.remove_dir(dir)));
    })
}

fn write_header(entry: &Entry, file: &dyn DiskFile, path: &Path) -> Result<(), StoreError> {
    let header = entry.checked_header().doing("write", path)?;
    file.append(header.as_bytes()).doing("write", path)
}
