//! What went wrong with TLS, in plain words: one table for both sides, in place of the library's names of
//! errors.

use super::der::element;
use crate::smtp::tls_failure::{TlsFailure, TlsTrouble};
use rustls::AlertDescription as Alert;
use rustls::pki_types::CertificateDer;
use rustls::{
    CertificateError, Error, InconsistentKeys, InvalidMessage, OtherError, PeerIncompatible,
};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use x509_cert::der::Decode;

/// Least bits of an RSA key that rustls verifies by (NIST SP 800-131A).
const RSA_BITS_MIN: usize = 2048;

/// How many of the first octets show the highest version that the other side offers.
pub(super) const HELLO: usize = 11;

/// An error for the log; `hello`: the first octets that came.
pub(super) fn trouble(error: &Error, hello: &[u8]) -> io::Error {
    let trouble = TlsTrouble { words: words(error, hello), ..typed(error) };
    io::Error::new(ErrorKind::InvalidData, trouble)
}

/// An error with its type.
pub(super) fn typed(error: &Error) -> TlsTrouble {
    match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
            let typed = inner.downcast_ref::<TlsTrouble>().cloned();
            typed.unwrap_or_else(|| TlsTrouble::new(failure(error), words(error, &[])))
        }
        _ => TlsTrouble::new(failure(error), words(error, &[])),
    }
}

/// A trouble of ours as an error that a verifier gives.
pub(super) fn untyped(trouble: TlsTrouble) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(trouble))))
}

/// The type of an error, for reports.
fn failure(error: &Error) -> TlsFailure {
    use CertificateError as Bad;
    match error {
        Error::InvalidCertificate(what) => match what {
            Bad::Expired | Bad::ExpiredContext { .. } => TlsFailure::Expired,
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => TlsFailure::OtherName,
            Bad::UnknownIssuer | Bad::Revoked => TlsFailure::NotTrusted,
            _ => TlsFailure::Handshake,
        },
        _ => TlsFailure::Handshake,
    }
}

/// What is wrong, as a sentence without its full stop.
pub(super) fn words(error: &Error, hello: &[u8]) -> String {
    match error {
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => "what came is no TLS".to_owned(),
        Error::InvalidMessage(_) => "what came is broken TLS".to_owned(),
        Error::AlertReceived(alert) => format!("the other side gave up: {}", alert_words(*alert)),
        Error::PeerIncompatible(what) => incompatible(what, hello),
        Error::PeerMisbehaved(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. } => {
            "the other side breaks the rules of TLS".to_owned()
        }
        Error::PeerSentOversizedRecord => "what came is too long for TLS".to_owned(),
        Error::DecryptError => "what came cannot be decrypted".to_owned(),
        Error::NoCertificatesPresented => "the other side showed no certificate".to_owned(),
        Error::InvalidCertificate(what) => certificate(what),
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            "the key does not fit the certificate".to_owned()
        }
        Error::NoApplicationProtocol => "it is spoken for another protocol than mail".to_owned(),
        Error::EncryptError
        | Error::FailedToGetCurrentTime
        | Error::FailedToGetRandomBytes
        | Error::BadMaxFragmentSize => "TLS has trouble on this machine".to_owned(),
        // The words of `of_signature` below, or of AWS-LC about a key.
        Error::General(words) => words.clone(),
        // No other error comes from a handshake as we configure it.
        _ => "TLS failed".to_owned(),
    }
}

/// What an alert of the other side means (RFC 8446 §6.2).
fn alert_words(alert: Alert) -> String {
    let words = match alert {
        Alert::ProtocolVersion => "it speaks neither TLS 1.2 nor 1.3",
        Alert::HandshakeFailure => "it finds no cipher, key or signature in common",
        Alert::InsufficientSecurity => "it wants stronger ciphers",
        Alert::UnknownCA => "it does not trust who issued our certificate",
        Alert::CertificateExpired => "it finds our certificate out of date",
        Alert::CertificateRevoked => "it takes our certificate for revoked",
        Alert::BadCertificate | Alert::UnsupportedCertificate | Alert::CertificateUnknown => {
            "it does not take our certificate"
        }
        Alert::CertificateRequired | Alert::NoCertificate => "it wants a certificate from us",
        Alert::UnrecognisedName => "it does not know the name that it was asked for",
        Alert::AccessDenied => "it does not let us in",
        Alert::InternalError => "it has trouble of its own",
        Alert::UserCanceled | Alert::CloseNotify => "it ended the handshake",
        Alert::NoApplicationProtocol => "it does not speak mail there",
        Alert::InappropriateFallback => "it knows a better version than it was offered",
        Alert::UnexpectedMessage
        | Alert::BadRecordMac
        | Alert::DecryptionFailed
        | Alert::RecordOverflow
        | Alert::DecompressionFailure
        | Alert::IllegalParameter
        | Alert::DecodeError
        | Alert::DecryptError
        | Alert::MissingExtension
        | Alert::UnsupportedExtension => "it could not read what it was sent",
        other => return format!("alert {}", u8::from(other)),
    };
    words.to_owned()
}

