//! `spool/drop/`: messages of users who may not write the queue, until the server takes them in.
//!
//! One file a message, as in the queue but without a journal. Anybody may make files there and nobody
//! but the server may list them (mode 1733), so without its name nobody can read a file, and
//! its end cannot be guessed ([`crate::id::secret`]). That is why it may be readable by all, and has to
//! be: the server is not root. The sticky bit keeps others from removing or replacing it.
//!
//! A dropped file is believed only as far as its owner may write mail: [`crate::pickup`] decides that. Anything
//! but a regular file with one name is refused here: a hard link could bring in another user's file.
//!
//! Beside messages there are short records of calls that sent nothing ([`super::unsent`]), under names of
//! another kind; they are dropped and taken in the same way.

use super::disk::{Disk, DiskFile, Doing, StoreError};
use super::entry::Entry;
use super::queue::{self, Queue, QueueError};
use super::unsent::Unsent;
use crate::id::is_secret;
use crate::limits::{DROP_AGE, DROPS_AT_ONCE, QUEUE_HEADER_MAX, UNSENT_MAX};
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// All users may make names and pass through, only the owner may list, and none may touch another's file.
const MODE: u32 = 0o1733;

/// The bits that let others pass through the spool without listing it.
const PASSAGE: u32 = 0o011;

/// The drop directory of one spool.
#[derive(Clone)]
pub struct Drops {
    disk: Arc<dyn Disk>,
    spool: PathBuf,
}

/// A whole file that somebody dropped.
pub struct Dropped {
    /// Its owner.
    pub uid: u32,
    /// Its header, as the owner wrote it.
    pub entry: Entry,
    pub file: Box<dyn DiskFile>,
    pub path: PathBuf,
}

/// A file of which only name, kind and size were checked.
struct Opened<'a> {
    /// Its name.
    id: &'a str,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    uid: u32,
    size: u64,
}

/// Why a dropped file cannot be had.
#[derive(Debug)]
pub enum NotTaken {
    /// It does not exist, or not any more.
    Gone,
    /// It is refused for good: what is wrong with it.
    Refused(String),
    /// It cannot be read now, but may be later.
    Disk(StoreError),
}

impl Drops {
    /// Changes nothing; [`Drops::make`] does.
    pub fn new(disk: Arc<dyn Disk>, spool: &Path) -> Drops {
        Drops { disk, spool: spool.to_owned() }
    }

    pub fn dir(&self) -> PathBuf {
        self.spool.join("drop")
    }

    /// Makes the directory, and lets all users through to it. For the server alone: the user that makes it
    /// is the one that may take from it.
    pub fn make(&self) -> Result<(), StoreError> {
        let dir = self.dir();
        super::maildir::make_with_parents(&*self.disk, &dir)?;
        self.disk.set_mode(&dir, MODE).doing("open to all users", &dir)?;
        let found = self.disk.stat(&self.spool).doing("look at", &self.spool)?;
        if found.mode & PASSAGE != PASSAGE {
            let mode = found.mode | PASSAGE;
            self.disk.set_mode(&self.spool, mode).doing("let users go through", &self.spool)?;
        }
        Ok(())
    }

    /// Drops a whole message, durably; its id is [`crate::id::secret`]. `write` appends its octets
    /// behind the header.
    pub fn put(
        &self,
        entry: &Entry,
        write: impl FnOnce(&dyn DiskFile, &Path) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.publish(&entry.id, |file, draft| {
            let header = entry.checked_header().doing("write", draft)?;
            file.append(header.as_bytes()).doing("write", draft)?;
            write(file, draft)
        })
    }

    /// Leaves the record of a call that sent nothing, under a name of [`super::unsent::name`].
    pub fn put_unsent(&self, name: &str, unsent: &Unsent) -> Result<(), StoreError> {
        let text = unsent.text();
        self.publish(name, |file, draft| file.append(text.as_bytes()).doing("write", draft))
    }

    /// Makes a file that is seen only once it is whole and durable.
    fn publish(
        &self,
        name: &str,
        write: impl FnOnce(&dyn DiskFile, &Path) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let dir = self.dir();
        // Under this name the file is not whole yet, and nobody reads it.
        let (draft, path) = (dir.join(format!(".{name}")), dir.join(name));
        let file = self.disk.create(&draft).doing("create", &draft)?;
        let put = || {
            write(&*file, &draft)?;
            file.share().doing("let the server read", &draft)?;
            file.sync().doing("sync", &draft)?;
            self.disk.rename(&draft, &path).doing("publish", &path)?;
            // The whole file system, because a user that may not read a directory cannot sync it.
            file.sync_file_system().doing("sync the disk of", &path)
        };
        put().inspect_err(|_| {
            // It has one of the two names. A name that a power cut could take must not stay: the call fails.
            let _ = self.disk.remove(&draft);
            let _ = self.disk.remove(&path);
        })
    }

    /// When anything was dropped or taken last.
    pub fn changed(&self) -> Result<SystemTime, StoreError> {
        let dir = self.dir();
        Ok(self.disk.stat(&dir).doing("look at", &dir)?.modified)
    }

