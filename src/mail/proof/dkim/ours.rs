//! A message of ours before it is signed: its header as it leaves, its authors, the hash of its body, and which of
//! its signatures are ours already. Pure.
//!
//! All are [`MessageListener`]s of [`mail::header`](crate::mail::header): what a verifier will read below our
//! fields is what is signed here.

use super::field::named;
use super::sign::BODY;
use crate::limits::FROM_ADDRESSES_MAX;
use crate::limits::trust::AUTHORS_MAX;
use crate::mail::address::{Domain, Host, Mailbox};
use crate::mail::header::{Field, FieldPlaces, MessageEvent, MessageListener};
use crate::mail::proof::canonical::{BodyHash, BodyHasher};
use crate::mail::proof::dmarc::{NoAuthors, authors};
use crate::mail::proof::name::Name;
use crate::mail::proof::raw::RawField;
use crate::mail::repair::mailboxes;
use crate::mail::tags::Tags;
use std::fmt;
use std::ops::Range;

/// By whom a message of ours is signed. As a queue file says it: `example.org 20261201r 20261201e`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedBy {
    /// `d=`.
    pub domain: Name,
    /// `s=` of each signature, at least one.
    pub selectors: Vec<Name>,
}

impl SignedBy {
    /// Reads what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<SignedBy> {
        let mut names = text.split(' ').map(|word| Name::parse(word.as_bytes()));
        let domain = names.next()??;
        let selectors: Vec<Name> = names.collect::<Option<_>>()?;
        (!selectors.is_empty()).then_some(SignedBy { domain, selectors })
    }

    /// Whether a key of this domain and selector is one of those.
    pub fn has(&self, domain: &Domain, selector: &Name) -> bool {
        self.domain.to_string() == domain.as_str() && self.selectors.contains(selector)
    }
}

impl fmt::Display for SignedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.domain)?;
        self.selectors.iter().try_for_each(|selector| write!(f, " {selector}"))
    }
}

/// Keeps the header of a message that is to be signed.
#[derive(Default)]
pub struct OwnHeader {
    octets: Vec<u8>,
    places: FieldPlaces,
}

impl MessageListener for OwnHeader {
    fn hear(&mut self, event: MessageEvent<'_>) {
        self.places.hear(event);
        if let MessageEvent::Header(octets) = event {
            self.octets.extend_from_slice(octets);
        }
    }
}

/// Hashes a body that is to be signed.
pub struct OwnBody(BodyHasher);

impl Default for OwnBody {
    fn default() -> OwnBody {
        OwnBody(BodyHasher::new(&[BODY]))
    }
}

impl OwnBody {
    /// The message is over.
    pub fn finish(self) -> Option<BodyHash> {
        self.0.finish().get(BODY)
    }
}

impl MessageListener for OwnBody {
    fn hear(&mut self, event: MessageEvent<'_>) {
        if let MessageEvent::Body(octets) = event {
            self.0.feed(octets);
        }
    }
}

/// Who wrote a message, as every reader of it sees that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnAuthors {
    /// Each address of the one From field, each with a domain.
    pub mailboxes: Vec<Mailbox>,
    /// Their domains, each once, in ASCII.
    pub domains: Vec<Name>,
}

/// Why nobody can be said to have written a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAuthor {
    /// Several From fields: which one is shown is the reader's choice.
    SeveralFields,
    From(NoAuthors),
    /// Programs that show mail may read another address in From than we do.
    Ambiguous,
}

impl fmt::Display for NoAuthor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoAuthor::SeveralFields => f.write_str("there are several From fields"),
            NoAuthor::From(why) => why.fmt(f),
            NoAuthor::Ambiguous => f.write_str("From can be read in several ways"),
        }
    }
}

impl OwnHeader {
    fn all(&self) -> impl Iterator<Item = Field<'_>> {
        self.places.fields(&self.octets)
    }

    /// The fields, in their order.
    pub fn fields(&self) -> Vec<RawField<'_>> {
        self.all().map(|field| RawField { name: field.name, whole: field.lines }).collect()
    }

    /// The authors. From is read in both ways that there are here, that of a writer's program and that of a
    /// verifier, and they have to agree.
    pub fn authors(&self) -> Result<OwnAuthors, NoAuthor> {
        let from: Vec<&[u8]> =
            self.all().filter(|field| field.is("From")).map(|field| field.value).collect();
        let read = authors(&from).map_err(NoAuthor::From)?;
        let [value] = from[..] else { return Err(NoAuthor::SeveralFields) };
        let found = mailboxes(value, FROM_ADDRESSES_MAX).map_err(|_| NoAuthor::Ambiguous)?;
        let mut domains: Vec<Name> = Vec::new();
        for mailbox in &found {
            let domain = domain_of(mailbox).ok_or(NoAuthor::Ambiguous)?;
            if !domains.contains(&domain) {
                domains.push(domain);
            }
        }
        match domains.len() <= AUTHORS_MAX && domains == read.domains {
            true => Ok(OwnAuthors { mailboxes: found, domains }),
            false => Err(NoAuthor::Ambiguous),
        }
    }

    /// Where the signatures by these keys lie, in octets from the start of the message.
    pub fn signatures(&self, by: &SignedBy) -> Vec<Range<u64>> {
        let is_its = |field: &Field<'_>| {
            let Ok(tags) = Tags::read(field.value) else { return false };
            let (domain, selector) = named(&tags);
            domain.as_ref() == Some(&by.domain)
                && selector.is_some_and(|selector| by.selectors.contains(&selector))
        };
        let its = self.all().filter(|field| field.is("DKIM-Signature") && is_its(field));
        its.map(|field| field.at as u64..(field.at + field.lines.len()) as u64).collect()
    }
}

