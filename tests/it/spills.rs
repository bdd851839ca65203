//! What fails or panics in a session's own thread: that message, or that session, and nothing else.

use crate::room::{Room, answer, session};
use crate::servers::Inside;
use crate::support::{Place, config, until};
use facteur::store::memory::MemoryDisk;
use std::io;
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