    /// Some names of whole files, as far as names tell: at most `most`, only those that `wanted` takes.
    pub fn some(
        &self,
        most: usize,
        wanted: &dyn Fn(&OsStr) -> bool,
    ) -> Result<Vec<OsString>, StoreError> {
        let dir = self.dir();
        let is_wanted = |name: &OsStr| !is_draft(name) && wanted(name);
        self.disk.list_some(&dir, most, &is_wanted).doing("list", &dir)
    }

    /// The owner of a dropped file; none when it cannot be looked at.
    pub fn owner(&self, name: &OsStr) -> Option<u32> {
        self.disk.stat(&self.dir().join(name)).ok().map(|found| found.uid)
    }

    /// Opens a dropped message and reads its header. `most`: octets that a message may have.
    pub fn open(&self, name: &OsStr, most: u64) -> Result<Dropped, NotTaken> {
        let most = most.saturating_add(QUEUE_HEADER_MAX as u64);
        let Opened { id, path, file, uid, size } =
            self.opened(name, (most, "limit.message_size"))?;
        let (message, _) = queue::parse(&*file, id, &path).map_err(|error| match error {
            QueueError::Disk(error) => not_had(error.source, error.step, &path),
            other => NotTaken::Refused(other.to_string()),
        })?;
        let entry = message.entry;
        match entry.message_at + entry.size == size {
            true => Ok(Dropped { uid, entry, file, path }),
            false => Err(NotTaken::Refused("something stands behind its message".to_owned())),
        }
    }

    /// Reads the record of a call that sent nothing; gives its owner and the record.
    pub fn open_unsent(&self, name: &OsStr) -> Result<(u32, Unsent), NotTaken> {
        let most = (UNSENT_MAX as u64, "such a record may be");
        let Opened { path, file, uid, size, .. } = self.opened(name, most)?;
        // Fewer octets where its owner has cut the file meanwhile.
        let octets = file.read_up_to(0, size as usize);
        let octets = octets.map_err(|error| not_had(error, "read", &path))?;
        let text = String::from_utf8(octets).ok();
        let unsent = text.ok_or_else(|| "it is no text".to_owned());
        let unsent = unsent.and_then(|text| Unsent::parse(&text)).map_err(NotTaken::Refused)?;
        Ok((uid, unsent))
    }

    /// Opens a regular file with one name of the kind that sendmail makes, of at most `most` octets; `by` says
    /// in words what sets that limit.
    fn opened<'a>(&self, name: &'a OsStr, (most, by): (u64, &str)) -> Result<Opened<'a>, NotTaken> {
        let refused = |why: &str| Err(NotTaken::Refused(why.to_owned()));
        let Some(id) = name.to_str().filter(|name| is_secret(name)) else {
            return refused("its name is none that sendmail gives");
        };
        let path = self.dir().join(id);
        // Checked before it is opened, because to open a link would follow it, and to open a pipe would wait.
        let there = self.disk.stat(&path).map_err(|error| not_had(error, "look at", &path))?;
        if !there.is_file {
            return refused("it is no regular file");
        }
        let file = self.disk.open(&path).map_err(|error| not_had(error, "open", &path))?;
        // Checked once more on the open file: another file may have the name by now.
        let found = file.meta().map_err(|error| not_had(error, "look at", &path))?;
        if !found.is_file || found.links != 1 {
            return refused("it is no regular file of one name");
        }
        if found.size > most {
            return refused(&format!("it is larger than {by}"));
        }
        Ok(Opened { id, path, file, uid: found.uid, size: found.size })
    }

    /// Removes a file that was taken in; durable after [`Drops::sync`].
    pub fn remove(&self, name: &OsStr) -> Result<(), StoreError> {
        let path = self.dir().join(name);
        match self.disk.remove(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.doing("remove", &path),
        }
    }

    pub fn sync(&self) -> Result<(), StoreError> {
        let dir = self.dir();
        self.disk.sync_dir(&dir).doing("sync", &dir)
    }

    /// Puts a refused file away: a regular file goes into `damaged/`, because it may be a user's mail, and its new
    /// path is given. Anything else is removed.
    pub fn put_aside(&self, name: &OsStr) -> Result<Option<PathBuf>, StoreError> {
        let from = self.dir().join(name);
        let found = match self.disk.stat(&from) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            found => found.doing("look at", &from)?,
        };
        if !found.is_file || found.links != 1 {
            return self.remove(name).map(|()| None);
        }
        // Never under its own name, which a user has chosen; and moved, not linked, because some systems do not
        // let us link another user's file.
        let damaged = self.spool.join("damaged");
        let to = damaged.join(format!("drop-{}", crate::id::message()));
        self.disk.rename(&from, &to).doing("put aside", &from)?;
        // The new name is synced first; [`Drops::sync`] makes the end of the old one durable later.
        self.disk.sync_dir(&damaged).doing("sync", &damaged)?;
        Ok(Some(to))
    }

    /// Removes drafts that were never finished.
    pub fn sweep(&self, now: SystemTime) -> Result<(), StoreError> {
        for name in self.list(&is_draft)? {
            let Ok(found) = self.disk.stat(&self.dir().join(&name)) else { continue };
            if now.duration_since(found.modified).unwrap_or_default() >= DROP_AGE {
                self.remove(&name)?;
            }
        }
        Ok(())
    }

    /// Removes files that lie in the queue already, because a crash came before they were removed here. To be
    /// called before anything leaves the queue, or their mail would be sent twice.
    pub fn remove_taken(&self, queue: &Queue) -> Result<(), StoreError> {
        let is_taken = |name: &OsStr| name.to_str().is_some_and(|name| queue.has(name));
        loop {
            let taken = self.list(&is_taken)?;
            if taken.is_empty() {
                // Also makes durable what an earlier server removed and could not sync.
                return self.sync();
            }
            taken.iter().try_for_each(|name| self.remove(name))?;
        }
    }

    fn list(&self, wanted: &dyn Fn(&OsStr) -> bool) -> Result<Vec<OsString>, StoreError> {
        let dir = self.dir();
        self.disk.list_some(&dir, DROPS_AT_ONCE, wanted).doing("list", &dir)
    }
}

