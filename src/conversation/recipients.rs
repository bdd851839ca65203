//! The recipients of a transaction: whether each is taken beside those before it, and where all their
//! mail goes, each mailbox once.

use super::{Conversation, Place, Target};
use crate::limits::EXPANDED_MAX;
use crate::mail::address::ForwardPath;
use crate::policy::{self, Targets};
use crate::route::Destination;
use crate::smtp::reply::Reply;
use crate::smtp::session::Action;
use std::time::Instant;

impl Conversation<'_> {
    /// Answers RCPT.
    pub(super) fn recipient(&mut self, path: &ForwardPath) -> Action {
        // Before it is looked up: looking is what costs.
        if self.expanded >= EXPANDED_MAX {
            let text = "the recipients so far lead to very many mailboxes, send to these first";
            return self.session.refuse(Reply::new(452, "4.5.3", text));
        }
        let found = policy::recipient(&self.site, &*self.house.disk, &self.visitor, path);
        if let Ok(targets) = &found {
            self.expanded += (targets.here.len() + targets.elsewhere.len()).saturating_sub(1);
        }
        match found.and_then(|targets| self.fits(path, targets)) {
            Ok(targets) if !self.may_begin(&targets) => {
                let text = "too many new mailboxes in this hour, try later";
                self.session.refuse(Reply::new(450, "4.2.1", text))
            }
            Ok(_) if !self.may_write() => {
                let text = "too many recipients in this hour, try later";
                self.session.refuse(Reply::new(450, "4.7.1", text))
            }
            Ok(targets) => {
                let (recipient, before) = (self.taken, self.targets.len());
                self.taken += 1;
                self.add(recipient, targets);
                self.decided(path, before);
                self.session.allow()
            }
            Err(reply) => self.session.refuse(reply),
        }
    }

    /// Where a recipient's mail goes, unless that does not go together with those before it.
    fn fits(&mut self, path: &ForwardPath, targets: Targets) -> Result<Targets, Reply> {
        let is_sent_on =
            |target: &&Target| matches!(&target.place, Place::Elsewhere { via: Some(_), .. });
        let most = self.site.config.limit.recipients;
        let before = self.targets.iter().filter(is_sent_on).count();
        if targets.via.is_some() && before + targets.elsewhere.len() > most {
            let text = "too many addresses to send on to, send to some recipients first";
            return Err(Reply::new(452, "4.5.3", text));
        }
        let is_alone = self.taken == 0;
        policy::bounce(path, &targets, self.is_null, is_alone && self.bounce.is_none())?;
        if self.bounce.is_some() {
            return Err(policy::one_bounce());
        }
        if let Some(to) = &targets.bounce_to {
            self.bounce = self.house.bounds.way_back.take(to, Instant::now());
            if self.bounce.is_none() {
                let text = "too many bounces to this address today, try later";
                return Err(Reply::new(450, "4.7.1", text));
            }
        }
        Ok(targets)
    }

    /// Where a recipient's mail goes beside that of those before it.
    pub(super) fn add(&mut self, recipient: usize, Targets { here, elsewhere, via, .. }: Targets) {
        let here = here.into_iter().map(|to| (to.mailbox.clone(), Place::Here(to)));
        let elsewhere = elsewhere
            .into_iter()
            .map(|mailbox| (mailbox.clone(), Place::Elsewhere { mailbox, via: via.clone() }));
        for (mailbox, place) in here.chain(elsewhere) {
            // One copy for each mailbox, by however many names it is reached.
            match self.known.insert(mailbox) {
                true => self.targets.push(Target { place, recipient }),
                false => self.write_to(Target { place, recipient }),
            }
        }
    }

    /// Whether there may be Maildirs for all whom a recipient leads to, those that nobody had before too.
    fn may_begin(&mut self, targets: &Targets) -> bool {
        let is_new = |to: &&Destination| {
            !self.known.contains(&to.mailbox) && policy::is_new(&self.site, &*self.house.disk, to)
        };
        let new = targets.here.iter().filter(is_new).count();
        (0..new).all(|_| self.new.take(Instant::now()))
    }

    /// Who was reached by an alias alone, and is a recipient as well: from now on this is that
    /// recipient's mail, of which its sender hears.
    fn write_to(&mut self, direct: Target) {
        let Place::Elsewhere { mailbox, via: None } = &direct.place else { return };
        let is_its = |target: &&mut Target| {
            matches!(&target.place, Place::Elsewhere { mailbox: known, via: Some(_) }
                if known == mailbox)
        };
        if let Some(target) = self.targets.iter_mut().find(is_its) {
            *target = direct;
        }
    }
}
