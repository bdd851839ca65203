//! `facteur serve`: start, signals, stop.
//!
//! Order of start: configuration and the files it names, sockets (as root, when started so),
//! privileges, then once more every file that a reload will read, so that what works at start works
//! at reload.

use super::check::{doubts, not_built};
use super::{Failure, Request, config, warn};
use crate::config::Config;
use crate::event::{Event, tell};
use crate::privileges;
use crate::route::bad_aliases;
use crate::server::{Server, Spool, bind, tell_bad_lines, tell_flaws};
use crate::site::Site;
use crate::store::disk::RealDisk;
use log::LevelFilter;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{AccessFlags, access};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use std::fs;
use std::io::ErrorKind::NotFound;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::thread;

/// Runs until SIGTERM or SIGINT. Fails with what kept it from starting; later trouble is logged.
pub fn run(request: &Request) -> Result<(), Failure> {
    start_log();
    // Before anything else, so that no signal of the first moments ends the process unheard.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])
        .map_err(|error| Failure::Failed(format!("cannot wait for signals: {error}")))?;
    let server = start(request)?;
    for signal in signals.forever() {
        match signal {
            SIGHUP => reload(request, &server),
            SIGUSR1 => server.flush(),
            _ => break,
        }
    }
    let registry = server.registry();
    // Who says it twice does not want to wait for running transactions.
    let hurry = move || {
        if signals.forever().any(|signal| matches!(signal, SIGTERM | SIGINT)) {
            registry.stop_reading();
        }
    };
    if let Err(error) = thread::Builder::new().name("hurry".to_owned()).spawn(hurry) {
        warn(&format!("a second signal will not be heard: {error}"));
    }
    server.stop();
    Ok(())
}

/// Each step finds what can be wrong while nothing has begun; after it, mail is taken.
fn start(request: &Request) -> Result<Server, Failure> {
    let config = config(request)?;
    // Mail is private, whatever the shell that started us thinks (contract: 0700, 0600).
    umask(Mode::from_bits_truncate(0o077));
    raise_descriptors();
    // What cannot be read is found before any socket is open; and again as the user of run_as.
    Site::read(config.clone()).map_err(|error| Failure::Failed(error.to_string()))?;
    let user = config.run_as.as_deref().map(privileges::find).transpose();
    let user = user.map_err(|why| Failure::Failed(format!("{}: {why}", config.place("run_as"))))?;
    // Still root, where started so: ports below 1024 need it.
    let listeners = bind(&config).map_err(Failure::Failed)?;
    // Nothing below is done as root.
    if let Some(warning) = privileges::become_user(user.as_ref()).map_err(Failure::Failed)? {
        warn(&warning);
    }
    // As the user of run_as: a warning today instead of a reload that fails at night.
    if let Err(error) = Config::load(request.config.as_deref()) {
        warn(&format!("a reload will fail, as this user cannot read it: {error}"));
    }
    // As that user for good: a key that only root may read fails here, and not at the first renewal.
    let site = read_site(config).map_err(|why| match &user {
        Some(user) => Failure::Failed(format!("{why} (as {}, the user of run_as)", user.name)),
        None => Failure::Failed(why),
    })?;
    let spool = Spool::open(Arc::new(RealDisk), &site.config.spool).map_err(Failure::Failed)?;
    tell(&Event::Started {
        version: env!("CARGO_PKG_VERSION"),
        hostname: site.config.hostname.as_str(),
        config: &name_of(&site.config),
    });
    let server = Server::start(listeners, site, spool);
    server.map_err(|error| Failure::Failed(format!("cannot start a thread: {error}")))
}

/// Users and aliases as well; what is bad in them is named in the log and spoils nothing else.
fn read_site(config: Config) -> Result<Site, String> {
    let (site, mut bad) = Site::read(config).map_err(|error| error.to_string())?;
    bad.extend(bad_aliases(&site, &RealDisk));
    tell_bad_lines(&bad);
    tell_flaws(&site);
    not_built(&site).iter().chain(&doubts(&site)).for_each(|line| warn(line));
    Ok(site)
}

