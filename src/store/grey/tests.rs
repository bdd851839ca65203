use super::*;
use crate::store::memory::MemoryDisk;
use proptest::prelude::*;
use std::io;

const SPOOL: &str = "/a/spool";

/// Five minutes, a day.
const RULES: GreyRules =
    GreyRules { delay: Duration::from_secs(300), expire: Duration::from_secs(86_400) };

/// The moment of the first attempts.
const NOW: u64 = 1_700_000_000;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

fn open(disk: &MemoryDisk, now: u64) -> GreyStore {
    let (store, opened) = GreyStore::open(Arc::new(disk.clone()), Path::new(SPOOL), RULES, now);
    opened.unwrap();
    store
}

fn from(text: &str) -> ReversePath {
    match text {
        "" => ReversePath::Null,
        text => ReversePath::Mailbox(Mailbox::parse(text).unwrap()),
    }
}

fn network(client: &str, sender: &str) -> GreyKey {
    GreyKey::of(&GreySource::Network(client.parse().unwrap()), &from(sender))
}

fn number(n: usize) -> GreyKey {
    network("192.0.2.1", &format!("n{n}@a.test"))
}

/// How long one has to wait that comes at this moment; 0: it passes.
fn wait(store: &GreyStore, key: GreyKey, now: u64) -> u64 {
    let (answer, kept) = store.attempt(key, RULES, now);
    kept.unwrap();
    match answer {
        GreyAnswer::Passes => 0,
        GreyAnswer::Waits(time) => time.as_secs(),
    }
}

#[test]
fn who_is_one() {
    let domain = Name::parse(b"a.test").unwrap();
    let by_domain = |sender| GreyKey::of(&GreySource::Domain(&domain), &from(sender));
    let same = network("192.0.2.1", "ann@a.test");
    assert_eq!(network("192.0.2.255", "Ann@A.test"), same);
    assert_eq!(network("::ffff:192.0.2.7", "ann@a.test"), same);
    let others = [
        network("192.0.3.1", "ann@a.test"),
        network("192.0.2.1", "bob@a.test"),
        network("192.0.2.1", ""),
        by_domain("ann@a.test"),
        by_domain("ann@b.test"),
        network("2001:db8::1", "ann@a.test"),
        GreyKey::correspondent(&Mailbox::parse("ann@a.test").unwrap()),
    ];
    assert!(!others.contains(&same));
    assert_eq!(network("2001:db8::1", "ann@a.test"), network("2001:db8::ffff:1", "ann@a.test"));
    assert_ne!(network("2001:db8::1", "ann@a.test"), network("2001:db8:0:1::1", "ann@a.test"));
    let mut distinct = others.to_vec();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), others.len());
}

#[test]
fn who_comes_back_is_known() {
    let (disk, key) = (MemoryDisk::new(), number(1));
    let store = open(&disk, NOW);
    assert_eq!(wait(&store, key, NOW), 300);
    // Early tries do not make it longer.
    assert_eq!(wait(&store, key, NOW + 100), 200);
    assert_eq!(wait(&store, key, NOW + 299), 1);
    assert_eq!(wait(&store, number(2), NOW + 299), 300);
    assert_eq!(wait(&store, key, NOW + 300), 0);
    // For as long as it does not stay away.
    assert_eq!(wait(&store, key, NOW + 300 + DAY), 0);
    assert_eq!(wait(&store, key, NOW + 300 + 2 * DAY), 0);
    assert_eq!(wait(&store, key, NOW + 301 + 3 * DAY), 300);
    // Two days to come back.
    assert_eq!(wait(&store, number(3), NOW), 300);
    assert_eq!(wait(&store, number(3), NOW + 2 * DAY), 0);
    assert_eq!(wait(&store, number(4), NOW), 300);
    assert_eq!(wait(&store, number(4), NOW + 2 * DAY + 1), 300);
    // A clock that was set back makes nobody wait for ever.
    assert_eq!(wait(&store, number(5), NOW + DAY), 300);
    assert_eq!(wait(&store, number(5), NOW), 300);
    assert_eq!(wait(&store, number(5), NOW + 300), 0);
    assert_eq!(wait(&store, number(5), NOW - DAY), 0);
}

