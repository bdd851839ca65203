//! How often a postmaster hears that notices of ours failed. A forged sender, or a host that refuses
//! notices, makes many fail at once, all for the same reason: the first failure is told at once, then one
//! in each [`REPORTS_WAIT`], with the number that failed in between. The log has them all.

use crate::limits::REPORTS_WAIT;
use crate::store::locked;
use std::sync::Mutex;
use std::time::Instant;

/// Shared by all workers. Its lock is held only to count.
#[derive(Default)]
pub struct Reports(Mutex<ReportsTold>);

#[derive(Default)]
struct ReportsTold {
    /// When a failure was told last.
    told: Option<Instant>,
    /// How many failed since and were not told.
    untold: u64,
}

impl Reports {
    /// Counts a failure. Some when it is to be told, with how many were not told since the last that was.
    pub fn failed(&self, now: Instant) -> Option<u64> {
        let mut state = locked(&self.0);
        if state.told.is_some_and(|when| now.saturating_duration_since(when) < REPORTS_WAIT) {
            state.untold += 1;
            return None;
        }
        state.told = Some(now);
        Some(std::mem::take(&mut state.untold))
    }

    /// The failure could not be told after all, with these others: the next one will be.
    pub fn missed(&self, others: u64) {
        let mut state = locked(&self.0);
        state.told = None;
        state.untold += others;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_first_and_then_one_an_hour_with_a_count() {
        let (reports, now) = (Reports::default(), Instant::now());
        assert_eq!(reports.failed(now), Some(0));
        assert!((0..59).all(|_| reports.failed(now).is_none()));
        let later = now + REPORTS_WAIT;
        assert_eq!(reports.failed(later - Duration::from_secs(1)), None);
        assert_eq!(reports.failed(later), Some(60));
        assert_eq!(reports.failed(later), None);
        reports.missed(60);
        assert_eq!(reports.failed(later), Some(61));
    }
}
