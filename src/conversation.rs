//! One session from greeting to close: Wire ↔ smtp::Session ↔ policy → delivery.
//!
//! The language is decided in `smtp`, what is allowed in `policy`, what is kept in `delivery`; here
//! is the loop that carries octets and answers between them, and the clock that ends what is too
//! slow. Runs in the session's thread and blocks; holds no lock while it does.
//!
//! Whatever the client does is bounded: a deadline for each step, a pace inside a message, a size
//! for what is held (RFC 5321 §4.5.3.2, §7.8).

mod answers;
pub mod bounds;
mod clock;
mod filtering;
mod handing_on;
mod handover;
mod incoming;
mod judgement;
mod newcomers;
mod passage;
mod replies;
mod submission;
pub mod transaction;
mod transcript;
mod way_back;

use crate::delivery::Writer;
use crate::event::{Event, tell};
use crate::gates::Gates;
use crate::handoff::{Accepted, Hints};
use crate::limits::{BARE_LF_WAIT, COMMAND_READ, DATA_FIRST, DATA_READ};
use crate::login::{Login, mechanisms, places};
use crate::mail::address::Mailbox;
use crate::net::listener::Service;
use crate::net::registry::Ticket;
use crate::net::stream::Wire;
use crate::net::tls::Side;
use crate::policy::{self, Facts};
use crate::site::{Current, Site};
use crate::smtp::reply::Reply;
use crate::smtp::session::{Reaction, Session, Settings};
use crate::store::body::Budget;
use crate::store::disk::Disk;
use crate::store::queue::Queue;
use bounds::Bounds;
use clock::Clock;
use crossbeam_channel::Sender;
use filtering::SessionFilters;
use incoming::IncomingMessage;
use replies::Replies;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use transaction::Transaction;
use transcript::Transcript;

/// What all sessions share. Nothing in it needs a lock, so a session that hangs holds up nobody.
pub struct Shared {
    /// Where messages spill, and where RCPT looks for Maildirs.
    pub disk: Arc<dyn Disk>,
    /// Writes large messages in the session's own thread; none where the delivery thread writes all messages.
    pub writer: Option<Arc<Writer>>,
    /// To the delivery thread.
    pub delivery: Sender<Accepted>,
    /// Memory for messages, counted over all sessions.
    pub budget: Arc<Budget>,
    /// Where large messages spill to; the directory exists.
    pub spill: PathBuf,
    /// Where notices of ours are put.
    pub queue: Queue,
    /// To the scheduler.
    pub hints: Hints,
    /// Knows users and their passwords.
    pub login: Login,
    /// The current site; none where a session keeps the site that it begins with.
    pub current: Option<Arc<Current>>,
    pub bounds: Bounds,
    /// What strangers pass.
    pub gates: Arc<Gates>,
}

/// Talks to one client until one side closes; gives the reason, for the log. `site`: what the session begins
/// with; where [`Shared::current`] is there, each transaction takes the site that holds then. An error of the
/// wire is a reason like any other, because nobody is left to tell.
pub fn converse(
    shared: &Shared,
    site: &Arc<Site>,
    facts: &Facts,
    ticket: &Ticket,
    wire: &mut dyn Wire,
) -> String {
    let site = shared.current.as_ref().map_or_else(|| site.clone(), |current| current.get());
    let filters = facts.service.milter().and_then(|service| site.filters(service));
    let filters = filters.map(|chain| SessionFilters::new(chain, &facts.id));
    let settings = Settings {
        hostname: site.config.hostname.clone(),
        id: facts.id.clone(),
        message_size: site.config.limit.message_size,
        recipients: site.config.limit.recipients,
        errors: site.config.limit.errors,
        tls: site.acceptor().is_some(),
        auth: mechanisms(&site, facts.service),
        auth_failures: site.config.limit.auth_failures,
        is_filtered: filters.is_some(),
    };
    let mut session = Session::new(settings);
    session.log_in_at(places(&site));
    if policy::is_trusted(&site, facts.client) {
        session.complete_at(site.home().clone());
    }
    let mut conversation = Conversation {
        shared,
        clock: Clock::new(shared.bounds.rate, &site.config.timeout),
        transaction: Transaction::new(&*shared.disk, &shared.bounds, &shared.gates),
        filters,
        transcript: Transcript::new(&facts.id),
        site,
        facts: facts.clone(),
        ticket,
        wire,
        session,
        replies: Replies::default(),
        incoming: None,
        named: None,
    };
    match conversation.run() {
        Ok(reason) => reason.to_owned(),
        // A read that comes too late was answered with 421, so this was a write.
        Err(error) if error.kind() == ErrorKind::TimedOut => "the client does not read".to_owned(),
        Err(error) => error.to_string(),
    }
}

