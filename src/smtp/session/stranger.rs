//! Those who speak something else than SMTP, known by their first octets, or before their time.

use super::Session;
use crate::smtp::reply::Reply;

impl Session {
    /// What to say instead of the banner to a client that did not wait for it (RFC 5321 §4.3.1): it
    /// speaks to a list of hosts, not to us.
    pub fn early(&self) -> Reply {
        Reply::new(421, "4.7.0", "you spoke before the greeting, closing").about(&self.settings.id)
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
