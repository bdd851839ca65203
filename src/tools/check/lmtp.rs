//! Servers that keep the mail of domains here: whether each can be spoken to by LMTP at this moment.

use super::Weight;
use crate::config::LmtpServer;
use crate::relay::greet_kept;
use crate::site::Site;
use std::collections::BTreeSet;

/// What is wrong, a line for each server. One that has not made its socket was not started yet, as after `setup`
/// and at boot: a warning, because mail only waits with its senders.
pub fn look(site: &Site) -> Vec<(Weight, String)> {
    let (mut bad, mut seen) = (Vec::new(), BTreeSet::new());
    for local in site.domains() {
        let Some(server) = local.config.lmtp.as_ref().filter(|server| seen.insert(*server)) else {
            continue;
        };
        if let Err(why) = greet_kept(site, server) {
            let place = site.config.place(&format!("{}.lmtp", local.config.key));
            let (weight, so) = match server {
                LmtpServer::Unix(path) if !path.exists() => {
                    (Weight::Warning, "; start it, until then its mail hears 451")
                }
                _ => (Weight::Error, ""),
            };
            bad.push((weight, format!("{place}: no mail can be handed to {server}: {why}{so}")));
        }
    }
    bad
}