fn is_draft(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// What an error means for a dropped file: refused where its owner prevents us from reading it, else to be
/// tried again.
pub fn not_had(error: io::Error, step: &'static str, path: &Path) -> NotTaken {
    match error.kind() {
        ErrorKind::NotFound => NotTaken::Gone,
        ErrorKind::PermissionDenied => {
            NotTaken::Refused("its owner does not let us read it".to_owned())
        }
        // A lease or a mandatory lock, which only the file's owner can have caused.
        ErrorKind::WouldBlock => NotTaken::Refused("another program keeps it to itself".to_owned()),
        _ => NotTaken::Disk(StoreError { step, path: path.to_owned(), source: error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryDisk;

    fn entry(id: &str) -> Entry {
        let text = format!(
            "facteur queue 1\nid: {id}\nqueued: 2026-11-23T14:00:00Z\nfrom: <ann@mx.test>\n\
             to: <bob@mx.test>\nsize: 2\n"
        );
        Entry::parse(&text, 0).unwrap()
    }

    fn drops() -> (MemoryDisk, Drops) {
        let disk = MemoryDisk::new();
        let drops = Drops::new(Arc::new(disk.clone()), Path::new("/spool"));
        drops.make().unwrap();
        disk.make_dir(Path::new("/spool/damaged")).unwrap();
        (disk, drops)
    }

    #[test]
    fn what_was_put_is_found_whole() {
        let (_, drops) = drops();
        let id = crate::id::secret(&crate::id::message());
        drops.put(&entry(&id), |file, path| file.append(b"x\n").doing("write", path)).unwrap();
        let some = || drops.some(9, &|_| true).unwrap();
        assert_eq!(some(), [OsString::from(&id)]);
        let dropped = drops.open(OsStr::new(&id), 2).unwrap();
        assert_eq!((dropped.entry.size, dropped.entry.id), (2, id.clone()));
        drops.remove(OsStr::new(&id)).unwrap();
        assert!(some().is_empty());
    }

    #[test]
    fn a_fault_at_any_step_leaves_nothing() {
        let failing = |step: usize| {
            let (disk, drops) = drops();
            let mut count = 0;
            disk.set_fault(move |operation| {
                count += usize::from(operation.name != "remove");
                (count == step && operation.name != "remove").then(|| io::Error::other("fault"))
            });
            let id = crate::id::secret(&crate::id::message());
            let put = drops.put(&entry(&id), |file, path| file.append(b"x\n").doing("write", path));
            disk.clear_fault();
            (put.is_ok(), disk.files().len())
        };
        assert_eq!(failing(0), (true, 1));
        let failed = (1..).map(failing).take_while(|(ok, _)| !ok);
        let steps = failed.inspect(|(_, files)| assert_eq!(*files, 0)).count();
        assert!(steps >= 6, "{steps}");
    }

    #[test]
    fn what_is_no_whole_drop_is_refused() {
        let (disk, drops) = drops();
        let id = crate::id::secret(&crate::id::message());
        let good = entry(&id).header() + "x\n";
        let other = crate::id::secret(&crate::id::message());
        for (name, text) in [
            (id.as_str(), &good[..good.len() - 1]),
            (&id, &format!("{good}more")),
            (&id, ""),
            (&id, "\0\0"),
            (&other, &good),
            ("m1", &good),
        ] {
            let path = drops.dir().join(name);
            disk.put(&path, text.as_bytes(), SystemTime::now());
            let opened = drops.open(OsStr::new(name), 1000);
            assert!(matches!(opened, Err(NotTaken::Refused(_))), "{name}: {text:?}");
            let aside = drops.put_aside(OsStr::new(name)).unwrap().unwrap();
            assert!(disk.stat(&aside).is_ok() && disk.stat(&path).is_err());
        }
    }
}
