//! `facteur trace`: shows what became of messages and sessions.
//!
//! Reads the files that a server writes ([`crate::trace`]), whether one runs or not, and of a message
//! that still waits also its queue file. Changes nothing. All that peers said is escaped.

use super::listing::json_lines;
use super::queue::state;
use super::terminal::escape;
use super::{Failure, Request, complain, config, printed};
use crate::config::{Config, parse_duration, show_duration, show_size};
use crate::id::is_id;
use crate::limits::{FOLLOW_LOOK, STORIES_SINCE};
use crate::store::disk::{Disk, RealDisk, StoreError};
use crate::store::queue::Queue;
use crate::trace::digest::{Digest, digests};
use crate::trace::files::dir;
use crate::trace::follow::Follower;
use crate::trace::line::TraceLine;
use crate::trace::search::{Handle, Search, Stories, Story, find};
use crate::trace::telling::{Columns, Telling, one_line};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use nix::unistd::User;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;
use std::thread;

/// Prints the stories of these handles, oldest first; for an address, which may have many, a line for each
/// message. Fails at the end when one of them is unknown.
pub fn run(request: &Request, handles: &[&str]) -> Result<(), Failure> {
    let now = Timestamp::now();
    let since = request.since.as_deref().map(|text| moment(text, now)).transpose()?;
    let config = config(request)?;
    let dir = dir(&config.spool);
    let own: Vec<Handle> = handles.iter().map(|text| Handle::new(text)).collect();
    let question = Search { handles: &own, since, now };
    let queue = Queue::new(Arc::new(RealDisk), &config.spool);
    let found = find(&RealDisk, &dir, &question);
    let mut found = found.map_err(|error| unreadable(&config, &dir, error))?;
    // A message in the queue may have no story yet.
    for (handle, known) in handles.iter().zip(&mut found.known).filter(|(_, known)| !**known) {
        if is_id(handle) && queue.read(handle).is_ok() {
            *known = true;
            let ids = vec![(*handle).to_owned()];
            found.stories.push(Story { ids, is_whole: true, ..Story::default() });
        }
    }
    // Scripts get all lines in any case.
    let (whole, short): (Vec<&Story>, Vec<&Story>) =
        found.stories.iter().partition(|story| story.is_whole || request.json);
    let mut out = io::stdout().lock();
    let write = || -> io::Result<()> {
        for (index, story) in whole.into_iter().enumerate() {
            let waiting = waiting(&queue, &config, story, now);
            let rows = story.lines.iter().chain(&waiting);
            let text = match request.json {
                true => json_lines(&rows.map(Columns).collect::<Vec<_>>())?,
                false => {
                    let gap = if index > 0 { "\n" } else { "" };
                    format!("{gap}{}", Telling::new(story).tell(rows))
                }
            };
            out.write_all(text.as_bytes())?;
        }
        let text: String = digests(short, &own).iter().map(Digest::line).collect();
        out.write_all(text.as_bytes())?;
        out.flush()
    };
    printed(write())?;
    tell_missing(&config, handles, &found)
}

/// Prints new lines of the trace, until the reader goes away.
pub fn follow(request: &Request) -> Result<(), Failure> {
    let config = config(request)?;
    let dir = dir(&config.spool);
    let failed = |error| unreadable(&config, &dir, error);
    let mut follower = Follower::new(&RealDisk, &dir).map_err(failed)?;
    let mut out = io::stdout().lock();
    loop {
        while let Some(record) = follower.poll().map_err(failed)? {
            let text = match request.json {
                true => json_lines(&[Columns(&record)]).map_err(|error| error.to_string())?,
                false => one_line(&record),
            };
            if !is_read(out.write_all(text.as_bytes()))? {
                return Ok(());
            }
        }
        if !is_read(out.flush())? {
            return Ok(());
        }
        thread::sleep(FOLLOW_LOOK);
    }
}

