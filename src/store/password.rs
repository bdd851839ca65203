//! What a users file keeps of a password: Dovecot's `{SCHEME}hash`, read, verified and made.
//!
//! A [`Stored`] that exists can be verified within bounds of memory and time; an entry that asks for
//! more is refused when it is read. Passwords are octets as they come: neither SASLprep nor NFC is
//! applied, since Dovecot, which reads the same file, applies none.
//!
//! Never shows a hash or a password: `Debug` gives the scheme alone.

mod argon;
mod make;
mod scram;

use crate::limits::{BCRYPT_COST_MAX, PASSWORD_MAX, SHA_CRYPT_ROUNDS_MAX};
use argon::Argon;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use bcrypt::HashParts;
pub use make::{BadPassword, make};
pub use scram::ScramKeys;
use sha_crypt::{PasswordVerifier, ShaCrypt};
use std::fmt;

/// How a password is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Argon2id,
    BlfCrypt,
    Sha512Crypt,
    Sha256Crypt,
    Plain,
    ScramSha256,
}

/// One entry's password, checked and within the bounds of [`crate::limits`].
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    scheme: Scheme,
    hash: Hash,
}

#[derive(Clone, PartialEq, Eq)]
enum Hash {
    Argon(Argon),
    /// The whole text of the hash in bcrypt's own form; below, in that of SHA-crypt.
    Bcrypt(String),
    ShaCrypt(String),
    Plain(String),
    Scram(ScramKeys),
}

/// There is not enough memory now to compute the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

impl Scheme {
    /// All schemes that are read; the first one is written by default.
    pub const ALL: [Scheme; 6] = [
        Scheme::Argon2id,
        Scheme::BlfCrypt,
        Scheme::Sha512Crypt,
        Scheme::Sha256Crypt,
        Scheme::Plain,
        Scheme::ScramSha256,
    ];

    /// The name as it stands in braces.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Argon2id => "ARGON2ID",
            Scheme::BlfCrypt => "BLF-CRYPT",
            Scheme::Sha512Crypt => "SHA512-CRYPT",
            Scheme::Sha256Crypt => "SHA256-CRYPT",
            Scheme::Plain => "PLAIN",
            Scheme::ScramSha256 => "SCRAM-SHA-256",
        }
    }

    /// The scheme of this name, in any case of letters.
    pub fn parse(name: &str) -> Option<Scheme> {
        // Dovecot's other names for PLAIN.
        if ["CLEARTEXT", "CLEAR"].iter().any(|other| name.eq_ignore_ascii_case(other)) {
            return Some(Scheme::Plain);
        }
        Scheme::ALL.into_iter().find(|scheme| name.eq_ignore_ascii_case(scheme.name()))
    }

    /// The scheme of an entry without one, or with `{CRYPT}`, by the mark with which crypt(3) begins a hash.
    fn of_crypt(hash: &str) -> Option<Scheme> {
        match hash.get(..3)? {
            "$6$" => Some(Scheme::Sha512Crypt),
            "$5$" => Some(Scheme::Sha256Crypt),
            "$2a" | "$2b" | "$2y" => Some(Scheme::BlfCrypt),
            _ => None,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}", self.scheme)
    }
}

