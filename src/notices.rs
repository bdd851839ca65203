//! Notices: which address is told what became of a message. A notice is a message of ours; it lies in the
//! queue, synced, before a journal says that anything failed (RFC 3461 §5.2, RFC 5321 §6.1).
//!
//! It goes to the sender when the client was trusted. The sender address of other mail may be forged, and a
//! notice would hit a person that never wrote (RFC 5321 §7.8): those failures go to the postmaster of the
//! domain here that the mail was for. Where this host is a backup MX, a sender that SPF or a signature proves is
//! told as well. When a notice of ours fails, a postmaster is told; when a notice to a
//! postmaster fails, nobody is. So mail from `<>` never makes mail to other hosts.

mod explained;
mod reports;

pub use explained::{SeenRecords, apart};
pub use reports::Reports;

use crate::config::Relay;
use crate::event::{Event, tell};
use crate::limits::{NOTICE_HEADER_MAX, NOTICE_MESSAGE_MAX};
use crate::mail::address::{ForwardPath, Host, LocalPart, Mailbox, ReversePath};
use crate::mail::dsn::{
    Notice, NoticeAction, NoticeText, Original, ToldRecipient, returned, wants,
};
use crate::mail::edits::Edits;
use crate::mail::envelope::{Ret, Sender, TlsWish};
use crate::mail::header::Header;
use crate::mail::{fields, words};
use crate::outcome::RecipientOutcome;
use crate::relay::survey;
use crate::retry;
use crate::route::{End, resolve};
use crate::signature::{OwnMessage, Signature, TakeOctets, signature};
use crate::site::Site;
use crate::store::disk::{Disk, Doing, StoreError};
use crate::store::entry::{Addressee, Entry, RecipientProgress, What};
use crate::store::queue::{Claimed, Queue};
use crate::store::sum::Sum;
use jiff::{Timestamp, ZonedDateTime};
use std::collections::BTreeMap;
use std::time::Instant;

/// What a notice says about one recipient.
struct NoticeItem<'a> {
    outcome: &'a RecipientOutcome,
    action: NoticeAction,
    /// When the time of its recipient is over.
    until: Timestamp,
    /// What our own records say, where it was refused for these.
    seen: Vec<String>,
}

/// What is needed to write notices.
pub struct NoticeContext<'a> {
    pub site: &'a Site,
    pub disk: &'a dyn Disk,
    pub queue: &'a Queue,
    /// Limits how often a postmaster hears that notices of ours failed; without it, of each one.
    pub reports: Option<&'a Reports>,
    /// Remembers what our own records say; without it DNS is not asked.
    pub seen: Option<&'a SeenRecords>,
}

/// The notices that were written, and what could not be told.
#[derive(Default)]
pub struct Sent {
    /// The notices, as they lie in the queue.
    pub notices: Vec<Entry>,
    /// Recipients, by their place in the envelope, whose delay was announced.
    pub announced: Vec<usize>,
    /// Recipients whose notice could not be written, and why.
    pub untold: Vec<(usize, String)>,
}

impl Sent {
    fn add_untold(&mut self, items: &[NoticeItem<'_>], error: &StoreError) {
        self.untold.extend(items.iter().map(|item| (item.outcome.recipient, error.to_string())));
    }
}

/// The message that a notice is about, and how much of it the notice returns.
struct NoticeSource<'a> {
    entry: &'a Entry,
    /// The header of the message, with its last line end.
    header: Vec<u8>,
    /// The message as it lies in the queue; none where only the header is known.
    claimed: Option<&'a Claimed>,
    /// How many other notices of ours failed that nobody was told of.
    others: u64,
}

/// Writes the notices that these outcomes ask for into the queue, durably. A notice that cannot be written
/// keeps no other from being sent.
pub fn send(context: &NoticeContext<'_>, claimed: &Claimed, outcomes: &[RecipientOutcome]) -> Sent {
    let progress = |recipient| claimed.progress(recipient);
    let entry = &claimed.message.entry;
    let mut addressed = addressed(context, entry, outcomes, &progress);
    if addressed.is_empty() {
        return Sent::default();
    }
    let reports = context.reports.filter(|_| is_report(entry));
    let others = match reports.map(|reports| reports.failed(Instant::now())) {
        Some(None) => return Sent::default(),
        others => others.flatten().unwrap_or_default(),
    };
    let sent = match header(claimed) {
        Ok(header) => {
            explained::explain(context, entry, &header, &mut addressed);
            let source = NoticeSource { entry, header, claimed: Some(claimed), others };
            write_all(context, &source, addressed)
        }
        Err(error) => {
            let mut sent = Sent::default();
            addressed.values().for_each(|(_, items)| sent.add_untold(items, &error));
            sent
        }
    };
    if let Some(reports) = reports.filter(|_| !sent.untold.is_empty()) {
        reports.missed(others);
    }
    sent
}

