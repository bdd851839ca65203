//! The running server: listeners, session threads, the delivery and housekeeping threads, reload
//! and stop.
//!
//! ```text
//! listener × address ─ accept ─► session pool (a thread for a connection, ≤ limit.sessions)
//!                                  │ Accepted ─────────► delivery thread × 1 ─► Maildirs, queue
//!                                  ◄─────────── Outcome ──┘ │    └─ Maildir ─► housekeeping × 1
//! spool/drop/ ─► pickup × 1 ─► queue, Hint ─┐               │
//!             control × 1, signals ─ Hint ─► scheduler × 1 ◄┘ Hint
//!                                              └─ Job ─► relay pool (≤ relay.threads) ─ Report ─►
//! ```
//!
//! Knows no command of SMTP: its only reply is 421, to clients that it cannot serve.

mod descriptors;
mod entry;
mod fresh;
mod proxied;
mod reminder;
mod spool;
mod turned_away;

pub use entry::open;
pub use spool::Spool;

use fresh::{fresh, fresh_for_session};
use proxied::{NoClient, Proxied};
use reminder::Reminder;
use turned_away::TurnedAway;

use crate::conversation::bounds::Bounds;
use crate::conversation::{Shared, converse};
use crate::delivery::{Wakers, Writer};
use crate::event::{Event, tell, warn};
use crate::gates::Gates;
use crate::handoff::{Hint, Hints};
use crate::housekeeper;
use crate::limits::{
    BAD_LINES_TOLD, DELIVERY_CHANNEL, HINTS, MEMORY_BODIES_MAX, STOP_GRACE, SYNCFS_FROM_APART,
    TMP_CHANNEL,
};
use crate::login::Login;
use crate::metrics::Metrics;
use crate::net::control::{self, Control};
use crate::net::listener::{Listener, Service};
use crate::net::pool::{Pool, panic_text, spawn_vital};
use crate::net::registry::{Full, Registry, Standing, Ticket};
use crate::net::stream::{TcpWire, Wire};
use crate::pickup::{Pickup, PickupCall};
use crate::policy::{self, Ends, Facts};
use crate::reporting::Reporting;
use crate::scheduler::{self, Scheduler};
use crate::site::hold;
use crate::site::{Current, Site};
use crate::smtp::reply::Reply;
use crate::store::body::Budget;
use crate::store::disk::Disk;
use crate::store::queue::{Queue, SpoolLock};
use crate::store::table::BadLine;
use crossbeam_channel::{Sender, bounded};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Instant, SystemTime};

/// A server that runs until [`Server::stop`].
pub struct Server {
    entrance: Arc<Entrance>,
    listeners: Vec<Arc<Listener>>,
    /// The accepting threads; all others end with the process.
    threads: Vec<JoinHandle<()>>,
    /// To the thread that takes in dropped mail; without a reader where there is no such thread.
    calls: Sender<PickupCall>,
    /// The lock of the spool, released when the server is dropped.
    _lock: SpoolLock,
}

