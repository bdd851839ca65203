//! Why a message waits, and what ends that.
//!
//! Pure, and computed from the queue in the same way as due times: a command finds the reason without
//! asking the server.

use super::plan::{Goal, parts};
use crate::config::Relay;
use crate::retry::{self, expires};
use crate::signature::{NO_KEY_STATUS, NO_KEY_WORDS};
use crate::site::Site;
use crate::smtp::client::{OWED_BY, Step};
use crate::store::disk::{LOCAL_TROUBLE, MAILBOX_FULL, NO_ROOM};
use crate::store::entry::{JournalLine, Quarantine, RecipientProgress};
use crate::store::queue::QueuedMessage;
use jiff::Timestamp;
use std::fmt;

/// Why a message waits, or that it is being sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// A worker or a command has claimed its file.
    Sending,
    /// No server runs on this spool.
    NoServer,
    /// A filter holds it.
    Quarantined(Quarantine),
    /// The server may not read or write its file. `remedy`: what would help.
    Unreadable { words: String, remedy: String },
    /// The last attempt is to be repeated. `after`: how it ended.
    Repeats { until: Timestamp, after: String },
    /// Its next hop could not be reached, by this or another message, and is left alone.
    BacksOff { goal: Goal, until: Timestamp, because: String },
    /// No name server says where its domain's mail goes.
    NoDns { until: Timestamp, words: String },
    /// Its next hop does not show the TLS that it owes, or DNS does not say what it owes.
    Owed { until: Timestamp, words: String },
    /// A key cannot be read without which it must not leave.
    Key { until: Timestamp, words: String },
    /// A mailbox here cannot be written.
    Maildir { mailbox: String, until: Timestamp, words: String },
    /// Due, but not the first: `before` messages are due for the same goal before it.
    Behind { goal: Goal, before: usize },
    /// Due, and the first for its goal: it can only wait for a thread of the relay pool.
    Next { goal: Goal },
    /// No recipient is left: only its file has to be removed.
    Done,
}

/// A reason, and the recipients that wait for it.
#[derive(Debug)]
pub struct Why {
    pub reason: WaitReason,
    /// Recipients with this reason, by their place in the envelope.
    pub recipients: Vec<usize>,
    /// When the message goes back to its sender; none: never, as it is now.
    pub expires: Option<Timestamp>,
}

/// Why a message waits that no process has claimed and a server knows. `count` counts the messages of the
/// queue that fit; it is called only when this message is due.
pub fn why(
    site: &Site,
    waiting: &QueuedMessage,
    now: Timestamp,
    count: impl FnOnce(&dyn Fn(&QueuedMessage) -> bool) -> usize,
) -> Why {
    if let Some(quarantine) = waiting.quarantine() {
        let reason = WaitReason::Quarantined(quarantine.clone());
        return Why { reason, recipients: waiting.open().collect(), expires: None };
    }
    let relay = &site.config.relay;
    let open = waiting.open();
    let expires = open.map(|index| expires(&waiting.entry, &waiting.progress[index], relay, now));
    let expires = expires.min().unwrap_or_else(|| retry::later(waiting.entry.queued, relay.expire));
    let expires = Some(expires);
    let mut parts = parts(site, waiting);
    // The part that is due first decides when something happens.
    parts.sort_by_key(|part| part.due);
    let Some(part) = parts.into_iter().next() else {
        return Why { reason: WaitReason::Done, recipients: Vec::new(), expires };
    };
    let is_its = |index: &usize| Goal::of_recipient(site, &waiting.entry, *index) == part.goal;
    let recipients: Vec<usize> = waiting.open().filter(is_its).collect();
    let first = recipients.iter().map(|index| &waiting.progress[*index]);
    let first = first.min_by_key(|progress| retry::next(&waiting.entry, progress, relay, now));
    let reason = match first {
        Some(progress) if part.due > now => waits(part.goal, progress, part.due),
        _ => {
            let rank = (part.due, &waiting.entry.id);
            let is_before = |other: &QueuedMessage| {
                let mut parts = super::plan::parts(site, other).into_iter();
                let same = parts.find(|other| other.goal == part.goal);
                same.is_some_and(|same| (same.due, &other.entry.id) < rank)
            };
            match count(&is_before) {
                0 => WaitReason::Next { goal: part.goal },
                before => WaitReason::Behind { goal: part.goal, before },
            }
        }
    };
    Why { reason, recipients, expires }
}

