//! A chunk of BDAT as it comes in (RFC 3030 §2).

use super::SessionState;
use crate::mail::envelope::Envelope;
use crate::smtp::chunk::Chunks;
use crate::smtp::reply::Reply;

/// A chunk that comes in.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Octets still to come.
    pub left: u64,
    /// The message ends with this chunk.
    pub last: bool,
    pub of: ChunkOf,
}

#[derive(Debug)]
pub(super) enum ChunkOf {
    Message(Envelope, Chunks),
    /// It belongs to no message: its octets are read away, then this reply is sent and this state goes on. The
    /// number: octets read so far.
    Nothing(Reply, Box<SessionState>, u64),
}

impl Chunk {
    /// Takes the octets of the input that belong to the chunk; gives how many, and the size of the message so
    /// far. Octets of a message, with LF line ends, are appended to `body`.
    pub fn feed(&mut self, input: &[u8], body: &mut Vec<u8>) -> (usize, u64) {
        // Never more than the length of the input, so the cast loses nothing.
        let used = self.left.min(input.len() as u64) as usize;
        self.left -= used as u64;
        let size = match &mut self.of {
            ChunkOf::Message(_, chunks) => {
                chunks.feed(&input[..used], body);
                chunks.wire_size()
            }
            ChunkOf::Nothing(_, _, size) => {
                *size += used as u64;
                *size
            }
        };
        (used, size)
    }
}
