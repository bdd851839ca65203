//! Directories and files that an administrator's command makes: durable, with owner and mode from the start, and
//! never in the place of anything that is there. They are no mail.
//!
//! A file gets its name once it is whole; a kill leaves at most a name that begins with a dot.

use super::disk::{Disk, Doing, RealDisk, StoreError};
use super::draft::PassingName;
use nix::fcntl::OFlag;
use nix::unistd::{Gid, Uid};
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

/// Makes a directory of that mode, whatever the umask, with those above it, which are root's or the caller's and which
/// all may pass through. One that is there stays as it is.
pub fn make_dir(dir: &Path, mode: u32, owner: Option<(Uid, Gid)>) -> Result<(), StoreError> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = dir.parent().filter(|above| !above.as_os_str().is_empty());
    let mut missing: Vec<&Path> = above.into_iter().flat_map(Path::ancestors).collect();
    missing.retain(|above| !above.as_os_str().is_empty() && !above.is_dir());
    for above in missing.into_iter().rev() {
        make_one(above, 0o755, None)?;
    }
    make_one(dir, mode, owner)
}

fn make_one(dir: &Path, mode: u32, owner: Option<(Uid, Gid)>) -> Result<(), StoreError> {
    DirBuilder::new().mode(mode).create(dir).doing("make", dir)?;
    let made = open_dir(dir).doing("open", dir)?;
    made.set_permissions(Permissions::from_mode(mode)).doing("make", dir)?;
    if let Some((uid, gid)) = owner {
        fchown(&made, Some(uid.as_raw()), Some(gid.as_raw())).doing("give away", dir)?;
    }
    let above = dir.parent().filter(|above| !above.as_os_str().is_empty());
    sync(above.unwrap_or(Path::new(".")))
}

/// Gives a directory away, with a mode.
pub fn give_dir(dir: &Path, mode: u32, (uid, gid): (Uid, Gid)) -> Result<(), StoreError> {
    let found = open_dir(dir).doing("open", dir)?;
    found.set_permissions(Permissions::from_mode(mode)).doing("give away", dir)?;
    fchown(&found, Some(uid.as_raw()), Some(gid.as_raw())).doing("give away", dir)
}

/// By its descriptor a directory is changed itself, and never what a link leads to that was put in its place.
fn open_dir(dir: &Path) -> io::Result<fs::File> {
    let flags = (OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits();
    OpenOptions::new().read(true).custom_flags(flags).open(dir)
}

/// Writes a file whole, under another name first. Fails where the name is taken.
pub fn write_new(
    path: &Path,
    text: &[u8],
    mode: u32,
    owner: Option<(Uid, Gid)>,
) -> Result<(), StoreError> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = dir.join(format!(".{name}.{}", crate::id::message()));
    let draft = PassingName { disk: &RealDisk, path: draft };
    fill(&draft.path, text, mode, owner).doing("write", &draft.path)?;
    // A link fails where the name is taken, and a rename would not.
    fs::hard_link(&draft.path, path).doing("make", path)?;
    drop(draft);
    sync(dir)
}

fn fill(path: &Path, text: &[u8], mode: u32, owner: Option<(Uid, Gid)>) -> io::Result<()> {
    // For its owner alone until it belongs to whom it should.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    if let Some((uid, gid)) = owner {
        fchown(&file, Some(uid.as_raw()), Some(gid.as_raw()))?;
    }
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(text)?;
    file.sync_all()
}

fn sync(dir: &Path) -> Result<(), StoreError> {
    RealDisk.sync_dir(dir).doing("sync", dir)
}
