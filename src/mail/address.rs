//! Addresses and paths: what stands between the angle brackets of MAIL and RCPT.
//!
//! Parsed once, then held in types that cannot be wrong. Pure: nothing here asks whether a domain or
//! a mailbox exists. Grammar: RFC 5321 §4.1.2 and §4.1.3; lengths: §4.5.3.1; UTF-8: RFC 6531 §3.3
//! (whether UTF-8 may be used at all depends on the transaction and is asked elsewhere).

mod grammar;

use super::srs;
use super::visible::is_hidden;
use crate::limits::{DOMAIN_MAX, LOCAL_PART_MAX};
use core::net::IpAddr;
pub use grammar::is_atext;
pub(in crate::mail) use grammar::is_label;
use grammar::{Cursor, Path, path};
use std::fmt;

/// A domain in ASCII lower case, 1 to 255 octets (RFC 5321 §4.1.2, §4.5.3.1.2); U-labels are kept as
/// A-labels (RFC 5890), so that one domain has one form.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(String);

/// A local part as it is meant, without quotes or backslashes: `"ann smith"` is `ann smith`.
/// [`fmt::Display`] writes it as the grammar wants it, quoted where it must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LocalPart(String);

/// What follows the `@`: a domain, or an address literal (RFC 5321 §4.1.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    Domain(Domain),
    Literal(IpAddr),
}

/// `local@host` (RFC 5321 §4.1.2, "Mailbox").
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mailbox {
    pub local: LocalPart,
    pub host: Host,
}

/// The address for notices about a message; `<>` when there is none (RFC 5321 §4.5.5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReversePath {
    Null,
    Mailbox(Mailbox),
}

/// The address of a recipient; only `<Postmaster>` may come without a domain (RFC 5321 §4.1.1.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ForwardPath {
    Postmaster,
    Mailbox(Mailbox),
}

/// What a client calls itself in EHLO or HELO, fit to be printed: a domain, an address literal, or any
/// other text, escaped and cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientName(String);

/// Why a text is no address; [`fmt::Display`] is written for its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadAddress {
    NoBrackets,
    Route,
    LocalPart,
    LocalPartLong,
    NoDomain,
    Domain,
    DomainLong,
    Literal,
    PathLong,
    NotUtf8,
    NullRecipient,
}

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadAddress::NoBrackets => "an address stands in angle brackets, <user@domain>",
            BadAddress::Route => "bad source route before the address",
            BadAddress::LocalPart => "bad local part before the @",
            BadAddress::LocalPartLong => "local part is longer than 64 octets",
            BadAddress::NoDomain => "the domain is missing",
            BadAddress::Domain => "bad domain after the @",
            BadAddress::DomainLong => "domain is longer than 255 octets",
            BadAddress::Literal => "bad address literal, [192.0.2.1] or [IPv6:2001:db8::1]",
            BadAddress::PathLong => "path is longer than 256 octets",
            BadAddress::NotUtf8 => "octets that are no UTF-8 in the address",
            BadAddress::NullRecipient => "a recipient cannot be empty",
        })
    }
}

impl std::error::Error for BadAddress {}

impl Domain {
    /// Fails on any octet or length that no domain has: labels of letters, digits, hyphens and
    /// underscores, 1 to 63 octets each. Domains in use have underscores, hyphens at the end of a label and
    /// a dot at their end, though the grammar has none of these; the dot is left out.
    pub fn parse(text: &str) -> Result<Domain, BadAddress> {
        Domain::read(text.strip_suffix('.').unwrap_or(text), true)
    }

    /// A domain exactly as the grammar has it: for the names that this host and its domains are given.
    pub fn of_host(text: &str) -> Result<Domain, BadAddress> {
        Domain::read(text, false)
    }

    fn read(text: &str, is_odd: bool) -> Result<Domain, BadAddress> {
        if text.len() > DOMAIN_MAX {
            return Err(BadAddress::DomainLong);
        }
        if !text.is_ascii() {
            // Strict, so that the result is a name that DNS can hold.
            let ascii = idna::domain_to_ascii_strict(text).map_err(|_| BadAddress::Domain)?;
            return Domain::read(&ascii, is_odd);
        }
        match text.split('.').all(|label| is_label(label.as_bytes(), is_odd)) {
            true => Ok(Domain(text.to_ascii_lowercase())),
            false => Err(BadAddress::Domain),
        }
    }

