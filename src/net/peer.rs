//! The user whose process is at the other end of a connection within this machine, and the processes that
//! listen on a port. The kernel's tables of TCP connections (`/proc/net/tcp`, proc(5)) list a client's own
//! socket with the user that made it.
//!
//! A server opens the tables once, before the sandbox closes, and reads them anew for each question. Where
//! they say nothing certain, no user is returned, and the caller has to refuse.

use crate::limits::PEERS_READ;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};

/// The tables of this process's network.
pub struct Peers {
    /// Behind a lock, because a file has only one read position.
    tables: Mutex<Vec<File>>,
}

/// The state in which a row names the user: a closed connection shows as root's.
const ESTABLISHED: u8 = 1;

/// The state of a socket that listens.
const LISTEN: u8 = 10;

/// The number that the kernel shows for a user of another user namespace: may be any user.
const OVERFLOW: u32 = 65534;

/// A row of the table: one end of a connection.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    here: SocketAddr,
    there: SocketAddr,
    state: u8,
    uid: u32,
    /// 0 for a socket that no process holds any more.
    inode: u64,
}

impl Peers {
    /// Opens the tables. Never fails; without a table no user is found later.
    pub fn open() -> Peers {
        Peers { tables: Mutex::new(tables().collect()) }
    }

    /// The user whose process holds the client's end; none for clients of other machines, and where it is
    /// not certain.
    pub fn uid(&self, client: SocketAddr, server: SocketAddr) -> Option<u32> {
        let (client, server) = (canonical(client), canonical(server));
        if !client.ip().is_loopback() {
            return None;
        }
        // Locked while reading, because two readers would move each other's position; this reads no disk.
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let found = tables.iter().find_map(|table| find(table, client, server).ok().flatten());
        found.map(|row| row.uid).filter(|uid| *uid != OVERFLOW)
    }
}

fn tables() -> impl Iterator<Item = File> {
    // Not /proc/net, which is missing where /proc is mounted with subset=pid.
    let files = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
    files.into_iter().filter_map(|file| File::open(file).ok())
}

/// A process, and the name of its program.
#[derive(Debug, PartialEq, Eq)]
pub struct Process {
    pub number: u32,
    pub name: String,
}

/// The processes that listen on a port at any address, as far as we may look at them.
pub fn listeners(port: u16) -> Vec<Process> {
    let mut sockets = Vec::new();
    for table in tables() {
        let rows = BufReader::new(table.take(PEERS_READ)).lines().map_while(Result::ok);
        let rows = rows.filter_map(|row| Row::parse(&row));
        let ours = rows.filter(|row| row.state == LISTEN && row.here.port() == port);
        sockets.extend(ours.map(|row| format!("socket:[{}]", row.inode)));
    }
    let holds = |process: &u32| {
        let files = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
        let mut links = files.filter_map(|file| fs::read_link(file.path()).ok());
        links.any(|link| sockets.iter().any(|socket| link.as_os_str() == socket.as_str()))
    };
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(holds);
    numbers
        .map(|number| {
            let name = fs::read_to_string(format!("/proc/{number}/comm")).unwrap_or_default();
            Process { number, name: name.trim_end().to_owned() }
        })
        .collect()
}

/// The client's own row, if it names its user.
fn find(mut table: &File, client: SocketAddr, server: SocketAddr) -> io::Result<Option<Row>> {
    table.rewind()?;
    let rows = BufReader::new(table.take(PEERS_READ)).lines();
    for row in rows {
        let row = row?;
        if let Some(row) = Row::parse(&row)
            && (row.here, row.there) == (client, server)
        {
            return Ok(Some(row).filter(|row| row.state == ESTABLISHED && row.inode != 0));
        }
    }
    Ok(None)
}

impl Row {
    /// Parses `sl local remote state queues timer retransmits uid timeout inode ...`; none for the heading.
    fn parse(line: &str) -> Option<Row> {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (here, there) = (address(words.next()?)?, address(words.next()?)?);
        let state = u8::from_str_radix(words.next()?, 16).ok()?;
        let uid = words.nth(3)?.parse().ok()?;
        let inode = words.nth(1)?.parse().ok()?;
        Some(Row { here, there, state, uid, inode })
    }
}

/// Parses `0100007F:2329`, or four words and a port for IPv6. Each word is in the byte order of this
/// machine, the port is not.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| {
        let word = u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let ip = match ip.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let octets = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?))
        }
        _ => return None,
    };
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(canonical(SocketAddr::new(ip, port)))
}

/// The address with IPv4-mapped IPv6 as IPv4, so that both tables agree.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn our_own_connections_are_ours() {
        let peers = Peers::open();
        let own = nix::unistd::geteuid().as_raw();
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(at) else { continue };
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, from) = listener.accept().unwrap();
            let here = accepted.local_addr().unwrap();
            assert_eq!(peers.uid(from, here), Some(own), "{at}");
            // Not the server's end, and not another connection.
            let other = SocketAddr::new(from.ip(), from.port() ^ 1);
            assert_eq!(peers.uid(other, here), None);
            // A socket that no process holds shows as root's, and is not found.
            drop(client);
            assert_eq!(peers.uid(from, here), None);
        }
        let mapped = "[::ffff:192.0.2.1]:9".parse().unwrap();
        assert_eq!(peers.uid(mapped, "127.0.0.1:9".parse().unwrap()), None);
    }

    #[test]
    fn who_listens_on_a_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_us = |found: &Process| found.number == std::process::id() && !found.name.is_empty();
        assert!(listeners(port).iter().any(is_us));
        drop(listener);
        assert!(!listeners(port).iter().any(is_us));
    }

    #[test]
    fn an_ipv4_client_of_an_ipv6_socket_is_found() {
        let Ok(listener) = TcpListener::bind("[::]:0") else { return };
        let port = listener.local_addr().unwrap().port();
        let Ok(_client) = TcpStream::connect(("127.0.0.1", port)) else { return };
        let (accepted, from) = listener.accept().unwrap();
        let own = nix::unistd::geteuid().as_raw();
        assert_eq!(Peers::open().uid(from, accepted.local_addr().unwrap()), Some(own));
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn rows_and_what_is_none() {
        let line = "  12: 0100007F:2329 0200007F:C001 01 00000000:00000000 00:00000000 00000000  \
                    1000        0 4711 1 0 20";
        let row = Row::parse(line).unwrap();
        assert_eq!(row.here, "127.0.0.1:9001".parse().unwrap());
        assert_eq!(row.there, "127.0.0.2:49153".parse().unwrap());
        assert_eq!((row.state, row.uid, row.inode), (1, 1000, 4711));
        assert_eq!(
            address("B80D0120000000000000000001000000:0019"),
            Some("[2001:db8::1]:25".parse().unwrap())
        );
        assert_eq!(
            address("0000000000000000FFFF00000100007F:0019"),
            Some("127.0.0.1:25".parse().unwrap())
        );
        for bad in [
            "",
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
            "12: 0100007F:2329 0200007F:C001 01",
            "12: 0100007F 0200007F:C001 01 0:0 0:0 0 0 0 1",
            "12: é100007F:2329 0200007F:C001 01 0:0 0:0 0 0 0 1",
            "12: 0100007F:2329 0200007F:C001 01 0:0 0:0 0 -1 0 1",
        ] {
            assert_eq!(Row::parse(bad), None, "{bad}");
        }
    }
}
