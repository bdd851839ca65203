//! What becomes of a sender, a recipient, a message: an opinion on the facts of a session and on what was
//! found out about them. Of what a client asks for in good SMTP, nothing is refused by any other file, but
//! for what delivery fails at ([`crate::delivery::reply_to`]).
//!
//! What can be refused is refused here, in the session, so that nothing has to be returned later
//! (RFC 5321 §3.3, §7.8). Reads the site and the disk; changes nothing.

pub mod backup;
pub mod gates;
pub mod kept;
pub mod require_tls;
pub mod verdict;

use crate::event::{Event, tell};
use crate::filters::{FilteredMessage, MessageOpinion};
use crate::handoff::{Hint, Hints};
use crate::limits::HEADER_MAX;
use crate::mail::address::{ClientName, ForwardPath, Host, Mailbox, ReversePath};
use crate::mail::proof::findings::ProofFindings;
use crate::mail::summary::Summary;
use crate::mail::trace_fields;
use crate::net::listener::Service;
use crate::net::tls::Protection;
use crate::route::{
    self, Delivery, Destination, End, POSTMASTER, as_mailbox, is_named, mailbox_here, resolve,
};
use crate::site::Site;
use crate::smtp::command::EtrnNode;
use crate::smtp::reply::{Reply, quoted};
use crate::store::disk::{Disk, StoreError};
use crate::store::entry::Quarantine;
use crate::store::maildir;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use verdict::{By, JudgedMessage, Verdict};

/// What is known of a session and its client.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The session's id.
    pub id: String,
    pub client: IpAddr,
    /// What the client connected to.
    pub service: Service,
    /// As the client has named itself; none before its first MAIL.
    pub helo: Option<ClientName>,
    /// None in the clear.
    pub tls: Option<Protection>,
    /// The user as whom the client has logged in.
    pub user: Option<Mailbox>,
    /// The ends of its connection; known where there are filters, which are told of them.
    pub ends: Option<Ends>,
}

/// The ends of a connection, beside the client's address.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    pub client_port: u16,
    /// At which it was accepted.
    pub listener: SocketAddr,
}

impl Facts {
    /// As they are before the client has said anything.
    pub fn new(id: String, client: IpAddr, service: Service) -> Facts {
        Facts { id, client, service, helo: None, tls: None, user: None, ends: None }
    }
}

/// What becomes of a sender, a recipient or a message.
#[derive(Debug)]
pub enum Opinion {
    Take,
    /// The message is taken, with the mark of junk.
    Junk,
    Refuse(Reply),
    /// The message is taken and nobody gets it, as a filter wants it.
    Discard,
    /// The message is taken and waits for a person; `is_junk`: with the mark of junk.
    Hold {
        quarantine: Quarantine,
        is_junk: bool,
    },
}

impl Opinion {
    /// What a message that is taken is marked with: whether it is junk, and by whom it is held.
    pub fn marks(self) -> (bool, Option<Quarantine>) {
        match self {
            Opinion::Hold { quarantine, is_junk } => (is_junk, Some(quarantine)),
            opinion => (matches!(opinion, Opinion::Junk), None),
        }
    }

    /// For a caller that goes on where it is taken.
    pub fn or_refusal(self) -> Result<(), Reply> {
        match self {
            Opinion::Take | Opinion::Junk | Opinion::Discard | Opinion::Hold { .. } => Ok(()),
            Opinion::Refuse(reply) => Err(reply),
        }
    }
}

/// What was found out about a sender, a recipient or a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The disk has no room for a message of the size that was announced.
    NoRoom,
    /// The recipients so far lead to more mailboxes than are looked up for one message.
    ManyMailboxes,
    /// The aliases so far lead to more addresses elsewhere than one message may be sent on to.
    ManySentOn,
    /// With this alias the recipients of a dropped message, which cannot be sent in parts, are more than one
    /// message may be sent on to; the number: how many there may be.
    BeyondSentOn(Mailbox, usize),
    /// More mailboxes would come into being than may in one hour.
    ManyNewMailboxes,
    /// The user has written to as many recipients as he may in one hour.
    ManyRecipients,
    /// A recipient beside that of a bounce that goes back by us.
    BesideBounce,
    /// This sender of ours has got as many bounces as he may in one day.
    ManyBounces,
    /// The envelope is too long for a queue file.
    LongEnvelope,
    /// The header is longer than any may be.
    LongHeader,
    /// Others' headers take all the memory there is for long ones.
    ManyLongHeaders,
    /// The message has too many Received fields; the number: how many.
    Hops(usize),
    /// The message was delivered to this mailbox here before.
    WasDelivered(Mailbox),
    /// This alias has sent the message on before.
    WasSentOn(Mailbox),
    /// A list of this name has the client, and says these words of it, any octets.
    Listed(IpAddr, String, Option<Vec<u8>>),
    /// Whoever sends is new here, and is to come back after this.
    Greylisted(Duration),
}