struct Conversation<'a> {
    shared: &'a Shared,
    /// The site of this transaction; without its tables while the session waits outside of one.
    site: Arc<Site>,
    facts: Facts,
    ticket: &'a Ticket,
    wire: &'a mut dyn Wire,
    session: Session,
    replies: Replies,
    transaction: Transaction<'a>,
    /// The message that comes in; none before its first octets, so that a waiting session holds no buffer.
    incoming: Option<IncomingMessage>,
    clock: Clock,
    /// Those with which the session began; none where no filter sees its mail.
    filters: Option<SessionFilters>,
    transcript: Transcript,
    /// The user named by the login that is under way, or whose failure is not yet answered.
    named: Option<String>,
}

/// How large a buffer the next read gets, after one of `size` that brought `read`. Between messages it is
/// small, because thousands of sessions may wait at once, and smaller before the first message; but it is not
/// made anew for each small message.
fn buffer_size(size: usize, read: usize, in_data: bool) -> usize {
    match in_data {
        true if read >= DATA_FIRST => DATA_READ,
        true => size.max(DATA_FIRST),
        false => size.clamp(COMMAND_READ, DATA_FIRST),
    }
}

/// Reasons why a conversation is over.
const QUIT: &str = "quit";
const SHUTDOWN: &str = "shutdown";
const ROOM: &str = "made room for another client";

/// Why a conversation is over; none: it goes on.
type Ended = Option<&'static str>;

