//! What becomes of a stranger's message after its findings: taken, junk, refused, or to be tried again. The
//! only place that says so; pure.
//!
//! Refused for good is only what answers say no to: where DNS did not answer, or nobody vouches for what it
//! said, the least that follows is less.

use crate::config::{Dmarc, Spf, Trust};
use crate::mail::proof::dmarc::{self, Identifier, Policy};
use crate::mail::proof::findings::ProofFindings;
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
pub struct JudgedMessage {
    pub verdict: Verdict,
    pub reason: String,
}

impl JudgedMessage {
    fn new(verdict: Verdict, reason: impl Into<String>) -> JudgedMessage {
        JudgedMessage { verdict, reason: reason.into() }
    }
}

/// Judges by what is known. Before the data are there only a refusal counts: a message is deferred at its
/// end.
pub fn judge(findings: &ProofFindings, trust: &Trust) -> JudgedMessage {
    // HELO's only marks, so that of a null sender does as well.
    let sender = findings.mail_from.as_ref().filter(|_| trust.spf == Spf::Reject);
    let open = match sender.map(|sender| (sender.result, &findings.doubts.spf)) {
        Some((spf::SpfResult::Fail, None)) => {
            let reason = sender.map_or("", |sender| sender.reason.as_str());
            return JudgedMessage::new(Verdict::Reject(By::Spf), format!("SPF: {reason}"));
        }
        Some((spf::SpfResult::TempError, _)) => {
            sender.map(|sender| format!("SPF: {}", sender.reason))
        }
        _ => None,
    };
    let (judged, undecided) = by_authors(findings, trust);
    match (judged.verdict, open.or(undecided)) {
        (Verdict::Reject(_), _) | (_, None) => judged,
        (_, Some(reason)) if trust.defers => JudgedMessage::new(Verdict::Defer, reason),
        (_, Some(_)) => judged,
    }
}

/// What the policy of the authors' domains comes to; with what DNS did not say, where its answer could change
/// that.
fn by_authors(findings: &ProofFindings, trust: &Trust) -> (JudgedMessage, Option<String>) {
    let accept = |reason: String| (JudgedMessage::new(Verdict::Accept, reason), None);
    let Some(finding) = &findings.dmarc else { return accept("DMARC was not asked".to_owned()) };
    let told = || format!("DMARC: {}", finding.reason);
    let is_enforced = matches!(trust.dmarc, Dmarc::Junk | Dmarc::Reject);
    // Without one of the two, what failed might have passed by it.
    let is_complete = findings.sender().is_some() && findings.dkim.is_some();
    let asks = finding.policy.unwrap_or(Policy::Reject) != Policy::None;
    let is_open =
        matches!(finding.result, dmarc::DmarcResult::Fail | dmarc::DmarcResult::TempError);
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
    if finding.result == dmarc::DmarcResult::TempError {
        return (JudgedMessage::new(Verdict::Accept, told()), Some(told()));
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
            JudgedMessage::new(Verdict::Junk, format!("{}; not refused, for {why}", told()))
        }
        None if refuses => JudgedMessage::new(Verdict::Reject(By::Dmarc), told()),
        _ => JudgedMessage::new(Verdict::Junk, told()),
    };
    (judged, undecided)
}

