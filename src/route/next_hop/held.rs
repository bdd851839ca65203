//! What each host is held to, decided when it is about to be tried: by its TLSA records (RFC 7672), by the policy of
//! the recipient's domain (RFC 8461), by what the message says (RFC 8689), by the password that it gets, else as TLS
//! is offered.
//!
//! TLSA is asked only where DNSSEC vouches for the host's addresses, or for an alias that leads to them: an
//! attacker could keep all other records back. Hosts of MX records that nothing vouches for are held to theirs as
//! well (RFC 7672 §2.2.1). Opens no connection.

use super::hosts::{FoundHost, is_ip};
use super::promise::{UNVOUCHED, may_have_policy};
use super::{Demand, NextHops, PkiDemand, PolicyDemand, TlsSeen, TlsaDemand, Way};
use crate::limits::{DNS_NAME_MAX, HOP_LOOKUPS};
use crate::mail::address::Domain;
use crate::mail::envelope::TlsWish;
use crate::mail::mta_sts::StsMode;
use crate::mta_sts::StsFound;
use crate::net::dns::{DnsError, Records};
use crate::net::tls::UsableRecords;
use crate::smtp::tls_failure::{TlsFailure, TlsTrouble};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

/// Why a host is passed over: it, or DNS, does not show the TLS that is owed.
pub(super) struct Unheld {
    /// What it would be held to.
    pub demand: Demand,
    pub trouble: TlsTrouble,
    /// No host of the domain can ever be one for this message, as far as DNS says for sure.
    pub is_for_good: bool,
}

