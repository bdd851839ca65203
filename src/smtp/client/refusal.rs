//! What a refusal means, by what of our own doing it may follow from.

use super::Client;
use super::fate::{Aside, Cause, Fate, Reason, Step};
use crate::smtp::answer::Answer;

impl Client {
    /// One that is in the clear because TLS with this host has failed: how.
    pub fn in_the_clear(self, why: Option<String>) -> Client {
        Client { in_the_clear: why, ..self }
    }

    /// What a 5xx to MAIL, RCPT, DATA or the message means: the end, unless the host only wants the TLS that
    /// has failed before. Behind the final dot no other host is asked.
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
        login.or_else(|| self.in_the_clear.clone().map(Aside::InTheClear))
    }
}
