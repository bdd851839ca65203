//! `facteur queue show`: a message that waits, and what became of it so far.

use super::{due_in, failed, open, why_not};
use crate::config::Relay;
use crate::retry;
use crate::store::entry::{Entry, JournalLine, What};
use crate::store::queue::{QueuedMessage, part_of};
use crate::tools::listing::{CopyError, copy};
use crate::tools::terminal::{Screen, escape};
use crate::tools::{Failure, Request, printed};
use jiff::Timestamp;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

/// Prints the header of the queue file with the state of each recipient below its line, every attempt, an
/// empty line, then the octets of the message. The octets are escaped on a terminal, all before them
/// always.
pub fn show(request: &Request, id: &str) -> Result<(), Failure> {
    let (config, queue) = open(request)?;
    // Opened first, so that a message that is sent in this moment is shown whole or not at all.
    let read = queue.open(id).and_then(|file| Ok((file, queue.read(id)?)));
    let (file, message) = read.map_err(|error| failed(why_not(&queue, id, error)))?;
    let mut stdout = io::stdout().lock();
    let text = envelope(&message, &config.relay, Timestamp::now()) + &attempts(&message) + "\n";
    printed(stdout.write_all(text.as_bytes()))?;
    let Entry { message_at, size, .. } = message.entry;
    let part = message_at..message_at + size;
    // A file or a pipe gets the octets as they are; only a terminal could be steered.
    let copied = match stdout.is_terminal() {
        true => {
            let mut screen = Screen::new(&mut stdout);
            let copied = copy(&*file, part, &mut screen);
            copied.and_then(|()| screen.finish().map_err(CopyError::Write))
        }
        false => copy(&*file, part, &mut stdout),
    };
    let path = queue.dir().join(id);
    let verified = part_of(&message.entry, &*file, &path).verify();
    match copied {
        Ok(()) if let Err(error) = verified => Err(failed(format!("{id}: damaged: {error}"))),
        Err(CopyError::Read(error)) => Err(failed(format!("{id}: cannot be read: {error}"))),
        Err(CopyError::Write(error)) => printed(Err(error)),
        Ok(()) => printed(stdout.flush()),
    }
}

/// The header as the file has it, without its version line.
fn envelope(message: &QueuedMessage, relay: &Relay, now: Timestamp) -> String {
    let header = message.entry.header();
    let (mut text, mut recipient) = (String::new(), 0);
    for line in header.lines().skip(1).filter(|line| !line.is_empty()) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", escape(line));
        if line.starts_with("to: ") {
            let _ = writeln!(text, "    {}", escape(&state(message, recipient, relay, now)));
            recipient += 1;
        }
    }
    text
}

/// What became of a recipient so far, and what comes next.
pub fn state(message: &QueuedMessage, recipient: usize, relay: &Relay, now: Timestamp) -> String {
    let progress = &message.progress[recipient];
    if let Some(last) = progress.last.as_ref().filter(|_| progress.is_done()) {
        return format!("{} at {:.3}", last.what, last.when);
    }
    if let Some(quarantine) = message.quarantine() {
        return format!("{quarantine}; `facteur queue retry {}` lets it go", message.entry.id);
    }
    let mut text = match progress.attempts {
        0 => "not attempted yet".to_owned(),
        1 => "deferred once".to_owned(),
        attempts => format!("deferred {attempts} times"),
    };
    if progress.is_announced {
        text.push_str(", its sender was told that it is late");
    }
    let next = retry::next(&message.entry, progress, relay, now);
    let _ = write!(text, "; next attempt {}", due_in(next, now));
    if let Some((_, why)) = &progress.held {
        let _ = write!(text, ", held back: {}", why.replace('\n', " / "));
    }
    text
}

/// The journal, oldest line first.
fn attempts(message: &QueuedMessage) -> String {
    let mut text = String::new();
    for JournalLine { when, recipient, what, host, words } in &message.journal {
        let to = &message.entry.recipients[*recipient].mailbox;
        let host = match (what, host.as_str()) {
            (_, "" | "-") => String::new(),
            // This line has a time in place of a host.
            (What::Held, until) => format!(" until {until}"),
            (_, host) => format!(" {host}"),
        };
        let _ = writeln!(text, "{}", escape(&format!("{when:.3} {to} {what}{host}")));
        // A reply of several lines is shown as it came.
        for line in words.lines() {
            let _ = writeln!(text, "    {}", escape(line));
        }
    }
    text
}
