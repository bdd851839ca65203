//! A whole message before its filters: each hears its fields and its body as those before have left them, and
//! what it wants to have changed is done once it has said that the message may go on.

use super::FilterChain;
use super::ask::{AskError, Replayed};
use super::changes::{FilteredMessage, MessageOpinion, ReplacedBody};
use super::notes::{FilterAction, FilterNote};
use super::said::FilterStep;
use crate::limits::{FILTER_CHANGES_MAX, FILTER_FIELDS_MAX, FILTERS_TIME};
use crate::mail::changed_header::ChangedHeader;
use crate::mail::header::{FieldPlaces, Reader};
use crate::mail::summary::Summarizer;
use crate::mail::survey::Surveyor;
use crate::net::milter::{AnswerTime, Answered, MilterConnection};
use crate::smtp::milter::{
    BodyChunks, BodyLines, FilterChange, FilterCommand, FilterMacros, FilterStage, FilterVerdict,
};
use crate::smtp::reply::Reply;
use crate::store::body::{Body, BodyWriter, Budget, Share};
use crate::store::disk::{Disk, StoreError};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A message that its filters are to see.
pub struct FilterInput<'a> {
    /// As it was received.
    pub body: &'a Body,
    /// Our own field with what was found out about it, which stands on top; empty where there is none.
    pub results: &'a str,
    /// Where fields lie that are left out, and that no filter sees.
    pub forged: &'a [Range<u64>],
    pub room: FilterRoom<'a>,
}

/// Where another body goes that a filter gives.
#[derive(Clone, Copy)]
pub struct FilterRoom<'a> {
    pub disk: &'a Arc<dyn Disk>,
    /// A long one lies in a file there.
    pub dir: &'a Path,
    pub budget: &'a Arc<Budget>,
    /// Octets that a message may have.
    pub message_size: u64,
}

impl FilterRoom<'_> {
    fn writer(&self) -> BodyWriter {
        BodyWriter::new(self.disk.clone(), self.dir, self.budget.clone())
    }
}

/// What one filter said to the whole message.
struct MessageVerdict {
    /// At which step, and what.
    stage: FilterStage,
    verdict: FilterVerdict,
    changes: Vec<FilterChange>,
    body: Option<Body>,
    /// Values of fields begin with the space behind the colon.
    has_space: bool,
}

/// What is gathered while one filter asks for changes.
struct WantedChanges<'a> {
    room: FilterRoom<'a>,
    /// It may replace the body.
    may_body: bool,
    changes: Vec<FilterChange>,
    octets: usize,
    body: Option<(BodyWriter, BodyLines, u64)>,
    /// It has tried to replace the body, and may not.
    asked_body: bool,
}

/// The message as it is at one moment.
struct MessageNow<'a> {
    header: ChangedHeader,
    /// Behind the header; from this place on.
    received: (&'a Body, u64),
    /// Another one, in place of that.
    replaced: Option<Body>,
}

impl FilterChain {
    /// The message has come whole. Fails where it cannot be read, or another body not be written.
    pub fn message(&mut self, input: &FilterInput<'_>) -> Result<FilteredMessage, StoreError> {
        let filtered = self.filter(input);
        self.abort();
        filtered
    }

    fn filter(&mut self, input: &FilterInput<'_>) -> Result<FilteredMessage, StoreError> {
        let last = Instant::now() + FILTERS_TIME.saturating_sub(self.data_took);
        let (header, body_at) = read_header(input)?;
        let mut share = Share::of(input.room.budget.clone());
        let mut current = MessageNow { header, received: (input.body, body_at), replaced: None };
        let has_room = share.grow(current.header.memory());
        let mut filtered = FilteredMessage::new(&self.said, share);
        for at in 0..self.links.len() {
            if self.discarded_by.is_some() || filtered.opinion != MessageOpinion::Take {
                break;
            }
            if !has_room {
                let reply =
                    Reply::new(452, "4.3.1", "no room for a header of this size, try later");
                filtered.opinion = MessageOpinion::Refuse(reply);
                break;
            }
            if let Some(reply) = self.filter_one(at, &mut current, &mut filtered, input, last)? {
                filtered.opinion = MessageOpinion::Refuse(reply);
            }
        }
        if let Some(filter) = self.discarded_by.take() {
            filtered.opinion = MessageOpinion::Discard { filter };
        }
        if let Some(body) = current.replaced {
            filtered.body = Some(whole(&current.header, &body, input.room)?);
        }
        let was_taken = filtered.opinion == MessageOpinion::Take;
        filtered.end(current.header);
        if let (true, MessageOpinion::Discard { filter }) = (was_taken, &filtered.opinion) {
            let (stage, action) = (FilterStage::EndOfMessage, FilterAction::Discard);
            let why = "no recipient is left";
            self.notes.push(FilterNote::new(filter, stage, action, why, Duration::ZERO));
        }
        Ok(filtered)
    }

