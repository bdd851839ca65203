//! What our own records say at this moment about mail that a next hop refused for them, in sentences for the
//! notice. Says only what DNS said.

use super::asker::{RecordsAsker, ShownRecords};
use super::dkim::is_key;
use super::facts::HostFacts;
use super::form::shown;
use super::{names, spf};
use crate::config::Config;
use crate::limits::records::{EXPLAIN_ADDRESSES_MAX, EXPLAIN_QUESTIONS, EXPLAIN_TIME};
use crate::mail::address::Domain;
use crate::mail::proof::dkim::ours::SignedBy;
use crate::mail::proof::dmarc::{Authors, DmarcResult, Evidence, judge};
use crate::mail::proof::name::Name;
use crate::mail::proof::spf::SpfResult;
use crate::net::dns::{Record, RecordKind};
use crate::net::public::is_public;
use crate::signing::Choice;
use crate::site::Site;
use crate::store::entry::EntrySignature;
use std::net::{IpAddr, Ipv4Addr};

/// In whose name, and from where, the mail was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedSender {
    /// The domain in MAIL; our host name where the sender was null.
    pub from: Domain,
    /// The domains in From.
    pub authors: Vec<Domain>,
    /// Our own end of the connection; none where it is not known.
    pub local: Option<IpAddr>,
    /// Whether the message left signed, and by which keys.
    pub signature: EntrySignature,
}

/// The sentences; none where DNS cannot be asked, and where nothing of it is ours.
pub fn explain(site: &Site, sender: &RefusedSender) -> Vec<String> {
    let mut asker = RecordsAsker::new(site.resolver(), EXPLAIN_QUESTIONS, EXPLAIN_TIME);
    let mut seen = RecordFindings {
        config: &site.config,
        asker: &mut asker,
        good: Vec::new(),
        bad: Vec::new(),
        is_unsure: false,
    };
    // A smarthost sends from addresses of its own.
    if site.config.relay.smarthost.is_none() {
        let addresses = seen.addresses(sender.local);
        if is_ours(site, &sender.from) {
            seen.spf(&sender.from, &addresses);
        }
        addresses.iter().for_each(|address| seen.reverse(*address));
    }
    for author in sender.authors.iter().filter(|author| is_ours(site, author)) {
        seen.dkim(site, author, &sender.signature);
        seen.dmarc(author);
    }
    let RecordFindings { good, bad, is_unsure, .. } = seen;
    match asker.is_heard() {
        true => sentences(&good, bad, is_unsure),
        false => Vec::new(),
    }
}

/// Whether the records of a domain are ours to mend.
fn is_ours(site: &Site, domain: &Domain) -> bool {
    names(&site.config).contains(domain)
}

/// What is bad; where nothing is, what is good.
fn sentences(good: &[String], bad: Vec<String>, is_unsure: bool) -> Vec<String> {
    let mut sentences = bad;
    if sentences.is_empty() && !good.is_empty() {
        sentences.push(format!("in order as seen from here: {}", good.join(", ")));
    }
    if is_unsure {
        sentences.push("DNS did not answer all questions about it".to_owned());
    }
    sentences
}

/// What was found so far.
struct RecordFindings<'a, 'r> {
    config: &'a Config,
    asker: &'a mut RecordsAsker<'r>,
    /// What is as it should be.
    good: Vec<String>,
    /// What is not, a sentence each.
    bad: Vec<String>,
    /// A question had no answer.
    is_unsure: bool,
}

impl RecordFindings<'_, '_> {
    /// The addresses that the next hop may have seen: an address that only the network around us can reach
    /// is changed on its way.
    fn addresses(&mut self, local: Option<IpAddr>) -> Vec<IpAddr> {
        if let Some(local) = local.filter(|local| is_public(*local)) {
            return vec![local];
        }
        let facts = HostFacts::find(self.config, None, self.asker);
        let addresses = facts.addresses.iter().map(|own| own.address);
        addresses.take(EXPLAIN_ADDRESSES_MAX).collect()
    }

