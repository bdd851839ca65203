//! What is to be made for a site, step by step, in an order in which a run that breaks off can be taken up again.
//!
//! Pure: [`super::make`] carries the steps out, or shows them. facteur.toml comes last: while it is missing, the site
//! is not whole, and the next run makes what is left.

use super::site::{SiteToSetUp, TableToSetUp};
use super::toml;
use crate::mail::address::Domain;
use std::fmt;
use std::path::{Path, PathBuf};

/// One thing to make. What is there already stays as it is.
#[derive(Clone, Debug, PartialEq)]
pub enum SetupStep {
    /// The system user, who cannot log in.
    User {
        name: String,
        home: PathBuf,
    },
    Dir {
        path: PathBuf,
        mode: u32,
        owner: Owner,
    },
    File {
        path: PathBuf,
        mode: u32,
        owner: Owner,
        text: String,
    },
    /// Keys that sign mail of a domain, of each type that its directory lacks.
    Keys {
        domain: Domain,
        dir: PathBuf,
    },
    /// A copy of a file that another program has, and that the server's user could not read there.
    Copy {
        from: PathBuf,
        path: PathBuf,
        mode: u32,
        owner: Owner,
    },
    /// A self-signed pair; `reader` has the key.
    Pair {
        hostname: Domain,
        certificate: PathBuf,
        key: PathBuf,
        reader: Owner,
    },
    /// A script of Sieve as Dovecot runs it: compiled, as who delivers may not write beside the script.
    Compile {
        script: PathBuf,
    },
}

/// Whose a file or a directory is, by the names of users and groups.
#[derive(Clone, Debug, PartialEq)]
pub enum Owner {
    Root,
    /// Root, and the group of that user.
    RootWith(String),
    /// That user, and the user's group.
    User(String),
    /// A user, and a group.
    UserWith(String, String),
}

/// What is said of a step before it is done, without its verb.
impl fmt::Display for SetupStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetupStep::User { name, .. } => write!(f, "the system user {name}"),
            SetupStep::Dir { path, mode, owner } => {
                write!(f, "the directory {} ({mode:04o}, {owner})", path.display())
            }
            SetupStep::File { path, mode, owner, .. } => {
                write!(f, "{} ({mode:04o}, {owner})", path.display())
            }
            SetupStep::Copy { from, path, mode, owner } => {
                let (from, path) = (from.display(), path.display());
                write!(f, "{path} ({mode:04o}, {owner}), a copy of {from}")
            }
            SetupStep::Keys { domain, dir } => {
                write!(f, "keys that sign mail of {domain}, in {}", dir.display())
            }
            SetupStep::Pair { hostname, certificate, key, .. } => {
                let (certificate, key) = (certificate.display(), key.display());
                write!(f, "a self-signed certificate for {hostname}: {certificate}, {key}")
            }
            SetupStep::Compile { script } => write!(f, "{}, compiled", script.display()),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Root => f.write_str("root"),
            Owner::RootWith(user) => write!(f, "root, group of {user}"),
            Owner::User(user) => f.write_str(user),
            Owner::UserWith(user, group) => write!(f, "{user}, group {group}"),
        }
    }
}

impl SiteToSetUp {
    /// The owner of what the server writes.
    pub fn server(&self) -> Owner {
        Owner::User(self.run_as.clone())
    }
}

/// How far a site is there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TomlState {
    /// There is no facteur.toml: all is made.
    Missing,
    /// There is one, and it stays; what it names is made, without keys.
    There,
}

