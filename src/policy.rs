//! May this client, sender, recipient, message? Each answer is yes, or the reply that says no.
//!
//! What can be refused is refused here, in the session, so that nothing has to be returned later
//! (RFC 5321 §3.3, §7.8). Reads the site and the disk; changes nothing.

use crate::event::{Event, tell};
use crate::handoff::{Hint, Hints};
use crate::mail::address::{ForwardPath, Host, LocalPart, Mailbox, ReversePath};
use crate::mail::summary::Summary;
use crate::mail::trace;
use crate::net::listener::Service;
use crate::route::{self, Destination, End, POSTMASTER, is_named, mailbox_here, resolve};
use crate::site::Site;
use crate::smtp::command::Node;
use crate::smtp::reply::{Reply, quoted};
use crate::store::disk::{Disk, StoreError};
use crate::store::maildir;
use std::net::IpAddr;

/// Who came.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// The session's id.
    pub id: String,
    pub client: IpAddr,
    /// Where to.
    pub service: Service,
    /// Who it has shown to be.
    pub user: Option<Mailbox>,
}

/// Any sender may begin a transaction, and whom it may write to is asked at RCPT; but where mail is
/// submitted only our users may (RFC 6409 §4.3), and those whom `relay.networks` names. A user writes
/// under his own address, or one that leads to him.
pub fn sender(
    site: &Site,
    disk: &dyn Disk,
    visitor: &Visitor,
    from: &ReversePath,
) -> Result<(), Reply> {
    match (&visitor.user, from) {
        (None, _) if visitor.service.is_submission() && !is_trusted(site, visitor.client) => {
            Err(Reply::new(530, "5.7.0", "authentication required"))
        }
        // Receipts and the like, which nobody is to answer (RFC 5321 §4.5.5).
        (None, _) | (Some(_), ReversePath::Null) => Ok(()),
        (Some(user), ReversePath::Mailbox(mailbox)) => match is_own(site, disk, user, mailbox) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let shown = quoted(mailbox.to_string().as_bytes());
                let text = format!("<{shown}> is not yours to send from");
                Err(Reply::new(553, "5.7.1", text))
            }
            Err(error) => {
                let what = format!("sender {mailbox}: {error}");
                tell(&Event::Trouble { session: &visitor.id, what: &what });
                Err(Reply::new(451, "4.3.0", "local trouble, try later"))
            }
        },
    }
}

/// Whether an address is a user's own: his name, with a tag or not, or an alias that leads to him. The address of
/// another user never is, though an alias may bring him a copy of that one's mail; nor is what only `catch_all`
/// brings him.
pub fn is_own(
    site: &Site,
    disk: &dyn Disk,
    user: &Mailbox,
    mailbox: &Mailbox,
) -> Result<bool, StoreError> {
    if mailbox.host == user.host && mailbox.local.as_str().eq_ignore_ascii_case(user.local.as_str())
    {
        return Ok(true);
    }
    if let Some(found) = mailbox_here(site, disk, mailbox)? {
        if found.mailbox == *user {
            return Ok(true);
        }
        if is_somebody(site, disk, &found)? {
            return Ok(false);
        }
    }
    if !is_named(site, disk, mailbox) {
        return Ok(false);
    }
    match resolve(site, disk, &ForwardPath::Mailbox(mailbox.clone())) {
        End::Local(here, _) => Ok(here.iter().any(|found| found.mailbox == *user)),
        End::Remote(_) | End::Unknown | End::Loop | End::Crowd => Ok(false),
        End::Trouble(error) => Err(error),
    }
}

/// Where a recipient's mail goes; not both empty.
#[derive(Debug, Default)]
pub struct Targets {
    pub here: Vec<Destination>,
    pub elsewhere: Vec<Mailbox>,
    /// The address that led elsewhere by an alias, or a `catch_all`.
    pub via: Option<Mailbox>,
    /// The recipient is a sender of ours by SRS, and this is whose bounces it takes.
    pub bounce_to: Option<Mailbox>,
}

/// Whether we take mail for a recipient, and where it goes.
pub fn recipient(
    site: &Site,
    disk: &dyn Disk,
    visitor: &Visitor,
    path: &ForwardPath,
) -> Result<Targets, Reply> {
    let may_relay = is_known(site, visitor);
    targets(site, disk, &visitor.id, may_relay, path)
}

