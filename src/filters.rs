//! What a session asks of filters: the chain of those that see its mail, in the order of the configuration, step
//! by step as the conversation goes; and at the end what they want to have changed.
//!
//! ```text
//! Filters ─ open ─► FilterChain: connect, helo, mail, rcpt…, data, message ─► FilteredMessage
//!    │ the filters of this server,        │ a link for each filter: its connection, and what it said
//!    │ who rests, connections kept        └ abort ends a message, dropping the chain ends the client
//! ```
//!
//! A filter that fails is asked once more by a new connection, to which all that was said before is said again.
//! When that fails too it rests for all sessions, and mail goes on without it or is put off, as the configuration
//! has it. All is done in the session's thread: a filter that hangs holds the sessions that ask it, and nobody
//! else, for no lock is held while it is waited for.
//!
//! Nothing is told to the log here: what each filter did is noted, and the caller takes the notes. What
//! happens with recipients that are added, a quarantined message, or fields that mean junk is the caller's too.

mod ask;
mod changes;
mod message;
mod notes;
mod pool;
mod said;

pub use changes::{FilteredMessage, MessageOpinion, ReplacedBody};
pub use message::{FilterInput, FilterRoom};
pub use notes::{FilterAction, FilterNote};
pub use said::{FilterClient, FilterTls};

use crate::config::{Milter, MilterService};
use crate::limits::FILTERS_TIME;
use crate::mail::address::{ForwardPath, ReversePath};
use crate::net::dns::Resolver;
use crate::smtp::milter::{FilterStage, FilterVerdict};
use crate::smtp::reply::Reply;
use ask::{AskError, Link, LinkState, Replayed};
use pool::Filter;
use said::{FilterStep, Said};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What time it is, for the rest of a filter that failed.
pub type FilterClock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// The filters of this server. All sessions share who rests and which connections are kept.
pub struct Filters {
    filters: Vec<Arc<Filter>>,
    hostname: String,
    resolver: Arc<dyn Resolver>,
    clock: FilterClock,
}

impl fmt::Debug for Filters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.filters.iter().map(|filter| &filter.config.name);
        f.debug_list().entries(names).finish()
    }
}

/// What a step that is not yet the message's end leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterOpinion {
    GoOn,
    /// What the client hears; by 421 its connection ends.
    Refuse(Reply),
}

impl FilterOpinion {
    /// For a caller that goes on where nobody refuses.
    pub fn or_refusal(self) -> Result<(), Reply> {
        match self {
            FilterOpinion::GoOn => Ok(()),
            FilterOpinion::Refuse(reply) => Err(reply),
        }
    }
}

/// The filters of one session. Dropping it ends the client for each of them.
pub struct FilterChain {
    shared: Arc<Filters>,
    links: Vec<Link>,
    said: Said,
    notes: Vec<FilterNote>,
    /// The filter by which the message under way is to be thrown away; nobody is asked about it any more.
    discarded_by: Option<String>,
    /// What DATA took of the time for the message: of one that comes by BDAT it is asked at its end.
    data_took: Duration,
}

impl Filters {
    /// `hostname`: our name, which filters take for the server's.
    pub fn new(milters: &[Milter], hostname: &str, resolver: Arc<dyn Resolver>) -> Arc<Filters> {
        Filters::with_clock(milters, hostname, resolver, Arc::new(Instant::now))
    }

    /// The same with another clock.
    pub fn with_clock(
        milters: &[Milter],
        hostname: &str,
        resolver: Arc<dyn Resolver>,
        clock: FilterClock,
    ) -> Arc<Filters> {
        let filters = milters.iter().map(|milter| Arc::new(Filter::new(milter.clone()))).collect();
        Arc::new(Filters { filters, hostname: hostname.to_owned(), resolver, clock })
    }

