//! `facteur sendmail`: sendmail(1), for cron, PHP, mail programs and everything else that sends mail by
//! starting a program. Also by the names `sendmail`, `mailq` and `newaliases`.
//!
//! Nothing is delivered here: a message is put where the server takes it from ([`caller`]), durably,
//! whether one runs or not. What a session would refuse is refused at once, for all recipients, so the
//! caller knows that nothing was sent.

mod caller;
mod lines;
mod message;
mod options;
mod smtp;
mod status;
mod unsent;

use super::terminal::escape;
use super::{Request, complain, print, queue, route};
use crate::config::Config;
use crate::limits::{FROM_ADDRESSES_MAX, QUOTED_MAX};
use crate::mail::address::{Domain, Host, Mailbox, ReversePath};
use crate::mail::edits::Edits;
use crate::mail::envelope::{BodyType, Sender};
use crate::mail::repair::{HeaderTooLong, ListFlaw, SubmittedHeader};
use crate::mail::summary::Summary;
use crate::mail::trace_fields::Submitted;
use crate::pickup::{Author, Resolved, domain_of, resolve};
use crate::policy;
use crate::route::bad_aliases;
use crate::site::Site;
use crate::store::disk::RealDisk;
use crate::store::entry::{Addressee, Entry};
use crate::store::queue::Queue;
use caller::{Submitter, choose, drop_setuid, load};
use jiff::{Timestamp, ZonedDateTime};
use lines::InputLines;
use message::InputMessage;
use options::{Mode, Options};
use status::{ExitStatus, NotSent, of_reply};
use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use unsent::SendmailCall;

const HELP: &str = include_str!("../help/sendmail.txt");

/// The name by which the program was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramName {
    Sendmail,
    Mailq,
    Newaliases,
}

impl ProgramName {
    /// None for `facteur`.
    pub fn of(program: &Path) -> Option<ProgramName> {
        match program.file_name()?.to_str()? {
            "sendmail" => Some(ProgramName::Sendmail),
            "mailq" => Some(ProgramName::Mailq),
            "newaliases" => Some(ProgramName::Newaliases),
            _ => None,
        }
    }
}

/// Does what the arguments say. `config`: by facteur's own `-c`.
pub fn run(name: ProgramName, config: Option<PathBuf>, arguments: Vec<OsString>) -> ExitCode {
    let mode = match name {
        ProgramName::Sendmail => Mode::Send,
        ProgramName::Mailq => Mode::List,
        ProgramName::Newaliases => Mode::Aliases,
    };
    let (mut options, mut call) = (Options { mode, ..Options::default() }, SendmailCall::new());
    let done = drop_setuid().and_then(|()| {
        let parsed = options::parse(arguments, &mut options);
        let config = choose(options.config.clone().or(config));
        let known = |call| load(config.as_deref()).map(|config| know(call, &options, config));
        parsed.inspect_err(|_| drop(known(&mut call)))?;
        act(config, &options, &mut call)
    });
    let Err(refusal) = done else { return ExitCode::SUCCESS };
    let id = match options.mode {
        Mode::Send | Mode::Smtp => call.tell(&refusal),
        _ => None,
    };
    let NotSent { status, text } = refusal;
    if !text.is_empty() {
        let id = id.map(|id| format!(" [{id}]")).unwrap_or_default();
        let _ = writeln!(io::stderr(), "sendmail: {}{id}", escape(&text));
    }
    ExitCode::from(status as u8)
}

fn act(config: Option<PathBuf>, options: &Options, call: &mut SendmailCall) -> Result<(), NotSent> {
    let request = Request { config: config.clone(), ..Request::default() };
    match &options.mode {
        Mode::Help => Ok(print(HELP)?),
        Mode::Version => Ok(print(&format!("facteur {}\n", env!("CARGO_PKG_VERSION")))?),
        Mode::Nothing => Ok(()),
        Mode::Send => send(&caller(config.as_deref(), options, call)?, options, call),
        Mode::Smtp => smtp::run(&caller(config.as_deref(), options, call)?),
        Mode::Aliases => check_aliases(&request),
        Mode::Verify => verify(&request, &options.recipients),
        Mode::List => owned(&request).and_then(|_| Ok(queue::mailq(&request)?)),
        Mode::Flush => {
            owned(&request)?;
            Ok(queue::retry(&Request { all: true, ..request }, &[])?)
        }
        Mode::FlushOne(id) => owned(&request).and_then(|_| Ok(queue::retry(&request, &[id])?)),
        Mode::FlushFor(domain) => {
            let ids = waiting_for(&owned(&request)?, domain)?;
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            Ok(queue::retry(&request, &ids)?)
        }
    }
}

