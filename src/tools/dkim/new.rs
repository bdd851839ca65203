//! `facteur dkim new`: makes keys, and prints the records to publish.
//!
//! Files belong to the server's user. A directory that belongs to that user is written in with his rights, so that he
//! cannot lead root elsewhere.

use super::super::{Failure, Request, complain, config, print, terminal};
use crate::config::Config;
use crate::limits::keys::SELECTOR_MAX;
use crate::mail::address::Domain;
use crate::mail::proof::dkim::sign::strings;
use crate::mail::proof::name::Name;
use crate::net::dns::{DnsResolver, RecordKind, Records, Resolver};
use crate::privileges;
use crate::reach;
use crate::signing::name_of;
use crate::store::keys::make::{make_dir, make_key};
use crate::store::keys::{DomainKey, KeyDir, KeyKind, selector, shown};
use jiff::Timestamp;
use nix::unistd::{Gid, Uid, User, geteuid};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What stands behind the date and the letter of the type where that name is taken.
const BEHIND: &str = "bcdefghijklmnopqrstuvwxyz";

/// Makes keys for a domain.
pub fn new(request: &Request, domain: &str) -> Result<(), Failure> {
    let kinds = kinds(request)?;
    let config = config(request)?;
    let shown_domain = terminal::escape(domain);
    let domain = Domain::of_host(domain);
    let domain = domain.map_err(|why| Failure::Failed(format!("{shown_domain}: {why}")))?;
    let (dir, is_named) = directory(&config, &domain);
    let user = reach::user(&config)?;
    let server = reach::server(&config, user.as_ref())?;
    let names =
        privileges::as_user(server.as_ref(), || choose(request, &config, &domain, &dir, &kinds))??;
    let keys = make_all(&dir, &names, server.as_ref())?;
    let records: Vec<String> = keys.iter().map(|key| record(key, &domain)).collect();
    print(&records.concat())?;
    let behind = privileges::as_user(server.as_ref(), || behind(&dir, &keys))?;
    behind.iter().for_each(|words| complain(words));
    match is_named {
        true => Ok(()),
        false => Err(Failure::Failed(missing_line(&config, &domain))),
    }
}

/// Makes a key of each type that a domain's directory lacks, for `facteur setup`; returns how many.
pub fn make_missing(config: &Config, domain: &Domain, dir: &Path) -> Result<usize, Failure> {
    let user = reach::user(config)?;
    let server = reach::server(config, user.as_ref())?;
    let chosen = privileges::as_user(server.as_ref(), || {
        let there = KeyDir::read(dir).keys;
        let lacks = |kind: &KeyKind| !there.iter().any(|key| key.kind == *kind);
        let kinds: Vec<KeyKind> = KeyKind::ALL.into_iter().filter(lacks).collect();
        choose(&Request::default(), config, domain, dir, &kinds)
    });
    let names = chosen??;
    // Nothing is asked or made where nothing is missing.
    match names.is_empty() {
        true => Ok(0),
        false => Ok(make_all(dir, &names, server.as_ref())?.len()),
    }
}

/// The types that are asked for.
fn kinds(request: &Request) -> Result<Vec<KeyKind>, Failure> {
    match (request.kind.as_deref(), &request.selector) {
        (Some(word), _) => match KeyKind::parse(word) {
            Some(kind) => Ok(vec![kind]),
            None => Err(Failure::Usage(format!(
                "no key is of type {}; there are rsa and ed25519",
                terminal::escape(word)
            ))),
        },
        // One name never holds two records.
        (None, Some(_)) => {
            let words = "--selector names one key: say --type rsa or --type ed25519 as well";
            Err(Failure::Usage(words.to_owned()))
        }
        (None, None) => Ok(KeyKind::ALL.to_vec()),
    }
}

/// The directory of a domain's keys, and whether the configuration names it.
fn directory(config: &Config, domain: &Domain) -> (PathBuf, bool) {
    match config.signing().into_iter().find(|own| own.name == *domain) {
        Some(own) => (own.dir, true),
        None => {
            let file = config.file.as_deref().unwrap_or(Path::new("facteur.toml"));
            let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            (folder.join("keys").join(domain.as_str()), false)
        }
    }
}

/// The line that the configuration needs.
fn missing_line(config: &Config, domain: &Domain) -> String {
    let file = config.file.as_deref().unwrap_or(Path::new("facteur.toml")).display();
    let table = match config.names().any(|own| own == domain) {
        true => "domain",
        false => "sign",
    };
    format!(
        "the keys sign nothing yet: add to [{table}.\"{domain}\"] of {file}: dkim = \"keys/{domain}\""
    )
}

