//! Decodes what a program writes to sendmail into a message with LF line ends, at any split of the input.
//!
//! CR LF and LF end a line. A CR that ends none, as in the output of a program that shows its progress,
//! becomes a line end in the body and a space in the header: all readers of a message have to agree on line
//! ends, and no CR may begin a new field of the header.

/// The place in a line of the next octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InLine {
    Start,
    /// After a single dot, which is held back.
    Dot,
    Middle,
}

/// Decodes one message.
#[derive(Debug)]
pub struct InputLines {
    dot_ends: bool,
    at: InLine,
    /// CRs that may belong to a line end.
    held: usize,
    in_header: bool,
    over: bool,
}

impl InputLines {
    /// `dot_ends`: a line with only a dot ends the message.
    pub fn new(dot_ends: bool) -> InputLines {
        InputLines { dot_ends, at: InLine::Start, held: 0, in_header: true, over: false }
    }

    /// Decodes these octets; returns true at the end of the message.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> bool {
        let mut rest = input;
        while let ([octet, after @ ..], false) = (rest, self.over) {
            rest = after;
            match octet {
                b'\r' => self.held += 1,
                b'\n' => self.line_end(out),
                b'.' if self.dot_ends && self.at == InLine::Start && self.held == 0 => {
                    self.at = InLine::Dot;
                }
                octet => {
                    self.release(out);
                    out.push(*octet);
                    let run = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
                    out.extend_from_slice(&rest[..run]);
                    rest = &rest[run..];
                }
            }
        }
        self.over
    }

    /// Ends the message; a last line without a line end gets one.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        if !self.over && self.at != InLine::Start {
            self.line_end(out);
        }
    }

    fn line_end(&mut self, out: &mut Vec<u8>) {
        // Any number of CRs, because some programs write two.
        self.held = 0;
        if self.at == InLine::Dot {
            self.over = true;
            return;
        }
        self.in_header &= self.at != InLine::Start;
        out.push(b'\n');
        self.at = InLine::Start;
    }

    /// Writes what was held back as text.
    fn release(&mut self, out: &mut Vec<u8>) {
        if self.at == InLine::Dot {
            out.push(b'.');
        }
        let instead = if self.in_header { b' ' } else { b'\n' };
        out.extend(std::iter::repeat_n(instead, self.held));
        (self.held, self.at) = (0, InLine::Middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(input: &[u8], dot_ends: bool, step: usize) -> Vec<u8> {
        let (mut lines, mut out) = (InputLines::new(dot_ends), Vec::new());
        for piece in input.chunks(step) {
            if lines.feed(piece, &mut out) {
                break;
            }
        }
        lines.finish(&mut out);
        out
    }

    #[test]
    fn at_every_split() {
        for (input, dot_ends, output) in [
            (&b""[..], true, &b""[..]),
            (b"a", true, b"a\n"),
            (b"a\r\nb\n", true, b"a\nb\n"),
            (b"a\r\r\nb\r", true, b"a\nb\n"),
            (b"a\n.\nb\n", true, b"a\n"),
            (b"a\n.\nb\n", false, b"a\n.\nb\n"),
            (b"a\r\n.\r\nb\r\n", true, b"a\n"),
            (b"a\n.", true, b"a\n"),
            (b"a\n.", false, b"a\n.\n"),
            (b"..\n.a\n. \n", true, b"..\n.a\n. \n"),
            (b".\n", true, b""),
            (b"S: x\rBcc: y\n\n1%\r2%\r\n", true, b"S: x Bcc: y\n\n1%\n2%\n"),
            (b"S: x\n\rBcc: y\n", true, b"S: x\n Bcc: y\n"),
            (b"\n\r.\rb\n", true, b"\n\n.\nb\n"),
            (b"\n.\rb\n", true, b"\n.\nb\n"),
            (b"\0\xff\x1a\n", true, b"\0\xff\x1a\n"),
            (b"\r\n\r\n", true, b"\n\n"),
        ] {
            for step in 1..=input.len().max(1) {
                let found = decode(input, dot_ends, step);
                let (input, found) = (input.escape_ascii(), found.escape_ascii().to_string());
                assert_eq!(found, output.escape_ascii().to_string(), "{input} by {step}");
            }
        }
    }
}
