//! The filters of mail that was sent by sendmail. A worker asks them before the message goes anywhere, and puts it
//! into the place of its queue file as they made it; so no command, and no thread that others wait for, waits for a
//! filter. One that fails is a goal that cannot be reached: such mail waits for it, as the list of retries has it.

use super::board::Reach;
use super::worker::{RelayJob, RelayWorker, Report};
use crate::config::MilterService;
use crate::event::{About, Event, Talk, Turn, tell, tell_talk, warn};
use crate::filters::{
    FilterAction, FilterChain, FilterClient, FilterInput, FilterNote, FilterOpinion, FilterRoom,
    FilteredMessage,
};
use crate::limits::{FILTERED_MEMORY, HEADER_MAX, QUEUE_READ};
use crate::mail::address::{ForwardPath, Mailbox};
use crate::mail::edits::Edits;
use crate::mail::envelope::Sender;
use crate::mail::header::Header;
use crate::mail::summary::Summary;
use crate::outcome::RecipientOutcome;
use crate::policy::{self, Opinion};
use crate::signature::{OwnMessage, Signature, TakeOctets, signature};
use crate::smtp::reply::Reply;
use crate::store::body::{Body, BodyWriter, Budget};
use crate::store::disk::{DiskFile, Doing, StoreError};
use crate::store::entry::{Addressee, Entry, EntrySignature, Quarantine, What};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::ControlFlow;
use std::path::Path;
use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

/// What the filters lead to.
enum Filtered {
    /// These recipients get an outcome, and the message stays as it is.
    Outcomes(Vec<RecipientOutcome>),
    Thrown,
    Goes(Box<FilteredMessage>, Opinion),
}

/// A message without our own Received, which no filter sees.
struct Unreceived {
    body: Body,
    received: String,
    budget: Arc<Budget>,
}

impl RelayWorker {
    /// Asks the filters about a message; gives an outcome for each recipient that has one by that. None when the
    /// server stops and nothing was begun.
    pub(super) fn filter(
        &mut self,
        job: &RelayJob,
        open: &[usize],
        unread: Option<StoreError>,
        report: &mut Report,
    ) -> Option<(Vec<RecipientOutcome>, Reach)> {
        let chain = job.setting.site.filters(MilterService::Sendmail);
        let read = unread.map_or_else(|| self.unreceived(job), Err);
        let (mut chain, message) = match (chain, read) {
            (Some(chain), Ok(message)) => (chain, message),
            (Some(_), Err(error)) => return Some(put_off(open, "4.3.0", &error.to_string())),
            (None, _) => return Some(put_off(open, "4.3.5", "to be routed anew")),
        };
        let filtered = self.ask(job, open, &mut chain, &message);
        let notes = chain.take_notes();
        let failure = notes.iter().find(|note| note.action == FilterAction::Failed);
        let reach = failure.map_or(Reach::Reached, |note| Reach::Missed(note.to_string()));
        let entry = &job.claimed.message.entry;
        tell_notes(entry, &notes);
        let done = match filtered {
            Err(error) => return Some(put_off(open, error.status(), &error.to_string())),
            Ok(Filtered::Outcomes(outcomes)) => return Some((outcomes, reach)),
            Ok(_) if !self.guard.commit() => return None,
            Ok(Filtered::Thrown) => job.claimed.remove().map(Ok),
            Ok(Filtered::Goes(filtered, opinion)) => {
                self.replace(job, open, &message, (*filtered, opinion), report)
            }
        };
        match done {
            Ok(Ok(())) => {
                report.is_gone = true;
                Some((Vec::new(), reach))
            }
            Ok(Err(not_now)) => Some((not_now.outcomes(open), reach)),
            Err(error) => Some(put_off(open, error.status(), &error.to_string())),
        }
    }

