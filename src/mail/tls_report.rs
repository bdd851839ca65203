//! Reports on TLS (RFC 8460): what one says, as JSON (§4.4), what it is called, and who gets it. Pure.
//!
//! [`counts`] gathers what the connections of a day came to, [`record`] reads where a domain wants its reports, and
//! [`letter`] is one as mail. Text of peers is cut and escaped when it comes in ([`AppliedPolicy`], [`FailedTls`]).

pub mod counts;
pub mod letter;
pub mod record;

use super::address::{Domain, Mailbox};
use super::visible::escape;
use crate::limits::reports::{REPORT_MAX, TALLY_STRING_MAX, TALLY_STRINGS_MAX};
use aws_lc_rs::digest::{SHA256, digest};
use core::net::IpAddr;
use counts::DomainCounts;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// The kinds of policies (RFC 8460 §4.4, policy-type).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyKind {
    /// TLSA records (RFC 7672).
    Tlsa,
    /// An MTA-STS policy (RFC 8461).
    Sts,
    NoPolicyFound,
}

/// The policy that a connection was held to, as reports have it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AppliedPolicy {
    #[serde(rename = "policy-type")]
    kind: PolicyKind,
    /// The lines of an MTA-STS policy; TLSA records, `3 1 1 0123…`.
    #[serde(rename = "policy-string", default, skip_serializing_if = "Vec::is_empty")]
    strings: Vec<String>,
    /// The recipient's domain; of TLSA records their host (RFC 8460 §1.1, Policy Domain).
    #[serde(rename = "policy-domain")]
    domain: String,
    /// The patterns of an MTA-STS policy.
    #[serde(rename = "mx-host", default, skip_serializing_if = "Vec::is_empty")]
    hosts: Vec<String>,
}

impl AppliedPolicy {
    /// Cuts what is too long, and escapes what may not be shown.
    pub fn new(
        kind: PolicyKind,
        domain: &str,
        strings: &[impl AsRef<str>],
        hosts: &[impl AsRef<str>],
    ) -> AppliedPolicy {
        AppliedPolicy { kind, domain: kept(domain), strings: all(strings), hosts: all(hosts) }
    }

    /// Octets in memory, nearly.
    fn room(&self) -> usize {
        let texts = self.strings.iter().chain(&self.hosts);
        texts.map(|text| text.len() + ENTRY_ROOM).sum::<usize>() + self.domain.len() + ENTRY_ROOM
    }
}

/// How TLS with a host failed, and where (RFC 8460 §4.4, failure-details).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FailedTls {
    /// A word of RFC 8460 §4.3.
    result_type: String,
    /// Our own address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sending_mta_ip: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    receiving_mx_hostname: Option<String>,
    /// What the host called itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    receiving_mx_helo: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    receiving_ip: Option<IpAddr>,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure_reason_code: Option<String>,
}

/// What is added to the length of texts for what else an entry takes, in octets.
const ENTRY_ROOM: usize = 64;

impl FailedTls {
    /// Of this result, nothing else being known. `result`: a word of RFC 8460 §4.3.
    pub fn new(result: &str) -> FailedTls {
        FailedTls { result_type: kept(result), ..FailedTls::default() }
    }

    /// The host that was spoken to.
    pub fn at(self, host: &str, ip: Option<IpAddr>) -> FailedTls {
        let host = Some(kept(host)).filter(|host| !host.is_empty());
        let receiving_ip = ip.map(|ip| ip.to_canonical());
        FailedTls { receiving_mx_hostname: host, receiving_ip, ..self }
    }

    /// Our address towards it.
    pub fn from(self, ip: Option<IpAddr>) -> FailedTls {
        FailedTls { sending_mta_ip: ip.map(|ip| ip.to_canonical()), ..self }
    }

    /// What it called itself.
    pub fn called(self, helo: Option<&str>) -> FailedTls {
        FailedTls { receiving_mx_helo: helo.map(kept).filter(|name| !name.is_empty()), ..self }
    }

    /// Why, in words.
    pub fn because(self, words: &str) -> FailedTls {
        let words = Some(kept(words)).filter(|words| !words.is_empty());
        FailedTls { failure_reason_code: words, ..self }
    }

    /// The same without what tells one host from another.
    fn general(&self) -> FailedTls {
        FailedTls { result_type: self.result_type.clone(), ..FailedTls::default() }
    }

    fn room(&self) -> usize {
        let texts =
            [&self.receiving_mx_hostname, &self.receiving_mx_helo, &self.failure_reason_code];
        let octets: usize = texts.into_iter().flatten().map(String::len).sum();
        octets + self.result_type.len() + 2 * ENTRY_ROOM
    }
}

