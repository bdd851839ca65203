//! The kind of file system of a path (`/proc/self/mountinfo`, proc_pid_mountinfo(5)), and what a sync does
//! there.

use std::fs;
use std::path::{Path, PathBuf};

/// The parts of a mount that say what a sync does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The device of its files, "8:1"; btrfs shows another one than stat(2).
    pub device: String,
    /// The kind, for example "ext4".
    pub kind: String,
    /// Options of the mount and of the file system, with commas.
    pub options: String,
}

/// The mount of a path; "unknown file system" where it is not found.
pub fn mount_of(path: &Path) -> Mount {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    find(&table, &path)
}

/// The deepest mount above a path; the last one where several are at the same place.
fn find(table: &str, path: &Path) -> Mount {
    let mounts = table.lines().filter_map(parse).filter(|(dir, _)| path.starts_with(dir));
    let deepest = mounts.max_by_key(|(dir, _)| dir.components().count());
    let unknown = || Mount {
        device: String::new(),
        kind: "unknown file system".to_owned(),
        options: String::new(),
    };
    deepest.map_or_else(unknown, |(_, mount)| mount)
}

/// Parses "36 35 98:0 /root /mnt rw,noatime shared:1 - ext4 /dev/sda1 rw,errors=continue".
fn parse(line: &str) -> Option<(PathBuf, Mount)> {
    let (mount, system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(2);
    let device = mount.next()?.to_owned();
    let (dir, own) = (mount.nth(1)?, mount.next()?);
    let mut system = system.split(' ');
    let (kind, options) = (system.next()?, system.nth(1).unwrap_or_default());
    // A space in a path is written as its octal number.
    let dir = dir.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\");
    let mount = Mount { device, kind: kind.to_owned(), options: format!("{own},{options}") };
    Some((PathBuf::from(dir), mount))
}

impl Mount {
    /// Whether it lies in memory.
    pub fn is_memory(&self) -> bool {
        matches!(self.kind.as_str(), "tmpfs" | "ramfs")
    }

    /// Warnings about a sync on this mount.
    pub fn doubts(&self) -> Vec<String> {
        let kind = &self.kind;
        let mut doubts = Vec::new();
        if self.is_memory() {
            doubts.push(format!("{kind} is memory: all mail here is lost at a power cut"));
        }
        let remote = ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "virtiofs", "fuse"];
        if remote.contains(&kind.as_str()) || kind.starts_with("fuse.") {
            doubts.push(format!(
                "{kind}: whether a sync reaches a disk is for its other end to say, and does not show here"
            ));
        }
        let careless = ["nobarrier", "barrier=0", "volatile", "nosync"];
        for option in self.options.split(',').filter(|option| careless.contains(option)) {
            doubts.push(format!(
                "{kind} is mounted with {option}: a power cut may take mail that was synced"
            ));
        }
        doubts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_and_last_mount_counts() {
        let table = "1 0 8:1 / / rw,relatime - ext4 /dev/root rw,barrier=0\n\
                     2 1 0:5 / /var rw - xfs /dev/b rw\n\
                     3 1 0:6 / /var rw shared:7 - btrfs /dev/c rw,volatile\n\
                     4 1 0:7 / /var/my\\040mail rw - tmpfs tmpfs rw\n";
        for (path, kind, doubts) in [
            ("/etc", "ext4", 1),
            ("/variable", "ext4", 1),
            ("/var/spool", "btrfs", 1),
            ("/var/my mail/ann", "tmpfs", 1),
        ] {
            let mount = find(table, Path::new(path));
            assert_eq!((mount.kind.as_str(), mount.doubts().len()), (kind, doubts), "{path}");
        }
        assert_eq!(find("", Path::new("/")).doubts(), [""; 0]);
        for kind in ["fuse.glusterfs", "9p", "nfs4"] {
            let mount =
                Mount { device: "0:9".to_owned(), kind: kind.to_owned(), options: String::new() };
            let doubts = mount.doubts();
            assert!(doubts.len() == 1 && doubts[0].contains("its other end"), "{doubts:?}");
        }
    }
}
