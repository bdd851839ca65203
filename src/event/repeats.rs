//! Limits lines that could come again and again: the first ones within [`REPEATS_WHILE`] are logged, the
//! others counted, and the next line after that says how many were left out. So a client that causes a line
//! by connecting cannot fill the log's disk.

use crate::limits::{REPEATS_KNOWN, REPEATS_TOLD, REPEATS_WHILE};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The count of lines of one kind.
#[derive(Debug, Default)]
pub struct Repeats(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    /// When the current span of time began.
    since: Option<Instant>,
    told: u64,
    /// Lines that were left out in this span.
    left_out: u64,
    /// Lines that were left out in earlier spans, and not reported yet.
    unsaid: u64,
}

/// What to do with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepeatedLine {
    /// Log it, and that this many were left out before, if any.
    Tell(u64),
    LeaveOut,
}

impl Repeats {
    /// Decides about one more of these lines.
    pub fn next(&self, now: Instant, most: u64) -> RepeatedLine {
        locked(&self.0).next(now, most)
    }

    /// How many lines were left out in spans that are over; reported once, then 0.
    pub fn unsaid(&self, now: Instant) -> u64 {
        let mut counted = locked(&self.0);
        counted.begin(now);
        std::mem::take(&mut counted.unsaid)
    }
}

impl Counted {
    fn begin(&mut self, now: Instant) {
        let is_over = |since| now.saturating_duration_since(since) >= REPEATS_WHILE;
        if self.since.is_none_or(is_over) {
            self.unsaid += std::mem::take(&mut self.left_out);
            (self.since, self.told) = (Some(now), 0);
        }
    }

    fn next(&mut self, now: Instant, most: u64) -> RepeatedLine {
        self.begin(now);
        if self.told >= most {
            self.left_out += 1;
            return RepeatedLine::LeaveOut;
        }
        self.told += 1;
        RepeatedLine::Tell(std::mem::take(&mut self.unsaid))
    }
}

/// The last warnings of this process, by their text.
static WARNINGS: Mutex<VecDeque<(String, Counted)>> = Mutex::new(VecDeque::new());

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Decides about a warning of that text.
pub(super) fn warning(text: &str, now: Instant) -> RepeatedLine {
    let mut all = locked(&WARNINGS);
    let place = all.iter().position(|(known, _)| known == text);
    let known = place.and_then(|place| all.remove(place));
    let (text, mut counted) = known.unwrap_or_else(|| (text.to_owned(), Counted::default()));
    let turn = counted.next(now, REPEATS_TOLD);
    all.push_back((text, counted));
    if all.len() > REPEATS_KNOWN {
        all.pop_front();
    }
    turn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_while_are_told_and_the_others_counted() {
        let (repeats, start) = (Repeats::default(), Instant::now());
        let at = |whiles: u32| start + REPEATS_WHILE * whiles;
        assert_eq!(
            [(); 4].map(|()| repeats.next(start, 2)),
            [
                RepeatedLine::Tell(0),
                RepeatedLine::Tell(0),
                RepeatedLine::LeaveOut,
                RepeatedLine::LeaveOut
            ]
        );
        assert_eq!(repeats.unsaid(start), 0, "it is not over");
        assert_eq!(
            [repeats.next(at(1), 2), repeats.next(at(1), 2)],
            [RepeatedLine::Tell(2), RepeatedLine::Tell(0)]
        );
        assert_eq!(repeats.next(at(1), 2), RepeatedLine::LeaveOut);
        assert_eq!([repeats.unsaid(at(3)), repeats.unsaid(at(3))], [1, 0]);
    }

    #[test]
    fn each_warning_is_counted_by_its_own_words() {
        let now = Instant::now();
        for _ in 0..REPEATS_TOLD {
            assert_eq!(warning("of the test of repeats", now), RepeatedLine::Tell(0));
        }
        assert_eq!(warning("of the test of repeats", now), RepeatedLine::LeaveOut);
        assert_eq!(warning("another of the test of repeats", now), RepeatedLine::Tell(0));
        assert_eq!(warning("of the test of repeats", now + REPEATS_WHILE), RepeatedLine::Tell(1));
    }
}
