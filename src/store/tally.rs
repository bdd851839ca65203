//! The counts for reports on TLS (RFC 8460), in files under `spool/tls/`, mode 0600: `2026-12-01` while connections of
//! that day are counted, then `2026-12-01.1` once that part is closed and may be reported.
//!
//! A line is one JSON object: how many more connections came to the same ([`TlsCounts`]), or, in a closed part, what
//! has been done about it ([`TallyMark`]). Lines are appended, and a file that says the same too often is replaced by
//! a short one. A torn line counts for nothing, and harms no other.
//!
//! Whoever appends or closes holds the file's claim, so that a command may close the running day beside a server, and
//! only one of them sends. Counts are never synced: a power cut may take the last ones. Marks are.

use super::disk::{Disk, DiskFile, Doing, StoreError};
use super::maildir::make_with_parents;
use crate::limits::reports::{TALLY_FILES_MAX, TALLY_LONG, TALLY_READ_MAX};
use crate::mail::tls_report::counts::{ReadLine, TlsCounts};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The name of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TallyName {
    pub day: Date,
    /// From 1 on; none while the day's connections are counted in it.
    pub part: Option<u32>,
}

impl TallyName {
    fn parse(text: &str) -> Option<TallyName> {
        let (day, part) = match text.split_once('.') {
            None => (text, None),
            Some((day, part)) => (day, Some(part.parse().ok().filter(|part| *part > 0)?)),
        };
        let name = TallyName { day: day.parse().ok()?, part };
        (name.to_string() == text).then_some(name)
    }
}

impl fmt::Display for TallyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part {
            None => write!(f, "{}", self.day),
            Some(part) => write!(f, "{}.{part}", self.day),
        }
    }
}

/// What was done about a closed part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TallyMark {
    /// The report for this domain went to this address.
    Sent { domain: String, to: String },
    /// Nothing is left to be done.
    Done,
}

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TallyContent {
    pub counts: TlsCounts,
    pub marks: BTreeSet<TallyMark>,
    /// Lines that are none of ours, or torn.
    pub bad: usize,
}

impl TallyContent {
    pub fn is_done(&self) -> bool {
        self.marks.contains(&TallyMark::Done)
    }

    /// Whether the report for a domain went to an address.
    pub fn is_sent(&self, domain: &str, to: &str) -> bool {
        self.marks.contains(&TallyMark::Sent { domain: domain.to_owned(), to: to.to_owned() })
    }
}

/// What became of a day that was to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedDay {
    Part(TallyName),
    /// Nothing is counted.
    Empty,
    /// Another process has the file at this moment.
    Busy,
}

/// All files of a spool.
pub struct TallyStore {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Octets of a running day's file from which on it is looked through for what it says twice. Twice what was left
    /// the last time: a long file that says nothing twice is not to be read at each write.
    long: AtomicU64,
}

/// A closed part that no other process sends while this lives.
pub struct ClaimedTally {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    pub content: TallyContent,
}

/// Octets of one read.
const AT_ONCE: usize = 256 * 1024;

impl TallyStore {
    pub fn new(disk: Arc<dyn Disk>, spool: &Path) -> TallyStore {
        TallyStore { disk, dir: spool.join("tls"), long: AtomicU64::new(TALLY_LONG) }
    }

    pub fn path(&self, name: TallyName) -> PathBuf {
        self.dir.join(name.to_string())
    }

