//! A transaction: whether each recipient is taken beside those before it, and where all their mail goes.

use super::bounds::Bounds;
use super::judgement::Judgement;
use super::newcomers::NewPlaces;
use super::passage::{Passage, Passer};
use super::way_back;
use crate::gates::Gates;
use crate::limits::EXPANDED_MAX;
use crate::mail::address::{ClientName, ForwardPath, Mailbox, ReversePath};
use crate::mail::envelope::{Envelope, Recipient, Sender, TlsWish};
use crate::mail::proof::gather::{Gathered, Gatherer};
use crate::mail::proof::spf;
use crate::mail::summary::Summary;
use crate::mail::survey::WireForm;
use crate::policy::verdict::{Verdict, judge};
use crate::policy::{self, Facts, Finding, Targets};
use crate::proof::Proof;
use crate::route::{Delivery, Destination, Plan, Planned};
use crate::site::Site;
use crate::smtp::client::OutgoingMessage;
use crate::smtp::reply::Reply;
use crate::store::disk::Disk;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Instant;

/// Seconds since 1970.
fn now() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap_or(0)
}

/// An envelope by which a server is asked whether it takes mail for a mailbox.
pub fn question(from: &ReversePath, to: Mailbox) -> OutgoingMessage {
    let smtputf8 = !to.local.as_str().is_ascii();
    let sender = Sender { smtputf8, ..Sender::new(from.clone()) };
    let to = Recipient { path: ForwardPath::Mailbox(to), notify: None, orcpt: None };
    let content = WireForm { size: 0, is_eight_bit: false, has_eight_bit_header: false };
    OutgoingMessage { envelope: Envelope { sender, recipients: vec![to] }, content }
}

/// What a session holds from MAIL to the end of its message.
pub struct Transaction<'a> {
    disk: &'a dyn Disk,
    bounds: &'a Bounds,
    gates: &'a Gates,
    plan: Plan,
    /// Recipients taken.
    taken: usize,
    /// Mailboxes beyond the first that each recipient led to.
    expanded: usize,
    /// Mailboxes that come into being with its message.
    new: NewPlaces<'a>,
    /// It is a bounce to a sender of ours by SRS, its only recipient.
    bounce: Option<way_back::BouncePlace<'a>>,
    from: ReversePath,
    /// Whether its MAIL says REQUIRETLS.
    tls: TlsWish,
    /// The id that its message will have.
    id: String,
    /// What is found out about who sent it; none before its first recipient, and where nothing is asked.
    proof: Option<Proof>,
    /// What the client has met at the gates, in this and in earlier transactions.
    passage: Passage,
}

