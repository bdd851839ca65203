//! Chains of forwarders that sealed what they found (RFC 8617): whether a message has one, and whether it
//! holds. Pure.
//!
//! Two steps, as with DKIM: [`read`] at the end of the header, [`verify`] at the end of the message. A chain
//! that holds proves who forwarded; whether their word counts is policy.
//!
//! One difference from RFC 8617 §5.2.1, where every error is a failure for good: a key that DNS did not
//! give is [`Result::TempError`], because nothing is sealed here and nobody has to read our word later.

use crate::limits::trust::ARC_SETS_MAX;
use crate::mail::proof::Ask;
use crate::mail::proof::canonical::{BodyForm, BodyHashes, Form, add_field};
use crate::mail::proof::dkim::field::{Kind, Parsed, instance};
use crate::mail::proof::dkim::{self, Outcome};
use crate::mail::proof::name::Name;
use crate::mail::proof::raw::{Header, RawField};
use crate::mail::proof::results::{self, Results};
use crate::mail::tags::{Tags, shown};
use std::collections::BTreeMap;
use std::fmt;

/// Whether a chain holds, in the words of RFC 8617 §4.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Result {
    /// There is no chain.
    None,
    Pass,
    Fail,
    /// DNS did not say what a key is.
    TempError,
}

impl fmt::Display for Result {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Result::None => "none",
            Result::Pass => "pass",
            Result::Fail => "fail",
            Result::TempError => "temperror",
        })
    }
}

/// One of the three fields of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    Results,
    Message,
    Seal,
}

impl Part {
    const ALL: [Part; 3] = [Part::Results, Part::Message, Part::Seal];

    fn name(self) -> &'static str {
        match self {
            Part::Results => "ARC-Authentication-Results",
            Part::Message => "ARC-Message-Signature",
            Part::Seal => "ARC-Seal",
        }
    }
}

/// What decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    NoChain,
    /// All seals hold, and the signature of the newest set.
    Holds {
        sets: usize,
    },
    /// More than [`ARC_SETS_MAX`] sets.
    TooMany,
    /// A field has no number of a set.
    Number(Part),
    /// A set has this field twice.
    Twice(Part, usize),
    /// A set lacks this field.
    Missing(Part, usize),
    /// The seal of this set says that the chain was broken then.
    Broken(usize),
    /// The seal of this set says something about the chain before it that does not fit there.
    Claim(usize, String),
    /// A field of this set does not hold, and why.
    Field(Part, usize, dkim::Reason),
    /// The field of this set names what it may not sign.
    Names(Part, usize),
    /// More follows in the body than the newest set signed.
    PartOfBody(usize),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NoChain => f.write_str("no chain"),
            Reason::Holds { sets: 1 } => f.write_str("one seal"),
            Reason::Holds { sets } => write!(f, "{sets} seals"),
            Reason::TooMany => write!(f, "more than {ARC_SETS_MAX} sets"),
            Reason::Number(part) => write!(f, "an {} without number", part.name()),
            Reason::Twice(part, set) => write!(f, "set {set} has {} twice", part.name()),
            Reason::Missing(part, set) => write!(f, "set {set} has no {}", part.name()),
            Reason::Broken(set) => write!(f, "the chain was broken before set {set}"),
            Reason::Claim(set, text) => write!(f, "set {set} says cv={text}"),
            Reason::Field(part, set, why) => write!(f, "{} of set {set}: {why}", part.name()),
            Reason::Names(part, set) => {
                write!(f, "{} of set {set} names what it may not", part.name())
            }
            Reason::PartOfBody(set) => write!(f, "the body goes on past l= of set {set}"),
        }
    }
}

/// One set: where its fields are, and what two of them say.
#[derive(Clone, Debug)]
struct Set {
    results: usize,
    message: (usize, Parsed),
    seal: (usize, Parsed),
}

/// The chain of a message as its header has it.
#[derive(Clone, Debug)]
pub struct Chain {
    /// From set 1 on; or why there is no chain that could hold.
    sets: std::result::Result<Vec<Set>, Reason>,
    /// The domains of seals that can be read, newest first.
    sealers: Vec<Name>,
    /// What set 1 says was found, where that can be read.
    first: Option<Results>,
}

/// What was found out about a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub result: Result,
    pub reason: Reason,
    /// Who sealed (`d=`), newest first; their names prove nothing unless the chain passes.
    pub sealers: Vec<Name>,
    /// What the first of them found; it proves nothing unless the chain passes.
    pub first: Option<Results>,
}

