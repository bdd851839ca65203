//! When a recipient that waits is due. Computed from the journal, never stored: who changes
//! `relay.retry` changes what waits already.

use crate::config::Relay;
use crate::store::entry::{Entry, Progress};
use jiff::Timestamp;
use std::hash::Hasher;
use std::time::Duration;

/// Before every other time: due at once, whatever backs off.
pub const AT_ONCE: Timestamp = Timestamp::MIN;

/// When the next attempt for this recipient is due; [`AT_ONCE`] when somebody asked for it. Never
/// later than the time it expires.
pub fn next(entry: &Entry, progress: &Progress, relay: &Relay) -> Timestamp {
    if progress.is_asked {
        return AT_ONCE;
    }
    let expires = expires(entry, relay);
    match (&progress.held, &progress.last) {
        (Some((until, _)), _) => (*until).min(expires),
        (None, Some(line)) => {
            let due = later(line.when, wait(&relay.retry, progress.attempts, &entry.id));
            // One that should have ended, and could not, must not be tried again and again.
            if line.when < expires { due.min(expires) } else { due }
        }
        (None, None) => entry.queued,
    }
}

/// From then on it is not tried again, and goes back to its sender.
pub fn expires(entry: &Entry, relay: &Relay) -> Timestamp {
    later(entry.queued, relay.expire)
}

/// The wait after so many failed attempts: the last one of the list repeats, and each is up to a tenth
/// longer, so that what failed together does not come again together. The same `name` waits the same
/// time, whoever computes it.
pub fn wait(retry: &[Duration], attempts: usize, name: &str) -> Duration {
    let index = attempts.saturating_sub(1).min(retry.len().saturating_sub(1));
    let wait = retry.get(index).copied().unwrap_or_default();
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(name.as_bytes());
    hasher.write_usize(attempts);
    // 0 to 1023 parts of 10,240.
    wait + wait / 10_240 * (hasher.finish() % 1024) as u32
}

/// A moment so much later; the end of time when there is none.
pub fn later(when: Timestamp, wait: Duration) -> Timestamp {
    when.checked_add(wait).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_along_the_list_and_by_a_tenth_at_most() {
        let list = [300, 900, 1800].map(Duration::from_secs);
        for (attempts, seconds) in [(0, 300), (1, 300), (2, 900), (3, 1800), (4, 1800), (99, 1800)]
        {
            let least = Duration::from_secs(seconds);
            for name in ["m1", "m2", "far.test"] {
                let wait = wait(&list, attempts, name);
                assert!(wait >= least && wait <= least + least / 10, "{attempts}: {wait:?}");
                assert_eq!(wait, super::wait(&list, attempts, name));
            }
        }
        let names = (0..100).map(|n| wait(&list, 1, &format!("m{n}")));
        assert!(names.collect::<std::collections::HashSet<_>>().len() > 50);
    }
}
