//! What one (re)load gives: the configuration and the files it names, as one value that never
//! changes. A reload makes a new [`Site`]; a session takes the one that holds for each transaction.

use crate::config::{Config, DomainConfig, SmarthostAuth, Tls, home};
use crate::limits::{FIRST_USER_AGE, PAIR_LOOK, PAIR_SETTLE, PASSWORD_MAX};
use crate::mail::address::{Domain, Host, Mailbox, ReversePath};
use crate::mail::srs::{NoWayBack, SrsKeys};
use crate::net::dns::{self, DnsResolver, Resolver};
use crate::net::interfaces;
use crate::net::tls::{Acceptor, BadPair, Connector, Flaw, Half};
use crate::smtp::auth::Credentials;
use crate::store::aliases::Aliases;
use crate::store::disk::StoreError;
use crate::store::locked;
use crate::store::table::{BadLine, FileStamp, read};
use crate::store::users::Users;
use nix::errno::Errno;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

/// Configuration, users and aliases.
#[derive(Clone, Debug)]
pub struct Site {
    pub config: Config,
    /// Of all domains that are delivered here, in their order.
    names: Vec<Domain>,
    /// Of this machine, as they were when this was made, and where it listens; IPv4 as IPv4.
    addresses: Vec<IpAddr>,
    /// Of each domain of the configuration, in its order. Shared, as they may be large: a site that differs
    /// in something else has the same ones.
    tables: Arc<Vec<Tables>>,
    /// Of each domain, whose mail the postmaster's is when nobody is named for it.
    first_users: Vec<Arc<FirstUser>>,
    /// What the files were when they were read.
    stamps: Vec<FileStamp>,
    /// The secrets of SRS; of a server only, as they lie in its spool. They pass from site to site.
    keys: Option<Arc<SrsKeys>>,
    /// With `[tls]`: how we show ourselves, and what the two files were when they were read.
    pair: Option<(Acceptor, Pair)>,
    /// Shared by all attempts, for what it remembers.
    connector: Arc<Connector>,
    /// With `relay.smarthost_auth`: for the smarthost.
    password: Option<Arc<Password>>,
    /// Shared by all who ask for names; a site that asks the same servers has the same one, with what it
    /// remembers.
    resolver: Arc<dyn Resolver>,
}

/// Who we are to the smarthost.
#[derive(Debug, PartialEq, Eq)]
pub struct Password {
    pub credentials: Credentials,
    /// For people: as whom we log in, and where the password stands.
    pub words: String,
}

/// Certificate and key at one moment.
type Pair = [FileStamp; 2];

/// The files of one domain; none where none is named.
#[derive(Clone, Debug, Default)]
struct Tables {
    users: Option<Users>,
    aliases: Option<Aliases>,
}

impl Site {
    /// Reads all files that the configuration names: users, aliases, certificate, key, the password for the
    /// smarthost. Gives the
    /// bad lines of the first two, which spoil nothing else. A file that cannot be read is an error:
    /// "facteur.toml:7: domain."mx.test".users: …".
    pub fn read(config: Config) -> Result<(Site, Vec<BadLine>), SiteError> {
        let (site, bad) = Site::read_names(config)?;
        let (pair, password) = (read_pair(&site.config)?, read_password(&site.config)?);
        Ok((Site { pair, password, ..site }, bad))
    }

    /// The same without certificate, key and password, which only who serves may read.
    pub fn read_names(config: Config) -> Result<(Site, Vec<BadLine>), SiteError> {
        let (mut tables, mut bad) = (Vec::new(), Vec::new());
        // Before they are read: what changes meanwhile is read once more.
        let stamps = stamps(&config);
        for domain in &config.domains {
            let mut own = Tables::default();
            if let Some(file) = &domain.users {
                let read = Users::read(file, &domain.name);
                let (users, lines) =
                    read.map_err(|error| named(&config, domain, "users", &error))?;
                own.users = Some(users);
                bad.extend(lines);
            }
            if let Some(file) = &domain.aliases {
                let read = Aliases::read(file, &domain.name);
                let (aliases, lines) =
                    read.map_err(|error| named(&config, domain, "aliases", &error))?;
                own.aliases = Some(aliases);
                bad.extend(lines);
            }
            tables.push(own);
        }
        let first_users = tables.iter().map(|_| Arc::default()).collect();
        let (connector, addresses, names) = (Arc::default(), addresses(&config), names(&config));
        let resolver = Arc::new(DnsResolver::new(&config.dns));
        Ok((
            Site {
                config,
                names,
                addresses,
                tables: Arc::new(tables),
                first_users,
                stamps,
                pair: None,
                connector,
                password: None,
                keys: None,
                resolver,
            },
            bad,
        ))
    }

