//! `facteur sendmail` as root or the server's user calls it: every option and every exit status, with and
//! without a server.

use crate::servers::{Binary, FACTEUR};
use crate::support::{Place, config, files, skip, text, until};
use facteur::mail::envelope::{BodyType, Notify, Ret};
use facteur::store::disk::RealDisk;
use facteur::store::entry::Entry;
use facteur::store::queue::Queue;
use nix::unistd::{User, geteuid, getuid};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

const MESSAGE: &[u8] = b"Subject: x\n\nHello.\n";

/// A place with a configuration, and no server yet.
fn place_with(more: &str) -> Place {
    let place = Place::new();
    place.write("facteur.toml", config(more));
    place
}

/// Runs a command that reads these octets; gives its exit status and all that it said.
pub fn feed(place: &Place, mut command: Command, input: &[u8]) -> (i32, String) {
    // A file: no pipe can be full, and who does not read to its end is not killed.
    let file = place.write(".input", input);
    command.current_dir(place.path()).stdin(File::open(&file).unwrap());
    let output = command.env_remove("NAME").output().unwrap();
    fs::remove_file(file).unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    (output.status.code().unwrap_or(-1), said)
}

pub fn sendmail(place: &Place, arguments: &[&str], input: &[u8]) -> (i32, String) {
    let mut command = Command::new(FACTEUR);
    command.arg("sendmail").args(arguments);
    feed(place, command, input)
}

/// The same, and it does what was asked.
fn sent(place: &Place, arguments: &[&str], input: &[u8]) -> String {
    let (status, said) = sendmail(place, arguments, input);
    assert_eq!(status, 0, "{arguments:?}: {said}");
    said
}

/// What waits in the queue of a place: envelopes and messages, oldest first.
pub fn queued(place: &Place) -> Vec<(Entry, String)> {
    let queue = Queue::new(Arc::new(RealDisk), &place.at("spool"));
    let read = |id: String| {
        let entry = queue.read(&id).ok()?.entry;
        let octets = fs::read(queue.dir().join(id)).ok()?;
        let message = &octets[entry.message_at as usize..][..entry.size as usize];
        Some((entry, text(message)))
    };
    queue.list().unwrap().into_iter().filter_map(read).collect()
}

/// Sends one message and takes it out of the queue again.
fn one(place: &Place, arguments: &[&str], input: &[u8]) -> (Entry, String) {
    sent(place, arguments, input);
    let mut found = queued(place);
    assert_eq!(found.len(), 1, "{arguments:?}");
    fs::remove_file(place.at("spool/queue").join(&found[0].0.id)).unwrap();
    found.remove(0)
}

pub fn recipients(entry: &Entry) -> Vec<String> {
    entry.recipients.iter().map(|to| to.mailbox.to_string()).collect()
}

/// Who runs the tests.
fn login() -> String {
    User::from_uid(getuid()).unwrap().unwrap().name
}

#[test]
fn without_a_server_it_waits_and_with_one_it_is_delivered() {
    let place = place_with("");
    sent(&place, &["ann"], b"hello");
    let found = queued(&place);
    let [(entry, message)] = &found[..] else { panic!("{found:?}") };
    let (login, uid) = (login(), getuid());
    assert_eq!(entry.sender.from.to_string(), format!("{login}@mx.test"));
    assert!(entry.is_trusted && entry.session.starts_with('s'), "{entry:?}");
    assert_eq!(recipients(entry), ["ann@mx.test"]);
    let id = &entry.id;
    let received = format!("Received: by mx.test (from uid {uid} {login})\n\tid {id};\n\t");
    assert!(message.starts_with(&received), "{message}");
    for part in ["\nDate: ", "\nMessage-ID: <m", "@mx.test>\n", "\n\nhello\n"] {
        assert!(message.contains(part), "no {part:?} in {message}");
    }
    assert!(message.contains(&format!("{login}@mx.test")), "{message}");
    let server = Binary::serve(&place, &config(""));
    server.wait_for(&["delivered ", &format!("id={id} "), "to=ann@mx.test"]);
    // And with a server it comes at once.
    sent(&place, &["-i", "bob@mx.test"], MESSAGE);
    server.wait_for(&["delivered ", "to=bob@mx.test"]);
    until("the queue is empty", || queued(&place).is_empty());
    assert_eq!((place.mail("ann").len(), place.mail("bob").len()), (1, 1));
    let got = text(&place.mail("bob")[0]);
    let top = format!("Return-Path: <{login}@mx.test>\nDelivered-To: bob@mx.test\nReceived: by ");
    assert!(got.starts_with(&top) && got.ends_with("\n\nHello.\n"), "{got}");
    server.stop();
}

