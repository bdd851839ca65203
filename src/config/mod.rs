//! `facteur.toml` → [`Config`]: every key of the contract, its default, its meaning.
//!
//! A [`Config`] that exists is one that can work: unknown keys, wrong types and values that cannot
//! work have been refused with file, line and what was expected ([`ConfigError`]). Paths are
//! absolute or relative to the working directory as given; those in the file are taken relative to
//! the file. Nothing here opens a socket, asks for a user, or reads any file but `facteur.toml`.

mod keys;
mod milter;
mod name_server;
mod reader;
#[cfg(test)]
mod tests;
mod value;

pub use milter::{Milter, MilterRights, MilterService, MilterSocket, MilterTimeout};
pub use name_server::NameServer;
pub use value::{duration as parse_duration, show_duration, show_size};

use crate::limits::RELAY_SLOW_LEAST;
use crate::mail::address::{Domain, Mailbox};
use crate::mail::proof::blocklist::CodeRange;
use crate::mail::proof::name::Name;
use reader::ConfigText;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the configuration is looked for when no file is named.
const PLACES: [&str; 2] = ["facteur.toml", "/etc/facteur/facteur.toml"];

/// Longest configuration, in octets: enough for thousands of domains, and a wrong file named by
/// `-c` does not fill the memory.
const FILE_MAX: u64 = 1024 * 1024;

/// The configuration without any file: all mail stays here, and only this machine can bring it.
const DEMO: &str = r#"
hostname = "localhost"
spool    = "./facteur-data/spool"

[listen]
smtp = ["127.0.0.1:2525"]

[domain.localhost]
maildir  = "./facteur-data/mail/{domain}/{user}"
any_user = true
"#;

/// The whole configuration; a running server holds it in an `Arc` and a reload makes a new one.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file it was read from; none for the built-in demo.
    pub file: Option<PathBuf>,
    /// The line of each key that the file sets.
    pub lines: BTreeMap<String, usize>,
    /// Our name in the banner, EHLO and Received.
    pub hostname: Domain,
    pub spool: PathBuf,
    /// User to become after the sockets are open, when started as root.
    pub run_as: Option<String>,
    pub listen: Listen,
    pub tls: Option<Tls>,
    /// In the order of the file: the first one has the postmaster for mail without a domain. Where an alias
    /// domain is written first, its target stands first.
    pub domains: Vec<DomainConfig>,
    /// Domains whose addresses are those of one of `domains`.
    pub alias_domains: Vec<AliasDomain>,
    /// Domains that live elsewhere, and whose mail of ours is signed.
    pub sign: Vec<SignConfig>,
    pub relay: Relay,
    pub dns: Dns,
    pub limit: Limit,
    pub trust: Trust,
    /// None: there is no greylisting.
    pub greylist: Option<Greylist>,
    /// The filters, in the order in which they are asked.
    pub milters: Vec<Milter>,
    pub trace: Trace,
    pub timeout: Timeout,
}

/// Addresses to listen on, for each service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listen {
    pub smtp: Vec<SocketAddr>,
    pub submission: Vec<SocketAddr>,
    pub submissions: Vec<SocketAddr>,
    pub metrics: Vec<SocketAddr>,
    /// Where connections for mail come from that begin with a PROXY header.
    pub proxy: Vec<Network>,
}

/// Files in PEM.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// One domain that is delivered here.
#[derive(Clone, Debug, PartialEq)]
pub struct DomainConfig {
    pub name: Domain,
    /// Its table as the file writes it, `domain."mx.test"`: under this its keys are placed.
    pub key: String,
    /// Where a user's Maildir is, with `{domain}` and `{user}` still in it; of no use with `lmtp`.
    pub maildir: String,
    /// The server that keeps the mail instead of Maildirs.
    pub lmtp: Option<LmtpServer>,
    /// Dovecot's passwd-file; when there is one, only its users exist.
    pub users: Option<PathBuf>,
    /// Every local part that is a safe file name is a user.
    pub any_user: bool,
    pub aliases: Option<PathBuf>,
    /// The recipient of mail for unknown users: a local part of this domain, or an address.
    pub catch_all: Option<CatchAll>,
    /// What separates a user from a tag; empty turns tags off.
    pub subaddress: String,
    /// The directory of the keys with which mail of this domain is signed.
    pub dkim: Option<PathBuf>,
}

/// A domain of From that is not delivered here: only signed.
#[derive(Clone, Debug, PartialEq)]
pub struct SignConfig {
    pub name: Domain,
    /// Its table as the file writes it, `sign."customer.test"`.
    pub key: String,
    /// The directory of its keys.
    pub dkim: PathBuf,
}

