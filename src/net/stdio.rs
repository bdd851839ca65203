//! Standard input and output as one connection, for `sendmail -bs`.

use super::stream::Wire;
use super::tls::{Protection, Side};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::unistd::{read, write};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Both as one connection. Not by std's buffers, because poll does not see what waits in them.
pub struct Stdio;

/// Longest wait between two looks at the clock.
const SLICE: Duration = Duration::from_secs(10);

/// Octets that a writable pipe takes without blocking (POSIX's PIPE_BUF).
const WRITE: usize = 4096;

impl Wire for Stdio {
    fn read(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
        let stdin = io::stdin();
        loop {
            ready(&stdin, PollFlags::POLLIN, deadline)?;
            match read(&stdin, buffer) {
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                result => return Ok(result?),
            }
        }
    }

    fn write_all(&mut self, mut octets: &[u8], deadline: Instant) -> io::Result<()> {
        let stdout = io::stdout();
        while !octets.is_empty() {
            ready(&stdout, PollFlags::POLLOUT, deadline)?;
            match write(&stdout, &octets[..octets.len().min(WRITE)]) {
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                result => octets = &octets[result?..],
            }
        }
        Ok(())
    }

    /// A program may write into the pipe before our greeting.
    fn poll_input(&mut self) -> bool {
        false
    }

    /// Nothing to do: what was written to a pipe is not lost when we end.
    fn finish(&mut self) {}

    /// Never called: a pipe within this machine needs no TLS, and none is offered.
    fn secure(&mut self, _: Side<'_>, _: Instant) -> io::Result<Protection> {
        Err(ErrorKind::Unsupported.into())
    }
}

/// Waits until it can be read or written, or has an error or its end, which reading or writing then shows.
fn ready(what: &impl AsFd, flags: PollFlags, deadline: Instant) -> io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        // Rounded up, so that it never spins through the last millisecond.
        let slice = left.min(SLICE).as_millis() as u16 + 1;
        match poll(&mut [PollFd::new(what.as_fd(), flags)], slice) {
            Ok(0) | Err(Errno::EINTR) => {}
            polled => return polled.map(drop).map_err(io::Error::from),
        }
    }
}
