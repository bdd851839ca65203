//! What bounds the listeners of `listen.metrics`: they answer people and scrapers, and never cost mail
//! anything.

use super::PATH_MAX;
use std::time::Duration;

/// Longest name of a file, in octets (NAME_MAX of Linux).
const FILE_NAME_MAX: usize = 255;

/// Connections at once, each with a thread. For one more, the oldest connection is closed whose request is not
/// whole yet, or whose client does not read; where there is none, the new one hears 503.
pub const HTTP_CONNECTIONS: usize = 8;

/// Connections at once from one address (IPv6: /64).
pub const HTTP_CONNECTIONS_CLIENT: usize = 4;
const _: () = assert!(HTTP_CONNECTIONS_CLIENT < HTTP_CONNECTIONS);

/// Longest head of a request, its line and all fields, in octets. A browser sends less than 2 KiB.
pub const HTTP_HEAD_MAX: usize = 8 * 1024;

/// Longest line of a request, in octets. RFC 9112 §3 recommends 8,000, but our paths are known: the longest
/// names a mailbox and a file in it, and each octet of these may take three.
pub const HTTP_LINE_MAX: usize = 2048;
const _: () = assert!(HTTP_LINE_MAX > 3 * (PATH_MAX + FILE_NAME_MAX) + 100);
const _: () = assert!(HTTP_LINE_MAX < HTTP_HEAD_MAX);

/// How long a client has for its whole request, and then for reading the whole answer.
pub const HTTP_TIME: Duration = Duration::from_secs(10);

/// How long the scheduler may take to say what waits; past it the answer goes out without.
pub const CENSUS_WAIT: Duration = Duration::from_secs(1);

/// How long such an answer is used again.
pub const CENSUS_KEEP: Duration = Duration::from_secs(1);

/// Deliveries and refusals that are shown.
pub const RECENT_MAX: usize = 50;

/// Messages whose senders are remembered for these; some 100 octets each.
pub const RECENT_FROM_MAX: usize = 4096;

/// Directories whose room is shown.
pub const DISKS_SHOWN: usize = 20;

/// Sessions that are kept to be shown; of more sessions only some are.
pub const PRESENT_MAX: usize = 1000;

/// Sessions that one page shows.
pub const SESSIONS_SHOWN: usize = 100;

/// Mailboxes that the first page shows, and that one page of the list of all shows.
pub const MAILBOXES_SHOWN: usize = 10;
/// See [`MAILBOXES_SHOWN`].
pub const MAILBOXES_PAGE: usize = 100;

/// Names in Maildirs that are looked at for one page, and how long that may take.
pub const NAMES_COUNTED: usize = 50_000;
/// See [`NAMES_COUNTED`].
pub const COUNT_TIME: Duration = Duration::from_secs(2);

/// Names in one Maildir that are looked at to find its newest messages; more than are counted, as only
/// root and the server's user may ask.
pub const NAMES_LISTED: usize = 200_000;

/// Messages of a mailbox on one page.
pub const MESSAGES_PAGE: usize = 50;

/// Octets of a message that are read to be shown.
pub const READ_MAX: usize = 1024 * 1024;

/// Octets of a message's text that are shown.
pub const TEXT_SHOWN: usize = 256 * 1024;

/// Parts of a message that are looked at.
pub const PARTS_MAX: usize = 100;

/// How deep multiparts may lie in each other; a deeper one is listed and not opened.
pub const PARTS_DEPTH: usize = 8;

/// Octets of a story that one page tells.
pub const STORY_SHOWN: usize = 512 * 1024;

/// Octets of the kernel's tables of connections that are read to find one; a row has 150.
pub const PEERS_READ: u64 = 32 * 1024 * 1024;

/// Messages of the queue that are read to be shown.
pub const WAITING_SHOWN: usize = 50;
