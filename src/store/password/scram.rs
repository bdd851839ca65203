//! An entry for SCRAM-SHA-256, `iterations,salt,StoredKey,ServerKey` (RFC 5802 §3, RFC 7677; the form is
//! Dovecot's). A thief of these keys cannot log in with them, but can pretend to be the server.

use crate::limits::{SCRAM_ITERATIONS_MAX, SCRAM_ITERATIONS_MIN, SCRAM_SALT_MAX};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac, pbkdf2};
use base64ct::{Base64, Encoding};
use std::num::NonZeroU32;

/// The keys of one password.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    pub salt: Vec<u8>,
    pub iterations: u32,
    pub stored_key: [u8; 32],
    pub server_key: [u8; 32],
}

impl ScramKeys {
    pub(super) fn parse(text: &str) -> Result<ScramKeys, &'static str> {
        const DAMAGED: &str = "the keys are damaged";
        let mut fields = text.split(',');
        let mut next = || fields.next().ok_or(DAMAGED);
        let (iterations, salt, stored, server) = (next()?, next()?, next()?, next()?);
        let iterations = iterations.parse().map_err(|_| DAMAGED)?;
        let key = |text: &str| {
            let octets = Base64::decode_vec(text).map_err(|_| DAMAGED)?;
            <[u8; 32]>::try_from(octets).map_err(|_| DAMAGED)
        };
        let salt = Base64::decode_vec(salt).map_err(|_| DAMAGED)?;
        let (stored_key, server_key) = (key(stored)?, key(server)?);
        if fields.next().is_some() || salt.is_empty() || salt.len() > SCRAM_SALT_MAX {
            return Err(DAMAGED);
        }
        match iterations {
            ..SCRAM_ITERATIONS_MIN => Err("fewer than 4,096 iterations, which clients refuse"),
            SCRAM_ITERATIONS_MIN..=SCRAM_ITERATIONS_MAX => {
                Ok(ScramKeys { salt, iterations, stored_key, server_key })
            }
            _ => Err("more than 1,000,000 iterations, which take too long"),
        }
    }

    /// Computes the keys of a password; none for no iterations.
    pub(super) fn derive(password: &[u8], salt: &[u8], iterations: u32) -> Option<ScramKeys> {
        let mut salted = [0; 32];
        let rounds = NonZeroU32::new(iterations)?;
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, password, &mut salted);
        let salted = hmac::Key::new(hmac::HMAC_SHA256, &salted);
        let client_key = hmac::sign(&salted, b"Client Key");
        let stored = digest::digest(&digest::SHA256, client_key.as_ref());
        let server = hmac::sign(&salted, b"Server Key");
        Some(ScramKeys {
            salt: salt.to_owned(),
            iterations,
            stored_key: stored.as_ref().try_into().ok()?,
            server_key: server.as_ref().try_into().ok()?,
        })
    }

    pub(super) fn text(&self) -> String {
        let [salt, stored, server] =
            [&self.salt[..], &self.stored_key, &self.server_key].map(Base64::encode_string);
        format!("{},{salt},{stored},{server}", self.iterations)
    }

    pub(super) fn verify(&self, password: &[u8]) -> bool {
        let found = ScramKeys::derive(password, &self.salt, self.iterations);
        found.is_some_and(|found| {
            verify_slices_are_equal(&found.stored_key, &self.stored_key).is_ok()
        })
    }
}
const _: () = assert!(SCRAM_ITERATIONS_MIN == 4096 && SCRAM_ITERATIONS_MAX == 1_000_000); // named
