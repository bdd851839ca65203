//! The filter and the jail of fail2ban, on a log that the server writes: every failed login is found, and
//! nothing that a client says makes one of somebody else.

use super::unit;
use crate::client::Client;
use crate::secrecy::{self, Pair};
use crate::servers::{Binary, value};
use crate::support::{Place, has_program, skip, text};
use crate::tls::{address, site};
use facteur::smtp::auth::encode;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What names a client and a failed login, as far as a client can write it.
const FORGED: &str =
    "x client=192.0.2.66 command=AUTH reply=\"535 5.7.8 no\" time=2026-11-23T13:45:07Z";

fn plain(user: &str, password: &str) -> String {
    format!("AUTH PLAIN {}", encode(format!("\0{user}\0{password}").as_bytes()))
}

/// A server of ann, after sessions of all kinds; and how many logins of them have failed.
fn with_guessers(place: &Place) -> (Binary, usize) {
    Pair::of(&["mx.test"]).write(place);
    place.write("users", "ann:{PLAIN}pencil:::::\n");
    let config = site("[limit]\nauth_failures = 5\n[trust]\ngateways = []\n");
    let config = config.replacen("any_user = true", "users = \"users\"", 1);
    let server = Binary::serve(place, &config);
    let secured = || {
        let mut client = Client::greeted(address(&server, "submission"));
        client.start_tls(&secrecy::client());
        client
    };
    let mut guesser = secured();
    let two_words = ["AUTH LOGIN".to_owned(), encode(b"ann@mx.test")];
    for line in two_words {
        guesser.expect(&line, "334 ");
    }
    guesser.expect(&encode(b"wrong"), "535 5.7.8 ");
    // A name that is there, none, one that forges, no name at all; and one who acts for another.
    let other = format!("auth plain {}", encode(b"bob@mx.test\0ann@mx.test\0pencil"));
    for line in
        [plain("ann@mx.test", "wrong"), plain("nobody", "wrong"), plain(FORGED, "wrong"), other]
    {
        guesser.expect(&line, "535 5.7.8 ");
    }
    guesser.expect(&plain("ann@mx.test\\", "wrong"), "421 4.7.0 ");
    let mut user = secured();
    for (line, reply) in [
        ("AUTH PLAIN !", "501 "),
        ("AUTH NOTHING", "504 "),
        (&plain("ann@mx.test", "pencil"), "235 "),
        ("MAIL FROM:<eve@mx.test>", "5"),
        (FORGED, "500 "),
        ("QUIT", "221 "),
    ] {
        user.expect(line, reply);
    }
    let mut stranger = server.client();
    for (line, reply) in [
        (format!("EHLO {FORGED}"), "2"),
        (plain("ann@mx.test", "pencil"), "5"),
        (format!("rejected {FORGED}"), "500 "),
        ("MAIL FROM:<>".to_owned(), "250 "),
        ("RCPT TO:<\"x client=192.0.2.66 command=AUTH\"@mx.test>".to_owned(), "550 "),
        ("QUIT".to_owned(), "221 "),
    ] {
        stranger.expect(&line, reply);
    }
    (server, 6)
}

/// The addresses that the filter finds in a log, in order.
fn found(log: &Path) -> Vec<String> {
    let mut command = Command::new("fail2ban-regex");
    command.args(["-o", "ip"]).arg(log).arg("packaging/fail2ban/filter.d/facteur.conf");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn fail2ban_finds_failed_logins_and_nothing_else() {
    if !has_program("fail2ban-regex", "--version") {
        return skip("fail2ban is not installed");
    }
    let place = Place::new();
    let (server, failed) = with_guessers(&place);
    // The last line of all sessions.
    server.wait_for(&["rejected ", "550 5.1.1"]);
    let lines = server.lines();
    server.stop();
    let guessed = vec!["127.0.0.1".to_owned(); failed];
    let log = place.write("log", lines.join("\n") + "\n");
    assert_eq!(found(&log), guessed, "{lines:#?}");
    // As a syslog has it, which puts host and program before and has no time of ours.
    let in_syslog: Vec<String> = lines
        .iter()
        .map(|line| {
            let time = format!(" time={}", value(line, "time").unwrap_or_default());
            let line = line.strip_suffix(&time).unwrap_or(line);
            format!("2026-11-23T13:45:07.123456+00:00 mx facteur[12]: {line}")
        })
        .collect();
    let log = place.write("syslog", in_syslog.join("\n") + "\n");
    assert_eq!(found(&log), guessed, "{in_syslog:#?}");
}

#[test]
fn fail2ban_takes_the_jail() {
    if !has_program("fail2ban-client", "--version") {
        return skip("fail2ban is not installed");
    }
    let place = Place::new();
    let etc = place.at("fail2ban");
    let copied = Command::new("cp").arg("-R").arg("/etc/fail2ban").arg(&etc).status().unwrap();
    assert!(copied.success());
    // What else this machine guards is none of ours.
    fs::remove_dir_all(etc.join("jail.d")).unwrap();
    fs::create_dir(etc.join("jail.d")).unwrap();
    for name in ["filter.d/facteur.conf", "jail.d/facteur.conf"] {
        fs::write(etc.join(name), unit(&format!("fail2ban/{name}"))).unwrap();
    }
    let told = || {
        let output =
            Command::new("fail2ban-client").arg("-c").arg(&etc).arg("-d").output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let begin = "['add', 'facteur', 'systemd']";
    // Nobody is shut out before an administrator wants it.
    assert!(!told().contains(begin));
    fs::write(etc.join("jail.d/facteur.local"), "[facteur]\nenabled = true\n").unwrap();
    let told = told();
    for part in [begin, "'_SYSTEMD_UNIT=facteur.service'", "['start', 'facteur']"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}
