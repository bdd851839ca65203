//! How many bounces are taken at our SRS addresses: every recipient of one message from an alias knows such an
//! address, and could send anything to the original sender until the address is too old.
//!
//! In a day the first [`BOUNCES_A_DAY`] are taken, for all senders together, and beyond these one for each
//! sender. A place is taken at RCPT, where it can be refused, and given back when no message follows.
//! The day is the one that began with its first bounce; a restart begins another.

use crate::limits::{BOUNCED_MAX, BOUNCES_A_DAY};
use crate::mail::address::Mailbox;
use crate::store::locked;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Shared by all sessions. Its lock is held to count.
pub struct WayBack {
    most: usize,
    most_senders: usize,
    /// Addresses are kept by their hashes, with keys that nobody knows.
    hasher: RandomState,
    day: Mutex<Option<Day>>,
}

struct Day {
    began: Instant,
    taken: usize,
    senders: HashSet<u64>,
}

/// The place of one bounce; it goes back when this is dropped.
pub(super) struct BouncePlace<'a> {
    way: &'a WayBack,
    began: Instant,
    /// The hash of its sender, when it is that one's first.
    first_of: Option<u64>,
}

impl Default for WayBack {
    fn default() -> WayBack {
        WayBack::new(BOUNCES_A_DAY, BOUNCED_MAX)
    }
}

impl WayBack {
    /// `most` bounces in a day, and beyond these one for each of `most_senders`.
    pub fn new(most: usize, most_senders: usize) -> WayBack {
        let (hasher, day) = (RandomState::new(), Mutex::default());
        WayBack { most, most_senders, hasher, day }
    }

    /// A place for one more bounce to this sender; none when there is none left in this day.
    pub(super) fn take(&self, to: &Mailbox, now: Instant) -> Option<BouncePlace<'_>> {
        let sender = self.hasher.hash_one(to.to_string().to_ascii_lowercase());
        let mut day = locked(&self.day);
        let is_over = |day: &Day| now.saturating_duration_since(day.began) >= DAY;
        if day.as_ref().is_none_or(is_over) {
            *day = Some(Day { began: now, taken: 0, senders: HashSet::new() });
        }
        let Day { began, taken, senders } = day.as_mut()?;
        let is_first = !senders.contains(&sender);
        if is_first && senders.len() >= self.most_senders || !is_first && *taken >= self.most {
            return None;
        }
        senders.insert(sender);
        *taken += 1;
        Some(BouncePlace { way: self, began: *began, first_of: is_first.then_some(sender) })
    }
}

impl BouncePlace<'_> {
    /// The bounce was taken.
    pub fn spend(self) {
        std::mem::forget(self);
    }
}

impl Drop for BouncePlace<'_> {
    fn drop(&mut self) {
        // Places of a day that is over are not given back.
        if let Some(day) = &mut *locked(&self.way.day)
            && day.began == self.began
        {
            day.taken = day.taken.saturating_sub(1);
            if let Some(sender) = self.first_of {
                day.senders.remove(&sender);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(name: &str) -> Mailbox {
        Mailbox::parse(&format!("{name}@far.test")).unwrap()
    }

    #[test]
    fn a_second_after_the_first_hundred_is_refused() {
        let (way, now) = (WayBack::new(3, 5), Instant::now());
        let take =
            |name: &str, now| way.take(&mailbox(name), now).map(BouncePlace::spend).is_some();
        assert!(take("ann", now) && take("Ann", now) && take("bob", now));
        // From here on each sender has one.
        assert!(!take("ann", now) && !take("BOB", now));
        assert!(take("eve", now) && !take("eve", now));
        // No more senders are known than this.
        assert!(take("fred", now) && take("gil", now) && !take("hal", now));
        let next = now + DAY;
        assert!(!take("ann", next - Duration::from_secs(1)) && take("ann", next));
    }

    #[test]
    fn what_no_message_follows_does_not_count() {
        let (way, now) = (WayBack::new(1, 5), Instant::now());
        drop(way.take(&mailbox("ann"), now));
        let place = way.take(&mailbox("ann"), now).unwrap();
        assert!(way.take(&mailbox("ann"), now).is_none());
        // The day of the place is over when it goes back.
        let next = now + DAY;
        way.take(&mailbox("ann"), next).unwrap().spend();
        drop(place);
        assert!(way.take(&mailbox("ann"), next).is_none());
    }
}