/// Whether a message is a notice of ours: these have no session.
fn is_report(entry: &Entry) -> bool {
    entry.sender.from == ReversePath::Null && entry.session.is_empty()
}

/// The same for copies that were delivered at once, without the queue: all recipients of `entry` are
/// delivered; `header` is the message's.
pub fn delivered(context: &NoticeContext<'_>, entry: &Entry, header: &[u8]) -> Sent {
    let delivered = |index| RecipientOutcome::own(index, What::Delivered, "2.0.0", "");
    let outcomes: Vec<RecipientOutcome> = (0..entry.recipients.len()).map(delivered).collect();
    of_session(context, entry, &outcomes, header)
}

/// The same for any outcomes of a message that does not lie in the queue.
pub fn of_session(
    context: &NoticeContext<'_>,
    entry: &Entry,
    outcomes: &[RecipientOutcome],
    header: &[u8],
) -> Sent {
    let addressed = addressed(context, entry, outcomes, &|_| RecipientProgress::default());
    let source =
        NoticeSource { entry, header: only_header(header.to_vec()), claimed: None, others: 0 };
    write_all(context, &source, addressed)
}

/// What is to be told to each address.
type Addressed<'a> = BTreeMap<String, (Mailbox, Vec<NoticeItem<'a>>)>;

fn addressed<'a>(
    context: &NoticeContext<'_>,
    entry: &Entry,
    outcomes: &'a [RecipientOutcome],
    progress: &dyn Fn(usize) -> RecipientProgress,
) -> Addressed<'a> {
    let (mut addressed, now) = (Addressed::new(), Timestamp::now());
    if entry.is_tls_report() {
        return addressed;
    }
    for outcome in outcomes {
        let progress = progress(outcome.recipient);
        let action = action(entry, outcome, &progress, &context.site.config.relay, now);
        let Some(action) = action else { continue };
        if let Some(to) = audience(context, entry, outcome.recipient, action) {
            let for_one = addressed.entry(to.to_string()).or_insert_with(|| (to, Vec::new()));
            let until = retry::expires(entry, &progress, &context.site.config.relay, now);
            for_one.1.push(NoticeItem { outcome, action, until, seen: Vec::new() });
        }
    }
    addressed
}

fn write_all(
    context: &NoticeContext<'_>,
    source: &NoticeSource<'_>,
    addressed: Addressed<'_>,
) -> Sent {
    let mut sent = Sent::default();
    for (to, items) in addressed.into_values() {
        match write(context, source, &to, &items) {
            Ok(notice) => sent.notices.push(notice),
            Err(error) => {
                sent.add_untold(&items, &error);
                continue;
            }
        }
        let delayed = items.iter().filter(|item| item.action == NoticeAction::Delayed);
        sent.announced.extend(delayed.map(|item| item.outcome.recipient));
    }
    sent
}

/// What a notice says about an outcome, if there is to be one.
fn action(
    entry: &Entry,
    outcome: &RecipientOutcome,
    progress: &RecipientProgress,
    relay: &Relay,
    now: Timestamp,
) -> Option<NoticeAction> {
    let notify = entry.recipients[outcome.recipient].notify;
    match outcome.what {
        What::Failed => Some(NoticeAction::Failed),
        What::Delivered if outcome.is_passed_on => None,
        What::Delivered => Some(NoticeAction::Delivered),
        // The next hop tells the sender, but only where NOTIFY was given.
        What::Relayed if outcome.is_passed_on && notify.is_some() => None,
        What::Relayed => Some(NoticeAction::Relayed),
        What::Deferred | What::Held => {
            let notice = relay.delay_notice;
            let is_late = retry::waited(entry, progress, relay, now) >= notice;
            (!notice.is_zero() && is_late && !progress.is_announced)
                .then_some(NoticeAction::Delayed)
        }
        What::Asked | What::Released | What::Announced => None,
    }
    .filter(|action| {
        // A sender that was told of the delay is also told the end, unless NOTIFY says otherwise.
        *action == NoticeAction::Failed
            || wants(notify, *action)
            || progress.is_announced && notify.is_none()
    })
}

