//! All that touches the **network**: sockets, threads for connections, the list of sessions.

pub mod control;
pub mod dns;
pub mod handed;
pub mod http;
pub mod https;
pub mod interfaces;
pub mod listener;
pub mod manager;
pub mod milter;
pub mod peer;
pub mod pool;
pub mod proxy;
pub mod public;
pub mod registry;
pub mod socket;
pub mod stdio;
pub mod stream;
pub mod syslog;
pub mod tls;

use crate::limits::QUOTED_MAX;

/// Words fit for a log and a reason: they may repeat what a server sent.
fn printable(text: &str) -> String {
    let visible = text.chars().map(|c| if c.is_control() { '?' } else { c });
    visible.take(QUOTED_MAX).collect()
}
