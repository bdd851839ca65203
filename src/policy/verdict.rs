//! What becomes of a stranger's message after its findings: taken, junk, refused, or to be tried again. The
//! only place that says so; pure.
//!
//! Refused for good is only what answers say no to: where DNS did not answer, or nobody vouches for what it
//! said, the least that follows is less.

use crate::config::{Dmarc, Spf, Trust};
use crate::mail::proof::dmarc::{self, Identifier, Policy};
use crate::mail::proof::findings::Findings;
use crate::mail::proof::name::Name;
use crate::mail::proof::spf;
use std::fmt;

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    /// Taken, into the junk folder.
    Junk,
    Reject(By),
    /// The client is to try again: DNS did not answer what decides.
    Defer,
}

/// Who refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The sender's domain; this is known as soon as there is a recipient.
    Spf,
    /// The author's.
    Dmarc,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Accept => "accept",
            Verdict::Junk => "junk",
            Verdict::Reject(_) => "reject",
            Verdict::Defer => "defer",
        })
    }
}

/// A verdict and its reason, which quotes strangers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    pub verdict: Verdict,
    pub reason: String,
}

impl Judged {
    fn new(verdict: Verdict, reason: impl Into<String>) -> Judged {
        Judged { verdict, reason: reason.into() }
    }
}

/// Judges by what is known. Before the data are there only a refusal counts: a message is deferred at its
/// end.
pub fn judge(findings: &Findings, trust: &Trust) -> Judged {
    // HELO's only marks, so that of a null sender does as well.
    let sender = findings.mail_from.as_ref().filter(|_| trust.spf == Spf::Reject);
    let open = match sender.map(|sender| (sender.result, &findings.doubts.spf)) {
        Some((spf::Result::Fail, None)) => {
            let reason = sender.map_or("", |sender| sender.reason.as_str());
            return Judged::new(Verdict::Reject(By::Spf), format!("SPF: {reason}"));
        }
        Some((spf::Result::TempError, _)) => sender.map(|sender| format!("SPF: {}", sender.reason)),
        _ => None,
    };
    let (judged, undecided) = by_authors(findings, trust);
    match (judged.verdict, open.or(undecided)) {
        (Verdict::Reject(_), _) | (_, None) => judged,
        (_, Some(reason)) if trust.defers => Judged::new(Verdict::Defer, reason),
        (_, Some(_)) => judged,
    }
}

/// What the policy of the authors' domains comes to; with what DNS did not say, where its answer could change
/// that.
fn by_authors(findings: &Findings, trust: &Trust) -> (Judged, Option<String>) {
    let accept = |reason: String| (Judged::new(Verdict::Accept, reason), None);
    let Some(finding) = &findings.dmarc else { return accept("DMARC was not asked".to_owned()) };
    let told = || format!("DMARC: {}", finding.reason);
    let is_enforced = matches!(trust.dmarc, Dmarc::Junk | Dmarc::Reject);
    // Without one of the two, what failed might have passed by it.
    let is_complete = findings.sender().is_some() && findings.dkim.is_some();
    let asks = finding.policy.unwrap_or(Policy::Reject) != Policy::None;
    let is_open = matches!(finding.result, dmarc::Result::Fail | dmarc::Result::TempError);
    if !is_open || !is_enforced || !is_complete || !asks {
        return accept(told());
    }
    let evidence = findings.evidence();
    if let Some(passed) = in_line(&evidence.passed, &trust.allow) {
        return accept(format!("{} of {} is allowed", passed.method, passed.domain));
    }
    let chain = findings.arc.as_ref().zip(finding.domain.as_ref());
    if let Some((chain, from)) = chain
        && chain.vouches(from, &trust.sealers)
    {
        return accept(format!("a chain of sealers says that {from} passed"));
    }
    if finding.result == dmarc::Result::TempError {
        return (Judged::new(Verdict::Accept, told()), Some(told()));
    }
    let might_be_allowed = in_line(&evidence.unknown, &trust.allow)
        .map(|unknown| format!("{} of {} is not known", unknown.method, unknown.domain));
    let undecided = might_be_allowed.or_else(|| {
        let (chain, _) = chain.filter(|(chain, from)| chain.may_vouch(from, &trust.sealers))?;
        Some(format!("ARC: {}", chain.reason))
    });
    let refuses = trust.dmarc == Dmarc::Reject && finding.policy == Some(Policy::Reject);
    let judged = match undecided.as_ref().or(findings.doubts.dmarc.as_ref()) {
        Some(why) if refuses => {
            Judged::new(Verdict::Junk, format!("{}; not refused, for {why}", told()))
        }
        None if refuses => Judged::new(Verdict::Reject(By::Dmarc), told()),
        _ => Judged::new(Verdict::Junk, told()),
    };
    (judged, undecided)
}

/// What is of one of these domains, or below one.
fn in_line<'a>(found: &'a [Identifier], domains: &[Name]) -> Option<&'a Identifier> {
    found.iter().find(|found| domains.iter().any(|domain| found.domain.is_within(domain)))
}
