//! What belongs to AUTH is never kept: neither a password nor what one could find it by.

use super::traced_with;
use crate::hosts::Host;
use crate::support::{Place, files, text};
use crate::tls::submission::{log_in, secured, serve_users};
use base64ct::{Base64, Encoding};

/// All that was written.
fn written(place: &Place) -> String {
    let paths = files(&place.at("spool/trace"));
    paths.iter().map(|path| text(&std::fs::read(path).unwrap())).collect()
}

fn session_of(reply: &str) -> String {
    reply.rsplit_once('[').unwrap().1.trim_end_matches(']').to_owned()
}

#[test]
fn no_secret_is_written_whatever_the_client_does() {
    let place = Place::new();
    let server = serve_users(&place, &Host::start(""), "");
    let secrets = ["pencil", "hunter2", "wrong-one"];
    let mut lines = Vec::new();
    for (mechanism, user, password) in [
        ("PLAIN", "bob@mx.test", "pencil"),
        ("LOGIN", "bob@mx.test", "pencil"),
        ("PLAIN", "bob@mx.test", "hunter2"),
        ("LOGIN", "bob@mx.test", "wrong-one"),
    ] {
        let mut client = secured(&server, "submission");
        log_in(&mut client, mechanism, user, password);
        client.expect("QUIT", "221");
    }
    // By lines of its own: typed in the wrong place, as a mechanism, twice, and cancelled.
    let mut client = secured(&server, "submission");
    for password in secrets {
        let plain = Base64::encode_string(format!("\0bob@mx.test\0{password}").as_bytes());
        let word = Base64::encode_string(password.as_bytes());
        client.ask(&format!("AUTH {plain}"));
        client.ask(&format!("AUTH NOSUCH {plain}"));
        client.ask(&word);
        client.expect("AUTH LOGIN", "334");
        client.expect("*", "501");
        lines.extend([plain, word]);
    }
    let denied =
        client.expect(&format!("AUTH PLAIN {}", Base64::encode_string(b"\0b\0hunter2")), "535");
    let told = traced_with(&place, &session_of(&denied), &["535"]);
    assert!(told.contains("C: AUTH PLAIN\n") && told.contains("C: AUTH (hidden)\n"), "{told}");
    server.stop();
    let written = written(&place);
    assert!(written.matches("authenticated ").count() == 2, "{written}");
    for secret in secrets.iter().map(|word| (*word).to_owned()).chain(lines) {
        let secret = secret.trim_end_matches('=');
        assert!(!written.contains(secret), "{secret}: {written}");
    }
    let encoded = Base64::encode_string(b"bob@mx.test");
    assert!(!written.contains(encoded.trim_end_matches('=')), "{written}");
}

#[test]
fn nothing_of_scram_is_written() {
    let place = Place::new();
    // Only where all entries can do it is it offered.
    let keys = |password| {
        use facteur::store::password::{Scheme, make};
        make(Scheme::ScramSha256, password).unwrap()
    };
    let server = serve_users(&place, &Host::start(""), "");
    let users = format!("ann:{}:::::\nbob:{}:::::\n", keys("pencil"), keys("eraser"));
    place.write("users", users);
    for (password, code) in [("pencil", "235"), ("hunter2", "535")] {
        crate::support::until("the users are read anew", || {
            let mut client = secured(&server, "submission");
            let offers = client.expect("EHLO client.test", "250");
            if !offers.contains("SCRAM-SHA-256") {
                return false;
            }
            let reply = log_in(&mut client, "SCRAM-SHA-256", "ann@mx.test", password);
            assert!(reply.starts_with(code), "{reply}");
            true
        });
    }
    server.stop();
    let written = written(&place);
    assert!(written.contains("AUTH SCRAM-SHA-256"), "{written}");
    // The client's nonce, what it is in base64, and what every challenge and answer begins with.
    for secret in ["fyko", "bixhPW", "biwsbj", "cj1", "Yz1", "dj1", "n,,"] {
        assert!(!written.contains(secret), "{secret}: {written}");
    }
    assert!(
        written.contains("334 (a question of AUTH)") && written.contains("(an answer of AUTH)")
    );
}
