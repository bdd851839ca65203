//! One attempt at one next hop: Wire ↔ [`smtp::client`](crate::smtp::client) → a [`Fate`] for each
//! recipient (RFC 5321 §4.5.4.1).
//!
//! `smtp::client` decides what a reply means; this file moves octets and looks at the clock. Each step has
//! a deadline that dripping octets do not prolong (§4.5.3.2), so a hostile host costs its worker only a few
//! timeouts. Nothing here chooses a host, waits to try again, or touches the queue.

mod kept;
mod message;
mod remembered;
mod seen;
mod tally;

pub use crate::route::next_hop::Hop;
pub use kept::{HandedOver, LmtpConnections, greet_kept, host};
pub use message::{Edited, Message, WholeBody, survey};
pub use remembered::BrokenTls;
pub use tally::TallyInput;

use crate::config::{Config, Timeout};
use crate::event::count::CALLS;
use crate::event::{Event, Talk, Turn, tell};
use crate::id::random;
use crate::limits::{
    COMMAND_READ, DATA_ANSWER_WAIT, QUIT_WAIT, RECIPIENTS_PER_WAIT, RELAY_PACE, RELAY_TIME,
    SUBMISSIONS_PORT, TRANSACTION_RECIPIENTS,
};
use crate::mail::address::Domain;
use crate::net::stream::{Endpoint, TcpWire, Wire};
use crate::net::tls::{Connector, PeerProof, Protection, Side};
use crate::route::next_hop::{Demand, PkiDemand};
use crate::smtp::client::{
    self, Action, Aside, Cause, Client, Fate, Offers, OutgoingMessage, Reason, Step,
};
use crate::smtp::outgoing::Encoder;
use crate::smtp::tls_failure::{TlsFailure, TlsTrouble};
use jiff::Timestamp;
use message::{Converted, SevenBits, block_size, in_seven_bits};
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Makes a connection to an endpoint, within a time.
pub type Dial = Box<dyn Fn(&Endpoint, Duration) -> io::Result<Box<dyn Wire>> + Send + Sync>;

/// What all connections to next hops share: our name, timeouts, TLS.
pub struct Caller {
    pub hostname: Domain,
    pub timeout: Timeout,
    pub dial: Dial,
    pub connector: Arc<Connector>,
    /// Hosts that get no TLS for a while, because theirs hung or broke.
    pub broken_tls: Arc<BrokenTls>,
    /// Asked before the octets of a message are sent; false while the server stops, because it would cut
    /// them off.
    pub may_send: Box<dyn Fn() -> bool + Send + Sync>,
    /// Told how TLS with each host ends; none where no reports are sent.
    pub tally: Option<Arc<TallyInput>>,
}

/// By when a call has to be over.
#[derive(Clone, Copy, Debug)]
pub struct CallEnd {
    /// All but the replies after a message.
    pub talk: Instant,
    /// These too.
    pub last_reply: Instant,
}

/// A greeted next hop that waits for mail.
pub struct Connection {
    caller: Arc<Caller>,
    hop: Hop,
    wire: Box<dyn Wire>,
    /// Our own address.
    local: Option<IpAddr>,
    client: Client,
    /// How the connection is protected; none in the clear.
    protection: Option<Protection>,
    /// Why there is no TLS with a host that offers it.
    in_the_clear: Option<String>,
    /// The number of the reply that is waited for, and when it has to be whole.
    deadline: Option<(u64, Instant)>,
    /// When all replies of a transaction except the last have to be there.
    until: Instant,
    /// When all has to be over, if that is bounded.
    latest: Option<CallEnd>,
    /// The transcript that [`Connection::take_talk`] has not taken yet.
    talk: Talk,
}

impl Caller {
    /// A caller that connects by TCP, or by a Unix socket.
    pub fn new(config: &Config) -> Caller {
        let dial = |endpoint: &Endpoint, time| {
            TcpWire::connect_to(endpoint, time).map(|wire| Box::new(wire) as Box<dyn Wire>)
        };
        Caller {
            hostname: config.hostname.clone(),
            timeout: config.timeout.clone(),
            dial: Box::new(dial),
            connector: Arc::default(),
            broken_tls: Arc::default(),
            may_send: Box::new(|| true),
            tally: None,
        }
    }
}

