//! Mail of this machine's own users: who they are, where their mail goes, and the thread that takes in the
//! files they dropped ([`crate::store::drop`]).
//!
//! The system says who owns a dropped file; all that the file says is checked again as in a session, and
//! recipients that a session would refuse are returned from the queue. The owner may still write the file, so
//! its octets are copied first, and the copy is checked and kept. It is put into the queue under its own name,
//! durably, before the dropped file is removed; where both are found after a crash, it was taken already.
//!
//! Users take turns, however many files they dropped, and a file that makes trouble holds up no other.

mod author;
mod backlog;
mod header;
#[cfg(test)]
mod tests;
mod unsent;

pub use author::{Author, domain_of};

use crate::config::MilterService;
use crate::event::{About, Event, Talk, Turn, tell, tell_talk};
use crate::handoff::{Hint, Hints};
use crate::limits::{
    BATCH_OCTETS, COPY_CHUNK, DROP_LOOK, DROP_SETTLE, DROP_SWEEP, DROPS_AT_ONCE, DROPS_MEMORY,
    TROUBLE_WAIT,
};
use crate::mail::address::{ForwardPath, Mailbox, ReversePath};
use crate::mail::edits::Edits;
use crate::mail::envelope::Sender;
use crate::mail::header::Reader;
use crate::mail::proof::canonical::BodyHash;
use crate::mail::proof::dkim::ours::OwnBody;
use crate::mail::summary::Summary;
use crate::mail::survey::{Surveyor, WireForm};
use crate::mail::trace_fields::Submitted;
use crate::mail::xtext;
use crate::policy::{self, Finding, Targets};
use crate::route::{Delivery, Destination, Plan, Planned};
use crate::signature::{OwnMessage, Signature, signature};
use crate::site::Site;
use crate::smtp::reply::Reply;
use crate::store::body::{Body, BodyWriter, Budget};
use crate::store::disk::{Disk, DiskFile, Doing, StoreError};
use crate::store::drop::{Dropped, Drops, NotTaken, not_had};
use crate::store::entry::{Addressee, Entry, EntrySignature};
use crate::store::queue::Queue;
use crate::store::unsent::is_name;
use backlog::Backlog;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender as Channel};
use jiff::{Timestamp, ZonedDateTime};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use unsent::RecentlyTold;

/// Where the mail for some recipients goes.
pub struct Resolved {
    /// As they stand in the queue, each mailbox once.
    pub to: Vec<Addressee>,
    /// Those recipients that are mailboxes here.
    pub here: Vec<Destination>,
    /// The recipients that were refused, and why.
    pub refused: Vec<(Addressee, Reply)>,
}

/// Resolves recipients as a session with a trusted client does. `from` and `summary`: of the message.
pub fn resolve(
    site: &Site,
    disk: &dyn Disk,
    session: &str,
    to: &[Addressee],
    (from, summary): (&ReversePath, &Summary),
) -> Resolved {
    let (mut plan, mut refused) = (Plan::default(), Vec::new());
    let (most, mut sent_on) = (site.config.limit.recipients, 0);
    for (index, asked) in to.iter().enumerate() {
        let path = ForwardPath::Mailbox(asked.mailbox.clone());
        let fits = |targets: Targets| {
            let (is_null, is_alone) = (*from == ReversePath::Null, to.len() == 1);
            policy::bounce(&path, &targets, is_null, is_alone).or_refusal()?;
            let onward: Vec<&Mailbox> =
                targets.deliveries.iter().filter_map(Delivery::via).collect();
            let Some(via) = onward.first() else { return Ok(targets) };
            let was_sent_on = policy::was_sent_on(site, summary, via);
            policy::opinion(was_sent_on.then(|| Finding::WasSentOn((*via).clone())))
                .or_refusal()?;
            sent_on += onward.len();
            let is_beyond = sent_on > most;
            policy::opinion(is_beyond.then(|| Finding::BeyondSentOn((*via).clone(), most)))
                .or_refusal()?;
            Ok(targets)
        };
        match policy::recipient_of_ours(site, disk, session, &path).and_then(fits) {
            Ok(targets) => targets.deliveries.into_iter().for_each(|to| plan.add(to, index)),
            Err(reply) => refused.push((asked.clone(), reply)),
        }
    }
    let addressee = |planned: &Planned| {
        let asked = &to[planned.recipient];
        planned.delivery.addressee(asked.notify, asked.orcpt.clone())
    };
    let here = plan.here().cloned().collect();
    Resolved { to: plan.all().iter().map(addressee).collect(), here, refused }
}

