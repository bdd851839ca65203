//! What bounds MTA-STS: policies, the files that keep them, and the requests over HTTPS by which they are fetched.

use std::time::Duration;

/// Octets of the name of a field in a record or policy (RFC 8461 §3.1, §3.2).
pub const STS_NAME_MAX: usize = 32;

/// Octets of a policy (RFC 8461 §3.3 proposes as many).
pub const STS_POLICY_MAX: usize = 64 * 1024;

/// How long a policy may hold (RFC 8461 §3.2): a year of 365.25 days.
pub const STS_AGE_MAX: Duration = Duration::from_secs(31_557_600);

/// How long a policy is fetched, all together (RFC 8461 §3.3 proposes as much).
pub const STS_FETCH_TIME: Duration = Duration::from_secs(60);

/// How long a policy is not asked for once more that could not be fetched (RFC 8461 §3.3).
pub const STS_REST: Duration = Duration::from_mins(5);

/// How long others wait for the thread that fetches the policy of their domain.
pub const STS_FETCH_WAIT: Duration = Duration::from_secs(70);
const _: () = assert!(STS_FETCH_WAIT.as_secs() > STS_FETCH_TIME.as_secs());

/// Domains whose policies are kept; for one more, the one that was fetched first goes.
pub const STS_DOMAINS_MAX: usize = 10_000;

/// Names that are looked at in the directory of policies.
pub const STS_NAMES_MAX: usize = 2 * STS_DOMAINS_MAX;

/// Octets of a file with a policy: each line of it may be as short as `a:b` and stands there behind a word.
pub const STS_FILE_MAX: usize = 4 * STS_POLICY_MAX + 1024;

/// Octets of a domain that can have a policy: `mta-sts.` stands before it, and the record's `_mta-sts.`.
pub const STS_DOMAIN_MAX: usize = super::DNS_NAME_MAX - "_mta-sts.".len();

/// Age from which on a draft of such a file is what a crash left.
pub const STS_DRAFT_AGE: Duration = Duration::from_hours(1);

/// A policy of this age is fetched anew, long before it ends: nobody can then keep us from it until it does
/// (RFC 8461 §3.3, §10). One that holds for less than two such days, after half of its time.
pub const STS_REFRESH: Duration = Duration::from_hours(24);

/// How long a policy that no mail needs any more is fetched anew.
pub const STS_USED: Duration = Duration::from_hours(30 * 24);

/// How often the policies are looked through for those that are to be fetched anew or have ended.
pub const STS_LOOK: Duration = Duration::from_hours(1);

/// Domains that may wait to be looked at because their policies are used and due.
pub const STS_CALLS_MAX: usize = 64;

/// How soon after a look at all of them the next one may come.
pub const STS_LOOK_LEAST: Duration = Duration::from_secs(60);

/// How far ahead of ours the clock may have been that wrote a file.
pub const STS_SLACK: Duration = Duration::from_mins(5);

/// Octets of the header of an answer over HTTPS.
pub const HTTPS_HEADER_MAX: usize = 32 * 1024;
