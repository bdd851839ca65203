//! Where connections to next hops are told that reports on TLS are made of (RFC 8460). Never waits: what finds no
//! room is counted alone.

use crate::mail::tls_report::counts::TlsSession;
use crate::mail::tls_report::{AppliedPolicy, FailedTls, PolicyKind};
use crate::net::dns::Record;
use crate::route::next_hop::{Demand, PkiDemand, TlsSeen};
use crossbeam_channel::Sender;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The way to the thread that counts.
pub struct TallyInput {
    sender: Sender<TlsSession>,
    /// How many found no room.
    lost: AtomicU64,
}

impl TallyInput {
    pub fn new(sender: Sender<TlsSession>) -> TallyInput {
        TallyInput { sender, lost: AtomicU64::new(0) }
    }

    /// Tells how TLS with a host ended, where a domain may want to know that.
    pub fn offer(&self, seen: &TlsSeen) {
        if let Some(session) = session(seen)
            && self.sender.try_send(session).is_err()
        {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// Takes how many were lost since the last call.
    pub fn take_lost(&self) -> u64 {
        self.lost.swap(0, Relaxed)
    }
}

/// As reports have it; none of a host that the configuration names, which is no domain's, and none where the domain
/// was not asked what it wants.
fn session(seen: &TlsSeen) -> Option<TlsSession> {
    let domain = seen.domain.clone()?;
    let policy = match &seen.demand {
        // That was our own wish.
        Demand::Pki(PkiDemand::Wish | PkiDemand::Login) => return None,
        Demand::Nothing | Demand::Offered => {
            AppliedPolicy::new(PolicyKind::NoPolicyFound, domain.as_str(), &[""; 0], &[""; 0])
        }
        Demand::Pki(PkiDemand::Policy(policy)) | Demand::Tested { policy, .. } => {
            AppliedPolicy::new(
                PolicyKind::Sts,
                policy.domain.as_str(),
                &policy.lines,
                &policy.hosts,
            )
        }
        Demand::Tlsa(tlsa) => {
            let mut records: Vec<String> =
                tlsa.records.iter().filter_map(Record::tlsa_text).collect();
            // Name servers turn their order from answer to answer, and it is one policy all the same.
            records.sort();
            AppliedPolicy::new(PolicyKind::Tlsa, &tlsa.base, &records, &[""; 0])
        }
    };
    let failed = seen.outcome.as_ref().err().map(|trouble| {
        let failed = FailedTls::new(trouble.failure.name()).at(&seen.host, seen.receiving);
        failed.from(seen.sending).because(&trouble.words)
    });
    Some(TlsSession { domain, policy, failed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::address::Domain;
    use crate::route::next_hop::TlsaDemand;
    use std::sync::Arc;

    #[test]
    fn records_in_another_order_are_the_same_policy() {
        let record =
            |octet| Record::Tlsa { usage: 3, selector: 1, matching: 1, data: vec![octet; 32] };
        let counted = |order: [u8; 3]| {
            let demand = TlsaDemand {
                base: "mx.far.test".to_owned(),
                question: "_25._tcp.mx.far.test".to_owned(),
                names: Vec::new(),
                records: order.map(record).to_vec(),
                usable: None,
            };
            session(&TlsSeen {
                domain: Some(Domain::parse("far.test").unwrap()),
                demand: Demand::Tlsa(Arc::new(demand)),
                host: "mx.far.test".to_owned(),
                receiving: None,
                sending: None,
                outcome: Ok(()),
            })
        };
        let first = counted([1, 2, 3]);
        assert!(first.is_some());
        assert_eq!((counted([3, 1, 2]), counted([2, 3, 1])), (first.clone(), first));
    }
}
