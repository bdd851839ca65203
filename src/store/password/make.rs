//! Makes the entry of a new password.

use super::argon::{Argon, Cost};
use super::scram::ScramKeys;
use super::{NoMemory, Scheme};
use crate::limits::{PASSWORD_MAX, SCRAM_ITERATIONS};
use sha_crypt::{Algorithm, Params, PasswordHasher, ShaCrypt};
use std::fmt;

/// What Dovecot's `doveadm pw` takes: 64 MiB, about a tenth of a second.
const ARGON: Cost = Cost { memory: 64 * 1024, passes: 3, lanes: 1 };

/// About a quarter of a second.
const BCRYPT_COST: u32 = 12;

/// About a tenth of a second; crypt(3)'s own default is 5,000 and of another time.
const SHA_CRYPT_ROUNDS: u32 = 100_000;

/// bcrypt looks at no more of a password, in octets.
const BCRYPT_PASSWORD_MAX: usize = 72;

/// Why no entry can be made of a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPassword {
    Empty,
    /// Longer than this scheme, or any scheme here, takes; the number is that limit in octets.
    Long(usize),
    /// A control character, or for `{PLAIN}` a colon, which ends the field.
    Character,
    NoMemory,
    NoRandomness,
}

impl fmt::Display for BadPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadPassword::Empty => f.write_str("the password is empty"),
            BadPassword::Long(most) => {
                write!(f, "the password is longer than {most} octets, which this scheme cannot use")
            }
            BadPassword::Character => f.write_str(
                "the password holds a control character, or, to be kept plain, a colon or a \
                 space at its end",
            ),
            BadPassword::NoMemory => f.write_str("there is not enough memory to hash the password"),
            BadPassword::NoRandomness => {
                f.write_str("the system gives no random octets; try again")
            }
        }
    }
}

impl std::error::Error for BadPassword {}

impl From<NoMemory> for BadPassword {
    fn from(_: NoMemory) -> BadPassword {
        BadPassword::NoMemory
    }
}

/// `{SCHEME}hash` of a password, with a new salt; computing takes up to half a second.
pub fn make(scheme: Scheme, password: &str) -> Result<String, BadPassword> {
    check(scheme, password)?;
    let octets = password.as_bytes();
    let hash = match scheme {
        Scheme::Argon2id => Argon::make(octets, &salt::<16>()?, ARGON)?.text(),
        Scheme::BlfCrypt => {
            let parts = bcrypt::hash_with_salt(octets, BCRYPT_COST, salt()?);
            let parts = parts.map_err(|_| BadPassword::NoMemory)?;
            // Dovecot's name for this version.
            parts.format_for_version(bcrypt::Version::TwoY)
        }
        Scheme::Sha512Crypt => sha_crypt(Algorithm::Sha512Crypt, octets)?,
        Scheme::Sha256Crypt => sha_crypt(Algorithm::Sha256Crypt, octets)?,
        Scheme::Plain => password.to_owned(),
        Scheme::ScramSha256 => {
            let keys = ScramKeys::derive(octets, &salt::<16>()?, SCRAM_ITERATIONS);
            keys.ok_or(BadPassword::NoMemory)?.text()
        }
    };
    Ok(format!("{{{scheme}}}{hash}"))
}

fn check(scheme: Scheme, password: &str) -> Result<(), BadPassword> {
    let most = match scheme {
        Scheme::BlfCrypt => BCRYPT_PASSWORD_MAX,
        _ => PASSWORD_MAX,
    };
    // A line is read without the white space at its end, and fields end in colons.
    let is_plain_good = !password.contains(':') && password.trim_end() == password;
    if password.is_empty() {
        Err(BadPassword::Empty)
    } else if password.len() > most {
        Err(BadPassword::Long(most))
    } else if password.contains(char::is_control) || scheme == Scheme::Plain && !is_plain_good {
        Err(BadPassword::Character)
    } else {
        Ok(())
    }
}

fn sha_crypt(algorithm: Algorithm, password: &[u8]) -> Result<String, BadPassword> {
    let params = Params::new(SHA_CRYPT_ROUNDS).map_err(|_| BadPassword::NoMemory)?;
    // 12 octets are the 16 characters that the format has room for.
    let hash = ShaCrypt::new(algorithm, params).hash_password_with_salt(password, &salt::<12>()?);
    hash.map(|hash| hash.to_string()).map_err(|_| BadPassword::NoMemory)
}

fn salt<const OCTETS: usize>() -> Result<[u8; OCTETS], BadPassword> {
    let mut salt = [0; OCTETS];
    getrandom::fill(&mut salt).map_err(|_| BadPassword::NoRandomness)?;
    Ok(salt)
}
