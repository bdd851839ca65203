//! A Maildir in words: whose it is, who may do what there, and how much room there is.

use crate::config::show_size;
use crate::privileges::name_of;
use nix::sys::statvfs::statvfs;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What is there, or where it will be made: "/var/mail/ann: owner ann, mode 0700, 12GiB and 1000000
/// inodes free".
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

/// Whose something is, and who may do what with it: "owner ann, mode 0700"; none where nothing is there.
pub fn owned(path: &Path) -> Option<String> {
    let found = fs::metadata(path).ok()?;
    Some(format!("owner {}, mode {:04o}", name_of(found.uid()), found.mode() & 0o7777))
}

/// What a user's mail can still fill.
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

/// Without what nobody reads: in MiB, and in GiB where there are many.
pub fn shown(octets: u64) -> String {
    match octets >> 34 {
        0 => show_size(octets >> 20 << 20),
        _ => show_size(octets >> 30 << 30),
    }
}
