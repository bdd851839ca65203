//! One connection to a filter: a Unix or TCP socket under [`MilterClient`]. Each answer has to be whole by a
//! deadline, which octets that drip do not prolong; only the filter's own "still at work" does, and not for ever.
//!
//! Never decides what follows from an answer or a failure.

use super::dns::{Addresses, Resolver};
use super::socket::Socket;
use super::stream::connect_unix;
use crate::config::MilterSocket;
use crate::limits::COPY_CHUNK;
use crate::smtp::milter::{
    BadFilterAnswer, FilterAnswer, FilterChange, FilterCommand, FilterMacros, FilterOptions,
    FilterVerdict, MilterClient, offer,
};
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection whose filter has negotiated.
pub struct MilterConnection {
    socket: Socket,
    client: MilterClient,
    /// What was said and not sent yet.
    unsent: Vec<u8>,
}

/// How long an answer is waited for.
#[derive(Clone, Copy, Debug)]
pub struct AnswerTime {
    /// When it has to be whole.
    pub deadline: Instant,
    /// From each word of the filter that it is still at work, so much more.
    pub renewed: Duration,
    /// But never past this.
    pub last: Instant,
}

/// Why a filter did not answer.
#[derive(Debug)]
pub enum MilterFailure {
    /// It cannot be connected to.
    Connect(io::Error),
    /// It did not answer in time.
    Silent,
    Closed,
    Io(io::Error),
    Bad(BadFilterAnswer),
    /// It answered that the server should close its end, or let the client's connection fail.
    Gone(&'static str),
}

impl fmt::Display for MilterFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MilterFailure::Connect(error) => write!(f, "cannot connect: {error}"),
            MilterFailure::Silent => f.write_str("no answer in time"),
            MilterFailure::Closed => f.write_str("it closed the connection"),
            MilterFailure::Io(error) => write!(f, "connection lost: {error}"),
            MilterFailure::Bad(bad) => write!(f, "it sent {bad}"),
            MilterFailure::Gone(what) => write!(f, "it answered {what}"),
        }
    }
}

impl std::error::Error for MilterFailure {}

impl From<BadFilterAnswer> for MilterFailure {
    fn from(bad: BadFilterAnswer) -> MilterFailure {
        MilterFailure::Bad(bad)
    }
}

/// What ends a command.
#[derive(Debug, PartialEq, Eq)]
pub enum Answered {
    /// The filter does not want to hear it, or does not answer it.
    Nothing,
    /// It wants no more of the body.
    Skip,
    Verdict(FilterVerdict),
}

/// What became of a kept connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    Ready,
    /// It has ended since.
    Over,
    /// The filter does not know how to go on with another client.
    Never,
}

impl MilterConnection {
    /// Connects and negotiates.
    pub fn open(
        socket: &MilterSocket,
        resolver: &dyn Resolver,
        connect: Duration,
        mut negotiate: AnswerTime,
    ) -> Result<MilterConnection, MilterFailure> {
        let stream = dial(socket, resolver, connect).map_err(MilterFailure::Connect)?;
        let mut connection = MilterConnection {
            socket: Socket::new(Arc::new(stream)),
            client: MilterClient::default(),
            unsent: offer(),
        };
        connection.flush(negotiate.deadline)?;
        match connection.answer::<MilterFailure>(&mut negotiate, &mut |_| Ok(()))? {
            FilterAnswer::Ready => Ok(connection),
            _ => Err(MilterFailure::Bad(BadFilterAnswer::Unasked)),
        }
    }

    /// What was agreed.
    pub fn options(&self) -> Option<&FilterOptions> {
        self.client.options()
    }

    /// Says a command and waits for its answer, where there is one; `change` gets what the filter wants to have
    /// changed. A command without an answer may be sent later, with the next one that has one.
    pub fn ask<E: From<MilterFailure>>(
        &mut self,
        command: &FilterCommand<'_>,
        macros: &FilterMacros,
        time: &mut AnswerTime,
        change: &mut dyn FnMut(FilterChange) -> Result<(), E>,
    ) -> Result<Answered, E> {
        let said = self.client.say(command, macros, &mut self.unsent);
        if !said.map_err(MilterFailure::Bad)? {
            if self.unsent.len() >= COPY_CHUNK {
                self.flush(time.deadline)?;
            }
            return Ok(Answered::Nothing);
        }
        self.flush(time.deadline)?;
        match self.answer(time, change)? {
            FilterAnswer::Verdict(FilterVerdict::ConnectionFailure) => {
                Err(MilterFailure::Gone("that the connection should fail").into())
            }
            FilterAnswer::Verdict(FilterVerdict::Shutdown) => {
                Err(MilterFailure::Gone("that it shuts down").into())
            }
            FilterAnswer::Verdict(verdict) => Ok(Answered::Verdict(verdict)),
            FilterAnswer::Skip => Ok(Answered::Skip),
            FilterAnswer::Ready | FilterAnswer::Progress | FilterAnswer::Change(_) => {
                Err(MilterFailure::Bad(BadFilterAnswer::Unasked).into())
            }
        }
    }

