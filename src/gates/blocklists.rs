//! Asks the lists of the configuration about a client, and knows which of them work (RFC 5782).
//!
//! A list refuses mail only while its test points are right (§5): one that has died answers nothing, or lists
//! everybody. Lists are asked one after the other in the session's thread, each within [`LIST_WAIT`], all
//! within [`LISTS_WAIT`]; the first that lists the client is enough.

use crate::config::Blocklist;
use crate::event::count::OTHERS;
use crate::event::warn;
use crate::limits::gates::{
    LIST_KEY_LEAST, LIST_REST, LIST_SILENCES, LIST_TEST_WAIT, LIST_WAIT, LISTS_WAIT,
};
use crate::mail::proof::blocklist::{CodeRange, ListWord, answer, question};
use crate::mail::proof::name::Name;
use crate::net::dns::{Record, RecordKind, Records, Resolver};
use crate::store::locked;
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A client that a list has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedClient {
    pub zone: Name,
    pub code: Ipv4Addr,
    /// What the list says of it, any octets; none where it says nothing, or not in time.
    pub text: Option<Vec<u8>>,
}

impl ListedClient {
    /// The list's name as strangers may see it: without a first label that looks like a customer's key.
    pub fn public_name(&self) -> String {
        let first = self.zone.labels().next().unwrap_or_default();
        let is_key = first.len() >= LIST_KEY_LEAST && first.iter().all(u8::is_ascii_alphanumeric);
        let parent = self.zone.parent().filter(|parent| is_key && parent.labels().count() > 1);
        parent.as_ref().unwrap_or(&self.zone).to_string()
    }
}

/// What the test points of a list have shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestedList {
    /// It works for clients of IPv4.
    Works(Ipv6List),
    /// It lists nobody, or everybody, or does not serve us.
    Wrong(String),
    /// DNS did not answer.
    Silent(String),
}

/// What they have shown about clients of IPv6; not every list has these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ipv6List {
    Works,
    No(String),
    /// DNS did not answer.
    Silent(String),
}

/// In words, for the log and for people.
impl fmt::Display for Ipv6List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ipv6List::Works => f.write_str("its test points are right, those of IPv6 too"),
            Ipv6List::No(why) => {
                write!(f, "its test points are right; not asked about IPv6: {why}")
            }
            Ipv6List::Silent(why) => {
                write!(f, "its test points are right; those of IPv6 could not be tested: {why}")
            }
        }
    }
}

/// Which lists work. Nothing is known of a list before its first test, and it is not asked.
#[derive(Default)]
pub struct Blocklists(Mutex<HashMap<Name, KnownList>>);

/// Its lock is held to look and to note, never while DNS is asked.
#[derive(Default)]
struct KnownList {
    is_on: bool,
    is_on_ipv6: bool,
    /// Questions without an answer that means something since the last one that did.
    silences: u32,
    rests_until: Option<Instant>,
}

impl Blocklists {
    /// The first of these lists that has the client. No answer is one that does not list it.
    pub fn ask(
        &self,
        resolver: &dyn Resolver,
        lists: &[Blocklist],
        client: IpAddr,
    ) -> Option<ListedClient> {
        let (began, client) = (Instant::now(), client.to_canonical());
        for list in lists {
            let left = LISTS_WAIT.saturating_sub(began.elapsed());
            if left.is_zero() || !self.is_asked(&list.zone, client, Instant::now()) {
                continue;
            }
            let Some(name) = question(client, &list.zone) else { continue };
            let until = Instant::now() + LIST_WAIT.min(left);
            match said(resolver, &name, &list.codes, until) {
                Ok(ListWord::NotListed) => self.note_answer(&list.zone),
                Ok(ListWord::Listed(code)) => {
                    self.note_answer(&list.zone);
                    let text = text(resolver, &name, until);
                    return Some(ListedClient { zone: list.zone.clone(), code, text });
                }
                // Which is as good as none, and would fill the log.
                Ok(ListWord::Nonsense(code)) => {
                    let why = nonsense(&list.zone, code);
                    warn(&why);
                    self.note_silence(&list.zone, &why, Instant::now());
                }
                Err(why) => self.note_silence(&list.zone, &why, Instant::now()),
            }
        }
        None
    }

    /// Notes what a test has shown; gives whether the list was on before, where it was tested before. What DNS
    /// did not say changes nothing.
    pub(super) fn note_test(&self, zone: &Name, tested: &TestedList) -> Option<bool> {
        let mut known = locked(&self.0);
        let before = known.get(zone).map(|list| list.is_on);
        let list = known.entry(zone.clone()).or_default();
        match tested {
            TestedList::Works(Ipv6List::Works) => (list.is_on, list.is_on_ipv6) = (true, true),
            TestedList::Works(Ipv6List::No(_)) => (list.is_on, list.is_on_ipv6) = (true, false),
            TestedList::Works(Ipv6List::Silent(_)) => list.is_on = true,
            TestedList::Wrong(_) => (list.is_on, list.is_on_ipv6) = (false, false),
            TestedList::Silent(_) => {}
        }
        before
    }

    /// Forgets the lists that are not configured any more; gives how many are on, and off.
    pub(super) fn keep(&self, lists: &[Blocklist]) -> (usize, usize) {
        let mut known = locked(&self.0);
        known.retain(|zone, _| lists.iter().any(|list| list.zone == *zone));
        let on = known.values().filter(|list| list.is_on).count();
        (on, lists.len() - on)
    }

