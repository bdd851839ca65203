//! `facteur route`: where mail for an address would go, by the functions that decide at RCPT and before
//! each attempt.
//!
//! What a session decides is asked of the same functions, what only a delivery shows is tried on a disk where
//! nothing happens ([`trial`]), as the server's user, and the next hop is asked whether it answers ([`greet`]); no MAIL is ever said to it, but to a server that keeps our
//! mail, which hears MAIL and RCPT and no DATA. So what it says is
//! what a client would hear and what would become of its mail.

mod greet;
mod onward;
mod place;
#[cfg(test)]
mod tests;
mod told;
mod trial;

use super::terminal::escape;
use super::{Failure, Request, address, config, print};
use crate::mail::address::{Domain, ForwardPath, ReversePath};
use crate::privileges;
use crate::reach;
use crate::route::{Delivery, End, POSTMASTER, mailbox_here, route};
use crate::site::Site;
use crate::store::disk::RealDisk;
use crate::store::maildir::exists;
use crate::store::secret;
use nix::unistd::geteuid;
pub(super) use place::{owned, shown as room_shown};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
pub(super) use told::UNPROVED;
use told::{Asker, refusal};
pub(super) use trial::obstacle;

/// Prints the steps of each address. Fails at the end when mail for one of them would be refused or
/// returned.
pub fn run(request: &Request, addresses: &[&str]) -> Result<(), Failure> {
    let (from, client) = (sender(request)?, client(request)?);
    let config = config(request)?;
    let home = config.home().clone();
    let (user, is_known) = match reach::user(&config) {
        Ok(user) => (user, true),
        // The configuration may be meant for another machine: the routes can be shown all the same.
        Err(_) if !geteuid().is_root() => (None, false),
        Err(why) => return Err(Failure::Failed(why)),
    };
    // From here on not as root, unless the server is; a process without root keeps its user.
    let server = reach::server(&config, user.as_ref())?;
    privileges::become_user(server.as_ref())?;
    let is_judge = is_known && reach::is_as_server(&config, user.as_ref());
    let (site, _) = Site::read_names(config).map_err(|error| error.to_string())?;
    let (site, gap) = with_keys(site);
    let asker = Asker::new(site, gap, is_judge, from, client);
    let mut good = true;
    for text in addresses {
        let path = match address(&whole(text, &home)) {
            Ok(path) => path,
            Err(Failure::Failed(why)) => {
                good = false;
                print(&format!("{why}\n  refused: no server would take it\n"))?;
                continue;
            }
            Err(other) => return Err(other),
        };
        let told = asker.ask(&path);
        good &= told.is_good;
        // Escaped, because names come from arguments, aliases and DNS.
        let mut shown = format!("{}\n", escape(&path.to_string()));
        for step in told.steps {
            shown.push_str(&format!("  {}\n", escape(&step)));
        }
        print(&shown)?;
    }
    match good {
        true => Ok(()),
        false => Err(Failure::Told),
    }
}

/// Completes a name without a domain as sendmail does; Postmaster needs none.
fn whole(text: &str, home: &Domain) -> String {
    let bare = text.strip_prefix('<').and_then(|t| t.strip_suffix('>')).unwrap_or(text);
    match bare.contains('@') || bare.eq_ignore_ascii_case(POSTMASTER) {
        true => text.to_owned(),
        false => format!("{bare}@{home}"),
    }
}

/// The sender by `--from`; none without it.
pub(super) fn sender(request: &Request) -> Result<Option<ReversePath>, Failure> {
    Ok(match request.from.as_deref() {
        None => None,
        Some("" | "<>") => Some(ReversePath::Null),
        Some(text) => match address(text)? {
            ForwardPath::Mailbox(mailbox) => Some(ReversePath::Mailbox(mailbox)),
            ForwardPath::Postmaster => {
                let why = "--from: a sender needs a domain".to_owned();
                return Err(Failure::Failed(why));
            }
        },
    })
}

/// Of `--client`.
pub(super) fn client(request: &Request) -> Result<Option<IpAddr>, Failure> {
    let parse = |text: &str| {
        let client: Result<IpAddr, _> = text.parse();
        let why = || Failure::Usage(format!("--client: expected an IP address, found {text:?}"));
        client.map(|client| client.to_canonical()).map_err(|_| why())
    };
    request.client.as_deref().map(parse).transpose()
}

/// The site with the secrets of SRS, or why they cannot be read. Makes none: the server does.
fn with_keys(site: Site) -> (Site, Option<String>) {
    match secret::load(&RealDisk, &site.config.spool) {
        Ok(Some(keys)) => (site.with_keys(Arc::new(keys)), None),
        Ok(None) => (site, Some("no server has made the SRS secret yet".to_owned())),
        Err(error) => (site, Some(format!("the SRS secret cannot be read: {error}"))),
    }
}

/// The Maildir of a local address: its user's own, or the one mailbox that its alias leads to. Fails with
/// the step that refuses the address, or with all targets of an alias, because it is not clear which was
/// meant.
pub fn maildir(site: &Site, text: &str) -> Result<PathBuf, Failure> {
    let path = address(text)?;
    // A user may have an alias of the same name that sends copies elsewhere.
    if let ForwardPath::Mailbox(mailbox) = &path
        && let Ok(Some(Delivery::Maildir(own))) = mailbox_here(site, &RealDisk, mailbox)
        && matches!(exists(&RealDisk, &own.maildir), Ok(true))
    {
        return Ok(own.maildir);
    }
    let fail = |why: &str| Err(Failure::Failed(format!("{}: {}", escape(text), escape(why))));
    match route(site, &RealDisk, &path).end {
        End::Local(deliveries) => match &deliveries[..] {
            [Delivery::Maildir(only)] => Ok(only.maildir.clone()),
            [Delivery::Lmtp(only)] => fail(&format!("its mail is kept by {}", only.server)),
            several => {
                let names: Vec<String> =
                    several.iter().map(|to| to.mailbox().to_string()).collect();
                fail(&format!("no mailbox of its own, an alias of {}", names.join(", ")))
            }
        },
        end => fail(&refusal(&end)),
    }
}
