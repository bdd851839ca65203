//! One question to the servers: at the next one when one fails, along the aliases to their end.
//!
//! What is given back is an answer to the question that was asked, and nothing beside it: records
//! of other names are dropped, nonsense is an error.

use super::DnsFault;
use super::answer::{alias, tidy, too_far};
use super::server::Server;
use crate::limits::{DNS_ALIASES_MAX, DNS_TRIES};
use hickory_resolver::proto::op::{DnsResponse, Message};
use hickory_resolver::proto::rr::Record;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The servers in the order in which they are asked.
pub struct Servers {
    list: Vec<Server>,
    /// For one try at one server, UDP and TCP together.
    timeout: Duration,
}

impl Servers {
    pub fn new(addresses: Vec<SocketAddr>, timeout: Duration) -> Servers {
        Servers { list: addresses.into_iter().map(Server::new).collect(), timeout }
    }

    /// The answer, with the aliases that led to it; without them when it is that there is nothing.
    /// Aliases are followed here and not by hickory, for which a circle of them is an answer like
    /// "no such record", and the TTL of an alias nothing when its target is known already.
    pub fn ask(&self, question: &Message) -> Result<DnsResponse, DnsFault> {
        let began = Instant::now();
        let mut step = question.clone();
        let mut aliases: Vec<Record> = Vec::new();
        loop {
            let mut answer = self.ask_in_turn(&step)?;
            let target = answer.answers.last().and_then(alias).cloned();
            let Some(target) = target else {
                if !answer.answers.is_empty() {
                    answer.answers.splice(..0, aliases);
                }
                answer.queries.clone_from(&question.queries);
                return Ok(answer);
            };
            aliases.append(&mut answer.answers);
            if aliases.len() > DNS_ALIASES_MAX {
                return Err(too_far());
            }
            if began.elapsed() > self.longest() {
                return Err(DnsFault::Timeout(began.elapsed()));
            }
            step.queries.truncate(1);
            step.queries.iter_mut().for_each(|query| query.name = target.clone());
        }
    }

    /// How long silent servers can keep one question, and slow ones a chain of them.
    fn longest(&self) -> Duration {
        let tries = self.list.len().saturating_mul(DNS_TRIES);
        self.timeout.saturating_mul(u32::try_from(tries).unwrap_or(u32::MAX))
    }

    /// The first answer that makes sense. Servers that fail (SERVFAIL, REFUSED, nonsense) are
    /// followed by the next; silent ones are asked again, unless another one has said something.
    fn ask_in_turn(&self, question: &Message) -> Result<DnsResponse, DnsFault> {
        let began = Instant::now();
        let mut open: Vec<&Server> = self.list.iter().collect();
        open.sort_by_key(|server| server.is_resting(began)); // stable: else as they were given
        let mut said = None;
        for _ in 0..DNS_TRIES {
            let mut silent = Vec::new();
            for server in open {
                let answer = server.ask(question, Instant::now() + self.timeout);
                match answer.and_then(|answer| tidy(answer, &question.queries)) {
                    Ok(answer) => return Ok(answer),
                    Err(DnsFault::Timeout(_)) => silent.push(server),
                    // A clear word says more than a closed port.
                    Err(fault) if matches!(said, None | Some(DnsFault::Broken(_))) => {
                        said = Some(fault);
                    }
                    Err(_) => {}
                }
            }
            if let Some(fault) = said {
                return Err(fault);
            }
            open = silent;
        }
        Err(DnsFault::Timeout(began.elapsed()))
    }
}
