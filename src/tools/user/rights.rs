//! Who may read a users file that is made: it becomes as those of the other domains are, so that whoever reads
//! those, Dovecot too, reads this one. Looks at files, and changes none.

use crate::config::{Config, DomainConfig};
use crate::store::table::NewFile;
use crate::tools::Failure;
use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid, getgroups};
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Owner, group and mode of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rights {
    owner: Uid,
    group: Gid,
    mode: u32,
}

/// How the users file of a domain is made, and words for a person where that is not as the others are.
/// `private`: the file for the server alone, made where there are no others, where those differ, or where only
/// root could make one like them.
pub fn of_new_file(
    config: &Config,
    domain: &DomainConfig,
    private: NewFile,
) -> Result<(NewFile, Option<String>), Failure> {
    let others = config.domains.iter().filter(|other| other.users != domain.users);
    let files = others.filter_map(|other| other.users.as_deref());
    let found: Vec<(&Path, Rights)> =
        files.filter_map(|file| Some((file, Rights::of(file)?))).collect();
    let Some((first, like)) = found.first() else { return Ok((private, None)) };
    let made = domain.users.as_deref().unwrap_or(Path::new("")).display();
    let how = format!("{made} is made with mode {:04o}, for its owner alone", private.mode);
    if let Some((other, unlike)) = found.iter().find(|(_, rights)| rights != like) {
        let (first, other) = (first.display(), other.display());
        let words = format!(
            "{how}, because those of other domains differ ({first}: {like}; {other}: {unlike}): give it the \
             owner, group and mode that its readers need"
        );
        return Ok((private, Some(words)));
    }
    match like.can_be_given()? {
        true => Ok((like.new_file(), None)),
        false => {
            let first = first.display();
            let words = format!(
                "{how}, because only root can make it as {first} is ({like}); root does so by: \
                 chown --reference={first} {made}; chmod --reference={first} {made}"
            );
            Ok((private, Some(words)))
        }
    }
}

impl Rights {
    /// None where the file does not exist, or cannot be looked at.
    fn of(file: &Path) -> Option<Rights> {
        let found = fs::metadata(file).ok()?;
        let (owner, group) = (Uid::from_raw(found.uid()), Gid::from_raw(found.gid()));
        Some(Rights { owner, group, mode: found.mode() & 0o777 })
    }

    fn new_file(&self) -> NewFile {
        NewFile { owner: Some((self.owner, self.group)), mode: self.mode }
    }

    /// Whether this process may make such a file.
    fn can_be_given(&self) -> Result<bool, Failure> {
        let (user, group) = (geteuid(), getegid());
        let groups = || getgroups().map_err(|error| format!("cannot see our groups: {error}"));
        let is_ours =
            user == self.owner && (group == self.group || groups()?.contains(&self.group));
        Ok(user.is_root() || is_ours)
    }
}

/// "0640 facteur:dovecot".
impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = User::from_uid(self.owner).ok().flatten();
        let owner = owner.map_or_else(|| self.owner.to_string(), |user| user.name);
        let group = Group::from_gid(self.group).ok().flatten();
        let group = group.map_or_else(|| self.group.to_string(), |group| group.name);
        write!(f, "{:04o} {owner}:{group}", self.mode)
    }
}
