//! The commands beside the server: what mail lies where, where it would go, what became of it, and mail
//! that programs send. Each command is a file of its own.
//!
//! No part of the server, which never calls anything here; what both need lies below both. Results go to
//! stdout, errors to stderr, and what comes from outside is escaped before it is printed.

pub mod check;
mod listing;
pub mod mail;
pub mod queue;
mod rehearsal;
pub mod route;
pub mod sendmail;
mod terminal;
pub mod trace;
pub mod user;

use crate::config::Config;
use crate::mail::address::{ForwardPath, Mailbox};
use crate::reach;
use crate::site::Site;
use std::io::{self, Write};
use std::path::PathBuf;

/// What was asked for.
#[derive(Default)]
pub struct Request {
    /// By `-c`; without it [`reach::config`] knows where to look.
    pub config: Option<PathBuf>,
    /// For scripts: one object a line.
    pub json: bool,
    /// Every message of the queue.
    pub all: bool,
    /// With a notice to the sender.
    pub bounce: bool,
    /// How a password is kept.
    pub scheme: Option<String>,
    /// How far back.
    pub since: Option<String>,
    /// As it happens.
    pub follow: bool,
    /// The reverse-path of mail that is only asked about.
    pub from: Option<String>,
    /// Who would bring it, an IP address.
    pub client: Option<String>,
    /// The file systems too.
    pub disk: bool,
    /// The command, then what it is about; options may stand between them.
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
    /// Status 1 as well; all has been said, on stdout or stderr.
    Told,
}

/// An error names the file, mostly the line, and what was expected.
pub fn config(request: &Request) -> Result<Config, Failure> {
    Ok(reach::config(request.config.as_deref())?)
}

/// The site as commands beside the server see it; bad lines in its files are `check`'s business.
fn site(request: &Request) -> Result<Site, Failure> {
    let read = Site::read_names(config(request)?);
    Ok(read.map_err(|error| error.to_string())?.0)
}

/// An address as a person gives it: `user@domain`, or `postmaster` alone (RFC 5321 §4.1.1.3). The
/// error repeats it escaped, as it may have been pasted from a message.
fn address(text: &str) -> Result<ForwardPath, Failure> {
    if text.eq_ignore_ascii_case("postmaster") {
        return Ok(ForwardPath::Postmaster);
    }
    let mailbox = Mailbox::parse(text);
    let why = |why| format!("{}: {why}", terminal::escape(text));
    Ok(ForwardPath::Mailbox(mailbox.map_err(why)?))
}

/// To stdout. Flushed here: nobody hears of an error at exit.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    printed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// What came of writing to stdout; a reader that went away is no failure.
fn printed(result: io::Result<()>) -> Result<(), Failure> {
    listing::end(result).map_err(|error| Failure::Failed(format!("cannot write: {error}")))
}

/// To stderr: one thing that is wrong, while the command goes on. Names and lines of files may be
/// anybody's; and a reader that went away is no failure.
fn complain(what: &str) {
    let _ = writeln!(io::stderr(), "facteur: {}", terminal::escape(what));
}
