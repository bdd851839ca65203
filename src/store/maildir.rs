//! One Maildir: unique names, drafts in `tmp/`, publication into `new/`, leftovers removed.
//!
//! As Dovecot, mutt and Courier read it; several processes on several hosts may deliver into one
//! tree, on NFS too. Nothing is ever overwritten: a draft is created only where no name is, and
//! published by a rename that fails when the name is taken.

use super::disk::{Disk, DiskFile, Doing, StoreError};
use super::draft::{Draft, Home, Make};
use super::homes::Homes;
use crate::event::count::OTHERS;
use crate::limits::{FOLDER_NAME_MAX, TMP_AGE};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// Characters of our host name that go into a file name; a file name holds 255 in all.
const HOST_MAX: usize = 100;

/// Makes names that no other process on any host makes.
#[derive(Debug)]
pub struct Names {
    /// Differs between processes that have the same number on hosts of the same name, as in containers.
    unique: String,
    count: AtomicU64,
}

impl Names {
    /// `host` is this machine's name.
    pub fn new(host: &str) -> Names {
        // Characters that a file name cannot hold, or that separate flags, are replaced as the convention says.
        let host: String = host.chars().take(HOST_MAX).collect();
        let host = host.replace('/', "\\057").replace(':', "\\072").replace(',', "\\054");
        let (process, random) = (std::process::id(), crate::id::random());
        Names { unique: format!("P{process}R{random:016x}.{host}"), count: AtomicU64::new(0) }
    }

    /// `seconds.M…Q…P…R….host,S=size`; the size in octets is the file's own.
    fn next(&self, size: u64) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let (seconds, micros) = (now.as_secs(), now.subsec_micros());
        let (left, host) = self.unique.split_once('.').unwrap_or((&self.unique, ""));
        format!("{seconds}.M{micros:06}Q{count}{left}.{host},S={size}")
    }
}

/// Makes a file for a message of `size` octets in `tmp/`, to be published in `new/`; and the Maildir, or its
/// folder, when it is missing. `homes`: those that are open.
pub fn draft(
    disk: &Arc<dyn Disk>,
    names: &Names,
    place: &Place,
    size: u64,
    homes: &mut Homes,
) -> Result<(Draft, Box<dyn DiskFile>), StoreError> {
    let path = place.home();
    let make: Make = if place.folder.is_some() { make_folder } else { make };
    // `cur` is made last, so where it exists, `new` and `tmp` do; a mail reader wants all three.
    let mut open = homes.known(&path, "cur");
    if open.is_none() {
        if disk.stat(&path.join("cur")).is_err() {
            make(&**disk, &path)?;
        }
        open = homes.open(&**disk, &path);
    }
    Draft::create(disk, Home { path, open, make, dir: "new" }, || names.next(size))
}

/// Where in a Maildir mail lies: where new mail is looked for, or in a folder of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place<'a> {
    pub maildir: &'a Path,
    /// Its name as Maildir++ writes it, with the dot: `.Junk`. None: the inbox.
    pub folder: Option<&'a str>,
}

impl Place<'_> {
    /// The directory that holds `tmp`, `new` and `cur`.
    pub fn home(&self) -> PathBuf {
        self.folder.map_or_else(|| self.maildir.to_owned(), |name| self.maildir.join(name))
    }
}

/// Whether a name can be a folder's (Maildir++): a dot, and what is one name of a directory.
pub fn is_folder_name(name: &str) -> bool {
    let is_bad = |c: char| c == '/' || c.is_control();
    let rest = name.strip_prefix('.').unwrap_or_default();
    !rest.is_empty() && rest != "." && name.len() <= FOLDER_NAME_MAX && !rest.contains(is_bad)
}

/// Makes the missing directories of a Maildir, with those above it, durably: a new name needs the sync of
/// the directory above it to survive. `cur` is made last, as the sign that all of this was done once.
/// Directories that exist may not be synced yet, so they are synced too.
fn make(disk: &dyn Disk, maildir: &Path) -> Result<(), StoreError> {
    make_with_parents(disk, maildir)?;
    make_inner(disk, maildir, |disk| sync_with_parents(disk, maildir, 1))?;
    OTHERS.add("maildirs");
    Ok(())
}

