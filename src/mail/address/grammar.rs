//! The grammar of paths and mailboxes, read octet by octet (RFC 5321 §4.1.2, §4.1.3; RFC 6531 §3.3).
//!
//! More is taken than that grammar has, where it can be read in one way only (RFC 5321 §6.4): programs
//! write blanks, missing or doubled brackets, comments, names before the address, and dots and hyphens
//! where they like. Octets, not text, until a part is known to be UTF-8; each error says which part is
//! wrong. Whether UTF-8 was asked for is not looked at here.

use super::{BadAddress, Domain, Host, LocalPart, Mailbox};
use crate::limits::{LABEL_MAX, PATH_MAX};
use core::fmt::{self, Write as _};
use core::net::{IpAddr, Ipv6Addr};

/// One label of a domain, "sub-domain" of RFC 5321 §4.1.2, 1 to 63 octets. `is_odd`: underscores, and
/// hyphens at its ends, which that section forbids and names in the field have.
pub fn is_label(label: &[u8], is_odd: bool) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || is_odd && b == b'_';
    let is_edge = |b: Option<&u8>| b.is_some_and(|&b| is_odd || b != b'-');
    (1..=LABEL_MAX).contains(&label.len())
        && label.iter().all(|&b| inner(b))
        && is_edge(label.first())
        && is_edge(label.last())
}

/// "atext" of RFC 5322 §3.2.3. What lies beyond ASCII is for the caller to allow (RFC 6531 §3.3).
pub fn is_atext(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b)
}

/// What a path says, in any command.
pub enum Path {
    Null,
    Mailbox(Mailbox),
    /// A local part without a domain; whether it came without quotes.
    Local(LocalPart, bool),
}

/// Brackets on one side: one more than there should be.
const BRACKETS_MAX: usize = 2;

/// `<[route]mailbox>` at the start of `text`, with or without its brackets; gives what it says and what
/// follows. Longer than [`PATH_MAX`] octets, brackets and route included, is `PathLong` (RFC 5321
/// §4.5.3.1.3), also where only its A-labels make it so: as those it is queued and sent on.
pub fn path(text: &[u8]) -> Result<(Path, &[u8]), BadAddress> {
    let mut cursor = Cursor { rest: text };
    cursor.blanks();
    let begun = cursor.rest.len();
    // Only the path has to be UTF-8, not what stands behind it: octets that are not UTF-8 belong to the
    // path when no `>` comes before them.
    if cursor
        .rest
        .utf8_chunks()
        .next()
        .is_some_and(|chunk| !chunk.invalid().is_empty() && !chunk.valid().contains('>'))
    {
        return Err(BadAddress::NotUtf8);
    }
    let opened = cursor.open()?;
    if opened > 0 && cursor.rest.first() == Some(&b'>') {
        cursor.close(opened)?;
        return Ok((Path::Null, cursor.rest));
    }
    cursor.route()?;
    let at = cursor.rest;
    let local = LocalPart(cursor.local()?);
    let is_plain = !at[..at.len() - cursor.rest.len()].contains(&b'"');
    if opened > 0 {
        cursor.skip()?;
    }
    let is_whole = cursor.take(b'@');
    let host = is_whole.then(|| cursor.host_of(opened > 0)).transpose()?;
    let is_closed = cursor.close(opened)?;
    if !is_closed && !cursor.is_at_end() {
        return Err(match (&host, opened) {
            // The host ended at an octet that no host has.
            (Some(_), _) => BadAddress::Domain,
            (None, 0) => BadAddress::NoBrackets,
            (None, _) => BadAddress::LocalPart,
        });
    }
    let path = match host {
        Some(host) => Path::Mailbox(Mailbox { local, host }),
        // A whole address in quotes: whether its domain is meant as one, nobody can tell.
        None if local.0.contains('@') => return Err(BadAddress::NoDomain),
        // Cut off, or a parameter whose address is missing.
        None if opened > 0 && !is_closed || opened == 0 && local.0.contains('=') => {
            return Err(BadAddress::NoBrackets);
        }
        None => Path::Local(local, is_plain),
    };
    let is_long = matches!(&path, Path::Mailbox(mailbox) if is_too_long(mailbox));
    match begun - cursor.rest.len() > PATH_MAX || is_long {
        true => Err(BadAddress::PathLong),
        false => Ok((path, cursor.rest)),
    }
}

