//! How often a postmaster hears that reports of ours failed. A forged sender, or a host that refuses
//! reports, makes many fail at once, and each says the same: the first is told at once, then one in an
//! [`REPORTS_WAIT`], with how many failed between the two. The log has them all.

use crate::limits::REPORTS_WAIT;
use crate::store::locked;
use std::sync::Mutex;
use std::time::Instant;

/// Shared by all workers. Its lock is held to count.
#[derive(Default)]
pub struct Reports(Mutex<ReportsTold>);

#[derive(Default)]
struct ReportsTold {
    /// When one was told last.
    told: Option<Instant>,
    /// Reports that failed since and were not told.
    untold: u64,
}

impl Reports {
    /// One more has failed. To be told: how many were not, since the last that was.
    pub fn failed(&self, now: Instant) -> Option<u64> {
        let mut state = locked(&self.0);
        if state.told.is_some_and(|when| now.saturating_duration_since(when) < REPORTS_WAIT) {
            state.untold += 1;
            return None;
        }
        state.told = Some(now);
        Some(std::mem::take(&mut state.untold))
    }

    /// It could not be told after all, with this many others: the next one is.
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
