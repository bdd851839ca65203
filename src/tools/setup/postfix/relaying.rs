//! Mail for other hosts as `[relay]` of ours: the smarthost and its password, routes, and domains for which this host
//! is a backup MX.

use super::book::AddressBook;
use super::maps::{MapEntry, Maps};
use super::next_hops::{Transport, login, next_hop, transport};
use super::source::PostfixSource;
use super::text::at;
use crate::config::HostPort;
use crate::mail::address::Domain;
use crate::tools::setup::site::{BackupToSetUp, SmarthostToSetUp, TableToSetUp};
use std::fmt::Write as _;

/// What was found.
#[derive(Default)]
pub struct MovedRelay {
    pub smarthost: Option<SmarthostToSetUp>,
    pub routes: Vec<(String, HostPort)>,
    pub backup: Vec<BackupToSetUp>,
    /// Own domains that transport(5) sends elsewhere: they are not delivered here.
    pub elsewhere: Vec<Domain>,
    pub remarks: Vec<String>,
}

/// Reads all of it. Domains of `book` that are relayed are taken out of it.
pub fn relaying(source: &mut PostfixSource, book: &mut AddressBook) -> MovedRelay {
    let mut found = MovedRelay::default();
    let transports = source.maps("transport_maps");
    let mut by_table = None;
    for entry in &transports.entries {
        found.entry(source, book, &entry.key, &entry.value, &mut by_table);
        found.remarks.extend(usual_way(source, book, &transports, entry));
    }
    found.remarks.extend(own_domains(source, book, &transports));
    if let Some(value) = &transports.any {
        found.entry(source, book, "*", value, &mut by_table);
    }
    found.smarthost(source, by_table);
    found.backups(source, book);
    let relayed = |domain: &Domain| found.elsewhere.contains(domain);
    book.local.retain(|domain| !relayed(domain));
    book.hosted.retain(|domain| !relayed(domain));
    book.aliased.retain(|domain| !relayed(domain));
    found
}

impl MovedRelay {
    /// One entry of transport(5). `by_table`: the next hop of `*`.
    fn entry(
        &mut self,
        source: &PostfixSource,
        book: &AddressBook,
        key: &str,
        value: &str,
        by_table: &mut Option<String>,
    ) {
        let way = transport(value, &source.queue());
        let said = |what: &str| format!("transport_maps: {key} {value}: {what}");
        if key.contains('@') {
            self.remarks.push(said("a route is for a whole domain here: write an alias for this address, to one at a domain of its own"));
            return;
        }
        let own = Domain::of_host(key).ok().filter(|name| book.has(name));
        match (way, key, own) {
            (Transport::Usual | Transport::Here, _, _) => {}
            (Transport::Smtp { .. }, "*", _) => *by_table = value.split_once(':').map(|(_, hop)| hop.to_owned()),
            (Transport::Smtp { host, by_mx }, key, own) => {
                if Domain::of_host(key.trim_start_matches('.')).is_err() {
                    self.remarks.push(said("it is no domain: left out"));
                    return;
                }
                if by_mx {
                    self.remarks.push(said(&format!(
                        "Postfix looks for the MX of {}, here mail goes to that host itself: name the MX in relay.route if it is another",
                        host.host
                    )));
                }
                self.routes.push((key.to_owned(), host));
                if let Some(own) = own {
                    let users = book.users(&own);
                    self.backup.push(backup(&own, Some(users)));
                    self.remarks.push(said("its mail is only passed on from here, to those who exist there (relay.backup)"));
                    self.elsewhere.push(own);
                }
            }
            (Transport::Mx, _, _) => {}
            (Transport::Lmtp(server), _, _) => {
                self.remarks.push(said(&format!("write lmtp = \"{server}\" into the table of the domain")));
            }
            (Transport::Other(text), _, _) => self.remarks.push(said(match text.split(':').next() {
                Some("error") | Some("retry") => "nothing is refused by domain: take it out of the domains, and its mail is refused",
                Some("discard") => "no mail is thrown away: take its users and aliases out, and it is refused",
                _ => "no program gets mail here: let it fetch from a mailbox, or speak LMTP (lmtp of the domain)",
            })),
        }
    }

    fn smarthost(&mut self, source: &mut PostfixSource, by_table: Option<String>) {
        let port = match source.main.text("smtp_tcp_port").as_str() {
            "smtp" => 25,
            text => super::master_cf::port_number(text).unwrap_or(25),
        };
        let setting = source.main.text("relayhost");
        let mut hops = super::lines::words(&setting).into_iter();
        let Some(hop) = by_table.or_else(|| hops.next()) else { return };
        self.remarks.extend(hops.map(|hop| {
            format!("relayhost: {hop}: one smarthost is asked here, the first: left out")
        }));
        let Some((at, by_mx)) = next_hop(&hop, port) else {
            self.remarks.push(format!(
                "relayhost: {hop}: no next hop can be read from it: write relay.smarthost by hand"
            ));
            return;
        };
        if by_mx {
            self.remarks.push(format!(
                "relayhost: {hop}: Postfix looks for the MX of {}, here mail goes to that host itself: name the MX in \
                 relay.smarthost if it is another",
                at.host
            ));
        }
        let passwords = source.maps("smtp_sasl_password_maps");
        let login = match source.main.flag("smtp_sasl_auth_enable") {
            true => login(&hop, &passwords),
            false => None,
        };
        self.other_logins(&passwords, login.as_ref());
        let is_strict = login.is_some() && at.port != 465;
        if is_strict && matches!(source.main.text("smtp_tls_security_level").as_str(), "" | "none")
        {
            self.remarks.push(format!(
                "smtp_tls_security_level: the password for {} is given over verified TLS alone: mail waits where it has none",
                at.host
            ));
        }
        let file =
            |password: String| TableToSetUp::new("smarthost.password", format!("{password}\n"));
        self.smarthost = Some(SmarthostToSetUp {
            at,
            login: login.map(|(user, password)| (user, file(password))),
        });
    }

