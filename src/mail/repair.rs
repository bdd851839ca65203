//! The header of a message that one of our own users sends, by submission or by `sendmail`: missing fields
//! are added (RFC 6409 §8), blind copies are hidden (RFC 5322 §3.6.3), and its authors and recipients are
//! read. Pure.
//!
//! Line ends are LF: the caller has converted them. All other octets stay as they are, however broken; the
//! body is not looked at.
//!
//! A message with a Resent- field is one that somebody sends on unchanged (RFC 5322 §3.6.6): it is for
//! the Resent- recipients alone, and its Resent- fields are completed, as Postfix does.

mod author;
mod lexer;
mod list;

use super::address::{BadAddress, Domain, Mailbox};
use super::header::{EndedBy, Field, Header, HeaderEnd};
use super::trace_fields::date;
use super::visible::is_hidden;
use crate::limits::{FROM_ADDRESSES_MAX, QUOTED_MAX, SUBMITTED_HEADER_MAX};
use jiff::ZonedDateTime;
use lexer::{Lexer, Token};
pub use list::{BadList, ListFlaw};
use std::borrow::Cow;
use std::fmt;

/// The header of a message that one of our own users sends, as it came.
#[derive(Debug)]
pub struct SubmittedHeader<'a>(Header<'a>);

/// The values with which a header is completed.
#[derive(Debug)]
pub struct Completion<'a> {
    pub date: &'a ZonedDateTime,
    /// Without angle brackets, by the grammar of RFC 5322 §3.6.4.
    pub message_id: &'a str,
    /// The author's name as a person writes it; it may hold any character.
    pub name: Option<&'a str>,
    /// The address for From where the message has none, as it is written there.
    pub from: &'a str,
    /// Replaces any Sender field; none where that field stays as it is.
    pub sender: Option<&'a Mailbox>,
    /// The domain of an address without one.
    pub domain: Domains<'a>,
}

/// The domains of addresses that are written without one.
#[derive(Clone, Copy, Debug)]
pub enum Domains<'a> {
    /// The first is for addresses in From, Sender and Reply-To, the second for recipients.
    Known(&'a Domain, &'a Domain),
    /// Not known yet: the addresses stay without a domain.
    Later,
}

/// The header has more than [`SUBMITTED_HEADER_MAX`] octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderTooLong;

impl fmt::Display for HeaderTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the header is longer than {SUBMITTED_HEADER_MAX} octets")
    }
}

impl std::error::Error for HeaderTooLong {}

/// A field whose addresses do not read: `To: "ann smith@mx.test": …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadField {
    /// As the message writes it.
    pub field: String,
    /// What does not read, fit to be shown.
    pub piece: String,
    pub flaw: ListFlaw,
}

impl fmt::Display for BadField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: \"{}\": {}", self.field, self.piece, self.flaw)
    }
}

impl std::error::Error for BadField {}

