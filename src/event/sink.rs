//! The way from whoever tells to the one thread that writes the trace: a channel that nobody ever
//! waits for, bounded by what may be put into it. What finds no room is lost and counted, and the
//! count is told in its place.

use super::count::OTHERS;
use super::talk::Talk;
use crate::limits::{TRACE_PENDING, TRACE_ROOM};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use jiff::Timestamp;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// One thing for the trace.
pub enum Record {
    /// An event, as the log has it, without its time.
    Line {
        when: Timestamp,
        text: String,
    },
    Talk(Box<Talk>),
    /// Nothing comes after this; sent back when all before it is on disk.
    Stop(Sender<()>),
}

/// Where records are offered.
pub struct Sink {
    sender: Sender<Record>,
    shared: Arc<Shared>,
}

/// The other end.
pub struct Records {
    receiver: Receiver<Record>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Octets on their way.
    pending: AtomicUsize,
    /// Records that found no room, or no disk, and were not told of yet.
    lost: AtomicU64,
}

/// That of this process, once there is one: like the log, a trace is of the process, not of a server.
static SINK: OnceLock<Sink> = OnceLock::new();

/// From now on all is told to this one as well; the first stays.
pub fn attach(sink: Sink) {
    let _ = SINK.set(sink);
}

/// Where to tell.
pub fn current() -> Option<&'static Sink> {
    SINK.get()
}

impl Sink {
    /// The two ends.
    pub fn new() -> (Sink, Records) {
        // Bounded by what is offered: a channel that is made with a bound takes the memory of all its
        // room at once, and no server at rest needs it.
        let (sender, receiver) = unbounded();
        let shared = Arc::new(Shared::default());
        (Sink { sender, shared: shared.clone() }, Records { receiver, shared })
    }

    /// Never waits: what finds no room is counted.
    pub fn offer(&self, record: Record) {
        let Shared { pending, lost } = &*self.shared;
        let size = record.size();
        // Relaxed: bounds that need not be met to the octet.
        let is_full = pending.fetch_add(size, Ordering::Relaxed) + size > TRACE_PENDING
            || self.sender.len() >= TRACE_ROOM;
        if is_full || self.sender.send(record).is_err() {
            pending.fetch_sub(size, Ordering::Relaxed);
            lost.fetch_add(1, Ordering::Relaxed);
            OTHERS.add("lost");
        }
    }

    /// Waits until all that was offered before is on disk, no longer than `patience`.
    pub fn finish(&self, patience: Duration) {
        let (done, written) = bounded(1);
        if self.sender.send(Record::Stop(done)).is_ok() {
            let _ = written.recv_timeout(patience);
        }
    }
}

impl Records {
    /// The next one; fails when that takes longer than `patience`, and at once when nobody is left.
    pub fn next(&self, patience: Duration) -> Result<Record, RecvTimeoutError> {
        self.receiver.recv_timeout(patience).map(|record| self.taken(record))
    }

    /// One that is there already.
    pub fn more(&self) -> Option<Record> {
        self.receiver.try_recv().ok().map(|record| self.taken(record))
    }

    /// These could not be written.
    pub fn lose(&self, records: u64) {
        self.shared.lost.fetch_add(records, Ordering::Relaxed);
    }

    /// Records that were lost since this was asked last.
    pub fn take_lost(&self) -> u64 {
        self.shared.lost.swap(0, Ordering::Relaxed)
    }

    fn taken(&self, record: Record) -> Record {
        self.shared.pending.fetch_sub(record.size(), Ordering::Relaxed);
        record
    }
}

impl Record {
    /// Writes its lines, each with its LF: `TIME event key=value ...`.
    pub fn write_to(&self, out: &mut String) {
        match self {
            Record::Line { when, text } => {
                // Writing to a String cannot fail.
                let _ = writeln!(out, "{when:.6} {text}");
            }
            Record::Talk(talk) => talk.write_to(out),
            Record::Stop(_) => {}
        }
    }

    fn size(&self) -> usize {
        match self {
            Record::Line { text, .. } => text.len(),
            Record::Talk(talk) => talk.memory(),
            Record::Stop(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(octets: usize) -> Record {
        Record::Line { when: Timestamp::UNIX_EPOCH, text: "x".repeat(octets) }
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let (sink, records) = Sink::new();
        for _ in 0..TRACE_ROOM + 10 {
            sink.offer(line(1));
        }
        assert_eq!((records.take_lost(), records.take_lost()), (10, 0));
        while records.more().is_some() {}
        // Few, and long.
        for _ in 0..10 {
            sink.offer(line(TRACE_PENDING / 4));
        }
        assert_eq!(records.take_lost(), 6);
        assert_eq!(std::iter::from_fn(|| records.more()).count(), 4);
        sink.offer(line(TRACE_PENDING));
        assert!(records.more().is_some() && records.take_lost() == 0, "the room is given back");
    }
}
