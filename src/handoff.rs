//! The values that threads pass each other; each carries all that is needed.
//!
//! Session → delivery: [`Accepted`]. Delivery → session: [`Outcome`]. The two agree by a [`Claim`]
//! whether a message is still wanted. All threads → scheduler: [`Hint`], which may be lost.

mod answer;

pub use answer::{NoOutcome, OutcomeReceiver, OutcomeSender, outcome_place};

use crate::limits::CENSUS_WAIT;
use crate::mail::address::Domain;
use crate::mail::edits::Edits;
use crate::route::Destination;
use crate::smtp::reply::Reply;
use crate::store::body::Body;
use crate::store::draft::Draft;
use crate::store::entry::{Addressee, Entry};
use crate::store::queue::Claimed;
use crossbeam_channel::{Receiver, Sender, bounded};
use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::SystemTime;

/// A whole message that policy has let pass, with its copies, on its way to the disk.
pub struct Accepted {
    /// Its id, session and envelope. The recipients are those that the queue takes: at first all that are
    /// elsewhere, then also those whose copy cannot be written now.
    pub entry: Entry,
    pub body: Arc<Body>,
    /// The edits of the queue file: our Received field on top.
    pub queued_as: Edits,
    /// The edits that all copies share: that field on top, and older Return-Path fields left out.
    pub copied_as: Edits,
    /// One for each mailbox here.
    pub copies: Vec<Copy>,
    /// The queue file; none where no recipient needs it, or it is not written yet.
    pub queued: Option<WrittenFile>,
    /// Its session hands the message on to servers that keep mail, and tells the scheduler of the queue file
    /// afterwards.
    pub is_handed_on: bool,
    pub claim: Arc<Claim>,
    /// Where the outcome goes.
    pub outcome: OutcomeSender,
}

/// What one mailbox gets.
pub struct Copy {
    pub destination: Destination,
    /// The fields of this copy alone, on top: Return-Path and Delivered-To, with LF line ends.
    pub top: String,
    /// The recipient as the queue has it, when the copy cannot be written now.
    pub addressee: Addressee,
    pub state: CopyState,
}

/// How far a copy has come.
pub enum CopyState {
    Unwritten,
    Written(WrittenFile),
    /// The copy could not be written, for this reason, and waits in the queue.
    Late(String),
}

/// A file that is not yet published.
pub struct WrittenFile {
    pub draft: Draft,
    /// The session's thread has written and synced it already.
    pub apart: bool,
}

/// What became of a message.
#[derive(Debug)]
pub enum Outcome {
    /// Every copy lies in `new/` or waits in the queue, durably. `late`: the copies that wait, by their place,
    /// and why.
    Taken { late: Vec<(usize, String)> },
    /// No copy is left anywhere; the reply is for the client.
    Failed(Reply),
}

/// News for the scheduler. The disk is the truth: a lost hint costs time, never mail.
#[derive(Debug)]
pub enum Hint {
    /// A message was put into the queue just now.
    New(Box<Entry>),
    /// A session has handed some of this message on, and the disk does not take what came of that: its claim
    /// knows. Where this hint is lost the message goes to those recipients once more.
    TakeOver(Box<Claimed>),
    /// A command has put this message into the queue, changed or removed it.
    Look(String),
    /// A command has changed the queue: look at all messages.
    LookAll,
    /// Attempt all mail for this domain at once (ETRN), unless that was asked a moment ago; true: for its
    /// subdomains too.
    Flush(Domain, bool),
    /// Attempt all mail at once (SIGUSR1).
    FlushAll,
    /// The configuration has changed.
    Reload,
    /// Answer with a census.
    Count(Sender<Census>),
    /// Begin nothing more, and answer when that is so.
    Stop(Sender<()>),
}

/// What waits, as the scheduler sees it at one moment. All fields but `messages` count a message once for
/// each destination where it still has to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub messages: usize,
    /// Due, and waiting for a worker.
    pub due: usize,
    /// Waiting for the next attempt.
    pub deferred: usize,
    /// Waiting only because the next hop is left alone.
    pub held: usize,
    /// Held by filters, whole messages.
    pub quarantined: usize,
    /// In the hands of a worker.
    pub sending: usize,
    /// Files of the queue that have not been read yet.
    pub unread: usize,
    /// When the oldest message came.
    pub oldest: Option<SystemTime>,
    /// When the next attempt is due; in the past where it waits for a worker.
    pub next: Option<Timestamp>,
}

/// Where hints go; never waits.
#[derive(Clone)]
pub struct Hints {
    sender: Sender<Hint>,
    lost: Arc<Lost>,
}

/// Which kinds of hints were lost for want of room.
#[derive(Default)]
struct Lost {
    any: AtomicBool,
    /// A hint about messages that the scheduler may know already.
    known: AtomicBool,
}

impl Hints {
    /// The two ends, with room for `room` hints.
    pub fn new(room: usize) -> (Hints, Receiver<Hint>) {
        let (sender, receiver) = bounded(room);
        (Hints { sender, lost: Arc::default() }, receiver)
    }

    /// Sends a hint; false when there was no room, and the scheduler will look at the whole queue instead.
    pub fn send(&self, hint: Hint) -> bool {
        let is_about_known = matches!(hint, Hint::Look(_) | Hint::LookAll);
        let sent = self.sender.try_send(hint).is_ok();
        if !sent {
            self.lost.known.fetch_or(is_about_known, Ordering::AcqRel);
            self.lost.any.store(true, Ordering::Release);
        }
        sent
    }

    /// Sends a hint that must not be lost; waits for room.
    pub fn insist(&self, hint: Hint) {
        let _ = self.sender.send(hint); // an error: the scheduler is gone, and the process ends
    }

    /// What waits; none when the scheduler does not say so within [`CENSUS_WAIT`].
    pub fn ask_census(&self) -> Option<Census> {
        let (asked, answer) = bounded(1);
        // Not by `send`, because the loss of this hint needs no look at the whole queue.
        self.sender.try_send(Hint::Count(asked)).ok()?;
        answer.recv_timeout(CENSUS_WAIT).ok()
    }

    /// Forgets which hints were lost: none when no hint was lost since the last call; true when messages that are
    /// known already have to be looked at too.
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
