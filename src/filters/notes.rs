//! What filters did, for log, trace and metrics; and what their refusals say.

use crate::event::count::{FILTER_TIME, FILTERED};
use crate::event::{Event, tell};
use crate::limits::FILTER_WHY_MAX;
use crate::mail::visible::escape;
use crate::smtp::milter::{FilterStage, FilterVerdict};
use crate::smtp::reply::Reply;
use std::fmt;
use std::time::Duration;

/// What one filter did at one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterNote {
    /// Its name.
    pub filter: String,
    pub stage: FilterStage,
    pub action: FilterAction,
    /// The reply, the reason, what was changed; in words that may be shown.
    pub why: String,
    /// How long it took; nothing for what is noted beside another note.
    pub took: Duration,
}

/// What it was. The first two are worth no line in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterAction {
    Continue,
    Accept,
    Reject,
    Tempfail,
    Discard,
    Quarantine,
    Changed,
    /// It asked for something that it may not have, or that makes no sense.
    Undone,
    Failed,
}

/// As events and metrics name it.
impl fmt::Display for FilterAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FilterAction::Continue => "continue",
            FilterAction::Accept => "accept",
            FilterAction::Reject => "reject",
            FilterAction::Tempfail => "tempfail",
            FilterAction::Discard => "discard",
            FilterAction::Quarantine => "quarantine",
            FilterAction::Changed => "changed",
            FilterAction::Undone => "undone",
            FilterAction::Failed => "failed",
        })
    }
}

impl FilterNote {
    pub fn new(
        filter: &str,
        stage: FilterStage,
        action: FilterAction,
        why: &str,
        took: Duration,
    ) -> FilterNote {
        let cut = &why[..why.floor_char_boundary(FILTER_WHY_MAX)];
        FilterNote { filter: filter.to_owned(), stage, action, why: escape(cut).into_owned(), took }
    }
}

impl FilterNote {
    /// Counts it: how long an answer took, and a message that went on.
    pub fn count(&self) {
        if !self.took.is_zero() {
            FILTER_TIME.add(u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX));
        }
        if self.action == FilterAction::Accept {
            FILTERED.add(&self.filter, "accept");
        }
    }

    /// Tells log and trace, where it is worth a line. `id`: of the message, where it was taken.
    pub fn tell(&self, id: Option<&str>, session: &str) {
        if matches!(self.action, FilterAction::Continue | FilterAction::Accept) {
            return;
        }
        tell(&Event::Filtered {
            id,
            session,
            filter: &self.filter,
            stage: &self.stage.to_string(),
            action: &self.action.to_string(),
            what: &self.why,
            took: self.took,
        });
    }
}

/// In a story: "filter rspamd, end of message: accept (12 ms)".
impl fmt::Display for FilterNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FilterNote { filter, stage, action, why, took } = self;
        write!(f, "filter {filter}, {stage}: {action} ({} ms)", took.as_millis())?;
        if why.is_empty() { Ok(()) } else { write!(f, ": {why}") }
    }
}

/// A refusal as it is noted and said.
pub fn refusal(verdict: FilterVerdict) -> (FilterAction, Reply) {
    match verdict {
        FilterVerdict::Reply(reply) => {
            let is_permanent = reply.code() >= 500;
            let action = if is_permanent { FilterAction::Reject } else { FilterAction::Tempfail };
            (action, reply.to_reply())
        }
        FilterVerdict::Reject => {
            (FilterAction::Reject, Reply::new(550, "5.7.1", "refused by a filter"))
        }
        FilterVerdict::Tempfail
        | FilterVerdict::Continue
        | FilterVerdict::Accept
        | FilterVerdict::Discard
        | FilterVerdict::ConnectionFailure
        | FilterVerdict::Shutdown => {
            (FilterAction::Tempfail, Reply::new(451, "4.7.1", "put off by a filter, try later"))
        }
    }
}

/// The reply where a filter has failed that must not be passed by.
pub fn put_off() -> Reply {
    Reply::new(451, "4.7.1", "a filter does not answer, try later")
}
