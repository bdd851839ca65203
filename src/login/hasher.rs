//! One thread that verifies passwords, one after the other: a thousand logins at once take the memory
//! of one, and one processor.

use crate::limits::{LOGIN_WAIT, LOGINS_WAITING};
use crate::net::pool::spawn_vital;
use crate::store::password::Stored;
use crossbeam_channel::{Sender, bounded};
use std::io;
use std::sync::Arc;

/// Nothing was decided: too many others wait, or there is no memory now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

struct Job {
    stored: Arc<Stored>,
    password: String,
    /// Has room for the answer; nobody may wait for it any more.
    answer: Sender<Result<bool, Busy>>,
}

/// The way to that thread, which ends with the last of these.
pub(super) struct Hasher(Sender<Job>);

impl Hasher {
    pub fn start() -> io::Result<Hasher> {
        let (jobs, waiting) = bounded::<Job>(LOGINS_WAITING);
        spawn_vital("passwords", None, move || {
            for Job { stored, password, answer } in waiting {
                let _ = answer.send(stored.verify(&password).map_err(|_| Busy));
            }
        })?;
        Ok(Hasher(jobs))
    }

    /// Waits for its turn.
    pub fn verify(&self, stored: Arc<Stored>, password: String) -> Result<bool, Busy> {
        let (answer, told) = bounded(1);
        // Full: whoever comes now would wait longer than his client does.
        self.0.try_send(Job { stored, password, answer }).map_err(|_| Busy)?;
        told.recv_timeout(LOGIN_WAIT).unwrap_or(Err(Busy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::password::{Scheme, make};

    #[test]
    fn right_wrong_and_full() {
        let hasher = Hasher::start().unwrap();
        let stored = Arc::new(Stored::parse("{PLAIN}x").unwrap());
        assert_eq!(hasher.verify(stored.clone(), "x".to_owned()), Ok(true));
        assert_eq!(hasher.verify(stored.clone(), "y".to_owned()), Ok(false));
        // Nobody takes jobs here, so that one more than there is room for finds none.
        let (jobs, waiting) = bounded(1);
        let hasher = Hasher(jobs);
        let (answer, _told) = bounded(1);
        let password = String::new();
        hasher.0.send(Job { stored: stored.clone(), password, answer }).unwrap();
        assert_eq!(hasher.verify(stored.clone(), "x".to_owned()), Err(Busy));
        drop(waiting);
        assert_eq!(hasher.verify(stored, "x".to_owned()), Err(Busy));
    }

    #[test]
    fn many_at_once_are_told_in_turn() {
        let hasher = Hasher::start().unwrap();
        let stored = make(Scheme::Argon2id, "x").unwrap();
        let stored = Arc::new(Stored::parse(&stored).unwrap());
        std::thread::scope(|scope| {
            let ask = |password: &'static str| {
                let (hasher, stored) = (&hasher, stored.clone());
                scope.spawn(move || hasher.verify(stored, password.to_owned()))
            };
            let asked = [ask("x"), ask("y"), ask("x")];
            let told = asked.map(|thread| thread.join().unwrap());
            assert_eq!(told, [Ok(true), Ok(false), Ok(true)]);
        });
    }
}
