//! What DNS has shown of the keys of a domain, in `spool/dkim/DOMAIN`: plain text, for people too.
//!
//! ```text
//! domain example.org
//! key 20261201r rsa 9f86d0... first 2026-12-01T08:00:00Z last 2026-12-01T09:00:00Z hidden - signs 2026-12-01T08:00:00Z retired -
//! end
//! ```
//!
//! Holds digests of public keys only. A file that is torn, or another domain's, is named and counts as lost: what it
//! said has to be asked from DNS again, and until that has answered, mail waits.

use super::KeyKind;
use crate::limits::keys::{KEY_NAMES_MAX, SHOWN_DRAFT_AGE, SHOWN_FILE_MAX, SHOWN_KEYS_MAX};
use crate::mail::address::Domain;
use crate::mail::proof::name::Name;
use crate::store::disk::{Disk, RealDisk, StoreError};
use crate::store::maildir::make_with_parents;
use crate::store::table;
use crate::store::table::{FileStamp, NewFile};
use jiff::Timestamp;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Hexadecimal digits of a digest.
const DIGEST: usize = 64;

/// A key that DNS has shown once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownKey {
    pub selector: Name,
    pub kind: KeyKind,
    /// [`super::DomainKey::digest`]
    pub digest: String,
    /// When it was first seen.
    pub first: Timestamp,
    /// When it was last seen.
    pub last: Timestamp,
    /// Since when DNS says for sure that it is not there any more.
    pub hidden: Option<Timestamp>,
    /// When it began to sign.
    pub signs: Option<Timestamp>,
    /// When it ceased to sign.
    pub retired: Option<Timestamp>,
}

/// All that is remembered for a domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShownKeys {
    pub keys: Vec<ShownKey>,
    /// What was known was lost, and DNS has not said yet what it shows.
    pub is_lost: bool,
}

impl ShownKeys {
    /// The text of the file.
    pub fn text(&self, domain: &Domain) -> String {
        let mut text = format!(
            "# What DNS has shown of the DKIM keys of {domain}, and which of them sign. Written by facteur.\n\
             domain {domain}\n"
        );
        for key in &self.keys {
            let when =
                |when: Option<Timestamp>| when.map_or("-".to_owned(), |when| when.to_string());
            let (selector, kind, digest) = (&key.selector, key.kind, &key.digest);
            let (first, last) = (key.first, key.last);
            let (hidden, signs, retired) = (when(key.hidden), when(key.signs), when(key.retired));
            // Writing into a String cannot fail.
            let _ = writeln!(
                text,
                "key {selector} {kind} {digest} first {first} last {last} hidden {hidden} signs {signs} \
                 retired {retired}"
            );
        }
        text.push_str(if self.is_lost { "lost\nend\n" } else { "end\n" });
        text
    }

    /// Reads the text of a file. Fails with what is wrong, where it is not all that was written for this domain.
    pub fn parse(octets: &[u8], domain: &Domain) -> Result<ShownKeys, String> {
        if octets.len() as u64 > SHOWN_FILE_MAX {
            return Err("it is too long".to_owned());
        }
        let text = str::from_utf8(octets).map_err(|_| "it is no text".to_owned())?;
        let (mut shown, mut is_ours, mut is_whole) = (ShownKeys::default(), false, false);
        for (at, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            match words[..] {
                [] => {}
                [first, ..] if first.starts_with('#') => {}
                _ if is_whole => return Err(format!("line {}: text behind the end", at + 1)),
                ["domain", name] if name == domain.as_str() => is_ours = true,
                ["domain", _] => return Err("it belongs to another domain".to_owned()),
                ["lost"] => shown.is_lost = true,
                ["end"] => is_whole = true,
                ["key", ref words @ ..] if shown.keys.len() < SHOWN_KEYS_MAX => {
                    let key = ShownKey::parse(words);
                    shown.keys.push(key.ok_or_else(|| format!("line {}: no key", at + 1))?);
                }
                _ => return Err(format!("line {} makes no sense", at + 1)),
            }
        }
        match (is_ours, is_whole && text.ends_with('\n')) {
            (false, _) => Err("it names no domain".to_owned()),
            (true, false) => Err("its end is missing".to_owned()),
            (true, true) => Ok(shown),
        }
    }
}

