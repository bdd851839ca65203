//! The source of an outgoing message's octets: memory, or a part of a file. Read in blocks, so that a large
//! message needs no more memory than a small one.

use crate::limits::RELAY_BLOCK;
use crate::mail::edits::{Edits, Piece};
use crate::mail::envelope::BodyType;
use crate::mail::header::Reader;
use crate::mail::seven_bits::{self, ConversionPlan, Converter, NotConverted};
use crate::mail::survey::{Surveyor, WireForm};
use crate::signature::{Anew, Resigner, TakeOctets};
use crate::smtp::client::OutgoingMessage;
use crate::store::body::{Body, StoredMessage};
use crate::store::disk::StoreError;
use crate::store::sum::Sum;
use std::io::{self, ErrorKind};

/// A message with LF line ends that does not change.
pub trait Message {
    /// The size in octets.
    fn size(&self) -> u64;
    /// Reads some octets at a place within its size.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// The sum of its octets from [`Message::summed_from`] on, where one was made when they were written.
    fn sum(&self) -> Option<u32> {
        None
    }
    /// Where the octets of the sum begin: behind fields that were put on top.
    fn summed_from(&self) -> u64 {
        0
    }
    /// Signs the message anew after it was converted; none where it is not signed by us.
    fn resigner(&self) -> Option<&Resigner<'_>> {
        None
    }
}

impl Message for &[u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..));
        let rest = rest.unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

impl Message for StoredMessage<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        // Never past its end, because the file goes on behind the message.
        let left = self.size.saturating_sub(offset);
        let length = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        self.file.read_at(&mut buffer[..length], self.at + offset)
    }

    fn sum(&self) -> Option<u32> {
        self.sum
    }
}

/// A message with edits. Its sum can be checked where the edits only put fields on top.
pub struct Edited<'a> {
    pub edits: Edits,
    pub part: StoredMessage<'a>,
    /// Of a message that is signed by us.
    pub resigner: Option<Resigner<'a>>,
}

impl Message for Edited<'_> {
    fn size(&self) -> u64 {
        self.edits.size(self.part.size)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let kept = |buffer: &mut [u8], at| self.part.read_at(buffer, at);
        read_edited((&self.edits, self.part.size), buffer, offset, kept)
    }

    fn sum(&self) -> Option<u32> {
        self.part.sum.filter(|_| self.edits.end() == 0)
    }

    fn summed_from(&self) -> u64 {
        if self.edits.end() == 0 { self.edits.size(0) } else { 0 }
    }

    fn resigner(&self) -> Option<&Resigner<'_>> {
        self.resigner.as_ref()
    }
}

/// A message as its session holds it, with edits.
pub struct WholeBody<'a> {
    body: &'a Body,
    edits: &'a Edits,
    sum: u32,
    /// Of a message that is signed by us.
    resigner: Option<Resigner<'a>>,
}

impl<'a> WholeBody<'a> {
    /// Reads what is needed for the sum of the octets with these edits.
    pub fn new(
        body: &'a Body,
        edits: &'a Edits,
        resigner: Option<Resigner<'a>>,
    ) -> Result<WholeBody<'a>, StoreError> {
        Ok(WholeBody { body, edits, sum: body.sum(edits)?, resigner })
    }
}

impl Message for WholeBody<'_> {
    fn size(&self) -> u64 {
        self.edits.size(self.body.size())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let kept = |buffer: &mut [u8], at| self.body.read_at(buffer, at);
        read_edited((self.edits, self.body.size()), buffer, offset, kept)
    }

    fn sum(&self) -> Option<u32> {
        Some(self.sum)
    }

    fn resigner(&self) -> Option<&Resigner<'_>> {
        self.resigner.as_ref()
    }
}

