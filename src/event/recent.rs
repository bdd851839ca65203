//! The last deliveries and refusals of this process, for the page for people.
//!
//! Kept only where `listen.metrics` is served, and no more than [`RECENT_MAX`]; the trace has all of them.

use super::Event;
use super::line::{push_value, values};
use crate::limits::{RECENT_FROM_MAX, RECENT_MAX};
use jiff::Timestamp;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

static IS_ON: AtomicBool = AtomicBool::new(false);
static LAST: Mutex<VecDeque<(Timestamp, String)>> = Mutex::new(VecDeque::new());
/// Ids of messages with their senders, the newest last: later events of a message do not name the sender.
static FROM: Mutex<VecDeque<(String, String)>> = Mutex::new(VecDeque::new());

/// Begins to keep them.
pub fn start() {
    IS_ON.store(true, Relaxed);
}

/// Whether they are kept.
pub(super) fn is_on() -> bool {
    IS_ON.load(Relaxed)
}

/// The lines of the log with their times, the last one first.
pub fn last() -> Vec<(Timestamp, String)> {
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    last.iter().rev().cloned().collect()
}

/// Whether an event is to be kept here.
pub(super) fn is_kept(event: &Event<'_>) -> bool {
    let is_fate = matches!(
        event,
        Event::Rejected { .. }
            | Event::Unsent { .. }
            | Event::Delivered { .. }
            | Event::Relayed { .. }
            | Event::Deferred { .. }
            | Event::Bounced { .. }
            | Event::Expired { .. }
            | Event::Failed { .. }
    );
    is_fate && is_on()
}

/// Remembers the sender of a message.
pub(super) fn follow(event: &Event<'_>) {
    if !is_on() {
        return;
    }
    let (id, from) = match event {
        Event::Accepted { id, from, .. } | Event::Submitted { id, from, .. } => (*id, *from),
        Event::Noticed { notice, .. } => (*notice, ""),
        _ => return,
    };
    let from = if from.is_empty() { "<>" } else { from };
    let mut known = FROM.lock().unwrap_or_else(PoisonError::into_inner);
    if known.len() >= RECENT_FROM_MAX {
        known.pop_front();
    }
    known.push_back((id.to_owned(), from.to_owned()));
}

/// The line with the sender of its message, where that is remembered.
fn with_from(text: &str) -> String {
    let mut line = text.to_owned();
    let id = values(text).into_iter().find(|(key, _)| *key == "id").map(|(_, id)| id);
    let known = FROM.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, from)) = known.iter().rev().find(|(own, _)| Some(own) == id.as_ref()) {
        line.push_str(" from=");
        push_value(&mut line, from);
    }
    line
}

pub(super) fn keep(when: Timestamp, text: &str) {
    let text = with_from(text);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.len() >= RECENT_MAX {
        last.pop_front();
    }
    last.push_back((when, text));
}
