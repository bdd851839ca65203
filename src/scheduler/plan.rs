//! The goals of a waiting message, by the configuration as it is now: so a mended configuration helps mail
//! that waits already.

use crate::config::MilterService;
use crate::mail::address::{Domain, Host, Mailbox};
use crate::mail::envelope::TlsWish;
use crate::outcome::is_answer;
use crate::retry;
use crate::route::is_only_alias;
use crate::route::next_hop::{Way, way};
use crate::site::Site;
use crate::store::entry::{Entry, RecipientProgress};
use crate::store::queue::QueuedMessage;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fmt;

/// Where a part of a message has to go. Mail for the same goal is attempted and backs off together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Goal {
    /// A mailbox here, in lower case. Each is a goal of its own, because one may fail while others can be
    /// written.
    Here(String),
    /// A next hop, and what mail for it says about TLS: a host that cannot have the one may well get the other.
    Away(Way, TlsWish),
    /// The filters of mail that was sent by sendmail, before any other goal of it.
    Filters,
}

/// The part of a message that has the same goal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub goal: Goal,
    pub due: Timestamp,
    /// Whether it waits only because its goal is left alone: then it is due as soon as the goal answers.
    pub is_held: bool,
    /// What the journal says about the last attempt; none before the first.
    pub seen: Option<Seen>,
}

/// What the last attempt showed about a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    pub when: Timestamp,
    /// Whether no host answered.
    pub is_missed: bool,
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Goal::Here(mailbox) => write!(f, "the mailbox {mailbox}"),
            Goal::Away(way, TlsWish::Usual) => way.fmt(f),
            Goal::Away(way, TlsWish::Required) => write!(f, "{way}, with REQUIRETLS"),
            Goal::Away(way, TlsWish::NotRequired) => write!(f, "{way}, with TLS-Required: No"),
            Goal::Filters => f.write_str("the filters"),
        }
    }
}

impl Goal {
    /// The goal of a recipient of a message.
    pub fn of_recipient(site: &Site, entry: &Entry, recipient: usize) -> Goal {
        // By the configuration as it is now: without filters such mail waits for nobody.
        match entry.is_unfiltered && site.config.is_filtered(MilterService::Sendmail) {
            true => Goal::Filters,
            false => Goal::of(site, &entry.recipients[recipient].mailbox, entry.sender.tls),
        }
    }

    /// The goal of mail that says this about TLS, for a mailbox.
    pub fn of(site: &Site, mailbox: &Mailbox, tls: TlsWish) -> Goal {
        match site.local(&mailbox.host) {
            Some(local) => match &local.config.lmtp {
                Some(server) if !is_only_alias(local, mailbox) => {
                    // It keeps mail of ours, and is no hop.
                    Goal::Away(Way::Lmtp(server.clone()), TlsWish::Usual)
                }
                _ => Goal::Here(mailbox.to_string().to_ascii_lowercase()),
            },
            None => Goal::Away(way(&site.config, &mailbox.host), tls),
        }
    }
}

impl Goal {
    /// Whether mail for a domain has this goal; `and_below`: for its subdomains as well.
    pub fn is_of(&self, site: &Site, domain: &Domain, and_below: bool) -> bool {
        let below = |name: &Domain| {
            let above = name.as_str().strip_suffix(domain.as_str());
            and_below && above.is_some_and(|rest| rest.ends_with('.'))
        };
        match self {
            Goal::Away(Way::Mx(name), _) if name == domain || below(name) => true,
            Goal::Away(away, _) => *away == way(&site.config, &Host::Domain(domain.clone())),
            Goal::Here(_) | Goal::Filters => false,
        }
    }
}

/// The goals of a message's open recipients, and when each is due.
pub fn parts(site: &Site, waiting: &QueuedMessage) -> Vec<Part> {
    let mut parts: BTreeMap<Goal, Part> = BTreeMap::new();
    let (relay, now) = (&site.config.relay, Timestamp::now());
    for index in waiting.open() {
        let progress = &waiting.progress[index];
        let goal = Goal::of_recipient(site, &waiting.entry, index);
        let due = retry::next(&waiting.entry, progress, relay, now);
        let new = || Part { goal: goal.clone(), due, is_held: false, seen: None };
        let part = parts.entry(goal.clone()).or_insert_with(new);
        part.due = part.due.min(due);
        part.is_held |= progress.held.is_some();
        part.seen = part.seen.max(seen(progress));
    }
    parts.into_values().collect()
}

/// What the journal of a recipient says about its goal: a host's reply is an answer, our own words are
/// none, and a goal that is left alone did not answer.
fn seen(progress: &RecipientProgress) -> Option<Seen> {
    let when = progress.moments.last()?.when;
    let is_missed = match (&progress.held, &progress.last) {
        (Some(_), _) => true,
        (None, Some(line)) => !is_answer(&line.words),
        (None, None) => return None,
    };
    Some(Seen { when, is_missed })
}
