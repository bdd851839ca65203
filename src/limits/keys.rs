//! What bounds the keys that sign: files, what is remembered of them, and questions about them.

use super::trust::KEY_RECORD_MAX;
use std::time::Duration;

/// Octets of a file with a private key: an RSA key of 8,192 bits takes 6 KiB.
pub const KEY_FILE_MAX: u64 = 32 * 1024;

/// Names that are looked at in a directory of keys.
pub const KEY_NAMES_MAX: usize = 1000;

/// Keys of one directory that are read; more are named, and not used.
pub const KEYS_MAX: usize = 32;

/// Octets of a selector: the name of its file has to fit, and the name that DNS is asked for.
pub const SELECTOR_MAX: usize = 100;

/// Octets of the file that remembers what DNS has shown of one domain's keys.
pub const SHOWN_FILE_MAX: u64 = 64 * 1024;

/// Keys that are remembered for one domain; the ones that were retired first are forgotten first.
pub const SHOWN_KEYS_MAX: usize = 100;
const _: () = assert!(SHOWN_KEYS_MAX > KEYS_MAX);
const _: () = assert!((SHOWN_KEYS_MAX * (SELECTOR_MAX + 250)) as u64 <= SHOWN_FILE_MAX);

/// Age from which on a draft of such a file is what a crash left.
pub const SHOWN_DRAFT_AGE: Duration = Duration::from_hours(1);

/// How long a key has to be shown before it takes over from one that signs: a server of names, or a cache, may
/// not know it yet.
pub const KEY_TAKES_OVER: Duration = Duration::from_hours(1);

/// How often DNS is asked for the keys.
pub const KEYS_ASK: Duration = Duration::from_hours(1);

/// How often, while an answer is missing.
pub const KEYS_ASK_AGAIN: Duration = Duration::from_mins(5);
const _: () = assert!(KEYS_ASK_AGAIN.as_secs() < KEYS_ASK.as_secs());

/// How often the directories are looked at while no session begins.
pub const KEYS_LOOK: Duration = Duration::from_mins(1);

/// How often at most because sessions begin.
pub const KEYS_LOOK_SESSION: Duration = Duration::from_secs(1);

/// How long a start waits for the first answers about a domain of which nothing is remembered, so that its first
/// message can be signed.
pub const KEYS_FIRST: Duration = Duration::from_secs(3);

/// Records at the name of a key that are compared with it.
pub const KEY_NAME_RECORDS_MAX: usize = 8;
const _: () = assert!(KEY_NAME_RECORDS_MAX * KEY_RECORD_MAX <= 65_536);
