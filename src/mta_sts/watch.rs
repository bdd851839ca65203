//! The thread that keeps policies fresh in a server: it fetches those anew that mail needs, long before they end, so
//! that nobody who disturbs the network for a while can keep us from them (RFC 8461 §3.3, §10), and removes those
//! that have ended. It exists only once there is a policy.

use super::{DomainSts, FetchTurn, MtaSts, StsRecord, make_room, record};
use crate::event::warn;
use crate::limits::policies::{STS_CALLS_MAX, STS_LOOK, STS_LOOK_LEAST};
use crate::mail::address::Domain;
use crate::net::dns::Resolver;
use crate::net::pool::spawn_vital;
use crate::store::locked;
use crate::store::policies::KnownPolicy;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use jiff::Timestamp;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

/// The thread as others see it.
#[derive(Debug, Default)]
pub(super) struct StsWatch {
    /// Whether this process serves: only a server writes policies down.
    is_server: bool,
    /// Domains whose policies were used and are due.
    calls: Option<Sender<Domain>>,
    /// DNS, as the last one asked it that had mail on its way.
    resolver: Option<Arc<dyn Resolver>>,
}

impl StsWatch {
    pub fn is_server(&self) -> bool {
        self.is_server
    }

    #[cfg(test)]
    pub fn serve_without_thread(&mut self) {
        self.is_server = true;
    }
}

impl MtaSts {
    /// From now on policies are written down, and kept fresh while `is_on`: in a server, once privileges are
    /// dropped, and after each reload.
    pub fn serve(self: &Arc<MtaSts>, resolver: &Arc<dyn Resolver>, is_on: bool) {
        locked(&self.watch).is_server = true;
        if !is_on {
            // Without a sender the thread ends.
            locked(&self.watch).calls = None;
            return;
        }
        self.store.clean(SystemTime::now());
        if self.store.domains().is_ok_and(|domains| !domains.is_empty()) {
            self.start(resolver);
        }
    }

    /// Lets the thread look at a policy that is used and is to be fetched anew. Costs next to nothing else.
    pub(super) fn watch(
        self: &Arc<MtaSts>,
        domain: &Domain,
        resolver: &Arc<dyn Resolver>,
        used: &KnownPolicy,
    ) {
        let is_new = {
            let mut watch = locked(&self.watch);
            watch.resolver = watch.is_server.then(|| resolver.clone());
            watch.is_server && watch.calls.is_none()
        };
        if is_new {
            self.start(resolver);
        }
        if used.is_due(Timestamp::now())
            && let Some(calls) = &locked(&self.watch).calls
        {
            // Where it has much to do, the next mail to this domain calls it again.
            let _ = calls.try_send(domain.clone());
        }
    }

    fn start(self: &Arc<MtaSts>, resolver: &Arc<dyn Resolver>) {
        let (calls, called) = bounded(STS_CALLS_MAX);
        {
            let mut watch = locked(&self.watch);
            watch.resolver = Some(resolver.clone());
            if watch.calls.is_some() {
                return;
            }
            watch.calls = Some(calls);
        }
        let weak = Arc::downgrade(self);
        if let Err(error) = spawn_vital("policies", None, move || run(&weak, &called)) {
            warn(&format!("no thread to keep MTA-STS policies fresh: {error}"));
            locked(&self.watch).calls = None;
        }
    }

    /// Looks at all policies once; gives when something is due again.
    pub(super) fn look(&self, resolver: &Arc<dyn Resolver>, now: Timestamp) -> Option<Timestamp> {
        match self.store.domains() {
            Ok(domains) => {
                domains.iter().filter_map(|domain| self.look_at(domain, resolver, now)).min()
            }
            Err(error) => {
                warn(&format!("MTA-STS policies are not kept fresh: {error}"));
                None
            }
        }
    }

    /// Looks at the policy of one domain; gives when it is due again.
    pub(super) fn look_at(
        &self,
        domain: &Domain,
        resolver: &Arc<dyn Resolver>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let Some(known) = self.held(domain, now) else {
            self.forget(domain, now);
            return None;
        };
        let used = locked(&self.domains).get(domain).and_then(|own| own.used);
        let used = known.used.max(used.unwrap_or(known.used));
        let known = KnownPolicy { used, ..(*known).clone() };
        let may_ask = |id| {
            self.takes_turn(domain, |own| own.rest.as_ref().is_none_or(|rest| !rest.is_on(id, now)))
        };
        if known.is_due(now)
            && let StsRecord::Id(id) = record(domain, &**resolver)
            && may_ask(&id)
        {
            return self.fetch(domain, &id, resolver, used, now).ok()?.renewed();
        }
        known.renewed().filter(|at| *at > now)
    }

    /// Removes the file of a domain whose policy has ended or cannot be read, unless it is fetched just now.
    fn forget(&self, domain: &Domain, now: Timestamp) {
        if self.takes_turn(domain, |_| true) {
            let _turn = FetchTurn { sts: self, domain, end: None };
            // Fetched meanwhile, perhaps.
            if self.held(domain, now).is_none() && self.store.is_void(domain, now) {
                self.store.remove(domain);
            }
        }
    }

    /// Takes the turn to fetch where nobody else has it and `wanted` says so.
    fn takes_turn(&self, domain: &Domain, wanted: impl FnOnce(&DomainSts) -> bool) -> bool {
        let mut domains = locked(&self.domains);
        make_room(&mut domains);
        let own = domains.entry(domain.clone()).or_default();
        let is_ours = !own.is_fetching && wanted(own);
        own.is_fetching |= is_ours;
        is_ours
    }
}

/// Looks again and again until the server is gone.
fn run(sts: &Weak<MtaSts>, calls: &Receiver<Domain>) {
    let mut next = Instant::now();
    loop {
        let called = match calls.recv_deadline(next) {
            Ok(domain) => Some(domain),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let Some(own) = sts.upgrade() else { return };
        let Some(resolver) = locked(&own.watch).resolver.clone() else { return };
        let due = match &called {
            Some(domain) => own.look_at(domain, &resolver, Timestamp::now()),
            None => own.look(&resolver, Timestamp::now()),
        };
        let wait = due.map(|at| Duration::try_from(at.duration_since(Timestamp::now())));
        let wait = wait.map_or(STS_LOOK, |wait| wait.unwrap_or_default());
        let then = Instant::now() + wait.clamp(STS_LOOK_LEAST, STS_LOOK);
        next = if called.is_some() { next.min(then) } else { then };
    }
}
