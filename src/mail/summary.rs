//! What a header says about a message's way: how often it was received, where it was delivered, its
//! Message-ID, where older Return-Path fields lie (RFC 5321 §4.4, §6.3), and whether it need go by TLS (RFC 8689
//! §3). Pure.
//!
//! A [`MessageListener`] of [`super::header`], which decides what a field is; a summary is bounded.

use super::envelope::TlsWish;
use super::header::{EndedBy, MessageEvent, MessageListener, Reader};
use super::trace_fields::JUNK_MARK;
use crate::limits::{CUTS_MAX, DELIVERED_TO_MAX, FIELD_VALUE_MAX, JUNK_MARKS_MAX};
use std::ops::Range;

/// What the header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many Received fields there are.
    pub received: usize,
    /// Values of the Delivered-To fields, trimmed, in ASCII lower case.
    pub delivered_to: Vec<String>,
    /// Where Return-Path fields lie, in octets from the start of the message: final delivery leaves
    /// them out (RFC 5321 §4.4).
    pub return_paths: Vec<Range<u64>>,
    /// Where fields lie that are our mark of junk for a server that keeps the mail ([`JUNK_MARK`]): others' are
    /// left out.
    pub junk_marks: Vec<Range<u64>>,
    /// The value of the first Message-ID, trimmed.
    pub message_id: Option<String>,
    /// What its field TLS-Required says.
    pub tls: TlsRequired,
    /// The message begins with white space: below a field of ours it would become a part of that field.
    pub begins_folded: bool,
}

/// What the fields TLS-Required of a header say together: only one may stand there, and all it may say is `No`
/// (RFC 8689 §3). Anything else says nothing, because it would lower what the recipient's domain asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsRequired {
    /// There is none yet.
    #[default]
    Absent,
    /// White space up to now.
    Begun,
    /// `N` up to now.
    Half,
    No,
    /// Another word, no word, or a second field.
    Nothing,
}

impl TlsRequired {
    pub fn wish(self) -> TlsWish {
        match self {
            TlsRequired::No => TlsWish::NotRequired,
            TlsRequired::Absent | TlsRequired::Begun | TlsRequired::Half | TlsRequired::Nothing => {
                TlsWish::Usual
            }
        }
    }

    fn begin(self) -> TlsRequired {
        match self {
            TlsRequired::Absent => TlsRequired::Begun,
            _ => TlsRequired::Nothing,
        }
    }

    fn read(self, octet: u8) -> TlsRequired {
        use TlsRequired::{Begun, Half, No, Nothing};
        match (self, octet) {
            (Begun | No, b' ' | b'\t' | b'\r' | b'\n') => self,
            (Begun, b'N' | b'n') => Half,
            (Half, b'O' | b'o') => No,
            _ => Nothing,
        }
    }
}

/// Makes a summary while the header comes.
#[derive(Debug, Default)]
pub struct Summarizer {
    pub summary: Summary,
    /// What kind of field is at hand.
    field: Known,
    /// Where that field begins.
    at: u64,
    /// The beginning of its current line.
    line: Vec<u8>,
}

/// Fields that count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Known {
    #[default]
    Other,
    ReturnPath,
    DeliveredTo,
    JunkMark,
    MessageId,
    TlsRequired,
}

impl Summary {
    /// The summary of a message, or of its header, that lies in memory.
    pub fn of(octets: &[u8]) -> Summary {
        let mut reader = Reader::new(Summarizer::default());
        reader.feed(octets);
        reader.finish().0.summary
    }
}

impl MessageListener for Summarizer {
    fn hear(&mut self, event: MessageEvent<'_>) {
        match event {
            MessageEvent::Field { name, at, .. } => {
                self.at = at;
                self.begin(name);
            }
            MessageEvent::Value(octets)
                if matches!(self.field, Known::DeliveredTo | Known::MessageId) =>
            {
                for piece in octets.split_inclusive(|octet| *octet == b'\n') {
                    let room = FIELD_VALUE_MAX.saturating_sub(self.line.len());
                    self.line.extend_from_slice(&piece[..piece.len().min(room)]);
                    if piece.ends_with(b"\n") {
                        self.line_ended();
                    }
                }
            }
            MessageEvent::Value(octets) if self.field == Known::TlsRequired => {
                let tls = self.summary.tls;
                self.summary.tls = octets.iter().fold(tls, |tls, octet| tls.read(*octet));
            }
            MessageEvent::FieldEnd(at) => {
                self.line_ended();
                let (lines, summary) = (self.at..at, &mut self.summary);
                match std::mem::take(&mut self.field) {
                    Known::ReturnPath => cut(&mut summary.return_paths, lines, CUTS_MAX),
                    Known::JunkMark => cut(&mut summary.junk_marks, lines, JUNK_MARKS_MAX),
                    Known::Other | Known::DeliveredTo | Known::MessageId | Known::TlsRequired => {}
                }
            }
            MessageEvent::End(end) => {
                self.summary.begins_folded = end.by == EndedBy::Fold && end.body_at == 0;
                // Perhaps its last word is cut, or another field stands behind the bound.
                if end.by == EndedBy::Bound {
                    self.summary.tls = TlsRequired::Nothing;
                }
            }
            MessageEvent::Value(_) | MessageEvent::Header(_) | MessageEvent::Body(_) => {}
        }
    }
}

