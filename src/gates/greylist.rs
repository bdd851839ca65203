//! Greylisting while it is configured: the store, and the thread that keeps its file short.

use crate::config::Greylist;
use crate::event::warn;
use crate::limits::gates::GREY_LOOK;
use crate::mail::address::{Mailbox, ReversePath};
use crate::net::pool::spawn_vital;
use crate::site::Current;
use crate::store::disk::{Disk, StoreError};
use crate::store::grey::{GreyAnswer, GreyKey, GreyRules, GreySource, GreyStore};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use jiff::Timestamp;
use std::io;
use std::sync::Arc;

/// The open store. Its thread ends with it.
pub(super) struct OpenGreylist {
    store: Arc<GreyStore>,
    _thread: Sender<()>,
}

/// Seconds since 1970.
fn now() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap_or(0)
}

fn rules(config: &Greylist) -> GreyRules {
    GreyRules { delay: config.delay, expire: config.expire }
}

impl OpenGreylist {
    /// Reads what is in the spool. A disk that fails is told, and greylisting goes on in memory.
    pub fn start(
        disk: &Arc<dyn Disk>,
        current: &Arc<Current>,
        config: &Greylist,
    ) -> io::Result<OpenGreylist> {
        let spool = &current.bare().config.spool;
        let (store, opened) = GreyStore::open(disk.clone(), spool, rules(config), now());
        tell_trouble(opened);
        let (store, current) = (Arc::new(store), current.clone());
        let (thread, end) = bounded(1);
        let own = store.clone();
        spawn_vital("greylist", None, move || tend(&own, &current, &end))?;
        Ok(OpenGreylist { store, _thread: thread })
    }

    /// How one fares that comes now, in the name of that sender.
    pub fn attempt(
        &self,
        config: &Greylist,
        source: &GreySource<'_>,
        from: &ReversePath,
    ) -> GreyAnswer {
        let (rules, now) = (rules(config), now());
        if let ReversePath::Mailbox(mailbox) = from
            && self.store.is_known(GreyKey::correspondent(mailbox), rules, now)
        {
            return GreyAnswer::Passes;
        }
        let (answer, kept) = self.store.attempt(GreyKey::of(source, from), rules, now);
        tell_trouble(kept);
        answer
    }

    /// A user of ours writes to these addresses.
    pub fn written_to<'a>(&self, config: &Greylist, addresses: impl Iterator<Item = &'a Mailbox>) {
        let keys: Vec<GreyKey> = addresses.map(GreyKey::correspondent).collect();
        tell_trouble(self.store.know(&keys, rules(config), now()));
    }
}

/// Looks from time to time whether the file has grown, until the store is closed.
fn tend(store: &GreyStore, current: &Current, end: &Receiver<()>) {
    while end.recv_timeout(GREY_LOOK) == Err(RecvTimeoutError::Timeout) {
        if let Some(config) = &current.bare().config.greylist {
            tell_trouble(store.tend(rules(config), now()));
        }
    }
}

/// Mail goes on: after a restart some have to come back once more.
fn tell_trouble(done: Result<(), StoreError>) {
    if let Err(error) = done {
        warn(&format!("greylisting is kept in memory alone: {error}"));
    }
}
