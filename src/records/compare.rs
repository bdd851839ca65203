//! Each wanted record beside what DNS shows.

use super::asker::{RecordsAsker, ShownRecords};
use super::facts::{AddressSource, HostFacts, is_of};
use super::form::{shown, word};
use super::policies::{is_meant, is_mta_sts, is_tls_reports};
use super::{RecordPurpose, RecordRow, RecordState, Want, WantedRecord, dkim, spf};
use crate::config::Config;
use crate::mail::address::Domain;
use crate::mail::proof::dmarc::{Authors, DmarcResult, Evidence, judge};
use crate::mail::proof::name::Name;
use crate::mail::proof::spf::SpfResult;
use crate::net::dns::{Record, RecordKind};
use std::net::IpAddr;

/// How a record is, and what else a person should know about it.
struct Comparison {
    state: RecordState,
    /// What it should be, where DNS tells: what is there and good, or what is there, mended.
    want: Option<String>,
    have: Vec<String>,
    mark: Option<String>,
}

/// Compares the records with what DNS shows, one after the other.
pub fn compare(
    config: &Config,
    facts: &HostFacts,
    records: &[WantedRecord],
    asker: &mut RecordsAsker<'_>,
) -> Vec<RecordRow> {
    let mut comparer = Comparer { config, facts, asker };
    let rows = records.iter().map(|record| comparer.row(record));
    // What is to be removed, and is: there is nothing to say.
    let is_gone =
        |row: &RecordRow| row.purpose == RecordPurpose::Retired && row.state != RecordState::Ok;
    rows.filter(|row| !is_gone(row)).collect()
}

struct Comparer<'a, 'r> {
    config: &'a Config,
    facts: &'a HostFacts,
    asker: &'a mut RecordsAsker<'r>,
}

impl Comparer<'_, '_> {
    fn row(&mut self, wanted: &WantedRecord) -> RecordRow {
        let found = match wanted.state {
            Some(state) => Comparison { state, want: None, have: Vec::new(), mark: None },
            None => match self.asker.look(wanted.name.as_bytes(), wanted.kind) {
                ShownRecords::Records { records, secure } => self.compare(wanted, &records, secure),
                ShownRecords::Unknown(why) => Comparison::unknown(why),
            },
        };
        let own = match &wanted.want {
            Want::Record(record) => shown(record),
            Want::Words(words) => format!("({words})"),
        };
        RecordRow {
            purpose: wanted.purpose,
            state: found.state,
            kind: word(wanted.kind),
            name: wanted.name.clone(),
            want: found.want.unwrap_or(own),
            have: found.have,
            mark: found.mark.or_else(|| wanted.mark.clone()),
            owner: wanted.owner.clone(),
            is_needed: wanted.is_needed,
        }
    }

    fn compare(&mut self, wanted: &WantedRecord, there: &[Record], secure: bool) -> Comparison {
        match wanted.purpose {
            RecordPurpose::Address => self.address(wanted, there),
            RecordPurpose::Reverse => self.reverse(wanted, there),
            RecordPurpose::Certificate => self.certificate(there, secure),
            RecordPurpose::Spf => self.spf(wanted, there),
            RecordPurpose::Dkim | RecordPurpose::Retired => {
                let is_key = |record: &Record| match &wanted.want {
                    Want::Record(want) => dkim::is_key(want, record),
                    Want::Words(_) => false,
                };
                Comparison::of(there, is_key)
            }
            RecordPurpose::Mx => {
                let host = self.config.hostname.as_str();
                let is_ours = |record: &Record| matches!(record, Record::Mx(mx) if mx.host == host);
                Comparison::of_any(there, is_ours)
            }
            RecordPurpose::Submission => {
                let is_ours = |record: &Record| match (record, &wanted.want) {
                    (
                        Record::Srv { port, target, .. },
                        Want::Record(Record::Srv { port: own_port, target: own, .. }),
                    ) => port == own_port && target == own,
                    _ => false,
                };
                Comparison::of_any(there, is_ours)
            }
            RecordPurpose::TlsReports => policy(there, "v=TLSRPTv1", is_tls_reports),
            RecordPurpose::MtaSts => policy(there, "v=STSv1", is_mta_sts),
            RecordPurpose::Dmarc => self.dmarc(&wanted.owner, there),
        }
    }

