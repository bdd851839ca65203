//! One question to one server: over UDP, over TCP when the answer does not fit (RFC 1035 §4.2,
//! RFC 5452, RFC 7766). What is given back answers this question; whether it makes sense is for
//! [`super::ask`] to see.

use super::DnsFault;
use super::answer::{self, has_id, is_truncated};
use crate::limits::{DNS_PAYLOAD, DNS_REST, DNS_STRAYS};
use crate::net::stream::{TcpWire, Wire};
use hickory_resolver::proto::op::{DnsResponse, Message, ResponseCode};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A server, and whether it was silent.
pub struct Server {
    address: SocketAddr,
    /// Until when it is asked last, because it was silent.
    resting: Mutex<Option<Instant>>,
}

impl Server {
    pub fn new(address: SocketAddr) -> Server {
        Server { address, resting: Mutex::new(None) }
    }

    pub fn is_resting(&self, now: Instant) -> bool {
        self.resting().is_some_and(|until| until > now)
    }

    /// One try, over UDP and TCP, that is over by the deadline.
    pub fn ask(&self, question: &Message, deadline: Instant) -> Result<DnsResponse, DnsFault> {
        let answer = self.ask_as_it_can(question, deadline);
        *self.resting() = match answer {
            Err(DnsFault::Timeout(_)) => Some(Instant::now() + DNS_REST),
            _ => None,
        };
        answer
    }

    fn resting(&self) -> MutexGuard<'_, Option<Instant>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask_as_it_can(
        &self,
        question: &Message,
        deadline: Instant,
    ) -> Result<DnsResponse, DnsFault> {
        let answer = self.exchange(question, deadline)?;
        match answer.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => Ok(answer),
            ResponseCode::ServFail => Err(DnsFault::ServFail),
            ResponseCode::Refused => Err(DnsFault::Refused),
            // A server from before EDNS says so by one of these (RFC 6891 §7).
            ResponseCode::FormErr | ResponseCode::NotImp | ResponseCode::BADVERS
                if question.edns.is_some() =>
            {
                let mut plain = question.clone();
                plain.edns = None;
                self.ask_as_it_can(&plain, deadline)
            }
            code => Err(DnsFault::broken(format!("{} answered {code}", self.address))),
        }
    }

    fn exchange(&self, question: &Message, deadline: Instant) -> Result<DnsResponse, DnsFault> {
        let mut question = question.clone();
        // A new id and, with the new socket, a new port each time: both have to be guessed by who
        // wants to answer in the server's place (RFC 5452 §9).
        question.metadata.id = Message::query().metadata.id;
        let octets = question.to_vec().map_err(DnsFault::broken)?;
        if let Some(answer) = self.over_udp(&question, &octets, deadline)? {
            return Ok(answer);
        }
        self.over_tcp(&question, &octets, deadline)
    }

    /// None when TCP should be asked: the answer is truncated, or somebody is guessing.
    fn over_udp(
        &self,
        question: &Message,
        octets: &[u8],
        deadline: Instant,
    ) -> Result<Option<DnsResponse>, DnsFault> {
        let failed = |error| self.failed(error);
        let local = match self.address {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = UdpSocket::bind(local).map_err(failed)?;
        // Connected, it takes datagrams of this server only, and hears when nobody listens there.
        socket.connect(self.address).map_err(failed)?;
        socket.send(octets).map_err(failed)?;
        // Some servers send more than we asked for; what they cut off cannot be read.
        let mut buffer = vec![0; 4 * usize::from(DNS_PAYLOAD)];
        let mut strays = 0;
        while strays < DNS_STRAYS {
            let left = left(deadline).map_err(failed)?;
            socket.set_read_timeout(Some(left)).map_err(failed)?;
            let datagram = match socket.recv(&mut buffer) {
                Ok(octets) => &buffer[..octets],
                Err(error) if is_retry(&error) => continue, // the deadline decides
                Err(error) => return Err(failed(error)),
            };
            if has_id(datagram, question) {
                if is_truncated(datagram) {
                    return Ok(None);
                }
                if let Some(answer) = self.read(datagram, question)? {
                    return Ok(Some(answer));
                }
            }
            strays += 1;
        }
        Ok(None)
    }

    fn over_tcp(
        &self,
        question: &Message,
        octets: &[u8],
        deadline: Instant,
    ) -> Result<DnsResponse, DnsFault> {
        let failed = |error| self.failed(error);
        let broken = |what| DnsFault::broken(format!("{}: {what} over TCP", self.address));
        let time = left(deadline).map_err(failed)?;
        let stream = TcpStream::connect_timeout(&self.address, time).map_err(failed)?;
        let mut wire = TcpWire::new(Arc::new(stream));
        let length = u16::try_from(octets.len()).map_err(DnsFault::broken)?;
        let message = [&length.to_be_bytes(), octets].concat();
        wire.write_all(&message, deadline).map_err(failed)?;
        let mut length = [0; 2];
        fill(&mut wire, &mut length, deadline).map_err(failed)?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        fill(&mut wire, &mut answer, deadline).map_err(failed)?;
        // Nobody else writes into a connection: what does not fit here is the server's own doing.
        match has_id(&answer, question) {
            false => Err(broken("another answer")),
            true if is_truncated(&answer) => Err(broken("truncated answer")),
            true => self.read(&answer, question)?.ok_or_else(|| broken("another answer")),
        }
    }

    /// None when it answers another question.
    fn read(&self, octets: &[u8], question: &Message) -> Result<Option<DnsResponse>, DnsFault> {
        let broken = |what| DnsFault::broken(format!("{}: {what}", self.address));
        answer::read(octets, question).map_err(broken)
    }

    fn failed(&self, error: io::Error) -> DnsFault {
        match error.kind() {
            // How long that was is told once, for all servers.
            ErrorKind::TimedOut | ErrorKind::WouldBlock => DnsFault::Timeout(Duration::ZERO),
            _ => DnsFault::broken(format!("{}: {error}", self.address)),
        }
    }
}

fn fill(wire: &mut TcpWire, buffer: &mut [u8], deadline: Instant) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match wire.read(&mut buffer[filled..], deadline)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            octets => filled += octets,
        }
    }
    Ok(())
}

/// Time to the deadline, or `TimedOut` when there is none left; never so short that a socket takes
/// it for "no timeout".
fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(ErrorKind::TimedOut.into()),
        left => Ok(left.max(Duration::from_millis(1))),
    }
}

/// A timeout shows as `WouldBlock`; a signal interrupts in spite of SA_RESTART when one is set.
fn is_retry(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
