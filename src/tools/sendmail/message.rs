//! A message from standard input: its header in memory, to be completed, the body in memory or in a file
//! without a name.

use super::lines::InputLines;
use super::status::{ExitStatus, NotSent};
use crate::limits::{DATA_READ, MEMORY_BODY_MAX, SUBMITTED_HEADER_MAX};
use crate::mail::header::{EndedBy, HeaderEnd, Reader};
use crate::mail::repair::{HeaderTooLong, SubmittedHeader};
use crate::mail::summary::{Summarizer, Summary};
use crate::mail::survey::{Surveyor, WireForm};
use crate::store::body::{Body, BodyWriter, Budget};
use crate::store::disk::{Disk, StoreError};
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

/// A whole message.
pub struct InputMessage {
    /// The octets of the header as they came.
    pub head: Vec<u8>,
    /// What comes behind the header.
    pub body: Body,
    pub summary: Summary,
    /// The form of the body on the wire, where it was surveyed.
    pub wire: Option<WireForm>,
    pub is_eight_bit: bool,
}

/// Reads a message to its end. `spill`: the directory for a large one; `most`: its largest size, in octets
/// with CR LF.
pub fn read(
    input: &mut dyn Read,
    mut lines: InputLines,
    disk: &Arc<dyn Disk>,
    spill: &Path,
    most: u64,
) -> Result<InputMessage, NotSent> {
    let budget = Budget::new(MEMORY_BODY_MAX);
    let mut reading = InputReader {
        head: Vec::new(),
        in_body: false,
        writer: BodyWriter::new(disk.clone(), spill, budget),
        reader: new_reader(),
    };
    let (mut octets, mut out) = (vec![0; DATA_READ], Vec::new());
    let mut is_over = false;
    while !is_over {
        out.clear();
        match input.read(&mut octets) {
            Ok(0) => break,
            Ok(read) => is_over = lines.feed(&octets[..read], &mut out),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(NotSent::new(
                    ExitStatus::Io,
                    format!("cannot read the message: {error}"),
                ));
            }
        }
        reading.add(&out, most)?;
    }
    out.clear();
    lines.finish(&mut out);
    reading.add(&out, most)?;
    reading.finish()
}

struct InputReader {
    /// All octets until the end of the header has come; then the header.
    head: Vec<u8>,
    in_body: bool,
    writer: BodyWriter,
    reader: Reader<(Summarizer, Surveyor)>,
}

impl InputReader {
    fn add(&mut self, octets: &[u8], most: u64) -> Result<(), NotSent> {
        self.reader.feed(octets);
        if self.reader.listener.1.whole().size > most {
            let text = format!("the message is larger than limit.message_size, {most} octets");
            return Err(NotSent::new(ExitStatus::Unavailable, text));
        }
        if self.in_body {
            return self.writer.write(octets).map_err(unwritten);
        }
        self.head.extend_from_slice(octets);
        self.reader.end().map_or(Ok(()), |end| self.begin_body(end))
    }

    fn begin_body(&mut self, end: HeaderEnd) -> Result<(), NotSent> {
        let body_at = match end.by {
            EndedBy::Bound => {
                SubmittedHeader::read(&self.head, false)?.ok_or(HeaderTooLong)?.body_at()
            }
            _ => end.body_at as usize,
        };
        self.in_body = true;
        let rest = self.head.split_off(body_at);
        self.writer.write(&rest).map_err(unwritten)
    }

    fn finish(mut self) -> Result<InputMessage, NotSent> {
        let reader = std::mem::replace(&mut self.reader, new_reader());
        let ((Summarizer { summary, .. }, surveyor), end) = reader.finish();
        if !self.in_body {
            self.begin_body(end)?;
        }
        let InputReader { head, writer, .. } = self;
        let wire = (end.body_at == head.len() as u64).then(|| surveyor.body());
        let is_eight_bit = surveyor.whole().is_eight_bit;
        Ok(InputMessage { head, body: writer.finish(), summary, wire, is_eight_bit })
    }
}

fn new_reader() -> Reader<(Summarizer, Surveyor)> {
    Reader::bounded(Default::default(), SUBMITTED_HEADER_MAX)
}

/// A lack of room for temporary files: never a fault of the message.
fn unwritten(error: StoreError) -> NotSent {
    NotSent::new(ExitStatus::Later, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryDisk;

    /// Returns a few octets at a time.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let length = self.1.min(self.0.len()).min(buffer.len());
            let (now, later) = self.0.split_at(length);
            buffer[..length].copy_from_slice(now);
            self.0 = later;
            Ok(length)
        }
    }

    fn read_by(text: &[u8], step: usize, most: u64) -> Result<(String, u64), u8> {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let mut input = Drip(text, step);
        let read = read(&mut input, InputLines::new(true), &disk, Path::new("/x"), most);
        let found = read.map_err(|refusal| refusal.status as u8)?;
        Ok((String::from_utf8_lossy(&found.head).into_owned(), found.body.size()))
    }

    #[test]
    fn header_and_body_are_told_apart_at_any_split() {
        for (text, head, body) in [
            ("Subject: x\n\nbody\n", "Subject: x\n\n", 5),
            ("Subject: x\nno field\n", "Subject: x\n", 9),
            ("no header", "", 10),
            ("", "", 0),
            ("Subject: x", "Subject: x\n", 0),
            ("\nbody\n.\nmore", "\n", 5),
        ] {
            for step in 1..=text.len().max(1) {
                let found = read_by(text.as_bytes(), step, 1000);
                assert_eq!(found, Ok((head.to_owned(), body)), "{text:?} by {step}");
            }
        }
    }

    #[test]
    fn bounds() {
        // As on the wire: with CR LF.
        assert_eq!(read_by(b"\nxx\n", 9, 6).map(|found| found.1), Ok(3));
        assert_eq!(read_by(b"\nxx\n", 9, 5), Err(69));
        let long = format!("X: {}\n\n", "y".repeat(SUBMITTED_HEADER_MAX));
        assert_eq!(read_by(long.as_bytes(), 4096, 1 << 30), Err(69));
        let many = format!("X: y\n\n{}", "line\n".repeat(100_000));
        assert_eq!(read_by(many.as_bytes(), 4096, 1 << 30), Ok(("X: y\n\n".into(), 500_000)));
    }
}
