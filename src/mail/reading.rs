//! A message as a person reads it: a few fields, its text, and what is attached. Only text comes out: nothing
//! is fetched, followed or executed, and of HTML only its words are left.
//!
//! MIME (RFC 2045 to 2047, 2183) by the mail-parser crate: parameters and decodings are its. The walk
//! through the parts is our own, because what that crate returns nests as deep as a message wishes, and a
//! stack that overflows ends the whole process. Never fails: broken octets give some text, or none.

use crate::limits::{PARTS_DEPTH, PARTS_MAX, TEXT_SHOWN};
use crate::mail::header::{Header, below_folds};
use crate::mail::words;
use encoding_rs::{Encoding, WINDOWS_1252};
use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::parsers::MessageStream;
use mail_parser::{ContentType, HeaderValue};
use memchr::memchr;
use std::borrow::Cow;

mod html;

/// Fields that are shown, in this order.
const SHOWN: [&str; 7] = ["Subject", "From", "To", "Cc", "Date", "Message-ID", "Reply-To"];

/// Fields that say what a part is.
const MIME: [&str; 3] = ["Content-Type", "Content-Disposition", "Content-Transfer-Encoding"];

/// What a person sees of a message. The texts may hold any character; a page that shows them escapes them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Readable {
    /// Name and decoded value of each shown field that the message has, the first of each name.
    pub fields: Vec<(&'static str, String)>,
    pub text: String,
    /// There was no plain text, so the text is HTML without its tags.
    pub is_of_html: bool,
    /// The parts whose content is not shown.
    pub attached: Vec<Attached>,
    /// There is more text, or there are more parts, than the bounds let through.
    pub is_cut: bool,
}

/// A part that is only named.
#[derive(Debug, PartialEq, Eq)]
pub struct Attached {
    /// The media type, as written.
    pub kind: String,
    /// The file's name as its sender wrote it; empty where there is none.
    pub name: String,
    /// Octets as they lie in the message, encoded.
    pub octets: usize,
}

/// Reads a message, or as much of one as there is.
pub fn read(octets: &[u8]) -> Readable {
    let mut reader = PartReader { reading: Readable::default(), parts: 0 };
    let head = PartHead::read(octets);
    for name in SHOWN {
        if let Some(value) = head.value(name) {
            reader.reading.fields.push((name, words::decode(value)));
        }
    }
    let texts = reader.part(&head, PARTS_DEPTH);
    let mut reading = reader.reading;
    reading.is_of_html = !texts.is_empty() && texts.iter().all(|text| text.is_html);
    for Text { text, .. } in texts {
        if !reading.text.is_empty() && !reading.text.ends_with('\n') {
            reading.text.push('\n');
        }
        reading.text.push_str(&text);
    }
    if reading.text.len() > TEXT_SHOWN {
        let end = reading.text.floor_char_boundary(TEXT_SHOWN);
        reading.text.truncate(end);
        reading.is_cut = true;
    }
    reading
}

/// One run of text.
struct Text {
    /// The text comes from HTML.
    is_html: bool,
    text: String,
}

/// A part: its fields that matter here, and what follows them.
struct PartHead<'a> {
    /// Name and raw value, unfolded; the first of each name.
    fields: Vec<(&'static str, Vec<u8>)>,
    body: &'a [u8],
}

impl<'a> PartHead<'a> {
    /// Reads a part; one without a header begins with its text.
    fn read(octets: &'a [u8]) -> PartHead<'a> {
        let octets = below_folds(octets);
        let header = Header::read(octets);
        let first = |name: &&'static str| {
            let field = header.named(name).next()?;
            Some((*name, field.unfolded(words::VALUE_MAX)))
        };
        let fields = SHOWN.iter().chain(&MIME).filter_map(first).collect();
        PartHead { fields, body: &octets[header.end.body_at as usize..] }
    }

    fn value(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_slice())
    }

    /// The value of a field with parameters: Content-Type, Content-Disposition.
    fn kind(&self, name: &str) -> Option<ContentType<'static>> {
        let value = [self.value(name)?, b"\n"].concat();
        let parsed = MessageStream::new(&value).parse_content_type();
        HeaderValue::into_owned(parsed).into_content_type()
    }
}

struct PartReader {
    reading: Readable,
    /// Parts looked at so far.
    parts: usize,
}

