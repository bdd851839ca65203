//! What a domain says by MTA-STS (RFC 8461): the record that tells of a policy, the policy, and which MX hosts it
//! fits. Pure: octets in, values out.
//!
//! The grammar is the RFC's, to the letter: a text that is not of it says nothing, and a domain that says nothing
//! has no policy. What is unknown in a good text does not count.

mod policy;
mod record;

pub use policy::{MxPattern, StsMode, StsPolicy};
pub use record::StsId;

use crate::mail::tags::shown;
use std::fmt;

/// Why a text is no record or no policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadSts {
    /// Of several records none counts.
    Several,
    /// This field is not of the grammar; cut to a few octets.
    Field(String),
    /// This field is missing.
    Missing(&'static str),
    /// The version is another one than STSv1.
    Version,
    /// The mode is none that there is.
    Mode(String),
    /// `max_age` is no number of seconds up to a year.
    MaxAge(String),
    /// An `mx` that is neither a name nor `*.` with a name.
    Mx(String),
    /// The text is not UTF-8.
    NoText,
    /// The text is longer than a policy may be.
    Long,
}

impl BadSts {
    fn field(text: &[u8]) -> BadSts {
        BadSts::Field(shown(text))
    }
}

impl fmt::Display for BadSts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadSts::Several => f.write_str("there are several records, so none counts"),
            BadSts::Field(text) => write!(f, "\"{text}\" is no field"),
            BadSts::Missing(name) => write!(f, "{name} is missing"),
            BadSts::Version => f.write_str("its version is not STSv1"),
            BadSts::Mode(text) => write!(f, "\"{text}\" is no mode"),
            BadSts::MaxAge(text) => write!(f, "\"{text}\" is no max_age (seconds, a year at most)"),
            BadSts::Mx(text) => write!(f, "\"{text}\" is no name of an MX host"),
            BadSts::NoText => f.write_str("it is no text in UTF-8"),
            BadSts::Long => f.write_str("it is too long"),
        }
    }
}

impl std::error::Error for BadSts {}

/// A space or a tab (RFC 5234, "WSP").
fn is_wsp(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

/// A text without the white space at its begin.
fn without_wsp(text: &[u8]) -> &[u8] {
    let at = text.iter().position(|octet| !is_wsp(*octet)).unwrap_or(text.len());
    &text[at..]
}

/// A letter or a digit, then those and `_ - .`, 32 in all.
fn is_name(name: &[u8]) -> bool {
    let follows = |octet: &u8| octet.is_ascii_alphanumeric() || b"_-.".contains(octet);
    name.first().is_some_and(u8::is_ascii_alphanumeric)
        && name.len() <= crate::limits::policies::STS_NAME_MAX
        && name.iter().all(follows)
}
