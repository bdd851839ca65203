//! A disk that fails at one operation, every kind of failure at each operation of each scene; and one that
//! hangs until a session has given up.

use super::log::{Entry, What};
use super::model::{Fault, Recorder};
use super::replay::{Moments, replay};
use super::states::Depth;
use super::tree::is_in;
use super::workloads::{Record, WORKLOADS, Workload};
use crate::support::text;
use facteur::handoff::Claim;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

/// EIO, ENOSPC, EDQUOT, EROFS, EMFILE, EINTR, and ENOSPC in the middle of what is written.
const FAULTS: [fn() -> Fault; 7] = [
    || Fault::Fails(5),
    || Fault::Fails(28),
    || Fault::Fails(122),
    || Fault::Fails(30),
    || Fault::Fails(24),
    || Fault::Fails(4),
    || Fault::Half(28),
];

/// A power cut at the worst moments of what followed.
const DEPTH: Depth = Depth { all: 4, differ: 0, samples: 2 };

/// From now on operations are counted, and this one fails.
fn fail_at(disk: &Recorder, at: usize, fault: fn() -> Fault) -> Arc<AtomicUsize> {
    let count = Arc::<AtomicUsize>::default();
    let counted = count.clone();
    disk.set_plan(move |_, _| (counted.fetch_add(1, SeqCst) == at).then(fault));
    count
}

/// Where a letter lies: names in a `new/` or the queue.
fn places(record: &Record, tag: &str) -> Vec<String> {
    let subject = format!("\nSubject: {tag}\n");
    let files = record.after.files().into_iter();
    let named = files.filter(|(path, _)| is_in(path, "new") || is_in(path, "queue"));
    let its = named.filter(|(_, octets)| text(octets).contains(&subject));
    its.map(|(path, _)| path.display().to_string()).collect()
}

fn fail(
    workload: &Workload,
    in_order: bool,
    at: usize,
    fault: fn() -> Fault,
) -> Result<bool, String> {
    let mut count = Arc::default();
    let disturb = |disk: &Recorder| {
        if in_order {
            disk.keep_order();
        }
        count = fail_at(disk, at, fault);
    };
    let record = workload.record_with(disturb, None)?;
    for (tag, reply) in &record.replies {
        let places = places(&record, tag);
        match reply.get(..3) {
            Some("250") => {}
            Some("451" | "452") if places.is_empty() => {}
            _ => return Err(format!("{tag} was answered {reply}, and lies in {places:?}")),
        }
    }
    replay(&record, &record.log, Moments::Told, DEPTH, 1)?;
    Ok(count.load(SeqCst) > at)
}

/// 4xx, and nothing lies anywhere; or 250, and nothing is lost whatever comes then.
#[test]
fn every_operation_fails_once() {
    // The others let the disk fail by themselves.
    let fails = |name: &str| matches!(name, "a full disk in the middle" | "junk that is late");
    for workload in WORKLOADS.iter().filter(|one| !fails(one.name)) {
        // Unoptimised there is time for some, each with one kind of failure; far behind the start, where very
        // many copies are written alike, for few.
        let next = |at: &usize| match cfg!(debug_assertions) {
            true => Some(at + 5.max(at.saturating_sub(300) / 4)),
            false => Some(at + 1),
        };
        for at in std::iter::successors(Some(0), next) {
            let kinds = if cfg!(debug_assertions) { at % 7..at % 7 + 1 } else { 0..7 };
            let failed: Vec<bool> = kinds
                // Unoptimised each of the two disks has every other operation.
                .flat_map(|kind| [(kind, false), (kind, true)])
                .filter(|(kind, in_order)| !cfg!(debug_assertions) || (kind % 2 == 0) == *in_order)
                .map(|(kind, in_order)| {
                    let failed = fail(workload, in_order, at, FAULTS[kind]);
                    failed.unwrap_or_else(|error| {
                        let what = format!("operation {at} of {} fails", workload.name);
                        panic!("{what} ({kind}, order {in_order}): {error}")
                    })
                })
                .collect();
            if !failed.contains(&true) {
                assert!(at > 30, "{}: {at}", workload.name);
                break;
            }
        }
    }
}

/// Scenes in which nothing but sessions happens.
const SESSIONS: [usize; 4] = [0, 1, 2, 4];

/// At this operation of delivery every session whose message is there has waited long enough; gives
/// for each of them whether it could give up.
fn give_up_at(workload: &Workload, at: usize) -> (Record, Vec<bool>) {
    let claims = Arc::<Mutex<Vec<Arc<Claim>>>>::default();
    let given_up = Arc::<Mutex<Vec<bool>>>::default();
    let (seen, noted, count) = (claims.clone(), given_up.clone(), AtomicUsize::new(0));
    let hang = move |disk: &Recorder| {
        disk.set_plan(move |_, _| {
            let claims = seen.lock().unwrap();
            if !claims.is_empty() && count.fetch_add(1, SeqCst) == at {
                *noted.lock().unwrap() = claims.iter().map(|claim| claim.abandon()).collect();
            }
            None
        });
    };
    let watch = move |claim| claims.lock().unwrap().push(claim);
    let record = workload.record_with(hang, Some(Arc::new(watch))).unwrap();
    let given_up = given_up.lock().unwrap().clone();
    (record, given_up)
}

/// Whoever heard 451 because the disk hung does not find the message delivered when it goes on.
#[test]
fn a_disk_that_hangs() {
    for workload in SESSIONS.map(|index| &WORKLOADS[index]) {
        let mut both = [0; 2];
        for at in 0.. {
            let (record, given_up) = give_up_at(workload, at);
            if given_up.is_empty() {
                assert!(at > 10, "{}: {at}", workload.name);
                break;
            }
            let context = format!("{}, operation {at}: {:?}", workload.name, record.replies);
            for ((tag, reply), has_given_up) in record.replies.iter().zip(given_up) {
                both[usize::from(has_given_up)] += 1;
                let code = if has_given_up { "451 4.3.0 " } else { "250 2.0.0 " };
                assert!(reply.starts_with(code), "{context}");
                let subject = format!("\nSubject: {tag}\n");
                let was_named = |entry: &Entry| match &entry.what {
                    What::Rename(_, _, node) if entry.name == "rename_new" => {
                        text(record.after.octets(*node).unwrap()).contains(&subject)
                    }
                    _ => false,
                };
                assert_eq!(record.log.iter().any(was_named), !has_given_up, "{context}");
            }
            replay(&record, &record.log, Moments::Told, DEPTH, 1).unwrap();
        }
        assert!(both.iter().all(|count| *count > 0), "{}: {both:?}", workload.name);
    }
}