    /// The same with the secrets of SRS.
    pub fn with_keys(self, keys: Arc<SrsKeys>) -> Site {
        Site { keys: Some(keys), ..self }
    }

    /// The same with another way to find names: a script, in a test.
    pub fn with_resolver(self, resolver: Arc<dyn Resolver>) -> Site {
        Site { resolver, ..self }
    }

    /// What DNS says.
    pub fn resolver(&self) -> &dyn Resolver {
        &*self.resolver
    }

    /// What outlives a reload: the secrets, and the resolver while the same servers are asked.
    fn followed_by(&self, site: Site) -> Site {
        let resolver = match self.config.dns == site.config.dns {
            true => self.resolver.clone(),
            false => site.resolver,
        };
        Site { keys: self.keys.clone(), resolver, ..site }
    }

    /// The sender under which mail that came for `via` goes on to another host: ours, so that SPF does
    /// not stand in its way; none: as it is.
    pub fn rewritten(&self, sender: &ReversePath, via: &Mailbox) -> Option<Mailbox> {
        let Host::Domain(alias) = &via.host else { return None };
        let is_ours = |domain: &Domain| self.domain(domain).is_some();
        self.keys.as_ref()?.rewrite(sender, alias, is_ours, today()).ok()
    }

    /// Whom a bounce to such a sender is for: itself when it is no such sender, or the reason why
    /// nobody.
    pub fn restored(&self, recipient: &Mailbox) -> Result<Option<Mailbox>, NoWayBack> {
        let is_here = self.local(&recipient.host).is_some();
        let Some(keys) = self.keys.as_ref().filter(|_| is_here) else { return Ok(None) };
        match keys.restore(recipient, today()) {
            Ok(sender) => Ok(Some(sender)),
            Err(NoWayBack::NotSrs) => Ok(None),
            Err(why) => Err(why),
        }
    }

    /// Users and aliases read anew; all else stays.
    pub fn read_tables(&self) -> Result<(Site, Vec<BadLine>), SiteError> {
        let (pair, connector, password) =
            (self.pair.clone(), self.connector.clone(), self.password.clone());
        let (site, bad) = Site::read_names(self.config.clone())?;
        Ok((Site { pair, connector, password, ..site }, bad))
    }

    /// How we show ourselves by TLS; none where there is no certificate.
    pub fn acceptor(&self) -> Option<&Acceptor> {
        self.pair.as_ref().map(|(acceptor, _)| acceptor)
    }

    /// What is wrong with our certificate, though it works, each with its words: "facteur.toml:9:
    /// tls.certificate: expired on …".
    pub fn flaws(&self, now: SystemTime) -> Vec<(Flaw, String)> {
        let hostname = self.config.hostname.as_str();
        let flaws = self.acceptor().map(|acceptor| acceptor.flaws(hostname, now));
        let place = self.config.place("tls.certificate");
        let told = |flaw: Flaw| {
            let words = format!("{place}: {flaw}");
            (flaw, words)
        };
        flaws.into_iter().flatten().map(told).collect()
    }

    /// What works, but hardly as it was meant: a line each, with its place. `serve` logs them too.
    pub fn doubts(&self) -> Vec<String> {
        let config = &self.config;
        let is_open = config.tls.is_none() && !config.listen.submission.is_empty();
        let words = match config.relay.networks.is_empty() {
            true => {
                "without [tls] no user can log in there, and without relay.networks nobody can send"
            }
            false => "without [tls] no user can log in there; it serves relay.networks alone",
        };
        let submission = is_open.then(|| format!("{}: {words}", config.place("listen.submission")));
        let outside = config.listen.metrics.iter().filter(|address| !address.ip().is_loopback());
        let metrics = outside.map(|address| {
            let place = config.place("listen.metrics");
            format!(
                "{place}: whoever reaches {address} can read who writes to whom, without a password"
            )
        });
        // The demo speaks to this machine only.
        let is_short = config.file.is_some() && !config.hostname.as_str().contains('.');
        let hostname = is_short.then(|| {
            format!(
                "{}: {} has no dot: many hosts refuse mail from a name that is not whole",
                config.place("hostname"),
                config.hostname
            )
        });
        let dns = dns::doubts(&config.dns.servers);
        hostname.into_iter().chain(submission).chain(metrics).chain(dns).collect()
    }