    fn other_logins(&mut self, passwords: &Maps, used: Option<&(String, String)>) {
        for entry in &passwords.entries {
            let user = entry.value.split(':').next().unwrap_or_default();
            if used.is_none_or(|(known, _)| known != user) {
                self.remarks.push(format!(
                    "smtp_sasl_password_maps: {}: only the smarthost gets a password here, as one user: left out",
                    entry.key
                ));
            }
        }
    }

    /// `relay_domains`, with those who exist there.
    fn backups(&mut self, source: &mut PostfixSource, book: &AddressBook) {
        let recipients = source.maps("relay_recipient_maps");
        // Where no table can be read, refusing all would be worse than taking all.
        let knows = source.main.is_set("relay_recipient_maps")
            && (!recipients.entries.is_empty() || recipients.unread.is_empty());
        let knows = knows && !source.main.text("relay_recipient_maps").is_empty();
        let domains = source.domains("relay_domains");
        for domain in domains.iter().filter(|domain| !book.has(domain)) {
            if self.backup.iter().any(|backup| backup.name == *domain) {
                continue;
            }
            let is_all =
                recipients.any.is_some() || recipients.get(&format!("@{domain}")).is_some();
            let there = recipients.entries.iter().filter_map(|entry| entry.name_at(domain));
            let users = (knows && !is_all).then(|| there.map(str::to_owned).collect());
            self.backup.push(backup(domain, users));
        }
        let first = domains.iter().find(|domain| !book.has(domain));
        let takes_subdomains =
            source.main.text("parent_domain_matches_subdomains").contains("relay_domains");
        if let Some(first) =
            first.filter(|_| takes_subdomains && source.main.is_set("relay_domains"))
        {
            self.remarks.push(format!(
                "relay_domains: Postfix also takes mail for the subdomains of {first} and the others: name those in relay.backup \
                 that there are"
            ));
        }
    }
}

/// The key by which transport(5) has a name that has no line of its own: a domain above it, else `*`. None where what
/// is found is no next hop.
fn above<'a>(source: &PostfixSource, transports: &'a Maps, name: &str) -> Option<&'a str> {
    let domains =
        name.char_indices().filter(|(at, c)| *c == '.' && *at > 0).map(|(at, _)| &name[at..]);
    let found = domains
        .chain(["*"])
        .find_map(|key| transports.entries.iter().find(|entry| entry.key == key))?;
    let is_hop = matches!(transport(&found.value, &source.queue()), Transport::Smtp { .. });
    is_hop.then_some(found.key.as_str())
}

/// A domain that transport(5) takes out of what holds above it: here nothing does.
fn usual_way(
    source: &PostfixSource,
    book: &AddressBook,
    transports: &Maps,
    entry: &MapEntry,
) -> Option<String> {
    let (key, value) = (&entry.key, &entry.value);
    let above = || above(source, transports, key);
    let other = match transport(value, &source.queue()) {
        Transport::Usual if Domain::of_host(key).is_ok_and(|name| book.has(&name)) => None,
        Transport::Usual => above(),
        Transport::Mx if key == "*" => None,
        Transport::Mx if !source.main.text("relayhost").is_empty() => above().or(Some("relayhost")),
        Transport::Mx => above(),
        _ => None,
    }?;
    Some(format!(
        "transport_maps: {key} {value}: no domain can go by its MX where there is a next hop for it, by {other}: write its own host \
         into relay.route"
    ))
}

/// Own domains that transport(5) sends elsewhere by a line for all, or for those below one: here they stay.
fn own_domains(source: &PostfixSource, book: &AddressBook, transports: &Maps) -> Option<String> {
    let has_line =
        |domain: &Domain| transports.entries.iter().any(|entry| entry.key == domain.as_str());
    let own = book.domains();
    let sent: Vec<String> = own
        .iter()
        .filter(|domain| !has_line(domain))
        .filter_map(|domain| {
            above(source, transports, domain.as_str()).map(|key| format!("{domain} ({key})"))
        })
        .collect();
    (!sent.is_empty()).then(|| {
        format!(
            "transport_maps: Postfix sends on mail for domains of its own too: {}; here it is delivered: to send it on, give each a line of \
             its own in that table, and run setup again",
            sent.join(", ")
        )
    })
}

fn backup(domain: &Domain, users: Option<Vec<String>>) -> BackupToSetUp {
    let recipients = users.map(|users| {
        let mut text = format!(
            "# Who exists at {domain}, for which this host is a backup MX: an address a line.\n"
        );
        for user in users {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{}", at(&user, domain.as_str()));
        }
        TableToSetUp::new(format!("{domain}.recipients"), text)
    });
    BackupToSetUp { name: domain.clone(), recipients }
}
