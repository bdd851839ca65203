//! What becomes of one recipient at one next hop, and why: whether to bounce, to wait or to ask
//! another host is decided in [`super`] and carried as [`Fate`] from there on.

use crate::smtp::answer::{Answer, Flaw, Kind};
use std::fmt;

/// What one attempt at one host decided about one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The host has taken the message for this recipient.
    Relayed(Answer),
    /// To be tried again when `relay.retry` says so.
    Deferred(Reason),
    /// Never to be tried again.
    Failed(Reason),
    /// This host decided nothing and has not got the message: the next host of the destination may
    /// be asked at once; without one it is [`Fate::Deferred`].
    NextHost(Reason),
}

/// Why a recipient did not get the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Where in the dialog.
    pub step: Step,
    pub cause: Cause,
}

/// A step of the dialog with a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Connect,
    Greeting,
    Ehlo,
    Helo,
    /// From STARTTLS to the end of the handshake.
    StartTls,
    /// From AUTH to its verdict.
    Auth,
    Rset,
    Mail,
    Rcpt,
    Data,
    /// Between 354 and the final dot.
    Message,
    /// After the final dot.
    Final,
}

/// What happened there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The host refused, or said what is no answer to this step.
    Said(Answer),
    /// No whole reply in time, or it does not read.
    Silent,
    Closed,
    /// The host cannot be reached, or the connection broke: what the system said.
    Broke(String),
    /// What it sends is no SMTP.
    Garbled(Flaw),
    /// There is no TLS with it, or none that we may use: what rustls said.
    Tls(String),
    /// The host cannot do what the message needs; it was not asked.
    Lacks(Lack),
    /// It takes no more transactions on this connection (RFC 9422 §4.1).
    Enough,
    /// We cannot read our own message.
    Unreadable(String),
}

/// What a message needs and a next hop does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// RFC 3207, where nothing may go in the clear.
    StartTls,
    /// RFC 4954, or a mechanism that we know as well.
    Auth,
    /// That it knows our password, which SCRAM asks of both sides.
    Proof,
    /// RFC 6152: octets over 127 must not be sent.
    EightBitMime,
    /// RFC 6531: neither may such an address or header.
    Smtputf8,
    /// RFC 1870: in octets, as SIZE counts them.
    Room { limit: u64, size: u64 },
}

impl Fate {
    /// The enhanced status code (RFC 3463): the host's own when it gave one that fits.
    pub fn status(&self) -> &str {
        match self {
            Fate::Relayed(answer) => answer.enhanced().unwrap_or("2.0.0"),
            Fate::Failed(reason) => reason.status(Kind::Never),
            Fate::Deferred(reason) | Fate::NextHost(reason) => reason.status(Kind::Later),
        }
    }

    /// Why it was not relayed.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Fate::Relayed(_) => None,
            Fate::Deferred(reason) | Fate::Failed(reason) | Fate::NextHost(reason) => Some(reason),
        }
    }
}

impl Reason {
    /// The host's reply, when it gave one.
    pub fn answer(&self) -> Option<&Answer> {
        match &self.cause {
            Cause::Said(answer) => Some(answer),
            _ => None,
        }
    }

    /// `class`: what was made of it. A 5xx that only defers must not be told as 5.x.x.
    fn status(&self, class: Kind) -> &str {
        match (&self.cause, class) {
            (Cause::Said(answer), class) if answer.kind() == class => {
                let general = if class == Kind::Never { "5.0.0" } else { "4.0.0" };
                answer.enhanced().unwrap_or(general)
            }
            (Cause::Said(_), Kind::Never) => "5.5.0",
            (Cause::Said(_) | Cause::Garbled(_), _) => "4.5.0",
            (Cause::Silent | Cause::Closed | Cause::Broke(_), _) if self.step == Step::Connect => {
                "4.4.1"
            }
            (Cause::Silent | Cause::Closed | Cause::Broke(_), _) => "4.4.2",
            // RFC 3463 §3.8: cryptography failed, or is not there.
            (Cause::Tls(_), _) => "4.7.5",
            (Cause::Lacks(Lack::StartTls | Lack::Auth), _) => "4.7.4",
            (Cause::Lacks(Lack::Proof), _) => "4.7.8",
            (Cause::Lacks(Lack::EightBitMime), _) => "5.6.3",
            (Cause::Lacks(Lack::Smtputf8), _) => "5.6.7",
            (Cause::Lacks(Lack::Room { .. }), _) => "5.3.4",
            (Cause::Enough, _) => "4.5.3",
            (Cause::Unreadable(_), _) => "4.3.0",
        }
    }
}