    /// How we speak TLS to other hosts.
    pub fn connector(&self) -> Arc<Connector> {
        self.connector.clone()
    }

    /// The password for a host: for the smarthost, by its name as the configuration has it.
    pub fn password_for(&self, host: &str, port: u16) -> Option<&Arc<Password>> {
        let smarthost = self.config.relay.smarthost.as_ref()?;
        self.password.as_ref().filter(|_| smarthost.host == host && smarthost.port == port)
    }

    /// Certificate and key read anew when they are not what was read, and have lain still. An error
    /// comes with the site that knows these files for bad: they need not be tried again.
    pub fn renewed(&self, now: SystemTime) -> Option<Result<Site, (SiteError, Site)>> {
        let (_, before) = self.pair.as_ref()?;
        let seen = self.config.tls.as_ref().map(pair_stamps)?;
        if seen == *before || seen.iter().any(|stamp| stamp.is_fresh(now, PAIR_SETTLE)) {
            return None;
        }
        let with = |pair| Site { pair, ..self.clone() };
        Some(match read_pair(&self.config) {
            Ok(pair) => Ok(with(pair)),
            Err(error) if error.is_passing => Err((error, self.clone())),
            Err(error) => {
                Err((error, with(self.acceptor().map(|acceptor| (acceptor.clone(), seen)))))
            }
        })
    }

    /// What the users and aliases files are now, when they are not what was read.
    pub fn changes(&self) -> Option<Stamps> {
        let now = stamps(&self.config);
        (now != self.stamps).then_some(Stamps(now))
    }

    /// Whether these are the files that were read.
    pub fn is_of(&self, stamps: &Stamps) -> bool {
        self.stamps == stamps.0
    }

    /// Whether one of these files is new within `settle`, and shorter than the one that was read
    /// where only that counts.
    pub fn is_settling(&self, seen: &Stamps, settle: Duration, only_shorter: bool) -> bool {
        let now = SystemTime::now();
        seen.0.iter().zip(&self.stamps).any(|(seen, before)| {
            let counts = seen.is_shorter_than(before) || !only_shorter;
            seen != before && counts && seen.is_fresh(now, settle)
        })
    }

    /// The same, taking these files for read: they cannot be, and need not be tried again.
    pub fn stay(&self, stamps: Stamps) -> Site {
        Site { stamps: stamps.0, ..self.clone() }
    }

    /// The same without users and aliases: what somebody holds who decides nothing by them now.
    fn bare(&self) -> Site {
        let tables = self.tables.iter().map(|_| Tables::default()).collect();
        Site { tables: Arc::new(tables), ..self.clone() }
    }

    /// A domain that is delivered here, with its users and aliases.
    pub fn domain(&self, name: &Domain) -> Option<Local<'_>> {
        self.domains().find(|local| local.config.name == *name)
    }

    /// The domain that is delivered here for what follows an `@`: that of this name, or the first for the
    /// names and addresses of this host.
    pub fn local(&self, host: &Host) -> Option<Local<'_>> {
        let named = match host {
            Host::Domain(name) => self.domain(name),
            Host::Literal(_) => None,
        };
        let first = self.names.first().filter(|_| self.is_this_host(host));
        named.or_else(|| self.domain(first?))
    }

    /// The domain of an address without one ([`crate::config::home`]).
    pub fn home(&self) -> &Domain {
        home(&self.config.hostname, self.names.iter())
    }

    /// Whether no domain at all is delivered here.
    pub fn has_no_domain(&self) -> bool {
        self.names.is_empty()
    }

    /// Some domains of this configuration are not looked into here, which are domains all the same.
    pub fn in_part_of(self, whole: &Config) -> Site {
        Site { names: names(whole), ..self }
    }

    /// Whether this is `localhost`, our host name or an address of this machine, and no domain of its own.
    pub fn is_this_host(&self, host: &Host) -> bool {
        match host {
            Host::Domain(name) => {
                let is_ours = *name == self.config.hostname || name.as_str() == LOCALHOST;
                is_ours && !self.names.contains(name)
            }
            Host::Literal(address) => self.addresses.contains(&address.to_canonical()),
        }
    }

    /// The same mailbox at the domain where its mail is; itself where that is not here.
    pub fn canonical(&self, mailbox: &Mailbox) -> Mailbox {
        let host = self.local(&mailbox.host).map(|local| Host::Domain(local.config.name.clone()));
        let host = host.unwrap_or_else(|| mailbox.host.clone());
        Mailbox { local: mailbox.local.clone(), host }
    }

    /// All of them, in the order they were written.
    pub fn domains(&self) -> impl Iterator<Item = Local<'_>> {
        let pairs = self.config.domains.iter().zip(&*self.tables).zip(&self.first_users);
        pairs.map(|((config, tables), first_user)| Local {
            config,
            users: tables.users.as_ref(),
            aliases: tables.aliases.as_ref(),
            first_user,
        })
    }
}

