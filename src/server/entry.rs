//! The sockets of a server: those that were handed over, and those that we bind ourselves.

use crate::config::Config;
use crate::event::warn;
use crate::net::handed::Handed;
use crate::net::listener::{Listener, Service};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

/// Binds all listeners of a configuration that no service manager has opened and `handed` over. A socket
/// that was handed over serves the address of the configuration that it listens on; any other one serves
/// what its name says. No connection is answered before [`super::Server::start`]; the two are apart because
/// low ports need root and sessions must not have it. Fails with the address and what the system said.
pub fn open(config: &Config, mut handed: Handed) -> Result<Vec<Listener>, String> {
    let wanted = Service::addresses(&config.listen);
    let all: Vec<SocketAddr> = wanted.iter().map(|(_, address)| *address).collect();
    let taken = |service, socket| {
        Listener::handed(service, socket)
            .map_err(|error| format!("cannot use a {service} socket that was handed over: {error}"))
    };
    let (mut listeners, mut missing) = (Vec::new(), Vec::new());
    for (service, address) in wanted {
        match handed.at(address) {
            Some(socket) => listeners.push(taken(service, socket)?),
            None => missing.push((service, address)),
        }
    }
    for service in Service::ALL {
        for (address, socket) in handed.called(&service.to_string()) {
            if service == Service::Submissions && config.tls.is_none() {
                return Err(format!("{address} was handed over for submissions: it needs a [tls]"));
            }
            if service == Service::Metrics && !address.ip().is_loopback() {
                warn(&format!("metrics: whoever reaches {address} can read who writes to whom"));
            }
            // The configuration asks for all addresses of this port, and the socket that was handed over
            // stands for them.
            let stands_for =
                |other: &SocketAddr| other.port() == address.port() && other.ip().is_unspecified();
            missing.retain(|(asking, other)| *asking != service || !stands_for(other));
            listeners.push(taken(service, socket)?);
        }
    }
    handed.finish()?;
    for (service, address) in missing {
        let bound = Listener::bind(service, address, &all);
        listeners.push(bound.map_err(|error| cannot_listen(address, &error))?);
    }
    Ok(listeners)
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> String {
    let way = match error.kind() {
        ErrorKind::PermissionDenied => {
            "; start as root with run_as, or let a service manager hand the socket over"
        }
        _ => "",
    };
    format!("cannot listen on {address}: {error}{way}")
}
