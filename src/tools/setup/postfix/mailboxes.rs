//! Where the mail of moved domains is kept, and who reads it: Maildirs that are there stay where a template can name
//! them and the server's user may write in them; for others it is said how to move them.

use super::book::AddressBook;
use super::domains::{MovedDomain, MovedTarget};
use super::dovecot::{FoundDovecot, of_variables};
use super::files::PostfixFiles;
use super::next_hops::Transport;
use super::place::{MailboxPath, template};
use super::source::PostfixSource;
use super::text::{UserFields, aliases, at, users};
use crate::config::{CatchAll, LmtpServer};
use crate::mail::address::{Domain, Mailbox};
use crate::tools::setup::site::{DomainToSetUp, MailPlace, TableToSetUp};
use nix::unistd::{Uid, User};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Makes the domains of a site.
pub struct MailboxMaker<'a> {
    pub source: &'a PostfixSource,
    pub book: &'a AddressBook,
    /// The server's user.
    pub run_as: &'a str,
    /// Where Maildirs go that have no other place.
    pub mail: &'a Path,
    /// Postfix's separator of tags; empty: none.
    pub subaddress: Option<String>,
    pub remarks: Vec<String>,
    /// Addresses that have a mailbox and no password.
    pub without_password: Vec<String>,
}

