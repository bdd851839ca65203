//! The site of a Postfix: main.cf, master.cf and the tables that they name, as a [`SiteToSetUp`]. What has no
//! counterpart is named, a line each, with what to do.
//!
//! Reads files alone, and changes nothing: neither of Postfix nor of Dovecot. [`source`] reads, [`book`] knows the
//! addresses, [`domains`] makes domains of ours, and [`mailboxes`] says where their mail is kept.

mod accounts;
mod book;
mod domains;
mod dovecot;
mod expand;
mod files;
mod filters;
mod lines;
mod listeners;
mod lists;
mod mailboxes;
mod main_cf;
mod maps;
mod master_cf;
mod next_hops;
mod pem;
mod place;
mod relaying;
mod restrictions;
mod settings;
mod source;
mod targets;
mod text;

use super::options::SetupWish;
use super::site::{MoreKey, MoreTable, PairToCopy, SiteToSetUp};
use super::toml::{self, quoted};
use crate::config::{Listen, MilterSocket, Network, show_duration};
use crate::mail::address::Domain;
use crate::net::tls::{Acceptor, Half};
use book::AddressBook;
use domains::{MovedDomain, MovedDomains};
use lists::match_list;
use mailboxes::MailboxMaker;
use nix::unistd::{Uid, User};
use source::PostfixSource;
use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Smallest size of a message that can be set (RFC 5321 §4.5.3.1.7).
const SIZE_LEAST: u64 = 65_536;

/// Fewest recipients that can be set (RFC 5321 §4.5.3.1.8).
const RECIPIENTS_LEAST: usize = 100;

/// Reads a Postfix's directory into a site. `user`: the server's user where none was named and the mail is nobody's.
pub fn site(directory: &Path, wish: &SetupWish, user: &str) -> Result<SiteToSetUp, String> {
    let mut source = PostfixSource::read(directory)?;
    let mut book = source.book()?;
    let relay = relaying::relaying(&mut source, &mut book);
    let main = main_domain(&book, &wish.domain);
    let read_list = |file: &str, reader: Option<&str>| source.list(file, reader);
    let MovedDomains { domains, remarks } = domains::domains(&book, main.as_ref(), &read_list);
    let mut warnings = std::mem::take(&mut source.remarks);
    warnings.extend(remarks);
    warnings.extend(relay.remarks);
    let hostname = match &wish.hostname {
        Some(hostname) => hostname.clone(),
        None => {
            let name = source.main.text("myhostname");
            Domain::of_host(&name)
                .map_err(|why| format!("myhostname: {name}: {why}; name it by --hostname"))?
        }
    };
    let run_as = match &wish.user {
        Some(user) => user.clone(),
        None => owner(&source, &book).unwrap_or_else(|| user.to_owned()),
    };
    let mut site = SiteToSetUp::new(hostname, &run_as, &wish.places);
    let mut maker = MailboxMaker {
        source: &source,
        book: &book,
        run_as: &run_as,
        mail: &wish.places.mail,
        subaddress: Some(book.separator.clone()).filter(|separator| separator != "+"),
        remarks: Vec::new(),
        without_password: Vec::new(),
    };
    place_domains(&mut site, &mut maker, domains, &[&book.names.origin, &wish.domain]);
    let (more, without) =
        (std::mem::take(&mut maker.remarks), std::mem::take(&mut maker.without_password));
    warnings.extend(more);
    (site.smarthost, site.routes, site.backup) = (relay.smarthost, relay.routes, relay.backup);
    warnings.extend(unserved(&site, &wish.domain));
    luser_relay(&source, &book, &mut site, &mut warnings);
    let strangers = restrictions::restrictions(&source.main);
    networks(&source, strangers.permits_networks, &mut site, &mut warnings);
    listen(&source, &mut site, &mut warnings);
    certificate(&source, &mut site, &mut warnings);
    limits(&source, &mut site, &mut warnings);
    filters_and_lists(&source, strangers, &mut site, &mut warnings);
    warnings.extend(settings::without_counterpart(&source.main));
    warnings.extend(
        without
            .iter()
            .map(|address| format!("{address} has no password yet: facteur user add {address}")),
    );
    let mut seen = BTreeSet::new();
    warnings.retain(|warning| seen.insert(warning.clone()));
    site.warnings = warnings;
    Ok(site)
}

