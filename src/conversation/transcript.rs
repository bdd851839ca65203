//! What is said in a conversation, for the trace: told in parts, one for what is said outside of
//! transactions and one for each transaction, which belongs to the message that comes of it.
//!
//! Secrets never get here: of AUTH the mechanism is kept, and nothing of an exchange.

use crate::event::count::{COMMANDS, REPLIES};
use crate::event::{About, Talk, Turn, tell_talk};
use crate::filters::FilterNote;
use crate::limits::TRACE_SESSION_MAX;
use crate::mail::address::ForwardPath;
use crate::route::{Delivery, Planned};
use crate::smtp::auth::Mechanism;
use crate::smtp::reply::Reply;
use crate::smtp::session::Session;
use std::borrow::Cow;
use std::fmt::Write as _;

/// What was said and not yet told to the trace.
pub(super) struct Transcript {
    talk: Talk,
    /// Transactions so far.
    transactions: u32,
    is_inside: bool,
    /// Of a message that was taken and not yet told of.
    id: Option<String>,
    /// Octets of the message or chunk that comes in.
    octets: u64,
    /// Octets told so far that belong to no message.
    spent: usize,
}

/// Octets that most decisions need.
const DECISION_USUAL: usize = 96;

/// Deliveries for one recipient that are named.
const NAMED: usize = 10;

impl Transcript {
    pub fn new(session: &str) -> Transcript {
        let mut talk = Talk::new();
        talk.about = About { session: session.to_owned(), ..About::default() };
        Transcript { talk, transactions: 0, is_inside: false, id: None, octets: 0, spent: 0 }
    }

    /// Octets of a message went by.
    pub fn count(&mut self, octets: usize) {
        self.octets += octets as u64;
    }

    /// A command, or a message, has come whole.
    pub fn heard(&mut self, session: &Session) {
        if self.octets > 0 {
            return self.note_octets();
        }
        let command = session.command_text();
        if !session.is_exchange() {
            let verb = command.split(|octet| *octet == b' ').next().unwrap_or_default();
            COMMANDS.add(str::from_utf8(verb).unwrap_or_default());
        }
        if !self.talk.is_on() {
            return;
        }
        let is_mail = command
            .trim_ascii_start()
            .get(..4)
            .is_some_and(|verb| verb.eq_ignore_ascii_case(b"MAIL"));
        if is_mail && !self.is_inside {
            self.tell_part();
            self.is_inside = true;
            self.transactions += 1;
            self.talk.about.transaction = self.transactions;
        }
        match session.is_exchange() {
            true => self.talk.note(Turn::Heard, "(an answer of AUTH)"),
            false => self.talk.note(Turn::Heard, &masked(&command)),
        }
    }

    /// A reply is on its way. A refusal is told at once, as somebody may ask about it.
    pub fn said(&mut self, reply: &Reply, octets: &[u8], in_transaction: bool) {
        REPLIES.add(reply.code());
        if !self.talk.is_on() {
            return;
        }
        match reply.code() {
            // What SCRAM asks belongs to its secrets.
            334 => self.talk.note(Turn::Said, "334 (a question of AUTH)"),
            _ => {
                let text = String::from_utf8_lossy(octets.trim_ascii_end());
                match text.contains('\r') {
                    true => self.talk.note(Turn::Said, &text.replace("\r\n", "\n")),
                    false => self.talk.note(Turn::Said, &text),
                }
            }
        }
        let is_over = self.is_inside && !in_transaction;
        if is_over || reply.is_refusal() {
            self.tell_part();
        }
        if is_over {
            self.is_inside = false;
            self.talk.about.transaction = 0;
        }
    }

    /// The message under way, if there is one, ends here and not as it should.
    pub fn cut_off(&mut self) {
        if self.octets > 0 {
            self.note_octets();
        }
    }

    fn note_octets(&mut self) {
        let octets = std::mem::take(&mut self.octets);
        self.talk.note(Turn::Message, &octets.to_string());
    }

    /// By what name its sender knows the message.
    pub fn note_message_id(&mut self, message_id: Option<&str>) {
        if let Some(message_id) = message_id {
            self.talk.note(Turn::MessageId, message_id);
        }
    }

    /// For the trace, which finds the session by the user's address.
    pub fn login_failed(&mut self, user: &str, why: &str) {
        if self.talk.is_on() {
            self.talk.note(Turn::Decided, &format!("login as {user} failed: {why}"));
        }
    }

    /// The message was taken, under this id.
    pub fn taken(&mut self, id: &str) {
        self.id = Some(id.to_owned());
    }

    /// What a filter said.
    pub fn filtered(&mut self, note: &FilterNote) {
        if self.talk.is_on() {
            self.talk.note(Turn::Decided, &note.to_string());
        }
    }

    /// Where the mail of a recipient goes.
    pub fn decided(&mut self, path: &ForwardPath, deliveries: &[Planned]) {
        if !self.talk.is_on() {
            return;
        }
        let mut text = String::with_capacity(DECISION_USUAL);
        // Writing to a String cannot fail.
        let _ = write!(text, "{path}: ");
        for (index, planned) in deliveries.iter().take(NAMED).enumerate() {
            text.push_str(if index > 0 { ", " } else { "" });
            let _ = match &planned.delivery {
                Delivery::Maildir(destination) => write!(text, "mailbox {}", destination.mailbox),
                Delivery::Lmtp(kept) => {
                    write!(text, "by LMTP to {} for {}", kept.server, kept.mailbox)
                }
                Delivery::NextHop { mailbox, via: Some(via) } => {
                    write!(text, "on to {mailbox} from {via}")
                }
                Delivery::NextHop { mailbox, via: None } => write!(text, "on to {mailbox}"),
            };
        }
        match deliveries.len().saturating_sub(NAMED) {
            0 if deliveries.is_empty() => text.push_str("gets it already"),
            0 => {}
            more => {
                let _ = write!(text, ", and {more} more");
            }
        }
        self.talk.note(Turn::Decided, &text);
    }

    /// Tells what was said since the last part.
    fn tell_part(&mut self) {
        if self.talk.is_empty() {
            return;
        }
        let mut part = self.talk.take();
        match self.id.take() {
            Some(id) => part.about.id = id,
            None if self.spent > TRACE_SESSION_MAX => return,
            None => {
                self.spent += part.size();
                if self.spent > TRACE_SESSION_MAX {
                    part.note(
                        Turn::Decided,
                        "too much was said: only what brings mail is kept now",
                    );
                }
            }
        }
        tell_talk(part);
    }
}

/// However the conversation ends, by a panic too.
impl Drop for Transcript {
    fn drop(&mut self) {
        self.tell_part();
    }
}

/// A command as it may be kept. What stands behind AUTH may be a password when it is no mechanism.
fn masked(command: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(command);
    match text.split_once(' ') {
        Some((verb, rest)) if verb.eq_ignore_ascii_case("AUTH") => match Mechanism::parse(rest) {
            Some(mechanism) => format!("{verb} {mechanism}").into(),
            None => format!("{verb} (hidden)").into(),
        },
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_password_is_hidden() {
        for (command, kept) in [
            ("EHLO client.test", "EHLO client.test"),
            ("auth plain", "auth PLAIN"),
            ("AUTH dGhlcGFzc3dvcmQ=", "AUTH (hidden)"),
            ("AUTH", "AUTH"),
        ] {
            assert_eq!(masked(command.as_bytes()), kept);
        }
    }
}
