//! Who else is told that nothing was sent: what a program says on stderr is often thrown away. The server by
//! a record in `spool/drop/` ([`crate::store::unsent`]); where none can be written, the system's log.
//!
//! Never fails and never makes the caller wait for anybody.

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

/// What is known of a call, while it goes on.
pub struct SendmailCall {
    /// As it was called: root becomes another user later.
    uid: u32,
    pub config: Option<Config>,
    pub from: Option<ReversePath>,
    pub to: Vec<Mailbox>,
    /// Those for whom nothing is sent to anybody.
    pub refused: Vec<(Mailbox, Reply)>,
}

impl SendmailCall {
    pub fn new() -> SendmailCall {
        let (config, from, to, refused) = Default::default();
        SendmailCall { uid: getuid().as_raw(), config, from, to, refused }
    }

    /// Tells it, once; gives by which name `facteur trace` will find it, when it will.
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

/// Leaves the record for the server, as the user who may: in a directory of somebody else's root makes none.
fn leave(config: &Config, unsent: &Unsent) -> Option<String> {
    if geteuid().is_root() {
        step_down(config).ok()?;
    }
    let name = name();
    let drops = Drops::new(Arc::new(RealDisk), &config.spool);
    drops.put_unsent(&name, unsent).ok().map(|()| name)
}

/// The line of the server's log, as far as it is known here.
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
    // It may not be there: then nobody can be told.
    let _ =
        syslog::send(Path::new(syslog::SOCKET), "sendmail", &event.text(), &ZonedDateTime::now());
}
