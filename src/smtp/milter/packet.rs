//! Packets: a length of four octets, a letter, and data.

use super::answer::BadFilterAnswer;
use crate::limits::FILTER_PACKET_MAX;

/// Octets before the letter.
const LENGTH: usize = 4;

/// What has come of a filter and was not read yet.
#[derive(Debug, Default)]
pub struct PacketBuffer {
    held: Vec<u8>,
    /// Octets of `held` that were read.
    read: usize,
}

impl PacketBuffer {
    pub fn feed(&mut self, octets: &[u8]) {
        self.held.drain(..std::mem::take(&mut self.read));
        self.held.extend_from_slice(octets);
    }

    /// Whether all that came was read.
    pub fn is_empty(&self) -> bool {
        self.read == self.held.len()
    }

    /// The letter and the data of the next packet; none before it is whole. A length is judged as soon as it is
    /// there, so that nobody makes us wait for four gigabytes.
    pub fn next(&mut self) -> Result<Option<(u8, &[u8])>, BadFilterAnswer> {
        let waiting = &self.held[self.read..];
        let Some(length) = waiting.first_chunk::<LENGTH>() else { return Ok(None) };
        let length = match u32::from_be_bytes(*length) {
            0 => return Err(BadFilterAnswer::Empty),
            length if length as usize > FILTER_PACKET_MAX => {
                return Err(BadFilterAnswer::Long(length));
            }
            length => length as usize,
        };
        if waiting.len() < LENGTH + length {
            return Ok(None);
        }
        let at = self.read + LENGTH;
        self.read = at + length;
        Ok(Some((self.held[at], &self.held[at + 1..self.read])))
    }
}

/// Appends a packet. Its data is what we say, which is never longer than a message's header.
pub fn write(letter: u8, data: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(data.len() + 1).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.push(letter);
    out.extend_from_slice(data);
}
