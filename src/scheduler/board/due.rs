//! When a part of a message is due, in half the octets of a [`Timestamp`], because a hundred thousand may wait.

use jiff::Timestamp;
use std::fmt;

/// Microseconds since the Unix epoch; never before the moment that it is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due(i64);

impl From<Timestamp> for Due {
    fn from(when: Timestamp) -> Due {
        let micros = when.as_microsecond();
        // Up, or a message would be put off once more that is due a moment before its goal may be tried.
        Due(micros + i64::from(Timestamp::from(Due(micros)) < when))
    }
}

impl From<Due> for Timestamp {
    fn from(due: Due) -> Timestamp {
        Timestamp::from_microsecond(due.0).unwrap_or(Timestamp::MAX)
    }
}

impl fmt::Debug for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Timestamp::from(*self), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_never_too_early() {
        let of = |text: &str| -> Timestamp { text.parse().unwrap() };
        for (when, due) in [
            ("2026-11-23T14:00:00Z", "2026-11-23T14:00:00Z"),
            ("2026-11-23T14:00:00.000001Z", "2026-11-23T14:00:00.000001Z"),
            ("2026-11-23T14:00:00.000000001Z", "2026-11-23T14:00:00.000001Z"),
            ("1969-12-31T23:59:59.999999999Z", "1970-01-01T00:00:00Z"),
            ("1969-12-31T23:59:59.000000999Z", "1969-12-31T23:59:59.000001Z"),
        ] {
            assert_eq!(Timestamp::from(Due::from(of(when))), of(due), "{when}");
        }
        for end in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
            assert_eq!(Timestamp::from(Due::from(end)), end);
        }
    }
}
