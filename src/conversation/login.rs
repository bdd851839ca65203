//! AUTH in a conversation: the answers to what the language asks about users.

use super::Conversation;
use crate::event::{Event, Turn, tell};
use crate::login::{Busy, Guess, canonical, is_same, nonce, user};
use crate::mail::address::{Host, Mailbox};
use crate::policy;
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
        let guess = self.guess(&credentials.user);
        self.wait(guess)?;
        Ok(match self.house.login.verify(&self.site, self.visitor.client, credentials) {
            Ok(Some(user)) if self.is_for_himself(&credentials.user) => self.welcome(user, guess),
            Ok(_) => self.deny(guess),
            Err(Busy) => self.busy(guess),
        })
    }

    /// What SCRAM needs.
    pub(super) fn keys(&mut self, name: &str) -> io::Result<Action> {
        let guess = self.guess(name);
        self.wait(guess)?;
        Ok(match nonce() {
            Ok(nonce) => self.session.keys(self.house.login.keys(&self.site, name), &nonce),
            Err(Busy) => self.busy(guess),
        })
    }

    /// The end of SCRAM.
    pub(super) fn proof(&mut self, name: &str, good: bool) -> io::Result<Action> {
        let guess = self.guess(name);
        Ok(match user(&self.site, name).filter(|_| good && self.is_for_himself(name)) {
            Some(user) => self.welcome(user, guess),
            None => self.deny(guess),
        })
    }

    /// Whether the user may have one more recipient in this hour; who is none may have any.
    pub(super) fn may_write(&self) -> bool {
        let most = self.site.config.limit.recipients_per_hour;
        self.visitor.user.as_ref().is_none_or(|user| self.house.login.may_write(user, most))
    }

    /// An attempt to log in begins; a refusal of it names the user.
    fn guess(&mut self, name: &str) -> Guess {
        self.named = Some(canonical(&self.site, name));
        let client = self.visitor.client;
        let is_trusted = policy::is_trusted(&self.site, client);
        self.house.login.guess(&self.site, client, name, is_trusted)
    }

    /// Whether the user whom the client wants to act for is the one whose password it knows.
    fn is_for_himself(&self, name: &str) -> bool {
        self.session.acts_for().is_none_or(|other| is_same(&self.site, name, other))
    }

    fn welcome(&mut self, user: Mailbox, guess: Guess) -> Action {
        self.house.login.forgive(guess);
        self.named = None;
        let (session, name) = (self.visitor.id.as_str(), user.to_string());
        tell(&Event::Authenticated { session, user: &name });
        if let Host::Domain(domain) = &user.host {
            self.session.complete_at(domain.clone());
        }
        self.visitor.user = Some(user);
        self.ticket.set_known();
        self.session.authenticated()
    }

    fn deny(&mut self, guess: Guess) -> Action {
        self.house.login.count(guess);
        self.note_failure("the name or the password is wrong");
        self.session.denied()
    }

    /// Counts as a wrong password: who keeps the server busy with logins is slowed like one who guesses.
    fn busy(&mut self, guess: Guess) -> Action {
        self.house.login.count(guess);
        self.note_failure("too many log in at this moment");
        let text = "too many log in at this moment, try later";
        self.session.not_looked_at(Reply::new(454, "4.7.0", text))
    }

    /// For the trace, which finds the session by the user's address.
    fn note_failure(&mut self, why: &str) {
        if let Some(user) = self.named.as_ref().filter(|_| self.talk.is_on()) {
            self.talk.note(Turn::Decided, &format!("login as {user} failed: {why}"));
        }
    }

    /// Answers late where somebody guesses; before we look, so that a quick answer tells nothing.
    fn wait(&mut self, guess: Guess) -> io::Result<()> {
        self.flush()?; // nobody waits for earlier replies meanwhile
        let until = Instant::now() + self.house.login.delay(&self.site, guess);
        while !self.ticket.is_stopping() {
            match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => break,
                left => thread::sleep(left.min(LOOK)),
            }
        }
        Ok(())
    }
}
