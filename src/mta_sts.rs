//! Which MTA-STS policy holds for a domain (RFC 8461): what DNS and its web server say, and what is known from
//! before. Shared by all threads, and kept over reloads.
//!
//! The record is asked for before each use, and remembered by the resolver as long as DNS allows. The policy is
//! fetched when its id is new or it has ended, by one thread for all; others wait for that thread, or use the policy
//! that still holds. What could not be fetched rests, but not where the id is another one. A policy that holds is
//! kept whatever the network does (§5.1): only time ends it, or a policy that takes its place.
//!
//! In a server policies are written down, and a thread of their own fetches them anew long before they end
//! ([`watch`]). A command looks at the same files and changes nothing.
//!
//! Decides nothing about hosts: what follows from a policy is [`crate::route::next_hop`]'s business.

mod fetch;
mod watch;

pub use fetch::{fetch, place};

use crate::event::warn;
use crate::limits::policies::{STS_DOMAIN_MAX, STS_DOMAINS_MAX, STS_FETCH_WAIT, STS_REST};
use crate::mail::address::Domain;
use crate::mail::mta_sts::{StsId, StsMode, StsPolicy};
use crate::net::dns::{Record, RecordKind, Records, Resolver};
use crate::smtp::tls_failure::TlsTrouble;
use crate::store::disk::Disk;
use crate::store::locked;
use crate::store::policies::{KnownPolicy, PolicyStore};
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a domain demands at this moment, and how that was found out.
#[derive(Clone, Debug, Default)]
pub struct StsFound {
    /// The policy that holds; none where the domain has none, or none that could be had.
    pub policy: Option<Arc<KnownPolicy>>,
    /// Why the policy of the record could not be had, for logs and reports (RFC 8460 §4.3.2.2); an older one may
    /// hold still.
    pub fault: Option<TlsTrouble>,
    /// What was found, in words for people; none where the domain says nothing of MTA-STS.
    pub told: Option<String>,
}

/// Fetches the policy of a domain, within its time.
type Fetch = dyn Fn(&Domain, &Arc<dyn Resolver>) -> Result<StsPolicy, TlsTrouble> + Send + Sync;

/// The policies of all domains that mail goes to.
pub struct MtaSts {
    store: PolicyStore,
    fetch: Box<Fetch>,
    domains: Mutex<HashMap<Domain, DomainSts>>,
    /// Told each time a thread has ended its fetching.
    fetched: Condvar,
    /// The thread that fetches anew; none in a command, and until there is a policy.
    watch: Mutex<watch::StsWatch>,
}

/// What is known of one domain.
#[derive(Debug, Default)]
struct DomainSts {
    /// Perhaps one that does not hold any more.
    known: Option<Arc<KnownPolicy>>,
    /// The last fetch, where it failed.
    rest: Option<StsRest>,
    /// When mail was last on its way there.
    used: Option<Timestamp>,
    is_fetching: bool,
}

/// A fetch that failed.
#[derive(Clone, Debug)]
struct StsRest {
    id: StsId,
    until: Timestamp,
    fault: TlsTrouble,
}

/// What the record of a domain says.
enum StsRecord {
    Id(StsId),
    /// There is none.
    Absent,
    /// There is none that counts, and why.
    Bad(String),
}

/// What a thread does next about a domain.
enum StsTurn {
    /// It takes what is known.
    Known(StsFound),
    /// It fetches the policy, and nobody else does meanwhile.
    Fetch,
}

impl MtaSts {
    /// Reads nothing yet.
    pub fn new(disk: Arc<dyn Disk>, spool: &Path) -> MtaSts {
        MtaSts::fetching(disk, spool, Box::new(fetch::fetch))
    }

    /// The same with another way to fetch.
    fn fetching(disk: Arc<dyn Disk>, spool: &Path, fetch: Box<Fetch>) -> MtaSts {
        MtaSts {
            store: PolicyStore::new(disk, spool),
            fetch,
            domains: Mutex::default(),
            fetched: Condvar::new(),
            watch: Mutex::default(),
        }
    }

    /// The policy for mail to a domain. Asks DNS for the record, and may take as long as a fetch
    /// ([`crate::limits::policies::STS_FETCH_TIME`]).
    pub fn find(self: &Arc<MtaSts>, domain: &Domain, resolver: &Arc<dyn Resolver>) -> StsFound {
        // DNS has no name that is longer by the label of the record.
        if domain.as_str().len() > STS_DOMAIN_MAX {
            return StsFound::default();
        }
        let record = record(domain, &**resolver);
        let found = self.with(domain, &record, resolver, Timestamp::now());
        if let Some(policy) = &found.policy {
            self.watch(domain, resolver, policy);
        }
        found
    }

