//! `facteur route`: where mail for an address would go, by the function that decides at RCPT.

use super::terminal::escape;
use super::{Failure, Request, address, print, site};
use crate::route::{End, Route, route};
use crate::site::Site;
use crate::store::disk::RealDisk;
use std::path::PathBuf;

/// Prints the steps of each address; fails when mail for one of them would be refused.
pub fn run(request: &Request, addresses: &[&str]) -> Result<(), Failure> {
    let site = site(request)?;
    let mut refused = false;
    for text in addresses {
        let path = address(text)?;
        let Route { steps, end } = route(&site, &RealDisk, &path);
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

/// The Maildir of a local address.
pub fn maildir(site: &Site, text: &str) -> Result<PathBuf, Failure> {
    match route(site, &RealDisk, &address(text)?).end {
        End::Local(destination) => Ok(destination.maildir),
        end => Err(Failure::Failed(format!("{}: {}", escape(text), escape(&last_step(&end).1)))),
    }
}

/// Whether mail would be taken, and the step that says so.
fn last_step(end: &End) -> (bool, String) {
    match end {
        End::Local(to) => {
            (true, format!("delivered to {} in {}", to.mailbox, to.maildir.display()))
        }
        End::Remote(host) => {
            (false, format!("refused: {host} is not delivered here, and relaying is not built yet"))
        }
        End::Unknown => (false, "refused with 550 5.1.1: no such user".to_owned()),
        End::Trouble(error) => (false, format!("refused with 451 4.3.0 for now: {error}")),
    }
}
