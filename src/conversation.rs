//! One session from greeting to close: Wire ↔ smtp::Session ↔ policy → delivery.
//!
//! The language is decided in `smtp`, what is allowed in `policy`, what is kept in `delivery`; here
//! is the loop that carries octets and answers between them, and the clock that ends what is too
//! slow. Runs in the session's thread and blocks; holds no lock while it does.
//!
//! Whatever the client does is bounded: a deadline for each step, a pace inside a message, a size
//! for what is held (RFC 5321 §4.5.3.2, §7.8).

pub mod bounds;
mod dialog;
mod ending;
mod login;
mod message;
mod newcomers;
mod pace;
mod recipients;
mod secrecy;
mod submission;
mod way_back;

use crate::delivery::Writer;
use crate::directory;
use crate::event::count::MESSAGES;
use crate::event::{About, Event, Talk, tell};
use crate::handoff::{Accepted, Hints};
use crate::limits::{BARE_LF_WAIT, COMMAND_READ, DATA_FIRST, DATA_READ, REPLIES_PENDING};
use crate::login::{Login, mechanisms, places};
use crate::mail::address::{Mailbox, ReversePath};
use crate::net::listener::Service;
use crate::net::registry::Ticket;
use crate::net::stream::Wire;
use crate::net::tls::Protection;
use crate::policy::{self, Visitor};
use crate::route::Destination;
use crate::site::{Current, Site};
use crate::smtp::reply::Reply;
use crate::smtp::session::{Action, Question, Session, Settings};
use crate::store::body::Budget;
use crate::store::disk::Disk;
use crate::store::queue::Queue;
use bounds::Bounds;
use crossbeam_channel::Sender;
use dialog::Progress;
use ending::QUIT;
use message::Incoming;
use newcomers::Places;
use pace::Pace;
use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// What all sessions share. Nothing in it needs a lock, so a session that hangs holds up nobody.
pub struct House {
    /// Where messages spill, and where RCPT looks for Maildirs.
    pub disk: Arc<dyn Disk>,
    /// Writes large messages in the session's own thread; none where all is left to whoever takes what
    /// is accepted.
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
    /// Who users are.
    pub login: Login,
    /// The site that holds now; none where there is only the one that a session begins with.
    pub current: Option<Arc<Current>>,
    pub bounds: Bounds,
}