/// A domain that signs, and where its keys are. Two domains may have the same keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningDomain {
    pub name: Domain,
    /// For errors: the key that names the directory, with its line.
    pub place: String,
    pub dir: PathBuf,
}

/// A server that keeps mail, spoken to by LMTP (RFC 2033).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LmtpServer {
    Unix(PathBuf),
    Inet(HostPort),
}

/// A domain with `alias_of`: each address at it is the same one at another domain.
#[derive(Clone, Debug, PartialEq)]
pub struct AliasDomain {
    pub name: Domain,
    /// Its table as the file writes it, `domain."example.com"`.
    pub key: String,
    /// A domain that is delivered here, and no alias itself.
    pub target: Domain,
    /// Keys of its own; without them mail of this domain is signed with those of the target.
    pub dkim: Option<PathBuf>,
}

/// Target of `catch_all`.
#[derive(Clone, Debug, PartialEq)]
pub enum CatchAll {
    /// A name without a domain is one of this domain.
    Here(String),
    Address(Mailbox),
}

/// A network in CIDR form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    pub address: IpAddr,
    /// Leading bits that count, at most 32 or 128.
    pub bits: u8,
}

/// A next hop by name or address, with its port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// A host name, or an IP address without brackets.
    pub host: String,
    pub port: u16,
}

/// What is sent on to other hosts.
#[derive(Clone, Debug, PartialEq)]
pub struct Relay {
    pub networks: Vec<Network>,
    pub smarthost: Option<HostPort>,
    pub smarthost_auth: Option<SmarthostAuth>,
    pub port: u16,
    pub threads: usize,
    /// Waits between attempts; never empty.
    pub retry: Vec<Duration>,
    pub expire: Duration,
    /// Zero: no delay notices.
    pub delay_notice: Duration,
    pub per_destination: usize,
    pub prefer: Prefer,
    /// MTA-STS policies of domains whose hosts are found by MX hold (RFC 8461).
    pub mta_sts: bool,
    /// TLSA records hold, where `dns.trust_ad` lets us believe them (RFC 7672); [`Config::holds_dane`] says both.
    pub dane: bool,
    /// Who is named as the contact in daily TLS reports (RFC 8460); none: none are sent.
    pub reports: Option<Mailbox>,
    /// `example.net` or `.example.net` (its subdomains) → next hop.
    pub route: Vec<(String, HostPort)>,
    /// Domains elsewhere for which strangers' mail is taken.
    pub backup: Vec<BackupDomain>,
}

/// A domain for which this host is a backup MX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupDomain {
    pub name: Domain,
    /// Its key as the file writes it, `relay.backup."example.net"`.
    pub key: String,
    /// The file that says who exists there; none: everybody.
    pub recipients: Option<PathBuf>,
}

impl Relay {
    /// The domain of that name for which this host is a backup MX.
    pub fn backup_of(&self, name: &Domain) -> Option<&BackupDomain> {
        self.backup.iter().find(|backup| backup.name == *name)
    }

    /// Threads beside `threads` for attempts at hosts that are slow or silent.
    pub fn slow(&self) -> usize {
        self.threads.max(RELAY_SLOW_LEAST)
    }
}

/// Which addresses of a next hop are tried, and which of them first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefer {
    Ipv6,
    Ipv4,
    Ipv6Only,
    Ipv4Only,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SmarthostAuth {
    pub user: String,
    pub password_file: PathBuf,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Dns {
    /// Empty: those of /etc/resolv.conf.
    pub servers: Vec<NameServer>,
    pub timeout: Duration,
    pub trust_ad: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// Octets of a message as it is sent, with CR LF.
    pub message_size: u64,
    /// For one message; never below [`crate::limits::RECIPIENTS_MIN`].
    pub recipients: usize,
    pub sessions: usize,
    /// For one IPv4 address, or one /64 of IPv6.
    pub sessions_per_client: usize,
    pub recipients_per_hour: usize,
    /// 5xx replies in one session before 421.
    pub errors: usize,
    /// Received fields from which on a message counts as looping.
    pub hops: usize,
    pub auth_failures: usize,
}

/// What is found out about mail of strangers, and what follows from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Trust {
    pub spf: Spf,
    pub dkim: bool,
    pub arc: bool,
    pub dmarc: Dmarc,
    /// Mail that passes in line with one of these is never junk, nor refused for DMARC.
    pub allow: Vec<Name>,
    /// Whose seals count where DMARC fails.
    pub sealers: Vec<Name>,
    /// What DNS did not answer is a reason to let the client try again.
    pub defers: bool,
    /// Hosts before us that did all this.
    pub gateways: Vec<Network>,
    /// Lists of clients whose mail is refused.
    pub blocklists: Vec<Blocklist>,
    /// The Maildir folder, with the dot at its front.
    pub junk: String,
    /// A filter that adds one of these fields, or changes a field to it, sends the message there.
    pub junk_fields: Vec<JunkField>,
}