/// The caller. A failure from here on is reported to the server of this configuration.
fn caller(
    config: Option<&Path>,
    options: &Options,
    call: &mut SendmailCall,
) -> Result<Submitter, NotSent> {
    let config = load(config)?;
    know(call, options, config.clone());
    Submitter::find(config)
}

/// Notes sender and recipients of the arguments, without limits or errors, for the report of a failure.
fn know(call: &mut SendmailCall, options: &Options, config: Config) {
    let words = options.recipients.iter();
    let read = |word: &String| addresses(word, config.home(), usize::MAX).unwrap_or_default();
    call.to = words.flat_map(read).collect();
    let sender = options.sender.as_deref().and_then(|word| Mailbox::parse(word).ok());
    call.from = sender.map(ReversePath::Mailbox);
    call.config = Some(config);
}

/// Sends one message, to all recipients or to none.
fn send(caller: &Submitter, options: &Options, call: &mut SendmailCall) -> Result<(), NotSent> {
    let (config, home) = (&caller.config, caller.config.home().clone());
    let mut to = Vec::new();
    for word in &options.recipients {
        to.extend(addresses(word, &home, config.limit.recipients)?);
    }
    if to.is_empty() && !options.by_header {
        return Err(NotSent::usage("no recipient, and no -t"));
    }
    let site = caller.site(false)?;
    let own = caller.author.address(&site, &*caller.disk);
    let own = own.map_err(|why| NotSent::new(ExitStatus::System, why))?;
    let from = sender(options, &own, &site, caller)?;
    call.from = Some(from.clone());
    let lines = InputLines::new(!options.ignores_dots);
    let (spill, most) = (caller.scratch(), config.limit.message_size);
    let InputMessage { head, body, summary, wire, is_eight_bit } =
        message::read(&mut io::stdin().lock(), lines, &caller.disk, &spill, most)?;
    // The message was read whole, so it has a header.
    let header = SubmittedHeader::read(&head, true)?.ok_or(HeaderTooLong)?;
    if options.by_header {
        let found = header.recipients(&home, config.limit.recipients);
        call.to.extend(header.recipients(&home, usize::MAX).unwrap_or_default());
        to.extend(
            found.map_err(|bad| {
                NotSent::new(of_flaw(bad.flaw, ExitStatus::Data), bad.to_string())
            })?,
        );
    }
    let asked = asked(options, to, config.limit.recipients)?;
    let to = resolved(caller, &site, asked, (&from, &summary), call)?;
    let mut entry = entry(options, from, to, is_eight_bit);
    entry.sender.tls = summary.tls.wish();
    if entry.is_too_long() {
        return Err(NotSent::new(ExitStatus::Unavailable, "too many recipients"));
    }
    let date = ZonedDateTime::now();
    let head = completed(caller, options, &header, &entry, &own);
    let Author { uid, login, .. } = &caller.author;
    let by = &config.hostname;
    let received = Submitted { uid: *uid, login, by, id: &entry.id, date: &date }.field();
    let recipients = entry.recipients.len();
    entry.wire = wire.map(|wire| wire.below(&head).below(received.as_bytes()));
    let id = caller.put(entry, &received, Edits::default().on_top(head), &body)?;
    if options.verbose {
        print(&format!("{id}: queued for {recipients} recipients\n"))?;
    }
    Ok(())
}

