//! Where the header of a message ends, and what its fields are: the one reader of headers (RFC 5322 §2.2).
//! Pure. All code that looks at a field, or at what follows a header, asks here: by two rules one message would
//! be two.
//!
//! A field is a name of printable characters, perhaps space (§4.5), a colon, and all lines that are folded
//! under it. The header ends with the empty line, or before the first line that is nothing of all this; above
//! its first field `From ` of an mbox may stand, and a folded line there ends it. Lines end with LF, or CR LF.
//!
//! [`Reader`] takes a message as it comes, in any pieces, and tells a [`MessageListener`] what it finds; it holds no
//! more than the beginning of a line. [`Header`] is a header that lies in memory whole. Octets are never
//! changed or refused, however broken: both give them exactly as they came.

use crate::limits::{FIELD_NAME_MAX, HEADER_MAX};

/// What is found in a message, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageEvent<'a> {
    /// A field begins at this place. Its name is without the space that may stand before the colon.
    Field { name: &'a [u8], at: u64, value_at: u64 },
    /// The next octets behind its colon, with line ends.
    Value(&'a [u8]),
    /// The field ends at this place, behind its line end if it has one.
    FieldEnd(u64),
    /// The next octets of the header, all of them: fields, `From ` of an mbox, the empty line.
    Header(&'a [u8]),
    /// The header is over: where, and by what.
    End(HeaderEnd),
    /// The next octets of the body.
    Body(&'a [u8]),
}

/// Where and how a header ends; places in octets from the start of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderEnd {
    /// Behind the last field.
    pub at: u64,
    /// Behind the empty line, if there is one.
    pub body_at: u64,
    pub by: EndedBy,
}

/// What ends a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    EmptyLine,
    /// A line that is no field.
    Text,
    /// A folded line with no field above it: below a field of ours it would become a part of that field.
    Fold,
    /// The end of the message.
    Message,
    /// The header is longer than it may be; its last field may be cut.
    Bound,
}

/// Hears what a [`Reader`] finds in a message. A pair of listeners is one: each hears every event.
pub trait MessageListener {
    fn hear(&mut self, event: MessageEvent<'_>);
}

impl<A: MessageListener, B: MessageListener> MessageListener for (A, B) {
    fn hear(&mut self, event: MessageEvent<'_>) {
        self.0.hear(event);
        self.1.hear(event);
    }
}

/// One that is not wanted costs nothing.
impl<L: MessageListener> MessageListener for Option<L> {
    fn hear(&mut self, event: MessageEvent<'_>) {
        if let Some(listener) = self {
            listener.hear(event);
        }
    }
}

/// For a caller that only wants to know where the header ends.
impl MessageListener for () {
    fn hear(&mut self, _: MessageEvent<'_>) {}
}

/// Reads a message as it comes.
#[derive(Debug)]
pub struct Reader<L> {
    pub listener: L,
    /// Octets that a header may have.
    most: u64,
    /// Octets of the header up to now, without `line`.
    offset: u64,
    /// The beginning of a line that cannot be told yet for a field or text; at most [`FIELD_NAME_MAX`] octets.
    line: Vec<u8>,
    /// The next octets go on with a line that belongs to the header.
    in_rest: bool,
    /// No field has begun yet.
    on_top: bool,
    /// A field has begun, and not ended.
    in_field: bool,
    end: Option<HeaderEnd>,
}

impl<L: MessageListener> Reader<L> {
    pub fn new(listener: L) -> Reader<L> {
        Reader::bounded(listener, HEADER_MAX)
    }

    /// `most`: octets that the header may have.
    pub fn bounded(listener: L, most: usize) -> Reader<L> {
        Reader {
            listener,
            most: most as u64,
            offset: 0,
            line: Vec::new(),
            in_rest: false,
            on_top: true,
            in_field: false,
            end: None,
        }
    }

    /// Where the header ends, as soon as that is sure.
    pub fn end(&self) -> Option<HeaderEnd> {
        self.end
    }

    /// Takes the next octets of the message.
    pub fn feed(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            let (line, rest) = match self.end {
                Some(_) => return self.listener.hear(MessageEvent::Body(octets)),
                None => octets.split_at(line_length(octets)),
            };
            if self.in_rest {
                self.rest(line);
            } else if self.line.is_empty() {
                self.line(line, false);
            } else {
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.line(&whole, false);
            }
            octets = rest;
        }
    }

    /// The message is over; gives the listener back, and where the header ended.
    pub fn finish(mut self) -> (L, HeaderEnd) {
        if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            self.line(&line, true);
        }
        let at = self.offset;
        let end = match self.end {
            Some(end) => end,
            None => self.ended(HeaderEnd { at, body_at: at, by: EndedBy::Message }),
        };
        (self.listener, end)
    }

    /// `line`: the octets of a line so far; `is_whole`: the message ends with them.
    fn line(&mut self, line: &[u8], is_whole: bool) {
        let at = self.offset;
        let Some(kind) = LineKind::of(line, self.on_top, is_whole) else {
            self.line.extend_from_slice(line);
            return;
        };
        let value_at = match kind {
            LineKind::Text if is_space(line[0]) => return self.text(line, EndedBy::Fold),
            LineKind::Text => return self.text(line, EndedBy::Text),
            LineKind::Field { value_at, .. } => value_at,
            LineKind::Empty | LineKind::Folded | LineKind::Mbox => 1,
        };
        // The bound is checked at the end of the field's name, so that the pieces in which octets come do not
        // matter.
        if at + value_at as u64 > self.most {
            return self.text(line, EndedBy::Bound);
        }
        match kind {
            LineKind::Empty => {
                self.field_ended();
                self.listener.hear(MessageEvent::Header(line));
                self.offset += line.len() as u64;
                self.ended(HeaderEnd { at, body_at: self.offset, by: EndedBy::EmptyLine });
            }
            LineKind::Field { name, .. } => {
                self.field_ended();
                (self.on_top, self.in_field) = (false, true);
                let (name, value) = (&line[..name], at + value_at as u64);
                self.listener.hear(MessageEvent::Field { name, at, value_at: value });
                self.listener.hear(MessageEvent::Header(&line[..value_at]));
                self.offset += value_at as u64;
                self.rest(&line[value_at..]);
            }
            LineKind::Folded | LineKind::Mbox | LineKind::Text => self.rest(line),
        }
    }

    /// More of a line that belongs to the header.
    fn rest(&mut self, octets: &[u8]) {
        let room = usize::try_from(self.most - self.offset).unwrap_or(octets.len());
        let (octets, beyond) = octets.split_at(octets.len().min(room));
        if !octets.is_empty() {
            if self.in_field {
                self.listener.hear(MessageEvent::Value(octets));
            }
            self.listener.hear(MessageEvent::Header(octets));
            self.offset += octets.len() as u64;
        }
        self.in_rest = !octets.ends_with(b"\n");
        if !beyond.is_empty() {
            self.text(beyond, EndedBy::Bound);
        }
    }

    /// The header ends before these octets.
    fn text(&mut self, octets: &[u8], by: EndedBy) {
        let at = self.offset;
        self.ended(HeaderEnd { at, body_at: at, by });
        self.listener.hear(MessageEvent::Body(octets));
    }

    fn ended(&mut self, end: HeaderEnd) -> HeaderEnd {
        self.field_ended();
        self.end = Some(end);
        self.listener.hear(MessageEvent::End(end));
        end
    }

    fn field_ended(&mut self) {
        if std::mem::take(&mut self.in_field) {
            self.listener.hear(MessageEvent::FieldEnd(self.offset));
        }
    }
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind {
    Empty,
    /// A field begins: the length of its name, and where its value begins.
    Field {
        name: usize,
        value_at: usize,
    },
    /// It goes on with the field above.
    Folded,
    /// `From ` of an mbox.
    Mbox,
    /// No part of a header.
    Text,
}

impl LineKind {
    /// What a line is, by its beginning; none where more octets are needed to tell. `on_top`: no field came
    /// before it; `is_whole`: no more octets of it come.
    ///
    /// A line is taken for a field, though no colon has come, once its name is longer than [`FIELD_NAME_MAX`]:
    /// what others read as a field must be one here too.
    pub fn of(line: &[u8], on_top: bool, is_whole: bool) -> Option<LineKind> {
        let begun = &line[..line.len().min(FIELD_NAME_MAX)];
        if is_space(*begun.first()?) {
            return Some(if on_top { LineKind::Text } else { LineKind::Folded });
        }
        let is_of_name = |octet: &&u8| octet.is_ascii_graphic() && **octet != b':';
        let name = begun.iter().take_while(is_of_name).count();
        let is_gap = |octet: &&u8| octet.is_ascii_whitespace() && **octet != b'\n';
        let gap = begun[name..].iter().take_while(is_gap).count();
        Some(match begun.get(name + gap) {
            Some(b':') if name > 0 => LineKind::Field { name, value_at: name + gap + 1 },
            None if begun.len() == FIELD_NAME_MAX => {
                LineKind::Field { name, value_at: begun.len() }
            }
            None if !is_whole => return None,
            None | Some(b'\n') if name == 0 && matches!(&begun[..gap], b"" | b"\r") => {
                LineKind::Empty
            }
            // `From : ann` is a field with an obsolete space, so that is asked first.
            _ if on_top && is_mbox_from(begun) => LineKind::Mbox,
            _ => LineKind::Text,
        })
    }
}

fn is_mbox_from(line: &[u8]) -> bool {
    line.starts_with(b"From ") || line.starts_with(b">From ")
}

fn is_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

/// Length of the first line with its line end; of all octets where there is no line end.
fn line_length(octets: &[u8]) -> usize {
    memchr::memchr(b'\n', octets).map_or(octets.len(), |at| at + 1)
}

/// One field with all its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub name: &'a [u8],
    /// Behind the colon, as it is folded.
    pub value: &'a [u8],
    /// The whole field, with the line end if there is one.
    pub lines: &'a [u8],
    /// Where it begins, in octets from the start of the message.
    pub at: usize,
}

impl Field<'_> {
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    pub fn is_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.is(name))
    }

    /// The value on one line, at most `most` octets: line ends are taken out (RFC 5322 §2.2.3), and the tabs
    /// that it is folded with become spaces: they belong to the fold, and no reader should see them as controls.
    pub fn unfolded(&self, most: usize) -> Vec<u8> {
        let mut value = Vec::new();
        for (index, line) in self.value.split(|octet| *octet == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let spaces = line.iter().take_while(|octet| index > 0 && is_space(**octet)).count();
            let octets = [b' '].iter().cycle().take(spaces).chain(&line[spaces..]);
            value.extend(octets.take(most.saturating_sub(value.len())));
        }
        value.trim_ascii().to_vec()
    }
}

