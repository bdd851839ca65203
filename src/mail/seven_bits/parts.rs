//! Takes a message apart into headers, bodies and what is around them (RFC 2046 §5.1), in any pieces. No
//! octet is lost: all pieces together are the message.

use super::NotConverted;
use super::head::EntityHead;
use crate::limits::{BOUNDARY_MAX, HEADER_MAX, MIME_DEPTH, MIME_PARTS};
use crate::mail::header::LineKind;

/// Octets of a message, and what they are.
#[derive(Debug)]
pub enum EntityPiece<'a> {
    /// The header of a message or part, with the empty line behind it.
    Head(&'a EntityHead),
    /// Octets of the body that belongs to the last header.
    Body(&'a [u8]),
    /// Octets before the first part of this multipart.
    Preamble(usize, &'a [u8]),
    /// The first part of this multipart begins.
    FirstPart(usize),
    /// A boundary, or octets behind the last one.
    Around(&'a [u8]),
}

type Take<'a> = &'a mut dyn FnMut(EntityPiece<'_>);

/// The walk through one message.
#[derive(Debug)]
pub struct Parts {
    state: PartsState,
    /// The multiparts that are open, the outermost first.
    open: Vec<Multipart>,
    /// How many multiparts and messages the entity at hand lies in.
    depth: usize,
    /// Headers so far.
    count: usize,
    head: Vec<u8>,
    /// A field has begun in `head`.
    has_field: bool,
    /// The beginning of a line that may be a boundary, or a line of a header.
    line: Vec<u8>,
    /// The line at hand is neither, as its first octets have shown.
    is_plain: bool,
    is_message: bool,
    is_in_digest: bool,
    /// Multiparts that are taken as text.
    as_text: Vec<usize>,
    refusal: Option<NotConverted>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PartsState {
    Head,
    Body,
    Preamble(usize),
    Epilogue,
}

#[derive(Debug)]
struct Multipart {
    index: usize,
    boundary: Vec<u8>,
    is_digest: bool,
    has_part: bool,
    /// How deep it lies: its parts begin at this depth.
    depth: usize,
}

impl Default for Parts {
    fn default() -> Parts {
        Parts::with_text(Vec::new())
    }
}

impl Parts {
    /// These multiparts, by the number of their header, are bodies of text.
    pub fn with_text(as_text: Vec<usize>) -> Parts {
        Parts {
            state: PartsState::Head,
            open: Vec::new(),
            depth: 0,
            count: 0,
            head: Vec::new(),
            has_field: false,
            line: Vec::new(),
            is_plain: false,
            is_message: true,
            is_in_digest: false,
            as_text,
            refusal: None,
        }
    }

    pub fn refusal(&self) -> Option<NotConverted> {
        self.refusal
    }

    pub fn feed(&mut self, mut octets: &[u8], take: Take<'_>) {
        while !octets.is_empty() && self.refusal.is_none() {
            let end = memchr::memchr(b'\n', octets).map_or(octets.len(), |at| at + 1);
            let (text, rest) = octets.split_at(end);
            octets = rest;
            let is_whole = text.ends_with(b"\n");
            if self.is_plain {
                self.pass(text, take);
                self.is_plain = !is_whole;
                continue;
            }
            self.line.extend_from_slice(text);
            if is_whole {
                let line = std::mem::take(&mut self.line);
                self.whole_line(&line, take);
            } else if !self.may_matter() {
                let begun = std::mem::take(&mut self.line);
                self.pass(&begun, take);
                self.is_plain = true;
            } else if self.state == PartsState::Head
                && self.head.len() + self.line.len() > HEADER_MAX
            {
                self.refusal = Some(NotConverted::Structure);
            }
        }
    }

    /// The message is over, perhaps inside a line.
    pub fn finish(&mut self, take: Take<'_>) {
        if !self.line.is_empty() && self.refusal.is_none() {
            let line = std::mem::take(&mut self.line);
            self.whole_line(&line, take);
        }
        if self.state == PartsState::Head && self.refusal.is_none() {
            self.head_ends(false, take);
        }
    }

    /// Whether the beginning of a line has to wait for the rest.
    fn may_matter(&self) -> bool {
        let dashes = self.line.starts_with(b"--") || self.line == b"-";
        let is_short = self.line.len() <= BOUNDARY_MAX + 64;
        self.state == PartsState::Head || (!self.open.is_empty() && dashes && is_short)
    }

    fn whole_line(&mut self, line: &[u8], take: Take<'_>) {
        if let Some((level, is_last)) = self.boundary(line) {
            if self.state == PartsState::Head {
                self.head_ends(false, take);
            }
            return self.part_ends(level, is_last, line, take);
        }
        if self.state != PartsState::Head {
            return self.pass(line, take);
        }
        let kind = LineKind::of(line, !self.has_field, true);
        self.has_field |= matches!(kind, Some(LineKind::Field { .. }));
        match kind {
            Some(LineKind::Empty) => {
                self.head.extend_from_slice(line);
                self.head_ends(true, take);
            }
            // A line that is no field belongs to the body.
            None | Some(LineKind::Text) => self.text(line, take),
            Some(LineKind::Mbox) if !self.is_message => self.text(line, take),
            Some(_) if self.head.len() + line.len() <= HEADER_MAX => {
                self.head.extend_from_slice(line);
            }
            Some(_) => self.refusal = Some(NotConverted::Structure),
        }
    }

    fn text(&mut self, line: &[u8], take: Take<'_>) {
        self.head_ends(false, take);
        self.pass(line, take);
    }

    fn pass(&mut self, octets: &[u8], take: Take<'_>) {
        match self.state {
            PartsState::Head | PartsState::Body => take(EntityPiece::Body(octets)),
            PartsState::Preamble(index) => take(EntityPiece::Preamble(index, octets)),
            PartsState::Epilogue => take(EntityPiece::Around(octets)),
        }
    }

    /// The innermost open multipart of which this line is a boundary, and whether it is the last boundary.
    fn boundary(&self, line: &[u8]) -> Option<(usize, bool)> {
        let text = line.trim_ascii_end().strip_prefix(b"--")?;
        let bare = text.strip_suffix(b"--");
        self.open.iter().enumerate().rev().find_map(|(level, multipart)| {
            let boundary = multipart.boundary.as_slice();
            let is_last = text != boundary;
            (!is_last || bare == Some(boundary)).then_some((level, is_last))
        })
    }

    fn part_ends(&mut self, level: usize, is_last: bool, line: &[u8], take: Take<'_>) {
        self.open.truncate(level + 1);
        let Some(multipart) = self.open.last_mut() else { return };
        if !std::mem::replace(&mut multipart.has_part, true) {
            take(EntityPiece::FirstPart(multipart.index));
        }
        take(EntityPiece::Around(line));
        (self.is_message, self.is_in_digest) = (false, multipart.is_digest);
        self.depth = multipart.depth;
        self.state = PartsState::Head;
        if is_last {
            self.open.pop();
            self.state = PartsState::Epilogue;
        }
    }

    fn head_ends(&mut self, has_empty_line: bool, take: Take<'_>) {
        let octets = std::mem::take(&mut self.head);
        self.has_field = false;
        let index = self.count;
        let as_text = self.as_text.binary_search(&index).is_ok();
        let mut head = EntityHead::new(octets, has_empty_line, self.is_message, self.is_in_digest);
        head.index = index;
        self.count += 1;
        let is_too_much = self.count > MIME_PARTS || self.depth >= MIME_DEPTH;
        let boundary = head.boundary().filter(|_| !as_text).map(<[u8]>::to_vec);
        let is_long = |it: &Vec<u8>| it.len() > BOUNDARY_MAX || !it.is_ascii();
        if is_too_much || boundary.as_ref().is_some_and(is_long) {
            self.refusal = Some(NotConverted::Structure);
            return;
        }
        take(EntityPiece::Head(&head));
        self.state = PartsState::Body;
        if let Some(boundary) = boundary {
            self.depth += 1;
            let (is_digest, depth) = (head.is_digest(), self.depth);
            self.open.push(Multipart { index, boundary, is_digest, has_part: false, depth });
            self.state = PartsState::Preamble(index);
        } else if head.is_envelope() && has_empty_line {
            self.depth += 1;
            (self.is_message, self.is_in_digest) = (true, false);
            self.state = PartsState::Head;
        }
    }
}
