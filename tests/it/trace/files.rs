//! Where stories lie, who may read them, and what is said where there are none.

use super::{serve, traced_with};
use crate::commands::run_clean;
use crate::hosts::Host;
use crate::servers::{Binary, FACTEUR};
use crate::support::{Place, config, files, skip, text, until};
use nix::unistd::{User, geteuid};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

#[test]
fn only_the_server_may_read_them() {
    let place = Place::new();
    let (far, good) = (Host::start(""), Host::start(""));
    let server = serve(&place, &far, &good);
    let id = crate::internet::post(&server, &["ann@mx.test"]);
    traced_with(&place, &id, &["delivered "]);
    let dir = place.at("spool/trace");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    let all = files(&dir);
    assert!(!all.is_empty() && all.iter().all(|path| mode(path) == 0o600));
    let today = jiff::Timestamp::now().to_string()[..10].to_owned();
    assert!(all.iter().any(|path| path.ends_with(&today)), "{all:?}");
    // A directory that somebody opened is closed again.
    server.stop();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    let server = serve(&place, &far, &good);
    let id = crate::internet::post(&server, &["ann@mx.test"]);
    traced_with(&place, &id, &["delivered "]);
    assert_eq!(mode(&dir), 0o700);
    server.stop();
    let nobody = User::from_name("nobody").unwrap();
    let Some(nobody) = nobody.filter(|_| geteuid().is_root()) else {
        return skip("only root can become another user");
    };
    // Where the tests were built others may not go.
    let program = place.at("facteur");
    std::fs::hard_link(FACTEUR, &program)
        .or_else(|_| std::fs::copy(FACTEUR, &program).map(drop))
        .unwrap();
    chown(place.path(), Some(0), Some(0)).unwrap();
    let mut command = Command::new(program);
    command.args(["trace", &id]).current_dir(place.path());
    command.uid(nobody.uid.as_raw()).gid(nobody.gid.as_raw());
    let output = command.output().unwrap();
    let said = text(&output.stderr);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), ""), "{said}");
    assert!(said.contains("is only for ") && said.lines().count() == 1, "{said}");
}

#[test]
fn where_there_is_nothing_to_tell() {
    let place = Place::new();
    place.write("facteur.toml", config(""));
    let (status, out, err) = run_clean(&place, &["trace", "m1"]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("there are no stories in ") && err.lines().count() == 1, "{err}");
    std::fs::create_dir_all(place.at("spool/trace")).unwrap();
    let (status, out, err) = run_clean(&place, &["trace", "m1", "x@y\u{1b}[2J"]);
    assert_eq!((status, out.as_str()), (1, ""));
    for part in ["m1: no story", "x@y\\x1b[2J: no story", "--since", "30d (trace.keep)", "256MiB"] {
        assert!(err.contains(part), "no {part} in {err}");
    }
    for (arguments, said) in [
        (&["trace"][..], "wrong arguments"),
        (&["trace", "m1", "--follow"], "wrong arguments"),
        (&["trace", "m1", "--since", "soon"], "expected such as 2d"),
        (&["trace", "--follow", "--since", "2d"], "--follow tells"),
        (&["queue", "list", "--since", "2d"], "--since goes with trace"),
        (&["trace", "m1", "--all"], "--all goes with"),
    ] {
        let (status, out, err) = run_clean(&place, arguments);
        assert_eq!((status, out.as_str()), (2, ""), "{arguments:?}");
        assert!(err.contains(said), "{arguments:?}: {err}");
    }
    let (status, out, _) = run_clean(&place, &["trace", "--help"]);
    assert!(status == 0 && out.starts_with("usage: facteur [-c FILE] trace HANDLE..."), "{out}");
}

#[test]
fn a_session_that_was_turned_away_and_one_without_mail() {
    let place = Place::new();
    let config = config("[limit]\nsessions_per_client = 1");
    let server = Binary::serve(&place, &config);
    let first = server.client();
    let mut second = crate::client::Client::connect(server.address);
    let told = second.expect_last("421 4.7.0");
    let session = told.rsplit_once('[').unwrap().1.trim_end_matches(']').to_owned();
    let story = traced_with(&place, &session, &["S: 421 4.7.0", "disconnected reason=refused"]);
    assert!(story.starts_with(&format!("no message was taken, session {session}\n")), "{story}");
    drop(first);
    server.stop();
}

/// A message that never comes whole is one that somebody asks about, by the only name it has.
#[test]
fn a_message_that_is_cut_off() {
    let place = Place::new();
    let server = Binary::serve(&place, &config(""));
    let mut client = server.client();
    client.expect("MAIL FROM:<eve@far.test>", "250");
    client.expect("RCPT TO:<ann@mx.test>", "250");
    client.expect("DATA", "354");
    client.send(b"Message-ID: <cut@far.test>\r\n\r\nhello\r\n");
    drop(client);
    let told = ["C: (37 octets of message)", "disconnected reason=\"closed inside a transaction\""];
    let story = traced_with(&place, "cut@far.test", &told);
    assert!(story.starts_with("no message was taken, session "), "{story}");
    server.stop();
}

#[test]
fn a_live_message_is_followed() {
    let place = Place::new();
    let (far, good) = (Host::start(""), Host::start(""));
    let server = serve(&place, &far, &good);
    let mut command = Command::new(FACTEUR);
    command.args(["trace", "--follow"]).current_dir(place.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // It may begin to look after a message that came early, so until it tells of one.
    let (sender, seen) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        while let Some(Ok(line)) = lines.next() {
            let _ = sender.send(line);
        }
    });
    let mut told = String::new();
    until("a message is followed", || {
        let id = crate::internet::post(&server, &["ann@mx.test"]);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(2);
        while std::time::Instant::now() < deadline {
            if let Ok(line) = seen.recv_timeout(std::time::Duration::from_millis(100)) {
                told = line;
                if told.contains(&format!(" {id} delivered to=ann@mx.test")) {
                    return true;
                }
            }
        }
        false
    });
    assert!(told[..24].parse::<jiff::Timestamp>().is_ok(), "{told}");
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    assert!(!child.wait().unwrap().success(), "ended by the signal");
    reader.join().unwrap();
    server.stop();
}

/// What one client says without end pushes nobody else's story out.
#[test]
fn a_session_that_says_too_much() {
    let place = Place::new();
    let server = Binary::serve(&place, &config(""));
    let mut client = server.client();
    let long = format!("NOOP {}\r\n", "x".repeat(1500)).repeat(8);
    for _ in 0..40 {
        client.send(format!("MAIL FROM:<eve@far.test>\r\n{long}RSET\r\n").as_bytes());
        (0..10).for_each(|_| assert!(client.reply().starts_with("250")));
    }
    let id = client.delivered(&["ann@mx.test"], b"hi\r\n");
    client.expect("QUIT", "221");
    let told = traced_with(&place, &id, &["disconnected ", "delivered to=ann@mx.test"]);
    assert!(told.contains("C: DATA"), "{told}");
    let session = told.lines().next().unwrap().rsplit_once(' ').unwrap().1;
    let told = super::traced(&place, &[session]);
    assert_eq!(told.matches("too much was said").count(), 1);
    server.stop();
    let octets: u64 =
        files(&place.at("spool/trace")).iter().map(|p| p.metadata().unwrap().len()).sum();
    assert!(octets < 2 * facteur::limits::TRACE_SESSION_MAX as u64, "{octets}");
}
