//! Signatures of domains (RFC 6376, with RFC 8301, 8463 and 8616): which a message has, and which hold. Pure.
//!
//! Two steps, because the body passes by only once: [`read`] at the end of the header says what is to be
//! hashed, [`verify`] at the end of the message asks for the keys. Field and key have files of their own.

pub mod field;
pub mod key;
pub mod sign;

use crate::limits::trust::KEY_RECORDS_MAX;
use crate::limits::trust::SIGNATURE_EARLY_MAX;
use crate::limits::trust::SIGNATURE_LATE_MAX;
use crate::limits::trust::SIGNATURES_MAX;
use crate::limits::trust::SIGNATURES_READ_MAX;
use crate::mail::proof::canonical::{BodyForm, BodyHashes, add_field};
use crate::mail::proof::name::Name;
use crate::mail::proof::raw::{Header, RawField};
use crate::mail::proof::{Answer, Ask, Kind, Record};
use crate::mail::tags::{BadTags, Tags};
use field::{Algorithm, Parsed};
use key::{BadKey, Key};
use std::collections::BTreeMap;
use std::fmt;

/// What a signature proves, in the words of RFC 8601 §2.7.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Result {
    Pass,
    Fail,
    /// It was not looked at: there are more than [`SIGNATURES_MAX`].
    Policy,
    /// DNS did not say what the key is.
    TempError,
    PermError,
}

impl fmt::Display for Result {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Result::Pass => "pass",
            Result::Fail => "fail",
            Result::Policy => "policy",
            Result::TempError => "temperror",
            Result::PermError => "permerror",
        })
    }
}

/// What decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The signature was made with a key of this many bits.
    Verified(Algorithm, usize),
    /// The same, but more follows in the body than was signed (`l=`).
    VerifiedPart(Algorithm, usize),
    /// More signatures than are verified.
    TooMany,
    Tags(BadTags),
    /// A tag that has to be there is not.
    Missing(&'static str),
    /// The value of this tag is not what the grammar wants, or nothing that can be verified.
    Tag(&'static str),
    Version(String),
    Algorithm(String),
    FromNotSigned,
    /// `i=` lies outside `d=`.
    IdentityOutside,
    /// `i=` is below `d=`, which its key forbids (`t=s`).
    IdentityBelow(Name),
    /// `x=` is past, in seconds since 1970.
    Expired(u64),
    /// `t=` is to come, in seconds since 1970.
    Early(u64),
    /// The body is not the one that was signed.
    Body,
    /// The body has fewer octets than `l=` says.
    BodyShort,
    /// The body was not hashed in this form.
    NotHashed,
    /// The fields are not those that were signed, or another key signed them.
    Signature(Name),
    /// DNS has no record at this name.
    NoKey(Name),
    /// The key at this name does not serve.
    Key(Name, BadKey),
    /// The key at this name is for another algorithm.
    OtherKey(Name, Algorithm),
    /// DNS did not say what is at this name.
    Dns(Name, String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Verified(algorithm, bits) => write!(f, "{bits} bits {algorithm}"),
            Reason::VerifiedPart(algorithm, bits) => {
                write!(f, "{bits} bits {algorithm}, but the body goes on past l=")
            }
            Reason::TooMany => write!(f, "only {SIGNATURES_MAX} signatures are verified"),
            Reason::Tags(bad) => write!(f, "the signature field: {bad}"),
            Reason::Missing(tag) => write!(f, "the signature has no {tag}="),
            Reason::Tag(tag) => write!(f, "{tag}= of the signature cannot be used"),
            Reason::Version(text) => write!(f, "the signature is of version \"{text}\""),
            Reason::Algorithm(text) => write!(f, "the algorithm \"{text}\" proves nothing"),
            Reason::FromNotSigned => f.write_str("From is not signed"),
            Reason::IdentityOutside => f.write_str("i= is outside d="),
            Reason::IdentityBelow(name) => write!(f, "the key at {name} forbids i= below d="),
            Reason::Expired(at) => write!(f, "the signature ended at {at}"),
            Reason::Early(at) => write!(f, "the signature is dated to come, {at}"),
            Reason::Body => f.write_str("the body was changed"),
            Reason::BodyShort => f.write_str("the body is shorter than l="),
            Reason::NotHashed => f.write_str("the body was not hashed in this form"),
            Reason::Signature(name) => write!(f, "the key at {name} did not sign these fields"),
            Reason::NoKey(name) => write!(f, "no key at {name}"),
            Reason::Key(name, bad) => write!(f, "{name}: {bad}"),
            Reason::OtherKey(name, algorithm) => write!(f, "the key at {name} is for {algorithm}"),
            Reason::Dns(name, said) => write!(f, "TXT {name}: {said}"),
        }
    }
}

