//! The one way to mail files: about a dozen operations, real here, modelled in [`super::memory`].
//!
//! Everything that must survive a power cut goes through [`Disk`], so that tests can record it, let
//! it fail at any step, and replay it. Paths are taken as they are; nothing here knows what a
//! Maildir is.

mod home;

pub use home::OpenHome;

use super::{order, writeback};
use home::RealHome;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, F2FS_SUPER_MAGIC, FUSE_SUPER_MAGIC, FsType,
    OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, fstatfs, statfs,
};
use nix::sys::statvfs::statvfs;
use nix::sys::utsname::uname;
use nix::unistd::{AccessFlags, Uid, User, access, geteuid, syncfs};
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::SystemTime;

/// What can be done to directories and names.
pub trait Disk: Send + Sync {
    /// Makes one directory, mode 0700.
    fn make_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes a file to write, mode 0600; fails with `AlreadyExists` when the name is taken.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Makes a file without a name, to write and read; the system removes it when it is dropped.
    fn scratch(&self, dir: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a regular file to read; a symbolic link is not followed.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file to read and append, and locks it for this process; none when another process has the lock.
    /// Fails with `NotFound` when the file's last name was removed meanwhile.
    fn claim(&self, path: &Path) -> io::Result<Option<Box<dyn DiskFile>>>;
    /// Locks a directory for this process; none when another process has the lock. Fails with `Unsupported`
    /// where only files can be locked.
    fn claim_dir(&self, _dir: &Path) -> io::Result<Option<Box<dyn DiskFile>>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Whether another process has claimed a file at this moment, as far as the system tells; takes no lock.
    fn is_claimed(&self, _path: &Path) -> io::Result<bool> {
        Ok(false)
    }
    /// Opens a directory for the files that are made in it; none where they have to be made by path.
    fn open_home(&self, _home: &Path) -> io::Result<Option<Box<dyn OpenHome>>> {
        Ok(None)
    }
    /// Gives a file a second name; fails with `AlreadyExists` when that is taken.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file another name; fails with `AlreadyExists` when that is taken. Where a file system
    /// has no such step, the file has both names for a moment, and may keep the old one.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file another name, and replaces a file that has this name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a name of a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    /// Names in a directory, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>>;
    /// Some names in a directory where anybody may make names: at most `most`, only those that `wanted` takes,
    /// and no name of a directory.
    fn list_some(
        &self,
        dir: &Path,
        most: usize,
        wanted: &dyn Fn(&OsStr) -> bool,
    ) -> io::Result<Vec<OsString>>;
    /// Sets the permission bits of a directory.
    fn set_mode(&self, dir: &Path, mode: u32) -> io::Result<()>;
    /// What a path is; a symbolic link at its end is not followed.
    fn stat(&self, path: &Path) -> io::Result<Meta>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// The free octets of a directory's file system that every user may take; `u64::MAX` where it counts none.
    fn room(&self, dir: &Path) -> io::Result<u64>;
    /// How full a directory's file system is, as far as the system tells.
    fn space(&self, _dir: &Path) -> io::Result<DiskSpace> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// How full a file system is. What it does not count is 0 of 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskSpace {
    /// Octets that every user may take, without those that only root may.
    pub free: u64,
    pub all: u64,
    pub free_inodes: u64,
    pub all_inodes: u64,
}

/// What [`DiskFile::read_up_to`] takes in one step, in octets.
const READ_AT_ONCE: usize = 256 * 1024;

/// What can be done to an open file.
pub trait DiskFile: Send + Sync {
    /// Appends all octets.
    fn append(&self, octets: &[u8]) -> io::Result<()>;
    /// Reads some octets at a place; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Reads the octets at a place, `most` of them; fewer only where the file ends.
    fn read_up_to(&self, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        let mut octets = Vec::new();
        while octets.len() < most {
            let begin = octets.len();
            octets.resize(most.min(begin + READ_AT_ONCE), 0);
            let read = match self.read_at(&mut octets[begin..], offset + begin as u64) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    octets.truncate(begin);
                    continue;
                }
                read => read?,
            };
            octets.truncate(begin + read);
            if read == 0 {
                break;
            }
        }
        Ok(octets)
    }
    /// Length in octets.
    fn size(&self) -> io::Result<u64>;
    /// What the open file is, whatever its path leads to by now.
    fn meta(&self) -> io::Result<Meta>;
    /// Lets every user read the file, mode 0644.
    fn share(&self) -> io::Result<()>;
    /// A number that is the same for all files of one file system.
    fn device(&self) -> io::Result<u64>;
    /// Tells the system that [`DiskFile::sync`] comes soon. Promises nothing; an error shows at that sync.
    fn begin_sync(&self) {}
    /// Waits until the octets so far are on the disk, without a commit. Where the file system keeps its order
    /// ([`DiskFile::keeps_order`]), no name that the file gets later is ever there without them.
    fn wait_written(&self) -> io::Result<()> {
        self.sync()
    }
    /// Whether the file system is known to keep the order of octets and names ([`super::order`]).
    fn keeps_order(&self) -> io::Result<bool> {
        Ok(false)
    }
    /// Makes the content durable.
    fn sync(&self) -> io::Result<()>;
    /// Makes the whole file system of the file durable, with all names.
    fn sync_file_system(&self) -> io::Result<()>;
    /// Whether [`DiskFile::sync_file_system`] is known to work on this file's file system.
    fn is_synced_with_others(&self) -> io::Result<bool> {
        Ok(true)
    }
}

