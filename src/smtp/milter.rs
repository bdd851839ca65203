//! The filter language (milter protocol, versions 2 to 6), as a machine: what is to be said to a filter comes
//! out as octets, what it says goes in, in any pieces, and answers come out. Pure.
//!
//! ```text
//! negotiate ─► connect ─► helo ─► mail ─► rcpt… ─► data ─► header… ─► end of header ─► body… ─► end of message
//!     ▲                             ▲                                                                │
//!     └─ quit, but a client follows ┴─ abort, or the verdict on the message ◄────────────────────────┘
//! ```
//!
//! All actions are offered. Steps that the filter does not want are not said, and answers that it does not give
//! are not waited for; the version it speaks says which of both it can ask for. An answer that makes no sense,
//! or not there, is an error that names it: after it the connection can only be closed. Memory is bounded by one
//! packet.
//!
//! Descriptions of the protocol: `milter-protocol.txt` of 2004 for version 2, its supplement for 3 to 6, and
//! what Sendmail and Postfix do.

mod answer;
mod command;
mod lines;
mod macros;
mod negotiation;
mod packet;
mod reply;
#[cfg(test)]
mod tests;

pub use answer::{BadFilterAnswer, FilterAnswer, FilterChange, FilterVerdict};
pub use command::{FilterCommand, FilterStage};
pub use lines::{BodyChunks, BodyLines};
pub use macros::FilterMacros;
pub use negotiation::{FilterOptions, offer};
pub use reply::FilterReply;

use packet::PacketBuffer;

/// One connection to a filter, from its negotiation on.
#[derive(Debug, Default)]
pub struct MilterClient {
    packets: PacketBuffer,
    /// What was agreed; none before the filter has answered.
    options: Option<FilterOptions>,
    /// The command whose answer is waited for.
    awaited: Option<FilterStage>,
    /// The filter wants no more of this body.
    skips_body: bool,
}

impl MilterClient {
    /// What was agreed; none before the filter has answered.
    pub fn options(&self) -> Option<&FilterOptions> {
        self.options.as_ref()
    }

    /// Appends a command with its macros, where the filter wants it; true where an answer has to be waited for.
    /// Fails where the filter has said something that nobody asked for.
    pub fn say(
        &mut self,
        command: &FilterCommand<'_>,
        macros: &FilterMacros,
        out: &mut Vec<u8>,
    ) -> Result<bool, BadFilterAnswer> {
        let Some(options) = &self.options else { return Err(BadFilterAnswer::NotReady) };
        if !self.packets.is_empty() {
            return Err(BadFilterAnswer::Unasked);
        }
        let stage = command.stage();
        if stage == FilterStage::EndOfHeader {
            self.skips_body = false;
        }
        if !options.wants(stage) || stage == FilterStage::Body && self.skips_body {
            return Ok(false);
        }
        macros.write(stage, options.wish(stage), out);
        command.write(out);
        let is_answered = options.is_answered(stage);
        self.awaited = is_answered.then_some(stage);
        Ok(is_answered)
    }

    /// Takes the next octets of the filter.
    pub fn feed(&mut self, octets: &[u8]) {
        self.packets.feed(octets);
    }

    /// The next answer; none where more octets are needed. After a verdict, and after [`FilterAnswer::Ready`]
    /// and [`FilterAnswer::Skip`], the command is answered.
    pub fn answer(&mut self) -> Result<Option<FilterAnswer>, BadFilterAnswer> {
        let Some((letter, data)) = self.packets.next()? else { return Ok(None) };
        let Some(options) = &self.options else {
            self.options = Some(FilterOptions::parse(letter, data)?);
            return Ok(Some(FilterAnswer::Ready));
        };
        let Some(stage) = self.awaited else { return Err(BadFilterAnswer::Unasked) };
        let answer = FilterAnswer::parse(letter, data)?;
        let is_good = match &answer {
            FilterAnswer::Ready => false,
            FilterAnswer::Verdict(_) | FilterAnswer::Progress => true,
            FilterAnswer::Skip => stage == FilterStage::Body && options.may_skip(),
            FilterAnswer::Change(_) => stage == FilterStage::EndOfMessage,
        };
        if !is_good {
            return Err(BadFilterAnswer::Stage { letter, stage });
        }
        match &answer {
            FilterAnswer::Skip => self.skips_body = true,
            FilterAnswer::Verdict(_) | FilterAnswer::Ready => {}
            FilterAnswer::Change(_) | FilterAnswer::Progress => return Ok(Some(answer)),
        }
        self.awaited = None;
        Ok(Some(answer))
    }

    /// Appends the end of the message under way: the next one begins with MAIL. No answer comes.
    pub fn abort(out: &mut Vec<u8>) {
        packet::write(b'A', &[], out);
    }

    /// Appends the end of the connection.
    pub fn quit(out: &mut Vec<u8>) {
        packet::write(b'Q', &[], out);
    }

    /// Appends the end of this client, where the connection goes on with the next one, and a new offer, whose answer
    /// has to come before anything is said; false where the filter does not know how, or owes an answer. Sendmail's
    /// library takes this and is silent then, though its version knows the word: only the answer tells.
    pub fn quit_for_next(&mut self, out: &mut Vec<u8>) -> bool {
        let knows = self.options.as_ref().is_some_and(FilterOptions::knows_next_client);
        let is_at_rest = self.awaited.is_none() && self.packets.is_empty();
        if knows && is_at_rest {
            packet::write(b'K', &[], out);
            out.extend(offer());
            self.options = None;
        }
        knows && is_at_rest
    }
}
