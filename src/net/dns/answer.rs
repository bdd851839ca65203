//! The octets of one answer, and what in them belongs to the question (RFC 1035 §4.1, RFC 2308).
//!
//! Knows no socket.

use super::DnsFault;
use crate::limits::{DNS_ALIASES_MAX, DNS_RECORDS_MAX};
use hickory_resolver::proto::op::{DnsResponse, Message, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use std::mem;

/// Length of the header of a message: id, flags, counts. Two of the flags are read here.
const HEADER: usize = 12;
const IS_ANSWER: u8 = 0x80;
const IS_TRUNCATED: u8 = 0x02;

/// Whether this may be the answer: it has the id of the question, and is an answer.
pub fn has_id(octets: &[u8], question: &Message) -> bool {
    octets.len() >= HEADER
        && octets[..2] == question.metadata.id.to_be_bytes()
        && octets[2] & IS_ANSWER != 0
}

/// Whether the answer was cut off. The octets have to have passed [`has_id`].
pub fn is_truncated(octets: &[u8]) -> bool {
    octets.get(2).is_some_and(|flags| flags & IS_TRUNCATED != 0)
}

/// The answer; none when it answers another question. The error says why it cannot be read.
pub fn read(octets: &[u8], question: &Message) -> Result<Option<DnsResponse>, String> {
    let answer = DnsResponse::from_buffer(octets.to_vec());
    let answer = answer.map_err(|error| format!("answer that cannot be read: {error}"))?;
    // Errors often come without the question.
    let sure = matches!(answer.response_code, ResponseCode::NoError | ResponseCode::NXDomain);
    let asked = answer.queries == question.queries || (!sure && answer.queries.is_empty());
    Ok((asked && answer.op_code == OpCode::Query).then_some(answer))
}

/// Keeps the parts of an answer that belong to the question: the chain of aliases from its name, the
/// records at its end, and the SOA when there are none.
pub fn tidy(mut answer: DnsResponse, queries: &[Query]) -> Result<DnsResponse, DnsFault> {
    let Some(query) = queries.first() else { return Err(DnsFault::broken("no question")) };
    let mut records = mem::take(&mut answer.answers);
    records.retain(|record| record.dns_class == query.query_class());
    let mut name = query.name().clone();
    let mut kept: Vec<Record> = Vec::new();
    for _ in 0..=DNS_ALIASES_MAX {
        let here: Vec<&Record> = records.iter().filter(|record| record.name == name).collect();
        let wanted = here.iter().filter(|record| record.record_type() == query.query_type());
        let before = kept.len();
        kept.extend(wanted.map(|record| (*record).clone()));
        let count = kept.len() - before;
        if count > 0 && answer.response_code == ResponseCode::NXDomain {
            return Err(DnsFault::broken("records of a name that is said not to exist"));
        }
        if count > DNS_RECORDS_MAX {
            let what = format!("{count} records; more than {DNS_RECORDS_MAX} are not believed");
            return Err(DnsFault::broken(what));
        }
        let next = here.iter().find_map(|record| Some((*record, alias(record)?)));
        match next {
            Some((record, target)) if count == 0 => {
                kept.push(record.clone());
                name = target.clone();
            }
            _ => return with_records(answer, name, kept),
        }
    }
    Err(too_far())
}

/// Where an alias leads.
pub fn alias(record: &Record) -> Option<&Name> {
    match &record.data {
        RData::CNAME(target) => Some(&target.0),
        _ => None,
    }
}

/// Why a chain of aliases is not followed.
pub fn too_far() -> DnsFault {
    DnsFault::broken("aliases (CNAME) that go in a circle or too far")
}

/// Puts the kept records in place of all others, and decides whether an answer without records is to be
/// believed.
fn with_records(
    mut answer: DnsResponse,
    name: Name,
    kept: Vec<Record>,
) -> Result<DnsResponse, DnsFault> {
    answer.authorities.retain(|record| match record.record_type() {
        RecordType::SOA => record.name.zone_of(&name), // a zone speaks for its own names only
        kind => kind == RecordType::NS,
    });
    let has = |kind| answer.authorities.iter().any(|record| record.record_type() == kind);
    let denied = answer.response_code == ResponseCode::NXDomain || has(RecordType::SOA);
    // No records, and either a pointer to other servers or no authority: a lame server (RFC 2308 §2.2).
    let knows = answer.recursion_available || answer.authoritative;
    if kept.is_empty() && !denied && (has(RecordType::NS) || !knows) {
        return Err(DnsFault::broken("an answer from a server that does not know (lame)"));
    }
    answer.answers = kept;
    answer.authorities.retain(|record| record.record_type() == RecordType::SOA);
    answer.additionals.clear();
    Ok(answer)
}
