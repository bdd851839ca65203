//! The files and names of a batch, until both are on the disk.
//!
//! A batch is written, [`Pending::sync_data`], named, [`Pending::sync_names`]; only then may a client be
//! told. [`Method::choose`] alone chooses the system call for names. What is done for octets before names may be
//! made is for the file system to say: where it keeps its order they are waited for and need no commit of their
//! own ([`super::order`]), else they are synced.

use super::disk::{Disk, DiskFile, Doing, StoreError};
use super::homes::Homes;
use crate::limits::OPEN_DRAFTS;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// How a batch is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// fsync of each file and of each directory.
    EachFile,
    /// fsync of each file as soon as it is written, before the next one is.
    EachAtOnce,
    /// One syncfs after all are written, one after all are named, for each file system.
    FileSystem,
}

impl Method {
    /// The method for `files` to come: syncfs from `from` files on. Not when `much_beside`: something large is
    /// being written elsewhere, and a syncfs would wait for every octet.
    pub fn choose(files: usize, from: usize, much_beside: bool) -> Method {
        match files >= from && !much_beside {
            true => Method::FileSystem,
            false => Method::EachFile,
        }
    }
}

/// Files and names that are not yet durable.
pub struct Pending {
    method: Method,
    /// Where files are made without a path.
    homes: Homes,
    /// Some files lie on a file system where only [`Method::EachFile`] works.
    is_mixed: bool,
    /// Files that are written, where each is synced or waited for by itself.
    files: Vec<WrittenFile>,
    /// Where each file system is synced as a whole (by `FileSystem`).
    file_systems: Vec<FileSystem>,
    dirs: BTreeSet<PathBuf>,
    /// The error of an early sync, after which no file of the batch counts as written; none without one.
    failed: Option<StoreError>,
}

/// A file that is not durable yet.
struct WrittenFile {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    keeps_order: bool,
}

/// A file system on which files of the batch lie.
struct FileSystem {
    device: u64,
    path: PathBuf,
    /// A file of it that was opened before anything was written there, so that no write error of this batch goes
    /// unreported.
    file: Box<dyn DiskFile>,
    keeps_order: bool,
}

impl Pending {
    /// No home is kept open.
    pub fn new(method: Method) -> Pending {
        Pending::in_homes(method, Homes::default())
    }

    /// For files in homes that other batches use as well; [`Pending::into_homes`] gives them back.
    pub fn in_homes(method: Method, homes: Homes) -> Pending {
        let (files, file_systems, dirs) = Default::default();
        Pending { method, homes, is_mixed: false, files, file_systems, dirs, failed: None }
    }

    pub fn homes(&mut self) -> &mut Homes {
        &mut self.homes
    }

    pub fn into_homes(self) -> Homes {
        self.homes
    }

    /// Whether a file is durable once it is added.
    pub fn is_at_once(&self) -> bool {
        self.method == Method::EachAtOnce
    }

    /// Writes a new file by `write`; it is durable after [`Pending::sync_data`] at the latest.
    pub fn add(
        &mut self,
        path: PathBuf,
        file: Box<dyn DiskFile>,
        write: impl FnOnce(&dyn DiskFile, &Path) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        match self.method {
            Method::EachFile => {
                let keeps_order = file.keeps_order().doing("look at the disk of", &path)?;
                self.add_one(path, file, keeps_order, write)
            }
            Method::EachAtOnce => {
                write(&*file, &path)?;
                file.sync().doing("sync", &path)
            }
            Method::FileSystem => {
                let device = file.device().doing("look at", &path)?;
                let mut known = self.file_systems.iter().filter(|known| known.device == device);
                match known.next().map(|known| known.keeps_order) {
                    Some(true) => return self.add_one(path, file, true, write),
                    Some(false) => return write(&*file, &path),
                    None => {}
                }
                if !file.is_synced_with_others().doing("look at the disk of", &path)? {
                    self.is_mixed = true;
                    return self.add_one(path, file, false, write);
                }
                let keeps_order = file.keeps_order().doing("look at the disk of", &path)?;
                let written = write(&*file, &path);
                if keeps_order {
                    file.begin_sync();
                }
                self.file_systems.push(FileSystem { device, path, file, keeps_order });
                written
            }
        }
    }

