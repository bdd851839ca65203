//! The end of a conversation: its last reply, and why it is said.

use super::Conversation;
use crate::smtp::reply::Reply;
use std::io;

/// Reasons why a conversation is over.
pub(super) const QUIT: &str = "quit";
pub(super) const SHUTDOWN: &str = "shutdown";
pub(super) const ROOM: &str = "made room for another client";

impl Conversation<'_> {
    /// Says the last reply; gives `reason` back.
    pub(super) fn close(
        &mut self,
        reply: &Reply,
        command: &[u8],
        reason: &'static str,
    ) -> io::Result<&'static str> {
        self.cut_off();
        self.queue_to(command, reply);
        self.flush()?;
        // Who said QUIT, or was told to go while silent, has nothing more under way.
        if !matches!(reason, QUIT | SHUTDOWN | ROOM) {
            self.wire.finish();
        }
        Ok(reason)
    }

    /// What to say where the session has to end by no wish of its client (RFC 5321 §3.8: 421 may be said
    /// at any time): the server stops, or the place is somebody else's. `may_stop`: a stop need not wait
    /// for what is under way.
    pub(super) fn farewell(&self, may_stop: bool) -> Option<(Reply, &'static str)> {
        let hostname = &self.site.config.hostname;
        let (text, reason) = match () {
            () if may_stop && self.ticket.is_stopping() => {
                (format!("{hostname} is shutting down, try later"), SHUTDOWN)
            }
            () if self.ticket.is_leaving() => {
                (format!("{hostname} has too many sessions, try later"), ROOM)
            }
            () => return None,
        };
        Some((Reply::new(421, "4.3.2", text).about(&self.visitor.id), reason))
    }

    pub(super) fn leave(
        &mut self,
        (reply, reason): &(Reply, &'static str),
    ) -> io::Result<&'static str> {
        self.close(reply, format!("({reason})").as_bytes(), reason)
    }

    /// A timeout is one of the few reasons to close on a client (RFC 5321 §3.8).
    pub(super) fn too_slow(&mut self) -> io::Result<&'static str> {
        let text = format!("{} has waited too long, closing", self.site.config.hostname);
        let reply = Reply::new(421, "4.4.2", text).about(&self.visitor.id);
        self.close(&reply, b"(timeout)", "timeout")
    }
}
