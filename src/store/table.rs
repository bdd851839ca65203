//! Text files of names that people write, users and aliases: lines that are bad, and whether a file
//! has changed since it was read.

use super::disk::{Doing, StoreError};
use crate::limits::{BAD_LINE_MAX, TABLE_MAX};
use nix::fcntl::OFlag;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A line that cannot be used: "ann.users:3: …".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    pub file: PathBuf,
    pub line: usize,
    pub what: String,
}

impl BadLine {
    /// `what` is cut to what a log line may repeat.
    pub fn new(file: &Path, line: usize, what: &str) -> BadLine {
        let mut shown: String = what.chars().take(BAD_LINE_MAX).collect();
        if shown.len() < what.len() {
            shown.push_str("...");
        }
        BadLine { file: file.to_owned(), line, what: shown }
    }
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.what)
    }
}

/// By which a changed file is known: device, inode, size, and time of change in nanoseconds. All
/// zero when it cannot be looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp(u64, u64, u64, i128);

impl Stamp {
    /// Whether the file was changed so lately that somebody may still be writing it.
    pub fn is_fresh(&self, now: SystemTime, settle: Duration) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() as i128;
        self.3 > now - settle.as_nanos() as i128
    }

    /// Whether the file is shorter than it was.
    pub fn is_shorter_than(&self, before: &Stamp) -> bool {
        self.2 < before.2
    }

    /// What the file is now.
    pub fn of(file: &Path) -> Stamp {
        fs::metadata(file).map_or(Stamp::default(), |found| {
            let changed =
                i128::from(found.ctime()) * 1_000_000_000 + i128::from(found.ctime_nsec());
            Stamp(found.dev(), found.ino(), found.size(), changed)
        })
    }
}

/// The whole of a regular file of at most [`TABLE_MAX`] octets, without a byte order mark, which
/// some editors put on top and nobody sees.
pub fn read(file: &Path) -> Result<Vec<u8>, StoreError> {
    let mut octets = read_bounded(file).doing("read", file)?;
    if octets.starts_with(b"\xef\xbb\xbf") {
        octets.drain(..3);
    }
    Ok(octets)
}

fn read_bounded(file: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for who writes to it.
    let mut options = OpenOptions::new();
    let opened = options.read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(file)?;
    if !opened.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut octets = Vec::new();
    opened.take(TABLE_MAX + 1).read_to_end(&mut octets)?;
    match octets.len() as u64 > TABLE_MAX {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(octets),
    }
}
