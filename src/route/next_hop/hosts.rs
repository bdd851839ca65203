//! The hosts of one attempt, looked up when they are reached, and what becomes of those that cannot be
//! tried. [`NextHops::trouble`] decides whether mail waits or fails.

use super::held::Unheld;
use super::promise::NO_PROMISE;
use super::{Demand, Hop, MailHosts, Obstacle, Ourselves, TlsSeen, Way, mail_hosts};
use crate::config::{LmtpServer, Prefer};
use crate::id::random;
use crate::limits::{HOP_HOSTS_MAX, HOP_LOOKUPS, HOPS_MAX};
use crate::mail::address::literal;
use crate::mail::envelope::TlsWish;
use crate::mta_sts::StsFound;
use crate::net::dns::{Addresses, Located, MxHost};
use crate::net::stream::Endpoint;
use crate::site::Site;
use crate::smtp::client::OWED_BY;
use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// The hosts of one attempt, one after the other.
pub struct NextHops<'a> {
    pub(super) site: &'a Site,
    ourselves: &'a Ourselves,
    pub(super) way: Way,
    /// What the message says about TLS.
    pub(super) wish: TlsWish,
    pub(super) port: u16,
    /// Whether the domain has no MX and is its own mail host (RFC 5321 §5.1).
    pub(super) is_implicit: bool,
    /// Whether nobody in between can have named the hosts: the configuration does, or DNSSEC vouches for the MX
    /// records, or the domain is its own host.
    pub(super) is_named: bool,
    /// The name at the end of the domain's aliases, where it is one.
    pub(super) domain_end: Option<String>,
    /// Hosts that were not reached yet, the best first, those of equal preference together.
    levels: VecDeque<Vec<MxHost>>,
    /// Hosts with their addresses, of which it is not decided what they are held to.
    found: VecDeque<FoundHost>,
    ready: VecDeque<Hop>,
    /// Addresses of all hops so far, so that each is tried once.
    seen: HashSet<SocketAddr>,
    asked: usize,
    /// How long the lookups have taken.
    pub(super) spent: Duration,
    /// Hosts that surely have no address, and why.
    absent: Vec<String>,
    /// Hosts that have addresses, but none of those that `relay.prefer` allows.
    passed_over: Vec<String>,
    /// Hosts for which DNS gave no sure answer, and those past the bounds.
    unsure: Vec<String>,
    /// Hosts that owe TLS and cannot be held to it, and why.
    unheld: Vec<String>,
    /// Hosts that can never be one for a message that requires TLS, and why.
    unpromised: Vec<String>,
    /// A host was made ready to be tried.
    has_host: bool,
    /// The same for counters and reports.
    pub(super) seen_tls: Vec<TlsSeen>,
    /// What MTA-STS says for the domain, once it was asked for.
    pub(super) sts: Option<StsFound>,
    /// What DNS said about the TLS that hosts owe, for the trace.
    notes: Vec<String>,
    /// The host that was found to be this one.
    us: Option<String>,
    /// The steps in words; none where no caller reads them.
    pub(super) steps: Option<Vec<String>>,
}

/// What a host name leads to.
enum HostFound {
    /// IPv4-mapped addresses are written as IPv4.
    Addresses(FoundHost),
    Absent(&'static str),
    Unsure(String),
}

/// A host with addresses.
pub(super) struct FoundHost {
    pub mx: MxHost,
    addresses: Vec<SocketAddr>,
    /// As [`Located::secure`].
    pub is_secure: bool,
    /// As [`Located::end`].
    pub end: Option<String>,
}

impl Iterator for NextHops<'_> {
    type Item = Hop;

    fn next(&mut self) -> Option<Hop> {
        self.fill();
        self.ready.pop_front()
    }
}

