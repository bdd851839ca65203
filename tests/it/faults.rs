//! A disk that fails, at every step it can fail at: a message is answered with 4xx and is nowhere,
//! or with 250 and is everywhere, in `new/` or in the queue.

use crate::room::{Room, answer, letter, session};
use facteur::store::disk::Disk;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What a delivery asks of a disk.
const STEPS: [&str; 10] = [
    "create",
    "append",
    "sync",
    "rename_new",
    "sync_dir",
    "sync_file_system",
    "make_dir",
    "stat",
    "scratch",
    "read_at",
];

/// Those that a message for Maildirs which are there cannot do without.
const NEEDED: [&str; 5] = ["create", "append", "sync", "rename_new", "sync_dir"];

const EIO: i32 = 5;
const EACCES: i32 = 13;
const ENOSPC: i32 = 28;
const EDQUOT: i32 = 122;

/// System errors, and the reply that each of them becomes.
const ERRORS: [(i32, &str); 4] =
    [(EIO, "451 4.3.0 "), (ENOSPC, "452 4.3.1 "), (EDQUOT, "452 4.2.2 "), (EACCES, "451 4.3.0 ")];

/// The client of a [`Room`] may write to anybody.
pub const RELAY: &str = "[relay]\nnetworks = [\"127.0.0.0/8\"]";

/// Whom a message is for.
#[derive(Clone, Copy)]
struct To {
    here: usize,
    elsewhere: usize,
}

impl To {
    /// In order.
    fn people(self) -> Vec<String> {
        let here = (0..self.here).map(|number| format!("u{number}@mx.test"));
        here.chain((0..self.elsewhere).map(|number| format!("x{number}@far.test"))).collect()
    }

    /// Files that it makes when nothing fails.
    fn files(self) -> usize {
        self.here + usize::from(self.elsewhere > 0)
    }
}

/// From now on the operation of this name fails, counted from 0, once; gives its path then.
fn fail_once(room: &Room, step: &'static str, at: usize, error: i32) -> Arc<Mutex<PathBuf>> {
    let failed = Arc::<Mutex<PathBuf>>::default();
    let (note, mut seen) = (failed.clone(), 0);
    room.disk.set_fault(move |operation| {
        seen += usize::from(operation.name == step);
        let fails = operation.name == step && seen == at + 1;
        if fails {
            note.lock().unwrap().clone_from(&operation.path);
        }
        fails.then(|| io::Error::from_raw_os_error(error))
    });
    failed
}

/// A room whose Maildirs are there already, when they are wanted.
fn room(to: To, existing: bool) -> Room {
    let room = Room::new(RELAY);
    if existing {
        let told = room.talk(&[&session(&To { elsewhere: 0, ..to }.people(), "warm", 0)]);
        assert!(answer(&told).starts_with("250 ") || to.here == 0, "{told}");
    }
    room
}

/// How often one delivery asks for each step.
fn count_steps(to: To, size: usize, existing: bool) -> BTreeMap<&'static str, usize> {
    let room = room(to, existing);
    let before = room.disk.operations().len();
    room.talk(&[&session(&to.people(), "first", size)]);
    let mut counts = BTreeMap::new();
    for operation in &room.disk.operations()[before..] {
        *counts.entry(operation.name).or_insert(0) += 1;
    }
    counts
}

/// Whether a message is taken though this step fails; none where that depends on when it was asked
/// for. A copy that cannot be written waits in the queue beside all else; without its queue file, its
/// names or a sync of them nothing is left of a message.
fn is_taken(step: &str, path: &Path, to: To, is_large: bool) -> Option<bool> {
    let (in_queue, is_last) = (path.starts_with("/spool"), to.files() == 1);
    match step {
        "stat" => Some(true),
        "rename_new" | "sync_file_system" | "scratch" => Some(false),
        "create" | "append" | "sync" if in_queue || path.starts_with("/spill") => Some(false),
        "create" | "append" | "make_dir" => Some(!is_last),
        // Large files are synced one by one by their session, which writes others in their place.
        "sync" => Some(is_large && !is_last),
        "sync_dir" if path.ends_with("new") || path.ends_with("queue") => Some(false),
        _ => None,
    }
}

