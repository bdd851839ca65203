//! What one attempt decided about one recipient: a journal line, an event, and what a notice says.

use crate::event::{Event, tell};
use crate::net::tls::Protection;
use crate::smtp::client::{Cause, Fate, Lack, Reason};
use crate::store::disk::StoreError;
use crate::store::entry::{Line, What};
use jiff::Timestamp;
use std::io::ErrorKind;
use std::path::PathBuf;

/// The outcome for one recipient.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Place in the envelope.
    pub recipient: usize,
    pub what: What,
    /// The next hop that spoke, or that did not; empty when none was asked.
    pub host: String,
    /// Enhanced status code (RFC 3463).
    pub status: String,
    /// The next hop's whole reply, one line each.
    pub reply: Option<String>,
    /// Our own words, when there is no reply.
    pub words: String,
    /// The next hop sends the notices that were asked for (RFC 3461 §5.2.1), or the message to which it
    /// went on here does.
    pub is_passed_on: bool,
    /// It failed only because it waited too long.
    pub is_expired: bool,
    /// How the connection to it was protected; none in the clear.
    pub tls: Option<Protection>,
    /// Of a copy here.
    pub maildir: Option<PathBuf>,
}

impl Verdict {
    /// One in our own words.
    pub fn own(recipient: usize, what: What, status: &str, words: impl Into<String>) -> Verdict {
        Verdict {
            recipient,
            what,
            host: String::new(),
            status: status.to_owned(),
            reply: None,
            words: words.into(),
            is_passed_on: false,
            is_expired: false,
            tls: None,
            maildir: None,
        }
    }

    /// What a next hop said, or failed to say.
    pub fn of_fate(recipient: usize, host: &str, fate: &Fate, is_passed_on: bool) -> Verdict {
        let (what, answer) = match fate {
            Fate::Relayed(answer) => (What::Relayed, Some(answer)),
            Fate::Failed(reason) => (What::Failed, reason.answer()),
            Fate::Deferred(reason) | Fate::NextHost(reason) => (What::Deferred, reason.answer()),
        };
        let words = fate.reason().map(Reason::to_string).unwrap_or_default();
        Verdict {
            host: host.to_owned(),
            reply: answer.map(|answer| answer.text()),
            is_passed_on,
            ..Verdict::own(recipient, what, fate.status(), words)
        }
    }

    /// A Maildir that cannot be written for now.
    pub fn of_disk(recipient: usize, error: &StoreError) -> Verdict {
        let status = match error.source.kind() {
            ErrorKind::StorageFull => "4.3.1",
            ErrorKind::QuotaExceeded => "4.2.2",
            _ => "4.3.0",
        };
        Verdict::own(recipient, What::Deferred, status, error.to_string())
    }

    /// The last attempt, as the journal tells it, for one that is given up now.
    pub fn expired(recipient: usize, last: Option<&Line>, error: &str) -> Verdict {
        let mut verdict = Verdict::own(recipient, What::Failed, "4.4.7", error);
        verdict.is_expired = true;
        if let Some(last) = last {
            verdict.host = if last.host == "-" { String::new() } else { last.host.clone() };
            match is_reply(&last.words) {
                true => verdict.reply = Some(last.words.clone()),
                false => verdict.words = last.words.clone(),
            }
        }
        verdict
    }

    /// The same, given up now.
    pub fn into_expired(self) -> Verdict {
        // Delivery time expired (RFC 3463 §3.5), whatever was the last reason.
        Verdict { what: What::Failed, status: "4.4.7".to_owned(), is_expired: true, ..self }
    }

    /// For the journal.
    pub fn line(&self, when: Timestamp) -> Line {
        let words = match &self.reply {
            Some(reply) => reply.clone(),
            None => format!("{} {}", self.status, self.words),
        };
        let Verdict { recipient, what, ref host, .. } = *self;
        Line { when, recipient, what, host: host.clone(), words }
    }

