//! Dovecot with Pigeonhole as the server that keeps the mail: one users file for both, Sieve, quotas, and an
//! automatic answer that leaves through facteur.

use super::kills::{Broken, MESSAGES, dice, try_send};
use super::site;
use crate::client::Client;
use crate::daemons::{Daemon, own_address};
use crate::dnsd::Dnsd;
use crate::dovecot::owner;
use crate::hosts::Host;
use crate::internet::until_empty;
use crate::outside::{Input, installed, program, run};
use crate::servers::Binary;
use crate::signed::{Keys, holding, signatures, until_both_sign};
use crate::support::{PATIENCE, Place, files, skip, text, until};
use nix::unistd::geteuid;
use socket2::{Domain, Socket, Type};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

/// What Dovecot does with each message.
const SIEVE: &str = r#"require ["fileinto", "mailbox", "vacation"];
if header :contains "X-Facteur-Junk" "yes" { fileinto :create "Junk"; stop; }
if header :is "Subject" "list" { fileinto :create "Lists"; stop; }
if header :is "Subject" "away?" { vacation :addresses ["ann@kept.test"] "I am away."; }
"#;

/// A facteur, and the Dovecot that keeps the mail of ann and bob at kept.test.
struct Pair {
    place: Place,
    server: Binary,
    dovecot: Daemon,
    site: String,
    far: Host,
    /// Sign what is of kept.test.
    keys: Keys,
    /// Where Dovecot speaks IMAP.
    imap: SocketAddr,
    _dns: Dnsd,
}

impl Pair {
    /// Nothing where something is missing, which is said.
    fn new() -> Option<Pair> {
        if !installed(&["doveadm"]) {
            return None;
        }
        let is_there = |path: &str| Path::new(path).exists();
        let plugin = "/usr/lib/dovecot/modules/lib90_sieve_plugin.so";
        if !is_there("/usr/lib/dovecot/lmtp") || !is_there(plugin) {
            skip("Dovecot's LMTP and Sieve are not installed");
            return None;
        }
        if !geteuid().is_root() {
            skip("Dovecot's auth gives mail to another user as root only");
            return None;
        }
        let (place, far) = (Place::new(), Host::start(""));
        let owner = owner(&place)?;
        let keys = Keys::new();
        keys.write(&place.at("keys"));
        let zone = "_dmarc.a.test TXT v=DMARC1; p=quarantine\na.test TXT v=spf1 -all\n";
        let dns = Dnsd::new(&(zone.to_owned() + &keys.zone("kept.test")));
        place.write("aliases", "");
        place.write("kept.users", "ann:{PLAIN}x:::::\nbob:{PLAIN}y:::::\n");
        let more = format!(
            "networks = [\"127.0.0.1/32\"]\n[relay.route]\n\"far.test\" = \"{}\"\n\
             [dns]\nservers = [\"{}\"]\n[trust]\ngateways = []",
            far.address,
            dns.address()
        );
        let site = site("unix:run/lmtp", "users = \"kept.users\"\ndkim = \"keys\"", &more);
        let site = site.replace("[\"1h\"]", "[\"1s\"]");
        let server = Binary::serve(&place, &site);
        let there = own_address();
        fs::create_dir(place.at("home")).unwrap();
        let (uid, gid) = (owner.uid.as_raw(), owner.gid.as_raw());
        for path in [place.path().to_owned(), place.at("home")] {
            chown(path, Some(uid), Some(gid)).unwrap();
        }
        place.write("before.sieve", SIEVE);
        let settings = format!(
            "base_dir = {dir}/run\nstate_dir = {dir}/run\nlog_path = /dev/stderr\nssl = no\n\
             protocols = lmtp imap\nlisten = {ip}\nrecipient_delimiter = +\nhostname = kept.test\n\
             disable_plaintext_auth = no\n\
             submission_host = {facteur}\nmail_location = maildir:~/Maildir\n\
             first_valid_uid = {uid}\nfirst_valid_gid = {gid}\n\
             passdb {{\n driver = passwd-file\n args = username_format=%n {dir}/kept.users\n}}\n\
             userdb {{\n driver = static\n args = uid={uid} gid={gid} home={dir}/home/%n\n}}\n\
             service auth {{\n user = root\n}}\nservice stats {{\n client_limit = 10\n}}\n\
             protocol lmtp {{\n mail_plugins = sieve quota\n postmaster_address = p@kept.test\n}}\n\
             plugin {{\n sieve_before = {dir}/before.sieve\n quota = maildir:User quota\n\
             \x20quota_rule = *:storage=200K\n}}\n\
             service imap-login {{\n inet_listener imap {{\n port = {port}\n }}\n\
             \x20inet_listener imaps {{\n port = 0\n }}\n}}\n",
            dir = place.path().display(),
            ip = there.ip(),
            port = there.port(),
            facteur = server.address,
        );
        let mut command = program(&place, "/usr/sbin/dovecot");
        command.arg("-F").arg("-c").arg(place.write("dovecot.conf", settings));
        let dovecot = Daemon::start(&place, "dovecot", command, there);
        until("Dovecot listens for LMTP", || place.at("run/lmtp").exists());
        Some(Pair { place, server, dovecot, site, far, keys, imap: there, _dns: dns })
    }

