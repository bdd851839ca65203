//! What `check` says beside what `serve` does: all that a server would end by is `fatal:`, and what it goes on
//! without is `error:` or `warning:`.

use crate::commands::{run, run_clean};
use crate::secrecy::{self, Pair};
use crate::servers::Binary;
use crate::support::{Place, config};
use nix::unistd::geteuid;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};

/// A site that is wrong in one thing: its configuration, and where `check` says that it lies.
struct Wrong {
    config: String,
    key: &'static str,
}

/// Makes it, and what it needs on the disk.
type Make = fn(&Place) -> Wrong;

fn wrong(config: String, key: &'static str) -> Wrong {
    Wrong { config, key }
}

/// Only these users.
fn listed(more: &str) -> String {
    config(more).replace("any_user = true", "users = \"users\"")
}

#[test]
fn serve_ends_by_all_that_is_fatal() {
    let cases: [(&str, Make); 15] = [
        ("an unknown key", |_| wrong(config("").replace("spool =", "spoon ="), "spoon")),
        ("a user of nobody", |_| {
            wrong(format!("run_as = \"no-such-user\"\n{}", config("")), "run_as: ")
        }),
        ("no users", |_| wrong(listed(""), "domain.\"mx.test\".users: ")),
        ("no aliases", |_| wrong(config("aliases = \"aliases\""), "domain.\"mx.test\".aliases: ")),
        ("no certificate", |_| wrong(config(secrecy::TLS), "tls.certificate: ")),
        ("a key of another certificate", |place| {
            Pair::of(&["mx.test"]).write(place);
            place.write("mx.key", Pair::of(&["mx.test"]).key);
            wrong(config(secrecy::TLS), "tls.key: ")
        }),
        ("an address of another machine", |_| {
            wrong(config("").replace("127.0.0.1:0", "192.0.2.1:0"), "listen.smtp: ")
        }),
        ("a spool that is a file", |place| {
            place.write("spool", "");
            wrong(config(""), "spool: ")
        }),
        ("a spool that is a link to nothing", |place| {
            symlink("nowhere", place.at("spool")).unwrap();
            wrong(config(""), "spool: ")
        }),
        ("a spool below a file", |place| {
            place.write("file", "");
            wrong(config("").replace("\"spool\"", "\"file/spool\""), "spool: ")
        }),
        ("a queue that is a file", |place| {
            fs::create_dir(place.at("spool")).unwrap();
            place.write("spool/queue", "");
            wrong(config(""), "spool: ")
        }),
        ("a place for large messages that is a file", |place| {
            fs::create_dir(place.at("spool")).unwrap();
            place.write("spool/spill", "");
            wrong(config(""), "spool: ")
        }),
        ("a lock that is a directory", |place| {
            fs::create_dir_all(place.at("spool/lock")).unwrap();
            wrong(config(""), "spool: ")
        }),
        ("a lock that is a link", |place| {
            fs::create_dir(place.at("spool")).unwrap();
            place.write("file", "");
            symlink("../file", place.at("spool/lock")).unwrap();
            wrong(config(""), "spool: ")
        }),
        ("a secret that is none", |place| {
            fs::create_dir(place.at("spool")).unwrap();
            place.write("spool/srs.secret", "no secret");
            wrong(config(""), "spool: ")
        }),
    ];
    for (name, make) in cases {
        let place = Place::new();
        let Wrong { config, key } = make(&place);
        place.write("facteur.toml", config);
        both_end(&place, name, key);
    }
}

/// `check` says that a server would end, in one line, and a server ends.
fn both_end(place: &Place, name: &str, key: &str) {
    let (status, _, err) = run_clean(place, &["check"]);
    assert!(status == 1 && err.lines().count() == 1, "{name}: {err}");
    assert!(err.starts_with("fatal: facteur.toml") && err.contains(key), "{name}: {err}");
    let (status, _, err) = run(place, &["serve"]);
    let last = err.lines().last().unwrap_or_default();
    assert!(status == 1 && last.starts_with("facteur: "), "{name}: {err}");
}

