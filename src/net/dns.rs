//! Answers about names (RFC 1034, 1035): any record by [`Resolver::lookup`], and above it the MX of a domain
//! and the addresses of a host (RFC 5321 §5.1, RFC 7505).
//!
//! What is sure (a name exists, does not exist, takes no mail) is a value; what is not sure is a
//! [`DnsError`], after which mail waits: DNS trouble never makes mail fail. [`ask`] talks to the servers,
//! hickory-resolver keeps the cache and asks a question once for all threads that wait for it, and
//! [`driver`] lets it do so without an async runtime. A name is asked as it is, never with a search list.
//! Nothing is validated here: `secure` is what the servers say (AD), where the configuration trusts them.

mod answer;
mod ask;
mod driver;
mod patience;
mod record;
mod resolv;
mod server;
mod system;

pub use record::{MxHost, Record, RecordKind, records_in};
pub use resolv::{doubts, servers};

use super::printable;
use crate::config;
use crate::event::count::LOOKUPS;
use crate::limits::{DNS_NAME_MAX, LABEL_MAX, QUOTED_MAX};
use crate::mail::address::Domain;
use driver::from_hickory;
use hickory_resolver::net::{DnsError as Negative, NetError};
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::Name;
use patience::DnsPatience;
use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;
use system::{Setup, System};

/// Answers about names: from DNS servers, or from a script in a test.
pub trait Resolver: fmt::Debug + Send + Sync {
    /// The records of one kind that a name has, at the end of its aliases. The name is given as octets with
    /// dots between its labels. Any octets are allowed: a name that DNS cannot have does not exist.
    fn lookup(&self, name: &[u8], kind: RecordKind) -> Result<DnsAnswer, DnsError>;

    /// The same, without answers that are remembered: for a record that has just been published.
    fn lookup_anew(&self, name: &[u8], kind: RecordKind) -> Result<DnsAnswer, DnsError> {
        self.lookup(name, kind)
    }

    /// The same by whoever waits no longer than this.
    fn lookup_within(
        &self,
        name: &[u8],
        kind: RecordKind,
        _time: Duration,
    ) -> Result<DnsAnswer, DnsError> {
        self.lookup(name, kind)
    }

    /// The addresses that this machine itself gives a mail host (hosts(5)); IPv6 first.
    fn listed(&self, _host: &str) -> Vec<IpAddr> {
        Vec::new()
    }

    /// The same, with the name at the end of the aliases.
    fn lookup_aliased(&self, name: &[u8], kind: RecordKind) -> Result<AliasedAnswer, DnsError> {
        self.lookup(name, kind).map(|answer| AliasedAnswer { answer, end: None })
    }

    /// MX of a domain (RFC 5321 §5.1, RFC 7505), with what DNSSEC says about them.
    fn mx(&self, domain: &Domain) -> Result<MxAnswer, DnsError> {
        let found = named(domain.as_str(), RecordKind::Mx)
            .and_then(|name| self.lookup_aliased(name.as_bytes(), RecordKind::Mx))
            .map(|AliasedAnswer { answer, end }| MxAnswer {
                mx: Mx::of(answer.records),
                secure: answer.secure,
                end,
            });
        count(&found, |answer| matches!(answer.mx, Mx::Hosts(_)));
        found
    }

    /// All addresses of a host, AAAA and A. An IP address is no host: a zone may say that a mail
    /// host is called `192.0.2.1`, and that is a name which does not exist.
    fn addresses(&self, host: &str) -> Result<Addresses, DnsError> {
        self.located(host).map(|located| located.addresses)
    }

    /// The same, with what DNSSEC says about them.
    fn located(&self, host: &str) -> Result<Located, DnsError> {
        let name = named(host.strip_suffix('.').unwrap_or(host), RecordKind::A);
        let found = name.and_then(|name| {
            // As for all programs: a host in /etc/hosts has the addresses that stand there, and no others.
            let listed = self.listed(name);
            match listed.is_empty() {
                false => Ok(Located { addresses: Addresses::Found(listed), ..Located::default() }),
                // One after the other; a name server that fails for AAAA must not hide the A.
                true => Located::of(
                    [RecordKind::Aaaa, RecordKind::A]
                        .map(|kind| self.lookup_aliased(name.as_bytes(), kind)),
                ),
            }
        });
        count(&found, |located| matches!(located.addresses, Addresses::Found(_)));
        found
    }