impl<'a> NextHops<'a> {
    pub(super) fn new(
        site: &'a Site,
        ourselves: &'a Ourselves,
        way: &Way,
        wish: TlsWish,
    ) -> NextHops<'a> {
        NextHops {
            site,
            ourselves,
            way: way.clone(),
            wish,
            port: match way {
                Way::Mx(_) | Way::Literal(_) => site.config.relay.port,
                Way::Route(next_hop)
                | Way::Smarthost(next_hop)
                | Way::Lmtp(LmtpServer::Inet(next_hop)) => next_hop.port,
                Way::Lmtp(LmtpServer::Unix(_)) => 0,
            },
            is_implicit: false,
            is_named: true,
            domain_end: None,
            levels: VecDeque::new(),
            found: VecDeque::new(),
            ready: VecDeque::new(),
            seen: HashSet::new(),
            asked: 0,
            spent: Duration::ZERO,
            absent: Vec::new(),
            passed_over: Vec::new(),
            unsure: Vec::new(),
            unheld: Vec::new(),
            unpromised: Vec::new(),
            has_host: false,
            seen_tls: Vec::new(),
            sts: None,
            notes: Vec::new(),
            us: None,
            steps: None,
        }
    }

    /// Why there is no host at this moment; none where there is one.
    pub fn blocked(&self) -> Option<Obstacle> {
        self.trouble().filter(|_| self.ready.is_empty())
    }

    /// Takes what was seen of hosts that were passed over since the last call.
    pub fn take_seen(&mut self) -> Vec<TlsSeen> {
        std::mem::take(&mut self.seen_tls)
    }

    /// Takes what DNS said about the TLS that hosts owe since the last call.
    pub fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// Keeps what DNS said, for the trace, and for the steps in words.
    pub(super) fn note(&mut self, what: String) {
        self.say(|| what.clone());
        self.notes.push(what);
    }

    /// What was left out so far, or why there is no host. Permanent only when there is no host and all that
    /// was found out is sure.
    pub fn trouble(&self) -> Option<Obstacle> {
        // Only its owner can mend that.
        if !self.unheld.is_empty() {
            let words = format!("{}: {}", self.way, list(&self.unheld));
            return Some(Obstacle::temporary("4.7.5", words));
        }
        if !self.unsure.is_empty() {
            let words = format!("{}: {}", self.way, list(&self.unsure));
            return Some(Obstacle::temporary("4.4.3", words));
        }
        // The administrator can allow them.
        if !self.passed_over.is_empty() {
            let words = format!("{}: {}", self.way, list(&self.passed_over));
            return Some(Obstacle::temporary("4.4.4", words));
        }
        // Where others can be, these are no trouble.
        if !self.unpromised.is_empty() && !self.has_host {
            let words = format!("{}: {}", self.way, list(&self.unpromised));
            return Some(Obstacle::permanent(NO_PROMISE, words));
        }
        match (&self.way, &self.us) {
            // It needs no lookup.
            (Way::Lmtp(LmtpServer::Unix(_)), _) => None,
            _ if !self.seen.is_empty() => (!self.absent.is_empty()).then(|| {
                Obstacle::temporary("4.4.4", format!("{}: {}", self.way, list(&self.absent)))
            }),
            // A host that the configuration names can be mended by the administrator.
            (Way::Route(_) | Way::Smarthost(_) | Way::Lmtp(_), us) => {
                let why = match us {
                    Some(us) => format!("{us} is this host, and mail would come back"),
                    None => list(&self.absent),
                };
                Some(Obstacle::temporary("4.3.5", format!("{}: {why}", self.way)))
            }
            (Way::Mx(domain), _) if !self.absent.is_empty() => {
                let words = match self.is_implicit {
                    true => format!("{domain} has neither MX nor address"),
                    false => {
                        format!("no MX host of {domain} has an address: {}", list(&self.absent))
                    }
                };
                Some(Obstacle::permanent("5.4.4", words))
            }
            (Way::Mx(domain), Some(us)) => {
                let words = format!(
                    "DNS names this host ({us}) for mail to {domain}, which is not delivered here: \
                     it needs a domain or a relay.route here, or another MX"
                );
                Some(Obstacle::permanent("5.4.6", words))
            }
            (Way::Literal(address), Some(_)) => {
                let words = format!(
                    "{} is this host, which delivers no mail to addresses",
                    literal(*address)
                );
                Some(Obstacle::permanent("5.4.6", words))
            }
            // Not reached: without a host, a reason was noted.
            (Way::Mx(_) | Way::Literal(_), None) => {
                Some(Obstacle::temporary("4.4.4", format!("{}: no host found", self.way)))
            }
        }
    }

    /// Finds the hosts, without their addresses.
    pub(super) fn find(&mut self) -> Result<(), Obstacle> {
        let one = |host: String| VecDeque::from([vec![MxHost { preference: 0, host }]]);
        self.levels = match &self.way {
            Way::Mx(domain) => {
                let domain = domain.clone();
                match mail_hosts(self.site.resolver(), &domain)? {
                    Some(MailHosts { hosts, is_secure, end }) => {
                        (self.is_named, self.domain_end) = (is_secure, end);
                        let levels = hosts.chunk_by(|a, b| a.preference == b.preference);
                        levels.map(<[_]>::to_vec).collect()
                    }
                    None => {
                        self.is_implicit = true;
                        self.say(|| format!("{domain} has no MX and stands for itself"));
                        one(domain.to_string())
                    }
                }
            }
            Way::Route(next_hop)
            | Way::Smarthost(next_hop)
            | Way::Lmtp(LmtpServer::Inet(next_hop)) => one(next_hop.host.clone()),
            Way::Lmtp(server @ LmtpServer::Unix(path)) => {
                let address = Endpoint::LmtpUnix(path.clone());
                let hop = Hop::offered(&server.to_string(), address);
                self.ready.push_back(Hop { demand: Demand::Nothing, ..hop });
                VecDeque::new()
            }
            Way::Literal(address) => one(address.to_string()),
        };
        Ok(())
    }

    /// Reaches further hosts until a hop is ready or no host is left.
    pub(super) fn fill(&mut self) {
        while self.ready.is_empty() {
            if let Some(host) = self.found.pop_front() {
                self.decide(host);
            } else if let Some(level) = self.levels.pop_front() {
                self.reach(level);
            } else {
                return;
            }
        }
    }

    /// Makes a host ready to be tried, at each of its addresses; or passes it over, because it cannot be held
    /// to the TLS that it owes.
    fn decide(&mut self, host: FoundHost) {
        let name = match self.way {
            Way::Literal(address) => literal(address),
            _ => host.mx.host.clone(),
        };
        let login = self.site.password_for(&name, self.port).cloned();
        // Where the message wants no policy to hold, the domain is not asked for one.
        let domain = match &self.way {
            Way::Mx(domain) if self.wish != TlsWish::NotRequired => Some(domain.clone()),
            _ => None,
        };
        match self.demand(&host, login.is_some()) {
            Ok(demand) => {
                if let Some(by) = demand.owed_by() {
                    self.say_of(&host.mx, &format!("TLS is {OWED_BY}{by}"));
                }
                self.has_host = true;
                self.ready.extend(host.addresses.into_iter().map(|address| Hop {
                    name: name.clone(),
                    address: match self.way {
                        Way::Lmtp(_) => Endpoint::Lmtp(address),
                        _ => Endpoint::Smtp(address),
                    },
                    demand: demand.clone(),
                    login: login.clone(),
                    domain: domain.clone(),
                }));
            }
            Err(Unheld { trouble, is_for_good: true, .. }) => {
                self.note(format!("{name}: passed over: {trouble}"));
                self.unpromised.push(format!("{name}: {trouble}"));
            }
            Err(Unheld { demand, trouble, .. }) => {
                self.say_of(&host.mx, &format!("passed over: {trouble}"));
                self.unheld.push(format!("{name}: {trouble}"));
                let (receiving, sending) = (None, None);
                let (host, outcome) = (name, Err(trouble));
                self.seen_tls.push(TlsSeen { domain, demand, host, receiving, sending, outcome });
            }
        }
    }

    /// Makes hosts of equal preference ready to be tried, in a random order.
    fn reach(&mut self, mut level: Vec<MxHost>) {
        let is_mx = matches!(self.way, Way::Mx(_));
        if let Some(us) = level.iter().find(|mx| is_mx && self.ourselves.is_name(&mx.host)) {
            return self.cut(us, &us.host);
        }
        shuffle(&mut level);
        if let [first, _, ..] = &level[..] {
            let preference = first.preference;
            self.say(|| format!("those of preference {preference} are shuffled for each attempt"));
        }
        let mut too_many = 0;
        for mut host in self.look_up_all(&level) {
            host.addresses.retain(|address| match self.is_full() {
                true => {
                    too_many += usize::from(!self.seen.contains(address));
                    false
                }
                false => self.seen.insert(*address),
            });
            if !host.addresses.is_empty() {
                self.found.push_back(host);
            }
        }
        if too_many > 0 {
            self.leave_out(too_many, "addresses");
        }
    }

    /// All addresses of hosts of equal preference, before any is tried; none when one of them is this host,
    /// because then none of them may be tried (RFC 5321 §5.1).
    fn look_up_all(&mut self, level: &[MxHost]) -> Vec<FoundHost> {
        let before = (self.absent.len(), self.unsure.len(), self.passed_over.len());
        let mut hosts = Vec::new();
        for (index, mx) in level.iter().enumerate() {
            if self.asked >= HOP_HOSTS_MAX || self.spent >= HOP_LOOKUPS || self.is_full() {
                self.leave_out(level.len() - index, "hosts");
                break;
            }
            let host = match self.look_up(mx) {
                HostFound::Addresses(found) => found,
                HostFound::Absent(why) => {
                    self.say_of(mx, why);
                    self.absent.push(format!("{}: {why}", mx.host));
                    continue;
                }
                HostFound::Unsure(why) => {
                    self.say_of(mx, &why);
                    self.unsure.push(why);
                    continue;
                }
            };
            let is_us = |address: &&SocketAddr| self.ourselves.is_address(**address);
            if let Some(us) = host.addresses.iter().find(is_us) {
                // Hosts that may not be tried are no trouble.
                self.absent.truncate(before.0);
                self.unsure.truncate(before.1);
                self.passed_over.truncate(before.2);
                self.cut(mx, &us.to_string());
                return Vec::new();
            }
            let addresses = match self.preferred(&mx.host, host.addresses) {
                Ok(addresses) => addresses,
                Err(why) => {
                    self.say_of(mx, &why);
                    self.passed_over.push(format!("{}: {why}", mx.host));
                    continue;
                }
            };
            if !is_ip(&mx.host) {
                let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                self.say_of(mx, &shown.join(", "));
            }
            hosts.push(FoundHost { addresses, ..host });
        }
        hosts
    }

    /// Leaves out this host, those of equal preference and all that are worse.
    fn cut(&mut self, mx: &MxHost, by: &str) {
        let others = match self.way {
            Way::Mx(_) if !self.is_implicit => "; it and all that are no better are left out",
            _ => "",
        };
        self.say_of(mx, &format!("{by} is this host{others}"));
        self.us = Some(match by == mx.host || is_ip(&mx.host) {
            true => by.to_owned(),
            false => format!("{} at {by}", mx.host),
        });
        self.levels.clear();
    }

    /// Notes the hosts past a bound. Mail only waits, because another attempt may shuffle them differently.
    fn leave_out(&mut self, here: usize, what: &str) {
        let worse: usize = self.levels.drain(..).map(|level| level.len()).sum();
        let worse = if worse > 0 { format!(", worse hosts {worse}") } else { String::new() };
        let words = format!("left out, past the bounds of one attempt: {what} {here}{worse}");
        self.say(|| words.clone());
        self.unsure.push(words);
    }

    fn look_up(&mut self, mx: &MxHost) -> HostFound {
        let at = |ip: IpAddr| SocketAddr::new(ip.to_canonical(), self.port);
        let found = |addresses, is_secure, end| {
            HostFound::Addresses(FoundHost { mx: mx.clone(), addresses, is_secure, end })
        };
        if let Ok(address) = mx.host.parse() {
            return match self.way {
                // An MX record names a host, and no host has an address as its name (RFC 5321 §5.1).
                Way::Mx(_) => HostFound::Absent("an address where a name should stand"),
                _ => found(vec![SocketAddr::new(address, self.port)], false, None),
            };
        }
        let began = Instant::now();
        let answer = self.site.resolver().located(&mx.host);
        self.asked += 1;
        self.spent += began.elapsed();
        match answer {
            Ok(Located { addresses, secure, end }) => match addresses {
                Addresses::Found(addresses) => {
                    found(addresses.into_iter().map(at).collect(), secure, end)
                }
                Addresses::None => HostFound::Absent("no address"),
                Addresses::NoDomain => HostFound::Absent("no such name"),
            },
            Err(error) => HostFound::Unsure(error.to_string()),
        }
    }

    /// The addresses of a host as `relay.prefer` wants them; the error says why none is left. An address that
    /// the configuration names as a next hop stays.
    fn preferred(&self, host: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, String> {
        if is_ip(host) && !matches!(self.way, Way::Literal(_)) {
            return Ok(found);
        }
        let shown: Vec<String> = found.iter().map(|address| address.ip().to_string()).collect();
        let (six, four): (Vec<_>, Vec<_>) = found.into_iter().partition(SocketAddr::is_ipv6);
        let (left, key) = match self.site.config.relay.prefer {
            Prefer::Ipv6 => ([six, four].concat(), ""),
            Prefer::Ipv4 => ([four, six].concat(), ""),
            Prefer::Ipv6Only => (six, "no IPv6 address, and relay.prefer is \"ipv6-only\""),
            Prefer::Ipv4Only => (four, "no IPv4 address, and relay.prefer is \"ipv4-only\""),
        };
        if left.is_empty() { Err(format!("{} ({key})", shown.join(", "))) } else { Ok(left) }
    }

    fn is_full(&self) -> bool {
        self.seen.len() >= HOPS_MAX
    }

    fn say(&mut self, step: impl FnOnce() -> String) {
        if let Some(steps) = &mut self.steps {
            steps.push(step());
        }
    }

    /// Writes the step of a host.
    fn say_of(&mut self, mx: &MxHost, what: &str) {
        let preferred = matches!(self.way, Way::Mx(_)) && !self.is_implicit;
        self.say(|| match preferred {
            true => format!("MX {} {}: {what}", mx.preference, mx.host),
            false => format!("{}: {what}", mx.host),
        });
    }
}

