//! A disk that is full for a while: a file system of a few MiB in memory, mounted by root for one test.

use super::{MAIL, at_most, say};
use crate::client::Client;
use crate::commands::run;
use crate::hosts::Host;
use crate::servers::Binary;
use crate::support::{Place, config, files, skip, text, until};
use nix::unistd::geteuid;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// A file system of its own, gone when it is dropped.
struct Small(PathBuf);

impl Small {
    /// None, said as a skip, where nobody may mount.
    fn mount(dir: &Path, mebibytes: usize) -> Option<Small> {
        if !geteuid().is_root() {
            skip("only root can mount a small file system");
            return None;
        }
        fs::create_dir_all(dir).unwrap();
        let size = format!("size={mebibytes}m,nr_inodes=10000");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir);
        if !mount.output().is_ok_and(|output| output.status.success()) {
            skip("no file system can be mounted here");
            return None;
        }
        Some(Small(dir.to_owned()))
    }

    /// Takes all that is free.
    fn fill(&self) {
        let mut filler = OpenOptions::new().append(true).create(true).open(self.filler()).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while filler.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn empty(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Spool and Maildirs in one small place, mail for far.test sent to that host; tried again when asked.
fn site(far: &Host) -> String {
    let relay = "[relay]\nnetworks = [\"127.0.0.0/8\"]\nretry = [\"1h\"]\n[relay.route]";
    let config = config(&format!("{relay}\n\"far.test\" = \"{}\"", far.address));
    config.replace("\"spool\"", "\"small/spool\"").replace("\"mail/", "\"small/mail/")
}

fn queue(place: &Place) -> Vec<String> {
    let read = |path: &PathBuf| fs::read(path).map(|octets| text(&octets)).ok();
    files(&place.at("small/spool/queue")).iter().filter_map(read).collect()
}

/// The mail of a user there.
fn mail(place: &Place, user: &str) -> usize {
    files(&place.at("small/mail/mx.test").join(user).join("new")).len()
}

/// Attempts all that waits, and waits until eve was asked for.
fn try_again(server: &Binary, far: &Host) {
    let before = far.count("RCPT TO:<eve@");
    server.signal("USR1");
    until("it is tried again", || far.count("RCPT TO:<eve@") > before);
}

fn large() -> Vec<u8> {
    [b"Subject: large\r\n\r\n", &b"0123456789abcdef\r\n".repeat(10_000)[..]].concat()
}

#[test]
fn a_full_disk_for_a_while() {
    let (place, far) = (Place::new(), Host::start("RCPT: 450 4.2.0 later"));
    let Some(small) = Small::mount(&place.at("small"), 8) else { return };
    let server = Binary::serve(&place, &site(&far));
    let mut client = server.client();
    client.delivered(&["ann@mx.test"], MAIL);
    let removed = client.delivered(&["gone@far.test"], MAIL);
    let sent = client.delivered(&["bob@far.test", "eve@far.test"], MAIL);
    server.wait_for(&["deferred ", &removed]);
    server.wait_for(&["deferred ", &sent, "to=eve@far.test"]);
    small.fill();

    let began = Instant::now();
    let mut refused = 0;
    for message in [MAIL, &large()] {
        for to in ["ann@mx.test", "new@mx.test", "x@far.test"] {
            let reply = client.deliver(&[to], message);
            assert!(reply.starts_with("452 4.3.1 "), "{to}: {reply}");
            refused += 1;
        }
    }
    assert_eq!((mail(&place, "ann"), mail(&place, "new"), queue(&place).len()), (1, 0, 2));
    say(&format!("full disk: {refused} of {refused} messages heard 452 4.3.1"));
    at_most("full disk: so many refusals took", began.elapsed().as_millis() as u64, 10_000, "ms");

    // The queue is read, and what is taken out of it is out.
    let (status, listed, error) = run(&place, &["queue", "list"]);
    assert!(status == 0 && listed.contains(&sent) && listed.contains(&removed), "{listed}{error}");
    let (status, _, error) = run(&place, &["queue", "remove", &removed]);
    assert_eq!(status, 0, "{error}");
    small.fill(); // what that has freed
    // The journal still has the rest of its page; after that a line is torn, and none can follow.
    let path = place.at("small/spool/queue").join(&sent);
    until("there is no room for a line", || {
        try_again(&server, &far);
        fs::metadata(&path).unwrap().len() >= 4096
    });
    let torn = fs::read(&path).unwrap();
    assert_eq!((torn.len(), torn.ends_with(b"\n")), (4096, false), "{}", text(&torn));
    // One of two is sent: that cannot be written down, and is not forgotten.
    far.change("greeting: 220 x\nRCPT TO:<eve@: 450 4.2.0 later\nRCPT: 250 ok");
    try_again(&server, &far);
    server.wait_for(&["relayed ", "to=bob@far.test"]);
    assert_eq!(fs::read(&path).unwrap(), torn);
    let lines = |what: &str| {
        let all = queue(&place).concat();
        all.lines().filter(|line| line.split(' ').any(|word| word == what)).count()
    };
    say(&format!("full disk: 1 recipient relayed, journal lines about it: {}", lines("relayed")));
    let tried = far.count("RCPT TO:<bob@");
    try_again(&server, &far);
    assert_eq!(far.count("RCPT TO:<bob@"), tried, "again: {:?}", far.seen().commands);

    small.empty();
    until("there is room again", || client.deliver(&["ann@mx.test"], MAIL).starts_with("250 "));
    client.delivered(&["ann@mx.test", "new@mx.test"], &large());
    assert_eq!((mail(&place, "ann"), mail(&place, "new")), (3, 1));
    try_again(&server, &far);
    until("the journal says it", || lines("relayed") == 1);
    far.change("greeting: 220 x\nRCPT: 250 ok");
    server.signal("USR1");
    until("the queue is empty", || queue(&place).is_empty());
    let to: Vec<_> =
        far.mail().into_iter().filter(|mail| mail.is_taken).flat_map(|m| m.to).collect();
    assert_eq!(to, ["bob@far.test", "eve@far.test"]);
    say("after a full disk: both relayed once, mail is taken");
    server.stop();
}

/// The reply to MAIL with that SIZE.
fn asked(client: &mut Client, size: u64) -> String {
    let reply = client.ask(&format!("MAIL FROM:<> SIZE={size}"));
    client.expect("RSET", "250");
    reply
}

#[test]
fn a_size_that_cannot_fit() {
    let (place, far) = (Place::new(), Host::start(""));
    let Some(small) = Small::mount(&place.at("small"), 8) else { return };
    let server = Binary::serve(&place, &site(&far));
    let mut client = server.client();
    let refusal = asked(&mut client, 9_000_000);
    assert!(refusal.starts_with("452 4.3.1 "), "{refusal}");
    assert!(asked(&mut client, 99_000_000).starts_with("552 5.3.4 "));
    assert!(asked(&mut client, 1_000_000).starts_with("250 "));
    small.fill();
    let began = Instant::now();
    until("it is noticed", || asked(&mut client, 1).starts_with("452 4.3.1 "));
    at_most("a full disk is noticed at MAIL after", began.elapsed().as_millis() as u64, 5000, "ms");
    // Who does not say how large it is finds out at the end.
    assert!(client.deliver(&["ann@mx.test"], MAIL).starts_with("452 4.3.1 "));
    small.empty();
    let began = Instant::now();
    until("there is room again", || asked(&mut client, 1_000_000).starts_with("250 "));
    at_most("room again is noticed at MAIL after", began.elapsed().as_millis() as u64, 5000, "ms");
    server.stop();
}

/// Found before any mail is refused.
#[test]
fn check_names_the_mailboxes_of_a_full_disk_and_a_spool_that_is_read_only() {
    let place = Place::new();
    let Some(small) = Small::mount(&place.at("small"), 1) else { return };
    let listed = config("").replace("any_user = true", "users = \"users\"");
    fs::create_dir(place.at("small/mail")).unwrap();
    place.write("users", "ann:{PLAIN}x:::::\n");
    place.write("facteur.toml", listed.replace("\"mail/", "\"small/mail/"));
    assert_eq!(run(&place, &["check"]).0, 0);
    small.fill();
    let (status, _, said) = run(&place, &["check"]);
    let words = "maildir: no mail can be delivered to ann@mx.test: ";
    assert!(status == 1 && said.starts_with("error: ") && said.contains(words), "{said}");
    assert!(said.contains("No space left on device") && said.lines().count() == 1, "{said}");
    // The same of a queue.
    place.write("facteur.toml", listed.replace("\"spool\"", "\"small/spool\""));
    let (status, _, said) = run(&place, &["check"]);
    assert!(status == 1 && said.contains("No space left on device"), "{said}");
    small.empty();
    assert_eq!(run(&place, &["check"]).0, 0);
    // A file system that the kernel has made read-only after an error.
    let mut mount = Command::new("mount");
    assert!(mount.args(["-o", "remount,ro"]).arg(place.at("small")).status().unwrap().success());
    for command in ["check", "serve"] {
        let (status, _, said) = run(&place, &[command]);
        assert!(status == 1 && said.contains("Read-only file system"), "{command}: {said}");
        assert!(command == "serve" || said.starts_with("fatal: "), "{said}");
    }
}
