//! A whole message on its way to delivery, with what is put on top of each copy; and what is told when it
//! has got there. 250 only when every copy is on the disk (RFC 5321 §6.1).

use super::Shared;
use super::handing_on::{HandedOn, HandingOn};
use super::incoming::WholeMessage;
use super::judgement::Judgement;
use crate::delivery::{late, reply_to};
use crate::event::{Event, tell};
use crate::filters::FilteredMessage;
use crate::handoff::{
    Accepted, Claim, Copy, CopyState, Hint, NoOutcome, Outcome, OutcomeReceiver, outcome_place,
};
use crate::limits::{DELIVERY_WAIT, NOTICE_HEADER_MAX, PUBLISH_WAIT, QUEUE_RECIPIENTS_SURE};
use crate::mail::address::{ForwardPath, Mailbox};
use crate::mail::edits::Edits;
use crate::mail::envelope::{Envelope, Recipient, Sender, TlsWish};
use crate::mail::proof::canonical::BodyHash;
use crate::mail::summary::Summary;
use crate::mail::survey::WireForm;
use crate::mail::trace_fields::{self, Received};
use crate::notices::{self, NoticeContext};
use crate::policy::{self, Facts, Finding};
use crate::route::{Destination, Plan, Planned};
use crate::signature::{OwnMessage, Signature, signature};
use crate::site::Site;
use crate::smtp::reply::Reply;
use crate::store::body::Body;
use crate::store::disk::StoreError;
use crate::store::entry::{Entry, Quarantine};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Instant;

/// What is known of a message when it is taken.
pub(super) struct Handover<'a> {
    pub shared: &'a Shared,
    pub site: &'a Site,
    pub facts: &'a Facts,
    /// The id of the message.
    pub id: &'a str,
    /// The protocol it came by, as its Received field names that.
    pub with: &'static str,
    pub envelope: &'a Envelope,
    pub plan: &'a Plan,
    /// Of a stranger's message.
    pub judgement: Option<&'a Judgement>,
    /// As filters made it; none where none has seen it.
    pub filtered: Option<FilteredMessage>,
    /// It goes into the folder for junk.
    pub is_junk: bool,
    /// It waits in the queue until a person lets it go.
    pub quarantine: Option<Quarantine>,
}

/// The octets of a message as they are kept.
struct KeptForm {
    body: Arc<Body>,
    /// Of the octets of `body`.
    summary: Summary,
    /// The form on the wire, as edited; none where that is found out anew.
    wire: Option<WireForm>,
    /// What is changed in them for a queue file.
    edits: Edits,
    /// What the header says about TLS, as edited.
    tls: TlsWish,
}

/// Copies that wait in the queue, by their place among those for mailboxes here, and why.
type Late = Vec<(usize, String)>;

