//! What becomes of one recipient at one next hop, and why. [`super`] decides whether to bounce, to wait or to
//! ask another host; a [`Fate`] carries that decision.

use crate::smtp::answer::{Answer, BadAnswer, Kind};
use crate::smtp::tls_failure::{TlsFailure, TlsTrouble};
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
    /// The step of the dialog.
    pub step: Step,
    pub cause: Cause,
    /// What we did ourselves that the failure may follow from.
    pub aside: Option<Aside>,
}

/// Something that we did ourselves, and that a refusal may follow from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aside {
    /// We spoke in the clear because TLS with the host had failed, in this way.
    InTheClear(String),
    /// We logged in; the words say as whom, and where the password stands.
    Login(String),
    /// We hold the host to TLS; the words name the record or the policy that says so.
    Owed(String),
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

/// What happened at a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The host refused, or gave a reply that makes no sense at this step.
    Said(Answer),
    /// No whole reply came in time, or the host reads nothing.
    Silent,
    Closed,
    /// The host cannot be reached, or the connection broke; the words are the system's.
    Broke(String),
    /// The host sends something that is no SMTP.
    Garbled(BadAnswer),
    /// TLS failed, or is not the one that it has to be.
    Tls(TlsTrouble),
    /// The host cannot do what the message needs; it was not asked.
    Lacks(Lack),
    /// The host takes no more transactions on this connection (RFC 9422 §4.1).
    Enough,
    /// We cannot read our own message.
    Unreadable(String),
}

/// What stands before the record or the policy by which a host owes TLS, in the words for people.
pub const OWED_BY: &str = "owed by ";

/// The code of a host that takes no mail at all (RFC 7504).
pub(super) const NO_MAIL: u16 = 521;

/// What a message needs and a next hop does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// STARTTLS (RFC 3207), where a password may not go in the clear.
    StartTls,
    /// STARTTLS, where the host owes it.
    OwedTls,
    /// AUTH (RFC 4954) with a mechanism that we know.
    Auth,
    /// A proof that the host knows our password, which SCRAM asks of both sides.
    Proof,
    /// 8BITMIME (RFC 6152), without which octets over 127 must not be sent.
    EightBitMime,
    /// SMTPUTF8 (RFC 6531), without which UTF-8 must not stand in an address or header.
    Smtputf8,
    /// REQUIRETLS (RFC 8689), without which the message must not go there; another host may have it.
    RequireTls,
    /// A SIZE limit (RFC 1870) that is large enough; in octets.
    Room { limit: u64, size: u64 },
}

impl Fate {
    /// The enhanced status code (RFC 3463): the host's own where it gave one that fits.
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
    pub fn new(step: Step, cause: Cause) -> Reason {
        Reason { step, cause, aside: None }
    }

    /// The step and what we did ourselves, on one line: "RCPT", or "MAIL, in the clear
    /// because TLS failed: was silent too long (STARTTLS)".
    pub fn place(&self) -> String {
        let step = self.step;
        match &self.aside {
            None => step.to_string(),
            Some(Aside::InTheClear(why)) => {
                format!("{step}, in the clear because TLS failed: it {why}")
            }
            Some(Aside::Login(whose)) => format!("{step}, {whose}"),
            Some(Aside::Owed(by)) => format!("{step}, {OWED_BY}{by}"),
        }
    }

    /// How TLS with the host failed; none where that is not why.
    pub fn tls_failure(&self) -> Option<TlsFailure> {
        match &self.cause {
            Cause::Tls(trouble) => Some(trouble.failure),
            Cause::Lacks(Lack::StartTls | Lack::OwedTls) => Some(TlsFailure::NotOffered),
            Cause::Said(_) if self.step == Step::StartTls => Some(TlsFailure::NotOffered),
            Cause::Silent | Cause::Closed | Cause::Broke(_) | Cause::Garbled(_)
                if self.step == Step::StartTls =>
            {
                Some(TlsFailure::Handshake)
            }
            _ => None,
        }
    }

    /// Whether the host refuses because it wants TLS, which we gave up there after it had failed.
    pub(super) fn follows_from_fall_back(&self) -> bool {
        let Some(answer) = self.answer().filter(|answer| answer.kind() == Kind::Never) else {
            return false;
        };
        let is_fallen = matches!(self.aside, Some(Aside::InTheClear(_)));
        // 530: RFC 3207 §4. X.7.10, "encryption needed", and X.7.11: RFC 5248's registry of status codes.
        let names_it = || {
            let text = answer.text().to_ascii_uppercase();
            text.contains("TLS") || text.contains("SSL")
        };
        let is_about_it = answer.code() == 530
            || matches!(answer.enhanced(), Some("5.7.10" | "5.7.11"))
            || names_it();
        is_fallen && is_about_it
    }

    /// Whether the host has said that it takes no mail at all, from anybody (RFC 7504 §4).
    pub fn is_no_mail_host(&self) -> bool {
        self.step.is_greeting() && self.answer().is_some_and(|answer| answer.code() == NO_MAIL)
    }

    /// Whether another attempt at this host would end like this one, whatever the other hosts do.
    pub fn is_sure(&self) -> bool {
        self.is_no_mail_host() || self.cause == Cause::Lacks(Lack::RequireTls)
    }

