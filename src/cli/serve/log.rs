//! How log lines reach stderr: env_logger chooses and formats them, and a thread of its own writes them.
//!
//! No thread waits for the reader of the log (contract, "Log"): lines are put into a buffer bounded by
//! [`LOG_PENDING`]. When the reader takes nothing, a line waits for room until [`LOG_WAIT`] after the
//! buffer was full; then lines are lost at once, until there is room again. A line behind those that were
//! kept says how many were lost.
//!
//! A line is written at once. Only where line comes after line ([`LOG_TURNS`]) the thread lets them gather for
//! [`LOG_GATHER`]: one wake-up and one write for all that a busy moment says. A process that is killed takes the lines of
//! that time with it.
//!
//! The thread starts after the sandbox is closed, as all threads do. Until then each call of the log writes
//! the lines itself, waiting no longer than [`LOG_WAIT`].

use crate::event;
use crate::event::count::OTHERS;
use crate::limits::{LOG_GATHER, LOG_PENDING, LOG_TURNS, LOG_WAIT, LOG_WRITE};
use crate::net::pool::spawn_vital;
use crate::store::locked;
use env_logger::{Builder, Logger, Target};
use log::{Log, Metadata, Record};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::write;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The log of the process, to start its thread with.
pub struct LogHandle(Arc<LogLines>);

/// Makes this the log of the process. Only the first call has an effect.
pub fn start(mut builder: Builder) -> LogHandle {
    let lines = Arc::new(LogLines::to(Box::new(Stderr)));
    let logger = builder.target(Target::Pipe(Box::new(LogInput(lines.clone())))).build();
    log::set_max_level(logger.filter());
    let _ = log::set_boxed_logger(Box::new(ProcessLog { logger, lines: lines.clone() }));
    LogHandle(lines)
}

impl LogHandle {
    /// Starts the thread that writes. Fails when the system grants no thread.
    pub fn write_beside(&self) -> io::Result<()> {
        locked(&self.0.state).has_writer = true;
        let lines = self.0.clone();
        spawn_vital("log", None, move || lines.write_forever())
            .inspect_err(|_| locked(&self.0.state).has_writer = false)
    }
}

struct ProcessLog {
    logger: Logger,
    lines: Arc<LogLines>,
}

/// LogLines that wait to be written. `state` is never locked while something is written; where both are
/// locked, `out` is first.
struct LogLines {
    state: Mutex<LogState>,
    /// Signals a line to the thread that has none.
    arrived: Condvar,
    /// Signals that lines were taken or written.
    moved: Condvar,
    out: Mutex<Out>,
}

#[derive(Default)]
struct LogState {
    /// Whole lines that wait to be written.
    waiting: Vec<u8>,
    /// Since when there was no room; none while there is.
    full_since: Option<Instant>,
    /// LogLines that were lost and not reported yet.
    lost: u64,
    /// Whether a thread is writing lines that it took from here.
    is_writing: bool,
    /// Whether the thread of the log runs.
    has_writer: bool,
    /// Whether that thread waits for a line, and has to be woken for it.
    is_resting: bool,
}

/// The output, locked while writing.
struct Out {
    to: Box<dyn LogOutput>,
    /// Whether a line was begun and not ended.
    is_torn: bool,
    /// Whether the last try ended by its deadline: then the next one does not wait.
    is_stuck: bool,
}

/// A sink for octets: stderr, or a script in a test.
trait LogOutput: Send {
    /// Writes some octets. With a deadline, fails with `TimedOut` where nothing can be written before it.
    fn write(&mut self, octets: &[u8], deadline: Option<Instant>) -> io::Result<usize>;
}

/// Without std's lock on stderr, which a panic message may hold.
struct Stderr;