    /// Every address of the host has to be one of ours: mail comes to all of them.
    fn address(&mut self, wanted: &WantedRecord, there: &[Record]) -> Comparison {
        let found = Comparison::of(there, |record| wanted.is(record));
        let is_sure =
            self.facts.addresses.iter().any(|own| {
                own.source == AddressSource::Interface && is_of(own.address, wanted.kind)
            });
        let other = there
            .iter()
            .filter_map(Record::address)
            .find(|address| is_sure && !self.facts.has(*address));
        match (found.state, other) {
            (RecordState::Ok, Some(other)) => Comparison {
                state: RecordState::Differs,
                mark: Some(format!("no interface of this host has {other}")),
                ..found
            },
            _ => found,
        }
    }

    /// The name of an address has to lead back to it: hosts believe no other.
    fn reverse(&mut self, wanted: &WantedRecord, there: &[Record]) -> Comparison {
        let found = Comparison::of(there, |record| wanted.is(record));
        let host = self.config.hostname.clone();
        let own = self.facts.addresses.iter().map(|own| own.address);
        let own: Vec<IpAddr> = own.collect();
        let is_its = |address: &IpAddr| {
            Name::reverse_of(*address).is_some_and(|name| name.to_string() == wanted.name)
        };
        let Some(address) = own.into_iter().find(is_its) else { return found };
        if found.state != RecordState::Ok {
            return found;
        }
        let kind = if address.is_ipv4() { RecordKind::A } else { RecordKind::Aaaa };
        match self.asker.look(host.as_str().as_bytes(), kind) {
            ShownRecords::Records { records, .. }
                if records.iter().any(|record| record.address() == Some(address)) =>
            {
                found
            }
            ShownRecords::Records { .. } => Comparison {
                state: RecordState::Differs,
                mark: Some(format!("{host} does not lead back to {address}")),
                ..found
            },
            ShownRecords::Unknown(why) => Comparison::unknown(why),
        }
    }

    fn certificate(&mut self, there: &[Record], secure: bool) -> Comparison {
        let chain = self.facts.chain.as_ref().and_then(|chain| chain.as_ref().ok());
        let fits = |record: &Record| chain.is_some_and(|chain| chain.fits(record));
        let found = Comparison::of_any(there, fits);
        let is_plain = found.state == RecordState::Ok && self.config.dns.trust_ad && !secure;
        let mark = is_plain.then(|| "the zone is not signed, so nobody heeds it".to_owned());
        Comparison { mark, ..found }
    }

    fn spf(&mut self, wanted: &WantedRecord, there: &[Record]) -> Comparison {
        let texts: Vec<&Record> =
            there.iter().filter(|record| is_text(record, spf::VERSION)).collect();
        let have: Vec<String> = texts.iter().map(|record| shown(record)).collect();
        let [text] = &have[..] else {
            let state = if have.is_empty() { RecordState::Missing } else { RecordState::Differs };
            let mark = (have.len() > 1).then(|| "there may be one only".to_owned());
            return Comparison { state, want: None, have, mark };
        };
        let own = self.facts.addresses.iter().map(|own| own.address);
        let own: Vec<IpAddr> = own.collect();
        let host = &self.config.hostname;
        let is_relayed = self.config.relay.smarthost.is_some();
        // Of a record for others' addresses only a look at its grammar makes sense.
        let asked = if own.is_empty() { vec![IpAddr::from([0, 0, 0, 0])] } else { own.clone() };
        let worst = spf::worst(self.asker, host, &wanted.owner, &asked);
        let good = || Comparison {
            state: RecordState::Ok,
            want: Some(text.clone()),
            have: have.clone(),
            mark: None,
        };
        let Some((address, finding)) = worst else { return good() };
        let says = format!("{} for {address}: {}", finding.result, finding.reason);
        match finding.result {
            SpfResult::TempError => Comparison::unknown(finding.reason),
            SpfResult::PermError => Comparison {
                state: RecordState::Differs,
                want: None,
                have: have.clone(),
                mark: Some(says),
            },
            _ if is_relayed => good(),
            _ if own.is_empty() => Comparison::unknown(
                "the address of this host is not known: its name has none".to_owned(),
            ),
            _ => {
                let missing: Vec<IpAddr> = own
                    .iter()
                    .copied()
                    .filter(|address| {
                        let finding = spf::evaluate(self.asker, host, &wanted.owner, *address);
                        finding.result != SpfResult::Pass
                    })
                    .collect();
                Comparison {
                    state: RecordState::Differs,
                    want: spf::mended(text, &missing),
                    have: have.clone(),
                    mark: Some(says),
                }
            }
        }
    }

