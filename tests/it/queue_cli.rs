//! `facteur queue`: the real binary on queue files that this process has written, with and without
//! somebody at the hint socket.

use crate::commands::{run, run_clean};
use crate::support::{PATIENCE, Place, config, files, text, until};
use facteur::limits::HINT_WAIT;
use facteur::mail::address::ReversePath;
use facteur::mail::proof::dkim::ours::SignedBy;
use facteur::net::control::{self, Control, ControlHint};
use facteur::store::disk::{Doing, RealDisk};
use facteur::store::entry::{Entry, EntrySignature, JournalLine, What};
use facteur::store::queue::{Claimed, Queue, QueueError};
use jiff::{SignedDuration, Timestamp};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// A configuration whose spool is not there yet.
fn place() -> Place {
    let place = Place::new();
    place.write("facteur.toml", config(""));
    place
}

fn queue(place: &Place) -> Queue {
    Queue::new(Arc::new(RealDisk), &place.at("spool"))
}

const MESSAGE: &str = "Subject: x\n\n\x1b[2Jbody\n";

/// Puts a message into the queue; `lines` are those of the header between session and size.
fn insert(queue: &Queue, id: &str, queued: Timestamp, lines: &str) {
    let size = MESSAGE.len();
    let header = format!(
        "facteur queue 1\nid: {id}\nqueued: {queued}\nsession: s1\n{lines}\nsize: {size}\n"
    );
    let entry = Entry::parse(&header, 0).unwrap();
    queue
        .insert(&entry, |file, path| file.append(MESSAGE.as_bytes()).doing("write", path))
        .unwrap();
}

/// An ordinary one.
fn insert_plain(queue: &Queue, id: &str) {
    insert(queue, id, Timestamp::now(), "from: <ann@mx.test>\nto: <eve@far.test>");
}

fn record(queue: &Queue, id: &str, recipient: usize, what: What, host: &str, words: &str) {
    let (host, words) = (host.to_owned(), words.to_owned());
    let line = JournalLine { when: Timestamp::now(), recipient, what, host, words };
    claim(queue, id).record(&[line]).unwrap();
}

/// A claim that was given back may live on for a moment, in the child that another test starts.
fn claim(queue: &Queue, id: &str) -> Claimed {
    let mut claimed = Err(QueueError::Busy);
    until("the claim is free", || {
        claimed = queue.claim(id);
        !matches!(claimed, Err(QueueError::Busy))
    });
    claimed.unwrap()
}

fn ago(time: SignedDuration) -> Timestamp {
    Timestamp::now() - time
}

/// The columns of a listing for people.
fn columns(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|column| !column.is_empty()).collect()
}

/// Three messages, in every state that a listing tells apart.
fn three(place: &Place) -> Queue {
    let queue = queue(place);
    let to = "to: <eve@far.test>\nto: <bob@far.test> notify=failure orcpt=rfc822;b@x \
        via=<team@mx.test>\nto: <zoe@far.test>";
    let old = ago(SignedDuration::from_secs(11_110));
    insert(&queue, "m1", old, &format!("from: <ann@mx.test>\nenvid: e1\ntrusted: yes\n{to}"));
    record(&queue, "m1", 0, What::Deferred, "mx.far.test", "451-4.3.0 not now\n451 4.3.0 later");
    record(&queue, "m1", 2, What::Deferred, "mx.far.test", "451 of one who is done");
    record(&queue, "m1", 2, What::Failed, "mx.far.test", "550 5.1.1 nobody");
    insert(&queue, "m2", ago(SignedDuration::from_secs(65)), "from: <>\nto: <eve@far.test>");
    insert_plain(&queue, "m3");
    let until = Timestamp::now() + SignedDuration::from_mins(150);
    record(&queue, "m3", 0, What::Held, &until.to_string(), "mx.far.test does not answer");
    queue
}

