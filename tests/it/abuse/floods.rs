//! More than anybody needs: commands, recipients, octets without end, and clients that read no reply. The
//! server's memory stays what it was, and others are served.

use super::{MAIL, MIB, at_most, forget_peak, memory, say};
use crate::client::Client;
use crate::servers::Binary;
use crate::support::{PATIENCE, Place, config, until, within};
use facteur::limits::{IDLE_COMMANDS_MAX, RECIPIENTS_REFUSED_MAX};
use std::time::Instant;

/// What a flood may cost, in MiB: buffers of a session, and of the log.
const GROWTH: u64 = 8;

/// A server that has been at work, and its memory then.
fn warm(place: &Place, more: &str) -> (Binary, u64) {
    let server = Binary::serve(place, &config(more));
    server.client().delivered(&["ann@mx.test"], MAIL);
    forget_peak(server.pid());
    let before = memory(server.pid(), "VmHWM");
    (server, before)
}

/// The memory that something took at its peak.
fn grown(what: &str, server: &Binary, before: u64) {
    let grown = memory(server.pid(), "VmHWM").saturating_sub(before) / MIB;
    at_most(&format!("{what}: memory taken"), grown, GROWTH, "MiB");
}

/// So many times a command, a hundred at a time; how many were answered so before something else was said,
/// and that.
fn answered(client: &mut Client, command: &[u8], times: usize, good: &str) -> (usize, String) {
    let mut count = 0;
    while count < times {
        let _ = client.try_send(&command.repeat(100));
        for _ in 0..100 {
            let reply = client.reply();
            if !reply.starts_with(good) {
                return (count, reply);
            }
            count += 1;
        }
    }
    (count, String::new())
}

#[test]
fn a_hundred_thousand_recipients() {
    let place = Place::new();
    let (server, before) = warm(&place, "");
    let rcpt = b"RCPT TO:<ann+flood@mx.test>\r\n";
    let begin = || {
        let mut client = server.client();
        client.expect("MAIL FROM:<>", "250");
        assert_eq!(answered(&mut client, rcpt, 1000, "250 2.1.5 ").0, 1000);
        client
    };
    // Those that were taken get their message, whoever is too much.
    let mut client = begin();
    assert_eq!(answered(&mut client, rcpt, 4000, "452 4.5.3 ").0, 4000);
    client.expect("DATA", "354");
    client.send(b"Subject: x\r\n\r\n.\r\n");
    assert!(client.reply().starts_with("250 2.0.0 "));
    assert_eq!(place.mail("ann").len(), 2);

    let (mut client, began) = (begin(), Instant::now());
    let (refused, last) = answered(&mut client, rcpt, usize::MAX, "452 4.5.3 ");
    assert!(last.starts_with("421 4.7.0 too many recipients were refused"), "{last:?}");
    let (what, bound) =
        ("recipients past the limit: 452 before 421", RECIPIENTS_REFUSED_MAX as u64);
    at_most(what, refused as u64, bound, "recipients");
    let rate = refused as f64 / began.elapsed().as_secs_f64();
    say(&format!("recipients past the limit: {rate:.0} a second"));
    grown("recipients past the limit", &server, before);
    // What is refused for good counts as an error.
    let mut client = server.client();
    client.expect("MAIL FROM:<>", "250");
    let (refused, last) = answered(&mut client, b"RCPT TO:<x@far.test>\r\n", usize::MAX, "550 ");
    assert!(last.starts_with("421 4.7.0 "), "{last:?}");
    at_most("foreign recipients: 550 before 421", refused as u64, 20, "recipients");
    server.stop();
}

#[test]
fn a_million_noops() {
    let place = Place::new();
    let (server, before) = warm(&place, "");
    let mut client = server.client();
    let (count, last) = answered(&mut client, b"NOOP\r\n", 1_000_000, "250 ");
    assert!(last.starts_with("421 4.7.0 too many commands and no message"), "{last:?}");
    // EHLO was one of them.
    at_most(
        "1000000 NOOP: answered before 421 4.7.0",
        count as u64,
        IDLE_COMMANDS_MAX as u64,
        "NOOP",
    );
    let began = Instant::now();
    let mut count = 0;
    for _ in 0..50 {
        count += answered(&mut server.client(), b"NOOP\r\n", usize::MAX, "250 ").0;
    }
    let rate = count as f64 / began.elapsed().as_secs_f64();
    say(&format!("NOOP: {count} of 50 sessions, {rate:.0} a second"));
    grown("NOOP without end", &server, before);
    server.client().delivered(&["ann@mx.test"], MAIL);
    server.stop();
}

#[test]
fn nobody_reads_the_replies() {
    let place = Place::new();
    let (server, before) = warm(&place, "[timeout]\ncommand = \"1s\"");
    let mut client = server.client();
    client.send(b"MAIL FROM:<>\r\n");
    let commands = b"RCPT TO:<ann@mx.test>\r\n".repeat(50_000);
    let (began, mut sent) = (Instant::now(), 0);
    let ended = within(PATIENCE, || {
        sent += commands.len();
        client.try_send(&commands).is_err()
    });
    assert!(ended, "the server reads on and nobody takes its replies");
    let (sent, seconds) = (sent as u64 / 1_000_000, began.elapsed().as_secs());
    at_most(&format!("{sent} MB of commands, no reply read: ended after"), seconds, 20, "s");
    server.wait_for(&["disconnected ", "the client does not read"]);
    grown("no reply read", &server, before);
    server.client().delivered(&["ann@mx.test"], MAIL);
    server.stop();
}

const GIB: usize = 1 << 30;

/// Octets that never end a line; how many mebibytes were taken.
fn pour(client: &mut Client) -> u64 {
    let octets = vec![b'x'; 1 << 20];
    let poured = (0..GIB >> 20).take_while(|_| client.try_send(&octets).is_ok());
    poured.count() as u64
}

#[test]
fn a_line_without_end() {
    let place = Place::new();
    let (server, before) = warm(&place, "[limit]\nmessage_size = \"16MiB\"");
    let mut client = server.client();
    let began = Instant::now();
    let poured = pour(&mut client);
    client.send(b"\r\n");
    let reply = client.reply();
    assert!(reply.starts_with("500 5.5.2 line too long"), "{reply:?}");
    say(&format!("a command of {poured} MiB: 500 5.5.2 after {:.1?}", began.elapsed()));
    grown("a command without end", &server, before);
    client.delivered(&["ann@mx.test"], MAIL);

    client.begin(&["ann@mx.test"]);
    let poured = pour(&mut client);
    // Beside what the buffers of two sockets hold.
    at_most("a line of a message without end: taken before 421", poured, 96, "MiB");
    client.expect_last("421 4.3.4 ");
    let mut client = server.client();
    client.expect("MAIL FROM:<>", "250");
    client.expect("RCPT TO:<ann@mx.test>", "250");
    client.send(b"BDAT 1073741824 LAST\r\n");
    at_most("a chunk of 1 GiB: taken before 421", pour(&mut client), 96, "MiB");
    client.expect_last("421 4.3.4 ");
    grown("a message without end", &server, before);
    until("no draft is left", || crate::support::files(&place.at("spool/spill")).is_empty());
    server.client().delivered(&["ann@mx.test"], MAIL);
    server.stop();
}