impl ShownKey {
    fn parse(words: &[&str]) -> Option<ShownKey> {
        let &[
            selector,
            kind,
            digest,
            "first",
            first,
            "last",
            last,
            "hidden",
            hidden,
            "signs",
            signs,
            "retired",
            retired,
        ] = words
        else {
            return None;
        };
        let is_digest = digest.len() == DIGEST
            && digest.bytes().all(|octet| octet.is_ascii_digit() || (b'a'..=b'f').contains(&octet));
        let when = |text: &str| match text {
            "-" => Some(None),
            text => Some(Some(text.parse::<Timestamp>().ok()?)),
        };
        Some(ShownKey {
            selector: super::selector(selector)?,
            kind: KeyKind::parse(kind)?,
            digest: digest.to_owned(),
            first: when(first)??,
            last: when(last)??,
            hidden: when(hidden)?,
            signs: when(signs)?,
            retired: when(retired)?,
        })
        .filter(|_| is_digest)
    }
}

/// The file of a domain.
pub fn path(spool: &Path, domain: &Domain) -> PathBuf {
    spool.join("dkim").join(domain.as_str())
}

/// Whether anything was ever written for a domain.
pub fn is_there(spool: &Path, domain: &Domain) -> bool {
    FileStamp::of(&path(spool, domain)) != FileStamp::default()
}

/// What is remembered for a domain, and what is wrong with the file.
pub fn read(spool: &Path, domain: &Domain) -> (ShownKeys, Option<String>) {
    let path = path(spool, domain);
    match table::read(&path) {
        Ok(octets) => known(&octets, &path, domain),
        Err(error) if error.source.kind() == ErrorKind::NotFound => (ShownKeys::default(), None),
        Err(error) => (lost(), Some(error.to_string())),
    }
}

/// Changes what is remembered for a domain, whole or not at all; gives what is remembered now. Several processes
/// may do so at once. The file belongs to whoever this process is.
pub fn change(
    spool: &Path,
    domain: &Domain,
    change: impl FnOnce(ShownKeys) -> ShownKeys,
) -> Result<ShownKeys, StoreError> {
    let path = path(spool, domain);
    let dir = path.parent().unwrap_or(spool);
    make_with_parents(&RealDisk, dir)?;
    let mut now = ShownKeys::default();
    table::change(&path, NewFile::private(None), |octets| {
        let is_new = octets.is_empty() && FileStamp::of(&path) == FileStamp::default();
        let known = match is_new {
            true => ShownKeys::default(),
            false => known(octets, &path, domain).0,
        };
        now = change(known.clone());
        let is_other = is_new || now != known;
        Ok::<_, StoreError>(is_other.then(|| now.text(domain).into_bytes()))
    })?;
    Ok(now)
}

/// Removes what a crash left while a file was replaced. A failure is no harm: the next start tries again.
pub fn clean(spool: &Path, now: SystemTime) {
    let dir = spool.join("dkim");
    let is_draft = |name: &OsStr| name.as_encoded_bytes().starts_with(b".");
    for name in RealDisk.list_some(&dir, KEY_NAMES_MAX, &is_draft).unwrap_or_default() {
        let path = dir.join(name);
        // A command may be writing one at this moment.
        let is_old = RealDisk.stat(&path).is_ok_and(|meta| {
            now.duration_since(meta.modified).is_ok_and(|age| age >= SHOWN_DRAFT_AGE)
        });
        if is_old {
            let _ = RealDisk.remove(&path);
        }
    }
}

fn known(octets: &[u8], path: &Path, domain: &Domain) -> (ShownKeys, Option<String>) {
    match ShownKeys::parse(octets, domain) {
        Ok(shown) => (shown, None),
        Err(what) => {
            let what = format!("{}: {what}; DNS is asked anew", path.display());
            (lost(), Some(what))
        }
    }
}

fn lost() -> ShownKeys {
    ShownKeys { is_lost: true, ..ShownKeys::default() }
}
