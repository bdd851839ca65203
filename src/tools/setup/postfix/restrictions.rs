//! What strangers meet at Postfix, `smtpd_*_restrictions` and postscreen's lists: lists of clients in DNS become ours,
//! and the rest is named where it is not simply what a server does here. Pure.

use super::lines::{braced, words};
use super::main_cf::MainCf;
use crate::mail::proof::blocklist::CodeRange;

/// A list of clients in DNS, as `trust.blocklists` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedBlocklist {
    pub zone: String,
    /// Empty: the usual ones.
    pub codes: Vec<String>,
}

/// All that the restrictions of a main.cf come to.
#[derive(Clone, Debug, Default)]
pub struct Restrictions {
    pub blocklists: Vec<MovedBlocklist>,
    /// Whether `mynetworks` may send anywhere.
    pub permits_networks: bool,
    pub remarks: Vec<String>,
}

/// The parameters that are lists of restrictions.
const LISTS: [&str; 8] = [
    "smtpd_client_restrictions",
    "smtpd_helo_restrictions",
    "smtpd_sender_restrictions",
    "smtpd_relay_restrictions",
    "smtpd_recipient_restrictions",
    "smtpd_data_restrictions",
    "smtpd_end_of_data_restrictions",
    "smtpd_etrn_restrictions",
];

/// Restrictions that a server here has by itself, or needs none of.
const SAME: &[&str] = &[
    "permit",
    "reject",
    "defer",
    "defer_if_permit",
    "defer_if_reject",
    "warn_if_reject",
    "permit_mynetworks",
    "permit_sasl_authenticated",
    "permit_auth_destination",
    "permit_inet_interfaces",
    "permit_tls_clientcerts",
    "permit_tls_all_clientcerts",
    "permit_naked_ip_address",
    "reject_unauth_destination",
    "defer_unauth_destination",
    "reject_unauth_pipelining",
    "reject_unlisted_recipient",
    "check_recipient_maps",
    "reject_non_fqdn_recipient",
    "reject_unknown_recipient_domain",
    "reject_multi_recipient_bounce",
    "reject_plaintext_session",
];

/// Whether a parameter is such a list.
pub fn is_restrictions(name: &str) -> bool {
    LISTS.contains(&name)
}

/// All lists of a main.cf.
pub fn restrictions(main: &MainCf) -> Restrictions {
    let mut found = Restrictions::default();
    for name in LISTS {
        let value = main.text(name);
        if matches!(name, "smtpd_relay_restrictions" | "smtpd_recipient_restrictions") {
            found.permits_networks |= words(&value).iter().any(|word| word == "permit_mynetworks");
        }
        if main.is_set(name) {
            found.list(name, &value);
        }
    }
    // Without any list, older levels of compatibility relay for networks by themselves.
    let is_bare = main.text("smtpd_relay_restrictions").is_empty()
        && main.text("smtpd_recipient_restrictions").is_empty();
    found.permits_networks |= is_bare;
    found.postscreen(main);
    found
}

impl Restrictions {
    fn list(&mut self, name: &str, value: &str) {
        let flat: Vec<String> = words(value)
            .into_iter()
            .flat_map(|word| match braced(&word) {
                Some(inside) => words(inside),
                None => vec![word],
            })
            .collect();
        let mut rest = flat.iter().peekable();
        while let Some(word) = rest.next() {
            let word = word.to_ascii_lowercase();
            // What takes an argument has it behind itself.
            let mut argument = || rest.next().cloned().unwrap_or_default();
            let (shown, todo) = match word.as_str() {
                "reject_rbl_client" => {
                    let list = argument();
                    self.blocklist(name, &list);
                    continue;
                }
                "sleep" => {
                    argument();
                    continue;
                }
                same if SAME.contains(&same) => continue,
                "reject_rhsbl_client"
                | "reject_rhsbl_helo"
                | "reject_rhsbl_sender"
                | "reject_rhsbl_reverse_client"
                | "reject_rhsbl_recipient" => (
                    format!("{word} {}", argument()),
                    "lists of domains are not asked; a filter such as rspamd does it ([[milter]])",
                ),
                "permit_dnswl_client" | "permit_rhswl_client" => (
                    format!("{word} {}", argument()),
                    "no list in DNS lets clients pass; trust.allow names domains that are never junk",
                ),
                "check_policy_service" => (
                    format!("{word} {}", argument()),
                    "policy services are not asked here; for greylisting write [greylist], for SPF set trust.spf, for quotas \
                     of users limit.recipients_per_hour (docs/gates.md, docs/trust.md)",
                ),
                "check_recipient_access" => (
                    format!("{word} {}", argument()),
                    "recipients are refused by not being there: take them out of users and aliases files",
                ),
                check if check.starts_with("check_") => (
                    format!("{word} {}", argument()),
                    "no list of clients or senders is read here; block networks in the firewall (fail2ban), and let a filter \
                     judge senders ([[milter]])",
                ),
                sender if sender.contains("sender_login_mismatch") => {
                    (word.clone(), "a user sends under own addresses alone: nothing to do")
                }
                "reject_unverified_recipient" | "reject_unverified_sender" => (
                    word.clone(),
                    "no host is asked whether an address exists; relay.backup names who does",
                ),
                known if known.starts_with("reject_") => (
                    word.clone(),
                    "names of strangers are judged by SPF, DKIM and DMARC (docs/trust.md): nothing to do",
                ),
                _ => (
                    word.clone(),
                    "a class of restrictions has no counterpart: see what is named of its parts",
                ),
            };
            self.remarks.push(format!("{name}: {shown}: {todo}"));
        }
    }