fn domain_of(mailbox: &Mailbox) -> Option<Name> {
    match &mailbox.host {
        Host::Domain(domain) => Name::of_unicode(Domain::as_str(domain).as_bytes()),
        Host::Literal(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::header::Reader;

    fn header(text: &str) -> OwnHeader {
        let mut reader = Reader::new(OwnHeader::default());
        reader.feed(text.as_bytes());
        reader.finish().0
    }

    #[test]
    fn authors_that_all_read_alike() {
        for (from, mailboxes, domains) in [
            ("From: ann@a.test\n", "ann@a.test", "a.test"),
            ("From: \"Smith, Ann\" <Ann@A.Test> (x)\n", "Ann@a.test", "a.test"),
            ("From: ann@a.test,\n bob@a.test\n", "ann@a.test bob@a.test", "a.test"),
            ("From: ann@a.test, bob@b.test\n", "ann@a.test bob@b.test", "a.test b.test"),
            ("From: Us: ann@a.test;\n", "ann@a.test", "a.test"),
        ] {
            let found = header(from).authors().unwrap();
            let text: Vec<String> = found.mailboxes.iter().map(Mailbox::to_string).collect();
            let names: Vec<String> = found.domains.iter().map(Name::to_string).collect();
            assert_eq!((text.join(" "), names.join(" ")), (mailboxes.into(), domains.into()));
        }
    }

    #[test]
    fn authors_that_nobody_can_vouch_for() {
        for from in [
            "",
            "Subject: x\n",
            "From:\n",
            "From: ann\n",
            "From: ann@[192.0.2.1]\n",
            "From: ann@a.test\nFrom: ann@a.test\n",
            "From: ann@a.test\nFROM : bob@b.test\n",
            "From: ann@a.test <bob@b.test>\n",
            "From: ann@a.test <bob@a.test>\n",
            "From: <@c.test:ann@a.test>\n",
            "From: Smith, John <john@a.test>\n",
            "From: <ann@a.test> <bob@a.test>\n",
            "From: ann@a.test bob@b.test\n",
            "From: \"x\n",
            " From: ann@a.test\n",
        ] {
            assert!(header(from).authors().is_err(), "{from:?} {:?}", header(from).authors());
        }
    }

    #[test]
    fn signatures_of_ours() {
        let by = SignedBy::parse("a.test r e").unwrap();
        let text = "DKIM-Signature: v=1; d=A.test; s=r; b=x\nX: y\nDkim-signature: s=e;\n d=a.test\n\
                    DKIM-Signature: d=a.test; s=other\nDKIM-Signature: d=b.test; s=r\n\
                    DKIM-Signature: none\n\nDKIM-Signature: d=a.test; s=r\n";
        let found = header(text).signatures(&by);
        let found: Vec<&str> =
            found.iter().map(|at| &text[at.start as usize..at.end as usize]).collect();
        assert_eq!(
            found,
            ["DKIM-Signature: v=1; d=A.test; s=r; b=x\n", "Dkim-signature: s=e;\n d=a.test\n"]
        );
    }

    #[test]
    fn it_is_written_and_read() {
        for text in ["a.test r", "example.org 20261201r 20261201e"] {
            assert_eq!(SignedBy::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "a.test", "a.test ", "a.test r  e", " r", ".. r"] {
            assert!(SignedBy::parse(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn whose_key_it_was() {
        let domain = Domain::parse("mx.test").unwrap();
        let selector = Name::parse(b"b").unwrap();
        let is_named =
            |text: &str| SignedBy::parse(text).is_some_and(|by| by.has(&domain, &selector));
        for text in ["mx.test b", "mx.test a b"] {
            assert!(is_named(text), "{text}");
        }
        for text in ["a.mx.test b", "mx.test bb", "mx.test", ""] {
            assert!(!is_named(text), "{text}");
        }
    }
}
