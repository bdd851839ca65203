//! Delivered mail as its reader sees it: the messages in a Maildir's `new/` and `cur/`.
//!
//! Reads only, takes no lock, and never looks into `tmp/`. Other programs move, rename and remove
//! messages meanwhile, so a name that is gone is looked for once more under its key. Names:
//! <https://cr.yp.to/proto/maildir.html>.

use crate::mail::fields;
use crate::store::disk::{Disk, DiskFile, Doing, StoreError};
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One message, as it lay there a moment ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The unique name: the file's name up to `:2,`. It stays when a reader sets flags.
    pub key: String,
    pub path: PathBuf,
    /// When it was delivered: what the name says, else when the file was last written.
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
    /// So many messages have keys that begin with this one.
    Ambiguous(String, usize),
    Disk(StoreError),
}

/// Every message, newest last; those of the same second by the microseconds in their names, then by
/// key. A Maildir that was never made is empty.
pub fn list(disk: &dyn Disk, maildir: &Path) -> Result<Vec<Message>, MailboxError> {
    survey(disk, maildir, &|_| true)
}

/// The message of this key, or the only one whose key begins so. A whole file name, with flags that
/// may have changed since, does too.
pub fn find(disk: &dyn Disk, maildir: &Path, key: &str) -> Result<Message, MailboxError> {
    let wanted = unique_name(key);
    let mut found = match wanted {
        "" => Vec::new(), // begins every key, and means none
        _ => survey(disk, maildir, &|name| name.starts_with(wanted))?,
    };
    // Two messages of one key come from a restored copy or a broken program; a whole name chooses.
    let is_named = |message: &Message| message.path.file_name().is_some_and(|name| name == key);
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

/// What `read` makes of each message, in the same order; none for one that is gone for good. One
/// that was renamed meanwhile is read where it is now.
pub fn read_each<T>(
    disk: &dyn Disk,
    maildir: &Path,
    messages: &[Message],
    mut read: impl FnMut(&Message, io::Result<Box<dyn DiskFile>>) -> T,
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
            // Once for each, even if it has two names by now.
            opened => {
                if let Some(index) = gone.remove(&message.key) {
                    results[index] = Some(read(&message, opened));
                }
            }
        }
    }
    Ok(results)
}

