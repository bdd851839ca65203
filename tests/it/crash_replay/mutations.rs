//! What the server might do wrong, one thing at a time: a log as a server would have made it that left out
//! a sync, or did two things in the other order. Each of them has to break an invariant somewhere, or
//! the replay would not see the same fault in the server.

use super::log::{Entry, Mark, Synced, What};
use super::tree::{Node, is_in};
use super::workloads::Record;
use super::world::{MAIL, SPOOL};
use std::path::Path;

/// One fault; none where a scene has nothing of the kind.
pub struct Mutation {
    pub name: &'static str,
    pub apply: fn(&Record) -> Option<Vec<Entry>>,
}

const fn of(name: &'static str, apply: fn(&Record) -> Option<Vec<Entry>>) -> Mutation {
    Mutation { name, apply }
}

pub const MUTATIONS: [Mutation; 37] = [
    of("a session's copies are not synced", |r| skip(r, |e| is_copy(e) && e.phase == "session")),
    of("copies from the queue are not synced", |r| skip(r, |e| is_copy(e) && e.phase == "turn")),
    of("a session's queue file is not synced", |r| {
        skip(r, |e| is_queued(e) && e.phase == "session")
    }),
    of("a notice is not synced", |r| skip(r, |e| is_queued(e) && e.phase == "turn")),
    of("what is taken in is not synced", |r| skip(r, |e| is_queued(e) && e.phase == "pickup")),
    of("a drop is not synced", |r| skip(r, |e| e.name == "sync" && is_in(&e.path, "drop"))),
    of("a drop's name is not synced", |r| skip(r, |e| is_syncfs(e) && e.phase == "sendmail")),
    of("a batch's data are not synced", |r| skip_syncfs(r, 0)),
    of("a batch's names are not synced", |r| skip_syncfs(r, 1)),
    of("a batch's octets are not waited for", |r| skip(r, |e| is_wait(e) && e.phase == "session")),
    of("octets of a late copy or a notice are not waited for", |r| {
        skip(r, |e| is_wait(e) && e.phase == "turn")
    }),
    of("an ordered batch's names are not synced", |r| match r.keeps_order {
        true => skip(r, |e| is_syncfs(e) && e.phase == "session"),
        false => None,
    }),
    of("named before its octets were waited for", |r| {
        let goes = |e: &Entry| {
            e.name == "rename_new" && (is_in(&e.path, "new") || is_in(&e.path, "queue"))
        };
        sooner(r, goes, |e| is_begin(e) && is_wait(e))
    }),
    of("new/ is not synced", |r| skip(r, |e| is_dir(e, "new") && e.phase == "session")),
    of("new/ is not synced from the queue", |r| skip(r, |e| is_dir(e, "new") && e.phase == "turn")),
    of("queue/ is not synced", |r| skip(r, |e| is_dir(e, "queue") && e.phase == "session")),
    of("queue/ is not synced after a notice", |r| {
        skip(r, |e| is_dir(e, "queue") && e.phase == "turn")
    }),
    of("removals from the queue are not synced", |r| skip(r, |e| e.phase == "removals")),
    of("removals of drops are not synced", |r| {
        skip(r, |e| is_dir(e, "drop") && e.phase == "pickup")
    }),
    of("journal lines are not synced", |r| {
        skip(r, |e| e.name == "sync" && is_in(&e.path, "queue"))
    }),
    of("damaged/ is not synced for a queue file", |r| {
        skip(r, |e| is_dir(e, "damaged") && e.phase != "pickup")
    }),
    of("damaged/ is not synced for a drop", |r| {
        skip(r, |e| is_dir(e, "damaged") && e.phase == "pickup")
    }),
    of("the spool's names are not synced", |r| {
        skip(r, |e| e.path == Path::new(SPOOL) && e.phase == "start")
    }),
    of("parents of a new Maildir are not synced", |r| {
        skip(r, |e| e.name == "sync_dir" && e.path == Path::new(MAIL).parent().unwrap())
    }),
    of("a new Maildir's name is not synced", |r| {
        skip(r, |e| e.name == "sync_dir" && e.path == Path::new(MAIL))
    }),
    of("a new Maildir's own names are not synced", |r| {
        skip(r, |e| e.name == "sync_dir" && e.path.parent() == Some(Path::new(MAIL)))
    }),
    of("a new folder's own name is not synced", |r| {
        let is_there = |maildir: &Path| r.log.iter().any(|e| e.path == maildir.join(".Junk"));
        skip(r, |e| e.name == "sync_dir" && is_there(&e.path))
    }),
    of("a large message's copies are not synced", |r| {
        let is_large = |node: Node| r.after.octets(node).is_ok_and(|all| all.len() > 60_000);
        let number = |e: &Entry| match e.what {
            What::End(number, Synced::File(node), _) if is_copy(e) && is_large(node) => {
                Some(number)
            }
            _ => None,
        };
        let all: Vec<usize> = r.log.iter().filter_map(number).collect();
        skip(r, |e| begun(e, |_| true).is_some_and(|number| all.contains(&number)))
    }),
    of("the secret is not synced", |r| skip(r, is_secret)),
    of("the secret's name is not synced", |r| {
        let named =
            r.log.iter().position(|e| e.name == "link" && e.path.ends_with("srs.secret"))?;
        let is_spool = |e: &Entry| e.name == "sync_dir" && e.path == Path::new(SPOOL);
        // That of the other secret would do for both.
        let later: Vec<usize> =
            r.log[named..].iter().filter_map(|entry| begun(entry, is_spool)).collect();
        skip(r, |entry| begun(entry, |_| true).is_some_and(|number| later.contains(&number)))
    }),
    of("what a restart finds twice is not durably gone", |r| {
        skip(r, |e| is_dir(e, "drop") && e.phase == "start")
    }),
    of("published before it is synced", |r| {
        let goes = |e: &Entry| {
            e.name == "rename_new" && (is_in(&e.path, "new") || is_in(&e.path, "queue"))
        };
        sooner(r, goes, |e| is_begin(e) && (e.name == "sync" || is_syncfs(e)))
    }),
    of("answered before the names are synced", |r| {
        let is_answer = |e: &Entry| matches!(e.what, What::Mark(Mark::Answered { .. }));
        sooner(r, is_answer, |e| is_begin(e) && (e.name == "sync_dir" || is_syncfs(e)))
    }),
    of("removed before the notice is durable", |r| {
        let goes = |e: &Entry| e.name == "remove" && is_in(&e.path, "queue");
        sooner(r, goes, |e| is_begin(e) && is_queued(e) && e.phase == "turn")
    }),
    of("a failure is journalled before its notice is durable", journal_first),
    of("a drop is removed before its queue file is durable", |r| {
        let goes = |e: &Entry| e.name == "remove" && is_in(&e.path, "drop");
        sooner(r, goes, |e| is_begin(e) && is_dir(e, "queue") && e.phase == "pickup")
    }),
    of("settled before the journal is synced", |r| {
        let goes =
            |e: &Entry| matches!(e.what, What::Mark(Mark::Settled { .. })) && e.phase == "turn";
        sooner(r, goes, |e| is_begin(e) && e.name == "sync" && is_in(&e.path, "queue"))
    }),
];

