//! One message of a batch, and how far it has come.

use super::wakers::Answered;
use super::{Writer, failed};
use crate::handoff::{Accepted, CopyState, Outcome, WrittenFile};
use crate::smtp::reply::Reply;
use crate::store::disk::{Disk, StoreError};
use crate::store::draft::Published;
use crate::store::durable::Pending;
use std::ops::Range;
use std::path::Path;

/// A message on its way through a batch.
pub(super) struct BatchMessage {
    accepted: Accepted,
    /// How many recipients stand in the queue file even when all copies succeed.
    elsewhere: usize,
    published: Vec<Published>,
    /// Why the message failed; then no file of it is left. None while it has not failed.
    failure: Option<Reply>,
}

impl BatchMessage {
    pub(super) fn new(accepted: Accepted) -> BatchMessage {
        let late = accepted.copies.iter().filter(|copy| matches!(copy.state, CopyState::Late(_)));
        let elsewhere = accepted.entry.recipients.len() - late.count();
        BatchMessage { accepted, elsewhere, published: Vec::new(), failure: None }
    }

    /// How many copies the message has.
    pub(super) fn copies(&self) -> usize {
        self.accepted.copies.len()
    }

    /// Whether the session gave up and said 451.
    pub(super) fn is_abandoned(&self) -> bool {
        self.accepted.claim.is_abandoned()
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    pub(super) fn write(&mut self, writer: &Writer, pending: &mut Pending) {
        let mut refusal = None;
        self.write_some(writer, pending, 0..self.copies(), &mut refusal);
        self.write_rest(writer, pending, refusal);
    }

    /// Writes some of the copies.
    pub(super) fn write_some(
        &mut self,
        writer: &Writer,
        pending: &mut Pending,
        copies: Range<usize>,
        refusal: &mut Option<Reply>,
    ) {
        if self.failure.is_none() {
            let accepted = &mut self.accepted;
            let written = writer.write_copies(accepted, copies, pending, &|| false, refusal);
            self.written(written);
        }
    }

    /// Writes the queue file, when there has to be one.
    pub(super) fn write_rest(
        &mut self,
        writer: &Writer,
        pending: &mut Pending,
        refusal: Option<Reply>,
    ) {
        if self.failure.is_none() {
            let written = writer.write_rest(&mut self.accepted, pending, &|| false, refusal);
            self.written(written);
        }
    }

    fn written(&mut self, written: Result<(), Reply>) {
        if let Err(reply) = written {
            self.drop_drafts();
            self.failure = Some(reply);
        }
    }

    /// Queue file first: until the last name is durable nothing is promised, and what is found in the
    /// queue after a crash is delivered.
    pub(super) fn publish(&mut self, disk: &dyn Disk, pending: &mut Pending) {
        if self.begin_to_publish() {
            let drafts = self.take_drafts();
            self.publish_some(disk, pending, drafts);
        }
    }

    /// The last moment for the session to give up; from here on it has to wait. False: nothing is to be
    /// published.
    pub(super) fn begin_to_publish(&mut self) -> bool {
        let begins = self.failure.is_none() && self.accepted.claim.publish();
        if !begins {
            self.drop_drafts();
        }
        begins
    }

    /// Publishes some of what [`BatchMessage::take_drafts`] gave. After a failure there is no more to be done.
    pub(super) fn publish_some(
        &mut self,
        disk: &dyn Disk,
        pending: &mut Pending,
        drafts: impl IntoIterator<Item = WrittenFile>,
    ) {
        for WrittenFile { draft, apart } in drafts {
            match draft.publish_in(pending.homes()) {
                Ok(published) => {
                    pending.named(published.dir(), apart);
                    self.published.push(published);
                }
                Err(error) => return self.fail(disk, &error),
            }
        }
    }

    /// The names in this directory (or in any) did not become durable.
    pub(super) fn lost_names(&mut self, disk: &dyn Disk, dir: Option<&Path>, error: &StoreError) {
        if self.published.iter().any(|name| dir.is_none_or(|dir| name.dir() == dir)) {
            self.fail(disk, error);
        }
    }

    /// One file failed: removes all others.
    pub(super) fn fail(&mut self, disk: &dyn Disk, error: &StoreError) {
        self.drop_drafts();
        for published in std::mem::take(&mut self.published) {
            // A mail program may have moved it already; then one copy too many remains.
            let _ = disk.remove(&published.path);
        }
        let Accepted { entry, copies, .. } = &self.accepted;
        // The path shows which mailbox it is; a queue file belongs to several.
        let its = copies.iter().find(|copy| error.path.starts_with(&copy.destination.maildir));
        let to = its.map(|copy| &copy.destination.mailbox);
        let to = to.or_else(|| entry.recipients.first().map(|first| &first.mailbox));
        let dir = its.map_or(error.path.as_path(), |copy| &copy.destination.maildir);
        let to = to.map(ToString::to_string).unwrap_or_default();
        self.failure = Some(failed(entry, &to, dir, error));
    }

    /// Tells the session the outcome; gives what others are to hear of it once all sessions have theirs.
    pub(super) fn answer(self) -> Answered {
        let Accepted { entry, outcome, copies, queued, is_handed_on, .. } = self.accepted;
        drop(queued);
        if let Some(reply) = self.failure {
            outcome.send(Outcome::Failed(reply)); // a session that is gone has given up
            return Answered::default();
        }
        let (mut late, mut delivered) = (Vec::new(), Vec::new());
        for (index, copy) in copies.into_iter().enumerate() {
            match copy.state {
                CopyState::Late(reason) => late.push((index, reason)),
                _ => delivered.push(copy.destination),
            }
        }
        let missed = !self.published.is_empty() && !outcome.send(Outcome::Taken { late });
        // Its session gave up after publishing had begun, so the deliveries are told here.
        for destination in delivered.iter().filter(|_| missed) {
            let to = destination.mailbox.to_string();
            destination.tell_delivered(&entry.id, &to);
        }
        let is_told_later = is_handed_on && !missed;
        let is_queued = !entry.recipients.is_empty() && !self.published.is_empty();
        Answered {
            queued: (is_queued && !is_told_later).then(|| Box::new(entry)),
            homes: delivered.iter().map(|destination| destination.place().home()).collect(),
        }
    }

    /// The message as it was before it was written here. Files that its session wrote are kept, because they were
    /// synced with success.
    pub(super) fn unwritten(mut self) -> Accepted {
        let is_apart = |written: &WrittenFile| written.apart;
        if !self.accepted.queued.as_ref().is_some_and(is_apart) {
            self.accepted.queued = None;
            // They may be written this time.
            self.accepted.entry.recipients.truncate(self.elsewhere);
            for copy in &mut self.accepted.copies {
                if !matches!(&copy.state, CopyState::Written(written) if written.apart) {
                    copy.state = CopyState::Unwritten;
                }
            }
        }
        self.accepted
    }

    /// Takes the drafts out, that of the queue file first.
    pub(super) fn take_drafts(&mut self) -> Vec<WrittenFile> {
        let Accepted { queued, copies, .. } = &mut self.accepted;
        let mut drafts: Vec<WrittenFile> = queued.take().into_iter().collect();
        for copy in copies {
            match std::mem::replace(&mut copy.state, CopyState::Unwritten) {
                CopyState::Written(written) => drafts.push(written),
                other => copy.state = other,
            }
        }
        drafts
    }

    fn drop_drafts(&mut self) {
        drop(self.take_drafts());
    }
}
