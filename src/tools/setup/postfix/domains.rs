//! Domains of ours from what Postfix knows: users, aliases, `catch_all` and `alias_of`, so that mail for each address
//! goes where it went.
//!
//! Pure. Two tables of Postfix, virtual(5) and aliases(5), become one file for each domain. What Postfix does by their
//! order is kept: virtual(5) comes first and holds for mailboxes too, aliases(5) follows for accounts only.

use super::book::{AddressBook, mailbox_at};
use super::targets::EntryTarget;
use crate::limits::ALIAS_DEPTH;
use crate::mail::address::{Domain, Host, LocalPart, Mailbox, is_file_name};
use crate::route::POSTMASTER;
use std::collections::{BTreeSet, HashMap, HashSet};

/// What a domain is to be here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedDomain {
    pub name: Domain,
    /// The domain whose addresses are its own; then there is nothing else.
    pub alias_of: Option<Domain>,
    /// The domain whose users, with their mailboxes, are also its own: accounts of this system, under another name.
    pub shares: Option<Domain>,
    /// Local parts.
    pub users: Vec<String>,
    pub aliases: Vec<MovedAlias>,
    pub catch_all: Option<MovedTarget>,
}

/// One alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedAlias {
    pub name: String,
    pub targets: Vec<MovedTarget>,
}

/// One target of an alias.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MovedTarget {
    /// The local part.
    pub name: String,
    /// None: the alias's own domain.
    pub host: Option<String>,
    /// The user, and no alias of that name.
    pub is_user: bool,
}

/// The domains, and words for what could not be translated.
#[derive(Debug, Default)]
pub struct MovedDomains {
    pub domains: Vec<MovedDomain>,
    pub remarks: Vec<String>,
}

/// Reads a list of `:include:`, with the rights of the account whose list or .forward names it; none: the aliases file
/// names it. The words of the error name the file.
pub type ReadList<'a> = &'a dyn Fn(&str, Option<&str>) -> Result<String, String>;

/// With whose rights a list is read that another list names.
const NOBODY: &str = "nobody";

/// All domains of a book. `main`: the domain whose users are the accounts, where several have them.
pub fn domains(book: &AddressBook, main: Option<&Domain>, read_list: ReadList<'_>) -> MovedDomains {
    let own = book.domains();
    let (done, remarks) = (Vec::new(), Vec::new());
    let entries = book.aliases.entries.iter();
    let aliases = entries.map(|entry| (entry.key.as_str(), entry.value.as_str())).collect();
    let virtuals = book.virtuals.entries.iter().map(|entry| entry.key.as_str()).collect();
    let named = HashSet::new();
    let mut maker =
        Maker { book, main, read_list, own: own.clone(), aliases, virtuals, named, done, remarks };
    for domain in own {
        maker.make(&domain, &mut Vec::new());
    }
    let Maker { done: mut domains, mut remarks, .. } = maker;
    foreign_keys(book, &mut remarks);
    prune(&mut domains, &book.separator, &mut remarks);
    let mut seen = BTreeSet::new();
    remarks.retain(|remark| seen.insert(remark.clone()));
    MovedDomains { domains, remarks }
}

struct Maker<'a> {
    book: &'a AddressBook,
    main: Option<&'a Domain>,
    read_list: ReadList<'a>,
    /// All domains of the book.
    own: Vec<Domain>,
    /// aliases(5) by name.
    aliases: HashMap<&'a str, &'a str>,
    /// The keys of virtual(5).
    virtuals: HashSet<&'a str>,
    /// The aliases of the domain that is being made.
    named: HashSet<String>,
    done: Vec<MovedDomain>,
    remarks: Vec<String>,
}

impl<'a> Maker<'a> {
    /// Makes a domain, and those before it that it leads to. `open`: the domains that lead to this one.
    fn make(&mut self, domain: &Domain, open: &mut Vec<Domain>) {
        if self.done.iter().any(|done| done.name == *domain) || open.contains(domain) {
            return;
        }
        open.push(domain.clone());
        let whole =
            self.book.whole_domain(domain).map(|value| self.entry(&format!("@{domain}"), value));
        if let Some([EntryTarget::SameAt(other)]) = whole.as_deref()
            && self.own.contains(other)
        {
            self.make(other, open);
        }
        let made = self.domain(domain, whole, open);
        open.pop();
        self.done.push(made);
    }

