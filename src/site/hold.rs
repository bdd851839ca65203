//! A new certificate waits while DNS shows that only the old one is ours: hosts that heed TLSA records (RFC
//! 7672) would bring no mail to a certificate that fits none of them (RFC 7671 §8.1).
//!
//! Asks DNS, so never in the thread of a session. What DNS does not say securely holds nothing back; where it
//! does not answer, the old certificate stays until it does, or until its own end is near.

use super::{Current, Site};
use crate::event::{Event, tell, warn};
use crate::limits::records::{TLSA_HOLD_LEAST, TLSA_LOOK, TLSA_WAIT};
use crate::net::dns::{RecordKind, Records};
use crate::net::tls::Chain;
use crate::store::locked;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Instant, SystemTime};

/// What is remembered of a new pair that waits.
#[derive(Debug, Default)]
pub struct CertificateHold(Mutex<HoldState>);

#[derive(Debug, Default)]
struct HoldState {
    /// A thread asks at this moment.
    is_asking: bool,
    /// When DNS was asked last.
    asked: Option<Instant>,
    /// What the log was told, so that it is told once.
    told: String,
}

/// The right to ask, until it is dropped.
struct TurnToAsk(Arc<Current>);

impl Drop for TurnToAsk {
    fn drop(&mut self) {
        locked(&self.0.hold.0).is_asking = false;
    }
}

impl CertificateHold {
    /// True for one caller in [`TLSA_LOOK`] while nobody asks.
    fn take_turn(&self, now: Instant) -> bool {
        let mut state = locked(&self.0);
        let is_late = |asked| now.saturating_duration_since(asked) >= TLSA_LOOK;
        let is_time = !state.is_asking && state.asked.is_none_or(is_late);
        if is_time {
            (state.is_asking, state.asked) = (true, Some(now));
        }
        is_time
    }

    /// Tells the log why a pair waits, once.
    fn tell(&self, why: &str) {
        let mut state = locked(&self.0);
        let is_news = state.told != why;
        if is_news {
            why.clone_into(&mut state.told);
        }
        drop(state);
        if is_news {
            warn(why);
        }
    }
}

/// Whether DNS has to be asked before the certificate of `new` takes the place of that of `old`.
pub fn is_in_question(old: &Site, new: &Site, now: SystemTime) -> bool {
    let (Some(before), Some(after)) = (old.acceptor(), new.acceptor()) else { return false };
    let is_long = |until: SystemTime| until >= now + TLSA_HOLD_LEAST;
    new.config.dns.trust_ad
        && before.shown() != after.shown()
        && before.expires().is_some_and(is_long)
}

/// Why the certificate of `old` has to stay, by what DNS says now; none where that of `new` may be shown.
pub fn reason_to_stay(old: &Site, new: &Site) -> Option<String> {
    let (before, after) = (old.acceptor()?.shown(), new.acceptor()?.shown());
    let name = format!("_25._tcp.{}", new.config.hostname);
    // A reload that leaves [dns] as it is keeps the resolver of the old site.
    let resolver = if old.config.dns == new.config.dns { old.resolver() } else { new.resolver() };
    let place = new.config.place("tls.certificate");
    let answer = match resolver.lookup_within(name.as_bytes(), RecordKind::Tlsa, TLSA_WAIT) {
        Ok(answer) => answer,
        Err(error) => {
            return Some(format!(
                "{place}: the new certificate waits until DNS says whether a TLSA record fits it: {error}"
            ));
        }
    };
    let Records::Found(records) = answer.records else { return None };
    let fits = |chain: &Chain| records.iter().any(|record| chain.fits(record));
    let holds = answer.secure && fits(&before) && !fits(&after);
    holds.then(|| {
        format!(
            "{place}: no TLSA record of {name} fits the new certificate, so the old one stays; publish \
             first: {name} TLSA {}",
            wanted(&after)
        )
    })
}