impl Handover<'_> {
    /// Gives the message to delivery, and waits until it is taken. `is_ending`: the server waits no longer.
    pub fn run(mut self, whole: WholeMessage, is_ending: impl Fn() -> bool) -> Result<(), Reply> {
        let (form, signature) = self.form(whole)?;
        let body = form.body.clone();
        let mut accepted = self.accepted(&form, signature.as_ref());
        let tls = accepted.0.entry.sender.tls;
        let handing_on = match self.quarantine {
            Some(_) => None,
            None => HandingOn::of(&self, &mut accepted.0, &form.summary),
        };
        // Any copy may have to wait in the queue. Few recipients are no question.
        if self.plan.all().len() > QUEUE_RECIPIENTS_SURE {
            let recipients = &self.envelope.recipients;
            let recipients = self.plan.all().iter().map(|to| to.addressee(recipients)).collect();
            let is_long = Entry { recipients, ..accepted.0.entry.clone() }.is_too_long();
            policy::opinion(is_long.then_some(Finding::LongEnvelope)).or_refusal()?;
        }
        let is_success_asked = |to: &Recipient| to.notify.is_some_and(|notify| notify.success);
        let asked = self.envelope.recipients.iter().any(is_success_asked);
        let entry = asked.then(|| accepted.0.entry.clone());
        let deliver = || deliver(self.shared, accepted, &is_ending);
        let (late, handed_on) = match &handing_on {
            Some(handing_on) => handing_on.run(&is_ending, deliver)?,
            None => (deliver()?, HandedOn::default()),
        };
        self.tell_taken((body.size(), tls), signature.as_ref(), &late);
        handed_on.tell(self.id);
        // What is held has not arrived anywhere.
        if let Some(entry) = entry.filter(|entry| entry.quarantine.is_none()) {
            self.notify(entry, &body, &late);
        }
        Ok(())
    }

    /// The octets as they are kept, and what became of their signature.
    fn form(&mut self, whole: WholeMessage) -> Result<(KeptForm, Option<Signature>), Reply> {
        let WholeMessage { body, summary, wire, forged, hash, .. } = whole;
        let received = self.received();
        let own = |mut received: String, signature: &Option<Signature>| {
            received += signature.as_ref().map_or("", Signature::fields);
            received
        };
        let results = self.judgement.map(|it| it.field(self.site)).unwrap_or_default();
        let Some(mut filtered) = self.filtered.take() else {
            // The guard, so that nobody writes into our field.
            let guard = if summary.begins_folded { "\n" } else { "" };
            let edits = |fields: String| Edits::default().on_top(fields).without(&forged);
            let signature =
                self.signature((&body, hash), || edits(format!("{results}{received}{guard}")))?;
            let fields = results + &own(received, &signature) + guard;
            // Of what is left without some fields the form has to be found out anew.
            let wire = forged.is_empty().then(|| wire.below(fields.as_bytes()));
            let tls = summary.tls.wish();
            let edits = edits(fields);
            let form = KeptForm { body: Arc::new(body), summary, wire, edits, tls };
            return Ok((form, signature));
        };
        // The hash is that of the body as it came.
        let (view, hash) = match &filtered.body {
            Some(other) => (&other.body, None),
            None => (&body, hash),
        };
        let signature = self.signature((view, hash), || filtered.edits(&received))?;
        let block = own(received, &signature);
        let edits = filtered.edits(&block);
        // A filter may have put the field in, or taken it out.
        let tls = match filtered.is_changed() {
            true => view.summary(&edits).map_err(|error| self.trouble(&error))?.tls.wish(),
            false => summary.tls.wish(),
        };
        let form = match filtered.body.take() {
            Some(other) => {
                let wire = Some(other.wire.below(block.as_bytes()));
                KeptForm { body: Arc::new(other.body), summary: other.summary, wire, edits, tls }
            }
            None => {
                let is_as_it_came = forged.is_empty() && !filtered.is_changed();
                let fields = results + &block;
                let wire = is_as_it_came.then(|| wire.below(fields.as_bytes()));
                KeptForm { body: Arc::new(body), summary, wire, edits, tls }
            }
        };
        Ok((form, signature))
    }

    /// Signs the message as these edits have it, where it is of somebody whom we know. Behind this no edit may
    /// follow but the signature below our Received, and fields on top.
    fn signature(
        &self,
        (body, hash): (&Body, Option<(BodyHash, u64)>),
        edits: impl FnOnce() -> Edits,
    ) -> Result<Option<Signature>, Reply> {
        let Handover { site, facts, shared, .. } = *self;
        if site.signing().is_off() || !policy::is_known(site, facts) {
            return Ok(None);
        }
        let edits = edits();
        let is_own = facts
            .user
            .as_ref()
            .map(|user| move |author: &Mailbox| policy::is_own(site, &*shared.disk, user, author));
        let place = |(hash, at)| Some((hash, edits.place_of_rest(at, body.size())?));
        let message = OwnMessage {
            view: &|take| body.view(&edits, take),
            is_own: is_own.as_ref().map(|is_own| is_own as _),
            body: hash.and_then(place),
        };
        signature(site, &message).map_err(|error| self.trouble(&error))
    }

    /// Tells the log of a failure of ours, and gives what the client hears.
    fn trouble(&self, error: &StoreError) -> Reply {
        tell(&Event::Trouble { session: &self.facts.id, what: &error.to_string() });
        reply_to(error)
    }

    /// Notices of success for copies that were delivered at once (RFC 3461 §5.2.2): in the queue before
    /// the 250, with which they are ours to send.
    fn notify(&self, mut entry: Entry, body: &Body, late: &Late) {
        let here = self.plan.all().iter().filter(|planned| planned.delivery.here().is_some());
        let is_there = |index: &usize| late.iter().all(|(place, _)| place != index);
        let delivered = here.enumerate().filter(|(index, _)| is_there(index));
        let addressees = delivered.map(|(_, to)| to.addressee(&self.envelope.recipients));
        entry.recipients =
            addressees.filter(|to| to.notify.is_some_and(|notify| notify.success)).collect();
        if entry.recipients.is_empty() {
            return;
        }
        let Shared { disk, queue, hints, .. } = self.shared;
        let context =
            NoticeContext { site: self.site, disk: &**disk, queue, reports: None, seen: None };
        // The mail is there, whatever becomes of the notice.
        let trouble = |error: &str| {
            let what = format!("no notice of success for {}: {error}", entry.id);
            tell(&Event::Trouble { session: &self.facts.id, what: &what });
        };
        match body.head(NOTICE_HEADER_MAX) {
            Err(error) => trouble(&error.to_string()),
            Ok(head) => {
                let sent = notices::delivered(&context, &entry, &head);
                sent.untold.first().into_iter().for_each(|(_, error)| trouble(error));
                for notice in sent.notices {
                    hints.send(Hint::New(Box::new(notice)));
                }
            }
        }
    }

    /// The message with its place in the queue and what is put on top of each copy (RFC 5321 §4.4).
    fn accepted(
        &self,
        form: &KeptForm,
        signature: Option<&Signature>,
    ) -> (Accepted, OutcomeReceiver) {
        let Handover { site, facts, envelope, .. } = *self;
        let return_path = trace_fields::return_path(&envelope.sender.from);
        let addressee = |to: &Planned| to.addressee(&envelope.recipients);
        let is_held = self.quarantine.is_some();
        let copies = self.plan.all().iter().filter(|_| !is_held).filter_map(|planned| {
            let destination = self.destination(planned.delivery.here()?);
            let top = return_path.clone() + &trace_fields::delivered_to(&destination.mailbox);
            let addressee = addressee(planned);
            Some(Copy { destination, top, addressee, state: CopyState::Unwritten })
        });
        let is_elsewhere = |planned: &&Planned| is_held || planned.delivery.here().is_none();
        let elsewhere = self.plan.all().iter().filter(is_elsewhere);
        let entry = Entry {
            id: self.id.to_owned(),
            queued: Timestamp::now(),
            session: facts.id.clone(),
            sender: Sender {
                tls: envelope.sender.tls.with_header(form.tls),
                ..envelope.sender.clone()
            },
            is_trusted: policy::is_known(site, facts),
            recipients: elsewhere.map(addressee).collect(),
            // Known when it is written.
            size: 0,
            sum: None,
            wire: form.wire,
            is_junk: self.is_junk,
            is_proved: self.judgement.is_some_and(|judgement| {
                policy::backup::is_proved(&judgement.findings, &envelope.sender.from)
            }),
            signature: signature.map(Signature::in_queue).unwrap_or_default(),
            quarantine: self.quarantine.clone(),
            is_unfiltered: false,
            others: Vec::new(),
            message_at: 0,
        };
        let (outcome, receiver) = outcome_place();
        let copied_as = form.edits.clone().without(&form.summary.return_paths);
        let accepted = Accepted {
            entry,
            body: form.body.clone(),
            queued_as: form.edits.clone(),
            copied_as,
            copies: copies.collect(),
            queued: None,
            is_handed_on: false,
            claim: Arc::default(),
            outcome,
        };
        (accepted, receiver)
    }

    /// Where a copy lies.
    fn destination(&self, to: &Destination) -> Destination {
        let folder = self.is_junk.then(|| self.site.junk().to_owned());
        Destination { folder, ..to.clone() }
    }

    fn received(&self) -> String {
        let envelope = self.envelope;
        // A message comes only after a greeting; the language sees to that.
        let Some(name) = &self.facts.helo else { return String::new() };
        let received = Received {
            name,
            client: self.facts.client,
            by: &self.site.config.hostname,
            with: self.with,
            tls: self.facts.tls.as_ref().map(|tls| tls.suite.as_str()),
            id: self.id,
            recipient: match &envelope.recipients[..] {
                // `<Postmaster>` alone is no path that a Received may hold (RFC 5321 §4.4).
                [Recipient { path: path @ ForwardPath::Mailbox(_), .. }] => Some(path),
                _ => None,
            },
            // Local time with its offset (RFC 5321 §4.4).
            date: &jiff::ZonedDateTime::now(),
        };
        received.field()
    }

    /// Told after the outcome, so that no line speaks of a delivery that failed.
    fn tell_taken(&self, (size, tls): (u64, TlsWish), signature: Option<&Signature>, late: &Late) {
        let id = self.id;
        tell_accepted(id, self.facts, self.envelope, (size, tls), self.judgement);
        if let Some(signature) = signature {
            signature.tell(id);
        }
        if let Some(Quarantine { filter, reason }) = &self.quarantine {
            return tell(&Event::Held { id, filter, reason });
        }
        for (index, destination) in self.plan.here().enumerate() {
            let to = destination.mailbox.to_string();
            match late.iter().find(|(place, _)| *place == index) {
                None => self.destination(destination).tell_delivered(id, &to),
                Some((_, reason)) => tell(&Event::Deferred { id, to: &to, reason, next: None }),
            }
        }
    }
}

