//! Dovecot on Maildirs that the real binary delivers into: by `doveadm`, and by an IMAP session that
//! keeps one open meanwhile. Nothing of Dovecot's runs as a service.

use crate::dnsd::Dnsd;
use crate::handbook::rspamd::written_for_dovecot;
use crate::outside::{Input, PYTHON, Parcel, installed, listing, program, run};
use crate::servers::Binary;
use crate::support::{PATIENCE, Place, config, files, skip, text, until};
use nix::unistd::{Uid, User, geteuid, getuid};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// Who has the mail here: we ourselves, but nobody for root, whose mail Dovecot does not touch.
pub fn owner(place: &Place) -> Option<User> {
    let user = match geteuid().is_root() {
        true => User::from_name("nobody").unwrap(),
        false => User::from_uid(getuid()).unwrap(),
    };
    let Some(user) = user else {
        skip("there is no user to have the mail");
        return None;
    };
    let is_open = |dir: &Path| fs::metadata(dir).unwrap().mode() & 0o001 != 0;
    if user.uid != Uid::current() && !place.path().ancestors().all(is_open) {
        skip("other users do not get into the folder of temporary files");
        return None;
    }
    Some(user)
}

/// A place with a server, and Dovecot's configuration beside it.
struct House {
    place: Place,
    server: Binary,
}

impl House {
    /// Nothing where something is missing, which is said.
    fn new(programs: &[&str]) -> Option<House> {
        House::with(programs, "")
    }

    /// With more of the server's configuration.
    fn with(programs: &[&str], more: &str) -> Option<House> {
        if !installed(programs) {
            return None;
        }
        let version = Command::new("/usr/sbin/dovecot").arg("--version").output();
        if !version.is_ok_and(|output| output.stdout.starts_with(b"2.3.")) {
            // 2.4 has another configuration.
            skip("Dovecot 2.3 is not installed");
            return None;
        }
        let place = Place::new();
        let user = owner(&place)?;
        let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
        let mut facteur = config(more);
        if user.uid != geteuid() {
            chown(place.path(), Some(uid), Some(gid)).unwrap();
            facteur = facteur.replace("spool =", &format!("run_as = \"{}\"\nspool =", user.name));
        }
        let (run, mail) = (place.at("run"), place.maildir("ann"));
        let dovecot = format!(
            "base_dir = {run}\nstate_dir = {run}\nlog_path = /dev/stderr\nssl = no\nprotocols =\n\
             mail_location = maildir:{mail}\nmailbox_idle_check_interval = 1s\n\
             mail_uid = {uid}\nmail_gid = {gid}\nfirst_valid_uid = {uid}\nfirst_valid_gid = {gid}\n",
            run = run.display(),
            mail = mail.display(),
        );
        place.write("dovecot.conf", dovecot);
        let server = Binary::serve(&place, &facteur);
        Some(House { place, server })
    }

    fn deliver(&self, mail: &[u8]) {
        self.server.client().delivered(&["ann@mx.test"], mail);
    }

    fn doveadm(&self) -> Command {
        let mut command = program(&self.place, "doveadm");
        command.env("USER", "ann").args(["-c", "dovecot.conf"]);
        command
    }

    /// What a command of doveadm says.
    fn ask(&self, arguments: &[&str]) -> String {
        run(&self.place, self.doveadm().args(arguments), Input::Octets(b""))
    }

    /// The flags of all messages as facteur lists them, in order of delivery.
    fn flags(&self) -> Vec<String> {
        let rows = listing(&self.place, "ann");
        rows.iter().map(|row| row["flags"].as_str().unwrap().to_owned()).collect()
    }

    /// All files that are Dovecot's own: their names, who and when they are, and their octets.
    fn own_files(&self) -> Vec<(String, u64, i64, i64, Vec<u8>)> {
        let found = files(&self.place.maildir("ann")).into_iter().filter(|path| path.is_file());
        let own: Vec<_> = found
            .map(|path| {
                let (meta, octets) = (fs::metadata(&path).unwrap(), fs::read(&path).unwrap());
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, meta.ino(), meta.mtime(), meta.mtime_nsec(), octets)
            })
            .collect();
        assert!(own.iter().any(|(name, ..)| name == "dovecot-uidlist"), "Dovecot was not here");
        own
    }
}

#[test]
fn junk_is_a_folder() {
    let dns = Dnsd::new("");
    let trust = format!("[dns]\nservers = [\"{}\"]\n[trust]\ngateways = []", dns.address());
    let Some(house) = House::with(&["doveadm"], &trust) else { return };
    house.deliver(&small("mail"));
    house.deliver(b"Subject: of nobody\r\n\r\nHello.\r\n");
    let listed = house.ask(&["mailbox", "list"]);
    let mut folders: Vec<&str> = listed.lines().collect();
    folders.sort_unstable();
    assert_eq!(folders, ["INBOX", "Junk"]);
    for (folder, subject) in [("INBOX", "mail"), ("Junk", "of nobody")] {
        let fetch = ["-f", "tab", "fetch", "hdr.subject", "mailbox", folder, "all"];
        assert_eq!(house.ask(&fetch), format!("hdr.subject\n{subject}\n"));
    }
}

