//! What the connections of a day came to, for each domain and policy; and as lines of a file, each of which says how
//! many more came to the same. Pure.
//!
//! Bounded in octets, policies and details: what finds no room is counted as left out, and a failure past the details
//! is told by its result alone.

use super::{AppliedPolicy, FailedTls, FailureDetail, PolicyPart, PolicySummary};
use crate::limits::reports::{TALLY_DETAILS_MAX, TALLY_POLICIES_MAX, TALLY_ROOM};
use crate::mail::address::Domain;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The end of one connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TlsSession {
    /// The recipient's domain, whose record says who gets reports.
    pub domain: Domain,
    pub policy: AppliedPolicy,
    /// None: TLS as the policy wants it.
    pub failed: Option<FailedTls>,
}

/// A line of a day's file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct CountLine {
    count: u64,
    /// None: connections that found no room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    domain: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<AppliedPolicy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failed: Option<FailedTls>,
}

/// All of a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsCounts {
    domains: BTreeMap<Domain, DomainCounts>,
    /// Connections that found no room.
    left_out: u64,
    /// Octets in memory, nearly.
    room: usize,
}

/// Those of one domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DomainCounts(BTreeMap<AppliedPolicy, PolicyCounts>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct PolicyCounts {
    good: u64,
    failed: BTreeMap<FailedTls, u64>,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadLine {
    Counted,
    /// It is none, or torn.
    Bad,
}

impl TlsCounts {
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty() && self.left_out == 0
    }

    /// Connections that found no room.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The domains in their order.
    pub fn domains(&self) -> impl Iterator<Item = (&Domain, &DomainCounts)> {
        self.domains.iter()
    }

    /// Counts so many connections that ended alike.
    pub fn add(&mut self, session: &TlsSession, count: u64) {
        if !self.has_room(session) {
            return self.leave_out(count);
        }
        let domain = self.domains.entry(session.domain.clone()).or_default();
        let policy = domain.0.entry(session.policy.clone()).or_default();
        match &session.failed {
            None => policy.good = policy.good.saturating_add(count),
            Some(failed) => policy.fail(failed, count),
        }
    }

    /// Counts connections of which nothing else is kept.
    pub fn leave_out(&mut self, count: u64) {
        self.left_out = self.left_out.saturating_add(count);
    }

    /// Whether it can be counted; takes the room for what is new of it.
    fn has_room(&mut self, session: &TlsSession) -> bool {
        let known = self.domains.get(&session.domain);
        let policy = known.and_then(|domain| domain.0.get(&session.policy));
        let is_full = known.is_some_and(|domain| domain.0.len() >= TALLY_POLICIES_MAX);
        let mut more = 0;
        if known.is_none() {
            more += session.domain.as_str().len();
        }
        if policy.is_none() {
            more += session.policy.room();
        }
        if let Some(failed) = &session.failed {
            more += policy.map_or(failed.room(), |policy| policy.room_for(failed));
        }
        if more > 0 && (self.room + more > TALLY_ROOM || policy.is_none() && is_full) {
            return false;
        }
        self.room += more;
        true
    }

    /// Takes in a line that [`TlsCounts::lines`] has written.
    pub fn read(&mut self, line: &[u8]) -> ReadLine {
        // A list would be read as an object without names.
        if !line.starts_with(b"{") {
            return ReadLine::Bad;
        }
        let Ok(line) = serde_json::from_slice::<CountLine>(line) else { return ReadLine::Bad };
        match (line.domain, line.policy) {
            (None, None) => self.leave_out(line.count),
            (Some(domain), Some(policy)) => {
                let Ok(domain) = Domain::parse(&domain) else { return ReadLine::Bad };
                self.add(&TlsSession { domain, policy, failed: line.failed }, line.count);
            }
            _ => return ReadLine::Bad,
        }
        ReadLine::Counted
    }

    /// All as lines, each with its LF.
    pub fn lines(&self) -> String {
        let mut lines = String::new();
        let mut push = |line: &CountLine| {
            // JSON of numbers and texts can always be written.
            lines.push_str(&serde_json::to_string(line).unwrap_or_default());
            lines.push('\n');
        };
        if self.left_out > 0 {
            push(&CountLine { count: self.left_out, domain: None, policy: None, failed: None });
        }
        for (domain, DomainCounts(policies)) in &self.domains {
            for (policy, counts) in policies {
                let line = |count, failed: Option<&FailedTls>| CountLine {
                    count,
                    domain: Some(domain.to_string()),
                    policy: Some(policy.clone()),
                    failed: failed.cloned(),
                };
                if counts.good > 0 {
                    push(&line(counts.good, None));
                }
                counts.failed.iter().for_each(|(failed, count)| push(&line(*count, Some(failed))));
            }
        }
        lines
    }
}

impl DomainCounts {
    /// Connections that went well, and those that failed.
    pub fn totals(&self) -> (u64, u64) {
        self.0.values().fold((0, 0), |(good, failed), policy| {
            (good.saturating_add(policy.good), failed.saturating_add(policy.failures()))
        })
    }

    /// The most details of a policy.
    pub(super) fn details_max(&self) -> usize {
        self.0.values().map(|policy| policy.failed.len()).max().unwrap_or(0)
    }

    /// As a report has them, with so many details for each at most: those of the most connections.
    pub(super) fn policies(&self, details: usize) -> impl Iterator<Item = PolicyPart<'_>> {
        self.0.iter().map(move |(policy, counts)| {
            let summary = PolicySummary {
                total_successful_session_count: counts.good,
                total_failure_session_count: counts.failures(),
            };
            let mut all: Vec<FailureDetail<'_>> = counts
                .failed
                .iter()
                .map(|(failed, count)| FailureDetail { failed, failed_session_count: *count })
                .collect();
            // Stable: the same counts give the same text.
            all.sort_by_key(|detail| std::cmp::Reverse(detail.failed_session_count));
            all.truncate(details);
            PolicyPart { policy, summary, failure_details: all }
        })
    }
}

impl PolicyCounts {
    fn fail(&mut self, failed: &FailedTls, count: u64) {
        let known = self.failed.entry(self.kept(failed)).or_default();
        *known = known.saturating_add(count);
    }

    /// A failure as it is counted: with all that tells it from others, while there is room for that.
    fn kept(&self, failed: &FailedTls) -> FailedTls {
        match !self.failed.contains_key(failed) && self.failed.len() >= TALLY_DETAILS_MAX {
            true => failed.general(),
            false => failed.clone(),
        }
    }

    /// Octets that one more failure takes: none where one like it was counted before.
    fn room_for(&self, failed: &FailedTls) -> usize {
        let kept = self.kept(failed);
        if self.failed.contains_key(&kept) { 0 } else { kept.room() }
    }

    fn failures(&self) -> u64 {
        self.failed.values().fold(0, |all, count| all.saturating_add(*count))
    }
}