/// A signature as its field has it.
#[derive(Clone, Debug)]
pub struct Signature {
    /// Which field of the header it is.
    pub place: usize,
    /// `d=`, where it is a name.
    pub domain: Option<Name>,
    /// `s=`, where it is a name.
    pub selector: Option<Name>,
    /// What is to be verified, or why nothing can be.
    pub parsed: std::result::Result<Parsed, Reason>,
}

impl Signature {
    /// Whether its domain may be in line with one of these: above it, or below.
    pub fn is_near(&self, authors: &[Name]) -> bool {
        let near =
            |author: &Name, domain: &Name| author.is_within(domain) || domain.is_within(author);
        let domain = self.domain.as_ref();
        domain.is_some_and(|domain| authors.iter().any(|author| near(author, domain)))
    }
}

/// What was found out about a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub result: Result,
    /// `d=`, where it is a name.
    pub domain: Option<Name>,
    /// `s=`, where it is a name.
    pub selector: Option<Name>,
    /// `i=` as it was written, where it says more than `d=`.
    pub identity: Option<String>,
    /// `a=`, where it is one that proves something.
    pub algorithm: Option<Algorithm>,
    /// The signature is for the whole body: no `l=`, or nothing follows what that counts.
    pub is_whole: bool,
    /// The domain says that it only tries (`t=y`); a verified signature is one all the same, because most of
    /// those that say so forgot it (RFC 6376 §3.6.1 would see none there).
    pub is_testing: bool,
    pub reason: Reason,
}

impl Finding {
    /// The domain that answers for the message: a signature that holds, for the whole body. One for a part
    /// proves nothing to DMARC, because anyone can add to the rest (RFC 6376 §8.2).
    pub fn proves(&self) -> Option<&Name> {
        let proves = self.result == Result::Pass && self.is_whole;
        self.domain.as_ref().filter(|_| proves)
    }

    /// The domain that may answer for the message: DNS did not say what its key is.
    pub fn may_prove(&self) -> Option<&Name> {
        let may = self.result == Result::TempError && self.is_whole;
        self.domain.as_ref().filter(|_| may)
    }
}

/// Reads the signatures of a header in its order, the first [`SIGNATURES_READ_MAX`].
///
/// Up to [`SIGNATURES_MAX`] of them are for [`verify`] to look at: those in line with `authors`, the domains
/// of From, before others.
pub fn read(fields: &[RawField], authors: &[Name]) -> Vec<Signature> {
    let own = fields.iter().enumerate().filter(|(_, field)| field.is("DKIM-Signature"));
    let mut found: Vec<Signature> =
        own.take(SIGNATURES_READ_MAX).map(|(place, field)| one(place, field)).collect();
    let good: Vec<usize> = (0..found.len()).filter(|&at| found[at].parsed.is_ok()).collect();
    let (first, last): (Vec<usize>, Vec<usize>) =
        good.into_iter().partition(|&at| found[at].is_near(authors));
    for at in first.into_iter().chain(last).skip(SIGNATURES_MAX) {
        found[at].parsed = Err(Reason::TooMany);
    }
    found
}