/// What the thread is told.
pub enum PickupCall {
    /// Look now.
    Look,
    /// Begin nothing more, and answer when that is so.
    Stop(Channel<()>),
}

/// Takes in the files that users dropped.
pub struct Pickup {
    disk: Arc<dyn Disk>,
    queue: Queue,
    drops: Drops,
    hints: Hints,
    /// The site as it is now, users and aliases with it.
    site: Box<dyn Fn() -> Arc<Site> + Send>,
    /// The directory's time of change when all its files had been taken in; none before.
    seen: Option<SystemTime>,
    swept: Option<Instant>,
    /// The files in the directory, in the order in which they are taken in.
    backlog: Backlog,
    /// Memory for the copies of small messages.
    budget: Arc<Budget>,
    /// The last trouble that the log was told of.
    told: Option<String>,
    /// How many calls that sent nothing were told lately.
    unsent: RecentlyTold,
    /// Files that are in the queue already, but whose removal here is not yet durable; the scheduler is told of
    /// them after that. None for a message that was in the queue before: the scheduler knows it.
    held: HashMap<OsString, Option<Entry>>,
}

impl Pickup {
    pub fn new(
        disk: Arc<dyn Disk>,
        queue: Queue,
        drops: Drops,
        hints: Hints,
        site: impl Fn() -> Arc<Site> + Send + 'static,
    ) -> Pickup {
        let (seen, swept, backlog, told, unsent, held) = Default::default();
        let (site, budget) = (Box::new(site), Budget::new(DROPS_MEMORY));
        Pickup { disk, queue, drops, hints, site, seen, swept, backlog, budget, told, unsent, held }
    }

