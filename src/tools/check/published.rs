//! What DNS does not show of our records, for `check`: what mail may be refused for, or not come. `facteur dns`
//! says more.
//!
//! A few seconds at most. Names that the DNS of the world cannot have (RFC 6761) are asked about only where
//! the configuration names servers, which may know them; the demo asks nobody.

use crate::limits::CHECK_NAMED;
use crate::limits::records::{CHECK_DNS_QUESTIONS, CHECK_DNS_TIME};
use crate::mail::address::Domain;
use crate::records::{
    HostFacts, RecordPurpose, RecordRow, RecordState, RecordsAsker, compare, names, wanted,
};
use crate::site::Site;

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

fn is_worth_asking(site: &Site, name: &Domain) -> bool {
    !name.is_special() || !site.config.dns.servers.is_empty()
}

/// Whether a record is worth a warning: mail may be refused, or hosts that heed it bring none. Of keys
/// [`super::keys`] tells.
fn counts(row: &&RecordRow) -> bool {
    let is_fatal = row.purpose == RecordPurpose::Certificate && row.state == RecordState::Differs;
    let is_key = row.purpose == RecordPurpose::Dkim;
    row.state != RecordState::Ok && (row.is_needed || is_fatal) && !is_key
}

/// "DNS: MX of example.org is missing; wanted: 10 mx.example.org"
fn words(row: &RecordRow) -> String {
    let RecordRow { kind, name, want, have, .. } = row;
    let is = match have.is_empty() {
        true => "is missing".to_owned(),
        false => format!("is {:?}", have.join(", ")),
    };
    let mark = row.mark.as_ref().map(|mark| format!(" ({mark})")).unwrap_or_default();
    format!("DNS: {kind} of {name} {is}{mark}; wanted: {want}")
}