impl Finding {
    /// Temporary, where the next hour or another transaction may take it.
    fn refusal(self) -> Reply {
        match self {
            Finding::NoRoom => {
                let text = "no room on the disk for a message of this size, try later";
                Reply::new(452, "4.3.1", text)
            }
            Finding::ManyMailboxes => {
                let text = "the recipients so far lead to very many mailboxes, send to these first";
                Reply::new(452, "4.5.3", text)
            }
            Finding::ManySentOn => {
                let text = "too many addresses to send on to, send to some recipients first";
                Reply::new(452, "4.5.3", text)
            }
            Finding::BeyondSentOn(via, most) => {
                let text = format!("<{via}>: more than {most} addresses to send on to with this");
                Reply::new(550, "5.5.3", text)
            }
            Finding::ManyNewMailboxes => {
                Reply::new(450, "4.2.1", "too many new mailboxes in this hour, try later")
            }
            Finding::ManyRecipients => {
                Reply::new(450, "4.7.1", "too many recipients in this hour, try later")
            }
            Finding::BesideBounce => {
                Reply::new(550, "5.5.3", "a bounce that goes back by us has one recipient")
            }
            Finding::ManyBounces => {
                Reply::new(450, "4.7.1", "too many bounces to this address today, try later")
            }
            Finding::LongEnvelope => {
                Reply::new(452, "4.5.3", "too many recipients, send to some of them first")
            }
            Finding::LongHeader => {
                Reply::new(552, "5.3.4", format!("the header is longer than {HEADER_MAX} octets"))
            }
            Finding::ManyLongHeaders => {
                Reply::new(452, "4.3.1", "no room for a header of this size, try later")
            }
            Finding::Hops(count) => looped(&format!("it has {count} Received fields")),
            Finding::WasDelivered(to) => {
                looped(&format!("it was delivered to {} before", quoted(to.to_string().as_bytes())))
            }
            // A list's words are a stranger's.
            Finding::Listed(client, list, words) => {
                let words = words.map(|words| format!(": {}", quoted(&words)));
                let text = format!("{client} is listed by {list}{}", words.unwrap_or_default());
                Reply::new(554, "5.7.1", text)
            }
            Finding::Greylisted(wait) => {
                let wait = match wait.as_secs() {
                    seconds @ 0..120 => format!("{} seconds", seconds.max(1)),
                    seconds => format!("{} minutes", seconds.div_ceil(60)),
                };
                let text = format!("greylisted, as you are new here: come back in {wait}");
                Reply::new(451, "4.7.1", text)
            }
            Finding::WasSentOn(via) => looped(&format!(
                "alias {} has sent it on before",
                quoted(via.to_string().as_bytes())
            )),
        }
    }
}

/// A message that has been here before (RFC 5321 §6.3).
fn looped(why: &str) -> Reply {
    Reply::new(554, "5.4.6", format!("the message loops: {why}"))
}

/// The opinion on these findings: the first one that is refused decides.
pub fn opinion(findings: impl IntoIterator<Item = Finding>) -> Opinion {
    match findings.into_iter().next() {
        Some(first) => Opinion::Refuse(first.refusal()),
        None => Opinion::Take,
    }
}

/// What becomes of a stranger's message by what was found out about its sender. At RCPT only a refusal counts.
pub fn judged(judged: &JudgedMessage, findings: &ProofFindings) -> Opinion {
    let reason = ascii(&judged.reason);
    match judged.verdict {
        Verdict::Accept => Opinion::Take,
        Verdict::Junk => Opinion::Junk,
        Verdict::Reject(By::Spf) => {
            // RFC 7208 §6.2: a stranger's words stand behind the name of who says them.
            let words = findings.mail_from.as_ref().and_then(|found| {
                let explanation = found.explanation.as_deref()?;
                Some(format!("; {} says: {explanation}", ascii(&found.domain)))
            });
            let text = format!("{reason}{}", words.unwrap_or_default());
            Opinion::Refuse(Reply::new(550, "5.7.23", text))
        }
        Verdict::Reject(By::Dmarc) => Opinion::Refuse(Reply::new(550, "5.7.1", reason)),
        Verdict::Defer => {
            let text = format!("DNS does not answer what decides, try later: {reason}");
            Opinion::Refuse(Reply::new(451, "4.7.0", text))
        }
    }
}