/// Whether a mailbox, as it is written, is too long for a path.
pub fn is_too_long(mailbox: &Mailbox) -> bool {
    let mut length = Length(0);
    // Counting cannot fail.
    let _ = write!(length, "<{mailbox}>");
    length.0 > PATH_MAX
}

/// Counts octets that are written.
struct Length(usize);

impl fmt::Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

/// What is left to read. Each method takes its part from the front; after an error `rest` means
/// nothing.
pub struct Cursor<'a> {
    pub rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take_while(&mut self, good: impl Fn(u8) -> bool) -> &'a [u8] {
        let length = self.rest.iter().take_while(|&&b| good(b)).count();
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }

    fn take(&mut self, octet: u8) -> bool {
        let found = self.rest.first() == Some(&octet);
        self.rest = &self.rest[usize::from(found)..];
        found
    }

    /// Space and tab.
    fn blanks(&mut self) {
        self.take_while(is_blank);
    }

    /// Blanks and comments, `(...)` of RFC 5322 §3.2.2, which mean nothing.
    fn skip(&mut self) -> Result<(), BadAddress> {
        loop {
            self.blanks();
            if self.rest.first() != Some(&b'(') {
                return Ok(());
            }
            let mut depth = 0_usize;
            loop {
                match *self.rest {
                    [] => return Err(BadAddress::LocalPart),
                    [b'\\', _, ..] => self.rest = &self.rest[1..],
                    [b'(', ..] => depth += 1,
                    [b')', ..] => depth -= 1,
                    [..] => {}
                }
                self.rest = &self.rest[1..];
                if depth == 0 {
                    break;
                }
            }
        }
    }

    /// The brackets before an address, with the name of its owner in front of them or between; gives
    /// how many there are.
    fn open(&mut self) -> Result<usize, BadAddress> {
        let mut opened = 0;
        loop {
            if opened > 0 {
                self.skip()?;
            }
            if !self.take(b'<') && !self.name() {
                return Ok(opened);
            }
            opened += 1;
            if opened > BRACKETS_MAX {
                return Err(BadAddress::NoBrackets);
            }
        }
    }

    /// Words before an opening bracket, "phrase" of RFC 5322 §3.2.5, and that bracket; nothing is taken
    /// where none follows.
    fn name(&mut self) -> bool {
        let mut ahead = Cursor { rest: self.rest };
        loop {
            match ahead.rest.first() {
                Some(b'"') if ahead.quoted().is_ok() => {}
                Some(&b) if is_atext(b) || b > 127 || is_blank(b) || b == b'.' => {
                    ahead.rest = &ahead.rest[1..];
                }
                Some(b'<') if ahead.rest.len() < self.rest.len() => break,
                _ => return false,
            }
        }
        ahead.take(b'<');
        self.rest = ahead.rest;
        true
    }

    /// The brackets behind an address of which `opened` stand before it; gives whether there is one.
    fn close(&mut self, opened: usize) -> Result<bool, BadAddress> {
        let mut closed = 0;
        while closed < BRACKETS_MAX {
            let before = self.rest;
            if closed < opened {
                self.skip()?;
            }
            if !self.take(b'>') {
                self.rest = before;
                break;
            }
            closed += 1;
        }
        Ok(closed > 0)
    }

    /// Whether nothing follows, or a blank.
    fn is_at_end(&self) -> bool {
        self.rest.first().is_none_or(|&b| is_blank(b))
    }

    /// `@a,@b:` is read and dropped (RFC 5321 §3.3, appendix C). Address literals are let pass in
    /// it, which "At-domain" has not: nobody follows it anyway.
    fn route(&mut self) -> Result<(), BadAddress> {
        if !self.take(b'@') {
            return Ok(());
        }
        loop {
            self.host().map_err(|_| BadAddress::Route)?;
            if self.take(b':') {
                self.blanks();
                return Ok(());
            }
            if !self.take(b',') {
                return Err(BadAddress::Route);
            }
            self.blanks();
            if !self.take(b'@') {
                return Err(BadAddress::Route);
            }
        }
    }

    /// "Local-part" of RFC 5321 §4.1.2, of any length here: its bound is another for senders than for
    /// recipients. Dots may stand anywhere, and quoted words beside others, as in RFC 5322 §4.4; but two
    /// words have a dot between them.
    fn local(&mut self) -> Result<String, BadAddress> {
        let (mut text, mut after_word, begun) = (Vec::new(), false, self.rest.len());
        loop {
            match self.rest.first() {
                Some(b'.') => {
                    text.extend_from_slice(self.take_while(|b| b == b'.'));
                    after_word = false;
                }
                Some(b'"') if !after_word => {
                    text.extend(self.quoted()?);
                    after_word = true;
                }
                Some(&b) if !after_word && (is_atext(b) || b > 127) => {
                    text.extend_from_slice(self.take_while(|b| is_atext(b) || b > 127));
                    after_word = true;
                }
                Some(b'"') => return Err(BadAddress::LocalPart),
                Some(&b) if is_atext(b) || b > 127 => return Err(BadAddress::LocalPart),
                _ if self.rest.len() == begun => {
                    return Err(match self.rest {
                        [] => BadAddress::NoBrackets,
                        [..] => BadAddress::LocalPart,
                    });
                }
                _ => return plain(text),
            }
        }
    }

    /// What follows the `@`; blanks and comments around it are skipped where `in_brackets`.
    fn host_of(&mut self, in_brackets: bool) -> Result<Host, BadAddress> {
        if in_brackets {
            self.skip()?;
        }
        self.host()
    }

    /// "Quoted-string" of RFC 5321 §4.1.2, without its quotes and backslashes.
    fn quoted(&mut self) -> Result<Vec<u8>, BadAddress> {
        self.take(b'"');
        let mut text = Vec::new();
        loop {
            match *self.rest {
                [b'"', ..] => break,
                // `\n` means n, as all quoted forms of a name are one name (RFC 5321 §4.1.2).
                [b'\\', b @ 32..=126, ..] => {
                    text.push(b);
                    self.rest = &self.rest[2..];
                }
                [b'\\', ..] => return Err(BadAddress::LocalPart),
                // UTF-8 may stand in quotes, but not behind a backslash (RFC 6531 §3.3).
                [b @ (32..=126 | 128..=255), ..] => {
                    text.push(b);
                    self.rest = &self.rest[1..];
                }
                _ => return Err(BadAddress::LocalPart),
            }
        }
        self.take(b'"');
        Ok(text)
    }

    /// Takes all octets that could belong to a domain; [`Domain::parse`] decides whether they are one.
    fn host(&mut self) -> Result<Host, BadAddress> {
        if self.rest.first() == Some(&b'[') {
            return self.literal().map(Host::Literal);
        }
        let text = self.take_while(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b) || b > 127);
        let text = str::from_utf8(text).map_err(|_| BadAddress::NotUtf8)?;
        Domain::parse(text).map(Host::Domain)
    }

    /// `[192.0.2.1]` or `[IPv6:2001:db8::1]`; no other tag is registered (RFC 5321 §4.1.3). An IPv6
    /// address without its tag, or without the bracket at its end, is clear all the same. Stricter than
    /// the grammar in one thing, as std is: no leading zeros, which some read as octal.
    pub fn literal(&mut self) -> Result<IpAddr, BadAddress> {
        self.take(b'[');
        let text = self.take_while(|b| b.is_ascii_alphanumeric() || b":.-".contains(&b));
        if !self.take(b']') && !self.is_at_end() && self.rest.first() != Some(&b'>') {
            return Err(BadAddress::Literal);
        }
        let text = str::from_utf8(text).map_err(|_| BadAddress::Literal)?;
        let tagged = text.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:"));
        match tagged {
            Some(_) => text[5..].parse::<Ipv6Addr>().map(IpAddr::V6).ok(),
            None => text.parse::<IpAddr>().ok(),
        }
        .ok_or(BadAddress::Literal)
    }
}

fn is_blank(b: u8) -> bool {
    matches!(b, b' ' | b'\t')
}

/// The text of a local part; RFC 6531 allows UTF-8, but no controls beyond ASCII's (C1).
fn plain(text: Vec<u8>) -> Result<String, BadAddress> {
    let text = String::from_utf8(text).map_err(|_| BadAddress::NotUtf8)?;
    match text.chars().any(char::is_control) {
        true => Err(BadAddress::LocalPart),
        false => Ok(text),
    }
}
