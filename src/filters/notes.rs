//! What filters did, for log, trace and metrics; and what their refusals say.

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
