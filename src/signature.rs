//! Signs messages of ours (RFC 6376) as their last edit: users', those of `relay.networks` and of programs of this
//! machine, and our notices. Which keys sign for a domain is decided by [`signing`](crate::signing).
//!
//! A stranger's message never comes here. What is signed is the message as it leaves, below our trace fields: its
//! header is read from the view by the one reader, and the hash of its body is taken from the pass in which the
//! octets came, where no edit has touched them since; else the view is read for it.

use crate::event::{Event, tell};
use crate::limits::OWN_HEADER_MAX;
use crate::mail::address::{Domain, Mailbox};
use crate::mail::header::{HeaderEnd, Reader};
use crate::mail::proof::canonical::BodyHash;
use crate::mail::proof::dkim::ours::{OwnAuthors, OwnBody, OwnHeader, SignedBy};
use crate::mail::proof::dkim::sign::{CannotSign, Signer, sign};
use crate::mail::proof::name::Name;
use crate::mail::proof::raw::RawHeader;
use crate::signing::Choice;
use crate::site::Site;
use crate::store::entry::EntrySignature;
use crate::store::keys::DomainKey;
use jiff::Timestamp;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// Takes the next octets of a message, and says whether it wants more.
pub type TakeOctets<'a> = dyn FnMut(&[u8]) -> ControlFlow<()> + 'a;

/// Reads a message as it leaves, from its beginning.
pub type OwnView<'a, E> = dyn Fn(&mut TakeOctets<'_>) -> Result<(), E> + 'a;

/// Whether an address is the writer's own.
pub type IsOwn<'a, E> = dyn Fn(&Mailbox) -> Result<bool, E> + 'a;

/// A message of ours, and what is known of it.
pub struct OwnMessage<'a, E> {
    /// With our trace fields on top.
    pub view: &'a OwnView<'a, E>,
    /// A user's message is signed only where each of its authors is the user; none: whoever the author is.
    pub is_own: Option<&'a IsOwn<'a, E>>,
    /// The hash of a body, and where in the view that body begins.
    pub body: Option<(BodyHash, u64)>,
}

/// What became of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// These fields go above the message, below our trace fields.
    Signed { fields: String, by: SignedBy },
    /// The message leaves without, for this reason.
    Unsigned(String),
    /// A key of this domain cannot be had now, for this reason: the message must not leave without.
    Later { domain: Domain, why: String },
}

impl Signature {
    /// The fields to put on top; empty where there are none.
    pub fn fields(&self) -> &str {
        match self {
            Signature::Signed { fields, .. } => fields,
            Signature::Unsigned(_) | Signature::Later { .. } => "",
        }
    }

    /// As the queue has it.
    pub fn in_queue(&self) -> EntrySignature {
        match self {
            Signature::Signed { by, .. } => EntrySignature::By(by.clone()),
            Signature::Unsigned(_) => EntrySignature::None,
            Signature::Later { .. } => EntrySignature::Owed,
        }
    }

    /// Tells log and trace.
    pub fn tell(&self, id: &str) {
        let join =
            |by: &SignedBy| by.selectors.iter().map(Name::to_string).collect::<Vec<_>>().join(",");
        match self {
            Signature::Signed { by, .. } => tell(&Event::Signed {
                id,
                domain: Some(&by.domain.to_string()),
                selectors: &join(by),
                reason: "",
            }),
            Signature::Unsigned(reason) => {
                tell(&Event::Signed { id, domain: None, selectors: "", reason });
            }
            Signature::Later { domain, why } => tell(&Event::Signed {
                id,
                domain: Some(&domain.to_string()),
                selectors: "",
                reason: why,
            }),
        }
    }
}

impl<'a, E> OwnMessage<'a, E> {
    /// A message whose author may be anybody of ours, and whose body was not hashed yet.
    pub fn new(view: &'a OwnView<'a, E>) -> OwnMessage<'a, E> {
        OwnMessage { view, is_own: None, body: None }
    }
}

/// What is changed in a message of ours that was signed, when its octets are others now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Anew {
    /// Fields to put on top.
    pub top: String,
    /// Where the old signatures lie, in octets from the start of the message.
    pub old: Vec<Range<u64>>,
}

/// Signs messages of ours anew, once their octets have been converted for a next hop.
pub struct Resigner<'a> {
    pub site: &'a Site,
    /// By whom the message was signed before.
    pub by: &'a SignedBy,
}

impl Resigner<'_> {
    /// Signs the message as it is now. The inner error: why it has to wait.
    pub fn anew<E>(&self, view: &OwnView<'_, E>) -> Result<Result<Anew, String>, E> {
        let (header, _) = header_of(view)?;
        let old = header.signatures(self.by);
        Ok(match signature_at_attempt(self.site, &OwnMessage::new(view))? {
            Some(Signature::Later { why, .. }) => Err(why),
            Some(Signature::Signed { fields: top, .. }) => Ok(Anew { top, old }),
            Some(Signature::Unsigned(_)) | None => Ok(Anew { top: String::new(), old }),
        })
    }
}

