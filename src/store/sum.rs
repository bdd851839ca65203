//! A checksum of octets that lie on a disk: CRC-32 as in gzip, PNG and `crc32` (ISO 3309).
//!
//! It detects octets that a disk loses or mixes up, no forgery, and costs less than to copy the octets.

use crc32fast::Hasher;
use std::io;

/// The sum of octets as they come.
#[derive(Clone, Debug, Default)]
pub struct Sum(Hasher);

impl Sum {
    pub fn of(octets: &[u8]) -> Sum {
        let mut sum = Sum::default();
        sum.feed(octets);
        sum
    }

    pub fn feed(&mut self, octets: &[u8]) {
        self.0.update(octets);
    }

    /// Adds the next `size` octets, of which only the sum is known.
    pub fn append(&mut self, sum: u32, size: u64) {
        self.0.combine(&Hasher::new_with_initial_len(sum, size));
    }

    /// The sum of the last `size` octets, where that of all before them is `head`.
    pub fn behind(&self, head: &Sum, size: u64) -> u32 {
        // The sum of two parts is the first one's, shifted by the length of the second, xor the second one's.
        let mut moved = head.clone();
        moved.append(0, size);
        self.value() ^ moved.value()
    }

    pub fn value(&self) -> u32 {
        self.0.clone().finalize()
    }

    /// Fails with `InvalidData` where the sum is not `meant`.
    pub fn check(&self, meant: u32) -> io::Result<()> {
        match self.value() == meant {
            true => Ok(()),
            false => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "other octets came back than were written",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_the_one_of_gzip_however_the_octets_come() {
        assert_eq!(Sum::of(b"123456789").value(), 0xcbf4_3926);
        let mut sum = Sum::of(b"123");
        sum.append(Sum::of(b"4567").value(), 4);
        sum.feed(b"89");
        assert!(sum.check(0xcbf4_3926).is_ok() && sum.check(0).is_err());
        assert_ne!(Sum::of(&[0; 5]).value(), Sum::of(&[0; 6]).value());
    }
}
