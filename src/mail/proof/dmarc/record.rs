//! The text of a DMARC policy record (RFC 9989, 4.7 and 4.8).
//!
//! Only the version decides whether there is a record; what is broken behind it counts as if it were not
//! there. That is why a tag that comes twice counts by the first, where a key of DKIM would be none.

use crate::mail::tags;
use std::fmt;

/// What a domain asks for mail that fails; the later is the stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Policy {
    None,
    Quarantine,
    Reject,
}

/// The word of RFC 9989, 9.1.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Policy::None => "none",
            Policy::Quarantine => "quarantine",
            Policy::Reject => "reject",
        })
    }
}

impl Policy {
    fn parse(value: &[u8]) -> Option<Policy> {
        let known = [Policy::None, Policy::Quarantine, Policy::Reject];
        known.into_iter().find(|known| value.eq_ignore_ascii_case(known.to_string().as_bytes()))
    }

    /// One level below, as a domain asks that tests its policy (`t=y`).
    pub fn lowered(self) -> Policy {
        match self {
            Policy::Reject => Policy::Quarantine,
            Policy::Quarantine | Policy::None => Policy::None,
        }
    }
}

/// `psd=`: whether names are handed out to others below a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suffix {
    Yes,
    No,
    Unsaid,
}

/// A record that names its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DmarcRecord {
    /// None where the record asks for nothing that could be done: DMARC is not applied (RFC 9989, 4.10.1).
    pub policies: Option<Policies>,
    /// `adkim=s` and `aspf=s`.
    pub strict_dkim: bool,
    pub strict_spf: bool,
    pub suffix: Suffix,
    /// `t=y`
    pub testing: bool,
}

/// `p=`, and for names below `sp=` and `np=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policies {
    pub own: Policy,
    /// For names below the domain that exist.
    pub below: Policy,
    /// For names below the domain that do not.
    pub missing: Policy,
}

/// The tags that count here.
const NAMES: [&str; 8] = ["p", "sp", "np", "adkim", "aspf", "psd", "t", "rua"];

impl DmarcRecord {
    /// Reads the text of a TXT record; none where it is no policy record.
    pub fn parse(text: &[u8]) -> Option<DmarcRecord> {
        let mut pieces = tags::pieces(text);
        let version = pieces.next()?.ok()?;
        // White space before it is no part of the grammar.
        let is_first = text.first().is_some_and(u8::is_ascii_alphabetic);
        if !(is_first && version.name.eq_ignore_ascii_case("v") && version.value == b"DMARC1") {
            return None;
        }
        let mut values: [Option<&[u8]>; NAMES.len()] = [None; NAMES.len()];
        for tag in pieces.flatten() {
            let known = NAMES.iter().position(|name| tag.name.eq_ignore_ascii_case(name));
            if let Some(value) = known.and_then(|at| values.get_mut(at)) {
                value.get_or_insert(tag.value);
            }
        }
        let value = |name: &str| {
            let at = NAMES.iter().position(|known| *known == name)?;
            values.get(at).copied().flatten()
        };
        let is =
            |name, word: &[u8]| value(name).is_some_and(|value| value.eq_ignore_ascii_case(word));
        let policy = |name| value(name).map(Policy::parse);
        let policies = match (policy("p"), policy("sp"), policy("np")) {
            (Some(Some(own)), below @ (None | Some(Some(_))), missing @ (None | Some(Some(_)))) => {
                let below = below.flatten().unwrap_or(own);
                Some(Policies { own, below, missing: missing.flatten().unwrap_or(below) })
            }
            _ => value("rua").is_some_and(has_uri).then_some(Policies {
                own: Policy::None,
                below: Policy::None,
                missing: Policy::None,
            }),
        };
        Some(DmarcRecord {
            policies,
            strict_dkim: is("adkim", b"s"),
            strict_spf: is("aspf", b"s"),
            suffix: match () {
                () if is("psd", b"y") => Suffix::Yes,
                () if is("psd", b"n") => Suffix::No,
                () => Suffix::Unsaid,
            },
            testing: is("t", b"y"),
        })
    }
}

/// Whether one address at least is one that reports could go to (RFC 3986; the old size behind `!` does not
/// count).
fn has_uri(value: &[u8]) -> bool {
    value.split(|&octet| octet == b',').map(tags::trimmed).any(is_uri)
}

fn is_uri(text: &[u8]) -> bool {
    let mut halves = text.splitn(2, |&octet| octet == b'!');
    let uri = halves.next().unwrap_or_default();
    let good_size = halves.next().is_none_or(|size| {
        let digits = match size.split_last() {
            Some((b'k' | b'm' | b'g' | b't' | b'K' | b'M' | b'G' | b'T', digits)) => digits,
            _ => size,
        };
        !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
    });
    let Some(colon) = uri.iter().position(|&octet| octet == b':') else { return false };
    let (scheme, rest) = (&uri[..colon], &uri[colon + 1..]);
    let good_scheme = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(|octet| octet.is_ascii_alphanumeric() || b"+-.".contains(octet));
    let in_uri = |octet: &u8| octet.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(octet);
    // Mail goes to one local part at one domain at least.
    let good_rest = match scheme.eq_ignore_ascii_case(b"mailto") {
        true => rest
            .iter()
            .position(|&octet| octet == b'@')
            .is_some_and(|at| at > 0 && rest.get(at + 1).is_some_and(u8::is_ascii_alphanumeric)),
        false => !rest.is_empty(),
    };
    good_size && good_scheme && good_rest && rest.iter().all(in_uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_version_makes_a_record() {
        for good in ["v=DMARC1", "v=DMARC1;", "v=DMARC1 ; p=none", "V\t=\tDMARC1\t;p=none"] {
            assert!(DmarcRecord::parse(good.as_bytes()).is_some(), "{good}");
        }
        let other = [
            "",
            ";",
            "v",
            "v=",
            "v=DMARC2",
            "v=dmarc1; p=none",
            "v=DMARC1 p=none",
            " v=DMARC1",
            "p=none; v=DMARC1",
            "v=DMARC1x",
            "v=spf1 -all",
        ];
        for other in other {
            assert_eq!(DmarcRecord::parse(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn policies_by_what_stands_there() {
        use Policy::{None as No, Quarantine as Q, Reject as R};
        let table = [
            ("p=reject", Some((R, R, R))),
            ("p=quarantine; sp=none", Some((Q, No, No))),
            ("p=none; sp=quarantine; np=reject", Some((No, Q, R))),
            ("p=reject; np=none", Some((R, R, No))),
            ("P=REJECT ;; x; =y; p=none", Some((R, R, R))),
            ("p=reject; sp=", None),
            ("p=rejected", None),
            ("", None),
            ("rua=mailto:a@b.test", Some((No, No, No))),
            ("p=; rua=nonsense, https://a.test/x!10m", Some((No, No, No))),
            ("sp=reject; rua=mailto:a@b.test", Some((No, No, No))),
            ("rua=mailto:a", None),
            ("rua=a@b.test", None),
            ("rua=mailto:a@b.test!x", None),
            ("rua=mailto:a b@c.test", None),
            ("rua=:a@b.test", None),
        ];
        for (tags, wanted) in table {
            let record = DmarcRecord::parse(format!("v=DMARC1;{tags}").as_bytes()).unwrap();
            let found = record.policies.map(|found| (found.own, found.below, found.missing));
            assert_eq!(found, wanted, "{tags}");
        }
    }
}