#[test]
fn list_for_people() {
    let place = place();
    let queue = three(&place);
    // What is being sent can be listed all the same.
    let _claimed = claim(&queue, "m1");
    let (status, out, err) = run_clean(&place, &["queue", "list"]);
    assert_eq!((status, err.as_str()), (0, ""));
    let lines: Vec<Vec<&str>> = out.lines().map(columns).collect();
    assert_eq!(lines.len(), 3, "{out}");
    let size = MESSAGE.len().to_string();
    // Bob was not attempted yet: the earliest counts.
    assert_eq!(lines[0][..4], ["m1", "3h05m", &size, "now"]);
    let error = "mx.far.test: 451-4.3.0 not now / 451 4.3.0 later";
    assert_eq!(lines[0][4..], ["ann@mx.test", "eve@far.test,bob@far.test", error]);
    assert_eq!(lines[1], ["m2", "1m", &size, "now", "<>", "eve@far.test", "-"]);
    assert!(lines[2][3].starts_with("in 2h"), "{out}");
    assert_eq!(lines[2][6], "mx.far.test does not answer");
    let at = |line: &str, text: &str| line.find(text).unwrap();
    let starts: Vec<usize> = out.lines().map(|line| at(line, "eve@far.test")).collect();
    assert!(starts.iter().all(|start| *start == starts[0]), "aligned: {out}");
}

#[test]
fn list_for_scripts() {
    let place = place();
    let queue = three(&place);
    let before = Timestamp::now();
    let (status, out, err) = run_clean(&place, &["queue", "list", "--json"]);
    assert_eq!((status, err.as_str()), (0, ""));
    let objects: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 3);
    let time = |value: &serde_json::Value| value.as_str().unwrap().parse::<Timestamp>().unwrap();
    for (object, id) in objects.iter().zip(["m1", "m2", "m3"]) {
        let mut keys: Vec<&String> = object.as_object().unwrap().keys().collect();
        keys.sort();
        assert_eq!(keys, ["error", "held", "id", "next", "queued", "recipients", "sender", "size"]);
        assert_eq!((&object["id"], &object["size"]), (&id.into(), &MESSAGE.len().into()));
        assert_eq!(object["held"], serde_json::Value::Null);
        assert_eq!(time(&object["queued"]), queue.read(id).unwrap().entry.queued);
        // To the millisecond, so not before this one.
        assert!(time(&object["next"]) + SignedDuration::from_millis(1) > before, "{object}");
    }
    assert_eq!(objects[0]["recipients"], serde_json::json!(["eve@far.test", "bob@far.test"]));
    assert_eq!(objects[0]["error"], "mx.far.test: 451-4.3.0 not now\n451 4.3.0 later");
    assert_eq!((&objects[1]["sender"], &objects[1]["error"]), (&"<>".into(), &"".into()));
    assert!(time(&objects[2]["next"]) > before + SignedDuration::from_mins(140));
    // Nobody is left: a server would remove it.
    record(&queue, "m2", 0, What::Relayed, "mx.far.test", "250 ok");
    let (_, out, _) = run(&place, &["queue", "list", "--json"]);
    let object: serde_json::Value = serde_json::from_str(out.lines().nth(1).unwrap()).unwrap();
    assert_eq!((&object["next"], &object["recipients"]), (&().into(), &serde_json::json!([])));
}

#[test]
fn many_are_listed_in_their_order_and_one_hint_is_enough_for_them() {
    let place = place();
    let queue = queue(&place);
    let ids: Vec<String> = (0..1100).map(|n| format!("m{n:04}")).collect();
    for id in &ids {
        let path = queue.dir().join(id);
        fs::create_dir_all(queue.dir()).unwrap();
        let header = "session: \nfrom: <>\nto: <eve@far.test>\nsize: 0\n\n";
        let queued = format!("queued: {}", Timestamp::now());
        fs::write(path, format!("facteur queue 1\nid: {id}\n{queued}\n{header}")).unwrap();
    }
    for arguments in [&["queue", "list"][..], &["queue", "list", "--json"]] {
        let (status, out, _) = run_clean(&place, arguments);
        assert_eq!((status, out.lines().count()), (0, ids.len()));
        assert!(out.lines().zip(&ids).all(|(line, id)| line.contains(id.as_str())), "{out}");
    }
    let control = Control::bind(&place.at("spool")).unwrap();
    let (status, out, _) = run_clean(&place, &["queue", "retry", "--all"]);
    assert_eq!((status, out.lines().count()), (0, ids.len()));
    assert_eq!(control.receive(), [ControlHint::LookAll]);
}

#[test]
fn a_line_is_not_as_long_as_a_list_of_recipients() {
    let place = place();
    let queue = queue(&place);
    let to: Vec<String> = (0..1000).map(|n| format!("to: <user{n}@far.test>")).collect();
    insert(&queue, "m1", Timestamp::now(), &format!("from: <>\n{}", to.join("\n")));
    let (_, out, _) = run_clean(&place, &["queue", "list"]);
    assert!(out.len() < 400 && out.contains("user0@far.test,user1@"), "{out}");
    let shown = out.matches("@far.test").count();
    assert!(out.contains(&format!(" and {} more", 1000 - shown)), "{out}");
    let (_, out, _) = run_clean(&place, &["queue", "list", "--json"]);
    let object: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(object["recipients"].as_array().unwrap().len(), 1000);
}

