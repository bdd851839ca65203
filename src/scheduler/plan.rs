//! Where each part of a waiting message is to go, by the configuration as it is now: a mended
//! configuration mends the queue.

use super::due;
use crate::mail::address::{Domain, Host, Mailbox};
use crate::route::next_hop::{Way, way};
use crate::site::Site;
use crate::store::queue::Waiting;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fmt;

/// Where a part of a message is to go: what is attempted together, and backs off together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Goal {
    /// A mailbox here, in lower case: another one may be written while this one cannot.
    Here(String),
    /// A next hop.
    Away(Way),
}

/// What is to be brought to one goal of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub goal: Goal,
    pub due: Timestamp,
    /// It waits only because its goal is left alone: it goes as soon as that answers somebody.
    pub is_held: bool,
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Goal::Here(mailbox) => write!(f, "the mailbox {mailbox}"),
            Goal::Away(way) => way.fmt(f),
        }
    }
}

impl Goal {
    /// Where a mailbox's mail goes.
    pub fn of(site: &Site, mailbox: &Mailbox) -> Goal {
        match &mailbox.host {
            Host::Domain(domain) if site.domain(domain).is_some() => {
                Goal::Here(mailbox.to_string().to_ascii_lowercase())
            }
            host => Goal::Away(way(&site.config, host)),
        }
    }
}

impl Goal {
    /// Whether mail for a domain (and, when so asked, for its subdomains) goes there.
    pub fn is_of(&self, site: &Site, domain: &Domain, and_below: bool) -> bool {
        let below = |name: &Domain| {
            let above = name.as_str().strip_suffix(domain.as_str());
            and_below && above.is_some_and(|rest| rest.ends_with('.'))
        };
        match self {
            Goal::Away(Way::Mx(name)) if name == domain || below(name) => true,
            Goal::Away(away) => *away == way(&site.config, &Host::Domain(domain.clone())),
            Goal::Here(_) => false,
        }
    }
}

/// The goals of a message's open recipients, and when each is due.
pub fn parts(site: &Site, waiting: &Waiting) -> Vec<Part> {
    let mut parts: BTreeMap<Goal, (Timestamp, bool)> = BTreeMap::new();
    let relay = &site.config.relay;
    // Written while the clock was wrong: nothing waits longer than it could.
    let longest = relay.retry.iter().max().copied().unwrap_or_default();
    let latest = due::later(Timestamp::now(), longest + longest / 10);
    for index in waiting.open() {
        let progress = &waiting.progress[index];
        let goal = Goal::of(site, &waiting.entry.recipients[index].mailbox);
        let due = due::next(&waiting.entry, progress, relay).min(latest);
        let part = parts.entry(goal).or_insert((due, false));
        *part = (due.min(part.0), part.1 || progress.held.is_some());
    }
    let part = |(goal, (due, is_held))| Part { goal, due, is_held };
    parts.into_iter().map(part).collect()
}
