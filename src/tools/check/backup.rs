//! The domains of `relay.backup`: whether a better MX would ever get their mail. Asks DNS.

use super::Weight;
use crate::route::next_hop::{MxPlace, mx_place};
use crate::site::Site;

/// What is wrong with each.
pub fn look(site: &Site) -> Vec<(Weight, String)> {
    let mut found = Vec::new();
    for (backup, recipients) in site.backups() {
        let (place, domain) = (site.config.place(&backup.key), &backup.name);
        if recipients.is_none() {
            let words = "takes every recipient: what the better MX refuses comes back from here \
                         (backscatter); a file of recipients says who exists";
            found.push((Weight::Warning, format!("{place}: {words}")));
        }
        let (weight, words) = match mx_place(site, domain) {
            MxPlace::Behind => continue,
            MxPlace::Absent => {
                (Weight::Error, format!("this host is not among the MX of {domain}"))
            }
            MxPlace::Best => (Weight::Error, format!("no MX of {domain} is better than this host")),
            MxPlace::Unknown(obstacle) if obstacle.is_permanent => (Weight::Error, obstacle.words),
            MxPlace::Unknown(obstacle) => (Weight::Warning, obstacle.words),
        };
        found.push((weight, format!("{place}: {words}")));
    }
    found
}
