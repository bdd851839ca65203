//! AUTH inside a session (RFC 4954 §4): when it may come, its lines, and what its verdict means.
//!
//! [`crate::smtp::auth`] reads the lines; the caller is asked about passwords.

use super::{Question, Reaction, Session, SessionState, order};
use crate::smtp::auth::{self, Bindings, Exchange, ExchangeStep, Keys, Mechanism};
use crate::smtp::command::InitialResponse;
use crate::smtp::line::LineProgress;
use crate::smtp::parameter::bad;
use crate::smtp::reply::Reply;

impl Session {
    /// What ties logins to this TLS connection; to be called after [`Session::secured`].
    pub fn bind(&mut self, bindings: Bindings) {
        self.bindings = bindings;
    }

    /// The authorization identity while a question of AUTH is open; see [`Exchange::acts_for`].
    pub fn acts_for(&self) -> Option<&str> {
        match &self.state {
            SessionState::AskedAuth(exchange) => exchange.acts_for(),
            _ => None,
        }
    }

    /// The answer to [`Question::Keys`]; `nonce`: as [`Exchange::keys`] wants it.
    pub fn keys(&mut self, keys: Keys, nonce: &str) -> Reaction {
        match std::mem::replace(&mut self.state, SessionState::Idle) {
            SessionState::AskedAuth(mut exchange) => {
                let step = exchange.keys(keys, nonce);
                self.step(exchange, step)
            }
            other => self.unasked(other),
        }
    }

    /// Yes to [`Question::Password`] or [`Question::Proof`]: the client is the user.
    pub fn authenticated(&mut self) -> Reaction {
        match std::mem::replace(&mut self.state, SessionState::Idle) {
            SessionState::AskedAuth(_) => {
                self.is_authenticated = true;
                Reaction::SendNow(Reply::new(235, "2.7.0", "welcome"))
            }
            other => self.unasked(other),
        }
    }

    /// No to these questions. One reply for all reasons, so that nobody learns which users exist; past the
    /// limit it ends the session.
    pub fn denied(&mut self) -> Reaction {
        self.failed_login(Reply::new(535, "5.7.8", "wrong name or password"))
    }

    /// The password could not be checked; the reply says why. Counts as a wrong password.
    pub fn not_looked_at(&mut self, reply: Reply) -> Reaction {
        self.failed_login(reply)
    }

    fn failed_login(&mut self, reply: Reply) -> Reaction {
        match std::mem::replace(&mut self.state, SessionState::Idle) {
            SessionState::AskedAuth(_) => {}
            other => return self.unasked(other),
        }
        match self.patience.failed_login(&self.settings) {
            Ok(()) => self.send_now(reply.about(&self.settings.id)),
            Err(last) => Reaction::Close(last),
        }
    }

    /// AUTH (RFC 4954 §4).
    pub(super) fn auth(
        &mut self,
        state: SessionState,
        mechanism: &str,
        initial: Option<InitialResponse>,
    ) -> Reaction {
        if let Err(reply) = self.may_authenticate(&state, mechanism) {
            return self.stay(state, reply);
        }
        let known = Mechanism::parse(mechanism).filter(|known| self.mechanisms().contains(known));
        let Some(known) = known else {
            let names: Vec<&str> = self.mechanisms().iter().map(|known| known.name()).collect();
            let text = format!("no such mechanism; there are {}", names.join(" "));
            return self.stay(state, Reply::new(504, "5.5.4", text));
        };
        let offers_plus = self.mechanisms().contains(&Mechanism::ScramSha256Plus);
        let mut exchange = Box::new(Exchange::new(known, &self.bindings, offers_plus));
        let step = match initial.map(|word| auth::decode_initial(&word.0)) {
            None => exchange.begin(),
            Some(Some(response)) => exchange.respond(&response),
            Some(None) => return self.send_now(bad_base64()),
        };
        self.step(exchange, step)
    }

    /// The client's answer inside an exchange.
    pub(super) fn answered(&mut self, line: &LineProgress) -> Option<Reaction> {
        if *line == LineProgress::Partial {
            return None;
        }
        let SessionState::Auth(mut exchange) =
            std::mem::replace(&mut self.state, SessionState::Idle)
        else {
            return None;
        };
        // If anything is wrong with the line, the exchange is over, and the next line may be its rest.
        self.after_auth = true;
        if *line == LineProgress::TooLong {
            let reply = Reply::new(500, "5.5.6", "this line of AUTH is too long");
            return Some(self.send_now(reply));
        }
        Some(match self.lines.text() {
            b"*" => self.send_now(Reply::new(501, "5.7.0", "AUTH is cancelled")),
            text => match auth::decode(text) {
                Some(response) => {
                    let step = exchange.respond(&response);
                    self.step(exchange, step)
                }
                None => self.send_now(bad_base64()),
            },
        })
    }

    /// Offers the mechanisms in the reply to EHLO; none in the clear, where they could not be used.
    pub(super) fn offer_auth(&self, reply: Reply) -> Reply {
        let names: Vec<&str> = self.mechanisms().iter().map(|known| known.name()).collect();
        match names.is_empty() {
            true => reply,
            false => reply.line(format!("AUTH {}", names.join(" "))),
        }
    }

    pub(super) fn can_authenticate(&self) -> bool {
        !self.mechanisms().is_empty() && !self.is_authenticated
    }

    fn may_authenticate(&self, state: &SessionState, mechanism: &str) -> Result<(), Reply> {
        if self.settings.auth.is_empty() {
            let text = match self.logins.as_str() {
                "" => "command not implemented".to_owned(),
                logins => format!("there is no AUTH here, but at {logins}"),
            };
            return Err(Reply::new(502, "5.5.1", text));
        }
        if mechanism.is_empty() {
            return Err(bad("the form is AUTH mechanism [initial-response]"));
        }
        if !self.is_secured {
            let reply = Reply::new(538, "5.7.11", "AUTH goes by TLS only; send STARTTLS first");
            return Err(reply.about(&self.settings.id));
        }
        if !self.greeting.as_ref().is_some_and(|greeting| greeting.extended) {
            return Err(order("send EHLO first"));
        }
        if self.is_authenticated {
            return Err(order("you are known already"));
        }
        match state {
            SessionState::Idle => Ok(()),
            _ => Err(order("not inside a transaction; RSET ends it")),
        }
    }

    /// The mechanisms that can be used now, the best first.
    fn mechanisms(&self) -> Vec<Mechanism> {
        let offered = if self.is_secured { &self.settings.auth[..] } else { &[] };
        let plus = offered.contains(&Mechanism::ScramSha256) && !self.bindings.is_empty();
        let plus = plus.then_some(Mechanism::ScramSha256Plus);
        plus.into_iter().chain(offered.iter().copied()).collect()
    }

    fn step(&mut self, exchange: Box<Exchange>, step: ExchangeStep) -> Reaction {
        let question = match step {
            ExchangeStep::Challenge(message) => {
                self.state = SessionState::Auth(exchange);
                return Reaction::SendNow(Reply::plain(334, auth::encode(&message)));
            }
            ExchangeStep::Malformed(why) => return self.send_now(Reply::new(501, "5.5.2", why)),
            ExchangeStep::Password(credentials) => Question::Password(credentials),
            ExchangeStep::Keys(user) => Question::Keys(user),
            ExchangeStep::Proof { user, good } => Question::Proof { user, good },
        };
        self.state = SessionState::AskedAuth(exchange);
        Reaction::Ask(question)
    }
}

fn bad_base64() -> Reply {
    Reply::new(501, "5.5.2", "this is no base64 (RFC 4954 4)")
}
