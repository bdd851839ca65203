//! `facteur queue list`: a line for each message that waits.
//!
//! Claims nothing, so it never delays the server, and shows messages that are being sent too.

use super::{due_in, listed, open, span, why_not};
use crate::config::Relay;
use crate::id::is_id;
use crate::limits::{QUEUE_READERS, QUOTED_MAX};
use crate::retry;
use crate::store::entry::{Quarantine, What};
use crate::store::queue::{Queue, QueueError, QueuedMessage};
use crate::tools::listing::{BLOCK, ListingColumns, json_lines, shown};
use crate::tools::{Failure, Request, complain, printed};
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::thread::{self, Scope, ScopedJoinHandle};

/// Lists the queue, oldest first. A damaged queue file is named on stderr, and the command fails at its
/// end.
pub fn list(request: &Request) -> Result<(), Failure> {
    let (config, queue) = open(request)?;
    let ids = listed(&queue)?;
    let (now, mut out) = (Timestamp::now(), io::stdout().lock());
    // Names of columns only on a terminal, because scripts count lines.
    let (mut table, mut all_read) = (QueueTable::new(out.is_terminal()), true);
    let read = |id: &String| read_row(&queue, &config.relay, id, now);
    let written = thread::scope(|scope| {
        let mut blocks = ids.chunks(BLOCK).map(|block| begin(scope, block, &read)).peekable();
        while let Some(block) = blocks.next() {
            // Begins to read the next block while this one is written.
            blocks.peek();
            let mut rows = Vec::with_capacity(BLOCK);
            for row in join(block) {
                match row {
                    Ok(row) => rows.push(row),
                    Err(why) => {
                        all_read = false;
                        complain(&why);
                    }
                }
            }
            let lines = match request.json {
                true => json_lines(&rows)?,
                false => table.lines(&rows),
            };
            out.write_all(lines.as_bytes())?;
        }
        out.flush()
    });
    printed(written)?;
    if all_read { Ok(()) } else { Err(Failure::Told) }
}

/// One message of the listing; its fields and their order are those of the contract.
#[derive(Serialize)]
struct QueueRow {
    id: String,
    #[serde(serialize_with = "rfc3339")]
    queued: Timestamp,
    /// Octets of the message, with LF line ends.
    size: u64,
    /// The earliest attempt at a recipient, not before now; none when no recipient is left, or the message is held.
    #[serde(serialize_with = "rfc3339_or_null")]
    next: Option<Timestamp>,
    /// The reverse-path without brackets; `<>` when it is null.
    sender: String,
    /// Recipients that are left, without brackets.
    recipients: Vec<String>,
    /// The last error, with the line ends of a reply; empty before the first attempt.
    error: String,
    /// The name of the filter that holds it.
    held: Option<String>,
    #[serde(skip)]
    now: Timestamp,
}

impl QueueRow {
    fn new(message: &QueuedMessage, relay: &Relay, now: Timestamp) -> QueueRow {
        let QueuedMessage { entry, progress, .. } = message;
        let quarantine = message.quarantine();
        let next =
            message.open().map(|index| retry::next(entry, &progress[index], relay, now)).min();
        let recipients = message.open().map(|index| entry.recipients[index].mailbox.to_string());
        QueueRow {
            id: entry.id.clone(),
            queued: entry.queued,
            size: entry.size,
            next: next.map(|next| next.max(now)).filter(|_| quarantine.is_none()),
            sender: entry.sender.from.to_string(),
            recipients: recipients.collect(),
            error: quarantine.map_or_else(|| last_error(message), Quarantine::to_string),
            held: quarantine.map(|quarantine| quarantine.filter.clone()),
            now,
        }
    }
}

/// Why the message waits, by the newest journal line about a recipient that is left.
fn last_error(message: &QueuedMessage) -> String {
    // Other lines do not say what went wrong.
    let says_why = |what| matches!(what, What::Deferred | What::Held);
    let newest_first = message.journal.iter().rev().filter(|line| says_why(line.what));
    let open = newest_first.map(|line| &message.progress[line.recipient]);
    let mut errors = open.filter(|progress| !progress.is_done()).map(|progress| progress.error());
    errors.find(|error| !error.is_empty()).unwrap_or_default()
}

/// The row of one message, or why it cannot be read; none where it has left the queue.
type RowRead = Option<Result<QueueRow, String>>;

/// A part of a block: a thread that reads it, or its rows where no thread could be started.
type BlockPart<'a> = Result<ScopedJoinHandle<'a, Vec<RowRead>>, Vec<RowRead>>;

