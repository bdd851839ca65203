//! Every key of the contract: where it is read, its default, and its bounds. One function for each section,
//! in the order of the contract.
//!
//! Asks the system only for its host name, and opens no file that a key names.

use super::milter::milters;
use super::reader::{KeyValue, Read, Section};
use super::{
    AliasDomain, BackupDomain, Blocklist, Config, Dmarc, Dns, DomainConfig, Greylist, HostPort,
    Limit, Listen, LmtpServer, Prefer, Relay, SignConfig, SmarthostAuth, Spf, Timeout, Tls, Trace,
    Trust, value,
};
use crate::limits::gates::BLOCKLISTS_MAX;
use crate::limits::{RECIPIENTS_MIN, TRACE_SIZE_MIN, UNIX_PATH_MAX};
use crate::mail::address::Domain;
use crate::mail::proof::blocklist::{CodeRange, question};
use crate::mail::proof::name::Name;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// The largest value of any count; a larger one is likely a typing error.
const COUNT_MAX: usize = 1_000_000;

/// Most threads of the relay pool, and connections to one next hop.
const THREADS_MAX: usize = 1000;

/// Most waits in the list of retries.
const RETRY_MAX: usize = 1000;

/// Least that SIZE may announce, in octets: every server takes 64 KiB (RFC 5321 §4.5.3.1.7).
const MESSAGE_SIZE_MIN: u64 = 64 * 1024;

/// Longest duration, so that adding it to a clock is safe.
const DURATION_MAX: Duration = Duration::from_hours(3650 * 24);

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);
const MIB: u64 = 1024 * 1024;

/// Waits between attempts, the last one repeated. RFC 5321 §4.5.4.1 asks for 30 minutes in general and
/// allows more refined lists; ours begins sooner, because most failures pass soon, and a host that refuses
/// only first attempts (greylisting) asks for minutes.
const RETRY: [Duration; 5] = [
    Duration::from_mins(5),
    Duration::from_mins(15),
    Duration::from_mins(30),
    Duration::from_hours(1),
    Duration::from_hours(4),
];

/// This machine, on which whatever handles mail before us runs.
const GATEWAYS: [&str; 2] = ["127.0.0.0/8", "::1/128"];

/// What SpamAssassin, rspamd and others put on top of junk.
const JUNK_FIELDS: [&str; 2] = ["X-Spam: Yes", "X-Spam-Flag: YES"];

/// Reads the whole file. Fails with its first error, because others may only follow from it.
pub fn config(file: &mut Section) -> Read<Config> {
    let (domains, alias_domains) = file.section("domain", domains)?;
    let config = Config {
        file: Some(file.file().to_owned()),
        lines: Default::default(),
        hostname: hostname(file)?,
        spool: file.path("spool")?.unwrap_or_else(|| file.path_of("facteur-data/spool")),
        run_as: file.parse("run_as", value::USER, value::user)?,
        listen: match file.take("listen") {
            Some(item) => item.table(listen)?,
            // IPv6's any address takes IPv4 as well; a kernel without IPv6 is seen at binding.
            None => Listen { smtp: vec![SocketAddr::from(([0; 8], 25))], ..Listen::default() },
        },
        tls: file.take("tls").map(|item| item.table(tls)).transpose()?,
        domains,
        alias_domains,
        sign: file.section("sign", sign)?,
        relay: file.section("relay", relay)?,
        dns: file.section("dns", dns)?,
        limit: file.section("limit", limit)?,
        trust: file.section("trust", trust)?,
        greylist: file.take("greylist").map(|item| item.table(greylist)).transpose()?,
        milters: milters(file.list("milter")?)?,
        trace: file.section("trace", trace)?,
        timeout: file.section("timeout", timeout)?,
    };
    if let Some(backup) =
        config.relay.backup.iter().find(|it| config.names().any(|n| *n == it.name))
    {
        let what = format!("mail for {} is delivered here, by its own table", backup.name);
        return Err(file.error_at(&backup.key, &what));
    }
    let is_here = |sign: &&SignConfig| config.names().any(|name| *name == sign.name);
    if let Some(SignConfig { name, key, .. }) = config.sign.iter().find(is_here) {
        let words = format!("{name} is delivered here; dkim belongs into its [domain.\"{name}\"]");
        return Err(file.error_at(key, &words));
    }
    // Without domains and clients that may send, every RCPT would be refused.
    let relays = !config.relay.networks.is_empty()
        || !config.relay.backup.is_empty()
        || !config.listen.submission.is_empty()
        || !config.listen.submissions.is_empty();
    match config.domains.is_empty() && !relays {
        // A misspelt section looks like a missing one; an error with its name says more.
        true => Err(file.unknown().unwrap_or_else(|| {
            file.error(
                "nothing to do: no [domain.\"...\"], no relay.networks, no listen.submission",
            )
        })),
        false => match config.needs_tls() {
            true => Err(file.error_at(
                "listen.submissions",
                "it is TLS from the first byte, and needs a [tls]",
            )),
            false => Ok(config),
        },
    }
}

