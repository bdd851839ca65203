//! May this client, sender, recipient, message? Each answer is yes, or the reply that says no.
//!
//! What can be refused is refused here, in the session, so that nothing has to be returned later
//! (RFC 5321 §3.3, §7.8). Reads the site and the disk; changes nothing.

use crate::event::{Event, tell};
use crate::mail::address::{ForwardPath, ReversePath};
use crate::mail::header::Summary;
use crate::route::{Destination, End, resolve};
use crate::site::Site;
use crate::smtp::reply::{Reply, quoted};
use crate::store::disk::Disk;
use std::net::IpAddr;

/// Who came.
pub struct Visitor {
    /// The session's id.
    pub id: String,
    pub client: IpAddr,
}

/// Any sender may begin a transaction; whom it may write to is asked at RCPT.
pub fn sender(_from: &ReversePath) -> Result<(), Reply> {
    Ok(())
}

/// Where a recipient's mail goes; never empty.
pub fn recipient(
    site: &Site,
    disk: &dyn Disk,
    visitor: &Visitor,
    path: &ForwardPath,
) -> Result<Vec<Destination>, Reply> {
    match resolve(site, disk, path) {
        End::Local(destinations, elsewhere) if elsewhere.is_empty() => Ok(destinations),
        // Relaying is a part of its own, not built yet; for the mailboxes here it would be too soon.
        End::Local(..) => {
            let text = format!("{}: cannot forward to other hosts yet, try later", shown(path));
            Err(Reply::new(451, "4.3.0", text))
        }
        End::Loop => Err(Reply::new(550, "5.4.6", format!("{}: alias loops", shown(path)))),
        End::Unknown => {
            Err(Reply::new(550, "5.1.1", format!("{}: no such user here", shown(path))))
        }
        // Who may relay is told to wait, not to go.
        End::Remote(_) if is_trusted(site, visitor.client) => {
            Err(Reply::new(451, "4.3.0", format!("{}: cannot relay yet, try later", shown(path))))
        }
        End::Remote(host) => {
            let text =
                format!("{}: {host} is not delivered here, and you may not relay", shown(path));
            Err(Reply::new(550, "5.7.1", text))
        }
        End::Trouble(error) => {
            let what = format!("recipient {path}: {error}");
            tell(&Event::Trouble { session: &visitor.id, what: &what });
            Err(Reply::new(451, "4.3.0", format!("{}: local trouble, try later", shown(path))))
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
            let shown = quoted(mailbox.as_bytes());
            let text = format!("the message loops: it was delivered to {shown} before");
            return Err(Reply::new(554, "5.4.6", text));
        }
    }
    Ok(())
}

/// A recipient as a reply repeats it: in ASCII, as only VRFY and EXPN may be answered in UTF-8
/// (RFC 6531 §3.7.4.2).
fn shown(path: &ForwardPath) -> String {
    format!("<{}>", quoted(path.to_string().as_bytes()))
}
