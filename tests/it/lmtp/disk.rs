//! A disk that fails once a server has taken a copy: what the client hears, and what its next try repeats.

use super::keeper;
use crate::room::{Room, answer, letter, session};
use facteur::handoff::Hint;
use std::io::ErrorKind;
use std::sync::Arc;

/// A delivering room with dan at mx.test whose kept.test is at a server with this script. From when that has got a
/// message, nothing can be written any more.
fn room(script: &str) -> (Room, Arc<crate::hosts::Host>) {
    let host = Arc::new(keeper(script));
    let kept =
        format!("[domain.\"kept.test\"]\nlmtp = \"inet:{}\"\nany_user = true\n", host.address);
    let (room, seen) = (Room::new(&kept), host.clone());
    room.disk.set_fault(move |operation| {
        let is_write = ["create", "append", "sync", "remove"].contains(&operation.name);
        (is_write && !seen.mail().is_empty()).then(|| ErrorKind::StorageFull.into())
    });
    (room, host)
}

#[test]
fn with_other_copies_the_client_hears_of_no_failure_behind_the_server() {
    let (room, host) = room(".*1: 250 ok | 450 4.2.2 full");
    let to = ["dan@mx.test", "ann@kept.test", "bob@kept.test"].map(str::to_owned);
    let told = room.talk(&[&session(&to, "hi", 0)]);
    assert!(answer(&told).starts_with("250 2.0.0 "), "{told}");
    assert_eq!(host.mail().len(), 1);
    // The queue file has been there since before the server was asked, and what waits does so in it.
    let found = room.found(&letter("hi", 0));
    assert_eq!((&found.here[..], found.queued.contains(&to[2])), (&to[..1], true), "{found:?}");
    assert!(found.left.is_empty());
    // What the disk does not know is told to the scheduler: bob alone is still open.
    let claimed = room.hinted.try_iter().find_map(|hint| match hint {
        Hint::TakeOver(claimed) => Some(claimed),
        _ => None,
    });
    let claimed = claimed.unwrap();
    let open = claimed.open().into_iter();
    let open: Vec<String> =
        open.map(|at| claimed.message.entry.recipients[at].mailbox.to_string()).collect();
    assert_eq!(open, to[2..]);
    room.disk.clear_fault();
    assert!(!claimed.record_results(Vec::new()).unwrap() && !claimed.is_ahead());
}

/// Nothing that is durable has the second copy: only the client can bring it again.
#[test]
fn without_other_copies_the_client_keeps_what_can_neither_be_handed_on_nor_queued() {
    let (room, host) = room(".*1: 250 ok | 450 4.2.2 full\n.: 250 ok | 250 ok");
    let to = ["ann@kept.test", "bob@kept.test"].map(str::to_owned);
    let told = room.talk(&[&session(&to, "hi", 0)]);
    assert!(answer(&told).starts_with("452 4.3.1 "), "{told}");
    assert_eq!((host.mail().len(), room.queue().len()), (1, 0));
    room.disk.clear_fault();
    let told = room.talk(&[&session(&to, "hi", 0)]);
    assert!(answer(&told).starts_with("250 2.0.0 "), "{told}");
    assert_eq!((host.mail().len(), room.queue().len()), (2, 0));
}
