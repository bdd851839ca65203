//! What a signature says of itself: the tags of DKIM-Signature (RFC 6376 §3.5), and of the two fields of ARC
//! that have the same tags (RFC 8617 §4.1.2, §4.1.3). Pure.

use crate::limits::trust::ARC_SETS_MAX;
use crate::limits::trust::SIGNATURE_NAMES_MAX;
use crate::mail::proof::canonical::{BodyForm, Form};
use crate::mail::proof::dkim::DkimReason;
use crate::mail::proof::name::Name;
use crate::mail::tags::{Tag, Tags, shown, trimmed, without_space};
use base64ct::{Base64Unpadded, Encoding};
use std::fmt;
use std::ops::Range;

/// How a signature was made (RFC 8301 §3.1, RFC 8463 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    RsaSha256,
    Ed25519Sha256,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Algorithm::RsaSha256 => "rsa-sha256",
            Algorithm::Ed25519Sha256 => "ed25519-sha256",
        })
    }
}

/// Which field is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureKind {
    Dkim,
    /// ARC-Message-Signature: without `v=`, and `i=` is the number of its set.
    ArcMessage,
    /// ARC-Seal: signs no body and names no fields.
    ArcSeal,
}

/// A signature that can be verified as far as its field goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedSignature {
    pub algorithm: Algorithm,
    /// `b=`, decoded.
    pub signature: Vec<u8>,
    /// Where the value of `b=` lies in the value of the field.
    pub signature_span: Range<usize>,
    /// `d=`, in ASCII (RFC 8616 §4).
    pub domain: Name,
    /// `s=`, in ASCII.
    pub selector: Name,
    pub header_form: Form,
    pub body_form: BodyForm,
    /// `bh=`, decoded.
    pub body_hash: Vec<u8>,
    /// `h=` in lower case, in its order.
    pub names: Vec<String>,
    /// `i=` of DKIM as it was written; none where it is only `@` and the domain.
    pub identity: Option<DkimIdentity>,
    /// `t=`: seconds since 1970.
    pub signed_at: Option<u64>,
    /// `x=`: seconds since 1970.
    pub expires_at: Option<u64>,
}

/// Who or what a signature is for, within its domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DkimIdentity {
    /// The whole value, without what was folded into it.
    pub text: String,
    /// What stands behind the `@`.
    pub domain: Name,
}

/// The domain and selector of a field, whatever else is wrong with it: for what is said about it.
pub fn named(tags: &Tags) -> (Option<Name>, Option<Name>) {
    let name = |tag| tags.get(tag).and_then(ascii_name);
    (name("d"), name("s"))
}

impl ParsedSignature {
    /// Reads the tags of a field.
    ///
    /// Fails with the first thing that makes the signature one that cannot be verified.
    pub fn read(tags: &Tags, kind: SignatureKind) -> Result<ParsedSignature, DkimReason> {
        if kind == SignatureKind::Dkim {
            match needed(tags, "v")? {
                b"1" => {}
                other => return Err(DkimReason::Version(shown(other))),
            }
        }
        let algorithm = match needed(tags, "a")? {
            b"rsa-sha256" => Algorithm::RsaSha256,
            b"ed25519-sha256" => Algorithm::Ed25519Sha256,
            other => return Err(DkimReason::Algorithm(shown(other))),
        };
        let signed = tags.tag("b").ok_or(DkimReason::Missing("b"))?;
        let domain = domain_name(tags, "d")?;
        let (header_form, body_form) = match kind {
            SignatureKind::ArcSeal => (Form::Relaxed, Form::Relaxed),
            SignatureKind::Dkim | SignatureKind::ArcMessage => forms(tags.get("c"))?,
        };
        let length = number(tags, "l")?;
        let (signed_at, expires_at) = (number(tags, "t")?, number(tags, "x")?);
        if signed_at.zip(expires_at).is_some_and(|(signed_at, expires_at)| expires_at <= signed_at)
        {
            return Err(DkimReason::Tag("x"));
        }
        if kind != SignatureKind::ArcSeal {
            queries(tags.get("q"))?;
        }
        let has_body = kind != SignatureKind::ArcSeal;
        Ok(ParsedSignature {
            algorithm,
            signature: base64("b", signed)?,
            signature_span: signed.span.clone(),
            selector: domain_name(tags, "s")?,
            header_form,
            body_form: BodyForm { form: body_form, length },
            body_hash: if has_body { body_hash(tags)? } else { Vec::new() },
            names: if has_body { names(needed(tags, "h")?)? } else { Vec::new() },
            identity: if kind == SignatureKind::Dkim { identity(tags, &domain)? } else { None },
            domain,
            signed_at,
            expires_at,
        })
    }
}