    /// Ends the message under way.
    pub fn abort(&mut self, deadline: Instant) -> Result<(), MilterFailure> {
        MilterClient::abort(&mut self.unsent);
        self.flush(deadline)
    }

    /// Ends this client; gives the connection back where it may go on with the next one, which
    /// [`MilterConnection::renew`] finds out. `is_kept`: it would be kept.
    pub fn end_client(mut self, is_kept: bool, deadline: Instant) -> Option<MilterConnection> {
        if is_kept && self.client.quit_for_next(&mut self.unsent) {
            return self.flush(deadline).is_ok().then_some(self);
        }
        MilterClient::quit(&mut self.unsent);
        // The filter sees that the connection ends in any case.
        let _ = self.flush(deadline);
        None
    }

    /// Whether a kept connection has negotiated anew.
    pub fn renew(&mut self, wait: Duration) -> Renewed {
        let deadline = Instant::now() + wait;
        let mut time = AnswerTime { deadline, renewed: Duration::ZERO, last: deadline };
        match self.answer::<MilterFailure>(&mut time, &mut |_| Ok(())) {
            Ok(FilterAnswer::Ready) if self.socket.is_quiet() => Renewed::Ready,
            Ok(FilterAnswer::Ready) => Renewed::Over,
            _ => Renewed::Never,
        }
    }

    fn flush(&mut self, deadline: Instant) -> Result<(), MilterFailure> {
        let octets = std::mem::take(&mut self.unsent);
        self.socket.write_all(&octets, deadline).map_err(failure)
    }

    /// The answer that ends a command.
    fn answer<E: From<MilterFailure>>(
        &mut self,
        time: &mut AnswerTime,
        change: &mut dyn FnMut(FilterChange) -> Result<(), E>,
    ) -> Result<FilterAnswer, E> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.client.answer().map_err(MilterFailure::Bad)? {
                None => match self.socket.read(&mut buffer, time.deadline).map_err(failure)? {
                    0 => return Err(MilterFailure::Closed.into()),
                    read => self.client.feed(&buffer[..read]),
                },
                Some(FilterAnswer::Progress) => {
                    let renewed = (Instant::now() + time.renewed).min(time.last);
                    time.deadline = time.deadline.max(renewed);
                }
                Some(FilterAnswer::Change(asked)) => {
                    change(asked)?;
                    // Changes without end come as fast as they are read.
                    if Instant::now() >= time.deadline {
                        return Err(MilterFailure::Silent.into());
                    }
                }
                Some(answer) => return Ok(answer),
            }
        }
    }
}

fn failure(error: io::Error) -> MilterFailure {
    match error.kind() {
        ErrorKind::TimedOut => MilterFailure::Silent,
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof => {
            MilterFailure::Closed
        }
        _ => MilterFailure::Io(error),
    }
}

/// Connects within a time, to the first address of a host that takes the connection.
fn dial(socket: &MilterSocket, resolver: &dyn Resolver, time: Duration) -> io::Result<TcpStream> {
    let host = match socket {
        MilterSocket::Unix(path) => return connect_unix(path, time),
        MilterSocket::Inet(host) => host,
    };
    let deadline = Instant::now() + time;
    let addresses = match (host.host.parse::<IpAddr>(), host.host.as_str()) {
        (Ok(address), _) => vec![address],
        (_, name) => match resolver.addresses(name) {
            Ok(Addresses::Found(found)) => found,
            Ok(_) => return Err(io::Error::other(format!("{name} has no address"))),
            Err(error) => return Err(io::Error::other(error.to_string())),
        },
    };
    let mut last = io::Error::from(ErrorKind::TimedOut);
    for address in addresses {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(&SocketAddr::new(address, host.port), left) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