/// The address that is told; none when nobody is.
fn audience(
    context: &NoticeContext<'_>,
    entry: &Entry,
    recipient: usize,
    action: NoticeAction,
) -> Option<Mailbox> {
    let (to, site) = (&entry.recipients[recipient], context.site);
    let sender = match &entry.sender.from {
        ReversePath::Mailbox(sender) => Some(sender),
        ReversePath::Null => None,
    };
    let is_backup = site.has_at_backup(&to.mailbox).is_some() && action == NoticeAction::Failed;
    match sender {
        // An alias here sent it on, so the failure is about an address that the sender does not know
        // (contract, "What a reply means").
        Some(_) if to.via.is_some() && action == NoticeAction::Failed => {
            to.via.as_ref().and_then(|via| postmaster(site, Some(via)))
        }
        // The sender would not be told of the end, so it is not told of the delay either.
        Some(_) if to.via.is_some() && action == NoticeAction::Delayed => None,
        // This host is its backup MX, and what the better one refuses goes back to who surely wrote it.
        Some(sender) if entry.is_trusted || is_backup && entry.is_proved => {
            let is_wanted = action != NoticeAction::Failed || wants(to.notify, action);
            is_wanted.then(|| sender.clone())
        }
        Some(_) if action == NoticeAction::Failed => postmaster(site, Some(&to.mailbox)),
        None if action == NoticeAction::Failed && is_report(entry) => {
            let postmaster = postmaster(site, None)?;
            let is_its = leads_to(site, context.disk, &postmaster).contains(&to.mailbox);
            (!is_its && to.mailbox != postmaster).then_some(postmaster)
        }
        _ => None,
    }
}

/// The postmaster of the domain of an address when it is ours, else that of our first domain. A host that is
/// only a backup MX has no other than that of the domain it is a backup for.
fn postmaster(site: &Site, of: Option<&Mailbox>) -> Option<Mailbox> {
    let own = of.and_then(|mailbox| site.local(&mailbox.host));
    let host = match own.or_else(|| site.domains().next()) {
        Some(local) => Host::Domain(local.config.name.clone()),
        None => of.filter(|mailbox| site.has_at_backup(mailbox).is_some())?.host.clone(),
    };
    Some(Mailbox { local: LocalPart::of_user("postmaster"), host })
}

/// The recipients of a message of ours for this address.
pub fn addressees(site: &Site, disk: &dyn Disk, to: &Mailbox) -> Vec<Addressee> {
    let addressee = |mailbox: Mailbox| {
        let via = (mailbox != *to).then(|| to.clone());
        Addressee { mailbox, notify: None, orcpt: None, via }
    };
    leads_to(site, disk, to).into_iter().map(addressee).collect()
}

/// The mailboxes that an address of ours leads to; the address itself where that cannot be found out.
fn leads_to(site: &Site, disk: &dyn Disk, to: &Mailbox) -> Vec<Mailbox> {
    match resolve(site, disk, &ForwardPath::Mailbox(to.clone())) {
        End::Local(deliveries) => deliveries.iter().map(|to| to.mailbox().clone()).collect(),
        _ => vec![to.clone()],
    }
}

