//! One attempt at one next hop: Wire ↔ [`smtp::client`](crate::smtp::client) → a [`Fate`] for each
//! recipient (RFC 5321 §4.5.4.1).
//!
//! What a reply means is decided there; here octets are carried and the clock is looked at. Every
//! step has a deadline, however the host drips (§4.5.3.2), so that a hostile one costs its worker a
//! few timeouts and no more. Nothing here chooses a host, waits to try again, or touches the queue.

mod message;
mod remembered;

pub use crate::route::next_hop::Hop;
pub use message::{Edited, Message, survey};
pub use remembered::BrokenTls;

use crate::config::{Config, Timeout};
use crate::event::count::CALLS;
use crate::event::{Event, Talk, Turn, tell};
use crate::id::random;
use crate::limits::{
    COMMAND_READ, DATA_ANSWER_WAIT, QUIT_WAIT, RECIPIENTS_PER_WAIT, RELAY_BLOCK, RELAY_PACE,
    RELAY_TIME, SUBMISSIONS_PORT, TRANSACTION_RECIPIENTS,
};
use crate::mail::address::Domain;
use crate::mail::seven_bits::ConversionPlan;
use crate::net::stream::{TcpWire, Wire};
use crate::net::tls::{Connector, Protection, Side};
use crate::route::next_hop::Demand;
use crate::smtp::client::{
    self, Action, Aside, Cause, Client, Fate, Offers, OutgoingMessage, Reason, Secrecy, Step,
};
use crate::smtp::outgoing::Encoder;
use jiff::Timestamp;
use message::{Converted, in_seven_bits};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Makes a connection to an address, within a time.
pub type Dial = Box<dyn Fn(SocketAddr, Duration) -> io::Result<Box<dyn Wire>> + Send + Sync>;

/// Who we are to every next hop, and how long we wait.
pub struct Caller {
    pub hostname: Domain,
    pub timeout: Timeout,
    pub dial: Dial,
    pub connector: Arc<Connector>,
    /// Hosts that are spoken to in the clear for a while, because their TLS hung or broke.
    pub broken_tls: Arc<BrokenTls>,
    /// Asked before the octets of a message go out; no: the server stops, and what is begun now would
    /// be cut off.
    pub may_send: Box<dyn Fn() -> bool + Send + Sync>,
    /// Asked before a host is called a second time; no: the server stops.
    pub may_call_again: Box<dyn Fn() -> bool + Send + Sync>,
}

/// A greeted next hop that waits for mail.
pub struct Connection {
    caller: Arc<Caller>,
    hop: Hop,
    wire: Box<dyn Wire>,
    client: Client,
    /// None in the clear.
    protection: Option<Protection>,
    /// Why there is none with a host that offers it.
    in_the_clear: Option<String>,
    /// When the reply that is waited for has to be whole, and which one that is.
    deadline: Option<(u64, Instant)>,
    /// When all replies of a transaction but its last have to be there.
    until: Instant,
    /// What was said and not yet taken by [`Connection::take_talk`].
    talk: Talk,
}

impl Caller {
    /// One that dials by TCP.
    pub fn new(config: &Config) -> Caller {
        let dial = |address, time| {
            TcpWire::connect(address, time).map(|wire| Box::new(wire) as Box<dyn Wire>)
        };
        Caller {
            hostname: config.hostname.clone(),
            timeout: config.timeout.clone(),
            dial: Box::new(dial),
            connector: Arc::default(),
            broken_tls: Arc::default(),
            may_send: Box::new(|| true),
            may_call_again: Box::new(|| true),
        }
    }
}

impl Connection {
    /// Connects, is greeted, says EHLO, goes on by TLS where that is offered. Otherwise gives the fate
    /// of everybody who was to get mail there.
    ///
    /// A host whose TLS is broken is asked once more in the clear: mail that anybody may carry in the
    /// clear is not to wait for a certificate that somebody forgot. For an hour it is not asked for TLS
    /// again.
    ///
    /// What was said is in `talk`, whatever came of it.
    pub fn open(caller: &Arc<Caller>, hop: &Hop, talk: &mut Talk) -> Result<Connection, Fate> {
        let may_fall_back = hop.demand == Demand::Offered;
        let known = caller.broken_tls.recall(hop, Instant::now());
        let mut in_the_clear = known.filter(|_| may_fall_back);
        let opened = loop {
            let demand = match in_the_clear {
                Some(_) => Demand::Nothing,
                None => hop.demand.clone(),
            };
            let asked = Hop { demand, ..hop.clone() };
            talk.note(Turn::Connecting, &hop.address.to_string());
            let opened = Connection::greeted(caller, asked, in_the_clear.as_ref(), talk);
            let Err(fate) = &opened else { break opened };
            let reason = fate.reason().map(Reason::to_string).unwrap_or_default();
            talk.note(Turn::Failed, &reason);
            let is_tls = fate.reason().is_some_and(|reason| reason.step == Step::StartTls);
            let is_over = in_the_clear.is_some() || !may_fall_back || !is_tls;
            if is_over || !(caller.may_call_again)() {
                break opened;
            }
            tell(&Event::InTheClear { host: &hop.to_string(), reason: &reason });
            in_the_clear = Some(match fate.reason().is_some_and(|it| it.answer().is_none()) {
                true => caller.broken_tls.note(hop, &reason, Instant::now(), Timestamp::now()),
                // Asking again costs a line.
                false => reason,
            });
        };
        CALLS.add(if opened.is_ok() { "made" } else { "failed" });
        opened
    }

