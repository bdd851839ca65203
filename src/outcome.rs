//! What one attempt decided about one recipient: a journal line, an event, and what a notice says. Decides
//! nothing itself: an attempt gives the [`Fate`], and the words come from there.

use crate::event::{Event, tell, warn};
use crate::net::tls::Protection;
use crate::route::Destination;
use crate::smtp::client::{Cause, Fate, Lack, Reason};
use crate::store::disk::StoreError;
use crate::store::entry::{JournalLine, What};
use jiff::Timestamp;
use std::net::IpAddr;

/// What one attempt decided about one recipient.
#[derive(Clone, Debug)]
pub struct RecipientOutcome {
    /// The recipient's place in the envelope.
    pub recipient: usize,
    pub what: What,
    /// The next hop that was tried; empty when there was none.
    pub host: String,
    /// Enhanced status code (RFC 3463).
    pub status: String,
    /// The next hop's whole reply, and in brackets on a line of its own what it answered
    /// ([`Reason::place`]), as the journal has both; or our own words.
    pub words: String,
    /// The notices that were asked for are sent by the next hop (RFC 3461 §5.2.1), or come with the message
    /// that an alias here made of it.
    pub is_passed_on: bool,
    /// Whether it failed only because it waited too long.
    pub is_expired: bool,
    /// How the connection to the next hop was protected; none without TLS.
    pub tls: Option<Protection>,
    /// Our own end of that connection; none where there was none.
    pub local: Option<IpAddr>,
    /// Where a copy here lies.
    pub copy: Option<Destination>,
}

impl RecipientOutcome {
    /// An outcome in our own words.
    pub fn own(
        recipient: usize,
        what: What,
        status: &str,
        words: impl Into<String>,
    ) -> RecipientOutcome {
        RecipientOutcome {
            recipient,
            what,
            host: String::new(),
            status: status.to_owned(),
            words: words.into(),
            is_passed_on: false,
            is_expired: false,
            tls: None,
            local: None,
            copy: None,
        }
    }

    /// The outcome for what a next hop said, or for its silence.
    pub fn of_fate(
        recipient: usize,
        host: &str,
        fate: &Fate,
        is_passed_on: bool,
    ) -> RecipientOutcome {
        let (what, answer) = match fate {
            Fate::Relayed(answer) => (What::Relayed, Some(answer)),
            Fate::Failed(reason) => (What::Failed, reason.answer()),
            Fate::Deferred(reason) | Fate::NextHost(reason) => (What::Deferred, reason.answer()),
        };
        let words = match (answer, fate.reason()) {
            (Some(answer), Some(reason)) => {
                format!("{}\n({})", answer.text(), reason.place().replace('\n', " / "))
            }
            (Some(answer), None) => answer.text(),
            (None, reason) => reason.map(Reason::to_string).unwrap_or_default(),
        };
        let own = RecipientOutcome::own(recipient, what, fate.status(), words);
        RecipientOutcome { host: host.to_owned(), is_passed_on, ..own }
    }

    /// The outcome for a Maildir that cannot be written for now.
    pub fn of_disk(recipient: usize, error: &StoreError) -> RecipientOutcome {
        RecipientOutcome::own(recipient, What::Deferred, error.status(), error.to_string())
    }

    /// The outcome for a recipient that is given up now, with what the journal says of the last attempt.
    pub fn expired(recipient: usize, last: Option<&JournalLine>, error: &str) -> RecipientOutcome {
        let mut outcome = RecipientOutcome::own(recipient, What::Failed, "4.4.7", error);
        outcome.is_expired = true;
        if let Some(last) = last {
            outcome.host = if last.host == "-" { String::new() } else { last.host.clone() };
            outcome.words = last.words.clone();
        }
        outcome
    }

    /// The same outcome for a recipient that is given up now.
    pub fn into_expired(self) -> RecipientOutcome {
        // Delivery time expired (RFC 3463 §3.5), whatever was the last reason.
        RecipientOutcome {
            what: What::Failed,
            status: "4.4.7".to_owned(),
            is_expired: true,
            ..self
        }
    }

    /// The next hop's reply, and what it answered; none where there was no reply.
    fn said(&self) -> Option<(&str, &str)> {
        (!self.host.is_empty() && is_reply(&self.words)).then(|| parts(&self.words))
    }

    /// For a notice: the next hop's reply, what it answered, and our own words where there is no reply. Without
    /// the login of a smarthost and its password file, which only the log names.
    pub fn for_sender(&self) -> (Option<&str>, &str, &str) {
        match self.said() {
            Some((reply, place)) if place.starts_with("AUTH,") => (Some(reply), "AUTH", ""),
            Some((reply, place)) => (Some(reply), place, ""),
            None => (None, "", self.words.split(" (AUTH, as ").next().unwrap_or_default()),
        }
    }

