//! Policies in files: whole or none, whatever stands there, and never too many.

use super::*;
use crate::store::memory::MemoryDisk;
use std::io;

fn named(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

fn known(max_age: u64) -> KnownPolicy {
    let text = format!(
        "version: STSv1\r\nmode: enforce\r\nmx: *.a.test \r\nx: \u{e4}\r\nmax_age: {max_age}\r\n"
    );
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    KnownPolicy {
        policy: StsPolicy::parse(text.as_bytes()).unwrap(),
        id: StsId::parse("a1").unwrap(),
        fetched: at("2026-01-01T00:00:00Z"),
        used: at("2026-01-02T00:00:00Z"),
    }
}

fn store(disk: &MemoryDisk) -> PolicyStore {
    PolicyStore::new(Arc::new(disk.clone()), Path::new("/spool"))
}

#[test]
fn what_is_written_is_read_again() {
    let disk = MemoryDisk::new();
    let (store, domain) = (store(&disk), named("A.test"));
    assert_eq!((store.read(&domain), store.domains().unwrap()), (None, vec![]));
    for max_age in [604_800, 1] {
        store.write(&domain, &known(max_age)).unwrap();
        assert_eq!(store.read(&domain), Some(known(max_age)));
    }
    assert_eq!(store.domains().unwrap(), std::slice::from_ref(&domain));
    let (path, octets) = disk.files().remove(0);
    assert_eq!((path.as_path(), disk.files().len()), (Path::new("/spool/mta-sts/a.test"), 1));
    assert!(String::from_utf8(octets).unwrap().ends_with("policy max_age: 1\nend\n"));
    store.remove(&domain);
    assert_eq!(store.read(&domain), None);
}

#[test]
fn the_longest_policy_can_be_read_again() {
    let (disk, domain) = (MemoryDisk::new(), named("a.test"));
    let begin = "version:STSv1\nmode:none\nmax_age:1";
    let lines = (crate::limits::policies::STS_POLICY_MAX - begin.len()) / 4;
    let text = format!("{begin}{}", "\na:b".repeat(lines));
    let policy = KnownPolicy { policy: StsPolicy::parse(text.as_bytes()).unwrap(), ..known(1) };
    store(&disk).write(&domain, &policy).unwrap();
    assert_eq!(store(&disk).read(&domain), Some(policy));
}

#[test]
fn a_file_that_is_not_whole_is_none() {
    let (disk, domain) = (MemoryDisk::new(), named("a.test"));
    let (store, path) = (store(&disk), Path::new("/spool/mta-sts/a.test"));
    store.write(&domain, &known(9)).unwrap();
    let whole = disk.files().remove(0).1;
    for end in 0..whole.len() {
        disk.put(path, &whole[..end], SystemTime::now());
        assert_eq!(store.read(&domain), None, "{end}");
    }
    let text = String::from_utf8(whole).unwrap();
    let long = format!("policy x: {}\nend\n", "y".repeat(STS_FILE_MAX));
    for (old, new) in [
        ("domain a.test", "domain b.test"),
        ("domain a.test\n", ""),
        ("id a1", "id a-1"),
        ("fetched 2026", "fetched x"),
        ("used 2026-01-02T00:00:00Z", "used"),
        ("mode: enforce", "mode: other"),
        ("policy mx", "mx"),
        ("policy mx", "policy  mx"),
        ("end\n", "end\nend\nend\n"),
        ("end\n", "\0\nend\n"),
        ("end\n", &long),
    ] {
        let other = text.replace(old, new);
        assert_ne!(other, text, "{old}");
        disk.put(path, other.as_bytes(), SystemTime::now());
        assert_eq!(store.read(&domain), None, "{old:?} as {new:.40?}");
    }
    disk.put(path, b"\xff\xfe\nend\n", SystemTime::now());
    assert_eq!(store.read(&domain), None);
    // And the next one that is fetched takes its place.
    store.write(&domain, &known(9)).unwrap();
    assert_eq!(store.read(&domain), Some(known(9)));
}

#[test]
fn a_disk_that_fails_leaves_the_old_one() {
    for step in ["create", "append", "sync", "rename"] {
        let (disk, domain) = (MemoryDisk::new(), named("a.test"));
        let store = store(&disk);
        store.write(&domain, &known(9)).unwrap();
        disk.set_fault(move |operation| {
            (operation.name == step).then(|| io::Error::from(ErrorKind::StorageFull))
        });
        assert!(store.write(&domain, &known(1)).is_err(), "{step}");
        disk.clear_fault();
        assert_eq!((store.read(&domain), disk.files().len()), (Some(known(9)), 1), "{step}");
    }
}

#[test]
fn the_oldest_makes_room_and_drafts_go() {
    let (disk, now) = (MemoryDisk::new(), SystemTime::now());
    let at = |name: &str| Path::new("/spool/mta-sts").join(name);
    store(&disk).write(&named("old.test"), &known(9)).unwrap();
    for index in 1..STS_DOMAINS_MAX {
        disk.put(&at(&format!("d{index}.test")), b"x", now + Duration::from_secs(9));
    }
    store(&disk).write(&named("d1.test"), &known(9)).unwrap();
    assert!(store(&disk).read(&named("old.test")).is_some());
    store(&disk).write(&named("new.test"), &known(9)).unwrap();
    assert_eq!(store(&disk).read(&named("old.test")), None);
    assert_eq!(store(&disk).domains().unwrap().len(), STS_DOMAINS_MAX);

    disk.put(&at(".young"), b"x", now);
    disk.put(&at(".aged"), b"x", now - STS_DRAFT_AGE);
    disk.put(&at("No Domain"), b"x", now - STS_DRAFT_AGE);
    store(&disk).clean(now);
    let names: Vec<_> = disk.files().into_iter().map(|(path, _)| path).collect();
    assert!(names.contains(&at(".young")) && names.contains(&at("No Domain")));
    assert!(!names.contains(&at(".aged")));
    assert_eq!(store(&disk).domains().unwrap().len(), STS_DOMAINS_MAX);
}

#[test]
fn when_a_policy_ends_and_is_fetched_anew() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let week = known(604_800);
    assert_eq!(week.until(), at("2026-01-08T00:00:00Z"));
    assert!(week.holds(at("2026-01-07T23:59:59Z")) && !week.holds(week.until()));
    assert_eq!(week.renewed(), Some(at("2026-01-02T00:00:00Z")));
    assert!(!week.is_due(at("2026-01-01T23:59:59Z")) && week.is_due(at("2026-01-02T00:00:00Z")));
    assert_eq!(known(3600).renewed(), Some(at("2026-01-01T00:30:00Z")));
    // Nobody needs it any more.
    let unused = KnownPolicy { used: at("2025-11-01T00:00:00Z"), ..week.clone() };
    assert_eq!((unused.renewed(), unused.is_due(unused.until())), (None, false));
    // The clock was wrong.
    assert!(week.is_due(at("2025-06-01T00:00:00Z")) && week.holds(at("2025-06-01T00:00:00Z")));
    assert!(!known(0).holds(known(0).fetched));
}
