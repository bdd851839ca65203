//! How one filter is asked: by the connection of its session, else by a new one to which all is said again.

use super::Filters;
use super::notes::put_off;
use super::pool::Filter;
use super::said::{FilterStep, Said};
use crate::limits::FILTER_QUIT_TIME;
use crate::net::milter::{AnswerTime, Answered, MilterConnection, MilterFailure};
use crate::smtp::milter::{FilterCommand, FilterOptions, FilterVerdict};
use crate::smtp::reply::Reply;
use crate::store::disk::StoreError;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A filter in its session.
pub struct Link {
    pub filter: Arc<Filter>,
    pub state: LinkState,
    connection: Option<MilterConnection>,
    /// It has heard MAIL, and has not said how the message ends.
    in_message: bool,
}

/// Whether it is asked.
#[derive(Debug)]
pub enum LinkState {
    Asked,
    /// Nothing more of this client has to be looked at.
    AcceptedClient,
    /// Nothing more of this message.
    AcceptedMessage,
    /// All that this client says is refused.
    RefusedClient(Reply),
    /// All of this message: a filter that came back has refused what it let pass before.
    RefusedMessage(Reply),
    /// It failed; the next MAIL tries it again.
    Failed,
}

/// Why a filter gave no verdict.
#[derive(Debug)]
pub enum AskError {
    /// It is left alone, because it failed a moment ago.
    Resting,
    Failure(MilterFailure),
    /// It wants more for this message than it may; others may well pass it.
    Excess(&'static str),
    /// The message cannot be read, or another one not written: no failure of the filter's.
    Store(StoreError),
}

impl From<MilterFailure> for AskError {
    fn from(failure: MilterFailure) -> AskError {
        AskError::Failure(failure)
    }
}

impl From<StoreError> for AskError {
    fn from(error: StoreError) -> AskError {
        AskError::Store(error)
    }
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AskError::Resting => f.write_str("it failed a moment ago and is left alone"),
            AskError::Failure(failure) => failure.fmt(f),
            AskError::Excess(what) => f.write_str(what),
            AskError::Store(error) => error.fmt(f),
        }
    }
}

/// What came of asking.
#[derive(Debug)]
pub enum Replayed<T> {
    Done(T),
    /// A new connection has said something else than "go on" to an earlier step.
    Stopped(FilterStep, FilterVerdict),
}

impl Link {
    pub fn new(filter: Arc<Filter>) -> Link {
        Link { filter, state: LinkState::Asked, connection: None, in_message: false }
    }

    pub fn name(&self) -> String {
        self.filter.config.name.clone()
    }

    /// Whether it has to be asked at a step; else what it says without being asked.
    pub fn turn(&mut self, step: FilterStep) -> Result<(), Option<Reply>> {
        match &self.state {
            LinkState::Asked => Ok(()),
            LinkState::Failed if step == FilterStep::Mail => {
                self.state = LinkState::Asked;
                Ok(())
            }
            LinkState::Failed if self.filter.config.is_passed || !step.is_of_message() => Err(None),
            LinkState::Failed => Err(Some(put_off())),
            LinkState::AcceptedMessage if !step.is_of_message() => Ok(()),
            LinkState::AcceptedMessage | LinkState::AcceptedClient => Err(None),
            LinkState::RefusedMessage(_) if !step.is_of_message() => Ok(()),
            LinkState::RefusedClient(reply) | LinkState::RefusedMessage(reply) => {
                Err(Some(reply.clone()))
            }
        }
    }

    /// Whether it is asked about the message under way.
    pub fn is_asked(&self) -> bool {
        matches!(self.state, LinkState::Asked)
    }

    /// Whether it wants to hear of recipients that we refused.
    pub fn wants_refused(&self) -> bool {
        let options = self.connection.as_ref().and_then(MilterConnection::options);
        options.is_some_and(FilterOptions::wants_refused)
    }

    /// It has said how the message ends, or the whole client.
    pub fn accepted(&mut self, is_client: bool) {
        self.in_message = false;
        self.state = match is_client {
            true => LinkState::AcceptedClient,
            false => LinkState::AcceptedMessage,
        };
    }

