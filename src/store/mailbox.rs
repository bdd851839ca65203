//! Delivered mail as its reader sees it: the messages in a Maildir's `new/` and `cur/`.
//!
//! Reads only, takes no lock, and never looks into `tmp/`. Other programs move, rename and remove
//! messages meanwhile, so a name that is gone is looked for once more under its key. Names:
//! <https://cr.yp.to/proto/maildir.html>.

pub mod browse;

use crate::mail::fields::LISTED_MAX;
use crate::mail::header::Reader;
use crate::store::disk::{Disk, DiskFile, Doing, StoreError};
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One message, as it lay in the Maildir a moment ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxMessage {
    /// The unique name: the file's name up to `:2,`, which stays when a reader sets flags.
    pub key: String,
    pub path: PathBuf,
    /// When it was delivered: the time in the name, else when the file was last written.
    pub delivered: SystemTime,
    /// Octets of the file.
    pub size: u64,
    /// The letters after `:2,`, as they stand there.
    pub flags: String,
    /// It lies in `new/`: no mail program has seen it yet.
    pub is_new: bool,
}

/// Why mail cannot be read.
#[derive(Debug)]
pub enum MailboxError {
    /// No message has this key, and none begins with it.
    NoMessage(String),
    /// The keys of several messages begin with this one; the number: of how many.
    Ambiguous(String, usize),
    Disk(StoreError),
}

/// Every message, newest last; messages of the same second by the microseconds in their names, then by
/// key. A Maildir that does not exist is empty.
pub fn list(disk: &dyn Disk, maildir: &Path) -> Result<Vec<MailboxMessage>, MailboxError> {
    survey(disk, maildir, &|_| true)
}

/// The message of this key, or the only one whose key begins with it. `key` may also be a whole file name,
/// whose flags may have changed since.
pub fn find(disk: &dyn Disk, maildir: &Path, key: &str) -> Result<MailboxMessage, MailboxError> {
    let wanted = unique_name(key);
    let mut found = match wanted {
        "" => Vec::new(), // every key begins with it
        _ => survey(disk, maildir, &|name| name.starts_with(wanted))?,
    };
    // A restored copy or a broken program makes two messages of one key; a whole file name chooses one.
    let is_named =
        |message: &MailboxMessage| message.path.file_name().is_some_and(|name| name == key);
    if found.iter().filter(|message| is_named(message)).count() == 1 {
        found.retain(is_named);
    } else if found.iter().any(|message| message.key == wanted) {
        found.retain(|message| message.key == wanted);
    }
    match found.len() {
        0 => Err(MailboxError::NoMessage(key.to_owned())),
        1 => Ok(found.remove(0)),
        count => Err(MailboxError::Ambiguous(key.to_owned(), count)),
    }
}

/// The result of `read` for each message, in the same order; none for a message that is gone. One that was
/// renamed meanwhile is read where it is now.
pub fn read_each<T>(
    disk: &dyn Disk,
    maildir: &Path,
    messages: &[MailboxMessage],
    mut read: impl FnMut(&MailboxMessage, io::Result<Box<dyn DiskFile>>) -> T,
) -> Result<Vec<Option<T>>, MailboxError> {
    let mut results = Vec::with_capacity(messages.len());
    let mut gone = HashMap::new();
    for (index, message) in messages.iter().enumerate() {
        results.push(match disk.open(&message.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                gone.insert(message.key.clone(), index);
                None
            }
            opened => Some(read(message, opened)),
        });
    }
    for message in look_again(disk, maildir, gone.keys().cloned().collect())? {
        match disk.open(&message.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Each message once, even if it has two names by now.
            opened => {
                if let Some(index) = gone.remove(&message.key) {
                    results[index] = Some(read(&message, opened));
                }
            }
        }
    }
    Ok(results)
}

/// The start of a message: its whole header, but no more than [`LISTED_MAX`] octets.
pub fn read_head(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let (mut head, mut reader) = (Vec::new(), Reader::new(()));
    while head.len() < LISTED_MAX && reader.end().is_none() {
        let start = head.len();
        head.resize((start + HEAD_READ).min(LISTED_MAX), 0);
        let count = read_at(file, &mut head[start..], start as u64)?;
        head.truncate(start + count);
        reader.feed(&head[start..]);
        if count == 0 {
            break;
        }
    }
    Ok(head)
}

