//! Makes new keys: RSA of 2,048 bits and Ed25519, as PKCS #8 in PEM, which OpenSSL and OpenDKIM read.
//!
//! Never overwrites a file: a key gets its name once it is whole and durable. Mode 0600, as a directory that is made
//! is 0700.

use super::{DomainKey, KeyKind};
use crate::mail::proof::dkim::sign::SigningKey;
use crate::mail::proof::name::Name;
use crate::store::disk::StoreError;
use crate::store::fresh;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{self, KeySize};
use aws_lc_rs::signature::Ed25519KeyPair;
use base64ct::{Base64, Encoding};
use nix::unistd::{Gid, Uid};
use std::fmt;
use std::path::Path;

/// Columns of a line of a PEM text (RFC 7468 §2).
const COLUMNS: usize = 64;

/// Why there is no new key.
#[derive(Debug)]
pub enum KeyMakeError {
    /// The library has made none; it does not say why.
    Library,
    Disk(StoreError),
}

impl fmt::Display for KeyMakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyMakeError::Library => f.write_str("no key could be made"),
            KeyMakeError::Disk(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for KeyMakeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            KeyMakeError::Library => None,
            KeyMakeError::Disk(error) => Some(error),
        }
    }
}

impl From<StoreError> for KeyMakeError {
    fn from(error: StoreError) -> KeyMakeError {
        KeyMakeError::Disk(error)
    }
}

/// Makes a directory for keys, for its owner alone, with those above it, which all may pass through. One that is there
/// stays as it is.
pub fn make_dir(dir: &Path, owner: Option<(Uid, Gid)>) -> Result<(), StoreError> {
    fresh::make_dir(dir, 0o700, owner)
}

/// Makes a key and its file in a directory. Fails where the name is taken.
pub fn make_key(
    dir: &Path,
    selector: &Name,
    kind: KeyKind,
    owner: Option<(Uid, Gid)>,
) -> Result<DomainKey, KeyMakeError> {
    let mut text = pem(kind).ok_or(KeyMakeError::Library)?;
    let path = dir.join(format!("{selector}.{kind}.pem"));
    let written = fresh::write_new(&path, &text, 0o600, owner);
    // Read back as a server will read it.
    let key = SigningKey::from_pem(&text);
    text.fill(0);
    std::hint::black_box(&text);
    written?;
    let key = key.map_err(|_| KeyMakeError::Library)?;
    DomainKey::new(selector.clone(), kind, key).map_err(|_| KeyMakeError::Library)
}

/// A new key as PKCS #8 of version 1, which all programs read, in PEM.
fn pem(kind: KeyKind) -> Option<Vec<u8>> {
    let mut text = b"-----BEGIN PRIVATE KEY-----\n".to_vec();
    // Large enough from the start: no part of a key stays behind where it grows.
    text.reserve(4096);
    let add = |text: &mut Vec<u8>, der: &[u8]| {
        let mut base64 = Base64::encode_string(der).into_bytes();
        for line in base64.chunks(COLUMNS) {
            text.extend_from_slice(line);
            text.push(b'\n');
        }
        base64.fill(0);
        std::hint::black_box(&base64);
    };
    match kind {
        KeyKind::Rsa => {
            let pair = rsa::KeyPair::generate(KeySize::Rsa2048).ok()?;
            let der: Pkcs8V1Der = pair.as_der().ok()?;
            add(&mut text, der.as_ref());
        }
        KeyKind::Ed25519 => {
            let pair = Ed25519KeyPair::generate().ok()?;
            add(&mut text, pair.to_pkcs8v1().ok()?.as_ref());
        }
    }
    text.extend_from_slice(b"-----END PRIVATE KEY-----\n");
    Some(text)
}
