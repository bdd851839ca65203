//! Every crash, replayed; and the proof is proved.
//!
//! Scenes of a server's day ([`workloads`]) are played by the server's own functions on a disk that
//! records what it is asked for ([`model`]). Then, for each moment of such a record, a restart begins
//! from the states that a power cut may leave there ([`states`]), and what was promised until then has to
//! hold ([`invariants`]). Then the record is made worse by one missing sync or one changed order at a time
//! ([`mutations`]): each of these has to be seen. Last, each operation fails once in every way, and the
//! disk hangs until a session gives up ([`trouble`]).
//!
//! # What a power cut leaves
//!
//! As little as POSIX promises, and no more than ext4 and XFS keep:
//!
//! - Octets of a file are durable after a sync of that file (or of the file system) that began after they
//!   were written. What is younger is lost; torn after some octet; or there, with its size, and zeros
//!   in place of all of it or of some, in any order.
//! - A name (made, linked, renamed, removed) is durable after such a sync of its directory, or of the
//!   file system. Each younger step may be there or not, whatever became of those before and after it,
//!   so a directory's own name may be missing though all in it was synced.
//! - A rename is two names. As long as neither directory was synced, the old one is not gone without the
//!   new one there, as in any journal; past that each of them is on its own.
//! - Where the file system keeps its order, octets that were waited for are there with each name that was made
//!   after that. The same scenes are played on such a disk too. It keeps no more: names among themselves are as
//!   loose as above, and so are octets whose name is not there, or is older.
//! - What is asked for while a sync is under way is not made durable by it. A sync that failed was the
//!   last chance of those octets: a later one says nothing about them.
//! - Locks, and files without a name, are gone. Modes and owners are not modelled.
//!
//! Of the states at one moment all are looked at when they are few; else those that differ from "all is
//! kept" and from "all is lost" in one thing or two, and some by lot. A state is counted once for each
//! (moment, choice for every loose name and file); moments at which only somebody was told something
//! are looked at and not counted. A restart is made once for states that it cannot tell apart.

mod invariants;
mod letters;
mod log;
mod model;
mod mutations;
mod replay;
mod states;
mod tree;
mod trouble;
mod wires;
mod workloads;
mod world;

use mutations::{MUTATIONS, Mutation};
use replay::{Moments, replay};
use states::Depth;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use workloads::{Record, WORKLOADS, Workload};

/// How far the replay of the server itself goes; unoptimised there is time for less.
const DEPTH: Depth = match cfg!(debug_assertions) {
    true => Depth { all: 8, differ: 0, samples: 4 },
    false => Depth { all: 512, differ: 2, samples: 16 },
};

/// And that of a server with a fault: most show at the first look.
const LOOKS: [Depth; 2] =
    [Depth { all: 4, differ: 0, samples: 4 }, Depth { all: 64, differ: 1, samples: 16 }];

/// States that are too few to prove anything.
const FEWEST: usize = if cfg!(debug_assertions) { 4_000 } else { 150_000 };

/// What one thread does next.
enum Job<'a> {
    Scene(&'a Record),
    Fault(&'a Mutation),
}

/// What came of all.
#[derive(Default)]
struct Sum {
    states: usize,
    caught: Vec<&'static str>,
    broken: Vec<String>,
}

#[test]
fn crash_replay() {
    let seed = std::env::var("FACTEUR_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    println!("the lot is drawn from the seed {seed}; FACTEUR_SEED=n takes another");
    let both = |one: &Workload| [one.record().unwrap(), one.record_in_order().unwrap()];
    let mut records: Vec<Record> = WORKLOADS.iter().flat_map(both).collect();
    records.sort_by_key(|record| record.log.len());
    let scenes = records.iter().rev().map(Job::Scene);
    let jobs: Vec<Job<'_>> = scenes.chain(MUTATIONS.iter().map(Job::Fault)).collect();
    let (next, sum) = (AtomicUsize::new(0), Mutex::new(Sum::default()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from).min(4) {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, SeqCst)) {
                    run(job, &records, seed, &sum);
                }
            });
        }
    });
    let Sum { states, caught, broken } = sum.into_inner().unwrap();
    println!(
        "crash replay: {states} states, {} of {} mutations caught",
        caught.len(),
        MUTATIONS.len()
    );
    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
    let missed: Vec<_> =
        MUTATIONS.iter().map(|one| one.name).filter(|name| !caught.contains(name)).collect();
    assert!(missed.is_empty(), "nobody has seen it: {missed:?}");
    assert!(states >= FEWEST, "{states} states prove nothing");
}

fn run(job: &Job<'_>, records: &[Record], seed: u64, sum: &Mutex<Sum>) {
    match job {
        Job::Scene(record) => {
            let result = replay(record, &record.log, Moments::All, DEPTH, seed);
            let mut sum = sum.lock().unwrap();
            match result {
                Ok(states) => sum.states += states,
                Err(error) => sum.broken.push(error),
            }
        }
        Job::Fault(mutation) => {
            if is_caught(mutation, records, seed) {
                sum.lock().unwrap().caught.push(mutation.name);
            }
        }
    }
}

/// Whether a replay sees this fault in any scene.
fn is_caught(mutation: &Mutation, records: &[Record], seed: u64) -> bool {
    let worse: Vec<_> = records.iter().map(|record| (record, (mutation.apply)(record))).collect();
    LOOKS.iter().any(|depth| {
        worse.iter().any(|(record, log)| match log {
            Some(log) => replay(record, log, Moments::All, *depth, seed).is_err(),
            None => false,
        })
    })
}
