//! The name servers of `/etc/resolv.conf` (resolv.conf(5)). A line that cannot be read is skipped alone.
//!
//! Only `nameserver` is used. Names are never completed, so `search` and `domain` have no effect;
//! `dns.timeout` says how long a server is asked, so `options` have none either.

use crate::config::NameServer;
use crate::limits::{QUOTED_MAX, RESOLV_CONF_MAX};
use nix::net::if_::if_nametoindex;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The path of the file.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The server on this machine, which is asked when the file names none (resolv.conf(5)).
const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT);

/// The port of each server, because the file cannot name another.
const PORT: u16 = 53;

/// What a file names: servers, and each line that cannot be used, with its number.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Named {
    pub servers: Vec<NameServer>,
    pub unusable: Vec<(usize, String)>,
}

impl Named {
    /// The servers to ask; never empty.
    pub fn asked(self) -> Vec<NameServer> {
        match self.servers.is_empty() {
            true => vec![LOCAL.into()],
            false => self.servers,
        }
    }
}

/// The file as it is now; one that cannot be read names no server.
pub fn read() -> Named {
    let mut octets = Vec::new();
    let file = File::open(RESOLV_CONF).map(|file| file.take(RESOLV_CONF_MAX));
    match file.and_then(|mut file| file.read_to_end(&mut octets)) {
        Ok(_) => parse(&String::from_utf8_lossy(&octets)),
        Err(_) => Named::default(),
    }
}

fn parse(text: &str) -> Named {
    let mut named = Named::default();
    for (number, line) in text.lines().enumerate() {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        // Anything behind the address is ignored, comments too, as the C library does.
        let word = words.next().unwrap_or_default();
        match server(word) {
            Ok(server) if named.servers.contains(&server) => {}
            Ok(server) => named.servers.push(server),
            Err(why) => {
                let shown: String = word.escape_default().take(QUOTED_MAX).collect();
                named.unusable.push((number + 1, format!("nameserver {shown}: {why}")));
            }
        }
    }
    named
}

fn server(word: &str) -> Result<NameServer, &'static str> {
    let (address, zone) = match word.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (word, None),
    };
    let address: IpAddr = address.parse().map_err(|_| "no IP address")?;
    let server = NameServer::new(SocketAddr::new(address, PORT), zone);
    let server = server.ok_or("what stands behind the % is no interface")?;
    match server.lacks_zone() {
        true => Err("a link-local address needs its interface, as in fe80::1%eth0"),
        false => Ok(server),
    }
}

/// The address of a server with the index of its interface. Fails while there is no such interface.
pub fn locate(server: &NameServer) -> io::Result<SocketAddr> {
    let mut address = server.address;
    if let (SocketAddr::V6(v6), Some(zone)) = (&mut address, &server.zone) {
        let by_number = |_| zone.parse().ok();
        let index = if_nametoindex(zone.as_str()).map_or_else(by_number, Some);
        let missing = || io::Error::new(ErrorKind::NotFound, format!("no interface {zone} here"));
        v6.set_scope_id(index.ok_or_else(missing)?);
    }
    Ok(address)
}

/// The servers that are asked: `given`, those of the configuration; where it is empty, those of the file.
pub fn servers(given: &[NameServer]) -> Vec<NameServer> {
    match given.is_empty() {
        true => read().asked(),
        false => given.to_vec(),
    }
}

/// Name servers and lines that cannot be used, one text for each, for `check`. `given` are those of the
/// configuration; where it is empty, the file is read.
pub fn doubts(given: &[NameServer]) -> Vec<String> {
    match given.is_empty() {
        true => doubts_of(read()),
        false => given.iter().filter_map(missing).collect(),
    }
}

fn doubts_of(named: Named) -> Vec<String> {
    let mut doubts: Vec<String> = named
        .unusable
        .iter()
        .map(|(line, why)| format!("{RESOLV_CONF}:{line}: {why}; it is not asked"))
        .collect();
    doubts.extend(named.servers.iter().filter_map(missing));
    if named.servers.is_empty() && !named.unusable.is_empty() {
        doubts.push(format!("{RESOLV_CONF} names no server that can be used: {LOCAL} is asked"));
    }
    doubts
}

fn missing(server: &NameServer) -> Option<String> {
    match locate(server) {
        _ if server.lacks_zone() => Some(format!(
            "name server {server}: a link-local address needs its interface, as in [fe80::1%eth0]:53"
        )),
        Ok(_) => None,
        Err(error) => {
            Some(format!("name server {server}: {error}; it is not asked until there is"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_makes_no_sense_costs_that_line() {
        let text = "# nameserver 192.0.2.9\nsearch a.test\nnameserver fe80::1%lo\n\tnameserver\t192.0.2.1 # x\n\
                    nameserver 192.0.2.1\nnameserver dns.test\nnameserver\nnameserver fe80::2\n\
                    nameserver 192.0.2.2%lo\nnameserver ::1%\noptions timeout:x edns0 nonsense\n;\nnameserver 2001:db8::1\n\
                    nameservers 192.0.2.3\nnameserver [2001:db8::2]:5353\r\n";
        let named = parse(text);
        let shown: Vec<String> = named.servers.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["[fe80::1%lo]:53", "192.0.2.1:53", "[2001:db8::1]:53"]);
        let lines: Vec<usize> = named.unusable.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [6, 7, 8, 9, 10, 15]);
        let doubts = doubts_of(named);
        assert_eq!(
            doubts[0],
            "/etc/resolv.conf:6: nameserver dns.test: no IP address; it is not asked"
        );
        assert!(doubts[2].contains("needs its interface"), "{doubts:?}");
        assert_eq!(doubts.len(), 6);
    }

    #[test]
    fn the_zone_is_kept() {
        let named =
            parse("nameserver fe80::1%lo\nnameserver fe80::2%7\nnameserver fe80::3%nowhere0\n");
        let [lo, seven, nowhere] = &named.servers[..] else { panic!("{named:?}") };
        let scope = |server| match locate(server).unwrap() {
            SocketAddr::V6(v6) => v6.scope_id(),
            SocketAddr::V4(_) => panic!(),
        };
        assert_eq!((scope(lo), scope(seven)), (if_nametoindex("lo").unwrap(), 7));
        let error = locate(nowhere).unwrap_err().to_string();
        assert_eq!(error, "no interface nowhere0 here");
        let told = "name server [fe80::3%nowhere0]:53: no interface nowhere0 here; it is not asked until there is";
        assert_eq!(doubts_of(named), [told]);
        assert_eq!(doubts(&["127.0.0.1:53".parse::<SocketAddr>().unwrap().into()]), [""; 0]);
    }

    #[test]
    fn nobody_named() {
        assert_eq!(parse("").asked(), [LOCAL.into()]);
        assert_eq!(doubts_of(parse("")), [""; 0]);
        let none = doubts_of(parse("nameserver x"));
        assert!(none.len() == 2 && none[1].ends_with("127.0.0.1:53 is asked"), "{none:?}");
    }
}