fn needed<'a>(tags: &Tags<'a>, name: &'static str) -> Result<&'a [u8], DkimReason> {
    tags.get(name).ok_or(DkimReason::Missing(name))
}

fn domain_name(tags: &Tags, name: &'static str) -> Result<Name, DkimReason> {
    let text = needed(tags, name)?;
    let found = ascii_name(text).ok_or(DkimReason::Tag(name))?;
    // A domain is never a single label (RFC 6376 §3.5), a selector may be one.
    let fits = name != "d" || found.parent().is_some();
    if fits { Ok(found) } else { Err(DkimReason::Tag(name)) }
}

/// A name in ASCII or Unicode as DNS knows it; none unless it is made of letters, digits, `-` and `_`.
pub fn ascii_name(text: &[u8]) -> Option<Name> {
    let name = Name::of_unicode(text)?;
    let good = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_.".contains(octet);
    let is_host = !text.ends_with(b".") && name.as_bytes().iter().all(good);
    is_host.then_some(name)
}

fn base64(name: &'static str, tag: &Tag) -> Result<Vec<u8>, DkimReason> {
    let found = decoded(tag.value).filter(|octets| !octets.is_empty());
    found.ok_or(DkimReason::Tag(name))
}

/// Base64 with white space in it; the signs at its end may be left out (RFC 6376 §2.10).
pub fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let text = without_space(text);
    let bare = text.strip_suffix(b"==").or(text.strip_suffix(b"=")).unwrap_or(&text);
    Base64Unpadded::decode_vec(std::str::from_utf8(bare).ok()?).ok()
}

fn body_hash(tags: &Tags) -> Result<Vec<u8>, DkimReason> {
    let tag = tags.tag("bh").ok_or(DkimReason::Missing("bh"))?;
    base64("bh", tag)
}

/// `c=`: header and body; the body is simple where only one form is named.
fn forms(value: Option<&[u8]>) -> Result<(Form, Form), DkimReason> {
    let form = |text: &[u8]| match text {
        b"simple" => Ok(Form::Simple),
        b"relaxed" => Ok(Form::Relaxed),
        _ => Err(DkimReason::Tag("c")),
    };
    let Some(value) = value else { return Ok((Form::Simple, Form::Simple)) };
    match value.iter().position(|&octet| octet == b'/') {
        Some(slash) => Ok((form(trimmed(&value[..slash]))?, form(trimmed(&value[slash + 1..]))?)),
        None => Ok((form(value)?, Form::Simple)),
    }
}

/// A number of up to 76 digits (RFC 6376 §3.5); what is too large to count is as large as can be.
fn number(tags: &Tags, name: &'static str) -> Result<Option<u64>, DkimReason> {
    let Some(value) = tags.get(name) else { return Ok(None) };
    if !(1..=76).contains(&value.len()) || !value.iter().all(u8::is_ascii_digit) {
        return Err(DkimReason::Tag(name));
    }
    let add = |sum: u64, digit: &u8| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    Ok(Some(value.iter().fold(0, add)))
}

/// `q=`: DNS has to be one of the ways to the key.
fn queries(value: Option<&[u8]>) -> Result<(), DkimReason> {
    let Some(value) = value else { return Ok(()) };
    let mut ways = value.split(|&octet| octet == b':').map(trimmed);
    if ways.any(|way| way == b"dns/txt" || way == b"dns") {
        Ok(())
    } else {
        Err(DkimReason::Tag("q"))
    }
}

/// `h=`: From has to be among the names (RFC 6376 §5.4), of which there are [`SIGNATURE_NAMES_MAX`] at most.
/// Empty names stand for nothing.
fn names(value: &[u8]) -> Result<Vec<String>, DkimReason> {
    let mut names = Vec::new();
    for name in value.split(|&octet| octet == b':').map(trimmed).filter(|name| !name.is_empty()) {
        if names.len() == SIGNATURE_NAMES_MAX || !name.iter().all(u8::is_ascii_graphic) {
            return Err(DkimReason::Tag("h"));
        }
        names.push(name.iter().map(|octet| char::from(octet.to_ascii_lowercase())).collect());
    }
    let has_from = names.iter().any(|name: &String| name == "from");
    if has_from { Ok(names) } else { Err(DkimReason::FromNotSigned) }
}