fn small(subject: &str) -> Vec<u8> {
    format!("From: <sender@client.test>\r\nSubject: {subject}\r\n\r\nHello.\r\n").into_bytes()
}

#[test]
fn doveadm() {
    let Some(house) = House::new(&["doveadm", PYTHON]) else { return };
    let parcel = Parcel::new(&house.place);
    house.deliver(&parcel.with_crlf());
    house.deliver(&small("second"));
    let status = || house.ask(&["mailbox", "status", "messages unseen", "INBOX"]);
    let count = |query: &[&str]| {
        house.ask(&[&["search", "mailbox", "INBOX"], query].concat()).lines().count()
    };
    assert_eq!(status(), "INBOX messages=2 unseen=2\n");

    let text = house.ask(&["fetch", "text", "mailbox", "INBOX", "uid", "1"]);
    let [first, _] = &house.place.mail("ann")[..] else { panic!("not two messages") };
    let text = text.strip_prefix("text:\n").unwrap().as_bytes();
    assert!(text.starts_with(first) && text.len() <= first.len() + 2, "not the same octets");
    parcel.assert_in(&house.place, &house.place.write("fetched", text));
    let sizes = house.ask(&["-f", "tab", "fetch", "size.physical", "mailbox", "INBOX", "uid", "1"]);
    assert_eq!(sizes, format!("size.physical\n{}\n", first.len()));

    house.ask(&["flags", "add", "\\Seen \\Flagged", "mailbox", "INBOX", "uid", "1"]);
    assert_eq!(house.flags(), ["FS", ""]);
    assert_eq!((count(&["seen", "flagged"]), count(&["unseen"])), (1, 1));
    assert_eq!(count(&["header", "Subject", "second"]), 1);
    assert_eq!(count(&["larger", "100K"]), 1);
    assert_eq!(status(), "INBOX messages=2 unseen=1\n");

    let before = house.own_files();
    house.deliver(&small("third"));
    assert!(house.own_files() == before, "facteur changed Dovecot's files");
    assert_eq!(house.flags(), ["FS", "", ""]);
    assert_eq!(status(), "INBOX messages=3 unseen=2\n");
    house.ask(&["expunge", "mailbox", "INBOX", "uid", "2"]);
    house.deliver(&small("fourth"));
    assert_eq!(status(), "INBOX messages=3 unseen=2\n");
    let subjects =
        house.ask(&["-f", "tab", "fetch", "uid hdr.subject", "mailbox", "INBOX", "uid", "2:*"]);
    assert_eq!(subjects, "uid\thdr.subject\n3\tthird\n4\tfourth\n");
}

/// An IMAP session of Dovecot's, as the user, without a login; killed when it is dropped.
struct Imap {
    child: Child,
    stdin: ChildStdin,
    /// Lines with the literals in them.
    answers: Receiver<Vec<u8>>,
    commands: u32,
}

impl Imap {
    fn start(house: &House) -> Imap {
        let mut command = house.doveadm();
        command.args(["exec", "imap"]);
        Imap::of(command)
    }

    fn of(mut command: Command) -> Imap {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (tell, answers) = channel();
        thread::spawn(
            move || {
                while answer(&mut stdout).is_some_and(|answer| tell.send(answer).is_ok()) {}
            },
        );
        let stdin = child.stdin.take().unwrap();
        let imap = Imap { child, stdin, answers, commands: 0 };
        imap.wait_for("* PREAUTH ");
        imap
    }

    /// Waits for an answer that begins so; gives it and those before it.
    fn wait_for(&self, start: &str) -> Vec<Vec<u8>> {
        let mut before = Vec::new();
        while !before.last().is_some_and(|last: &Vec<u8>| last.starts_with(start.as_bytes())) {
            let next = self.answers.recv_timeout(PATIENCE);
            let so_far = || before.iter().map(|answer| text(answer)).collect::<Vec<_>>();
            before.push(next.unwrap_or_else(|why| panic!("no {start}, {why}: {:?}", so_far())));
        }
        before
    }

    fn say(&mut self, line: &str) {
        self.stdin.write_all(format!("{line}\r\n").as_bytes()).unwrap();
    }

    /// One command, which succeeds; gives all answers to it.
    fn ask(&mut self, command: &str) -> Vec<Vec<u8>> {
        self.commands += 1;
        let tag = format!("t{}", self.commands);
        self.say(&format!("{tag} {command}"));
        let answers = self.wait_for(&format!("{tag} "));
        assert!(text(answers.last().unwrap()).starts_with(&format!("{tag} OK ")), "{command}");
        answers
    }

    /// The same, and one of the answers is this line.
    fn expect(&mut self, command: &str, line: &str) {
        let answers = self.ask(command);
        let found = answers.iter().any(|answer| answer == format!("{line}\r\n").as_bytes());
        assert!(
            found,
            "no {line:?} after {command}: {:?}",
            answers.iter().map(|answer| text(answer)).collect::<Vec<_>>()
        );
    }
}