    /// Shows the message to one filter; gives the reply by which it refuses.
    fn filter_one(
        &mut self,
        at: usize,
        current: &mut MessageNow<'_>,
        filtered: &mut FilteredMessage,
        input: &FilterInput<'_>,
        last: Instant,
    ) -> Result<Option<Reply>, StoreError> {
        let link = &mut self.links[at];
        if let Err(reply) = link.turn(FilterStep::Message) {
            return Ok(reply);
        }
        let begun = Instant::now();
        let macros = self.said.macros(FilterStep::Message);
        let (filter, may) = (link.filter.clone(), link.filter.config.may);
        let asked = link.reach(&self.shared, &self.said, FilterStep::Message, last, |connection| {
            let mut time = filter.message_time(last);
            let wanted = WantedChanges::new(input.room, may.body);
            converse(connection, current, &macros, &mut time, wanted)
        });
        let took = begun.elapsed();
        let heard = match asked {
            Err(AskError::Store(error)) => return Err(error),
            Err(error) => return Ok(self.failed(at, FilterStage::EndOfMessage, &error, took)),
            Ok(Replayed::Stopped(earlier, verdict)) => {
                return Ok(self.stopped(at, earlier, verdict, took));
            }
            Ok(Replayed::Done(heard)) => heard,
        };
        let is_good = matches!(heard.verdict, FilterVerdict::Continue | FilterVerdict::Accept);
        if !is_good {
            let step = (FilterStep::Message, heard.stage);
            return Ok(self.heard(at, step, heard.verdict, took));
        }
        self.links[at].accepted(false);
        let name = self.links[at].name();
        let header = &mut current.header;
        let mut done = filtered.apply((&name, may), heard.has_space, header, heard.changes);
        if let Some(body) = heard.body {
            current.replaced = Some(body);
            done.is_body_replaced = true;
        }
        let note = |action, why: &str, took| {
            FilterNote::new(&name, FilterStage::EndOfMessage, action, why, took)
        };
        self.notes.push(match done.in_words() {
            None => FilterNote { stage: heard.stage, ..note(FilterAction::Accept, "", took) },
            Some(changed) => note(FilterAction::Changed, &changed, took),
        });
        let quarantined = done.quarantined.iter();
        let quarantined =
            quarantined.map(|why| note(FilterAction::Quarantine, why, Duration::ZERO));
        self.notes.extend(quarantined);
        let undone = done.undone();
        self.notes.extend(undone.map(|why| note(FilterAction::Undone, &why, Duration::ZERO)));
        Ok(None)
    }
}

/// The header of a message, and where the body begins.
fn read_header(input: &FilterInput<'_>) -> Result<(ChangedHeader, u64), StoreError> {
    let mut reader = Reader::new(FieldPlaces::default());
    let mut octets = Vec::new();
    while reader.end().is_none() {
        let piece = input.body.read_from(octets.len() as u64)?;
        if piece.is_empty() {
            break;
        }
        reader.feed(&piece);
        octets.extend_from_slice(&piece);
    }
    let (places, end) = reader.finish();
    octets.truncate(end.at as usize);
    octets.shrink_to_fit();
    let header = ChangedHeader::new(octets, &places, end, input.results, input.forged);
    Ok((header, end.body_at))
}

