//! A user of this machine as a sender of mail: the login, its address, and what else it may call itself.

use crate::config::Config;
use crate::mail::address::{Domain, ForwardPath, Host, LocalPart, Mailbox, ReversePath};
use crate::route::{End, resolve};
use crate::site::Site;
use crate::store::disk::Disk;
use nix::unistd::{Uid, User};
use std::io;

/// Who writes.
#[derive(Clone, Debug)]
pub struct Author {
    pub uid: u32,
    pub login: String,
    /// As the system's list of users has it; empty where it has none.
    pub name: String,
}

/// The domain of an address without one: that of `hostname` when mail for it is delivered here, else our
/// first; where we have none, `hostname` all the same.
pub fn home_of(config: &Config) -> &Domain {
    let domains = || config.domains.iter().map(|domain| &domain.name);
    let own = domains().find(|domain| **domain == config.hostname);
    own.or_else(|| domains().next()).unwrap_or(&config.hostname)
}

impl Author {
    /// The user of that number; none when the system knows none.
    pub fn find(uid: u32) -> io::Result<Option<Author>> {
        let user = User::from_uid(Uid::from_raw(uid))?;
        Ok(user.map(|user| {
            let gecos = user.gecos.to_string_lossy();
            // Office and telephones come behind commas, and & is the login with a capital (passwd(5)).
            let name = gecos.split(',').next().unwrap_or_default();
            let mut login = user.name.chars();
            let first = login.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
            let name = name.replace('&', &format!("{first}{}", login.as_str()));
            Author { uid, login: user.name, name }
        }))
    }

    /// The login at `hostname`; the error says why that is no address.
    pub fn address(&self, config: &Config) -> Result<Mailbox, String> {
        let host = Host::Domain(config.hostname.clone());
        let local = LocalPart::from_plain(&self.login);
        let local = local.map_err(|why| format!("the login of uid {} is none: {why}", self.uid))?;
        Ok(Mailbox { local, host })
    }

    /// Whether the login may send under this address: its own, or one here whose mail it gets, at least
    /// in part. `<>` is nobody's, and what answers by itself has to use it (RFC 3834 §3.3).
    pub fn may_be(&self, site: &Site, disk: &dyn Disk, sender: &ReversePath) -> bool {
        let ReversePath::Mailbox(sender) = sender else { return true };
        let lower = |mailbox: &Mailbox| mailbox.to_string().to_ascii_lowercase();
        let Ok(own) = self.address(&site.config) else { return false };
        if lower(sender) == lower(&own) {
            return true;
        }
        let of = |mailbox: Mailbox| match resolve(site, disk, &ForwardPath::Mailbox(mailbox)) {
            End::Local(here, _) => here.iter().map(|to| lower(&to.mailbox)).collect(),
            _ => Vec::new(),
        };
        let host = Host::Domain(home_of(&site.config).clone());
        let mine = of(Mailbox { host, ..own });
        of(sender.clone()).iter().any(|mailbox| mine.contains(mailbox))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            assert_eq!(home_of(&config(hostname)).as_str(), home);
        }
        let mut config = config("host.test");
        config.domains.clear();
        assert_eq!(home_of(&config).as_str(), "host.test");
    }

    #[test]
    fn who_a_login_may_be() {
        let (site, _) = Site::read(config("host.test")).unwrap();
        let ann = Author { uid: 1000, login: "ann".to_owned(), name: String::new() };
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
            assert_eq!(ann.may_be(&site, &MemoryDisk::new(), &path), may, "{sender}");
        }
    }
}
