//! Messages with more copies than one batch takes: written, published and made durable a slice at a time,
//! so that others are delivered in between.
//!
//! Each has its own [`Pending`] from its first copy to its last name. Each slice syncs what it has written,
//! because one sync at the end would hold up all others. Copies get their names when all are durable, and the
//! session hears of it when all names are.

use super::batch_message::BatchMessage;
use super::{Wakers, Writer};
use crate::event::count::{BATCH, SYNC};
use crate::handoff::{Accepted, WrittenFile};
use crate::limits::{SLICE_BATCHES, SYNCFS_AVOID, SYNCFS_FROM, SYNCFS_SLOW};
use crate::smtp::reply::Reply;
use crate::store::disk::StoreError;
use crate::store::durable::{Method, Pending};
use crate::store::locked;
use std::time::{Duration, Instant};

/// The messages that are under way.
#[derive(Default)]
pub(super) struct Bulks(Vec<Bulk>);

struct Bulk {
    message: BatchMessage,
    pending: Pending,
    method: Method,
    stage: BulkStage,
    /// The time that its slices took so far.
    taken: Duration,
}

/// The next step of a message.
enum BulkStage {
    /// Copies from this one on have to be written; the reply of the first that failed, if any did.
    Write(usize, Option<Reply>),
    /// These are durable and have no name yet.
    Publish(std::vec::IntoIter<WrittenFile>),
    /// Names have to become durable.
    Names,
    Done,
}

impl Bulks {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, large: Vec<Accepted>) {
        self.0.extend(large.into_iter().map(Bulk::new));
    }

    /// Does the next slice of the message that has least left: one with few copies does not wait for one with many,
    /// and messages of one size are done one after the other. `is_awaited`: other messages wait for this thread.
    pub(super) fn slice(
        &mut self,
        writer: &Writer,
        wakers: &Wakers,
        is_awaited: &dyn Fn() -> bool,
    ) {
        self.0.retain(|bulk| !bulk.message.is_abandoned());
        let least = self.0.iter().enumerate().min_by_key(|(_, bulk)| bulk.left());
        let Some((index, _)) = least else { return };
        let bulk = &mut self.0[index];
        let began = Instant::now();
        bulk.slice(writer, is_awaited);
        bulk.taken += began.elapsed();
        if let BulkStage::Done = bulk.stage {
            let bulk = self.0.remove(index);
            BATCH.add(1);
            SYNC.add(bulk.taken.as_micros() as u64);
            wakers.tell(bulk.message.answer());
        }
    }
}

impl Bulk {
    fn new(accepted: Accepted) -> Bulk {
        let method = Method::EachFile;
        let (message, pending) = (BatchMessage::new(accepted), Pending::new(method));
        Bulk { message, pending, method, stage: BulkStage::Write(0, None), taken: Duration::ZERO }
    }

    /// Files that have no name yet.
    fn left(&self) -> usize {
        match &self.stage {
            BulkStage::Write(next, _) => 2 * self.message.copies() - next,
            BulkStage::Publish(drafts) => drafts.len(),
            BulkStage::Names | BulkStage::Done => 0,
        }
    }

    fn slice(&mut self, writer: &Writer, is_awaited: &dyn Fn() -> bool) {
        let disk = &*writer.disk;
        self.stage = match std::mem::replace(&mut self.stage, BulkStage::Done) {
            BulkStage::Write(next, refusal) => self.write(writer, next, refusal, is_awaited),
            BulkStage::Publish(mut drafts) => {
                for turn in 0..SLICE_BATCHES {
                    // A failed message has no files left, and no more of it may be published.
                    if self.message.has_failed() || turn > 0 && is_awaited() {
                        break;
                    }
                    let some = drafts.by_ref().take(writer.batch_files);
                    self.message.publish_some(disk, &mut self.pending, some);
                }
                match (self.message.has_failed(), drafts.len()) {
                    (true, _) => BulkStage::Done,
                    (false, 0) => BulkStage::Names,
                    (false, _) => BulkStage::Publish(drafts),
                }
            }
            BulkStage::Names => {
                let errors = self.pending.sync_some_names(disk, writer.batch_files);
                for (dir, error) in &errors {
                    self.message.lost_names(disk, Some(dir), error);
                }
                match self.pending.has_dirs() {
                    _ if self.message.has_failed() => BulkStage::Done,
                    true => BulkStage::Names,
                    false => {
                        let errors = self.pending.sync_names(disk).into_iter();
                        errors.for_each(|(dir, error)| self.message.lost_names(disk, dir, &error));
                        BulkStage::Done
                    }
                }
            }
            BulkStage::Done => BulkStage::Done,
        };
    }

    /// Writes the next copies, and makes them durable.
    fn write(
        &mut self,
        writer: &Writer,
        mut next: usize,
        mut refusal: Option<Reply>,
        is_awaited: &dyn Fn() -> bool,
    ) -> BulkStage {
        let (first, copies) = (next, self.message.copies());
        if first == 0 {
            self.method =
                Method::choose(copies, SYNCFS_FROM, writer.is_much_beside(Instant::now()));
            self.pending = Pending::new(self.method);
        }
        for turn in 0..SLICE_BATCHES {
            if next == copies || turn > 0 && is_awaited() {
                break;
            }
            let end = copies.min(next + writer.batch_files);
            self.message.write_some(writer, &mut self.pending, next..end, &mut refusal);
            next = end;
        }
        let is_whole = next == copies;
        if is_whole {
            self.message.write_rest(writer, &mut self.pending, refusal.take());
        }
        let written = Instant::now();
        // The error can only be this message's own.
        if let Err(error) = self.pending.sync_data() {
            return self.fail(writer, &error);
        }
        if self.method == Method::FileSystem && written.elapsed() >= SYNCFS_SLOW {
            *locked(&writer.avoid) = Some(Instant::now() + SYNCFS_AVOID);
        }
        match is_whole {
            _ if self.message.has_failed() => BulkStage::Done,
            false => BulkStage::Write(next, refusal),
            true if self.message.begin_to_publish() => {
                BulkStage::Publish(self.message.take_drafts().into_iter())
            }
            true => BulkStage::Done,
        }
    }

    fn fail(&mut self, writer: &Writer, error: &StoreError) -> BulkStage {
        if !self.message.has_failed() {
            self.message.fail(&*writer.disk, error);
        }
        BulkStage::Done
    }
}