fn one(place: usize, field: &RawField) -> Signature {
    match Tags::read(field.value()) {
        Ok(tags) => {
            let (domain, selector) = field::named(&tags);
            Signature { place, domain, selector, parsed: Parsed::read(&tags, field::Kind::Dkim) }
        }
        Err(bad) => {
            Signature { place, domain: None, selector: None, parsed: Err(Reason::Tags(bad)) }
        }
    }
}

/// What is to be hashed of the body: give it to `BodyHasher`.
pub fn forms(signatures: &[Signature]) -> Vec<BodyForm> {
    signatures.iter().filter_map(|one| one.parsed.as_ref().ok()).map(|one| one.body_form).collect()
}

/// Verifies what [`read`] found, one finding for each, in the same order. `time` is now, in seconds since
/// 1970.
///
/// DNS is asked only for the keys of signatures whose dates and body are right, first for those that may be
/// in line with `authors`: others may be of strangers whose servers are slow.
pub fn verify(
    ask: &mut dyn Ask,
    signatures: &[Signature],
    authors: &[Name],
    header: &Header,
    hashes: &BodyHashes,
    time: u64,
) -> Vec<Finding> {
    let (first, last): (Vec<&Signature>, Vec<&Signature>) =
        signatures.iter().partition(|signature| signature.is_near(authors));
    let found = first.into_iter().chain(last).map(|signature| {
        let mut finding = Finding {
            result: Result::PermError,
            domain: signature.domain.clone(),
            selector: signature.selector.clone(),
            identity: None,
            algorithm: None,
            is_whole: false,
            is_testing: false,
            reason: Reason::TooMany,
        };
        let parsed = match &signature.parsed {
            Ok(parsed) => parsed,
            Err(reason) => {
                let is_bound = *reason == Reason::TooMany;
                finding.result = if is_bound { Result::Policy } else { Result::PermError };
                finding.reason = reason.clone();
                return (signature.place, finding);
            }
        };
        finding.identity = parsed.identity.as_ref().map(|identity| identity.text.clone());
        finding.algorithm = Some(parsed.algorithm);
        let outcome = match check_dates(parsed, time).and_then(|()| check_body(parsed, hashes)) {
            Ok(is_whole) => {
                finding.is_whole = is_whole;
                check_key(ask, parsed, &signed(header, signature.place, parsed))
            }
            Err(outcome) => outcome,
        };
        finding.is_testing = outcome.is_testing;
        finding.result = outcome.result;
        finding.reason = match outcome.reason {
            Reason::Verified(algorithm, bits) if !finding.is_whole => {
                Reason::VerifiedPart(algorithm, bits)
            }
            reason => reason,
        };
        (signature.place, finding)
    });
    let found: BTreeMap<usize, Finding> = found.collect();
    found.into_values().collect()
}

/// What one step of the verification came to.
pub struct Outcome {
    pub result: Result,
    pub reason: Reason,
    pub is_testing: bool,
}

impl Outcome {
    fn new(result: Result, reason: Reason) -> Outcome {
        Outcome { result, reason, is_testing: false }
    }
}

/// Whether a signature counts now (RFC 6376 §3.5, `t=` and `x=`).
pub fn check_dates(parsed: &Parsed, time: u64) -> std::result::Result<(), Outcome> {
    if let Some(at) = parsed.expires_at
        && time > at.saturating_add(SIGNATURE_LATE_MAX.as_secs())
    {
        return Err(Outcome::new(Result::Fail, Reason::Expired(at)));
    }
    if let Some(at) = parsed.signed_at
        && at > time.saturating_add(SIGNATURE_EARLY_MAX.as_secs())
    {
        return Err(Outcome::new(Result::Fail, Reason::Early(at)));
    }
    Ok(())
}

