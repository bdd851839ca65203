//! One question to one server: over UDP, over TCP when the answer does not fit (RFC 1035 §4.2, RFC 5452,
//! RFC 7766). The result answers this question; [`super::ask`] finds out whether it makes sense.

use super::DnsFault;
use super::answer::{self, has_id, is_truncated};
use super::resolv::locate;
use crate::config::NameServer;
use crate::limits::{DNS_EDNS_PART, DNS_PAYLOAD, DNS_PLAIN, DNS_REST, DNS_STRAYS};
use crate::net::socket::{is_retry, left};
use crate::net::stream::{TcpWire, Wire};
use hickory_resolver::proto::op::{DnsResponse, Message, ResponseCode};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A server, and how it behaved lately.
pub struct DnsServer {
    server: NameServer,
    lately: Mutex<Lately>,
}

#[derive(Clone, Copy, Default)]
struct Lately {
    /// Until then it is asked after the other servers, because it was silent.
    resting: Option<Instant>,
    edns: Edns,
}

/// Whether a server copes with EDNS (RFC 6891 §7). An old server says FORMERR or NOTIMP; others say
/// SERVFAIL, send something unreadable, or drop the question, as many routers do.
#[derive(Clone, Copy, Default)]
enum Edns {
    #[default]
    Unknown,
    /// A question with EDNS had its answer.
    Works,
    /// A question without EDNS was answered, and the same with EDNS was not. Until this moment no EDNS is
    /// sent.
    Fails { until: Instant },
}

/// A question as it goes out.
struct Outgoing {
    question: Message,
    octets: Vec<u8>,
}

/// An answer, and whether its question had no EDNS.
struct Heard {
    answer: DnsResponse,
    is_plain: bool,
}

impl DnsServer {
    pub fn new(server: NameServer) -> DnsServer {
        DnsServer { server, lately: Mutex::default() }
    }

    /// The server as the configuration names it.
    pub fn name(&self) -> &NameServer {
        &self.server
    }

    pub fn is_resting(&self, now: Instant) -> bool {
        self.lately().resting.is_some_and(|until| until > now)
    }

    /// One try, over UDP and TCP, with EDNS and without, that is over by the deadline. `is_whole`: that is as
    /// long as a server may take, so that one which is silent has to rest.
    pub fn ask(
        &self,
        question: &Message,
        deadline: Instant,
        is_whole: bool,
    ) -> Result<DnsResponse, DnsFault> {
        let answer = self.ask_as_it_can(question, deadline);
        match answer {
            Err(DnsFault::Timeout(_)) if is_whole => {
                self.lately().resting = Some(Instant::now() + DNS_REST);
            }
            Err(DnsFault::Timeout(_)) => {}
            _ => self.lately().resting = None,
        }
        answer
    }

    fn lately(&self) -> MutexGuard<'_, Lately> {
        self.lately.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask_as_it_can(
        &self,
        question: &Message,
        deadline: Instant,
    ) -> Result<DnsResponse, DnsFault> {
        let mut plain = question.clone();
        plain.edns = None;
        let edns = self.lately().edns;
        if matches!(edns, Edns::Fails { until } if until > Instant::now())
            || question.edns.is_none()
        {
            let incoming = self.exchange(&plain, None, deadline)?;
            return answer_or_fault(incoming.answer);
        }
        let first = self.exchange(question, Some(&plain), deadline);
        let is_suspect = match &first {
            Ok(Heard { is_plain: true, .. }) => {
                self.lately().edns = Edns::Fails { until: Instant::now() + DNS_PLAIN };
                false
            }
            Ok(Heard { answer, .. }) => match answer.response_code {
                ResponseCode::FormErr | ResponseCode::NotImp | ResponseCode::BADVERS => true,
                // Once EDNS worked, this is the server's true answer, and is not asked for again.
                ResponseCode::ServFail => !matches!(edns, Edns::Works),
                ResponseCode::NoError | ResponseCode::NXDomain => {
                    self.lately().edns = Edns::Works;
                    false
                }
                _ => false,
            },
            // A silent server was asked both ways already.
            Err(DnsFault::Broken(_)) => !matches!(edns, Edns::Works),
            Err(_) => false,
        };
        let first = first.and_then(|incoming| answer_or_fault(incoming.answer));
        if !is_suspect {
            return first;
        }
        let second =
            self.exchange(&plain, None, deadline).and_then(|it| answer_or_fault(it.answer));
        if second.is_ok() {
            self.lately().edns = Edns::Fails { until: Instant::now() + DNS_PLAIN };
            return second;
        }
        first
    }

    /// Sends the question; when nothing comes for a part of the time, also the plain one.
    fn exchange(
        &self,
        question: &Message,
        plain: Option<&Message>,
        deadline: Instant,
    ) -> Result<Heard, DnsFault> {
        let address = locate(&self.server).map_err(failed)?;
        let questions = [Some(question), plain];
        let outgoing = questions.into_iter().flatten().map(Outgoing::new);
        let outgoing: Vec<Outgoing> = outgoing.collect::<Result<_, _>>()?;
        let (is_plain, found) = over_udp(address, &outgoing, deadline)?;
        let answer = match found {
            Some(answer) => answer,
            None => over_tcp(address, &outgoing[usize::from(is_plain)], deadline)?,
        };
        Ok(Heard { answer, is_plain })
    }
}

