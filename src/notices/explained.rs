//! Notices about mail that a next hop refused for what our own records say: they add what DNS says of us at
//! this moment ([`crate::records::explain`]), because the reader can mend that and the next hop says little.
//!
//! Asks in the thread of a worker that has time, never for a session or a command. What was found is taken
//! for other notices of the next minute, so that a thousand refusals cost a few questions.

use super::{Addressed, NoticeContext, NoticeItem};
use crate::limits::records::{
    EXPLAIN_AUTHORS_MAX, EXPLAIN_FROM_MAX, EXPLAIN_KEEP, EXPLAIN_KEPT_MAX,
};
use crate::mail::address::{Domain, Host, ReversePath};
use crate::mail::dsn::NoticeAction;
use crate::mail::header::Header;
use crate::mail::proof::dmarc::authors;
use crate::outcome::RecipientOutcome;
use crate::records::{self, RefusedSender, is_about_records};
use crate::store::entry::{Entry, What};
use crate::store::locked;
use std::cell::LazyCell;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Instant;

/// What was found out lately about senders, shared by all workers. Its lock is not held while DNS is asked.
#[derive(Default)]
pub struct SeenRecords(Mutex<VecDeque<SeenSender>>);

struct SeenSender {
    when: Instant,
    sender: RefusedSender,
    sentences: Vec<String>,
}

impl SeenRecords {
    /// What is known of a sender, or else what `find` finds out.
    fn get_or_find(
        &self,
        sender: &RefusedSender,
        find: impl FnOnce() -> Vec<String>,
    ) -> Vec<String> {
        let known = {
            let mut all = locked(&self.0);
            all.retain(|seen| seen.when.elapsed() < EXPLAIN_KEEP);
            let known = all.iter().find(|seen| seen.sender == *sender);
            known.map(|seen| seen.sentences.clone())
        };
        known.unwrap_or_else(|| {
            let sentences = find();
            let (when, sender) = (Instant::now(), sender.clone());
            let mut all = locked(&self.0);
            all.push_back(SeenSender { when, sender, sentences: sentences.clone() });
            if all.len() > EXPLAIN_KEPT_MAX {
                all.pop_front();
            }
            sentences
        })
    }
}

/// Outcomes of which nobody waits for DNS, then those that may wait: all failures, where one of them is to be
/// explained. All of them are in the second part where that makes no difference.
pub fn apart(outcomes: Vec<RecipientOutcome>) -> (Vec<RecipientOutcome>, Vec<RecipientOutcome>) {
    let asks = outcomes.iter().any(is_to_explain);
    outcomes.into_iter().partition(|outcome| asks && outcome.what != What::Failed)
}

fn is_to_explain(outcome: &RecipientOutcome) -> bool {
    let (reply, ..) = outcome.for_sender();
    outcome.what == What::Failed && reply.is_some_and(is_about_records)
}

/// Finds out what our records say, for each recipient that was refused for them.
pub(super) fn explain(
    context: &NoticeContext<'_>,
    entry: &Entry,
    header: &[u8],
    addressed: &mut Addressed<'_>,
) {
    let Some(seen) = context.seen else { return };
    let is_its = |item: &&mut NoticeItem<'_>| {
        item.action == NoticeAction::Failed && is_to_explain(item.outcome)
    };
    let authors = LazyCell::new(|| authors_of(header));
    let items = addressed.values_mut().flat_map(|(_, items)| items);
    for item in items.filter(is_its) {
        let sender = RefusedSender {
            from: from(context, entry, item.outcome.recipient),
            authors: authors.clone(),
            local: item.outcome.local,
            signature: entry.signature.clone(),
        };
        item.seen = seen.get_or_find(&sender, || records::explain(context.site, &sender));
    }
}

/// The domain that was in MAIL for this recipient: that of the alias where one sent the mail on (SRS).
fn from(context: &NoticeContext<'_>, entry: &Entry, recipient: usize) -> Domain {
    let via = entry.recipients[recipient].via.as_ref();
    let host = match &entry.sender.from {
        ReversePath::Null => None,
        ReversePath::Mailbox(sender) => Some(&via.unwrap_or(sender).host),
    };
    match host {
        Some(Host::Domain(domain)) => domain.clone(),
        Some(Host::Literal(_)) | None => context.site.config.hostname.clone(),
    }
}

/// The domains in From, as far as they can be read.
fn authors_of(header: &[u8]) -> Vec<Domain> {
    let header = Header::read(header);
    let fields: Vec<Vec<u8>> =
        header.named("From").map(|field| field.unfolded(EXPLAIN_FROM_MAX)).collect();
    let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
    let authors = authors(&fields).map(|authors| authors.domains).unwrap_or_default();
    let domains = authors.iter().filter_map(|name| Domain::parse(&name.to_string()).ok());
    domains.take(EXPLAIN_AUTHORS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::entry::What;

    fn outcome(what: What, words: &str) -> RecipientOutcome {
        let own = RecipientOutcome::own(0, what, "5.7.1", words);
        RecipientOutcome { host: "mx.far.test[192.0.2.1]:25".to_owned(), ..own }
    }

    #[test]
    fn what_may_wait_is_apart() {
        let refused = || outcome(What::Failed, "550 5.7.23 SPF fail\n(RCPT)");
        let unknown = || outcome(What::Failed, "550 5.1.1 nobody\n(RCPT)");
        let relayed = || outcome(What::Relayed, "250 2.0.0 ok");
        let whats = |outcomes: Vec<RecipientOutcome>| {
            let (first, last) = apart(outcomes);
            [first, last].map(|part| part.into_iter().map(|one| one.what).collect::<Vec<_>>())
        };
        let (failed, carried) = (What::Failed, What::Relayed);
        assert_eq!(whats(vec![relayed(), unknown()]), [vec![], vec![carried, failed]]);
        let apart = whats(vec![refused(), relayed(), unknown()]);
        assert_eq!(apart, [vec![carried], vec![failed, failed]]);
        // Our own words are about no record, whatever they say.
        assert!(!is_to_explain(&RecipientOutcome::own(0, failed, "5.7.23", "SPF")));
    }

    #[test]
    fn a_sender_is_looked_at_once_a_minute() {
        let seen = SeenRecords::default();
        let sender = |from: &str| RefusedSender {
            from: Domain::parse(from).unwrap(),
            authors: Vec::new(),
            local: None,
            signature: Default::default(),
        };
        assert_eq!(seen.get_or_find(&sender("a.test"), || vec!["one".to_owned()]), ["one"]);
        assert_eq!(seen.get_or_find(&sender("a.test"), || panic!()), ["one"]);
        assert_eq!(seen.get_or_find(&sender("b.test"), Vec::new), [""; 0]);
        assert_eq!(seen.get_or_find(&sender("b.test"), || panic!()), [""; 0]);
        for at in 0..2 * EXPLAIN_KEPT_MAX {
            seen.get_or_find(&sender(&format!("c{at}.test")), Vec::new);
        }
        assert_eq!(locked(&seen.0).len(), EXPLAIN_KEPT_MAX);
    }

    #[test]
    fn authors_are_read_from_the_header() {
        let names = |header: &str| {
            let all = authors_of(header.as_bytes());
            all.iter().map(Domain::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names("From: Ann\n <ann@A.test>\nTo: bob@b.test\n\n"), ["a.test"]);
        assert_eq!(names("To: bob@b.test\n\n"), [""; 0]);
        assert_eq!(names("From: a@a.test, b@b.test, c@c.test\n\n"), ["a.test", "b.test"]);
    }
}
