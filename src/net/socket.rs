//! A connection by TCP, or a Unix socket as a stream of the same type. Each step ends by a deadline, which octets that drip do not prolong.

use crate::limits::{LINGER, LINGER_OCTETS};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One connection, blocking.
pub struct Socket {
    stream: Arc<TcpStream>,
    /// The timeouts that are set on the socket, to save the system call that sets the same again.
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
}

impl Socket {
    /// The stream may be shut down by others who hold it ([`super::registry`]).
    pub fn new(stream: Arc<TcpStream>) -> Socket {
        Socket { stream, read_timeout: None, write_timeout: None }
    }

    /// Our own address; none on a connection that is over.
    pub fn local(&self) -> Option<IpAddr> {
        self.stream.local_addr().ok().map(|address| address.ip().to_canonical())
    }

    /// Waits for some octets; returns 0 at the end of input. Fails with `TimedOut` past the deadline.
    pub fn read(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
        loop {
            self.arm_read(deadline)?;
            match (&*self.stream).read(buffer) {
                Err(error) if is_retry(&error) => {} // the deadline decides
                result => return result,
            }
        }
    }

    /// Sends some of the octets, at least one. Fails with `TimedOut` past the deadline.
    pub fn write(&mut self, pieces: &[IoSlice<'_>], deadline: Instant) -> io::Result<usize> {
        loop {
            self.arm_write(deadline)?;
            let written = match pieces {
                [piece] => (&*self.stream).write(piece),
                pieces => (&*self.stream).write_vectored(pieces),
            };
            match written {
                Err(error) if is_retry(&error) => {}
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                result => return result,
            }
        }
    }

    /// Sends all octets, or fails with `TimedOut` past the deadline.
    pub fn write_all(&mut self, mut octets: &[u8], deadline: Instant) -> io::Result<()> {
        while !octets.is_empty() {
            let written = self.write(&[IoSlice::new(octets)], deadline)?;
            octets = &octets[written..];
        }
        Ok(())
    }

    /// Whether octets wait to be read. Neither takes them nor waits for them.
    pub fn has_octets(&self) -> bool {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        recv(self.stream.as_raw_fd(), &mut [0], flags).is_ok_and(|octets| octets > 0)
    }

    /// Whether the other end is still there and nothing of it waits to be read.
    pub fn is_quiet(&self) -> bool {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        matches!(recv(self.stream.as_raw_fd(), &mut [0], flags), Err(Errno::EAGAIN))
    }

    /// Sends as many octets as can be sent without waiting.
    pub fn write_now(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stream.set_nonblocking(true)?;
        let written = (&*self.stream).write_vectored(pieces);
        self.stream.set_nonblocking(false)?;
        written
    }

    /// Ends our side, and reads on for a moment: closing with unread octets would reset the connection, and
    /// our last reply could be lost.
    pub fn finish(&mut self) {
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

/// Time to the deadline, or `TimedOut` when there is none left.
pub(super) fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(ErrorKind::TimedOut.into()),
        // Below this the kernel may take it for "no timeout".
        left => Ok(left.max(Duration::from_millis(1))),
    }
}

/// Whether the timeout that is set will do for the wanted one. A shorter one only means looking at the
/// deadline more often, and one that is a little longer does no harm.
fn is_near(set: Option<Duration>, wanted: Duration) -> bool {
    let shortest = wanted.min(Duration::from_secs(30));
    set.is_some_and(|set| set >= shortest && set <= wanted + Duration::from_millis(500))
}

/// With a timeout set, a socket returns `WouldBlock` past it, and a signal interrupts in spite of
/// SA_RESTART.
pub(super) fn is_retry(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock)
}