impl Stored {
    /// Reads `{SCHEME}hash`; the error says what is wrong and never repeats the hash. Nothing is
    /// computed.
    pub fn parse(field: &str) -> Result<Stored, String> {
        let (scheme, hash) = match field.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some((name, hash)) if name.eq_ignore_ascii_case("CRYPT") => {
                (Scheme::of_crypt(hash).ok_or("{CRYPT} of a kind that is not read here")?, hash)
            }
            Some((name, hash)) => match Scheme::parse(name) {
                Some(scheme) => (scheme, hash),
                None => return Err(format!("{{{name}}} is no scheme that is read here")),
            },
            None => (Scheme::of_crypt(field).ok_or("expected {SCHEME} before the hash")?, field),
        };
        let parsed = match scheme {
            Scheme::Argon2id => Argon::parse(hash).map(Hash::Argon),
            Scheme::BlfCrypt => bcrypt(hash).map(Hash::Bcrypt),
            Scheme::Sha512Crypt => sha_crypt(hash, "6", 86).map(Hash::ShaCrypt),
            Scheme::Sha256Crypt => sha_crypt(hash, "5", 43).map(Hash::ShaCrypt),
            Scheme::Plain if hash.is_empty() => Err("an empty password"),
            Scheme::Plain if hash.len() > PASSWORD_MAX => Err("the password is too long"),
            Scheme::Plain => Ok(Hash::Plain(hash.to_owned())),
            Scheme::ScramSha256 => ScramKeys::parse(hash).map(Hash::Scram),
        };
        match parsed {
            Ok(hash) => Ok(Stored { scheme, hash }),
            Err(what) => Err(format!("{{{scheme}}}: {what}")),
        }
    }

    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether this is the password. A wrong one takes as long as the right one: up to some seconds of one
    /// processor, and up to [`crate::limits::ARGON2_MEMORY_MAX`] of memory.
    pub fn verify(&self, password: &str) -> Result<bool, NoMemory> {
        // Some schemes take time by the square of the length.
        if password.len() > PASSWORD_MAX {
            return Ok(false);
        }
        let octets = password.as_bytes();
        Ok(match &self.hash {
            Hash::Argon(argon) => argon.verify(octets)?,
            // It was checked when the entry was read, so this does not fail.
            Hash::Bcrypt(hash) => bcrypt::verify(octets, hash).unwrap_or(false),
            Hash::ShaCrypt(hash) => {
                ShaCrypt::default().verify_password(octets, hash.as_str()).is_ok()
            }
            // Their digests are compared, which have the same length.
            Hash::Plain(plain) => {
                let (one, other) = (digest(&SHA256, plain.as_bytes()), digest(&SHA256, octets));
                verify_slices_are_equal(one.as_ref(), other.as_ref()).is_ok()
            }
            Hash::Scram(keys) => keys.verify(octets),
        })
    }

    /// Whether SCRAM-SHA-256 can be spoken with this entry: only with SCRAM keys, or with the password itself.
    pub fn can_scram(&self) -> bool {
        matches!(self.hash, Hash::Scram(_) | Hash::Plain(_))
    }

    /// The keys for SCRAM-SHA-256; `salt` and `iterations` are used for a password that is kept plain.
    pub fn scram_keys(&self, salt: &[u8], iterations: u32) -> Option<ScramKeys> {
        match &self.hash {
            Hash::Scram(keys) => Some(keys.clone()),
            Hash::Plain(plain) => ScramKeys::derive(plain.as_bytes(), salt, iterations),
            Hash::Argon(_) | Hash::Bcrypt(_) | Hash::ShaCrypt(_) => None,
        }
    }
}

fn bcrypt(hash: &str) -> Result<String, &'static str> {
    let parts: HashParts = hash.parse().map_err(|_| "the hash is damaged")?;
    match parts.get_cost() {
        // The broken variant, of which nobody knows what was hashed.
        _ if hash.starts_with("$2x") => Err("$2x$ is not read here"),
        cost if cost > BCRYPT_COST_MAX => Err("the cost is above 15, which takes too long"),
        cost if cost < 4 => Err("the cost is below 4"),
        _ => Ok(hash.to_owned()),
    }
}
const _: () = assert!(BCRYPT_COST_MAX == 15); // the message names it

/// `$id$[rounds=N$]salt$hash`, the hash of `length` characters.
fn sha_crypt(hash: &str, id: &str, length: usize) -> Result<String, &'static str> {
    const DAMAGED: &str = "the hash is damaged";
    let mut fields = hash.strip_prefix('$').ok_or(DAMAGED)?.split('$');
    if fields.next() != Some(id) {
        return Err(DAMAGED);
    }
    let mut next = fields.next().ok_or(DAMAGED)?;
    if let Some(rounds) = next.strip_prefix("rounds=") {
        match rounds.parse::<u32>() {
            Ok(rounds) if rounds > SHA_CRYPT_ROUNDS_MAX => {
                return Err("more than 1,000,000 rounds, which take too long");
            }
            Ok(rounds) if rounds >= sha_crypt::Params::ROUNDS_MIN => {}
            _ => return Err("fewer than 1,000 rounds"),
        }
        next = fields.next().ok_or(DAMAGED)?;
    }
    let is_crypt = |text: &str| {
        text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"./".contains(&octet))
    };
    match (next, fields.next(), fields.next()) {
        (salt, Some(end), None) if salt.len() <= 16 && is_crypt(salt) => {
            match end.len() == length && is_crypt(end) {
                true => Ok(hash.to_owned()),
                false => Err(DAMAGED),
            }
        }
        _ => Err(DAMAGED),
    }
}
const _: () = assert!(SHA_CRYPT_ROUNDS_MAX == 1_000_000); // the message names it

#[cfg(test)]
mod tests;
