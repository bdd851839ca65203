//! What a stranger passes before its mail is heard: lists of clients (DNSBL). Finds out and remembers; what
//! follows is policy.
//!
//! One [`Gates`] is shared by all sessions. What is not configured costs no question and no thread.

pub mod blocklists;
mod watch;

use crate::site::Current;
use crate::store::locked;
use blocklists::Blocklists;
use crossbeam_channel::Sender;
use std::io;
use std::sync::{Arc, Mutex};

/// All gates of a server.
#[derive(Default)]
pub struct Gates {
    pub lists: Blocklists,
    /// To the thread that looks after them; none where nothing needs that.
    watch: Mutex<Option<Sender<()>>>,
}

impl Gates {
    /// Begins to look after what the site configures, or looks anew: called at the start and after a reload.
    pub fn follow(self: &Arc<Gates>, current: &Arc<Current>) -> io::Result<()> {
        let mut watch = locked(&self.watch);
        match &*watch {
            // Full: it will look in any case.
            Some(sender) => drop(sender.try_send(())),
            None if current.bare().config.trust.blocklists.is_empty() => {}
            None => *watch = Some(watch::start(self.clone(), current.clone())?),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
