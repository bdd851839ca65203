use super::files::{FileName, StoryWriter, list};
use super::follow::Follower;
use super::*;
use crate::event::sink::{Sink, TraceRecord};
use crate::limits::{TRACE_PARTS, TRACE_ROOM, TRACE_SIZE_MIN};
use crate::store::memory::MemoryDisk;
use crossbeam_channel::bounded;
use jiff::SignedDuration;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

const DIR: &str = "/trace";

fn trace(keep_days: u64, size: u64) -> Trace {
    Trace { keep: Duration::from_secs(keep_days * 24 * 3600), size }
}

fn writer(disk: &MemoryDisk, limits: Trace) -> StoryWriter {
    StoryWriter::new(Arc::new(disk.clone()), DIR.into(), Box::new(move || limits.clone()))
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Names and sizes, oldest first.
fn files(disk: &MemoryDisk) -> Vec<(String, u64)> {
    let path = |name: &FileName| Path::new(DIR).join(name.to_string());
    let size = |name: &FileName| disk.stat(&path(name)).unwrap().size;
    list(disk, Path::new(DIR)).unwrap().iter().map(|n| (n.to_string(), size(n))).collect()
}

fn content(disk: &MemoryDisk, name: &str) -> String {
    let path = Path::new(DIR).join(name);
    let found = disk.files().into_iter().find(|(other, _)| *other == path);
    String::from_utf8(found.unwrap().1).unwrap()
}

fn line(text: &str) -> TraceRecord {
    TraceRecord::Line { when: at("2026-11-23T14:00:00Z"), text: text.to_owned() }
}

#[test]
fn a_file_a_day_that_goes_on_after_a_crash() {
    let disk = MemoryDisk::new();
    let noon = at("2026-11-23T12:00:00Z");
    let mut first = writer(&disk, trace(30, TRACE_SIZE_MIN));
    first.append(b"one\n", noon).unwrap();
    first.append(b"torn", noon).unwrap();
    drop(first);
    let mut second = writer(&disk, trace(30, TRACE_SIZE_MIN));
    second.append(b"two\n", noon).unwrap();
    second.append(b"three\n", noon + SignedDuration::from_hours(24)).unwrap();
    // While another writer has the last file.
    let mut third = writer(&disk, trace(30, TRACE_SIZE_MIN));
    third.append(b"four\n", noon + SignedDuration::from_hours(24)).unwrap();
    assert_eq!(content(&disk, "2026-11-23"), "one\ntorn\ntwo\n");
    assert_eq!(content(&disk, "2026-11-24"), "three\n");
    assert_eq!(content(&disk, "2026-11-24.2"), "four\n");
}

#[test]
fn names_that_are_none_of_ours_are_left_alone() {
    for text in ["2026-11-23", "2026-11-23.2", "2026-11-23.10"] {
        assert_eq!(FileName::parse(text).unwrap().to_string(), text);
    }
    for text in ["", "x", "2026-11-23.1", "2026-11-23.02", "2026-11-23.", "2026-1-2", "2026-11-23~"]
    {
        assert_eq!(FileName::parse(text), None, "{text}");
    }
    assert!(FileName::parse("2026-11-23.10") > FileName::parse("2026-11-23.9"));
    let disk = MemoryDisk::new();
    disk.put(&Path::new(DIR).join("notes"), b"mine", SystemTime::now());
    disk.put(&Path::new(DIR).join("2020-01-01"), b"old\n", SystemTime::now());
    writer(&disk, trace(1, TRACE_SIZE_MIN)).append(b"x\n", at("2026-11-23T12:00:00Z")).unwrap();
    assert_eq!(files(&disk), [("2026-11-23".to_owned(), 2)]);
    assert_eq!(content(&disk, "notes"), "mine");
}

#[test]
fn what_is_too_old_goes() {
    let disk = MemoryDisk::new();
    let mut writer = writer(&disk, trace(3, TRACE_SIZE_MIN));
    let start = at("2026-11-01T12:00:00Z");
    for day in 0..40 {
        writer.append(b"x\n", start + SignedDuration::from_hours(24 * day)).unwrap();
    }
    // Three days back from the noon of the last one begin at noon of this.
    let names = ["2026-12-07", "2026-12-08", "2026-12-09", "2026-12-10"];
    assert_eq!(files(&disk).into_iter().map(|(name, _)| name).collect::<Vec<_>>(), names);
    // Old files are removed without new lines, too.
    writer.look(start + SignedDuration::from_hours(24 * 60)).unwrap();
    assert_eq!(files(&disk), [("2026-12-10".to_owned(), 2)], "that is still open");
}

#[test]
fn all_stay_within_their_size_however_much_one_day_brings() {
    let disk = MemoryDisk::new();
    let mut writer = writer(&disk, trace(30, TRACE_SIZE_MIN));
    let lines = vec![b'x'; 10_000];
    let start = at("2026-11-23T01:00:00Z");
    for n in 0..400 {
        let day = if n < 50 { 0 } else { 24 };
        writer.append(&lines, start + SignedDuration::from_hours(day)).unwrap();
        let total: u64 = files(&disk).iter().map(|(_, size)| size).sum();
        assert!(total <= TRACE_SIZE_MIN, "{n}: {total}");
    }
    let files = files(&disk);
    let total: u64 = files.iter().map(|(_, size)| size).sum();
    assert!(total > TRACE_SIZE_MIN / 2 && files.len() <= TRACE_PARTS as usize + 1, "{files:?}");
    assert!(files.iter().all(|(name, size)| {
        name.starts_with("2026-11-24.") && *size <= TRACE_SIZE_MIN / TRACE_PARTS
    }));
}

/// A running trace writer and its sink.
fn at_work(disk: &MemoryDisk) -> (Arc<Sink>, thread::JoinHandle<()>) {
    let (sink, records) = Sink::new();
    // Room for all.
    let limits = || trace(30, 64 * TRACE_SIZE_MIN);
    let writer = TraceWriter::new(Arc::new(disk.clone()), DIR.into(), records, limits);
    (Arc::new(sink), thread::spawn(|| writer.run()))
}

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_disk_that_hangs_holds_nobody_up_and_what_is_lost_is_told() {
    let disk = MemoryDisk::new();
    let (go, wait) = bounded::<()>(0);
    // The test holds on to the files in memory as well, so only the first step hangs.
    let mut is_hanging = true;
    disk.set_fault(move |_| {
        if std::mem::take(&mut is_hanging) {
            let _ = wait.recv();
        }
        None
    });
    let (sink, writer) = at_work(&disk);
    // More than there is room for: some are written before the disk hangs, some wait, the others are lost.
    let start = Instant::now();
    for n in 0..3 * TRACE_ROOM {
        sink.offer(line(&format!("event n={n} {}", "x".repeat(100))));
    }
    assert!(start.elapsed() < PATIENCE, "nobody waited");
    drop(go);
    sink.finish(PATIENCE);
    writer.join().unwrap();
    let mut told = 0;
    let mut lost = 0;
    for (name, _) in files(&disk) {
        for line in content(&disk, &name).lines() {
            match line.split_once(" lost records=") {
                Some((_, count)) => lost += count.parse::<usize>().unwrap(),
                None => told += 1,
            }
        }
    }
    assert!(lost > 0 && told > 0, "{told} {lost}");
    assert_eq!(told + lost, 3 * TRACE_ROOM);
}

#[test]
fn what_a_full_disk_did_not_take_is_told_later() {
    let disk = MemoryDisk::new();
    let (failed, seen) = bounded(100);
    disk.set_fault(move |operation| {
        let is_write = operation.name == "create";
        is_write.then(|| {
            let _ = failed.try_send(());
            io::Error::from(io::ErrorKind::StorageFull)
        })
    });
    let (sink, writer) = at_work(&disk);
    sink.offer(line("event n=1"));
    seen.recv_timeout(PATIENCE).unwrap();
    disk.clear_fault();
    sink.offer(line("event n=2"));
    sink.finish(PATIENCE);
    writer.join().unwrap();
    let (name, _) = files(&disk).pop().unwrap();
    let text = content(&disk, &name);
    assert!(text.contains(" event n=2\n") && text.contains(" lost records=1\n"), "{text}");
    assert!(!text.contains("n=1"), "{text}");
}

#[test]
fn who_is_left_alone_ends() {
    let disk = MemoryDisk::new();
    let (sink, writer) = at_work(&disk);
    sink.offer(line("event n=1"));
    drop(sink);
    writer.join().unwrap();
    assert!(content(&disk, &files(&disk)[0].0).ends_with(" event n=1\n"));
}

#[test]
fn a_trace_is_followed_over_midnight() {
    let disk = MemoryDisk::new();
    let mut writer = writer(&disk, trace(30, TRACE_SIZE_MIN));
    let mut put = |text: &str, now: &str| {
        let line = format!("{} {text}\n", at(now));
        writer.append(line.as_bytes(), at(now)).unwrap();
    };
    let mut early = Follower::new(&disk, Path::new(DIR)).unwrap();
    assert!(early.poll().unwrap().is_none(), "there is nothing yet");
    put("a", "2026-11-23T23:00:00Z");
    let mut follower = Follower::new(&disk, Path::new(DIR)).unwrap();
    let next = |follower: &mut Follower<'_>| {
        std::iter::from_fn(|| follower.poll().unwrap())
            .map(|record| record.text)
            .collect::<String>()
    };
    assert_eq!(next(&mut follower), "");
    put("b", "2026-11-23T23:59:59Z");
    put("c", "2026-11-24T00:00:01Z");
    put("d", "2026-11-25T00:00:01Z");
    assert_eq!(next(&mut follower), "bcd");
    assert_eq!(next(&mut follower), "");
    assert_eq!(next(&mut early), "abcd");
}