/// The site that holds now. Locked to clone or swap an `Arc`, never while a file is read.
pub struct Current {
    site: RwLock<Held>,
    /// When certificate and key were looked at last.
    looked: Mutex<Instant>,
    /// A session reads files that have changed.
    is_reading: AtomicBool,
}

/// The right to read files for all sessions, until it is dropped.
pub struct TurnToRead<'a>(&'a AtomicBool);

impl Drop for TurnToRead<'_> {
    fn drop(&mut self) {
        self.0.store(false, SeqCst);
    }
}

/// A site, and the same one without its tables.
struct Held {
    site: Arc<Site>,
    bare: Arc<Site>,
}

impl Held {
    fn new(site: Site) -> Held {
        Held { bare: Arc::new(site.bare()), site: Arc::new(site) }
    }
}

impl Current {
    /// What is put in its place later has the same secrets.
    pub fn new(site: Site) -> Arc<Current> {
        let (site, looked) = (RwLock::new(Held::new(site)), Mutex::new(Instant::now()));
        Arc::new(Current { site, looked, is_reading: AtomicBool::new(false) })
    }

    pub fn get(&self) -> Arc<Site> {
        self.site.read().unwrap_or_else(PoisonError::into_inner).site.clone()
    }

    /// The same without users and aliases, for who waits: old tables would stay in memory with each
    /// session that says nothing for some minutes.
    pub fn bare(&self) -> Arc<Site> {
        self.site.read().unwrap_or_else(PoisonError::into_inner).bare.clone()
    }

    /// Whether it is time to look at certificate and key, which then counts as done: of all who ask in
    /// [`PAIR_LOOK`] one hears yes.
    pub fn take_turn_at_the_pair(&self, now: Instant) -> bool {
        let mut looked = locked(&self.looked);
        let is_time = now.saturating_duration_since(*looked) >= PAIR_LOOK;
        if is_time {
            *looked = now;
        }
        is_time
    }

    /// None while somebody else has it.
    pub fn turn_to_read(&self) -> Option<TurnToRead<'_>> {
        (!self.is_reading.swap(true, SeqCst)).then_some(TurnToRead(&self.is_reading))
    }

    /// A reload, which has read all anew; see [`Site::followed_by`].
    pub fn replace(&self, site: Site) {
        let mut current = self.site.write().unwrap_or_else(PoisonError::into_inner);
        *current = Held::new(current.site.followed_by(site));
    }

    /// Replaces one site by another unless a reload was faster; gives the one that holds.
    pub fn exchange(&self, old: &Arc<Site>, new: Site) -> Arc<Site> {
        let mut current = self.site.write().unwrap_or_else(PoisonError::into_inner);
        // Whoever came meanwhile has read later than we have.
        if Arc::ptr_eq(&current.site, old) {
            *current = Held::new(current.site.followed_by(new));
        }
        current.site.clone()
    }
}

/// What all users and aliases files are at one moment.
#[derive(Debug, PartialEq, Eq)]
pub struct Stamps(Vec<FileStamp>);

/// Why a site could not be read.
#[derive(Debug)]
pub struct SiteError {
    what: String,
    /// It may go well the next time, with the same files: descriptors or memory were short.
    pub is_passing: bool,
}

impl fmt::Display for SiteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// One domain that is delivered here.
#[derive(Clone, Copy, Debug)]
pub struct Local<'a> {
    pub config: &'a DomainConfig,
    pub users: Option<&'a Users>,
    pub aliases: Option<&'a Aliases>,
    pub first_user: &'a FirstUser,
}

/// The first user that has a Maildir, remembered for a minute: finding it means to list all.
#[derive(Debug, Default)]
pub struct FirstUser(Mutex<Option<(Instant, String)>>);