/// The same for a user of this machine, who may write to anybody.
pub fn recipient_of_ours(
    site: &Site,
    disk: &dyn Disk,
    session: &str,
    path: &ForwardPath,
) -> Result<Targets, Reply> {
    targets(site, disk, session, true, path)
}

fn targets(
    site: &Site,
    disk: &dyn Disk,
    session: &str,
    may_relay: bool,
    path: &ForwardPath,
) -> Result<Targets, Reply> {
    if let ForwardPath::Mailbox(mailbox) = path {
        match site.restored(mailbox) {
            Ok(None) => {}
            // A bounce of what an alias sent on: it has the right to go back where that came from.
            Ok(Some(sender)) => {
                let bounce_to = Some(sender.clone());
                let targets = back(site, disk, session, may_relay, path, sender)?;
                return Ok(Targets { bounce_to, ..targets });
            }
            Err(why) => {
                return Err(Reply::new(550, "5.1.1", format!("{}: {why}", shown(path))));
            }
        }
    }
    match resolve(site, disk, path) {
        End::Local(here, elsewhere) => {
            let via = (!elsewhere.is_empty()).then(|| as_mailbox(site, path)).flatten();
            Ok(Targets { here, elsewhere, via, bounce_to: None })
        }
        End::Loop => Err(Reply::new(550, "5.4.6", format!("{}: alias loops", shown(path)))),
        End::Crowd => {
            let text = format!("{}: leads to too many addresses elsewhere", shown(path));
            Err(Reply::new(550, "5.5.3", text))
        }
        End::Unknown => {
            Err(Reply::new(550, "5.1.1", format!("{}: no such user here", shown(path))))
        }
        End::Remote(_) if may_relay => {
            let elsewhere = as_mailbox(site, path).into_iter().collect();
            Ok(Targets { elsewhere, ..Targets::default() })
        }
        End::Remote(host) => {
            let text =
                format!("{}: {host} is not delivered here, and you may not relay", shown(path));
            Err(Reply::new(550, "5.7.1", text))
        }
        End::Trouble(error) => {
            let what = format!("recipient {path}: {error}");
            tell(&Event::Trouble { session, what: &what });
            Err(Reply::new(451, "4.3.0", format!("{}: local trouble, try later", shown(path))))
        }
    }
}

/// Whether a recipient may stand in this transaction as far as SRS is concerned: a sender of ours takes
/// bounces only, from `<>`, and each bounce has one recipient. Else whoever knows such an address could
/// send by it what he likes. `is_alone`: there is no other recipient.
pub fn bounce(
    path: &ForwardPath,
    targets: &Targets,
    is_null: bool,
    is_alone: bool,
) -> Result<(), Reply> {
    match &targets.bounce_to {
        None => Ok(()),
        Some(_) if !is_null => {
            let text = format!("{}: takes bounces only, which come from <>", shown(path));
            Err(Reply::new(550, "5.7.1", text))
        }
        Some(_) if !is_alone => Err(one_bounce()),
        Some(_) => Ok(()),
    }
}

/// What is said of a recipient beside that of a bounce.
pub fn one_bounce() -> Reply {
    Reply::new(550, "5.5.3", "a bounce that goes back by us has one recipient")
}

/// Where mail goes whose recipient is a sender of ours by SRS.
fn back(
    site: &Site,
    disk: &dyn Disk,
    session: &str,
    may_relay: bool,
    path: &ForwardPath,
    sender: Mailbox,
) -> Result<Targets, Reply> {
    let original = ForwardPath::Mailbox(sender.clone());
    match resolve(site, disk, &original) {
        End::Remote(_) => {
            let via = as_mailbox(site, path);
            Ok(Targets { elsewhere: vec![sender], via, ..Targets::default() })
        }
        // Its domain has become ours since.
        _ => targets(site, disk, session, may_relay, &original),
    }
}

