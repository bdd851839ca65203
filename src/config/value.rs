//! Values in strings of `facteur.toml`: sizes, durations, names, addresses, networks.
//!
//! Each function takes the text between the quotes and returns its value, or none; a constant says what was
//! expected, for the error in `reader`. Pure. Stricter than the parsers of `std`, which take `+25` as a
//! number.

use super::{CatchAll, Dmarc, HostPort, JunkField, LmtpServer, NameServer, Network, Prefer, Spf};
use crate::mail::address::{Domain, Host, LocalPart, Mailbox, is_within, masked};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Octets of a folder's name: those of a file's name, without what may have to stand behind it.
const FOLDER_MAX: usize = 200;

// Each completes "expected …", with an example where the form is not plain from its name.
pub const SIZE: &str = r#"a whole number of bytes, or a string like "25MiB" (KiB, MiB, GiB)"#;
pub const DURATION: &str = r#"a duration like "90s", "5m", "4h" or "5d""#;
pub const DOMAIN: &str = "a domain of letters, digits and hyphens";
pub const HOST_PORT: &str =
    r#"host:port, "mx.example.net:25", "192.0.2.1:25" or "[2001:db8::1]:25""#;
pub const SOCKET: &str = r#"address:port, "127.0.0.1:25" or "[::1]:25""#;
pub const NETWORK: &str = r#"a network like "192.0.2.0/24" or "2001:db8::/32""#;
pub const ROUTE: &str = r#"a domain, or ".example.com" for its subdomains"#;
pub const CATCH_ALL: &str = "a local part of this domain, or a whole address";
pub const SUBADDRESS: &str = r#"up to 4 of !#$%&'*+-=?^_`{|}~. and not dots alone, or "" for none"#;
pub const MAILDIR: &str = "a path in which {domain} and {user} are the only braces";
pub const USER: &str = "a user's name";
pub const SPF: &str = r#""off", "mark" or "reject""#;
pub const DMARC: &str = r#""off", "mark", "junk" or "reject""#;
pub const LMTP: &str = r#""unix:/path/of/socket" or "inet:host:port""#;
pub const RECIPIENTS: &str = r#"a path, or "" for all recipients"#;
pub const CONTACT: &str = r#"an address, "postmaster@example.org""#;
pub const PREFER: &str = r#""ipv6", "ipv4", "ipv6-only" or "ipv4-only""#;
pub const CODES: &str =
    r#"codes of a list like "127.0.0.2" or "127.0.0.2-127.0.0.11", up to 127.255.254.255"#;
pub const FOLDER: &str = r#"a folder of a Maildir, ".Junk" or ".Mail.Junk""#;
pub const JUNK_FIELD: &str = r#"a field of a header, "X-Spam: Yes""#;

/// The octets of `25MiB`.
pub fn size(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let shift = match unit {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    number(digits)?.checked_mul(1 << shift)
}

/// A whole number and one of s, m, h, d. Zero is a duration; each key has its own bounds.
pub fn duration(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return None,
    };
    number(digits)?.checked_mul(seconds).map(Duration::from_secs)
}

/// A domain that can be a host's name: not `192.0.2.1`, which [`Domain::of_host`] takes too. As a name it
/// would be looked up in DNS, or announced in EHLO, where an address has to be a literal.
pub fn domain(text: &str) -> Option<Domain> {
    let last = text.rsplit('.').next()?;
    match last.bytes().all(|b| b.is_ascii_digit()) {
        true => None,
        false => Domain::of_host(text).ok(),
    }
}

/// A next hop; port 0 is refused.
pub fn host_port(text: &str) -> Option<HostPort> {
    let (host, port) = text.rsplit_once(':')?;
    let port = number(port).and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0)?;
    let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
        Some(inside) => inside?.parse::<Ipv6Addr>().ok()?.to_string(),
        None => match host.parse::<Ipv4Addr>() {
            Ok(address) => address.to_string(),
            Err(_) => domain(host)?.to_string(),
        },
    };
    Some(HostPort { host, port })
}

/// Where to listen; port 0 lets the system choose.
pub fn socket(text: &str) -> Option<SocketAddr> {
    text.parse().ok()
}

/// A DNS server: a [`socket`] with a port, and where it is link-local with its interface, "[fe80::1%eth0]:53".
pub fn server(text: &str) -> Option<NameServer> {
    let (text, zone) = match text.strip_prefix('[').and_then(|text| text.split_once('%')) {
        Some((address, rest)) => {
            let (zone, port) = rest.split_once(']')?;
            (format!("[{address}]{port}"), Some(zone))
        }
        None => (text.to_owned(), None),
    };
    let address = socket(&text).filter(|address| address.port() > 0)?;
    NameServer::new(address, zone)
}

