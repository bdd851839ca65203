//! How long a client may take: for its next command, for a message at all, and how slow that may come.
//!
//! Each block of a message renews the deadline, so a client that drips one octet after the other would hold
//! its session for ever; the pace is what ends that.

use crate::config::Timeout;
use crate::limits::{PACE_OCTETS, PACE_WINDOW};
use std::time::{Duration, Instant};

/// The time of one session.
pub(super) struct Clock {
    least: Rate,
    /// When the next command has to be whole, or the next block of a message has to come.
    deadline: Instant,
    /// When the last command was answered.
    answered_at: Instant,
    /// When the session began, or its last message had come whole.
    brought_at: Instant,
    /// Of the message under way, from its first octet on; between two chunks as well.
    pace: Option<Pace>,
}

impl Clock {
    pub fn new(least: Rate, timeout: &Timeout) -> Clock {
        let now = Instant::now();
        let deadline = now + timeout.command;
        Clock { least, deadline, answered_at: now, brought_at: now, pace: None }
    }

    /// A command was answered. The next one's time is counted from here: what we needed is not the
    /// client's.
    pub fn answered(&mut self, timeout: &Timeout) {
        self.answered_at = Instant::now();
        self.deadline = self.answered_at + timeout.command;
    }

    /// Since when the client has been waited for.
    pub fn answered_at(&self) -> Instant {
        self.answered_at
    }

    /// A message has come whole.
    pub fn brought(&mut self) {
        self.brought_at = Instant::now();
    }

    /// When the next octets have to come. `is_bounded`: a session that brings no message ends as well.
    pub fn deadline(&self, timeout: &Timeout, is_bounded: bool) -> Instant {
        match is_bounded {
            true => self.deadline.min(self.brought_at + timeout.session),
            false => self.deadline,
        }
    }

    /// Octets of a message came.
    pub fn came(&mut self, octets: usize) {
        let pace = || Pace::new(self.least, Instant::now());
        self.pace.get_or_insert_with(pace).add(octets);
    }

    /// All that came was dealt with: renews the deadline inside a message; true when that comes too slowly.
    pub fn ends_slow(&mut self, timeout: &Timeout, in_data: bool, in_message: bool) -> bool {
        if in_data {
            self.deadline = Instant::now() + timeout.data;
        }
        if !in_message {
            self.pace = None;
        }
        self.pace.as_mut().is_some_and(|pace| pace.ends_slow(Instant::now()))
    }
}

/// The slowest pace that is borne.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// In each window, by DATA or BDAT.
    pub octets: u64,
    pub window: Duration,
}

impl Default for Rate {
    fn default() -> Rate {
        Rate { octets: PACE_OCTETS, window: PACE_WINDOW }
    }
}

/// How a message comes in.
struct Pace {
    least: Rate,
    /// When the current window began, and what came in it.
    since: Instant,
    octets: u64,
}

impl Pace {
    fn new(least: Rate, now: Instant) -> Pace {
        Pace { least, since: now, octets: 0 }
    }

    fn add(&mut self, octets: usize) {
        self.octets += octets as u64;
    }

    /// Ends a window whose time is over; true when it has brought less than it must. The next one begins
    /// where something came, so one that was quiet for long is longer, and not many.
    fn ends_slow(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) < self.least.window {
            return false;
        }
        let octets = std::mem::take(&mut self.octets);
        self.since = now;
        octets < self.least.octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When a client that sends so many octets at first, and then so many each so many seconds, is ended,
    /// within the hour.
    fn ended(first: usize, octets: usize, each: u64) -> Option<u64> {
        let start = Instant::now();
        let mut pace = Pace::new(Rate::default(), start);
        pace.add(first);
        (0..3600).step_by(each as usize).find(|second| {
            pace.add(octets);
            pace.ends_slow(start + Duration::from_secs(*second))
        })
    }

    #[test]
    fn a_kibibyte_a_minute_over_five_minutes() {
        assert_eq!((ended(0, 1, 1), ended(0, 17, 1)), (Some(300), Some(300)));
        assert_eq!(ended(0, 1000, 60), Some(600));
        // A first block that is large enough is worth five minutes, and no more.
        assert_eq!((ended(5119, 0, 1), ended(5120, 0, 1)), (Some(300), Some(600)));
        assert_eq!((ended(0, 18, 1), ended(0, 1024, 60)), (None, None));
    }
}
