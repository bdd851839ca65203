//! The grammar of paths and mailboxes, read octet by octet (RFC 5321 §4.1.2, §4.1.3; RFC 6531 §3.3).
//!
//! Octets, not text, until a part is known to be UTF-8; each error says which part is wrong.
//! Whether UTF-8 was asked for is not looked at here.

use super::{BadAddress, Domain, Host, LocalPart, Mailbox};
use crate::limits::{LABEL_MAX, PATH_MAX};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One label of a domain, "sub-domain" of RFC 5321 §4.1.2, 1 to 63 octets; underscores, which that
/// section forbids, are for names of clients only.
pub fn is_label(label: &[u8], underscores: bool) -> bool {
    let edge = |b: u8| b.is_ascii_alphanumeric() || (underscores && b == b'_');
    matches!(label, [first, .., last] if edge(*first) && edge(*last))
        && label.len() <= LABEL_MAX
        && label.iter().all(|&b| edge(b) || b == b'-')
        || matches!(label, [only] if edge(*only))
}

/// "atext" of RFC 5322 §3.2.3. What lies beyond ASCII is for the caller to allow (RFC 6531 §3.3).
pub fn is_atext(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b)
}

/// `<[route]mailbox>` at the start of `text`; gives the mailbox and what follows. Longer than
/// [`PATH_MAX`] octets, brackets and route included, is `PathLong` (RFC 5321 §4.5.3.1.3), also where
/// only its A-labels make it so: as those it is queued and sent on.
pub fn path(text: &[u8]) -> Result<(Mailbox, &[u8]), BadAddress> {
    let inner = text.strip_prefix(b"<").ok_or(BadAddress::NoBrackets)?;
    // Only the path has to be UTF-8, not what stands behind it: octets that are not are its own
    // when no `>` comes before them.
    if inner
        .utf8_chunks()
        .next()
        .is_some_and(|chunk| !chunk.invalid().is_empty() && !chunk.valid().contains('>'))
    {
        return Err(BadAddress::NotUtf8);
    }
    let mut cursor = Cursor { rest: inner };
    cursor.route()?;
    let mailbox = cursor.mailbox()?;
    let rest = cursor.rest.strip_prefix(b">").ok_or(match cursor.rest {
        [] => BadAddress::NoBrackets,
        // The host ended at an octet that no host has.
        _ => BadAddress::Domain,
    })?;
    match text.len() - rest.len() > PATH_MAX || is_too_long(&mailbox) {
        true => Err(BadAddress::PathLong),
        false => Ok((mailbox, rest)),
    }
}

/// Whether a mailbox, as it is written, is too long for a path.
pub fn is_too_long(mailbox: &Mailbox) -> bool {
    mailbox.to_string().len() + "<>".len() > PATH_MAX
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

    /// `@a,@b:` is read and dropped (RFC 5321 §3.3, appendix C). Address literals are let pass in
    /// it, which "At-domain" has not: nobody follows it anyway.
    fn route(&mut self) -> Result<(), BadAddress> {
        if !self.take(b'@') {
            return Ok(());
        }
        loop {
            self.host().map_err(|_| BadAddress::Route)?;
            if self.take(b':') {
                return Ok(());
            }
            if !(self.take(b',') && self.take(b'@')) {
                return Err(BadAddress::Route);
            }
        }
    }

    /// "Mailbox" of RFC 5321 §4.1.2. The local part may have any length here: its bound depends on
    /// whose it is.
    pub fn mailbox(&mut self) -> Result<Mailbox, BadAddress> {
        let local = match self.rest.first() {
            Some(b'"') => self.quoted()?,
            _ => self.dotted()?,
        };
        if !self.take(b'@') {
            return Err(match self.rest.first() {
                None | Some(b'>') if !local.is_empty() => BadAddress::NoDomain,
                _ => BadAddress::LocalPart,
            });
        }
        let host = self.host()?;
        Ok(Mailbox { local: LocalPart(local), host })
    }

    /// "Dot-string" of RFC 5321 §4.1.2: a dot at an end or beside another makes an empty atom.
    fn dotted(&mut self) -> Result<String, BadAddress> {
        let text = self.take_while(|b| is_atext(b) || b == b'.' || b > 127);
        if text.split(|&b| b == b'.').any(<[u8]>::is_empty) {
            return Err(BadAddress::LocalPart);
        }
        plain(text.to_vec())
    }

    /// "Quoted-string" of RFC 5321 §4.1.2, without its quotes and backslashes.
    fn quoted(&mut self) -> Result<String, BadAddress> {
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
        plain(text)
    }

    /// Takes all that could belong to a domain, and lets [`Domain::parse`] judge it.
    fn host(&mut self) -> Result<Host, BadAddress> {
        if self.rest.first() == Some(&b'[') {
            return self.literal().map(Host::Literal);
        }
        let text = self.take_while(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b) || b > 127);
        let text = str::from_utf8(text).map_err(|_| BadAddress::NotUtf8)?;
        Domain::parse(text).map(Host::Domain)
    }

    /// `[192.0.2.1]` or `[IPv6:2001:db8::1]`; no other tag is registered (RFC 5321 §4.1.3).
    /// Stricter than the grammar in one thing, as std is: no leading zeros, which some read as
    /// octal.
    pub fn literal(&mut self) -> Result<IpAddr, BadAddress> {
        self.take(b'[');
        let text = self.take_while(|b| b.is_ascii_alphanumeric() || b":.-".contains(&b));
        if !self.take(b']') {
            return Err(BadAddress::Literal);
        }
        let text = str::from_utf8(text).map_err(|_| BadAddress::Literal)?;
        let tagged = text.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:"));
        match tagged {
            Some(_) => text[5..].parse::<Ipv6Addr>().map(IpAddr::V6).ok(),
            None => text.parse::<Ipv4Addr>().map(IpAddr::V4).ok(),
        }
        .ok_or(BadAddress::Literal)
    }
}

/// The text of a local part; RFC 6531 allows UTF-8, but no controls beyond ASCII's (C1).
fn plain(text: Vec<u8>) -> Result<String, BadAddress> {
    let text = String::from_utf8(text).map_err(|_| BadAddress::NotUtf8)?;
    match text.chars().any(char::is_control) {
        true => Err(BadAddress::LocalPart),
        false => Ok(text),
    }
}
