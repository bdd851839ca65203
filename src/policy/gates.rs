//! Whom the gates are about: who may name a client, who is always heard, and by what a stranger is known again.

use crate::mail::address::{ForwardPath, ReversePath};
use crate::mail::proof::findings::ProofFindings;
use crate::mail::proof::spf::{SpfFinding, SpfResult};
use crate::route;
use crate::site::Site;
use crate::store::grey::GreySource;
use std::net::IpAddr;

/// Whether its connections begin with a PROXY header, which names the client (`listen.proxy`).
pub fn is_balancer(site: &Site, client: IpAddr) -> bool {
    site.config.listen.proxy.iter().any(|network| network.contains(client))
}

/// Whether a recipient hears what others are refused: whoever is kept out by mistake has to be able to say so
/// to somebody (RFC 5321 §4.5.1).
pub fn is_always_heard(site: &Site, path: &ForwardPath) -> bool {
    match path {
        ForwardPath::Postmaster => true,
        ForwardPath::Mailbox(mailbox) => {
            route::is_postmaster(site, mailbox) || super::backup::is_postmaster(site, mailbox)
        }
    }
}

/// By whom a stranger's mail comes, where it may have to come back: the sender's domain where SPF vouches for
/// the client, else its network, as for the null sender, whom no domain sends. None for those that
/// `trust.allow` lets through.
pub fn grey_source<'a>(
    site: &Site,
    client: IpAddr,
    from: &ReversePath,
    findings: Option<&'a ProofFindings>,
) -> Option<GreySource<'a>> {
    let passed = |found: &'a SpfFinding| match found.result {
        SpfResult::Pass => found.name.as_ref(),
        _ => None,
    };
    let proved = findings.and_then(ProofFindings::sender).and_then(passed);
    let allow = &site.config.trust.allow;
    if proved.is_some_and(|proved| allow.iter().any(|domain| proved.is_within(domain))) {
        return None;
    }
    let domain = proved.filter(|_| *from != ReversePath::Null);
    Some(domain.map_or(GreySource::Network(client), GreySource::Domain))
}
