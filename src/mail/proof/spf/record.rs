//! The text of an SPF record and its terms (RFC 7208 §4.5, §4.6, §5, §6).
//!
//! A record is checked whole before anything in it counts, then read term by term from its text: what is
//! held does not grow with the number of terms.

use super::SpfResult;
use super::macros::{self, MacroPart, MacroPlace};
use crate::limits::trust::SPF_RECORD_MAX;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A record without an error of syntax.
#[derive(Clone, Copy, Debug)]
pub struct SpfRecord<'a> {
    /// What stands behind the version.
    terms: &'a [u8],
    pub redirect: Option<Spec<'a>>,
    pub explanation: Option<Spec<'a>>,
    /// Whether there is an `all`, which makes `redirect` idle (RFC 7208 §5.1).
    pub has_all: bool,
}

/// A name with macros in it, not yet expanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec<'a>(pub &'a [u8]);

/// A mechanism with what a match of it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Directive<'a> {
    pub qualifier: SpfResult,
    pub mechanism: SpfMechanism<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpfMechanism<'a> {
    All,
    Include(Spec<'a>),
    /// Without a name: that of the record.
    A(Option<Spec<'a>>, Lengths),
    Mx(Option<Spec<'a>>, Lengths),
    Ptr(Option<Spec<'a>>),
    Ip4(Ipv4Addr, u8),
    Ip6(Ipv6Addr, u8),
    Exists(Spec<'a>),
}

/// How many bits of an address count, by its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    pub ip4: u8,
    pub ip6: u8,
}

/// Why a record does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRecord<'a> {
    Term(&'a [u8]),
    /// A modifier that may stand only once (RFC 7208 §6).
    Twice(&'static str),
    /// Octets, over [`SPF_RECORD_MAX`].
    TooLong(usize),
}

/// Whether a TXT record is one of SPF at all (RFC 7208 §4.5).
pub fn is_record(text: &[u8]) -> bool {
    behind_version(text).is_some()
}

fn behind_version(text: &[u8]) -> Option<&[u8]> {
    let (version, rest) = text.split_at_checked(b"v=spf1".len())?;
    let ends = rest.first().is_none_or(|&octet| octet == b' ');
    (version.eq_ignore_ascii_case(b"v=spf1") && ends).then_some(rest)
}

enum Term<'a> {
    Directive(Directive<'a>),
    Redirect(Spec<'a>),
    Explanation(Spec<'a>),
    /// A modifier that nobody knows (RFC 7208 §6).
    Unknown,
}

impl<'a> SpfRecord<'a> {
    /// Reads a text for which [`is_record`] holds. One error anywhere is an error of the whole
    /// (RFC 7208 §4.6).
    pub fn parse(text: &'a [u8]) -> Result<SpfRecord<'a>, BadRecord<'a>> {
        if text.len() > SPF_RECORD_MAX {
            return Err(BadRecord::TooLong(text.len()));
        }
        let terms = behind_version(text).unwrap_or_default();
        let mut record = SpfRecord { terms, redirect: None, explanation: None, has_all: false };
        for term in split(terms) {
            match read(term).ok_or(BadRecord::Term(term))? {
                Term::Directive(directive) => {
                    record.has_all |= directive.mechanism == SpfMechanism::All;
                }
                Term::Redirect(spec) => {
                    if record.redirect.replace(spec).is_some() {
                        return Err(BadRecord::Twice("redirect="));
                    }
                }
                Term::Explanation(spec) => {
                    if record.explanation.replace(spec).is_some() {
                        return Err(BadRecord::Twice("exp="));
                    }
                }
                Term::Unknown => {}
            }
        }
        Ok(record)
    }

    /// The directives in their order, each with its text.
    pub fn directives(self) -> impl Iterator<Item = (&'a [u8], Directive<'a>)> {
        split(self.terms).filter_map(|text| match read(text)? {
            Term::Directive(directive) => Some((text, directive)),
            Term::Redirect(_) | Term::Explanation(_) | Term::Unknown => None,
        })
    }
}

fn split(terms: &[u8]) -> impl Iterator<Item = &[u8]> {
    terms.split(|&octet| octet == b' ').filter(|term| !term.is_empty())
}

fn read(text: &[u8]) -> Option<Term<'_>> {
    let qualifier = match text.first()? {
        b'+' => Some(SpfResult::Pass),
        b'-' => Some(SpfResult::Fail),
        b'~' => Some(SpfResult::SoftFail),
        b'?' => Some(SpfResult::Neutral),
        _ => None,
    };
    let rest = if qualifier.is_some() { &text[1..] } else { text };
    let in_name = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_.".contains(octet);
    let end = rest.iter().position(|octet| !in_name(octet)).unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    if let (None, Some((b'=', value))) = (qualifier, rest.split_first()) {
        return modifier(name, value);
    }
    let mechanism = mechanism(&name.to_ascii_lowercase(), rest)?;
    Some(Term::Directive(Directive { qualifier: qualifier.unwrap_or(SpfResult::Pass), mechanism }))
}

fn modifier<'a>(name: &[u8], value: &'a [u8]) -> Option<Term<'a>> {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    if !name.first()?.is_ascii_alphabetic() {
        return None;
    }
    if is("redirect") {
        return Spec::parse(value).map(Term::Redirect);
    }
    if is("exp") {
        return Spec::parse(value).map(Term::Explanation);
    }
    let good = macros::parts(value, MacroPlace::Text).all(|part| part.is_ok());
    (good && !value.contains(&b' ')).then_some(Term::Unknown)
}

/// `name` in lower case; `rest` begins with what follows it.
fn mechanism<'a>(name: &[u8], rest: &'a [u8]) -> Option<SpfMechanism<'a>> {
    let argument = || rest.strip_prefix(b":");
    Some(match name {
        b"all" => rest.is_empty().then_some(SpfMechanism::All)?,
        b"include" => SpfMechanism::Include(Spec::parse(argument()?)?),
        b"exists" => SpfMechanism::Exists(Spec::parse(argument()?)?),
        b"ptr" => SpfMechanism::Ptr(optional(rest)?),
        b"a" | b"mx" => {
            let (spec, lengths) = lengths(rest)?;
            let spec = optional(spec)?;
            match name {
                b"a" => SpfMechanism::A(spec, lengths),
                _ => SpfMechanism::Mx(spec, lengths),
            }
        }
        b"ip4" => {
            let (address, bits) = network(argument()?, 32)?;
            SpfMechanism::Ip4(address.parse().ok()?, bits)
        }
        b"ip6" => {
            let (address, bits) = network(argument()?, 128)?;
            SpfMechanism::Ip6(address.parse().ok()?, bits)
        }
        _ => return None,
    })
}