/// The start of a message, far enough that its whole header is in it, or
/// [`fields::HEADER_MAX`] octets.
pub fn read_head(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while head.len() < fields::HEADER_MAX && !fields::is_complete(&head) {
        let start = head.len();
        head.resize((start + HEAD_READ).min(fields::HEADER_MAX), 0);
        let count = read_at(file, &mut head[start..], start as u64)?;
        head.truncate(start + count);
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

/// Seconds since 1970 that can be the time in a name: from 1990, before there were Maildirs, to
/// 2106. It tells a time from other numbers, a date in digits or milliseconds.
const PLAUSIBLE: std::ops::RangeInclusive<u64> = 631_152_000..=u32::MAX as u64;

/// A name in `new/` or `cur/`.
struct Name {
    is_new: bool,
    file: OsString,
}

/// The messages whose file names are `wanted`, newest last.
fn survey(
    disk: &dyn Disk,
    maildir: &Path,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Vec<Message>, MailboxError> {
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
    // By what a message shows, not by its place in a directory. For the same file seen in both,
    // `cur/` comes first.
    messages.sort_by(|a, b| {
        (a.delivered, &a.key, a.is_new, &a.path).cmp(&(b.delivered, &b.key, b.is_new, &b.path))
    });
    // Some programs move by link and unlink, so that a message has two names for a moment.
    messages.dedup_by(|a, b| (&a.key, a.delivered, a.size) == (&b.key, b.delivered, b.size));
    Ok(messages)
}

/// Looks once more for messages whose names are gone; those that are nowhere were removed.
fn look_again(
    disk: &dyn Disk,
    maildir: &Path,
    gone: HashSet<String>,
) -> Result<Vec<Message>, MailboxError> {
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

/// The names in `new/`, then in `cur/`: in this order a message that is moved between the two looks
/// is seen twice rather than never.
fn names(disk: &dyn Disk, maildir: &Path) -> Result<Vec<Name>, MailboxError> {
    let mut names = Vec::new();
    for is_new in [true, false] {
        let folder = folder(maildir, is_new);
        let files = match disk.list(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            listed => listed.doing("list", &folder)?,
        };
        let visible = |file: &OsString| !file.as_encoded_bytes().starts_with(b".");
        names.extend(files.into_iter().filter(visible).map(|file| Name { is_new, file }));
    }
    Ok(names)
}

fn folder(maildir: &Path, is_new: bool) -> PathBuf {
    maildir.join(if is_new { "new" } else { "cur" })
}

/// What lies under a name.
enum Look {
    Message(Message),
    /// A directory, a link, a pipe: no message, and opening it might wait or lead elsewhere.
    Other,
    Gone,
}

fn look(disk: &dyn Disk, maildir: &Path, name: &Name) -> Result<Look, MailboxError> {
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
    Ok(Look::Message(Message {
        key: key.to_owned(),
        delivered: time_in_name(key).unwrap_or(meta.modified),
        size: meta.size,
        // Some programs add `,` and fields of their own after the flags.
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
pub(crate) mod tests {
    use super::*;
    use crate::store::disk::Meta;
    use std::sync::Mutex;

    /// Files in memory: path, content, what they are. `moves` are done one by one, each before the
    /// next stat or open, as another program might.
    #[derive(Default)]
    pub(crate) struct Fake {
        files: Mutex<Vec<(String, Vec<u8>, bool)>>,
        moves: Mutex<Vec<(&'static str, &'static str)>>,
    }

    struct FakeFile(Vec<u8>);

    /// Nothing here writes.
    fn unsupported<T>() -> io::Result<T> {
        Err(io::ErrorKind::Unsupported.into())
    }

    impl Fake {
        fn with(names: &[&str]) -> Fake {
            let fake = Fake::default();
            for (index, name) in names.iter().enumerate() {
                fake.add(name, vec![b'x'; index]);
            }
            fake
        }

        pub(crate) fn add(&self, name: &str, content: Vec<u8>) {
            self.files.lock().unwrap().push((format!("/m/{name}"), content, true));
        }

        pub(crate) fn then_move(&self, from: &'static str, to: &'static str) {
            self.moves.lock().unwrap().push((from, to));
        }

        fn file(&self, path: &Path) -> io::Result<(Vec<u8>, bool)> {
            let mut files = self.files.lock().unwrap();
            for (from, to) in self.moves.lock().unwrap().drain(..) {
                files.iter_mut().filter(|file| file.0 == from).for_each(|file| file.0 = to.into());
            }
            let found = files.iter().find(|file| Path::new(&file.0) == path);
            found.map(|file| (file.1.clone(), file.2)).ok_or(io::ErrorKind::NotFound.into())
        }
    }

    impl Disk for Fake {
        fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
            let files = self.files.lock().unwrap();
            let here = files.iter().filter(|file| Path::new(&file.0).parent() == Some(dir));
            let names: Vec<_> =
                here.filter_map(|file| Path::new(&file.0).file_name().map(Into::into)).collect();
            if names.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(names) }
        }

        fn stat(&self, path: &Path) -> io::Result<Meta> {
            let (content, is_file) = self.file(path)?;
            let modified = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
            let size = content.len() as u64;
            Ok(Meta { is_dir: !is_file, is_file, size, modified, uid: 0, device: 0 })
        }

        fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
            Ok(Box::new(FakeFile(self.file(path)?.0)))
        }

        fn make_dir(&self, _: &Path) -> io::Result<()> {
            unsupported()
        }

        fn create(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
            unsupported()
        }

        fn scratch(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
            unsupported()
        }

        fn link(&self, _: &Path, _: &Path) -> io::Result<()> {
            unsupported()
        }

        fn remove(&self, _: &Path) -> io::Result<()> {
            unsupported()
        }

        fn sync_dir(&self, _: &Path) -> io::Result<()> {
            unsupported()
        }
    }

    impl DiskFile for FakeFile {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let rest = self.0.get(offset as usize..).unwrap_or_default();
            let count = rest.len().min(buffer.len()).min(1000); // short reads happen
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        }

        fn size(&self) -> io::Result<u64> {
            Ok(self.0.len() as u64)
        }

        fn append(&self, _: &[u8]) -> io::Result<()> {
            unsupported()
        }

        fn device(&self) -> io::Result<u64> {
            Ok(0)
        }

        fn sync(&self) -> io::Result<()> {
            unsupported()
        }

        fn sync_file_system(&self) -> io::Result<()> {
            unsupported()
        }
    }

    fn keys(disk: &Fake) -> Vec<String> {
        let messages = list(disk, Path::new("/m")).unwrap();
        messages.into_iter().map(|message| message.key).collect()
    }

    #[test]
    fn messages_are_listed_newest_last() {
        let disk = Fake::with(&[
            "new/1700000002.M5P1.mx,S=1",
            "cur/1700000002.M10P1.mx:2,RS",
            "cur/1700000001.b.mx:2,",
            "cur/1700000001.a.mx",
            "cur/20261123.x:2,S,ab",
            "tmp/1700000003.tmp",
            "new/.hidden",
        ]);
        disk.files.lock().unwrap().push(("/m/cur/1700000009.dir".into(), Vec::new(), false));
        let messages = list(&disk, Path::new("/m")).unwrap();
        let shown: Vec<_> =
            messages.iter().map(|m| (m.key.as_str(), m.flags.as_str(), m.is_new, m.size)).collect();
        let expected = [
            ("1700000001.a.mx", "", false, 3),
            ("1700000001.b.mx", "", false, 2),
            ("1700000002.M5P1.mx,S=1", "", true, 0),
            ("1700000002.M10P1.mx", "RS", false, 1),
            ("20261123.x", "S", false, 4),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn times_are_read_from_names() {
        for (key, time) in [
            ("1700000000.M123456P789.mx", Some((1_700_000_000, 123_456))),
            ("1700000000.R3f2M7P1Q2.mx,S=5", Some((1_700_000_000, 7))),
            ("1700000000.27c448.mx", Some((1_700_000_000, 0))),
            ("1700000000.Mail.mx", Some((1_700_000_000, 0))),
            ("1700000000.M99999999999999999999.mx", Some((1_700_000_000, 0))),
            ("1700000000", Some((1_700_000_000, 0))),
            ("1700000000123.x", None),
            ("20261123.x", None),
            ("+1700000000.x", None),
            ("99999999999999999999999.x", None),
            ("", None),
            (".x", None),
            ("message.eml", None),
        ] {
            let time = time.map(|(s, m)| UNIX_EPOCH + Duration::new(s, m * 1000));
            assert_eq!(time_in_name(key), time, "{key}");
        }
    }

    #[test]
    fn messages_are_found() {
        let disk = Fake::with(&["new/17.abc", "cur/17.abd:2,S", "cur/17.ab:2,", "cur/18.x:2,S"]);
        disk.add("cur/18.x:2,T", b"another".to_vec());
        for (key, path) in [
            ("17.abc", Ok("/m/new/17.abc")),
            ("17.abd", Ok("/m/cur/17.abd:2,S")),
            ("17.abd:2,S", Ok("/m/cur/17.abd:2,S")),
            ("17.abd:2,RS", Ok("/m/cur/17.abd:2,S")),
            ("17.ab", Ok("/m/cur/17.ab:2,")),
            ("17.a", Err("the keys of 3 messages begin with 17.a")),
            ("1", Err("the keys of 5 messages begin with 1")),
            ("18.x:2,T", Ok("/m/cur/18.x:2,T")),
            ("18.x", Err("the keys of 2 messages begin with 18.x")),
            ("19", Err("no message has the key 19")),
            ("", Err("no message has the key ")),
            ("../cur/17.abd", Err("no message has the key ../cur/17.abd")),
        ] {
            let found =
                find(&disk, Path::new("/m"), key).map(|m| m.path).map_err(|e| e.to_string());
            assert_eq!(found, path.map(PathBuf::from).map_err(str::to_owned), "{key}");
        }
    }

    #[test]
    fn a_maildir_that_is_not_there_is_empty() {
        assert!(keys(&Fake::default()).is_empty());
    }

    #[test]
    fn a_message_that_moves_is_seen_once() {
        let disk = Fake::with(&["cur/17.a:2,S", "new/17.b", "new/17.c"]);
        disk.then_move("/m/new/17.b", "/m/cur/17.b:2,");
        disk.then_move("/m/new/17.c", "/elsewhere/17.c");
        assert_eq!(keys(&disk), ["17.a", "17.b"]);
        // Seen in both directories, as by a program that links and then unlinks.
        disk.add("new/17.d", b"same".to_vec());
        disk.add("cur/17.d:2,", b"same".to_vec());
        let messages = list(&disk, Path::new("/m")).unwrap();
        let places: Vec<_> = messages.iter().map(|m| (m.key.as_str(), m.is_new)).collect();
        assert_eq!(places, [("17.a", false), ("17.b", false), ("17.d", false)]);
    }

    #[test]
    fn a_message_that_moves_before_it_is_read_is_read_where_it_is() {
        let disk = Fake::with(&["new/17.a", "new/17.b", "new/17.c"]);
        let messages = list(&disk, Path::new("/m")).unwrap();
        disk.then_move("/m/new/17.a", "/m/cur/17.a:2,S");
        disk.add("cur/17.a:2,", Vec::new()); // for a moment it has two names
        disk.then_move("/m/new/17.b", "/elsewhere/17.b");
        let read = read_each(&disk, Path::new("/m"), &messages, |message, file| {
            (message.flags.clone(), file.unwrap().size().unwrap())
        });
        let expected = [Some(("S".to_owned(), 0)), None, Some((String::new(), 2))];
        assert_eq!(read.unwrap(), expected);
    }

    #[test]
    fn heads_are_read_no_further_than_needed() {
        for (content, length) in [
            (Vec::new(), 0),
            (b"Subject: a".to_vec(), 10),
            ([&b"A: b\n\n"[..], &[b'x'; 100_000]].concat(), 1000),
            ([&b"A: b\n"[..], &[b'x'; 100_000]].concat(), fields::HEADER_MAX),
        ] {
            assert_eq!(read_head(&FakeFile(content)).unwrap().len(), length);
        }
    }
}
