//! One users file for two servers: Dovecot lets in by IMAP whom `facteur user` has added, and facteur by
//! AUTH whose password `doveadm pw` has made; each with every scheme.

use crate::daemons::{Daemon, own_address};
use crate::dovecot::owner;
use crate::outside::{Input, installed, program, run};
use crate::secrecy::Pair;
use crate::servers::{Binary, FACTEUR};
use crate::support::{PATIENCE, Place, skip};
use crate::tls::site;
use crate::tls::submission::{log_in, secured};
use facteur::smtp::auth::client::ClientExchange;
use nix::unistd::{User, geteuid};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::chown;
use std::process::Command;

const SCHEMES: [&str; 6] =
    ["ARGON2ID", "BLF-CRYPT", "SHA512-CRYPT", "SHA256-CRYPT", "SCRAM-SHA-256", "PLAIN"];

const PASSWORD: &str = "p\u{e4}ss w\u{f6}rd";

/// The user whose password is kept so.
fn user(scheme: &str) -> String {
    format!("{}@mx.test", scheme.to_lowercase())
}

/// A place whose server has a certificate, and these lines as its users file, if any.
fn place(users: Option<&str>) -> Option<(Place, User)> {
    let place = Place::new();
    let owner = owner(&place)?;
    Pair::of(&["mx.test"]).write(&place);
    if let Some(users) = users {
        place.write("mx.users", users);
    }
    let mut config = site("").replacen("any_user = true", "users = \"mx.users\"", 1);
    if owner.uid != geteuid() {
        config = config.replacen("spool =", &format!("run_as = \"{}\"\nspool =", owner.name), 1);
        for path in [place.path().to_owned(), place.at("mx.key")] {
            chown(&path, Some(owner.uid.as_raw()), Some(owner.gid.as_raw())).unwrap();
        }
    }
    place.write("facteur.toml", config);
    Some((place, owner))
}

fn serve(place: &Place) -> Binary {
    let mut command = Command::new(FACTEUR);
    command.arg("-c").arg(place.at("facteur.toml")).arg("serve");
    Binary::start(command)
}

/// Dovecot for the users and the Maildirs of that place, listening for IMAP.
fn dovecot(place: &Place, owner: &User) -> (Daemon, SocketAddr) {
    let there = own_address();
    let (uid, gid) = (owner.uid.as_raw(), owner.gid.as_raw());
    let (run, dir) = (place.at("run"), place.path().display());
    let settings = format!(
        "base_dir = {run}\nstate_dir = {run}\nlog_path = /dev/stderr\nssl = no\nprotocols = imap\n\
         listen = {ip}\ndisable_plaintext_auth = no\nauth_mechanisms = plain login scram-sha-256\n\
         auth_failure_delay = 0\nmail_location = maildir:{dir}/mail/mx.test/%n\n\
         first_valid_uid = {uid}\nfirst_valid_gid = {gid}\n\
         passdb {{\n driver = passwd-file\n args = username_format=%n {dir}/mx.users\n}}\n\
         userdb {{\n driver = static\n args = uid={uid} gid={gid} home={dir}\n}}\n\
         service auth {{\n user = root\n}}\nservice stats {{\n client_limit = 10\n}}\n\
         service imap-login {{\n inet_listener imap {{\n port = {port}\n }}\n\
         \x20inet_listener imaps {{\n port = 0\n }}\n}}\n",
        run = run.display(),
        ip = there.ip(),
        port = there.port(),
    );
    let mut command = program(place, "/usr/sbin/dovecot");
    command.arg("-F").arg("-c").arg(place.write("dovecot.conf", settings));
    (Daemon::start(place, "dovecot", command, there), there)
}

/// A session of IMAP; nobody has logged in yet.
struct Imap(BufReader<TcpStream>);

impl Imap {
    fn connect(there: SocketAddr) -> Imap {
        let stream = TcpStream::connect(there).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut imap = Imap(BufReader::new(stream));
        let greeting = imap.line();
        assert!(greeting.starts_with("* OK "), "{greeting}");
        imap
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.0.read_line(&mut line).unwrap() > 0, "Dovecot has hung up");
        line.trim_end().to_owned()
    }

    fn say(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
    }

    /// The answers to a command, up to the last.
    fn ask(&mut self, command: &str) -> Vec<String> {
        self.say(&format!("a {command}"));
        let mut answers = Vec::new();
        while !answers.last().is_some_and(|line: &String| line.starts_with("a ")) {
            answers.push(self.line());
        }
        answers
    }

    /// Logs in by SASL, as the mechanism wants it; whether that went well.
    fn log_in(&mut self, mechanism: &str, user: &str, password: &str) -> bool {
        let mut login =
            ClientExchange::choose(mechanism, user, password, "fyko+d2lbbFgONRv9qkxdawL").unwrap();
        self.say(&format!("a {}", login.command().replacen("AUTH ", "AUTHENTICATE ", 1)));
        loop {
            let line = self.line();
            match line.strip_prefix('+') {
                Some(challenge) => self.say(&login.answer(challenge).unwrap_or("*".to_owned())),
                None if line.starts_with("a ") => return line.starts_with("a OK "),
                None => assert!(line.starts_with("* "), "{line}"),
            }
        }
    }
}

