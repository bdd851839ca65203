//! What Postfix knows about addresses of its own domains: the classes of domains (ADDRESS_CLASS_README), virtual(5),
//! aliases(5), mailboxes, and accounts.
//!
//! Pure questions, which answer as trivial-rewrite(8), cleanup(8) and local(8) do; [`super::domains`] makes domains of
//! ours from the answers.

use super::maps::{MapEntry, Maps};
use super::targets::{EntryTarget, NameCompletion, targets};
use crate::mail::address::{Domain, Host, LocalPart, Mailbox};
use std::collections::BTreeSet;

/// All that decides where mail for an own address goes.
#[derive(Debug)]
pub struct AddressBook {
    pub names: NameCompletion,
    /// Domains whose users are accounts of this system (`mydestination`).
    pub local: Vec<Domain>,
    /// Domains whose addresses are all aliases (`virtual_alias_domains`).
    pub aliased: Vec<Domain>,
    /// Domains with mailboxes of their own (`virtual_mailbox_domains`).
    pub hosted: Vec<Domain>,
    /// `virtual_alias_maps`: they hold for every recipient.
    pub virtuals: Maps,
    /// `virtual_mailbox_maps`: who has a mailbox in `hosted`.
    pub mailboxes: Maps,
    /// `alias_maps`: they hold for names in `local`.
    pub aliases: Maps,
    /// Names of `aliases` that come from a user's .forward.
    pub forwards: BTreeSet<String>,
    /// What stands before a tag (`recipient_delimiter`), as it will be here; empty: there are no tags.
    pub separator: String,
    /// Whether virtual(8) keeps the mail of `hosted`, each mailbox where the table says.
    pub keeps_hosted: bool,
    /// Names that have a mailbox in `local`, in lower case; persons first.
    pub accounts: Vec<String>,
}

impl AddressBook {
    /// All domains that are delivered here, in the order of the classes, each once.
    pub fn domains(&self) -> Vec<Domain> {
        let mut all: Vec<Domain> = Vec::new();
        for domain in self.local.iter().chain(&self.hosted).chain(&self.aliased) {
            if !all.contains(domain) {
                all.push(domain.clone());
            }
        }
        all
    }

    /// Whether a domain is delivered here.
    pub fn has(&self, domain: &Domain) -> bool {
        [&self.local, &self.hosted, &self.aliased].iter().any(|all| all.contains(domain))
    }

    pub fn is_local(&self, domain: &Domain) -> bool {
        self.local.contains(domain)
    }

    /// Whether mailboxes of their own stand behind it: neither accounts nor aliases alone.
    pub fn is_hosted(&self, domain: &Domain) -> bool {
        !self.is_local(domain) && !self.aliased.contains(domain) && self.hosted.contains(domain)
    }

    /// Names at a domain that virtual(5) has with this domain.
    pub fn own_virtuals<'a>(
        &'a self,
        domain: &'a Domain,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        let own = move |entry: &'a MapEntry| Some((entry.name_at(domain)?, entry.value.as_str()));
        self.virtuals.entries.iter().filter_map(own)
    }

    /// Names that virtual(5) has without a domain: they hold in `local`, and at `myorigin`.
    pub fn bare_virtuals(&self, domain: &Domain) -> impl Iterator<Item = (&str, &str)> {
        let holds = self.is_local(domain) || *domain == self.names.origin;
        let is_bare = |entry: &&MapEntry| !entry.key.contains('@') && !self.is_domain(&entry.key);
        let bare = self.virtuals.entries.iter().filter(is_bare).filter(move |_| holds);
        bare.map(|entry| (entry.key.as_str(), entry.value.as_str()))
    }

    /// Where all other names of a domain go, by virtual(5).
    pub fn whole_domain(&self, domain: &Domain) -> Option<&str> {
        // A table with every key has each name before it has the domain.
        let key = format!("@{domain}");
        let entry = self.virtuals.entries.iter().find(|entry| entry.key == key);
        entry.map(|entry| entry.value.as_str())
    }

    /// Whether a key of virtual(5) without an @ only says that the domain is aliased.
    pub fn is_domain(&self, key: &str) -> bool {
        self.aliased.iter().any(|domain| domain.as_str() == key)
    }

    /// The users with a mailbox of their own at a domain.
    pub fn users(&self, domain: &Domain) -> Vec<String> {
        if self.is_local(domain) {
            return self.accounts.clone();
        }
        if !self.is_hosted(domain) {
            return Vec::new();
        }
        let name = |entry: &MapEntry| entry.name_at(domain).map(str::to_owned);
        self.mailboxes.entries.iter().filter_map(name).collect()
    }

    /// Where virtual(8) keeps the mail of a user.
    pub fn mailbox(&self, user: &str, domain: &Domain) -> Option<&str> {
        let key = format!("{user}@{domain}").to_lowercase();
        let entry = self.mailboxes.entries.iter().find(|entry| entry.key == key);
        entry.map(|entry| entry.value.as_str())
    }

    /// Where virtual(8) keeps the mail of all other names of a domain.
    pub fn mailbox_of_the_rest(&self, domain: &Domain) -> Option<&str> {
        let is_asked = self.keeps_hosted && self.is_hosted(domain);
        self.mailbox("", domain).filter(|_| is_asked)
    }

    /// The targets of a value, where the names of files and commands are not taken.
    pub fn targets(&self, value: &str) -> (Vec<EntryTarget>, Vec<String>) {
        targets(value, &self.names)
    }

    /// Where an entry of `aliases` stands, for remarks.
    pub fn place_of(&self, name: &str) -> &'static str {
        if self.forwards.contains(name) { ".forward" } else { "alias_maps" }
    }
}

/// A name at a domain.
pub fn mailbox_at(name: &str, domain: &Domain) -> Mailbox {
    Mailbox { local: LocalPart::of_user(name), host: Host::Domain(domain.clone()) }
}
