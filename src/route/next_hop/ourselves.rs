//! Our own name and addresses: mail must not be sent to a mail host that is this one (RFC 5321 §5.1).

use crate::config::Config;
use crate::event::warn;
use crate::mail::address::Domain;
use crate::net::interfaces;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Our name and the addresses we listen on. Made once for each site: an address that an interface gets
/// later is known after the next reload.
#[derive(Clone, Debug)]
pub struct Ourselves {
    hostname: Domain,
    /// `listen.smtp`, with IPv4-mapped addresses as IPv4.
    listens: Vec<SocketAddr>,
    /// The addresses of this machine, on which a listener on all addresses listens.
    interfaces: Vec<IpAddr>,
}

impl Ourselves {
    /// Asks the system for its addresses. When that fails, only loopback is known and the log says so; a
    /// loop would still end at `limit.hops`.
    pub fn of(config: &Config) -> Ourselves {
        let interfaces = interfaces::addresses().unwrap_or_else(|error| {
            warn(&format!("cannot list the addresses of this machine: {error}"));
            Vec::new()
        });
        Ourselves::with(config, interfaces)
    }

    fn with(config: &Config, interfaces: Vec<IpAddr>) -> Ourselves {
        let canonical = |own: &SocketAddr| SocketAddr::new(own.ip().to_canonical(), own.port());
        let listens = config.listen.smtp.iter().map(canonical).collect();
        Ourselves { hostname: config.hostname.clone(), listens, interfaces }
    }

    /// Whether this is our host name, in any case.
    pub fn is_name(&self, host: &str) -> bool {
        host.eq_ignore_ascii_case(self.hostname.as_str())
    }

    /// Whether a connection to this address would reach us.
    pub fn is_address(&self, address: SocketAddr) -> bool {
        // Linux takes a connection to the unspecified address for one to itself.
        let ip = match address.ip().to_canonical() {
            IpAddr::V4(v4) if v4.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(v6) if v6.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let mut same_port = self.listens.iter().filter(|own| own.port() == address.port());
        // As the listener does: `[::]` takes IPv4 too, unless IPv4 has a socket of its own.
        let is_split = same_port.clone().any(SocketAddr::is_ipv4);
        same_port.any(|own| match own.ip() {
            all if all.is_unspecified() => {
                let takes = own.is_ipv4() == ip.is_ipv4() || own.is_ipv6() && !is_split;
                takes && (ip.is_loopback() || self.interfaces.contains(&ip))
            }
            one => one == ip,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn ourselves(listen: &str) -> Ourselves {
        let text = format!(
            "hostname = \"MX.test\"\n[relay]\nnetworks = [\"::1\"]\n[listen]\nsmtp = [{listen}]"
        );
        let config = Config::parse(&text, Path::new("facteur.toml")).unwrap();
        Ourselves::with(&config, vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()])
    }

    #[test]
    fn names() {
        let us = ourselves(r#""192.0.2.77:25""#);
        assert!(us.is_name("mx.test") && us.is_name("Mx.TEST"));
        assert!(!us.is_name("a.mx.test") && !us.is_name("mx"));
    }

    #[test]
    fn addresses_by_listener() {
        let all = "192.0.2.1:25 127.0.0.1:25 127.9.9.9:25 0.0.0.0:25";
        let six = "[2001:db8::1]:25 [::1]:25 [::]:25";
        let mapped = "[::ffff:192.0.2.1]:25";
        let foreign = "192.0.2.2:25 [2001:db8::2]:25 192.0.2.1:26 127.0.0.1:26 [::1]:26";
        for (listen, ours, others) in [
            (r#""192.0.2.77:25""#, "192.0.2.77:25", format!("{all} {six} {mapped} {foreign}")),
            (r#""0.0.0.0:25""#, &*format!("{all} {mapped}"), format!("{six} {foreign}")),
            (r#""[::]:25""#, &format!("{all} {six} {mapped}"), foreign.to_owned()),
            // IPv4 at one address only.
            (
                r#""[::]:25", "192.0.2.1:25""#,
                &format!("192.0.2.1:25 {six}"),
                format!("127.0.0.1:25 {foreign}"),
            ),
            // The other socket is on another port.
            (r#""[::]:25", "192.0.2.7:2525""#, all, foreign.to_owned()),
            (r#""127.0.0.2:25""#, "127.0.0.2:25", format!("{all} {six} {foreign}")),
            (r#""192.0.2.2:25""#, "192.0.2.2:25", format!("{all} {six}")),
            (r#""[::ffff:192.0.2.2]:25""#, "192.0.2.2:25", format!("{all} {six}")),
        ] {
            let us = ourselves(listen);
            let is_ours = |text: &str| us.is_address(text.parse().unwrap());
            assert!(ours.split_whitespace().all(is_ours), "{listen}: {ours}");
            assert!(!others.split_whitespace().any(is_ours), "{listen}: {others}");
        }
    }

    #[test]
    fn the_system_tells_its_addresses() {
        let loopback = |address: &IpAddr| address.is_loopback();
        assert!(interfaces::addresses().unwrap().iter().any(loopback));
    }
}
