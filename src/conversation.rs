//! One session from greeting to close: Wire ↔ smtp::Session ↔ policy → delivery.
//!
//! The language is decided in `smtp`, what is allowed in `policy`, what is kept in `delivery`; here
//! is the loop that carries octets and answers between them, and the clock that ends what is too
//! slow. Runs in the session's thread and blocks; holds no lock while it does.

use crate::delivery::{Post, reply_to};
use crate::event::{Event, tell};
use crate::handoff::{Accepted, Claim, Copy, Outcome};
use crate::limits::{
    COMMAND_READ, DATA_READ, DELIVERY_WAIT, PACE_OCTETS, PACE_WINDOW, PUBLISH_WAIT, REPLIES_PENDING,
};
use crate::mail::address::ForwardPath;
use crate::mail::envelope::Envelope;
use crate::mail::header::{Scanner, Summary};
use crate::mail::trace::{self, Received};
use crate::net::registry::Ticket;
use crate::net::stream::Wire;
use crate::policy;
use crate::route::Destination;
use crate::site::Site;
use crate::smtp::reply::Reply;
use crate::smtp::session::{Action, Question, Session, Settings};
use crate::store::body::{Body, BodyWriter, Budget};
use crate::store::disk::{Disk, StoreError};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// What all sessions share.
pub struct House {
    pub disk: Arc<dyn Disk>,
    pub post: Arc<Post>,
    /// To the delivery thread.
    pub delivery: Sender<Accepted>,
    /// Memory for messages.
    pub budget: Arc<Budget>,
    /// Where large messages spill to.
    pub spill: PathBuf,
}

/// Who came.
pub struct Visitor {
    /// The session's id.
    pub id: String,
    pub client: IpAddr,
}

/// Talks to one client until one side closes; gives the reason, for the log.
pub fn converse(
    house: &House,
    site: &Arc<Site>,
    visitor: &Visitor,
    ticket: &Ticket,
    wire: &mut dyn Wire,
) -> String {
    let settings = Settings {
        hostname: site.config.hostname.clone(),
        id: visitor.id.clone(),
        message_size: site.config.limit.message_size,
        recipients: site.config.limit.recipients,
        errors: site.config.limit.errors,
    };
    let mut talk = Conversation {
        house,
        site,
        visitor,
        ticket,
        wire,
        session: Session::new(settings),
        replies: Vec::new(),
        destinations: Vec::new(),
        incoming: None,
        deadline: Instant::now() + site.config.timeout.command,
    };
    match talk.run() {
        Ok(reason) => reason.to_owned(),
        Err(error) if error.kind() == ErrorKind::TimedOut => "the client does not read".to_owned(),
        Err(error) => error.to_string(),
    }
}

struct Conversation<'a> {
    house: &'a House,
    site: &'a Arc<Site>,
    visitor: &'a Visitor,
    ticket: &'a Ticket,
    wire: &'a mut dyn Wire,
    session: Session,
    /// Written, not yet sent.
    replies: Vec<u8>,
    /// Where the message under way goes, each once.
    destinations: Vec<Destination>,
    incoming: Option<Incoming>,
    /// When the next command has to be whole, or the next block of a message has to come.
    deadline: Instant,
}

/// A message that comes in.
struct Incoming {
    writer: BodyWriter,
    scanner: Scanner,
    /// The disk failed; the rest is read and thrown away.
    failed: Option<StoreError>,
    /// When the current stretch of [`PACE_WINDOW`] began, and what came in it.
    pace: (Instant, u64),
}

/// Reasons why a conversation is over.
const QUIT: &str = "quit";
const SHUTDOWN: &str = "shutdown";

/// Why a conversation is over; none: it goes on.
type Ended = Option<&'static str>;

