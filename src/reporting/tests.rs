//! Days that pass, on a disk in memory and with a DNS that says what it is told: what goes when, and what goes again.

use super::watch::ReportWatch;
use crate::config::Config;
use crate::handoff::Hints;
use crate::limits::reports::{
    REPORT_AGAIN, REPORT_AGE_MAX, REPORT_KEEP, REPORT_SPREAD, REPORT_TRIED,
};
use crate::mail::address::Domain;
use crate::mail::tls_report::counts::{TlsCounts, TlsSession};
use crate::mail::tls_report::{AppliedPolicy, FailedTls, PolicyKind};
use crate::net::dns::{DnsAnswer, DnsError, DnsFault, Record, RecordKind, Records, Resolver};
use crate::site::Site;
use crate::store::disk::Disk;
use crate::store::locked;
use crate::store::memory::MemoryDisk;
use crate::store::queue::Queue;
use crate::store::tally::TallyStore;
use jiff::{SignedDuration, Timestamp};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Texts of names, names of which nothing is said, and what was asked.
#[derive(Debug, Default)]
struct Script {
    texts: Mutex<Vec<(String, String)>>,
    silent: Mutex<Vec<String>>,
    asked: Mutex<Vec<String>>,
}

impl Resolver for Script {
    fn lookup(&self, name: &[u8], _: RecordKind) -> Result<DnsAnswer, DnsError> {
        let name = String::from_utf8_lossy(name).into_owned();
        locked(&self.asked).push(name.clone());
        if locked(&self.silent).contains(&name) {
            return Err(DnsError { name, what: DnsFault::ServFail, servers: String::new() });
        }
        let texts = locked(&self.texts);
        let its = texts.iter().filter(|(known, _)| *known == name);
        let found: Vec<Record> =
            its.map(|(_, text)| Record::Txt(text.clone().into_bytes())).collect();
        let records = if found.is_empty() { Records::NoName } else { Records::Found(found) };
        Ok(DnsAnswer { records, secure: false })
    }
}

struct Scene {
    disk: MemoryDisk,
    script: Arc<Script>,
    site: Site,
    watch: ReportWatch,
}

const SPOOL: &str = "/spool";

impl Scene {
    /// A site that sends reports, and these records.
    fn new(records: &[(&str, &str)]) -> Scene {
        let text = "hostname = \"mx.home.test\"\nspool = \"/spool\"\n[relay]\n\
                    networks = [\"::1\"]\nreports = \"tls@home.test\"\n";
        let config = Config::parse(text, Path::new("/facteur.toml")).unwrap();
        let script = Arc::new(Script::default());
        for (domain, text) in records {
            locked(&script.texts).push((format!("_smtp._tls.{domain}"), (*text).to_owned()));
        }
        let site = Site::read_names(config).unwrap().0.with_resolver(script.clone());
        let disk = MemoryDisk::new();
        Queue::new(Arc::new(disk.clone()), Path::new(SPOOL)).make().unwrap();
        let watch = watch(&disk);
        Scene { disk, script, site, watch }
    }

    fn store(&self) -> TallyStore {
        TallyStore::new(Arc::new(self.disk.clone()), Path::new(SPOOL))
    }

    /// Counts a failure on that day.
    fn count(&self, day: &str, domain: &str) {
        let domain = Domain::parse(domain).unwrap();
        let policy = AppliedPolicy::new(PolicyKind::Tlsa, "mx.far.test", &["3 1 1 00"], &[""; 0]);
        let failed = Some(FailedTls::new("certificate-not-trusted"));
        let mut counts = TlsCounts::default();
        counts.add(&TlsSession { domain, policy, failed }, 1);
        assert!(self.store().add(day.parse().unwrap(), &counts).unwrap());
    }

    /// All that is due at that moment; gives when the next is.
    fn round(&mut self, now: Timestamp) -> Timestamp {
        self.watch.round(&self.site, now).unwrap()
    }

    /// The server is another process from now on.
    fn restart(&mut self) {
        self.watch = watch(&self.disk);
    }

