//! Speaks to each filter as far as its negotiation: whether it answers, what it wants, and what it may.

use super::Weight;
use crate::config::{Milter, MilterService};
use crate::limits::GREET_WAIT;
use crate::net::milter::{AnswerTime, MilterConnection, MilterFailure};
use crate::site::Site;
use crate::smtp::milter::FilterOptions;
use std::time::Instant;

/// What was found out about the filters.
#[derive(Default)]
pub struct FoundFilters {
    /// A line for each that answers.
    pub told: String,
    /// The others. Where mail would hear 451 for one, that is an error.
    pub bad: Vec<(Weight, String)>,
}

/// Asks each filter, one after the other.
pub fn look(site: &Site) -> FoundFilters {
    let mut found = FoundFilters::default();
    for milter in &site.config.milters {
        match negotiate(site, milter) {
            Ok(options) => found.told += &line(milter, &options),
            Err(failure) => {
                let (weight, so) = match milter.is_passed {
                    true => (Weight::Warning, "mail goes on without it"),
                    false => (Weight::Error, "mail hears 451"),
                };
                let place = site.config.place(&format!("milter.{}", milter.name));
                let what =
                    format!("{place}: {} at {}: {failure}; {so}", milter.name, milter.socket);
                found.bad.push((weight, what));
            }
        }
    }
    found
}

fn negotiate(site: &Site, milter: &Milter) -> Result<FilterOptions, MilterFailure> {
    // A person waits for it.
    let (connect, command) =
        (milter.timeout.connect.min(GREET_WAIT), milter.timeout.command.min(GREET_WAIT));
    let last = Instant::now() + connect + command;
    let time = AnswerTime { deadline: last, renewed: command, last };
    let connection = MilterConnection::open(&milter.socket, site.resolver(), connect, time)?;
    let options = connection.options().cloned().ok_or(MilterFailure::Closed)?;
    // It hears that we go, and may keep no place for us.
    drop(connection.end_client(false, Instant::now() + GREET_WAIT));
    Ok(options)
}

/// "filter rspamd at unix:/run/rspamd/milter.sock: version 6, for smtp; wants to change header, may header".
fn line(milter: &Milter, options: &FilterOptions) -> String {
    let Milter { name, socket, services, may, .. } = milter;
    let services: Vec<String> = services.iter().map(MilterService::to_string).collect();
    let actions = options.actions();
    let wants = if actions.is_empty() { "nothing".to_owned() } else { actions.join(" ") };
    format!(
        "filter {name} at {socket}: version {}, for {}; wants to change {wants}, may {may}\n",
        options.version(),
        services.join(" ")
    )
}
