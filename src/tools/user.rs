//! `facteur user add`, `list`, `remove`: the users files of the configuration, which Dovecot reads too.
//!
//! A file is replaced as a whole or not at all, and only one line changes; owner, group and mode stay, and one that
//! is made gets those of the other domains' files. No Maildir is made or removed: the first mail makes it, and
//! mail in it is never thrown away.

mod rights;

use super::listing::json_lines;
use super::{Failure, Request, complain, config, print, terminal};
use crate::config::{Config, DomainConfig};
use crate::limits::PASSWORD_MAX;
use crate::mail::address::{Domain, Host, Mailbox};
use crate::privileges;
use crate::reach;
use crate::store::disk::StoreError;
use crate::store::password::{Scheme, make};
use crate::store::table;
use crate::store::table::NewFile;
use crate::store::users::{Users, edit};
use nix::unistd::{Gid, Uid, geteuid};
use serde::Serialize;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::Path;

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::Failed(error.to_string())
    }
}

/// Adds a user, or gives an existing one a new password.
pub fn add(request: &Request, address: &str) -> Result<(), Failure> {
    let scheme = match request.scheme.as_deref() {
        None => Scheme::Argon2id,
        Some(name) => Scheme::parse(name).ok_or_else(|| {
            let names: Vec<&str> = Scheme::ALL.iter().map(|scheme| scheme.name()).collect();
            let name = terminal::escape(name);
            Failure::Usage(format!("no scheme is called {name}; there are {}", names.join(", ")))
        })?,
    };
    let config = config(request)?;
    let PasswordPlace { domain, user, file } = account(&config, address)?;
    // All other errors are found before the password is typed.
    let password = password(address)?;
    let field = make(scheme, &password).map_err(|why| why.to_string())?;
    let mut is_new = true;
    let private = NewFile::private(owner(&config)?);
    let (made, note) = match reach::is_missing(file) {
        true => rights::of_new_file(&config, domain, private)?,
        false => (private, None),
    };
    table::change(file, made, |text| {
        let (before, _) = Users::parse(text, file, &domain.name);
        is_new = before.get(&user).is_none();
        let changed = edit::set(text, &domain.name, &user, &field);
        // Read back, because a # in front or an @ inside would give the line another meaning.
        match Users::parse(&changed, file, &domain.name).0.password(&user) {
            Some(_) => Ok(Some(changed)),
            None => {
                let shown = terminal::escape(address);
                Err(Failure::Failed(format!("{shown}: a users file cannot hold this name")))
            }
        }
    })?;
    note.iter().for_each(|words| complain(words));
    let done = if is_new { "added" } else { "has a new password" };
    print(&format!("{} {done}\n", terminal::escape(address)))
}

/// Removes a user from the users file.
pub fn remove(request: &Request, address: &str) -> Result<(), Failure> {
    let config = config(request)?;
    let PasswordPlace { domain, user, file } = account(&config, address)?;
    table::change(file, NewFile::private(None), |text| {
        match edit::remove(text, &domain.name, &user) {
            Some(changed) => Ok(Some(changed)),
            None => {
                let shown = terminal::escape(address);
                Err(Failure::Failed(format!("{shown}: no such user in {}", file.display())))
            }
        }
    })
}

/// One line of `list`.
#[derive(Serialize)]
struct UserRow {
    address: String,
    /// The scheme of the password; empty where there is none.
    scheme: &'static str,
}

/// Lists all users of all users files, in order; a file that cannot be read hides no other.
pub fn list(request: &Request) -> Result<(), Failure> {
    let config = config(request)?;
    let mut failed = false;
    let mut rows = Vec::new();
    for domain in &config.domains {
        let Some(file) = &domain.users else { continue };
        match Users::read(file, &domain.name) {
            Ok((users, bad)) => {
                rows.extend(rows_of(&users, &domain.name));
                bad.iter().for_each(|line| complain(&line.to_string()));
                failed |= !bad.is_empty();
            }
            Err(error) => {
                complain(&error.to_string());
                failed = true;
            }
        }
    }
    let lines = match request.json {
        true => json_lines(&rows).map_err(|error| error.to_string())?,
        false => {
            let line = |row: &UserRow| {
                let scheme = if row.scheme.is_empty() { "-" } else { row.scheme };
                format!("{}  {scheme}\n", terminal::escape(&row.address))
            };
            rows.iter().map(line).collect()
        }
    };
    print(&lines)?;
    if failed { Err(Failure::Told) } else { Ok(()) }
}

