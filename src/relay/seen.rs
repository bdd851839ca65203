//! What is kept of how TLS with next hops ended: counters, and what reports are made of ([`super::tally`]). Decides
//! nothing, and no mail waits for it.

use super::{Caller, Connection};
use crate::event::count::{RELAY_TLS, TLS_WORKED};
use crate::net::stream::Endpoint;
use crate::net::tls::Protection;
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
        Ok(connection) => (shown(hop, connection.protection()), connection.local()),
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

/// What a host has shown that takes mail.
fn shown(hop: &Hop, protection: Option<&Protection>) -> Result<(), TlsTrouble> {
    let Some(protection) = protection else {
        return Err(TlsTrouble::new(TlsFailure::NotOffered, "no STARTTLS is offered"));
    };
    match &hop.demand {
        Demand::Tested { policy, is_named: false } => {
            Err(TlsTrouble::new(TlsFailure::Handshake, format!("{policy} does not name it")))
        }
        Demand::Tested { .. } => protection.flaw.clone().map_or(Ok(()), Err),
        _ => Ok(()),
    }
}

fn trouble(reason: &Reason, failure: TlsFailure) -> TlsTrouble {
    TlsTrouble::new(failure, reason.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::address::Domain;
    use crate::net::tls::PeerProof;
    use crate::route::next_hop::PolicyDemand;
    use std::net::SocketAddr;
    use std::sync::Arc;

    #[test]
    fn a_policy_that_only_tests_hears_what_it_would_not_have_taken() {
        let policy = Arc::new(PolicyDemand::of(&Domain::parse("a.test").unwrap(), None));
        let tested = |is_named| Demand::Tested { policy: policy.clone(), is_named };
        let flaw = || Some(TlsTrouble::new(TlsFailure::Expired, "out of date"));
        let seen = |demand: Demand, flaw: Option<Option<TlsTrouble>>| {
            let hop = Hop::offered("mx.a.test", SocketAddr::from(([127, 0, 0, 1], 25)));
            let protection = flaw.map(|flaw| Protection {
                version: "TLSv1.3",
                suite: "X".to_owned(),
                group: None,
                proof: Some(PeerProof::Nothing),
                flaw,
            });
            let shown = shown(&Hop { demand, ..hop }, protection.as_ref());
            shown.map_err(|trouble| trouble.failure)
        };
        assert_eq!(seen(tested(true), None), Err(TlsFailure::NotOffered));
        assert_eq!(seen(tested(true), Some(flaw())), Err(TlsFailure::Expired));
        assert_eq!(seen(tested(true), Some(None)), Ok(()));
        assert_eq!(seen(tested(false), Some(None)), Err(TlsFailure::Handshake));
        // Whoever has no policy takes any certificate.
        assert_eq!(seen(Demand::Offered, Some(flaw())), Ok(()));
    }
}