/// What becomes of a message by what filters made of it. `is_junk`: it is that already.
pub fn filtered(site: &Site, filtered: &FilteredMessage, is_junk: bool) -> Opinion {
    let fields = &site.config.trust.junk_fields;
    let says_junk =
        |(name, value): (&[u8], &[u8])| fields.iter().any(|field| field.is(name, value));
    let is_junk = is_junk || filtered.put_fields().any(says_junk);
    match (&filtered.opinion, &filtered.quarantine) {
        (MessageOpinion::Refuse(reply), _) => Opinion::Refuse(reply.clone()),
        (MessageOpinion::Discard { .. }, _) => Opinion::Discard,
        (MessageOpinion::Take, Some((filter, reason))) => {
            let quarantine = Quarantine { filter: filter.clone(), reason: reason.clone() };
            Opinion::Hold { quarantine, is_junk }
        }
        (MessageOpinion::Take, None) if is_junk => Opinion::Junk,
        (MessageOpinion::Take, None) => Opinion::Take,
    }
}

/// A reason, which quotes strangers, as a reply repeats it: in ASCII.
fn ascii(reason: &str) -> String {
    let is_plain = |c: char| matches!(c, ' '..='~');
    let shown = |c: char| if is_plain(c) { c.to_string() } else { c.escape_default().to_string() };
    reason.chars().map(shown).collect()
}

