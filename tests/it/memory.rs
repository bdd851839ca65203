//! A disk in memory, for tests: the same operations, counted, and any of them can be made to fail.
//!
//! It models names and contents, hard links, and files without a name. What a power cut leaves is
//! not modelled here.
//!
//! The unit tests of `src/` and the targets of `fuzz/` have it too. A real disk differs in what is left out: owners,
//! modes, more than one file system, and room that ends.

use facteur::store::disk::{Disk, DiskFile, Meta, OpenHome};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// One operation that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The name of the method of [`Disk`] or [`DiskFile`].
    pub name: &'static str,
    /// The new name for a link, the directory for a file without a name.
    pub path: PathBuf,
}

/// Decides whether an operation fails, and how. Called while the disk is locked: it must not use
/// that disk, or it waits for ever.
pub type Fault = Box<dyn FnMut(&Operation) -> Option<io::Error> + Send>;

/// A disk that is gone with its last clone; clones are one disk, so that a test can look at what it
/// gave away.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// By whole path. The root is no node, and is always there.
    nodes: BTreeMap<PathBuf, Node>,
    operations: Vec<Operation>,
    fault: Option<Fault>,
    /// What is free; none: any number of octets.
    room: Option<u64>,
    /// From where on the octets of all files cannot be read.
    bad_from: Option<u64>,
    claimed: BTreeSet<PathBuf>,
    /// A syncfs would not reach it.
    is_remote: bool,
    /// Names become durable behind the octets that were waited for.
    keeps_order: bool,
}

#[derive(Clone)]
enum Node {
    Dir,
    /// With when it was made: appending does not change that.
    File(Content, SystemTime),
}

/// Shared by hard links and open files, as an inode is.
type Content = Arc<Mutex<Vec<u8>>>;

impl MemoryDisk {
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    /// From now on every operation is shown to `fault` first.
    pub fn set_fault(&self, fault: impl FnMut(&Operation) -> Option<io::Error> + Send + 'static) {
        self.inner().fault = Some(Box::new(fault));
    }

    /// From now on nothing fails any more.
    pub fn clear_fault(&self) {
        self.inner().fault = None;
    }

    /// From now on it is one that keeps what each file's own sync asks for, and nothing else.
    pub fn set_remote(&self) {
        self.inner().is_remote = true;
    }

    /// From now on it is one that keeps the order of octets and names.
    pub fn set_ordered(&self) {
        self.inner().keeps_order = true;
    }

    /// From now on it says that `octets` are free; none of them is ever used up.
    pub fn set_room(&self, octets: u64) {
        self.inner().room = Some(octets);
    }

    /// From now on no file can be read from there on; what lies before is given.
    #[allow(dead_code, reason = "of unit tests")]
    pub fn set_bad_from(&self, offset: u64) {
        self.inner().bad_from = Some(offset);
    }

    /// All operations so far, in order, failed ones too: which sync came before which name is what
    /// a test wants to see.
    pub fn operations(&self) -> Vec<Operation> {
        self.inner().operations.clone()
    }

    /// Path and content of every file with a name, in order of the paths.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let inner = self.inner();
        let files = inner.nodes.iter().filter_map(|(path, node)| match node {
            Node::File(content, _) => Some((path.clone(), locked(content).clone())),
            Node::Dir => None,
        });
        files.collect()
    }

    /// Puts a file there, with its directories. The test's own doing: not recorded, and no fault
    /// stops it.
    pub fn put(&self, path: &Path, octets: &[u8], modified: SystemTime) {
        let mut inner = self.inner();
        for dir in path.ancestors().skip(1) {
            inner.nodes.insert(dir.to_owned(), Node::Dir);
        }
        let content = Arc::new(Mutex::new(octets.to_vec()));
        inner.nodes.insert(path.to_owned(), Node::File(content, modified));
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        locked(&self.0)
    }

    /// Records an operation, lets it fail, then gives the state to work on.
    fn step(&self, name: &'static str, path: &Path) -> io::Result<MutexGuard<'_, Inner>> {
        let mut inner = self.inner();
        let operation = Operation { name, path: path.to_owned() };
        let error = inner.fault.as_mut().and_then(|fault| fault(&operation));
        inner.operations.push(operation);
        error.map_or(Ok(inner), Err)
    }

    fn file(&self, path: &Path, content: Content) -> Box<dyn DiskFile> {
        Box::new(MemoryFile { disk: self.clone(), path: path.to_owned(), content, claimed: false })
    }
}

