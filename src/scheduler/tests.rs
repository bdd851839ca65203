use super::worker::tests::{ANY_USER, Place};
use super::*;
use crate::store::entry::{JournalLine, What};
use crossbeam_channel::bounded;
use jiff::SignedDuration;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::SystemTime;

/// A scheduler and a queue with this many messages for one next hop; the first is m000.
fn scheduler(messages: usize) -> (Place, Scheduler) {
    let place = Place::new(ANY_USER, &["ann@away.test", "bob@here.test"], Duration::ZERO);
    let text = place.disk.files().into_iter().find(|(path, _)| path.ends_with("m1")).unwrap().1;
    let text = String::from_utf8(text).unwrap();
    for number in 0..messages {
        let id = format!("m{number:03}");
        let octets = text.replace("id: m1\n", &format!("id: {id}\n"));
        let path = Path::new("/spool/queue").join(id);
        place.disk.put(&path, octets.as_bytes(), SystemTime::now());
    }
    place.disk.remove(Path::new("/spool/queue/m1")).unwrap();
    let current = Current::new((*place.setting.site).clone());
    let scheduler = Scheduler::new(place.worker.shared.clone(), current);
    (place, scheduler)
}

fn line(recipient: usize, what: What) -> JournalLine {
    let (host, words) = (String::new(), String::new());
    JournalLine { when: Timestamp::now(), recipient, what, host, words }
}

#[test]
fn a_stream_of_hints_keeps_nobody_from_its_turn() {
    let (_place, mut scheduler) = scheduler(3 * LOOK_AT_ONCE);
    for _ in 0..3 {
        scheduler.look_at_some();
        scheduler.handle_hint(Hint::LookAll);
    }
    assert!(scheduler.board.knows(&format!("m{}", 3 * LOOK_AT_ONCE - 1)));
    // Repeated hints do not pile up.
    assert_eq!(scheduler.looks.len(), 3 * LOOK_AT_ONCE);
}

/// What these are about is read first.
#[test]
fn a_stream_of_hints_about_some_messages_keeps_no_other_from_its_turn() {
    let (_place, mut scheduler) = scheduler(3 * LOOK_AT_ONCE);
    scheduler.shared.hints.send(Hint::Reload);
    for _ in 0..3 * LOOK_AT_ONCE / (LOOK_AT_ONCE - HINTS_AT_ONCE - 1) {
        scheduler.look_on();
        for number in 0..=HINTS_AT_ONCE {
            scheduler.handle_hint(Hint::Look(format!("m{number:03}")));
        }
    }
    assert!(scheduler.board.knows(&format!("m{}", 3 * LOOK_AT_ONCE - 1)));
    assert_eq!(scheduler.looks.len(), HINTS_AT_ONCE + 1);
    assert!(scheduler.shared.hints.take_lost().is_none(), "nor what lost hints were about");
}

#[test]
fn between_two_looks_at_the_whole_queue_others_have_a_turn() {
    let (_place, mut scheduler) = scheduler(1);
    let reports = scheduler.pool.reports();
    let (sender, hints) = bounded(9);
    for hint in [Hint::Reload, Hint::FlushAll, Hint::LookAll, Hint::FlushAll] {
        sender.send(hint).unwrap();
    }
    for left in [2, 1, 0] {
        assert!(scheduler.handle_hints(None, &hints, &reports).is_none());
        assert_eq!(hints.len(), left);
    }
    sender.send(Hint::Stop(bounded(1).0)).unwrap();
    assert!(scheduler.handle_hints(Some(Hint::Reload), &hints, &reports).is_some());
}

#[test]
fn what_has_changed_is_looked_at_though_other_hints_were_lost() {
    let (place, mut scheduler) = scheduler(2);
    scheduler.look_at_some();
    assert!(scheduler.board.wakes().unwrap() > retry::AT_ONCE);
    place.queue.claim("m000").unwrap().note(&[line(0, What::Asked)]).unwrap();
    scheduler.handle_hint(Hint::Look("m000".to_owned()));
    scheduler.look_all(false);
    scheduler.look_at_some();
    assert_eq!(scheduler.board.wakes(), Some(retry::AT_ONCE));
}