impl Conversation<'_> {
    fn run(&mut self) -> io::Result<&'static str> {
        let banner = self.session.banner();
        self.queue(&banner);
        let (mut input, mut body) = (Vec::new(), Vec::new());
        loop {
            self.flush()?;
            // Small buffers between messages: thousands of sessions may wait at once.
            let size = if self.session.in_data() { DATA_READ } else { COMMAND_READ };
            if input.len() != size {
                (input, body) = (vec![0; size], Vec::new());
            }
            let read = match self.read(&mut input)? {
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
        let idle = !self.session.in_transaction();
        self.ticket.set_idle(idle);
        // Looked at after the mark was set: whoever stops us sees the mark, or we see the stop.
        if idle && self.ticket.is_stopping() {
            return self.leave().map(Err);
        }
        let read = self.wire.read(input, self.deadline);
        self.ticket.set_idle(false);
        match read {
            Ok(0) if self.ticket.is_stopping() => self.leave().map(Err),
            Ok(0) if self.session.in_transaction() => Ok(Err("closed inside a transaction")),
            Ok(0) => Ok(Err("closed by the client")),
            Ok(read) => Ok(Ok(read)),
            Err(error) if error.kind() == ErrorKind::TimedOut => self.too_slow().map(Err),
            Err(error) => Err(error),
        }
    }

    /// Does all that these octets ask for.
    fn take(&mut self, mut input: &[u8], body: &mut Vec<u8>) -> io::Result<Ended> {
        while !input.is_empty() {
            let (used, action) = self.session.feed(input, body);
            input = &input[used..];
            self.keep(used, body);
            if let Some(action) = action {
                if let Some(reason) = self.act(action)? {
                    return Ok(Some(reason));
                }
                self.deadline = Instant::now() + self.site.config.timeout.command;
                if self.ticket.is_stopping() && !self.session.in_transaction() {
                    return self.leave().map(Some);
                }
            }
        }
        if self.session.in_data() {
            let now = Instant::now();
            self.deadline = now + self.site.config.timeout.data;
            if self.incoming.as_mut().is_some_and(|incoming| incoming.is_too_slow(now)) {
                return self.too_slow().map(Some);
            }
        }
        Ok(None)
    }

    /// Keeps what came of a message: `used` octets on the wire, of which `body` is what they mean.
    fn keep(&mut self, used: usize, body: &mut Vec<u8>) {
        if let Some(incoming) = &mut self.incoming {
            incoming.pace.1 += used as u64;
            incoming.keep(body);
        }
        body.clear();
    }

    /// Does what the session says, asks and answers until it says something.
    fn act(&mut self, mut action: Action) -> io::Result<Ended> {
        loop {
            match action {
                Action::Ask(question) => action = self.decide(question)?,
                Action::Send(reply) => {
                    self.queue(&reply);
                    // Whatever message came before this reply was refused by the language itself.
                    self.incoming = None;
                    if self.replies.len() >= REPLIES_PENDING {
                        self.flush()?;
                    }
                    return Ok(None);
                }
                Action::SendNow(reply) => {
                    self.queue(&reply);
                    self.incoming = self.session.in_data().then(|| self.begin());
                    return self.flush().map(|()| None);
                }
                Action::Close(reply) => {
                    let reason = if reply.code() == 221 { QUIT } else { "refused" };
                    return self.close(&reply, reason).map(Some);
                }
            }
        }
    }

    fn decide(&mut self, question: Question) -> io::Result<Action> {
        Ok(match question {
            Question::Sender(from) => {
                self.destinations.clear();
                match policy::sender(&from) {
                    Ok(()) => self.session.allow(),
                    Err(reply) => self.session.refuse(reply),
                }
            }
            Question::Recipient(path) => self.recipient(&path),
            Question::Message(envelope) => {
                self.flush()?; // nobody waits for earlier replies while we wait for the disk
                match self.message(&envelope) {
                    Ok(id) => self.session.accepted(&id),
                    Err(reply) => self.session.refuse(reply),
                }
            }
        })
    }

    fn recipient(&mut self, path: &ForwardPath) -> Action {
        let client = self.visitor.client;
        match policy::recipient(self.site, &*self.house.disk, client, path) {
            Ok(destination) => {
                // One copy for each mailbox, however often and under whatever tag it is named.
                if !self.destinations.contains(&destination) {
                    self.destinations.push(destination);
                }
                self.session.allow()
            }
            Err(reply) => self.session.refuse(reply),
        }
    }

    /// A whole message: 250 only when every copy is on the disk, under the id this gives.
    fn message(&mut self, envelope: &Envelope) -> Result<String, Reply> {
        let incoming = self.incoming.take().unwrap_or_else(|| self.begin());
        let (body, summary) = incoming.finish()?;
        policy::message(self.site, &summary, &self.destinations)?;
        let id = crate::id::message();
        let size = body.size();
        let destinations = std::mem::take(&mut self.destinations);
        let accepted = self.copies(&id, envelope, body, summary, &destinations);
        deliver(self.house, accepted)?;
        self.tell_delivered(&id, envelope, size, &destinations);
        Ok(id)
    }

    /// The message with what is put on top of each copy (RFC 5321 §4.4).
    fn copies(
        &self,
        id: &str,
        envelope: &Envelope,
        body: Body,
        summary: Summary,
        destinations: &[Destination],
    ) -> (Accepted, Receiver<Outcome>) {
        let return_path = trace::return_path(&envelope.from);
        let received = self.received(id, envelope);
        let copies = destinations.iter().map(|destination| {
            let delivered_to = trace::delivered_to(&destination.mailbox);
            let prefix = format!("{return_path}{delivered_to}{received}");
            Copy { destination: destination.clone(), prefix, draft: None }
        });
        let (outcome, receiver) = bounded(1);
        let accepted = Accepted {
            id: id.to_owned(),
            body,
            cuts: summary.return_paths,
            copies: copies.collect(),
            claim: Arc::default(),
            outcome,
        };
        (accepted, receiver)
    }

    fn received(&self, id: &str, envelope: &Envelope) -> String {
        // A message comes only after a greeting; the language sees to that.
        let Some(greeting) = self.session.greeting() else { return String::new() };
        let received = Received {
            name: &greeting.name,
            client: self.visitor.client,
            by: &self.site.config.hostname,
            with: if greeting.extended { "ESMTP" } else { "SMTP" },
            id,
            recipient: match &envelope.recipients[..] {
                [only] => Some(only),
                _ => None,
            },
            date: &jiff::ZonedDateTime::now(),
        };
        received.field()
    }

    fn tell_delivered(&self, id: &str, envelope: &Envelope, size: u64, to: &[Destination]) {
        tell(&Event::Accepted {
            id,
            session: &self.visitor.id,
            client: self.visitor.client,
            from: &envelope.from.to_string(),
            size,
            recipients: envelope.recipients.len(),
        });
        for destination in to {
            let to = destination.mailbox.to_string();
            tell(&Event::Delivered { id, to: &to, maildir: &destination.maildir });
        }
    }

    fn begin(&self) -> Incoming {
        let House { disk, spill, budget, .. } = self.house;
        Incoming {
            writer: BodyWriter::new(disk.clone(), spill, budget.clone()),
            scanner: Scanner::default(),
            failed: None,
            pace: (Instant::now(), 0),
        }
    }

    /// Writes a reply behind those that wait to be sent.
    fn queue(&mut self, reply: &Reply) {
        reply.write_to(&mut self.replies);
        if reply.is_refusal() {
            let command = self.session.command_text();
            tell(&Event::Rejected { session: &self.visitor.id, command, reply });
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.replies.is_empty() {
            let deadline = Instant::now() + self.site.config.timeout.command;
            self.wire.write_all(&self.replies, deadline)?;
            self.replies.clear();
        }
        Ok(())
    }

    fn close(&mut self, reply: &Reply, reason: &'static str) -> io::Result<&'static str> {
        self.queue(reply);
        self.flush()?;
        // Who said QUIT, or was told to go while silent, has nothing more under way.
        if !matches!(reason, QUIT | SHUTDOWN) {
            self.wire.finish();
        }
        Ok(reason)
    }

    /// The server stops (RFC 5321 §3.8: 421 may be said at any time).
    fn leave(&mut self) -> io::Result<&'static str> {
        let text = format!("{} is shutting down, try later", self.site.config.hostname);
        self.close(&Reply::new(421, "4.3.2", text), SHUTDOWN)
    }

    fn too_slow(&mut self) -> io::Result<&'static str> {
        let text = format!("{} has waited too long, closing", self.site.config.hostname);
        let reply = Reply::new(421, "4.4.2", text).about(&self.visitor.id);
        self.close(&reply, "timeout")
    }
}