    /// The records that say which certificates a host has, at `_PORT._tcp` below a name of it (RFC 7672
    /// §2.2.3).
    fn tlsa(&self, question: &str) -> Result<DnsAnswer, DnsError> {
        let found = named(question, RecordKind::Tlsa)
            .and_then(|name| self.lookup(name.as_bytes(), RecordKind::Tlsa));
        count(&found, |answer| matches!(answer.records, Records::Found(_)));
        found
    }

    /// Whether a name is an alias by the word of DNSSEC, wherever that leads (RFC 7672 §2.2.2).
    fn is_secure_alias(&self, name: &str) -> Result<bool, DnsError> {
        let found = named(name, RecordKind::Cname)
            .and_then(|name| self.lookup(name.as_bytes(), RecordKind::Cname));
        count(&found, |answer| matches!(answer.records, Records::Found(_)));
        found.map(|answer| answer.secure)
    }
}

/// What DNS says about one name and kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsAnswer {
    pub records: Records,
    /// Whether the servers have validated the records and each alias that led to them by DNSSEC, and
    /// `dns.trust_ad` lets us believe it. Always false where there are no records.
    pub secure: bool,
}

/// The same for a name that may be an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasedAnswer {
    pub answer: DnsAnswer,
    /// The host at the end of the aliases; none where the name is no alias, and where no records are there.
    pub end: Option<String>,
}

/// The records of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    /// Never empty, all of the kind that was asked for.
    Found(Vec<Record>),
    /// The name exists and has no such record: its zone says so.
    Absent,
    /// The same, but the answer has no SOA of the zone, as is common with caches and forwarders (RFC 2308
    /// §2.2, type 3). The error is for callers that need to be sure.
    Unsure(DnsError),
    /// There is no such name.
    NoName,
}

/// Where a domain takes its mail, and what of that is [`DnsAnswer::secure`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MxAnswer {
    pub mx: Mx,
    pub secure: bool,
    /// The name at the end of the aliases; none where the domain is no alias.
    pub end: Option<String>,
}

/// Where a domain takes its mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mx {
    /// Never empty; sorted by preference. Hosts of equal preference are in the order of the answer; the
    /// caller shuffles them.
    Hosts(Vec<MxHost>),
    /// The domain takes no mail at all (RFC 7505).
    Null,
    /// The domain has no MX, but perhaps addresses (RFC 5321 §5.1, the implicit MX).
    None,
    /// There is no such name.
    NoDomain,
}

/// Where a host can be reached, and what of that is [`DnsAnswer::secure`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Located {
    pub addresses: Addresses,
    /// Whether the IPv6 or the IPv4 addresses are secure, with each alias that led to them.
    pub secure: bool,
    /// The host at the end of the aliases; none where the name is no alias.
    pub end: Option<String>,
}

/// Where a host can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Addresses {
    /// Never empty, each address once; IPv6 first.
    Found(Vec<IpAddr>),
    /// The name exists and has no address.
    #[default]
    None,
    /// There is no such name.
    NoDomain,
}

/// DNS gave no sure answer. Never permanent: mail waits (RFC 5321 §5.1). "MX of example.net: no server
/// answered in 10s; 127.0.0.53:53 was silent for 10s"
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsError {
    /// What was asked: `MX of example.net`, `addresses of mx.example.net`.
    pub name: String,
    pub what: DnsFault,
    /// The servers that were asked and what each of them said; empty when none was.
    pub servers: String,
}

/// A [`DnsError`] without the question, which the caller knows.
#[derive(Clone, Debug)]
struct Trouble {
    what: DnsFault,
    servers: String,
}

/// Why there is no sure answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsFault {
    /// No server answered in this time, all tries together.
    Timeout(Duration),
    /// All servers failed to find out, this one first: SERVFAIL.
    ServFail,
    /// The servers do not answer us: REFUSED.
    Refused,
    /// An answer that makes no sense, or a system call that failed; printable.
    Broken(String),
}

impl DnsFault {
    fn broken(text: impl fmt::Display) -> DnsFault {
        DnsFault::Broken(printable(&text.to_string()))
    }
}

impl fmt::Display for DnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.why())
    }
}

