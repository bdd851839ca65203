//! What bounds the listeners of `listen.metrics`: they answer people and scrapers, and never cost mail
//! anything.

use std::time::Duration;

/// Connections at once, each with a thread; one more hears 503.
pub const HTTP_CONNECTIONS: usize = 8;

/// Longest head of a request, its line and all fields, in octets. A browser sends less than 2 KiB.
pub const HTTP_HEAD_MAX: usize = 8 * 1024;

/// Longest line of a request, in octets. RFC 9112 §3 asks for 8,000 of those who serve any path; ours
/// are known, and short.
pub const HTTP_LINE_MAX: usize = 1024;
const _: () = assert!(HTTP_LINE_MAX < HTTP_HEAD_MAX);

/// How long a client has for its whole request, and then for reading the whole answer.
pub const HTTP_TIME: Duration = Duration::from_secs(10);

/// How long the scheduler may take to say what waits; past it the answer goes out without.
pub const CENSUS_WAIT: Duration = Duration::from_secs(1);

/// How long such an answer stands for the next.
pub const CENSUS_KEEP: Duration = Duration::from_secs(1);

/// Deliveries and refusals that are shown.
pub const RECENT_MAX: usize = 50;

/// Sessions that are kept to be shown; of more only some are.
pub const PRESENT_MAX: usize = 1000;

/// Sessions of those that one page shows.
pub const SESSIONS_SHOWN: usize = 100;

/// Messages of the queue that are read to be shown.
pub const WAITING_SHOWN: usize = 50;
