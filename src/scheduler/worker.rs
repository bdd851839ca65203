//! One thread of the relay pool: it does one job, reports, and waits for the next; for a moment it keeps
//! its connection.
//!
//! The scheduler never waits for a worker: it gives a job only to an idle one, and a report always has
//! room. Before a report, notices are in the queue and the journal is written, durably.

#[cfg(test)]
pub(super) mod tests;

use super::board::{Id, Order, Reach};
use super::guard::Guard;
use super::plan::Goal;
use super::{RelayShared, Setting, reason};
use crate::event::{Event, tell, warn};
use crate::limits::{PANIC_WAIT, RELAY_KEEP, TROUBLE_WAIT};
use crate::mail::envelope::TlsWish;
use crate::net::pool::panic_text;
use crate::notices::{self, NoticeContext};
use crate::outcome::RecipientOutcome;
use crate::relay::{Caller, Connection};
use crate::retry;
use crate::site::Site;
use crate::store::disk::StoreError;
use crate::store::entry::{Entry, JournalLine, What};
use crate::store::queue::Claimed;
use crossbeam_channel::{Receiver, RecvTimeoutError, Select, Sender};
use jiff::Timestamp;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One message and one goal that it has to reach.
pub struct RelayJob {
    pub id: Id,
    pub goal: Goal,
    pub order: Order,
    /// The message; shared with workers that bring it to other goals.
    pub claimed: Arc<Claimed>,
    pub setting: Arc<Setting>,
}

/// What became of a job.
pub struct Report {
    /// The number of the worker.
    pub worker: usize,
    pub id: Id,
    pub goal: Goal,
    pub reach: Reach,
    /// When it is to be tried again; none when nothing is left to do.
    pub due: Option<Timestamp>,
    pub expires: Timestamp,
    /// Notices that were put into the queue.
    pub notices: Vec<Entry>,
    /// The message, for the scheduler to keep or to let go; none where the worker has done that.
    pub claimed: Option<Arc<Claimed>>,
    /// Whether the message has left the queue.
    pub is_gone: bool,
    /// Whether none of its open recipients has this goal any more (a reload moved them): read and plan the
    /// message again.
    pub is_astray: bool,
}

/// One line for the log.
pub(super) struct News {
    outcome: RecipientOutcome,
    /// When the recipient is tried again.
    next: Option<Timestamp>,
}

impl News {
    /// The outcome with the recipient's address.
    fn named(self, entry: &Entry) -> (RecipientOutcome, String, Option<Timestamp>) {
        let to = entry.recipients[self.outcome.recipient].mailbox.to_string();
        (self.outcome, to, self.next)
    }
}

/// A connection that waits for more mail to the same goal.
pub(super) struct Kept {
    pub connection: Connection,
    goal: Goal,
    /// What it was opened for; a reload makes a new one.
    setting: Arc<Setting>,
    /// What the mail says about TLS for which it is secret enough.
    tls: TlsWish,
    since: Instant,
}

impl Kept {
    pub(super) fn new(connection: Connection, job: &RelayJob, tls: TlsWish) -> Kept {
        let (goal, setting) = (job.goal.clone(), job.setting.clone());
        Kept { connection, goal, setting, tls, since: Instant::now() }
    }
}

/// Waits asleep for a job. To receive in the usual way begins with some turns awake, and most workers wait longer than
/// that.
fn next(jobs: &Receiver<RelayJob>, wait: Duration) -> Result<RelayJob, RecvTimeoutError> {
    let mut select = Select::new();
    select.recv(jobs);
    match select.select_timeout(wait) {
        Ok(ready) => ready.recv(jobs).map_err(|_| RecvTimeoutError::Disconnected),
        Err(_) => Err(RecvTimeoutError::Timeout),
    }
}

/// One worker.
pub struct RelayWorker {
    pub number: usize,
    pub shared: Arc<RelayShared>,
    pub guard: Arc<Guard>,
    pub(super) kept: Option<Kept>,
    /// The caller, with the site it was made for.
    pub(super) caller: Option<(Arc<Site>, Arc<Caller>)>,
}

impl RelayWorker {
    pub fn new(number: usize, shared: Arc<RelayShared>, guard: Arc<Guard>) -> RelayWorker {
        RelayWorker { number, shared, guard, kept: None, caller: None }
    }

