//! The command line: which command, with which options. `serve` is here; all other commands are in `tools`.
//!
//! Exit status: 0 done, 1 refused or failed, 2 wrong usage (contract, "Commands").
//!
//! Decides nothing about mail, and reads no file.

mod serve;

use crate::event::{self, priority};
use crate::tools::{
    Failure, Request, check, dkim, dns, mail, print, queue, route, sendmail, setup, trace, user,
    verify,
};
use lexopt::Arg::{Long, Short, Value};
use lexopt::ValueExt;
use log::Level;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// What `--help` says without a command.
const HELP: &str = include_str!("../help/facteur.txt");

/// The commands, each with what its `--help` says. sendmail reads its own arguments.
const COMMANDS: [(&str, &str); 11] = [
    ("serve", include_str!("../help/serve.txt")),
    ("check", include_str!("../help/check.txt")),
    ("route", include_str!("../help/route.txt")),
    ("mail", include_str!("../help/mail.txt")),
    ("queue", include_str!("../help/queue.txt")),
    ("trace", include_str!("../help/trace.txt")),
    ("user", include_str!("../help/user.txt")),
    ("verify", include_str!("../help/verify.txt")),
    ("dkim", include_str!("../help/dkim.txt")),
    ("dns", include_str!("../help/dns.txt")),
    ("setup", include_str!("../help/setup.txt")),
];

/// What `--help` says of a command.
fn help(command: &str) -> Option<&'static str> {
    COMMANDS.iter().find(|(name, _)| *name == command).map(|(_, help)| *help)
}

/// Does what the arguments say; the first is the program's name. Status 2 is only for wrong usage, so that
/// a script can tell its own mistake from a refusal; sendmail has its own statuses.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    outlive_file_limit();
    leave_no_core();
    let mut arguments = arguments.into_iter();
    let program = arguments.next().unwrap_or_default();
    if let Some(name) = sendmail::ProgramName::of(Path::new(&program)) {
        return sendmail::run(name, None, arguments.collect());
    }
    let result = parse(lexopt::Parser::from_args(arguments)).and_then(|asked| match asked {
        Parsed::Words => Ok(ExitCode::SUCCESS),
        Parsed::Command(request) => command(&request).map(|()| ExitCode::SUCCESS),
        Parsed::Sendmail(config, arguments) => {
            Ok(sendmail::run(sendmail::ProgramName::Sendmail, config, arguments))
        }
    });
    match result {
        Ok(status) => status,
        Err(Failure::Told) => ExitCode::from(1),
        Err(Failure::Failed(text)) => {
            eprintln!("facteur: {text}");
            ExitCode::from(1)
        }
        Err(Failure::Usage(text)) => {
            eprintln!("facteur: {text}\nTry facteur --help");
            ExitCode::from(2)
        }
    }
}

/// Takes SIGXFSZ, so that a file past its limit (`ulimit -f`) is a failed write, as on a full disk, and
/// does not end this process. A failure to take it is ignored.
fn outlive_file_limit() {
    let _ = signal_hook::flag::register(Signal::SIGXFSZ as i32, Arc::default());
}

/// Lets a crash leave no core, which would hold private keys and passwords. At 1 the kernel gives none to a program
/// either, unlike at 0 (`fs/coredump.c`). A failure is ignored: the limit was lower then.
fn leave_no_core() {
    let _ = setrlimit(Resource::RLIMIT_CORE, 1, 1);
}

/// What arguments can ask for.
enum Parsed {
    /// Help or the version, which have been printed.
    Words,
    Command(Box<Request>),
    /// sendmail, with the configuration and its own arguments.
    Sendmail(Option<PathBuf>, Vec<OsString>),
}

fn parse(mut parser: lexopt::Parser) -> Result<Parsed, Failure> {
    let mut request = Request::default();
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Short('c') | Long("config") => {
                request.config = Some(parser.value().map_err(usage)?.into());
            }
            Short('h') | Long("help") => {
                // The words before it choose: `facteur serve --help` is about serve.
                let command = request.words.first().and_then(|word| help(word));
                print(command.unwrap_or(HELP))?;
                return Ok(Parsed::Words);
            }
            Short('V') | Long("version") => {
                print(&format!("facteur {}\n", env!("CARGO_PKG_VERSION")))?;
                return Ok(Parsed::Words);
            }
            Long("json") => request.json = true,
            Long("all") => request.all = true,
            Long("follow") => request.follow = true,
            Long("since") => request.since = Some(text(&mut parser)?),
            Long("bounce") => request.bounce = true,
            Long("disk") => request.disk = true,
            Long("zone") => request.zone = true,
            Long("day") => request.day = Some(text(&mut parser)?),
            Long("send") => request.send = true,
            Long("print") => request.print = true,
            Long("from") => request.from = Some(text(&mut parser)?),
            Long("client") => request.client = Some(text(&mut parser)?),
            Long("helo") => request.helo = Some(text(&mut parser)?),
            Long("folder") => request.folder = Some(text(&mut parser)?),
            Long("selector") => request.selector = Some(text(&mut parser)?),
            Long("type") => request.kind = Some(text(&mut parser)?),
            Long("hostname") => request.setup.hostname = Some(text(&mut parser)?),
            Long("etc") => request.setup.etc = Some(parser.value().map_err(usage)?.into()),
            Long("spool") => request.setup.spool = Some(parser.value().map_err(usage)?.into()),
            Long("mail") => request.setup.mail = Some(parser.value().map_err(usage)?.into()),
            Long("user") => request.setup.user = Some(text(&mut parser)?),
            Long("dovecot") => request.setup.dovecot = true,
            Long("from-postfix") => {
                request.setup.from_postfix = Some(parser.value().map_err(usage)?.into());
            }
            Long("dry-run") => request.setup.dry_run = true,
            Long("scheme") => request.scheme = Some(text(&mut parser)?),
            Value(word) => {
                let word = word.string().map_err(usage)?;
                if request.words.is_empty() && word == "sendmail" {
                    let rest = parser.raw_args().map_err(usage)?.collect();
                    return Ok(Parsed::Sendmail(request.config, rest));
                }
                request.words.push(word);
            }
            other => return Err(usage(other.unexpected())),
        }
    }
    Ok(Parsed::Command(Box::new(request)))
}