/// A network as it is written, with its host bits: see [`Network::masked`]. An address alone is a network
/// of one, as in Postfix's mynetworks.
pub fn network(text: &str) -> Option<Network> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(number(bits)?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let all = if address.is_ipv4() { 32 } else { 128 };
    let bits = u8::try_from(bits.unwrap_or(all)).ok().filter(|bits| u64::from(*bits) <= all)?;
    match (address.to_canonical(), bits) {
        // Clients of IPv4 are never written as IPv6, so a mapped network would match none.
        (v4 @ IpAddr::V4(_), 96..) if address.is_ipv6() => {
            Some(Network { address: v4, bits: bits - 96 })
        }
        _ => Some(Network { address, bits }),
    }
}

/// A key of `relay.route`, in lower case.
pub fn route(text: &str) -> Option<String> {
    match text.strip_prefix('.') {
        Some(parent) => domain(parent).map(|parent| format!(".{parent}")),
        None => domain(text).map(|name| name.to_string()),
    }
}

/// A name without `@` is one of its own domain. An address literal is refused: no mail for it is
/// delivered here, and none is sent on to a bare address.
pub fn catch_all(text: &str) -> Option<CatchAll> {
    if !text.contains('@') {
        return LocalPart::from_plain(text).ok().map(|_| CatchAll::Here(text.to_owned()));
    }
    contact(text).map(CatchAll::Address)
}

/// An address at a domain.
pub fn contact(text: &str) -> Option<Mailbox> {
    let mailbox = Mailbox::parse(text).ok()?;
    // By the rules for recipients: Mailbox::parse also takes senders, whose local part may be longer.
    LocalPart::from_plain(mailbox.local.as_str()).ok()?;
    match &mailbox.host {
        Host::Domain(name) => domain(name.as_str())?,
        Host::Literal(_) => return None,
    };
    Some(mailbox)
}

/// A separator of user and tag: atext of RFC 5322 §3.2.3 and dots, so that such an address needs no quotes.
/// Letters and dots alone are refused, because they occur in names.
pub fn subaddress(text: &str) -> Option<String> {
    let good = |b: u8| b"!#$%&'*+-=?^_`{|}~.".contains(&b);
    let dots = !text.is_empty() && text.bytes().all(|b| b == b'.');
    (text.len() <= 4 && text.bytes().all(good) && !dots).then(|| text.to_owned())
}

/// A path with `{domain}` and `{user}` in it; any other brace is a misspelt placeholder.
pub fn maildir(text: &str) -> Option<String> {
    let rest = text.replace("{domain}", "").replace("{user}", "");
    (!text.is_empty() && !rest.contains('{') && !text.contains(char::is_control))
        .then(|| text.to_owned())
}

/// A user of the system, or of a smarthost: any name that fits a line.
pub fn user(text: &str) -> Option<String> {
    (!text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned())
}

pub fn spf(text: &str) -> Option<Spf> {
    Some(match text {
        "off" => Spf::Off,
        "mark" => Spf::Mark,
        "reject" => Spf::Reject,
        _ => return None,
    })
}

pub fn prefer(text: &str) -> Option<Prefer> {
    Some(match text {
        "ipv6" => Prefer::Ipv6,
        "ipv4" => Prefer::Ipv4,
        "ipv6-only" => Prefer::Ipv6Only,
        "ipv4-only" => Prefer::Ipv4Only,
        _ => return None,
    })
}

pub fn dmarc(text: &str) -> Option<Dmarc> {
    Some(match text {
        "off" => Dmarc::Off,
        "mark" => Dmarc::Mark,
        "junk" => Dmarc::Junk,
        "reject" => Dmarc::Reject,
        _ => return None,
    })
}

/// A folder as Maildir++ has it: a dot before each level, so that an empty level would be another folder to
/// some programs. Letters beside ASCII are written in IMAP's form of UTF-7 there, which is ASCII.
pub fn folder(text: &str) -> Option<String> {
    let good = |b: u8| (b.is_ascii_graphic() && b != b'/') || b == b' ';
    let level = |level: &str| !level.is_empty() && level.trim() == level && level.bytes().all(good);
    let levels = text.strip_prefix('.')?;
    (text.len() <= FOLDER_MAX && levels.split('.').all(level)).then(|| text.to_owned())
}

/// A field on one line. Its name is that of RFC 5322 §2.2, its value anything but blanks.
pub fn junk_field(text: &str) -> Option<JunkField> {
    let (name, value) = text.split_once(':')?;
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
    let value = value.trim();
    (is_name && !value.is_empty() && !value.contains(char::is_control))
        .then(|| JunkField { name: name.to_owned(), value: value.to_owned() })
}

/// Digits and nothing else; `u64::from_str` would take a plus sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// `bytes` in the largest unit that leaves no rest, as [`size`] reads it.
pub fn show_size(bytes: u64) -> String {
    match bytes.trailing_zeros() {
        30..64 => format!("{}GiB", bytes >> 30),
        20..30 => format!("{}MiB", bytes >> 20),
        10..20 => format!("{}KiB", bytes >> 10),
        _ => bytes.to_string(),
    }
}

/// `time` in the largest unit that leaves no rest, as [`duration`] reads it.
pub fn show_duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(24 * 3600, "d"), (3600, "h"), (60, "m")];
    match units.into_iter().find(|(length, _)| seconds > 0 && seconds.is_multiple_of(*length)) {
        Some((length, unit)) => format!("{}{unit}", seconds / length),
        None => format!("{seconds}s"),
    }
}

