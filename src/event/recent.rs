//! The last deliveries and refusals of this process, for the page that people look at.
//!
//! Kept only once somebody may ask, and no more than [`RECENT_MAX`]; the trace has all of them.

use super::Event;
use crate::limits::RECENT_MAX;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

static IS_ON: AtomicBool = AtomicBool::new(false);
static LAST: Mutex<VecDeque<(Timestamp, String)>> = Mutex::new(VecDeque::new());

/// From now on they are kept.
pub fn start() {
    IS_ON.store(true, Relaxed);
}

/// Whether they are kept.
pub(super) fn is_on() -> bool {
    IS_ON.load(Relaxed)
}

/// Each with its time, the last one first; the text is that of the log.
pub fn last() -> Vec<(Timestamp, String)> {
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    last.iter().rev().cloned().collect()
}

/// Whether an event is to be kept here.
pub(super) fn is_kept(event: &Event<'_>) -> bool {
    let is_fate = matches!(
        event,
        Event::Rejected { .. }
            | Event::Delivered { .. }
            | Event::Relayed { .. }
            | Event::Deferred { .. }
            | Event::Bounced { .. }
            | Event::Expired { .. }
            | Event::Failed { .. }
    );
    is_fate && is_on()
}

pub(super) fn keep(when: Timestamp, text: &str) {
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.len() >= RECENT_MAX {
        last.pop_front();
    }
    last.push_back((when, text.to_owned()));
}