fn is_begin(entry: &Entry) -> bool {
    matches!(entry.what, What::Begin(_))
}

fn is_copy(entry: &Entry) -> bool {
    entry.name == "sync" && entry.path.starts_with(MAIL)
}

/// A draft of the queue.
fn is_queued(entry: &Entry) -> bool {
    entry.name == "sync" && entry.path.parent() == Some(&Path::new(SPOOL).join("tmp"))
}

fn is_wait(entry: &Entry) -> bool {
    entry.name == "wait_written"
}

fn is_syncfs(entry: &Entry) -> bool {
    entry.name == "sync_file_system"
}

fn is_dir(entry: &Entry, name: &str) -> bool {
    entry.name == "sync_dir" && entry.path.ends_with(name)
}

fn is_secret(entry: &Entry) -> bool {
    entry.name == "sync" && entry.path.to_string_lossy().contains("srs.secret")
}

/// Without the syncs that fit, as if nobody had asked for them.
fn skip(record: &Record, fits: impl Fn(&Entry) -> bool) -> Option<Vec<Entry>> {
    let skipped: Vec<usize> = record.log.iter().filter_map(|entry| begun(entry, &fits)).collect();
    let is_skipped = |entry: &&Entry| match entry.what {
        What::Begin(number) | What::End(number, ..) => skipped.contains(&number),
        _ => false,
    };
    let log = record.log.iter().filter(|entry| !is_skipped(entry)).cloned().collect();
    (!skipped.is_empty()).then_some(log)
}

fn begun(entry: &Entry, fits: impl Fn(&Entry) -> bool) -> Option<usize> {
    match entry.what {
        What::Begin(number) if fits(entry) => Some(number),
        _ => None,
    }
}

/// A batch has two: after all is written, and after all is named; one where order is kept.
fn skip_syncfs(record: &Record, which: usize) -> Option<Vec<Entry>> {
    if record.keeps_order {
        return None;
    }
    let is_its = |entry: &Entry| is_syncfs(entry) && entry.phase == "session";
    let all: Vec<usize> = record.log.iter().filter_map(|entry| begun(entry, is_its)).collect();
    let one: Vec<usize> = all.into_iter().skip(which).step_by(2).collect();
    skip(record, |entry| begun(entry, |_| true).is_some_and(|number| one.contains(&number)))
}

/// With what `goes` earlier than it did: before the last entry that `stays`, unless somebody was told
/// anything in between.
fn sooner(
    record: &Record,
    goes: impl Fn(&Entry) -> bool,
    stays: impl Fn(&Entry) -> bool,
) -> Option<Vec<Entry>> {
    let (mut log, mut is_other) = (record.log.clone(), false);
    for at in 0..log.len() {
        if goes(&log[at]) {
            let told = log[..at].iter().rposition(|entry| matches!(entry.what, What::Mark(_)));
            let to = log[..at].iter().rposition(&stays);
            if let Some(to) = to.filter(|to| told.is_none_or(|told| told < *to)) {
                log[to..=at].rotate_right(1);
                is_other = true;
            }
        }
    }
    is_other.then_some(log)
}

/// A journal line that says that somebody failed, with its sync, before the notice is begun.
fn journal_first(record: &Record) -> Option<Vec<Entry>> {
    let mut log = record.log.clone();
    let is_failure = |entry: &Entry| match &entry.what {
        What::Append(_, octets) => {
            is_in(&entry.path, "queue") && memchr::memmem::find(octets, b" failed ").is_some()
        }
        _ => false,
    };
    let line = log.iter().position(is_failure)?;
    let is_notice = |entry: &Entry| entry.name == "create" && entry.path.starts_with(SPOOL);
    let notice = log[..line].iter().rposition(is_notice)?;
    // The line, the begin and the end of its sync.
    log[notice..line + 3].rotate_right(3);
    Some(log)
}
