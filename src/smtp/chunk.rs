//! Message octets in counted chunks: BDAT (RFC 3030 §2).
//!
//! Nothing is stuffed and nothing ends a chunk but its count. What comes out has LF line ends, as
//! from [`super::dot_stuffing`]; a CR and its LF may lie in two chunks.

/// Decodes the chunks of one message.
#[derive(Debug, Default)]
pub struct Chunks {
    after_cr: bool,
    bare: bool,
    wire_size: u64,
}

impl Chunks {
    /// Takes all of `input`; appends its decoded form to `body`.
    pub fn feed(&mut self, mut input: &[u8], body: &mut Vec<u8>) {
        self.wire_size += input.len() as u64;
        while let [first, rest @ ..] = input {
            if self.after_cr || *first == b'\n' {
                // A CR LF, or a bare CR or LF.
                self.bare |= !(self.after_cr && *first == b'\n');
                body.push(b'\n');
                self.after_cr = false;
                if *first == b'\n' {
                    input = rest;
                    continue;
                }
            }
            let length = memchr::memchr2(b'\r', b'\n', input).unwrap_or(input.len());
            body.extend_from_slice(&input[..length]);
            input = &input[length..];
            if let [b'\r', rest @ ..] = input {
                self.after_cr = true;
                input = rest;
            }
        }
    }

    /// Octets so far, as sent.
    pub fn wire_size(&self) -> u64 {
        self.wire_size
    }

    /// Whether a CR or an LF stands alone, were the message to end here.
    pub fn has_bare(&self) -> bool {
        self.bare || self.after_cr
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(input: &[u8], step: usize) -> (Vec<u8>, bool) {
        let (mut chunks, mut body) = (Chunks::default(), Vec::new());
        input.chunks(step).for_each(|piece| chunks.feed(piece, &mut body));
        assert_eq!(chunks.wire_size(), input.len() as u64);
        (body, chunks.has_bare())
    }

    #[test]
    fn lines_at_every_split() {
        for (input, body, bare) in [
            (&b"a\r\n.\r\n..\r\n"[..], &b"a\n.\n..\n"[..], false),
            (b"no end", b"no end", false),
            (b"\r\n\r\n", b"\n\n", false),
            (b"\0\xff", b"\0\xff", false),
            (b"a\nb", b"a\nb", true),
            (b"a\rb", b"a\nb", true),
            (b"a\r\r\nb", b"a\n\nb", true),
            (b"a\r", b"a", true),
            (b"\n\r", b"\n", true),
        ] {
            for step in 1..=input.len() {
                assert_eq!(decode(input, step), (body.to_vec(), bare), "{input:?} at {step}");
            }
        }
    }
}
