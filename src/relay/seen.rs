//! What is kept of how TLS with next hops ended: counters, and what reports are made of ([`super::tally`]). Decides nothing, and no mail waits for it.

use super::{Caller, Connection};
use crate::event::count::{RELAY_TLS, TLS_WORKED};
use crate::net::stream::Endpoint;
use crate::route::next_hop::{Demand, Hop, TlsSeen};
use crate::smtp::client::{Fate, Reason};
use crate::smtp::tls_failure::{TlsFailure, TlsTrouble};
use std::net::IpAddr;

impl Caller {
    /// Counts how TLS with a host ended.
    pub fn saw(&self, seen: &TlsSeen) {
        let outcome = seen.outcome.as_ref().map_or_else(|it| it.failure.name(), |()| TLS_WORKED);
        let its = RELAY_TLS.iter().find(|(demand, _)| *demand == seen.demand.name());
        its.into_iter().for_each(|(_, counters)| counters.add(outcome));
        if let Some(tally) = &self.tally {
            tally.offer(seen);
        }
    }
}

/// How TLS ended in one call of a host; none where the call says nothing about it: TLS was not to be tried, or
/// the call failed before it, or behind it.
pub(super) fn seen(
    hop: &Hop,
    opened: Result<&Connection, (&Fate, Option<IpAddr>)>,
) -> Option<TlsSeen> {
    if hop.demand == Demand::Nothing || !matches!(hop.address, Endpoint::Smtp(_)) {
        return None;
    }
    let (outcome, sending) = match opened {
        Ok(connection) if connection.protection().is_some() => (Ok(()), connection.local()),
        Ok(connection) => {
            let trouble = TlsTrouble::new(TlsFailure::NotOffered, "no STARTTLS is offered");
            (Err(trouble), connection.local())
        }
        Err((fate, sending)) => {
            let reason = fate.reason()?;
            (Err(trouble(reason, reason.tls_failure()?)), sending)
        }
    };
    Some(TlsSeen {
        domain: hop.domain.clone(),
        demand: hop.demand.clone(),
        host: hop.name.clone(),
        receiving: hop.address.address().map(|address| address.ip()),
        sending,
        outcome,
    })
}

fn trouble(reason: &Reason, failure: TlsFailure) -> TlsTrouble {
    TlsTrouble::new(failure, reason.to_string())
}