impl DnsError {
    /// All but the question, for whoever names that himself.
    pub fn why(&self) -> String {
        match (&self.what, self.servers.as_str()) {
            (what, "") => what.to_string(),
            // The name of the server stands before its fault.
            (DnsFault::Broken(_), servers) => servers.to_owned(),
            (what, servers) => format!("{what}; {servers}"),
        }
    }
}

impl fmt::Display for DnsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DnsFault::Timeout(time) => write!(f, "no server answered in {time:.0?}"),
            DnsFault::ServFail => f.write_str("the servers could not find out (SERVFAIL)"),
            DnsFault::Refused => f.write_str("the servers do not answer us (REFUSED)"),
            DnsFault::Broken(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for DnsError {}

impl From<DnsFault> for Trouble {
    fn from(what: DnsFault) -> Trouble {
        Trouble { what, servers: String::new() }
    }
}

impl Trouble {
    fn of(self, name: String) -> DnsError {
        DnsError { name, what: self.what, servers: self.servers }
    }

    /// Says that this alias of the wanted name was asked for.
    fn about(self, question: &Message) -> Trouble {
        let alias = question.queries.first().map(|query| query.name().to_ascii());
        let alias = alias.unwrap_or_default();
        let shown: String = alias.trim_end_matches('.').escape_default().take(QUOTED_MAX).collect();
        Trouble { servers: format!("asked for its alias {shown}, {}", self.servers), ..self }
    }
}

/// Asks the servers of the configuration, or those of `/etc/resolv.conf`. Any number of threads may
/// ask at once; each waits in its own call, and the same question is asked once for all of them.
pub struct DnsResolver {
    system: System,
}

impl DnsResolver {
    /// `/etc/hosts`, and `/etc/resolv.conf` when no servers are given, are read at the first question,
    /// and again when they have changed.
    pub fn new(config: &config::Dns) -> DnsResolver {
        DnsResolver { system: System::new(config) }
    }

    fn find(&self, name: &[u8], kind: RecordKind) -> Result<AliasedAnswer, Trouble> {
        let found =
            |records, secure, end| Ok(AliasedAnswer { answer: DnsAnswer { records, secure }, end });
        let absent = |records| found(records, false, None);
        let Some(asked) = name_of(name) else { return absent(Records::NoName) };
        let setup = self.system.setup()?;
        match pollster::block_on(setup.hickory.lookup(asked, kind.to_hickory())) {
            Ok(lookup) => {
                let records = record::read(lookup.answers(), kind);
                let records = records.map_err(|fault| setup.servers.blame(fault))?;
                let secure = lookup.message().metadata.authentic_data && setup.trusts_ad;
                match records {
                    Some(records) if records.is_empty() => absent(Records::Absent),
                    Some(records) => {
                        let end = record::end(lookup.answers());
                        found(Records::Found(records), secure, end)
                    }
                    None => absent(unsure(&setup, name, kind)),
                }
            }
            Err(NetError::Dns(Negative::NoRecordsFound(none))) => match none.response_code {
                ResponseCode::NXDomain => absent(Records::NoName),
                ResponseCode::NoError if none.soa.is_some() => absent(Records::Absent),
                ResponseCode::NoError => absent(unsure(&setup, name, kind)),
                code => Err(setup.servers.blame(DnsFault::broken(format!("answer {code}")))),
            },
            Err(error) => Err(from_hickory(&error)),
        }
    }
}

impl Resolver for DnsResolver {
    fn lookup(&self, name: &[u8], kind: RecordKind) -> Result<DnsAnswer, DnsError> {
        self.lookup_aliased(name, kind).map(|found| found.answer)
    }

    fn lookup_aliased(&self, name: &[u8], kind: RecordKind) -> Result<AliasedAnswer, DnsError> {
        self.find(name, kind).map_err(|trouble| trouble.of(question(name, kind)))
    }

    fn lookup_anew(&self, name: &[u8], kind: RecordKind) -> Result<DnsAnswer, DnsError> {
        DnsResolver { system: self.system.anew() }.lookup(name, kind)
    }

    fn lookup_within(
        &self,
        name: &[u8],
        kind: RecordKind,
        time: Duration,
    ) -> Result<DnsAnswer, DnsError> {
        let _patience = DnsPatience::of(time);
        self.lookup(name, kind)
    }

    fn listed(&self, host: &str) -> Vec<IpAddr> {
        let (name, setup) = (name_of(host.as_bytes()), self.system.setup());
        name.zip(setup.ok()).map(|(name, setup)| setup.listed(&name)).unwrap_or_default()
    }
}

impl fmt::Debug for DnsResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DnsResolver")
    }
}

