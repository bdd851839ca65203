//! The local-delivery thread: accepted messages → Maildirs and queue, made durable in groups.
//!
//! It takes one message, then all that wait behind it, writes every copy and every queue file into
//! `tmp/`, makes the batch durable, publishes it (queue files first, then `new/`), makes the names
//! durable, and only then answers each session. While it syncs, the next batch gathers: the busier the
//! server, the fewer syncs a message. A copy that cannot be written goes into the queue when anything
//! else of its message succeeds; a message that cannot be published or synced lies nowhere. Large
//! messages are written by their session's thread ([`Writer::prepare`]); here they are only published.
//! One with more copies than a batch takes is written and published in slices, and batches of others come
//! between them ([`bulk`]); it is answered, as all are, when its last name is durable.

mod batch_message;
mod bulk;
mod wakers;

pub use wakers::{Visits, Wakers};

use crate::event::count::{BATCH, SYNC};
use crate::event::{Event, tell};
use crate::handoff::{Accepted, CopyState, WrittenFile};
use crate::limits::{
    BATCH_FILES, BATCH_OCTETS, HOMES_OPEN, HOMES_REST, SYNCFS_AVOID, SYNCFS_FROM, SYNCFS_SLOW,
};
use crate::smtp::reply::Reply;
use crate::store::disk::{Disk, DiskFile, Doing, MAILBOX_FULL, NO_ROOM, StoreError};
use crate::store::draft::Draft;
use crate::store::durable::{Method, Pending};
use crate::store::homes::Homes;
use crate::store::locked;
use crate::store::maildir::{self, Names, Place};
use crate::store::queue::Queue;
use batch_message::BatchMessage;
use bulk::Bulks;
use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// What delivery works with; shared by its thread, the sessions that write large messages, and the workers
/// that deliver from the queue.
pub struct Writer {
    disk: Arc<dyn Disk>,
    queue: Queue,
    /// Shared by all threads that write, so that no two make one name.
    names: Names,
    /// How many large messages are being written at this moment.
    large: Arc<AtomicUsize>,
    /// Until this moment no syncfs is used: an earlier one was slow, because other programs write much.
    avoid: Mutex<Option<Instant>>,
    /// When a batch lies in several directories: from this many files on, one syncfs replaces an fsync for each.
    syncfs_from_apart: usize,
    /// Files that one batch takes at most.
    batch_files: usize,
    /// Homes that are kept open at most.
    homes: usize,
}

impl Writer {
    /// `host` goes into the names of files.
    pub fn new(disk: Arc<dyn Disk>, queue: Queue, host: &str) -> Writer {
        let (names, large, avoid) = (Names::new(host), Arc::default(), Mutex::default());
        let (syncfs_from_apart, batch_files, homes) = (SYNCFS_FROM, BATCH_FILES, HOMES_OPEN);
        Writer { disk, queue, names, large, avoid, syncfs_from_apart, batch_files, homes }
    }

    /// For real disks, on which syncing a directory costs as much as a file: from this many files in several
    /// directories on, all are synced together.
    pub fn with_syncfs_from(self, syncfs_from_apart: usize) -> Writer {
        Writer { syncfs_from_apart, ..self }
    }

    /// For a process that may open few files: so many homes are kept open at most.
    pub fn with_homes(self, homes: usize) -> Writer {
        Writer { homes, ..self }
    }

    /// For tests: batches, and slices, of this many files.
    pub fn with_batch_files(self, batch_files: usize) -> Writer {
        Writer { batch_files, ..self }
    }

    /// Counts a large message as being written until the result is dropped.
    pub fn beside(&self) -> Beside {
        // Relaxed: it only helps to choose a system call, and nothing is read by it.
        self.large.fetch_add(1, Ordering::Relaxed);
        Beside(self.large.clone())
    }

    fn is_much_beside(&self, now: Instant) -> bool {
        let is_slow = locked(&self.avoid).is_some_and(|until| now < until);
        is_slow || self.large.load(Ordering::Relaxed) > 0
    }

