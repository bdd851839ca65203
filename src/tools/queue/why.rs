//! `facteur queue why`: why a message waits, and what would release it.
//!
//! Asks no server: it computes from the queue what a server computes too ([`crate::scheduler::reason`]).
//! The lock of the file tells whether the message is being sent.

use super::{due_in, failed, open, rights, span, why_not};
use crate::net::control;
use crate::scheduler::reason::{WaitReason, Why, why as compute};
use crate::site::Site;
use crate::store::queue::QueuedMessage;
use crate::tools::terminal::escape;
use crate::tools::{Failure, Request, print, site};
use jiff::Timestamp;
use std::fmt::Write as _;

/// Prints the reason, its recipients, what releases it, and when the message goes back to its sender.
pub fn why(request: &Request, id: &str) -> Result<(), Failure> {
    let (config, queue) = open(request)?;
    let gone = |error| failed(why_not(&queue, id, error));
    let waiting = queue.read(id).map_err(gone)?;
    let site = site(request)?;
    let now = Timestamp::now();
    let mut why = compute(&site, &waiting, now, |is_before| {
        // Files that cannot be read do not count.
        let others = queue.list().unwrap_or_default().into_iter();
        others.filter_map(|other| queue.read(&other).ok()).filter(is_before).count()
    });
    let missing = rights::missing(&config, &queue, id);
    if queue.is_claimed(id).map_err(failed)? {
        (why.reason, why.recipients) = (WaitReason::Sending, waiting.open().collect());
    } else if matches!(why.reason, WaitReason::Quarantined(_)) {
        // A server would change nothing.
    } else if !control::send(&config.spool, &[]).map_err(failed)? {
        why.reason = WaitReason::NoServer;
    }
    // The server cannot read the file, so it does not know of the message.
    if let Some(missing) = missing {
        why.recipients = waiting.open().collect();
        why.reason =
            WaitReason::Unreadable { words: missing.to_string(), remedy: missing.remedy() };
    }
    print(&text(&site, &waiting, &why, now))
}

fn text(site: &Site, waiting: &QueuedMessage, why: &Why, now: Timestamp) -> String {
    let (entry, relay) = (&waiting.entry, &site.config.relay);
    let mut text = format!("{}: {}", escape(&entry.id), escape(&why.reason.to_string()));
    text.push('\n');
    for index in &why.recipients {
        let to = entry.recipients[*index].mailbox.to_string();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  for: {}", escape(&to));
    }
    // Only the first reason is shown; others may have their own.
    match waiting.open().count() - why.recipients.len() {
        0 => {}
        others => {
            let _ = writeln!(text, "  {others} more: due later; `facteur queue show` tells them");
        }
    }
    let time = why.reason.until().map(|until| format!("that time, {}; ", due_in(until, now)));
    let release = why.reason.release(&entry.id, relay);
    let _ = writeln!(text, "  released by: {}{release}", time.unwrap_or_default());
    let expires = match why.expires {
        None => "never, as long as it is held".to_owned(),
        Some(when) if when <= now => "at its next attempt, as its time is over".to_owned(),
        Some(when) => format!("in {}, at {when:.0}", span(now, when)),
    };
    let _ = writeln!(text, "  goes back to its sender: {expires}");
    text
}
