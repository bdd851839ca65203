//! Recipients whose mail another server keeps: the session hands their message on by LMTP before its 250, in its
//! own thread, and reads it from where it lies.
//!
//! Where all recipients are at one server, nothing lies in the queue meanwhile: what the server took is not told
//! to anybody before, and what it takes for nobody is refused. Where the message has other copies, or several
//! servers, all of it lies durably in the queue first, in a file that this session claims; so a client that never
//! hears the 250 repeats nothing. Never decides what a reply means: that is [`crate::smtp::client`]'s.

use super::Shared;
use super::handover::Handover;
use crate::config::LmtpServer;
use crate::delivery::{late, reply_to};
use crate::event::{About, Event, Talk, tell, tell_talk, warn};
use crate::handoff::{Accepted, Hint, Hints};
use crate::limits::{LMTP_REPLY_WAIT, LMTP_WAIT, NOTICE_HEADER_MAX};
use crate::mail::address::ForwardPath;
use crate::mail::edits::Edits;
use crate::mail::envelope::{Envelope, Recipient, Sender, TlsWish};
use crate::mail::summary::Summary;
use crate::mail::survey::WireForm;
use crate::mail::trace_fields::kept_as;
use crate::notices::{self, NoticeContext, Sent};
use crate::outcome::RecipientOutcome;
use crate::policy;
use crate::relay::{CallEnd, WholeBody, survey};
use crate::retry;
use crate::signature::Resigner;
use crate::smtp::client::{Fate, OutgoingMessage};
use crate::smtp::reply::Reply;
use crate::store::body::Body;
use crate::store::disk::{Doing, StoreError};
use crate::store::entry::{Addressee, Entry, EntrySignature, RecipientProgress, What};
use crate::store::queue::Claimed;
use jiff::Timestamp;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A message with recipients whose mail other servers keep.
pub(super) struct HandingOn<'a> {
    handover: &'a Handover<'a>,
    /// As the queue would have it, for these recipients alone.
    entry: Entry,
    body: Arc<Body>,
    /// What the queue has of the message.
    queued_as: Edits,
    /// What the servers get, and its form on the wire where that is known.
    kept_as: Edits,
    content: Option<WireForm>,
}

/// What became of one recipient, in the client's terms and in ours.
struct AnsweredRecipient {
    path: ForwardPath,
    fate: Fate,
    outcome: RecipientOutcome,
}

/// What became of these recipients, for the log.
#[derive(Default)]
pub(super) struct HandedOn(Vec<HandedRecipient>);

struct HandedRecipient {
    to: String,
    outcome: RecipientOutcome,
    /// When one that waits is tried again.
    next: Option<Timestamp>,
}

/// Tells the scheduler about a queue file once this session has done with it, however that ends.
struct LookAfter<'a> {
    hints: &'a Hints,
    id: &'a str,
}

impl Drop for LookAfter<'_> {
    fn drop(&mut self) {
        self.hints.send(Hint::Look(self.id.to_owned()));
    }
}

