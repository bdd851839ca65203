//! `facteur check`: reads all files that a server would read, serves nothing, and says what would be
//! served.
//!
//! Leaves nothing behind and needs no spool, so it can run beside a server and before its first start. As
//! root it reads files as the user of `run_as`, and tries mailboxes and disks as the server's user
//! ([`mailboxes`], [`disk`]).

mod backup;
mod damaged;
mod disk;
mod filters;
mod held;
mod keys;
mod lists;
mod lmtp;
mod mailboxes;
mod ports;
mod published;
mod reports;
mod spool;

use super::route::UNPROVED;
use super::{Failure, Request, config, print, terminal};
use crate::config::{CatchAll, Greylist, show_duration};
use crate::limits::CHECK_NAMED;
use crate::login::no_bare_names;
use crate::mail::address::Mailbox;
use crate::net::listener::Service;
use crate::net::tls::date;
use crate::privileges;
use crate::reach;
use crate::route::bad_aliases;
use crate::site::{Local, Site};
use crate::store::aliases::Alias;
use crate::store::disk::RealDisk;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::SystemTime;

/// How bad a thing is (contract, "Commands").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// `serve` would not start.
    Fatal,
    /// `serve` would run without the part that is wrong.
    Error,
    /// `serve` would run as configured.
    Warning,
}

/// Prints what would be served. Fails after all errors were named; warnings are no failure. Stops at the
/// first error that keeps `serve` from reading its files.
pub fn run(request: &Request) -> Result<(), Failure> {
    let fatal = |why: String| {
        say(Weight::Fatal, &why);
        Failure::Told
    };
    let config = config(request).map_err(|failure| match failure {
        Failure::Failed(why) => fatal(why),
        other => other,
    })?;
    let user = reach::user(&config).map_err(fatal)?;
    let refused = ports::try_out(&config);
    // From here on not as root; a process without root keeps its user.
    privileges::become_user(user.as_ref()).map_err(fatal)?;
    let (site, mut bad) = reach::read(&config, user.as_ref()).map_err(fatal)?;
    bad.extend(bad_aliases(&site, &RealDisk));
    // What would be served goes to stdout, what is wrong to stderr.
    print(&summary(&site))?;
    let doubts = site.doubts();
    let flaws = site.flaws(SystemTime::now());
    bad.iter().for_each(|line| say(Weight::Error, &line.to_string()));
    for (flaw, words) in &flaws {
        say(if flaw.is_fatal() { Weight::Error } else { Weight::Warning }, words);
    }
    doubts.iter().for_each(|line| say(Weight::Warning, line));
    no_bare_names(&site).iter().for_each(|line| say(Weight::Warning, line));
    let is_backup = say_all(&backup::look(&site));
    reports::look(&site).iter().for_each(|(weight, line)| say(*weight, line));
    published::look(&site).iter().for_each(|line| say(Weight::Warning, line));
    let is_open = say_all(&ports::weigh(&config, &refused));
    let (tested, wrong) = lists::look(&site);
    print(&tested)?;
    let are_right = say_all(&wrong);
    // Still root where there is no run_as. The server may be another user: the owner of its spool.
    let works = match reach::server(&config, user.as_ref()) {
        Ok(server) => {
            let tried = privileges::as_user(server.as_ref(), || {
                reach::is_as_server(&config, user.as_ref()).then(|| try_out(request, &site))
            });
            match tried.map_err(fatal)? {
                Some(works) => works?,
                None => !untried(request, "only root and the server's user can say what it meets"),
            }
        }
        Err(why) => !untried(request, &why),
    };
    let is_good = is_open
        && are_right
        && works
        && is_backup
        && !flaws.iter().any(|(flaw, _)| flaw.is_fatal());
    match is_good && bad.is_empty() {
        true => Ok(()),
        false => Err(Failure::Told),
    }
}

/// Says all of it; returns whether it is only warnings.
fn say_all(found: &[(Weight, String)]) -> bool {
    found.iter().for_each(|(weight, line)| say(*weight, line));
    found.iter().all(|(weight, _)| *weight == Weight::Warning)
}

/// Tries the spool, each mailbox, and with `--disk` the disks, and says what is wrong; returns whether mail
/// can be kept.
fn try_out(request: &Request, site: &Site) -> Result<bool, Failure> {
    let found = mailboxes::look(site);
    found.bad.iter().for_each(|line| say(Weight::Error, line));
    found.gaps.iter().for_each(|line| say(Weight::Warning, line));
    let is_handed_over = say_all(&lmtp::look(site));
    let roots = mailboxes::roots_out_of_reach(&site.config);
    roots.iter().for_each(|line| say(Weight::Error, line));
    damaged::put_aside_words(&site.config.spool).iter().for_each(|line| say(Weight::Warning, line));
    held::held_words(&site.config.spool).iter().for_each(|line| say(Weight::Warning, line));
    let filters = filters::look(site);
    print(&filters.told)?;
    let are_good = say_all(&filters.bad);
    let spool = spool::look(&site.config.spool);
    if let Some((weight, why)) = &spool {
        say(*weight, &format!("{}: {why}", site.config.place("spool")));
    }
    let is_signed = say_all(&keys::look(site));
    let is_kept = found.bad.is_empty() && is_handed_over && roots.is_empty();
    let mut works = is_signed && are_good && is_kept && spool.is_none();
    if request.disk {
        let (told, is_good) = disk::look(site);
        print(&told)?;
        works &= is_good;
    }
    Ok(works)
}

