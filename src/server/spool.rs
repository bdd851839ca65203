//! The spool as a server needs it: its directories, its lock, and without what crashes left behind.

use crate::event::warn;
use crate::mail::srs::{SrsKeys, SrsSecret};
use crate::net::control::Control;
use crate::store::disk::{Disk, Doing, StoreError};
use crate::store::drop::Drops;
use crate::store::maildir::make_with_parents;
use crate::store::queue::{Queue, SpoolLock};
use crate::store::secret;
use std::io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// The disk and the parts of the spool that a server uses.
pub struct Spool {
    pub disk: Arc<dyn Disk>,
    pub queue: Queue,
    /// Where other users of this machine put mail; none where it could not be made.
    pub drops: Option<Drops>,
    /// An existing directory for large messages.
    pub spill: PathBuf,
    /// Where commands drop hints; without it, what they changed is found later.
    pub control: Option<Control>,
    /// The secrets of SRS, made at the first start.
    pub keys: Arc<SrsKeys>,
    /// The secret for salts of users that do not exist.
    pub login: SrsSecret,
    /// Held as long as this process writes into the spool.
    pub lock: SpoolLock,
}

impl Spool {
    /// Makes the spool ready, and takes its lock: two servers would deliver everything twice. Fails with
    /// words for the operator.
    pub fn open(disk: Arc<dyn Disk>, path: &Path) -> Result<Spool, String> {
        let queue = Queue::new(disk.clone(), path);
        let failed = |error: StoreError| format!("cannot use the spool: {error}");
        queue.make().map_err(failed)?;
        let Some(lock) = queue.lock().map_err(failed)? else {
            let spool = path.display();
            return Err(format!("another facteur serves from the spool {spool}: stop it first"));
        };
        // A queue that cannot be listed stops the start: nothing in it could ever be sent.
        let dir = queue.dir();
        disk.list_some(&dir, 1, &|_| true).doing("list", &dir).map_err(failed)?;
        queue.clean_tmp(SystemTime::now()).map_err(failed)?;
        queue.sync().map_err(failed)?;
        let spill = spill(&*disk, path).map_err(failed)?;
        let drops = drops(&disk, path, &queue).map_err(failed)?;
        let keys = secret::load_or_make(&*disk, path).map_err(|error| error.to_string())?;
        let login = secret::load_or_make_login(&*disk, path);
        let login = login.or_else(|error| {
            // No mail has to wait for this: a secret of this process does as well, until a restart changes
            // the salts.
            warn(&format!("made-up salts of logins will change at the next start: {error}"));
            secret::passing().map_err(|error| error.to_string())
        })?;
        let control = Control::bind(path).map_err(|error| {
            warn(&format!("commands cannot reach this server at once: {error}"));
        });
        let (control, keys) = (control.ok(), Arc::new(keys));
        Ok(Spool { disk, queue, drops, spill, control, keys, login, lock })
    }
}

/// Where other users of this machine put mail. Without it their mail is refused, and the server does all
/// else. Fails when mail that was taken in already cannot be removed there: the next start would take it in
/// and send it once more.
fn drops(disk: &Arc<dyn Disk>, spool: &Path, queue: &Queue) -> Result<Option<Drops>, StoreError> {
    let drops = Drops::new(disk.clone(), spool);
    let error = match drops.make().map(|()| drops.remove_taken(queue)) {
        Ok(Ok(())) => return Ok(Some(drops)),
        // Something that is no directory has this name, so no mail lies there.
        Ok(Err(error)) if error.source.kind() == NotADirectory => error,
        Ok(Err(error)) => return Err(error),
        Err(error) => {
            // As far as we can, for a later start that can make the directory.
            let _ = drops.remove_taken(queue);
            error
        }
    };
    warn(&format!("users of this machine cannot send mail: {error}"));
    Ok(None)
}

/// Makes the directory for large messages, and empties it of what a crash left: a file in use has no name
/// there, except between making it and removing its name.
fn spill(disk: &dyn Disk, spool: &Path) -> Result<PathBuf, StoreError> {
    let spill = spool.join("spill");
    make_with_parents(disk, &spill)?;
    for name in disk.list(&spill).doing("list", &spill)? {
        let path = spill.join(name);
        match disk.remove(&path) {
            // It is gone meanwhile, or is no file of ours.
            Err(error) if matches!(error.kind(), NotFound | IsADirectory) => {}
            removed => removed.doing("remove", &path)?,
        }
    }
    Ok(spill)
}