fn incompatible(what: &PeerIncompatible, hello: &[u8]) -> String {
    use PeerIncompatible as Not;
    // First, because rustls reports a missing extension before the old version.
    if let Some(offered) = old_version(hello) {
        return format!("the other side offers {offered} at most, {LEAST}");
    }
    let words = match what {
        Not::Tls12NotOffered
        | Not::Tls12NotOfferedOrEnabled
        | Not::SupportedVersionsExtensionRequired
        | Not::ServerDoesNotSupportTls12Or13
        | Not::ServerTlsVersionIsDisabledByOurConfig => {
            return format!("the other side offers no version that is spoken here, {LEAST}");
        }
        Not::NoCipherSuitesInCommon => "no cipher in common",
        Not::NoKxGroupsInCommon
        | Not::NamedGroupsExtensionRequired
        | Not::KeyShareExtensionRequired
        | Not::EcPointsExtensionRequired
        | Not::NoEcPointFormatsInCommon
        | Not::UncompressedEcPointsRequired => "no way in common to agree on keys",
        Not::NoSignatureSchemesInCommon
        | Not::SignatureAlgorithmsExtensionRequired
        | Not::NoCertificateRequestSignatureSchemesInCommon => "no kind of signature in common",
        _ => "the other side offers no TLS that is spoken here",
    };
    words.to_owned()
}

const LEAST: &str = "TLS 1.2 is the least here";

/// The version that a first message offers or chose, where that is older than TLS 1.2: it stands behind the
/// headers of the record (5 octets) and the message (4; RFC 5246 §7.4.1.2).
fn old_version(hello: &[u8]) -> Option<&'static str> {
    match hello {
        [22, _, _, _, _, 1 | 2, _, _, _, 3, minor] => match minor {
            0 => Some("SSL 3.0"),
            1 => Some("TLS 1.0"),
            2 => Some("TLS 1.1"),
            _ => None,
        },
        _ => None,
    }
}

/// What is wrong with a certificate.
pub(super) fn certificate(what: &CertificateError) -> String {
    use CertificateError as Bad;
    let words = match what {
        Bad::Expired | Bad::ExpiredContext { .. } => "the certificate is out of date",
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => "the certificate is not valid yet",
        Bad::Revoked => "the certificate is revoked",
        Bad::UnknownIssuer => "nobody that this system trusts vouches for the certificate",
        Bad::NotValidForNameContext { expected, .. } => {
            return format!("the certificate is not for {}", expected.to_str());
        }
        Bad::NotValidForName => "the certificate is for another name",
        Bad::BadEncoding => "the certificate cannot be read",
        Bad::BadSignature => {
            "a signature does not fit the certificate, or its key is too short for TLS today"
        }
        Bad::UnsupportedSignatureAlgorithmContext { .. }
        | Bad::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "the certificate is signed in a way that is too old, or unknown here"
        }
        Bad::InvalidPurpose | Bad::InvalidPurposeContext { .. } => {
            "the certificate is not for this use"
        }
        // The words of `untyped` above.
        Bad::Other(OtherError(trouble)) => return trouble.to_string(),
        Bad::UnhandledCriticalExtension => "the certificate asks for what is unknown here",
        _ => "the certificate is not what a host's has to be",
    };
    words.to_owned()
}

/// The error of verifying a signature of this certificate, with a reason that rustls does not give: an RSA
/// key that is too short.
pub(super) fn of_signature(error: Error, certificate: &CertificateDer<'_>) -> Error {
    match (&error, rsa_bits(certificate)) {
        (Error::InvalidCertificate(CertificateError::BadSignature), Some(bits))
            if bits < RSA_BITS_MIN =>
        {
            Error::General(format!(
                "the certificate has an RSA key of {bits} bits, {RSA_BITS_MIN} are the least here"
            ))
        }
        _ => error,
    }
}