    /// `zone=127.0.0.[2..11]`.
    fn blocklist(&mut self, name: &str, text: &str) {
        let (zone, codes) =
            text.split_once('=').map_or((text, None), |(zone, codes)| (zone, Some(codes)));
        let zone = zone.trim_end_matches('.').to_ascii_lowercase();
        let codes = match codes.map(codes_of) {
            None => Vec::new(),
            Some(Some(codes)) => codes,
            Some(None) => {
                self.remarks.push(format!(
                    "{name}: reject_rbl_client {text}: which of its codes count has to be written into trust.blocklists by \
                     hand; all of its usual ones count until then"
                ));
                Vec::new()
            }
        };
        if crate::mail::address::Domain::of_host(&zone).is_err() {
            self.remarks.push(format!(
                "{name}: reject_rbl_client {text}: {zone} is no name of a list: left out"
            ));
            return;
        }
        match self.blocklists.iter_mut().find(|list| list.zone == zone) {
            // All of its codes count where one place says so.
            Some(list) if list.codes.is_empty() || codes.is_empty() => list.codes.clear(),
            Some(list) => list.codes.extend(codes),
            None => self.blocklists.push(MovedBlocklist { zone, codes }),
        }
    }

    /// Lists whose weight alone reaches the threshold; the others only count together, which they do not here.
    fn postscreen(&mut self, main: &MainCf) {
        let threshold: i64 = main.text("postscreen_dnsbl_threshold").parse().unwrap_or(1);
        for site in words(&main.text("postscreen_dnsbl_sites")) {
            let (list, weight) = site.rsplit_once('*').unwrap_or((&site, "1"));
            let weight: i64 = weight.parse().unwrap_or(1);
            match weight >= threshold {
                true => self.blocklist("postscreen_dnsbl_sites", list),
                false => self.remarks.push(format!(
                    "postscreen_dnsbl_sites: {site}: lists do not count together here, and this one alone does not reach {threshold}: left \
                     out; a filter such as rspamd weighs lists"
                )),
            }
        }
    }
}

/// The ranges of `127.0.0.[2;4..11]` and `127.0.0.2`, as ours are written.
fn codes_of(text: &str) -> Option<Vec<String>> {
    let (prefix, last) = match text.split_once('[') {
        Some((prefix, list)) => (prefix, list.strip_suffix(']')?),
        None => {
            let at = text.rfind('.')? + 1;
            (&text[..at], &text[at..])
        }
    };
    let range = |part: &str| match part.split_once("..") {
        Some((first, end)) => format!("{prefix}{first}-{prefix}{end}"),
        None => format!("{prefix}{part}"),
    };
    let ranges: Vec<String> = last.split(';').map(range).collect();
    ranges.iter().all(|range| CodeRange::parse(range).is_some()).then_some(ranges)
}

#[cfg(test)]
mod tests {
    use super::super::main_cf::SystemNames;
    use super::*;

    fn read(text: &str) -> Restrictions {
        restrictions(&MainCf::parse(text.as_bytes(), SystemNames::default()).0)
    }

    #[test]
    fn lists_in_dns() {
        let found = read(
            "smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination,\n\
             \treject_rbl_client Zen.example.net, reject_rbl_client two.example=127.0.0.[2;4..11]\n\
             \treject_rbl_client three.example=127.0.0.3, reject_rbl_client four.example=127.[0..1].0.2\n\
             smtpd_client_restrictions = reject_rbl_client zen.example.net, reject_rbl_client -bad-\n\
             postscreen_dnsbl_sites = five.example*3, six.example, seven.example*-2\npostscreen_dnsbl_threshold = 2\n",
        );
        let lists: Vec<_> = found
            .blocklists
            .iter()
            .map(|list| format!("{} {}", list.zone, list.codes.join(" ")))
            .collect();
        assert_eq!(
            lists,
            [
                "zen.example.net ",
                "two.example 127.0.0.2 127.0.0.4-127.0.0.11",
                "three.example 127.0.0.3",
                "four.example ",
                "five.example "
            ]
        );
        assert!(found.permits_networks);
        assert_eq!(found.remarks.len(), 4, "{:#?}", found.remarks);
    }

    #[test]
    fn what_is_named() {
        let found = read(
            "compatibility_level = 3.6\nsmtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination\n\
             smtpd_recipient_restrictions = check_policy_service unix:private/policyd-spf\n\
             \t{ check_policy_service inet:127.0.0.1:10023, timeout=10s }\n\
             \tcheck_sender_access hash:/etc/postfix/senders, reject_unknown_sender_domain, my_class, sleep 5, permit\n",
        );
        assert!(!found.permits_networks);
        let begins: Vec<_> = found
            .remarks
            .iter()
            .map(|remark| remark.split(": ").nth(1).unwrap_or_default())
            .collect();
        assert_eq!(
            begins,
            [
                "check_policy_service unix:private/policyd-spf",
                "check_policy_service inet:127.0.0.1:10023",
                "timeout=10s",
                "check_sender_access hash:/etc/postfix/senders",
                "reject_unknown_sender_domain",
                "my_class"
            ]
        );
        assert!(read("").permits_networks);
    }
}
