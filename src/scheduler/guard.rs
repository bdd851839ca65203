//! What others may know of a worker, and ask of it, while it works: whether it can be left behind when
//! the server stops, and whether it only waits for a host that does not answer.

use crate::net::stream::{self, TcpWire, Wire};
use crate::store::locked;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Shared by one worker and the scheduler. Marks and questions are in one order for all (SeqCst), so
/// that either the one sees the mark, or the other the question.
#[derive(Default)]
pub struct Guard {
    stopping: AtomicBool,
    committed: AtomicBool,
    /// A host is being called and has not greeted.
    calling: AtomicBool,
    /// Somebody else needs the thread more.
    recalled: AtomicBool,
    /// Of the host that is being called.
    stream: Mutex<Option<Arc<TcpStream>>>,
}

impl Guard {
    /// From now on nothing is committed any more; what is, is to be waited for.
    pub fn stop(&self) {
        self.stopping.store(true, SeqCst);
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(SeqCst)
    }

    /// Whether it does what should not be cut off.
    pub fn is_committed(&self) -> bool {
        self.committed.load(SeqCst)
    }

    /// About to do what should not be cut off; false when it is too late for that.
    pub fn commit(&self) -> bool {
        // A host that is sent a message has greeted, also where it was called anew in between; to end
        // that call would be to send the message twice.
        self.met();
        self.committed.store(true, SeqCst);
        !self.stopping.load(SeqCst)
    }

    /// A job begins.
    pub fn begin(&self) {
        self.recalled.store(false, SeqCst);
    }

    /// It was reported.
    pub fn end(&self) {
        self.committed.store(false, SeqCst);
    }

    /// Calls a host; [`Guard::met`] when it has greeted, or will not.
    pub fn dial(&self, address: SocketAddr, time: Duration) -> io::Result<Box<dyn Wire>> {
        self.calling.store(true, SeqCst);
        let stream = stream::connect(address, time, &|| self.is_recalled())?;
        *self.stream() = Some(stream.clone());
        Ok(Box::new(TcpWire::new(stream)))
    }

    /// The host has greeted, or the call is over.
    pub fn met(&self) {
        self.calling.store(false, SeqCst);
        *self.stream() = None;
    }

    /// Whether it waits for a host that has not greeted, and was not recalled.
    pub fn is_calling(&self) -> bool {
        self.calling.load(SeqCst) && !self.is_recalled()
    }

    /// Ends the call.
    pub fn recall(&self) {
        self.recalled.store(true, SeqCst);
        if let Some(stream) = self.stream().take() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub fn is_recalled(&self) -> bool {
        self.recalled.load(SeqCst)
    }

    fn stream(&self) -> std::sync::MutexGuard<'_, Option<Arc<TcpStream>>> {
        locked(&self.stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;
    use std::time::Instant;

    #[test]
    fn who_sends_a_message_is_not_called_back() {
        let time = Duration::from_secs(10);
        for is_sending in [false, true] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let guard = Guard::default();
            let mut wire = guard.dial(listener.local_addr().unwrap(), time).unwrap();
            let (mut host, _) = listener.accept().unwrap();
            assert!(guard.is_calling());
            assert!(!is_sending || guard.commit());
            assert_eq!(guard.is_calling(), !is_sending);
            // By a scheduler that had asked a moment before.
            guard.recall();
            assert_eq!(wire.write_all(b"x", Instant::now() + time).is_ok(), is_sending);
            drop(wire);
            let mut heard = Vec::new();
            host.read_to_end(&mut heard).unwrap();
            assert_eq!(heard == b"x", is_sending);
        }
    }
}
