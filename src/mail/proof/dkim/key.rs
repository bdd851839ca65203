//! The public key of a signature, as DNS has it (RFC 6376 §3.6.1, RFC 8463 §4). Pure.

use crate::limits::trust::KEY_RECORD_MAX;
use crate::mail::proof::dkim::field::{Algorithm, decoded};
use crate::mail::tags::{BadTags, Tags, shown, trimmed};
use aws_lc_rs::signature::{
    ED25519, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, UnparsedPublicKey,
};
use std::fmt;

/// Fewest bits of an RSA key that count (RFC 8301 §3.2).
const RSA_BITS_MIN: usize = 1024;

/// Most bits that the library verifies.
const RSA_BITS_MAX: usize = 8192;

/// A key with what its domain says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DkimKey {
    /// What the signature has to be made with.
    pub algorithm: Algorithm,
    /// SPKI or PKCS #1 for RSA, 32 octets for Ed25519.
    octets: Vec<u8>,
    /// Bits of an RSA key; 256 for Ed25519.
    pub bits: usize,
    /// `t=y`: the domain only tries how it is to sign.
    pub is_testing: bool,
    /// `t=s`: `i=` has to name the very domain, nothing below it.
    pub is_strict: bool,
}

/// Why a record is no key that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadKeyRecord {
    TooLong,
    Tags(BadTags),
    Version(String),
    /// No `p=`.
    Missing,
    /// An empty `p=`.
    Revoked,
    /// `k=` is of no type that is known.
    Type(String),
    /// `h=` does not list sha256.
    Hash,
    /// `s=` lists neither email nor all.
    Service,
    /// `p=` is not what its type wants.
    Octets,
    /// An RSA key of this many bits, which are too few (RFC 8301 §3.2).
    Short(usize),
    /// An RSA key of this many bits, which are too many to verify.
    Large(usize),
}

impl fmt::Display for BadKeyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadKeyRecord::TooLong => {
                write!(f, "the key record is longer than {KEY_RECORD_MAX} octets")
            }
            BadKeyRecord::Tags(bad) => write!(f, "the key record: {bad}"),
            BadKeyRecord::Version(text) => write!(f, "the key record is of version \"{text}\""),
            BadKeyRecord::Missing => f.write_str("the key record has no p="),
            BadKeyRecord::Revoked => f.write_str("the key is revoked"),
            BadKeyRecord::Type(text) => write!(f, "the key is of the unknown type \"{text}\""),
            BadKeyRecord::Hash => f.write_str("the key is not for sha256"),
            BadKeyRecord::Service => f.write_str("the key is not for mail"),
            BadKeyRecord::Octets => f.write_str("p= of the key record is no key"),
            BadKeyRecord::Short(bits) => write!(f, "an RSA key of {bits} bits is too short"),
            BadKeyRecord::Large(bits) => write!(f, "an RSA key of {bits} bits is too large"),
        }
    }
}

impl DkimKey {
    /// Reads a record.
    ///
    /// Fails with the first thing that makes it no key for mail.
    pub fn read(record: &[u8]) -> Result<DkimKey, BadKeyRecord> {
        if record.len() > KEY_RECORD_MAX {
            return Err(BadKeyRecord::TooLong);
        }
        let tags = Tags::read(record).map_err(BadKeyRecord::Tags)?;
        for (at, tag) in tags.iter().enumerate() {
            if tag.name == "v" && (at > 0 || tag.value != b"DKIM1") {
                return Err(BadKeyRecord::Version(shown(tag.value)));
            }
        }
        let lists = |name, wanted: &[&[u8]]| match tags.get(name) {
            Some(value) => {
                value.split(|&octet| octet == b':').any(|one| wanted.contains(&trimmed(one)))
            }
            None => true,
        };
        let octets = tags.get("p").ok_or(BadKeyRecord::Missing)?;
        if octets.is_empty() {
            return Err(BadKeyRecord::Revoked);
        }
        let algorithm = match tags.get("k").unwrap_or(b"rsa") {
            b"rsa" => Algorithm::RsaSha256,
            b"ed25519" => Algorithm::Ed25519Sha256,
            other => return Err(BadKeyRecord::Type(shown(other))),
        };
        if !lists("h", &[b"sha256"]) {
            return Err(BadKeyRecord::Hash);
        }
        if !lists("s", &[b"email", b"*"]) {
            return Err(BadKeyRecord::Service);
        }
        let octets = decoded(octets).ok_or(BadKeyRecord::Octets)?;
        let bits = bits_of(algorithm, &octets)?;
        let flag = |wanted: &[u8]| tags.get("t").is_some() && lists("t", &[wanted]);
        Ok(DkimKey { algorithm, octets, bits, is_testing: flag(b"y"), is_strict: flag(b"s") })
    }

