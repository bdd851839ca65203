//! Replies that are written and not yet sent: those to pipelined commands go out together (RFC 2920 §3.2).

use crate::limits::REPLIES_PENDING;
use crate::net::stream::Wire;
use crate::smtp::reply::Reply;
use std::io;
use std::time::{Duration, Instant};

#[derive(Default)]
pub(super) struct Replies(Vec<u8>);

impl Replies {
    /// One more; gives its octets.
    pub fn add(&mut self, reply: &Reply) -> &[u8] {
        let before = self.0.len();
        reply.write_to(&mut self.0);
        &self.0[before..]
    }

    /// Whether they have to be sent before there are more: a client may pipeline for ever and read nothing.
    pub fn are_many(&self) -> bool {
        self.0.len() >= REPLIES_PENDING
    }

    /// Fails with `TimedOut` when the client has not read them all within that time.
    pub fn flush(&mut self, wire: &mut dyn Wire, time: Duration) -> io::Result<()> {
        if !self.0.is_empty() {
            wire.write_all(&self.0, Instant::now() + time)?;
            self.0.clear();
        }
        Ok(())
    }
}
