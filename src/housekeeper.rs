//! The housekeeping thread: looks through `tmp/` of Maildirs for what crashes left behind, and does what has to be
//! done once a day.
//!
//! At start it looks in all Maildirs it can find and their folders for junk, then in those that get mail, each once
//! an hour at most. It
//! touches nothing that is younger than 36 hours and never holds up a delivery.

use crate::delivery::Visits;
use crate::event::{Event, tell};
use crate::limits::HOUSEKEEPING_LOOK;
use crate::route::existing_users;
use crate::site::Site;
use crate::store::disk::Disk;
use crate::store::maildir;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What is done once in a span of time by the clock of the wall, which counts on while the machine sleeps.
#[derive(Clone, Copy, Debug)]
pub struct Chore {
    every: Duration,
    last: SystemTime,
}

impl Chore {
    /// It was done just now.
    pub fn done(every: Duration, now: SystemTime) -> Chore {
        Chore { every, last: now }
    }

    /// True once in each span; then it counts as done. A clock that was set back begins a new span.
    pub fn take_turn(&mut self, now: SystemTime) -> bool {
        let since = now.duration_since(self.last);
        let is_due = since.as_ref().is_ok_and(|since| *since >= self.every);
        if is_due || since.is_err() {
            self.last = now;
        }
        is_due
    }
}

/// Works until all senders of `delivered` are gone. `site` is the one at start: Maildirs that a
/// reload brings are looked at when they get mail. `look_after` does what is due by the clock; it is called between
/// all else, and every [`HOUSEKEEPING_LOOK`].
pub fn run(
    disk: &dyn Disk,
    site: &Site,
    delivered: &Receiver<PathBuf>,
    mut look_after: impl FnMut(SystemTime),
) {
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
    loop {
        match delivered.recv_timeout(HOUSEKEEPING_LOOK) {
            Ok(maildir) if looked.visit(&maildir) => look(disk, &maildir),
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        look_after(SystemTime::now());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::DAY;

    #[test]
    fn a_chore_is_due_once_in_its_span_whatever_the_clock_does() {
        let start = SystemTime::UNIX_EPOCH + DAY * 30_000;
        let mut chore = Chore::done(DAY, start);
        let second = Duration::from_secs(1);
        for (now, is_due) in [
            (start, false),
            (start + DAY - second, false),
            (start + DAY, true),
            (start + DAY + second, false),
            (start + DAY * 2, true),
            // Asleep for a week.
            (start + DAY * 9, true),
            // The clock was a year ahead, and is set.
            (start + DAY * 374, true),
            (start + DAY * 10, false),
            (start + DAY * 11 - second, false),
            (start + DAY * 11, true),
        ] {
            assert_eq!(chore.take_turn(now), is_due, "{now:?}");
        }
    }
}