    /// The host's reply; none where it gave none.
    pub fn answer(&self) -> Option<&Answer> {
        match &self.cause {
            Cause::Said(answer) => Some(answer),
            _ => None,
        }
    }

    /// `class`: permanent or temporary, as we decided: a 5xx that only defers must not be told as 5.x.x.
    fn status(&self, class: Kind) -> &str {
        match (&self.cause, class) {
            // Whatever the host said: mail waits because it does not show what it owes.
            (_, Kind::Later) if matches!(self.aside, Some(Aside::Owed(_))) => "4.7.5",
            (Cause::Said(answer), class) if answer.kind() == class => {
                let general = match class {
                    // RFC 7504 §4.
                    Kind::Never if answer.code() == NO_MAIL => "5.3.2",
                    Kind::Never => "5.0.0",
                    _ => "4.0.0",
                };
                answer.enhanced().unwrap_or(general)
            }
            (Cause::Said(_), Kind::Never) => "5.5.0",
            (Cause::Said(_), _) if self.follows_from_fall_back() => "4.7.5",
            // RFC 4954 §6, but temporary.
            (Cause::Said(_), _) if self.step == Step::Auth => "4.7.8",
            (Cause::Said(_) | Cause::Garbled(_), _) => "4.5.0",
            (Cause::Silent | Cause::Closed | Cause::Broke(_), _) if self.step == Step::Connect => {
                "4.4.1"
            }
            (Cause::Silent | Cause::Closed | Cause::Broke(_), _) => "4.4.2",
            // RFC 3463 §3.8: cryptography failed, or is not there.
            (Cause::Tls(_) | Cause::Lacks(Lack::OwedTls), _) => "4.7.5",
            (Cause::Lacks(Lack::StartTls | Lack::Auth), _) => "4.7.4",
            (Cause::Lacks(Lack::Proof), _) => "4.7.8",
            (Cause::Lacks(Lack::EightBitMime), _) => "5.6.3",
            (Cause::Lacks(Lack::Smtputf8), _) => "5.6.7",
            // RFC 8689 §7, and temporary as long as another host may have it.
            (Cause::Lacks(Lack::RequireTls), Kind::Never) => "5.7.30",
            (Cause::Lacks(Lack::RequireTls), _) => "4.7.30",
            (Cause::Lacks(Lack::Room { .. }), _) => "5.3.4",
            (Cause::Enough, _) => "4.5.3",
            (Cause::Unreadable(_), _) => "4.3.0",
        }
    }
}

/// Words that follow the host's name: "mx.test said 550 5.1.1 nobody (RCPT)".
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
        write!(f, " ({})", self.place())
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lack::StartTls => f.write_str("offers no TLS, and a password goes over TLS only"),
            Lack::OwedTls => f.write_str("offers no TLS"),
            Lack::Auth => f.write_str("offers no login that we know (SCRAM-SHA-256, PLAIN, LOGIN)"),
            Lack::Proof => f.write_str("could not show that it knows the password"),
            Lack::EightBitMime => f.write_str("takes no 8-bit text (8BITMIME), which this has"),
            Lack::Smtputf8 => f.write_str("takes no internationalized mail (SMTPUTF8), as this is"),
            Lack::RequireTls => f.write_str(
                "does not promise to send it on by TLS only (REQUIRETLS), as its sender requires",
            ),
            Lack::Room { limit, size } => {
                write!(f, "takes messages of up to {limit} octets, this one has {size}")
            }
        }
    }
}

impl Step {
    /// Whether the step comes before any MAIL.
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
                Cause::Garbled(BadAnswer::Early),
                "4.5.0",
                "is no sound mail server, it sent octets before their time (DATA)",
            ),
        ] {
            let fate = fate(Reason::new(step, cause));
            let reason = fate.reason().map(Reason::to_string);
            assert_eq!((fate.status(), reason.as_deref()), (status, Some(words)));
        }
        let aside = Some(Aside::InTheClear("was silent too long (STARTTLS)".to_owned()));
        let fallen = |text| Reason { step: Step::Mail, cause: said(text), aside: aside.clone() };
        let words = "said 530 5.7.0 Must issue STARTTLS first (MAIL, in the clear because TLS failed: \
                     it was silent too long (STARTTLS))";
        assert_eq!(fallen("530 5.7.0 Must issue STARTTLS first\n").to_string(), words);
        for (text, status) in [
            ("530 no\n", "4.7.5"),
            ("554 5.7.10 no\n", "4.7.5"),
            ("550-5.7.1 no\n550 5.7.1 use tls\n", "4.7.5"),
            ("450 4.7.1 TLS\n", "4.7.1"),
        ] {
            assert_eq!(Fate::NextHost(fallen(text)).status(), status, "{text}");
        }
        let auth = Reason::new(Step::Auth, said("535 5.7.8 no\n"));
        assert_eq!(Fate::NextHost(auth).status(), "4.7.8");
        let never = Fate::Failed(Reason::new(Step::Greeting, said("521 no\n")));
        assert_eq!(never.status(), "5.3.2");
        let relayed = |text: &[u8]| Fate::Relayed(Answer::parse(text).unwrap());
        assert_eq!(relayed(b"250 2.6.0 ok\n").status(), "2.6.0");
        assert_eq!(relayed(b"250 ok\n").status(), "2.0.0");
    }
}
