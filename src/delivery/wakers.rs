//! The threads that delivery wakes with what it has done, after all sessions have their answers.

use crate::handoff::{Hint, Hints};
use crate::limits::{TMP_CHANNEL, TMP_LOOK};
use crate::store::entry::Entry;
use crate::store::locked;
use crossbeam_channel::Sender;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

/// The scheduler and the housekeeper, each woken by hints that may be lost.
pub struct Wakers {
    /// To the scheduler: messages that wait in the queue.
    queued: Hints,
    /// To the housekeeper: Maildirs that got mail.
    delivered: Sender<PathBuf>,
    told: Mutex<Visits>,
}

impl Wakers {
    /// `delivered` goes to the housekeeper, `queued` to the scheduler.
    pub fn new(delivered: Sender<PathBuf>, queued: Hints) -> Wakers {
        Wakers { queued, delivered, told: Mutex::default() }
    }

    /// Tells the scheduler what waits, and the housekeeper which Maildirs got mail, except those that it has visited
    /// lately.
    pub(super) fn tell(&self, answered: Answered) {
        if let Some(entry) = answered.queued {
            self.queued.send(Hint::New(entry));
        }
        let mut told = locked(&self.told);
        for maildir in answered.homes {
            // Only a hint: when the channel is full, mail of a later hour tells of it again.
            if told.visit(&maildir) {
                let _ = self.delivered.try_send(maildir);
            }
        }
    }
}

/// What a message that was answered leaves to be told.
#[derive(Default)]
pub(super) struct Answered {
    /// Its queue file, where it has one that the scheduler does not know.
    pub queued: Option<Box<Entry>>,
    /// The Maildirs, or folders, that got a copy.
    pub homes: Vec<PathBuf>,
}

/// The Maildirs visited within [`TMP_LOOK`].
#[derive(Default)]
pub struct Visits(HashMap<PathBuf, Instant>);

impl Visits {
    /// Notes a visit; false when the Maildir was visited within that time.
    pub fn visit(&mut self, maildir: &Path) -> bool {
        if self.0.get(maildir).is_some_and(|when| when.elapsed() < TMP_LOOK) {
            return false;
        }
        // A bound on memory; a Maildir that is forgotten is only looked at once more.
        if self.0.len() >= TMP_CHANNEL {
            self.0.clear();
        }
        self.0.insert(maildir.to_owned(), Instant::now());
        true
    }
}
