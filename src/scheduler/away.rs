//! One attempt at a next hop: its hosts and addresses one after the other, until each recipient's fate
//! is decided or there is no host left (RFC 5321 §5.1).

use super::Setting;
use super::board::Reach;
use super::reason::is_of_disk;
use super::worker::{Kept, RelayJob, RelayWorker};
use crate::event::{About, Talk, Turn, tell_talk};
use crate::limits::RELAY_TIME;
use crate::mail::address::{ForwardPath, ReversePath};
use crate::mail::edits::{Edits, Piece};
use crate::mail::envelope::{Envelope, Recipient, Sender, TlsWish};
use crate::mail::survey::WireForm;
use crate::mail::trace_fields::kept_as;
use crate::mail::{srs, trace_fields};
use crate::net::tls::Protection;
use crate::outcome::{RecipientOutcome, is_missed};
use crate::relay::{Connection, Edited, Hop, host, survey};
use crate::route;
use crate::route::next_hop::{NO_PROMISE, Obstacle, Way, next_hops};
use crate::signature::{
    NO_KEY_STATUS, NO_KEY_WORDS, OwnMessage, Resigner, Signature, TakeOctets, signature_at_attempt,
};
use crate::smtp::client::{Cause, Fate, Lack, OutgoingMessage, Reason};
use crate::store::body::StoredMessage;
use crate::store::disk::{Doing, StoreError};
use crate::store::entry::{EntrySignature, What};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

/// A message on one way, and what became of its recipients so far.
struct Round<'a> {
    message: Edited<'a>,
    content: WireForm,
    sender: Sender,
    /// Recipients, with their places in the envelope.
    recipients: Vec<(usize, Recipient)>,
    /// What the last host decided about each recipient.
    fates: Vec<Option<HostOutcome>>,
}

/// What one host decided about one recipient.
#[derive(Clone)]
struct HostOutcome {
    host: String,
    fate: Fate,
    /// Whether that host sends the notices that were asked for.
    dsn: bool,
    tls: Option<Protection>,
    /// Our own address towards it; none where it could not be asked.
    local: Option<IpAddr>,
}

