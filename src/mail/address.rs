//! Addresses and paths: what stands between the angle brackets of MAIL and RCPT.
//!
//! Parsed once, then held in types that cannot be wrong. Pure: nothing here asks whether a domain or
//! a mailbox exists. Grammar: RFC 5321 §4.1.2 and §4.1.3; lengths: §4.5.3.1; UTF-8: RFC 6531 §3.3
//! (whether UTF-8 may be used at all depends on the transaction and is asked elsewhere).

mod grammar;

use super::srs;
use super::visible::is_hidden;
use crate::limits::{DOMAIN_MAX, LOCAL_PART_MAX, PATH_MAX};
use core::net::IpAddr;
pub use grammar::is_atext;
use grammar::{Cursor, is_label, is_too_long, path};
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

/// Who gets notices about a message; `<>` when nobody does (RFC 5321 §4.5.5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReversePath {
    Null,
    Mailbox(Mailbox),
}

/// Who gets a message; only `<Postmaster>` may come without a domain (RFC 5321 §4.1.1.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ForwardPath {
    Postmaster,
    Mailbox(Mailbox),
}

/// The name a client gives in EHLO or HELO, as it wrote it: a domain or an address literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientName(String);

/// Why a text is no address; [`fmt::Display`] says it to the one who sent it.
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
    /// Fails on any octet or length the grammar does not allow: labels of letters, digits and inner
    /// hyphens, 1 to 63 octets each, no dot at either end.
    pub fn parse(text: &str) -> Result<Domain, BadAddress> {
        if text.len() > DOMAIN_MAX {
            return Err(BadAddress::DomainLong);
        }
        if !text.is_ascii() {
            // Strict, so that what comes back is a name that DNS can hold.
            let ascii = idna::domain_to_ascii_strict(text).map_err(|_| BadAddress::Domain)?;
            return Domain::parse(&ascii);
        }
        match text.split('.').all(|label| is_label(label.as_bytes(), false)) {
            true => Ok(Domain(text.to_ascii_lowercase())),
            false => Err(BadAddress::Domain),
        }
    }

    /// In lower case, as A-labels.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl LocalPart {
    /// From the text a person or a file means, not as SMTP writes it. Fails when it is empty, too
    /// long, or holds what no quoting can express (controls).
    pub fn from_plain(text: &str) -> Result<LocalPart, BadAddress> {
        match text {
            "" => Err(BadAddress::LocalPart),
            _ if text.len() > LOCAL_PART_MAX => Err(BadAddress::LocalPartLong),
            // Nobody means what nobody sees: a mark of direction, a byte order mark.
            _ if text.contains(is_hidden) => Err(BadAddress::LocalPart),
            _ => Ok(LocalPart(text.to_owned())),
        }
    }

    /// A user's name that was checked when it was read from a file or a path: unchecked text could
    /// forge a header by way of Delivered-To.
    pub fn of_user(name: &str) -> LocalPart {
        LocalPart(name.to_owned())
    }

    /// Made of local parts and domains that were parsed already, or of pieces of them: what no
    /// grammar forbids in either is allowed in what they make.
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
    /// Reads `local@host` as a person writes it on a command line, with or without angle brackets.
    /// Fails with [`BadAddress::Domain`] when anything follows the host.
    pub fn parse(text: &str) -> Result<Mailbox, BadAddress> {
        let bare = text.strip_prefix('<').and_then(|t| t.strip_suffix('>')).unwrap_or(text);
        let mut cursor = Cursor { rest: bare.as_bytes() };
        let mailbox = cursor.mailbox()?;
        // As long as a recipient may be: what is taken here is one, sooner or later.
        mailbox.check_length()?;
        match cursor.rest.is_empty() {
            true if bare.len() + 2 > PATH_MAX || is_too_long(&mailbox) => Err(BadAddress::PathLong),
            true => Ok(mailbox),
            false => Err(BadAddress::Domain),
        }
    }

    /// Whether it may be a recipient by the length of its local part; see [`LOCAL_PART_MAX`].
    pub fn check_length(&self) -> Result<(), BadAddress> {
        match self.local.0.len() > LOCAL_PART_MAX && !srs::is_tagged(&self.local) {
            true => Err(BadAddress::LocalPartLong),
            false => Ok(()),
        }
    }
}

impl ReversePath {
    /// Reads a path at the start of `text`; gives it and what follows the `>`. A local part past 64
    /// octets is let pass; see [`LOCAL_PART_MAX`].
    pub fn parse(text: &[u8]) -> Result<(ReversePath, &[u8]), BadAddress> {
        if let Some(rest) = text.strip_prefix(b"<>") {
            return Ok((ReversePath::Null, rest));
        }
        let (mailbox, rest) = path(text)?;
        Ok((ReversePath::Mailbox(mailbox), rest))
    }
}

