//! The thread that counts connections: it gathers them for a moment, and adds them to the file of the day.

use crate::event::warn;
use crate::limits::reports::{TALLY_GATHER, TALLY_UNWRITTEN_MAX};
use crate::mail::tls_report::counts::{TlsCounts, TlsSession};
use crate::mail::tls_report::day_of;
use crate::relay::TallyInput;
use crate::store::tally::TallyStore;
use crossbeam_channel::{Receiver, Sender, after, select};
use jiff::Timestamp;
use jiff::civil::Date;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The thread and what is not written yet.
pub(super) struct CountsGatherer {
    store: Arc<TallyStore>,
    sessions: Receiver<TlsSession>,
    /// Asks for a write at once, to be answered when it is done.
    flushes: Receiver<Sender<()>>,
    /// Knows how many found no room in the channel.
    input: Arc<TallyInput>,
    /// By the days on which they ended.
    unwritten: BTreeMap<Date, TlsCounts>,
    /// Whether the last write failed; told once, not each time while a disk is full.
    is_failing: bool,
}

/// The server is gone.
struct Gone;

impl CountsGatherer {
    pub fn new(
        store: Arc<TallyStore>,
        sessions: Receiver<TlsSession>,
        flushes: Receiver<Sender<()>>,
        input: Arc<TallyInput>,
    ) -> CountsGatherer {
        CountsGatherer {
            store,
            sessions,
            flushes,
            input,
            unwritten: BTreeMap::new(),
            is_failing: false,
        }
    }

    /// Works until the server is gone.
    pub fn run(mut self) {
        while let Ok(asked) = self.gather() {
            self.write();
            if let Some(done) = asked {
                // Nobody waits any more.
                let _ = done.send(());
            }
        }
    }

    /// Counts what comes, from the first one on for a moment; what was asked for by then comes first.
    fn gather(&mut self) -> Result<Option<Sender<()>>, Gone> {
        if self.unwritten.is_empty() {
            select! {
                recv(self.sessions) -> session => self.count(&session.map_err(|_| Gone)?),
                recv(self.flushes) -> asked => return self.all(asked.map_err(|_| Gone)?),
            }
        }
        let end = after(TALLY_GATHER);
        loop {
            select! {
                recv(self.sessions) -> session => self.count(&session.map_err(|_| Gone)?),
                recv(self.flushes) -> asked => return self.all(asked.map_err(|_| Gone)?),
                recv(end) -> _ => return Ok(None),
            }
        }
    }

    /// Counts all that waits.
    fn all(&mut self, asked: Sender<()>) -> Result<Option<Sender<()>>, Gone> {
        while let Ok(session) = self.sessions.try_recv() {
            self.count(&session);
        }
        Ok(Some(asked))
    }

    fn count(&mut self, session: &TlsSession) {
        self.today().add(session, 1);
    }

    fn today(&mut self) -> &mut TlsCounts {
        self.unwritten.entry(day_of(Timestamp::now())).or_default()
    }

    /// Adds to the files. What cannot be written now is tried again; while a disk stays full the oldest day goes.
    fn write(&mut self) {
        let lost = self.input.take_lost();
        if lost > 0 {
            self.today().leave_out(lost);
        }
        let mut failed = None;
        self.unwritten.retain(|day, counts| match self.store.add(*day, counts) {
            Ok(is_written) => !is_written,
            Err(error) => {
                failed = Some(error);
                true
            }
        });
        while self.unwritten.len() > TALLY_UNWRITTEN_MAX {
            self.unwritten.pop_first();
        }
        let is_new = !std::mem::replace(&mut self.is_failing, failed.is_some());
        if let Some(error) = failed.filter(|_| is_new) {
            warn(&format!("reports on TLS: connections are counted in memory alone: {error}"));
        }
    }
}