impl NextHops<'_> {
    /// What the host is held to. `has_login`: it gets our password.
    pub(super) fn demand(&mut self, host: &FoundHost, has_login: bool) -> Result<Demand, Unheld> {
        if matches!(self.way, Way::Lmtp(_)) {
            return Ok(Demand::Offered);
        }
        let is_free = self.wish == TlsWish::NotRequired;
        // A password goes to no host that has not proved its name, and the records may be all that proves it.
        let records = match is_free && !has_login {
            true => None,
            false => match self.records(host) {
                Err(_) if is_free => None,
                records => records?,
            },
        };
        let name = &host.mx.host;
        // Whatever the host proves, somebody in between may have named it (RFC 8689 §4.2.1).
        if self.wish == TlsWish::Required && !self.is_vouched_for(name) {
            return Err(self.unvouched());
        }
        let has_proof = records.as_ref().is_some_and(|records| records.usable.is_some());
        // So it is without that wish: records prove who the host is, and only the policy that the domain means it.
        if (has_proof || has_login) && !self.is_named {
            self.without_records(name)?;
        }
        match records {
            Some(records) if has_proof => Ok(Demand::Tlsa(Arc::new(records))),
            _ if has_login => Ok(Demand::Pki(PkiDemand::Login)),
            records => match (self.without_records(name)?, records) {
                // They ask for no more than TLS; a policy asks whose it is as well.
                (Demand::Offered | Demand::Tested { .. }, Some(records)) => {
                    Ok(Demand::Tlsa(Arc::new(records)))
                }
                (demand, _) => Ok(demand),
            },
        }
    }

    /// What a host is held to that proves nothing by TLSA records: what the policy of the recipient's domain says, else
    /// what the message does. Fails where the policy does not name the host.
    fn without_records(&mut self, host: &str) -> Result<Demand, Unheld> {
        let (domain, found) = match self.way.clone() {
            Way::Mx(domain) if self.wish != TlsWish::NotRequired => {
                let found = self.policy(&domain);
                (domain, found)
            }
            _ => return self.by_wish(),
        };
        let Some(policy) = found.policy.as_ref().map(|known| &known.policy) else {
            return self.by_wish();
        };
        let (is_named, demand) = (policy.fits(host), PolicyDemand::of(&domain, Some(policy)));
        match policy.mode {
            StsMode::Enforce if is_named => Ok(Demand::Pki(PkiDemand::Policy(Arc::new(demand)))),
            StsMode::Enforce => {
                let words = format!("{demand} does not name it");
                let trouble = TlsTrouble::new(TlsFailure::Handshake, words);
                let demand = Demand::Pki(PkiDemand::Policy(Arc::new(demand)));
                Err(Unheld { demand, trouble, is_for_good: false })
            }
            StsMode::Testing if self.wish == TlsWish::Usual => {
                Ok(Demand::Tested { policy: Arc::new(demand), is_named })
            }
            StsMode::Testing | StsMode::None => self.by_wish(),
        }
    }

    /// The policy of the recipient's domain; it is asked for once in an attempt. What went wrong on the way to it
    /// is told to its owner.
    fn policy(&mut self, domain: &Domain) -> StsFound {
        if let Some(found) = &self.sts {
            return found.clone();
        }
        // Its time is bounded by itself, and takes nothing from the lookups of addresses.
        let found = self.site.sts(domain).unwrap_or_default();
        found.told.iter().for_each(|told| self.note(told.clone()));
        if let Some(fault) = &found.fault {
            let policy = found.policy.as_ref().map(|known| &known.policy);
            let demand = PolicyDemand::of(domain, policy);
            self.seen_tls.push(TlsSeen {
                domain: Some(domain.clone()),
                demand: Demand::Pki(PkiDemand::Policy(Arc::new(demand))),
                host: format!("mta-sts.{domain}"),
                receiving: None,
                sending: None,
                outcome: Err(fault.clone()),
            });
        }
        self.sts = Some(found.clone());
        found
    }

    /// What a host is held to that neither records nor a policy hold.
    fn by_wish(&self) -> Result<Demand, Unheld> {
        match self.wish {
            TlsWish::Usual | TlsWish::NotRequired => Ok(Demand::Offered),
            TlsWish::Required => Ok(Demand::Pki(PkiDemand::Wish)),
        }
    }

    /// Whether DNSSEC, the configuration or a policy says that mail for the domain goes to this host.
    fn is_vouched_for(&mut self, host: &str) -> bool {
        if self.is_named {
            return true;
        }
        let Way::Mx(domain) = self.way.clone() else { return false };
        let policy = self.policy(&domain).policy;
        // One that is only tried out was had from the domain's own web server all the same.
        let policy = policy.filter(|known| known.policy.mode != StsMode::None);
        policy.is_some_and(|known| known.policy.fits(host))
    }

    /// Nobody vouches for the host, and the message requires TLS.
    fn unvouched(&self) -> Unheld {
        let is_for_good = match &self.way {
            Way::Mx(domain) => !may_have_policy(self.site, domain),
            _ => false,
        };
        let trouble = TlsTrouble::new(TlsFailure::DnssecInvalid, UNVOUCHED);
        Unheld { demand: Demand::Pki(PkiDemand::Wish), trouble, is_for_good }
    }

    /// The TLSA records of a host; none where it has none, or none that count.
    fn records(&mut self, host: &FoundHost) -> Result<Option<TlsaDemand>, Unheld> {
        if !self.site.config.holds_dane() || is_ip(&host.mx.host) {
            return Ok(None);
        }
        let name = host.mx.host.trim_end_matches('.').to_ascii_lowercase();
        if self.spent >= HOP_LOOKUPS && (host.is_secure || host.end.is_some()) {
            let words = "no time was left in this attempt to ask for its TLSA records".to_owned();
            return Err(self.unknown(&name, name.clone(), words));
        }
        // RFC 7672 §2.2.2: the end of the aliases first, where the whole way there is secure; the name alone
        // where only its own alias is.
        let bases = match (&host.end, host.is_secure) {
            (Some(end), true) if *end != name => vec![end.clone(), name.clone()],
            (_, true) => vec![name.clone()],
            (Some(_), false) => match self.is_secure_alias(&name) {
                Ok(true) => vec![name.clone()],
                Ok(false) => Vec::new(),
                Err(error) => return Err(self.unknown(&name, name.clone(), error.to_string())),
            },
            (None, false) => Vec::new(),
        };
        for base in bases {
            let question = format!("_{}._tcp.{base}", self.port);
            // No zone can have this name, so it has no records.
            if question.len() > DNS_NAME_MAX {
                continue;
            }
            let began = Instant::now();
            let answer = self.site.resolver().tlsa(&question);
            self.spent += began.elapsed();
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => return Err(self.unknown(&base, question, error.to_string())),
            };
            match answer.records {
                Records::Found(records) if answer.secure => {
                    let (usable, names) = (UsableRecords::of(&records), self.names(&name, &base));
                    let demand = TlsaDemand { base, question, names, records, usable };
                    self.note(format!("{name}: {}", told(&demand)));
                    return Ok(Some(demand));
                }
                Records::Found(_) => self.note(format!(
                    "{name}: TLSA of {question}: not vouched for by DNSSEC, so it does not count"
                )),
                Records::Absent | Records::NoName | Records::Unsure(_) => {
                    self.note(format!("{name}: no TLSA of {question}"));
                }
            }
        }
        Ok(None)
    }

    fn is_secure_alias(&mut self, name: &str) -> Result<bool, DnsError> {
        let began = Instant::now();
        let answer = self.site.resolver().is_secure_alias(name);
        self.spent += began.elapsed();
        answer
    }

    /// A question without a sure answer: an attacker may keep the records back (RFC 7672 §2.1.2).
    fn unknown(&mut self, base: &str, question: String, words: String) -> Unheld {
        self.note(words.clone());
        let (names, records, base) = (Vec::new(), Vec::new(), base.to_owned());
        let demand = TlsaDemand { base, question, names, records, usable: None };
        let trouble = TlsTrouble::new(TlsFailure::DnssecInvalid, words);
        Unheld { demand: Demand::Tlsa(Arc::new(demand)), trouble, is_for_good: false }
    }

    /// The names that a certificate may be for that stands below a trust anchor of the records (RFC 7672
    /// §3.2.2).
    fn names(&self, host: &str, base: &str) -> Vec<String> {
        let mut names = vec![base.to_owned()];
        match &self.way {
            Way::Mx(domain) if !self.is_implicit => {
                let others = [Some(domain.to_string()), self.domain_end.clone()];
                // By insecure MX records anybody could name a host of his own.
                names.extend(others.into_iter().flatten().filter(|_| self.is_named));
            }
            _ => names.push(host.to_owned()),
        }
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }
}

