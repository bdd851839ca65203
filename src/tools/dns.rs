//! `facteur dns`: which records DNS has to show for this host and its domains, and which it shows
//! ([`crate::records`]).
//!
//! Asks DNS and changes nothing there. Needs no server, and reads as the user of `run_as` where root asks.

use super::listing::{ListingColumns, json_lines};
use super::terminal::escape;
use super::{Failure, Request, complain, config, print};
use crate::config::Config;
use crate::limits::IMAPS_PORT;
use crate::limits::records::{DNS_COMMAND_QUESTIONS, DNS_COMMAND_TIME};
use crate::mail::address::Domain;
use crate::net::dns::{DnsResolver, Resolver};
use crate::net::tls::Chain;
use crate::privileges;
use crate::reach;
use crate::records::{
    self, HostFacts, RecordPurpose, RecordRow, RecordState, RecordsAsker, ServedPolicy, compare,
    wanted, with_served, zone,
};
use crate::signing::Signing;
use serde::Serialize;
use std::fs;
use std::sync::Arc;
use std::time::Instant;

/// Widest columns for state, type and name; longer names shift what follows.
const COLUMNS: [usize; 3] = [7, 4, 48];

/// What a person reads below lines that are not ok.
const ORDER: &str = "
Change them from top to bottom. Addresses and their names come first, because all else leads to them, and
TLSA before the certificate that it names is shown. SPF and DKIM come before more mail is sent: a key signs
once DNS shows it. MX comes when all is there that mail will meet, and MTA-STS and DMARC at the end, because
they make others refuse what is still wrong. What may be removed goes last.
";

/// What a person reads above the file that programs of users look for.
const FOR_PROGRAMS: &str = "
Thunderbird and other programs set themselves up for an address where a web server gives, without a redirection, at
";

/// Prints the records of these names, or of all; fails while one that is needed is not there.
pub fn run(request: &Request, names: &[&str]) -> Result<(), Failure> {
    let config = config(request)?;
    let names = chosen(&config, names)?;
    // With the server's rights: what root alone can read, the server cannot.
    let user = reach::user(&config)?;
    let server = reach::server(&config, user.as_ref())?;
    let (text, is_good) =
        privileges::as_user(server.as_ref(), || found(request, &config, &names))??;
    print(&text)?;
    if is_good { Ok(()) } else { Err(Failure::Told) }
}

/// What is to be printed, and whether all that is needed is there.
fn found(request: &Request, config: &Config, names: &[Domain]) -> Result<(String, bool), Failure> {
    let (chain, signing) = (chain(config), Signing::new(config));
    if request.zone {
        let facts = HostFacts::without_dns(chain);
        let records = wanted(config, &signing, &facts, names);
        let owners = records.iter().filter(|record| record.purpose == RecordPurpose::Submission);
        let (places, file) = autoconfig(config, owners.map(|record| &record.owner));
        let lines = places.into_iter().chain(file);
        let comments: String = lines.map(|line| format!(";   {line}\n")).collect();
        let head = "; for programs of users, a web server should give at these places the file behind them\n";
        let head = if comments.is_empty() { "" } else { head };
        return Ok((zone(&records, &config.hostname) + head + &comments, true));
    }
    let resolver: Arc<dyn Resolver> = Arc::new(DnsResolver::new(&config.dns));
    let until = Instant::now() + DNS_COMMAND_TIME;
    let questions = DNS_COMMAND_QUESTIONS * (names.len() + 1);
    let mut asker = RecordsAsker::new(&*resolver, questions, DNS_COMMAND_TIME);
    let facts = HostFacts::find(config, chain, &mut asker);
    let rows = compare(config, &facts, &wanted(config, &signing, &facts, names), &mut asker);
    let rows = with_served(rows, &mut |domain| match Instant::now() < until {
        true => ServedPolicy::fetch(domain, &resolver),
        false => ServedPolicy::NoAnswer("not asked, it took too long".to_owned()),
    });
    if asker.is_heard() {
        remember(config, &signing, names, &*resolver);
    }
    let text = match request.json {
        true => {
            let rows: Vec<JsonRow> = rows.iter().map(JsonRow::of).collect();
            json_lines(&rows).map_err(|error| Failure::Failed(error.to_string()))?
        }
        false => for_people(config, &rows) + &for_programs(config, &rows),
    };
    Ok((text, rows.iter().all(|row| !row.is_needed || row.state == RecordState::Ok)))
}

/// Remembers which keys DNS shows, so that they sign. The resolver knows the answers still.
fn remember(config: &Config, signing: &Signing, names: &[Domain], resolver: &dyn Resolver) {
    // Without a spool there is no server yet, and what it needs it makes itself.
    if reach::is_missing(&config.spool) {
        return;
    }
    for domain in names {
        if let Err(error) = signing.ask(domain, resolver) {
            return complain(&format!("what DNS shows of our keys is not remembered: {error}"));
        }
    }
}

