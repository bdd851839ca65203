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
mod held;
mod hosts;
mod obstacle;
mod ourselves;
mod promise;
mod tls_seen;
mod way;

use crate::mail::address::Domain;
use crate::mail::envelope::TlsWish;
use crate::net::dns::{Mx, MxAnswer, MxHost, Resolver};
use crate::net::stream::Endpoint;
use crate::site::{Password, Site};
pub use backup::{MxPlace, mx_place};
pub use demand::{Demand, PkiDemand, PolicyDemand, TlsaDemand};
pub use hosts::NextHops;
pub use obstacle::Obstacle;
pub use ourselves::Ourselves;
pub use promise::{NO_PROMISE, unpromised};
use std::fmt;
use std::sync::Arc;
pub use tls_seen::TlsSeen;
pub use way::{Way, way};

/// A host to speak to, at one of its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The name by MX, a route or the smarthost; for the log and for notices.
    pub name: String,
    pub address: Endpoint,
    pub demand: Demand,
    /// What we log in with, once the host has shown what is demanded.
    pub login: Option<Arc<Password>>,
    /// The domain whose mail host it is, found by MX; none where the configuration names the host, or the
    /// message wants no policy to hold.
    pub domain: Option<Domain>,
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

impl Hop {
    /// A host that owes nothing.
    pub fn offered(name: &str, address: impl Into<Endpoint>) -> Hop {
        let (name, address, demand) = (name.to_owned(), address.into(), Demand::Offered);
        Hop { name, address, demand, login: None, domain: None }
    }
}

/// The hosts for one attempt of a message with this wish. Looks up only what is needed for the first one; where
/// there is none, [`NextHops::trouble`] says why.
pub fn next_hops<'a>(
    site: &'a Site,
    ourselves: &'a Ourselves,
    way: &Way,
    wish: TlsWish,
) -> Result<NextHops<'a>, Obstacle> {
    let mut hops = NextHops::new(site, ourselves, way, wish);
    hops.find()?;
    hops.fill();
    Ok(hops)
}

/// All hosts of an attempt, with the steps in words.
pub fn explain(site: &Site, ourselves: &Ourselves, way: &Way) -> Explained {
    let mut next = NextHops::new(site, ourselves, way, TlsWish::Usual);
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

/// The MX hosts of a domain.
struct MailHosts {
    /// The best first.
    hosts: Vec<MxHost>,
    /// As [`MxAnswer::secure`].
    is_secure: bool,
    /// As [`MxAnswer::end`].
    end: Option<String>,
}

/// The MX hosts of a domain; none when the domain has no MX.
fn mail_hosts(resolver: &dyn Resolver, domain: &Domain) -> Result<Option<MailHosts>, Obstacle> {
    let answer = resolver.mx(domain);
    let (is_secure, end) = match &answer {
        Ok(MxAnswer { secure, end, .. }) => (*secure, end.clone()),
        Err(_) => (false, None),
    };
    match answer.map(|answer| answer.mx) {
        Ok(Mx::Hosts(hosts)) => Ok(Some(MailHosts { hosts, is_secure, end })),
        Ok(Mx::None) => Ok(None),
        Ok(Mx::NoDomain) => Err(Obstacle::permanent("5.1.2", format!("{domain}: no such domain"))),
        Ok(Mx::Null) => {
            let words = format!("{domain} takes no mail: null MX");
            Err(Obstacle::permanent(obstacle::NULL_MX, words))
        }
        Err(error) => Err(Obstacle::temporary("4.4.3", error.to_string())),
    }
}
