//! `facteur serve`: start, signals, stop.
//!
//! Order of start: configuration and the files it names, sockets (as root, when started so), privileges,
//! then once more every file that a reload will read, the spool, the sandbox, and threads: so what works at
//! the start also works at a reload. As root only the configuration is read. The trace belongs to the
//! process, like the log: it begins before the server and ends after it.

mod demo;
mod log;

use crate::config::{Config, Trace};
use crate::event::sink::{self, Sink};
use crate::event::{self, Event, priority, tell, warn};
use crate::limits::STOP_GRACE;
use crate::login;
use crate::net::handed::Handed;
use crate::net::manager::Manager;
use crate::net::pool::spawn_vital;
use crate::privileges;
use crate::reach;
use crate::route::bad_aliases;
use crate::sandbox::{Sandbox, SandboxPaths, maildir_root};
use crate::server::{Server, Spool, open, tell_bad_lines, tell_flaws};
use crate::site::Site;
use crate::store::disk::RealDisk;
use crate::store::locked;
use crate::store::order;
use crate::store::table::BadLine;
use crate::trace::TraceWriter;
use crate::trace::files::dir;
use ::log::LevelFilter;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

/// Sent by the kernel once a second past the soft limit of processor time.
const SIGXCPU: i32 = Signal::SIGXCPU as i32;

/// Runs until SIGTERM or SIGINT. Fails with the reason when it cannot start; later trouble is logged.
pub fn run(named: Option<&Path>) -> Result<(), String> {
    let log = start_log();
    // Before anything else, so that no early signal ends the process.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGXCPU])
        .map_err(|error| format!("cannot wait for signals: {error}"))?;
    let manager = Manager::from_environment().unwrap_or_else(|error| {
        warn(&format!("the service manager of NOTIFY_SOCKET cannot be told anything: {error}"));
        Manager::default()
    });
    let (server, sandbox, limits) = start(named, &log)?;
    manager.ready("serving");
    say_demo(&server.site().config);
    for signal in signals.forever() {
        match signal {
            SIGHUP => {
                manager.reloading();
                manager.ready(match reload(&server, &sandbox, &limits) {
                    true => "serving",
                    false => "serving by the old configuration: the new one cannot be used",
                });
            }
            SIGUSR1 => server.flush(),
            // The kernel ends us at the hard limit; accepted mail survives that.
            SIGXCPU => warn(
                "the limit of processor time is reached (ulimit -t, LimitCPU=): the kernel ends this \
                 server where it reaches the hard one",
            ),
            _ => break,
        }
    }
    manager.stopping();
    let registry = server.registry();
    // A second signal means not to wait for running transactions.
    let hurry = move || {
        if signals.forever().any(|signal| matches!(signal, SIGTERM | SIGINT)) {
            registry.stop_reading();
        }
    };
    if let Err(error) = thread::Builder::new().name("hurry".to_owned()).spawn(hurry) {
        warn(&format!("a second signal will not be heard: {error}"));
    }
    server.stop();
    // Last, because all other threads send it records. A disk that hangs delays this no longer than
    // `STOP_GRACE`.
    if let Some(sink) = sink::current() {
        sink.finish(STOP_GRACE);
    }
    event::flush();
    Ok(())
}

/// Explains the demo on stdout, for a first user; the lines of the log on stderr are for programs.
fn say_demo(config: &Config) {
    if config.file.is_some() {
        return;
    }
    let program = std::env::args_os().next().unwrap_or_else(|| "facteur".into());
    let here = std::env::current_dir().unwrap_or_default();
    let words = demo::words(config, &here, &program.to_string_lossy());
    // A stdout that is closed is no reason not to serve.
    let _ = std::io::stdout().write_all(words.as_bytes());
}

/// `trace.keep` and `trace.size`; a reload changes them.
type Limits = Arc<Mutex<Trace>>;

/// Starts the trace. Called after the spool was locked.
fn start_trace(config: &Config) -> std::io::Result<Limits> {
    let limits = Arc::new(Mutex::new(config.trace.clone()));
    let (own, (sink, records)) = (limits.clone(), Sink::new());
    let dir = dir(&config.spool);
    let writer = TraceWriter::new(Arc::new(RealDisk), dir, records, move || locked(&own).clone());
    spawn_vital("trace", None, move || writer.run())?;
    sink::attach(sink);
    Ok(limits)
}

