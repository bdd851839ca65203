//! What bounds AUTH, passwords and their hashes.

use super::{DOMAIN_MAX, LOCAL_PART_MAX, REPLY_LINE_MAX};
use std::time::Duration;

/// Longest line of an AUTH exchange, in octets with CR LF (RFC 4954 §4).
pub const AUTH_LINE_MAX: usize = 12_288;

/// Longest login name, in octets: a whole address.
pub const LOGIN_NAME_MAX: usize = LOCAL_PART_MAX + 1 + DOMAIN_MAX;

/// Longest password, in octets. Some hashes take time by the square of it.
pub const PASSWORD_MAX: usize = 1024;
const _: () = assert!(2 * (2 * LOGIN_NAME_MAX + PASSWORD_MAX) < AUTH_LINE_MAX); // PLAIN, in base64

/// Most memory that one ARGON2ID entry may ask for, in KiB: the most that `doveadm pw` makes. One hash is
/// computed at a time.
pub const ARGON2_MEMORY_MAX: u32 = 1024 * 1024;

/// Most that memory in KiB times passes may be: about ten seconds.
pub const ARGON2_WORK_MAX: u64 = 10 * 1024 * 1024;

/// Most lanes of one ARGON2ID entry; they are computed one after the other.
pub const ARGON2_LANES_MAX: u32 = 16;

/// Most that a BLF-CRYPT entry may cost, as a power of two: about two seconds.
pub const BCRYPT_COST_MAX: u32 = 15;

/// Most rounds of a SHA-crypt entry: about a second.
pub const SHA_CRYPT_ROUNDS_MAX: u32 = 1_000_000;

/// Fewest iterations of SCRAM-SHA-256 (RFC 7677 §4).
pub const SCRAM_ITERATIONS_MIN: u32 = 4096;

/// Iterations of entries that we make: the client computes them at each login, even on a small device.
pub const SCRAM_ITERATIONS: u32 = 10_000;

/// Most iterations of a SCRAM entry: about a second.
pub const SCRAM_ITERATIONS_MAX: u32 = 1_000_000;

/// Longest salt of a SCRAM entry, in octets.
pub const SCRAM_SALT_MAX: usize = 64;

/// Longest nonce of a SCRAM client, in characters; with ours and the salt the challenge must fit a
/// reply line in base64.
pub const SCRAM_NONCE_MAX: usize = 128;
const _: () =
    assert!(4 * (SCRAM_NONCE_MAX + 24 + SCRAM_SALT_MAX * 4 / 3 + 32) / 3 < REPLY_LINE_MAX);

/// Logins of one network (an IPv4 address, or a /64) that may wait for the one thread that verifies
/// passwords; one more hears 454.
pub const LOGINS_WAITING: usize = 32;

/// Logins of all networks together that may wait for it; where there is no room, the last one of the
/// network with the most of them hears 454.
pub const LOGINS_WAITING_ALL: usize = 256;
const _: () = assert!(LOGINS_WAITING_ALL >= 2 * LOGINS_WAITING);

/// How long one login waits for that thread; then it hears 454. A client waits at least this long
/// (RFC 4954 §4 gives no time; RFC 5321 §4.5.3.2 none below 2 minutes).
pub const LOGIN_WAIT: Duration = Duration::from_secs(100);

/// How late AUTH is answered to an address that has had `limit.auth_failures` wrong passwords.
pub const AUTH_DELAY: Duration = Duration::from_secs(1);

/// Longest delay of an answer to AUTH; it doubles from [`AUTH_DELAY`] on.
pub const AUTH_DELAY_MAX: Duration = Duration::from_secs(10);

/// How long after the last wrong password of an address they are forgotten.
pub const AUTH_DELAY_KEPT: Duration = Duration::from_secs(3600);

/// Addresses whose wrong passwords are counted; beyond that, the one that was quiet longest is forgotten.
pub const AUTH_DELAYED_MAX: usize = 10_000;

/// Users whose wrong passwords are counted apart for each address, so that a right one can forgive them.
pub const AUTH_NAMES_COUNTED: usize = 16;
