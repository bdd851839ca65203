//! Notices to the service manager that started us: ready, reloading, stopping (sd_notify(3)).
//!
//! Says nothing where no manager listens, and never waits for an answer. The socket is connected once, at
//! start, because later the sandbox forbids it.

use crate::limits::MANAGER_WAIT;
use nix::time::{ClockId, clock_gettime};
use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The socket to the service manager; none where none listens.
#[derive(Debug, Default)]
pub struct Manager(Option<UnixDatagram>);

impl Manager {
    /// Connects to `NOTIFY_SOCKET`: a path, or an abstract address behind `@`. Fails when it is set and
    /// cannot be connected to.
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

    /// Says that clients are served; after a reload, that it is over, done or failed.
    pub fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={}", status.replace(char::is_control, " ")));
    }

    /// Says that the configuration is being read again. The time shows the manager which READY answers it.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| {
            i128::from(now.tv_sec()) * 1_000_000 + i128::from(now.tv_nsec()) / 1000
        });
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
    }

    /// Says that no new clients are taken and running sessions end.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// A failure to send is ignored: it must not disturb the server.
    fn say(&self, words: &str) {
        if let Some(socket) = &self.0 {
            let _ = socket.send(words.as_bytes());
        }
    }
}
