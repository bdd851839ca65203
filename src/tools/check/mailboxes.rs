//! Every mailbox that the configuration names, tried: whether a copy could be delivered there, by the
//! delivery's own steps on a disk where nothing happens.
//!
//! What can be made counts as good. Of a directory for all Maildirs that is not there yet nothing is
//! said here: the server makes it, or whoever sets it up.

use crate::config::CatchAll;
use crate::limits::{CHECK_MAILDIRS, CHECK_NAMED};
use crate::mail::address::{ForwardPath, Host, LocalPart, Mailbox};
use crate::reach::is_missing;
use crate::route::{POSTMASTER, existing_users, resolve};
use crate::sandbox::{Reach, Sandbox, maildir_root};
use crate::site::{Local, Site};
use crate::store::disk::RealDisk;
use crate::tools::route::obstacle;
use nix::unistd::{AccessFlags, eaccess};
use std::collections::BTreeMap;
use std::io::ErrorKind::PermissionDenied;
use std::path::{Path, PathBuf};

/// What was found.
#[derive(Default)]
pub struct MailboxFaults {
    /// Mail would wait or be refused: a line each, with the place in the configuration.
    pub bad: Vec<String>,
    /// What was not looked at.
    pub gaps: Vec<String>,
}

/// Tries all of them, as whoever this process is.
pub fn look(site: &Site) -> MailboxFaults {
    let (mut found, mut bad) = (MailboxFaults::default(), 0);
    let sandbox = Reach::of(&site.config).rehearse();
    for local in site.domains() {
        let template = &local.config.maildir;
        if is_missing(&maildir_root(template)) {
            continue;
        }
        let place = site.config.place(&format!("{}.maildir", local.config.key));
        for (maildir, mailbox) in maildirs(site, local, &place, &mut found) {
            let why = obstacle(&maildir).map(|error| error.to_string());
            let Some(why) = why.or_else(|| outside(&sandbox, &maildir)) else { continue };
            bad += 1;
            if bad <= CHECK_NAMED {
                found.bad.push(format!("{place}: no mail can be delivered to {mailbox}: {why}"));
            }
        }
    }
    if bad > CHECK_NAMED {
        found.bad.push(format!("and to {} more mailboxes", bad - CHECK_NAMED));
    }
    found
}

/// Where a Maildir leads by a link, when a server's sandbox would let no mail be put there.
fn outside(sandbox: &Sandbox, maildir: &Path) -> Option<String> {
    if sandbox.may_write(maildir) {
        return None;
    }
    let there = maildir.ancestors().find_map(|dir| dir.canonicalize().ok()).unwrap_or_default();
    Some(format!(
        "{} leads by a link to {}, outside of the server's sandbox; mount that directory there, or name it \
         in `maildir`",
        maildir.display(),
        there.display()
    ))
}

/// The Maildirs of a domain's users, each once: of those who are listed, or else have one; and of those
/// to whom its postmaster, its aliases and its `catch_all` lead, here or at another domain of ours.
fn maildirs(
    site: &Site,
    local: Local<'_>,
    place: &str,
    found: &mut MailboxFaults,
) -> BTreeMap<PathBuf, Mailbox> {
    let name = &local.config.name;
    let mailbox =
        |user: &str| Mailbox { local: LocalPart::of_user(user), host: Host::Domain(name.clone()) };
    let mut all: BTreeMap<PathBuf, Mailbox> = BTreeMap::new();
    match local.users {
        Some(users) => {
            all.extend(users.names().map(|user| (local.maildir(user), mailbox(user))));
        }
        None if local.config.any_user => {}
        None => match existing_users(&RealDisk, local) {
            Ok(users) => {
                let users = users.take(CHECK_MAILDIRS + 1);
                all.extend(users.map(|user| (local.maildir(&user), mailbox(&user))));
                if all.len() > CHECK_MAILDIRS {
                    let gap =
                        format!("{place}: only the first {CHECK_MAILDIRS} Maildirs were tried");
                    found.gaps.push(gap);
                }
            }
            // Where names can be looked up but not listed, mail is delivered all the same.
            Err(error)
                if error.source.kind() == PermissionDenied
                    && eaccess(&error.path, AccessFlags::X_OK).is_ok() =>
            {
                found.gaps.push(format!("{place}: its mailboxes were not tried: {error}"));
            }
            Err(error) => found.bad.push(format!("{place}: {error}")),
        },
    }
    let aliases = local.aliases.into_iter().flat_map(|aliases| aliases.iter());
    let names = aliases.map(|alias| alias.name.as_str()).chain([POSTMASTER]);
    let catch_all = match &local.config.catch_all {
        Some(CatchAll::Here(name)) => Some(mailbox(name)),
        Some(CatchAll::Address(address)) => Some(address.clone()),
        None => None,
    };
    for name in names.map(mailbox).chain(catch_all) {
        // What leads to nobody is named where aliases are looked at.
        let end = resolve(site, &RealDisk, &ForwardPath::Mailbox(name));
        all.extend(end.here().cloned().map(|to| (to.maildir, to.mailbox)));
    }
    all
}