/// A field of a header, by whose name and value a filter says that a message is junk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JunkField {
    pub name: String,
    /// Without blanks around it.
    pub value: String,
}

impl JunkField {
    /// Whether a field is this one; case does not count.
    pub fn is(&self, name: &[u8], value: &[u8]) -> bool {
        name.trim_ascii().eq_ignore_ascii_case(self.name.as_bytes())
            && value.trim_ascii().eq_ignore_ascii_case(self.value.as_bytes())
    }
}

/// A list of clients in DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocklist {
    pub zone: Name,
    /// Which of its codes mean that a client is listed; never empty.
    pub codes: Vec<CodeRange>,
}

/// Whom strangers have to show that they come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greylist {
    pub delay: Duration,
    pub expire: Duration,
}

/// What follows from a fail of the sender's domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spf {
    /// SPF is not asked.
    Off,
    /// Nothing.
    Mark,
    Reject,
}

/// What follows from the policy of an author's domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dmarc {
    /// DMARC is not asked.
    Off,
    /// Nothing.
    Mark,
    /// Whatever the policy asks for, the message is taken.
    Junk,
    /// What the policy asks for.
    Reject,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    pub keep: Duration,
    pub size: u64,
}

/// Each but the first is for one step, never for a whole transaction (RFC 5321 §4.5.3.2).
#[derive(Clone, Debug, PartialEq)]
pub struct Timeout {
    /// For a stranger's session that brings no message.
    pub session: Duration,
    pub command: Duration,
    pub data: Duration,
    pub r#final: Duration,
    pub connect: Duration,
    pub shutdown: Duration,
}

/// Why a configuration is refused: "facteur.toml:12: relay.threads: expected a whole number from 1 to 1000,
/// found 0". Only the first reason, because others may follow from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub file: PathBuf,
    /// Counted from 1; none when the file as a whole is meant.
    pub line: Option<usize>,
    /// The key, then what was expected and what was found.
    pub what: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file.display(), self.what),
            None => write!(f, "{}: {}", self.file.display(), self.what),
        }
    }
}

impl std::error::Error for ConfigError {}

/// The domain of an address without one: that of `hostname` when mail for it is delivered here, which is
/// for `domains`, else the first of them; where there are none, `hostname` all the same.
pub fn home<'a>(hostname: &'a Domain, mut domains: impl Iterator<Item = &'a Domain>) -> &'a Domain {
    let Some(first) = domains.next() else { return hostname };
    let is_ours = first == hostname || domains.any(|domain| domain == hostname);
    if is_ours { hostname } else { first }
}

impl Config {
    /// The domain of an address without one ([`home`]).
    pub fn home(&self) -> &Domain {
        home(&self.hostname, self.names())
    }

    /// The names of all domains that are delivered here: in the order of the file, then those of aliases.
    pub fn names(&self) -> impl Iterator<Item = &Domain> {
        let aliases = self.alias_domains.iter().map(|alias| &alias.name);
        self.domains.iter().map(|domain| &domain.name).chain(aliases)
    }

    /// The domain that mail for this one is delivered at: its target where it is an alias.
    pub fn target<'a>(&'a self, name: &'a Domain) -> &'a Domain {
        let alias = self.alias_domains.iter().find(|alias| alias.name == *name);
        alias.map_or(name, |alias| &alias.target)
    }

