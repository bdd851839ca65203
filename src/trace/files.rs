//! The files of a trace: `2026-11-23`, then `2026-11-23.2` and so on when a day needs more than its part
//! of `trace.size`; mode 0600 in a directory of mode 0700, in UTC.
//!
//! Nothing is rewritten: lines are appended to a file, and a whole file is removed when it is too old or
//! there is no room. A torn line that a crash left gets a line end, so that no later line is part of it.

use crate::config::Trace;
use crate::limits::{TRACE_FILES_MAX, TRACE_LINE_MAX, TRACE_LOOK, TRACE_PARTS};
use crate::store::disk::{Disk, DiskFile, Doing, StoreError};
use crate::store::mailbox::read_at;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use std::fmt;
use std::io;
use std::io::ErrorKind::{AlreadyExists, NotFound};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the trace of a spool lies.
pub fn dir(spool: &Path) -> PathBuf {
    spool.join("trace")
}

/// The name of a file: its day and, counted from 1, its number in that day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileName {
    pub day: Date,
    pub part: u32,
}

impl FileName {
    /// None where this is no name of a trace file.
    pub fn parse(text: &str) -> Option<FileName> {
        let (day, part) = match text.split_once('.') {
            Some((day, part)) => (day, part.parse().ok().filter(|part| *part > 1)?),
            None => (text, 1),
        };
        let name = FileName { day: day.parse().ok()?, part };
        (name.to_string() == text).then_some(name)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part {
            1 => write!(f, "{}", self.day),
            part => write!(f, "{}.{part}", self.day),
        }
    }
}

/// The day of a moment, in UTC.
pub fn day(when: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(when).date()
}

/// All files of a trace, oldest first. Fails with `NotFound` when there is none at all.
pub fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<FileName>, StoreError> {
    let names = disk.list(dir).doing("list", dir)?;
    let mut names: Vec<FileName> =
        names.iter().filter_map(|name| FileName::parse(name.to_str()?)).collect();
    names.sort_unstable();
    Ok(names)
}

/// Writes the files and keeps them within their bounds. There is one for a directory.
pub struct StoryWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    limits: Box<dyn Fn() -> Trace + Send>,
    open: Option<Open>,
    /// Octets of all files, as of the last look.
    total: u64,
    looked: Option<Timestamp>,
}

struct Open {
    name: FileName,
    file: Box<dyn DiskFile>,
    size: u64,
}

