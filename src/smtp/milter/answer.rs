//! What a filter answers.

use super::command::FilterStage;
use super::negotiation::number;
use super::reply::FilterReply;
use std::fmt;

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterAnswer {
    /// It has negotiated.
    Ready,
    /// It still works on it.
    Progress,
    /// It wants no more of this body, but to be asked at its end.
    Skip,
    Change(FilterChange),
    Verdict(FilterVerdict),
}

/// What ends a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterVerdict {
    Continue,
    /// The message, or the whole connection before there is one, needs no more looking at.
    Accept,
    Reject,
    Tempfail,
    /// The message is taken and thrown away.
    Discard,
    Reply(FilterReply),
    /// The client's connection is to fail.
    ConnectionFailure,
    /// The server's end of it is to be closed.
    Shutdown,
}

/// What a filter wants to have changed, as it wrote it; nothing of it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterChange {
    /// At the end of the header.
    AddField {
        name: Vec<u8>,
        value: Vec<u8>,
    },
    /// Before the field at this place, from 0, where our own Received field counts as the first.
    InsertField {
        at: u32,
        name: Vec<u8>,
        value: Vec<u8>,
    },
    /// The field of this name at this place, from 1; an empty value deletes it.
    ChangeField {
        at: u32,
        name: Vec<u8>,
        value: Vec<u8>,
    },
    /// `parameters`: of ESMTP, which nobody can use.
    Sender {
        path: Vec<u8>,
        has_parameters: bool,
    },
    AddRecipient {
        path: Vec<u8>,
        has_parameters: bool,
    },
    RemoveRecipient(Vec<u8>),
    /// A part of another body; all parts together are the whole.
    Body(Vec<u8>),
    Quarantine(Vec<u8>),
}

/// Why what a filter says is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadFilterAnswer {
    /// A packet of no octets.
    Empty,
    /// A packet of this many octets.
    Long(u32),
    /// An answer that ends before its last field does.
    Short,
    /// An answer with octets behind its last field.
    Rest(u8),
    Unknown(u8),
    Stage {
        letter: u8,
        stage: FilterStage,
    },
    /// Something that nobody asked for.
    Unasked,
    /// A command before the negotiation: an error of ours.
    NotReady,
    NoNegotiation(u8),
    Version(u32),
    Actions(u32),
    /// A reply whose code is no 4xx or 5xx.
    Code,
}

impl fmt::Display for BadFilterAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |letter: &u8| letter.escape_ascii();
        match self {
            BadFilterAnswer::Empty => f.write_str("a packet of no octets"),
            BadFilterAnswer::Long(octets) => write!(f, "a packet of {octets} octets"),
            BadFilterAnswer::Short => f.write_str("an answer without its end"),
            BadFilterAnswer::Rest(letter) => {
                write!(f, "octets behind the answer '{}'", shown(letter))
            }
            BadFilterAnswer::Unknown(letter) => write!(f, "an unknown answer '{}'", shown(letter)),
            BadFilterAnswer::Stage { letter, stage } => {
                write!(f, "the answer '{}' to {stage}", shown(letter))
            }
            BadFilterAnswer::Unasked => f.write_str("an answer that nobody asked for"),
            BadFilterAnswer::NotReady => f.write_str("no negotiation yet"),
            BadFilterAnswer::NoNegotiation(letter) => {
                write!(f, "the answer '{}' to the negotiation", shown(letter))
            }
            BadFilterAnswer::Version(version) => write!(f, "version {version} of the protocol"),
            BadFilterAnswer::Actions(actions) => {
                write!(f, "actions {actions:#x}, of which some were not offered")
            }
            BadFilterAnswer::Code => f.write_str("a reply whose code is no 4xx or 5xx"),
        }
    }
}

impl std::error::Error for BadFilterAnswer {}

impl FilterAnswer {
    /// Reads a packet.
    pub(super) fn parse(letter: u8, data: &[u8]) -> Result<FilterAnswer, BadFilterAnswer> {
        let verdict = match letter {
            b'a' => FilterVerdict::Accept,
            b'c' => FilterVerdict::Continue,
            b'd' => FilterVerdict::Discard,
            b'r' => FilterVerdict::Reject,
            b't' => FilterVerdict::Tempfail,
            b'f' => FilterVerdict::ConnectionFailure,
            b'4' => FilterVerdict::Shutdown,
            b'y' => {
                let (reply, rest) = text(data)?;
                nothing(letter, rest)?;
                FilterVerdict::Reply(FilterReply::parse(reply)?)
            }
            b'p' => return nothing(letter, data).map(|()| FilterAnswer::Progress),
            b's' => return nothing(letter, data).map(|()| FilterAnswer::Skip),
            _ => return change(letter, data).map(FilterAnswer::Change),
        };
        if letter != b'y' {
            nothing(letter, data)?;
        }
        Ok(FilterAnswer::Verdict(verdict))
    }
}

fn change(letter: u8, data: &[u8]) -> Result<FilterChange, BadFilterAnswer> {
    let owned = <[u8]>::to_vec;
    let field = |data| -> Result<(Vec<u8>, Vec<u8>), BadFilterAnswer> {
        let (name, rest) = text(data)?;
        let (value, rest) = text(rest)?;
        nothing(letter, rest)?;
        Ok((owned(name), owned(value)))
    };
    // An address, and parameters that may follow it.
    let path = |data| -> Result<(Vec<u8>, bool), BadFilterAnswer> {
        let (path, rest) = text(data)?;
        let has_parameters = rest.iter().any(|octet| *octet != 0);
        match rest.last() {
            None | Some(0) => Ok((owned(path), has_parameters)),
            Some(_) => Err(BadFilterAnswer::Short),
        }
    };
    let only = |data| -> Result<Vec<u8>, BadFilterAnswer> {
        let (only, rest) = text(data)?;
        nothing(letter, rest).map(|()| owned(only))
    };
    Ok(match letter {
        b'h' => {
            let (name, value) = field(data)?;
            FilterChange::AddField { name, value }
        }
        b'i' => {
            let (at, rest) = number(data)?;
            let (name, value) = field(rest)?;
            FilterChange::InsertField { at, name, value }
        }
        b'm' => {
            let (at, rest) = number(data)?;
            let (name, value) = field(rest)?;
            FilterChange::ChangeField { at, name, value }
        }
        b'e' => {
            let (path, has_parameters) = path(data)?;
            FilterChange::Sender { path, has_parameters }
        }
        b'+' => FilterChange::AddRecipient { path: only(data)?, has_parameters: false },
        b'2' => {
            let (path, has_parameters) = path(data)?;
            FilterChange::AddRecipient { path, has_parameters }
        }
        b'-' => FilterChange::RemoveRecipient(only(data)?),
        b'b' => FilterChange::Body(owned(data)),
        b'q' => FilterChange::Quarantine(only(data)?),
        _ => return Err(BadFilterAnswer::Unknown(letter)),
    })
}

/// The octets before the next NUL, and what follows it.
pub(super) fn text(data: &[u8]) -> Result<(&[u8], &[u8]), BadFilterAnswer> {
    let end = memchr::memchr(0, data).ok_or(BadFilterAnswer::Short)?;
    Ok((&data[..end], &data[end + 1..]))
}

/// Fails where octets are left.
fn nothing(letter: u8, rest: &[u8]) -> Result<(), BadFilterAnswer> {
    if rest.is_empty() { Ok(()) } else { Err(BadFilterAnswer::Rest(letter)) }
}
