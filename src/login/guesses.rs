//! Wrong passwords of each client address over all its sessions: after the first few, answers to AUTH are
//! delayed, longer with each wrong one. Mail is never delayed.
//!
//! A client of `relay.networks` (webmail) speaks for many people, so its wrong passwords are counted by
//! user. A typed name is kept as a hash only.

use crate::limits::{
    AUTH_DELAY, AUTH_DELAY_KEPT, AUTH_DELAY_MAX, AUTH_DELAYED_MAX, AUTH_NAMES_COUNTED,
};
use crate::net::registry::network;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// An attempt to log in: where from, and as which user.
#[derive(Clone, Copy, Debug)]
pub struct Guess {
    who: Who,
    user: u64,
}

/// What wrong passwords are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Who {
    /// An IPv4 address, or the /64 of an IPv6 address.
    Network(IpAddr),
    /// A user, from any client of `relay.networks`.
    User(u64),
}

/// The counters. Bounded: where there is no room, the one that did not change for the longest time is
/// forgotten.
#[derive(Default)]
pub(super) struct Guesses {
    table: HashMap<Who, Wrong>,
    /// The hash of names.
    names: RandomState,
}

/// Wrong passwords within an hour.
struct Wrong {
    /// Wrong passwords for each user that was named, up to [`AUTH_NAMES_COUNTED`] users.
    users: Vec<(u64, u32)>,
    /// Wrong passwords for all further users; no right password forgives them.
    others: u32,
    last: Instant,
}

impl Guesses {
    /// The counter for this attempt. `user`: as [`super::canonical`] writes it. `is_trusted`: the client is
    /// one of `relay.networks`.
    pub fn guess(&self, client: IpAddr, user: &str, is_trusted: bool) -> Guess {
        let user = self.names.hash_one(user.to_ascii_lowercase());
        let who = if is_trusted { Who::User(user) } else { Who::Network(network(client)) };
        Guess { who, user }
    }

    /// How long to delay the answer, where the first `free` wrong passwords cost nothing.
    pub fn delay(&mut self, guess: Guess, free: usize, now: Instant) -> Duration {
        let Some(wrong) = self.table.get(&guess.who) else { return Duration::ZERO };
        if wrong.is_over(now) {
            self.table.remove(&guess.who);
            return Duration::ZERO;
        }
        match wrong.count().checked_sub(free) {
            None => Duration::ZERO,
            Some(past) => {
                let doubled = u32::try_from(past).ok().and_then(|past| 2_u32.checked_pow(past));
                doubled
                    .map_or(AUTH_DELAY_MAX, |times| AUTH_DELAY.saturating_mul(times))
                    .min(AUTH_DELAY_MAX)
            }
        }
    }

    /// Counts a wrong password.
    pub fn add(&mut self, guess: Guess, now: Instant) {
        let Guess { who, user } = guess;
        if self.table.len() >= AUTH_DELAYED_MAX && !self.table.contains_key(&who) {
            let quietest = self.table.iter().min_by_key(|(_, wrong)| wrong.last);
            if let Some(quietest) = quietest.map(|(who, _)| *who) {
                self.table.remove(&quietest);
            }
        }
        let wrong = self.table.entry(who).or_insert_with(|| Wrong::new(now));
        if wrong.is_over(now) {
            *wrong = Wrong::new(now);
        }
        wrong.last = now;
        let has_room = wrong.users.len() < AUTH_NAMES_COUNTED;
        match wrong.users.iter_mut().find(|(known, _)| *known == user) {
            Some((_, count)) => *count = count.saturating_add(1),
            None if has_room => wrong.users.push((user, 1)),
            None => wrong.others = wrong.others.saturating_add(1),
        }
    }

    /// Forgets the wrong passwords for this user, because the right one came.
    pub fn forgive(&mut self, guess: Guess) {
        if let Some(wrong) = self.table.get_mut(&guess.who) {
            wrong.users.retain(|(user, _)| *user != guess.user);
            if wrong.count() == 0 {
                self.table.remove(&guess.who);
            }
        }
    }
}

impl Wrong {
    fn new(now: Instant) -> Wrong {
        Wrong { users: Vec::new(), others: 0, last: now }
    }

    fn count(&self) -> usize {
        let counts = self.users.iter().map(|(_, count)| *count).chain([self.others]);
        counts.fold(0_usize, |sum, count| sum.saturating_add(count as usize))
    }

