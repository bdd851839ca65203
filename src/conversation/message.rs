//! The message of a conversation: as it comes in, with what is put on top of each copy, and on its
//! way to delivery. Decides nothing about it: that is the language's and the policy's.

use super::submission::Head;
use super::{Conversation, House, Place, Target, way_back};
use crate::delivery::{Beside, late, reply_to};
use crate::event::{Event, Turn, tell};
use crate::handoff::{Accepted, Claim, Copy, CopyState, Hint, Outcome};
use crate::limits::{DELIVERY_WAIT, NOTICE_HEADER_MAX, PUBLISH_WAIT, QUEUE_RECIPIENTS_SURE};
use crate::mail::address::{ForwardPath, Mailbox};
use crate::mail::edits::Edits;
use crate::mail::envelope::{Envelope, Recipient};
use crate::mail::header::Reader;
use crate::mail::summary::{Summarizer, Summary};
use crate::mail::survey::{Surveyor, WireForm};
use crate::mail::trace::{self, Received};
use crate::notices::{self, NoticeContext};
use crate::policy;
use crate::route::Destination;
use crate::smtp::reply::Reply;
use crate::store::body::{Body, BodyWriter};
use crate::store::disk::StoreError;
use crate::store::entry::{Addressee, Entry};
use crossbeam_channel::{Receiver, RecvTimeoutError, Select, bounded};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// A message that comes in.
pub(super) struct Incoming {
    /// Of a user's message: its header, as long as that is not whole.
    head: Option<Head>,
    /// Why the language of headers cannot take it.
    refused: Option<Reply>,
    writer: BodyWriter,
    /// Fed beside the writer, so that a large message is not read again for its header.
    reader: Reader<(Summarizer, Surveyor)>,
    /// The disk failed; the rest is read and thrown away, since only its end can be answered (RFC
    /// 5321 §3.3).
    failed: Option<StoreError>,
    /// Held once it is large: a syncfs of small mail would wait for what is still written here.
    beside: Option<Beside>,
}

