//! The real binary and its signals: how it ends, what a reload changes, what a kill leaves.

use crate::client::{Client, stuffed};
use crate::secrecy::{self, Pair, TLS};
use crate::servers::{Binary, value};
use crate::support::{PATIENCE, Place, assert_no_drafts, config, files, text};
use std::time::{Duration, Instant};

const MAIL: &[u8] = b"Subject: x\r\n\r\nHello.\r\n";

/// Longest that an end without running transactions may take, on a busy machine.
const PROMPTLY: Duration = Duration::from_secs(8);

fn idle_sessions_are_told_and_it_ends(signal: &str) {
    let place = Place::new();
    let mut server = Binary::serve(&place, &config(""));
    let mut clients: Vec<_> = (0..20).map(|_| server.client()).collect();
    clients[0].delivered(&["ann@mx.test"], MAIL);
    server.signal(signal);
    for client in &mut clients {
        client.expect_last("421 4.3.2 ");
    }
    drop(clients);
    assert_eq!(server.wait_end(PROMPTLY).code(), Some(0));
    server.wait_for(&["stopping sessions=20"]);
    server.wait_for(&["stopped"]);
    assert_eq!(place.mail("ann").len(), 1);
}

#[test]
fn sigterm_tells_idle_sessions_and_ends() {
    idle_sessions_are_told_and_it_ends("TERM");
}

#[test]
fn sigint_is_the_same() {
    idle_sessions_are_told_and_it_ends("INT");
}

#[test]
fn a_running_transaction_ends_with_250_first() {
    let place = Place::new();
    let mut server = Binary::serve(&place, &config(""));
    let mut data = server.client();
    data.begin(&["ann@mx.test"]);
    data.send(b"Subject: x\r\n");
    let mut rcpt = server.client();
    rcpt.expect("MAIL FROM:<>", "250 2.1.0 ");
    server.signal("TERM");
    server.wait_for(&["stopping sessions=2"]);
    // An idle session that would come now is refused by the kernel, and these two go on.
    rcpt.expect("RCPT TO:<ann@mx.test>", "250 2.1.5 ");
    data.send(b"\r\nHello.\r\n.\r\n");
    let reply = data.reply();
    assert!(reply.starts_with("250 2.0.0 Ok: queued as "), "{reply}");
    data.expect_last("421 4.3.2 ");
    rcpt.expect("DATA", "354 ");
    rcpt.send(&stuffed(MAIL));
    assert!(rcpt.reply().starts_with("250 2.0.0 "));
    rcpt.expect_last("421 4.3.2 ");
    drop((data, rcpt));
    assert_eq!(server.wait_end(PROMPTLY).code(), Some(0));
    assert_eq!(place.mail("ann").len(), 2);
}

#[test]
fn a_stalled_transaction_waits_for_timeout_shutdown_only() {
    let place = Place::new();
    let mut server = Binary::serve(&place, &config("[timeout]\nshutdown = \"1s\""));
    let mut mail = server.client();
    mail.expect("MAIL FROM:<>", "250 2.1.0 ");
    let mut data = server.client();
    data.begin(&["ann@mx.test"]);
    data.send(b"half a li");
    let began = Instant::now();
    server.signal("TERM");
    data.expect_last("421 4.3.2 ");
    mail.expect_last("421 4.3.2 ");
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    drop((data, mail));
    assert_eq!(server.wait_end(PROMPTLY).code(), Some(0));
    assert!(place.mail("ann").is_empty());
    assert_no_drafts(&place);
}

#[test]
fn nobody_holds_up_the_end_for_long() {
    let place = Place::new();
    let mut server = Binary::serve(&place, &config("[timeout]\nshutdown = \"1s\""));
    // It neither closes nor reads what it is told.
    let _stubborn = server.client();
    server.signal("TERM");
    assert_eq!(server.wait_end(PROMPTLY).code(), Some(0));
}

/// mx.test with a users file instead of any user.
fn listed(more: &str) -> String {
    config("").replace("any_user = true", "users = \"users\"") + more
}

#[test]
fn a_reload_is_for_new_sessions() {
    let place = Place::new();
    place.write("users", "ann:{PLAIN}x:::::\n");
    let server = Binary::serve(&place, &listed(""));
    let mut old = server.client();
    old.expect("MAIL FROM:<>", "250 ");
    old.expect("RCPT TO:<bob@mx.test>", "550 5.1.1 ");
    place.write("users", "bob:{PLAIN}x:::::\n");
    let domain = "[domain.\"new.test\"]\nmaildir = \"mail/new/{user}\"\nany_user = true";
    place.write("facteur.toml", listed(domain));
    server.signal("HUP");
    server.wait_for(&["reloaded config="]);
    let mut new = server.client();
    new.delivered(&["bob@mx.test", "zoe@new.test"], MAIL);
    new.expect("MAIL FROM:<>", "250 ");
    new.expect("RCPT TO:<ann@mx.test>", "550 5.1.1 ");
    old.expect("RCPT TO:<bob@mx.test>", "550 5.1.1 ");
    old.expect("RCPT TO:<zoe@new.test>", "550 5.7.1 ");
    old.expect("RCPT TO:<ann@mx.test>", "250 2.1.5 ");
    assert_eq!(place.mail("bob").len() + files(&place.at("mail/new/zoe/new")).len(), 2);
    drop((old, new));
    server.stop();
}

