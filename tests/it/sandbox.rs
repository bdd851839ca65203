//! The sandbox from outside: what a running server cannot reach any more, and that it says so and goes on.
//!
//! That it can still do all else, every other test of the real binary shows: it runs in each of them.

use crate::dnsd::Dnsd;
use crate::servers::{Binary, FACTEUR};
use crate::support::{Place, config, skip, until};
use facteur::mail::proof::name::Name;
use facteur::store::keys::KeyKind;
use facteur::store::keys::make::{make_dir, make_key};
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

const MAIL: &[u8] = b"Subject: x\r\n\r\nHello.\r\n";

/// A server in the sandbox; nothing where the kernel has none.
fn serve(place: &Place, config: &str) -> Option<Binary> {
    let server = Binary::serve(place, config);
    let line = server.wait_for(&["started version="]);
    if line.contains("sandbox=none") {
        skip("this kernel has no Landlock");
        return None;
    }
    Some(server)
}

/// mx.test with a users and an aliases file instead of any user.
fn listed() -> String {
    config("").replace("any_user = true", "users = \"users\"\naliases = \"aliases\"")
}

fn is_taken(server: &Binary, user: &str) -> bool {
    let mut client = server.client();
    client.expect("MAIL FROM:<>", "250");
    client.ask(&format!("RCPT TO:<{user}@mx.test>")).starts_with("250")
}

#[test]
fn the_log_says_that_it_holds() {
    let place = Place::new();
    let Some(server) = serve(&place, &config("")) else { return };
    server.wait_for(&["started version=", "sandbox=\"Landlock V"]);
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    assert!(status.contains("NoNewPrivs:\t1\n"), "{status}");
    server.stop();
}

#[test]
fn a_reload_to_a_users_file_outside_keeps_the_old_one() {
    let (place, outside) = (Place::new(), Place::new());
    place.write("users", "ann:x\n");
    place.write("aliases", "");
    let elsewhere = outside.write("users", "bob:x\n");
    let Some(server) = serve(&place, &listed()) else { return };
    let moved = listed().replace("\"users\"", &format!("{elsewhere:?}"));
    place.write("facteur.toml", moved + "[limit]\nerrors = 7");
    server.signal("HUP");
    let what = ".users changed: ";
    server.wait_for(&["warning what=", what, elsewhere.to_str().unwrap(), "sandbox", "old value"]);
    // All else of the new configuration holds.
    server.wait_for(&["reloaded config="]);
    assert!(is_taken(&server, "ann") && !is_taken(&server, "bob"));
    let mut client = server.client();
    for _ in 0..7 {
        client.expect("NONSENSE", "500 ");
    }
    client.expect("NONSENSE", "421 ");
    server.client().delivered(&["ann@mx.test"], MAIL);
    server.stop();
    // A restart can.
    let config = fs::read_to_string(place.at("facteur.toml")).unwrap();
    let server = Binary::serve(&place, &config);
    assert!(is_taken(&server, "bob") && !is_taken(&server, "ann"));
    server.stop();
}

#[test]
fn a_reload_to_keys_outside_keeps_the_old_ones() {
    let (place, outside) = (Place::new(), Place::new());
    let keys = |place: &Place, selector: &[u8]| {
        make_dir(&place.at("keys"), None).unwrap();
        let selector = Name::parse(selector).unwrap();
        make_key(&place.at("keys"), &selector, KeyKind::Ed25519, None).unwrap();
    };
    keys(&place, b"inside");
    keys(&outside, b"outside");
    let dns = Dnsd::new("");
    let with =
        |dir: &str| config(&format!("dkim = {dir:?}\n[dns]\nservers = [\"{}\"]", dns.address()));
    let Some(server) = serve(&place, &with("keys")) else { return };
    server.wait_for(&["key domain=mx.test selector=inside "]);
    let elsewhere = outside.at("keys");
    place.write("facteur.toml", with(elsewhere.to_str().unwrap()));
    server.signal("HUP");
    server.wait_for(&[
        "warning what=",
        ".dkim changed: ",
        elsewhere.to_str().unwrap(),
        "old value",
    ]);
    server.wait_for(&["reloaded config="]);
    assert!(!server.lines().iter().any(|line| line.contains("selector=outside")));
    server.stop();
    // A restart can.
    let server = Binary::serve(&place, &with(elsewhere.to_str().unwrap()));
    server.wait_for(&["key domain=mx.test selector=outside "]);
    server.stop();
}

