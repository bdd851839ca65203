//! What bounds the filters of a message.

use super::trust::PROOF_TIME;
use super::{DELIVERY_WAIT, MEMORY_BODY_MAX, PUBLISH_WAIT};
use std::time::Duration;

/// Filters that a configuration may name.
pub const FILTERS_MAX: usize = 16;

/// Names of filters that are counted in one run of the server, over all reloads.
pub const FILTERS_COUNTED: usize = 4 * FILTERS_MAX;

/// Longest name of a filter, in octets: it stands in logs, metrics and queue files.
pub const FILTER_NAME_MAX: usize = 32;

/// Longest path of a Unix socket, in octets (unix(7)).
pub const UNIX_PATH_MAX: usize = 107;

/// Time that all filters together have for one message. The client waits for its reply meanwhile, behind what
/// DNS is asked and before delivery (RFC 5321 §4.5.3.2.6: 10 minutes).
pub const FILTERS_TIME: Duration = Duration::from_secs(120);

/// Time for the name of a client, which filters want to know.
pub const FILTER_NAME_TIME: Duration = Duration::from_secs(5);

/// Names of an address that are looked up for that.
pub const FILTER_NAMES_MAX: usize = 4;

/// Memory for a message of sendmail's while its filters are asked, in octets; past it the message lies in a file.
pub const FILTERED_MEMORY: usize = 4 * MEMORY_BODY_MAX;

/// From the end of a message to its reply.
pub const REPLY_TIME: Duration = Duration::from_secs(9 * 60);
const _: () = assert!(
    PROOF_TIME.as_secs()
        + FILTERS_TIME.as_secs()
        + DELIVERY_WAIT.as_secs()
        + PUBLISH_WAIT.as_secs()
        <= REPLY_TIME.as_secs()
);

/// Octets of a packet that a filter may send. Sendmail's and Postfix's filters send bodies in parts of 65,535.
pub const FILTER_PACKET_MAX: usize = 1 << 20;

/// Octets of a body that go to a filter in one packet: all that a filter of any version takes.
pub const FILTER_CHUNK_MAX: usize = 65_535;

/// Lines of a reply that a filter may give: as many as Sendmail's library lets it.
pub const FILTER_REPLY_LINES_MAX: usize = 32;

/// Changes that one filter may make to one message, parts of its body not counted.
pub const FILTER_CHANGES_MAX: usize = 10_000;

/// Octets that all fields together may have which one filter puts into a header.
pub const FILTER_FIELDS_MAX: usize = 1 << 20;

/// How long a filter that failed twice is left alone.
pub const FILTER_REST: Duration = Duration::from_secs(30);

/// Connections to one filter that are kept for the next client.
pub const FILTER_IDLE_MAX: usize = 8;

/// How long such a connection is kept.
pub const FILTER_IDLE_TIME: Duration = Duration::from_secs(60);

/// How long a filter may take to negotiate anew at such a connection, counted from when the next client comes: most
/// have done so long before. One that is silent then knows no other client, and keeps no connection any more.
pub const FILTER_RENEW_WAIT: Duration = Duration::from_millis(50);

/// Notes about one message of one filter that are kept; of more only the number.
pub const FILTER_NOTES_MAX: usize = 20;

/// How long a filter is waited for that has to hear that a message or a client is over; no answer comes.
pub const FILTER_QUIT_TIME: Duration = Duration::from_secs(1);

/// Octets of a filter's words that a note repeats.
pub const FILTER_WHY_MAX: usize = 400;