impl Connection {
    /// Connects, waits for the greeting, says EHLO and goes on by TLS where that is offered. Fails with the
    /// fate of all recipients there.
    ///
    /// A host whose TLS is broken is called once more in the clear: mail that may go in the clear must not
    /// wait until a certificate is mended. For an hour no TLS is tried with it.
    ///
    /// The transcript is in `talk`, after a failure too.
    pub fn open(caller: &Arc<Caller>, hop: &Hop, talk: &mut Talk) -> Result<Connection, Fate> {
        let may_fall_back = matches!(hop.demand, Demand::Offered | Demand::Tested { .. });
        let known = caller.broken_tls.recall(hop, Instant::now());
        let mut in_the_clear = known.filter(|_| may_fall_back);
        let opened = loop {
            let demand = match in_the_clear {
                Some(_) => Demand::Nothing,
                None => hop.demand.clone(),
            };
            let asked = Hop { demand, ..hop.clone() };
            talk.note(Turn::Connecting, &hop.address.to_string());
            let opened = Connection::greeted(caller, asked.clone(), in_the_clear.as_ref(), talk);
            let seen = seen::seen(&asked, opened.as_ref().map_err(|(fate, own)| (fate, *own)));
            seen.iter().for_each(|seen| caller.saw(seen));
            let opened = opened.map_err(|(fate, _)| fate);
            let Err(fate) = &opened else { break opened };
            let reason = fate.reason().map(Reason::to_string).unwrap_or_default();
            talk.note(Turn::Failed, &reason);
            let is_tls = fate.reason().is_some_and(|reason| reason.step == Step::StartTls);
            let is_over = in_the_clear.is_some() || !may_fall_back || !is_tls;
            if is_over {
                break opened;
            }
            tell(&Event::InTheClear { host: &hop.to_string(), reason: &reason });
            in_the_clear = Some(match fate.reason().is_some_and(|it| it.answer().is_none()) {
                true => caller.broken_tls.note(hop, &reason, Instant::now(), Timestamp::now()),
                // A host that refused STARTTLS in a reply is asked again next time, which costs little.
                false => reason,
            });
        };
        CALLS.add(if opened.is_ok() { "made" } else { "failed" });
        opened
    }

    /// One call, until the host waits for mail. `in_the_clear`: why no TLS is tried. The error comes with our
    /// own address towards the host.
    fn greeted(
        caller: &Arc<Caller>,
        hop: Hop,
        in_the_clear: Option<&String>,
        talk: &mut Talk,
    ) -> Result<Connection, (Fate, Option<IpAddr>)> {
        let wire = (caller.dial)(&hop.address, caller.timeout.connect).map_err(|error| {
            let cause = match error.kind() {
                ErrorKind::TimedOut => Cause::Silent,
                _ => Cause::Broke(error.to_string()),
            };
            let aside = in_the_clear.cloned().map(Aside::InTheClear);
            (Fate::NextHost(Reason { step: Step::Connect, cause, aside }), None)
        })?;
        let client = match hop.address.is_lmtp() {
            true => Client::by_lmtp(caller.hostname.as_str()),
            false => Client::new(caller.hostname.as_str()),
        };
        let client = client.wanting(hop.demand.secrecy()).owing(hop.demand.owed_by());
        let mut connection = Connection {
            caller: caller.clone(),
            hop,
            local: wire.local(),
            wire,
            client: client.in_the_clear(in_the_clear.cloned()),
            protection: None,
            in_the_clear: in_the_clear.cloned(),
            deadline: None,
            // Greeting, EHLO, HELO or STARTTLS, its handshake, EHLO, AUTH.
            until: Instant::now() + caller.timeout.command * 3,
            latest: None,
            talk: talk.take(),
        };
        let greeted = connection.greet();
        *talk = connection.take_talk();
        match greeted {
            Ok(()) => Ok(connection),
            Err(fate) => {
                let own = connection.local();
                connection.quit();
                Err((fate, own))
            }
        }
    }

    /// From the first octet until the host waits for mail or the connection is over.
    fn greet(&mut self) -> Result<(), Fate> {
        // IANA's port for TLS from the first octet: in the clear both sides would wait for ever.
        let port = match self.hop.address {
            Endpoint::Smtp(address) => address.port(),
            Endpoint::Lmtp(_) | Endpoint::LmtpUnix(_) => 0,
        };
        if port == SUBMISSIONS_PORT {
            let aside = self.hop.demand.owed_by().map(Aside::Owed);
            let failed = |cause| Fate::NextHost(Reason { step: Step::Connect, cause, aside });
            self.secure().map_err(failed)?;
            self.client = Client::new(self.caller.hostname.as_str());
            self.log_in();
        }
        self.run(&[].as_slice(), None);
        self.client.over().cloned().map_or(Ok(()), Err)
    }

