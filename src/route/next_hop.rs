//! The hosts that remote mail is given to: from a way to its hosts and addresses, one after the other (RFC
//! 5321 §5, RFC 7505).
//!
//! Looked up anew for each attempt, because DNS may have changed. Asks DNS and opens no connection.
//! `facteur route` prints the steps, and the same function chooses for an attempt, so the two cannot
//! differ.
//!
//! Mail fails only by what DNS says for sure, and only on a way by MX: where the configuration names a host
//! that does not exist, the administrator can mend that, and mail waits.

mod backup;
mod demand;
mod hosts;
mod obstacle;
mod ourselves;
mod way;

use crate::mail::address::Domain;
use crate::net::dns::{Mx, MxHost, Resolver};
use crate::net::stream::Endpoint;
use crate::site::Site;
pub use backup::{MxPlace, mx_place};
pub use demand::Demand;
pub use hosts::NextHops;
pub use obstacle::Obstacle;
pub use ourselves::Ourselves;
use std::fmt;
pub use way::{Way, way};

/// A host to speak to, at one of its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The name by MX, a route or the smarthost; for the log and for notices.
    pub name: String,
    pub address: Endpoint,
    pub demand: Demand,
}

/// What an attempt would find, with its steps.
pub struct Explained {
    /// The steps in words, in order.
    pub steps: Vec<String>,
    /// Hosts in the order in which they would be tried; another attempt may shuffle them differently.
    pub hops: Vec<Hop>,
    /// Why there is no host, or what was left out.
    pub obstacle: Option<Obstacle>,
}

/// The hosts for one attempt, at least one. Looks up only what is needed for the first one.
pub fn next_hops<'a>(
    site: &'a Site,
    ourselves: &'a Ourselves,
    way: &Way,
) -> Result<NextHops<'a>, Obstacle> {
    let mut hops = NextHops::new(site, ourselves, way);
    hops.find()?;
    hops.fill();
    match hops.trouble().filter(|_| hops.ready.is_empty()) {
        Some(obstacle) => Err(obstacle),
        None => Ok(hops),
    }
}

/// All hosts of an attempt, with the steps in words.
pub fn explain(site: &Site, ourselves: &Ourselves, way: &Way) -> Explained {
    let mut next = NextHops::new(site, ourselves, way);
    next.steps = Some(vec![way.to_string()]);
    let found = next.find();
    let hops = next.by_ref().collect();
    let obstacle = found.err().or_else(|| next.trouble());
    Explained { steps: next.steps.unwrap_or_default(), hops, obstacle }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address.address() {
            Some(address) => write!(f, "{} [{}]:{}", self.name, address.ip(), address.port()),
            None => f.write_str(&self.name),
        }
    }
}

/// The MX hosts of a domain, the best first; none when the domain has no MX.
fn mail_hosts(resolver: &dyn Resolver, domain: &Domain) -> Result<Option<Vec<MxHost>>, Obstacle> {
    match resolver.mx(domain) {
        Ok(Mx::Hosts(hosts)) => Ok(Some(hosts)),
        Ok(Mx::None) => Ok(None),
        Ok(Mx::NoDomain) => Err(Obstacle::permanent("5.1.2", format!("{domain}: no such domain"))),
        Ok(Mx::Null) => {
            let words = format!("{domain} takes no mail: null MX");
            Err(Obstacle::permanent(obstacle::NULL_MX, words))
        }
        Err(error) => Err(Obstacle::temporary("4.4.3", error.to_string())),
    }
}
