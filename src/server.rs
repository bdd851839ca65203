//! The running server: listeners, session threads, the delivery and housekeeping threads, reload
//! and stop.
//!
//! ```text
//! listener × address ─ accept ─► session pool (a thread for a connection, ≤ limit.sessions)
//!                                  │ Accepted ──────────────► delivery thread × 1 ─► Maildirs
//!                                  ◄──────────────── Outcome ──┘ └─ Maildir ─► housekeeping × 1
//! ```
//!
//! Knows no command of SMTP: all it says itself is 421, to those it cannot serve.

use crate::config::Config;
use crate::conversation::{House, converse};
use crate::delivery::Post;
use crate::event::{Event, tell};
use crate::housekeeper;
use crate::limits::{
    BAD_LINES_TOLD, DELIVERY_CHANNEL, MEMORY_BODIES_MAX, STOP_GRACE, TABLE_SETTLE,
    TABLE_SETTLE_SHORTER, TMP_CHANNEL,
};
use crate::net::listener::{Listener, Service};
use crate::net::pool::Pool;
use crate::net::registry::{Full, Registry, Ticket};
use crate::net::stream::{TcpWire, Wire};
use crate::policy::Visitor;
use crate::route::bad_aliases;
use crate::site::Site;
use crate::smtp::reply::Reply;
use crate::store::body::Budget;
use crate::store::disk::Disk;
use crate::store::table::BadLine;
use crossbeam_channel::bounded;
use std::any::Any;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// A server that runs until [`Server::stop`].
pub struct Server {
    entrance: Arc<Entrance>,
    listeners: Vec<Arc<Listener>>,
    /// Those that accept; all others end with the process.
    threads: Vec<JoinHandle<()>>,
}

/// Binds all listeners of a configuration; nobody is answered before [`Server::start`]. Apart from
/// the start, as low ports need root and sessions must not have it. Fails with the address and what
/// the system said.
pub fn bind(config: &Config) -> Result<Vec<Listener>, String> {
    let all = &config.listen.smtp;
    let bind = |&address: &SocketAddr| {
        Listener::bind(Service::Smtp, address, all)
            .map_err(|error| format!("cannot listen on {address}: {error}"))
    };
    all.iter().map(bind).collect()
}

impl Server {
    /// Starts all threads. `spill`: an existing directory for large messages. Fails when the system
    /// grants no more threads.
    pub fn start(
        listeners: Vec<Listener>,
        site: Site,
        disk: Arc<dyn Disk>,
        spill: PathBuf,
    ) -> io::Result<Server> {
        let (delivery, accepted) = bounded(DELIVERY_CHANNEL);
        let (delivered, to_clean) = bounded(TMP_CHANNEL);
        let post = Arc::new(Post::new(disk.clone(), site.config.hostname.as_str()));
        let site = Arc::new(site);
        let (worker, maildirs, first) = (post.clone(), disk.clone(), site.clone());
        spawn("delivery", move || worker.run(&accepted, &delivered))?;
        spawn("housekeeping", move || housekeeper::run(&*maildirs, &first, &to_clean))?;

        let entrance_disk = disk.clone();
        let budget = Budget::new(MEMORY_BODIES_MAX);
        let house = Arc::new(House { disk, post, delivery, budget, spill });
        let registry = Arc::new(Registry::default());
        let pool = Pool::new(move |guest: Guest| guest.serve(&house));
        let site = RwLock::new(site);
        let entrance = Arc::new(Entrance { disk: entrance_disk, site, registry, pool });
        let mut server = Server { entrance, listeners: Vec::new(), threads: Vec::new() };
        for listener in listeners {
            server.listen(Arc::new(listener))?;
        }
        Ok(server)
    }