impl PartReader {
    /// The text of a part; a part that is no text goes to `attached`. `depth`: how many multiparts inside each
    /// other may still be opened.
    fn part(&mut self, head: &PartHead<'_>, depth: usize) -> Vec<Text> {
        self.parts += 1;
        let (kind, disposition) = (head.kind("Content-Type"), head.kind("Content-Disposition"));
        let (kind, disposition) = (kind.as_ref(), disposition.as_ref());
        let (main, sub) = kind
            .map_or(("text", "plain"), |kind| (kind.ctype(), kind.subtype().unwrap_or_default()));
        let boundary = kind.and_then(|kind| kind.attribute("boundary")).filter(|it| !it.is_empty());
        if let Some(boundary) = boundary.filter(|_| main == "multipart" && depth > 0) {
            let parts = split(head.body, boundary.as_bytes());
            if !parts.is_empty() {
                return self.parts(&parts, sub == "alternative", depth - 1);
            }
        }
        let is_text = main == "text" && matches!(sub, "plain" | "html" | "");
        // A multipart whose boundary is missing or never comes is shown as text.
        let is_broken = main == "multipart" && depth > 0;
        if (is_text || is_broken) && !disposition.is_some_and(ContentType::is_attachment) {
            let charset = kind.and_then(|kind| kind.attribute("charset"));
            let (is_html, text) = (sub == "html", decoded(head, charset));
            return vec![Text { is_html, text: if is_html { html::text(&text) } else { text } }];
        }
        let name = disposition.and_then(|it| it.attribute("filename"));
        let name = name.or_else(|| kind.and_then(|kind| kind.attribute("name")));
        self.reading.attached.push(Attached {
            kind: format!("{main}/{sub}"),
            name: name.unwrap_or_default().to_owned(),
            octets: head.body.len(),
        });
        Vec::new()
    }

    /// The texts of several parts; of alternatives (`is_choice`) only one: the plain text, or where that is empty,
    /// which some programs write beside their HTML, the first with words.
    fn parts(&mut self, parts: &[&[u8]], is_choice: bool, depth: usize) -> Vec<Text> {
        let mut found: Vec<Vec<Text>> = Vec::new();
        for octets in parts {
            if self.parts >= PARTS_MAX {
                self.reading.is_cut = true;
                break;
            }
            let head = PartHead::read(octets);
            let texts = self.part(&head, depth);
            if !texts.is_empty() {
                found.push(texts);
            }
        }
        if !is_choice {
            return found.into_iter().flatten().collect();
        }
        let has_words = |texts: &&mut Vec<Text>| texts.iter().any(|it| !it.text.trim().is_empty());
        found.sort_by_key(|texts| texts.iter().any(|text| text.is_html));
        found.iter_mut().find(has_words).map(std::mem::take).unwrap_or_default()
    }
}

/// What lies between the lines of a boundary, up to the last one or to the end (RFC 2046 §5.1.1).
fn split<'a>(body: &'a [u8], boundary: &[u8]) -> Vec<&'a [u8]> {
    let (mut parts, mut begin, mut at) = (Vec::new(), None, 0);
    while at < body.len() {
        let end = memchr(b'\n', &body[at..]).map_or(body.len(), |length| at + length + 1);
        let rest = body[at..end].strip_prefix(b"--").and_then(|line| line.strip_prefix(boundary));
        let rest = rest.map(<[u8]>::trim_ascii_end);
        if let Some(rest) = rest.filter(|rest| matches!(*rest, b"" | b"--")) {
            if let Some(begin) = begin.replace(end) {
                // One part more than is looked at shows that there are more.
                parts.push(without_line_end(&body[begin..at]));
            }
            if rest == b"--" || parts.len() > PARTS_MAX {
                return parts;
            }
        }
        at = end;
    }
    parts.extend(begin.map(|begin| &body[begin..]));
    parts
}

/// Without the last line end, which belongs to the boundary behind it (RFC 2046 §5.1.1).
fn without_line_end(octets: &[u8]) -> &[u8] {
    let octets = octets.strip_suffix(b"\n").unwrap_or(octets);
    octets.strip_suffix(b"\r").unwrap_or(octets)
}

/// The characters of a text part. A part whose encoding is broken is shown undecoded; where the charset is
/// unknown, the octets are read as UTF-8 if they can be, else as Windows-1252, which old programs mean.
fn decoded(head: &PartHead<'_>, charset: Option<&str>) -> String {
    let encoding = head.value("Content-Transfer-Encoding").unwrap_or_default();
    let octets = match encoding.to_ascii_lowercase().as_slice() {
        b"base64" => base64_decode(head.body),
        b"quoted-printable" => quoted_printable_decode(head.body),
        _ => None,
    };
    let octets = octets.map_or(Cow::Borrowed(head.body), Cow::Owned);
    let text = match charset.and_then(|label| Encoding::for_label(label.as_bytes())) {
        Some(encoding) => encoding.decode(&octets).0.into_owned(),
        None => match str::from_utf8(&octets) {
            Ok(text) => text.to_owned(),
            // The part may have been cut within a character.
            Err(error) if error.error_len().is_none() => {
                String::from_utf8_lossy(&octets[..error.valid_up_to()]).into_owned()
            }
            Err(_) => WINDOWS_1252.decode_without_bom_handling(&octets).0.into_owned(),
        },
    };
    text.replace("\r\n", "\n")
}

#[cfg(test)]
mod tests;
