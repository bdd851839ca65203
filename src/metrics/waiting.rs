//! What waits in the queue and why, for the page that people look at: computed from the files of the
//! queue, as `facteur queue why` does.

use crate::id::is_id;
use crate::limits::WAITING_SHOWN;
use crate::scheduler::reason::{Reason, why};
use crate::site::Site;
use crate::store::queue::{Queue, QueuedMessage};
use jiff::Timestamp;

/// One message.
pub(super) struct WaitingRow {
    pub id: String,
    pub from: String,
    /// For whom it waits so.
    pub to: String,
    pub reason: String,
    /// What would end it.
    pub release: String,
}

/// The oldest ones, and how many more there are. What is due is counted among these alone. Fails with the
/// words for a queue that cannot be read.
pub(super) fn rows(site: &Site, queue: &Queue) -> Result<(Vec<WaitingRow>, usize), String> {
    let ids = queue.list().map_err(|error| error.to_string())?;
    let more = ids.len().saturating_sub(WAITING_SHOWN);
    // What has gone meanwhile waits no more.
    let read = ids.iter().take(WAITING_SHOWN).filter_map(|id| queue.read(id).ok());
    let all: Vec<QueuedMessage> = read.collect();
    let now = Timestamp::now();
    let rows = all.iter().map(|waiting| row(site, queue, waiting, now, &all));
    Ok((rows.collect(), more))
}

/// Of these messages those that wait; a few of them.
pub(super) fn rows_of(site: &Site, queue: &Queue, ids: &[String]) -> Vec<WaitingRow> {
    let ids = ids.iter().filter(|id| is_id(id)).take(WAITING_SHOWN);
    let read = ids.filter_map(|id| queue.read(id).ok());
    let all: Vec<QueuedMessage> = read.collect();
    let now = Timestamp::now();
    all.iter().map(|waiting| row(site, queue, waiting, now, &all)).collect()
}

/// `all`: those among which it may stand behind others.
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
        (why.reason, why.recipients) = (Reason::Sending, waiting.open().collect());
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

/// Recipients of one message that are named.
const RECIPIENTS_SHOWN: usize = 5;
