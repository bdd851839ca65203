//! SASL as a server speaks it inside AUTH: PLAIN (RFC 4616), LOGIN, SCRAM-SHA-256 and
//! SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677). The framing of RFC 4954 is [`super::session`]'s.
//!
//! Pure: an [`ExchangeStep`] asks the caller, who knows the passwords. An authorization identity is taken where
//! it equals the name; the caller decides whether another text means the same user ([`Exchange::acts_for`]).
//! Names and passwords are UTF-8 and compared as they come, without SASLprep: stored hashes were made by
//! Dovecot or by us, and neither applies it.

pub mod client;
pub mod scram;

use crate::limits::{LOGIN_NAME_MAX, PASSWORD_MAX};
use base64ct::{Base64, Encoding};
pub use scram::Keys;
use scram::Scram;
use std::fmt;

/// A way to log in that is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    ScramSha256Plus,
    ScramSha256,
    Plain,
    Login,
}

impl Mechanism {
    const ALL: [Mechanism; 4] =
        [Mechanism::ScramSha256Plus, Mechanism::ScramSha256, Mechanism::Plain, Mechanism::Login];

    pub fn name(self) -> &'static str {
        match self {
            Mechanism::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
        }
    }

    /// The mechanism of this name, in any case of letters.
    pub fn parse(name: &str) -> Option<Mechanism> {
        Mechanism::ALL.into_iter().find(|mechanism| name.eq_ignore_ascii_case(mechanism.name()))
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What ties a login to the TLS connection it comes over; each field is empty where it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bindings {
    /// `tls-exporter` (RFC 9266): 32 octets, TLS 1.3 only.
    pub exporter: Vec<u8>,
    /// `tls-server-end-point` (RFC 5929 §4): the hash of our certificate.
    pub end_point: Vec<u8>,
}

impl Bindings {
    /// Whether no binding is known, so that SCRAM-SHA-256-PLUS cannot be spoken.
    pub fn is_empty(&self) -> bool {
        self.exporter.is_empty() && self.end_point.is_empty()
    }

    fn get(&self, name: &str) -> Option<&[u8]> {
        let data = match name {
            "tls-exporter" => &self.exporter,
            "tls-server-end-point" => &self.end_point,
            _ => return None,
        };
        Some(&data[..]).filter(|data| !data.is_empty())
    }
}

/// A name and its password, as a client gave them.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}

/// The password never gets into a log by accident.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({:?})", self.user)
    }
}

/// What comes next in an exchange.
#[derive(Debug, PartialEq, Eq)]
pub enum ExchangeStep {
    /// Send this, in base64; the client answers.
    Challenge(Vec<u8>),
    /// Is this the right password? The exchange is over with the answer.
    Password(Credentials),
    /// Which SCRAM keys are stored for this user? The answer goes to [`Exchange::keys`].
    Keys(String),
    /// The exchange is over: whether the client has shown that it knows the user's password.
    Proof { user: String, good: bool },
    /// The response is no message of this mechanism, for this reason.
    Malformed(&'static str),
}

/// One AUTH from its first message to its verdict.
pub struct Exchange {
    mechanism: Mechanism,
    state: ExchangeState,
    /// Of PLAIN, see [`Exchange::acts_for`]; a SCRAM exchange keeps its own.
    acts_for: Option<String>,
}

enum ExchangeState {
    Plain,
    LoginUser,
    LoginPassword(String),
    Scram(Box<Scram>),
}

/// Shows no secret.
impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Exchange({})", self.mechanism)
    }
}

