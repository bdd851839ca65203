//! Signs a message for a domain (RFC 6376 §5, RFC 8463), and says what DNS has to show. Pure.
//!
//! Fields and body are relaxed, without `l=`. A private key is never shown: not by `Debug`, not in an error.

use crate::limits::trust::SIGNED_NAMES_MAX;
use crate::mail::proof::canonical::{BodyForm, BodyHash, Form, add_field, sha256};
use crate::mail::proof::dkim::field::Algorithm;
use crate::mail::proof::dkim::key;
use crate::mail::proof::name::Name;
use crate::mail::proof::raw::{RawField, RawHeader};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256};
use base64ct::{Base64, Encoding};
use std::fmt;

/// How a body is to be hashed that is to be signed.
pub const BODY: BodyForm = BodyForm { form: Form::Relaxed, length: None };

/// Fields that are named once more than they occur, so that none can be added.
const ONCE_MORE: [&str; 12] = [
    "from",
    "to",
    "cc",
    "subject",
    "date",
    "message-id",
    "reply-to",
    "in-reply-to",
    "references",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
];

/// Fewest bits of an RSA key that signs (RFC 8301 §3.2 asks signers for 2,048).
const RSA_BITS_MIN: usize = 2048;

/// Columns of a line of the field.
const COLUMNS: usize = 77;

/// Octets of one string of a TXT record (RFC 1035 §3.3).
const STRING_MAX: usize = 255;

/// A private key that signs.
pub struct SigningKey(PrivateKey);

enum PrivateKey {
    Rsa(rsa::KeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Why a file holds no key that signs. Tells nothing of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadSigningKey {
    /// There is no `-----BEGIN PRIVATE KEY-----`.
    NotPem,
    /// What stands between the marks is no base64, or has no end.
    BadPem,
    /// The key is encrypted, and nobody is there to type a password.
    Encrypted,
    /// It is neither an RSA key nor one for Ed25519, or is damaged.
    Unknown,
    /// An RSA key of fewer bits than may sign.
    Short,
    /// An RSA key of more bits than can be used.
    Large,
}

impl fmt::Display for BadSigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadSigningKey::NotPem => f.write_str("no private key in PEM form"),
            BadSigningKey::BadPem => f.write_str("the PEM text is damaged"),
            BadSigningKey::Encrypted => f.write_str("the key is encrypted"),
            BadSigningKey::Unknown => f.write_str("neither an RSA nor an Ed25519 key"),
            BadSigningKey::Short => write!(f, "an RSA key of fewer than {RSA_BITS_MIN} bits"),
            BadSigningKey::Large => f.write_str("an RSA key of too many bits"),
        }
    }
}

/// A signature that could not be made; the library does not say why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CannotSign;

impl fmt::Display for CannotSign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the key cannot sign")
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.algorithm())
    }
}

