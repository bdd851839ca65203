//! The scheduler: which messages wait in the queue, when each is due, and which worker of the relay pool
//! attempts it.
//!
//! ```text
//! delivery, commands, signals ─ Hint ─► scheduler × 1 ─ RelayJob ─► worker × (≤ relay.threads)
//!                                          ▲   board: id, goal, due │ away: next hops, SMTP
//!                                          └──────── Report ────────┘ here: Maildir
//! ```
//!
//! The disk is the truth: hints may be lost, and what this thread knows is read again after a kill. A message
//! whose last recipient has it leaves by unlink, without a line before it; all that left within [`REMOVALS_SYNC`] are
//! synced together. Mail that a next hop has taken is sent again after a kill between its 250 and the unlink, or a
//! power cut before that sync; while others of its recipients wait, after a kill or power cut before its line in the
//! journal is synced; and after a kill while memory is ahead of a disk that did not take the line or the unlink.
//!
//! A job goes only to a worker known to be idle, and a report always has room, so no two threads ever wait for
//! each other. The scheduler claims a queue file while any worker has a job for it; the workers share the claim, so
//! that a recipient at a dead host does not delay one at another host. Opens no socket.

mod away;
mod board;
mod filtering;
mod guard;
mod here;
pub mod plan;
mod pool;
pub mod reason;
#[cfg(test)]
mod tests;
pub mod turns;
mod worker;

use crate::delivery::Writer;
use crate::event::{Event, tell, warn};
use crate::gates::Gates;
use crate::handoff::{Census, Hint, Hints};
use crate::limits::{
    BUSY_WAIT, CLOCK_JUMP, HINTS_AT_ONCE, LOOK_AT_ONCE, REMOVALS_SYNC, TROUBLE_WAIT,
};
use crate::notices::{Reports, SeenRecords};
use crate::relay::BrokenTls;
use crate::reporting::Reporting;
use crate::retry;
use crate::route::next_hop::Ourselves;
use crate::site::{Current, Site};
use crate::store::disk::Disk;
use crate::store::entry::{Entry, RecipientProgress};
use crate::store::queue::{Claimed, Queue, QueueError, QueuedMessage};
use board::{Board, Id, Reach, Shares};
use crossbeam_channel::{Receiver, Sender, select};
use jiff::{SignedDuration, Timestamp};
use plan::{Goal, Part, parts};
use pool::RelayPool;
use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use worker::{RelayJob, Report};

/// What the scheduler and its workers share.
pub struct RelayShared {
    pub disk: Arc<dyn Disk>,
    pub queue: Queue,
    /// Writes into Maildirs.
    pub writer: Arc<Writer>,
    /// Takes the Maildirs that got mail; may lose some.
    pub delivered: Sender<PathBuf>,
    pub hints: Hints,
    /// How many of our notices failed.
    pub reports: Reports,
    /// What our own records said lately.
    pub seen: SeenRecords,
    /// Hears to whom our users write.
    pub gates: Arc<Gates>,
    /// Hears how TLS with next hops ends.
    pub reporting: Arc<Reporting>,
}

/// The site of an attempt, with what is made once for each site.
pub struct Setting {
    pub site: Arc<Site>,
    pub ourselves: Ourselves,
    /// Kept over a reload.
    pub broken_tls: Arc<BrokenTls>,
}

impl Setting {
    fn new(site: Arc<Site>, broken_tls: Arc<BrokenTls>) -> Setting {
        Setting { ourselves: Ourselves::of(&site.config), site, broken_tls }
    }
}

/// A message that workers have jobs for.
struct Active {
    /// The message, which those workers hold.
    claimed: Weak<Claimed>,
    /// The message while no worker has a job for it. Only then, so that a file that is gone is closed by the worker
    /// that has removed it: closing gives its octets back to the disk, and this thread is to wait for no disk.
    kept: Option<Arc<Claimed>>,
    /// The goals of these jobs.
    goals: Vec<Goal>,
    /// Whether it is to be read anew when the jobs are done.
    look: bool,
}