impl Conversation<'_> {
    fn run(&mut self) -> io::Result<&'static str> {
        if let Some(bindings) = self.wire.bindings() {
            // TLS had begun before this.
            self.session.secured();
            self.session.bind(bindings);
        } else if self.facts.service == Service::Submissions
            && let Some(reason) = self.secure()?
        {
            return Ok(reason);
        }
        // Before the banner goes out, because after it an early command looks like a fast one. A client that has
        // done a TLS handshake speaks to us, and not to a list of hosts.
        if !self.session.is_secured() && self.wire.poll_input() {
            let reply = self.session.early();
            return self.close(&reply, b"(before the greeting)", "refused");
        }
        if let Some(filters) = &mut self.filters
            && let Err(reply) =
                filters.connect(self.site.resolver(), &self.facts, &mut self.transcript)
        {
            let denied = self.session.deny(reply);
            if let Some(reason) = self.act(denied)? {
                return Ok(reason);
            }
        } else {
            let banner = self.session.banner();
            self.queue_to(b"", &banner);
        }
        let (mut input, mut body) = (Vec::new(), Vec::new());
        let mut read = 0;
        loop {
            // All replies are sent before we wait, else both sides would wait for ever (RFC 2920 §3.2).
            self.flush()?;
            let size = buffer_size(input.len(), read, self.session.in_data());
            if input.len() != size {
                (input, body) = (vec![0; size], Vec::new());
            }
            read = match self.read(&mut input)? {
                Ok(read) => read,
                Err(reason) => return Ok(reason),
            };
            if let Some(reason) = self.take(&input[..read], &mut body)? {
                return Ok(reason);
            }
        }
    }

    /// Waits for octets; gives how many came, or why none will.
    fn read(&mut self, input: &mut [u8]) -> io::Result<Result<usize, &'static str>> {
        // A stop lets transactions end (contract), so only a session outside of one may be woken.
        let idle = !self.session.in_transaction();
        // A message that comes has its own clock and its pace.
        let in_message = self.session.in_message();
        self.ticket.set_idle(idle);
        self.ticket.set_waiting((!in_message).then_some(self.clock.answered_at()));
        // Asked after the marks were set: another thread that ends this session sees the marks, or we see its
        // wish here.
        if let Some(reply) = self.farewell(idle) {
            return self.leave(&reply).map(Err);
        }
        let is_bounded = !in_message && !policy::is_known(&self.site, &self.facts);
        let deadline = self.clock.deadline(&self.site.config.timeout, is_bounded);
        if idle {
            self.rest();
        }
        let pause = Instant::now() + BARE_LF_WAIT;
        let is_short = self.session.ends_in_bare_lf() && pause < deadline;
        let read = self.wire.read(input, if is_short { pause } else { deadline });
        self.ticket.set_idle(false);
        self.ticket.set_waiting(None);
        if idle {
            self.wake();
        }
        let is_end = match &read {
            Ok(octets) => *octets == 0,
            // By TLS a stop looks like a connection that was cut.
            Err(error) => error.kind() == ErrorKind::UnexpectedEof,
        };
        // A thread that ends this session closes our reading side only; the client still hears 421 (RFC 5321
        // §3.8).
        if is_end && let Some(reply) = self.farewell(true) {
            return self.leave(&reply).map(Err);
        }
        match read {
            // The client takes the bare LF for the end of the line, and would wait for ever.
            Err(error) if is_short && error.kind() == ErrorKind::TimedOut => {
                let action = self.session.bare_lf();
                self.transcript.heard(&self.session);
                match self.act(action)? {
                    Some(reason) => Ok(Err(reason)),
                    None => {
                        self.clock.answered(&self.site.config.timeout);
                        self.read(input)
                    }
                }
            }
            // Nothing of the transaction is kept (RFC 5321 §4.1.1.10).
            Ok(0) if self.session.in_transaction() => Ok(Err("closed inside a transaction")),
            Ok(0) => Ok(Err("closed by the client")),
            Ok(read) => Ok(Ok(read)),
            Err(_) if is_end => Ok(Err("cut off without an end of TLS")),
            Err(error) if error.kind() == ErrorKind::TimedOut => self.too_slow().map(Err),
            Err(error) => Err(error),
        }
    }

    /// Lets go of users and aliases, as nothing is asked about them before [`Conversation::wake`].
    fn rest(&mut self) {
        if let Some(current) = &self.shared.current {
            self.site = current.bare();
        }
    }

    /// Takes the site that holds now.
    fn wake(&mut self) {
        if let Some(current) = &self.shared.current {
            self.site = current.get();
        }
    }

    /// Does all that these octets ask for. What is pipelined behind a command waits here until that
    /// one is answered.
    fn take(&mut self, mut input: &[u8], body: &mut Vec<u8>) -> io::Result<Ended> {
        while !input.is_empty() {
            let in_data = self.session.in_data();
            let (used, action) = self.session.feed(input, body);
            input = &input[used..];
            if in_data {
                self.clock.came(used);
                self.transcript.count(used);
            }
            self.keep(body);
            if let Some(action) = action {
                self.transcript.heard(&self.session);
                let action = self.start_tls(action, input.len());
                if let Some(reason) = self.act(action)? {
                    return Ok(Some(reason));
                }
                self.clock.answered(&self.site.config.timeout);
                // Here too: a client that pipelines without end is never idle.
                if !self.session.in_transaction() {
                    self.transaction.end();
                    if let Some(filters) = &mut self.filters {
                        filters.abort(&mut self.transcript);
                    }
                    if let Some(reply) = self.farewell(true) {
                        return self.leave(&reply).map(Some);
                    }
                }
            }
        }
        let (in_data, in_message) = (self.session.in_data(), self.session.in_message());
        match self.clock.ends_slow(&self.site.config.timeout, in_data, in_message) {
            true => self.too_slow().map(Some),
            false => Ok(None),
        }
    }

    /// Keeps what came of a message.
    fn keep(&mut self, body: &mut Vec<u8>) {
        if !body.is_empty() {
            if self.incoming.is_none() {
                self.incoming = Some(self.begin_message());
            }
            if let Some(incoming) = &mut self.incoming {
                incoming.keep(body, self.shared);
            }
            body.clear();
        }
    }

    fn begin_message(&self) -> IncomingMessage {
        let gatherer = self.transaction.gatherer();
        IncomingMessage::new(self.shared, &self.site, &self.facts, gatherer)
    }

    /// Does what the session asks for, until it has something to say or wants more octets.
    fn act(&mut self, mut action: Reaction) -> io::Result<Ended> {
        loop {
            match action {
                Reaction::Ask(question) => action = self.decide(question)?,
                Reaction::Listen => return Ok(None),
                Reaction::Send(reply) => {
                    self.forget_message();
                    self.queue(&reply);
                    // A client may pipeline for ever and read nothing.
                    if self.replies.are_many() {
                        self.flush()?;
                    }
                    return Ok(None);
                }
                Reaction::SendNow(reply) => {
                    self.forget_message();
                    self.queue(&reply);
                    return self.flush().map(|()| None);
                }
                Reaction::StartTls(reply) => {
                    self.forget_message();
                    self.queue(&reply);
                    self.flush()?;
                    return self.secure();
                }
                Reaction::Close(reply) => {
                    self.forget_message();
                    // 221 is said to QUIT alone; any other close is our wish.
                    let reason = if reply.code() == 221 { QUIT } else { "refused" };
                    let command = self.session.command_text().into_owned();
                    return self.close(&reply, &command, reason).map(Some);
                }
            }
        }
    }

    /// Drops what has come of a message that was refused by the language itself, or given up.
    fn forget_message(&mut self) {
        if !self.session.in_message() {
            self.forget_incoming();
        }
    }

    fn forget_incoming(&mut self) {
        if let Some(incoming) = self.incoming.take() {
            self.transcript.note_message_id(incoming.message_id());
        }
    }

    /// The message ends here if one is under way, and not as it should: what came of it is kept.
    fn cut_off(&mut self) {
        self.transcript.cut_off();
        self.forget_incoming();
    }

    /// Writes a reply behind those that wait to be sent.
    fn queue(&mut self, reply: &Reply) {
        // Only what is logged needs to be known.
        let command = reply.is_refusal().then(|| self.session.command_text().into_owned());
        self.queue_to(&command.unwrap_or_default(), reply);
    }

    /// `command`: what the reply answers, for the log of a refusal.
    fn queue_to(&mut self, command: &[u8], reply: &Reply) {
        let octets = self.replies.add(reply);
        self.transcript.said(reply, octets, self.session.in_transaction());
        if reply.is_refusal() {
            let named = self.named.take();
            let user = named.or_else(|| self.facts.user.as_ref().map(Mailbox::to_string));
            let (session, client) = (&self.facts.id, self.facts.client);
            tell(&Event::Rejected { session, client, user: user.as_deref(), command, reply });
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.replies.flush(self.wire, self.site.config.timeout.command)
    }

    /// Goes on by TLS. A handshake that fails ends the session without a word in SMTP: nobody knows
    /// what the other side would take it for.
    fn secure(&mut self) -> io::Result<Ended> {
        self.rest();
        let Some(acceptor) = self.site.acceptor() else {
            return Err(io::Error::other("there is no [tls] in the configuration"));
        };
        // Nothing is under way yet, so a stop need not wait for it.
        self.ticket.set_idle(true);
        self.ticket.set_waiting(Some(self.clock.answered_at()));
        if self.ticket.is_stopping() {
            return Ok(Some(SHUTDOWN));
        }
        let deadline = Instant::now() + self.site.config.timeout.command;
        let done = self.wire.secure(Side::Server(acceptor), deadline);
        self.ticket.set_idle(false);
        self.ticket.set_waiting(None);
        let protection = match done {
            Ok(protection) => protection,
            Err(_) if self.ticket.is_stopping() => return Ok(Some(SHUTDOWN)),
            Err(_) if self.ticket.is_leaving() => return Ok(Some(ROOM)),
            Err(error) => return Err(io::Error::other(failed(&error, self.facts.service))),
        };
        self.wake();
        let (session, tls) = (self.facts.id.as_str(), protection.to_string());
        tell(&Event::Secured { session, tls: &tls });
        self.session.secured();
        self.session.bind(self.wire.bindings().unwrap_or_default());
        self.facts.tls = Some(protection);
        self.clock.answered(&self.site.config.timeout);
        Ok(None)
    }

    /// What is done about STARTTLS when `left` octets came with it. Some may lie in the socket as well.
    fn start_tls(&mut self, action: Reaction, left: usize) -> Reaction {
        match action {
            Reaction::StartTls(_) if left > 0 || self.wire.poll_input() => self.session.injected(),
            action => action,
        }
    }

    /// Says the last reply; gives `reason` back.
    fn close(
        &mut self,
        reply: &Reply,
        command: &[u8],
        reason: &'static str,
    ) -> io::Result<&'static str> {
        self.cut_off();
        self.queue_to(command, reply);
        self.flush()?;
        // Who said QUIT, or was told to go while silent, has nothing more under way.
        if !matches!(reason, QUIT | SHUTDOWN | ROOM) {
            self.wire.finish();
        }
        Ok(reason)
    }

    /// What to say where the session has to end though its client did not ask (RFC 5321 §3.8: 421 may be said at
    /// any time): the server stops, or another client needs the place. `may_stop`: nothing is under way that a
    /// stop has to wait for.
    fn farewell(&self, may_stop: bool) -> Option<(Reply, &'static str)> {
        let hostname = &self.site.config.hostname;
        let (text, reason) = match () {
            () if may_stop && self.ticket.is_stopping() => {
                (format!("{hostname} is shutting down, try later"), SHUTDOWN)
            }
            () if self.ticket.is_leaving() => {
                (format!("{hostname} has too many sessions, try later"), ROOM)
            }
            () => return None,
        };
        Some((Reply::new(421, "4.3.2", text).about(&self.facts.id), reason))
    }

    fn leave(&mut self, (reply, reason): &(Reply, &'static str)) -> io::Result<&'static str> {
        self.close(reply, format!("({reason})").as_bytes(), reason)
    }

    /// A timeout is one of the few reasons to close on a client (RFC 5321 §3.8).
    fn too_slow(&mut self) -> io::Result<&'static str> {
        let text = format!("{} has waited too long, closing", self.site.config.hostname);
        let reply = Reply::new(421, "4.4.2", text).about(&self.facts.id);
        self.close(&reply, b"(timeout)", "timeout")
    }
}

/// However the conversation ends, by a panic too.
impl Drop for Conversation<'_> {
    fn drop(&mut self) {
        self.cut_off();
    }
}

/// Why there is no TLS, for the log.
fn failed(error: &io::Error, service: Service) -> String {
    let why = match error.kind() {
        // It has words where nothing came at all: a client that waits for our banner waits for ever.
        ErrorKind::TimedOut if error.get_ref().is_some() && service == Service::Submissions => {
            "it was not done in time: the client was silent and sent no ClientHello; this port speaks TLS from its first \
             octet, and a client that is set to STARTTLS or to no TLS waits here for a greeting"
                .to_owned()
        }
        ErrorKind::TimedOut if error.get_ref().is_some() => {
            "it was not done in time: the client was silent and sent no ClientHello".to_owned()
        }
        ErrorKind::TimedOut => "it was not done in time".to_owned(),
        ErrorKind::UnexpectedEof => "the client closed the connection".to_owned(),
        _ => error.to_string(),
    };
    format!("TLS handshake failed: {why}")
}