/// `Postmaster` without a domain is that of the first, and so is whoever is at this host: no name that
/// means another host elsewhere gets out.
fn as_mailbox(site: &Site, path: &ForwardPath) -> Option<Mailbox> {
    match path {
        ForwardPath::Mailbox(mailbox) => Some(site.canonical(mailbox)),
        ForwardPath::Postmaster => site.domains().next().map(|local| Mailbox {
            local: LocalPart::of_user("postmaster"),
            host: Host::Domain(local.config.name.clone()),
        }),
    }
}

/// ETRN: starts what waits for a domain (RFC 1985). Only for those who may send there as well: each
/// asks other hosts for something.
pub fn start(site: &Site, visitor: &Visitor, node: &Node, hints: &Hints) -> Result<Reply, Reply> {
    let Node { domain, and_below } = node;
    if !is_known(site, visitor) {
        return Err(Reply::new(459, "4.7.1", format!("{domain}: you may not start its queue")));
    }
    if site.local(&Host::Domain(domain.clone())).is_some() && !and_below {
        return Ok(Reply::new(251, "2.0.0", format!("{domain} is delivered here, nothing waits")));
    }
    match hints.send(Hint::Flush(domain.clone(), *and_below)) {
        true => Ok(Reply::new(250, "2.0.0", format!("what waits for {domain} is started"))),
        false => Err(Reply::new(458, "4.3.2", format!("{domain}: too busy, try later"))),
    }
}

/// Whether a client may send anywhere without AUTH (`relay.networks`).
pub fn is_trusted(site: &Site, client: IpAddr) -> bool {
    site.config.relay.networks.iter().any(|network| network.contains(client))
}

/// Whether it is somebody whom we know: a user, or a client of `relay.networks`. They may relay, get
/// notices, ask who is who, and start what waits.
pub fn is_known(site: &Site, visitor: &Visitor) -> bool {
    visitor.user.is_some() || is_trusted(site, visitor.client)
}

/// Whether mail for a mailbox brings it into being: any name is a user there, and nobody has written this
/// one down or got mail as it yet. Postmaster always may (RFC 5321 §4.5.1).
pub fn is_new(site: &Site, disk: &dyn Disk, to: &Destination) -> bool {
    // What cannot be looked at is told by delivery.
    to.mailbox.local.as_str() != POSTMASTER && !is_somebody(site, disk, to).unwrap_or(true)
}

/// Whether a mailbox here is more than a name that could be one: somebody has written its user down, or
/// it has got mail.
fn is_somebody(site: &Site, disk: &dyn Disk, to: &Destination) -> Result<bool, StoreError> {
    let Host::Domain(domain) = &to.mailbox.host else { return Ok(true) };
    let name = to.mailbox.local.as_str();
    let Some(local) = site.domain(domain).filter(|local| local.config.any_user) else {
        return Ok(true);
    };
    let is_listed = local.users.is_some_and(|users| users.get(name).is_some());
    if is_listed { Ok(true) } else { maildir::exists(disk, &to.maildir) }
}

/// A message that has been here before is looping (RFC 5321 §6.3).
pub fn message<'a>(
    site: &Site,
    summary: &Summary,
    to: impl Iterator<Item = &'a Destination>,
) -> Result<(), Reply> {
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

/// Whether an alias has sent this message on before, by the field that it put on top.
pub fn was_sent_on(site: &Site, summary: &Summary, via: &Mailbox) -> bool {
    if summary.delivered_to.is_empty() {
        return false;
    }
    let mark = route::mark(site, via);
    let forms = [mark.to_string(), trace::in_ascii(&mark)];
    let is_it = |seen: &String| forms.iter().any(|form| form.eq_ignore_ascii_case(seen));
    summary.delivered_to.iter().any(is_it)
}

/// What is said of a message that an alias has sent on before.
pub fn sent_on(via: &Mailbox) -> Reply {
    let shown = quoted(via.to_string().as_bytes());
    let text = format!("the message loops: alias {shown} has sent it on before");
    Reply::new(554, "5.4.6", text)
}

/// A recipient as a reply repeats it: in ASCII, as only VRFY and EXPN may be answered in UTF-8
/// (RFC 6531 §3.7.4.2).
fn shown(path: &ForwardPath) -> String {
    format!("<{}>", quoted(path.to_string().as_bytes()))
}
