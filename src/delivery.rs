//! The local-delivery thread: accepted messages → Maildirs, made durable in groups.
//!
//! It takes one message, then all that wait behind it, writes every copy into `tmp/`, makes the
//! batch durable, publishes it in `new/`, makes the names durable, and only then answers each
//! session. While it syncs, the next batch gathers: the busier the server, the fewer syncs a
//! message. A message is published for all its recipients or for none. Large messages are written
//! by their session's thread ([`Post::prepare`]); here they are only published.

use crate::event::{Event, tell};
use crate::handoff::{Accepted, Copy, Outcome};
use crate::limits::{BATCH_FILES, BATCH_OCTETS};
use crate::route::Destination;
use crate::smtp::reply::Reply;
use crate::store::body::kept_size;
use crate::store::disk::{Disk, Doing, StoreError};
use crate::store::draft::{Draft, Published};
use crate::store::durable::{Method, Pending};
use crate::store::maildir::{self, Names};
use crossbeam_channel::{Receiver, Sender};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What delivery works with; shared by its thread and the sessions that write large messages.
pub struct Post {
    disk: Arc<dyn Disk>,
    /// Shared by all who write, so that no two threads make one name.
    names: Names,
    /// Large messages being written at this moment.
    large: Arc<AtomicUsize>,
}

impl Post {
    /// `host` goes into the names of files.
    pub fn new(disk: Arc<dyn Disk>, host: &str) -> Post {
        Post { disk, names: Names::new(host), large: Arc::default() }
    }

    /// A large message is being written until this is dropped.
    pub fn beside(&self) -> Beside {
        // Relaxed: it only helps to choose a system call, and nothing is read by it.
        self.large.fetch_add(1, Ordering::Relaxed);
        Beside(self.large.clone())
    }

    /// Writes and syncs the copies of a large message in the caller's thread, so that delivery only
    /// has to publish them; stops between two copies when `give_up` says so. On an error no copy is
    /// left anywhere.
    pub fn prepare(
        &self,
        accepted: &mut Accepted,
        give_up: impl Fn() -> bool,
    ) -> Result<(), Reply> {
        let _beside = self.beside();
        let Accepted { body, cuts, copies, id, session, .. } = accepted;
        for copy in copies {
            if give_up() {
                return Err(late());
            }
            let write = || {
                let size = copy.prefix.len() as u64 + kept_size(cuts, body.size());
                let dir = &copy.destination.maildir;
                let (draft, file) = maildir::draft(&self.disk, &self.names, dir, size)?;
                let path = draft.path();
                body.copy_to(copy.prefix.as_bytes(), cuts, &*file, &path)?;
                file.sync().doing("sync", &path)?;
                Ok(draft)
            };
            let failed = |error| failed(id, session, &copy.destination, &error);
            copy.draft = Some(write().map_err(failed)?);
        }
        Ok(())
    }

    /// The delivery thread: works until all senders are gone. Maildirs that got mail are named to
    /// `delivered`, which may lose some.
    pub fn run(&self, accepted: &Receiver<Accepted>, delivered: &Sender<PathBuf>) {
        while let Ok(first) = accepted.recv() {
            self.deliver(gather(first, accepted), delivered);
        }
    }

    /// Delivers a batch and answers its sessions.
    fn deliver(&self, batch: Vec<Accepted>, delivered: &Sender<PathBuf>) {
        let files = batch.iter().map(|accepted| accepted.copies.len()).sum();
        let mut pending =
            Pending::new(Method::choose(files, self.large.load(Ordering::Relaxed) > 0));
        // Its sender heard 451, and must not find it delivered (RFC 5321 §4.2.5).
        let wanted = batch.into_iter().filter(|accepted| !accepted.claim.is_abandoned());
        let mut parcels: Vec<Parcel> = wanted.map(Parcel::new).collect();
        for parcel in &mut parcels {
            parcel.write(self, &mut pending);
        }
        if let Err(error) = pending.sync_data() {
            return self.one_by_one(parcels, &error, delivered);
        }
        for parcel in &mut parcels {
            parcel.publish(&*self.disk, &mut pending);
        }
        // A name that a power cut could take is taken back, and 250 is not said.
        for (dir, error) in pending.sync_names(&*self.disk) {
            for parcel in &mut parcels {
                parcel.lost_names(&*self.disk, dir, &error);
            }
        }
        for parcel in parcels {
            parcel.answer(delivered);
        }
    }

    /// After a failed sync nobody knows whose octets were lost, and no file of the batch may be
    /// synced again: each message is written anew, alone.
    fn one_by_one(
        &self,
        mut parcels: Vec<Parcel>,
        error: &StoreError,
        delivered: &Sender<PathBuf>,
    ) {
        // Alone already: the error is its own, and writing it once more would not help.
        if let [parcel @ Parcel { failure: None, .. }] = &mut parcels[..] {
            let its = |(draft, _): &(Draft, bool)| draft.path() == error.path;
            parcel.fail(&*self.disk, parcel.drafts.iter().position(its).unwrap_or(0), error);
        }
        for parcel in parcels {
            match &parcel.failure {
                Some(_) => parcel.answer(delivered),
                // Not again after this: a message alone succeeds or fails.
                None => self.deliver(vec![parcel.unwritten()], delivered),
            }
        }
    }
}

/// One message and how far it has come.
struct Parcel {
    accepted: Accepted,
    /// By copy, as far as they are written; with whether a session's thread did it.
    drafts: Vec<(Draft, bool)>,
    published: Vec<Published>,
    /// With it, nothing of the message lies anywhere any more.
    failure: Option<Reply>,
}

impl Parcel {
    fn new(accepted: Accepted) -> Parcel {
        Parcel { accepted, drafts: Vec::new(), published: Vec::new(), failure: None }
    }