impl Conversation<'_> {
    /// Keeps the next octets of the message that comes in.
    pub(super) fn take_in(&mut self, octets: &[u8]) {
        let mut incoming = self.incoming.take().unwrap_or_else(|| self.begin());
        incoming.keep(octets);
        // From its first spill on, a syncfs elsewhere would wait for it.
        if incoming.writer.is_large() && incoming.beside.is_none() {
            incoming.beside = self.house.writer.as_ref().map(|writer| writer.beside());
        }
        self.incoming = Some(incoming);
    }

    /// A whole message: 250 only when every copy is on the disk, under the id this gives.
    pub(super) fn message(&mut self, envelope: &Envelope) -> Result<String, Reply> {
        let incoming = self.incoming.take().unwrap_or_else(|| self.begin());
        let known = incoming.message_id().map(str::to_owned);
        let finished = incoming.finish(&self.visitor.id);
        // Also of one that could not be kept, or is refused: its sender may ask by it.
        let message_id = finished.as_ref().map_or(known, |(_, found, _)| found.message_id.clone());
        self.note_message_id(message_id.as_deref());
        let (body, summary, wire) = finished?;
        // A loop shows in the header only, so it is refused this late (RFC 5321 §6.3).
        self.leave_out_loops(envelope, &summary)?;
        policy::message(&self.site, &summary, self.targets.iter().filter_map(Target::here))?;
        // Only what is wanted gets an id; a refusal is known by its session's.
        let id = crate::id::message();
        let size = body.size();
        let targets = std::mem::take(&mut self.targets);
        let body = Arc::new(body);
        let accepted = self.accepted(&id, envelope, body.clone(), (summary, wire), &targets);
        // Any copy may have to wait in the queue. Few recipients are no question.
        if targets.len() > QUEUE_RECIPIENTS_SURE {
            let recipients = targets.iter().map(|target| target.addressee(envelope)).collect();
            if (Entry { recipients, ..accepted.0.entry.clone() }).is_too_long() {
                let text = "too many recipients, send to some of them first";
                return Err(Reply::new(452, "4.5.3", text));
            }
        }
        let is_success_asked = |to: &Recipient| to.notify.is_some_and(|notify| notify.success);
        let asked = envelope.recipients.iter().any(is_success_asked);
        let entry = asked.then(|| accepted.0.entry.clone());
        let late = deliver(self.house, accepted, || self.ticket.is_ending())?;
        self.new.spend();
        self.bounce.take().into_iter().for_each(way_back::Place::spend);
        self.tell_taken(&id, envelope, size, &targets, &late);
        if let Some(entry) = entry {
            self.notify(entry, envelope, &body, &targets, &late);
        }
        Ok(id)
    }

    /// A recipient whose alias has sent this message on before is left to the queue, which fails it and
    /// tells whoever has to hear of that: the others get their copies. When there is no other, the
    /// message is refused.
    fn leave_out_loops(&mut self, envelope: &Envelope, summary: &Summary) -> Result<(), Reply> {
        let mut looped: BTreeMap<usize, Mailbox> = BTreeMap::new();
        for target in &self.targets {
            if let Place::Elsewhere { via: Some(via), .. } = &target.place
                && !looped.contains_key(&target.recipient)
                && policy::was_sent_on(&self.site, summary, via)
            {
                looped.insert(target.recipient, via.clone());
            }
        }
        let Some(first) = looped.values().next() else { return Ok(()) };
        let reply = policy::sent_on(first);
        // Made anew: what the others lead to as well was counted for the alias.
        self.targets.clear();
        self.known.clear();
        for (index, recipient) in envelope.recipients.iter().enumerate() {
            if !looped.contains_key(&index) {
                let (site, disk) = (self.site.clone(), &*self.house.disk);
                let targets = policy::recipient(&site, disk, &self.visitor, &recipient.path)?;
                self.add(index, targets);
            }
        }
        if self.targets.is_empty() {
            return Err(reply);
        }
        for (recipient, mailbox) in looped {
            let place = Place::Elsewhere { mailbox, via: None };
            self.targets.push(Target { place, recipient });
        }
        Ok(())
    }

    /// Notices of success for copies that were delivered at once (RFC 3461 §5.2.2): in the queue before
    /// the 250, with which they are ours to send.
    fn notify(
        &self,
        mut entry: Entry,
        envelope: &Envelope,
        body: &Body,
        targets: &[Target],
        late: &[(usize, String)],
    ) {
        let here = targets.iter().filter(|target| target.here().is_some()).enumerate();
        let delivered = here.filter(|(index, _)| late.iter().all(|(place, _)| place != index));
        let addressees = delivered.map(|(_, target)| target.addressee(envelope));
        entry.recipients =
            addressees.filter(|to| to.notify.is_some_and(|notify| notify.success)).collect();
        if entry.recipients.is_empty() {
            return;
        }
        let House { disk, queue, hints, .. } = self.house;
        let context = NoticeContext { site: &self.site, disk: &**disk, queue, reports: None };
        // The mail is there, whatever becomes of the notice.
        let trouble = |error: &str| {
            let what = format!("no notice of success for {}: {error}", entry.id);
            tell(&Event::Trouble { session: &self.visitor.id, what: &what });
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
        id: &str,
        envelope: &Envelope,
        body: Arc<Body>,
        (summary, wire): (Summary, WireForm),
        targets: &[Target],
    ) -> (Accepted, Receiver<Outcome>) {
        let return_path = trace::return_path(&envelope.sender.from);
        let mut received = self.received(id, envelope);
        if summary.begins_folded {
            received.push('\n'); // so that nobody writes into our field
        }
        let copies = targets.iter().filter_map(|target| {
            let destination = target.here()?.clone();
            let delivered_to = trace::delivered_to(&destination.mailbox);
            let top = format!("{return_path}{delivered_to}");
            let addressee = target.addressee(envelope);
            Some(Copy { destination, top, addressee, state: CopyState::Unwritten })
        });
        let elsewhere = targets.iter().filter(|target| target.here().is_none());
        let entry = Entry {
            id: id.to_owned(),
            queued: Timestamp::now(),
            session: self.visitor.id.clone(),
            sender: envelope.sender.clone(),
            is_trusted: policy::is_known(&self.site, &self.visitor),
            recipients: elsewhere.map(|target| target.addressee(envelope)).collect(),
            // Known when it is written.
            size: 0,
            sum: None,
            wire: Some(wire.below(received.as_bytes())),
            others: Vec::new(),
            message_at: 0,
        };
        // Room for the one outcome, so that delivery never waits for a session.
        let (outcome, receiver) = bounded(1);
        let queued_as = Edits::default().on_top(received);
        let copied_as = queued_as.clone().without(&summary.return_paths);
        let accepted = Accepted {
            entry,
            body,
            queued_as,
            copied_as,
            copies: copies.collect(),
            queued: None,
            claim: Arc::default(),
            outcome,
        };
        (accepted, receiver)
    }

    fn received(&self, id: &str, envelope: &Envelope) -> String {
        // A message comes only after a greeting; the language sees to that.
        let Some(greeting) = self.session.greeting() else { return String::new() };
        let received = Received {
            name: &greeting.name,
            client: self.visitor.client,
            by: &self.site.config.hostname,
            with: self.with(envelope.sender.smtputf8, greeting.extended),
            tls: self.protection.as_ref().map(|protection| protection.suite.as_str()),
            id,
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

    /// Names of RFC 3848, and of RFC 6531 §4.3 for internationalized mail; for HELO by TLS there is
    /// none.
    fn with(&self, utf8: bool, extended: bool) -> &'static str {
        match (utf8, self.session.is_secured(), self.session.is_authenticated()) {
            (true, false, false) => "UTF8SMTP",
            (true, false, true) => "UTF8SMTPA",
            (true, true, false) => "UTF8SMTPS",
            (true, true, true) => "UTF8SMTPSA",
            (false, ..) if !extended => "SMTP",
            (false, false, false) => "ESMTP",
            (false, false, true) => "ESMTPA",
            (false, true, false) => "ESMTPS",
            (false, true, true) => "ESMTPSA",
        }
    }

    /// Told after the outcome, so that no line speaks of a delivery that failed.
    fn tell_taken(
        &self,
        id: &str,
        envelope: &Envelope,
        size: u64,
        targets: &[Target],
        late: &[(usize, String)],
    ) {
        tell(&Event::Accepted {
            id,
            session: &self.visitor.id,
            client: self.visitor.client,
            from: &envelope.sender.from.to_string(),
            size,
            recipients: envelope.recipients.len(),
        });
        for (index, destination) in targets.iter().filter_map(Target::here).enumerate() {
            let to = destination.mailbox.to_string();
            match late.iter().find(|(place, _)| *place == index) {
                None => tell(&Event::Delivered { id, to: &to, maildir: &destination.maildir }),
                Some((_, reason)) => tell(&Event::Deferred { id, to: &to, reason, next: None }),
            }
        }
    }

    /// By what name its sender knows the message, for the trace.
    pub(super) fn note_message_id(&mut self, message_id: Option<&str>) {
        if let Some(message_id) = message_id {
            self.talk.note(Turn::MessageId, message_id);
        }
    }

    /// Makes no file: most messages are small enough never to need one.
    fn begin(&self) -> Incoming {
        let House { disk, spill, budget, .. } = self.house;
        let user = self.visitor.user.clone();
        let head = |user| Head::new(self.site.clone(), disk.clone(), user);
        Incoming {
            head: user.filter(|_| self.visitor.service.is_submission()).map(head),
            refused: None,
            writer: BodyWriter::new(disk.clone(), spill, budget.clone()),
            reader: Reader::new(Default::default()),
            failed: None,
            beside: None,
        }
    }
}

impl Incoming {
    /// The Message-ID, if it has come.
    pub(super) fn message_id(&self) -> Option<&str> {
        self.reader.listener.0.summary.message_id.as_deref()
    }

    /// After a failure octets are only taken, so that the end of the message is found.
    fn keep(&mut self, octets: &[u8]) {
        self.pass(octets, false);
    }

    /// `is_whole`: nothing comes any more.
    fn pass(&mut self, octets: &[u8], is_whole: bool) {
        if self.refused.is_some() {
            return;
        }
        let Some(head) = &mut self.head else { return self.write(octets) };
        match head.take(octets, is_whole) {
            Ok(None) => {}
            Ok(Some(done)) => {
                self.head = None;
                self.write(&done);
            }
            Err(reply) => {
                self.refused = Some(reply);
                self.head = None;
            }
        }
    }

    fn write(&mut self, octets: &[u8]) {
        if self.failed.is_none() {
            self.reader.feed(octets);
            self.failed = self.writer.write(octets).err();
        }
    }

    /// The message and what its header says, or what to tell the client.
    fn finish(mut self, session: &str) -> Result<(Body, Summary, WireForm), Reply> {
        self.pass(b"", true);
        if let Some(reply) = self.refused {
            return Err(reply);
        }
        match self.failed {
            Some(error) => {
                tell(&Event::Trouble { session, what: &error.to_string() });
                Err(reply_to(&error))
            }
            None => {
                let ((Summarizer { summary, .. }, surveyor), _) = self.reader.finish();
                Ok((self.writer.finish(), summary, surveyor.whole()))
            }
        }
    }
}

impl Target {
    /// The mailbox here, if it is one.
    fn here(&self) -> Option<&Destination> {
        match &self.place {
            Place::Here(destination) => Some(destination),
            Place::Elsewhere { .. } => None,
        }
    }

    /// How it stands in the queue, with what its RCPT asked for.
    fn addressee(&self, envelope: &Envelope) -> Addressee {
        let (mailbox, via) = match &self.place {
            Place::Here(destination) => (destination.mailbox.clone(), None),
            Place::Elsewhere { mailbox, via } => (mailbox.clone(), via.clone()),
        };
        let asked = envelope.recipients.get(self.recipient);
        let notify = asked.and_then(|recipient| recipient.notify);
        let orcpt = asked.and_then(|recipient| recipient.orcpt.clone());
        Addressee { mailbox, notify, orcpt, via }
    }
}

/// Hands a message to delivery and waits for the outcome: copies that are late, with the reasons.
/// `is_ending`: the server waits no longer.
fn deliver(
    house: &House,
    (mut accepted, outcome): (Accepted, Receiver<Outcome>),
    is_ending: impl Fn() -> bool,
) -> Result<Vec<(usize, String)>, Reply> {
    // One deadline for all steps: the client waits 10 minutes in all (RFC 5321 §4.5.3.2.6).
    let deadline = Instant::now() + DELIVERY_WAIT;
    if let Some(writer) = house.writer.as_ref().filter(|_| accepted.body.is_large()) {
        // In this thread, not in delivery's: a large message holds up no small one.
        writer.prepare(&mut accepted, || Instant::now() >= deadline || is_ending())?;
    }
    let claim: Arc<Claim> = accepted.claim.clone();
    if house.delivery.send_deadline(accepted, deadline).is_err() {
        return Err(late());
    }
    let mut result = wait(&outcome, deadline);
    if matches!(result, Err(RecvTimeoutError::Timeout)) && !claim.abandon() {
        // Being published at this moment: it can only be waited for.
        result = outcome.recv_timeout(PUBLISH_WAIT);
    }
    match result {
        Ok(Outcome::Taken { late }) => Ok(late),
        Ok(Outcome::Failed(reply)) => Err(reply),
        // Unknown: 451, at the price that the mail may come twice. 250 could mean a loss (RFC 5321
        // §6.1).
        Err(_) => Err(late()),
    }
}

/// Waits asleep. To receive in the usual way begins with some turns awake, which are worth nothing beside
/// a sync, and are turns of the processor that others would deliver in.
fn wait(outcome: &Receiver<Outcome>, deadline: Instant) -> Result<Outcome, RecvTimeoutError> {
    let mut select = Select::new();
    select.recv(outcome);
    match select.select_deadline(deadline) {
        Ok(ready) => ready.recv(outcome).map_err(|_| RecvTimeoutError::Disconnected),
        Err(_) => Err(RecvTimeoutError::Timeout),
    }
}
