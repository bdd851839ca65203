//! The relay pool: workers are started when there is work and kept for a moment after it. Each has its own
//! channel, so that a job goes to the worker whose connection it can use.

use super::RelayShared;
use super::board::Shares;
use super::guard::Guard;
use super::plan::Goal;
use super::worker::{RelayJob, RelayWorker, Report};
use crate::limits::{RELAY_STACK, RELAY_THREADS_MAX, THREAD_KEEP};
use crate::net::pool::spawn_vital;
use crossbeam_channel::{Receiver, SendError, Sender, bounded};
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// All workers.
pub struct RelayPool {
    shared: Arc<RelayShared>,
    members: Vec<PoolMember>,
    shares: Shares,
    next: usize,
    reports: (Sender<Box<Report>>, Receiver<Box<Report>>),
}

/// One worker as the scheduler knows it.
struct PoolMember {
    number: usize,
    jobs: Sender<RelayJob>,
    guard: Arc<Guard>,
    /// Since when it is idle; none while it works.
    idle: Option<Instant>,
    /// The goal to which it may still have a connection.
    kept: Option<Goal>,
}

impl RelayPool {
    pub fn new(shared: Arc<RelayShared>, shares: Shares) -> RelayPool {
        // Room for a report of each worker there can be.
        let reports = bounded(2 * RELAY_THREADS_MAX);
        RelayPool { shared, members: Vec::new(), shares, next: 0, reports }
    }

    /// The channel of reports.
    pub fn reports(&self) -> Receiver<Box<Report>> {
        self.reports.1.clone()
    }

    /// Sets how many workers there may be.
    pub fn configure(&mut self, shares: Shares) {
        self.shares = shares;
    }

    /// Whether a job can be given.
    pub fn has_room(&self) -> bool {
        self.members.len() < self.shares.workers() || self.members.iter().any(|m| m.idle.is_some())
    }

    /// Gives a job to an idle worker with a connection to that goal, else to one without any, else to a new
    /// one, else to one that has to give up its connection. The caller has asked [`RelayPool::has_room`].
    /// On an error the job comes back.
    pub fn give(&mut self, job: RelayJob) -> Result<(), (io::Error, Box<RelayJob>)> {
        let fit = |member: &PoolMember| match &member.kept {
            Some(goal) if *goal == job.goal => 0,
            None => 1,
            Some(_) => 2,
        };
        let idle = self.members.iter().enumerate().filter(|(_, member)| member.idle.is_some());
        let best = idle.map(|(index, member)| (fit(member), index)).min();
        let index = match best {
            Some((fit, index)) if fit < 2 || self.members.len() >= self.shares.threads => index,
            // Where no thread can be started, an idle worker with another connection will do.
            _ => match (self.hire(), best) {
                (Err(_), Some((_, index))) => index,
                (Ok(index), _) => index,
                (Err(error), None) => return Err((error, Box::new(job))),
            },
        };
        let member = &mut self.members[index];
        (member.idle, member.kept) = (None, None);
        // The channel has room, because the worker is idle.
        let gone = || io::Error::other("a worker is gone");
        member.jobs.send(job).map_err(|SendError(job)| (gone(), Box::new(job)))
    }

    /// Notes that a worker has reported and is idle. `is_kept`: it may have a connection to that goal.
    pub fn idle(&mut self, worker: usize, goal: &Goal, is_kept: bool) {
        if let Some(member) = self.members.iter_mut().find(|member| member.number == worker) {
            member.idle = Some(Instant::now());
            member.kept = is_kept.then(|| goal.clone());
        }
    }

    /// When the first idle worker is to be ended.
    pub fn trims(&self) -> Option<Instant> {
        self.members.iter().filter_map(|member| member.idle).min().map(|since| since + THREAD_KEEP)
    }

    /// Ends workers that were idle for [`THREAD_KEEP`].
    pub fn trim(&mut self) {
        let waits =
            |member: &PoolMember| member.idle.is_none_or(|since| since.elapsed() < THREAD_KEEP);
        self.members.retain(waits);
    }

    /// Lets workers begin nothing more that should not be cut off.
    pub fn stop(&mut self) {
        self.members.iter().for_each(|member| member.guard.stop());
    }

    /// Whether any worker does what should not be cut off.
    pub fn is_committed(&self) -> bool {
        self.members.iter().any(|member| member.guard.is_committed())
    }

    /// Starts a worker; returns its place in `members`.
    fn hire(&mut self) -> io::Result<usize> {
        let (jobs, receiver) = bounded(1);
        let (guard, number) = (Arc::new(Guard::default()), self.next);
        let worker = RelayWorker::new(number, self.shared.clone(), guard.clone());
        let reports = self.reports.0.clone();
        spawn_vital("relay", Some(RELAY_STACK), move || worker.run(&receiver, &reports))?;
        self.next += 1;
        let idle = Some(Instant::now());
        self.members.push(PoolMember { number, jobs, guard, idle, kept: None });
        Ok(self.members.len() - 1)
    }
}
