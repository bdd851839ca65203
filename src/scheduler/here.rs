//! One attempt at a mailbox here: copies that could not be written when their message came, notices of
//! ours, and mail whose domain is delivered here since a reload.

use super::board::Reach;
use super::worker::{RelayJob, RelayWorker};
use crate::limits::COPY_CHUNK;
use crate::mail::address::{ForwardPath, Mailbox};
use crate::mail::edits::Edits;
use crate::mail::header::Reader;
use crate::mail::summary::{Summarizer, Summary};
use crate::mail::trace_fields;
use crate::outcome::RecipientOutcome;
use crate::policy::{self, Opinion};
use crate::route::{Delivery, Destination, End, mailbox_here, resolve};
use crate::signature::{OwnMessage, Signature, TakeOctets, signature};
use crate::store::disk::{Doing, StoreError};
use crate::store::entry::{Entry, EntrySignature, What};

impl RelayWorker {
    /// Delivers to these recipients, which are the same mailbox here.
    pub(super) fn here(
        &mut self,
        job: &RelayJob,
        open: &[usize],
    ) -> (Vec<RecipientOutcome>, Reach) {
        let mut outcomes = Vec::new();
        for index in open {
            let to = &job.claimed.message.entry.recipients[*index].mailbox;
            let outcome = self.deliver(job, *index, to);
            outcomes
                .push(outcome.unwrap_or_else(|error| RecipientOutcome::of_disk(*index, &error)));
        }
        let late = outcomes.iter().find(|outcome| outcome.what == What::Deferred);
        let reach = late.map_or(Reach::Reached, |outcome| Reach::Missed(outcome.reason()));
        (outcomes, reach)
    }

    fn deliver(
        &self,
        job: &RelayJob,
        index: usize,
        to: &Mailbox,
    ) -> Result<RecipientOutcome, StoreError> {
        let (site, disk) = (&*job.setting.site, &*self.shared.disk);
        // Before the mailbox: an alias of the same name may have sent it on.
        if policy::was_sent_on(site, &self.summary(job)?, to) {
            let words = format!("<{to}>: the message loops: it was there before");
            return Ok(RecipientOutcome::own(index, What::Failed, "5.4.6", words));
        }
        let to = &site.canonical(to);
        if let Some(Delivery::Maildir(destination)) = mailbox_here(site, disk, to)? {
            return self.copy(job, index, destination);
        }
        // It has no mailbox of its own: since its domain is ours it may be an alias.
        match resolve(site, disk, &ForwardPath::Mailbox(to.clone())) {
            End::Local(deliveries) => {
                // An alias that has itself as a target: only this copy is delivered, because sending it on
                // to all targets would never end.
                let is_its = |found: &&Destination| deliveries.len() == 1 || found.mailbox == *to;
                match deliveries.iter().filter_map(Delivery::here).find(is_its).cloned() {
                    Some(destination) => self.copy(job, index, destination),
                    None => self.send_on(job, index, &deliveries),
                }
            }
            End::Loop => Ok(RecipientOutcome::own(
                index,
                What::Failed,
                "5.4.6",
                format!("<{to}>: alias loops"),
            )),
            End::Crowd => {
                let words = format!("<{to}>: leads to too many addresses elsewhere");
                Ok(RecipientOutcome::own(index, What::Failed, "5.5.3", words))
            }
            End::Unknown => Ok(RecipientOutcome::own(
                index,
                What::Failed,
                "5.1.1",
                format!("<{to}>: no such user here"),
            )),
            End::Trouble(error) => Err(error),
            // A reload has just removed its domain.
            End::Remote(_) => {
                Ok(RecipientOutcome::own(index, What::Deferred, "4.3.5", "to be routed anew"))
            }
        }
    }

