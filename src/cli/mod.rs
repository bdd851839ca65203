//! The command line: which command, with which configuration; each command is a file of its own.
//!
//! Exit status: 0 done, 1 refused or failed, 2 wrong usage (contract, "Commands").
//!
//! Decides nothing about mail. What comes from outside is escaped before it is printed; errors go
//! to stderr, results to stdout.

mod check;
mod mail;
mod route;
mod serve;
mod terminal;

use crate::config::Config;
use crate::event::{Event, tell};
use crate::mail::address::{ForwardPath, Mailbox};
use crate::site::Site;
use lexopt::Arg::{Long, Short, Value};
use lexopt::ValueExt;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Commands of the contract that can be used; the others are in [`NOT_YET`].
const HELP: &str = "\
facteur: a mail server for small sites

usage: facteur [-c FILE] COMMAND

  serve                     run in the foreground until SIGTERM; logs to stderr
  check                     read the whole configuration and print what is served
  route ADDRESS...          say where mail for each address would go, and send nothing
  mail list ADDRESS         the delivered mail of a mailbox, newest last (--json)
  mail show ADDRESS KEY     one message, as it lies there

  -c FILE                   configuration; else ./facteur.toml, /etc/facteur/facteur.toml,
                            or the built-in demo: 127.0.0.1:2525, any user at localhost
  --version, --help         also: facteur COMMAND --help

exit status: 0 done, 1 refused or failed, 2 wrong usage
";

const SERVE_HELP: &str = "\
usage: facteur [-c FILE] serve

Runs in the foreground until SIGTERM or SIGINT; running transactions may end within
timeout.shutdown. SIGHUP rereads the configuration and the users. Logs to stderr, one line an
event; RUST_LOG sets the level (default: info).
";

const CHECK_HELP: &str = "\
usage: facteur [-c FILE] check

Reads the configuration and all files it names, opens no socket, and prints what is served.
Exit status 1: something is wrong; stderr says file, line and why.
";

const ROUTE_HELP: &str = "\
usage: facteur [-c FILE] route ADDRESS...

Says step by step where mail for each address would go, and sends nothing.
Exit status 1: mail for one of them would be refused.
";

const MAIL_HELP: &str = "\
usage: facteur [-c FILE] mail list ADDRESS [--json]
       facteur [-c FILE] mail show ADDRESS KEY

list: a line for each message, newest last: key, date, from, subject, size in octets, flags.
      --json: one object a line with these names; times in RFC 3339.
show: one message as it lies there; KEY may be the beginning of a key. On a terminal,
      controls are shown escaped.
";

/// Commands of the contract whose part is not built yet: told from a slip of the keyboard, so that
/// nobody looks for one. Status 1, not 2.
const NOT_YET: [&str; 4] = ["queue", "trace", "user", "sendmail"];

/// What was asked for.
struct Request {
    /// By `-c`; without it [`Config::load`] knows where to look.
    config: Option<PathBuf>,
    /// For scripts: one object a line.
    json: bool,
    /// The command, then what it is about; options may stand between them.
    words: Vec<String>,
}

/// Why a command ended without success; the text goes to stderr.
enum Failure {
    /// The command line makes no sense: status 2.
    Usage(String),
    /// It was understood and not done: status 1.
    Failed(String),
    /// Status 1 as well; all has been said, on stdout or stderr.
    Told,
}

/// Does what the arguments say (without the program's name). Status 2 is for usage alone, so that a
/// script knows its own mistake from a refusal.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let result = parse(lexopt::Parser::from_args(arguments)).and_then(|request| match request {
        Some(request) => command(&request),
        None => Ok(()),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
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

