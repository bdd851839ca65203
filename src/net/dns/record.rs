//! Records in the form in which we use them, and the choice of those in an answer that can be used.

use super::answer::{has_id, is_truncated, read as read_answer, tidy};
use super::{DnsFault, is_host, name_of};
use hickory_resolver::proto::op::{Message, Query};
use hickory_resolver::proto::rr::{Name, RData, Record as Resource, RecordType};
use std::fmt::{self, Write as _};
use std::net::IpAddr;

/// What can be asked for about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    Mx,
    A,
    Aaaa,
    Txt,
    Ptr,
    Tlsa,
    Srv,
    Cname,
}

/// One record, by its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The host is empty in a null MX (RFC 7505), and otherwise a possible host name.
    Mx(MxHost),
    /// An A or AAAA record.
    Address(IpAddr),
    /// The strings of one record as one (RFC 7208 §3.3, RFC 6376 §3.6.2.2).
    Txt(Vec<u8>),
    /// A host name, written as in [`MxHost`].
    Ptr(String),
    /// The fields of RFC 6698 §2.1.
    Tlsa { usage: u8, selector: u8, matching: u8, data: Vec<u8> },
    /// Where a service is (RFC 2782); the target is a host name, written as in [`MxHost`], and empty where
    /// the service is said not to be there.
    Srv { priority: u16, weight: u16, port: u16, target: String },
    /// Where an alias leads: a host name, written as in [`MxHost`].
    Cname(String),
}

/// One MX record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MxHost {
    /// Lower is better.
    pub preference: u16,
    /// In ASCII lower case, without the last dot; letters, digits, hyphens and underscores.
    pub host: String,
}

impl RecordKind {
    pub(super) fn to_hickory(self) -> RecordType {
        match self {
            RecordKind::Mx => RecordType::MX,
            RecordKind::A => RecordType::A,
            RecordKind::Aaaa => RecordType::AAAA,
            RecordKind::Txt => RecordType::TXT,
            RecordKind::Ptr => RecordType::PTR,
            RecordKind::Tlsa => RecordType::TLSA,
            RecordKind::Srv => RecordType::SRV,
            RecordKind::Cname => RecordType::CNAME,
        }
    }
}

/// The kind as errors name it: A and AAAA are both "addresses".
impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordKind::A | RecordKind::Aaaa => f.write_str("addresses"),
            kind => kind.to_hickory().fmt(f),
        }
    }
}

impl Record {
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Record::Address(address) => Some(*address),
            _ => None,
        }
    }

    /// The text of a TXT record; none of another kind.
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Record::Txt(text) => Some(text),
            _ => None,
        }
    }

    /// A TLSA record as zone files have it, `3 1 1 0123…`; none of another kind.
    pub fn tlsa_text(&self) -> Option<String> {
        let Record::Tlsa { usage, selector, matching, data } = self else { return None };
        let mut text = format!("{usage} {selector} {matching} ");
        for octet in data {
            // Writing to a String cannot fail.
            let _ = write!(text, "{octet:02x}");
        }
        Some(text)
    }

    /// None where it names an impossible host.
    fn of(data: &RData) -> Option<Record> {
        Some(match data {
            RData::MX(mx) => {
                Record::Mx(MxHost { preference: mx.preference, host: host_or_none(&mx.exchange)? })
            }
            RData::TXT(txt) => Record::Txt(txt.txt_data.concat()),
            RData::PTR(name) => Record::Ptr(host(&name.0)?),
            RData::CNAME(name) => Record::Cname(host(&name.0)?),
            RData::TLSA(tlsa) => Record::Tlsa {
                usage: tlsa.cert_usage.into(),
                selector: tlsa.selector.into(),
                matching: tlsa.matching.into(),
                data: tlsa.cert_data.clone(),
            },
            RData::SRV(srv) => Record::Srv {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: host_or_none(&srv.target)?,
            },
            data => Record::Address(data.ip_addr()?),
        })
    }
}

/// The usable records of one kind; none where there is no record of that kind. Fails when all MX records
/// name impossible hosts: this may be mended, so mail waits.
pub(super) fn read(
    records: &[Resource],
    kind: RecordKind,
) -> Result<Option<Vec<Record>>, DnsFault> {
    let wanted = records.iter().filter(|record| record.record_type() == kind.to_hickory());
    if wanted.clone().next().is_none() {
        return Ok(None);
    }
    let usable: Vec<Record> = wanted.filter_map(|it| Record::of(&it.data)).collect();
    match kind {
        RecordKind::Mx if usable.is_empty() => Err(DnsFault::broken("no MX record names a host")),
        _ => Ok(Some(usable)),
    }
}

/// The host at the end of the aliases in an answer; none where it holds no alias.
pub(super) fn end(records: &[Resource]) -> Option<String> {
    let target = records.iter().rev().find_map(|record| match &record.data {
        RData::CNAME(target) => Some(&target.0),
        _ => None,
    });
    host(target?)
}

/// As [`host`]; empty for the root, which says that there is none.
fn host_or_none(name: &Name) -> Option<String> {
    if name.is_root() { Some(String::new()) } else { host(name) }
}

/// A host name in lower case, without the last dot.
fn host(name: &Name) -> Option<String> {
    let host = name.to_ascii().trim_end_matches('.').to_ascii_lowercase();
    is_host(&host).then_some(host)
}

/// The records that the octets of one answer give a name; none when they answer another question. Asks no
/// server: an alias that leads out of the answer leads to no record.
pub fn records_in(
    octets: &[u8],
    name: &[u8],
    kind: RecordKind,
) -> Result<Option<Vec<Record>>, DnsFault> {
    let Some(name) = name_of(name) else { return Ok(None) };
    let mut question = Message::query();
    question.add_query(Query::query(name, kind.to_hickory()));
    question.metadata.id = octets.get(..2).map_or(0, |id| u16::from_be_bytes([id[0], id[1]]));
    if !has_id(octets, &question) || is_truncated(octets) {
        return Ok(None);
    }
    match read_answer(octets, &question).map_err(DnsFault::broken)? {
        None => Ok(None),
        Some(answer) => read(&tidy(answer, &question.queries)?.answers, kind),
    }
}