impl LogOutput for Stderr {
    fn write(&mut self, octets: &[u8], deadline: Option<Instant>) -> io::Result<usize> {
        let stderr = io::stderr();
        let Some(deadline) = deadline else {
            return match write(&stderr, octets) {
                // Another process that shares stderr has made it nonblocking; this thread may wait.
                Err(Errno::EAGAIN) => wait(&stderr, PollTimeout::NONE).map(|_| 0),
                Err(Errno::EINTR) => Ok(0),
                written => Ok(written?),
            };
        };
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up, so that it never spins through the last millisecond.
        let left = PollTimeout::try_from(left.as_millis().saturating_add(1));
        match wait(&stderr, left.unwrap_or(PollTimeout::ZERO))? {
            true => match write(&stderr, &octets[..octets.len().min(LOG_WRITE)]) {
                Err(Errno::EAGAIN | Errno::EINTR) => Ok(0),
                written => Ok(written?),
            },
            false => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Whether stderr can be written within that time; also true for an error, which writing then shows.
fn wait(stderr: &io::Stderr, time: PollTimeout) -> io::Result<bool> {
    match poll(&mut [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)], time) {
        Err(Errno::EINTR) => Ok(true),
        polled => Ok(polled? > 0),
    }
}

/// The end at which env_logger puts lines in.
struct LogInput(Arc<LogLines>);

impl Write for LogInput {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LogLines {
    fn to(to: Box<dyn LogOutput>) -> LogLines {
        let out = Mutex::new(Out { to, is_torn: false, is_stuck: false });
        let (state, arrived, moved) = Default::default();
        LogLines { state, arrived, moved, out }
    }

    /// Adds a line, or loses it.
    fn put(&self, line: &[u8]) {
        let mut state = locked(&self.state);
        while !state.waiting.is_empty() && state.waiting.len() + line.len() > LOG_PENDING {
            let deadline = *state.full_since.get_or_insert_with(Instant::now) + LOG_WAIT;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !state.has_writer {
                return state.count_lost(1);
            }
            state = wait_for(&self.moved, state, left);
        }
        state.waiting.extend_from_slice(line);
        if std::mem::take(&mut state.is_resting) {
            drop(state);
            self.arrived.notify_one();
        }
    }

    fn write_forever(&self) {
        let (mut turns, mut written) = (0, Instant::now());
        loop {
            let mut state = locked(&self.state);
            while state.waiting.is_empty() {
                state.is_resting = true;
                state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.is_resting = false;
            drop(state);
            turns = if written.elapsed() < LOG_GATHER { turns + 1 } else { 0 };
            if turns > LOG_TURNS {
                thread::sleep(LOG_GATHER);
            }
            self.write_waiting(None);
            written = Instant::now();
        }
    }

    /// Writes all lines that wait, and a line about those that were lost. With a deadline, the rest waits
    /// on.
    fn write_waiting(&self, deadline: Option<Instant>) {
        let mut out = locked(&self.out);
        let (mut taken, lost) = {
            let mut state = locked(&self.state);
            state.full_since = None;
            state.is_writing = true;
            (std::mem::take(&mut state.waiting), std::mem::take(&mut state.lost))
        };
        self.moved.notify_all();
        if lost > 0 {
            let words = format!(
                "{lost} lines of the log are lost here: nobody read it, or it could not be written"
            );
            taken.extend_from_slice(event::warning_line(&words).as_bytes());
        }
        let written = out.write(&taken, deadline);
        let mut state = locked(&self.state);
        if let Err((rest, error)) = written {
            let rest = &taken[rest..];
            match error.kind() {
                io::ErrorKind::TimedOut => drop(state.waiting.splice(0..0, rest.iter().copied())),
                _ => state.count_lost(rest.iter().filter(|octet| **octet == b'\n').count() as u64),
            }
        }
        state.is_writing = false;
        if state.waiting.is_empty() && taken.capacity() <= 2 * LOG_PENDING {
            taken.clear();
            state.waiting = taken; // keeps its capacity
        }
        drop(state);
        self.moved.notify_all();
    }

    /// Waits until all lines are written, no longer than [`LOG_WAIT`].
    fn finish(&self) {
        let deadline = Instant::now() + LOG_WAIT;
        let mut state = locked(&self.state);
        while state.has_writer && (state.is_writing || !state.waiting.is_empty()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = wait_for(&self.moved, state, left);
        }
    }
}

impl LogState {
    fn count_lost(&mut self, lines: u64) {
        self.lost += lines;
        OTHERS.add_some("log_lost", lines);
    }
}

impl Out {
    /// Writes octets. Fails with how many were written, and why no more.
    fn write(
        &mut self,
        octets: &[u8],
        deadline: Option<Instant>,
    ) -> Result<(), (usize, io::Error)> {
        let patience = if self.is_stuck { deadline.map(|_| Instant::now()) } else { deadline };
        let mut done = 0;
        while done < octets.len() {
            // The rest of a torn line is lost; the next line begins on a line of its own.
            let text = if self.is_torn && done == 0 { b"\n" } else { &octets[done..] };
            match self.to.write(text, patience) {
                Ok(count) if self.is_torn && done == 0 => self.is_torn = count == 0,
                Ok(count) => done += count,
                Err(error) => {
                    let is_late = error.kind() == io::ErrorKind::TimedOut;
                    self.is_stuck = is_late;
                    // After a timeout, writing goes on at the same place.
                    self.is_torn |= !is_late && done > 0 && octets[done - 1] != b'\n';
                    return Err((done, error));
                }
            }
        }
        self.is_stuck = false;
        Ok(())
    }
}

fn wait_for<'a>(
    condition: &Condvar,
    state: MutexGuard<'a, LogState>,
    time: Duration,
) -> MutexGuard<'a, LogState> {
    condition.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
}

impl Log for ProcessLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.logger.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        self.logger.log(record);
        if !locked(&self.lines.state).has_writer {
            self.lines.write_waiting(Some(Instant::now() + LOG_WAIT));
        }
    }

