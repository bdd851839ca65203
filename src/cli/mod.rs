//! The command line: which command, with which configuration; each command is a file of its own.
//!
//! Exit status: 0 done, 1 refused or failed, 2 wrong usage (contract, "Commands").
//!
//! Decides nothing about mail. What comes from outside is escaped before it is printed; errors go
//! to stderr, results to stdout.

mod check;
mod listing;
mod mail;
mod queue;
mod reach;
mod route;
mod sendmail;
mod serve;
mod terminal;
mod trace;
mod user;

use crate::config::Config;
use crate::event::{Event, tell};
use crate::mail::address::{ForwardPath, Mailbox};
use crate::site::Site;
use lexopt::Arg::{Long, Short, Value};
use lexopt::ValueExt;
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Commands of the contract that can be used.
const HELP: &str = "\
facteur: a mail server for small sites

usage: facteur [-c FILE] COMMAND

  serve                     run in the foreground until SIGTERM; logs to stderr
  check                     read the configuration and try every mailbox (--disk: the disks)
  route ADDRESS...          say where mail for each address would go, and send nothing
                            (--from ADDRESS, --client IP: on their behalf)
  mail list ADDRESS         the delivered mail of a mailbox, newest last (--json)
  mail show ADDRESS KEY     one message, as it lies there
  queue list                what waits to be sent, oldest first (--json)
  queue show ID             one message of it: envelope, every attempt so far, content
  queue why ID              the one reason why it waits, and what would release it
  queue retry ID... | --all attempt now
  queue remove ID...        drop it
  trace HANDLE...           where did my mail go? the whole story of a message, refused ones too
  user add ADDRESS          make a user, or give a known one a new password
  user list                 all users with a password file (--json)
  user remove ADDRESS       take a user out of his file
  sendmail ...              sendmail(1), also by that name; mailq and newaliases by theirs

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

Started as root it opens its ports and becomes the user of run_as. Sockets may be handed over by
systemd instead, which is told of ready, reloading and stopping. Once it serves, only what is
configured can be reached: a reload that names other directories needs a restart.
";

const CHECK_HELP: &str = "\
usage: facteur [-c FILE] check [--disk]

Reads the configuration and all files it names, and prints what is served. As root it reads as the
user of run_as would. Each address of [listen] that no server of ours has is bound for a moment, and
answers nobody. Then the spool, and a delivery to every mailbox that the configuration names, are
tried as the server's user, up to the deed itself; those that would fail are named. Leaves nothing
behind.

--disk: also tries the file systems of the spool and of all Maildirs, with files of its own that
        are removed again: link, rename, sync and its time, room and inodes.

stderr says what, where and why, a line each that begins with fatal: (serve would end by it),
error: (serve goes on without it; mail would be refused or wait) or warning: (only doubtful).
Exit status 1: something is fatal or an error.
";

const ROUTE_HELP: &str = "\
usage: facteur [-c FILE] route [--from ADDRESS] [--client IP] ADDRESS...

Says step by step where mail for each address would go, and sends nothing. The server's own session
and delivery are run, on a disk that only says whether it could: as the server's user, so as root
or as that user. For other hosts DNS is asked and the addresses are told in the order they would be
tried; the first one that answers is greeted, by TLS where it has that, and never hears MAIL.

--from:   the sender, \"\" or <> for none: may he send, and under which sender (SRS) does mail go on
          that an alias leads elsewhere?
--client: what a client with that IP address would hear at port 25, without a login. Without it
          whoever may send anywhere is meant.

Leaves nothing behind. Exit status 1: mail for one of them would be refused or returned; not when a
host is down or DNS fails, as mail waits then.
";

const MAIL_HELP: &str = "\
usage: facteur [-c FILE] mail list ADDRESS [--json]
       facteur [-c FILE] mail show ADDRESS KEY

list: a line for each message, newest last: key, date, from, subject, size in octets, flags.
      --json: one object a line with these names; times in RFC 3339.
show: one message as it lies there; KEY may be the beginning of a key. On a terminal,
      controls are shown escaped.
";

const QUEUE_HELP: &str = "\
usage: facteur [-c FILE] queue list [--json]
       facteur [-c FILE] queue show ID
       facteur [-c FILE] queue why ID
       facteur [-c FILE] queue retry ID... | --all
       facteur [-c FILE] queue remove ID... [--bounce]

Works while the server runs and while it does not.

list:   a line for each message, oldest first: id, age, size in octets, next attempt, sender
        (<> when it is null), recipients left, last error. --json: one object a line with the
        names id queued size next sender recipients error; times in RFC 3339, next is null
        when nobody is left, recipients is a list, error is \"\" before the first attempt.
        A file that is no whole queue file is named on stderr; the others are listed, and the
        exit status is 1.
show:   the envelope and what became of each recipient, every attempt so far, an empty line,
        then the message as it lies there. On a terminal, controls are shown escaped.
why:    the one reason why it waits, for whom, what would release it, and when it goes back to its
        sender. Asks no server: it computes from the queue what a server computes.
