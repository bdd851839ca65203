//! A name as DNS is asked for it: labels of any octets, as the macros of SPF can make them.
//!
//! Never holds what cannot be asked: no empty label, none over 63 octets, no name over 255 (RFC 1035 §2.3.4).

use crate::limits::trust::UNICODE_NAME_MAX;
use std::fmt;
use std::net::IpAddr;

/// A name in ASCII lower case, absolute, without the final dot; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Vec<u8>);

impl Name {
    /// Reads labels between dots; one final dot is taken off. None where DNS can have no such name.
    pub fn parse(text: &[u8]) -> Option<Name> {
        let text = text.strip_suffix(b".").unwrap_or(text);
        let good = |label: &[u8]| (1..=63).contains(&label.len());
        // On the wire each label has an octet before it, and an empty one stands behind the last.
        let fits = text.len() + 2 <= 255;
        (fits && text.split(|&octet| octet == b'.').all(good))
            .then(|| Name(text.to_ascii_lowercase()))
    }

    /// Reads a name that may have U-labels, which become A-labels (RFC 5890 §2.3, RFC 8616 §4). Octets that
    /// are no UTF-8 stay what they are.
    pub fn of_unicode(text: &[u8]) -> Option<Name> {
        match std::str::from_utf8(text).ok().filter(|text| !text.is_ascii()) {
            None => Name::parse(text),
            Some(text) if text.len() > UNICODE_NAME_MAX => None,
            Some(text) => Name::parse(idna::domain_to_ascii(text).ok()?.as_bytes()),
        }
    }

    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&octet| octet == b'.')
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name without its first label; none for a name of one.
    pub fn parent(&self) -> Option<Name> {
        let dot = self.0.iter().position(|&octet| octet == b'.')?;
        Some(Name(self.0[dot + 1..].to_vec()))
    }

    /// Whether this is `other`, or below it.
    pub fn is_within(&self, other: &Name) -> bool {
        self == other
            || self.0.strip_suffix(&other.0[..]).is_some_and(|above| above.ends_with(b"."))
    }

    /// The name at which the names of an address are (PTR; RFC 1035 §3.5, RFC 3596 §2.5).
    pub fn reverse_of(address: IpAddr) -> Option<Name> {
        let address = address.to_canonical();
        let dotted = dotted(address);
        let turned: Vec<&str> = dotted.rsplit('.').collect();
        let zone = if address.is_ipv4() { "in-addr.arpa" } else { "ip6.arpa" };
        Name::parse(format!("{}.{zone}", turned.join(".")).as_bytes())
    }

    /// `prefix.name`; none where that is too long.
    pub fn below(&self, prefix: &[u8]) -> Option<Name> {
        Name::parse(&[prefix, b".", &self.0].concat())
    }
}

/// Octets that are not printable, and backslashes, are written as `\DDD` (RFC 1035 §5.1).
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &octet in &self.0 {
            match octet {
                b'\\' | b'"' | 0..=b' ' | 127.. => write!(f, "\\{octet:03}")?,
                _ => write!(f, "{}", char::from(octet))?,
            }
        }
        Ok(())
    }
}

/// An address as the macro `i` has it: IPv6 as nibbles between dots (RFC 7208 §7.3).
pub(super) fn dotted(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let digits = format!("{:032X}", address.to_bits());
            let digits: Vec<String> = digits.chars().map(String::from).collect();
            digits.join(".")
        }
    }
}
