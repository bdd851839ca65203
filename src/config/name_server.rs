//! A DNS server as it is written: an address, and for a link-local one its interface (RFC 4007 §11). The
//! interface stays a name here, because it may come up later.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Longest name of an interface: IFNAMSIZ of Linux without its NUL.
const ZONE_MAX: usize = 15;

/// A server to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameServer {
    pub address: SocketAddr,
    /// The name or number of an interface; only beside IPv6.
    pub zone: Option<String>,
}

impl NameServer {
    /// None for a zone with IPv4, or a zone that is no possible name of an interface.
    pub fn new(address: SocketAddr, zone: Option<&str>) -> Option<NameServer> {
        let is_name = |zone: &str| {
            (1..=ZONE_MAX).contains(&zone.len())
                && zone.bytes().all(|octet| octet.is_ascii_graphic() && !b"/%[]".contains(&octet))
        };
        let is_good = zone.is_none_or(|zone| address.is_ipv6() && is_name(zone));
        is_good.then(|| NameServer { address, zone: zone.map(str::to_owned) })
    }

    /// Whether it is a link-local address without an interface: the kernel could not send to it.
    pub fn lacks_zone(&self) -> bool {
        match self.address {
            SocketAddr::V6(v6) => {
                v6.ip().is_unicast_link_local() && v6.scope_id() == 0 && self.zone.is_none()
            }
            SocketAddr::V4(_) => false,
        }
    }
}

impl From<SocketAddr> for NameServer {
    fn from(address: SocketAddr) -> NameServer {
        NameServer { address, zone: None }
    }
}

/// As the configuration writes it: `[fe80::1%eth0]:53`.
impl fmt::Display for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address.ip(), &self.zone) {
            (IpAddr::V6(ip), Some(zone)) => write!(f, "[{ip}%{zone}]:{}", self.address.port()),
            _ => self.address.fmt(f),
        }
    }
}
