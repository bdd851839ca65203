//! Asks DNS about our own records, within a number of questions and a time.

use crate::limits::records::{RECORD_SILENCES, RECORD_WAIT};
use crate::mail::proof::name::Name;
use crate::mail::proof::{Ask, QueryAnswer, QueryType};
use crate::net::dns::{DnsFault, Record, RecordKind, Records, Resolver};
use crate::proof::{record_kind, resource_record};
use std::time::{Duration, Instant};

/// What is left of the questions.
pub struct RecordsAsker<'a> {
    resolver: &'a dyn Resolver,
    left: usize,
    until: Instant,
    /// Questions that nobody answered since the last answer.
    silences: usize,
    /// The fault of the last of them.
    fault: String,
    /// Whether anything was answered.
    is_heard: bool,
}

/// What DNS shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShownRecords {
    /// None where there is none; whether a zone vouches for that does not count here.
    Records {
        records: Vec<Record>,
        /// Whether they were validated ([`crate::net::dns::DnsAnswer::secure`]).
        secure: bool,
    },
    /// It did not answer, for this reason.
    Unknown(String),
}

impl<'a> RecordsAsker<'a> {
    pub fn new(resolver: &'a dyn Resolver, questions: usize, time: Duration) -> RecordsAsker<'a> {
        let until = Instant::now() + time;
        let (silences, fault, is_heard) = (0, String::new(), false);
        RecordsAsker { resolver, left: questions, until, silences, fault, is_heard }
    }

    /// Whether any question was answered.
    pub fn is_heard(&self) -> bool {
        self.is_heard
    }

    /// The records of a kind that a name has.
    pub fn look(&mut self, name: &[u8], kind: RecordKind) -> ShownRecords {
        if !self.is_heard && self.silences >= RECORD_SILENCES {
            return ShownRecords::Unknown(self.fault.clone());
        }
        let time = self.until.saturating_duration_since(Instant::now()).min(RECORD_WAIT);
        if self.left == 0 || time.is_zero() {
            return ShownRecords::Unknown("not asked, the questions took too long".to_owned());
        }
        self.left -= 1;
        match self.resolver.lookup_within(name, kind, time) {
            Ok(answer) => {
                (self.is_heard, self.silences) = (true, 0);
                let records = match answer.records {
                    Records::Found(records) => records,
                    Records::Absent | Records::Unsure(_) | Records::NoName => Vec::new(),
                };
                ShownRecords::Records { records, secure: answer.secure }
            }
            Err(error) => {
                match error.what {
                    DnsFault::Timeout(_) => self.silences += 1,
                    DnsFault::ServFail | DnsFault::Refused | DnsFault::Broken(_) => {}
                }
                self.fault = error.why();
                ShownRecords::Unknown(self.fault.clone())
            }
        }
    }
}

impl Ask for RecordsAsker<'_> {
    fn ask(&mut self, name: &Name, kind: QueryType) -> QueryAnswer {
        match self.look(name.as_bytes(), record_kind(kind)) {
            ShownRecords::Records { records, .. } => {
                let records: Vec<_> = records.into_iter().filter_map(resource_record).collect();
                match records.is_empty() {
                    true => QueryAnswer::NoRecords,
                    false => QueryAnswer::Records(records),
                }
            }
            ShownRecords::Unknown(why) => QueryAnswer::Failed(why),
        }
    }
}
