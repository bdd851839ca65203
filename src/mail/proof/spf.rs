//! SPF: whether a domain lets a client send in its name (RFC 7208). Pure: questions go to [`Ask`], the time
//! of day is given.
//!
//! What one check may cost is bounded by RFC 7208 §4.6.4. A void lookup is counted by terms, as that section
//! says, not by hosts of an `mx` or names of a `ptr`: a host that has no address of the client's family is
//! no fault of the record.

mod macros;
mod record;

use super::name::{Name, dotted};
use super::{Ask, QueryAnswer, QueryType, ResourceRecord, addresses_of};
use crate::limits::trust::{
    SPF_EXPLANATION_MAX, SPF_LOOKUPS_MAX, SPF_NAMES_MAX, SPF_RECORD_MAX, SPF_TERM_SHOWN_MAX,
    SPF_VOID_MAX,
};
use crate::mail::address::is_within;
use macros::MacroPlace;
use record::{BadRecord, Lengths, Spec, SpfMechanism, SpfRecord};
use std::fmt;
use std::net::IpAddr;

/// What SPF says of a domain and a client (RFC 7208 §2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpfResult {
    /// No record, or no domain that could have one.
    None,
    /// The domain says nothing about this client.
    Neutral,
    Pass,
    Fail,
    SoftFail,
    /// DNS did not answer: another time there may be another result.
    TempError,
    /// The record is broken, or asks for more than the limits allow.
    PermError,
}

/// The word of RFC 8601 §2.7.2.
impl fmt::Display for SpfResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SpfResult::None => "none",
            SpfResult::Neutral => "neutral",
            SpfResult::Pass => "pass",
            SpfResult::Fail => "fail",
            SpfResult::SoftFail => "softfail",
            SpfResult::TempError => "temperror",
            SpfResult::PermError => "permerror",
        })
    }
}

/// Who sends, as the session knows it.
#[derive(Clone, Copy, Debug)]
pub struct SpfClient<'a> {
    pub address: IpAddr,
    /// What the client said in EHLO or HELO.
    pub helo: &'a [u8],
    /// The name of this host, for `%{r}` in explanations.
    pub receiver: &'a str,
    /// Seconds since 1970 in UTC, for `%{t}` in explanations.
    pub time: u64,
}

/// In whose name the client sends (RFC 7208 §2.3, §2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpfIdentity<'a> {
    /// Its own; this is also the identity of the null sender.
    Helo,
    /// That of the sender. An empty local part is `postmaster` (RFC 7208 §4.3).
    MailFrom { local: &'a [u8], domain: &'a [u8] },
}

/// What came out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpfFinding {
    pub result: SpfResult,
    /// The domain that was checked, visible ASCII.
    pub domain: String,
    /// The same as a name; none where DNS can have no such name.
    pub name: Option<Name>,
    /// Which term of which record decided, or what could not be found out.
    pub reason: String,
    /// What the domain says to a client that fails: visible ASCII and spaces, at most
    /// [`SPF_EXPLANATION_MAX`] octets. Words of a stranger.
    pub explanation: Option<String>,
}

/// Asks what the domain of an identity says about a client (`check_host()`, RFC 7208 §4).
pub fn check(ask: &mut dyn Ask, client: &SpfClient<'_>, identity: SpfIdentity<'_>) -> SpfFinding {
    let (local, domain) = match identity {
        SpfIdentity::Helo => (&b""[..], client.helo),
        SpfIdentity::MailFrom { local, domain } => (local, domain),
    };
    let local = if local.is_empty() { b"postmaster" } else { local };
    let name = name_of(domain);
    let shown = name.as_ref().map_or_else(|| shown(domain), Name::to_string);
    let finding = |result, reason, explanation| SpfFinding {
        result,
        domain: shown.clone(),
        name: name.clone(),
        reason,
        explanation,
    };
    let Some(name) = &name else {
        return finding(SpfResult::None, no_domain(&shown), None);
    };
    let mut check = Check {
        ask,
        client,
        address: client.address.to_canonical(),
        local,
        sender: name,
        lookups: 0,
        voids: 0,
        validated: None,
        is_nameless: false,
    };
    match check.host(name) {
        Ok(checked) => {
            let explanation = checked.explanation.and_then(|from| check.explain(&from));
            finding(checked.result, checked.reason, explanation)
        }
        Err(Halt::Temporary(reason)) => finding(SpfResult::TempError, reason, None),
        Err(Halt::Permanent(reason)) => finding(SpfResult::PermError, reason, None),
    }
}