/// `i=`: its domain is `d=` or lies below it (RFC 6376 §3.5).
fn identity(tags: &Tags, domain: &Name) -> Result<Option<DkimIdentity>, DkimReason> {
    let Some(value) = tags.get("i") else { return Ok(None) };
    let value = without_space(value);
    let at = memchr::memrchr(b'@', &value).ok_or(DkimReason::Tag("i"))?;
    let found = ascii_name(&value[at + 1..]).ok_or(DkimReason::Tag("i"))?;
    if !found.is_within(domain) {
        return Err(DkimReason::IdentityOutside);
    }
    if at == 0 && found == *domain {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&value).into_owned();
    Ok(Some(DkimIdentity { text, domain: found }))
}

/// The number of an ARC set, 1 to 50 (RFC 8617 §4.2.1).
pub fn instance(text: &[u8]) -> Option<usize> {
    let text = trimmed(text);
    let digits = (1..=4).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    if !digits {
        return None;
    }
    let number = text.iter().fold(0, |sum, digit| 10 * sum + usize::from(digit - b'0'));
    (1..=ARC_SETS_MAX).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "v=1; a=rsa-sha256; d=a.test; s=s1; h=From : to; bh=AAAA; b=AA AA";

    fn read(text: &str) -> Result<ParsedSignature, DkimReason> {
        ParsedSignature::read(&Tags::read(text.as_bytes()).unwrap(), SignatureKind::Dkim)
    }

    #[test]
    fn good_ones() {
        let parsed = read(GOOD).unwrap();
        assert_eq!((parsed.header_form, parsed.body_form.form), (Form::Simple, Form::Simple));
        assert_eq!((parsed.names.len(), parsed.signature.len()), (2, 3));
        let parsed =
            read(&format!("{GOOD}; c=relaxed; l=12; t=1; x=99999999999999999999999; q=dns/txt"));
        let parsed = parsed.unwrap();
        assert_eq!((parsed.header_form, parsed.body_form.form), (Form::Relaxed, Form::Simple));
        assert_eq!((parsed.body_form.length, parsed.expires_at), (Some(12), Some(u64::MAX)));
        assert_eq!(read(&format!("{GOOD}; i=@a.test")).unwrap().identity, None);
        let identity = read(&format!("{GOOD}; i=ann@b.A.test")).unwrap().identity.unwrap();
        assert_eq!(identity.domain, Name::parse(b"b.a.test").unwrap());
    }

    #[test]
    fn names_in_unicode() {
        let text = GOOD.replace("a.test", "b\u{fc}cher.test");
        let parsed = read(&format!("{text}; i=j\u{f6}rg@xn--bcher-kva.test")).unwrap();
        assert_eq!(parsed.domain.to_string(), "xn--bcher-kva.test");
        assert_eq!(parsed.identity.unwrap().text, "j\u{f6}rg@xn--bcher-kva.test");
    }

    #[test]
    fn bad_ones() {
        for (from, to, reason) in [
            ("v=1", "v=2", DkimReason::Version("2".into())),
            ("v=1; ", "", DkimReason::Missing("v")),
            ("rsa-sha256", "rsa-sha1", DkimReason::Algorithm("rsa-sha1".into())),
            ("d=a.test", "d=test", DkimReason::Tag("d")),
            ("d=a.test", "d=a..test", DkimReason::Tag("d")),
            ("d=a.test", "d=a.te st", DkimReason::Tag("d")),
            ("s=s1", "s=", DkimReason::Tag("s")),
            ("h=From", "h=Fromm", DkimReason::FromNotSigned),
            ("bh=AAAA", "bh=", DkimReason::Tag("bh")),
            ("b=AA AA", "b=A", DkimReason::Tag("b")),
            ("v=1", "v=1; c=relaxed/", DkimReason::Tag("c")),
            ("v=1", "v=1; t=-1", DkimReason::Tag("t")),
            ("v=1", "v=1; l=", DkimReason::Tag("l")),
            ("v=1", "v=1; t=5; x=5", DkimReason::Tag("x")),
            ("v=1", "v=1; q=http", DkimReason::Tag("q")),
            ("v=1", "v=1; i=@b.test", DkimReason::IdentityOutside),
            ("v=1", "v=1; i=@xa.test", DkimReason::IdentityOutside),
            ("v=1", "v=1; i=a.test", DkimReason::Tag("i")),
        ] {
            assert_eq!(read(&GOOD.replacen(from, to, 1)).unwrap_err(), reason, "{to}");
        }
    }

    #[test]
    fn instances() {
        let found = |text: &str| instance(text.as_bytes());
        assert_eq!((found("1"), found(" 50 "), found("01")), (Some(1), Some(50), Some(1)));
        for text in ["", "0", "51", "a", "1 1", "+1", "00000000001"] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