/// The system's name may be no domain, or a bare word that other hosts refuse in EHLO (RFC 5321
/// §2.3.5); only the first is found here.
fn hostname(file: &mut Section) -> Read<Domain> {
    if let Some(name) = file.parse("hostname", value::DOMAIN, value::domain)? {
        return Ok(name);
    }
    let name = nix::unistd::gethostname().unwrap_or_default();
    let name = name.to_string_lossy();
    value::domain(&name).ok_or_else(|| {
        file.error(&format!("hostname: the system's host name {name:?} is no domain; set hostname"))
    })
}

/// Each address only once over all services, because no second socket could be bound to it. `metrics` alone
/// is no server for mail.
fn listen(table: &mut Section) -> Read<Listen> {
    let mut seen = HashSet::new();
    let mut service = |item: KeyValue| {
        let address = item.parse(value::SOCKET, value::socket)?;
        // Port 0 is another one each time.
        match address.port() > 0 && !seen.insert(address) {
            true => Err(item.error(&format!("{address} is there twice"))),
            false => Ok(address),
        }
    };
    let mut read = |key| table.list(key)?.into_iter().map(&mut service).collect::<Read<Vec<_>>>();
    let listen = Listen {
        smtp: read("smtp")?,
        submission: read("submission")?,
        submissions: read("submissions")?,
        metrics: read("metrics")?,
        proxy: table.list("proxy")?.iter().map(network).collect::<Read<_>>()?,
    };
    let Listen { smtp, submission, submissions, .. } = &listen;
    match smtp.is_empty() && submission.is_empty() && submissions.is_empty() {
        true => Err(table.error("nothing to do: no address to listen on for mail")),
        false => Ok(listen),
    }
}

/// Both files or none; whether they fit each other is not checked here.
fn tls(table: &mut Section) -> Read<Tls> {
    Ok(Tls {
        certificate: table.require("certificate")?.path()?,
        key: table.require("key")?.path()?,
    })
}

/// The keys are the names of the domains, in the order of the file: the first one has the postmaster for
/// mail without a domain. Two spellings of one domain are refused.
fn domains(table: &mut Section) -> Read<(Vec<DomainConfig>, Vec<AliasDomain>)> {
    let mut seen = HashSet::new();
    let (mut domains, mut aliases, mut first) = (Vec::new(), Vec::new(), None);
    for (name, item) in table.take_rest() {
        let name = value::domain(&name)
            .ok_or_else(|| item.error(&format!("expected {}, found {name:?}", value::DOMAIN)))?;
        first.get_or_insert_with(|| name.clone());
        if !seen.insert(name.clone()) {
            return Err(item.error(&format!("the domain {name} is there twice")));
        }
        item.table(|table| {
            match table.parse("alias_of", value::DOMAIN, value::domain)? {
                Some(target) => aliases.push(alias_domain(table, name, target)?),
                None => domains.push(domain(table, name)?),
            }
            Ok(())
        })?;
    }
    for alias in &aliases {
        let AliasDomain { key, target, .. } = alias;
        let place = |what: &str| Err(table.error_at(&format!("{key}.alias_of"), what));
        match aliases.iter().find(|other| other.name == *target) {
            Some(other) if other.name == alias.name => return place("it leads back to itself"),
            Some(AliasDomain { target: further, .. }) => {
                return place(&format!(
                    "{target} is an alias of {further} itself; name a domain that is none"
                ));
            }
            None if domains.iter().all(|domain| domain.name != *target) => {
                return place(&format!("there is no [domain.\"{target}\"]"));
            }
            None => {}
        }
    }
    // Where an alias is written first, its target has the postmaster for mail without a domain.
    let alias = aliases.iter().find(|alias| first.as_ref() == Some(&alias.name));
    let is_target = |own: &DomainConfig| alias.is_some_and(|alias| own.name == alias.target);
    if let Some(at) = domains.iter().position(is_target) {
        domains[..=at].rotate_right(1);
    }
    Ok((domains, aliases))
}

