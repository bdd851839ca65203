//! `facteur sendmail` as other users call it, who may not write the queue: `spool/drop/`, what the server
//! takes from there, and what it refuses, whatever somebody puts there by hand.

use crate::filterd::Filter;
use crate::hosts::Host;
use crate::sendmail::{feed, queued, recipients};
use crate::servers::{Binary, FACTEUR, Inside};
use crate::support::{PATIENCE, Place, config, files, has_program, skip, text, until, within};
use jiff::Timestamp;
use nix::sys::stat::{Mode, SFlag, mknod};
use nix::unistd::{User, geteuid, mkfifo};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Who sends; and who serves.
const SENDER: &str = "nobody";
const SERVER: &str = "daemon";

const MESSAGE: &[u8] = b"Subject: x\n\nHello.\n";

/// A place that both users can come to, the program in it, and the server's configuration.
pub struct Yard {
    pub place: Place,
    config: String,
}

fn user(name: &str) -> User {
    User::from_name(name).unwrap().unwrap()
}

impl Yard {
    /// Nothing where there is one user only, which is said.
    pub fn new(more: &str) -> Option<Yard> {
        let place = Place::new();
        let is_open = |dir: &Path| fs::metadata(dir).unwrap().mode() & 0o001 != 0;
        let has = |name| matches!(User::from_name(name), Ok(Some(_)));
        if !geteuid().is_root() || !has(SENDER) || !has(SERVER) {
            skip("only root can become two other users");
            return None;
        }
        if !place.path().ancestors().all(is_open) {
            skip("other users do not get into the folder of temporary files");
            return None;
        }
        let server = user(SERVER);
        chown(place.path(), Some(server.uid.as_raw()), Some(server.gid.as_raw())).unwrap();
        // Where the tests were built others may not go.
        let program = place.at("sendmail");
        fs::hard_link(FACTEUR, &program)
            .or_else(|_| fs::copy(FACTEUR, &program).map(drop))
            .unwrap();
        let run_as = format!("run_as = \"{SERVER}\"\nspool =");
        let config = config(more).replace("spool =", &run_as);
        place.write("facteur.toml", &config);
        Some(Yard { place, config })
    }

    pub fn serve(&self) -> Binary {
        Binary::serve(&self.place, &self.config)
    }

    fn as_user(&self, name: &str) -> Command {
        let user = user(name);
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={}", user.uid), format!("--regid={}", user.gid)]);
        command.args(["--clear-groups", "--"]);
        command
    }

    /// sendmail as another user.
    fn sendmail(&self, arguments: &[&str], input: &[u8]) -> (i32, String) {
        let mut command = self.as_user(SENDER);
        command.arg(self.place.at("sendmail")).args(arguments);
        feed(&self.place, command, input)
    }

    pub fn sent(&self, arguments: &[&str], input: &[u8]) {
        let (status, said) = self.sendmail(arguments, input);
        assert_eq!((status, said.as_str()), (0, ""), "{arguments:?}");
    }

    /// A directory of that name, and all in it, become the server's user's.
    pub fn give_to_server(&self, name: &str) {
        let (dir, server) = (self.place.at(name), user(SERVER));
        for path in files(&dir).into_iter().chain([dir]) {
            chown(&path, Some(server.uid.as_raw()), Some(server.gid.as_raw())).unwrap();
        }
    }

    fn drop(&self) -> PathBuf {
        self.place.at("spool/drop")
    }

    /// Starts a server and stops it again, so that there is a spool.
    fn made(self) -> Yard {
        self.serve().stop();
        self
    }