#[test]
fn senders() {
    let place = place_with("");
    let own = format!("{}@mx.test", login());
    for (arguments, from) in [
        (&["ann"][..], own.as_str()),
        (&["-f", "eve@far.test", "ann"], "eve@far.test"),
        (&["-feve@far.test", "ann"], "eve@far.test"),
        (&["-r", "eve@far.test", "ann"], "eve@far.test"),
        (&["-f", "<eve@far.test>", "ann"], "eve@far.test"),
        (&["-f", "Eve E. <eve@far.test>", "ann"], "eve@far.test"),
        (&["-f", "ann", "ann"], "ann@mx.test"),
        (&["ann", "-f", "eve@far.test"], "eve@far.test"),
        (&["-f", "", "ann"], "<>"),
        (&["-f", "<>", "ann"], "<>"),
    ] {
        let (entry, message) = one(&place, arguments, MESSAGE);
        assert_eq!(entry.sender.from.to_string(), from, "{arguments:?}");
        let author = if from == "<>" { &own } else { from };
        let is_from = |line: &str| line.starts_with("From: ") && line.contains(author);
        assert!(message.lines().any(is_from), "{arguments:?}: {message}");
    }
}

#[test]
fn names() {
    let place = place_with("");
    let from = |arguments: &[&str], input: &[u8]| {
        let (_, message) = one(&place, arguments, input);
        let fields = message.split_once("\n\n").unwrap().0.replace("\n ", " ");
        let line = fields.lines().find(|line| line.starts_with("From: "));
        line.unwrap().to_owned()
    };
    let named = from(&["-F", "Ann Smith", "-f", "ann@mx.test", "bob"], MESSAGE);
    assert_eq!(named, "From: Ann Smith <ann@mx.test>");
    let encoded = from(&["-FÉva", "-f", "ann@mx.test", "bob"], MESSAGE);
    assert_eq!(encoded, "From: =?utf-8?q?=C3=89va?= <ann@mx.test>");
    let forged = from(&["-F", "x\nBcc: eve@far.test", "-f", "ann@mx.test", "bob"], MESSAGE);
    assert_eq!(forged, "From: \"x Bcc: eve@far.test\" <ann@mx.test>");
    let kept = from(&["-F", "Other", "bob"], b"From: Eve <eve@far.test>\n\n");
    assert_eq!(kept, "From: Eve <eve@far.test>");
}

#[test]
fn recipients_of_words_and_of_the_header() {
    let place = place_with("");
    let header = b"To: Ann <ann@mx.test>, carl\nCc: team: ann@mx.test, dora@far.test;\n\
        Bcc: secret@far.test,\n hidden@far.test\nSubject: x\n\nTo: nobody@far.test\n";
    for (arguments, input, to) in [
        (&["ann", "bob@far.test"][..], MESSAGE, &["ann@mx.test", "bob@far.test"][..]),
        (&["ann,bob@far.test", "Ann A <ann@mx.test>"], MESSAGE, &["ann@mx.test", "bob@far.test"]),
        (&["--", "-odd@far.test", "-t"], MESSAGE, &["-odd@far.test", "-t@mx.test"]),
        (&["ann"], header, &["ann@mx.test"]),
        (
            &["-t"],
            header,
            &["ann@mx.test", "carl@mx.test", "dora@far.test", "secret@far.test", "hidden@far.test"],
        ),
        (&["-t", "eve@far.test"], b"To: ann\n\n", &["eve@far.test", "ann@mx.test"]),
        (&["-t"], b"To: ann\nResent-To: bob@far.test\n\n", &["bob@far.test"]),
        (&["ann+tag", "Ann"], MESSAGE, &["ann@mx.test"]),
    ] {
        let (entry, message) = one(&place, arguments, input);
        assert_eq!(recipients(&entry), to, "{arguments:?}");
        let fields = message.split_once("\n\n").unwrap().0;
        assert!(!fields.contains("Bcc") && !fields.contains("hidden"), "{fields}");
    }
}