fn lmtp(item: &KeyValue) -> Read<LmtpServer> {
    let inet = |text: &str| value::host_port(text.strip_prefix("inet:")?).map(LmtpServer::Inet);
    let unix = |text: &str| {
        let path = text.strip_prefix("unix:").filter(|path| !path.is_empty())?;
        let path = (!path.contains(char::is_control)).then(|| item.path_of(path))?;
        (path.as_os_str().len() <= UNIX_PATH_MAX).then_some(LmtpServer::Unix(path))
    };
    item.parse(value::LMTP, |text| inet(text).or_else(|| unix(text)))
}

/// A domain that only stands for another one.
fn alias_domain(table: &mut Section, name: Domain, target: Domain) -> Read<AliasDomain> {
    let (key, dkim) = (table.name().to_owned(), table.path("dkim")?);
    match table.take_rest().first() {
        Some((_, other)) => Err(other.error("only dkim may stand beside alias_of")),
        None => Ok(AliasDomain { name, key, target, dkim }),
    }
}

/// Without `users` and `any_user`, the users are those with a Maildir.
fn domain(table: &mut Section, name: Domain) -> Read<DomainConfig> {
    let lmtp = table.take("lmtp").map(|item| lmtp(&item)).transpose()?;
    let maildir = match table.take("maildir") {
        Some(item) if lmtp.is_some() => {
            return Err(item.error("lmtp keeps the mail of this domain, so it has no Maildirs"));
        }
        Some(item) => Some(item.parse(value::MAILDIR, value::maildir)?),
        None => None,
    };
    let maildir = maildir.as_deref().unwrap_or("facteur-data/mail/{domain}/{user}");
    let maildir = table.path_of(maildir).into_os_string().into_string().map_err(|_| {
        // Placeholders are text, and the folder of the file becomes a part of that text.
        table.error("maildir: the folder of this file is not UTF-8; an absolute path is needed")
    })?;
    Ok(DomainConfig {
        name,
        key: table.name().to_owned(),
        maildir,
        lmtp,
        users: table.path("users")?,
        any_user: table.flag("any_user", false)?,
        aliases: table.path("aliases")?,
        catch_all: table.parse("catch_all", value::CATCH_ALL, value::catch_all)?,
        subaddress: table
            .parse("subaddress", value::SUBADDRESS, value::subaddress)?
            .unwrap_or_else(|| "+".to_owned()),
        dkim: table.path("dkim")?,
    })
}

/// Domains that are only signed.
fn sign(table: &mut Section) -> Read<Vec<SignConfig>> {
    let mut signs: Vec<SignConfig> = Vec::new();
    for (name, item) in table.take_rest() {
        let name = value::domain(&name)
            .ok_or_else(|| item.error(&format!("expected {}, found {name:?}", value::DOMAIN)))?;
        if signs.iter().any(|sign| sign.name == name) {
            return Err(item.error(&format!("the domain {name} is there twice")));
        }
        signs.push(item.table(|table| {
            let dkim = table.require("dkim")?.path()?;
            Ok(SignConfig { name, key: table.name().to_owned(), dkim })
        })?);
    }
    Ok(signs)
}

fn relay(table: &mut Section) -> Read<Relay> {
    let smarthost = table.parse("smarthost", value::HOST_PORT, value::host_port)?;
    // A password without a smarthost is a mistake.
    let smarthost_auth = match table.take("smarthost_auth") {
        Some(item) if smarthost.is_none() => return Err(item.error("there is no smarthost")),
        Some(item) => Some(item.table(smarthost_auth)?),
        None => None,
    };
    let port = table.count("port", 1..=usize::from(u16::MAX), 25)?;
    Ok(Relay {
        networks: table.list("networks")?.iter().map(network).collect::<Read<_>>()?,
        smarthost,
        smarthost_auth,
        // The range above is a port's, so the other value is never used.
        port: u16::try_from(port).unwrap_or(u16::MAX),
        threads: table.count("threads", 1..=THREADS_MAX, 16)?,
        retry: table.take("retry").map_or(Ok(RETRY.to_vec()), retry)?,
        // RFC 5321 §4.5.4.1: at least 4 to 5 days.
        expire: table.duration("expire", SECOND..=DURATION_MAX, 5 * DAY)?,
        // Zero is a value here: no notices.
        delay_notice: table.duration(
            "delay_notice",
            Duration::ZERO..=DURATION_MAX,
            Duration::from_hours(4),
        )?,
        per_destination: table.count("per_destination", 1..=THREADS_MAX, 4)?,
        prefer: table.parse("prefer", value::PREFER, value::prefer)?.unwrap_or(Prefer::Ipv6),
        mta_sts: table.flag("mta_sts", true)?,
        dane: table.flag("dane", true)?,
        reports: table.parse("reports", value::CONTACT, value::contact)?,
        route: table.section("route", routes)?,
        backup: table.section("backup", backups)?,
    })
}