impl RelayWorker {
    /// Sends to these recipients, which all take this way; returns an outcome for each, unless the server
    /// stops. `unread`: why the message cannot be read.
    pub(super) fn away(
        &mut self,
        job: &RelayJob,
        way: &Way,
        open: &[usize],
        unread: Option<StoreError>,
    ) -> (Vec<RecipientOutcome>, Reach) {
        let entry = &job.claimed.message.entry;
        if entry.is_trusted && entry.sender.from != ReversePath::Null {
            let asked = open.iter().map(|index| &entry.recipients[*index]);
            let asked = asked.filter(|to| to.via.is_none()).map(|to| &to.mailbox);
            self.shared.gates.written_to(&job.setting.site, asked);
        }
        let path = job.claimed.path();
        let part = job.claimed.part(&path);
        let content = match (unread, entry.wire) {
            (Some(error), _) => Err(error),
            (None, Some(content)) => Ok(content),
            (None, None) => survey(&part).doing("read", &path),
        };
        let signed = content.map_err(|error| ("4.3.0", error.to_string()));
        let signed = signed.and_then(|content| Ok((content, signed_now(job, way, &part)?)));
        let (content, signature) = match signed {
            Ok(found) => found,
            Err((status, words)) => {
                let defer = |index: &usize| {
                    RecipientOutcome::own(*index, What::Deferred, status, words.clone())
                };
                return (open.iter().map(defer).collect(), Reach::Untried);
            }
        };
        let by = match (&entry.signature, &signature) {
            (EntrySignature::By(by), _) | (_, Some(Signature::Signed { by, .. })) => Some(by),
            _ => None,
        };
        let own = signature.as_ref().map_or("", Signature::fields);
        // One transaction has one sender and one message. Mail that an alias sends on has a sender of ours
        // (SRS) and a field that names the alias, so it needs its own transaction.
        let mut groups: BTreeMap<(String, String), (Sender, Vec<usize>)> = BTreeMap::new();
        for index in open {
            let sender = sender(job, *index);
            let group = groups.entry((sender.from.to_string(), mark(job, *index)));
            group.or_insert_with(|| (sender, Vec::new())).1.push(*index);
        }
        let (mut outcomes, mut reaches) = (Vec::new(), Vec::new());
        for ((_, field), (sender, open)) in groups {
            let edits = match way {
                Way::Lmtp(_) => self.summary(job).map(|summary| {
                    let edits = Edits::default().on_top(own);
                    kept_as(edits, &summary.junk_marks, entry.is_junk)
                }),
                _ => Ok(Edits::default().on_top(own).on_top(field)),
            };
            let edited = edits.and_then(|edits| {
                let on_top = |content: WireForm, piece: Piece<'_>| match piece {
                    Piece::Put(octets) => content.below(octets),
                    Piece::Kept(_) => content,
                };
                let message = Edited { edits, part, resigner: None };
                let content = match message.edits.end() {
                    0 => message.edits.pieces(0).fold(content, on_top),
                    _ => survey(&message).doing("read", &path)?,
                };
                let resigner = by.map(|by| Resigner { site: &job.setting.site, by });
                Ok((Edited { resigner, ..message }, content))
            });
            let (message, content) = match edited {
                Ok(edited) => edited,
                Err(error) => {
                    outcomes.extend(open.iter().map(|at| RecipientOutcome::of_disk(*at, &error)));
                    reaches.push(Reach::Untried);
                    continue;
                }
            };
            let (some, reach) = self.one_sender(job, way, (message, content), sender, &open);
            outcomes.extend(some);
            reaches.push(reach);
        }
        // A host that answered for one of the groups was reached.
        let reached = reaches.iter().position(|reach| *reach == Reach::Reached);
        (outcomes, reaches.swap_remove(reached.unwrap_or(0)))
    }

    fn one_sender(
        &mut self,
        job: &RelayJob,
        way: &Way,
        (message, content): (Edited<'_>, WireForm),
        sender: Sender,
        open: &[usize],
    ) -> (Vec<RecipientOutcome>, Reach) {
        let entry = &job.claimed.message.entry;
        let recipient = |index: &usize| {
            let to = &entry.recipients[*index];
            let path = ForwardPath::Mailbox(match way {
                // A name of this host means nothing there.
                Way::Lmtp(_) => job.setting.site.canonical(&to.mailbox),
                _ => to.mailbox.clone(),
            });
            (*index, Recipient { path, notify: to.notify, orcpt: to.orcpt.clone() })
        };
        let mut round = Round {
            message,
            content,
            // A server that keeps mail of ours is no hop to which TLS could be promised.
            sender: match way {
                Way::Lmtp(_) => Sender { tls: TlsWish::Usual, ..sender },
                _ => sender,
            },
            recipients: open.iter().map(recipient).collect(),
            fates: vec![None; open.len()],
        };
        let mut obstacle = self.ask_hosts(job, way, &mut round);
        if round.gives_up_promise(obstacle.as_ref()) {
            obstacle = self.ask_hosts(job, way, &mut round);
        }
        let obstacle = obstacle.map(|obstacle| unrouted(job, open, obstacle));
        round.outcomes(obstacle, self.guard.is_stopping())
    }

    /// Asks host after host; returns why some could not be found.
    fn ask_hosts(&mut self, job: &RelayJob, way: &Way, round: &mut Round<'_>) -> Option<Obstacle> {
        let latest = Instant::now() + RELAY_TIME;
        if let Some(mut kept) = self.take_kept(job, round.sender.tls) {
            let mut talk = talk(job, Some(kept.connection.hop()));
            talk.note(Turn::Connecting, "on the connection that has carried other mail");
            round.send(&mut kept.connection, talk);
            self.keep(kept);
        }
        if round.left().is_empty() {
            return None;
        }
        let setting = &job.setting;
        let Setting { site, ourselves, .. } = &**setting;
        let found = next_hops(site, ourselves, way, round.sender.tls);
        let mut hops = match found {
            Ok(hops) => hops,
            Err(obstacle) => return Some(obstacle),
        };
        let caller = self.caller(setting);
        // For each host that was asked, whether it surely never takes this; and whether no other host is left.
        let (mut is_closed, mut is_last) = (Vec::new(), false);
        while !round.left().is_empty() && Instant::now() < latest && !self.guard.is_stopping() {
            let hop = hops.next();
            hops.take_seen().iter().for_each(|seen| caller.saw(seen));
            let mut talk = talk(job, hop.as_ref());
            hops.take_notes().iter().for_each(|note| talk.note(Turn::Decided, note));
            let Some(hop) = hop else {
                tell_talk(talk);
                is_last = true;
                break;
            };
            let opened = Connection::open(&caller, &hop, &mut talk);
            match opened {
                Err(fate) => {
                    tell_talk(talk);
                    let is_sure = fate.reason().is_some_and(Reason::is_sure);
                    // Before TLS anybody in between can say it.
                    is_closed.push(is_sure && !hop.demand.is_owed());
                    round.refuse(&hop, &fate);
                }
                Ok(mut connection) => {
                    round.send(&mut connection, talk);
                    is_closed.push(round.is_refused_for_sure());
                    self.keep(Kept::new(connection, job, round.sender.tls));
                }
            }
        }
        let trouble = hops.trouble();
        if is_last && trouble.is_none() && is_closed.iter().all(|closed| *closed) {
            round.close();
        }
        trouble
    }
}

