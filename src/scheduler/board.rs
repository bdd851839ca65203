//! The scheduler's memory: which messages wait, where they have to go and when, and which is next.
//!
//! Pure: the time is passed in, and nothing is sent, read or locked. A message is an id and, for each goal
//! that it still has to reach, a due time; all else is on the disk. Goals back off, not messages: a goal
//! that cannot be reached is left alone until a time, with all that waits for it, and takes no worker from
//! other goals.

mod due;
mod id;
mod places;
#[cfg(test)]
mod tests;

use super::plan::{Goal, Part, Seen};
use crate::config::Relay;
use crate::handoff::Census;
use crate::limits::{ETRN_AGAIN, GOALS_KEPT, RELAY_SLOW, ROOM_KEPT};
use crate::retry::{AT_ONCE, later, wait};
use due::Due;
pub use id::Id;
use jiff::Timestamp;
use places::{Place, Places};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// What is to be done with one message at one goal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Send it.
    Attempt,
    /// The goal is left alone until then: write that down, or give the message up when it expires. `tried`:
    /// when the last attempt there failed.
    Hold { until: Timestamp, because: String, tried: Timestamp },
}

/// How many jobs at once; from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    /// Workers, beside those that are slow.
    pub threads: usize,
    /// Workers that are slow.
    pub slow: usize,
    pub per_destination: usize,
}

impl Shares {
    pub fn of(relay: &Relay) -> Shares {
        let Relay { threads, per_destination, .. } = *relay;
        Shares { threads, slow: relay.slow(), per_destination }
    }

    /// Most workers that there may be.
    pub fn workers(&self) -> usize {
        self.threads + self.slow
    }
}

/// What an attempt shows about its goal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// A host there answered, whatever it said about the message.
    Reached,
    /// No host answered; why, in words.
    Missed(String),
    /// No host was asked.
    Untried,
}

/// One goal and what waits for it.
struct Slot {
    goal: Arc<Goal>,
    /// The messages for the goal, but for those of `held`.
    waiting: BTreeSet<(Due, Id)>,
    /// The messages that were put off only because the goal is left alone.
    held: BTreeSet<(Due, Id)>,
    running: usize,
    /// How many of `running` are slow.
    slow: usize,
    /// Whether the last attempt was answered.
    is_reached: bool,
    /// How many attempts in a row were not answered.
    failures: usize,
    /// What journals say about the goal: after a start, all that is known.
    seen: Option<Seen>,
    /// When the last attempt without an answer ended.
    tried: Timestamp,
    /// Until when the goal is left alone.
    until: Timestamp,
    /// When clients may ask for it again.
    askable: Timestamp,
    because: String,
    /// The goal's place on an agenda: for when, and on which.
    entry: Option<(Due, Class)>,
}

/// A job under way.
struct Underway {
    id: Id,
    goal: Arc<Goal>,
    since: Timestamp,
    /// Whether it has taken so long that another one may work in its place: its host may be silent, and
    /// mail for others must not wait for that.
    is_slow: bool,
    /// Whether a retry was asked for meanwhile: this attempt may have begun before its cause was mended.
    is_asked: bool,
}

/// The class of a goal. Each has a share of the workers, so that one class cannot take all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// The last attempt was answered.
    Sound,
    /// There was no attempt yet.
    New,
    /// The last attempt was not answered.
    Failing,
}

/// All messages that wait, by goal and by id.
pub struct Board {
    slots: HashMap<Arc<Goal>, Slot>,
    /// When the first message of each goal is due, by [`Class`]; without goals that have all the workers
    /// they may have.
    agendas: [BTreeSet<(Due, Arc<Goal>)>; 3],
    /// Jobs under way that are not slow, by the class of their goal.
    running: [usize; 3],
    /// All jobs under way, the oldest first.
    jobs: Vec<Underway>,
    /// Where each message still has to go.
    messages: HashMap<Id, Places>,
    /// Messages that filters hold: they are known, and are due nowhere.
    quarantined: HashSet<Id>,
    bounds: Shares,
    retry: Vec<Duration>,
}

