//! How log lines reach stderr: env_logger chooses and formats them, and whoever finds nobody else
//! writing writes all that wait.
//!
//! When a batch is delivered, fifty sessions wake up and each has two lines to tell. One after the
//! other behind one lock they would wait for each other's system call; so a line is put down, and the
//! one who is at it takes it along. What waits is bounded: past [`LOG_PENDING`] a line waits for room.

use crate::limits::LOG_PENDING;
use crate::store::locked;
use env_logger::{Builder, Logger, Target};
use log::{Log, Metadata, Record};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

/// Makes this the log of the process. There is one; a second changes nothing.
pub fn start(mut builder: Builder) {
    let lines = Arc::new(Lines::to(Box::new(io::stderr())));
    let logger = builder.target(Target::Pipe(Box::new(Tray(lines.clone())))).build();
    log::set_max_level(logger.filter());
    let _ = log::set_boxed_logger(Box::new(Together { logger, lines }));
}

struct Together {
    logger: Logger,
    lines: Arc<Lines>,
}

/// Whole lines. Each lock alone, or `out` and then `waiting`.
struct Lines {
    /// Not yet taken along.
    waiting: Mutex<Vec<u8>>,
    /// Held by who writes.
    out: Mutex<Out>,
}

struct Out {
    /// The room for what is being written.
    taken: Vec<u8>,
    to: Box<dyn Write + Send>,
}

/// Where env_logger puts lines down.
struct Tray(Arc<Lines>);

impl Write for Tray {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        locked(&self.0.waiting).extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn to(to: Box<dyn Write + Send>) -> Lines {
        Lines { waiting: Mutex::default(), out: Mutex::new(Out { taken: Vec::new(), to }) }
    }

    /// Returns when all lines are out, or somebody else is at it who will see to them.
    fn write_all(&self) {
        loop {
            self.write(match self.out.try_lock() {
                Ok(out) => out,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) if self.is_full() => locked(&self.out),
                Err(TryLockError::WouldBlock) => return,
            });
            // Only now: whoever found the lock taken has put his line down before that.
            if locked(&self.waiting).is_empty() {
                return;
            }
        }
    }

    /// Writes what waits, and lets go of the lock.
    fn write(&self, mut out: MutexGuard<'_, Out>) {
        let Out { taken, to } = &mut *out;
        std::mem::swap(taken, &mut *locked(&self.waiting));
        // Nobody is left to tell when stderr is gone.
        let _ = to.write_all(taken);
        taken.clear();
    }

    fn is_full(&self) -> bool {
        locked(&self.waiting).len() > LOG_PENDING
    }
}

impl Log for Together {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.logger.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        self.logger.log(record);
        self.lines.write_all();
    }

    /// All that was put down before is out when this returns: the process may end.
    fn flush(&self) {
        self.lines.write(locked(&self.lines.out));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
    use std::thread;

    /// What was written, one by one; where there is a gate each write says that it has come there, and
    /// waits for leave.
    struct Paper(Sender<Vec<u8>>, Option<(Sender<()>, Receiver<()>)>);

    impl Write for Paper {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            if let Some((entered, gate)) = &self.1 {
                let _ = entered.send(());
                let _ = gate.recv();
            }
            let _ = self.0.send(octets.to_vec());
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn put(lines: &Arc<Lines>, line: &str) {
        Tray(lines.clone()).write_all(line.as_bytes()).unwrap();
        lines.write_all();
    }

    #[test]
    fn every_line_of_many_threads_is_written_once_whole_and_in_order() {
        let (sender, written) = unbounded();
        let lines = Arc::new(Lines::to(Box::new(Paper(sender, None))));
        thread::scope(|scope| {
            for name in 0..8 {
                let lines = &lines;
                scope.spawn(move || (0..500).for_each(|n| put(lines, &format!("{name} {n}\n"))));
            }
        });
        let all = String::from_utf8(written.try_iter().flatten().collect()).unwrap();
        for name in 0..8 {
            let own: Vec<_> =
                all.lines().filter_map(|l| l.strip_prefix(&format!("{name} "))).collect();
            assert!(own.iter().map(|n| n.parse::<u32>().unwrap()).eq(0..500), "{own:?}");
        }
        assert_eq!(all.lines().count(), 4000);
    }

    #[test]
    fn nobody_waits_for_the_one_who_writes_before_much_waits() {
        let (sender, written) = unbounded();
        let (leave, gate) = bounded(0);
        let (entered, at_the_gate) = unbounded();
        let lines = Arc::new(Lines::to(Box::new(Paper(sender, Some((entered, gate))))));
        thread::scope(|scope| {
            let first = scope.spawn(|| put(&lines, "first\n"));
            at_the_gate.recv().unwrap();
            (0..10).for_each(|n| put(&lines, &format!("{n}\n")));
            let long = scope.spawn(|| put(&lines, &"x".repeat(LOG_PENDING)));
            while !lines.is_full() {
                thread::yield_now();
            }
            assert!(!long.is_finished() && !first.is_finished());
            // The process would end behind this: what was put down is out then.
            let together = Together { logger: Builder::new().build(), lines: lines.clone() };
            let end = scope.spawn(move || together.flush());
            drop(leave); // from now on nobody waits at the gate
            end.join().unwrap();
            let out: Vec<u8> = written.try_iter().flatten().collect();
            assert!(out.starts_with(b"first\n0\n1\n") && out.len() == 26 + LOG_PENDING);
        });
    }
}
