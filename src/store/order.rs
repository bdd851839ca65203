//! Which file systems keep their own order: a name is never on the disk before the octets that were on it when the
//! name was made.
//!
//! There one commit of the journal makes a batch durable ([`super::durable`]): octets are written and waited for,
//! then names are made, then everything is synced once. That holds
//!
//! - for **ext4** with a journal of its own in `data=ordered`, with barriers and without fast commits. Waiting for
//!   octets ends when their extents are in the journal's running transaction, or in an earlier one. A name joins
//!   that transaction or a later one, and the commit flushes the disk before its last block;
//! - for **XFS** whose log is on the same disk, without a realtime device: waiting ends when the extents and the
//!   size are in the log's order, and each write of the log flushes the disk before it.
//!
//! It does not hold for btrfs, where a commit waits for octets only under `flushoncommit`, and for what is not
//! known. Looked at once for each device, before the sandbox hides `/proc` and `/sys`; a device that was never
//! looked at takes two commits. Writes nothing.

use super::locked;
use super::mounts::mount_of;
use crate::limits::MOUNTS_MAX;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, read_to_string};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// How many commits make a batch durable, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Commits {
    /// The file system keeps its order.
    One,
    /// Octets first, then names; the words say why.
    Two(String),
}

/// What was found of each device, by its number, and where it was looked at first.
static FOUND: Mutex<BTreeMap<u64, (PathBuf, Commits)>> = Mutex::new(BTreeMap::new());

/// Looks at the file system of a path, or of what is there of it, unless that is known; gives what holds there.
pub fn learn(path: &Path) -> Commits {
    let Some((there, device)) = device_of(path) else {
        return Commits::Two("it cannot be looked at".to_owned());
    };
    let known = locked(&FOUND).get(&device).map(|(_, commits)| commits.clone());
    known.unwrap_or_else(|| {
        let found = look_at(&there, device);
        let mut all = locked(&FOUND);
        if all.len() < MOUNTS_MAX {
            all.insert(device, (there, found.clone()));
        }
        found
    })
}

/// Whether one commit is enough on this device.
pub fn keeps_order(device: u64) -> bool {
    locked(&FOUND).get(&device).is_some_and(|(_, commits)| *commits == Commits::One)
}

/// All that was found: where, and how many commits a batch takes there.
pub fn all() -> Vec<(PathBuf, Commits)> {
    locked(&FOUND).values().cloned().collect()
}

/// A path or the nearest directory above it that exists, and its device.
fn device_of(path: &Path) -> Option<(PathBuf, u64)> {
    let path = std::path::absolute(path).ok()?;
    path.ancestors().find_map(|path| Some((path.to_owned(), fs::metadata(path).ok()?.dev())))
}

fn look_at(path: &Path, device: u64) -> Commits {
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let mount = mount_of(path);
    if mount.device != format!("{major}:{minor}") {
        return Commits::Two(format!("{} shows no device of its own", mount.kind));
    }
    // The kernel's own name, whatever device mapper or udev call it.
    let name = fs::read_link(format!("/sys/dev/block/{major}:{minor}")).unwrap_or_default();
    let name = name.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let proc = |file: String| read_to_string(format!("/proc/fs/{file}")).unwrap_or_default();
    let judged = match mount.kind.as_str() {
        "ext4" => ext4(
            &proc(format!("ext4/{name}/options")),
            Path::new("/proc/fs/jbd2").join(format!("{name}-8")).exists(),
        ),
        "xfs" => xfs(&mount.options),
        kind => Err(format!("of {kind} it is not known that names wait for octets")),
    };
    judged.map_or_else(Commits::Two, |()| Commits::One)
}

/// By the options that are in effect, an option a line, and whether the journal is a file of this file system.
fn ext4(options: &str, is_journal_inside: bool) -> Result<(), String> {
    let has = |wanted: &str| options.lines().any(|line| line == wanted);
    let is_fast = |line: &str| line.starts_with("fc_") || line.starts_with("fast_commit");
    match () {
        () if options.is_empty() => Err("its options cannot be read".to_owned()),
        () if !is_journal_inside => Err("ext4 has no journal of its own there".to_owned()),
        () if !has("data=ordered") => Err("ext4 is not mounted with data=ordered".to_owned()),
        () if !has("barrier") => Err("ext4 is mounted without barriers".to_owned()),
        () if options.lines().any(is_fast) => Err("ext4 makes fast commits".to_owned()),
        () => Ok(()),
    }
}

/// By the options of the mount.
fn xfs(options: &str) -> Result<(), String> {
    let is_apart =
        |word: &str| ["rtdev=", "logdev=", "nobarrier"].iter().any(|it| word.starts_with(it));
    match options.split(',').find(|word| is_apart(word)) {
        Some(word) => Err(format!("XFS is mounted with {word}")),
        None => Ok(()),
    }
}

impl fmt::Display for Commits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Commits::One => f.write_str(
                "one commit of the journal for each batch, because the file system keeps its order",
            ),
            Commits::Two(why) => write!(f, "two commits for each batch: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Linux 6.1 and 6.18 show.
    const ORDERED: &str = "rw\nbsddf\nnogrpid\nblock_validity\ndioread_nolock\ndelalloc\njournal_checksum\nbarrier\n\
                           auto_da_alloc\nuser_xattr\nacl\nnoquota\nerrors=continue\ncommit=5\nstripe=0\n\
                           data=ordered\ninode_readahead_blks=32\n";

    #[test]
    fn ext4_keeps_order_by_its_own_journal_alone() {
        assert_eq!(ext4(ORDERED, true), Ok(()));
        let worse = [
            (String::new(), true),
            (ORDERED.to_owned(), false),
            (ORDERED.replace("data=ordered\n", ""), true),
            (ORDERED.replace("data=ordered", "data=writeback"), true),
            (ORDERED.replace("data=ordered", "data=journal"), true),
            (ORDERED.replace("\nbarrier", "\nnobarrier"), true),
            (ORDERED.replace("noquota", "fc_debug_force"), true),
            (ORDERED.replace("noquota", "fast_commit"), true),
        ];
        for (options, is_inside) in worse {
            assert!(ext4(&options, is_inside).is_err(), "{options} {is_inside}");
        }
    }

    #[test]
    fn xfs_keeps_order_on_one_device() {
        assert_eq!(xfs("rw,attr2,inode64,logbufs=8,logbsize=32k,noquota"), Ok(()));
        for word in ["rtdev=/dev/sdb", "logdev=/dev/sdc", "nobarrier"] {
            assert!(xfs(&format!("rw,{word},noquota")).is_err(), "{word}");
        }
    }

    #[test]
    fn what_was_never_looked_at_takes_two() {
        assert!(!keeps_order(u64::MAX));
        // It has no disk, and no mount that could be one of the two.
        assert!(matches!(learn(Path::new("/proc/self")), Commits::Two(_)));
        let (there, device) = device_of(Path::new("/proc/self/not-there/at-all")).unwrap();
        assert!(there == Path::new("/proc/self") && !keeps_order(device));
    }
}