    /// In lower case, as A-labels.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the DNS of the world cannot have the name: it is kept for tests, examples and networks of one house
    /// (RFC 6761), or has one label.
    pub fn is_special(&self) -> bool {
        let is_below = |end: &&str| {
            self.0.strip_suffix(*end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        SPECIAL.iter().any(is_below) || !self.0.contains('.')
    }
}

/// Ends of names that are kept for tests, examples and networks of one house.
const SPECIAL: [&str; 12] = [
    "test",
    "example",
    "invalid",
    "localhost",
    "local",
    "internal",
    "onion",
    "alt",
    "home.arpa",
    "example.com",
    "example.net",
    "example.org",
];

impl LocalPart {
    /// From the plain text that a person or a file writes, without the quoting of SMTP. Fails when it is
    /// empty, too long, or holds what no quoting can express (controls).
    pub fn from_plain(text: &str) -> Result<LocalPart, BadAddress> {
        match text {
            "" => Err(BadAddress::LocalPart),
            _ if text.len() > LOCAL_PART_MAX => Err(BadAddress::LocalPartLong),
            // A character that nobody sees, such as a direction mark, was not meant.
            _ if text.contains(is_hidden) => Err(BadAddress::LocalPart),
            _ => Ok(LocalPart(text.to_owned())),
        }
    }

    /// From a user's name that was checked when it was read from a file or a path: unchecked text could
    /// forge a header field by way of Delivered-To.
    pub fn of_user(name: &str) -> LocalPart {
        LocalPart(name.to_owned())
    }

    /// From pieces of local parts and domains that were parsed already: their characters are all allowed.
    pub(super) fn made_of(text: String) -> LocalPart {
        LocalPart(text)
    }

    /// The plain text, without quotes or backslashes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a name may become one segment of a path: no `/`, no control octet (NUL with them), no
/// leading dot, not empty, and short enough for a file system (255 octets, as for a domain).
pub fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= DOMAIN_MAX
        && !name.starts_with('.')
        && !name.chars().any(|c| c == '/' || c.is_control())
}

impl Mailbox {
    /// Reads an address as a person writes it on a command line or in a file, with or without angle
    /// brackets, by the grammar of a path. Fails with [`BadAddress::Domain`] when anything follows.
    pub fn parse(text: &str) -> Result<Mailbox, BadAddress> {
        let (path, rest) = path(text.trim_matches([' ', '\t']).as_bytes())?;
        let mailbox = with_domain(path, None)?.ok_or(BadAddress::LocalPart)?;
        // No longer than a recipient may be, because the result becomes one sooner or later.
        mailbox.check_length()?;
        match rest.is_empty() {
            true => Ok(mailbox),
            false => Err(BadAddress::Domain),
        }
    }

    /// Fails where the local part is longer than a recipient's may be; see [`LOCAL_PART_MAX`].
    pub fn check_length(&self) -> Result<(), BadAddress> {
        match self.local.0.len() > LOCAL_PART_MAX && !srs::is_tagged(&self.local) {
            true => Err(BadAddress::LocalPartLong),
            false => Ok(()),
        }
    }
}

/// The mailbox of a path; none for the null path. `home`: the domain of a local part without one.
fn with_domain(path: Path, home: Option<&Domain>) -> Result<Option<Mailbox>, BadAddress> {
    match (path, home) {
        (Path::Null, _) => Ok(None),
        (Path::Mailbox(mailbox), _) => Ok(Some(mailbox)),
        (Path::Local(local, _), Some(home)) => {
            Ok(Some(Mailbox { local, host: Host::Domain(home.clone()) }))
        }
        (Path::Local(..), None) => Err(BadAddress::NoDomain),
    }
}

impl ReversePath {
    /// Reads a path at the start of `text`; gives it and what follows. A local part may be longer than 64
    /// octets; see [`LOCAL_PART_MAX`].
    pub fn parse(text: &[u8]) -> Result<(ReversePath, &[u8]), BadAddress> {
        ReversePath::parse_at(text, None)
    }

    /// As [`ReversePath::parse`]; an address without a domain is at `home`.
    pub fn parse_at<'a>(
        text: &'a [u8],
        home: Option<&Domain>,
    ) -> Result<(ReversePath, &'a [u8]), BadAddress> {
        let (path, rest) = path(text)?;
        let mailbox = with_domain(path, home)?;
        Ok((mailbox.map_or(ReversePath::Null, ReversePath::Mailbox), rest))
    }
}

impl ForwardPath {
    /// Reads a path at the start of `text`; gives it and what follows.
    pub fn parse(text: &[u8]) -> Result<(ForwardPath, &[u8]), BadAddress> {
        ForwardPath::parse_at(text, None)
    }