    /// Where it listens, with the ports that were free.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|listener| listener.address).collect()
    }

    /// What new sessions begin with.
    pub fn site(&self) -> Arc<Site> {
        self.entrance.site()
    }

    /// From now on new sessions begin with this; running ones keep theirs.
    pub fn replace(&self, site: Site) {
        self.entrance.replace(site);
    }

    /// Sessions at this moment.
    pub fn sessions(&self) -> usize {
        self.entrance.registry.count()
    }

    /// How a second signal says that nothing is to be waited for any more.
    pub fn registry(&self) -> Arc<Registry> {
        self.entrance.registry.clone()
    }

    /// Stops accepting, lets running transactions end within `timeout.shutdown`, tells the others
    /// 421, and returns when all sessions are over or their time is.
    pub fn stop(self) {
        let registry = &self.entrance.registry;
        tell(&Event::Stopping { sessions: registry.count() });
        // First, so that nobody comes in after the others were told to go.
        self.listeners.iter().for_each(|listener| listener.close());
        for thread in self.threads {
            let _ = thread.join();
        }
        registry.stop();
        if !registry.wait_empty(self.entrance.site().config.timeout.shutdown) {
            registry.stop_reading();
            registry.wait_empty(STOP_GRACE);
        }
        tell(&Event::Stopped);
    }

    fn listen(&mut self, listener: Arc<Listener>) -> io::Result<()> {
        let service = listener.service.to_string();
        tell(&Event::Listening { service: &service, address: listener.address });
        self.listeners.push(listener.clone());
        let entrance = self.entrance.clone();
        let thread = thread::Builder::new().name(format!("accept-{service}"));
        self.threads.push(thread.spawn(move || {
            listener.accept_all(|stream, client| entrance.admit(stream, client, listener.service));
        })?);
        Ok(())
    }
}

/// Names bad lines in the log, up to a bound: what people write can be wrong in every line.
pub fn tell_bad_lines(bad: &[BadLine]) {
    for line in bad.iter().take(BAD_LINES_TOLD) {
        tell(&Event::Warning { what: &line.to_string() });
    }
    if let Some(more) = bad.len().checked_sub(BAD_LINES_TOLD).filter(|more| *more > 0) {
        tell(&Event::Warning { what: &format!("and {more} more bad lines; see facteur check") });
    }
}

/// Where connections come in.
struct Entrance {
    disk: Arc<dyn Disk>,
    /// Locked to clone or swap an `Arc`, never while a file is read.
    site: RwLock<Arc<Site>>,
    registry: Arc<Registry>,
    pool: Pool<Guest>,
}

impl Entrance {
    fn site(&self) -> Arc<Site> {
        self.site.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, site: Site) {
        *self.site.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(site);
    }

    /// Replaces one site by another unless a reload was faster; gives the one that holds.
    fn exchange(&self, old: &Arc<Site>, new: Site) -> Arc<Site> {
        let mut current = self.site.write().unwrap_or_else(PoisonError::into_inner);
        // A SIGHUP that came meanwhile has read later than we have.
        if Arc::ptr_eq(&current, old) {
            *current = Arc::new(new);
        }
        current.clone()
    }

    /// The site, with users and aliases read anew when their files have changed. Looking costs a
    /// microsecond a file; what cannot be read stays as it was until it changes again.
    fn fresh_site(&self) -> Arc<Site> {
        let site = self.site();
        let Some(seen) = site.changes() else { return site };
        if site.is_settling(&seen, TABLE_SETTLE_SHORTER, true) {
            return site; // it looks half written: a later connection looks again
        }
        if site.is_settling(&seen, TABLE_SETTLE, false) {
            thread::sleep(TABLE_SETTLE);
            if site.changes().as_ref() != Some(&seen) {
                return site; // it is being written
            }
        }
        match Site::read(site.config.clone()) {
            Ok((new, _)) if !new.is_of(&seen) || new.changes().is_some() => site,
            Ok((new, mut bad)) => {
                bad.extend(bad_aliases(&new, &*self.disk));
                tell_bad_lines(&bad);
                tell(&Event::Reloaded { config: "users and aliases" });
                self.exchange(&site, new)
            }
            Err(error) => {
                tell(&Event::ReloadFailed { reason: &error.to_string() });
                match error.is_passing {
                    true => site,
                    // Remembered, so that a bad file is named once and not at each connection.
                    false => self.exchange(&site, site.stay(seen)),
                }
            }
        }
    }

