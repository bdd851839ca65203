//! Answers about names: the MX of a domain, the addresses of a host (RFC 5321 §5.1, RFC 7505).
//!
//! What is sure (there is a name, there is none, it takes no mail) is a value; what is not sure is a
//! [`DnsError`], and whoever gets one waits: DNS trouble never makes mail fail. [`ask`] talks to the
//! servers, hickory-resolver keeps the cache and asks once for all who want to know the same, and
//! [`driver`] lets it do so without an async runtime. A name is asked as it is, never with a search list.

mod answer;
mod ask;
mod driver;
mod resolv;
mod server;
mod system;

pub use resolv::doubts;

use crate::config;
use crate::event::count::LOOKUPS;
use crate::limits::{DNS_NAME_MAX, LABEL_MAX, QUOTED_MAX};
use crate::mail::address::Domain;
use driver::from_hickory;
use hickory_resolver::net::{DnsError as Negative, NetError};
use hickory_resolver::proto::op::{DnsResponse, Message, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;
use system::{Setup, System};

/// Answers about names: from DNS servers, or from a script in a test.
pub trait Resolver: Send + Sync {
    /// MX of a domain (RFC 5321 §5.1, RFC 7505).
    fn mx(&self, domain: &Domain) -> Result<Mx, DnsError>;
    /// All addresses of a host, AAAA and A. An IP address is no host: a zone may say that a mail
    /// host is called `192.0.2.1`, and that is a name which does not exist.
    fn addresses(&self, host: &str) -> Result<Addresses, DnsError>;
}

/// Where a domain takes its mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mx {
    /// Never empty; sorted by preference, equal ones as the answer had them: shuffle those.
    Hosts(Vec<MxHost>),
    /// It takes no mail at all (RFC 7505).
    Null,
    /// It has no MX, but perhaps addresses (RFC 5321 §5.1, the implicit MX).
    None,
    /// There is no such name.
    NoDomain,
}

/// One MX record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MxHost {
    /// Lower is better.
    pub preference: u16,
    /// In ASCII lower case, without the last dot; letters, digits, hyphens and underscores.
    pub host: String,
}

/// Where a host can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Never empty, each address once; IPv6 first.
    Found(Vec<IpAddr>),
    /// The name exists and has none.
    None,
    /// There is no such name.
    NoDomain,
}

/// Nothing is known for now. Never permanent: whoever gets it waits (RFC 5321 §5.1).
/// "MX of example.net: no server answered in 10s; 127.0.0.53:53 was silent for 10s"
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsError {
    /// What was asked: `MX of example.net`, `addresses of mx.example.net`.
    pub name: String,
    pub what: DnsFault,
    /// Who was asked and what each of them said; empty when nobody was.
    pub servers: String,
}

/// Why nothing is known, of a question that is known to whoever asked.
#[derive(Clone, Debug)]
struct Trouble {
    what: DnsFault,
    servers: String,
}

/// Why nothing is known.
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
    /// Words that may come from outside are made printable, and short.
    fn broken(text: impl fmt::Display) -> DnsFault {
        let text = text.to_string();
        let visible = text.chars().map(|c| if c.is_control() { '?' } else { c });
        DnsFault::Broken(visible.take(QUOTED_MAX).collect())
    }
}

impl fmt::Display for DnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.what, self.servers.as_str()) {
            (what, "") => write!(f, "{}: {what}", self.name),
            // Whose nonsense it is stands before it.
            (DnsFault::Broken(_), servers) => write!(f, "{}: {servers}", self.name),
            (what, servers) => write!(f, "{}: {what}; {servers}", self.name),
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

    /// The servers were asked this, on the way of aliases from what is wanted.
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

/// What DNS says for sure about one name and type.
enum Answer {
    Records(Vec<RData>),
    /// The name exists and has no such record; `sure` when the zone's SOA record came with it.
    NoData {
        sure: bool,
    },
    NoDomain,
}

impl DnsResolver {
    /// `/etc/hosts`, and `/etc/resolv.conf` when no servers are given, are read at the first question,
    /// and again when they have changed.
    pub fn new(config: &config::Dns) -> DnsResolver {
        DnsResolver { system: System::new(config) }
    }