#[test]
fn a_name_without_a_domain_is_at_our_first_where_hostname_is_none() {
    let place = Place::new();
    let text = config("").replace("hostname = \"mx.test\"", "hostname = \"host.test\"");
    place.write("facteur.toml", text);
    let (entry, _) = one(&place, &["root"], MESSAGE);
    assert_eq!(recipients(&entry), ["root@mx.test"]);
    // Any name is a user there, so that is where its answers are read.
    assert_eq!(entry.sender.from.to_string(), format!("{}@mx.test", login()));
    // Where nobody reads them, the host says at least which machine it was.
    let none = config("")
        .replace("\"mx.test\"", "\"host.test\"")
        .replace("[domain.\"host", "[domain.\"mx");
    place.write("none.toml", none.replace("any_user = true", "users = \"users\""));
    place.write("users", "ann:{PLAIN}x\n");
    let (entry, message) = one(&place, &["-C", "none.toml", "ann"], MESSAGE);
    assert_eq!(entry.sender.from.to_string(), format!("{}@host.test", login()));
    assert!(message.contains(&format!("{}@host.test", login())), "{message}");
}

#[test]
fn a_header_is_completed() {
    let place = place_with("");
    let login = login();
    let header = |arguments: &[&str], input: &str| {
        let (_, message) = one(&place, arguments, input.as_bytes());
        message.split_once("\n\n").unwrap().0.to_owned() + "\n"
    };
    // As cron writes it.
    let cron =
        header(&["-i", "ann"], "From: root (Cron Daemon)\nTo: ann, Bob <bob>\nBcc: eve\n\nx\n");
    for line in ["\nFrom: root@mx.test (Cron Daemon)\n", "\nTo: ann@mx.test, Bob <bob@mx.test>\n"] {
        assert!(cron.contains(line), "{cron}");
    }
    assert!(!cron.contains("Bcc") && !cron.contains("Sender"), "{cron}");
    // Empty is as good as missing.
    let empty = header(&["ann"], "From: <>\nDate:\nMessage-ID: <>\nSender:\n\n");
    for name in ["From: ", "Date: ", "Message-ID: <m"] {
        assert_eq!(empty.matches(&format!("\n{name}")).count(), 1, "{empty}");
    }
    assert!(empty.contains(&format!("{login}@mx.test")) && !empty.contains("Sender"), "{empty}");
    // Root may write as anybody; but several authors need one who sent it.
    let several = "From: ann, bob\n\n";
    let sent = header(&["-f", "ann", "carl"], several);
    assert!(sent.contains("\nSender: ann@mx.test\n"), "{sent}");
    let sent = header(&["carl"], "From: eve@far.test\n\n");
    assert!(!sent.contains("Sender"), "{sent}");
}

#[test]
fn mailq_is_written_as_postfix_writes_it() {
    let place = place_with("");
    assert_eq!(sent(&place, &["-bp"], b""), "Mail queue is empty\n");
    sent(&place, &["-f", "<>", "bob@far.test", "eve@far.test"], MESSAGE);
    let id = queued(&place)[0].0.id.clone();
    let size = queued(&place)[0].0.size;
    let said = sent(&place, &["-bp"], b"");
    let lines: Vec<&str> = said.lines().collect();
    let heading = "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------";
    let [first, message, one, two, "", total] = lines[..] else { panic!("{said}") };
    assert_eq!((first, total), (heading, "-- 0 Kbytes in 1 Request."));
    let words: Vec<&str> = message.split_whitespace().collect();
    assert_eq!(words.len(), 7, "{message}");
    assert_eq!((words[0], words[1].parse(), words[6]), (id.as_str(), Ok(size), "MAILER-DAEMON"));
    let is_time = |text: &str| text.len() == 8 && text.chars().filter(|c| *c == ':').count() == 2;
    assert!(is_time(words[5]) && &message[17..18] == " " && &message[46..47] == " ", "{message}");
    let indent = " ".repeat(47);
    assert_eq!((one, two), (&*format!("{indent}bob@far.test"), &*format!("{indent}eve@far.test")));
    // A reason stands before those whom it is about, and ends in column 78.
    let journal = "2026-11-23T14:00:01Z 0 deferred mx.far.test \"450 4.2.0 later\"\n";
    let path = place.at("spool/queue").join(&id);
    let mut octets = fs::read(&path).unwrap();
    octets.extend_from_slice(journal.as_bytes());
    fs::write(&path, octets).unwrap();
    sent(&place, &["-f", "ann@mx.test", "carl@far.test"], &b"Subject: x\n\n0123456\n".repeat(200));
    let said = sent(&place, &["-bp"], b"");
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[2].ends_with("450 4.2.0 later)") && lines[2].starts_with("   "), "{said}");
    assert_eq!(lines[2].len(), 78, "{said}");
    assert!(
        lines[4].ends_with("(reason unavailable)") && lines[5].ends_with("eve@far.test"),
        "{said}"
    );
    assert!(lines[6].is_empty() && lines[7].ends_with(" ann@mx.test"), "{said}");
    assert_eq!(lines[lines.len() - 1], "-- 4 Kbytes in 2 Requests.");
}