/// The request, or none when the arguments only asked for words.
fn parse(mut parser: lexopt::Parser) -> Result<Option<Request>, Failure> {
    let usage = |error: lexopt::Error| Failure::Usage(error.to_string());
    let mut request = Request { config: None, json: false, words: Vec::new() };
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Short('c') | Long("config") => {
                request.config = Some(parser.value().map_err(usage)?.into());
            }
            Short('h') | Long("help") => {
                // The words so far choose: `facteur serve --help` is about serve.
                print(match request.words.first().map(String::as_str) {
                    Some("serve") => SERVE_HELP,
                    Some("check") => CHECK_HELP,
                    Some("route") => ROUTE_HELP,
                    Some("mail") => MAIL_HELP,
                    _ => HELP,
                })?;
                return Ok(None);
            }
            Short('V') | Long("version") => {
                print(&format!("facteur {}\n", env!("CARGO_PKG_VERSION")))?;
                return Ok(None);
            }
            Long("json") => request.json = true,
            Value(word) => {
                let word = word.string().map_err(usage)?;
                // Before its options are looked at, which nobody knows yet.
                if request.words.is_empty() && NOT_YET.contains(&word.as_str()) {
                    let text = format!("{word} is not built yet in this version");
                    return Err(Failure::Failed(text));
                }
                request.words.push(word);
            }
            other => return Err(usage(other.unexpected())),
        }
    }
    Ok(Some(request))
}

/// Wrong words are told before any file is read.
fn command(request: &Request) -> Result<(), Failure> {
    let words: Vec<&str> = request.words.iter().map(String::as_str).collect();
    // Refused, not ignored: a script would parse what is for people.
    if request.json && !matches!(words[..], ["mail", "list", ..]) {
        return Err(Failure::Usage("--json goes with mail list".to_owned()));
    }
    match words[..] {
        ["serve"] => serve::run(request),
        ["check"] => check::run(request),
        ["route", _, ..] => route::run(request, &words[1..]),
        ["mail", "list", address] => {
            let (site, disk) = (site(request)?, crate::store::disk::RealDisk);
            // Found as mail finds it, so that an alias or a tag leads there too.
            let maildir = route::maildir(&site, address)?;
            let listed = mail::list(&disk, &maildir, request.json, &mut io::stdout().lock());
            listed.map_err(|error| Failure::Failed(error.to_string()))
        }
        ["mail", "show", address, key] => {
            let (site, disk) = (site(request)?, crate::store::disk::RealDisk);
            let maildir = route::maildir(&site, address)?;
            // A file or a pipe gets the octets as they are; only a terminal could be steered.
            let terminal = io::stdout().is_terminal();
            let shown = mail::show(&disk, &maildir, key, terminal, &mut io::stdout().lock());
            shown.map_err(|error| Failure::Failed(error.to_string()))
        }
        [] => Err(Failure::Usage("what shall I do?".to_owned())),
        [known @ ("serve" | "check" | "route" | "mail"), ..] => {
            Err(Failure::Usage(format!("wrong arguments; see facteur {known} --help")))
        }
        [unknown, ..] => Err(Failure::Usage(format!("no command is called {unknown}"))),
    }
}

/// An error names the file, mostly the line, and what was expected.
fn config(request: &Request) -> Result<Config, Failure> {
    Config::load(request.config.as_deref()).map_err(|error| Failure::Failed(error.to_string()))
}

/// The site as commands beside the server see it; bad lines in its files are `check`'s business.
fn site(request: &Request) -> Result<Site, Failure> {
    let read = Site::read(config(request)?);
    read.map(|(site, _)| site).map_err(|error| Failure::Failed(error.to_string()))
}

/// An address as a person gives it: `user@domain`, or `postmaster` alone (RFC 5321 §4.1.1.3). The
/// error repeats it escaped, as it may have been pasted from a message.
fn address(text: &str) -> Result<ForwardPath, Failure> {
    if text.eq_ignore_ascii_case("postmaster") {
        return Ok(ForwardPath::Postmaster);
    }
    let mailbox = Mailbox::parse(text);
    let why = |why| format!("{}: {why}", terminal::escape(text));
    mailbox.map(ForwardPath::Mailbox).map_err(|bad| Failure::Failed(why(bad)))
}

/// To stdout; a reader that went away is no failure. Flushed here: nobody hears of an error at
/// exit.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("cannot write: {error}")))
        }
        _ => Ok(()),
    }
}

/// To the log: something an administrator should mend.
fn warn(what: &str) {
    tell(&Event::Warning { what });
}