    /// Writes and syncs the files of a large message in the caller's thread, so that delivery only
    /// has to publish them; stops between two of them when `give_up` says so. On an error no file is
    /// left anywhere.
    pub fn prepare(
        &self,
        accepted: &mut Accepted,
        give_up: impl Fn() -> bool,
    ) -> Result<(), Reply> {
        let (_beside, mut pending) = (self.beside(), Pending::new(Method::EachAtOnce));
        let (all, mut refusal) = (0..accepted.copies.len(), None);
        self.write_copies(accepted, all, &mut pending, &give_up, &mut refusal)?;
        self.write_rest(accepted, &mut pending, &give_up, refusal)
    }

    /// Delivers one copy from the queue, durably. `write` appends its octets, which are `size`.
    pub fn deliver_one(
        &self,
        place: &Place<'_>,
        size: u64,
        write: impl FnOnce(&dyn DiskFile, &Path) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let homes = &mut Homes::default();
        let (draft, file) = maildir::draft(&self.disk, &self.names, place, size, homes)?;
        draft.put(&*file, write)
    }

    /// The delivery thread: works until all senders are gone.
    pub fn run(&self, accepted: &Receiver<Accepted>, wakers: &Wakers) {
        let (mut bulks, mut homes) = (Bulks::default(), Homes::up_to(self.homes));
        loop {
            let first = match bulks.is_empty() {
                true => next(accepted, &mut homes),
                false => accepted.try_recv(),
            };
            let batch = match first {
                Ok(first) => self.gather(first, accepted),
                Err(TryRecvError::Disconnected) if bulks.is_empty() => return,
                Err(_) => {
                    homes.close(); // slices use none
                    Vec::new()
                }
            };
            let (large, batch) = batch.into_iter().partition(|one| self.is_bulk(one));
            self.deliver(batch, wakers, &mut homes);
            bulks.add(large);
            bulks.slice(self, wakers, &|| !accepted.is_empty());
        }
    }

    /// One message and all that wait behind it, within the bounds of a batch. Messages that are delivered in
    /// slices do not count.
    fn gather(&self, first: Accepted, accepted: &Receiver<Accepted>) -> Vec<Accepted> {
        let weight = |one: &Accepted| match one.body.is_large() {
            true => 0, // written already
            false => one.body.size() as usize * files(one),
        };
        let (mut count, mut octets, mut batch, mut next) = (0, 0, Vec::new(), Some(first));
        while let Some(one) = next {
            if !self.is_bulk(&one) {
                count += files(&one);
                octets += weight(&one);
            }
            batch.push(one);
            let has_room = count < self.batch_files && octets < BATCH_OCTETS;
            next = if has_room { accepted.try_recv().ok() } else { None };
        }
        batch
    }

    /// Whether a message is delivered in slices.
    fn is_bulk(&self, accepted: &Accepted) -> bool {
        files(accepted) > self.batch_files
    }