    /// The filters that see mail of this service; none where there are none, which then costs nothing more.
    pub fn open(self: &Arc<Filters>, service: MilterService) -> Option<FilterChain> {
        let sees = |filter: &&Arc<Filter>| filter.config.services.contains(&service);
        let links: Vec<Link> =
            self.filters.iter().filter(sees).map(|filter| Link::new(filter.clone())).collect();
        (!links.is_empty()).then(|| FilterChain {
            shared: self.clone(),
            links,
            said: Said::new(&self.hostname),
            notes: Vec::new(),
            discarded_by: None,
            data_took: Duration::ZERO,
        })
    }

    /// Each filter by its name, and whether it has failed twice and has not answered since.
    pub fn silent(&self) -> impl Iterator<Item = (&str, bool)> {
        self.filters.iter().map(|filter| (filter.config.name.as_str(), filter.is_silent()))
    }
}

impl FilterChain {
    /// A client connects.
    pub fn connect(&mut self, client: FilterClient) -> FilterOpinion {
        self.said.client(client);
        self.step(FilterStep::Connect)
    }

    /// It says its name; again behind STARTTLS. That ends a message under way (RFC 5321 §4.1.4).
    pub fn helo(&mut self, name: &str, tls: Option<FilterTls>) -> FilterOpinion {
        self.abort();
        self.said.helo(name, tls);
        self.step(FilterStep::Helo)
    }

    /// A message begins. `id`: by which it will be known; `parameters`: of ESMTP, as the client wrote them;
    /// `login`: by which mechanism the client logged in, and as whom.
    pub fn mail(
        &mut self,
        id: &str,
        from: &ReversePath,
        parameters: &[String],
        login: Option<(&str, &str)>,
    ) -> FilterOpinion {
        self.abort();
        self.said.mail(id, from, parameters, login);
        self.step(FilterStep::Mail)
    }

    /// A recipient that we would take.
    pub fn rcpt(&mut self, path: &ForwardPath, parameters: &[String]) -> FilterOpinion {
        let index = self.said.rcpt(path, parameters);
        let opinion = self.step(FilterStep::Rcpt(index));
        if opinion != FilterOpinion::GoOn {
            self.said.forget_rcpt();
        }
        opinion
    }

    /// A recipient that we have refused, for those filters that want to hear it; their answers change nothing.
    pub fn refused_rcpt(&mut self, path: &ForwardPath, reply: &Reply) {
        if self.discarded_by.is_some() {
            return;
        }
        let index = self.said.refused_rcpt(path, reply);
        let step = FilterStep::Rcpt(index);
        for at in 0..self.links.len() {
            let link = &mut self.links[at];
            if !link.is_asked() || !link.wants_refused() {
                continue;
            }
            let (begun, filter) = (Instant::now(), link.filter.clone());
            let last = begun + FILTERS_TIME;
            let asked = link.reach(&self.shared, &self.said, step, last, |connection| {
                ask::say(connection, &self.said, step, &mut filter.command_time(last))
            });
            match asked {
                Ok(Replayed::Done(_)) => {}
                Ok(Replayed::Stopped(earlier, verdict)) => {
                    self.stopped(at, earlier, verdict, begun.elapsed());
                }
                Err(error) => {
                    self.failed(at, step.stage(), &error, begun.elapsed());
                }
            }
        }
        self.said.forget_rcpt();
    }

    /// DATA, or the first BDAT.
    pub fn data(&mut self) -> FilterOpinion {
        self.said.data();
        let begun = Instant::now();
        let opinion = self.step(FilterStep::Data);
        self.data_took = begun.elapsed();
        opinion
    }

    /// The message under way is over without an end: by RSET, a new EHLO, or a refusal of ours.
    pub fn abort(&mut self) {
        for link in &mut self.links {
            link.end_message();
        }
        self.said.end_message();
        self.discarded_by = None;
        self.data_took = Duration::ZERO;
    }

    /// What filters did since the last call.
    pub fn take_notes(&mut self) -> Vec<FilterNote> {
        std::mem::take(&mut self.notes)
    }

    /// Asks all filters in their order, up to the first that refuses. One step may take them all together no
    /// longer than a message, for a client waits for its reply no less.
    fn step(&mut self, step: FilterStep) -> FilterOpinion {
        let last = Instant::now() + FILTERS_TIME;
        for at in 0..self.links.len() {
            if self.discarded_by.is_some() {
                break;
            }
            if let Some(reply) = self.ask(at, step, last) {
                return FilterOpinion::Refuse(reply);
            }
        }
        FilterOpinion::GoOn
    }