/// Begins to read a block.
fn begin<'a>(
    scope: &'a Scope<'a, '_>,
    ids: &'a [String],
    read: &'a (impl Fn(&String) -> RowRead + Sync),
) -> Vec<BlockPart<'a>> {
    let spawn = |part: &'a [String]| {
        let thread = thread::Builder::new().name("list".to_owned());
        let all = move || part.iter().map(read).collect();
        // Without a thread it is read here, which is only slower.
        thread.spawn_scoped(scope, all).map_err(|_| all())
    };
    ids.chunks(ids.len().div_ceil(QUEUE_READERS).max(1)).map(spawn).collect()
}

/// The rows of a block, in their order.
fn join(block: Vec<BlockPart<'_>>) -> impl Iterator<Item = Result<QueueRow, String>> {
    let join = |part: BlockPart<'_>| match part.map(ScopedJoinHandle::join) {
        Ok(Ok(rows)) | Err(rows) => rows,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
    };
    block.into_iter().flat_map(join).flatten()
}

/// Reads one message; none when it was sent since the directory was read.
fn read_row(queue: &Queue, relay: &Relay, id: &str, now: Timestamp) -> RowRead {
    match queue.read(id) {
        Ok(message) => Some(Ok(QueueRow::new(&message, relay, now))),
        Err(QueueError::Gone) if is_id(id) => None,
        Err(error) => Some(Err(why_not(queue, id, error))),
    }
}

/// The listing for people.
struct QueueTable {
    columns: ListingColumns<6>,
    /// Whether the names of the columns are still to be written.
    is_headed: bool,
}

/// Names of the columns; the error stands last.
const NAMES: [&str; 6] = ["ID", "AGE", "SIZE", "NEXT", "SENDER", "RECIPIENTS"];

/// Largest widths, see [`ListingColumns`].
const WIDTHS: [usize; 6] = [20, 8, 12, 10, 40, 60];

impl QueueTable {
    /// `is_headed`: the names of the columns stand above the first line.
    fn new(is_headed: bool) -> QueueTable {
        QueueTable { columns: ListingColumns::new(WIDTHS), is_headed }
    }

    /// A line a row: id, age, size, next attempt, sender, recipients left, last error.
    fn lines(&mut self, rows: &[QueueRow]) -> String {
        let is_headed = !rows.is_empty() && std::mem::take(&mut self.is_headed);
        let names = is_headed.then(|| (NAMES.map(str::to_owned), "ERROR".to_owned()));
        let rows = rows.iter().map(|row| (columns(row), error(row)));
        self.columns.lines(&names.into_iter().chain(rows).collect::<Vec<_>>())
    }
}

/// All columns except the last, escaped.
fn columns(row: &QueueRow) -> [String; 6] {
    let next = match (&row.held, row.next) {
        (Some(_), _) => "held".to_owned(),
        (None, None) => "-".to_owned(),
        (None, Some(next)) => due_in(next, row.now),
    };
    let recipients = shown(&few(&row.recipients));
    let age = span(row.queued, row.now);
    [row.id.clone(), age, row.size.to_string(), next, shown(&row.sender), recipients]
}

/// The error on one line, escaped.
fn error(row: &QueueRow) -> String {
    shown(&row.error.replace('\n', " / "))
}

/// As many recipients as a line has room for, at least one, and how many more there are.
fn few(recipients: &[String]) -> String {
    let mut text = recipients.first().cloned().unwrap_or_default();
    for (index, recipient) in recipients.iter().enumerate().skip(1) {
        // With room for " and 1000 more": a cut must not hide how many there are.
        if text.len() + recipient.len() > QUOTED_MAX - 20 {
            let _ = write!(text, " and {} more", recipients.len() - index);
            break;
        }
        let _ = write!(text, ",{recipient}");
    }
    text
}

/// A time to the millisecond, as in the queue file.
fn rfc3339<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.3}"))
}

fn rfc3339_or_null<S: Serializer>(time: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => rfc3339(time, to),
        None => to.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_names_once() {
        let row = || QueueRow {
            id: "m1".to_owned(),
            queued: Timestamp::UNIX_EPOCH,
            size: 12,
            next: None,
            sender: "<>".to_owned(),
            recipients: vec!["bob@far.test".to_owned()],
            error: String::new(),
            held: None,
            now: Timestamp::UNIX_EPOCH,
        };
        let mut table = QueueTable::new(true);
        assert_eq!(table.lines(&[]), "");
        let lines = table.lines(&[row()]);
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(
            lines[0].split_whitespace().collect::<Vec<_>>().join(" "),
            "ID AGE SIZE NEXT SENDER RECIPIENTS ERROR"
        );
        assert_eq!(lines[0].find("SENDER"), lines[1].find("<>"));
        assert_eq!(table.lines(&[row()]).lines().count(), 1);
        assert_eq!(QueueTable::new(false).lines(&[row()]).lines().count(), 1);
    }
}
