//! AUTH from the client's side (RFC 4954 §4): for a host that we were told to give a password, once TLS
//! has shown who it is. What the lines mean is [`crate::smtp::auth::client`]'s.

use super::Client;
use super::fate::{Cause, Lack, Step};
use crate::smtp::answer::Answer;
use crate::smtp::auth::Credentials;
use crate::smtp::auth::client::Login;

/// Whom to log in as, and a nonce for it: new, random and printable, without a comma.
pub(super) type Account = (Credentials, String);

impl Client {
    /// Logs in with the next reply to EHLO, or sends nothing at all. Only for a host that has proved its
    /// name by TLS, which the caller knows and this does not. `nonce`: as [`Login::choose`] wants it. `whose`:
    /// what to say when it fails, as whom we log in and where the password stands.
    pub fn log_in(&mut self, credentials: Credentials, nonce: String, whose: Option<String>) {
        self.account = Some((credentials, nonce));
        self.whose = whose;
    }

    /// The host has told how one can log in.
    pub(super) fn want_login(&mut self) {
        let Some((who, nonce)) = self.account.take() else { return };
        match Login::choose(&self.offers.auth, &who.user, &who.password, &nonce) {
            Some(login) => {
                self.say((Step::Auth, 0), &login.command());
                self.login = Some(login);
            }
            None => self.end(Step::Auth, Cause::Lacks(Lack::Auth)),
        }
    }

    /// 334 was said.
    pub(super) fn challenged(&mut self, challenge: &Answer) {
        let text = challenge.lines().first().map_or("", String::as_str);
        match self.login.as_mut().map(|login| login.answer(text)) {
            Some(Ok(line)) => self.say((Step::Auth, 0), &line),
            // It cannot show that it knows the password, or asks for what we do not give.
            Some(Err(_)) | None => self.end(Step::Auth, Cause::Lacks(Lack::Proof)),
        }
    }

    /// 235 was said.
    pub(super) fn welcomed(&mut self) {
        if !self.login.take().is_some_and(|login| login.is_mutual()) {
            self.end(Step::Auth, Cause::Lacks(Lack::Proof));
        }
    }

    /// The host does not know us. Never final, as the mail is good: the administrator is to mend it.
    pub(super) fn unwelcome(&mut self, answer: Answer) {
        self.end(Step::Auth, Cause::Said(answer));
    }
}
