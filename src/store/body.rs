//! The octets of one message: in memory while it is small, in a file without a name past that.
//!
//! Written once, then immutable. What lies in memory is counted against one [`Budget`] for all
//! sessions, so that a crowd of small messages cannot take what a few large ones may not.

use super::disk::{Disk, DiskFile, Doing, StoreError};
use crate::limits::{COPY_CHUNK, MEMORY_BODY_MAX};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Memory that the messages of all sessions share.
#[derive(Debug)]
pub struct Budget {
    left: AtomicUsize,
}

impl Budget {
    /// `octets` in all.
    pub fn new(octets: usize) -> Arc<Budget> {
        Arc::new(Budget { left: AtomicUsize::new(octets) })
    }

    /// All or nothing. Relaxed: only the number counts, and nothing is read by it.
    fn take(&self, octets: usize) -> bool {
        let less = |left: usize| left.checked_sub(octets);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// A share of the budget; it goes back when this is dropped.
#[derive(Debug)]
struct Share {
    budget: Arc<Budget>,
    octets: usize,
}

impl Share {
    /// Makes the share so large; false when the budget does not have it.
    fn grow(&mut self, octets: usize) -> bool {
        let good = self.budget.take(octets.saturating_sub(self.octets));
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

enum Place {
    /// The share counts the capacity, not the length: that is what is taken.
    Memory(Vec<u8>, Share),
    Spilled(Box<dyn DiskFile>),
}

/// A whole message with LF line ends.
pub struct Body {
    place: Place,
    size: u64,
    /// For errors: a file without a name has no path of its own.
    dir: PathBuf,
}

/// A message that still comes in.
pub struct BodyWriter {
    disk: Arc<dyn Disk>,
    body: Body,
}

impl BodyWriter {
    /// `dir` is where it spills to.
    pub fn new(disk: Arc<dyn Disk>, dir: &Path, budget: Arc<Budget>) -> BodyWriter {
        let place = Place::Memory(Vec::new(), Share { budget, octets: 0 });
        BodyWriter { disk, body: Body { place, size: 0, dir: dir.to_owned() } }
    }

    /// Takes the next octets. After an error the message has a hole, and only dropping it is left.
    pub fn write(&mut self, octets: &[u8]) -> Result<(), StoreError> {
        let body = &mut self.body;
        body.size += octets.len() as u64;
        if let Place::Memory(held, share) = &mut body.place {
            // Doubled, so that a message that comes in small pieces is not copied at each.
            let wanted = (held.len() + octets.len()).next_power_of_two().max(4096);
            if wanted <= MEMORY_BODY_MAX && share.grow(wanted) {
                held.reserve_exact(wanted - held.len());
                held.extend_from_slice(octets);
                return Ok(());
            }
            let file = self.disk.scratch(&body.dir).doing("make a file in", &body.dir)?;
            file.append(held).doing("write a file in", &body.dir)?;
            body.place = Place::Spilled(file);
        }
        match &body.place {
            Place::Spilled(file) => file.append(octets).doing("write a file in", &body.dir),
            Place::Memory(..) => Ok(()),
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

    /// Whether it lies in a file: then its copies are written by its session's thread, so that it
    /// holds up nobody.
    pub fn is_large(&self) -> bool {
        matches!(self.place, Place::Spilled(_))
    }

    /// Its first octets, so many at most.
    pub fn head(&self, most: usize) -> Result<Vec<u8>, StoreError> {
        let length = most.min(usize::try_from(self.size).unwrap_or(most));
        match &self.place {
            Place::Memory(held, _) => Ok(held[..length].to_vec()),
            Place::Spilled(file) => {
                let (mut head, mut at) = (vec![0; length], 0);
                while at < length {
                    match file.read_at(&mut head[at..], at as u64) {
                        Ok(0) => break,
                        read => at += read.doing("read a file in", &self.dir)?,
                    }
                }
                head.truncate(at);
                Ok(head)
            }
        }
    }

    /// Appends `prefix` and then the message without the octets of `cuts` to a file.
    pub fn copy_to(
        &self,
        prefix: &[u8],
        cuts: &[Range<u64>],
        file: &dyn DiskFile,
        path: &Path,
    ) -> Result<(), StoreError> {
        match &self.place {
            Place::Memory(held, _) => {
                // One write: most messages are small, and all wait for the delivery thread.
                let mut whole = Vec::with_capacity(prefix.len() + held.len());
                whole.extend_from_slice(prefix);
                for kept in kept(cuts, self.size) {
                    whole.extend_from_slice(&held[kept.start as usize..kept.end as usize]);
                }
                file.append(&whole).doing("write", path)
            }
            Place::Spilled(from) => {
                file.append(prefix).doing("write", path)?;
                copy_part(&**from, &self.dir, 0, self.size, cuts, file, path)
            }
        }
    }
}

/// Appends a message that lies in a file from `at` on, without the octets of `cuts`, to another file.
pub fn copy_part(
    from: &dyn DiskFile,
    from_path: &Path,
    at: u64,
    size: u64,
    cuts: &[Range<u64>],
    to: &dyn DiskFile,
    to_path: &Path,
) -> Result<(), StoreError> {
    kept(cuts, size).try_for_each(|range| {
        copy((from, from_path), at + range.start..at + range.end, (to, to_path))
    })
}

fn copy(
    (from, from_path): (&dyn DiskFile, &Path),
    mut range: Range<u64>,
    (to, to_path): (&dyn DiskFile, &Path),
) -> Result<(), StoreError> {
    let mut chunk = vec![0; COPY_CHUNK.min((range.end - range.start) as usize)];
    while range.start < range.end {
        let length = chunk.len().min((range.end - range.start) as usize);
        let read = from.read_at(&mut chunk[..length], range.start);
        let read = match read.doing("read", from_path)? {
            // Shorter than what we wrote: never taken for the end of the message.
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()).doing("read", from_path)?,
            read => read,
        };
        to.append(&chunk[..read]).doing("write", to_path)?;
        range.start += read as u64;
    }
    Ok(())
}

/// What is left of `size` octets without the cuts, which are in order and apart.
fn kept(cuts: &[Range<u64>], size: u64) -> impl Iterator<Item = Range<u64>> {
    let starts = std::iter::once(0).chain(cuts.iter().map(|cut| cut.end));
    let ends = cuts.iter().map(|cut| cut.start).chain(std::iter::once(size));
    starts.zip(ends).map(|(start, end)| start..end).filter(|range| !range.is_empty())
}

/// Octets of a message of `size` without the cuts.
pub fn kept_size(cuts: &[Range<u64>], size: u64) -> u64 {
    kept(cuts, size).map(|range| range.end - range.start).sum()
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryDisk;

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
        body.copy_to(b"P", cuts, &*file, path).unwrap();
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
        assert_eq!(kept_size(&[0..10, 100_000..199_999], 200_000) + 1, cut.len() as u64);
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
