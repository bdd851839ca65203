//! What one (re)load gives: the configuration and the files it names, as one value that never
//! changes. A reload makes a new [`Site`]; a session keeps the one it began with.

use crate::config::{Config, DomainConfig};
use crate::mail::address::Domain;
use crate::store::disk::StoreError;
use crate::store::users::{BadLine, Users};
use std::path::PathBuf;

/// Configuration and users.
#[derive(Clone, Debug)]
pub struct Site {
    pub config: Config,
    /// Of each domain of the configuration, in its order; none where no users file is named.
    users: Vec<Option<Users>>,
}

impl Site {
    /// Reads all users files; gives the lines in them that are bad, which spoil nothing else.
    pub fn read(config: Config) -> Result<(Site, Vec<BadLine>), StoreError> {
        let (mut users, mut bad) = (Vec::new(), Vec::new());
        for domain in &config.domains {
            users.push(match &domain.users {
                None => None,
                Some(file) => {
                    let (found, lines) = Users::read(file, &domain.name)?;
                    bad.extend(lines);
                    Some(found)
                }
            });
        }
        Ok((Site { config, users }, bad))
    }

    /// A domain that is delivered here, with its users.
    pub fn domain(&self, name: &Domain) -> Option<Local<'_>> {
        self.domains().find(|local| local.config.name == *name)
    }

    /// All of them, in the order they were written.
    pub fn domains(&self) -> impl Iterator<Item = Local<'_>> {
        let pairs = self.config.domains.iter().zip(&self.users);
        pairs.map(|(config, users)| Local { config, users: users.as_ref() })
    }
}

/// One domain that is delivered here.
#[derive(Clone, Copy, Debug)]
pub struct Local<'a> {
    pub config: &'a DomainConfig,
    pub users: Option<&'a Users>,
}

impl Local<'_> {
    /// The Maildir of a user; `user` must be one segment of a path
    /// ([`crate::mail::address::is_file_name`]).
    pub fn maildir(&self, user: &str) -> PathBuf {
        let domain = self.config.name.as_str();
        // The user last, so that braces in a name stay what they are.
        self.config.maildir.replace("{domain}", domain).replace("{user}", user).into()
    }
}
