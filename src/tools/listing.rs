//! What `mail` and `queue` share: columns and JSON lines of a listing, and copying a message to the output.
//!
//! A reader that goes away early (`| head`) is no error. Knows nothing of what is listed.

use super::terminal::{escape, width};
use crate::limits::{COPY_CHUNK, QUOTED_MAX};
use crate::mail::visible::is_hidden;
use crate::store::disk::DiskFile;
use crate::store::mailbox::read_at;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write};
use std::ops::Range;

/// How many rows are read before their lines are written: enough to align columns, and a bound for memory.
pub const BLOCK: usize = 512;

/// Which side of a copy failed.
#[derive(Debug)]
pub enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

/// A text from a message or a peer as a column shows it: escaped, cut past [`QUOTED_MAX`]
/// characters, `-` when there is nothing to see.
pub fn shown(text: &str) -> String {
    let whole = escape(text);
    match whole.char_indices().nth(QUOTED_MAX) {
        Some((end, _)) => format!("{}…", &whole[..end]),
        None if whole.trim().is_empty() => "-".to_owned(),
        None => whole.into_owned(),
    }
}

/// Writes a column and at least two spaces behind it. Counts columns of the terminal, not characters.
fn pad(line: &mut String, text: &str, columns: usize) {
    line.push_str(text);
    let spaces = columns.saturating_sub(width(text)) + 2;
    line.extend(std::iter::repeat_n(' ', spaces));
}

/// Widths of the columns of a listing. They only grow, so that lines stay aligned with most of the lines
/// before.
pub struct ListingColumns<const N: usize> {
    widths: [usize; N],
    /// The largest width of each column; a longer text shifts the rest of its line.
    most: [usize; N],
}

impl<const N: usize> ListingColumns<N> {
    pub fn new(most: [usize; N]) -> ListingColumns<N> {
        ListingColumns { widths: [0; N], most }
    }

    /// The same, with a width for the first column from the start.
    pub fn with_first(mut self, width: usize) -> ListingColumns<N> {
        self.widths[0] = width.min(self.most[0]);
        self
    }

    /// A line for each row; its second part stands at the end, whole.
    pub fn lines(&mut self, rows: &[([String; N], String)]) -> String {
        // Widths first, so that all lines of a block are aligned.
        for (columns, _) in rows {
            for (at, column) in columns.iter().enumerate() {
                self.widths[at] = self.widths[at].max(width(column).min(self.most[at]));
            }
        }
        let mut lines = String::new();
        for (columns, last) in rows {
            for (column, width) in columns.iter().zip(self.widths) {
                pad(&mut lines, column, width);
            }
            lines.push_str(last);
            lines.push('\n');
        }
        lines
    }
}

/// One JSON object a line. DEL, C1 and direction marks are escaped too, though JSON need not, because a
/// person may read the output.
pub fn json_lines(rows: &[impl Serialize]) -> io::Result<String> {
    let mut lines = String::new();
    for row in rows {
        for c in serde_json::to_string(row)?.chars() {
            if is_hidden(c) {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(lines, "\\u{unit:04x}");
                }
            } else {
                lines.push(c);
            }
        }
        lines.push('\n');
    }
    Ok(lines)
}

/// Copies a part of a file, as far as it exists, in bounded pieces.
pub fn copy(file: &dyn DiskFile, part: Range<u64>, out: &mut dyn Write) -> Result<(), CopyError> {
    let mut chunk = vec![0; COPY_CHUNK];
    let mut at = part.start;
    while at < part.end {
        let most = (part.end - at).min(COPY_CHUNK as u64) as usize;
        let count = read_at(file, &mut chunk[..most], at).map_err(CopyError::Read)?;
        if count == 0 {
            break;
        }
        match out.write_all(&chunk[..count]) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
            result => result.map_err(CopyError::Write)?,
        }
        at += count as u64;
    }
    Ok(())
}

/// The result of writing, where a reader that went away is no error.
pub fn end(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}
