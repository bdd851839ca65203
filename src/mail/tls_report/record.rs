//! The record by which a domain asks for reports on TLS, `v=TLSRPTv1; rua=mailto:tls@example.org`, at
//! `_smtp._tls.DOMAIN` (RFC 8460 §3). Pure.
//!
//! Whoever publishes it may be hostile: addresses are few, of two kinds, and of domains. What cannot be read in one
//! way only is passed over, with a reason for the log.

use crate::limits::reports::{REPORT_ADDRESS_MAX, REPORT_ADDRESSES_MAX};
use crate::mail::address::{Domain, Host, Mailbox};
use crate::mail::tags::{shown, trimmed};
use std::fmt;

/// What begins the name of the record.
pub const PLACE: &str = "_smtp._tls.";

const VERSION: &[u8] = b"v=TLSRPTv1";

/// Where reports go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportAddress {
    /// `mailto:`, always at a domain.
    Mail(Mailbox),
    /// `https:`, without a user and without a fragment.
    Https(String),
}

/// As a record has it.
impl fmt::Display for ReportAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReportAddress::Mail(mailbox) => write!(f, "mailto:{mailbox}"),
            ReportAddress::Https(url) => f.write_str(url),
        }
    }
}

/// What a domain wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportRecord {
    /// Each once; none where all are bad.
    pub addresses: Vec<ReportAddress>,
    /// What is wrong with the others, fit to be shown.
    pub bad: Vec<String>,
}

/// Why a domain gets no reports that seems to want some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadReportRecord {
    /// More records than one count as none.
    Several(usize),
    /// This piece is no `name=value`.
    Field(String),
    NoAddress,
}

impl fmt::Display for BadReportRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadReportRecord::Several(count) => {
                write!(f, "there are {count} records in place of one")
            }
            BadReportRecord::Field(piece) => write!(f, "\"{piece}\" is no name=value"),
            BadReportRecord::NoAddress => f.write_str("it names no address (rua=)"),
        }
    }
}

impl ReportRecord {
    /// Finds the record among the texts of its name; none where there is none.
    ///
    /// Fails where there are several, or where the one is broken.
    pub fn find<'a>(
        texts: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Option<ReportRecord>, BadReportRecord> {
        let found: Vec<&[u8]> = texts.filter_map(behind_version).collect();
        match found[..] {
            [] => Ok(None),
            [fields] => ReportRecord::read(fields).map(Some),
            _ => Err(BadReportRecord::Several(found.len())),
        }
    }

    /// Reads what stands behind the version and its `;`.
    fn read(fields: &[u8]) -> Result<ReportRecord, BadReportRecord> {
        let mut record = ReportRecord { addresses: Vec::new(), bad: Vec::new() };
        let mut pieces = fields.split(|octet| *octet == b';').peekable();
        let mut is_named = false;
        while let Some(piece) = pieces.next() {
            let piece = trimmed(piece);
            // One `;` may stand at the end.
            if piece.is_empty() && pieces.peek().is_none() {
                break;
            }
            let bad = || BadReportRecord::Field(shown(piece));
            let at = memchr::memchr(b'=', piece).ok_or_else(bad)?;
            let (name, value) = (trimmed(&piece[..at]), trimmed(&piece[at + 1..]));
            if !is_name(name) || value.iter().any(u8::is_ascii_control) {
                return Err(bad());
            }
            if name == b"rua" {
                is_named = true;
                record.take(value);
            }
        }
        if is_named { Ok(record) } else { Err(BadReportRecord::NoAddress) }
    }

    fn take(&mut self, list: &[u8]) {
        for text in list.split(|octet| *octet == b',').map(trimmed) {
            if self.addresses.len() + self.bad.len() >= REPORT_ADDRESSES_MAX {
                self.bad.push(format!("more than {REPORT_ADDRESSES_MAX} addresses"));
                break;
            }
            match address(text) {
                Ok(address) if self.addresses.contains(&address) => {}
                Ok(address) => self.addresses.push(address),
                Err(why) => self.bad.push(format!("\"{}\": {why}", shown(text))),
            }
        }
    }
}

