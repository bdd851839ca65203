//! What threads pass each other: values that carry all that is needed, and nothing else shared.
//!
//! Session → delivery: [`Accepted`]. Delivery → session: [`Outcome`]. The two agree by a [`Claim`]
//! whether a message is still wanted.

use crate::route::Destination;
use crate::smtp::reply::Reply;
use crate::store::body::Body;
use crate::store::draft::Draft;
use crossbeam_channel::Sender;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// A whole message that policy has let pass, with its copies, on its way to the disk.
pub struct Accepted {
    pub id: String,
    /// The session it came in, by its id.
    pub session: String,
    pub body: Body,
    /// What no copy contains: older Return-Path fields.
    pub cuts: Vec<Range<u64>>,
    /// One for each mailbox; never empty.
    pub copies: Vec<Copy>,
    pub claim: Arc<Claim>,
    /// Where the outcome goes; has room for it.
    pub outcome: Sender<Outcome>,
}

/// What one mailbox gets.
pub struct Copy {
    pub destination: Destination,
    /// Return-Path, Delivered-To and Received, with LF line ends.
    pub prefix: String,
    /// Of a large message: written and synced by the session's thread already.
    pub draft: Option<Draft>,
}

/// What became of a message.
#[derive(Debug)]
pub enum Outcome {
    /// Every copy lies in `new/`, and would after a power cut.
    Delivered,
    /// No copy lies anywhere; the reply says what to tell the client.
    Failed(Reply),
}

/// Who decides about a message: its session may give it up until delivery begins to publish it.
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