impl Server {
    /// Starts all threads. Sessions begin as soon as the queue can be written; it need not have been read.
    /// Fails when the system grants no more threads.
    pub fn start(listeners: Vec<Listener>, site: Site, spool: Spool) -> io::Result<Server> {
        let Spool { disk, queue, drops, spill, control, keys, login, lock } = spool;
        let (delivery, accepted) = bounded(DELIVERY_CHANNEL);
        let (delivered, to_clean) = bounded(TMP_CHANNEL);
        let (hints, heard) = Hints::new(HINTS);
        let writer = Writer::new(disk.clone(), queue.clone(), site.config.hostname.as_str());
        let descriptors = descriptors::granted();
        let writer = writer.with_homes(descriptors::homes(descriptors));
        let writer = Arc::new(writer.with_syncfs_from(SYNCFS_FROM_APART));
        let current = Current::new(site.with_keys(keys));
        current.get().watch_keys()?;
        current.get().watch_policies();
        let wakers = Wakers::new(delivered.clone(), hints.clone());
        let (worker, maildirs, first) = (writer.clone(), disk.clone(), current.get());
        spawn_vital("delivery", None, move || worker.run(&accepted, &wakers))?;
        let mut reminder = Reminder::new(current.clone(), disk.clone());
        spawn_vital("housekeeping", None, move || {
            housekeeper::run(&*maildirs, &first, &to_clean, |now| reminder.look(now));
        })?;
        let gates = Arc::new(Gates::default());
        gates.follow(&current, &disk)?;
        let reporting = Arc::new(Reporting::default());
        reporting.follow(&current, &disk, &queue, &hints)?;
        let office = Arc::new(scheduler::RelayShared {
            disk: disk.clone(),
            queue: queue.clone(),
            writer: writer.clone(),
            delivered,
            hints: hints.clone(),
            reports: Default::default(),
            seen: Default::default(),
            gates: gates.clone(),
            reporting: reporting.clone(),
        });
        let calls = bounded(1);
        if let Some(drops) = drops {
            let (site, disk) = (current.clone(), disk.clone());
            let tables = disk.clone();
            let fresh = move || fresh(&site, &*tables);
            let pickup = Pickup::new(disk, queue.clone(), drops, hints.clone(), fresh);
            let called = calls.1;
            spawn_vital("pickup", None, move || pickup.run(&called))?;
        }
        // Made in its own thread, because reading the queue must not delay the first session.
        let site = current.clone();
        spawn_vital("scheduler", None, move || Scheduler::new(office, site).run(&heard))?;
        if let Some(control) = control {
            let (hints, calls) = (hints.clone(), calls.0.clone());
            spawn_vital("control", None, move || listen_to(&control, &hints, &calls))?;
        }

        descriptors::tell_short(&current.get().config, descriptors);
        let registry = Arc::new(Registry::default());
        let metrics = Metrics::new(
            disk.clone(),
            current.clone(),
            registry.clone(),
            hints.clone(),
            queue.clone(),
        );
        let shared = Arc::new(Shared {
            disk: disk.clone(),
            writer: Some(writer),
            delivery,
            budget: Budget::new(MEMORY_BODIES_MAX),
            spill,
            queue: queue.clone(),
            hints: hints.clone(),
            login: Login::start()?.with_secret(login),
            current: Some(current.clone()),
            bounds: Bounds::default(),
            gates: gates.clone(),
        });
        let pool = Pool::new(move |admitted: Admitted| admitted.serve(&shared));
        let metrics = Arc::new(metrics);
        let turned_away = Arc::default();
        let entrance = Entrance {
            current,
            registry,
            pool,
            hints,
            descriptors,
            metrics,
            turned_away,
            gates,
            reporting,
            disk,
            queue,
        };
        let (entrance, calls) = (Arc::new(entrance), calls.0);
        let mut server =
            Server { entrance, listeners: Vec::new(), threads: Vec::new(), calls, _lock: lock };
        for listener in listeners {
            server.listen(Arc::new(listener))?;
        }
        Ok(server)
    }

