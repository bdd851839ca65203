//! What bounds the trace: what is kept of a dialog, how much waits to be written, and what is read.

use super::COMMAND_LINE_MAX;
use std::time::Duration;

/// Records that may wait for the thread that writes the trace; more are lost, and counted.
pub const TRACE_ROOM: usize = 16 * 1024;

/// Octets of the records that may wait.
pub const TRACE_PENDING: usize = 8 * 1024 * 1024;

/// What is kept of one dialog for the trace, in octets: of a longer one the middle is left out.
pub const TALK_MAX: usize = 16 * 1024;

/// What is kept of one turn of a dialog, a command or a reply, in octets.
pub const TURN_MAX: usize = 4 * 1024;
const _: () = assert!(TURN_MAX + TURN_COST < TALK_MAX / 2 && TURN_MAX >= COMMAND_LINE_MAX);

/// What a turn takes beside its text, in octets: time, event, session and id on its line.
pub const TURN_COST: usize = 80;

/// What is written about the dialog of one session, in octets; beyond that only turns that belong to a message
/// that was taken, so that one client does not push the stories of all others out.
pub const TRACE_SESSION_MAX: usize = 256 * 1024;

/// What is written to the trace at once, in octets.
pub const TRACE_BATCH: usize = 64 * 1024;

/// How long the trace gathers what is written at once.
pub const TRACE_GATHER: Duration = Duration::from_millis(20);

/// How long after the last record the trace is synced.
pub const TRACE_IDLE: Duration = Duration::from_secs(1);

/// How often it is looked whether stories are too old.
pub const TRACE_LOOK: Duration = Duration::from_secs(3600);

/// Into how many files at least `trace.size` is divided: the oldest goes when there is no room.
pub const TRACE_PARTS: u64 = 8;

/// Fewest octets that `trace.size` can work with: a batch fits a part of it.
pub const TRACE_SIZE_MIN: u64 = 1024 * 1024;
const _: () = assert!(TRACE_SIZE_MIN / TRACE_PARTS >= 2 * TRACE_BATCH as u64);

/// Most files of the trace.
pub const TRACE_FILES_MAX: usize = 4096;

/// Longest line of a trace that is read, in octets: a turn whose every letter is escaped.
pub const TRACE_LINE_MAX: usize = 64 * 1024;
const _: () = assert!(TRACE_LINE_MAX >= 10 * TURN_MAX + 1024);

/// Stories in one answer, the newest where there are more.
pub const STORIES_MAX: usize = 100;

/// Octets of all lines of one answer.
pub const STORIES_OCTETS: usize = 32 * 1024 * 1024;

/// How far back the stories of an address go by default.
pub const STORIES_SINCE: Duration = Duration::from_secs(7 * 24 * 3600);

/// How often a followed trace is looked at.
pub const FOLLOW_LOOK: Duration = Duration::from_millis(200);
