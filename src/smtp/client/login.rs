//! AUTH from the client's side (RFC 4954 §4): for a host that we were told to give a password, once TLS
//! has proved its name. [`crate::smtp::auth::client`] makes and reads the lines.

use super::Client;
use super::fate::{Cause, Lack, Step};
use crate::smtp::answer::Answer;
use crate::smtp::auth::Credentials;
use crate::smtp::auth::client::ClientExchange;

/// The name and password to log in with, and a nonce as [`ClientExchange::choose`] wants it.
pub(super) type PendingLogin = (Credentials, String);

impl Client {
    /// Logs in after the next reply to EHLO, or sends nothing at all. The caller has to know that the host has
    /// proved its name by TLS. `nonce`: as [`ClientExchange::choose`] wants it. `whose`: for people, when the
    /// login fails: as whom we log in, and where the password stands.
    pub fn log_in(&mut self, credentials: Credentials, nonce: String, whose: Option<String>) {
        self.account = Some((credentials, nonce));
        self.whose = whose;
    }

    /// The reply to EHLO names the mechanisms: begins to log in, where we have to.
    pub(super) fn want_login(&mut self) {
        let Some((who, nonce)) = self.account.take() else { return };
        match ClientExchange::choose(&self.offers.auth, &who.user, &who.password, &nonce) {
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
            // The host cannot prove that it knows the password, or asks for something else.
            Some(Err(_)) | None => self.end(Step::Auth, Cause::Lacks(Lack::Proof)),
        }
    }

    /// 235 was said.
    pub(super) fn welcomed(&mut self) {
        if !self.login.take().is_some_and(|login| login.is_mutual()) {
            self.end(Step::Auth, Cause::Lacks(Lack::Proof));
        }
    }

    /// The host refused the login. Never final, because the mail is good: the administrator can correct it.
    pub(super) fn unwelcome(&mut self, answer: Answer) {
        self.end(Step::Auth, Cause::Said(answer));
    }
}
