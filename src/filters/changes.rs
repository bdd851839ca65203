//! What filters change in a message, and what comes of it.

use super::said::Said;
use crate::config::MilterRights;
use crate::limits::FILTER_NOTES_MAX;
use crate::mail::address::{BadAddress, ForwardPath, ReversePath};
use crate::mail::changed_header::{BadNewField, ChangedHeader, NewField, is_name};
use crate::mail::edits::Edits;
use crate::mail::summary::Summary;
use crate::mail::survey::WireForm;
use crate::smtp::milter::FilterChange;
use crate::smtp::reply::{Reply, quoted};
use crate::store::body::{Body, Share};

/// What all filters together made of a message.
pub struct FilteredMessage {
    pub opinion: MessageOpinion,
    /// The message where a filter has replaced its body: another one, with the header as it is now.
    pub body: Option<ReplacedBody>,
    /// Another sender.
    pub sender: Option<ReversePath>,
    /// Recipients that filters added. Each goes where an alias target would.
    pub added: Vec<ForwardPath>,
    /// Recipients of the envelope that get no copy.
    pub removed: Vec<ForwardPath>,
    /// The message waits for a person to look at it: the filter that wants it, and why.
    pub quarantine: Option<(String, String)>,
    header: Option<ChangedHeader>,
    /// The memory of that.
    _share: Share,
    /// The last filter that removed a recipient.
    removed_by: Option<String>,
    /// All recipients, those that were added at the end; true for these.
    recipients: Vec<(ForwardPath, bool)>,
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageOpinion {
    Take,
    Refuse(Reply),
    /// Its client hears 250, and nothing is kept.
    Discard {
        filter: String,
    },
}

/// A message whose body is another than the one that was received.
pub struct ReplacedBody {
    /// The whole message: the header as filters left it, our results in it, and the body.
    pub body: Body,
    /// What its header says.
    pub summary: Summary,
    /// How it is written, without our Received.
    pub wire: WireForm,
    /// Where our Received belongs.
    pub(super) received_at: u64,
}

/// What one filter changed.
#[derive(Default)]
pub struct Done {
    fields: usize,
    recipients: usize,
    has_sender: bool,
    pub is_body_replaced: bool,
    pub quarantined: Option<String>,
    /// What was not done, and why; and how much more of it there is.
    undone: Vec<String>,
    more: usize,
}

impl FilteredMessage {
    pub(super) fn new(said: &Said, share: Share) -> FilteredMessage {
        FilteredMessage {
            opinion: MessageOpinion::Take,
            body: None,
            sender: None,
            added: Vec::new(),
            removed: Vec::new(),
            quarantine: None,
            header: None,
            _share: share,
            removed_by: None,
            recipients: said.recipients().map(|path| (path.clone(), false)).collect(),
        }
    }

    /// The message as changes of what was received, or of [`FilteredMessage::body`] where there is another one.
    /// `received`: our own fields that no filter sees; they stand below our results, else on top.
    pub fn edits(&self, received: &str) -> Edits {
        match (&self.body, &self.header) {
            (Some(body), _) => {
                Edits::default().replaced(body.received_at..body.received_at, received)
            }
            (None, Some(header)) => header.edits(received),
            (None, None) => Edits::default().on_top(received),
        }
    }

    /// Whether the header or the body are not what was received.
    pub fn is_changed(&self) -> bool {
        self.body.is_some() || self.header.as_ref().is_some_and(ChangedHeader::is_changed)
    }

    /// The fields that filters put in or changed, each with what is behind its colon.
    pub fn put_fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.header.iter().flat_map(ChangedHeader::put_fields)
    }

    /// All filters were asked. A message that they left without a recipient goes nowhere; the last filter that
    /// removed one is told of.
    pub(super) fn end(&mut self, header: ChangedHeader) {
        self.header = Some(header);
        if let (MessageOpinion::Take, [], Some(filter)) =
            (&self.opinion, &self.recipients[..], self.removed_by.take())
        {
            self.opinion = MessageOpinion::Discard { filter };
        }
        let added = self.recipients.iter().filter(|(_, is_added)| *is_added);
        self.added = added.map(|(path, _)| path.clone()).collect();
    }

    /// Does what one filter wants and may. `has_space`: its values begin with the space behind the colon.
    pub(super) fn apply(
        &mut self,
        (filter, may): (&str, MilterRights),
        has_space: bool,
        header: &mut ChangedHeader,
        changes: Vec<FilterChange>,
    ) -> Done {
        let mut done = Done::default();
        for change in changes {
            let result = match right(&change, may) {
                Some(what) => Err(format!("it wants to {what}, which it may not")),
                None => match change {
                    FilterChange::AddField { .. }
                    | FilterChange::InsertField { .. }
                    | FilterChange::ChangeField { .. } => change_header(header, change, has_space)
                        .map(|()| done.fields += 1)
                        .map_err(|(name, bad)| format!("field {}: {bad}", quoted(&name))),
                    FilterChange::Sender { path, .. } => self.change_sender(&path).map(|()| {
                        done.has_sender = true;
                    }),
                    FilterChange::AddRecipient { path, .. } => {
                        self.add_recipient(&path).map(|()| done.recipients += 1)
                    }
                    FilterChange::RemoveRecipient(path) => {
                        self.removed_by = Some(filter.to_owned());
                        self.remove_recipient(&path).map(|()| done.recipients += 1)
                    }
                    FilterChange::Quarantine(reason) => {
                        let reason = quoted(&reason);
                        self.quarantine.get_or_insert_with(|| (filter.to_owned(), reason.clone()));
                        done.quarantined = Some(reason);
                        Ok(())
                    }
                    FilterChange::Body(_) => Ok(()),
                },
            };
            if let Err(why) = result {
                done.undo(why);
            }
        }
        done
    }

