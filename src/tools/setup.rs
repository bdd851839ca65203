//! `facteur setup`: a site from nothing. Makes the system user, directories, facteur.toml, users, aliases, keys and a
//! first certificate, and says what is left to do.
//!
//! Overwrites nothing: what is there stays, a second run changes nothing, and a run that was killed is finished by the
//! next. What a site is to be stands in a [`SiteToSetUp`]; [`plan`] makes steps of it, which [`make`] carries out.

mod dovecot;
mod left;
mod make;
pub mod options;
mod pair;
mod plan;
mod postfix;
mod site;
#[cfg(test)]
mod tests;
mod toml;

use super::{Failure, Request, complain, print, terminal};
use crate::config::Config;
use dovecot::{Dovecot, GROUP, LOCAL_CONF};
use left::{DovecotLeft, Left};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Group, User, geteuid};
use options::SetupWish;
use plan::{SetupStep, TomlState, plan};
use site::{DomainToSetUp, MailPlace, SiteToSetUp};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The server's user where none is named.
const USER: &str = "facteur";

/// Sets a site up, or says what that would do.
pub fn run(request: &Request, domain: Option<&str>) -> Result<(), Failure> {
    let is_dry = request.setup.dry_run;
    if !is_dry && !geteuid().is_root() {
        let words = "setup makes a user and directories of the system, so it is for root; --dry-run only shows what it would do";
        return Err(Failure::Failed(words.to_owned()));
    }
    let wish = SetupWish::read(request, domain)?;
    // What is made gets its mode whatever umask the shell has.
    umask(Mode::from_bits_truncate(0o022));
    let _lock = if is_dry { None } else { make::hold(&wish.places.etc)? };
    let found = wish.dovecot.then(Dovecot::find).transpose()?;
    let work = Work::of(&wish, found.as_ref())?;
    let made = match is_dry {
        true => make::show(&work.steps)?,
        false => make::carry_out(&work.steps, &work.config, &print)?,
    };
    let reads = wish.dovecot && !is_dry && is_for_dovecot(&made) && dovecot::reload();
    print(match (made.is_empty(), is_dry) {
        (true, _) => "everything is there already; nothing was changed\n\n",
        (_, true) => "nothing was changed: this was --dry-run\n\n",
        (_, false) if reads => "Dovecot has taken its new configuration\n\n",
        (_, false) => "\n",
    })?;
    work.site.warnings.iter().for_each(|warning| complain(warning));
    let words = work.left(reads).words();
    print(&words.lines().map(|line| format!("{}\n", terminal::escape(line))).collect::<String>())
}

/// Whether what was made is a reason for Dovecot to read its configuration. facteur.toml is one: where it was missing, a
/// run may have been killed before Dovecot was told.
fn is_for_dovecot(made: &[&SetupStep]) -> bool {
    made.iter().any(|step| match step {
        SetupStep::File { path, .. } => path == Path::new(LOCAL_CONF) || path.ends_with(site::TOML),
        _ => false,
    })
}

/// What is to be done.
struct Work {
    site: SiteToSetUp,
    /// As facteur.toml says it, or will say it.
    config: Config,
    steps: Vec<SetupStep>,
    /// The table that a facteur.toml which is there lacks.
    lines: Option<String>,
    /// What Dovecot's local.conf should say.
    dovecot: Option<String>,
}

impl Work {
    /// Reads what is there, and decides what is missing. Touches nothing.
    fn of(wish: &SetupWish, dovecot: Option<&Dovecot>) -> Result<Work, Failure> {
        let toml = wish.places.etc.join(site::TOML);
        let is_there = fs::symlink_metadata(&toml).is_ok();
        let (site, config, lines) = match is_there {
            true => Work::beside(wish, &toml)?,
            false => {
                let mut site = new_site(wish)?;
                if let Some(dovecot) = dovecot {
                    site.keep_by(dovecot);
                }
                let config = Config::parse(&toml::toml(&site), &site.toml());
                let config =
                    config.map_err(|why| format!("no configuration can say this: {why}"))?;
                (site, config, None)
            }
        };
        for dir in [&site.etc, &site.spool, &site.mail] {
            judge_dir(dir)?;
        }
        let group = match dovecot {
            Some(_) => Some(GROUP.to_owned()),
            None => group_of_others(&site),
        };
        let beside = dovecot.map(|dovecot| site.dovecot_steps(dovecot)).transpose()?;
        let (beside, dovecot) =
            beside.map_or((Vec::new(), None), |(steps, text)| (steps, Some(text)));
        let (toml, new) = match (is_there, &lines) {
            (false, _) => {
                (TomlState::Missing, site.domains.iter().map(|own| own.name.clone()).collect())
            }
            (true, Some(_)) => (TomlState::There, vec![wish.domain.clone()]),
            (true, None) => (TomlState::There, Vec::new()),
        };
        let steps = plan(&site, toml, &new, group.as_deref(), beside);
        Ok(Work { site, config, steps, lines, dovecot })
    }

    /// The site of a facteur.toml that is there, and the lines that it lacks.
    fn beside(
        wish: &SetupWish,
        toml: &Path,
    ) -> Result<(SiteToSetUp, Config, Option<String>), Failure> {
        let config = Config::load(Some(toml)).map_err(|error| error.to_string())?;
        let mut site = SiteToSetUp::of(&config, &wish.places);
        judge_options(wish, &site, toml)?;
        if config.names().any(|name| *name == wish.domain) {
            return Ok((site, config, None));
        }
        let mut new =
            DomainToSetUp::new(wish.domain.clone(), &wish.places.mail.display().to_string());
        // Kept as the mail of the others is.
        if let Some(first) = site.domains.first().filter(|_| !wish.names_mail) {
            new.mail = match &first.mail {
                MailPlace::Maildir(place) if !place.contains("{domain}") => new.mail,
                other => other.clone(),
            };
        }
        let lines = toml::domain_table(&new);
        site.domains.push(new);
        Ok((site, config, Some(lines)))
    }

