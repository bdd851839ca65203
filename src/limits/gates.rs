//! The bounds of what stands before a session's mail: balancers that name clients, lists of clients, and those
//! that have to come back.

use std::time::Duration;

/// How long a connection from `listen.proxy` may take for its header (contract).
pub const PROXY_WAIT: Duration = Duration::from_secs(5);

/// Octets of a PROXY header of version 1, with CR LF (proxy-protocol.txt, 2.1).
pub const PROXY_V1_MAX: usize = 107;

/// Octets of a PROXY header of version 2. Its length field could say 64 KiB; what balancers add behind the
/// addresses (names of TLS, ids) is some hundred.
pub const PROXY_V2_MAX: usize = 4096;

/// Lists of clients that may be configured. They are asked one after the other.
pub const BLOCKLISTS_MAX: usize = 16;

/// How long one list may take for its answer (contract), its text with it.
pub const LIST_WAIT: Duration = Duration::from_secs(2);

/// How long all lists may take about one client. Whatever is not answered by then passes.
pub const LISTS_WAIT: Duration = Duration::from_secs(8);
const _: () = assert!(LIST_WAIT.as_secs() * 2 < LISTS_WAIT.as_secs());

/// Questions in a row without an answer after which a list is left alone.
pub const LIST_SILENCES: u32 = 3;

/// For so long, so that no client waits for a list that has gone.
pub const LIST_REST: Duration = Duration::from_secs(60);

/// How long one question about a test point of a list may take. No mail waits for it.
pub const LIST_TEST_WAIT: Duration = Duration::from_secs(5);

/// How often a list that works is tested (contract).
pub const LIST_TEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How often one that is off is tested.
pub const LIST_TEST_WRONG: Duration = Duration::from_secs(60 * 60);

/// How soon one is tested again where DNS did not answer.
pub const LIST_TEST_SILENT: Duration = Duration::from_secs(5 * 60);

/// Letters and digits from which on the first label of a list's name is taken for a customer's key, which is not
/// told to strangers.
pub const LIST_KEY_LEAST: usize = 20;

/// Those that greylisting knows, all kinds together (contract).
pub const GREY_MAX: usize = 100_000;

/// How long one may take to come back (contract): what sends mail tries for days.
pub const GREY_BACK: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// One that is known is noted again after this, or a quarter of `greylist.expire`: a file need not have a line
/// for each message.
pub const GREY_RENEW: Duration = Duration::from_secs(6 * 60 * 60);

/// A moment in a file that is so far ahead of our clock was not written by it.
pub const GREY_SLACK: Duration = Duration::from_secs(24 * 60 * 60);

/// Files under `spool/greylist/` that are read at a start: one, and one more for each crash while another took
/// its place.
pub const GREY_FILES_MAX: usize = 64;

/// Octets of one of them that are read: several times what a table needs.
pub const GREY_FILE_MAX: u64 = 64 * 1024 * 1024;

/// How often the file is looked at whether it has grown.
pub const GREY_LOOK: Duration = Duration::from_secs(60);
