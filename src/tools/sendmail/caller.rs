//! The caller of sendmail, the configuration, and where mail is put: into the queue for root and the
//! server's user, into `spool/drop/` for all others.

use super::status::{ExitStatus, NotSent};
use crate::config::{Config, MilterService};
use crate::mail::address::{Host, Mailbox};
use crate::mail::edits::Edits;
use crate::mail::repair::{Completion, Domains, SubmittedHeader};
use crate::net::control::{self, ControlHint};
use crate::pickup::Author;
use crate::privileges;
use crate::reach;
use crate::site::Site;
use crate::store::body::Body;
use crate::store::disk::{Disk, DiskFile, Doing, RealDisk, StoreError};
use crate::store::drop::Drops;
use crate::store::entry::{Entry, EntrySignature};
use crate::store::queue::Queue;
use jiff::ZonedDateTime;
use nix::errno::Errno;
use nix::unistd::{AccessFlags, eaccess, geteuid, getuid, setuid};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The caller, and where its mail is put.
pub struct Submitter {
    pub author: Author,
    pub config: Config,
    pub disk: Arc<dyn Disk>,
    way: HandIn,
}

enum HandIn {
    Queue(Queue),
    Drop(Drops),
}

/// The file of the configuration: the one that was named, else the usual places. A `facteur.toml` in the
/// current directory counts only when it is root's or the caller's own: another user's file in /tmp must
/// not decide where the mail of a program goes that runs there.
pub fn choose(named: Option<PathBuf>) -> Option<PathBuf> {
    let is_strange = |found: fs::Metadata| found.uid() != 0 && found.uid() != getuid().as_raw();
    let strange = fs::metadata("facteur.toml").is_ok_and(is_strange);
    named.or_else(|| strange.then(|| PathBuf::from("/etc/facteur/facteur.toml")))
}

/// Reads the configuration.
pub fn load(config: Option<&Path>) -> Result<Config, NotSent> {
    let unread = |error| NotSent::new(ExitStatus::Config, format!("configuration: {error}"));
    reach::config(config).map_err(unread)
}

/// Gives up the user of a setuid file, because the caller chooses the configuration, and with it files to
/// write.
pub fn drop_setuid() -> Result<(), NotSent> {
    if geteuid() != getuid() {
        let failed =
            |error| NotSent::new(ExitStatus::System, format!("cannot become uid: {error}"));
        setuid(getuid()).map_err(failed)?;
    }
    Ok(())
}

impl Submitter {
    /// Finds the caller. Root becomes the server's user, for good: files in the spool have to be that
    /// user's.
    pub fn find(config: Config) -> Result<Submitter, NotSent> {
        let uid = getuid().as_raw();
        let author = Author::find(uid).map_err(|error| {
            NotSent::new(ExitStatus::System, format!("cannot find the user of uid {uid}: {error}"))
        })?;
        if getuid().is_root() {
            step_down(&config)?;
        }
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let way = HandIn::find(&disk, &config, &author)?;
        Ok(Submitter { author, config, disk, way })
    }

    /// The header as it is sent. `own`: the caller as a sender; `from`: the sender of this message, when
    /// it has one.
    ///
    /// The server completes dropped mail further ([`crate::pickup`]): it knows where mail of a name without
    /// a domain is read, and who the author is.
    pub fn completed(
        &self,
        header: &SubmittedHeader<'_>,
        (own, from): (&Mailbox, Option<&Mailbox>),
        name: Option<&str>,
        id: &str,
    ) -> Vec<u8> {
        let hostname = &self.config.hostname;
        let from = from.unwrap_or(own);
        let is_bare = self.drops() && from == own;
        let writers = match &own.host {
            Host::Domain(domain) => domain,
            Host::Literal(_) => hostname,
        };
        let is_owed = !self.drops() && header.lacks_sender(writers);
        header.completed(&Completion {
            date: &ZonedDateTime::now(),
            message_id: &format!("{id}.{:016x}@{hostname}", crate::id::random()),
            name,
            from: &if is_bare { from.local.to_string() } else { from.to_string() },
            sender: is_owed.then_some(from),
            domain: match self.drops() {
                true => Domains::Later,
                false => Domains::Known(writers, self.config.home()),
            },
        })
    }

    /// Whether mail is dropped, so that the server decides about it again.
    pub fn drops(&self) -> bool {
        matches!(self.way, HandIn::Drop(_))
    }