/// Tells that a message of so many octets was taken, what it says about TLS, and what was found out about it.
pub(super) fn tell_accepted(
    id: &str,
    facts: &Facts,
    envelope: &Envelope,
    (size, tls): (u64, TlsWish),
    judgement: Option<&Judgement>,
) {
    tell(&Event::Accepted {
        id,
        session: &facts.id,
        client: facts.client,
        from: &envelope.sender.from.to_string(),
        size,
        recipients: envelope.recipients.len(),
        tls,
    });
    if let Some(judgement) = judgement {
        judgement.tell(Some(id), &facts.id);
    }
}

/// Hands a message to delivery and waits for the outcome: copies that are late, with the reasons.
/// `is_ending`: the server waits no longer.
fn deliver(
    shared: &Shared,
    (mut accepted, outcome): (Accepted, OutcomeReceiver),
    is_ending: impl Fn() -> bool,
) -> Result<Late, Reply> {
    // One deadline for all steps: the client waits 10 minutes in all (RFC 5321 §4.5.3.2.6).
    let deadline = Instant::now() + DELIVERY_WAIT;
    if let Some(writer) = shared.writer.as_ref().filter(|_| accepted.body.is_large()) {
        // In this thread, not in delivery's: a large message holds up no small one.
        writer.prepare(&mut accepted, || Instant::now() >= deadline || is_ending())?;
    }
    let claim: Arc<Claim> = accepted.claim.clone();
    if shared.delivery.send_deadline(accepted, deadline).is_err() {
        return Err(late());
    }
    let mut result = outcome.wait(deadline);
    if matches!(result, Err(NoOutcome::Late)) && !claim.abandon() {
        // Being published at this moment: it can only be waited for.
        result = outcome.wait(Instant::now() + PUBLISH_WAIT);
    }
    match result {
        Ok(Outcome::Taken { late }) => Ok(late),
        Ok(Outcome::Failed(reply)) => Err(reply),
        // Unknown: 451, at the price that the mail may come twice. 250 could mean a loss (RFC 5321
        // §6.1).
        Err(_) => Err(late()),
    }
}
