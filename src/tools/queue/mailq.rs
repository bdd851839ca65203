//! `mailq`: what waits, in the form of Postfix's mailq, which scripts and monitors read.
//!
//! That form is the one for long queue ids (`enable_long_queue_ids`). Claims nothing, as `queue list`.

use super::{listed, open, why_not};
use crate::id::is_id;
use crate::mail::address::ReversePath;
use crate::store::queue::{QueueError, QueuedMessage};
use crate::tools::terminal::escape;
use crate::tools::{Failure, Request, complain, printed};
use jiff::tz::TimeZone;
use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};

/// The column at which a reason ends.
const REASON_END: usize = 76;

/// Lists the queue, oldest first. A damaged queue file is named on stderr, and the command fails at its
/// end.
pub fn mailq(request: &Request) -> Result<(), Failure> {
    let (_, queue) = open(request)?;
    let ids = listed(&queue)?;
    let (mut out, zone) = (BufWriter::new(io::stdout().lock()), TimeZone::system());
    let (mut count, mut size, mut all_read) = (0_usize, 0_u64, true);
    let mut write = || -> io::Result<()> {
        for id in &ids {
            match queue.read(id) {
                Ok(message) => {
                    let before = if count == 0 { heading() } else { "\n".to_owned() };
                    out.write_all((before + &entry(&message, &zone)).as_bytes())?;
                    count += 1;
                    size += message.entry.size;
                }
                // It was sent meanwhile.
                Err(QueueError::Gone) if is_id(id) => {}
                Err(error) => {
                    all_read = false;
                    complain(&why_not(&queue, id, error));
                }
            }
        }
        out.write_all(total(count, size).as_bytes())?;
        out.flush()
    };
    printed(write())?;
    if all_read { Ok(()) } else { Err(Failure::Told) }
}

fn line(id: &str, size: &str, time: &str, address: &str) -> String {
    format!("{id:<17} {size:>8} {time:<19} {address}\n")
}

fn heading() -> String {
    line("----Queue ID-----", "--Size--", "---Arrival Time----", "--Sender/Recipient------")
}

/// One message: its time and sender, then each reason, before the recipients that wait for it.
fn entry(message: &QueuedMessage, zone: &TimeZone) -> String {
    let QueuedMessage { entry, progress, .. } = message;
    let time =
        entry.queued.to_zoned_datetime(zone.clone()).strftime("%a %b %e %H:%M:%S").to_string();
    let sender = match &entry.sender.from {
        ReversePath::Mailbox(mailbox) => mailbox.to_string(),
        ReversePath::Null => "MAILER-DAEMON".to_owned(),
    };
    // As Postfix marks what is on hold.
    let id = match message.quarantine() {
        Some(_) => format!("{}!", entry.id),
        None => entry.id.clone(),
    };
    let mut lines = line(&id, &entry.size.to_string(), &time, &escape(&sender));
    let mut told = String::new();
    for index in message.open() {
        let reason = match message.quarantine() {
            Some(quarantine) => quarantine.to_string(),
            None => progress[index].error().replace('\n', " "),
        };
        if reason != told {
            let shown = if reason.is_empty() { "reason unavailable" } else { &reason };
            let shown = escape(shown);
            let indent = REASON_END.saturating_sub(shown.chars().count());
            // Writing to a String cannot fail.
            let _ = writeln!(lines, "{:indent$}({shown})", "");
            told = reason;
        }
        lines += &line("", "", "", &escape(&entry.recipients[index].mailbox.to_string()));
    }
    lines
}

fn total(count: usize, size: u64) -> String {
    match count {
        0 => "Mail queue is empty\n".to_owned(),
        1 => format!("\n-- {} Kbytes in 1 Request.\n", size / 1024),
        _ => format!("\n-- {} Kbytes in {count} Requests.\n", size / 1024),
    }
}