    /// Whether a policy is known from before, and holds. Asks nobody.
    pub fn knows(&self, domain: &Domain) -> bool {
        self.held(domain, Timestamp::now()).is_some()
    }

    /// The policy that holds while the record says this.
    fn with(
        &self,
        domain: &Domain,
        record: &StsRecord,
        resolver: &Arc<dyn Resolver>,
        now: Timestamp,
    ) -> StsFound {
        let id = match record {
            StsRecord::Id(id) => id,
            StsRecord::Absent => return self.without(domain, None, now),
            StsRecord::Bad(why) => return self.without(domain, Some(why), now),
        };
        match self.turn(domain, id, self.load(domain), now) {
            StsTurn::Known(found) => found,
            StsTurn::Fetch => {
                let fetched = self.fetch(domain, id, resolver, now, now);
                match fetched {
                    Ok(policy) => StsFound::of(domain, Some(policy), None, now),
                    Err(fault) => StsFound::of(domain, self.held(domain, now), Some(fault), now),
                }
            }
        }
    }

    /// What holds where DNS shows no record, or one that does not count: the policy of before, until it ends (RFC
    /// 8461 §5.1).
    fn without(&self, domain: &Domain, bad: Option<&str>, now: Timestamp) -> StsFound {
        let found = StsFound::of(domain, self.held(domain, now), None, now);
        let gone = || found.policy.is_some().then_some("DNS shows no record any more");
        let why = bad.or_else(gone);
        let told = match (&found.told, why) {
            (Some(told), Some(why)) => Some(format!("{told}; {why}")),
            (None, Some(why)) => Some(format!("no MTA-STS policy of {domain}: {why}")),
            (told, None) => told.clone(),
        };
        StsFound { told, ..found }
    }

    /// Waits for the turn of this thread at a domain whose record names this policy. `known`: what was known a moment
    /// ago, and may have been forgotten since to make room.
    fn turn(
        &self,
        domain: &Domain,
        id: &StsId,
        known: Option<Arc<KnownPolicy>>,
        now: Timestamp,
    ) -> StsTurn {
        let latest = Instant::now() + STS_FETCH_WAIT;
        let mut domains = locked(&self.domains);
        loop {
            make_room(&mut domains);
            let own = domains.entry(domain.clone()).or_default();
            own.known = own.known.take().or_else(|| known.clone());
            own.used = own.used.max(Some(now));
            let held = own.known.clone().filter(|known| known.holds(now));
            let rest = own.rest.clone().filter(|rest| rest.is_on(id, now));
            let is_current = held.as_ref().is_some_and(|known| known.id == *id);
            let is_late = Instant::now() >= latest;
            if is_current || rest.is_some() || own.is_fetching && (held.is_some() || is_late) {
                let fault = rest.map(|rest| rest.fault);
                return StsTurn::Known(StsFound::of(domain, held, fault, now));
            }
            if !own.is_fetching {
                own.is_fetching = true;
                return StsTurn::Fetch;
            }
            let left = latest.saturating_duration_since(Instant::now());
            let waited = self.fetched.wait_timeout(domains, left);
            domains = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Fetches a policy in the turn of this thread, writes it down, and ends the turn. No lock is held
    /// meanwhile. `used`: when mail was last on its way to the domain.
    fn fetch(
        &self,
        domain: &Domain,
        id: &StsId,
        resolver: &Arc<dyn Resolver>,
        used: Timestamp,
        now: Timestamp,
    ) -> Result<Arc<KnownPolicy>, TlsTrouble> {
        let mut turn = FetchTurn { sts: self, domain, end: None };
        let began = Instant::now();
        let fetched = (self.fetch)(domain, resolver);
        let now = now.saturating_add(began.elapsed()).unwrap_or(Timestamp::MAX);
        let done = fetched
            .map(|policy| Arc::new(KnownPolicy { policy, id: id.clone(), fetched: now, used }));
        match &done {
            Ok(known) => self.keep(domain, known),
            Err(fault) => self.tell(domain, fault, now),
        }
        turn.end = Some(match &done {
            Ok(known) => Ok(known.clone()),
            Err(fault) => {
                let until = now.saturating_add(STS_REST).unwrap_or(Timestamp::MAX);
                Err(StsRest { id: id.clone(), until, fault: fault.clone() })
            }
        });
        done
    }

    /// Writes a policy down in a server; it holds without a file as well, until a restart.
    fn keep(&self, domain: &Domain, known: &KnownPolicy) {
        if !locked(&self.watch).is_server() {
            return;
        }
        if let Err(error) = self.store.write(domain, known) {
            warn(&format!(
                "the MTA-STS policy of {domain} is forgotten at the next start: {error}"
            ));
        }
    }

    /// Tells the administrator of a server that a policy cannot be had (RFC 8461 §3.3).
    fn tell(&self, domain: &Domain, fault: &TlsTrouble, now: Timestamp) {
        if !locked(&self.watch).is_server() {
            return;
        }
        let what = &fault.words;
        match self.held(domain, now) {
            None => warn(&format!(
                "{domain} has an MTA-STS policy that cannot be had, and mail goes there without it: {what}"
            )),
            Some(old) if old.policy.mode != StsMode::None => warn(&format!(
                "the MTA-STS policy of {domain} cannot be fetched anew, the old one holds until {:.0}: {what}",
                old.until()
            )),
            Some(_) => {}
        }
    }

    /// The policy that holds now.
    fn held(&self, domain: &Domain, now: Timestamp) -> Option<Arc<KnownPolicy>> {
        self.load(domain).filter(|known| known.holds(now))
    }

    /// What memory knows of a domain, else what its file says, which memory then knows too.
    fn load(&self, domain: &Domain) -> Option<Arc<KnownPolicy>> {
        let known = locked(&self.domains).get(domain).and_then(|own| own.known.clone());
        if known.is_some() {
            return known;
        }
        let read = Arc::new(self.store.read(domain)?);
        let mut domains = locked(&self.domains);
        make_room(&mut domains);
        let own = domains.entry(domain.clone()).or_default();
        Some(own.known.get_or_insert(read).clone())
    }
}

/// The right to fetch the policy of a domain. Dropping it lets others go on, after a panic too.
struct FetchTurn<'a> {
    sts: &'a MtaSts,
    domain: &'a Domain,
    end: Option<Result<Arc<KnownPolicy>, StsRest>>,
}

impl Drop for FetchTurn<'_> {
    fn drop(&mut self) {
        let mut domains = locked(&self.sts.domains);
        let own = domains.entry(self.domain.clone()).or_default();
        own.is_fetching = false;
        match self.end.take() {
            Some(Ok(known)) => (own.known, own.rest) = (Some(known), None),
            Some(Err(rest)) => own.rest = Some(rest),
            None => {}
        }
        self.sts.fetched.notify_all();
    }
}