/// Talks to one client until one side closes; gives the reason, for the log. `site` is the
/// one that the session begins with; where the house knows the one that holds now, that one counts for each
/// transaction. An error of the wire is a reason like any other:
/// nobody is left to tell.
pub fn converse(
    house: &House,
    site: &Arc<Site>,
    visitor: &Visitor,
    ticket: &Ticket,
    wire: &mut dyn Wire,
) -> String {
    let site = house.current.as_ref().map_or_else(|| site.clone(), |current| current.get());
    let settings = Settings {
        hostname: site.config.hostname.clone(),
        id: visitor.id.clone(),
        message_size: site.config.limit.message_size,
        recipients: site.config.limit.recipients,
        errors: site.config.limit.errors,
        tls: site.acceptor().is_some(),
        auth: mechanisms(&site, visitor.service),
        auth_failures: site.config.limit.auth_failures,
    };
    let mut session = Session::new(settings);
    session.log_in_at(places(&site));
    if policy::is_trusted(&site, visitor.client) {
        session.complete_at(site.home().clone());
    }
    let (now, command) = (Instant::now(), site.config.timeout.command);
    let mut talk = Talk::new();
    talk.about = About { session: visitor.id.clone(), ..About::default() };
    let mut conversation = Conversation {
        house,
        site,
        visitor: visitor.clone(),
        ticket,
        wire,
        session,
        protection: None,
        replies: Vec::new(),
        targets: Vec::new(),
        known: HashSet::new(),
        taken: 0,
        new: house.bounds.newcomers.places(),
        expanded: 0,
        bounce: None,
        is_null: false,
        incoming: None,
        pace: None,
        deadline: now + command,
        heard_at: now,
        brought_at: now,
        talk,
        progress: Progress::default(),
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
    house: &'a House,
    /// Without its tables while nothing is under way.
    site: Arc<Site>,
    visitor: Visitor,
    ticket: &'a Ticket,
    wire: &'a mut dyn Wire,
    session: Session,
    /// None in the clear.
    protection: Option<Protection>,
    /// Written, not yet sent.
    replies: Vec<u8>,
    /// Where the message under way goes, each once.
    targets: Vec<Target>,
    /// The same mailboxes, to be found without a search: one alias may lead to many.
    known: HashSet<Mailbox>,
    /// Recipients taken in this transaction.
    taken: usize,
    /// Mailboxes that come into being with this message.
    new: Places<'a>,
    /// The transaction is a bounce to a sender of ours by SRS, its only recipient.
    bounce: Option<way_back::Place<'a>>,
    /// Mailboxes beyond the first that recipients of this transaction led to.
    expanded: usize,
    /// The transaction's sender is `<>`.
    is_null: bool,
    /// None before the first octets of a message: a waiting session holds no buffer for one.
    incoming: Option<Incoming>,
    /// Of the message under way, from its first octet on; between two chunks as well.
    pace: Option<Pace>,
    /// When the next command has to be whole, or the next block of a message has to come.
    deadline: Instant,
    /// When the last command was answered.
    heard_at: Instant,
    /// When the session began, or its last message had come whole.
    brought_at: Instant,
    /// What was said and not yet told to the trace.
    talk: Talk,
    progress: Progress,
    /// Whom the login names that is under way, or that failed and is not yet answered.
    named: Option<String>,
}

/// One place where the message under way goes.
struct Target {
    place: Place,
    /// The recipient it is for, by its place in the envelope.
    recipient: usize,
}

enum Place {
    Here(Destination),
    Elsewhere { mailbox: Mailbox, via: Option<Mailbox> },
}

/// How large a buffer the next read gets, after one of `size` that brought `read`. Small ones between
/// messages, as thousands of sessions may wait at once, and smaller ones for who has sent none yet; but
/// not another one for each small message.
fn buffer_size(size: usize, read: usize, in_data: bool) -> usize {
    match in_data {
        true if read >= DATA_FIRST => DATA_READ,
        true => size.max(DATA_FIRST),
        false => size.clamp(COMMAND_READ, DATA_FIRST),
    }
}

/// Why a conversation is over; none: it goes on.
type Ended = Option<&'static str>;

impl Conversation<'_> {
    fn run(&mut self) -> io::Result<&'static str> {
        if let Some(bindings) = self.wire.bindings() {
            // TLS had begun before this.
            self.session.secured();
            self.session.bind(bindings);
        } else if self.visitor.service == Service::Submissions
            && let Some(reason) = self.secure()?
        {
            return Ok(reason);
        }
        // Before the banner goes out: after it nobody can tell an early command from a fast one. Who has
        // done a handshake with us means us, and no list of hosts.
        if !self.session.is_secured() && self.wire.is_early() {
            let reply = self.session.early();
            return self.close(&reply, b"(before the greeting)", "refused");
        }
        let banner = self.session.banner();
        self.queue_to(b"", &banner);
        let (mut input, mut body) = (Vec::new(), Vec::new());
        let mut read = 0;
        loop {
            // Whatever is said is sent before we wait, or both sides wait for ever (RFC 2920 §3.2).
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
        self.ticket.set_waiting((!in_message).then_some(self.heard_at));
        // Looked at after the marks were set: whoever wants us to go sees them, or we see that.
        if let Some(reply) = self.farewell(idle) {
            return self.leave(&reply).map(Err);
        }
        let deadline = match in_message || policy::is_known(&self.site, &self.visitor) {
            true => self.deadline,
            false => self.deadline.min(self.brought_at + self.site.config.timeout.session),
        };
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
        // Who wants us to go ends our reading side only; the client still hears 421 (RFC 5321 §3.8).
        if is_end && let Some(reply) = self.farewell(true) {
            return self.leave(&reply).map(Err);
        }
        match read {
            // Its client takes the LF for the end of the line, and would wait for ever.
            Err(error) if is_short && error.kind() == ErrorKind::TimedOut => {
                let action = self.session.bare_lf();
                self.heard();
                match self.act(action)? {
                    Some(reason) => Ok(Err(reason)),
                    None => {
                        self.heard_at = Instant::now();
                        self.deadline = self.heard_at + self.site.config.timeout.command;
                        self.read(input)
                    }
                }
            }
            // Nothing of such a transaction stays, as RFC 5321 §4.1.1.10 asks for.
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
        if let Some(current) = &self.house.current {
            self.site = current.bare();
        }
    }

    /// Takes the site that holds now.
    fn wake(&mut self) {
        if let Some(current) = &self.house.current {
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
                let pace = || Pace::new(self.house.bounds.rate, Instant::now());
                self.pace.get_or_insert_with(pace).add(used);
                self.count(used);
            }
            self.keep(body);
            if let Some(action) = action {
                self.heard();
                let action = self.start_tls(action, input.len());
                if let Some(reason) = self.act(action)? {
                    return Ok(Some(reason));
                }
                // Counted from our answer: the time that we needed is not the client's.
                self.heard_at = Instant::now();
                self.deadline = self.heard_at + self.site.config.timeout.command;
                // Here too: a client that pipelines without end is never idle.
                if !self.session.in_transaction() {
                    self.new.give_back();
                    self.bounce = None;
                    if let Some(reply) = self.farewell(true) {
                        return self.leave(&reply).map(Some);
                    }
                }
            }
        }
        self.judge_pace()
    }

    /// A block renews the deadline, so single octets, or chunks of one, would hold a session for ever; the
    /// pace is what ends that.
    fn judge_pace(&mut self) -> io::Result<Ended> {
        if self.session.in_data() {
            self.deadline = Instant::now() + self.site.config.timeout.data;
        }
        if !self.session.in_message() {
            self.pace = None;
        }
        match self.pace.as_mut().is_some_and(|pace| pace.is_too_slow(Instant::now())) {
            true => self.too_slow().map(Some),
            false => Ok(None),
        }
    }

    /// Keeps what came of a message.
    fn keep(&mut self, body: &mut Vec<u8>) {
        if !body.is_empty() {
            self.take_in(body);
            body.clear();
        }
    }

    /// Does what the session says, asks and answers until it says something.
    fn act(&mut self, mut action: Action) -> io::Result<Ended> {
        loop {
            match action {
                Action::Ask(question) => action = self.decide(question)?,
                Action::Listen => return Ok(None),
                Action::Send(reply) => {
                    self.forget_message();
                    self.queue(&reply);
                    // A client may pipeline for ever and read nothing.
                    if self.replies.len() >= REPLIES_PENDING {
                        self.flush()?;
                    }
                    return Ok(None);
                }
                Action::SendNow(reply) => {
                    self.forget_message();
                    self.queue(&reply);
                    return self.flush().map(|()| None);
                }
                Action::StartTls(reply) => {
                    self.forget_message();
                    self.queue(&reply);
                    self.flush()?;
                    return self.secure();
                }
                Action::Close(reply) => {
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
        if !self.session.in_message()
            && let Some(incoming) = self.incoming.take()
        {
            self.note_message_id(incoming.message_id());
        }
    }

    /// Asks those who know. The session gets its answer before it gets more octets.
    fn decide(&mut self, question: Question) -> io::Result<Action> {
        Ok(match question {
            Question::Sender(from, size) => self.sender(&from, size),
            Question::Recipient(path) => self.recipient(&path),
            Question::Password(credentials) => self.password(&credentials)?,
            Question::Keys(user) => self.keys(&user)?,
            Question::Proof { user, good } => self.proof(&user, good)?,
            Question::Verify(name) => {
                match directory::verify(&self.site, &*self.house.disk, &self.visitor, &name) {
                    Ok(reply) => self.session.tell(reply),
                    Err(reply) => self.session.refuse(reply),
                }
            }
            Question::Expand(name) => match directory::expand(&self.site, &self.visitor, &name) {
                Ok(reply) => self.session.tell(reply),
                Err(reply) => self.session.refuse(reply),
            },
            Question::Start(node) => {
                match policy::start(&self.site, &self.visitor, &node, &self.house.hints) {
                    Ok(reply) => self.session.tell(reply),
                    Err(reply) => self.session.refuse(reply),
                }
            }
            Question::Message(envelope) => {
                self.flush()?; // nobody waits for earlier replies while we wait for the disk
                let outcome = self.message(&envelope);
                self.brought_at = Instant::now();
                match outcome {
                    Ok(id) => {
                        let action = self.session.accepted(&id);
                        self.progress.id = Some(id);
                        action
                    }
                    Err(reply) => {
                        MESSAGES.add("refused");
                        self.session.refuse(reply)
                    }
                }
            }
        })
    }

    fn sender(&mut self, from: &ReversePath, size: Option<u64>) -> Action {
        // Left by a transaction that ended without a message: RSET and EHLO are not seen here.
        self.targets.clear();
        self.known.clear();
        self.taken = 0;
        self.expanded = 0;
        self.bounce = None;
        self.is_null = *from == ReversePath::Null;
        let House { disk, spill, bounds, .. } = self.house;
        let has_room = |size| bounds.room.has(&**disk, spill, size, Instant::now());
        match policy::sender(&self.site, &**disk, &self.visitor, from) {
            // Before its octets come, which is what SIZE is for (RFC 1870 §6.1).
            Ok(()) if size.is_some_and(|size| !has_room(size)) => {
                let text = "no room on the disk for a message of this size, try later";
                self.session.refuse(Reply::new(452, "4.3.1", text))
            }
            Ok(()) => self.session.allow(),
            Err(reply) => self.session.refuse(reply),
        }
    }

    /// Writes a reply behind those that wait to be sent.
    fn queue(&mut self, reply: &Reply) {
        // Only what is logged needs to be known.
        let command = reply.is_refusal().then(|| self.session.command_text().into_owned());
        self.queue_to(&command.unwrap_or_default(), reply);
    }

    /// `command`: what the reply answers, for the log of a refusal.
    fn queue_to(&mut self, command: &[u8], reply: &Reply) {
        let mut replies = std::mem::take(&mut self.replies);
        let before = replies.len();
        reply.write_to(&mut replies);
        self.said(reply, &replies[before..]);
        self.replies = replies;
        if reply.is_refusal() {
            let named = self.named.take();
            let user = named.or_else(|| self.visitor.user.as_ref().map(Mailbox::to_string));
            let (session, client) = (&self.visitor.id, self.visitor.client);
            tell(&Event::Rejected { session, client, user: user.as_deref(), command, reply });
        }
    }

    /// Fails with `TimedOut` when the client has not read it all within `timeout.command`.
    fn flush(&mut self) -> io::Result<()> {
        if !self.replies.is_empty() {
            let deadline = Instant::now() + self.site.config.timeout.command;
            self.wire.write_all(&self.replies, deadline)?;
            self.replies.clear();
        }
        Ok(())
    }
}
