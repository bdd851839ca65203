//! The certificate of a host, held against its TLSA records (RFC 7671, RFC 7672 §3). Asks nobody, and reads no
//! certificate authorities.
//!
//! DANE-EE (usage 3) is about the host's own key or certificate: neither its names nor its dates count (RFC 7672
//! §3.1.1). DANE-TA (usage 2) is about one above it: a chain has to lead there, and names and dates count
//! (§3.1.2). Records of other usages cannot be used with mail (§3.1.3).

use super::accept::times;
use super::connect::server_name;
use super::der::{issuer, key_of, public_key};
use super::tlsa::{Chain, TlsaChoice, part};
use super::{provider, words};
use crate::limits::{CERTIFICATES_MAX, TLSA_RECORDS_MAX};
use crate::net::dns::Record;
use crate::smtp::tls_failure::{TlsFailure, TlsTrouble};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, Der, ServerName, SubjectPublicKeyInfoDer, TrustAnchor, UnixTime,
};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// The TLSA records of a host that can be used; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsableRecords(Vec<TlsaChoice>);

impl UsableRecords {
    /// Those of these records that can be used; none where there is none. Of several digests of the same usage and
    /// selector only the strongest counts (RFC 7671 §9).
    pub fn of(records: &[Record]) -> Option<UsableRecords> {
        let usable = records.iter().filter_map(TlsaChoice::of).filter(is_sound);
        let usable: Vec<TlsaChoice> = usable.take(TLSA_RECORDS_MAX).collect();
        let is_best = |choice: &&TlsaChoice| {
            let same = |other: &&TlsaChoice| {
                (other.usage, other.selector) == (choice.usage, choice.selector)
                    && other.matching > choice.matching
            };
            choice.matching == FULL || !usable.iter().any(|other| same(&other))
        };
        let best: Vec<TlsaChoice> = usable.iter().filter(is_best).cloned().collect();
        (!best.is_empty()).then_some(UsableRecords(best))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Holds a chain, the host's own certificate first, against the records. `names`: those that a certificate
    /// below a trust anchor may be for (RFC 7672 §3.2.2).
    pub fn check(&self, chain: &Chain, names: &[String], now: UnixTime) -> Result<(), TlsTrouble> {
        let chain = &chain.0[..chain.0.len().min(CERTIFICATES_MAX)];
        let Some((own, others)) = chain.split_first() else {
            return Err(TlsTrouble::new(TlsFailure::Handshake, "it shows no certificate"));
        };
        if self.with(EE).any(|choice| choice.fits(own)) {
            return Ok(());
        }
        let (roots, mut why) = self.anchors(chain, now);
        if !roots.is_empty() {
            match below(own, others, &roots, now).and_then(|own| named(&own, names)) {
                Ok(()) => return Ok(()),
                Err(error) => why = Some(error),
            }
        }
        Err(why.unwrap_or_else(|| {
            let words = match self.0.len() {
                1 => "its certificate does not fit the one TLSA record that can be used".to_owned(),
                count => format!(
                    "its certificate fits none of the {count} TLSA records that can be used"
                ),
            };
            TlsTrouble::new(TlsFailure::NotTrusted, words)
        }))
    }

    fn with(&self, usage: u8) -> impl Iterator<Item = &TlsaChoice> {
        self.0.iter().filter(move |choice| choice.usage == usage)
    }

    /// The trust anchors that records of usage 2 name: certificates of the chain, and certificates and keys that
    /// a record holds whole (RFC 7671 §5.2). And why one that fits is none.
    fn anchors(
        &self,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> (RootCertStore, Option<TlsTrouble>) {
        let (mut roots, mut why) = (RootCertStore::empty(), None);
        let mut add = |certificate: &CertificateDer<'_>| match in_time(certificate, now) {
            // One that cannot be read leads nowhere.
            Ok(()) => drop(roots.add(certificate.clone().into_owned())),
            Err(trouble) => why = Some(trouble),
        };
        for choice in self.with(TA) {
            chain.iter().skip(1).filter(|above| choice.fits(above)).for_each(&mut add);
            if (choice.selector, choice.matching) == (CERTIFICATE, FULL) {
                add(&CertificateDer::from(choice.data.as_slice()));
            }
        }
        // A key has no name of its own: it may be that of whoever signed any of the chain.
        for choice in self.with(TA).filter(|it| (it.selector, it.matching) == (KEY, FULL)) {
            let Some(key) = public_key(&choice.data) else { continue };
            for subject in chain.iter().filter_map(|certificate| issuer(certificate)) {
                roots.roots.push(TrustAnchor {
                    subject: Der::from(subject.to_vec()),
                    subject_public_key_info: Der::from(key.inside.to_vec()),
                    name_constraints: None,
                });
            }
        }
        (roots, why)
    }
}

/// Takes a host whose certificate fits its records, and that has the key of this certificate. What rustls cannot
/// read as a certificate is taken by its key: the signature is verified in any case.
pub(super) struct ByRecords {
    pub records: UsableRecords,
    pub names: Vec<String>,
    pub provider: Arc<CryptoProvider>,
}

impl ByRecords {
    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.provider.signature_verification_algorithms
    }
}

impl ServerCertVerifier for ByRecords {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let all = [own].into_iter().chain(others).take(CERTIFICATES_MAX);
        let chain = Chain(all.map(|certificate| certificate.clone().into_owned()).collect());
        let checked = self.records.check(&chain, &self.names, now);
        checked.map(|()| ServerCertVerified::assertion()).map_err(words::untyped)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = match ParsedCertificate::try_from(certificate) {
            Ok(_) => verify_tls12_signature(message, certificate, signature, self.algorithms()),
            Err(error) => by_key(message, certificate, signature, self.algorithms()).ok_or(error),
        };
        verified.map_err(|error| words::of_signature(error, certificate))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = self.algorithms();
        let verified = match (ParsedCertificate::try_from(certificate), key_of(certificate)) {
            (Err(_), Some(key)) => {
                let key = SubjectPublicKeyInfoDer::from(key);
                verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
            }
            _ => verify_tls13_signature(message, certificate, signature, algorithms),
        };
        verified.map_err(|error| words::of_signature(error, certificate))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms().supported_schemes()
    }
}

