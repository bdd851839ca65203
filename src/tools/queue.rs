//! `facteur queue`: lists and shows what waits to be sent, retries and removes it.
//!
//! Works on the disk, under the same claims as the server, whether one runs or not. A running server gets a
//! hint afterwards; a lost hint only delays. Makes no spool where there is none, and leaves nothing behind.

mod list;
mod mailq;
mod rights;
mod show;
mod tls_report;
mod why;

pub use list::list;
pub use mailq::mailq;
pub use show::{show, state};
pub use tls_report::tls_report;
pub use why::why;

use super::terminal::escape;
use super::{Failure, Request, complain, config, print, site};
use crate::config::Config;
use crate::id::is_id;
use crate::net::control::{self, ControlHint};
use crate::notices;
use crate::outcome::RecipientOutcome;
use crate::privileges;
use crate::retry;
use crate::site::Site;
use crate::store::disk::RealDisk;
use crate::store::entry::{JournalLine, What};
use crate::store::queue::{Claimed, Queue, QueueError};
use jiff::{SignedDuration, Timestamp};
use nix::unistd::geteuid;
use std::sync::Arc;
use std::time::Duration;

/// Asks for an attempt at once: a journal line for each open recipient, then a hint. A message that is
/// being sent needs none. With `--all`, a message that leaves meanwhile is no failure, and what filters hold
/// stays: only who names such a message lets it go.
pub fn retry(request: &Request, ids: &[&str]) -> Result<(), Failure> {
    let (config, queue) = open(request)?;
    let listed = if request.all { listed(&queue)? } else { Vec::new() };
    let named = ids.iter().map(|id| (*id, true));
    let ids = named.chain(listed.iter().map(|id| (id.as_str(), false)));
    let (mut asked, mut busy, mut all_done) = (Vec::new(), Vec::new(), true);
    let mut held = Vec::new();
    for (id, is_named) in ids {
        match ask(&queue, id, is_named) {
            Ok(false) => held.push(id),
            Ok(true) => match rights::missing(&config, &queue, id) {
                None => asked.push(id),
                Some(missing) => {
                    all_done = false;
                    complain(&format!("{id}: {missing}"));
                }
            },
            Err(QueueError::Busy) => busy.push(id),
            Err(QueueError::Gone) if request.all && is_id(id) => {}
            Err(error) => {
                all_done = false;
                complain(&why_not(&queue, id, error));
            }
        }
    }
    // After the claims are given back, because a server would find a claimed message busy.
    let then = match hint(&config, &asked) {
        Ok(true) => "will be attempted now",
        Ok(false) => "will be attempted when the server starts",
        Err(error) => {
            all_done = false;
            complain(&format!("cannot tell the server: {error}"));
            "will be attempted when the server looks at it next"
        }
    };
    let told = asked.iter().map(|id| (id, then));
    let told = told.chain(busy.iter().map(|id| (id, "is being sent at this moment")));
    let told = told.chain(held.iter().map(|id| (id, "is held by a filter, and stays so")));
    print(&told.map(|(id, what)| format!("{}: {what}\n", escape(id))).collect::<String>())?;
    if all_done { Ok(()) } else { Err(Failure::Told) }
}

/// Takes on the server's user, where root calls.
fn become_server(config: &Config) -> Result<(), Failure> {
    if let Some(name) = config.run_as.as_deref().filter(|_| geteuid().is_root()) {
        let user = privileges::find(name)?;
        privileges::become_user(Some(&user))?;
    }
    Ok(())
}

/// Takes messages out of the queue, with `--bounce` after a notice to their senders. A failure with one
/// does not stop the others.
pub fn remove(request: &Request, ids: &[&str]) -> Result<(), Failure> {
    let (config, queue) = open(request)?;
    // The server could not read a notice that is root's.
    if request.bounce {
        become_server(&config)?;
    }
    let site = if request.bounce { Some(site(request)?) } else { None };
    let (mut removed, mut notices, mut all_done) = (Vec::new(), Vec::new(), true);
    for id in ids {
        match remove_one(&queue, id, site.as_ref()) {
            Ok(new) => {
                removed.push(*id);
                notices.extend(new);
            }
            Err(why) => {
                all_done = false;
                complain(&why);
            }
        }
    }
    // Synced before they are reported: then no power cut can bring them back.
    queue.sync_removals().map_err(failed)?;
    let changed: Vec<&str> =
        removed.iter().copied().chain(notices.iter().map(String::as_str)).collect();
    if let Err(error) = hint(&config, &changed) {
        // The server finds that they are gone when it wants to send them.
        complain(&format!("cannot tell the server: {error}"));
    }
    let what = if request.bounce { "returned to its sender" } else { "removed" };
    print(&removed.iter().map(|id| format!("{}: {what}\n", escape(id))).collect::<String>())?;
    if all_done { Ok(()) } else { Err(Failure::Told) }
}

/// Journals that a message is to be attempted at once; false where a filter holds it and `is_named` does not let
/// it go.
fn ask(queue: &Queue, id: &str, is_named: bool) -> Result<bool, QueueError> {
    let claimed = queue.claim_briefly(id)?;
    let message = &claimed.message;
    let line = |what| {
        let (host, words) = ("-".to_owned(), "by facteur queue retry".to_owned());
        move |recipient| JournalLine {
            when: Timestamp::now(),
            recipient,
            what,
            host: host.clone(),
            words: words.clone(),
        }
    };
    if message.quarantine().is_some() {
        // Durably: what was let go must not be found held again.
        let lines = message.open().map(line(What::Released)).collect();
        return match is_named {
            true => claimed.record_results(lines).map(|_| true).map_err(QueueError::Disk),
            false => Ok(false),
        };
    }
    // Recipients that were asked for already get no second line.
    let open = message.open().filter(|&recipient| !message.progress[recipient].is_asked);
    let lines: Vec<JournalLine> = open.map(line(What::Asked)).collect();
    match lines.is_empty() {
        true => Ok(true),
        false => claimed.note(&lines).map(|()| true).map_err(QueueError::Disk),
    }
}