impl Round<'_> {
    /// Recipients for which another host may be asked.
    fn left(&self) -> Vec<usize> {
        let is_left = |index: &usize| {
            matches!(self.fates[*index], None | Some(HostOutcome { fate: Fate::NextHost(_), .. }))
        };
        (0..self.fates.len()).filter(is_left).collect()
    }

    /// Sends the message to all recipients that are left. `talk`: the transcript so far.
    fn send(&mut self, connection: &mut Connection, talk: Talk) {
        let left = self.left();
        let recipients = left.iter().map(|index| self.recipients[*index].1.clone()).collect();
        let envelope = Envelope { sender: self.sender.clone(), recipients };
        let outgoing = OutgoingMessage { envelope, content: self.content };
        connection.go_on_with(talk);
        let fates = connection.deliver(&outgoing, &self.message);
        tell_talk(connection.take_talk());
        let (host, dsn) = (host(connection.hop()), connection.offers().dsn);
        let (tls, local) = (connection.protection(), connection.local());
        for (index, fate) in left.into_iter().zip(fates) {
            let (host, tls) = (host.clone(), tls.cloned());
            self.fates[index] = Some(HostOutcome { host, fate, dsn, tls, local });
        }
    }

    /// Notes the fate of all recipients that are left, at a host that cannot be asked.
    fn refuse(&mut self, hop: &Hop, fate: &Fate) {
        for index in self.left() {
            let (host, fate) = (host(hop), fate.clone());
            self.fates[index] =
                Some(HostOutcome { host, fate, dsn: false, tls: None, local: None });
        }
    }

    /// Whether the last host surely never takes it, for none of the recipients that are left.
    fn is_refused_for_sure(&self) -> bool {
        let is_sure = |index: &usize| {
            let fate = self.fates[*index].as_ref().map(|outcome| &outcome.fate);
            fate.and_then(Fate::reason).is_some_and(Reason::is_sure)
        };
        self.left().iter().all(is_sure)
    }

    /// Makes it final that no host ever takes it: all take no mail at all (RFC 7504 §4), or do not support what it
    /// requires (RFC 8689 §4.2.1).
    fn close(&mut self) {
        for HostOutcome { fate, .. } in self.fates.iter_mut().flatten() {
            if let Fate::NextHost(reason) = fate
                && reason.is_sure()
            {
                *fate = Fate::Failed(reason.clone());
            }
        }
    }

    /// Whether a bounce that requires TLS goes on like other mail from here on, because no host promises to send it
    /// on by TLS: it is not to be lost for that (RFC 8689 §5). TLS that fails is another matter.
    fn gives_up_promise(&mut self, obstacle: Option<&Obstacle>) -> bool {
        if self.sender.from != ReversePath::Null || self.sender.tls != TlsWish::Required {
            return false;
        }
        let is_lacking = |outcome: &Option<HostOutcome>| {
            let fate = outcome.as_ref().map(|outcome| &outcome.fate);
            matches!(fate, Some(Fate::Failed(Reason { cause: Cause::Lacks(Lack::RequireTls), .. })))
        };
        let is_unpromised = obstacle.is_some_and(|obstacle| obstacle.status == NO_PROMISE);
        let all = self.fates.iter_mut();
        let refused: Vec<_> =
            all.filter(|fate| is_lacking(fate) || fate.is_none() && is_unpromised).collect();
        if refused.is_empty() {
            return false;
        }
        refused.into_iter().for_each(|fate| *fate = None);
        self.sender.tls = TlsWish::Usual;
        true
    }

    /// The outcomes, without recipients of which nothing is decided because the server stops.
    fn outcomes(
        self,
        obstacle: Option<Obstacle>,
        is_stopping: bool,
    ) -> (Vec<RecipientOutcome>, Reach) {
        let is_missed = self.fates.iter().flatten().all(|outcome| is_missed(&outcome.fate));
        let is_asked = self.fates.iter().any(Option::is_some);
        let mut outcomes = Vec::new();
        for ((index, _), fate) in self.recipients.iter().zip(&self.fates) {
            match (fate, &obstacle) {
                (None, _) if is_stopping => {}
                (Some(HostOutcome { fate, .. }), _) if is_stopping && is_cut_off(fate) => {}
                (Some(HostOutcome { host, fate, dsn, tls, local }), _) => {
                    let outcome = RecipientOutcome::of_fate(*index, host, fate, *dsn);
                    let (tls, local) = (tls.clone(), *local);
                    outcomes.push(RecipientOutcome { tls, local, ..outcome });
                }
                (None, Some(obstacle)) => outcomes.push(blocked(*index, obstacle)),
                // No host was asked: the time was over before the first one.
                (None, None) => outcomes.push(RecipientOutcome::own(
                    *index,
                    What::Deferred,
                    "4.4.1",
                    "no host could be asked in time",
                )),
            }
        }
        let reach = match (is_asked, obstacle) {
            _ if is_stopping => Reach::Untried,
            (true, _) if is_missed => Reach::Missed(reason(&outcomes)),
            (true, _) => Reach::Reached,
            (false, Some(Obstacle { is_permanent: true, .. })) => Reach::Reached,
            (false, _) => Reach::Missed(reason(&outcomes)),
        };
        (outcomes, reach)
    }
}