/// The name of an identity's domain; none for an address, with or without brackets.
fn name_of(domain: &[u8]) -> Option<Name> {
    let text = std::str::from_utf8(domain).ok();
    if domain.starts_with(b"[") || text.is_some_and(|text| text.parse::<IpAddr>().is_ok()) {
        return None;
    }
    Name::of_unicode(domain)
}

/// Text of a stranger for a reason: bounded, visible ASCII.
fn shown(text: &[u8]) -> String {
    let shown = &text[..text.len().min(SPF_TERM_SHOWN_MAX)];
    let end = if shown.len() < text.len() { "..." } else { "" };
    format!("{}{end}", shown.escape_ascii())
}

/// The check cannot go on.
enum Halt {
    Temporary(String),
    Permanent(String),
}

type Checked<T> = Result<T, Halt>;

/// What becomes of a mechanism.
enum Match {
    No,
    Yes,
    /// By an `include`: what matches in the other record.
    Within(String),
}

impl From<bool> for Match {
    fn from(matches: bool) -> Match {
        if matches { Match::Yes } else { Match::No }
    }
}

struct CheckResult {
    result: SpfResult,
    reason: String,
    /// Where the explanation of a failure is, as the record that failed says.
    explanation: Option<Source>,
}

impl CheckResult {
    fn new(result: SpfResult, reason: String) -> CheckResult {
        CheckResult { result, reason, explanation: None }
    }
}

/// An `exp=` of the record of `domain`.
struct Source {
    spec: Vec<u8>,
    domain: Name,
}

/// One check, with what it has asked so far.
struct Check<'a> {
    ask: &'a mut dyn Ask,
    client: &'a SpfClient<'a>,
    /// An IPv4 address in IPv6 is one of IPv4 (RFC 7208 §5).
    address: IpAddr,
    local: &'a [u8],
    sender: &'a Name,
    /// Terms that asked (RFC 7208 §4.6.4).
    lookups: usize,
    /// Terms whose question found nothing.
    voids: usize,
    /// Reverse names of the client that lead back to it, once they are asked for.
    validated: Option<Vec<Name>>,
    /// Whether the client has no reverse name at all.
    is_nameless: bool,
}

