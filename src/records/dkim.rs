//! DKIM of a domain: the record of each of its keys, and whether one that is there is that key's.

use super::{RecordPurpose, RecordState, Want, WantedRecord};
use crate::config::Config;
use crate::mail::address::Domain;
use crate::mail::proof::dkim::key::DkimKey;
use crate::net::dns::Record;
use crate::signing::rotation::KeyState;
use crate::signing::waiting::signed_by;
use crate::signing::{KeyStanding, Signing};
use crate::store::disk::RealDisk;
use crate::store::queue::Queue;
use jiff::Timestamp;
use std::sync::Arc;

/// The records of all keys of a domain; none where it does not sign. What cannot be read here is told in the
/// place of its record. Reads the queue where a key is retired and its time has passed.
pub fn wanted(
    config: &Config,
    signing: &Signing,
    domain: &Domain,
    now: Timestamp,
) -> Vec<WantedRecord> {
    if !signing.domains().contains(domain) {
        return Vec::new();
    }
    let (standings, faults) = (signing.standings(domain), signing.faults(domain));
    let queue = Queue::new(Arc::new(RealDisk), &config.spool);
    // A queue that cannot be read may hold anything.
    let waits = |standing: &KeyStanding| {
        let selector = &standing.place.selector;
        standing.place.is_over(now)
            && signed_by(&queue, domain, selector).map_or(true, |waiting| waiting > 0)
    };
    let of_key = |standing| of_key(domain, standing, waits(standing), now);
    let mut all: Vec<WantedRecord> = standings.iter().filter_map(of_key).collect();
    let in_words = |state, words: String| {
        let name = format!("_domainkey.{domain}");
        let wanted = WantedRecord::new(RecordPurpose::Dkim, domain, name, Want::Words(words));
        WantedRecord { state: Some(state), ..wanted }
    };
    match (faults.is_empty(), standings.is_empty()) {
        (false, _) => all.push(in_words(RecordState::Unknown, faults.join("; "))),
        (true, true) => {
            let words = format!("there is no key yet: facteur dkim new {domain}");
            all.push(in_words(RecordState::Missing, words));
        }
        (true, false) => {}
    }
    all
}

/// None where the key cannot be read. `waits`: mail that it signed is in the queue, though its time has passed.
fn of_key(
    domain: &Domain,
    standing: &KeyStanding,
    waits: bool,
    now: Timestamp,
) -> Option<WantedRecord> {
    let record = Record::Txt(standing.record.clone()?.into_bytes());
    let place = &standing.place;
    let (purpose, mark) = match (place.state, place.until) {
        (KeyState::Waiting | KeyState::Signs, _) => (RecordPurpose::Dkim, None),
        (KeyState::Retired, Some(until)) if until > now => {
            let words = format!("of a retired key: mail that it signed is under way until {until}");
            (RecordPurpose::Dkim, Some(words))
        }
        (KeyState::Retired, _) if waits => {
            let words = "of a retired key: mail that it signed waits in the queue".to_owned();
            (RecordPurpose::Dkim, Some(words))
        }
        (KeyState::Retired, _) => {
            let words = "of a retired key: this record may be removed, then its file".to_owned();
            (RecordPurpose::Retired, Some(words))
        }
    };
    let name = standing.name.to_string();
    Some(WantedRecord::new(purpose, domain, name, Want::Record(record)).marked(mark))
}

/// Whether a record is that of the same key, however it is written.
pub fn is_key(want: &Record, there: &Record) -> bool {
    let (Record::Txt(want), Record::Txt(there)) = (want, there) else { return false };
    match (DkimKey::read(want), DkimKey::read(there)) {
        (Ok(want), Ok(there)) => want.is_same(&there),
        _ => false,
    }
}
