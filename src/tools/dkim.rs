//! `facteur dkim new`, `list`: keys that sign, and what each of them does.
//!
//! A new key signs once DNS shows its record, which is printed; the server sees new keys by itself. `list` asks
//! nobody: it says what the server knows. No private key is printed.

mod new;

pub use new::{make_missing, new};

use super::listing::json_lines;
use super::{Failure, Request, complain, print, site, terminal};
use crate::mail::address::Domain;
use crate::privileges;
use crate::reach;
use crate::signing::KeyStanding;
use crate::signing::rotation::KeyState;
use crate::signing::waiting::signed_by;
use crate::site::Site;
use crate::store::disk::RealDisk;
use crate::store::queue::Queue;
use jiff::Timestamp;
use serde::Serialize;
use std::sync::Arc;

/// One line of `list`.
#[derive(Serialize)]
struct KeyRow {
    domain: String,
    selector: String,
    #[serde(rename = "type")]
    kind: &'static str,
    state: &'static str,
    until: Option<String>,
}

/// Lists the keys of all domains that sign, in their order. Keys that cannot be used are named, and make it fail.
pub fn list(request: &Request) -> Result<(), Failure> {
    let site = site(request)?;
    // With the server's rights: what root alone can read, the server cannot.
    let user = reach::user(&site.config)?;
    let server = reach::server(&site.config, user.as_ref())?;
    let (lines, faults) = privileges::as_user(server.as_ref(), || all(&site, request.json))?;
    print(&lines?)?;
    faults.iter().for_each(|fault| complain(fault));
    if faults.is_empty() { Ok(()) } else { Err(Failure::Told) }
}

/// The lines, and what is wrong.
fn all(site: &Site, is_json: bool) -> (Result<String, String>, Vec<String>) {
    let (mut rows, mut notes, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    let now = Timestamp::now();
    let queue = Queue::new(Arc::new(RealDisk), &site.config.spool);
    for domain in site.signing().domains() {
        for standing in site.signing().standings(&domain) {
            let waits = match standing.place.is_over(now) {
                true => signed_by(&queue, &domain, &standing.place.selector),
                false => Ok(0),
            };
            let waits = waits.unwrap_or_else(|error| {
                faults.push(format!("what waits in the queue is not known: {error}"));
                1
            });
            notes.push(note(&standing, now, waits));
            rows.push(row(&domain, &standing, waits));
        }
        faults.extend(site.signing().faults(&domain));
    }
    let lines = match is_json {
        true => json_lines(&rows).map_err(|error| error.to_string()),
        false => Ok(rows.iter().zip(notes).map(|(row, note)| line(row, &note)).collect()),
    };
    (lines, faults)
}

/// `waits`: how many messages in the queue still need a key whose time has passed.
fn row(domain: &Domain, standing: &KeyStanding, waits: usize) -> KeyRow {
    let place = &standing.place;
    KeyRow {
        domain: domain.to_string(),
        selector: place.selector.to_string(),
        kind: place.kind.word(),
        state: place.state.word(),
        until: place.until.filter(|_| waits == 0).map(|until| until.to_string()),
    }
}

fn line(row: &KeyRow, note: &str) -> String {
    let KeyRow { domain, selector, kind, state, .. } = row;
    let text = format!("{domain}  {selector}  {kind}  {state}{note}");
    format!("{}\n", terminal::escape(&text))
}

/// What a person wants to know besides.
fn note(standing: &KeyStanding, now: Timestamp, waits: usize) -> String {
    let place = &standing.place;
    let what = match (place.state, place.until) {
        (KeyState::Waiting, Some(until)) => format!(" until {until}, then signs"),
        (KeyState::Waiting, None) if place.first.is_none() => {
            format!(": {} has not been seen in DNS", standing.name)
        }
        (KeyState::Retired, Some(until)) if until > now => format!(" until {until}"),
        (KeyState::Retired, _) if waits > 0 => {
            ": its record is needed while mail that it signed waits in the queue".to_owned()
        }
        (KeyState::Retired, _) => ": its record may be removed, then its file".to_owned(),
        (KeyState::Waiting | KeyState::Signs, _) => String::new(),
    };
    match place.hidden.filter(|_| place.is_unpublished) {
        Some(since) => format!("{what}; not in DNS since {since}"),
        None => what,
    }
}
