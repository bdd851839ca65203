//! What touches the **disk**: mail files, Maildirs, the users file. Knows nothing of SMTP.

pub mod aliases;
pub mod body;
pub mod disk;
pub mod draft;
pub mod drop;
pub mod durable;
pub mod entry;
pub mod fresh;
pub mod grey;
pub mod homes;
pub mod keys;
pub mod mailbox;
pub mod maildir;
#[cfg(test)]
#[path = "../../tests/it/memory.rs"]
pub mod memory;
pub mod mounts;
pub mod order;
pub mod password;
pub mod policies;
pub mod queue;
pub mod recipients;
pub mod secret;
pub mod sum;
pub mod table;
pub mod tally;
pub mod unsent;
pub mod users;
mod writeback;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex, even if a thread panicked while it held it: no thread of ours leaves a value half changed.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