    /// The line for the journal.
    pub fn line(&self, when: Timestamp) -> JournalLine {
        let words = match self.said() {
            Some(_) => self.words.clone(),
            None => format!("{} {}", self.status, self.words),
        };
        let RecipientOutcome { recipient, what, ref host, .. } = *self;
        JournalLine { when, recipient, what, host: host.clone(), words }
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
                let reply = self.words.replace('\n', " / ");
                let tls = self.tls.as_ref().map(Protection::to_string);
                let tls = tls.as_deref().unwrap_or("no");
                tell(&Event::Relayed { id, to, host: &self.host, tls, reply: &reply });
            }
            What::Delivered => match &self.copy {
                Some(copy) => copy.tell_delivered(id, to),
                None => warn(&format!("{id} for {to}: {reason}")),
            },
            What::Failed if self.is_expired => tell(&Event::Expired { id, to, reason }),
            What::Failed => tell(&Event::Bounced { id, to, reason }),
            _ => tell(&Event::Deferred { id, to, reason, next }),
        }
    }
}

/// Whether the words of a journal line are a next hop's reply: a code, then a space or a hyphen. Our own
/// words begin with a status of three numbers.
fn is_reply(words: &str) -> bool {
    let (code, rest) = words.split_at_checked(3).unwrap_or_default();
    code.bytes().all(|octet| octet.is_ascii_digit()) && rest.starts_with([' ', '-'])
}

/// The two parts of a next hop's reply in a journal line: the reply, and what it answered. Each line of a
/// reply begins with its code, so a last line in brackets is ours.
fn parts<'a>(words: &'a str) -> (&'a str, &'a str) {
    let ours = |last: &'a str| last.strip_prefix('(')?.strip_suffix(')');
    match words.rsplit_once('\n').map(|(reply, last)| (reply, ours(last))) {
        Some((reply, Some(place))) => (reply, place),
        _ => (words, ""),
    }
}

/// Whether the words of a journal line are a reply about the message itself, not one that the host gives to
/// every message.
pub fn is_answer(words: &str) -> bool {
    let is_turned_away = |place: &str| {
        // As [`Step::is_greeting`] has it.
        let step = place.split(',').next().unwrap_or_default();
        matches!(step, "greeting" | "EHLO" | "HELO" | "STARTTLS" | "AUTH")
    };
    is_reply(words) && !words.starts_with("421") && !is_turned_away(parts(words).1)
}

/// Whether this fate is about the host as a whole and not about this message: then no mail is sent to the
/// host for a while.
pub fn is_missed(fate: &Fate) -> bool {
    let (Fate::Deferred(reason) | Fate::NextHost(reason)) = fate else { return false };
    match &reason.cause {
        Cause::Silent | Cause::Closed | Cause::Broke(_) | Cause::Garbled(_) | Cause::Tls(_) => true,
        Cause::Lacks(Lack::StartTls | Lack::OwedTls | Lack::Auth | Lack::Proof) => true,
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
    fn what_was_answered_is_told_and_read_again() {
        use crate::smtp::answer::Answer;
        use crate::smtp::client::Step;
        for (text, step, told, is_answered) in [
            ("450 4.2.0 later\n", Step::Mail, "h: 450 4.2.0 later (MAIL)", true),
            ("554 no\n", Step::Greeting, "h: 554 no (greeting)", false),
            ("452-a\n452 (b)\n", Step::Data, "h: 452-a / 452 (b) (DATA)", true),
            ("421 bye\n", Step::Rcpt, "h: 421 bye (RCPT)", false),
        ] {
            let said = Cause::Said(Answer::parse(text.as_bytes()).unwrap());
            let fate = Fate::NextHost(Reason::new(step, said));
            let outcome = RecipientOutcome::of_fate(0, "h", &fate, false);
            assert_eq!(outcome.reason(), told);
            let line = outcome.line(Timestamp::UNIX_EPOCH);
            assert_eq!(is_answer(&line.words), is_answered, "{text}");
            let again = RecipientOutcome::expired(0, Some(&line), "");
            assert_eq!(again.said(), outcome.said());
        }
        assert_eq!(parts("450 later\n450 (MAIL)").1, "");
    }

    #[test]
    fn an_expired_one_says_what_was_last() {
        let line = |words: &str| JournalLine {
            when: Timestamp::UNIX_EPOCH,
            recipient: 0,
            what: What::Deferred,
            host: "mx.far.test[192.0.2.1]:25".to_owned(),
            words: words.to_owned(),
        };
        let outcome = RecipientOutcome::expired(0, Some(&line("450 4.2.0 later\n")), "");
        assert_eq!((outcome.status.as_str(), outcome.what), ("4.4.7", What::Failed));
        assert!(
            outcome
                .reason()
                .starts_with("waited too long; at last: mx.far.test[192.0.2.1]:25: 450")
        );
        let outcome = RecipientOutcome::expired(0, Some(&line("4.4.1 did not answer")), "");
        assert_eq!((outcome.said(), outcome.words.as_str()), (None, "4.4.1 did not answer"));
    }
}