#[test]
fn aliases_are_followed_as_in_a_session() {
    let place = place_with("aliases = \"aliases\"");
    place.write("aliases", "team: ann, bob, eve@far.test\n");
    let (entry, _) = one(&place, &["team", "ann"], MESSAGE);
    assert_eq!(recipients(&entry), ["ann@mx.test", "bob@mx.test", "eve@far.test"]);
    let via = entry.recipients[2].via.as_ref().map(ToString::to_string);
    assert_eq!(via.as_deref(), Some("team@mx.test"));
}

#[test]
fn what_reports_are_wanted() {
    let place = place_with("");
    let notify = |success, failure, delay| Some(Notify { success, failure, delay });
    for (arguments, wanted, ret, envid) in [
        (&[][..], None, None, None),
        (&["-N", "never"], notify(false, false, false), None, None),
        (&["-Nsuccess,delay"], notify(true, false, true), None, None),
        (&["-N", "failure", "-R", "hdrs"], notify(false, true, false), Some(Ret::Headers), None),
        (&["-R", "full", "-V", "my id"], None, Some(Ret::Full), Some("my+20id")),
        // As Postfix: no mail is lost for a slip here.
        (&["-N", "sometimes", "-R", "half", "-V", "\u{e9}"], None, None, None),
    ] {
        let arguments = [arguments, &["bob@far.test"]].concat();
        let (entry, _) = one(&place, &arguments, MESSAGE);
        assert_eq!(entry.recipients[0].notify, wanted, "{arguments:?}");
        assert_eq!((entry.sender.ret, entry.sender.envid.as_deref()), (ret, envid));
    }
}

#[test]
fn how_the_message_is_written() {
    let place = place_with("");
    for (arguments, input, body) in [
        (&["ann"][..], MESSAGE, BodyType::SevenBit),
        (&["ann"], b"\n\xe9\n", BodyType::EightBitMime),
        (&["-B8BITMIME", "ann"], MESSAGE, BodyType::EightBitMime),
        (&["-B", "7BIT", "ann"], b"\n\xe9\n", BodyType::SevenBit),
    ] {
        let (entry, _) = one(&place, arguments, input);
        assert_eq!(entry.sender.body, body, "{arguments:?}");
        assert!(!entry.sender.smtputf8);
    }
    let (entry, _) = one(&place, &["\u{e9}va@far.test"], MESSAGE);
    assert!(entry.sender.smtputf8);
}

