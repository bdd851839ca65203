//! The message of a session as it comes in, by DATA or in chunks by BDAT (RFC 5321 §4.1.1.4,
//! RFC 3030 §2), and what the language itself says about it.
//!
//! A message that is refused is still read to its end: only there a reply has its place, and only
//! after it octets are commands again.

use super::{Action, Question, Session, State};
use crate::mail::envelope::Envelope;
use crate::smtp::chunk::Chunks;
use crate::smtp::reply::Reply;

/// A chunk that comes in.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Octets to come, of as many as the client announced.
    left: u64,
    /// The message ends with this chunk.
    last: bool,
    of: ChunkOf,
}

#[derive(Debug)]
enum ChunkOf {
    Message(Envelope, Chunks),
    /// Of no message: its octets are read away (RFC 3030 §2), then this is said and that state goes
    /// on. The number: octets read so far.
    Nothing(Reply, Box<State>, u64),
}

impl Session {
    /// Whether the next octets are those of a message, or of a chunk that is read away.
    pub fn in_data(&self) -> bool {
        matches!(self.state, State::Data(..) | State::Chunk(_))
    }

    /// Whether a message has begun and not ended, also between two chunks.
    pub fn in_message(&self) -> bool {
        self.in_data() || matches!(self.state, State::Between(..))
    }

    /// Octets up to the final dot (RFC 5321 §4.1.1.4, §4.5.2). As of [`Session::feed`].
    pub(super) fn feed_data(
        &mut self,
        input: &[u8],
        body: &mut Vec<u8>,
    ) -> (usize, Option<Action>) {
        let State::Data(_, decoder) = &mut self.state else { return (0, None) };
        // Up to there its header may tell which message it was.
        let was_bare = decoder.has_bare();
        let (used, end) = decoder.feed(input, body);
        let (size, bare) = (decoder.wire_size(), decoder.has_bare());
        if size > self.settings.message_size || was_bare {
            body.clear(); // it will be refused; reading on only finds its end
        }
        if self.is_far_too_large(size) {
            return (used, Some(self.give_up()));
        }
        let action = end.then(|| match std::mem::replace(&mut self.state, State::Idle) {
            State::Data(envelope, _) => self.message(envelope, size, bare),
            other => self.unasked(other),
        });
        (used, action)
    }

    /// A chunk of this message; any number may come before the last (RFC 3030 §2).
    pub(super) fn chunk(
        &mut self,
        size: u64,
        last: bool,
        envelope: Envelope,
        chunks: Chunks,
    ) -> Action {
        self.begin_chunk(Chunk { left: size, last, of: ChunkOf::Message(envelope, chunks) })
    }

    /// A chunk of no message. RFC 3030 §2: its octets are taken before it is refused; read as
    /// commands they would be another session inside this one.
    pub(super) fn discard(&mut self, size: u64, last: bool, reply: Reply, then: State) -> Action {
        self.begin_chunk(Chunk { left: size, last, of: ChunkOf::Nothing(reply, Box::new(then), 0) })
    }

    fn begin_chunk(&mut self, chunk: Chunk) -> Action {
        match chunk.left {
            // `BDAT 0 LAST`: no octet will come to end it.
            0 => self.end_chunk(chunk),
            _ => {
                self.state = State::Chunk(chunk);
                Action::Listen
            }
        }
    }

    pub(super) fn feed_chunk(
        &mut self,
        input: &[u8],
        body: &mut Vec<u8>,
    ) -> (usize, Option<Action>) {
        let State::Chunk(chunk) = &mut self.state else { return (0, None) };
        // Never more than the length of the input, so the cast loses nothing.
        let used = chunk.left.min(input.len() as u64) as usize;
        chunk.left -= used as u64;
        let done = chunk.left == 0;
        let size = match &mut chunk.of {
            ChunkOf::Message(_, chunks) => {
                chunks.feed(&input[..used], body);
                if chunks.wire_size() > self.settings.message_size {
                    body.clear(); // it will be refused
                }
                chunks.wire_size()
            }
            ChunkOf::Nothing(_, _, size) => {
                *size += used as u64;
                *size
            }
        };
        if self.is_far_too_large(size) {
            return (used, Some(self.give_up()));
        }
        let action = done.then(|| match std::mem::replace(&mut self.state, State::Idle) {
            State::Chunk(chunk) => self.end_chunk(chunk),
            other => self.unasked(other),
        });
        (used, action)
    }

    /// All octets of a chunk are there.
    fn end_chunk(&mut self, chunk: Chunk) -> Action {
        match chunk.of {
            ChunkOf::Nothing(reply, then, _) => {
                self.state = *then;
                self.send(reply)
            }
            ChunkOf::Message(envelope, chunks) => {
                let size = chunks.wire_size();
                // Too large is said at once: a client sends no more chunks then (RFC 3030 §2).
                if chunk.last || size > self.settings.message_size {
                    return self.message(envelope, size, chunks.has_bare());
                }
                self.state = State::Between(envelope, chunks);
                self.send(Reply::new(250, "2.0.0", format!("{size} octets so far")))
            }
        }
    }

    /// A whole message: what the language itself says about it. A bare CR or LF is refused and not
    /// mended (RFC 5321 §2.3.8, §4.1.1.4): hosts that take it for a line end would find a second
    /// message inside.
    fn message(&mut self, envelope: Envelope, size: u64, bare: bool) -> Action {
        self.has_brought();
        if size > self.settings.message_size {
            let reply = self.too_large();
            self.send(reply)
        } else if bare {
            let text =
                "a CR or LF stands alone in the message; lines end in CR LF (RFC 5321 2.3.8)";
            let reply = Reply::new(550, "5.6.0", text).about(&self.settings.id);
            self.send(reply)
        } else {
            self.state = State::AskedMessage;
            Action::Ask(Question::Message(envelope))
        }
    }

    /// Past its limit a message is read away for as much again, then no more. Who comes here has
    /// not looked at SIZE, and RFC 5321 §7.8 lets a server defend itself.
    fn is_far_too_large(&self, size: u64) -> bool {
        size > self.settings.message_size.saturating_mul(2)
    }

    pub(super) fn too_large(&self) -> Reply {
        let text = format!("message is larger than {} octets", self.settings.message_size);
        Reply::new(552, "5.3.4", text).about(&self.settings.id)
    }

    /// 421 and not 552: in the middle of a message only a close can be understood.
    fn give_up(&mut self) -> Action {
        let reply = Reply::new(421, "4.3.4", "message far too large, closing");
        Action::Close(reply.about(&self.settings.id))
    }
}