impl Board {
    /// `retry`: how long a goal is left alone after its first failure, its second, and so on.
    pub fn new(bounds: Shares, retry: Vec<Duration>) -> Board {
        let (slots, agendas, running, jobs, messages, quarantined) = Default::default();
        Board { slots, agendas, running, jobs, messages, quarantined, bounds, retry }
    }

    /// Takes over a reloaded configuration. A goal that is left alone stays so until its time.
    pub fn configure(&mut self, bounds: Shares, retry: Vec<Duration>) {
        (self.bounds, self.retry) = (bounds, retry);
        let goals: Vec<Arc<Goal>> = self.slots.keys().cloned().collect();
        goals.iter().for_each(|goal| self.update_agenda(goal));
    }

    pub fn knows(&self, id: &str) -> bool {
        self.messages.contains_key(id) || self.quarantined.contains(id)
    }

    /// The ids of all messages.
    pub fn ids(&self) -> impl Iterator<Item = &Id> {
        self.messages.keys().chain(&self.quarantined)
    }

    /// Counts what waits.
    pub fn census(&self, now: Timestamp) -> Census {
        let quarantined = self.quarantined.len();
        let messages = self.messages.len() + quarantined;
        let mut census = Census { messages, quarantined, ..Census::default() };
        for slot in self.slots.values() {
            let due = slot.waiting.iter().take_while(|(due, _)| Timestamp::from(*due) <= now);
            let due = due.count();
            census.due += due;
            census.held += slot.held.len();
            census.deferred += slot.waiting.len() - due;
        }
        census.sending = self.jobs.len();
        census.oldest = self.ids().filter_map(|id| crate::id::time(id)).min();
        let firsts = self.slots.values().filter_map(Slot::first);
        // What is due at once was never due before it came.
        let came = |id: &str| Timestamp::try_from(crate::id::time(id)?).ok();
        let next = firsts.map(|(due, id)| came(id).unwrap_or(AT_ONCE).max((*due).into()));
        census.next = next.min();
        census
    }

    /// Sets where a message still has to go and when, in place of what was known. The caller leaves out
    /// parts that are under way.
    pub fn put(&mut self, id: &Id, parts: impl IntoIterator<Item = Part>) {
        self.forget(id);
        for Part { goal, due, is_held, seen } in parts {
            let goal = self.add_part(id, goal, due, is_held);
            if seen.is_some() {
                // The newest that any message knows: so ten thousand silent hosts are known after a start,
                // and do not take the turns of others.
                self.shift(&goal, |slot| slot.seen = slot.seen.max(seen));
            }
            self.update_agenda(&goal);
        }
    }

    /// Keeps a message that a filter holds, in place of what was known of it: it is due nowhere, whatever is
    /// asked for, until it is put anew.
    pub fn quarantine(&mut self, id: &Id) {
        self.forget(id);
        self.quarantined.insert(id.clone());
    }

    /// Adds a part of a message.
    pub fn add(&mut self, id: &Id, goal: Goal, due: Timestamp) {
        let goal = self.add_part(id, goal, due, false);
        self.update_agenda(&goal);
    }

    /// Adds a part, and leaves the agenda to the caller. Returns the goal as it is shared.
    fn add_part(&mut self, id: &Id, goal: Goal, due: Timestamp, is_held: bool) -> Arc<Goal> {
        let goal = match self.slots.get(&goal) {
            Some(slot) => slot.goal.clone(),
            None => Arc::new(goal),
        };
        let slot = self.slots.entry(goal.clone()).or_insert_with(|| Slot::new(goal.clone()));
        if due == AT_ONCE {
            slot.until = AT_ONCE;
        }
        let due = due.into();
        let parts = if is_held { &mut slot.held } else { &mut slot.waiting };
        parts.insert((due, id.clone()));
        self.messages.entry(id.clone()).or_default().add(Place { goal: goal.clone(), due });
        goal
    }

    /// Forgets a message that is gone, or is put anew.
    pub fn forget(&mut self, id: &Id) {
        self.quarantined.remove(id);
        let Some(places) = self.messages.remove(id) else { return };
        for Place { goal, due } in places.all() {
            if let Some(slot) = self.slots.get_mut(goal) {
                let part = (*due, id.clone());
                let _ = slot.waiting.remove(&part) || slot.held.remove(&part);
            }
            self.update_agenda(goal);
        }
        self.give_back_room();
    }