#[test]
fn show_tells_all_that_became_of_a_message() {
    let place = place();
    three(&place);
    let (status, out, err) = run_clean(&place, &["queue", "show", "m1"]);
    assert_eq!((status, err.as_str()), (0, ""));
    let (head, message) = out.split_once("\n\n").unwrap();
    assert_eq!(message, MESSAGE, "a pipe gets the octets as they are");
    for part in [
        "from: <ann@mx.test>\n",
        "envid: e1\ntrusted: yes\nto: <eve@far.test>\n    deferred once; next attempt in ",
        "to: <bob@far.test> notify=failure orcpt=rfc822;b@x via=<team@mx.test>\n    not attempted \
         yet; next attempt now\n",
        "to: <zoe@far.test>\n    failed at 2",
        "Z eve@far.test deferred mx.far.test\n    451-4.3.0 not now\n    451 4.3.0 later\n",
        "Z zoe@far.test failed mx.far.test\n    550 5.1.1 nobody",
    ] {
        assert!(head.contains(part), "no {part:?} in {head}");
    }
    let (_, out, _) = run_clean(&place, &["queue", "show", "m3"]);
    assert!(out.contains("held back: mx.far.test does not answer\n"), "{out}");
    assert!(out.contains(" eve@far.test held until 2"), "{out}");
}

#[test]
fn retry_without_a_server_makes_it_due_when_one_starts() {
    let place = place();
    let queue = three(&place);
    // What a server that was killed left behind.
    drop(Control::bind(&place.at("spool")).unwrap());
    let (status, out, err) = run_clean(&place, &["queue", "retry", "m3", "nobody", "m1"]);
    assert_eq!(status, 1, "{out}{err}");
    let then = "will be attempted when the server starts\n";
    assert_eq!(out, format!("m3: {then}m1: {then}"));
    assert_eq!(err, "facteur: nobody: no such message in the queue\n");
    let asked = |id: &str| {
        let progress = queue.read(id).unwrap().progress;
        progress.iter().map(|progress| progress.is_asked).collect::<Vec<_>>()
    };
    assert_eq!((asked("m1"), asked("m2")), (vec![true, true, false], vec![false]));
    let line = queue.read("m3").unwrap().journal.pop().unwrap();
    assert_eq!((line.what, line.host.as_str()), (What::Asked, "-"));
    assert_eq!(line.words, "by facteur queue retry");
    // Again and again makes no file longer.
    let before = fs::metadata(queue.dir().join("m3")).unwrap().len();
    let (status, out, err) = run_clean(&place, &["queue", "retry", "--all"]);
    assert_eq!((status, out.lines().count(), err.as_str()), (0, 3, ""));
    assert_eq!(fs::metadata(queue.dir().join("m3")).unwrap().len(), before);
    assert_eq!(asked("m2"), [true]);
    let (_, out, _) = run_clean(&place, &["queue", "list"]);
    assert!(out.lines().all(|line| columns(line)[3] == "now"), "{out}");
    // What had gone wrong is still told.
    assert!(out.contains("451 4.3.0 later"), "{out}");
}