/// The names that are asked about, each ours.
fn chosen(config: &Config, names: &[&str]) -> Result<Vec<Domain>, Failure> {
    let all = records::names(config);
    if names.is_empty() {
        return Ok(all);
    }
    let mut chosen = Vec::new();
    for name in names {
        let known = Domain::parse(name).ok().filter(|domain| all.contains(domain));
        let Some(domain) = known else {
            let why = format!("{} is neither our host name nor a domain of ours", escape(name));
            return Err(Failure::Failed(why));
        };
        if !chosen.contains(&domain) {
            chosen.push(domain);
        }
    }
    Ok(chosen)
}

/// The certificates; the key is not read.
fn chain(config: &Config) -> Option<Result<Chain, String>> {
    let file = &config.tls.as_ref()?.certificate;
    let why = |why: String| format!("{}: {why}", file.display());
    let octets = fs::read(file).map_err(|error| why(error.to_string()));
    Some(octets.and_then(|octets| Chain::read(&octets).map_err(|bad| why(bad.what))))
}

/// A line a record, and below it what is wrong with it.
fn for_people(config: &Config, rows: &[RecordRow]) -> String {
    let lines = rows.iter().map(|row| {
        let columns = [row.state.to_string(), row.kind.to_owned(), escape(&row.name).into_owned()];
        (columns, escape(&row.want).into_owned())
    });
    let lines = ListingColumns::new(COLUMNS).lines(&lines.collect::<Vec<_>>());
    let mut text = String::new();
    for (line, row) in lines.lines().zip(rows) {
        text += &format!("{line}\n");
        let is = row.have.iter().filter(|_| row.state == RecordState::Differs);
        text.extend(is.map(|is| format!("    is: {}\n", escape(is))));
        text.extend(row.mark.iter().map(|mark| format!("    ({})\n", escape(mark))));
        if row.purpose == RecordPurpose::MtaSts && row.state != RecordState::Ok {
            text += &policy(config, row, rows);
        }
    }
    if rows.iter().any(|row| !matches!(row.state, RecordState::Ok | RecordState::Unknown)) {
        text += ORDER;
    }
    text
}

/// The file for programs of users, while the records do not lead them yet.
fn for_programs(config: &Config, rows: &[RecordRow]) -> String {
    let wanted =
        |row: &&RecordRow| row.purpose == RecordPurpose::Submission && row.state != RecordState::Ok;
    let (places, file) = autoconfig(config, rows.iter().filter(wanted).map(|row| &row.owner));
    if file.is_empty() {
        return String::new();
    }
    let indented =
        |lines: Vec<String>| -> String { lines.iter().map(|line| format!("  {line}\n")).collect() };
    let (places, file, host) = (indented(places), indented(file), &config.hostname);
    format!(
        "{FOR_PROGRAMS}{places}this file:\n{file}With an IMAP server on this host, _imaps._tcp of each domain is: \
         SRV 0 1 {IMAPS_PORT} {host}\n"
    )
}

/// Where web servers should give which file to programs of these domains' users: lines of both, none where users
/// cannot log in.
fn autoconfig<'a>(
    config: &Config,
    owners: impl Iterator<Item = &'a Domain>,
) -> (Vec<String>, Vec<String>) {
    let mut domains: Vec<&Domain> = owners.collect();
    domains.dedup();
    match records::autoconfig(config, &domains) {
        Some(file) => {
            let places = domains.iter().map(|domain| records::autoconfig_place(domain)).collect();
            (places, file.lines().map(str::to_owned).collect())
        }
        None => (Vec::new(), Vec::new()),
    }
}

/// The policy of a domain, which belongs to its MTA-STS record: for all hosts that take its mail.
fn policy(config: &Config, row: &RecordRow, rows: &[RecordRow]) -> String {
    let of_mx = |mx: &&RecordRow| mx.purpose == RecordPurpose::Mx && mx.owner == row.owner;
    let others = rows.iter().find(of_mx).into_iter().flat_map(|mx| &mx.have);
    let mut hosts = vec![config.hostname.as_str()];
    let others = others.filter_map(|mx| mx.split(' ').nth(1)).filter(|host| *host != ".");
    others.for_each(|host| {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    });
    let lines = records::mta_sts_policy(&hosts);
    let lines: String = lines.lines().map(|line| format!("      {}\n", escape(line))).collect();
    format!("    first, at {}:\n{lines}", records::mta_sts_place(&row.owner))
}

/// A record, for scripts.
#[derive(Serialize)]
struct JsonRow<'a> {
    state: String,
    r#type: &'a str,
    name: &'a str,
    want: &'a str,
    have: &'a [String],
}

impl JsonRow<'_> {
    fn of(row: &RecordRow) -> JsonRow<'_> {
        let RecordRow { kind, name, want, have, .. } = row;
        JsonRow { state: row.state.to_string(), r#type: kind, name, want, have }
    }
}