    /// Works until it is told to stop.
    pub fn run(mut self, calls: &Receiver<PickupCall>) {
        loop {
            let wait = self.look().unwrap_or_else(|error| {
                self.tell_trouble(&error);
                TROUBLE_WAIT
            });
            match calls.recv_timeout(wait) {
                Ok(PickupCall::Look) => self.seen = None,
                Err(RecvTimeoutError::Timeout) => {}
                Ok(PickupCall::Stop(done)) => {
                    let _ = done.send(());
                    return;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Takes in some files; gives how long to wait before the next look.
    fn look(&mut self) -> Result<Duration, StoreError> {
        self.tell_left_out(Instant::now());
        // An error here must not hold up other files.
        let held = if self.held.is_empty() { Ok(()) } else { self.release() };
        let wait = self.look_for_more()?;
        held.map(|()| wait)
    }

    fn look_for_more(&mut self) -> Result<Duration, StoreError> {
        if self.swept.is_none_or(|when| when.elapsed() >= DROP_SWEEP) {
            self.drops.sweep(SystemTime::now())?;
            self.swept = Some(Instant::now());
        }
        let changed = self.drops.changed()?;
        if self.seen == Some(changed) {
            return Ok(DROP_LOOK);
        }
        let now = Instant::now();
        self.backlog.fill(&self.drops, &self.held, now)?;
        // A file that is dropped at this moment may not change the directory's time.
        let age = SystemTime::now().duration_since(changed).unwrap_or_default();
        let is_done = self.backlog.is_empty() && age >= DROP_SETTLE;
        self.seen = Some(changed).filter(|_| is_done && !self.backlog.has_resting());
        let taken = self.take_some(now)?;
        match self.backlog.is_empty() {
            false => Ok(Duration::ZERO),
            true if taken > 0 => Ok(DROP_LOOK / 10),
            true => Ok(DROP_LOOK),
        }
    }

    /// Takes in the next files of the backlog, and gives how many.
    fn take_some(&mut self, now: Instant) -> Result<usize, StoreError> {
        let site = match self.backlog.is_empty() {
            true => return Ok(0),
            false => (self.site)(),
        };
        let (mut letters, mut octets) = (Vec::new(), 0);
        for _ in 0..DROPS_AT_ONCE {
            if octets >= BATCH_OCTETS as u64 {
                break;
            }
            let Some(name) = self.backlog.next() else { break };
            let judged = match is_name(&name) {
                true => self.tell_one(&site, &name, now).map(|()| None),
                false => self.judge(&site, &name).inspect(|letter| {
                    if letter.is_none() {
                        self.held.insert(name.clone(), None);
                    }
                }),
            };
            let judged = match judged {
                Err(NotTaken::Refused(why)) => {
                    self.put_aside(&name, &why).map_err(NotTaken::Disk).map(|()| None)
                }
                judged => judged,
            };
            match judged {
                Ok(Some(letter)) => {
                    octets += letter.body.size();
                    letters.push(letter);
                }
                Ok(None) | Err(NotTaken::Gone | NotTaken::Refused(_)) => {}
                // A file that cannot be read or moved now holds up no other.
                Err(NotTaken::Disk(error)) => {
                    self.tell_trouble(&error);
                    self.backlog.rest(name, now);
                }
            }
        }
        let mut trouble = None;
        let entries = self.insert_all(letters, &mut trouble);
        let count = entries.len();
        self.held.extend(entries.into_iter().map(|entry| (OsString::from(&entry.id), Some(entry))));
        self.release()?;
        trouble.map_or(Ok(count), Err)
    }

    /// Removes the files that were taken in, durably, and only then lets their mail be sent: a file that still
    /// lies there at the next start, or comes back after a power cut, would be taken in and sent once more.
    fn release(&mut self) -> Result<(), StoreError> {
        let names: Vec<OsString> = self.held.keys().cloned().collect();
        let (mut gone, mut trouble) = (Vec::new(), None);
        for name in names {
            match self.drops.remove(&name) {
                Ok(()) => gone.push(name),
                Err(error) => trouble = Some(error),
            }
        }
        self.drops.sync()?;
        for entry in gone.iter().filter_map(|name| self.held.remove(name).flatten()) {
            self.hints.send(Hint::New(Box::new(entry)));
        }
        trouble.map_or(Ok(()), Err)
    }

    /// Checks a dropped message; gives it as it will be in the queue, none when it is there already.
    fn judge(&self, site: &Site, name: &OsStr) -> Result<Option<Judged>, NotTaken> {
        let dropped = self.drops.open(name, site.config.limit.message_size)?;
        if self.queue.has(&dropped.entry.id) {
            return Ok(None);
        }
        let author = author_of(&dropped)?;
        let own = author.address(site, &*self.disk).map_err(NotTaken::Refused)?;
        let (body, wire, body_at, hash) = self.copy(site, &dropped)?;
        let mut entry = self.entry(site, &dropped, &author, own.clone())?;
        let whose = (&author, &own);
        let (header, at) = header::completed((site, &*self.disk), &body, whose, &entry)?;
        let summary = Summary::of(&header);
        policy::message(site, &summary, std::iter::empty())
            .or_refusal()
            .map_err(|reply| NotTaken::Refused(reply.to_string()))?;
        entry.sender.tls = summary.tls.wish();
        entry.recipients = self.recipients(site, &dropped, &entry, &summary);
        if entry.is_too_long() {
            return Err(NotTaken::Refused("too many recipients".to_owned()));
        }
        let (uid, login, by) = (author.uid, author.login.as_str(), &site.config.hostname);
        let date = &ZonedDateTime::now();
        let received = Submitted { uid, login, by, id: &entry.id, date }.field();
        let wire = Some(wire).filter(|_| body_at == at).map(|wire| wire.below(&header));
        let edits = Edits::default().replaced(0..at, header);
        let hash = hash.map(|hash| (hash, body_at));
        // What filters have not seen is signed behind them.
        let is_owed = entry.is_unfiltered && !site.signing().is_off();
        let signature = match is_owed {
            true => None,
            false => signed(site, (&body, hash), &edits, &received).map_err(NotTaken::Disk)?,
        };
        let own = signature.as_ref().map_or("", Signature::fields);
        entry.wire = wire.map(|wire| wire.below(own.as_bytes()).below(received.as_bytes()));
        entry.signature = match is_owed {
            true => EntrySignature::Owed,
            false => signature.as_ref().map(Signature::in_queue).unwrap_or_default(),
        };
        let edits = edits.on_top(own).on_top(received);
        entry.size = edits.size(body.size());
        entry.sum = Some(body.sum(&edits).map_err(NotTaken::Disk)?);
        // A crash may have left a draft; no other thread makes this name.
        let _ = self.disk.remove(&self.queue.tmp().join(&entry.id));
        let (uid, asked) = (dropped.uid, dropped.entry.recipients.len());
        let message_id = summary.message_id;
        Ok(Some(Judged { uid, asked, body, entry, edits, signature, message_id }))
    }

    /// The octets of a dropped message in a copy that its owner cannot change, the form of its body on the wire,
    /// where the body begins, and its hash where mail is signed. A bare CR is refused, because a next hop may take
    /// it for a line end and we do not.
    fn copy(
        &self,
        site: &Site,
        dropped: &Dropped,
    ) -> Result<(Body, WireForm, u64, Option<BodyHash>), NotTaken> {
        let Dropped { entry, file, path, .. } = dropped;
        let mut writer = BodyWriter::new(self.disk.clone(), &self.queue.tmp(), self.budget.clone());
        let own = (!site.signing().is_off()).then(OwnBody::default);
        let (mut reader, mut at, mut last) = (Reader::new((Surveyor::default(), own)), 0, None);
        while at < entry.size {
            let most = COPY_CHUNK.min((entry.size - at) as usize);
            let octets = file.read_up_to(entry.message_at + at, most);
            let octets = octets.map_err(|error| not_had(error, "read", path))?;
            if octets.len() < most || memchr::memchr(b'\r', &octets).is_some() {
                return Err(NotTaken::Refused("a CR, or less than it says, is in it".to_owned()));
            }
            reader.feed(&octets);
            writer.write(&octets).map_err(NotTaken::Disk)?;
            last = octets.last().copied();
            at += most as u64;
        }
        let body = writer.finish();
        let sum = body.sum(&Edits::default()).map_err(NotTaken::Disk)?;
        if entry.sum.is_some_and(|meant| meant != sum) {
            return Err(NotTaken::Refused("it is not as it was dropped".to_owned()));
        }
        match last {
            None | Some(b'\n') => {
                let ((surveyor, own), end) = reader.finish();
                Ok((body, surveyor.body(), end.body_at, own.and_then(OwnBody::finish)))
            }
            Some(_) => Err(NotTaken::Refused("its last line has no end".to_owned())),
        }
    }

    /// Puts messages into the queue, all together or else one by one; gives those that are there.
    fn insert_all(&self, letters: Vec<Judged>, trouble: &mut Option<StoreError>) -> Vec<Entry> {
        let entries: Vec<&Entry> = letters.iter().map(|letter| &letter.entry).collect();
        let write =
            |index: usize, file: &dyn DiskFile, path: &Path| letters[index].write(file, path);
        let together = self.queue.insert_all(&entries, &write);
        // Messages that failed together may succeed alone.
        let is_in = |letter: &Judged| match &together {
            Ok(()) => Ok(()),
            Err(_) => self.queue.insert(&letter.entry, |file, path| letter.write(file, path)),
        };
        let mut inserted = Vec::new();
        for letter in letters {
            match is_in(&letter) {
                Ok(()) => {
                    letter.tell();
                    inserted.push(letter.entry);
                }
                Err(error) => *trouble = Some(error),
            }
        }
        inserted
    }

    /// The envelope made anew, without recipients: of the dropped one only what a session would take from its owner.
    fn entry(
        &self,
        site: &Site,
        dropped: &Dropped,
        author: &Author,
        own: Mailbox,
    ) -> Result<Entry, NotTaken> {
        let asked = &dropped.entry;
        let limit = &site.config.limit;
        if asked.size > limit.message_size || asked.recipients.len() > limit.recipients {
            return Err(NotTaken::Refused("it is larger than [limit] allows".to_owned()));
        }
        let session = crate::id::session();
        let from = &asked.sender.from;
        let is_its = author.may_send_as(site, &*self.disk, from)
            && !author.is_only_a_host(site, &*self.disk, from);
        let from = if is_its { from.clone() } else { ReversePath::Mailbox(own) };
        let envid = asked.sender.envid.clone().filter(|envid| xtext::is_envid(envid.as_bytes()));
        let sender = Sender { from, envid, ..asked.sender.clone() };
        Ok(Entry {
            session,
            sender,
            recipients: Vec::new(),
            is_trusted: true,
            queued: Timestamp::now(),
            wire: None,
            is_junk: false,
            is_proved: false,
            signature: Default::default(),
            quarantine: None,
            is_unfiltered: site.config.is_filtered(MilterService::Sendmail),
            others: Vec::new(),
            message_at: 0,
            ..asked.clone()
        })
    }

    /// The recipients that the owner asked for, resolved as in a session.
    fn recipients(
        &self,
        site: &Site,
        dropped: &Dropped,
        entry: &Entry,
        summary: &Summary,
    ) -> Vec<Addressee> {
        let to = dropped.entry.recipients.iter().cloned();
        let to: Vec<Addressee> = to.map(|to| Addressee { orcpt: None, via: None, ..to }).collect();
        let about = (&entry.sender.from, summary);
        let Resolved { mut to, refused, .. } =
            resolve(site, &*self.disk, &entry.session, &to, about);
        // Recipients that a session would have refused: the queue returns the mail to its sender.
        to.extend(refused.into_iter().map(|(to, _)| to));
        to
    }

    /// Tells the log, but the same words only once, and not each minute while a disk is full.
    fn tell_trouble(&mut self, error: &StoreError) {
        let what = format!("dropped mail waits: {error}");
        if self.told.as_ref() != Some(&what) {
            tell(&Event::Warning { what: &what });
            self.told = Some(what);
        }
    }

    fn put_aside(&self, name: &OsStr, why: &str) -> Result<(), StoreError> {
        let what = match self.drops.put_aside(name)? {
            Some(to) => format!("{} was dropped and not taken ({why}): moved there", to.display()),
            None => format!("{} was dropped and not taken ({why}): removed", name.display()),
        };
        tell(&Event::Warning { what: &what });
        Ok(())
    }
}

/// A dropped message as it will be in the queue.
struct Judged {
    /// The owner of the dropped file.
    uid: u32,
    /// How many recipients the owner asked for.
    asked: usize,
    body: Body,
    entry: Entry,
    /// Its edits: the completed header in place of the old one, its signature, and our Received field on top.
    edits: Edits,
    signature: Option<Signature>,
    message_id: Option<String>,
}

impl Judged {
    fn write(&self, file: &dyn DiskFile, path: &Path) -> Result<(), StoreError> {
        self.body.copy_to(&self.edits, file, path)
    }

    fn tell(&self) {
        let Judged { uid, asked, body, entry, signature, message_id, .. } = self;
        let mut talk = Talk::new();
        let (id, session) = (entry.id.clone(), entry.session.clone());
        talk.about = About { id, session, ..About::default() };
        if let Some(message_id) = message_id {
            talk.note(Turn::MessageId, message_id);
        }
        for to in &entry.recipients {
            talk.note(Turn::Decided, &format!("{}: taken into the queue", to.mailbox));
        }
        tell_talk(talk);
        tell(&Event::Submitted {
            id: &entry.id,
            session: &entry.session,
            uid: *uid,
            from: &entry.sender.from.to_string(),
            size: body.size(),
            recipients: *asked,
            tls: entry.sender.tls,
        });
        if let Some(signature) = signature {
            signature.tell(&entry.id);
        }
    }
}

/// Signs a message of a user of this machine as these edits have it, below `received`; any of our domains may stand
/// in its From.
fn signed(
    site: &Site,
    (body, hash): (&Body, Option<(BodyHash, u64)>),
    edits: &Edits,
    received: &str,
) -> Result<Option<Signature>, StoreError> {
    let edits = edits.clone().on_top(received);
    let place = |(hash, at)| Some((hash, edits.place_of_rest(at, body.size())?));
    let message = OwnMessage {
        view: &|take| body.view(&edits, take),
        is_own: None,
        body: hash.and_then(place),
    };
    signature(site, &message)
}

fn author_of(dropped: &Dropped) -> Result<Author, NotTaken> {
    // The system's list of users may not answer now.
    let found = Author::find(dropped.uid).doing("find the owner of", &dropped.path);
    found.map_err(NotTaken::Disk)
}
