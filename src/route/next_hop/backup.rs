//! Our place among the MX hosts of a domain that we are a backup for: mail may be taken only where it can reach
//! a better one. Asks DNS and opens no connection.

use super::hosts::is_ip;
use super::{Obstacle, Ourselves, Way, mail_hosts, way};
use crate::limits::{HOP_HOSTS_MAX, HOP_LOOKUPS};
use crate::mail::address::{Domain, Host};
use crate::net::dns::Addresses;
use crate::site::Site;
use std::net::SocketAddr;
use std::time::Instant;

/// Our place among the MX hosts of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MxPlace {
    /// There is a better one, or the configuration names the next hop.
    Behind,
    /// None is better: mail would never leave.
    Best,
    Absent,
    /// Why it cannot be found out now, or ever.
    Unknown(Obstacle),
}

/// Finds our place by our name, else by our addresses.
pub fn mx_place(site: &Site, domain: &Domain) -> MxPlace {
    if !matches!(way(&site.config, &Host::Domain(domain.clone())), Way::Mx(_)) {
        return MxPlace::Behind;
    }
    let hosts = match mail_hosts(site.resolver(), domain) {
        Ok(Some(found)) => found.hosts,
        // It stands for itself, and it is not this host.
        Ok(None) => return MxPlace::Absent,
        Err(obstacle) => return MxPlace::Unknown(obstacle),
    };
    let best = hosts.first().map(|best| best.preference);
    let place = |preference| match best == Some(preference) {
        true => MxPlace::Best,
        false => MxPlace::Behind,
    };
    let hostname = site.config.hostname.as_str();
    if let Some(us) = hosts.iter().find(|mx| mx.host.eq_ignore_ascii_case(hostname)) {
        return place(us.preference);
    }
    // The system is asked for our addresses only where our name is not among theirs.
    let ourselves = Ourselves::of(&site.config);
    let (began, mut unsure) = (Instant::now(), None);
    for (index, mx) in hosts.iter().enumerate().filter(|(_, mx)| !is_ip(&mx.host)) {
        if index >= HOP_HOSTS_MAX || began.elapsed() >= HOP_LOOKUPS {
            let words = format!("{domain} has too many MX hosts to look for this one");
            return MxPlace::Unknown(Obstacle::temporary("4.4.3", words));
        }
        match site.resolver().addresses(&mx.host) {
            Ok(Addresses::Found(addresses)) => {
                let port = site.config.relay.port;
                let mut addresses = addresses.iter().map(|ip| SocketAddr::new(*ip, port));
                if addresses.any(|address| ourselves.is_address(address)) {
                    return place(mx.preference);
                }
            }
            Ok(Addresses::None | Addresses::NoDomain) => {}
            Err(error) => unsure = Some(Obstacle::temporary("4.4.3", error.to_string())),
        }
    }
    unsure.map_or(MxPlace::Absent, MxPlace::Unknown)
}
