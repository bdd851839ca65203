//! Those who speak something else than SMTP, known by their first octets, or before their time.

use super::{Action, Session, State};
use crate::smtp::reply::Reply;

impl Session {
    /// What to say instead of the banner to a client that did not wait for it (RFC 5321 §4.3.1): it
    /// speaks to a list of hosts, not to us.
    pub fn early(&self) -> Reply {
        Reply::new(421, "4.7.0", "you spoke before the greeting, closing").about(&self.settings.id)
    }

    /// Whether the line that has begun ends in a bare LF: perhaps its sender takes that for its end, and
    /// waits for a reply (RFC 5321 §2.3.8 wants CR LF).
    pub fn ends_in_bare_lf(&self) -> bool {
        self.lines.ends_in_bare_lf()
    }

    /// Nothing came behind that LF for a while: the line is refused, never run, and over.
    pub fn bare_lf(&mut self) -> Action {
        self.lines.end();
        // Inside AUTH it was an answer, and what follows may be its rest.
        if let State::Auth(_) = self.state {
            self.state = State::Idle;
            self.after_auth = true;
        }
        match self.send(Reply::new(500, "5.5.2", "lines end in CR LF")) {
            Action::Send(reply) => Action::SendNow(reply),
            action => action,
        }
    }
}

/// First octet of a TLS handshake record; no command begins so.
const TLS_HANDSHAKE: u8 = 0x16;

/// TLS where SMTP is spoken.
pub(super) fn is_tls(input: &[u8]) -> bool {
    input.first() == Some(&TLS_HANDSHAKE)
}

/// A browser, or somebody who lets one speak to mail servers.
pub(super) fn is_http(line: &[u8]) -> bool {
    const VERBS: [&[u8]; 11] = [
        b"GET ",
        b"POST ",
        b"PUT ",
        b"HEAD ",
        b"DELETE ",
        b"OPTIONS ",
        b"CONNECT ",
        b"PATCH ",
        b"TRACE ",
        b"PROPFIND ",
        b"PRI * ",
    ];
    VERBS.iter().any(|verb| line.starts_with(verb))
}
