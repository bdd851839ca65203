//! The message of a conversation: as it comes in, with what is put on top of each copy, and on its
//! way to delivery. Decides nothing about it: that is the language's and the policy's.

use super::{Conversation, House};
use crate::delivery::{Beside, late, reply_to};
use crate::event::{Event, tell};
use crate::handoff::{Accepted, Claim, Copy, Outcome};
use crate::limits::{DELIVERY_WAIT, PUBLISH_WAIT};
use crate::mail::address::ForwardPath;
use crate::mail::envelope::{Envelope, Recipient};
use crate::mail::header::{Scanner, Summary};
use crate::mail::trace::{self, Received};
use crate::policy;
use crate::route::Destination;
use crate::smtp::reply::Reply;
use crate::store::body::{Body, BodyWriter};
use crate::store::disk::StoreError;
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use std::sync::Arc;
use std::time::Instant;

/// A message that comes in.
pub(super) struct Incoming {
    writer: BodyWriter,
    /// Fed beside the writer, so that a large message is not read again for its header.
    scanner: Scanner,
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
            incoming.beside = Some(self.house.post.beside());
        }
        self.incoming = Some(incoming);
    }

    /// A whole message: 250 only when every copy is on the disk, under the id this gives.
    pub(super) fn message(&mut self, envelope: &Envelope) -> Result<String, Reply> {
        let incoming = self.incoming.take().unwrap_or_else(|| self.begin());
        let (body, summary) = incoming.finish(&self.visitor.id)?;
        // A loop shows in the header only, so it is refused this late (RFC 5321 §6.3).
        policy::message(self.site, &summary, &self.destinations)?;
        // Only what is wanted gets an id; a refusal is known by its session's.
        let id = crate::id::message();
        let size = body.size();
        let destinations = std::mem::take(&mut self.destinations);
        let accepted = self.copies(&id, envelope, body, summary, &destinations);
        deliver(self.house, accepted, || self.ticket.is_ending())?;
        self.tell_delivered(&id, envelope, size, &destinations);
        Ok(id)
    }

    /// The message with what is put on top of each copy (RFC 5321 §4.4).
    fn copies(
        &self,
        id: &str,
        envelope: &Envelope,
        body: Body,
        summary: Summary,
        destinations: &[Destination],
    ) -> (Accepted, Receiver<Outcome>) {
        let return_path = trace::return_path(&envelope.sender.from);
        let mut received = self.received(id, envelope);
        if summary.begins_folded {
            received.push('\n'); // so that nobody writes into our field
        }
        let copies = destinations.iter().map(|destination| {
            let delivered_to = trace::delivered_to(&destination.mailbox);
            let prefix = format!("{return_path}{delivered_to}{received}");
            Copy { destination: destination.clone(), prefix, draft: None }
        });
        // Room for the one outcome, so that delivery never waits for a session.
        let (outcome, receiver) = bounded(1);
        let accepted = Accepted {
            id: id.to_owned(),
            session: self.visitor.id.clone(),
            body,
            cuts: summary.return_paths,
            copies: copies.collect(),
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
            // Names of RFC 3848, and of RFC 6531 §4.3 for internationalized mail.
            with: match (envelope.sender.smtputf8, greeting.extended) {
                (true, _) => "UTF8SMTP",
                (false, true) => "ESMTP",
                (false, false) => "SMTP",
            },
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

    /// Told after the outcome, so that no line speaks of a delivery that failed.
    fn tell_delivered(&self, id: &str, envelope: &Envelope, size: u64, to: &[Destination]) {
        tell(&Event::Accepted {
            id,
            session: &self.visitor.id,
            client: self.visitor.client,
            from: &envelope.sender.from.to_string(),
            size,
            recipients: envelope.recipients.len(),
        });
        for destination in to {
            let to = destination.mailbox.to_string();
            tell(&Event::Delivered { id, to: &to, maildir: &destination.maildir });
        }
    }

    /// Makes no file: most messages are small enough never to need one.
    fn begin(&self) -> Incoming {
        let House { disk, spill, budget, .. } = self.house;
        Incoming {
            writer: BodyWriter::new(disk.clone(), spill, budget.clone()),
            scanner: Scanner::default(),
            failed: None,
            beside: None,
        }
    }
}

impl Incoming {
    /// After a failure octets are only taken, so that the end of the message is found.
    fn keep(&mut self, octets: &[u8]) {
        if self.failed.is_none() {
            self.scanner.feed(octets);
            self.failed = self.writer.write(octets).err();
        }
    }

    /// The message and what its header says, or what to tell the client.
    fn finish(self, session: &str) -> Result<(Body, Summary), Reply> {
        match self.failed {
            Some(error) => {
                tell(&Event::Trouble { session, what: &error.to_string() });
                Err(reply_to(&error))
            }
            None => Ok((self.writer.finish(), self.scanner.finish())),
        }
    }
}

/// Hands a message to delivery and waits for the outcome; `is_ending`: the server waits no longer.
fn deliver(
    house: &House,
    (mut accepted, outcome): (Accepted, Receiver<Outcome>),
    is_ending: impl Fn() -> bool,
) -> Result<(), Reply> {
    // One deadline for all steps: the client waits 10 minutes in all (RFC 5321 §4.5.3.2.6).
    let deadline = Instant::now() + DELIVERY_WAIT;
    if accepted.body.is_large() {
        // In this thread, not in delivery's: a large message holds up no small one.
        house.post.prepare(&mut accepted, || Instant::now() >= deadline || is_ending())?;
    }
    let claim: Arc<Claim> = accepted.claim.clone();
    if house.delivery.send_deadline(accepted, deadline).is_err() {
        return Err(late());
    }
    let mut result = outcome.recv_deadline(deadline);
    if matches!(result, Err(RecvTimeoutError::Timeout)) && !claim.abandon() {
        // Being published at this moment: it can only be waited for.
        result = outcome.recv_timeout(PUBLISH_WAIT);
    }
    match result {
        Ok(Outcome::Delivered) => Ok(()),
        Ok(Outcome::Failed(reply)) => Err(reply),
        // Unknown: 451, at the price that the mail may come twice. 250 could mean a loss (RFC 5321
        // §6.1).
        Err(_) => Err(late()),
    }
}
