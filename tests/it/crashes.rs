//! Ends that nobody has prepared, of everything at once: kills at any moment, and power cuts. What was
//! answered with 250 is there afterwards and whole, and nothing else is left behind.

mod cluster;
mod kills;
mod power;
mod volume;

use crate::client::{Client, stuffed};
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// What was sent and what was promised, by the number of the message.
#[derive(Default)]
pub struct Promises {
    next: AtomicUsize,
    kept: Mutex<Vec<usize>>,
}

impl Promises {
    /// Whose messages have numbers from that on.
    fn starting_at(first: usize) -> Promises {
        Promises { next: AtomicUsize::new(first), kept: Mutex::default() }
    }

    pub fn next(&self) -> usize {
        self.next.fetch_add(1, SeqCst)
    }

    pub fn promised(&self, number: usize) {
        self.kept.lock().unwrap().push(number);
    }

    pub fn all(&self) -> Vec<usize> {
        self.kept.lock().unwrap().clone()
    }

    /// Sends messages to all of these until the server is gone, or so many.
    fn send_some(&self, client: &mut Client, to: &[&str], most: usize) {
        for number in (0..most).map(|_| self.next()) {
            match send(client, to, number) {
                Some(true) => self.promised(number),
                Some(false) => {}
                None => return,
            }
        }
    }
}

/// The text of a message; now and then one that waits in a file of its own.
fn body(number: usize) -> String {
    let lines = if number % 9 == 8 { 8000 } else { 3 };
    format!("number {number}.\n{}the end of {number}.\n", "0123456789\n".repeat(lines))
}

/// The whole message, with CR LF.
fn letter(number: usize) -> Vec<u8> {
    format!("Subject: x\n\n{}", body(number)).replace('\n', "\r\n").into_bytes()
}

/// Which message this is. All of it has to be there.
fn number(message: &str) -> usize {
    let (_, text) = message.split_once("\n\nnumber ").unwrap_or_else(|| panic!("torn: {message}"));
    let number = text.split('.').next().unwrap().parse().unwrap();
    assert!(message.ends_with(&body(number)), "number {number} is torn");
    number
}

/// How often each message is there.
pub fn counted(messages: impl IntoIterator<Item = String>) -> HashMap<usize, usize> {
    let mut counts = HashMap::new();
    for message in messages {
        *counts.entry(number(&message)).or_default() += 1;
    }
    counts
}

/// One message to all of these; whether it was accepted, and none when the server is gone.
pub fn send(client: &mut Client, to: &[&str], number: usize) -> Option<bool> {
    let rcpt = to.iter().map(|to| format!("RCPT TO:<{to}>"));
    let commands = std::iter::once("MAIL FROM:<>".to_owned()).chain(rcpt);
    for command in commands.chain(["DATA".to_owned()]) {
        client.try_send(format!("{command}\r\n").as_bytes()).ok()?;
        if client.reply().is_empty() {
            return None;
        }
    }
    client.try_send(&stuffed(&letter(number))).ok()?;
    let reply = client.reply();
    (!reply.is_empty()).then(|| reply.starts_with("250 "))
}