/// The size of an RSA key; none for a key of another kind.
fn rsa_bits(certificate: &CertificateDer<'_>) -> Option<usize> {
    let parsed = x509_cert::Certificate::from_der(certificate).ok()?;
    let key = parsed.tbs_certificate.subject_public_key_info;
    if key.algorithm.oid.to_string() != "1.2.840.113549.1.1.1" {
        return None;
    }
    // RFC 8017 §A.1.1: a sequence of modulus and exponent.
    let (pair, _) = element(key.subject_public_key.raw_bytes(), 0x30)?;
    let modulus = element(pair.inside, 0x02)?.0.inside;
    let zeros = modulus.iter().take_while(|octet| **octet == 0).count();
    let first = modulus.get(zeros)?;
    Some((modulus.len() - zeros) * 8 - first.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::pem::PemObject;

    #[test]
    fn trouble_is_told_in_words() {
        let hello = |minor| [22, 3, 1, 0, 90, 1, 0, 0, 86, 3, minor];
        let not = |what| Error::PeerIncompatible(what);
        let (old, new) = (hello(1), hello(3));
        let least = "TLS 1.2 is the least here";
        for (error, hello, expected) in [
            (
                Error::InvalidMessage(InvalidMessage::InvalidContentType),
                &[][..],
                "what came is no TLS".to_owned(),
            ),
            (
                Error::InvalidMessage(InvalidMessage::MessageTooLarge),
                &[],
                "what came is broken TLS".to_owned(),
            ),
            (
                not(PeerIncompatible::Tls12NotOffered),
                &old,
                format!("the other side offers TLS 1.0 at most, {least}"),
            ),
            (
                not(PeerIncompatible::Tls12NotOffered),
                &hello(2),
                format!("the other side offers TLS 1.1 at most, {least}"),
            ),
            (
                not(PeerIncompatible::Tls12NotOffered),
                &new,
                format!("the other side offers no version that is spoken here, {least}"),
            ),
            (
                not(PeerIncompatible::SignatureAlgorithmsExtensionRequired),
                &old,
                format!("the other side offers TLS 1.0 at most, {least}"),
            ),
            (not(PeerIncompatible::NoCipherSuitesInCommon), &new, "no cipher in common".to_owned()),
            (
                Error::AlertReceived(Alert::UnknownCA),
                &new,
                "the other side gave up: it does not trust who issued our certificate".to_owned(),
            ),
            (
                Error::AlertReceived(Alert::ProtocolVersion),
                &[],
                "the other side gave up: it speaks neither TLS 1.2 nor 1.3".to_owned(),
            ),
            (
                Error::AlertReceived(Alert::Unknown(200)),
                &[],
                "the other side gave up: alert 200".to_owned(),
            ),
        ] {
            assert_eq!(trouble(&error, hello).to_string(), expected);
        }
        for what in [
            CertificateError::BadSignature,
            CertificateError::Expired,
            CertificateError::UnknownIssuer,
            CertificateError::NotValidForName,
            CertificateError::Revoked,
            CertificateError::InvalidPurpose,
        ] {
            let told = words(&Error::InvalidCertificate(what.clone()), &[]);
            assert!(told.contains(' ') && !told.contains(&format!("{what:?}")), "{told}");
        }
    }

    /// A certificate with a key of 1,024 bits, whose private half is gone.
    const SHORT: &str = "\
-----BEGIN CERTIFICATE-----
MIIB9jCCAV+gAwIBAgIUF7/8g9ouiBlhJVptv5xSF42/8KMwDQYJKoZIhvcNAQEL
BQAwDDEKMAgGA1UEAwwBeDAgFw0yNjExMzAxOTU3MDVaGA8yMTI2MTEwNjE5NTcw
NVowDDEKMAgGA1UEAwwBeDCBnzANBgkqhkiG9w0BAQEFAAOBjQAwgYkCgYEA3tii
r0OIUeJoJlDC8PnpH78MY3330nYrLR0paCZCjO60B4QKi+aMjjvK6aH77Es+RpZb
q0mfRNzKzOiZfVtr4UleJ41BH6EoDzLhe3ug89gPRAkx8Z4Ck4bmqtz9MdoFPJ99
EozWKRrSqy0cwER49Pe8gJh2iHZIXiPl96rhHAECAwEAAaNTMFEwHQYDVR0OBBYE
FO0CbJ0kpEtwl/kW4rqh7ZNOZjPQMB8GA1UdIwQYMBaAFO0CbJ0kpEtwl/kW4rqh
7ZNOZjPQMA8GA1UdEwEB/wQFMAMBAf8wDQYJKoZIhvcNAQELBQADgYEAyphcBoh1
jTtyNpfRW+H2C1CfS3Gp8Hy8Nn801OTwNChL5UfQOofAhiqdThWrSbfbNyc4AON1
YxLxImPJqrgPnjgAuS5KQS8aHZK6Uc4vzNQTBnwPknVKfuauQ7vm0lOYf9S5yTIE
pyP85Jb51G+yw7mANbMRf1FahPHivvuAupE=
-----END CERTIFICATE-----
";

    #[test]
    fn a_short_key_is_called_so() {
        let short = CertificateDer::from_pem_slice(SHORT.as_bytes()).unwrap();
        let bad = || Error::InvalidCertificate(CertificateError::BadSignature);
        let told = words(&of_signature(bad(), &short), &[]);
        assert_eq!(told, "the certificate has an RSA key of 1024 bits, 2048 are the least here");
        let none = CertificateDer::from(vec![0x30, 0]);
        assert_eq!(of_signature(bad(), &none), bad());
        assert_eq!(of_signature(Error::DecryptError, &short), Error::DecryptError);
    }
}