    /// Whether the last one is so long ago that none counts any more.
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) >= AUTH_DELAY_KEPT
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const FREE: usize = 3;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn seconds(guesses: &mut Guesses, guess: Guess, now: Instant) -> u64 {
        guesses.delay(guess, FREE, now).as_secs()
    }

    #[test]
    fn later_with_each_wrong_one_until_an_hour_without() {
        let (mut guesses, now) = (Guesses::default(), Instant::now());
        let one = guesses.guess(address("192.0.2.1"), "ann@mx.test", false);
        let other = guesses.guess(address("192.0.2.2"), "ann@mx.test", false);
        let mut late = Vec::new();
        for _ in 0..9 {
            late.push(seconds(&mut guesses, one, now));
            guesses.add(one, now);
        }
        assert_eq!(late, [0, 0, 0, 1, 2, 4, 8, 10, 10]);
        assert_eq!(seconds(&mut guesses, other, now), 0);
        // A delayed answer is no wrong password, and does not prolong the delay.
        let nearly = now + AUTH_DELAY_KEPT - Duration::from_secs(1);
        assert_eq!(seconds(&mut guesses, one, nearly), 10);
        assert_eq!(seconds(&mut guesses, one, now + AUTH_DELAY_KEPT), 0);
        // Users without number.
        for _ in 0..100 {
            guesses.add(one, now);
        }
        assert_eq!(seconds(&mut guesses, one, now), 10);
        guesses.add(one, now + AUTH_DELAY_KEPT);
        assert_eq!(seconds(&mut guesses, one, now + AUTH_DELAY_KEPT), 0);
    }

    #[test]
    fn a_right_password_forgives_its_user_alone() {
        let (mut guesses, now) = (Guesses::default(), Instant::now());
        let client = address("192.0.2.1");
        let [ann, bob] = ["ann@mx.test", "bob@mx.test"].map(|it| guesses.guess(client, it, false));
        let loud = guesses.guess(client, "ANN@mx.test", false);
        (0..2).for_each(|_| guesses.add(ann, now));
        (0..2).for_each(|_| guesses.add(bob, now));
        assert_eq!(seconds(&mut guesses, ann, now), 2);
        guesses.forgive(loud);
        assert_eq!(seconds(&mut guesses, ann, now), 0);
        guesses.add(bob, now);
        assert_eq!(seconds(&mut guesses, ann, now), 1, "those for bob count still");
        guesses.forgive(bob);
        assert!(guesses.table.is_empty());
    }

    #[test]
    fn all_addresses_of_one_host_are_one_and_webmail_is_many() {
        let (mut guesses, now) = (Guesses::default(), Instant::now());
        let one = guesses.guess(address("2001:db8::1"), "ann@mx.test", false);
        let same = guesses.guess(address("2001:db8::ffff:2"), "bob@mx.test", false);
        let other = guesses.guess(address("2001:db8:0:1::1"), "ann@mx.test", false);
        (0..3).for_each(|_| guesses.add(one, now));
        assert_eq!([same, other].map(|it| seconds(&mut guesses, it, now)), [1, 0]);
        let webmail = |user| guesses.guess(address("127.0.0.1"), user, true);
        let [ann, bob] = ["ann@mx.test", "bob@mx.test"].map(webmail);
        (0..3).for_each(|_| guesses.add(ann, now));
        assert_eq!([ann, bob].map(|it| seconds(&mut guesses, it, now)), [1, 0]);
    }

    #[test]
    fn it_is_bounded_and_forgets_the_quietest() {
        let (mut guesses, now) = (Guesses::default(), Instant::now());
        let client = |n: usize| IpAddr::from(Ipv4Addr::from_bits(n as u32));
        for n in 0..=AUTH_DELAYED_MAX {
            let guess = guesses.guess(client(n), "ann@mx.test", false);
            (0..3).for_each(|_| guesses.add(guess, now + Duration::from_millis(n as u64)));
        }
        assert_eq!(guesses.table.len(), AUTH_DELAYED_MAX);
        let [first, second] = [0, 1].map(|n| guesses.guess(client(n), "ann@mx.test", false));
        assert_eq!([first, second].map(|it| seconds(&mut guesses, it, now)), [0, 1]);
        // Made-up names take a bounded room.
        for n in 0..1000 {
            let guess = guesses.guess(client(1), &format!("user{n}@mx.test"), false);
            guesses.add(guess, now);
        }
        assert_eq!(guesses.table[&second.who].users.len(), AUTH_NAMES_COUNTED);
        assert_eq!(guesses.table[&second.who].count(), 1003);
    }
}