    /// When [`Board::next`] may have a job; none: not before something changes.
    pub fn wakes(&self) -> Option<Timestamp> {
        let slower = self.next_slow();
        let wakes = (0..3).filter_map(|class| {
            let when = self.agendas[class].first()?.0.into();
            match self.is_open(class) {
                true => Some(when),
                false => Some(slower?.max(when)),
            }
        });
        wakes.min()
    }

    /// The next job while a worker is free; it counts as under way until [`Board::done`].
    pub fn next(&mut self, now: Timestamp) -> Option<(Id, Goal, Order)> {
        self.find_slow(now);
        let open = (0..3).filter(|class| self.is_open(*class));
        let firsts = open.filter_map(|class| self.agendas[class].first());
        let (when, goal) = firsts.min_by_key(|(when, _)| *when).cloned()?;
        if Timestamp::from(when) > now {
            return None;
        }
        let slot = self.slots.get_mut(&goal)?;
        let (due, id) = slot.pop_first()?;
        slot.running += 1;
        let order = match slot.until > now && due != AT_ONCE.into() {
            true => {
                let (until, because, tried) = (slot.until, slot.because.clone(), slot.tried);
                Order::Hold { until, because, tried }
            }
            false => Order::Attempt,
        };
        self.running[slot.class() as usize] += 1;
        let (is_slow, is_asked) = (false, false);
        let job = Underway { id: id.clone(), goal: goal.clone(), since: now, is_slow, is_asked };
        self.jobs.push(job);
        if let Some(places) = self.messages.get_mut(&id) {
            places.remove(&goal);
        }
        self.update_agenda(&goal);
        Some((id, Goal::clone(&goal), order))
    }

    /// Ends a job of [`Board::next`]. `due`: when it is to be tried again, if it is, and when at the
    /// latest.
    pub fn done(
        &mut self,
        id: &Id,
        goal: &Goal,
        reach: Reach,
        due: Option<(Timestamp, Timestamp)>,
        now: Timestamp,
    ) {
        let is_asked = self.end_job(id, goal);
        let is_missed = matches!(reach, Reach::Missed(_));
        match reach {
            Reach::Reached => self.recover(goal, now),
            Reach::Missed(because) => self.fail(goal, because, now),
            Reach::Untried => {}
        }
        let Some(slot) = self.slots.get_mut(goal) else { return };
        if is_asked {
            slot.until = AT_ONCE;
        }
        let due = due.map(|(due, latest)| match slot.until > now {
            _ if is_asked => (Timestamp::UNIX_EPOCH, false),
            // Not before the goal may be tried again, because it would only be put off once more.
            true if is_missed || slot.until >= due => (due.max(slot.until.min(latest)), true),
            _ => (due, false),
        });
        match due {
            Some((due, is_held)) => drop(self.add_part(id, goal.clone(), due, is_held)),
            None if self.messages.get(id).is_some_and(|places| places.all().is_empty()) => {
                self.messages.remove(id);
            }
            None => {}
        }
        self.update_agenda(goal);
        self.trim();
    }

    /// Ends all back-off after the clock was set, because the times do not hold any more.
    pub fn forgive(&mut self) {
        for slot in self.slots.values_mut() {
            (slot.until, slot.askable) = (AT_ONCE, AT_ONCE);
        }
    }

    /// Makes all messages for these goals due at once, and ends the back-off of the goals.
    pub fn flush(&mut self, fits: impl Fn(&Goal) -> bool) -> usize {
        let slots = self.slots.values();
        let goals = slots.filter(|slot| fits(&slot.goal)).map(|slot| slot.goal.clone());
        let goals: Vec<Arc<Goal>> = goals.collect();
        let mut count = 0;
        self.jobs.iter_mut().filter(|job| fits(&job.goal)).for_each(|job| job.is_asked = true);
        for goal in goals {
            let Some(slot) = self.slots.get_mut(&goal) else { continue };
            slot.until = AT_ONCE;
            let mut parts = std::mem::take(&mut slot.waiting);
            parts.append(&mut slot.held);
            count += parts.len();
            self.redate(&goal, parts, Timestamp::UNIX_EPOCH);
        }
        count
    }

