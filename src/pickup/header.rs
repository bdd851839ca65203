//! The header of a dropped message, completed as every message of our own users ([`crate::mail::repair`]).
//! Fields that sendmail has completed already stay. Only the server knows the rest: the domain of a name without
//! one, and whether the author is the owner of the file.

use super::author::Author;
use crate::limits::SUBMITTED_HEADER_MAX;
use crate::mail::address::{Host, Mailbox, ReversePath};
use crate::mail::repair::{Completion, Domains, HeaderTooLong, SubmittedHeader};
use crate::site::Site;
use crate::store::body::Body;
use crate::store::disk::Disk;
use crate::store::drop::NotTaken;
use crate::store::entry::Entry;
use jiff::ZonedDateTime;

/// The completed header, and where the old one ends in the dropped message. `own`: the owner's address as a
/// sender; `entry`: the envelope as it will be in the queue.
pub fn completed(
    (site, disk): (&Site, &dyn Disk),
    body: &Body,
    (author, own): (&Author, &Mailbox),
    entry: &Entry,
) -> Result<(Vec<u8>, u64), NotTaken> {
    // One octet more than a header may have, to see that it is too long.
    let head = body.head(SUBMITTED_HEADER_MAX + 1).map_err(NotTaken::Disk)?;
    let is_whole = head.len() as u64 == body.size();
    let refused = |why: HeaderTooLong| NotTaken::Refused(why.to_string());
    let header = SubmittedHeader::read(&head, is_whole).map_err(refused)?;
    let header = header.ok_or_else(|| refused(HeaderTooLong))?;
    let hostname = &site.config.hostname;
    let writers = match &own.host {
        Host::Domain(domain) => domain,
        Host::Literal(_) => hostname,
    };
    let is_own = |author_of: &Mailbox| {
        author.may_send_as(site, disk, &ReversePath::Mailbox(author_of.clone()))
    };
    let from = match &entry.sender.from {
        ReversePath::Mailbox(mailbox) => mailbox,
        ReversePath::Null => own,
    };
    let completed = header.completed(&Completion {
        date: &ZonedDateTime::now(),
        message_id: &format!("{}.{:016x}@{hostname}", entry.id, crate::id::random()),
        name: Some(&author.name),
        from: &from.to_string(),
        sender: header.wants_sender(writers, is_own).then_some(own),
        domain: Domains::Known(writers, site.config.home()),
    });
    Ok((completed, header.body_at() as u64))
}
