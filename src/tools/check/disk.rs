//! `facteur check --disk`: whether a file system can keep what a 250 promises. Slow steps are tried on a
//! file without a name, the others within milliseconds in a directory of our own, which is removed in any
//! case.
//!
//! A program cannot see whether a sync reaches the disk. The output guesses by the kind of file system and
//! the time a sync takes, and says that it guesses.

use super::{Weight, say};
use crate::config::{Config, show_size};
use crate::limits::{
    CHECK_HOMES, DISK_FREE_LEAST, DISK_SYNC_LEAST, DISK_SYNC_MOST, DISK_SYNC_TIME, DISK_SYNCS,
};
use crate::route::existing_users;
use crate::sandbox::maildir_root;
use crate::site::{Local, Site};
use crate::store::disk::{Disk, Doing, Durability, RealDisk, StoreError};
use crate::store::mounts::{Mount, mount_of};
use crate::store::order::{self, Commits};
use crate::tools::route::room_shown;
use nix::unistd::{AccessFlags, eaccess};
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What was found out about a file system.
pub struct DiskFacts {
    pub mount: Mount,
    pub durability: Durability,
    pub commits: Commits,
    pub seen: TriedSteps,
    /// Octets: free for all users, and in total; 0 of 0 where they are not counted.
    pub room: (u64, u64),
    pub inodes: (u64, u64),
}

/// What the steps of a delivery did when they were tried.
#[derive(Clone, Copy, Debug)]
pub struct TriedSteps {
    /// The median time of a sync.
    pub sync: Duration,
    /// Names that a file has by the file system's count, when it has two.
    pub links: u64,
    /// Names that a removed file left behind while it was open.
    pub stayed: usize,
}

/// Tries the file systems of the spool and of all Maildirs, each once. Returns a line for each that works,
/// and whether all do; errors and warnings go to stderr.
pub fn look(site: &Site) -> (String, bool) {
    let (mut told, mut good, mut seen) = (String::new(), true, HashSet::new());
    let (places, gaps) = places(site);
    gaps.iter().for_each(|gap| say(Weight::Warning, gap));
    for dir in places {
        let Ok(found) = fs::metadata(&dir) else { continue };
        if !seen.insert(found.dev()) {
            continue;
        }
        match facts(&dir) {
            Ok(facts) => {
                told.push_str(&format!("disk {}: {}\n", dir.display(), facts.words()));
                facts.ways().iter().for_each(|way| told.push_str(&format!("  {way}\n")));
                let doubts = facts.doubts(&site.config);
                doubts.iter().for_each(|doubt| {
                    say(Weight::Warning, &format!("{}: {doubt}", dir.display()));
                });
            }
            Err(error) => {
                good = false;
                let kind = mount_of(&dir).kind;
                let what = format!("{} ({kind}) cannot keep mail: {error}", dir.display());
                say(Weight::Error, &what);
            }
        }
    }
    (told, good)
}

/// Directories where files can be made: the spool, and the directory of each domain's Maildirs, or where
/// that is not ours, the first user's Maildir that is. Also a line for each domain without one: no failure,
/// because [`super::mailboxes`] tries each mailbox.
fn places(site: &Site) -> (Vec<PathBuf>, Vec<String>) {
    let (mut places, mut gaps) = (vec![nearest(&site.config.spool)], Vec::new());
    for local in site.domains().filter(|local| local.config.lmtp.is_none()) {
        let root = nearest(&maildir_root(&local.config.maildir));
        let place = match may_write(&root) {
            true => Some(root),
            false => home(local),
        };
        match place {
            Some(place) => places.push(place),
            None => {
                let key = site.config.place(&format!("{}.maildir", local.config.key));
                gaps.push(format!("{key}: the disk was not tried: no place to write in was found"));
            }
        }
    }
    (places, gaps)
}

/// The first user's Maildir that we may write, or where it would be made; of listed users, or of existing
/// Maildirs.
fn home(local: Local<'_>) -> Option<PathBuf> {
    let users: Vec<String> = match local.users {
        // The user of the first line first, so that the output is the same each time.
        Some(users) => {
            let names = users.first().into_iter().chain(users.names());
            names.take(CHECK_HOMES).map(str::to_owned).collect()
        }
        None => existing_users(&RealDisk, local).ok()?.take(CHECK_HOMES).collect(),
    };
    let mut homes = users.iter().map(|user| nearest(&local.maildir(user).join("tmp")));
    homes.find(|home| may_write(home))
}

