//! Records of calls that sent nothing ([`crate::store::unsent`]): told to log and trace like a refusal of a
//! session, and removed.

use super::{Author, Pickup};
use crate::event::{About, Event, Talk, Turn, tell, tell_talk};
use crate::limits::{UNSENT_OF_ALL, UNSENT_OF_USER, UNSENT_TIME};
use crate::mail::address::ReversePath;
use crate::site::Site;
use crate::store::disk::Doing;
use crate::store::drop::NotTaken;
use crate::store::unsent::Unsent;
use nix::unistd::geteuid;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::time::Instant;

/// How many records were told lately, so that nobody fills log and trace by calling sendmail again and again.
#[derive(Default)]
pub(super) struct RecentlyTold {
    /// When the first of them was told.
    since: Option<Instant>,
    /// How many were told of each user, by uid.
    of: HashMap<u32, u32>,
    all: u32,
    left_out: u64,
}

impl RecentlyTold {
    /// Counts one more of this user; true when it is to be told.
    fn admit(&mut self, uid: u32, now: Instant) -> bool {
        self.since.get_or_insert(now);
        let may = self.all < UNSENT_OF_ALL && {
            let count = self.of.entry(uid).or_default();
            *count += 1;
            *count <= UNSENT_OF_USER
        };
        self.all += u32::from(may);
        self.left_out += u64::from(!may);
        may
    }

    /// Begins anew when [`UNSENT_TIME`] is over; gives how many were left out.
    fn end(&mut self, now: Instant) -> u64 {
        match self.since {
            Some(since) if now.duration_since(since) >= UNSENT_TIME => {
                std::mem::take(self).left_out
            }
            _ => 0,
        }
    }
}

impl Pickup {
    /// Removes a record, and tells it.
    pub(super) fn tell_one(
        &mut self,
        site: &Site,
        name: &OsStr,
        now: Instant,
    ) -> Result<(), NotTaken> {
        let (owner, unsent) = self.drops.open_unsent(name)?;
        // Root became our user before it wrote the record, so only a record of ours may name another caller.
        let is_ours = owner == geteuid().as_raw();
        let uid = if is_ours { unsent.uid } else { owner };
        let author = Author::find(uid).doing("find the owner of", &self.drops.dir().join(name));
        let author = author.map_err(NotTaken::Disk)?;
        // Removed first, else a record that cannot be removed would be told again.
        self.drops.remove(name).map_err(NotTaken::Disk)?;
        if self.unsent.admit(uid, now) {
            let own = author.address(site, &*self.disk).ok().map(ReversePath::Mailbox);
            let is_its =
                |from: &ReversePath| is_ours || author.may_send_as(site, &*self.disk, from);
            let from = unsent.from.clone().filter(is_its).or(own);
            tell_unsent(&name.to_string_lossy(), &author, from.as_ref(), &unsent);
        }
        Ok(())
    }

    /// Tells how many records were left out, once [`UNSENT_TIME`] is over.
    pub(super) fn tell_left_out(&mut self, now: Instant) {
        let count = self.unsent.end(now);
        if count > 0 {
            let what = format!(
                "sendmail: {count} more calls sent nothing within {}s; only the first are told",
                UNSENT_TIME.as_secs()
            );
            tell(&Event::Warning { what: &what });
        }
    }
}

/// Tells a record to log and trace, where its name stands for a session.
fn tell_unsent(session: &str, author: &Author, from: Option<&ReversePath>, unsent: &Unsent) {
    let mut talk = Talk::new();
    talk.about = About { session: session.to_owned(), ..About::default() };
    for (to, reply) in &unsent.to {
        let reply = if reply.is_empty() { "not sent" } else { reply };
        talk.note(Turn::Decided, &format!("{to}: {reply}"));
    }
    tell_talk(talk);
    tell(&Event::Unsent {
        session,
        uid: author.uid,
        user: &author.login,
        from: &from.map(ReversePath::to_string).unwrap_or_default(),
        to: &unsent.to.first().map(|(to, _)| to.to_string()).unwrap_or_default(),
        recipients: unsent.recipients,
        status: unsent.status,
        reason: &unsent.reason,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_told_and_the_rest_is_counted() {
        let mut told = RecentlyTold::default();
        let now = Instant::now();
        let of =
            |told: &mut RecentlyTold, uid: u32| (0..1000).filter(|_| told.admit(uid, now)).count();
        assert_eq!(of(&mut told, 1), UNSENT_OF_USER as usize);
        assert_eq!(of(&mut told, 2), UNSENT_OF_USER as usize, "another's share is its own");
        let all = 200 + (3..100_000).filter(|uid| told.admit(*uid, now)).count();
        assert_eq!(all, UNSENT_OF_ALL as usize);
        assert!(told.of.len() <= UNSENT_OF_ALL as usize);
        assert_eq!(told.end(now), 0);
        assert_eq!(told.end(now + UNSENT_TIME), 1800 + 99_997 - 800);
        assert!(told.admit(1, now) && told.end(now + UNSENT_TIME) == 0);
    }
}