impl Drop for Imap {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The next line, with the literals that it announces; nothing at the end.
fn answer(from: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let start = all.len();
        from.read_until(b'\n', &mut all).ok().filter(|read| *read > 0)?;
        let line = text(&all[start..]);
        let Some(announced) = line.strip_suffix("}\r\n").and_then(|line| line.rsplit_once('{'))
        else {
            return Some(all);
        };
        from.take(announced.1.parse().ok()?).read_to_end(&mut all).ok()?;
    }
}

/// As docs/rspamd.md has it: whoever moves mail into Junk, or out of it, teaches a filter. The filter's program is one
/// that writes down what it was told.
#[test]
fn moves_teach_a_filter() {
    let Some(house) = House::new(&["doveadm", "sievec"]) else { return };
    for file in ["/usr/lib/dovecot/imap", "/usr/lib/dovecot/modules/lib95_imap_sieve_plugin.so"] {
        if !Path::new(file).is_file() {
            return skip(&format!("{file} is not installed"));
        }
    }
    let place = &house.place;
    let learn = format!("(echo \"$1\"; cat) >>{}", place.at("taught").display());
    written_for_dovecot(place, "exec /usr/bin/rspamc \"$1\"", &learn);
    fs::set_permissions(place.at("sieve/learn"), fs::Permissions::from_mode(0o755)).unwrap();
    let config = fs::read_to_string(place.at("dovecot.conf")).unwrap();
    let more = fs::read_to_string(place.at("learn.conf")).unwrap();
    place.write("dovecot.conf", config + &more);
    for name in ["spam", "ham"] {
        let mut sievec = program(place, "sievec");
        sievec.args(["-c", "dovecot.conf", &format!("sieve/learn-{name}.sieve")]);
        run(place, &mut sievec, Input::Octets(b""));
    }
    house.deliver(&small("offer"));
    // Not by doveadm, which would pass on its own settings in place of those for IMAP.
    let mut command = program(place, "/usr/lib/dovecot/imap");
    command.env("USER", "ann").arg("-c").arg(place.at("dovecot.conf"));
    let mut imap = Imap::of(command);
    imap.ask("CREATE Junk");
    imap.ask("SELECT INBOX");
    imap.ask("MOVE 1 Junk");
    let taught = || fs::read_to_string(place.at("taught")).unwrap_or_default();
    until("it is taught spam", || taught().contains("Subject: offer"));
    assert!(taught().starts_with("learn_spam\n"), "{}", taught());
    imap.ask("SELECT Junk");
    imap.ask("MOVE 1 INBOX");
    until("it is taught ham", || taught().matches("Subject: offer").count() == 2);
    assert!(taught().contains("\nlearn_ham\n"), "{}", taught());
    imap.ask("LOGOUT");
}

#[test]
fn a_maildir_that_an_imap_session_has_open() {
    let Some(house) = House::new(&["doveadm", PYTHON]) else { return };
    let imap = "/usr/lib/dovecot/imap";
    if !Path::new(imap).is_file() {
        return skip(&format!("{imap} is not installed"));
    }
    house.deliver(&small("before"));
    let mut imap = Imap::start(&house);
    imap.expect("SELECT INBOX", "* 1 EXISTS");
    imap.ask("STORE 1 +FLAGS (\\Seen \\Answered)");
    assert_eq!(house.flags(), ["RS"]);

    // It looks only when it is asked, so what changes now has been changed by facteur.
    let before = house.own_files();
    let parcel = Parcel::new(&house.place);
    house.deliver(&parcel.with_crlf());
    house.deliver(&small("third"));
    assert!(house.own_files() == before, "facteur changed Dovecot's files");
    let [sent, _] = &house.place.mail("ann")[..] else { panic!("not two new messages") };
    imap.expect("NOOP", "* 3 EXISTS");
    let answers = imap.ask("FETCH 2 BODY[]");
    let fetched = text(&answers.concat()).replace("\r\n", "\n");
    assert!(fetched.contains(&text(sent)), "not the same octets");
    assert_eq!(house.flags(), ["RS", "S", ""]);

    // And it hears of new mail while it does nothing.
    imap.say("idle IDLE");
    imap.wait_for("+ idling");
    house.deliver(&small("fourth"));
    imap.wait_for("* 4 EXISTS");
    imap.say("DONE");
    imap.wait_for("idle OK");

    imap.ask("STORE 1,3 +FLAGS (\\Deleted)");
    imap.expect("EXPUNGE", "* 3 EXPUNGE");
    house.deliver(&small("fifth"));
    imap.expect("NOOP", "* 3 EXISTS");
    imap.expect("UID SEARCH ALL", "* SEARCH 2 4 5");
    assert_eq!(listing(&house.place, "ann").len(), 3);
    imap.ask("LOGOUT");
}