/// The selector of each key: the one that was asked for, else by date.
fn choose(
    request: &Request,
    config: &Config,
    domain: &Domain,
    dir: &Path,
    kinds: &[KeyKind],
) -> Result<Vec<(Name, KeyKind)>, Failure> {
    let mut taken = TakenNames::of(config, domain, dir);
    if let Some(text) = &request.selector {
        let shown = terminal::escape(text);
        let name = selector(text).ok_or_else(|| {
            Failure::Failed(format!(
                "{shown} is no selector: expected at most {SELECTOR_MAX} letters, digits, hyphens and dots"
            ))
        })?;
        if taken.has(&name, domain) {
            let why = format!("the selector {shown} is taken: one name never holds two records");
            return Err(Failure::Failed(why));
        }
        return Ok(kinds.iter().map(|kind| (name.clone(), *kind)).collect());
    }
    let date = Timestamp::now().strftime("%Y%m%d").to_string();
    let mut names = Vec::new();
    for kind in kinds {
        let letter = match kind {
            KeyKind::Rsa => 'r',
            KeyKind::Ed25519 => 'e',
        };
        let behind = std::iter::once(String::new()).chain(BEHIND.chars().map(String::from));
        let all = behind.filter_map(|behind| selector(&format!("{date}{letter}{behind}")));
        let free = all.into_iter().find(|name| !taken.has(name, domain));
        let free = free.ok_or("all selectors of this day are taken; give one by --selector")?;
        names.push((free, *kind));
    }
    Ok(names)
}

impl From<&str> for Failure {
    fn from(why: &str) -> Failure {
        Failure::Failed(why.to_owned())
    }
}

/// Names that a new key may not have: of files, of keys that DNS has shown, and of records.
struct TakenNames {
    known: Vec<Name>,
    /// None once DNS does not answer: it is not waited for again.
    resolver: Option<DnsResolver>,
}

impl TakenNames {
    fn of(config: &Config, domain: &Domain, dir: &Path) -> TakenNames {
        let found = KeyDir::read(dir);
        let files = found.keys.iter().map(|key| key.selector.clone());
        let bad = found.bad.iter().filter_map(|bad| Some(bad.name.clone()?.0));
        let (shown, _) = shown::read(&config.spool, domain);
        let shown = shown.keys.into_iter().map(|key| key.selector);
        let known = files.chain(bad).chain(shown).collect();
        TakenNames { known, resolver: Some(DnsResolver::new(&config.dns)) }
    }

    fn has(&mut self, name: &Name, domain: &Domain) -> bool {
        if self.known.contains(name) {
            return true;
        }
        let (Some(resolver), Some(at)) = (&self.resolver, name_of(name, domain)) else {
            return false;
        };
        match resolver.lookup(at.as_bytes(), RecordKind::Txt) {
            Ok(answer) => matches!(answer.records, Records::Found(_)),
            Err(_) => {
                self.resolver = None;
                false
            }
        }
    }
}

/// Makes the files. Where the server's user owns the directory or one above it, with his rights: a link there must not
/// lead root elsewhere.
fn make_all(
    dir: &Path,
    names: &[(Name, KeyKind)],
    server: Option<&User>,
) -> Result<Vec<DomainKey>, Failure> {
    let server = server.filter(|user| geteuid().is_root() && !user.uid.is_root());
    let owner: Option<(Uid, Gid)> = server.map(|user| (user.uid, user.gid));
    let whole = std::path::absolute(dir).unwrap_or(dir.to_owned());
    let his = || {
        let owners =
            whole.ancestors().filter_map(|dir| Some(fs::symlink_metadata(dir).ok()?.uid()));
        server.filter(|user| owners.clone().any(|uid| uid == user.uid.as_raw()))
    };
    match his() {
        Some(user) => privileges::as_user(Some(user), || make_dir(dir, None))??,
        None => make_dir(dir, owner)?,
    }
    let make = |owner| {
        let make = |(name, kind): &(Name, KeyKind)| make_key(dir, name, *kind, owner);
        names.iter().map(make).collect::<Result<Vec<_>, _>>()
    };
    let made = match his() {
        Some(user) => privileges::as_user(Some(user), || make(None))?,
        None => make(owner),
    };
    made.map_err(|error| Failure::Failed(error.to_string()))
}

/// Which of these keys will never sign, because another one has a greater selector.
fn behind(dir: &Path, keys: &[DomainKey]) -> Vec<String> {
    let all = KeyDir::read(dir).keys;
    let greater = |key: &DomainKey| {
        let same = all.iter().filter(|other| other.kind == key.kind);
        same.map(|other| other.selector.clone()).max().filter(|other| *other > key.selector)
    };
    let words = |key: &DomainKey| {
        let (kind, selector, greater) = (key.kind, &key.selector, greater(key)?);
        Some(format!(
            "{selector} will not take over from {greater} of type {kind}, which is the greater selector: give a \
             greater one by --selector, or remove the file of {greater} once DNS shows {selector}"
        ))
    };
    keys.iter().filter_map(words).collect()
}

/// A record as a zone file has it.
fn record(key: &DomainKey, domain: &Domain) -> String {
    let strings: Vec<String> =
        strings(&key.record).iter().map(|text| format!("\"{text}\"")).collect();
    format!("{}._domainkey.{domain}. IN TXT ( {} )\n", key.selector, strings.join(" "))
}
