//! A chain of filters, and a message that goes through it as in a session.

use super::milterd::Milterd;
use crate::support::{Place, text};
use facteur::config::{Milter, MilterService};
use facteur::filters::{
    FilterAction, FilterChain, FilterClient, FilterInput, FilterOpinion, FilterRoom,
    FilteredMessage, Filters, MessageOpinion,
};
use facteur::mail::address::{ForwardPath, ReversePath};
use facteur::mail::edits::{Edits, Piece};
use facteur::net::dns::{DnsAnswer, DnsError, RecordKind, Resolver};
use facteur::store::body::{Body, BodyWriter, Budget};
use facteur::store::disk::{Disk, RealDisk};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Octets that a message may have.
pub const SIZE: u64 = 1 << 20;

/// Nobody is asked.
#[derive(Debug)]
struct NoNames;

impl Resolver for NoNames {
    fn lookup(&self, _: &[u8], _: RecordKind) -> Result<DnsAnswer, DnsError> {
        panic!("a question to DNS")
    }
}

pub fn filters(milters: &[Milter]) -> Arc<Filters> {
    Filters::new(milters, "mx.test", Arc::new(NoNames))
}

pub fn filters_at(milters: &[Milter], clock: facteur::filters::FilterClock) -> Arc<Filters> {
    Filters::with_clock(milters, "mx.test", Arc::new(NoNames), clock)
}

pub fn chain(milters: &[Milter]) -> FilterChain {
    filters(milters).open(MilterService::Smtp).unwrap()
}

/// A chain of one filter that may do everything.
pub fn alone(filter: &Milterd) -> FilterChain {
    chain(&[filter.config("one")])
}

pub fn client() -> FilterClient {
    FilterClient {
        name: Some("client.example.net".to_owned()),
        address: Some(("192.0.2.1".parse().unwrap(), 40000)),
        listener: None,
    }
}

pub fn from(text: &str) -> ReversePath {
    ReversePath::parse(text.as_bytes()).unwrap().0
}

pub fn to(text: &str) -> ForwardPath {
    ForwardPath::parse(text.as_bytes()).unwrap().0
}

/// Up to DATA; fails with what was refused.
pub fn envelope(chain: &mut FilterChain) -> Result<(), FilterOpinion> {
    let mut steps = Vec::new();
    steps.push(chain.connect(client()));
    steps.push(chain.helo("client.example.net", None));
    steps.extend(transaction(chain).err());
    match steps.into_iter().find(|opinion| *opinion != FilterOpinion::GoOn) {
        None => Ok(()),
        Some(opinion) => Err(opinion),
    }
}

/// From MAIL up to DATA.
pub fn transaction(chain: &mut FilterChain) -> Result<(), FilterOpinion> {
    let mut steps = vec![chain.mail("ID", &from("<ann@example.org>"), &[], None)];
    steps.push(chain.rcpt(&to("<bob@mx.test>"), &[]));
    steps.push(chain.data());
    match steps.into_iter().find(|opinion| *opinion != FilterOpinion::GoOn) {
        None => Ok(()),
        Some(opinion) => Err(opinion),
    }
}

/// A message with LF, on the disk where it is long.
pub struct Message {
    body: Body,
    disk: Arc<dyn Disk>,
    budget: Arc<Budget>,
    place: Place,
}

impl Message {
    pub fn new(octets: impl AsRef<[u8]>) -> Message {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let (budget, place) = (Budget::new(64 << 20), Place::in_memory());
        let mut writer = BodyWriter::new(disk.clone(), place.path(), budget.clone());
        writer.write(octets.as_ref()).unwrap();
        Message { body: writer.finish(), disk, budget, place }
    }

    pub fn input<'a>(&'a self, results: &'a str, forged: &'a [Range<u64>]) -> FilterInput<'a> {
        let (disk, budget) = (&self.disk, &self.budget);
        let dir: &Path = self.place.path();
        let room = FilterRoom { disk, dir, budget, message_size: SIZE };
        FilterInput { body: &self.body, results, forged, room }
    }

    /// What is delivered: the message as filters made it, with our Received.
    pub fn delivered(&self, filtered: &FilteredMessage) -> String {
        let body = filtered.body.as_ref().map_or(&self.body, |replaced| &replaced.body);
        let edits = filtered.edits("Received: us\n");
        text(&view(body, &edits))
    }

    /// Shows it to a chain whose filters take it.
    pub fn through(&self, chain: &mut FilterChain) -> FilteredMessage {
        let filtered = chain.message(&self.input("", &[])).unwrap();
        assert_eq!(filtered.opinion, MessageOpinion::Take, "{:?}", chain.take_notes());
        filtered
    }
}

fn view(body: &Body, edits: &Edits) -> Vec<u8> {
    let whole = body.head(usize::MAX).unwrap();
    let mut view = Vec::new();
    for piece in edits.pieces(body.size()) {
        match piece {
            Piece::Put(octets) => view.extend_from_slice(octets),
            Piece::Kept(range) => {
                view.extend_from_slice(&whole[range.start as usize..range.end as usize]);
            }
        }
    }
    view
}

/// What was noted, one line each, without what is worth no line.
pub fn told(chain: &mut FilterChain) -> Vec<String> {
    let notes = chain.take_notes().into_iter();
    let quiet = [FilterAction::Continue, FilterAction::Accept];
    let notes = notes.filter(|note| !quiet.contains(&note.action));
    notes
        .map(|note| format!("{} {}: {} ({})", note.filter, note.stage, note.action, note.why))
        .collect()
}
