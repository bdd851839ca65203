//! SCRAM-SHA-256 as a server speaks it (RFC 5802 §5, RFC 7677), with channel binding as
//! SCRAM-SHA-256-PLUS. The password is never seen; keys that were made from it suffice.

use super::{Bindings, ExchangeStep, text};
use crate::limits::{LOGIN_NAME_MAX, SCRAM_NONCE_MAX};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac};
use base64ct::{Base64, Encoding};

/// The keys that are stored for a user, or made up for a name that is no user.
#[derive(Clone)]
pub struct Keys {
    pub salt: Vec<u8>,
    pub iterations: u32,
    pub stored_key: [u8; 32],
    pub server_key: [u8; 32],
}

/// One exchange.
pub(super) struct Scram {
    bindings: Bindings,
    /// The mechanism is SCRAM-SHA-256-PLUS.
    plus: bool,
    offers_plus: bool,
    state: ScramState,
    /// The authorization identity, where it is another text than the name.
    acts_for: Option<String>,
}

enum ScramState {
    Begun,
    /// The client's first message was read.
    Asked(First),
    /// The server's first message was sent.
    Challenged(Challenged),
    /// The verdict was sent; the client's empty answer ends it (RFC 4954 §4).
    Proven(String),
    Over,
}

/// The client's first message.
struct First {
    /// Its gs2-header: what the client says about channel binding.
    header: String,
    /// The channel binding that the client has to send.
    binding: Vec<u8>,
    /// The message without that header.
    bare: String,
    user: String,
    nonce: String,
}

struct Challenged {
    first: First,
    /// The nonces of both sides, the client's first.
    nonce: String,
    /// The server's first message.
    challenge: String,
    keys: Keys,
}

impl Scram {
    pub fn new(bindings: Bindings, plus: bool, offers_plus: bool) -> Scram {
        Scram { bindings, plus, offers_plus, state: ScramState::Begun, acts_for: None }
    }

    pub fn acts_for(&self) -> Option<&str> {
        self.acts_for.as_deref()
    }

    pub fn respond(&mut self, response: &[u8]) -> ExchangeStep {
        // An arm that puts no state back ends the exchange.
        match std::mem::replace(&mut self.state, ScramState::Over) {
            ScramState::Begun => match self.first(response) {
                Ok((acts_for, first)) => {
                    self.acts_for = acts_for;
                    let user = first.user.clone();
                    self.state = ScramState::Asked(first);
                    ExchangeStep::Keys(user)
                }
                Err(why) => ExchangeStep::Malformed(why),
            },
            ScramState::Challenged(challenged) => match challenged.last(response) {
                Ok(Some(verdict)) => {
                    self.state = ScramState::Proven(challenged.first.user);
                    ExchangeStep::Challenge(verdict.into_bytes())
                }
                Ok(None) => ExchangeStep::Proof { user: challenged.first.user, good: false },
                Err(why) => ExchangeStep::Malformed(why),
            },
            ScramState::Proven(user) if response.is_empty() => {
                ExchangeStep::Proof { user, good: true }
            }
            ScramState::Proven(_) => ExchangeStep::Malformed("nothing was left to be said"),
            ScramState::Asked(_) | ScramState::Over => ExchangeStep::Malformed("out of order"),
        }
    }

    /// `r=nonce,s=salt,i=iterations` (RFC 5802 §5.1).
    pub fn keys(&mut self, keys: Keys, nonce: &str) -> ExchangeStep {
        let ScramState::Asked(first) = std::mem::replace(&mut self.state, ScramState::Over) else {
            return ExchangeStep::Malformed("out of order");
        };
        let nonce = format!("{}{nonce}", first.nonce);
        let salt = Base64::encode_string(&keys.salt);
        let challenge = format!("r={nonce},s={salt},i={}", keys.iterations);
        let step = ExchangeStep::Challenge(challenge.clone().into_bytes());
        self.state = ScramState::Challenged(Challenged { first, nonce, challenge, keys });
        step
    }