fn network(item: &KeyValue) -> Read<super::Network> {
    let network = item.parse(value::NETWORK, value::network)?;
    let masked = network.masked();
    // 10.1.0.0/8 may mean 10.1.0.0/16: an open relay must not follow from a guess.
    match network == masked {
        true => Ok(network),
        false => Err(item.expected(&format!("{masked} or more than {} bits", network.bits))),
    }
}

fn smarthost_auth(table: &mut Section) -> Read<SmarthostAuth> {
    Ok(SmarthostAuth {
        user: table.require("user")?.parse(value::USER, value::user)?,
        password_file: table.require("password_file")?.path()?,
    })
}

/// Never empty: the last wait is the one that repeats.
fn retry(item: KeyValue) -> Read<Vec<Duration>> {
    // Made first, because `list` takes the item.
    let whole = item.error(&format!("expected 1 to {RETRY_MAX} waits"));
    let waits = item.list()?;
    match waits.len() {
        1..=RETRY_MAX => waits.iter().map(|item| item.duration(SECOND..=DURATION_MAX)).collect(),
        _ => Err(whole),
    }
}

/// In the order of the file; which name wins is not decided here.
fn routes(table: &mut Section) -> Read<Vec<(String, HostPort)>> {
    let mut seen = HashSet::new();
    let mut routes = Vec::new();
    for (name, item) in table.take_rest() {
        let name = value::route(&name)
            .ok_or_else(|| item.error(&format!("expected {}, found {name:?}", value::ROUTE)))?;
        if !seen.insert(name.clone()) {
            return Err(item.error(&format!("the route for {name} is there twice")));
        }
        routes.push((name, item.parse(value::HOST_PORT, value::host_port)?));
    }
    Ok(routes)
}

/// In the order of the file.
fn backups(table: &mut Section) -> Read<Vec<BackupDomain>> {
    let mut backups: Vec<BackupDomain> = Vec::new();
    for (name, item) in table.take_rest() {
        let name = value::domain(&name)
            .ok_or_else(|| item.error(&format!("expected {}, found {name:?}", value::DOMAIN)))?;
        if backups.iter().any(|backup| backup.name == name) {
            return Err(item.error(&format!("the domain {name} is there twice")));
        }
        let takes_all = item.parse(value::RECIPIENTS, |text| Some(text.is_empty()))?;
        let recipients = if takes_all { None } else { Some(item.path()?) };
        backups.push(BackupDomain { name, key: item.key().to_owned(), recipients });
    }
    Ok(backups)
}

fn dns(table: &mut Section) -> Read<Dns> {
    // None: those of /etc/resolv.conf, which the resolver reads.
    let servers = table.list("servers")?;
    Ok(Dns {
        servers: servers
            .iter()
            .map(|item| item.parse(value::SOCKET, value::server))
            .collect::<Read<_>>()?,
        timeout: table.duration("timeout", SECOND..=DURATION_MAX, 5 * SECOND)?,
        trust_ad: table.flag("trust_ad", false)?,
    })
}

fn limit(table: &mut Section) -> Read<Limit> {
    Ok(Limit {
        message_size: table.size("message_size", MESSAGE_SIZE_MIN, 50 * MIB)?,
        // Fewer than 100 would break RFC 5321 §4.5.3.1.8.
        recipients: table.count("recipients", RECIPIENTS_MIN..=COUNT_MAX, 1000)?,
        sessions: table.count("sessions", 1..=COUNT_MAX, 1000)?,
        sessions_per_client: table.count("sessions_per_client", 1..=COUNT_MAX, 50)?,
        recipients_per_hour: table.count("recipients_per_hour", 1..=COUNT_MAX, 500)?,
        errors: table.count("errors", 1..=COUNT_MAX, 20)?,
        // RFC 5321 §6.3: normally at least 100; what is set lower is set on purpose.
        hops: table.count("hops", 1..=COUNT_MAX, 100)?,
        auth_failures: table.count("auth_failures", 1..=COUNT_MAX, 3)?,
    })
}