#[test]
fn a_reload_to_maildirs_outside_keeps_the_old_ones() {
    let (place, outside) = (Place::new(), Place::new());
    let Some(server) = serve(&place, &config("")) else { return };
    let there = outside.at("mail/{user}");
    place.write(
        "facteur.toml",
        config("").replace("\"mail/{domain}/{user}\"", &format!("{there:?}")),
    );
    server.signal("HUP");
    server.wait_for(&["warning what=", ".maildir changed: ", "outside of the sandbox"]);
    server.wait_for(&["reloaded config="]);
    server.client().delivered(&["ann@mx.test"], MAIL);
    assert_eq!(place.mail("ann").len(), 1);
    assert!(!outside.at("mail").exists());
    server.stop();
}

#[test]
fn a_new_domain_outside_fails_the_reload() {
    let (place, outside) = (Place::new(), Place::new());
    let Some(server) = serve(&place, &config("")) else { return };
    let there = outside.at("mail/{user}");
    let domain = format!("[domain.\"new.test\"]\nmaildir = {there:?}\nany_user = true");
    place.write("facteur.toml", config(&domain));
    server.signal("HUP");
    server.wait_for(&["reload-failed reason=", "facteur.toml:9: ", "outside of the sandbox"]);
    server.client().delivered(&["ann@mx.test"], MAIL);
    server.stop();
}

#[test]
fn a_file_that_becomes_a_link_to_the_outside_is_not_read() {
    let (place, outside) = (Place::new(), Place::new());
    place.write("users", "ann:x\n");
    let aliases = place.write("aliases", "team: ann\n");
    let secret = outside.write("aliases", "spy: ann\n");
    let Some(server) = serve(&place, &listed()) else { return };
    fs::remove_file(&aliases).unwrap();
    symlink(&secret, &aliases).unwrap();
    until("the link is noticed", || {
        assert!(!is_taken(&server, "spy"));
        server.lines().iter().any(|line| line.starts_with("reload-failed "))
    });
    server.wait_for(&["reload-failed reason=", "aliases: expected a file", "Permission denied"]);
    assert!(is_taken(&server, "team"));
    server.stop();
}

#[test]
fn a_renewed_file_behind_a_link_is_read() {
    let place = Place::new();
    fs::create_dir(place.at("archive")).unwrap();
    fs::create_dir(place.at("live")).unwrap();
    let link = |number: u32| {
        let _ = fs::remove_file(place.at("live/aliases"));
        symlink(format!("../archive/aliases{number}"), place.at("live/aliases")).unwrap();
    };
    place.write("users", "ann:x\n");
    place.write("archive/aliases1", "one: ann\n");
    link(1);
    let config = listed().replace("\"aliases\"", "\"live/aliases\"");
    let Some(server) = serve(&place, &config) else { return };
    place.write("archive/aliases2", "two: ann\n");
    link(2);
    until("the new file is read", || is_taken(&server, "two"));
    server.stop();
}

#[test]
fn a_maildir_that_leads_outside_gets_no_mail_and_is_named() {
    let (place, outside) = (Place::new(), Place::new());
    fs::create_dir_all(place.at("mail/mx.test")).unwrap();
    symlink(outside.path(), place.maildir("ann")).unwrap();
    let Some(server) = serve(&place, &config("")) else { return };
    let mut client = server.client();
    client.begin(&["ann@mx.test"]);
    client.send(b"Subject: x\r\n\r\nHello.\r\n.\r\n");
    assert!(client.reply().starts_with("451 "));
    server.wait_for(&["failed id=", "to=ann@mx.test", "by the sandbox", "a restart finds"]);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    server.client().delivered(&["bob@mx.test"], MAIL);
    drop(client);
    server.stop();
    // Found before any mail is, too.
    let users = config("").replace("any_user = true", "users = \"users\"");
    place.write("facteur.toml", users);
    place.write("users", "ann:{PLAIN}x:::::\nbob:{PLAIN}x:::::\n");
    let mut check = Command::new(FACTEUR);
    let output = check.arg("-c").arg(place.at("facteur.toml")).arg("check").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let words = "no mail can be delivered to ann@mx.test: ";
    assert!(output.status.code() == Some(1) && said.contains(words), "{said}");
    assert!(said.starts_with("error: ") && said.contains("leads by a link to "), "{said}");
    assert!(!said.contains("bob@"), "{said}");
}
