//! As much of DER (X.690) as it takes to find parts of a certificate where no library reads it: old ones are of X.509
//! version 1, and others break some rule that a key does not depend on (RFC 5280 §4.1). Pure.

/// One element: its octets whole, and its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub whole: &'a [u8],
    pub inside: &'a [u8],
}

/// A public key as a certificate has it (SubjectPublicKeyInfo).
pub(super) struct PublicKey<'a> {
    pub inside: &'a [u8],
    /// The content of its algorithm.
    pub algorithm: &'a [u8],
    pub key: &'a [u8],
}

const INTEGER: u8 = 0x02;
const BITS: u8 = 0x03;
const SEQUENCE: u8 = 0x30;
/// The version of a certificate, which one of version 1 does not have.
const VERSION: u8 = 0xa0;

/// The first element of some DER, if it has this tag, and the octets behind it.
pub(super) fn element(der: &[u8], tag: u8) -> Option<(Element<'_>, &[u8])> {
    let (&length, rest) = der.strip_prefix(&[tag])?.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81..=0x84 => {
            let (octets, rest) = rest.split_at_checked(usize::from(length - 0x80))?;
            (octets.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)), rest)
        }
        _ => return None,
    };
    let (inside, after) = rest.split_at_checked(length)?;
    Some((Element { whole: &der[..der.len() - after.len()], inside }, after))
}

/// The issuer of a certificate: the content of its name.
pub(super) fn issuer(certificate: &[u8]) -> Option<&[u8]> {
    let (issuer, _) = element(behind_algorithm(certificate)?, SEQUENCE)?;
    Some(issuer.inside)
}

/// The public key of a certificate, whole.
pub(super) fn key_of(certificate: &[u8]) -> Option<&[u8]> {
    let mut rest = behind_algorithm(certificate)?;
    // Issuer, validity, subject.
    for _ in 0..3 {
        rest = element(rest, SEQUENCE)?.1;
    }
    element(rest, SEQUENCE).map(|(key, _)| key.whole)
}

/// The parts of a whole public key; none where these octets are none.
pub(super) fn public_key(der: &[u8]) -> Option<PublicKey<'_>> {
    let (whole, []) = element(der, SEQUENCE)? else { return None };
    let (algorithm, rest) = element(whole.inside, SEQUENCE)?;
    let (bits, []) = element(rest, BITS)? else { return None };
    // Keys are whole octets.
    let key = bits.inside.strip_prefix(&[0])?;
    Some(PublicKey { inside: whole.inside, algorithm: algorithm.inside, key })
}

/// What stands behind the algorithm in the signed part of a certificate.
fn behind_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (signed, _) = element(certificate.inside, SEQUENCE)?;
    let rest = element(signed.inside, VERSION).map_or(signed.inside, |(_, rest)| rest);
    let (_, rest) = element(rest, INTEGER)?;
    element(rest, SEQUENCE).map(|(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_der() {
        let found = |der, tag| element(der, tag).map(|(found, rest)| (rest, found.inside));
        assert_eq!(found(&[2, 1, 7, 9], 2), Some((&[9][..], &[7][..])));
        assert_eq!(found(&[2, 0x81, 2, 7, 8], 2), Some((&[][..], &[7, 8][..])));
        for bad in [&[][..], &[2], &[2, 2, 7], &[3, 1, 7], &[2, 0x80, 7], &[2, 0x82, 1], &[2, 0x85]]
        {
            assert_eq!(element(bad, 2), None, "{bad:?}");
        }
    }

    #[test]
    fn the_parts_of_a_certificate_are_those_that_a_library_finds() {
        use x509_cert::der::{Decode, Encode};
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(vec!["mx.test".to_owned()]).unwrap();
        let made = made.self_signed(&key).unwrap();
        let read = x509_cert::Certificate::from_der(made.der()).unwrap().tbs_certificate;
        let whole = read.subject_public_key_info.to_der().unwrap();
        assert_eq!(key_of(made.der()), Some(&whole[..]));
        assert_eq!(read.issuer.to_der().unwrap()[2..], *issuer(made.der()).unwrap());
        let parts = public_key(&whole).unwrap();
        assert_eq!(parts.key, read.subject_public_key_info.subject_public_key.raw_bytes());
        for cut in 0..made.der().len() {
            // Torn certificates have no parts, and break nothing.
            assert_eq!(key_of(&made.der()[..cut]), None);
        }
        assert!(public_key(&whole[..whole.len() - 1]).is_none());
    }
}
