//! Command lines out of a stream of octets, at any split (RFC 5321 §2.3.8: only CR LF ends a line).
//!
//! Never holds more than the octets that a line may have: a longer one is read to its end and thrown
//! away, and its beginning kept for the log.

/// Gathers one line at a time.
#[derive(Debug, Default)]
pub struct LineBuffer {
    octets: Vec<u8>,
    /// The line in `octets` was handed out; the next octet begins a new one.
    complete: bool,
    too_long: bool,
    /// The last octet seen was a CR; needed apart from `octets` once a line is too long to be kept.
    after_cr: bool,
    /// The last octet seen was an LF that ended no line.
    after_lf: bool,
}

/// How far [`LineBuffer::feed`] came with a line.
#[derive(Debug, PartialEq, Eq)]
pub enum LineProgress {
    Partial,
    /// A whole line; [`LineBuffer::text`] has it without its CR LF.
    Complete,
    TooLong,
}

impl LineBuffer {
    /// Takes octets up to the end of one line; gives how many it took. `most`: the longest line in octets,
    /// with CR LF.
    pub fn feed(&mut self, input: &[u8], most: usize) -> (usize, LineProgress) {
        if self.complete {
            *self = LineBuffer { octets: std::mem::take(&mut self.octets), ..Default::default() };
            self.octets.clear();
        }
        let mut used = 0;
        while used < input.len() {
            let rest = &input[used..];
            if self.after_cr && rest[0] == b'\n' {
                return (used + 1, self.finish());
            }
            // Up to and including the next CR, because it may be half of a CR LF.
            let length = memchr::memchr(b'\r', rest).map_or(rest.len(), |at| at + 1);
            self.keep(&rest[..length], most);
            self.after_cr = rest[length - 1] == b'\r';
            self.after_lf = rest[length - 1] == b'\n';
            used += length;
        }
        (used, LineProgress::Partial)
    }

    /// The line, or as much of it as was kept.
    pub fn text(&self) -> &[u8] {
        &self.octets
    }

    /// Whether a line has begun and not ended.
    pub fn is_partial(&self) -> bool {
        !self.complete && (self.too_long || !self.octets.is_empty())
    }

    /// Whether a line has begun, and its last octet so far is an LF.
    pub fn ends_in_bare_lf(&self) -> bool {
        !self.complete && self.after_lf
    }

    /// Ends the line that has begun, though no CR LF came.
    pub fn end(&mut self) {
        self.complete = true;
    }

    fn keep(&mut self, octets: &[u8], most: usize) {
        // The LF is never kept, so the buffer with its CR may come to one less than the limit.
        let room = (most - 1).saturating_sub(self.octets.len());
        if !self.too_long {
            self.octets.extend_from_slice(&octets[..octets.len().min(room)]);
        }
        self.too_long |= octets.len() > room;
    }

    fn finish(&mut self) -> LineProgress {
        self.complete = true;
        if self.too_long {
            return LineProgress::TooLong;
        }
        self.octets.pop(); // the CR
        LineProgress::Complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::COMMAND_LINE_MAX;

    /// Every line of `input`, fed in pieces of `step` octets.
    fn lines(input: &[u8], step: usize) -> Vec<Option<Vec<u8>>> {
        let mut buffer = LineBuffer::default();
        let mut found = Vec::new();
        for mut piece in input.chunks(step) {
            while !piece.is_empty() {
                let (used, line) = buffer.feed(piece, COMMAND_LINE_MAX);
                piece = &piece[used..];
                match line {
                    LineProgress::Partial => {}
                    LineProgress::Complete => found.push(Some(buffer.text().to_vec())),
                    LineProgress::TooLong => found.push(None),
                }
            }
        }
        found
    }

    #[test]
    fn only_cr_lf_ends_a_line() {
        let input = b"NOOP\r\nA\nB\rC\r\r\n\r\nrest";
        for step in 1..input.len() {
            let found = lines(input, step);
            let expected: [&[u8]; 3] = [b"NOOP", b"A\nB\rC\r", b""];
            assert_eq!(found, expected.map(|l| Some(l.to_vec())), "step {step}");
        }
    }

    #[test]
    fn a_line_at_the_limit_and_one_past_it() {
        let fits = [vec![b'x'; COMMAND_LINE_MAX - 2], b"\r\n".to_vec()].concat();
        let past = [vec![b'x'; COMMAND_LINE_MAX - 1], b"\r\n".to_vec()].concat();
        let input = [fits.clone(), past, b"NOOP\r\n".to_vec()].concat();
        for step in [1, 2, 3, 1000, input.len()] {
            let found = lines(&input, step);
            assert_eq!(found.len(), 3);
            assert_eq!(found[0].as_deref(), Some(&fits[..COMMAND_LINE_MAX - 2]));
            assert_eq!((&found[1], found[2].as_deref()), (&None, Some(&b"NOOP"[..])));
        }
    }

    #[test]
    fn a_bare_lf_at_the_end_so_far() {
        let mut buffer = LineBuffer::default();
        for (piece, ends) in
            [("NOOP", false), ("\n", true), ("x", false), ("\r", false), ("y\n", true)]
        {
            buffer.feed(piece.as_bytes(), COMMAND_LINE_MAX);
            assert_eq!(buffer.ends_in_bare_lf(), ends, "{piece:?}");
        }
        buffer.end();
        assert_eq!(buffer.text(), b"NOOP\nx\ry\n");
        assert!(!buffer.ends_in_bare_lf() && !buffer.is_partial());
        assert_eq!(buffer.feed(b"RSET\r\n", COMMAND_LINE_MAX), (6, LineProgress::Complete));
        assert_eq!(buffer.text(), b"RSET");
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let mut buffer = LineBuffer::default();
        for _ in 0..1000 {
            assert_eq!(buffer.feed(&[b'x'; 1000], COMMAND_LINE_MAX), (1000, LineProgress::Partial));
        }
        assert!(buffer.text().len() < COMMAND_LINE_MAX && buffer.is_partial());
    }
}
