//! Chains of forwarders that sealed what they found (RFC 8617): whether a message has one, and whether it
//! holds. Pure.
//!
//! Two steps, as with DKIM: [`read`] at the end of the header, [`verify`] at the end of the message. A chain
//! that holds proves who forwarded; whether their word counts is policy.
//!
//! One difference from RFC 8617 §5.2.1, where every error is a failure for good: a key that DNS did not
//! give is [`ArcResult::TempError`], because nothing is sealed here and nobody has to read our word later.

use crate::mail::proof::Ask;
use crate::mail::proof::canonical::{BodyForm, BodyHashes, Form, add_field};
use crate::mail::proof::dkim::field::{ParsedSignature, SignatureKind, instance};
use crate::mail::proof::dkim::{self, StepResult};
use crate::mail::proof::name::Name;
use crate::mail::proof::raw::{RawField, RawHeader};
use crate::mail::proof::results::{self, Results};
use crate::mail::tags::{Tags, shown};
use std::collections::BTreeMap;
use std::fmt;

/// Whether a chain holds, in the words of RFC 8617 §4.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArcResult {
    /// There is no chain.
    None,
    Pass,
    Fail,
    /// DNS did not say what a key is.
    TempError,
}

impl fmt::Display for ArcResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ArcResult::None => "none",
            ArcResult::Pass => "pass",
            ArcResult::Fail => "fail",
            ArcResult::TempError => "temperror",
        })
    }
}

/// One of the three fields of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ArcField {
    Results,
    Message,
    Seal,
}

impl ArcField {
    const ALL: [ArcField; 3] = [ArcField::Results, ArcField::Message, ArcField::Seal];

    fn name(self) -> &'static str {
        match self {
            ArcField::Results => "ARC-Authentication-Results",
            ArcField::Message => "ARC-Message-Signature",
            ArcField::Seal => "ARC-Seal",
        }
    }
}

/// What decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArcReason {
    NoChain,
    /// All seals hold, and the signature of the newest set.
    Holds {
        sets: usize,
    },
    /// A field has no number of a set.
    Number(ArcField),
    /// A set has this field twice.
    Twice(ArcField, usize),
    /// A set lacks this field.
    Missing(ArcField, usize),
    /// The seal of this set says that the chain was broken then.
    Broken(usize),
    /// The seal of this set says something about the chain before it that does not fit there.
    Claim(usize, String),
    /// A field of this set does not hold, and why.
    Field(ArcField, usize, dkim::DkimReason),
    /// The field of this set names what it may not sign.
    Names(ArcField, usize),
    /// More follows in the body than the newest set signed.
    PartOfBody(usize),
}

impl fmt::Display for ArcReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArcReason::NoChain => f.write_str("no chain"),
            ArcReason::Holds { sets: 1 } => f.write_str("one seal"),
            ArcReason::Holds { sets } => write!(f, "{sets} seals"),
            ArcReason::Number(part) => write!(f, "an {} without number", part.name()),
            ArcReason::Twice(part, set) => write!(f, "set {set} has {} twice", part.name()),
            ArcReason::Missing(part, set) => write!(f, "set {set} has no {}", part.name()),
            ArcReason::Broken(set) => write!(f, "the chain was broken before set {set}"),
            ArcReason::Claim(set, text) => write!(f, "set {set} says cv={text}"),
            ArcReason::Field(part, set, why) => write!(f, "{} of set {set}: {why}", part.name()),
            ArcReason::Names(part, set) => {
                write!(f, "{} of set {set} names what it may not", part.name())
            }
            ArcReason::PartOfBody(set) => write!(f, "the body goes on past l= of set {set}"),
        }
    }
}

/// One set: where its fields are, and what two of them say.
#[derive(Clone, Debug)]
struct Set {
    results: usize,
    message: (usize, ParsedSignature),
    seal: (usize, ParsedSignature),
}

/// The chain of a message as its header has it.
#[derive(Clone, Debug)]
pub struct ArcChain {
    /// From set 1 on; or why there is no chain that could hold.
    sets: Result<Vec<Set>, ArcReason>,
    /// The domains of seals that can be read, newest first.
    sealers: Vec<Name>,
    /// What set 1 says was found, where that can be read.
    first: Option<Results>,
}

/// What was found out about a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArcFinding {
    pub result: ArcResult,
    pub reason: ArcReason,
    /// Who sealed (`d=`), newest first; their names prove nothing unless the chain passes.
    pub sealers: Vec<Name>,
    /// What the first of them found; it proves nothing unless the chain passes.
    pub first: Option<Results>,
}

impl ArcFinding {
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
        self.result == ArcResult::Pass && self.speaks(from, trusted)
    }

    /// Whether it might count: DNS did not say what a key is.
    pub fn may_vouch(&self, from: &Name, trusted: &[Name]) -> bool {
        self.result == ArcResult::TempError && self.speaks(from, trusted)
    }

    fn speaks(&self, from: &Name, trusted: &[Name]) -> bool {
        let all = self.sealers.iter().all(|sealer| trusted.contains(sealer));
        all && self.dmarc_of(from) == Some("pass")
    }
}