    /// Why, on one line: "mx.far.test[192.0.2.1]:25: 450 4.2.0 later".
    pub fn reason(&self) -> String {
        let story = self.line(Timestamp::UNIX_EPOCH).story().replace('\n', " / ");
        match self.is_expired {
            true => format!("waited too long; at last: {story}"),
            false => story,
        }
    }

    /// Tells the log. `next`: when it is tried again.
    pub fn tell(&self, id: &str, to: &str, next: Option<Timestamp>) {
        let reason = &self.reason();
        match self.what {
            What::Relayed => {
                let reply = self.reply.as_deref().unwrap_or_default().replace('\n', " / ");
                let tls = self.tls.as_ref().map(Protection::to_string);
                let tls = tls.as_deref().unwrap_or("no");
                tell(&Event::Relayed { id, to, host: &self.host, tls, reply: &reply });
            }
            What::Delivered => match &self.maildir {
                Some(maildir) => tell(&Event::Delivered { id, to, maildir }),
                None => tell(&Event::Warning { what: &format!("{id} for {to}: {reason}") }),
            },
            What::Failed if self.is_expired => tell(&Event::Expired { id, to, reason }),
            What::Failed => tell(&Event::Bounced { id, to, reason }),
            _ => tell(&Event::Deferred { id, to, reason, next }),
        }
    }
}

/// Whether the words of a journal line are a next hop's: a code, then a space or a hyphen. Ours begin
/// with a status of three numbers.
pub fn is_reply(words: &str) -> bool {
    let (code, rest) = words.split_at_checked(3).unwrap_or_default();
    code.bytes().all(|octet| octet.is_ascii_digit()) && rest.starts_with([' ', '-'])
}

/// Whether the words of a journal line say that a host was there to speak about the message: not the words of
/// one that turned everybody away.
pub fn is_answer(words: &str) -> bool {
    is_reply(words) && !words.starts_with("421")
}

/// Whether this fate is about the host as a whole, whatever was to be sent: then all that waits for it
/// is left alone for a while.
pub fn is_missed(fate: &Fate) -> bool {
    let (Fate::Deferred(reason) | Fate::NextHost(reason)) = fate else { return false };
    match &reason.cause {
        Cause::Silent | Cause::Closed | Cause::Broke(_) | Cause::Garbled(_) | Cause::Tls(_) => true,
        Cause::Lacks(Lack::StartTls | Lack::Auth | Lack::Proof) => true,
        Cause::Said(answer) => reason.step.is_greeting() || answer.code() == 421,
        Cause::Lacks(_) | Cause::Enough | Cause::Unreadable(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_and_ours_are_told_apart() {
        for (words, theirs) in [
            ("550 5.1.1 nobody", true),
            ("550-5.1.1 nobody\n550 at all", true),
            ("4.4.1 did not answer (connecting)", false),
            ("", false),
            ("55", false),
            ("\u{e9}50 x", false),
        ] {
            assert_eq!(is_reply(words), theirs, "{words}");
        }
    }

    #[test]
    fn an_expired_one_says_what_was_last() {
        let line = |words: &str| Line {
            when: Timestamp::UNIX_EPOCH,
            recipient: 0,
            what: What::Deferred,
            host: "mx.far.test[192.0.2.1]:25".to_owned(),
            words: words.to_owned(),
        };
        let verdict = Verdict::expired(0, Some(&line("450 4.2.0 later\n")), "");
        assert_eq!((verdict.status.as_str(), verdict.what), ("4.4.7", What::Failed));
        assert!(
            verdict
                .reason()
                .starts_with("waited too long; at last: mx.far.test[192.0.2.1]:25: 450")
        );
        let verdict = Verdict::expired(0, Some(&line("4.4.1 did not answer")), "");
        assert_eq!((verdict.reply, verdict.words.as_str()), (None, "4.4.1 did not answer"));
    }
}