/// Whether the body is the one that was signed, and whether all of it was (RFC 6376 §6.1.3).
pub fn check_body(parsed: &Parsed, hashes: &BodyHashes) -> std::result::Result<bool, Outcome> {
    let Some(hash) = hashes.get(parsed.body_form) else {
        return Err(Outcome::new(Result::TempError, Reason::NotHashed));
    };
    match parsed.body_form.length {
        Some(length) if length > hash.octets => {
            Err(Outcome::new(Result::PermError, Reason::BodyShort))
        }
        _ if hash.sha256[..] != parsed.body_hash => Err(Outcome::new(Result::Fail, Reason::Body)),
        length => Ok(length.is_none_or(|length| length == hash.octets)),
    }
}

/// The octets that a signature in the field at `place` is about (RFC 6376 §3.7).
pub fn signed(header: &Header, place: usize, parsed: &Parsed) -> Vec<u8> {
    let names = parsed.names.iter().map(String::as_str);
    let mut octets = Vec::new();
    for field in header.named(names, place) {
        add_field(&mut octets, parsed.header_form, &field, None);
    }
    add_own(&mut octets, parsed, &header.fields()[place]);
    octets
}

/// Adds the field of the signature itself, without the value of its `b=` and the final CR LF.
pub fn add_own(octets: &mut Vec<u8>, parsed: &Parsed, field: &RawField) {
    let at = field.value_at();
    let span = &parsed.signature_span;
    add_field(octets, parsed.header_form, field, Some(at + span.start..at + span.end));
    octets.truncate(octets.len() - 2);
}

/// Asks for the key and tries it on the octets that were signed (RFC 6376 §6.1.2, §6.1.3).
///
/// Of several records at the name each is tried, [`KEY_RECORDS_MAX`] at most; the first one that verifies
/// decides, else the one that came nearest.
pub fn check_key(ask: &mut dyn Ask, parsed: &Parsed, signed: &[u8]) -> Outcome {
    let prefix = [parsed.selector.as_bytes(), b"._domainkey"].concat();
    let Some(name) = parsed.domain.below(&prefix) else {
        return Outcome::new(Result::PermError, Reason::Tag("s"));
    };
    let records = match ask.ask(&name, Kind::Txt) {
        Answer::Records(records) => records,
        Answer::NoRecords | Answer::NoName => {
            return Outcome::new(Result::PermError, Reason::NoKey(name));
        }
        Answer::Failed(said) => {
            return Outcome::new(Result::TempError, Reason::Dns(name, said));
        }
    };
    let texts = records.iter().filter_map(|record| match record {
        Record::Txt(text) => Some(text),
        Record::A(_) | Record::Aaaa(_) | Record::Mx { .. } | Record::Ptr(_) => None,
    });
    let mut best = Outcome::new(Result::PermError, Reason::NoKey(name.clone()));
    for text in texts.take(KEY_RECORDS_MAX) {
        let found = check_record(&name, text, parsed, signed);
        match found.result {
            Result::Pass => return found,
            Result::Fail => best = found,
            _ if best.result == Result::Fail => {}
            // A key that does not serve says more than one for another algorithm.
            _ if !matches!(found.reason, Reason::OtherKey(..)) => best = found,
            _ if matches!(best.reason, Reason::NoKey(_)) => best = found,
            _ => {}
        }
    }
    best
}

fn check_record(name: &Name, text: &[u8], parsed: &Parsed, signed: &[u8]) -> Outcome {
    let key = match Key::read(text) {
        Ok(key) => key,
        Err(bad) => return Outcome::new(Result::PermError, Reason::Key(name.clone(), bad)),
    };
    let is_below = parsed.identity.as_ref().is_some_and(|one| one.domain != parsed.domain);
    let (result, reason) = if key.algorithm != parsed.algorithm {
        (Result::PermError, Reason::OtherKey(name.clone(), key.algorithm))
    } else if key.is_strict && is_below {
        (Result::PermError, Reason::IdentityBelow(name.clone()))
    } else if key.verifies(signed, &parsed.signature) {
        (Result::Pass, Reason::Verified(key.algorithm, key.bits))
    } else {
        (Result::Fail, Reason::Signature(name.clone()))
    };
    Outcome { result, reason, is_testing: key.is_testing }
}