impl Finding {
    /// What set 1 says of DMARC for mail from this domain, as a word of RFC 8601; none where it says nothing,
    /// or says different things.
    pub fn dmarc_of(&self, from: &Name) -> Option<&str> {
        let entries = self.first.iter().flat_map(|first| &first.entries);
        let is_from = |text: &str| {
            let domain = text.rsplit_once('@').map_or(text, |(_, domain)| domain);
            Name::of_unicode(domain.as_bytes()).as_ref() == Some(from)
        };
        let mut said = entries.filter(|entry| {
            entry.method == "dmarc" && entry.property("header.from").is_some_and(is_from)
        });
        let first = said.next()?;
        said.all(|entry| entry.result == first.result).then_some(first.result.as_str())
    }

    /// Whether the word of the first sealer counts: the chain passes, each of its seals is of one of the
    /// domains `trusted`, and set 1 says `dmarc=pass` for mail from this domain.
    pub fn vouches(&self, from: &Name, trusted: &[Name]) -> bool {
        self.result == Result::Pass && self.speaks(from, trusted)
    }

    /// Whether it might count: DNS did not say what a key is.
    pub fn may_vouch(&self, from: &Name, trusted: &[Name]) -> bool {
        self.result == Result::TempError && self.speaks(from, trusted)
    }

    fn speaks(&self, from: &Name, trusted: &[Name]) -> bool {
        let all = self.sealers.iter().all(|sealer| trusted.contains(sealer));
        all && self.dmarc_of(from) == Some("pass")
    }
}

/// Reads the chain of a header (RFC 8617 §5.2, steps 1 to 3).
pub fn read(fields: &[RawField]) -> Chain {
    let mut chain = Chain { sets: Err(Reason::NoChain), sealers: Vec::new(), first: None };
    let mut places: BTreeMap<usize, BTreeMap<Part, usize>> = BTreeMap::new();
    let mut first = None;
    for (place, field) in fields.iter().enumerate() {
        let Some(part) = Part::ALL.into_iter().find(|part| field.is(part.name())) else { continue };
        if first.is_none() {
            let found = number(part, field.value());
            let taken = match found {
                None => Err(Reason::Number(part)),
                Some(set) => match places.entry(set).or_default().insert(part, place) {
                    Some(_) => Err(Reason::Twice(part, set)),
                    None => Ok(()),
                },
            };
            first = taken.err();
        }
    }
    if let Some(reason) = first {
        chain.sets = Err(reason);
        return chain;
    }
    if places.is_empty() {
        return chain;
    }
    let mut sets = Ok(Vec::new());
    let last = places.keys().next_back().copied().unwrap_or(0);
    for number in 1..=last {
        let parts = places.get(&number);
        match set(fields, number, |part| parts.and_then(|parts| parts.get(&part)).copied()) {
            Ok(set) => {
                chain.sealers.insert(0, set.seal.1.domain.clone());
                if let Ok(sets) = &mut sets {
                    sets.push(set);
                }
            }
            Err(reason) => sets = sets.and(Err(reason)),
        }
    }
    if let Some(place) = places.get(&1).and_then(|parts| parts.get(&Part::Results)) {
        let payload = results_of(fields[*place].value()).map(|(_, payload)| payload);
        chain.first = payload.and_then(|payload| results::read(payload).ok());
    }
    chain.sets = sets;
    chain
}

/// The number of the set to which a field belongs.
fn number(part: Part, value: &[u8]) -> Option<usize> {
    match part {
        Part::Results => Some(results_of(value)?.0),
        Part::Message | Part::Seal => instance(Tags::read(value).ok()?.get("i")?),
    }
}

/// The number before ARC-Authentication-Results, and what follows it (RFC 8617 §4.1.1).
fn results_of(value: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = results::numbered(value)?;
    Some((instance(number.as_bytes())?, rest))
}

