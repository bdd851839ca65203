//! Addresses that had too many wrong passwords in one session: AUTH is answered late to them, later
//! each time. Mail is never held up by it.

use crate::limits::{AUTH_DELAY, AUTH_DELAY_KEPT, AUTH_DELAY_MAX, AUTH_DELAYED_MAX};
use crate::net::registry::network;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Bounded: of too many the one that was quiet longest is forgotten.
#[derive(Default)]
pub(super) struct Waits(HashMap<IpAddr, Wait>);

struct Wait {
    /// How late the next answer is.
    next: Duration,
    last: Instant,
}

impl Waits {
    /// How late to answer this address, this time.
    pub fn next(&mut self, client: IpAddr, now: Instant) -> Duration {
        let client = network(client);
        match self.0.get_mut(&client) {
            Some(wait) if now.saturating_duration_since(wait.last) < AUTH_DELAY_KEPT => {
                let delay = wait.next;
                *wait = Wait { next: (delay * 2).min(AUTH_DELAY_MAX), last: now };
                delay
            }
            Some(_) => {
                self.0.remove(&client);
                Duration::ZERO
            }
            None => Duration::ZERO,
        }
    }

    /// From now on answers to it are late.
    pub fn begin(&mut self, client: IpAddr, now: Instant) {
        let client = network(client);
        if self.0.len() >= AUTH_DELAYED_MAX && !self.0.contains_key(&client) {
            let quietest = self.0.iter().min_by_key(|(_, wait)| wait.last);
            if let Some(quietest) = quietest.map(|(client, _)| *client) {
                self.0.remove(&quietest);
            }
        }
        self.0.entry(client).or_insert(Wait { next: AUTH_DELAY, last: now });
    }

    pub fn forget(&mut self, client: IpAddr) {
        self.0.remove(&network(client));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn later_each_time_until_it_is_forgotten() {
        let (mut waits, now) = (Waits::default(), Instant::now());
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        assert_eq!(waits.next(one, now), Duration::ZERO);
        waits.begin(one, now);
        let next: Vec<u64> = (0..6).map(|_| waits.next(one, now).as_secs()).collect();
        assert_eq!(next, [1, 2, 4, 8, 10, 10]);
        // One more such session does not make it shorter again.
        waits.begin(one, now);
        assert_eq!((waits.next(one, now).as_secs(), waits.next(other, now).as_secs()), (10, 0));
        waits.forget(one);
        assert_eq!(waits.next(one, now), Duration::ZERO);
        waits.begin(one, now);
        assert_eq!(waits.next(one, now + AUTH_DELAY_KEPT), Duration::ZERO);
    }

    #[test]
    fn all_addresses_of_one_host_are_one() {
        let (mut waits, now) = (Waits::default(), Instant::now());
        waits.begin(address("2001:db8::1"), now);
        assert_eq!(waits.next(address("2001:db8::ffff:2"), now), AUTH_DELAY);
        assert_eq!(waits.next(address("2001:db8:0:1::1"), now), Duration::ZERO);
    }

    #[test]
    fn it_is_bounded_and_forgets_the_quietest() {
        let (mut waits, now) = (Waits::default(), Instant::now());
        let client = |n: usize| IpAddr::from(Ipv4Addr::from_bits(n as u32));
        for n in 0..=AUTH_DELAYED_MAX {
            waits.begin(client(n), now + Duration::from_millis(n as u64));
        }
        assert_eq!(waits.0.len(), AUTH_DELAYED_MAX);
        let late = now + Duration::from_secs(60);
        assert_eq!(waits.next(client(0), late), Duration::ZERO);
        assert_eq!(waits.next(client(1), late), AUTH_DELAY);
    }
}