/// While one domain is served, a name without its domain is enough; the reload that ends that says so.
#[test]
fn a_reload_that_ends_bare_names_is_told() {
    let place = Place::new();
    place.write("users", "ann:{PLAIN}secret:::::\n");
    Pair::of(&["mx.test"]).write(&place);
    let submissions = "[listen]\nsubmissions = [\"127.0.0.1:0\"]";
    let config = |more: &str| listed(&format!("{more}\n{TLS}")).replace("[listen]", submissions);
    let second = "[domain.\"b.test\"]\nmaildir = \"mail/b/{user}\"\n";
    let server = Binary::serve(&place, &config(""));
    let line = server.wait_for(&["listening service=submissions "]);
    let address = value(&line, "address").unwrap().parse().unwrap();
    let log_in = || {
        let mut client = Client::connect_tls(address, &secrecy::client());
        client.reply();
        client.expect("EHLO client.test", "250");
        // ann, secret
        client.ask("AUTH PLAIN AGFubgBzZWNyZXQ=")
    };
    assert!(log_in().starts_with("235 "));
    place.write("facteur.toml", config(second));
    server.signal("HUP");
    server.wait_for(&["warning ", "(mx.test, b.test)", "logs in by the whole address alone"]);
    server.wait_for(&["reloaded config="]);
    assert!(log_in().starts_with("535 "));
    server.stop();
}

#[test]
fn a_broken_reload_keeps_what_there_was() {
    let place = Place::new();
    place.write("users", "ann:{PLAIN}x:::::\n");
    let server = Binary::serve(&place, &listed(""));
    place.write("facteur.toml", listed("[limit]\nbogus = 1"));
    server.signal("HUP");
    server.wait_for(&["reload-failed reason=", "facteur.toml:", "bogus"]);
    server.client().delivered(&["ann@mx.test"], MAIL);
    // The configuration is good again, but a file that it names is gone.
    place.write("facteur.toml", listed("[domain.\"new.test\"]\nusers = \"gone\""));
    server.signal("HUP");
    server.wait_for(&["reload-failed reason=", "gone"]);
    server.client().delivered(&["ann@mx.test"], MAIL);
    // A bad line spoils only itself.
    place.write("users", "ann:{PLAIN}x:::::\nno colon\nbob:{PLAIN}x:::::\n");
    place.write("facteur.toml", listed(""));
    server.signal("HUP");
    server.wait_for(&["reloaded config="]);
    server.wait_for(&["warning what=", "users:2: "]);
    server.client().delivered(&["ann@mx.test", "bob@mx.test"], MAIL);
    server.stop();
}

#[test]
fn what_only_a_restart_changes_is_named_and_kept() {
    let place = Place::new();
    let server = Binary::serve(&place, &config(""));
    let changed = config("").replace("127.0.0.1:0", "127.0.0.2:0");
    let changed = changed.replace("spool = \"spool\"", "spool = \"moved\"\nrun_as = \"nobody\"");
    place.write("facteur.toml", changed);
    server.signal("HUP");
    for key in ["listen", "spool", "run_as"] {
        server.wait_for(&["warning what=", &format!("\"{key} changed"), "restart"]);
    }
    server.wait_for(&["reloaded config="]);
    let large = format!("Subject: x\r\n\r\n{}", "spilled\r\n".repeat(20_000));
    server.client().delivered(&["ann@mx.test"], large.as_bytes());
    assert!(!place.at("moved").exists());
    server.stop();
}

#[test]
fn a_restart_keeps_all_mail() {
    let place = Place::new();
    for count in 1..=3 {
        let server = Binary::serve(&place, &config(""));
        server.client().delivered(&["ann@mx.test"], MAIL);
        server.stop();
        assert_eq!(place.mail("ann").len(), count);
    }
    assert!(place.mail("ann").iter().all(|mail| text(mail).ends_with("\n\nHello.\n")));
}

#[test]
fn a_kill_inside_a_message_leaves_no_mail() {
    let place = Place::new();
    let mut server = Binary::serve(&place, &config(""));
    server.client().delivered(&["ann@mx.test"], MAIL);
    let (mut small, mut large) = (server.client(), server.client());
    small.begin(&["ann@mx.test"]);
    small.send(b"Subject: never\r\n\r\nHello.\r\n.\r");
    large.begin(&["ann@mx.test", "bob@mx.test"]);
    large.send("Subject: never\r\n".repeat(20_000).as_bytes());
    server.signal("KILL");
    assert_eq!(server.wait_end(PATIENCE).code(), None);
    assert_eq!((place.mail("ann").len(), place.mail("bob").len()), (1, 0));
    assert_no_drafts(&place);
    // It starts again, and what the client repeats comes once.
    let server = Binary::serve(&place, &config(""));
    server.client().delivered(&["ann@mx.test", "bob@mx.test"], MAIL);
    assert_eq!((place.mail("ann").len(), place.mail("bob").len()), (2, 1));
    server.stop();
}

/// The lock outlives its file.
#[test]
fn no_second_server_comes_in_when_the_lock_is_removed() {
    let place = Place::new();
    let server = Binary::serve(&place, &config(""));
    std::fs::remove_file(place.at("spool/lock")).unwrap();
    let mut second = std::process::Command::new(crate::servers::FACTEUR);
    let output = second.arg("-c").arg(place.at("facteur.toml")).arg("serve").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("another facteur serves from the spool"), "{said}");
    server.stop();
}