impl SigningKey {
    /// Reads the first private key of a PEM text: PKCS #8, or PKCS #1 for RSA.
    ///
    /// Fails where there is none that signs.
    pub fn from_pem(text: &[u8]) -> Result<SigningKey, BadSigningKey> {
        let (label, mut der) = private_block(text)?;
        let read = if label == "RSA PRIVATE KEY" {
            rsa::KeyPair::from_der(&der).map(PrivateKey::Rsa)
        } else {
            let ed25519 = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map(PrivateKey::Ed25519);
            ed25519.or_else(|_| rsa::KeyPair::from_pkcs8(&der).map(PrivateKey::Rsa))
        };
        der.fill(0);
        std::hint::black_box(&der);
        let pair = read.map_err(|why| match why.to_string().as_str() {
            "TooSmall" => BadSigningKey::Short,
            "TooLarge" => BadSigningKey::Large,
            _ => BadSigningKey::Unknown,
        })?;
        match &pair {
            PrivateKey::Rsa(pair) if 8 * pair.public_modulus_len() < RSA_BITS_MIN => {
                Err(BadSigningKey::Short)
            }
            _ => Ok(SigningKey(pair)),
        }
    }

    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
            PrivateKey::Rsa(_) => Algorithm::RsaSha256,
            PrivateKey::Ed25519(_) => Algorithm::Ed25519Sha256,
        }
    }

    /// The record that DNS has to show at `SELECTOR._domainkey.DOMAIN` (RFC 6376 §3.6.1, RFC 8463 §4).
    pub fn record(&self) -> Result<String, CannotSign> {
        let kind = match self.0 {
            PrivateKey::Rsa(_) => "rsa",
            PrivateKey::Ed25519(_) => "ed25519",
        };
        Ok(format!("v=DKIM1; k={kind}; p={}", Base64::encode_string(&self.public()?)))
    }

    /// Whether a record is one by which others verify what this key signs, however it is written.
    pub fn is_shown_by(&self, record: &[u8]) -> bool {
        let Ok(shown) = key::DkimKey::read(record) else { return false };
        let is_bare = match &self.0 {
            PrivateKey::Rsa(pair) => shown.octets() == pair.public_key().as_ref(),
            PrivateKey::Ed25519(_) => false,
        };
        let is_same = is_bare || self.public().is_ok_and(|octets| octets == shown.octets());
        shown.algorithm == self.algorithm() && is_same
    }

    /// The public key as records have it: SPKI for RSA, 32 octets for Ed25519.
    fn public(&self) -> Result<Vec<u8>, CannotSign> {
        match &self.0 {
            PrivateKey::Rsa(pair) => {
                let der: PublicKeyX509Der = pair.public_key().as_der().map_err(|_| CannotSign)?;
                Ok(der.as_ref().to_vec())
            }
            PrivateKey::Ed25519(pair) => Ok(pair.public_key().as_ref().to_vec()),
        }
    }

    /// The signature over octets. Ed25519 signs their hash (RFC 8463 §3).
    fn sign(&self, octets: &[u8]) -> Result<Vec<u8>, CannotSign> {
        match &self.0 {
            PrivateKey::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let signed =
                    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), octets, &mut signature);
                signed.map_err(|_| CannotSign)?;
                Ok(signature)
            }
            PrivateKey::Ed25519(pair) => {
                let signature = pair.try_sign(&sha256(octets)).map_err(|_| CannotSign)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}

/// A record in the strings that a zone file or a TXT record holds, in order.
pub fn strings(record: &str) -> Vec<&str> {
    let mut strings = Vec::new();
    let mut rest = record;
    while let Some((string, after)) = rest.split_at_checked(STRING_MAX) {
        strings.push(string);
        rest = after;
    }
    if !rest.is_empty() {
        strings.push(rest);
    }
    strings
}

/// The label and the octets of the first private key of a PEM text (RFC 7468).
fn private_block(text: &[u8]) -> Result<(&'static str, Vec<u8>), BadSigningKey> {
    const BEGIN: &str = "-----BEGIN ";
    let text = std::str::from_utf8(text).map_err(|_| BadSigningKey::NotPem)?;
    let mut rest = text;
    while let Some(at) = rest.find(BEGIN) {
        rest = &rest[at + BEGIN.len()..];
        let (label, body) = rest.split_once("-----").ok_or(BadSigningKey::BadPem)?;
        let label = match label {
            "PRIVATE KEY" => "PRIVATE KEY",
            "RSA PRIVATE KEY" => "RSA PRIVATE KEY",
            "ENCRYPTED PRIVATE KEY" => return Err(BadSigningKey::Encrypted),
            _ => continue,
        };
        let (body, _) = body.split_once("-----END ").ok_or(BadSigningKey::BadPem)?;
        if body.contains("ENCRYPTED") {
            return Err(BadSigningKey::Encrypted);
        }
        let body: String = body.chars().filter(|one| !one.is_ascii_whitespace()).collect();
        return Ok((label, Base64::decode_vec(&body).map_err(|_| BadSigningKey::BadPem)?));
    }
    Err(BadSigningKey::NotPem)
}

/// A key and whose it is.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    pub key: &'a SigningKey,
    pub domain: &'a Name,
    pub selector: &'a Name,
}

