//! What was found out about one message, all voices together. Pure; what follows from it is policy.

use crate::mail::proof::dmarc::Evidence;
use crate::mail::proof::results::MethodResult;
use crate::mail::proof::{arc, dkim, dmarc, spf};

/// What each voice found; none where it was not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProofFindings {
    /// SPF of the name that the client gave itself.
    pub helo: Option<spf::SpfFinding>,
    /// SPF of the sender's domain; none for the null sender, whose domain is that of HELO (RFC 7208 §2.4).
    pub mail_from: Option<spf::SpfFinding>,
    /// Signatures in the order of the header.
    pub dkim: Option<Vec<dkim::DkimFinding>>,
    pub arc: Option<arc::ArcFinding>,
    pub dmarc: Option<dmarc::DmarcFinding>,
    pub doubts: Doubts,
}

/// Failures that are not for sure: they rest on an answer that there is no record for which no zone vouches
/// (RFC 2308 §2.2, type 3), as caches often give it. Each says what is not known; nothing permanent may
/// follow from such a failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doubts {
    /// About the fail of the sender's domain.
    pub spf: Option<String>,
    /// About the fail of the authors.
    pub dmarc: Option<String>,
}

impl ProofFindings {
    /// What SPF says in whose name the message was sent: of the sender, or of HELO where that is null.
    pub fn sender(&self) -> Option<&spf::SpfFinding> {
        self.mail_from.as_ref().or(self.helo.as_ref())
    }

    /// What SPF and signatures prove, and what they might.
    pub fn evidence(&self) -> Evidence {
        self.evidence_with(self.sender())
    }

    /// The same with another finding about the sender.
    pub fn evidence_with(&self, sender: Option<&spf::SpfFinding>) -> Evidence {
        let mut evidence = Evidence::default();
        if let Some(sender) = sender {
            evidence.spf(sender);
        }
        for signature in self.dkim.iter().flatten() {
            if let Some(domain) = signature.proves() {
                evidence.dkim_passed(domain.clone());
            }
            if let Some(domain) = signature.may_prove() {
                evidence.dkim_unknown(domain.clone());
            }
        }
        evidence
    }

    /// A word for each voice that was asked. Of signatures it is that of one which passed, else of the first.
    pub fn words(&self) -> Vec<(&'static str, String)> {
        let dkim = self.dkim.as_ref().map(|signatures| {
            let passed = signatures.iter().find(|found| found.result == dkim::DkimResult::Pass);
            let told = passed.or(signatures.first());
            told.map_or_else(|| "none".to_owned(), |found| found.result.to_string())
        });
        let voices = [
            ("spf", self.sender().map(|found| found.result.to_string())),
            ("dkim", dkim),
            ("arc", self.arc.as_ref().map(|found| found.result.to_string())),
            ("dmarc", self.dmarc.as_ref().map(|found| found.result.to_string())),
        ];
        voices.into_iter().filter_map(|(name, word)| Some((name, word?))).collect()
    }

    /// Entries of Authentication-Results, in the order spf, dkim, arc, dmarc.
    pub fn entries(&self) -> Vec<MethodResult> {
        self.entries_with(MethodResult::dkim)
    }

    /// The same, with each signature that was read.
    pub fn all_entries(&self) -> Vec<MethodResult> {
        self.entries_with(|signatures| match signatures {
            [] => MethodResult::dkim(signatures),
            signatures => signatures.iter().map(MethodResult::signature).collect(),
        })
    }

    fn entries_with(
        &self,
        signatures: impl Fn(&[dkim::DkimFinding]) -> Vec<MethodResult>,
    ) -> Vec<MethodResult> {
        let mut entries: Vec<MethodResult> = self.helo.iter().map(MethodResult::helo).collect();
        entries.extend(self.mail_from.iter().map(MethodResult::mail_from));
        entries.extend(self.dkim.iter().flat_map(|found| signatures(found)));
        entries.extend(self.arc.iter().map(MethodResult::arc));
        entries.extend(self.dmarc.iter().map(MethodResult::dmarc));
        entries
    }
}
