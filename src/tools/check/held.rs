//! Mail that filters hold, which waits for a person.

use crate::limits::CHECK_QUEUED;
use crate::store::disk::RealDisk;
use crate::store::queue::Queue;
use std::path::Path;
use std::sync::Arc;

/// One line about all such messages; none where there are none, or the queue cannot be read.
pub fn held_words(spool: &Path) -> Option<String> {
    let queue = Queue::new(Arc::new(RealDisk), spool);
    let ids = queue.list().unwrap_or_default();
    let read = ids.iter().take(CHECK_QUEUED).filter_map(|id| queue.read(id).ok());
    let held: Vec<_> = read.filter(|message| message.quarantine().is_some()).collect();
    let first = &held.first()?.entry.id;
    let or_more = if ids.len() > CHECK_QUEUED { " or more" } else { "" };
    Some(match held.len() {
        1 => format!("{first} is held by a filter{or_more}: `facteur queue why {first}`"),
        count => format!("{count}{or_more} messages are held by filters: `facteur queue list`"),
    })
}
