//! The lists of clients, tested as a server tests them at its start.

use super::Weight;
use crate::gates::blocklists::{TestedList, test};
use crate::site::Site;
use std::fmt::Write as _;

/// A line for each list that works, and what is wrong with the others. Asks DNS only where there are lists.
pub fn look(site: &Site) -> (String, Vec<(Weight, String)>) {
    let (mut good, mut bad) = (String::new(), Vec::new());
    let place = site.config.place("trust.blocklists");
    for list in &site.config.trust.blocklists {
        let zone = &list.zone;
        match test(site.resolver(), zone) {
            TestedList::Works(ipv6) => {
                let codes: Vec<String> = list.codes.iter().map(ToString::to_string).collect();
                // Writing into a String cannot fail.
                let _ = writeln!(good, "blocklist {zone}, codes {}: {ipv6}", codes.join(" "));
            }
            TestedList::Wrong(why) => {
                let words =
                    format!("{place}: {zone} is off while its test points are wrong: {why}");
                bad.push((Weight::Error, words));
            }
            TestedList::Silent(why) => {
                bad.push((Weight::Warning, format!("{place}: {zone} could not be tested: {why}")));
            }
        }
    }
    (good, bad)
}
