//! The files in a directory of keys, as octets and stamps. Never writes.

use crate::limits::keys::{KEY_FILE_MAX, KEY_NAMES_MAX};
use crate::store::disk::{Doing, StoreError};
use crate::store::table::FileStamp;
use nix::fcntl::OFlag;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The bits of a mode by which group and others can read or write.
const OPEN_TO_OTHERS: u32 = 0o066;

/// The names in a directory, in order, and whether some were left out.
pub fn names(dir: &Path) -> Result<(Vec<OsString>, bool), StoreError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).doing("list", dir)? {
        if names.len() == KEY_NAMES_MAX {
            return Ok((names, true));
        }
        names.push(entry.doing("list", dir)?.file_name());
    }
    names.sort();
    Ok((names, false))
}

/// The octets of a key's file. Fails where others than its owner can read it.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Non-blocking, because opening a pipe would wait for its writer.
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if meta.mode() & OPEN_TO_OTHERS != 0 {
        let mode = meta.mode() & 0o777;
        return Err(io::Error::other(format!(
            "group or others can read or write it (mode {mode:03o}): a private key is for the server's user \
             alone (chmod 600)"
        )));
    }
    // Made whole before, so that no part of the key stays behind where it grows.
    let mut octets = Vec::with_capacity(KEY_FILE_MAX as usize + 1);
    file.take(KEY_FILE_MAX + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > KEY_FILE_MAX {
        octets.fill(0);
        return Err(io::Error::other(format!("longer than {KEY_FILE_MAX} octets")));
    }
    Ok(octets)
}

/// Shows whether a directory of keys, one of its files, or the file that remembers what was shown has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyDirStamp {
    dir: FileStamp,
    files: Vec<(OsString, FileStamp)>,
    beside: FileStamp,
}

impl KeyDirStamp {
    /// What is there now.
    pub fn of(dir: &Path, beside: &Path) -> KeyDirStamp {
        let (names, _) = names(dir).unwrap_or_default();
        let files = names.into_iter().map(|name| {
            let stamp = FileStamp::of(&dir.join(&name));
            (name, stamp)
        });
        let files = files.collect();
        KeyDirStamp { dir: FileStamp::of(dir), files, beside: FileStamp::of(beside) }
    }

    /// The same directory, with the file beside it as it is now.
    pub fn with_beside(&self, beside: &Path) -> KeyDirStamp {
        KeyDirStamp { beside: FileStamp::of(beside), ..self.clone() }
    }
}
