//! Gathers of a message, while it passes by, what its proof needs: the header, and hashes of the body in the
//! forms that the header's signatures name. Pure.
//!
//! A [`MessageListener`] of [`mail::header`](crate::mail::header), which decides what a field is and where the body
//! begins. Keeps the header, which its reader bounds, and of each field where it lies; of the body nothing.

use crate::mail::header::{Field, FieldPlaces, MessageEvent, MessageListener};
use crate::mail::proof::arc::{self, ArcChain};
use crate::mail::proof::canonical::{BodyHasher, BodyHashes};
use crate::mail::proof::dkim::{self, DkimSignature};
use crate::mail::proof::dmarc::{Authors, NoAuthors, authors};
use crate::mail::proof::name::Name;
use crate::mail::proof::raw::RawField;

/// Which signatures are looked at.
#[derive(Clone, Copy, Debug)]
pub struct SignaturesWanted {
    pub dkim: bool,
    pub arc: bool,
}

/// Hears a message.
pub struct Gatherer {
    wanted: SignaturesWanted,
    header: Vec<u8>,
    places: FieldPlaces,
    /// From the end of the header on.
    read: Option<ReadHeader>,
}

/// What the header says.
struct ReadHeader {
    authors: Result<Authors, NoAuthors>,
    signatures: Option<Vec<DkimSignature>>,
    chain: Option<ArcChain>,
    hasher: BodyHasher,
}

/// All that a proof needs of a message.
pub struct Gathered {
    header: Vec<u8>,
    places: FieldPlaces,
    /// From whom the message says it is.
    pub authors: Result<Authors, NoAuthors>,
    /// In the order of the header; none where they are not wanted.
    pub signatures: Option<Vec<DkimSignature>>,
    /// None where it is not wanted.
    pub chain: Option<ArcChain>,
    pub hashes: BodyHashes,
}

impl Gatherer {
    pub fn new(wanted: SignaturesWanted) -> Gatherer {
        Gatherer { wanted, header: Vec::new(), places: FieldPlaces::default(), read: None }
    }

    /// The message is over, and its reader has told all.
    pub fn finish(mut self) -> Gathered {
        let read = self.read.take().unwrap_or_else(|| self.read_header());
        Gathered {
            header: self.header,
            places: self.places,
            authors: read.authors,
            signatures: read.signatures,
            chain: read.chain,
            hashes: read.hasher.finish(),
        }
    }

    fn read_header(&self) -> ReadHeader {
        let fields = fields(&self.header, &self.places);
        let from = fields.iter().filter(|field| field.is("From"));
        let from: Vec<&[u8]> = from.map(|field| field.value()).collect();
        let authors = authors(&from);
        let signatures = self.wanted.dkim.then(|| dkim::read(&fields, domains(&authors)));
        let chain = self.wanted.arc.then(|| arc::read(&fields));
        let mut forms = signatures.as_deref().map(dkim::forms).unwrap_or_default();
        forms.extend(chain.as_ref().and_then(ArcChain::form));
        ReadHeader { authors, signatures, chain, hasher: BodyHasher::new(&forms) }
    }
}

impl MessageListener for Gatherer {
    fn hear(&mut self, event: MessageEvent<'_>) {
        self.places.hear(event);
        match event {
            MessageEvent::Header(octets) => self.header.extend_from_slice(octets),
            MessageEvent::End(_) => self.read = Some(self.read_header()),
            MessageEvent::Body(octets) => {
                if let Some(read) = &mut self.read {
                    read.hasher.feed(octets);
                }
            }
            MessageEvent::Field { .. } | MessageEvent::Value(_) | MessageEvent::FieldEnd(_) => {}
        }
    }
}

impl Gathered {
    /// The fields of the header, in their order.
    pub fn fields(&self) -> Vec<RawField<'_>> {
        fields(&self.header, &self.places)
    }

    /// Of the authors; none where they cannot be told.
    pub fn domains(&self) -> &[Name] {
        domains(&self.authors)
    }
}

fn domains(authors: &Result<Authors, NoAuthors>) -> &[Name] {
    authors.as_ref().map_or(&[][..], |authors| &authors.domains)
}

fn fields<'a>(header: &'a [u8], places: &FieldPlaces) -> Vec<RawField<'a>> {
    let raw = |field: Field<'a>| RawField { name: field.name, whole: field.lines };
    places.fields(header).map(raw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::header::Reader;

    fn gathered(text: &[u8], step: usize) -> Gathered {
        let mut reader = Reader::new(Gatherer::new(SignaturesWanted { dkim: true, arc: true }));
        text.chunks(step).for_each(|piece| reader.feed(piece));
        reader.finish().0.finish()
    }

    #[test]
    fn fields_and_hashes_are_the_same_however_the_octets_come() {
        let text =
            b"DKIM-Signature: v=1; a=rsa-sha256; d=a.test; s=s; h=from; c=simple/relaxed;\n \
            bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\nFrom : ann@a.test\nX:\n y\n\n\
            a  b \nc\n\n\n";
        let whole = gathered(text, text.len());
        let names: Vec<&[u8]> = whole.fields().iter().map(|field| field.name).collect();
        assert_eq!(names, [&b"DKIM-Signature"[..], b"From", b"X"]);
        assert_eq!(whole.fields()[2].whole, b"X:\n y\n");
        let form = whole.signatures.as_ref().unwrap()[0]
            .parsed
            .as_ref()
            .map(|parsed| parsed.body_form)
            .unwrap();
        let hash = whole.hashes.get(form).unwrap();
        assert_eq!(hash.octets, "a b\r\nc\r\n".len() as u64);
        for step in 1..text.len() {
            let pieces = gathered(text, step);
            assert_eq!((pieces.fields(), pieces.hashes.get(form)), (whole.fields(), Some(hash)));
        }
        // Without an end of the header, and without anything.
        assert_eq!(gathered(b"From: ann@a.test", 3).authors.unwrap().domains.len(), 1);
        assert!(gathered(b"", 1).authors.is_err());
    }
}