#[test]
fn a_server_that_runs_is_told_what_to_look_at() {
    let place = place();
    let queue = three(&place);
    let control = Control::bind(&place.at("spool")).unwrap();
    let mode = fs::metadata(place.at("spool/control")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (status, out, err) = run_clean(&place, &["queue", "retry", "m2", "m3"]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert_eq!(out, "m2: will be attempted now\nm3: will be attempted now\n");
    let look = |id: &str| ControlHint::Look(id.to_owned());
    assert_eq!(control.receive(), [look("m2"), look("m3")]);
    assert!(queue.read("m3").unwrap().progress[0].is_asked);
    assert_eq!(run(&place, &["queue", "remove", "m2"]).0, 0);
    assert_eq!(control.receive(), [look("m2")]);
    // A server that starts again takes the place of one that ended.
    drop(control);
    let control = Control::bind(&place.at("spool")).unwrap();
    assert!(control::send(&place.at("spool"), &[ControlHint::Drop, ControlHint::LookAll]).unwrap());
    assert_eq!(control.receive(), [ControlHint::Drop, ControlHint::LookAll]);
}

#[test]
fn a_server_that_does_not_listen_costs_a_moment_and_nothing_else() {
    let place = place();
    let queue = queue(&place);
    queue.make().unwrap();
    let control = Control::bind(&place.at("spool")).unwrap();
    let hint = [ControlHint::Look("m1".to_owned())];
    // Until the system has no room for more: then it takes as long as that is waited for.
    let start = Instant::now();
    loop {
        let begun = Instant::now();
        assert!(control::send(&place.at("spool"), &hint).unwrap());
        if begun.elapsed() >= HINT_WAIT {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "there is always room");
    }
    assert_eq!(control.receive(), hint);
}

#[test]
fn a_spool_whose_path_no_socket_address_holds() {
    let place = Place::new();
    let spool = place.at(&"long".repeat(30));
    let named = format!("spool = {:?}", spool.to_str().unwrap());
    place.write("facteur.toml", config("").replace("spool = \"spool\"", &named));
    let queue = Queue::new(Arc::new(RealDisk), &spool);
    assert!(!control::send(&spool, &[ControlHint::LookAll]).unwrap(), "there is no spool yet");
    insert_plain(&queue, "m1");
    assert!(!control::send(&spool, &[ControlHint::LookAll]).unwrap());
    let control = Control::bind(&spool).unwrap();
    let (status, out, err) = run_clean(&place, &["queue", "retry", "--all"]);
    assert_eq!((status, out.as_str()), (0, "m1: will be attempted now\n"), "{err}");
    assert_eq!(control.receive(), [ControlHint::Look("m1".to_owned())]);
    drop(control);
    drop(Control::bind(&spool).unwrap());
    assert!(!control::send(&spool, &[ControlHint::LookAll]).unwrap());
}

#[test]
fn remove_takes_each_that_it_can() {
    let place = place();
    let queue = three(&place);
    let claimed = claim(&queue, "m2");
    let (status, out, err) = run(&place, &["queue", "remove", "m1", "nobody", "m2", "m3"]);
    assert_eq!((status, out.as_str()), (1, "m1: removed\nm3: removed\n"));
    let busy = "facteur: m2: is being sent at this moment, try again\n";
    assert_eq!(err, format!("facteur: nobody: no such message in the queue\n{busy}"));
    assert_eq!(queue.list().unwrap(), ["m2"]);
    drop(claimed);
    // Nobody hears of what came from `<>`.
    let bounced = run(&place, &["queue", "remove", "m2", "--bounce"]);
    assert_eq!(bounced, (0, "m2: returned to its sender\n".into(), "".into()));
    assert!(queue.list().unwrap().is_empty());
}

#[test]
fn what_is_returned_is_told_to_its_sender() {
    let place = place();
    let queue = three(&place);
    let (status, out, _) = run(&place, &["queue", "remove", "m1", "--bounce"]);
    assert_eq!((status, out.as_str()), (0, "m1: returned to its sender\n"));
    // m1 came from somebody we know; the alias's failure is its postmaster's.
    let known = ["m2", "m3"];
    let ids = queue.list().unwrap();
    let new: Vec<_> = ids.iter().filter(|id| !known.contains(&id.as_str())).collect();
    let read = |id: &&String| queue.read(id).unwrap().entry;
    let to: Vec<String> =
        new.iter().map(read).map(|e| e.recipients[0].mailbox.to_string()).collect();
    assert_eq!(to, ["ann@mx.test", "postmaster@mx.test"]);
    assert!(new.iter().map(read).all(|entry| entry.sender.from == ReversePath::Null));
    let text = fs::read_to_string(place.at("spool/queue").join(new[0])).unwrap();
    assert!(text.contains("Final-Recipient: rfc822; eve@far.test"), "{text}");
    assert!(text.contains("returned by the administrator"), "{text}");
}

#[test]
fn what_is_being_sent_needs_no_retry() {
    let place = place();
    let queue = three(&place);
    let _claimed = claim(&queue, "m2");
    for arguments in [&["queue", "retry", "m2"][..], &["queue", "retry", "--all"]] {
        let (status, out, err) = run_clean(&place, arguments);
        assert_eq!((status, err.as_str()), (0, ""));
        assert!(out.contains("m2: is being sent at this moment\n"), "{out}");
    }
    assert!(queue.read("m2").unwrap().journal.is_empty());
}

#[test]
fn no_spool_is_an_empty_queue() {
    let place = place();
    for fine in [&["list"][..], &["list", "--json"], &["retry", "--all"]] {
        let arguments = [&["queue"], fine].concat();
        assert_eq!(run_clean(&place, &arguments), (0, "".into(), "".into()), "{fine:?}");
    }
    for id in ["m1", "..", "../queue/m1", "", "\x1b[2J"] {
        for command in ["show", "retry", "remove", "why"] {
            let (status, out, err) = run_clean(&place, &["queue", command, id]);
            assert!(status == 1 && out.is_empty() && err.lines().count() == 1, "{out}{err}");
            assert!(err.contains("no such message") && !err.contains('\x1b'), "{err:?}");
        }
    }
}

#[test]
fn a_damaged_file_hides_no_other() {
    let place = place();
    let queue = three(&place);
    fs::write(queue.dir().join("m0"), "facteur queue 9\n\n\x1b[2J").unwrap();
    fs::write(queue.dir().join("m1.b\x1bak"), "").unwrap();
    for arguments in [&["queue", "list"][..], &["queue", "list", "--json"]] {
        let (status, out, err) = run_clean(&place, arguments);
        assert_eq!((status, out.lines().count(), err.lines().count()), (1, 3, 2), "{out}{err}");
        assert!(err.contains("m0: damaged queue file: ") && err.contains("m1.b\\x1bak: "), "{err}");
    }
    for command in ["show", "retry", "remove"] {
        let (status, out, err) = run_clean(&place, &["queue", command, "m0"]);
        assert!(status == 1 && out.is_empty() && err.contains("damaged queue file"), "{out}{err}");
    }
    let (status, out, err) = run_clean(&place, &["queue", "retry", "--all"]);
    assert_eq!((status, out.lines().count(), err.lines().count()), (1, 3, 2), "{out}{err}");
    queue.put_aside("m0".as_ref()).unwrap();
    let (status, out, err) = run_clean(&place, &["queue", "show", "m0"]);
    assert!(status == 1 && out.is_empty() && err.contains("/spool/damaged/m0\n"), "{out}{err}");
}

#[test]
fn nothing_in_the_queue_acts_on_a_terminal() {
    let place = place();
    let queue = queue(&place);
    let hostile = "envid: \x1b[2J\u{9b}31m\nfrom: <\"a\u{202e}b\"@mx.test>\n\
        to: <\"e\u{202e}ve\"@far.test> orcpt=\x1b]0;x\x07";
    insert(&queue, "m1", Timestamp::now(), hostile);
    let words = "451 \x1b[2J\r\u{2028}\u{202e}\t\nm2 forged\n\n250 \u{9b}";
    record(&queue, "m1", 0, What::Deferred, "\x1b[2J", words);
    let acts = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
    };
    for arguments in [&["queue", "list"][..], &["queue", "list", "--json"]] {
        let (status, out, err) = run_clean(&place, arguments);
        assert_eq!((status, out.lines().count(), err.as_str()), (0, 1, ""), "{out:?}");
        assert!(!out.contains(acts), "{out:?}");
    }
    let (_, out, _) = run_clean(&place, &["queue", "list", "--json"]);
    let object: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(object["sender"], "a\u{202e}b@mx.test");
    let (status, out, _) = run_clean(&place, &["queue", "show", "m1"]);
    let (head, message) = out.split_once("\n\n").unwrap();
    assert!(status == 0 && !head.contains(acts) && message == MESSAGE, "{out:?}");
    assert!(head.contains("\n    m2 forged\n"), "a line of a reply cannot pass for ours: {head}");
}

#[test]
fn every_fixture_is_read_as_its_name_says() {
    let place = place();
    let queue = queue(&place);
    queue.make().unwrap();
    let there = queue.dir().join("m0fixture");
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("maildir-fixtures/queue");
    let (mut good, mut broken) = (0, 0);
    for path in files(&dir) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let octets = fs::read(&path).unwrap();
        fs::write(&there, &octets).unwrap();
        let (status, out, err) = run_clean(&place, &["queue", "list", "--json"]);
        match queue.read("m0fixture") {
            Ok(message) => {
                assert!(name.starts_with("good-"), "{name} was read");
                let header = message.entry.header();
                assert!(octets.starts_with(header.as_bytes()), "{name} is not written like this");
                let object: serde_json::Value = serde_json::from_str(&out).unwrap();
                let left: Vec<_> = object["recipients"].as_array().unwrap().clone();
                assert_eq!((status, left.len()), (0, message.open().count()), "{name}: {err}");
                let done = if name == "good-all-done.queue" { 0 } else { 1 };
                assert_eq!(message.open().count().min(1), done, "{name}");
                let at = message.entry.message_at as usize;
                let whole = &octets[at..at + message.entry.size as usize];
                let (_, out, _) = run_clean(&place, &["queue", "show", "m0fixture"]);
                assert!(out.ends_with(&format!("\n\n{}", text(whole))), "{name}: {out}");
                good += 1;
            }
            Err(QueueError::Damaged(why)) => {
                assert!(name.starts_with("broken-") && !why.is_empty(), "{name}: {why}");
                assert_eq!((status, out.as_str(), err.lines().count()), (1, "", 1), "{name}");
                broken += 1;
            }
            Err(error) => panic!("{name}: {error}"),
        }
    }
    assert!(good > 5 && broken > 10, "{good} good ones, {broken} broken ones");
    let read = |name: &str| {
        fs::copy(dir.join(name), &there).unwrap();
        queue.read("m0fixture").unwrap()
    };
    let by = SignedBy::parse("mx.test 20261201r 20261201e").unwrap();
    assert_eq!(read("good-signed.queue").entry.signature, EntrySignature::By(by));
    assert_eq!(read("good-to-sign.queue").entry.signature, EntrySignature::Owed);
    // As the version before this one wrote it, octet for octet but for its ids.
    let older = read("good-before-signing.queue");
    assert_eq!(older.entry.signature, EntrySignature::None);
    assert!(older.entry.is_trusted && older.entry.sum.is_some() && older.journal.len() == 2);
    let message = read("good-journal.queue");
    assert_eq!(message.open().collect::<Vec<_>>(), [0]);
    assert!(message.progress[0].is_asked && message.progress[0].is_announced);
    let held = |name: &str| read(name).quarantine().map(|held| held.to_string());
    assert_eq!(
        held("good-held.queue").as_deref(),
        Some("held by rspamd: it looks \"odd\" / to it")
    );
    assert_eq!(held("good-held-and-released.queue"), None);
    // Half a release is none.
    assert_eq!(held("good-held-release-torn.queue").as_deref(), Some("held by clamav"));
    assert_eq!(read("good-torn-line.queue").open().count(), 2, "a torn line never happened");
    assert_eq!(read("good-lines-that-say-nothing.queue").journal.len(), 1);
}

