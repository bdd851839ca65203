//! A user of this machine as a sender of mail: the login, its address, and other addresses it may use.

use crate::mail::address::{Domain, Host, LocalPart, Mailbox, ReversePath};
use crate::policy;
use crate::route::{is_named, mailbox_here};
use crate::site::Site;
use crate::store::disk::Disk;
use nix::unistd::{Uid, User};
use std::io;

/// The user that sends.
#[derive(Clone, Debug)]
pub struct Author {
    pub uid: u32,
    pub login: String,
    /// The name in the system's list of users; empty where it has none.
    pub name: String,
    /// That list has the user.
    pub is_listed: bool,
}

/// The domain of a sender's name without one: the first domain where the name is a user or an alias, because
/// answers are read there; else `hostname`. A domain whose Maildirs cannot be looked at is passed over.
pub fn domain_of(site: &Site, disk: &dyn Disk, local: &LocalPart) -> Domain {
    let is_there = |domain: &&Domain| {
        let mailbox = Mailbox { local: local.clone(), host: Host::Domain((*domain).clone()) };
        is_named(site, disk, &mailbox) || matches!(mailbox_here(site, disk, &mailbox), Ok(Some(_)))
    };
    let mut domains = site.config.domains.iter().map(|domain| &domain.name);
    domains.find(is_there).unwrap_or(&site.config.hostname).clone()
}

impl Author {
    /// The user of this number. A user that is not in the system's list writes as `uid54321`, and has no mailbox.
    pub fn find(uid: u32) -> io::Result<Author> {
        let Some(user) = User::from_uid(Uid::from_raw(uid))? else {
            let login = format!("uid{uid}");
            return Ok(Author { uid, login, name: String::new(), is_listed: false });
        };
        let gecos = user.gecos.to_string_lossy();
        // Office and telephones stand behind commas, and & means the login with a capital (passwd(5)).
        let name = gecos.split(',').next().unwrap_or_default();
        let mut login = user.name.chars();
        let first = login.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
        let name = name.replace('&', &format!("{first}{}", login.as_str()));
        Ok(Author { uid, login: user.name, name, is_listed: true })
    }

    /// The login's address as a sender ([`domain_of`]); the error says why the login makes no address.
    pub fn address(&self, site: &Site, disk: &dyn Disk) -> Result<Mailbox, String> {
        let local = LocalPart::from_plain(&self.login);
        let local = local.map_err(|why| format!("the login of uid {} is none: {why}", self.uid))?;
        let host = match self.is_listed {
            true => domain_of(site, disk, &local),
            false => site.config.hostname.clone(),
        };
        Ok(Mailbox { local, host: Host::Domain(host) })
    }

    /// Whether the login may send under this address: its own, at `hostname` too, or one that belongs to its
    /// mailbox ([`policy::is_own`]). Where the name leads by an alias or `catch_all` is another's mailbox. Every
    /// user may send as `<>`, which automatic answers have to use (RFC 3834 §3.3).
    pub fn may_send_as(&self, site: &Site, disk: &dyn Disk, sender: &ReversePath) -> bool {
        let ReversePath::Mailbox(sender) = sender else { return true };
        let is_same = |own: &Mailbox| own.to_string().eq_ignore_ascii_case(&sender.to_string());
        let Ok(own) = self.address(site, disk) else { return false };
        let hostname = Host::Domain(site.config.hostname.clone());
        if is_same(&own) || is_same(&Mailbox { host: hostname, ..own.clone() }) {
            return true;
        }
        match mailbox_here(site, disk, &own) {
            Ok(Some(mine)) if self.is_listed => {
                let mine = mine.user().unwrap_or(&own);
                policy::is_own(site, disk, mine, sender).unwrap_or(false)
            }
            _ => false,
        }
    }