#[test]
fn to_whom_users_write_is_known() {
    let (disk, key) = (MemoryDisk::new(), number(1));
    let store = open(&disk, NOW);
    assert!(!store.is_known(key, RULES, NOW));
    wait(&store, number(2), NOW);
    assert!(!store.is_known(number(2), RULES, NOW));
    store.know(&[key, number(2)], RULES, NOW).unwrap();
    assert!(store.is_known(key, RULES, NOW + DAY) && !store.is_known(key, RULES, NOW + DAY + 1));
    let written = disk.operations().len();
    store.know(&[key], RULES, NOW + 60).unwrap();
    assert_eq!(disk.operations().len(), written, "a line for each message");
    store.know(&[key], RULES, NOW + 7 * HOUR).unwrap();
    assert!(store.is_known(key, RULES, NOW + DAY + 7 * HOUR));
}

#[test]
fn a_restart_makes_nobody_wait_once_more() {
    let disk = MemoryDisk::new();
    let store = open(&disk, NOW);
    (0..3).for_each(|n| assert_eq!(wait(&store, number(n), NOW), 300));
    wait(&store, number(0), NOW + 300);
    store.know(&[number(9)], RULES, NOW).unwrap();
    // Without a word, as a kill does it; and once more, in the middle of a line.
    for torn in ["", "w 17000", "k 1700000000 0123456789abcdef0123456789abcde", "\n\nx\u{0}\n"] {
        let (_, file) = locked(&store.inner).file.clone().unwrap();
        let mut octets = disk.files().into_iter().find(|(path, _)| *path == file).unwrap().1;
        octets.extend(torn.as_bytes());
        let other = MemoryDisk::new();
        other.put(&file, &octets, std::time::SystemTime::now());
        let again = open(&other, NOW + 400);
        assert_eq!(wait(&again, number(0), NOW + 400), 0);
        assert_eq!(wait(&again, number(1), NOW + 250), 50);
        assert_eq!(wait(&again, number(3), NOW + 400), 300);
        assert!(again.is_known(number(9), RULES, NOW + 400));
        assert_eq!(other.files().len(), 1, "the old file is gone");
    }
}

#[test]
fn lines_of_nobody_are_passed_over() {
    let key = "0123456789abcdef0123456789abcdef";
    let mut table = GreyTable::default();
    for line in [
        "",
        "w",
        "w 1 x",
        &format!("w 1 {key}0"),
        &format!("x 1 {key}"),
        &format!("w -1 {key}"),
        &format!("w 1 {key} 1"),
        &format!("w  1 {key}"),
        &format!("w 99999999999999999999 {key}"),
        &format!("k {} {key}", NOW + 2 * DAY),
        &format!("w 1 {}", "\u{e9}".repeat(16)),
        &format!("w 1 +{}", &key[1..]),
    ] {
        table.merge(line, NOW);
        assert!(table.entries.is_empty(), "{line}");
    }
    table.merge(&format!("k {NOW} {key}"), NOW);
    // The newest holds, whichever comes first.
    table.merge(&format!("w {} {key}", NOW - 1), NOW);
    table.merge(&format!("w {NOW} {key}"), NOW);
    let held: Vec<GreyEntry> = table.entries.values().copied().collect();
    assert_eq!((held, table.known.len(), table.waiting.len()), (vec![GreyEntry::Known(NOW)], 1, 0));
}

