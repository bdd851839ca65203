//! The line ends of a body on its way to a filter (CR LF) and back (LF).

use crate::limits::FILTER_CHUNK_MAX;

/// Cuts a body into what goes to a filter at once.
#[derive(Debug, Default)]
pub struct BodyChunks(Vec<u8>);

impl BodyChunks {
    /// Takes the next octets of the body, with LF.
    pub fn feed(&mut self, octets: &[u8]) {
        for line in octets.split_inclusive(|octet| *octet == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(line) => {
                    self.0.extend_from_slice(line);
                    self.0.extend_from_slice(b"\r\n");
                }
                None => self.0.extend_from_slice(line),
            }
        }
    }

    /// The next whole chunk; with `is_end` what is left, where anything is.
    pub fn next(&mut self, is_end: bool) -> Option<Vec<u8>> {
        match self.0.len() {
            0 => None,
            length if length >= FILTER_CHUNK_MAX => {
                let rest = self.0.split_off(FILTER_CHUNK_MAX);
                Some(std::mem::replace(&mut self.0, rest))
            }
            _ if is_end => Some(std::mem::take(&mut self.0)),
            _ => None,
        }
    }
}

/// A body that a filter gives, in pieces: a line ends with LF then, and no CR is left.
#[derive(Debug, Default)]
pub struct BodyLines {
    ends_open: bool,
}

impl BodyLines {
    /// The next octets, as they are kept.
    pub fn feed(&mut self, octets: &[u8]) -> Vec<u8> {
        let kept: Vec<u8> = octets.iter().copied().filter(|octet| *octet != b'\r').collect();
        if let Some(last) = kept.last() {
            self.ends_open = *last != b'\n';
        }
        kept
    }

    /// What is missing at the end: the last line's, where it has none.
    pub fn end(self) -> &'static [u8] {
        if self.ends_open { b"\n" } else { b"" }
    }
}
