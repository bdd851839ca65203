//! Sends the reports of a closed part to all that want them: asks DNS who does, and puts mail into the queue or posts
//! by HTTPS. Each address gets a report once; what went is written down before the next one goes.

use crate::event::{Event, tell, warn};
use crate::handoff::{Hint, Hints};
use crate::limits::reports::{REPORT_HTTPS, REPORT_MEDIA};
use crate::mail::address::{Domain, Mailbox, ReversePath};
use crate::mail::envelope::{BodyType, Sender, TlsWish};
use crate::mail::tls_report::letter::ReportLetter;
use crate::mail::tls_report::record::{PLACE, ReportAddress, ReportRecord};
use crate::mail::tls_report::{TlsReport, WrittenReport};
use crate::net::dns::{Record, RecordKind, Records};
use crate::net::https::Https;
use crate::net::tls::authorities;
use crate::notices::addressees;
use crate::signature::{OwnMessage, Signature, TakeOctets, signature};
use crate::site::Site;
use crate::store::disk::{Disk, Doing, StoreError};
use crate::store::entry::Entry;
use crate::store::queue::Queue;
use crate::store::sum::Sum;
use crate::store::tally::{ClaimedTally, TallyMark, TallyName};
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::civil::Date;
use jiff::{Timestamp, ZonedDateTime};
use std::collections::BTreeSet;
use std::io::Write;

/// Posts the compressed report for a domain to a URL; gives the status of HTTP, or why there is none.
pub type Post<'a> = dyn Fn(&Domain, &str, &[u8]) -> Result<u16, String> + 'a;

/// What is needed to send reports.
pub struct ReportSender<'a> {
    pub site: &'a Site,
    /// `relay.reports`.
    pub contact: &'a Mailbox,
    pub disk: &'a dyn Disk,
    pub queue: &'a Queue,
    /// Posts a report by HTTPS; gives the status of the answer.
    pub post: &'a Post<'a>,
    /// Tells the scheduler of a new message; none beside a server.
    pub hints: Option<&'a Hints>,
}

/// What became of a domain's report at one of its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportStep {
    pub domain: Domain,
    /// Where it was to go: an address, or a piece of a record that is none. Printable.
    pub to: String,
    pub fate: ReportFate,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportFate {
    /// It lies in the queue under this id; the words say why it is not signed, where it is not.
    Queued { id: String, unsigned: Option<String> },
    /// A server has taken it, with this status.
    Posted(u16),
    /// It went before.
    Known,
    /// Nobody wants it.
    Unwanted,
    /// The domain wants it in a way that cannot be.
    Bad(String),
    /// It is to be tried again.
    Failed(String),
}

/// What a domain wants, as DNS says now. The error: it wants none, or none that can be; `Failed` where DNS did not say.
pub fn wishes(site: &Site, domain: &Domain) -> Result<ReportRecord, ReportFate> {
    let name = format!("{PLACE}{domain}");
    let answer = site.resolver().lookup(name.as_bytes(), RecordKind::Txt);
    let records = match answer.map_err(|error| ReportFate::Failed(error.why()))?.records {
        Records::Found(records) => records,
        Records::Absent | Records::Unsure(_) | Records::NoName => Vec::new(),
    };
    match ReportRecord::find(records.iter().filter_map(Record::text)) {
        Ok(Some(record)) => Ok(record),
        Ok(None) => Err(ReportFate::Unwanted),
        Err(why) => Err(ReportFate::Bad(why.to_string())),
    }
}

/// Posts the report for a domain to a server whose certificate is for its name, by the authorities of this system.
///
/// A stranger has written the URL, and must not let us speak to what only we can reach. A domain that the DNS of the
/// world cannot have is no stranger's.
pub fn post(site: &Site, domain: &Domain, url: &str, report: &[u8]) -> Result<u16, String> {
    let https = Https::new(site.shared_resolver(), &authorities()?, REPORT_HTTPS);
    let https = if domain.is_special() { https } else { https.only_to_the_world() };
    https.post(url, REPORT_MEDIA, report).map_err(|fault| fault.to_string())
}