/// Turns the response codes that are no answer into faults.
fn answer_or_fault(answer: DnsResponse) -> Result<DnsResponse, DnsFault> {
    match answer.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => Ok(answer),
        ResponseCode::ServFail => Err(DnsFault::ServFail),
        ResponseCode::Refused => Err(DnsFault::Refused),
        code => Err(DnsFault::broken(format!("answered {code}"))),
    }
}

impl Outgoing {
    /// Each question has a new id and, with its new socket, a new port: an attacker that wants to answer in
    /// the server's place has to guess both (RFC 5452 §9).
    fn new(question: &Message) -> Result<Outgoing, DnsFault> {
        let mut question = question.clone();
        question.metadata.id = Message::query().metadata.id;
        let octets = question.to_vec().map_err(DnsFault::broken)?;
        Ok(Outgoing { question, octets })
    }
}

/// Whether the second of the questions was answered, and the answer. None when TCP should be used, because
/// the answer is truncated or many wrong ones came, which may be an attack.
fn over_udp(
    address: SocketAddr,
    outgoing: &[Outgoing],
    deadline: Instant,
) -> Result<(bool, Option<DnsResponse>), DnsFault> {
    let local = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(local).map_err(failed)?;
    // A connected socket takes datagrams of this server only, and reports a closed port.
    socket.connect(address).map_err(failed)?;
    // Larger than what we ask for, because some servers send more, and a cut answer cannot be read.
    let mut buffer = vec![0; 4 * usize::from(DNS_PAYLOAD)];
    let (mut sent, mut strays) = (0, 0);
    let mut until = Instant::now();
    while strays < DNS_STRAYS {
        if sent < outgoing.len() && left(until).is_err() {
            socket.send(&outgoing[sent].octets).map_err(failed)?;
            sent += 1;
            until = match sent == outgoing.len() {
                true => deadline,
                false => Instant::now() + left(deadline).map_err(failed)? / DNS_EDNS_PART,
            };
        }
        let time = match left(until) {
            Err(_) if until < deadline => continue, // time for the next question
            time => time.map_err(failed)?,
        };
        socket.set_read_timeout(Some(time)).map_err(failed)?;
        let datagram = match socket.recv(&mut buffer) {
            Ok(octets) => &buffer[..octets],
            Err(error) if is_retry(&error) => continue, // the deadline decides
            Err(error) => return Err(failed(error)),
        };
        let asked = |out: &&Outgoing| has_id(datagram, &out.question);
        if let Some(out) = outgoing[..sent].iter().find(asked) {
            let is_plain = sent > 1 && std::ptr::eq(out, &outgoing[1]);
            if is_truncated(datagram) {
                return Ok((is_plain, None));
            }
            if let Some(answer) = read(datagram, &out.question)? {
                return Ok((is_plain, Some(answer)));
            }
        }
        strays += 1;
    }
    Ok((false, None))
}

fn over_tcp(
    address: SocketAddr,
    outgoing: &Outgoing,
    deadline: Instant,
) -> Result<DnsResponse, DnsFault> {
    let Outgoing { question, octets } = outgoing;
    let broken = |what| DnsFault::broken(format!("{what} over TCP"));
    let time = left(deadline).map_err(failed)?;
    let stream = TcpStream::connect_timeout(&address, time).map_err(failed)?;
    let mut wire = TcpWire::new(Arc::new(stream));
    let length = u16::try_from(octets.len()).map_err(DnsFault::broken)?;
    let message = [&length.to_be_bytes()[..], octets].concat();
    wire.write_all(&message, deadline).map_err(failed)?;
    let mut length = [0; 2];
    fill(&mut wire, &mut length, deadline).map_err(failed)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    fill(&mut wire, &mut answer, deadline).map_err(failed)?;
    // Only the server writes into a connection, so another answer is the server's fault.
    match has_id(&answer, question) {
        false => Err(broken("another answer")),
        true if is_truncated(&answer) => Err(broken("truncated answer")),
        true => read(&answer, question)?.ok_or_else(|| broken("another answer")),
    }
}

/// None when it answers another question.
fn read(octets: &[u8], question: &Message) -> Result<Option<DnsResponse>, DnsFault> {
    answer::read(octets, question).map_err(DnsFault::broken)
}

fn failed(error: io::Error) -> DnsFault {
    match error.kind() {
        // `Servers::ask_in_turn` adds how long that was.
        ErrorKind::TimedOut | ErrorKind::WouldBlock => DnsFault::Timeout(Duration::ZERO),
        _ => DnsFault::broken(format!("cannot be reached: {error}")),
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