/// What [`Disk::stat`] tells.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    pub is_dir: bool,
    pub is_file: bool,
    /// In octets.
    pub size: u64,
    pub modified: SystemTime,
    /// The owner.
    pub uid: u32,
    /// The permission bits, without the kind of file.
    pub mode: u32,
    /// Names that a file has.
    pub links: u64,
}

/// A disk step that failed: "cannot sync /var/mail/ann/tmp/17.M2: No space left on device".
#[derive(Debug)]
pub struct StoreError {
    /// The step that failed, as the verb in "cannot …".
    pub step: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

/// Enhanced status codes of a disk's trouble (RFC 3463 §3.3, §3.4).
pub const NO_ROOM: &str = "4.3.1";
pub const MAILBOX_FULL: &str = "4.2.2";
pub const LOCAL_TROUBLE: &str = "4.3.0";

/// Whether the next try may go well: what was short was the process's or the system's.
pub fn is_passing(error: &io::Error) -> bool {
    let short = [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::EINTR, Errno::EIO];
    short.iter().any(|errno| error.raw_os_error() == Some(*errno as i32))
}

impl StoreError {
    /// Whether the next try may go well ([`is_passing`]).
    pub fn is_passing(&self) -> bool {
        is_passing(&self.source)
    }

    /// The status for a reply and for the journal. Always temporary, because a disk can be repaired.
    pub fn status(&self) -> &'static str {
        match self.source.kind() {
            // A limit of the process (ulimit -f) is one more disk that has no room.
            io::ErrorKind::StorageFull | io::ErrorKind::FileTooLarge => NO_ROOM,
            io::ErrorKind::QuotaExceeded => MAILBOX_FULL,
            _ => LOCAL_TROUBLE,
        }
    }
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot {} {}: {}", self.step, self.path.display(), self.source)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Names the step and the path of an I/O error.
pub trait Doing<T> {
    fn doing(self, step: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, step: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError { step, path: path.to_owned(), source })
    }
}