/// The envelope, under a new id.
fn entry(options: &Options, from: ReversePath, to: Vec<Addressee>, is_eight_bit: bool) -> Entry {
    let is_utf8 = |to: &Addressee| !to.mailbox.to_string().is_ascii();
    let smtputf8 = !from.to_string().is_ascii() || to.iter().any(is_utf8);
    let found = if is_eight_bit { BodyType::EightBitMime } else { BodyType::SevenBit };
    Entry {
        id: crate::id::message(),
        queued: Timestamp::now(),
        session: crate::id::session(),
        sender: Sender {
            body: options.body.unwrap_or(found),
            smtputf8,
            ret: options.ret,
            envid: options.envid.clone(),
            ..Sender::new(from)
        },
        is_trusted: true,
        recipients: to,
        // Known when it is written.
        size: 0,
        sum: None,
        wire: None,
        is_junk: false,
        is_proved: false,
        signature: Default::default(),
        quarantine: None,
        is_unfiltered: false,
        others: Vec::new(),
        message_at: 0,
    }
}

/// The header as it is sent. `own`: the caller, as the author of a message with a null sender.
fn completed(
    caller: &Submitter,
    options: &Options,
    header: &SubmittedHeader<'_>,
    entry: &Entry,
    own: &Mailbox,
) -> Vec<u8> {
    // Postfix and older programs look at NAME, too.
    let name = options.name.clone().or_else(|| std::env::var("NAME").ok());
    let name = name.unwrap_or_else(|| caller.author.name.clone());
    let from = match &entry.sender.from {
        ReversePath::Mailbox(mailbox) => Some(mailbox),
        ReversePath::Null => None,
    };
    caller.completed(header, (own, from), Some(&name), &entry.id)
}

/// Each recipient once, with the options that hold for all.
fn asked(options: &Options, to: Vec<Mailbox>, most: usize) -> Result<Vec<Addressee>, NotSent> {
    let mut known = HashSet::new();
    let to = to.into_iter().filter(|mailbox| known.insert(mailbox.clone()));
    let notify = options.notify;
    let to = to.map(|mailbox| Addressee { mailbox, notify, orcpt: None, via: None });
    let to: Vec<Addressee> = to.collect();
    match to.len() {
        0 => Err(NotSent::usage("no recipient in the header")),
        count if count > most => {
            let text = format!("{count} recipients, and limit.recipients is {most}");
            Err(NotSent::new(ExitStatus::Unavailable, text))
        }
        _ => Ok(to),
    }
}

/// Where the mail goes; fails when any recipient is refused. Recipients of dropped mail stay as they are,
/// because the server resolves them again.
fn resolved(
    caller: &Submitter,
    site: &Site,
    asked: Vec<Addressee>,
    about: (&ReversePath, &Summary),
    call: &mut SendmailCall,
) -> Result<Vec<Addressee>, NotSent> {
    let Resolved { to, here, mut refused } = resolve(site, &*caller.disk, "", &asked, about);
    if caller.drops() {
        // This user may lack rights that the server has.
        refused.retain(|(_, reply)| reply.is_permanent());
    }
    if let Some((_, first)) = refused.first() {
        let status = of_reply(first);
        for (_, reply) in &refused {
            let _ = writeln!(io::stderr(), "sendmail: {}", escape(&reply.to_string()));
        }
        call.refused = refused.into_iter().map(|(to, reply)| (to.mailbox, reply)).collect();
        return Err(NotSent::new(status, "nothing was sent"));
    }
    let fits = policy::message(site, about.1, here.iter()).or_refusal();
    fits.map_err(|reply| NotSent::new(of_reply(&reply), reply.to_string()))?;
    Ok(if caller.drops() { asked } else { to })
}

/// The addresses of one word of a command line, which may be a list as in a header, because some programs
/// write it like that.
fn addresses(word: &str, home: &Domain, most: usize) -> Result<Vec<Mailbox>, NotSent> {
    let field = format!("To: {}\n\n", word.replace(['\r', '\n'], " "));
    // A very long list would hide the error.
    let shown = match word.len() > QUOTED_MAX {
        true => format!("{}...", &word[..word.floor_char_boundary(QUOTED_MAX)]),
        false => word.to_owned(),
    };
    let bad = |status: ExitStatus, why: String| NotSent::new(status, format!("{shown}: {why}"));
    let header = SubmittedHeader::read(field.as_bytes(), true);
    let header = header.map_err(|error| bad(ExitStatus::Unavailable, error.to_string()))?;
    let found = header.map(|header| header.recipients(home, most)).transpose();
    let found = found
        .map_err(|error| bad(of_flaw(error.flaw, ExitStatus::Usage), error.flaw.to_string()))?;
    match found.unwrap_or_default() {
        found if found.is_empty() => Err(bad(ExitStatus::Usage, "no address".to_owned())),
        found => Ok(found),
    }
}