    /// Asks whether the host takes mail for the first recipient of a message, and sends none.
    pub fn ask(&mut self, outgoing: &OutgoingMessage) -> Result<(), Fate> {
        self.hear_early();
        if self.client.ask(outgoing) {
            self.until = Instant::now() + self.patience(1);
            self.run(&[].as_slice(), None);
        }
        let refused = self.client.decided().pop().map(|(_, fate)| fate);
        match refused.or_else(|| self.client.over().cloned()) {
            Some(fate) => Err(fate),
            None if self.client.has_accepted() => Ok(()),
            None => Err(Fate::NextHost(Reason::new(Step::Rcpt, Cause::Silent))),
        }
    }

    /// From now on every step ends by this moment, whatever its own time is; none: it has only that.
    pub fn limit(&mut self, latest: Option<CallEnd>) {
        self.latest = latest;
    }

    /// Sends a message; one fate for each recipient of the envelope, in its order. `message` holds
    /// what its content was made of ([`survey`]).
    ///
    /// Takes as many transactions as needed. A connection that has carried mail and was closed then is
    /// opened anew, because many hosts hang up after a number of messages.
    pub fn deliver(&mut self, outgoing: &OutgoingMessage, message: &dyn Message) -> Vec<Fate> {
        let latest = Instant::now() + RELAY_TIME;
        let mut fates: Vec<Option<Fate>> = vec![None; outgoing.envelope.recipients.len()];
        let mut rest = Fate::NextHost(Reason::new(Step::Mail, Cause::Silent));
        let mut converted = None;
        while Instant::now() < latest {
            let left: Vec<usize> = (0..fates.len()).filter(|i| fates[*i].is_none()).collect();
            if left.is_empty() {
                break;
            }
            self.hear_early();
            // Looked at for each connection, because the next one may reach a host with other offers.
            if self.offers().wants_seven_bits(outgoing) && converted.is_none() {
                match in_seven_bits(outgoing, message) {
                    Ok(done) => converted = Some(done),
                    Err(error) => {
                        let cause = Cause::Unreadable(error.to_string());
                        rest = Fate::Deferred(Reason::new(Step::Mail, cause));
                        break;
                    }
                }
            }
            let (outgoing, plan) = match &converted {
                Some(Ok((plan, seven))) if self.offers().wants_seven_bits(outgoing) => {
                    (seven, Some(plan))
                }
                _ => (outgoing, None),
            };
            if self.client.begin(outgoing, &left) {
                self.until = Instant::now() + self.patience(left.len());
                match (plan, &converted) {
                    (Some(plan), _) if plan.is_signed_anew() => {
                        let text = format!("{TO_SEVEN_BITS}, and signed anew");
                        self.talk.note(Turn::Decided, &text);
                    }
                    (Some(_), _) => self.talk.note(Turn::Decided, TO_SEVEN_BITS),
                    (None, Some(Err(refusal))) => {
                        self.talk.note(Turn::Decided, &format!("not {TO_SEVEN_BITS}: {refusal}"));
                    }
                    (None, _) => {}
                }
                self.run(message, plan);
                for (index, fate) in self.client.decided() {
                    fates[index] = Some(fate);
                }
            } else if let Err(fate) = self.reopen() {
                rest = fate;
                break;
            }
        }
        fates.into_iter().map(|fate| fate.unwrap_or_else(|| rest.clone())).collect()
    }

    /// Goes on with this transcript; what the connection has of another one was taken.
    pub fn go_on_with(&mut self, talk: Talk) {
        self.talk = talk;
    }

    /// Takes the transcript since the last call.
    pub fn take_talk(&mut self) -> Talk {
        self.talk.take()
    }

    pub fn hop(&self) -> &Hop {
        &self.hop
    }

    /// What the host offers, for example to send notices itself (`dsn`).
    pub fn offers(&self) -> &Offers {
        self.client.offers()
    }

    /// How the connection is protected; none in the clear.
    pub fn protection(&self) -> Option<&Protection> {
        self.protection.as_ref()
    }

    /// Our own address on this connection.
    pub fn local(&self) -> Option<IpAddr> {
        self.local
    }

