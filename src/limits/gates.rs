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
