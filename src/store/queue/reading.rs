//! A queue file as it is read: header, then journal.

use super::{QueueError, QueuedMessage};
use crate::limits::{QUEUE_BLOCK, QUEUE_HEADER_MAX, QUEUE_JOURNAL_MAX, QUEUE_READ};
use crate::store::disk::{DiskFile, StoreError};
use crate::store::entry::{Entry, JournalLine, RecipientProgress};
use std::collections::VecDeque;
use std::io;
use std::path::Path;

/// Reads header and journal; gives whether the last journal line is torn.
pub(in crate::store) fn parse(
    file: &dyn DiskFile,
    id: &str,
    path: &Path,
) -> Result<(QueuedMessage, bool), QueueError> {
    let size = file.size().map_err(|error| unread(path, error))?;
    parse_sized(file, size, id, path)
}

/// The same where the size of the file is known.
pub(super) fn parse_sized(
    file: &dyn DiskFile,
    size: u64,
    id: &str,
    path: &Path,
) -> Result<(QueuedMessage, bool), QueueError> {
    let disk = |error| unread(path, error);
    // As few reads as possible, because a list of ten thousand files waits for each of them.
    let mut head = read_some(file, 0, size, QUEUE_READ).map_err(disk)?;
    let mut end = memchr::memmem::find(&head, b"\n\n");
    if end.is_none() && size > head.len() as u64 {
        head = read_some(file, 0, size, QUEUE_HEADER_MAX).map_err(disk)?;
        end = memchr::memmem::find(&head, b"\n\n");
    }
    let end = end.ok_or_else(|| QueueError::Damaged("its header has no end".to_owned()))?;
    let text = str::from_utf8(&head[..end + 1])
        .map_err(|_| QueueError::Damaged("its header is not UTF-8".to_owned()))?;
    let entry = Entry::parse(text, end as u64 + 2).map_err(QueueError::Damaged)?;
    if entry.id != id {
        return Err(QueueError::Damaged(format!("its header says that it is {}", entry.id)));
    }
    let journal_at = entry.message_at + entry.size;
    if size < journal_at {
        return Err(QueueError::Damaged(format!("{} octets are missing", journal_at - size)));
    }
    let mut journal = Journal::new(entry.recipients.len());
    match head.get(journal_at as usize..) {
        Some(whole) if size <= head.len() as u64 => journal.feed(whole),
        _ => journal.read(file, journal_at, size).map_err(disk)?,
    }
    let torn = !journal.rest.is_empty();
    let Journal { progress, lines, .. } = journal;
    Ok((QueuedMessage { entry, progress, journal: lines.into() }, torn))
}

/// A journal as it is read. Every line counts, because a recipient whose line is not read would get the message
/// again; but only the newest lines are kept.
struct Journal {
    progress: Vec<RecipientProgress>,
    lines: VecDeque<JournalLine>,
    /// The size of `lines` in octets.
    kept: usize,
    /// The octets behind the last line end.
    rest: Vec<u8>,
}

impl Journal {
    fn new(recipients: usize) -> Journal {
        let progress = vec![RecipientProgress::default(); recipients];
        Journal { progress, lines: VecDeque::new(), kept: 0, rest: Vec::new() }
    }

    fn read(&mut self, file: &dyn DiskFile, mut at: u64, end: u64) -> io::Result<()> {
        while at < end {
            let block = read_some(file, at, end, QUEUE_BLOCK)?;
            if block.is_empty() {
                break;
            }
            at += block.len() as u64;
            self.feed(&block);
        }
        Ok(())
    }

    fn feed(&mut self, octets: &[u8]) {
        for part in octets.split_inclusive(|&b| b == b'\n') {
            self.rest.extend_from_slice(part);
            match self.rest.strip_suffix(b"\n") {
                Some(line) => {
                    self.line(str::from_utf8(line).ok().and_then(JournalLine::parse));
                    self.rest.clear();
                }
                // No line of ours is so long; the rest of it must not be taken for a line.
                None if self.rest.len() > QUEUE_JOURNAL_MAX => self.rest = b"(no line)".to_vec(),
                None => {}
            }
        }
    }

    /// A line counts when it is whole and says something; a torn one never happened.
    fn line(&mut self, line: Option<JournalLine>) {
        let Some(line) = line.filter(|line| line.recipient < self.progress.len()) else { return };
        apply(&mut self.progress, &line);
        let octets =
            |line: &JournalLine| size_of::<JournalLine>() + line.host.len() + line.words.len();
        self.kept += octets(&line);
        self.lines.push_back(line);
        while self.kept > QUEUE_JOURNAL_MAX
            && let Some(oldest) = self.lines.pop_front()
        {
            self.kept -= octets(&oldest);
        }
    }
}

pub(super) fn apply(progress: &mut [RecipientProgress], line: &JournalLine) {
    if let Some(progress) = progress.get_mut(line.recipient) {
        progress.apply(line);
    }
}

pub(super) fn unread(path: &Path, source: io::Error) -> QueueError {
    QueueError::Disk(StoreError { step: "read", path: path.to_owned(), source })
}

/// At most `most` octets from a place on, of a file that ends at `end`.
pub(super) fn read_some(
    file: &dyn DiskFile,
    at: u64,
    end: u64,
    most: usize,
) -> io::Result<Vec<u8>> {
    file.read_up_to(at, end.saturating_sub(at).min(most as u64) as usize)
}
