//! A message as it comes in: its header completed where a user submits it, its octets kept, its fields
//! read beside. Decides nothing about it: that is the language's and the policy's.

use super::Shared;
use super::submission::HeldHeader;
use crate::delivery::{Beside, reply_to};
use crate::event::{Event, tell};
use crate::limits::HEADER_FREE;
use crate::mail::header::{EndedBy, Reader};
use crate::mail::proof::canonical::BodyHash;
use crate::mail::proof::dkim::ours::OwnBody;
use crate::mail::proof::forged::ForgedResults;
use crate::mail::proof::gather::{Gathered, Gatherer};
use crate::mail::summary::{Summarizer, Summary};
use crate::mail::survey::{Surveyor, WireForm};
use crate::policy::{self, Facts, Finding};
use crate::site::Site;
use crate::smtp::reply::Reply;
use crate::store::body::{Body, BodyWriter, Share};
use crate::store::disk::StoreError;
use std::ops::Range;
use std::sync::Arc;

/// Who hears a message while it comes: of strangers' mail what is to be proved, of all but gateways' the results
/// that say they are ours, and of our own the body that is to be signed.
type Listeners =
    (Summarizer, (Surveyor, ((Option<Gatherer>, Option<ForgedResults>), Option<OwnBody>)));

/// A whole message, and what was seen of it.
pub(super) struct WholeMessage {
    pub body: Body,
    pub summary: Summary,
    pub wire: WireForm,
    pub gathered: Option<Gathered>,
    /// Where results that say they are ours lie.
    pub forged: Vec<Range<u64>>,
    /// Of a message that may be signed: the hash of its body, and where that begins.
    pub hash: Option<(BodyHash, u64)>,
    /// Of what is gathered.
    _share: Share,
}

/// A message that comes in.
pub(super) struct IncomingMessage {
    /// Of a user's message: its header, as long as that is not whole.
    head: Option<HeldHeader>,
    /// Why the language of headers cannot take it.
    refused: Option<Reply>,
    writer: BodyWriter,
    /// Fed beside the writer, so that a large message is not read again for its header.
    reader: Reader<Listeners>,
    /// Octets up to now.
    size: usize,
    /// Memory for what is held of its header.
    share: Share,
    /// The disk failed; the rest is read and thrown away, since only its end can be answered (RFC
    /// 5321 §3.3).
    failed: Option<StoreError>,
    /// Held once it is large: a syncfs of small mail would wait for what is still written here.
    beside: Option<Beside>,
}

impl IncomingMessage {
    /// Makes no file: most messages are small enough never to need one.
    pub fn new(
        shared: &Shared,
        site: &Arc<Site>,
        facts: &Facts,
        gatherer: Option<Gatherer>,
    ) -> IncomingMessage {
        let hostname = site.config.hostname.as_str();
        let forged = (!policy::is_gateway(site, facts)).then(|| ForgedResults::new(hostname));
        let own =
            (policy::is_known(site, facts) && !site.signing().is_off()).then(OwnBody::default);
        let held = ((gatherer, forged), own);
        let listeners = (Default::default(), (Default::default(), held));
        let Shared { disk, spill, budget, .. } = shared;
        let user = facts.user.clone().filter(|_| facts.service.is_submission());
        IncomingMessage {
            head: user.map(|user| HeldHeader::new(site.clone(), disk.clone(), user)),
            refused: None,
            writer: BodyWriter::new(disk.clone(), spill, budget.clone()),
            reader: Reader::new(listeners),
            size: 0,
            share: Share::of(budget.clone()),
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
        if self.failed.is_none() && self.has_room(octets.len()) {
            self.reader.feed(octets);
            self.failed = self.writer.write(octets).err();
        }
    }

    /// Whether there is memory for so many octets more of its header, if they are that.
    fn has_room(&mut self, more: usize) -> bool {
        if self.refused.is_none() && self.reader.end().is_none() {
            self.size += more;
            let (_, (_, ((gatherer, forged), _))) = &self.reader.listener;
            let holders = usize::from(gatherer.is_some()) + usize::from(forged.is_some());
            let held = holders * self.size.next_power_of_two();
            if self.size > HEADER_FREE && !self.share.grow(held) {
                self.refused = policy::opinion([Finding::ManyLongHeaders]).or_refusal().err();
            }
        }
        self.refused.is_none()
    }

    /// The message and what its header says, or what to tell the client.
    pub fn finish(mut self, session: &str) -> Result<WholeMessage, Reply> {
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
                let (listeners, end) = self.reader.finish();
                let (Summarizer { summary, .. }, (surveyor, ((gatherer, forged), own))) = listeners;
                let is_long = end.by == EndedBy::Bound;
                policy::opinion(is_long.then_some(Finding::LongHeader)).or_refusal()?;
                Ok(WholeMessage {
                    body: self.writer.finish(),
                    summary,
                    wire: surveyor.whole(),
                    gathered: gatherer.map(Gatherer::finish),
                    forged: forged.map(ForgedResults::finish).unwrap_or_default(),
                    hash: own.and_then(OwnBody::finish).map(|hash| (hash, end.body_at)),
                    _share: self.share,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MEMORY_BODY_MAX;
    use crate::mail::proof::gather::SignaturesWanted;
    use crate::store::body::Budget;
    use crate::store::memory::MemoryDisk;
    use std::path::Path;

    #[test]
    fn long_headers_share_the_memory_there_is() {
        let budget = Budget::new(8 * MEMORY_BODY_MAX);
        let listeners = || {
            let wanted = SignaturesWanted { dkim: true, arc: true };
            let held = (Some(Gatherer::new(wanted)), Some(ForgedResults::new("mx.test")));
            (Default::default(), (Default::default(), (held, None)))
        };
        let begin = || IncomingMessage {
            head: None,
            refused: None,
            writer: BodyWriter::new(Arc::new(MemoryDisk::new()), Path::new("/"), budget.clone()),
            reader: Reader::new(listeners()),
            size: 0,
            share: Share::of(budget.clone()),
            failed: None,
            beside: None,
        };
        let line = format!("X: {}\n", "x".repeat(996));
        let mut first = begin();
        (0..120).for_each(|_| first.pass(line.as_bytes(), false));
        // Of 128 KiB, twice.
        assert!(first.refused.is_none());
        let mut second = begin();
        (0..300).for_each(|_| second.pass(line.as_bytes(), false));
        let reply = second.finish("s1").err().unwrap().to_string();
        assert!(reply.starts_with("452 4.3.1 "), "{reply}");
        // A body is no header, and a message that is over holds nothing.
        let mut third = begin();
        third.pass(b"Subject: x\n\n", false);
        (0..300).for_each(|_| third.pass(line.as_bytes(), false));
        assert!(third.finish("s1").is_ok());
        drop(first);
        let mut fourth = begin();
        (0..250).for_each(|_| fourth.pass(line.as_bytes(), false));
        assert!(fourth.finish("s1").is_ok());
    }
}
