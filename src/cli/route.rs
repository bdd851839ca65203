//! `facteur route`: where mail for an address would go, by the functions that decide at RCPT and
//! before each attempt.
//!
//! Asks DNS for hosts elsewhere and connects to none of them. The steps are the session's and the
//! relay's own, so what it says is what a client would hear and what would become of its mail.

use super::terminal::escape;
use super::{Failure, Request, address, print, site};
use crate::mail::address::{ForwardPath, Host};
use crate::net::dns::DnsResolver;
use crate::route::next_hop::{Explained, Ourselves, explain, way};
use crate::route::{Destination, End, Route, mailbox_here, route};
use crate::site::Site;
use crate::store::disk::RealDisk;
use crate::store::maildir::exists;
use std::path::PathBuf;

/// Prints the steps of each address; fails when mail for one of them would be refused or returned,
/// but only after all of them were told.
pub fn run(request: &Request, addresses: &[&str]) -> Result<(), Failure> {
    let site = site(request)?;
    let mut abroad = None;
    let mut good = true;
    for text in addresses {
        let path = match address(text) {
            Ok(path) => path,
            Err(Failure::Failed(why)) => {
                good = false;
                print(&format!("{why}\n  refused: no server would take it\n"))?;
                continue;
            }
            Err(other) => return Err(other),
        };
        let Route { mut steps, end } = route(&site, &RealDisk, &path);
        match &end {
            End::Remote(host) => {
                steps.push(who_may_send(&site));
                good &= Abroad::get(&mut abroad, &site)?.tell(host, "", &mut steps);
            }
            End::Local(to, elsewhere) => {
                let place =
                    |to: &Destination| format!("{} in {}", to.mailbox, to.maildir.display());
                if !to.is_empty() {
                    let places: Vec<String> = to.iter().map(place).collect();
                    steps.push(format!("delivered to {}", places.join(" and to ")));
                }
                for mailbox in elsewhere {
                    steps.push(format!("sent on to {mailbox}"));
                    good &= Abroad::get(&mut abroad, &site)?.tell(&mailbox.host, "  ", &mut steps);
                }
            }
            End::Loop | End::Unknown | End::Trouble(_) => {
                good = false;
                steps.push(refusal(&end));
            }
        }
        // Names come from arguments, aliases and DNS; none may steer a terminal.
        let mut shown = format!("{}\n", escape(&path.to_string()));
        for step in steps {
            shown.push_str(&format!("  {}\n", escape(&step)));
        }
        print(&shown)?;
    }
    match good {
        true => Ok(()),
        false => Err(Failure::Told),
    }
}

/// What it takes to look beyond this host; made once the first address leads there, so that local
/// ones can be told without any DNS.
struct Abroad<'a> {
    site: &'a Site,
    resolver: DnsResolver,
    ourselves: Ourselves,
}

impl<'a> Abroad<'a> {
    fn get<'b>(made: &'b mut Option<Abroad<'a>>, site: &'a Site) -> Result<&'b Self, Failure> {
        if let Some(abroad) = made {
            return Ok(abroad);
        }
        let resolver = DnsResolver::new(&site.config.dns);
        let resolver = resolver.map_err(|error| Failure::Failed(error.to_string()))?;
        let ourselves = Ourselves::of(&site.config);
        Ok(made.insert(Abroad { site, resolver, ourselves }))
    }

    /// Adds the steps from here to the next hop; false when mail would be returned. Who may send
    /// there is not asked here, and a host that is down, or DNS that fails, only lets mail wait.
    fn tell(&self, host: &Host, indent: &str, steps: &mut Vec<String>) -> bool {
        let config = &self.site.config;
        let told = explain(config, &self.resolver, &self.ourselves, &way(config, host));
        let Explained { steps: found, hops, obstacle } = told;
        let returned = obstacle.as_ref().is_some_and(|obstacle| obstacle.is_permanent);
        let last = match (&hops[..], obstacle) {
            ([], Some(obstacle)) => {
                let verb = if returned { "returned" } else { "waits" };
                let (code, status) = (obstacle.code(), obstacle.status);
                format!("{verb} with {code} {status}: {}", obstacle.words)
            }
            ([], None) => "waits: no host found".to_owned(),
            ([only], _) => format!("sent to {only}"),
            ([first, rest @ ..], _) => {
                format!("sent to {first}, else to the next of {} more", rest.len())
            }
        };
        steps.extend(found.into_iter().chain([last]).map(|step| format!("{indent}{step}")));
        !returned
    }
}

/// The Maildir of a local address: its user's own, or the one mailbox that its alias leads to.
/// Fails with the step that refuses the address, or with all that an alias leads to: nobody can say
/// which of them was meant.
pub fn maildir(site: &Site, text: &str) -> Result<PathBuf, Failure> {
    let path = address(text)?;
    // A user may have an alias of the same name that sends copies elsewhere.
    if let ForwardPath::Mailbox(mailbox) = &path
        && let Ok(Some(own)) = mailbox_here(site, &RealDisk, mailbox)
        && matches!(exists(&RealDisk, &own.maildir), Ok(true))
    {
        return Ok(own.maildir);
    }
    let fail = |why: &str| Err(Failure::Failed(format!("{}: {}", escape(text), escape(why))));
    match route(site, &RealDisk, &path).end {
        End::Local(mut to, elsewhere) if to.len() == 1 && elsewhere.is_empty() => {
            Ok(to.remove(0).maildir)
        }
        End::Local(to, elsewhere) => {
            let here = to.iter().map(|to| to.mailbox.to_string());
            let names: Vec<String> =
                here.chain(elsewhere.iter().map(ToString::to_string)).collect();
            fail(&format!("no mailbox of its own, an alias of {}", names.join(", ")))
        }
        end => fail(&refusal(&end)),
    }
}

/// The step that says why there is no mailbox here. The codes are those that
/// [`crate::policy::recipient`] gives; the two stand apart because these words are for people.
fn refusal(end: &End) -> String {
    match end {
        End::Loop => "refused with 550 5.4.6: the alias leads back to itself".to_owned(),
        End::Unknown => "refused with 550 5.1.1: no such user".to_owned(),
        End::Trouble(error) => format!("refused with 451 4.3.0 for now: {error}"),
        End::Remote(host) => format!("{host} is not delivered here, so there is no mailbox"),
        End::Local(..) => "delivered here".to_owned(),
    }
}

/// Whose mail for other hosts is taken. Here is no client that it could be asked of.
fn who_may_send(site: &Site) -> String {
    let networks = &site.config.relay.networks;
    match networks.is_empty() {
        true => "only clients of relay.networks may send there, and it is empty: nobody".to_owned(),
        false => {
            let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
            format!("only clients of relay.networks may send there: {}", networks.join(", "))
        }
    }
}
