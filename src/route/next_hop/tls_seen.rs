//! How TLS with one host ended: for the counters, and for the reports to its owner (RFC 8460 §4.4). Made where a
//! host is passed over before it is connected to, and where a connection ends its greeting.

use super::Demand;
use crate::mail::address::Domain;
use crate::smtp::tls_failure::TlsTrouble;
use std::net::IpAddr;

/// One connection to a host, or a host that was passed over because of the TLS that it owes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSeen {
    /// The recipients' domain, whose MX the host is; none for hosts that the configuration names, and
    /// for mail that no policy holds back.
    pub domain: Option<Domain>,
    /// What the host was held to, with the records or the policy.
    pub demand: Demand,
    /// The host's name, as its MX record or the configuration has it.
    pub host: String,
    /// Its address; none where it was not connected to.
    pub receiving: Option<IpAddr>,
    /// Our own end of the connection; none where there was none.
    pub sending: Option<IpAddr>,
    /// TLS as it was demanded; else why not.
    pub outcome: Result<(), TlsTrouble>,
}