/// Reads some octets of a message with edits, `received` octets long without them. `kept` reads octets of the
/// message as received.
fn read_edited(
    (edits, received): (&Edits, u64),
    buffer: &mut [u8],
    mut offset: u64,
    kept: impl Fn(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<usize> {
    for piece in edits.pieces(received) {
        match offset.checked_sub(piece.size()) {
            Some(behind) => offset = behind,
            None => {
                let left = usize::try_from(piece.size() - offset).unwrap_or(buffer.len());
                let length = left.min(buffer.len());
                return match piece {
                    Piece::Put(octets) => octets.read_at(buffer, offset),
                    Piece::Kept(range) => kept(&mut buffer[..length], range.start + offset),
                };
            }
        }
    }
    Ok(0)
}

/// Reads a message from its beginning to its end.
pub(super) struct Blocks<'a> {
    message: &'a dyn Message,
    offset: u64,
    block: Vec<u8>,
    sum: Sum,
}

/// How many octets of a message are read at once.
pub(super) fn block_size(message: &dyn Message) -> usize {
    usize::try_from(message.size()).map_or(RELAY_BLOCK, |size| size.min(RELAY_BLOCK))
}

impl<'a> Blocks<'a> {
    pub(super) fn new(message: &'a dyn Message) -> Blocks<'a> {
        Blocks { message, offset: 0, block: vec![0; block_size(message)], sum: Sum::default() }
    }

    /// The next octets; empty only at the end. Fails where the message is shorter than its size, and at its
    /// last octets where the sum differs: so it is never sent as a whole message.
    pub(super) fn read(&mut self) -> io::Result<&[u8]> {
        let left = self.message.size().saturating_sub(self.offset);
        let wanted = usize::try_from(left).map_or(RELAY_BLOCK, |left| left.min(RELAY_BLOCK));
        let block = &mut self.block[..wanted];
        let read = match wanted {
            0 => 0,
            _ => self.message.read_at(block, self.offset)?,
        };
        if read == 0 && wanted > 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let above = self.message.summed_from().saturating_sub(self.offset);
        let above = usize::try_from(above).map_or(read, |above| above.min(read));
        self.offset += read as u64;
        if let Some(meant) = self.message.sum() {
            self.sum.feed(&self.block[above..read]);
            if self.is_done() {
                self.sum.check(meant)?;
            }
        }
        Ok(&self.block[..read])
    }

    pub(super) fn is_done(&self) -> bool {
        self.offset >= self.message.size()
    }
}

/// Reads a whole message to find out what a next hop has to be told about it.
pub fn survey(message: &dyn Message) -> io::Result<WireForm> {
    let (mut survey, mut blocks) = (Reader::new(Surveyor::default()), Blocks::new(message));
    while !blocks.is_done() {
        survey.feed(blocks.read()?);
    }
    Ok(survey.finish().0.whole())
}

/// How a message becomes one of 7 bits.
pub(super) struct SevenBits {
    plan: ConversionPlan,
    /// Of a message that is signed by us: its signature as it is converted.
    anew: Anew,
}

impl SevenBits {
    pub(super) fn is_signed_anew(&self) -> bool {
        !self.anew.top.is_empty()
    }
}

/// How a message is converted for a next hop without 8BITMIME, and what that hop is told about it. A
/// refusal when it must not be changed. A message that is signed by us is signed anew; an error where it cannot be.
pub(super) fn in_seven_bits(
    outgoing: &OutgoingMessage,
    message: &dyn Message,
) -> io::Result<Result<(SevenBits, OutgoingMessage), NotConverted>> {
    let (mut first, mut blocks) = (seven_bits::FirstPass::default(), Blocks::new(message));
    while !blocks.is_done() {
        first.feed(blocks.read()?);
    }
    let plan = match first.finish() {
        Ok(plan) => plan,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let mut plan = SevenBits { plan, anew: Anew::default() };
    if let Some(resigner) = message.resigner() {
        let signed = resigner.anew(&|take| converted(message, &plan, take))?;
        let waits = |why| io::Error::other(format!("in 7 bits it has to be signed anew: {why}"));
        plan.anew = signed.map_err(waits)?;
    }
    let mut survey = Reader::new(Surveyor::default());
    let mut blocks = Converted::new(message, Some(&plan));
    while !blocks.is_done() {
        survey.feed(blocks.read()?);
    }
    let mut outgoing = outgoing.clone();
    outgoing.content = survey.finish().0.whole();
    outgoing.envelope.sender.body = BodyType::SevenBit;
    Ok(Ok((plan, outgoing)))
}

/// Reads a message as it is converted, until `take` wants no more.
fn converted(message: &dyn Message, plan: &SevenBits, take: &mut TakeOctets<'_>) -> io::Result<()> {
    let mut blocks = Converted::new(message, Some(plan));
    while !blocks.is_done() {
        if take(blocks.read()?).is_break() {
            break;
        }
    }
    Ok(())
}

/// Reads a message, and converts it where there is a plan for that.
pub(super) struct Converted<'a> {
    blocks: Blocks<'a>,
    converter: Option<(Converter<'a>, &'a Anew)>,
    /// Octets that were converted so far.
    offset: u64,
    /// The last block, converted.
    octets: Vec<u8>,
}

impl<'a> Converted<'a> {
    pub(super) fn new(message: &'a dyn Message, plan: Option<&'a SevenBits>) -> Converted<'a> {
        let converter = plan.map(|plan| (Converter::new(&plan.plan), &plan.anew));
        Converted { blocks: Blocks::new(message), converter, offset: 0, octets: Vec::new() }
    }

    /// The next octets, at most four times as many as were read and a part of a header; may be empty before
    /// the end.
    pub(super) fn read(&mut self) -> io::Result<&[u8]> {
        let Some((converter, anew)) = &mut self.converter else { return self.blocks.read() };
        self.octets.clear();
        converter.feed(self.blocks.read()?, &mut self.octets);
        if self.blocks.is_done() {
            converter.finish(&mut self.octets);
        }
        let (at, end) = (self.offset, self.offset + self.octets.len() as u64);
        for old in anew.old.iter().rev() {
            let (from, until) = (old.start.max(at), old.end.min(end));
            if from < until {
                self.octets.drain((from - at) as usize..(until - at) as usize);
            }
        }
        if at == 0 && end > 0 {
            self.octets.splice(0..0, anew.top.bytes());
        }
        self.offset = end;
        Ok(&self.octets)
    }

    pub(super) fn is_done(&self) -> bool {
        self.blocks.is_done()
    }
}