/// The reason of a part that is not due, by the last line of its journal.
fn waits(goal: Goal, progress: &RecipientProgress, until: Timestamp) -> WaitReason {
    let words = progress.error().replace('\n', " / ");
    match (goal, &progress.held, &progress.last) {
        (Goal::Here(mailbox), _, Some(line)) if !is_of_disk(line) => {
            let after = format!("{words}; {mailbox} is delivered here since then");
            WaitReason::Repeats { until, after }
        }
        (Goal::Here(mailbox), ..) => WaitReason::Maildir { mailbox, until, words },
        (_, Some((_, because)), _) if is_dns(because) => WaitReason::NoDns { until, words },
        (_, None, Some(line)) if is_of_a_key(line) => WaitReason::Key { until, words },
        (_, Some((_, because)), _) if is_owed(because, true) => {
            let words = bare(because).replace('\n', " / ");
            WaitReason::Owed { until, words }
        }
        (_, None, Some(line)) if is_owed(&line.words, is_of_ours(line)) => {
            WaitReason::Owed { until, words }
        }
        (goal, Some((until, _)), _) => WaitReason::BacksOff { goal, until: *until, because: words },
        (_, None, Some(line)) if is_of_ours(line) && is_dns(&line.words) => {
            WaitReason::NoDns { until, words }
        }
        (..) => WaitReason::Repeats { until, after: words },
    }
}

/// Whether a journal line is in our own words, not a host's.
fn is_of_ours(line: &JournalLine) -> bool {
    matches!(line.host.as_str(), "" | "-")
}

/// Whether a journal line says that a message cannot be signed.
fn is_of_a_key(line: &JournalLine) -> bool {
    let words = line.words.strip_prefix(NO_KEY_STATUS).map(str::trim_start);
    is_of_ours(line) && words.is_some_and(|words| words.starts_with(NO_KEY_WORDS))
}

/// Whether a journal line is about a Maildir that failed ([`crate::outcome::RecipientOutcome::of_disk`]), not
/// the reply of a next hop.
pub(super) fn is_of_disk(line: &JournalLine) -> bool {
    let status = line.words.split(' ').next().unwrap_or_default();
    is_of_ours(line) && matches!(status, LOCAL_TROUBLE | NO_ROOM | MAILBOX_FULL)
}

/// Whether these words of ours say that DNS failed (RFC 3463 §3.5, directory server failure).
fn is_dns(words: &str) -> bool {
    bare(words).starts_with("4.4.3 ")
}

/// Whether these words say that TLS was owed and not shown: by a host, or by all before one was connected to
/// (RFC 3463 §3.8). `is_ours`: no host stands before them.
fn is_owed(words: &str, is_ours: bool) -> bool {
    let words = bare(words);
    let is_said = |step| words.contains(&format!("({step}, {OWED_BY}"));
    // The handshake is the first step where TLS begins with the first octet.
    is_said(Step::StartTls) || is_said(Step::Connect) || is_ours && words.starts_with("4.7.5 ")
}

/// The words of the journal for a next hop that is left alone, without their status.
pub fn held_words(because: &str) -> String {
    format!("{HELD}{because}")
}

/// The words of a journal line without the beginning that [`held_words`] adds.
fn bare(words: &str) -> &str {
    words.strip_prefix("4.4.1 ").and_then(|held| held.strip_prefix(HELD)).unwrap_or(words)
}

const HELD: &str = "left alone until then, after ";