fn write(
    context: &NoticeContext<'_>,
    source: &NoticeSource<'_>,
    to: &Mailbox,
    items: &[NoticeItem<'_>],
) -> Result<Entry, StoreError> {
    let NoticeSource { entry, header, claimed, others } = source;
    let now = Timestamp::now();
    let told: Vec<ToldRecipient<'_>> =
        items.iter().map(|item| item.told_recipient(entry, now)).collect();
    // What asks for TLS is returned by TLS, and never whole (RFC 8689 §5). That TLS is not required was said
    // of another way than the one back.
    let tls = match entry.sender.tls {
        TlsWish::Required => TlsWish::Required,
        TlsWish::Usual | TlsWish::NotRequired => TlsWish::Usual,
    };
    // The whole message only where that was asked for, or where it is small.
    let ret = match entry.sender.ret {
        _ if tls == TlsWish::Required => Some(Ret::Headers),
        None if entry.size > NOTICE_MESSAGE_MAX => Some(Ret::Headers),
        ret => ret,
    };
    let whole = claimed.filter(|_| returned(ret, &told) == Ret::Full);
    let subject = fields::Fields::read(header).subject.map(|value| words::decode(&value));
    let (ret, size, eight_bit) = match whole {
        Some(claimed) => (Ret::Full, entry.size, is_eight_bit(claimed)?),
        None => (Ret::Headers, header.len() as u64, !header.is_ascii()),
    };
    let id = crate::id::message();
    let notice = Notice {
        id: &id,
        random: crate::id::random(),
        reporting_mta: &context.site.config.hostname,
        date: &ZonedDateTime::now(),
        to,
        original: Original {
            id: &entry.id,
            sender: &entry.sender.from,
            arrival: entry.queued,
            envid: entry.sender.envid.as_deref(),
            subject: subject.as_deref(),
            smtputf8: entry.sender.smtputf8,
            returned: ret,
            eight_bit,
        },
        recipients: told,
        others: *others,
    };
    let mut written = notice.write();
    let recipients = addressees(context.site, context.disk, to);
    let (body, smtputf8) = (written.body, written.smtputf8);
    let signature = signed(context.site, &written, whole.ok_or(&header[..]))?;
    written.head.insert_str(0, signature.as_ref().map_or("", Signature::fields));
    let middle = match whole {
        Some(_) => entry.sum,
        None => Some(Sum::of(header).value()),
    };
    let sum = middle.map(|middle| {
        let mut sum = Sum::of(written.head.as_bytes());
        sum.append(middle, size);
        sum.feed(written.tail.as_bytes());
        sum.value()
    });
    let new = Entry {
        id: id.clone(),
        queued: now,
        session: String::new(),
        sender: Sender { body, smtputf8, tls, ..Sender::new(ReversePath::Null) },
        is_trusted: true,
        recipients,
        size: written.head.len() as u64 + size + written.tail.len() as u64,
        sum,
        wire: None,
        is_junk: false,
        is_proved: false,
        signature: signature.as_ref().map(Signature::in_queue).unwrap_or_default(),
        quarantine: None,
        is_unfiltered: false,
        others: Vec::new(),
        message_at: 0,
    };
    context.queue.insert(&new, |file, path| {
        file.append(written.head.as_bytes()).doing("write", path)?;
        match whole {
            Some(claimed) => {
                claimed.part(&claimed.path()).copy_to(&Edits::default(), file, path)?;
            }
            None => file.append(header).doing("write", path)?,
        }
        file.append(written.tail.as_bytes()).doing("write", path)
    })?;
    let what =
        items.iter().map(|item| item.action).min().unwrap_or(NoticeAction::Failed).to_string();
    tell(&Event::Noticed { id: &entry.id, notice: &id, to: &to.to_string(), what: &what });
    if let Some(signature) = signature {
        signature.tell(&id);
    }
    Ok(new)
}

/// Signs a notice. What it returns stands between its head and its tail.
fn signed(
    site: &Site,
    written: &NoticeText,
    returned: Result<&Claimed, &[u8]>,
) -> Result<Option<Signature>, StoreError> {
    let view = |take: &mut TakeOctets<'_>| {
        if take(written.head.as_bytes()).is_break() {
            return Ok(());
        }
        match returned {
            Ok(claimed) => claimed.part(&claimed.path()).view(&Edits::default(), take)?,
            Err(header) => drop(take(header)),
        }
        let _ = take(written.tail.as_bytes());
        Ok(())
    };
    signature(site, &OwnMessage::new(&view))
}

impl<'a> NoticeItem<'a> {
    fn told_recipient(&'a self, entry: &'a Entry, now: Timestamp) -> ToldRecipient<'a> {
        let NoticeItem { outcome, action, until, seen } = self;
        let to = &entry.recipients[outcome.recipient];
        let (diagnostic, place, words) = outcome.for_sender();
        // A path is no name, and nobody's business.
        let is_name = |host: &&str| !host.is_empty() && !host.starts_with("unix:");
        let host = outcome.host.split('[').next().filter(is_name);
        ToldRecipient {
            recipient: &to.mailbox,
            orcpt: to.orcpt.as_deref(),
            via: to.via.as_ref(),
            action: *action,
            status: &outcome.status,
            host,
            diagnostic,
            place,
            words,
            seen,
            last_attempt: (outcome.what != What::Held).then_some(now),
            will_retry_until: (*action == NoticeAction::Delayed).then_some(*until),
        }
    }
}

/// The header of a message with its empty line, at most [`NOTICE_HEADER_MAX`] octets.
fn header(claimed: &Claimed) -> Result<Vec<u8>, StoreError> {
    let entry = &claimed.message.entry;
    let most = entry.size.min(NOTICE_HEADER_MAX as u64) as usize;
    let header = claimed.file().read_up_to(entry.message_at, most);
    let header = header.doing("read", &claimed.path())?;
    Ok(only_header(header))
}

fn only_header(mut octets: Vec<u8>) -> Vec<u8> {
    let end = Header::read(&octets).end.at;
    octets.truncate(end as usize);
    octets
}

fn is_eight_bit(claimed: &Claimed) -> Result<bool, StoreError> {
    let path = claimed.path();
    let surveyed = || survey(&claimed.part(&path)).doing("read", &path);
    Ok(claimed.message.entry.wire.map_or_else(surveyed, Ok)?.is_eight_bit)
}
