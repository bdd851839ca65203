//! Lists of domains and networks in main.cf: names, `/file/name`, `type:table` and `!pattern` (postconf(5), match_list).

use super::files::PostfixFiles;
use super::lines::{logical_lines, words};
use super::maps::Maps;
use crate::config::Network;
use crate::limits::MACRO_DEPTH;
use crate::mail::address::Domain;

/// What a list has, in its order, and words for what in it cannot be used here.
#[derive(Clone, Debug, Default)]
pub struct MatchList {
    /// Plain patterns and the keys of tables.
    pub patterns: Vec<String>,
    pub remarks: Vec<String>,
}

/// Reads a list; `name` is its parameter, for remarks.
pub fn match_list(name: &str, list: &str, files: &PostfixFiles) -> MatchList {
    let mut found = MatchList::default();
    let mut excluded = Vec::new();
    found.add(name, list, files, &mut excluded, 0);
    for pattern in excluded {
        let words = format!(
            "{name}: !{pattern}: taken out of the list where it stands there as such, and of no use for what is \
                             inside of a larger network or domain: look at it"
        );
        found.remarks.push(words);
    }
    found
}

impl MatchList {
    fn add(
        &mut self,
        name: &str,
        list: &str,
        files: &PostfixFiles,
        excluded: &mut Vec<String>,
        depth: usize,
    ) {
        for word in words(list) {
            let bare = word.trim_start_matches('!');
            if (word.len() - bare.len()) % 2 == 1 {
                excluded.push(bare.to_owned());
                continue;
            }
            if bare.starts_with('/') {
                match files.read(bare) {
                    Ok(_) if depth > MACRO_DEPTH => {}
                    Ok(octets) => {
                        for line in logical_lines(&octets) {
                            self.add(name, &line.text, files, excluded, depth + 1);
                        }
                    }
                    Err(why) => self.remarks.push(format!("{name}: {why}")),
                }
                continue;
            }
            if is_table(bare) {
                let maps = Maps::read(bare, files);
                let unread =
                    maps.unread.iter().map(|(table, why)| format!("{name}: {table}: {why}"));
                self.remarks.extend(unread);
                for entry in maps.entries {
                    self.push(&entry.key, excluded);
                }
                continue;
            }
            self.push(bare, excluded);
        }
    }

    fn push(&mut self, pattern: &str, excluded: &[String]) {
        let is_known = self.patterns.iter().chain(excluded).any(|known| known == pattern);
        if !is_known {
            self.patterns.push(pattern.to_owned());
        }
    }

    /// The patterns that are domains; address literals are this host, and need no table.
    pub fn domains(&mut self, name: &str) -> Vec<Domain> {
        let mut domains: Vec<Domain> = Vec::new();
        for pattern in &self.patterns {
            match Domain::of_host(pattern.trim_end_matches('.')) {
                Ok(domain) if domains.contains(&domain) => {}
                Ok(domain) => domains.push(domain),
                Err(_) if pattern.starts_with('[') => {}
                Err(why) => self.remarks.push(format!("{name}: {pattern}: {why}: left out")),
            }
        }
        domains
    }

    /// The patterns that are networks.
    pub fn networks(&mut self, name: &str) -> Vec<Network> {
        let mut networks: Vec<Network> = Vec::new();
        for pattern in &self.patterns {
            match network(pattern) {
                Some(network) if networks.contains(&network) => {}
                Some(network) => networks.push(network),
                None => self.remarks.push(format!(
                    "{name}: {pattern}: it is no network that can be read here: left out"
                )),
            }
        }
        networks
    }
}

/// `192.0.2.0/24`, `[2001:db8::]/32`, `192.0.2.1`.
fn network(pattern: &str) -> Option<Network> {
    let (address, bits) =
        pattern.split_once('/').map_or((pattern, None), |(address, bits)| (address, Some(bits)));
    let address: std::net::IpAddr =
        address.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Some(most), |bits| bits.parse().ok()).filter(|bits| *bits <= most)?;
    // Clients of IPv4 are never written as IPv6, so a mapped network would match none.
    Some(match (address.to_canonical(), bits) {
        (v4, 96..) if address.is_ipv6() && v4.is_ipv4() => {
            Network { address: v4, bits: bits - 96 }.masked()
        }
        _ => Network { address, bits }.masked(),
    })
}

/// Whether a word of a list names a table; a colon of an IPv6 address does not.
fn is_table(word: &str) -> bool {
    let Some((kind, _)) = word.split_once(':') else { return false };
    kind.len() > 1
        && kind.bytes().all(|b| b.is_ascii_alphabetic())
        && word.parse::<std::net::Ipv6Addr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn domains_and_networks() {
        let files = PostfixFiles::of(Path::new("/nowhere"));
        let text = "a.test, !b.test B.test b.test, inline:{c.test=x, a.test=y} [192.0.2.1] a_b /nowhere/list";
        let mut list = match_list("mydestination", text, &files);
        let domains: Vec<String> =
            list.domains("mydestination").iter().map(Domain::to_string).collect();
        assert_eq!(domains, ["a.test", "b.test", "c.test"]);
        assert_eq!(list.remarks.len(), 3, "{:#?}", list.remarks);
        let text = "127.0.0.0/8 [::1]/128 192.0.2.7 192.0.2.7/24 [fe80::]/10 [::ffff:10.0.0.0]/104 nonsense 10.0.0.0/33 hash:/x";
        let mut list = match_list("mynetworks", text, &files);
        let networks: Vec<String> =
            list.networks("mynetworks").iter().map(Network::to_string).collect();
        assert_eq!(
            networks,
            ["127.0.0.0/8", "::1/128", "192.0.2.7/32", "192.0.2.0/24", "fe80::/10", "10.0.0.0/8"]
        );
        assert_eq!(list.remarks.len(), 3, "{:#?}", list.remarks);
    }
}