impl WaitReason {
    /// When the next attempt is made, where the message waits for a time.
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            WaitReason::Repeats { until, .. }
            | WaitReason::BacksOff { until, .. }
            | WaitReason::NoDns { until, .. }
            | WaitReason::Owed { until, .. }
            | WaitReason::Key { until, .. }
            | WaitReason::Maildir { until, .. } => Some(*until),
            WaitReason::Sending
            | WaitReason::NoServer
            | WaitReason::Quarantined(_)
            | WaitReason::Unreadable { .. }
            | WaitReason::Behind { .. }
            | WaitReason::Next { .. }
            | WaitReason::Done => None,
        }
    }

    /// What would end the waiting, other than its time.
    pub fn release(&self, id: &str, relay: &Relay) -> String {
        let retry = || format!("`facteur queue retry {id}` or SIGUSR1 attempts it at once");
        match self {
            WaitReason::Sending => "the end of this attempt, within minutes".to_owned(),
            WaitReason::NoServer => "the start of `facteur serve`".to_owned(),
            WaitReason::Quarantined(_) => format!(
                "`facteur queue retry {id}`, which lets it go; `facteur queue remove {id}` ends it"
            ),
            WaitReason::Unreadable { remedy, .. } => remedy.clone(),
            WaitReason::Repeats { .. } => retry(),
            WaitReason::BacksOff { .. } => {
                format!("any answer there to another message; {}", retry())
            }
            WaitReason::NoDns { .. } => {
                format!("an answer of DNS at the next attempt; {}", retry())
            }
            WaitReason::Owed { .. } => format!(
                "a host that shows it at the next attempt, or another record or policy of its owner; {}",
                retry()
            ),
            WaitReason::Key { .. } => {
                format!("a key that the server can read, at the next attempt; {}", retry())
            }
            WaitReason::Maildir { .. } => {
                format!("room in that Maildir, or a mended one, at the next attempt; {}", retry())
            }
            WaitReason::Behind { .. } => format!(
                "the end of those before it: up to {} are brought there at once \
                 (relay.per_destination), one while nobody has answered there",
                relay.per_destination
            ),
            WaitReason::Next { .. } => format!(
                "a free thread; of {} (relay.threads) a quarter is for hosts that do not answer",
                relay.threads
            ),
            WaitReason::Done => "the removal of its file, which the server tries again".to_owned(),
        }
    }
}