#[test]
fn it_is_bounded_and_the_oldest_goes() {
    let disk = MemoryDisk::new();
    let store = open(&disk, NOW);
    let held = |key: GreyKey| locked(&store.inner).table.entries.contains_key(&key);
    let moment = |n: usize| NOW + n as u64 / 1000;
    for n in 0..=GREY_MAX {
        assert_eq!(wait(&store, number(n), moment(n)), 300);
    }
    let oldest = [number(0), number(1)];
    assert_eq!(locked(&store.inner).table.entries.len(), GREY_MAX);
    let gone = (0..1000).filter(|n| !held(number(*n))).count();
    assert_eq!(gone, 1, "one of the first second: {:?}", oldest.map(held));
    // Another flood leaves those that came back.
    let later = NOW + 1000;
    let back: Vec<GreyKey> = (50_000..60_000).map(number).collect();
    back.iter().for_each(|key| assert_eq!(wait(&store, *key, later), 0));
    for n in 0..GREY_MAX {
        wait(&store, network("198.51.100.1", &format!("n{n}@b.test")), later + 1);
    }
    assert_eq!(back.iter().filter(|key| held(**key)).count(), back.len());
    let table = &locked(&store.inner).table;
    let sizes = (table.entries.len(), table.waiting.len() + table.known.len());
    assert_eq!(sizes, (GREY_MAX, GREY_MAX));
}

#[test]
fn the_file_is_bounded_too() {
    let disk = MemoryDisk::new();
    let store = open(&disk, NOW);
    let size = || disk.files().iter().map(|(_, octets)| octets.len()).sum::<usize>();
    for n in 0..3000 {
        // Each comes, and stays away.
        wait(&store, number(n), NOW + n as u64 * 1000);
        store.tend(RULES, NOW + n as u64 * 1000).unwrap();
    }
    assert!(size() < 3 * AT_ONCE && disk.files().len() == 1, "{}", size());
    // Those whose two days are over are not kept.
    assert_eq!(locked(&store.inner).table.entries.len(), 173);
    let again = open(&disk, NOW + 2_999_000);
    assert_eq!(wait(&again, number(2999), NOW + 2_999_300), 0);
}

#[test]
fn a_disk_that_fails_costs_nobody_a_wait_until_a_restart() {
    let steps = {
        let disk = MemoryDisk::new();
        wait(&open(&disk, NOW), number(0), NOW);
        disk.operations().len()
    };
    for fatal in 0..steps {
        let disk = MemoryDisk::new();
        let mut done = 0;
        disk.set_fault(move |_| {
            done += 1;
            (done > fatal).then(|| io::Error::other("EIO"))
        });
        let (store, _) = GreyStore::open(Arc::new(disk.clone()), Path::new(SPOOL), RULES, NOW);
        let (answer, kept) = store.attempt(number(0), RULES, NOW);
        assert_eq!(answer, GreyAnswer::Waits(RULES.delay), "step {fatal}");
        // Once the disk is well, all of it is written.
        assert!(kept.is_err() || store.is_long(), "step {fatal}");
        disk.clear_fault();
        assert!(store.is_long(), "step {fatal}");
        store.compact(RULES, NOW).unwrap();
        assert!(!store.is_long() && disk.files().len() == 1, "step {fatal}");
        assert_eq!(wait(&open(&disk, NOW + 300), number(0), NOW + 300), 0, "step {fatal}");
    }
}

/// What is changed while a new file is written is in it.
#[test]
fn changes_meet_a_new_file() {
    let disk = MemoryDisk::new();
    let store = Arc::new(open(&disk, NOW));
    (0..2000).for_each(|n| assert_eq!(wait(&store, number(n), NOW), 300));
    let other = store.clone();
    let worker = std::thread::spawn(move || {
        (2000..4000).for_each(|n| assert_eq!(wait(&other, number(n), NOW), 300));
    });
    for _ in 0..20 {
        store.compact(RULES, NOW).unwrap();
    }
    worker.join().unwrap();
    let again = open(&disk, NOW + 300);
    (0..4000).for_each(|n| assert_eq!(wait(&again, number(n), NOW + 300), 0, "{n}"));
}

proptest! {
    #[test]
    fn any_file_is_read(octets: Vec<u8>) {
        let disk = MemoryDisk::new();
        let path = Path::new(SPOOL).join("greylist/m1");
        disk.put(&path, &octets, std::time::SystemTime::now());
        prop_assert_eq!(wait(&open(&disk, NOW), number(1), NOW), 300);
    }
}