/// The records of a host, in words: "TLSA of _25._tcp.mx.example.net: 3 records, 2 of them can be used".
fn told(demand: &TlsaDemand) -> String {
    let count = demand.records.len();
    let all = if count == 1 { "1 record".to_owned() } else { format!("{count} records") };
    match demand.usable.as_ref().map(UsableRecords::count) {
        None => format!(
            "TLSA of {}: {all}, none of which can be used, so TLS with any certificate is owed",
            demand.question
        ),
        Some(usable) if usable == count => format!("TLSA of {}: {all}", demand.question),
        Some(usable) => format!("TLSA of {}: {all}, {usable} of which count", demand.question),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::net::dns::{AliasedAnswer, DnsAnswer, MxHost, Record, RecordKind, Resolver};
    use crate::route::next_hop::{Ourselves, next_hops};
    use crate::site::Site;
    use jiff::Timestamp;

    /// The domain far.test, whose MX records anybody could have made up; its hosts have TLSA records of this usage,
    /// and DNSSEC vouches for them.
    #[derive(Debug)]
    struct Named {
        hosts: &'static [&'static str],
        usage: u8,
    }

    impl Resolver for Named {
        fn lookup(&self, name: &[u8], kind: RecordKind) -> Result<DnsAnswer, DnsError> {
            let records = match kind {
                RecordKind::Mx => {
                    let mx = |host: &&str| MxHost { preference: 1, host: (*host).to_owned() };
                    self.hosts.iter().map(|host| Record::Mx(mx(host))).collect()
                }
                RecordKind::Txt => vec![Record::Txt(b"v=STSv1; id=1".to_vec())],
                RecordKind::Tlsa => {
                    let (usage, data) = (self.usage, vec![7; 32]);
                    vec![Record::Tlsa { usage, selector: 1, matching: 1, data }]
                }
                _ => {
                    let at = self.hosts.iter().position(|host| host.as_bytes() == name).unwrap();
                    vec![Record::Address([192, 0, 2, 1 + at as u8].into())]
                }
            };
            let secure = kind != RecordKind::Mx;
            Ok(DnsAnswer { records: Records::Found(records), secure })
        }

        fn lookup_aliased(&self, name: &[u8], kind: RecordKind) -> Result<AliasedAnswer, DnsError> {
            self.lookup(name, kind).map(|answer| AliasedAnswer { answer, end: None })
        }
    }

    /// What the hosts are held to under a policy of this mode that names mx.far.test.
    fn demands(mode: &str, hosts: &'static [&'static str], usage: u8) -> (Vec<String>, String) {
        let spool = std::env::temp_dir().join(format!("facteur-held-{}", crate::id::message()));
        let dir = spool.join("mta-sts");
        std::fs::create_dir_all(&dir).unwrap();
        let now = Timestamp::now();
        let policy = format!(
            "domain far.test\nid 1\nfetched {now}\nused {now}\npolicy version: STSv1\npolicy mode: {mode}\n\
             policy mx: mx.far.test\npolicy max_age: 1000\nend\n"
        );
        std::fs::write(dir.join("far.test"), policy).unwrap();
        let spooled = spool.display().to_string();
        let text = format!(
            "hostname = \"mx.test\"\nspool = {spooled:?}\n[dns]\ntrust_ad = true\n[relay]\nnetworks = [\"::1\"]\n\
             [listen]\nsmtp = [\"127.0.0.1:2525\"]\n"
        );
        let config = Config::parse(&text, "facteur.toml".as_ref()).unwrap();
        let resolver = Arc::new(Named { hosts, usage });
        let site = Site::read_names(config).unwrap().0.with_resolver(resolver);
        let (ourselves, way) = (Ourselves::of(&site.config), Domain::parse("far.test").unwrap());
        let found = next_hops(&site, &ourselves, &Way::Mx(way), TlsWish::Usual);
        let mut hops = found.unwrap();
        let told = |hop: crate::route::next_hop::Hop| {
            format!("{} {}", hop.name, hop.demand.owed_by().unwrap_or_default())
        };
        let mut all: Vec<String> = hops.by_ref().map(told).collect();
        all.sort();
        std::fs::remove_dir_all(&spool).unwrap();
        (all, hops.trouble().map(|trouble| trouble.to_string()).unwrap_or_default())
    }

    #[test]
    fn records_of_a_host_that_somebody_in_between_has_named_lift_no_policy() {
        let (both, named) = (&["mx.far.test", "evil.test"][..], &["mx.far.test"][..]);
        let by_records = |host: &str| format!("{host} TLSA of _25._tcp.{host}");
        let by_policy = "mx.far.test the MTA-STS policy of far.test".to_owned();
        let passed =
            "451 4.7.5 far.test by MX: evil.test: the MTA-STS policy of far.test does not name it";
        // Both prove who they are.
        let (found, trouble) = demands("enforce", both, 3);
        assert_eq!((found, &trouble[..]), (vec![by_records("mx.far.test")], passed));
        for mode in ["testing", "none"] {
            let (found, trouble) = demands(mode, both, 3);
            assert_eq!(found, ["evil.test", "mx.far.test"].map(by_records), "{mode}");
            assert_eq!(trouble, "", "{mode}");
        }
        // By records that cannot be used nobody proves anything.
        assert_eq!(demands("enforce", named, 1), (vec![by_policy.clone()], String::new()));
        assert_eq!(demands("enforce", both, 1), (vec![by_policy], passed.to_owned()));
        for mode in ["testing", "none"] {
            assert_eq!(demands(mode, named, 1).0, [by_records("mx.far.test")], "{mode}");
        }
    }
}