impl<'a> HandingOn<'a> {
    /// None where the message has no such recipients. Else delivery leaves those to this session.
    pub fn of(
        handover: &'a Handover<'a>,
        accepted: &mut Accepted,
        summary: &Summary,
    ) -> Option<HandingOn<'a>> {
        let kept = handover.plan.all().iter().filter(|planned| planned.delivery.kept().is_some());
        let recipients = &handover.envelope.recipients;
        let recipients: Vec<Addressee> = kept.map(|to| to.addressee(recipients)).collect();
        if recipients.is_empty() {
            return None;
        }
        let (body, queued_as) = (accepted.body.clone(), accepted.queued_as.clone());
        let entry = Entry { recipients, ..accepted.entry.clone() };
        let kept = kept_as(queued_as.clone(), &summary.junk_marks, entry.is_junk);
        let is_on_top = summary.junk_marks.is_empty();
        let own = kept_as(Edits::default(), &[], entry.is_junk);
        let content = entry.wire.filter(|_| is_on_top).map(|wire| wire.below(own.top()));
        accepted.is_handed_on = true;
        Some(HandingOn { handover, entry, body, queued_as, kept_as: kept, content })
    }

    /// Hands the message on; `deliver` makes durable what goes elsewhere.
    pub fn run<T: Default>(
        &self,
        is_ending: impl Fn() -> bool,
        deliver: impl FnOnce() -> Result<T, Reply>,
    ) -> Result<(T, HandedOn), Reply> {
        match self.is_alone() {
            true if is_ending() => Err(late()),
            true => Ok((T::default(), self.alone()?)),
            false => {
                let delivered = deliver()?;
                // What a stop would cut off comes from the queue after it.
                let handed = if is_ending() { self.leave() } else { self.after_delivery()? };
                Ok((delivered, handed))
            }
        }
    }

    /// Whether all recipients are at one server.
    fn is_alone(&self) -> bool {
        let mut servers = self.handover.plan.kept().map(|kept| &kept.server);
        let first = servers.next();
        !self.has_others() && servers.all(|server| Some(server) == first)
    }

    /// Whether the message has copies that no such server gets.
    fn has_others(&self) -> bool {
        self.handover.plan.all().len() > self.entry.recipients.len()
    }

    fn server_of(&self, to: &Addressee) -> Option<&LmtpServer> {
        let mut kept = self.handover.plan.kept();
        kept.find(|kept| kept.mailbox == to.mailbox).map(|kept| &kept.server)
    }

    /// Nothing of the message lies anywhere yet.
    fn alone(&self) -> Result<HandedOn, Reply> {
        let all: Vec<usize> = (0..self.entry.recipients.len()).collect();
        let answered =
            self.speak(&self.entry, &all, LMTP_REPLY_WAIT).map_err(|error| self.trouble(&error))?;
        refusal(&answered).map_or(Ok(()), Err)?;
        let mut outcomes = outcomes(answered);
        let Shared { queue, hints, .. } = self.handover.shared;
        let decided = outcomes.iter().filter(|it| it.what != What::Deferred).cloned();
        let header = self.body.head(NOTICE_HEADER_MAX).map_err(|error| self.trouble(&error))?;
        let decided: Vec<RecipientOutcome> = decided.collect();
        let sent = notices::of_session(&self.context(), &self.entry, &decided, &header);
        defer_untold(&mut outcomes, &sent);
        let waiting = outcomes.iter().filter(|outcome| outcome.what == What::Deferred);
        let waiting: Vec<&RecipientOutcome> = waiting.collect();
        let mut progress = None;
        if !waiting.is_empty() {
            self.put(&waiting).map_err(|error| self.trouble(&error))?;
            let _look = LookAfter { hints, id: &self.entry.id };
            // With the reason, and so that the next attempt has its time. Where the scheduler was faster, or the
            // disk fails, it only comes sooner.
            if let Ok(claimed) = queue.claim_briefly(&self.entry.id) {
                let renumbered = waiting.iter().enumerate().map(|(recipient, outcome)| {
                    RecipientOutcome { recipient, ..(*outcome).clone() }.line(Timestamp::now())
                });
                let _ = claimed.record_results(renumbered.collect());
                progress = Some(claimed.progress(0));
            }
        }
        self.send_off(sent);
        // They have waited equally long.
        Ok(self.handed(&self.entry, outcomes, |_| progress.clone()))
    }

    /// Puts the message into the queue for these.
    fn put(&self, waiting: &[&RecipientOutcome]) -> Result<(), StoreError> {
        let recipients = waiting.iter().map(|it| self.entry.recipients[it.recipient].clone());
        let entry = Entry {
            recipients: recipients.collect(),
            size: self.queued_as.size(self.body.size()),
            sum: Some(self.body.sum(&self.queued_as)?),
            ..self.entry.clone()
        };
        self.handover
            .shared
            .queue
            .insert(&entry, |file, path| self.body.copy_to(&self.queued_as, file, path))
    }

    /// Leaves all of it to the queue.
    fn leave(&self) -> HandedOn {
        self.handover.shared.hints.send(Hint::Look(self.entry.id.clone()));
        HandedOn::default()
    }

    /// All of the message lies in Maildirs and in the queue, durably.
    fn after_delivery(&self) -> Result<HandedOn, Reply> {
        let Shared { queue, hints, .. } = self.handover.shared;
        let _look = LookAfter { hints, id: &self.entry.id };
        // The scheduler was faster, or the file cannot be read: the recipients wait there like others.
        let Ok(claimed) = queue.claim_briefly(&self.entry.id) else {
            return Ok(HandedOn::default());
        };
        let entry = &claimed.message.entry;
        let is_its = |index: usize| self.server_of(&entry.recipients[index]).is_some();
        let taken = claimed.take_recipients(is_its);
        let answered = match self.speak(entry, &taken.recipients, Duration::ZERO) {
            Ok(answered) => answered,
            Err(error) => {
                self.trouble(&error);
                return Ok(HandedOn::default());
            }
        };
        if let Some(reply) = refusal(&answered).filter(|_| !self.has_others())
            && claimed.remove().is_ok()
        {
            return Err(reply);
        }
        let (outcomes, is_written) = self.record(&claimed, outcomes(answered));
        let handed = self.handed(entry, outcomes, |recipient| Some(claimed.progress(recipient)));
        drop(taken);
        if !is_written {
            hints.send(Hint::TakeOver(Box::new(claimed)));
        }
        Ok(handed)
    }

    /// Makes the outcomes durable: first the notices, then the journal. False: the disk did not take them, and the
    /// claim alone knows.
    fn record(
        &self,
        claimed: &Claimed,
        mut outcomes: Vec<RecipientOutcome>,
    ) -> (Vec<RecipientOutcome>, bool) {
        let sent = notices::send(&self.context(), claimed, &outcomes);
        defer_untold(&mut outcomes, &sent);
        let now = Timestamp::now();
        let lines = outcomes.iter().map(|outcome| outcome.line(now)).collect();
        let recorded = match claimed.record_results(lines) {
            Ok(true) => claimed.remove(),
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = &recorded {
            let words = "some of it comes twice if the server ends before the disk takes that";
            warn(&format!("{}: {error}; {words}", self.entry.id));
        }
        self.send_off(sent);
        (outcomes, recorded.is_ok())
    }

    /// Speaks with each server, for those of these recipients whose mail it keeps. `patience`: for how much longer it
    /// may think about the message.
    fn speak(
        &self,
        entry: &Entry,
        wanted: &[usize],
        patience: Duration,
    ) -> Result<Vec<AnsweredRecipient>, StoreError> {
        let Handover { shared, site, facts, .. } = *self.handover;
        let resigner = match &entry.signature {
            EntrySignature::By(by) => Some(Resigner { site, by }),
            EntrySignature::None | EntrySignature::Owed => None,
        };
        let message = WholeBody::new(&self.body, &self.kept_as, resigner)?;
        let content = match self.content {
            Some(content) => content,
            None => survey(&message).doing("read", Path::new("the message"))?,
        };
        let (talk, mut answered) = (Instant::now() + LMTP_WAIT, Vec::new());
        let latest = CallEnd { talk, last_reply: talk + patience };
        let mut servers: Vec<&LmtpServer> = Vec::new();
        for server in wanted.iter().filter_map(|at| self.server_of(&entry.recipients[*at])) {
            if !servers.contains(&server) {
                servers.push(server);
            }
        }
        for server in servers {
            let is_its = |at: &&usize| self.server_of(&entry.recipients[**at]) == Some(server);
            let its: Vec<usize> = wanted.iter().filter(is_its).copied().collect();
            let recipient = |at: &usize| {
                let Addressee { mailbox, notify, orcpt, .. } = entry.recipients[*at].clone();
                Recipient { path: ForwardPath::Mailbox(mailbox), notify, orcpt }
            };
            let recipients: Vec<Recipient> = its.iter().map(recipient).collect();
            // The server keeps mail of ours, and is no hop to which TLS could be promised.
            let sender = Sender { tls: TlsWish::Usual, ..entry.sender.clone() };
            let envelope = Envelope { sender, recipients: recipients.clone() };
            let outgoing = OutgoingMessage { envelope, content };
            let mut talk = Talk::new();
            let handed =
                shared.bounds.lmtp.deliver(site, server, (&outgoing, &message), latest, &mut talk);
            let (id, session) = (entry.id.clone(), facts.id.clone());
            talk.about = About { id, session, host: handed.host.clone(), ..About::default() };
            tell_talk(talk);
            for ((at, to), fate) in its.into_iter().zip(recipients).zip(handed.fates) {
                let outcome = RecipientOutcome::of_fate(at, &handed.host, &fate, handed.dsn);
                let outcome = RecipientOutcome { tls: handed.tls.clone(), ..outcome };
                answered.push(AnsweredRecipient { path: to.path, fate, outcome });
            }
        }
        Ok(answered)
    }

    fn context(&self) -> NoticeContext<'_> {
        let Handover { shared: Shared { disk, queue, .. }, site, .. } = *self.handover;
        NoticeContext { site, disk: &**disk, queue, reports: None, seen: None }
    }

    /// Tells the scheduler of these notices.
    fn send_off(&self, sent: Sent) {
        for notice in sent.notices {
            self.handover.shared.hints.send(Hint::New(Box::new(notice)));
        }
    }

    /// Tells the log of a failure of ours, and gives what the client hears.
    fn trouble(&self, error: &StoreError) -> Reply {
        let session = &self.handover.facts.id;
        tell(&Event::Trouble { session, what: &error.to_string() });
        reply_to(error)
    }

    fn handed(
        &self,
        entry: &Entry,
        outcomes: Vec<RecipientOutcome>,
        progress: impl Fn(usize) -> Option<RecipientProgress>,
    ) -> HandedOn {
        let (relay, now) = (&self.handover.site.config.relay, Timestamp::now());
        let named = outcomes.into_iter().map(|outcome| {
            let progress = progress(outcome.recipient).filter(|_| outcome.what == What::Deferred);
            let next = progress.map(|progress| retry::next(entry, &progress, relay, now));
            let to = entry.recipients[outcome.recipient].mailbox.to_string();
            HandedRecipient { to, outcome, next }
        });
        HandedOn(named.collect())
    }
}

