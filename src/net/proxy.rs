//! The PROXY protocol, versions 1 and 2, as a load balancer speaks it before a connection that it passes on:
//! for which client that is (haproxy's proxy-protocol.txt).
//!
//! Only the header is ever taken from the connection: [`parse`] says how many octets surely belong to it still,
//! and no more are read, so that what follows is the session's. Strict, because a header that can be read in two
//! ways names a client of somebody's choice. Whom to believe a header is the caller's to decide.

use super::stream::Wire;
use crate::limits::gates::{PROXY_V1_MAX, PROXY_V2_MAX, PROXY_WAIT};
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

/// Whom a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxiedClient {
    /// This client, by its address, IPv4 never mapped into IPv6, and its port.
    Other(SocketAddr),
    /// Whoever has connected: a health check (LOCAL), or a client without an address that we could use
    /// (UNKNOWN, AF_UNSPEC, AF_UNIX).
    Own,
}

/// How far a header is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyStep {
    /// It is whole, and this many octets long.
    Whole(ProxiedClient, usize),
    /// This many more octets, at least one, belong to it in any case.
    Needs(usize),
}

/// Why octets are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadProxy {
    /// They begin like something else.
    Missing,
    /// It has more octets than any that we take.
    Long,
    /// It breaks the rule that these words name.
    Broken(&'static str),
}

impl fmt::Display for BadProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadProxy::Missing => f.write_str("the connection does not begin with a PROXY header"),
            BadProxy::Long => f.write_str("the PROXY header is too long"),
            BadProxy::Broken(what) => write!(f, "the PROXY header is broken: {what}"),
        }
    }
}

impl std::error::Error for BadProxy {}

/// The first octets of version 1.
const V1: &[u8] = b"PROXY ";

/// The shortest header of version 1: `PROXY UNKNOWN` with its line end.
const V1_MIN: usize = 15;

/// The first octets of version 2.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Octets of version 2 before the addresses.
const V2_FIXED: usize = 16;

/// Octets of the addresses of version 2: both addresses, both ports.
const V2_INET: usize = 12;
const V2_INET6: usize = 36;
const V2_UNIX: usize = 216;

/// Reads the header at the front of these octets. The answer does not depend on how many octets are there
/// beyond it.
pub fn parse(octets: &[u8]) -> Result<ProxyStep, BadProxy> {
    let begins = |with: &[u8]| octets.iter().zip(with).all(|(is, wanted)| is == wanted);
    match (begins(V1), begins(V2)) {
        (false, false) => Err(BadProxy::Missing),
        (true, _) if octets.len() < V1_MIN => Ok(ProxyStep::Needs(V1_MIN - octets.len())),
        (_, true) if octets.len() < V2_FIXED => Ok(ProxyStep::Needs(V2_FIXED - octets.len())),
        (true, _) => parse_v1(octets),
        (false, true) => parse_v2(octets),
    }
}

/// `PROXY TCP4 192.0.2.1 192.0.2.9 56324 25` and CR LF.
fn parse_v1(octets: &[u8]) -> Result<ProxyStep, BadProxy> {
    let seen = &octets[..octets.len().min(PROXY_V1_MAX)];
    let Some(end) = seen.iter().position(|octet| matches!(octet, b'\r' | b'\n')) else {
        return match seen.len() + 2 <= PROXY_V1_MAX {
            true => Ok(ProxyStep::Needs(2)),
            false => Err(BadProxy::Long),
        };
    };
    match (seen[end], seen.get(end + 1)) {
        (b'\r', Some(b'\n')) => {}
        (b'\r', None) if seen.len() < PROXY_V1_MAX => return Ok(ProxyStep::Needs(1)),
        (b'\r', None) => return Err(BadProxy::Long),
        _ => return Err(BadProxy::Broken("its line does not end in CR LF")),
    }
    Ok(ProxyStep::Whole(v1_client(&seen[V1.len()..end])?, end + 2))
}