/// The scheduler's thread and all it knows.
pub struct Scheduler {
    shared: Arc<RelayShared>,
    current: Arc<Current>,
    setting: Arc<Setting>,
    board: Board,
    pool: RelayPool,
    active: HashMap<Id, Active>,
    /// Messages whose files are to be read, some at a time.
    looks: VecDeque<Id>,
    /// When the queue is to be looked through again, because something could not be read, and whether messages that
    /// are known are to be read again then.
    look_again: Option<(Instant, bool)>,
    /// When the first removal that is not synced was made.
    unsynced: Option<Instant>,
    /// The same moment by both clocks.
    clocks: (Instant, Timestamp),
}

impl Scheduler {
    /// Begins with all that lies in the queue.
    pub fn new(shared: Arc<RelayShared>, current: Arc<Current>) -> Scheduler {
        let setting = Arc::new(Setting::new(current.get(), Arc::default()));
        Scheduler::with(shared, current, setting)
    }

    fn with(shared: Arc<RelayShared>, current: Arc<Current>, setting: Arc<Setting>) -> Scheduler {
        let relay = &setting.site.config.relay;
        let mut scheduler = Scheduler {
            pool: RelayPool::new(shared.clone(), Shares::of(relay)),
            board: Board::new(Shares::of(relay), relay.retry.clone()),
            shared,
            current,
            active: HashMap::new(),
            looks: VecDeque::new(),
            look_again: None,
            unsynced: None,
            clocks: (Instant::now(), Timestamp::now()),
            setting,
        };
        scheduler.look_all(false);
        scheduler
    }

    /// Works until it is told to stop, and then until no worker does what should not be cut off.
    pub fn run(mut self, hints: &Receiver<Hint>) {
        let reports = self.pool.reports();
        loop {
            self.follow_clock();
            self.follow_site();
            self.look_on();
            self.dispatch();
            self.sync_removals(false);
            let wait = self.wait();
            let mut hint = None;
            select! {
                recv(reports) -> report => report.into_iter().for_each(|r| self.take_report(*r)),
                recv(hints) -> first => match first {
                    Ok(first) => hint = Some(first),
                    Err(_) => return,
                },
                default(wait) => {}
            }
            if let Some(done) = self.handle_hints(hint, hints, &reports) {
                return self.stop(&reports, &done);
            }
        }
    }

    /// Handles this hint and more that wait, some at a time: while the queue is read a turn takes long, and hints
    /// without room are lost. Gives who has told us to stop.
    fn handle_hints(
        &mut self,
        first: Option<Hint>,
        hints: &Receiver<Hint>,
        reports: &Receiver<Box<Report>>,
    ) -> Option<Sender<()>> {
        for hint in first.into_iter().chain(hints.try_iter().take(HINTS_AT_ONCE)) {
            // Reports first: a retry asked for now must not be undone by a failure that happened before it.
            reports.try_iter().for_each(|report| self.take_report(*report));
            let takes_long = matches!(hint, Hint::LookAll | Hint::Flush(..) | Hint::FlushAll);
            match hint {
                Hint::Stop(done) => return Some(done),
                hint => self.handle_hint(hint),
            }
            // As long as the queue is: what is due does not wait for two of these.
            if takes_long {
                break;
            }
        }
        None
    }

    /// Reads some messages, and looks for what lost hints were about once the queue is read: no wait comes between.
    /// Before that it would be read last all the same, and a queue of a hundred thousand would be listed at each turn
    /// while much mail comes.
    fn look_on(&mut self) {
        self.look_at_some();
        if self.looks.is_empty()
            && let Some(anew) = self.shared.hints.take_lost()
        {
            self.look_all(anew);
        }
    }

    /// How long nothing has to be done.
    fn wait(&self) -> Duration {
        if !self.looks.is_empty() {
            return Duration::ZERO;
        }
        let wakes = self.board.wakes().filter(|_| self.pool.has_room());
        // A clock that jumps is noticed within this time.
        let mut wait = crate::limits::SCHEDULER_WAIT;
        if let Some(when) = wakes {
            let until = when.duration_since(Timestamp::now());
            wait = wait.min(until.try_into().unwrap_or_default());
        }
        let again = self.look_again.map(|(when, _)| when);
        let moments = [again, self.unsynced.map(|since| since + REMOVALS_SYNC), self.pool.trims()];
        let left = |when: Instant| when.saturating_duration_since(Instant::now());
        moments.into_iter().flatten().map(left).fold(wait, Duration::min)
    }