/// What is of one of these domains, or below one.
fn in_line<'a>(found: &'a [Identifier], domains: &[Name]) -> Option<&'a Identifier> {
    found.iter().find(|found| domains.iter().any(|domain| found.domain.is_within(domain)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::mail::proof::arc;
    use crate::mail::proof::findings::Doubts;
    use crate::mail::proof::results::read;

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap()
    }

    fn trust(lines: &str) -> Trust {
        let text = format!("hostname = \"mx.test\"\n[domain.\"mx.test\"]\n[trust]\n{lines}");
        Config::parse(&text, std::path::Path::new("facteur.toml")).unwrap().trust
    }

    /// Of ann@a.test, who is proved by nothing and asks for `policy`; by way of b.test, which passes SPF.
    fn failing(policy: Policy) -> ProofFindings {
        ProofFindings {
            mail_from: Some(spf::SpfFinding {
                result: spf::SpfResult::Pass,
                domain: "b.test".to_owned(),
                name: Some(name("b.test")),
                reason: "`all` of b.test".to_owned(),
                explanation: None,
            }),
            dkim: Some(Vec::new()),
            dmarc: Some(dmarc::DmarcFinding {
                result: dmarc::DmarcResult::Fail,
                policy: Some(policy),
                domain: Some(name("a.test")),
                organization: None,
                record: None,
                aligned: None,
                reason: "nothing in line".to_owned(),
            }),
            ..ProofFindings::default()
        }
    }

    /// One seal of `b.test`, by which `set 1` says this.
    fn chain(result: arc::ArcResult, said: &str) -> Option<arc::ArcFinding> {
        Some(arc::ArcFinding {
            result,
            reason: arc::ArcReason::Holds { sets: 1 },
            sealers: vec![name("b.test")],
            first: read(said.as_bytes()).ok(),
        })
    }

    fn verdict(findings: &ProofFindings, lines: &str) -> Verdict {
        judge(findings, &trust(lines)).verdict
    }

    const REJECT: &str = "dmarc = \"reject\"\n";
    const SEALED: &str = "dmarc = \"reject\"\nsealers = [\"b.test\"]\n";

    #[test]
    fn the_word_of_sealers() {
        let by = Verdict::Reject(By::Dmarc);
        let passed = "b.test; dmarc=pass header.from=a.test";
        let mut findings = failing(Policy::Reject);
        for (result, said, lines, expected) in [
            (arc::ArcResult::Pass, passed, SEALED, Verdict::Accept),
            (arc::ArcResult::Pass, passed, REJECT, by),
            (arc::ArcResult::Pass, "b.test; dmarc=pass header.from=c.test", SEALED, by),
            (arc::ArcResult::Pass, "b.test; dmarc=fail header.from=a.test", SEALED, by),
            (arc::ArcResult::Fail, passed, SEALED, by),
            // It might count; so it is not refused, and the client may try again.
            (arc::ArcResult::TempError, passed, SEALED, Verdict::Junk),
            (arc::ArcResult::TempError, passed, REJECT, by),
        ] {
            findings.arc = chain(result, said);
            assert_eq!(verdict(&findings, lines), expected, "{result} {said} {lines}");
        }
        findings.arc = chain(arc::ArcResult::TempError, passed);
        let defers = format!("{SEALED}temperror = \"defer\"");
        assert_eq!(verdict(&findings, &defers), Verdict::Defer);
        findings.arc.as_mut().unwrap().sealers.push(name("c.test"));
        assert_eq!(verdict(&findings, &defers), by, "one seal is of somebody else");
    }

    #[test]
    fn what_is_not_sure_is_not_refused() {
        let mut findings = failing(Policy::Reject);
        findings.doubts = Doubts { dmarc: Some("no SOA".to_owned()), spf: None };
        let judged = judge(&findings, &trust(REJECT));
        assert_eq!(judged.verdict, Verdict::Junk);
        assert!(judged.reason.contains("no SOA"), "{}", judged.reason);
        let sender = findings.mail_from.as_mut().unwrap();
        sender.result = spf::SpfResult::Fail;
        let spf = "spf = \"reject\"\n";
        assert_eq!(verdict(&findings, spf), Verdict::Reject(By::Spf));
        findings.doubts.spf = Some("no SOA".to_owned());
        assert_eq!(verdict(&findings, spf), Verdict::Junk, "what DMARC says");
        // A null sender has the domain of HELO.
        findings = failing(Policy::None);
        findings.helo = findings.mail_from.take();
        findings.helo.as_mut().unwrap().result = spf::SpfResult::Fail;
        assert_eq!(verdict(&findings, spf), Verdict::Accept);
    }

    #[test]
    fn allowed_domains_and_what_they_are_allowed() {
        let allow = |domain: &str| format!("{REJECT}allow = [\"{domain}\"]");
        let findings = failing(Policy::Reject);
        for (domain, expected) in [
            ("b.test", Verdict::Accept),
            ("a.test", Verdict::Reject(By::Dmarc)),
            ("x.b.test", Verdict::Reject(By::Dmarc)),
        ] {
            assert_eq!(verdict(&findings, &allow(domain)), expected, "{domain}");
        }
        let mut below = failing(Policy::Quarantine);
        below.mail_from.as_mut().unwrap().name = Some(name("bounces.b.test"));
        assert_eq!(verdict(&below, &allow("b.test")), Verdict::Accept);
        assert_eq!(verdict(&failing(Policy::Quarantine), REJECT), Verdict::Junk);
    }
}
