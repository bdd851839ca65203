//! Lists of clients in DNS (DNSBL, RFC 5782): the name at which one is asked about a client, and what its answer
//! says. Pure.
//!
//! An answer counts only where it is one that the list can have meant: a code in 127/8. Some lists answer
//! 127.255.255.x to those whom they do not serve, and a zone that was given up may answer anything.

use super::name::{Name, dotted};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// Codes from one to another, both among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeRange {
    first: Ipv4Addr,
    last: Ipv4Addr,
}

/// The first code that can mean "listed": 127.0.0.1 is what a name of this machine has.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The last one; behind it are the codes by which lists say that they do not answer.
const LAST: Ipv4Addr = Ipv4Addr::new(127, 255, 254, 255);

impl CodeRange {
    /// All codes that can mean "listed".
    pub const ALL: CodeRange = CodeRange { first: FIRST, last: LAST };

    /// The codes that mean it where nothing else is configured (contract).
    pub const USUAL: CodeRange = CodeRange { first: FIRST, last: Ipv4Addr::new(127, 0, 0, 255) };

    /// Reads `127.0.0.2` or `127.0.0.2-127.0.0.11`. None where it has a code that cannot mean "listed".
    pub fn parse(text: &str) -> Option<CodeRange> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last): (Ipv4Addr, Ipv4Addr) = (first.parse().ok()?, last.parse().ok()?);
        let is_good = FIRST <= first && first <= last && last <= LAST;
        is_good.then_some(CodeRange { first, last })
    }

    fn has(&self, code: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&code)
    }
}

impl fmt::Display for CodeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => self.first.fmt(f),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

/// What a list says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListWord {
    NotListed,
    /// By this code.
    Listed(Ipv4Addr),
    /// It does not answer us, or is no list any more.
    Nonsense(Ipv4Addr),
}

/// The name at which a list is asked about an address, as it stands: 192.0.2.99 is `99.2.0.192.list.example`,
/// IPv6 goes by nibbles. None where that is too long for a name.
pub fn question(address: IpAddr, zone: &Name) -> Option<Name> {
    let dotted = dotted(address);
    let turned: Vec<&str> = dotted.rsplit('.').collect();
    zone.below(turned.join(".").as_bytes())
}

/// What the addresses of that name say; none where there is no such name. One that makes no sense spoils the
/// others.
pub fn answer(found: &[Ipv4Addr], codes: &[CodeRange]) -> ListWord {
    let is_good = |code: &Ipv4Addr| code.is_loopback() && *code <= LAST;
    if let Some(nonsense) = found.iter().find(|code| !is_good(code)) {
        return ListWord::Nonsense(*nonsense);
    }
    let meant = found.iter().find(|code| codes.iter().any(|range| range.has(**code)));
    meant.map_or(ListWord::NotListed, |code| ListWord::Listed(*code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn names() {
        let zone = name("list.example");
        let at = |address: &str| question(address.parse().unwrap(), &zone).unwrap().to_string();
        // The examples of RFC 5782 §2.1 and §2.4.
        assert_eq!(at("192.0.2.99"), "99.2.0.192.list.example");
        assert_eq!(
            at("2001:db8:1:2:3:4:567:89ab"),
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.list.example"
        );
        // A test point (RFC 5782 §5) is no IPv4 address.
        assert!(at("::ffff:7f00:2").starts_with("2.0.0.0.0.0.f.7.f.f.f.f.0."));
        let long = name(&["x".repeat(63), "x".repeat(63), "x".repeat(62)].join("."));
        assert!(question("127.0.0.2".parse().unwrap(), &long).is_some());
        assert_eq!(question("::1".parse().unwrap(), &long), None);
    }

    #[test]
    fn codes() {
        let range = |text: &str| CodeRange::parse(text).unwrap();
        for text in ["127.0.0.2", "127.0.0.2-127.0.0.11", "127.0.1.0-127.255.254.255"] {
            assert_eq!(range(text).to_string(), text);
        }
        assert_eq!(CodeRange::parse("127.0.0.2-127.0.0.255"), Some(CodeRange::USUAL));
        for text in [
            "",
            "127.0.0.1",
            "127.0.0.0-127.0.0.9",
            "127.0.0.9-127.0.0.2",
            "127.0.0.2-127.255.255.1",
            "127.255.255.254",
            "128.0.0.2",
            "127.0.0.2 - 127.0.0.4",
            "127.0.0.2-",
            "127.0.0.2-4",
            "127.0.0.02",
            "::1",
        ] {
            assert_eq!(CodeRange::parse(text), None, "{text}");
        }
    }

    #[test]
    fn answers() {
        let codes = [
            CodeRange::parse("127.0.0.2-127.0.0.4").unwrap(),
            CodeRange::parse("127.0.0.10").unwrap(),
        ];
        let said = |found: &[[u8; 4]]| {
            let found: Vec<Ipv4Addr> = found.iter().map(|code| Ipv4Addr::from(*code)).collect();
            answer(&found, &codes)
        };
        let listed = |last| ListWord::Listed(Ipv4Addr::new(127, 0, 0, last));
        assert_eq!(said(&[]), ListWord::NotListed);
        assert_eq!(said(&[[127, 0, 0, 4]]), listed(4));
        assert_eq!(said(&[[127, 0, 0, 10], [127, 0, 0, 2]]), listed(10));
        assert_eq!(said(&[[127, 0, 0, 11], [127, 0, 0, 2]]), listed(2));
        // Codes that are not wanted, and the one that must not mean anything.
        for code in [[127, 0, 0, 5], [127, 0, 0, 1], [127, 0, 1, 2], [127, 255, 254, 2]] {
            assert_eq!(said(&[code]), ListWord::NotListed, "{code:?}");
        }
        for code in [
            [127, 255, 255, 252],
            [127, 255, 255, 254],
            [192, 0, 2, 1],
            [0, 0, 0, 0],
            [128, 0, 0, 2],
        ] {
            assert_eq!(said(&[code]), ListWord::Nonsense(code.into()), "{code:?}");
            assert_eq!(said(&[[127, 0, 0, 2], code]), ListWord::Nonsense(code.into()));
            // Whatever the codes are.
            assert_eq!(answer(&[code.into()], &[CodeRange::ALL]), ListWord::Nonsense(code.into()));
        }
    }
}
