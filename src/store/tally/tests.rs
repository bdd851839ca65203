//! Counts of days on a disk in memory and on the real one.

use super::*;
use crate::mail::address::Domain;
use crate::mail::tls_report::counts::TlsSession;
use crate::mail::tls_report::{AppliedPolicy, FailedTls, PolicyKind};
use crate::store::disk::RealDisk;
use crate::store::memory::MemoryDisk;

fn day(text: &str) -> Date {
    text.parse().unwrap()
}

fn session(domain: &str, failed: Option<&str>) -> TlsSession {
    let policy = AppliedPolicy::new(PolicyKind::NoPolicyFound, domain, &[""; 0], &[""; 0]);
    TlsSession {
        domain: Domain::parse(domain).unwrap(),
        policy,
        failed: failed.map(FailedTls::new),
    }
}

fn counts(domain: &str, good: u64, failed: u64) -> TlsCounts {
    let mut counts = TlsCounts::default();
    counts.add(&session(domain, None), good);
    if failed > 0 {
        counts.add(&session(domain, Some("validation-failure")), failed);
    }
    counts
}

/// Domains with their totals.
fn totals(content: &TallyContent) -> Vec<(String, u64, u64)> {
    let total = |(domain, counts): (&Domain, &crate::mail::tls_report::counts::DomainCounts)| {
        let (good, failed) = counts.totals();
        (domain.to_string(), good, failed)
    };
    content.counts.domains().map(total).collect()
}

/// The part that was the first of December.
fn closed(store: &TallyStore) -> TallyName {
    match store.close(day("2026-12-01")).unwrap() {
        ClosedDay::Part(name) => name,
        other => panic!("{other:?}"),
    }
}

fn in_memory() -> TallyStore {
    TallyStore::new(Arc::new(MemoryDisk::default()), Path::new("/spool"))
}

#[test]
fn counts_grow_until_the_day_is_closed() {
    let (store, today) = (in_memory(), day("2026-12-01"));
    assert_eq!((store.names().unwrap().len(), store.close(today).unwrap()), (0, ClosedDay::Empty));
    assert!(store.add(today, &counts("a.test", 2, 1)).unwrap());
    assert!(store.add(today, &counts("a.test", 3, 0)).unwrap());
    assert!(store.add(today, &counts("b.test", 0, 4)).unwrap());
    let running = TallyName { day: today, part: None };
    let wanted = [("a.test".to_owned(), 5, 1), ("b.test".to_owned(), 0, 4)];
    assert_eq!(totals(&store.read(running).unwrap()), wanted);
    let part = closed(&store);
    assert_eq!(part.to_string(), "2026-12-01.1");
    assert_eq!(store.close(today).unwrap(), ClosedDay::Empty);
    assert_eq!(totals(&store.read(part).unwrap()), wanted);
    // What comes later is another part.
    assert!(store.add(today, &counts("a.test", 1, 0)).unwrap());
    assert_eq!(closed(&store).to_string(), "2026-12-01.2");
    assert_eq!(store.names().unwrap().len(), 2);
    store.remove(part).unwrap();
    assert_eq!(store.read(part).unwrap(), TallyContent::default());
}

#[test]
fn a_part_is_sent_by_one_and_knows_what_went() {
    let (store, today) = (in_memory(), day("2026-12-01"));
    store.add(today, &counts("a.test", 2, 1)).unwrap();
    let part = closed(&store);
    let claimed = store.claim(part).unwrap().unwrap();
    assert!(store.claim(part).unwrap().is_none());
    let (domain, to) = ("a.test".to_owned(), "mailto:\"x y\"@a.test".to_owned());
    claimed.note(&TallyMark::Sent { domain, to }).unwrap();
    drop(claimed);
    let claimed = store.claim(part).unwrap().unwrap();
    assert!(claimed.content.is_sent("a.test", "mailto:\"x y\"@a.test"));
    assert!(!claimed.content.is_sent("a.test", "mailto:x@a.test") && !claimed.content.is_done());
    claimed.note(&TallyMark::Done).unwrap();
    assert!(store.read(part).unwrap().is_done());
    assert_eq!(totals(&store.read(part).unwrap()), [("a.test".to_owned(), 2, 1)]);
}