/// What follows the version, where a text begins with it.
fn behind_version(text: &[u8]) -> Option<&[u8]> {
    let rest = text.strip_prefix(VERSION)?;
    let blanks = rest.iter().take_while(|octet| matches!(octet, b' ' | b'\t')).count();
    rest[blanks..].strip_prefix(b";")
}

/// Names of fields may have signs that other lists of tags do not know.
fn is_name(name: &[u8]) -> bool {
    let follows = |octet: &u8| octet.is_ascii_alphanumeric() || b"_-.".contains(octet);
    name.len() <= 32
        && name.first().is_some_and(u8::is_ascii_alphanumeric)
        && name.iter().all(follows)
}

fn address(text: &[u8]) -> Result<ReportAddress, &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| "it is no text")?;
    let is_plain = text.bytes().all(|octet| octet.is_ascii_graphic());
    match text {
        "" => Err("it is empty"),
        _ if text.len() > REPORT_ADDRESS_MAX => Err("it is too long"),
        _ if !is_plain => Err("a URI has no such characters"),
        _ => match text.split_once(':') {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("mailto") => mail(rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => https(text, rest),
            _ => Err("neither mailto: nor https:"),
        },
    }
}

/// RFC 6068; the fields that it may propose are left out.
fn mail(text: &str) -> Result<ReportAddress, &'static str> {
    let to = text.split('?').next().unwrap_or_default();
    let to = decoded(to).ok_or("its % are broken")?;
    let mailbox = Mailbox::parse(&to).map_err(|_| "it is no address of mail")?;
    match mailbox.host {
        Host::Domain(_) => Ok(ReportAddress::Mail(mailbox)),
        Host::Literal(_) => Err("an address literal gets no reports"),
    }
}

fn https(whole: &str, rest: &str) -> Result<ReportAddress, &'static str> {
    let rest = rest.strip_prefix("//").ok_or("it has no host")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("it names a user");
    }
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "443"));
    if host.starts_with('[') || host.parse::<core::net::Ipv4Addr>().is_ok() {
        return Err("an address without a name gets no reports");
    }
    // No name ends in a number (RFC 3696 §2), and some programs read one as an address.
    let last = host.rsplit('.').next().unwrap_or_default();
    if last.bytes().next().is_none_or(|octet| octet.is_ascii_digit()) {
        return Err("its host is no name");
    }
    Domain::parse(host).map_err(|_| "its host is no name")?;
    if port.parse::<u16>().is_ok_and(|port| port > 0) {
        let url = whole.split('#').next().unwrap_or_default().to_owned();
        return Ok(ReportAddress::Https(url));
    }
    Err("its port is none")
}

