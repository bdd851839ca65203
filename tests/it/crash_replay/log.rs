//! What a disk was asked for, and what others were told meanwhile, in order.

use super::tree::{Name, Node};
use std::path::PathBuf;
use std::sync::Arc;

/// One thing that happened.
#[derive(Clone)]
pub struct Entry {
    /// The method of the disk, and its path; of a mark the phase that it begins or ends.
    pub name: &'static str,
    pub path: PathBuf,
    /// What was done as a whole when it happened: "start", "session", "turn".
    pub phase: &'static str,
    pub what: What,
}

#[derive(Clone)]
pub enum What {
    /// A name leads there from now on, or nowhere.
    Name(Node, Name, Option<Node>),
    /// The same file under another name: two names in one step.
    Rename((Node, Name), (Node, Name), Node),
    /// These octets at the end of a file.
    Append(Node, Arc<[u8]>),
    /// A sync begins; it counts for what stands before it.
    Begin(usize),
    /// The sync of that number has come back; what it was for, and whether it says that it went well.
    End(usize, Synced, bool),
    Mark(Mark),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Synced {
    File(Node),
    /// The octets of a file are on the disk; durable only behind a later name, where order is kept.
    Octets(Node),
    Dir(Node),
    All,
}

/// What somebody outside has been told, or has got.
#[derive(Clone, Debug)]
pub enum Mark {
    /// A message was answered with 250, or sendmail has ended with 0: whose it is now ours to bring.
    Answered { tag: String, to: Vec<String> },
    /// Of these recipients nothing is under way any more: they have it, or will never get it.
    Settled { tag: String, to: Vec<String> },
    /// A next hop has said 250 for it.
    Taken { tag: String, to: Vec<String> },
    /// A next hop has said 250 for a notice that it failed for these.
    Told { tag: String, to: Vec<String> },
    /// Mail has left with this sender of ours (SRS).
    Signed(String),
}
