//! The questions of one message: how many there may be, how long they may take, and what was answered.
//!
//! An answer is remembered for the message, so that each voice builds on the same facts. Whoever asks past
//! the bounds hears that nothing is known.

use crate::limits::DNS_CACHED_MAX;
use crate::limits::trust::{PROOF_QUESTIONS_MAX, PROOF_TIME, QuestionShare};
use crate::mail::proof::name::Name;
use crate::mail::proof::{Ask, QueryAnswer, QueryType, ResourceRecord};
use crate::net::dns::{self, RecordKind, Records, Resolver};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// What is left of a message's questions, and what is known.
pub struct Questions {
    left: usize,
    time: Duration,
    known: HashMap<(Name, QueryType), KnownAnswer>,
}

/// What DNS said.
#[derive(Clone)]
enum KnownAnswer {
    Sure(QueryAnswer),
    /// The name has no such record, but no zone vouches for it; in words.
    Absent(String),
}

/// Asks for one voice.
pub struct DnsAsker<'a> {
    resolver: &'a dyn Resolver,
    questions: &'a mut Questions,
    /// What has to be left.
    after: QuestionShare,
    /// An absence that no zone vouches for is a failure of DNS, not an absence.
    is_strict: bool,
    has_doubts: bool,
}

impl Default for Questions {
    fn default() -> Questions {
        Questions { left: PROOF_QUESTIONS_MAX, time: PROOF_TIME, known: HashMap::new() }
    }
}

impl Questions {
    /// `after`: what has to be left to others.
    pub fn asker<'a>(
        &'a mut self,
        resolver: &'a dyn Resolver,
        after: QuestionShare,
    ) -> DnsAsker<'a> {
        DnsAsker { resolver, questions: self, after, is_strict: false, has_doubts: false }
    }
}

impl DnsAsker<'_> {
    /// Asks as one to whom an absence for which no zone vouches is no answer.
    pub fn strictly<T>(&mut self, asks: impl FnOnce(&mut Self) -> T) -> T {
        self.is_strict = true;
        let found = asks(self);
        self.is_strict = false;
        found
    }

    /// Whether something was taken for absent for which no zone vouches, since this was asked last.
    pub fn take_doubts(&mut self) -> bool {
        std::mem::take(&mut self.has_doubts)
    }

    /// Asks DNS. Fails without asking where nothing is left to this voice.
    fn put(&mut self, name: &Name, kind: QueryType) -> Result<KnownAnswer, String> {
        let questions = &mut *self.questions;
        if questions.left <= self.after.questions {
            return Err(format!("not asked, one message has {PROOF_QUESTIONS_MAX} questions"));
        }
        // One slow server leaves time for what is asked of others.
        let time = questions.time.saturating_sub(self.after.time) / 2;
        if time.is_zero() {
            return Err(format!("not asked, the questions of one message have {PROOF_TIME:?}"));
        }
        let began = Instant::now();
        let answer = self.resolver.lookup_within(name.as_bytes(), record_kind(kind), time);
        questions.left -= 1;
        questions.time = questions.time.saturating_sub(began.elapsed());
        Ok(match answer.map(|answer| answer.records) {
            Ok(Records::Found(records)) => {
                let records: Vec<ResourceRecord> =
                    records.into_iter().filter_map(resource_record).collect();
                KnownAnswer::Sure(match records.is_empty() {
                    true => QueryAnswer::NoRecords,
                    false => QueryAnswer::Records(records),
                })
            }
            Ok(Records::Absent) => KnownAnswer::Sure(QueryAnswer::NoRecords),
            Ok(Records::NoName) => KnownAnswer::Sure(QueryAnswer::NoName),
            Ok(Records::Unsure(error)) => KnownAnswer::Absent(error.why()),
            Err(error) => KnownAnswer::Sure(QueryAnswer::Failed(error.why())),
        })
    }
}

impl Ask for DnsAsker<'_> {
    fn ask(&mut self, name: &Name, kind: QueryType) -> QueryAnswer {
        let question = (name.clone(), kind);
        let known = match self.questions.known.get(&question) {
            Some(known) => known.clone(),
            None => match self.put(name, kind) {
                Ok(known) => {
                    // What is longer is rare, and a stranger's: it costs a question each time.
                    if known.octets() <= DNS_CACHED_MAX {
                        self.questions.known.insert(question, known.clone());
                    }
                    known
                }
                Err(why) => return QueryAnswer::Failed(why),
            },
        };
        match known {
            KnownAnswer::Sure(answer) => answer,
            KnownAnswer::Absent(why) if self.is_strict => QueryAnswer::Failed(why),
            KnownAnswer::Absent(_) => {
                self.has_doubts = true;
                QueryAnswer::NoRecords
            }
        }
    }
}

impl KnownAnswer {
    /// Nearly; what an answer has in memory beside its octets is bounded by the number of its records.
    fn octets(&self) -> usize {
        let KnownAnswer::Sure(QueryAnswer::Records(records)) = self else { return 0 };
        let octets = records.iter().map(|record| match record {
            ResourceRecord::A(_) | ResourceRecord::Aaaa(_) => size_of::<IpAddr>(),
            ResourceRecord::Mx { host: name, .. } | ResourceRecord::Ptr(name) => {
                name.as_bytes().len()
            }
            ResourceRecord::Txt(text) => text.len(),
        });
        octets.sum()
    }
}

/// The kind as the resolver calls it.
pub fn record_kind(kind: QueryType) -> RecordKind {
    match kind {
        QueryType::A => RecordKind::A,
        QueryType::Aaaa => RecordKind::Aaaa,
        QueryType::Mx => RecordKind::Mx,
        QueryType::Ptr => RecordKind::Ptr,
        QueryType::Txt => RecordKind::Txt,
    }
}

/// A record as proofs see it; the host of a null MX (RFC 7505) is none.
pub fn resource_record(record: dns::Record) -> Option<ResourceRecord> {
    match record {
        dns::Record::Address(IpAddr::V4(address)) => Some(ResourceRecord::A(address)),
        dns::Record::Address(IpAddr::V6(address)) => Some(ResourceRecord::Aaaa(address)),
        dns::Record::Mx(mx) => {
            let host = Name::parse(mx.host.as_bytes())?;
            Some(ResourceRecord::Mx { preference: mx.preference, host })
        }
        dns::Record::Ptr(host) => Name::parse(host.as_bytes()).map(ResourceRecord::Ptr),
        dns::Record::Txt(text) => Some(ResourceRecord::Txt(text)),
        dns::Record::Tlsa { .. } | dns::Record::Srv { .. } | dns::Record::Cname(_) => None,
    }
}
