//! The walk up the tree of names, which finds the policy record and the organizational domain (RFC 9989,
//! 4.10).

use super::record::{DmarcRecord, Suffix};
use crate::limits::trust::WALK_QUESTIONS_MAX;
use crate::mail::proof::name::Name;
use crate::mail::proof::{Ask, QueryAnswer, QueryType, ResourceRecord};
use std::collections::BTreeMap;

/// Walks for the domains of one message; no name is asked for twice.
pub struct Walker<'a> {
    pub ask: &'a mut dyn Ask,
    known: BTreeMap<Name, WalkStep>,
}

/// What is at one name.
#[derive(Clone)]
enum WalkStep {
    Record(DmarcRecord),
    /// No record, or several, which count as none (RFC 9989, 4.10 step 2).
    Nothing,
    Failed(String),
}

/// The records from a domain up.
pub struct Walk {
    start: Name,
    /// Each with its domain, from the longest to the shortest.
    found: Vec<(Name, DmarcRecord)>,
    /// The question that DNS did not answer; nothing above it was asked for.
    failed: Option<String>,
}

impl Walker<'_> {
    pub fn new(ask: &mut dyn Ask) -> Walker<'_> {
        Walker { ask, known: BTreeMap::new() }
    }

    /// Asks from `start` up until a record says that it is, or is not, a public suffix, or no label is left:
    /// at most [`WALK_QUESTIONS_MAX`] questions.
    pub fn walk(&mut self, start: &Name) -> Walk {
        let mut walk = Walk { start: start.clone(), found: Vec::new(), failed: None };
        let mut next = Some(start.clone());
        while let Some(domain) = next {
            match self.step(&domain) {
                WalkStep::Record(record) => {
                    let ends = record.suffix != Suffix::Unsaid;
                    walk.found.push((domain.clone(), record));
                    if ends {
                        break;
                    }
                }
                WalkStep::Nothing => {}
                WalkStep::Failed(why) => {
                    walk.failed = Some(why);
                    break;
                }
            }
            next = domain.parent();
            // A long name is cut once, so that all questions together are few (step 4).
            while let Some(name) = &next
                && name.labels().count() >= WALK_QUESTIONS_MAX
            {
                next = name.parent();
            }
        }
        walk
    }

    fn step(&mut self, domain: &Name) -> WalkStep {
        if let Some(known) = self.known.get(domain) {
            return known.clone();
        }
        // A name that is too long for the label in front of it can have no record.
        let step = domain.below(b"_dmarc").map_or(WalkStep::Nothing, |name| self.question(&name));
        self.known.insert(domain.clone(), step.clone());
        step
    }

    fn question(&mut self, name: &Name) -> WalkStep {
        let entries = match self.ask.ask(name, QueryType::Txt) {
            QueryAnswer::Records(entries) => entries,
            QueryAnswer::NoRecords | QueryAnswer::NoName => return WalkStep::Nothing,
            QueryAnswer::Failed(why) => return WalkStep::Failed(format!("TXT of {name}: {why}")),
        };
        let mut records = entries.iter().filter_map(|entry| match entry {
            ResourceRecord::Txt(text) => DmarcRecord::parse(text),
            _ => None,
        });
        match (records.next(), records.next()) {
            (Some(record), None) => WalkStep::Record(record),
            _ => WalkStep::Nothing,
        }
    }
}

impl Walk {
    /// The record that holds for the domain where the walk began, and whose it is: the domain's own, else
    /// that of its organizational domain, else that of its public suffix (RFC 9989, 4.10.1). Fails with
    /// the question that decides and was not answered.
    pub fn policy(&self) -> Result<Option<&(Name, DmarcRecord)>, String> {
        let at = |domain: &Name| self.found.iter().find(|(name, _)| name == domain);
        if let Some(own) = at(&self.start) {
            return Ok(Some(own));
        }
        let organization = self.organization()?;
        let suffix = || self.found.iter().find(|(_, record)| record.suffix == Suffix::Yes);
        Ok(at(&organization).or_else(suffix))
    }

    /// The organizational domain (RFC 9989, 4.10.2).
    pub fn organization(&self) -> Result<Name, String> {
        if let Some(why) = &self.failed {
            return Err(why.clone());
        }
        // Both values of `psd=` end a walk, so only the last record can have one.
        let Some((domain, record)) = self.found.last() else { return Ok(self.start.clone()) };
        Ok(match record.suffix {
            Suffix::Yes if *domain != self.start => self.child_of(domain),
            Suffix::Yes | Suffix::No | Suffix::Unsaid => domain.clone(),
        })
    }

    /// On the way from the start up, the last name before `domain`.
    fn child_of(&self, domain: &Name) -> Name {
        let mut child = self.start.clone();
        while let Some(parent) = child.parent().filter(|parent| parent != domain) {
            child = parent;
        }
        child
    }
}