    /// The site as far as this user can read it: a domain with files that it cannot read counts as one
    /// elsewhere, and the server alone decides about its recipients. `expanded`: recipients will not be
    /// expanded again, so domains with aliases are left to the server as well.
    pub fn site(&self, expanded: bool) -> Result<Site, NotSent> {
        let mut config = self.config.clone();
        if self.drops() {
            let reads = |file: &Option<PathBuf>| {
                file.as_ref().is_none_or(|file| eaccess(file, AccessFlags::R_OK).is_ok())
            };
            // Who exists there is a question of strangers.
            config.relay.backup.clear();
            config.domains.retain(|domain| {
                let aliases = match expanded {
                    true => domain.aliases.is_none(),
                    false => reads(&domain.aliases),
                };
                aliases && reads(&domain.users) && (domain.any_user || domain.users.is_some())
            });
        }
        // A file that cannot be read now may be mended when the server reads it, so no recipient is refused
        // for it.
        let site = Site::read_names(config);
        let site = site.map(|(site, _)| site.in_part_of(&self.config));
        site.map_err(|error| NotSent::new(ExitStatus::Config, error.to_string()))
    }

    /// The directory for a large message while it comes in, in a file without a name.
    pub fn scratch(&self) -> PathBuf {
        match &self.way {
            HandIn::Queue(queue) => queue.tmp(),
            HandIn::Drop(_) => std::env::temp_dir(),
        }
    }

    /// Puts a message where the server takes it from, durably; returns its id. The message is `body` with
    /// the edits, below `received`, which for dropped mail the server writes itself.
    pub fn put(
        &self,
        mut entry: Entry,
        received: &str,
        edits: Edits,
        body: &Body,
    ) -> Result<String, StoreError> {
        let edits = if self.drops() { edits } else { edits.on_top(received) };
        // The server reads the keys, and this program does not.
        let is_owed = !self.drops() && !self.config.signing().is_empty();
        entry.signature = if is_owed { EntrySignature::Owed } else { EntrySignature::None };
        // The server asks them, before anybody gets it.
        entry.is_unfiltered = self.config.is_filtered(MilterService::Sendmail);
        entry.size = edits.size(body.size());
        entry.sum = Some(body.sum(&edits)?);
        let write = |file: &dyn DiskFile, path: &Path| body.copy_to(&edits, file, path);
        match &self.way {
            HandIn::Queue(queue) => {
                queue.insert(&entry, write)?;
                // A lost hint only delays: the server looks through its queue from time to time.
                let _ = control::send(&self.config.spool, &[ControlHint::Look(entry.id.clone())]);
            }
            HandIn::Drop(drops) => {
                entry.id = crate::id::secret(&entry.id);
                drops.put(&entry, write)?;
            }
        }
        Ok(entry.id)
    }
}

impl HandIn {
    fn find(disk: &Arc<dyn Disk>, config: &Config, author: &Author) -> Result<HandIn, NotSent> {
        let queue = Queue::new(disk.clone(), &config.spool);
        let dir = queue.dir();
        match eaccess(&dir, AccessFlags::W_OK | AccessFlags::X_OK) {
            Ok(()) => Ok(HandIn::Queue(queue)),
            Err(Errno::ENOENT) => {
                let is_its = config.run_as.as_ref().is_none_or(|user| *user == author.login)
                    || author.uid == 0;
                let spool = config.spool.display();
                if config.file.is_none() {
                    // Mail would lie where no server looks.
                    let text =
                        format!("there is no configuration, and no demo has run: no {spool}");
                    return Err(NotSent::new(ExitStatus::Config, text));
                }
                if !is_its {
                    let text = format!("{spool} is not there yet: start the server once");
                    return Err(NotSent::new(ExitStatus::Later, text));
                }
                queue.make()?;
                Ok(HandIn::Queue(queue))
            }
            Err(Errno::EACCES | Errno::EPERM) => {
                let drops = Drops::new(disk.clone(), &config.spool);
                // Reported before the message is read.
                let flags = AccessFlags::W_OK | AccessFlags::X_OK;
                let may = eaccess(&drops.dir(), flags).map_err(std::io::Error::from);
                may.doing("drop mail into", &drops.dir()).map_err(explain)?;
                Ok(HandIn::Drop(drops))
            }
            Err(error) => {
                let source = Err(std::io::Error::from(error));
                source.doing("write into", &dir)?;
                Ok(HandIn::Queue(queue))
            }
        }
    }
}

fn explain(error: StoreError) -> NotSent {
    let why = match error.source.kind() {
        ErrorKind::NotFound => "; the server makes it when it starts",
        ErrorKind::PermissionDenied => "; users need x on every directory above it",
        _ => "",
    };
    NotSent::new(ExitStatus::Later, error.to_string() + why)
}

/// Root becomes the user of `run_as`, else the owner of the spool.
pub fn step_down(config: &Config) -> Result<(), NotSent> {
    let unknown = |why| NotSent::new(ExitStatus::Config, why);
    let user = reach::user(config).map_err(unknown)?;
    match reach::server(config, user.as_ref()).map_err(unknown)? {
        Some(user) if !user.uid.is_root() => {
            let became = privileges::become_user(Some(&user));
            became.map(drop).map_err(|why| NotSent::new(ExitStatus::System, why))
        }
        _ => Ok(()),
    }
}