/// What stands behind `PROXY `.
fn v1_client(line: &[u8]) -> Result<ProxiedClient, BadProxy> {
    // Whatever follows is ignored, as the text has it.
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Ok(ProxiedClient::Own);
    }
    let line = std::str::from_utf8(line).map_err(|_| BadProxy::Broken("it is no ASCII"))?;
    let mut words = line.split(' ');
    let family = words.next().unwrap_or_default();
    let (source, target) = (words.next(), words.next());
    let ports = [words.next(), words.next()].map(|port| port.and_then(port_of));
    let (Some(source), Some(target), None) = (source, target, words.next()) else {
        return Err(BadProxy::Broken("it has not six words"));
    };
    let [Some(port), Some(_)] = ports else {
        return Err(BadProxy::Broken("a port is no number up to 65535"));
    };
    let bad = BadProxy::Broken("an address is none of its family");
    let client: IpAddr = match family {
        "TCP4" => {
            target.parse::<Ipv4Addr>().map_err(|_| bad)?;
            source.parse::<Ipv4Addr>().map_err(|_| bad)?.into()
        }
        "TCP6" => {
            target.parse::<Ipv6Addr>().map_err(|_| bad)?;
            source.parse::<Ipv6Addr>().map_err(|_| bad)?.into()
        }
        _ => return Err(BadProxy::Broken("its family is none of TCP4, TCP6, UNKNOWN")),
    };
    Ok(other(client, port))
}

fn other(client: IpAddr, port: u16) -> ProxiedClient {
    ProxiedClient::Other(SocketAddr::new(client.to_canonical(), port))
}

/// A port in decimal digits, without zeros in front.
fn port_of(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|octet| octet.is_ascii_digit());
    let is_plain = is_number && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

/// The signature, version and command, family and transport, a length, addresses, and then what is passed over.
fn parse_v2(octets: &[u8]) -> Result<ProxyStep, BadProxy> {
    let (version, family) = (octets[12], octets[13]);
    let is_local = match version {
        0x20 => true,
        0x21 => false,
        _ => return Err(BadProxy::Broken("its version or command is not known")),
    };
    let length = usize::from(u16::from_be_bytes([octets[14], octets[15]]));
    let all = V2_FIXED + length;
    if all > PROXY_V2_MAX {
        return Err(BadProxy::Long);
    }
    let least = match family {
        _ if is_local => 0,
        0x00 => 0,
        0x11 => V2_INET,
        0x21 => V2_INET6,
        0x31 => V2_UNIX,
        _ => return Err(BadProxy::Broken("its family or transport is no stream that there is")),
    };
    if length < least {
        return Err(BadProxy::Broken("it is too short for its addresses"));
    }
    if octets.len() < all {
        return Ok(ProxyStep::Needs(all - octets.len()));
    }
    let addresses = &octets[V2_FIXED..all];
    let client = match (family, addresses) {
        _ if is_local => ProxiedClient::Own,
        (0x11, &[a, b, c, d, _, _, _, _, high, low, ..]) => {
            other(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low]))
        }
        (0x21, _) => match (addresses.first_chunk::<16>(), addresses.get(32..34)) {
            (Some(source), Some(&[high, low])) => {
                other(IpAddr::from(*source), u16::from_be_bytes([high, low]))
            }
            _ => ProxiedClient::Own,
        },
        _ => ProxiedClient::Own,
    };
    Ok(ProxyStep::Whole(client, all))
}

