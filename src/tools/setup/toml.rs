//! facteur.toml of a [`SiteToSetUp`], with comments for who reads it first. Pure; the configuration's reader gets the
//! same site out of it.

use super::site::{DomainToSetUp, MailPlace, MoreKey, SiteToSetUp};
use crate::config::{Network, show_size};
use std::fmt::{Display, Write as _};
use std::net::SocketAddr;
use std::path::Path;

/// Where comments behind a line begin, in columns.
const COMMENT: usize = 40;

/// Tables to whose further keys those with a field are added.
const OWN_TABLES: [&str; 2] = ["relay", "limit"];

/// A configuration as it grows.
struct Toml(String);

/// The whole file.
pub fn toml(site: &SiteToSetUp) -> String {
    let mut toml = Toml(format!(
        "# The mail server facteur of {}. Written by facteur setup, which never changes it again.\n\
         # Each key, its default and its unit: man facteur.toml. After a change `facteur check` says what is wrong with it,\n\
         # and `systemctl reload facteur` takes it; spool, run_as and listen take a restart.\n\n",
        site.hostname
    ));
    toml.key(
        "hostname",
        &quoted(&site.hostname),
        "our name in the greeting, in EHLO and in Received",
    );
    toml.key("spool", &path(&site.spool), "mail that waits, and the stories of all mail");
    toml.key("run_as", &quoted(&site.run_as), "whom the server becomes once its ports are open");
    toml.listen(site);
    if let Some(tls) = &site.tls {
        toml.table("tls", "read anew as soon as the files change");
        toml.key(
            "certificate",
            &path(&tls.certificate),
            "our own first, then those between it and the root",
        );
        toml.key("key", &path(&tls.key), "readable by run_as");
    }
    site.domains.iter().for_each(|domain| toml.domain(domain));
    for (name, target) in &site.alias_domains {
        toml.table(&format!("domain.{}", quoted(name)), "the same users and aliases");
        toml.key("alias_of", &quoted(target), "");
    }
    toml.relay(site);
    toml.limit(site);
    for table in site.more.iter().filter(|table| !OWN_TABLES.contains(&table.name.as_str())) {
        toml.table(&table.name, "");
        toml.more(&table.keys);
    }
    toml.0
}

/// The table of one domain, for a file that is there.
pub fn domain_table(domain: &DomainToSetUp) -> String {
    let mut toml = Toml(String::new());
    toml.domain(domain);
    toml.0
}

impl Toml {
    /// One line; where `comment` is empty, without one.
    fn key(&mut self, key: &str, value: &str, comment: &str) {
        let line = format!("{key} = {value}");
        self.line(&line, comment);
    }

    fn line(&mut self, line: &str, comment: &str) {
        self.0.push_str(line);
        if !comment.is_empty() {
            let blanks = COMMENT.saturating_sub(line.chars().count()).max(1);
            let _ = write!(self.0, "{}# {comment}", " ".repeat(blanks));
        }
        self.0.push('\n');
    }

    fn table(&mut self, name: &str, comment: &str) {
        self.0.push('\n');
        self.line(&format!("[{name}]"), comment);
    }

    fn listen(&mut self, site: &SiteToSetUp) {
        let listen = &site.listen;
        let addresses = |all: &[SocketAddr]| list(all.iter().map(quoted));
        self.table("listen", "under systemd facteur.socket opens these, and names the same");
        for (key, all, comment) in [
            ("smtp", &listen.smtp, "mail from other servers"),
            ("submission", &listen.submission, "mail from our users: STARTTLS, then a login"),
            ("submissions", &listen.submissions, "the same with TLS from the first octet"),
            ("metrics", &listen.metrics, "numbers for Prometheus, and a page for people"),
        ] {
            if !all.is_empty() {
                self.key(key, &addresses(all), comment);
            }
        }
        if !listen.proxy.is_empty() {
            let networks = list(listen.proxy.iter().map(quoted));
            self.key("proxy", &networks, "these begin with a PROXY header");
        }
    }

