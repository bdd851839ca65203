//! What DNS can say about certificates (TLSA; RFC 6698, RFC 7672 §3.1), held against a chain. Asks nobody.

use super::accept::parse_chain;
use super::der::key_of;
use super::{Acceptor, BadPair};
use crate::net::dns::Record;
use aws_lc_rs::digest::{SHA256, SHA512, digest};
use rustls::pki_types::CertificateDer;

/// The certificates that we show, our own first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain(pub(super) Vec<CertificateDer<'static>>);

impl Chain {
    /// Reads a chain in PEM, as `tls.certificate` has it; the key is not needed.
    pub fn read(pem: &[u8]) -> Result<Chain, BadPair> {
        parse_chain(pem).map(Chain)
    }

    /// `3 1 1 ...`: the record that fits our own certificate as long as its key stays (RFC 7672 §3.1.1). None
    /// where the certificate cannot be read.
    pub fn wanted(&self) -> Option<Record> {
        let data = part(self.0.first()?, 1)?;
        let data = digest(&SHA256, &data).as_ref().to_vec();
        Some(Record::Tlsa { usage: 3, selector: 1, matching: 1, data })
    }

    /// Whether a TLSA record fits what we show. Those of PKIX-TA and PKIX-EE (usage 0 and 1) fit nothing:
    /// hosts that send mail do not use them (RFC 7672 §3.1.3).
    pub fn fits(&self, record: &Record) -> bool {
        let Some(choice) = TlsaChoice::of(record) else { return false };
        let those = match choice.usage {
            2 => &self.0[..],
            3 => self.0.get(..1).unwrap_or_default(),
            _ => return false,
        };
        those.iter().any(|certificate| choice.fits(certificate))
    }
}

/// The certificates that one TLSA record is about (RFC 6698 §2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TlsaChoice {
    pub usage: u8,
    pub selector: u8,
    pub matching: u8,
    pub data: Vec<u8>,
}

impl TlsaChoice {
    /// That of a record; none of one of another kind.
    pub fn of(record: &Record) -> Option<TlsaChoice> {
        let Record::Tlsa { usage, selector, matching, data } = record else { return None };
        let (usage, selector, matching) = (*usage, *selector, *matching);
        Some(TlsaChoice { usage, selector, matching, data: data.clone() })
    }

    /// Whether it is about this certificate, whatever the usage.
    pub fn fits(&self, certificate: &CertificateDer<'_>) -> bool {
        let Some(octets) = part(certificate, self.selector) else { return false };
        match self.matching {
            0 => octets == self.data,
            1 => digest(&SHA256, &octets).as_ref() == self.data.as_slice(),
            2 => digest(&SHA512, &octets).as_ref() == self.data.as_slice(),
            _ => false,
        }
    }
}

impl Acceptor {
    /// The certificates that clients get.
    pub fn shown(&self) -> Chain {
        Chain(self.chain().to_vec())
    }
}

/// What a selector is about: the whole certificate (0), or its public key (1). None for any other, and for a
/// certificate that cannot be read.
pub(super) fn part(certificate: &CertificateDer<'_>, selector: u8) -> Option<Vec<u8>> {
    match selector {
        0 => Some(certificate.to_vec()),
        1 => key_of(certificate).map(<[u8]>::to_vec),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn pem(key: &KeyPair) -> String {
        let params = CertificateParams::new(vec!["mx.test".to_owned()]).unwrap();
        params.self_signed(key).unwrap().pem()
    }

    #[test]
    fn records_fit_by_usage_selector_and_matching() {
        let [own, other] = [(); 2].map(|()| KeyPair::generate().unwrap());
        let (own_pem, other_pem) = (pem(&own), pem(&other));
        let chain = Chain::read(format!("{own_pem}{other_pem}").as_bytes()).unwrap();
        let ends = [Chain::read(own_pem.as_bytes()), Chain::read(other_pem.as_bytes())];
        let [first, second] = ends.map(Result::unwrap);
        let record = |of: &Chain, usage, selector, matching| {
            let octets = part(&of.0[0], selector).unwrap_or_default();
            let data = match matching {
                1 => digest(&SHA256, &octets).as_ref().to_vec(),
                2 => digest(&SHA512, &octets).as_ref().to_vec(),
                _ => octets,
            };
            Record::Tlsa { usage, selector, matching, data }
        };
        for selector in [0, 1] {
            for matching in [0, 1, 2] {
                assert!(chain.fits(&record(&first, 3, selector, matching)));
                assert!(chain.fits(&record(&second, 2, selector, matching)));
                assert!(!chain.fits(&record(&second, 3, selector, matching)));
                assert!(!chain.fits(&record(&first, 1, selector, matching)));
                assert!(!chain.fits(&record(&second, 0, selector, matching)));
            }
        }
        assert!(!chain.fits(&record(&first, 3, 2, 1)) && !chain.fits(&record(&first, 3, 1, 3)));
        assert_eq!(chain.wanted(), Some(record(&first, 3, 1, 1)));
        // A new certificate for the same key.
        assert!(Chain::read(pem(&own).as_bytes()).unwrap().fits(&record(&first, 3, 1, 1)));
    }
}