    fn domain(
        &mut self,
        domain: &Domain,
        whole: Option<Vec<EntryTarget>>,
        open: &[Domain],
    ) -> MovedDomain {
        let mut made = MovedDomain {
            name: domain.clone(),
            alias_of: None,
            shares: None,
            users: Vec::new(),
            aliases: Vec::new(),
            catch_all: None,
        };
        self.named.clear();
        let entries = self.entries(domain);
        if let (Some([EntryTarget::SameAt(other)]), true) = (whole.as_deref(), entries.is_empty()) {
            let there = self.done.iter().find(|done| done.name == *other);
            if let Some(there) = there.filter(|_| !open.contains(other)) {
                made.alias_of = Some(there.alias_of.clone().unwrap_or_else(|| other.clone()));
                return made;
            }
        }
        if let Some(same) = self.same_as(domain) {
            made.alias_of = Some(same);
            return made;
        }
        if self.book.is_local(domain) && self.main.is_some_and(|main| main != domain) {
            made.shares = self.main.cloned();
        }
        made.users = self.users(domain);
        for (name, targets) in &entries {
            let words = self.words(domain, name, targets);
            self.add(&mut made, name, words);
        }
        match whole {
            Some(targets) => self.whole_domain(&mut made, &targets, open),
            None if self.book.is_local(domain) => self.account_aliases(&mut made),
            None => self.mailbox_of_the_rest(&mut made),
        }
        made
    }

    /// The domain of accounts of which this one is only another name: nothing in virtual(5) tells them apart.
    fn same_as(&self, domain: &Domain) -> Option<Domain> {
        if !self.book.is_local(domain) || self.main == Some(domain) {
            return None;
        }
        let own = self.virtual_set(domain);
        let is_same = |other: &&Domain| {
            *other != domain
                && self.book.is_local(other)
                && self.virtual_set(other) == own
                && self.book.whole_domain(domain) == self.book.whole_domain(other)
        };
        let done = self.done.iter().filter(|done| done.alias_of.is_none()).map(|done| &done.name);
        self.main.into_iter().chain(done).find(is_same).cloned()
    }

