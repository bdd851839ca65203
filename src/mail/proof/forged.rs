//! Finds, while a message passes by, the fields Authentication-Results that say they are of a host: where they
//! came from outside they are forged, and have to go (RFC 8601 §5). Pure.
//!
//! A [`MessageListener`] of [`mail::header`](crate::mail::header), which decides what a field is. Holds no more
//! than the one field at hand.

use super::raw::RawField;
use super::results::{FIELD, is_of};
use crate::mail::header::{MessageEvent, MessageListener};
use std::ops::Range;

/// Hears a message.
pub struct ForgedResults {
    authserv_id: String,
    field: Option<HeldField>,
    found: Vec<Range<u64>>,
}

/// The field at hand, which is one of Authentication-Results.
struct HeldField {
    at: u64,
    name_length: usize,
    octets: Vec<u8>,
}

impl ForgedResults {
    /// `authserv_id`: the host whose results only it may write.
    pub fn new(authserv_id: &str) -> ForgedResults {
        ForgedResults { authserv_id: authserv_id.to_owned(), field: None, found: Vec::new() }
    }

    /// Where they lie, in octets from the start of the message; those that touch are one range.
    pub fn finish(self) -> Vec<Range<u64>> {
        self.found
    }
}

impl MessageListener for ForgedResults {
    fn hear(&mut self, event: MessageEvent<'_>) {
        match event {
            MessageEvent::Field { name, at, .. } if name.eq_ignore_ascii_case(FIELD.as_bytes()) => {
                self.field = Some(HeldField { at, name_length: name.len(), octets: Vec::new() });
            }
            MessageEvent::Header(octets) => {
                if let Some(held) = &mut self.field {
                    held.octets.extend_from_slice(octets);
                }
            }
            MessageEvent::FieldEnd(end) => {
                let Some(HeldField { at, name_length, octets }) = self.field.take() else { return };
                let name = octets.get(..name_length).unwrap_or_default();
                if is_of(&RawField { name, whole: &octets }, &self.authserv_id) {
                    match self.found.last_mut() {
                        Some(last) if last.end == at => last.end = end,
                        _ => self.found.push(at..end),
                    }
                }
            }
            MessageEvent::Field { .. }
            | MessageEvent::Value(_)
            | MessageEvent::End(_)
            | MessageEvent::Body(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::header::Reader;

    #[test]
    fn only_those_of_the_host_are_found_however_the_octets_come() {
        let text = "Authentication-Results: mx.test; spf=pass\n smtp.mailfrom=a.test\n\
            AUTHENTICATION-results :\n (x)\n MX.Test. 1; none\n\
            Subject: x\nAuthentication-Results: other.test; none\n\
            X-Authentication-Results: mx.test; none\n\
            authentication-results:mx.test;dkim=pass\n\n\
            Authentication-Results: mx.test; none\n";
        let third = text.find("authentication-results:mx").unwrap() as u64;
        let both = text.find("Subject").unwrap() as u64;
        let end = text.find("\n\n").unwrap() as u64 + 1;
        for step in 1..text.len() {
            let mut reader = Reader::new(ForgedResults::new("mx.test"));
            text.as_bytes().chunks(step).for_each(|piece| reader.feed(piece));
            assert_eq!(reader.finish().0.finish(), [0..both, third..end], "{step}");
        }
    }
}
