//! When a recipient that waits is due, and when its time is over. Computed from the journal, never stored: a
//! changed `relay.retry` holds for mail that waits already.

use crate::config::Relay;
use crate::limits::reports::REPORT_TRIED;
use crate::store::entry::{Entry, RecipientProgress};
use jiff::Timestamp;
use std::hash::Hasher;
use std::time::Duration;

/// Before every other time: due at once, even while its next hop is left alone.
pub const AT_ONCE: Timestamp = Timestamp::MIN;

/// When the next attempt for this recipient is due; [`AT_ONCE`] when a retry was asked for. Never later
/// than it expires, nor than the longest wait from `now`: otherwise a journal that was written while the
/// clock was wrong could make it wait for years.
pub fn next(
    entry: &Entry,
    progress: &RecipientProgress,
    relay: &Relay,
    now: Timestamp,
) -> Timestamp {
    if progress.is_asked {
        return AT_ONCE;
    }
    let expires = || expires(entry, progress, relay, now);
    let due = match (&progress.held, &progress.last) {
        (Some((until, _)), _) => (*until).min(expires()),
        (None, Some(line)) => {
            let due = later(line.when, wait(&relay.retry, progress.attempts, &entry.id));
            // A recipient past its time whose end could not be written waits as usual: it must not be tried
            // without a pause.
            match waited(entry, progress, relay, line.when) < patience(entry, relay) {
                true => due.min(expires()),
                false => due,
            }
        }
        (None, None) => entry.queued.min(now),
    };
    due.min(later(now, longest(relay)))
}

/// The longest wait that [`wait`] can give.
fn longest(relay: &Relay) -> Duration {
    let longest = relay.retry.iter().max().copied().unwrap_or_default();
    longest.saturating_add(longest / 10)
}

/// When the time of this recipient is over, as it looks `now`: the first attempt after that is the last
/// one; if it fails, the message goes back to its sender.
pub fn expires(
    entry: &Entry,
    progress: &RecipientProgress,
    relay: &Relay,
    now: Timestamp,
) -> Timestamp {
    let (waited, patience) = (waited(entry, progress, relay, now), patience(entry, relay));
    match patience.checked_sub(waited) {
        Some(left) => later(now, left),
        None => now.checked_sub(waited - patience).unwrap_or(Timestamp::MIN),
    }
}

/// How long a message is tried: `relay.expire`, a report on TLS no longer than it is worth (RFC 8460 §5.5).
pub fn patience(entry: &Entry, relay: &Relay) -> Duration {
    match entry.is_tls_report() {
        true => relay.expire.min(REPORT_TRIED),
        false => relay.expire,
    }
}

/// How long this recipient has waited until `now`. The time between two attempts counts at most twice what
/// `relay.retry` says (contract, "What a reply means"). A clock that was wrong for a moment, or a server
/// that did not run for a week, takes no attempt away from the mail.
pub fn waited(
    entry: &Entry,
    progress: &RecipientProgress,
    relay: &Relay,
    now: Timestamp,
) -> Duration {
    // The time in which a filter held it does not count.
    let begun = progress.released.map_or(entry.queued, |when| when.max(entry.queued));
    let (mut waited, mut since, mut alone) = (progress.folded, begun, Duration::ZERO);
    let mut attempts = 0;
    // The time before the first attempt that is remembered is in `folded` already.
    if let Some(first) = progress.moments.first().filter(|_| !waited.is_zero()) {
        since = first.when;
    }
    let ends = progress.moments.iter().map(|moment| (moment.when, Some(moment)));
    for (when, moment) in ends.chain([(now, None)]) {
        let wait = wait(&relay.retry, attempts, &entry.id).max(alone);
        let passed = Duration::try_from(when.duration_since(since)).unwrap_or_default();
        waited = waited.saturating_add(passed.min(wait.saturating_mul(2)));
        if let Some(moment) = moment {
            (since, attempts, alone) =
                (moment.when, moment.attempts, moment.alone.min(longest(relay)));
        }
    }
    waited
}

/// The wait after this many failed attempts: the last one of the list repeats, and each is up to a tenth
/// longer, so that messages that failed together are not all tried again together. The tenth is computed
/// from `name` and `attempts`, so it is the same each time.
pub fn wait(retry: &[Duration], attempts: usize, name: &str) -> Duration {
    let index = attempts.saturating_sub(1).min(retry.len().saturating_sub(1));
    let wait = retry.get(index).copied().unwrap_or_default();
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(name.as_bytes());
    hasher.write_usize(attempts);
    // 0 to 1023 parts of 10,240.
    wait + wait / 10_240 * (hasher.finish() % 1024) as u32
}

