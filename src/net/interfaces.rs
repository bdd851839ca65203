//! The addresses of this machine, by getifaddrs(3). Changes nothing and sends nothing.

use nix::ifaddrs::getifaddrs;
use std::io;
use std::net::IpAddr;

/// The addresses of all interfaces at this moment, including loopback.
pub fn addresses() -> io::Result<Vec<IpAddr>> {
    let interfaces = getifaddrs().map_err(io::Error::from)?;
    let addresses = interfaces.filter_map(|interface| interface.address);
    let ip = addresses.filter_map(|address| {
        match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(v4), _) => Some(IpAddr::V4(v4.ip())),
            (_, Some(v6)) => Some(IpAddr::V6(v6.ip())),
            // A packet socket's address, which is no place for mail.
            (None, None) => None,
        }
    });
    Ok(ip.collect())
}
