//! What bounds the filters of a message.

use super::trust::PROOF_TIME;
use super::{DELIVERY_WAIT, PUBLISH_WAIT};
use std::time::Duration;

/// Filters that a configuration may name.
pub const FILTERS_MAX: usize = 16;

/// Longest name of a filter, in octets: it stands in logs, metrics and queue files.
pub const FILTER_NAME_MAX: usize = 32;

/// Longest path of a Unix socket, in octets (unix(7)).
pub const UNIX_PATH_MAX: usize = 107;

/// Time that all filters together have for one message. The client waits for its reply meanwhile, behind what
/// DNS is asked and before delivery (RFC 5321 §4.5.3.2.6: 10 minutes).
pub const FILTERS_TIME: Duration = Duration::from_secs(120);

/// From the end of a message to its reply.
pub const REPLY_TIME: Duration = Duration::from_secs(9 * 60);
const _: () = assert!(
    PROOF_TIME.as_secs()
        + FILTERS_TIME.as_secs()
        + DELIVERY_WAIT.as_secs()
        + PUBLISH_WAIT.as_secs()
        <= REPLY_TIME.as_secs()
);
