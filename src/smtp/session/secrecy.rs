//! STARTTLS inside a session (RFC 3207): when it may come, and what is forgotten behind it.

use super::{Action, Session, State, order};
use crate::smtp::reply::Reply;

impl Session {
    /// TLS begins here: all that was said in the clear may be somebody else's, and is forgotten
    /// (RFC 3207 §4.2). But errors still count, and what brought no message.
    pub fn secured(&mut self) {
        *self = Session {
            is_secured: true,
            errors: self.errors,
            idled: self.idled,
            recipients_refused: self.recipients_refused,
            auth_failures: self.auth_failures,
            ..Session::new(self.settings.clone())
        };
    }

    /// What to say instead of 220 when octets came behind STARTTLS before TLS did: perhaps somebody put
    /// them there to be taken for the client's own, once TLS seems to vouch for them (RFC 3207 §6,
    /// CVE-2011-0411).
    pub fn injected(&mut self) -> Action {
        self.stranger("octets behind STARTTLS came before TLS did, closing")
    }

    /// Whether what is said goes by TLS.
    pub fn is_secured(&self) -> bool {
        self.is_secured
    }

    /// RFC 3207 §4. Inside a transaction too: nobody forbids it, and it ends there.
    pub(super) fn start_tls(&mut self, state: State) -> Action {
        let refusal = match (self.is_secured, self.settings.tls) {
            (true, _) => order("TLS has begun already"),
            (false, false) => Reply::new(502, "5.5.1", "command not implemented"),
            (false, true) => return Action::StartTls(Reply::new(220, "2.0.0", "go on by TLS")),
        };
        self.state = state;
        self.send(refusal)
    }

    pub(super) fn can_start_tls(&self) -> bool {
        self.settings.tls && !self.is_secured
    }
}
