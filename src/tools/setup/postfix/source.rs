//! A Postfix as its files say it: main.cf, master.cf, its tables, the accounts of this system, and a Dovecot beside it.
//! Reads all of it once, and changes nothing.

use super::accounts::{Account, accounts};
use super::book::AddressBook;
use super::dovecot::FoundDovecot;
use super::files::PostfixFiles;
use super::lines::logical_lines;
use super::lists::match_list;
use super::main_cf::{CONFIG_DIRECTORY, MainCf, SystemNames};
use super::maps::{MapEntry, Maps};
use super::master_cf::{PostfixService, services};
use super::next_hops::{Transport, transport};
use super::targets::NameCompletion;
use crate::mail::address::Domain;
use crate::privileges;
use nix::unistd::gethostname;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Where the accounts of this system stand.
const PASSWD: &str = "/etc/passwd";

/// All that is known, and words for what could not be read.
pub struct PostfixSource {
    pub files: PostfixFiles,
    pub main: MainCf,
    pub services: Vec<PostfixService>,
    pub accounts: Vec<Account>,
    pub dovecot: Option<FoundDovecot>,
    pub remarks: Vec<String>,
}

impl PostfixSource {
    /// Reads a directory. The error names the file without which there is nothing to move.
    pub fn read(directory: &Path) -> Result<PostfixSource, String> {
        let directory = std::path::absolute(directory).map_err(|error| error.to_string())?;
        let files = PostfixFiles::of(&directory);
        let octets = files.read("main.cf")?;
        let system = SystemNames {
            hostname: gethostname().unwrap_or_default().to_string_lossy().into_owned(),
            directory: directory.display().to_string(),
        };
        let (main, mut remarks) = MainCf::parse(&octets, system);
        remarks.extend(main.wrong());
        let services = match files.read("master.cf") {
            Ok(octets) => services(&octets),
            Err(why) => {
                remarks
                    .push(format!("{why}: port 25 is listened on; write the others into [listen]"));
                services(b"smtp inet n - y - - smtpd\n")
            }
        };
        let passwd = PostfixFiles::of(Path::new("/")).read(PASSWD);
        let accounts = passwd.map(|octets| accounts(&octets)).unwrap_or_default();
        let mut places = vec![directory.join("dovecot"), directory.join("../dovecot")];
        if directory != Path::new(CONFIG_DIRECTORY) {
            places.push(PathBuf::from("/etc/dovecot"));
        }
        let dovecot = FoundDovecot::find(&places);
        Ok(PostfixSource { files, main, services, accounts, dovecot, remarks })
    }

    /// The tables of a parameter; those that cannot be read are named.
    pub fn maps(&mut self, name: &str) -> Maps {
        let maps = Maps::read(&self.main.text(name), &self.files);
        self.name_unread(name, &maps);
        maps
    }

    fn name_unread(&mut self, name: &str, maps: &Maps) {
        let words = maps.unread.iter().map(|(table, why)| format!("{name}: {table}: {why}"));
        self.remarks.extend(words);
    }

    /// The domains of a parameter that is a list.
    pub fn domains(&mut self, name: &str) -> Vec<Domain> {
        let mut list = match_list(name, &self.main.text(name), &self.files);
        let domains = list.domains(name);
        self.remarks.extend(list.remarks);
        domains
    }

    /// The directory that Postfix's sockets are relative to.
    pub fn queue(&self) -> PathBuf {
        PathBuf::from(self.main.text("queue_directory"))
    }

    /// How mail gets there, by a setting of the form of transport(5).
    pub fn transport(&self, name: &str) -> Transport {
        transport(&self.main.text(name), &self.queue())
    }

    /// How accounts get their mail.
    pub fn local_transport(&self) -> Transport {
        let text = self.main.text("local_transport");
        let own = transport(text.split(':').next().unwrap_or_default(), &self.queue());
        match own {
            Transport::Here => match self.main.text("mailbox_transport").is_empty() {
                true => Transport::Here,
                false => self.transport("mailbox_transport"),
            },
            _ => self.transport("local_transport"),
        }
    }

    /// What is known of addresses.
    pub fn book(&mut self) -> Result<AddressBook, String> {
        let names = self.names()?;
        let virtuals = self.maps("virtual_alias_maps");
        let mailboxes = self.maps("virtual_mailbox_maps");
        // Postfix's default has a table of NIS as well, which no Debian has.
        let list = match self.main.is_set("alias_maps") {
            true => self.main.text("alias_maps"),
            false => "hash:/etc/aliases".to_owned(),
        };
        let aliases = Maps::aliases(&list, &self.files);
        let is_missing = |table: &str| self.files.place(table.trim_start_matches("hash:")).exists();
        if self.main.is_set("alias_maps")
            || aliases.unread.iter().any(|(table, _)| is_missing(table))
        {
            self.name_unread("alias_maps", &aliases);
        }
        let local = match self.local_transport() {
            Transport::Other(text) if text.starts_with("error") || text.starts_with("discard") => {
                self.remarks.push(format!(
                    "local_transport: {text}: no account gets mail, so mydestination is left out"
                ));
                Vec::new()
            }
            _ => self.domains("mydestination"),
        };
        let accounts = self.account_names();
        let mut aliases = aliases;
        let forwards = self.forwards(&mut aliases);
        let separator = self.separator();
        Ok(AddressBook {
            aliased: self.virtual_domains("virtual_alias_domains", &virtuals),
            hosted: self.virtual_domains("virtual_mailbox_domains", &mailboxes),
            names,
            local,
            virtuals,
            mailboxes,
            aliases,
            forwards,
            accounts,
            separator,
            keeps_hosted: self.transport("virtual_transport") == Transport::Here,
        })
    }