impl<'a> Transaction<'a> {
    /// None is under way.
    pub fn new(disk: &'a dyn Disk, bounds: &'a Bounds, gates: &'a Gates) -> Transaction<'a> {
        let (plan, taken, expanded, bounce, proof) = Default::default();
        let passage = Passage::default();
        let new = bounds.newcomers.places();
        let (from, tls, id) = (ReversePath::Null, TlsWish::Usual, String::new());
        Transaction {
            disk,
            bounds,
            gates,
            plan,
            taken,
            expanded,
            new,
            bounce,
            from,
            tls,
            id,
            proof,
            passage,
        }
    }

    pub fn begin(&mut self, sender: &Sender) {
        (self.from, self.tls) = (sender.from.clone(), sender.tls);
        self.id = crate::id::message();
    }

    /// The id that its message will have. Only what is taken is known by it; a refusal is by its session's.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// It is over. What its message did not need goes back.
    pub fn end(&mut self) {
        self.plan.clear();
        (self.taken, self.expanded) = (0, 0);
        self.new.give_back();
        (self.bounce, self.proof) = (None, None);
        self.passage.end();
    }

    /// Its message was taken.
    pub fn spend(&mut self) {
        self.new.spend();
        self.bounce.take().into_iter().for_each(way_back::BouncePlace::spend);
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Takes a recipient, and gives the deliveries it brought. `consent`: what others say to it, once nothing of
    /// ours speaks against it.
    pub fn recipient(
        &mut self,
        site: &Site,
        facts: &Facts,
        path: &ForwardPath,
        consent: impl FnOnce() -> Result<(), Reply>,
    ) -> Result<&[Planned], Reply> {
        // Before it is looked up: looking is what costs.
        let are_many = self.expanded >= EXPANDED_MAX;
        policy::opinion(are_many.then_some(Finding::ManyMailboxes)).or_refusal()?;
        let targets = policy::recipient(site, self.disk, facts, path)?;
        self.ask(site, path, &targets)?;
        self.expanded += targets.deliveries.len().saturating_sub(1);
        let sent_on = targets.deliveries.iter().filter(|to| to.via().is_some()).count();
        let most = site.config.limit.recipients;
        let are_many = sent_on > 0 && self.plan.sent_on() + sent_on > most;
        policy::opinion(are_many.then_some(Finding::ManySentOn)).or_refusal()?;
        let is_alone = self.taken == 0 && self.bounce.is_none();
        let is_null = self.from == ReversePath::Null;
        policy::bounce(path, &targets, is_null, is_alone).or_refusal()?;
        // A bounce goes on all the same, rather than be lost (RFC 8689 §5).
        if self.tls == TlsWish::Required && !is_null {
            policy::require_tls::recipient(site, path, &targets.deliveries)?;
        }
        self.prove(site, facts)?;
        let (from, findings) = (&self.from, self.proof.as_ref().map(Proof::findings));
        let passer = Passer { site, facts, from, findings, to: path };
        self.passage.opinion(self.gates, &passer).or_refusal()?;
        let found = self.take_bounce(&targets).or_else(|| self.take_places(site, &targets));
        policy::opinion(found).or_refusal()?;
        consent().inspect_err(|_| {
            // Else it would stand in the way of the recipients behind it.
            if targets.bounce_to.is_some() {
                self.bounce = None;
            }
        })?;
        let before = self.plan.all().len();
        self.add(self.taken, targets);
        self.taken += 1;
        Ok(&self.plan.all()[before..])
    }

    /// Asks the server that keeps a recipient's mail, where it alone knows who exists.
    fn ask(&self, site: &Site, path: &ForwardPath, targets: &Targets) -> Result<(), Reply> {
        let [Delivery::Lmtp(kept)] = &targets.deliveries[..] else { return Ok(()) };
        if !kept.is_asked {
            return Ok(());
        }
        let asked = question(&self.from, kept.mailbox.clone());
        let answer = self.bounds.lmtp.ask(site, &kept.server, &asked);
        answer.map_err(|fate| policy::kept::at_recipient(path, &fate))
    }

    /// Asks about a stranger as soon as there is somebody to whom its mail could go; what is known then may be
    /// enough to refuse it.
    fn prove(&mut self, site: &Site, facts: &Facts) -> Result<(), Reply> {
        let is_new = self.proof.is_none() && policy::is_stranger(site, facts);
        if is_new && let Some(mut proof) = Proof::new(&site.config.trust) {
            let helo = facts.helo.as_ref().map_or("", ClientName::as_str);
            let client = spf::SpfClient {
                address: facts.client,
                helo: helo.as_bytes(),
                receiver: site.config.hostname.as_str(),
                time: now(),
            };
            proof.ask_spf(site.resolver(), &client, &self.from);
            self.proof = Some(proof);
        }
        let Some(proof) = &self.proof else { return Ok(()) };
        match judge(proof.findings(), &site.config.trust).verdict {
            Verdict::Reject(_) => {
                let judgement = Judgement::new(site, proof.findings().clone());
                // Once, however many recipients are tried.
                if is_new {
                    judgement.tell(None, &facts.id);
                }
                judgement.opinion().or_refusal()
            }
            Verdict::Accept | Verdict::Junk | Verdict::Defer => Ok(()),
        }
    }

    /// Who has to hear the message, so that it can be judged.
    pub fn gatherer(&self) -> Option<Gatherer> {
        self.proof.as_ref().and_then(Proof::gatherer)
    }

    /// Asks all that is left to be known of a stranger's message, and judges it.
    pub(super) fn judge(&mut self, site: &Site, gathered: Option<&Gathered>) -> Option<Judgement> {
        let proof = self.proof.take()?;
        Some(Judgement::new(site, proof.finish(site.resolver(), gathered, now())))
    }

    /// Takes a place for a bounce; tells what speaks against it.
    fn take_bounce(&mut self, targets: &Targets) -> Option<Finding> {
        if self.bounce.is_some() {
            return Some(Finding::BesideBounce);
        }
        let to = targets.bounce_to.as_ref()?;
        self.bounce = self.bounds.way_back.take(to, Instant::now());
        self.bounce.is_none().then_some(Finding::ManyBounces)
    }

    /// Takes a place for each Maildir that nobody had before; tells when there are none left.
    fn take_places(&mut self, site: &Site, targets: &Targets) -> Option<Finding> {
        let (plan, disk) = (&self.plan, self.disk);
        let is_new = |to: &&Destination| !plan.has(&to.mailbox) && policy::is_new(site, disk, to);
        let new = targets.deliveries.iter().filter_map(Delivery::here).filter(is_new).count();
        let are_left = (0..new).all(|_| self.new.take(Instant::now()));
        (!are_left).then_some(Finding::ManyNewMailboxes)
    }

    /// Plans the recipients of a changed envelope anew, and adds these to it: each goes where its mail would go, as
    /// the target of an alias does. Gives those that were left out, and why; fails where it cannot be found out now
    /// whether one exists.
    pub fn change_recipients(
        &mut self,
        site: &Site,
        facts: &Facts,
        envelope: &mut Envelope,
        added: &[ForwardPath],
        summary: &Summary,
    ) -> Result<Vec<(ForwardPath, Reply)>, Reply> {
        self.plan.clear();
        for (index, recipient) in envelope.recipients.iter().enumerate() {
            self.add(index, policy::recipient(site, self.disk, facts, &recipient.path)?);
        }
        self.leave_out_loops(site, facts, envelope, summary)?;
        let mut left_out = Vec::new();
        for path in added {
            match self.added(site, facts, envelope.recipients.len(), path, summary) {
                Ok(()) => {
                    let (notify, orcpt) = (None, None);
                    envelope.add(Recipient { path: path.clone(), notify, orcpt });
                }
                Err(reply) if policy::is_trouble_of_ours(&reply) => return Err(reply),
                Err(reply) => left_out.push((path.clone(), reply)),
            }
        }
        Ok(left_out)
    }

    /// Plans one more recipient, at this place.
    fn added(
        &mut self,
        site: &Site,
        facts: &Facts,
        recipient: usize,
        path: &ForwardPath,
        summary: &Summary,
    ) -> Result<(), Reply> {
        let added = (path, recipient);
        let targets = policy::added_recipient(site, self.disk, &facts.id, added, summary)?;
        policy::bounce(path, &targets, self.from == ReversePath::Null, false).or_refusal()?;
        let here = targets.deliveries.iter().filter_map(Delivery::here);
        policy::message(site, summary, here).or_refusal()?;
        self.add(recipient, targets);
        Ok(())
    }

    fn add(&mut self, recipient: usize, targets: Targets) {
        targets.deliveries.into_iter().for_each(|to| self.plan.add(to, recipient));
    }

    /// A recipient whose alias has sent this message on before is left to the queue, which fails it and
    /// tells its sender: the others get their copies. When there is no other, the message is refused.
    pub fn leave_out_loops(
        &mut self,
        site: &Site,
        facts: &Facts,
        envelope: &Envelope,
        summary: &Summary,
    ) -> Result<(), Reply> {
        let mut looped: BTreeMap<usize, Mailbox> = BTreeMap::new();
        for planned in self.plan.all() {
            if let Some(via) = planned.delivery.via()
                && !looped.contains_key(&planned.recipient)
                && policy::was_sent_on(site, summary, via)
            {
                looped.insert(planned.recipient, via.clone());
            }
        }
        let Some(first) = looped.values().next().cloned() else { return Ok(()) };
        // Made anew: what the others lead to as well was counted for the alias.
        self.plan.clear();
        for (index, recipient) in envelope.recipients.iter().enumerate() {
            if !looped.contains_key(&index) {
                self.add(index, policy::recipient(site, self.disk, facts, &recipient.path)?);
            }
        }
        let is_all = self.plan.all().is_empty();
        policy::opinion(is_all.then_some(Finding::WasSentOn(first))).or_refusal()?;
        for (recipient, mailbox) in looped {
            let delivery = Delivery::NextHop { mailbox, via: None };
            self.plan.push(Planned { delivery, recipient });
        }
        Ok(())
    }
}
