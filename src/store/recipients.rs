//! Who exists at a domain elsewhere: a file with an address or a local part a line.
//!
//! A bad line is named and spoils nothing else; `#` begins a comment. Names are compared without regard to ASCII
//! case, as everywhere here.

use super::disk::StoreError;
use super::table::{self, BadLine};
use crate::mail::address::{Domain, Host, LocalPart, Mailbox};
use std::collections::HashSet;
use std::path::Path;

/// The recipients of one domain, in ASCII lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownRecipients(HashSet<String>);

/// What separates a user from a tag. What the other host takes for one is not known; this is what most do.
const TAG: char = '+';

/// The mailbox that exists at each domain (RFC 5321 §4.5.1).
const POSTMASTER: &str = "postmaster";

impl KnownRecipients {
    /// Reads the file of a domain; gives its recipients and the lines that are none.
    pub fn read(file: &Path, domain: &Domain) -> Result<(Self, Vec<BadLine>), StoreError> {
        Ok(KnownRecipients::parse(&table::read(file)?, file, domain))
    }

    /// Reads the octets of a file; its path `file` is only named in bad lines.
    pub fn parse(octets: &[u8], file: &Path, domain: &Domain) -> (Self, Vec<BadLine>) {
        let (mut known, mut bad) = (KnownRecipients::default(), Vec::new());
        for (line, text) in (1..).zip(octets.split(|&octet| octet == b'\n')) {
            let text = text.trim_ascii();
            if text.is_empty() || text.starts_with(b"#") {
                continue;
            }
            match name(text, domain) {
                Ok(local) => drop(known.0.insert(local.as_str().to_ascii_lowercase())),
                Err(what) => bad.push(BadLine::new(file, line, &what)),
            }
        }
        (known, bad)
    }

    /// Whether somebody of this name exists, with a tag or without. Postmaster always does.
    pub fn has(&self, local: &LocalPart) -> bool {
        let name = local.as_str().to_ascii_lowercase();
        let user = name.split_once(TAG).map(|(user, _)| user);
        is_postmaster(local) || self.0.contains(&name) || user.is_some_and(|it| self.0.contains(it))
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// Whether it is postmaster's local part, with a tag or without.
pub fn is_postmaster(local: &LocalPart) -> bool {
    let user = local.as_str().split(TAG).next();
    user.is_some_and(|user| user.eq_ignore_ascii_case(POSTMASTER))
}

fn name(text: &[u8], domain: &Domain) -> Result<LocalPart, String> {
    let text = str::from_utf8(text).map_err(|_| "expected UTF-8".to_owned())?;
    // A local part alone may be quoted, as in an address, or written plainly.
    let parsed = match text.contains('@') {
        true => Mailbox::parse(text),
        false => Mailbox::parse(&format!("{text}@{domain}")),
    };
    match parsed {
        Ok(Mailbox { local, host }) if host == Host::Domain(domain.clone()) => Ok(local),
        Ok(Mailbox { host, .. }) => Err(format!("recipient {text}: {host} is not {domain}")),
        Err(why) => Err(format!("recipient {text:?}: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_who_is_there() {
        let text =
            b"# people\r\n\nAnn\nbob@FAR.test\r\n\"e ve\"\n eve@near.test \na b\n\xff\n@far.test\n";
        let domain = Domain::parse("far.test").unwrap();
        let (known, bad) = KnownRecipients::parse(text, Path::new("r"), &domain);
        let has = |name: &str| known.has(&LocalPart::from_plain(name).unwrap());
        assert_eq!(["ann", "BOB", "ann+x", "e ve", "Postmaster"].map(has), [true; 5]);
        assert_eq!(["eve", "annx", "+ann", "x+ann"].map(has), [false; 4]);
        let bad: Vec<String> = bad.iter().map(ToString::to_string).collect();
        assert_eq!((known.count(), bad.len()), (3, 4), "{bad:?}");
        assert_eq!(bad[0], "r:6: recipient eve@near.test: near.test is not far.test");
        assert_eq!(bad[2], "r:8: expected UTF-8");
    }
}