    /// Works until the scheduler drops its channel.
    pub fn run(mut self, jobs: &Receiver<RelayJob>, reports: &Sender<Box<Report>>) {
        loop {
            let wait = if self.kept.is_some() { RELAY_KEEP } else { Duration::MAX };
            match next(jobs, wait) {
                Ok(job) => {
                    let mut news = Vec::new();
                    // A panic over one message must not end the process, again at each start.
                    let work = AssertUnwindSafe(|| self.work(&job, &mut news));
                    let mut report = catch_unwind(work).unwrap_or_else(|panic| {
                        let what = format!("{}: {}", job.id, panic_text(&*panic));
                        tell(&Event::Panicked { session: "relay", what: &what });
                        (self.kept, self.caller) = (None, None);
                        let due = Some(retry::later(Timestamp::now(), PANIC_WAIT));
                        Report { due, ..self.report(&job) }
                    });
                    let entry = &job.claimed.message.entry;
                    let news: Vec<_> = news.into_iter().map(|news| news.named(entry)).collect();
                    let id = job.id.clone();
                    // The claim goes with the report, because the scheduler may want to release it; where the file is
                    // gone, perhaps by another worker, there is no claim any more, and it is closed here, after all
                    // that others wait for.
                    let is_gone = report.is_gone || job.claimed.is_removed();
                    let gone = report.claimed.take_if(|_| is_gone);
                    drop(job);
                    let _ = reports.send(Box::new(report));
                    // The report before the log: a retry that is asked for after a line was read must come
                    // after this attempt.
                    news.iter().for_each(|(outcome, to, next)| outcome.tell(&id, to, *next));
                    drop(gone);
                    self.guard.end();
                }
                Err(RecvTimeoutError::Timeout) => self.hang_up(),
                Err(RecvTimeoutError::Disconnected) => return self.hang_up(),
            }
        }
    }

    /// Does one job. `news` collects lines for the log.
    pub(super) fn work(&mut self, job: &RelayJob, news: &mut Vec<News>) -> Report {
        let entry = &job.claimed.message.entry;
        let site = &job.setting.site;
        let is_its = |index: usize| Goal::of_recipient(site, entry, index) == job.goal;
        let is_over = job.claimed.open().is_empty();
        // Given back when this value is dropped, after their outcome is known.
        let taken = job.claimed.take_recipients(is_its);
        let open = &taken.recipients[..];
        let is_astray = open.is_empty() && !is_over;
        let mut report = Report { is_astray, ..self.report(job) };
        if report.is_astray && !job.claimed.is_ahead() {
            return report;
        }
        // The message is verified before it is sent or returned in a notice. For a job that is only held it
        // is not.
        let is_held = matches!(job.order, Order::Hold { .. }) && self.over(job, open).is_none();
        let path = job.claimed.path();
        let is_wanted = !open.is_empty() && !is_held;
        let unread = is_wanted.then(|| job.claimed.part(&path).verify().err()).flatten();
        if let Some(error) = &unread
            && error.source.kind() == ErrorKind::InvalidData
        {
            return self.put_aside(job, error, report);
        }
        let (outcomes, reach) = match &job.order {
            // All recipients are done, and only the file could not be written.
            _ if open.is_empty() => (Vec::new(), Reach::Untried),
            Order::Hold { until, because, tried } => match self.over(job, open) {
                None => {
                    let due = self.hold(job, open, (*until, because), &mut report, news);
                    return Report { due: Some(due), ..report };
                }
                // The goal was tried since these expired: one attempt is enough for all that expire
                // together.
                Some(over) if over <= *tried && *tried <= Timestamp::now() => {
                    (self.expire(job, open), Reach::Untried)
                }
                Some(_) => match self.attempt(job, open, unread, &mut report) {
                    Some(done) => done,
                    None => return report,
                },
            },
            Order::Attempt => match self.attempt(job, open, unread, &mut report) {
                Some(done) => done,
                None => return report,
            },
        };
        report.reach = reach;
        // It has left the queue, or another file has its name.
        if report.is_gone {
            return report;
        }
        news.extend(self.record_outcome(job, outcomes, open, &mut report));
        report
    }

    /// Attempts the job; none when the server stops and nothing was begun.
    fn attempt(
        &mut self,
        job: &RelayJob,
        open: &[usize],
        unread: Option<StoreError>,
        report: &mut Report,
    ) -> Option<(Vec<RecipientOutcome>, Reach)> {
        match &job.goal {
            Goal::Filters => self.filter(job, open, unread, report),
            Goal::Away(way, _) => Some(self.away(job, way, open, unread)),
            Goal::Here(_) if self.guard.commit() => Some(self.here(job, open)),
            Goal::Here(_) => None,
        }
    }

    /// When the time of the first of these is over.
    fn expires(&self, job: &RelayJob, open: &[usize], now: Timestamp) -> Timestamp {
        self.ends(job, open, now).min().unwrap_or(now)
    }

    /// When the time of the last of these is over, once that of the first is.
    fn over(&self, job: &RelayJob, open: &[usize]) -> Option<Timestamp> {
        let now = Timestamp::now();
        let is_over = self.expires(job, open, now) <= now;
        self.ends(job, open, now).max().filter(|_| is_over)
    }

