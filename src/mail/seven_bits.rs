//! A message with octets over 127, made into one without for a host that takes no others (RFC 6152 §3,
//! RFC 2045 §6): two passes over the same octets, each in any pieces, in memory that does not grow with the
//! message. [`FirstPass`] finds out which parts must change, [`Converter`] changes them.
//!
//! Each text or file with 8 bits becomes quoted-printable, never base64: that would freeze line ends as CR LF
//! inside a file, while quoted-printable leaves them to the transport, as 8 bits did, so that a reader gets
//! what it would have got. In the text around parts (RFC 2046 §5.1.1), which nobody reads, such an octet becomes
//! `?`. Header fields with 8 bits, which many programs write, become encoded words or parameters ([`words`]):
//! other servers send them as they are, which a host without 8BITMIME need not take.
//!
//! Nothing is converted where a part is signed or encrypted (RFC 1847 §2.1: it must arrive as it is), nor
//! where the structure has no end ([`NotConverted`]). Conversion breaks a DKIM signature (RFC 6376 §5.3).

mod head;
mod parts;
#[cfg(test)]
mod tests;
mod words;

use head::{Encoding, EntityHead, rewrite};
use parts::{EntityPiece, Parts};
use std::fmt;

/// What becomes of one entity: a message, or a part of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum EntityChange {
    /// Its body stays; its header may have 8 bits.
    #[default]
    None,
    /// Its body becomes quoted-printable.
    Encode,
    /// A multipart in which no part begins becomes text, because it cannot be taken apart.
    AsText,
}

/// Why a message cannot be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotConverted {
    /// A part is signed or encrypted by RFC 1847 or S/MIME (RFC 8551).
    Signed,
    /// More parts, more of them inside each other, a longer header or boundary than [`crate::limits`] allow.
    Structure,
    /// A kind of part that may have no encoding (RFC 2046 §5.2.2, §5.2.3).
    Fragment,
}

impl fmt::Display for NotConverted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotConverted::Signed => "a part is signed or encrypted",
            NotConverted::Structure => "its parts are too many, or too deep inside each other",
            NotConverted::Fragment => "a part is of a kind that may not be encoded",
        })
    }
}

/// What is to be changed of one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConversionPlan {
    changes: Vec<EntityChange>,
}

/// The first pass.
#[derive(Debug, Default)]
pub struct FirstPass {
    parts: Parts,
    findings: Findings,
}

#[derive(Debug, Default)]
struct Findings {
    changes: Vec<EntityChange>,
    /// The entity whose octets come at this moment, and whether it is a [`NotConverted::Fragment`].
    current: Option<(usize, bool)>,
    refusal: Option<NotConverted>,
}

impl FirstPass {
    /// Takes the next octets, with LF line ends.
    pub fn feed(&mut self, octets: &[u8]) {
        let FirstPass { parts, findings } = self;
        parts.feed(octets, &mut |piece| findings.note(&piece));
    }

    /// The message is over.
    pub fn finish(mut self) -> Result<ConversionPlan, NotConverted> {
        let FirstPass { parts, findings } = &mut self;
        parts.finish(&mut |piece| findings.note(&piece));
        match self.parts.refusal().or(self.findings.refusal) {
            Some(refusal) => Err(refusal),
            None => Ok(ConversionPlan { changes: self.findings.changes }),
        }
    }
}

impl Findings {
    fn note(&mut self, piece: &EntityPiece<'_>) {
        match piece {
            EntityPiece::Head(head) => {
                self.changes.push(EntityChange::None);
                self.current = Some((head.index, head.is_fragment()));
                if head.is_signed() {
                    self.refusal = Some(NotConverted::Signed);
                }
            }
            EntityPiece::Body(octets) if !octets.is_ascii() => {
                let Some((index, is_fragment)) = self.current else { return };
                if is_fragment {
                    self.refusal = self.refusal.or(Some(NotConverted::Fragment));
                }
                self.changes[index] = EntityChange::Encode;
            }
            // The multipart is text unless a part begins behind this.
            EntityPiece::Preamble(index, octets) if !octets.is_ascii() => {
                self.changes[*index] = EntityChange::AsText;
            }
            EntityPiece::FirstPart(index) => self.changes[*index] = EntityChange::None,
            EntityPiece::Body(_) | EntityPiece::Preamble(..) | EntityPiece::Around(_) => {}
        }
    }
}

/// The second pass.
#[derive(Debug)]
pub struct Converter<'a> {
    plan: &'a ConversionPlan,
    parts: Parts,
    body: BodyEncoder,
}