/// A header that lies in memory.
#[derive(Debug)]
pub struct Header<'a> {
    pub fields: Vec<Field<'a>>,
    pub end: HeaderEnd,
}

impl<'a> Header<'a> {
    /// Reads the header at the start of `octets`, which are a whole message or at least its header.
    pub fn read(octets: &'a [u8]) -> Header<'a> {
        Header::parse(octets, HEADER_MAX).0
    }

    /// The header at the start of `octets`, `most` octets at most; none where more are needed to see its end.
    /// `is_whole`: nothing comes behind `octets`.
    pub fn bounded(octets: &'a [u8], is_whole: bool, most: usize) -> Option<Header<'a>> {
        let (header, is_over) = Header::parse(octets, most);
        (is_whole || is_over).then_some(header)
    }

    /// The header, and whether it ends within `octets`.
    fn parse(octets: &'a [u8], most: usize) -> (Header<'a>, bool) {
        let mut reader = Reader::bounded(FieldPlaces::default(), most);
        reader.feed(octets);
        let is_over = reader.end.is_some();
        let (places, end) = reader.finish();
        (Header { fields: places.fields(octets).collect(), end }, is_over)
    }

    /// The fields of a name, the first one first.
    pub fn named<'b>(
        &'b self,
        name: &'b str,
    ) -> impl DoubleEndedIterator<Item = &'b Field<'a>> + 'b {
        self.fields.iter().filter(move |field| field.is(name))
    }
}