impl ForwardPath {
    /// Reads a path at the start of `text`; gives it and what follows the `>`.
    pub fn parse(text: &[u8]) -> Result<(ForwardPath, &[u8]), BadAddress> {
        const POSTMASTER: &[u8] = b"<postmaster>";
        // In any case of letters (RFC 5321 §4.1.1.3); with a domain it is a mailbox like others.
        if text.len() >= POSTMASTER.len()
            && text[..POSTMASTER.len()].eq_ignore_ascii_case(POSTMASTER)
        {
            return Ok((ForwardPath::Postmaster, &text[POSTMASTER.len()..]));
        }
        if text.starts_with(b"<>") {
            return Err(BadAddress::NullRecipient);
        }
        let (mailbox, rest) = path(text)?;
        mailbox.check_length()?;
        Ok((ForwardPath::Mailbox(mailbox), rest))
    }
}

impl ClientName {
    /// Takes a domain or an address literal. Underscores in labels are let pass, against RFC 5321
    /// §4.1.2: hosts named so are many, and the name only goes into Received. Octets beyond ASCII
    /// are not: nobody has agreed on UTF-8 yet (RFC 6531 §3.7.1).
    pub fn parse(text: &[u8]) -> Result<ClientName, BadAddress> {
        let text = str::from_utf8(text).map_err(|_| BadAddress::NotUtf8)?;
        if text.starts_with('[') {
            let mut cursor = Cursor { rest: text.as_bytes() };
            cursor.literal()?;
            if !cursor.rest.is_empty() {
                return Err(BadAddress::Literal);
            }
        } else if text.len() > DOMAIN_MAX {
            return Err(BadAddress::DomainLong);
        } else if !text.split('.').all(|label| is_label(label.as_bytes(), true)) {
            return Err(BadAddress::Domain);
        }
        Ok(ClientName(text.to_owned()))
    }

    /// As the client wrote it, for Received and the greeting.
    pub fn as_str(&self) -> &str {
        &self.0
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

/// Without angle brackets but for the empty one, which is `<>`.
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
            ("ann@mx.test", NoBrackets),
            ("<ann@mx.test", NoBrackets),
            ("<>", NullRecipient),
            ("<ann>", NoDomain),
            ("<ann@>", Domain),
            ("<@mx.test>", Route),
            ("<@mx.test:>", LocalPart),
            ("<@one.test,two.test:ann@mx.test>", Route),
            ("<ann@mx.test.>", Domain),
            ("<ann@.mx.test>", Domain),
            ("<ann@mx..test>", Domain),
            ("<ann@-mx.test>", Domain),
            ("<ann@mx_1.test>", Domain),
            ("<ann@mx.test@other.test>", Domain),
            ("<ann.@mx.test>", LocalPart),
            ("<.ann@mx.test>", LocalPart),
            ("<a..b@mx.test>", LocalPart),
            ("<ann smith@mx.test>", LocalPart),
            ("<\"ann@mx.test>", LocalPart),
            ("<\"a\"b@mx.test>", LocalPart),
            ("<ann@[192.0.2.256]>", Literal),
            ("<ann@[2001:db8::1]>", Literal),
            ("<ann@[x-tag:abc]>", Literal),
            ("<ann@[192.0.2.1>", Literal),
            ("<a\u{85}@mx.test>", LocalPart),
            ("<ann@\u{2028}.test>", Domain),
        ] {
            assert_eq!(forward(text), Err(why), "{text}");
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
        // Only who was made by SRS may be longer as a recipient, up to the path.
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
        assert_eq!(Domain::parse(&"a.".repeat(128)), Err(BadAddress::DomainLong));
        assert_eq!(Domain::parse(&"a".repeat(64)), Err(BadAddress::Domain));
    }

    #[test]
    fn client_names() {
        for good in ["mx.test", "my_host", "[192.0.2.1]", "[IPv6:::1]", "vm"] {
            assert!(ClientName::parse(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in ["", "a..b", "-a", "[192.0.2.1", "[abc]", "a b", "\u{e9}", "(x)", "[192.0.2.1]x"]
        {
            assert!(ClientName::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn file_names() {
        for bad in ["", ".", "..", ".ann", "a/b", "a\0b", "a\nb"] {
            assert!(!is_file_name(bad), "{bad:?}");
        }
        assert!(is_file_name("ann smith"));
    }
}