    /// Delivers one copy, with Return-Path and Delivered-To on top, and without foreign Return-Path fields.
    fn copy(
        &self,
        job: &RelayJob,
        index: usize,
        mut to: Destination,
    ) -> Result<RecipientOutcome, StoreError> {
        let entry = &job.claimed.message.entry;
        to.folder = entry.is_junk.then(|| job.setting.site.junk().to_owned());
        let mut summary = self.summary(job)?;
        // Without our own Received, which was not there when the message was accepted.
        summary.received = summary.received.saturating_sub(1);
        if let Opinion::Refuse(reply) =
            policy::message(&job.setting.site, &summary, std::iter::once(&to))
        {
            return Ok(RecipientOutcome::own(index, What::Failed, "5.4.6", reply.to_string()));
        }
        let return_path = trace_fields::return_path(&entry.sender.from);
        let prefix = return_path + &trace_fields::delivered_to(&to.mailbox);
        let edits = Edits::default().without(&summary.return_paths);
        let own = match entry.signature {
            EntrySignature::Owed => self.signature(job)?,
            EntrySignature::None | EntrySignature::By(_) => String::new(),
        };
        let edits = edits.on_top(own).on_top(prefix);
        self.shared.writer.deliver_one(&to.place(), edits.size(entry.size), |file, path| {
            job.claimed.part(&job.claimed.path()).copy_to(&edits, file, path)
        })?;
        // Only a hint, for the thread that cleans tmp/.
        let _ = self.shared.delivered.try_send(to.place().home());
        let mut outcome = RecipientOutcome::own(index, What::Delivered, "2.0.0", "delivered");
        outcome.copy = Some(to);
        Ok(outcome)
    }

    /// The signature of a message that is signed at each attempt; a copy here does not wait for a key.
    fn signature(&self, job: &RelayJob) -> Result<String, StoreError> {
        let (path, edits) = (job.claimed.path(), Edits::default());
        let part = job.claimed.part(&path);
        let view = |take: &mut TakeOctets<'_>| part.view(&edits, take);
        let signature = signature(&job.setting.site, &OwnMessage::new(&view))?;
        signature.iter().for_each(|signature| signature.tell(&job.claimed.message.entry.id));
        Ok(signature.as_ref().map_or("", Signature::fields).to_owned())
    }

    /// The summary of the header.
    pub(super) fn summary(&self, job: &RelayJob) -> Result<Summary, StoreError> {
        let entry = &job.claimed.message.entry;
        let (mut reader, mut at) = (Reader::new(Summarizer::default()), 0);
        while at < entry.size && reader.end().is_none() {
            let most = COPY_CHUNK.min((entry.size - at) as usize);
            let octets = job.claimed.file().read_up_to(entry.message_at + at, most);
            reader.feed(&octets.doing("read", &job.claimed.path())?);
            at += most as u64;
        }
        Ok(reader.finish().0.summary)
    }

    /// Puts the message into the queue anew, for the targets of an alias.
    fn send_on(
        &self,
        job: &RelayJob,
        index: usize,
        to: &[Delivery],
    ) -> Result<RecipientOutcome, StoreError> {
        let old = &job.claimed.message.entry;
        let asked = &old.recipients[index];
        let recipients = to.iter().map(|to| to.addressee(asked.notify, asked.orcpt.clone()));
        let (id, recipients) = (crate::id::message(), recipients.collect());
        // What is on its way is held no longer.
        let entry = Entry { id, recipients, quarantine: None, ..old.clone() };
        let path = job.claimed.path();
        let part = job.claimed.part(&path);
        self.shared.queue.insert(&entry, |file, to| part.copy_to(&Edits::default(), file, to))?;
        let words = format!("sent on to what the alias leads to, as {}", entry.id);
        self.shared.hints.send(crate::handoff::Hint::New(Box::new(entry)));
        let outcome = RecipientOutcome::own(index, What::Delivered, "2.0.0", words);
        Ok(RecipientOutcome { is_passed_on: true, ..outcome })
    }
}
