//! Records of calls that sent nothing ([`crate::store::unsent`]): told as what a session refuses, and gone.

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

/// How many were told lately: nobody fills log and trace by calling sendmail again and again.
#[derive(Default)]
pub(super) struct RecentlyTold {
    /// When the first of these was told.
    since: Option<Instant>,
    /// By uid.
    of: HashMap<u32, u32>,
    all: u32,
    left_out: u64,
}

impl RecentlyTold {
    /// Whether one more of this user is told; counts it, one way or the other.
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

    /// Begins anew when the time is over; gives how many were left out.
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
    /// Tells one, and removes it.
    pub(super) fn hear(&mut self, site: &Site, name: &OsStr, now: Instant) -> Result<(), NotTaken> {
        let (owner, unsent) = self.drops.open_unsent(name)?;
        // Root became our user before it wrote this, and only that user is believed who called.
        let is_ours = owner == geteuid().as_raw();
        let uid = if is_ours { unsent.uid } else { owner };
        let author = Author::find(uid).doing("find the owner of", &self.drops.dir().join(name));
        let author = author.map_err(NotTaken::Disk)?;
        // First of all, or one that stays would be told again.
        self.drops.remove(name).map_err(NotTaken::Disk)?;
        if self.unsent.admit(uid, now) {
            let own = author.address(site, &*self.disk).ok().map(ReversePath::Mailbox);
            let is_its = |from: &ReversePath| is_ours || author.may_be(site, &*self.disk, from);
            let from = unsent.from.clone().filter(is_its).or(own);
            tell_unsent(&name.to_string_lossy(), &author, from.as_ref(), &unsent);
        }
        Ok(())
    }

    /// Tells how many were not told one by one, once their time is over.
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

/// The story of a call has its name for a session.
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
