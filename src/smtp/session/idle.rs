//! Commands that bring no message: how many of them one session may say (RFC 5321 §7.8).

use super::{Action, Session};
use crate::limits::{IDLE_COMMANDS_MAX, RECIPIENTS_REFUSED_MAX};
use crate::smtp::command::Command;
use crate::smtp::reply::Reply;

impl Session {
    /// Counts a command after which no message is nearer, and MAIL, which RSET may follow for ever;
    /// gives the end of the session past the limit. RCPT and the message itself have bounds of their
    /// own, and what is wrong counts as an error.
    pub(super) fn idle(&mut self, command: &Command) -> Option<Action> {
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
        let reply = || Reply::new(421, "4.7.0", "too many commands and no message, closing");
        (self.idled > IDLE_COMMANDS_MAX).then(|| Action::Close(reply().about(&self.settings.id)))
    }

    /// Says no to a recipient; past the limit that is the end of the session.
    pub(super) fn refuse_recipient(&mut self, reply: Reply) -> Action {
        self.recipients_refused += 1;
        if self.recipients_refused > RECIPIENTS_REFUSED_MAX {
            let reply = Reply::new(421, "4.7.0", "too many recipients were refused, closing");
            return Action::Close(reply.about(&self.settings.id));
        }
        self.send(reply.about(&self.settings.id))
    }

    /// A message has come to its end, whatever becomes of it.
    pub(super) fn has_brought(&mut self) {
        (self.idled, self.recipients_refused) = (0, 0);
    }
}
