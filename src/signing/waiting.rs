//! Messages in the queue that a key has signed: as long as one waits, the record of the key is needed.

use crate::mail::address::Domain;
use crate::mail::proof::name::Name;
use crate::store::disk::StoreError;
use crate::store::entry::EntrySignature;
use crate::store::queue::Queue;

/// How many messages wait that a key has signed. Reads every file of the queue, so it is for commands alone. A file that
/// cannot be read is none that will be sent.
pub fn signed_by(queue: &Queue, domain: &Domain, selector: &Name) -> Result<usize, StoreError> {
    let is_signed = |id: &String| {
        let signature = queue.read(id).map(|message| message.entry.signature);
        matches!(signature, Ok(EntrySignature::By(by)) if by.has(domain, selector))
    };
    Ok(queue.list()?.iter().filter(|id| is_signed(id)).count())
}
