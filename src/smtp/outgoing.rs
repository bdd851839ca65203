//! A message on its way out: LF becomes CR LF, dots are doubled, and the end is marked
//! (RFC 5321 §4.5.2).
//!
//! The reverse of [`super::dot_stuffing`]. Octets are exact: nothing is added but the line end that the final dot
//! needs when the message does not end in one.

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
    use crate::mail::header::Reader;
    use crate::mail::survey::Surveyor;
    use crate::smtp::dot_stuffing::Decoder;

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
                let (mut encoder, mut survey) =
                    (Encoder::default(), Reader::new(Surveyor::default()));
                let mut out = Vec::new();
                for piece in message.chunks(step) {
                    encoder.feed(piece, &mut out);
                    survey.feed(piece);
                }
                encoder.finish(&mut out);
                assert_eq!(out, wire, "{} at {step}", message.escape_ascii());
                assert_eq!(survey.finish().0.whole().size, size, "{}", message.escape_ascii());
                let (mut decoder, mut body) = (Decoder::default(), Vec::new());
                assert_eq!(decoder.feed(&out, &mut body), (out.len(), true));
                assert_eq!((decoder.wire_size(), decoder.has_bare()), (size, false));
                let ended = message.is_empty() || message.ends_with(b"\n");
                assert_eq!(body, if ended { message.to_vec() } else { [message, b"\n"].concat() });
            }
        }
    }
}