/// The site of a reload, with the old pair where that has to stay.
pub fn judged(current: &Arc<Current>, new: Site) -> Site {
    let old = current.get();
    if !is_in_question(&old, &new, SystemTime::now()) {
        return new;
    }
    match reason_to_stay(&old, &new) {
        Some(why) => {
            warn(&why);
            new.with_pair_of(&old)
        }
        None => new,
    }
}

/// Asks in a thread of its own whether the pair of `new`, which a session has read, may take the place of
/// that of `old`, and lets it. Whoever asks for the same meanwhile is too early.
pub fn judge_aside(current: &Arc<Current>, old: &Arc<Site>, new: Site, now: Instant) {
    if !current.hold.take_turn(now) {
        return;
    }
    let (turn, old) = (TurnToAsk(current.clone()), old.clone());
    let asked = thread::Builder::new().name("certificate".to_owned()).spawn(move || {
        let current = &turn.0;
        match reason_to_stay(&old, &new) {
            Some(why) => current.hold.tell(&why),
            None => {
                // Tables may have been read anew meanwhile, and a reload may have read another pair.
                let site = current.get();
                if site.has_pair_of(&old) {
                    new.flaws(SystemTime::now()).iter().for_each(|(_, words)| warn(words));
                    tell(&Event::Reloaded { config: "certificate and key" });
                    current.exchange(&site, (*site).clone().with_pair_of(&new));
                }
            }
        }
    });
    if let Err(error) = asked {
        warn(&format!("no thread to ask DNS about a new certificate: {error}"));
    }
}