    /// `gs2-cbind-flag,[a=authzid],n=user,r=nonce` (RFC 5802 §7).
    fn first(&self, response: &[u8]) -> Result<(Option<String>, First), &'static str> {
        const FORM: &str = "SCRAM begins with n,,n=name,r=nonce";
        let message = str::from_utf8(response).map_err(|_| FORM)?;
        let mut parts = message.splitn(3, ',');
        let mut next = || parts.next().ok_or(FORM);
        let (flag, authzid, bare) = (next()?, next()?, next()?);
        let mut fields = bare.split(',');
        let mut field = |name| fields.next().and_then(|field| field.strip_prefix(name)).ok_or(FORM);
        // An extension before the name is mandatory (§5.1, m=), and we know none.
        let (name, nonce) = (field("n=")?, field("r=")?);
        let user = unescape(name).ok_or(FORM)?;
        let user = text(user.as_bytes(), LOGIN_NAME_MAX).ok_or(FORM)?;
        let acts_for = match authzid.strip_prefix("a=") {
            Some(other) => {
                let other = unescape(other).ok_or(FORM)?;
                Some(text(other.as_bytes(), LOGIN_NAME_MAX).ok_or(FORM)?)
            }
            None if authzid.is_empty() => None,
            None => return Err(FORM),
        };
        let is_nonce = nonce.bytes().all(|octet| matches!(octet, 33..=43 | 45..=126));
        if nonce.is_empty() || nonce.len() > SCRAM_NONCE_MAX || !is_nonce {
            return Err(FORM);
        }
        let header = format!("{flag},{authzid},");
        let binding = self.binding(flag)?.to_owned();
        let (bare, nonce) = (bare.to_owned(), nonce.to_owned());
        let acts_for = acts_for.filter(|other| *other != user);
        Ok((acts_for, First { header, binding, bare, user, nonce }))
    }

    /// The channel binding that the flag names.
    fn binding(&self, flag: &str) -> Result<&[u8], &'static str> {
        match (flag.strip_prefix("p="), flag, self.plus) {
            (Some(name), _, true) => self.bindings.get(name).ok_or("no such channel binding here"),
            (None, "n", false) => Ok(&[]),
            // Somebody in between has hidden our offer (§6).
            (None, "y", false) if self.offers_plus => Err("SCRAM-SHA-256-PLUS is offered here"),
            (None, "y", false) => Ok(&[]),
            _ => Err("the channel binding flag does not fit the mechanism"),
        }
    }
}

impl Challenged {
    /// `c=binding,r=nonce,p=proof` (RFC 5802 §5.1): our own proof where the client's is right.
    fn last(&self, response: &[u8]) -> Result<Option<String>, &'static str> {
        const FORM: &str = "SCRAM ends with c=binding,r=nonce,p=proof";
        let message = str::from_utf8(response).map_err(|_| FORM)?;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(FORM)?;
        let mut fields = without_proof.split(',');
        let mut field = |name| fields.next().and_then(|field| field.strip_prefix(name)).ok_or(FORM);
        let (binding, nonce) = (field("c=")?, field("r=")?);
        let binding = Base64::decode_vec(binding).map_err(|_| FORM)?;
        let proof = Base64::decode_vec(proof).map_err(|_| FORM)?;
        let expected = [self.first.header.as_bytes(), &self.first.binding].concat();
        // Refused like a wrong password: it may be somebody in between.
        if nonce != self.nonce || binding != expected {
            return Ok(None);
        }
        let message = format!("{},{},{without_proof}", self.first.bare, self.challenge);
        Ok(self.proves(message.as_bytes(), &proof).then(|| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &self.keys.server_key);
            let signature = hmac::sign(&key, message.as_bytes());
            format!("v={}", Base64::encode_string(signature.as_ref()))
        }))
    }

    /// RFC 5802 §3: H(proof XOR HMAC(StoredKey, message)) is StoredKey.
    fn proves(&self, message: &[u8], proof: &[u8]) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.keys.stored_key);
        let signature = hmac::sign(&key, message);
        let client_key = xor(proof, signature.as_ref());
        let stored = digest::digest(&digest::SHA256, &client_key);
        let same = verify_slices_are_equal(stored.as_ref(), &self.keys.stored_key).is_ok();
        same && proof.len() == self.keys.stored_key.len()
    }
}

pub(super) fn xor(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.iter().zip(other).map(|(one, other)| one ^ other).collect()
}

/// `=2C` is a comma and `=3D` an equals sign; any other `=` is wrong (RFC 5802 §5.1).
fn unescape(name: &str) -> Option<String> {
    let mut pieces = name.split('=');
    let mut plain = pieces.next()?.to_owned();
    for piece in pieces {
        match (piece.strip_prefix("2C"), piece.strip_prefix("3D")) {
            (Some(rest), _) => plain.extend([",", rest]),
            (None, Some(rest)) => plain.extend(["=", rest]),
            (None, None) => return None,
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests;