fn may_write(dir: &Path) -> bool {
    eaccess(dir, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
}

fn nearest(path: &Path) -> PathBuf {
    let there = path.ancestors().find(|dir| dir.is_dir());
    there.unwrap_or(Path::new("/")).to_owned()
}

/// Tries a file system. Fails at the first step of a delivery that does not work.
fn facts(dir: &Path) -> Result<DiskFacts, StoreError> {
    let space = RealDisk.space(dir).doing("look at", dir)?;
    let durability = Durability::of(dir).doing("look at", dir)?;
    let seen = try_out(&RealDisk, dir)?;
    Ok(DiskFacts {
        mount: mount_of(dir),
        durability,
        commits: order::learn(dir),
        seen,
        room: (space.free, space.all),
        inodes: (space.free_inodes, space.all_inodes),
    })
}

/// Does once what queue and Maildir do with files.
pub fn try_out(disk: &dyn Disk, dir: &Path) -> Result<TriedSteps, StoreError> {
    let sync = time_syncs(disk, dir)?;
    let (links, stayed) = try_names(disk, dir)?;
    Ok(TriedSteps { sync, links, stayed })
}

/// On a file without a name: this takes seconds on a slow disk, and after a signal nothing could be cleaned
/// up.
fn time_syncs(disk: &dyn Disk, dir: &Path) -> Result<Duration, StoreError> {
    let file = disk.scratch(dir).doing("create a file in", dir)?;
    let (mut times, began) = (Vec::new(), Instant::now());
    while times.len() < DISK_SYNCS && began.elapsed() < DISK_SYNC_TIME {
        file.append(&[b'x'; 4096]).doing("write in", dir)?;
        let before = Instant::now();
        file.sync().doing("sync a file in", dir)?;
        times.push(before.elapsed());
    }
    // Not timed, because it waits for the writes of all processes.
    file.sync_file_system().doing("sync the disk of", dir)?;
    times.sort();
    Ok(times.get(times.len() / 2).copied().unwrap_or_default())
}

/// Makes names as for a message, and replaces a file by another. Returns how many names a file had that has two,
/// and how many a removed one has while it is open.
fn try_names(disk: &dyn Disk, dir: &Path) -> Result<(u64, usize), StoreError> {
    let workplace = Workplace::new(disk, dir)?;
    let [one, other, third] = workplace.files();
    let file = disk.create(&one).doing("create", &one)?;
    file.append(b"x").doing("write", &one)?;
    disk.link(&one, &other).doing("link", &other)?;
    let links = disk.stat(&other).doing("look at", &other)?.links;
    disk.sync_dir(&workplace.new).doing("sync", &workplace.new)?;
    disk.remove(&one).doing("remove", &one)?;
    let again = disk.create(&third).doing("create", &third)?;
    again.append(b"x").doing("write", &third)?;
    disk.rename(&third, &other).doing("rename", &other)?;
    disk.rename_new(&other, &one).doing("rename", &one)?;
    disk.remove(&one).doing("remove", &one)?;
    let tmp = workplace.dir.join("tmp");
    let stayed = disk.list(&tmp).doing("list", &tmp)?.len();
    drop((file, again)); // what stayed goes now, and the directory can be removed
    Ok((links, stayed))
}

impl DiskFacts {
    fn words(&self) -> String {
        let DiskFacts { mount, seen, room, inodes, .. } = self;
        let room = room_shown(room.0);
        let inodes = match inodes.1 {
            0 => String::new(),
            _ => format!(" and {} inodes", inodes.0),
        };
        let time = shown(seen.sync);
        format!("{}, link and rename work, a sync takes {time}, {room}{inodes} free", mount.kind)
    }

    /// How mail is made durable there, and what its names do.
    fn ways(&self) -> Vec<String> {
        let way = match self.durability {
            Durability::Together => {
                "few files are made durable by fsync of file and directory, many by one syncfs; a rename gives \
                 the name, and replaces nothing"
            }
            Durability::ByFile => {
                "each file and each directory is synced by itself, because syncfs need not reach the other end; a \
                 link gives the name, and replaces nothing"
            }
            Durability::ByFileTwice => {
                "each file is synced by itself, and once more when it has its name, because neither syncfs nor the \
                 sync of a directory need reach the other end; a link gives the name, and replaces nothing"
            }
        };
        let mut ways = vec![way.to_owned(), self.commits.to_string()];
        if self.seen.links < 2 {
            let words = "the names of a file are not counted: after a crash one may be there twice";
            ways.push(words.to_owned());
        }
        if self.seen.stayed > 0 {
            ways.push("a removed file keeps a hidden name until nobody has it open".to_owned());
        }
        ways
    }

    /// Warnings about the file system.
    pub fn doubts(&self, config: &Config) -> Vec<String> {
        let kind = &self.mount.kind;
        let mut doubts: Vec<String> = self.mount.doubts();
        if self.seen.sync < DISK_SYNC_LEAST && !self.mount.is_memory() {
            doubts.push(format!(
                "a sync takes {}, which is too fast for a disk: it may be that nothing reaches it \
                 before a power cut (a guess; {kind})",
                shown(self.seen.sync)
            ));
        }
        if self.seen.sync > DISK_SYNC_MOST {
            let time = shown(self.seen.sync);
            doubts.push(format!("a sync takes {time}: each message waits for several of them"));
        }
        let is_short = |(free, all): (u64, u64)| free < all / 100 * DISK_FREE_LEAST;
        // A message passes through the spool and lies in a Maildir.
        let least = config.limit.message_size.saturating_mul(2);
        if self.room.1 > 0 && (is_short(self.room) || self.room.0 < least) {
            doubts.push(format!("only {} are free", show_size(self.room.0 >> 10 << 10)));
        }
        if is_short(self.inodes) {
            doubts.push(format!("only {} inodes are free", self.inodes.0));
        }
        doubts
    }
}

/// A span of time in microseconds or milliseconds.
fn shown(time: Duration) -> String {
    match time.as_micros() {
        micros @ 0..1000 => format!("{micros} us"),
        micros => format!("{}.{} ms", micros / 1000, micros / 100 % 10),
    }
}

/// A directory of our own, with `tmp` and `new` as in queue and Maildir. Dropping it removes the directory
/// and all files of [`try_names`].
struct Workplace<'a> {
    disk: &'a dyn Disk,
    dir: PathBuf,
    new: PathBuf,
}

