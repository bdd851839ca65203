//! The octets of one message: in memory while it is small, in a file without a name past that.
//!
//! Written once, then immutable. A spill file is never synced, and the disk may lose parts of it: each copy
//! compares the sum of the octets it reads with that of the octets that were written.
//! What lies in memory is counted against one [`Budget`] for all sessions, so that many small messages
//! together cannot take more than a few large ones may.

use super::disk::{Disk, DiskFile, Doing, StoreError};
use super::sum::Sum;
use crate::limits::{COPY_CHUNK, MEMORY_BODY_MAX};
use crate::mail::edits::{Edits, Piece};
use crate::mail::header::Reader;
use crate::mail::summary::{Summarizer, Summary};
use std::borrow::Cow;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Memory that the messages of all sessions share.
#[derive(Debug)]
pub struct Budget {
    left: AtomicUsize,
}

impl Budget {
    /// A budget of `octets`.
    pub fn new(octets: usize) -> Arc<Budget> {
        Arc::new(Budget { left: AtomicUsize::new(octets) })
    }

    /// Takes all these octets or none. Relaxed: the number orders no other memory.
    fn take_octets(&self, octets: usize) -> bool {
        let less = |left: usize| left.checked_sub(octets);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// A share of the budget, given back when this is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    octets: usize,
}

impl Share {
    /// An empty share.
    pub fn of(budget: Arc<Budget>) -> Share {
        Share { budget, octets: 0 }
    }

    /// Makes the share `octets` large; false when the budget has too little left.
    pub fn grow(&mut self, octets: usize) -> bool {
        let good = self.budget.take_octets(octets.saturating_sub(self.octets));
        if good {
            self.octets = self.octets.max(octets);
        }
        good
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.octets, Ordering::Relaxed);
    }
}

enum BodyPlace {
    /// The share counts the capacity, which is what the memory really takes, not the length.
    Memory(Vec<u8>, Share),
    /// A file without a name, and the sum of the octets that were written.
    Spilled(Box<dyn DiskFile>, Sum),
}

/// A whole message with LF line ends.
pub struct Body {
    place: BodyPlace,
    size: u64,
    /// The directory that errors name, because a file without a name has no path.
    dir: PathBuf,
}

/// A message that still comes in.
pub struct BodyWriter {
    disk: Arc<dyn Disk>,
    body: Body,
}

impl BodyWriter {
    /// `dir`: where a long message spills to.
    pub fn new(disk: Arc<dyn Disk>, dir: &Path, budget: Arc<Budget>) -> BodyWriter {
        let place = BodyPlace::Memory(Vec::new(), Share::of(budget));
        BodyWriter { disk, body: Body { place, size: 0, dir: dir.to_owned() } }
    }

    /// Takes the next octets. After an error the message has a hole and can only be dropped.
    pub fn write(&mut self, octets: &[u8]) -> Result<(), StoreError> {
        let body = &mut self.body;
        body.size += octets.len() as u64;
        if let BodyPlace::Memory(held, share) = &mut body.place {
            // Doubled, so that a message that comes in small pieces is not copied for each piece.
            let wanted = (held.len() + octets.len()).next_power_of_two().max(4096);
            if wanted <= MEMORY_BODY_MAX && share.grow(wanted) {
                held.reserve_exact(wanted - held.len());
                held.extend_from_slice(octets);
                return Ok(());
            }
            let file = self.disk.scratch(&body.dir).doing("make a file in", &body.dir)?;
            file.append(held).doing("write a file in", &body.dir)?;
            let sum = Sum::of(held);
            body.place = BodyPlace::Spilled(file, sum);
        }
        match &mut body.place {
            BodyPlace::Spilled(file, sum) => {
                sum.feed(octets);
                file.append(octets).doing("write a file in", &body.dir)
            }
            BodyPlace::Memory(..) => Ok(()),
        }
    }

    /// Whether it has spilled to a file.
    pub fn is_large(&self) -> bool {
        self.body.is_large()
    }

    /// The message is whole.
    pub fn finish(self) -> Body {
        self.body
    }
}

