//! Who is connected: bounds on sessions, and how waiting ones are woken when the server stops.
//!
//! A session marks itself idle, looks whether the server is stopping, then reads. The stopper says
//! that it is stopping, then ends the reading side of idle ones: whichever comes first, the session
//! does not sleep through it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// All sessions of this process.
#[derive(Default)]
pub struct Registry {
    inner: Mutex<Inner>,
    left: Condvar,
    /// With `idle` in one order for all (SeqCst): mark and stop cannot miss each other.
    stopping: AtomicBool,
    ending: AtomicBool,
}

#[derive(Default)]
struct Inner {
    sessions: HashMap<u64, Arc<Presence>>,
    /// Sessions of each; none is kept at zero, so it is no larger than `sessions`.
    clients: HashMap<IpAddr, usize>,
    next: u64,
}

/// One session, as others may touch it.
#[derive(Default)]
pub struct Presence {
    /// Shared with the session, not cloned: a clone would be one more descriptor.
    stream: Option<Arc<TcpStream>>,
    idle: AtomicBool,
}

/// A place in the registry; dropping it leaves.
pub struct Ticket {
    registry: Arc<Registry>,
    key: u64,
    client: IpAddr,
    presence: Arc<Presence>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// As many sessions as there may be.
    Sessions,
    /// As many sessions of this client as there may be.
    Client,
}

impl Registry {
    /// A place for a new session, within these bounds. `client` counts as itself (IPv4) or with its
    /// /64 (IPv6).
    pub fn enter(
        self: &Arc<Registry>,
        stream: Option<Arc<TcpStream>>,
        client: IpAddr,
        sessions: usize,
        per_client: usize,
    ) -> Result<Ticket, Full> {
        let client = network(client);
        let mut inner = self.inner();
        if inner.sessions.len() >= sessions {
            return Err(Full::Sessions);
        }
        let count = inner.clients.entry(client).or_insert(0);
        if *count >= per_client {
            return Err(Full::Client);
        }
        *count += 1;
        inner.next += 1;
        let key = inner.next;
        let presence = Arc::new(Presence { stream, idle: AtomicBool::new(false) });
        inner.sessions.insert(key, presence.clone());
        Ok(Ticket { registry: self.clone(), key, client, presence })
    }

    /// Sessions at this moment.
    pub fn count(&self) -> usize {
        self.inner().sessions.len()
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(SeqCst)
    }

    /// From now on sessions end after their transaction; idle ones are woken.
    pub fn stop(&self) {
        self.stopping.store(true, SeqCst);
        self.wake(|presence| presence.idle.load(SeqCst));
    }

    /// Ends the reading side of all sessions, whatever they do: they hear the end of input, and can
    /// still say 421.
    pub fn stop_reading(&self) {
        self.ending.store(true, SeqCst);
        self.wake(|_| true);
    }

    /// Waits until all have left; false when the time is over first.
    pub fn wait_empty(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        let mut inner = self.inner();
        while !inner.sessions.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.left.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn wake(&self, who: impl Fn(&Presence) -> bool) {
        // The system calls are made without the lock.
        let sessions: Vec<_> = self.inner().sessions.values().cloned().collect();
        for presence in sessions.iter().filter(|presence| who(presence)) {
            if let Some(stream) = &presence.stream {
                let _ = stream.shutdown(Shutdown::Read);
            }
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// The session is about to wait for a command outside of a transaction (or no longer).
    pub fn set_idle(&self, idle: bool) {
        self.presence.idle.store(idle, SeqCst);
    }

    pub fn is_stopping(&self) -> bool {
        self.registry.is_stopping()
    }

    /// Whether the server no longer waits for transactions.
    pub fn is_ending(&self) -> bool {
        self.registry.ending.load(SeqCst)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inner = self.registry.inner();
        inner.sessions.remove(&self.key);
        if let Some(count) = inner.clients.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                inner.clients.remove(&self.client);
            }
        }
        drop(inner);
        self.registry.left.notify_all();
    }
}

/// One person's addresses: an IPv4 address, or the /64 that an IPv6 host can choose from.
pub fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds() {
        let registry = Arc::new(Registry::default());
        let enter = |client: &str| registry.enter(None, client.parse().unwrap(), 3, 2);
        let one = enter("2001:db8::1").unwrap();
        let _two = enter("2001:db8::ffff:2").unwrap();
        assert_eq!(enter("2001:db8::3").err(), Some(Full::Client));
        let _other = enter("192.0.2.1").unwrap();
        assert_eq!(enter("192.0.2.2").err(), Some(Full::Sessions));
        assert!(!registry.wait_empty(Duration::ZERO));
        drop(one);
        assert!(enter("2001:db8::3").is_ok());
        assert_eq!(registry.count(), 2);
    }
}
