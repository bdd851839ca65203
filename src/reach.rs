//! What a server can reach: with the rights of the user that it becomes, then within its sandbox.
//!
//! `serve` and `check` ask the same questions here, so that neither finds what the other does not.

use crate::config::{Config, DomainConfig};
use crate::event::warn;
use crate::privileges;
use crate::sandbox::{Sandbox, maildir_root};
use crate::site::Site;
use crate::store::disk::RealDisk;
use crate::store::maildir::{make_with_parents, sync_with_parents};
use crate::store::table::{self, BadLine};
use nix::unistd::{AccessFlags, Uid, User, access, geteuid};
use std::fs;
use std::io::ErrorKind::{NotFound, PermissionDenied};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The configuration of the file that was named, else of where it is looked for. Root takes no
/// `./facteur.toml` of somebody else unless he names it: who may write where root happens to be would say
/// where root writes. Reads the configuration. An error names the file, mostly the line, and what was
/// expected.
pub fn config(named: Option<&Path>) -> Result<Config, String> {
    let owner = || fs::metadata("facteur.toml").map(|found| found.uid());
    match (named, geteuid().is_root().then(owner)) {
        (None, Some(Ok(uid))) if uid != 0 => Err(format!(
            "./facteur.toml belongs to {}, and this is root: it is taken only where it is named, by \
             -c facteur.toml",
            privileges::name_of(uid)
        )),
        _ => Config::load(named).map_err(|error| error.to_string()),
    }
}

/// The user of `run_as`, if there is one to be.
pub fn user(config: &Config) -> Result<Option<User>, String> {
    let found = config.run_as.as_deref().map(privileges::find).transpose();
    found.map_err(|why| format!("{}: {why}", config.place("run_as")))
}

/// Whom the server runs as, as far as that shows without it: the user of `run_as`, else the owner of the
/// spool, which it has made. None: who asks. Fails where root asks and cannot become that owner: nothing
/// may be tried as root in the stead of somebody else.
pub fn server(config: &Config, user: Option<&User>) -> Result<Option<User>, String> {
    let (None, Ok(spool)) = (user, fs::metadata(&config.spool)) else { return Ok(user.cloned()) };
    let uid = Uid::from_raw(spool.uid());
    match User::from_uid(uid).ok().flatten() {
        None if geteuid().is_root() && !uid.is_root() => Err(format!(
            "the spool belongs to uid {uid}, which has no name here; set run_as, or run this as that user"
        )),
        found => Ok(found),
    }
}

/// Whether this process may do what the server may do. Where nobody can say who that is, it is taken for
/// us; whose spool we may not even see, it is not.
pub fn is_as_server(config: &Config, user: Option<&User>) -> bool {
    match (user, fs::metadata(&config.spool)) {
        (Some(user), _) => user.uid == geteuid(),
        (None, Ok(spool)) => spool.uid() == geteuid().as_raw(),
        (None, Err(error)) => error.kind() != PermissionDenied,
    }
}

/// All that a reload reads: the configuration once more, and the files that it names. As whoever this
/// process is now, and an error says who that is where it makes a difference.
pub fn read(config: &Config, user: Option<&User>) -> Result<(Site, Vec<BadLine>), String> {
    let again = match &config.file {
        Some(file) => Config::load(Some(file)).map(drop).map_err(|error| error.to_string()),
        None => Ok(()),
    };
    let read = again.and_then(|()| Site::read(config.clone()).map_err(|error| error.to_string()));
    let user = user.filter(|user| user.uid == geteuid());
    read.map_err(|why| match user {
        Some(user) => format!("{why} (as {}, the user of run_as)", user.name),
        None => why,
    })
}

/// Makes the directories above all Maildirs, durably: the sandbox lets nothing be made above them. One
/// that cannot be made is named, and mail for it waits.
pub fn make_maildir_roots(config: &Config) {
    for domain in config.domains.iter().filter(|domain| domain.lmtp.is_none()) {
        let root = maildir_root(&domain.maildir);
        let missing = is_missing(&root);
        let made = make_with_parents(&RealDisk, &root);
        // Where it was there already, what a crash left unsynced is made good as far as we may.
        let synced = made.and_then(|()| sync_with_parents(&RealDisk, &root, 0));
        if let (true, Err(error)) = (missing, synced) {
            let key = config.place(&format!("{}.maildir", domain.key));
            warn(&format!("{key}: {error}; its mail waits until it can be, and a restart"));
        }
    }
}