/// The reason in plain words, on one line; words of a host are not escaped yet.
impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitReason::Sending => f.write_str("is being sent now"),
            WaitReason::NoServer => f.write_str("waits for a server: none runs on this spool"),
            WaitReason::Quarantined(quarantine) => write!(f, "is {quarantine}"),
            WaitReason::Unreadable { words, .. } => write!(f, "waits because {words}"),
            WaitReason::Repeats { until, after } => {
                write!(f, "waits until {until:.0}, after {after}")
            }
            WaitReason::BacksOff { goal, until, because } => {
                let because = bare(because);
                write!(f, "waits because {goal} is left alone until {until:.0}, after {because}")
            }
            WaitReason::NoDns { until, words } => {
                write!(f, "waits until {until:.0} because DNS failed: {}", bare(words))
            }
            WaitReason::Owed { until, words } => {
                write!(
                    f,
                    "waits until {until:.0} because TLS that is owed was not shown: {}",
                    bare(words)
                )
            }
            WaitReason::Maildir { mailbox, until, words } => {
                write!(f, "waits until {until:.0} because the Maildir of {mailbox} failed: {words}")
            }
            WaitReason::Key { until, words } => {
                write!(f, "waits until {until:.0} because a key that signs is missing: {words}")
            }
            WaitReason::Behind { goal, before } => {
                write!(f, "is due, at place {} for {goal}: {before} before it", before + 1)
            }
            WaitReason::Next { goal } => write!(f, "is due, as the next one for {goal}"),
            WaitReason::Done => f.write_str("has nobody left to go to"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::store::entry::{Entry, What};
    use std::path::Path;

    fn site() -> Site {
        let text = "hostname = \"mx.test\"\n[domain.\"mx.test\"]\nmaildir = \"{user}\"\n";
        Site::read(Config::parse(text, Path::new("/facteur.toml")).unwrap()).unwrap().0
    }

    fn waiting(id: &str, to: &[&str]) -> QueuedMessage {
        let to: String = to.iter().map(|to| format!("to: <{to}>\n")).collect();
        let header = format!(
            "facteur queue 1\nid: {id}\nqueued: 2026-11-23T14:00:00Z\nsession: s1\n\
             from: <ann@mx.test>\n{to}size: 1\n"
        );
        let entry = Entry::parse(&header, 0).unwrap();
        let progress = vec![RecipientProgress::default(); entry.recipients.len()];
        QueuedMessage { entry, progress, journal: Vec::new() }
    }

    #[test]
    fn due_messages_stand_in_a_line_for_their_goal() {
        let site = site();
        let now = "2026-11-23T14:05:00Z".parse().unwrap();
        let others = || {
            let before = waiting("m1", &["eve@far.test", "bob@other.test"]);
            vec![before, waiting("m3", &["bob@far.test"]), waiting("m0", &["bob@x.test"])]
        };
        let count = |is_before: &dyn Fn(&QueuedMessage) -> bool| {
            others().iter().filter(|other| is_before(other)).count()
        };
        let found = why(&site, &waiting("m2", &["bob@far.test"]), now, count);
        assert!(matches!(found.reason, WaitReason::Behind { before: 1, .. }), "{found:?}");
        let found = why(&site, &waiting("m0", &["bob@far.test"]), now, count);
        assert!(matches!(found.reason, WaitReason::Next { .. }), "{found:?}");
        assert_eq!(found.reason.to_string(), "is due, as the next one for far.test by MX");
        assert_eq!(found.expires, Some("2026-11-28T14:00:00Z".parse().unwrap()));
    }

    #[test]
    fn what_is_due_first_counts_and_who_is_done_does_not() {
        let site = site();
        let now = "2026-11-23T14:00:02Z".parse().unwrap();
        let mut message = waiting("m1", &["a@far.test", "b@other.test", "c@far.test"]);
        let line = |recipient, what| {
            let words = "451 4.4.3 later".to_owned();
            JournalLine { when: now, recipient, what, host: "mx".to_owned(), words }
        };
        message.progress[1].apply(&line(1, What::Relayed));
        message.progress[0].apply(&line(0, What::Deferred));
        let found = why(&site, &message, now, |_| 0);
        // The third was not attempted yet, so it is due at once, together with the first.
        assert!(matches!(found.reason, WaitReason::Next { .. }), "{found:?}");
        assert_eq!(found.recipients, [0, 2]);
        message.progress[2].apply(&line(2, What::Deferred));
        let found = why(&site, &message, now, |_| 0).reason;
        // A host's 4.4.3 is about its own name servers.
        assert!(
            matches!(&found, WaitReason::Repeats { after, .. } if after == "mx: 451 4.4.3 later")
        );
        (0..3)
            .step_by(2)
            .for_each(|index| message.progress[index].apply(&line(index, What::Failed)));
        assert_eq!(why(&site, &message, now, |_| 0).reason, WaitReason::Done);
    }

    /// Its domain is delivered here since the last attempt: what a next hop said then is no failure of a
    /// Maildir.
    #[test]
    fn a_reply_is_not_told_as_a_maildir_s_failure() {
        let (site, now) = (site(), "2026-11-23T14:00:02Z".parse().unwrap());
        let found = |host: &str, words: &str| {
            let mut message = waiting("m1", &["bob@mx.test"]);
            let (host, words, what) = (host.to_owned(), words.to_owned(), What::Deferred);
            message.progress[0].apply(&JournalLine { when: now, recipient: 0, what, host, words });
            why(&site, &message, now, |_| 0).reason
        };
        let reason = found("mx.far.test[192.0.2.1]:25", "450 4.2.0 later\n(RCPT)");
        assert!(matches!(reason, WaitReason::Repeats { .. }), "{reason:?}");
        let words =
            "after mx.far.test[192.0.2.1]:25: 450 4.2.0 later (RCPT); bob@mx.test is delivered";
        assert!(reason.to_string().contains(words), "{reason}");
        let mut away = waiting("m1", &["bob@far.test"]);
        let words = format!("{NO_KEY_STATUS} {NO_KEY_WORDS}cannot read /keys/r.rsa.pem");
        let (host, what) = (String::new(), What::Deferred);
        away.progress[0].apply(&JournalLine { when: now, recipient: 0, what, host, words });
        let reason = why(&site, &away, now, |_| 0).reason;
        assert!(matches!(&reason, WaitReason::Key { .. }), "{reason:?}");
        assert!(reason.to_string().contains("/keys/r.rsa.pem"), "{reason}");
        let reason = found("", "4.3.1 cannot write /bob/tmp/1: No space left on device");
        assert!(matches!(reason, WaitReason::Maildir { .. }), "{reason:?}");
    }
}
