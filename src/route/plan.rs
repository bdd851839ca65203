//! The deliveries of one message: each mailbox once, also when several recipients lead to it.
//!
//! A session fills it at RCPT, and the pickup from an envelope. It knows nothing of recipients that are
//! refused.

use super::{Delivery, Destination, KeptMailbox};
use crate::mail::address::Mailbox;
use crate::mail::envelope::Recipient;
use crate::store::entry::Addressee;
use std::collections::HashSet;

/// The deliveries of one message, in the order in which its recipients led to them.
#[derive(Default)]
pub struct Plan {
    all: Vec<Planned>,
    /// The mailboxes of `all` as a set, because one alias may lead to many.
    known: HashSet<Mailbox>,
}

/// One delivery of a message.
pub struct Planned {
    pub delivery: Delivery,
    /// The recipient it is for, by its place in the envelope.
    pub recipient: usize,
}

impl Plan {
    pub fn clear(&mut self) {
        self.all.clear();
        self.known.clear();
    }

    /// Adds a delivery for this recipient, where its mailbox has none yet. A mailbox that only an alias led
    /// to so far, and that is a recipient itself, counts as that recipient from now on: then the sender is
    /// told what becomes of it.
    pub fn add(&mut self, delivery: Delivery, recipient: usize) {
        let planned = Planned { delivery, recipient };
        if self.known.insert(planned.delivery.mailbox().clone()) {
            self.all.push(planned);
        } else if let Delivery::NextHop { mailbox, via: None } = &planned.delivery {
            let is_sent_on = |other: &&mut Planned| {
                other.delivery.via().is_some() && other.delivery.mailbox() == mailbox
            };
            if let Some(other) = self.all.iter_mut().find(is_sent_on) {
                *other = planned;
            }
        }
    }

    /// Adds a delivery, even if there is one to the same mailbox.
    pub fn push(&mut self, planned: Planned) {
        self.all.push(planned);
    }

    pub fn all(&self) -> &[Planned] {
        &self.all
    }

    /// The mailboxes here.
    pub fn here(&self) -> impl Iterator<Item = &Destination> {
        self.all.iter().filter_map(|planned| planned.delivery.here())
    }

    /// The mailboxes that other servers keep.
    pub fn kept(&self) -> impl Iterator<Item = &KeptMailbox> {
        self.all.iter().filter_map(|planned| planned.delivery.kept())
    }

    pub fn has(&self, mailbox: &Mailbox) -> bool {
        self.known.contains(mailbox)
    }

    /// How many addresses elsewhere aliases lead to.
    pub fn sent_on(&self) -> usize {
        self.all.iter().filter(|planned| planned.delivery.via().is_some()).count()
    }
}

impl Planned {
    /// The recipient in a queue file, with what its RCPT asked for.
    pub fn addressee(&self, recipients: &[Recipient]) -> Addressee {
        let asked = recipients.get(self.recipient);
        let orcpt = asked.and_then(|recipient| recipient.orcpt.clone());
        self.delivery.addressee(asked.and_then(|recipient| recipient.notify), orcpt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(text: &str) -> Mailbox {
        Mailbox::parse(text).unwrap()
    }

    fn onward(to: &str, via: Option<&str>) -> Delivery {
        Delivery::NextHop { mailbox: mailbox(to), via: via.map(mailbox) }
    }

    #[test]
    fn each_mailbox_has_one_delivery_and_a_recipient_goes_before_an_alias() {
        let mut plan = Plan::default();
        let here = Destination {
            mailbox: mailbox("ann@mx.test"),
            maildir: "/mail/ann".into(),
            folder: None,
        };
        plan.add(Delivery::Maildir(here.clone()), 0);
        plan.add(Delivery::Maildir(here), 1);
        plan.add(onward("eve@far.test", Some("list@mx.test")), 1);
        plan.add(onward("bob@far.test", Some("list@mx.test")), 1);
        assert_eq!((plan.all().len(), plan.sent_on()), (3, 2));
        plan.add(onward("eve@far.test", None), 2);
        plan.add(onward("eve@far.test", Some("other@mx.test")), 3);
        assert_eq!((plan.all().len(), plan.sent_on()), (3, 1));
        assert_eq!(
            plan.all().iter().map(|planned| planned.recipient).collect::<Vec<_>>(),
            [0, 2, 1]
        );
        assert!(plan.has(&mailbox("bob@far.test")) && plan.here().count() == 1);
    }
}
