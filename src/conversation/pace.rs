//! How fast a message has to come. Each block of it renews the deadline, so a client that drips one
//! octet after the other would hold its session for ever; this is what ends it.

use crate::limits::{PACE_OCTETS, PACE_WINDOW};
use std::time::{Duration, Instant};

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

/// One message that comes in.
pub(super) struct Pace {
    least: Rate,
    /// When the current window began, and what came in it.
    since: Instant,
    octets: u64,
}

impl Pace {
    pub fn new(least: Rate, now: Instant) -> Pace {
        Pace { least, since: now, octets: 0 }
    }

    pub fn add(&mut self, octets: usize) {
        self.octets += octets as u64;
    }

    /// Whether a window is over and has brought less than it must. The next one begins where something
    /// came, so one that was quiet for long is longer, and not many.
    pub fn is_too_slow(&mut self, now: Instant) -> bool {
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
            pace.is_too_slow(start + Duration::from_secs(*second))
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