    fn write(&mut self, post: &Post, pending: &mut Pending) {
        for index in 0..self.accepted.copies.len() {
            match self.write_copy(index, post, pending) {
                Ok(draft) => self.drafts.push(draft),
                Err(error) => return self.fail(&*post.disk, index, &error),
            }
        }
    }

    fn write_copy(
        &mut self,
        index: usize,
        post: &Post,
        pending: &mut Pending,
    ) -> Result<(Draft, bool), StoreError> {
        let Accepted { body, cuts, copies, .. } = &mut self.accepted;
        let copy = &mut copies[index];
        if let Some(draft) = copy.draft.take() {
            return Ok((draft, true));
        }
        let size = copy.prefix.len() as u64 + kept_size(cuts, body.size());
        let (draft, file) =
            maildir::draft(&post.disk, &post.names, &copy.destination.maildir, size)?;
        let path = draft.path();
        let prefix = copy.prefix.as_bytes();
        pending.add(path.clone(), file, |file| body.copy_to(prefix, cuts, file, &path))?;
        Ok((draft, false))
    }

    fn publish(&mut self, disk: &dyn Disk, pending: &mut Pending) {
        // The last moment for the session to give up; from here on it has to wait.
        if self.failure.is_some() || !self.accepted.claim.publish() {
            return self.drafts.clear();
        }
        for (index, (draft, apart)) in std::mem::take(&mut self.drafts).into_iter().enumerate() {
            match draft.publish() {
                Ok(published) => {
                    pending.named(published.dir.clone(), apart);
                    self.published.push(published);
                }
                Err(error) => return self.fail(disk, index, &error),
            }
        }
    }

    /// The names in this directory (or in any) did not become durable.
    fn lost_names(&mut self, disk: &dyn Disk, dir: Option<&std::path::Path>, error: &StoreError) {
        let hit = self.published.iter().position(|name| dir.is_none_or(|dir| name.dir == dir));
        if let Some(index) = hit {
            self.fail(disk, index, error);
        }
    }

    /// The copy of this index failed: no other is left anywhere either.
    fn fail(&mut self, disk: &dyn Disk, index: usize, error: &StoreError) {
        self.drafts.clear();
        for published in std::mem::take(&mut self.published) {
            // A reader may have moved it already; then a copy too many is what remains.
            let _ = disk.remove(&published.path);
        }
        let Accepted { id, session, copies, .. } = &self.accepted;
        self.failure = Some(failed(id, session, &copies[index].destination, error));
    }

    fn answer(self, delivered: &Sender<PathBuf>) {
        let Accepted { id, outcome, copies, .. } = self.accepted;
        if let Some(reply) = self.failure {
            let _ = outcome.send(Outcome::Failed(reply)); // a session that is gone has given up
            return;
        }
        let missed = !self.published.is_empty() && outcome.send(Outcome::Delivered).is_err();
        for Copy { destination, .. } in copies {
            if missed {
                // Its session gave up after publishing had begun, and told nobody.
                let to = destination.mailbox.to_string();
                tell(&Event::Delivered { id: &id, to: &to, maildir: &destination.maildir });
            }
            // Only a hint: when the channel is full, the next mail brings it again.
            let _ = delivered.try_send(destination.maildir);
        }
    }

    /// Back to where it was before it was written here. What its session wrote is kept: that was
    /// synced with success, by itself.
    fn unwritten(mut self) -> Accepted {
        for (index, (draft, apart)) in self.drafts.into_iter().enumerate() {
            if apart {
                self.accepted.copies[index].draft = Some(draft);
            }
        }
        self.accepted
    }
}

/// Counts a large message while it is written: a syncfs would wait for all of it.
pub struct Beside(Arc<AtomicUsize>);

impl Drop for Beside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One message and all that wait behind it, within the bounds of a batch.
fn gather(first: Accepted, accepted: &Receiver<Accepted>) -> Vec<Accepted> {
    let weight = |one: &Accepted| match one.body.is_large() {
        true => 0, // written already
        false => one.body.size() as usize * one.copies.len(),
    };
    let (mut files, mut octets) = (first.copies.len(), weight(&first));
    let mut batch = vec![first];
    while files < BATCH_FILES && octets < BATCH_OCTETS {
        let Ok(next) = accepted.try_recv() else { break };
        files += next.copies.len();
        octets += weight(&next);
        batch.push(next);
    }
    batch
}

/// Tells the log all of it, and the client what it can act on.
fn failed(id: &str, session: &str, to: &Destination, error: &StoreError) -> Reply {
    tell(&Event::Failed {
        id,
        session,
        to: &to.mailbox.to_string(),
        maildir: &to.maildir,
        // A Maildir that is not ours is the likeliest reason.
        uid: nix::unistd::geteuid().as_raw(),
        reason: &error.to_string(),
    });
    reply_to(error)
}

/// Delivery did not come to an end in time; nothing was published.
pub fn late() -> Reply {
    Reply::new(451, "4.3.0", "delivery takes too long, try later")
}

/// Temporary, all of them: a disk can be mended. The one place where a disk's error becomes a
/// reply. Codes: RFC 5321 §4.2.3; 4.3.1 and 4.2.2 are "full" in RFC 3463 §3.4 and §3.3.
pub fn reply_to(error: &StoreError) -> Reply {
    match error.source.kind() {
        ErrorKind::StorageFull => Reply::new(452, "4.3.1", "no room on the disk, try later"),
        ErrorKind::QuotaExceeded => Reply::new(452, "4.2.2", "mailbox full, try later"),
        _ => Reply::new(451, "4.3.0", "local trouble, try later"),
    }
}
