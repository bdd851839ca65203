//! `facteur route`: where mail for an address would go, by the function that decides at RCPT.
//!
//! Asks no other host, and the steps are the session's own, so what it says is what a client would
//! hear.

use super::terminal::escape;
use super::{Failure, Request, address, print, site};
use crate::mail::address::ForwardPath;
use crate::route::{End, Route, route, user};
use crate::site::Site;
use crate::store::disk::RealDisk;
use crate::store::maildir::exists;
use std::path::PathBuf;

/// Prints the steps of each address; fails when mail for one of them would be refused, but only
/// after all of them were told.
pub fn run(request: &Request, addresses: &[&str]) -> Result<(), Failure> {
    let site = site(request)?;
    let mut refused = false;
    for text in addresses {
        let path = match address(text) {
            Ok(path) => path,
            Err(Failure::Failed(why)) => {
                refused = true;
                print(&format!("{why}\n  refused: no server would take it\n"))?;
                continue;
            }
            Err(other) => return Err(other),
        };
        let Route { steps, end } = route(&site, &RealDisk, &path);
        // Names come from arguments and aliases; neither may steer a terminal.
        let mut shown = format!("{}\n", escape(&path.to_string()));
        for step in steps {
            shown.push_str(&format!("  {}\n", escape(&step)));
        }
        let (good, last) = last_step(&end);
        refused |= !good;
        print(&format!("{shown}  {}\n", escape(&last)))?;
    }
    match refused {
        true => Err(Failure::Told),
        false => Ok(()),
    }
}

/// The Maildir of a local address: its user's own, or the one mailbox that its alias leads to.
/// Fails with the step that refuses the address, or with all that an alias leads to: nobody can say
/// which of them was meant.
pub fn maildir(site: &Site, text: &str) -> Result<PathBuf, Failure> {
    let path = address(text)?;
    // A user may have an alias of the same name that sends copies elsewhere.
    if let ForwardPath::Mailbox(mailbox) = &path
        && let Some(own) = user(site, &RealDisk, mailbox)
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
        end => fail(&last_step(&end).1),
    }
}

/// Whether mail would be taken, and the step that says so. The codes are those that
/// [`crate::policy::recipient`] gives; the two stand apart because these words are for people.
fn last_step(end: &End) -> (bool, String) {
    match end {
        End::Local(to, elsewhere) if elsewhere.is_empty() => {
            let each = to.iter().map(|to| format!("{} in {}", to.mailbox, to.maildir.display()));
            (true, format!("delivered to {}", each.collect::<Vec<_>>().join(" and to ")))
        }
        // One target elsewhere refuses all of them: a session knows no half of a recipient.
        End::Local(_, elsewhere) => {
            let names: Vec<String> = elsewhere.iter().map(ToString::to_string).collect();
            let text = format!("{} is elsewhere, and relaying is not built yet", names.join(", "));
            (false, format!("refused with 451 4.3.0 for now: {text}"))
        }
        End::Loop => (false, "refused with 550 5.4.6: the alias leads back to itself".to_owned()),
        // No code: it depends on the client, and here is none.
        End::Remote(host) => {
            (false, format!("refused: {host} is not delivered here, and relaying is not built yet"))
        }
        End::Unknown => (false, "refused with 550 5.1.1: no such user".to_owned()),
        End::Trouble(error) => (false, format!("refused with 451 4.3.0 for now: {error}")),
    }
}