    /// The octets of a message in a copy, as the filters read it.
    fn unreceived(&self, job: &RelayJob) -> Result<Unreceived, StoreError> {
        let (entry, file, path) =
            (&job.claimed.message.entry, job.claimed.file(), job.claimed.path());
        let most = QUEUE_READ.min(usize::try_from(entry.size).unwrap_or(QUEUE_READ));
        let head = file.read_up_to(entry.message_at, most).doing("read", &path)?;
        let header = Header::read(&head);
        let first = header.fields.first().filter(|field| field.at == 0);
        let first = first.filter(|field| field.name.eq_ignore_ascii_case(b"Received"));
        let received = first
            .map_or_else(String::new, |field| String::from_utf8_lossy(field.lines).into_owned());
        let budget = Budget::new(FILTERED_MEMORY);
        let (disk, dir) = (self.shared.disk.clone(), self.shared.queue.tmp());
        let mut writer = BodyWriter::new(disk, &dir, budget.clone());
        let own = 0..first.map_or(0, |field| field.lines.len() as u64);
        let mut written = Ok(());
        job.claimed.part(&path).view(&Edits::default().without(from_ref(&own)), &mut |octets| {
            written = writer.write(octets);
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        written?;
        Ok(Unreceived { body: writer.finish(), received, budget })
    }

    /// Says the message to the filters, as one of a client of this machine.
    fn ask(
        &self,
        job: &RelayJob,
        open: &[usize],
        chain: &mut FilterChain,
        message: &Unreceived,
    ) -> Result<Filtered, StoreError> {
        let (site, entry) = (&job.setting.site, &job.claimed.message.entry);
        let address = Some((IpAddr::V4(Ipv4Addr::LOCALHOST), 0));
        let client = FilterClient { name: Some("localhost".to_owned()), address, listener: None };
        let whole = |reply: &Reply| {
            Ok(Filtered::Outcomes(open.iter().map(|index| refused(*index, reply)).collect()))
        };
        let hostname = site.config.hostname.as_str();
        let greeted = chain.connect(client).or_refusal();
        let greeted = greeted.and_then(|()| chain.helo(hostname, None).or_refusal());
        let from = &entry.sender.from;
        let begun = greeted.and_then(|()| chain.mail(&entry.id, from, &[], None).or_refusal());
        if let Err(reply) = begun {
            return whole(&reply);
        }
        let mut outcomes = Vec::new();
        for index in open {
            let path = ForwardPath::Mailbox(entry.recipients[*index].mailbox.clone());
            match chain.rcpt(&path, &[]) {
                FilterOpinion::Refuse(reply) => outcomes.push(refused(*index, &reply)),
                FilterOpinion::GoOn => {}
            }
        }
        // The others are asked about once these are told.
        if !outcomes.is_empty() {
            return Ok(Filtered::Outcomes(outcomes));
        }
        if let FilterOpinion::Refuse(reply) = chain.data() {
            return whole(&reply);
        }
        let dir = self.shared.queue.tmp();
        let room = FilterRoom {
            disk: &self.shared.disk,
            dir: &dir,
            budget: &message.budget,
            message_size: site.config.limit.message_size,
        };
        let input = FilterInput { body: &message.body, results: "", forged: &[], room };
        let filtered = chain.message(&input)?;
        Ok(match policy::filtered(site, &filtered, entry.is_junk) {
            Opinion::Refuse(reply) => return whole(&reply),
            Opinion::Discard => Filtered::Thrown,
            opinion @ (Opinion::Take | Opinion::Junk | Opinion::Hold { .. }) => {
                Filtered::Goes(Box::new(filtered), opinion)
            }
        })
    }

    /// Puts the message into the place of the old one as filters made it, under the same id; not yet, where it
    /// cannot be found out whether somebody exists whom a filter added.
    fn replace(
        &self,
        job: &RelayJob,
        open: &[usize],
        message: &Unreceived,
        (filtered, opinion): (FilteredMessage, Opinion),
        report: &mut Report,
    ) -> Result<Result<(), NotNow>, StoreError> {
        let old = &job.claimed.message.entry;
        let body = filtered.body.as_ref().map_or(&message.body, |other| &other.body);
        let edits = filtered.edits(&message.received);
        let signed = self.signed(job, body, &edits)?;
        let own = signed.as_ref().map_or("", Signature::fields);
        let edits = filtered.edits(&(message.received.clone() + own));
        let summary = match &filtered.body {
            // It says who has sent the message on, which only those who were added are asked about.
            _ if filtered.added.is_empty() => Summary::default(),
            Some(other) => other.summary.clone(),
            None => Summary::of(&body.head(HEADER_MAX)?),
        };
        let (is_junk, quarantine) = opinion.marks();
        let recipients = match self.recipients(job, open, &filtered, &summary) {
            Ok(recipients) => recipients,
            Err(not_now) => return Ok(Err(not_now)),
        };
        if recipients.is_empty() {
            let what = "no recipient was left";
            let session = &old.session;
            tell_discarded(&old.id, session, what);
            return job.claimed.remove().map(Ok);
        }
        let tls = match filtered.is_changed() {
            true => old.sender.tls.with_header(body.summary(&edits)?.tls.wish()),
            false => old.sender.tls,
        };
        let mut entry = Entry {
            sender: Sender { tls, ..old.sender.clone() },
            recipients,
            size: edits.size(body.size()),
            sum: Some(body.sum(&edits)?),
            wire: None,
            is_junk,
            signature: signed.as_ref().map_or(old.signature.clone(), Signature::in_queue),
            quarantine,
            is_unfiltered: false,
            ..old.clone()
        };
        if let Some(from) = filtered.sender {
            entry.sender.from = from;
        }
        let write = |file: &dyn DiskFile, path: &Path| body.copy_to(&edits, file, path);
        self.shared.queue.replace(&job.claimed, &entry, write)?;
        if let Some(signature) = signed {
            signature.tell(&entry.id);
        }
        if let Some(Quarantine { filter, reason }) = &entry.quarantine {
            tell(&Event::Held { id: &entry.id, filter, reason });
        }
        report.notices.push(entry);
        Ok(Ok(()))
    }

    /// Signs the message behind its filters; none where it is not to be signed.
    fn signed(
        &self,
        job: &RelayJob,
        body: &Body,
        edits: &Edits,
    ) -> Result<Option<Signature>, StoreError> {
        match job.claimed.message.entry.signature {
            EntrySignature::Owed => {
                let view = |take: &mut TakeOctets<'_>| body.view(edits, take);
                signature(&job.setting.site, &OwnMessage::new(&view))
            }
            EntrySignature::None | EntrySignature::By(_) => Ok(None),
        }
    }

    /// Who gets the message: those that are left, and those that filters added, each of which goes where a target
    /// of an alias would. Fails where that cannot be found out now.
    fn recipients(
        &self,
        job: &RelayJob,
        open: &[usize],
        filtered: &FilteredMessage,
        summary: &Summary,
    ) -> Result<Vec<Addressee>, NotNow> {
        let (site, disk) = (&*job.setting.site, &*self.shared.disk);
        let entry = &job.claimed.message.entry;
        let is_removed =
            |mailbox: &Mailbox| filtered.removed.contains(&ForwardPath::Mailbox(mailbox.clone()));
        let left = open.iter().map(|index| &entry.recipients[*index]);
        let mut all: Vec<Addressee> = left.filter(|to| !is_removed(&to.mailbox)).cloned().collect();
        for path in &filtered.added {
            let added = (path, all.len());
            match policy::added_recipient(site, disk, &entry.session, added, summary) {
                Ok(targets) => {
                    let new = targets.deliveries.iter().map(|to| to.addressee(None, None));
                    let is_new =
                        |to: &Addressee| all.iter().all(|other| other.mailbox != to.mailbox);
                    let new: Vec<Addressee> = new.filter(is_new).collect();
                    all.extend(new);
                }
                Err(reply) if policy::is_trouble_of_ours(&reply) => return Err(NotNow(reply)),
                Err(reply) => {
                    warn(&format!(
                        "{}: {path}, which a filter added, is left out: {reply}",
                        entry.id
                    ));
                }
            }
        }
        Ok(all)
    }
}

/// Why a message cannot be given to those whom filters added.
struct NotNow(Reply);

impl NotNow {
    /// All of these recipients wait for it.
    fn outcomes(&self, open: &[usize]) -> Vec<RecipientOutcome> {
        open.iter().map(|index| refused(*index, &self.0)).collect()
    }
}

/// All of these recipients wait.
fn put_off(open: &[usize], status: &str, words: &str) -> (Vec<RecipientOutcome>, Reach) {
    let defer = |index: &usize| RecipientOutcome::own(*index, What::Deferred, status, words);
    (open.iter().map(defer).collect(), Reach::Untried)
}

/// What a filter's refusal means for a recipient.
fn refused(index: usize, reply: &Reply) -> RecipientOutcome {
    let what = if reply.is_permanent() { What::Failed } else { What::Deferred };
    let said = reply.to_string();
    let text = said.split_once(' ').map_or("", |(_, text)| text);
    let class = if reply.is_permanent() { "5." } else { "4." };
    match text.split_once(' ').filter(|(status, _)| status.starts_with(class)) {
        Some((status, words)) => RecipientOutcome::own(index, what, status, words),
        None => RecipientOutcome::own(index, what, &format!("{class}7.1"), text),
    }
}

fn tell_discarded(id: &str, session: &str, what: &str) {
    let took = Duration::ZERO;
    let (filter, stage, action) = ("-", "end of message", "discard");
    tell(&Event::Filtered { id: Some(id), session, filter, stage, action, what, took });
}

/// Tells log, trace and metrics what filters did with a message.
fn tell_notes(entry: &Entry, notes: &[FilterNote]) {
    let mut talk = Talk::new();
    let (id, session) = (entry.id.clone(), entry.session.clone());
    talk.about = About { id, session, ..About::default() };
    for note in notes {
        note.count();
        note.tell(Some(&entry.id), &entry.session);
        if note.action != FilterAction::Continue {
            talk.note(Turn::Decided, &note.to_string());
        }
    }
    tell_talk(talk);
}