/// The domain whose users are the accounts of this system, where several names stand for it: the one that is set up,
/// else that of mail without a domain, else the first that is no name of this host alone.
fn main_domain(book: &AddressBook, wanted: &Domain) -> Option<Domain> {
    let is_real = |domain: &&Domain| !domain.as_str().starts_with("localhost");
    let local = &book.local;
    let found = local.iter().find(|domain| *domain == wanted);
    let found = found.or_else(|| local.iter().find(|domain| **domain == book.names.origin));
    found.or_else(|| local.iter().find(is_real)).or(local.first()).cloned()
}

/// The user whose the mail of virtual(8) or of Dovecot is.
fn owner(source: &PostfixSource, book: &AddressBook) -> Option<String> {
    if book.hosted.is_empty() {
        return None;
    }
    let uids = source.main.text("virtual_uid_maps");
    let base = PathBuf::from(source.main.text("virtual_mailbox_base"));
    let of_base = fs::metadata(&base)
        .ok()
        .filter(|_| base.is_absolute())
        .map(|found| found.uid().to_string());
    let of_dovecot = source.dovecot.as_ref().and_then(|dovecot| dovecot.owner.clone());
    let named = [uids.strip_prefix("static:").map(str::to_owned), of_dovecot, of_base];
    let user = |text: String| match text.parse() {
        Ok(uid) => User::from_uid(Uid::from_raw(uid)).ok().flatten(),
        Err(_) => User::from_name(&text).ok().flatten(),
    };
    let found = named.into_iter().flatten().filter_map(user).find(|user| !user.uid.is_root());
    found.map(|user| user.name)
}

/// Puts the domains into the site, those of `front` first: names without a domain are at the very first, as they are
/// at `myorigin`.
fn place_domains(
    site: &mut SiteToSetUp,
    maker: &mut MailboxMaker<'_>,
    mut domains: Vec<MovedDomain>,
    front: &[&Domain],
) {
    let target = |name: &Domain| {
        let found = domains.iter().find(|domain| domain.name == *name);
        found.and_then(|found| found.alias_of.clone()).unwrap_or_else(|| name.clone())
    };
    let front: Vec<Domain> = front.iter().map(|name| target(name)).collect();
    // The sort is stable: the others stay in Postfix's order.
    domains.sort_by_key(|domain| {
        front.iter().position(|name| *name == domain.name).unwrap_or(front.len())
    });
    for moved in &domains {
        match &moved.alias_of {
            None => site.domains.push(maker.domain(moved)),
            Some(target) => site.alias_domains.push((moved.name.clone(), target.clone())),
        }
    }
    // These stand for the first domain by themselves.
    let first = site.domains.first().map(|domain| domain.name.clone());
    let hostname = site.hostname.clone();
    site.alias_domains.retain(|(name, target)| {
        let is_own = name.as_str() == "localhost" || *name == hostname;
        !is_own || Some(target) != first.as_ref()
    });
    // Keys of a domain sign for those below it.
    let signing: Vec<Domain> = site.domains.iter().map(|domain| domain.name.clone()).collect();
    for domain in &mut site.domains {
        let is_below = |other: &Domain| domain.name.as_str().ends_with(&format!(".{other}"));
        if signing.iter().any(is_below) {
            domain.dkim = None;
        }
    }
}

/// Says where mail for the wanted domain goes, where Postfix does not deliver it.
fn unserved(site: &SiteToSetUp, wanted: &Domain) -> Option<String> {
    let is_here = site.domains.iter().any(|domain| domain.name == *wanted)
        || site.alias_domains.iter().any(|(name, _)| name == wanted)
        || site.backup.iter().any(|backup| backup.name == *wanted);
    (!is_here).then(|| {
        format!(
            "{wanted}: this Postfix does not deliver it, so it is no domain of this host here either: its mail goes on to other \
             hosts; write [domain.\"{wanted}\"] where that is to change"
        )
    })
}

