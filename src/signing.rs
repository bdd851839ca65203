//! Who signs with what: for each domain that has `dkim` its keys, what DNS has shown of them, and what follows.
//! Shared by all threads, and kept over reloads.
//!
//! A domain's keys are read when they are first asked for, as the user that this process is then. In a server a thread
//! of its own reads them again and asks DNS ([`watch`]); a session never does, and an attempt reads only those without
//! which its message waits. A command
//! uses the same room without that thread. What was shown is written down before it has an effect, so a restart
//! never goes back to unsigned mail.

pub mod rotation;
pub mod waiting;
mod watch;
mod words;

use crate::config::{Config, SigningDomain};
use crate::limits::keys::KEY_NAME_RECORDS_MAX;
use crate::mail::address::Domain;
use crate::mail::proof::name::Name;
use crate::net::dns::{DnsError, Record, RecordKind, Records, Resolver};
use crate::privileges;
use crate::store::keys::shown::{self, ShownKeys};
use crate::store::keys::{DomainKey, KeyDir, KeyDirStamp};
use crate::store::locked;
use jiff::Timestamp;
use rotation::{KeyPlace, Outlook, PresentKey, PresentKeys, Rotation, Sight, note, rotate};
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

/// What a domain does with a message of ours.
#[derive(Clone, Debug)]
pub enum Choice {
    /// It is signed with all of these, one of each type.
    Sign(Vec<Arc<DomainKey>>),
    /// No key was ever shown by DNS: it leaves unsigned.
    Unsigned(WhyUnsigned),
    /// The key that has to sign cannot be used: mail waits. In words, without the domain.
    Wait(String),
}

/// Why mail of a domain that has `dkim` leaves unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyUnsigned {
    /// The directory holds no key that can be used.
    NoKey,
    /// DNS has shown none of the keys yet.
    NeverShown,
}

impl fmt::Display for WhyUnsigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WhyUnsigned::NoKey => "there is no key",
            WhyUnsigned::NeverShown => "DNS has not shown a key yet",
        })
    }
}

/// One key of a domain: its place in the rotation, and what DNS has to show.
#[derive(Clone, Debug)]
pub struct KeyStanding {
    pub place: KeyPlace,
    /// Where the record is: `SELECTOR._domainkey.DOMAIN`.
    pub name: Name,
    /// The record; none where the key cannot be read.
    pub record: Option<String>,
}

/// The keys of all domains that sign.
#[derive(Debug)]
pub struct Signing {
    spool: PathBuf,
    setup: RwLock<SigningSetup>,
    /// The thread that watches over the keys; none in a command.
    watch: Mutex<Option<watch::Watcher>>,
}

/// The configuration, and what was read by it.
#[derive(Debug, Default)]
struct SigningSetup {
    domains: Vec<SigningDomain>,
    expire: Duration,
    held: HashMap<Domain, Arc<DomainKeys>>,
}

/// The keys of one domain as they were read last.
#[derive(Debug)]
struct DomainKeys {
    domain: SigningDomain,
    stamp: KeyDirStamp,
    dir: KeyDir,
    present: PresentKeys,
    /// What is wrong with the file that remembers.
    fault: Option<String>,
    /// What is remembered on disk; the rotation may be ahead of it.
    stored: ShownKeys,
    rotation: Rotation,
    choice: Choice,
}

impl Signing {
    /// Reads nothing yet.
    pub fn new(config: &Config) -> Signing {
        let (domains, expire) = (config.signing(), config.relay.expire);
        let setup = SigningSetup { domains, expire, held: HashMap::new() };
        let (spool, watch) = (config.spool.clone(), Mutex::default());
        Signing { spool, setup: RwLock::new(setup), watch }
    }

    /// Whether no domain signs.
    pub fn is_off(&self) -> bool {
        self.setup().domains.is_empty()
    }

    /// All domains that sign, in the order of the configuration.
    pub fn domains(&self) -> Vec<Domain> {
        self.setup().domains.iter().map(|domain| domain.name.clone()).collect()
    }

    /// Who signs for a From domain, which is the `d=` of the signature, and with what: the domain itself, else the
    /// nearest one above it that has keys. None where no domain is responsible.
    pub fn of(&self, from: &Domain) -> Option<(Domain, Choice)> {
        if self.is_off() {
            return None;
        }
        let mut name = Some(from.as_str());
        while let Some(text) = name {
            let domain = Domain::parse(text).ok()?;
            if let Some(keys) = self.keys(&domain) {
                return Some((domain, keys.choice.clone()));
            }
            name = text.split_once('.').map(|(_, above)| above);
        }
        None
    }

    /// All keys of a domain, by type, then by selector; none where it does not sign.
    pub fn standings(&self, domain: &Domain) -> Vec<KeyStanding> {
        let Some(keys) = self.keys(domain) else { return Vec::new() };
        let places = keys.rotation.places.iter();
        places.filter_map(|place| keys.standing(place)).collect()
    }