impl Incoming {
    fn keep(&mut self, octets: &[u8]) {
        if self.failed.is_none() {
            self.scanner.feed(octets);
            self.failed = self.writer.write(octets).err();
        }
    }

    /// The message and what its header says, or what to tell the client.
    fn finish(self) -> Result<(Body, Summary), Reply> {
        match self.failed {
            Some(error) => {
                tell(&Event::Warning { what: &format!("a message was refused: {error}") });
                Err(reply_to(&error))
            }
            None => Ok((self.writer.finish(), self.scanner.finish())),
        }
    }

    /// Whether a stretch of [`PACE_WINDOW`] has brought less than it must.
    fn is_too_slow(&mut self, now: Instant) -> bool {
        let (since, octets) = self.pace;
        if now.saturating_duration_since(since) < PACE_WINDOW {
            return false;
        }
        self.pace = (now, 0);
        octets < PACE_OCTETS
    }
}

/// Hands a message to delivery and waits for the outcome.
fn deliver(
    house: &House,
    (mut accepted, outcome): (Accepted, Receiver<Outcome>),
) -> Result<(), Reply> {
    if accepted.body.is_large()
        && let Err(Outcome::Failed(reply)) = house.post.prepare(&mut accepted)
    {
        return Err(reply);
    }
    let claim: Arc<Claim> = accepted.claim.clone();
    let late = || Reply::new(451, "4.3.0", "delivery takes too long, try later");
    if house.delivery.send_timeout(accepted, DELIVERY_WAIT).is_err() {
        return Err(late());
    }
    let mut result = outcome.recv_timeout(DELIVERY_WAIT);
    if matches!(result, Err(RecvTimeoutError::Timeout)) && !claim.abandon() {
        // Being published at this moment: it can only be waited for.
        result = outcome.recv_timeout(PUBLISH_WAIT);
    }
    match result {
        Ok(Outcome::Delivered) => Ok(()),
        Ok(Outcome::Failed(reply)) => Err(reply),
        Err(_) => Err(late()),
    }
}
