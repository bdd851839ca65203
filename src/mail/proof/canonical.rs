//! The two canonical forms of fields and bodies, and hashes of bodies (RFC 6376 §3.4). Pure.
//!
//! What comes has LF for line ends, what is hashed has CR LF. A CR before the LF of a line is an octet like
//! others: it stood there before the CR LF.

use crate::limits::trust::BODY_FORMS_MAX;
use crate::mail::proof::raw::RawField;
use aws_lc_rs::digest::{Context, SHA256};
use std::ops::Range;

/// A canonical form (RFC 6376 §3.4.1 to §3.4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    Simple,
    Relaxed,
}

/// What is to be hashed of a body. The hash is SHA-256: there is no other that verifies (RFC 8301 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BodyForm {
    pub form: Form,
    /// This many octets of the canonical body (`l=`); none for all.
    pub length: Option<u64>,
}

/// The hash of a body in one form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyHash {
    pub sha256: [u8; 32],
    /// Octets of the whole canonical body, whatever part was hashed.
    pub octets: u64,
}

/// Adds a field in its canonical form, with a CR LF at its end. What lies in `cut`, a range of
/// `field.whole`, is left out: the value of `b=` where a signature signs itself.
pub fn add_field(out: &mut Vec<u8>, form: Form, field: &RawField, cut: Option<Range<usize>>) {
    let whole = field.whole.strip_suffix(b"\n").unwrap_or(field.whole);
    let cut = cut.unwrap_or(0..0);
    let end = cut.end.min(whole.len());
    let before = &whole[..cut.start.min(end)];
    let parts = [before, &whole[end..]];
    match form {
        Form::Simple => {
            for part in parts {
                for (at, line) in part.split(|&octet| octet == b'\n').enumerate() {
                    if at > 0 {
                        out.extend_from_slice(b"\r\n");
                    }
                    out.extend_from_slice(line);
                }
            }
        }
        Form::Relaxed => {
            let value = field.value_at();
            out.extend(field.name.to_ascii_lowercase());
            out.push(b':');
            let (mut space, mut begun) = (false, false);
            let skipped = [value.min(before.len()), value.saturating_sub(end)];
            for (part, skipped) in parts.into_iter().zip(skipped) {
                for &octet in &part[skipped.min(part.len())..] {
                    match octet {
                        b' ' | b'\t' => space = true,
                        b'\n' => {}
                        _ => {
                            if space && begun {
                                out.push(b' ');
                            }
                            (space, begun) = (false, true);
                            out.push(octet);
                        }
                    }
                }
            }
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Hashes a body as it comes, in all forms that are wanted, in one pass and in constant memory.
///
/// Hashes with different `l=` are those of beginnings of the same octets, so each of the two canonical
/// forms is made and hashed at most once.
pub struct BodyHasher {
    streams: Vec<Stream>,
}

/// The hashes of a whole body.
#[derive(Clone, Debug, Default)]
pub struct BodyHashes(Vec<(BodyForm, BodyHash)>);

impl BodyHashes {
    /// None where the form was not wanted when the body came, or found no room.
    pub fn get(&self, form: BodyForm) -> Option<BodyHash> {
        self.0.iter().find(|(known, _)| *known == form).map(|(_, hash)| *hash)
    }
}

impl BodyHasher {
    /// Begins; of more than [`BODY_FORMS_MAX`] distinct forms the first ones are hashed. None at all cost
    /// nothing.
    pub fn new(wanted: &[BodyForm]) -> BodyHasher {
        let mut distinct: Vec<BodyForm> = Vec::new();
        for form in wanted {
            if distinct.len() < BODY_FORMS_MAX && !distinct.contains(form) {
                distinct.push(*form);
            }
        }
        let mut streams = Vec::new();
        for form in [Form::Simple, Form::Relaxed] {
            let lengths: Vec<Option<u64>> =
                distinct.iter().filter(|one| one.form == form).map(|one| one.length).collect();
            if !lengths.is_empty() {
                streams.push(Stream::new(form, &lengths));
            }
        }
        BodyHasher { streams }
    }

    /// Takes the next octets of the body.
    pub fn feed(&mut self, octets: &[u8]) {
        self.streams.iter_mut().for_each(|stream| stream.feed(octets));
    }

    /// The body is over.
    pub fn finish(self) -> BodyHashes {
        BodyHashes(self.streams.into_iter().flat_map(Stream::finish).collect())
    }
}

/// Octets collected before they are hashed: large enough that calls do not count.
const BUFFER: usize = 8 * 1024;

/// Empty lines as they are hashed, a piece at a time.
const EMPTY_LINES: &[u8; 512] = &{
    let mut lines = [b'\n'; 512];
    let mut at = 0;
    while at < lines.len() {
        lines[at] = b'\r';
        at += 2;
    }
    lines
};

/// One canonical form being made.
struct Stream {
    form: Form,
    out: HashSink,
    /// Empty lines that are hashed only when something follows.
    empty_lines: u64,
    /// Octets of the current line have been hashed.
    in_line: bool,
    /// White space that is hashed, as one space, only when something follows in its line.
    space: bool,
}

impl Stream {
    fn new(form: Form, lengths: &[Option<u64>]) -> Stream {
        let mut limits: Vec<u64> = lengths.iter().copied().flatten().collect();
        limits.sort_unstable();
        let out = HashSink {
            context: Context::new(&SHA256),
            buffer: Vec::with_capacity(BUFFER),
            octets: 0,
            limits,
            reached: Vec::new(),
            is_whole_wanted: lengths.contains(&None),
        };
        Stream { form, out, empty_lines: 0, in_line: false, space: false }
    }

    fn feed(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            let end = memchr::memchr(b'\n', octets);
            let (line, rest) = octets.split_at(end.unwrap_or(octets.len()));
            match self.form {
                Form::Simple => self.add(line),
                Form::Relaxed => self.add_relaxed(line),
            }
            octets = rest;
            if end.is_some() {
                self.end_line();
                octets = &rest[1..];
            }
        }
    }

    /// Octets of a line as they are to be hashed.
    fn add(&mut self, octets: &[u8]) {
        if octets.is_empty() {
            return;
        }
        if self.empty_lines > 0 {
            self.add_empty_lines();
        }
        self.in_line = true;
        self.out.add(octets);
    }

    fn add_empty_lines(&mut self) {
        let most = EMPTY_LINES.len() as u64 / 2;
        while self.empty_lines > 0 {
            let lines = self.empty_lines.min(most);
            self.out.add(&EMPTY_LINES[..2 * lines as usize]);
            self.empty_lines -= lines;
        }
    }

    /// Octets of a line, each run of white space a single space, none at the end of a line.
    fn add_relaxed(&mut self, octets: &[u8]) {
        let spaces = octets.iter().rev().take_while(|&&octet| is_white(octet)).count();
        let text = &octets[..octets.len() - spaces];
        // Most lines are as they should be.
        if is_plain(text) && !(self.space && text.starts_with(b" ")) {
            self.add_space(!text.is_empty());
            self.add(text);
        } else {
            self.add_words(text);
        }
        self.space |= spaces > 0;
    }

    /// The space that was held back, where something follows.
    fn add_space(&mut self, follows: bool) {
        if self.space && follows {
            self.add(b" ");
            self.space = false;
        }
    }

    fn add_words(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            let spaces = octets.iter().take_while(|&&octet| is_white(octet)).count();
            self.space |= spaces > 0;
            octets = &octets[spaces..];
            if octets.is_empty() {
                return;
            }
            self.add_space(true);
            let end = octets.iter().position(|&octet| is_white(octet)).unwrap_or(octets.len());
            self.add(&octets[..end]);
            octets = &octets[end..];
        }
    }

    fn end_line(&mut self) {
        self.space = false;
        if self.in_line {
            self.out.add(b"\r\n");
            self.in_line = false;
        } else {
            self.empty_lines += 1;
        }
    }

    fn finish(mut self) -> Vec<(BodyForm, BodyHash)> {
        if self.in_line {
            self.out.add(b"\r\n");
        }
        if self.form == Form::Simple && self.out.octets() == 0 {
            self.out.add(b"\r\n");
        }
        self.out.finish(self.form)
    }
}

fn is_white(octet: u8) -> bool {
    octet == b' ' || octet == b'\t'
}

/// Whether octets have no tab and no two spaces in a row. Without branches, so that many octets are looked
/// at together.
fn is_plain(octets: &[u8]) -> bool {
    let mut bad = octets.last() == Some(&b'\t');
    let next = octets.get(1..).unwrap_or(&[]);
    for (one, next) in octets.iter().zip(next) {
        bad |= (*one == b'\t') | ((*one == b' ') & (*next == b' '));
    }
    !bad
}

/// Hashes octets, and keeps the state of the hash where a length ends.
struct HashSink {
    context: Context,
    buffer: Vec<u8>,
    /// Octets before those in the buffer.
    octets: u64,
    /// Lengths that are wanted and not reached, in their order.
    limits: Vec<u64>,
    reached: Vec<(u64, [u8; 32])>,
    is_whole_wanted: bool,
}

impl HashSink {
    fn octets(&self) -> u64 {
        self.octets + self.buffer.len() as u64
    }

    fn add(&mut self, octets: &[u8]) {
        if self.buffer.len() + octets.len() > BUFFER {
            self.flush();
        }
        if octets.len() > BUFFER {
            self.hash(octets);
        } else {
            self.buffer.extend_from_slice(octets);
        }
    }

    fn flush(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        self.hash(&buffer);
        self.buffer = buffer;
        self.buffer.clear();
    }

    fn hash(&mut self, mut octets: &[u8]) {
        while let Some(&limit) = self.limits.first()
            && limit - self.octets <= octets.len() as u64
        {
            let (before, rest) = octets.split_at((limit - self.octets) as usize);
            self.context.update(before);
            self.octets = limit;
            self.reached.push((limit, sum(self.context.clone())));
            self.limits.remove(0);
            octets = rest;
        }
        if self.is_whole_wanted || !self.limits.is_empty() {
            self.context.update(octets);
        }
        self.octets += octets.len() as u64;
    }

    fn finish(mut self, form: Form) -> Vec<(BodyForm, BodyHash)> {
        self.flush();
        let octets = self.octets;
        let one = |length, sha256| (BodyForm { form, length }, BodyHash { sha256, octets });
        let mut found: Vec<_> =
            self.reached.iter().map(|(limit, hash)| one(Some(*limit), *hash)).collect();
        // Lengths past the end: who reads the hash sees that there are fewer octets.
        let whole = sum(self.context);
        found.extend(self.limits.iter().map(|limit| one(Some(*limit), whole)));
        if self.is_whole_wanted {
            found.push(one(None, whole));
        }
        found
    }
}

fn sum(context: Context) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(context.finish().as_ref());
    sum
}

