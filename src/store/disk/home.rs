//! A home, opened: a directory with `tmp/`, where files are written, and beside it the directory where they get their
//! names. A Maildir, a folder of one, and the spool are homes.
//!
//! Files are made and named relative to the open directory, so that no path is walked for each of them (openat(2),
//! renameat2(2)). Only where a name moves in one step and all is synced together ([`Durability::Together`]); elsewhere
//! files are made by path. Holds no directory of those inside: what lies under `tmp` and `new` is looked up each time.

use super::{DiskFile, Durability, RealFile, explained, replace_nothing};
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat, stat};
use nix::sys::statfs::fstatfs;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What is done in an open home. Paths are relative to it: `tmp/17.M2`.
pub trait OpenHome: Send + Sync {
    /// As [`super::Disk::create`].
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// As [`super::Disk::rename_new`].
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Whether the path by which it was opened still leads here, and this is in it.
    fn is_there(&self, part: &str) -> bool;
}

/// A home on this machine's disk.
pub(super) struct RealHome {
    dir: OwnedFd,
    path: PathBuf,
    /// Device and inode, which no other directory has while this one is open.
    identity: (u64, u64),
}

impl RealHome {
    /// None where files have to be made by path.
    pub(super) fn open(path: &Path) -> nix::Result<Option<RealHome>> {
        // By O_PATH it may be a directory that we cannot list.
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let dir = open(path, flags, Mode::empty())?;
        let found = fstat(&dir)?;
        // A link may lead `tmp` to another file system.
        let tmp = fstatat(&dir, "tmp", AtFlags::empty())?;
        let durability = Durability::by(fstatfs(dir.as_fd())?.filesystem_type());
        let is_fit = durability == Durability::Together && tmp.st_dev == found.st_dev;
        let (path, identity) = (path.to_owned(), identity(&found));
        Ok(is_fit.then_some(RealHome { dir, path, identity }))
    }
}

fn identity(found: &FileStat) -> (u64, u64) {
    (found.st_dev, found.st_ino)
}

impl OpenHome for RealHome {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let file = openat(&self.dir, path, flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|error| explained(&self.path.join(path), error.into()))?;
        // `tmp` may have become a link to another file system, which this home says nothing of.
        let device = fstat(&file)?.st_dev;
        if device != self.identity.0 {
            unlinkat(&self.dir, path, UnlinkatFlags::NoRemoveDir)?;
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Box::new(RealFile { file: File::from(file), is_locked: false, device: Some(device) }))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(replace_nothing(&self.dir, from, to)?)
    }

    fn is_there(&self, part: &str) -> bool {
        stat(&self.path).is_ok_and(|found| identity(&found) == self.identity)
            && fstatat(&self.dir, part, AtFlags::empty()).is_ok()
    }
}
