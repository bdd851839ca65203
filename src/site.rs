//! The configuration and the files it names, as one value that never changes. A reload makes a new [`Site`];
//! for each transaction a session takes the current one.

pub mod hold;

use crate::config::{
    BackupDomain, Config, Dmarc, DomainConfig, MilterService, NameServer, SmarthostAuth, Spf, Tls,
    home,
};
use crate::filters::{FilterChain, Filters};
use crate::limits::{FIRST_USER_AGE, PAIR_LOOK, PAIR_SETTLE, PASSWORD_MAX};
use crate::mail::address::{Domain, Host, Mailbox, ReversePath};
use crate::mail::srs::{NoWayBack, SrsKeys};
use crate::mta_sts::{MtaSts, StsFound};
use crate::net::dns::{self, DnsResolver, Resolver};
use crate::net::interfaces;
use crate::net::tls::{Acceptor, BadPair, Connector, Flaw, Half};
use crate::signing::Signing;
use crate::smtp::auth::Credentials;
use crate::store::aliases::Aliases;
use crate::store::disk::{RealDisk, StoreError};
use crate::store::locked;
use crate::store::recipients::KnownRecipients;
use crate::store::table::{BadLine, FileStamp, read};
use crate::store::users::Users;
use hold::CertificateHold;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

/// Configuration, users and aliases.
#[derive(Clone, Debug)]
pub struct Site {
    pub config: Config,
    /// The names of all domains that are delivered here, in their order; those of alias domains last.
    names: Vec<Domain>,
    /// The addresses of this machine when the site was read, and those it listens on; mapped ones as IPv4.
    addresses: Vec<IpAddr>,
    /// Users and aliases of each domain of the configuration, in its order. Shared, because they may be large,
    /// and a site that differs in something else has the same ones.
    tables: Arc<Vec<Tables>>,
    /// Who exists at each domain of `relay.backup`, in its order; none: everybody.
    backups: Arc<Vec<Option<KnownRecipients>>>,
    /// The first user of each domain, who gets the postmaster's mail where the configuration names nobody.
    first_users: Vec<Arc<FirstUser>>,
    /// The stamps of users and aliases files, and of those of `relay.backup`, when they were read.
    stamps: Vec<FileStamp>,
    /// The secrets of SRS, which outlive a reload; none except in a server, in whose spool they lie.
    keys: Option<Arc<SrsKeys>>,
    /// Certificate and key for the TLS of clients, and the stamps of the two files; none without `[tls]`.
    pair: Option<(Acceptor, Pair)>,
    /// TLS to other hosts, shared by all attempts because it remembers sessions.
    connector: Arc<Connector>,
    /// The password for the smarthost; none without `relay.smarthost_auth`.
    password: Option<Arc<Password>>,
    /// Who signs with what; the same for all sites of a server.
    signing: Arc<Signing>,
    /// Which MTA-STS policies hold; the same for all sites of a server.
    sts: Arc<MtaSts>,
    /// DNS, shared by all threads. A reload keeps it, with its cache, while `[dns]` stays as it is.
    resolver: Arc<dyn Resolver>,
    /// Filters; none where none are configured. A reload keeps them, with what is known of them, while they stay as
    /// they are.
    filters: Option<Arc<Filters>>,
}

/// How we log in at the smarthost.
#[derive(Debug, PartialEq, Eq)]
pub struct Password {
    pub credentials: Credentials,
    /// For people: as whom we log in, and where the password stands.
    pub words: String,
}

/// The stamps of certificate and key.
type Pair = [FileStamp; 2];

/// The files of one domain; none where none is named.
#[derive(Clone, Debug, Default)]
struct Tables {
    users: Option<Users>,
    aliases: Option<Aliases>,
}

impl Site {
    /// Reads all files that the configuration names: users, aliases, certificate, key, the password for the
    /// smarthost. Gives the bad lines of users and aliases, which spoil nothing else. A file that cannot be read
    /// is an error: "facteur.toml:7: domain."mx.test".users: …".
    pub fn read(config: Config) -> Result<(Site, Vec<BadLine>), SiteError> {
        let (site, bad) = Site::read_names(config)?;
        let (pair, password) = (read_pair(&site.config)?, read_password(&site.config)?);
        Ok((Site { pair, password, ..site }, bad))
    }

