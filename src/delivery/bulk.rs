//! Messages with more copies than one batch takes: written, published and made durable a slice at a time,
//! so that others are delivered in between.
//!
//! Each has its own [`Pending`] from its first copy to its last name. What a slice has written is synced at
//! its end: a later sync of all would take as long as all of them. Names come when all copies are durable, and
//! its session hears of it when all names are.

use super::parcel::Parcel;
use super::{Heralds, Post};
use crate::event::count::{BATCH, SYNC};
use crate::handoff::{Accepted, Written};
use crate::limits::{SLICE_BATCHES, SYNCFS_AVOID, SYNCFS_FROM, SYNCFS_SLOW};
use crate::smtp::reply::Reply;
use crate::store::disk::StoreError;
use crate::store::durable::{Method, Pending};
use crate::store::locked;
use std::time::{Duration, Instant};

/// Those that are under way.
#[derive(Default)]
pub(super) struct Bulks(Vec<Bulk>);

struct Bulk {
    parcel: Parcel,
    pending: Pending,
    method: Method,
    stage: Stage,
    /// What its slices took so far.
    taken: Duration,
}

/// What comes next.
enum Stage {
    /// Copies from this one on have to be written; the first of them that failed, for its sender.
    Write(usize, Option<Reply>),
    /// These are durable and have no name yet.
    Publish(std::vec::IntoIter<Written>),
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

    /// The next slice of the one that has least to do: who has few copies does not wait for who has many, and
    /// those of one size are done one after the other. `is_awaited`: somebody else waits for this thread.
    pub(super) fn slice(&mut self, post: &Post, heralds: &Heralds, is_awaited: &dyn Fn() -> bool) {
        self.0.retain(|bulk| !bulk.parcel.is_abandoned());
        let least = self.0.iter().enumerate().min_by_key(|(_, bulk)| bulk.left());
        let Some((index, _)) = least else { return };
        let bulk = &mut self.0[index];
        let began = Instant::now();
        bulk.slice(post, is_awaited);
        bulk.taken += began.elapsed();
        if let Stage::Done = bulk.stage {
            let bulk = self.0.remove(index);
            BATCH.add(1);
            SYNC.add(bulk.taken.as_micros() as u64);
            heralds.tell(bulk.parcel.answer(heralds));
        }
    }
}

impl Bulk {
    fn new(accepted: Accepted) -> Bulk {
        let method = Method::EachFile;
        let (parcel, pending) = (Parcel::new(accepted), Pending::new(method));
        Bulk { parcel, pending, method, stage: Stage::Write(0, None), taken: Duration::ZERO }
    }

    /// Files that have no name yet.
    fn left(&self) -> usize {
        match &self.stage {
            Stage::Write(next, _) => 2 * self.parcel.copies() - next,
            Stage::Publish(drafts) => drafts.len(),
            Stage::Names | Stage::Done => 0,
        }
    }

    fn slice(&mut self, post: &Post, is_awaited: &dyn Fn() -> bool) {
        let disk = &*post.disk;
        self.stage = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Write(next, refusal) => self.write(post, next, refusal, is_awaited),
            Stage::Publish(mut drafts) => {
                for turn in 0..SLICE_BATCHES {
                    // What failed lies nowhere, and nothing more of it is to be published.
                    if self.parcel.has_failed() || turn > 0 && is_awaited() {
                        break;
                    }
                    let some = drafts.by_ref().take(post.batch_files);
                    self.parcel.publish_some(disk, &mut self.pending, some);
                }
                match (self.parcel.has_failed(), drafts.len()) {
                    (true, _) => Stage::Done,
                    (false, 0) => Stage::Names,
                    (false, _) => Stage::Publish(drafts),
                }
            }
            Stage::Names => {
                let errors = self.pending.sync_some_names(disk, post.batch_files);
                for (dir, error) in &errors {
                    self.parcel.lost_names(disk, Some(dir), error);
                }
                match self.pending.has_dirs() {
                    _ if self.parcel.has_failed() => Stage::Done,
                    true => Stage::Names,
                    false => {
                        let errors = self.pending.sync_names(disk).into_iter();
                        errors.for_each(|(dir, error)| self.parcel.lost_names(disk, dir, &error));
                        Stage::Done
                    }
                }
            }
            Stage::Done => Stage::Done,
        };
    }

    /// Writes the next copies, and makes them durable.
    fn write(
        &mut self,
        post: &Post,
        mut next: usize,
        mut refusal: Option<Reply>,
        is_awaited: &dyn Fn() -> bool,
    ) -> Stage {
        let (first, copies) = (next, self.parcel.copies());
        if first == 0 {
            self.method = Method::choose(copies, SYNCFS_FROM, post.is_much_beside(Instant::now()));
            self.pending = Pending::new(self.method);
        }
        for turn in 0..SLICE_BATCHES {
            if next == copies || turn > 0 && is_awaited() {
                break;
            }
            let end = copies.min(next + post.batch_files);
            self.parcel.write_some(post, &mut self.pending, next..end, &mut refusal);
            next = end;
        }
        let is_whole = next == copies;
        if is_whole {
            self.parcel.write_rest(post, &mut self.pending, refusal.take());
        }
        let written = Instant::now();
        // It is alone, so the error is its own.
        if let Err(error) = self.pending.sync_data() {
            return self.fail(post, &error);
        }
        if self.method == Method::FileSystem && written.elapsed() >= SYNCFS_SLOW {
            *locked(&post.avoid) = Some(Instant::now() + SYNCFS_AVOID);
        }
        match is_whole {
            _ if self.parcel.has_failed() => Stage::Done,
            false => Stage::Write(next, refusal),
            true if self.parcel.begin_to_publish() => {
                Stage::Publish(self.parcel.take_drafts().into_iter())
            }
            true => Stage::Done,
        }
    }

    fn fail(&mut self, post: &Post, error: &StoreError) -> Stage {
        if !self.parcel.has_failed() {
            self.parcel.fail(&*post.disk, error);
        }
        Stage::Done
    }
}
