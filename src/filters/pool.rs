//! What all sessions share of one filter: whether it rests, and connections that wait for the next client.

use crate::config::Milter;
use crate::limits::{FILTER_IDLE_MAX, FILTER_IDLE_TIME, FILTER_RENEW_WAIT, FILTER_REST};
use crate::net::milter::{AnswerTime, MilterConnection, Renewed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// One filter.
pub struct Filter {
    pub config: Milter,
    /// Never held while anything is waited for.
    pool: Mutex<FilterPool>,
}

#[derive(Default)]
struct FilterPool {
    rests_until: Option<Instant>,
    /// It has failed twice, and has not answered since.
    is_silent: bool,
    /// It does not know how a connection goes on with another client.
    keeps_none: bool,
    /// The one that is kept since the longest time first.
    idle: Vec<(Instant, MilterConnection)>,
}

impl Filter {
    pub fn new(config: Milter) -> Filter {
        Filter { config, pool: Mutex::default() }
    }

    /// How long the answer to a command is waited for, never past `last`.
    pub fn command_time(&self, last: Instant) -> AnswerTime {
        let renewed = self.config.timeout.command;
        AnswerTime { deadline: (Instant::now() + renewed).min(last), renewed, last }
    }

    /// How long all of a message is, never past `last`.
    pub fn message_time(&self, last: Instant) -> AnswerTime {
        let renewed = self.config.timeout.message;
        AnswerTime { deadline: (Instant::now() + renewed).min(last), renewed, last }
    }

    /// Whether it is left alone at this moment.
    pub fn is_resting(&self, now: Instant) -> bool {
        self.pool().rests_until.is_some_and(|until| now < until)
    }

    /// It has failed twice.
    pub fn rest(&self, now: Instant) {
        let idle = {
            let mut pool = self.pool();
            (pool.rests_until, pool.is_silent) = (Some(now + FILTER_REST), true);
            std::mem::take(&mut pool.idle)
        };
        // Closed without the lock.
        drop(idle);
    }

    /// It has answered.
    pub fn note_answer(&self) {
        self.pool().is_silent = false;
    }

    /// Whether it has failed twice and has not answered since: it rests, or nobody has asked it again.
    pub fn is_silent(&self) -> bool {
        self.pool().is_silent
    }

    /// A kept connection that goes on with another client. A filter that does not know how is not asked for it
    /// again.
    pub fn take_idle(&self) -> Option<MilterConnection> {
        loop {
            let (since, mut connection) = self.pool().idle.pop()?;
            if since.elapsed() >= FILTER_IDLE_TIME {
                continue;
            }
            match connection.renew(FILTER_RENEW_WAIT) {
                Renewed::Ready => return Some(connection),
                Renewed::Over => {}
                Renewed::Never => {
                    let idle = {
                        let mut pool = self.pool();
                        pool.keeps_none = true;
                        std::mem::take(&mut pool.idle)
                    };
                    drop(idle);
                }
            }
        }
    }

    /// Whether one more connection would be kept.
    pub fn has_room(&self) -> bool {
        let now = Instant::now();
        let old = {
            let mut pool = self.pool();
            let old = |(since, _): &(Instant, _)| now.duration_since(*since) >= FILTER_IDLE_TIME;
            let count = pool.idle.iter().take_while(|kept| old(kept)).count();
            pool.idle.drain(..count).collect::<Vec<_>>()
        };
        drop(old);
        let pool = self.pool();
        !pool.keeps_none && pool.idle.len() < FILTER_IDLE_MAX
    }

    /// Keeps a connection for the next client.
    pub fn keep(&self, connection: MilterConnection) {
        let mut pool = self.pool();
        if !pool.keeps_none && pool.idle.len() < FILTER_IDLE_MAX {
            pool.idle.push((Instant::now(), connection));
        }
    }

    fn pool(&self) -> MutexGuard<'_, FilterPool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
