//! Policies over time: what is fetched when, what holds when nothing can be had, and many threads at once.

use super::*;
use crate::net::dns::{DnsAnswer, DnsError, DnsFault};
use crate::smtp::tls_failure::TlsFailure;
use crate::store::memory::MemoryDisk;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

/// A record, or that DNS does not answer.
#[derive(Debug, Default)]
struct OneRecord(Mutex<Option<&'static str>>);

impl Resolver for OneRecord {
    fn lookup(&self, name: &[u8], kind: RecordKind) -> Result<DnsAnswer, DnsError> {
        assert_eq!((name, kind), (&b"_mta-sts.a.test"[..], RecordKind::Txt));
        let found = |records| Ok(DnsAnswer { records, secure: false });
        match *self.0.lock().unwrap() {
            Some("") => found(Records::Absent),
            Some(text) => found(Records::Found(vec![Record::Txt(text.as_bytes().to_owned())])),
            None => Err(DnsError {
                name: "TXT of _mta-sts.a.test".to_owned(),
                what: DnsFault::ServFail,
                servers: String::new(),
            }),
        }
    }
}

/// One domain, its record, its web server and a clock.
struct World {
    disk: MemoryDisk,
    names: Arc<OneRecord>,
    resolver: Arc<dyn Resolver>,
    /// What the web server gives; none: nothing.
    page: Arc<Mutex<Option<String>>>,
    fetches: Arc<AtomicUsize>,
    now: Timestamp,
    sts: Arc<MtaSts>,
}

fn domain() -> Domain {
    Domain::parse("a.test").unwrap()
}

fn enforce(max_age: u64) -> Option<String> {
    Some(format!("version: STSv1\nmode: enforce\nmx: mx.a.test\nmax_age: {max_age}\n"))
}

fn fault() -> TlsTrouble {
    TlsTrouble::new(TlsFailure::PolicyFetch, "no page")
}

impl World {
    fn new() -> World {
        let names = Arc::new(OneRecord::default());
        let world = World {
            disk: MemoryDisk::new(),
            resolver: names.clone(),
            names,
            page: Arc::default(),
            fetches: Arc::default(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            sts: Arc::new(MtaSts::new(Arc::new(MemoryDisk::new()), Path::new("/"))),
        };
        world.restarted()
    }

    /// The same with a new server.
    fn restarted(self) -> World {
        let sts = self.command();
        locked(&sts.watch).serve_without_thread();
        World { sts, ..self }
    }

    /// Somebody who only looks.
    fn command(&self) -> Arc<MtaSts> {
        let (page, fetches) = (self.page.clone(), self.fetches.clone());
        let fetch = move |_: &Domain, _: &Arc<dyn Resolver>| {
            fetches.fetch_add(1, SeqCst);
            let page = page.lock().unwrap().clone().ok_or_else(fault)?;
            Ok(StsPolicy::parse(page.as_bytes()).unwrap())
        };
        let disk = Arc::new(self.disk.clone());
        Arc::new(MtaSts::fetching(disk, Path::new("/spool"), Box::new(fetch)))
    }

    fn says(&mut self, record: Option<&'static str>, page: Option<String>) {
        *self.names.0.lock().unwrap() = record;
        *self.page.lock().unwrap() = page;
    }

    fn later(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    fn find(&self) -> StsFound {
        self.sts.with(&domain(), &record(&domain(), &*self.resolver), &self.resolver, self.now)
    }

    /// The id of the policy that holds, whether there was a fault, and how often was fetched since the last call.
    fn found(&self) -> (Option<String>, bool, usize) {
        let found = self.find();
        let id = found.policy.map(|known| known.id.to_string());
        (id, found.fault.is_some(), self.fetches.swap(0, SeqCst))
    }

    /// Looks at the domain so many seconds later; whether a policy holds still.
    fn look_at(&self, seconds: i64) -> bool {
        let now = self.now + SignedDuration::from_secs(seconds);
        self.sts.look_at(&domain(), &self.resolver, now);
        self.fetches.swap(0, SeqCst);
        self.sts.held(&domain(), now).is_some()
    }

    fn look(&self) -> (Option<Timestamp>, usize) {
        (self.sts.look(&self.resolver, self.now), self.fetches.swap(0, SeqCst))
    }
}

fn id(text: &str) -> Option<String> {
    Some(text.to_owned())
}

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;

#[test]
fn a_policy_is_fetched_once_and_kept_over_a_restart() {
    let mut world = World::new();
    world.says(Some("v=STSv1; id=1"), enforce(86_400));
    assert_eq!(world.found(), (id("1"), false, 1));
    assert_eq!(world.found(), (id("1"), false, 0));
    let told = world.find().told.unwrap();
    let words = "the MTA-STS policy of a.test: enforce, id 1, fetched 0s ago, holds until 2026-01-02T00:00:0";
    assert!(told.starts_with(words), "{told}");
    let mut world = world.restarted();
    world.says(Some("v=STSv1; id=1"), None);
    assert_eq!(world.found(), (id("1"), false, 0));
}

#[test]
fn without_a_record_nothing_is_fetched() {
    let mut world = World::new();
    for record in [Some(""), Some("v=spf1 -all"), Some("v=STSv1; id=?"), None] {
        world.says(record, enforce(9));
        assert_eq!(world.found(), (None, false, 0), "{record:?}");
        assert!(world.disk.files().is_empty());
        // What nobody has meant as a policy is worth no word.
        assert_eq!(world.find().told.is_some(), matches!(record, None | Some("v=STSv1; id=?")));
    }
}

#[test]
fn a_policy_holds_to_its_end_whatever_the_network_does() {
    for record in [Some(""), Some("v=STSv1; id=?"), None, Some("v=STSv1; id=2")] {
        let mut world = World::new();
        world.says(Some("v=STSv1; id=1"), enforce(86_400));
        assert_eq!(world.found(), (id("1"), false, 1));
        world.says(record, None);
        world.later(24 * HOUR - MINUTE);
        let is_new = record == Some("v=STSv1; id=2");
        assert_eq!(world.found(), (id("1"), is_new, usize::from(is_new)), "{record:?}");
        let mut world = world.restarted();
        assert_eq!(world.found(), (id("1"), is_new, usize::from(is_new)), "{record:?}");
        world.later(2 * MINUTE);
        assert_eq!(world.found().0, None, "{record:?}");
    }
}

#[test]
fn what_cannot_be_fetched_rests_and_a_new_id_does_not() {
    let mut world = World::new();
    world.says(Some("v=STSv1; id=1"), None);
    assert_eq!(world.found(), (None, true, 1));
    assert_eq!(world.find().told.unwrap(), "no MTA-STS policy of a.test: no page");
    world.later(5 * MINUTE - 1);
    assert_eq!(world.found(), (None, true, 0));
    world.says(Some("v=STSv1; id=2"), None);
    assert_eq!(world.found(), (None, true, 1));
    world.says(Some("v=STSv1; id=3"), enforce(86_400));
    assert_eq!(world.found(), (id("3"), false, 1));
    world.says(Some("v=STSv1; id=4"), None);
    assert_eq!(world.found(), (id("3"), true, 1));
    let told = world.find().told.unwrap();
    assert!(told.ends_with("; a new one cannot be had: no page"), "{told}");
    world.later(5 * MINUTE + 1);
    world.says(Some("v=STSv1; id=4"), enforce(86_400));
    assert_eq!(world.found(), (id("4"), false, 1));
    // A clock that was put back ends the rest as well.
    world.says(Some("v=STSv1; id=5"), None);
    assert_eq!(world.found(), (id("4"), true, 1));
    world.later(-2 * HOUR);
    assert_eq!(world.found(), (id("4"), true, 1));
}

#[test]
fn a_policy_holds_where_memory_has_just_been_emptied_for_it() {
    let mut world = World::new();
    world.says(Some("v=STSv1; id=1"), enforce(86_400));
    assert_eq!(world.found(), (id("1"), false, 1));
    // A new id, and somebody who keeps us from its policy.
    world.says(Some("v=STSv1; id=2"), None);
    for others in [STS_DOMAINS_MAX - 1, STS_DOMAINS_MAX, STS_DOMAINS_MAX + 1] {
        let fill = |world: &World| {
            let mut domains = locked(&world.sts.domains);
            domains.clear();
            let names = (0..others).map(|at| Domain::parse(&format!("d{at}.test")).unwrap());
            domains.extend(names.map(|name| (name, DomainSts::default())));
        };
        world = world.restarted();
        fill(&world);
        assert_eq!(world.found(), (id("1"), true, 1), "{others}");
        fill(&world);
        assert!(world.look_at(0) && world.look_at(2 * HOUR) && !world.disk.files().is_empty());
    }
}

#[test]
fn a_file_that_cannot_be_read_for_a_while_is_kept() {
    let mut world = World::new();
    world.says(Some("v=STSv1; id=1"), enforce(86_400));
    assert_eq!(world.found(), (id("1"), false, 1));
    let mut world = world.restarted();
    world.disk.set_fault(|operation| {
        (operation.name == "open").then(|| std::io::Error::other("too many open files"))
    });
    world.look();
    world.disk.clear_fault();
    world.says(Some("v=STSv1; id=1"), None);
    assert_eq!(world.found(), (id("1"), false, 0));
    // Once it has ended it goes.
    world.later(2 * 86_400);
    world.look();
    assert!(world.disk.files().is_empty());
}

#[test]
fn short_policies_are_fetched_again() {
    let mut world = World::new();
    world.says(Some("v=STSv1; id=1"), enforce(1));
    assert_eq!(world.found(), (id("1"), false, 1));
    world.later(2);
    assert_eq!(world.found(), (id("1"), false, 1));
    world.says(Some("v=STSv1; id=1"), None);
    world.later(2);
    assert_eq!(world.found(), (None, true, 1));
    // One that holds for no time is used for the mail that asked.
    world.says(Some("v=STSv1; id=2"), enforce(0));
    assert_eq!(world.found(), (id("2"), false, 1));
}

#[test]
fn a_broken_file_is_fetched_anew() {
    let mut world = World::new();
    world.says(Some("v=STSv1; id=1"), enforce(86_400));
    for octets in [&b"\0\xff"[..], b"", b"domain a.test\nend\n"] {
        world.disk.put(Path::new("/spool/mta-sts/a.test"), octets, std::time::SystemTime::now());
        world = world.restarted();
        assert_eq!(world.found(), (id("1"), false, 1));
    }
    // A disk that takes nothing costs no policy.
    world.disk.set_fault(|_| Some(std::io::Error::other("dead")));
    let world = world.restarted();
    assert_eq!(world.found(), (id("1"), false, 1));
    assert_eq!(world.found(), (id("1"), false, 0));
}

#[test]
fn a_command_changes_nothing() {
    let mut world = World::new();
    world.says(Some("v=STSv1; id=1"), enforce(86_400));
    let found = world.command().find(&domain(), &world.resolver);
    assert_eq!(found.policy.unwrap().id.as_str(), "1");
    assert!(world.disk.files().is_empty());
}

#[test]
fn many_threads_fetch_once() {
    let mut world = World::new();
    world.says(Some("v=STSv1; id=1"), enforce(86_400));
    let (gate, count) = (Arc::new(Barrier::new(2)), Arc::new(AtomicUsize::new(0)));
    let (inside, own) = (gate.clone(), count.clone());
    let fetch = move |_: &Domain, _: &Arc<dyn Resolver>| {
        own.fetch_add(1, SeqCst);
        inside.wait();
        inside.wait();
        Ok(StsPolicy::parse(enforce(86_400).unwrap().as_bytes()).unwrap())
    };
    let disk = Arc::new(world.disk.clone());
    world.sts = Arc::new(MtaSts::fetching(disk, Path::new("/spool"), Box::new(fetch)));
    let world = &world;
    thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| world.find())).collect();
        gate.wait();
        assert!(all.iter().all(|one| !one.is_finished()));
        gate.wait();
        for one in all {
            assert_eq!(one.join().unwrap().policy.unwrap().id.as_str(), "1");
        }
    });
    assert_eq!(count.load(SeqCst), 1);
    // Whoever has an old one does not wait for the new one.
    *world.names.0.lock().unwrap() = Some("v=STSv1; id=2");
    thread::scope(|scope| {
        let one = scope.spawn(|| world.find());
        gate.wait();
        for _ in 0..8 {
            assert_eq!(world.find().policy.unwrap().id.as_str(), "1");
        }
        gate.wait();
        assert_eq!(one.join().unwrap().policy.unwrap().id.as_str(), "2");
    });
    assert_eq!((count.load(SeqCst), world.find().policy.unwrap().id.as_str()), (2, "2"));
}

