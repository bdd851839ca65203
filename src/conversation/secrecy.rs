//! From the clear to TLS: at the first octet where the service says so, else behind STARTTLS
//! (RFC 3207, RFC 8314 §3.3).

use super::ending::{ROOM, SHUTDOWN};
use super::{Conversation, Ended};
use crate::event::{Event, tell};
use crate::net::listener::Service;
use crate::net::tls::Side;
use crate::smtp::session::Action;
use std::io::{self, ErrorKind};
use std::time::Instant;

impl Conversation<'_> {
    /// Goes on by TLS. A handshake that fails ends the session without a word in SMTP: nobody knows
    /// what the other side would take it for.
    pub(super) fn secure(&mut self) -> io::Result<Ended> {
        self.rest();
        let Some(acceptor) = self.site.acceptor() else {
            return Err(io::Error::other("there is no [tls] in the configuration"));
        };
        // Nothing is under way yet, so a stop need not wait for it.
        self.ticket.set_idle(true);
        self.ticket.set_waiting(Some(self.heard_at));
        if self.ticket.is_stopping() {
            return Ok(Some(SHUTDOWN));
        }
        let deadline = Instant::now() + self.site.config.timeout.command;
        let done = self.wire.secure(Side::Server(acceptor), deadline);
        self.ticket.set_idle(false);
        self.ticket.set_waiting(None);
        let protection = match done {
            Ok(protection) => protection,
            Err(_) if self.ticket.is_stopping() => return Ok(Some(SHUTDOWN)),
            Err(_) if self.ticket.is_leaving() => return Ok(Some(ROOM)),
            Err(error) => return Err(io::Error::other(failed(&error, self.visitor.service))),
        };
        self.wake();
        let (session, tls) = (self.visitor.id.as_str(), protection.to_string());
        tell(&Event::Secured { session, tls: &tls });
        self.session.secured();
        self.session.bind(self.wire.bindings().unwrap_or_default());
        self.protection = Some(protection);
        // The time that the handshake took is not that of the next command.
        self.heard_at = Instant::now();
        self.deadline = self.heard_at + self.site.config.timeout.command;
        Ok(None)
    }

    /// What is done about STARTTLS when `left` octets came with it. Some may lie in the socket as well.
    pub(super) fn start_tls(&mut self, action: Action, left: usize) -> Action {
        match action {
            Action::StartTls(_) if left > 0 || self.wire.is_early() => self.session.injected(),
            action => action,
        }
    }
}

/// Why there is no TLS, for the log.
fn failed(error: &io::Error, service: Service) -> String {
    let why = match error.kind() {
        // It has words where nothing came at all: a client that waits for our banner waits for ever.
        ErrorKind::TimedOut if error.get_ref().is_some() && service == Service::Submissions => {
            "it was not done in time: the client was silent and sent no ClientHello; this port speaks TLS from its first \
             octet, and a client that is set to STARTTLS or to no TLS waits here for a greeting"
                .to_owned()
        }
        ErrorKind::TimedOut if error.get_ref().is_some() => {
            "it was not done in time: the client was silent and sent no ClientHello".to_owned()
        }
        ErrorKind::TimedOut => "it was not done in time".to_owned(),
        ErrorKind::UnexpectedEof => "the client closed the connection".to_owned(),
        _ => error.to_string(),
    };
    format!("TLS handshake failed: {why}")
}
