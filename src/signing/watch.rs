//! The thread that watches over keys in a server: it reads a directory again that has changed, asks DNS when a key
//! appears, at a reload and every hour, and lets the rotation go on. It exists only while a domain signs.

use super::{DomainKeys, Signing, now, words};
use crate::config::Config;
use crate::event::warn;
use crate::limits::keys::{KEYS_ASK, KEYS_ASK_AGAIN, KEYS_FIRST, KEYS_LOOK, KEYS_LOOK_SESSION};
use crate::mail::address::Domain;
use crate::net::dns::Resolver;
use crate::net::pool::spawn_vital;
use crate::store::keys::shown;
use crate::store::locked;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use jiff::Timestamp;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

/// The other end of the thread.
#[derive(Debug)]
pub(super) struct Watcher {
    calls: Sender<()>,
    /// DNS, as the current site asks it.
    resolver: Arc<dyn Resolver>,
    /// Counts reloads: after each DNS is asked for all keys.
    reloads: u64,
    /// When a session last called.
    called: Instant,
}

/// What the thread knows of one domain.
struct Watched {
    keys: Arc<DomainKeys>,
    /// When DNS is asked next.
    ask: Instant,
    /// When what is still wrong is told next.
    tell: Instant,
    /// What was found out last could not be written down: it is not tried again before `ask`.
    has_failed: bool,
}

impl Watched {
    /// How long until a key takes over.
    fn until_next(&self) -> Option<Duration> {
        until_next(&self.keys).filter(|_| !self.has_failed)
    }
}

impl Signing {
    /// Begins to watch in a server. Where nothing is remembered of a domain, waits a moment for DNS, so that its first
    /// message can be signed. Fails when the system grants no thread.
    pub fn start(self: &Arc<Signing>, resolver: Arc<dyn Resolver>) -> io::Result<()> {
        if !self.is_off() {
            shown::clean(&self.spool, SystemTime::now());
        }
        let first = self.watch(resolver)?;
        let is_new = |domain: &Domain| {
            self.keys(domain).is_some_and(|keys| {
                !keys.dir.keys.is_empty() && keys.rotation.shown == Default::default()
            }) && !self.is_remembered(domain)
        };
        if let Some(first) = first.filter(|_| self.domains().iter().any(is_new)) {
            // It ends early when the thread has asked, which sends nothing.
            let _ = first.recv_timeout(KEYS_FIRST);
        }
        Ok(())
    }

    /// Takes on the domains of a new configuration. Keys of new ones are read here; those that stay keep theirs.
    pub fn follow(&self, config: &Config) {
        let domains = config.signing();
        {
            let mut setup = self.setup.write().unwrap_or_else(PoisonError::into_inner);
            setup.held.retain(|_, keys| domains.contains(&keys.domain));
            (setup.domains, setup.expire) = (domains, config.relay.expire);
        }
        self.domains().iter().for_each(|domain| drop(self.keys(domain)));
    }

    /// After a reload: asks this resolver from now on, and soon for all keys.
    pub fn ask_again(self: &Arc<Signing>, resolver: Arc<dyn Resolver>) {
        if let Err(error) = self.watch(resolver) {
            warn(&format!("no thread to watch over DKIM keys: {error}"));
        }
    }

    /// Lets the thread look at the directories soon, because a session begins. Costs next to nothing.
    pub fn look(&self) {
        if let Some(watcher) = &mut *locked(&self.watch)
            && watcher.called.elapsed() >= KEYS_LOOK_SESSION
        {
            watcher.called = Instant::now();
            // It is on its way already.
            let _ = watcher.calls.try_send(());
        }
    }

    fn is_remembered(&self, domain: &Domain) -> bool {
        shown::is_there(&self.spool, domain)
    }

    /// Makes sure that a thread runs while a domain signs, and that it asks. Of a new thread gives what hears when it
    /// has asked for the first time.
    fn watch(self: &Arc<Signing>, resolver: Arc<dyn Resolver>) -> io::Result<Option<Receiver<()>>> {
        let mut watch = locked(&self.watch);
        if self.is_off() {
            // Without a sender the thread ends.
            *watch = None;
            return Ok(None);
        }
        if let Some(watcher) = &mut *watch {
            (watcher.resolver, watcher.reloads) = (resolver, watcher.reloads + 1);
            let _ = watcher.calls.try_send(());
            return Ok(None);
        }
        let (calls, called) = bounded(1);
        let (asked, first) = bounded(1);
        let weak = Arc::downgrade(self);
        spawn_vital("keys", None, move || run(&weak, &called, asked))?;
        *watch = Some(Watcher { calls, resolver, reloads: 0, called: Instant::now() });
        Ok(Some(first))
    }
}

