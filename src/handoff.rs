//! What threads pass each other: values that carry all that is needed, and nothing else shared.
//!
//! Session → delivery: [`Accepted`]. Delivery → session: [`Outcome`]. The two agree by a [`Claim`]
//! whether a message is still wanted. Everybody → scheduler: [`Hint`], which may be lost.

use crate::limits::CENSUS_WAIT;
use crate::mail::address::Domain;
use crate::mail::edits::Edits;
use crate::route::Destination;
use crate::smtp::reply::Reply;
use crate::store::body::Body;
use crate::store::draft::Draft;
use crate::store::entry::{Addressee, Entry};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::SystemTime;

/// A whole message that policy has let pass, with its copies, on its way to the disk.
pub struct Accepted {
    /// Its id, session and envelope. The recipients are those that pass through the queue: at first
    /// all that are elsewhere, then also those whose copy cannot be written for now.
    pub entry: Entry,
    pub body: Arc<Body>,
    /// What it becomes in the queue: our Received field stands on top.
    pub queued_as: Edits,
    /// What is the same in all copies: that, without older Return-Path fields.
    pub copied_as: Edits,
    /// One for each mailbox here.
    pub copies: Vec<Copy>,
    /// The queue file, when there has to be one.
    pub queued: Option<WrittenFile>,
    pub claim: Arc<Claim>,
    /// Where the outcome goes; has room for it.
    pub outcome: Sender<Outcome>,
}

/// What one mailbox gets.
pub struct Copy {
    pub destination: Destination,
    /// On top of what all copies have: Return-Path and Delivered-To, with LF line ends.
    pub top: String,
    /// How it stands in the queue when it cannot be written now.
    pub addressee: Addressee,
    pub state: CopyState,
}

/// How far a copy has come.
pub enum CopyState {
    Unwritten,
    Written(WrittenFile),
    /// It could not be written, for this reason, and waits in the queue.
    Late(String),
}

/// A file that is not yet published.
pub struct WrittenFile {
    pub draft: Draft,
    /// Written and synced by the session's thread already.
    pub apart: bool,
}

/// What became of a message.
#[derive(Debug)]
pub enum Outcome {
    /// Every copy lies in `new/` or waits in the queue, and would after a power cut. `late`: copies,
    /// by their place, that wait, and why.
    Taken { late: Vec<(usize, String)> },
    /// No copy lies anywhere; the reply says what to tell the client.
    Failed(Reply),
}

/// What the scheduler should know. The disk is the truth: a lost hint costs time, never mail.
#[derive(Debug)]
pub enum Hint {
    /// A message was put into the queue just now.
    New(Box<Entry>),
    /// Somebody has put this message there, changed or removed it.
    Look(String),
    /// The same for any of them.
    LookAll,
    /// Attempt all that waits for this domain (and, when so asked, its subdomains) at once (ETRN), unless
    /// that was asked a moment ago.
    Flush(Domain, bool),
    /// Attempt all at once (SIGUSR1).
    FlushAll,
    /// The configuration has changed.
    Reload,
    /// Somebody wants to know what waits.
    Count(Sender<Census>),
    /// Begin nothing more; sent back when that is so.
    Stop(Sender<()>),
}

/// What waits, as the scheduler sees it at one moment. All but the messages themselves count a message
/// once for each place where it still has to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub messages: usize,
    /// Its time has come, and a worker is waited for.
    pub due: usize,
    /// It waits for its next attempt.
    pub deferred: usize,
    /// It waits only because its next hop is left alone.
    pub held: usize,
    /// A worker has it.
    pub sending: usize,
    /// Files of the queue that have still to be read.
    pub unread: usize,
    /// When the oldest message came.
    pub oldest: Option<SystemTime>,
}

/// Where hints go; never waits.
#[derive(Clone)]
pub struct Hints {
    sender: Sender<Hint>,
    lost: Arc<Lost>,
}

/// Whether there was no room for a hint.
#[derive(Default)]
struct Lost {
    any: AtomicBool,
    /// One about messages that the scheduler may know already.
    known: AtomicBool,
}

impl Hints {
    /// The two ends, with room for `room` hints.
    pub fn new(room: usize) -> (Hints, Receiver<Hint>) {
        let (sender, receiver) = bounded(room);
        (Hints { sender, lost: Arc::default() }, receiver)
    }

    /// False: there was no room, and the scheduler will look at everything instead.
    pub fn send(&self, hint: Hint) -> bool {
        let is_about_known = matches!(hint, Hint::Look(_) | Hint::LookAll);
        let sent = self.sender.try_send(hint).is_ok();
        if !sent {
            self.lost.known.fetch_or(is_about_known, Ordering::AcqRel);
            self.lost.any.store(true, Ordering::Release);
        }
        sent
    }

    /// For what must not be lost; waits for room.
    pub fn insist(&self, hint: Hint) {
        let _ = self.sender.send(hint); // nobody receives any more: the process ends
    }

    /// What waits; none when the scheduler does not say so within [`CENSUS_WAIT`].
    pub fn ask_census(&self) -> Option<Census> {
        let (asked, answer) = bounded(1);
        // Nothing is lost with this one, so that nothing has to be made up for.
        self.sender.try_send(Hint::Count(asked)).ok()?;
        answer.recv_timeout(CENSUS_WAIT).ok()
    }

    /// Whether hints were lost since this was asked last; then, whether messages that are known
    /// already have to be looked at too.
    pub fn take_lost(&self) -> Option<bool> {
        let any = self.lost.any.swap(false, Ordering::AcqRel);
        any.then(|| self.lost.known.swap(false, Ordering::AcqRel))
    }
}

/// The decision about a message: its session may give it up until delivery begins to publish it.
#[derive(Debug, Default)]
pub struct Claim(AtomicU8);

const PUBLISHING: u8 = 1;
const ABANDONED: u8 = 2;

impl Claim {
    /// Delivery is about to publish; false when the session gave up before.
    pub fn publish(&self) -> bool {
        self.decide(PUBLISHING)
    }

    /// The session gives up; false when it is too late for that.
    pub fn abandon(&self) -> bool {
        self.decide(ABANDONED)
    }

    /// Whether the session gave up.
    pub fn is_abandoned(&self) -> bool {
        self.0.load(Ordering::Acquire) == ABANDONED
    }

    fn decide(&self, what: u8) -> bool {
        self.0.compare_exchange(0, what, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}
