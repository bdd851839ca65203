//! What a refusal means where it may follow from something that we did ourselves.

use super::Client;
use super::fate::{Aside, Cause, Fate, Reason, Step};
use crate::smtp::answer::Answer;

impl Client {
    /// The client with the reason why it speaks in the clear to a host that offers TLS: how TLS failed.
    pub fn in_the_clear(self, why: Option<String>) -> Client {
        Client { in_the_clear: why, ..self }
    }

    /// The client with the record or the policy by which the host owes TLS, in words.
    pub fn owing(self, by: Option<String>) -> Client {
        Client { owed_by: by, ..self }
    }

    /// What a 5xx to MAIL, RCPT, DATA or the message means: failed for good, unless the host only wants the TLS
    /// that failed before. Behind the final dot no other host is asked.
    pub(super) fn refused(&self, step: Step, answer: Answer) -> Fate {
        let reason = self.said(step, answer);
        match (reason.follows_from_fall_back(), step) {
            (false, _) => Fate::Failed(reason),
            (true, Step::Final) => Fate::Deferred(reason),
            (true, _) => Fate::NextHost(reason),
        }
    }

    pub(super) fn said(&self, step: Step, answer: Answer) -> Reason {
        let cause = Cause::Said(answer.shortened());
        Reason { step, cause, aside: self.aside(step) }
    }

    pub(super) fn aside(&self, step: Step) -> Option<Aside> {
        let login = self.whose.clone().filter(|_| step == Step::Auth).map(Aside::Login);
        let owed = self.owed_by.clone().filter(|_| step == Step::StartTls).map(Aside::Owed);
        login.or(owed).or_else(|| self.in_the_clear.clone().map(Aside::InTheClear))
    }
}