    /// Why it is not protected, with a host whose TLS has failed.
    pub fn in_the_clear(&self) -> Option<&str> {
        self.in_the_clear.as_deref()
    }

    /// Whether another message can be sent without connecting anew.
    pub fn is_open(&self) -> bool {
        self.client.over().is_none()
    }

    /// Says QUIT where that makes sense, and closes. Dropping a connection only closes it.
    pub fn quit(mut self) {
        let sent = self.client.may_quit()
            && self.wire.write_all(b"QUIT\r\n", Instant::now() + QUIT_WAIT).is_ok();
        if sent {
            self.wire.finish();
        }
    }

    /// Another connection in place of one that has carried mail and is over. Each one decides some fate
    /// before it is replaced, so this ends.
    fn reopen(&mut self) -> Result<(), Fate> {
        if let Some(fate) = self.client.over().filter(|_| !self.client.is_worn()) {
            return Err(fate.clone());
        }
        let mut talk = self.talk.take();
        let opened = Connection::open(&self.caller, &self.hop, &mut talk);
        match opened {
            Ok(connection) => {
                let latest = self.latest;
                std::mem::replace(self, Connection { talk, latest, ..connection }).quit();
            }
            Err(fate) => {
                self.talk = talk;
                return Err(fate);
            }
        }
        Ok(())
    }

    /// Does what [`Client::action`] says until it rests or the connection is over. `plan`: how the message
    /// is converted. Where it is our turn at first the caller has heard what was said early; whenever it becomes
    /// our turn and something is said next, that is heard here.
    fn run(&mut self, message: &dyn Message, plan: Option<&SevenBits>) {
        loop {
            match self.client.action() {
                Action::Send(octets) => {
                    self.note();
                    let deadline = Instant::now() + self.caller.timeout.command;
                    self.deadline = None;
                    self.write(&octets, deadline.min(self.until));
                }
                Action::Await(step) => {
                    self.read(step);
                    // A look at the socket costs as much as a read, so none where nothing is said next.
                    if self.client.has_unsaid() {
                        self.hear_early();
                    }
                }
                Action::SendMessage => self.send(message, plan),
                Action::StartTls => match self.secure() {
                    Ok(()) => {
                        self.client.secured();
                        self.log_in();
                        self.hear_early();
                    }
                    Err(cause) => self.client.lost(cause),
                },
                Action::Rest | Action::Close => return,
            }
        }
    }

    /// Adds the new turns of the dialog to the transcript.
    fn note(&mut self) {
        for turn in self.client.turns() {
            match turn {
                client::Spoken::Said(text) => self.talk.note(Turn::Said, &text),
                client::Spoken::Heard(text) => self.talk.note(Turn::Heard, &text),
            }
        }
    }

    /// The TLS handshake, with a deadline like that of a command.
    fn secure(&mut self) -> Result<(), Cause> {
        let deadline = self.bounded(self.until.min(Instant::now() + self.caller.timeout.command));
        let demand = self.hop.demand.clone();
        let (connector, wanted) = (&*self.caller.connector, demand.wanted());
        let name = match &demand {
            Demand::Tlsa(tlsa) => &tlsa.base,
            _ => &self.hop.name,
        };
        let done = self.wire.secure(Side::Client { connector, name, wanted }, deadline);
        let mut protection = done.map_err(|error| match cause(&error) {
            Cause::Broke(what) => Cause::Tls(TlsTrouble::new(TlsFailure::Handshake, what)),
            cause => cause,
        })?;
        match &demand {
            Demand::Pki(PkiDemand::Policy(_)) => protection.proof = Some(PeerProof::Policy),
            // The host has records, and what other authorities say is not among them.
            Demand::Tlsa(tlsa) if tlsa.usable.is_none() => {
                protection.proof = Some(PeerProof::Nothing);
            }
            _ => {}
        }
        self.talk.note(Turn::Secured, &protection.to_string());
        self.protection = Some(protection);
        Ok(())
    }

    /// Logs in where we have a password for the host; the handshake has just proved that it is this host.
    fn log_in(&mut self) {
        if let Some(password) = &self.hop.login {
            let nonce = format!("{:016x}{:016x}", random(), random());
            let whose = Some(password.words.clone());
            self.client.log_in(password.credentials.clone(), nonce, whose);
        }
    }

    /// Reads octets that the host sent without being asked: they must not be taken for the next reply.
    fn hear_early(&mut self) {
        if self.client.is_our_turn() && self.wire.poll_input() {
            self.feed(Instant::now() + QUIT_WAIT);
        }
    }

