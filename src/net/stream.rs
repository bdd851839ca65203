//! One connection as a session sees it: blocking reads and writes that end by a deadline, in the clear or
//! by TLS.
//!
//! A deadline, not a timeout: octets that drip one by one do not prolong a step
//! (RFC 5321 §4.5.3.2).

use super::socket::Socket;
use super::tls::{Layer, Protection, Side};
use crate::smtp::auth::Bindings;
use socket2::{Domain, SockAddr, Type};
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A two-way stream of octets; a TCP connection, or a script in a test.
pub trait Wire: Send {
    /// Waits for some octets; returns 0 at the end of input. Fails with `TimedOut` past the deadline, and
    /// with `UnexpectedEof` where TLS was cut off without close_notify.
    fn read(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize>;
    /// Sends all octets, or fails with `TimedOut` past the deadline.
    fn write_all(&mut self, octets: &[u8], deadline: Instant) -> io::Result<()>;
    /// Whether the other side has sent octets already, before our greeting. May read records of TLS.
    fn poll_input(&mut self) -> bool;
    /// Goes on by TLS; the whole handshake has to end by the deadline. After a failure the connection
    /// cannot be used. The error says why; its kind is `TimedOut` or `UnexpectedEof` where the other side
    /// did not finish the handshake.
    fn secure(&mut self, side: Side<'_>, deadline: Instant) -> io::Result<Protection>;
    /// What ties a login to this TLS connection; none in the clear.
    fn bindings(&self) -> Option<Bindings> {
        None
    }
    /// Our own address on this connection; none where there is none.
    fn local(&self) -> Option<IpAddr> {
        None
    }
    /// Ends our side, and reads on for a moment so that the last reply is not lost.
    fn finish(&mut self);
}

/// Where another host listens, and which language it speaks there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    Smtp(SocketAddr),
    Lmtp(SocketAddr),
    /// By a Unix socket.
    LmtpUnix(PathBuf),
}

impl Endpoint {
    /// The address; none of a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Endpoint::Smtp(address) | Endpoint::Lmtp(address) => Some(*address),
            Endpoint::LmtpUnix(_) => None,
        }
    }

    pub fn is_lmtp(&self) -> bool {
        matches!(self, Endpoint::Lmtp(_) | Endpoint::LmtpUnix(_))
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Endpoint {
        Endpoint::Smtp(address)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Smtp(address) | Endpoint::Lmtp(address) => address.fmt(f),
            Endpoint::LmtpUnix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A TCP connection, or one by a Unix socket. Dropping it ends TLS where there is any, and closes it.
pub struct TcpWire {
    socket: Socket,
    /// Boxed, so that a session in the clear does not take the memory.
    tls: Option<Box<Layer>>,
}

impl TcpWire {
    /// A connection in the clear. The stream may be shut down by others that hold it ([`super::registry`]).
    pub fn new(stream: Arc<TcpStream>) -> TcpWire {
        TcpWire { socket: Socket::new(stream), tls: None }
    }

    /// To an endpoint, within a time.
    pub fn connect_to(endpoint: &Endpoint, timeout: Duration) -> io::Result<TcpWire> {
        match endpoint {
            Endpoint::Smtp(address) | Endpoint::Lmtp(address) => {
                TcpWire::connect(*address, timeout)
            }
            Endpoint::LmtpUnix(path) => Ok(TcpWire::new(Arc::new(connect_unix(path, timeout)?))),
        }
    }

    /// To a host, within a time. What is sent goes out at once: every write is a whole group of commands or
    /// a block of a message.
    pub fn connect(address: SocketAddr, timeout: Duration) -> io::Result<TcpWire> {
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_nodelay(true)?;
        Ok(TcpWire::new(Arc::new(stream)))
    }
}

/// Connects to a Unix socket, within a time. To the kernel a stream is a stream: reads, writes and their timeouts are
/// the same for both kinds, so that one type does for both. A full queue of the listener is waited for as long as a
/// write would be (unix(7)).
pub(super) fn connect_unix(path: &Path, time: Duration) -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(time))?;
    socket.connect(&SockAddr::unix(path)?).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => ErrorKind::TimedOut.into(),
        _ => error,
    })?;
    Ok(TcpStream::from(OwnedFd::from(socket)))
}

impl Wire for TcpWire {
    fn read(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
        match &mut self.tls {
            None => self.socket.read(buffer, deadline),
            Some(tls) => tls.read(&mut self.socket, buffer, deadline),
        }
    }

    fn write_all(&mut self, octets: &[u8], deadline: Instant) -> io::Result<()> {
        match &mut self.tls {
            None => self.socket.write_all(octets, deadline),
            Some(tls) => tls.write_all(&mut self.socket, octets, deadline),
        }
    }

    fn poll_input(&mut self) -> bool {
        match &mut self.tls {
            None => self.socket.has_octets(),
            Some(tls) => tls.poll_input(&mut self.socket),
        }
    }

    fn secure(&mut self, side: Side<'_>, deadline: Instant) -> io::Result<Protection> {
        // Kept after a failure too: it has sent an alert, and nothing may follow in the clear.
        let tls = self.tls.insert(Box::new(Layer::new(&side)?));
        tls.handshake(&mut self.socket, deadline)?;
        side.protection(tls)
    }

    fn bindings(&self) -> Option<Bindings> {
        self.tls.as_ref().map(|tls| tls.bindings())
    }

    fn local(&self) -> Option<IpAddr> {
        self.socket.local()
    }

    fn finish(&mut self) {
        if let Some(mut tls) = self.tls.take() {
            tls.end(&mut self.socket);
        }
        self.socket.finish();
    }
}

impl Drop for TcpWire {
    fn drop(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.end(&mut self.socket);
        }
    }
}