/// Where the fields of a header lie. Four places for each: where it begins, its name ends, its value begins, and
/// it ends; 32 bits, because a header is far smaller than what they count.
#[derive(Default)]
pub struct FieldPlaces(Vec<[u32; 4]>);

impl FieldPlaces {
    /// The fields, of which `octets` begins with the header that was heard.
    pub fn fields<'a>(&self, octets: &'a [u8]) -> impl Iterator<Item = Field<'a>> {
        let cut = |from: u32, to: u32| octets.get(from as usize..to as usize).unwrap_or_default();
        self.0.iter().map(move |&[at, name_end, value_at, end]| Field {
            name: cut(at, name_end),
            value: cut(value_at, end),
            lines: cut(at, end),
            at: at as usize,
        })
    }
}

impl MessageListener for FieldPlaces {
    fn hear(&mut self, event: MessageEvent<'_>) {
        match event {
            MessageEvent::Field { name, at, value_at } => {
                let name_end = at + name.len() as u64;
                self.0.push([at, name_end, value_at, value_at].map(place));
            }
            MessageEvent::FieldEnd(at) => {
                if let Some([.., end]) = self.0.last_mut() {
                    *end = place(at);
                }
            }
            MessageEvent::Value(_)
            | MessageEvent::Header(_)
            | MessageEvent::End(_)
            | MessageEvent::Body(_) => {}
        }
    }
}