fn rows_of(users: &Users, domain: &Domain) -> Vec<UserRow> {
    let mut names: Vec<&str> = users.names().collect();
    names.sort_unstable();
    let row = |name: &str| UserRow {
        address: format!("{name}@{domain}"),
        scheme: users.password(name).map_or("", |stored| stored.scheme().name()),
    };
    names.into_iter().map(row).collect()
}

/// The place of an address's password, whether there is one or not.
struct PasswordPlace<'a> {
    domain: &'a DomainConfig,
    user: String,
    file: &'a Path,
}

fn account<'a>(config: &'a Config, address: &str) -> Result<PasswordPlace<'a>, Failure> {
    let shown = terminal::escape(address);
    let mailbox = Mailbox::parse(address);
    let mailbox = mailbox.map_err(|why| format!("{shown}: {why}"))?;
    let domain = config.domains.iter().find(|domain| match &mailbox.host {
        Host::Domain(name) => *config.target(name) == domain.name,
        Host::Literal(_) => false,
    });
    let Some(domain) = domain else {
        return Err(Failure::Failed(format!("{shown}: {} is not delivered here", mailbox.host)));
    };
    match &domain.users {
        Some(file) => Ok(PasswordPlace { domain, user: mailbox.local.as_str().to_owned(), file }),
        None => {
            let place = config.place(&domain.key);
            Err(Failure::Failed(format!(
                "{place}: it has no users file; name one: users = \"...\""
            )))
        }
    }
}

/// The owner of a new file: made by root, it must be readable for the server.
fn owner(config: &Config) -> Result<Option<(Uid, Gid)>, Failure> {
    match &config.run_as {
        Some(name) if geteuid().is_root() => {
            let user = privileges::find(name);
            let why = |why| Failure::Failed(format!("{}: {why}", config.place("run_as")));
            user.map(|user| Some((user.uid, user.gid))).map_err(why)
        }
        _ => Ok(None),
    }
}

/// The password: asked for twice on a terminal, without showing it; else the first line of stdin.
fn password(address: &str) -> Result<String, Failure> {
    let read = match io::stdin().is_terminal() {
        true => {
            let quiet = terminal::Quiet::begin();
            let quiet =
                quiet.map_err(|error| format!("the terminal does not hide a password: {error}"))?;
            let first = ask(&format!("password for {}: ", terminal::escape(address)))?;
            let second = ask("the same again: ")?;
            drop(quiet);
            if first != second {
                return Err(Failure::Failed("the two are not the same; try again".to_owned()));
            }
            first
        }
        false => line()?,
    };
    match read.is_empty() {
        true => Err(Failure::Failed("no password was given; it is read from stdin".to_owned())),
        false => Ok(read),
    }
}

fn ask(prompt: &str) -> Result<String, Failure> {
    // To stderr, because stdout may be a file.
    let _ = write!(io::stderr(), "{prompt}").and_then(|()| io::stderr().flush());
    let answer = line();
    let _ = writeln!(io::stderr()); // the line end was not shown either
    answer
}

/// One line of stdin without its line end; the rest is ignored.
fn line() -> Result<String, Failure> {
    let mut line = Vec::new();
    // More than the maximum, to see that it is too long.
    let most = PASSWORD_MAX as u64 + 3;
    let read = io::stdin().lock().take(most).read_until(b'\n', &mut line);
    read.map_err(|error| format!("cannot read the password: {error}"))?;
    let text = line.strip_suffix(b"\n").unwrap_or(&line);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let text = str::from_utf8(text);
    text.map(str::to_owned).map_err(|_| Failure::Failed("the password is not UTF-8".to_owned()))
}
