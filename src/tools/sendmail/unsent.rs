//! Reports that nothing was sent, because a program's stderr is often thrown away: to the server by a
//! record in `spool/drop/` ([`crate::store::unsent`]), or where none can be written, to the system's log.
//!
//! Never fails and never waits.

use super::caller::step_down;
use super::status::NotSent;
use crate::config::Config;
use crate::event::Event;
use crate::mail::address::{Mailbox, ReversePath};
use crate::net::syslog;
use crate::pickup::Author;
use crate::smtp::reply::Reply;
use crate::store::disk::RealDisk;
use crate::store::drop::Drops;
use crate::store::unsent::{Unsent, name};
use jiff::ZonedDateTime;
use nix::unistd::{geteuid, getuid};
use std::path::Path;
use std::sync::Arc;

/// What is known about a call so far.
pub struct SendmailCall {
    /// The user that called, because root becomes another user later.
    uid: u32,
    pub config: Option<Config>,
    pub from: Option<ReversePath>,
    pub to: Vec<Mailbox>,
    /// Recipients that were refused.
    pub refused: Vec<(Mailbox, Reply)>,
}

impl SendmailCall {
    pub fn new() -> SendmailCall {
        let (config, from, to, refused) = Default::default();
        SendmailCall { uid: getuid().as_raw(), config, from, to, refused }
    }

    /// Reports the refusal, once; returns the name by which `facteur trace` will find it, where the server
    /// is told.
    pub fn tell(&self, refusal: &NotSent) -> Option<String> {
        let unsent = self.unsent(refusal);
        let id = self.config.as_ref().and_then(|config| leave(config, &unsent));
        if id.is_none() {
            tell_system(&unsent);
        }
        id
    }

    fn unsent(&self, refusal: &NotSent) -> Unsent {
        let said = |(to, reply): &(Mailbox, Reply)| (to.clone(), reply.to_string());
        let unsaid = |to: &Mailbox| (to.clone(), String::new());
        let to = match self.refused.is_empty() {
            true => self.to.iter().map(unsaid).collect(),
            false => self.refused.iter().map(said).collect(),
        };
        let first = self.refused.first().map(|(_, reply)| reply.to_string());
        Unsent {
            uid: self.uid,
            from: self.from.clone(),
            status: refusal.status as u8,
            reason: first.unwrap_or_else(|| refusal.text.clone()),
            recipients: self.to.len(),
            to,
        }
    }
}

/// Leaves the record for the server. Root steps down before, because it makes no files in another user's
/// directory.
fn leave(config: &Config, unsent: &Unsent) -> Option<String> {
    if geteuid().is_root() {
        step_down(config).ok()?;
    }
    let name = name();
    let drops = Drops::new(Arc::new(RealDisk), &config.spool);
    drops.put_unsent(&name, unsent).ok().map(|()| name)
}

/// Sends the same line as the server would log.
fn tell_system(unsent: &Unsent) {
    let Unsent { uid, from, status, reason, recipients, to } = unsent;
    let user = Author::find(*uid).map(|author| author.login).unwrap_or_default();
    let event = Event::Unsent {
        session: "none",
        uid: *uid,
        user: &user,
        from: &from.as_ref().map(ReversePath::to_string).unwrap_or_default(),
        to: &to.first().map(|(to, _)| to.to_string()).unwrap_or_default(),
        recipients: *recipients,
        status: *status,
        reason,
    };
    // Without a system log the report is lost.
    let _ =
        syslog::send(Path::new(syslog::SOCKET), "sendmail", &event.text(), &ZonedDateTime::now());
}