#[test]
fn where_a_message_ends_and_what_is_kept_of_it() {
    let place = place_with("");
    for (arguments, input, body) in [
        (&["ann"][..], &b"X: y\n\na\n.\nb\n"[..], "a\n"),
        (&["-i", "ann"], b"X: y\n\na\n.\nb\n", "a\n.\nb\n"),
        (&["-oi", "ann"], b"X: y\n\na\n.\nb\n", "a\n.\nb\n"),
        (&["-oem", "ann"], b"X: y\n\n..a\n .\n", "..a\n .\n"),
        (&["ann"], b"X: y\r\n\r\na\r\n.\r\nb\r\n", "a\n"),
        (&["ann"], b"X: y\n\nno end", "no end\n"),
        (&["ann"], b"X: y\n\n1%\r2%\r\n", "1%\n2%\n"),
        (&["ann"], b"X: y\n\n\0\x1b\x7f\n", "\0\x1b\x7f\n"),
        (&["ann"], b"just text\n", "just text\n"),
        (&["ann"], b"X: y", ""),
        (&["ann"], b"", ""),
    ] {
        let (entry, message) = one(&place, arguments, input);
        let found = message.split_once("\n\n").unwrap().1;
        assert_eq!(found, body, "{arguments:?} {:?}", text(input));
        assert_eq!(entry.size, message.len() as u64);
    }
    // Every octet but CR, and far more than memory is given.
    let octets: Vec<u8> = (0..=255).filter(|octet| *octet != b'\r').collect();
    let large = [b"X: y\n\n".to_vec(), [&octets[..], b"\n"].concat().repeat(2000)].concat();
    sent(&place, &["-i", "ann"], &large);
    let files = files(&place.at("spool/queue"));
    let queued = fs::read(&files[0]).unwrap();
    assert!(queued.ends_with(&large[6..]), "{} octets", queued.len());
    crate::support::assert_no_drafts(&place);
}

#[test]
fn a_header_cannot_be_slipped_in() {
    let place = place_with("");
    let (entry, message) =
        one(&place, &["-t"], b"To: ann\nSubject: x\rBcc: eve@far.test\r\n\r\nbody\n");
    assert_eq!(recipients(&entry), ["ann@mx.test"]);
    assert!(message.contains("\nSubject: x Bcc: eve@far.test\n"), "{message}");
}

#[test]
fn options_that_mean_nothing_here() {
    let place = place_with("");
    for option in [
        "-oem", "-odi", "-or0s", "-o7", "-om", "-Ac", "-Lx", "-OA=b", "-h3", "-pSMTP:x", "-em",
        "-G", "-U", "-c", "-m", "-n", "-x", "-Xlog", "-XV", "-bm", "-v",
    ] {
        let (entry, _) = one(&place, &[option, "ann"], MESSAGE);
        assert_eq!(recipients(&entry), ["ann@mx.test"], "{option}");
    }
    let said = sent(&place, &["-v", "ann", "bob"], MESSAGE);
    let id = queued(&place)[0].0.id.clone();
    assert_eq!(said, format!("{id}: queued for 2 recipients\n"));
    for nothing in ["-bh", "-bH", "-q30m"] {
        assert_eq!(sent(&place, &[nothing], MESSAGE), "");
    }
    assert_eq!(queued(&place).len(), 1);
}