    /// Reads only users and aliases: certificate, key and password may be readable for the server alone.
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
        let mut backups = Vec::new();
        for backup in &config.relay.backup {
            let read = backup.recipients.as_ref().map(|file| {
                let read = KnownRecipients::read(file, &backup.name);
                read.map_err(|error| unreadable(&config, &backup.key, &error))
            });
            let (recipients, lines) = read.transpose()?.unzip();
            backups.push(recipients);
            bad.extend(lines.into_iter().flatten());
        }
        let first_users = tables.iter().map(|_| Arc::default()).collect();
        let (connector, addresses, names) = (Arc::default(), addresses(&config), names(&config));
        let signing = Arc::new(Signing::new(&config));
        let sts = Arc::new(MtaSts::new(Arc::new(RealDisk), &config.spool));
        let resolver: Arc<dyn Resolver> = Arc::new(DnsResolver::new(&config.dns));
        let filters = filters(&config, &resolver);
        Ok((
            Site {
                config,
                names,
                addresses,
                tables: Arc::new(tables),
                backups: Arc::new(backups),
                first_users,
                stamps,
                pair: None,
                connector,
                password: None,
                keys: None,
                signing,
                sts,
                resolver,
                filters,
            },
            bad,
        ))
    }

    /// The site with the secrets of SRS.
    pub fn with_keys(self, keys: Arc<SrsKeys>) -> Site {
        Site { keys: Some(keys), ..self }
    }

    /// The site with another resolver: a script, in a test.
    pub fn with_resolver(self, resolver: Arc<dyn Resolver>) -> Site {
        let filters = filters(&self.config, &resolver);
        Site { resolver, filters, ..self }
    }

    /// The site of a program that asks no filters.
    pub fn without_filters(self) -> Site {
        Site { filters: None, ..self }
    }

    /// The filters of mail that comes this way, if there are any.
    pub fn filters(&self, service: MilterService) -> Option<FilterChain> {
        self.filters.as_ref()?.open(service)
    }

    /// Each filter by its name, and whether it has failed twice and has not answered since.
    pub fn silent_filters(&self) -> Vec<(String, bool)> {
        let all = self.filters.iter().flat_map(|filters| filters.silent());
        all.map(|(name, is_silent)| (name.to_owned(), is_silent)).collect()
    }

    /// The folder of a Maildir for what is judged to be junk.
    pub fn junk(&self) -> &str {
        &self.config.trust.junk
    }

    /// The resolver for all questions to DNS.
    pub fn resolver(&self) -> &dyn Resolver {
        &*self.resolver
    }

    /// The same, for whoever keeps it.
    pub fn shared_resolver(&self) -> Arc<dyn Resolver> {
        self.resolver.clone()
    }

    /// Who signs with what.
    pub fn signing(&self) -> &Arc<Signing> {
        &self.signing
    }

    /// Lets the keys of this site be watched over: in a server, once privileges are dropped.
    pub fn watch_keys(&self) -> io::Result<()> {
        self.signing.start(self.resolver.clone())
    }

    /// After a reload: lets DNS be asked for all keys, by the resolver of this site.
    pub fn ask_for_keys(&self) {
        self.signing.ask_again(self.resolver.clone());
    }

    /// What MTA-STS says for mail to a domain; none where the configuration has switched that off. Asks DNS, and
    /// may fetch a policy ([`MtaSts::find`]).
    pub fn sts(&self, domain: &Domain) -> Option<StsFound> {
        self.config.relay.mta_sts.then(|| self.sts.find(domain, &self.resolver))
    }

    /// Whether an MTA-STS policy of a domain is known from before, and holds. Asks nobody.
    pub fn knows_policy(&self, domain: &Domain) -> bool {
        self.config.relay.mta_sts && self.sts.knows(domain)
    }

    /// Lets MTA-STS policies be written down and kept fresh, or ends that where the configuration has switched it
    /// off: in a server, once privileges are dropped, and after each reload.
    pub fn watch_policies(&self) {
        self.sts.serve(&self.resolver, self.config.relay.mta_sts);
    }

    /// The next site with what outlives a reload: the secrets, and the resolver while `[dns]` is the same.
    fn followed_by(&self, site: Site) -> Site {
        let resolver = match self.config.dns == site.config.dns {
            true => self.resolver.clone(),
            false => site.resolver,
        };
        let (keys, signing, sts) = (self.keys.clone(), self.signing.clone(), self.sts.clone());
        let (old, new) = (&self.config, &site.config);
        let are_same =
            (&old.dns, &old.milters, &old.hostname) == (&new.dns, &new.milters, &new.hostname);
        let filters = if are_same { self.filters.clone() } else { site.filters };
        Site { keys, signing, sts, resolver, filters, ..site }
    }

    /// The sender at a domain of ours under which the alias `via` sends mail on to another host, so that SPF does
    /// not forbid it; none where the sender stays as it is.
    pub fn rewritten(&self, sender: &ReversePath, via: &Mailbox) -> Option<Mailbox> {
        let Host::Domain(alias) = &via.host else { return None };
        let is_ours = |domain: &Domain| self.domain(domain).is_some();
        self.keys.as_ref()?.rewrite(sender, alias, is_ours, today()).ok()
    }

    /// The original sender of an address that [`Site::rewritten`] made; none where it is no such address. The
    /// error says why the address is not valid.
    pub fn restored(&self, recipient: &Mailbox) -> Result<Option<Mailbox>, NoWayBack> {
        let is_here = self.local(&recipient.host).is_some();
        let Some(keys) = self.keys.as_ref().filter(|_| is_here) else { return Ok(None) };
        match keys.restore(recipient, today()) {
            Ok(sender) => Ok(Some(sender)),
            Err(NoWayBack::NotSrs) => Ok(None),
            Err(why) => Err(why),
        }
    }

    /// The site with users and aliases read anew.
    pub fn read_tables(&self) -> Result<(Site, Vec<BadLine>), SiteError> {
        let (pair, connector, password) =
            (self.pair.clone(), self.connector.clone(), self.password.clone());
        let signing = self.signing.clone();
        let (site, bad) = Site::read_names(self.config.clone())?;
        Ok((Site { pair, connector, password, signing, ..site }, bad))
    }

    /// TLS for clients; none where there is no certificate.
    pub fn acceptor(&self) -> Option<&Acceptor> {
        self.pair.as_ref().map(|(acceptor, _)| acceptor)
    }

    /// What is wrong with our certificate, each flaw with words for the log: "facteur.toml:9: tls.certificate:
    /// expired on …".
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

    /// Settings that work, but hardly as they were meant: a line each, with its place. `serve` logs them too.
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
        let anybody = config.listen.proxy.iter().filter(|network| network.bits == 0);
        let proxy = anybody.map(|network| {
            let place = config.place("listen.proxy");
            format!("{place}: whoever is in {network} may say that he is any client")
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
        let dns = dns::doubts(&config.dns.servers).into_iter().chain(self.doubts_of_dnssec());
        let is_half = config.trust.spf == Spf::Off || !config.trust.dkim;
        let dmarc = match config.trust.dmarc {
            Dmarc::Junk | Dmarc::Reject if is_half => Some(
                "with spf or dkim off it only tells: what fails might have passed by the other",
            ),
            Dmarc::Reject => Some(
                "p=reject alone is no reason to refuse mail, which may come by a list \
                 (RFC 9989, 7.4); \"junk\" takes it",
            ),
            Dmarc::Off | Dmarc::Mark | Dmarc::Junk => None,
        };
        let dmarc = dmarc.map(|words| format!("{}: {words}", config.place("trust.dmarc")));
        let is_idle = |domain: &&DomainConfig| {
            let is_asked = domain.lmtp.is_some() && domain.users.is_none() && !domain.any_user;
            is_asked && domain.catch_all.is_some()
        };
        let catch_all = config.domains.iter().filter(is_idle).map(|domain| {
            let place = config.place(&format!("{}.catch_all", domain.key));
            format!("{place}: it gets nothing: only the server of lmtp knows who is no user there")
        });
        let listen = submission.into_iter().chain(metrics).chain(proxy);
        hostname.into_iter().chain(listen).chain(dns).chain(dmarc).chain(catch_all).collect()
    }

    /// What keeps DNSSEC from being believed, or makes it a bad idea.
    fn doubts_of_dnssec(&self) -> Vec<String> {
        let Config { dns, relay, .. } = &self.config;
        let is_written = self.config.lines.contains_key("relay.dane");
        if !dns.trust_ad {
            let place = self.config.place("relay.dane");
            let idle = format!(
                "{place}: no TLSA record holds while dns.trust_ad is false: set that where the name \
                 servers are on this machine and validate DNSSEC"
            );
            return Vec::from_iter((relay.dane && is_written).then_some(idle));
        }
        let place = self.config.place("dns.trust_ad");
        let is_away = |server: &NameServer| {
            let ip = server.address.ip().to_canonical();
            !ip.is_loopback() && !self.addresses.contains(&ip)
        };
        let away = dns::servers(&dns.servers).into_iter().filter(is_away);
        let told = away.map(|server| {
            format!(
                "{place}: the name server {server} is not on this machine: whoever is on the way there can \
                 say that forged answers are validated"
            )
        });
        told.collect()
    }

    /// TLS to other hosts.
    pub fn connector(&self) -> Arc<Connector> {
        self.connector.clone()
    }

    /// The password for a host; only the smarthost has one, under its name in the configuration.
    pub fn password_for(&self, host: &str, port: u16) -> Option<&Arc<Password>> {
        let smarthost = self.config.relay.smarthost.as_ref()?;
        self.password.as_ref().filter(|_| smarthost.host == host && smarthost.port == port)
    }

    /// The site with certificate and key read anew, when the files have changed and then lain still. An error
    /// comes with a site that remembers these files, so that they are not tried again.
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

    /// The site with certificate and key of another, and the stamps of their files.
    fn with_pair_of(self, other: &Site) -> Site {
        Site { pair: other.pair.clone(), ..self }
    }

    /// Whether certificate and key are those of another site, from the same files.
    fn has_pair_of(&self, other: &Site) -> bool {
        let stamps = |site: &Site| site.pair.as_ref().map(|(_, stamps)| *stamps);
        stamps(self) == stamps(other)
    }

    /// The stamps of users and aliases files; none when they are those that were read.
    pub fn changes(&self) -> Option<Stamps> {
        let now = stamps(&self.config);
        (now != self.stamps).then_some(Stamps(now))
    }

    /// Whether these are the files that were read.
    pub fn is_of(&self, stamps: &Stamps) -> bool {
        self.stamps == stamps.0
    }

    /// Whether one of these files was changed within `settle`; with `only_shorter` only where it has become
    /// shorter than the file that was read.
    pub fn is_settling(&self, seen: &Stamps, settle: Duration, only_shorter: bool) -> bool {
        let now = SystemTime::now();
        seen.0.iter().zip(&self.stamps).any(|(seen, before)| {
            let counts = seen.is_shorter_than(before) || !only_shorter;
            seen != before && counts && seen.is_fresh(now, settle)
        })
    }

    /// The site with these stamps for its files: they cannot be read, and need not be tried again.
    pub fn stay(&self, stamps: Stamps) -> Site {
        Site { stamps: stamps.0, ..self.clone() }
    }

    /// The site without users and aliases, for a session that waits.
    fn bare(&self) -> Site {
        let tables = self.tables.iter().map(|_| Tables::default()).collect();
        Site { tables: Arc::new(tables), backups: Arc::default(), ..self.clone() }
    }

    /// A domain that is delivered here, with its users and aliases; for an alias domain its target.
    pub fn domain(&self, name: &Domain) -> Option<Local<'_>> {
        let name = self.config.target(name);
        self.domains().find(|local| local.config.name == *name)
    }

    /// The domain that is delivered here for what follows an `@`: that of this name or its target, or the
    /// first for the names and addresses of this host.
    pub fn local(&self, host: &Host) -> Option<Local<'_>> {
        let named = match host {
            Host::Domain(name) => self.domain(name),
            Host::Literal(_) => None,
        };
        let first = self.names.first().filter(|_| self.is_this_host(host));
        named.or_else(|| self.domain(first?))
    }

    /// Whether a mailbox exists at a domain for which this host is a backup MX, as far as is known here; none
    /// where it is at no such domain.
    pub fn has_at_backup(&self, mailbox: &Mailbox) -> Option<bool> {
        let Host::Domain(domain) = &mailbox.host else { return None };
        let mut pairs = self.config.relay.backup.iter().zip(&*self.backups);
        let (_, recipients) = pairs.find(|(backup, _)| backup.name == *domain)?;
        Some(recipients.as_ref().is_none_or(|recipients| recipients.has(&mailbox.local)))
    }

    /// The domains of `relay.backup`, each with how many recipients are known there; none: all are taken.
    pub fn backups(&self) -> impl Iterator<Item = (&BackupDomain, Option<usize>)> {
        let counts = self.backups.iter().map(|known| known.as_ref().map(KnownRecipients::count));
        self.config.relay.backup.iter().zip(counts)
    }

    /// The domain of an address without one ([`crate::config::home`]).
    pub fn home(&self) -> &Domain {
        home(&self.config.hostname, self.names.iter())
    }

    /// Whether no domain at all is delivered here.
    pub fn has_no_domain(&self) -> bool {
        self.names.is_empty()
    }

    /// The site with the names and the keys of all domains of `whole`, of which this configuration has only some.
    pub fn in_part_of(self, whole: &Config) -> Site {
        Site { names: names(whole), signing: Arc::new(Signing::new(whole)), ..self }
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

    /// The mailbox at the domain where its mail is delivered; unchanged where that is not here.
    pub fn canonical(&self, mailbox: &Mailbox) -> Mailbox {
        let host = self.local(&mailbox.host).map(|local| Host::Domain(local.config.name.clone()));
        let host = host.unwrap_or_else(|| mailbox.host.clone());
        Mailbox { local: mailbox.local.clone(), host }
    }

    /// All domains that are delivered here, in the order of the configuration.
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

/// The current site. Locked to clone or swap an `Arc`, never while a file is read.
pub struct Current {
    site: RwLock<Held>,
    /// When certificate and key were looked at last.
    looked: Mutex<Instant>,
    /// A new pair that waits until DNS is ready for it.
    hold: CertificateHold,
    /// A session is reading files that have changed.
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
    /// The first site; sites that replace it keep its secrets.
    pub fn new(site: Site) -> Arc<Current> {
        let (site, looked) = (RwLock::new(Held::new(site)), Mutex::new(Instant::now()));
        let (hold, is_reading) = (CertificateHold::default(), AtomicBool::new(false));
        Arc::new(Current { site, looked, hold, is_reading })
    }

    pub fn get(&self) -> Arc<Site> {
        self.site.read().unwrap_or_else(PoisonError::into_inner).site.clone()
    }

    /// The current site without users and aliases, for sessions that wait: else old tables would stay in memory
    /// as long as a session says nothing.
    pub fn bare(&self) -> Arc<Site> {
        self.site.read().unwrap_or_else(PoisonError::into_inner).bare.clone()
    }

    /// True for the one caller in [`PAIR_LOOK`] that is to look at certificate and key.
    pub fn take_turn_at_the_pair(&self, now: Instant) -> bool {
        let mut looked = locked(&self.looked);
        let is_time = now.saturating_duration_since(*looked) >= PAIR_LOOK;
        if is_time {
            *looked = now;
        }
        is_time
    }

    /// The right to read files; none while another session has it.
    pub fn turn_to_read(&self) -> Option<TurnToRead<'_>> {
        (!self.is_reading.swap(true, SeqCst)).then_some(TurnToRead(&self.is_reading))
    }

    /// A reload, which has read all anew; see [`Site::followed_by`].
    pub fn replace(&self, site: Site) {
        let mut current = self.site.write().unwrap_or_else(PoisonError::into_inner);
        *current = Held::new(current.site.followed_by(site));
    }

    /// Replaces one site by another unless a reload was faster; gives the current one.
    pub fn exchange(&self, old: &Arc<Site>, new: Site) -> Arc<Site> {
        let mut current = self.site.write().unwrap_or_else(PoisonError::into_inner);
        // A site that came meanwhile was read later than ours.
        if Arc::ptr_eq(&current.site, old) {
            *current = Held::new(current.site.followed_by(new));
        }
        current.site.clone()
    }
}