    fn read(&mut self, step: Step) {
        let deadline = match self.deadline {
            Some((heard, deadline)) if heard == self.client.heard() => deadline,
            _ => {
                let command = self.caller.timeout.command;
                match step {
                    Step::Data => self.bounded(self.soon(command.min(DATA_ANSWER_WAIT))),
                    // §4.5.3.2.6: giving up here means sending everything twice.
                    Step::Final => {
                        let deadline = Instant::now() + self.caller.timeout.r#final;
                        self.latest.map_or(deadline, |end| deadline.min(end.last_reply))
                    }
                    _ => self.bounded(self.soon(command)),
                }
            }
        };
        self.deadline = Some((self.client.heard(), deadline));
        self.feed(deadline);
    }

    fn feed(&mut self, deadline: Instant) {
        let mut buffer = [0; COMMAND_READ];
        match self.wire.read(&mut buffer, deadline) {
            Ok(0) => self.client.lost(Cause::Closed),
            Ok(read) => self.client.feed(&buffer[..read]),
            Err(error) => self.client.lost(cause(&error)),
        }
        self.note();
    }

    /// The end of a wait before the last reply.
    fn soon(&self, patience: Duration) -> Instant {
        self.until.min(Instant::now() + patience)
    }

    fn bounded(&self, deadline: Instant) -> Instant {
        self.latest.map_or(deadline, |end| deadline.min(end.talk))
    }

    fn write(&mut self, octets: &[u8], deadline: Instant) {
        if let Err(error) = self.wire.write_all(octets, self.bounded(deadline)) {
            // A host that gives up inside a message may have said why.
            self.client.cut_short();
            if self.wire.poll_input() {
                self.feed(Instant::now() + QUIT_WAIT);
            }
            self.client.lost(cause(&error));
        }
    }

    /// Sends the message and its final dot, in blocks that each have a deadline.
    fn send(&mut self, message: &dyn Message, plan: Option<&SevenBits>) {
        if !(self.caller.may_send)() {
            return self.client.lost(Cause::Unreadable("this server stops".to_owned()));
        }
        let data = self.caller.timeout.data;
        let until = Instant::now() + data + Duration::from_secs(message.size() / RELAY_PACE);
        let (mut blocks, mut encoder) = (Converted::new(message, plan), Encoder::default());
        // Dots and line ends make it longer; the buffer keeps what it grows to.
        let most = block_size(message);
        let (mut wire, mut sent) = (Vec::with_capacity(most + most / 4), 0);
        loop {
            match blocks.read() {
                Ok(block) => encoder.feed(block, &mut wire),
                // Without its final dot the host must not take the message (§4.1.1.4).
                Err(error) => return self.client.lost(Cause::Unreadable(error.to_string())),
            }
            // A host that speaks inside the message gives up, and says why.
            self.hear_early();
            if self.client.action() != Action::SendMessage {
                return;
            }
            let is_last = blocks.is_done();
            if is_last {
                encoder.finish(&mut wire);
                self.client.message_ends();
                self.deadline = None;
            }
            sent += wire.len();
            if is_last {
                self.talk.note(Turn::Message, &sent.to_string());
            }
            self.write(&wire, until.min(Instant::now() + data));
            if is_last {
                return;
            }
            wire.clear();
        }
    }

    /// The time for all replies of a transaction except the last.
    fn patience(&self, recipients: usize) -> Duration {
        let recipients = recipients.min(TRANSACTION_RECIPIENTS) as u32;
        self.caller.timeout.command * (2 + recipients.div_ceil(RECIPIENTS_PER_WAIT))
    }
}

/// What the transcript says when a host takes no 8 bits.
const TO_SEVEN_BITS: &str = "converted to 7 bits (the host has no 8BITMIME)";
fn cause(error: &io::Error) -> Cause {
    match error.kind() {
        ErrorKind::TimedOut => Cause::Silent,
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof
        | ErrorKind::WriteZero => Cause::Closed,
        // What came is no TLS.
        ErrorKind::InvalidData => Cause::Tls(trouble(error)),
        _ => Cause::Broke(error.to_string()),
    }
}

/// The trouble in an error of TLS.
fn trouble(error: &io::Error) -> TlsTrouble {
    let typed = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsTrouble>());
    let other = || TlsTrouble::new(TlsFailure::Handshake, error.to_string());
    typed.cloned().unwrap_or_else(other)
}
