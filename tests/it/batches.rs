//! Several messages in one batch on a disk that fails: one message's trouble is not the others'.

use crate::faults::RELAY;
use crate::memory::Operation;
use crate::room::{Room, answer, letter, session};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

/// Files that each message makes: two copies and one in the queue.
const FILES: usize = 3;

/// Two people here and two elsewhere for each message; in order.
fn people(message: usize) -> Vec<String> {
    let names = ["u", "v", "x", "y"].into_iter().zip(["mx", "mx", "far", "other"]);
    names.map(|(name, domain)| format!("{name}{message}@{domain}.test")).collect()
}

fn everybody(messages: usize) -> Vec<Vec<String>> {
    (0..messages).map(people).collect()
}

/// What the sessions are told whose messages, `m0` and so on, make one batch.
fn batch(room: &Room, people: &[Vec<String>]) -> Vec<String> {
    thread::scope(|scope| {
        let mut talks = Vec::new();
        for (message, people) in people.iter().enumerate() {
            let session = session(people, &format!("m{message}"), 0);
            talks.push(scope.spawn(move || room.talk(&[&session])));
            room.wait_for(message + 1);
        }
        room.open();
        talks.into_iter().map(|talk| talk.join().unwrap()).collect()
    })
}

/// Every message is everywhere after 250, in `new/` or in the queue, and nowhere after 4xx; gives how
/// many were taken.
fn taken(room: &Room, people: &[Vec<String>], told: &[String]) -> usize {
    let mut taken = 0;
    for (message, (told, people)) in told.iter().zip(people).enumerate() {
        let good = answer(told).starts_with("250 2.0.0 ");
        assert!(good || answer(told).starts_with("45"), "m{message}: {told}");
        let expected = if good { &people[..] } else { &[] };
        let mut expected = expected.to_vec();
        expected.sort();
        let found = room.found(&letter(&format!("m{message}"), 0));
        assert_eq!(found.all(), expected, "m{message}: {told}");
        assert!(good || found.left.is_empty(), "m{message}: {:?}", found.left);
        taken += usize::from(good);
    }
    taken
}

fn is_data_sync(operation: &Operation) -> bool {
    matches!(operation.name, "sync" | "sync_file_system" | "wait_written")
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
    let mut later = operations[failed + 1..].iter().filter(|one| one.path == *path);
    // A queue file that is written anew has the same name.
    let again = later.find(|one| is_data_sync(one) || one.name == "create");
    assert!(again.is_none_or(|one| one.name == "create"), "{again:?}");
}

