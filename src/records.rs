//! The records that DNS has to show for this host and its domains, each beside what it shows: for
//! `facteur dns`, `facteur check`, and notices about mail that was refused for what our records say.
//!
//! [`wanted`] makes records out of the configuration and of [`HostFacts`], and asks nobody; [`compare`] asks
//! the resolver about them by a [`RecordsAsker`], which bounds number and time. Read-only: nothing is sent but
//! questions to DNS, and where [`with_served`] is asked, one to the web server of each MTA-STS policy.

mod asker;
mod autoconfig;
mod compare;
mod dkim;
mod explain;
mod facts;
mod form;
mod policies;
mod refusal;
mod served;
mod spf;
mod zone;

pub use crate::mta_sts::place as mta_sts_place;
pub use asker::{RecordsAsker, ShownRecords};
pub use autoconfig::{autoconfig, autoconfig_place};
pub use compare::compare;
pub use explain::{RefusedSender, explain};
pub use facts::{AddressSource, HostFacts, OwnAddress};
pub use policies::mta_sts_policy;
pub use refusal::is_about_records;
pub use served::{FetchPolicy, ServedPolicy, with_served};
pub use zone::zone;

use crate::config::Config;
use crate::mail::address::Domain;
use crate::mail::proof::name::Name;
use crate::net::dns::{MxHost, Record, RecordKind};
use crate::signing::Signing;
use jiff::Timestamp;
use std::fmt;
use std::net::SocketAddr;

/// What a record is for, in the order in which records are to be changed: the host first, on which all else
/// rests; what proves that mail is ours before mail is drawn here and sent; and last what tells others to be
/// strict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordPurpose {
    /// Where the host is: A and AAAA.
    Address,
    /// The name of each of its addresses.
    Reverse,
    /// Which certificate it shows.
    Certificate,
    Spf,
    Dkim,
    /// Who takes a domain's mail.
    Mx,
    /// Where its users submit mail.
    Submission,
    /// Where others report on TLS.
    TlsReports,
    /// That others must use TLS.
    MtaSts,
    Dmarc,
    /// Of a key that signs no more, and that no mail under way was signed with: to be removed.
    Retired,
}

/// One record that is to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedRecord {
    pub purpose: RecordPurpose,
    pub kind: RecordKind,
    /// In ASCII, absolute, without the last dot.
    pub name: String,
    pub want: Want,
    /// What a person should know about it.
    pub mark: Option<String>,
    /// How it is, where that is known without DNS; the words of `want` say why.
    pub state: Option<RecordState>,
    /// The domain that it speaks for.
    pub owner: Domain,
    /// Whether mail may be refused, or not come, without it.
    pub is_needed: bool,
}

/// What a record should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    Record(Record),
    /// In words, where only a person can know it.
    Words(String),
}

/// How a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordState {
    Ok,
    Missing,
    Differs,
    /// DNS did not answer.
    Unknown,
}

impl fmt::Display for RecordState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RecordState::Ok => "ok",
            RecordState::Missing => "missing",
            RecordState::Differs => "differs",
            RecordState::Unknown => "unknown",
        })
    }
}

/// A record beside what DNS shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRow {
    pub purpose: RecordPurpose,
    pub state: RecordState,
    /// `MX`, `TXT`.
    pub kind: &'static str,
    pub name: String,
    /// What it should be: of a record that is good, what it is.
    pub want: String,
    /// What DNS shows at the name; of TXT only what may be meant.
    pub have: Vec<String>,
    /// What a person should know about it.
    pub mark: Option<String>,
    /// The domain that it speaks for.
    pub owner: Domain,
    /// Whether mail may be refused, or not come, while it is not ok.
    pub is_needed: bool,
}

/// The records for these names, each our host name, or a domain that is ours or is signed; another name has
/// none.
pub fn wanted(
    config: &Config,
    signing: &Signing,
    facts: &HostFacts,
    names: &[Domain],
) -> Vec<WantedRecord> {
    let mut all = Vec::new();
    for name in names {
        let is_domain = config.names().any(|domain| domain == name);
        if *name == config.hostname {
            all.extend(host(config, facts, !is_domain));
        }
        if is_domain {
            all.extend(of_domain(config, facts, name));
        }
        all.extend(dkim::wanted(config, signing, name, Timestamp::now()));
    }
    all.sort_by_key(|record| {
        let at = names.iter().position(|name| *name == record.owner);
        // The host first, wherever it stands in the list.
        (record.owner != config.hostname, at, record.purpose)
    });
    all
}