/// Says what was not tried, because this user's rights say nothing about the server's. Returns whether
/// `--disk` asked for it, which makes it a failure.
fn untried(request: &Request, why: &str) -> bool {
    say(Weight::Warning, &format!("spool and mailboxes were not tried: {why}"));
    if request.disk {
        say(Weight::Error, &format!("the disks were not tried: {why}"));
    }
    request.disk
}

/// Says one thing that is wrong, on stderr, escaped. A reader that went away is no failure.
fn say(weight: Weight, what: &str) {
    let weight = match weight {
        Weight::Fatal => "fatal",
        Weight::Error => "error",
        Weight::Warning => "warning",
    };
    let _ = writeln!(io::stderr(), "{weight}: {}", terminal::escape(what));
}

/// The configuration as it was understood, with its defaults.
fn summary(site: &Site) -> String {
    let config = &site.config;
    let mut text = match &config.file {
        Some(file) => format!("configuration {}\n", file.display()),
        None => "configuration: the built-in demo\n".to_owned(),
    };
    // Writing into a String cannot fail.
    let _ = writeln!(text, "hostname {}\nspool {}", config.hostname, config.spool.display());
    for (service, address) in Service::addresses(&config.listen) {
        let _ = writeln!(text, "listen {service} {address}");
    }
    for network in &config.listen.proxy {
        let _ = writeln!(text, "listen proxy {network}: these name their clients");
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
            // With any_user the list only sets the spelling of names.
            (_, true) => "any user".to_owned(),
            (Some(users), false) => format!("{} users", users.names().count()),
            // Not counted, because that would list all Maildirs.
            (None, false) if local.config.lmtp.is_some() => "whoever its server knows".to_owned(),
            (None, false) => "whoever has a Maildir".to_owned(),
        };
        let aliases = local.aliases.map_or(0, |aliases| aliases.iter().count());
        let place = match &local.config.lmtp {
            Some(server) => format!("by LMTP to {server}"),
            None => format!("in {}", local.config.maildir),
        };
        let _ = writeln!(text, "domain {name}: {users}, {aliases} aliases, {place}");
        let (names, count) = sent_on(site, local);
        if count > 0 {
            let more = count - names.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let _ = writeln!(text, "sent on from {name}: {}{more}; {UNPROVED}", names.join(", "));
        }
    }
    for alias in &config.alias_domains {
        let _ = writeln!(text, "domain {}: alias of {}", alias.name, alias.target);
    }
    for (backup, recipients) in site.backups() {
        let who = recipients.map_or("anybody".to_owned(), |count| format!("{count} recipients"));
        let _ = writeln!(text, "backup for {}: {who}", backup.name);
    }
    if let Some(Greylist { delay, expire }) = &config.greylist {
        let (delay, expire) = (show_duration(*delay), show_duration(*expire));
        let _ = writeln!(
            text,
            "greylist: who is new comes back after {delay}, and is known for {expire}"
        );
    }
    let _ = writeln!(text, "relay: for {}", relays_for(site));
    for domain in config.signing() {
        let _ = writeln!(text, "sign {}: by keys in {}", domain.name, domain.dir.display());
    }
    for (name, next_hop) in &config.relay.route {
        let _ = writeln!(text, "route {name}: {next_hop}");
    }
    if let Some(next_hop) = &config.relay.smarthost {
        let _ = writeln!(text, "smarthost {next_hop}");
    }
    if let Some(contact) = &config.relay.reports {
        let _ = writeln!(text, "reports on TLS: daily, from {contact}");
    }
    text
}

/// The first of the names whose mail goes to other domains, and how many there are.
fn sent_on(site: &Site, local: Local<'_>) -> (Vec<String>, usize) {
    let is_elsewhere = |mailbox: &Mailbox| site.local(&mailbox.host).is_none();
    let aliases = local.aliases.into_iter().flat_map(|aliases| aliases.iter());
    let leads_out = |alias: &&Alias| alias.targets.iter().any(|to| is_elsewhere(&to.mailbox));
    let aliases = aliases.filter(leads_out).map(|alias| alias.name.clone());
    let catch_all = match &local.config.catch_all {
        Some(CatchAll::Address(address)) if is_elsewhere(address) => Some("catch_all".to_owned()),
        _ => None,
    };
    let names: Vec<String> = aliases.chain(catch_all).collect();
    let count = names.len();
    (names.into_iter().take(CHECK_NAMED).collect(), count)
}

/// Clients that may send anywhere.
fn relays_for(site: &Site) -> String {
    let config = &site.config;
    let mut who: Vec<String> = config.relay.networks.iter().map(ToString::to_string).collect();
    let is_open = !(config.listen.submission.is_empty() && config.listen.submissions.is_empty());
    // Passwords are in users files, and are accepted only by TLS.
    if is_open && config.tls.is_some() && site.domains().any(|local| local.users.is_some()) {
        who.push("users who log in".to_owned());
    }
    match who.is_empty() {
        true => "nobody".to_owned(),
        false => who.join(", "),
    }
}
