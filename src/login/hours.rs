//! How many recipients a user had in the hour that began with the first of them
//! (`limit.recipients_per_hour`): a stolen password sends no more than that. One entry for each user that
//! exists.

use crate::mail::address::Mailbox;
use std::collections::HashMap;
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);

#[derive(Default)]
pub(super) struct Hours(HashMap<Mailbox, (Instant, usize)>);

impl Hours {
    /// Counts a recipient; false, and not counted, when there were `most` in this hour.
    pub fn count_recipient(&mut self, user: &Mailbox, most: usize, now: Instant) -> bool {
        let (since, count) = self.0.entry(user.clone()).or_insert((now, 0));
        if now.saturating_duration_since(*since) >= HOUR {
            (*since, *count) = (now, 0);
        }
        let good = *count < most;
        *count += usize::from(good);
        good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_begins_with_its_first() {
        let (mut hours, now) = (Hours::default(), Instant::now());
        let [ann, bob] = ["ann@mx.test", "bob@mx.test"].map(|user| Mailbox::parse(user).unwrap());
        let later = now + HOUR - Duration::from_secs(1);
        assert!(hours.count_recipient(&ann, 2, now) && hours.count_recipient(&ann, 2, later));
        assert!(!hours.count_recipient(&ann, 2, later) && hours.count_recipient(&bob, 2, later));
        assert!(
            hours.count_recipient(&ann, 2, now + HOUR)
                && hours.count_recipient(&ann, 2, now + HOUR)
        );
        assert!(!hours.count_recipient(&ann, 2, now + HOUR));
    }
}
