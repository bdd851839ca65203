//! Several messages in one batch on a disk that fails: one message's trouble is not the others'.

use crate::room::{Room, answer, session};
use facteur::store::memory::Operation;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

/// Two users of each message.
fn users(message: usize) -> Vec<String> {
    vec![format!("u{message}"), format!("v{message}")]
}

/// What so many sessions are told whose messages, `m0` and so on, make one batch.
fn batch(room: &Room, messages: usize) -> Vec<String> {
    thread::scope(|scope| {
        let mut talks = Vec::new();
        for message in 0..messages {
            let session = session(&users(message), &format!("m{message}"), 0);
            talks.push(scope.spawn(move || room.talk(&[&session])));
            room.wait_for(message + 1);
        }
        room.open();
        talks.into_iter().map(|talk| talk.join().unwrap()).collect()
    })
}

/// Every message is everywhere after 250, and nowhere after 4xx; gives how many were taken.
fn taken(room: &Room, told: &[String]) -> usize {
    let mut taken = 0;
    for (message, told) in told.iter().enumerate() {
        let good = answer(told).starts_with("250 2.0.0 ");
        assert!(good || answer(told).starts_with("45"), "m{message}: {told}");
        let expected = if good { 2 } else { 0 };
        assert_eq!(room.count(&format!("m{message}")), expected, "m{message}: {told}");
        taken += usize::from(good);
    }
    taken
}

fn is_data_sync(operation: &Operation) -> bool {
    matches!(operation.name, "sync" | "sync_file_system")
}

/// Fails the first operation that fits, at the given turn; gives where it stands among all.
fn fail_once(
    room: &Room,
    turn: usize,
    fits: impl Fn(&Operation) -> bool + Send + 'static,
) -> Arc<Mutex<Option<usize>>> {
    let failed = Arc::new(Mutex::new(None));
    let (note, mut all, mut fitting) = (failed.clone(), room.disk.operations().len(), 0);
    room.disk.set_fault(move |operation| {
        all += 1;
        fitting += usize::from(fits(operation));
        let fails = fits(operation) && fitting == turn + 1;
        if fails {
            *note.lock().unwrap() = Some(all - 1);
        }
        fails.then(|| io::Error::from_raw_os_error(5))
    });
    failed
}

/// The kernel tells of a failed write once; a second sync of that file would call it good.
fn assert_not_synced_again(room: &Room, failed: usize) {
    let operations = room.disk.operations();
    let path = &operations[failed].path;
    let again = |one: &&Operation| is_data_sync(one) && one.path == *path;
    assert_eq!(operations[failed + 1..].iter().find(again), None);
}

/// Content before its name, each made durable, and both before any answer (every answer of these
/// sessions comes after the last operation).
#[test]
fn the_order_of_steps() {
    for messages in [1, 3, 4, 20] {
        let room = Room::closed("");
        let told = batch(&room, messages);
        assert_eq!(taken(&room, &told), messages);
        let operations = room.disk.operations();
        let at = |from: usize, name: &str, path: &Path| {
            let fits =
                |one: &Operation| one.name == name && (path == one.path || path == Path::new("*"));
            operations[from..].iter().position(fits).map(|at| at + from)
        };
        for (index, created) in
            operations.iter().enumerate().filter(|(_, one)| one.name == "create")
        {
            let draft = &created.path;
            let new = draft.parent().unwrap().with_file_name("new");
            let written = at(index, "append", draft).unwrap();
            let all_written = operations.iter().rposition(|one| one.name == "append").unwrap();
            let synced = match messages * 2 < 8 {
                true => at(written, "sync", draft),
                false => at(all_written, "sync_file_system", Path::new("*")),
            };
            let linked = at(0, "link", &new.join(draft.file_name().unwrap())).unwrap();
            assert!(written < synced.unwrap() && synced.unwrap() < linked, "{operations:#?}");
            let named = match messages * 2 < 8 {
                true => at(linked, "sync_dir", &new),
                false => at(linked, "sync_file_system", Path::new("*")),
            };
            assert!(named.is_some(), "{} has no durable name", draft.display());
            assert!(at(linked, "remove", draft).is_some(), "{} stays in tmp", draft.display());
        }
    }
}

