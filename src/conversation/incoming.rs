//! A message as it comes in: its header completed where a user submits it, its octets kept, its fields
//! read beside. Decides nothing about it: that is the language's and the policy's.

use super::Shared;
use super::submission::HeldHeader;
use crate::delivery::{Beside, reply_to};
use crate::event::{Event, tell};
use crate::mail::header::Reader;
use crate::mail::summary::{Summarizer, Summary};
use crate::mail::survey::{Surveyor, WireForm};
use crate::policy::Facts;
use crate::site::Site;
use crate::smtp::reply::Reply;
use crate::store::body::{Body, BodyWriter};
use crate::store::disk::StoreError;
use std::sync::Arc;

/// A message that comes in.
pub(super) struct IncomingMessage {
    /// Of a user's message: its header, as long as that is not whole.
    head: Option<HeldHeader>,
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

impl IncomingMessage {
    /// Makes no file: most messages are small enough never to need one.
    pub fn new(shared: &Shared, site: &Arc<Site>, facts: &Facts) -> IncomingMessage {
        let Shared { disk, spill, budget, .. } = shared;
        let user = facts.user.clone().filter(|_| facts.service.is_submission());
        IncomingMessage {
            head: user.map(|user| HeldHeader::new(site.clone(), disk.clone(), user)),
            refused: None,
            writer: BodyWriter::new(disk.clone(), spill, budget.clone()),
            reader: Reader::new(Default::default()),
            failed: None,
            beside: None,
        }
    }

    /// The Message-ID, if it has come.
    pub fn message_id(&self) -> Option<&str> {
        self.reader.listener.0.summary.message_id.as_deref()
    }

    /// Keeps the next octets. After a failure they are only taken, so that the end of the message is found.
    pub fn keep(&mut self, octets: &[u8], shared: &Shared) {
        self.pass(octets, false);
        // From its first spill on, a syncfs elsewhere would wait for it.
        if self.writer.is_large() && self.beside.is_none() {
            self.beside = shared.writer.as_ref().map(|writer| writer.beside());
        }
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
    pub fn finish(mut self, session: &str) -> Result<(Body, Summary, WireForm), Reply> {
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