    /// A client that nobody knows.
    fn stranger(&self) -> Client {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 9], 0)).into()).unwrap();
        socket.connect(&self.server.address.into()).unwrap();
        let mut client = Client::of(socket.into());
        assert!(client.reply().starts_with("220"));
        client.expect("EHLO far.test", "250");
        client
    }

    /// What the client hears at last.
    fn send(&self, to: &[&str], message: &str) -> String {
        let mut client = self.stranger();
        client.expect("MAIL FROM:<x@far.test>", "250");
        to.iter().for_each(|to| drop(client.expect(&format!("RCPT TO:<{to}>"), "250")));
        client.expect("DATA", "354");
        client.send(format!("{}\r\n.\r\n", message.replace('\n', "\r\n")).as_bytes());
        client.reply_at_leisure()
    }

    /// The subjects in a folder, as an IMAP session with a login sees them.
    fn seen(&self, user: &str, password: &str, folder: &str) -> Vec<String> {
        let mut stream = BufReader::new(TcpStream::connect(self.imap).unwrap());
        let mut lines = Vec::new();
        for (tag, command) in [
            ("a", format!("LOGIN {user}@kept.test {password}")),
            ("b", format!("SELECT {folder}")),
            ("c", "FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]".to_owned()),
        ] {
            stream.get_mut().write_all(format!("{tag} {command}\r\n").as_bytes()).unwrap();
            loop {
                let mut line = String::new();
                assert!(stream.read_line(&mut line).unwrap() > 0, "{command}: {lines:?}");
                let is_last = line.starts_with(&format!("{tag} "));
                assert!(!is_last || line.starts_with(&format!("{tag} OK ")), "{command}: {line}");
                lines.push(line);
                if is_last {
                    break;
                }
            }
        }
        let subjects = lines.iter().filter_map(|line| line.strip_prefix("Subject: "));
        subjects.map(|subject| subject.trim_end().to_owned()).collect()
    }

    /// The subjects in a folder, as Dovecot shows them.
    fn subjects(&self, user: &str, folder: &str) -> Vec<String> {
        let mut command = program(&self.place, "doveadm");
        let user = format!("{user}@kept.test");
        command.args(["-c", "dovecot.conf", "-f", "tab", "fetch", "-u", &user]);
        command.args(["hdr.subject", "mailbox", folder, "all"]);
        let said = run(&self.place, &mut command, Input::Octets(b""));
        said.lines().skip(1).map(str::to_owned).collect()
    }

    /// The subjects of the files in an inbox, whatever a kill has left in Dovecot's indexes.
    fn stored(&self, user: &str) -> Vec<String> {
        let dir = self.place.at("home").join(user).join("Maildir");
        let paths = ["new", "cur"].map(|name| files(&dir.join(name))).concat();
        let subject = |path: &PathBuf| {
            let mail = text(&fs::read(path).unwrap());
            mail.lines().find_map(|line| line.strip_prefix("Subject: ").map(str::to_owned))
        };
        paths.iter().filter_map(subject).collect()
    }
}

