//! DMARC: whether what SPF and DKIM proved is in line with the authors of a message, and what their domains
//! ask for where it is not (RFC 9989). Pure: questions go to [`Ask`].
//!
//! No list of public suffixes is looked at: the tree walk of RFC 9989, 4.10 takes its place.

mod authors;
mod record;
mod walk;

pub use authors::{Authors, NoAuthors, authors};
pub use record::{DmarcRecord, Policies, Policy};

use super::name::Name;
use super::{Ask, QueryAnswer, QueryType, spf};
use std::cmp::Reverse;
use std::fmt;
use walk::Walker;

/// What DMARC says of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DmarcResult {
    /// No record asks for anything.
    None,
    Pass,
    /// Also where authors cannot be told: that counts as a failure under `p=quarantine`.
    Fail,
    /// DNS did not answer what decides.
    TempError,
    /// All authors are proved, but there is more than one From field (RFC 9989, 4.4).
    PermError,
}

/// The word of RFC 9989, 9.2.
impl fmt::Display for DmarcResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DmarcResult::None => "none",
            DmarcResult::Pass => "pass",
            DmarcResult::Fail => "fail",
            DmarcResult::TempError => "temperror",
            DmarcResult::PermError => "permerror",
        })
    }
}

/// Who vouches for a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DmarcMethod {
    Spf,
    Dkim,
}

impl fmt::Display for DmarcMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DmarcMethod::Spf => "SPF",
            DmarcMethod::Dkim => "DKIM",
        })
    }
}

/// A domain, and what vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identifier {
    pub method: DmarcMethod,
    pub domain: Name,
}

/// What SPF and DKIM found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// What passed.
    pub passed: Vec<Identifier>,
    /// What is not known, for DNS did not answer: it might have passed.
    pub unknown: Vec<Identifier>,
}

impl Evidence {
    /// Takes what SPF found about the sender, or about HELO where the sender is null; a pass of HELO beside
    /// a sender is no evidence (RFC 9989, 4.4.2).
    pub fn spf(&mut self, finding: &spf::SpfFinding) {
        let Some(domain) = finding.name.clone() else { return };
        let identifier = Identifier { method: DmarcMethod::Spf, domain };
        match finding.result {
            spf::SpfResult::Pass => self.passed.push(identifier),
            spf::SpfResult::TempError => self.unknown.push(identifier),
            spf::SpfResult::None
            | spf::SpfResult::Neutral
            | spf::SpfResult::Fail
            | spf::SpfResult::SoftFail
            | spf::SpfResult::PermError => {}
        }
    }

    /// Takes the domain (`d=`) of a signature that passed.
    pub fn dkim_passed(&mut self, domain: Name) {
        self.passed.push(Identifier { method: DmarcMethod::Dkim, domain });
    }

    /// Takes the domain of a signature whose key DNS did not give.
    pub fn dkim_unknown(&mut self, domain: Name) {
        self.unknown.push(Identifier { method: DmarcMethod::Dkim, domain });
    }
}

/// What came out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DmarcFinding {
    pub result: DmarcResult,
    /// What the record asks for where the message fails, after `sp=`, `np=` and `t=`; none where no record
    /// holds, or none is known.
    pub policy: Option<Policy>,
    /// The author's domain that decided; none where authors cannot be told.
    pub domain: Option<Name>,
    /// Its organizational domain; none where that is not known.
    pub organization: Option<Name>,
    /// Whose record holds.
    pub record: Option<Name>,
    /// What is in line with the domain.
    pub aligned: Option<Identifier>,
    pub reason: String,
}

/// Judges a message by its authors: of several domains the strictest policy that fails decides (RFC 9989,
/// 11.5), then what is not known, and a pass needs all of them.
pub fn judge(
    ask: &mut dyn Ask,
    authors: &Result<Authors, NoAuthors>,
    evidence: &Evidence,
) -> DmarcFinding {
    let authors = match authors {
        Ok(authors) => authors,
        Err(why) => return unreadable(why.to_string()),
    };
    let mut walker = Walker::new(ask);
    let findings = authors.domains.iter().map(|domain| one(&mut walker, domain, evidence));
    let Some(mut worst) = findings.min_by_key(rank) else {
        return unreadable(NoAuthors::NoField.to_string());
    };
    if authors.domains.len() > 1 {
        worst.reason = format!("{} authors' domains: {}", authors.domains.len(), worst.reason);
    }
    // A signature covers one of several From fields, and nobody knows which one is shown.
    if authors.fields > 1 && worst.result == DmarcResult::Pass {
        worst.result = DmarcResult::PermError;
        worst.reason = format!("{} From fields; {}", authors.fields, worst.reason);
    }
    worst
}

fn unreadable(reason: String) -> DmarcFinding {
    DmarcFinding {
        result: DmarcResult::Fail,
        policy: Some(Policy::Quarantine),
        domain: None,
        organization: None,
        record: None,
        aligned: None,
        reason,
    }
}