/// Says a message to a filter, up to its verdict.
fn converse(
    connection: &mut MilterConnection,
    current: &MessageNow<'_>,
    macros: &FilterMacros,
    time: &mut AnswerTime,
    mut wanted: WantedChanges<'_>,
) -> Result<MessageVerdict, AskError> {
    let options = connection.options();
    let keeps_space = options.is_some_and(|options| options.keeps_space());
    let wants_body = options.is_some_and(|options| options.wants(FilterStage::Body));
    let mut say = |command: FilterCommand<'_>, wanted: &mut WantedChanges<'_>| {
        let answered = connection.ask(&command, macros, time, &mut |change| wanted.take(change))?;
        Ok::<Answered, AskError>(match answered {
            Answered::Verdict(FilterVerdict::Continue)
                if command.stage() != FilterStage::EndOfMessage =>
            {
                Answered::Nothing
            }
            answered => answered,
        })
    };
    let heard = |stage, verdict| {
        let (changes, body) = (Vec::new(), None);
        MessageVerdict { stage, verdict, changes, body, has_space: keeps_space }
    };
    for (name, value) in current.header.fields() {
        let value = match value {
            [b' ', rest @ ..] if !keeps_space => rest,
            value => value,
        };
        if let Answered::Verdict(verdict) = say(FilterCommand::Header { name, value }, &mut wanted)?
        {
            return Ok(heard(FilterStage::Header, verdict));
        }
    }
    if let Answered::Verdict(verdict) = say(FilterCommand::EndOfHeader, &mut wanted)? {
        return Ok(heard(FilterStage::EndOfHeader, verdict));
    }
    if wants_body {
        let (body, mut at) = match &current.replaced {
            Some(body) => (body, 0),
            None => current.received,
        };
        let mut chunks = BodyChunks::default();
        'body: loop {
            let piece = body.read_from(at)?;
            chunks.feed(&piece);
            at += piece.len() as u64;
            while let Some(chunk) = chunks.next(piece.is_empty()) {
                match say(FilterCommand::Body(&chunk), &mut wanted)? {
                    Answered::Nothing => {}
                    Answered::Skip => break 'body,
                    Answered::Verdict(verdict) => return Ok(heard(FilterStage::Body, verdict)),
                }
            }
            if piece.is_empty() {
                break;
            }
        }
    }
    match say(FilterCommand::EndOfMessage, &mut wanted)? {
        Answered::Verdict(verdict) => wanted.end(verdict, keeps_space),
        // The end of a message is always answered.
        Answered::Nothing | Answered::Skip => {
            Ok(heard(FilterStage::EndOfMessage, FilterVerdict::Continue))
        }
    }
}

impl<'a> WantedChanges<'a> {
    fn new(room: FilterRoom<'a>, may_body: bool) -> WantedChanges<'a> {
        let (changes, body, asked_body) = (Vec::new(), None, false);
        WantedChanges { room, may_body, changes, octets: 0, body, asked_body }
    }

    /// Notes a change; fails where there are more than a filter may ask for.
    fn take(&mut self, change: FilterChange) -> Result<(), AskError> {
        if let FilterChange::Body(octets) = &change {
            return self.take_body(octets);
        }
        self.octets += match &change {
            FilterChange::AddField { name, value }
            | FilterChange::InsertField { name, value, .. }
            | FilterChange::ChangeField { name, value, .. } => name.len() + value.len(),
            FilterChange::Sender { path, .. }
            | FilterChange::AddRecipient { path, .. }
            | FilterChange::RemoveRecipient(path) => path.len(),
            FilterChange::Quarantine(reason) => reason.len(),
            FilterChange::Body(_) => 0,
        };
        self.changes.push(change);
        match self.changes.len() > FILTER_CHANGES_MAX || self.octets > FILTER_FIELDS_MAX {
            true => Err(AskError::Excess("it asked for more changes than a message may have")),
            false => Ok(()),
        }
    }

    fn take_body(&mut self, octets: &[u8]) -> Result<(), AskError> {
        if !self.may_body {
            self.asked_body = true;
            return Ok(());
        }
        let room = self.room;
        let (writer, lines, size) =
            self.body.get_or_insert_with(|| (room.writer(), BodyLines::default(), 0));
        let kept = lines.feed(octets);
        *size += kept.len() as u64;
        if *size > room.message_size {
            return Err(AskError::Excess("it gave a body that is larger than a message may be"));
        }
        Ok(writer.write(&kept)?)
    }

    /// The filter has said its verdict.
    fn end(mut self, verdict: FilterVerdict, has_space: bool) -> Result<MessageVerdict, AskError> {
        let body = match self.body.take() {
            None => None,
            Some((mut writer, lines, _)) => {
                writer.write(lines.end())?;
                Some(writer.finish())
            }
        };
        if self.asked_body {
            self.changes.push(FilterChange::Body(Vec::new()));
        }
        let (stage, changes) = (FilterStage::EndOfMessage, self.changes);
        Ok(MessageVerdict { stage, verdict, changes, body, has_space })
    }
}

/// A message of a header and another body.
fn whole(
    header: &ChangedHeader,
    body: &Body,
    room: FilterRoom<'_>,
) -> Result<ReplacedBody, StoreError> {
    let (octets, received_at) = header.to_octets();
    let mut writer = room.writer();
    let mut reader = Reader::new((Summarizer::default(), Surveyor::default()));
    writer.write(&octets)?;
    reader.feed(&octets);
    let mut at = 0;
    loop {
        let piece = body.read_from(at)?;
        if piece.is_empty() {
            break;
        }
        writer.write(&piece)?;
        reader.feed(&piece);
        at += piece.len() as u64;
    }
    let ((Summarizer { summary, .. }, surveyor), _) = reader.finish();
    Ok(ReplacedBody { body: writer.finish(), summary, wire: surveyor.whole(), received_at })
}