#[test]
fn a_fetch_that_panics_keeps_nobody_waiting() {
    let mut world = World::new();
    world.says(Some("v=STSv1; id=1"), None);
    let count = AtomicUsize::new(0);
    let fetch = move |_: &Domain, _: &Arc<dyn Resolver>| {
        assert_ne!(count.fetch_add(1, SeqCst), 0, "a panic on purpose");
        Err(fault())
    };
    let disk = Arc::new(world.disk.clone());
    world.sts = Arc::new(MtaSts::fetching(disk, Path::new("/spool"), Box::new(fetch)));
    let world = &world;
    assert!(thread::scope(|scope| scope.spawn(|| world.find()).join().is_err()));
    assert!(world.find().fault.is_some());
}

#[test]
fn policies_in_use_are_fetched_anew_long_before_they_end() {
    let mut world = World::new();
    assert_eq!(world.look(), (None, 0));
    world.says(Some("v=STSv1; id=1"), enforce(604_800));
    assert_eq!(world.found(), (id("1"), false, 1));
    let (due, fetched) = world.look();
    assert_eq!((due.unwrap().duration_since(world.now).as_hours(), fetched), (24, 0));
    world.later(23 * HOUR);
    assert_eq!(world.look().1, 0);
    world.later(2 * HOUR);
    assert_eq!(world.found(), (id("1"), false, 0));
    assert_eq!(world.look().1, 1);
    // What cannot be had rests, and the old one holds.
    world.later(25 * HOUR);
    world.says(Some("v=STSv1; id=1"), None);
    assert_eq!((world.look().1, world.look().1), (1, 0));
    assert_eq!(world.found(), (id("1"), true, 0));
    // Without a record there is nothing to fetch.
    world.later(HOUR);
    world.says(Some(""), None);
    assert_eq!((world.look().1, world.found().0), (0, id("1")));
    // What has ended is removed, and so is what cannot be read.
    world.later(7 * 24 * HOUR);
    let broken = Path::new("/spool/mta-sts/b.test");
    world.disk.put(broken, b"x", std::time::SystemTime::now());
    assert_eq!(world.look(), (None, 0));
    assert!(world.disk.files().is_empty());
}

#[test]
fn policies_that_nobody_uses_are_left_alone() {
    let mut world = World::new();
    world.says(Some("v=STSv1; id=1"), enforce(31_557_600));
    assert_eq!(world.found(), (id("1"), false, 1));
    let mut fetched = 0;
    for _ in 0..35 {
        world.later(25 * HOUR);
        fetched += world.look().1;
    }
    // For a month it was fetched each day.
    assert_eq!(fetched, 28);
    world.later(24 * HOUR);
    assert_eq!(world.look(), (None, 0));
    // Until there is mail again, after a restart too.
    let world = world.restarted();
    assert_eq!(world.look(), (None, 0));
    assert_eq!(world.found(), (id("1"), false, 0));
    assert_eq!(world.look().1, 1);
}