/// Every step of one delivery fails once, with every error; then the client comes again.
fn fail_everywhere(to: To, size: usize, existing: bool) {
    let counts = count_steps(to, size, existing);
    let (people, nobody) = (to.people(), Vec::<String>::new());
    for step in STEPS {
        for at in 0..counts.get(step).copied().unwrap_or(0) {
            for (error, reply) in ERRORS {
                let mut room = room(to, existing);
                let failed = fail_once(&room, step, at, error);
                let told = room.talk(&[&session(&people, "first", size)]);
                let path = failed.lock().unwrap().clone();
                let context =
                    format!("{step} {at} of {} fails with {error}: {told}", path.display());
                let good = answer(&told).starts_with("250 2.0.0 ");
                assert!(good || answer(&told).starts_with(reply), "{context}");
                let expected = is_taken(step, &path, to, size > 65536);
                assert!(expected.is_none_or(|taken| taken == good), "{context}");
                let found = room.found(&letter("first", size));
                assert_eq!(&found.all(), if good { &people } else { &nobody }, "{context}");
                assert!(found.left.is_empty(), "{context}");
                let told = room.talk(&[&session(&people, "again", size)]);
                assert!(answer(&told).starts_with("250 2.0.0 "), "then: {context} {told}");
                let found = room.found(&letter("again", size));
                assert_eq!((found.here.len(), found.all()), (to.here, people.clone()), "{context}");
                assert_eq!(room.close(), room.queue(), "{context}");
            }
        }
    }
}

#[test]
fn new_maildirs() {
    fail_everywhere(To { here: 3, elsewhere: 0 }, 0, false);
    fail_everywhere(To { here: 2, elsewhere: 2 }, 0, false);
}

#[test]
fn existing_maildirs() {
    fail_everywhere(To { here: 3, elsewhere: 0 }, 0, true);
    fail_everywhere(To { here: 1, elsewhere: 0 }, 0, true);
}

#[test]
fn people_elsewhere() {
    fail_everywhere(To { here: 2, elsewhere: 2 }, 0, true);
    fail_everywhere(To { here: 0, elsewhere: 2 }, 0, true);
}

#[test]
fn enough_recipients_for_syncfs() {
    fail_everywhere(To { here: 9, elsewhere: 0 }, 0, true);
    fail_everywhere(To { here: 9, elsewhere: 1 }, 0, false);
    fail_everywhere(To { here: 7, elsewhere: 9 }, 0, true);
}

#[test]
fn a_message_that_spills() {
    fail_everywhere(To { here: 2, elsewhere: 0 }, 100_000, true);
    fail_everywhere(To { here: 2, elsewhere: 2 }, 100_000, true);
    fail_everywhere(To { here: 0, elsewhere: 1 }, 100_000, true);
    fail_everywhere(To { here: 1, elsewhere: 1 }, 100_000, false);
}

#[test]
fn a_disk_that_stays_broken_refuses_until_it_is_mended() {
    for step in NEEDED {
        let mut room = Room::new(RELAY);
        room.disk.set_fault(move |operation| {
            (operation.name == step).then(|| io::Error::from_raw_os_error(EIO))
        });
        let all = [(1, 0), (3, 0), (0, 2), (2, 2)].map(|(here, elsewhere)| To { here, elsewhere });
        for to in all {
            let told = room.talk(&[&session(&to.people(), "never", 0)]);
            assert!(answer(&told).starts_with("451 4.3.0 "), "{step}: {told}");
            assert_eq!(room.disk.files(), [], "{step}");
        }
        room.disk.clear_fault();
        let told = room.talk(&[&session(&all[3].people(), "then", 0)]);
        let found = room.found(&letter("then", 0));
        assert!(answer(&told).starts_with("250 2.0.0 ") && found.here.len() == 2, "{told}");
        assert_eq!((found.all(), room.close()), (all[3].people(), room.queue()));
    }
}