/// Reads the fields of a set.
fn set(
    fields: &[RawField],
    number: usize,
    place: impl Fn(Part) -> Option<usize>,
) -> std::result::Result<Set, Reason> {
    let place = |part| place(part).ok_or(Reason::Missing(part, number));
    let (results, message, seal) =
        (place(Part::Results)?, place(Part::Message)?, place(Part::Seal)?);
    let bad = |part| move |why| Reason::Field(part, number, why);
    let tags = |part, place: usize| {
        Tags::read(fields[place].value()).map_err(dkim::Reason::Tags).map_err(bad(part))
    };
    let seal_tags = tags(Part::Seal, seal)?;
    let sealed = Parsed::read(&seal_tags, Kind::ArcSeal).map_err(bad(Part::Seal))?;
    // A seal is about all sets and nothing else (RFC 8617 §4.1.3).
    if seal_tags.get("h").is_some() || seal_tags.get("bh").is_some() {
        return Err(Reason::Names(Part::Seal, number));
    }
    match (seal_tags.get("cv"), number) {
        (None, _) => return Err(bad(Part::Seal)(dkim::Reason::Missing("cv"))),
        (Some(b"none"), 1) | (Some(b"pass"), 2..) => {}
        (Some(b"fail"), _) => return Err(Reason::Broken(number)),
        (Some(other), _) => return Err(Reason::Claim(number, shown(other))),
    }
    let message_tags = tags(Part::Message, message)?;
    let signed = Parsed::read(&message_tags, Kind::ArcMessage).map_err(bad(Part::Message))?;
    if signed.names.iter().any(|name| name == "arc-seal") {
        return Err(Reason::Names(Part::Message, number));
    }
    Ok(Set { results, message: (message, signed), seal: (seal, sealed) })
}

impl Chain {
    /// What is to be hashed of the body: give it to `BodyHasher`.
    pub fn form(&self) -> Option<BodyForm> {
        let newest = self.sets.as_ref().ok()?.last()?;
        Some(newest.message.1.body_form)
    }
}

/// Verifies what [`read`] found (RFC 8617 §5.2, steps 4 to 7): the signature of the newest set, then every
/// seal, the newest first. `time` is now, in seconds since 1970.
pub fn verify(
    ask: &mut dyn Ask,
    chain: &Chain,
    header: &Header,
    hashes: &BodyHashes,
    time: u64,
) -> Finding {
    let (result, reason) = match &chain.sets {
        Err(Reason::NoChain) => (Result::None, Reason::NoChain),
        Err(reason) => (Result::Fail, reason.clone()),
        Ok(sets) => verify_sets(ask, sets, header, hashes, time),
    };
    Finding { result, reason, sealers: chain.sealers.clone(), first: chain.first.clone() }
}

fn verify_sets(
    ask: &mut dyn Ask,
    sets: &[Set],
    header: &Header,
    hashes: &BodyHashes,
    time: u64,
) -> (Result, Reason) {
    let number = sets.len();
    let Some(newest) = sets.last() else { return (Result::None, Reason::NoChain) };
    // What DNS did not say; a failure that was seen says more.
    let mut unknown = None;
    let mut failed = |part, number, outcome: Outcome| {
        let reason = Reason::Field(part, number, outcome.reason);
        match outcome.result {
            dkim::Result::Pass => None,
            dkim::Result::TempError => {
                unknown.get_or_insert(reason);
                None
            }
            dkim::Result::Fail | dkim::Result::Policy | dkim::Result::PermError => Some(reason),
        }
    };
    let (place, parsed) = &newest.message;
    let outcome =
        match dkim::check_dates(parsed, time).and_then(|()| dkim::check_body(parsed, hashes)) {
            Ok(true) => dkim::check_key(ask, parsed, &dkim::signed(header, *place, parsed)),
            Ok(false) => return (Result::Fail, Reason::PartOfBody(number)),
            Err(outcome) => outcome,
        };
    if let Some(reason) = failed(Part::Message, number, outcome) {
        return (Result::Fail, reason);
    }
    let (octets, ends) = sealed(sets, header);
    for (at, set) in sets.iter().enumerate().rev() {
        let (place, parsed) = &set.seal;
        // All before this seal, then itself without its signature (RFC 8617 §5.1.1).
        let mut octets = octets[..ends[at]].to_vec();
        dkim::add_own(&mut octets, parsed, &header.fields()[*place]);
        let outcome = match dkim::check_dates(parsed, time) {
            Ok(()) => dkim::check_key(ask, parsed, &octets),
            Err(outcome) => outcome,
        };
        if let Some(reason) = failed(Part::Seal, at + 1, outcome) {
            return (Result::Fail, reason);
        }
    }
    match unknown {
        Some(reason) => (Result::TempError, reason),
        None => (Result::Pass, Reason::Holds { sets: number }),
    }
}

/// All fields of all sets as seals see them, and where in that each set's own seal begins.
fn sealed(sets: &[Set], header: &Header) -> (Vec<u8>, Vec<usize>) {
    let (mut octets, mut ends) = (Vec::new(), Vec::new());
    for set in sets {
        for place in [set.results, set.message.0] {
            add_field(&mut octets, Form::Relaxed, &header.fields()[place], None);
        }
        ends.push(octets.len());
        add_field(&mut octets, Form::Relaxed, &header.fields()[set.seal.0], None);
    }
    (octets, ends)
}