    /// Waits until all lines before are written, or the reader takes nothing: then the process may end.
    fn flush(&self) {
        self.lines.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
    use std::thread;

    /// Keeps each write. With a gate, each write reports that it has reached it, and waits until it may go
    /// on.
    struct Sheet(Sender<Vec<u8>>, Option<(Sender<()>, Receiver<()>)>);

    impl LogOutput for Sheet {
        fn write(&mut self, octets: &[u8], deadline: Option<Instant>) -> io::Result<usize> {
            if let Some((entered, gate)) = &self.1 {
                let _ = entered.send(());
                if deadline.is_some() {
                    gate.try_recv().map_err(|_| io::ErrorKind::TimedOut)?;
                }
                let _ = gate.recv();
            }
            let _ = self.0.send(octets.to_vec());
            Ok(octets.len())
        }
    }

    /// Takes as many octets as the script says, write by write; none: the disk is full.
    struct Script(Sender<Vec<u8>>, Receiver<Option<usize>>);

    impl LogOutput for Script {
        fn write(&mut self, octets: &[u8], _: Option<Instant>) -> io::Result<usize> {
            let Ok(Some(most)) = self.1.recv() else { return Err(Errno::ENOSPC.into()) };
            let taken = &octets[..octets.len().min(most)];
            let _ = self.0.send(taken.to_vec());
            Ok(taken.len())
        }
    }

    fn with_writer(to: impl LogOutput + 'static) -> Arc<LogLines> {
        let lines = Arc::new(LogLines::to(Box::new(to)));
        LogHandle(lines.clone()).write_beside().unwrap();
        lines
    }

    fn put(lines: &Arc<LogLines>, line: &str) {
        LogInput(lines.clone()).write_all(line.as_bytes()).unwrap();
    }

    fn all(written: &Receiver<Vec<u8>>) -> String {
        String::from_utf8(written.try_iter().flatten().collect()).unwrap()
    }

    #[test]
    fn every_line_of_many_threads_is_written_once_whole_and_in_order() {
        let (sender, written) = unbounded();
        let lines = with_writer(Sheet(sender, None));
        thread::scope(|scope| {
            for name in 0..8 {
                let lines = &lines;
                scope.spawn(move || (0..500).for_each(|n| put(lines, &format!("{name} {n}\n"))));
            }
        });
        lines.finish();
        let all = all(&written);
        for name in 0..8 {
            let own: Vec<_> =
                all.lines().filter_map(|l| l.strip_prefix(&format!("{name} "))).collect();
            assert!(own.iter().map(|n| n.parse::<u32>().unwrap()).eq(0..500), "{own:?}");
        }
        assert_eq!(all.lines().count(), 4000);
    }

    #[test]
    fn nobody_waits_longer_than_a_second_in_all_and_what_is_lost_is_told() {
        let (sender, written) = unbounded();
        let (leave, gate) = bounded(0);
        let (entered, at_the_gate) = unbounded();
        let lines = with_writer(Sheet(sender, Some((entered, gate))));
        put(&lines, "first\n");
        at_the_gate.recv().unwrap();
        put(&lines, &format!("{}\n", "x".repeat(LOG_PENDING - 1)));
        let began = Instant::now();
        (0..1000).for_each(|_| put(&lines, "lost\n"));
        let waited = began.elapsed();
        assert!(waited >= LOG_WAIT && waited < 2 * LOG_WAIT, "{waited:?}");
        // An ending process does not wait for its reader either.
        let began = Instant::now();
        lines.finish();
        assert!(began.elapsed() < 2 * LOG_WAIT);
        drop(leave); // from now on nobody waits at the gate
        lines.finish();
        put(&lines, "last\n");
        lines.finish();
        let all = all(&written);
        let told: Vec<&str> = all.lines().collect();
        assert!(told[0] == "first" && told[1].len() == LOG_PENDING - 1, "{}", told.len());
        assert!(
            told[2].starts_with("warning what=\"1000 lines of the log are lost here"),
            "{told:?}"
        );
        assert_eq!((told[3], told.len()), ("last", 4));
    }

    #[test]
    fn before_there_is_a_thread_what_is_late_waits_on() {
        let (sender, written) = unbounded();
        let (leave, gate) = unbounded();
        let (entered, _at_the_gate) = unbounded();
        let lines = Arc::new(LogLines::to(Box::new(Sheet(sender, Some((entered, gate))))));
        put(&lines, "first\n");
        lines.write_waiting(Some(Instant::now()));
        put(&lines, "second\n");
        assert!(written.is_empty());
        (0..2).for_each(|_| leave.send(()).unwrap());
        lines.write_waiting(Some(Instant::now()));
        assert_eq!(all(&written), "first\nsecond\n");
    }

    #[test]
    fn a_line_that_a_full_disk_has_torn_spoils_no_other() {
        let (sender, written) = unbounded();
        let (script, steps) = unbounded();
        let lines = Arc::new(LogLines::to(Box::new(Script(sender, steps))));
        for step in [Some(9), None, Some(1), Some(1000), Some(1000)] {
            script.send(step).unwrap();
        }
        put(&lines, "first\nsecond\nthird\n");
        lines.write_waiting(None);
        put(&lines, "fourth\n");
        lines.write_waiting(None);
        let all = all(&written);
        let told: Vec<&str> = all.lines().collect();
        assert_eq!(told[..3], ["first", "sec", "fourth"]);
        assert!(told[3].starts_with("warning what=\"2 lines of the log are lost"), "{told:?}");
    }
}