impl<'a> SubmittedHeader<'a> {
    /// Reads the header at the start of a message; `is_whole` when nothing comes behind `octets`.
    /// None: more is needed to see where the header ends.
    pub fn read(
        octets: &'a [u8],
        is_whole: bool,
    ) -> Result<Option<SubmittedHeader<'a>>, HeaderTooLong> {
        let Some(mut header) = Header::bounded(octets, is_whole, SUBMITTED_HEADER_MAX) else {
            return Ok(None);
        };
        if header.end.by == EndedBy::Bound {
            // A line of this length without a colon is text: its author wrote no header.
            let is_text = |field: &Field<'_>| memchr::memchr2(b':', b'\n', field.lines).is_none();
            let at = header.fields.pop().filter(is_text).ok_or(HeaderTooLong)?.at as u64;
            header.end = HeaderEnd { at, body_at: at, by: EndedBy::Text };
        }
        Ok(Some(SubmittedHeader(header)))
    }

    /// Where the body begins, in octets from the start of the message: behind the empty line, if
    /// there is one.
    pub fn body_at(&self) -> usize {
        self.0.end.body_at as usize
    }

    /// The new header, with its empty line (RFC 6409 §8): no Bcc, no Resent-Bcc; Date, From and Message-ID
    /// (or their Resent- fields) added when they are missing or empty, one that is there stays, however
    /// broken; an address without a domain gets one, in every field that reads.
    pub fn completed(&self, with: &Completion) -> Vec<u8> {
        let mut added = self.added(with);
        // A message that is sent on keeps the Sender that it has, or none.
        let sender = with.sender.filter(|_| !self.is_resent());
        if let Some(sender) = sender {
            added.push_str(&format!("Sender: {sender}\n"));
        }
        self.written(&added, |field| {
            let is_replaced = field.is_any(&["Sender"]) && sender.is_some();
            let is_nothing = field.is_any(&COMPLETED) && is_empty(field);
            (!is_replaced && !is_nothing).then(|| qualified(field, with.domain))
        })
    }

    /// Whether a Sender field is needed: From names several authors (RFC 5322 §3.6.2), or one that is not the
    /// submitter, or does not read. Not in a message that is sent on, whose author is another, and not where From
    /// is missing: the submitter is put there. `domain`: of an address without one.
    pub fn wants_sender(&self, domain: &Domain, is_own: impl Fn(&Mailbox) -> bool) -> bool {
        match self.authors(domain) {
            _ if self.is_resent() => false,
            Ok(authors) if authors.is_empty() => false,
            Ok(authors) => authors.len() > 1 || !authors.iter().all(is_own),
            Err(_) => true,
        }
    }

    /// Whether there are several From fields that name somebody: programs that show mail differ in which they show.
    pub fn has_several_from(&self) -> bool {
        self.0.named("From").filter(|field| !is_empty(field)).count() > 1
    }

    /// As [`SubmittedHeader::wants_sender`], for a submitter that may write as anybody: a Sender field is needed
    /// only where there are several authors and no Sender.
    pub fn lacks_sender(&self, domain: &Domain) -> bool {
        let is_there = |field: &Field<'_>| field.is_any(&["Sender"]) && !is_empty(field);
        self.authors(domain).is_ok_and(|authors| authors.len() > 1)
            && !self.is_resent()
            && !self.0.fields.iter().any(is_there)
    }

    /// The header with the `added` fields. `write` gives a field as it is to be; none leaves it out.
    fn written<'b>(
        &'b self,
        added: &str,
        write: impl Fn(&'b Field<'a>) -> Option<Cow<'b, [u8]>>,
    ) -> Vec<u8> {
        let resent = self.is_resent();
        let length: usize = self.0.fields.iter().map(|field| field.lines.len()).sum();
        let mut header = Vec::with_capacity(added.len() + length + 2);
        // A block of Resent- fields stands on top (RFC 5322 §3.6.6); other fields may stand anywhere.
        if resent {
            header.extend_from_slice(added.as_bytes());
        }
        for field in self.0.fields.iter().filter(|field| !field.is_any(&["Bcc", "Resent-Bcc"])) {
            let Some(lines) = write(field) else { continue };
            header.extend_from_slice(&lines);
            if !lines.ends_with(b"\n") {
                header.push(b'\n');
            }
        }
        if !resent {
            header.extend_from_slice(added.as_bytes());
        }
        header.push(b'\n');
        header
    }

    /// The recipients of `sendmail -t`: To, Cc and Bcc, or their Resent- fields when there is any Resent-
    /// field; in the order of the message, repeated where the message repeats one. An address without a
    /// domain is at `default`. More than `most` are refused.
    pub fn recipients(&self, default: &Domain, most: usize) -> Result<Vec<Mailbox>, BadField> {
        let names = match self.is_resent() {
            true => ["Resent-To", "Resent-Cc", "Resent-Bcc"],
            false => ["To", "Cc", "Bcc"],
        };
        let length = |mailbox: &Mailbox| mailbox.check_length();
        self.mailboxes(&names, default, most, length)
    }

    /// The authors: all mailboxes of all From fields; none when there is no From. An
    /// address without a domain is at `default`.
    pub fn authors(&self, default: &Domain) -> Result<Vec<Mailbox>, BadField> {
        self.mailboxes(&["From"], default, FROM_ADDRESSES_MAX, |_| Ok(()))
    }

    fn mailboxes(
        &self,
        names: &[&str],
        default: &Domain,
        most: usize,
        check: impl Fn(&Mailbox) -> Result<(), BadAddress>,
    ) -> Result<Vec<Mailbox>, BadField> {
        let mut found = Vec::new();
        for field in self.0.fields.iter().filter(|field| field.is_any(names)) {
            let take = |mailbox: Mailbox| {
                check(&mailbox).map_err(ListFlaw::Address)?;
                found.push(mailbox);
                if found.len() > most { Err(ListFlaw::TooMany(most)) } else { Ok(()) }
            };
            list::read(field.value, default, take).map_err(|bad| bad_field(field, bad))?;
        }
        Ok(found)
    }

    fn added(&self, with: &Completion) -> String {
        let prefix = if self.is_resent() { "Resent-" } else { "" };
        let mut added = String::new();
        let lacks = |name: &str| {
            let name = format!("{prefix}{name}");
            !self.0.fields.iter().any(|field| field.is_any(&[&name]) && !is_empty(field))
        };
        if lacks("Date") {
            added.push_str(&format!("{prefix}Date: {}\n", date(with.date)));
        }
        if lacks("From") {
            let author = author::display(with.name, with.from);
            added.push_str(&format!("{prefix}From: {author}\n"));
        }
        if lacks("Message-ID") {
            added.push_str(&format!("{prefix}Message-ID: <{}>\n", with.message_id));
        }
        added
    }

    /// Whether the message is sent on by another than its author (RFC 5322 §3.6.6).
    pub fn is_resent(&self) -> bool {
        const PREFIX: &[u8] = b"Resent-";
        let start = |field: &Field<'a>| field.name.get(..PREFIX.len());
        let mut starts = self.0.fields.iter().filter_map(start);
        starts.any(|start| start.eq_ignore_ascii_case(PREFIX))
    }
}

