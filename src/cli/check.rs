//! `facteur check`: reads all that a server would read, opens no socket, says what is served.

use super::{Failure, Request, config, print};
use crate::config::Config;
use crate::site::Site;
use std::fmt::Write;

/// Prints what is served; fails after naming everything that is wrong.
pub fn run(request: &Request) -> Result<(), Failure> {
    let config = config(request)?;
    let (site, bad) = Site::read(config).map_err(|error| Failure::Failed(error.to_string()))?;
    print(&summary(&site))?;
    let missing = not_built(&site.config);
    for line in bad.iter().map(ToString::to_string).chain(missing.iter().cloned()) {
        eprintln!("facteur: {line}");
    }
    match bad.is_empty() && missing.is_empty() {
        true => Ok(()),
        false => Err(Failure::Told),
    }
}

fn summary(site: &Site) -> String {
    let config = &site.config;
    let mut text = match &config.file {
        Some(file) => format!("configuration {}\n", file.display()),
        None => "configuration: the built-in demo\n".to_owned(),
    };
    // Writing into a String cannot fail.
    let _ = writeln!(text, "hostname {}\nspool {}", config.hostname, config.spool.display());
    for address in &config.listen.smtp {
        let _ = writeln!(text, "listen smtp {address}");
    }
    for local in site.domains() {
        let name = &local.config.name;
        let users = match (local.users, local.config.any_user) {
            (_, true) => "any user".to_owned(),
            (Some(users), false) => format!("{} users", users.names().count()),
            (None, false) => "whoever has a Maildir".to_owned(),
        };
        let _ = writeln!(text, "domain {name}: {users}, in {}", local.config.maildir);
    }
    match config.relay.networks.is_empty() {
        true => text.push_str("relay: for nobody\n"),
        false => {
            let networks: Vec<String> =
                config.relay.networks.iter().map(ToString::to_string).collect();
            let _ = writeln!(text, "relay: for {}", networks.join(", "));
        }
    }
    for (name, next_hop) in &config.relay.route {
        let _ = writeln!(text, "route {name}: {next_hop}");
    }
    if let Some(next_hop) = &config.relay.smarthost {
        let _ = writeln!(text, "smarthost {next_hop}");
    }
    text
}

/// Keys that are set and whose part is not built yet, where that changes what happens.
pub fn not_built(config: &Config) -> Vec<String> {
    let mut keys = Vec::new();
    let mut note = |set: bool, key: &str, effect: &str| {
        if set {
            keys.push((key.to_owned(), effect.to_owned()));
        }
    };
    let listen = &config.listen;
    note(!listen.submission.is_empty(), "listen.submission", "nobody listens there");
    note(!listen.submissions.is_empty(), "listen.submissions", "nobody listens there");
    note(!listen.metrics.is_empty(), "listen.metrics", "nobody listens there");
    note(config.tls.is_some(), "tls", "no TLS is offered");
    let relay = &config.relay;
    let waits = "mail for other domains is refused with 451 4.3.0";
    note(!relay.networks.is_empty(), "relay.networks", waits);
    note(relay.smarthost.is_some(), "relay.smarthost", waits);
    note(!relay.route.is_empty(), "relay.route", waits);
    for domain in &config.domains {
        let key = format!("domain.\"{}\".aliases", domain.name);
        note(domain.aliases.is_some(), &key, "aliases are not users");
    }
    let file = config.file.as_ref().map(|file| format!("{}: ", file.display())).unwrap_or_default();
    let say = |(key, effect)| format!("{file}{key}: not built yet in this version: {effect}");
    keys.into_iter().map(say).collect()
}