fn place(at: u64) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// The octets below folded lines on top that have no field above them: a person would rather see the fields
/// that follow than none.
pub fn below_folds(mut octets: &[u8]) -> &[u8] {
    while octets.first().is_some_and(|first| is_space(*first)) {
        octets = &octets[line_length(octets)..];
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    /// What a message is found to be: its fields, where it ends, and that no octet is lost.
    #[derive(Default)]
    struct Heard {
        fields: Vec<(Vec<u8>, Vec<u8>)>,
        header: Vec<u8>,
        body: Vec<u8>,
    }

    impl MessageListener for Heard {
        fn hear(&mut self, event: MessageEvent<'_>) {
            match event {
                MessageEvent::Field { name, .. } => self.fields.push((name.to_vec(), Vec::new())),
                MessageEvent::Value(octets) => {
                    self.fields.last_mut().unwrap().1.extend_from_slice(octets);
                }
                MessageEvent::Header(octets) => self.header.extend_from_slice(octets),
                MessageEvent::Body(octets) => self.body.extend_from_slice(octets),
                MessageEvent::FieldEnd(_) | MessageEvent::End(_) => {}
            }
        }
    }

    fn heard(octets: &[u8], step: usize, most: usize) -> (Heard, HeaderEnd) {
        let mut reader = Reader::bounded(Heard::default(), most);
        octets.chunks(step).for_each(|piece| reader.feed(piece));
        let (heard, end) = reader.finish();
        assert_eq!((heard.header.len() as u64), end.body_at);
        assert!([&heard.header[..], &heard.body].concat() == octets, "an octet is lost");
        (heard, end)
    }

    type NameAndValue = (Vec<u8>, Vec<u8>);

    /// Fields and the end of the header, the same however the octets come.
    #[track_caller]
    fn at_any_split(octets: &[u8], most: usize) -> (Vec<NameAndValue>, HeaderEnd) {
        let header = Header::bounded(octets, true, most).unwrap();
        let fields = header.fields.iter().map(|field| {
            let lines = &octets[field.at..field.at + field.lines.len()];
            assert!(lines == field.lines && lines.ends_with(field.value));
            (field.name.to_vec(), field.value.to_vec())
        });
        let fields: Vec<_> = fields.collect();
        for step in 1..=octets.len().max(1) {
            let (heard, end) = heard(octets, step, most);
            assert_eq!((&heard.fields, end), (&fields, header.end), "by {step}");
        }
        for cut in 0..octets.len() {
            if let Some(early) = Header::bounded(&octets[..cut], false, most) {
                assert_eq!(early.end, header.end, "seen too early, at {cut}");
            }
        }
        (fields, header.end)
    }

    #[test]
    fn where_a_header_ends() {
        use EndedBy::*;
        for (text, names, at, body_at, by) in [
            ("", "", 0, 0, Message),
            ("\n", "", 0, 1, EmptyLine),
            ("\r\nA: b", "", 0, 2, EmptyLine),
            ("A: b\n\nC: d\n", "A", 5, 6, EmptyLine),
            ("A: b\r\n c\r\n\r\nC: d\n", "A", 10, 12, EmptyLine),
            ("A: b", "A", 4, 4, Message),
            ("A: b\n c\n \nB:\n", "A B", 13, 13, Message),
            ("A \t: b\nB\r: c\n", "A B", 13, 13, Message),
            ("no header\n", "", 0, 0, Text),
            ("A: b\nno field\nB: c\n", "A", 5, 5, Text),
            (": no name\n", "", 0, 0, Text),
            ("A: b\nB\u{e9}: c\n", "A", 5, 5, Text),
            (" folded\nA: b\n", "", 0, 0, Fold),
            ("From ann Mon 10:00\n>From bob\nA: b\n\n", "A", 34, 35, EmptyLine),
            ("From ann\n folded\nA: b\n", "", 9, 9, Fold),
            ("From : ann\nFrom x\n", "From", 11, 11, Text),
            ("From", "", 0, 0, Text),
            ("\r", "", 0, 1, EmptyLine),
        ] {
            let (fields, end) = at_any_split(text.as_bytes(), 1000);
            let found: Vec<_> =
                fields.iter().map(|(name, _)| str::from_utf8(name).unwrap()).collect();
            assert_eq!(
                (found.join(" "), end),
                (names.to_owned(), HeaderEnd { at, body_at, by }),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_long_name_is_a_name_before_its_colon_comes() {
        for length in [FIELD_NAME_MAX - 2, FIELD_NAME_MAX - 1, FIELD_NAME_MAX, 3000] {
            let text = format!("{}: y\nA: b\n\n", "n".repeat(length));
            let found: Vec<_> = [1, 7, 997, 998, 999, text.len()]
                .map(|step| heard(text.as_bytes(), step, 1 << 20))
                .map(|(heard, end)| (heard.fields, end))
                .to_vec();
            assert!(found.iter().all(|it| *it == found[0]), "{length}");
            assert_eq!((found[0].0.len(), found[0].1.by), (2, EndedBy::EmptyLine));
        }
    }

    #[test]
    fn the_bound_is_where_it_is_however_the_octets_come() {
        for text in ["A: b\n c\nB: d\n\nbody", "A: b\nno field\n", "From x\nA: b\n", "\r\nx"] {
            for most in 0..text.len() {
                let (_, end) = at_any_split(text.as_bytes(), most);
                assert!(end.body_at <= most as u64 + 1);
            }
        }
        let (fields, end) = at_any_split(b"A: b\nB: cdef\n", 9);
        assert_eq!((&fields[1].1[..], end.body_at, end.by), (&b" c"[..], 9, EndedBy::Bound));
    }

    #[test]
    fn fields_are_found_by_name_and_number() {
        let text = b"A: 1\nB: 2\na : 3\n 4\nAA: 5\n";
        let header = Header::read(text);
        let found: Vec<&[u8]> = header.named("A").map(|field| field.value).collect();
        assert_eq!(found, [&b" 1\n"[..], b" 3\n 4\n"]);
        // From below, as signatures count.
        assert_eq!(header.named("a").nth_back(1).unwrap().at, 0);
        assert_eq!(header.named("A").next_back().unwrap().unfolded(99), b"3 4");
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(1),
            ..ProptestConfig::default()
        })]

        #[test]
        fn any_octets_at_any_split(text in "([AB:]|From |>|\n|\r\n| |\t|\u{e9}){0,24}", most in 0usize..30) {
            at_any_split(text.as_bytes(), most);
        }
    }
}