    /// One call, to where the host waits for mail. `in_the_clear`: why nothing is demanded of it.
    fn greeted(
        caller: &Arc<Caller>,
        hop: Hop,
        in_the_clear: Option<&String>,
        talk: &mut Talk,
    ) -> Result<Connection, Fate> {
        let wire = (caller.dial)(hop.address, caller.timeout.connect).map_err(|error| {
            let cause = match error.kind() {
                ErrorKind::TimedOut => Cause::Silent,
                _ => Cause::Broke(error.to_string()),
            };
            let aside = in_the_clear.cloned().map(Aside::InTheClear);
            Fate::NextHost(Reason { step: Step::Connect, cause, aside })
        })?;
        let secrecy = match hop.demand {
            Demand::Nothing => Secrecy::Never,
            Demand::Offered => Secrecy::Offered,
            Demand::Login(_) => Secrecy::Required,
        };
        let client = Client::new(caller.hostname.as_str()).wanting(secrecy);
        let mut connection = Connection {
            caller: caller.clone(),
            hop,
            wire,
            client: client.in_the_clear(in_the_clear.cloned()),
            protection: None,
            in_the_clear: in_the_clear.cloned(),
            deadline: None,
            // Greeting, EHLO, HELO or STARTTLS, its handshake, EHLO, AUTH.
            until: Instant::now() + caller.timeout.command * 3,
            talk: talk.take(),
        };
        let greeted = connection.greet();
        *talk = connection.take_talk();
        match greeted {
            Ok(()) => Ok(connection),
            Err(fate) => {
                connection.quit();
                Err(fate)
            }
        }
    }

    /// From the first octet to where it rests or is over.
    fn greet(&mut self) -> Result<(), Fate> {
        // IANA's port for TLS from the first octet: in the clear both sides would wait for ever.
        if self.hop.address.port() == SUBMISSIONS_PORT {
            let failed = |cause| Fate::NextHost(Reason::new(Step::Connect, cause));
            self.secure().map_err(failed)?;
            self.client = Client::new(self.caller.hostname.as_str());
            self.log_in();
        }
        self.run(&[].as_slice(), None);
        self.client.over().cloned().map_or(Ok(()), Err)
    }

    /// Sends a message; one fate for each recipient of the envelope, in its order. `message` holds
    /// what the outgoing's content was made of ([`survey`]).
    ///
    /// Takes as many transactions as are needed. A connection that has carried mail and is closed
    /// since is opened anew: many hosts take so many messages and hang up.
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
            // Asked of each connection: the next one may reach a host that offers something else.
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

    /// What was said since this was last asked.
    pub fn take_talk(&mut self) -> Talk {
        self.talk.take()
    }

    pub fn hop(&self) -> &Hop {
        &self.hop
    }

    /// What the host offers; whether it takes over notices (`dsn`), among others.
    pub fn offers(&self) -> &Offers {
        self.client.offers()
    }

    /// How the connection is protected; none in the clear.
    pub fn protection(&self) -> Option<&Protection> {
        self.protection.as_ref()
    }

    /// Why it is not, with a host whose TLS has failed.
    pub fn in_the_clear(&self) -> Option<&str> {
        self.in_the_clear.as_deref()
    }

    /// Whether another message can be sent without connecting anew.
    pub fn is_open(&self) -> bool {
        self.client.over().is_none()
    }

    /// Says QUIT where that makes sense, and closes. Without it the connection is just closed.
    pub fn quit(mut self) {
        let sent = self.client.may_quit()
            && self.wire.write_all(b"QUIT\r\n", Instant::now() + QUIT_WAIT).is_ok();
        if sent {
            self.wire.finish();
        }
    }

    /// Another connection in place of one that has served and is over. Each one decides something in its
    /// first transaction before it is replaced, so this comes to an end too.
    fn reopen(&mut self) -> Result<(), Fate> {
        if let Some(fate) = self.client.over().filter(|_| !self.client.is_worn()) {
            return Err(fate.clone());
        }
        let mut talk = self.talk.take();
        let opened = Connection::open(&self.caller, &self.hop, &mut talk);
        match opened {
            Ok(connection) => {
                std::mem::replace(self, Connection { talk, ..connection }).quit();
            }
            Err(fate) => {
                self.talk = talk;
                return Err(fate);
            }
        }
        Ok(())
    }