    fn domain(&mut self, domain: &DomainToSetUp) {
        let name = &domain.name;
        self.table(
            &format!("domain.{}", quoted(name)),
            "a table for each domain that is delivered here",
        );
        match &domain.mail {
            MailPlace::Maildir(place) => {
                self.key("maildir", &quoted(place), "made by the first mail");
            }
            MailPlace::Lmtp(server) => {
                self.key("lmtp", &quoted(server), "who keeps the mail, with Sieve");
            }
        }
        if let Some(users) = &domain.users {
            let comment = format!("facteur user add ann@{name}; Dovecot reads it too");
            self.key("users", &path(&users.path), &comment);
        }
        if domain.any_user {
            self.key("any_user", "true", "whatever name has no / and no dot in front is a user");
        }
        if let Some(aliases) = &domain.aliases {
            self.key("aliases", &path(&aliases.path), "name: target, target");
        }
        match &domain.catch_all {
            Some(target) => {
                self.key("catch_all", &quoted(target), "who gets mail for unknown users");
            }
            None => {
                self.line("# catch_all = \"postmaster\"", "else mail for unknown users is refused");
            }
        }
        if let Some(separator) = &domain.subaddress {
            let comment = match separator.is_empty() {
                true => "no tags behind names".to_owned(),
                false => format!("ann{separator}lists is ann"),
            };
            self.key("subaddress", &quoted(separator), &comment);
        }
        if let Some(dir) = &domain.dkim {
            self.key(
                "dkim",
                &path(dir),
                "keys that sign its mail, once DNS shows them: facteur dns",
            );
        }
    }

    fn relay(&mut self, site: &SiteToSetUp) {
        let more = site.keys_of("relay");
        let is_plain = site.networks.is_empty() && site.smarthost.is_none() && more.is_empty();
        if !is_plain {
            self.table("relay", "mail to other hosts");
        }
        if !site.networks.is_empty() {
            let networks = list(site.networks.iter().map(quoted::<Network>));
            self.key("networks", &networks, "clients that may send anywhere without a login");
        }
        if let Some(smarthost) = &site.smarthost {
            self.key("smarthost", &quoted(&smarthost.at), "everything remote goes there");
            if let Some((user, password)) = &smarthost.login {
                let (user, file) = (quoted(user), path(&password.path));
                self.key(
                    "smarthost_auth",
                    &format!("{{ user = {user}, password_file = {file} }}"),
                    "",
                );
            }
        }
        self.more(more);
        if !site.routes.is_empty() {
            self.table("relay.route", "next hops of domains, before the smarthost and without MX");
            for (name, next_hop) in &site.routes {
                self.key(&quoted(name), &quoted(next_hop), "");
            }
        }
        if !site.backup.is_empty() {
            self.table(
                "relay.backup",
                "mail is taken for their better MX; the file says who exists",
            );
            for backup in &site.backup {
                let file = backup.recipients.as_ref().map_or(Path::new(""), |table| &table.path);
                self.key(&quoted(&backup.name), &path(file), "");
            }
        }
    }

    fn limit(&mut self, site: &SiteToSetUp) {
        let more = site.keys_of("limit");
        if site.message_size.is_none() && site.recipients.is_none() && more.is_empty() {
            return;
        }
        self.table("limit", "");
        if let Some(octets) = site.message_size {
            let size = format!("\"{}\"", show_size(octets));
            let value = if size.contains("iB") { size } else { octets.to_string() };
            self.key("message_size", &value, "announced by SIZE");
        }
        if let Some(count) = site.recipients {
            self.key("recipients", &count.to_string(), "of one message");
        }
        self.more(more);
    }

    fn more(&mut self, keys: &[MoreKey]) {
        keys.iter().for_each(|more| self.key(&more.key, &more.value, &more.comment));
    }
}

/// A text as TOML writes it.
pub fn quoted<T: Display + ?Sized>(text: &T) -> String {
    let mut quoted = String::from('"');
    for c in text.to_string().chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn path(path: &Path) -> String {
    quoted(&path.display())
}

/// Texts that are TOML, as a list of it.
pub fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}
