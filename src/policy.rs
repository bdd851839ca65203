//! May this client, sender, recipient, message? Each answer is yes, or the reply that says no.
//!
//! What can be refused is refused here, in the session, so that nothing has to be returned later
//! (RFC 5321 §3.3, §7.8). Reads the site and the disk; changes nothing.

use crate::event::{Event, tell};
use crate::mail::address::{ForwardPath, ReversePath};
use crate::mail::header::Summary;
use crate::route::{Destination, End, route};
use crate::site::Site;
use crate::smtp::reply::Reply;
use crate::store::disk::Disk;
use std::net::IpAddr;

/// Any sender may begin a transaction; whom it may write to is asked at RCPT.
pub fn sender(_from: &ReversePath) -> Result<(), Reply> {
    Ok(())
}

/// Where a recipient's mail goes.
pub fn recipient(
    site: &Site,
    disk: &dyn Disk,
    client: IpAddr,
    path: &ForwardPath,
) -> Result<Destination, Reply> {
    match route(site, disk, path).end {
        End::Local(destination) => Ok(destination),
        End::Unknown => Err(Reply::new(550, "5.1.1", format!("<{path}>: no such user here"))),
        // Relaying is a part of its own, not built yet: who may relay is told to wait, not to go.
        End::Remote(_) if is_trusted(site, client) => {
            Err(Reply::new(451, "4.3.0", format!("<{path}>: cannot relay yet, try later")))
        }
        End::Remote(host) => {
            let text = format!("<{path}>: {host} is not delivered here, and you may not relay");
            Err(Reply::new(550, "5.7.1", text))
        }
        End::Trouble(error) => {
            tell(&Event::Warning { what: &format!("recipient {path}: {error}") });
            Err(Reply::new(451, "4.3.0", format!("<{path}>: local trouble, try later")))
        }
    }
}

/// Whether a client may send anywhere without AUTH (`relay.networks`).
pub fn is_trusted(site: &Site, client: IpAddr) -> bool {
    site.config.relay.networks.iter().any(|network| network.contains(client))
}

/// A message that has been here before is looping (RFC 5321 §6.3).
pub fn message(site: &Site, summary: &Summary, to: &[Destination]) -> Result<(), Reply> {
    if summary.received >= site.config.limit.hops {
        let text = format!("the message loops: it has {} Received fields", summary.received);
        return Err(Reply::new(554, "5.4.6", text));
    }
    for destination in to {
        let mailbox = destination.mailbox.to_string();
        if summary.delivered_to.iter().any(|seen| seen.eq_ignore_ascii_case(&mailbox)) {
            let text = format!("the message loops: it was delivered to {mailbox} before");
            return Err(Reply::new(554, "5.4.6", text));
        }
    }
    Ok(())
}