/// `luser_relay`: who gets mail for names that are no account.
fn luser_relay(
    source: &PostfixSource,
    book: &AddressBook,
    site: &mut SiteToSetUp,
    warnings: &mut Vec<String>,
) {
    let text = source.main.text("luser_relay");
    if text.is_empty() {
        return;
    }
    let (targets, _) = book.targets(&text);
    let mailbox = match &targets[..] {
        [targets::EntryTarget::Address(mailbox)] if !text.contains('$') => mailbox,
        _ => {
            warnings.push(format!("luser_relay: {text}: catch_all names one address, without what depends on the name: left out"));
            return;
        }
    };
    if !source.main.text("local_recipient_maps").is_empty() {
        warnings.push(
            "luser_relay: with local_recipient_maps Postfix refuses unknown names of strangers; here catch_all takes them: take it \
             out to refuse them"
                .to_owned(),
        );
    }
    for domain in site.domains.iter_mut().filter(|domain| book.is_local(&domain.name)) {
        let is_here = mailbox.host == crate::mail::address::Host::Domain(domain.name.clone());
        domain.catch_all.get_or_insert_with(|| match is_here {
            true => crate::config::CatchAll::Here(mailbox.local.as_str().to_owned()),
            false => crate::config::CatchAll::Address(mailbox.clone()),
        });
    }
}

/// `mynetworks`: who may send anywhere.
fn networks(
    source: &PostfixSource,
    is_permitted: bool,
    site: &mut SiteToSetUp,
    warnings: &mut Vec<String>,
) {
    if !is_permitted {
        warnings.push(
            "mynetworks: no restriction lets them send anywhere, so relay.networks stays empty"
                .to_owned(),
        );
        return;
    }
    let main = &source.main;
    if main.is_set("mynetworks") {
        let mut list = match_list("mynetworks", &main.text("mynetworks"), &source.files);
        site.networks = list.networks("mynetworks");
        warnings.extend(list.remarks);
        return;
    }
    site.networks = vec![
        Network { address: Ipv4Addr::new(127, 0, 0, 0).into(), bits: 8 },
        Network { address: Ipv6Addr::LOCALHOST.into(), bits: 128 },
    ];
    if matches!(main.text("mynetworks_style").as_str(), "subnet" | "class") {
        warnings.push(
            "mynetworks_style: the networks of this host's interfaces may send anywhere by Postfix; here only this host may: write \
             them into relay.networks if they should"
                .to_owned(),
        );
    }
}

fn listen(source: &PostfixSource, site: &mut SiteToSetUp, warnings: &mut Vec<String>) {
    let (listen, remarks) = listeners::listen(&source.main, &source.services, super::has_ipv6());
    warnings.extend(remarks);
    let is_none =
        listen.smtp.is_empty() && listen.submission.is_empty() && listen.submissions.is_empty();
    site.listen = match is_none {
        false => listen,
        true => {
            warnings.push("master.cf: no service for mail listens, and one has to here: port 25 of this host alone".to_owned());
            Listen { smtp: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 25))], ..listen }
        }
    };
    let protocols =
        [listeners::speaks(&source.main, "ipv4"), listeners::speaks(&source.main, "ipv6")];
    let only = match protocols {
        [true, false] => "ipv4-only",
        [false, true] => "ipv6-only",
        _ => return,
    };
    site.more("relay", MoreKey::new("prefer", &quoted(only), "inet_protocols of Postfix"));
}