/// SHA-256 of octets at once.
pub fn sha256(octets: &[u8]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(octets);
    sum(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(text: &str) -> RawField<'_> {
        let (name, _) = text.split_once(':').unwrap();
        RawField { name: name.trim_ascii().as_bytes(), whole: text.as_bytes() }
    }

    fn canonical(form: Form, text: &str, cut: Option<Range<usize>>) -> String {
        let mut out = Vec::new();
        add_field(&mut out, form, &field(text), cut);
        String::from_utf8(out).unwrap()
    }

    /// The examples of RFC 6376 §3.4.5.
    #[test]
    fn fields() {
        for (text, simple, relaxed) in [
            ("A: X\n", "A: X\r\n", "a:X\r\n"),
            ("B : Y\t\n\tZ  \n", "B : Y\t\r\n\tZ  \r\n", "b:Y Z\r\n"),
            ("C:", "C:\r\n", "c:\r\n"),
            ("C: \n \n", "C: \r\n \r\n", "c:\r\n"),
            ("C:\n\n", "C:\r\n\r\n", "c:\r\n"),
        ] {
            assert_eq!(canonical(Form::Simple, text, None), simple);
            assert_eq!(canonical(Form::Relaxed, text, None), relaxed);
        }
    }

    #[test]
    fn cuts() {
        let text = "S: a=1; b=x\n y ; c";
        let cut = Some(10..15);
        assert_eq!(&text[10..15], "x\n y ");
        assert_eq!(canonical(Form::Simple, text, cut.clone()), "S: a=1; b=; c\r\n");
        assert_eq!(canonical(Form::Relaxed, text, cut), "s:a=1; b=; c\r\n");
        assert_eq!(canonical(Form::Relaxed, "S: b= x", Some(5..7)), "s:b=\r\n");
        assert_eq!(canonical(Form::Relaxed, "S: b= x", Some(5..99)), "s:b=\r\n");
        assert_eq!(canonical(Form::Simple, "S: b= x\n", Some(5..8)), "S: b=\r\n");
    }

    fn hash_of(form: Form, length: Option<u64>, text: &str, step: usize) -> BodyHash {
        let form = BodyForm { form, length };
        let mut hasher = BodyHasher::new(&[form]);
        text.as_bytes().chunks(step).for_each(|piece| hasher.feed(piece));
        hasher.finish().get(form).unwrap()
    }

    #[test]
    fn bodies() {
        for (text, simple, relaxed) in [
            ("", "\r\n", ""),
            ("\n", "\r\n", ""),
            ("\n\n \n", "\r\n\r\n \r\n", ""),
            (" ", " \r\n", ""),
            ("\t\n", "\t\r\n", ""),
            (" C \nD \t E\n\n\n", " C \r\nD \t E\r\n", " C\r\nD E\r\n"),
            ("a", "a\r\n", "a\r\n"),
            ("a\t", "a\t\r\n", "a\r\n"),
            ("a\tb\n", "a\tb\r\n", "a b\r\n"),
            ("a\n\n \t\n\nb  c \n", "a\r\n\r\n \t\r\n\r\nb  c \r\n", "a\r\n\r\n\r\n\r\nb c\r\n"),
            ("a\r\nb \r\n", "a\r\r\nb \r\r\n", "a\r\r\nb \r\r\n"),
            ("  a b", "  a b\r\n", " a b\r\n"),
        ] {
            for step in 1..=text.len().max(1) {
                for (form, expected) in [(Form::Simple, simple), (Form::Relaxed, relaxed)] {
                    let found = hash_of(form, None, text, step);
                    assert_eq!(
                        found.sha256,
                        sha256(expected.as_bytes()),
                        "{form:?} {text:?} {step}"
                    );
                    assert_eq!(found.octets, expected.len() as u64);
                    for length in 0..=expected.len() {
                        let found = hash_of(form, Some(length as u64), text, step);
                        assert_eq!(found.sha256, sha256(&expected.as_bytes()[..length]));
                        assert_eq!(found.octets, expected.len() as u64);
                    }
                }
            }
        }
    }

    #[test]
    fn forms_have_a_bound_and_each_its_hash() {
        let form = |length| BodyForm { form: Form::Relaxed, length };
        let wanted: Vec<BodyForm> = (0..100).map(|at| form(Some(100 - at / 2))).collect();
        let mut hasher = BodyHasher::new(&wanted);
        hasher.feed("x".repeat(98).as_bytes());
        let hashes = hasher.finish();
        assert_eq!(hashes.0.len(), BODY_FORMS_MAX);
        let first = hashes.get(form(Some(100))).unwrap();
        assert_eq!(first.octets, 100);
        assert_eq!(hashes.get(form(Some(97))).unwrap().sha256, sha256("x".repeat(97).as_bytes()));
        assert!(hashes.get(form(None)).is_none());
        assert!(BodyHasher::new(&[]).finish().0.is_empty());
    }

    #[test]
    fn many_empty_lines() {
        let text = format!("a{}b", "\n".repeat(100_000));
        let found = hash_of(Form::Relaxed, None, &text, 7_000);
        assert_eq!(found.octets, 2 * 100_000 + 4);
        assert_eq!(hash_of(Form::Relaxed, None, &"\n".repeat(100_000), 9).octets, 0);
    }
}