    /// Asks one filter; gives the reply by which it refuses.
    fn ask(&mut self, at: usize, step: FilterStep, last: Instant) -> Option<Reply> {
        let link = &mut self.links[at];
        if let Err(reply) = link.turn(step) {
            return reply;
        }
        let begun = Instant::now();
        let filter = link.filter.clone();
        let asked = link.reach(&self.shared, &self.said, step, last, |connection| {
            let mut time = filter.command_time(last);
            ask::say(connection, &self.said, step, &mut time)
        });
        let took = begun.elapsed();
        match asked {
            Ok(Replayed::Done(None)) => None,
            Ok(Replayed::Done(Some(verdict))) => {
                self.heard(at, (step, step.stage()), verdict, took)
            }
            Ok(Replayed::Stopped(earlier, verdict)) => self.stopped(at, earlier, verdict, took),
            Err(error) => self.failed(at, step.stage(), &error, took),
        }
    }

    /// What follows where a new connection has said something else to an earlier step than "go on", which is what
    /// was done then. What it refuses now of a message, nothing more of that message passes.
    fn stopped(
        &mut self,
        at: usize,
        earlier: FilterStep,
        verdict: FilterVerdict,
        took: Duration,
    ) -> Option<Reply> {
        let reply = self.heard(at, (earlier, earlier.stage()), verdict, took)?;
        if earlier.is_of_message() {
            self.links[at].state = LinkState::RefusedMessage(reply.clone());
        }
        Some(reply)
    }

    /// What follows from a verdict, but for one that lets a whole message pass. It was the answer to the command
    /// of `stage`.
    fn heard(
        &mut self,
        at: usize,
        (step, stage): (FilterStep, FilterStage),
        verdict: FilterVerdict,
        took: Duration,
    ) -> Option<Reply> {
        let link = &mut self.links[at];
        let name = link.name();
        let note = |action, why: &str| FilterNote::new(&name, stage, action, why, took);
        let is_client = matches!(step, FilterStep::Connect | FilterStep::Helo);
        let (action, reply) = match verdict {
            FilterVerdict::Continue => {
                self.notes.push(note(FilterAction::Continue, ""));
                return None;
            }
            FilterVerdict::Accept => {
                self.notes.push(note(FilterAction::Accept, ""));
                link.accepted(is_client);
                return None;
            }
            FilterVerdict::Discard if is_client => {
                let why = "there is no message to be discarded yet";
                self.notes.push(note(FilterAction::Undone, why));
                return None;
            }
            FilterVerdict::Discard => {
                self.notes.push(note(FilterAction::Discard, ""));
                self.discarded_by = Some(name);
                link.accepted(false);
                return None;
            }
            verdict => notes::refusal(verdict),
        };
        self.notes.push(note(action, &reply.to_string()));
        match step {
            FilterStep::Connect | FilterStep::Helo => {
                link.state = LinkState::RefusedClient(reply.clone());
            }
            FilterStep::Mail | FilterStep::Data | FilterStep::Message => link.accepted(false),
            FilterStep::Rcpt(_) => {}
        }
        Some(reply)
    }

    /// What follows where a filter has failed. Before MAIL nothing: it may be back by then.
    fn failed(
        &mut self,
        at: usize,
        stage: FilterStage,
        error: &AskError,
        took: Duration,
    ) -> Option<Reply> {
        let link = &mut self.links[at];
        let why = error.to_string();
        self.notes.push(FilterNote::new(&link.name(), stage, FilterAction::Failed, &why, took));
        link.state = LinkState::Failed;
        let is_client = matches!(stage, FilterStage::Connect | FilterStage::Helo);
        (!is_client && !link.filter.config.is_passed).then(notes::put_off)
    }
}

impl Drop for FilterChain {
    fn drop(&mut self) {
        self.links.drain(..).for_each(Link::end_client);
    }
}