/// Any sender may begin a transaction, and whom it may write to is asked at RCPT; but where mail is
/// submitted only our users may (RFC 6409 §4.3), and those whom `relay.networks` names. A user writes
/// under his own address, or one that leads to him.
pub fn sender(site: &Site, disk: &dyn Disk, facts: &Facts, from: &ReversePath) -> Opinion {
    match (&facts.user, from) {
        (None, _) if facts.service.is_submission() && !is_trusted(site, facts.client) => {
            Opinion::Refuse(Reply::new(530, "5.7.0", "authentication required"))
        }
        // Receipts and the like, which nobody is to answer (RFC 5321 §4.5.5).
        (None, _) | (Some(_), ReversePath::Null) => Opinion::Take,
        (Some(user), ReversePath::Mailbox(mailbox)) => match is_own(site, disk, user, mailbox) {
            Ok(true) => Opinion::Take,
            Ok(false) => {
                let shown = quoted(mailbox.to_string().as_bytes());
                let text = format!("<{shown}> is not yours to send from");
                Opinion::Refuse(Reply::new(553, "5.7.1", text))
            }
            Err(error) => {
                let what = format!("sender {mailbox}: {error}");
                tell(&Event::Trouble { session: &facts.id, what: &what });
                Opinion::Refuse(Reply::new(451, "4.3.0", "local trouble, try later"))
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
        if found.user() == Some(user) {
            return Ok(true);
        }
        let is_other = found.here().map_or(Ok(true), |to| is_somebody(site, disk, to))?;
        if is_other {
            return Ok(false);
        }
    }
    if !is_named(site, disk, mailbox) {
        return Ok(false);
    }
    match resolve(site, disk, &ForwardPath::Mailbox(mailbox.clone())) {
        End::Local(deliveries) => Ok(deliveries.iter().any(|to| to.user() == Some(user))),
        End::Remote(_) | End::Unknown | End::Loop | End::Crowd => Ok(false),
        End::Trouble(error) => Err(error),
    }
}

/// Where a recipient's mail goes.
#[derive(Debug)]
pub struct Targets {
    /// Not empty, and those here first.
    pub deliveries: Vec<Delivery>,
    /// The recipient is a sender of ours by SRS, and this is whose bounces it takes.
    pub bounce_to: Option<Mailbox>,
}

/// Whether we take mail for a recipient, and where it goes.
pub fn recipient(
    site: &Site,
    disk: &dyn Disk,
    facts: &Facts,
    path: &ForwardPath,
) -> Result<Targets, Reply> {
    let may_relay = is_known(site, facts);
    targets(site, disk, &facts.id, may_relay, path)
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

/// A recipient whom a filter has added beside so many others: where its mail goes, as that of a target of an alias.
pub fn added_recipient(
    site: &Site,
    disk: &dyn Disk,
    session: &str,
    (path, others): (&ForwardPath, usize),
    summary: &Summary,
) -> Result<Targets, Reply> {
    let is_beyond = others >= site.config.limit.recipients;
    opinion(is_beyond.then_some(Finding::LongEnvelope)).or_refusal()?;
    let targets = recipient_of_ours(site, disk, session, path)?;
    let via = targets.deliveries.iter().find_map(Delivery::via);
    let loops = via.filter(|via| was_sent_on(site, summary, via));
    opinion(loops.cloned().map(Finding::WasSentOn)).or_refusal()?;
    Ok(targets)
}

/// Whether a recipient was refused only because a disk or DNS does not answer now: another time it may exist.
pub fn is_trouble_of_ours(reply: &Reply) -> bool {
    reply.code() == 451
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
                return back(site, disk, session, may_relay, path, sender);
            }
            Err(why) => {
                return Err(Reply::new(550, "5.1.1", format!("{}: {why}", shown(path))));
            }
        }
    }
    match resolve(site, disk, path) {
        End::Local(deliveries) => Ok(Targets { deliveries, bounce_to: None }),
        End::Loop => Err(Reply::new(550, "5.4.6", format!("{}: alias loops", shown(path)))),
        End::Crowd => {
            let text = format!("{}: leads to too many addresses elsewhere", shown(path));
            Err(Reply::new(550, "5.5.3", text))
        }
        End::Unknown => {
            Err(Reply::new(550, "5.1.1", format!("{}: no such user here", shown(path))))
        }
        End::Remote(_) if may_relay => {
            let onward = |mailbox| Delivery::NextHop { mailbox, via: None };
            let deliveries = as_mailbox(site, path).map(onward).into_iter().collect();
            Ok(Targets { deliveries, bounce_to: None })
        }
        End::Remote(_) if backup::is_one(site, path) => {
            backup::recipient(site, path)?;
            let onward = |mailbox| Delivery::NextHop { mailbox, via: None };
            let deliveries = as_mailbox(site, path).map(onward).into_iter().collect();
            Ok(Targets { deliveries, bounce_to: None })
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
pub fn bounce(path: &ForwardPath, targets: &Targets, is_null: bool, is_alone: bool) -> Opinion {
    match &targets.bounce_to {
        None => Opinion::Take,
        Some(_) if !is_null => {
            let text = format!("{}: takes bounces only, which come from <>", shown(path));
            Opinion::Refuse(Reply::new(550, "5.7.1", text))
        }
        Some(_) => opinion((!is_alone).then_some(Finding::BesideBounce)),
    }
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
    let (bounce_to, original) = (Some(sender.clone()), ForwardPath::Mailbox(sender.clone()));
    let deliveries = match resolve(site, disk, &original) {
        End::Remote(_) => {
            vec![Delivery::NextHop { mailbox: sender, via: as_mailbox(site, path) }]
        }
        // Its domain has become ours since.
        _ => targets(site, disk, session, may_relay, &original)?.deliveries,
    };
    Ok(Targets { deliveries, bounce_to })
}

/// ETRN: starts what waits for a domain (RFC 1985). Only for those who may send there as well: each
/// asks other hosts for something.
pub fn start(site: &Site, facts: &Facts, node: &EtrnNode, hints: &Hints) -> Result<Reply, Reply> {
    let EtrnNode { domain, and_below } = node;
    if !is_known(site, facts) {
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
pub fn is_known(site: &Site, facts: &Facts) -> bool {
    facts.user.is_some() || is_trusted(site, facts.client)
}

/// Whether its mail is judged: it is nobody whom we know, and no gateway that has done that (`trust.gateways`).
pub fn is_stranger(site: &Site, facts: &Facts) -> bool {
    !is_known(site, facts) && !is_gateway(site, facts)
}

/// Whether the results that its mail brings are not forged.
pub fn is_gateway(site: &Site, facts: &Facts) -> bool {
    let is_it = site.config.trust.gateways.iter().any(|network| network.contains(facts.client));
    is_it && !is_known(site, facts)
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

/// What the header of a message says against it: that it loops (RFC 5321 §6.3). `to`: the mailboxes here that
/// it is for.
pub fn message<'a>(
    site: &Site,
    summary: &Summary,
    mut to: impl Iterator<Item = &'a Destination>,
) -> Opinion {
    let hops = Some(summary.received).filter(|hops| *hops >= site.config.limit.hops);
    let was_there = |to: &&Destination| {
        let mailbox = to.mailbox.to_string();
        summary.delivered_to.iter().any(|seen| seen.eq_ignore_ascii_case(&mailbox))
    };
    let delivered = || to.find(was_there).map(|to| Finding::WasDelivered(to.mailbox.clone()));
    opinion(hops.map(Finding::Hops).or_else(delivered))
}

/// Whether an alias has sent this message on before, by the field that it put on top.
pub fn was_sent_on(site: &Site, summary: &Summary, via: &Mailbox) -> bool {
    if summary.delivered_to.is_empty() {
        return false;
    }
    let mark = route::mark(site, via);
    let forms = [mark.to_string(), trace_fields::in_ascii(&mark)];
    let is_it = |seen: &String| forms.iter().any(|form| form.eq_ignore_ascii_case(seen));
    summary.delivered_to.iter().any(is_it)
}

/// A recipient as a reply repeats it: in ASCII, as only VRFY and EXPN may be answered in UTF-8
/// (RFC 6531 §3.7.4.2).
fn shown(path: &ForwardPath) -> String {
    format!("<{}>", quoted(path.to_string().as_bytes()))
}