    fn virtual_set<'b>(&'b self, domain: &'b Domain) -> BTreeSet<(&'b str, &'b str)> {
        self.book.own_virtuals(domain).collect()
    }

    /// The users with a mailbox; the others cannot have one here.
    fn users(&mut self, domain: &Domain) -> Vec<String> {
        let (users, bad): (Vec<String>, Vec<String>) =
            self.book.users(domain).into_iter().partition(|name| is_user_name(name));
        self.remarks.extend(bad.into_iter().map(|name| {
            format!(
                "{name}@{domain}: a mailbox of this name cannot be kept here: give it another one"
            )
        }));
        users
    }

    /// What virtual(5) has for a domain: the names with it first, then those without one.
    fn entries(&mut self, domain: &Domain) -> Vec<(String, Vec<EntryTarget>)> {
        let mut entries: Vec<(String, Vec<EntryTarget>)> = Vec::new();
        let (book, mut known) = (self.book, HashSet::new());
        for (name, value) in book.own_virtuals(domain).chain(book.bare_virtuals(domain)) {
            if known.insert(name) {
                let targets = self.entry(&format!("{name}@{domain}"), value);
                entries.push((name.to_owned(), targets));
            }
        }
        entries
    }

    fn entry(&mut self, key: &str, value: &str) -> Vec<EntryTarget> {
        let (targets, bad) = self.book.targets(value);
        self.remarks.extend(bad.iter().map(|why| format!("virtual_alias_maps: {key}: {why}")));
        targets
    }

    /// The targets of an entry of virtual(5), as words of an alias.
    fn words(&mut self, domain: &Domain, name: &str, targets: &[EntryTarget]) -> Vec<MovedTarget> {
        let mut words = Vec::new();
        for target in targets {
            match target {
                EntryTarget::SameAt(other) => {
                    words.push(self.word(domain, &mailbox_at(name, other)));
                }
                EntryTarget::Address(mailbox) if *mailbox == mailbox_at(name, domain) => {
                    self.own(domain, name, &mut words);
                }
                EntryTarget::Address(mailbox) => words.push(self.word(domain, mailbox)),
                EntryTarget::Refused(what) | EntryTarget::Include(what) => self.remarks.push(
                    format!("virtual_alias_maps: {name}@{domain}: {what} is no address for Postfix either"),
                ),
            }
        }
        words
    }

    /// The name itself among its own targets: the mailbox, or at accounts what aliases(5) says of it.
    fn own(&mut self, domain: &Domain, name: &str, words: &mut Vec<MovedTarget>) {
        match self.alias(name).filter(|_| self.book.is_local(domain)) {
            Some(_) => self.account_words(domain, name, &mut vec![], words),
            None => words.push(MovedTarget { name: name.to_owned(), host: None, is_user: false }),
        }
    }

    /// `catch_all`, and an alias for each mailbox that virtual(5) hides behind it.
    fn whole_domain(&mut self, made: &mut MovedDomain, targets: &[EntryTarget], open: &[Domain]) {
        let domain = made.name.clone();
        if let [EntryTarget::SameAt(other)] = targets {
            let there = self.done.iter().find(|done| done.name == *other).cloned();
            self.same_names(made, other, there.filter(|_| !open.contains(other)));
            return;
        }
        let words = self.words(&domain, "", targets);
        for user in made.users.clone() {
            let is_own = |word: &MovedTarget| word.host.is_none() && word.name == user;
            if !words.iter().all(is_own) && self.named.insert(user.clone()) {
                self.remarks.push(format!(
                    "virtual_alias_maps: @{domain} takes the mail of {user}@{domain}, who has a mailbox: so it does \
                     here, by an alias; take it out of the aliases file to give {user} mail"
                ));
                made.aliases.push(MovedAlias { name: user, targets: words.clone() });
            }
        }
        match &words[..] {
            [] => {}
            [word] => made.catch_all = Some(word.clone()),
            _ => {
                let name = ["catch-all", "catch-all-of-this-domain"]
                    .into_iter()
                    .find(|name| made.aliases.iter().all(|alias| alias.name != *name))
                    .unwrap_or("catch-all")
                    .to_owned();
                made.aliases.push(MovedAlias { name: name.clone(), targets: words });
                made.catch_all = Some(MovedTarget { name, host: None, is_user: false });
            }
        }
    }

    /// `catch_all` by the mailbox that virtual(8) has for all other names of a domain.
    fn mailbox_of_the_rest(&mut self, made: &mut MovedDomain) {
        let (book, domain) = (self.book, made.name.clone());
        let Some(path) = book.mailbox_of_the_rest(&domain) else { return };
        let known =
            made.users.iter().find(|user| book.mailbox(user, &domain) == Some(path)).cloned();
        let name = known.unwrap_or_else(|| {
            let last =
                path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_lowercase();
            let is_free = |name: &&str| {
                let is_alias = made.aliases.iter().any(|alias| alias.name == **name);
                is_user_name(name) && !is_alias && made.users.iter().all(|user| user != name)
            };
            let name = [last.as_str(), "catch-all"]
                .into_iter()
                .find(is_free)
                .unwrap_or("catch-all-of-this-domain")
                .to_owned();
            made.users.push(name.clone());
            name
        });
        self.remarks.push(format!(
            "virtual_mailbox_maps: @{domain}: mail for all other names goes to the user {name} (catch_all)"
        ));
        made.catch_all = Some(MovedTarget { name, host: None, is_user: false });
    }

    /// `@here @there` beside names that go elsewhere: an alias for each name that is there.
    fn same_names(&mut self, made: &mut MovedDomain, other: &Domain, there: Option<MovedDomain>) {
        let Some(there) = there else {
            let domain = &made.name;
            self.remarks.push(format!(
                "virtual_alias_maps: @{domain} @{other}: a whole domain can be sent on only to one of this host; write \
                 an alias for each name into {domain}.aliases"
            ));
            for user in made.users.clone() {
                let word = MovedTarget {
                    name: user.clone(),
                    host: Some(other.to_string()),
                    is_user: false,
                };
                self.add(made, &user, vec![word]);
            }
            return;
        };
        let there = match &there.alias_of {
            Some(target) => {
                self.done.iter().find(|done| done.name == *target).cloned().unwrap_or(there)
            }
            None => there,
        };
        let at_other = |name: &str| self.word(&made.name, &mailbox_at(name, &there.name));
        let names = there.users.iter().chain(there.aliases.iter().map(|alias| &alias.name));
        let words: Vec<(String, MovedTarget)> =
            names.map(|name| (name.clone(), at_other(name))).collect();
        for (name, word) in words {
            if self.named.insert(name.clone()) {
                made.aliases.push(MovedAlias { name, targets: vec![word] });
            }
        }
        made.catch_all = there.catch_all.map(|word| match word.host {
            None => MovedTarget { host: Some(there.name.to_string()), ..word },
            Some(_) => word,
        });
    }

    /// aliases(5), for the names that virtual(5) does not have.
    fn account_aliases(&mut self, made: &mut MovedDomain) {
        let domain = made.name.clone();
        for entry in &self.book.aliases.entries {
            if self.named.contains(&entry.key) {
                continue;
            }
            let mut words = Vec::new();
            self.account_words(&domain, &entry.key, &mut Vec::new(), &mut words);
            self.add(made, &entry.key, words);
        }
    }

    /// What aliases(5) says of a name. Names of accounts in it are not looked up in virtual(5) again, as local(8)
    /// looks none up there. `open`: the aliases on the way here.
    fn account_words(
        &mut self,
        domain: &Domain,
        name: &str,
        open: &mut Vec<String>,
        words: &mut Vec<MovedTarget>,
    ) {
        let own = |name: &str, is_user| MovedTarget { name: name.to_owned(), host: None, is_user };
        if open.iter().any(|known| known == name) || open.len() > ALIAS_DEPTH {
            words.push(own(name, true));
            return;
        }
        let Some(value) = self.alias(name) else {
            words.push(own(name, true));
            return;
        };
        open.push(name.to_owned());
        // A list with an owner goes to its members as a new message, for which virtual(5) is asked.
        let has_owner = self.alias(&format!("owner-{name}")).is_some();
        let targets = self.listed(name, value, 0);
        for target in targets {
            match target {
                EntryTarget::Address(mailbox) => match self.account(&mailbox) {
                    Some(account) if account == open[0] => {
                        words.push(own(&account, false));
                    }
                    Some(_) if has_owner => words.push(self.word(domain, &mailbox)),
                    Some(account) if self.has_virtual(&account, domain) => {
                        self.account_words(domain, &account, open, words);
                    }
                    Some(account) => words.push(own(&account, false)),
                    None => words.push(self.word(domain, &mailbox)),
                },
                EntryTarget::SameAt(other) => {
                    let place = self.book.place_of(name);
                    self.remarks.push(format!(
                        "{place}: {name}: @{other} is no address for Postfix either"
                    ));
                }
                // Said once, for the domain that has the accounts.
                EntryTarget::Refused(what) if self.main == Some(domain) => {
                    self.remarks.push(refused(self.book.place_of(name), name, domain, &what));
                }
                EntryTarget::Refused(_) | EntryTarget::Include(_) => {}
            }
        }
        open.pop();
    }

    /// What aliases(5) says of a name.
    fn alias(&self, name: &str) -> Option<&'a str> {
        self.aliases.get(name.to_lowercase().as_str()).copied()
    }

    /// Whether virtual(5) changes mail for this name at this domain.
    fn has_virtual(&self, name: &str, domain: &Domain) -> bool {
        let name = name.to_lowercase();
        let is_key = |key: &str| self.virtuals.contains(key);
        let holds = self.book.is_local(domain) || *domain == self.book.names.origin;
        is_key(&format!("{name}@{domain}"))
            || is_key(&format!("@{domain}"))
            || holds && is_key(&name) && !self.book.is_domain(&name)
    }

    /// The targets of an alias, with those of the lists that it includes.
    fn listed(&mut self, name: &str, value: &str, depth: usize) -> Vec<EntryTarget> {
        let (targets, bad) = self.book.targets(value);
        let place = self.book.place_of(name);
        self.remarks.extend(bad.iter().map(|why| format!("{place}: {name}: {why}")));
        let mut all = Vec::new();
        for target in targets {
            let EntryTarget::Include(file) = &target else {
                all.push(target);
                continue;
            };
            let reader = match depth {
                _ if self.book.forwards.contains(name) => Some(name),
                0 => None,
                _ => Some(NOBODY),
            };
            match (self.read_list)(file, reader) {
                Ok(text) if depth < ALIAS_DEPTH => {
                    self.remarks.push(format!(
                        "{place}: {name}: the list {file} was copied into the aliases file, since no file is included \
                         here: change it there from now on"
                    ));
                    let lines = text.lines().map(str::trim);
                    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
                    let value = lines.collect::<Vec<_>>().join(", ");
                    all.extend(self.listed(name, &value, depth + 1));
                }
                Ok(_) => {}
                Err(why) => self.remarks.push(format!("{place}: {name}: {why}")),
            }
        }
        all
    }

    /// The account that an address means, in lower case; none where it is no address of accounts.
    fn account(&self, mailbox: &Mailbox) -> Option<String> {
        let Host::Domain(host) = &mailbox.host else { return None };
        self.book.is_local(host).then(|| mailbox.local.as_str().to_lowercase())
    }

    /// An address as a target in the file of a domain.
    fn word(&self, domain: &Domain, mailbox: &Mailbox) -> MovedTarget {
        let host = match &mailbox.host {
            Host::Domain(host) if host == domain => None,
            // Another name of the domain with the accounts.
            Host::Domain(host) => match self.same_as(host) {
                Some(same) if same == *domain => None,
                Some(same) => Some(same.to_string()),
                None => Some(host.to_string()),
            },
            host => Some(host.to_string()),
        };
        MovedTarget { name: mailbox.local.as_str().to_owned(), host, is_user: false }
    }

    fn add(&mut self, made: &mut MovedDomain, name: &str, words: Vec<MovedTarget>) {
        let domain = &made.name;
        if let Err(why) = LocalPart::from_plain(name) {
            self.remarks.push(format!("{name}@{domain}: {why}: left out"));
            return;
        }
        let mut targets: Vec<MovedTarget> = Vec::new();
        for word in words {
            if !targets.contains(&word) {
                targets.push(word);
            }
        }
        if !targets.is_empty() && self.named.insert(name.to_owned()) {
            made.aliases.push(MovedAlias { name: name.to_owned(), targets });
        }
    }
}

