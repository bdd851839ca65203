//! The list of sessions: their bounds, how waiting ones are woken when the server stops, and which one
//! makes room when strangers have all the places that they may have.
//!
//! Strangers cannot have the last tenth of the places, so that users still find one.
//!
//! A session marks itself idle, looks whether the server is stopping, then reads. The stopper says that it
//! is stopping, then ends the reading side of idle ones: whichever comes first, the session does not miss
//! it.

use crate::limits::{SESSIONS_KEPT, SESSIONS_LEAVING};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// All sessions of this process.
#[derive(Default)]
pub struct Registry {
    inner: Mutex<Inner>,
    left: Condvar,
    /// SeqCst like `idle`: of a session that marks itself idle and a thread that stops, one always sees the
    /// other.
    stopping: AtomicBool,
    ending: AtomicBool,
}

#[derive(Default)]
struct Inner {
    sessions: HashMap<u64, Member>,
    /// How many sessions each client has; a client without any is removed.
    clients: HashMap<IpAddr, usize>,
    /// How many of `sessions` are strangers', without those that leave.
    strangers: usize,
    /// How many sessions were told to leave and are still there.
    leaving: usize,
    next: u64,
}

/// A session as the registry counts it.
struct Member {
    presence: Arc<Presence>,
    standing: Standing,
    is_leaving: bool,
}

/// What is known about the client of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It comes by a balancer that has not yet said for whom; it never waits for a command.
    Unnamed,
    /// A host that sends mail, and of which nothing is known.
    Stranger,
    /// A client of a submission port that has not logged in yet.
    Unproven,
    /// A user that has logged in, or a client of `relay.networks`.
    Known,
}

/// The parts of a session that other threads may touch.
#[derive(Default)]
pub struct Presence {
    /// Shared with the session, not cloned: a clone would be one more descriptor.
    stream: Option<Arc<TcpStream>>,
    idle: AtomicBool,
    /// Whether it was told to leave.
    leaving: AtomicBool,
    /// Since when it waits for a command: milliseconds since [`BEGAN`], plus one; 0 while it does not wait.
    waits_since: AtomicU64,
}

/// A place in the registry; dropping it gives the place back.
pub struct Ticket {
    registry: Arc<Registry>,
    key: u64,
    /// The client that it counts for; none as long as that is not known.
    client: Option<IpAddr>,
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
    /// A place for a new session, within these bounds. `client` counts as itself (IPv4) or with its /64
    /// (IPv6). Where there is no place for this standing, the stranger that has waited longest for a
    /// command is told to leave, and the newcomer has its place at once.
    pub fn enter(
        self: &Arc<Registry>,
        stream: Option<Arc<TcpStream>>,
        client: IpAddr,
        standing: Standing,
        sessions: usize,
        per_client: usize,
    ) -> Result<Ticket, Full> {
        self.take_place(stream, Some(network(client)), standing, sessions, per_client)
    }

    /// A place for a connection whose client will be named later ([`Ticket::name`]).
    pub fn enter_unnamed(
        self: &Arc<Registry>,
        stream: Option<Arc<TcpStream>>,
        sessions: usize,
    ) -> Result<Ticket, Full> {
        self.take_place(stream, None, Standing::Unnamed, sessions, usize::MAX)
    }

    fn take_place(
        self: &Arc<Registry>,
        stream: Option<Arc<TcpStream>>,
        client: Option<IpAddr>,
        standing: Standing,
        sessions: usize,
        per_client: usize,
    ) -> Result<Ticket, Full> {
        let mut inner = self.inner();
        inner.look_for(client, per_client)?;
        let leaver = inner.make_room(standing, sessions)?;
        inner.next += 1;
        let key = inner.next;
        let presence = Arc::new(Presence { stream, ..Presence::default() });
        let member = Member { presence: presence.clone(), standing, is_leaving: false };
        inner.seat(key, member, client);
        drop(inner);
        wake_leaver(leaver);
        Ok(Ticket { registry: self.clone(), key, client, presence })
    }

    /// Sessions at this moment.
    pub fn count(&self) -> usize {
        self.inner().sessions.len()
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(SeqCst)
    }