#[test]
fn sieve_quotas_and_answers_are_dovecots() {
    let Some(pair) = Pair::new() else { return };
    until_both_sign(&pair.server, &pair.place, "ann@kept.test", "dan");
    let head = "From: x@far.test\nTo: ann@kept.test\n";
    let mail = |subject: &str| format!("{head}Subject: {subject}\n\nHello.");
    assert!(pair.send(&["ann@kept.test", "bob@kept.test"], &mail("both")).starts_with("250"));
    assert!(pair.send(&["Ann+tag@kept.test", "dan@mx.test"], &mail("list")).starts_with("250"));
    assert!(pair.send(&["ann@kept.test"], "From: e@a.test\nSubject: junk\n\nx").starts_with("250"));
    assert!(pair.send(&["ann@kept.test"], &mail("away?")).starts_with("250"));
    let mut client = pair.stranger();
    client.expect("MAIL FROM:<x@far.test>", "250");
    client.expect("RCPT TO:<eve@kept.test>", "550 5.1.1");
    // A full mailbox is refused in the session.
    let large = format!("{}{}", mail("large"), "\n0123456789abcdef0123456789abcdef".repeat(9000));
    let heard = pair.send(&["ann@kept.test"], &large);
    assert!(heard.starts_with("552 5.2.2 <ann@kept.test>: "), "{heard}");
    until_empty(&pair.place);

    for (user, password, folder, subjects) in [
        ("ann", "x", "INBOX", &["both", "away?"][..]),
        ("bob", "y", "INBOX", &["both"]),
        ("ann", "x", "Lists", &["list"]),
        ("ann", "x", "Junk", &["junk"]),
    ] {
        assert_eq!(pair.subjects(user, folder), subjects, "{user}");
        assert_eq!(pair.seen(user, password, folder), subjects, "{user} by IMAP");
    }
    assert_eq!(pair.place.mail("dan").len(), 1);
    until("the answer has left", || !pair.far.mail().is_empty());
    let answer = &pair.far.mail()[0];
    assert_eq!((answer.from.as_str(), &answer.to[..]), ("", &["x@far.test".to_owned()][..]));
    assert!(text(&answer.octets).contains("I am away."), "{}", text(&answer.octets));
    // By ann's domain, and both signatures hold.
    let selectors = holding(&answer.octets, &pair.keys.records("kept.test"));
    assert_eq!(selectors, ["r1", "e1"], "{}", text(&answer.octets));
    assert_eq!(signatures(&answer.octets), 2);
    pair.server.wait_for(&["signed ", "domain=kept.test selectors=r1,e1"]);
    pair.server.stop();
}

#[test]
fn kills_of_either_side_lose_nothing() {
    let Some(mut pair) = Pair::new() else { return };
    let (mut dice, mut broken) = (dice(), Broken::new());
    let (mut number, mut ended) = (0, 0);
    while number < MESSAGES {
        let to: &[&str] = match number % 3 {
            0 => &["ann@kept.test", "dan@mx.test"],
            _ => &["ann@kept.test"],
        };
        broken.begin(number);
        let (address, message) =
            (pair.server.address, format!("Subject: m{number}.\r\n\r\nx\r\n.\r\n"));
        let (pair, dice) = (&mut pair, &mut dice);
        let (broken, ended) = (&mut broken, &mut ended);
        let is_taken = thread::scope(|scope| {
            let client = scope.spawn(move || try_send(address, to, &message));
            let who = dice.below(6);
            if who < 2 {
                thread::sleep(Duration::from_millis(dice.below(30) as u64));
                broken.by_a_kill(&pair.place);
            }
            match who {
                0 => {
                    pair.server.signal("KILL");
                    pair.server.wait_end(PATIENCE);
                }
                1 => {
                    let workers = pair.dovecot.workers("dovecot/lmtp");
                    workers.iter().for_each(kill);
                    *ended += workers.len();
                }
                _ => {}
            }
            let is_taken = client.join().unwrap();
            if who == 0 {
                pair.server = Binary::serve(&pair.place, &pair.site);
            }
            is_taken
        });
        number += usize::from(is_taken);
    }
    until_empty(&pair.place);
    assert!(ended > 0, "Dovecot's workers were not found");
    let came = pair.stored("ann");
    for number in 0..MESSAGES {
        let is_it = |subject: &&String| **subject == format!("m{number}.");
        broken.assert_times(number, came.iter().filter(is_it).count());
    }
    pair.server.stop();
}

fn kill(id: &u32) {
    let _ = Command::new("sh").args(["-c", &format!("kill -KILL {id} 2>/dev/null")]).status();
}
