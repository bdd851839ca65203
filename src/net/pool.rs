//! Threads for connections: one for each, kept for a moment after its end. The caller bounds their number.
//!
//! A job goes only to a thread that waits for one or was made for it, so no job waits for another.

use crate::event::{self, Event, tell};
use crate::limits::{SESSION_STACK, THREAD_KEEP};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// A pool of threads that run the same function on each job.
pub struct Pool<T> {
    jobs: Sender<T>,
    worker: Worker<T>,
}

struct Worker<T> {
    jobs: Receiver<T>,
    /// Threads that wait, less the jobs that are promised to them.
    idle: Arc<AtomicUsize>,
    work: Arc<dyn Fn(T) + Send + Sync>,
}

impl<T: Send + 'static> Pool<T> {
    /// `work` must not panic.
    pub fn new(work: impl Fn(T) + Send + Sync + 'static) -> Pool<T> {
        // Room enough that a promised job never waits long for its thread.
        let (sender, jobs) = bounded(1024);
        Pool { jobs: sender, worker: Worker { jobs, idle: Arc::default(), work: Arc::new(work) } }
    }

    /// Runs a job in a thread. Fails with the job and the reason when the system grants no more threads.
    pub fn run(&self, job: T) -> Result<(), (T, io::Error)> {
        if !claim(&self.worker.idle) {
            let worker = self.worker.clone();
            let thread = thread::Builder::new().name("session".into()).stack_size(SESSION_STACK);
            if let Err(error) = thread.spawn(move || worker.run()) {
                return Err((job, error));
            }
        }
        // Never disconnected while `self.worker` lives.
        let _ = self.jobs.send(job);
        Ok(())
    }
}

impl<T> Clone for Worker<T> {
    fn clone(&self) -> Worker<T> {
        Worker { jobs: self.jobs.clone(), idle: self.idle.clone(), work: self.work.clone() }
    }
}

impl<T> Worker<T> {
    fn run(&self) {
        // The first job is for this thread.
        let mut next = self.jobs.recv().ok();
        while let Some(job) = next {
            (self.work)(job);
            self.idle.fetch_add(1, Ordering::AcqRel);
            next = match self.jobs.recv_timeout(THREAD_KEEP) {
                Ok(job) => Some(job),
                // Without work the thread ends, unless a job was promised to it in this moment.
                Err(_) if claim(&self.idle) => None,
                Err(_) => self.jobs.recv().ok(),
            };
        }
    }
}

fn claim(idle: &AtomicUsize) -> bool {
    idle.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1)).is_ok()
}

/// A thread that the server cannot do without: its panic ends the process, because the server could not
/// keep its promises without it. `stack` is in octets; without it, the system's default.
pub fn spawn_vital(
    name: &'static str,
    stack: Option<usize>,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let work = move || {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
            tell(&Event::Panicked { session: name, what: &panic_text(&*panic) });
            event::flush();
            std::process::exit(1);
        }
    };
    let builder = thread::Builder::new().name(name.to_owned());
    let builder = match stack {
        Some(stack) => builder.stack_size(stack),
        None => builder,
    };
    builder.spawn(work).map(drop)
}

/// The message of a panic.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}
