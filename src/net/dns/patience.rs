//! How long a thread waits for one answer, where that is less than its servers may take.
//!
//! A question goes through hickory, which hands nothing on beside it; but the whole exchange happens in one
//! poll of the thread that waits ([`super::driver`]), so its patience stands beside that thread. Who waits
//! for the exchange of another thread waits as long as that one does.

use std::cell::Cell;
use std::time::{Duration, Instant};

thread_local! {
    static UNTIL: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// While one is there, the thread waits no longer than this.
pub struct DnsPatience(Option<Instant>);

impl DnsPatience {
    pub fn of(time: Duration) -> DnsPatience {
        DnsPatience(UNTIL.replace(Instant::now().checked_add(time)))
    }

    /// What is left of this time, and whether that is all of it.
    pub fn left_of(time: Duration) -> (Duration, bool) {
        let left = UNTIL.get().map(|until| until.saturating_duration_since(Instant::now()));
        match left {
            Some(left) if left < time => (left, false),
            _ => (time, true),
        }
    }
}

impl Drop for DnsPatience {
    fn drop(&mut self) {
        UNTIL.set(self.0);
    }
}