    /// Addresses it listens on; a port 0 of the configuration is the port that was found free.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|listener| listener.address).collect()
    }

    /// The site that new sessions begin with.
    pub fn site(&self) -> Arc<Site> {
        self.entrance.current.get()
    }

    /// Lets new sessions and attempts begin with this site; running ones keep theirs. DNS may be asked first
    /// whether its certificate may be shown.
    pub fn replace(&self, site: Site) {
        descriptors::tell_short(&site.config, self.entrance.descriptors);
        let site = hold::judged(&self.entrance.current, site);
        // First, so that no message of a domain that is new leaves unsigned meanwhile.
        self.site().signing().follow(&site.config);
        self.entrance.current.replace(site);
        self.site().ask_for_keys();
        self.site().watch_policies();
        let Entrance { current, gates, reporting, disk, queue, hints, .. } = &*self.entrance;
        if let Err(error) = gates.follow(current, disk) {
            warn(&format!("blocklists and greylisting: cannot start a thread: {error}"));
        }
        if let Err(error) = reporting.follow(current, disk, queue, hints) {
            warn(&format!("reports on TLS: cannot start a thread: {error}"));
        }
        self.entrance.hints.send(Hint::Reload);
    }

    /// Attempts all waiting mail at once.
    pub fn flush(&self) {
        self.entrance.hints.insist(Hint::FlushAll);
    }

    /// How many sessions there are at this moment.
    pub fn sessions(&self) -> usize {
        self.entrance.registry.count()
    }

    /// The sessions, for a second signal that ends them without waiting.
    pub fn registry(&self) -> Arc<Registry> {
        self.entrance.registry.clone()
    }

    /// Stops accepting, lets running transactions end within `timeout.shutdown`, tells the others
    /// 421, and returns when all sessions are over or their time is.
    pub fn stop(self) {
        let registry = &self.entrance.registry;
        tell(&Event::Stopping { sessions: registry.count() });
        // First, so that no session begins after the others were told to end.
        self.listeners.iter().for_each(|listener| listener.close());
        for thread in self.threads {
            let _ = thread.join();
        }
        // At the same time as the sessions: no attempt and no pickup is begun, and those that should not be
        // cut off are finished.
        let deadline = Instant::now() + self.entrance.current.get().config.timeout.shutdown;
        let (done, relayed) = bounded(1);
        self.entrance.hints.insist(Hint::Stop(done));
        let (done, picked_up) = bounded(1);
        let _ = self.calls.send(PickupCall::Stop(done));
        registry.stop();
        if !registry.wait_empty(self.entrance.current.get().config.timeout.shutdown) {
            registry.stop_reading();
            registry.wait_empty(STOP_GRACE);
        }
        // A message that is cut off now is delivered again, never lost.
        let deadline = deadline.max(Instant::now() + STOP_GRACE);
        let _ = relayed.recv_deadline(deadline);
        let _ = picked_up.recv_deadline(deadline);
        // No attempt is made any more.
        self.entrance.reporting.finish();
        tell(&Event::Stopped);
    }

    fn listen(&mut self, listener: Arc<Listener>) -> io::Result<()> {
        let service = listener.service.to_string();
        tell(&Event::Listening { service: &service, address: listener.address });
        self.listeners.push(listener.clone());
        if listener.service == Service::Metrics {
            self.entrance.metrics.open();
        }
        let entrance = self.entrance.clone();
        let thread = thread::Builder::new().name(format!("accept-{service}"));
        self.threads.push(thread.spawn(move || {
            listener.accept_all(|stream, client| match listener.service {
                Service::Metrics => entrance.metrics.admit(stream, listener.peers.clone()),
                service => entrance.admit(stream, client, service),
            });
        })?);
        Ok(())
    }
}

/// Passes on the hints that commands drop.
fn listen_to(control: &Control, hints: &Hints, calls: &Sender<PickupCall>) {
    loop {
        for hint in control.receive() {
            // A lost hint only delays: the queue is looked through from time to time.
            match hint {
                control::ControlHint::Look(id) => hints.send(Hint::Look(id)),
                control::ControlHint::LookAll => hints.send(Hint::LookAll),
                control::ControlHint::Drop => calls.try_send(PickupCall::Look).is_ok(),
            };
        }
    }
}

/// Names bad lines in the log, up to a bound, because a file can be wrong in every line.
pub fn tell_bad_lines(bad: &[BadLine]) {
    for line in bad.iter().take(BAD_LINES_TOLD) {
        warn(&line.to_string());
    }
    if let Some(more) = bad.len().checked_sub(BAD_LINES_TOLD).filter(|more| *more > 0) {
        warn(&format!("and {more} more bad lines; see facteur check"));
    }
}

/// Warns of a certificate that clients may not believe; it is used all the same, because most of them do
/// not verify it.
pub fn tell_flaws(site: &Site) {
    for (_, words) in site.flaws(SystemTime::now()) {
        warn(&words);
    }
}

/// Where connections come in.
struct Entrance {
    current: Arc<Current>,
    registry: Arc<Registry>,
    pool: Pool<Admitted>,
    hints: Hints,
    /// How many files may be open.
    descriptors: u64,
    /// Answers at `listen.metrics`.
    metrics: Arc<Metrics>,
    turned_away: Arc<TurnedAway>,
    gates: Arc<Gates>,
    reporting: Arc<Reporting>,
    disk: Arc<dyn Disk>,
    queue: Queue,
}

