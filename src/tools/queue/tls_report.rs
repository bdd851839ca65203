//! `facteur queue tls-report`: shows the reports on TLS of a day (RFC 8460), or lets them go at once.
//!
//! Works on the files under `spool/tls/`, under the same claims as a server, whether one runs or not. What goes by
//! mail is put into the queue; a running server gets a hint.

use super::become_server;
use super::{Failure, Request, complain, config, failed, hint, print, site};
use crate::config::Config;
use crate::limits::reports::{TALLY_BUSY, TALLY_GATHER};
use crate::mail::address::{Domain, Mailbox};
use crate::mail::tls_report::record::ReportAddress;
use crate::mail::tls_report::{TlsReport, before, day_of};
use crate::reporting::{ReportFate, ReportSender, ReportStep, post, wishes};
use crate::site::Site;
use crate::store::disk::RealDisk;
use crate::store::queue::Queue;
use crate::store::tally::{ClosedDay, TallyContent, TallyMark, TallyName, TallyStore};
use jiff::Timestamp;
use jiff::civil::Date;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

/// Prints the reports of a day, a JSON object a line, and on stderr where each would go; with `--send` lets them go,
/// and says what became of each.
pub fn tls_report(request: &Request) -> Result<(), Failure> {
    let config = config(request)?;
    let Some(contact) = config.relay.reports.clone() else {
        return Err(Failure::Failed(
            "relay.reports is not set, so nothing is counted and no report is sent".to_owned(),
        ));
    };
    // Files of root's the server could not change.
    if request.send {
        become_server(&config)?;
    }
    let store = TallyStore::new(Arc::new(RealDisk), &config.spool);
    let day = day(request, &store)?;
    let site = site(request)?;
    if !request.send || request.print {
        show(&site, &contact, &store, day)?;
    }
    if request.send { send(&config, &site, &contact, &store, day) } else { Ok(()) }
}

/// The day that is asked for: else yesterday where its reports have not gone yet, else today.
fn day(request: &Request, store: &TallyStore) -> Result<Date, Failure> {
    if let Some(text) = &request.day {
        let day = text.parse().ok().filter(|day: &Date| day.to_string() == *text);
        return day.ok_or_else(|| {
            Failure::Usage("--day: expected a day in UTC, such as 2026-11-30".to_owned())
        });
    }
    let today = day_of(Timestamp::now());
    let yesterday = before(today);
    for name in files(store, yesterday)? {
        if !store.read(name).map_err(failed)?.is_done() {
            return Ok(yesterday);
        }
    }
    Ok(today)
}

/// The files of a day.
fn files(store: &TallyStore, day: Date) -> Result<Vec<TallyName>, Failure> {
    let names = store.names().map_err(failed)?;
    Ok(names.into_iter().filter(|name| name.day == day).collect())
}

fn show(site: &Site, contact: &Mailbox, store: &TallyStore, day: Date) -> Result<(), Failure> {
    let (hostname, mut lines) = (&site.config.hostname, String::new());
    let files = files(store, day)?;
    // What is counted still would be the next.
    let next = files.iter().filter_map(|name| name.part).max().unwrap_or(0) + 1;
    for name in files {
        let part = name.part.unwrap_or(next);
        let content = store.read(name).map_err(failed)?;
        tell_gaps(&content);
        for (domain, counts) in content.counts.domains() {
            let report = TlsReport { domain, day, part, contact, hostname, counts };
            lines += &(report.write().json + "\n");
            tell_wishes(site, domain, &content);
        }
    }
    if lines.is_empty() {
        complain(&format!("nothing was counted on {day}"));
    }
    print(&lines)
}

/// Says where a report would go.
fn tell_wishes(site: &Site, domain: &Domain, content: &TallyContent) {
    let record = match wishes(site, domain) {
        Ok(record) => record,
        Err(ReportFate::Bad(why)) => {
            return complain(&format!("{domain}: its TLSRPT record cannot be used: {why}"));
        }
        Err(ReportFate::Failed(why)) => {
            return complain(&format!(
                "{domain}: DNS does not say whether it wants reports: {why}"
            ));
        }
        Err(_) => return complain(&format!("{domain}: wants no reports (no TLSRPT record)")),
    };
    for bad in &record.bad {
        complain(&format!("{domain}: an address of its TLSRPT record cannot be used: {bad}"));
    }
    for to in record.addresses.iter().map(ReportAddress::to_string) {
        let went = if content.is_sent(domain.as_str(), &to) { "went" } else { "goes" };
        complain(&format!("{domain}: its report {went} to {to}"));
    }
}