    fn find_mx(&self, domain: &Domain) -> Result<Mx, Trouble> {
        let name = parse(domain.as_str())?;
        let setup = self.system.setup()?;
        match ask(&setup, &name, RecordType::MX)? {
            Answer::Records(records) => hosts(records).map_err(|fault| setup.servers.blame(fault)),
            // Caches and forwarders leave the SOA out (RFC 2308 §2.2, type 3), and all hosts behind
            // them that have only addresses must get their mail. Nothing permanent comes from it:
            // the addresses, which are asked next, have to be there, or to be denied for sure.
            Answer::NoData { sure: _ } => Ok(Mx::None),
            Answer::NoDomain => Ok(Mx::NoDomain),
        }
    }

    fn find_addresses(&self, host: &str) -> Result<Addresses, Trouble> {
        let name = parse(host.strip_suffix('.').unwrap_or(host))?;
        let setup = self.system.setup()?;
        // As everywhere: a host of /etc/hosts has the addresses that stand there, and no others.
        let listed = setup.listed(&name);
        if !listed.is_empty() {
            return Ok(Addresses::Found(listed));
        }
        // One after the other; a name server that trips over AAAA must not hide the A.
        let answers = [RecordType::AAAA, RecordType::A].map(|kind| ask(&setup, &name, kind));
        let mut found = Vec::new();
        for record in answers.iter().flatten().flat_map(Answer::records) {
            found.extend(record.ip_addr());
        }
        let mut seen = HashSet::new();
        found.retain(|address| seen.insert(*address));
        if !found.is_empty() {
            return Ok(Addresses::Found(found));
        }
        let mut absent = true;
        for answer in answers {
            match answer? {
                Answer::NoDomain => {}
                Answer::NoData { sure: true } => absent = false,
                Answer::NoData { sure: false } | Answer::Records(_) => {
                    return Err(setup.servers.blame(unsure()));
                }
            }
        }
        Ok(if absent { Addresses::NoDomain } else { Addresses::None })
    }
}

impl Resolver for DnsResolver {
    fn mx(&self, domain: &Domain) -> Result<Mx, DnsError> {
        let found = self.find_mx(domain);
        count(&found, |mx| matches!(mx, Mx::Hosts(_)));
        found.map_err(|trouble| trouble.of(format!("MX of {domain}")))
    }