/// Makes what is missing of a folder (Maildir++), with its Maildir, in the same way. The empty file in it
/// tells those who deliver by themselves that this is no Maildir of its own.
fn make_folder(disk: &dyn Disk, folder: &Path) -> Result<(), StoreError> {
    let Some(maildir) = folder.parent() else { return make(disk, folder) };
    if disk.stat(&maildir.join("cur")).is_err() {
        make(disk, maildir)?;
    }
    make_dir(disk, folder)?;
    let mark = folder.join("maildirfolder");
    match disk.create(&mark) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(error).doing("create", &mark);
        }
        _ => {}
    }
    make_inner(disk, folder, |disk| {
        disk.sync_dir(folder).doing("sync", folder)?;
        disk.sync_dir(maildir).doing("sync", maildir)
    })
}

/// Makes the directories of a Maildir or a folder; `sync` makes the names above `cur` durable.
fn make_inner(
    disk: &dyn Disk,
    dir: &Path,
    sync: impl FnOnce(&dyn Disk) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    for name in ["tmp", "new"] {
        make_dir(disk, &dir.join(name))?;
    }
    sync(disk)?;
    let cur = dir.join("cur");
    make_dir(disk, &cur)?;
    disk.sync_dir(dir).doing("sync", dir).inspect_err(|_| {
        let _ = disk.remove_dir(&cur); // else the next message would take the directory for durable
    })
}

/// Makes a directory and those above it that are missing; none of them is synced.
pub fn make_with_parents(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    match disk.make_dir(dir) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let Some(parent) = dir.parent().filter(|parent| *parent != Path::new("")) else {
                return Err(error).doing("make", dir);
            };
            make_with_parents(disk, parent)?;
            make_dir(disk, dir)
        }
        made => made.doing("make", dir),
    }
}

/// Makes the names in a directory durable, then its own and those of the directories above it, of
/// which `ours` have to be readable.
pub fn sync_with_parents(disk: &dyn Disk, dir: &Path, ours: usize) -> Result<(), StoreError> {
    let named = |dir: &&Path| **dir != *"";
    for (depth, dir) in dir.ancestors().filter(named).enumerate() {
        match disk.sync_dir(dir) {
            // Nothing was made by us in a directory far above that we may pass through but not read.
            Err(error) if depth > ours && error.kind() == ErrorKind::PermissionDenied => break,
            synced => synced.doing("sync", dir)?,
        }
    }
    Ok(())
}

fn make_dir(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    match disk.make_dir(dir) {
        // Another process was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made.doing("make", dir),
    }
}

/// Whether a Maildir exists. One that cannot be looked at is an error, never a no: after a no its user
/// would be unknown and mail refused for good.
pub fn exists(disk: &dyn Disk, maildir: &Path) -> Result<bool, StoreError> {
    for name in ["cur", "new"] {
        let path = maildir.join(name);
        match disk.stat(&path) {
            Ok(found) if found.is_dir => return Ok(true),
            Ok(_) => {}
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => return Err(error).doing("look at", &path),
        }
    }
    Ok(false)
}

