//! What a site is to be: a description that options, an existing facteur.toml, or the configuration of another mail
//! server fill, and from which the files are made.
//!
//! Plain values that ask nobody and touch nothing. Paths of files stand here as facteur.toml shows them: relative to
//! its directory, or absolute.

use crate::config::{
    AliasDomain, CatchAll, Config, DomainConfig, HostPort, Listen, LmtpServer, Network, Tls,
};
use crate::mail::address::Domain;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The file of the configuration, in [`SiteToSetUp::etc`].
pub const TOML: &str = "facteur.toml";

/// A site, with all that its files are made of.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteToSetUp {
    pub hostname: Domain,
    /// The system user that the server becomes.
    pub run_as: String,
    /// The directory of facteur.toml and what belongs to it; absolute.
    pub etc: PathBuf,
    pub spool: PathBuf,
    /// The directory above the mail that this machine keeps, by Maildirs of ours or by Dovecot.
    pub mail: PathBuf,
    pub listen: Listen,
    /// The pair of certificate and key. Where neither file is there, and both lie below `etc`, a self-signed pair is
    /// made.
    pub tls: Option<Tls>,
    /// In their order: the first has the postmaster for mail without a domain.
    pub domains: Vec<DomainToSetUp>,
    /// Domains whose addresses are those of one of `domains`.
    pub alias_domains: Vec<(Domain, Domain)>,
    /// Clients that may send anywhere without a login.
    pub networks: Vec<Network>,
    pub smarthost: Option<SmarthostToSetUp>,
    /// Next hops of domains, by `example.net` or `.example.net` (its subdomains).
    pub routes: Vec<(String, HostPort)>,
    pub backup: Vec<BackupToSetUp>,
    /// Octets; none: the default.
    pub message_size: Option<u64>,
    /// Recipients of one message; none: the default.
    pub recipients: Option<usize>,
    /// Further keys, of tables that have no field here.
    pub more: Vec<MoreTable>,
    /// What becomes the pair of `tls`, in the place of one that is made.
    pub pair_from: Option<PairToCopy>,
    /// What could not be translated into this, a line each, with what to do; printed, never written.
    pub warnings: Vec<String>,
}

/// A pair that another program has.
#[derive(Clone, Debug, PartialEq)]
pub struct PairToCopy {
    /// Its certificates as PEM, without a key that stands beside them.
    pub certificates: String,
    /// The file of the key.
    pub key: PathBuf,
}

/// A table of facteur.toml, or keys of one that is there already.
#[derive(Clone, Debug, PartialEq)]
pub struct MoreTable {
    /// As it stands between the brackets: `limit`; `[milter]` for one of several.
    pub name: String,
    pub keys: Vec<MoreKey>,
}

/// One key of it.
#[derive(Clone, Debug, PartialEq)]
pub struct MoreKey {
    pub key: String,
    /// As TOML writes it.
    pub value: String,
    pub comment: String,
}

/// The directories of a site; absolute.
#[derive(Clone, Debug, PartialEq)]
pub struct SitePlaces {
    /// Of facteur.toml and what belongs to it.
    pub etc: PathBuf,
    pub spool: PathBuf,
    pub mail: PathBuf,
}

/// A domain that is delivered here.
#[derive(Clone, Debug, PartialEq)]
pub struct DomainToSetUp {
    pub name: Domain,
    pub mail: MailPlace,
    /// Who exists; none: everybody where `any_user`, else whoever has a Maildir.
    pub users: Option<TableToSetUp>,
    pub any_user: bool,
    pub aliases: Option<TableToSetUp>,
    pub catch_all: Option<CatchAll>,
    /// None: the default, `+`; empty: no tags.
    pub subaddress: Option<String>,
    /// The directory of the keys that sign its mail.
    pub dkim: Option<PathBuf>,
}

/// Where mail of a domain is kept.
#[derive(Clone, Debug, PartialEq)]
pub enum MailPlace {
    /// In Maildirs: a path with `{domain}` and `{user}` in it.
    Maildir(String),
    /// By another server.
    Lmtp(LmtpServer),
}

/// A file of lines that people write.
#[derive(Clone, Debug, PartialEq)]
pub struct TableToSetUp {
    pub path: PathBuf,
    /// Written where there is no file of that name.
    pub text: String,
}

/// Where everything remote goes.
#[derive(Clone, Debug, PartialEq)]
pub struct SmarthostToSetUp {
    pub at: HostPort,
    /// The user's name there, and the file of the password.
    pub login: Option<(String, TableToSetUp)>,
}

/// A domain for which this host is a backup MX.
#[derive(Clone, Debug, PartialEq)]
pub struct BackupToSetUp {
    pub name: Domain,
    /// Who exists there; none: everybody.
    pub recipients: Option<TableToSetUp>,
}

impl SiteToSetUp {
    /// A site with nothing but its names and places: no domain yet, all ports for mail, a pair in `etc`/tls.
    pub fn new(hostname: Domain, run_as: &str, places: &SitePlaces) -> SiteToSetUp {
        SiteToSetUp {
            hostname,
            run_as: run_as.to_owned(),
            etc: places.etc.clone(),
            spool: places.spool.clone(),
            mail: places.mail.clone(),
            listen: listen_everywhere(true),
            tls: Some(Tls {
                certificate: "tls/fullchain.pem".into(),
                key: "tls/privkey.pem".into(),
            }),
            domains: Vec::new(),
            alias_domains: Vec::new(),
            networks: Vec::new(),
            smarthost: None,
            routes: Vec::new(),
            backup: Vec::new(),
            message_size: None,
            recipients: None,
            more: Vec::new(),
            pair_from: None,
            warnings: Vec::new(),
        }
    }