/// The value of an option.
fn text(parser: &mut lexopt::Parser) -> Result<String, Failure> {
    parser.value().and_then(ValueExt::string).map_err(usage)
}

fn usage(error: lexopt::Error) -> Failure {
    Failure::Usage(error.to_string())
}

/// Runs a command. Wrong words are reported before any file is read.
fn command(request: &Request) -> Result<(), Failure> {
    let words: Vec<&str> = request.words.iter().map(String::as_str).collect();
    check_options(request, &words)?;
    match words[..] {
        ["serve"] => serve::run(request.config.as_deref()).map_err(|why| {
            // The last line of its log, behind those that wait to be written.
            event::flush();
            eprintln!("{}facteur: {why}", priority(Level::Error));
            Failure::Told
        }),
        ["check"] => check::run(request),
        ["route", _, ..] => route::run(request, &words[1..]),
        ["mail", "list", address] => mail::list(request, address),
        ["mail", "show", address, key] => mail::show(request, address, key),
        ["queue", "list"] => queue::list(request),
        ["queue", "show", id] => queue::show(request, id),
        // Either these or all.
        ["queue", "retry", ref ids @ ..] if ids.is_empty() == request.all => {
            queue::retry(request, ids)
        }
        ["queue", "remove", _, ..] => queue::remove(request, &words[2..]),
        ["queue", "why", id] => queue::why(request, id),
        ["queue", "tls-report"] => queue::tls_report(request),
        ["trace"] if request.follow => trace::follow(request),
        ["trace", _, ..] if !request.follow => trace::run(request, &words[1..]),
        ["user", "add", address] => user::add(request, address),
        ["user", "list"] => user::list(request),
        ["user", "remove", address] => user::remove(request, address),
        ["dkim", "new", domain] => dkim::new(request, domain),
        ["dkim", "list"] => dkim::list(request),
        ["setup"] => setup::run(request, None),
        ["setup", domain] => setup::run(request, Some(domain)),
        ["verify", file] => verify::run(request, file),
        // For scripts, or for a name server.
        ["dns", ..] if !(request.json && request.zone) => dns::run(request, &words[1..]),
        [] => Err(Failure::Usage("what shall I do?".to_owned())),
        [known, ..] if help(known).is_some() => {
            Err(Failure::Usage(format!("wrong arguments; see facteur {known} --help")))
        }
        [unknown, ..] => Err(Failure::Usage(format!("no command is called {unknown}"))),
    }
}

/// Refuses an option where it has no meaning: a script would parse output for people, and `--bounce` with
/// another command is a mistake.
fn check_options(request: &Request, words: &[&str]) -> Result<(), Failure> {
    let fits = |commands: &[&[&str]]| commands.iter().any(|what| words.starts_with(what));
    let lists: &[&[&str]] = &[
        &["mail", "list"],
        &["queue", "list"],
        &["user", "list"],
        &["trace"],
        &["verify"],
        &["dkim", "list"],
        &["dns"],
    ];
    let setup: &[&[&str]] = &[&["setup"]];
    for (set, option, commands) in [
        (request.json, "--json", lists),
        (request.all, "--all", &[&["queue", "retry"]]),
        (request.bounce, "--bounce", &[&["queue", "remove"]]),
        (request.scheme.is_some(), "--scheme", &[&["user", "add"]]),
        (request.since.is_some(), "--since", &[&["trace"]]),
        (request.follow, "--follow", &[&["trace"]]),
        (request.from.is_some(), "--from", &[&["route"], &["verify"]]),
        (request.client.is_some(), "--client", &[&["route"], &["verify"]]),
        (request.helo.is_some(), "--helo", &[&["verify"]]),
        (request.folder.is_some(), "--folder", &[&["mail", "list"], &["mail", "show"]]),
        (request.selector.is_some(), "--selector", &[&["dkim", "new"]]),
        (request.kind.is_some(), "--type", &[&["dkim", "new"]]),
        (request.disk, "--disk", &[&["check"]]),
        (request.zone, "--zone", &[&["dns"]]),
        (request.setup.hostname.is_some(), "--hostname", setup),
        (request.setup.etc.is_some(), "--etc", setup),
        (request.setup.spool.is_some(), "--spool", setup),
        (request.setup.mail.is_some(), "--mail", setup),
        (request.setup.user.is_some(), "--user", setup),
        (request.setup.dovecot, "--dovecot", setup),
        (request.setup.from_postfix.is_some(), "--from-postfix", setup),
        (request.setup.dry_run, "--dry-run", setup),
        (request.day.is_some(), "--day", &[&["queue", "tls-report"]]),
        (request.send, "--send", &[&["queue", "tls-report"]]),
        (request.print, "--print", &[&["queue", "tls-report"]]),
    ] {
        if set && !fits(commands) {
            let commands: Vec<String> = commands.iter().map(|what| what.join(" ")).collect();
            return Err(Failure::Usage(format!("{option} goes with {}", commands.join(" and "))));
        }
    }
    match request.follow && request.since.is_some() {
        true => Err(Failure::Usage("--follow tells what comes, --since what was".to_owned())),
        false => Ok(()),
    }
}