impl StoryWriter {
    pub fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        limits: Box<dyn Fn() -> Trace + Send>,
    ) -> StoryWriter {
        StoryWriter { disk, dir, limits, open: None, total: 0, looked: None }
    }

    /// Appends whole lines to the current file. After a failure the file is opened anew.
    pub fn append(&mut self, lines: &[u8], now: Timestamp) -> Result<(), StoreError> {
        let result = self.try_append(lines, now);
        if result.is_err() {
            self.open = None;
        }
        result
    }

    fn try_append(&mut self, lines: &[u8], now: Timestamp) -> Result<(), StoreError> {
        let part_max = (self.limits)().size / TRACE_PARTS;
        let size = lines.len() as u64;
        let fits = |open: &Open| open.name.day == day(now) && open.size + size <= part_max;
        if !self.open.as_ref().is_some_and(fits) {
            let before = self.open.take().map(|open| open.name);
            self.open = Some(self.next_file(day(now), before, part_max.saturating_sub(size))?);
            self.prune(now, size)?;
        } else if self.total + size > (self.limits)().size {
            self.prune(now, size)?;
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        let path = self.dir.join(open.name.to_string());
        open.file.append(lines).doing("write", &path)?;
        open.size += size;
        self.total += size;
        Ok(())
    }

    /// Syncs the data of the current file; its name in the directory is not synced.
    pub fn sync(&self) -> Result<(), StoreError> {
        match &self.open {
            Some(open) => open.file.sync().doing("sync", &self.dir.join(open.name.to_string())),
            None => Ok(()),
        }
    }

    /// Removes old files, once in a [`TRACE_LOOK`].
    pub fn look(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let is_due =
            self.looked.is_none_or(|looked| now.duration_since(looked).unsigned_abs() > TRACE_LOOK);
        match is_due {
            true => self.prune(now, 0),
            false => Ok(()),
        }
    }

    /// The last file of the day if there is room in it and no other process has it, else a new one.
    fn next_file(
        &self,
        day: Date,
        before: Option<FileName>,
        room: u64,
    ) -> Result<Open, StoreError> {
        self.make_dir()?;
        let names = list(&*self.disk, &self.dir)?;
        // After the clock was set back, numbers go on from the last one.
        let last = names.iter().rev().find(|name| name.day == day).copied();
        if let Some(name) = last.filter(|name| before != Some(*name))
            && let Some(open) = self.resume(name, room)
        {
            return Ok(open);
        }
        let name = FileName { day, part: last.map_or(1, |last| last.part + 1) };
        let path = self.dir.join(name.to_string());
        drop(self.disk.create(&path).doing("create", &path)?);
        // Opened anew, to append and to lock it.
        let open = self.resume(name, u64::MAX);
        open.ok_or_else(|| io::Error::other("it is not the file that was made"))
            .doing("open", &path)
    }

    /// The existing file, to append to; none where it has no room or cannot be used: another file does as
    /// well.
    fn resume(&self, name: FileName, room: u64) -> Option<Open> {
        let file = self.disk.claim(&self.dir.join(name.to_string())).ok().flatten()?;
        let size = file.size().ok().filter(|size| *size <= room)?;
        let mut last = [b'\n'];
        if size > 0 {
            read_at(&*file, &mut last, size - 1).ok()?;
        }
        if last != [b'\n'] {
            file.append(b"\n").ok()?;
        }
        Some(Open { name, file, size })
    }

    fn make_dir(&self) -> Result<(), StoreError> {
        match self.disk.make_dir(&self.dir) {
            Err(error) if error.kind() == AlreadyExists => {}
            made => return made.doing("create", &self.dir),
        }
        // Transcripts are private, also when the operator made the directory.
        match self.disk.stat(&self.dir).doing("look at", &self.dir)? {
            found if found.mode & 0o077 == 0 => Ok(()),
            _ => self.disk.set_mode(&self.dir, 0o700).doing("set the mode of", &self.dir),
        }
    }

    /// Removes files that are too old, then the oldest ones until there is room for `room` more octets;
    /// never the current file.
    fn prune(&mut self, now: Timestamp, room: u64) -> Result<(), StoreError> {
        self.looked = Some(now);
        let Trace { keep, size } = (self.limits)();
        let names = match list(&*self.disk, &self.dir) {
            Err(error) if error.source.kind() == NotFound => return Ok(()),
            names => names?,
        };
        let keep = SignedDuration::try_from(keep).unwrap_or(SignedDuration::MAX);
        let oldest = now.checked_sub(keep).map_or(Date::MIN, day);
        let mut sizes = Vec::with_capacity(names.len());
        for name in names {
            let found = self.disk.stat(&self.dir.join(name.to_string()));
            sizes.push((name, found.map_or(0, |found| found.size)));
        }
        self.total = sizes.iter().map(|(_, size)| size).sum();
        let current = self.open.as_ref().map(|open| open.name);
        let mut left = sizes.len();
        for (name, octets) in sizes {
            let is_over = self.total + room > size || left > TRACE_FILES_MAX;
            if Some(name) == current || !is_over && name.day >= oldest {
                continue;
            }
            let path = self.dir.join(name.to_string());
            self.disk.remove(&path).doing("remove", &path)?;
            self.total -= octets;
            left -= 1;
        }
        Ok(())
    }
}

/// Reads the lines of a file, a bounded piece at a time.
pub struct LineReader {
    file: Box<dyn DiskFile>,
    /// Where the next read begins.
    offset: u64,
    buffer: Vec<u8>,
    /// How much of the buffer was given out.
    used: usize,
}

/// Octets of one read.
const READ: usize = 256 * 1024;
const _: () = assert!(READ >= TRACE_LINE_MAX);

impl LineReader {
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<LineReader, StoreError> {
        let file = disk.open(path).doing("read", path)?;
        Ok(LineReader { file, offset: 0, buffer: Vec::new(), used: 0 })
    }

    /// Goes on from the end of the file.
    pub fn skip_all(&mut self) -> io::Result<()> {
        self.offset = self.file.size()?;
        Ok(())
    }

    /// The next whole line, without its LF; none at the end of the file. There the last line may be half
    /// written: a later call returns it when it is whole. A line longer than [`TRACE_LINE_MAX`] is skipped.
    pub fn read(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            if let Some(length) = memchr::memchr(b'\n', &self.buffer[self.used..]) {
                let start = self.used;
                self.used += length + 1;
                return Ok(Some(&self.buffer[start..start + length]));
            }
            self.buffer.drain(..self.used);
            self.used = 0;
            if self.buffer.len() > TRACE_LINE_MAX {
                self.buffer.clear();
            }
            let kept = self.buffer.len();
            self.buffer.resize(kept + READ, 0);
            let read = read_at(&*self.file, &mut self.buffer[kept..], self.offset);
            self.buffer.truncate(kept + read.as_ref().unwrap_or(&0));
            match read? {
                0 => return Ok(None),
                read => self.offset += read as u64,
            }
        }
    }
}