/// The worst first.
fn rank(finding: &DmarcFinding) -> (u8, Reverse<Option<Policy>>) {
    let enforced = finding.policy > Some(Policy::None);
    let rank = match finding.result {
        DmarcResult::Fail if enforced => 0,
        DmarcResult::TempError => 1,
        DmarcResult::Fail => 2,
        DmarcResult::PermError => 3,
        DmarcResult::None => 4,
        DmarcResult::Pass => 5,
    };
    (rank, Reverse(finding.policy))
}

/// How an identifier stands to an author.
enum Alignment {
    Aligned,
    Apart,
    /// DNS did not answer the question named.
    Unknown(String),
}

fn one(walker: &mut Walker<'_>, author: &Name, evidence: &Evidence) -> DmarcFinding {
    let walk = walker.walk(author);
    let organization = walk.organization();
    let mut finding = DmarcFinding {
        result: DmarcResult::None,
        policy: None,
        domain: Some(author.clone()),
        organization: organization.clone().ok(),
        record: None,
        aligned: None,
        reason: format!("no record for {author}"),
    };
    let (domain, record) = match walk.policy() {
        Ok(Some(found)) => found,
        Ok(None) => return finding,
        Err(why) => {
            finding.result = DmarcResult::TempError;
            finding.reason = why;
            return finding;
        }
    };
    finding.record = Some(domain.clone());
    let Some(policies) = &record.policies else {
        finding.reason =
            format!("the record of {domain} has no valid policy and no address for reports");
        return finding;
    };
    let policy = policy(walker, author, domain, record, policies);
    let (policy, undecided) = match policy {
        Ok(policy) => (policy, None),
        Err((policy, why)) => (policy, Some(why)),
    };
    finding.policy = Some(policy);
    let mut unknown = None;
    for identifier in &evidence.passed {
        match alignment(walker, author, &organization, record, identifier) {
            Alignment::Aligned => {
                finding.result = DmarcResult::Pass;
                finding.reason = format!(
                    "{} of {} is in line with {author}",
                    identifier.method, identifier.domain
                );
                finding.aligned = Some(identifier.clone());
                return finding;
            }
            Alignment::Apart => {}
            Alignment::Unknown(why) => unknown = unknown.or(Some(why)),
        }
    }
    for identifier in &evidence.unknown {
        if unknown.is_some() {
            break;
        }
        let Identifier { method, domain } = identifier;
        match alignment(walker, author, &organization, record, identifier) {
            Alignment::Aligned => unknown = Some(format!("{method} of {domain} is not known")),
            Alignment::Apart => {}
            Alignment::Unknown(why) => unknown = Some(why),
        }
    }
    (finding.result, finding.reason) = match unknown.or(undecided) {
        Some(why) => (DmarcResult::TempError, why),
        None => {
            let passed = match evidence.passed.is_empty() {
                true => "nothing passed".to_owned(),
                false => format!("nothing that passed is in line with {author}"),
            };
            (DmarcResult::Fail, format!("{passed}; the record of {domain} asks for {policy}"))
        }
    };
    finding
}

/// What a record asks for mail of `author` (RFC 9989, 4.7 and 4.10.1). Fails with the weaker of two policies
/// and the question that would decide between them.
fn policy(
    walker: &mut Walker<'_>,
    author: &Name,
    domain: &Name,
    record: &DmarcRecord,
    policies: &Policies,
) -> Result<Policy, (Policy, String)> {
    let held = |policy: Policy| if record.testing { policy.lowered() } else { policy };
    let (below, missing) = (held(policies.below), held(policies.missing));
    if author == domain {
        return Ok(held(policies.own));
    }
    if below == missing {
        return Ok(below);
    }
    // A name exists until DNS says that it does not (RFC 8020).
    match walker.ask.ask(author, QueryType::A) {
        QueryAnswer::NoName => Ok(missing),
        QueryAnswer::Records(_) | QueryAnswer::NoRecords => Ok(below),
        QueryAnswer::Failed(why) => Err((below.min(missing), format!("A of {author}: {why}"))),
    }
}

/// RFC 9989, 4.10.2. Both in one organization means that the identifier is not outside of the author's, so
/// mail signed by others costs no walk.
fn alignment(
    walker: &mut Walker<'_>,
    author: &Name,
    organization: &Result<Name, String>,
    record: &DmarcRecord,
    identifier: &Identifier,
) -> Alignment {
    let strict = match identifier.method {
        DmarcMethod::Spf => record.strict_spf,
        DmarcMethod::Dkim => record.strict_dkim,
    };
    if identifier.domain == *author {
        return Alignment::Aligned;
    }
    if strict || identifier.domain.labels().next_back() != author.labels().next_back() {
        return Alignment::Apart;
    }
    let organization = match organization {
        Ok(organization) => organization,
        Err(why) => return Alignment::Unknown(why.clone()),
    };
    if !identifier.domain.is_within(organization) {
        return Alignment::Apart;
    }
    match walker.walk(&identifier.domain).organization() {
        Ok(other) if other == *organization => Alignment::Aligned,
        Ok(_) => Alignment::Apart,
        Err(why) => Alignment::Unknown(why),
    }
}
