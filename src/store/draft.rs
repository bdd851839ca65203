//! A file that is written in `tmp/`, where nobody reads it, and published whole under its own name.
//!
//! Maildir and queue do the same: create in `tmp/`, write, sync, rename, sync the directory. Nothing is
//! ever overwritten: publishing fails when the name is taken. [`super::maildir`] and [`super::queue`] choose
//! the names and make missing directories.

use super::disk::{Disk, DiskFile, Doing, OpenHome, StoreError};
use super::durable::settle;
use super::homes::Homes;
use crate::limits::NAME_TRIES;
use nix::errno::Errno;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Makes the directories of a draft where they are missing, durably.
pub type Make = fn(&dyn Disk, &Path) -> Result<(), StoreError>;

/// Where drafts are made and published: a Maildir, a folder of one, a spool.
pub struct Home {
    pub path: PathBuf,
    /// The same, where it is open.
    pub open: Option<Arc<dyn OpenHome>>,
    /// Makes its directories.
    pub make: Make,
    /// The directory in it where files are published.
    pub dir: &'static str,
}

/// A file in `tmp/`. Dropping a draft that was not published removes its file.
pub struct Draft {
    disk: Arc<dyn Disk>,
    home: Home,
    /// Where it lies in `tmp/`, under the name by which it is published.
    path: PathBuf,
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
    pub path: PathBuf,
}

impl Published {
    /// The directory whose sync makes the name durable.
    pub fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }
}

impl Draft {
    /// Makes a file in `tmp` of a home, to be published in `dir`, under the first of these names that is free. Missing
    /// directories of the home are made.
    pub fn create(
        disk: &Arc<dyn Disk>,
        mut home: Home,
        mut name: impl FnMut() -> String,
    ) -> Result<(Draft, Box<dyn DiskFile>), StoreError> {
        let mut tries = 0;
        loop {
            let path = home.place("tmp", OsStr::new(&name()));
            tries += 1;
            match home.create(&**disk, &path) {
                Ok(file) => {
                    let (disk, is_published) = (disk.clone(), false);
                    return Ok((Draft { disk, home, path, is_published }, file));
                }
                Err(error) if tries < NAME_TRIES && error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) if tries == 1 && error.kind() == ErrorKind::NotFound => {
                    (home.make)(&**disk, &home.path)?;
                }
                Err(error) => {
                    return Err(error).doing("create", &path);
                }
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
        let published = self.publish()?;
        disk.sync_dir(published.dir()).doing("sync", published.dir()).inspect_err(|_| {
            let _ = disk.remove(&published.path);
        })
    }

    /// As [`Draft::publish`], by path where the home has been moved away since the draft was made: then the draft is
    /// not there either.
    pub fn publish_in(mut self, homes: &mut Homes) -> Result<Published, StoreError> {
        let Home { path, open, dir, .. } = &mut self.home;
        *open = open.take().filter(|_| homes.known(path, dir).is_some());
        self.publish()
    }

    /// Gives the file its own name, which is durable once the returned directory is synced.
    pub fn publish(mut self) -> Result<Published, StoreError> {
        let path = self.home.place(self.home.dir, self.path.file_name().unwrap_or_default());
        self.home.publish(&*self.disk, &self.path, &path)?;
        self.is_published = true;
        Ok(Published { path })
    }
}

impl Home {
    /// The path of a file in one of its directories.
    fn place(&self, dir: &str, name: &OsStr) -> PathBuf {
        let octets = self.path.as_os_str().len() + dir.len() + name.len() + 2;
        let mut path = PathBuf::with_capacity(octets);
        path.extend([self.path.as_os_str(), OsStr::new(dir), name]);
        path
    }

    /// The same path from here.
    fn inside<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.path).unwrap_or(path)
    }

    fn create(&mut self, disk: &dyn Disk, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        if let Some(open) = &self.open {
            match open.create(self.inside(path)) {
                Err(error) if needs_path(&error) => self.open = None,
                created => return created,
            }
        }
        disk.create(path)
    }

    fn publish(&self, disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), StoreError> {
        if let Some(open) = &self.open {
            match open.rename_new(self.inside(from), self.inside(to)) {
                Err(error) if needs_path(&error) => {}
                renamed => return renamed.doing("publish", to),
            }
        }
        let renamed = match disk.rename_new(from, to) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                (self.make)(disk, &self.path)?; // somebody removed the directory
                disk.rename_new(from, to)
            }
            renamed => renamed,
        };
        renamed.doing("publish", to)
    }
}

/// Whether a step that failed in an open directory is to be tried by path, which makes what is missing, and knows
/// another way where the file system lacks this one.
fn needs_path(error: &io::Error) -> bool {
    let lacks = [ErrorKind::NotFound, ErrorKind::InvalidInput, ErrorKind::Unsupported];
    lacks.contains(&error.kind()) || error.raw_os_error() == Some(Errno::EPERM as i32)
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_published {
            // What cannot be removed now is removed as a leftover later.
            let _ = self.disk.remove(&self.path);
        }
    }
}
