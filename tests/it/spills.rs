//! What fails or panics in a session's own thread: that message, or that session, and nothing else.

use crate::faults::RELAY;
use crate::memory::MemoryDisk;
use crate::room::{Room, answer, session};
use crate::servers::Inside;
use crate::support::{Place, assert_no_drafts, config, until};
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

const SMALL: &[u8] = b"Subject: small\r\n\r\nHello.\r\n";

/// All files but those that a spool always has.
fn files(disk: &MemoryDisk) -> Vec<PathBuf> {
    let paths = disk.files().into_iter().map(|(path, _)| path);
    paths.filter(|path| !path.parent().unwrap().ends_with("spool")).collect()
}

fn large() -> Vec<u8> {
    [b"Subject: large\r\n\r\n", &b"0123456789abcdef\r\n".repeat(10_000)[..]].concat()
}

#[test]
fn a_full_spill_directory_refuses_the_message_and_the_session_goes_on() {
    let ann = ["ann".to_owned()];
    let two = [session(&ann, "large", 200_000), session(&ann, "small", 0)].concat();
    // 0: making the file; more: a write into it.
    for turn in [0, 1, 2, 3] {
        let room = Room::new("");
        let mut seen = 0;
        room.disk.set_fault(move |operation| {
            let scratch = operation.name == "scratch" || operation.path.ends_with("(scratch)");
            seen += usize::from(scratch);
            (scratch && seen > turn).then(|| io::Error::from_raw_os_error(28))
        });
        let told = room.talk(&[&two]);
        let refused = told.lines().filter(|line| line.starts_with("452 4.3.1 ")).count();
        assert_eq!((refused, told.matches("\r\n354 ").count()), (1, 2), "{turn}: {told}");
        assert!(answer(&told).starts_with("250 2.0.0 "), "{turn}: {told}");
        assert_eq!((room.count("large"), room.count("small")), (0, 1));
    }
}

#[test]
fn a_spill_file_that_cannot_be_read_back_is_no_short_message() {
    let room = Room::new("");
    room.disk.set_fault(|operation| {
        (operation.name == "read_at").then(|| io::Error::from_raw_os_error(5))
    });
    let told = room.talk(&[&session(&["ann".to_owned()], "large", 200_000)]);
    assert!(answer(&told).starts_with("451 4.3.0 "), "{told}");
    assert_eq!(room.count("large"), 0);
}

#[test]
fn a_panic_ends_its_session_only() {
    let place = Place::new();
    let disk = MemoryDisk::new();
    disk.set_fault(|operation| match operation.name {
        "scratch" => panic!("this panic is part of a test"),
        _ => None,
    });
    let server = Inside::on(Arc::new(disk.clone()), place.path(), &config(""));
    let mut beside = server.client();
    for _ in 0..3 {
        let mut client = server.client();
        client.begin(&["ann@mx.test"]);
        let _ = client.try_send(&large());
        client.expect_last("421 4.3.0 ");
        beside.delivered(&["ann@mx.test"], SMALL);
    }
    drop(beside);
    until("all sessions have left", || server.sessions() == 0);
    server.client().delivered(&["ann@mx.test"], SMALL);
    let files = files(&disk);
    assert!(files.iter().all(|path| path.parent().unwrap().ends_with("ann/new")), "{files:?}");
    assert_eq!(files.len(), 4);
}

#[test]
fn a_full_disk_and_a_socket() {
    let place = Place::new();
    let disk = MemoryDisk::new();
    let server = Inside::on(Arc::new(disk.clone()), place.path(), &config(""));
    let mut client = server.client();
    client.delivered(&["ann@mx.test"], SMALL);
    disk.set_fault(|one| (one.name == "append").then(|| io::Error::from_raw_os_error(28)));
    for message in [SMALL, &large()] {
        let reply = client.deliver(&["ann@mx.test", "bob@mx.test"], message);
        assert!(reply.starts_with("452 4.3.1 "), "{reply}");
    }
    disk.clear_fault();
    client.delivered(&["ann@mx.test", "bob@mx.test"], &large());
    assert_eq!(files(&disk).len(), 3);
}

/// As of a thin disk that had no room for some pages: the file is there, and so is its length.
#[test]
fn a_spill_file_that_lost_its_pages_is_no_message() {
    let place = Place::new();
    let server = Inside::serve(&place, &config(RELAY));
    for to in [&["ann@mx.test"][..], &["ann@mx.test", "bob@mx.test", "eve@far.test"]] {
        let mut client = server.client();
        client.expect("MAIL FROM:<sender@client.test>", "250 ");
        for to in to {
            client.expect(&format!("RCPT TO:<{to}>"), "250 ");
        }
        client.expect("DATA", "354 ");
        client.send(&large());
        let spilled = || {
            let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
            let is_its = |path: &PathBuf| {
                let file = fs::read_link(path).unwrap_or_default();
                file.starts_with(place.path()) && file.to_string_lossy().ends_with(" (deleted)")
            };
            open.map(|entry| entry.path()).find(is_its)
        };
        let size = || spilled().and_then(|path| Some(fs::metadata(path).ok()?.len()));
        until("most of it is there", || size().is_some_and(|size| size > 100_000));
        let file = fs::OpenOptions::new().write(true).open(spilled().unwrap()).unwrap();
        file.write_all_at(&[0; 4096], 40_960).unwrap();
        drop(file);
        client.send(b".\r\n");
        let reply = client.reply();
        assert!(reply.starts_with("451 4.3.0 "), "{reply}");
        for user in ["ann", "bob"] {
            assert!(place.mail(user).is_empty(), "{to:?}");
        }
        assert!(crate::support::files(&place.at("spool/queue")).is_empty());
        assert_no_drafts(&place);
    }
    server.client().delivered(&["ann@mx.test"], &large());
}
