//! A transaction: whether each recipient is taken beside those before it, and where all their mail goes.

use super::bounds::Bounds;
use super::newcomers::Places;
use super::way_back;
use crate::limits::EXPANDED_MAX;
use crate::mail::address::{ForwardPath, Mailbox, ReversePath};
use crate::mail::envelope::Envelope;
use crate::mail::summary::Summary;
use crate::policy::{self, Targets, Visitor};
use crate::route::{Delivery, Destination, Plan, Planned};
use crate::site::Site;
use crate::smtp::reply::Reply;
use crate::store::disk::Disk;
use std::collections::BTreeMap;
use std::time::Instant;

/// What a session holds from MAIL to the end of its message.
pub(super) struct Transaction<'a> {
    disk: &'a dyn Disk,
    bounds: &'a Bounds,
    plan: Plan,
    /// Recipients taken.
    taken: usize,
    /// Mailboxes beyond the first that each recipient led to.
    expanded: usize,
    /// Mailboxes that come into being with its message.
    new: Places<'a>,
    /// It is a bounce to a sender of ours by SRS, its only recipient.
    bounce: Option<way_back::Place<'a>>,
    /// Its sender is `<>`.
    is_null: bool,
}

impl<'a> Transaction<'a> {
    /// None is under way.
    pub fn new(disk: &'a dyn Disk, bounds: &'a Bounds) -> Transaction<'a> {
        let (plan, taken, expanded, bounce, is_null) = Default::default();
        let new = bounds.newcomers.places();
        Transaction { disk, bounds, plan, taken, expanded, new, bounce, is_null }
    }

    pub fn begin(&mut self, from: &ReversePath) {
        self.is_null = *from == ReversePath::Null;
    }

    /// It is over. What its message did not need goes back.
    pub fn end(&mut self) {
        self.plan.clear();
        (self.taken, self.expanded) = (0, 0);
        self.new.give_back();
        self.bounce = None;
    }

    /// Its message was taken.
    pub fn spend(&mut self) {
        self.new.spend();
        self.bounce.take().into_iter().for_each(way_back::Place::spend);
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Takes a recipient, and gives the deliveries it brought. `count`: one more recipient is its sender's,
    /// who may have no more in this hour.
    pub fn recipient(
        &mut self,
        site: &Site,
        visitor: &Visitor,
        path: &ForwardPath,
        count: impl FnOnce() -> bool,
    ) -> Result<&[Planned], Reply> {
        // Before it is looked up: looking is what costs.
        if self.expanded >= EXPANDED_MAX {
            let text = "the recipients so far lead to very many mailboxes, send to these first";
            return Err(Reply::new(452, "4.5.3", text));
        }
        let targets = policy::recipient(site, self.disk, visitor, path)?;
        self.expanded += (targets.here.len() + targets.elsewhere.len()).saturating_sub(1);
        self.fit(site, path, &targets)?;
        if !self.take_places(site, &targets) {
            let text = "too many new mailboxes in this hour, try later";
            return Err(Reply::new(450, "4.2.1", text));
        }
        if !count() {
            return Err(Reply::new(450, "4.7.1", "too many recipients in this hour, try later"));
        }
        let before = self.plan.all().len();
        self.add(self.taken, targets);
        self.taken += 1;
        Ok(&self.plan.all()[before..])
    }

    /// Refuses a recipient that does not go together with those before it.
    fn fit(&mut self, site: &Site, path: &ForwardPath, targets: &Targets) -> Result<(), Reply> {
        let sent_on = self.plan.sent_on() + targets.elsewhere.len();
        if targets.via.is_some() && sent_on > site.config.limit.recipients {
            let text = "too many addresses to send on to, send to some recipients first";
            return Err(Reply::new(452, "4.5.3", text));
        }
        let is_alone = self.taken == 0 && self.bounce.is_none();
        policy::bounce(path, targets, self.is_null, is_alone)?;
        if self.bounce.is_some() {
            return Err(policy::one_bounce());
        }
        if let Some(to) = &targets.bounce_to {
            self.bounce = self.bounds.way_back.take(to, Instant::now());
            if self.bounce.is_none() {
                let text = "too many bounces to this address today, try later";
                return Err(Reply::new(450, "4.7.1", text));
            }
        }
        Ok(())
    }

    /// Takes a place for each Maildir that nobody had before; false where there are none left.
    fn take_places(&mut self, site: &Site, targets: &Targets) -> bool {
        let (plan, disk) = (&self.plan, self.disk);
        let is_new = |to: &&Destination| !plan.has(&to.mailbox) && policy::is_new(site, disk, to);
        let new = targets.here.iter().filter(is_new).count();
        (0..new).all(|_| self.new.take(Instant::now()))
    }

    fn add(&mut self, recipient: usize, Targets { here, elsewhere, via, .. }: Targets) {
        let onward = |mailbox| Delivery::NextHop { mailbox, via: via.clone() };
        let here = here.into_iter().map(Delivery::Maildir);
        for delivery in here.chain(elsewhere.into_iter().map(onward)) {
            self.plan.add(delivery, recipient);
        }
    }

    /// A recipient whose alias has sent this message on before is left to the queue, which fails it and
    /// tells its sender: the others get their copies. When there is no other, the message is refused.
    pub fn leave_out_loops(
        &mut self,
        site: &Site,
        visitor: &Visitor,
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
        let Some(first) = looped.values().next() else { return Ok(()) };
        let reply = policy::sent_on(first);
        // Made anew: what the others lead to as well was counted for the alias.
        self.plan.clear();
        for (index, recipient) in envelope.recipients.iter().enumerate() {
            if !looped.contains_key(&index) {
                self.add(index, policy::recipient(site, self.disk, visitor, &recipient.path)?);
            }
        }
        if self.plan.all().is_empty() {
            return Err(reply);
        }
        for (recipient, mailbox) in looped {
            let delivery = Delivery::NextHop { mailbox, via: None };
            self.plan.push(Planned { delivery, recipient });
        }
        Ok(())
    }
}