    fn ends<'a>(
        &self,
        job: &'a RelayJob,
        open: &'a [usize],
        now: Timestamp,
    ) -> impl Iterator<Item = Timestamp> + 'a {
        let (claimed, relay) = (&job.claimed, &job.setting.site.config.relay);
        let end = move |index: &usize| {
            retry::expires(&claimed.message.entry, &claimed.progress(*index), relay, now)
        };
        open.iter().map(end)
    }

    /// A report before anything was done.
    fn report(&self, job: &RelayJob) -> Report {
        Report {
            worker: self.number,
            id: job.id.clone(),
            goal: job.goal.clone(),
            reach: Reach::Untried,
            due: None,
            expires: self.expires(job, &job.claimed.open(), Timestamp::now()),
            notices: Vec::new(),
            claimed: Some(job.claimed.clone()),
            is_gone: false,
            is_astray: false,
        }
    }

    /// Moves a damaged message out of the queue, for the administrator. Only the log tells: the file may be
    /// mended, or restored from a backup, and then be sent.
    fn put_aside(&self, job: &RelayJob, error: &StoreError, mut report: Report) -> Report {
        match self.shared.queue.put_aside(OsStr::new(&job.claimed.message.entry.id)) {
            Ok(to) => {
                let to = to.display();
                warn(&format!("{to} is damaged and is sent to nobody ({error}): moved there"));
            }
            // Another worker was faster, or a command has removed it.
            Err(error) if error.source.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                let what = format!("{} is damaged: {error}; tried again", job.id);
                warn(&what);
                report.due = Some(retry::later(Timestamp::now(), TROUBLE_WAIT));
                return report;
            }
        }
        Report { is_gone: true, ..report }
    }

    /// Makes the outcome durable, and returns the lines for the log. What was carried comes first: DNS may be
    /// asked why another recipient was refused, and a kill meanwhile must not send anything twice.
    fn record_outcome(
        &self,
        job: &RelayJob,
        outcomes: Vec<RecipientOutcome>,
        open: &[usize],
        report: &mut Report,
    ) -> Vec<News> {
        let entry = &job.claimed.message.entry;
        let relay = &job.setting.site.config.relay;
        let now = Timestamp::now();
        let expire = |outcome: RecipientOutcome| {
            let progress = job.claimed.progress(outcome.recipient);
            let is_late =
                retry::waited(entry, &progress, relay, now) >= retry::patience(entry, relay);
            match outcome.what == What::Deferred && is_late {
                true => outcome.into_expired(),
                false => outcome,
            }
        };
        let outcomes = outcomes.into_iter().map(expire).collect();
        let (first, last) = notices::apart(outcomes);
        let mut news = match first.is_empty() {
            true => Vec::new(),
            false => self.record_some(job, first, open, report, now),
        };
        news.extend(self.record_some(job, last, open, report, now));
        news
    }

    /// Makes outcomes durable: first the notices, then the journal.
    fn record_some(
        &self,
        job: &RelayJob,
        mut outcomes: Vec<RecipientOutcome>,
        open: &[usize],
        report: &mut Report,
        now: Timestamp,
    ) -> Vec<News> {
        let entry = &job.claimed.message.entry;
        let relay = &job.setting.site.config.relay;
        let sent = notices::send(&self.notice_context(job), &job.claimed, &outcomes);
        report.notices.extend(sent.notices);
        for (recipient, error) in &sent.untold {
            tell_untold(entry, error);
            // A failure that could not be told must not be journalled: the recipient is deferred instead.
            let is_its =
                |v: &&mut RecipientOutcome| v.recipient == *recipient && v.what == What::Failed;
            outcomes.iter_mut().filter(is_its).for_each(|v| {
                let words = format!("{} (and no notice could be written: {error})", v.reason());
                *v = RecipientOutcome::own(v.recipient, What::Deferred, "4.3.0", words);
            });
        }
        let mut lines: Vec<JournalLine> =
            outcomes.iter().map(|outcome| outcome.line(now)).collect();
        lines.extend(sent.announced.into_iter().map(|recipient| announcement(now, recipient)));
        let settled = match job.claimed.record_results(lines) {
            Ok(true) => job.claimed.remove().map(|()| report.is_gone = true),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = &settled {
            warn(&format!("{}: {error}; tried again", entry.id));
        }
        let still: Vec<usize> = job.claimed.open();
        let still: Vec<usize> = open.iter().copied().filter(|i| still.contains(i)).collect();
        let trouble = retry::later(now, TROUBLE_WAIT);
        // A recipient that has expired is always due: without a wait it would be attempted again and again
        // until there is room for its notice.
        let earliest = if sent.untold.is_empty() { Timestamp::MIN } else { trouble };
        let next = |index: &usize| {
            retry::next(entry, &job.claimed.progress(*index), relay, now).max(earliest)
        };
        report.due = still.iter().map(next).min();
        if settled.is_err() && report.due.is_none() {
            report.due = Some(trouble);
        }
        let news =
            |outcome: RecipientOutcome| News { next: Some(next(&outcome.recipient)), outcome };
        outcomes.into_iter().map(news).collect()
    }

    /// Journals that the goal is left alone; returns when the recipients are due.
    fn hold(
        &self,
        job: &RelayJob,
        open: &[usize],
        (until, because): (Timestamp, &str),
        report: &mut Report,
        news: &mut Vec<News>,
    ) -> Timestamp {
        let entry = &job.claimed.message.entry;
        let now = Timestamp::now();
        let due = until.min(self.expires(job, open, now));
        let words = reason::held_words(because);
        let line = |index: &usize| JournalLine {
            when: now,
            recipient: *index,
            what: What::Held,
            host: format!("{until:.3}"),
            words: format!("4.4.1 {words}"),
        };
        let mut lines: Vec<JournalLine> = open.iter().map(line).collect();
        let held =
            |index: &usize| RecipientOutcome::own(*index, What::Held, "4.4.1", words.clone());
        let held: Vec<RecipientOutcome> = open.iter().map(held).collect();
        let sent = notices::send(&self.notice_context(job), &job.claimed, &held);
        sent.untold.iter().for_each(|(_, error)| tell_untold(entry, error));
        lines.extend(sent.announced.iter().map(|index| announcement(now, *index)));
        report.notices = sent.notices;
        // A failure loses only the reason that `queue why` shows.
        if let Err(error) = job.claimed.note(&lines) {
            warn(&format!("{}: {error}", entry.id));
        }
        let next = Some(due);
        news.extend(held.into_iter().map(|outcome| News { outcome, next }));
        due
    }

    /// The outcomes of recipients that are given up without an attempt of their own, because their goal was
    /// tried for another message.
    fn expire(&self, job: &RelayJob, open: &[usize]) -> Vec<RecipientOutcome> {
        let expired = |index: &usize| {
            let progress = job.claimed.progress(*index);
            RecipientOutcome::expired(*index, progress.last.as_ref(), &progress.error())
        };
        open.iter().map(expired).collect()
    }

    fn notice_context<'a>(&'a self, job: &'a RelayJob) -> NoticeContext<'a> {
        let (disk, queue) = (&*self.shared.disk, &self.shared.queue);
        let (reports, seen) = (Some(&self.shared.reports), Some(&self.shared.seen));
        NoticeContext { site: &job.setting.site, disk, queue, reports, seen }
    }

    /// Takes the kept connection where it is one to this goal; closes any other.
    pub(super) fn take_kept(&mut self, job: &RelayJob, tls: TlsWish) -> Option<Kept> {
        let kept = self.kept.take()?;
        let is_fit = kept.goal == job.goal
            && kept.tls == tls
            && Arc::ptr_eq(&kept.setting, &job.setting)
            && kept.since.elapsed() < crate::limits::RELAY_KEEP_MAX;
        match is_fit {
            true => Some(kept),
            false => {
                kept.connection.quit();
                None
            }
        }
    }

    /// Keeps a connection for more mail, in place of any other.
    pub(super) fn keep(&mut self, kept: Kept) {
        self.hang_up();
        match kept.connection.is_open() {
            true => self.kept = Some(kept),
            false => kept.connection.quit(),
        }
    }

    fn hang_up(&mut self) {
        if let Some(kept) = self.kept.take() {
            kept.connection.quit();
        }
    }

    /// The caller for this setting, made once for each site.
    pub(super) fn caller(&mut self, setting: &Setting) -> Arc<Caller> {
        let site = &setting.site;
        if let Some((made_for, caller)) = &self.caller
            && Arc::ptr_eq(made_for, site)
        {
            return caller.clone();
        }
        let guard = self.guard.clone();
        let may_send = Box::new(move || guard.commit());
        let (connector, new) = (site.connector(), Caller::new(&site.config));
        let broken_tls = setting.broken_tls.clone();
        let tally = self.shared.reporting.input();
        let tally = tally.filter(|_| site.config.relay.reports.is_some());
        let caller = Caller { may_send, connector, broken_tls, tally, ..new };
        let caller = Arc::new(caller);
        self.caller = Some((site.clone(), caller.clone()));
        caller
    }
}

fn tell_untold(entry: &Entry, error: &str) {
    warn(&format!("{}: a notice about it could not be written: {error}", entry.id));
}

fn announcement(when: Timestamp, recipient: usize) -> JournalLine {
    let words = "its sender was told that it is late".to_owned();
    JournalLine { when, recipient, what: What::Announced, host: String::new(), words }
}