    fn handle_hint(&mut self, hint: Hint) {
        match hint {
            Hint::New(entry) => self.add_new(*entry),
            Hint::TakeOver(claimed) => self.take_over(*claimed),
            Hint::Look(id) => self.looks.push_front(id.as_str().into()),
            Hint::LookAll => self.look_all(true),
            Hint::Flush(domain, and_below) => {
                self.look_at_rest();
                let site = self.setting.site.clone();
                let fits = |goal: &Goal| goal.is_of(&site, &domain, and_below);
                self.board.flush_for_client(fits, Timestamp::now());
            }
            Hint::FlushAll => {
                // Files that could not be read before are looked at again, too.
                self.look_all(false);
                self.look_at_rest();
                self.board.flush(|_| true);
            }
            Hint::Count(asked) => {
                let unread = self.looks.len();
                // The thread that asked may no longer wait.
                let _ = asked.try_send(Census { unread, ..self.board.census(Timestamp::now()) });
            }
            // A reload is noticed in `follow_site`, and `run` has handled the stop.
            Hint::Reload | Hint::Stop(_) => {}
        }
    }

    /// Takes in a message that was put into the queue just now, without reading its file.
    fn add_new(&mut self, entry: Entry) {
        let id: Id = entry.id.as_str().into();
        // Its file was found already.
        if self.active.contains_key(&id) || self.board.knows(&id) {
            return;
        }
        let progress = vec![RecipientProgress::default(); entry.recipients.len()];
        let waiting = QueuedMessage { entry, progress, journal: Vec::new() };
        if waiting.quarantine().is_some() {
            return self.board.quarantine(&id);
        }
        self.board.put(&id, parts(&self.setting.site, &waiting));
    }

    /// Notices when the system's clock was set, because due times are by that clock.
    fn follow_clock(&mut self) {
        let now = (Instant::now(), Timestamp::now());
        let passed = now.0.saturating_duration_since(self.clocks.0);
        let shown = now.1.duration_since(self.clocks.1);
        self.clocks = now;
        let off = shown.checked_sub(passed.try_into().unwrap_or_default()).unwrap_or_default();
        if off.unsigned_abs() >= CLOCK_JUMP {
            warn(&clock_words(off));
            self.board.forgive();
            self.look_all(true);
        }
    }

    /// Follows a reload: all messages are planned anew when the configuration has changed.
    fn follow_site(&mut self) {
        let site = self.current.get();
        if Arc::ptr_eq(&site, &self.setting.site) {
            return;
        }
        let (old, new) = (&self.setting.site.config, &site.config);
        let is_other = old != new;
        self.board.configure(Shares::of(&new.relay), new.relay.retry.clone());
        self.pool.configure(Shares::of(&new.relay));
        self.setting = Arc::new(Setting::new(site, self.setting.broken_tls.clone()));
        if is_other {
            self.look_all(true);
        }
    }

    /// Lists the queue. `anew`: messages that are known already are read again as well.
    fn look_all(&mut self, anew: bool) {
        let anew = anew | self.look_again.take().is_some_and(|(_, anew)| anew);
        let (ids, strangers) = match self.shared.queue.names() {
            Ok(names) => names,
            Err(error) => return self.trouble(&error.to_string(), anew),
        };
        for name in strangers {
            self.put_aside(&name, "its name is no id");
        }
        let ids: Vec<Id> = ids.into_iter().map(|id| id.as_str().into()).collect();
        let is_there = |id: &Id| ids.binary_search(id).is_ok();
        let is_gone = |id: &&Id| !is_there(id) && !self.active.contains_key(*id);
        let gone: Vec<Id> = self.board.ids().filter(is_gone).cloned().collect();
        gone.iter().for_each(|id| self.forget_removed(id));
        // Messages that wait to be read keep their turn: otherwise many hints could delay the last ones for
        // ever. Some of them are known already, and have changed.
        self.looks.retain(is_there);
        let waits: HashSet<Id> = self.looks.iter().cloned().collect();
        let board = &self.board;
        let is_new = |id: &Id| (anew || !board.knows(id)) && !waits.contains(id);
        self.looks.extend(ids.into_iter().filter(is_new));
    }