impl Summarizer {
    fn begin(&mut self, name: &[u8]) {
        let Summary { received, delivered_to, message_id, tls, .. } = &mut self.summary;
        if name.eq_ignore_ascii_case(b"Received") {
            *received += 1;
        } else if name.eq_ignore_ascii_case(b"Return-Path") {
            self.field = Known::ReturnPath;
        } else if name.eq_ignore_ascii_case(JUNK_MARK.as_bytes()) {
            self.field = Known::JunkMark;
        } else if name.eq_ignore_ascii_case(b"TLS-Required") {
            self.field = Known::TlsRequired;
            *tls = tls.begin();
        } else if name.eq_ignore_ascii_case(b"Message-ID") && message_id.is_none() {
            self.field = Known::MessageId;
            *message_id = Some(String::new());
        } else if name.eq_ignore_ascii_case(b"Delivered-To")
            && delivered_to.len() < DELIVERED_TO_MAX
        {
            self.field = Known::DeliveredTo;
            delivered_to.push(String::new());
        }
    }

    /// Adds the line to the value of its field.
    fn line_ended(&mut self) {
        let words = String::from_utf8_lossy(&self.line);
        let words = words.trim();
        let value = match self.field {
            Known::DeliveredTo => self.summary.delivered_to.last_mut(),
            Known::MessageId => self.summary.message_id.as_mut(),
            Known::Other | Known::ReturnPath | Known::JunkMark | Known::TlsRequired => None,
        };
        if let Some(value) = value.filter(|value| value.len() + words.len() <= FIELD_VALUE_MAX) {
            value.push_str(words);
            if self.field == Known::DeliveredTo {
                value.make_ascii_lowercase();
            }
        }
        self.line.clear();
    }
}

fn cut(cuts: &mut Vec<Range<u64>>, lines: Range<u64>, most: usize) {
    let is_full = cuts.len() >= most;
    match cuts.last_mut() {
        Some(last) if last.end == lines.start => last.end = lines.end,
        // Only a hostile header passes the bound; its further fields of this name are not cut.
        _ if is_full => {}
        _ => cuts.push(lines),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::HEADER_MAX;

    fn scan(text: &str, step: usize) -> Summary {
        let mut reader = Reader::new(Summarizer::default());
        text.as_bytes().chunks(step).for_each(|piece| reader.feed(piece));
        reader.finish().0.summary
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
    fn only_one_field_with_one_word_lifts_tls() {
        let long = format!("TLS-Required: No{}x\n", " ".repeat(3 * FIELD_VALUE_MAX));
        for (text, is_lifted) in [
            ("TLS-Required: No\n", true),
            ("tls-REQUIRED:no", true),
            ("TLS-Required : nO \t\r\n", true),
            ("TLS-Required:\n\tNo\n", true),
            ("To: x\nTLS-Required: No\nSubject: y\n\nTLS-Required: Yes\n", true),
            ("TLS-Required:\n \n No\n \n\n", true),
            ("TLS-Required: Yes\n", false),
            ("TLS-Required:\n", false),
            ("TLS-Required: N\n", false),
            ("TLS-Required: N\n o\n", false),
            ("TLS-Required: No, really\n", false),
            ("TLS-Required: No (by me)\n", false),
            ("TLS-Required: (by me) No\n", false),
            ("TLS-Required: \"No\"\n", false),
            ("TLS-Required: No\u{a0}\n", false),
            ("TLS-Required: N\u{f6}\n", false),
            ("TLS-Required: \0No\n", false),
            ("TLS-Required: No\nTLS-Required: No\n", false),
            ("TLS-Required: No\nX: y\ntls-required: Yes\n", false),
            ("TLS-Required: Yes\nTLS-Required: No\n", false),
            ("TLS-Required:\nTLS-Required: No\n", false),
            ("X-TLS-Required: No\nTLS-Required-X: No\nTLS -Required: No\n", false),
            ("X: y\n\nTLS-Required: No\n", false),
            ("X: y\n TLS-Required: No\n", false),
            ("no field\nTLS-Required: No\n", false),
            (" \nTLS-Required: No\n", false),
            ("", false),
            (&long, false),
        ] {
            let wish = if is_lifted { TlsWish::NotRequired } else { TlsWish::Usual };
            let steps = [1, 2, 3, 7, text.len().max(1)];
            steps.iter().for_each(|step| {
                assert_eq!(scan(text, *step).tls.wish(), wish, "{text:?} at {step}");
            });
        }
        // Of a header that is too long nobody knows what else it says.
        let filler = format!("X: {}\n", "y".repeat(HEADER_MAX));
        for text in [format!("{filler}TLS-Required: No\n"), format!("TLS-Required: No\n{filler}")] {
            assert_eq!(scan(&text, 4096).tls.wish(), TlsWish::Usual);
        }
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