/// The status of a message that waits for a key (RFC 3463 §3.8, cryptographic failure), and how its words begin.
pub const NO_KEY_STATUS: &str = "4.7.5";
pub const NO_KEY_WORDS: &str = "it cannot be signed now: ";

/// Signs a message of ours; none where no domain of this site has keys, and nothing is asked.
///
/// Fails where the message cannot be read, or whose an author's address is cannot be found out.
pub fn signature<E>(site: &Site, message: &OwnMessage<'_, E>) -> Result<Option<Signature>, E> {
    if site.signing().is_off() {
        return Ok(None);
    }
    let (header, end) = header_of(message.view)?;
    let authors = match header.authors() {
        Ok(authors) => authors,
        Err(why) => return Ok(Some(Signature::Unsigned(why.to_string()))),
    };
    if let Some(is_own) = message.is_own {
        for author in &authors.mailboxes {
            if !is_own(author)? {
                let why = format!("From is {author}, which is not the sender's own address");
                return Ok(Some(Signature::Unsigned(why)));
            }
        }
    }
    let (domain, keys) = match keys_for(site, &authors) {
        Ok(found) => found,
        Err(without) => return Ok(Some(without)),
    };
    let body = match message.body {
        Some((hash, at)) if at == end.body_at => Some(hash),
        _ => hash_of(message.view)?,
    };
    Ok(Some(signed(&header, body, domain, &keys)))
}

/// The same where a message waited for its key, and there is time: the keys are read again before it waits on.
pub fn signature_at_attempt<E>(
    site: &Site,
    message: &OwnMessage<'_, E>,
) -> Result<Option<Signature>, E> {
    match signature(site, message)? {
        Some(Signature::Later { domain, .. }) => {
            site.signing().read_again(&domain);
            signature(site, message)
        }
        known => Ok(known),
    }
}

/// The header as it leaves, and where it ends.
fn header_of<E>(view: &OwnView<'_, E>) -> Result<(OwnHeader, HeaderEnd), E> {
    let mut reader = Reader::bounded(OwnHeader::default(), OWN_HEADER_MAX);
    view(&mut |octets| {
        reader.feed(octets);
        match reader.end() {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    })?;
    Ok(reader.finish())
}

/// The hash of the body as it leaves.
fn hash_of<E>(view: &OwnView<'_, E>) -> Result<Option<BodyHash>, E> {
    let mut reader = Reader::bounded(OwnBody::default(), OWN_HEADER_MAX);
    view(&mut |octets| {
        reader.feed(octets);
        ControlFlow::Continue(())
    })?;
    Ok(reader.finish().0.finish())
}

/// The domain that signs for all authors, and its keys.
fn keys_for(site: &Site, authors: &OwnAuthors) -> Result<(Domain, Vec<Arc<DomainKey>>), Signature> {
    let mut found: Option<(Domain, Choice)> = None;
    for author in &authors.domains {
        let named = Domain::parse(&author.to_string()).ok();
        let Some((domain, choice)) = named.and_then(|author| site.signing().of(&author)) else {
            return Err(Signature::Unsigned(format!("{author} has no keys here")));
        };
        match &found {
            Some((first, _)) if *first != domain => {
                let why = format!("From names authors of {first} and of {domain}");
                return Err(Signature::Unsigned(why));
            }
            _ => found = Some((domain, choice)),
        }
    }
    match found {
        None => Err(Signature::Unsigned("nobody is its author".to_owned())),
        Some((domain, Choice::Sign(keys))) => Ok((domain, keys)),
        Some((domain, Choice::Unsigned(why))) => {
            Err(Signature::Unsigned(format!("{domain}: {why}")))
        }
        Some((domain, Choice::Wait(why))) => {
            // With the files that cannot be read.
            let words = std::iter::once(why).chain(site.signing().faults(&domain));
            let why = format!("{domain}: {}", words.collect::<Vec<_>>().join("; "));
            Err(Signature::Later { domain, why })
        }
    }
}

fn signed(
    header: &OwnHeader,
    body: Option<BodyHash>,
    signer: Domain,
    keys: &[Arc<DomainKey>],
) -> Signature {
    let fields = header.fields();
    let header = RawHeader::new(&fields);
    let time = u64::try_from(Timestamp::now().as_second()).unwrap_or(0);
    let (domain, body) = (Name::parse(signer.as_str().as_bytes()), body.ok_or(CannotSign));
    let all = domain.ok_or(CannotSign).and_then(|domain| {
        let body = body?;
        let one = |key: &Arc<DomainKey>| {
            let signer = Signer { key: &key.key, domain: &domain, selector: &key.selector };
            sign(&signer, &header, &body, time)
        };
        let fields = keys.iter().map(one).collect::<Result<String, CannotSign>>()?;
        let selectors = keys.iter().map(|key| key.selector.clone()).collect();
        Ok(Signature::Signed { fields, by: SignedBy { domain, selectors } })
    });
    all.unwrap_or_else(|why| Signature::Later { why: format!("{signer}: {why}"), domain: signer })
}
