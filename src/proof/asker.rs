//! The questions of one message: how many there may be, how long they may take, and what was answered.
//!
//! An answer is remembered for the message, so that each voice builds on the same facts. Whoever asks past
//! the bounds hears that nothing is known.

use crate::limits::DNS_CACHED_MAX;
use crate::limits::trust::{PROOF_QUESTIONS_MAX, PROOF_TIME, Share};
use crate::mail::proof::name::Name;
use crate::mail::proof::{Answer, Ask, Kind, Record};
use crate::net::dns::{self, RecordKind, Records, Resolver};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// What is left of a message's questions, and what is known.
pub struct Questions {
    left: usize,
    time: Duration,
    known: HashMap<(Name, Kind), Known>,
}

/// What DNS said.
#[derive(Clone)]
enum Known {
    Sure(Answer),
    /// The name has no such record, but no zone vouches for it; in words.
    Absent(String),
}

/// Asks for one voice.
pub struct Asker<'a> {
    resolver: &'a dyn Resolver,
    questions: &'a mut Questions,
    /// What has to be left.
    after: Share,
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
    pub fn asker<'a>(&'a mut self, resolver: &'a dyn Resolver, after: Share) -> Asker<'a> {
        Asker { resolver, questions: self, after, is_strict: false, has_doubts: false }
    }
}

impl Asker<'_> {
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
    fn put(&mut self, name: &Name, kind: Kind) -> Result<Known, String> {
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
        let answer = self.resolver.lookup_within(name.as_bytes(), asked(kind), time);
        questions.left -= 1;
        questions.time = questions.time.saturating_sub(began.elapsed());
        Ok(match answer.map(|answer| answer.records) {
            Ok(Records::Found(records)) => {
                let records: Vec<Record> = records.into_iter().filter_map(taken).collect();
                Known::Sure(match records.is_empty() {
                    true => Answer::NoRecords,
                    false => Answer::Records(records),
                })
            }
            Ok(Records::Absent) => Known::Sure(Answer::NoRecords),
            Ok(Records::NoName) => Known::Sure(Answer::NoName),
            Ok(Records::Unsure(error)) => Known::Absent(error.why()),
            Err(error) => Known::Sure(Answer::Failed(error.why())),
        })
    }
}

impl Ask for Asker<'_> {
    fn ask(&mut self, name: &Name, kind: Kind) -> Answer {
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
                Err(why) => return Answer::Failed(why),
            },
        };
        match known {
            Known::Sure(answer) => answer,
            Known::Absent(why) if self.is_strict => Answer::Failed(why),
            Known::Absent(_) => {
                self.has_doubts = true;
                Answer::NoRecords
            }
        }
    }
}

impl Known {
    /// Nearly; what an answer has in memory beside its octets is bounded by the number of its records.
    fn octets(&self) -> usize {
        let Known::Sure(Answer::Records(records)) = self else { return 0 };
        let octets = records.iter().map(|record| match record {
            Record::A(_) | Record::Aaaa(_) => size_of::<IpAddr>(),
            Record::Mx { host: name, .. } | Record::Ptr(name) => name.as_bytes().len(),
            Record::Txt(text) => text.len(),
        });
        octets.sum()
    }
}

fn asked(kind: Kind) -> RecordKind {
    match kind {
        Kind::A => RecordKind::A,
        Kind::Aaaa => RecordKind::Aaaa,
        Kind::Mx => RecordKind::Mx,
        Kind::Ptr => RecordKind::Ptr,
        Kind::Txt => RecordKind::Txt,
    }
}

/// A record as proofs see it; the host of a null MX (RFC 7505) is none.
fn taken(record: dns::Record) -> Option<Record> {
    match record {
        dns::Record::Address(IpAddr::V4(address)) => Some(Record::A(address)),
        dns::Record::Address(IpAddr::V6(address)) => Some(Record::Aaaa(address)),
        dns::Record::Mx(mx) => {
            let host = Name::parse(mx.host.as_bytes())?;
            Some(Record::Mx { preference: mx.preference, host })
        }
        dns::Record::Ptr(host) => Name::parse(host.as_bytes()).map(Record::Ptr),
        dns::Record::Txt(text) => Some(Record::Txt(text)),
        dns::Record::Tlsa { .. } => None,
    }
}
