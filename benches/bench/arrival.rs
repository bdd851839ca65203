//! Servers that say 250 before the mail is where it belongs: what they have taken counts when it is there.

use crate::load::{self, Case, Load};
use crate::samples::Sample;
use crate::{Outcome, audit};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant};

/// How long it may take until the last acknowledged message has arrived.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where mail arrives.
#[derive(Clone, Copy)]
pub struct Shelves<'a> {
    /// All mailboxes lie in it.
    pub mail: &'a Path,
    /// Where each has its messages.
    pub folder: &'a str,
}

/// Mail that has arrived.
pub struct Arrived<Cost> {
    pub load: Load,
    /// From the first message to the last that was there.
    pub took: Duration,
    /// The numbers of all that was acknowledged, also before the clock ran.
    pub sent: Vec<u64>,
    /// What had been spent before, and what afterwards.
    pub costs: [Cost; 2],
}

impl<Cost> Arrived<Cost> {
    pub fn count(&self) -> usize {
        self.load.waits.len()
    }

    /// Messages in a second.
    pub fn rate(&self) -> f64 {
        self.count() as f64 / self.took.as_secs_f64()
    }
}

/// Sends mail for a while, and waits until all of it has arrived.
pub fn watch<Cost>(
    address: SocketAddr,
    (case, mail): (&Case, &Sample),
    shelves: Shelves,
    time: Duration,
    cost: impl Fn() -> Outcome<Cost>,
) -> Outcome<Arrived<Cost>> {
    let numbers = AtomicU64::new(0);
    let mut sent = load::warm_up(address, case, mail, &numbers)?;
    // Processes are started, connections made.
    sent.extend(load::run(address, case, mail, time / 3, &numbers)?.acknowledged);
    wait_for(shelves, sent.len())?;
    let before = cost()?;
    let load = load::run(address, case, mail, time, &numbers)?;
    sent.extend_from_slice(&load.acknowledged);
    wait_for(shelves, sent.len())?;
    let took = load.began.elapsed();
    Ok(Arrived { load, took, sent, costs: [before, cost()?] })
}

/// Waits until so many messages are there.
fn wait_for(shelves: Shelves, expected: usize) -> Outcome<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let arrived = arrived(shelves)?;
        if arrived >= expected {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("{arrived} of {expected} messages have arrived").into());
        }
        // Seldom enough that it costs the servers nothing.
        thread::sleep(Duration::from_millis(20));
    }
}

fn arrived(shelves: Shelves) -> io::Result<usize> {
    let mut count = 0;
    for mailbox in fs::read_dir(shelves.mail)? {
        count += audit::messages(&mailbox?.path().join(shelves.folder))?.len();
    }
    Ok(count)
}
