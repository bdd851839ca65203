//! Greets next hops: whether one answers at this moment, and whether with TLS.
//!
//! Says EHLO, STARTTLS where it is offered, and QUIT; never MAIL, and no password.

use crate::config::Config;
use crate::event::Talk;
use crate::limits::{GREET_HOSTS, GREET_TIME, GREET_WAIT};
use crate::net::tls::{Connector, PeerProof, Protection};
use crate::relay::{Caller, Connection, Hop};
use crate::route::next_hop::{Demand, PkiDemand};
use crate::smtp::client::Reason;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

/// Greets hosts, each once, because many addresses may have the same next hop. One that owes TLS to one domain and
/// not to another is greeted for each.
pub struct Greeter {
    caller: Arc<Caller>,
    known: RefCell<Vec<(Hop, HostGreeting)>>,
}

/// The answer of a host.
#[derive(Clone)]
pub enum HostGreeting {
    /// It waits for mail; `tls` in the words of the log.
    Ready { tls: String, is_verified: bool },
    /// It does not take mail now: another host is tried, or mail waits.
    NotNow(String),
    /// It never takes mail.
    Never(String),
}

/// The answers of all hosts.
pub struct Greeted {
    /// The steps in words, in order.
    pub steps: Vec<String>,
    /// The greeting that decides, if there is one.
    pub last: Option<HostGreeting>,
}

impl Greeter {
    pub fn new(config: &Config, connector: Arc<Connector>) -> Greeter {
        let mut caller = Caller { connector, ..Caller::new(config) };
        let timeout = &mut caller.timeout;
        timeout.connect = timeout.connect.min(GREET_WAIT);
        timeout.command = timeout.command.min(GREET_WAIT);
        Greeter { caller: Arc::new(caller), known: RefCell::default() }
    }

    /// Greets the hosts in order until one answers; at most [`GREET_HOSTS`], and none after [`GREET_TIME`].
    pub fn greet(&self, hops: &[Hop]) -> Greeted {
        let (mut steps, latest) = (Vec::new(), Instant::now() + GREET_TIME);
        let (mut never, mut is_never) = (None, true);
        for hop in hops.iter().take(GREET_HOSTS) {
            if Instant::now() >= latest {
                break;
            }
            let greeting = self.one(hop);
            steps.push(match &greeting {
                HostGreeting::Ready { tls, .. } => format!("greeted by {hop}, tls={tls}"),
                HostGreeting::NotNow(why) => format!("not now: {hop}: {why}"),
                HostGreeting::Never(why) => format!("refused by {hop}: {why}"),
            });
            match greeting {
                HostGreeting::Ready { .. } => return Greeted { steps, last: Some(greeting) },
                HostGreeting::Never(_) => never = Some(greeting),
                HostGreeting::NotNow(_) => is_never = false,
            }
        }
        let asked = steps.len();
        // Final only where all say so (RFC 7504 §4).
        if is_never && never.is_some() && asked == hops.len() {
            return Greeted { steps, last: never };
        }
        steps.push(match hops.len() - asked {
            0 => "no host can be spoken to now: mail waits".to_owned(),
            left => format!("{asked} hosts cannot be spoken to now; {left} more were not asked"),
        });
        Greeted { steps, last: None }
    }

    fn one(&self, hop: &Hop) -> HostGreeting {
        // No password is said, so it asks for nothing.
        let demand = match &hop.demand {
            Demand::Pki(PkiDemand::Login) => Demand::Offered,
            demand => demand.clone(),
        };
        let hop = &Hop { demand, login: None, domain: None, ..hop.clone() };
        if let Some((_, known)) = self.known.borrow().iter().find(|(known, _)| known == hop) {
            return known.clone();
        }
        let greeting = match Connection::open(&self.caller, hop, &mut Talk::default()) {
            Ok(connection) => {
                let tls = match (connection.protection(), connection.offers().starttls) {
                    (Some(protection), _) => protection.to_string(),
                    (None, false) => "no (no STARTTLS is offered)".to_owned(),
                    // TLS was tried, and the host called once more without.
                    (None, true) => {
                        let why = connection.in_the_clear().unwrap_or_default();
                        format!("no (STARTTLS is offered and broken: it {why})")
                    }
                };
                let is_sure = |protection: &Protection| {
                    !matches!(protection.proof, None | Some(PeerProof::Nothing))
                };
                let is_verified = connection.protection().is_some_and(is_sure);
                connection.quit();
                HostGreeting::Ready { tls, is_verified }
            }
            Err(fate) => {
                let why = fate.reason().map(Reason::to_string).unwrap_or_default();
                // As an attempt takes it: before TLS anybody in between can say it.
                let is_sure = fate.reason().is_some_and(Reason::is_no_mail_host);
                match is_sure && !hop.demand.is_owed() {
                    true => HostGreeting::Never(why),
                    false => HostGreeting::NotNow(why),
                }
            }
        };
        self.known.borrow_mut().push((hop.clone(), greeting.clone()));
        greeting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Error, ErrorKind};
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    #[test]
    fn a_host_is_greeted_once_for_each_thing_that_it_owes() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let config = Config::demo();
        let caller = Caller {
            dial: Box::new(move |_, _| {
                counted.fetch_add(1, Relaxed);
                Err(Error::from(ErrorKind::ConnectionRefused))
            }),
            ..Caller::new(&config)
        };
        let greeter = Greeter { caller: Arc::new(caller), known: RefCell::default() };
        let offered = Hop::offered("mx.test", SocketAddr::from(([192, 0, 2, 1], 25)));
        let owed = Hop { demand: Demand::Pki(PkiDemand::Wish), ..offered.clone() };
        for (hop, count) in [(&offered, 1), (&offered, 1), (&owed, 2), (&owed, 2), (&offered, 2)] {
            assert!(greeter.greet(std::slice::from_ref(hop)).last.is_none());
            assert_eq!(calls.load(Relaxed), count);
        }
    }
}