/// Goes on from the host's name: "mx.test said 550 5.1.1 nobody (RCPT)".
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Said(answer) => write!(f, "said {answer}"),
            Cause::Silent if self.step == Step::Connect => f.write_str("did not answer"),
            Cause::Silent => f.write_str("was silent too long"),
            Cause::Closed => f.write_str("closed the connection"),
            Cause::Broke(what) => write!(f, "cannot be reached: {what}"),
            Cause::Garbled(flaw) => write!(f, "is no sound mail server, it sent {flaw}"),
            Cause::Tls(what) => write!(f, "has no TLS that we could use: {what}"),
            Cause::Lacks(lack) => lack.fmt(f),
            Cause::Enough => f.write_str("takes no more mail on this connection"),
            Cause::Unreadable(what) => write!(f, "was not told all: {what}"),
        }?;
        write!(f, " ({})", self.step)
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lack::StartTls => f.write_str("offers no TLS, and a password goes over TLS only"),
            Lack::Auth => f.write_str("offers no login that we know (SCRAM-SHA-256, PLAIN, LOGIN)"),
            Lack::Proof => f.write_str("could not show that it knows the password"),
            Lack::EightBitMime => f.write_str("takes no 8-bit text (8BITMIME), which this has"),
            Lack::Smtputf8 => f.write_str("takes no internationalized mail (SMTPUTF8), as this is"),
            Lack::Room { limit, size } => {
                write!(f, "takes messages of up to {limit} octets, this one has {size}")
            }
        }
    }
}

impl Step {
    /// Before any message was spoken of.
    pub fn is_greeting(self) -> bool {
        use Step::{Auth, Connect, Ehlo, Greeting, Helo, StartTls};
        matches!(self, Connect | Greeting | Ehlo | Helo | StartTls | Auth)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Connect => "connecting",
            Step::Greeting => "greeting",
            Step::Ehlo => "EHLO",
            Step::Helo => "HELO",
            Step::StartTls => "STARTTLS",
            Step::Auth => "AUTH",
            Step::Rset => "RSET",
            Step::Mail => "MAIL",
            Step::Rcpt => "RCPT",
            Step::Data => "DATA",
            Step::Message => "inside the message",
            Step::Final => "end of the message",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_words() {
        let said = |text: &str| Cause::Said(Answer::parse(text.as_bytes()).unwrap());
        let room = Lack::Room { limit: 10, size: 20 };
        let (failed, deferred) = (Fate::Failed as fn(Reason) -> Fate, Fate::Deferred as fn(_) -> _);
        for (fate, step, cause, status, words) in [
            (failed, Step::Rcpt, said("550 5.1.1 no\n"), "5.1.1", "said 550 5.1.1 no (RCPT)"),
            (failed, Step::Final, said("554 no\n"), "5.0.0", "said 554 no (end of the message)"),
            (deferred, Step::Mail, said("450 later\n"), "4.0.0", "said 450 later (MAIL)"),
            (deferred, Step::Helo, said("502 5.5.1 no\n"), "4.5.0", "said 502 5.5.1 no (HELO)"),
            (deferred, Step::Connect, Cause::Silent, "4.4.1", "did not answer (connecting)"),
            (deferred, Step::Ehlo, Cause::Closed, "4.4.2", "closed the connection (EHLO)"),
            (
                failed,
                Step::Ehlo,
                Cause::Lacks(room),
                "5.3.4",
                "takes messages of up to 10 octets, this one has 20 (EHLO)",
            ),
            (
                deferred,
                Step::Data,
                Cause::Garbled(Flaw::Early),
                "4.5.0",
                "is no sound mail server, it sent octets before their time (DATA)",
            ),
        ] {
            let fate = fate(Reason { step, cause });
            let reason = fate.reason().map(Reason::to_string);
            assert_eq!((fate.status(), reason.as_deref()), (status, Some(words)));
        }
        let relayed = |text: &[u8]| Fate::Relayed(Answer::parse(text).unwrap());
        assert_eq!(relayed(b"250 2.6.0 ok\n").status(), "2.6.0");
        assert_eq!(relayed(b"250 ok\n").status(), "2.0.0");
    }
}