impl Body {
    /// In octets, with LF line ends.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether it lies in a file: then its session's thread writes the copies, so that it holds up no other
    /// message.
    pub fn is_large(&self) -> bool {
        matches!(self.place, BodyPlace::Spilled(..))
    }

    /// The first octets of the message, at most `most`.
    pub fn head(&self, most: usize) -> Result<Vec<u8>, StoreError> {
        let length = most.min(usize::try_from(self.size).unwrap_or(most));
        match &self.place {
            BodyPlace::Memory(held, _) => Ok(held[..length].to_vec()),
            BodyPlace::Spilled(file, _) => {
                file.read_up_to(0, length).doing("read a file in", &self.dir)
            }
        }
    }

    /// Reads some octets at a place within its size.
    pub fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        match &self.place {
            BodyPlace::Memory(held, _) => {
                let rest =
                    usize::try_from(at).ok().and_then(|at| held.get(at..)).unwrap_or_default();
                let length = rest.len().min(buffer.len());
                buffer[..length].copy_from_slice(&rest[..length]);
                Ok(length)
            }
            BodyPlace::Spilled(file, _) => file.read_at(buffer, at),
        }
    }

    /// The octets from a place on, at least one and at most [`COPY_CHUNK`]; none at the end.
    pub fn read_from(&self, at: u64) -> Result<Cow<'_, [u8]>, StoreError> {
        let length =
            COPY_CHUNK.min(usize::try_from(self.size.saturating_sub(at)).unwrap_or(COPY_CHUNK));
        match &self.place {
            BodyPlace::Memory(held, _) => {
                let at = self.size.min(at) as usize;
                Ok(Cow::Borrowed(&held[at..at + length]))
            }
            BodyPlace::Spilled(file, _) => {
                let octets = file.read_up_to(at, length).doing("read a file in", &self.dir)?;
                match octets.is_empty() && length > 0 {
                    // Shorter than what we wrote; that is never taken for the end of the message.
                    true => Err(std::io::ErrorKind::UnexpectedEof.into())
                        .doing("read a file in", &self.dir),
                    false => Ok(Cow::Owned(octets)),
                }
            }
        }
    }

    /// The sum of the message as edited. Of a spilled message only the part that the edits touch is read.
    pub fn sum(&self, edits: &Edits) -> Result<u32, StoreError> {
        let (mut sum, end) = (Sum::default(), edits.end());
        let head = match &self.place {
            BodyPlace::Memory(..) => Vec::new(),
            BodyPlace::Spilled(..) => self.head(end as usize)?,
        };
        for piece in edits.pieces(self.size) {
            match (piece, &self.place) {
                (Piece::Put(octets), _) => sum.feed(octets),
                (Piece::Kept(range), BodyPlace::Memory(held, _)) => {
                    sum.feed(&held[range.start as usize..range.end as usize]);
                }
                (Piece::Kept(range), BodyPlace::Spilled(_, own)) if range.start >= end => {
                    let left = self.size - range.start;
                    sum.append(own.behind(&Sum::of(&head), left), left);
                }
                (Piece::Kept(range), BodyPlace::Spilled(..)) => {
                    sum.feed(&head[range.start as usize..range.end as usize]);
                }
            }
        }
        Ok(sum.value())
    }

    /// What the header says, as edited.
    pub fn summary(&self, edits: &Edits) -> Result<Summary, StoreError> {
        let mut reader = Reader::new(Summarizer::default());
        self.view(edits, &mut |octets| {
            reader.feed(octets);
            if reader.end().is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(reader.finish().0.summary)
    }

    /// Reads the message as edited, until `each` wants no more.
    pub fn view(
        &self,
        edits: &Edits,
        each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        match &self.place {
            BodyPlace::Memory(held, _) => {
                for piece in edits.pieces(self.size) {
                    let octets = match &piece {
                        Piece::Put(octets) => octets,
                        Piece::Kept(range) => &held[range.start as usize..range.end as usize],
                    };
                    if each(octets).is_break() {
                        break;
                    }
                }
                Ok(())
            }
            BodyPlace::Spilled(from, _) => {
                let part = StoredMessage {
                    file: &**from,
                    path: &self.dir,
                    at: 0,
                    size: self.size,
                    sum: None,
                };
                part.view(edits, each)
            }
        }
    }

    /// Appends the message as edited to a file. Fails where the octets are not those that were written.
    pub fn copy_to(
        &self,
        edits: &Edits,
        file: &dyn DiskFile,
        path: &Path,
    ) -> Result<(), StoreError> {
        match &self.place {
            BodyPlace::Memory(held, _) => {
                // One write: most messages are small, and all others wait for the delivery thread meanwhile.
                let mut whole = Vec::with_capacity(edits.size(self.size) as usize);
                for piece in edits.pieces(self.size) {
                    whole.extend_from_slice(match &piece {
                        Piece::Put(octets) => octets,
                        Piece::Kept(range) => &held[range.start as usize..range.end as usize],
                    });
                }
                file.append(&whole).doing("write", path)
            }
            BodyPlace::Spilled(from, sum) => {
                let sum = Some(sum.value());
                let part =
                    StoredMessage { file: &**from, path: &self.dir, at: 0, size: self.size, sum };
                part.copy_to(edits, file, path)
            }
        }
    }
}

/// A message inside a file.
#[derive(Clone, Copy)]
pub struct StoredMessage<'a> {
    pub file: &'a dyn DiskFile,
    /// The file's path, for errors.
    pub path: &'a Path,
    /// Where the message begins in the file.
    pub at: u64,
    /// The size of the message in octets.
    pub size: u64,
    /// The sum of these octets; none in files of older versions.
    pub sum: Option<u32>,
}