    fn add_one(
        &mut self,
        path: PathBuf,
        file: Box<dyn DiskFile>,
        keeps_order: bool,
        write: impl FnOnce(&dyn DiskFile, &Path) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        write(&*file, &path)?;
        self.files.push(WrittenFile { path, file, keeps_order });
        if self.files.len() >= OPEN_DRAFTS {
            self.sync_files(); // bounds descriptors; to sync some files early does no harm
        }
        Ok(())
    }

    /// Makes all files written so far durable, or where order is kept, durable with the names that they get from now
    /// on. After an error none of them may be synced again: the kernel reports a failed write once, and a second
    /// sync would call it good.
    pub fn sync_data(&mut self) -> Result<(), StoreError> {
        self.sync_files();
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.file_systems.iter().try_for_each(|one| match one.keeps_order {
            true => one.file.wait_written().doing("write", &one.path),
            false => one.sync(),
        })
    }

    /// A name was made in this directory. `apart`: its file was not added here, so our syncfs may be of
    /// another file system.
    pub fn named(&mut self, dir: &Path, apart: bool) {
        let is_alone = apart || self.is_mixed || self.method != Method::FileSystem;
        if is_alone && !self.dirs.contains(dir) {
            self.dirs.insert(dir.to_owned());
        }
    }

    /// Makes the names in at most `most` directories durable, and forgets these directories; gives the errors.
    /// The others are left for [`Pending::sync_names`].
    pub fn sync_some_names(&mut self, disk: &dyn Disk, most: usize) -> Vec<(PathBuf, StoreError)> {
        let some = std::iter::from_fn(|| self.dirs.pop_first()).take(most);
        let synced = some.map(|dir| (disk.sync_dir(&dir).doing("sync", &dir), dir));
        synced.filter_map(|(synced, dir)| Some((dir, synced.err()?))).collect()
    }

    /// Whether there are directories to be synced one by one.
    pub fn has_dirs(&self) -> bool {
        !self.dirs.is_empty()
    }

    /// Makes all names durable. An error says which directory, or none when it may be any.
    pub fn sync_names(&self, disk: &dyn Disk) -> Vec<(Option<&Path>, StoreError)> {
        let mut errors = Vec::new();
        if let Err(error) = self.file_systems.iter().try_for_each(FileSystem::sync) {
            errors.push((None, error));
        }
        for dir in &self.dirs {
            if let Err(error) = disk.sync_dir(dir).doing("sync", dir) {
                errors.push((Some(dir.as_path()), error));
            }
        }
        errors
    }

    fn sync_files(&mut self) {
        // Synced one after the other, each file would wait for a write and a commit of its own; begun together,
        // they share them.
        if self.files.len() > 1 {
            self.files.iter().for_each(|one| one.file.begin_sync());
        }
        for WrittenFile { path, file, keeps_order } in std::mem::take(&mut self.files) {
            if let Err(error) = bring(&*file, &path, keeps_order) {
                self.failed.get_or_insert(error);
            }
        }
    }
}

impl FileSystem {
    fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_file_system().doing("sync the disk of", &self.path)
    }
}

/// Brings a written file to the disk before it gets its name: durable, or where order is kept, durable with the name.
pub fn settle(file: &dyn DiskFile, path: &Path) -> Result<(), StoreError> {
    bring(file, path, file.keeps_order().doing("look at the disk of", path)?)
}

fn bring(file: &dyn DiskFile, path: &Path, keeps_order: bool) -> Result<(), StoreError> {
    match keeps_order {
        true => file.wait_written().doing("write", path),
        false => file.sync().doing("sync", path),
    }
}