#[test]
fn exit_statuses() {
    let place = place_with("[limit]\nmessage_size = \"500KiB\"\nhops = 5");
    let users = config("").replace("any_user = true", "users = \"users\"");
    place.write("users", "ann:{PLAIN}x\n");
    place.write("users.toml", users);
    place.write("bad.toml", "nonsense = 1\n");
    place.write("file.toml", config("").replace("\"spool\"", "\"users\""));
    let large = vec![b'x'; 501 * 1024];
    let long = format!("X: {}\n\n", "y\n ".repeat(100_000));
    let loops = "Received: x\n".repeat(5) + "\n";
    let many: Vec<String> = (0..1001).map(|n| format!("u{n}@far.test")).collect();
    let many = many.join(",");
    for (arguments, input, status, words) in [
        (&[][..], MESSAGE, 64, "no recipient"),
        (&["-t"], MESSAGE, 64, "no recipient in the header"),
        (&["-t"], b"To: \nCc: nobody:;\n\n", 64, "no recipient in the header"),
        (&["-Z", "ann"], MESSAGE, 64, "-Z"),
        (&["--nonsense"], MESSAGE, 64, "--nonsense"),
        (&["-f"], MESSAGE, 64, "-f"),
        (&["-f", "a b@x", "ann"], MESSAGE, 64, "a b@x"),
        (&["-f", "a@x, b@x", "ann"], MESSAGE, 64, "takes one address"),
        (&["ann@"], MESSAGE, 64, "ann@"),
        (&["ann@mx..test"], MESSAGE, 64, "bad domain"),
        (&[""], MESSAGE, 64, "no address"),
        (&["-bd"], MESSAGE, 64, "facteur serve"),
        (&["-bz"], MESSAGE, 64, "-bz"),
        (&["-B", "BINARY", "ann"], MESSAGE, 64, "-B"),
        (&["-bp", "ann"], MESSAGE, 64, "recipients"),
        (&["-t"], b"To: ann smith@mx.test\n\n", 65, "To: "),
        (&["ann"], long.as_bytes(), 69, "header"),
        (&["-C", "users.toml", "ann", "zoe"], MESSAGE, 67, "<zoe@mx.test>: no such user"),
        (&["ann"], &large, 69, "limit.message_size"),
        (&["ann"], loops.as_bytes(), 69, "loops"),
        (&[&many], MESSAGE, 69, "more than 1000"),
        (&["-t"], format!("To: {many}\n\n").as_bytes(), 69, "more than 1000"),
        (&["-C", "file.toml", "ann"], MESSAGE, 75, "Not a directory"),
        (&["-C", "bad.toml", "ann"], MESSAGE, 78, "bad.toml:1"),
        (&["-C", "none.toml", "ann"], MESSAGE, 78, "none.toml"),
    ] {
        let (found, said) = sendmail(&place, arguments, input);
        assert_eq!(found, status, "{arguments:?}: {said}");
        assert!(said.contains(words) && said.starts_with("sendmail: "), "{arguments:?}: {said}");
    }
    assert!(queued(&place).is_empty(), "nothing is sent when anything is wrong");
    crate::support::assert_no_drafts(&place);
    // A message that cannot be read.
    let mut command = Command::new(FACTEUR);
    command.args(["sendmail", "ann"]).current_dir(place.path());
    let output = command.stdin(File::open(place.path()).unwrap()).output().unwrap();
    assert_eq!(output.status.code(), Some(74), "{}", text(&output.stderr));
    // A size that just fits, with what we add.
    let fits = "x\n".repeat(500 * 1024 / 3 - 10);
    sent(&place, &["ann"], fits.as_bytes());
}

#[test]
fn a_disk_that_is_full_is_no_fault_of_the_message() {
    if !geteuid().is_root() {
        return skip("only root can mount");
    }
    let place = place_with("");
    let spool = place.at("spool");
    fs::create_dir(&spool).unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(&spool).stderr(Stdio::null());
    if !mount.status().is_ok_and(|status| status.success()) {
        return skip("nothing can be mounted here");
    }
    let (status, said) = sendmail(&place, &["ann"], &b"x\n".repeat(60_000));
    let small = sendmail(&place, &["ann"], MESSAGE);
    let left = files(&spool.join("tmp")).len();
    assert!(Command::new("umount").arg(&spool).status().unwrap().success());
    assert_eq!((status, left), (75, 0), "{said}");
    assert_eq!(small.0, 0, "{}", small.1);
}

#[test]
fn smtp_on_standard_input() {
    let place = place_with("aliases = \"aliases\"\n[limit]\nerrors = 3");
    place.write("aliases", "team: ann, eve@far.test\n");
    let large = "x".repeat(200) + "\r\n";
    let session = format!(
        "EHLO client.test\r\nMAIL FROM:<ann@mx.test>\r\nRCPT TO:<bob@far.test>\r\n\
         RCPT TO:<team@mx.test>\r\nRCPT TO:<postmaster>\r\nDATA\r\nSubject: x\r\n\r\n..dot\r\n{}.\r\n\
         RSET\r\nMAIL FROM:<>\r\nRCPT TO:<>\r\nRCPT TO:<ann@mx.test>\r\nBDAT 4 LAST\r\nX:\r\n\
         QUIT\r\n",
        large.repeat(1000)
    );
    let (status, said) = sendmail(&place, &["-bs"], session.as_bytes());
    assert_eq!(status, 0, "{said}");
    let codes: Vec<&str> = said.lines().filter(|line| &line[3..4] == " ").collect();
    let codes: Vec<&str> = codes.iter().map(|line| &line[..3]).collect();
    let expected = "220 250 250 250 250 250 354 250 250 250 501 250 250 221";
    assert_eq!(codes.join(" "), expected, "{said}");
    let found = queued(&place);
    assert_eq!(found.len(), 2);
    let to = ["bob@far.test", "eve@far.test", "ann@mx.test", "postmaster@mx.test"];
    assert_eq!(recipients(&found[0].0), to);
    assert!(said.contains(&format!("queued as {}", found[0].0.id)), "{said}");
    let message = &found[0].1;
    assert!(message.starts_with("Received: from client.test ([127.0.0.1])\n"), "{message}");
    let (header, body) = message.split_once("\n\n").unwrap();
    assert!(body.starts_with(".dot\nxxx"), "{message}");
    // Completed as all that this program sends.
    for field in ["\nSubject: x\n", "\nDate: ", "\nFrom: ", "ann@mx.test", "\nMessage-ID: <m"] {
        assert!(header.contains(field), "no {field} in {header}");
    }
    crate::support::assert_no_drafts(&place);
    // As many errors as anybody may make; and no more input is no error.
    let (status, said) = sendmail(&place, &["-bs"], &b"X\r\n".repeat(9));
    assert!(status == 0 && said.matches("\r\n").count() < 9, "{said}");
    assert_eq!(sendmail(&place, &["-bs"], b"").0, 0);
}

