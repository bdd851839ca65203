//! Signatures of domains (RFC 6376, with RFC 8301, 8463 and 8616): which a message has, and which hold. Pure.
//!
//! Two steps, because the body passes by only once: [`read`] at the end of the header says what is to be
//! hashed, [`verify`] at the end of the message asks for the keys. Field and key have files of their own.

pub mod field;
pub mod key;
pub mod ours;
pub mod sign;

use crate::limits::trust::KEY_RECORDS_MAX;
use crate::limits::trust::SIGNATURE_EARLY_MAX;
use crate::limits::trust::SIGNATURE_LATE_MAX;
use crate::limits::trust::SIGNATURES_MAX;
use crate::limits::trust::SIGNATURES_READ_MAX;
use crate::mail::proof::canonical::{BodyForm, BodyHashes, add_field};
use crate::mail::proof::name::Name;
use crate::mail::proof::raw::{RawField, RawHeader};
use crate::mail::proof::{Ask, QueryAnswer, QueryType, ResourceRecord};
use crate::mail::tags::{BadTags, Tags};
use field::{Algorithm, ParsedSignature};
use key::{BadKeyRecord, DkimKey};
use std::collections::BTreeMap;
use std::fmt;

/// What a signature proves, in the words of RFC 8601 §2.7.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DkimResult {
    Pass,
    Fail,
    /// It was not looked at: there are more than [`SIGNATURES_MAX`].
    Policy,
    /// DNS did not say what the key is.
    TempError,
    PermError,
}

impl fmt::Display for DkimResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DkimResult::Pass => "pass",
            DkimResult::Fail => "fail",
            DkimResult::Policy => "policy",
            DkimResult::TempError => "temperror",
            DkimResult::PermError => "permerror",
        })
    }
}

/// What decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DkimReason {
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
    Key(Name, BadKeyRecord),
    /// The key at this name is for another algorithm.
    OtherKey(Name, Algorithm),
    /// DNS did not say what is at this name.
    Dns(Name, String),
}

impl fmt::Display for DkimReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DkimReason::Verified(algorithm, bits) => write!(f, "{bits} bits {algorithm}"),
            DkimReason::VerifiedPart(algorithm, bits) => {
                write!(f, "{bits} bits {algorithm}, but the body goes on past l=")
            }
            DkimReason::TooMany => write!(f, "only {SIGNATURES_MAX} signatures are verified"),
            DkimReason::Tags(bad) => write!(f, "the signature field: {bad}"),
            DkimReason::Missing(tag) => write!(f, "the signature has no {tag}="),
            DkimReason::Tag(tag) => write!(f, "{tag}= of the signature cannot be used"),
            DkimReason::Version(text) => write!(f, "the signature is of version \"{text}\""),
            DkimReason::Algorithm(text) => write!(f, "the algorithm \"{text}\" proves nothing"),
            DkimReason::FromNotSigned => f.write_str("From is not signed"),
            DkimReason::IdentityOutside => f.write_str("i= is outside d="),
            DkimReason::IdentityBelow(name) => write!(f, "the key at {name} forbids i= below d="),
            DkimReason::Expired(at) => write!(f, "the signature ended at {at}"),
            DkimReason::Early(at) => write!(f, "the signature is dated to come, {at}"),
            DkimReason::Body => f.write_str("the body was changed"),
            DkimReason::BodyShort => f.write_str("the body is shorter than l="),
            DkimReason::NotHashed => f.write_str("the body was not hashed in this form"),
            DkimReason::Signature(name) => write!(f, "the key at {name} did not sign these fields"),
            DkimReason::NoKey(name) => write!(f, "no key at {name}"),
            DkimReason::Key(name, bad) => write!(f, "{name}: {bad}"),
            DkimReason::OtherKey(name, algorithm) => {
                write!(f, "the key at {name} is for {algorithm}")
            }
            DkimReason::Dns(name, said) => write!(f, "TXT {name}: {said}"),
        }
    }
}

/// A signature as its field has it.
#[derive(Clone, Debug)]
pub struct DkimSignature {
    /// Which field of the header it is.
    pub place: usize,
    /// `d=`, where it is a name.
    pub domain: Option<Name>,
    /// `s=`, where it is a name.
    pub selector: Option<Name>,
    /// What is to be verified, or why nothing can be.
    pub parsed: Result<ParsedSignature, DkimReason>,
}

impl DkimSignature {
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
pub struct DkimFinding {
    pub result: DkimResult,
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
    pub reason: DkimReason,
}

impl DkimFinding {
    /// The domain that answers for the message: a signature that holds, for the whole body. One for a part
    /// proves nothing to DMARC, because anyone can add to the rest (RFC 6376 §8.2).
    pub fn proves(&self) -> Option<&Name> {
        let proves = self.result == DkimResult::Pass && self.is_whole;
        self.domain.as_ref().filter(|_| proves)
    }