/// The mailboxes of a list as the value of one field, in their order, at most `most`. Fails where an address is broken
/// or has no domain, and where an `@` stands in a name: some programs take what is around it for the address.
pub fn mailboxes(value: &[u8], most: usize) -> Result<Vec<Mailbox>, ListFlaw> {
    let nowhere = Domain::parse("invalid").map_err(ListFlaw::Address)?;
    let mut found = Vec::new();
    let take = |mailbox: Mailbox| {
        found.push(mailbox);
        if found.len() > most { Err(ListFlaw::TooMany(most)) } else { Ok(()) }
    };
    list::read(value, &nowhere, take).map_err(|bad| bad.flaw)?;
    let (mut lexer, mut signs) = (Lexer::new(value), 0);
    while let Some(token) = lexer.token()? {
        signs += usize::from(token == Token::Mark(b'@'));
    }
    match list::unqualified(value, &nowhere) {
        Ok(bare) if bare.is_empty() && signs == found.len() => Ok(found),
        Ok(bare) if bare.is_empty() => Err(ListFlaw::Stray(b'@')),
        _ => Err(ListFlaw::Address(BadAddress::NoDomain)),
    }
}

/// Whether a field holds nothing but comments and empty brackets: `From: <>`, `Message-ID: (none)`.
fn is_empty(field: &Field<'_>) -> bool {
    let (mut lexer, mut marks) = (Lexer::new(field.value), Vec::new());
    while let Ok(token) = lexer.token() {
        match token {
            None => {
                return matches!(&marks[..], b"<>") || marks.iter().all(|mark| *mark == b',');
            }
            Some(Token::Mark(mark)) => marks.push(mark),
            Some(_) => return false,
        }
    }
    false
}

/// The field with a domain for every address without one; as it came where it does not read.
fn qualified<'a>(field: &Field<'a>, domains: Domains<'_>) -> Cow<'a, [u8]> {
    let domain = match domains {
        Domains::Known(domain, _) if field.is_any(&WRITERS) => domain,
        Domains::Known(_, domain) if field.is_any(&READERS) => domain,
        Domains::Known(..) | Domains::Later => return Cow::Borrowed(field.lines),
    };
    let bare = list::unqualified(field.value, domain).unwrap_or_default();
    if bare.is_empty() {
        return Cow::Borrowed(field.lines);
    }
    let value_at = field.lines.len() - field.value.len();
    let mut lines = Vec::with_capacity(field.lines.len() + bare.len() * 32);
    let mut done = 0;
    for end in bare {
        lines.extend_from_slice(&field.lines[done..value_at + end]);
        lines.extend_from_slice(format!("@{domain}").as_bytes());
        done = value_at + end;
    }
    lines.extend_from_slice(&field.lines[done..]);
    Cow::Owned(lines)
}

fn bad_field(field: &Field<'_>, bad: BadList) -> BadField {
    let name = String::from_utf8_lossy(field.name).into_owned();
    BadField { field: name, piece: shown(&field.value[bad.piece]), flaw: bad.flaw }
}

/// Fields that are lists of addresses (RFC 5322 §3.6.2, §3.6.3, §3.6.6): of writers, and of readers. Bcc is
/// not among them because it is removed.
const WRITERS: [&str; 5] = ["From", "Sender", "Reply-To", "Resent-From", "Resent-Sender"];
const READERS: [&str; 4] = ["To", "Cc", "Resent-To", "Resent-Cc"];

/// Fields that are removed when they are empty, because an empty one is worse than none.
const COMPLETED: [&str; 8] = [
    "Date",
    "From",
    "Message-ID",
    "Sender",
    "Resent-Date",
    "Resent-From",
    "Resent-Message-ID",
    "Resent-Sender",
];

/// A piece of a field for people to read: on one line, short, and without characters that would move a
/// cursor or turn text around.
fn shown(piece: &[u8]) -> String {
    // A character has at most 4 octets.
    let cut = &piece[..piece.len().min(4 * QUOTED_MAX + 4)];
    let text = String::from_utf8_lossy(cut);
    let words = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    let visible = |c| if is_hidden(c) { char::REPLACEMENT_CHARACTER } else { c };
    let mut shown: String = words.chars().take(QUOTED_MAX).map(visible).collect();
    if cut.len() < piece.len() || words.chars().nth(QUOTED_MAX).is_some() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests;
