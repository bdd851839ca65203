//! Who is connected to `listen.metrics`: few at once, and none that keeps others out by sending half a
//! request, or by not reading what it asked for.

use crate::limits::{HTTP_CONNECTIONS, HTTP_CONNECTIONS_CLIENT};
use crate::net::registry::network;
use crate::store::locked;
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// All connections of all its listeners.
#[derive(Default)]
pub(super) struct Places(Mutex<Vec<Arc<Guest>>>);

/// A connection.
struct Guest {
    /// An IPv4 address, or a /64; none where the system did not tell.
    client: Option<IpAddr>,
    stream: Arc<TcpStream>,
    since: Instant,
    /// Its answer is being made, which is our time and not the client's.
    is_working: AtomicBool,
}

/// A connection that counts until this is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    guest: Arc<Guest>,
}

impl Places {
    /// A place for a connection; the oldest that waits for its client is closed where there is none
    /// otherwise. None where all are being answered.
    pub fn enter(
        places: &Arc<Places>,
        client: Option<IpAddr>,
        stream: &Arc<TcpStream>,
        now: Instant,
    ) -> Option<Place> {
        let client = client.map(network);
        let is_working = AtomicBool::new(false);
        let guest = Arc::new(Guest { client, stream: stream.clone(), since: now, is_working });
        let mut guests = locked(&places.0);
        let own = guests.iter().filter(|guest| guest.client == client).count();
        let mut closed = None;
        if own >= HTTP_CONNECTIONS_CLIENT || guests.len() >= HTTP_CONNECTIONS {
            let may_go = |guest: &Guest| own < HTTP_CONNECTIONS_CLIENT || guest.client == client;
            let waiting = guests
                .iter()
                .enumerate()
                .filter(|(_, guest)| may_go(guest) && !guest.is_working.load(SeqCst));
            let (oldest, _) = waiting.min_by_key(|(_, guest)| guest.since)?;
            closed = Some(guests.swap_remove(oldest));
        }
        guests.push(guest.clone());
        drop(guests);
        if let Some(closed) = closed {
            let _ = closed.stream.shutdown(Shutdown::Both);
        }
        Some(Place { places: places.clone(), guest })
    }
}

impl Place {
    /// Its answer is being made, or no longer.
    pub fn set_working(&self, is_working: bool) {
        self.guest.is_working.store(is_working, SeqCst);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        locked(&self.places.0).retain(|guest| !Arc::ptr_eq(guest, &self.guest));
    }
}
