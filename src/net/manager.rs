//! Words to the service manager that started us: ready, reloading, stopping (sd_notify(3)).
//!
//! Says nothing where nobody listens, and never waits for an answer. The socket is connected once, at
//! start: later the sandbox would not let it be.

use crate::limits::MANAGER_WAIT;
use nix::time::{ClockId, clock_gettime};
use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The way to the service manager; none where nobody waits for words.
#[derive(Debug, Default)]
pub struct Manager(Option<UnixDatagram>);

impl Manager {
    /// By `NOTIFY_SOCKET`: a path, or an abstract address behind `@`. Fails when it is set and nobody can
    /// be reached there.
    pub fn from_environment() -> io::Result<Manager> {
        let Some(name) = env::var_os("NOTIFY_SOCKET") else { return Ok(Manager::default()) };
        let address = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(&name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        socket.set_write_timeout(Some(MANAGER_WAIT))?;
        Ok(Manager(Some(socket)))
    }

    /// Clients are answered; after a reload: it is over, well or not.
    pub fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={}", status.replace(char::is_control, " ")));
    }

    /// The configuration is being read again. The time tells the manager which READY is the answer.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| {
            i128::from(now.tv_sec()) * 1_000_000 + i128::from(now.tv_nsec()) / 1000
        });
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
    }

    /// No new clients; those that are here come to their end.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// A manager that hears nothing is no reason to serve any worse.
    fn say(&self, words: &str) {
        if let Some(socket) = &self.0 {
            let _ = socket.send(words.as_bytes());
        }
    }
}
