//! What a stranger has met at the gates: asked at the first recipient that exists, and the same for those after
//! it.

use crate::event::{Event, tell};
use crate::gates::Gates;
use crate::mail::address::{ForwardPath, ReversePath};
use crate::mail::proof::findings::ProofFindings;
use crate::policy::{self, Facts, Finding, Opinion};
use crate::site::Site;
use crate::store::grey::{GreyAnswer, GreyKey, GreySource};
use std::net::IpAddr;

/// The answers of one session.
#[derive(Default)]
pub(super) struct Passage {
    /// Whether a list has the client: none before it was asked.
    listed: Option<Option<Finding>>,
    /// Whether this transaction has to come back: none before it was asked.
    waits: Option<Option<Finding>>,
    /// Who was told last to come back, so that a session that tries again and again is told of once.
    told: Option<GreyKey>,
}

/// Who wants to write to whom.
pub(super) struct Passer<'a> {
    pub site: &'a Site,
    pub facts: &'a Facts,
    pub from: &'a ReversePath,
    /// What was found out about the sender; none where nothing was asked.
    pub findings: Option<&'a ProofFindings>,
    /// A recipient that exists.
    pub to: &'a ForwardPath,
}

impl Passage {
    /// Whether the recipient may be written to now.
    pub fn opinion(&mut self, gates: &Gates, passer: &Passer<'_>) -> Opinion {
        let Passer { site, facts, to, .. } = passer;
        let is_open = site.config.trust.blocklists.is_empty() && site.config.greylist.is_none();
        if is_open || !policy::is_stranger(site, facts) || policy::gates::is_always_heard(site, to)
        {
            return Opinion::Take;
        }
        let listed = match site.config.trust.blocklists.is_empty() {
            true => None,
            false => self.listed.get_or_insert_with(|| ask_lists(gates, site, facts)).clone(),
        };
        if listed.is_some() || site.config.greylist.is_none() {
            return policy::opinion(listed);
        }
        if self.waits.is_none() {
            self.waits = Some(self.ask_greylist(gates, passer));
        }
        policy::opinion(self.waits.clone().flatten())
    }

    /// The transaction is over.
    pub fn end(&mut self) {
        self.waits = None;
    }

    fn ask_greylist(&mut self, gates: &Gates, passer: &Passer<'_>) -> Option<Finding> {
        let Passer { site, facts, from, findings, .. } = passer;
        let source = policy::gates::grey_source(site, facts.client, from, *findings)?;
        let GreyAnswer::Waits(wait) = gates.attempt(site, &source, from) else { return None };
        let key = GreyKey::of(&source, from);
        if self.told.replace(key) != Some(key) {
            tell_greylisted(facts, from, &source, wait.as_secs());
        }
        Some(Finding::Greylisted(wait))
    }
}

fn tell_greylisted(facts: &Facts, from: &ReversePath, source: &GreySource<'_>, wait: u64) {
    let (session, client) = (facts.id.as_str(), facts.client);
    let (from, by) = (&from.to_string(), &source.to_string());
    tell(&Event::Greylisted { session, client, from, by, wait });
}

/// Asks the lists about the client, and tells what one of them says.
fn ask_lists(gates: &Gates, site: &Site, facts: &Facts) -> Option<Finding> {
    let (lists, client) = (&site.config.trust.blocklists, facts.client);
    let listed = gates.lists.ask(site.resolver(), lists, client)?;
    tell(&Event::Blocklisted {
        session: &facts.id,
        client,
        list: &listed.zone.to_string(),
        code: IpAddr::V4(listed.code),
        text: listed.text.as_deref().unwrap_or_default(),
    });
    Some(Finding::Listed(client, listed.public_name(), listed.text))
}