/// The state of messages that still wait, as lines behind the story.
fn waiting(queue: &Queue, config: &Config, story: &Story, now: Timestamp) -> Vec<TraceLine> {
    let ids = story.ids.iter().filter(|id| is_id(id));
    let messages = ids.filter_map(|id| queue.read(id).ok());
    let mut lines = Vec::new();
    for message in messages {
        // A failure to find out hides nothing else.
        let is_claimed = queue.is_claimed(&message.entry.id).unwrap_or(false);
        for recipient in message.open() {
            let to = message.entry.recipients[recipient].mailbox.to_string();
            let mut what = state(&message, recipient, &config.relay, now);
            if is_claimed {
                what.push_str("; the message is being sent now");
            }
            let values = [("id", message.entry.id.clone()), ("to", to), ("state", what)];
            let values = values.map(|(key, value)| (key.to_owned(), value)).to_vec();
            lines.push(TraceLine {
                when: now,
                event: "waits".to_owned(),
                values,
                text: String::new(),
            });
        }
    }
    lines
}

/// Parses `2d` (back from now), a day, or a moment.
fn moment(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let back = parse_duration(text).and_then(|back| SignedDuration::try_from(back).ok());
    let day = || Some(TimeZone::UTC.to_zoned_datetime(text.parse::<Date>().ok()?.at(0, 0, 0, 0)));
    let day = || day()?.ok().map(|day| day.timestamp());
    let moment = back.and_then(|back| now.checked_sub(back).ok()).or_else(day);
    moment.or_else(|| text.parse().ok()).ok_or_else(|| {
        let text = escape(text);
        Failure::Usage(format!("--since {text}: expected such as 2d, 4h, 2026-11-23 (UTC)"))
    })
}

/// Reports unknown handles, and what to try.
fn tell_missing(config: &Config, handles: &[&str], found: &Stories) -> Result<(), Failure> {
    if found.is_cut {
        complain("there is more than is shown; ask by an id, or narrow it with --since");
    }
    let unknown: Vec<&str> =
        handles.iter().zip(&found.known).filter(|(_, known)| !**known).map(|(it, _)| *it).collect();
    for handle in &unknown {
        complain(&format!("{handle}: no story speaks of it"));
    }
    if unknown.is_empty() {
        return Ok(());
    }
    complain(&format!(
        "try the id of the message (\"queued as ID\") or of the session (\"[ID]\" at the end of a \
         refusal), its Message-ID, an address, or what the next hop called it; an address is looked \
         for in the last {}, --since says how far back; stories are kept for {} (trace.keep) and as \
         long as all have room in {} (trace.size)",
        show_duration(STORIES_SINCE),
        show_duration(config.trace.keep),
        show_size(config.trace.size)
    ));
    Err(Failure::Told)
}

fn unreadable(config: &Config, dir: &Path, error: StoreError) -> Failure {
    let shown = dir.display();
    Failure::Failed(match error.source.kind() {
        ErrorKind::NotFound => format!(
            "there are no stories in {shown} yet: a server that serves from this spool writes them"
        ),
        ErrorKind::PermissionDenied => {
            let owner = RealDisk.stat(dir).ok().and_then(|found| {
                User::from_uid(found.uid.into()).ok().flatten().map(|user| user.name)
            });
            let who = config.run_as.clone().or(owner);
            let who = who.unwrap_or_else(|| "the user that the server runs as".to_owned());
            format!("{shown} is only for {who} and root: run this as one of them")
        }
        _ => escape(&error.to_string()).into_owned(),
    })
}

/// Whether stdout still has a reader, by the result of writing.
fn is_read(written: io::Result<()>) -> Result<bool, Failure> {
    let is_read = !matches!(&written, Err(error) if error.kind() == ErrorKind::BrokenPipe);
    printed(written).map(|()| is_read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_when() {
        let now: Timestamp = "2026-11-23T14:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2d", "2026-11-21T14:00:00Z"),
            ("30m", "2026-11-23T13:30:00Z"),
            ("2026-11-20", "2026-11-20T00:00:00Z"),
            ("2026-11-20T10:00:00Z", "2026-11-20T10:00:00Z"),
        ] {
            assert_eq!(moment(text, now).ok(), expected.parse().ok(), "{text}");
        }
        for text in ["", "yesterday", "2", "99999999999999999d", "2026-13-01"] {
            assert!(matches!(moment(text, now), Err(Failure::Usage(_))), "{text}");
        }
    }
}
