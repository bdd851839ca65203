//! How much a client may get wrong, or say without bringing mail, before its session ends (RFC 5321 §7.8).

use super::Settings;
use crate::limits::{IDLE_COMMANDS_MAX, RECIPIENTS_REFUSED_MAX};
use crate::smtp::command::Command;
use crate::smtp::reply::Reply;

/// The counts of one connection; they go on when TLS begins.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Patience {
    errors: usize,
    /// Commands since the last message that bring no message nearer.
    idled: usize,
    /// Recipients refused since the last message.
    recipients_refused: usize,
    /// Wrong passwords.
    auth_failures: usize,
}

/// `Err`: the last reply, because a limit is passed.
type Enough = Result<(), Reply>;

impl Patience {
    /// Counts a 5xx reply.
    pub fn error(&mut self, settings: &Settings) -> Enough {
        self.errors += 1;
        within(self.errors, settings.errors, "too many errors, closing", settings)
    }

    /// Counts a command that brings no message nearer, and MAIL, which RSET may follow for ever. RCPT and the
    /// message itself have bounds of their own, and a bad command counts as an error.
    pub fn command(&mut self, command: &Command, settings: &Settings) -> Enough {
        let is_idle = match command {
            Command::Noop
            | Command::Rset
            | Command::Help(_)
            | Command::Vrfy(_)
            | Command::Expn(_)
            | Command::Etrn(_)
            | Command::Ehlo(_)
            | Command::Helo(_)
            | Command::StartTls
            | Command::Auth { .. }
            | Command::Mail(_)
            | Command::Bdat { size: 0, last: false } => true,
            Command::Rcpt(_) | Command::Data | Command::Bdat { .. } | Command::Quit => false,
        };
        self.idled += usize::from(is_idle);
        let text = "too many commands and no message, closing";
        within(self.idled, IDLE_COMMANDS_MAX, text, settings)
    }

    pub fn refused_recipient(&mut self, settings: &Settings) -> Enough {
        self.recipients_refused += 1;
        let text = "too many recipients were refused, closing";
        within(self.recipients_refused, RECIPIENTS_REFUSED_MAX, text, settings)
    }

    pub fn failed_login(&mut self, settings: &Settings) -> Enough {
        self.auth_failures += 1;
        let text = "too many wrong passwords, closing";
        within(self.auth_failures, settings.auth_failures, text, settings)
    }

    /// A message has come to its end, taken or refused.
    pub fn brought(&mut self) {
        (self.idled, self.recipients_refused) = (0, 0);
    }
}

fn within(count: usize, most: usize, text: &str, settings: &Settings) -> Enough {
    match count > most {
        true => Err(Reply::new(421, "4.7.0", text).about(&settings.id)),
        false => Ok(()),
    }
}
