use super::*;
use crate::store::memory::MemoryDisk;
use std::time::SystemTime;

const DIR: &str = "/trace";

/// A session with a refused transaction and two messages; a notice about the first.
const STORY: [(&str, &str); 3] = [
    (
        "2026-11-20",
        "2026-11-20T10:00:00.000001Z connected session=s1 client=192.0.2.1 service=smtp\n\
         2026-11-20T10:00:03.000001Z accepted id=m1 session=s1 from=ann@far.test size=1\n\
         2026-11-20T10:00:00.000002Z heard session=s1 text=\"EHLO far.test\"\n\
         2026-11-20T10:00:01.000000Z heard session=s1 transaction=1 text=\"MAIL FROM:<eve@far.test>\"\n\
         2026-11-20T10:00:01.000001Z heard session=s1 transaction=1 text=\"RCPT TO:<No@mx.test>\"\n\
         2026-11-20T10:00:02.000000Z heard session=s1 transaction=2 text=\"RCPT TO:<also-no@mx.test>\"\n\
         2026-11-20T10:00:02.500000Z heard session=s1 id=m1 transaction=2 text=\"RCPT TO:<bob@mx.test>\"\n\
         2026-11-20T10:00:02.600000Z header session=s1 id=m1 transaction=2 message-id=\"<A 1@far.test>\"\n\
         torn li\n",
    ),
    (
        "2026-11-20.2",
        "2026-11-20T10:00:05.000000Z accepted id=m2 session=s1 from=ann@far.test size=1\n\
         2026-11-20T10:00:04.000000Z heard session=s1 id=m2 transaction=3 text=\"RCPT TO:<zoe@mx.test>\"\n\
         2026-11-20T10:00:06.000000Z disconnected session=s1 reason=quit\n",
    ),
    (
        "2026-11-23",
        "2026-11-23T01:00:00.000000Z relayed id=m2 to=zoe@mx.test host=h tls=no reply=\"250 2.0.0 Ok: queued as 4XyZ12\"\n\
         2026-11-23T02:00:00.000000Z bounced id=m1 to=bob@mx.test reason=\"h: 550 no (ref: 77abc)\"\n\
         2026-11-23T02:00:01.000000Z noticed id=m1 notice=m9 to=ann@far.test what=failed\n\
         2026-11-23T02:00:02.000000Z delivered id=m9 to=ann@far.test maildir=/x\n",
    ),
];

fn disk() -> MemoryDisk {
    let disk = MemoryDisk::new();
    for (name, text) in STORY {
        disk.put(&Path::new(DIR).join(name), text.as_bytes(), SystemTime::now());
    }
    disk
}

fn ask(handles: &[&str], since: Option<&str>) -> Stories {
    let handles: Vec<Handle> = handles.iter().map(|text| Handle::new(text)).collect();
    let since = since.map(|text| text.parse().unwrap());
    let now = "2026-11-23T14:00:00Z".parse().unwrap();
    find(&disk(), Path::new(DIR), &Search { handles: &handles, since, now }).unwrap()
}

/// For each story, its ids and its number of lines.
fn told(handles: &[&str], since: Option<&str>) -> Vec<(String, usize)> {
    let found = ask(handles, since);
    found.stories.iter().map(|story| (story.ids.join(" "), story.lines.len())).collect()
}

#[test]
fn every_handle_leads_to_the_story_it_belongs_to() {
    let (first, second) = (vec![("m1".to_owned(), 9)], vec![("m2".to_owned(), 6)]);
    let refused = vec![(String::new(), 5)];
    let all = vec![("m1 m2".to_owned(), 14)];
    let notice = vec![("m9".to_owned(), 2)];
    for (handle, expected) in [
        ("m1", &first),
        ("m2", &second),
        ("s1", &all),
        ("m9", &notice),
        ("<A 1@far.test>", &first),
        ("A 1@far.test", &first),
        ("4XyZ12", &second),
        ("77abc", &first),
        ("no@MX.test", &refused),
        ("<eve@far.test>", &refused),
        ("also-no@mx.test", &first),
        ("bob@mx.test", &first),
    ] {
        assert_eq!(told(&[handle], None), *expected, "{handle}");
    }
    // For an address all its stories are found, with lines in their order.
    assert_eq!(told(&["ann@far.test"], None).len(), 2, "{:?}", told(&["ann@far.test"], None));
    let found = ask(&["m1"], None);
    assert!(found.stories[0].lines.is_sorted_by_key(|line| line.when));
}

#[test]
fn what_is_unknown_is_said() {
    for handle in ["m", "far.test", "4xyz12", "queued", "ok", "nobody@mx.test", "a 1@far.test"] {
        assert_eq!(told(&[handle], None), [], "{handle}");
    }
    assert_eq!(ask(&["m1", "nobody@mx.test", "s1"], None).known, [true, false, true]);
    let none = find(
        &MemoryDisk::new(),
        Path::new(DIR),
        &Search { handles: &[Handle::new("m1")], since: None, now: Timestamp::UNIX_EPOCH },
    );
    assert_eq!(none.err().unwrap().source.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn since_when() {
    assert_eq!(told(&["bob@mx.test"], Some("2026-11-23T03:00:00Z")), []);
    // The bounce is newer, and it leads to the whole story.
    let whole = [("m1".to_owned(), 9)];
    assert_eq!(told(&["bob@mx.test"], Some("2026-11-22T03:00:00Z")), whole);
    assert_eq!(told(&["m1"], Some("2026-11-23T03:00:00Z")), []);
    // An address goes back a week by itself, an id as far as there are stories.
    let now = "2026-12-23T14:00:00Z".parse().unwrap();
    for (handle, count) in [("bob@mx.test", 0), ("m1", 1), ("A 1@far.test", 1)] {
        let handles = [Handle::new(handle)];
        let question = Search { handles: &handles, since: None, now };
        assert_eq!(find(&disk(), Path::new(DIR), &question).unwrap().stories.len(), count);
    }
}

#[test]
fn of_many_stories_the_newest_are_told() {
    let disk = MemoryDisk::new();
    for day in 10..20 {
        let line = |n| {
            format!(
                "2026-11-{day}T10:00:00.{n:06}Z delivered id=m{day}{n:03} to=ann@mx.test maildir=/x\n"
            )
        };
        let text: String = (0..30).map(line).collect();
        disk.put(
            &Path::new(DIR).join(format!("2026-11-{day}")),
            text.as_bytes(),
            SystemTime::now(),
        );
    }
    let handles = [Handle::new("ann@mx.test")];
    let now = "2026-11-20T14:00:00Z".parse().unwrap();
    let since = Some(Timestamp::UNIX_EPOCH);
    let found = find(&disk, Path::new(DIR), &Search { handles: &handles, since, now }).unwrap();
    assert_eq!((found.stories.len(), found.is_cut), (STORIES_MAX, true));
    assert_eq!(found.stories.last().unwrap().ids, ["m19029"]);
    assert_eq!(found.stories[0].ids, ["m16020"]);
}
