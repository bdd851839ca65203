//! The commands other than `serve`: they list mail, say where it would go and what became of it, and send
//! mail of programs. Each command is a file.
//!
//! The server never calls anything here. Results go to stdout, errors to stderr, and text from outside is
//! escaped before it is printed.

pub mod check;
pub mod dkim;
pub mod dns;
mod listing;
pub mod mail;
pub mod queue;
mod rehearsal;
pub mod route;
pub mod sendmail;
pub mod setup;
mod terminal;
pub mod trace;
pub mod user;
pub mod verify;

use crate::config::Config;
use crate::mail::address::{ForwardPath, Mailbox};
use crate::reach;
use crate::site::Site;
use std::io::{self, Write};
use std::path::PathBuf;

/// The options and words of a command line.
#[derive(Default)]
pub struct Request {
    /// `-c`; without it [`reach::config`] knows where to look.
    pub config: Option<PathBuf>,
    /// `--json`: for scripts, one object a line.
    pub json: bool,
    /// `--all`: every message of the queue.
    pub all: bool,
    /// `--bounce`: with a notice to the sender.
    pub bounce: bool,
    /// `--scheme`: how a password is stored.
    pub scheme: Option<String>,
    /// `--since`: how far back.
    pub since: Option<String>,
    /// `--follow`: new lines as they come.
    pub follow: bool,
    /// `--from`: the reverse-path of the mail that is asked about.
    pub from: Option<String>,
    /// `--client`: the IP address of its client.
    pub client: Option<String>,
    /// `--helo`: what that says in EHLO.
    pub helo: Option<String>,
    /// `--folder`: the folder of a Maildir.
    pub folder: Option<String>,
    /// `--selector`: the name of a key.
    pub selector: Option<String>,
    /// `--type`: the type of a key.
    pub kind: Option<String>,
    /// `--disk`: the file systems too.
    pub disk: bool,
    /// `--zone`: as a zone file.
    pub zone: bool,
    /// Those of `setup`.
    pub setup: setup::options::SetupOptions,
    /// `--day`: a day of reports on TLS.
    pub day: Option<String>,
    /// `--send`: let the reports go at once.
    pub send: bool,
    /// `--print`: show them.
    pub print: bool,
    /// The command and its arguments, without options.
    pub words: Vec<String>,
}

impl From<String> for Failure {
    fn from(why: String) -> Failure {
        Failure::Failed(why)
    }
}

/// Why a command ended without success; the text goes to stderr.
pub enum Failure {
    /// The command line makes no sense: status 2.
    Usage(String),
    /// It was understood and not done: status 1.
    Failed(String),
    /// Status 1 as well; the words have been printed already.
    Told,
}

/// Reads the configuration. An error names the file, mostly the line, and what was expected.
pub fn config(request: &Request) -> Result<Config, Failure> {
    Ok(reach::config(request.config.as_deref())?)
}

/// The site for a command; bad lines in its files are reported by `check` only.
fn site(request: &Request) -> Result<Site, Failure> {
    let read = Site::read_names(config(request)?);
    Ok(read.map_err(|error| error.to_string())?.0)
}

/// An address as a person gives it: `user@domain`, or `postmaster` alone (RFC 5321 §4.1.1.3). The error
/// repeats it escaped, because it may have been pasted from a message.
fn address(text: &str) -> Result<ForwardPath, Failure> {
    if text.eq_ignore_ascii_case("postmaster") {
        return Ok(ForwardPath::Postmaster);
    }
    let mailbox = Mailbox::parse(text);
    let why = |why| format!("{}: {why}", terminal::escape(text));
    Ok(ForwardPath::Mailbox(mailbox.map_err(why)?))
}

/// Writes to stdout and flushes, because an error at exit would be lost.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    printed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// The result of writing to stdout; a reader that went away is no failure.
fn printed(result: io::Result<()>) -> Result<(), Failure> {
    listing::end(result).map_err(|error| Failure::Failed(format!("cannot write: {error}")))
}

/// Says one thing that is wrong on stderr, escaped, and goes on. A reader that went away is no failure.
fn complain(what: &str) {
    let _ = writeln!(io::stderr(), "facteur: {}", terminal::escape(what));
}