    /// The same when a client asks for it (ETRN), once in [`ETRN_AGAIN`] for each goal: otherwise a client
    /// could make us call a host in a loop.
    pub fn flush_for_client(&mut self, fits: impl Fn(&Goal) -> bool, now: Timestamp) -> usize {
        let mut goals = HashSet::new();
        for (goal, slot) in self.slots.iter_mut().filter(|(goal, _)| fits(goal)) {
            if slot.askable <= now {
                slot.askable = later(now, ETRN_AGAIN);
                goals.insert(goal.clone());
            }
        }
        self.flush(|goal| goals.contains(goal))
    }

    /// Notes an answer: messages that were only put off are due now.
    fn recover(&mut self, goal: &Goal, now: Timestamp) {
        self.shift(goal, |slot| {
            (slot.is_reached, slot.failures, slot.until) = (true, 0, AT_ONCE);
            slot.because.clear();
        });
        let held = self.slots.get_mut(goal).map(|slot| std::mem::take(&mut slot.held));
        self.redate(goal, held.unwrap_or_default(), now);
    }

    fn fail(&mut self, goal: &Goal, because: String, now: Timestamp) {
        let name = goal.to_string();
        let retry = std::mem::take(&mut self.retry);
        self.shift(goal, |slot| {
            slot.is_reached = false;
            slot.because = because;
            slot.tried = now;
            // Jobs that were under way at the same time count as one failure.
            if slot.until <= now {
                slot.failures += 1;
                slot.until = later(now, wait(&retry, slot.failures, &name));
            }
        });
        self.retry = retry;
    }

    /// Changes a slot, and counts its jobs under way for its new class.
    fn shift(&mut self, goal: &Goal, change: impl FnOnce(&mut Slot)) {
        let Some(slot) = self.slots.get_mut(goal) else { return };
        let before = slot.class() as usize;
        change(slot);
        let (after, running) = (slot.class() as usize, slot.running.saturating_sub(slot.slow));
        self.running[before] = self.running[before].saturating_sub(running);
        self.running[after] += running;
    }

    /// Removes a job that is under way; returns whether a retry was asked for meanwhile.
    fn end_job(&mut self, id: &Id, goal: &Goal) -> bool {
        let place = self.jobs.iter().position(|job| job.id == *id && *job.goal == *goal);
        let (Some(place), Some(slot)) = (place, self.slots.get_mut(goal)) else { return false };
        let job = self.jobs.remove(place);
        slot.running = slot.running.saturating_sub(1);
        match job.is_slow {
            true => slot.slow = slot.slow.saturating_sub(1),
            false => {
                let running = &mut self.running[slot.class() as usize];
                *running = running.saturating_sub(1);
            }
        }
        job.is_asked
    }

    /// Marks jobs that have taken too long as slow, so that they do not count any more.
    fn find_slow(&mut self, now: Timestamp) {
        while self.next_slow().is_some_and(|when| when <= now) {
            let Some(place) = self.jobs.iter().position(|job| self.may_be_slow(job)) else {
                return;
            };
            let Some(slot) = self.slots.get_mut(&self.jobs[place].goal) else { return };
            slot.slow += 1;
            let running = &mut self.running[slot.class() as usize];
            *running = running.saturating_sub(1);
            self.jobs[place].is_slow = true;
        }
    }

    /// When the next job becomes slow, if one may.
    fn next_slow(&self) -> Option<Timestamp> {
        let slow = self.jobs.iter().filter(|job| job.is_slow).count();
        let mut others = self.jobs.iter().filter(|job| self.may_be_slow(job));
        others.next().filter(|_| slow < self.bounds.slow).map(|job| later(job.since, RELAY_SLOW))
    }

    /// Jobs of failing goals never count as slow: they are few, and keep to their share.
    fn may_be_slow(&self, job: &Underway) -> bool {
        let slot = self.slots.get(&job.goal);
        !job.is_slow && slot.is_some_and(|slot| slot.class() != Class::Failing)
    }