    /// What is wrong with a domain's keys and with the file that remembers them, each in words that begin with their
    /// place in the configuration or their file.
    pub fn faults(&self, domain: &Domain) -> Vec<String> {
        self.keys(domain).map(|keys| keys.faults()).unwrap_or_default()
    }

    /// What is not as it should be though all files can be used: keys that DNS does not show, mail that leaves unsigned
    /// or waits. In words like those of [`Signing::faults`].
    pub fn doubts(&self, domain: &Domain) -> Vec<String> {
        let Some(keys) = self.keys(domain) else { return Vec::new() };
        let places = keys.rotation.places.iter().filter(|place| place.is_unpublished);
        let unpublished = places.map(|place| words::unpublished(&keys, place));
        let twice = words::shared_names(&keys);
        unpublished.chain(twice).chain(words::outlook(&keys)).collect()
    }

    /// How many keys of each domain DNS should show and does not.
    pub fn unpublished(&self) -> Vec<(Domain, usize)> {
        let count = |domain: Domain| {
            let keys = self.keys(&domain)?;
            let places = keys.rotation.places.iter();
            Some((domain, places.filter(|place| place.is_unpublished).count()))
        };
        self.domains().into_iter().filter_map(count).collect()
    }

    /// Asks DNS for the keys of a domain, remembers what it shows, and lets the rotation go on. Gives the questions
    /// without an answer. Fails where it could not be written down: then nothing has changed. A command of root writes
    /// as the owner of the spool, and one without a spool only for itself.
    pub fn ask(&self, domain: &Domain, dns: &dyn Resolver) -> Result<Vec<DnsError>, String> {
        let Some(keys) = self.keys(domain) else { return Ok(Vec::new()) };
        let mut unanswered = Vec::new();
        let sights = keys.present.keys.iter().map(|key| {
            let own = keys.dir.keys.iter().find(|own| key.digest.as_ref() == Some(&own.digest));
            let Some(own) = own else { return Sight::Unknown };
            sight(own, domain, dns).unwrap_or_else(|error| {
                unanswered.push(error);
                Sight::Unknown
            })
        });
        let sights: Vec<Sight> = sights.collect();
        self.settle(&keys, &sights, now())?;
        Ok(unanswered)
    }

    /// Lets the rotation go on by what DNS says, and writes down what is new.
    fn settle(&self, keys: &DomainKeys, sights: &[Sight], now: Timestamp) -> Result<(), String> {
        let (domain, present) = (&keys.domain.name, &keys.present);
        let expire = self.setup().expire;
        let next = |known: ShownKeys| {
            rotate(present, note(known, present, sights, now), now, expire).shown
        };
        let is_sure = sights.iter().any(|sight| *sight != Sight::Unknown);
        // The file was broken or removed, and what it said is known still.
        let is_forgotten = keys.fault.is_some() && !keys.stored.keys.is_empty();
        if !is_sure && !is_forgotten && next(keys.stored.clone()) == keys.stored {
            return Ok(());
        }
        let next = |known: ShownKeys| match is_forgotten && known.keys.is_empty() {
            true => next(keys.stored.clone()),
            false => next(known),
        };
        let is_server = locked(&self.watch).is_some();
        let stored = match is_server || self.spool.is_dir() {
            true => {
                // The ids of a server are those of all its threads, and stay.
                let owner = if is_server { None } else { privileges::owner_of(&self.spool)? };
                let change = || shown::change(&self.spool, domain, next);
                privileges::as_user(owner.as_ref(), change)?.map_err(|error| error.to_string())?
            }
            false => next(keys.stored.clone()),
        };
        let (own, dir) = (keys.domain.clone(), keys.dir.clone());
        let new = DomainKeys::new(own, dir, stored, now, expire);
        // The directory may have changed meanwhile: only what was written just now is known.
        let stamp = keys.stamp.with_beside(&shown::path(&self.spool, domain));
        // So may the file, by another process: then it is read at the next look.
        let is_known = shown::read(&self.spool, domain).0 == new.stored;
        let stamp = if is_known { stamp } else { KeyDirStamp::default() };
        self.hold(DomainKeys { stamp, ..new });
        Ok(())
    }

    fn setup(&self) -> std::sync::RwLockReadGuard<'_, SigningSetup> {
        self.setup.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys of a domain, read if they were not yet.
    fn keys(&self, domain: &Domain) -> Option<Arc<DomainKeys>> {
        let own = {
            let setup = self.setup();
            if let Some(keys) = setup.held.get(domain) {
                return Some(keys.clone());
            }
            setup.domains.iter().find(|own| own.name == *domain)?.clone()
        };
        Some(self.hold(self.read(own)))
    }

