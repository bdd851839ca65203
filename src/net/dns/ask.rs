//! One question to the servers: to the next one when one fails, along the aliases to their end.
//!
//! The result answers the question and holds nothing else: records of other names are dropped, nonsense is
//! an error.

use super::answer::{alias, tidy, too_far};
use super::patience::DnsPatience;
use super::server::DnsServer;
use super::{DnsFault, Trouble};
use crate::config::NameServer;
use crate::limits::{DNS_ALIASES_MAX, DNS_CACHED_MAX, DNS_TOLD, DNS_TRIES};
use hickory_resolver::proto::op::{DnsResponse, Message};
use hickory_resolver::proto::rr::{Record, RecordType};
use std::time::{Duration, Instant};

/// The servers in the order in which they are asked.
pub struct Servers {
    list: Vec<DnsServer>,
    /// The time for one try at one server, UDP and TCP together.
    timeout: Duration,
    /// Whether questions ask for the AD bit (RFC 6840 §5.7).
    asks_ad: bool,
}

impl Servers {
    pub fn new(servers: Vec<NameServer>, timeout: Duration, asks_ad: bool) -> Servers {
        Servers { list: servers.into_iter().map(DnsServer::new).collect(), timeout, asks_ad }
    }

    /// The answer, with the aliases that led to it where it has records. Its AD bit is set when that of
    /// each step was. Aliases are followed here because hickory takes a circle of them for "no such
    /// record", and ignores the TTL of an alias when it knows the target already.
    pub fn ask(&self, question: &Message) -> Result<DnsResponse, Trouble> {
        let began = Instant::now();
        let mut step = question.clone();
        step.metadata.authentic_data = self.asks_ad;
        let (mut aliases, mut is_authentic): (Vec<Record>, bool) = (Vec::new(), true);
        loop {
            let answer = self.ask_in_turn(&step);
            let mut answer = answer.map_err(|trouble| match aliases.is_empty() {
                true => trouble,
                false => trouble.about(&step),
            })?;
            is_authentic &= answer.metadata.authentic_data;
            answer.metadata.authentic_data = is_authentic;
            // Whoever asks for the alias itself wants to know no more.
            let is_asked = step.queries.iter().any(|query| query.query_type() == RecordType::CNAME);
            let target = answer.answers.last().filter(|_| !is_asked).and_then(alias).cloned();
            let Some(target) = target else {
                if !answer.answers.is_empty() {
                    answer.answers.splice(..0, aliases);
                }
                if answer.as_buffer().len() > DNS_CACHED_MAX {
                    answer.answers.iter_mut().for_each(|record| record.ttl = 0);
                }
                answer.queries.clone_from(&question.queries);
                return Ok(answer);
            };
            aliases.append(&mut answer.answers);
            if aliases.len() > DNS_ALIASES_MAX {
                return Err(self.blame(too_far()));
            }
            if began.elapsed() > self.longest() {
                return Err(self.blame(DnsFault::Timeout(began.elapsed())));
            }
            step.queries.truncate(1);
            step.queries.iter_mut().for_each(|query| query.name = target.clone());
        }
    }

    /// How long silent servers can take for one question; also the bound for a chain of aliases.
    fn longest(&self) -> Duration {
        let tries = self.list.len().saturating_mul(DNS_TRIES);
        self.timeout.saturating_mul(u32::try_from(tries).unwrap_or(u32::MAX))
    }

    /// A fault in an answer, from one of these servers or from the cache.
    pub fn blame(&self, what: DnsFault) -> Trouble {
        let names = self.list.iter().map(|server| server.name().to_string());
        let names = few(names.collect(), " or ");
        let told = match &what {
            DnsFault::Timeout(_) => format!("asked {names}"),
            what => format!("{names}: {what}"),
        };
        Trouble { what, servers: told }
    }

    /// The first answer that makes sense. Servers that fail (SERVFAIL, REFUSED, nonsense) are followed by
    /// the next; silent ones are asked again, unless another server has answered.
    fn ask_in_turn(&self, question: &Message) -> Result<DnsResponse, Trouble> {
        let began = Instant::now();
        let mut open: Vec<AskedServer> = self.list.iter().map(AskedServer::new).collect();
        // A stable sort: otherwise the order is that of the configuration.
        open.sort_by_key(|asked| asked.server.is_resting(began));
        let mut said: Option<DnsFault> = None;
        for _ in 0..DNS_TRIES {
            for asked in open.iter_mut().filter(|asked| asked.is_silent()) {
                let (time, is_whole) = DnsPatience::left_of(self.timeout);
                if time.is_zero() {
                    continue;
                }
                let start = Instant::now();
                let answer = asked.server.ask(question, start + time, is_whole);
                match answer.and_then(|answer| tidy(answer, &question.queries)) {
                    Ok(answer) => return Ok(answer),
                    Err(DnsFault::Timeout(_)) => asked.waited += start.elapsed(),
                    Err(fault) => {
                        // A clear answer says more than a closed port.
                        if matches!(said, None | Some(DnsFault::Broken(_))) {
                            said = Some(fault.clone());
                        }
                        asked.said = Some(fault);
                    }
                }
            }
            if said.is_some() {
                break;
            }
        }
        let what = said.unwrap_or(DnsFault::Timeout(began.elapsed()));
        let servers = few(open.iter().map(AskedServer::told).collect(), ", ");
        Err(Trouble { what, servers })
    }
}

/// A server while one question is asked.
struct AskedServer<'a> {
    server: &'a DnsServer,
    said: Option<DnsFault>,
    /// How long it was waited for without an answer, all tries together.
    waited: Duration,
}

impl AskedServer<'_> {
    fn new(server: &DnsServer) -> AskedServer<'_> {
        AskedServer { server, said: None, waited: Duration::ZERO }
    }

    fn is_silent(&self) -> bool {
        self.said.is_none()
    }

    fn told(&self) -> String {
        let name = self.server.name();
        match &self.said {
            None => format!("{name} was silent for {:.0?}", self.waited),
            Some(DnsFault::ServFail) => format!("{name} answered SERVFAIL"),
            Some(DnsFault::Refused) => format!("{name} answered REFUSED"),
            Some(fault) => format!("{name}: {fault}"),
        }
    }
}

/// The first [`DNS_TOLD`] of these names, and how many more there are.
fn few(mut all: Vec<String>, between: &str) -> String {
    let more = all.len().saturating_sub(DNS_TOLD);
    all.truncate(DNS_TOLD);
    let told = all.join(between);
    if more == 0 { told } else { format!("{told} and {more} more") }
}