    /// Whether a sender is the login at `hostname` without a user or alias of this name there: the address that a
    /// program writes when it does not know where the login's mail is read.
    pub fn is_only_a_host(&self, site: &Site, disk: &dyn Disk, sender: &ReversePath) -> bool {
        let ReversePath::Mailbox(sender) = sender else { return false };
        sender.host == Host::Domain(site.config.hostname.clone())
            && sender.local.as_str().eq_ignore_ascii_case(&self.login)
            && !is_named(site, disk, sender)
            && matches!(mailbox_here(site, disk, sender), Ok(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::store::memory::MemoryDisk;
    use std::path::Path;

    fn config(hostname: &str) -> Config {
        let text = format!(
            "hostname = \"{hostname}\"\nspool = \"spool\"\n\
             [domain.\"mx.test\"]\nmaildir = \"mail/{{domain}}/{{user}}\"\nany_user = true\n\
             [domain.\"two.test\"]\nmaildir = \"mail/{{domain}}/{{user}}\"\nany_user = true\n"
        );
        Config::parse(&text, Path::new("/x/facteur.toml")).unwrap()
    }

    #[test]
    fn a_name_without_a_domain() {
        for (hostname, home) in
            [("mx.test", "mx.test"), ("two.test", "two.test"), ("host.test", "mx.test")]
        {
            assert_eq!(config(hostname).home().as_str(), home);
        }
        let mut config = config("host.test");
        config.domains.clear();
        assert_eq!(config.home().as_str(), "host.test");
    }

    fn login(name: &str) -> Author {
        Author { uid: 1000, login: name.to_owned(), name: String::new(), is_listed: true }
    }

    /// A site with one domain where ann, bob, boss and info are users.
    fn site(more: &str, aliases: &str) -> Site {
        let dir = std::env::temp_dir().join(format!("facteur-author-{}", crate::id::message()));
        std::fs::create_dir(&dir).unwrap();
        let users = "ann:{PLAIN}x\nbob:{PLAIN}x\nboss:{PLAIN}x\n";
        std::fs::write(dir.join("users"), users).unwrap();
        std::fs::write(dir.join("aliases"), aliases).unwrap();
        let text = format!(
            "hostname = \"host.test\"\n[domain.\"mx.test\"]\nusers = \"users\"\naliases = \"aliases\"\n\
             maildir = \"mail/{{domain}}/{{user}}\"\n{more}"
        );
        let config = Config::parse(&text, &dir.join("facteur.toml")).unwrap();
        let (site, bad) = Site::read(config).unwrap();
        std::fs::remove_dir_all(dir).unwrap();
        assert!(bad.is_empty(), "{bad:?}");
        site
    }

    #[test]
    fn what_an_alias_leads_to_is_not_the_logins() {
        let disk = MemoryDisk::new();
        let aliases = "www-data: root\nroot: boss\ninfo: ann, bob\nbob: bob, ann\nteam: info\n";
        for more in ["", "catch_all = \"boss\"\n"] {
            let site = site(more, aliases);
            for (name, sender, may) in [
                ("www-data", "<www-data@mx.test>", true),
                ("www-data", "<www-data@host.test>", true),
                ("www-data", "<root@mx.test>", false),
                ("www-data", "<boss@mx.test>", false),
                ("games", "<boss@mx.test>", false),
                ("games", "<games@mx.test>", false),
                ("games", "<zoe@mx.test>", false),
                ("boss", "<root@mx.test>", true),
                // Only `catch_all` brings it to him.
                ("boss", "<zoe@mx.test>", false),
                ("ann", "<info@mx.test>", true),
                ("ann", "<team@mx.test>", true),
                ("ann", "<Ann+x@mx.test>", true),
                // Bob sends her a copy, and is himself all the same.
                ("ann", "<bob@mx.test>", false),
                ("bob", "<bob@mx.test>", true),
            ] {
                let (path, _) = ReversePath::parse(sender.as_bytes()).unwrap();
                assert_eq!(
                    login(name).may_send_as(&site, &disk, &path),
                    may,
                    "{name} as {sender} {more}"
                );
            }
        }
    }

    #[test]
    fn a_login_is_where_it_is_read() {
        let disk = MemoryDisk::new();
        let site = site("[domain.\"two.test\"]\nany_user = true\n", "root: ann\n");
        for (author, address) in [
            (login("ann"), "ann@mx.test"),
            (login("root"), "root@mx.test"),
            (login("games"), "games@two.test"),
            (Author { is_listed: false, ..login("uid7") }, "uid7@host.test"),
        ] {
            assert_eq!(author.address(&site, &disk).unwrap().to_string(), address);
        }
        let site = super::tests::site("catch_all = \"ann\"\n", "root: ann\n");
        assert_eq!(login("games").address(&site, &disk).unwrap().to_string(), "games@host.test");
    }

    #[test]
    fn who_a_login_may_be() {
        let (site, _) = Site::read(config("host.test")).unwrap();
        let ann = login("ann");
        for (sender, may) in [
            ("<>", true),
            ("<ann@host.test>", true),
            ("<Ann@HOST.test>", true),
            ("<ann@mx.test>", true),
            ("<ann+tag@mx.test>", true),
            ("<bob@mx.test>", false),
            ("<ann@two.test>", false),
            ("<bob@host.test>", false),
            ("<ann@far.test>", false),
        ] {
            let (path, _) = ReversePath::parse(sender.as_bytes()).unwrap();
            assert_eq!(ann.may_send_as(&site, &MemoryDisk::new(), &path), may, "{sender}");
        }
    }
}
