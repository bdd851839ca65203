//! Tries each mailbox of the configuration: whether a copy could be delivered there, by the delivery's own
//! functions on a [`Rehearsal`].
//!
//! A Maildir that can be made counts as good. Where the directory above all Maildirs of a domain does not
//! exist yet, only that one is tried ([`roots_out_of_reach`]).

use crate::config::{CatchAll, Config};
use crate::limits::{CHECK_MAILDIRS, CHECK_NAMED};
use crate::mail::address::{ForwardPath, Host, LocalPart, Mailbox};
use crate::reach::is_missing;
use crate::route::{POSTMASTER, existing_users, resolve};
use crate::sandbox::{Sandbox, SandboxPaths, maildir_root};
use crate::site::{Local, Site};
use crate::store::disk::{Disk, RealDisk};
use crate::store::maildir::{Place, make_with_parents, sync_with_parents};
use crate::tools::rehearsal::Rehearsal;
use crate::tools::route::obstacle;
use nix::unistd::{AccessFlags, eaccess};
use std::collections::BTreeMap;
use std::io::ErrorKind::PermissionDenied;
use std::path::{Path, PathBuf};

/// Mailboxes that cannot be delivered to, and what was not tried.
#[derive(Default)]
pub struct MailboxFaults {
    /// Mailboxes for which mail would wait or be refused: a line each, with the place in the configuration.
    pub bad: Vec<String>,
    /// What was not tried.
    pub gaps: Vec<String>,
}

/// Tries all mailboxes, as the user of this process.
pub fn look(site: &Site) -> MailboxFaults {
    let (mut found, mut bad) = (MailboxFaults::default(), 0);
    let sandbox = SandboxPaths::of(&site.config).rehearse();
    for local in site.domains().filter(|local| local.config.lmtp.is_none()) {
        let template = &local.config.maildir;
        if is_missing(&maildir_root(template)) {
            continue;
        }
        let place = site.config.place(&format!("{}.maildir", local.config.key));
        for (maildir, mailbox) in maildirs(site, local, &place, &mut found) {
            let try_out = |folder| {
                let to = Place { maildir: &maildir, folder };
                let why = obstacle(&to).map(|error| error.to_string());
                why.or_else(|| outside(&sandbox, &to.home()))
            };
            let inbox = try_out(None).map(|why| ("mail", why));
            let tried = inbox.or_else(|| try_out(Some(site.junk())).map(|why| ("junk", why)));
            let Some((what, why)) = tried else { continue };
            bad += 1;
            if bad <= CHECK_NAMED {
                found.bad.push(format!("{place}: no {what} can be delivered to {mailbox}: {why}"));
            }
        }
    }
    if bad > CHECK_NAMED {
        found.bad.push(format!("and to {} more mailboxes", bad - CHECK_NAMED));
    }
    found
}

/// Says where a Maildir leads by a link, when that is outside of a server's sandbox.
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

/// The Maildirs of a domain, each once: those of listed users, or existing ones; and those that its
/// postmaster, aliases and `catch_all` lead to, here or at another domain of ours.
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
            // A directory that cannot be listed still takes mail, where it can be entered.
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
        // An alias without a mailbox is reported by `bad_aliases`.
        let end = resolve(site, &RealDisk, &ForwardPath::Mailbox(name));
        all.extend(end.here().cloned().map(|to| (to.maildir, to.mailbox)));
    }
    all
}

/// Words for each directory above Maildirs that is a file, or is missing and cannot be made by this user.
/// An existing directory counts as good, because all Maildirs may exist already.
pub fn roots_out_of_reach(config: &Config) -> Vec<String> {
    let with_maildirs = config.domains.iter().filter(|domain| domain.lmtp.is_none());
    let roots = with_maildirs.map(|domain| {
        let place = config.place(&format!("{}.maildir", domain.key));
        (place, maildir_root(&domain.maildir))
    });
    let blocked = roots.filter_map(|(place, root)| {
        let disk = Rehearsal::new();
        if disk.stat(&root).is_ok_and(|found| found.is_file) {
            return Some(format!(
                "{place}: no Maildir can be made there: {} is a file",
                root.display()
            ));
        }
        if !is_missing(&root) {
            return None;
        }
        let made = make_with_parents(&disk, &root);
        // A broken link has the name, and is no directory.
        let made = made.and_then(|()| sync_with_parents(&disk, &root, 0));
        made.err().map(|error| format!("{place}: no Maildir can be made there: {error}"))
    });
    blocked.collect()
}
