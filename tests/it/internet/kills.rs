//! Kills at any moment: what was accepted arrives, and only what was under way may arrive twice.

use super::{Net, listed, until_empty};
use crate::client::{Client, stuffed};
use crate::servers::Binary;
use crate::support::{Dice, Place, text};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

const ROUNDS: usize = 20;

/// Messages that each round brings in, when it lives so long.
const A_ROUND: usize = 25;

/// Sends as many as it can before the server dies; gives the numbers of those that were accepted.
fn send_some(client: &mut Client, next: &AtomicUsize) -> Vec<usize> {
    let mut accepted = Vec::new();
    for _ in 0..A_ROUND {
        let number = next.fetch_add(1, SeqCst);
        match send(client, number) {
            Some(true) => accepted.push(number),
            Some(false) => {}
            None => break,
        }
    }
    accepted
}

/// One message to all three hosts; none when the server is gone.
fn send(client: &mut Client, number: usize) -> Option<bool> {
    let commands = [
        "MAIL FROM:<>",
        "RCPT TO:<x@well.test>",
        "RCPT TO:<x@slow.test>",
        "RCPT TO:<x@mixed.test>",
        "DATA",
    ];
    for command in commands {
        client.try_send(format!("{command}\r\n").as_bytes()).ok()?;
        if client.reply().is_empty() {
            return None;
        }
    }
    let message = format!("Subject: number {number}.\r\n\r\nx\r\n");
    client.try_send(&stuffed(message.as_bytes())).ok()?;
    let reply = client.reply();
    (!reply.is_empty()).then(|| reply.starts_with("250 "))
}

#[test]
fn what_was_accepted_arrives() {
    let mixed = "RCPT*40: 250 2.1.5 ok\nRCPT*40: 450 4.2.0 later\nMAIL*300: 250 2.1.0 ok\n\
                 MAIL*20: 421 4.3.2 no\n.*30: 250 2.0.0 taken\n.*10: (close)\n.*30: 250 2.0.0 taken\n\
                 .*10: 451 4.3.0 later";
    let net = Net::new(&["", ".: (wait 25) | 250 2.0.0 taken", mixed]);
    net.dns.set("well.test A 127.0.0.2\nslow.test A 127.0.0.3\nmixed.test A 127.0.0.4");
    let (place, config) = (Place::new(), net.config("retry = [\"1s\"]", ""));
    let (mut dice, next, mut accepted) = (Dice::new(7), AtomicUsize::new(0), Vec::new());
    let began = Instant::now();
    for _ in 0..ROUNDS {
        let server = Binary::serve(&place, &config);
        let mut client = server.client();
        thread::scope(|scope| {
            let sender = scope.spawn(|| send_some(&mut client, &next));
            // A random moment, of no meaning.
            thread::sleep(Duration::from_millis(dice.below(250) as u64));
            server.signal("KILL");
            accepted.extend(sender.join().unwrap());
        });
    }
    let server = Binary::serve(&place, &config);
    until_empty(&place);
    assert!(listed(&place).is_empty());
    server.stop();
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    let mut doubles = 0;
    for (number, host) in net.hosts.iter().enumerate() {
        let mut got: HashMap<usize, usize> = HashMap::new();
        // One that was sent to nobody ends a transaction whose recipients were all refused.
        for mail in host.mail().into_iter().filter(|mail| !mail.to.is_empty()) {
            let text = text(&mail.octets);
            let number = text.split("number ").nth(1).unwrap().split('.').next().unwrap();
            *got.entry(number.parse().unwrap()).or_default() += 1;
        }
        let lost: Vec<_> = accepted.iter().filter(|number| !got.contains_key(number)).collect();
        assert!(lost.is_empty(), "host {number} never got {lost:?}");
        doubles += got.values().map(|count| count - 1).sum::<usize>();
    }
    // At most four connections to each host when a kill comes, each with one message.
    assert!(doubles <= ROUNDS * 3 * 4, "{doubles} doubles");
    assert!(accepted.len() > 50, "only {} were accepted", accepted.len());
}
