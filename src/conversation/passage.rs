//! What a stranger has met at the gates: asked at the first recipient that exists, and the same for those after
//! it.

use crate::event::{Event, tell};
use crate::gates::Gates;
use crate::mail::address::ForwardPath;
use crate::policy::{self, Facts, Finding, Opinion};
use crate::site::Site;
use std::net::IpAddr;

/// The answers of one session.
#[derive(Default)]
pub(super) struct Passage {
    /// Whether a list has the client: none before it was asked.
    listed: Option<Option<Finding>>,
}

impl Passage {
    /// Whether a recipient that exists may be written to by this client.
    pub fn opinion(
        &mut self,
        gates: &Gates,
        site: &Site,
        facts: &Facts,
        path: &ForwardPath,
    ) -> Opinion {
        if !policy::is_stranger(site, facts) || policy::is_always_heard(site, path) {
            return Opinion::Take;
        }
        let lists = &site.config.trust.blocklists;
        if lists.is_empty() {
            return Opinion::Take;
        }
        let listed = self.listed.get_or_insert_with(|| ask_lists(gates, site, facts));
        policy::opinion(listed.clone())
    }
}

/// Asks the lists about the client, and tells what one of them says.
fn ask_lists(gates: &Gates, site: &Site, facts: &Facts) -> Option<Finding> {
    let (lists, client) = (&site.config.trust.blocklists, facts.client);
    let listing = gates.lists.ask(site.resolver(), lists, client)?;
    tell(&Event::Blocklisted {
        session: &facts.id,
        client,
        list: &listing.zone.to_string(),
        code: IpAddr::V4(listing.code),
        text: listing.text.as_deref().unwrap_or_default(),
    });
    Some(Finding::Listed(client, listing.public_name(), listing.text))
}