/// The status for a list that cannot be used: too many addresses are refused as everywhere; else
/// `otherwise`.
fn of_flaw(flaw: ListFlaw, otherwise: ExitStatus) -> ExitStatus {
    if matches!(flaw, ListFlaw::TooMany(_)) { ExitStatus::Unavailable } else { otherwise }
}

/// The envelope's sender. A name without a domain gets the domain where its mail is read, as the caller's
/// own: so `-f ann` by ann changes nothing.
fn sender(
    options: &Options,
    own: &Mailbox,
    site: &Site,
    caller: &Submitter,
) -> Result<ReversePath, NotSent> {
    let Some(word) = &options.sender else { return Ok(ReversePath::Mailbox(own.clone())) };
    if matches!(word.trim(), "" | "<>") {
        return Ok(ReversePath::Null);
    }
    let hostname = &site.config.hostname;
    let one = |mut found: Vec<Mailbox>| match found.len() {
        1 => Ok(found.remove(0)),
        _ => Err(NotSent::usage(format!("{word}: -f takes one address"))),
    };
    let found = one(addresses(word, hostname, FROM_ADDRESSES_MAX)?)?;
    let is_bare = !word.contains('@');
    Ok(ReversePath::Mailbox(match is_bare {
        true if found.local == own.local => own.clone(),
        true => {
            let host = Host::Domain(domain_of(site, &*caller.disk, &found.local));
            Mailbox { host, ..found }
        }
        false => found,
    }))
}

/// newaliases: there is no database to build; reports what a server would find wrong.
fn check_aliases(request: &Request) -> Result<(), NotSent> {
    let config = load(request.config.as_deref())?;
    let read = Site::read_names(config);
    let (site, mut bad) =
        read.map_err(|error| NotSent::new(ExitStatus::Config, error.to_string()))?;
    bad.extend(bad_aliases(&site, &RealDisk));
    bad.iter().for_each(|line| complain(&line.to_string()));
    match bad.is_empty() {
        true => Ok(()),
        false => Err(NotSent::new(ExitStatus::Data, "")),
    }
}

/// What `facteur route` says, after names were completed.
fn verify(request: &Request, recipients: &[String]) -> Result<(), NotSent> {
    let config = load(request.config.as_deref())?;
    let mut to = Vec::new();
    for word in recipients {
        to.extend(addresses(word, config.home(), config.limit.recipients)?);
    }
    let to: Vec<String> = to.iter().map(ToString::to_string).collect();
    match to.is_empty() {
        true => Err(NotSent::usage("-bv takes recipients")),
        false => Ok(route::run(request, &to.iter().map(String::as_str).collect::<Vec<_>>())?),
    }
}

/// The queue, for users that may list it.
fn owned(request: &Request) -> Result<Queue, NotSent> {
    let config = load(request.config.as_deref())?;
    let queue = Queue::new(Arc::new(RealDisk), &config.spool);
    match queue.list() {
        Err(error) if error.source.kind() == io::ErrorKind::PermissionDenied => {
            let text = format!("{error}: the queue is for root and the server's user");
            Err(NotSent::new(ExitStatus::NoPermission, text))
        }
        Err(error) => Err(error.into()),
        Ok(_) => Ok(queue),
    }
}

/// Messages with an open recipient at a domain.
fn waiting_for(queue: &Queue, domain: &str) -> Result<Vec<String>, NotSent> {
    let domain = Domain::parse(domain).map_err(|why| NotSent::usage(format!("-qR: {why}")))?;
    let waits = |id: &String| {
        let Ok(waiting) = queue.read(id) else { return false };
        let mut hosts = waiting.open().map(|index| &waiting.entry.recipients[index].mailbox.host);
        hosts.any(|host| matches!(host, Host::Domain(name) if *name == domain))
    };
    Ok(queue.list()?.into_iter().filter(waits).collect())
}