/// Puts back what a reload changed to something out of reach, each named in the log: the privileges and
/// the sandbox are what they were at start.
pub fn keep(old: &Config, new: &mut Config, sandbox: &Sandbox) {
    let kept = |key: &str, why: &str| warn(&format!("{key} changed: {why}; the old value stays"));
    for domain in &mut new.domains {
        let before = old.domains.iter().find(|before| before.name == domain.name);
        let Some(before) = before else { continue };
        let is_new = before.maildir != domain.maildir || before.lmtp != domain.lmtp;
        let moved = is_new && domain.lmtp.is_none();
        if let (true, Err(why)) = (moved, may_deliver(domain, sandbox)) {
            kept(&format!("{}.maildir", domain.key), &why);
            (domain.maildir, domain.lmtp) = (before.maildir.clone(), before.lmtp.clone());
        }
        if let Some(why) = unreadable(&domain.users, &before.users) {
            kept(&format!("{}.users", domain.key), &why);
            // Together they say who exists.
            (domain.users, domain.any_user) = (before.users.clone(), before.any_user);
        }
        if let Some(why) = unreadable(&domain.aliases, &before.aliases) {
            kept(&format!("{}.aliases", domain.key), &why);
            domain.aliases = before.aliases.clone();
        }
        if let Some(why) = unreadable_keys(domain.dkim.as_deref(), before.dkim.as_deref()) {
            kept(&format!("{}.dkim", domain.key), &why);
            domain.dkim = before.dkim.clone();
        }
    }
    for sign in &mut new.sign {
        let before = old.sign.iter().find(|before| before.name == sign.name);
        let Some(before) = before else { continue };
        if let Some(why) = unreadable_keys(Some(&sign.dkim), Some(&before.dkim)) {
            kept(&format!("{}.dkim", sign.key), &why);
            sign.dkim = before.dkim.clone();
        }
    }
    for alias in &mut new.alias_domains {
        let before = old.alias_domains.iter().find(|before| before.name == alias.name);
        let Some(before) = before else { continue };
        if let Some(why) = unreadable_keys(alias.dkim.as_deref(), before.dkim.as_deref()) {
            kept(&format!("{}.dkim", alias.key), &why);
            alias.dkim = before.dkim.clone();
        }
    }
    for backup in &mut new.relay.backup {
        let Some(before) = old.relay.backup_of(&backup.name) else { continue };
        if let Some(why) = unreadable(&backup.recipients, &before.recipients) {
            kept(&backup.key, &why);
            backup.recipients = before.recipients.clone();
        }
    }
    let files = |config: &Config| config.tls.clone().map(|tls| (tls.certificate, tls.key)).unzip();
    let (now, then) = (files(new), files(old));
    // One fits the other only.
    if let Some(why) = unreadable(&now.0, &then.0).or_else(|| unreadable(&now.1, &then.1)) {
        kept("tls", &why);
        new.tls = old.tls.clone();
    }
    let password = |config: &Config| {
        config.relay.smarthost_auth.as_ref().map(|auth| auth.password_file.clone())
    };
    if let Some(why) = unreadable(&password(new), &password(old)) {
        kept("relay.smarthost and its password_file", &why);
        // A password goes to nobody but the host that it was for.
        new.relay.smarthost = old.relay.smarthost.clone();
        new.relay.smarthost_auth = old.relay.smarthost_auth.clone();
    }
}

/// Fails when Maildirs of a new domain would be outside of the sandbox: there is nothing to put back, and
/// without them no mail for it could be taken.
pub fn judge_new_domains(old: &Config, new: &Config, sandbox: &Sandbox) -> Result<(), String> {
    let is_old = |domain: &DomainConfig| old.domains.iter().any(|old| old.name == domain.name);
    let is_new = |domain: &&DomainConfig| !is_old(domain) && domain.lmtp.is_none();
    new.domains.iter().filter(is_new).try_for_each(|domain| {
        let place = new.place(&format!("{}.maildir", domain.key));
        in_sandbox(&maildir_root(&domain.maildir), sandbox).map_err(|why| format!("{place}: {why}"))
    })
}

/// Why a file that is another one than before cannot be read, where the reason is that we may not.
fn unreadable(now: &Option<impl AsRef<Path>>, before: &Option<impl AsRef<Path>>) -> Option<String> {
    let now = now.as_ref()?.as_ref();
    if before.as_ref().is_some_and(|before| before.as_ref() == now) {
        return None;
    }
    let error = table::read(now).err().filter(|error| error.source.kind() == PermissionDenied)?;
    // The sandbox does not count here: it is no matter of permissions.
    Some(match access(now, AccessFlags::R_OK) {
        Ok(()) => format!("{} is outside of the sandbox, until a restart", now.display()),
        Err(_) => error.to_string(),
    })
}

/// The same of a directory of keys.
fn unreadable_keys(now: Option<&Path>, before: Option<&Path>) -> Option<String> {
    let dir = now.filter(|dir| before.is_some_and(|before| before != *dir))?;
    let error = fs::read_dir(dir).err().filter(|error| error.kind() == PermissionDenied)?;
    Some(match access(dir, AccessFlags::R_OK) {
        Ok(()) => format!("{} is outside of the sandbox, until a restart", dir.display()),
        Err(_) => format!("cannot list {}: {error}", dir.display()),
    })
}

/// Whether this user may make Maildirs there. Where each user has a home above, nobody can say.
fn may_deliver(domain: &DomainConfig, sandbox: &Sandbox) -> Result<(), String> {
    let template = domain.maildir.replace("{domain}", domain.name.as_str());
    let root = maildir_root(&template);
    in_sandbox(&root, sandbox)?;
    let (_, rest) = template.split_once("{user}").unwrap_or_default();
    if rest.contains('/') { Ok(()) } else { may_make(&root) }
}

fn in_sandbox(dir: &Path, sandbox: &Sandbox) -> Result<(), String> {
    match sandbox.may_write(dir) {
        true => Ok(()),
        false => Err(format!("{} is outside of the sandbox, until a restart", dir.display())),
    }
}

/// Whether names can be made in a directory, or it itself: what is there already of its path must let
/// this user in.
fn may_make(dir: &Path) -> Result<(), String> {
    let there = dir.ancestors().find(|dir| !is_missing(dir)).unwrap_or(Path::new("/"));
    access(there, AccessFlags::W_OK | AccessFlags::X_OK)
        .map_err(|error| format!("this user cannot write in {}: {error}", there.display()))
}

/// Whether nothing is there for sure.
pub fn is_missing(path: &Path) -> bool {
    matches!(fs::metadata(path), Err(error) if error.kind() == NotFound)
}
