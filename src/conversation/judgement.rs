//! What was found out about who sent a message, and what follows: for the header, the log, and the trace.

use crate::event::{Event, tell};
use crate::mail::proof::findings::ProofFindings;
use crate::mail::proof::results;
use crate::policy::verdict::{JudgedMessage, judge};
use crate::policy::{self, Opinion};
use crate::site::Site;

/// The judgement of a stranger's message.
pub(super) struct Judgement {
    pub findings: ProofFindings,
    pub judged: JudgedMessage,
}

impl Judgement {
    pub fn new(site: &Site, findings: ProofFindings) -> Judgement {
        let judged = judge(&findings, &site.config.trust);
        Judgement { findings, judged }
    }

    pub fn opinion(&self) -> Opinion {
        policy::judged(&self.judged, &self.findings)
    }

    /// The field that says what was found.
    pub fn field(&self, site: &Site) -> String {
        results::write(site.config.hostname.as_str(), &self.findings.entries())
    }

    /// `id`: that of the message, where it was taken.
    pub fn tell(&self, id: Option<&str>, session: &str) {
        let words = self.findings.words();
        let words: Vec<(&str, &str)> = words.iter().map(|(name, is)| (*name, &**is)).collect();
        let verdict = &self.judged.verdict.to_string();
        tell(&Event::Judged { id, session, found: &words, verdict, reason: &self.judged.reason });
    }
}
