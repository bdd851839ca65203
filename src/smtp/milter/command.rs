//! What is said to a filter.

use super::packet;
use crate::limits::FILTER_CHUNK_MAX;
use core::net::IpAddr;
use std::fmt;

/// A step of a conversation at which a filter is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FilterStage {
    Connect,
    Helo,
    Mail,
    Rcpt,
    Data,
    Header,
    EndOfHeader,
    Body,
    EndOfMessage,
}

impl FilterStage {
    /// The letter of the command.
    pub(super) fn letter(self) -> u8 {
        match self {
            FilterStage::Connect => b'C',
            FilterStage::Helo => b'H',
            FilterStage::Mail => b'M',
            FilterStage::Rcpt => b'R',
            FilterStage::Data => b'T',
            FilterStage::Header => b'L',
            FilterStage::EndOfHeader => b'N',
            FilterStage::Body => b'B',
            FilterStage::EndOfMessage => b'E',
        }
    }
}

/// As logs and the trace name it.
impl fmt::Display for FilterStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FilterStage::Connect => "connect",
            FilterStage::Helo => "helo",
            FilterStage::Mail => "mail",
            FilterStage::Rcpt => "rcpt",
            FilterStage::Data => "data",
            FilterStage::Header => "header",
            FilterStage::EndOfHeader => "end of header",
            FilterStage::Body => "body",
            FilterStage::EndOfMessage => "end of message",
        })
    }
}

/// One command with its arguments. NULs in them are left out: each argument ends with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterCommand<'a> {
    /// The client's name, and its address with its port; no address for a program of this machine.
    Connect {
        name: &'a str,
        address: Option<(IpAddr, u16)>,
    },
    Helo(&'a [u8]),
    /// The sender in angle brackets, then parameters.
    Mail(&'a [String]),
    /// A recipient in angle brackets, then parameters.
    Rcpt(&'a [String]),
    Data,
    /// A field; the value is folded by LF alone, and cut where it is longer than a packet that any filter takes.
    Header {
        name: &'a [u8],
        value: &'a [u8],
    },
    EndOfHeader,
    /// A part of the body, with CR LF, at most [`FILTER_CHUNK_MAX`](crate::limits::FILTER_CHUNK_MAX) octets.
    Body(&'a [u8]),
    EndOfMessage,
}

impl FilterCommand<'_> {
    pub fn stage(&self) -> FilterStage {
        match self {
            FilterCommand::Connect { .. } => FilterStage::Connect,
            FilterCommand::Helo(_) => FilterStage::Helo,
            FilterCommand::Mail(_) => FilterStage::Mail,
            FilterCommand::Rcpt(_) => FilterStage::Rcpt,
            FilterCommand::Data => FilterStage::Data,
            FilterCommand::Header { .. } => FilterStage::Header,
            FilterCommand::EndOfHeader => FilterStage::EndOfHeader,
            FilterCommand::Body(_) => FilterStage::Body,
            FilterCommand::EndOfMessage => FilterStage::EndOfMessage,
        }
    }

    /// Appends the command's packet.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut data = Vec::new();
        match *self {
            FilterCommand::Connect { name, address } => {
                push(&mut data, name.as_bytes());
                match address {
                    None => data.push(b'U'),
                    Some((address, port)) => {
                        data.push(if address.is_ipv4() { b'4' } else { b'6' });
                        data.extend_from_slice(&port.to_be_bytes());
                        push(&mut data, address.to_string().as_bytes());
                    }
                }
            }
            FilterCommand::Helo(name) => push(&mut data, name),
            FilterCommand::Mail(words) | FilterCommand::Rcpt(words) => {
                words.iter().for_each(|word| push(&mut data, word.as_bytes()));
            }
            FilterCommand::Header { name, value } => {
                push(&mut data, name);
                let room = FILTER_CHUNK_MAX.saturating_sub(data.len() + 1);
                push(&mut data, &value[..value.len().min(room)]);
            }
            FilterCommand::Body(octets) => return packet::write(b'B', octets, out),
            FilterCommand::Data | FilterCommand::EndOfHeader | FilterCommand::EndOfMessage => {}
        }
        packet::write(self.stage().letter(), &data, out);
    }
}

/// Appends an argument and the NUL behind it.
pub(super) fn push(data: &mut Vec<u8>, text: &[u8]) {
    data.extend(text.iter().filter(|octet| **octet != 0));
    data.push(0);
}