fn tell_gaps(content: &TallyContent) {
    if content.counts.left_out() > 0 {
        let count = content.counts.left_out();
        complain(&format!("connections that found no room in the counts: {count}"));
    }
    if content.bad > 0 {
        complain(&format!(
            "lines of the counts that are left out as they are torn: {}",
            content.bad
        ));
    }
}

/// Closes the day and sends what has not gone yet.
fn send(
    config: &Config,
    site: &Site,
    contact: &Mailbox,
    store: &TallyStore,
    day: Date,
) -> Result<(), Failure> {
    close(store, day)?;
    let queue = Queue::new(Arc::new(RealDisk), &config.spool);
    let post = |domain: &Domain, url: &str, report: &[u8]| post(site, domain, url, report);
    let (disk, queue, post) = (&RealDisk, &queue, &post);
    let sender = ReportSender { site, contact, disk, queue, post, hints: None };
    let (mut told, mut queued, mut all_done) = (String::new(), Vec::new(), true);
    let mut is_over = true;
    for name in files(store, day)?.into_iter().filter(|name| name.part.is_some()) {
        let Some(part) = store.claim(name).map_err(failed)? else {
            told += &format!("{day}: the server sends its reports at this moment\n");
            is_over = false;
            continue;
        };
        if part.content.is_done() {
            continue;
        }
        is_over = false;
        tell_gaps(&part.content);
        let mut heard = |step: ReportStep| {
            all_done &= say(&step, &mut told);
            if let ReportFate::Queued { id, .. } = step.fate {
                queued.push(id);
            }
        };
        let left = sender.send(name, &part, None, &mut heard).map_err(failed)?;
        if left.is_empty() {
            part.note(&TallyMark::Done).map_err(failed)?;
        }
    }
    let queued: Vec<&str> = queued.iter().map(String::as_str).collect();
    if let Err(error) = hint(config, &queued) {
        complain(&format!("cannot tell the server: {error}"));
    }
    if is_over {
        told = format!("{day}: there is nothing that has not gone yet\n");
    }
    print(&told)?;
    if all_done { Ok(()) } else { Err(Failure::Told) }
}

/// Closes the day's counts. A server has the file for moments only.
fn close(store: &TallyStore, day: Date) -> Result<(), Failure> {
    let until = Instant::now() + TALLY_BUSY;
    while store.close(day).map_err(failed)? == ClosedDay::Busy {
        if Instant::now() >= until {
            let path = store.path(TallyName { day, part: None });
            return Err(failed(format!("{} is in use, try again", path.display())));
        }
        thread::sleep(TALLY_GATHER / 10);
    }
    Ok(())
}

/// Tells one step; false where it is to be tried again.
fn say(step: &ReportStep, told: &mut String) -> bool {
    let ReportStep { domain, to, fate } = step;
    let what = match fate {
        ReportFate::Queued { id, unsigned: None } => format!("queued for {to} as {id}"),
        ReportFate::Queued { id, unsigned: Some(why) } => {
            complain(&format!(
                "{domain}: the report leaves unsigned, and may be ignored for that (RFC 8460, 3): {why}"
            ));
            format!("queued for {to} as {id}")
        }
        ReportFate::Posted(status) => format!("posted to {to}, {status}"),
        ReportFate::Known => format!("went to {to} before"),
        ReportFate::Unwanted => "wants no reports (no TLSRPT record)".to_owned(),
        ReportFate::Bad(why) => format!("cannot be sent, for its TLSRPT record: {why}"),
        ReportFate::Failed(why) => {
            let place = if to.is_empty() { "" } else { " to " };
            complain(&format!("{domain}: not sent{place}{to}: {why}"));
            return false;
        }
    };
    told.push_str(&super::escape(&format!("{domain}: {what}")));
    told.push('\n');
    true
}