/// Removes one message, with a site after a notice; returns the ids of the notices. The error is a whole
/// line.
fn remove_one(queue: &Queue, id: &str, with_notice: Option<&Site>) -> Result<Vec<String>, String> {
    let claimed = queue.claim_briefly(id).map_err(|error| why_not(queue, id, error))?;
    let notices = match with_notice {
        Some(site) => bounce(queue, site, &claimed).map_err(|why| format!("{id}: {why}"))?,
        None => Vec::new(),
    };
    claimed.remove().map_err(|error| format!("{id}: {error}"))?;
    Ok(notices)
}

/// Puts notices about all open recipients of a message into the queue, durably; returns their ids. On a
/// failure there are none, and the message has to stay.
fn bounce(queue: &Queue, site: &Site, claimed: &Claimed) -> Result<Vec<String>, String> {
    let returned = |index: &usize| {
        // Other or undefined status (RFC 3463 §3.1): an administrator wants this, no other status fits.
        RecipientOutcome::own(
            *index,
            What::Failed,
            "5.0.0",
            "returned by the administrator of this host",
        )
    };
    let outcomes: Vec<RecipientOutcome> = claimed.open().iter().map(returned).collect();
    let context =
        notices::NoticeContext { site, disk: &RealDisk, queue, reports: None, seen: None };
    let sent = notices::send(&context, claimed, &outcomes);
    let notices = sent.notices.into_iter().map(|notice| notice.id);
    match sent.untold.first() {
        None => Ok(notices.collect()),
        Some((_, error)) => {
            // The notices that were written are removed: the message stays, so they would be sent twice.
            for written in notices.filter_map(|id| queue.claim_briefly(&id).ok()) {
                let _ = written.remove();
            }
            Err(format!("{error}; the message stays"))
        }
    }
}

/// The queue of the configured spool, which need not exist.
fn open(request: &Request) -> Result<(Config, Queue), Failure> {
    let config = config(request)?;
    let queue = Queue::new(Arc::new(RealDisk), &config.spool);
    Ok((config, queue))
}

/// All names in the queue, including strange ones, which have to be reported.
fn listed(queue: &Queue) -> Result<Vec<String>, Failure> {
    let (ids, strangers) = queue.names().map_err(failed)?;
    let strangers = strangers.into_iter().map(|name| name.to_string_lossy().into_owned());
    Ok(ids.into_iter().chain(strangers).collect())
}

/// Tells a running server which messages to look at; false when none runs.
fn hint(config: &Config, ids: &[&str]) -> std::io::Result<bool> {
    let hints: Vec<ControlHint> =
        ids.iter().map(|id| ControlHint::Look((*id).to_owned())).collect();
    control::send(&config.spool, &hints)
}

/// Why nothing was done about a message, and what can be: a whole line, not escaped yet.
fn why_not(queue: &Queue, id: &str, error: QueueError) -> String {
    match error {
        QueueError::Busy => format!("{id}: is being sent at this moment, try again"),
        QueueError::Gone => match queue.aside(id) {
            Some(path) => {
                format!("{id}: was no whole queue file and was put aside as {}", path.display())
            }
            None if is_id(id) => format!("{id}: {error}"),
            // Such a file may exist all the same.
            None => format!("{id}: {error}: an id is letters and digits"),
        },
        // The server moves it, and says so in its log.
        QueueError::Damaged(_) => format!("{id}: {error}; a server puts it aside in spool/damaged"),
        QueueError::Disk(_) => format!("{id}: {error}"),
    }
}

fn failed(error: impl ToString) -> Failure {
    Failure::Failed(escape(&error.to_string()).into_owned())
}

/// A span of time for people, by its two largest units: 45s, 12m, 3h05m, 2d4h.
fn span(from: Timestamp, to: Timestamp) -> String {
    // Not negative after the clock was set back.
    let passed = to.duration_since(from).max(SignedDuration::ZERO).as_secs();
    retry::span(Duration::from_secs(passed.unsigned_abs()))
}

/// When the next attempt is due, for people: "now", "in 12m".
fn due_in(next: Timestamp, now: Timestamp) -> String {
    match next <= now {
        true => "now".to_owned(),
        false => format!("in {}", span(now, next)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_by_two_units() {
        let now: Timestamp = "2026-11-23T14:00:00Z".parse().unwrap();
        for (seconds, told) in [
            (-5, "0s"),
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3599, "59m"),
            (3600, "1h00m"),
            (11_100, "3h05m"),
            (86_399, "23h59m"),
            (86_400, "1d0h"),
            (187_200, "2d4h"),
        ] {
            assert_eq!(span(now, now + SignedDuration::from_secs(seconds)), told, "{seconds}");
        }
        assert_eq!(due_in(now, now), "now");
        assert_eq!(due_in(crate::retry::AT_ONCE, now), "now");
        assert_eq!(due_in(now + SignedDuration::from_mins(12), now), "in 12m");
    }
}
