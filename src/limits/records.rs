//! The bounds of questions about our own records.

use std::time::Duration;

/// Time for all questions of `facteur dns`; what is not asked by then is unknown. A person waits.
pub const DNS_COMMAND_TIME: Duration = Duration::from_secs(120);

/// Questions of `facteur dns` for the host and for each domain: an SPF record alone may take 120.
pub const DNS_COMMAND_QUESTIONS: usize = 200;

/// Time for the questions of `facteur check`, which has other things to say.
pub const CHECK_DNS_TIME: Duration = Duration::from_secs(4);

/// Questions of `facteur check`.
pub const CHECK_DNS_QUESTIONS: usize = 1_000;

/// Time for the questions by which a notice explains a refusal; a thread of the relay pool waits.
pub const EXPLAIN_TIME: Duration = Duration::from_secs(10);

/// Questions by which a notice explains a refusal.
pub const EXPLAIN_QUESTIONS: usize = 60;

/// How long an explanation is taken for the same sender's next notice: many may fail at once, all alike.
pub const EXPLAIN_KEEP: Duration = Duration::from_secs(60);

/// Explanations that are kept.
pub const EXPLAIN_KEPT_MAX: usize = 64;

/// Octets of a From field that are read for it.
pub const EXPLAIN_FROM_MAX: usize = 4096;

/// Domains in From of a message that are explained.
pub const EXPLAIN_AUTHORS_MAX: usize = 2;

/// Addresses of this host whose records are looked at.
pub const OWN_ADDRESSES_MAX: usize = 16;

/// How long one question may take.
pub const RECORD_WAIT: Duration = Duration::from_secs(10);

/// After so many questions without any answer, no other is asked: there is no DNS.
pub const RECORD_SILENCES: usize = 3;

/// Octets of one string of a TXT record (RFC 1035 §3.3).
pub const TXT_STRING_MAX: usize = 255;

/// Seconds for which other hosts keep a record that `facteur dns --zone` prints.
pub const ZONE_TTL: u32 = 3600;

/// A certificate that ends within this time makes way for a new one, whatever DNS shows.
pub const TLSA_HOLD_LEAST: Duration = Duration::from_secs(3 * 24 * 3600);

/// How long DNS is asked whether a new certificate may be shown.
pub const TLSA_WAIT: Duration = Duration::from_secs(10);

/// How often it is asked again while the old one stays.
pub const TLSA_LOOK: Duration = Duration::from_secs(5 * 60);

/// Addresses, and names of one address, by which a notice explains a refusal.
pub const EXPLAIN_ADDRESSES_MAX: usize = 4;
