//! How TLS with a next hop failed: a type that the words for people, the counters and the reports to the host's
//! owner (RFC 8460) share, so that none of them reads the others' words. Pure.

use std::error::Error;
use std::fmt;

/// The result types of RFC 8460 §4.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsFailure {
    /// The host offers no STARTTLS, or refuses it.
    NotOffered,
    /// The certificate is for other names.
    OtherName,
    /// The certificate is out of date.
    Expired,
    /// Nobody that counts vouches for the certificate: no authority, or no TLSA record.
    NotTrusted,
    /// Any other end of a handshake.
    Handshake,
    /// No TLSA record of the host can be used.
    TlsaInvalid,
    /// DNS does not answer as DNSSEC wants: a TLSA question in a signed zone failed.
    DnssecInvalid,
    /// A policy could not be fetched.
    PolicyFetch,
    /// A policy was fetched and is none.
    PolicyInvalid,
    /// The policy's own host has no certificate that holds.
    PolicyWebpki,
}

/// A failure with the words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsTrouble {
    pub failure: TlsFailure,
    /// A sentence without its full stop; printable.
    pub words: String,
}

impl TlsFailure {
    pub const ALL: [TlsFailure; 10] = [
        TlsFailure::NotOffered,
        TlsFailure::OtherName,
        TlsFailure::Expired,
        TlsFailure::NotTrusted,
        TlsFailure::Handshake,
        TlsFailure::TlsaInvalid,
        TlsFailure::DnssecInvalid,
        TlsFailure::PolicyFetch,
        TlsFailure::PolicyInvalid,
        TlsFailure::PolicyWebpki,
    ];

    /// The name in reports and counters (RFC 8460 §4.3).
    pub const fn name(self) -> &'static str {
        match self {
            TlsFailure::NotOffered => "starttls-not-supported",
            TlsFailure::OtherName => "certificate-host-mismatch",
            TlsFailure::Expired => "certificate-expired",
            TlsFailure::NotTrusted => "certificate-not-trusted",
            TlsFailure::Handshake => "validation-failure",
            TlsFailure::TlsaInvalid => "tlsa-invalid",
            TlsFailure::DnssecInvalid => "dnssec-invalid",
            TlsFailure::PolicyFetch => "sts-policy-fetch-error",
            TlsFailure::PolicyInvalid => "sts-policy-invalid",
            TlsFailure::PolicyWebpki => "sts-webpki-invalid",
        }
    }
}

impl TlsTrouble {
    pub fn new(failure: TlsFailure, words: impl Into<String>) -> TlsTrouble {
        TlsTrouble { failure, words: words.into() }
    }
}

impl fmt::Display for TlsTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl Error for TlsTrouble {}
