//! Listening sockets: bound before privileges are dropped or handed over by a service manager, accepted
//! from until the server stops.

use super::peer::Peers;
use crate::config::{Listen, MilterService};
use crate::event::warn;
use crate::limits::{ACCEPT_WAIT, ACCEPT_WAIT_MAX, BACKLOG};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, SockRef, Socket, Type};
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// What is spoken on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Mail from other servers, RFC 5321.
    Smtp,
    /// Mail from users of this server, RFC 6409.
    Submission,
    /// The same, with TLS from the first octet, RFC 8314.
    Submissions,
    /// Pages for people and Prometheus, by HTTP; no mail.
    Metrics,
}

impl Service {
    /// Each of them.
    pub const ALL: [Service; 4] =
        [Service::Smtp, Service::Submission, Service::Submissions, Service::Metrics];

    /// The addresses of a configuration with their services, in the order of these.
    pub fn addresses(listen: &Listen) -> Vec<(Service, SocketAddr)> {
        let Listen { smtp, submission, submissions, metrics, proxy: _ } = listen;
        let each = Service::ALL.into_iter().zip([smtp, submission, submissions, metrics]);
        each.flat_map(|(service, all)| all.iter().map(move |a| (service, *a))).collect()
    }

    /// As filters of the configuration name it; none where there is no mail.
    pub fn milter(self) -> Option<MilterService> {
        match self {
            Service::Smtp => Some(MilterService::Smtp),
            Service::Submission => Some(MilterService::Submission),
            Service::Submissions => Some(MilterService::Submissions),
            Service::Metrics => None,
        }
    }

    /// Whether it is for our own users only.
    pub fn is_submission(self) -> bool {
        match self {
            Service::Smtp | Service::Metrics => false,
            Service::Submission | Service::Submissions => true,
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Service::Smtp => "smtp",
            Service::Submission => "submission",
            Service::Submissions => "submissions",
            Service::Metrics => "metrics",
        })
    }
}

/// A bound socket.
pub struct Listener {
    pub service: Service,
    pub address: SocketAddr,
    /// For metrics: the tables that tell which user of this machine connects.
    pub peers: Option<Arc<Peers>>,
    socket: TcpListener,
    closed: AtomicBool,
    /// For a socket that the service manager holds too: shutting down the first half wakes the thread that
    /// waits at the second.
    wakeup: Option<(UnixStream, UnixStream)>,
}

impl Listener {
    /// Binds an address; for port 0 a free port is found, which `address` then has. `all`: all addresses of
    /// this server, to find out whether an IPv6 socket may take IPv4 as well.
    pub fn bind(service: Service, wanted: SocketAddr, all: &[SocketAddr]) -> io::Result<Listener> {
        let socket = bound(wanted, all)?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from(socket);
        let address = socket.local_addr()?;
        Ok(Listener::new(service, address, socket, None))
    }

    /// Fails with what keeps [`Listener::bind`] from that address at this moment. No client can connect
    /// meanwhile, and a server that starts at the same time is not disturbed.
    pub fn try_out(wanted: SocketAddr, all: &[SocketAddr]) -> io::Result<()> {
        bound(wanted, all).map(drop)
    }

    /// Takes a socket that listens already. The service manager holds it too: when we end, clients wait
    /// there for the next server.
    pub fn handed(service: Service, socket: TcpListener) -> io::Result<Listener> {
        // Several processes may wait at it, and only one of them gets the client.
        socket.set_nonblocking(true)?;
        let (address, wakeup) = (socket.local_addr()?, Some(UnixStream::pair()?));
        Ok(Listener::new(service, address, socket, wakeup))
    }

    fn new(
        service: Service,
        address: SocketAddr,
        socket: TcpListener,
        wakeup: Option<(UnixStream, UnixStream)>,
    ) -> Listener {
        // Opened here, before the sandbox is closed.
        let peers = (service == Service::Metrics).then(|| Arc::new(Peers::open()));
        Listener { service, address, peers, socket, closed: AtomicBool::new(false), wakeup }
    }

    /// Gives every connection to `take` until [`Listener::close`]. When accepting fails (no descriptors, no
    /// memory), waits and tries again.
    pub fn accept_all(&self, take: impl Fn(TcpStream, IpAddr)) {
        let mut wait = ACCEPT_WAIT;
        while !self.closed.load(Ordering::SeqCst) {
            match self.accept() {
                Ok((stream, client)) => {
                    wait = ACCEPT_WAIT;
                    // An IPv4 client of an IPv6 socket is an IPv4 client.
                    take(stream, client.ip().to_canonical());
                }
                // The client is gone already, or a signal came.
                Err(e) if is_passing(&e) || self.closed.load(Ordering::SeqCst) => {}
                Err(error) => {
                    // Logged once, not at each try.
                    if wait == ACCEPT_WAIT {
                        let what = format!("cannot accept on {}: {error}; waiting", self.address);
                        warn(&what);
                    }
                    thread::sleep(wait);
                    wait = (wait * 2).min(ACCEPT_WAIT_MAX);
                }
            }
        }
    }

    fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        if let Some((_, wakeup)) = &self.wakeup {
            let wait = |fd| PollFd::new(fd, PollFlags::POLLIN);
            poll(&mut [wait(self.socket.as_fd()), wait(wakeup.as_fd())], PollTimeout::NONE)?;
        }
        self.socket.accept()
    }

    /// Ends [`Listener::accept_all`]. New clients are refused by the kernel, or wait where the service
    /// manager holds the socket too.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let _ = match &self.wakeup {
            // The socket itself must not be shut down, because that would end it for all processes.
            Some((first, _)) => first.shutdown(Shutdown::Both),
            // On Linux this wakes a blocked accept.
            None => SockRef::from(&self.socket).shutdown(Shutdown::Both),
        };
    }
}

/// A socket that is bound and does not listen yet.
fn bound(wanted: SocketAddr, all: &[SocketAddr]) -> io::Result<Socket> {
    let socket = match Socket::new(Domain::for_address(wanted), Type::STREAM, None) {
        // A kernel without IPv6: then all addresses are those of IPv4.
        Err(error) if is_no_ipv6(&error) && wanted.ip() == Ipv6Addr::UNSPECIFIED => {
            return bound(SocketAddr::from((Ipv4Addr::UNSPECIFIED, wanted.port())), all);
        }
        socket => socket?,
    };
    if wanted.is_ipv6() {
        // `[::]` takes IPv4 too, unless that port has a socket of its own for it.
        let shared = all.iter().any(|other| other.is_ipv4() && other.port() == wanted.port());
        socket.set_only_v6(shared)?;
    }
    // Otherwise a restart would have to wait for the last connections of the previous run.
    socket.set_reuse_address(true)?;
    socket.bind(&wanted.into())?;
    Ok(socket)
}

fn is_no_ipv6(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::errno::Errno::EAFNOSUPPORT as i32)
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::Interrupted
            | ErrorKind::WouldBlock
    )
}
