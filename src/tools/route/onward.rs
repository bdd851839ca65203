//! Where mail for another host is handed to, and what would come of it before that host is spoken to.

use crate::mail::address::Host;
use crate::route::next_hop::{Explained, Hop, Obstacle, Ourselves, Way, explain, way};
use crate::site::Site;

/// The last step of mail for another host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Onward {
    /// To the first of these that takes it.
    Sent(Vec<Hop>),
    /// Nobody can be asked for now.
    Waits(Option<Obstacle>),
    /// Nobody ever can: it goes back to its sender.
    Returned(Obstacle),
}

/// The way, the steps to its end, and that end.
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
    /// In words.
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