/// The stamps of all users and aliases files at one moment.
#[derive(Debug, PartialEq, Eq)]
pub struct Stamps(Vec<FileStamp>);

/// Why a site could not be read.
#[derive(Debug)]
pub struct SiteError {
    what: String,
    /// The same files may be readable the next time: descriptors or memory were short.
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

/// The first user that has a Maildir, remembered for a minute, because finding it takes a list of all Maildirs.
#[derive(Debug, Default)]
pub struct FirstUser(Mutex<Option<(Instant, String)>>);

impl FirstUser {
    /// The remembered user, or else the result of `find`. No lock is held meanwhile.
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
        // The user last, so that braces in a user's name are not replaced.
        self.config.maildir.replace("{domain}", domain).replace("{user}", user).into()
    }
}

/// The filters of a configuration; none where it names none.
fn filters(config: &Config, resolver: &Arc<dyn Resolver>) -> Option<Arc<Filters>> {
    let are_there = !config.milters.is_empty();
    are_there.then(|| Filters::new(&config.milters, config.hostname.as_str(), resolver.clone()))
}

fn names(config: &Config) -> Vec<Domain> {
    config.names().cloned().collect()
}

/// A name of every host.
const LOCALHOST: &str = "localhost";

/// The addresses of loopback, of the interfaces, and those that the configuration names. Where the system does
/// not tell them, [`crate::route::next_hop`] says so in the log.
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
    let is_passing = error.is_passing();
    let what = format!("{place}: expected a file that can be read: {error}");
    SiteError { what, is_passing }
}

/// The password for the smarthost, the first line of its file; none without `relay.smarthost_auth`.
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

/// Certificate and key; none without `[tls]`.
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
    let backups = config.relay.backup.iter().filter_map(|backup| backup.recipients.as_ref());
    files.flatten().chain(backups).map(|file| FileStamp::of(file)).collect()
}
