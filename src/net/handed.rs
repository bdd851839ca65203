//! Listening sockets that a service manager opened and handed over (sd_listen_fds(3)), so that ports
//! below 1024 need no root here.
//!
//! Knows the sockets and their names; the caller decides which service each is for. A socket that is not
//! asked for stops the start.

use crate::limits::HANDED_MAX;
use listenfd::ListenFd;
use socket2::SockRef;
use std::env;
use std::net::{SocketAddr, TcpListener};

/// The sockets that were handed over and not taken yet.
#[derive(Debug, Default)]
pub struct Handed(Vec<One>);

#[derive(Debug)]
struct One {
    /// The number of the descriptor; the first is 3.
    number: usize,
    /// `FileDescriptorName=` of the unit; where there is none, the name of the unit.
    name: String,
    address: SocketAddr,
    socket: TcpListener,
}

/// The first descriptor that is handed over; before it come stdin, stdout and stderr.
const FIRST: usize = 3;

impl Handed {
    /// The sockets by `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES`; none when these are for another
    /// process. The variables are removed, so a second call finds none. Fails with what is wrong when one
    /// is no listening TCP socket.
    pub fn from_environment() -> Result<Handed, String> {
        let number = |name: &str| env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
        // With another id the variables may have been meant for the shell that started us.
        if number("LISTEN_PID") != Some(std::process::id() as usize) {
            return Ok(Handed::default());
        }
        let count = number("LISTEN_FDS").unwrap_or_default();
        if count > HANDED_MAX {
            let most = format!("LISTEN_FDS: expected at most {HANDED_MAX} sockets, found {count}");
            return Err(most);
        }
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').map(str::to_owned);
        // Removes the variables, so that no child process takes them for its own.
        let mut all = ListenFd::from_env();
        let mut handed = Vec::new();
        for index in 0..all.len() {
            let (number, name) = (FIRST + index, names.next().unwrap_or_default());
            let what =
                |why| format!("descriptor {number} {name:?}, handed over by LISTEN_FDS: {why}");
            let taken = all.take_tcp_listener(index).map_err(|error| what(error.to_string()))?;
            let Some(socket) = taken else { continue };
            let is_listening = SockRef::from(&socket).is_listener().unwrap_or(false);
            if !is_listening {
                return Err(what("it does not listen (Accept=no is needed)".to_owned()));
            }
            let address = socket.local_addr().map_err(|error| what(error.to_string()))?;
            handed.push(One { number, name, address, socket });
        }
        Ok(Handed(handed))
    }

    /// Takes the socket that listens on exactly that address.
    pub fn at(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let index = self.0.iter().position(|one| one.address == address)?;
        Some(self.0.remove(index).socket)
    }

    /// Takes all sockets of that name.
    pub fn called(&mut self, name: &str) -> Vec<(SocketAddr, TcpListener)> {
        let called = self.0.extract_if(.., |one| one.name == name);
        called.map(|one| (one.address, one.socket)).collect()
    }

    /// Fails when a socket is left: the service manager expects that it is served.
    pub fn finish(self) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some(One { number, name, address, .. }) => Err(format!(
                "descriptor {number} {name:?} was handed over listening on {address}, which is no \
                 address of [listen], and its name is none of smtp, submission, submissions, metrics"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed(names: &[&str]) -> (Handed, Vec<SocketAddr>) {
        let one = |(index, name): (usize, &&str)| {
            let socket = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = socket.local_addr().unwrap();
            One { number: FIRST + index, name: (*name).to_owned(), address, socket }
        };
        let all: Vec<One> = names.iter().enumerate().map(one).collect();
        let addresses = all.iter().map(|one| one.address).collect();
        (Handed(all), addresses)
    }

    #[test]
    fn each_is_taken_once_by_address_or_name() {
        let (mut all, addresses) = handed(&["facteur.socket", "smtp", "smtp", "other"]);
        let found = all.at(addresses[0]).unwrap();
        assert_eq!(found.local_addr().unwrap(), addresses[0]);
        assert!(all.at(addresses[0]).is_none());
        let named: Vec<_> = all.called("smtp").into_iter().map(|(address, _)| address).collect();
        assert_eq!(named, addresses[1..3]);
        assert!(all.called("smtp").is_empty());
        let why = all.finish().unwrap_err();
        assert!(
            why.starts_with("descriptor 6 \"other\" ") && why.contains(&addresses[3].to_string())
        );
        assert_eq!(Handed::default().finish(), Ok(()));
    }
}