/// The pair of Postfix is copied to where the server's user can read it.
fn certificate(source: &PostfixSource, site: &mut SiteToSetUp, warnings: &mut Vec<String>) {
    let text =
        |name: &str| Some(source.main.text(name)).filter(|path| !path.is_empty() && path != "none");
    // Each file has a key before its certificates, or a key alone with its certificates in the next.
    let chain = text("smtpd_tls_chain_files").map(|list| lines::words(&list));
    let chain = chain.and_then(|files| Some((files.clone(), files.into_iter().next()?)));
    let pair = |certificate: &str, key: &str| Some((vec![text(certificate)?], text(key)?));
    let pair = chain
        .or_else(|| pair("smtpd_tls_cert_file", "smtpd_tls_key_file"))
        .or_else(|| pair("smtpd_tls_eccert_file", "smtpd_tls_eckey_file"));
    let Some((files, key)) = pair else { return };
    let found = match pair_to_copy(source, &site.hostname, &files, &key) {
        Ok(found) => found,
        Err(why) => {
            warnings.push(format!(
                "smtpd_tls_cert_file: {why}: a self-signed certificate stands in for it"
            ));
            return;
        }
    };
    let certificate = source.files.place(&files[0]);
    let tls = site.tls.as_ref().map(|tls| (site.at(&tls.certificate), site.at(&tls.key)));
    if let Some((to, _)) = tls {
        warnings.push(format!(
            "smtpd_tls_cert_file: {} was copied to {}, where the server's user can read it: let each renewed one be copied there too \
             (packaging/certbot-deploy-hook, docs/install.md)",
            certificate.display(),
            to.display()
        ));
    }
    site.pair_from = Some(found);
}

/// A pair of Postfix, where a server can use it now; the words of the error name the file.
fn pair_to_copy(
    source: &PostfixSource,
    hostname: &Domain,
    files: &[String],
    key: &str,
) -> Result<PairToCopy, String> {
    let read = |file: &str| {
        source.files.read(file).map(|octets| String::from_utf8_lossy(&octets).into_owned())
    };
    let texts: Result<Vec<String>, String> = files.iter().map(|file| read(file)).collect();
    let certificates = pem::certificates(&texts?.join("\n"));
    let first = source.files.place(&files[0]);
    let pair = Acceptor::new(certificates.as_bytes(), read(key)?.as_bytes());
    let pair = pair.map_err(|bad| {
        let half = if bad.half == Half::Key { source.files.place(key) } else { first.clone() };
        format!("{}: {}", half.display(), bad.what)
    })?;
    let flaws = pair.flaws(hostname.as_str(), SystemTime::now());
    match flaws.iter().find(|flaw| flaw.is_fatal()) {
        None => Ok(PairToCopy { certificates, key: source.files.place(key) }),
        Some(flaw) => Err(format!("{}: {flaw}", first.display())),
    }
}

fn limits(source: &PostfixSource, site: &mut SiteToSetUp, warnings: &mut Vec<String>) {
    let main = &source.main;
    let number =
        |name: &str| main.is_set(name).then(|| main.text(name).parse::<u64>().ok()).flatten();
    if let Some(octets) = number("message_size_limit") {
        match octets {
            0 => warnings.push(
                "message_size_limit: 0: there is always a limit here: limit.message_size, 50MiB"
                    .to_owned(),
            ),
            octets => site.message_size = Some(octets.max(SIZE_LEAST)),
        }
    }
    if let Some(count) = number("smtpd_recipient_limit") {
        site.recipients =
            Some(usize::try_from(count).unwrap_or(usize::MAX).clamp(RECIPIENTS_LEAST, 1_000_000));
    }
    for (name, table, key) in [
        ("hopcount_limit", "limit", "hops"),
        ("smtpd_hard_error_limit", "limit", "errors"),
        ("smtpd_client_connection_count_limit", "limit", "sessions_per_client"),
        ("smtp_destination_concurrency_limit", "relay", "per_destination"),
    ] {
        match number(name) {
            Some(count @ 1..=1000) => site.more(table, MoreKey::new(key, &count.to_string(), name)),
            Some(count) => {
                warnings.push(format!("{name}: {count}: {table}.{key} stays at its default"));
            }
            None => {}
        }
    }
    for (name, unit, key, least) in [
        ("maximal_queue_lifetime", 'd', "expire", Duration::from_secs(1)),
        ("delay_warning_time", 'h', "delay_notice", Duration::ZERO),
    ] {
        if !main.is_set(name) {
            continue;
        }
        match time(&main.text(name), unit) {
            Some(time) => {
                let shown = quoted(&show_duration(time.max(least)));
                site.more("relay", MoreKey::new(key, &shown, name));
            }
            None => {
                warnings.push(format!("{name}: it is no time: relay.{key} stays at its default"));
            }
        }
    }
}