impl Mx {
    fn of(records: Records) -> Mx {
        match records {
            Records::Found(records) => {
                let hosts = records.into_iter().filter_map(|record| match record {
                    Record::Mx(mx) if !mx.host.is_empty() => Some(mx),
                    _ => None,
                });
                let mut hosts: Vec<MxHost> = hosts.collect();
                hosts.sort_by_key(|mx| mx.preference); // stable, so equal ones stay as they came
                if hosts.is_empty() { Mx::Null } else { Mx::Hosts(hosts) }
            }
            // A domain that has only addresses must get its mail also behind a cache that leaves the SOA
            // out. Nothing permanent follows from this: the addresses are asked next, and have to exist or
            // be denied for sure.
            Records::Absent | Records::Unsure(_) => Mx::None,
            Records::NoName => Mx::NoDomain,
        }
    }
}

impl Located {
    fn of(answers: [Result<AliasedAnswer, DnsError>; 2]) -> Result<Located, DnsError> {
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        let (mut secure, mut end) = (false, None);
        for AliasedAnswer { answer, end: its } in answers.iter().flatten() {
            let Records::Found(records) = &answer.records else { continue };
            found.extend(records.iter().filter_map(Record::address).filter(|ip| seen.insert(*ip)));
            secure |= answer.secure;
            end = end.or_else(|| its.clone());
        }
        if !found.is_empty() {
            return Ok(Located { addresses: Addresses::Found(found), secure, end });
        }
        let mut is_there = false;
        for answer in answers {
            match answer?.answer.records {
                Records::Absent | Records::Found(_) => is_there = true,
                Records::Unsure(error) => return Err(error),
                Records::NoName => {}
            }
        }
        let addresses = if is_there { Addresses::None } else { Addresses::NoDomain };
        Ok(Located { addresses, ..Located::default() })
    }
}

fn count<T>(result: &Result<T, DnsError>, is_found: impl Fn(&T) -> bool) {
    LOOKUPS.add(match result.as_ref().map_err(|error| &error.what) {
        Ok(it) if is_found(it) => "found",
        Ok(_) => "none",
        Err(DnsFault::Timeout(_)) => "timeout",
        Err(DnsFault::ServFail) => "servfail",
        Err(DnsFault::Refused) => "refused",
        Err(DnsFault::Broken(_)) => "broken",
    });
}

/// A question in words: `MX of example.net`.
fn question(name: &[u8], kind: RecordKind) -> String {
    let shown: String = name.escape_ascii().map(char::from).take(DNS_NAME_MAX).collect();
    format!("{kind} of {shown}")
}

fn unsure(setup: &Setup, name: &[u8], kind: RecordKind) -> Records {
    let fault = DnsFault::broken("an empty answer that no zone vouches for (no SOA)");
    Records::Unsure(setup.servers.blame(fault).of(question(name, kind)))
}

/// The name where a host can have it; fails for any other, so that mail waits.
fn named(name: &str, kind: RecordKind) -> Result<&str, DnsError> {
    let bad = || {
        let trouble = Trouble::from(DnsFault::broken("this is no name that DNS could have"));
        trouble.of(question(name.as_bytes(), kind))
    };
    is_host(name).then_some(name).ok_or_else(bad)
}

/// Letters, digits, hyphens and underscores (which RFC 1123 forbids and zones have) in labels.
fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        (1..=LABEL_MAX).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.len() <= DNS_NAME_MAX && text.split('.').all(label)
}

/// The name fully qualified, so that no search list is used. None where DNS cannot have this name: a label
/// is empty or longer than 63 octets, or the name is longer than 255 (RFC 1035 §2.3.4).
fn name_of(name: &[u8]) -> Option<Name> {
    // By labels, because in the text form of a name a backslash has a meaning.
    let labels = name.strip_suffix(b".").unwrap_or(name).split(|octet| *octet == b'.');
    Name::from_labels(labels).ok()
}