/// Reads a header from a connection, within [`PROXY_WAIT`]. Fails with the reason in words; its kind is
/// `UnexpectedEof` where the other side has closed.
pub fn receive(wire: &mut dyn Wire) -> io::Result<ProxiedClient> {
    let deadline = Instant::now() + PROXY_WAIT;
    let mut octets = Vec::new();
    loop {
        let needs = match parse(&octets).map_err(io::Error::other)? {
            ProxyStep::Whole(client, _) => return Ok(client),
            ProxyStep::Needs(needs) => needs,
        };
        let begin = octets.len();
        octets.resize(begin + needs, 0);
        match wire.read(&mut octets[begin..], deadline) {
            Ok(0) => {
                let text = "the connection was closed before a whole PROXY header";
                return Err(io::Error::new(ErrorKind::UnexpectedEof, text));
            }
            Ok(read) => octets.truncate(begin + read),
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                let text = format!("no PROXY header came in {PROXY_WAIT:?}");
                return Err(io::Error::new(ErrorKind::TimedOut, text));
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn client(text: &str) -> ProxiedClient {
        ProxiedClient::Other(text.parse().unwrap())
    }

    /// Version 2 with this command, family and rest.
    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [V2, &[command, family], &length, rest].concat()
    }

    /// Reads as from a connection that gives so many octets at once, and checks that nothing beyond the
    /// header is asked for.
    fn by(octets: &[u8], at_once: usize) -> Result<(ProxiedClient, usize), BadProxy> {
        let mut had = 0;
        loop {
            match parse(&octets[..had])? {
                ProxyStep::Whole(client, length) => {
                    assert_eq!(length, had, "octets of the session were taken");
                    return Ok((client, length));
                }
                ProxyStep::Needs(0) => panic!("waits for nothing"),
                ProxyStep::Needs(needs) => {
                    let come = needs.min(at_once).min(octets.len() - had);
                    if come == 0 {
                        return Err(BadProxy::Broken("(cut off)"));
                    }
                    had += come;
                }
            }
        }
    }

    /// The client of a header before a banner-less client's first words, however the octets come.
    fn read(header: &[u8]) -> Result<ProxiedClient, BadProxy> {
        let octets = [header, b"EHLO x\r\nPROXY UNKNOWN\r\n"].concat();
        let whole = by(&octets, octets.len());
        for at_once in 1..20 {
            assert_eq!(by(&octets, at_once), whole, "{at_once} at once");
        }
        if let Ok((client, length)) = whole {
            assert_eq!(parse(&octets), Ok(ProxyStep::Whole(client, length)));
            assert_eq!(length, header.len());
        }
        whole.map(|(client, _)| client)
    }

    #[test]
    fn version_1() {
        let six = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let longest = format!("PROXY UNKNOWN {six} {six} 65535 65535\r\n");
        assert_eq!(longest.len(), PROXY_V1_MAX);
        for (line, client) in [
            ("PROXY TCP4 192.0.2.7 192.0.2.9 56324 25\r\n", client("192.0.2.7:56324")),
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
                client("255.255.255.255:65535"),
            ),
            ("PROXY TCP6 2001:db8::7 2001:DB8::9 0 25\r\n", client("[2001:db8::7]:0")),
            ("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 25\r\n", client("192.0.2.7:1")),
            ("PROXY UNKNOWN\r\n", ProxiedClient::Own),
            ("PROXY UNKNOWN x\0y\u{e9}\r\n", ProxiedClient::Own),
            (longest.as_str(), ProxiedClient::Own),
        ] {
            assert_eq!(read(line.as_bytes()), Ok(client), "{line:?}");
        }
    }

    #[test]
    fn what_is_no_version_1() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(PROXY_V1_MAX - 15));
        assert_eq!(read(long.as_bytes()), Err(BadProxy::Long));
        assert_eq!(read(&b"PROXY TCP4 ".repeat(20)), Err(BadProxy::Long));
        for line in [
            "EHLO mx.test\r\n",
            "PROXX",
            "proxy TCP4",
            " PROXY",
            "\r\n\r\n\r\n",
            "\0",
            "\x16\x03\x01",
        ] {
            assert_eq!(read(line.as_bytes()), Err(BadProxy::Missing), "{line:?}");
        }
        for line in [
            "PROXY TCP4 192.0.2.7 192.0.2.9 56324\r\n",
            "PROXY TCP4 192.0.2.7 192.0.2.9 56324 25 \r\n",
            "PROXY TCP4 192.0.2.7 192.0.2.9 56324 25 x\r\n",
            "PROXY TCP4  192.0.2.7 192.0.2.9 56324 25\r\n",
            "PROXY TCP4\t192.0.2.7 192.0.2.9 56324 25\r\n",
            "PROXY TCP4 192.0.2.07 192.0.2.9 56324 25\r\n",
            "PROXY TCP4 192.0.2 192.0.2.9 56324 25\r\n",
            "PROXY TCP4 192.0.2.7 2001:db8::9 56324 25\r\n",
            "PROXY TCP4 2001:db8::7 192.0.2.9 56324 25\r\n",
            "PROXY TCP6 192.0.2.7 2001:db8::9 56324 25\r\n",
            "PROXY TCP6 fe80::1%eth0 2001:db8::9 56324 25\r\n",
            "PROXY TCP6 [2001:db8::7] 2001:db8::9 56324 25\r\n",
            "PROXY TCP4 192.0.2.7 192.0.2.9 65536 25\r\n",
            "PROXY TCP4 192.0.2.7 192.0.2.9 +1 25\r\n",
            "PROXY TCP4 192.0.2.7 192.0.2.9 056 25\r\n",
            "PROXY TCP4 192.0.2.7 192.0.2.9 1 \r\n",
            "PROXY UDP4 192.0.2.7 192.0.2.9 1 25\r\n",
            "PROXY tcp4 192.0.2.7 192.0.2.9 1 25\r\n",
            "PROXY UNKNOWNX\r\n",
            "PROXY  UNKNOWN\r\n",
            "PROXY TCP4 192.0.2.7 192.0.2.9 1 25\n",
            "PROXY TCP4 192.0.2.7 192.0.2.9 1 25\r",
            "PROXY TCP4 192.0.2.7 192.0.2.9 1\r25\r\n",
            "PROXY UNKNOWN x\rPROXY\r\n",
            "PROXY UNKNOWN \u{e9}\n",
        ] {
            assert!(matches!(read(line.as_bytes()), Err(BadProxy::Broken(_))), "{line:?}");
        }
        assert!(matches!(read(b"PROXY TCP4 \xff\xff\xff\xff\r\n"), Err(BadProxy::Broken(_))));
    }

    #[test]
    fn version_2() {
        let v4 = [192, 0, 2, 7, 192, 0, 2, 9, 0xdc, 4, 0, 25];
        let v6 = |text: &str| {
            let source: Ipv6Addr = text.parse().unwrap();
            [&source.octets()[..], &[0; 20]].concat()
        };
        let tlvs = [&v4[..], &[0x04, 0, 1, 0xff, 0x03, 0xff, 0xff]].concat();
        for (header, client) in [
            (v2(0x21, 0x11, &v4), client("192.0.2.7:56324")),
            (v2(0x21, 0x11, &tlvs), client("192.0.2.7:56324")),
            (v2(0x21, 0x21, &v6("2001:db8::7")), client("[2001:db8::7]:0")),
            (v2(0x21, 0x21, &v6("::ffff:192.0.2.7")), client("192.0.2.7:0")),
            (v2(0x21, 0x31, &[b'/'; 216]), ProxiedClient::Own),
            (v2(0x21, 0x00, &[]), ProxiedClient::Own),
            (v2(0x21, 0x00, &[1; 300]), ProxiedClient::Own),
            (v2(0x20, 0x00, &[]), ProxiedClient::Own),
            (v2(0x20, 0x11, &v4), ProxiedClient::Own),
            // Of a LOCAL one the addresses are not looked at.
            (v2(0x20, 0xff, &[1; 3]), ProxiedClient::Own),
            (v2(0x21, 0x11, &[1; PROXY_V2_MAX - V2_FIXED]), client("1.1.1.1:257")),
        ] {
            assert_eq!(read(&header), Ok(client), "{}", header.escape_ascii());
        }
        assert_eq!(read(&v2(0x21, 0x11, &[1; PROXY_V2_MAX - 15])), Err(BadProxy::Long));
        assert_eq!(read(&v2(0x20, 0x00, &[1; 65_535])), Err(BadProxy::Long));
        for (command, family, rest) in [
            (0x11, 0x11, &v4[..]),
            (0x31, 0x11, &v4),
            (0x22, 0x11, &v4),
            (0x2f, 0x00, &[]),
            (0x21, 0x12, &v4),
            (0x21, 0x10, &v4),
            (0x21, 0x01, &[]),
            (0x21, 0x41, &[0; 216]),
            (0x21, 0x32, &[0; 216]),
            (0x21, 0x11, &v4[..11]),
            (0x21, 0x21, &[0; 35]),
            (0x21, 0x31, &[0; 215]),
        ] {
            let found = read(&v2(command, family, rest));
            assert!(matches!(found, Err(BadProxy::Broken(_))), "{command:x} {family:x}: {found:?}");
        }
        let mut signed = v2(0x21, 0x11, &v4);
        signed[11] = b'\r';
        assert_eq!(read(&signed), Err(BadProxy::Missing));
    }

    proptest! {
        #[test]
        fn any_client_is_read_back(address in any::<IpAddr>(), port: u16, tail: Vec<u8>) {
            let family = if address.is_ipv4() { "TCP4" } else { "TCP6" };
            let line = format!("PROXY {family} {address} {address} {port} 25\r\n");
            let client = ProxiedClient::Other(SocketAddr::new(address.to_canonical(), port));
            prop_assert_eq!(read(line.as_bytes()), Ok(client));
            let (family, octets) = match address {
                IpAddr::V4(v4) => (0x11, v4.octets().to_vec()),
                IpAddr::V6(v6) => (0x21, v6.octets().to_vec()),
            };
            let tail = &tail[..tail.len().min(100)];
            let rest = [&octets[..], &octets, &port.to_be_bytes(), &[0, 25], tail].concat();
            prop_assert_eq!(read(&v2(0x21, family, &rest)), Ok(client));
        }

        #[test]
        fn any_octets_are_read_the_same_however_they_come(octets: Vec<u8>, what in 0..3_usize) {
            let front: &[u8] = [b"", V1, V2][what];
            let octets = [front, &octets].concat();
            let whole = by(&octets, octets.len().max(1));
            for at_once in [1, 2, 3, 7] {
                prop_assert_eq!(by(&octets, at_once), whole);
            }
        }
    }
}