fn trust(table: &mut Section) -> Read<Trust> {
    const MARK: &str = "\"mark\" or \"off\"";
    let marks = |text: &str| match text {
        "mark" => Some(true),
        "off" => Some(false),
        _ => None,
    };
    let temperror = |text: &str| match text {
        "pass" => Some(false),
        "defer" => Some(true),
        _ => None,
    };
    Ok(Trust {
        spf: table.parse("spf", value::SPF, value::spf)?.unwrap_or(Spf::Mark),
        dkim: table.parse("dkim", MARK, marks)?.unwrap_or(true),
        arc: table.parse("arc", MARK, marks)?.unwrap_or(true),
        dmarc: table.parse("dmarc", value::DMARC, value::dmarc)?.unwrap_or(Dmarc::Junk),
        allow: table.list("allow")?.iter().map(proved).collect::<Read<_>>()?,
        sealers: table.list("sealers")?.iter().map(proved).collect::<Read<_>>()?,
        defers: table.parse("temperror", "\"pass\" or \"defer\"", temperror)?.unwrap_or_default(),
        gateways: match table.take("gateways") {
            None => GATEWAYS.iter().filter_map(|text| value::network(text)).collect(),
            Some(item) => item.list()?.iter().map(network).collect::<Read<_>>()?,
        },
        blocklists: blocklists(table)?,
        junk: table
            .parse("junk", value::FOLDER, value::folder)?
            .unwrap_or_else(|| ".Junk".to_owned()),
        junk_fields: match table.take("junk_fields") {
            None => JUNK_FIELDS.iter().filter_map(|text| value::junk_field(text)).collect(),
            Some(item) => {
                let field = |item: &KeyValue| item.parse(value::JUNK_FIELD, value::junk_field);
                item.list()?.iter().map(field).collect::<Read<_>>()?
            }
        },
    })
}

/// Each list once, and only such as can be asked about every client.
fn blocklists(table: &mut Section) -> Read<Vec<Blocklist>> {
    let Some(item) = table.take("blocklists") else { return Ok(Vec::new()) };
    let many = item.error(&format!("expected {BLOCKLISTS_MAX} lists at most"));
    let mut lists: Vec<Blocklist> = Vec::new();
    for item in item.list()? {
        let (twice, long) =
            (item.error("the list is there twice"), item.error("its name is too long"));
        let list = match item.is_text() {
            true => Blocklist { zone: proved(&item)?, codes: vec![CodeRange::USUAL] },
            false => item.table(blocklist)?,
        };
        if lists.iter().any(|other| other.zone == list.zone) {
            return Err(twice);
        }
        if question(IpAddr::from(Ipv6Addr::LOCALHOST), &list.zone).is_none() {
            return Err(long);
        }
        lists.push(list);
    }
    if lists.len() > BLOCKLISTS_MAX { Err(many) } else { Ok(lists) }
}

fn blocklist(table: &mut Section) -> Read<Blocklist> {
    let zone = proved(&table.require("zone")?)?;
    let Some(item) = table.take("codes") else {
        return Ok(Blocklist { zone, codes: vec![CodeRange::USUAL] });
    };
    let none = item.error("expected at least one code");
    let codes = item.list()?;
    let codes: Vec<CodeRange> =
        codes.iter().map(|code| code.parse(value::CODES, CodeRange::parse)).collect::<Read<_>>()?;
    if codes.is_empty() { Err(none) } else { Ok(Blocklist { zone, codes }) }
}

/// A domain as proofs name it.
fn proved(item: &KeyValue) -> Read<Name> {
    let name = |text: &str| Name::parse(value::domain(text)?.as_str().as_bytes());
    item.parse(value::DOMAIN, name)
}

fn greylist(table: &mut Section) -> Read<Greylist> {
    Ok(Greylist {
        // Far below the two days in which one has to come back.
        delay: table.duration("delay", SECOND..=DAY, Duration::from_mins(5))?,
        expire: table.duration("expire", SECOND..=DURATION_MAX, 35 * DAY)?,
    })
}

fn trace(table: &mut Section) -> Read<Trace> {
    Ok(Trace {
        keep: table.duration("keep", SECOND..=DURATION_MAX, 30 * DAY)?,
        size: table.size("size", TRACE_SIZE_MIN, 256 * MIB)?,
    })
}

fn timeout(table: &mut Section) -> Read<Timeout> {
    // Zero would end every step before it began. The three defaults behind the first are those of RFC 5321
    // §4.5.3.2.7, §4.5.3.2.5 and §4.5.3.2.6.
    let mut read = |key, default| table.duration(key, SECOND..=DURATION_MAX, default);
    Ok(Timeout {
        session: read("session", Duration::from_mins(10))?,
        command: read("command", Duration::from_mins(5))?,
        data: read("data", Duration::from_mins(3))?,
        r#final: read("final", Duration::from_mins(10))?,
        connect: read("connect", 30 * SECOND)?,
        shutdown: read("shutdown", 30 * SECOND)?,
    })
}
