//! Users and aliases files that change under a running server: at the next connection, and never by
//! half.

use crate::servers::Binary;
use crate::support::{Place, config, until};
use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// mx.test with a users and an aliases file instead of any user.
fn listed() -> String {
    config("").replace("any_user = true", "users = \"users\"\naliases = \"aliases\"")
}

fn is_taken(server: &Binary, user: &str) -> bool {
    let mut client = server.client();
    client.expect("EHLO client.test", "250");
    client.expect("MAIL FROM:<>", "250");
    client.ask(&format!("RCPT TO:<{user}@mx.test>")).starts_with("250")
}

#[test]
fn a_change_holds_from_the_next_connection_on() {
    let place = Place::new();
    place.write("users", "ann:x\n");
    place.write("aliases", "team: ann\n");
    let server = Binary::serve(&place, &listed());
    assert!(!is_taken(&server, "bob") && is_taken(&server, "team"));
    place.write("users", "ann:x\nbob:x\n");
    assert!(is_taken(&server, "bob"));
    place.write("aliases", "staff: ann\n");
    assert!(is_taken(&server, "staff") && !is_taken(&server, "team"));
    server.wait_for(&["reloaded config=\"users and aliases\""]);
    server.stop();
}

#[test]
fn a_file_that_is_gone_keeps_its_users_until_it_is_back() {
    let place = Place::new();
    let users = place.write("users", "ann:x\n");
    place.write("aliases", "");
    let server = Binary::serve(&place, &listed());
    for round in 0..3 {
        fs::remove_file(&users).unwrap();
        assert!(is_taken(&server, "ann"), "round {round}");
        // By rename, as careful programs do: the inode, the size and the time are others.
        let user = format!("user{round}");
        place.write("users.new", format!("ann:x\n{user}:x\n"));
        fs::rename(place.at("users.new"), &users).unwrap();
        until("the new user is taken", || is_taken(&server, &user));
    }
    server.wait_for(&["reload-failed reason=", "users: expected a file that can be read"]);
    server.stop();
}

#[test]
fn a_file_that_is_written_in_place_refuses_nobody() {
    let place = Place::new();
    let many: String = (0..2000).map(|n| format!("user{n}:x\n")).collect();
    let users = place.write("users", &many);
    place.write("aliases", "");
    let server = Binary::serve(&place, &listed());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let mut file = fs::File::create(&users).unwrap(); // empty from here on
                many.as_bytes().chunks(64).for_each(|piece| file.write_all(piece).unwrap());
            }
        });
        let refused = (0..40).filter(|_| !is_taken(&server, "user1999")).count();
        done.store(true, Ordering::Relaxed);
        assert_eq!(refused, 0);
    });
    server.stop();
}

#[test]
fn a_byte_order_mark_hides_no_user() {
    let place = Place::new();
    place.write("users", "\u{feff}ann:x\n");
    place.write("aliases", "\u{feff}team: ann\n");
    let server = Binary::serve(&place, &listed());
    assert!(is_taken(&server, "ann") && is_taken(&server, "team"));
    server.stop();
}
