//! Tries the spool by the server's own functions on a [`Rehearsal`]: finds all that would keep `serve` from
//! starting.

use super::Weight;
use crate::store::disk::{Disk, Doing, RealDisk, StoreError};
use crate::store::maildir::make_with_parents;
use crate::store::queue::Queue;
use crate::store::secret;
use crate::tools::rehearsal::Rehearsal;
use crate::tools::route::owned;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

/// The least size of a queue file, in octets.
const FILE_LEAST: usize = 4096;

/// What is wrong with the spool, without the place in the configuration; none where it can be used or made.
pub fn look(spool: &Path) -> Option<(Weight, String)> {
    let wrong = |weight, error: StoreError| {
        let at = owned(&error.path).map(|owner| format!(" ({owner})")).unwrap_or_default();
        Some((weight, format!("{error}{at}")))
    };
    let disk = Rehearsal::new();
    if let Err(error) = needed(&disk, spool) {
        return wrong(Weight::Fatal, error);
    }
    if let Err(error) = secret::load_or_make(&disk, spool) {
        return Some((Weight::Fatal, error.to_string()));
    }
    if let Err(error) = fill(&disk, &spool.join("tmp")) {
        return wrong(Weight::Error, error);
    }
    let drop = spool.join("drop");
    match dir_is_ours(&disk, &drop) {
        Err(error) => wrong(Weight::Error, error),
        Ok(()) => None,
    }
}

/// Each existing directory has to be readable and writable for us; the others have to be possible to make.
fn needed(disk: &Rehearsal, spool: &Path) -> Result<(), StoreError> {
    Queue::new(Arc::new(disk.clone()), spool).make()?;
    dir_is_ours(disk, spool)?;
    for name in ["queue", "tmp", "damaged", "spill"] {
        dir_is_ours(disk, &spool.join(name))?;
    }
    let lock = spool.join("lock");
    match disk.create(&lock) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            match RealDisk.stat(&lock).doing("look at", &lock)?.is_file {
                true => may(&lock, AccessFlags::R_OK | AccessFlags::W_OK).doing("lock", &lock),
                false => Err(io::Error::other("not a regular file")).doing("lock", &lock),
            }
        }
        made => made.map(drop).doing("create", &lock),
    }
}

fn dir_is_ours(disk: &Rehearsal, dir: &Path) -> Result<(), StoreError> {
    make_with_parents(disk, dir)?;
    if RealDisk.stat(dir).is_err() {
        return Ok(()); // it would be made, and then be ours
    }
    // Fails where the name is no directory.
    RealDisk.list_some(dir, 1, &|_| true).doing("list", dir)?;
    may(dir, AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK).doing("write in", dir)
}

/// Whether there is room for a small message.
fn fill(disk: &Rehearsal, tmp: &Path) -> Result<(), StoreError> {
    let path = tmp.join(crate::id::message());
    let file = disk.create(&path).doing("create a file in", tmp)?;
    file.append(&[b'x'; FILE_LEAST]).doing("write in", tmp)
}

/// Whether the effective user may do this.
fn may(path: &Path, how: AccessFlags) -> io::Result<()> {
    Ok(faccessat(AT_FDCWD, path, how, AtFlags::AT_EACCESS)?)
}