    /// Calls `ask` with a connection to which all was said that comes before `step`. Where the filter fails it
    /// is tried once more by a new connection; that a kept one had ended does not count. Nothing is waited for past
    /// `last`; where others have left it less time than it may take, its failure is not held against it.
    pub fn reach<T>(
        &mut self,
        shared: &Filters,
        said: &Said,
        step: FilterStep,
        last: Instant,
        mut ask: impl FnMut(&mut MilterConnection) -> Result<T, AskError>,
    ) -> Result<Replayed<T>, AskError> {
        if self.connection.is_none() && self.filter.is_resting((shared.clock)()) {
            return Err(AskError::Resting);
        }
        let begun = Instant::now();
        if begun >= last {
            return Err(AskError::Excess("the other filters have left it no time"));
        }
        // What the caller needed in between is no time that was taken from it.
        let had_time = last + Duration::from_secs(1) >= begun + self.filter.config.timeout.message;
        let mut failures = 0;
        loop {
            let had_one = self.connection.is_some();
            let idle = if had_one || failures > 0 { None } else { self.filter.take_idle() };
            let was_kept = idle.is_some();
            match self.try_once(shared, said, (step, last), idle, &mut ask) {
                Err(AskError::Failure(_)) if was_kept => {}
                Err(AskError::Failure(failure)) => {
                    failures += 1;
                    if failures == 2 || Instant::now() >= last {
                        if had_time {
                            self.filter.rest((shared.clock)());
                        }
                        return Err(failure.into());
                    }
                }
                Ok(answered) => {
                    self.filter.note_answer();
                    return Ok(answered);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One attempt; after an error the connection is gone.
    fn try_once<T>(
        &mut self,
        shared: &Filters,
        said: &Said,
        (step, last): (FilterStep, Instant),
        idle: Option<MilterConnection>,
        ask: &mut impl FnMut(&mut MilterConnection) -> Result<T, AskError>,
    ) -> Result<Replayed<T>, AskError> {
        let mut is_new = false;
        let mut connection = match self.connection.take().or(idle.inspect(|_| is_new = true)) {
            Some(connection) => connection,
            None => {
                is_new = true;
                let socket = &self.filter.config.socket;
                let left = last.saturating_duration_since(Instant::now());
                let connect = self.filter.config.timeout.connect.min(left);
                let time = self.filter.command_time(last);
                MilterConnection::open(socket, &*shared.resolver, connect, time)?
            }
        };
        if is_new {
            for earlier in said.before(step) {
                let mut time = self.filter.command_time(last);
                match say(&mut connection, said, earlier, &mut time)? {
                    None | Some(FilterVerdict::Continue) => {}
                    // No message to be discarded: it goes on, as it did before.
                    Some(FilterVerdict::Discard) if !earlier.is_of_message() => {}
                    Some(verdict) => {
                        self.in_message |= earlier.is_of_message();
                        self.connection = Some(connection);
                        return Ok(Replayed::Stopped(earlier, verdict));
                    }
                }
            }
        }
        let done = ask(&mut connection)?;
        self.in_message |= step.is_of_message();
        self.connection = Some(connection);
        Ok(Replayed::Done(done))
    }

    /// The message is over for us.
    pub fn end_message(&mut self) {
        if std::mem::take(&mut self.in_message)
            && let Some(mut connection) = self.connection.take()
        {
            let deadline = Instant::now() + FILTER_QUIT_TIME;
            self.connection = connection.abort(deadline).is_ok().then_some(connection);
        }
        if matches!(self.state, LinkState::AcceptedMessage | LinkState::RefusedMessage(_)) {
            self.state = LinkState::Asked;
        }
    }

    /// The client is gone; a connection that can go on with another one is kept.
    pub fn end_client(mut self) {
        self.end_message();
        if let Some(connection) = self.connection.take() {
            let deadline = Instant::now() + FILTER_QUIT_TIME;
            let is_kept = self.filter.has_room();
            if let Some(connection) = connection.end_client(is_kept, deadline) {
                self.filter.keep(connection);
            }
        }
    }
}

/// Says a step; the verdict, where there is one.
pub fn say(
    connection: &mut MilterConnection,
    said: &Said,
    step: FilterStep,
    time: &mut AnswerTime,
) -> Result<Option<FilterVerdict>, AskError> {
    let Some(command) = said.command(step) else { return Ok(None) };
    tell(connection, &command, said, step, time)
}

fn tell(
    connection: &mut MilterConnection,
    command: &FilterCommand<'_>,
    said: &Said,
    step: FilterStep,
    time: &mut AnswerTime,
) -> Result<Option<FilterVerdict>, AskError> {
    let macros = said.macros(step);
    match connection.ask::<AskError>(command, &macros, time, &mut |_| Ok(()))? {
        Answered::Verdict(verdict) => Ok(Some(verdict)),
        Answered::Nothing | Answered::Skip => Ok(None),
    }
}