#[test]
fn dovecot_lets_in_whom_facteur_has_added() {
    let version = Command::new("/usr/sbin/dovecot").arg("--version").output();
    if !version.is_ok_and(|output| output.stdout.starts_with(b"2.3.")) {
        return skip("Dovecot 2.3 is not installed"); // 2.4 has another configuration
    }
    if !std::path::Path::new("/usr/lib/dovecot/imap-login").is_file() {
        return skip("Dovecot's imap-login is not installed");
    }
    if !geteuid().is_root() {
        return skip("Dovecot is started by root only");
    }
    let Some((place, owner)) = place(None) else { return };
    for scheme in SCHEMES {
        let mut add = program(&place, FACTEUR);
        add.args(["user", "add", &user(scheme), "--scheme", scheme]);
        run(&place, &mut add, Input::Octets(format!("{PASSWORD}\n").as_bytes()));
    }
    let server = serve(&place);
    let (dovecot, there) = dovecot(&place, &owner);
    for scheme in SCHEMES {
        let user = user(scheme);
        // Who writes to himself by the one reads it by the other.
        let mut client = secured(&server, "submissions");
        let welcome = log_in(&mut client, "PLAIN", &user, PASSWORD);
        assert!(welcome.starts_with("235 "), "{user}: {welcome}");
        client.expect(&format!("MAIL FROM:<{user}>"), "250 ");
        client.expect(&format!("RCPT TO:<{user}>"), "250 ");
        client.expect("DATA", "354 ");
        client.send(format!("Subject: {scheme}\r\n\r\nHello.\r\n.\r\n").as_bytes());
        assert!(client.reply().starts_with("250 "));
        let is_kept_open = matches!(scheme, "SCRAM-SHA-256" | "PLAIN");
        let mechanisms: &[&str] =
            if is_kept_open { &["PLAIN", "LOGIN", "SCRAM-SHA-256"] } else { &["PLAIN", "LOGIN"] };
        for mechanism in mechanisms {
            let mut imap = Imap::connect(there);
            assert!(!imap.log_in(mechanism, &user, "pass word"), "{user} {mechanism}");
            let is_in = imap.log_in(mechanism, &user, PASSWORD);
            assert!(is_in, "{user} {mechanism}: {}", dovecot.said());
            assert!(imap.ask("SELECT INBOX").contains(&"* 1 EXISTS".to_owned()), "{user}");
            let fetched = imap.ask("FETCH 1 BODY[HEADER.FIELDS (SUBJECT)]");
            assert!(fetched.contains(&format!("Subject: {scheme}")), "{fetched:?}");
            imap.ask("LOGOUT");
        }
    }
    server.stop();
}

#[test]
fn facteur_lets_in_whose_password_doveadm_has_made() {
    if !installed(&["doveadm"]) {
        return;
    }
    let mut users = String::new();
    let scratch = Place::new();
    for scheme in SCHEMES {
        let mut doveadm = program(&scratch, "doveadm");
        doveadm.args(["-O", "pw", "-s", scheme, "-p", PASSWORD]);
        let hash = run(&scratch, &mut doveadm, Input::Octets(b""));
        let _ = writeln!(users, "{}:{}:::::", scheme.to_lowercase(), hash.trim_end());
    }
    let lines: Vec<&str> = users.lines().collect();
    // While one of them is a hash, nobody is offered SCRAM.
    for (lines, mechanisms) in
        [(&lines[..], &["PLAIN", "LOGIN"][..]), (&lines[4..], &["PLAIN", "LOGIN", "SCRAM-SHA-256"])]
    {
        let Some((place, _)) = place(Some(&format!("{}\n", lines.join("\n")))) else { return };
        let server = serve(&place);
        for (line, mechanism) in
            lines.iter().flat_map(|line| mechanisms.iter().map(move |mechanism| (line, mechanism)))
        {
            let name = format!("{}@mx.test", line.split(':').next().unwrap());
            let mut client = secured(&server, "submissions");
            let wrong = log_in(&mut client, mechanism, &name, "pass word");
            assert!(wrong.starts_with("535 5.7.8 "), "{name} {mechanism}: {wrong}");
            let right = log_in(&mut client, mechanism, &name, PASSWORD);
            assert!(right.starts_with("235 2.7.0 "), "{name} {mechanism}: {right}");
        }
        server.stop();
    }
}
