//! What the scheduler and one worker tell each other while it works: that the server stops, and whether
//! the worker can be left behind then.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Shared by one worker and the scheduler. Marks and questions are in one order for all (SeqCst), so
/// that either the one sees the mark, or the other the question.
#[derive(Default)]
pub struct Guard {
    stopping: AtomicBool,
    committed: AtomicBool,
}

impl Guard {
    /// From now on nothing is committed any more; what is, is to be waited for.
    pub fn stop(&self) {
        self.stopping.store(true, SeqCst);
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(SeqCst)
    }

    /// Whether the worker does what should not be cut off.
    pub fn is_committed(&self) -> bool {
        self.committed.load(SeqCst)
    }

    /// About to do what should not be cut off; false when it is too late for that.
    pub fn commit(&self) -> bool {
        self.committed.store(true, SeqCst);
        !self.stopping.load(SeqCst)
    }

    /// The job was reported.
    pub fn end(&self) {
        self.committed.store(false, SeqCst);
    }
}