/// [`DiskFile::read_at`], again when a signal comes in between.
pub fn read_at(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// What one read takes from the head of a message, in octets; most headers fit.
const HEAD_READ: usize = 8 * 1024;

/// Seconds since 1970 that can be the time in a name: from 1990, before there were Maildirs, to 2106. Other
/// numbers are no such time, such as a date in digits, or milliseconds.
const PLAUSIBLE: std::ops::RangeInclusive<u64> = 631_152_000..=u32::MAX as u64;

/// A name in `new/` or `cur/`.
struct MaildirName {
    is_new: bool,
    file: OsString,
}

/// The messages whose file names are `wanted`, newest last.
fn survey(
    disk: &dyn Disk,
    maildir: &Path,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Vec<MailboxMessage>, MailboxError> {
    let mut messages = Vec::new();
    let mut gone = HashSet::new();
    for name in names(disk, maildir)? {
        let text = name.file.to_string_lossy();
        if wanted(&text) {
            match look(disk, maildir, &name)? {
                Look::Message(message) => messages.push(message),
                Look::Gone => drop(gone.insert(unique_name(&text).to_owned())),
                Look::Other => {}
            }
        }
    }
    messages.extend(look_again(disk, maildir, gone)?);
    // In an order that depends on the messages alone. Of one file that was seen in both directories, the name
    // in `cur/` comes first and stays.
    messages.sort_by(|a, b| {
        (a.delivered, &a.key, a.is_new, &a.path).cmp(&(b.delivered, &b.key, b.is_new, &b.path))
    });
    // Some programs move a message by link and unlink, so that it has two names for a moment.
    messages.dedup_by(|a, b| (&a.key, a.delivered, a.size) == (&b.key, b.delivered, b.size));
    Ok(messages)
}

/// Looks once more for messages whose names are gone; those that are not found were removed.
fn look_again(
    disk: &dyn Disk,
    maildir: &Path,
    gone: HashSet<String>,
) -> Result<Vec<MailboxMessage>, MailboxError> {
    let mut messages = Vec::new();
    if gone.is_empty() {
        return Ok(messages);
    }
    for name in names(disk, maildir)? {
        if gone.contains(unique_name(&name.file.to_string_lossy()))
            && let Look::Message(message) = look(disk, maildir, &name)?
        {
            messages.push(message);
        }
    }
    Ok(messages)
}

/// The names in `new/`, then in `cur/`: in this order a message that is moved meanwhile is seen twice rather
/// than never.
fn names(disk: &dyn Disk, maildir: &Path) -> Result<Vec<MaildirName>, MailboxError> {
    let mut names = Vec::new();
    for is_new in [true, false] {
        let folder = folder(maildir, is_new);
        let files = match disk.list(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            listed => listed.doing("list", &folder)?,
        };
        let visible = |file: &OsString| !file.as_encoded_bytes().starts_with(b".");
        names.extend(files.into_iter().filter(visible).map(|file| MaildirName { is_new, file }));
    }
    Ok(names)
}

fn folder(maildir: &Path, is_new: bool) -> PathBuf {
    maildir.join(if is_new { "new" } else { "cur" })
}

/// What a name leads to.
enum Look {
    Message(MailboxMessage),
    /// A directory, a link, a pipe: no message, and opening it might wait or lead elsewhere.
    Other,
    Gone,
}

fn look(disk: &dyn Disk, maildir: &Path, name: &MaildirName) -> Result<Look, MailboxError> {
    let path = folder(maildir, name.is_new).join(&name.file);
    let meta = match disk.stat(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Look::Gone),
        found => found.doing("look at", &path)?,
    };
    if !meta.is_file {
        return Ok(Look::Other);
    }
    let text = name.file.to_string_lossy();
    let key = unique_name(&text);
    let info = text[key.len()..].strip_prefix(":2,").unwrap_or_default();
    Ok(Look::Message(MailboxMessage {
        key: key.to_owned(),
        delivered: time_in_name(key).unwrap_or(meta.modified),
        size: meta.size,
        // Some programs write `,` and fields of their own behind the flags.
        flags: info.chars().take_while(char::is_ascii_alphabetic).collect(),
        is_new: name.is_new,
        path,
    }))
}

/// The part of a file's name that never changes.
fn unique_name(name: &str) -> &str {
    name.split_once(":2,").map_or(name, |(unique, _)| unique)
}

/// `1795439147.M123456P789.host`: the seconds, and the microseconds after the first M that a digit
/// follows (hexadecimal parts that may precede it have no M).
fn time_in_name(key: &str) -> Option<SystemTime> {
    let mut parts = key.split('.');
    let seconds = parts.next().filter(|text| text.bytes().all(|octet| octet.is_ascii_digit()))?;
    let seconds = seconds.parse().ok().filter(|seconds| PLAUSIBLE.contains(seconds))?;
    let micros = parts.next().and_then(micros_in_part).unwrap_or(0);
    UNIX_EPOCH.checked_add(Duration::new(seconds, micros * 1000))
}

fn micros_in_part(part: &str) -> Option<u32> {
    let (_, digits) = part.split_once('M')?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok().filter(|&micros| micros < 1_000_000)
}

impl fmt::Display for MailboxError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            MailboxError::NoMessage(key) => write!(f, "no message has the key {key}"),
            MailboxError::Ambiguous(key, count) => {
                write!(f, "the keys of {count} messages begin with {key}")
            }
            MailboxError::Disk(error) => error.fmt(f),
        }
    }
}

impl From<StoreError> for MailboxError {
    fn from(error: StoreError) -> MailboxError {
        MailboxError::Disk(error)
    }
}

impl std::error::Error for MailboxError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            MailboxError::Disk(error) => error.source(),
            MailboxError::NoMessage(_) | MailboxError::Ambiguous(..) => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