/// Nothing, or a colon and a name.
fn optional(rest: &[u8]) -> Option<Option<Spec<'_>>> {
    match rest.split_first() {
        None => Some(None),
        Some((b':', spec)) => Spec::parse(spec).map(Some),
        Some(_) => None,
    }
}

/// An address and its bits, all of them where none are given.
fn network(text: &[u8], most: u8) -> Option<(&str, u8)> {
    let text = std::str::from_utf8(text).ok()?;
    match text.split_once('/') {
        None => Some((text, most)),
        Some((address, bits)) => Some((address, number(bits.as_bytes(), most)?)),
    }
}

/// Digits without a zero in front, at most `most`.
fn number(digits: &[u8], most: u8) -> Option<u8> {
    if digits.len() > 1 && digits.starts_with(b"0") || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (number <= most).then_some(number)
}

/// What stands before the lengths, and these: `/24`, `//64` or `/24//64` at the end. A slash is also an
/// octet of names, which no name ends in (RFC 7208 §5.6, §7.1).
fn lengths(rest: &[u8]) -> Option<(&[u8], Lengths)> {
    let behind_slash = |text: &[u8]| {
        let digits = text.iter().rev().take_while(|octet| octet.is_ascii_digit()).count();
        let start = text.len() - digits;
        (digits > 0 && text[..start].ends_with(b"/")).then_some(start)
    };
    let (mut rest, mut lengths) = (rest, Lengths { ip4: 32, ip6: 128 });
    if let Some(start) = behind_slash(rest).filter(|start| rest[..*start].ends_with(b"//")) {
        lengths.ip6 = number(&rest[start..], 128)?;
        rest = &rest[..start - 2];
    }
    if let Some(start) = behind_slash(rest) {
        lengths.ip4 = number(&rest[start..], 32)?;
        rest = &rest[..start - 1];
    }
    Some((rest, lengths))
}