    /// As [`ForwardPath::parse`]; an address without a domain is at `home`, except `postmaster` in any case
    /// of letters (RFC 5321 §4.1.1.3).
    pub fn parse_at<'a>(
        text: &'a [u8],
        home: Option<&Domain>,
    ) -> Result<(ForwardPath, &'a [u8]), BadAddress> {
        let (path, rest) = path(text)?;
        if let Path::Local(local, true) = &path
            && local.0.eq_ignore_ascii_case("postmaster")
        {
            return Ok((ForwardPath::Postmaster, rest));
        }
        let mailbox = with_domain(path, home)?.ok_or(BadAddress::NullRecipient)?;
        mailbox.check_length()?;
        Ok((ForwardPath::Mailbox(mailbox), rest))
    }
}

impl ClientName {
    /// Takes any text that is not empty. A domain and an address literal are kept in their clean form; of
    /// any other text, what has a meaning in Received or the greeting is escaped. No mail is refused for
    /// what its client calls itself (RFC 5321 §4.1.4).
    pub fn parse(text: &[u8]) -> Result<ClientName, BadAddress> {
        let text = text.trim_ascii();
        if text.is_empty() {
            return Err(BadAddress::NoDomain);
        }
        let mut cursor = Cursor { rest: text };
        if let (Some(b'['), Ok(address), []) = (text.first(), cursor.literal(), cursor.rest) {
            return Ok(ClientName(literal(address)));
        }
        let bare = text.strip_suffix(b".").unwrap_or(text);
        if bare.len() <= DOMAIN_MAX && bare.split(|&b| b == b'.').all(|label| is_label(label, true))
        {
            return Ok(ClientName(String::from_utf8_lossy(bare).into_owned()));
        }
        let mut name = String::new();
        for &b in text {
            if name.len() >= DOMAIN_MAX {
                name.push_str("...");
                break;
            }
            match is_atext(b) || b".:[]".contains(&b) {
                true => name.push(char::from(b)),
                false => name.push_str(&format!("\\x{b:02x}")),
            }
        }
        Ok(ClientName(name))
    }

    /// As it goes into Received and the greeting.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether the first `bits` of two addresses are the same; never across families, so IPv4 has to come as IPv4,
/// not mapped into IPv6.
pub fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    address.is_ipv4() == network.is_ipv4() && masked(address, bits) == masked(network, bits)
}

/// An address with all bits behind the first `bits` zero.
pub fn masked(address: IpAddr, bits: u8) -> IpAddr {
    let bits = u32::from(bits);
    // A shift by the full width (0 bits) would overflow: then the mask is 0.
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(bits)).unwrap_or(0);
            IpAddr::from((v4.to_bits() & mask).to_be_bytes())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(bits)).unwrap_or(0);
            IpAddr::from((v6.to_bits() & mask).to_be_bytes())
        }
    }
}

/// An IP address as SMTP writes it, `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 §4.1.3).
pub fn literal(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("[{v4}]"),
        IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for LocalPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_atom = |atom: &str| atom.bytes().all(|b| is_atext(b) || b > 127);
        // No quotes where none are needed (RFC 5321 §4.1.2 asks for the least quoting).
        if self.0.split('.').all(|atom| !atom.is_empty() && is_atom(atom)) {
            return f.write_str(&self.0);
        }
        f.write_str("\"")?;
        for c in self.0.chars() {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        f.write_str("\"")
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Domain(domain) => domain.fmt(f),
            Host::Literal(address) => f.write_str(&literal(*address)),
        }
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.host)
    }
}

/// Without angle brackets, except the null path, which is `<>`.
impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReversePath::Null => f.write_str("<>"),
            ReversePath::Mailbox(mailbox) => mailbox.fmt(f),
        }
    }
}

