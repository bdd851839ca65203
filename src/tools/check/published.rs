//! What DNS does not show of our records, for `check`: what mail may be refused for, or not come. `facteur dns`
//! says more.
//!
//! A few seconds at most. Names that the DNS of the world cannot have (RFC 6761) are asked about only where
//! the configuration names servers, which may know them; the demo asks nobody.

use crate::limits::CHECK_NAMED;
use crate::limits::records::{CHECK_DNS_QUESTIONS, CHECK_DNS_TIME};
use crate::mail::address::Domain;
use crate::records::{
    HostFacts, RecordPurpose, RecordRow, RecordState, RecordsAsker, ServedPolicy, compare, names,
    wanted, with_served,
};
use crate::site::Site;
use crossbeam_channel::bounded;
use std::thread;

/// A line for each record, the first ones by name.
pub fn look(site: &Site) -> Vec<String> {
    let config = &site.config;
    let names: Vec<Domain> =
        names(config).into_iter().filter(|name| is_worth_asking(site, name)).collect();
    if config.file.is_none() || names.is_empty() {
        return Vec::new();
    }
    let mut asker = RecordsAsker::new(site.resolver(), CHECK_DNS_QUESTIONS, CHECK_DNS_TIME);
    let chain = site.acceptor().map(|acceptor| Ok(acceptor.shown()));
    let facts = HostFacts::find(config, chain, &mut asker);
    let rows = compare(config, &facts, &wanted(config, site.signing(), &facts, &names), &mut asker);
    let rows = with_served(rows, &mut |domain| served(site, domain));
    let (unknown, bad): (Vec<&RecordRow>, Vec<&RecordRow>) =
        rows.iter().filter(counts).partition(|row| row.state == RecordState::Unknown);
    let mut lines: Vec<String> = bad.iter().take(CHECK_NAMED).map(|row| words(row)).collect();
    if let Some(more) = bad.len().checked_sub(CHECK_NAMED).filter(|more| *more > 0) {
        lines.push(format!("DNS: and {more} more; see facteur dns"));
    }
    if let Some(first) = unknown.first() {
        let (count, kind, name) = (unknown.len(), first.kind, &first.name);
        let why = first.mark.as_deref().unwrap_or("no answer");
        lines.push(format!(
            "DNS did not say what it shows of {count} records of ours, the first of them {kind} of {name}: {why}"
        ));
    }
    lines
}

/// What the web server of a domain gives as its policy, where it does so soon: nobody waits for a slow one.
fn served(site: &Site, domain: &Domain) -> ServedPolicy {
    let (sender, fetched) = bounded(1);
    let (own, resolver) = (domain.clone(), site.shared_resolver());
    let fetch = move || drop(sender.send(ServedPolicy::fetch(&own, &resolver)));
    let begun = thread::Builder::new().spawn(fetch);
    let none = || ServedPolicy::NoAnswer("no answer in time".to_owned());
    begun.ok().and_then(|_| fetched.recv_timeout(CHECK_DNS_TIME).ok()).unwrap_or_else(none)
}

fn is_worth_asking(site: &Site, name: &Domain) -> bool {
    !name.is_special() || !site.config.dns.servers.is_empty()
}

/// Whether a record is worth a warning: mail may be refused, or hosts that heed it bring none. Of keys
/// [`super::keys`] tells.
fn counts(row: &&RecordRow) -> bool {
    let is_fatal = row.purpose == RecordPurpose::Certificate && row.state == RecordState::Differs
        || is_policy(row);
    let is_key = row.purpose == RecordPurpose::Dkim;
    row.state != RecordState::Ok && (row.is_needed || is_fatal) && !is_key
}

/// Whether a record tells of a policy that does not serve.
fn is_policy(row: &RecordRow) -> bool {
    row.purpose == RecordPurpose::MtaSts && row.state == RecordState::Differs && row.mark.is_some()
}

/// "DNS: MX of example.org is missing; wanted: 10 mx.example.org"
fn words(row: &RecordRow) -> String {
    let RecordRow { kind, name, want, have, .. } = row;
    if is_policy(row)
        && let Some(why) = &row.mark
    {
        return format!("MTA-STS of {}: hosts that heed it may bring no mail: {why}", row.owner);
    }
    let is = match have.is_empty() {
        true => "is missing".to_owned(),
        false => format!("is {:?}", have.join(", ")),
    };
    let mark = row.mark.as_ref().map(|mark| format!(" ({mark})")).unwrap_or_default();
    format!("DNS: {kind} of {name} {is}{mark}; wanted: {want}")
}
