//! Message octets out of a stream, at any split: transparency and the end of data
//! (RFC 5321 §4.1.1.4, §4.5.2).
//!
//! Only CR LF `.` CR LF ends a message. A bare CR or LF is noted and never ends anything, so that no
//! second message can be smuggled into a first (§2.3.8, §4.1.1.4). What comes out has LF line ends.

/// Where in a line the next octet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinePlace {
    /// After CR LF, or at the very beginning.
    LineStart,
    Middle,
    /// After a CR.
    Cr,
    /// After a dot at the start of a line, which is dropped.
    Dot,
    /// After a dot and a CR at the start of a line.
    DotCr,
}

/// Decodes one message.
#[derive(Debug)]
pub struct Decoder {
    at: LinePlace,
    wire_size: u64,
    bare: bool,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder { at: LinePlace::LineStart, wire_size: 0, bare: false }
    }
}

impl Decoder {
    /// Takes octets up to the end of the message and appends their decoded form to `body`; gives how many
    /// it took, and whether the message ended with them.
    pub fn feed(&mut self, input: &[u8], body: &mut Vec<u8>) -> (usize, bool) {
        let mut used = 0;
        while let Some(&octet) = input.get(used) {
            match self.at {
                LinePlace::Middle | LinePlace::LineStart if octet != b'\r' && octet != b'\n' => {
                    if self.at == LinePlace::LineStart && octet == b'.' {
                        self.at = LinePlace::Dot;
                        used += 1;
                    } else {
                        used += self.run(&input[used..], body);
                    }
                    continue;
                }
                LinePlace::Dot if octet != b'\r' && octet != b'\n' => {
                    self.at = LinePlace::Middle; // a stuffed dot: it is gone, what follows is text
                    continue;
                }
                _ => {}
            }
            used += 1;
            if self.line_end(octet, body) {
                return (used, true);
            }
        }
        (used, false)
    }

    /// Octets of the message as it was sent, without stuffed dots: what SIZE counts (RFC 1870 §5).
    pub fn wire_size(&self) -> u64 {
        self.wire_size
    }

    /// Whether a CR or an LF stood alone.
    pub fn has_bare(&self) -> bool {
        self.bare
    }

    /// Text up to the next CR or LF.
    fn run(&mut self, input: &[u8], body: &mut Vec<u8>) -> usize {
        let length = memchr::memchr2(b'\r', b'\n', input).unwrap_or(input.len());
        body.extend_from_slice(&input[..length]);
        self.wire_size += length as u64;
        self.at = LinePlace::Middle;
        length
    }

    /// A CR or LF, or what follows a CR; true at the end of the message.
    fn line_end(&mut self, octet: u8, body: &mut Vec<u8>) -> bool {
        match (self.at, octet) {
            (LinePlace::DotCr, b'\n') => return true,
            (LinePlace::Cr, b'\n') => {
                body.push(b'\n');
                self.wire_size += 2;
                self.at = LinePlace::LineStart;
            }
            (LinePlace::Dot, b'\r') => self.at = LinePlace::DotCr,
            (LinePlace::LineStart | LinePlace::Middle, b'\r') => self.at = LinePlace::Cr,
            // A CR stands alone here: the message will be refused, and its octets count only towards its
            // size.
            (LinePlace::Cr | LinePlace::DotCr, other) => {
                self.stray(b'\r', body);
                self.at = if other == b'\r' { LinePlace::Cr } else { LinePlace::Middle };
                if other != b'\r' {
                    self.keep(other, body);
                }
            }
            (LinePlace::LineStart | LinePlace::Middle | LinePlace::Dot, other) => {
                self.stray(other, body);
                self.at = LinePlace::Middle;
            }
        }
        false
    }

    fn stray(&mut self, octet: u8, body: &mut Vec<u8>) {
        self.bare = true;
        self.keep(octet, body);
    }

    fn keep(&mut self, octet: u8, body: &mut Vec<u8>) {
        body.push(octet);
        self.wire_size += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Body, whether it ended, octets left over, whether something stood alone.
    fn decode(input: &[u8], step: usize) -> (Vec<u8>, bool, usize, bool, u64) {
        let (mut decoder, mut body) = (Decoder::default(), Vec::new());
        let mut taken = 0;
        for piece in input.chunks(step) {
            let (used, end) = decoder.feed(piece, &mut body);
            taken += used;
            if end {
                return (body, true, input.len() - taken, decoder.bare, decoder.wire_size);
            }
            assert_eq!(used, piece.len());
        }
        (body, false, input.len() - taken, decoder.bare, decoder.wire_size)
    }

    #[test]
    fn transparency_at_every_split() {
        for (input, body, left) in [
            (&b".\r\n"[..], &b""[..], 0),
            (b"\r\n.\r\n", b"\n", 0),
            (b"a\r\n.\r\nQUIT\r\n", b"a\n", 6),
            (b"..\r\n.\r\n", b".\n", 0),
            (b"..a\r\n.b\r\n...\r\n.\r\n", b".a\nb\n..\n", 0),
            (b"a.\r\n.\r\n", b"a.\n", 0),
            (b"\0\xff\x1b\r\n.\r\n", b"\0\xff\x1b\n", 0),
        ] {
            for step in 1..=input.len() {
                let (found, end, rest, bare, _) = decode(input, step);
                assert_eq!((found.as_slice(), end, bare), (body, true, false), "{input:?}");
                if step == input.len() {
                    assert_eq!(rest, left);
                }
            }
        }
    }

    #[test]
    fn no_smuggled_end() {
        for end in [
            "\n.\n",
            "\n.\r\n",
            "\r\n.\n",
            "\r.\r",
            "\r.\r\n",
            "\r\n.\r",
            "\n.\r",
            "\r\n.\rx\n",
            "\r\n.\0\r\n",
            "\r\r\n.\r\r\n",
        ] {
            let input = format!("a{end}MAIL FROM:<x@y>\r\n.\r\nNOOP\r\n");
            for step in 1..=input.len() {
                let (body, ended, _, bare, _) = decode(input.as_bytes(), step);
                let strange = end.contains('\0');
                assert!(ended && (bare || strange), "{end:?} at {step}");
                assert!(String::from_utf8_lossy(&body).contains("MAIL FROM"), "{end:?} at {step}");
            }
        }
    }

    #[test]
    fn size_is_that_of_the_wire_without_stuffing() {
        assert_eq!(decode(b"a\r\n..b\r\n.\r\n", 100).4, 7);
    }
}
