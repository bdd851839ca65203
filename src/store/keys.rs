//! Keys that sign mail: a directory of `SELECTOR.rsa.pem` and `SELECTOR.ed25519.pem` for each domain.
//!
//! A file that group or others can read, one that is damaged, or one with a wrong name is named, and the rest is
//! used. No private key is shown: not by `Debug`, not in an error. [`make`] writes new keys, [`shown`] remembers
//! what DNS has shown.

mod files;
pub mod make;
pub mod shown;

use crate::limits::keys::{KEYS_MAX, SELECTOR_MAX};
use crate::mail::proof::dkim::field::Algorithm;
use crate::mail::proof::dkim::sign::SigningKey;
use crate::mail::proof::name::Name;
use crate::store::disk::is_passing;
use aws_lc_rs::digest;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use files::KeyDirStamp;

/// A type of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    Rsa,
    Ed25519,
}

impl KeyKind {
    pub const ALL: [KeyKind; 2] = [KeyKind::Rsa, KeyKind::Ed25519];

    /// `rsa`, `ed25519`.
    pub fn parse(text: &str) -> Option<KeyKind> {
        KeyKind::ALL.into_iter().find(|kind| kind.word() == text)
    }

    pub fn word(self) -> &'static str {
        match self {
            KeyKind::Rsa => "rsa",
            KeyKind::Ed25519 => "ed25519",
        }
    }

    fn of(key: &SigningKey) -> KeyKind {
        match key.algorithm() {
            Algorithm::RsaSha256 => KeyKind::Rsa,
            Algorithm::Ed25519Sha256 => KeyKind::Ed25519,
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A key and its name.
#[derive(Debug)]
pub struct DomainKey {
    pub selector: Name,
    pub kind: KeyKind,
    pub key: SigningKey,
    /// The record that DNS has to show.
    pub record: String,
    /// SHA-256 of the record, in hexadecimal digits: by it the key is known again.
    pub digest: String,
}

/// A file that has the name of a key, and is none that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadKeyFile {
    pub path: PathBuf,
    /// Whose key it would be; none where its name is wrong.
    pub name: Option<(Name, KeyKind)>,
    pub what: String,
}

impl fmt::Display for BadKeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}

/// What a directory of keys holds.
#[derive(Clone, Debug, Default)]
pub struct KeyDir {
    /// By type, then by selector.
    pub keys: Vec<Arc<DomainKey>>,
    pub bad: Vec<BadKeyFile>,
    /// Why the directory cannot be read: nothing is known of its keys.
    pub error: Option<String>,
    /// The error may be gone the next time: descriptors or memory were short.
    pub is_passing: bool,
}

/// Whether a selector can stand in a signature and in the name of a file: labels of letters, digits and hyphens
/// (RFC 6376 §3.1).
pub fn selector(text: &str) -> Option<Name> {
    let inside = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-';
    let good =
        |label: &str| label.bytes().all(inside) && !label.starts_with('-') && !label.ends_with('-');
    let is_good = text.len() <= SELECTOR_MAX && text.split('.').all(good);
    Name::parse(text.as_bytes()).filter(|_| is_good && !text.ends_with('.'))
}

/// What the name of a file says: no key, the name of a key, or something wrong.
fn key_name(name: &OsStr) -> Option<Result<(Name, KeyKind), String>> {
    let lossy = name.to_string_lossy();
    // Drafts, and what other programs hide.
    if lossy.starts_with('.') {
        return None;
    }
    let stem = lossy.strip_suffix(".pem")?;
    let named = KeyKind::ALL
        .into_iter()
        .find_map(|kind| Some((stem.strip_suffix(kind.word())?.strip_suffix('.')?, kind)));
    Some(match named {
        None => Err("a key is called SELECTOR.rsa.pem or SELECTOR.ed25519.pem".to_owned()),
        Some((text, kind)) => match selector(text).filter(|_| name.to_str().is_some()) {
            Some(selector) => Ok((selector, kind)),
            None => Err(format!(
                "no selector: expected at most {SELECTOR_MAX} letters, digits, hyphens and dots"
            )),
        },
    })
}

impl KeyDir {
    /// Reads all keys of a directory.
    pub fn read(dir: &Path) -> KeyDir {
        let mut found = KeyDir::default();
        let names = match files::names(dir) {
            Ok((names, left_out)) => {
                if left_out {
                    found.refuse(
                        dir.to_owned(),
                        None,
                        "holds too many files: not all were looked at",
                    );
                }
                names
            }
            Err(error) => {
                found.is_passing = error.is_passing();
                found.error = Some(error.to_string());
                return found;
            }
        };
        let mut named = Vec::new();
        for name in names {
            match key_name(&name) {
                None => {}
                Some(Ok((selector, kind))) => named.push((kind, selector, dir.join(name))),
                Some(Err(what)) => found.refuse(dir.join(name), None, &what),
            }
        }
        // The greatest selectors first: where there are too many, the others are older.
        named.sort_by(|a, b| b.cmp(a));
        let mut left = KEYS_MAX;
        let mut before: Option<(KeyKind, Name)> = None;
        for (kind, selector, path) in named {
            let own = Some((selector.clone(), kind));
            if before.replace((kind, selector.clone())) == Some((kind, selector.clone())) {
                found.refuse(path, own, "another file has the same selector");
            } else if left == 0 {
                found.refuse(path, own, &format!("there are more than {KEYS_MAX} keys"));
            } else {
                left -= 1;
                found.add(path, selector, kind);
            }
        }
        found.keys.sort_by(|a, b| (a.kind, &a.selector).cmp(&(b.kind, &b.selector)));
        found.bad.sort_by(|a, b| a.path.cmp(&b.path));
        found
    }

    fn add(&mut self, path: PathBuf, selector: Name, kind: KeyKind) {
        let read = match files::read(&path) {
            Ok(mut octets) => {
                let key = SigningKey::from_pem(&octets);
                octets.fill(0);
                std::hint::black_box(&octets);
                key.map_err(|why| why.to_string())
            }
            Err(error) => {
                self.is_passing |= is_passing(&error);
                Err(error.to_string())
            }
        };
        match read.and_then(|key| DomainKey::new(selector.clone(), kind, key)) {
            Ok(key) => self.keys.push(Arc::new(key)),
            Err(what) => self.refuse(path, Some((selector, kind)), &what),
        }
    }

    fn refuse(&mut self, path: PathBuf, name: Option<(Name, KeyKind)>, what: &str) {
        self.bad.push(BadKeyFile { path, name, what: what.to_owned() });
    }
}

impl DomainKey {
    /// Fails where the key is of another type than its name says.
    fn new(selector: Name, kind: KeyKind, key: SigningKey) -> Result<DomainKey, String> {
        if KeyKind::of(&key) != kind {
            return Err(format!("holds a key of type {}, not {kind}", KeyKind::of(&key)));
        }
        let record = key.record().map_err(|why| why.to_string())?;
        let digest = digest::digest(&digest::SHA256, record.as_bytes());
        let digest = digest.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
        Ok(DomainKey { selector, kind, key, record, digest })
    }
}

#[cfg(test)]
mod tests;