/// A text with each `%XX` as the octet that it stands for; none where that is no text.
fn decoded(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let (octet, after) = match first {
            b'%' => {
                let digits = after.get(..2).filter(|two| two.iter().all(u8::is_ascii_hexdigit))?;
                let digits = std::str::from_utf8(digits).ok()?;
                (u8::from_str_radix(digits, 16).ok()?, &after[2..])
            }
            octet => (*octet, after),
        };
        octets.push(octet);
        rest = after;
    }
    String::from_utf8(octets).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(texts: &[&str]) -> Result<Option<ReportRecord>, BadReportRecord> {
        ReportRecord::find(texts.iter().map(|text| text.as_bytes()))
    }

    /// The addresses of a record, and how many are bad.
    fn found(text: &str) -> (String, usize) {
        let record = find(&[text]).unwrap().unwrap();
        let all: Vec<String> = record.addresses.iter().map(ReportAddress::to_string).collect();
        (all.join(" "), record.bad.len())
    }

    #[test]
    fn addresses_in_every_form() {
        for (text, addresses, bad) in [
            ("v=TLSRPTv1;rua=mailto:reports@example.com", "mailto:reports@example.com", 0),
            ("v=TLSRPTv1 ; rua = MAILTO:a@B.test ;", "mailto:a@b.test", 0),
            ("v=TLSRPTv1; rua=https://r.test/v1/tlsrpt?a=b", "https://r.test/v1/tlsrpt?a=b", 0),
            ("v=TLSRPTv1; rua=HTTPS://R.test:8443/x#f", "HTTPS://R.test:8443/x", 0),
            (
                "v=TLSRPTv1;\trua=mailto:a@b.test,https://c.test , mailto:a@b.test",
                "mailto:a@b.test https://c.test",
                0,
            ),
            ("v=TLSRPTv1; x-1.y_z=*&; rua=mailto:a@b.test; 9=x", "mailto:a@b.test", 0),
            ("v=TLSRPTv1; rua=mailto:a%2bb%21@b.test?subject=x", "mailto:a+b!@b.test", 0),
            ("v=TLSRPTv1; rua=mailto:%22a%2Cb%22@b.test", "mailto:\"a,b\"@b.test", 0),
            (
                "v=TLSRPTv1; rua=mailto:a@b.test; rua=mailto:c@d.test",
                "mailto:a@b.test mailto:c@d.test",
                0,
            ),
            ("v=TLSRPTv1; rua=mailto:a@b.test,ftp://c.test,,d@e.test", "mailto:a@b.test", 3),
        ] {
            assert_eq!(found(text), (addresses.to_owned(), bad), "{text}");
        }
    }

    #[test]
    fn addresses_that_get_nothing() {
        for uri in [
            "",
            "mailto:",
            "mailto:a",
            "mailto:@b.test",
            "mailto:a@b.test!10m",
            "mailto:a@[127.0.0.1]",
            "mailto:a@b.test%0d%0aBcc:%20x@y.test",
            "mailto:a%zz@b.test",
            "mailto:a%ff@b.test",
            "mailto:a b@c.test",
            "http://a.test/",
            "https:/a.test/",
            "https:///x",
            "https://user@a.test/",
            "https://a.test:0/",
            "https://a.test:99999/",
            "https://a.test:x/",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://a..test/",
            "https://a.test\u{e4}/",
            "file:///etc/passwd",
        ] {
            assert_eq!(found(&format!("v=TLSRPTv1; rua={uri}")), (String::new(), 1), "{uri:?}");
        }
        let long = format!("v=TLSRPTv1; rua=https://a.test/{}", "x".repeat(REPORT_ADDRESS_MAX));
        assert_eq!(found(&long), (String::new(), 1));
    }

    #[test]
    fn a_record_is_one_and_whole() {
        let good = "v=TLSRPTv1; rua=mailto:a@b.test";
        assert_eq!(find(&[]), Ok(None));
        for other in [
            "",
            "v=TLSRPTv1",
            "v=TLSRPTv10; rua=mailto:a@b.test",
            "v=tlsrptv1; rua=mailto:a@b.test",
            " v=TLSRPTv1; rua=mailto:a@b.test",
            "rua=mailto:a@b.test; v=TLSRPTv1;",
        ] {
            assert_eq!(find(&[other]), Ok(None), "{other:?}");
            assert!(find(&[other, good]).unwrap().is_some(), "{other:?}");
        }
        assert_eq!(find(&[good, good]), Err(BadReportRecord::Several(2)));
        for (bad, words) in [
            ("v=TLSRPTv1;", "it names no address (rua=)"),
            ("v=TLSRPTv1; RUA=mailto:a@b.test", "it names no address (rua=)"),
            ("v=TLSRPTv1; rua", "\"rua\" is no name=value"),
            ("v=TLSRPTv1;; rua=mailto:a@b.test", "\"\" is no name=value"),
            ("v=TLSRPTv1; -x=1; rua=mailto:a@b.test", "\"-x=1\" is no name=value"),
            (
                "v=TLSRPTv1; rua=mailto:a\u{7}@b.test",
                "\"rua=mailto:a\\x07@b.test\" is no name=value",
            ),
        ] {
            assert_eq!(find(&[bad]).unwrap_err().to_string(), words);
        }
    }

    #[test]
    fn a_flood_of_addresses_ends() {
        let many: Vec<String> = (0..10_000).map(|at| format!("mailto:a{at}@b.test")).collect();
        let record = find(&[&format!("v=TLSRPTv1; rua={}", many.join(","))]).unwrap().unwrap();
        assert_eq!((record.addresses.len(), record.bad.len()), (REPORT_ADDRESSES_MAX, 1));
        let bad = find(&[&format!("v=TLSRPTv1; rua={}", ",".repeat(10_000))]).unwrap().unwrap();
        assert_eq!((bad.addresses.len(), bad.bad.len()), (0, REPORT_ADDRESSES_MAX + 1));
    }
}