impl HandedOn {
    pub fn tell(&self, id: &str) {
        self.0.iter().for_each(|it| it.outcome.tell(id, &it.to, it.next));
    }
}

/// What the client hears where no server took the message for anybody.
fn refusal(answered: &[AnsweredRecipient]) -> Option<Reply> {
    let is_taken = |it: &AnsweredRecipient| matches!(it.fate, Fate::Relayed(_));
    let fates = || answered.iter().map(|it| (it.path.clone(), it.fate.clone())).collect::<Vec<_>>();
    (!answered.iter().any(is_taken)).then(|| policy::kept::at_message(&fates()))
}

fn outcomes(answered: Vec<AnsweredRecipient>) -> Vec<RecipientOutcome> {
    answered.into_iter().map(|it| it.outcome).collect()
}

/// A failure that could not be told is none yet: its recipient waits.
fn defer_untold(outcomes: &mut [RecipientOutcome], sent: &Sent) {
    for (recipient, error) in &sent.untold {
        let is_its =
            |it: &&mut RecipientOutcome| it.recipient == *recipient && it.what == What::Failed;
        for outcome in outcomes.iter_mut().filter(is_its) {
            let words = format!("{} (and no notice could be written: {error})", outcome.reason());
            *outcome = RecipientOutcome::own(*recipient, What::Deferred, "4.3.0", words);
        }
    }
}