    /// Lets sessions end after their transaction; wakes idle ones.
    pub fn stop(&self) {
        self.stopping.store(true, SeqCst);
        self.wake(|presence| presence.idle.load(SeqCst));
    }

    /// Ends the reading side of all sessions: they read the end of input, and can still say 421.
    pub fn stop_reading(&self) {
        self.ending.store(true, SeqCst);
        self.wake(|_| true);
    }

    /// Waits until all sessions have left; false when the time is over first.
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
        let inner = self.inner();
        let sessions: Vec<_> =
            inner.sessions.values().map(|member| member.presence.clone()).collect();
        drop(inner);
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

/// Ends the reading side of a session that was told to leave. Called without the lock.
fn wake_leaver(leaver: Option<Arc<Presence>>) {
    if let Some(stream) = leaver.as_ref().and_then(|leaver| leaver.stream.as_ref()) {
        let _ = stream.shutdown(Shutdown::Read);
    }
}

impl Inner {
    /// Whether a client may have one more session.
    fn look_for(&self, client: Option<IpAddr>, per_client: usize) -> Result<(), Full> {
        let count = client.and_then(|client| self.clients.get(&client));
        if count.is_some_and(|count| *count >= per_client) { Err(Full::Client) } else { Ok(()) }
    }

    fn seat(&mut self, key: u64, member: Member, client: Option<IpAddr>) {
        self.strangers += usize::from(member.standing == Standing::Stranger);
        self.sessions.insert(key, member);
        if let Some(client) = client {
            *self.clients.entry(client).or_insert(0) += 1;
        }
    }

    /// Makes room for one more session; returns the one that was told to leave, where that was needed.
    fn make_room(
        &mut self,
        standing: Standing,
        sessions: usize,
    ) -> Result<Option<Arc<Presence>>, Full> {
        let staying = self.sessions.len() - self.leaving;
        let share = sessions - sessions / SESSIONS_KEPT;
        let is_full =
            staying >= sessions || standing == Standing::Stranger && self.strangers >= share;
        if !is_full {
            return Ok(None);
        }
        if self.leaving >= SESSIONS_LEAVING {
            return Err(Full::Sessions);
        }
        // For a user, clients that have not logged in make room too, after all strangers.
        let kinds = match standing {
            Standing::Stranger | Standing::Unnamed => &[Standing::Stranger][..],
            Standing::Unproven | Standing::Known => &[Standing::Stranger, Standing::Unproven],
        };
        let longest = kinds.iter().find_map(|kind| self.longest_waiting(*kind));
        let key = longest.ok_or(Full::Sessions)?;
        let member = self.sessions.get_mut(&key).ok_or(Full::Sessions)?;
        member.is_leaving = true;
        member.presence.leaving.store(true, SeqCst);
        let presence = member.presence.clone();
        self.strangers -= usize::from(member.standing == Standing::Stranger);
        self.leaving += 1;
        Ok(Some(presence))
    }

    /// The session that has waited longest for a command: one outside of a transaction, else one inside.
    fn longest_waiting(&self, standing: Standing) -> Option<u64> {
        let waiting = self.sessions.iter().filter_map(|(key, member)| {
            let since = member.presence.waits_since.load(Relaxed);
            let is_one = member.standing == standing && !member.is_leaving && since > 0;
            let is_busy = !member.presence.idle.load(SeqCst);
            is_one.then_some((is_busy, since, *key))
        });
        waiting.min().map(|(_, _, key)| key)
    }
}

impl Ticket {
    /// Marks the session as waiting for a command outside of a transaction, or not.
    pub fn set_idle(&self, idle: bool) {
        self.presence.idle.store(idle, SeqCst);
    }

    /// Marks since when the session waits for a command; none: it does not. Only a waiting session is ever
    /// told to leave.
    pub fn set_waiting(&self, since: Option<Instant>) {
        let milliseconds = since.map(|since| {
            let waited = since.saturating_duration_since(*BEGAN).as_millis();
            u64::try_from(waited).unwrap_or(u64::MAX - 1) + 1
        });
        self.presence.waits_since.store(milliseconds.unwrap_or(0), Relaxed);
    }