/// Without angle brackets.
impl fmt::Display for ForwardPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ForwardPath::Postmaster => f.write_str("Postmaster"),
            ForwardPath::Mailbox(mailbox) => mailbox.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(text: &str) -> Result<String, BadAddress> {
        ForwardPath::parse(text.as_bytes()).map(|(path, _)| path.to_string())
    }

    #[test]
    fn paths_that_are_good() {
        for (text, meant) in [
            ("<ann@mx.test>", "ann@mx.test"),
            ("<Ann@MX.Test>", "Ann@mx.test"),
            ("<postMASTER>", "Postmaster"),
            ("<\"ann smith\"@mx.test>", "\"ann smith\"@mx.test"),
            ("<\"a\\nn\"@mx.test>", "ann@mx.test"),
            ("<\"a\\\"b\"@mx.test>", "\"a\\\"b\"@mx.test"),
            ("<\"\"@mx.test>", "\"\"@mx.test"),
            ("<@one.test,@two.test:ann@mx.test>", "ann@mx.test"),
            ("<@[192.0.2.1]:ann@mx.test>", "ann@mx.test"),
            ("<ann@[192.0.2.1]>", "ann@[192.0.2.1]"),
            ("<ann@[IPv6:2001:DB8::1]>", "ann@[IPv6:2001:db8::1]"),
            ("<ann@[ipv6:::ffff:192.0.2.1]>", "ann@[IPv6:::ffff:192.0.2.1]"),
            ("<a!b%c@mx.test>", "a!b%c@mx.test"),
            ("<ann@localhost>", "ann@localhost"),
            ("<\u{e9}va@mx.test>", "\u{e9}va@mx.test"),
            ("<\"\u{e9} va\"@mx.test>", "\"\u{e9} va\"@mx.test"),
            ("<ann@b\u{fc}cher.test>", "ann@xn--bcher-kva.test"),
        ] {
            assert_eq!(forward(text).as_deref(), Ok(meant), "{text}");
        }
    }

    #[test]
    fn paths_that_are_bad() {
        use BadAddress::*;
        for (text, why) in [
            ("", NoBrackets),
            ("<", NoBrackets),
            ("<ann", NoBrackets),
            ("SIZE=1", NoBrackets),
            ("<<<ann@mx.test>>>", NoBrackets),
            ("<>", NullRecipient),
            ("< >", NullRecipient),
            ("<\"ann@mx.test\">", NoDomain),
            ("<ann>", NoDomain),
            ("<ann@>", Domain),
            ("<@mx.test>", Route),
            ("<@mx.test:>", LocalPart),
            ("<@one.test,two.test:ann@mx.test>", Route),
            ("<ann@mx.test..>", Domain),
            ("ann@mx.test,", Domain),
            ("<ann@.mx.test>", Domain),
            ("<ann@mx..test>", Domain),
            ("<ann@mx.test@other.test>", Domain),
            ("<ann smith@mx.test>", LocalPart),
            ("<\"ann@mx.test>", LocalPart),
            ("<\"a\"b@mx.test>", LocalPart),
            ("<ann@[192.0.2.256]>", Literal),
            ("<ann@[x-tag:abc]>", Literal),
            ("<ann@[192.0.2.1]x>", Domain),
            ("<ann(@mx.test>", LocalPart),
            ("<a\u{85}@mx.test>", LocalPart),
            ("<ann@\u{2028}.test>", Domain),
        ] {
            assert_eq!(forward(text), Err(why), "{text}");
        }
    }

    #[test]
    fn paths_that_can_be_read_in_one_way() {
        for (text, meant) in [
            (" <ann@mx.test>", "ann@mx.test"),
            ("\t< ann@mx.test >", "ann@mx.test"),
            ("ann@mx.test", "ann@mx.test"),
            ("ann@mx.test>", "ann@mx.test"),
            ("<ann@mx.test", "ann@mx.test"),
            ("<<ann@mx.test>>", "ann@mx.test"),
            ("<ann@mx.test>>", "ann@mx.test"),
            ("< < ann @ mx.test > >", "ann@mx.test"),
            ("Ann <ann@mx.test>", "ann@mx.test"),
            ("\"Ann <x\" <ann@mx.test>", "ann@mx.test"),
            ("<Ann B. Smith <ann@mx.test>>", "ann@mx.test"),
            ("<(a (b) \\) c) ann@mx.test (d)>", "ann@mx.test"),
            ("postmaster", "Postmaster"),
            ("< PostMaster >", "Postmaster"),
            ("<ann.@mx.test>", "\"ann.\"@mx.test"),
            ("<.ann@mx.test>", "\".ann\"@mx.test"),
            ("<a..b@mx.test>", "\"a..b\"@mx.test"),
            ("<..@mx.test>", "\"..\"@mx.test"),
            ("<\"a\".b@mx.test>", "a.b@mx.test"),
            ("<a.\"b c\"@mx.test>", "\"a.b c\"@mx.test"),
            ("<ann@mx.test.>", "ann@mx.test"),
            ("<ann@-m_x-.test>", "ann@-m_x-.test"),
            ("<ann@[2001:db8::1]>", "ann@[IPv6:2001:db8::1]"),
            ("<ann@[192.0.2.1>", "ann@[192.0.2.1]"),
            ("<@one.test, @two.test: ann@mx.test>", "ann@mx.test"),
        ] {
            assert_eq!(forward(text).as_deref(), Ok(meant), "{text}");
            // What is written is read again as what it was.
            assert_eq!(forward(&format!("<{meant}>")).as_deref(), Ok(meant), "{text}");
        }
        let (_, rest) = ForwardPath::parse(b"ann@mx.test NOTIFY=NEVER").unwrap();
        assert_eq!(rest, b" NOTIFY=NEVER");
        assert_eq!(Mailbox::parse(" Ann <ann@mx.test> ").unwrap().to_string(), "ann@mx.test");
        for bad in ["", "<>", "ann", "ann@mx.test x", "<ann@mx.test> SIZE=1"] {
            assert!(Mailbox::parse(bad).is_err(), "{bad}");
        }
        assert!(Domain::of_host("mx.test").is_ok());
        for odd in ["mx.test.", "m_x.test", "-mx.test"] {
            assert!(Domain::parse(odd).is_ok() && Domain::of_host(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn octets_that_are_no_utf8() {
        let found = ReversePath::parse(b"<a\xff@mx.test>").map(drop);
        assert_eq!(found, Err(BadAddress::NotUtf8));
        assert!(ReversePath::parse(b"<a@mx.test> \xff").is_ok());
    }

    #[test]
    fn lengths() {
        let local = |n| format!("<{}@mx.test>", "a".repeat(n));
        assert!(forward(&local(64)).is_ok());
        assert_eq!(forward(&local(65)), Err(BadAddress::LocalPartLong));
        assert!(ReversePath::parse(local(65).as_bytes()).is_ok());
        assert_eq!(ReversePath::parse(local(247).as_bytes()).err(), Some(BadAddress::PathLong));
        assert!(ReversePath::parse(local(246).as_bytes()).is_ok());
        // Only an address that SRS has made may be longer as a recipient, up to the path.
        let made = |tag, n: usize| format!("<{tag}{}@mx.test>", "a".repeat(n - 5));
        for tag in ["SRS0=", "srs0+", "SRS1-"] {
            assert!(forward(&made(tag, 246)).is_ok(), "{tag}");
            assert_eq!(forward(&made(tag, 247)), Err(BadAddress::PathLong), "{tag}");
        }
        assert_eq!(forward(&made("SRS2=", 65)), Err(BadAddress::LocalPartLong));
        // As it is sent on: each of these labels has 2 octets here, and 7 there.
        let labels = |n| format!("<ann@{}.test>", ["\u{fc}"; 50][..n].join("."));
        assert!(forward(&labels(30)).is_ok());
        assert_eq!(forward(&labels(31)), Err(BadAddress::PathLong));
        let bare = labels(31);
        assert_eq!(Mailbox::parse(&bare[1..bare.len() - 1]), Err(BadAddress::PathLong));
        let label = "a".repeat(63);
        assert!(Domain::parse(&format!("{label}.{label}.{label}.{label}")).is_ok());
        assert_eq!(Domain::parse(&"a.".repeat(129)), Err(BadAddress::DomainLong));
        assert_eq!(Domain::parse(&"a".repeat(64)), Err(BadAddress::Domain));
    }

    #[test]
    fn client_names() {
        for (text, shown) in [
            ("mx.test", "mx.test"),
            ("My_Host", "My_Host"),
            ("laptop.", "laptop"),
            ("[192.0.2.1]", "[192.0.2.1]"),
            ("[IPv6:::1]", "[IPv6:::1]"),
            ("[2001:db8::7]", "[IPv6:2001:db8::7]"),
            ("a..b", "a..b"),
            ("a b", "a\\x20b"),
            ("\u{e9}", "\\xc3\\xa9"),
            ("(x);y", "\\x28x\\x29\\x3by"),
        ] {
            assert_eq!(ClientName::parse(text.as_bytes()).unwrap().as_str(), shown, "{text}");
        }
        assert!(ClientName::parse(b" ").is_err());
        let long = ClientName::parse("\u{e9}".repeat(1000).as_bytes()).unwrap();
        assert!(long.as_str().len() < DOMAIN_MAX + 10 && long.as_str().ends_with("..."));
    }

    #[test]
    fn file_names() {
        for bad in ["", ".", "..", ".ann", "a/b", "a\0b", "a\nb"] {
            assert!(!is_file_name(bad), "{bad:?}");
        }
        assert!(is_file_name("ann smith"));
    }
}
