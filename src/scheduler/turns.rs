//! The scheduler without its threads: one attempt at a time, in the caller's thread, so that a test that
//! records calls to the disk records the same each time.
//!
//! Only tests use it. Reading, claiming, attempting, journalling and removing are done by the scheduler's
//! and the worker's own functions.

use super::worker::RelayWorker;
use super::{RelayShared, Scheduler, Setting};
use crate::handoff::Hint;
use crate::relay::{Caller, Dial};
use crate::site::Current;
use jiff::Timestamp;
use std::sync::Arc;

/// A scheduler and its one worker.
pub struct SteppedScheduler {
    scheduler: Scheduler,
    worker: RelayWorker,
}

/// What one attempt has done.
#[derive(Clone, Debug)]
pub struct AttemptMade {
    /// The id of the message.
    pub id: String,
    /// Recipients that are done, durably, by their place in the envelope. Where the message has left the
    /// queue, this is durable only after [`SteppedScheduler::sync_removals`].
    pub done: Vec<usize>,
    /// Whether the message has left the queue.
    pub is_gone: bool,
}

impl SteppedScheduler {
    /// Begins with all that lies in the queue. `dial` connects to next hops.
    pub fn new(shared: Arc<RelayShared>, setting: Arc<Setting>, dial: Dial) -> SteppedScheduler {
        let site = setting.site.clone();
        let caller = Caller { dial, connector: site.connector(), ..Caller::new(&site.config) };
        let mut worker = RelayWorker::new(0, shared.clone(), Arc::default());
        worker.caller = Some((site.clone(), Arc::new(caller)));
        let current = Current::new((*site).clone());
        SteppedScheduler { scheduler: Scheduler::with(shared, current, setting), worker }
    }

    /// Passes on a hint as if it came by the channel.
    pub fn hear(&mut self, hint: Hint) {
        self.scheduler.handle_hint(hint);
    }

    /// Does the next attempt that is due; none when nothing is due.
    pub fn turn(&mut self) -> Option<AttemptMade> {
        self.scheduler.look_at_rest();
        let job = self.scheduler.next_job(Timestamp::now())?;
        if let Some(active) = self.scheduler.active.get_mut(&job.id) {
            active.goals.push(job.goal.clone());
        }
        let report = self.worker.work(&job, &mut Vec::new());
        let is_gone = report.is_gone;
        let is_known = is_gone || !job.claimed.is_ahead();
        let open = job.claimed.open();
        let all = 0..job.claimed.message.entry.recipients.len();
        let done = all.filter(|index| is_known && !open.contains(index)).collect();
        let turn = AttemptMade { id: job.id.to_string(), done, is_gone };
        drop(job);
        self.scheduler.take_report(report);
        Some(turn)
    }

    /// Makes removals durable, as the scheduler does a moment after them.
    pub fn sync_removals(&mut self) {
        self.scheduler.sync_removals(true);
    }
}