    fn spf(&mut self, domain: &Domain, addresses: &[IpAddr]) {
        // Where our address is not known it can still be seen whether there is a record.
        let none = [IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
        let asked = if addresses.is_empty() { &none[..] } else { addresses };
        let worst = spf::worst(self.asker, &self.config.hostname, domain, asked);
        let Some((address, finding)) = worst else {
            if !addresses.is_empty() {
                self.good.push(format!("the SPF record of {domain}"));
            }
            return;
        };
        match finding.result {
            SpfResult::TempError => self.is_unsure = true,
            SpfResult::None => self.bad.push(format!("{domain} has no SPF record")),
            SpfResult::PermError => {
                self.bad.push(format!("the SPF record of {domain} is broken: {}", finding.reason));
            }
            _ if addresses.is_empty() => {}
            _ => self.bad.push(format!("the SPF record of {domain} does not let {address} send")),
        }
    }

    /// Hosts believe a name that leads back to the address, whatever name it is.
    fn reverse(&mut self, address: IpAddr) {
        let Some(name) = Name::reverse_of(address) else { return };
        let names = match self.asker.look(name.as_bytes(), RecordKind::Ptr) {
            ShownRecords::Records { records, .. } => records,
            ShownRecords::Unknown(_) => return self.is_unsure = true,
        };
        let Some(first) = names.first().map(shown) else {
            return self.bad.push(format!("{address} has no reverse name"));
        };
        let kind = if address.is_ipv4() { RecordKind::A } else { RecordKind::Aaaa };
        // Of very many names nobody tries all.
        for name in names.iter().take(EXPLAIN_ADDRESSES_MAX).map(shown) {
            match self.asker.look(name.as_bytes(), kind) {
                ShownRecords::Records { records, .. } => {
                    if records.iter().any(|record| record.address() == Some(address)) {
                        return self.good.push(format!("the reverse name of {address}"));
                    }
                }
                ShownRecords::Unknown(_) => return self.is_unsure = true,
            }
        }
        self.bad.push(format!("the reverse name of {address}, {first}, does not lead back to it"));
    }

    /// The keys by which the message was signed; of one that was not, what its author's domain does.
    fn dkim(&mut self, site: &Site, author: &Domain, signature: &EntrySignature) {
        let not_signed = format!("mail of {author} is not signed");
        match (site.signing().of(author), signature) {
            (None, _) => self.bad.push(not_signed),
            (Some((_, Choice::Unsigned(why))), EntrySignature::None | EntrySignature::Owed) => {
                self.bad.push(format!("{not_signed}: {why}"));
            }
            (Some(_), EntrySignature::None) => {
                self.bad.push(format!("this message was not signed, as other mail of {author} is"));
            }
            (Some((domain, Choice::Sign(keys))), EntrySignature::Owed) => {
                keys.iter().for_each(|key| {
                    let name = format!("{}._domainkey.{domain}", key.selector);
                    self.key(&name, &Record::Txt(key.record.clone().into_bytes()));
                });
            }
            (Some((_, Choice::Wait(_))), EntrySignature::Owed) => {}
            (Some(_), EntrySignature::By(by)) => self.keys_of(site, by),
        }
    }

    /// The keys of a signature that was made before; some may be retired since then.
    fn keys_of(&mut self, site: &Site, by: &SignedBy) {
        let Ok(domain) = Domain::parse(&by.domain.to_string()) else { return };
        let known = site.signing().standings(&domain);
        for selector in &by.selectors {
            let own = known.iter().find(|own| own.place.selector == *selector);
            // Of a key without a file nobody knows here what its record has to be.
            let record = own.and_then(|own| own.record.clone());
            if let Some(record) = record {
                let name = format!("{selector}._domainkey.{domain}");
                self.key(&name, &Record::Txt(record.into_bytes()));
            }
        }
    }

    /// Whether DNS shows a key at this name.
    fn key(&mut self, name: &str, want: &Record) {
        match self.asker.look(name.as_bytes(), RecordKind::Txt) {
            ShownRecords::Unknown(_) => self.is_unsure = true,
            ShownRecords::Records { records, .. } if records.is_empty() => {
                self.bad.push(format!("there is no key at {name}, with which we sign"));
            }
            ShownRecords::Records { records, .. } => {
                match records.iter().any(|record| is_key(want, record)) {
                    true => self.good.push(format!("the key at {name}")),
                    false => {
                        self.bad.push(format!("the key at {name} is not the one we sign with"));
                    }
                }
            }
        }
    }

    fn dmarc(&mut self, author: &Domain) {
        let Some(name) = Name::parse(author.as_str().as_bytes()) else { return };
        let authors = Ok(Authors { domains: vec![name], fields: 1 });
        let finding = judge(self.asker, &authors, &Evidence::default());
        match (finding.policy, finding.record) {
            _ if finding.result == DmarcResult::TempError => self.is_unsure = true,
            (Some(_), _) => self.good.push(format!("the DMARC record of {author}")),
            (None, Some(record)) => {
                self.bad.push(format!("the DMARC record of {record} has no valid policy"));
            }
            (None, None) => match self.text_at(&format!("_dmarc.{author}"), "v=DMARC1") {
                None => self.is_unsure = true,
                Some(0) => self.bad.push(format!("{author} has no DMARC record")),
                Some(_) => self.bad.push(format!("{author} has more than one DMARC record")),
            },
        }
    }

    /// How many texts at a name begin like this; none where DNS did not say.
    fn text_at(&mut self, name: &str, version: &str) -> Option<usize> {
        match self.asker.look(name.as_bytes(), RecordKind::Txt) {
            ShownRecords::Records { records, .. } => {
                let is_meant = |record: &&Record| shown(record).starts_with(version);
                Some(records.iter().filter(is_meant).count())
            }
            ShownRecords::Unknown(_) => None,
        }
    }
}