/// All Maildirs, but not the queue: mail for people elsewhere too has its queue file, where the others
/// find a place.
#[test]
fn maildirs_that_stay_broken() {
    for (size, step) in [0, 100_000]
        .into_iter()
        .flat_map(|size| ["create", "append", "make_dir"].map(|step| (size, step)))
    {
        let room = Room::new(RELAY);
        room.disk.set_fault(move |one| {
            let fails = one.name == step && one.path.starts_with("/etc/mail");
            fails.then(|| io::Error::from_raw_os_error(ENOSPC))
        });
        let to = To { here: 2, elsewhere: 0 };
        let told = room.talk(&[&session(&to.people(), "here", size)]);
        assert!(answer(&told).starts_with("452 4.3.1 "), "{step}: {told}");
        assert_eq!(room.disk.files(), [], "{step}");
        let to = To { here: 2, elsewhere: 1 };
        let told = room.talk(&[&session(&to.people(), "both", size)]);
        let found = room.found(&letter("both", size));
        assert!(answer(&told).starts_with("250 2.0.0 ") && found.here.is_empty(), "{told}");
        assert_eq!((found.all(), found.left), (to.people(), vec![]), "{step}");
    }
}

/// A queue file that names somebody for whom a copy lies in `new/` would bring it twice.
#[test]
fn nobody_has_it_twice() {
    let to = To { here: 3, elsewhere: 1 };
    for size in [0, 100_000] {
        for broken in to.people().into_iter().take(3) {
            let room = room(to, true);
            let user = broken.split('@').next().unwrap().to_owned();
            room.disk.set_fault(move |one| {
                let fails = one.name == "create" && one.path.iter().any(|part| *part == *user);
                fails.then(|| io::Error::from_raw_os_error(EDQUOT))
            });
            let told = room.talk(&[&session(&to.people(), "x", size)]);
            assert!(answer(&told).starts_with("250 2.0.0 "), "{told}");
            let mut queued = room.found(&letter("x", size)).queued;
            queued.sort();
            assert_eq!(queued, [broken, "x0@far.test".to_owned()]);
            assert_eq!(room.found(&letter("x", size)).all(), to.people());
        }
    }
}

/// A directory whose own name, or the name of one above it, is not on the disk loses all its mail in
/// a power cut, however well that mail was synced.
#[test]
fn no_250_while_a_new_directory_is_not_durable() {
    // As if somebody had removed the spool of a running server.
    let open = || {
        let room = Room::new(RELAY);
        for dir in ["/spool/queue", "/spool/tmp", "/spool/damaged", "/spool"] {
            room.disk.remove_dir(Path::new(dir)).unwrap();
        }
        room
    };
    let letter = session(&To { here: 1, elsewhere: 1 }.people(), "x", 0);
    let syncs = |room: &Room| {
        room.disk.operations().iter().filter(|operation| operation.name == "sync_dir").count()
    };
    let room = open();
    let before = syncs(&room);
    assert!(answer(&room.talk(&[&letter])).starts_with("250 2.0.0 "));
    let mut forgotten = Vec::new();
    // The last one: nothing fails.
    for at in 0..=syncs(&room) - before {
        let room = open();
        fail_once(&room, "sync_dir", at, EIO);
        // The second finds a place for what was late in the first.
        let mut taken = 0;
        while taken < 2 {
            taken += usize::from(answer(&room.talk(&[&letter])).starts_with("250 2.0.0 "));
        }
        let (mut undurable, mut syncs) = (BTreeSet::new(), 0);
        for operation in room.disk.operations() {
            match operation.name {
                "make_dir" => {
                    undurable.insert(operation.path);
                }
                "remove_dir" => {
                    undurable.remove(&operation.path);
                }
                "sync_dir" => {
                    if syncs != before + at {
                        undurable.retain(|path| path.parent() != Some(&operation.path));
                    }
                    syncs += 1;
                }
                _ => {}
            }
        }
        let holds_mail =
            |dir: &&PathBuf| room.disk.files().iter().any(|(path, _)| path.starts_with(dir));
        let undurable: Vec<_> = undurable.iter().filter(holds_mail).collect();
        if !undurable.is_empty() {
            forgotten.push(format!(
                "sync_dir {at} failed, and these got 250 all the same: {undurable:?}"
            ));
        }
    }
    assert!(forgotten.is_empty(), "{forgotten:#?}");
}