/// Each step finds what can be wrong before anything has begun; afterwards mail is accepted.
fn start(named: Option<&Path>, log: &log::LogHandle) -> Result<(Server, Sandbox, Limits), String> {
    let handed = Handed::from_environment()?;
    let config = reach::config(named)?;
    // Mail is private, whatever umask the shell has (contract: 0700, 0600).
    umask(Mode::from_bits_truncate(0o077));
    raise_descriptors();
    let user = reach::user(&config)?;
    let user = user.as_ref();
    // Files that cannot be read as that user are found before any socket is open.
    let looked = privileges::as_user(user, || reach::read(&config, user).map(drop));
    looked.flatten()?;
    // Still root, where started so: ports below 1024 need it.
    let listeners = open(&config, handed)?;
    // Nothing below is done as root.
    if let Some(warning) = privileges::become_user(user)? {
        warn(&warning);
    }
    // As that user for good: a key that only root may read fails here, and not at the first renewal.
    let site = read_site(reach::read(&config, user))?;
    let spool = Spool::open(Arc::new(RealDisk), &site.config.spool)?;
    reach::make_maildir_roots(&site.config);
    // The sandbox hides where the kernel tells of file systems.
    order::learn(&site.config.spool);
    let kept = site.config.domains.iter().filter(|domain| domain.lmtp.is_none());
    kept.for_each(|domain| drop(order::learn(&maildir_root(&domain.maildir))));
    // No thread runs yet, so all inherit it.
    let sandbox = SandboxPaths::of(&site.config).close();
    sandbox.gap.iter().for_each(|gap| warn(gap));
    tell(&Event::Started {
        version: env!("CARGO_PKG_VERSION"),
        hostname: site.config.hostname.as_str(),
        config: &name_of(&site.config),
        sandbox: &sandbox.how,
    });
    let no_thread = |error| format!("cannot start a thread: {error}");
    log.write_beside().map_err(no_thread)?;
    let limits = start_trace(&site.config).map_err(no_thread)?;
    let server = Server::start(listeners, site, spool).map_err(no_thread)?;
    Ok((server, sandbox, limits))
}

/// Logs what is wrong with users, aliases and certificates; the rest is used.
fn read_site(read: Result<(Site, Vec<BadLine>), String>) -> Result<Site, String> {
    let (site, mut bad) = read?;
    bad.extend(bad_aliases(&site, &RealDisk));
    tell_bad_lines(&bad);
    tell_flaws(&site);
    site.doubts().iter().for_each(|line| warn(line));
    Ok(site)
}

/// Reads the configuration anew; returns whether it is used now. On an error everything stays as it was,
/// because all is read before anything is replaced.
fn reload(server: &Server, sandbox: &Sandbox, limits: &Limits) -> bool {
    let before = server.site();
    let old = &before.config;
    // The file that was read at the start; the demo looks for one again.
    let read = Config::load(old.file.as_deref()).map_err(|error| error.to_string());
    let read = read.and_then(|mut new| {
        keep_what_only_a_restart_changes(old, &mut new);
        reach::keep(old, &mut new, sandbox);
        let site = read_site(Site::read(new).map_err(|error| error.to_string()))?;
        reach::judge_new_domains(old, &site.config, sandbox)?;
        Ok(site)
    });
    match read {
        Ok(site) => {
            if login::takes_bare_names(&before) {
                login::no_bare_names(&site).iter().for_each(|words| warn(words));
            }
            let config = name_of(&site.config);
            *locked(limits) = site.config.trace.clone();
            server.replace(site);
            // After the swap, so that whoever sees this line may count on it.
            tell(&Event::Reloaded { config: &config });
            true
        }
        Err(reason) => {
            tell(&Event::ReloadFailed { reason: &reason });
            false
        }
    }
}

/// Keeps the old values of keys that only a restart can change, and logs each: sockets are bound as root,
/// the user cannot be changed back, and running sessions have large messages in the spool.
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
    // The listeners stay, and clients of `submissions` expect TLS (RFC 8314 §3.3).
    if new.needs_tls() {
        new.tls = old.tls.clone();
        kept.push("tls");
    }
    for key in kept {
        warn(&format!("{key} changed: only a restart can change it, the old value stays"));
    }
}

/// Raises the limit of open files as far as the system allows. A failure is no reason not to start; the
/// listener waits when there are no descriptors.
fn raise_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        warn(&format!("cannot raise the limit of open files: {error}"));
    }
}

/// Starts the log: one line on stderr for each event or panic, with levels by RUST_LOG.
fn start_log() -> log::LogHandle {
    let mut log = env_logger::Builder::new();
    // Events of a session say what TLS has to say.
    log.filter_level(LevelFilter::Info).filter_module("rustls", LevelFilter::Off);
    log.parse_default_env();
    // The event is the whole line, with its time and escaped.
    log.format(|out, record| writeln!(out, "{}{}", priority(record.level()), record.args()));
    let handle = log::start(log);
    std::panic::set_hook(Box::new(|panic| {
        // One line, with the place in the source.
        let text = panic.to_string().replace('\n', " ");
        warn(&text);
    }));
    handle
}

fn name_of(config: &Config) -> String {
    match &config.file {
        Some(file) => file.display().to_string(),
        None => "the built-in demo".to_owned(),
    }
}