/// The signature field for a message, with LF line ends, one of them at its end; it goes on top of the
/// fields that it signs. `body` is the hash of the whole body in the form [`BODY`], `time` is now, in
/// seconds since 1970.
///
/// Fails only where the library does.
pub fn sign(
    signer: &Signer,
    header: &RawHeader,
    body: &BodyHash,
    time: u64,
) -> Result<String, CannotSign> {
    let names = names(header);
    let mut field = Folded::default();
    field.add("DKIM-Signature:");
    field.word("v=1;");
    field.word(&format!("a={};", signer.key.algorithm()));
    field.word("c=relaxed/relaxed;");
    field.word(&format!("d={};", signer.domain));
    field.word(&format!("s={};", signer.selector));
    field.word(&format!("t={time};"));
    for (at, name) in names.iter().enumerate() {
        let sign = if at + 1 < names.len() { ':' } else { ';' };
        match at {
            0 => field.word(&format!("h={name}{sign}")),
            _ => field.piece(&format!("{name}{sign}")),
        }
    }
    field.word(&format!("bh={};", Base64::encode_string(&body.sha256)));
    field.word("b=");
    let mut octets = Vec::new();
    // The place of the signature is that of no field: it is not among them yet.
    for named in header.named(names.iter().copied(), usize::MAX) {
        add_field(&mut octets, Form::Relaxed, &named, None);
    }
    let own = RawField { name: b"DKIM-Signature", whole: field.text.as_bytes() };
    add_field(&mut octets, Form::Relaxed, &own, None);
    octets.truncate(octets.len() - 2);
    let mut signature = &Base64::encode_string(&signer.key.sign(&octets)?)[..];
    while !signature.is_empty() {
        let room = COLUMNS.saturating_sub(field.column);
        let (line, rest) = signature.split_at(room.min(signature.len()));
        field.add(line);
        signature = rest;
        if !signature.is_empty() {
            field.fold();
        }
    }
    field.add("\n");
    Ok(field.text)
}

/// `h=`: what is signed of a header.
fn names(header: &RawHeader) -> Vec<&'static str> {
    let mut names = Vec::new();
    for name in ONCE_MORE {
        names.extend(std::iter::repeat_n(name, header.places(name).len() + 1));
    }
    for name in LISTS.into_iter().chain(TLS_REPORTS) {
        names.extend(std::iter::repeat_n(name, header.places(name).len()));
    }
    names.truncate(SIGNED_NAMES_MAX);
    names
}

/// Fields of mailing lists, named as often as they occur: a list may add its own (RFC 2369, 2919, 8058).
const LISTS: [&str; 8] = [
    "list-id",
    "list-help",
    "list-subscribe",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "list-post",
    "list-owner",
    "list-archive",
];

/// Fields of reports on TLS (RFC 8460 §5.3), which no other message has.
const TLS_REPORTS: [&str; 2] = ["tls-report-domain", "tls-report-submitter"];

/// A field being written in lines of at most [`COLUMNS`], where its words allow that.
#[derive(Default)]
struct Folded {
    text: String,
    column: usize,
}

impl Folded {
    fn add(&mut self, text: &str) {
        self.text.push_str(text);
        self.column += text.len();
    }

    fn fold(&mut self) {
        self.text.push_str("\n ");
        self.column = 1;
    }

    /// A word after a space or a line end.
    fn word(&mut self, word: &str) {
        if self.column + 1 + word.len() > COLUMNS {
            self.fold();
        } else {
            self.add(" ");
        }
        self.add(word);
    }

    /// A word that follows at once, or after a line end.
    fn piece(&mut self, piece: &str) {
        if self.column + piece.len() > COLUMNS {
            self.fold();
        }
        self.add(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_a_record() {
        assert_eq!(strings(""), [""; 0]);
        assert_eq!(strings("abc"), ["abc"]);
        let long = "x".repeat(600);
        let lengths: Vec<usize> = strings(&long).iter().map(|string| string.len()).collect();
        assert_eq!(lengths, [255, 255, 90]);
        assert_eq!(strings(&long[..510]).len(), 2);
    }

    #[test]
    fn what_is_no_key() {
        let bad = |text: &str| SigningKey::from_pem(text.as_bytes()).unwrap_err();
        assert_eq!(bad(""), BadSigningKey::NotPem);
        assert_eq!(
            bad("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"),
            BadSigningKey::NotPem
        );
        assert_eq!(bad("-----BEGIN PRIVATE KEY"), BadSigningKey::BadPem);
        assert_eq!(bad("-----BEGIN PRIVATE KEY-----\nAAAA\n"), BadSigningKey::BadPem);
        assert_eq!(bad("-----BEGIN PRIVATE KEY-----\nA!A\n-----END "), BadSigningKey::BadPem);
        assert_eq!(bad("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END "), BadSigningKey::Unknown);
        assert_eq!(bad("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END "), BadSigningKey::Unknown);
        assert_eq!(bad("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), BadSigningKey::Encrypted);
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nAAAA\n-----END ";
        assert_eq!(bad(old), BadSigningKey::Encrypted);
    }
}
