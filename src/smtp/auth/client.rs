//! SASL as a client speaks it, to a smarthost that wants a password. Pure.
//!
//! SCRAM only without channel binding: the certificate says who the server is.

use super::scram::xor;
use super::{Mechanism, decode, encode};
use crate::limits::{SCRAM_ITERATIONS_MAX, SCRAM_ITERATIONS_MIN};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac, pbkdf2};
use base64ct::{Base64, Encoding};
use std::fmt;
use std::num::NonZeroU32;

/// One AUTH from the client's side.
pub struct ClientExchange {
    mechanism: Mechanism,
    user: String,
    password: String,
    state: ClientState,
}

/// Shows no secret.
impl fmt::Debug for ClientExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientExchange({})", self.mechanism)
    }
}

enum ClientState {
    Begun,
    /// LOGIN: the name was sent.
    Named,
    /// SCRAM: the client's first message was sent, `bare` without its header.
    First {
        bare: String,
        nonce: String,
    },
    /// SCRAM: the proof was sent, and this is what the server has to answer to prove that it knows the user.
    Last(Vec<u8>),
    Over,
}

/// The host's challenge cannot be answered; the exchange has to be cancelled with `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadChallenge;

impl ClientExchange {
    /// Begins with the best mechanism that a host offers; none where we speak none of them. `offered`: the words
    /// behind AUTH in its reply to EHLO; `nonce`: new and random, printable, without a comma.
    pub fn choose(
        offered: &str,
        user: &str,
        password: &str,
        nonce: &str,
    ) -> Option<ClientExchange> {
        let can = [Mechanism::ScramSha256, Mechanism::Plain, Mechanism::Login];
        let offers = |mechanism: &Mechanism| {
            offered.split_ascii_whitespace().any(|name| Mechanism::parse(name) == Some(*mechanism))
        };
        let mechanism = can.into_iter().find(offers)?;
        Some(ClientExchange::new(mechanism, user, password, nonce))
    }

    fn new(mechanism: Mechanism, user: &str, password: &str, nonce: &str) -> ClientExchange {
        let name = user.replace('=', "=3D").replace(',', "=2C");
        let state = match mechanism {
            Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => {
                ClientState::First { bare: format!("n={name},r={nonce}"), nonce: nonce.to_owned() }
            }
            Mechanism::Plain | Mechanism::Login => ClientState::Begun,
        };
        ClientExchange { mechanism, user: user.to_owned(), password: password.to_owned(), state }
    }

    /// `AUTH mechanism initial-response`, without CR LF. LOGIN gets no initial response: some hosts
    /// do not know that it may have one.
    pub fn command(&self) -> String {
        let initial = match &self.state {
            ClientState::First { bare, .. } => encode(format!("n,,{bare}").as_bytes()),
            _ if self.mechanism == Mechanism::Plain => {
                encode(format!("\0{}\0{}", self.user, self.password).as_bytes())
            }
            _ => return format!("AUTH {}", self.mechanism),
        };
        format!("AUTH {} {initial}", self.mechanism)
    }

    /// The line that answers the text of a 334.
    pub fn answer(&mut self, challenge: &str) -> Result<String, BadChallenge> {
        let challenge = decode(challenge.trim().as_bytes()).ok_or(BadChallenge)?;
        let (answer, next) = match (&self.state, self.mechanism) {
            // By their order, because the words of the questions may be in any language.
            (ClientState::Begun, Mechanism::Login) => (self.user.clone(), ClientState::Named),
            (ClientState::Named, _) => (self.password.clone(), ClientState::Over),
            (ClientState::First { bare, nonce }, _) => self.prove(bare, nonce, &challenge)?,
            (ClientState::Last(signature), Mechanism::ScramSha256) => {
                let text = str::from_utf8(&challenge).map_err(|_| BadChallenge)?;
                let theirs = text.strip_prefix("v=").ok_or(BadChallenge)?;
                let theirs = Base64::decode_vec(theirs).map_err(|_| BadChallenge)?;
                verify_slices_are_equal(signature, &theirs).map_err(|_| BadChallenge)?;
                (String::new(), ClientState::Over)
            }
            (ClientState::Begun | ClientState::Last(_) | ClientState::Over, _) => {
                return Err(BadChallenge);
            }
        };
        self.state = next;
        Ok(encode(answer.as_bytes()))
    }

    /// Whether the host has proved that it knows the password; true where the mechanism has no such proof.
    pub fn is_mutual(&self) -> bool {
        self.mechanism != Mechanism::ScramSha256 || matches!(self.state, ClientState::Over)
    }