    /// From here on the place is that of this client, within these bounds ([`Registry::enter`]). Where there is
    /// none for it, the session has to end.
    pub fn name(
        &mut self,
        client: IpAddr,
        standing: Standing,
        sessions: usize,
        per_client: usize,
    ) -> Result<(), Full> {
        let client = Some(network(client));
        let mut inner = self.registry.inner();
        inner.look_for(client, per_client)?;
        // Its own place does not count against it.
        let Some(mut member) = inner.sessions.remove(&self.key) else { return Ok(()) };
        let room = inner.make_room(standing, sessions);
        let leaver = match room {
            Ok(leaver) => {
                member.standing = standing;
                self.client = client;
                inner.seat(self.key, member, client);
                leaver
            }
            Err(full) => {
                inner.seat(self.key, member, None);
                return Err(full);
            }
        };
        drop(inner);
        wake_leaver(leaver);
        Ok(())
    }

    /// Notes that the client is known from now on.
    pub fn set_known(&self) {
        let mut inner = self.registry.inner();
        if let Some(member) = inner.sessions.get_mut(&self.key) {
            let was = std::mem::replace(&mut member.standing, Standing::Known);
            let counted = was == Standing::Stranger && !member.is_leaving;
            inner.strangers -= usize::from(counted);
        }
    }

    /// Whether its place was given to another session.
    pub fn is_leaving(&self) -> bool {
        self.presence.leaving.load(SeqCst)
    }

    pub fn is_stopping(&self) -> bool {
        self.registry.is_stopping()
    }

    /// Whether the server no longer waits for transactions.
    pub fn is_ending(&self) -> bool {
        self.registry.ending.load(SeqCst)
    }
}

/// The moment from which waiting times are counted.
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inner = self.registry.inner();
        if let Some(member) = inner.sessions.remove(&self.key) {
            match (member.is_leaving, member.standing) {
                (true, _) => inner.leaving -= 1,
                (false, Standing::Stranger) => inner.strangers -= 1,
                (false, Standing::Unnamed | Standing::Unproven | Standing::Known) => {}
            }
        }
        if let Some(client) = self.client
            && let Some(count) = inner.clients.get_mut(&client)
        {
            *count -= 1;
            if *count == 0 {
                inner.clients.remove(&client);
            }
        }
        drop(inner);
        self.registry.left.notify_all();
    }
}