/// On an error everything stays as it was: all is read before anything is replaced.
fn reload(request: &Request, server: &Server) {
    let old = &server.site().config;
    let read = Config::load(request.config.as_deref()).map_err(|error| error.to_string());
    let read = read.and_then(|mut new| {
        keep_what_only_a_restart_changes(old, &mut new);
        read_site(new)
    });
    match read {
        Ok(site) => {
            let config = name_of(&site.config);
            server.replace(site);
            // After the swap: who sees this line may count on it.
            tell(&Event::Reloaded { config: &config });
        }
        Err(reason) => tell(&Event::ReloadFailed { reason: &reason }),
    }
}

/// Sockets are bound as root, the user is given up for good, and large messages of running sessions
/// lie in the spool. Each change is named in the log, as somebody waits for it.
fn keep_what_only_a_restart_changes(old: &Config, new: &mut Config) {
    let mut kept = Vec::new();
    if new.listen != old.listen {
        new.listen = old.listen.clone();
        kept.push("listen");
    }
    if new.run_as != old.run_as {
        new.run_as = old.run_as.clone();
        kept.push("run_as");
    }
    if new.spool != old.spool {
        new.spool = old.spool.clone();
        kept.push("spool");
    }
    // With the listeners that stay. Who connects there expects TLS (RFC 8314 §3.3).
    if new.needs_tls().is_some() {
        new.tls = old.tls.clone();
        kept.push("tls");
    }
    for domain in &mut new.domains {
        let before = old.domains.iter().find(|before| before.name == domain.name);
        let Some(before) = before.filter(|before| before.maildir != domain.maildir) else {
            continue;
        };
        let template = domain.maildir.replace("{domain}", domain.name.as_str());
        if let Err(why) = is_reachable(&template) {
            warn(&format!("{}.maildir changed: {why}; the old value stays", domain.key));
            domain.maildir = before.maildir.clone();
        }
    }
    for key in kept {
        warn(&format!("{key} changed: only a restart can change it, the old value stays"));
    }
}

/// Whether this user may make Maildirs there: what is there already of the path above a user's must
/// let it in. Where each user has a home above, nobody can say.
fn is_reachable(template: &str) -> Result<(), String> {
    let (fixed, rest) = template.split_once("{user}").unwrap_or((template, ""));
    if rest.contains('/') {
        return Ok(());
    }
    let above = Path::new(fixed.rsplit_once('/').map_or(".", |(above, _)| above));
    let mut there = above
        .ancestors()
        .filter(|dir| !matches!(fs::metadata(dir), Err(error) if error.kind() == NotFound));
    let there = there.next().unwrap_or(Path::new("/"));
    access(there, AccessFlags::W_OK | AccessFlags::X_OK)
        .map_err(|error| format!("this user cannot write in {}: {error}", there.display()))
}

/// A descriptor for each session and some for delivery: as many as the system grants. Fewer are no
/// reason not to start; the listener waits when there are none.
fn raise_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        warn(&format!("cannot raise the limit of open files: {error}"));
    }
}

/// One line an event on stderr, level by RUST_LOG, and panics as lines as well.
fn start_log() {
    let mut log = env_logger::Builder::new();
    // What TLS has to say of a session stands in the events of that session.
    log.filter_level(LevelFilter::Info).filter_module("rustls", LevelFilter::Off);
    log.parse_default_env();
    // The event is the whole line: its time and its escapes are its own.
    log.format(|out, record| writeln!(out, "{}", record.args())).init();
    std::panic::set_hook(Box::new(|panic| {
        // One line as well, with the place in the source.
        let text = panic.to_string().replace('\n', " ");
        warn(&text);
    }));
}

fn name_of(config: &Config) -> String {
    match &config.file {
        Some(file) => file.display().to_string(),
        None => "the built-in demo".to_owned(),
    }
}
