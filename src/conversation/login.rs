//! AUTH in a conversation: the answers to what the language asks about users.

use super::Conversation;
use crate::event::{Event, tell};
use crate::login::{Busy, nonce, user};
use crate::mail::address::Mailbox;
use crate::smtp::auth::Credentials;
use crate::smtp::reply::Reply;
use crate::smtp::session::Action;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// How often a session that answers late looks whether the server stops.
const LOOK: Duration = Duration::from_millis(100);

impl Conversation<'_> {
    /// Is this the password?
    pub(super) fn password(&mut self, credentials: &Credentials) -> io::Result<Action> {
        self.wait()?;
        Ok(match self.house.login.verify(self.site, credentials) {
            Ok(Some(user)) => self.welcome(user),
            Ok(None) => self.deny(),
            Err(Busy) => self.busy(),
        })
    }

    /// What SCRAM needs.
    pub(super) fn keys(&mut self, name: &str) -> io::Result<Action> {
        self.wait()?;
        Ok(match nonce() {
            Ok(nonce) => self.session.keys(self.house.login.keys(self.site, name), &nonce),
            Err(Busy) => self.busy(),
        })
    }

    /// The end of SCRAM.
    pub(super) fn proof(&mut self, name: &str, good: bool) -> io::Result<Action> {
        Ok(match user(self.site, name).filter(|_| good) {
            Some(user) => self.welcome(user),
            None => self.deny(),
        })
    }

    /// Whether the user may have one more recipient in this hour; who is none may have any.
    pub(super) fn may_write(&self) -> bool {
        let most = self.site.config.limit.recipients_per_hour;
        self.visitor.user.as_ref().is_none_or(|user| self.house.login.may_write(user, most))
    }

    fn welcome(&mut self, user: Mailbox) -> Action {
        self.house.login.forgive(self.visitor.client);
        let (session, name) = (self.visitor.id.as_str(), user.to_string());
        tell(&Event::Authenticated { session, user: &name });
        self.visitor.user = Some(user);
        self.session.authenticated()
    }

    fn deny(&mut self) -> Action {
        let action = self.session.denied();
        if matches!(action, Action::Close(_)) {
            self.house.login.slow_down(self.visitor.client);
        }
        action
    }

    fn busy(&mut self) -> Action {
        let text = "too many log in at this moment, try later";
        self.session.refuse(Reply::new(454, "4.7.0", text))
    }

    /// Answers late to an address that guesses; before we look, so that a quick answer tells nothing.
    fn wait(&mut self) -> io::Result<()> {
        self.flush()?; // nobody waits for earlier replies meanwhile
        let until = Instant::now() + self.house.login.delay(self.visitor.client);
        while !self.ticket.is_stopping() {
            match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => break,
                left => thread::sleep(left.min(LOOK)),
            }
        }
        Ok(())
    }
}
