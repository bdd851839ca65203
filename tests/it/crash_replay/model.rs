//! The disk that is recorded: a [`Tree`] in memory, and a log of all that changed it, was made durable,
//! or was promised to somebody meanwhile.

use super::log::{Entry, Mark, Synced, What};
use super::tree::{Content, Kind, Node, Tree};
use crate::memory::HomeByPath;
use facteur::store::disk::{Disk, DiskFile, Meta, OpenHome};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// What a fault does to one operation.
pub enum Fault {
    Fails(i32),
    /// Of an append only a half is written, then it fails.
    Half(i32),
}

impl Fault {
    fn error(&self) -> io::Error {
        let (Fault::Fails(error) | Fault::Half(error)) = self;
        io::Error::from_raw_os_error(*error)
    }
}

type Plan = Box<dyn FnMut(&'static str, &Path) -> Option<Fault> + Send>;

/// Clones are one disk.
#[derive(Clone)]
pub struct Recorder(Arc<Mutex<Inner>>);

struct Inner {
    tree: Tree,
    /// None: nothing is recorded.
    log: Option<Vec<Entry>>,
    phase: &'static str,
    plan: Option<Plan>,
    /// Called once while a sync is under way, when its path fits.
    during: Option<(PathBuf, Box<dyn FnOnce() + Send>)>,
    claimed: BTreeSet<Node>,
    syncs: usize,
    /// Of these, those that are over.
    synced: usize,
    /// Names are moved by link and unlink, as on NFS.
    has_no_rename_new: bool,
    /// Names become durable behind the octets that were waited for, as on ext4 with a journal.
    keeps_order: bool,
}

impl Recorder {
    /// Begins with this tree, all of it durable.
    pub fn new(tree: Tree, is_recording: bool) -> Recorder {
        let log = is_recording.then(Vec::new);
        let (plan, during, claimed, syncs, synced) = Default::default();
        let (phase, has_no_rename_new, keeps_order) = ("start", false, false);
        let inner = Inner {
            tree,
            log,
            phase,
            plan,
            during,
            claimed,
            syncs,
            synced,
            has_no_rename_new,
            keeps_order,
        };
        Recorder(Arc::new(Mutex::new(inner)))
    }

    pub fn tree(&self) -> Tree {
        self.inner().tree.clone()
    }

    pub fn log(&self) -> Vec<Entry> {
        self.inner().log.clone().unwrap_or_default()
    }

    pub fn is_recording(&self) -> bool {
        self.inner().log.is_some()
    }

    pub fn set_phase(&self, phase: &'static str) {
        self.inner().phase = phase;
    }

    pub fn mark(&self, mark: Mark) {
        let mut inner = self.inner();
        inner.note("mark", Path::new(""), What::Mark(mark));
    }

    /// From now on all operations are shown to `plan` first.
    pub fn set_plan(
        &self,
        plan: impl FnMut(&'static str, &Path) -> Option<Fault> + Send + 'static,
    ) {
        self.inner().plan = Some(Box::new(plan));
    }

    pub fn clear_plan(&self) {
        self.inner().plan = None;
    }

    /// It is a file system that cannot rename without replacing.
    pub fn lose_rename_new(&self) {
        self.inner().has_no_rename_new = true;
    }

    /// It is a file system that keeps the order of octets and names.
    pub fn keep_order(&self) {
        self.inner().keeps_order = true;
    }

    /// How many syncs are over.
    pub fn synced(&self) -> usize {
        self.inner().synced
    }

    /// While the next sync of something under this path is under way, that is done.
    pub fn during_sync_of(&self, path: &Path, act: impl FnOnce() + Send + 'static) {
        self.inner().during = Some((path.to_owned(), Box::new(act)));
    }

    /// Puts a file there, durable from the start; with its directories.
    pub fn put(&self, path: &Path, octets: &[u8]) {
        let mut inner = self.inner();
        let parents: Vec<&Path> = path.ancestors().skip(1).collect();
        for dir in parents.into_iter().rev().filter(|dir| dir.file_name().is_some()) {
            if inner.tree.find(dir).is_err() {
                inner.put(dir, Kind::Dir(BTreeMap::new()));
            }
        }
        inner.put(path, Kind::File(Content::new(octets.to_vec())));
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    fn step(&self, name: &'static str, path: &Path) -> io::Result<MutexGuard<'_, Inner>> {
        let (inner, fault) = self.faulty(name, path);
        fault.map_or(Ok(inner), |fault| Err(fault.error()))
    }

    fn faulty(&self, name: &'static str, path: &Path) -> (MutexGuard<'_, Inner>, Option<Fault>) {
        let mut inner = self.inner();
        // Not under the lock: a plan may look at the disk.
        let plan = inner.plan.take();
        drop(inner);
        let mut fault = None;
        let plan = plan.map(|mut plan| {
            fault = plan(name, path);
            plan
        });
        inner = self.inner();
        inner.plan = inner.plan.take().or(plan);
        (inner, fault)
    }

    fn sync(&self, name: &'static str, path: &Path, what: Synced) -> io::Result<()> {
        let (mut inner, fault) = self.faulty(name, path);
        inner.syncs += 1;
        let number = inner.syncs;
        inner.note(name, path, What::Begin(number));
        let fits = inner.during.as_ref().is_some_and(|(wanted, _)| path.starts_with(wanted));
        let during = inner.during.take_if(|_| fits);
        drop(inner);
        during.into_iter().for_each(|(_, act)| act());
        let mut inner = self.inner();
        inner.note(name, path, What::End(number, what, fault.is_none()));
        inner.synced += 1;
        drop(inner);
        fault.map_or(Ok(()), |fault| Err(fault.error()))
    }

    fn file(&self, path: &Path, node: Node, is_claimed: bool) -> Box<dyn DiskFile> {
        Box::new(Open { disk: self.clone(), path: path.to_owned(), node, is_claimed })
    }
}

impl Inner {
    fn note(&mut self, name: &'static str, path: &Path, what: What) {
        let phase = self.phase;
        if let Some(log) = &mut self.log {
            log.push(Entry { name, path: path.to_owned(), phase, what });
        }
    }

    fn put(&mut self, path: &Path, kind: Kind) {
        let (dir, name) = self.tree.place(path).unwrap();
        let node = self.tree.add(kind);
        self.tree.set(dir, &name, Some(node));
    }

    /// A new name.
    fn name(
        &mut self,
        step: &'static str,
        path: &Path,
        kind: Result<Node, Kind>,
    ) -> io::Result<Node> {
        let (dir, name) = self.tree.place(path)?;
        if self.tree.names(dir)?.contains_key(&name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let node = kind.unwrap_or_else(|kind| self.tree.add(kind));
        self.tree.set(dir, &name, Some(node));
        self.note(step, path, What::Name(dir, name, Some(node)));
        Ok(node)
    }

    fn unname(&mut self, step: &'static str, path: &Path) -> io::Result<()> {
        let (dir, name) = self.tree.place(path)?;
        self.tree.set(dir, &name, None);
        self.note(step, path, What::Name(dir, name, None));
        Ok(())
    }

    fn rename(&mut self, step: &'static str, from: &Path, to: &Path, node: Node) -> io::Result<()> {
        let (old, new) = (self.tree.place(from)?, self.tree.place(to)?);
        self.tree.set(old.0, &old.1, None);
        self.tree.set(new.0, &new.1, Some(node));
        self.note(step, to, What::Rename(old, new, node));
        Ok(())
    }

    /// The file of a path.
    fn find(&self, path: &Path) -> io::Result<Node> {
        let node = self.tree.find(path)?;
        self.tree.octets(node).map(|_| node)
    }

    fn meta(&self, node: Node) -> Meta {
        let (is_dir, size) = match &self.tree.nodes[node] {
            Kind::Dir(_) => (true, 0),
            Kind::File(content) => (false, content.octets.len() as u64),
        };
        let (modified, links) = (self.tree.modified[node], self.tree.links(node) as u64);
        let mode = if is_dir { 0o711 } else { 0o644 };
        Meta { is_dir, is_file: !is_dir, size, modified, uid: 0, mode, links }
    }
}

impl Disk for Recorder {
    fn open_home(&self, home: &Path) -> io::Result<Option<Box<dyn OpenHome>>> {
        let inner = self.inner();
        // Where names are not moved in one step, files are made by path.
        let is_open = !inner.has_no_rename_new && inner.tree.find(home).is_ok();
        drop(inner);
        Ok(is_open.then(|| Box::new(HomeByPath(self.clone(), home.to_owned())) as _))
    }

    fn room(&self, _dir: &Path) -> io::Result<u64> {
        // A disk that is full fails in the middle here: that is the harder case.
        Ok(u64::MAX)
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        let empty = Err(Kind::Dir(BTreeMap::new()));
        self.step("make_dir", path)?.name("make_dir", path, empty).map(drop)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let empty = Err(Kind::File(Content::new(Vec::new())));
        let node = self.step("create", path)?.name("create", path, empty)?;
        Ok(self.file(path, node, false))
    }

    fn scratch(&self, dir: &Path) -> io::Result<Box<dyn DiskFile>> {
        // Without a name no restart finds it; what is written there is recorded and means nothing.
        let node = self.step("scratch", dir)?.tree.add(Kind::File(Content::new(Vec::new())));
        Ok(self.file(&dir.join("(scratch)"), node, false))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let node = self.step("open", path)?.find(path)?;
        Ok(self.file(path, node, false))
    }

    fn claim(&self, path: &Path) -> io::Result<Option<Box<dyn DiskFile>>> {
        let mut inner = self.step("claim", path)?;
        let node = inner.find(path)?;
        let is_free = inner.claimed.insert(node);
        Ok(is_free.then(|| self.file(path, node, true)))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.step("link", to)?;
        let node = inner.find(from)?;
        inner.name("link", to, Ok(node)).map(drop)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.step("rename_new", to)?;
        let node = inner.find(from)?;
        if inner.tree.find(to).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        if inner.has_no_rename_new {
            inner.name("rename_new", to, Ok(node))?;
            drop(inner);
            // The name that counts is there.
            let _ = self.step("remove", from).and_then(|mut inner| inner.unname("remove", from));
            return Ok(());
        }
        inner.rename("rename_new", from, to, node)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.step("rename", to)?;
        let node = inner.tree.find(from)?;
        inner.rename("rename", from, to, node)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.step("remove", path)?;
        inner.find(path)?;
        inner.unname("remove", path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let mut inner = self.step("remove_dir", dir)?;
        let node = inner.tree.find(dir)?;
        match inner.tree.names(node)?.is_empty() {
            true => inner.unname("remove_dir", dir),
            false => Err(ErrorKind::DirectoryNotEmpty.into()),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let inner = self.step("list", dir)?;
        let names = inner.tree.names(inner.tree.find(dir)?)?;
        Ok(names.keys().map(|name| OsString::from(&**name)).collect())
    }

    fn list_some(
        &self,
        dir: &Path,
        most: usize,
        wanted: &dyn Fn(&OsStr) -> bool,
    ) -> io::Result<Vec<OsString>> {
        // `wanted` may look at the disk, so not under its lock.
        let names = self.list(dir)?.into_iter().filter(|name| wanted(name));
        Ok(names.take(most).collect())
    }

    fn set_mode(&self, dir: &Path, _mode: u32) -> io::Result<()> {
        self.step("set_mode", dir).map(drop)
    }

    fn stat(&self, path: &Path) -> io::Result<Meta> {
        let inner = self.step("stat", path)?;
        let node = inner.tree.find(path)?;
        Ok(inner.meta(node))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let node = self.inner().tree.find(dir)?;
        self.sync("sync_dir", dir, Synced::Dir(node))
    }
}

struct Open {
    disk: Recorder,
    path: PathBuf,
    node: Node,
    is_claimed: bool,
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.is_claimed {
            self.disk.inner().claimed.remove(&self.node);
        }
    }
}

impl DiskFile for Open {
    fn append(&self, octets: &[u8]) -> io::Result<()> {
        let (mut inner, fault) = self.disk.faulty("append", &self.path);
        let written = match fault {
            None => octets,
            Some(Fault::Fails(_)) => &octets[..0],
            Some(Fault::Half(_)) => &octets[..octets.len() / 2],
        };
        if !written.is_empty() {
            let whole = [&inner.tree.octets(self.node)?[..], written].concat();
            inner.tree.nodes[self.node] = Kind::File(Content::new(whole));
            inner.note("append", &self.path, What::Append(self.node, written.into()));
        }
        fault.map_or(Ok(()), |fault| Err(fault.error()))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let inner = self.disk.step("read_at", &self.path)?;
        let rest = inner.tree.octets(self.node)?.get(offset as usize..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn size(&self) -> io::Result<u64> {
        self.meta().map(|meta| meta.size)
    }

    fn meta(&self) -> io::Result<Meta> {
        Ok(self.disk.inner().meta(self.node))
    }

    fn share(&self) -> io::Result<()> {
        self.disk.step("share", &self.path).map(drop)
    }

    fn device(&self) -> io::Result<u64> {
        Ok(1)
    }

    fn wait_written(&self) -> io::Result<()> {
        self.disk.sync("wait_written", &self.path, Synced::Octets(self.node))
    }

    fn keeps_order(&self) -> io::Result<bool> {
        Ok(self.disk.inner().keeps_order)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync("sync", &self.path, Synced::File(self.node))
    }

    fn sync_file_system(&self) -> io::Result<()> {
        self.disk.sync("sync_file_system", &self.path, Synced::All)
    }
}