impl Network {
    /// Whether an address is inside. IPv4 has to come as IPv4, not mapped into IPv6.
    pub fn contains(&self, address: IpAddr) -> bool {
        is_within(address, self.address, self.bits)
    }

    /// The same network with all host bits zero.
    pub fn masked(self) -> Network {
        Network { address: masked(self.address, self.bits), bits: self.bits }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// As the file writes it: IPv6 in brackets.
impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// As the file writes it.
impl fmt::Display for LmtpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LmtpServer::Unix(path) => write!(f, "unix:{}", path.display()),
            LmtpServer::Inet(host) => write!(f, "inet:{host}"),
        }
    }
}

/// As the file writes it.
impl fmt::Display for CatchAll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CatchAll::Here(local) => f.write_str(local),
            CatchAll::Address(mailbox) => mailbox.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations() {
        for (text, octets) in [("25MiB", 25 << 20), ("64KiB", 65536), ("2GiB", 2 << 30)] {
            assert_eq!(size(text), Some(octets), "{text}");
            assert_eq!(show_size(octets), text);
        }
        for text in ["", "25", "25MB", "25 MiB", "25mib", "MiB", "-1MiB", "+1MiB", "1.5GiB"] {
            assert_eq!(size(text), None, "{text}");
        }
        assert_eq!(size("18014398509481984KiB"), None, "2^64");
        for (text, seconds) in [("0s", 0), ("90s", 90), ("5m", 300), ("4h", 14400), ("5d", 432000)]
        {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
            assert_eq!(show_duration(Duration::from_secs(seconds)), text);
        }
        for text in ["", "5", "5 m", "m", "5M", "5ms", "1h30m", "-5m", "+5m", "213503982334602d"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn hosts_with_ports() {
        for (text, shown) in [
            ("MX.example.net:25", "mx.example.net:25"),
            ("127.0.0.1:2626", "127.0.0.1:2626"),
            ("[2001:DB8:0::1]:465", "[2001:db8::1]:465"),
            ("localhost:65535", "localhost:65535"),
        ] {
            assert_eq!(host_port(text).map(|h| h.to_string()).as_deref(), Some(shown));
        }
        for text in [
            "",
            ":25",
            "mx",
            "mx:",
            "mx:0",
            "mx:+25",
            "mx:65536",
            "mx:smtp",
            "::1:25",
            "[::1]",
            "[::1:25",
            "[192.0.2.1]:25",
            "192.0.2:25",
            "a_b:25",
            "mx.:25",
            "[]:25",
        ] {
            assert_eq!(host_port(text), None, "{text}");
        }
    }

    #[test]
    fn networks() {
        for (text, masked, inside, outside) in [
            ("10.0.0.0/8", "10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.0.2.7", "192.0.2.7/32", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.7/24", "192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("0.0.0.0/0", "0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "::/0", "2001:db8::1", "192.0.2.1"),
            ("::1", "::1/128", "::1", "::2"),
            ("2001:db8::/33", "2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8", "10.0.0.1", "::ffff:10.0.0.1"),
        ] {
            let network = network(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(network.masked().to_string(), masked);
            assert!(network.contains(inside.parse().unwrap()), "{inside} in {text}");
            assert!(!network.contains(outside.parse().unwrap()), "{outside} not in {text}");
        }
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/+8", "a/8"] {
            assert_eq!(network(text), None, "{text}");
        }
    }

    #[test]
    fn names() {
        assert_eq!(domain("MX.Example.org").unwrap().as_str(), "mx.example.org");
        for text in ["", "192.0.2.1", "a..b", "a_b.test", "mx.test."] {
            assert_eq!(domain(text), None, "{text}");
        }
        assert_eq!(route(".Example.com").as_deref(), Some(".example.com"));
        assert_eq!([route("."), route(""), route("..a"), route("*.a")], [const { None }; 4]);
        for text in [".Junk", ".Mail.Junk", ".Entw&APw-rfe", ".a b"] {
            assert_eq!(folder(text).as_deref(), Some(text));
        }
        for text in ["", ".", "..", "Junk", ".a/b", ".a..b", ".a.", "..a", ". a", ".\u{e9}", ".a\n"]
        {
            assert_eq!(folder(text), None, "{text}");
        }
        for text in ["postmaster", "ann smith", "ann@other.test"] {
            assert_eq!(catch_all(text).map(|c| c.to_string()).as_deref(), Some(text));
        }
        for text in ["", "@other.test", "ann@", "ann@[192.0.2.1]", "ann@192.0.2.1", "\u{85}"] {
            assert_eq!(catch_all(text), None, "{text}");
        }
        for text in ["", "+", "-", "--", "=", "_"] {
            assert_eq!(subaddress(text).as_deref(), Some(text));
        }
        for text in ["a", "+a", "1", "/", "@", " ", ".", "..", "\"", "\u{e9}", "+++++", "\t"] {
            assert_eq!(subaddress(text), None, "{text}");
        }
    }
}