    /// Finds a place and a thread for a connection, or turns it away.
    fn admit(&self, stream: TcpStream, client: IpAddr, service: Service) {
        let site = self.fresh_site();
        let id = crate::id::session();
        // Replies go out whole; waiting for more to send with them would only delay them.
        let _ = stream.set_nodelay(true);
        let stream = Arc::new(stream);
        tell(&Event::Connected { session: &id, client, service: &service.to_string() });
        let limit = &site.config.limit;
        let (sessions, per_client) = (limit.sessions, limit.sessions_per_client);
        // Taken here and not in the session: threads are bounded by it as well.
        let place = self.registry.enter(Some(stream.clone()), client, sessions, per_client);
        let ticket = match place {
            Ok(ticket) => ticket,
            Err(Full::Sessions) => {
                return turn_away(&stream, &id, &site, "4.3.2", "too many sessions, try later");
            }
            Err(Full::Client) => {
                let text = "too many sessions from your address, try later";
                return turn_away(&stream, &id, &site, "4.7.0", text);
            }
        };
        let visitor = Visitor { id, client };
        let guest = Guest { visitor, stream, ticket, site };
        // The system's bound came before ours; the client need not know which.
        if let Err((guest, error)) = self.pool.run(guest) {
            tell(&Event::Warning { what: &format!("no thread for a session: {error}") });
            let Guest { visitor, stream, site, .. } = &guest;
            turn_away(stream, &visitor.id, site, "4.3.2", "too many sessions, try later");
        }
    }
}

/// Says 421 and closes, without ever waiting: this is the accepting thread.
fn turn_away(stream: &TcpStream, session: &str, site: &Site, enhanced: &'static str, why: &str) {
    let reply = Reply::new(421, enhanced, format!("{} {why}", site.config.hostname)).about(session);
    tell(&Event::Rejected { session, command: b"(connect)", reply: &reply });
    let mut octets = Vec::new();
    reply.write_to(&mut octets);
    if stream.set_nonblocking(true).is_ok() {
        let mut stream = stream;
        let _ = stream.write_all(&octets); // an empty socket buffer takes it whole
    }
    tell(&Event::Disconnected { session, reason: "refused" });
}

/// A connection on its way to its thread.
struct Guest {
    visitor: Visitor,
    stream: Arc<TcpStream>,
    ticket: Ticket,
    site: Arc<Site>,
}

impl Guest {
    /// The whole session; a panic in it ends this session only.
    fn serve(self, house: &House) {
        let Guest { visitor, stream, ticket, site } = self;
        let session = visitor.id.as_str();
        // Whatever a panic leaves half done belongs to this session and is dropped with it.
        let mut wire = TcpWire::new(stream);
        let talk = || converse(house, &site, &visitor, &ticket, &mut wire);
        let reason = catch_unwind(AssertUnwindSafe(talk)).unwrap_or_else(|panic| {
            tell(&Event::Panicked { session, what: &what(&*panic) });
            let text = format!("{} local trouble, closing", site.config.hostname);
            let mut octets = Vec::new();
            Reply::new(421, "4.3.0", text).about(session).write_to(&mut octets);
            let _ = wire.write_all(&octets, Instant::now() + STOP_GRACE);
            "panic".to_owned()
        });
        drop(wire);
        tell(&Event::Disconnected { session, reason: &reason });
        drop(ticket); // last: a stopping server waits for this, and then for no more lines
    }
}

fn what(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}

/// A thread that the server cannot do without: its panic ends the process, before anything can be
/// promised that nobody keeps.
fn spawn(name: &'static str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let work = move || {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            tell(&Event::Panicked { session: name, what: &what(&*panic) });
            std::process::exit(1);
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}
