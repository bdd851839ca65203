//! The fields that final delivery puts on top: Return-Path, Delivered-To, Received
//! (RFC 5321 §4.4). Pure: the moment is passed in.

use super::address::{ClientName, Domain, ForwardPath, Mailbox, ReversePath, literal};
use super::edits::Edits;
use super::xtext;
use core::net::IpAddr;
use jiff::ZonedDateTime;
use std::fmt::Write as _;
use std::ops::Range;

/// The field that tells a server which keeps mail that we judged a message to be junk.
pub const JUNK_MARK: &str = "X-Facteur-Junk";

/// A date with a numeric zone (RFC 5322 §3.3), for strftime(3).
const DATE: &str = "%a, %d %b %Y %H:%M:%S %z";

/// Octets that most Received fields need.
const FIELD_USUAL: usize = 320;

/// What a Received field tells.
#[derive(Debug)]
pub struct Received<'a> {
    /// As the client named itself.
    pub name: &'a ClientName,
    pub client: IpAddr,
    /// Our name.
    pub by: &'a Domain,
    /// The protocol, by the names of RFC 3848: `ESMTP`, `SMTP`.
    pub with: &'static str,
    /// The cipher suite (RFC 8314 §4.3); none where the message came in the clear.
    pub tls: Option<&'a str>,
    pub id: &'a str,
    /// The recipient; none where there are several, so that they are not told of each other.
    pub recipient: Option<&'a ForwardPath>,
    pub date: &'a ZonedDateTime,
}

impl Received<'_> {
    /// The whole field, folded, with LF line ends.
    pub fn field(&self) -> String {
        let mut field = String::with_capacity(FIELD_USUAL);
        let Received { client, by, with, id, .. } = self;
        let (name, client) = (self.name.as_str(), literal(*client));
        // Writing to a String cannot fail.
        let _ = write!(field, "Received: from {name} ({client})\n\tby {by} with {with} id {id}");
        if let Some(recipient) = self.recipient {
            let _ = write!(field, "\n\tfor <{recipient}>");
        }
        // Clauses beyond those of RFC 5321 stand last (§4.4, Additional-Registered-Clauses).
        if let Some(suite) = self.tls {
            let _ = write!(field, "\n\ttls {suite}");
        }
        let _ = writeln!(field, ";\n\t{}", self.date.strftime(DATE));
        field
    }
}

/// What a Received field tells of a message that a user of this machine wrote.
#[derive(Debug)]
pub struct Submitted<'a> {
    pub uid: u32,
    pub login: &'a str,
    /// Our name.
    pub by: &'a Domain,
    pub id: &'a str,
    pub date: &'a ZonedDateTime,
}

impl Submitted<'_> {
    /// The whole field, folded, with LF line ends. Its `from` clause is missing, as with other servers,
    /// because there was no client to be named in it.
    pub fn field(&self) -> String {
        // Only characters that cannot end the comment or the field.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '$');
        let login = match self.login.chars().all(is_plain) {
            true => format!(" {}", self.login),
            false => String::new(),
        };
        let Submitted { uid, by, id, .. } = self;
        let date = date(self.date);
        format!("Received: by {by} (from uid {uid}{login})\n\tid {id};\n\t{date}\n")
    }
}

/// `Return-Path: <reverse-path>`.
pub fn return_path(from: &ReversePath) -> String {
    match from {
        ReversePath::Null => "Return-Path: <>\n".to_owned(),
        ReversePath::Mailbox(mailbox) => format!("Return-Path: <{mailbox}>\n"),
    }
}

/// `Delivered-To: mailbox`, by which a loop is known when the message comes again.
pub fn delivered_to(mailbox: &Mailbox) -> String {
    format!("Delivered-To: {mailbox}\n")
}

/// `Delivered-To: alias` on mail that an alias sends on, by which the alias knows it again.
pub fn sent_on_by(alias: &Mailbox) -> String {
    format!("Delivered-To: {}\n", in_ascii(alias))
}

/// These changes of a message, and those for a server that keeps it: our mark where it is junk, and no other;
/// `marks`: where those of others lie.
pub fn kept_as(edits: Edits, marks: &[Range<u64>], is_junk: bool) -> Edits {
    let edits = edits.without(marks);
    if is_junk { edits.on_top(format!("{JUNK_MARK}: yes\n")) } else { edits }
}

/// An address in ASCII, other characters escaped (RFC 6533 §3): the field of an alias must not make a
/// message need SMTPUTF8 that did not need it before.
pub fn in_ascii(mailbox: &Mailbox) -> String {
    let ascii = |c: char| if c.is_ascii() { c.to_string() } else { xtext::escape(c) };
    mailbox.to_string().chars().map(ascii).collect()
}

/// A date with a numeric zone (RFC 5322 §3.3).
pub fn date(moment: &ZonedDateTime) -> String {
    moment.strftime(DATE).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_clause() {
        let date = "2026-02-03T04:05:06+01:00[+01:00]".parse::<ZonedDateTime>().unwrap();
        let (path, _) = ForwardPath::parse(b"<Ann@mx.test>").unwrap();
        let mut received = Received {
            name: &ClientName::parse(b"Client.test").unwrap(),
            client: "2001:db8::1".parse().unwrap(),
            by: &Domain::parse("mx.test").unwrap(),
            with: "ESMTP",
            tls: None,
            id: "1abc",
            recipient: Some(&path),
            date: &date,
        };
        assert_eq!(
            received.field(),
            "Received: from Client.test ([IPv6:2001:db8::1])\n\tby mx.test with ESMTP id 1abc\n\
             \tfor <Ann@mx.test>;\n\tTue, 03 Feb 2026 04:05:06 +0100\n"
        );
        let by = received.by;
        let mut submitted = Submitted { uid: 1000, login: "ann", by, id: "1abc", date: &date };
        assert_eq!(
            submitted.field(),
            "Received: by mx.test (from uid 1000 ann)\n\tid 1abc;\n\tTue, 03 Feb 2026 04:05:06 \
             +0100\n"
        );
        submitted.login = "a)\nBcc: x";
        assert!(submitted.field().contains("(from uid 1000)\n\tid"));
        received.recipient = None;
        assert!(received.field().contains("id 1abc;\n\tTue, 03"));
        let alias = Mailbox::parse("\"J\u{fc}rgen x\"@mx.test").unwrap();
        assert_eq!(sent_on_by(&alias), "Delivered-To: \"J\\x{FC}rgen x\"@mx.test\n");
        received.tls = Some("TLS_AES_128_GCM_SHA256");
        assert!(received.field().contains("id 1abc\n\ttls TLS_AES_128_GCM_SHA256;\n\tTue, 03"));
    }
}