/// What a reload or a command has changed is not forgotten over a disk that fails for a moment.
#[test]
fn a_queue_that_could_not_be_listed_is_read_as_much_later() {
    let (place, mut scheduler) = scheduler(2);
    scheduler.look_at_some();
    place.disk.set_fault(|o| (o.name == "list").then(|| ErrorKind::Other.into()));
    scheduler.look_all(true);
    scheduler.look_all(false);
    place.disk.clear_fault();
    assert!(scheduler.looks.is_empty());
    let (when, anew) = scheduler.look_again.unwrap();
    assert!(when > Instant::now());
    scheduler.look_again = Some((Instant::now(), anew));
    scheduler.look_at_some();
    assert!(scheduler.look_again.is_none());
    scheduler.look_all(false);
    assert!(scheduler.looks.is_empty(), "only once");
    let reads = place.disk.operations().iter().filter(|o| o.name == "open").count();
    assert_eq!(reads, 4, "each at the start, and now");
}

/// Due times are by the system's clock: when it is set, they are read anew from the disk.
#[test]
fn a_clock_that_jumps() {
    const MESSAGES: usize = 100;
    for (jump, plans_anew) in [(3600, true), (-3600, true), (40, true), (-40, true), (5, false)] {
        let (_place, mut scheduler) = scheduler(MESSAGES);
        while !scheduler.looks.is_empty() {
            scheduler.look_at_some();
        }
        let shown = Timestamp::now() - SignedDuration::from_secs(jump);
        scheduler.clocks = (Instant::now(), shown);
        scheduler.follow_clock();
        let anew = scheduler.looks.len();
        // By stderr itself, not captured by the test harness.
        let line =
            format!("abuse: clock set by {jump} s: {anew} of {MESSAGES} messages planned anew\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
        assert_eq!(anew, if plans_anew { MESSAGES } else { 0 }, "set by {jump} s");
        // Only once: the next time its file is read, it is planned right.
        scheduler.looks.clear();
        scheduler.follow_clock();
        assert!(scheduler.looks.is_empty(), "set by {jump} s");
    }
}

#[test]
fn a_clock_is_told_as_people_tell_it() {
    for (millis, told) in [
        (-172_799_999, "the clock was set back by 2d0h"),
        (3_600_001, "the clock was set ahead by 1h00m"),
        (40_400, "the clock was set ahead by 40s"),
    ] {
        assert_eq!(clock_words(SignedDuration::from_millis(millis)), told);
    }
}

#[test]
fn a_lost_hint_is_made_up_for() {
    let (hints, heard) = Hints::new(1);
    let look = || Hint::Look("m1".to_owned());
    assert!(hints.send(look()) && hints.take_lost().is_none());
    assert!(!hints.send(Hint::Reload));
    assert_eq!((hints.take_lost(), hints.take_lost()), (Some(false), None));
    assert!(!hints.send(look()));
    assert_eq!((hints.take_lost(), hints.take_lost()), (Some(true), None));
    assert!(heard.try_recv().is_ok());
}

/// The files that are still to be read are listed already.
#[test]
fn while_the_queue_is_read_lost_hints_do_not_list_it_again() {
    let (place, mut scheduler) = scheduler(2 * LOOK_AT_ONCE);
    let lists = || place.disk.operations().iter().filter(|o| o.name == "list").count();
    let before = lists();
    // Its channel has no receiver, so each one is lost.
    scheduler.shared.hints.send(Hint::Reload);
    scheduler.look_on();
    assert_eq!(lists(), before);
    scheduler.look_on();
    scheduler.look_on();
    assert_eq!(lists(), before + 1);
}

/// Nothing else may come for a minute.
#[test]
fn what_a_lost_hint_was_about_does_not_wait_once_the_queue_is_read() {
    let (_place, mut scheduler) = scheduler(2);
    scheduler.shared.hints.send(Hint::Look("m001".to_owned()));
    scheduler.look_on();
    assert_eq!((scheduler.looks.len(), scheduler.wait()), (2, Duration::ZERO));
    scheduler.look_on();
    assert!(scheduler.looks.is_empty());
}

/// What a worker reports that ends there.
fn over(job: RelayJob) -> Report {
    Report {
        worker: 0,
        id: job.id,
        goal: job.goal,
        reach: Reach::Untried,
        due: None,
        expires: Timestamp::now(),
        notices: Vec::new(),
        claimed: Some(job.claimed),
        is_gone: false,
        is_astray: false,
    }
}

#[test]
fn what_the_disk_does_not_know_yet_is_not_left_lying() {
    let (place, mut scheduler) = scheduler(1);
    scheduler.look_at_some();
    let id: Id = "m000".into();
    let job = scheduler.next_job(Timestamp::now()).unwrap();
    place.disk.set_fault(|o| (o.name == "append").then(|| ErrorKind::StorageFull.into()));
    assert!(job.claimed.record_results(vec![line(0, What::Relayed)]).is_err());
    place.disk.clear_fault();
    scheduler.board.forget(&id);
    scheduler.take_report(over(job));
    assert!(scheduler.board.knows(&id), "claimed for ever, and nobody comes back to it");
    let later = retry::later(Timestamp::now(), 2 * TROUBLE_WAIT);
    let job = scheduler.next_job(later).unwrap();
    assert_eq!((job.claimed.is_ahead(), job.claimed.open()), (true, vec![1]));
    assert!(!job.claimed.record_results(Vec::new()).unwrap());
    scheduler.take_report(over(job));
    assert!(scheduler.active.is_empty());
}

/// To close it gives its octets back to the disk, which takes time.
#[test]
fn a_file_that_is_gone_is_closed_by_the_worker_that_removed_it() {
    let (_place, mut scheduler) = scheduler(1);
    scheduler.look_at_some();
    let job = scheduler.next_job(Timestamp::now()).unwrap();
    let id = job.id.clone();
    let in_hand = Arc::downgrade(&job.claimed);
    assert!(scheduler.claim(&id).is_ok(), "for a goal beside this one");
    drop(job);
    assert!(in_hand.upgrade().is_none(), "the scheduler would close it");
    assert!(matches!(scheduler.claim(&id), Err(QueueError::Busy)), "the report is on its way");
}

/// One that a session has handed on, and could not write that down.
#[test]
fn what_only_a_session_knows_is_taken_over_from_it() {
    for whats in [vec![What::Relayed], vec![What::Relayed, What::Relayed]] {
        let (place, mut scheduler) = scheduler(1);
        let claimed = place.queue.claim("m000").unwrap();
        let lines = whats.iter().enumerate().map(|(to, what)| line(to, *what)).collect();
        place.disk.set_fault(|o| {
            ["append", "remove"].contains(&o.name).then(|| ErrorKind::StorageFull.into())
        });
        let is_over = claimed.record_results(lines);
        assert!(is_over.is_err() || claimed.remove().is_err());
        place.disk.clear_fault();
        let open = claimed.open();
        scheduler.handle_hint(Hint::TakeOver(Box::new(claimed)));
        scheduler.handle_hint(Hint::Look("m000".to_owned()));
        scheduler.look_at_rest();
        let id: Id = "m000".into();
        assert!(scheduler.board.knows(&id));
        let active = scheduler.claim(&id).unwrap();
        assert_eq!(active.open(), open, "what the session knows");
    }
}

#[test]
fn a_removal_that_was_not_synced_is_synced_later() {
    let (place, mut scheduler) = scheduler(1);
    place.queue.claim("m000").unwrap().remove().unwrap();
    scheduler.unsynced = Some(Instant::now());
    let syncs = || place.disk.operations().iter().filter(|o| o.name == "sync_dir").count();
    place.disk.set_fault(|o| (o.name == "sync_dir").then(|| ErrorKind::Other.into()));
    scheduler.sync_removals(true);
    place.disk.clear_fault();
    let before = syncs();
    scheduler.sync_removals(true);
    assert_eq!((syncs(), scheduler.unsynced), (before + 1, None));
}

/// After a restart, ten thousand messages for hosts that were silent before do not delay others.
#[test]
fn after_a_restart_what_was_never_tried_goes_first() {
    let (place, mut scheduler) = scheduler(0);
    let whole = |id: &str, to: &str| {
        let queued = Timestamp::now() - SignedDuration::from_hours(9);
        format!(
            "facteur queue 1\nid: {id}\nqueued: {queued:.3}\nsession: s1\nfrom: <a@far.test>\n\
             to: <{to}>\nsize: 2\n\nx\n"
        )
    };
    let put = |id: &str, text: String| {
        place.disk.put(&Path::new("/spool/queue").join(id), text.as_bytes(), SystemTime::now());
    };
    for number in 0..300 {
        let id = format!("m{number:03}");
        let line =
            JournalLine { words: "4.4.1 did not answer".to_owned(), ..line(0, What::Deferred) };
        let line = JournalLine { when: Timestamp::now() - SignedDuration::from_hours(8), ..line };
        put(&id, format!("{}{line}\n", whole(&id, &format!("ann@silent{number}.test"))));
    }
    put("m999", whole("m999", "ann@alive.test"));
    scheduler.look_all(true);
    scheduler.look_at_rest();
    let given = std::iter::from_fn(|| scheduler.board.next(Timestamp::now()));
    let given: Vec<String> = given.map(|(id, ..)| id.to_string()).collect();
    assert!(given.iter().any(|id| id == "m999"), "{given:?}");
    assert!(given.len() < 10, "{given:?}");
}
