//! `facteur check`: reads all that a server would read, opens no socket, says what is served.
//!
//! Leaves nothing behind and needs no spool, so it can run beside a server and before the first
//! one. As root it reads as the user of `run_as`, as the server does, and tries mailboxes and disks as
//! whoever the server is ([`mailboxes`], [`disk`]).

mod damaged;
mod disk;
mod mailboxes;
mod mounts;

use super::{Failure, Request, complain, config, print, reach};
use crate::config::Listen;
use crate::net::dns;
use crate::net::tls::date;
use crate::privileges;
use crate::route::bad_aliases;
use crate::site::Site;
use crate::store::disk::RealDisk;
use std::fmt::Write as _;
use std::time::SystemTime;

/// Prints what is served; fails after naming everything that is wrong. Only the configuration
/// itself stops at its first error.
pub fn run(request: &Request) -> Result<(), Failure> {
    let config = config(request)?;
    let user = reach::user(&config).map_err(Failure::Failed)?;
    // Nothing below is done as root; whoever is not root looks as himself.
    privileges::become_user(user.as_ref()).map_err(Failure::Failed)?;
    let (site, mut bad) = reach::read(&config, user.as_ref()).map_err(Failure::Failed)?;
    bad.extend(bad_aliases(&site, &RealDisk));
    // What is served goes to stdout, what is wrong to stderr: each can be read alone.
    print(&summary(&site))?;
    let doubts = doubts(&site);
    let flaws = site.flaws(SystemTime::now());
    let flawed = flaws.iter().map(|(_, words)| words.clone());
    let told = bad.iter().map(ToString::to_string);
    told.chain(flawed).chain(doubts).for_each(|line| complain(&line));
    // Only said: it may be made by then.
    reach::out_of_reach(&site.config, user.as_ref()).iter().for_each(|line| complain(line));
    // Still root where there is no run_as, while the server may be another: its spool shows who.
    let works = match reach::server(&config, user.as_ref()) {
        Ok(server) => {
            let tried = privileges::as_user(server.as_ref(), || {
                reach::is_as_server(&config, user.as_ref()).then(|| try_out(request, &site))
            });
            match tried.map_err(Failure::Failed)? {
                Some(works) => works?,
                None => !untried(request, "only root and the server's user can say what it meets"),
            }
        }
        Err(why) => !untried(request, &why),
    };
    let is_good = works && !flaws.iter().any(|(flaw, _)| flaw.is_fatal());
    match is_good && bad.is_empty() {
        true => Ok(()),
        false => Err(Failure::Told),
    }
}

/// Every mailbox, and the disks when they were asked for; whether mail can be kept. What is wrong is said.
fn try_out(request: &Request, site: &Site) -> Result<bool, Failure> {
    let found = mailboxes::look(site);
    found.bad.iter().chain(&found.gaps).for_each(|line| complain(line));
    damaged::told(&site.config.spool).iter().for_each(|line| complain(line));
    let mut works = found.bad.is_empty();
    if request.disk {
        let (told, is_good) = disk::look(site);
        print(&told)?;
        works &= is_good;
    }
    Ok(works)
}

/// Somebody else's rights say nothing of the server's. Whether somebody asked for what was not done: that
/// is a failure, and mailboxes are tried unasked.
fn untried(request: &Request, why: &str) -> bool {
    complain(&format!("mailboxes were not tried: {why}"));
    if request.disk {
        complain(&format!("the disks were not tried: {why}"));
    }
    request.disk
}

/// The configuration as it was understood, with its defaults: to compare with what was meant.
fn summary(site: &Site) -> String {
    let config = &site.config;
    let mut text = match &config.file {
        Some(file) => format!("configuration {}\n", file.display()),
        None => "configuration: the built-in demo\n".to_owned(),
    };
    // Writing into a String cannot fail.
    let _ = writeln!(text, "hostname {}\nspool {}", config.hostname, config.spool.display());
    let Listen { smtp, submission, submissions, metrics } = &config.listen;
    for (service, addresses) in [
        ("smtp", smtp),
        ("submission", submission),
        ("submissions", submissions),
        ("metrics", metrics),
    ] {
        for address in addresses {
            let _ = writeln!(text, "listen {service} {address}");
        }
    }
    if let (Some(tls), Some(acceptor)) = (&config.tls, site.acceptor()) {
        let _ = write!(text, "tls {}", tls.certificate.display());
        match acceptor.expires() {
            Some(when) => drop(writeln!(text, ", good until {}", date(when))),
            None => text.push('\n'),
        }
    }
    for local in site.domains() {
        let name = &local.config.name;
        let users = match (local.users, local.config.any_user) {
            // With any_user a list only says how names are written.
            (_, true) => "any user".to_owned(),
            (Some(users), false) => format!("{} users", users.names().count()),
            // Not counted: it would mean to look through all of them.
            (None, false) => "whoever has a Maildir".to_owned(),
        };
        let aliases = local.aliases.map_or(0, |aliases| aliases.iter().count());
        let maildir = &local.config.maildir;
        let _ = writeln!(text, "domain {name}: {users}, {aliases} aliases, in {maildir}");
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

/// What works, but hardly as it was meant: a line each, with its place. `serve` logs them too.
pub fn doubts(site: &Site) -> Vec<String> {
    let config = &site.config;
    let is_open = config.tls.is_none() && !config.listen.submission.is_empty();
    let words = match config.relay.networks.is_empty() {
        true => {
            "without [tls] no user can log in there, and without relay.networks nobody can send"
        }
        false => "without [tls] no user can log in there; it serves relay.networks alone",
    };
    let submission = is_open.then(|| format!("{}: {words}", config.place("listen.submission")));
    let outside = config.listen.metrics.iter().filter(|address| !address.ip().is_loopback());
    let metrics = outside.map(|address| {
        let place = config.place("listen.metrics");
        format!(
            "{place}: whoever reaches {address} can read who writes to whom, without a password"
        )
    });
    let dns = dns::doubts(&config.dns.servers);
    submission.into_iter().chain(metrics).chain(dns).collect()
}