    /// Delivers a batch and answers its sessions.
    fn deliver(&self, batch: Vec<Accepted>, wakers: &Wakers, homes: &mut Homes) {
        if batch.is_empty() {
            return;
        }
        let (began, count) = (Instant::now(), batch.len() as u64);
        let files = batch.iter().map(files).sum();
        let from = if lie_apart(&batch) { self.syncfs_from_apart } else { SYNCFS_FROM };
        let method = Method::choose(files, from, self.is_much_beside(began));
        homes.begin();
        let mut pending = Pending::in_homes(method, std::mem::take(homes));
        // The sender of an abandoned message heard 451 and must not find it delivered (RFC 5321 §4.2.5).
        let wanted = batch.into_iter().filter(|accepted| !accepted.claim.is_abandoned());
        let mut messages: Vec<BatchMessage> = wanted.map(BatchMessage::new).collect();
        for message in &mut messages {
            message.write(self, &mut pending);
        }
        let written = Instant::now();
        if let Err(error) = pending.sync_data() {
            *homes = pending.into_homes();
            return self.one_by_one(messages, &error, wakers, homes);
        }
        if method == Method::FileSystem && written.elapsed() >= SYNCFS_SLOW {
            *locked(&self.avoid) = Some(Instant::now() + SYNCFS_AVOID);
        }
        pending.homes().look_again();
        for message in &mut messages {
            message.publish(&*self.disk, &mut pending);
        }
        // A name that a power cut could take is taken back, and 250 is not said.
        for (dir, error) in pending.sync_names(&*self.disk) {
            for message in &mut messages {
                message.lost_names(&*self.disk, dir, &error);
            }
        }
        *homes = pending.into_homes();
        BATCH.add(count);
        SYNC.add(began.elapsed().as_micros() as u64);
        // All answers first: each wakes a session, and sessions are to run before scheduler and housekeeper.
        let answered: Vec<_> = messages.into_iter().map(BatchMessage::answer).collect();
        answered.into_iter().for_each(|answered| wakers.tell(answered));
    }

    /// After a failed sync nobody knows which message's octets were lost, and no file of the batch may be
    /// synced again: each message is written anew, alone.
    fn one_by_one(
        &self,
        mut messages: Vec<BatchMessage>,
        error: &StoreError,
        wakers: &Wakers,
        homes: &mut Homes,
    ) {
        // A single message: the error is its own, and writing it once more would not help.
        if let [message] = &mut messages[..]
            && !message.has_failed()
        {
            message.fail(&*self.disk, error);
        }
        for message in messages {
            match message.has_failed() {
                true => wakers.tell(message.answer()),
                // Not again after this: a message alone succeeds or fails.
                false => self.deliver(vec![message.unwritten()], wakers, homes),
            }
        }
    }

    /// Writes those of these copies that are not written yet. One that fails is late, and `refusal` says what
    /// its sender hears if nothing else is left of the message.
    fn write_copies(
        &self,
        accepted: &mut Accepted,
        copies: Range<usize>,
        pending: &mut Pending,
        give_up: &dyn Fn() -> bool,
        refusal: &mut Option<Reply>,
    ) -> Result<(), Reply> {
        for index in copies {
            if give_up() {
                return Err(late());
            }
            if matches!(accepted.copies[index].state, CopyState::Unwritten) {
                let written = self.write_copy(accepted, index, pending);
                let copy = &mut accepted.copies[index];
                copy.state = match written {
                    Ok(draft) => {
                        CopyState::Written(WrittenFile { draft, apart: pending.is_at_once() })
                    }
                    Err(error) => {
                        let to = copy.destination.mailbox.to_string();
                        let reply = failed(&accepted.entry, &to, &copy.destination.maildir, &error);
                        refusal.get_or_insert(reply);
                        accepted.entry.recipients.push(copy.addressee.clone());
                        CopyState::Late(error.to_string())
                    }
                };
            }
        }
        Ok(())
    }

    /// Writes the message's queue file, when it needs one and has none. The message fails when that file fails, or
    /// when all its copies failed and no recipient is elsewhere.
    fn write_rest(
        &self,
        accepted: &mut Accepted,
        pending: &mut Pending,
        give_up: &dyn Fn() -> bool,
        refusal: Option<Reply>,
    ) -> Result<(), Reply> {
        let is_late = |copy: &&crate::handoff::Copy| matches!(copy.state, CopyState::Late(_));
        let elsewhere =
            accepted.entry.recipients.len() - accepted.copies.iter().filter(is_late).count();
        let is_written = |copy: &crate::handoff::Copy| matches!(copy.state, CopyState::Written(_));
        match refusal {
            // No copy was written and no recipient is elsewhere: the sender can keep the message as well as we.
            Some(reply) if elsewhere == 0 && !accepted.copies.iter().any(is_written) => Err(reply),
            _ if accepted.entry.recipients.is_empty() || accepted.queued.is_some() => Ok(()),
            _ if give_up() => Err(late()),
            _ => {
                let draft = self.write_queued(accepted, pending).map_err(|error| {
                    let to = accepted.entry.recipients[0].mailbox.to_string();
                    failed(&accepted.entry, &to, &self.queue.dir(), &error)
                })?;
                accepted.queued = Some(WrittenFile { draft, apart: pending.is_at_once() });
                Ok(())
            }
        }
    }

