//! The thread that verifies passwords, one after the other: a thousand logins at once take the memory of
//! one, and one processor.
//!
//! Networks (an IPv4 address, or a /64) take turns: a network with many logins waits for its own ones, and
//! does not delay a network with few.

use crate::limits::{LOGIN_WAIT, LOGINS_WAITING, LOGINS_WAITING_ALL};
use crate::net::pool::spawn_vital;
use crate::net::registry::network;
use crate::store::locked;
use crate::store::password::Stored;
use crossbeam_channel::{Sender, bounded};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

/// The password was not verified: too many others wait, or there is no memory now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

struct HashJob {
    stored: Arc<Stored>,
    password: String,
    /// Takes the answer without blocking, also when its reader is gone.
    answer: Sender<Result<bool, Busy>>,
    /// When its reader stops waiting.
    until: Instant,
}

/// Logins that wait.
#[derive(Default)]
struct WaitingJobs {
    /// The jobs of each network, in the order they came; no network is kept without jobs.
    networks: HashMap<IpAddr, VecDeque<HashJob>>,
    /// Networks in the order of their turns, each once.
    turns: VecDeque<IpAddr>,
    /// How many jobs all networks have.
    count: usize,
    is_over: bool,
}

#[derive(Default)]
struct HashQueue {
    waiting: Mutex<WaitingJobs>,
    changed: Condvar,
}

/// The way to that thread, which ends when this is dropped.
pub(super) struct Hasher(Arc<HashQueue>);

impl Hasher {
    pub fn start() -> io::Result<Hasher> {
        let queue = Arc::new(HashQueue::default());
        let own = queue.clone();
        spawn_vital("passwords", None, move || {
            while let Some(HashJob { stored, password, answer, until }) = own.next() {
                if Instant::now() < until {
                    let _ = answer.send(stored.verify(&password).map_err(|_| Busy));
                }
            }
        })?;
        Ok(Hasher(queue))
    }

    /// Whether this password fits; waits for its turn.
    pub fn verify(
        &self,
        client: IpAddr,
        stored: Arc<Stored>,
        password: String,
    ) -> Result<bool, Busy> {
        let (answer, told) = bounded(1);
        let until = Instant::now() + LOGIN_WAIT;
        let job = HashJob { stored, password, answer, until };
        locked(&self.0.waiting).add(network(client), job)?;
        self.0.changed.notify_one();
        told.recv_deadline(until).unwrap_or(Err(Busy))
    }
}

impl Drop for Hasher {
    fn drop(&mut self) {
        locked(&self.0.waiting).is_over = true;
        self.0.changed.notify_all();
    }
}

impl HashQueue {
    /// Waits for a job; none when there will be no more.
    fn next(&self) -> Option<HashJob> {
        let mut waiting = locked(&self.waiting);
        loop {
            match waiting.take_job() {
                None if waiting.is_over => return None,
                None => {
                    let woken = self.changed.wait(waiting);
                    waiting = woken.unwrap_or_else(PoisonError::into_inner);
                }
                job => return job,
            }
        }
    }
}

impl WaitingJobs {
    /// Adds a job. Where there is no room, the network with the most jobs loses its last one, unless the
    /// newcomer's network would then have as many.
    fn add(&mut self, network: IpAddr, job: HashJob) -> Result<(), Busy> {
        let own = self.networks.get(&network).map_or(0, VecDeque::len);
        if own >= LOGINS_WAITING {
            return Err(Busy);
        }
        if self.count >= LOGINS_WAITING_ALL {
            let largest = self.networks.iter().max_by_key(|(_, jobs)| jobs.len());
            // With only one more than this network, the two would only change places.
            let (largest, _) = largest.filter(|(_, jobs)| jobs.len() > own + 1).ok_or(Busy)?;
            self.turn_away(*largest);
        }
        let jobs = self.networks.entry(network).or_default();
        if jobs.is_empty() {
            self.turns.push_back(network);
        }
        jobs.push_back(job);
        self.count += 1;
        Ok(())
    }

    /// Answers the last job of a network with [`Busy`].
    fn turn_away(&mut self, network: IpAddr) {
        if let Some(job) = self.networks.get_mut(&network).and_then(VecDeque::pop_back) {
            self.count -= 1;
            let _ = job.answer.send(Err(Busy));
        }
    }

