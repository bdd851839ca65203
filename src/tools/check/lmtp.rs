//! Servers that keep the mail of domains here: whether each can be spoken to by LMTP at this moment.

use crate::relay::greet_kept;
use crate::site::Site;
use std::collections::BTreeSet;

/// What is wrong, a line for each server.
pub fn look(site: &Site) -> Vec<String> {
    let (mut bad, mut seen) = (Vec::new(), BTreeSet::new());
    for local in site.domains() {
        let Some(server) = local.config.lmtp.as_ref().filter(|server| seen.insert(*server)) else {
            continue;
        };
        if let Err(why) = greet_kept(site, server) {
            let place = site.config.place(&format!("{}.lmtp", local.config.key));
            bad.push(format!("{place}: no mail can be handed to {server}: {why}"));
        }
    }
    bad
}