retry:  attempts at once, whatever backs off; without a server, as soon as one starts. A message
        that is being sent at this moment counts as done.
remove: drops the message; with --bounce its sender is told. A message that is being sent at
        this moment stays.

Exit status 1: something could not be done; stderr names it, and all else is done.
";

const USER_HELP: &str = "\
usage: facteur [-c FILE] user add ADDRESS [--scheme SCHEME]
       facteur [-c FILE] user list [--json]
       facteur [-c FILE] user remove ADDRESS

Changes the users file that the configuration names for the domain of ADDRESS; a running server
and Dovecot see it at once. No Maildir is made or removed.

add:    makes a user, or gives a known one a new password. On a terminal it is asked for twice and
        not shown, else it is the first line of stdin. It is kept as SCHEME: ARGON2ID (default),
        BLF-CRYPT, SHA512-CRYPT, SHA256-CRYPT, SCRAM-SHA-256 or PLAIN. A file that is not there
        yet is made.
list:   a line for each user: address, scheme (- where it cannot log in). --json: one object a
        line with the names address scheme.
remove: takes the user out of the file.

Exit status 1: it was not done; stderr says why.
";

const TRACE_HELP: &str = "\
usage: facteur [-c FILE] trace HANDLE... [--since WHEN] [--json]
       facteur [-c FILE] trace --follow [--json]

Where did my mail go? Tells the whole story of a message: the session it came by, what was said,
what was decided, and each attempt at a next hop with all that was said there, without the message
itself. For mail that was refused, waits, or is gone, whether the server runs or not. Of an address,
which may have had many, it tells a line for each message, the newest last: time, id, what became of it.

HANDLE: the id of a message (\"queued as ID\"), the id of a session (\"[ID]\" at the end of a
        refusal), a Message-ID, an address, or what a next hop called the message in its last reply.
--since: only stories from then on: 2d, 4h back, or a day, 2026-11-23 (UTC). Without it all that is
        kept, but for an address 7 days.
--follow: tells what happens, as it happens, until it is ended by SIGINT.
--json: one object a line: time (RFC 3339), event, session and id where there are, then what the
        event has in the log. In dialogs: heard and said (text), message (octets), decided (text),
        header (message-id), with host in an attempt; at the end waits (to, state).

C: is what the client said, S: the server; in an attempt we are the client. Passwords and what else
belongs to AUTH are never kept. Stories are plain lines in spool/trace/, a file a day, readable by the
server's user alone: kept for trace.keep (default 30d) and up to trace.size (default 256MiB).

Exit status 1: no story speaks of a handle, or nothing can be read.
";

/// What was asked for.
#[derive(Default)]
struct Request {
    /// By `-c`; without it [`Config::load`] knows where to look.
    config: Option<PathBuf>,
    /// For scripts: one object a line.
    json: bool,
    /// Every message of the queue.
    all: bool,
    /// With a notice to the sender.
    bounce: bool,
    /// How a password is kept.
    scheme: Option<String>,
    /// How far back.
    since: Option<String>,
    /// As it happens.
    follow: bool,
    /// The reverse-path of mail that is only asked about.
    from: Option<String>,
    /// Who would bring it, an IP address.
    client: Option<String>,
    /// The file systems too.
    disk: bool,
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

/// Does what the arguments say, of which the first is the program's name. Status 2 is for usage alone, so
/// that a script knows its own mistake from a refusal; sendmail has statuses of its own.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    outlive_file_limit();
    let mut arguments = arguments.into_iter();
    let program = arguments.next().unwrap_or_default();
    if let Some(name) = sendmail::Name::of(Path::new(&program)) {
        return sendmail::run(name, None, arguments.collect());
    }
    let result = parse(lexopt::Parser::from_args(arguments)).and_then(|asked| match asked {
        Asked::Words => Ok(ExitCode::SUCCESS),
        Asked::Command(request) => command(&request).map(|()| ExitCode::SUCCESS),
        Asked::Sendmail(config, arguments) => {
            Ok(sendmail::run(sendmail::Name::Sendmail, config, arguments))
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

/// A file that grows past a limit (`ulimit -f`) is a write that fails, as on a full disk, and no end of this
/// process: that is what its signal does where nobody takes it. A signal that cannot be taken leaves all as
/// it was.
fn outlive_file_limit() {
    let _ = signal_hook::flag::register(Signal::SIGXFSZ as i32, Arc::default());
}

/// What arguments can ask for.
enum Asked {
    /// Only for words, which have been said.
    Words,
    Command(Request),
    /// With arguments of its own, behind the configuration.
    Sendmail(Option<PathBuf>, Vec<OsString>),
}

fn parse(mut parser: lexopt::Parser) -> Result<Asked, Failure> {
    let usage = |error: lexopt::Error| Failure::Usage(error.to_string());
    let mut request = Request::default();
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
                    Some("queue") => QUEUE_HELP,
                    Some("trace") => TRACE_HELP,
                    Some("user") => USER_HELP,
                    _ => HELP,
                })?;
                return Ok(Asked::Words);
            }
            Short('V') | Long("version") => {
                print(&format!("facteur {}\n", env!("CARGO_PKG_VERSION")))?;
                return Ok(Asked::Words);
            }
            Long("json") => request.json = true,
            Long("all") => request.all = true,
            Long("follow") => request.follow = true,
            Long("since") => {
                let when = parser.value().and_then(|when| when.string()).map_err(usage)?;
                request.since = Some(when);
            }
            Long("bounce") => request.bounce = true,
            Long("disk") => request.disk = true,
            Long("from") => {
                let from = parser.value().and_then(|from| from.string()).map_err(usage)?;
                request.from = Some(from);
            }
            Long("client") => {
                let client = parser.value().and_then(|client| client.string()).map_err(usage)?;
                request.client = Some(client);
            }
            Long("scheme") => {
                let name = parser.value().and_then(|name| name.string()).map_err(usage)?;
                request.scheme = Some(name);
            }
            Value(word) => {
                let word = word.string().map_err(usage)?;
                if request.words.is_empty() && word == "sendmail" {
                    let rest = parser.raw_args().map_err(usage)?.collect();
                    return Ok(Asked::Sendmail(request.config, rest));
                }
                request.words.push(word);
            }
            other => return Err(usage(other.unexpected())),
        }
    }
    Ok(Asked::Command(request))
}

