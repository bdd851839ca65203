//! A mailbox for a page that people look at: how much is in it, and its newest messages. Taken from the names
//! of the files as far as these tell, and from a bounded number of names. Only reading a message that is gone
//! meanwhile ([`super::read_each`]) looks through all names once.

use super::{
    Look, MailboxError, MailboxMessage, MaildirName, folder, look, time_in_name, unique_name,
};
use crate::store::disk::{Disk, Doing, StoreError};
use std::cmp::Reverse;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// How much is in a mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Messages in `new/`, which no mail program has seen yet.
    pub new: usize,
    /// Messages in `cur/` that are flagged as seen.
    pub seen: usize,
    /// Messages in `new/` and `cur/`.
    pub all: usize,
    /// Octets of the messages whose names say their size (`,S=`).
    pub octets: u64,
    /// A name did not say its size, so there are more octets.
    pub has_more_octets: bool,
    /// There may be more messages than were looked at.
    pub is_cut: bool,
}

/// Some messages of a mailbox, by age.
#[derive(Debug, Default)]
pub struct NewestMessages {
    /// Newest first. A message that was removed meanwhile is left out.
    pub messages: Vec<MailboxMessage>,
    /// How many names were looked at.
    pub all: usize,
    /// There may be more messages than were looked at.
    pub is_cut: bool,
}

/// Counts a mailbox, looking at no more than `most` names.
pub fn count(disk: &dyn Disk, maildir: &Path, most: usize) -> Result<Count, StoreError> {
    let (names, is_cut) = some_names(disk, maildir, most)?;
    let mut count = Count { is_cut, ..Count::default() };
    for name in &names {
        let text = name.file.to_string_lossy();
        let (key, flags) = text.split_once(":2,").unwrap_or((&text, ""));
        count.all += 1;
        count.new += usize::from(name.is_new);
        count.seen += usize::from(!name.is_new && flags.contains('S'));
        match size_in_name(key) {
            Some(size) => count.octets = count.octets.saturating_add(size),
            None => count.has_more_octets = true,
        }
    }
    Ok(count)
}

/// `take` messages behind the newest `skip`, by the times in their names; a name without a time is oldest.
pub fn newest(
    disk: &dyn Disk,
    maildir: &Path,
    most: usize,
    skip: usize,
    take: usize,
) -> Result<NewestMessages, MailboxError> {
    let (mut names, is_cut) = some_names(disk, maildir, most)?;
    names.sort_by_cached_key(|name| {
        let text = name.file.to_string_lossy();
        let key = unique_name(&text);
        Reverse((time_in_name(key).unwrap_or(UNIX_EPOCH), key.to_owned()))
    });
    let mut messages = Vec::new();
    for name in names.iter().skip(skip).take(take) {
        if let Look::Message(message) = look(disk, maildir, name)? {
            messages.push(message);
        }
    }
    Ok(NewestMessages { messages, all: names.len(), is_cut })
}

/// The message of exactly this key, if it is there.
pub fn named(
    disk: &dyn Disk,
    maildir: &Path,
    key: &str,
) -> Result<Option<MailboxMessage>, MailboxError> {
    // First `new/`: a mail program may move it to `cur/` meanwhile, but never back.
    for is_new in [true, false] {
        let is_it = |name: &OsStr| unique_name(&name.to_string_lossy()) == key;
        let found = list(disk, &folder(maildir, is_new), 1, &is_it)?;
        for file in found {
            if let Look::Message(message) = look(disk, maildir, &MaildirName { is_new, file })? {
                return Ok(Some(message));
            }
        }
    }
    Ok(None)
}

/// No more than `most` names, and whether there may be more.
fn some_names(
    disk: &dyn Disk,
    maildir: &Path,
    most: usize,
) -> Result<(Vec<MaildirName>, bool), StoreError> {
    let mut names = Vec::new();
    for is_new in [true, false] {
        let visible = |file: &OsStr| !file.as_encoded_bytes().starts_with(b".");
        let files = list(disk, &folder(maildir, is_new), most - names.len(), &visible)?;
        names.extend(files.into_iter().map(|file| MaildirName { is_new, file }));
    }
    let is_cut = names.len() >= most;
    Ok((names, is_cut))
}

fn list(
    disk: &dyn Disk,
    dir: &Path,
    most: usize,
    wanted: &dyn Fn(&OsStr) -> bool,
) -> Result<Vec<std::ffi::OsString>, StoreError> {
    match disk.list_some(dir, most, wanted) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.doing("list", dir),
    }
}

/// The size in a name, which delivery writes: `...,S=1234,W=1280`.
fn size_in_name(key: &str) -> Option<u64> {
    key.split(',').skip(1).find_map(|part| part.strip_prefix("S=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::mailbox::tests::Fake;

    fn mailbox() -> Fake {
        let disk = Fake::default();
        disk.add("new/1795439149.M1.mx,S=60", b"x".to_vec());
        disk.add("new/.hidden", b"x".to_vec());
        disk.add("cur/1795439148.M1.mx,S=40:2,RS", b"x".to_vec());
        disk.add("cur/strange:2,", b"x".to_vec());
        disk
    }

    #[test]
    fn what_is_in_a_mailbox() {
        let (disk, maildir) = (mailbox(), Path::new("/m"));
        let (new, seen, all, octets) = (1, 1, 3, 100);
        let expected = Count { new, seen, all, octets, has_more_octets: true, is_cut: false };
        assert_eq!(count(&disk, maildir, 9).unwrap(), expected);
        let cut = count(&disk, maildir, 1).unwrap();
        assert!(cut.is_cut && cut.all == 1);
        assert_eq!(count(&disk, Path::new("/none"), 9).unwrap(), Count::default());
    }

    #[test]
    fn the_newest_come_first_page_by_page() {
        let (disk, maildir) = (mailbox(), Path::new("/m"));
        let keys = |skip, take| {
            let shelf = newest(&disk, maildir, 9, skip, take).unwrap();
            assert!(shelf.all == 3 && !shelf.is_cut);
            shelf.messages.into_iter().map(|message| message.key).collect::<Vec<_>>()
        };
        assert_eq!(keys(0, 2), ["1795439149.M1.mx,S=60", "1795439148.M1.mx,S=40"]);
        assert_eq!(keys(2, 2), ["strange"]);
        assert_eq!(keys(3, 2), Vec::<String>::new());
        let found = named(&disk, maildir, "strange").unwrap().unwrap();
        assert!(found.path.ends_with("cur/strange:2,") && !found.is_new);
        assert!(named(&disk, maildir, "strang").unwrap().is_none());
        assert!(named(&disk, maildir, "../cur/strange").unwrap().is_none());
    }
}