#[test]
fn an_address_that_is_taken_is_fatal_but_by_our_own_server() {
    let (place, other) = (Place::new(), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = other.local_addr().unwrap().to_string();
    place.write("facteur.toml", config("").replace("127.0.0.1:0", &address));
    both_end(&place, "taken", "facteur.toml:4: listen.smtp: cannot listen on ");
    let (_, _, err) = run(&place, &["check"]);
    let holder = format!("(process {}) listens there", std::process::id());
    assert!(err.contains("Address already in use") && err.contains(&holder), "{err}");
    drop(other);
    assert_eq!(run_clean(&place, &["check"]).0, 0);
    let server = Binary::serve(&place, &config("").replace("127.0.0.1:0", &address));
    let (status, _, err) = run(&place, &["check"]);
    assert_eq!((status, err.as_str()), (0, ""));
    server.client().delivered(&["ann@mx.test"], b"Subject: x\r\n\r\nHello.\r\n");
    server.stop();
}

#[test]
fn serve_goes_on_without_what_is_an_error_or_doubtful() {
    let cases: [(&str, &str, Make); 11] = [
        ("an alias that leads to nobody", "error: ", |place| {
            place.write("users", "ann:{PLAIN}x:::::\n");
            place.write("aliases", "team: ann, bob\n");
            wrong(listed("aliases = \"aliases\""), "aliases:1: ")
        }),
        ("a user that is none", "error: ", |place| {
            place.write("users", "ann:{PLAIN}x:::::\nno user at all\n");
            wrong(listed(""), "users:2: ")
        }),
        ("a certificate that is no longer good", "error: ", |place| {
            Pair::with(&["mx.test"], (2001, 2002), true).write(place);
            wrong(config(secrecy::TLS), "tls.certificate: ")
        }),
        ("a certificate of another", "warning: ", |place| {
            Pair::of(&["other.test"]).write(place);
            wrong(config(secrecy::TLS), "tls.certificate: ")
        }),
        ("a certificate that ends soon", "warning: ", |place| {
            Pair::ending_in(&["mx.test"], 20).write(place);
            wrong(config(secrecy::TLS), "tls.certificate: ends in ")
        }),
        ("a Maildir that is a file", "error: ", |place| {
            place.write("users", "ann:{PLAIN}x:::::\n");
            fs::create_dir_all(place.at("mail/mx.test")).unwrap();
            place.write("mail/mx.test/ann", "");
            wrong(listed(""), "domain.\"mx.test\".maildir: ")
        }),
        ("Maildirs below a file", "error: ", |place| {
            place.write("mail", "");
            wrong(config(""), "domain.\"mx.test\".maildir: ")
        }),
        ("no place where others may put mail", "error: ", |place| {
            fs::create_dir(place.at("spool")).unwrap();
            place.write("spool/drop", "");
            wrong(config(""), "spool: ")
        }),
        ("lists are refused", "warning: ", |_| {
            wrong(config("[trust]\ndmarc = \"reject\""), "trust.dmarc: p=reject alone ")
        }),
        ("half of what DMARC goes by", "warning: ", |_| {
            wrong(config("[trust]\nspf = \"off\""), "trust.dmarc: with spf or dkim off ")
        }),
        ("a host name without a dot", "warning: ", |_| {
            wrong(config("").replacen("\"mx.test\"", "\"mx\"", 1), "hostname: ")
        }),
    ];
    for (name, weight, make) in cases {
        let place = Place::new();
        let Wrong { config, key } = make(&place);
        place.write("facteur.toml", &config);
        let (status, _, err) = run_clean(&place, &["check"]);
        assert_eq!(status, i32::from(weight == "error: "), "{name}: {err}");
        assert!(!err.contains("fatal: "), "{name}: {err}");
        let is_it = |line: &str| line.starts_with(weight) && line.contains(key);
        assert!(err.lines().any(is_it), "{name}: {err}");
        Binary::serve(&place, &config).stop();
    }
}

/// Nobody has a password elsewhere, and none is taken in the clear.
#[test]
fn it_says_who_may_send_anywhere() {
    let place = Place::new();
    place.write("users", "ann:{PLAIN}x:::::\n");
    Pair::of(&["mx.test"]).write(&place);
    let open =
        |config: String| config.replace("[listen]", "[listen]\nsubmission = [\"127.0.0.1:0\"]");
    let networks = "[relay]\nnetworks = [\"127.0.0.0/8\"]\n";
    for (config, who) in [
        (config(""), "nobody"),
        (listed(secrecy::TLS), "nobody"),
        (open(listed(secrecy::TLS)), "users who log in"),
        (listed(networks), "127.0.0.0/8"),
        (open(listed(&format!("{networks}{}", secrecy::TLS))), "127.0.0.0/8, users who log in"),
    ] {
        place.write("facteur.toml", &config);
        let (_, out, err) = run_clean(&place, &["check"]);
        assert!(out.contains(&format!("\nrelay: for {who}\n")), "{config}{out}{err}");
    }
}

/// A second domain ends logins by a bare name, and that is told with what to do; an alias domain does not.
#[test]
fn it_says_when_a_name_without_its_domain_is_no_login_any_more() {
    let place = Place::new();
    for file in ["users", "b.users"] {
        place.write(file, "ann:{PLAIN}x:::::\n");
    }
    Pair::of(&["mx.test"]).write(&place);
    let open =
        |config: String| config.replace("[listen]", "[listen]\nsubmissions = [\"127.0.0.1:0\"]");
    let maildir = "maildir = \"mail/{domain}/{user}\"";
    let second = format!("[domain.\"b.test\"]\n{maildir}\nusers = \"b.users\"\n{}", secrecy::TLS);
    let open_to_all = second.replace("users = \"b.users\"\n", "");
    let alias = format!("[domain.\"b.test\"]\nalias_of = \"mx.test\"\n{}", secrecy::TLS);
    for (config, is_told) in [
        (open(listed(&second)), true),
        (open(listed(&open_to_all)), true),
        (open(listed(&alias)), false),
        // Nobody logs in.
        (listed(&second), false),
    ] {
        place.write("facteur.toml", &config);
        let (status, _, err) = run_clean(&place, &["check"]);
        let line = err.lines().find(|line| line.contains("logs in by the whole address alone"));
        assert_eq!((status, line.is_some()), (0, is_told), "{config}{err}");
        if let Some(line) = line {
            assert!(line.starts_with("warning: facteur.toml:"), "{line}");
            let words = ["domain.\"b.test\": ", "(mx.test, b.test)", "change it in mail programs"];
            assert!(words.iter().all(|words| line.contains(words)), "{line}");
        }
    }
}

/// Rights mean nothing to root, for whom `privileges` has the same by run_as: nothing is missing here.
#[test]
fn a_spool_without_rights_is_fatal() {
    if geteuid().is_root() {
        return;
    }
    let place = Place::new();
    place.write("facteur.toml", config(""));
    fs::create_dir_all(place.at("spool/queue")).unwrap();
    fs::set_permissions(place.at("spool"), Permissions::from_mode(0o500)).unwrap();
    both_end(&place, "no rights", "spool: ");
    fs::set_permissions(place.at("spool"), Permissions::from_mode(0o700)).unwrap();
}
