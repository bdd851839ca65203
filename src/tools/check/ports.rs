//! The addresses of `[listen]`: whether this machine has them, and whether another program listens there.
//! They are tried by binding for a moment, without listening.

use super::Weight;
use crate::config::Config;
use crate::net::control;
use crate::net::listener::{Listener, Service};
use crate::net::peer::{Process, listeners};
use nix::unistd::geteuid;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;

/// An address that could not be bound.
pub struct UnboundAddress {
    /// The key in the configuration, with file and line.
    place: String,
    address: SocketAddr,
    error: io::Error,
    /// Processes that listen on the port, as far as we may see them.
    holders: Vec<Process>,
    /// Whether root has tried, which sees all processes.
    by_root: bool,
}

/// Tries all addresses, before root is given up, because low ports need it.
pub fn try_out(config: &Config) -> Vec<UnboundAddress> {
    let services = Service::addresses(&config.listen);
    let all: Vec<SocketAddr> = services.iter().map(|(_, address)| *address).collect();
    let (mut refused, by_root) = (Vec::new(), geteuid().is_root());
    for (service, address) in services {
        let Err(error) = Listener::try_out(address, &all) else { continue };
        let holders = match error.kind() {
            // The server may start as another user, or its manager may open the port.
            ErrorKind::PermissionDenied if !by_root => continue,
            ErrorKind::AddrInUse => listeners(address.port()),
            _ => Vec::new(),
        };
        let place = config.place(&format!("listen.{service}"));
        refused.push(UnboundAddress { place, address, error, holders, by_root });
    }
    refused
}

/// Words for the addresses that `serve` could not bind, and how bad that is.
pub fn weigh(config: &Config, refused: &[UnboundAddress]) -> Vec<(Weight, String)> {
    let own = std::fs::read_to_string("/proc/self/comm").unwrap_or_default();
    let mut known = None;
    let mut is_served = || *known.get_or_insert_with(|| may_be_served(config));
    let each = refused.iter().filter_map(|refused| {
        let UnboundAddress { place, address, error, holders, by_root } = refused;
        let weight = match error.kind() {
            ErrorKind::AddrInUse if is_served() => return None,
            ErrorKind::AddrInUse => weight_of(holders, own.trim_end(), *by_root)?,
            _ => Weight::Fatal,
        };
        let who = holders.first().map_or_else(String::new, |Process { number, name }| {
            format!("; {name} (process {number}) listens there")
        });
        Some((weight, format!("{place}: cannot listen on {address}: {error}{who}")))
    });
    each.collect()
}

/// Whether a server may run on this spool: then it is the one that listens.
fn may_be_served(config: &Config) -> bool {
    !matches!(control::send(&config.spool, &[]), Ok(false))
}

/// How bad it is that these processes listen. A service manager hands its sockets to the server, and a
/// facteur that listens there counts as the server of this configuration, whose `spool` may have changed.
fn weight_of(holders: &[Process], own: &str, by_root: bool) -> Option<Weight> {
    if holders.iter().any(|holder| holder.name.starts_with("systemd") || holder.name == own) {
        return None;
    }
    // Without root, the sockets of systemd cannot be seen.
    let may_be_managed = holders.is_empty() && !by_root && is_booted_by_systemd();
    Some(if may_be_managed { Weight::Warning } else { Weight::Fatal })
}

/// As sd_booted(3).
fn is_booted_by_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(name: &str) -> Process {
        Process { number: 4711, name: name.to_owned() }
    }

    #[test]
    fn what_systemd_or_a_facteur_holds_is_no_fault() {
        for (names, weight) in [
            (&["master"][..], Some(Weight::Fatal)),
            (&["systemd"], None),
            (&["facteur", "systemd"], None),
            (&["facteur"], None),
        ] {
            let holders: Vec<Process> = names.iter().map(|name| holder(name)).collect();
            assert_eq!(weight_of(&holders, "facteur", true), weight, "{names:?}");
        }
    }
}