    /// Reads some messages at a time, so that ten thousand files do not delay what is due.
    fn look_at_some(&mut self) {
        if self.look_again.is_some_and(|(when, _)| when <= Instant::now()) {
            self.look_all(false);
        }
        for _ in 0..LOOK_AT_ONCE {
            let Some(id) = self.looks.pop_front() else {
                // The room of a hundred thousand is not needed any more.
                return self.looks.shrink_to_fit();
            };
            self.look(&id);
        }
    }

    /// Reads all messages that wait to be read, before something is asked of every message.
    fn look_at_rest(&mut self) {
        while !self.looks.is_empty() {
            self.look_at_some();
        }
    }

    fn look(&mut self, id: &Id) {
        if let Some(active) = self.active.get_mut(id) {
            active.look = true;
            return;
        }
        match self.shared.queue.read(id) {
            Ok(waiting) if waiting.quarantine().is_some() => self.board.quarantine(id),
            Ok(waiting) => {
                let mut parts = parts(&self.setting.site, &waiting);
                if parts.is_empty() {
                    // No recipient is left, and only its file could not be removed.
                    let goal = Goal::of_recipient(&self.setting.site, &waiting.entry, 0);
                    let due = Timestamp::now();
                    parts.push(Part { goal, due, is_held: false, seen: None });
                }
                self.board.put(id, parts);
            }
            Err(QueueError::Gone) => self.forget_removed(id),
            Err(error) => {
                self.board.forget(id);
                self.handle_unread(id, &error);
            }
        }
    }

    /// Forgets a message whose file was removed by another process, and logs that.
    fn forget_removed(&mut self, id: &Id) {
        if self.board.knows(id) {
            tell(&Event::Removed { id });
        }
        self.board.forget(id);
    }

    /// Handles a queue file that cannot be read or claimed.
    fn handle_unread(&mut self, id: &Id, error: &QueueError) {
        match error {
            QueueError::Gone | QueueError::Busy => {}
            QueueError::Damaged(what) => self.put_aside(std::ffi::OsStr::new(&**id), what),
            QueueError::Disk(error) => self.trouble(&error.to_string(), false),
        }
    }

    fn put_aside(&mut self, name: &std::ffi::OsStr, why: &str) {
        let what = match self.shared.queue.put_aside(name) {
            Ok(to) => format!("{} is no whole queue file ({why}): moved there", to.display()),
            Err(error) => format!("{} is no whole queue file ({why}): {error}", name.display()),
        };
        warn(&what);
    }

    /// Warns of what could not be read, and looks again later. `anew` as for `look_all`.
    fn trouble(&mut self, what: &str, anew: bool) {
        warn(what);
        let again = self.look_again.get_or_insert((Instant::now() + TROUBLE_WAIT, false));
        again.1 |= anew;
    }

    /// Gives due jobs to workers, while there is room.
    fn dispatch(&mut self) {
        let now = Timestamp::now();
        while self.pool.has_room() {
            let Some(job) = self.next_job(now) else { return };
            let (id, goal) = (job.id.clone(), job.goal.clone());
            match self.pool.give(job) {
                Ok(()) => {
                    if let Some(active) = self.active.get_mut(&id) {
                        active.goals.push(goal);
                    }
                }
                Err((error, job)) => {
                    warn(&format!("no thread for the relay pool: {error}"));
                    if let Some(active) = self.active.get_mut(&id).filter(|it| it.goals.is_empty())
                    {
                        active.kept = Some(job.claimed);
                    }
                    let due = retry::later(now, BUSY_WAIT);
                    self.board.done(&id, &goal, Reach::Untried, Some((due, due)), now);
                    self.release(&id);
                    return;
                }
            }
        }
    }

    /// The next job that is due and whose file can be claimed.
    fn next_job(&mut self, now: Timestamp) -> Option<RelayJob> {
        loop {
            let (id, goal, order) = self.board.next(now)?;
            let error = match self.claim(&id) {
                Ok(claimed) => {
                    return Some(RelayJob {
                        id,
                        goal,
                        order,
                        claimed,
                        setting: self.setting.clone(),
                    });
                }
                Err(error) => error,
            };
            let due = match error {
                QueueError::Busy => Some(retry::later(now, BUSY_WAIT)),
                QueueError::Disk(_) => Some(retry::later(now, TROUBLE_WAIT)),
                QueueError::Gone | QueueError::Damaged(_) => None,
            };
            let both = due.map(|due| (due, due));
            self.board.done(&id, &goal, Reach::Untried, both, now);
            match error {
                QueueError::Gone => self.forget_removed(&id),
                _ if due.is_none() => self.board.forget(&id),
                _ => {}
            }
            self.handle_unread(&id, &error);
        }
    }

