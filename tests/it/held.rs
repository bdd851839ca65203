//! Messages that a filter holds: no time and no signal lets them go, only a person who names them.

use crate::commands::run;
use crate::hosts::Host;
use crate::servers::Binary;
use crate::support::{Place, config, files, until};
use facteur::store::disk::{Doing, RealDisk};
use facteur::store::entry::Entry;
use facteur::store::queue::Queue;
use jiff::{SignedDuration, Timestamp};
use std::fs;
use std::sync::Arc;

const MESSAGE: &str = "Subject: x\n\nbody\n";

/// A queue with one held message, for somebody here and somebody elsewhere, that has waited for a year.
fn place() -> (Place, Host, String) {
    let (place, host) = (Place::new(), Host::start(""));
    let config = config(&format!("[relay.route]\n\"far.test\" = \"{}\"\n", host.address));
    place.write("facteur.toml", &config);
    insert(&place, "m1", "junk: yes\nheld: rspamd \"looks odd\"\n");
    (place, host, config)
}

fn insert(place: &Place, id: &str, lines: &str) {
    let queue = Queue::new(Arc::new(RealDisk), &place.at("spool"));
    let queued = Timestamp::now() - SignedDuration::from_hours(365 * 24);
    let header = format!(
        "facteur queue 1\nid: {id}\nqueued: {queued}\nsession: s1\nfrom: <ann@mx.test>\n\
         trusted: yes\n{lines}to: <eve@far.test>\nto: <bob@mx.test>\nsize: {}\n",
        MESSAGE.len()
    );
    let entry = Entry::parse(&header, 0).unwrap();
    let write =
        queue.insert(&entry, |file, path| file.append(MESSAGE.as_bytes()).doing("write", path));
    write.unwrap();
}

fn queue_command(place: &Place, arguments: &[&str]) -> String {
    let (status, out, err) = run(place, &[&["queue"], arguments].concat());
    assert_eq!((status, err.as_str()), (0, ""), "{arguments:?}: {out}");
    out
}

fn junk(place: &Place) -> usize {
    files(&place.maildir("bob").join(".Junk/new")).len()
}

#[test]
fn held_is_told_by_each_command() {
    let (place, _host, _) = place();
    let list = queue_command(&place, &["list"]);
    assert!(
        list.contains(" held ") && list.trim_end().ends_with("held by rspamd: looks odd"),
        "{list}"
    );
    let object: serde_json::Value =
        serde_json::from_str(&queue_command(&place, &["list", "--json"])).unwrap();
    assert_eq!((&object["held"], &object["next"]), (&"rspamd".into(), &().into()));
    let why = queue_command(&place, &["why", "m1"]);
    assert!(why.starts_with("m1: is held by rspamd: looks odd\n"), "{why}");
    assert!(
        why.contains("queue retry m1") && why.contains("never, as long as it is held"),
        "{why}"
    );
    let show = queue_command(&place, &["show", "m1"]);
    assert!(show.contains("\nheld: rspamd \"looks odd\"\n"), "{show}");
    let (_, out, _) = run(&place, &["sendmail", "-bp"]);
    assert!(out.contains("\nm1!"), "{out}");
    let (status, _, err) = run(&place, &["check"]);
    assert_eq!(status, 0, "{err}");
    assert!(err.contains("warning: m1 is held by a filter"), "{err}");
    insert(&place, "m2", "held: clamav \"\"\n");
    let (_, _, err) = run(&place, &["check"]);
    assert!(err.contains("warning: 2 messages are held by filters"), "{err}");
}

/// Neither SIGUSR1, nor `--all`, nor a year, nor a restart; then all that was to become of it does.
#[test]
fn only_who_names_it_lets_it_go() {
    let (place, host, config) = place();
    insert(&place, "m2", "");
    let server = Binary::serve(&place, &config);
    // Whoever is due beside it goes.
    until("m2 is gone", || !place.at("spool/queue/m2").exists());
    let out = queue_command(&place, &["retry", "--all"]);
    assert_eq!(out, "m1: is held by a filter, and stays so\n");
    insert(&place, "m3", "");
    server.signal("USR1");
    until("m3 is gone", || !place.at("spool/queue/m3").exists());
    let seen = (host.mail().len(), junk(&place));
    server.stop();
    let server = Binary::serve(&place, &config);
    insert(&place, "m4", "");
    queue_command(&place, &["retry", "m4"]);
    until("m4 is gone", || !place.at("spool/queue/m4").exists());
    assert_eq!((host.mail().len(), junk(&place)), (seen.0 + 1, 0));
    assert!(server.lines().iter().all(|line| !line.contains("id=m1")), "{:?}", server.lines());
    let out = queue_command(&place, &["retry", "m1"]);
    assert_eq!(out, "m1: will be attempted now\n");
    until("m1 is gone", || files(&place.at("spool/queue")).is_empty());
    assert_eq!((host.mail().len(), junk(&place)), (seen.0 + 2, 1));
    server.stop();
}

/// A kill behind the release: it is not held again, and nothing else has happened to it meanwhile.
#[test]
fn a_release_without_a_server_counts_when_one_starts() {
    let (place, host, config) = place();
    let out = queue_command(&place, &["retry", "m1"]);
    assert_eq!(out, "m1: will be attempted when the server starts\n");
    let file = fs::read_to_string(place.at("spool/queue/m1")).unwrap();
    assert_eq!(file.lines().filter(|line| line.contains(" released - ")).count(), 2, "{file}");
    let object: serde_json::Value =
        serde_json::from_str(&queue_command(&place, &["list", "--json"])).unwrap();
    assert_eq!(object["held"], serde_json::Value::Null);
    host.change("RCPT: 451 4.3.0 later");
    let server = Binary::serve(&place, &config);
    // Its year was no waiting: it is neither returned nor announced late.
    server.wait_for(&["deferred ", "id=m1", "to=eve@far.test"]);
    until("bob has it", || junk(&place) == 1);
    assert_eq!(files(&place.at("spool/queue")).len(), 1);
    server.stop();
    let out = queue_command(&place, &["remove", "--bounce", "m1"]);
    assert_eq!(out, "m1: returned to its sender\n");
}

#[test]
fn a_held_message_is_removed_and_returned_like_others() {
    let (place, _host, _) = place();
    insert(&place, "m2", "held: clamav \"\"\n");
    assert_eq!(queue_command(&place, &["remove", "m1"]), "m1: removed\n");
    assert_eq!(
        queue_command(&place, &["remove", "--bounce", "m2"]),
        "m2: returned to its sender\n"
    );
    // The notice alone.
    assert_eq!(files(&place.at("spool/queue")).len(), 1);
}