impl FirstUser {
    /// What is remembered, or else what `find` finds. No lock is held while it looks.
    pub fn get_or_find(
        &self,
        find: impl FnOnce() -> Result<Option<String>, StoreError>,
    ) -> Result<Option<String>, StoreError> {
        let remembered = locked(&self.0).clone();
        if let Some((when, user)) = remembered
            && when.elapsed() < FIRST_USER_AGE
        {
            return Ok(Some(user));
        }
        let found = find()?;
        let remember = found.clone().map(|user| (Instant::now(), user));
        *locked(&self.0) = remember;
        Ok(found)
    }
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

fn names(config: &Config) -> Vec<Domain> {
    config.domains.iter().map(|domain| domain.name.clone()).collect()
}

/// A name of every host.
const LOCALHOST: &str = "localhost";

/// Loopback, the interfaces, and what the configuration names. What the system does not tell is told in
/// the log by [`crate::route::next_hop`].
fn addresses(config: &Config) -> Vec<IpAddr> {
    let listen = &config.listen;
    let listens = [&listen.smtp, &listen.submission, &listen.submissions].into_iter().flatten();
    let listens = listens.map(|address| address.ip().to_canonical());
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let found = interfaces::addresses().unwrap_or_default();
    let all = listens.filter(|address| !address.is_unspecified()).chain(loopback).chain(found);
    all.map(|address| address.to_canonical()).collect()
}

/// Days since 1970-01-01 UTC, as SRS counts.
fn today() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.as_secs() / (24 * 3600)
}

/// An error about the file of a key.
fn named(config: &Config, domain: &DomainConfig, key: &str, error: &StoreError) -> SiteError {
    unreadable(config, &format!("{}.{key}", domain.key), error)
}

fn unreadable(config: &Config, key: &str, error: &StoreError) -> SiteError {
    let place = config.place(key);
    let short = [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM, Errno::EINTR, Errno::EIO];
    let is_passing = short.iter().any(|e| error.source.raw_os_error() == Some(*e as i32));
    let what = format!("{place}: expected a file that can be read: {error}");
    SiteError { what, is_passing }
}

/// None without `relay.smarthost_auth`. The password is the first line of its file.
fn read_password(config: &Config) -> Result<Option<Arc<Password>>, SiteError> {
    let Some(SmarthostAuth { user, password_file }) = &config.relay.smarthost_auth else {
        return Ok(None);
    };
    let key = "relay.smarthost_auth.password_file";
    let octets = read(password_file).map_err(|error| unreadable(config, key, &error))?;
    let line = octets.split(|octet| *octet == b'\n').next().unwrap_or_default();
    let password = str::from_utf8(line).unwrap_or_default().trim_end_matches('\r');
    let is_good = (1..=PASSWORD_MAX).contains(&password.len());
    if !is_good || password.chars().any(char::is_control) {
        let (place, file) = (config.place(key), password_file.display());
        let what = format!("{place}: expected a password in the first line of {file}");
        return Err(SiteError { what, is_passing: false });
    }
    let words = format!("as {user}, by the password in {}", password_file.display());
    let credentials = Credentials { user: user.clone(), password: password.to_owned() };
    Ok(Some(Arc::new(Password { credentials, words })))
}

/// None without `[tls]`.
fn read_pair(config: &Config) -> Result<Option<(Acceptor, Pair)>, SiteError> {
    let Some(tls) = &config.tls else { return Ok(None) };
    // Before they are read: what changes meanwhile is read once more.
    let stamps = pair_stamps(tls);
    let octets = |file, key| read(file).map_err(|error| unreadable(config, key, &error));
    let certificate = octets(&tls.certificate, "tls.certificate")?;
    let key = octets(&tls.key, "tls.key")?;
    let acceptor = Acceptor::new(&certificate, &key).map_err(|BadPair { half, what }| {
        let (key, file) = match half {
            Half::Certificate => ("tls.certificate", &tls.certificate),
            Half::Key => ("tls.key", &tls.key),
        };
        let what = format!("{}: {}: {what}", config.place(key), file.display());
        SiteError { what, is_passing: false }
    })?;
    Ok(Some((acceptor, stamps)))
}

fn pair_stamps(tls: &Tls) -> Pair {
    [FileStamp::of(&tls.certificate), FileStamp::of(&tls.key)]
}

fn stamps(config: &Config) -> Vec<FileStamp> {
    let files = config.domains.iter().flat_map(|domain| [&domain.users, &domain.aliases]);
    files.flatten().map(|file| FileStamp::of(file)).collect()
}
