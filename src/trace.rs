//! The trace: the story of each message and session, as plain lines in files by day, which `facteur
//! trace` reads and anybody may grep.
//!
//! One thread writes what [`crate::event`] was told, in batches; no session waits for it. A line is `TIME
//! event key=value ...` as in the log. It is synced when nothing new comes for a second, and when the
//! server stops: a power cut may lose the last second. [`files`] keeps the files within `trace.keep` and
//! `trace.size`; [`search`] finds stories in them, [`telling`] shows what was found. Decides nothing about
//! mail.

pub mod digest;
pub mod files;
pub mod follow;
pub mod line;
pub mod search;
pub mod telling;

use crate::config::Trace;
use crate::event::count::OTHERS;
use crate::event::sink::{TraceRecord, TraceRecords};
use crate::event::warn;
use crate::limits::{TRACE_BATCH, TRACE_GATHER, TRACE_IDLE};
use crate::store::disk::{Disk, StoreError};
use crossbeam_channel::{RecvTimeoutError, Sender};
use files::StoryWriter;
use jiff::Timestamp;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

/// The thread that writes the trace.
pub struct TraceWriter {
    writer: StoryWriter,
    records: TraceRecords,
    /// Lines that are not written yet, and of how many records.
    batch: String,
    count: u64,
    /// Whether something was written that is not synced.
    is_dirty: bool,
    /// Whether the last write failed; told once, not for each batch while a disk is full.
    is_failing: bool,
}

impl TraceWriter {
    /// Writes into this directory, which is made when there is something to write. `limits` gives
    /// `trace.keep` and `trace.size` as they are now.
    pub fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        records: TraceRecords,
        limits: impl Fn() -> Trace + Send + 'static,
    ) -> TraceWriter {
        let writer = StoryWriter::new(disk, dir, Box::new(limits));
        let batch = String::with_capacity(2 * TRACE_BATCH);
        TraceWriter { writer, records, batch, count: 0, is_dirty: false, is_failing: false }
    }

    /// Writes until it is told to stop, or no sender of records is left.
    pub fn run(mut self) {
        loop {
            match self.records.next(TRACE_IDLE) {
                Err(RecvTimeoutError::Timeout) => self.rest(),
                Err(RecvTimeoutError::Disconnected) => return self.rest(),
                Ok(first) => {
                    // Fewer and larger writes, and one wake-up for many records.
                    thread::sleep(TRACE_GATHER);
                    if let Some(done) = self.write_all(first) {
                        self.rest();
                        let _ = done.send(());
                        return;
                    }
                }
            }
        }
    }

    /// Writes this record and all that wait behind it. Some after [`TraceRecord::Stop`]: there the end is
    /// reported.
    fn write_all(&mut self, first: TraceRecord) -> Option<Sender<()>> {
        let mut next = Some(first);
        while let Some(record) = next {
            if let TraceRecord::Stop(done) = record {
                self.flush();
                return Some(done);
            }
            record.write_to(&mut self.batch);
            self.count += 1;
            if self.batch.len() >= TRACE_BATCH {
                self.flush();
            }
            next = self.records.more();
        }
        self.flush();
        None
    }

    fn flush(&mut self) {
        let now = Timestamp::now();
        let lost = self.records.take_lost();
        if lost > 0 {
            // Writing to a String cannot fail.
            let _ = writeln!(self.batch, "{now:.6} lost records={lost}");
        }
        if self.batch.is_empty() {
            return;
        }
        let written = self.writer.append(self.batch.as_bytes(), now);
        self.is_dirty |= written.is_ok();
        if written.is_err() {
            // Records that found no room in the channel were counted before.
            OTHERS.add_some("lost", self.count);
            self.records.count_lost(self.count + lost);
        }
        self.complain(written);
        self.count = 0;
        self.batch.clear();
    }

    /// For a moment without new records: writes, syncs and removes old files.
    fn rest(&mut self) {
        // Also tells what was lost when no record comes after it.
        self.flush();
        let synced = match std::mem::take(&mut self.is_dirty) {
            true => self.writer.sync(),
            false => Ok(()),
        };
        let looked = self.writer.look(Timestamp::now());
        if synced.is_err() || looked.is_err() {
            self.complain(synced.and(looked));
        }
    }

    fn complain(&mut self, result: Result<(), StoreError>) {
        let is_new = !std::mem::replace(&mut self.is_failing, result.is_err());
        if let Err(error) = result.as_ref()
            && is_new
        {
            warn(&format!("stories are lost: {error}"));
        }
    }
}

#[cfg(test)]
mod tests;
