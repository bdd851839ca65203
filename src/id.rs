//! Names for messages and sessions: short, sortable by time, never given twice by one process.
//!
//! `m` (message) or `s` (session), ten characters of time, three that differ between processes:
//! `m0fk3v9q2d71xz`. Letters and digits without i, l, o and u, so they can be read out on a phone.

use crate::limits::ID_MAX;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// What each octet is worth as a digit: a count of what waits asks for the time of every message.
const VALUES: [u8; 256] = values();
const NO_DIGIT: u8 = u8::MAX;

const fn values() -> [u8; 256] {
    let (mut values, mut value) = ([NO_DIGIT; 256], 0);
    while value < ALPHABET.len() {
        values[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    values
}

/// 2020-01-01T00:00:00Z; 50 bits of microseconds from there last until 2055.
const EPOCH: Duration = Duration::from_secs(1_577_836_800);

/// Length of an id of ours.
pub const ID_DIGITS: usize = 14;

/// Random digits of 5 bits each at the end of a secret id.
const SECRET_DIGITS: usize = 12;
const _: () = assert!(5 * SECRET_DIGITS <= u64::BITS as usize);

static LAST: AtomicU64 = AtomicU64::new(0);
static SALT: LazyLock<u64> = LazyLock::new(random);

/// A new id for a message.
pub fn message() -> String {
    fresh('m')
}

/// A new id for a session.
pub fn session() -> String {
    fresh('s')
}

/// A longer id that begins with this one, and whose end nobody can guess.
pub fn secret(id: &str) -> String {
    let bits = random();
    id.chars().chain((0..SECRET_DIGITS).map(|n| digit(bits >> (5 * n)))).collect()
}

/// Whether a text can be an id that [`secret`] made.
pub fn is_secret(text: &str) -> bool {
    is_id(text) && text.len() == ID_DIGITS + SECRET_DIGITS
}

/// Whether a text can be an id, ours or another version's: letters and digits, so that it is one
/// name in one directory and steers no terminal. Ids come from people and datagrams too.
pub fn is_id(text: &str) -> bool {
    (1..=ID_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// 64 bits that nobody can guess.
pub fn random() -> u64 {
    let mut octets = [0; 8];
    if getrandom::fill(&mut octets).is_err() {
        // Where the system refuses, std's hash maps still have a random seed.
        return RandomState::new().build_hasher().finish();
    }
    u64::from_ne_bytes(octets)
}

/// When an id of ours was made; none for another text.
pub fn time(id: &str) -> Option<SystemTime> {
    let digits = id.get(1..11).filter(|_| id.len() == ID_DIGITS)?;
    let add = |time: u64, digit: u8| match VALUES[usize::from(digit)] {
        NO_DIGIT => None,
        value => Some(time << 5 | u64::from(value)),
    };
    let micros = digits.bytes().try_fold(0, add)?;
    Some(SystemTime::UNIX_EPOCH + EPOCH + Duration::from_micros(micros))
}

fn fresh(kind: char) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + EPOCH).unwrap_or_default();
    let now = now.as_micros() as u64;
    // Later than the last id, also when two are made in one microsecond or the clock goes back.
    let next = |last: u64| Some(now.max(last + 1));
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or_default();
    let time = now.max(last + 1);
    let time = (0..10).rev().map(|n| digit(time >> (5 * n)));
    let salt = (0..3).map(|n| digit(*SALT >> (5 * n)));
    std::iter::once(kind).chain(time).chain(salt).collect()
}

/// The digit of the lowest five bits.
fn digit(bits: u64) -> char {
    char::from(ALPHABET[(bits & 31) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_knows_its_time() {
        let made = super::time(&super::message()).unwrap();
        // Ids that were made faster than one a microsecond run ahead of the clock, as those of the
        // test beside this one may.
        let apart = made.elapsed().unwrap_or_else(|ahead| ahead.duration());
        assert!(apart.as_secs() < 60, "{made:?}");
        assert_eq!((super::time("m1"), super::time("mlllllllllllll")), (None, None));
        let since = |when: SystemTime| when.duration_since(SystemTime::UNIX_EPOCH + EPOCH).unwrap();
        let micros = |id: &str| time(id).map(|when| since(when).as_micros());
        assert_eq!(micros("m0123456789abc"), Some(0x110_c853_1d09));
        assert_eq!(micros("mzyxwvtsrqpabc"), Some(0x3_feef_37ac_e2f6));
        for other in ["mi123456789abc", "mA123456789abc", "m-123456789abc"] {
            assert_eq!(micros(other), None);
        }
    }

    #[test]
    fn ids_differ_and_sort() {
        let ids: Vec<String> = (0..10_000).map(|_| super::message()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(ids[0].len() == 14 && ids[0].starts_with('m'));
        assert!(super::is_id(&ids[0]));
        for other in ["", "..", "a/b", "m1\n", "*", "mé", &"m".repeat(256)] {
            assert!(!super::is_id(other), "{other:?}");
        }
        let secret = super::secret(&ids[0]);
        assert!(secret.starts_with(&ids[0]) && secret != super::secret(&ids[0]));
        assert!(super::is_secret(&secret) && !super::is_secret(&ids[0]));
    }
}