    /// The letters in the queue: to whom, and the ids of their reports.
    fn letters(&self) -> Vec<(String, String)> {
        let files = self.disk.files().into_iter();
        let queue = files.filter(|(path, _)| path.starts_with("/spool/queue"));
        let after = |text: &str, what: &str, end: char| {
            let (_, rest) = text.split_once(what).unwrap_or_else(|| panic!("{what} {text}"));
            rest.split(end).next().unwrap().to_owned()
        };
        queue
            .map(|(_, octets)| {
                let text = String::from_utf8(octets).unwrap();
                (after(&text, "\nto: <", '>'), after(&text, "Report-ID: <", '>'))
            })
            .collect()
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *locked(&self.script.asked))
    }
}

fn watch(disk: &MemoryDisk) -> ReportWatch {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let store = Arc::new(TallyStore::new(disk.clone(), Path::new(SPOOL)));
    let queue = Queue::new(disk.clone(), Path::new(SPOOL));
    ReportWatch::new(store, disk, queue, Hints::new(100).0)
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn after(moment: Timestamp, time: Duration) -> Timestamp {
    moment + SignedDuration::try_from(time).unwrap()
}

const WANTS: &str = "v=TLSRPTv1; rua=mailto:tls@far.test";

#[test]
fn a_day_goes_in_the_hour_after_it() {
    let mut scene = Scene::new(&[("far.test", WANTS)]);
    scene.count("2026-12-01", "far.test");
    scene.round(at("2026-12-01T23:59:59Z"));
    let midnight = at("2026-12-02T00:00:00Z");
    let next = scene.round(midnight);
    assert_eq!(scene.letters().len(), 0);
    assert!(next > midnight && scene.asked().is_empty());
    scene.round(after(midnight, REPORT_SPREAD));
    assert_eq!(scene.letters().len(), 1);
    assert_eq!(scene.letters()[0].0, "tls@far.test");
    // Never again, in this process or the next, until it is forgotten.
    for hours in 1..100 {
        scene.round(after(midnight, Duration::from_hours(hours)));
        if hours == 30 {
            scene.restart();
        }
    }
    assert_eq!((scene.letters().len(), scene.asked().len()), (1, 1));
    assert_eq!(scene.store().names().unwrap().len(), 1);
    let end = after(midnight, REPORT_KEEP + Duration::from_hours(1));
    scene.round(end);
    scene.round(end);
    assert!(scene.store().names().unwrap().is_empty());
}

#[test]
fn servers_do_not_all_send_at_midnight() {
    let moment = || {
        let mut scene = Scene::new(&[]);
        scene.count("2026-12-01", "far.test");
        let mut now = at("2026-12-02T00:00:00Z");
        loop {
            let next = scene.round(now);
            if !scene.asked().is_empty() {
                return now;
            }
            now = next.max(now + SignedDuration::from_secs(1));
        }
    };
    let all: std::collections::BTreeSet<Timestamp> = (0..20).map(|_| moment()).collect();
    assert!(all.len() > 10, "{all:?}");
    let last = all.last().unwrap();
    assert!(*last <= after(at("2026-12-02T00:00:02Z"), REPORT_SPREAD), "{last}");
}

#[test]
fn a_later_start_sends_at_once_and_what_is_too_old_never() {
    let mut scene = Scene::new(&[("far.test", WANTS)]);
    for day in ["2026-12-01", "2026-12-05", "2026-12-06", "2026-12-08"] {
        scene.count(day, "far.test");
    }
    let now = at("2026-12-08T12:00:00Z");
    assert!(after(at("2026-12-02T00:00:00Z"), REPORT_AGE_MAX) < now);
    scene.round(now);
    let ids: Vec<String> = scene.letters().into_iter().map(|(_, id)| id).collect();
    assert!(
        ids.len() == 2 && ids[0].starts_with("2026-12-05.") && ids[1].starts_with("2026-12-06."),
        "{ids:?}"
    );
    // The day that runs is counted on.
    assert_eq!(scene.store().names().unwrap().iter().filter(|name| name.part.is_none()).count(), 1);
}

#[test]
fn who_wants_none_costs_one_question() {
    let mut scene = Scene::new(&[
        ("two.test", WANTS),
        ("two.test", WANTS),
        ("broken.test", "v=TLSRPTv1; rua"),
        ("bad.test", "v=TLSRPTv1; rua=ftp://x.test,mailto:a@[127.0.0.1]"),
        ("other.test", "v=spf1 -all"),
    ]);
    for domain in ["none.test", "two.test", "broken.test", "bad.test", "other.test"] {
        scene.count("2026-12-01", domain);
    }
    for hours in 1..30 {
        scene.round(after(at("2026-12-02T00:00:00Z"), Duration::from_hours(hours)));
    }
    assert_eq!((scene.letters().len(), scene.asked().len()), (0, 5));
}

#[test]
fn each_address_gets_one_and_a_kill_repeats_one_at_most() {
    let many = "v=TLSRPTv1; rua=mailto:a@far.test,mailto:b@far.test,mailto:c@far.test";
    let mut scene = Scene::new(&[("far.test", many)]);
    scene.count("2026-12-01", "far.test");
    // The second mark is not written any more.
    let mut marks = 0;
    scene.disk.set_fault(move |operation| {
        let is_mark = operation.name == "append" && operation.path.starts_with("/spool/tls");
        marks += usize::from(is_mark);
        (is_mark && marks == 2).then(|| io::Error::other("killed"))
    });
    let now = at("2026-12-02T02:00:00Z");
    scene.round(now);
    let of = |letters: &[(String, String)]| {
        let mut to: Vec<String> = letters.iter().map(|(to, _)| to.clone()).collect();
        to.sort();
        to.join(" ")
    };
    assert_eq!(of(&scene.letters()), "a@far.test b@far.test");
    scene.disk.clear_fault();
    scene.restart();
    scene.round(now);
    let letters = scene.letters();
    assert_eq!(of(&letters), "a@far.test b@far.test b@far.test c@far.test");
    // All are the same report.
    assert!(letters.iter().all(|(_, id)| *id == letters[0].1), "{letters:?}");
    scene.restart();
    scene.round(now);
    assert_eq!(scene.letters().len(), 4);
}

#[test]
fn what_fails_is_tried_for_a_day() {
    let mut scene =
        Scene::new(&[("far.test", WANTS), ("near.test", "v=TLSRPTv1; rua=https://nowhere.test/")]);
    scene.count("2026-12-01", "far.test");
    scene.count("2026-12-01", "near.test");
    locked(&scene.script.silent).push("_smtp._tls.far.test".to_owned());
    let first = at("2026-12-02T02:00:00Z");
    let (mut now, mut tries, mut waits) = (first, 0, Vec::new());
    while now < after(first, 2 * REPORT_TRIED) {
        let next = scene.round(now);
        let asked = scene.asked().iter().filter(|name| name.starts_with("_smtp")).count();
        if asked > 0 {
            tries += 1;
            waits.push(now.duration_since(first).as_mins());
            assert_eq!(asked, 2, "both are tried again");
        }
        now = next.max(now + SignedDuration::from_secs(1));
    }
    assert_eq!(waits[..4], [0, 15, 45, 105], "{waits:?}");
    assert_eq!(REPORT_AGAIN.as_secs(), 15 * 60);
    assert!(*waits.last().unwrap() <= 24 * 60 && tries < 10, "{waits:?}");
    assert!(scene.letters().is_empty());
}

#[test]
fn what_is_answered_later_goes_later() {
    let mut scene = Scene::new(&[("far.test", WANTS), ("near.test", WANTS)]);
    scene.count("2026-12-01", "far.test");
    scene.count("2026-12-01", "near.test");
    locked(&scene.script.silent).push("_smtp._tls.far.test".to_owned());
    let now = at("2026-12-02T02:00:00Z");
    let next = scene.round(now);
    assert_eq!((scene.letters().len(), scene.asked().len()), (1, 2));
    locked(&scene.script.silent).clear();
    scene.round(now);
    assert_eq!((scene.letters().len(), scene.asked().len()), (1, 0));
    scene.round(next.max(after(now, REPORT_AGAIN)));
    // Only the one that failed is asked again.
    assert_eq!((scene.letters().len(), scene.asked()), (2, vec!["_smtp._tls.far.test".to_owned()]));
}
