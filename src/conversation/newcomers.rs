//! How many mailboxes strangers may bring into being where any name is a user: one Maildir for each name
//! that somebody makes up, and a million names are made up in minutes.
//!
//! A place is taken at RCPT, where it can be refused, and given back when no message follows. Counts in
//! the hour that began with the first, and remembers no name.

use crate::limits::MAILDIRS_AN_HOUR;
use crate::store::locked;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);

/// Shared by all sessions. Its lock is held to count.
pub struct Newcomers {
    most: usize,
    /// When the hour began, and places taken in it.
    hour: Mutex<Option<(Instant, usize)>>,
}

/// The places that one message takes; given back when this is dropped.
pub(super) struct NewPlaces<'a> {
    newcomers: &'a Newcomers,
    /// The hour of these places, by its beginning.
    hour: Option<Instant>,
    count: usize,
}

impl Default for Newcomers {
    fn default() -> Newcomers {
        Newcomers::new(MAILDIRS_AN_HOUR)
    }
}

impl Newcomers {
    /// `most` places in an hour.
    pub fn new(most: usize) -> Newcomers {
        Newcomers { most, hour: Mutex::default() }
    }

    pub(super) fn places(&self) -> NewPlaces<'_> {
        NewPlaces { newcomers: self, hour: None, count: 0 }
    }

    fn hour(&self) -> MutexGuard<'_, Option<(Instant, usize)>> {
        locked(&self.hour)
    }
}

impl NewPlaces<'_> {
    /// One more; false when there is none left in this hour.
    pub fn take(&mut self, now: Instant) -> bool {
        let mut hour = self.newcomers.hour();
        let is_over = |since: Instant| now.saturating_duration_since(since) >= HOUR;
        if hour.is_none_or(|(since, _)| is_over(since)) {
            *hour = Some((now, 0));
        }
        let Some((since, taken)) = &mut *hour else { return false };
        if *taken >= self.newcomers.most {
            return false;
        }
        *taken += 1;
        // Places of an hour that is over are not given back.
        if self.hour.replace(*since) != Some(*since) {
            self.count = 0;
        }
        self.count += 1;
        true
    }

    /// Their Maildirs are made.
    pub fn spend(&mut self) {
        self.count = 0;
    }

    /// No message follows.
    pub fn give_back(&mut self) {
        // Most sessions have none, and need no lock.
        let count = std::mem::take(&mut self.count);
        if count == 0 {
            return;
        }
        if let Some((since, taken)) = &mut *self.newcomers.hour()
            && self.hour == Some(*since)
        {
            *taken = taken.saturating_sub(count);
        }
    }
}

impl Drop for NewPlaces<'_> {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_in_an_hour() {
        let (newcomers, now) = (Newcomers::new(3), Instant::now());
        let (mut one, mut other) = (newcomers.places(), newcomers.places());
        assert!(one.take(now) && one.take(now) && other.take(now) && !other.take(now));
        // No message came of two of them.
        one.give_back();
        assert!(other.take(now) && other.take(now) && !one.take(now));
        other.spend();
        drop(other);
        assert!(!one.take(now + HOUR - Duration::from_secs(1)));
        assert!(one.take(now + HOUR));
    }

    #[test]
    fn places_of_an_hour_that_is_over_do_not_come_back() {
        let (newcomers, now) = (Newcomers::new(2), Instant::now());
        let (mut old, mut new) = (newcomers.places(), newcomers.places());
        assert!(old.take(now) && old.take(now));
        assert!(new.take(now + HOUR) && new.take(now + HOUR));
        old.give_back();
        assert!(!new.take(now + HOUR));
    }
}