impl Entrance {
    /// Finds a place and a thread for a connection, or turns it away.
    fn admit(&self, stream: TcpStream, client: IpAddr, service: Service) {
        // Without users and aliases: they are read in the session's thread, so that no other session waits
        // for them.
        let site = self.current.bare();
        let id = crate::id::session();
        // Replies go out whole; waiting for more to send with them would only delay them.
        let _ = stream.set_nodelay(true);
        let stream = Arc::new(stream);
        self.turned_away.tell_left_out();
        let facts = Facts::new(id, client, service);
        let sessions = descriptors::sessions(&site.config, self.descriptors);
        // A place is taken here and not in the session, because it also bounds the threads.
        let stream_there = Some(stream.clone());
        let is_proxied = policy::gates::is_balancer(&site, client);
        let place = match is_proxied {
            true => self.registry.enter_unnamed(stream_there, sessions),
            false => {
                let standing = standing(&site, client, service);
                let per_client = site.config.limit.sessions_per_client;
                self.registry.enter(stream_there, client, standing, sessions, per_client)
            }
        };
        let ticket = match place {
            Ok(ticket) => ticket,
            Err(full) => return self.turned_away.send_off(&stream, &facts, &site, full),
        };
        let turned_away = &self.turned_away;
        let proxied = is_proxied.then(|| Proxied { sessions, turned_away: turned_away.clone() });
        let admitted = Admitted { facts, stream, ticket, site, proxied };
        // The system grants fewer threads than we would; the client gets the same reply.
        if let Err((admitted, error)) = self.pool.run(admitted) {
            warn(&format!("no thread for a session: {error}"));
            let Admitted { facts, stream, site, .. } = &admitted;
            turned_away.send_off(stream, facts, site, Full::Sessions);
        }
    }
}

/// What is known of a client before it has said anything.
fn standing(site: &Site, client: IpAddr, service: Service) -> Standing {
    match service {
        _ if policy::is_trusted(site, client) => Standing::Known,
        service if service.is_submission() => Standing::Unproven,
        _ => Standing::Stranger,
    }
}

/// The ends of a connection; none where the client is gone already.
fn ends(stream: &TcpStream) -> Option<Ends> {
    let (peer, listener) = (stream.peer_addr().ok()?, stream.local_addr().ok()?);
    let listener = SocketAddr::new(listener.ip().to_canonical(), listener.port());
    Some(Ends { client_port: peer.port(), listener })
}

/// A connection on its way to its thread.
struct Admitted {
    facts: Facts,
    stream: Arc<TcpStream>,
    ticket: Ticket,
    /// The site, without users and aliases.
    site: Arc<Site>,
    /// What waits for its header; none where the client itself has connected.
    proxied: Option<Proxied>,
}

impl Admitted {
    /// The whole session; a panic in it ends this session only.
    fn serve(self, shared: &Shared) {
        let Admitted { mut facts, stream, mut ticket, site, proxied } = self;
        let session = facts.id.clone();
        let session = session.as_str();
        if facts.service.milter().is_some_and(|service| site.config.is_filtered(service)) {
            facts.ends = ends(&stream);
        }
        // What a panic leaves half done belongs to this session and is dropped with it.
        let mut wire = TcpWire::new(stream.clone());
        let talk = || {
            if let Some(proxied) = proxied {
                proxied.name_client(&mut facts, &mut ticket, &site, &stream, &mut wire)?;
            }
            let (client, service) = (facts.client, &facts.service.to_string());
            tell(&Event::Connected { session, client, service });
            if let Some(current) = &shared.current {
                fresh_for_session(current, &*shared.disk);
            }
            Ok(converse(shared, &site, &facts, &ticket, &mut wire))
        };
        let reason = match catch_unwind(AssertUnwindSafe(talk)) {
            Ok(Ok(reason) | Err(NoClient::Unknown(reason))) => Some(reason),
            Ok(Err(NoClient::TurnedAway)) => None,
            Err(panic) => {
                tell(&Event::Panicked { session, what: &panic_text(&*panic) });
                let text = format!("{} local trouble, closing", site.config.hostname);
                let mut octets = Vec::new();
                Reply::new(421, "4.3.0", text).about(session).write_to(&mut octets);
                let _ = wire.write_all(&octets, Instant::now() + STOP_GRACE);
                Some("panic".to_owned())
            }
        };
        drop(wire);
        if let Some(reason) = reason {
            tell(&Event::Disconnected { session, reason: &reason });
        }
        drop(ticket); // last: a stopping server waits for this, and then for no more lines
    }
}