impl fmt::Debug for ByRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByRecords").field("records", &self.records).finish_non_exhaustive()
    }
}

/// Verifies a signature of TLS 1.2 by the key in a certificate, as rustls does with one that it can read: by each
/// algorithm that goes with the scheme, and with the key.
fn by_key(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Option<HandshakeSignatureValid> {
    let key = public_key(key_of(certificate)?)?;
    let schemes = algorithms.mapping.iter().filter(|(scheme, _)| *scheme == signature.scheme);
    let mut all = schemes.flat_map(|(_, algorithms)| algorithms.iter());
    let verifies = all.any(|algorithm| {
        algorithm.public_key_alg_id().as_ref() == key.algorithm
            && algorithm.verify_signature(key.key, message, signature.signature()).is_ok()
    });
    verifies.then(HandshakeSignatureValid::assertion)
}

const TA: u8 = 2;
const EE: u8 = 3;
const CERTIFICATE: u8 = 0;
const KEY: u8 = 1;
const FULL: u8 = 0;

/// Whether a record can be used: a usage for mail, a selector and a matching type that are known, and data that
/// go with them (RFC 7671 §4.1, RFC 7672 §3.1.3).
fn is_sound(choice: &TlsaChoice) -> bool {
    let is_whole = match (choice.selector, choice.matching) {
        (CERTIFICATE, FULL) => part(&CertificateDer::from(choice.data.as_slice()), KEY)
            .is_some_and(|key| public_key(&key).is_some()),
        (KEY, FULL) => public_key(&choice.data).is_some(),
        (CERTIFICATE | KEY, 1) => choice.data.len() == 32,
        (CERTIFICATE | KEY, 2) => choice.data.len() == 64,
        _ => false,
    };
    matches!(choice.usage, TA | EE) && is_whole
}

/// Whether a certificate is valid at this moment. One whose dates cannot be read is not.
fn in_time(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), TlsTrouble> {
    let now = std::time::UNIX_EPOCH + Duration::from_secs(now.as_secs());
    let error = match times(certificate) {
        Some((since, _)) if now < since => CertificateError::NotValidYet,
        Some((_, until)) if now > until => CertificateError::Expired,
        Some(_) => return Ok(()),
        None => CertificateError::BadEncoding,
    };
    Err(words::typed(&Error::InvalidCertificate(error)))
}

/// The host's own certificate, when a chain leads from it to one of these.
fn below<'a>(
    own: &'a CertificateDer<'a>,
    others: &[CertificateDer<'_>],
    roots: &RootCertStore,
    now: UnixTime,
) -> Result<OwnCertificate<'a>, TlsTrouble> {
    let parsed = ParsedCertificate::try_from(own).map_err(|error| words::typed(&error))?;
    let algorithms = provider().signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&parsed, roots, others, now, algorithms)
        .map_err(|error| words::typed(&error))?;
    Ok(OwnCertificate { der: own, parsed })
}

/// A host's own certificate, below a trust anchor.
struct OwnCertificate<'a> {
    der: &'a CertificateDer<'a>,
    parsed: ParsedCertificate<'a>,
}

/// Whether the certificate is for one of these names. The common name counts where it has no other name (RFC 7672
/// §3.2.3).
fn named(own: &OwnCertificate<'_>, names: &[String]) -> Result<(), TlsTrouble> {
    let mut first = None;
    for name in names.iter().filter_map(|name| server_name(name)) {
        match verify_server_name(&own.parsed, &name) {
            Ok(()) => return Ok(()),
            Err(error) => first = first.or(Some(error)),
        }
    }
    let common = common_name(own.der);
    let is_common = |name: &String| common.as_deref().is_some_and(|common| is_same(common, name));
    match names.iter().any(is_common) {
        true => Ok(()),
        false => Err(words::typed(&first.unwrap_or(CertificateError::NotValidForName.into()))),
    }
}

/// The common name of a certificate that has no name of a host beside it.
fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let read = x509_cert::Certificate::from_der(certificate).ok()?.tbs_certificate;
    let is_host = |name: &GeneralName| matches!(name, GeneralName::DnsName(_));
    let others = read.get::<SubjectAltName>().ok()?;
    if others.is_some_and(|(_, names)| names.0.iter().any(is_host)) {
        return None;
    }
    let attributes = read.subject.0.iter().flat_map(|part| part.0.iter());
    // The last one is the most specific.
    let mut common =
        attributes.filter(|attribute| attribute.oid == x509_cert::der::oid::db::rfc4519::CN);
    let value = common.next_back()?.value.value().to_vec();
    String::from_utf8(value).ok()
}

/// Whether the name in a certificate is this host's; `*` stands for the whole first label (RFC 6125 §6.4.3).
fn is_same(pattern: &str, host: &str) -> bool {
    let (pattern, host) = (pattern.trim_end_matches('.'), host.trim_end_matches('.'));
    match (pattern.strip_prefix("*."), host.split_once('.')) {
        (Some(domain), Some((label, rest))) => {
            !label.is_empty() && domain.contains('.') && domain.eq_ignore_ascii_case(rest)
        }
        (Some(_), None) => false,
        (None, _) => pattern.eq_ignore_ascii_case(host),
    }
}
