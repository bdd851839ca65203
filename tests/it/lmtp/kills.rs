//! facteur killed while it hands mail on: each message comes once, or twice only where a reply was lost.

use super::{keeper, site};
use crate::client::Client;
use crate::internet::until_empty;
use crate::servers::Binary;
use crate::support::{Dice, Place, text};
use std::collections::HashMap;
use std::thread;
use std::time::Duration;

const MESSAGES: usize = 50;

#[test]
fn each_message_comes_once_or_twice_where_a_reply_was_lost() {
    // Slow at the dot, so that many a kill falls between the server's reply and ours.
    let (place, host) = (Place::new(), keeper(".: (wait 15) | 250 ok"));
    place.write("aliases", "");
    let site = site(&format!("inet:{}", host.address), "any_user = true", "")
        .replace("retry = [\"1h\"]", "retry = [\"1s\"]");
    let mut server = Binary::serve(&place, &site);
    let (mut dice, mut tries) = (Dice::new(20), HashMap::new());
    let mut number = 0;
    while number < MESSAGES {
        // Every second one has another copy, and so goes through the queue.
        let to: &[&str] = match number % 2 {
            0 => &["ann@kept.test"],
            _ => &["ann@kept.test", "dan@mx.test"],
        };
        *tries.entry(number).or_insert(0) += 1;
        let (address, message) = (server.address, format!("Subject: m{number}.\r\n\r\nx\r\n.\r\n"));
        let is_taken = thread::scope(|scope| {
            let client = scope.spawn(move || try_send(address, to, &message));
            let is_killed = dice.below(3) == 0;
            if is_killed {
                thread::sleep(Duration::from_millis(dice.below(40) as u64));
                server.signal("KILL");
                server.wait_end(crate::support::PATIENCE);
            }
            let is_taken = client.join().unwrap();
            if is_killed {
                server = Binary::serve(&place, &site);
            }
            is_taken
        });
        number += usize::from(is_taken);
    }
    until_empty(&place);
    let mail = host.mail();
    for number in 0..MESSAGES {
        let is_it = |octets: &[u8]| text(octets).contains(&format!("Subject: m{number}."));
        let came = mail.iter().filter(|mail| is_it(&mail.octets)).count();
        // A try that was not answered may have come, and one that a kill cut off in the queue goes once more.
        let most = 2 * tries[&number];
        assert!((1..=most).contains(&came), "m{number} came {came} times of {most}");
        if tries[&number] == 1 && number % 2 == 0 {
            assert_eq!(came, 1, "m{number}");
        }
        let copies = place.mail("dan").iter().filter(|octets| is_it(octets)).count();
        assert!(copies >= number % 2 && copies <= number % 2 * tries[&number], "m{number}");
    }
    server.stop();
}

/// Whether the message was answered with 250; no answer is none.
pub fn try_send(address: std::net::SocketAddr, to: &[&str], message: &str) -> bool {
    let Ok(stream) = std::net::TcpStream::connect(address) else { return false };
    let mut client = Client::of(stream);
    let time = crate::support::PATIENCE;
    let mut ask = |line: &str| {
        client.try_send(line.as_bytes()).ok()?;
        client.reply_within(time)
    };
    let mut said = vec!["", "EHLO c.test\r\n", "MAIL FROM:<x@y.test>\r\n"];
    let rcpt: Vec<String> = to.iter().map(|to| format!("RCPT TO:<{to}>\r\n")).collect();
    said.extend(rcpt.iter().map(String::as_str));
    said.extend(["DATA\r\n", message]);
    let last = said.into_iter().map(|line| ask(line)).last().flatten();
    last.is_some_and(|reply| reply.starts_with("250"))
}
