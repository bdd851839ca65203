//! The envelope: who a message is from and for, apart from what its header says
//! (RFC 5321 §2.3.1). Pure.

use super::address::{ForwardPath, ReversePath};

/// What MAIL and RCPT said, and nothing that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub from: ReversePath,
    /// In the order of their RCPT, as the client wrote them; one given twice stands here twice.
    pub recipients: Vec<ForwardPath>,
}