impl StsRest {
    /// Whether this policy is not to be asked for yet. One that is said to rest longer than it may was noted by
    /// a clock that has been put back since; a thread that has waited for the fetch began a little earlier.
    fn is_on(&self, id: &StsId, now: Timestamp) -> bool {
        let left = self.until.duration_since(now);
        self.id == *id && left.is_positive() && left <= signed(STS_REST + STS_FETCH_WAIT)
    }
}

impl StsFound {
    fn of(
        domain: &Domain,
        policy: Option<Arc<KnownPolicy>>,
        fault: Option<TlsTrouble>,
        now: Timestamp,
    ) -> StsFound {
        let held = policy.as_ref().map(|known| {
            let age = now.duration_since(known.fetched).max(SignedDuration::ZERO);
            let age = SignedDuration::from_secs(age.as_secs());
            format!(
                "the MTA-STS policy of {domain}: {}, id {}, fetched {age:#} ago, holds until {:.0}",
                known.policy.mode,
                known.id,
                known.until()
            )
        });
        let told = match (held, &fault) {
            (held, None) => held,
            (Some(held), Some(fault)) => Some(format!("{held}; a new one cannot be had: {fault}")),
            (None, Some(fault)) => Some(format!("no MTA-STS policy of {domain}: {fault}")),
        };
        StsFound { policy, fault, told }
    }
}

impl fmt::Debug for MtaSts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MtaSts").field(&self.store).finish()
    }
}

/// What DNS says at `_mta-sts` below a domain (RFC 8461 §3.1).
fn record(domain: &Domain, resolver: &dyn Resolver) -> StsRecord {
    let name = format!("_mta-sts.{domain}");
    match resolver.lookup(name.as_bytes(), RecordKind::Txt) {
        Ok(answer) => match answer.records {
            Records::Found(records) => {
                match StsId::in_records(records.iter().filter_map(Record::text)) {
                    Ok(Some(id)) => StsRecord::Id(id),
                    Ok(None) => StsRecord::Absent,
                    Err(bad) => StsRecord::Bad(format!("the record {name} does not count: {bad}")),
                }
            }
            Records::Absent | Records::NoName | Records::Unsure(_) => StsRecord::Absent,
        },
        Err(error) => StsRecord::Bad(error.to_string()),
    }
}

/// Forgets what stands in files as well, where too many domains are known.
fn make_room(domains: &mut HashMap<Domain, DomainSts>) {
    if domains.len() > STS_DOMAINS_MAX {
        domains.retain(|_, own| own.is_fetching);
    }
}

fn signed(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests;
