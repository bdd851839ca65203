//! What a header section says about a message's way: how often it was received, where it was
//! delivered, by what Message-ID it goes, and where older Return-Path fields lie (RFC 5321 §4.4, §6.3).
//! Pure.
//!
//! Reads a message with LF line ends as it comes, in any pieces, and keeps a bounded summary; the
//! octets themselves are never changed or refused, however broken the header.

use crate::limits::{CUTS_MAX, DELIVERED_TO_MAX, FIELD_VALUE_MAX};
use std::ops::Range;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Received fields.
    pub received: usize,
    /// Values of the Delivered-To fields, trimmed, in ASCII lower case.
    pub delivered_to: Vec<String>,
    /// Where Return-Path fields lie, in octets from the start of the message: final delivery leaves
    /// them out (RFC 5321 §4.4).
    pub return_paths: Vec<Range<u64>>,
    /// The value of the first Message-ID, trimmed.
    pub message_id: Option<String>,
    /// The message begins with white space: put under a field it would become a part of that.
    pub begins_folded: bool,
}

/// Reads the header as it comes.
#[derive(Debug, Default)]
pub struct Scanner {
    summary: Summary,
    /// Octets seen so far.
    offset: u64,
    /// Where the current line began.
    line_start: u64,
    /// Beginning of the current line.
    line: Vec<u8>,
    field: Field,
    done: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Field {
    #[default]
    Other,
    ReturnPath,
    DeliveredTo,
    MessageId,
}

impl Scanner {
    /// Takes the next octets of the message.
    pub fn feed(&mut self, mut octets: &[u8]) {
        while !self.done && !octets.is_empty() {
            let end = memchr::memchr(b'\n', octets).map(|at| at + 1);
            let (piece, rest) = octets.split_at(end.unwrap_or(octets.len()));
            let room = FIELD_VALUE_MAX.saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            self.offset += piece.len() as u64;
            if end.is_some() {
                self.line_ended();
            }
            octets = rest;
        }
    }

    /// Whether the header has ended, so that more octets would show nothing new.
    pub fn is_over(&self) -> bool {
        self.done
    }

    /// What is known of the Message-ID so far.
    pub fn message_id(&self) -> Option<&str> {
        self.summary.message_id.as_deref()
    }

    /// The message is over.
    pub fn finish(mut self) -> Summary {
        if !self.done && !self.line.is_empty() {
            self.line_ended();
        }
        self.summary
    }

    fn line_ended(&mut self) {
        let line = std::mem::take(&mut self.line);
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        match text.first() {
            // A folded line is more of the same field; on top it is more of nothing.
            Some(b' ' | b'\t') if self.line_start > 0 => {}
            _ => match name(text) {
                Some(name) => self.begin(name),
                // "From " of an mbox on top is no field and does not end the header.
                None if self.line_start == 0 && is_mbox_from(text) => self.field = Field::Other,
                None => {
                    self.done = true;
                    let first = self.line_start == 0;
                    self.summary.begins_folded = first && text.starts_with(b" ");
                    self.summary.begins_folded |= first && text.starts_with(b"\t");
                }
            },
        }
        if !self.done {
            self.note(text);
        }
        self.line = line;
        self.line.clear();
        self.line_start = self.offset;
    }

    fn begin(&mut self, name: &[u8]) {
        self.field = Field::Other;
        if name.eq_ignore_ascii_case(b"Received") {
            self.summary.received += 1;
        } else if name.eq_ignore_ascii_case(b"Return-Path") {
            self.field = Field::ReturnPath;
        } else if name.eq_ignore_ascii_case(b"Message-ID") {
            if self.summary.message_id.is_none() {
                self.field = Field::MessageId;
                self.summary.message_id = Some(String::new());
            }
        } else if name.eq_ignore_ascii_case(b"Delivered-To") {
            self.field = Field::DeliveredTo;
            if self.summary.delivered_to.len() < DELIVERED_TO_MAX {
                self.summary.delivered_to.push(String::new());
            } else {
                self.field = Field::Other;
            }
        }
    }

    /// Adds a line to the field it belongs to.
    fn note(&mut self, text: &[u8]) {
        match self.field {
            Field::Other => {}
            Field::ReturnPath => self.cut(self.line_start..self.offset),
            Field::DeliveredTo => {
                let words = words(text).to_ascii_lowercase();
                if let Some(value) = self.summary.delivered_to.last_mut() {
                    push(value, &words);
                }
            }
            Field::MessageId => {
                if let Some(value) = &mut self.summary.message_id {
                    push(value, &words(text));
                }
            }
        }
    }

