//! One connection as a session sees it: blocking reads and writes that end by a moment.
//!
//! A deadline, not a timeout: octets that drip one by one do not prolong a step
//! (RFC 5321 §4.5.3.2).

use crate::limits::{LINGER, LINGER_OCTETS};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{MsgFlags, recv};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a connection that is being made is not asked whether it is still wanted, in milliseconds.
const CONNECT_SLICE: u16 = 100;

/// A two-way stream of octets; a TCP connection, or a script in a test.
pub trait Wire: Send {
    /// Waits for some octets; 0 at their end, `TimedOut` past the deadline.
    fn read(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize>;
    /// Sends all of it, or fails with `TimedOut` past the deadline.
    fn write_all(&mut self, octets: &[u8], deadline: Instant) -> io::Result<()>;
    /// Whether octets are there before anything was said.
    fn is_early(&mut self) -> bool;
    /// Ends our side, and reads on for a moment so that the last reply is not lost.
    fn finish(&mut self);
}

/// A TCP connection.
pub struct TcpWire {
    stream: Arc<TcpStream>,
    /// What the socket's timeouts are set to; setting them again costs a system call.
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
}

/// Connects to a host within a time, unless `gives_up` says so before; that is asked ten times a second.
/// What is sent goes out at once: every write is a whole group of commands or a block of a message.
pub fn connect(
    address: SocketAddr,
    timeout: Duration,
    gives_up: &dyn Fn() -> bool,
) -> io::Result<Arc<TcpStream>> {
    let deadline = Instant::now() + timeout;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() == Some(Errno::EINPROGRESS as i32) => {}
        connected => connected?,
    }
    let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    // A timeout of std's would begin a new connection each time.
    while matches!(poll(&mut ready, CONNECT_SLICE), Ok(0) | Err(Errno::EINTR)) {
        if gives_up() || Instant::now() >= deadline {
            return Err(ErrorKind::TimedOut.into());
        }
    }
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    socket.set_nonblocking(false)?;
    socket.set_tcp_nodelay(true)?;
    Ok(Arc::new(socket.into()))
}

impl TcpWire {
    /// The stream may be shut down by others who hold it ([`super::registry`]).
    pub fn new(stream: Arc<TcpStream>) -> TcpWire {
        TcpWire { stream, read_timeout: None, write_timeout: None }
    }

    fn arm_read(&mut self, deadline: Instant) -> io::Result<()> {
        let wanted = left(deadline)?;
        if !is_near(self.read_timeout, wanted) {
            self.stream.set_read_timeout(Some(wanted))?;
            self.read_timeout = Some(wanted);
        }
        Ok(())
    }

    fn arm_write(&mut self, deadline: Instant) -> io::Result<()> {
        let wanted = left(deadline)?;
        if !is_near(self.write_timeout, wanted) {
            self.stream.set_write_timeout(Some(wanted))?;
            self.write_timeout = Some(wanted);
        }
        Ok(())
    }
}

impl Wire for TcpWire {
    fn read(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
        loop {
            self.arm_read(deadline)?;
            match (&*self.stream).read(buffer) {
                Err(error) if is_retry(&error) => {} // the deadline decides
                result => return result,
            }
        }
    }

    fn write_all(&mut self, mut octets: &[u8], deadline: Instant) -> io::Result<()> {
        while !octets.is_empty() {
            self.arm_write(deadline)?;
            match (&*self.stream).write(octets) {
                Err(error) if is_retry(&error) => {}
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => octets = &octets[written..],
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn is_early(&mut self) -> bool {
        // Looked at without taking it or waiting for it.
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        recv(self.stream.as_raw_fd(), &mut [0], flags).is_ok_and(|octets| octets > 0)
    }

    fn finish(&mut self) {
        // A close with octets unread resets the connection, and the reply may be lost.
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let deadline = Instant::now() + LINGER;
        let (mut buffer, mut octets) = ([0; 1024], 0);
        while octets < LINGER_OCTETS {
            match self.read(&mut buffer, deadline) {
                Ok(0) | Err(_) => break,
                Ok(read) => octets += read,
            }
        }
    }
}

/// Time to the deadline, or `TimedOut` when there is none left.
fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(ErrorKind::TimedOut.into()),
        // Below this the kernel may take it for "no timeout".
        left => Ok(left.max(Duration::from_millis(1))),
    }
}

/// Whether a socket's timeout may stand for another. The deadline is looked at again after it, so a
/// shorter one only means to look more often, and a little longer does no harm.
fn is_near(set: Option<Duration>, wanted: Duration) -> bool {
    let shortest = wanted.min(Duration::from_secs(30));
    set.is_some_and(|set| set >= shortest && set <= wanted + Duration::from_millis(500))
}

/// A timeout shows as `WouldBlock`; a signal interrupts in spite of SA_RESTART when one is set.
fn is_retry(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock)
}