    fn change_sender(&mut self, path: &[u8]) -> Result<(), String> {
        let bad = |error: &dyn std::fmt::Display| format!("sender {}: {error}", quoted(path));
        let from = match bracketed(path).as_slice() {
            b"<>" => ReversePath::Null,
            path => match ReversePath::parse(path) {
                Ok((from, [])) => from,
                Ok(_) => return Err(bad(&BadAddress::Domain)),
                Err(error) => return Err(bad(&error)),
            },
        };
        self.sender = Some(from);
        Ok(())
    }

    fn add_recipient(&mut self, path: &[u8]) -> Result<(), String> {
        let to = recipient(path)?;
        if !self.recipients.iter().any(|(known, _)| *known == to) {
            self.recipients.push((to, true));
        }
        Ok(())
    }

    /// Takes out a recipient as often as it is there.
    fn remove_recipient(&mut self, path: &[u8]) -> Result<(), String> {
        let to = recipient(path)?;
        let before = self.recipients.len();
        let was_given = self.recipients.iter().any(|(known, is_added)| *known == to && !is_added);
        self.recipients.retain(|(known, _)| *known != to);
        if was_given {
            self.removed.push(to);
        }
        match self.recipients.len() == before {
            true => Err(format!("recipient {}: it is none of this message's", quoted(path))),
            false => Ok(()),
        }
    }
}

impl Done {
    fn undo(&mut self, why: String) {
        match self.undone.len() < FILTER_NOTES_MAX {
            true => self.undone.push(why),
            false => self.more += 1,
        }
    }

    /// What was left undone, in words.
    pub fn undone(&self) -> impl Iterator<Item = String> {
        let more = (self.more > 0).then(|| format!("{} more changes", self.more));
        self.undone.iter().cloned().chain(more)
    }

    /// What was changed, in words; none where nothing was.
    pub fn in_words(&self) -> Option<String> {
        let counted = |count: usize, what: &str| match count {
            0 => None,
            1 => Some(format!("1 change of {what}")),
            _ => Some(format!("{count} changes of {what}")),
        };
        let parts = [
            counted(self.fields, "fields"),
            self.is_body_replaced.then(|| "the body".to_owned()),
            self.has_sender.then(|| "the sender".to_owned()),
            counted(self.recipients, "recipients"),
        ];
        let words: Vec<String> = parts.into_iter().flatten().collect();
        (!words.is_empty()).then(|| words.join(", "))
    }
}

/// What a filter wants that may not have it.
fn right(change: &FilterChange, may: MilterRights) -> Option<&'static str> {
    let (has, what) = match change {
        FilterChange::AddField { .. }
        | FilterChange::InsertField { .. }
        | FilterChange::ChangeField { .. } => (may.header, "change the header"),
        FilterChange::Body(_) => (may.body, "replace the body"),
        FilterChange::AddRecipient { .. } => (may.recipients, "add a recipient"),
        FilterChange::RemoveRecipient(_) => (may.recipients, "remove a recipient"),
        FilterChange::Sender { .. } => (may.sender, "change the sender"),
        FilterChange::Quarantine(_) => (may.quarantine, "hold the message"),
    };
    (!has).then_some(what)
}

fn change_header(
    header: &mut ChangedHeader,
    change: FilterChange,
    has_space: bool,
) -> Result<(), (Vec<u8>, BadNewField)> {
    let new = |name: &[u8], value: &[u8]| NewField::new(name, value, has_space);
    let (name, result) = match change {
        FilterChange::AddField { name, value } => {
            let result = new(&name, &value).and_then(|field| header.add(field));
            (name, result)
        }
        FilterChange::InsertField { at, name, value } => {
            let result = new(&name, &value).and_then(|field| header.insert(at, field));
            (name, result)
        }
        FilterChange::ChangeField { at, name, value } if value.is_empty() => {
            let result = is_name(&name).then(|| header.delete(at, &name)).ok_or(BadNewField::Name);
            (name, result)
        }
        FilterChange::ChangeField { at, name, value } => {
            let result = new(&name, &value).and_then(|field| header.change(at, field));
            (name, result)
        }
        FilterChange::Sender { .. }
        | FilterChange::AddRecipient { .. }
        | FilterChange::RemoveRecipient(_)
        | FilterChange::Body(_)
        | FilterChange::Quarantine(_) => return Ok(()),
    };
    result.map_err(|bad| (name, bad))
}

/// A path with its brackets, which not all filters write.
fn bracketed(path: &[u8]) -> Vec<u8> {
    let path = path.trim_ascii();
    if path.starts_with(b"<") { path.to_vec() } else { [b"<", path, b">"].concat() }
}

fn recipient(path: &[u8]) -> Result<ForwardPath, String> {
    let found = match ForwardPath::parse(&bracketed(path)) {
        Ok((to, [])) => Ok(to),
        Ok(_) => Err(BadAddress::Domain),
        Err(error) => Err(error),
    };
    found.map_err(|error| format!("recipient {}: {error}", quoted(path)))
}
