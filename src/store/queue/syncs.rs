//! The syncs of threads that share one open file. The kernel reports a write error once for each open file, to
//! the thread that syncs first: that thread has to tell the others.

use crate::store::locked;
use std::sync::{Condvar, Mutex, PoisonError};

/// All threads that write to one open file and sync it.
#[derive(Default)]
pub(super) struct Syncs {
    state: Mutex<SyncState>,
    changed: Condvar,
}

#[derive(Default)]
struct SyncState {
    /// Between [`Syncs::begin`] and [`Syncs::end`].
    running: usize,
    failed: u64,
}

/// The writing of one thread, begun before its first octet.
pub(super) struct Begun {
    failed: u64,
}

impl Syncs {
    /// To be called before anything is written.
    pub fn begin(&self) -> Begun {
        let mut state = locked(&self.state);
        state.running += 1;
        Begun { failed: state.failed }
    }

    /// To be called after the sync; `is_good`: it succeeded. Waits until no other thread is between begin and end,
    /// or one has failed; gives whether all that was written since `begun` is durable.
    pub fn end(&self, begun: &Begun, is_good: bool) -> bool {
        let mut state = locked(&self.state);
        state.running -= 1;
        state.failed += u64::from(!is_good);
        self.changed.notify_all();
        while state.running > 0 && state.failed == begun.failed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.failed == begun.failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn an_error_that_one_thread_was_told_counts_for_all_that_wrote_before_it() {
        let syncs = Syncs::default();
        let (one, other) = (syncs.begin(), syncs.begin());
        thread::scope(|scope| {
            let other = scope.spawn(|| syncs.end(&other, true));
            assert!(!syncs.end(&one, false));
            assert!(!other.join().unwrap(), "the kernel told it nothing");
        });
        let later = syncs.begin();
        assert!(syncs.end(&later, true), "what is written anew is synced anew");
    }
}
