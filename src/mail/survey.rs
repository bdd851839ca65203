//! What a next hop has to know about a message, or must be able to take: size and 8 bits. Found while the message
//! comes, and kept in its queue file; found again where an older file does not say it. Pure.

use super::header::{EndedBy, MessageEvent, MessageListener};
use std::fmt;

/// What a message is on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireForm {
    /// Octets with CR LF, without doubled dots: what SIZE counts (RFC 1870 §5).
    pub size: u64,
    /// Header or body has octets over 127.
    pub is_eight_bit: bool,
    /// The header has octets over 127.
    pub has_eight_bit_header: bool,
}

impl WireForm {
    /// The form of the message with these fields on top, which have LF line ends.
    pub fn below(self, fields: &[u8]) -> WireForm {
        let is_eight_bit = !fields.is_ascii();
        WireForm {
            size: self.size + wire_size(fields),
            is_eight_bit: self.is_eight_bit || is_eight_bit,
            has_eight_bit_header: self.has_eight_bit_header || is_eight_bit,
        }
    }

    /// Reads what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<WireForm> {
        let (size, is_eight_bit, has_eight_bit_header) = match text.split_once(' ') {
            None => (text, false, false),
            Some((size, EIGHT_BIT)) => (size, true, false),
            Some((size, EIGHT_BIT_HEADER)) => (size, true, true),
            Some(_) => return None,
        };
        Some(WireForm { size: size.parse().ok()?, is_eight_bit, has_eight_bit_header })
    }
}

const EIGHT_BIT: &str = "8bit";
const EIGHT_BIT_HEADER: &str = "8bit-header";

/// As a queue file says it: `1234`, `1234 8bit`, `1234 8bit-header`.
impl fmt::Display for WireForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WireForm { size, is_eight_bit, has_eight_bit_header } = self;
        match (is_eight_bit, has_eight_bit_header) {
            (_, true) => write!(f, "{size} {EIGHT_BIT_HEADER}"),
            (true, false) => write!(f, "{size} {EIGHT_BIT}"),
            (false, false) => write!(f, "{size}"),
        }
    }
}

/// Makes the [`WireForm`] of a message while it comes.
#[derive(Debug, Default)]
pub struct Surveyor {
    header: WireForm,
    body: WireForm,
    /// Within the line that ended the header without an empty line: a next hop may count it to the header.
    in_text: bool,
    /// The last octet ended no line.
    inside_line: bool,
}

impl MessageListener for Surveyor {
    fn hear(&mut self, event: MessageEvent<'_>) {
        match event {
            MessageEvent::Header(octets) => {
                self.header = self.header.below(octets);
                self.ends(octets);
            }
            MessageEvent::End(end) => self.in_text = end.by == EndedBy::Text,
            MessageEvent::Body(octets) => {
                if self.in_text {
                    let end = memchr::memchr(b'\n', octets);
                    self.in_text = end.is_none();
                    let line = &octets[..end.unwrap_or(octets.len())];
                    self.body.has_eight_bit_header |= !line.is_ascii();
                }
                self.body.is_eight_bit |= !octets.is_ascii();
                self.body.size += wire_size(octets);
                self.ends(octets);
            }
            MessageEvent::Field { .. } | MessageEvent::Value(_) | MessageEvent::FieldEnd(_) => {}
        }
    }
}

impl Surveyor {
    fn ends(&mut self, octets: &[u8]) {
        self.inside_line = octets.last().is_some_and(|last| *last != b'\n');
    }

    /// The form of all octets so far.
    pub fn whole(&self) -> WireForm {
        let WireForm { size, is_eight_bit, has_eight_bit_header } = self.body();
        WireForm {
            size: self.header.size + size,
            is_eight_bit: self.header.is_eight_bit || is_eight_bit,
            has_eight_bit_header: self.header.has_eight_bit_header || has_eight_bit_header,
        }
    }

    /// The form of the body alone, for a message that gets another header.
    pub fn body(&self) -> WireForm {
        // The final dot stands on a line of its own.
        let end = if self.inside_line { 2 } else { 0 };
        WireForm { size: self.body.size + end, ..self.body }
    }
}

/// Octets with CR LF of octets with LF.
fn wire_size(octets: &[u8]) -> u64 {
    (octets.len() + memchr::memchr_iter(b'\n', octets).count()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::header::Reader;

    #[test]
    fn eight_bits_in_header_and_body() {
        for (message, anywhere, header) in [
            ("a: b\n\nc", false, false),
            ("a: b\n\n\u{e9}", true, false),
            ("a: \u{e9}\n\nc", true, true),
            ("\n\u{e9}", true, false),
            ("\u{e9}", true, true),
        ] {
            for step in 1..=message.len() {
                let mut survey = Reader::new(Surveyor::default());
                message.as_bytes().chunks(step).for_each(|piece| survey.feed(piece));
                let found = survey.finish().0.whole();
                assert_eq!((found.is_eight_bit, found.has_eight_bit_header), (anywhere, header));
            }
        }
    }

    #[test]
    fn it_is_written_and_read() {
        for text in ["0", "1234", "7 8bit", "7 8bit-header"] {
            assert_eq!(WireForm::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "x", "7 ", "7 8bits", "7 8bit 9", "-1"] {
            assert!(WireForm::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_message_below_fields_is_what_it_is_read_as() {
        for (field, text) in
            [("A: b\n", "C: d\n\nx"), ("A: \u{e9}\n", "\nx\n"), ("A: b\n", "C: \u{e9}\n\n")]
        {
            let whole = |text: &str| {
                let mut reader = Reader::new(Surveyor::default());
                reader.feed(text.as_bytes());
                reader.finish().0.whole()
            };
            assert_eq!(whole(text).below(field.as_bytes()), whole(&format!("{field}{text}")));
        }
    }
}