/// Reads the chain of a header (RFC 8617 §5.2, steps 1 to 3).
pub fn read(fields: &[RawField]) -> ArcChain {
    let mut chain = ArcChain { sets: Err(ArcReason::NoChain), sealers: Vec::new(), first: None };
    let mut places: BTreeMap<usize, BTreeMap<ArcField, usize>> = BTreeMap::new();
    let mut first = None;
    for (place, field) in fields.iter().enumerate() {
        let Some(part) = ArcField::ALL.into_iter().find(|part| field.is(part.name())) else {
            continue;
        };
        if first.is_none() {
            let found = number(part, field.value());
            let taken = match found {
                None => Err(ArcReason::Number(part)),
                Some(set) => match places.entry(set).or_default().insert(part, place) {
                    Some(_) => Err(ArcReason::Twice(part, set)),
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
    if let Some(place) = places.get(&1).and_then(|parts| parts.get(&ArcField::Results)) {
        let payload = results_of(fields[*place].value()).map(|(_, payload)| payload);
        chain.first = payload.and_then(|payload| results::read(payload).ok());
    }
    chain.sets = sets;
    chain
}

/// The number of the set to which a field belongs.
fn number(part: ArcField, value: &[u8]) -> Option<usize> {
    match part {
        ArcField::Results => Some(results_of(value)?.0),
        ArcField::Message | ArcField::Seal => instance(Tags::read(value).ok()?.get("i")?),
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
    place: impl Fn(ArcField) -> Option<usize>,
) -> Result<Set, ArcReason> {
    let place = |part| place(part).ok_or(ArcReason::Missing(part, number));
    let (results, message, seal) =
        (place(ArcField::Results)?, place(ArcField::Message)?, place(ArcField::Seal)?);
    let bad = |part| move |why| ArcReason::Field(part, number, why);
    let tags = |part, place: usize| {
        Tags::read(fields[place].value()).map_err(dkim::DkimReason::Tags).map_err(bad(part))
    };
    let seal_tags = tags(ArcField::Seal, seal)?;
    let sealed =
        ParsedSignature::read(&seal_tags, SignatureKind::ArcSeal).map_err(bad(ArcField::Seal))?;
    // A seal is about all sets and nothing else (RFC 8617 §4.1.3).
    if seal_tags.get("h").is_some() || seal_tags.get("bh").is_some() {
        return Err(ArcReason::Names(ArcField::Seal, number));
    }
    match (seal_tags.get("cv"), number) {
        (None, _) => return Err(bad(ArcField::Seal)(dkim::DkimReason::Missing("cv"))),
        (Some(b"none"), 1) | (Some(b"pass"), 2..) => {}
        (Some(b"fail"), _) => return Err(ArcReason::Broken(number)),
        (Some(other), _) => return Err(ArcReason::Claim(number, shown(other))),
    }
    let message_tags = tags(ArcField::Message, message)?;
    let signed = ParsedSignature::read(&message_tags, SignatureKind::ArcMessage)
        .map_err(bad(ArcField::Message))?;
    if signed.names.iter().any(|name| name == "arc-seal") {
        return Err(ArcReason::Names(ArcField::Message, number));
    }
    Ok(Set { results, message: (message, signed), seal: (seal, sealed) })
}

impl ArcChain {
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
    chain: &ArcChain,
    header: &RawHeader,
    hashes: &BodyHashes,
    time: u64,
) -> ArcFinding {
    let (result, reason) = match &chain.sets {
        Err(ArcReason::NoChain) => (ArcResult::None, ArcReason::NoChain),
        Err(reason) => (ArcResult::Fail, reason.clone()),
        Ok(sets) => verify_sets(ask, sets, header, hashes, time),
    };
    ArcFinding { result, reason, sealers: chain.sealers.clone(), first: chain.first.clone() }
}

fn verify_sets(
    ask: &mut dyn Ask,
    sets: &[Set],
    header: &RawHeader,
    hashes: &BodyHashes,
    time: u64,
) -> (ArcResult, ArcReason) {
    let number = sets.len();
    let Some(newest) = sets.last() else { return (ArcResult::None, ArcReason::NoChain) };
    // What DNS did not say; a failure that was seen says more.
    let mut unknown = None;
    let mut failed = |part, number, step: StepResult| {
        let reason = ArcReason::Field(part, number, step.reason);
        match step.result {
            dkim::DkimResult::Pass => None,
            dkim::DkimResult::TempError => {
                unknown.get_or_insert(reason);
                None
            }
            dkim::DkimResult::Fail | dkim::DkimResult::Policy | dkim::DkimResult::PermError => {
                Some(reason)
            }
        }
    };
    let (place, parsed) = &newest.message;
    let step = match dkim::check_dates(parsed, time).and_then(|()| dkim::check_body(parsed, hashes))
    {
        Ok(true) => dkim::check_key(ask, parsed, &dkim::signed(header, *place, parsed)),
        Ok(false) => return (ArcResult::Fail, ArcReason::PartOfBody(number)),
        Err(step) => step,
    };
    if let Some(reason) = failed(ArcField::Message, number, step) {
        return (ArcResult::Fail, reason);
    }
    let (octets, ends) = sealed(sets, header);
    for (at, set) in sets.iter().enumerate().rev() {
        let (place, parsed) = &set.seal;
        // All before this seal, then itself without its signature (RFC 8617 §5.1.1).
        let mut octets = octets[..ends[at]].to_vec();
        dkim::add_own(&mut octets, parsed, &header.fields()[*place]);
        let step = match dkim::check_dates(parsed, time) {
            Ok(()) => dkim::check_key(ask, parsed, &octets),
            Err(step) => step,
        };
        if let Some(reason) = failed(ArcField::Seal, at + 1, step) {
            return (ArcResult::Fail, reason);
        }
    }
    match unknown {
        Some(reason) => (ArcResult::TempError, reason),
        None => (ArcResult::Pass, ArcReason::Holds { sets: number }),
    }
}

/// All fields of all sets as seals see them, and where in that each set's own seal begins.
fn sealed(sets: &[Set], header: &RawHeader) -> (Vec<u8>, Vec<usize>) {
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
