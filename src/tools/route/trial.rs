//! One message, foreseen: a session's transaction says whether its recipient is taken and where the mail
//! goes, and a disk on which nothing happens ([`Rehearsal`]) whether its copies and its queue file could be
//! made. So what `facteur route` says at last is what a client would hear and what would lie where.
//!
//! Makes no connection and leaves nothing behind. Limits by the hour are not known here.

use crate::conversation::bounds::Bounds;
use crate::conversation::transaction::Transaction;
use crate::delivery::reply_to;
use crate::gates::Gates;
use crate::mail::address::{ForwardPath, ReversePath};
use crate::mail::envelope::Sender;
use crate::net::listener::Service;
use crate::policy::Facts;
use crate::route::Planned;
use crate::site::Site;
use crate::smtp::reply::Reply;
use crate::store::disk::{Disk, Doing, RealDisk, StoreError};
use crate::store::entry::Addressee;
use crate::store::homes::Homes;
use crate::store::maildir::{self, Names, Place};
use crate::store::queue::Queue;
use crate::tools::rehearsal::Rehearsal;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The client, the sender and the recipient.
#[derive(Clone, Debug)]
pub struct TrialMessage {
    pub client: IpAddr,
    pub from: ReversePath,
    pub to: ForwardPath,
}

/// What comes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrialOutcome {
    Refused(TrialRefusal),
    Taken(TrialCopies),
}

/// The reply that says no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialRefusal {
    /// The command it answers: RCPT, or `.` for the message itself.
    pub command: &'static str,
    pub code: u16,
    /// Enhanced status code, then words for a person.
    pub text: String,
}

/// Where the message lies after 250.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrialCopies {
    /// Maildirs that have a copy in `new/`, in order.
    pub copies: Vec<PathBuf>,
    /// Recipients in a queue file: on other hosts, or here when their copy is late.
    pub queued: Vec<Addressee>,
}

/// The id of the session, and of the queue file that is tried.
pub const SESSION: &str = "route";

impl TrialMessage {
    /// How this ends on the disk of this machine, which stays as it is. `is_tried`: this process may do
    /// there what the server may do; else every copy is taken to succeed.
    pub fn foresee(&self, site: &Site, is_tried: bool) -> TrialOutcome {
        let (bounds, gates) = (Bounds::default(), Gates::default());
        let facts = Facts::new(SESSION.to_owned(), self.client, Service::Smtp);
        let mut transaction = Transaction::new(&RealDisk, &bounds, &gates);
        transaction.begin(&Sender::new(self.from.clone()));
        let spool = is_tried.then_some(&*site.config.spool);
        match transaction.recipient(site, &facts, &self.to, || Ok(())) {
            Ok(planned) => match taken(planned, spool) {
                Ok(taken) => TrialOutcome::Taken(taken),
                Err(error) => TrialOutcome::Refused(TrialRefusal::new(".", &reply_to(&error))),
            },
            Err(reply) => TrialOutcome::Refused(TrialRefusal::new("RCPT", &reply)),
        }
    }
}

impl TrialRefusal {
    fn new(command: &'static str, reply: &Reply) -> TrialRefusal {
        let (code, text) = (reply.code(), reply.to_string());
        let text = text.split_once(' ').map(|(_, text)| text.to_owned()).unwrap_or_default();
        TrialRefusal { command, code, text }
    }
}

/// What lies where when delivery has done what it can, as [`crate::delivery`] has it: a copy that cannot be
/// written waits in the queue if anything else of its message succeeds, and what cannot be published fails the
/// whole message. `spool`: where the queue is; none: nothing is tried.
fn taken(planned: &[Planned], spool: Option<&Path>) -> Result<TrialCopies, StoreError> {
    let (mut taken, mut late) = (TrialCopies::default(), Vec::new());
    let (mut unwritten, mut unpublished) = (None, None);
    for planned in planned {
        let addressee = planned.addressee(&[]);
        let Some(here) = planned.delivery.here() else {
            taken.queued.push(addressee);
            continue;
        };
        let tried = spool.map_or(Ok(()), |_| try_copy(&here.place()));
        if let Err(CopyFlaw { error, is_written: false }) = tried {
            unwritten.get_or_insert(error);
            late.push(addressee);
            continue;
        }
        taken.copies.push(here.maildir.clone());
        unpublished = unpublished.or(tried.err());
    }
    match unwritten {
        Some(error) if taken.copies.is_empty() && taken.queued.is_empty() => return Err(error),
        _ => taken.queued.extend(late),
    }
    if let Some(spool) = spool.filter(|_| !taken.queued.is_empty()) {
        try_queue(spool)?;
    }
    taken.copies.sort();
    unpublished.map_or(Ok(taken), |flaw| Err(flaw.error))
}

/// Why a copy cannot be put into a Maildir.
struct CopyFlaw {
    error: StoreError,
    /// Only its name could not be made.
    is_written: bool,
}

fn try_copy(place: &Place<'_>) -> Result<(), CopyFlaw> {
    let disk: Arc<dyn Disk> = Arc::new(Rehearsal::new());
    let mut is_written = false;
    let (names, size) = (Names::new("rehearsal"), COPY.len() as u64);
    let draft = maildir::draft(&disk, &names, place, size, &mut Homes::default());
    let put = draft.and_then(|(draft, file)| {
        draft.put(&*file, |file, path| {
            file.append(&COPY).doing("write", path)?;
            is_written = true;
            Ok(())
        })
    });
    put.map_err(|error| CopyFlaw { error, is_written })
}

fn try_queue(spool: &Path) -> Result<(), StoreError> {
    let queue = Queue::new(Arc::new(Rehearsal::new()), spool);
    let (draft, file) = queue.draft(SESSION, &mut Homes::default())?;
    draft.put(&*file, |file, path| file.append(&COPY).doing("write", path))
}

/// Why no copy can be put into a Maildir, or a folder of it; none where it can.
pub fn obstacle(place: &Place<'_>) -> Option<StoreError> {
    try_copy(place).err().map(|flaw| without_name(flaw.error))
}

/// Why no message can be put into the queue; none where it can.
pub fn queue_obstacle(spool: &Path) -> Option<StoreError> {
    try_queue(spool).err().map(without_name)
}

/// The error with the directory in place of the file, which never existed.
fn without_name(error: StoreError) -> StoreError {
    let step = match error.step {
        "create" => "create a file in",
        "publish" => "publish a file in",
        _ => return error,
    };
    let path = error.path.parent().map(Path::to_owned).unwrap_or_default();
    StoreError { step, path, ..error }
}

/// What a message needs at least: a full disk has no room for it.
const COPY: [u8; 4096] = [b'x'; 4096];
