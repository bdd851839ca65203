//! The next hop of mail for another host, before that hop is connected to.

use crate::mail::address::Host;
use crate::route::next_hop::{Explained, Hop, Obstacle, Ourselves, Way, explain, way};
use crate::site::Site;

/// What would become of mail for another host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Onward {
    /// Sent to the first of these that takes it.
    Sent(Vec<Hop>),
    /// No host can be found now.
    Waits(Option<Obstacle>),
    /// No host can ever be found: it goes back to its sender.
    Returned(Obstacle),
}

/// The way, its steps, and their end.
pub fn onward(site: &Site, ourselves: &Ourselves, host: &Host) -> (Way, Vec<String>, Onward) {
    let way = way(&site.config, host);
    let Explained { steps, hops, obstacle } = explain(site, ourselves, &way);
    let onward = match (hops.is_empty(), obstacle) {
        (false, _) => Onward::Sent(hops),
        (true, Some(obstacle)) if obstacle.is_permanent => Onward::Returned(obstacle),
        (true, obstacle) => Onward::Waits(obstacle),
    };
    (way, steps, onward)
}

impl Onward {
    /// The step that says this.
    pub fn step(&self) -> String {
        let with = |verb: &str, obstacle: &Obstacle| {
            let (code, status) = (obstacle.code(), obstacle.status);
            format!("{verb} with {code} {status}: {}", obstacle.words)
        };
        match self {
            Onward::Returned(obstacle) => with("returned", obstacle),
            Onward::Waits(Some(obstacle)) => with("waits", obstacle),
            Onward::Waits(None) => "waits: no host found".to_owned(),
            Onward::Sent(hops) => match &hops[..] {
                [first, _, ..] => {
                    format!("sent to {first}, else to the next of {} more", hops.len() - 1)
                }
                hops => format!("sent to {}", hops.first().map(Hop::to_string).unwrap_or_default()),
            },
        }
    }
}