/// Whether a mailbox of this name can be kept here, and its line read again.
fn is_user_name(name: &str) -> bool {
    LocalPart::from_plain(name).is_ok()
        && is_file_name(name)
        && !name.contains(':')
        && !name.starts_with('#')
}

fn refused(place: &str, name: &str, domain: &Domain, what: &str) -> String {
    match what.starts_with('|') {
        true => format!(
            "{place}: {name}: {what}: no program is run by mail here, so this target is left out; let the program \
             fetch its mail from a mailbox (facteur user add {name}@{domain})"
        ),
        false => format!(
            "{place}: {name}: {what}: mail is not written into files here, so this target is left out; keep it in a \
             mailbox (facteur user add {name}@{domain})"
        ),
    }
}

/// Keys of virtual(5) at domains of others: Postfix changes those addresses too.
fn foreign_keys(book: &AddressBook, remarks: &mut Vec<String>) {
    let own = book.domains();
    for entry in &book.virtuals.entries {
        let Some((_, host)) = entry.key.rsplit_once('@') else { continue };
        if own.iter().all(|domain| domain.as_str() != host) {
            remarks.push(format!(
                "virtual_alias_maps: {}: {host} is no domain of this host, and only those have aliases here: mail for it \
                 goes on to {host}",
                entry.key
            ));
        }
    }
    if let Some(value) = &book.virtuals.any {
        remarks.push(format!(
            "virtual_alias_maps: every address leads to {value}: set catch_all in each domain"
        ));
    }
}

