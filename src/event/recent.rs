//! The last deliveries and refusals of this process, for the page that people look at.
//!
//! Kept only once somebody may ask, and no more than [`RECENT_MAX`]; the trace has all of them.

use super::Event;
use super::line::{push_value, values};
use crate::limits::{RECENT_FROM_MAX, RECENT_MAX};
use jiff::Timestamp;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

static IS_ON: AtomicBool = AtomicBool::new(false);
static LAST: Mutex<VecDeque<(Timestamp, String)>> = Mutex::new(VecDeque::new());
/// Ids of messages, the newest last, with whom they are from: what becomes of them later does not say it.
static FROM: Mutex<VecDeque<(String, String)>> = Mutex::new(VecDeque::new());

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

/// Remembers whom a message is from.
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

/// The same line with whom its message is from, where that is remembered.
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