    /// Reads a domain's keys anew. No lock is held meanwhile.
    fn read(&self, domain: SigningDomain) -> DomainKeys {
        // Before they are read: what changes meanwhile is read once more.
        let stamp = self.stamp(&domain);
        let dir = KeyDir::read(&domain.dir);
        let (stored, fault) = shown::read(&self.spool, &domain.name);
        let expire = self.setup().expire;
        DomainKeys { stamp, fault, ..DomainKeys::new(domain, dir, stored, now(), expire) }
    }

    fn stamp(&self, domain: &SigningDomain) -> KeyDirStamp {
        KeyDirStamp::of(&domain.dir, &shown::path(&self.spool, &domain.name))
    }

    /// Keeps keys for all threads, unless a reload has taken them out of the configuration.
    fn hold(&self, keys: DomainKeys) -> Arc<DomainKeys> {
        let keys = Arc::new(keys);
        let mut setup = self.setup.write().unwrap_or_else(PoisonError::into_inner);
        if setup.domains.contains(&keys.domain) {
            setup.held.insert(keys.domain.name.clone(), keys.clone());
        }
        keys
    }
}

impl DomainKeys {
    fn new(
        domain: SigningDomain,
        dir: KeyDir,
        stored: ShownKeys,
        now: Timestamp,
        expire: Duration,
    ) -> DomainKeys {
        let present = present(&dir);
        let rotation = rotate(&present, stored.clone(), now, expire);
        let choice = match &rotation.outlook {
            Outlook::Sign(places) => {
                let digest = |at: &usize| present.keys[*at].digest.as_ref();
                let key = |at| dir.keys.iter().find(|own| digest(at) == Some(&own.digest)).cloned();
                Choice::Sign(places.iter().filter_map(key).collect())
            }
            Outlook::Unsigned if dir.keys.is_empty() => Choice::Unsigned(WhyUnsigned::NoKey),
            Outlook::Unsigned => Choice::Unsigned(WhyUnsigned::NeverShown),
            Outlook::Wait(why) => Choice::Wait(why.clone()),
        };
        let (stamp, fault) = (KeyDirStamp::default(), None);
        DomainKeys { domain, stamp, dir, present, fault, stored, rotation, choice }
    }

    fn standing(&self, place: &KeyPlace) -> Option<KeyStanding> {
        let is_own = |own: &&Arc<DomainKey>| {
            own.selector == place.selector && own.kind == place.kind && place.is_usable
        };
        let record = self.dir.keys.iter().find(is_own).map(|own| own.record.clone());
        let name = name_of(&place.selector, &self.domain.name)?;
        Some(KeyStanding { place: place.clone(), name, record })
    }

    fn faults(&self) -> Vec<String> {
        let at = |what: &str| format!("{}: {what}", self.domain.place);
        let dir = self.dir.error.iter().map(|what| at(what));
        let files = self.dir.bad.iter().map(|bad| at(&bad.to_string()));
        dir.chain(files).chain(self.fault.clone()).collect()
    }
}

/// The keys of a directory as the rotation sees them.
fn present(dir: &KeyDir) -> PresentKeys {
    let good = dir.keys.iter().map(|own| PresentKey {
        selector: own.selector.clone(),
        kind: own.kind,
        digest: Some(own.digest.clone()),
    });
    let bad = dir.bad.iter().filter_map(|bad| bad.name.clone());
    let bad = bad.map(|(selector, kind)| PresentKey { selector, kind, digest: None });
    PresentKeys { keys: good.chain(bad).collect(), is_hidden: dir.error.is_some() }
}

/// Where the record of a key is; none where DNS cannot have such a name.
pub fn name_of(selector: &Name, domain: &Domain) -> Option<Name> {
    Name::parse(domain.as_str().as_bytes())?.below(format!("{selector}._domainkey").as_bytes())
}

/// Whether DNS shows a key: one of the records at its name is that of this key, however it is written.
fn sight(key: &DomainKey, domain: &Domain, dns: &dyn Resolver) -> Result<Sight, DnsError> {
    let Some(name) = name_of(&key.selector, domain) else { return Ok(Sight::Hidden) };
    let is_key = |record: &Record| match record {
        Record::Txt(text) => key.key.is_shown_by(text),
        _ => false,
    };
    match dns.lookup_anew(name.as_bytes(), RecordKind::Txt)?.records {
        Records::Found(records) => {
            let is_shown = records.iter().take(KEY_NAME_RECORDS_MAX).any(is_key);
            Ok(if is_shown { Sight::Shown } else { Sight::Hidden })
        }
        Records::Absent | Records::NoName => Ok(Sight::Hidden),
        Records::Unsure(error) => Err(error),
    }
}

/// Now, in whole seconds, as it is written down.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

#[cfg(test)]
mod tests;