/// Takes out targets that lead to nobody, and aliases that have no others: Postfix returns their mail, and `check` fails.
fn prune(domains: &mut [MovedDomain], separator: &str, remarks: &mut Vec<String>) {
    loop {
        let index = AliasIndex::of(domains, separator);
        let mut dead: Vec<(usize, usize, MovedTarget)> = Vec::new();
        for (at, domain) in domains.iter().enumerate() {
            for (number, alias) in domain.aliases.iter().enumerate() {
                let key = (at, alias.name.to_lowercase());
                let is_dead =
                    |word: &&MovedTarget| !index.is_somebody(at, word, &mut vec![key.clone()]);
                dead.extend(
                    alias.targets.iter().filter(is_dead).map(|word| (at, number, word.clone())),
                );
            }
        }
        if dead.is_empty() {
            break;
        }
        for (at, number, word) in dead {
            let domain = &mut domains[at];
            let alias = &mut domain.aliases[number];
            let host = word.host.clone().unwrap_or_else(|| domain.name.to_string());
            remarks.push(format!(
                "{}@{}: its target {}@{host} leads to nobody, and was left out",
                alias.name, domain.name, word.name
            ));
            alias.targets.retain(|target| *target != word);
        }
        domains
            .iter_mut()
            .for_each(|domain| domain.aliases.retain(|alias| !alias.targets.is_empty()));
    }
    let index = AliasIndex::of(domains, separator);
    let is_dead = |(at, domain): (usize, &MovedDomain)| {
        let word = domain.catch_all.as_ref()?;
        (!index.is_somebody(at, word, &mut Vec::new())).then_some(at)
    };
    let dead: Vec<usize> = domains.iter().enumerate().filter_map(is_dead).collect();
    for at in dead {
        if let Some(word) = domains[at].catch_all.take() {
            let name = &domains[at].name;
            remarks.push(format!(
                "@{name}: all other mail goes to {}, who is nobody: left out",
                word.name
            ));
        }
    }
}