    fn cut(&mut self, lines: Range<u64>) {
        let cuts = &mut self.summary.return_paths;
        let full = cuts.len() >= CUTS_MAX;
        match cuts.last_mut() {
            Some(last) if last.end == lines.start => last.end = lines.end,
            // Past the bound, which only a hostile header reaches, the rest stays where it is.
            _ if full => {}
            _ => cuts.push(lines),
        }
    }
}

/// What a line of a field adds to its value.
fn words(line: &[u8]) -> String {
    let folded = matches!(line.first(), Some(b' ' | b'\t'));
    let from = if folded { 0 } else { memchr::memchr(b':', line).map_or(0, |at| at + 1) };
    String::from_utf8_lossy(&line[from..]).trim().to_owned()
}

fn push(value: &mut String, words: &str) {
    if value.len() + words.len() <= FIELD_VALUE_MAX {
        value.push_str(words);
    }
}

/// The field name when the line begins a header field: printable, no space but before the colon
/// (RFC 5322 §2.2, §4.5).
fn name(line: &[u8]) -> Option<&[u8]> {
    let colon = match memchr::memchr(b':', line) {
        Some(colon) => colon,
        // So long that the colon was not kept: a field of no interest, but a field.
        None if line.len() >= FIELD_VALUE_MAX && line.iter().all(|b| (33..=126).contains(b)) => {
            line.len()
        }
        None => return None,
    };
    let name = line[..colon].trim_ascii_end();
    let good = !name.is_empty() && name.iter().all(|b| (33..=126).contains(b));
    good.then_some(name)
}

/// Whether a line is the one that begins a message in an mbox; only where it is no field.
pub fn is_mbox_from(line: &[u8]) -> bool {
    line.starts_with(b"From ") || line.starts_with(b">From ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str, step: usize) -> Summary {
        let mut scanner = Scanner::default();
        text.as_bytes().chunks(step).for_each(|piece| scanner.feed(piece));
        scanner.finish()
    }

    fn at_any_split(text: &str) -> Summary {
        let whole = scan(text, text.len().max(1));
        (1..text.len()).for_each(|step| assert_eq!(scan(text, step), whole, "step {step}"));
        whole
    }

    #[test]
    fn counts_and_finds() {
        let text = "Received: a\n\tb\nRETURN-path : <x@y>\n z\nreceived: c\nReceivedX: no\n\
                    Delivered-To:\n  Ann@MX.test \n\nReceived: body\nDelivered-To: body\n";
        let found = at_any_split(text);
        assert_eq!((found.received, found.delivered_to), (2, vec!["ann@mx.test".to_owned()]));
        let cut = &found.return_paths[0];
        let cut = &text[cut.start as usize..cut.end as usize];
        assert_eq!(cut, "RETURN-path : <x@y>\n z\n");
    }

    #[test]
    fn the_first_message_id_folded_or_not() {
        for (text, expected) in [
            ("Message-ID: <a@b>\nMessage-ID: <c@d>\n", Some("<a@b>")),
            ("message-id:\n\t<a@b> \nTo: x\n <no>\n", Some("<a@b>")),
            ("Message-Id:\n\n", Some("")),
            ("X: y\n\nMessage-ID: <a@b>\n", None),
        ] {
            assert_eq!(at_any_split(text).message_id.as_deref(), expected, "{text:?}");
        }
        let long = format!("Message-ID: <{}>\n", "x\n ".repeat(10_000));
        assert!(scan(&long, 100).message_id.unwrap().len() <= FIELD_VALUE_MAX);
    }

    #[test]
    fn neighbours_are_one_cut() {
        let found = at_any_split("Return-Path: a\nReturn-Path: b\nX: y\nReturn-Path: c");
        assert_eq!(found.return_paths, [0..30, 35..49]);
    }

    #[test]
    fn where_a_header_ends() {
        for (text, received) in [
            ("no header\nReceived: x\n", 0),
            ("\nReceived: x\n", 0),
            ("From ann Mon\nReceived: x\n", 1),
            ("X: y\nFrom ann Mon\nReceived: x\n", 0),
            ("X: y\nno field\nReceived: x\n", 0),
            ("", 0),
            ("Received: x", 1),
            (" folded\nReceived: x\n", 0),
        ] {
            let found = at_any_split(text);
            assert_eq!(found.received, received, "{text:?}");
            assert_eq!(found.begins_folded, text.starts_with(' '));
        }
    }

    #[test]
    fn hostile_headers_stay_bounded() {
        let long = format!("{}: y\nReceived: x\n", "n".repeat(100_000));
        assert_eq!(scan(&long, 1000).received, 1);
        let many = "Return-Path: a\nX: b\nDelivered-To: c\n".repeat(10_000);
        let found = scan(&many, 4096);
        assert!(
            found.return_paths.len() == CUTS_MAX && found.delivered_to.len() == DELIVERED_TO_MAX
        );
    }
}