    /// Puts a file into the drop directory, by hand.
    fn put(&self, name: &str, octets: &[u8]) -> PathBuf {
        let path = self.drop().join(name);
        fs::write(&path, octets).unwrap();
        let sender = user(SENDER);
        chown(&path, Some(sender.uid.as_raw()), Some(sender.gid.as_raw())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    }
}

/// A name as sendmail gives them.
fn name(number: usize) -> String {
    format!("m{number:013}{:012}", 7 * number)
}

/// A file as somebody may write it: these lines of the header, then that message.
fn file(name: &str, lines: &str, message: &str) -> String {
    let (size, now) = (message.len(), Timestamp::now());
    format!(
        "facteur queue 1\nid: {name}\nqueued: {now}\nsession: s1\n{lines}\n\
         size: {size}\n\n{message}"
    )
}

#[test]
fn the_directories_are_open_no_further_than_they_must_be() {
    let Some(yard) = Yard::new("") else { return };
    let yard = yard.made();
    let mode = |name: &str| {
        fs::metadata(yard.place.at("spool").join(name)).unwrap().permissions().mode() & 0o7777
    };
    assert_eq!((mode(""), mode("drop")), (0o711, 0o1733));
    for closed in ["queue", "tmp", "damaged", "spill"] {
        assert_eq!(mode(closed), 0o700, "{closed}");
    }
    assert_eq!(mode("control"), 0o600);
    // Nobody lists what others have dropped, nor looks at the queue.
    yard.sent(&["ann"], MESSAGE);
    for dir in ["spool", "spool/drop", "spool/queue"] {
        let mut list = yard.as_user(SENDER);
        list.arg("ls").arg(yard.place.at(dir));
        assert_ne!(feed(&yard.place, list, b"").0, 0, "{dir}");
    }
    for arguments in [&["-bp"][..], &["-q"], &["-qIm1"], &["-qRfar.test"]] {
        let (status, said) = yard.sendmail(arguments, b"");
        assert!(status == 77 && said.contains("the queue is for root"), "{said}");
    }
}

#[test]
fn what_others_drop_is_taken_in() {
    let Some(yard) = Yard::new("") else { return };
    let yard = yard.made();
    yard.sent(&["-F", "No Body", "ann"], b"while no server runs\n");
    let dropped = files(&yard.drop());
    let [path] = &dropped[..] else { panic!("{dropped:?}") };
    let found = fs::metadata(path).unwrap();
    assert_eq!((found.uid(), found.mode() & 0o777), (user(SENDER).uid.as_raw(), 0o644));
    let name = path.file_name().unwrap().to_str().unwrap();
    assert_eq!(name.len(), 26);
    let server = yard.serve();
    let (uid, id) = (user(SENDER).uid, format!("id={name} "));
    server.wait_for(&["accepted ", &id, " client=local ", &format!("uid={uid} "), "recipients=1"]);
    server.wait_for(&["delivered ", &id, "to=ann@mx.test"]);
    assert!(files(&yard.drop()).is_empty());
    let got = text(&yard.place.mail("ann")[0]);
    let received = format!("\nReceived: by mx.test (from uid {uid} {SENDER})\n\tid {name};\n");
    assert!(got.starts_with("Return-Path: <nobody@mx.test>\n") && got.contains(&received), "{got}");
    assert!(got.contains("\nFrom: No Body <nobody@mx.test>\n"), "{got}");
    assert_eq!(got.matches("Received:").count(), 1, "{got}");
    // While it runs, too; and a large one.
    let large =
        b"X: y\n\n".iter().chain(&b"0123456789\n".repeat(20_000)).copied().collect::<Vec<_>>();
    yard.sent(&["bob@mx.test", "carl"], &large);
    server.wait_for(&["delivered ", "to=carl@mx.test"]);
    server.wait_for(&["delivered ", "to=bob@mx.test"]);
    assert!(yard.place.mail("bob")[0].ends_with(&large[6..]));
    until("the queue is empty", || queued(&yard.place).is_empty());
    server.stop();
    // Its story begins where it was taken in.
    let (status, out, err) = crate::commands::run(&yard.place, &["trace", name]);
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    for part in ["decided: ann@mx.test: taken", "accepted client=local", "delivered to=ann@"] {
        assert!(out.contains(part), "no {part} in {out}");
    }
}

#[test]
fn what_root_sends_belongs_to_the_servers_user() {
    let Some(yard) = Yard::new("") else { return };
    let sendmail = |yard: &Yard| {
        let mut command = Command::new(yard.place.at("sendmail"));
        command.arg("ann");
        feed(&yard.place, command, MESSAGE)
    };
    // Also before any server has run.
    assert_eq!(sendmail(&yard), (0, String::new()));
    let owner = |path: &Path| fs::metadata(path).unwrap().uid();
    for path in crate::support::tree(&yard.place.at("spool")) {
        assert_eq!(owner(&path), user(SERVER).uid.as_raw(), "{}", path.display());
    }
    assert_eq!(queued(&yard.place)[0].0.sender.from.to_string(), "root@mx.test");
    let server = yard.serve();
    server.wait_for(&["delivered ", "to=ann@mx.test"]);
    // Without run_as it is whose the spool is.
    yard.place.write("facteur.toml", config(""));
    assert_eq!(sendmail(&yard), (0, String::new()));
    until("two are delivered", || yard.place.mail("ann").len() == 2);
    server.stop();
}

#[test]
fn nobody_sends_as_somebody_else() {
    let Some(yard) = Yard::new("aliases = \"aliases\"") else { return };
    yard.place.write("aliases", "info: nobody, ann\nboss: ann\n");
    let server = yard.serve();
    for (number, (sender, from)) in [
        ("nobody@mx.test", "nobody@mx.test"),
        ("info@mx.test", "info@mx.test"),
        ("<>", "<>"),
        ("nobody+list@mx.test", "nobody+list@mx.test"),
        ("ann@mx.test", "nobody@mx.test"),
        ("boss@mx.test", "nobody@mx.test"),
        ("root", "nobody@mx.test"),
        ("president@far.test", "nobody@mx.test"),
        ("nobody@far.test", "nobody@mx.test"),
    ]
    .into_iter()
    .enumerate()
    {
        let to = format!("to{number}@mx.test");
        yard.sent(&["-f", sender, &to], MESSAGE);
        let line = server.wait_for(&["delivered ", &format!("to={to} ")]);
        let id = crate::servers::value(&line, "id").unwrap();
        server.wait_for(&["accepted ", &format!("id={id} "), &format!(" from={from} ")]);
        let got = text(&yard.place.mail(&format!("to{number}"))[0]);
        let from = from.trim_matches(['<', '>']);
        assert!(got.starts_with(&format!("Return-Path: <{from}>\n")), "{sender}: {got}");
    }
    server.stop();
}

#[test]
fn what_a_logins_name_leads_to_is_not_its_own() {
    let Some(yard) = Yard::new("aliases = \"aliases\"\ncatch_all = \"boss\"") else { return };
    let config = yard.config.replace("any_user = true", "users = \"users\"");
    yard.place.write("users", "ann:{PLAIN}x\nboss:{PLAIN}x\n");
    yard.place.write("aliases", "root: boss\n");
    let yard = Yard { config, ..yard };
    yard.place.write("facteur.toml", &yard.config);
    let server = yard.serve();
    // By catch_all its name leads to boss; then by an alias.
    for turn in 0..2 {
        if turn == 1 {
            yard.place.write("aliases", "nobody: root\nroot: boss\n");
            server.signal("HUP");
            server.wait_for(&["reloaded "]);
        }
        for sender in ["boss", "boss@mx.test", "root", "root@mx.test", "zoe@mx.test"] {
            let before = yard.place.mail("ann").len();
            yard.sent(&["-f", sender, "ann"], MESSAGE);
            until("it is delivered", || yard.place.mail("ann").len() == before + 1);
        }
    }
    let is_nobodys = |got: &Vec<u8>| text(got).starts_with("Return-Path: <nobody@mx.test>\n");
    assert!(yard.place.mail("ann").iter().all(is_nobodys));
    server.stop();
}

#[test]
fn the_server_completes_what_is_dropped() {
    let Some(yard) = Yard::new("") else { return };
    let server = yard.serve();
    let mut number = 0;
    let mut got = |arguments: &[&str], input: &[u8]| {
        number += 1;
        let to = format!("to{number}");
        yard.sent(&[arguments, &[&to]].concat(), input);
        until("it is delivered", || yard.place.mail(&to).len() == 1);
        let got = text(&yard.place.mail(&to)[0]);
        got.split_once("\n\n").unwrap().0.to_owned() + "\n"
    };
    let cron = got(&[], b"From: nobody (Cron Daemon)\nTo: to1\nBcc: eve\n\nx\n");
    assert!(cron.contains("\nFrom: nobody@mx.test (Cron Daemon)\nTo: to1@mx.test\n"), "{cron}");
    assert!(!cron.contains("Bcc") && !cron.contains("Sender"), "{cron}");
    assert!(cron.contains("\nDate: ") && cron.contains("\nMessage-ID: <m"), "{cron}");
    let forged = got(&[], b"From: Boss <boss@mx.test>\nSender: boss@mx.test\n\n");
    assert!(forged.contains("\nFrom: Boss <boss@mx.test>\n"), "{forged}");
    assert!(
        forged.contains("\nSender: nobody@mx.test\n") && !forged.contains("Sender: boss"),
        "{forged}"
    );
    let empty = got(&[], b"From:\nDate:\n\n");
    assert!(empty.matches("From: ").count() == 1 && empty.contains("nobody@mx.test"), "{empty}");
    // And what somebody puts there by hand.
    let name = name(1);
    let lines = "from: <nobody@mx.test>\nto: <hand@mx.test>";
    let message = " folded\nBcc: eve@far.test\n";
    yard.put(&name, file(&name, lines, message).as_bytes());
    until("it is delivered", || yard.place.mail("hand").len() == 1);
    let hand = text(&yard.place.mail("hand")[0]);
    let (header, body) = hand.split_once("\n\n").unwrap();
    assert!(header.contains("\nFrom: ") && header.contains("\nDate: "), "{hand}");
    assert_eq!(body, message);
    server.stop();
}

#[test]
fn a_uid_without_a_name_may_send() {
    let Some(yard) = Yard::new("") else { return };
    let server = yard.serve();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=54321", "--regid=54321", "--clear-groups", "--"]);
    command.arg(yard.place.at("sendmail")).arg("ann");
    assert_eq!(feed(&yard.place, command, MESSAGE), (0, String::new()));
    until("it is delivered", || yard.place.mail("ann").len() == 1);
    let got = text(&yard.place.mail("ann")[0]);
    assert!(got.starts_with("Return-Path: <uid54321@mx.test>\n"), "{got}");
    assert!(got.contains("(from uid 54321 uid54321)"), "{got}");
    assert!(got.contains("\nFrom: uid54321@mx.test\n"), "{got}");
    server.stop();
}

#[test]
fn what_is_seen_is_refused_at_once_and_the_rest_is_returned() {
    let Some(yard) = Yard::new("") else { return };
    let config = yard.config.replace("any_user = true", "users = \"users\"");
    let users = yard.place.write("users", "ann:{PLAIN}x\nnobody:{PLAIN}x\n");
    let yard = Yard { config, ..yard };
    let server = yard.serve();
    let refused = yard.sendmail(&["zoe"], MESSAGE);
    assert!(refused.0 == 67 && refused.1.contains("<zoe@mx.test>: no such user"), "{refused:?}");
    assert_eq!(yard.sendmail(&["ann@"], MESSAGE).0, 64);
    assert_eq!(yard.sendmail(&["-bs"], b"").0, 0);
    // A users file holds hashes, and is the server's alone.
    chown(&users, Some(user(SERVER).uid.as_raw()), None).unwrap();
    fs::set_permissions(&users, fs::Permissions::from_mode(0o600)).unwrap();
    yard.sent(&["zoe", "ann"], MESSAGE);
    server.wait_for(&["delivered ", "to=ann@mx.test"]);
    server.wait_for(&["bounced ", "to=zoe@mx.test"]);
    server.wait_for(&["delivered ", "to=nobody@mx.test"]);
    let notice = text(&yard.place.mail("nobody")[0]);
    assert!(notice.contains("Final-Recipient: rfc822; zoe@mx.test"), "{notice}");
    server.stop();
}

#[test]
fn smtp_of_others_goes_the_same_way() {
    let far = Host::start("");
    let route = format!("aliases = \"aliases\"\n[relay.route]\n\"far.test\" = \"{}\"", far.address);
    let Some(yard) = Yard::new(&route) else { return };
    yard.place.write("aliases", "ann: bob\n");
    let server = yard.serve();
    let session = "EHLO x\r\nMAIL FROM:<eve@far.test> RET=HDRS\r\nRCPT TO:<ann@mx.test>\r\n\
        RCPT TO:<eve@far.test> NOTIFY=NEVER\r\nDATA\r\nSubject: x\r\n\r\nbody\r\n.\r\nQUIT\r\n";
    let (status, said) = yard.sendmail(&["-bs"], session.as_bytes());
    assert!(status == 0 && said.contains("250 2.0.0 Ok: queued as "), "{said}");
    let id = said.split_once("queued as ").unwrap().1.split("\r\n").next().unwrap();
    server.wait_for(&["delivered ", &format!("id={id}"), "to=bob@mx.test"]);
    server.wait_for(&["relayed ", &format!("id={id}"), "to=eve@far.test"]);
    assert_eq!(far.mail()[0].from, "nobody@mx.test");
    assert!(yard.place.mail("ann").is_empty());
    server.stop();
}

#[test]
fn where_nothing_can_be_dropped() {
    let Some(yard) = Yard::new("") else { return };
    let (status, said) = yard.sendmail(&["ann"], MESSAGE);
    assert!(status == 75 && said.contains("start the server once"), "{said}");
    let yard = yard.made();
    fs::set_permissions(yard.place.at("spool"), fs::Permissions::from_mode(0o700)).unwrap();
    let (status, said) = yard.sendmail(&["ann"], MESSAGE);
    assert!(status == 75 && said.contains("x on every directory"), "{said}");
    fs::set_permissions(yard.place.at("spool"), fs::Permissions::from_mode(0o711)).unwrap();
    fs::remove_dir(yard.drop()).unwrap();
    let (status, said) = yard.sendmail(&["ann"], MESSAGE);
    assert!(status == 75 && said.contains("the server makes it"), "{said}");
    // Nobody else's configuration decides where mail goes.
    let file = yard.place.at("facteur.toml");
    chown(&file, Some(user("bin").uid.as_raw()), None).unwrap();
    let (status, said) = yard.sendmail(&["ann"], MESSAGE);
    assert!(status == 78 && said.contains("/etc/facteur/facteur.toml"), "{said}");
}

/// `facteur trace` finds a call that sent nothing by what it said on stderr, and by an address.
fn traced(yard: &Yard, said: &str, address: &str) -> String {
    let id = said.trim_end().rsplit_once('[').unwrap().1.trim_end_matches(']');
    let (status, by_id, err) = crate::commands::run(&yard.place, &["trace", id]);
    assert_eq!((status, err.as_str()), (0, ""), "{by_id}");
    let (status, by_address, err) = crate::commands::run(&yard.place, &["trace", address]);
    assert_eq!((status, err.as_str()), (0, ""), "{by_address}");
    assert!(by_address.contains(id), "{by_address}");
    by_id
}

#[test]
fn what_was_not_sent_is_told_by_the_server() {
    let Some(yard) = Yard::new("[limit]\nrecipients = 100") else { return };
    let config = yard.config.replace("any_user = true", "users = \"users\"");
    yard.place.write("users", "ann:{PLAIN}x\n");
    let yard = Yard { config, ..yard };
    yard.place.write("facteur.toml", &yard.config);
    let yard = yard.made();
    let uid = user(SENDER).uid;
    // While no server runs, too; an address of another's as a sender is not believed.
    let (status, unknown) = yard.sendmail(&["-f", "ann@mx.test", "ann", "zoe", "yan"], MESSAGE);
    assert_eq!(status, 67, "{unknown}");
    assert_eq!(files(&yard.drop()).len(), 1, "one record a call");
    let server = yard.serve();
    let line = server.wait_for(&["rejected ", "client=local "]);
    for part in [
        format!(" uid={uid} user={SENDER} from=nobody@mx.test to=zoe@mx.test recipients=3 "),
        "status=67 reason=\"550 5.1.1 <zoe@mx.test>: no such user".to_owned(),
    ] {
        assert!(line.contains(&part), "no {part} in {line}");
    }
    let many: Vec<String> = (0..101).map(|n| format!("u{n}@far.test")).collect();
    let (status, many) = yard.sendmail(&[&many.join(",")], MESSAGE);
    server.wait_for(&["rejected ", "to=u0@far.test recipients=101 status=69 ", "more than 100"]);
    assert_eq!(status, 69, "{many}");
    // What root sends, whose alias is missing.
    let mut command = Command::new(yard.place.at("sendmail"));
    command.args(["-i", "-t"]);
    let (status, root) = feed(&yard.place, command, b"To: root\nSubject: cron\n\nx\n");
    assert_eq!(status, 67, "{root}");
    server.wait_for(&["rejected ", "uid=0 user=root from=root@mx.test to=root@mx.test "]);
    let (status, usage) = yard.sendmail(&["-Z", "ann"], MESSAGE);
    server.wait_for(&["rejected ", "status=64 ", "-Z"]);
    assert_eq!(status, 64);
    until("all are gone", || files(&yard.drop()).is_empty());
    server.stop();
    let story = traced(&yard, &unknown, "yan@mx.test");
    assert!(story.contains("decided: yan@mx.test: 550 5.1.1"), "{story}");
    assert!(!story.contains("ann@mx.test"), "{story}");
    traced(&yard, &many, "u77@far.test");
    assert!(traced(&yard, &root, "root@mx.test").contains("rejected client=local uid=0"));
    traced(&yard, &usage, "nobody@mx.test");
    assert!(files(&yard.place.at("spool/damaged")).is_empty());
}

#[test]
fn hostile_records_are_refused_and_none_is_told_under_another_name() {
    let Some(yard) = Yard::new("") else { return };
    let yard = yard.made();
    let name = |number: usize| format!("s{number:013}{:012}", 7 * number);
    let good = "facteur unsent 1\nuid: 0\nfrom: <root@mx.test>\nstatus: 67\nreason: x\u{1b}[2J\n\
        recipients: 1\nto: <zoe@mx.test> no\n";
    yard.put(&name(1), b"");
    yard.put(&name(2), &[0; 4096]);
    yard.put(&name(3), format!("{good}{}", "to: <a@mx.test> \n".repeat(10_000)).as_bytes());
    yard.put(&name(4), b"facteur unsent 1\nuid: 0\nto: <\xff\xfe@mx.test> no\n");
    yard.put(&name(5), good.replace("zoe@", "zoe@@").as_bytes());
    symlink(yard.place.at("users"), yard.drop().join(name(6))).unwrap();
    mkfifo(&yard.drop().join(name(7)), Mode::from_bits_truncate(0o666)).unwrap();
    let bad = files(&yard.drop()).len();
    yard.put(&name(8), good.as_bytes());
    let server = yard.serve();
    let line = server.wait_for(&["rejected ", &name(8)]);
    let whose = format!(" uid={} user={SENDER} from=nobody@mx.test ", user(SENDER).uid);
    assert!(line.contains(&whose) && !line.contains('\x1b'), "{line}");
    until("all are gone", || files(&yard.drop()).is_empty());
    let told = |what: &str| server.lines().iter().filter(|line| line.contains(what)).count();
    until("all are told", || told(" was dropped and not taken") == bad);
    assert_eq!(told("rejected "), 1);
    // Somebody who calls again and again fills neither log nor trace.
    for number in 100..300 {
        yard.put(&name(number), good.as_bytes());
    }
    until("all are gone", || files(&yard.drop()).is_empty());
    server.client().delivered(&["bob@mx.test"], b"Subject: x\r\n\r\nx\r\n");
    assert!(told("rejected ") < 201, "a hundred a minute are told");
    server.stop();
}

/// A spool that is read-only, or none at all: the system's log is all that is left.
#[test]
fn where_no_record_can_be_left_the_systems_log_is_told() {
    let Some(yard) = Yard::new("") else { return };
    let yard = yard.made();
    let log = yard.place.at("log");
    let socket = UnixDatagram::bind(&log).unwrap();
    fs::set_permissions(&log, fs::Permissions::from_mode(0o666)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut space = Command::new("unshare");
    // Ours alone: a /dev with nothing but that socket, and the spool read-only.
    let script = "mount -t tmpfs none /dev && ln -s \"$1\" /dev/log && mount --bind \"$2\" \"$2\" && \
        mount -o remount,bind,ro \"$2\" && shift 2 && exec \"$@\"";
    space.args(["--mount", "sh", "-c", script, "sh"]).arg(&log).arg(yard.place.at("spool"));
    let mut probe = Command::new("unshare");
    probe.args(["--mount", "mount", "-t", "tmpfs", "none", "/dev"]).stderr(Stdio::null());
    if !probe.status().is_ok_and(|status| status.success()) {
        return skip("no space of our own for mounts");
    }
    space.arg(yard.place.at("sendmail")).args(["-f", "ann@far.test", "ann"]);
    let (status, said) = feed(&yard.place, space, MESSAGE);
    assert!(status == 75 && said.contains("Read-only"), "{status} {said}");
    let mut line = [0; 4096];
    let size = socket.recv(&mut line).unwrap();
    let line = text(&line[..size]);
    assert!(line.starts_with("<19>") && line.contains(" sendmail["), "{line}");
    for part in [
        "rejected session=none client=local uid=0 user=root from=ann@far.test to=ann@mx.test ",
        " status=75 ",
        "Read-only",
    ] {
        assert!(line.contains(part), "no {part} in {line}");
    }
}

#[test]
fn hostile_files_are_refused_and_stop_nothing() {
    let Some(yard) = Yard::new("[limit]\nmessage_size = \"64KiB\"\nrecipients = 100") else {
        return;
    };
    let yard = yard.made();
    let drop = yard.drop();
    let secret = yard.place.write("secret", "root's own\n");
    let lines = "from: <nobody@mx.test>\nto: <ann@mx.test>";
    let good = |number: usize, lines: &str, message: &str| {
        let name = name(number);
        yard.put(&name, file(&name, lines, message).as_bytes());
        name
    };
    // Links, pipes, sockets and directories, whatever they lead to.
    symlink(&secret, drop.join(name(1))).unwrap();
    symlink("/dev/zero", drop.join(name(2))).unwrap();
    mkfifo(&drop.join(name(3)), Mode::from_bits_truncate(0o666)).unwrap();
    mknod(&drop.join(name(4)), SFlag::S_IFSOCK, Mode::from_bits_truncate(0o666), 0).unwrap();
    fs::create_dir(drop.join(name(5))).unwrap();
    // Another's file: one that is a whole message of his.
    let letter = file(&name(6), "from: <root@mx.test>\nto: <ann@mx.test>", "stolen\n");
    fs::hard_link(yard.place.write("letter", letter), drop.join(name(6))).unwrap();
    // What is no whole file, or under no such name.
    yard.put(&name(7), b"");
    yard.put(&name(8), &[0; 4096]);
    yard.put(&name(9), file(&name(10), lines, "x\n").as_bytes());
    yard.put("m1", file("m1", lines, "x\n").as_bytes());
    yard.put("..x", b"a draft of somebody's, for all that one can see");
    yard.put("a name\n\x1b[2J", b"x");
    yard.put(
        &name(11),
        format!("{}{} 0 failed - \"x\"\n", file(&name(11), lines, "x\n"), Timestamp::now())
            .as_bytes(),
    );
    let unreadable = yard.put(&name(12), file(&name(12), lines, "x\n").as_bytes());
    fs::set_permissions(unreadable, fs::Permissions::from_mode(0o600)).unwrap();
    // What no session takes either.
    good(13, lines, &"x".repeat(65 * 1024));
    good(14, &format!("from: <>{}", "\nto: <ann@mx.test>".repeat(101)), "x\n");
    good(15, lines, "x\r\n.\r\nMAIL FROM:<eve@far.test>\n");
    good(16, lines, "no end");
    good(17, lines, &"Received: x\n".repeat(100));
    let before = files(&drop).len();
    // In between, what is good.
    let forged = "from: <root@mx.test>\nenvid: a\x1b\ntrusted: yes\nto: <ann@mx.test> \
        notify=success orcpt=rfc822;x\x1b via=<root@mx.test>";
    let taken = good(19, forged, "X: y\n\nthe good one\n");
    let server = yard.serve();
    let line = server.wait_for(&["accepted ", &format!("id={taken} ")]);
    assert!(line.contains(" from=nobody@mx.test "), "{line}");
    server.wait_for(&["delivered ", &format!("id={taken} "), "to=ann@mx.test"]);
    // All but the directory and the draft.
    until("all were refused", || files(&drop).len() == 2);
    let told =
        server.lines().iter().filter(|line| line.contains(" was dropped and not taken")).count();
    assert_eq!(told, before - 2, "{:#?}", server.lines());
    assert_eq!(text(&fs::read(&secret).unwrap()), "root's own\n");
    let aside = files(&yard.place.at("spool/damaged"));
    assert!(aside.iter().all(|path| fs::symlink_metadata(path).unwrap().is_file()), "{aside:?}");
    assert_eq!(yard.place.mail("ann").len(), 1);
    let got = text(&yard.place.mail("ann")[0]);
    assert!(got.ends_with("\n\nthe good one\n") && got.contains("(from uid "), "{got}");
    until("and its notice of success is nobody's business but the sender's", || {
        yard.place.mail("nobody").len() == 1
    });
    assert!(!text(&yard.place.mail("nobody")[0]).contains('\x1b'));
    // It is well.
    server.client().delivered(&["bob@mx.test"], b"Subject: x\r\n\r\nx\r\n");
    server.stop();
}

#[test]
fn what_lies_in_the_queue_already_is_not_taken_twice() {
    let Some(yard) = Yard::new("[relay.route]\n\"far.test\" = \"127.0.0.1:1\"") else { return };
    let yard = yard.made();
    // In the queue already: as after a crash before the dropped file was removed.
    let id = name(1);
    let lines = "from: <nobody@mx.test>\nto: <bob@far.test>";
    let text = file(&id, lines, "x\n");
    yard.put(&id, text.as_bytes());
    let waiting = yard.place.at("spool/queue").join(&id);
    fs::write(&waiting, &text).unwrap();
    let server_user = user(SERVER).uid.as_raw();
    chown(&waiting, Some(server_user), None).unwrap();
    let server = yard.serve();
    assert!(files(&yard.drop()).is_empty(), "seen to before anything else");
    assert!(!server.lines().iter().any(|line| line.contains("accepted ")));
    // And while it runs.
    yard.put(&id, text.as_bytes());
    until("it is removed", || files(&yard.drop()).is_empty());
    assert_eq!(fs::read(&waiting).unwrap()[..text.len()], *text.as_bytes());
    server.stop();
}

#[test]
fn ten_thousand_are_taken_in_and_hold_up_nobody() {
    const COUNT: usize = 10_000;
    let Some(yard) = Yard::new("[relay.route]\n\"far.test\" = \"127.0.0.1:1\"") else { return };
    let yard = yard.made();
    for number in 0..COUNT {
        let name = name(number);
        let lines = format!("from: <nobody@mx.test>\nto: <u{number}@far.test>");
        yard.put(&name, file(&name, &lines, "Subject: x\n\nx\n").as_bytes());
    }
    let server = yard.serve();
    let mut client = server.client();
    client.delivered(&["ann@mx.test"], b"Subject: x\r\n\r\nx\r\n");
    let left = || files(&yard.drop()).len();
    assert!(left() > 0, "it was not there before the session");
    assert!(within(PATIENCE * 6, || left() == 0), "{} are left", left());
    assert_eq!(files(&yard.place.at("spool/queue")).len(), COUNT);
    let accepted = server.lines().iter().filter(|line| line.contains("client=local")).count();
    assert_eq!(accepted, COUNT);
    drop(client);
    server.stop();
}

#[test]
fn a_kill_at_any_time_neither_loses_nor_doubles() {
    let Some(yard) = Yard::new("") else { return };
    let yard = yard.made();
    for number in 0..300 {
        let name = name(number);
        let lines = format!("from: <nobody@mx.test>\nto: <u{number}@mx.test>");
        yard.put(&name, file(&name, &lines, "Subject: x\n\nx\n").as_bytes());
    }
    // Each of these is killed while it takes in and delivers.
    for rest in [290, 200, 100] {
        let server = yard.serve();
        until("some are taken", || files(&yard.drop()).len() < rest);
        drop(server);
    }
    let server = yard.serve();
    let done = || files(&yard.drop()).is_empty() && queued(&yard.place).is_empty();
    until("all are delivered", done);
    let copies: Vec<usize> =
        (0..300).map(|number| yard.place.mail(&format!("u{number}")).len()).collect();
    assert!(copies.iter().all(|copies| *copies >= 1), "{copies:?}");
    // Those that were under way at one of three kills.
    let doubled = copies.iter().filter(|copies| **copies > 1).count();
    assert!(doubled <= 3 * 16 * 2, "{doubled} came twice");
    server.stop();
}

#[test]
fn a_server_that_is_no_root_drops_for_itself() {
    // Whoever runs the tests serves and sends; its own spool needs no drop.
    let place = Place::new();
    let config = config("");
    place.write("facteur.toml", &config);
    let server = Inside::serve(&place, &config);
    let mut command = Command::new(FACTEUR);
    command.args(["sendmail", "ann"]);
    let (status, said) = feed(&place, command, MESSAGE);
    assert_eq!(status, 0, "{said}");
    until("it is delivered", || place.mail("ann").len() == 1);
    assert!(files(&place.at("spool/drop")).is_empty());
    drop(server);
    assert!(queued(&place).iter().all(|(entry, _)| recipients(entry).is_empty()));
}

/// A lease is broken only after 45 seconds, and until then nobody else opens the file: its owner can keep as
/// many files as there is room for from being read.
#[test]
fn leases_of_one_user_hold_up_nobody() {
    const LEASED: usize = 300;
    if !has_program("python3", "--version") {
        return skip("python3 is not installed");
    }
    let Some(yard) = Yard::new("") else { return };
    let yard = yard.made();
    let lines = "from: <nobody@mx.test>\nto: <ann@mx.test>";
    let leased: Vec<PathBuf> = (0..LEASED)
        .map(|number| yard.put(&name(number), file(&name(number), lines, "x\n").as_bytes()))
        .collect();
    let take = "import fcntl, sys\n\
        held = [open(path, 'r+') for path in sys.argv[1:]]\n\
        [fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK) for file in held]\n\
        import signal; signal.signal(signal.SIGIO, signal.SIG_IGN)\n\
        print('ready', flush=True)\n\
        sys.stdin.read()\n";
    // Root may do as the owner does, and finds the program wherever it is installed.
    let mut owner = Command::new("python3");
    owner.args(["-c", take]).args(&leased);
    let mut owner = owner.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(owner.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    assert_eq!(ready, "ready\n");
    let other = name(LEASED);
    let path = yard.put(&other, file(&other, "from: <>\nto: <bob@mx.test>", "x\n").as_bytes());
    chown(&path, Some(0), Some(0)).unwrap();
    let server = yard.serve();
    server.wait_for(&["accepted ", &format!("id={other} ")]);
    until("all others were put aside", || files(&yard.drop()).is_empty());
    assert_eq!(files(&yard.place.at("spool/damaged")).len(), LEASED);
    server.stop();
    drop(owner.stdin.take());
    owner.wait().unwrap();
}

#[test]
fn a_user_who_has_dropped_thousands_holds_up_no_other() {
    let Some(yard) = Yard::new("[relay.route]\n\"far.test\" = \"127.0.0.1:1\"") else { return };
    let yard = yard.made();
    let lines = "from: <>\nto: <bob@far.test>";
    let put = |number| {
        yard.put(&name(number), file(&name(number), lines, "Subject: x\n\nx\n").as_bytes())
    };
    let paths: Vec<PathBuf> = (0..2000).map(put).collect();
    // Wherever the directory lists it.
    let others = [7, 1000, 1993];
    others.iter().for_each(|number| chown(&paths[*number], Some(0), Some(0)).unwrap());
    let server = yard.serve();
    until("all are taken", || files(&yard.drop()).is_empty());
    let accepted = |line: &String| line.contains("accepted ") && line.contains("client=local");
    let lines: Vec<String> = server.lines().into_iter().filter(accepted).collect();
    for number in others {
        let its = format!("id={} ", name(number));
        let at = lines.iter().position(|line| line.contains(&its)).unwrap();
        assert!(at < 64, "{at} were taken before it");
    }
    server.stop();
}

/// It has filters of its own, which the queue asks.
#[test]
fn filters_see_what_was_dropped() {
    let filter = Filter::start("end: add X-F: 1 | continue");
    let Some(yard) = Yard::new(&filter.table("f", "services = [\"sendmail\"]")) else { return };
    let server = yard.serve();
    yard.sent(&["bob@mx.test"], MESSAGE);
    until("it is there", || yard.place.mail("bob").len() == 1);
    let mail = text(&yard.place.mail("bob")[0]);
    assert!(mail.contains("\nX-F: 1\n\n"), "{mail}");
    assert!(filter.heard("header Received").is_empty());
    server.stop();
}
