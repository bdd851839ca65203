//! A message on its way out: LF becomes CR LF, dots are doubled, and the end is marked
//! (RFC 5321 §4.5.2); and what has to be known of it before MAIL is said.
//!
//! The other way round is [`super::data`]. Octets are exact: nothing is added but the line end that
//! the final dot needs when the message has none.

/// What a next hop has to be told of a message, or has to be able to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Octets with CR LF, without doubled dots: what SIZE counts (RFC 1870 §5).
    pub size: u64,
    /// There are octets over 127.
    pub is_eight_bit: bool,
    /// There are such in the header.
    pub has_eight_bit_header: bool,
}

/// Reads a message, in any pieces, for its [`Content`].
#[derive(Debug, Default)]
pub struct Survey {
    content: Content,
    /// The empty line behind the header was seen.
    in_body: bool,
    /// The last octet ended no line.
    inside_line: bool,
}

impl Survey {
    /// Takes the next octets.
    pub fn feed(&mut self, mut octets: &[u8]) {
        // Octet by octet only as far as the header goes.
        while let [first, rest @ ..] = octets
            && !self.in_body
        {
            self.in_body = *first == b'\n' && !self.inside_line;
            self.inside_line = *first != b'\n';
            self.content.has_eight_bit_header |= !first.is_ascii();
            self.content.size += if *first == b'\n' { 2 } else { 1 };
            octets = rest;
        }
        if let Some(last) = octets.last() {
            self.inside_line = *last != b'\n';
            self.content.size += (octets.len() + memchr::memchr_iter(b'\n', octets).count()) as u64;
            self.content.is_eight_bit |= !octets.is_ascii();
        }
    }

    /// The message is over.
    pub fn finish(self) -> Content {
        let Content { size, is_eight_bit, has_eight_bit_header } = self.content;
        let size = if self.inside_line { size + 2 } else { size };
        Content { size, is_eight_bit: is_eight_bit || has_eight_bit_header, has_eight_bit_header }
    }
}

/// Turns a message into what goes over the wire, in any pieces.
#[derive(Debug, Default)]
pub struct Encoder {
    inside_line: bool,
}

impl Encoder {
    /// Appends what these octets become to `wire`.
    pub fn feed(&mut self, mut octets: &[u8], wire: &mut Vec<u8>) {
        while !octets.is_empty() {
            let end = memchr::memchr(b'\n', octets).map_or(octets.len(), |at| at + 1);
            let (line, rest) = octets.split_at(end);
            octets = rest;
            if !self.inside_line && line[0] == b'.' {
                wire.push(b'.');
            }
            match line.strip_suffix(b"\n") {
                Some(text) => {
                    wire.extend_from_slice(text);
                    wire.extend_from_slice(b"\r\n");
                }
                None => wire.extend_from_slice(line),
            }
            self.inside_line = !line.ends_with(b"\n");
        }
    }

    /// The message is over: appends the end of data.
    pub fn finish(&self, wire: &mut Vec<u8>) {
        wire.extend_from_slice(if self.inside_line { b"\r\n.\r\n" } else { b".\r\n" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::data::Decoder;

    #[test]
    fn what_goes_out_comes_in_again_at_any_split() {
        let cases: [(&[u8], &[u8], u64); 11] = [
            (b"", b".\r\n", 0),
            (b"\n", b"\r\n.\r\n", 2),
            (b"a", b"a\r\n.\r\n", 3),
            (b"a\n", b"a\r\n.\r\n", 3),
            (b".", b"..\r\n.\r\n", 3),
            (b".\n", b"..\r\n.\r\n", 3),
            (b"..\n.a\na.\n", b"...\r\n..a\r\na.\r\n.\r\n", 12),
            (b"\n.\n\n", b"\r\n..\r\n\r\n.\r\n", 7),
            (b"\0\xff \n\n x", b"\0\xff \r\n\r\n x\r\n.\r\n", 11),
            (b"a.b", b"a.b\r\n.\r\n", 5),
            (b"a\n\n.", b"a\r\n\r\n..\r\n.\r\n", 8),
        ];
        for (message, wire, size) in cases {
            for step in 1..=message.len().max(1) {
                let (mut encoder, mut survey) = (Encoder::default(), Survey::default());
                let mut out = Vec::new();
                for piece in message.chunks(step) {
                    encoder.feed(piece, &mut out);
                    survey.feed(piece);
                }
                encoder.finish(&mut out);
                assert_eq!(out, wire, "{} at {step}", message.escape_ascii());
                assert_eq!(survey.finish().size, size, "{}", message.escape_ascii());
                let (mut decoder, mut body) = (Decoder::default(), Vec::new());
                assert_eq!(decoder.feed(&out, &mut body), (out.len(), true));
                assert_eq!((decoder.wire_size(), decoder.has_bare()), (size, false));
                let ended = message.is_empty() || message.ends_with(b"\n");
                assert_eq!(body, if ended { message.to_vec() } else { [message, b"\n"].concat() });
            }
        }
    }

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
                let mut survey = Survey::default();
                message.as_bytes().chunks(step).for_each(|piece| survey.feed(piece));
                let found = survey.finish();
                assert_eq!((found.is_eight_bit, found.has_eight_bit_header), (anywhere, header));
            }
        }
    }
}