    /// Does what the machine says until it rests or the connection is over. `plan`: how the message is
    /// converted on its way.
    fn run(&mut self, message: &dyn Message, plan: Option<&ConversionPlan>) {
        loop {
            self.hear_early();
            match self.client.action() {
                Action::Send(octets) => {
                    self.note();
                    let deadline = Instant::now() + self.caller.timeout.command;
                    self.deadline = None;
                    self.write(&octets, deadline.min(self.until));
                }
                Action::Await(step) => self.read(step),
                Action::SendMessage => self.send(message, plan),
                Action::StartTls => match self.secure() {
                    Ok(()) => {
                        self.client.secured();
                        self.log_in();
                    }
                    Err(cause) => self.client.lost(cause),
                },
                Action::Rest | Action::Close => return,
            }
        }
    }

    /// Keeps what was said, with its time.
    fn note(&mut self) {
        for turn in self.client.turns() {
            match turn {
                client::Spoken::Said(text) => self.talk.note(Turn::Said, &text),
                client::Spoken::Heard(text) => self.talk.note(Turn::Heard, &text),
            }
        }
    }

    /// The handshake, as one more step with its time.
    fn secure(&mut self) -> Result<(), Cause> {
        let deadline = self.until.min(Instant::now() + self.caller.timeout.command);
        let must_verify = matches!(self.hop.demand, Demand::Login(_));
        let (connector, name) = (&*self.caller.connector, self.hop.name.as_str());
        let done = self.wire.secure(Side::Client { connector, name, must_verify }, deadline);
        let protection = done.map_err(|error| match cause(&error) {
            Cause::Broke(what) => Cause::Tls(what),
            cause => cause,
        })?;
        self.talk.note(Turn::Secured, &protection.to_string());
        self.protection = Some(protection);
        Ok(())
    }

    /// Behind a handshake: where the host gets a password, it has just proved its name.
    fn log_in(&mut self) {
        if let Demand::Login(password) = &self.hop.demand {
            let nonce = format!("{:016x}{:016x}", random(), random());
            let whose = Some(password.words.clone());
            self.client.log_in(password.credentials.clone(), nonce, whose);
        }
    }

    /// Octets of a host that does not wait to be asked must not be taken for the next reply.
    fn hear_early(&mut self) {
        if self.client.is_our_turn() && self.wire.is_early() {
            self.feed(Instant::now() + QUIT_WAIT);
        }
    }

    fn read(&mut self, step: Step) {
        let deadline = match self.deadline {
            Some((heard, deadline)) if heard == self.client.heard() => deadline,
            _ => {
                let command = self.caller.timeout.command;
                let (patience, until) = match step {
                    Step::Data => (command.min(DATA_ANSWER_WAIT), Some(self.until)),
                    // §4.5.3.2.6: to give up here is to send everything twice.
                    Step::Final => (self.caller.timeout.r#final, None),
                    _ => (command, Some(self.until)),
                };
                let deadline = Instant::now() + patience;
                until.map_or(deadline, |until| deadline.min(until))
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

    fn write(&mut self, octets: &[u8], deadline: Instant) {
        if let Err(error) = self.wire.write_all(octets, deadline) {
            // Who gives up inside a message may have said why.
            self.client.cut_short();
            if self.wire.is_early() {
                self.feed(Instant::now() + QUIT_WAIT);
            }
            self.client.lost(cause(&error));
        }
    }

    /// Sends the message and its end, in blocks that each have their time.
    fn send(&mut self, message: &dyn Message, plan: Option<&ConversionPlan>) {
        if !(self.caller.may_send)() {
            return self.client.lost(Cause::Unreadable("this server stops".to_owned()));
        }
        let data = self.caller.timeout.data;
        let until = Instant::now() + data + Duration::from_secs(message.size() / RELAY_PACE);
        let (mut blocks, mut encoder) = (Converted::new(message, plan), Encoder::default());
        let (mut wire, mut sent) = (Vec::with_capacity(2 * RELAY_BLOCK), 0);
        loop {
            match blocks.read() {
                Ok(block) => encoder.feed(block, &mut wire),
                // Without its end the message is nothing to the host (§4.1.1.4).
                Err(error) => return self.client.lost(Cause::Unreadable(error.to_string())),
            }
            // A host that speaks inside the message gives up; its words are the reason.
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

    /// The time for all replies of a transaction but its last.
    fn patience(&self, recipients: usize) -> Duration {
        let recipients = recipients.min(TRANSACTION_RECIPIENTS) as u32;
        self.caller.timeout.command * (2 + recipients.div_ceil(RECIPIENTS_PER_WAIT))
    }
}

/// What the story of a message says for a host that takes no 8 bits.
const TO_SEVEN_BITS: &str = "converted to 7 bits (the host has no 8BITMIME)";
fn cause(error: &io::Error) -> Cause {
    match error.kind() {
        ErrorKind::TimedOut => Cause::Silent,
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof
        | ErrorKind::WriteZero => Cause::Closed,
        // What is no TLS any more.
        ErrorKind::InvalidData => Cause::Tls(error.to_string()),
        _ => Cause::Broke(error.to_string()),
    }
}
