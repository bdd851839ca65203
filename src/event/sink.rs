//! The channel to the thread that writes the trace. Sending never waits: a record that finds no room is
//! lost and counted, and the trace tells the count in its place.

use super::count::OTHERS;
use super::talk::Talk;
use crate::limits::{TRACE_PENDING, TRACE_ROOM};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use jiff::Timestamp;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// An entry for the trace.
pub enum TraceRecord {
    /// An event as the log writes it, without its time.
    Line {
        when: Timestamp,
        text: String,
    },
    Talk(Box<Talk>),
    /// The end: answered when all records before are on disk.
    Stop(Sender<()>),
}

/// The end for senders.
pub struct Sink {
    sender: Sender<TraceRecord>,
    shared: Arc<SinkCounts>,
}

/// The end for the thread of the trace.
pub struct TraceRecords {
    receiver: Receiver<TraceRecord>,
    shared: Arc<SinkCounts>,
}

#[derive(Default)]
struct SinkCounts {
    /// Octets in the channel.
    pending: AtomicUsize,
    /// Records that were lost and not reported yet.
    lost: AtomicU64,
}

/// The sink of this process: like the log, the trace belongs to the process, not to a server.
static SINK: OnceLock<Sink> = OnceLock::new();

/// Makes this the sink of the process. Only the first call has an effect.
pub fn attach(sink: Sink) {
    let _ = SINK.set(sink);
}

/// The sink of the process, where there is a trace.
pub fn current() -> Option<&'static Sink> {
    SINK.get()
}

impl Sink {
    /// The two ends.
    pub fn new() -> (Sink, TraceRecords) {
        // Bounded in `offer`: a bounded channel would take the memory of all its places at once.
        let (sender, receiver) = unbounded();
        let shared = Arc::new(SinkCounts::default());
        (Sink { sender, shared: shared.clone() }, TraceRecords { receiver, shared })
    }

    /// Sends a record. Never waits; one that finds no room is counted.
    pub fn offer(&self, record: TraceRecord) {
        let SinkCounts { pending, lost } = &*self.shared;
        let size = record.size();
        // Relaxed, because the bounds need not be exact.
        let is_full = pending.fetch_add(size, Ordering::Relaxed) + size > TRACE_PENDING
            || self.sender.len() >= TRACE_ROOM;
        if is_full || self.sender.send(record).is_err() {
            pending.fetch_sub(size, Ordering::Relaxed);
            lost.fetch_add(1, Ordering::Relaxed);
            OTHERS.add("lost");
        }
    }

    /// Waits until all records before are on disk, no longer than `patience`.
    pub fn finish(&self, patience: Duration) {
        let (done, written) = bounded(1);
        if self.sender.send(TraceRecord::Stop(done)).is_ok() {
            let _ = written.recv_timeout(patience);
        }
    }
}

impl TraceRecords {
    /// The next record. Fails after `patience`, and at once when no sender is left.
    pub fn next(&self, patience: Duration) -> Result<TraceRecord, RecvTimeoutError> {
        self.receiver.recv_timeout(patience).map(|record| self.taken(record))
    }

    /// The next record, where one waits already.
    pub fn more(&self) -> Option<TraceRecord> {
        self.receiver.try_recv().ok().map(|record| self.taken(record))
    }

    /// Counts records that could not be written.
    pub fn count_lost(&self, records: u64) {
        self.shared.lost.fetch_add(records, Ordering::Relaxed);
    }

    /// Takes the number of lost records since the last call.
    pub fn take_lost(&self) -> u64 {
        self.shared.lost.swap(0, Ordering::Relaxed)
    }

    fn taken(&self, record: TraceRecord) -> TraceRecord {
        self.shared.pending.fetch_sub(record.size(), Ordering::Relaxed);
        record
    }
}

impl TraceRecord {
    /// Writes the lines of a record, each with its LF: `TIME event key=value ...`.
    pub fn write_to(&self, out: &mut String) {
        match self {
            TraceRecord::Line { when, text } => {
                // Writing to a String cannot fail.
                let _ = writeln!(out, "{when:.6} {text}");
            }
            TraceRecord::Talk(talk) => talk.write_to(out),
            TraceRecord::Stop(_) => {}
        }
    }

    fn size(&self) -> usize {
        match self {
            TraceRecord::Line { text, .. } => text.len(),
            TraceRecord::Talk(talk) => talk.memory(),
            TraceRecord::Stop(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(octets: usize) -> TraceRecord {
        TraceRecord::Line { when: Timestamp::UNIX_EPOCH, text: "x".repeat(octets) }
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let (sink, records) = Sink::new();
        for _ in 0..TRACE_ROOM + 10 {
            sink.offer(line(1));
        }
        assert_eq!((records.take_lost(), records.take_lost()), (10, 0));
        while records.more().is_some() {}
        // Few and long records.
        for _ in 0..10 {
            sink.offer(line(TRACE_PENDING / 4));
        }
        assert_eq!(records.take_lost(), 6);
        assert_eq!(std::iter::from_fn(|| records.more()).count(), 4);
        sink.offer(line(TRACE_PENDING));
        assert!(records.more().is_some() && records.take_lost() == 0, "the room is given back");
    }
}