#[test]
fn what_it_does_by_other_names() {
    let place = place_with("aliases = \"aliases\"");
    place.write("aliases", "team: ann\n");
    for name in ["sendmail", "mailq", "newaliases"] {
        symlink(FACTEUR, place.at(name)).unwrap();
    }
    let by = |name: &str, arguments: &[&str]| {
        let mut command = Command::new(place.at(name));
        command.args(arguments);
        feed(&place, command, MESSAGE)
    };
    assert_eq!(by("sendmail", &["team"]), (0, String::new()));
    let id = queued(&place)[0].0.id.clone();
    for (name, arguments) in [("mailq", &[][..]), ("sendmail", &["-bp"]), ("newaliases", &["-bp"])]
    {
        let (status, said) = by(name, arguments);
        assert!(status == 0 && said.contains(&id) && said.contains("ann@mx.test"), "{said}");
    }
    for (name, arguments) in [("newaliases", &[][..]), ("sendmail", &["-bi"]), ("mailq", &["-I"])] {
        assert_eq!(by(name, arguments), (0, String::new()));
    }
    place.write("aliases", "team: ann\nbad: |/bin/sh\n");
    let (status, said) = by("newaliases", &[]);
    assert!(status == 65 && said.contains("aliases:2"), "{said}");
    let (status, said) = by("sendmail", &["--help"]);
    assert!(status == 0 && said.starts_with("usage: facteur"), "{said}");
    let (status, said) = by("mailq", &["--version"]);
    assert!(status == 0 && said.starts_with("facteur "), "{said}");
    let (status, said) = by("sendmail", &["-bv", "team", "x@nowhere.invalid"]);
    assert!(said.contains("team is an alias of ann@mx.test"), "{status} {said}");
}

#[test]
fn attempts_on_demand() {
    let place = place_with("");
    sent(&place, &["bob@far.test"], MESSAGE);
    sent(&place, &["eve@other.test"], MESSAGE);
    let ids: Vec<String> = queued(&place).into_iter().map(|(entry, _)| entry.id).collect();
    for (argument, told) in [
        ("-q".to_owned(), &ids[..]),
        (format!("-qI{}", ids[1]), &ids[1..]),
        ("-qRFAR.test".to_owned(), &ids[..1]),
        ("-qRno.test".to_owned(), &[]),
    ] {
        let said = sent(&place, &[&argument], b"");
        assert_eq!(said.lines().count(), told.len(), "{argument}: {said}");
        assert!(told.iter().all(|id| said.contains(id.as_str())), "{argument}: {said}");
    }
    assert_eq!(sendmail(&place, &["-qInobody"], b"").0, 69);
}

#[test]
fn the_demo_sends_only_where_it_has_run() {
    if Path::new("/etc/facteur/facteur.toml").exists() {
        return skip("there is an /etc/facteur/facteur.toml here");
    }
    let place = Place::new();
    let (status, said) = sendmail(&place, &["you@localhost"], MESSAGE);
    assert!(status == 78 && said.contains("facteur-data/spool"), "{said}");
    assert!(files(place.path()).is_empty());
    Queue::new(Arc::new(RealDisk), &place.at("facteur-data/spool")).make().unwrap();
    sent(&place, &["you@localhost"], MESSAGE);
    assert_eq!(files(&place.at("facteur-data/spool/queue")).len(), 1);
}
