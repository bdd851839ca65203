//! What a message of ours costs before it leaves: its body hashed, its authors read, and a signature by a key of each
//! type.

use super::Case;
use crate::signed::rsa_key;
use crate::{Outcome, samples};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64ct::{Base64, Encoding};
use facteur::mail::header::Reader;
use facteur::mail::proof::dkim::ours::{OwnBody, OwnHeader};
use facteur::mail::proof::dkim::sign::{Signer, SigningKey, sign};
use facteur::mail::proof::name::Name;
use facteur::mail::proof::raw::RawHeader;
use std::hint::black_box;

pub fn cases<'a>() -> Outcome<Vec<Case<'a>>> {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())?;
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        Base64::encode_string(document.as_ref())
    );
    let ed25519 = SigningKey::from_pem(pem.as_bytes()).map_err(|error| error.to_string())?;
    let fields: String = samples::fields().iter().map(|(_, whole)| *whole).collect();
    let body = String::from_utf8(samples::lines(samples::LINE, samples::SIGNED))?;
    let message = format!("{fields}\n{body}");
    let case = |name, key: SigningKey| -> Outcome<Case<'a>> {
        let message = message.clone();
        let domain = Name::parse(b"client.test").ok_or("no name")?;
        let work = move || -> Option<String> {
            let mut reader = Reader::new((OwnHeader::default(), OwnBody::default()));
            reader.feed(black_box(message.as_bytes()));
            let ((header, body), _) = reader.finish();
            header.authors().ok()?;
            let signer = Signer { key: &key, domain: &domain, selector: &domain };
            let fields = header.fields();
            sign(&signer, &RawHeader::new(&fields), &body.finish()?, 1_700_000_000).ok()
        };
        work().ok_or("it cannot be signed")?;
        Ok(Case::new(name, fields.len() + body.len(), move || drop(black_box(work()))))
    };
    Ok(vec![
        case("message of ours, signed (RSA 2048)", rsa_key()?)?,
        case("message of ours, signed (Ed25519)", ed25519)?,
    ])
}