    /// What `p=` says, decoded: SPKI or PKCS #1 for RSA, 32 octets for Ed25519.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Whether this is the same key, whatever else its record says: of RSA there are two forms.
    pub fn is_same(&self, other: &DkimKey) -> bool {
        self.algorithm == other.algorithm
            && match self.algorithm {
                Algorithm::Ed25519Sha256 => self.octets == other.octets,
                Algorithm::RsaSha256 => {
                    let key = bare(&self.octets);
                    key.is_some() && key == bare(&other.octets)
                }
            }
    }

    /// Whether a signature over `signed` was made with this key. Ed25519 signs the hash (RFC 8463 §3).
    pub fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        match self.algorithm {
            Algorithm::RsaSha256 => {
                let how = &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY;
                UnparsedPublicKey::new(how, &self.octets).verify(signed, signature).is_ok()
            }
            Algorithm::Ed25519Sha256 => {
                let hash = crate::mail::proof::canonical::sha256(signed);
                UnparsedPublicKey::new(&ED25519, &self.octets).verify(&hash, signature).is_ok()
            }
        }
    }
}

fn bits_of(algorithm: Algorithm, octets: &[u8]) -> Result<usize, BadKeyRecord> {
    match algorithm {
        Algorithm::Ed25519Sha256 if octets.len() == 32 => Ok(256),
        Algorithm::Ed25519Sha256 => Err(BadKeyRecord::Octets),
        Algorithm::RsaSha256 => match rsa_bits(octets).ok_or(BadKeyRecord::Octets)? {
            bits if bits < RSA_BITS_MIN => Err(BadKeyRecord::Short(bits)),
            bits if bits > RSA_BITS_MAX => Err(BadKeyRecord::Large(bits)),
            bits => Ok(bits),
        },
    }
}

/// Bits of the modulus of a key.
fn rsa_bits(octets: &[u8]) -> Option<usize> {
    let (modulus, _) = der(bare(octets)?, INTEGER)?;
    let zeros = modulus.iter().take_while(|&&octet| octet == 0).count();
    let first = modulus.get(zeros)?;
    Some(8 * (modulus.len() - zeros) - first.leading_zeros() as usize)
}

/// The content of an RSAPublicKey (RFC 8017, A.1.1), which may stand within a SubjectPublicKeyInfo (RFC 5280
/// §4.1).
fn bare(octets: &[u8]) -> Option<&[u8]> {
    let (sequence, _) = der(octets, SEQUENCE)?;
    match der(sequence, SEQUENCE) {
        Some((_, rest)) => {
            let (bits, _) = der(rest, BIT_STRING)?;
            Some(der(bits.strip_prefix(&[0])?, SEQUENCE)?.0)
        }
        None => Some(sequence),
    }
}

// Tags of DER.
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;