impl StoredMessage<'_> {
    /// Appends the message as edited to another file. The whole message is read, and fails with `InvalidData`
    /// where its sum is another.
    pub fn copy_to(
        &self,
        edits: &Edits,
        to: &dyn DiskFile,
        to_path: &Path,
    ) -> Result<(), StoreError> {
        let mut pieces = edits.pieces(self.size).peekable();
        let mut pass = |at: u64, octets: &[u8]| {
            let end = at + octets.len() as u64;
            // One write for all pieces: a header may be cut in very many.
            let mut gathered = Vec::new();
            while let Some(piece) = pieces.peek() {
                match piece {
                    Piece::Put(put) => gathered.extend_from_slice(put),
                    Piece::Kept(range) => {
                        let (from, until) = (range.start.max(at), range.end.min(end));
                        if from < until {
                            let kept = &octets[(from - at) as usize..(until - at) as usize];
                            if gathered.is_empty() && until == end {
                                to.append(kept).doing("write", to_path)?;
                            } else {
                                gathered.extend_from_slice(kept);
                            }
                        }
                        if range.end > end {
                            break;
                        }
                    }
                }
                pieces.next();
            }
            match gathered.is_empty() {
                true => Ok(()),
                false => to.append(&gathered).doing("write", to_path),
            }
        };
        self.read(&mut pass)?;
        // Insertions at the end.
        pass(self.size, &[])
    }

    /// Reads the message as edited, until `each` wants no more. Its sum is not checked: who copies or sends the
    /// octets does that.
    pub fn view(
        &self,
        edits: &Edits,
        each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        for piece in edits.pieces(self.size) {
            let mut range = match piece {
                Piece::Put(octets) if each(octets).is_break() => return Ok(()),
                Piece::Put(_) => continue,
                Piece::Kept(range) => range,
            };
            while range.start < range.end {
                let most = COPY_CHUNK.min((range.end - range.start) as usize);
                let octets = self.file.read_up_to(self.at + range.start, most);
                let octets = octets.doing("read", self.path)?;
                if octets.is_empty() {
                    Err(std::io::ErrorKind::UnexpectedEof.into()).doing("read", self.path)?;
                }
                range.start += octets.len() as u64;
                if each(&octets).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Reads the whole message and fails where its sum is another.
    pub fn verify(&self) -> Result<(), StoreError> {
        match self.sum {
            Some(_) => self.read(|_, _| Ok(())),
            None => Ok(()),
        }
    }

    /// Reads the whole message; `each` gets the place of every piece with its octets.
    fn read(
        &self,
        mut each: impl FnMut(u64, &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let (mut sum, mut at) = (Sum::default(), 0);
        let mut chunk = vec![0; COPY_CHUNK.min(self.size as usize)];
        while at < self.size {
            let length = chunk.len().min((self.size - at) as usize);
            let read = self.file.read_at(&mut chunk[..length], self.at + at);
            let read = match read.doing("read", self.path)? {
                // The file is shorter than what we wrote; its end is never taken for the end of the message.
                0 => Err(std::io::ErrorKind::UnexpectedEof.into()).doing("read", self.path)?,
                read => read,
            };
            if self.sum.is_some() {
                sum.feed(&chunk[..read]);
            }
            each(at, &chunk[..read])?;
            at += read as u64;
        }
        self.sum.map_or(Ok(()), |meant| sum.check(meant)).doing("read", self.path)
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryDisk;
    use std::ops::Range;

    fn body(octets: &[u8], budget: usize) -> Body {
        let disk = Arc::new(MemoryDisk::new());
        let mut writer = BodyWriter::new(disk, Path::new("/spool"), Budget::new(budget));
        octets.chunks(1000).for_each(|piece| writer.write(piece).unwrap());
        writer.finish()
    }

    fn copy(body: &Body, cuts: &[Range<u64>]) -> Vec<u8> {
        let disk = MemoryDisk::new();
        let path = Path::new("/copy");
        let file = disk.create(path).unwrap();
        body.copy_to(&Edits::default().without(cuts).on_top("P"), &*file, path).unwrap();
        disk.files()[0].1.clone()
    }

    #[test]
    fn small_stays_large_spills_and_both_say_the_same() {
        let text: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        let (small, large) = (&text[..5000], &text[..]);
        for (octets, budget, spilled) in
            [(small, 1 << 20, false), (large, 1 << 20, true), (small, 4096, true), (b"", 0, false)]
        {
            let body = body(octets, budget);
            assert_eq!((body.is_large(), body.size()), (spilled, octets.len() as u64));
            assert_eq!(copy(&body, &[]), [b"P", octets].concat());
        }
        let cut = copy(&body(large, 0), &[0..10, 100_000..199_999]);
        assert_eq!(cut, [b"P", &text[10..100_000], &text[199_999..]].concat());
    }

    /// When a disk loses pages, only the octets themselves show it.
    #[test]
    fn what_comes_back_changed_is_no_message() {
        let text: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        for damaged in [0, 70_000, 199_999] {
            let mut body = body(&text, 0);
            for skipped in [0, 10, 100_000] {
                let expected = Sum::of(&[b"P", &text[skipped..]].concat()).value();
                let edits = Edits::default().replaced(0..skipped as u64, "P");
                assert_eq!(body.sum(&edits).unwrap(), expected);
            }
            let disk = MemoryDisk::new();
            if let BodyPlace::Spilled(file, _) = &mut body.place {
                let mut other = text.clone();
                other[damaged] ^= 1;
                *file = disk.scratch(Path::new("/spool")).unwrap();
                file.append(&other).unwrap();
            }
            let path = Path::new("/copy");
            let file = disk.create(path).unwrap();
            for cuts in [&[][..], &[0..10], &[69_000..71_000]] {
                let error = {
                    let edits = Edits::default().without(cuts).on_top("P");
                    body.copy_to(&edits, &*file, path).unwrap_err()
                };
                assert_eq!(error.source.kind(), std::io::ErrorKind::InvalidData, "{error}");
            }
        }
    }

    #[test]
    fn the_budget_comes_back() {
        let budget = Budget::new(8192);
        let disk = Arc::new(MemoryDisk::new());
        for _ in 0..100 {
            let mut writer = BodyWriter::new(disk.clone(), Path::new("/spool"), budget.clone());
            writer.write(&[b'x'; 5000]).unwrap();
            assert!(!writer.finish().is_large());
        }
    }
}