    /// A record of the domain itself, or of the one above it that holds for it (RFC 9989, 4.10).
    fn dmarc(&mut self, domain: &Domain, there: &[Record]) -> Comparison {
        let texts = there.iter().filter(|record| is_text(record, "v=DMARC1"));
        let have: Vec<String> = texts.map(shown).collect();
        let Some(author) = Name::parse(domain.as_str().as_bytes()) else {
            return Comparison::of(&[], |_| false);
        };
        let authors = Ok(Authors { domains: vec![author.clone()], fields: 1 });
        let finding = judge(self.asker, &authors, &Evidence::default());
        match (finding.result, finding.policy, finding.record) {
            (DmarcResult::TempError, None, _) => Comparison::unknown(finding.reason),
            (_, Some(_), Some(record)) if record == author => {
                Comparison { state: RecordState::Ok, want: have.first().cloned(), have, mark: None }
            }
            (_, Some(_), Some(above)) if have.is_empty() => Comparison {
                state: RecordState::Ok,
                want: self.text_at(&format!("_dmarc.{above}")),
                have,
                mark: Some(format!("by the record of {above}")),
            },
            _ if have.is_empty() => {
                Comparison { state: RecordState::Missing, want: None, have, mark: None }
            }
            _ => {
                let mark = match have.len() {
                    1 => "it has no valid policy",
                    _ => "there may be one only",
                };
                let mark = Some(mark.to_owned());
                Comparison { state: RecordState::Differs, want: None, have, mark }
            }
        }
    }

    fn text_at(&mut self, name: &str) -> Option<String> {
        match self.asker.look(name.as_bytes(), RecordKind::Txt) {
            ShownRecords::Records { records, .. } => {
                records.iter().find(|record| is_text(record, "v=DMARC1")).map(shown)
            }
            ShownRecords::Unknown(_) => None,
        }
    }
}

/// One valid record of this version.
fn policy(there: &[Record], version: &str, is_valid: impl Fn(&[u8]) -> bool) -> Comparison {
    let meant: Vec<Record> =
        there.iter().filter(|record| is_text(record, version)).cloned().collect();
    let is_valid = |record: &Record| matches!(record, Record::Txt(text) if is_valid(text));
    let found = Comparison::of_any(&meant, is_valid);
    match meant.len() {
        0 | 1 => found,
        _ => Comparison {
            state: RecordState::Differs,
            want: None,
            mark: Some("there may be one only".to_owned()),
            ..found
        },
    }
}

/// Whether this is a text that begins like this, in whatever case.
fn is_text(record: &Record, version: &str) -> bool {
    matches!(record, Record::Txt(text) if is_meant(text, version))
}

impl WantedRecord {
    /// Whether a record of DNS is the one that is wanted.
    fn is(&self, there: &Record) -> bool {
        matches!(&self.want, Want::Record(want) if want == there)
    }
}

impl Comparison {
    fn unknown(why: String) -> Comparison {
        Comparison { state: RecordState::Unknown, want: None, have: Vec::new(), mark: Some(why) }
    }

    /// One of these has to be good.
    fn of(there: &[Record], is_good: impl Fn(&Record) -> bool) -> Comparison {
        let state = match there.iter().any(is_good) {
            true => RecordState::Ok,
            false if there.is_empty() => RecordState::Missing,
            false => RecordState::Differs,
        };
        Comparison { state, want: None, have: there.iter().map(shown).collect(), mark: None }
    }

    /// The same, where a good one may differ from what was proposed.
    fn of_any(there: &[Record], is_good: impl Fn(&Record) -> bool) -> Comparison {
        let good = there.iter().find(|record| is_good(record)).map(shown);
        Comparison { want: good, ..Comparison::of(there, is_good) }
    }
}