impl Exchange {
    /// `offers_plus`: we offered SCRAM-SHA-256-PLUS. A client that says we did not was deceived by somebody in
    /// between (RFC 5802 §6).
    pub fn new(mechanism: Mechanism, bindings: &Bindings, offers_plus: bool) -> Exchange {
        let scram = |plus| Box::new(Scram::new(bindings.clone(), plus, offers_plus));
        let state = match mechanism {
            Mechanism::Plain => ExchangeState::Plain,
            Mechanism::Login => ExchangeState::LoginUser,
            Mechanism::ScramSha256 => ExchangeState::Scram(scram(false)),
            Mechanism::ScramSha256Plus => ExchangeState::Scram(scram(true)),
        };
        Exchange { mechanism, state, acts_for: None }
    }

    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// The authorization identity, where it is not the same text as the name: it has to mean the same user
    /// (RFC 4616 §2).
    pub fn acts_for(&self) -> Option<&str> {
        match &self.state {
            ExchangeState::Scram(scram) => scram.acts_for(),
            ExchangeState::Plain | ExchangeState::LoginUser | ExchangeState::LoginPassword(_) => {
                self.acts_for.as_deref()
            }
        }
    }

    /// Begins an exchange without an initial response.
    pub fn begin(&mut self) -> ExchangeStep {
        ExchangeStep::Challenge(match self.state {
            // In no RFC, but every client looks for it.
            ExchangeState::LoginUser => b"Username:".to_vec(),
            ExchangeState::Plain | ExchangeState::LoginPassword(_) | ExchangeState::Scram(_) => {
                Vec::new()
            }
        })
    }

    /// Takes one response of the client, decoded.
    pub fn respond(&mut self, response: &[u8]) -> ExchangeStep {
        match &mut self.state {
            ExchangeState::Plain => match plain(response) {
                Ok((acts_for, credentials)) => {
                    self.acts_for = acts_for;
                    ExchangeStep::Password(credentials)
                }
                Err(why) => ExchangeStep::Malformed(why),
            },
            ExchangeState::LoginUser => match text(response, LOGIN_NAME_MAX) {
                Some(user) => {
                    self.state = ExchangeState::LoginPassword(user);
                    ExchangeStep::Challenge(b"Password:".to_vec())
                }
                None => ExchangeStep::Malformed("no login name"),
            },
            ExchangeState::LoginPassword(user) => match text(response, PASSWORD_MAX) {
                Some(password) => {
                    ExchangeStep::Password(Credentials { user: std::mem::take(user), password })
                }
                None => ExchangeStep::Malformed("no password"),
            },
            ExchangeState::Scram(scram) => scram.respond(response),
        }
    }

    /// The answer to [`ExchangeStep::Keys`]; `nonce`: new and random, 18 octets or more in base64.
    pub fn keys(&mut self, keys: Keys, nonce: &str) -> ExchangeStep {
        match &mut self.state {
            ExchangeState::Scram(scram) => scram.keys(keys, nonce),
            ExchangeState::Plain | ExchangeState::LoginUser | ExchangeState::LoginPassword(_) => {
                ExchangeStep::Malformed("out of order")
            }
        }
    }
}

/// `[authzid] NUL authcid NUL passwd` (RFC 4616 §2); the first only where it is another text than the
/// second.
fn plain(response: &[u8]) -> Result<(Option<String>, Credentials), &'static str> {
    let parts: Vec<&[u8]> = response.split(|&octet| octet == 0).collect();
    let [authzid, user, password] = parts[..] else {
        return Err("PLAIN is: NUL, name, NUL, password");
    };
    const WORDS: &str = "name and password are UTF-8 and not empty";
    let user = text(user, LOGIN_NAME_MAX).ok_or(WORDS)?;
    let password = text(password, PASSWORD_MAX).ok_or(WORDS)?;
    let acts_for = match authzid {
        [] => None,
        _ => Some(text(authzid, LOGIN_NAME_MAX).ok_or(WORDS)?),
    };
    Ok((acts_for.filter(|other| *other != user), Credentials { user, password }))
}

/// Text of 1 to `most` octets without NUL, which no name or password holds.
fn text(octets: &[u8], most: usize) -> Option<String> {
    let good = !octets.is_empty() && octets.len() <= most && !octets.contains(&0);
    str::from_utf8(octets).ok().filter(|_| good).map(str::to_owned)
}

/// A response as it stands on its line, base64 with its padding (RFC 4954 §4); none where it is not that.
pub fn decode(line: &[u8]) -> Option<Vec<u8>> {
    Base64::decode_vec(str::from_utf8(line).ok()?).ok()
}

