//! What waits in the queue and why, for the page for people: computed from the queue files, as `facteur
//! queue why` does.

use crate::id::is_id;
use crate::limits::WAITING_SHOWN;
use crate::scheduler::reason::{WaitReason, why};
use crate::site::Site;
use crate::store::queue::{Queue, QueuedMessage};
use jiff::Timestamp;

/// One message.
pub(super) struct WaitingRow {
    pub id: String,
    pub from: String,
    /// The recipients that wait for this reason.
    pub to: String,
    pub reason: String,
    /// What would end the waiting.
    pub release: String,
}

/// The oldest messages, and how many more there are. Messages that are due before one are counted only
/// among these. Fails with words where the queue cannot be read.
pub(super) fn rows(site: &Site, queue: &Queue) -> Result<(Vec<WaitingRow>, usize), String> {
    let ids = queue.list().map_err(|error| error.to_string())?;
    let more = ids.len().saturating_sub(WAITING_SHOWN);
    // A message that is gone meanwhile is left out.
    let read = ids.iter().take(WAITING_SHOWN).filter_map(|id| queue.read(id).ok());
    let all: Vec<QueuedMessage> = read.collect();
    let now = Timestamp::now();
    let rows = all.iter().map(|waiting| row(site, queue, waiting, now, &all));
    Ok((rows.collect(), more))
}

/// Those of these messages that wait; at most [`WAITING_SHOWN`].
pub(super) fn rows_of(site: &Site, queue: &Queue, ids: &[String]) -> Vec<WaitingRow> {
    let ids = ids.iter().filter(|id| is_id(id)).take(WAITING_SHOWN);
    let read = ids.filter_map(|id| queue.read(id).ok());
    let all: Vec<QueuedMessage> = read.collect();
    let now = Timestamp::now();
    all.iter().map(|waiting| row(site, queue, waiting, now, &all)).collect()
}

/// `all`: the messages among which it may wait behind others.
fn row(
    site: &Site,
    queue: &Queue,
    waiting: &QueuedMessage,
    now: Timestamp,
    all: &[QueuedMessage],
) -> WaitingRow {
    let id = waiting.entry.id.clone();
    let mut why =
        why(site, waiting, now, |is_before| all.iter().filter(|other| is_before(other)).count());
    if queue.is_claimed(&id).unwrap_or_default() {
        (why.reason, why.recipients) = (WaitReason::Sending, waiting.open().collect());
    }
    let recipients = why.recipients.iter().take(RECIPIENTS_SHOWN);
    let mut to: Vec<String> =
        recipients.map(|index| waiting.entry.recipients[*index].mailbox.to_string()).collect();
    if let Some(more @ 1..) = why.recipients.len().checked_sub(to.len()) {
        to.push(format!("and {more} more"));
    }
    let release = why.reason.release(&id, &site.config.relay);
    let (from, reason) = (waiting.entry.sender.from.to_string(), why.reason.to_string());
    WaitingRow { id, from, to: to.join(", "), reason, release }
}

/// How many recipients of a message are named.
const RECIPIENTS_SHOWN: usize = 5;