    fn claim(&mut self, id: &Id) -> Result<Arc<Claimed>, QueueError> {
        if let Some(active) = self.active.get_mut(id) {
            let claimed = active.kept.take().or_else(|| active.claimed.upgrade());
            // None: the worker that had it has removed the file, and its report is on its way.
            return claimed.ok_or(QueueError::Busy);
        }
        let claimed = Arc::new(self.shared.queue.claim(id)?);
        let weak = Arc::downgrade(&claimed);
        let active = Active { claimed: weak, kept: None, goals: Vec::new(), look: false };
        self.active.insert(id.clone(), active);
        Ok(claimed)
    }

    /// Goes on with a message of which memory is ahead of the file, as with one of its own.
    fn take_over(&mut self, claimed: Claimed) {
        let id: Id = claimed.message.entry.id.as_str().into();
        let claimed = Arc::new(claimed);
        let (weak, kept) = (Arc::downgrade(&claimed), Some(claimed));
        let active = Active { claimed: weak, kept, goals: Vec::new(), look: true };
        self.active.insert(id.clone(), active);
        self.release(&id);
    }

    /// Lets a claim go when no worker has a job for its message, unless memory is ahead of the file.
    fn release(&mut self, id: &Id) {
        let Some(active) = self.active.get(id).filter(|active| active.goals.is_empty()) else {
            return;
        };
        if let Some(claimed) = active.kept.as_ref().filter(|claimed| claimed.is_ahead()) {
            // One more job has to write the file, or the message would stay claimed for ever.
            if !self.board.knows(id) {
                let entry = &claimed.message.entry;
                let due = retry::later(Timestamp::now(), TROUBLE_WAIT);
                let goal = Goal::of_recipient(&self.setting.site, entry, 0);
                self.board.add(id, goal, due);
            }
            return;
        }
        let look = active.look;
        self.active.remove(id);
        if look {
            self.look(id);
        }
    }

    fn take_report(&mut self, report: Report) {
        let Report { worker, id, goal, reach, due, expires, notices, claimed, is_gone, is_astray } =
            report;
        let due = due.map(|due| (due, expires));
        self.pool.idle(worker, &goal, reach == Reach::Reached);
        self.board.done(&id, &goal, reach, due, Timestamp::now());
        if let Some(active) = self.active.get_mut(&id) {
            active.goals.retain(|other| *other != goal);
            active.look |= is_astray;
            active.kept = claimed.filter(|_| active.goals.is_empty());
        }
        if is_gone {
            self.active.remove(&id);
            self.board.forget(&id);
            self.unsynced.get_or_insert_with(Instant::now);
        }
        self.release(&id);
        notices.into_iter().for_each(|entry| self.add_new(entry));
    }

    /// Syncs removals: after a power cut an unsynced one could come back, and its mail be sent twice.
    fn sync_removals(&mut self, at_once: bool) {
        let is_due = |since: &Instant| at_once || since.elapsed() >= REMOVALS_SYNC;
        if self.unsynced.filter(is_due).is_some() {
            self.unsynced = None;
            if let Err(error) = self.shared.queue.sync_removals() {
                warn(&error.to_string());
                self.unsynced = Some(Instant::now() + TROUBLE_WAIT);
            }
        }
        self.pool.trim();
    }

    fn stop(mut self, reports: &Receiver<Box<Report>>, done: &Sender<()>) {
        self.pool.stop();
        while self.pool.is_committed() {
            if let Ok(report) = reports.recv_timeout(Duration::from_millis(50)) {
                self.take_report(*report);
            }
        }
        while let Ok(report) = reports.try_recv() {
            self.take_report(*report);
        }
        self.sync_removals(true);
        let _ = done.send(());
    }
}

/// The change of the clock in words, to the second.
fn clock_words(off: SignedDuration) -> String {
    let way = if off.is_negative() { "back" } else { "ahead" };
    format!("the clock was set {way} by {}", retry::span(off.unsigned_abs()))
}
