//! The envelope: who a message is from and for, and how, apart from what its header says
//! (RFC 5321 §2.3.1; RFC 3461 for delivery status notifications). Pure.

use super::address::{ForwardPath, ReversePath};

/// What MAIL and RCPT said, and nothing that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub sender: Sender,
    /// In the order of their RCPT, as the client wrote them; one given twice stands here twice.
    pub recipients: Vec<Recipient>,
}

/// MAIL with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    pub from: ReversePath,
    /// SIZE= in octets (RFC 1870): what the client announces, not what comes.
    pub size: Option<u64>,
    pub body: BodyType,
    /// Addresses and header may hold UTF-8 (RFC 6531).
    pub smtputf8: bool,
    pub ret: Option<Ret>,
    /// ENVID= as it was written, in xtext (RFC 3461 §4.4).
    pub envid: Option<String>,
}

/// RCPT with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    pub path: ForwardPath,
    /// None: the client left it to us (RFC 3461 §4.1).
    pub notify: Option<Notify>,
    /// ORCPT= as it was written, `type;xtext` (RFC 3461 §4.2).
    pub orcpt: Option<String>,
}

/// How the client says its message is written (RFC 6152 §2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyType {
    #[default]
    SevenBit,
    EightBitMime,
}

/// What a notice about this message should return (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    Full,
    Headers,
}

/// When the sender wants a notice about a recipient (RFC 3461 §4.1). All false: never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    pub success: bool,
    pub failure: bool,
    pub delay: bool,
}