/// Content before its name, each made durable, and both before any answer (every answer of these
/// sessions comes after the last operation).
#[test]
fn the_order_of_steps() {
    [1, 2, 3, 20].into_iter().for_each(|messages| steps_in_order(messages, DiskKind::Usual));
    // Where a syncfs is not known to reach what keeps the files, none is made.
    [2, 3, 20].into_iter().for_each(|messages| steps_in_order(messages, DiskKind::Remote));
    // Where order is kept, octets are waited for, and nothing is synced before the names are there.
    [1, 2, 3, 20].into_iter().for_each(|messages| steps_in_order(messages, DiskKind::Ordered));
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum DiskKind {
    Usual,
    Remote,
    Ordered,
}

fn steps_in_order(messages: usize, kind: DiskKind) {
    let mut room = Room::closed(RELAY);
    let is_remote = kind == DiskKind::Remote;
    match kind {
        DiskKind::Usual => {}
        DiskKind::Remote => room.disk.set_remote(),
        DiskKind::Ordered => room.disk.set_ordered(),
    }
    let told = batch(&room, &everybody(messages));
    assert_eq!(taken(&room, &everybody(messages), &told), messages);
    let is_each = is_remote || messages * FILES < 8;
    let operations = room.disk.operations();
    let at = |from: usize, name: &str, path: &Path| {
        let fits =
            |one: &Operation| one.name == name && (path == one.path || path == Path::new("*"));
        operations[from..].iter().position(fits).map(|at| at + from)
    };
    let created = operations.iter().enumerate().filter(|(_, one)| one.name == "create");
    assert_eq!(created.clone().count(), messages * FILES);
    for (index, created) in created {
        let draft = &created.path;
        let home = draft.parent().unwrap().parent().unwrap();
        let new = home.join(if home == Path::new("/spool") { "queue" } else { "new" });
        let written = at(index, "append", draft).unwrap();
        let all_written = operations.iter().rposition(|one| one.name == "append").unwrap();
        let synced = match is_each {
            _ if kind == DiskKind::Ordered => at(written, "wait_written", draft),
            true => at(written, "sync", draft),
            false => at(all_written, "sync_file_system", Path::new("*")),
        };
        let named_at = at(0, "rename_new", &new.join(draft.file_name().unwrap())).unwrap();
        assert!(written < synced.unwrap() && synced.unwrap() < named_at, "{operations:#?}");
        let named = match is_each {
            true => at(named_at, "sync_dir", &new),
            false => at(named_at, "sync_file_system", Path::new("*")),
        };
        assert!(named.is_some(), "{} has no durable name", draft.display());
        let stays = room.disk.files().iter().any(|(path, _)| path == draft);
        assert!(!stays, "{} stays in tmp", draft.display());
    }
    let names = operations.iter().position(|one| one.name == "rename_new").unwrap();
    let commits = |one: &&Operation| ["sync", "sync_file_system"].contains(&one.name);
    let early = operations[..names].iter().filter(commits).count();
    assert_eq!(early == 0, kind == DiskKind::Ordered, "{operations:#?}");
    // Of each message the queue file first, and the scheduler hears of it.
    let names: Vec<_> = operations.iter().filter(|one| one.name == "rename_new").collect();
    let is_queue = |one: &Operation| one.path.starts_with("/spool/queue");
    assert!(names.chunks(FILES).all(|names| is_queue(names[0])), "{names:#?}");
    assert_eq!((room.close(), room.queue().len()), (room.queue(), messages));
}

/// Any operation of a batch fails once: what was answered holds, and the others go on.
#[test]
fn every_step_of_a_batch() {
    for (messages, in_order) in [2, 3, 5].into_iter().flat_map(|one| [(one, false), (one, true)]) {
        let people = everybody(messages);
        for turn in 0.. {
            let mut room = Room::closed(RELAY);
            if in_order {
                room.disk.set_ordered();
            }
            let failed = fail_once(&room, turn, |one| one.name != "remove");
            let told = batch(&room, &people);
            let count = taken(&room, &people, &told);
            assert_eq!(room.close(), room.queue());
            let Some(failed) = *failed.lock().unwrap() else {
                assert!(turn > 20 && count == messages);
                break;
            };
            let Operation { name, path } = &room.disk.operations()[failed];
            let is_for_all = *name == "sync_file_system" || path == Path::new("/spool/queue");
            assert!(is_for_all || count >= messages - 1, "{name} {}: {told:?}", path.display());
        }
    }
}

/// Two messages are six files, each synced; three are nine, synced by their file system.
#[test]
fn after_a_failed_sync_each_message_is_delivered_alone() {
    for (messages, in_order) in [2, 3, 5].into_iter().flat_map(|one| [(one, false), (one, true)]) {
        let people = everybody(messages);
        for turn in 0.. {
            let room = Room::closed(RELAY);
            if in_order {
                room.disk.set_ordered();
            }
            let failed = fail_once(&room, turn, is_data_sync);
            let told = batch(&room, &people);
            let Some(failed) = *failed.lock().unwrap() else {
                assert!(turn > 0 && taken(&room, &people, &told) == messages);
                break;
            };
            let names = room.disk.operations()[..failed].iter().any(|one| one.name == "rename_new");
            // Once the names are there, a failure of all of them is answered as such.
            let all = taken(&room, &people, &told);
            assert!(names || all == messages, "{messages} {turn}: {told:?}");
            assert_not_synced_again(&room, failed);
        }
    }
}

/// A copy that is late in a batch whose sync fails is written when the message is tried alone: it must
/// not stay in the queue file as well.
#[test]
fn a_late_copy_in_a_batch_that_is_written_anew() {
    for messages in [1, 2, 3] {
        let people = everybody(messages);
        let room = Room::closed(RELAY);
        let (mut late, mut lost) = (false, false);
        room.disk.set_fault(move |one| {
            let is_late = !late && one.name == "create" && one.path.iter().any(|part| part == "u0");
            let is_lost = !lost && is_data_sync(one);
            (late, lost) = (late || is_late, lost || is_lost);
            (is_late || is_lost).then(|| io::Error::from_raw_os_error(28))
        });
        let told = batch(&room, &people);
        // Alone from the start it is not written twice.
        assert_eq!(taken(&room, &people, &told), if messages == 1 { 0 } else { messages });
        if messages > 1 {
            assert_eq!(room.found(&letter("m0", 0)).here, ["u0@mx.test", "v0@mx.test"]);
        }
    }
}

/// Whatever fails in one message's Maildirs, all other messages of the batch are delivered: a copy that
/// cannot be written waits in the queue, what cannot be synced or named refuses its message.
#[test]
fn a_broken_maildir_fails_its_own_mail_only() {
    let late = ["create", "append", "make_dir", "sync_dir"].map(|step| (step, 3));
    for (step, good) in late.into_iter().chain([("sync", 2), ("rename_new", 2)]) {
        for broken in ["u0", "u1", "v1", "v2"] {
            let room = Room::closed(RELAY);
            room.disk.set_fault(move |operation| {
                let inside = operation.path.iter().any(|part| part == broken);
                let fails = operation.name == step && inside;
                fails.then(|| io::Error::from_raw_os_error(28))
            });
            // Seven files: few enough to be synced one by one.
            let people = [people(0), people(1)[..2].to_vec(), people(2)[..2].to_vec()];
            let told = batch(&room, &people);
            assert_eq!(taken(&room, &people, &told), good, "{step} in {broken}: {told:?}");
            let queued = people
                .iter()
                .enumerate()
                .flat_map(|(message, _)| room.found(&letter(&format!("m{message}"), 0)).queued);
            let is_late = queued.into_iter().any(|to| to == format!("{broken}@mx.test"));
            assert_eq!(is_late, good == 3, "{step} in {broken}");
            let refused = told.iter().find(|told| !answer(told).starts_with("250 "));
            assert!(refused.is_none_or(|told| answer(told).starts_with("452 4.3.1 ")), "{told:?}");
        }
    }
}

/// Nothing can be put into the queue: only those suffer who have somebody elsewhere.
#[test]
fn a_broken_queue_fails_its_own_mail_only() {
    for step in ["create", "append", "sync", "rename_new", "sync_dir"] {
        let room = Room::closed(RELAY);
        room.disk.set_fault(move |one| {
            let fails = one.name == step && one.path.starts_with("/spool");
            fails.then(|| io::Error::from_raw_os_error(28))
        });
        let people = [people(0)[..2].to_vec(), people(1), people(2)[..2].to_vec()];
        let told = batch(&room, &people);
        assert_eq!(taken(&room, &people, &told), 2, "{step}: {told:?}");
        assert!(answer(&told[1]).starts_with("452 4.3.1 "), "{step}: {told:?}");
    }
}

#[test]
fn a_file_system_that_does_not_sync_refuses_all() {
    let mut room = Room::closed(RELAY);
    room.disk.set_fault(|one| is_data_sync(one).then(|| io::Error::from_raw_os_error(5)));
    let told = batch(&room, &everybody(5));
    assert_eq!(taken(&room, &everybody(5), &told), 0, "{told:?}");
    let mut synced: Vec<_> = room.disk.operations().into_iter().filter(is_data_sync).collect();
    let count = synced.len();
    synced.sort_by(|one, other| one.path.cmp(&other.path));
    synced.dedup();
    assert_eq!(synced.len(), count, "a file was synced twice");
    assert_eq!((room.disk.files(), room.close()), (vec![], vec![]));
}

/// A large message in a batch has been synced by its session: what fails beside it does not cost it
/// its place, and it is not written again.
#[test]
fn a_large_message_in_a_batch() {
    let to = ["large@mx.test".to_owned(), "large@far.test".to_owned()];
    for turn in 0..4 {
        let room = Room::closed(RELAY);
        let large = session(&to, "large", 200_000);
        let (told, first) = thread::scope(|scope| {
            let (room, large) = (&room, &large);
            let talk = scope.spawn(move || room.talk(&[large]));
            room.wait_for(1);
            let first = room.disk.operations().len();
            let small = session(&people(0), "m0", 0);
            let other = scope.spawn(move || room.talk(&[&small]));
            room.wait_for(2);
            fail_once(room, turn, is_data_sync);
            room.open();
            ([talk.join().unwrap(), other.join().unwrap()], first)
        });
        assert!(told.iter().all(|told| answer(told).starts_with("250 2.0.0 ")), "{told:?}");
        assert_eq!(taken(&room, &everybody(1), &told[1..]), 1);
        let found = room.found(&letter("large", 200_000));
        assert_eq!((&found.here[..], &found.queued[..]), (&to[..1], &to[1..]));
        let later = &room.disk.operations()[first..];
        let large = later.iter().filter(|one| one.path.iter().any(|part| part == "large"));
        let steps: Vec<_> = large.map(|one| one.name).collect();
        assert_eq!(steps, ["rename_new", "sync_dir"], "written anew: {later:#?}");
    }
}

/// A message to a list is written in slices, and those that come behind it are delivered in between; it is
/// everywhere or nowhere all the same, whatever fails.
#[test]
fn a_message_to_many_lets_others_pass() {
    let many: Vec<String> = (0..600).map(|number| format!("u{number}@mx.test")).collect();
    let people = [many.clone(), many, vec!["ann@mx.test".to_owned()]];
    let room = Room::closed(RELAY);
    let told = batch(&room, &people);
    assert_eq!(taken(&room, &people, &told), 3);
    let operations = room.disk.operations();
    let is_small =
        |one: &Operation| one.name == "rename_new" && one.path.iter().any(|part| part == "ann");
    let named = operations.iter().position(is_small).unwrap();
    let drafts = operations[..named].iter().filter(|one| one.name == "create").count();
    assert!(drafts <= 1 + 256, "{drafts} were written before it");
    for (name, turns) in [
        ("append", &[0, 700, 1199][..]),
        ("sync_file_system", &[0, 1, 3]),
        ("rename_new", &[1, 300, 900]),
    ] {
        for turn in turns {
            let room = Room::closed(RELAY);
            let failed = fail_once(&room, *turn, move |one| one.name == name);
            let told = batch(&room, &people);
            assert!(failed.lock().unwrap().is_some(), "{name} {turn}");
            let good = taken(&room, &people, &told);
            assert!(good == 3 || good == 2, "{name} {turn}: {good}");
        }
    }
}
