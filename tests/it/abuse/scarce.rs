//! A system that grants no more: descriptors, threads. The server says so, waits, and goes on.

use super::{MAIL, at_most, entries, processor_time, say, until_served};
use crate::client::Client;
use crate::servers::{Binary, FACTEUR};
use crate::support::{Place, config, has_program, skip, until};
use nix::unistd::geteuid;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A server that may open so many files from its start.
fn with_descriptors(place: &Place, most: usize) -> Binary {
    // Of strangers the one that waits longest would make room; these are none.
    let more = "[limit]\nsessions_per_client = 1000\n[relay]\nnetworks = [\"127.0.0.0/8\"]";
    let file = place.write("facteur.toml", config(more));
    let mut command = Command::new("sh");
    let script = format!("ulimit -n {most} && exec \"$@\"");
    command.args(["-c", &script, "sh", FACTEUR, "-c"]).arg(file).arg("serve");
    Binary::start(command)
}

fn crowd(server: &Binary, clients: usize) -> Vec<TcpStream> {
    (0..clients).map(|_| TcpStream::connect(server.address).unwrap()).collect()
}

#[test]
fn few_descriptors() {
    let place = Place::new();
    let server = with_descriptors(&place, 64);
    server.wait_for(&["warning ", "only 64 files may be open: there will be 32 sessions"]);
    let mut before = server.client();
    let crowd = crowd(&server, 200);
    server.wait_for(&["421 4.3.2 mx.test too many sessions"]);
    // A crowd that takes all there is keeps nobody's mail from being written, nor do Maildirs that are kept open.
    (0..20).for_each(|n| drop(before.delivered(&[&format!("user{n}@mx.test")], MAIL)));
    before.delivered(&["ann@mx.test"], &large());
    let lines = server.lines();
    let short = lines.iter().filter(|line| line.contains("cannot accept on ")).count();
    at_most("64 descriptors, 200 clients: times that accept failed", short as u64, 0, "times");
    say("64 descriptors, 200 clients: 21 of 21 messages of one session taken");
    drop(crowd);
    until_served(&server);
    server.stop();
}

fn large() -> Vec<u8> {
    [b"Subject: large\r\n\r\n", &b"0123456789abcdef\r\n".repeat(10_000)[..]].concat()
}

/// They are taken away while it runs, so that it counts on more than there are.
#[test]
fn no_descriptors() {
    if !has_program("prlimit", "--version") {
        return skip("prlimit is not installed");
    }
    let place = Place::new();
    let server = with_descriptors(&place, 1000);
    let mut before = server.client();
    before.delivered(&["ann@mx.test"], MAIL);
    let limit = |most: usize| {
        let mut prlimit = Command::new("prlimit");
        prlimit.args(["--pid", &server.pid().to_string(), &format!("--nofile={most}:1000")]);
        assert!(prlimit.status().unwrap().success());
    };
    limit(64);
    let crowd = crowd(&server, 200);
    server.wait_for(&["warning ", "cannot accept on ", "waiting"]);
    let (cpu, began) = (processor_time(server.pid()), Instant::now());
    // Who is in is served as far as that goes: nothing that was not taken is answered 250.
    let (mut refused, mut taken) = (0, 1);
    while began.elapsed() < Duration::from_secs(2) {
        let reply = before.deliver(&["ann@mx.test"], MAIL);
        assert!(reply.starts_with("451 4.3.0 ") || reply.starts_with("250 2.0.0 "), "{reply}");
        refused += usize::from(reply.starts_with("451"));
        taken += usize::from(reply.starts_with("250"));
        std::thread::sleep(Duration::from_millis(100));
    }
    let spent = (processor_time(server.pid()) - cpu).as_millis() as u64;
    at_most("no descriptors: processor time in 2 s", spent, 500, "ms");
    assert_eq!(place.mail("ann").len(), taken);
    say(&format!("no descriptors: {refused} messages of one session heard 451, {taken} 250"));
    drop(crowd);
    until_served(&server);
    before.delivered(&["ann@mx.test"], MAIL);
    let told = server.lines().iter().filter(|line| line.contains("cannot accept on ")).count();
    at_most("no descriptors: lines in the log about it", told as u64, 10, "lines");
    server.stop();
}

/// Nobody has this number, so that only our own threads are counted.
const NOBODY: u32 = 61_234;

#[test]
fn no_threads() {
    if !geteuid().is_root() || !has_program("prlimit", "--version") {
        return skip("only root can become a user who may have few threads (prlimit)");
    }
    let place = Place::new();
    let file = place.write("facteur.toml", config("[limit]\nsessions_per_client = 1000"));
    std::os::unix::fs::chown(place.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let mut command = Command::new("prlimit");
    command.args(["--nproc=40:40", FACTEUR, "-c"]).arg(file).arg("serve");
    command.uid(NOBODY).gid(NOBODY);
    let server = Binary::start(command);
    let mut before = server.client();
    before.delivered(&["ann@mx.test"], MAIL);
    let (mut taken, mut refused) = (Vec::new(), 0);
    for _ in 0..100 {
        let mut client = Client::connect(server.address);
        match client.reply() {
            banner if banner.starts_with("220 ") => taken.push(client),
            banner => {
                assert!(banner.starts_with("421 4.3.2 "), "{banner:?}");
                refused += 1;
            }
        }
    }
    assert!(!taken.is_empty() && refused > 50, "{} taken, {refused} refused", taken.len());
    at_most(
        "no threads: of 40, those that the server has",
        entries(server.pid(), "task") as u64,
        40,
        "threads",
    );
    say(&format!(
        "no threads: {} sessions of 100 were greeted, {refused} heard 421 4.3.2",
        taken.len()
    ));
    server.wait_for(&["warning ", "no thread for a session"]);
    before.delivered(&["ann@mx.test"], MAIL);
    drop(taken);
    until_served(&server);
    until("all are gone again", || Client::connect(server.address).reply().starts_with("220 "));
    before.delivered(&["ann@mx.test"], MAIL);
    server.stop();
}

/// What a limit of file sizes refuses is a full disk, for the server and for commands, and no end of either.
#[test]
fn no_large_files() {
    let place = Place::new();
    let file = place.write("facteur.toml", config(""));
    let limited = || {
        let mut command = Command::new("sh");
        // Blocks of 512 or 1024 octets.
        command.args(["-c", "ulimit -f 1000 && exec \"$@\"", "sh", FACTEUR, "-c"]).arg(&file);
        command
    };
    let mut serve = limited();
    serve.arg("serve");
    let server = Binary::start(serve);
    let mut client = server.client();
    let large = [b"Subject: large\r\n\r\n", &b"0123456789abcdef\r\n".repeat(200_000)[..]].concat();
    let reply = client.deliver(&["ann@mx.test"], &large);
    assert!(reply.starts_with("452 4.3.1 "), "{reply}");
    client.delivered(&["ann@mx.test"], MAIL);
    let mut sendmail = limited();
    sendmail.args(["sendmail", "-f", "bob@mx.test", "ann@mx.test"]).stdin(Stdio::piped());
    let mut sendmail = sendmail.stderr(Stdio::piped()).spawn().unwrap();
    // It may end before it has read all.
    let _ = sendmail.stdin.take().unwrap().write_all(&large);
    let output = sendmail.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{said}");
    assert!(said.contains("File too large"), "{said}");
    client.delivered(&["ann@mx.test"], MAIL);
    assert_eq!(place.mail("ann").len(), 2);
    server.stop();
}