/// The content of the DER value at the front, which has this tag, and what follows it.
fn der(octets: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = octets.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81 | 0x82 => {
            let (long, rest) = rest.split_at_checked(usize::from(length - 0x80))?;
            (long.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)), rest)
        }
        _ => return None,
    };
    if first == tag { rest.split_at_checked(length) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    /// The key of the example in RFC 8463, appendix A.
    const RSA: &str = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3id\
        Y6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3r\
        G4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB";

    fn read(text: &str) -> Result<DkimKey, BadKeyRecord> {
        DkimKey::read(text.as_bytes())
    }

    #[test]
    fn good_keys() {
        let key = read(RSA).unwrap();
        assert_eq!((key.algorithm, key.bits), (Algorithm::RsaSha256, 1024));
        let key = read(ED25519).unwrap();
        assert_eq!((key.algorithm, key.bits), (Algorithm::Ed25519Sha256, 256));
        assert!(!key.is_testing && !key.is_strict);
        let key = read(&format!("{ED25519}; t= s : y :z; s=x:email; h=sha1:sha256; n=a b; g=*"));
        assert!(key.clone().unwrap().is_testing && key.unwrap().is_strict);
        assert!(read(&ED25519["v=DKIM1; ".len()..]).is_ok());
        assert!(read(ED25519.strip_suffix('=').unwrap()).is_ok());
    }

    #[test]
    fn bad_keys() {
        for (from, to, bad) in [
            ("v=DKIM1", "v=DKIM2", BadKeyRecord::Version("DKIM2".into())),
            ("v=DKIM1; k=ed25519", "k=ed25519; v=DKIM1", BadKeyRecord::Version("DKIM1".into())),
            ("ed25519", "rsa", BadKeyRecord::Octets),
            ("ed25519", "ed448", BadKeyRecord::Type("ed448".into())),
            ("v=DKIM1", "v=DKIM1; s=tlsrpt", BadKeyRecord::Service),
            ("v=DKIM1", "v=DKIM1; h=sha1", BadKeyRecord::Hash),
            ("p=11", "p=!!", BadKeyRecord::Octets),
            ("p=11", "p=1111", BadKeyRecord::Octets),
            ("p=11", "q=11", BadKeyRecord::Missing),
            ("p=11", "p=; q=", BadKeyRecord::Revoked),
            ("v=DKIM1", "v=DKIM1; v=DKIM1", BadKeyRecord::Tags(BadTags::Twice("v".into()))),
        ] {
            assert_eq!(read(&ED25519.replacen(from, to, 1)).unwrap_err(), bad, "{to}");
        }
        assert_eq!(read(&"x".repeat(KEY_RECORD_MAX + 1)).unwrap_err(), BadKeyRecord::TooLong);
    }

    /// An RSAPublicKey with a modulus of these bits.
    fn rsa(bits: usize) -> Vec<u8> {
        let long = |tag: u8, content: &[u8]| {
            let length = content.len() as u16;
            [&[tag, 0x82][..], &length.to_be_bytes(), content].concat()
        };
        let mut modulus = vec![0; bits.div_ceil(8) + 1];
        modulus[1] = 1 << ((bits - 1) % 8);
        let content = [long(0x02, &modulus), vec![0x02, 3, 1, 0, 1]].concat();
        long(0x30, &content)
    }

    #[test]
    fn bits() {
        for bits in [512, 1023, 1024, 2048, 4096, 16_384] {
            assert_eq!(rsa_bits(&rsa(bits)), Some(bits));
        }
        assert_eq!(bits_of(Algorithm::RsaSha256, &rsa(1023)), Err(BadKeyRecord::Short(1023)));
        assert_eq!(bits_of(Algorithm::RsaSha256, &rsa(16_384)), Err(BadKeyRecord::Large(16_384)));
        let key = |octets: Vec<u8>| DkimKey {
            octets,
            algorithm: Algorithm::RsaSha256,
            bits: 2048,
            is_testing: false,
            is_strict: false,
        };
        // The same key within a SubjectPublicKeyInfo.
        let bits = [&[0][..], &rsa(2048)].concat();
        let long = |tag: u8, content: &[u8]| {
            [&[tag, 0x82][..], &(content.len() as u16).to_be_bytes(), content].concat()
        };
        let spki = long(SEQUENCE, &[long(SEQUENCE, b""), long(BIT_STRING, &bits)].concat());
        assert!(key(rsa(2048)).is_same(&key(spki.clone())) && key(spki).is_same(&key(rsa(2048))));
        assert!(!key(rsa(2048)).is_same(&key(rsa(2047))));
        assert!(!key(Vec::new()).is_same(&key(Vec::new())));
        let whole = rsa(2048);
        assert!((0..whole.len() / 2).all(|length| rsa_bits(&whole[..length]).is_none()));
    }
}