/// A text of a peer, cut and escaped.
fn kept(text: &str) -> String {
    let end = text.char_indices().map(|(at, _)| at).take_while(|at| *at <= TALLY_STRING_MAX).last();
    let cut = if text.len() <= TALLY_STRING_MAX { text } else { &text[..end.unwrap_or(0)] };
    escape(cut).into_owned()
}

fn all(texts: &[impl AsRef<str>]) -> Vec<String> {
    texts.iter().take(TALLY_STRINGS_MAX).map(|text| kept(text.as_ref())).collect()
}

/// The first second of a day, and its last.
pub fn bounds(day: Date) -> (Timestamp, Timestamp) {
    let begin = TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).unwrap_or(Timestamp::MIN);
    let last = SignedDuration::from_hours(24) - SignedDuration::from_secs(1);
    (begin, begin.checked_add(last).unwrap_or(Timestamp::MAX))
}

/// The day of a moment, in UTC.
pub fn day_of(moment: Timestamp) -> Date {
    moment.to_zoned_datetime(TimeZone::UTC).date()
}

/// The day before.
pub fn before(day: Date) -> Date {
    day.checked_sub(1.day()).unwrap_or(Date::MIN)
}

/// A report for one domain about one day, or a part of it.
#[derive(Clone, Debug)]
pub struct TlsReport<'a> {
    /// The domain that gets it.
    pub domain: &'a Domain,
    pub day: Date,
    /// Which part of the day, from 1 on: each is closed once, and two may say the same.
    pub part: u32,
    /// `relay.reports`: whom people can ask.
    pub contact: &'a Mailbox,
    /// Our name.
    pub hostname: &'a Domain,
    pub counts: &'a DomainCounts,
}

/// A report as text, with its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenReport {
    /// JSON in one line, without a line end.
    pub json: String,
    /// `2026-11-30.0123456789ab@mx.example.org`: the same for the same counts, so that whoever gets it twice sees
    /// that.
    pub id: String,
    /// `example.org!example.net!1764460800!1764547199!0123456789ab.json.gz` (RFC 8460 §5.1).
    pub file: String,
    /// Whether details were left out because there are too many.
    pub is_cut: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ReportBody<'a> {
    organization_name: &'a str,
    date_range: DateRange,
    contact_info: String,
    report_id: &'a str,
    policies: Vec<PolicyPart<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct DateRange {
    start_datetime: String,
    end_datetime: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct PolicyPart<'a> {
    policy: &'a AppliedPolicy,
    summary: PolicySummary,
    failure_details: Vec<FailureDetail<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct PolicySummary {
    total_successful_session_count: u64,
    total_failure_session_count: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct FailureDetail<'a> {
    #[serde(flatten)]
    failed: &'a FailedTls,
    failed_session_count: u64,
}

impl TlsReport<'_> {
    /// Who sends it: the domain of the contact, as RFC 8460 §5.3 wants.
    pub fn submitter(&self) -> String {
        self.contact.host.to_string()
    }

    /// The whole report. A failure to write JSON cannot come.
    pub fn write(&self) -> WrittenReport {
        let whole = self.text(usize::MAX);
        let mut details = self.counts.details_max();
        let (mut written, mut is_cut) = (whole, false);
        while written.json.len() > REPORT_MAX && details > 0 {
            (details, is_cut) = (details / 2, true);
            written = self.text(details);
        }
        WrittenReport { is_cut, ..written }
    }

    /// With so many details for each policy at most.
    fn text(&self, details: usize) -> WrittenReport {
        let policies: Vec<PolicyPart> = self.counts.policies(details).collect();
        let (begin, end) = bounds(self.day);
        let number = self.number(&policies);
        let id = format!("{}.{number}@{}", self.day, self.hostname);
        let submitter = self.submitter();
        let body = ReportBody {
            organization_name: &submitter,
            date_range: DateRange {
                start_datetime: begin.to_string(),
                end_datetime: end.to_string(),
            },
            contact_info: self.contact.to_string(),
            report_id: &id,
            policies,
        };
        let json = serde_json::to_string(&body).unwrap_or_default();
        let (from, to) = (begin.as_second(), end.as_second());
        let file = format!("{submitter}!{}!{from}!{to}!{number}.json.gz", self.domain);
        WrittenReport { json, id, file, is_cut: false }
    }

    /// Digits that differ where the report does.
    fn number(&self, policies: &[PolicyPart<'_>]) -> String {
        let counted = serde_json::to_vec(policies).unwrap_or_default();
        let TlsReport { hostname, domain, day, part, .. } = self;
        let mut octets = format!("{hostname}\0{domain}\0{day}\0{part}\0").into_bytes();
        octets.extend(counted);
        digest(&SHA256, &octets).as_ref()[..6].iter().fold(String::new(), |mut number, octet| {
            // Writing to a String cannot fail.
            let _ = write!(number, "{octet:02x}");
            number
        })
    }
}

#[cfg(test)]
mod tests;