    fn addresses(&self, host: &str) -> Result<Addresses, DnsError> {
        let found = self.find_addresses(host);
        count(&found, |addresses| matches!(addresses, Addresses::Found(_)));
        found.map_err(|trouble| {
            let shown: String = host.escape_default().take(QUOTED_MAX).collect();
            trouble.of(format!("addresses of {shown}"))
        })
    }
}

fn count<T>(result: &Result<T, Trouble>, is_found: impl Fn(&T) -> bool) {
    LOOKUPS.add(match result.as_ref().map_err(|trouble| &trouble.what) {
        Ok(it) if is_found(it) => "found",
        Ok(_) => "none",
        Err(DnsFault::Timeout(_)) => "timeout",
        Err(DnsFault::ServFail) => "servfail",
        Err(DnsFault::Refused) => "refused",
        Err(DnsFault::Broken(_)) => "broken",
    });
}

impl Answer {
    fn records(&self) -> &[RData] {
        match self {
            Answer::Records(records) => records,
            Answer::NoData { .. } | Answer::NoDomain => &[],
        }
    }
}

fn unsure() -> DnsFault {
    DnsFault::broken("an empty answer that no zone vouches for (no SOA)")
}

/// Asks one question; the one place that tells apart what hickory calls an error.
fn ask(setup: &Setup, name: &Name, kind: RecordType) -> Result<Answer, Trouble> {
    match pollster::block_on(setup.hickory.lookup(name.clone(), kind)) {
        Ok(lookup) => {
            // Aliases on the way stand beside the records.
            let records = lookup.answers().iter().filter(|record| record.record_type() == kind);
            let records: Vec<RData> = records.map(|record| record.data.clone()).collect();
            let sure = false;
            Ok(if records.is_empty() { Answer::NoData { sure } } else { Answer::Records(records) })
        }
        Err(NetError::Dns(Negative::NoRecordsFound(none))) => match none.response_code {
            ResponseCode::NXDomain => Ok(Answer::NoDomain),
            ResponseCode::NoError => Ok(Answer::NoData { sure: none.soa.is_some() }),
            code => Err(setup.servers.blame(DnsFault::broken(format!("answer {code}")))),
        },
        Err(error) => Err(from_hickory(&error)),
    }
}

/// What the octets of one answer say about the MX of a domain, taken as those of a server are; none
/// when they answer another question. Nobody is asked: an alias that leads out of the answer is an
/// answer without MX here.
pub fn mx_in(octets: &[u8], domain: &Domain) -> Result<Option<Mx>, DnsFault> {
    let Some(answer) = answer_in(octets, domain.as_str(), RecordType::MX)? else { return Ok(None) };
    Ok(Some(match answer.response_code {
        ResponseCode::NXDomain => Mx::NoDomain,
        _ => match records(&answer, RecordType::MX) {
            records if records.is_empty() => Mx::None,
            records => hosts(records)?,
        },
    }))
}

/// The same about the addresses of a host, of one kind.
pub fn addresses_in(octets: &[u8], host: &str, v6: bool) -> Result<Option<Vec<IpAddr>>, DnsFault> {
    let kind = if v6 { RecordType::AAAA } else { RecordType::A };
    let answer = answer_in(octets, host, kind)?;
    let addresses =
        |answer: DnsResponse| records(&answer, kind).iter().filter_map(RData::ip_addr).collect();
    Ok(answer.map(addresses))
}

/// The octets as an answer to a question that has their id.
fn answer_in(octets: &[u8], name: &str, kind: RecordType) -> Result<Option<DnsResponse>, DnsFault> {
    let mut question = Message::query();
    question.add_query(Query::query(parse(name)?, kind));
    question.metadata.id = octets.get(..2).map_or(0, |id| u16::from_be_bytes([id[0], id[1]]));
    if !answer::has_id(octets, &question) || answer::is_truncated(octets) {
        return Ok(None);
    }
    let answer = answer::read(octets, &question).map_err(DnsFault::broken)?;
    answer.map(|answer| answer::tidy(answer, &question.queries)).transpose()
}

/// Those of one kind: aliases on the way stand beside them.
fn records(answer: &DnsResponse, kind: RecordType) -> Vec<RData> {
    let wanted = answer.answers.iter().filter(|record| record.record_type() == kind);
    wanted.map(|record| record.data.clone()).collect()
}

/// Takes only what can be a host; a zone with nothing else is a mistake that gets mended, or not.
fn hosts(records: Vec<RData>) -> Result<Mx, DnsFault> {
    let mut hosts = Vec::new();
    let mut null = false;
    for record in records {
        let RData::MX(mx) = record else { continue };
        // Beside other hosts the null MX has no meaning (RFC 7505 §3).
        null |= mx.exchange.is_root();
        let host = mx.exchange.to_ascii().trim_end_matches('.').to_ascii_lowercase();
        if is_host(&host) {
            hosts.push(MxHost { preference: mx.preference, host });
        }
    }
    hosts.sort_by_key(|mx| mx.preference); // stable, so equal ones stay as they came
    match hosts.is_empty() {
        false => Ok(Mx::Hosts(hosts)),
        true if null => Ok(Mx::Null),
        true => Err(DnsFault::broken("no MX record names a host")),
    }
}

/// Letters, digits, hyphens and underscores (which RFC 1123 forbids and zones have) in labels.
fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        (1..=LABEL_MAX).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.len() <= DNS_NAME_MAX && text.split('.').all(label)
}

/// Fully qualified, which keeps the search list of resolv.conf away.
fn parse(text: &str) -> Result<Name, DnsFault> {
    if !is_host(text) {
        return Err(DnsFault::broken("this is no name that DNS could have"));
    }
    // As octets: a hyphen may stand where the text form of a name has none.
    Name::from_labels(text.split('.').map(str::as_bytes)).map_err(DnsFault::broken)
}