impl<'a> Workplace<'a> {
    fn new(disk: &'a dyn Disk, above: &Path) -> Result<Workplace<'a>, StoreError> {
        // A name with a dot in front is no user's.
        let dir = above.join(format!(".facteur-check-{}", crate::id::message()));
        disk.make_dir(&dir).doing("make", &dir)?;
        let workplace = Workplace { disk, new: dir.join("new"), dir };
        for dir in [workplace.dir.join("tmp"), workplace.new.clone()] {
            disk.make_dir(&dir).doing("make", &dir)?;
        }
        Ok(workplace)
    }

    fn files(&self) -> [PathBuf; 3] {
        let tmp = self.dir.join("tmp");
        [tmp.join("one"), self.new.join("other"), tmp.join("third")]
    }
}

impl Drop for Workplace<'_> {
    fn drop(&mut self) {
        for file in self.files() {
            let _ = self.disk.remove(&file); // mostly gone by now
        }
        for dir in [self.dir.join("tmp"), self.new.clone(), self.dir.clone()] {
            let _ = self.disk.remove_dir(&dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryDisk;
    use std::io;

    #[test]
    fn whatever_fails_nothing_stays() {
        let dir = Path::new("/mail");
        let empty = || {
            let disk = MemoryDisk::new();
            disk.make_dir(dir).unwrap();
            disk
        };
        let disk = empty();
        assert!(try_out(&disk, dir).is_ok() && disk.list(dir).unwrap().is_empty());
        let steps = disk.operations().into_iter().map(|operation| operation.name);
        let steps: Vec<_> = steps.collect();
        // No file has a name while syncs are timed, because then a signal is likely.
        let (_, after) = steps.split_at(steps.iter().position(|step| *step == "scratch").unwrap());
        let named = after.iter().position(|step| *step == "make_dir").unwrap();
        assert!(!after[named..].iter().any(|step| ["sync", "sync_file_system"].contains(step)));
        for step in [
            "scratch",
            "make_dir",
            "create",
            "append",
            "sync",
            "sync_file_system",
            "link",
            "sync_dir",
            "rename",
            "rename_new",
        ] {
            assert!(steps.contains(&step), "{step}");
            let disk = empty();
            disk.set_fault(move |operation| {
                (operation.name == step).then(|| io::Error::other("no"))
            });
            let failed = try_out(&disk, dir).unwrap_err();
            assert!(failed.to_string().contains("no"), "{failed}");
            disk.clear_fault();
            assert_eq!(disk.list(dir).unwrap().len(), 0, "{step}");
        }
    }

    fn mount(kind: &str, options: &str) -> Mount {
        let [device, kind, options] = ["8:1", kind, options].map(str::to_owned);
        Mount { device, kind, options }
    }

    #[test]
    fn doubts_by_their_bounds() {
        let config = Config::demo();
        let facts = |kind: &str, options: &str, micros, room, inodes| DiskFacts {
            mount: mount(kind, options),
            durability: Durability::Together,
            commits: Commits::One,
            seen: TriedSteps { sync: Duration::from_micros(micros), links: 2, stayed: 0 },
            room,
            inodes,
        };
        let (plenty, many) = ((1 << 40, 1 << 41), (1_000_000, 2_000_000));
        for (facts, words) in [
            (facts("ext4", "rw,relatime", 900, plenty, many), &[][..]),
            (facts("ext4", "rw", 5, plenty, many), &["5 us", "a guess"]),
            (facts("tmpfs", "rw", 1, plenty, many), &["memory"]),
            (facts("ext4", "rw,nobarrier", 900, plenty, many), &["nobarrier"]),
            (facts("xfs", "rw", 250_000, plenty, many), &["250.0 ms"]),
            (facts("nfs4", "rw", 900, plenty, many), &["nfs4"]),
            (facts("ext4", "rw", 900, (1 << 30, 1 << 40), many), &["only 1GiB"]),
            (facts("ext4", "rw", 900, (1 << 20, 1 << 21), many), &["only 1MiB"]),
            (facts("ext4", "rw", 900, plenty, (10, 1000)), &["only 10 inodes"]),
            // Neither octets nor inodes are counted there.
            (facts("zfs", "rw", 900, (0, 0), (0, 0)), &[]),
        ] {
            let doubts = facts.doubts(&config);
            assert_eq!(doubts.len(), usize::from(!words.is_empty()), "{doubts:?}");
            let all = doubts.join(" ");
            assert!(words.iter().all(|word| all.contains(word)), "{all}");
        }
    }

    #[test]
    fn what_a_file_system_does_is_said_in_words() {
        let ways = |durability, links, stayed| {
            let facts = DiskFacts {
                mount: mount("fuse.glusterfs", ""),
                durability,
                commits: Commits::Two("for a reason".to_owned()),
                seen: TriedSteps { sync: Duration::from_millis(1), links, stayed },
                room: (0, 0),
                inodes: (0, 0),
            };
            facts.ways().join("; ")
        };
        let [local, nfs, fuse] =
            [Durability::Together, Durability::ByFile, Durability::ByFileTwice]
                .map(|durability| ways(durability, 2, 0));
        assert!(local.contains("one syncfs") && local.contains("a rename gives"), "{local}");
        assert!(nfs.contains("syncfs need not reach") && nfs.contains("a link gives"), "{nfs}");
        assert!(fuse.contains("once more when it has its name"), "{fuse}");
        let odd = ways(Durability::ByFile, 1, 1);
        assert!(odd.contains("two commits for each batch: for a reason"), "{odd}");
        assert!(odd.contains("not counted") && odd.contains("a hidden name"), "{odd}");
    }
}