impl ReportSender<'_> {
    /// Sends the reports of a part to these domains, or to all; gives those that are to be tried again. What became
    /// of each is given to `heard`. Fails where what went cannot be written down.
    pub fn send(
        &self,
        name: TallyName,
        part: &ClaimedTally,
        only: Option<&BTreeSet<Domain>>,
        heard: &mut dyn FnMut(ReportStep),
    ) -> Result<BTreeSet<Domain>, StoreError> {
        let (day, number) = (name.day, name.part.unwrap_or(1));
        let mut left = BTreeSet::new();
        let mut say = |step: ReportStep| {
            tell_step(day, &step);
            heard(step);
        };
        for (domain, counts) in part.content.counts.domains() {
            if only.is_some_and(|only| !only.contains(domain)) {
                continue;
            }
            let step =
                |to: &str, fate| ReportStep { domain: domain.clone(), to: to.to_owned(), fate };
            let record = match wishes(self.site, domain) {
                Ok(record) => record,
                Err(fate) => {
                    if matches!(fate, ReportFate::Failed(_)) {
                        left.insert(domain.clone());
                    }
                    say(step("", fate));
                    continue;
                }
            };
            for bad in record.bad {
                say(step("", ReportFate::Bad(bad)));
            }
            let (contact, hostname) = (self.contact, &self.site.config.hostname);
            let report = TlsReport { domain, day, part: number, contact, hostname, counts };
            let written = report.write();
            if written.is_cut {
                warn(&format!("the report on TLS for {domain} is long: details are left out"));
            }
            let packed = packed(&written.json);
            for address in &record.addresses {
                let to = address.to_string();
                if part.content.is_sent(domain.as_str(), &to) {
                    say(step(&to, ReportFate::Known));
                    continue;
                }
                let fate = self.send_one(&report, &written, &packed, address);
                // Behind the act: a kill in between repeats one, and loses none.
                match &fate {
                    ReportFate::Queued { .. } | ReportFate::Posted(_) => {
                        let domain = domain.to_string();
                        part.note(&TallyMark::Sent { domain, to: to.clone() })?;
                    }
                    ReportFate::Failed(_) => drop(left.insert(domain.clone())),
                    ReportFate::Known | ReportFate::Unwanted | ReportFate::Bad(_) => {}
                }
                say(step(&to, fate));
            }
        }
        Ok(left)
    }

    fn send_one(
        &self,
        report: &TlsReport<'_>,
        written: &WrittenReport,
        packed: &[u8],
        address: &ReportAddress,
    ) -> ReportFate {
        match address {
            ReportAddress::Mail(to) => match self.queue(report, written, packed, to) {
                Ok((id, signature)) => {
                    let unsigned = match signature {
                        Some(Signature::Unsigned(why)) => Some(why),
                        Some(Signature::Signed { .. } | Signature::Later { .. }) => None,
                        None => Some(format!("{} has no keys here", self.contact.host)),
                    };
                    ReportFate::Queued { id, unsigned }
                }
                Err(error) => ReportFate::Failed(error.to_string()),
            },
            ReportAddress::Https(url) => match (self.post)(report.domain, url, packed) {
                Ok(status @ 200..=299) => ReportFate::Posted(status),
                Ok(status) => ReportFate::Failed(format!("the server answered {status}")),
                Err(why) => ReportFate::Failed(why),
            },
        }
    }

    /// Puts a report into the queue, durably.
    fn queue(
        &self,
        report: &TlsReport<'_>,
        written: &WrittenReport,
        packed: &[u8],
        to: &Mailbox,
    ) -> Result<(String, Option<Signature>), StoreError> {
        let id = crate::id::message();
        let (random, date) = (crate::id::random(), &ZonedDateTime::now());
        let letter = ReportLetter { report, written, packed, to, id: &id, random, date };
        let is_utf8 = letter.is_utf8();
        let text = letter.write();
        let view = |take: &mut TakeOctets<'_>| {
            let _ = take(text.as_bytes());
            Ok::<(), StoreError>(())
        };
        let signature = signature(self.site, &OwnMessage::new(&view))?;
        let text = format!("{}{text}", signature.as_ref().map_or("", Signature::fields));
        let entry = Entry {
            id: id.clone(),
            queued: Timestamp::now(),
            session: String::new(),
            sender: Sender {
                body: if is_utf8 { BodyType::EightBitMime } else { BodyType::SevenBit },
                smtputf8: is_utf8,
                tls: TlsWish::NotRequired,
                ..Sender::new(ReversePath::Null)
            },
            is_trusted: true,
            is_proved: false,
            recipients: addressees(self.site, self.disk, to),
            size: text.len() as u64,
            sum: Some(Sum::of(text.as_bytes()).value()),
            wire: None,
            is_junk: false,
            signature: signature.as_ref().map(Signature::in_queue).unwrap_or_default(),
            quarantine: None,
            is_unfiltered: false,
            others: Vec::new(),
            message_at: 0,
        };
        self.queue
            .insert(&entry, |file, path| file.append(text.as_bytes()).doing("write", path))?;
        signature.iter().for_each(|signature| signature.tell(&id));
        if let Some(hints) = self.hints {
            hints.send(Hint::Look(id.clone()));
        }
        Ok((id, signature))
    }
}

/// Tells the log what became of a report.
fn tell_step(day: Date, step: &ReportStep) {
    let (id, status, reason) = match &step.fate {
        ReportFate::Queued { id, unsigned } => (Some(&id[..]), None, unsigned.as_deref()),
        ReportFate::Posted(status) => (None, Some(*status), None),
        ReportFate::Bad(why) | ReportFate::Failed(why) => (None, None, Some(&why[..])),
        ReportFate::Known | ReportFate::Unwanted => return,
    };
    let (domain, day) = (step.domain.as_str(), &day.to_string()[..]);
    tell(&Event::TlsReport { domain, day, to: &step.to, id, status, reason });
}

/// Compressed by gzip (RFC 1952).
fn packed(json: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // A vector takes all.
    let _ = encoder.write_all(json.as_bytes());
    encoder.finish().unwrap_or_default()
}