impl<'a> Converter<'a> {
    pub fn new(plan: &'a ConversionPlan) -> Converter<'a> {
        let as_text = (0..plan.changes.len()).filter(|i| plan.changes[*i] == EntityChange::AsText);
        let parts = Parts::with_text(as_text.collect());
        Converter { plan, parts, body: BodyEncoder::default() }
    }

    /// Takes the next octets of the message that was surveyed, and appends what becomes of them.
    pub fn feed(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        let Converter { plan, parts, body } = self;
        parts.feed(octets, &mut |piece| body.put(plan, &piece, out));
    }

    /// The message is over.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let Converter { plan, parts, body } = self;
        parts.finish(&mut |piece| body.put(plan, &piece, out));
        body.end(out);
    }
}

/// How the octets of the part at hand are written.
#[derive(Debug, Default)]
struct BodyEncoder {
    way: BodyCoding,
    /// Octets on this line of the output.
    column: usize,
    /// A space or tab that is last on its line unless more comes.
    held: Option<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum BodyCoding {
    #[default]
    AsItIs,
    Encode,
    /// The part says it is quoted-printable, but has 8 bits: only those octets are encoded.
    Mend,
    /// The part says it is base64: octets over 127 are dropped, as a reader passes over all that are no digits
    /// of base64 (RFC 2045 §6.8).
    Drop,
}

/// Longest line of quoted-printable without the `=` at its end (RFC 2045 §6.7).
const LINE: usize = 75;

impl BodyEncoder {
    fn put(&mut self, plan: &ConversionPlan, piece: &EntityPiece<'_>, out: &mut Vec<u8>) {
        match piece {
            EntityPiece::Head(head) => {
                self.end(out);
                let change = plan.changes.get(head.index).copied().unwrap_or_default();
                self.way = way(head, change);
                rewrite(head, change, out);
            }
            EntityPiece::Body(octets) => octets.iter().for_each(|octet| self.octet(*octet, out)),
            EntityPiece::Preamble(_, octets) | EntityPiece::Around(octets) => {
                self.end(out);
                out.extend(octets.iter().map(|octet| if octet.is_ascii() { *octet } else { b'?' }));
            }
            EntityPiece::FirstPart(_) => {}
        }
    }

    fn octet(&mut self, octet: u8, out: &mut Vec<u8>) {
        match self.way {
            BodyCoding::AsItIs => out.push(octet),
            BodyCoding::Drop if !octet.is_ascii() => {}
            BodyCoding::Drop => out.push(octet),
            BodyCoding::Mend if !octet.is_ascii() => self.token(&escaped(octet), out),
            BodyCoding::Mend => {
                self.column = if octet == b'\n' { 0 } else { self.column + 1 };
                out.push(octet);
            }
            BodyCoding::Encode => self.encode(octet, out),
        }
    }

    fn encode(&mut self, octet: u8, out: &mut Vec<u8>) {
        if let Some(space) = self.held.take() {
            match octet {
                // Some hosts cut off a space at the end of a line.
                b'\n' => self.token(&escaped(space), out),
                _ => self.token(&[space], out),
            }
        }
        match octet {
            b'\n' => {
                out.push(b'\n');
                self.column = 0;
            }
            b' ' | b'\t' => self.held = Some(octet),
            b'=' => self.token(&escaped(octet), out),
            b'!'..=b'~' => self.token(&[octet], out),
            _ => self.token(&escaped(octet), out),
        }
    }

    /// Writes a token that may not be split, on a new line where this one is full.
    fn token(&mut self, token: &[u8], out: &mut Vec<u8>) {
        if self.column > 0 && self.column + token.len() > LINE {
            out.extend_from_slice(b"=\n");
            self.column = 0;
            // A line that we begin must not look like the end of a part.
            if token == b"-" {
                return self.token(&escaped(b'-'), out);
            }
        }
        out.extend_from_slice(token);
        self.column += token.len();
    }

    /// The part is over.
    fn end(&mut self, out: &mut Vec<u8>) {
        if let Some(space) = self.held.take() {
            self.token(&escaped(space), out);
        }
        *self = BodyEncoder::default();
    }
}

fn way(head: &EntityHead, change: EntityChange) -> BodyCoding {
    match (change, head.encoding()) {
        (EntityChange::None, _) => BodyCoding::AsItIs,
        (EntityChange::Encode, Encoding::QuotedPrintable) => BodyCoding::Mend,
        (EntityChange::Encode, Encoding::Base64) => BodyCoding::Drop,
        (EntityChange::Encode, Encoding::Identity) | (EntityChange::AsText, _) => {
            BodyCoding::Encode
        }
    }
}

/// RFC 2045 §6.7, rule 1.
fn escaped(octet: u8) -> [u8; 3] {
    [b'=', hex(octet >> 4), hex(octet & 15)]
}

/// A digit, in upper case.
fn hex(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'A' + nibble - 10 }
}
