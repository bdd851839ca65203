//! What a stranger passes before its mail is heard: lists of clients (DNSBL), and greylisting. Finds out and
//! remembers; what follows is policy.
//!
//! One [`Gates`] is shared by all sessions and attempts. What is not configured costs no question, no thread
//! and no file.

pub mod blocklists;
mod greylist;
mod watch;

use crate::mail::address::{Mailbox, ReversePath};
use crate::site::{Current, Site};
use crate::store::disk::Disk;
use crate::store::grey::{GreyAnswer, GreySource};
use crate::store::locked;
use blocklists::Blocklists;
use crossbeam_channel::Sender;
use greylist::OpenGreylist;
use std::io;
use std::sync::{Arc, Mutex};

/// All gates of a server.
#[derive(Default)]
pub struct Gates {
    pub lists: Blocklists,
    /// To the thread that tests the lists; none where there never were any.
    watch: Mutex<Option<Sender<()>>>,
    /// None where it was never configured.
    grey: Mutex<Option<Arc<OpenGreylist>>>,
}

impl Gates {
    /// Begins to look after what the site configures, or looks anew: called at the start and after a reload.
    pub fn follow(
        self: &Arc<Gates>,
        current: &Arc<Current>,
        disk: &Arc<dyn Disk>,
    ) -> io::Result<()> {
        let site = current.bare();
        let mut watch = locked(&self.watch);
        match &*watch {
            // Full: it will look in any case.
            Some(sender) => drop(sender.try_send(())),
            None if site.config.trust.blocklists.is_empty() => {}
            None => *watch = Some(watch::start(self, current.clone())?),
        }
        drop(watch);
        let is_open = locked(&self.grey).is_some();
        if let Some(config) = site.config.greylist.as_ref().filter(|_| !is_open) {
            let open = OpenGreylist::start(disk, current, config)?;
            *locked(&self.grey) = Some(Arc::new(open));
        }
        Ok(())
    }

    /// How a stranger fares that comes in the name of that sender; passes where there is no greylisting.
    pub fn attempt(&self, site: &Site, source: &GreySource<'_>, from: &ReversePath) -> GreyAnswer {
        let open = site.config.greylist.as_ref().zip(self.grey());
        open.map_or(GreyAnswer::Passes, |(config, grey)| grey.attempt(config, source, from))
    }

    /// A user of ours writes to these addresses elsewhere: what comes from there is known.
    pub fn written_to<'a>(&self, site: &Site, addresses: impl Iterator<Item = &'a Mailbox>) {
        if let Some((config, grey)) = site.config.greylist.as_ref().zip(self.grey()) {
            let elsewhere = addresses.filter(|address| site.local(&address.host).is_none());
            grey.written_to(config, elsewhere);
        }
    }

    fn grey(&self) -> Option<Arc<OpenGreylist>> {
        locked(&self.grey).clone()
    }
}

#[cfg(test)]
mod tests;