/// Signs a message that is signed at each attempt. The error: the status and the words of one that cannot be now. A
/// server that keeps mail of ours gets it all the same.
fn signed_now(
    job: &RelayJob,
    way: &Way,
    part: &StoredMessage<'_>,
) -> Result<Option<Signature>, (&'static str, String)> {
    let entry = &job.claimed.message.entry;
    if entry.signature != EntrySignature::Owed {
        return Ok(None);
    }
    let edits = Edits::default();
    let view = |take: &mut TakeOctets<'_>| part.view(&edits, take);
    let signed = signature_at_attempt(&job.setting.site, &OwnMessage::new(&view));
    match signed.map_err(|error| ("4.3.0", error.to_string()))? {
        Some(Signature::Later { why, .. }) if !matches!(way, Way::Lmtp(_)) => {
            Err((NO_KEY_STATUS, format!("{NO_KEY_WORDS}{why}")))
        }
        signature => {
            signature.iter().for_each(|signature| signature.tell(&entry.id));
            Ok(signature)
        }
    }
}

/// The sender in MAIL for this recipient; computed anew at each attempt.
fn sender(job: &RelayJob, index: usize) -> Sender {
    let entry = &job.claimed.message.entry;
    let via = entry.recipients[index].via.as_ref();
    let rewritten = via.and_then(|via| job.setting.site.rewritten(&entry.sender.from, via));
    let from = rewritten.map_or(entry.sender.from.clone(), ReversePath::Mailbox);
    Sender { from, ..entry.sender.clone() }
}

/// The field on top of a message that an alias sends on to this recipient; empty for other recipients, and
/// for a notice on its way back to the first sender.
fn mark(job: &RelayJob, index: usize) -> String {
    let via = job.claimed.message.entry.recipients[index].via.as_ref();
    let alias = via.filter(|via| !srs::is_tagged(&via.local));
    let mark = alias.map(|via| trace_fields::sent_on_by(&route::mark(&job.setting.site, via)));
    mark.unwrap_or_default()
}

/// Whether an attempt may have ended like this only because the server stops. Then it does not count:
/// otherwise each restart would make mail wait longer, or return it.
fn is_cut_off(fate: &Fate) -> bool {
    match fate {
        Fate::NextHost(_) => true,
        Fate::Deferred(reason) => matches!(reason.cause, Cause::Unreadable(_)),
        Fate::Relayed(_) | Fate::Failed(_) => false,
    }
}

fn reason(outcomes: &[RecipientOutcome]) -> String {
    outcomes.first().map(RecipientOutcome::reason).unwrap_or_default()
}