/// Watches until no domain signs any more, or the server is gone.
fn run(signing: &Weak<Signing>, calls: &Receiver<()>, asked: Sender<()>) {
    let (mut watched, mut asked, mut reloads) = (HashMap::new(), Some(asked), 0);
    loop {
        let Some(signing) = signing.upgrade() else { return };
        let now = locked(&signing.watch).as_ref().map(|own| (own.resolver.clone(), own.reloads));
        let Some((resolver, count)) = now else { return };
        let is_reload = std::mem::replace(&mut reloads, count) != count;
        let wait = round(&signing, &mut watched, &*resolver, is_reload);
        // Whoever waits hears that the sender is gone.
        drop(asked.take());
        drop((signing, resolver));
        if calls.recv_timeout(wait) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

/// Looks at all domains once; gives how long nothing is due.
fn round(
    signing: &Signing,
    watched: &mut HashMap<Domain, Watched>,
    resolver: &dyn Resolver,
    is_reload: bool,
) -> Duration {
    let domains = signing.domains();
    watched.retain(|domain, _| domains.contains(domain));
    let mut wait = KEYS_LOOK;
    for domain in domains {
        let before = watched.remove(&domain);
        let Some(own) = step(signing, &domain, before, resolver, is_reload) else { continue };
        let now = Instant::now();
        let due = [Some(own.ask.saturating_duration_since(now)), own.until_next()];
        wait = due.into_iter().flatten().chain([wait]).min().unwrap_or(wait);
        watched.insert(domain, own);
    }
    // Never at once: what fails again and again must not fill the log.
    wait.max(KEYS_LOOK_SESSION)
}

/// Looks at one domain, and asks DNS where that is due.
fn step(
    signing: &Signing,
    domain: &Domain,
    before: Option<Watched>,
    resolver: &dyn Resolver,
    is_reload: bool,
) -> Option<Watched> {
    let keys = signing.look_at(domain)?;
    let now = Instant::now();
    let is_first = before.is_none();
    // An attempt may have read them again before.
    let is_changed = before.as_ref().is_some_and(|before| {
        // What is remembered has to be written again, or asked for.
        let is_broken = keys.fault.is_some() && before.keys.fault.is_none();
        before.keys.present != keys.present || is_broken
    });
    let mut ask = before.as_ref().map_or(now, |before| before.ask);
    let mut tell = before.as_ref().map_or(now, |before| before.tell);
    let mut has_failed = before.as_ref().is_some_and(|before| before.has_failed);
    let takes_over = !has_failed && until_next(&keys) == Some(Duration::ZERO);
    if is_first || is_changed || is_reload || takes_over || ask <= now {
        ask = now + KEYS_ASK;
        let asked = signing.ask(domain, resolver);
        has_failed = asked.is_err();
        match asked {
            Ok(unanswered) if unanswered.is_empty() => {}
            Ok(unanswered) => {
                let (place, error) = (&keys.domain.place, &unanswered[0]);
                warn(&format!("{place}: DNS does not say whether it shows the keys: {error}"));
                ask = now + KEYS_ASK_AGAIN;
            }
            Err(error) => {
                warn(&format!(
                    "{}: what DNS shows cannot be remembered: {error}",
                    keys.domain.place
                ));
                ask = now + KEYS_ASK_AGAIN;
            }
        }
    }
    let keys = signing.keys(domain)?;
    let all = is_reload || tell <= now;
    if all {
        tell = now + KEYS_ASK;
    }
    let old = before.as_ref().map(|before| &*before.keys);
    words::say(&keys, &words::words(old, &keys, all));
    Some(Watched { keys, ask, tell, has_failed })
}

/// How long until a key takes over.
fn until_next(keys: &DomainKeys) -> Option<Duration> {
    let until = keys.rotation.next?.duration_since(Timestamp::now());
    Some(Duration::try_from(until).unwrap_or_default())
}

impl Signing {
    /// Reads the keys of a domain again where they have changed: for mail that waits for them, whose attempt may have
    /// been asked for by whoever has mended them.
    pub fn read_again(&self, domain: &Domain) {
        self.look_at(domain);
    }

    /// The keys of a domain, read again where the directory or the file that remembers has changed.
    fn look_at(&self, domain: &Domain) -> Option<Arc<DomainKeys>> {
        let old = self.keys(domain)?;
        if self.stamp(&old.domain) == old.stamp && !old.dir.is_passing {
            return Some(old);
        }
        let new = self.read(old.domain.clone());
        // What was read before is better than nothing.
        if new.dir.is_passing {
            return Some(old);
        }
        let is_forgotten = new.stored.keys.is_empty() && !old.stored.keys.is_empty();
        Some(self.hold(if is_forgotten { self.recalled(new, &old) } else { new }))
    }

    /// Keys with what was known of them before the file that remembers was broken, or removed: a domain of which DNS
    /// has shown a key never leaves mail unsigned.
    fn recalled(&self, new: DomainKeys, old: &DomainKeys) -> DomainKeys {
        let DomainKeys { stamp, dir, fault, .. } = new;
        let path = shown::path(&self.spool, &old.domain.name);
        let gone = || format!("{}: it is gone, and is written again", path.display());
        let fault = Some(fault.unwrap_or_else(gone));
        let (domain, stored) = (old.domain.clone(), old.stored.clone());
        let known = DomainKeys::new(domain, dir, stored, now(), self.setup().expire);
        DomainKeys { stamp, fault, ..known }
    }
}