/// The disk of this machine.
#[derive(Clone, Copy, Debug)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(path).map_err(|error| explained(path, error))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|error| explained(path, error))?;
        Ok(Box::new(RealFile::new(file)))
    }

    fn scratch(&self, dir: &Path) -> io::Result<Box<dyn DiskFile>> {
        // Not O_TMPFILE: some file systems (NFS, overlays) do not have it.
        let path = dir.join(format!("{:016x}", crate::id::random()));
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        fs::remove_file(&path)?;
        Ok(Box::new(RealFile::new(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile::new(open_file(path)?)))
    }

    fn claim(&self, path: &Path) -> io::Result<Option<Box<dyn DiskFile>>> {
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let mut options = OpenOptions::new();
        let opened = options.read(true).append(true).custom_flags(flags.bits()).open(path);
        let file = opened.map_err(|error| whose(path, error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        match file.metadata()? {
            found if !found.is_file() => Err(io::Error::other("not a regular file")),
            found if found.nlink() == 0 => Err(io::ErrorKind::NotFound.into()),
            _ => Ok(Some(Box::new(RealFile::locked(file)))),
        }
    }

    fn claim_dir(&self, dir: &Path) -> io::Result<Option<Box<dyn DiskFile>>> {
        let file = File::open(dir)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(RealFile::locked(file)))),
            Err(TryLockError::WouldBlock) => Ok(None),
            // NFS locks only files that are open to write.
            Err(TryLockError::Error(_)) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn is_claimed(&self, path: &Path) -> io::Result<bool> {
        let inode = fs::symlink_metadata(path)?.ino().to_string();
        // "1: FLOCK  ADVISORY  WRITE 4711 08:01:2883629 0 EOF". The device is not compared, because some file
        // systems show another one there.
        let is_its = |line: &str| {
            let mut words = line.split_ascii_whitespace().skip(1);
            let place = |place: &str| place.rsplit(':').next() == Some(inode.as_str());
            words.next() == Some("FLOCK") && words.nth(3).is_some_and(place)
        };
        Ok(fs::read_to_string("/proc/locks")?.lines().any(is_its))
    }

    fn open_home(&self, home: &Path) -> io::Result<Option<Box<dyn OpenHome>>> {
        Ok(RealHome::open(home)?.map(|home| Box::new(home) as _))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        match Durability::of(from)? {
            Durability::ByFileTwice => link_durably(from, to),
            _ => fs::hard_link(from, to),
        }
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        // On other file systems a rename that a power cut interrupts may leave two names for the same octets, as
        // FAT counts no links. There a link is tried, which they refuse.
        let renamed = match Durability::of(from)? {
            Durability::Together => replace_nothing(AT_FDCWD, from, to),
            Durability::ByFile | Durability::ByFileTwice => Err(Errno::EOPNOTSUPP),
        };
        match renamed {
            Ok(()) => Ok(()),
            Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::EPERM) => {
                self.link(from, to)?;
                // An old name that cannot be removed goes later, as a leftover of `tmp/`.
                let _ = fs::remove_file(from);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        match Durability::of(to.parent().unwrap_or(to))? {
            // Links and directories are put aside by this step too, and have no octets of ours.
            Durability::ByFileTwice => open_file(to).map_or(Ok(()), |file| file.sync_all()),
            _ => Ok(()),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn list_some(
        &self,
        dir: &Path,
        most: usize,
        wanted: &dyn Fn(&OsStr) -> bool,
    ) -> io::Result<Vec<OsString>> {
        let is_dir = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        let names = fs::read_dir(dir)?.filter_map(|entry| match entry {
            Ok(entry) if is_dir(&entry) => None,
            entry => entry.map(|e| Some(e.file_name()).filter(|name| wanted(name))).transpose(),
        });
        names.take(most).collect()
    }

    fn set_mode(&self, dir: &Path, mode: u32) -> io::Result<()> {
        fs::set_permissions(dir, Permissions::from_mode(mode))
    }

    fn stat(&self, path: &Path) -> io::Result<Meta> {
        meta(&fs::symlink_metadata(path)?)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn room(&self, dir: &Path) -> io::Result<u64> {
        let DiskSpace { free, all, .. } = self.space(dir)?;
        Ok(if all == 0 { u64::MAX } else { free })
    }

    fn space(&self, dir: &Path) -> io::Result<DiskSpace> {
        let found = statvfs(dir)?;
        let octets = |blocks: u64| blocks.saturating_mul(found.fragment_size());
        Ok(DiskSpace {
            // Also when we are root.
            free: octets(found.blocks_available()),
            all: octets(found.blocks()),
            free_inodes: found.files_available(),
            all_inodes: found.files(),
        })
    }
}

/// Explains an error by the sandbox, where it is not the permissions that forbid to make a file: access(2)
/// does not know of the sandbox. A user's home that is a link to another disk leads here.
fn explained(path: &Path, error: io::Error) -> io::Error {
    let is_denied = error.raw_os_error() == Some(Errno::EACCES as i32);
    let may_write = |dir: &Path| access(dir, AccessFlags::W_OK | AccessFlags::X_OK).is_ok();
    if !is_denied || !path.parent().is_some_and(may_write) {
        return error;
    }
    let words = "Permission denied by the sandbox: this leads outside of the directories that were there at \
                 start (by a link, or put in their place since); a restart finds what is there now";
    io::Error::new(error.kind(), words)
}

/// Explains why a file may not be opened: names its owner, our own user, and the command that helps.
pub fn whose(path: &Path, error: io::Error) -> io::Error {
    let (true, Ok(found)) =
        (error.raw_os_error() == Some(Errno::EACCES as i32), fs::symlink_metadata(path))
    else {
        return error;
    };
    let name = |uid: u32| {
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        user.map_or_else(|| format!("uid {uid}"), |user| user.name)
    };
    let we = name(geteuid().as_raw());
    let words = format!(
        "Permission denied: it belongs to {}, mode {:04o}, and this is {we}; `chown {we} {}` helps",
        name(found.uid()),
        found.mode() & 0o7777,
        path.display()
    );
    io::Error::new(error.kind(), words)
}

fn meta(found: &fs::Metadata) -> io::Result<Meta> {
    Ok(Meta {
        is_dir: found.is_dir(),
        is_file: found.is_file(),
        size: found.len(),
        modified: found.modified()?,
        uid: found.uid(),
        mode: found.mode() & 0o7777,
        links: found.nlink(),
    })
}

/// XFS, as statfs(2) names it; nix has it for the C library of GNU only.
const XFS_SUPER_MAGIC: FsType = FsType(0x5846_5342);

/// File systems of this machine's own disks, on which syncfs(2) works and a file may have several names.
const LOCAL: [FsType; 6] = [
    EXT4_SUPER_MAGIC,
    XFS_SUPER_MAGIC,
    BTRFS_SUPER_MAGIC,
    F2FS_SUPER_MAGIC,
    OVERLAYFS_SUPER_MAGIC,
    TMPFS_MAGIC,
];

/// How files and names become durable on a file system, by its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// By syncfs(2) for many, by fsync(2) of file and directory for few.
    Together,
    /// By fsync(2) of each file and of each directory. Linux answers syncfs(2) there without asking whoever keeps the
    /// files.
    ByFile,
    /// As `ByFile`, and the file is synced again once it has its name. With FUSE the sync of a directory is what its
    /// program makes of it, and GlusterFS answers it without asking its bricks. The sync of a file reaches them, and
    /// takes along the name that the file has by then: it changed the inode, and a journal is committed in order.
    ByFileTwice,
}

impl Durability {
    /// On the file system of a path.
    pub fn of(path: &Path) -> io::Result<Durability> {
        Ok(Durability::by(statfs(path)?.filesystem_type()))
    }

    fn by(kind: FsType) -> Durability {
        match kind {
            FUSE_SUPER_MAGIC => Durability::ByFileTwice,
            kind if LOCAL.contains(&kind) => Durability::Together,
            _ => Durability::ByFile,
        }
    }
}

/// Whether syncfs(2) tells of errors: before Linux 5.8 it reports success always, and only fsync(2) tells.
static SYNCFS_TELLS: LazyLock<bool> =
    LazyLock::new(|| uname().is_ok_and(|system| is_since_5_8(system.release())));

/// Whether a release such as "6.1.0-13-amd64" is 5.8 or newer; one that cannot be read counts as older.
fn is_since_5_8(release: &OsStr) -> bool {
    let mut numbers = release.to_str().unwrap_or_default().split(['.', '-']).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (5, 8),
        _ => false,
    }
}

/// A file of this machine's disk.
struct RealFile {
    file: File,
    is_locked: bool,
    /// Of its file system, where that is known already.
    device: Option<u64>,
}

impl RealFile {
    fn new(file: File) -> RealFile {
        RealFile { file, is_locked: false, device: None }
    }

    fn locked(file: File) -> RealFile {
        RealFile { file, is_locked: true, device: None }
    }
}

impl Drop for RealFile {
    fn drop(&mut self) {
        // Closing does not suffice: a child that was forked at this moment may still hold the file.
        if self.is_locked {
            let _ = self.file.unlock();
        }
    }
}

impl DiskFile for RealFile {
    fn append(&self, octets: &[u8]) -> io::Result<()> {
        (&self.file).write_all(octets)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn meta(&self) -> io::Result<Meta> {
        meta(&self.file.metadata()?)
    }

    fn share(&self) -> io::Result<()> {
        self.file.set_permissions(Permissions::from_mode(0o644))
    }

    fn device(&self) -> io::Result<u64> {
        self.device.map_or_else(|| Ok(self.file.metadata()?.dev()), Ok)
    }

    fn begin_sync(&self) {
        let _ = writeback::begin(&self.file);
    }

    fn wait_written(&self) -> io::Result<()> {
        writeback::wait(&self.file)
    }

    fn keeps_order(&self) -> io::Result<bool> {
        Ok(order::keeps_order(self.device()?))
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn sync_file_system(&self) -> io::Result<()> {
        Ok(syncfs(&self.file)?)
    }

    fn is_synced_with_others(&self) -> io::Result<bool> {
        let durability = Durability::by(fstatfs(&self.file)?.filesystem_type());
        Ok(*SYNCFS_TELLS && durability == Durability::Together)
    }
}

/// A rename in one step that fails where it would replace something. Paths are relative to a directory.
#[cfg(target_env = "gnu")]
fn replace_nothing(dir: impl AsFd, from: &Path, to: &Path) -> nix::Result<()> {
    use nix::fcntl::{RenameFlags, renameat2};
    renameat2(&dir, from, &dir, to, RenameFlags::RENAME_NOREPLACE)
}

/// nix has renameat2 for glibc only.
#[cfg(not(target_env = "gnu"))]
fn replace_nothing(_: impl AsFd, _: &Path, _: &Path) -> nix::Result<()> {
    Err(Errno::ENOSYS)
}

/// A second name for a file, durable with the file's own sync.
fn link_durably(from: &Path, to: &Path) -> io::Result<()> {
    let file = open_file(from)?;
    fs::hard_link(from, to)?;
    file.sync_all().inspect_err(|_| {
        let _ = fs::remove_file(to); // a power cut could take it
    })
}

/// Opens a regular file to read.
fn open_file(path: &Path) -> io::Result<File> {
    // A Maildir's owner may put a link or a pipe where root is about to read.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("not a regular file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_whose_syncfs_tells_of_errors() {
        for (release, is_since) in [
            ("4.19.0-25-amd64", false),
            ("5.7.19", false),
            ("5.8.0", true),
            ("6.1.0-13-amd64", true),
            ("10.0", true),
            ("", false),
        ] {
            let known = is_since_5_8(OsStr::new(release));
            assert_eq!(known, is_since, "{release}");
        }
    }

    #[test]
    fn only_disks_of_this_machine_are_synced_as_a_whole() {
        for (kind, durability) in [
            (EXT4_SUPER_MAGIC, Durability::Together),
            (nix::sys::statfs::NFS_SUPER_MAGIC, Durability::ByFile),
            (FUSE_SUPER_MAGIC, Durability::ByFileTwice),
        ] {
            assert_eq!(Durability::by(kind), durability, "{kind:?}");
        }
    }

    #[test]
    fn a_new_name_replaces_nothing() {
        let place = std::env::temp_dir().join(crate::id::message());
        let [one, other, free] = ["one", "other", "free"].map(|name| place.join(name));
        let linked = |from: &Path, to: &Path| {
            link_durably(from, to)?;
            fs::remove_file(from)
        };
        for rename in [linked, |from: &Path, to: &Path| RealDisk.rename_new(from, to)] {
            fs::create_dir(&place).unwrap();
            fs::write(&one, "1").unwrap();
            fs::write(&other, "2").unwrap();
            assert_eq!(rename(&one, &other).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!([&one, &other].map(|path| fs::read(path).unwrap()), [b"1", b"2"]);
            rename(&one, &free).unwrap();
            assert_eq!((fs::read(&free).unwrap(), one.exists()), (b"1".to_vec(), false));
            assert_eq!(rename(&one, &free).unwrap_err().kind(), io::ErrorKind::NotFound);
            fs::remove_dir_all(&place).unwrap();
        }
    }
}
