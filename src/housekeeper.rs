//! The housekeeping thread: looks through `tmp/` of Maildirs for what crashes left behind.
//!
//! At start in all Maildirs it can find and their folders for junk, then in those that get mail, each once an
//! hour at most. It
//! touches nothing that is younger than 36 hours and never holds up a delivery.

use crate::delivery::Visits;
use crate::event::{Event, tell};
use crate::route::existing_users;
use crate::site::Site;
use crate::store::disk::Disk;
use crate::store::maildir;
use crossbeam_channel::Receiver;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Works until all senders of `delivered` are gone. `site` is the one at start: Maildirs that a
/// reload brings are looked at when they get mail.
pub fn run(disk: &dyn Disk, site: &Site, delivered: &Receiver<PathBuf>) {
    for local in site.domains().filter(|local| local.config.lmtp.is_none()) {
        let listed = local.users.into_iter().flat_map(|u| u.names().map(str::to_owned));
        match existing_users(disk, local) {
            Ok(users) => users.chain(listed).for_each(|user| {
                let maildir = local.maildir(&user);
                look(disk, &maildir);
                look(disk, &maildir.join(site.junk()));
            }),
            Err(error) => tell(&Event::Warning { what: &error.to_string() }),
        }
    }
    let mut looked = Visits::default();
    while let Ok(maildir) = delivered.recv() {
        if looked.visit(&maildir) {
            look(disk, &maildir);
        }
    }
}

/// Cleans one Maildir. A failure is only logged: leftovers take room, and the next hour tries again.
fn look(disk: &dyn Disk, maildir: &Path) {
    match maildir::clean(disk, maildir, SystemTime::now()) {
        Ok(0) => {}
        Ok(files) => tell(&Event::Cleaned { maildir, files }),
        Err(error) => tell(&Event::Warning { what: &error.to_string() }),
    }
}