impl Check<'_> {
    /// What the record of `domain` says; a name of one label has none (RFC 7208 §4.3).
    fn host(&mut self, domain: &Name) -> Checked<CheckResult> {
        if domain.labels().nth(1).is_none() {
            return Ok(CheckResult::new(SpfResult::None, no_domain(&domain.to_string())));
        }
        let Some(text) = self.text(domain)? else {
            return Ok(CheckResult::new(SpfResult::None, format!("no record at {domain}")));
        };
        let record = SpfRecord::parse(&text).map_err(|why| Halt::Permanent(broken(why, domain)))?;
        for (term, directive) in record.directives() {
            let what = || format!("`{}` of {domain}", shown(term));
            let reason = match self.matches(&directive.mechanism, domain, &what)? {
                Match::No => continue,
                Match::Yes => what(),
                Match::Within(inner) => format!("{}: {inner}", what()),
            };
            let mut checked = CheckResult::new(directive.qualifier, reason);
            if directive.qualifier == SpfResult::Fail {
                checked.explanation = record
                    .explanation
                    .map(|spec| Source { spec: spec.0.to_vec(), domain: domain.clone() });
            }
            return Ok(checked);
        }
        match record.redirect {
            Some(spec) if !record.has_all => self.redirect(spec, domain),
            _ => {
                let reason = format!("no term of the record of {domain} matches");
                Ok(CheckResult::new(SpfResult::Neutral, reason))
            }
        }
    }

    /// The one record of `domain` (RFC 7208 §4.5), and nothing else of what DNS said: of includes within
    /// includes all records are held at a time.
    fn text(&mut self, domain: &Name) -> Checked<Option<Vec<u8>>> {
        let entries = match self.ask.ask(domain, QueryType::Txt) {
            QueryAnswer::Records(entries) => entries,
            QueryAnswer::NoRecords | QueryAnswer::NoName => return Ok(None),
            QueryAnswer::Failed(why) => {
                return Err(Halt::Temporary(format!("TXT of {domain}: {why}")));
            }
        };
        let mut texts = entries.into_iter().filter_map(|entry| match entry {
            ResourceRecord::Txt(text) if record::is_record(&text) => Some(text),
            _ => None,
        });
        let text = texts.next();
        if texts.next().is_some() {
            return Err(Halt::Permanent(format!("more than one record at {domain}")));
        }
        Ok(text)
    }

    /// RFC 7208 §6.1: the other record speaks in place of this one.
    fn redirect(&mut self, spec: Spec<'_>, domain: &Name) -> Checked<CheckResult> {
        let what = format!("`redirect={}` of {domain}", shown(spec.0));
        if self.is_unspeakable(spec) {
            return Ok(CheckResult::new(SpfResult::Neutral, unspeakable(&what)));
        }
        self.count(&|| what.clone())?;
        let Some(target) = self.name(spec, domain)? else {
            return Err(Halt::Permanent(format!("{what} leads to no name")));
        };
        let checked = self.host(&target)?;
        match checked.result {
            SpfResult::None => Err(Halt::Permanent(format!("{what}: {}", checked.reason))),
            _ => Ok(checked),
        }
    }

    /// Whether a mechanism matches. `what` names the term in reasons.
    fn matches(
        &mut self,
        mechanism: &SpfMechanism<'_>,
        domain: &Name,
        what: &dyn Fn() -> String,
    ) -> Checked<Match> {
        let spec = match *mechanism {
            SpfMechanism::Include(spec) | SpfMechanism::Exists(spec) => Some(spec),
            SpfMechanism::A(spec, _) | SpfMechanism::Mx(spec, _) | SpfMechanism::Ptr(spec) => spec,
            SpfMechanism::All => return Ok(Match::Yes),
            SpfMechanism::Ip4(network, bits) => {
                return Ok(is_within(self.address, network.into(), bits).into());
            }
            SpfMechanism::Ip6(network, bits) => {
                return Ok(is_within(self.address, network.into(), bits).into());
            }
        };
        if spec.is_some_and(|spec| self.is_unspeakable(spec)) {
            return Ok(Match::No);
        }
        self.count(what)?;
        let target = match spec {
            Some(spec) => self.name(spec, domain)?,
            None => Some(domain.clone()),
        };
        let Some(target) = target else {
            // What cannot be asked is not there; for `include` that is a record that is missing.
            return match mechanism {
                SpfMechanism::Include(_) => {
                    Err(Halt::Permanent(format!("{} leads to no name", what())))
                }
                _ => Ok(Match::No),
            };
        };
        let matched = match *mechanism {
            SpfMechanism::Include(_) => return self.include(&target, what),
            SpfMechanism::A(_, lengths) => {
                let answer = addresses_of(self.ask, &target, self.address);
                let found = self.found(answer, &target, self.family(), what)?;
                found.iter().any(|entry| self.is_near(entry, lengths))
            }
            SpfMechanism::Mx(_, lengths) => self.mx(&target, lengths, what)?,
            SpfMechanism::Exists(_) => {
                let answer = self.ask.ask(&target, QueryType::A);
                !self.found(answer, &target, QueryType::A, what)?.is_empty()
            }
            SpfMechanism::Ptr(_) => {
                let names = self.reverse_names(Some(what))?;
                names.iter().any(|name| name.is_within(&target))
            }
            SpfMechanism::All | SpfMechanism::Ip4(..) | SpfMechanism::Ip6(..) => false,
        };
        Ok(matched.into())
    }

    /// RFC 7208 §5.2.
    fn include(&mut self, target: &Name, what: &dyn Fn() -> String) -> Checked<Match> {
        let checked = self.host(target)?;
        match checked.result {
            SpfResult::Pass => Ok(Match::Within(checked.reason)),
            SpfResult::Fail | SpfResult::SoftFail | SpfResult::Neutral => Ok(Match::No),
            SpfResult::None | SpfResult::TempError | SpfResult::PermError => {
                Err(Halt::Permanent(format!("{}: {}", what(), checked.reason)))
            }
        }
    }

    /// RFC 7208 §5.4. Too many hosts are an error before any is asked for: DNS gives them in any order, and
    /// the result must not hang on that (§4.6.4).
    fn mx(&mut self, target: &Name, lengths: Lengths, what: &dyn Fn() -> String) -> Checked<bool> {
        let answer = self.ask.ask(target, QueryType::Mx);
        let found = self.found(answer, target, QueryType::Mx, what)?;
        if found.len() > SPF_NAMES_MAX {
            return Err(Halt::Permanent(format!("more than {SPF_NAMES_MAX} hosts at {}", what())));
        }
        for entry in found {
            let ResourceRecord::Mx { host, .. } = entry else { continue };
            match addresses_of(self.ask, &host, self.address) {
                QueryAnswer::Records(found) => {
                    if found.iter().any(|entry| self.is_near(entry, lengths)) {
                        return Ok(true);
                    }
                }
                QueryAnswer::NoRecords | QueryAnswer::NoName => {}
                QueryAnswer::Failed(why) => {
                    let kind = word(self.family());
                    return Err(Halt::Temporary(format!("{}: {kind} of {host}: {why}", what())));
                }
            }
        }
        Ok(false)
    }

    /// Names of the client that lead back to it (RFC 7208 §5.5); an error of DNS leaves names out. For a
    /// `ptr` mechanism `what` names it, and is counted already; the macro `p` counts here, once.
    fn reverse_names(&mut self, what: Option<&dyn Fn() -> String>) -> Checked<Vec<Name>> {
        if let Some(known) = self.validated.clone() {
            if let (Some(what), true) = (what, self.is_nameless) {
                self.void(what)?;
            }
            return Ok(known);
        }
        let in_macro = || "`%{p}`".to_owned();
        let what = match what {
            Some(what) => what,
            None => {
                self.count(&in_macro)?;
                &in_macro
            }
        };
        let mut validated = Vec::new();
        if let Some(reverse) = Name::reverse_of(self.address) {
            let answer = match self.ask.ask(&reverse, QueryType::Ptr) {
                QueryAnswer::Failed(_) => QueryAnswer::Records(Vec::new()),
                answer => answer,
            };
            self.is_nameless = matches!(answer, QueryAnswer::NoRecords | QueryAnswer::NoName);
            let entries = self.found(answer, &reverse, QueryType::Ptr, what)?;
            let names = entries.into_iter().filter_map(|entry| match entry {
                ResourceRecord::Ptr(name) => Some(name),
                _ => None,
            });
            for name in names.take(SPF_NAMES_MAX) {
                if let QueryAnswer::Records(found) = addresses_of(self.ask, &name, self.address) {
                    let exact = Lengths { ip4: 32, ip6: 128 };
                    if found.iter().any(|entry| self.is_near(entry, exact)) {
                        validated.push(name);
                    }
                }
            }
        }
        self.validated = Some(validated.clone());
        Ok(validated)
    }

    /// What `p` stands for: the domain itself where it is among the names, else one below it, else any
    /// (RFC 7208 §7.3).
    fn reverse_name(&mut self, domain: &Name) -> Checked<Vec<u8>> {
        let names = self.reverse_names(None)?;
        let best = names
            .iter()
            .find(|name| *name == domain)
            .or_else(|| names.iter().find(|name| name.is_within(domain)))
            .or(names.first());
        Ok(best.map_or_else(|| b"unknown".to_vec(), |name| name.as_bytes().to_vec()))
    }

    /// One more term that asks.
    fn count(&mut self, what: &dyn Fn() -> String) -> Checked<()> {
        self.lookups += 1;
        if self.lookups > SPF_LOOKUPS_MAX {
            let reason = format!("more than {SPF_LOOKUPS_MAX} lookups at {}", what());
            return Err(Halt::Permanent(reason));
        }
        Ok(())
    }

    /// The records of the question that a term is about; nothing found is counted.
    fn found(
        &mut self,
        answer: QueryAnswer,
        name: &Name,
        kind: QueryType,
        what: &dyn Fn() -> String,
    ) -> Checked<Vec<ResourceRecord>> {
        match answer {
            QueryAnswer::Records(entries) => Ok(entries),
            QueryAnswer::Failed(why) => {
                Err(Halt::Temporary(format!("{}: {} of {name}: {why}", what(), word(kind))))
            }
            QueryAnswer::NoRecords | QueryAnswer::NoName => self.void(what).map(|()| Vec::new()),
        }
    }

    /// One more term whose question found nothing.
    fn void(&mut self, what: &dyn Fn() -> String) -> Checked<()> {
        self.voids += 1;
        if self.voids > SPF_VOID_MAX {
            let reason = format!("more than {SPF_VOID_MAX} lookups found nothing, at {}", what());
            return Err(Halt::Permanent(reason));
        }
        Ok(())
    }

    fn family(&self) -> QueryType {
        if self.address.is_ipv4() { QueryType::A } else { QueryType::Aaaa }
    }

    fn is_near(&self, entry: &ResourceRecord, lengths: Lengths) -> bool {
        match *entry {
            ResourceRecord::A(address) => is_within(self.address, address.into(), lengths.ip4),
            ResourceRecord::Aaaa(address) => is_within(self.address, address.into(), lengths.ip6),
            ResourceRecord::Mx { .. } | ResourceRecord::Ptr(_) | ResourceRecord::Txt(_) => false,
        }
    }

    /// Whether a name has the local part in it where that is not ASCII: such a term matches nothing
    /// (RFC 8616 §4).
    fn is_unspeakable(&self, spec: Spec<'_>) -> bool {
        !self.local.is_ascii() && spec.has_local_part()
    }

    /// A name with its macros expanded, without labels in front that would make it too long (RFC 7208
    /// §7.3); none where DNS can have no such name.
    fn name(&mut self, spec: Spec<'_>, domain: &Name) -> Checked<Option<Name>> {
        let Some(text) = self.expand(spec.0, MacroPlace::Name, domain)? else { return Ok(None) };
        let mut text = text.strip_suffix(b".").unwrap_or(&text);
        while text.len() > 253 {
            let Some(dot) = text.iter().position(|&octet| octet == b'.') else { return Ok(None) };
            text = &text[dot + 1..];
        }
        Ok(Name::parse(text))
    }

    fn expand(
        &mut self,
        text: &[u8],
        place: MacroPlace,
        domain: &Name,
    ) -> Checked<Option<Vec<u8>>> {
        let mut halt = None;
        let expanded = macros::expand(text, place, |letter| match letter {
            b's' => [self.local, b"@", self.sender.as_bytes()].concat(),
            b'l' => self.local.to_vec(),
            b'o' => self.sender.as_bytes().to_vec(),
            b'd' => domain.as_bytes().to_vec(),
            b'i' => dotted(self.address).into_bytes(),
            b'p' => self.reverse_name(domain).unwrap_or_else(|why| {
                halt = Some(why);
                Vec::new()
            }),
            b'v' => if self.address.is_ipv4() { &b"in-addr"[..] } else { b"ip6" }.to_vec(),
            b'h' => self.client.helo.to_vec(),
            b'c' => self.address.to_string().into_bytes(),
            b'r' if self.client.receiver.is_empty() => b"unknown".to_vec(),
            b'r' => self.client.receiver.as_bytes().to_vec(),
            _ => self.client.time.to_string().into_bytes(),
        });
        match halt {
            Some(why) => Err(why),
            None => Ok(expanded),
        }
    }

    /// The words of the domain that said fail (RFC 7208 §6.2): whatever is amiss with them, there are none.
    fn explain(&mut self, source: &Source) -> Option<String> {
        let spec = Spec(&source.spec);
        if self.is_unspeakable(spec) {
            return None;
        }
        let name = self.name(spec, &source.domain).ok()??;
        let QueryAnswer::Records(entries) = self.ask.ask(&name, QueryType::Txt) else {
            return None;
        };
        let [ResourceRecord::Txt(text)] = &entries[..] else { return None };
        if text.len() > SPF_RECORD_MAX {
            return None;
        }
        let text = self.expand(text, MacroPlace::Text, &source.domain).ok()??;
        let visible = |octet: &u8| match octet {
            b' '..=b'~' => char::from(*octet),
            _ => '?',
        };
        let text: String = text.iter().take(SPF_EXPLANATION_MAX).map(visible).collect();
        Some(text).filter(|text| !text.trim().is_empty())
    }
}

fn no_domain(shown: &str) -> String {
    match shown {
        "" => "no name was given".to_owned(),
        _ => format!("`{shown}` is not a domain that could have a record"),
    }
}

fn unspeakable(what: &str) -> String {
    format!("{what} has the local part in it, which is not ASCII")
}

fn broken(why: BadRecord<'_>, domain: &Name) -> String {
    match why {
        BadRecord::Term(term) => format!("`{}` in the record of {domain} is broken", shown(term)),
        BadRecord::Twice(name) => format!("the record of {domain} has `{name}` twice"),
        BadRecord::TooLong(octets) => format!("the record of {domain} has {octets} octets"),
    }
}

fn word(kind: QueryType) -> &'static str {
    match kind {
        QueryType::A => "A",
        QueryType::Aaaa => "AAAA",
        QueryType::Mx => "MX",
        QueryType::Ptr => "PTR",
        QueryType::Txt => "TXT",
    }
}

#[cfg(test)]
mod tests;
