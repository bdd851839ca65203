//! Other protocols, by their first octets: who speaks them here is no mail client, and may have been led here.

/// First octet of a TLS handshake record; no command begins so.
const TLS_HANDSHAKE: u8 = 0x16;

/// Whether the client begins TLS where SMTP is spoken.
pub(super) fn is_tls(input: &[u8]) -> bool {
    input.first() == Some(&TLS_HANDSHAKE)
}

/// Whether the line is HTTP: a browser, perhaps made to speak to mail servers by an attacker.
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