/// A time as Postfix writes it, `5d`; `unit` is meant where none is written.
fn time(text: &str, unit: char) -> Option<Duration> {
    let (digits, unit) = match text.chars().last()? {
        last if last.is_ascii_digit() => (text, unit),
        last => (&text[..text.len() - last.len_utf8()], last),
    };
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        'w' => 7 * 24 * 3600,
        _ => return None,
    };
    let number: u64 = digits.trim().parse().ok()?;
    number.checked_mul(seconds).map(Duration::from_secs)
}

/// `[[milter]]` and `trust.blocklists`.
fn filters_and_lists(
    source: &PostfixSource,
    strangers: restrictions::Restrictions,
    site: &mut SiteToSetUp,
    warnings: &mut Vec<String>,
) {
    let main = &source.main;
    let (found, remarks) = filters::filters(
        &main.text("smtpd_milters"),
        &main.text("non_smtpd_milters"),
        &main.text("milter_default_action"),
        &source.queue(),
    );
    warnings.extend(remarks);
    for filter in found {
        if filter.name.starts_with("opendkim") {
            warnings.push(format!(
                "{}: facteur signs by itself (facteur dkim, docs/dkim.md) and verifies by itself: take this filter out once DNS shows \
                 the new keys",
                filter.socket
            ));
        }
        let path = match &filter.socket {
            MilterSocket::Unix(path) => Some(path.clone()),
            MilterSocket::Inet(_) => None,
        };
        if let Some(path) = path.filter(|path| !path.exists() || path.starts_with(source.queue())) {
            warnings.push(format!(
                "smtpd_milters: {}: no filter listens there where the server's user can reach it, so its table was left out: give it a \
                 socket in /run, and write [[milter]] (docs/filters.md)",
                path.display()
            ));
            continue;
        }
        let services = match (filter.is_for_smtp, filter.is_for_sendmail) {
            (true, true) => "[\"smtp\", \"submission\", \"submissions\", \"sendmail\"]",
            (true, false) => "[\"smtp\", \"submission\", \"submissions\"]",
            _ => "[\"sendmail\"]",
        };
        let on_failure = if filter.is_passed { "\"pass\"" } else { "\"defer\"" };
        let may = "[\"header\", \"body\", \"recipients\", \"sender\", \"quarantine\"]";
        site.more.push(MoreTable {
            name: "[milter]".to_owned(),
            keys: vec![
                MoreKey::new("name", &quoted(&filter.name), ""),
                MoreKey::new("socket", &quoted(&filter.socket), ""),
                MoreKey::new("services", services, ""),
                MoreKey::new("on_failure", on_failure, "milter_default_action"),
                MoreKey::new("may", may, "all that Postfix let it"),
            ],
        });
    }
    warnings.extend(strangers.remarks);
    if !strangers.blocklists.is_empty() {
        let lists = toml::list(strangers.blocklists.iter().map(list));
        site.more("trust", MoreKey::new("blocklists", &lists, "reject_rbl_client"));
    }
}

fn list(list: &restrictions::MovedBlocklist) -> String {
    match list.codes.is_empty() {
        true => quoted(&list.zone),
        false => {
            let codes = toml::list(list.codes.iter().map(quoted));
            format!("{{ zone = {}, codes = {codes} }}", quoted(&list.zone))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, seconds) in [
            ("5d", 432_000),
            ("2", 172_800),
            ("4h", 14_400),
            ("90s", 90),
            ("1w", 604_800),
            ("0", 0),
        ] {
            assert_eq!(time(text, 'd'), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "x", "5y", "-1d", "99999999999999999999d"] {
            assert_eq!(time(text, 'd'), None, "{text}");
        }
    }
}