/// All names that have records: our host name, the domains in the order of the configuration, and those that
/// are only signed.
pub fn names(config: &Config) -> Vec<Domain> {
    let signed = config.sign.iter().map(|domain| &domain.name);
    let mut names = vec![config.hostname.clone()];
    for name in config.names().chain(signed) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// The records of our host name. `alone`: it is no domain of its own.
fn host(config: &Config, facts: &HostFacts, alone: bool) -> Vec<WantedRecord> {
    let host = &config.hostname;
    let record = |purpose, name: String, want, mark| {
        WantedRecord::new(purpose, host, name, Want::Record(want)).marked(mark)
    };
    let mut all: Vec<WantedRecord> = Vec::new();
    for own in &facts.addresses {
        let (address, mark) = (Record::Address(own.address), own.source.mark());
        all.push(record(RecordPurpose::Address, host.to_string(), address, mark));
        if let Some(reverse) = Name::reverse_of(own.address) {
            let pointer = Record::Ptr(host.to_string());
            all.push(record(RecordPurpose::Reverse, reverse.to_string(), pointer, None));
        }
    }
    if facts.addresses.is_empty() {
        let words = Want::Words("the public address of this host".to_owned());
        let name = host.to_string();
        let wanted = WantedRecord::new(RecordPurpose::Address, host, name, words);
        all.push(WantedRecord { kind: RecordKind::A, ..wanted });
    }
    all.extend(certificate(facts, host));
    // The name under which notices of ours are sent (RFC 7208 §2.3); a domain has a record anyway.
    if alone && config.relay.smarthost.is_none() {
        let text = Record::Txt(b"v=spf1 a -all".to_vec());
        all.push(record(RecordPurpose::Spf, host.to_string(), text, None));
    }
    all
}

/// What fits the certificate (RFC 7672 §3.1.1); none without one.
fn certificate(facts: &HostFacts, host: &Domain) -> Option<WantedRecord> {
    let want = match facts.chain.as_ref()? {
        Ok(chain) => Want::Record(chain.wanted()?),
        Err(why) => Want::Words(why.clone()),
    };
    let state = facts.chain.as_ref()?.is_err().then_some(RecordState::Unknown);
    let name = format!("_25._tcp.{host}");
    let wanted = WantedRecord::new(RecordPurpose::Certificate, host, name, want);
    Some(WantedRecord { kind: RecordKind::Tlsa, state, ..wanted })
}

fn of_domain(config: &Config, facts: &HostFacts, name: &Domain) -> Vec<WantedRecord> {
    let host = &config.hostname;
    let record =
        |purpose, at: String, want| WantedRecord::new(purpose, name, at, Want::Record(want));
    let text = |purpose, prefix: &str, text: String| {
        record(purpose, format!("{prefix}{name}"), Record::Txt(text.into_bytes()))
    };
    let mx = MxHost { preference: 10, host: host.to_string() };
    let mut all = vec![
        spf::wanted(config, facts, name),
        record(RecordPurpose::Mx, name.to_string(), Record::Mx(mx)),
    ];
    all.extend(submission(config, name));
    all.push(text(RecordPurpose::TlsReports, "_smtp._tls.", policies::tls_reports(name)));
    let policy = policies::mta_sts_policy(&[host.as_str()]);
    all.push(text(RecordPurpose::MtaSts, "_mta-sts.", policies::mta_sts_record(&policy)));
    all.push(text(RecordPurpose::Dmarc, "_dmarc.", policies::dmarc(name)));
    all
}

/// The port of a listener; none where it listens nowhere, or where the system chooses.
fn port(addresses: &[SocketAddr]) -> Option<u16> {
    addresses.first().map(SocketAddr::port).filter(|port| *port > 0)
}

/// Where programs of users find us (RFC 6186, RFC 8314 §5.1); only where they can log in.
fn submission(config: &Config, domain: &Domain) -> Vec<WantedRecord> {
    let listen = &config.listen;
    let services =
        [("_submissions._tcp", &listen.submissions), ("_submission._tcp", &listen.submission)];
    let ports = services.into_iter().filter_map(|(service, addresses)| {
        let port = port(addresses)?;
        let target = config.hostname.to_string();
        let srv = Want::Record(Record::Srv { priority: 0, weight: 1, port, target });
        let name = format!("{service}.{domain}");
        Some(WantedRecord::new(RecordPurpose::Submission, domain, name, srv))
    });
    ports.filter(|_| config.tls.is_some()).collect()
}

impl WantedRecord {
    fn new(purpose: RecordPurpose, owner: &Domain, name: String, want: Want) -> WantedRecord {
        let kind = match &want {
            Want::Record(record) => form::kind(record),
            Want::Words(_) => RecordKind::Txt,
        };
        let is_needed = match purpose {
            RecordPurpose::Address | RecordPurpose::Reverse | RecordPurpose::Mx => true,
            RecordPurpose::Spf | RecordPurpose::Dkim | RecordPurpose::Dmarc => true,
            RecordPurpose::Certificate | RecordPurpose::Submission => false,
            RecordPurpose::TlsReports | RecordPurpose::MtaSts | RecordPurpose::Retired => false,
        };
        let (owner, mark, state) = (owner.clone(), None, None);
        WantedRecord { purpose, kind, name, want, mark, state, owner, is_needed }
    }

    fn marked(self, mark: Option<String>) -> WantedRecord {
        WantedRecord { mark, ..self }
    }
}
