//! `facteur serve`: start, signals, stop.
//!
//! Order of start: configuration, sockets (as root, when started so), privileges, then every file
//! that a reload will read again, so that what works at start works at reload.

use super::check::not_built;
use super::{Failure, Request, config, warn};
use crate::config::Config;
use crate::event::{Event, tell};
use crate::privileges;
use crate::server::{Server, bind};
use crate::site::Site;
use crate::store::disk::RealDisk;
use log::LevelFilter;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Runs until SIGTERM or SIGINT.
pub fn run(request: &Request) -> Result<(), Failure> {
    start_log();
    // Before anything else, so that no signal of the first moments ends the process unheard.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])
        .map_err(|error| Failure::Failed(format!("cannot wait for signals: {error}")))?;
    let server = start(config(request)?)?;
    for signal in signals.forever() {
        match signal {
            SIGHUP => reload(request, &server),
            SIGUSR1 => {} // attempts the whole queue, when there is one
            _ => break,
        }
    }
    server.stop();
    Ok(())
}

fn start(config: Config) -> Result<Server, Failure> {
    umask(Mode::from_bits_truncate(0o077));
    raise_descriptors();
    let listeners = bind(&config).map_err(Failure::Failed)?;
    privileges::drop_to(config.run_as.as_deref()).map_err(Failure::Failed)?;
    let failed = |error: &dyn std::fmt::Display| Failure::Failed(error.to_string());
    let (site, bad) = Site::read(config).map_err(|error| failed(&error))?;
    for line in bad.iter().map(ToString::to_string).chain(not_built(&site.config)) {
        warn(&line);
    }
    let spill = spill(&site.config.spool).map_err(Failure::Failed)?;
    tell(&Event::Started {
        version: env!("CARGO_PKG_VERSION"),
        hostname: site.config.hostname.as_str(),
        config: &name_of(&site.config),
    });
    Server::start(listeners, site, Arc::new(RealDisk), spill).map_err(|error| failed(&error))
}

/// On an error everything stays as it was.
fn reload(request: &Request, server: &Server) {
    let old = &server.site().config;
    let read = Config::load(request.config.as_deref()).map_err(|error| error.to_string());
    let read = read.and_then(|mut new| {
        keep_what_only_a_restart_changes(old, &mut new);
        Site::read(new).map_err(|error| error.to_string())
    });
    match read {
        Ok((site, bad)) => {
            for line in bad.iter().map(ToString::to_string).chain(not_built(&site.config)) {
                warn(&line);
            }
            let config = name_of(&site.config);
            server.replace(site);
            tell(&Event::Reloaded { config: &config });
        }
        Err(reason) => tell(&Event::ReloadFailed { reason: &reason }),
    }
}

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
    for key in kept {
        warn(&format!("{key} changed: only a restart can change it, the old value stays"));
    }
}

/// Where large messages spill to; made, and emptied of what a crash left.
fn spill(spool: &Path) -> Result<PathBuf, String> {
    let spill = spool.join("spill");
    let failed = |error| format!("cannot use the spool {}: {error}", spill.display());
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&spill).map_err(failed)?;
    for entry in fs::read_dir(&spill).map_err(failed)? {
        fs::remove_file(entry.map_err(failed)?.path()).map_err(failed)?;
    }
    Ok(spill)
}

/// A descriptor for each session and some for delivery: as many as the system grants.
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
    log.filter_level(LevelFilter::Info).parse_default_env();
    log.format(|out, record| writeln!(out, "{}", record.args())).init();
    std::panic::set_hook(Box::new(|panic| {
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
