//! What the scheduler and one worker tell each other while it works: that the server stops, and whether
//! the worker can be left behind then.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Shared by one worker and the scheduler. All accesses are SeqCst: of a worker that commits and a
/// scheduler that stops, one always sees the other.
#[derive(Default)]
pub struct Guard {
    stopping: AtomicBool,
    committed: AtomicBool,
}

impl Guard {
    /// Lets the worker commit to nothing more; what it has committed to has to be waited for.
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

    /// Marks that the worker is about to do what should not be cut off; false when the server stops.
    pub fn commit(&self) -> bool {
        self.committed.store(true, SeqCst);
        !self.stopping.load(SeqCst)
    }

    /// The job was reported.
    pub fn end(&self) {
        self.committed.store(false, SeqCst);
    }
}