    /// What stands before a tag here; empty: there are no tags.
    fn separator(&mut self) -> String {
        let text = self.main.text("recipient_delimiter");
        let mut signs = text.chars();
        match (signs.next(), signs.next()) {
            (None, _) => String::new(),
            (Some('.'), _) => {
                let words =
                    "recipient_delimiter: a dot alone cannot separate tags here: there are none";
                self.remarks.push(words.to_owned());
                String::new()
            }
            (Some(first), None) => first.to_string(),
            (Some(first), Some(_)) => {
                let words =
                    format!("recipient_delimiter: {text}: one separator at a time: {first}");
                self.remarks.push(words);
                first.to_string()
            }
        }
    }

    /// Adds what users wrote into their .forward, which counts for names without an alias.
    fn forwards(&self, aliases: &mut Maps) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        if self.main.is_set("forward_path") || self.local_transport() != Transport::Here {
            return found;
        }
        for account in &self.accounts {
            let path = account.home.join(".forward");
            let Ok(octets) = self.read_as(&account.name, &path.to_string_lossy()) else { continue };
            if aliases.entries.iter().any(|entry| entry.key == account.name) {
                continue;
            }
            let lines = logical_lines(&octets).into_iter().map(|line| line.text);
            let value = lines.collect::<Vec<_>>().join(", ");
            if !value.trim().is_empty() && found.insert(account.name.clone()) {
                aliases.entries.push(MapEntry { key: account.name.clone(), value });
            }
        }
        found
    }

    /// A list of `:include:`, which Postfix reads with the rights of `reader`, else of `default_privs`. A copy of its
    /// directory may lie where only root can look.
    pub fn list(&self, file: &str, reader: Option<&str>) -> Result<String, String> {
        let octets = match reader {
            None if self.files.is_beside(file) => self.files.read(file),
            None => self.read_as(&self.main.text("default_privs"), file),
            Some(reader) => self.read_as(reader, file),
        };
        octets.map(|octets| String::from_utf8_lossy(&octets).into_owned())
    }

    /// Reads with the rights of an account: a link that a user has made must not show what only root may read.
    fn read_as(&self, account: &str, file: &str) -> Result<Vec<u8>, String> {
        let account = privileges::find(account)?;
        let read = privileges::as_user(Some(&account), || self.files.read(file))?;
        read.map_err(|why| format!("{why} (read as {})", account.name))
    }

    /// Virtual domains. Without the parameter they are keys of their table, as are names: a domain is a key whose
    /// addresses are keys too.
    fn virtual_domains(&mut self, name: &str, table: &Maps) -> Vec<Domain> {
        if self.main.is_set(name) {
            return self.domains(name);
        }
        let is_used = |domain: &str| {
            table
                .entries
                .iter()
                .any(|entry| entry.key.rsplit_once('@').is_some_and(|(_, host)| host == domain))
        };
        let keys = table.entries.iter().map(|entry| entry.key.as_str());
        let domains = keys.filter(|key| !key.contains('@') && key.contains('.') && is_used(key));
        domains.filter_map(|key| Domain::of_host(key).ok()).collect()
    }

    fn names(&self) -> Result<NameCompletion, String> {
        let mut origin = self.main.text("myorigin");
        if origin.starts_with('/') {
            // Debian's: the name is in a file, /etc/mailname.
            origin = self.files.first_line(&origin).unwrap_or_else(|| self.main.text("myhostname"));
        }
        let origin =
            Domain::parse(&origin).map_err(|why| format!("main.cf: myorigin: {origin}: {why}"))?;
        let parent = match self.main.flag("append_dot_mydomain") {
            true => Domain::parse(&self.main.text("mydomain")).ok(),
            false => None,
        };
        Ok(NameCompletion { origin, parent })
    }

    /// Names with a mailbox of an account, or with one behind `mailbox_transport`.
    fn account_names(&mut self) -> Vec<String> {
        let all = || self.accounts.iter().map(|account| account.name.clone()).collect::<Vec<_>>();
        let list = self.main.text("local_recipient_maps");
        let maps = Maps::read(&list.replace("$alias_maps", ""), &self.files);
        if maps.has_accounts || maps.entries.is_empty() || !self.main.is_set("local_recipient_maps")
        {
            return all();
        }
        let names =
            maps.entries.iter().map(|entry| entry.key.split('@').next().unwrap_or_default());
        let is_kept_elsewhere = self.local_transport() != Transport::Here;
        let known = all();
        let mut found: Vec<String> = Vec::new();
        for name in
            names.filter(|name| is_kept_elsewhere || known.iter().any(|account| account == name))
        {
            if !name.is_empty() && !found.iter().any(|other| other == name) {
                found.push(name.to_owned());
            }
        }
        found
    }
}
