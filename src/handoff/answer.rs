//! The place where delivery puts the outcome of one message, and its session waits for it.
//!
//! One lock and one wake-up. A channel of crossbeam wakes the session while it still holds a lock that the session
//! needs, so that one of them sleeps once more for each message.

use super::Outcome;
use crate::store::locked;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

/// Delivery's end. Dropped without an outcome, the session hears that there is none.
pub struct OutcomeSender(Arc<Place>);

/// The session's end.
pub struct OutcomeReceiver(Arc<Place>);

/// Why there is no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoOutcome {
    /// Not yet.
    Late,
    /// There will be none: delivery has given the message up without a word.
    Never,
}

struct Place {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    outcome: Option<Outcome>,
    is_sender_gone: bool,
    is_receiver_gone: bool,
}

/// The two ends for one outcome.
pub fn outcome_place() -> (OutcomeSender, OutcomeReceiver) {
    let place = Arc::new(Place { state: Mutex::default(), changed: Condvar::new() });
    (OutcomeSender(place.clone()), OutcomeReceiver(place))
}

impl OutcomeSender {
    /// Never waits; false when nobody waits for it any more.
    pub fn send(self, outcome: Outcome) -> bool {
        let mut state = locked(&self.0.state);
        let is_awaited = !state.is_receiver_gone;
        state.outcome = Some(outcome).filter(|_| is_awaited);
        is_awaited // to be dropped wakes the session
    }
}

impl OutcomeReceiver {
    /// Waits asleep until the deadline: to begin with some turns awake is worth nothing beside a sync, and takes the
    /// processor from others.
    pub fn wait(&self, deadline: Instant) -> Result<Outcome, NoOutcome> {
        let mut state = locked(&self.0.state);
        loop {
            match state.outcome.take() {
                Some(outcome) => return Ok(outcome),
                None if state.is_sender_gone => return Err(NoOutcome::Never),
                None => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(NoOutcome::Late);
            }
            let woken = self.0.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for OutcomeSender {
    fn drop(&mut self) {
        locked(&self.0.state).is_sender_gone = true;
        self.0.changed.notify_one();
    }
}

impl Drop for OutcomeReceiver {
    fn drop(&mut self) {
        locked(&self.0.state).is_receiver_gone = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::time::Duration;

    fn taken() -> Outcome {
        Outcome::Taken { late: Vec::new() }
    }

    #[test]
    fn an_outcome_comes_before_or_after_the_session_waits() {
        let long = || Instant::now() + Duration::from_secs(60);
        let (sender, receiver) = outcome_place();
        assert!(sender.send(taken()));
        assert!(receiver.wait(long()).is_ok());
        assert_eq!(receiver.wait(long()).unwrap_err(), NoOutcome::Never);
        let (sender, receiver) = outcome_place();
        let waiting = thread::spawn(move || receiver.wait(long()).is_ok());
        assert!(sender.send(taken()) && waiting.join().unwrap());
    }

    #[test]
    fn each_end_hears_that_the_other_is_gone() {
        let (sender, receiver) = outcome_place();
        assert_eq!(receiver.wait(Instant::now()).unwrap_err(), NoOutcome::Late);
        let waiting = thread::spawn(move || {
            receiver.wait(Instant::now() + Duration::from_secs(60)).unwrap_err()
        });
        drop(sender);
        assert_eq!(waiting.join().unwrap(), NoOutcome::Never);
        let (sender, receiver) = outcome_place();
        drop(receiver);
        assert!(!sender.send(taken()));
    }
}