/// Two versions may have a queue one after the other, there and back.
#[test]
fn an_attempt_changes_nothing_that_another_version_wrote() {
    let place = place();
    let queue = queue(&place);
    queue.make().unwrap();
    let there = queue.dir().join("m0fixture");
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("maildir-fixtures/queue");
    let is_good = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("good-");
    let fixtures: Vec<PathBuf> = files(&dir).into_iter().filter(is_good).collect();
    for path in &fixtures {
        let octets = fs::read(path).unwrap();
        fs::write(&there, &octets).unwrap();
        let before = queue.read("m0fixture").unwrap();
        record(&queue, "m0fixture", 0, What::Deferred, "mx.far.test", "451 4.3.0 later");
        let after = fs::read(&there).unwrap();
        assert!(after.len() > octets.len() && after.starts_with(&octets), "{}", path.display());
        let again = queue.read("m0fixture").unwrap();
        assert_eq!(again.entry, before.entry, "{}", path.display());
        assert_eq!(again.journal.len(), before.journal.len() + 1, "{}", path.display());
    }
    assert!(fixtures.len() > 15);
}

/// Root may call the command, and the server is somebody else.
#[test]
fn a_notice_is_the_servers_to_read_whoever_asked_for_it() {
    if !nix::unistd::geteuid().is_root() {
        return crate::support::skip("a notice by root: not root");
    }
    let place = Place::new();
    place.write("facteur.toml", format!("run_as = \"nobody\"\n{}", config("")));
    let queue = queue(&place);
    let known = "from: <ann@mx.test>\ntrusted: yes\nto: <eve@far.test>";
    insert(&queue, "m1", Timestamp::now(), known);
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    for path in crate::support::tree(place.path()).iter().chain([&place.path().to_owned()]) {
        nix::unistd::chown(path, Some(nobody.uid), Some(nobody.gid)).unwrap();
    }
    // Root takes a file of somebody else only where it is named.
    let words = ["-c", "facteur.toml", "queue", "remove", "m1", "--bounce"];
    let (status, out, err) = run(&place, &words);
    assert_eq!((status, out.as_str(), err.as_str()), (0, "m1: returned to its sender\n", ""));
    let notice = files(&queue.dir()).remove(0);
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(notice).unwrap());
    assert_eq!(owner, nobody.uid.as_raw());
}