    fn prove(
        &self,
        bare: &str,
        nonce: &str,
        challenge: &[u8],
    ) -> Result<(String, ClientState), BadChallenge> {
        let challenge = str::from_utf8(challenge).map_err(|_| BadChallenge)?;
        let mut fields = challenge.split(',');
        let mut field =
            |name| fields.next().and_then(|field| field.strip_prefix(name)).ok_or(BadChallenge);
        let (both, salt, iterations) = (field("r=")?, field("s=")?, field("i=")?);
        let salt = Base64::decode_vec(salt).map_err(|_| BadChallenge)?;
        let iterations: u32 = iterations.parse().map_err(|_| BadChallenge)?;
        let good = (SCRAM_ITERATIONS_MIN..=SCRAM_ITERATIONS_MAX).contains(&iterations);
        // RFC 5802 §5.1: ours comes first, and theirs is not empty.
        let fresh = both.strip_prefix(nonce).is_some_and(|theirs| !theirs.is_empty());
        let rounds = NonZeroU32::new(iterations).filter(|_| good && fresh).ok_or(BadChallenge)?;
        let mut salted = [0; 32];
        let password = self.password.as_bytes();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password, &mut salted);
        let sign =
            |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
        let without_proof = format!("c=biws,r={both}");
        let message = format!("{bare},{challenge},{without_proof}");
        let client_key = sign(&salted, b"Client Key");
        let stored = digest::digest(&digest::SHA256, client_key.as_ref());
        let proof = xor(client_key.as_ref(), sign(stored.as_ref(), message.as_bytes()).as_ref());
        let server_key = sign(&salted, b"Server Key");
        let signature = sign(server_key.as_ref(), message.as_bytes());
        let answer = format!("{without_proof},p={}", Base64::encode_string(&proof));
        Ok((answer, ClientState::Last(signature.as_ref().to_vec())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(offered: &str) -> ClientExchange {
        ClientExchange::choose(offered, "user", "pencil", "rOprNGfwEbeRWgbNEkqO").unwrap()
    }

    #[test]
    fn the_best_is_chosen() {
        let chosen =
            |offered| ClientExchange::choose(offered, "a", "b", "c").map(|login| login.mechanism);
        assert_eq!(chosen("LOGIN PLAIN"), Some(Mechanism::Plain));
        assert_eq!(chosen("login"), Some(Mechanism::Login));
        assert_eq!(chosen("PLAIN SCRAM-SHA-256-PLUS SCRAM-SHA-256"), Some(Mechanism::ScramSha256));
        assert_eq!(chosen("CRAM-MD5 GSSAPI"), None);
    }

    #[test]
    fn plain_and_login() {
        let mut plain = login("PLAIN");
        assert_eq!(plain.command(), "AUTH PLAIN AHVzZXIAcGVuY2ls");
        assert_eq!(plain.answer(""), Err(BadChallenge));
        let mut login = login("LOGIN");
        assert_eq!(login.command(), "AUTH LOGIN");
        assert_eq!(login.answer("VXNlcm5hbWU6"), Ok(encode(b"user")));
        assert_eq!(login.answer("UGFzc3dvcmQ6"), Ok(encode(b"pencil")));
        assert_eq!(login.answer("UGFzc3dvcmQ6"), Err(BadChallenge));
        assert!(login.is_mutual());
    }

    /// The example of RFC 7677 §3.
    #[test]
    fn scram_of_the_rfc() {
        let mut login = login("SCRAM-SHA-256");
        let first = encode(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        assert_eq!(login.command(), format!("AUTH SCRAM-SHA-256 {first}"));
        let challenge = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                         s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let proof = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                     p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(login.answer(&encode(challenge.as_bytes())), Ok(encode(proof.as_bytes())));
        assert!(!login.is_mutual());
        let verdict = encode(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(login.answer(&verdict), Ok(String::new()));
        assert!(login.is_mutual());
    }

    #[test]
    fn a_server_that_knows_nothing_is_found_out() {
        for challenge in [
            "r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1",
            "r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4000000000",
            "m=x,r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=4096",
        ] {
            let answer = login("SCRAM-SHA-256").answer(&encode(challenge.as_bytes()));
            assert_eq!(answer, Err(BadChallenge), "{challenge}");
        }
        let mut login = login("SCRAM-SHA-256");
        login
            .answer(&encode(b"r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"))
            .unwrap();
        assert_eq!(login.answer(&encode(&[b"v=", &[b'A'; 44][..]].concat())), Err(BadChallenge));
    }
}