/// The addresses that one client can choose from: an IPv4 address, or a /64 of IPv6.
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
        let enter =
            |client: &str| registry.enter(None, client.parse().unwrap(), Standing::Stranger, 3, 2);
        let one = enter("2001:db8::1").unwrap();
        let _two = enter("2001:db8::ffff:2").unwrap();
        assert_eq!(enter("2001:db8::3").err(), Some(Full::Client));
        let _other = enter("192.0.2.1").unwrap();
        // None of them waits for a command, so none is told to leave.
        assert_eq!(enter("192.0.2.2").err(), Some(Full::Sessions));
        assert!(!registry.wait_empty(Duration::ZERO));
        drop(one);
        assert!(enter("2001:db8::3").is_ok());
        assert_eq!(registry.count(), 2);
    }

    #[test]
    fn strangers_make_room_for_each_other_and_for_users() {
        let registry = Arc::new(Registry::default());
        let enter = |standing| {
            let client = "192.0.2.1".parse().unwrap();
            registry.enter(None, client, standing, 20, 100)
        };
        let began = Instant::now();
        let waiting = |seconds| Some(began + Duration::from_secs(seconds));
        // The last tenth is not for them.
        let strangers: Vec<Ticket> = (0..18).map(|_| enter(Standing::Stranger).unwrap()).collect();
        assert_eq!(enter(Standing::Stranger).err(), Some(Full::Sessions));
        // The one that has waited longest leaves first; those inside a transaction leave last.
        strangers[3].set_waiting(waiting(1));
        for (index, seconds) in [(4, 5), (5, 4)] {
            strangers[index].set_idle(true);
            strangers[index].set_waiting(waiting(seconds));
        }
        let gone = |index: usize| strangers[index].is_leaving();
        let mut newcomers = vec![enter(Standing::Stranger).unwrap()];
        assert_eq!([3, 4, 5].map(gone), [false, false, true]);
        newcomers.push(enter(Standing::Stranger).unwrap());
        assert_eq!([3, 4, 5].map(gone), [false, true, true]);
        // Users get the rest, and then the places of strangers.
        newcomers.extend((0..2).map(|_| enter(Standing::Unproven).unwrap()));
        assert!(!gone(3));
        newcomers.push(enter(Standing::Unproven).unwrap());
        assert!(gone(3));
        assert_eq!(enter(Standing::Unproven).err(), Some(Full::Sessions));
        // A client that has not logged in makes room for another one; one that has does not.
        let [first, second] = [&newcomers[2], &newcomers[3]];
        first.set_waiting(waiting(0));
        second.set_waiting(waiting(0));
        first.set_known();
        newcomers.push(enter(Standing::Unproven).unwrap());
        assert_eq!([2, 3].map(|index| newcomers[index].is_leaving()), [false, true]);
        drop((strangers, newcomers));
        let inner = registry.inner();
        assert_eq!((inner.sessions.len(), inner.strangers, inner.leaving), (0, 0, 0));
    }

    #[test]
    fn a_place_goes_to_the_client_that_is_named() {
        let registry = Arc::new(Registry::default());
        let (one, other): (IpAddr, IpAddr) =
            ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        // A balancer's connections are none of its own: more than one client may have.
        let mut tickets: Vec<Ticket> =
            (0..10).map(|_| registry.enter_unnamed(None, 10).unwrap()).collect();
        assert_eq!(registry.enter_unnamed(None, 10).err(), Some(Full::Sessions));
        let mut name = |index: usize, client, standing| {
            let ticket: &mut Ticket = &mut tickets[index];
            ticket.name(client, standing, 10, 2)
        };
        assert_eq!(name(0, one, Standing::Stranger), Ok(()));
        assert_eq!(name(1, one, Standing::Stranger), Ok(()));
        assert_eq!(name(2, one, Standing::Stranger), Err(Full::Client));
        // Users and others find their places, strangers only up to their share.
        assert_eq!(name(3, other, Standing::Known), Ok(()));
        for (index, last) in (4..).zip(1..=6_u8) {
            let client = IpAddr::from([198, 51, 100, last]);
            assert_eq!(name(index, client, Standing::Stranger), Ok(()), "{index}");
        }
        assert_eq!(registry.inner().strangers, 8);
        assert_eq!(registry.inner().clients.len(), 8);
        drop(tickets);
        let inner = registry.inner();
        let left = (inner.sessions.len(), inner.clients.len(), inner.strangers, inner.leaving);
        assert_eq!(left, (0, 0, 0, 0));
    }

    #[test]
    fn a_stranger_by_a_balancer_has_the_share_of_strangers() {
        let registry = Arc::new(Registry::default());
        let client = |last: u8| IpAddr::from([192, 0, 2, last]);
        let strangers: Vec<Ticket> = (0..9)
            .map(|last| registry.enter(None, client(last), Standing::Stranger, 10, 5).unwrap())
            .collect();
        // The place in the reserve is only lent until it is known who comes.
        let mut ticket = registry.enter_unnamed(None, 10).unwrap();
        assert_eq!(ticket.name(client(99), Standing::Stranger, 10, 5), Err(Full::Sessions));
        strangers[3].set_waiting(Some(Instant::now()));
        assert_eq!(ticket.name(client(99), Standing::Stranger, 10, 5), Ok(()));
        assert!(strangers[3].is_leaving());
        drop((ticket, strangers));
        let inner = registry.inner();
        assert_eq!((inner.sessions.len(), inner.strangers, inner.leaving), (0, 0, 0));
    }

    #[test]
    fn those_that_were_told_to_go_are_bounded() {
        let registry = Arc::new(Registry::default());
        let sessions = 2 * SESSIONS_LEAVING;
        let share = sessions - sessions / SESSIONS_KEPT;
        let client = "192.0.2.1".parse().unwrap();
        let enter = || {
            let ticket = registry.enter(None, client, Standing::Stranger, sessions, 1000);
            ticket.inspect(|ticket| ticket.set_waiting(Some(Instant::now())))
        };
        let tickets: Vec<Ticket> =
            (0..share + SESSIONS_LEAVING).map(|_| enter().unwrap()).collect();
        assert_eq!(enter().err(), Some(Full::Sessions));
        drop(tickets);
        assert!(enter().is_ok());
    }
}