impl Inner {
    /// A name needs its directory, or a test would not see that nobody made it.
    fn parent_of(&self, path: &Path) -> io::Result<()> {
        let parent = path.parent().unwrap_or(Path::new(""));
        match self.nodes.get(parent) {
            Some(Node::Dir) => Ok(()),
            Some(Node::File(..)) => Err(ErrorKind::NotADirectory.into()),
            None if parent == Path::new("") || parent == Path::new("/") => Ok(()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn insert(&mut self, path: &Path, node: Node) -> io::Result<()> {
        self.parent_of(path)?;
        match self.nodes.contains_key(path) {
            true => Err(ErrorKind::AlreadyExists.into()),
            false => {
                self.nodes.insert(path.to_owned(), node);
                Ok(())
            }
        }
    }

    fn content(&self, path: &Path) -> io::Result<Content> {
        match self.nodes.get(path) {
            Some(Node::File(content, _)) => Ok(content.clone()),
            Some(Node::Dir) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }
}

/// An open home of a disk in a test: its steps are those by path.
pub struct HomeByPath<D>(pub D, pub PathBuf);

impl<D: Disk> OpenHome for HomeByPath<D> {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.0.create(&self.1.join(path))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename_new(&self.1.join(from), &self.1.join(to))
    }

    fn is_there(&self, part: &str) -> bool {
        self.0.stat(&self.1.join(part)).is_ok()
    }
}

impl Disk for MemoryDisk {
    fn open_home(&self, home: &Path) -> io::Result<Option<Box<dyn OpenHome>>> {
        let is_open = self.inner().nodes.contains_key(home);
        Ok(is_open.then(|| Box::new(HomeByPath(self.clone(), home.to_owned())) as _))
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.step("make_dir", path)?.insert(path, Node::Dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let content = Content::default();
        let node = Node::File(content.clone(), SystemTime::now());
        self.step("create", path)?.insert(path, node)?;
        Ok(self.file(path, content))
    }

    fn scratch(&self, dir: &Path) -> io::Result<Box<dyn DiskFile>> {
        // No node: nobody can find it by a name, and `files` does not tell it.
        drop(self.step("scratch", dir)?);
        Ok(self.file(&dir.join("(scratch)"), Content::default()))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let content = self.step("open", path)?.content(path)?;
        Ok(self.file(path, content))
    }

    fn claim(&self, path: &Path) -> io::Result<Option<Box<dyn DiskFile>>> {
        let mut inner = self.step("claim", path)?;
        let content = inner.content(path)?;
        match inner.claimed.insert(path.to_owned()) {
            false => Ok(None),
            true => {
                let (disk, path) = (self.clone(), path.to_owned());
                Ok(Some(Box::new(MemoryFile { disk, path, content, claimed: true })))
            }
        }
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.step("link", to)?;
        inner.content(from)?;
        // A clone shares the content.
        let node = inner.nodes[from].clone();
        inner.insert(to, node)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.step("rename_new", to)?;
        inner.content(from)?;
        let node = inner.nodes[from].clone();
        inner.insert(to, node)?;
        inner.nodes.remove(from);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.step("rename", to)?;
        inner.content(from)?;
        inner.parent_of(to)?;
        let node = inner.nodes[from].clone();
        inner.nodes.remove(from);
        inner.nodes.insert(to.to_owned(), node);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.step("remove", path)?;
        // Fails for a directory, as unlink does.
        inner.content(path)?;
        inner.nodes.remove(path);
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let mut inner = self.step("remove_dir", dir)?;
        if inner.nodes.keys().any(|path| path.parent() == Some(dir)) {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        inner.nodes.remove(dir).map(drop).ok_or(ErrorKind::NotFound.into())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let inner = self.step("list", dir)?;
        match inner.nodes.get(dir) {
            Some(Node::Dir) => {}
            Some(Node::File(..)) => return Err(ErrorKind::NotADirectory.into()),
            None => return Err(ErrorKind::NotFound.into()),
        }
        let inside = inner.nodes.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_owned())).collect())
    }

    fn list_some(
        &self,
        dir: &Path,
        most: usize,
        wanted: &dyn Fn(&OsStr) -> bool,
    ) -> io::Result<Vec<OsString>> {
        let names = self.list(dir)?.into_iter().filter(|name| wanted(name));
        let is_file = |name: &OsString| {
            matches!(self.inner().nodes.get(&dir.join(name)), Some(Node::File(..)))
        };
        Ok(names.filter(is_file).take(most).collect())
    }

    fn set_mode(&self, dir: &Path, _mode: u32) -> io::Result<()> {
        self.step("set_mode", dir).map(drop)
    }

    fn stat(&self, path: &Path) -> io::Result<Meta> {
        let inner = self.step("stat", path)?;
        let node = inner.nodes.get(path).ok_or(ErrorKind::NotFound)?;
        let (size, modified) = match node {
            Node::Dir => (0, SystemTime::UNIX_EPOCH),
            Node::File(content, modified) => (locked(content).len() as u64, *modified),
        };
        let is_dir = matches!(node, Node::Dir);
        // What differs by owners, modes and file systems is tried on a real disk.
        Ok(Meta { is_dir, is_file: !is_dir, modified, ..of_file(size) })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        // Durable from the start: only that it was asked for can be seen.
        self.step("sync_dir", dir).map(drop)
    }

    fn room(&self, dir: &Path) -> io::Result<u64> {
        Ok(self.step("room", dir)?.room.unwrap_or(u64::MAX))
    }
}

/// An open file; it can be read and written after its name is gone.
struct MemoryFile {
    disk: MemoryDisk,
    path: PathBuf,
    content: Content,
    claimed: bool,
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        if self.claimed {
            self.disk.inner().claimed.remove(&self.path);
        }
    }
}

impl DiskFile for MemoryFile {
    fn append(&self, octets: &[u8]) -> io::Result<()> {
        // The disk's lock goes back before the content's is taken: never two at once.
        drop(self.disk.step("append", &self.path)?);
        locked(&self.content).extend_from_slice(octets);
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let bad_from = self.disk.step("read_at", &self.path)?.bad_from.unwrap_or(u64::MAX);
        let content = locked(&self.content);
        let sound = content.len().min(usize::try_from(bad_from).unwrap_or(usize::MAX));
        if sound < content.len() && offset >= sound as u64 && !buffer.is_empty() {
            return Err(io::Error::other("EIO"));
        }
        let rest = content[..sound].get(offset as usize..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    // Not recorded, here and in `meta` and `device`: what is open can always be asked.
    fn size(&self) -> io::Result<u64> {
        Ok(locked(&self.content).len() as u64)
    }

    fn meta(&self) -> io::Result<Meta> {
        Ok(of_file(locked(&self.content).len() as u64))
    }

    fn share(&self) -> io::Result<()> {
        self.disk.step("share", &self.path).map(drop)
    }

    fn device(&self) -> io::Result<u64> {
        Ok(1)
    }

    fn wait_written(&self) -> io::Result<()> {
        self.disk.step("wait_written", &self.path).map(drop)
    }

    fn keeps_order(&self) -> io::Result<bool> {
        Ok(self.disk.inner().keeps_order)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.step("sync", &self.path).map(drop)
    }

    fn sync_file_system(&self) -> io::Result<()> {
        self.disk.step("sync_file_system", &self.path).map(drop)
    }

    fn is_synced_with_others(&self) -> io::Result<bool> {
        Ok(!self.disk.inner().is_remote)
    }
}

/// What there is to say of any file here: all belong to root, and have one name.
fn of_file(size: u64) -> Meta {
    let modified = SystemTime::UNIX_EPOCH;
    let (is_dir, is_file, uid, mode) = (false, true, 0, 0o600);
    Meta { is_dir, is_file, size, modified, uid, mode, links: 1 }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
