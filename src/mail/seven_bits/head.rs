//! The header of a message or part: what it says of the body (RFC 2045), and how it reads with 7 bits.

use super::EntityChange;
use super::words;
use crate::mail::header::Header;
use mail_parser::{MessageParser, MimeHeaders};

/// A header with the empty line behind it, where there is one.
#[derive(Debug)]
pub struct EntityHead {
    /// How many headers come before it in the whole message.
    pub index: usize,
    octets: Vec<u8>,
    has_empty_line: bool,
    /// It is the header of a message, not of a part.
    is_message: bool,
    kind: EntityKind,
    encoding: Encoding,
    /// Content-Type has a type and a subtype.
    has_good_type: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum EntityKind {
    Multipart {
        boundary: Vec<u8>,
        is_digest: bool,
    },
    /// A multipart without a boundary.
    BrokenMultipart,
    Signed,
    /// message/rfc822: what follows is a header again.
    Envelope,
    /// A kind of message that may have no encoding (RFC 2046 §5.2.2, §5.2.3).
    Fragment,
    Leaf,
}

/// What Content-Transfer-Encoding says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// None, or one that does not exist: the body is what it is.
    Identity,
    QuotedPrintable,
    Base64,
}

impl EntityHead {
    pub fn new(
        octets: Vec<u8>,
        has_empty_line: bool,
        is_message: bool,
        in_digest: bool,
    ) -> EntityHead {
        let parsed = MessageParser::new().parse_headers(&octets);
        let said = parsed.as_ref().and_then(|message| message.content_transfer_encoding());
        let encoding = match said.map(str::trim) {
            Some(it) if it.eq_ignore_ascii_case("quoted-printable") => Encoding::QuotedPrintable,
            Some(it) if it.eq_ignore_ascii_case("base64") => Encoding::Base64,
            _ => Encoding::Identity,
        };
        let content_type = parsed.as_ref().and_then(|message| message.content_type());
        let kind = match content_type {
            Some(it) => {
                let main = it.ctype().trim().to_ascii_lowercase();
                let sub = it.subtype().unwrap_or_default().trim().to_ascii_lowercase();
                kind(&main, &sub, it.attribute("boundary"), encoding)
            }
            None if in_digest => kind("message", "rfc822", None, encoding),
            None => EntityKind::Leaf,
        };
        let has_good_type = content_type.is_some_and(|it| it.subtype().is_some());
        EntityHead { index: 0, octets, has_empty_line, is_message, kind, encoding, has_good_type }
    }

    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    pub fn boundary(&self) -> Option<&[u8]> {
        match &self.kind {
            EntityKind::Multipart { boundary, .. } => Some(boundary),
            _ => None,
        }
    }

    pub fn is_digest(&self) -> bool {
        matches!(self.kind, EntityKind::Multipart { is_digest: true, .. })
    }

    pub fn is_signed(&self) -> bool {
        self.kind == EntityKind::Signed
    }

    pub fn is_envelope(&self) -> bool {
        self.kind == EntityKind::Envelope
    }

    pub fn is_fragment(&self) -> bool {
        self.kind == EntityKind::Fragment
    }
}

fn kind(main: &str, sub: &str, boundary: Option<&str>, encoding: Encoding) -> EntityKind {
    match (main, sub) {
        ("multipart", "signed" | "encrypted") | ("application", "pkcs7-mime" | "x-pkcs7-mime") => {
            EntityKind::Signed
        }
        ("multipart", _) => match boundary.map(str::trim_end).filter(|it| !it.is_empty()) {
            Some(boundary) => {
                let boundary = boundary.as_bytes().to_vec();
                EntityKind::Multipart { boundary, is_digest: sub == "digest" }
            }
            None => EntityKind::BrokenMultipart,
        },
        // Some programs encode it against RFC 2046 §5.2.1: then there is nothing to take apart.
        ("message", "rfc822" | "news") if encoding == Encoding::Identity => EntityKind::Envelope,
        ("message", "partial" | "external-body") => EntityKind::Fragment,
        _ => EntityKind::Leaf,
    }
}

/// Appends the header as it reads above the changed body.
pub fn rewrite(head: &EntityHead, change: EntityChange, out: &mut Vec<u8>) {
    // An entity whose parts or inner message cannot be found becomes text (RFC 2045 §5.2).
    let is_broken =
        !matches!(head.kind, EntityKind::Leaf | EntityKind::Fragment | EntityKind::Signed);
    let is_encoded = match change {
        EntityChange::None => false,
        // Other encodings have their label already.
        EntityChange::Encode => head.encoding == Encoding::Identity,
        EntityChange::AsText => true,
    };
    // RFC 2045 §6.4: an entity with parts is 7bit, 8bit or binary, and these parts have 7 bits now.
    let is_whole =
        matches!(head.kind, EntityKind::Multipart { .. } | EntityKind::Envelope) && !is_encoded;
    let header = Header::read(&head.octets);
    let end = header.end.at as usize;
    let (mut has_type, mut has_encoding, mut has_version) = (false, false, false);
    // `From ` of an mbox.
    let top = header.fields.first().map_or(end, |first| first.at);
    words::marked(&head.octets[..top], out);
    for field in &header.fields {
        match field.name.to_ascii_lowercase().as_slice() {
            b"content-transfer-encoding" if is_encoded => {
                if !std::mem::replace(&mut has_encoding, true) {
                    out.extend_from_slice(ENCODING);
                }
                continue;
            }
            b"content-transfer-encoding" if is_whole => {
                out.extend_from_slice(b"Content-Transfer-Encoding: 7bit\n");
                continue;
            }
            b"content-type" if is_encoded && (is_broken || !head.has_good_type) => {
                if !std::mem::replace(&mut has_type, true) {
                    out.extend_from_slice(TYPE);
                }
                continue;
            }
            b"content-type" => has_type = true,
            b"mime-version" => has_version = true,
            _ => {}
        }
        match field.lines.is_ascii() {
            true => out.extend_from_slice(field.lines),
            false => words::seven(field, out),
        }
    }
    if is_encoded {
        if end > 0 && !out.ends_with(b"\n") {
            out.push(b'\n');
        }
        if head.is_message && !has_version {
            out.extend_from_slice(b"MIME-Version: 1.0\n");
        }
        if !has_type {
            out.extend_from_slice(TYPE);
        }
        if !has_encoding {
            out.extend_from_slice(ENCODING);
        }
    }
    match head.has_empty_line {
        true => out.extend_from_slice(&head.octets[end..]),
        // The body began without an empty line, but the added fields need one.
        false if is_encoded => out.push(b'\n'),
        false => {}
    }
}

const ENCODING: &[u8] = b"Content-Transfer-Encoding: quoted-printable\n";

/// Content-Type for text that does not say what it is (RFC 1428 §3).
const TYPE: &[u8] = b"Content-Type: text/plain; charset=unknown-8bit\n";
