//! A domain whose addresses are those of another one, as the commands of the real binary take it.

use crate::commands::{run, run_clean};
use crate::servers::{Binary, FACTEUR};
use crate::support::{Place, config, text};
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

#[test]
fn commands_mean_the_target_and_say_so() {
    let place = Place::new();
    // Written first, so that it has the postmaster; and our own name, which then stands for no other domain.
    let alias = "[domain.\"host.test\"]\nalias_of = \"mx.test\"\n[domain.\"other.test\"]\n\
                 maildir = \"mail/{domain}/{user}\"\nany_user = true\n[domain.\"mx.test\"]";
    let config = config("").replace("[domain.\"mx.test\"]", alias).replace("any_user = true\n", "");
    let config = config.replace("hostname = \"mx.test\"", "hostname = \"host.test\"");
    place.write("facteur.toml", config.replace("/{user}\"\n[", "/{user}\"\nany_user = true\n["));
    let text_of = fs::read_to_string(place.at("facteur.toml")).unwrap();
    place.write("facteur.toml", format!("{text_of}users = \"users\"\n"));

    let mut command = Command::new(FACTEUR);
    command.args(["user", "add", "ann@host.test", "--scheme", "PLAIN"]).current_dir(place.path());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"pencil\n").unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    let (_, out, _) = run_clean(&place, &["user", "list"]);
    assert_eq!(out, "ann@mx.test  PLAIN\n");

    let (_, out, err) = run(&place, &["check"]);
    assert!(out.contains("\ndomain host.test: alias of mx.test\n"), "{out}{err}");
    let (status, out, err) = run(&place, &["route", "Ann+x@HOST.test"]);
    assert!(status == 0, "{out}{err}");
    assert!(
        out.contains("\n  host.test is an alias of mx.test, which is delivered here\n"),
        "{out}"
    );
    assert!(out.contains("/mail/mx.test/ann"), "{out}");
    let (status, out, _) = run(&place, &["route", "nobody@host.test"]);
    assert!(status == 1 && out.contains("550 5.1.1"), "{out}");
    let (_, out, _) = run(&place, &["route", "postmaster"]);
    assert!(out.contains("Postmaster without a domain is mx.test's"), "{out}");

    let server = Binary::serve(&place, &fs::read_to_string(place.at("facteur.toml")).unwrap());
    server.client().delivered(&["ann@host.test"], b"Subject: x\r\n\r\ny\r\n");
    let mail = place.mail("ann");
    assert!(text(&mail[0]).contains("\nDelivered-To: ann@mx.test\n"), "{}", text(&mail[0]));
    let (_, listed, _) = run(&place, &["mail", "list", "ann@host.test"]);
    assert_eq!(listed.lines().count(), 1, "{listed}");
    server.stop();
}
