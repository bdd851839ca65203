//! SPF of a domain: the record that lets our addresses send, and whether the one that is there does.

use super::asker::RecordsAsker;
use super::facts::{AddressSource, HostFacts};
use super::{RecordPurpose, Want, WantedRecord};
use crate::config::Config;
use crate::mail::address::Domain;
use crate::mail::proof::spf::{SpfClient, SpfFinding, SpfIdentity, SpfResult, check};
use crate::net::dns::Record;
use jiff::Timestamp;
use std::net::IpAddr;

/// How each record begins (RFC 7208 §4.5).
pub const VERSION: &str = "v=spf1";

/// The record of a domain: our addresses, and no others. Behind a smarthost only its operator knows whose
/// addresses send, and no more than a hint is given.
pub fn wanted(config: &Config, facts: &HostFacts, domain: &Domain) -> WantedRecord {
    let name = domain.to_string();
    if let Some(smarthost) = &config.relay.smarthost {
        let words =
            format!("what the operator of {} says, whose hosts send our mail", smarthost.host);
        let wanted = WantedRecord::new(RecordPurpose::Spf, domain, name, Want::Words(words));
        return WantedRecord { is_needed: false, ..wanted };
    }
    let mut terms = Vec::new();
    for own in &facts.addresses {
        let term = match own.source {
            AddressSource::Inside => format!("a:{}", config.hostname),
            AddressSource::Interface | AddressSource::Dns => term(own.address),
        };
        if !terms.contains(&term) {
            terms.push(term);
        }
    }
    if terms.is_empty() {
        terms.push(format!("a:{}", config.hostname));
    }
    let text = format!("{VERSION} {} -all", terms.join(" "));
    let want = Want::Record(Record::Txt(text.into_bytes()));
    WantedRecord::new(RecordPurpose::Spf, domain, name, want)
}

fn term(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("ip4:{v4}"),
        IpAddr::V6(v6) => format!("ip6:{v6}"),
    }
}

/// What the record of a domain says to one of our addresses; of our host name, to one that says it in HELO
/// and has no sender.
pub fn evaluate(
    asker: &mut RecordsAsker<'_>,
    hostname: &Domain,
    domain: &Domain,
    address: IpAddr,
) -> SpfFinding {
    let client = SpfClient {
        address,
        helo: hostname.as_str().as_bytes(),
        receiver: hostname.as_str(),
        time: u64::try_from(Timestamp::now().as_second()).unwrap_or(0),
    };
    let identity = match domain == hostname {
        true => SpfIdentity::Helo,
        false => SpfIdentity::MailFrom { local: b"postmaster", domain: domain.as_str().as_bytes() },
    };
    check(asker, &client, identity)
}

/// The first of our addresses that the record does not let send, worst first: what is not known comes last.
pub fn worst(
    asker: &mut RecordsAsker<'_>,
    hostname: &Domain,
    domain: &Domain,
    addresses: &[IpAddr],
) -> Option<(IpAddr, SpfFinding)> {
    let mut unknown = None;
    for address in addresses {
        let finding = evaluate(asker, hostname, domain, *address);
        match finding.result {
            SpfResult::Pass => {}
            SpfResult::TempError => {
                unknown.get_or_insert((*address, finding));
            }
            _ => return Some((*address, finding)),
        }
    }
    unknown
}

/// A record that is there, with terms for addresses that it does not let send; none where it cannot be
/// mended like that.
pub fn mended(text: &str, missing: &[IpAddr]) -> Option<String> {
    let rest = text.get(VERSION.len()..)?;
    let is_one = text.is_ascii() && (rest.is_empty() || rest.starts_with(' '));
    let terms: String = missing.iter().map(|address| format!(" {}", term(*address))).collect();
    is_one.then(|| format!("{}{terms}{rest}", &text[..VERSION.len()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_mended_in_front() {
        let missing: [IpAddr; 2] = ["9.9.9.9".parse().unwrap(), "2620:fe::fe".parse().unwrap()];
        for (text, mended_text) in [
            ("v=spf1 mx -all", Some("v=spf1 ip4:9.9.9.9 ip6:2620:fe::fe mx -all")),
            ("V=SPF1", Some("V=SPF1 ip4:9.9.9.9 ip6:2620:fe::fe")),
            ("v=spf10 mx", None),
            ("v=spf", None),
            ("v=spf1 \u{e9}", None),
        ] {
            assert_eq!(mended(text, &missing).as_deref(), mended_text, "{text}");
        }
    }
}