    /// The files, by their days.
    pub fn names(&self) -> Result<BTreeSet<TallyName>, StoreError> {
        let listed = self.disk.list_some(&self.dir, TALLY_FILES_MAX, &|name| {
            name.to_str().and_then(TallyName::parse).is_some()
        });
        match listed {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeSet::new()),
            names => {
                let names = names.doing("list", &self.dir)?;
                Ok(names.iter().filter_map(|name| TallyName::parse(name.to_str()?)).collect())
            }
        }
    }

    /// Adds to the counts of a day that runs; false where another process has the file at this moment.
    pub fn add(&self, day: Date, counts: &TlsCounts) -> Result<bool, StoreError> {
        let path = self.path(TallyName { day, part: None });
        let claimed = match self.disk.claim(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                make_with_parents(&*self.disk, &self.dir)?;
                match self.disk.create(&path) {
                    // Somebody else has made it.
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                    made => drop(made.doing("create", &path)?),
                }
                self.disk.claim(&path)
            }
            claimed => claimed,
        };
        let Some(file) = claimed.doing("open", &path)? else { return Ok(false) };
        let lines = counts.lines();
        append(&*file, &path, &lines)?;
        let size = file.size().doing("look at", &path)?;
        if size > self.long.load(Relaxed) {
            self.shorten(&*file, &path, size)?;
        }
        Ok(true)
    }

    /// Writes a long file anew, where half of it is saved. The claim of the old one is held meanwhile.
    fn shorten(&self, file: &dyn DiskFile, path: &Path, size: u64) -> Result<(), StoreError> {
        let old = read(file).doing("read", path)?;
        let lines = old.counts.lines();
        let left = lines.len() as u64;
        self.long.store(TALLY_LONG.max(2 * left), Relaxed);
        if left > size / 2 {
            return Ok(());
        }
        let new = self.dir.join("new");
        match self.disk.remove(&new) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            removed => removed.doing("remove", &new)?,
        }
        let file = self.disk.create(&new).doing("create", &new)?;
        file.append(lines.as_bytes()).doing("write", &new)?;
        file.sync().doing("sync", &new)?;
        self.disk.rename(&new, path).doing("replace", path)
    }

    /// Closes the day's counts, so that they can be reported.
    pub fn close(&self, day: Date) -> Result<ClosedDay, StoreError> {
        let path = self.path(TallyName { day, part: None });
        let claimed = match self.disk.claim(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(ClosedDay::Empty),
            claimed => claimed.doing("open", &path)?,
        };
        let Some(file) = claimed else { return Ok(ClosedDay::Busy) };
        let parts = self.names()?;
        let last = parts.iter().filter(|name| name.day == day).filter_map(|name| name.part).max();
        let name = TallyName { day, part: Some(last.unwrap_or(0) + 1) };
        file.sync().doing("sync", &path)?;
        let to = self.path(name);
        self.disk.rename_new(&path, &to).doing("rename", &path)?;
        self.disk.sync_dir(&self.dir).doing("sync", &self.dir)?;
        Ok(ClosedDay::Part(name))
    }

    /// What a file says; nothing where it is not there.
    pub fn read(&self, name: TallyName) -> Result<TallyContent, StoreError> {
        let path = self.path(name);
        match self.disk.open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(TallyContent::default()),
            file => read(&*file.doing("open", &path)?).doing("read", &path),
        }
    }

    /// Takes a closed part, to send what it says; none where it is gone, or another process sends it.
    pub fn claim(&self, name: TallyName) -> Result<Option<ClaimedTally>, StoreError> {
        let path = self.path(name);
        let file = match self.disk.claim(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file.doing("open", &path)?,
        };
        let Some(file) = file else { return Ok(None) };
        let content = read(&*file).doing("read", &path)?;
        Ok(Some(ClaimedTally { file, path, content }))
    }

    pub fn remove(&self, name: TallyName) -> Result<(), StoreError> {
        let path = self.path(name);
        self.disk.remove(&path).doing("remove", &path)
    }
}

impl ClaimedTally {
    /// Writes down what was done, durably, for whoever claims the part next.
    pub fn note(&self, mark: &TallyMark) -> Result<(), StoreError> {
        // JSON of texts can always be written.
        let line = serde_json::to_string(mark).unwrap_or_default() + "\n";
        append(&*self.file, &self.path, &line)?;
        self.file.sync().doing("sync", &self.path)
    }
}

/// Appends whole lines. A line that a crash has torn is ended first.
fn append(file: &dyn DiskFile, path: &Path, lines: &str) -> Result<(), StoreError> {
    let size = file.size().doing("look at", path)?;
    let last = match size.checked_sub(1) {
        Some(at) => file.read_up_to(at, 1).doing("read", path)?,
        None => b"\n".to_vec(),
    };
    let lines = if last == b"\n" { lines.to_owned() } else { format!("\n{lines}") };
    file.append(lines.as_bytes()).doing("write", path)
}

fn read(file: &dyn DiskFile) -> io::Result<TallyContent> {
    let (mut content, mut at, mut rest) = (TallyContent::default(), 0, Vec::new());
    while at < TALLY_READ_MAX {
        let octets = file.read_up_to(at, AT_ONCE)?;
        if octets.is_empty() {
            break;
        }
        at += octets.len() as u64;
        rest.extend(octets);
        let whole = memchr::memrchr(b'\n', &rest).map_or(0, |at| at + 1);
        for line in rest[..whole].split(|octet| *octet == b'\n') {
            content.take(line);
        }
        rest.drain(..whole);
        // A line that is longer than any of ours is none.
        if rest.len() > AT_ONCE {
            content.bad += 1;
            rest.clear();
        }
    }
    content.bad += usize::from(!rest.is_empty());
    Ok(content)
}

impl TallyContent {
    fn take(&mut self, line: &[u8]) {
        if line.is_empty() {
            return;
        }
        if self.counts.read(line) == ReadLine::Counted {
            return;
        }
        match serde_json::from_slice::<TallyMark>(line) {
            Ok(mark) => drop(self.marks.insert(mark)),
            Err(_) => self.bad += 1,
        }
    }
}

#[cfg(test)]
mod tests;