    fn write_copy(
        &self,
        accepted: &Accepted,
        index: usize,
        pending: &mut Pending,
    ) -> Result<Draft, StoreError> {
        let Accepted { body, copied_as, copies, .. } = accepted;
        let copy = &copies[index];
        let edits = copied_as.clone().on_top(&*copy.top);
        let size = edits.size(body.size());
        let place = copy.destination.place();
        let (draft, file) = maildir::draft(&self.disk, &self.names, &place, size, pending.homes())?;
        pending.add(draft.path(), file, |file, path| body.copy_to(&edits, file, path))?;
        Ok(draft)
    }

    /// Writes the queue file, which keeps the message as it came: older Return-Path fields are cut out of a late
    /// copy when that is made.
    fn write_queued(
        &self,
        accepted: &mut Accepted,
        pending: &mut Pending,
    ) -> Result<Draft, StoreError> {
        let Accepted { entry, queued_as, body, .. } = accepted;
        entry.size = queued_as.size(body.size());
        entry.sum = Some(body.sum(queued_as)?);
        let (draft, file) = self.queue.draft(&entry.id, pending.homes())?;
        let path = draft.path();
        // One write, with the envelope on top.
        let file_as = queued_as.clone().on_top(entry.checked_header().doing("write", &path)?);
        pending.add(path, file, |file, path| body.copy_to(&file_as, file, path))?;
        Ok(draft)
    }
}

/// Counts a large message while it is written: a syncfs would wait for the whole message.
pub struct Beside(Arc<AtomicUsize>);

impl Drop for Beside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The next message. Where none comes for a while, homes are closed until one does.
fn next(accepted: &Receiver<Accepted>, homes: &mut Homes) -> Result<Accepted, TryRecvError> {
    if !homes.is_empty() {
        match accepted.recv_timeout(HOMES_REST) {
            Err(RecvTimeoutError::Timeout) => homes.close(),
            first => return first.map_err(|_| TryRecvError::Disconnected),
        }
    }
    accepted.recv().map_err(|_| TryRecvError::Disconnected)
}

/// Files that a message makes when nothing goes wrong.
fn files(accepted: &Accepted) -> usize {
    accepted.copies.len() + usize::from(!accepted.entry.recipients.is_empty())
}

/// Whether the files of a batch lie in more than one directory.
fn lie_apart(batch: &[Accepted]) -> bool {
    let copies = batch.iter().flat_map(|accepted| &accepted.copies);
    let mut maildirs = copies.map(|copy| copy.destination.place());
    let is_queued = batch.iter().any(|accepted| !accepted.entry.recipients.is_empty());
    match maildirs.next() {
        Some(first) => is_queued || maildirs.any(|maildir| maildir != first),
        None => false,
    }
}

/// Tells the log the whole error, and the client what it can act on. `dir`: the Maildir, or the queue.
fn failed(entry: &crate::store::entry::Entry, to: &str, dir: &Path, error: &StoreError) -> Reply {
    tell(&Event::Failed {
        id: &entry.id,
        session: &entry.session,
        to,
        maildir: dir,
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

/// The reply for a disk's error. Always temporary, because a disk can be repaired; [`StoreError::status`] says
/// what is wrong. Codes: RFC 5321 §4.2.3.
pub fn reply_to(error: &StoreError) -> Reply {
    let (code, text) = match error.status() {
        NO_ROOM => (452, "no room on the disk, try later"),
        MAILBOX_FULL => (452, "mailbox full, try later"),
        _ => (451, "local trouble, try later"),
    };
    Reply::new(code, error.status(), text)
}