impl<'a> Spec<'a> {
    /// Reads a `domain-spec`: a macro string that ends in a macro, or in a dot and a top label
    /// (RFC 7208 §7.1).
    fn parse(text: &'a [u8]) -> Option<Spec<'a>> {
        let mut last = None;
        for part in macros::parts(text, MacroPlace::Name) {
            last = Some(part.ok()?);
        }
        let good = match last? {
            MacroPart::Macro(_) | MacroPart::Escape(_) => true,
            MacroPart::Literal(literal) => {
                let literal = literal.strip_suffix(b".").unwrap_or(literal);
                let dot = literal.iter().rposition(|&octet| octet == b'.');
                dot.is_some_and(|dot| is_top_label(&literal[dot + 1..]))
            }
        };
        good.then_some(Spec(text))
    }

    /// Whether the local part of the sender stands in it.
    pub fn has_local_part(self) -> bool {
        macros::parts(self.0, MacroPlace::Name).any(
            |part| matches!(part, Ok(MacroPart::Macro(part)) if matches!(part.letter, b'l' | b's')),
        )
    }
}

/// Letters, digits and hyphens within, and not digits alone.
fn is_top_label(label: &[u8]) -> bool {
    let inner = |octet: &u8| octet.is_ascii_alphanumeric() || *octet == b'-';
    label.iter().all(inner)
        && !label.starts_with(b"-")
        && !label.ends_with(b"-")
        && label.iter().any(|octet| !octet.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_known_by_their_version() {
        for good in ["v=spf1", "V=SpF1 -all", "v=spf1 "] {
            assert!(is_record(good.as_bytes()), "{good}");
        }
        for other in ["v=spf10", "v=spf1-all", " v=spf1", "v=spf", "", "v=spf1\t-all"] {
            assert!(!is_record(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn terms() {
        let spec = |text: &'static str| Spec(text.as_bytes());
        let all = Lengths { ip4: 32, ip6: 128 };
        let table = [
            ("all", SpfMechanism::All),
            ("a", SpfMechanism::A(None, all)),
            ("A/24", SpfMechanism::A(None, Lengths { ip4: 24, ip6: 128 })),
            ("a//64", SpfMechanism::A(None, Lengths { ip4: 32, ip6: 64 })),
            ("a:x.test/0//0", SpfMechanism::A(Some(spec("x.test")), Lengths { ip4: 0, ip6: 0 })),
            ("mx:a:b/c.test.", SpfMechanism::Mx(Some(spec("a:b/c.test.")), all)),
            ("mx:%{l/}/8", SpfMechanism::Mx(Some(spec("%{l/}")), Lengths { ip4: 8, ip6: 128 })),
            ("ptr", SpfMechanism::Ptr(None)),
            ("ptr:%%", SpfMechanism::Ptr(Some(spec("%%")))),
            ("ip4:192.0.2.0/24", SpfMechanism::Ip4([192, 0, 2, 0].into(), 24)),
            ("ip6:::1", SpfMechanism::Ip6(Ipv6Addr::LOCALHOST, 128)),
            ("exists:%{i}.x-y", SpfMechanism::Exists(spec("%{i}.x-y"))),
            ("include:a.b", SpfMechanism::Include(spec("a.b"))),
        ];
        for (text, wanted) in table {
            for (sign, qualifier) in [("", SpfResult::Pass), ("?", SpfResult::Neutral)] {
                let text = format!("v=spf1 {sign}{text}");
                let record = SpfRecord::parse(text.as_bytes()).unwrap();
                let directives: Vec<_> = record.directives().map(|(_, found)| found).collect();
                assert_eq!(directives, [Directive { qualifier, mechanism: wanted }], "{text}");
            }
        }
        let broken = [
            "all/8",
            "all:x",
            "a/33",
            "a/024",
            "a//129",
            "a/24/64",
            "a/",
            "a//",
            "a:",
            "a/8:x.test",
            "ptr/0",
            "ptr:",
            "include",
            "include:",
            "include:x.test/8",
            "include:museum",
            "exists",
            "ip4",
            "ip4:",
            "ip4:1.2.3",
            "ip4:1.2.3.4/33",
            "ip4:1.2.3.4//32",
            "ip4:01.2.3.4",
            "ip4:1.2.3.4/",
            "ip4:1.2.3.4/+8",
            "ip6:1::2::3",
            "ip6:::/129",
            "ip:1.2.3.4",
            "a:x.-y",
            "a:x.y-",
            "a:1.2.3.4",
            "a:x.test:25",
            "a:x..",
            "a:.",
            "+redirect=x.test",
            "exp=",
            "1x=a",
            "=all",
            "moo.cow:x=y",
            "x=%a",
            "x=\u{e9}",
            "a\t-all",
            "+",
            "++all",
            "a:%{c}.test",
            "redirect=x.test redirect=x.test",
            "exp=x.test exp=y.test",
        ];
        for text in broken {
            let text = format!("v=spf1 {text}");
            assert!(SpfRecord::parse(text.as_bytes()).is_err(), "{text}");
        }
        let good = "v=spf1 x= moo.cow-far_out=%{c}man:dog/cat EXP=a.test redirect=%{d}";
        let record = SpfRecord::parse(good.as_bytes()).unwrap();
        assert_eq!(record.redirect, Some(spec("%{d}")));
        assert_eq!(record.explanation, Some(spec("a.test")));
    }
}
