//! `facteur dns`: which records DNS has to show for this host and its domains, and which it shows
//! ([`crate::records`]).
//!
//! Asks DNS and changes nothing there. Needs no server, and reads as the user of `run_as` where root asks.

use super::listing::{ListingColumns, json_lines};
use super::terminal::escape;
use super::{Failure, Request, config, print};
use crate::config::Config;
use crate::limits::records::{DNS_COMMAND_QUESTIONS, DNS_COMMAND_TIME};
use crate::mail::address::Domain;
use crate::net::dns::DnsResolver;
use crate::net::tls::Chain;
use crate::privileges;
use crate::reach;
use crate::records::{
    self, HostFacts, RecordPurpose, RecordRow, RecordState, RecordsAsker, compare, wanted, zone,
};
use serde::Serialize;
use std::fs;

/// Widest columns for state, type and name; longer names shift what follows.
const COLUMNS: [usize; 3] = [7, 4, 48];

/// What a person reads below lines that are not ok.
const ORDER: &str = "\nChange them from top to bottom: first where the host is and what leads back \
    to it, then what proves that\nmail is yours, then MX, by which mail comes here, and last what \
    asks others to be strict.\n";

/// Prints the records of these names, or of all; fails while one that is needed is not there.
pub fn run(request: &Request, names: &[&str]) -> Result<(), Failure> {
    let config = config(request)?;
    let names = chosen(&config, names)?;
    let user = reach::user(&config)?;
    privileges::become_user(user.as_ref())?;
    let chain = chain(&config);
    if request.zone {
        let facts = HostFacts::without_dns(chain);
        return print(&zone(&wanted(&config, &facts, &names), &config.hostname));
    }
    let resolver = DnsResolver::new(&config.dns);
    let questions = DNS_COMMAND_QUESTIONS * (names.len() + 1);
    let mut asker = RecordsAsker::new(&resolver, questions, DNS_COMMAND_TIME);
    let facts = HostFacts::find(&config, chain, &mut asker);
    let rows = compare(&config, &facts, &wanted(&config, &facts, &names), &mut asker);
    let text = match request.json {
        true => {
            let rows: Vec<JsonRow> = rows.iter().map(JsonRow::of).collect();
            json_lines(&rows).map_err(|error| Failure::Failed(error.to_string()))?
        }
        false => for_people(&config, &rows),
    };
    print(&text)?;
    match rows.iter().any(|row| row.is_needed && row.state != RecordState::Ok) {
        true => Err(Failure::Told),
        false => Ok(()),
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
