//! The sessions of this moment with what is known about them, for the page for people. Learned from events.
//!
//! Kept only where `listen.metrics` is served, and no more than [`PRESENT_MAX`].

use super::Event;
use super::recent;
use crate::limits::PRESENT_MAX;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    pub since: Timestamp,
    pub client: IpAddr,
    pub service: String,
    /// How it is protected; empty in the clear.
    pub tls: String,
    /// The user that has logged in; empty without one.
    pub user: String,
}

static ALL: Mutex<BTreeMap<String, Present>> = Mutex::new(BTreeMap::new());

/// All sessions with their ids, the oldest first.
pub fn all() -> Vec<(String, Present)> {
    lock().iter().map(|(id, present)| (id.clone(), present.clone())).collect()
}

/// Takes in what an event says about a session.
pub(super) fn follow(event: &Event<'_>) {
    if !recent::is_on() {
        return;
    }
    match event {
        Event::Connected { session, client, service } => {
            let (since, client, service) = (Timestamp::now(), *client, (*service).to_owned());
            let (tls, user) = Default::default();
            let mut all = lock();
            if all.len() < PRESENT_MAX {
                all.insert((*session).to_owned(), Present { since, client, service, tls, user });
            }
        }
        Event::Secured { session, tls } => change(session, |it| it.tls = (*tls).to_owned()),
        Event::Authenticated { session, user } => {
            change(session, |it| it.user = (*user).to_owned());
        }
        Event::Disconnected { session, .. } => drop(lock().remove(*session)),
        _ => {}
    }
}

fn change(session: &str, change: impl FnOnce(&mut Present)) {
    if let Some(present) = lock().get_mut(session) {
        change(present);
    }
}

fn lock() -> MutexGuard<'static, BTreeMap<String, Present>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}