    /// Reads the file that was named, else the first of [`PLACES`] that exists, else returns the demo. A
    /// file that exists and cannot be read is an error: without it mail would go where it should not.
    pub fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
        let config = match path {
            Some(path) => Config::read(path),
            None => Config::find(&PLACES.map(Path::new)),
        };
        config.map(Config::absolute)
    }

    /// Makes paths absolute, because logs name them, and their reader may not know our working directory.
    fn absolute(mut self) -> Config {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or(path.to_owned());
        self.spool = absolute(&self.spool);
        for sign in &mut self.sign {
            sign.dkim = absolute(&sign.dkim);
        }
        for milter in &mut self.milters {
            if let MilterSocket::Unix(path) = &mut milter.socket {
                *path = absolute(path);
            }
        }
        for alias in &mut self.alias_domains {
            alias.dkim = alias.dkim.as_deref().map(absolute);
        }
        for domain in &mut self.domains {
            if let Some(LmtpServer::Unix(path)) = &mut domain.lmtp {
                *path = absolute(path);
            }
            domain.dkim = domain.dkim.as_deref().map(absolute);
            // It was text before; a working directory that is none leaves it as it is.
            if let Ok(path) = absolute(Path::new(&domain.maildir)).into_os_string().into_string() {
                domain.maildir = path;
            }
        }
        self
    }

    /// Reads `text` as the content of `file`; relative paths in it are relative to the folder of
    /// `file`, which need not exist.
    pub fn parse(text: &str, file: &Path) -> Result<Config, ConfigError> {
        let lines = RefCell::default();
        let mut config = ConfigText { file, text, lines: &lines }.read(keys::config)?;
        config.lines = lines.into_inner();
        Ok(config)
    }

    /// All domains that sign, in the order of the file; an alias domain with the keys of its target, where it has
    /// none.
    pub fn signing(&self) -> Vec<SigningDomain> {
        let domains = self.domains.iter();
        let here = domains.filter_map(|own| Some((&own.name, &own.key, own.dkim.as_ref()?)));
        let aliases = self.alias_domains.iter().filter_map(|alias| match &alias.dkim {
            Some(own) => Some((&alias.name, &alias.key, own)),
            None => {
                let target = self.domains.iter().find(|domain| domain.name == alias.target)?;
                Some((&alias.name, &target.key, target.dkim.as_ref()?))
            }
        });
        let elsewhere = self.sign.iter().map(|other| (&other.name, &other.key, &other.dkim));
        let domain = |(name, key, dir): (&Domain, &String, &PathBuf)| SigningDomain {
            name: name.clone(),
            place: self.place(&format!("{key}.dkim")),
            dir: dir.clone(),
        };
        here.chain(aliases).chain(elsewhere).map(domain).collect()
    }

    /// Whether hosts are held to their TLSA records.
    pub fn holds_dane(&self) -> bool {
        self.relay.dane && self.dns.trust_ad
    }

    /// Names a key for an error that shows only later: "facteur.toml:12: relay.networks".
    pub fn place(&self, key: &str) -> String {
        match (&self.file, self.lines.get(key)) {
            (Some(file), Some(line)) => format!("{}:{line}: {key}", file.display()),
            (Some(file), None) => format!("{}: {key}", file.display()),
            (None, _) => key.to_owned(),
        }
    }

    /// `listen.submissions` cannot work without `[tls]`, and there is none: there is no other way to
    /// speak on that port (RFC 8314 §3.3).
    pub fn needs_tls(&self) -> bool {
        self.tls.is_none() && !self.listen.submissions.is_empty()
    }

    /// Whether any filter sees mail that comes this way.
    pub fn is_filtered(&self, service: MilterService) -> bool {
        self.milters.iter().any(|milter| milter.services.contains(&service))
    }

    /// The configuration without a file; see [`DEMO`].
    pub fn demo() -> Config {
        let demo = Config::parse(DEMO, Path::new("facteur.toml"));
        Config {
            file: None,
            lines: BTreeMap::new(),
            ..demo.expect("DEMO is a constant, and a test reads it")
        }
    }

    fn find(places: &[&Path]) -> Result<Config, ConfigError> {
        // A broken link counts as a file that exists, so it is an error.
        let missing = |path: &Path| {
            fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        match places.iter().find(|path| !missing(path)) {
            Some(path) => Config::read(path),
            None => Ok(Config::demo()),
        }
    }

    fn read(path: &Path) -> Result<Config, ConfigError> {
        let fail = |line, what| ConfigError { file: path.to_owned(), line, what };
        let mut text = Vec::new();
        File::open(path)
            .and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut text))
            .map_err(|error| fail(None, format!("cannot be read: {error}")))?;
        if text.len() as u64 > FILE_MAX {
            return Err(fail(None, format!("is longer than {}", show_size(FILE_MAX))));
        }
        let text = String::from_utf8(text).map_err(|error| {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + good.iter().filter(|b| **b == b'\n').count();
            fail(Some(line), "is not UTF-8".to_owned())
        })?;
        Config::parse(&text, path)
    }
}
