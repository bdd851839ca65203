//! Daily reports on TLS to the domains that mail goes to (RFC 8460), where `relay.reports` is set: what each
//! connection came to is counted, and the counts of a day are sent in the hour after it.
//!
//! ```text
//! relay workers ─ TlsSession ─► tls-counts × 1 ─► spool/tls/2026-12-01     store::tally
//!                                 tls-reports × 1 ─► spool/tls/2026-12-01.1 ─► mail (spool/queue/), or HTTPS
//! ```
//!
//! No mail waits for either thread. A kill may take the counts of the last second, and let one report go twice, under
//! the same id. Reports are messages of ours that no policy keeps back, and about which nothing is counted or told.

mod gather;
mod send;
mod watch;

pub use send::{ReportFate, ReportSender, ReportStep, post, wishes};

use crate::handoff::Hints;
use crate::limits::reports::{TALLY_FLUSH, TALLY_WAITING};
use crate::net::pool::spawn_vital;
use crate::relay::TallyInput;
use crate::site::Current;
use crate::store::disk::Disk;
use crate::store::locked;
use crate::store::queue::Queue;
use crate::store::tally::TallyStore;
use crossbeam_channel::{Sender, bounded};
use gather::CountsGatherer;
use std::io;
use std::sync::{Arc, Mutex};
use watch::ReportWatch;

/// The reports of a server.
#[derive(Default)]
pub struct Reporting(Mutex<Option<ReportThreads>>);

/// The other ends of the threads.
struct ReportThreads {
    input: Arc<TallyInput>,
    /// Lets what was counted be written; answered when that is done.
    flush: Sender<Sender<()>>,
    /// Lets the sending thread look soon.
    calls: Sender<()>,
}

impl Reporting {
    /// Starts the threads where the site wants reports, once: at the start, and after a reload. Fails when the system
    /// grants no thread.
    pub fn follow(
        &self,
        current: &Arc<Current>,
        disk: &Arc<dyn Disk>,
        queue: &Queue,
        hints: &Hints,
    ) -> io::Result<()> {
        let mut threads = locked(&self.0);
        if let Some(threads) = &*threads {
            // Full: it will look in any case.
            let _ = threads.calls.try_send(());
            return Ok(());
        }
        let site = current.bare();
        if site.config.relay.reports.is_none() {
            return Ok(());
        }
        let store = Arc::new(TallyStore::new(disk.clone(), &site.config.spool));
        let (sender, sessions) = bounded(TALLY_WAITING);
        let (flush, flushes) = bounded(1);
        let (calls, called) = bounded(1);
        let input = Arc::new(TallyInput::new(sender));
        let gatherer = CountsGatherer::new(store.clone(), sessions, flushes, input.clone());
        spawn_vital("tls-counts", None, move || gatherer.run())?;
        let watch = ReportWatch::new(store, disk.clone(), queue.clone(), hints.clone());
        let current = current.clone();
        spawn_vital("tls-reports", None, move || watch.run(&current, &called))?;
        *threads = Some(ReportThreads { input, flush, calls });
        Ok(())
    }

    /// Where connections are told; none where no reports are sent.
    pub fn input(&self) -> Option<Arc<TallyInput>> {
        locked(&self.0).as_ref().map(|threads| threads.input.clone())
    }

    /// Waits until what was told before is in its file, [`TALLY_FLUSH`] at most.
    pub fn finish(&self) {
        let Some(flush) = locked(&self.0).as_ref().map(|threads| threads.flush.clone()) else {
            return;
        };
        let (done, written) = bounded(1);
        if flush.try_send(done).is_ok() {
            let _ = written.recv_timeout(TALLY_FLUSH);
        }
    }
}

#[cfg(test)]
mod tests;