    fn take_job(&mut self) -> Option<HashJob> {
        let network = self.turns.pop_front()?;
        let jobs = self.networks.get_mut(&network)?;
        let job = jobs.pop_front();
        match jobs.is_empty() {
            true => drop(self.networks.remove(&network)),
            false => self.turns.push_back(network),
        }
        self.count -= usize::from(job.is_some());
        job
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::password::{Scheme, make};
    use crossbeam_channel::Receiver;
    use std::net::Ipv4Addr;

    fn client(n: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, n).into()
    }

    /// A job with the receiver of its answer; its password serves as a name.
    fn job(password: &str) -> (HashJob, Receiver<Result<bool, Busy>>) {
        let stored = Arc::new(Stored::parse("{PLAIN}x").unwrap());
        let (answer, told) = bounded(1);
        let until = Instant::now() + LOGIN_WAIT;
        (HashJob { stored, password: password.to_owned(), answer, until }, told)
    }

    #[test]
    fn right_and_wrong() {
        let hasher = Hasher::start().unwrap();
        let stored = Arc::new(Stored::parse("{PLAIN}x").unwrap());
        assert_eq!(hasher.verify(client(1), stored.clone(), "x".to_owned()), Ok(true));
        assert_eq!(hasher.verify(client(1), stored.clone(), "y".to_owned()), Ok(false));
    }

    #[test]
    fn networks_take_turns() {
        let mut waiting = WaitingJobs::default();
        for (network, password) in
            [(1, "a1"), (1, "a2"), (1, "a3"), (2, "b1"), (2, "b2"), (3, "c1")]
        {
            waiting.add(client(network), job(password).0).unwrap();
        }
        let order: Vec<String> =
            std::iter::from_fn(|| waiting.take_job()).map(|job| job.password).collect();
        assert_eq!(order, ["a1", "b1", "c1", "a2", "b2", "a3"]);
        assert!(waiting.count == 0 && waiting.networks.is_empty());
    }

    #[test]
    fn who_fills_the_queue_makes_room_for_others() {
        let mut waiting = WaitingJobs::default();
        let mut told = Vec::new();
        let mut add = |waiting: &mut WaitingJobs, network| {
            let (job, answer) = job("x");
            told.push(answer);
            waiting.add(client(network), job)
        };
        let networks = (LOGINS_WAITING_ALL / LOGINS_WAITING) as u8;
        for network in 1..=networks {
            assert!((0..LOGINS_WAITING).all(|_| add(&mut waiting, network).is_ok()));
            // No network has more than its share.
            assert_eq!(add(&mut waiting, network), Err(Busy));
        }
        // Each newcomer takes the place of the last job of the network with the most jobs.
        for network in 100..110 {
            assert_eq!(add(&mut waiting, network), Ok(()));
        }
        assert_eq!(waiting.count, LOGINS_WAITING_ALL);
        // Only until all networks have as many.
        let added = (0..LOGINS_WAITING).filter(|_| add(&mut waiting, 100).is_ok()).count() + 1;
        let most = waiting.networks.values().map(VecDeque::len).max().unwrap();
        assert!(added.abs_diff(most) <= 1, "{added} {most}");
        let busy = told.iter().filter(|answer| answer.try_recv() == Ok(Err(Busy))).count();
        assert_eq!((busy, waiting.count), (10 + added - 1, LOGINS_WAITING_ALL));
    }

    #[test]
    fn many_at_once_are_told_in_turn() {
        let hasher = Hasher::start().unwrap();
        let stored = make(Scheme::Argon2id, "x").unwrap();
        let stored = Arc::new(Stored::parse(&stored).unwrap());
        std::thread::scope(|scope| {
            let ask = |password: &'static str| {
                let (hasher, stored) = (&hasher, stored.clone());
                scope.spawn(move || hasher.verify(client(1), stored, password.to_owned()))
            };
            let asked = [ask("x"), ask("y"), ask("x")];
            let told = asked.map(|thread| thread.join().unwrap());
            assert_eq!(told, [Ok(true), Ok(false), Ok(true)]);
        });
    }
}
