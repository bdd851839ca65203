//! A file that is written in `tmp/`, where nobody reads it, and published whole under its own name.
//!
//! Maildir and queue do the same: create in `tmp/`, write, sync, rename, sync the directory. Nothing is
//! ever overwritten: publishing fails when the name is taken. [`super::maildir`] and [`super::queue`] choose
//! the names and make missing directories.

use super::disk::{Disk, DiskFile, Doing, StoreError};
use super::durable::settle;
use crate::limits::NAME_TRIES;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Makes the directories of a draft where they are missing, durably.
type Make = fn(&dyn Disk, &Path) -> Result<(), StoreError>;

/// A file in `tmp/`. Dropping a draft that was not published removes its file.
pub struct Draft {
    disk: Arc<dyn Disk>,
    /// The directory that `make` makes: a Maildir, a spool.
    home: PathBuf,
    make: Make,
    path: PathBuf,
    /// Where the file is published: directory and name.
    to: (PathBuf, String),
    is_published: bool,
}

/// A temporary name of a file, removed when this is dropped. After success the file has another name, or was
/// renamed and has lost this one.
pub struct PassingName<'a> {
    pub disk: &'a dyn Disk,
    pub path: PathBuf,
}

impl Drop for PassingName<'_> {
    fn drop(&mut self) {
        // What cannot be removed now is removed as a leftover later.
        let _ = self.disk.remove(&self.path);
    }
}

/// A file under its own name.
pub struct Published {
    /// The directory whose sync makes the name durable.
    pub dir: PathBuf,
    pub path: PathBuf,
}

impl Draft {
    /// Makes a file in `home/tmp`, to be published in `home/dir`, under the first of these names that is
    /// free. Missing directories of `home` are made.
    pub fn create(
        disk: &Arc<dyn Disk>,
        home: &Path,
        make: Make,
        dir: &str,
        mut name: impl FnMut() -> String,
    ) -> Result<(Draft, Box<dyn DiskFile>), StoreError> {
        let mut tries = 0;
        loop {
            let name = name();
            let path = home.join("tmp").join(&name);
            tries += 1;
            match disk.create(&path) {
                Ok(file) => {
                    let (disk, home, to) = (disk.clone(), home.to_owned(), (home.join(dir), name));
                    let is_published = false;
                    return Ok((Draft { disk, home, make, path, to, is_published }, file));
                }
                Err(error) if tries < NAME_TRIES && error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) if tries == 1 && error.kind() == ErrorKind::NotFound => {
                    make(&**disk, home)?;
                }
                Err(error) => return Err(error).doing("create", &path),
            }
        }
    }

    /// Where the draft lies.
    pub fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// Writes the file's octets and publishes them, durably. On an error the name is removed again, because a
    /// power cut could take it.
    pub fn put(
        self,
        file: &dyn DiskFile,
        write: impl FnOnce(&dyn DiskFile, &Path) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        write(file, &self.path)?;
        settle(file, &self.path)?;
        let disk = self.disk.clone();
        let Published { dir, path } = self.publish()?;
        disk.sync_dir(&dir).doing("sync", &dir).inspect_err(|_| {
            let _ = disk.remove(&path);
        })
    }

    /// Gives the file its own name, which is durable once the returned directory is synced.
    pub fn publish(mut self) -> Result<Published, StoreError> {
        let (dir, name) = &self.to;
        let path = dir.join(name);
        let renamed = match self.disk.rename_new(&self.path, &path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                (self.make)(&*self.disk, &self.home)?; // somebody removed the directory
                self.disk.rename_new(&self.path, &path)
            }
            renamed => renamed,
        };
        renamed.doing("publish", &path)?;
        self.is_published = true;
        Ok(Published { dir: dir.clone(), path })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_published {
            // What cannot be removed now is removed as a leftover later.
            let _ = self.disk.remove(&self.path);
        }
    }
}