/// Three messages are six files, each synced; five are ten, synced by their file system.
#[test]
fn after_a_failed_sync_each_message_is_delivered_alone() {
    for messages in [2, 3, 5] {
        for turn in 0.. {
            let room = Room::closed("");
            let failed = fail_once(&room, turn, is_data_sync);
            let told = batch(&room, messages);
            let Some(failed) = *failed.lock().unwrap() else {
                assert!(turn > 0 && taken(&room, &told) == messages);
                break;
            };
            let names = room.disk.operations()[..failed].iter().any(|one| one.name == "link");
            // Once the names are there, a failure of all of them is answered as such.
            assert!(names || taken(&room, &told) == messages, "{messages} {turn}: {told:?}");
            taken(&room, &told);
            assert_not_synced_again(&room, failed);
        }
    }
}

/// Whatever fails in one message's Maildirs, all other messages of the batch are delivered.
#[test]
fn a_broken_maildir_fails_its_own_mail_only() {
    let steps = ["create", "append", "sync", "link", "sync_dir", "make_dir"];
    for step in steps {
        for broken in ["/u0", "/u1", "/v1", "/v2"] {
            let room = Room::closed("");
            room.disk.set_fault(move |operation| {
                let inside = operation.path.to_string_lossy().contains(broken);
                let fails = operation.name == step && inside;
                fails.then(|| io::Error::from_raw_os_error(28))
            });
            let told = batch(&room, 3);
            assert_eq!(taken(&room, &told), 2, "{step} in {broken}: {told:?}");
            let refused = told.iter().find(|told| !answer(told).starts_with("250 "));
            assert!(answer(refused.unwrap()).starts_with("452 4.3.1 "), "{told:?}");
        }
    }
}

#[test]
fn a_file_system_that_does_not_sync_refuses_all() {
    let room = Room::closed("");
    room.disk.set_fault(|one| is_data_sync(one).then(|| io::Error::from_raw_os_error(5)));
    let told = batch(&room, 5);
    assert_eq!(taken(&room, &told), 0, "{told:?}");
    let mut synced: Vec<_> = room.disk.operations().into_iter().filter(is_data_sync).collect();
    let count = synced.len();
    synced.sort_by(|one, other| one.path.cmp(&other.path));
    synced.dedup();
    assert_eq!(synced.len(), count, "a file was synced twice");
}

/// A large message in a batch has been synced by its session: what fails beside it does not cost it
/// its place, and it is not written again.
#[test]
fn a_large_message_in_a_batch() {
    for turn in 0..3 {
        let room = Room::closed("");
        let large = session(&["large".to_owned()], "large", 200_000);
        let told = thread::scope(|scope| {
            let (room, large) = (&room, &large);
            let talk = scope.spawn(move || room.talk(&[large]));
            room.wait_for(1);
            let small = session(&users(0), "m0", 0);
            let other = scope.spawn(move || room.talk(&[&small]));
            room.wait_for(2);
            fail_once(room, turn, |one| {
                is_data_sync(one) && !one.path.starts_with(Path::new("/etc/mail/mx.test/large"))
            });
            room.open();
            [talk.join().unwrap(), other.join().unwrap()]
        });
        assert!(told.iter().all(|told| answer(told).starts_with("250 2.0.0 ")), "{told:?}");
        assert_eq!((room.count("large"), room.count("m0")), (1, 2));
        let operations = room.disk.operations();
        let synced = operations.iter().filter(|one| one.name == "sync");
        let large = synced.filter(|one| one.path.to_string_lossy().contains("/large/")).count();
        assert_eq!(large, 1);
    }
}
