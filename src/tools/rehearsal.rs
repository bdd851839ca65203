//! A disk for trying things: files and directories are made only in memory, and the real file system is
//! asked whether this user could make them.
//!
//! So the server's own functions can deliver a message without leaving anything behind, and fail as they
//! would fail. Quotas, the sandbox and a failing disk are not noticed.

use crate::store::disk::{Disk, DiskFile, Meta, RealDisk};
use crate::store::locked;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open};
use nix::sys::stat::{Mode, SFlag, stat};
use nix::sys::statfs::{FsType, MSDOS_SUPER_MAGIC, statfs};
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, faccessat, geteuid};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

/// The disk of this machine, with changes in memory. Clones share them.
#[derive(Clone, Default)]
pub struct Rehearsal(Arc<Mutex<Made>>);

/// What would have been made.
#[derive(Default)]
struct Made {
    dirs: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, RehearsedContent>,
}

/// The content of a file, shared by its names.
type RehearsedContent = Arc<Mutex<Vec<u8>>>;

/// exFAT's number, which the library does not have.
const EXFAT_SUPER_MAGIC: i64 = 0x2011_BAB0;

impl Rehearsal {
    pub fn new() -> Rehearsal {
        Rehearsal::default()
    }

    /// Fails where a name cannot be made. In the kernel's order: an existing name counts before
    /// permissions.
    fn may_make(&self, path: &Path) -> io::Result<()> {
        let (made, parent) = (locked(&self.0), parent(path));
        if made.dirs.contains(path) || made.files.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        if made.dirs.contains(parent) {
            return Ok(());
        }
        match RealDisk.stat(path) {
            Ok(_) => return Err(ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        match SFlag::from_bits_truncate(stat(parent)?.st_mode).contains(SFlag::S_IFDIR) {
            true => Ok(may_access(parent, AccessFlags::W_OK | AccessFlags::X_OK)?),
            false => Err(ErrorKind::NotADirectory.into()),
        }
    }

    /// The nearest directory above a path that exists on the real disk.
    fn real_dir<'a>(&self, path: &'a Path) -> &'a Path {
        let made = locked(&self.0);
        let mut above = parent(path);
        while made.dirs.contains(above) {
            above = parent(above);
        }
        above
    }

    fn content(&self, path: &Path) -> Option<RehearsedContent> {
        locked(&self.0).files.get(path).cloned()
    }

    /// The content of a file that was made here; fails for real files, which are never changed.
    fn ours(&self, path: &Path) -> io::Result<RehearsedContent> {
        let refused = || match RealDisk.stat(path) {
            Ok(_) => io::Error::other("a rehearsal changes nothing"),
            Err(error) => error,
        };
        self.content(path).ok_or_else(refused)
    }

    fn file(&self, path: &Path, content: RehearsedContent) -> Box<dyn DiskFile> {
        Box::new(RehearsedFile { real_dir: self.real_dir(path).to_owned(), content })
    }
}

impl Disk for Rehearsal {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.may_make(path)?;
        has_inode(self.real_dir(path))?;
        locked(&self.0).dirs.insert(path.to_owned());
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.may_make(path)?;
        has_inode(self.real_dir(path))?;
        let content = RehearsedContent::default();
        locked(&self.0).files.insert(path.to_owned(), content.clone());
        Ok(self.file(path, content))
    }

    fn scratch(&self, dir: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.may_make(&dir.join("(scratch)"))?;
        Ok(self.file(&dir.join("(scratch)"), RehearsedContent::default()))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        match self.content(path) {
            Some(content) => Ok(self.file(path, content)),
            None => RealDisk.open(path),
        }
    }

    fn claim(&self, path: &Path) -> io::Result<Option<Box<dyn DiskFile>>> {
        self.ours(path).map(|content| Some(self.file(path, content)))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let content = self.ours(from)?;
        self.may_make(to)?;
        let (here, there) = (self.real_dir(from), self.real_dir(to));
        if stat(here)?.st_dev != stat(there)?.st_dev {
            return Err(ErrorKind::CrossesDevices.into());
        }
        // File systems on which a file has only one name.
        let kind = statfs(there)?.filesystem_type();
        if [MSDOS_SUPER_MAGIC, FsType(EXFAT_SUPER_MAGIC as _)].contains(&kind) {
            return Err(Errno::EPERM.into());
        }
        locked(&self.0).files.insert(to.to_owned(), content);
        Ok(())
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        // As the real disk does where it cannot do this in one step.
        self.link(from, to)?;
        self.remove(from)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.rename_new(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.ours(path)?;
        locked(&self.0).files.remove(path);
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        match locked(&self.0).dirs.remove(dir) {
            true => Ok(()),
            false => Err(io::Error::other("a rehearsal changes nothing")),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        RealDisk.list(dir)
    }

    fn list_some(
        &self,
        dir: &Path,
        most: usize,
        wanted: &dyn Fn(&OsStr) -> bool,
    ) -> io::Result<Vec<OsString>> {
        RealDisk.list_some(dir, most, wanted)
    }

    fn set_mode(&self, dir: &Path, _: u32) -> io::Result<()> {
        match locked(&self.0).dirs.contains(dir) {
            true => Ok(()),
            false => Err(io::Error::other("a rehearsal changes nothing")),
        }
    }

    fn stat(&self, path: &Path) -> io::Result<Meta> {
        if let Some(content) = self.content(path) {
            return self.file(path, content).meta();
        }
        match locked(&self.0).dirs.contains(path) {
            true => Ok(Meta { is_dir: true, is_file: false, mode: 0o700, ..fresh(0) }),
            false => RealDisk.stat(path),
        }
    }

    /// Opens the directory, because that needs the right to read it; does not sync.
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        match locked(&self.0).dirs.contains(dir) {
            true => Ok(()),
            false => Ok(open(dir, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).map(drop)?),
        }
    }

    fn room(&self, dir: &Path) -> io::Result<u64> {
        RealDisk.room(dir)
    }
}

