//! The DKIM keys of each domain that signs: files that cannot be used, and what DNS has not shown, as far as a server
//! or a command has asked. Asks nobody and writes nothing.

use super::Weight;
use crate::site::Site;

/// What is wrong.
pub fn look(site: &Site) -> Vec<(Weight, String)> {
    let mut lines = Vec::new();
    for domain in site.signing().domains() {
        let faults = site.signing().faults(&domain).into_iter();
        lines.extend(faults.map(|words| (Weight::Error, words)));
        let doubts = site.signing().doubts(&domain).into_iter();
        lines.extend(doubts.map(|words| (Weight::Warning, words)));
    }
    lines
}
