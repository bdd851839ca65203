//! The bounds of `facteur route` and `facteur check`.

use std::time::Duration;

/// How long one step of greeting a next hop may take; a person waits for it.
pub const GREET_WAIT: Duration = Duration::from_secs(10);

/// Hosts that are greeted for one address, until one answers.
pub const GREET_HOSTS: usize = 5;

/// After this no further host of an address is greeted.
pub const GREET_TIME: Duration = Duration::from_secs(30);

/// Maildirs that are tried in a domain without a users file, where there may be any number.
pub const CHECK_MAILDIRS: usize = 10_000;

/// Mailboxes that are named one by one when they take no mail; mostly all have the same reason.
pub const CHECK_NAMED: usize = 20;

/// Users whose homes are looked at to find one where a disk can be tried.
pub const CHECK_HOMES: usize = 100;

/// Messages of the queue that are looked at to find those that filters hold.
pub const CHECK_QUEUED: usize = 20_000;

/// Syncs of a file by which a disk is judged.
pub const DISK_SYNCS: usize = 20;

/// A sync of a file that is faster than this has reached no disk.
pub const DISK_SYNC_LEAST: Duration = Duration::from_micros(20);

/// A sync of a file that is slower than this is worth a warning, because a message needs several.
pub const DISK_SYNC_MOST: Duration = Duration::from_millis(100);

/// Syncing for the sake of measuring ends after this.
pub const DISK_SYNC_TIME: Duration = Duration::from_secs(10);

/// Free room and inodes below this part of all are worth a warning, in percent.
pub const DISK_FREE_LEAST: u64 = 5;