/// The steps for a site. `group`: the group that reads users files besides. `new`: the domains that get keys.
/// `beside`: what other programs need, made before facteur.toml.
pub fn plan(
    site: &SiteToSetUp,
    toml: TomlState,
    new: &[Domain],
    group: Option<&str>,
    beside: Vec<SetupStep>,
) -> Vec<SetupStep> {
    let mut steps = vec![
        SetupStep::User { name: site.run_as.clone(), home: site.spool.clone() },
        SetupStep::Dir { path: site.etc.clone(), mode: 0o755, owner: Owner::Root },
        // Programs of all users leave mail in its drop/, so all may pass through, and none may look.
        SetupStep::Dir { path: site.spool.clone(), mode: 0o711, owner: site.server() },
    ];
    steps.extend(mail_dirs(site));
    tables(site, group, &mut steps);
    for domain in site.domains.iter().filter(|domain| new.contains(&domain.name)) {
        if let Some(dir) = &domain.dkim {
            let dir = site.at(dir);
            steps.push(SetupStep::Dir { path: dir.clone(), mode: 0o700, owner: site.server() });
            steps.push(SetupStep::Keys { domain: domain.name.clone(), dir });
        }
    }
    pair(site, &mut steps);
    steps.extend(beside);
    if toml == TomlState::Missing {
        steps.push(SetupStep::File {
            path: site.toml(),
            mode: 0o644,
            owner: Owner::Root,
            text: toml::toml(site),
        });
    }
    steps
}

/// The directories above Maildirs, each once.
fn mail_dirs(site: &SiteToSetUp) -> Vec<SetupStep> {
    let mut dirs: Vec<PathBuf> = Vec::new();
    for domain in &site.domains {
        if let Some(dir) = domain.mail_dir().filter(|dir| !dirs.contains(dir)) {
            dirs.push(dir);
        }
    }
    let dirs = dirs.into_iter();
    dirs.map(|path| SetupStep::Dir { path, mode: 0o755, owner: site.server() }).collect()
}

/// Files of lines: users, aliases, recipients of others, a password.
fn tables(site: &SiteToSetUp, group: Option<&str>, steps: &mut Vec<SetupStep>) {
    let mut file = |table: &TableToSetUp, mode, owner| {
        let step =
            SetupStep::File { path: site.at(&table.path), mode, owner, text: table.text.clone() };
        if !steps.contains(&step) {
            steps.push(step);
        }
    };
    for domain in &site.domains {
        if let Some(users) = &domain.users {
            match group {
                Some(group) => {
                    file(users, 0o640, Owner::UserWith(site.run_as.clone(), group.to_owned()));
                }
                None => file(users, 0o600, site.server()),
            }
        }
        if let Some(aliases) = &domain.aliases {
            file(aliases, 0o644, Owner::Root);
        }
    }
    for recipients in site.backup.iter().filter_map(|backup| backup.recipients.as_ref()) {
        file(recipients, 0o644, Owner::Root);
    }
    if let Some((_, password)) = site.smarthost.as_ref().and_then(|host| host.login.as_ref()) {
        file(password, 0o640, Owner::RootWith(site.run_as.clone()));
    }
}

/// A pair that is ours to make.
fn pair(site: &SiteToSetUp, steps: &mut Vec<SetupStep>) {
    let Some(tls) = &site.tls else { return };
    let (certificate, key) = (site.at(&tls.certificate), site.at(&tls.key));
    if ![&certificate, &key].iter().all(|path| path.starts_with(&site.etc)) {
        return;
    }
    let mut dirs: Vec<&Path> =
        [&certificate, &key].into_iter().filter_map(|p| p.parent()).collect();
    dirs.dedup();
    for dir in dirs.into_iter().filter(|dir| *dir != site.etc) {
        steps.push(SetupStep::Dir { path: dir.to_owned(), mode: 0o755, owner: Owner::Root });
    }
    if let Some(pair) = &site.pair_from {
        // The key first: a killed run leaves no certificate without one.
        steps.push(SetupStep::Copy {
            from: pair.key.clone(),
            path: key,
            mode: 0o640,
            owner: Owner::RootWith(site.run_as.clone()),
        });
        steps.push(SetupStep::File {
            path: certificate,
            mode: 0o644,
            owner: Owner::Root,
            text: pair.certificates.clone(),
        });
        return;
    }
    steps.push(SetupStep::Pair {
        hostname: site.hostname.clone(),
        certificate,
        key,
        reader: Owner::RootWith(site.run_as.clone()),
    });
}