#[test]
fn a_torn_line_harms_no_other() {
    let place = std::env::temp_dir().join(format!("facteur-tally-{}", crate::id::message()));
    let (store, today) = (TallyStore::new(Arc::new(RealDisk), &place), day("2026-12-01"));
    let name = TallyName { day: today, part: None };
    store.add(today, &counts("a.test", 2, 1)).unwrap();
    let whole = std::fs::read(store.path(name)).unwrap();
    for end in 0..whole.len() {
        std::fs::write(store.path(name), &whole[..end]).unwrap();
        store.add(today, &counts("b.test", 1, 0)).unwrap();
        let read = store.read(name).unwrap();
        let is_torn = whole[..end].last().is_some_and(|octet| *octet != b'\n');
        // A line that lacks its line end alone is whole.
        let is_bad = is_torn && whole[end] != b'\n';
        assert_eq!(read.bad, usize::from(is_bad), "{end}");
        assert!(totals(&read).contains(&("b.test".to_owned(), 1, 0)), "{end}");
    }
    std::fs::write(store.path(name), b"x\n\0\n{}\n[1]\n\xff\n").unwrap();
    assert_eq!(store.read(name).unwrap().bad, 5);
    std::fs::remove_dir_all(&place).unwrap();
}

#[test]
fn a_file_stays_short() {
    let place = std::env::temp_dir().join(format!("facteur-tally-{}", crate::id::message()));
    let (store, today) = (TallyStore::new(Arc::new(RealDisk), &place), day("2026-12-01"));
    let (name, more) = (TallyName { day: today, part: None }, counts("a.test", 1, 1));
    let rounds = 2 * TALLY_LONG as usize / more.lines().len();
    for _ in 0..rounds {
        assert!(store.add(today, &more).unwrap());
    }
    let size = std::fs::metadata(store.path(name)).unwrap().len();
    assert!(size <= TALLY_LONG, "{size}");
    assert_eq!(
        totals(&store.read(name).unwrap()),
        [("a.test".to_owned(), rounds as u64, rounds as u64)]
    );
    std::fs::remove_dir_all(&place).unwrap();
}

#[test]
fn a_long_file_that_says_nothing_twice_is_not_read_each_time() {
    let (store, today) = (in_memory(), day("2026-12-01"));
    let size = || store.disk.stat(&store.path(TallyName { day: today, part: None })).unwrap().size;
    let mut number = 0;
    let mut add_until = |most: u64| {
        while number == 0 || size() <= most {
            store.add(today, &counts(&format!("d{number}.test"), 1, 0)).unwrap();
            number += 1;
        }
    };
    add_until(TALLY_LONG);
    let looked = size();
    assert_eq!(store.long.load(Relaxed), 2 * looked);
    add_until(looked + looked / 2);
    assert_eq!(store.long.load(Relaxed), 2 * looked, "it was read before it is worth it");
    // It is looked at again once it may be worth it.
    let again = counts("d0.test", 1, 0);
    while store.long.load(Relaxed) == 2 * looked {
        store.add(today, &again).unwrap();
        assert!(size() < 3 * looked, "it is never looked at again");
    }
}

#[test]
fn names_of_others_are_passed_over() {
    for text in ["2026-12-01", "2026-12-01.1", "2026-12-01.12"] {
        assert_eq!(TallyName::parse(text).unwrap().to_string(), text);
    }
    for text in [
        "",
        "new",
        "2026-12-01.0",
        "2026-12-01.01",
        "2026-12-01.",
        "2026-1-1",
        "2026-13-01",
        "2026-12-01.1.2",
        "20261201",
    ] {
        assert!(TallyName::parse(text).is_none(), "{text}");
    }
    let store = in_memory();
    store.add(day("2026-12-01"), &counts("a.test", 1, 0)).unwrap();
    store.disk.create(Path::new("/spool/tls/new")).unwrap();
    assert_eq!(store.names().unwrap().len(), 1);
}