pub(super) fn is_ip(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
}

/// Shuffles by Fisher and Yates: each order is equally likely (RFC 5321 §5.1).
fn shuffle<T>(list: &mut [T]) {
    for last in (1..list.len()).rev() {
        // The list is short, so the remainder favours no place noticeably.
        list.swap(last, (random() % (last as u64 + 1)) as usize);
    }
}

/// The first few of many reasons, for one line.
fn list(reasons: &[String]) -> String {
    let shown = reasons.len().min(3);
    let more = match reasons.len() - shown {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!("{}{more}", reasons[..shown].join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, HostPort};
    use crate::mail::address::Domain;
    use crate::net::dns::{DnsAnswer, DnsError, Record, RecordKind, Records, Resolver};
    use std::sync::Arc;

    /// Two hosts of different preference, each at an address of its own.
    #[derive(Debug)]
    struct Two;

    impl Resolver for Two {
        fn lookup(&self, name: &[u8], kind: RecordKind) -> Result<DnsAnswer, DnsError> {
            let mx = |preference, host: &str| Record::Mx(MxHost { preference, host: host.into() });
            let records = match kind {
                RecordKind::Mx => vec![mx(10, "one.test"), mx(20, "two.test")],
                _ => vec![Record::Address([192, 0, 2, u8::from(name == b"two.test")].into())],
            };
            Ok(DnsAnswer { records: Records::Found(records), secure: false })
        }
    }

    #[test]
    fn lookups_that_take_too_long_end_the_attempt_and_not_the_mail() {
        let site = Site::read_names(Config::demo()).unwrap().0.with_resolver(Arc::new(Two));
        let ourselves = Ourselves::of(&site.config);
        let way = Way::Mx(Domain::parse("far.test").unwrap());
        let mut hops = super::super::next_hops(&site, &ourselves, &way, TlsWish::Usual).unwrap();
        hops.spent = HOP_LOOKUPS;
        assert_eq!((hops.by_ref().count(), hops.asked), (1, 1));
        let trouble = hops.trouble().unwrap();
        assert_eq!(
            trouble.to_string(),
            "451 4.4.3 far.test by MX: left out, past the bounds of one attempt: hosts 1"
        );
    }

    /// One host with an address of each kind, and one for each kind alone.
    #[derive(Debug)]
    struct Both;

    impl Resolver for Both {
        fn lookup(&self, name: &[u8], kind: RecordKind) -> Result<DnsAnswer, DnsError> {
            let addresses: &[&str] = match (kind, name) {
                (RecordKind::A, b"both.test" | b"four.test") => &["192.0.2.1"],
                (RecordKind::Aaaa, b"both.test" | b"six.test") => &["2001:db8::1"],
                _ => &[],
            };
            let found = addresses.iter().map(|text| Record::Address(text.parse().unwrap()));
            let records = match addresses {
                [] => Records::Absent,
                _ => Records::Found(found.collect()),
            };
            Ok(DnsAnswer { records, secure: false })
        }
    }

    #[test]
    fn addresses_come_as_they_are_preferred_and_others_never_where_only_those_may() {
        let found = |prefer: &str, way: &Way| {
            let text = format!("[relay]\nnetworks = [\"::1\"]\nprefer = \"{prefer}\"");
            let config = Config::parse(&text, "facteur.toml".as_ref()).unwrap();
            let site = Site::read_names(config).unwrap().0.with_resolver(Arc::new(Both));
            let ourselves = Ourselves::of(&site.config);
            match super::super::next_hops(&site, &ourselves, way, TlsWish::Usual) {
                Ok(hops) if hops.blocked().is_some() => hops.blocked().unwrap().to_string(),
                Ok(hops) => hops
                    .map(|hop| hop.address.address().unwrap().ip().to_string() + " ")
                    .collect::<String>(),
                Err(obstacle) => obstacle.to_string(),
            }
        };
        let by_mx =
            |prefer: &str, host: &str| found(prefer, &Way::Mx(Domain::parse(host).unwrap()));
        assert_eq!(by_mx("ipv6", "both.test"), "2001:db8::1 192.0.2.1 ");
        assert_eq!(by_mx("ipv4", "both.test"), "192.0.2.1 2001:db8::1 ");
        assert_eq!(by_mx("ipv6-only", "both.test"), "2001:db8::1 ");
        assert_eq!(by_mx("ipv4-only", "both.test"), "192.0.2.1 ");
        assert_eq!((by_mx("ipv4", "six.test"), by_mx("ipv6", "four.test")), {
            ("2001:db8::1 ".to_owned(), "192.0.2.1 ".to_owned())
        });
        assert_eq!(
            by_mx("ipv6-only", "four.test"),
            "451 4.4.4 four.test by MX: four.test: 192.0.2.1 (no IPv6 address, and relay.prefer is \
             \"ipv6-only\")"
        );
        let literal = Way::Literal("192.0.2.9".parse().unwrap());
        assert!(found("ipv6-only", &literal).starts_with("451 4.4.4 "));
        assert_eq!(found("ipv4-only", &literal), "192.0.2.9 ");
        // The administrator has written this one down.
        let named = Way::Route(HostPort { host: "192.0.2.9".to_owned(), port: 25 });
        assert_eq!(found("ipv6-only", &named), "192.0.2.9 ");
    }

    #[test]
    fn every_order_comes() {
        let orders = |_| {
            let mut list = [1, 2, 3];
            shuffle(&mut list);
            list
        };
        // The chance that one of six orders is missed in 200 tries is about 10^-15.
        assert_eq!((0..200).map(orders).collect::<HashSet<_>>().len(), 6);
        shuffle::<u8>(&mut []);
    }
}
