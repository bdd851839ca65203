//! facteur killed while it hands mail on: each message comes once, or twice only where a reply was lost.

use super::{keeper, site};
use crate::client::Client;
use crate::internet::{queue, until_empty};
use crate::servers::Binary;
use crate::support::{Dice, Place, text};
use std::thread;
use std::time::{Duration, SystemTime};

/// Messages of each test with kills.
pub const MESSAGES: usize = 200;

/// Dice of this run alone; `FACTEUR_SEED` throws them once more.
pub fn dice() -> Dice {
    let given = std::env::var("FACTEUR_SEED").ok().map(|seed| seed.parse().unwrap());
    let clock = || SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos().into();
    let seed = given.unwrap_or_else(clock);
    println!("FACTEUR_SEED={seed}");
    Dice::new(seed)
}

/// For each message, by its number: how often it was begun, and how many replies kills can have cost.
pub struct Broken(Vec<[usize; 2]>);

impl Broken {
    pub fn new() -> Broken {
        Broken(Vec::new())
    }

    /// The client sends this message, maybe once more.
    pub fn begin(&mut self, number: usize) {
        self.0.resize(number + 1, [0; 2]);
        self.0[number][0] += 1;
    }

    pub fn begun(&self, number: usize) -> usize {
        self.0[number][0]
    }

    /// Somebody is about to be killed: that can cost a reply for the message that is being sent, and for each in the
    /// queue, where an earlier try of the same one may lie too.
    pub fn by_a_kill(&mut self, place: &Place) {
        let (queued, last) = (queue(place), self.0.len() - 1);
        for (number, [_, kills]) in self.0.iter_mut().enumerate() {
            let subject = format!("Subject: m{number}.");
            let waiting = queued.iter().filter(|it| it.contains(&subject)).count();
            *kills += waiting + usize::from(number == last);
        }
    }

    /// Whether that many copies are one, and one more at most for each reply that was lost.
    pub fn assert_times(&self, number: usize, copies: usize) {
        // A client without an answer begins anew.
        let [begun, kills] = self.0[number];
        let most = begun + kills;
        assert!((1..=most).contains(&copies), "m{number} came {copies} times, begun {begun}");
    }
}

#[test]
fn each_message_comes_once_or_twice_where_a_reply_was_lost() {
    // Slow at the dot, so that many a kill falls between the server's reply and ours.
    let (place, host) = (Place::new(), keeper(".: (wait 15) | 250 ok"));
    place.write("aliases", "");
    let site = site(&format!("inet:{}", host.address), "any_user = true", "")
        .replace("retry = [\"1h\"]", "retry = [\"1s\"]");
    let mut server = Binary::serve(&place, &site);
    let (mut dice, mut broken) = (dice(), Broken::new());
    let mut number = 0;
    while number < MESSAGES {
        // Every second one has another copy, and so goes through the queue.
        let to: &[&str] = match number % 2 {
            0 => &["ann@kept.test"],
            _ => &["ann@kept.test", "dan@mx.test"],
        };
        broken.begin(number);
        let (address, message) = (server.address, format!("Subject: m{number}.\r\n\r\nx\r\n.\r\n"));
        let is_taken = thread::scope(|scope| {
            let client = scope.spawn(move || try_send(address, to, &message));
            let is_killed = dice.below(3) == 0;
            if is_killed {
                thread::sleep(Duration::from_millis(dice.below(40) as u64));
                broken.by_a_kill(&place);
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
        broken.assert_times(number, came);
        // What was answered, and for ann alone, never lay in the queue.
        assert!(came == 1 || broken.begun(number) > 1 || number % 2 == 1, "m{number}");
        let copies = place.mail("dan").iter().filter(|octets| is_it(octets)).count();
        assert!(copies >= number % 2 && copies <= number % 2 * broken.begun(number), "m{number}");
    }
    server.stop();
}

/// Whether the message was answered with 250; no answer is none.
pub fn try_send(address: std::net::SocketAddr, to: &[&str], message: &str) -> bool {
    let Ok(stream) = std::net::TcpStream::connect(address) else { return false };
    let mut client = Client::of(stream);
    let time = crate::support::PATIENCE;
    let ask = |line: &str| {
        client.try_send(line.as_bytes()).ok()?;
        client.reply_within(time)
    };
    let mut said = vec!["", "EHLO c.test\r\n", "MAIL FROM:<x@y.test>\r\n"];
    let rcpt: Vec<String> = to.iter().map(|to| format!("RCPT TO:<{to}>\r\n")).collect();
    said.extend(rcpt.iter().map(String::as_str));
    said.extend(["DATA\r\n", message]);
    let last = said.into_iter().map(ask).last().flatten();
    last.is_some_and(|reply| reply.starts_with("250"))
}