/// Removes what crashes left in `tmp/` over 36 hours ago; gives how many files that were.
pub fn clean(disk: &dyn Disk, maildir: &Path, now: SystemTime) -> Result<usize, StoreError> {
    let tmp = maildir.join("tmp");
    let names = match disk.list(&tmp) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        listed => listed.doing("list", &tmp)?,
    };
    let mut removed = 0;
    for path in names.iter().map(|name| tmp.join(name)) {
        // It may be gone already, because another process cleans too.
        let Ok(found) = disk.stat(&path) else { continue };
        // A file from the future, after the clock was set back, counts as young.
        let age = now.duration_since(found.modified).unwrap_or_default();
        if found.is_file && age > TMP_AGE && disk.remove(&path).is_ok() {
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryDisk;
    use std::path::PathBuf;
    use std::time::Duration;

    #[test]
    fn names_are_unique_and_carry_the_size() {
        let (one, other) = (Names::new("a/b:c"), Names::new("a/b:c"));
        let mut names: Vec<String> = (0..100).flat_map(|_| [one.next(7), other.next(7)]).collect();
        assert!(names.iter().all(|name| name.ends_with(".a\\057b\\072c,S=7")), "{}", names[0]);
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 200);
    }

    #[test]
    fn a_draft_is_published_and_leaves_tmp() {
        let memory = MemoryDisk::new();
        let disk: Arc<dyn Disk> = Arc::new(memory.clone());
        let maildir = Path::new("/mail/mx.test/ann");
        let inbox = Place { maildir, folder: None };
        let (draft, file) =
            draft(&disk, &Names::new("mx"), &inbox, 2, &mut Homes::default()).unwrap();
        file.append(b"x\n").unwrap();
        let published = draft.publish().unwrap();
        let name = || published.path.file_name().unwrap().to_str().unwrap().to_owned();
        let home = Home { path: maildir.to_owned(), open: None, make, dir: "new" };
        let (twin, _) = Draft::create(&disk, home, name).unwrap();
        assert!(twin.publish().is_err(), "a name that is taken is never overwritten");
        assert_eq!(memory.files(), [(published.path, b"x\n".to_vec())]);
        let synced = memory.operations().into_iter().filter(|o| o.name == "sync_dir");
        let synced: Vec<_> = synced.map(|o| o.path.display().to_string()).collect();
        let all = ["/mail/mx.test/ann", "/mail/mx.test", "/mail", "/", "/mail/mx.test/ann"];
        assert_eq!(synced, all, "each new directory's parent is synced");
        assert!(
            exists(&*disk, maildir).unwrap() && !exists(&*disk, Path::new("/mail/bob")).unwrap()
        );
    }

    #[test]
    fn a_directory_that_was_never_synced_is_synced_by_the_next_message() {
        let memory = MemoryDisk::new();
        let disk: Arc<dyn Disk> = Arc::new(memory.clone());
        let names = Names::new("mx");
        let place = Place { maildir: Path::new("/mail/ann"), folder: None };
        memory.set_fault(|operation| {
            let bad = operation.name == "sync_dir" && operation.path == Path::new("/mail");
            bad.then(|| std::io::Error::other("EIO"))
        });
        assert!(draft(&disk, &names, &place, 2, &mut Homes::default()).is_err());
        assert!(draft(&disk, &names, &place, 2, &mut Homes::default()).is_err());
        memory.clear_fault();
        assert!(draft(&disk, &names, &place, 2, &mut Homes::default()).is_ok());
    }

    #[test]
    fn a_folder_is_made_with_its_maildir() {
        let memory = MemoryDisk::new();
        let disk: Arc<dyn Disk> = Arc::new(memory.clone());
        let place = Place { maildir: Path::new("/mail/ann"), folder: Some(".Junk") };
        memory.set_fault(|operation| {
            let is_bad = |count: usize| operation.name == "sync_dir" && count == 0;
            let is_folder = operation.path == Path::new("/mail/ann/.Junk");
            is_bad(usize::from(!is_folder)).then(|| std::io::Error::other("EIO"))
        });
        let names = Names::new("mx");
        assert!(draft(&disk, &names, &place, 2, &mut Homes::default()).is_err());
        memory.clear_fault();
        let (draft, _) = draft(&disk, &names, &place, 2, &mut Homes::default()).unwrap();
        let published = draft.publish().unwrap();
        assert!(published.path.starts_with("/mail/ann/.Junk/new"));
        let mark = PathBuf::from("/mail/ann/.Junk/maildirfolder");
        let files: Vec<_> = memory.files().into_iter().map(|(path, _)| path).collect();
        assert_eq!(files, [mark, published.path]);
        for dir in ["/mail/ann/cur", "/mail/ann/.Junk/cur", "/mail/ann/.Junk/tmp"] {
            assert!(disk.stat(Path::new(dir)).is_ok_and(|found| found.is_dir), "{dir}");
        }
        let synced = memory.operations().into_iter().filter(|o| o.name == "sync_dir");
        let synced: Vec<_> = synced.map(|o| o.path.display().to_string()).collect();
        let end = ["/mail/ann/.Junk", "/mail/ann", "/mail/ann/.Junk"];
        assert!(synced.ends_with(&end.map(str::to_owned)), "{synced:?}");
    }

    #[test]
    fn names_of_folders() {
        for good in [".Junk", ".Junk.2026", ".Gel\u{f6}scht", "..x"] {
            assert!(is_folder_name(good), "{good}");
        }
        let long = format!(".{}", "x".repeat(255));
        for bad in ["", ".", "..", "Junk", ".a/b", "./x", ".a\nb", ".a\0", &long] {
            assert!(!is_folder_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn only_old_files_are_leftovers() {
        let disk = MemoryDisk::new();
        let now = SystemTime::now();
        let hours = |n: u64| now - Duration::from_secs(n * 3600);
        disk.put(Path::new("/ann/tmp/old"), b"", hours(37));
        disk.put(Path::new("/ann/tmp/young"), b"", hours(35));
        disk.put(Path::new("/ann/new/old"), b"", hours(1000));
        assert_eq!(clean(&disk, Path::new("/ann"), now).unwrap(), 1);
        let left: Vec<_> = disk.files().into_iter().map(|(path, _)| path).collect();
        assert_eq!(left, [PathBuf::from("/ann/new/old"), PathBuf::from("/ann/tmp/young")]);
    }
}
