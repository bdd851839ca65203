//! What else may lie in the queue: files that are damaged, that are not ours, that others hold.

use super::{Net, post, until_empty};
use crate::servers::Binary;
use crate::support::{Place, files, text, until};
use facteur::store::disk::RealDisk;
use facteur::store::queue::Queue;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

/// A place with one good message in its queue; gives its id.
fn with_one(net: &Net) -> (Place, String) {
    let place = Place::new();
    net.hosts[0].change("greeting: 421 4.3.2 no");
    let server = Binary::serve(&place, &net.config("retry = [\"1h\"]", ""));
    let id = post(&server, &["x@far.test"]);
    server.wait_for(&["deferred ", &id]);
    server.stop();
    net.hosts[0].change("greeting: 220 x");
    (place, id)
}

fn names(place: &Place, dir: &str) -> Vec<String> {
    let name = |path: PathBuf| text(path.file_name().unwrap().as_bytes());
    files(&place.at(dir)).into_iter().map(name).collect()
}

#[test]
fn what_is_no_queue_file_is_put_aside_and_stops_nothing() {
    let net = Net::new(&[""]);
    net.dns.set("far.test A 127.0.0.2");
    let (place, id) = with_one(&net);
    let good = fs::read(place.at("spool/queue").join(&id)).unwrap();
    let header = text(&good).find("\n\n").unwrap();
    let put = |name: &[u8], octets: &[u8]| {
        fs::write(place.at("spool/queue").join(OsStr::from_bytes(name)), octets).unwrap();
    };
    put(b"README", b"hello");
    put(b".hidden", b"");
    put(b"m1 with a space", &good);
    put(b"m1\nforged id=1", b"");
    put(b"m1\xff", b"x");
    put(b"core.1234", &[0; 5000]);
    // Names of ours, and what is in them is not.
    put(b"m0000000000001", b"");
    put(b"m0000000000002", &good);
    put(b"m0000000000003", &good[..header]);
    put(b"m0000000000004", &text(&good).replace(&id, "m0000000000004").as_bytes()[..header + 30]);
    put(b"m0000000000005", text(&good).replace("queue 1", "queue 2").as_bytes());
    put(b"m0000000000006", &[0xff; 100]);
    let in_queue = |name: &str| place.at("spool/queue").join(name);
    std::os::unix::fs::symlink("/etc/passwd", in_queue("m0000000000007")).unwrap();
    nix::unistd::mkfifo(&in_queue("m0000000000008"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir(in_queue("m0000000000009")).unwrap();
    fs::create_dir(in_queue("a directory")).unwrap();
    let there = names(&place, "spool/queue");
    let server = Binary::serve(&place, &net.config("retry = [\"1h\"]", ""));
    super::super::commands::run(&place, &["queue", "retry", &id]);
    server.wait_for(&["relayed ", &id]);
    until_empty(&place);
    let mut damaged = names(&place, "spool/damaged");
    damaged.push(id.clone());
    damaged.sort();
    assert_eq!(damaged, there);
    for name in damaged.iter().filter(|name| **name != id) {
        // What is escaped in the log is not looked for to its end.
        let shown = name.split(['\n', '\u{fffd}']).next().unwrap();
        server.wait_for(&["warning ", &format!("damaged/{shown}"), "no whole queue file"]);
    }
    assert_eq!(fs::read(place.at("spool/damaged/core.1234")).unwrap(), [0; 5000]);
    let others = server.lines().iter().filter(|line| line.starts_with("forged")).count();
    assert_eq!(others, 0);
    server.stop();
}

/// Whatever was put aside is kept, also when something has its name already.
#[test]
fn nothing_that_was_put_aside_is_overwritten() {
    let net = Net::new(&[]);
    let place = Place::new();
    for text in ["one", "two", "three"] {
        fs::create_dir_all(place.at("spool/queue")).unwrap();
        place.write("spool/queue/notes.txt", text);
        let server = Binary::serve(&place, &net.config("", ""));
        until_empty(&place);
        server.stop();
    }
    let kept = files(&place.at("spool/damaged")).into_iter().map(|path| fs::read(path).unwrap());
    let mut kept: Vec<Vec<u8>> = kept.collect();
    kept.sort();
    assert_eq!(kept, [&b"one"[..], b"three", b"two"]);
}

/// Who changes a message holds its claim, and the server comes back to it later.
#[test]
fn a_claimed_file_is_left_alone_and_tried_later() {
    let net = Net::new(&["", ""]);
    net.dns.set("far.test A 127.0.0.2\nother.test A 127.0.0.3");
    let (place, id) = with_one(&net);
    let queue = Queue::new(Arc::new(RealDisk), &place.at("spool"));
    let claimed = queue.claim(&id).unwrap();
    let asked = facteur::store::entry::JournalLine {
        when: jiff::Timestamp::now(),
        recipient: 0,
        what: facteur::store::entry::What::Asked,
        host: "-".to_owned(),
        words: String::new(),
    };
    claimed.note(&[asked]).unwrap();
    let server = Binary::serve(&place, &net.config("retry = [\"1h\"]", ""));
    // Others are not held up by it.
    post(&server, &["y@other.test"]);
    server.wait_for(&["relayed ", "to=y@other.test"]);
    assert!(net.hosts[0].mail().is_empty());
    drop(claimed);
    server.wait_for(&["relayed ", &id, "to=x@far.test"]);
    until_empty(&place);
    until("it is gone", || net.taken(0).len() == 1);
    server.stop();
}

/// A file that goes while it is held is not missed; that it went is told.
#[test]
fn a_claimed_file_that_is_removed() {
    let net = Net::new(&["", ""]);
    net.dns.set("far.test A 127.0.0.2\nother.test A 127.0.0.3");
    let (place, id) = with_one(&net);
    let server = Binary::serve(&place, &net.config("retry = [\"1h\"]", ""));
    fs::remove_file(place.at("spool/queue").join(&id)).unwrap();
    server.signal("USR1");
    post(&server, &["y@other.test"]);
    server.wait_for(&["relayed ", "to=y@other.test"]);
    post(&server, &["z@far.test"]);
    server.wait_for(&["relayed ", "to=z@far.test"]);
    assert_eq!(net.taken(0), ["z@far.test"]);
    let told = |line: &String| line.contains(&id) && !line.starts_with("removed ");
    assert!(!server.lines().iter().any(told), "{:#?}", server.lines());
    server.stop();
}