    /// Whether a list is on.
    pub(super) fn is_on(&self, zone: &Name) -> bool {
        locked(&self.0).get(zone).is_some_and(|list| list.is_on)
    }

    fn is_asked(&self, zone: &Name, client: IpAddr, now: Instant) -> bool {
        let known = locked(&self.0);
        known.get(zone).is_some_and(|list| {
            let is_on = if client.is_ipv4() { list.is_on } else { list.is_on_ipv6 };
            is_on && list.rests_until.is_none_or(|until| now >= until)
        })
    }

    fn note_answer(&self, zone: &Name) {
        if let Some(list) = locked(&self.0).get_mut(zone) {
            (list.silences, list.rests_until) = (0, None);
        }
    }

    fn note_silence(&self, zone: &Name, why: &str, now: Instant) {
        OTHERS.add("list_silences");
        let mut known = locked(&self.0);
        let Some(list) = known.get_mut(zone) else { return };
        list.silences = list.silences.saturating_add(1);
        if list.silences < LIST_SILENCES {
            return;
        }
        // After the rest one question decides.
        list.silences = LIST_SILENCES - 1;
        list.rests_until = Some(now + LIST_REST);
        drop(known);
        warn(&format!(
            "blocklist {zone} does not answer, and is not asked for {LIST_REST:?}: {why}"
        ));
    }
}

/// Asks the test points of a list (RFC 5782 §5): that of "listed" has to be there, the other one not.
pub fn test(resolver: &dyn Resolver, zone: &Name) -> TestedList {
    let [listed, free] = [2, 1].map(|last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)));
    match test_points(resolver, zone, listed, free) {
        Ok(()) => {}
        Err(Untrue::Wrong(why)) => return TestedList::Wrong(why),
        Err(Untrue::Silent(why)) => return TestedList::Silent(why),
    }
    let mapped = |last| IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0x7f00, last));
    TestedList::Works(match test_points(resolver, zone, mapped(2), mapped(1)) {
        Ok(()) => Ipv6List::Works,
        Err(Untrue::Wrong(why)) => Ipv6List::No(why),
        Err(Untrue::Silent(why)) => Ipv6List::Silent(why),
    })
}

/// Why test points are not as they have to be.
enum Untrue {
    Wrong(String),
    Silent(String),
}

fn test_points(
    resolver: &dyn Resolver,
    zone: &Name,
    listed: IpAddr,
    free: IpAddr,
) -> Result<(), Untrue> {
    let ask = |address: IpAddr| {
        let Some(name) = question(address, zone) else { return Err("too long".to_owned()) };
        said(resolver, &name, &[CodeRange::ALL], Instant::now() + LIST_TEST_WAIT)
    };
    // A code that means nothing shows that the name is there as well.
    match ask(listed).map_err(Untrue::Silent)? {
        ListWord::Listed(_) => {}
        ListWord::NotListed => {
            return Err(Untrue::Wrong(format!("{listed} is not in it, and has to be")));
        }
        ListWord::Nonsense(code) => return Err(Untrue::Wrong(nonsense(zone, code))),
    }
    match ask(free).map_err(Untrue::Silent)? {
        ListWord::NotListed => Ok(()),
        ListWord::Listed(_) | ListWord::Nonsense(_) => {
            Err(Untrue::Wrong(format!("{free} is in it, and must not be: it lists everybody")))
        }
    }
}

fn nonsense(zone: &Name, code: Ipv4Addr) -> String {
    let why = match code.is_loopback() {
        true => "it does not serve this resolver",
        false => "that is no answer of a list",
    };
    format!("blocklist {zone} answers {code}: {why}")
}

/// What a list says at a name; fails with the reason where DNS does not answer.
fn said(
    resolver: &dyn Resolver,
    name: &Name,
    codes: &[CodeRange],
    until: Instant,
) -> Result<ListWord, String> {
    let time = until.saturating_duration_since(Instant::now());
    let found = resolver.lookup_within(name.as_bytes(), RecordKind::A, time);
    match found.map_err(|error| error.why())?.records {
        Records::Found(records) => {
            let codes_found: Vec<Ipv4Addr> =
                records.iter().filter_map(Record::address).filter_map(v4).collect();
            Ok(answer(&codes_found, codes))
        }
        // Also where no zone vouches for it: to believe it refuses nobody.
        Records::Absent | Records::Unsure(_) | Records::NoName => Ok(ListWord::NotListed),
    }
}

fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

/// What a list says of a client that it has, if it says so in time.
fn text(resolver: &dyn Resolver, name: &Name, until: Instant) -> Option<Vec<u8>> {
    let time = until.saturating_duration_since(Instant::now());
    if time.is_zero() {
        return None;
    }
    let answer = resolver.lookup_within(name.as_bytes(), RecordKind::Txt, time.max(LEAST)).ok()?;
    let Records::Found(records) = answer.records else { return None };
    records.into_iter().find_map(|record| match record {
        Record::Txt(text) if !text.is_empty() => Some(text),
        _ => None,
    })
}

/// Less than this is no time for a question.
const LEAST: Duration = Duration::from_millis(1);