/// The data of the record that would fit.
fn wanted(chain: &Chain) -> String {
    chain.wanted().and_then(|record| record.tlsa_text()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::net::dns::Record;
    use crate::net::dns::{DnsAnswer, DnsError, DnsFault, Resolver};
    use rcgen::{CertificateParams, KeyPair};
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    /// Says the same to every question.
    #[derive(Debug)]
    struct Says(Result<DnsAnswer, DnsError>);

    impl Resolver for Says {
        fn lookup(&self, name: &[u8], kind: RecordKind) -> Result<DnsAnswer, DnsError> {
            assert_eq!((name, kind), (&b"_25._tcp.mx.test"[..], RecordKind::Tlsa));
            self.0.clone()
        }
    }

    struct Files(PathBuf);

    impl Drop for Files {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// A site with a certificate of its own that ends in so many days.
    fn site(days: u64, trust_ad: bool) -> Site {
        let dir = std::env::temp_dir().join(format!("facteur-{}", crate::id::message()));
        std::fs::create_dir(&dir).unwrap();
        let files = Files(dir);
        let mut params = CertificateParams::new(vec!["mx.test".to_owned()]).unwrap();
        params.not_after = (SystemTime::now() + Duration::from_secs(days * 24 * 3600)).into();
        let key = KeyPair::generate().unwrap();
        let write = |name: &str, text: String| std::fs::write(files.0.join(name), text).unwrap();
        write("mx.pem", params.self_signed(&key).unwrap().pem());
        write("mx.key", key.serialize_pem());
        let config = format!(
            "hostname = \"mx.test\"\n[tls]\ncertificate = \"mx.pem\"\nkey = \"mx.key\"\n\
             [domain.\"mx.test\"]\nany_user = true\n[dns]\ntrust_ad = {trust_ad}\n"
        );
        let config = Config::parse(&config, &files.0.join("facteur.toml")).unwrap();
        Site::read(config).unwrap().0
    }

    /// A site that hears this about its TLSA records.
    fn hearing(site: Site, records: &[&Site], secure: bool) -> Site {
        let of = |site: &&Site| site.acceptor().unwrap().shown().wanted().unwrap();
        let records: Vec<Record> = records.iter().map(of).collect();
        let records = if records.is_empty() { Records::Absent } else { Records::Found(records) };
        site.with_resolver(Arc::new(Says(Ok(DnsAnswer { records, secure }))))
    }

    #[test]
    fn a_certificate_waits_for_its_record() {
        let [old, new, other] = [(); 3].map(|()| site(90, true));
        let stays = |records: &[&Site], secure| {
            let old = hearing(old.clone(), records, secure);
            // The configurations differ only in their folder.
            let new = Site { config: old.config.clone(), ..new.clone() };
            reason_to_stay(&old, &new)
        };
        let why = stays(&[&old], true).unwrap();
        let record = new.acceptor().unwrap().shown();
        assert!(why.ends_with(&format!("_25._tcp.mx.test TLSA {}", wanted(&record))), "{why}");
        assert!(why.contains("tls.certificate: no TLSA record"), "{why}");
        for (records, secure) in [
            (&[&old][..], false),
            (&[&old, &new], true),
            (&[&new], true),
            // Nothing is lost: the old one fits none either.
            (&[&other], true),
            (&[], false),
        ] {
            assert_eq!(stays(records, secure), None);
        }
    }

    #[test]
    fn dns_that_does_not_answer_is_asked_again() {
        let error = DnsError {
            name: "TLSA of _25._tcp.mx.test".to_owned(),
            what: DnsFault::ServFail,
            servers: String::new(),
        };
        let old = site(90, true).with_resolver(Arc::new(Says(Err(error))));
        let new = Site { config: old.config.clone(), ..site(90, true) };
        let why = reason_to_stay(&old, &new).unwrap();
        assert!(why.contains("waits until DNS says"), "{why}");
    }

    #[test]
    fn what_is_in_question() {
        let now = SystemTime::now();
        let [old, new] = [(); 2].map(|()| site(90, true));
        assert!(is_in_question(&old, &new, now));
        assert!(!is_in_question(&old, &old, now), "the same certificate");
        assert!(!is_in_question(&site(2, true), &new, now), "the old one ends soon");
        assert!(is_in_question(&site(4, true), &new, now));
        let plain = site(90, false);
        assert!(!is_in_question(&old, &plain, now), "the AD bit counts for nothing");
        let config = Config::parse(
            "hostname = \"mx.test\"\n[domain.\"mx.test\"]\nany_user = true\n",
            Path::new("/facteur.toml"),
        );
        let none = Site::read(config.unwrap()).unwrap().0;
        assert!(!is_in_question(&none, &new, now) && !is_in_question(&new, &none, now));
    }

    #[test]
    fn a_reload_keeps_the_old_pair_and_all_else_is_new() {
        let old = site(90, true);
        let new = Site { config: old.config.clone(), ..site(90, true) };
        let shown = |site: &Site| site.acceptor().unwrap().shown();
        let open = |records: &[&Site]| Current::new(hearing(old.clone(), records, true));
        let kept = judged(&open(&[&old]), new.clone());
        assert!(shown(&kept) == shown(&old) && kept.has_pair_of(&old));
        let taken = judged(&open(&[&old, &new]), new.clone());
        assert!(shown(&taken) == shown(&new) && !taken.has_pair_of(&old));
    }

    #[test]
    fn one_thread_asks_once_in_a_while() {
        let old = site(90, true);
        let new = Site { config: old.config.clone(), ..site(90, true) };
        let current = Current::new(hearing(old.clone(), &[&new], true));
        let now = Instant::now();
        assert!(current.hold.take_turn(now));
        judge_aside(&current, &current.get(), new.clone(), now + TLSA_LOOK);
        assert!(current.get().has_pair_of(&old), "somebody asks already");
        drop(TurnToAsk(current.clone()));
        assert!(!current.hold.take_turn(now + TLSA_LOOK - Duration::from_secs(1)));
        judge_aside(&current, &current.get(), new.clone(), now + TLSA_LOOK);
        let began = Instant::now();
        while !current.get().has_pair_of(&new) {
            assert!(began.elapsed() < Duration::from_secs(30));
            thread::yield_now();
        }
    }
}