/// An initial response, where `=` alone is an empty one (RFC 4954 §4).
pub fn decode_initial(word: &[u8]) -> Option<Vec<u8>> {
    if word == b"=" { Some(Vec::new()) } else { decode(word) }
}

/// As it goes into 334 or onto a client's line.
pub fn encode(message: &[u8]) -> String {
    Base64::encode_string(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(mechanism: Mechanism) -> Exchange {
        Exchange::new(mechanism, &Bindings::default(), false)
    }

    fn asks(user: &str, password: &str) -> ExchangeStep {
        ExchangeStep::Password(Credentials { user: user.to_owned(), password: password.to_owned() })
    }

    #[test]
    fn plain() {
        let answer = |octets: &[u8]| exchange(Mechanism::Plain).respond(octets);
        assert_eq!(exchange(Mechanism::Plain).begin(), ExchangeStep::Challenge(Vec::new()));
        assert_eq!(answer(b"\0ann\0secret"), asks("ann", "secret"));
        assert_eq!(answer(b"ann\0ann\0secret"), asks("ann", "secret"));
        assert_eq!(answer("\0ann\0p\u{e4}ss".as_bytes()), asks("ann", "p\u{e4}ss"));
        let mut exchange = Exchange::new(Mechanism::Plain, &Bindings::default(), false);
        assert!(matches!(exchange.respond(b"bob\0ann\0secret"), ExchangeStep::Password(_)));
        assert_eq!(exchange.acts_for(), Some("bob"));
        let mut exchange = Exchange::new(Mechanism::Plain, &Bindings::default(), false);
        assert!(matches!(exchange.respond(b"ann\0ann\0secret"), ExchangeStep::Password(_)));
        assert_eq!(exchange.acts_for(), None);
        let long = format!("\0ann\0{}", "x".repeat(PASSWORD_MAX));
        assert!(matches!(answer(long.as_bytes()), ExchangeStep::Password(_)));
        for bad in [
            &b""[..],
            b"\0",
            b"\0\0",
            b"ann\0secret",
            b"\0ann\0",
            b"\0\0secret",
            b"\0a\0b\0c",
            b"\0\xff\0x",
            format!("{long}x").as_bytes(),
            format!("\0{}\0x", "x".repeat(LOGIN_NAME_MAX + 1)).as_bytes(),
        ] {
            assert!(matches!(answer(bad), ExchangeStep::Malformed(_)), "{bad:?}");
        }
    }

    #[test]
    fn login() {
        let mut asked = exchange(Mechanism::Login);
        assert_eq!(asked.begin(), ExchangeStep::Challenge(b"Username:".to_vec()));
        assert_eq!(asked.respond(b"ann"), ExchangeStep::Challenge(b"Password:".to_vec()));
        assert_eq!(asked.respond(b"secret"), asks("ann", "secret"));
        assert!(matches!(exchange(Mechanism::Login).respond(b""), ExchangeStep::Malformed(_)));
        assert!(matches!(exchange(Mechanism::Login).respond(b"a\0b"), ExchangeStep::Malformed(_)));
    }

    #[test]
    fn nothing_secret_is_shown() {
        let mut login = exchange(Mechanism::Login);
        login.respond(b"ann");
        let asked = login.respond(b"secret");
        assert!(!format!("{login:?}{asked:?}").contains("secret"));
    }

    #[test]
    fn base64() {
        assert_eq!(decode(b"AGFubgBzZWNyZXQ="), Some(b"\0ann\0secret".to_vec()));
        assert_eq!((decode(b""), decode(b"=")), (Some(Vec::new()), None));
        assert_eq!(decode_initial(b"="), Some(Vec::new()));
        for bad in [&b"AGFubgBzZWNyZXQ"[..], b"A", b"AA==AA==", b"AA =", b"*", b"\xff", b"AAA-"] {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
        assert_eq!(encode(b"\0ann\0secret"), "AGFubgBzZWNyZXQ=");
    }

    #[test]
    fn names() {
        assert_eq!(Mechanism::parse("scram-sha-256-plus"), Some(Mechanism::ScramSha256Plus));
        assert_eq!(Mechanism::parse("CRAM-MD5"), None);
    }
}
