//! The thread that sends reports: of a day in the hour after it, of an older one at once. What fails is tried again
//! for a day; what is too old goes, with a line in the log.

use super::send::{ReportFate, ReportSender, ReportStep, post};
use crate::event::{Event, tell, warn};
use crate::handoff::Hints;
use crate::limits::reports::{
    REPORT_AGAIN, REPORT_AGE_MAX, REPORT_KEEP, REPORT_LOOK, REPORT_SPREAD, REPORT_TRIED,
};
use crate::mail::address::Domain;
use crate::mail::tls_report::{bounds, day_of};
use crate::retry::later;
use crate::site::{Current, Site};
use crate::store::disk::{Disk, StoreError};
use crate::store::queue::Queue;
use crate::store::tally::{ClaimedTally, ClosedDay, TallyMark, TallyName, TallyStore};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use jiff::Timestamp;
use jiff::civil::Date;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The thread and what it remembers.
pub(super) struct ReportWatch {
    store: Arc<TallyStore>,
    disk: Arc<dyn Disk>,
    queue: Queue,
    hints: Hints,
    /// How long after a day's end its reports go.
    after: Duration,
    /// Parts of which something is to be tried again.
    waiting: BTreeMap<TallyName, WaitingPart>,
    /// Parts of which nothing is left to be done.
    done: BTreeSet<TallyName>,
}

/// A part that was tried.
struct WaitingPart {
    first: Timestamp,
    next: Timestamp,
    wait: Duration,
    left: BTreeSet<Domain>,
}

impl ReportWatch {
    pub fn new(store: Arc<TallyStore>, disk: Arc<dyn Disk>, queue: Queue, hints: Hints) -> Self {
        let after = Duration::from_secs(crate::id::random() % REPORT_SPREAD.as_secs());
        let (waiting, done) = Default::default();
        ReportWatch { store, disk, queue, hints, after, waiting, done }
    }

    /// Looks from time to time, and when called, until the server is gone.
    pub fn run(mut self, current: &Current, calls: &Receiver<()>) {
        loop {
            let (site, now) = (current.get(), Timestamp::now());
            let next = match self.round(&site, now) {
                Ok(next) => next,
                Err(error) => {
                    warn(&format!("reports on TLS: {error}"));
                    later(now, REPORT_LOOK)
                }
            };
            drop(site);
            let wait = Duration::try_from(next.duration_since(now)).unwrap_or_default();
            // The clock may be set meanwhile. Never at once, so that nothing fills the log.
            let wait = wait.clamp(Duration::from_secs(1), REPORT_LOOK);
            if calls.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    /// Does all that is due; gives when the next is.
    pub(super) fn round(&mut self, site: &Site, now: Timestamp) -> Result<Timestamp, StoreError> {
        let mut next = later(now, REPORT_LOOK);
        if site.config.relay.reports.is_none() {
            return Ok(next);
        }
        for name in self.store.names()?.into_iter().filter(|name| name.part.is_none()) {
            let due = later(bounds(name.day).1, self.after);
            match name.day < day_of(now) && due < now {
                true if self.store.close(name.day)? == ClosedDay::Busy => next = now,
                true => {}
                false => next = next.min(due),
            }
        }
        let names = self.store.names()?;
        self.done.retain(|name| names.contains(name));
        self.waiting.retain(|name, _| names.contains(name));
        for name in names.into_iter().filter(|name| name.part.is_some()) {
            match self.part(site, name, now) {
                Ok(Some(again)) => next = next.min(again),
                Ok(None) => {}
                // The others have to go all the same.
                Err(error) => warn(&format!("reports on TLS: {error}")),
            }
        }
        Ok(next)
    }

    /// Looks at one closed part; gives when it is to be tried again.
    fn part(
        &mut self,
        site: &Site,
        name: TallyName,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let age = Duration::try_from(now.duration_since(bounds(name.day).1)).unwrap_or_default();
        if self.done.contains(&name) {
            if age > REPORT_KEEP {
                self.store.remove(name)?;
            }
            return Ok(None);
        }
        if let Some(again) = self.waiting.get(&name).map(|part| part.next).filter(|at| *at > now) {
            return Ok(Some(again));
        }
        // A command sends it at this moment, or it is gone.
        let Some(part) = self.store.claim(name)? else { return Ok(None) };
        if part.content.is_done() {
            self.done.insert(name);
            return Ok(None);
        }
        if age > REPORT_AGE_MAX && !self.waiting.contains_key(&name) {
            warn(&format!(
                "no reports on TLS for {}: the day is too long ago, and what was not sent by now is dropped",
                name.day
            ));
            part.note(&TallyMark::Done)?;
            return Ok(None);
        }
        self.send(site, name, &part, now)
    }

    fn send(
        &mut self,
        site: &Site,
        name: TallyName,
        part: &ClaimedTally,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let Some(contact) = &site.config.relay.reports else { return Ok(None) };
        tell_gaps(name.day, part);
        let post = |domain: &Domain, url: &str, report: &[u8]| post(site, domain, url, report);
        let sender = ReportSender {
            site,
            contact,
            disk: &*self.disk,
            queue: &self.queue,
            post: &post,
            hints: Some(&self.hints),
        };
        let before = self.waiting.remove(&name);
        let (mut sent, mut failed) = (0, 0);
        let mut heard = |step: ReportStep| match step.fate {
            ReportFate::Queued { .. } | ReportFate::Posted(_) => sent += 1,
            ReportFate::Failed(_) => failed += 1,
            ReportFate::Known | ReportFate::Unwanted | ReportFate::Bad(_) => {}
        };
        let only = before.as_ref().map(|part| &part.left);
        let left = sender.send(name, part, only, &mut heard)?;
        let domains = only.map_or(part.content.counts.domains().count(), BTreeSet::len);
        let day = &name.day.to_string();
        tell(&Event::TlsReports { day, domains, sent, failed });
        let first = before.as_ref().map_or(now, |part| part.first);
        if left.is_empty() || later(first, REPORT_TRIED) <= now {
            if !left.is_empty() {
                let names: Vec<&str> = left.iter().take(NAMED).map(Domain::as_str).collect();
                let (count, names) = (left.len(), names.join(", "));
                warn(&format!(
                    "reports on TLS of {day} could not be sent to {count} domains in a day: {names}"
                ));
            }
            part.note(&TallyMark::Done)?;
            self.done.insert(name);
            return Ok(None);
        }
        let wait = before.map_or(REPORT_AGAIN, |part| part.wait.saturating_mul(2));
        let next = later(now, wait).min(later(first, REPORT_TRIED));
        self.waiting.insert(name, WaitingPart { first, next, wait, left });
        Ok(Some(next))
    }
}

/// Domains that are named where several failed.
const NAMED: usize = 5;

/// Says what is missing in the reports of a day.
fn tell_gaps(day: Date, part: &ClaimedTally) {
    let (left_out, torn) = (part.content.counts.left_out(), part.content.bad);
    if left_out > 0 {
        warn(&format!("reports on TLS of {day}: connections that found no room: {left_out}"));
    }
    if torn > 0 {
        warn(&format!("reports on TLS of {day}: lines of the counts that are torn: {torn}"));
    }
}
