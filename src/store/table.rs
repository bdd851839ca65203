//! Text files that people write, users and aliases: their bad lines, and whether a file has changed since it
//! was read.

use super::disk::{Doing, RealDisk, StoreError};
use super::draft::PassingName;
use crate::limits::{BAD_LINE_MAX, TABLE_MAX};
use nix::fcntl::OFlag;
use nix::unistd::{Gid, Uid};
use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A line that cannot be used: "ann.users:3: …".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    pub file: PathBuf,
    pub line: usize,
    pub what: String,
}

impl BadLine {
    /// `what` is cut to what a log line may repeat.
    pub fn new(file: &Path, line: usize, what: &str) -> BadLine {
        let mut shown: String = what.chars().take(BAD_LINE_MAX).collect();
        if shown.len() < what.len() {
            shown.push_str("...");
        }
        BadLine { file: file.to_owned(), line, what: shown }
    }
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.what)
    }
}

/// Shows whether a file has changed: device, inode, size, and time of change in nanoseconds. All zero when
/// the file cannot be looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileStamp(u64, u64, u64, i128);

impl FileStamp {
    /// Whether the file was changed within `settle`, so that it may still be being written.
    pub fn is_fresh(&self, now: SystemTime, settle: Duration) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() as i128;
        self.3 > now - settle.as_nanos() as i128
    }

    /// Whether the file is shorter than it was.
    pub fn is_shorter_than(&self, before: &FileStamp) -> bool {
        self.2 < before.2
    }

    /// What the file is now.
    pub fn of(file: &Path) -> FileStamp {
        fs::metadata(file).map_or(FileStamp::default(), |found| {
            let changed =
                i128::from(found.ctime()) * 1_000_000_000 + i128::from(found.ctime_nsec());
            FileStamp(found.dev(), found.ino(), found.size(), changed)
        })
    }
}

/// The whole of a regular file of at most [`TABLE_MAX`] octets, without a byte order mark, which
/// some editors put on top and nobody sees.
pub fn read(file: &Path) -> Result<Vec<u8>, StoreError> {
    let mut octets = read_bounded(file).doing("read", file)?;
    let mark = octets.len() - without_mark(&octets).len();
    octets.drain(..mark);
    Ok(octets)
}

/// The text behind its byte order mark, or several of them.
pub fn without_mark(mut octets: &[u8]) -> &[u8] {
    while let Some(rest) = octets.strip_prefix(b"\xef\xbb\xbf") {
        octets = rest;
    }
    octets
}

/// Who may read a file that is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewFile {
    /// None: whoever makes it.
    pub owner: Option<(Uid, Gid)>,
    pub mode: u32,
}

impl NewFile {
    /// For its owner alone.
    pub fn private(owner: Option<(Uid, Gid)>) -> NewFile {
        NewFile { owner, mode: 0o600 }
    }
}

/// Replaces the content of a file by what `change` makes of it, whole or not at all, also in a power cut;
/// where `change` gives none, the file stays. Mode and owner stay; a missing file counts as empty, and is made as
/// `made` says. Several processes may do so at once: each sees the changes of the others.
pub fn change<E: From<StoreError>>(
    file: &Path,
    made: NewFile,
    change: impl FnOnce(&[u8]) -> Result<Option<Vec<u8>>, E>,
) -> Result<(), E> {
    // A link stays, and the file it leads to is changed.
    let file = &fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // The directory is locked, because the file itself is replaced by another one.
    let lock = File::open(dir).doing("open", dir)?;
    lock.lock().doing("lock", dir)?;
    let old = fs::metadata(file);
    let text = match &old {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        _ => read_bounded(file).doing("read", file)?,
    };
    let Some(new) = change(&text)? else { return Ok(()) };
    if new.len() as u64 > TABLE_MAX {
        Err(io::ErrorKind::FileTooLarge.into()).doing("write", file)?;
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let path = dir.join(format!(".{name}.{}", crate::id::message()));
    let draft = PassingName { disk: &RealDisk, path };
    write_draft(&draft.path, &new, old.ok(), made).doing("write", &draft.path)?;
    fs::rename(&draft.path, file).doing("replace", file)?;
    Ok(lock.sync_all().doing("sync", dir)?)
}

fn write_draft(
    path: &Path,
    text: &[u8],
    old: Option<fs::Metadata>,
    made: NewFile,
) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    let kept = old.as_ref().map(|old| (Uid::from_raw(old.uid()), Gid::from_raw(old.gid())));
    let is = file.metadata()?;
    let wanted = kept.or(made.owner);
    if let Some((uid, gid)) = wanted.filter(|who| *who != (is.uid().into(), is.gid().into())) {
        // An error, because a server that cannot read the file under another owner would have no users.
        let why = |error: io::Error| match error.kind() {
            io::ErrorKind::PermissionDenied => io::Error::new(
                error.kind(),
                format!(
                    "only root may leave it to its owner (uid {uid}, gid {gid}); call this as root"
                ),
            ),
            _ => error,
        };
        fchown(&file, Some(uid.as_raw()), Some(gid.as_raw())).map_err(why)?;
    }
    let permissions =
        old.map_or_else(|| Permissions::from_mode(made.mode), |old| old.permissions());
    file.set_permissions(permissions)?;
    file.sync_all()
}

fn read_bounded(file: &Path) -> io::Result<Vec<u8>> {
    // Non-blocking, because opening a pipe would wait for its writer.
    let mut options = OpenOptions::new();
    let opened = options.read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(file)?;
    if !opened.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut octets = Vec::new();
    opened.take(TABLE_MAX + 1).read_to_end(&mut octets)?;
    match octets.len() as u64 > TABLE_MAX {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(octets),
    }
}