    /// `is_read`: whether Dovecot has just taken its configuration.
    fn left(&self, is_read: bool) -> Left<'_> {
        let dovecot = self.dovecot.as_ref().map(|text| {
            let there = fs::read_to_string(LOCAL_CONF).ok();
            let is_ours = there.is_none_or(|there| there.contains(text.trim_end()));
            let auth = fs::read_to_string("/etc/dovecot/conf.d/10-auth.conf").unwrap_or_default();
            DovecotLeft {
                text: Some(text.clone()).filter(|_| !is_ours),
                is_read,
                hidden: hidden_from_dovecot(&self.site),
                asks_pam: auth
                    .lines()
                    .any(|line| line.starts_with("!include auth-system.conf.ext")),
            }
        });
        Left::look(&self.site, self.lines.clone(), dovecot)
    }
}

/// A site with one domain.
fn new_site(wish: &SetupWish) -> Result<SiteToSetUp, Failure> {
    let user = wish.user.as_deref().unwrap_or(USER);
    if let Some(directory) = &wish.from_postfix {
        let site = postfix::site(directory, wish, user)?;
        // Whose the mail is already may be the server's user, however it is set up.
        if wish.user.is_some() || site.run_as == USER {
            judge_user(user, wish)?;
        }
        return Ok(site);
    }
    judge_user(user, wish)?;
    let mut site = SiteToSetUp::new(wish.new_hostname()?, user, &wish.places);
    site.listen = site::listen_everywhere(has_ipv6());
    let mail = wish.places.mail.display().to_string();
    site.domains.push(DomainToSetUp::new(wish.domain.clone(), &mail));
    Ok(site)
}

/// A kernel without IPv6 has no such file, and binds no such address.
fn has_ipv6() -> bool {
    Path::new("/proc/net/if_inet6").exists()
}

/// Refuses a user who is none of a server.
fn judge_user(name: &str, wish: &SetupWish) -> Result<(), Failure> {
    let Ok(Some(user)) = User::from_name(name) else { return Ok(()) };
    let shell = user.shell.to_string_lossy();
    if user.uid.is_root() {
        return Err(format!(
            "{name} is root, who can do anything; the server needs a user of its own (--user)"
        )
        .into());
    }
    if !["", "nologin", "false", "sync"]
        .contains(&user.shell.file_name().unwrap_or_default().to_string_lossy().as_ref())
    {
        return Err(format!(
            "the user {name} can log in ({}); the server needs one of its own: another name by --user, or a user without \
             a shell",
            terminal::escape(&shell)
        )
        .into());
    }
    if wish.user.is_some() && user.dir != wish.places.spool {
        complain(&format!(
            "the user {name} was there before, at home in {}: whatever else runs as {name} can read all mail and all keys",
            user.dir.display()
        ));
    }
    Ok(())
}

/// Refuses a place that is no directory.
fn judge_dir(dir: &Path) -> Result<(), Failure> {
    match fs::metadata(dir) {
        Ok(found) if !found.is_dir() => {
            Err(format!("{} is a file, and a directory is needed there", dir.display()).into())
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(format!("{}: a part of it is a file", dir.display()).into())
        }
        _ => Ok(()),
    }
}

/// Refuses options that say another thing than facteur.toml, which stays.
fn judge_options(wish: &SetupWish, site: &SiteToSetUp, toml: &Path) -> Result<(), Failure> {
    let other = |key: &str, is: &str, said: &str| {
        let toml = toml.display();
        let words = format!(
            "{toml} says {key} = {is:?} and stays as it is; --{} {said} would be another",
            key_option(key)
        );
        Err(Failure::Failed(words))
    };
    match (&wish.hostname, &wish.user) {
        (Some(name), _) if *name != site.hostname => {
            other("hostname", site.hostname.as_str(), name.as_str())
        }
        (_, Some(user)) if *user != site.run_as => other("run_as", &site.run_as, user),
        _ if wish.names_spool && wish.places.spool != site.spool => other(
            "spool",
            &site.spool.display().to_string(),
            &wish.places.spool.display().to_string(),
        ),
        _ => Ok(()),
    }
}

/// The option that says what a key of the configuration does.
fn key_option(key: &str) -> &str {
    if key == "run_as" { "user" } else { key }
}

/// The group that reads users files of other domains, where it is another one than the server's.
fn group_of_others(site: &SiteToSetUp) -> Option<String> {
    let server = User::from_name(&site.run_as).ok().flatten()?;
    let found = users_files(site).find_map(|file| fs::metadata(file).ok())?;
    let is_shared = found.mode() & 0o040 != 0 && found.gid() != server.gid.as_raw();
    let group = is_shared.then(|| Group::from_gid(Gid::from_raw(found.gid())).ok().flatten());
    Some(group??.name)
}

/// Users files that were there before, and that Dovecot cannot read.
fn hidden_from_dovecot(site: &SiteToSetUp) -> Vec<PathBuf> {
    let Some(group) = Group::from_name(GROUP).ok().flatten() else { return Vec::new() };
    let is_hidden = |file: &PathBuf| {
        fs::metadata(file).is_ok_and(|found| {
            let by_group = found.gid() == group.gid.as_raw() && found.mode() & 0o040 != 0;
            !by_group && found.mode() & 0o004 == 0
        })
    };
    users_files(site).filter(is_hidden).collect()
}

fn users_files(site: &SiteToSetUp) -> impl Iterator<Item = PathBuf> {
    site.domains.iter().filter_map(|domain| Some(site.at(&domain.users.as_ref()?.path)))
}
