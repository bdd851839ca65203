//! What is said in a conversation, for the trace: told in parts, one for what is said outside of
//! transactions and one for each transaction, which belongs to the message that comes of it.
//!
//! Secrets never get here: of AUTH the mechanism is kept, and nothing of an exchange.

use super::{Conversation, Place, Target};
use crate::event::count::{COMMANDS, REPLIES};
use crate::event::{Turn, tell_talk};
use crate::limits::TRACE_SESSION_MAX;
use crate::mail::address::ForwardPath;
use crate::smtp::auth::Mechanism;
use crate::smtp::reply::Reply;
use std::borrow::Cow;

/// Where the trace of this session stands.
#[derive(Default)]
pub(super) struct Progress {
    /// Transactions so far.
    transactions: u32,
    is_inside: bool,
    /// Of a message that was taken and not yet told of.
    pub(super) id: Option<String>,
    /// Octets of the message or chunk that comes in.
    octets: u64,
    /// Octets told so far that belong to no message.
    spent: usize,
}

/// Targets of one recipient that are named.
const NAMED: usize = 10;

impl Conversation<'_> {
    /// Octets of a message went by.
    pub(super) fn count(&mut self, octets: usize) {
        self.progress.octets += octets as u64;
    }

    /// A command, or a message, has come whole.
    pub(super) fn heard(&mut self) {
        if self.progress.octets > 0 {
            let octets = std::mem::take(&mut self.progress.octets);
            return self.talk.note(Turn::Message, &octets.to_string());
        }
        let command = self.session.command_text();
        if !self.session.is_exchange() {
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
        if is_mail && !self.progress.is_inside {
            self.tell_part();
            self.progress.is_inside = true;
            self.progress.transactions += 1;
            self.talk.about.transaction = self.progress.transactions;
        }
        match self.session.is_exchange() {
            true => self.talk.note(Turn::Heard, "(an answer of AUTH)"),
            false => self.talk.note(Turn::Heard, &masked(&self.session.command_text())),
        }
    }

    /// A reply is on its way. A refusal is told at once, as somebody may ask about it.
    pub(super) fn said(&mut self, reply: &Reply, octets: &[u8]) {
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
        let is_over = self.progress.is_inside && !self.session.in_transaction();
        if is_over || reply.is_refusal() {
            self.tell_part();
        }
        if is_over {
            self.progress.is_inside = false;
            self.talk.about.transaction = 0;
        }
    }

    /// The message ends here if one is under way, and not as it should: what came of it is kept.
    pub(super) fn cut_off(&mut self) {
        let octets = std::mem::take(&mut self.progress.octets);
        if octets > 0 {
            self.talk.note(Turn::Message, &octets.to_string());
        }
        if let Some(incoming) = self.incoming.take() {
            self.note_message_id(incoming.message_id());
        }
    }

    /// Where the mail of a recipient goes.
    pub(super) fn decided(&mut self, path: &ForwardPath, before: usize) {
        if !self.talk.is_on() {
            return;
        }
        let words: Vec<String> = self.targets[before..].iter().take(NAMED).map(words).collect();
        let more = match (self.targets.len() - before).saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let text = match words.is_empty() {
            true => format!("{path}: gets it already"),
            false => format!("{path}: {}{more}", words.join(", ")),
        };
        self.talk.note(Turn::Decided, &text);
    }

    /// Tells what was said since the last part.
    pub(super) fn tell_part(&mut self) {
        if self.talk.is_empty() {
            return;
        }
        let mut part = self.talk.take();
        match self.progress.id.take() {
            Some(id) => part.about.id = id,
            None if self.progress.spent > TRACE_SESSION_MAX => return,
            None => {
                self.progress.spent += part.size();
                if self.progress.spent > TRACE_SESSION_MAX {
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
impl Drop for Conversation<'_> {
    fn drop(&mut self) {
        self.cut_off();
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

fn words(target: &Target) -> String {
    match &target.place {
        Place::Here(destination) => format!("mailbox {}", destination.mailbox),
        Place::Elsewhere { mailbox, via: Some(via) } => format!("on to {mailbox} from {via}"),
        Place::Elsewhere { mailbox, via: None } => format!("on to {mailbox}"),
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