/// The moment `wait` after `when`; the largest timestamp where there is none.
pub fn later(when: Timestamp, wait: Duration) -> Timestamp {
    when.checked_add(wait).unwrap_or(Timestamp::MAX)
}

/// A span of time for people, by its one or two largest units: 45s, 12m, 3h05m, 2d4h.
pub fn span(time: Duration) -> String {
    let seconds = time.saturating_add(Duration::from_millis(500)).as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m"),
        (0, _, _) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::entry::{JournalLine, What};

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

    fn entry() -> (Entry, Relay) {
        let text = "facteur queue 1\nid: m1\nqueued: 2026-11-23T14:00:00Z\nfrom: <a@b.test>\n\
                    to: <c@d.test>\nsize: 1\n";
        let config = "[relay]\nretry = [\"1h\", \"2h\"]\nexpire = \"10h\"\n";
        let config = format!("hostname = \"mx.test\"\n{config}networks = [\"127.0.0.1\"]\n");
        let config = crate::config::Config::parse(&config, std::path::Path::new("/f")).unwrap();
        (Entry::parse(text, 0).unwrap(), config.relay)
    }

    /// A number of minutes after the epoch.
    fn at(minutes: i64) -> Timestamp {
        let start: Timestamp = "2026-11-23T14:00:00Z".parse().unwrap();
        start + jiff::SignedDuration::from_mins(minutes)
    }

    fn progress(lines: &[(i64, Option<i64>)]) -> RecipientProgress {
        let mut progress = RecipientProgress::default();
        for (minutes, held) in lines {
            let (what, host) = match held {
                None => (What::Deferred, "mx".to_owned()),
                Some(until) => (What::Held, at(*until).to_string()),
            };
            let words = "450 later".to_owned();
            progress.apply(&JournalLine { when: at(*minutes), recipient: 0, what, host, words });
        }
        progress
    }

    #[test]
    fn time_counts_where_attempts_were_made() {
        let (entry, relay) = entry();
        let year = 525_960;
        for (lines, now, least, most) in [
            // While attempts come in time, all the time that has passed counts.
            (&[][..], 30, 30, 30),
            (&[(0, None), (65, None)], 200, 200, 200),
            (&[(0, None), (65, None), (190, Some(320))], 400, 400, 400),
            // A week without the server, or a wrong clock, counts as twice the wait with its tenth.
            (&[], 7 * 1440, 120, 132),
            (&[(0, None)], 10 * year, 120, 132),
            (&[(0, None), (65, None)], 10 * year, 65 + 240, 65 + 264),
            (&[(0, None), (10 * year, None)], 60, 120, 132),
            (&[(0, None), (10 * year, None), (61, None)], 120, 120 + 59, 132 + 59),
            // Left alone for long, as its next hop is.
            (&[(0, None), (60, Some(180))], 10 * year, 60 + 240, 60 + 264),
            (&[(0, None), (60, Some(10 * year))], 10 * year, 60 + 240, 60 + 264),
        ] {
            let progress = progress(lines);
            let waited = waited(&entry, &progress, &relay, at(now)).as_secs() / 60;
            assert!((least..=most).contains(&waited), "{lines:?} {now}: {waited}");
            let expires = expires(&entry, &progress, &relay, at(now));
            let left = expires.duration_since(at(now)).as_mins();
            assert!((left + waited as i64 - 600).abs() <= 1, "{lines:?} {now}: {left}");
        }
    }

    #[test]
    fn nothing_waits_for_years() {
        let (entry, relay) = entry();
        let far = 525_960 * 10;
        for lines in [&[(far, None)][..], &[(0, None), (60, Some(far))], &[(far, Some(far + 60))]] {
            let next = next(&entry, &progress(lines), &relay, at(70));
            assert!(next <= at(70 + 132), "{lines:?}: {next}");
        }
        let early = Entry { queued: at(far), ..entry };
        assert_eq!(next(&early, &RecipientProgress::default(), &relay, at(0)), at(0));
    }

    /// However many attempts there are, what they took is not forgotten.
    #[test]
    fn many_attempts_count_as_few() {
        let (entry, relay) = entry();
        let lines: Vec<_> = (0..5000).map(|minutes| (minutes, None)).collect();
        let progress = progress(&lines);
        assert!(progress.moments.len() <= crate::limits::MOMENTS_MAX);
        assert_eq!(waited(&entry, &progress, &relay, at(5000)).as_secs(), 5000 * 60);
    }
}