/// A file that would have been made.
struct RehearsedFile {
    /// A real directory on its file system.
    real_dir: PathBuf,
    content: RehearsedContent,
}

impl DiskFile for RehearsedFile {
    fn append(&self, octets: &[u8]) -> io::Result<()> {
        let found = statvfs(&self.real_dir)?;
        // Reserved blocks are for root.
        let blocks = match geteuid().is_root() {
            true => found.blocks_free(),
            false => found.blocks_available(),
        };
        let room = blocks.saturating_mul(found.fragment_size());
        if found.blocks() > 0 && room < octets.len() as u64 {
            return Err(Errno::ENOSPC.into());
        }
        locked(&self.content).extend_from_slice(octets);
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = locked(&self.content);
        let rest =
            usize::try_from(offset).ok().and_then(|at| content.get(at..)).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(locked(&self.content).len() as u64)
    }

    fn meta(&self) -> io::Result<Meta> {
        Ok(fresh(self.size()?))
    }

    fn share(&self) -> io::Result<()> {
        Ok(())
    }

    fn device(&self) -> io::Result<u64> {
        Ok(stat(&self.real_dir)?.st_dev)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_file_system(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Metadata of a file that was made just now.
fn fresh(size: u64) -> Meta {
    let (uid, modified) = (geteuid().as_raw(), SystemTime::now());
    Meta { is_dir: false, is_file: true, size, modified, uid, mode: 0o600, links: 1 }
}

/// The directory above a path; `.` for a relative path of one part.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(above) if above != Path::new("") => above,
        Some(_) => Path::new("."),
        None => Path::new("/"),
    }
}

/// Whether the effective user may do this.
fn may_access(path: &Path, how: AccessFlags) -> nix::Result<()> {
    faccessat(AT_FDCWD, path, how, AtFlags::AT_EACCESS)
}

/// Fails where no inode is left; a file system that does not count them says 0 of 0.
fn has_inode(dir: &Path) -> io::Result<()> {
    let found = statvfs(dir)?;
    match found.files() > 0 && found.files_free() == 0 {
        true => Err(Errno::ENOSPC.into()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::homes::Homes;
    use crate::store::maildir::{Names, draft};
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    /// A directory that is removed when this is dropped.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Place {
            let name = format!("facteur-rehearsal-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Place(path)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    /// Delivers into a Maildir; returns an error as words.
    fn deliver(disk: Arc<dyn Disk>, maildir: &Path) -> Result<(), String> {
        let inbox = crate::store::maildir::Place { maildir, folder: None };
        let delivered = draft(&disk, &Names::new("mx"), &inbox, 2, &mut Homes::default()).and_then(
            |(draft, file)| {
                file.append(b"x\n").unwrap();
                let published = draft.publish()?;
                disk.sync_dir(published.dir()).unwrap();
                Ok(())
            },
        );
        delivered.map_err(|error| {
            // Names are new each time.
            format!("{} {:?}", error.step, error.source.kind())
        })
    }

    #[test]
    fn it_ends_as_the_deed_does_and_leaves_nothing() {
        let place = Place::new("deeds");
        let at = |name: &str| place.0.join(name);
        for dir in ["whole/tmp", "whole/new", "whole/cur", "half/cur", "odd/cur", "odd/tmp"] {
            fs::create_dir_all(at(dir)).unwrap();
        }
        fs::write(at("file"), "").unwrap();
        fs::write(at("odd/new"), "").unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        symlink(at("whole"), at("linked")).unwrap();
        let long = "x".repeat(300);
        for name in
            ["none", "a/b/c", "whole", "half", "odd", "file", "file/x", "dangling", "linked", &long]
        {
            let (rehearsal, maildir) = (Rehearsal::new(), at(name));
            let before = fs::read_dir(&place.0).unwrap().count();
            let rehearsed = deliver(Arc::new(rehearsal.clone()), &maildir);
            assert_eq!(fs::read_dir(&place.0).unwrap().count(), before, "{name}");
            let files: Vec<PathBuf> = locked(&rehearsal.0).files.keys().cloned().collect();
            assert!(files.iter().all(|path| path.starts_with(maildir.join("new"))), "{name}");
            assert_eq!(files.len(), usize::from(rehearsed.is_ok()), "{name}");
            assert_eq!(rehearsed, deliver(Arc::new(RealDisk), &maildir), "{name}");
        }
    }

    #[test]
    fn nothing_real_is_changed() {
        let place = Place::new("changes");
        let file = place.0.join("file");
        fs::write(&file, "x").unwrap();
        let disk = Rehearsal::new();
        let to = place.0.join("other");
        assert!(disk.remove(&file).is_err() && disk.rename(&file, &to).is_err());
        assert!(disk.remove_dir(&place.0).is_err() && disk.set_mode(&place.0, 0).is_err());
        assert!(disk.claim(&file).is_err() && disk.link(&file, &to).is_err());
        assert_eq!(fs::read(&file).unwrap(), b"x");
        assert!(disk.create(&to).is_ok() && !to.exists() && disk.stat(&to).is_ok());
    }

    #[test]
    fn names_on_two_file_systems_are_no_names_of_one_file() {
        let (memory, place) = (Path::new("/dev/shm"), Place::new("two"));
        let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
        if device(memory).is_none_or(|other| device(&place.0) == Some(other)) {
            return; // one file system is all there is
        }
        let disk = Rehearsal::new();
        let from = place.0.join("one");
        disk.create(&from).unwrap();
        let error = disk.link(&from, &memory.join("facteur-rehearsal")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CrossesDevices);
    }
}