/// Wrong words are told before any file is read.
fn command(request: &Request) -> Result<(), Failure> {
    let words: Vec<&str> = request.words.iter().map(String::as_str).collect();
    check_options(request, &words)?;
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
        ["queue", "list"] => queue::list(request),
        ["queue", "show", id] => queue::show(request, id),
        // Either these or all.
        ["queue", "retry", ref ids @ ..] if ids.is_empty() == request.all => {
            queue::retry(request, ids)
        }
        ["queue", "remove", _, ..] => queue::remove(request, &words[2..]),
        ["queue", "why", id] => queue::why(request, id),
        ["trace"] if request.follow => trace::follow(request),
        ["trace", _, ..] if !request.follow => trace::run(request, &words[1..]),
        ["user", "add", address] => user::add(request, address),
        ["user", "list"] => user::list(request),
        ["user", "remove", address] => user::remove(request, address),
        [] => Err(Failure::Usage("what shall I do?".to_owned())),
        [known @ ("serve" | "check" | "route" | "mail" | "queue" | "trace" | "user"), ..] => {
            Err(Failure::Usage(format!("wrong arguments; see facteur {known} --help")))
        }
        [unknown, ..] => Err(Failure::Usage(format!("no command is called {unknown}"))),
    }
}

/// An option where it means nothing is refused, not ignored: a script would parse what is for people,
/// and who gave `--bounce` to another command wanted something else.
fn check_options(request: &Request, words: &[&str]) -> Result<(), Failure> {
    let fits = |commands: &[&[&str]]| commands.iter().any(|what| words.starts_with(what));
    let lists: &[&[&str]] = &[&["mail", "list"], &["queue", "list"], &["user", "list"], &["trace"]];
    for (set, option, commands) in [
        (request.json, "--json", lists),
        (request.all, "--all", &[&["queue", "retry"]]),
        (request.bounce, "--bounce", &[&["queue", "remove"]]),
        (request.scheme.is_some(), "--scheme", &[&["user", "add"]]),
        (request.since.is_some(), "--since", &[&["trace"]]),
        (request.follow, "--follow", &[&["trace"]]),
        (request.from.is_some(), "--from", &[&["route"]]),
        (request.client.is_some(), "--client", &[&["route"]]),
        (request.disk, "--disk", &[&["check"]]),
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

/// Which file is the configuration. Root takes no `./facteur.toml` of somebody else unless he names it: who
/// may write where root happens to be would say where root writes.
fn roots_own(request: &Request) -> Result<Option<PathBuf>, Failure> {
    let owner = || std::fs::metadata("facteur.toml").map(|found| found.uid());
    match (&request.config, geteuid().is_root().then(owner)) {
        (None, Some(Ok(uid))) if uid != 0 => Err(Failure::Failed(format!(
            "./facteur.toml belongs to {}, and this is root: it is taken only where it is named, by \
             -c facteur.toml",
            route::name_of_user(uid)
        ))),
        (named, _) => Ok(named.clone()),
    }
}

/// An error names the file, mostly the line, and what was expected.
fn config(request: &Request) -> Result<Config, Failure> {
    let file = roots_own(request)?;
    Config::load(file.as_deref()).map_err(|error| Failure::Failed(error.to_string()))
}

/// The site as commands beside the server see it; bad lines in its files are `check`'s business.
fn site(request: &Request) -> Result<Site, Failure> {
    let read = Site::read_names(config(request)?);
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

/// To stderr: one thing that is wrong, while the command goes on. Names and lines of files may be
/// anybody's; and a reader that went away is no failure.
fn complain(what: &str) {
    let _ = writeln!(io::stderr(), "facteur: {}", terminal::escape(what));
}

/// To the log: something an administrator should mend.
fn warn(what: &str) {
    tell(&Event::Warning { what });
}
