//! A Maildir in words: its owner, its mode, and the free room.

use crate::config::show_size;
use crate::privileges::name_of;
use nix::sys::statvfs::statvfs;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The Maildir, or the directory where it will be made: "/var/mail/ann: owner ann, mode 0700, 12GiB and
/// 1000000 inodes free".
pub fn describe(maildir: &Path) -> String {
    let there = maildir.ancestors().find(|dir| fs::metadata(dir).is_ok());
    let there = there.unwrap_or(Path::new("/"));
    let facts = match fs::metadata(there) {
        Ok(found) => {
            let mode = found.mode() & 0o7777;
            format!("owner {}, mode {mode:04o}, {}", name_of(found.uid()), free(there))
        }
        Err(error) => error.to_string(),
    };
    match there == maildir {
        true => format!("{}: {facts}", maildir.display()),
        false => format!("{} will be made in {}: {facts}", maildir.display(), there.display()),
    }
}

/// Owner and mode of a file: "owner ann, mode 0700"; none where it does not exist.
pub fn owned(path: &Path) -> Option<String> {
    let found = fs::metadata(path).ok()?;
    Some(format!("owner {}, mode {:04o}", name_of(found.uid()), found.mode() & 0o7777))
}

/// The free room for mail.
fn free(dir: &Path) -> String {
    let Ok(found) = statvfs(dir) else { return "room unknown".to_owned() };
    let octets = found.blocks_available().saturating_mul(found.fragment_size());
    let room = shown(octets);
    match found.files() {
        // Some file systems do not count them.
        0 => format!("{room} free"),
        _ => format!("{room} and {} inodes free", found.files_available()),
    }
}

/// A number of octets, rounded to MiB, or to GiB where there are many.
pub fn shown(octets: u64) -> String {
    match octets >> 34 {
        0 => show_size(octets >> 20 << 20),
        _ => show_size(octets >> 30 << 30),
    }
}
