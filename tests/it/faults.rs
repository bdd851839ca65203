//! A disk that fails, at every step it can fail at: a message is answered with 4xx and is nowhere,
//! or with 250 and is everywhere.

use crate::room::{Room, answer, session};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// What a delivery asks of a disk.
const STEPS: [&str; 7] =
    ["create", "append", "sync", "link", "sync_dir", "sync_file_system", "make_dir"];

const EIO: i32 = 5;
const EACCES: i32 = 13;
const ENOSPC: i32 = 28;
const EDQUOT: i32 = 122;

/// System errors, and the reply that each of them becomes.
const ERRORS: [(i32, &str); 4] =
    [(EIO, "451 4.3.0 "), (ENOSPC, "452 4.3.1 "), (EDQUOT, "452 4.2.2 "), (EACCES, "451 4.3.0 ")];

/// So many users.
fn users(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("u{number}")).collect()
}

/// From now on the operation of this name fails, counted from 0, once.
fn fail_once(room: &Room, step: &'static str, at: usize, error: i32) {
    let mut seen = 0;
    room.disk.set_fault(move |operation| {
        seen += usize::from(operation.name == step);
        let fails = operation.name == step && seen == at + 1;
        fails.then(|| io::Error::from_raw_os_error(error))
    });
}

/// A room whose Maildirs are there already, when they are wanted.
fn room(recipients: usize, existing: bool) -> Room {
    let room = Room::new("");
    if existing {
        let told = room.talk(&[&session(&users(recipients), "warm", 0)]);
        assert!(answer(&told).starts_with("250 "), "{told}");
    }
    room
}

/// How often one delivery asks for each step.
fn count_steps(recipients: usize, size: usize, existing: bool) -> BTreeMap<&'static str, usize> {
    let room = room(recipients, existing);
    let before = room.disk.operations().len();
    room.talk(&[&session(&users(recipients), "first", size)]);
    let mut counts = BTreeMap::new();
    for operation in &room.disk.operations()[before..] {
        *counts.entry(operation.name).or_insert(0) += 1;
    }
    counts
}

/// Every step of one delivery fails once, with every error; then the client comes again.
fn fail_everywhere(recipients: usize, size: usize, existing: bool) {
    let counts = count_steps(recipients, size, existing);
    let users = users(recipients);
    for step in STEPS {
        for at in 0..counts.get(step).copied().unwrap_or(0) {
            for (error, reply) in ERRORS {
                let room = room(recipients, existing);
                fail_once(&room, step, at, error);
                let told = room.talk(&[&session(&users, "first", size)]);
                let context = format!("{step} {at} fails with {error}: {told}");
                let good = answer(&told).starts_with("250 2.0.0 ");
                assert!(good || answer(&told).starts_with(reply), "{context}");
                assert_eq!(room.count("first"), if good { recipients } else { 0 }, "{context}");
                let told = room.talk(&[&session(&users, "again", size)]);
                assert!(answer(&told).starts_with("250 2.0.0 "), "then: {context} {told}");
                assert_eq!(room.count("again"), recipients, "then: {context}");
            }
        }
    }
}

#[test]
fn new_maildirs() {
    fail_everywhere(3, 0, false);
}

#[test]
fn existing_maildirs() {
    fail_everywhere(3, 0, true);
}

#[test]
fn enough_recipients_for_syncfs() {
    fail_everywhere(9, 0, true);
    fail_everywhere(9, 0, false);
}

#[test]
fn a_message_that_spills() {
    fail_everywhere(2, 100_000, true);
}

#[test]
fn a_disk_that_stays_broken_refuses_until_it_is_mended() {
    for step in STEPS.into_iter().filter(|step| *step != "sync_file_system") {
        let room = Room::new("");
        room.disk.set_fault(move |operation| {
            (operation.name == step).then(|| io::Error::from_raw_os_error(EIO))
        });
        for recipients in [1, 3] {
            let told = room.talk(&[&session(&users(recipients), "never", 0)]);
            assert!(answer(&told).starts_with("451 4.3.0 "), "{step}: {told}");
            assert_eq!(room.count("never"), 0, "{step}");
        }
        room.disk.clear_fault();
        let told = room.talk(&[&session(&users(3), "then", 0)]);
        assert!(answer(&told).starts_with("250 2.0.0 ") && room.count("then") == 3, "{told}");
    }
}

/// A Maildir whose own name, or the name of a directory in it, is not on the disk loses all its mail
/// in a power cut, however well that mail was synced.
#[test]
fn no_250_while_a_new_directory_is_not_durable() {
    let counts = count_steps(1, 0, false);
    let mut forgotten = Vec::new();
    for at in 0..counts["sync_dir"] {
        let room = Room::new("");
        fail_once(&room, "sync_dir", at, EIO);
        let mut told = String::new();
        while !answer(&told).starts_with("250 2.0.0 ") {
            told = room.talk(&[&session(&users(1), "x", 0)]);
        }
        let (mut undurable, mut syncs) = (BTreeSet::new(), 0);
        for operation in room.disk.operations() {
            match operation.name {
                "make_dir" => {
                    undurable.insert(operation.path);
                }
                "sync_dir" => {
                    if syncs != at {
                        undurable.retain(|path| path.parent() != Some(&operation.path));
                    }
                    syncs += 1;
                }
                _ => {}
            }
        }
        if !undurable.is_empty() {
            forgotten.push(format!(
                "sync_dir {at} failed, and these got 250 all the same: {undurable:?}"
            ));
        }
    }
    assert!(forgotten.is_empty(), "{forgotten:#?}");
}
