//! The envelope: sender, recipients and their parameters, apart from what the header says
//! (RFC 5321 §2.3.1; RFC 3461 for delivery status notifications; RFC 8689 for what a message says about TLS). Pure.

use super::address::{ForwardPath, ReversePath};
use crate::limits::ORCPTS_MAX;

/// What MAIL and RCPT said, and nothing that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub sender: Sender,
    /// In the order of their RCPT, as the client wrote them; one given twice stands here twice.
    pub recipients: Vec<Recipient>,
}

impl Envelope {
    /// Adds a recipient. Its ORCPT is dropped when all ORCPTs together would pass [`ORCPTS_MAX`] octets:
    /// they only serve notices, and a client may send any number of long ones.
    pub fn add(&mut self, mut recipient: Recipient) {
        let octets = |recipient: &Recipient| recipient.orcpt.as_ref().map_or(0, String::len);
        let kept: usize = self.recipients.iter().map(octets).sum();
        if kept + octets(&recipient) > ORCPTS_MAX {
            recipient.orcpt = None;
        }
        self.recipients.push(recipient);
    }
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
    /// REQUIRETLS; once the message is taken, what its header says as well.
    pub tls: TlsWish,
}

impl Sender {
    /// MAIL without parameters.
    pub fn new(from: ReversePath) -> Sender {
        let (size, body, smtputf8, ret, envid, tls) = Default::default();
        Sender { from, size, body, smtputf8, ret, envid, tls }
    }
}

/// What a message says about TLS on its further way (RFC 8689).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsWish {
    /// Nothing: each next hop is held to what its domain owes.
    #[default]
    Usual,
    /// REQUIRETLS: it goes only to next hops that prove their name by TLS and require the same of the next
    /// (§4.2.1).
    Required,
    /// The field `TLS-Required: No`: it goes on even where a next hop owes TLS and does not show it (§4.2.2).
    NotRequired,
}

impl TlsWish {
    /// What holds for a message whose header says `header`: REQUIRETLS goes before it (§4.1).
    pub fn with_header(self, header: TlsWish) -> TlsWish {
        match self {
            TlsWish::Required => TlsWish::Required,
            TlsWish::Usual | TlsWish::NotRequired => header,
        }
    }
}

/// RCPT with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    pub path: ForwardPath,
    /// NOTIFY=; none where the client left it to us (RFC 3461 §4.1).
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ORCPT_MAX;

    #[test]
    fn long_orcpts_of_a_thousand_recipients_are_bounded() {
        let (from, _) = ReversePath::parse(b"<ann@far.test>").unwrap();
        let mut envelope = Envelope { sender: Sender::new(from), recipients: Vec::new() };
        for _ in 0..1000 {
            let orcpt = Some("x".repeat(ORCPT_MAX));
            envelope.add(Recipient { path: ForwardPath::Postmaster, notify: None, orcpt });
        }
        // A short one has room behind them.
        let orcpt = Some("rfc822;a@b.test".to_owned());
        envelope.add(Recipient { path: ForwardPath::Postmaster, notify: None, orcpt });
        let kept: Vec<usize> = envelope
            .recipients
            .iter()
            .filter_map(|it| it.orcpt.as_ref())
            .map(String::len)
            .collect();
        assert_eq!(envelope.recipients.len(), 1001);
        assert_eq!(kept.len(), ORCPTS_MAX / ORCPT_MAX + 1);
        assert!(kept.iter().sum::<usize>() <= ORCPTS_MAX);
    }
}
