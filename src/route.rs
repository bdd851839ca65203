//! Address → where its mail goes, step by step. The steps are what `facteur route` prints, and the
//! same function decides at RCPT, so the two cannot differ.
//!
//! Reads the site and looks whether Maildirs exist; sends nothing, changes nothing.

use crate::config::CatchAll;
use crate::mail::address::{ForwardPath, Host, LocalPart, Mailbox, is_file_name};
use crate::site::{Local, Site};
use crate::store::disk::{Disk, StoreError};
use crate::store::maildir;
use std::path::{Path, PathBuf};

/// How an address was understood.
#[derive(Debug)]
pub struct Route {
    /// In words, in order.
    pub steps: Vec<String>,
    pub end: End,
}

/// Where it ends.
#[derive(Debug)]
pub enum End {
    Local(Destination),
    /// At a domain that is delivered elsewhere.
    Remote(Host),
    /// At one of our domains, and nobody is there.
    Unknown,
    /// We could not look.
    Trouble(StoreError),
}

/// A mailbox here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The user at the domain, without a tag; what Delivered-To says.
    pub mailbox: Mailbox,
    pub maildir: PathBuf,
}

/// The way of one address.
pub fn route(site: &Site, disk: &dyn Disk, path: &ForwardPath) -> Route {
    let mut router = Router { site, disk, steps: Vec::new() };
    let end = match path {
        ForwardPath::Postmaster => match site.domains().next() {
            Some(first) => {
                router.say(format!("Postmaster without a domain is {}'s", first.config.name));
                router.postmaster(first)
            }
            None => Ok(End::Unknown),
        },
        ForwardPath::Mailbox(mailbox) => router.mailbox(mailbox, true),
    };
    Route { steps: router.steps, end: end.unwrap_or_else(End::Trouble) }
}

struct Router<'a> {
    site: &'a Site,
    disk: &'a dyn Disk,
    steps: Vec<String>,
}

const POSTMASTER: &str = "postmaster";

impl<'a> Router<'a> {
    fn say(&mut self, step: String) {
        self.steps.push(step);
    }

    fn mailbox(&mut self, mailbox: &Mailbox, catch: bool) -> Result<End, StoreError> {
        let Host::Domain(domain) = &mailbox.host else {
            self.say(format!("{} is an address literal, no domain of ours", mailbox.host));
            return Ok(End::Remote(mailbox.host.clone()));
        };
        let Some(local) = self.site.domain(domain) else {
            self.say(format!("{domain} is not delivered here"));
            return Ok(End::Remote(mailbox.host.clone()));
        };
        self.say(format!("{domain} is delivered here"));
        let name = mailbox.local.as_str();
        let tag = tag_of(local, name).unwrap_or(name.len());
        if name[..tag].eq_ignore_ascii_case(POSTMASTER) {
            return self.postmaster(local);
        }
        if let Some(destination) = self.user_or_tagged(local, name)? {
            return Ok(End::Local(destination));
        }
        self.say(format!("{name} is no user of {domain}"));
        match catch {
            true => Ok(self.catch_all(local)?.unwrap_or(End::Unknown)),
            false => Ok(End::Unknown),
        }
    }

    /// Always somebody (RFC 5321 §4.5.1).
    fn postmaster(&mut self, local: Local<'a>) -> Result<End, StoreError> {
        if let Some(found) = self.user(local, POSTMASTER)? {
            return Ok(End::Local(found));
        }
        if let Some(end @ End::Local(_)) = self.catch_all(local)? {
            return Ok(end);
        }
        if let Some(first) = self.first_user(local)? {
            self.say(format!("postmaster is the first user, {first}"));
            return Ok(End::Local(destination(local, &first)));
        }
        self.say("postmaster gets a Maildir, as the domain has no user at all".to_owned());
        Ok(End::Local(destination(local, POSTMASTER)))
    }