    /// The domain that may answer for the message: DNS did not say what its key is.
    pub fn may_prove(&self) -> Option<&Name> {
        let may = self.result == DkimResult::TempError && self.is_whole;
        self.domain.as_ref().filter(|_| may)
    }
}

/// Reads the signatures of a header in its order, the first [`SIGNATURES_READ_MAX`].
///
/// Up to [`SIGNATURES_MAX`] of them are for [`verify`] to look at: those in line with `authors`, the domains
/// of From, before others.
pub fn read(fields: &[RawField], authors: &[Name]) -> Vec<DkimSignature> {
    let own = fields.iter().enumerate().filter(|(_, field)| field.is("DKIM-Signature"));
    let mut found: Vec<DkimSignature> =
        own.take(SIGNATURES_READ_MAX).map(|(place, field)| one(place, field)).collect();
    let good: Vec<usize> = (0..found.len()).filter(|&at| found[at].parsed.is_ok()).collect();
    let (first, last): (Vec<usize>, Vec<usize>) =
        good.into_iter().partition(|&at| found[at].is_near(authors));
    for at in first.into_iter().chain(last).skip(SIGNATURES_MAX) {
        found[at].parsed = Err(DkimReason::TooMany);
    }
    found
}

fn one(place: usize, field: &RawField) -> DkimSignature {
    match Tags::read(field.value()) {
        Ok(tags) => {
            let (domain, selector) = field::named(&tags);
            DkimSignature {
                place,
                domain,
                selector,
                parsed: ParsedSignature::read(&tags, field::SignatureKind::Dkim),
            }
        }
        Err(bad) => DkimSignature {
            place,
            domain: None,
            selector: None,
            parsed: Err(DkimReason::Tags(bad)),
        },
    }
}

/// What is to be hashed of the body: give it to `BodyHasher`.
pub fn forms(signatures: &[DkimSignature]) -> Vec<BodyForm> {
    signatures.iter().filter_map(|one| one.parsed.as_ref().ok()).map(|one| one.body_form).collect()
}

/// Verifies what [`read`] found, one finding for each, in the same order. `time` is now, in seconds since
/// 1970.
///
/// DNS is asked only for the keys of signatures whose dates and body are right, first for those that may be
/// in line with `authors`: others may be of strangers whose servers are slow.
pub fn verify(
    ask: &mut dyn Ask,
    signatures: &[DkimSignature],
    authors: &[Name],
    header: &RawHeader,
    hashes: &BodyHashes,
    time: u64,
) -> Vec<DkimFinding> {
    let (first, last): (Vec<&DkimSignature>, Vec<&DkimSignature>) =
        signatures.iter().partition(|signature| signature.is_near(authors));
    let found = first.into_iter().chain(last).map(|signature| {
        let mut finding = DkimFinding {
            result: DkimResult::PermError,
            domain: signature.domain.clone(),
            selector: signature.selector.clone(),
            identity: None,
            algorithm: None,
            is_whole: false,
            is_testing: false,
            reason: DkimReason::TooMany,
        };
        let parsed = match &signature.parsed {
            Ok(parsed) => parsed,
            Err(reason) => {
                let is_bound = *reason == DkimReason::TooMany;
                finding.result = if is_bound { DkimResult::Policy } else { DkimResult::PermError };
                finding.reason = reason.clone();
                return (signature.place, finding);
            }
        };
        finding.identity = parsed.identity.as_ref().map(|identity| identity.text.clone());
        finding.algorithm = Some(parsed.algorithm);
        let step = match check_dates(parsed, time).and_then(|()| check_body(parsed, hashes)) {
            Ok(is_whole) => {
                finding.is_whole = is_whole;
                check_key(ask, parsed, &signed(header, signature.place, parsed))
            }
            Err(step) => step,
        };
        finding.is_testing = step.is_testing;
        finding.result = step.result;
        finding.reason = match step.reason {
            DkimReason::Verified(algorithm, bits) if !finding.is_whole => {
                DkimReason::VerifiedPart(algorithm, bits)
            }
            reason => reason,
        };
        (signature.place, finding)
    });
    let found: BTreeMap<usize, DkimFinding> = found.collect();
    found.into_values().collect()
}

/// What one step of the verification came to.
pub struct StepResult {
    pub result: DkimResult,
    pub reason: DkimReason,
    pub is_testing: bool,
}

impl StepResult {
    fn new(result: DkimResult, reason: DkimReason) -> StepResult {
        StepResult { result, reason, is_testing: false }
    }
}

/// Whether a signature counts now (RFC 6376 §3.5, `t=` and `x=`).
pub fn check_dates(parsed: &ParsedSignature, time: u64) -> Result<(), StepResult> {
    if let Some(at) = parsed.expires_at
        && time > at.saturating_add(SIGNATURE_LATE_MAX.as_secs())
    {
        return Err(StepResult::new(DkimResult::Fail, DkimReason::Expired(at)));
    }
    if let Some(at) = parsed.signed_at
        && at > time.saturating_add(SIGNATURE_EARLY_MAX.as_secs())
    {
        return Err(StepResult::new(DkimResult::Fail, DkimReason::Early(at)));
    }
    Ok(())
}

/// Whether the body is the one that was signed, and whether all of it was (RFC 6376 §6.1.3).
pub fn check_body(parsed: &ParsedSignature, hashes: &BodyHashes) -> Result<bool, StepResult> {
    let Some(hash) = hashes.get(parsed.body_form) else {
        return Err(StepResult::new(DkimResult::TempError, DkimReason::NotHashed));
    };
    match parsed.body_form.length {
        Some(length) if length > hash.octets => {
            Err(StepResult::new(DkimResult::PermError, DkimReason::BodyShort))
        }
        _ if hash.sha256[..] != parsed.body_hash => {
            Err(StepResult::new(DkimResult::Fail, DkimReason::Body))
        }
        length => Ok(length.is_none_or(|length| length == hash.octets)),
    }
}

/// The octets that a signature in the field at `place` is about (RFC 6376 §3.7).
pub fn signed(header: &RawHeader, place: usize, parsed: &ParsedSignature) -> Vec<u8> {
    let names = parsed.names.iter().map(String::as_str);
    let mut octets = Vec::new();
    for field in header.named(names, place) {
        add_field(&mut octets, parsed.header_form, &field, None);
    }
    add_own(&mut octets, parsed, &header.fields()[place]);
    octets
}

/// Adds the field of the signature itself, without the value of its `b=` and the final CR LF.
pub fn add_own(octets: &mut Vec<u8>, parsed: &ParsedSignature, field: &RawField) {
    let at = field.value_at();
    let span = &parsed.signature_span;
    add_field(octets, parsed.header_form, field, Some(at + span.start..at + span.end));
    octets.truncate(octets.len() - 2);
}

/// Asks for the key and tries it on the octets that were signed (RFC 6376 §6.1.2, §6.1.3).
///
/// Of several records at the name each is tried, [`KEY_RECORDS_MAX`] at most; the first one that verifies
/// decides, else the one that came nearest.
pub fn check_key(ask: &mut dyn Ask, parsed: &ParsedSignature, signed: &[u8]) -> StepResult {
    let prefix = [parsed.selector.as_bytes(), b"._domainkey"].concat();
    let Some(name) = parsed.domain.below(&prefix) else {
        return StepResult::new(DkimResult::PermError, DkimReason::Tag("s"));
    };
    let records = match ask.ask(&name, QueryType::Txt) {
        QueryAnswer::Records(records) => records,
        QueryAnswer::NoRecords | QueryAnswer::NoName => {
            return StepResult::new(DkimResult::PermError, DkimReason::NoKey(name));
        }
        QueryAnswer::Failed(said) => {
            return StepResult::new(DkimResult::TempError, DkimReason::Dns(name, said));
        }
    };
    let texts = records.iter().filter_map(|record| match record {
        ResourceRecord::Txt(text) => Some(text),
        ResourceRecord::A(_)
        | ResourceRecord::Aaaa(_)
        | ResourceRecord::Mx { .. }
        | ResourceRecord::Ptr(_) => None,
    });
    let mut best = StepResult::new(DkimResult::PermError, DkimReason::NoKey(name.clone()));
    for text in texts.take(KEY_RECORDS_MAX) {
        let found = check_record(&name, text, parsed, signed);
        match found.result {
            DkimResult::Pass => return found,
            DkimResult::Fail => best = found,
            _ if best.result == DkimResult::Fail => {}
            // A key that does not serve says more than one for another algorithm.
            _ if !matches!(found.reason, DkimReason::OtherKey(..)) => best = found,
            _ if matches!(best.reason, DkimReason::NoKey(_)) => best = found,
            _ => {}
        }
    }
    best
}

fn check_record(name: &Name, text: &[u8], parsed: &ParsedSignature, signed: &[u8]) -> StepResult {
    let key = match DkimKey::read(text) {
        Ok(key) => key,
        Err(bad) => {
            return StepResult::new(DkimResult::PermError, DkimReason::Key(name.clone(), bad));
        }
    };
    let is_below = parsed.identity.as_ref().is_some_and(|one| one.domain != parsed.domain);
    let (result, reason) = if key.algorithm != parsed.algorithm {
        (DkimResult::PermError, DkimReason::OtherKey(name.clone(), key.algorithm))
    } else if key.is_strict && is_below {
        (DkimResult::PermError, DkimReason::IdentityBelow(name.clone()))
    } else if key.verifies(signed, &parsed.signature) {
        (DkimResult::Pass, DkimReason::Verified(key.algorithm, key.bits))
    } else {
        (DkimResult::Fail, DkimReason::Signature(name.clone()))
    };
    StepResult { result, reason, is_testing: key.is_testing }
}
