//! Hosts whose TLS hung or broke: for a while mail that may go in the clear is sent to them without TLS.
//! Trying it each time would cost a timeout for each message.

use super::Hop;
use crate::limits::{BROKEN_TLS_AGE, BROKEN_TLS_MAX};
use crate::net::stream::Endpoint;
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The table; bounded, and only in memory: after a restart TLS is tried again.
#[derive(Default)]
pub struct BrokenTls {
    /// Until when and why, by name and address.
    hosts: Mutex<HashMap<(String, Endpoint), (Instant, String)>>,
}

impl BrokenTls {
    /// Why TLS is not tried with a host at this moment.
    pub fn recall(&self, hop: &Hop, now: Instant) -> Option<String> {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, why) = hosts.get(&(hop.name.clone(), hop.address.clone()))?;
        (*until > now).then(|| why.clone())
    }

    /// Notes that TLS with this host has failed; returns the words for [`BrokenTls::recall`]. `clock`: the
    /// same moment, for people.
    pub fn note(&self, hop: &Hop, reason: &str, now: Instant, clock: Timestamp) -> String {
        let until = clock.checked_add(BROKEN_TLS_AGE).unwrap_or(Timestamp::MAX);
        let why = format!("{reason}; TLS is tried again from {until:.0} on");
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= BROKEN_TLS_MAX {
            hosts.retain(|_, (until, _)| *until > now);
        }
        // With a host that is forgotten, TLS is only tried again.
        if hosts.len() >= BROKEN_TLS_MAX
            && let Some(oldest) = hosts.iter().min_by_key(|(_, (until, _))| *until)
        {
            let oldest = oldest.0.clone();
            hosts.remove(&oldest);
        }
        hosts.insert((hop.name.clone(), hop.address.clone()), (now + BROKEN_TLS_AGE, why.clone()));
        why
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use std::time::Duration;

    #[test]
    fn for_an_hour_and_not_for_all() {
        let (table, now, clock) = (BrokenTls::default(), Instant::now(), Timestamp::UNIX_EPOCH);
        let hop = |number: usize| {
            let address = SocketAddr::from(([192, 0, 2, 1], 25));
            Hop::offered(&format!("mx{number}.test"), address)
        };
        let why = table.note(&hop(0), "was silent", now, clock);
        assert_eq!(why, "was silent; TLS is tried again from 1970-01-01T01:00:00Z on");
        assert_eq!(table.recall(&hop(0), now).as_ref(), Some(&why));
        assert_eq!(table.recall(&hop(1), now), None);
        let second = Duration::from_secs(1);
        assert!(table.recall(&hop(0), now + BROKEN_TLS_AGE - second).is_some());
        assert_eq!(table.recall(&hop(0), now + BROKEN_TLS_AGE), None);
        for number in 1..=BROKEN_TLS_MAX {
            table.note(&hop(number), "broke", now + second, clock);
        }
        assert_eq!(table.hosts.lock().unwrap().len(), BROKEN_TLS_MAX);
        assert_eq!(table.recall(&hop(0), now), None, "the oldest makes room");
    }
}