    fn catch_all(&mut self, local: Local<'a>) -> Result<Option<End>, StoreError> {
        match &local.config.catch_all {
            None => Ok(None),
            Some(CatchAll::Address(target)) => {
                self.say(format!("catch_all is {target}"));
                self.mailbox(target, false).map(Some)
            }
            Some(CatchAll::Here(name)) => {
                self.say(format!("catch_all is {name}"));
                if let Some(destination) = self.user_or_tagged(local, name)? {
                    return Ok(Some(End::Local(destination)));
                }
                match name.eq_ignore_ascii_case(POSTMASTER) {
                    // Postmaster is always somebody, and must not come back here.
                    true => {
                        let user = self.first_user(local)?.unwrap_or(POSTMASTER.to_owned());
                        self.say(format!("postmaster is {user}"));
                        Ok(Some(End::Local(destination(local, &user))))
                    }
                    false => Ok(None),
                }
            }
        }
    }

    /// The user of that name, or the one before the tag: a user of the whole name goes first, but
    /// where any name is a user the tag is cut first, or it would never be one.
    fn user_or_tagged(
        &mut self,
        local: Local<'a>,
        name: &str,
    ) -> Result<Option<Destination>, StoreError> {
        let Some(at) = tag_of(local, name) else { return self.user(local, name) };
        if let Some(listed) = local.users.and_then(|users| users.get(name)) {
            self.say(format!("{listed} is in the users file"));
            return Ok(Some(destination(local, listed)));
        }
        if !local.config.any_user
            && let Some(found) = self.user(local, name)?
        {
            return Ok(Some(found));
        }
        self.say(format!("{} is the user, {} a tag", &name[..at], &name[at..]));
        self.user(local, &name[..at])
    }

    fn user(&mut self, local: Local<'a>, name: &str) -> Result<Option<Destination>, StoreError> {
        if let Some(listed) = local.users.and_then(|users| users.get(name)) {
            self.say(format!("{listed} is in the users file"));
            return Ok(Some(destination(local, listed)));
        }
        let name = name.to_ascii_lowercase();
        if !is_file_name(&name) {
            self.say(format!("{name:?} cannot be a file name, so it is no user"));
            return Ok(None);
        }
        if local.config.any_user {
            self.say(format!("{name}: any name is a user of {}", local.config.name));
            return Ok(Some(destination(local, &name)));
        }
        if local.users.is_some() {
            return Ok(None);
        }
        let maildir = local.maildir(&name);
        let there = maildir::exists(self.disk, &maildir)?;
        if there {
            self.say(format!("{name} has a Maildir already"));
        }
        Ok(there.then(|| destination(local, &name)))
    }

    /// By the users file, or else by the Maildirs that are there, in order of their names.
    fn first_user(&mut self, local: Local<'a>) -> Result<Option<String>, StoreError> {
        match local.users.and_then(|users| users.first()) {
            Some(first) => Ok(Some(first.to_owned())),
            None if local.config.any_user => Ok(None),
            None => Ok(existing_users(self.disk, local).into_iter().next()),
        }
    }
}

/// Where the tag of a name begins, if it has one.
fn tag_of(local: Local<'_>, name: &str) -> Option<usize> {
    let separator = local.config.subaddress.as_str();
    name.find(separator).filter(|at| *at > 0 && !separator.is_empty())
}

fn destination(local: Local<'_>, user: &str) -> Destination {
    let host = Host::Domain(local.config.name.clone());
    let mailbox = Mailbox { local: LocalPart::of_user(user), host };
    Destination { mailbox, maildir: local.maildir(user) }
}

/// Users of a domain that have a Maildir, in order; empty when that cannot be read from the path
/// (`{user}` must be one whole segment of it, or the beginning of one).
pub fn existing_users(disk: &dyn Disk, local: Local<'_>) -> Vec<String> {
    let template = local.maildir("{user}");
    let mut segments = template.components();
    let above: PathBuf = segments.by_ref().take_while(|s| s.as_os_str() != "{user}").collect();
    let above = if above == Path::new("") { Path::new(".") } else { &above };
    let names = disk.list(above).unwrap_or_default().into_iter();
    let names = names.filter_map(|name| name.into_string().ok());
    let mut users: Vec<String> = names
        .filter(|name| is_file_name(name) && name.to_ascii_lowercase() == *name)
        .filter(|name| LocalPart::from_plain(name).is_ok())
        .filter(|name| maildir::exists(disk, &local.maildir(name)).unwrap_or(false))
        .collect();
    users.sort();
    users
}