    /// Gives parts that were taken from a goal's slot another due time there.
    fn redate(&mut self, goal: &Goal, parts: BTreeSet<(Due, Id)>, due: Timestamp) {
        let due = Due::from(due);
        let Some(slot) = self.slots.get_mut(goal) else { return };
        for (_, id) in parts {
            if let Some(place) = self.messages.get_mut(&id).and_then(|places| places.find(goal)) {
                place.due = due;
                slot.waiting.insert((due, id));
            }
        }
        self.update_agenda(goal);
    }

    /// Puts a goal on the agenda of its class, or takes it off.
    fn update_agenda(&mut self, goal: &Goal) {
        let per_destination = self.bounds.per_destination;
        let Some(slot) = self.slots.get_mut(goal) else { return };
        let wanted = match slot.first() {
            Some((due, _)) if slot.running < slot.allowed(per_destination) => {
                Some((*due, slot.class()))
            }
            _ => None,
        };
        if slot.entry == wanted {
            return;
        }
        if let Some((when, class)) = std::mem::replace(&mut slot.entry, wanted) {
            self.agendas[class as usize].remove(&(when, slot.goal.clone()));
        }
        if let Some((when, class)) = wanted {
            self.agendas[class as usize].insert((when, slot.goal.clone()));
        }
    }

    /// Whether a class may have one more worker. Failing goals share a quarter; new and failing ones leave
    /// a quarter to those that answer.
    fn is_open(&self, class: usize) -> bool {
        let threads = self.bounds.threads;
        let quarter = (threads / 4).max(1);
        let [sound, new, failing] = self.running;
        let all = sound + new + failing < threads;
        match class {
            0 => all,
            1 => all && new + failing < (threads - threads / 4).max(1),
            _ => all && failing < quarter,
        }
    }

    /// Forgets goals without messages, once there are many, and gives room back that is not needed any more.
    fn trim(&mut self) {
        // A goal that is on no agenda has no messages, or jobs.
        let used = self.agendas.iter().map(BTreeSet::len).sum::<usize>() + self.jobs.len();
        // Only once that forgets most of them: all are looked at.
        let most = 2 * used + GOALS_KEPT;
        if self.slots.len() > most {
            self.slots.retain(|_, slot| slot.first().is_some() || slot.running > 0);
            self.slots.shrink_to(most);
        }
        self.give_back_room();
    }

    /// Gives the room of messages back that are gone, once that is most of it.
    fn give_back_room(&mut self) {
        let most = 4 * self.messages.len() + ROOM_KEPT;
        if self.messages.capacity() > most {
            self.messages.shrink_to(most / 2);
        }
    }
}

impl Slot {
    fn new(goal: Arc<Goal>) -> Slot {
        Slot {
            goal,
            waiting: BTreeSet::new(),
            held: BTreeSet::new(),
            running: 0,
            slow: 0,
            is_reached: false,
            failures: 0,
            seen: None,
            tried: AT_ONCE,
            until: AT_ONCE,
            askable: AT_ONCE,
            because: String::new(),
            entry: None,
        }
    }

    /// The message that is due first, held or not.
    fn first(&self) -> Option<&(Due, Id)> {
        self.waiting.first().into_iter().chain(self.held.first()).min()
    }

    fn pop_first(&mut self) -> Option<(Due, Id)> {
        match (self.waiting.first(), self.held.first()) {
            (Some(waiting), Some(held)) if held < waiting => self.held.pop_first(),
            (None, _) => self.held.pop_first(),
            _ => self.waiting.pop_first(),
        }
    }

    fn class(&self) -> Class {
        match (self.is_reached, self.failures, self.seen) {
            (true, ..) | (false, 0, Some(Seen { is_missed: false, .. })) => Class::Sound,
            (false, 0, None) => Class::New,
            (false, ..) => Class::Failing,
        }
    }

    /// How many jobs at once: one where the last attempt was not answered.
    fn allowed(&self, per_destination: usize) -> usize {
        if self.is_reached { per_destination } else { 1 }
    }
}
