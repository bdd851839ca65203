//! The connections to `listen.metrics`: few at once, and none can keep others out by sending half a request
//! or not reading its answer.

use crate::limits::{HTTP_CONNECTIONS, HTTP_CONNECTIONS_CLIENT};
use crate::net::registry::network;
use crate::store::locked;
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// The connections of all listeners.
#[derive(Default)]
pub(super) struct HttpConnections(Mutex<Vec<Arc<HttpConnection>>>);

/// A connection.
struct HttpConnection {
    /// The client: an IPv4 address, or a /64; none where the system did not tell it.
    client: Option<IpAddr>,
    stream: Arc<TcpStream>,
    since: Instant,
    /// Whether its answer is being made, which is our time and not the client's.
    is_working: AtomicBool,
}

/// The place of a connection, until this is dropped.
pub(super) struct HttpPlace {
    connections: Arc<HttpConnections>,
    own: Arc<HttpConnection>,
}

impl HttpConnections {
    /// A place for a connection. Where there is none, the oldest connection that waits for its client is
    /// closed; none where all of them are being answered.
    pub fn enter(
        connections: &Arc<HttpConnections>,
        client: Option<IpAddr>,
        stream: &Arc<TcpStream>,
        now: Instant,
    ) -> Option<HttpPlace> {
        let client = client.map(network);
        let is_working = AtomicBool::new(false);
        let own =
            Arc::new(HttpConnection { client, stream: stream.clone(), since: now, is_working });
        let mut all = locked(&connections.0);
        let of_client = all.iter().filter(|other| other.client == client).count();
        let mut closed = None;
        if of_client >= HTTP_CONNECTIONS_CLIENT || all.len() >= HTTP_CONNECTIONS {
            let may_go = |other: &HttpConnection| {
                of_client < HTTP_CONNECTIONS_CLIENT || other.client == client
            };
            let waiting = all
                .iter()
                .enumerate()
                .filter(|(_, other)| may_go(other) && !other.is_working.load(SeqCst));
            let (oldest, _) = waiting.min_by_key(|(_, other)| other.since)?;
            closed = Some(all.swap_remove(oldest));
        }
        all.push(own.clone());
        drop(all);
        if let Some(closed) = closed {
            let _ = closed.stream.shutdown(Shutdown::Both);
        }
        Some(HttpPlace { connections: connections.clone(), own })
    }
}

impl HttpPlace {
    /// Marks whether its answer is being made.
    pub fn set_working(&self, is_working: bool) {
        self.own.is_working.store(is_working, SeqCst);
    }
}

impl Drop for HttpPlace {
    fn drop(&mut self) {
        locked(&self.connections.0).retain(|other| !Arc::ptr_eq(other, &self.own));
    }
}