impl MailboxMaker<'_> {
    /// One domain that is no alias of another.
    pub fn domain(&mut self, moved: &MovedDomain) -> DomainToSetUp {
        let name = &moved.name;
        let (text, remarks) = aliases(moved);
        self.remarks.extend(remarks);
        let mail = self.place(moved);
        let is_hosted = self.book.is_hosted(name);
        let known = if is_hosted { self.passwd_users(name) } else { UserFields::new() };
        // Only the server that keeps the mail can know who exists.
        let is_asked = matches!(mail, MailPlace::Lmtp(_))
            && is_hosted
            && moved.users.is_empty()
            && known.is_empty();
        let mut made = DomainToSetUp::new(name.clone(), &self.mail.display().to_string());
        made.users = if is_asked { None } else { Some(self.users(moved, &known)) };
        made.aliases = Some(TableToSetUp::new(format!("{name}.aliases"), text));
        made.any_user = is_hosted && self.book.mailboxes.any.is_some() && !is_asked;
        made.catch_all = moved.catch_all.as_ref().and_then(|word| self.catch_all(name, word));
        made.subaddress = self.subaddress.clone();
        made.mail = mail;
        if !name.as_str().contains('.') {
            made.dkim = None;
        }
        made
    }

    fn catch_all(&mut self, domain: &Domain, word: &MovedTarget) -> Option<CatchAll> {
        let Some(host) = &word.host else { return Some(CatchAll::Here(word.name.clone())) };
        match Mailbox::parse(&at(&word.name, host)) {
            Ok(mailbox) => Some(CatchAll::Address(mailbox)),
            Err(why) => {
                self.remarks.push(format!(
                    "@{domain}: {}@{host}: {why}: write catch_all by hand",
                    word.name
                ));
                None
            }
        }
    }

    /// `known`: what Dovecot's files say of users.
    fn users(&mut self, moved: &MovedDomain, known: &UserFields) -> TableToSetUp {
        if let Some(main) = &moved.shares {
            let text = users(main, &moved.users, &UserFields::new()).0;
            return TableToSetUp::new(format!("{main}.users"), text);
        }
        let name = &moved.name;
        let mut names = moved.users.clone();
        // Without a table of mailboxes Dovecot knows who there is.
        if self.book.is_hosted(name) && names.is_empty() {
            names.extend(known.keys().cloned());
            if names.is_empty() && self.book.mailboxes.any.is_none() {
                self.remarks.push(format!(
                    "{name}: nobody of it could be found, so all its mail would be refused: add its users before you start \
                     facteur (facteur user add ann@{name})"
                ));
            }
        }
        let (text, without) = users(name, &names, known);
        let is_person = |user: &String| {
            !self.book.is_local(name)
                || self
                    .source
                    .accounts
                    .iter()
                    .any(|account| account.name == *user && account.is_person)
        };
        let without = without.iter().filter(|user| is_person(user));
        self.without_password.extend(without.map(|user| at(user, name.as_str())));
        TableToSetUp::new(format!("{name}.users"), text)
    }

    /// The lines of Dovecot's passwd-files for a domain.
    fn passwd_users(&self, domain: &Domain) -> UserFields {
        let mut known = UserFields::new();
        let Some(dovecot) = &self.source.dovecot else { return known };
        for file in &dovecot.passwd_files {
            let Some(path) = of_variables(&file.path) else { continue };
            let path = path.replace("{domain}", domain.as_str());
            let Some(octets) = read_beside(dovecot, &path) else { continue };
            for line in String::from_utf8_lossy(&octets).lines() {
                let Some((name, fields)) = line.trim().split_once(':') else { continue };
                let name = name.to_ascii_lowercase();
                let user = match name.rsplit_once('@') {
                    Some((user, host)) if host == domain.as_str() => user.to_owned(),
                    Some(_) => continue,
                    // A file of one domain, or names that stand for all.
                    None if name.starts_with('#') => continue,
                    None => name,
                };
                known.entry(user).or_insert_with(|| with_scheme(fields, &file.scheme));
            }
        }
        known
    }

    /// Where the mail of a domain goes.
    fn place(&mut self, moved: &MovedDomain) -> MailPlace {
        let name = &moved.name;
        let is_hosted = self.book.is_hosted(name);
        let by = match (is_hosted, self.book.is_local(name)) {
            (true, _) => self.source.transport("virtual_transport"),
            (_, true) => self.source.local_transport(),
            _ => Transport::Here,
        };
        let setting = if is_hosted { "virtual_transport" } else { "mailbox_transport" };
        match by {
            Transport::Lmtp(server) => match self.lmtp(setting, server) {
                Some(place) => return place,
                None => return MailPlace::Maildir(self.dovecot_maildir(moved)),
            },
            Transport::Other(text) => {
                self.remarks.push(format!(
                    "{setting}: {text}: no program delivers mail here, so it goes into Maildirs; for Sieve and quotas let \
                     Dovecot take it by LMTP (facteur setup --dovecot)"
                ));
                return MailPlace::Maildir(self.dovecot_maildir(moved));
            }
            _ => {}
        }
        MailPlace::Maildir(if is_hosted {
            self.hosted_maildir(moved)
        } else {
            self.account_maildir(moved)
        })
    }

    /// A server that keeps the mail, where this one will be able to reach it.
    fn lmtp(&mut self, setting: &str, server: LmtpServer) -> Option<MailPlace> {
        let LmtpServer::Unix(path) = &server else { return Some(MailPlace::Lmtp(server)) };
        let is_socket = fs::metadata(path).is_ok_and(|found| found.file_type().is_socket());
        if is_socket && !path.starts_with(self.source.queue()) {
            return Some(MailPlace::Lmtp(server));
        }
        let why = match is_socket {
            true => "that directory is Postfix's own",
            false => "no server listens there now",
        };
        self.remarks.push(format!(
            "{setting}: {}: {why}, so mail goes into the Maildirs that Dovecot reads; to let Dovecot keep it, with Sieve \
             and quotas, run setup with --dovecot, or give it a listener for the group {} and write lmtp in the place of \
             maildir (docs/lmtp.md)",
            path.display(),
            self.run_as
        ));
        None
    }

    /// The place that Dovecot names, else the usual one.
    fn dovecot_maildir(&mut self, moved: &MovedDomain) -> String {
        let found = self.source.dovecot.as_ref().and_then(|dovecot| dovecot.maildir.clone());
        match found.filter(|_| self.book.is_hosted(&moved.name)) {
            Some(template) => self.usable(moved, template),
            None if self.book.is_hosted(&moved.name) => self.hosted_maildir(moved),
            None => self.account_maildir(moved),
        }
    }

    /// The Maildirs of virtual(8).
    fn hosted_maildir(&mut self, moved: &MovedDomain) -> String {
        let name = &moved.name;
        let base = self.source.main.text("virtual_mailbox_base");
        let suffix = format!("@{name}");
        let entries = self.book.mailboxes.entries.iter();
        let paths: Vec<MailboxPath> = entries
            .filter_map(|entry| {
                let user = match entry.key.strip_suffix(&suffix)? {
                    "" => &moved.catch_all.as_ref().filter(|word| word.host.is_none())?.name,
                    user => user,
                };
                // Where no path is meant, a table only says who there is.
                let path = format!("{base}/{}", entry.value.trim_start_matches('/'));
                entry.value.contains('/').then(|| MailboxPath { user: user.to_owned(), path })
            })
            .collect();
        let (boxes, maildirs): (Vec<_>, Vec<_>) =
            paths.into_iter().partition(|mailbox| !mailbox.path.ends_with('/'));
        let found = template(name.as_str(), &maildirs);
        let usual = self.usual();
        let (template, others) = match found {
            Some((template, others)) => (self.usable(moved, template), others),
            None => {
                let dovecot =
                    self.source.dovecot.as_ref().and_then(|dovecot| dovecot.maildir.clone());
                let template = match dovecot.filter(|_| maildirs.is_empty() && boxes.is_empty()) {
                    Some(template) => self.usable(moved, template),
                    None => usual,
                };
                (template, maildirs)
            }
        };
        let here = |user: &str| template.replace("{domain}", name.as_str()).replace("{user}", user);
        for other in others.iter().filter(|other| Path::new(&other.path).exists()) {
            self.remarks.push(format!(
                "virtual_mailbox_maps: mail of {}@{name} lies in {}: move it, mv {} {}",
                other.user,
                other.path,
                other.path,
                here(&other.user)
            ));
        }
        for other in boxes {
            self.remarks.push(format!(
                "virtual_mailbox_maps: mail of {}@{name} is kept in one file, {}: new mail goes into the Maildir {}; \
                 docs/postfix.md says how to bring the old there",
                other.user, other.path, here(&other.user)
            ));
        }
        template
    }

    /// Maildirs of accounts: each is its user's, and this server is one user.
    fn account_maildir(&mut self, moved: &MovedDomain) -> String {
        if let Some(main) = &moved.shares {
            return format!("{}/{main}/{{user}}", self.mail.display());
        }
        let usual = self.usual();
        if !self.book.is_local(&moved.name) {
            return usual;
        }
        let (home, spool) =
            (self.source.main.text("home_mailbox"), self.source.main.text("mail_spool_directory"));
        let (mut maildirs, mut boxes) = (Vec::new(), Vec::new());
        for account in
            self.source.accounts.iter().filter(|account| moved.users.contains(&account.name))
        {
            let path = match home.is_empty() {
                true => format!("{}/{}", spool.trim_end_matches('/'), account.name),
                false => format!("{}/{home}", account.home.display()),
            };
            match fs::metadata(&path) {
                Ok(found) if found.is_dir() => {
                    maildirs.push((account.name.clone(), path, found.uid()));
                }
                Ok(found) if found.len() > 0 => boxes.push((account.name.clone(), path)),
                _ => {}
            }
        }
        let server = self.server();
        let is_ours = maildirs.iter().all(|(_, _, owner)| server == Some(*owner));
        if is_ours && !maildirs.is_empty() {
            let paths: Vec<MailboxPath> = maildirs
                .iter()
                .map(|(user, path, _)| MailboxPath { user: user.clone(), path: path.clone() })
                .collect();
            if let Some((template, others)) = template(moved.name.as_str(), &paths)
                && others.is_empty()
            {
                return template;
            }
        }
        let here =
            |user: &str| usual.replace("{domain}", moved.name.as_str()).replace("{user}", user);
        for (user, path, _) in &maildirs {
            let (path, to, run_as) = (path.trim_end_matches('/'), here(user), self.run_as);
            let above = to.rsplit_once('/').map_or("", |(above, _)| above);
            self.remarks.push(format!(
                "home_mailbox: mail of {user} lies in {path}, which is {user}'s own: facteur is one user, {run_as}, and keeps new mail \
                 in {to}; bring the old there: mkdir -p {to} && cp -a {path}/. {to} && chown -R {run_as}: {above}"
            ));
        }
        for (user, path) in &boxes {
            self.remarks.push(format!(
                "mail of {user} is kept in one file, {path}: new mail goes into the Maildir {}; docs/postfix.md says how to bring the \
                 old there",
                here(user)
            ));
        }
        usual
    }

    fn usual(&self) -> String {
        format!("{}/{{domain}}/{{user}}", self.mail.display())
    }

    /// The uid of the server's user; none while there is no such user.
    fn server(&self) -> Option<u32> {
        User::from_name(self.run_as).ok().flatten().map(|user| user.uid.as_raw())
    }

    /// A template whose directory is there has to be the server's.
    fn usable(&mut self, moved: &MovedDomain, template: String) -> String {
        let fixed = template.split('{').next().unwrap_or_default();
        let fixed = Path::new(fixed.rsplit_once('/').map_or("", |(dir, _)| dir));
        let owner = fs::metadata(fixed).ok().map(|found| found.uid());
        let server = self.server();
        if let Some(owner) = owner.filter(|owner| Some(*owner) != server) {
            let whose = User::from_uid(Uid::from_raw(owner))
                .ok()
                .flatten()
                .map_or(owner.to_string(), |user| user.name);
            let (fixed, run_as) = (fixed.display(), self.run_as);
            self.remarks.push(format!(
                "mail of {} lies in {fixed}, which is {whose}'s: facteur writes there as {run_as}: chown -R {run_as}: {fixed}, once Postfix is \
                 stopped",
                moved.name
            ));
        }
        template
    }
}

/// A file of Dovecot, also where its directory is a copy of /etc/dovecot.
fn read_beside(dovecot: &FoundDovecot, path: &str) -> Option<Vec<u8>> {
    let copy = path.strip_prefix("/etc/dovecot/").map(|rest| dovecot.directory.join(rest));
    let path = copy.filter(|copy| copy.exists()).unwrap_or_else(|| PathBuf::from(path));
    PostfixFiles::of(&dovecot.directory).read(&path.to_string_lossy()).ok()
}

/// The fields behind a name, with the scheme before a password that names none.
fn with_scheme(fields: &str, scheme: &str) -> String {
    match fields.is_empty() || fields.starts_with(['{', ':']) {
        true => fields.to_owned(),
        false => format!("{{{scheme}}}{fields}"),
    }
}