/// Users and aliases of all domains, by name in lower case.
struct AliasIndex<'a> {
    domains: &'a [MovedDomain],
    separator: &'a str,
    numbers: HashMap<&'a str, usize>,
    users: HashSet<(usize, String)>,
    aliases: HashMap<(usize, String), &'a MovedAlias>,
}

impl<'a> AliasIndex<'a> {
    fn of(domains: &'a [MovedDomain], separator: &'a str) -> AliasIndex<'a> {
        let mut index = AliasIndex {
            domains,
            separator,
            numbers: HashMap::new(),
            users: HashSet::new(),
            aliases: HashMap::new(),
        };
        for (at, domain) in domains.iter().enumerate() {
            index.numbers.insert(domain.name.as_str(), at);
            index.users.extend(domain.users.iter().map(|user| (at, user.to_lowercase())));
            let aliases =
                domain.aliases.iter().map(|alias| ((at, alias.name.to_lowercase()), alias));
            index.aliases.extend(aliases);
        }
        index
    }

    /// Whether a target in the file of a domain leads to a mailbox or elsewhere, by the rules of our own routes. `open`:
    /// the aliases on the way here.
    fn is_somebody(&self, of: usize, word: &MovedTarget, open: &mut Vec<(usize, String)>) -> bool {
        let host = word.host.as_deref().unwrap_or(self.domains[of].name.as_str());
        let Some(at) = self.numbers.get(host) else { return true };
        let target = self.domains[*at].alias_of.as_ref();
        let at = target.and_then(|target| self.numbers.get(target.as_str())).unwrap_or(at);
        let whole = word.name.to_lowercase();
        let tag = whole.find(self.separator).filter(|at| *at > 0);
        let bare = tag.map_or(whole.as_str(), |at| &whole[..at]).to_owned();
        if bare == POSTMASTER {
            return true;
        }
        let names = [whole, bare];
        let found = names.iter().find_map(|name| {
            let key = (*at, name.clone());
            Some((self.aliases.get(&key)?, key))
        });
        match found.filter(|(_, key)| !word.is_user && open.last() != Some(key)) {
            Some((_, key)) if open.contains(&key) || open.len() >= ALIAS_DEPTH => false,
            Some((alias, key)) => {
                open.push(key);
                let found = alias.targets.iter().any(|target| self.is_somebody(*at, target, open));
                open.pop();
                found
            }
            None if names.iter().any(|name| self.users.contains(&(*at, name.clone()))) => true,
            None => self.domains[*at].catch_all.as_ref().is_some_and(|word| {
                // No name of an alias is empty: this stands for the catch_all itself.
                let key = (*at, String::new());
                if open.contains(&key) || open.len() >= ALIAS_DEPTH {
                    return false;
                }
                open.push(key);
                let found = self.is_somebody(*at, word, open);
                open.pop();
                found
            }),
        }
    }
}

#[cfg(test)]
mod tests;