/// The outcome when no host was found. The code is ours, because no host spoke (RFC 7505 §4.2 names one).
fn blocked(recipient: usize, obstacle: &Obstacle) -> RecipientOutcome {
    let what = if obstacle.is_permanent { What::Failed } else { What::Deferred };
    let words = match obstacle.is_permanent {
        true => format!("({}) {}", obstacle.code(), obstacle.words),
        false => obstacle.words.clone(),
    };
    RecipientOutcome::own(recipient, what, obstacle.status, words)
}

/// The obstacle, with words for an administrator that has removed a domain from the configuration while
/// mail for it waited.
fn unrouted(job: &RelayJob, open: &[usize], obstacle: Obstacle) -> Obstacle {
    let entry = &job.claimed.message.entry;
    let was_here = |index: &usize| {
        let last = job.claimed.progress(*index).last;
        // Mail of clients that are not trusted was accepted for mailboxes here only, unless an alias sent
        // it on.
        last.is_some_and(|line| is_of_disk(&line))
            || !entry.is_trusted
                && job.setting.site.has_at_backup(&entry.recipients[*index].mailbox).is_none()
                && !entry.session.is_empty()
                && entry.recipients[*index].via.is_none()
    };
    match open.first() {
        Some(first)
            if obstacle.is_permanent && obstacle.status == "5.1.2" && open.iter().all(was_here) =>
        {
            let domain = &entry.recipients[*first].mailbox.host;
            let words = format!(
                "{domain} is no longer delivered here, and nothing routes it: no [domain] or \
                 relay.route names it, and DNS knows no such domain"
            );
            Obstacle { words, ..obstacle }
        }
        _ => obstacle,
    }
}

/// The transcript of this message with this host; none: of what was found out where there is none.
fn talk(job: &RelayJob, hop: Option<&Hop>) -> Talk {
    let mut talk = Talk::new();
    let id = job.claimed.message.entry.id.clone();
    let host = hop.map(host).unwrap_or_default();
    talk.about = About { id, host, ..About::default() };
    talk
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::address::Mailbox;
    use crate::smtp::answer::Answer;
    use crate::smtp::client::Step;
    use crate::store::disk::Disk;
    use crate::store::memory::MemoryDisk;
    use std::path::Path;

    #[test]
    fn a_stop_is_no_attempt() {
        let disk = MemoryDisk::new();
        let file = disk.scratch(Path::new("/")).unwrap();
        let said = |text: &[u8]| Cause::Said(Answer::parse(text).unwrap());
        let outcome = |fate| {
            let (host, tls, local) = ("h".to_owned(), None, None);
            HostOutcome { host, fate, dsn: false, tls, local }
        };
        let round = |fates: Vec<Fate>| {
            let path = ForwardPath::Mailbox(Mailbox::parse("ann@far.test").unwrap());
            let to = Recipient { path, notify: None, orcpt: None };
            Round {
                message: Edited {
                    edits: Edits::default(),
                    part: StoredMessage {
                        file: &*file,
                        path: Path::new("/"),
                        at: 0,
                        size: 0,
                        sum: None,
                    },
                    resigner: None,
                },
                content: survey(&[].as_slice()).unwrap(),
                sender: Sender::new(ReversePath::Null),
                recipients: (0..fates.len()).map(|index| (index, to.clone())).collect(),
                fates: fates.into_iter().map(|fate| Some(outcome(fate))).collect(),
            }
        };
        let stops = Cause::Unreadable("this server stops".to_owned());
        let fates = vec![
            Fate::Deferred(Reason::new(Step::Message, stops)),
            Fate::NextHost(Reason::new(Step::Mail, Cause::Closed)),
            Fate::Deferred(Reason::new(Step::Rcpt, said(b"450 later\n"))),
            Fate::Failed(Reason::new(Step::Rcpt, said(b"550 no\n"))),
            Fate::Relayed(Answer::parse(b"250 ok\n").unwrap()),
        ];
        let decided = |is_stopping| {
            let (outcomes, reach) = round(fates.clone()).outcomes(None, is_stopping);
            (outcomes.iter().map(|outcome| outcome.recipient).collect::<Vec<_>>(), reach)
        };
        assert_eq!(decided(true), (vec![2, 3, 4], Reach::Untried));
        assert_eq!(decided(false), (vec![0, 1, 2, 3, 4], Reach::Reached));
    }
}