    /// The site of a configuration that is there, as far as its files are made here. Files that are missing are made
    /// empty, aliases with what [`aliases`] says.
    pub fn of(config: &Config, places: &SitePlaces) -> SiteToSetUp {
        let run_as = config.run_as.clone().unwrap_or_else(|| "root".to_owned());
        let alias = |alias: &AliasDomain| (alias.name.clone(), alias.target.clone());
        SiteToSetUp {
            listen: config.listen.clone(),
            tls: config.tls.clone(),
            domains: config.domains.iter().map(DomainToSetUp::of).collect(),
            alias_domains: config.alias_domains.iter().map(alias).collect(),
            networks: config.relay.networks.clone(),
            spool: config.spool.clone(),
            ..SiteToSetUp::new(config.hostname.clone(), &run_as, places)
        }
    }

    /// Adds a key to a table.
    pub fn more(&mut self, table: &str, key: MoreKey) {
        match self.more.iter_mut().find(|more| more.name == table) {
            Some(more) => more.keys.push(key),
            None => self.more.push(MoreTable { name: table.to_owned(), keys: vec![key] }),
        }
    }

    /// The further keys of a table.
    pub fn keys_of(&self, table: &str) -> &[MoreKey] {
        self.more.iter().find(|more| more.name == table).map_or(&[], |more| &more.keys)
    }

    /// The file of the configuration.
    pub fn toml(&self) -> PathBuf {
        self.etc.join(TOML)
    }

    /// Where a file is that facteur.toml shows so.
    pub fn at(&self, path: &Path) -> PathBuf {
        self.etc.join(path)
    }
}

impl DomainToSetUp {
    /// A domain with Maildirs below a directory, no users yet, the aliases that each domain needs, and keys.
    pub fn new(name: Domain, mail: &str) -> DomainToSetUp {
        DomainToSetUp {
            users: Some(TableToSetUp::new(format!("{name}.users"), users(&name))),
            aliases: Some(TableToSetUp::new(format!("{name}.aliases"), aliases(&name))),
            dkim: Some(Path::new("keys").join(name.as_str())),
            mail: MailPlace::Maildir(format!("{mail}/{{domain}}/{{user}}")),
            any_user: false,
            catch_all: None,
            subaddress: None,
            name,
        }
    }

    /// The directory in which Maildirs are made: the path as far as it is the same for all domains and users. None
    /// where Maildirs lie in homes, which belong to others.
    pub fn mail_dir(&self) -> Option<PathBuf> {
        let MailPlace::Maildir(template) = &self.mail else { return None };
        if template.split_once("{user}").is_none_or(|(_, rest)| rest.contains('/')) {
            return None;
        }
        let fixed = &template[..template.find('{').unwrap_or(template.len())];
        let dir = &fixed[..fixed.rfind('/')?];
        Some(PathBuf::from(if dir.is_empty() { "/" } else { dir }))
    }

    fn of(config: &DomainConfig) -> DomainToSetUp {
        let DomainConfig { name, .. } = config;
        let table = |path: &Option<PathBuf>, text: &dyn Fn(&Domain) -> String| {
            path.clone().map(|path| TableToSetUp { path, text: text(name) })
        };
        DomainToSetUp {
            name: name.clone(),
            mail: match &config.lmtp {
                Some(server) => MailPlace::Lmtp(server.clone()),
                None => MailPlace::Maildir(config.maildir.clone()),
            },
            users: table(&config.users, &users),
            any_user: config.any_user,
            aliases: table(&config.aliases, &aliases),
            catch_all: config.catch_all.clone(),
            subaddress: Some(config.subaddress.clone()),
            dkim: config.dkim.clone(),
        }
    }
}

impl MoreKey {
    pub fn new(key: &str, value: &str, comment: &str) -> MoreKey {
        MoreKey { key: key.to_owned(), value: value.to_owned(), comment: comment.to_owned() }
    }
}

impl TableToSetUp {
    pub fn new(path: impl Into<PathBuf>, text: String) -> TableToSetUp {
        TableToSetUp { path: path.into(), text }
    }
}

/// The three services for mail at all addresses, as packaging/facteur.socket opens them.
pub fn listen_everywhere(has_ipv6: bool) -> Listen {
    let at = |port| match has_ipv6 {
        // IPv6's any address takes IPv4 as well.
        true => vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))],
        false => vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))],
    };
    let (smtp, submission, submissions) = (at(25), at(587), at(465));
    Listen { smtp, submission, submissions, metrics: Vec::new(), proxy: Vec::new() }
}

/// An empty users file.
pub fn users(name: &Domain) -> String {
    format!(
        "# Users of {name}, for facteur and Dovecot: user:{{SCHEME}}hash:::::\n\
         # To add one: facteur user add ann@{name}\n"
    )
}

/// The addresses that each domain has to have (RFC 5321 §4.5.1, RFC 2142), and the mail of programs. An alias among
/// its own targets means the user of its name; without that user the first user gets postmaster's mail.
pub fn aliases(name: &Domain) -> String {
    format!(
        "# Aliases of {name}, aliases(5): name: target, target. A target is a user, an alias, or an address elsewhere.\n\
         # The server takes a change by itself.\n\
         \n\
         # The user postmaster; as long as there is none, the first user. Put your own name here if you like.\n\
         postmaster: postmaster\n\
         abuse: postmaster\n\
         root: postmaster\n"
    )
}
