//! Channel bindings: they tie a login to its TLS connection, so that an attacker in the middle cannot use
//! it on another connection (RFC 5056).

use aws_lc_rs::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
use rustls::pki_types::CertificateDer;
use rustls::{Connection, ProtocolVersion};
use x509_cert::der::Decode;

/// `tls-exporter` (RFC 9266); empty before TLS 1.3, where it is safe only with an extended master secret,
/// of which rustls says nothing.
pub(super) fn exporter(connection: &Connection) -> Vec<u8> {
    if connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return Vec::new();
    }
    // The length goes into the result.
    let output = [0; 32];
    let exported = connection.export_keying_material(output, b"EXPORTER-Channel-Binding", None);
    exported.map(Vec::from).unwrap_or_default()
}

/// `tls-server-end-point`: the hash of a certificate by the algorithm that signed it (RFC 5929 §4.1);
/// empty where that names no hash of its own.
pub(super) fn end_point(certificate: &CertificateDer<'_>) -> Vec<u8> {
    let Ok(parsed) = x509_cert::Certificate::from_der(certificate) else { return Vec::new() };
    let algorithm = parsed.signature_algorithm.oid.to_string();
    let hash = hash_of(&algorithm).map(|hash| digest(hash, certificate).as_ref().to_vec());
    hash.unwrap_or_default()
}

fn hash_of(algorithm: &str) -> Option<&'static Algorithm> {
    match algorithm {
        // RSA with MD5 and SHA-1, ECDSA with SHA-1: the RFC puts SHA-256 in their place.
        "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" => Some(&SHA256),
        "1.2.840.113549.1.1.11" | "1.2.840.10045.4.3.2" => Some(&SHA256),
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Some(&SHA384),
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Some(&SHA512),
        // Ed25519, for which nothing is defined, and RSA-PSS, whose hash is a parameter.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};

    #[test]
    fn the_hash_is_that_of_the_signature() {
        for (algorithm, hash) in
            [(&PKCS_ECDSA_P256_SHA256, &SHA256), (&PKCS_ECDSA_P384_SHA384, &SHA384)]
        {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let params = CertificateParams::new(vec!["mx.test".to_owned()]).unwrap();
            let certificate = params.self_signed(&key).unwrap();
            let expected = digest(hash, certificate.der()).as_ref().to_vec();
            assert_eq!(end_point(certificate.der()), expected);
        }
    }

    #[test]
    fn what_names_no_hash_gives_none() {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let params = CertificateParams::new(vec!["mx.test".to_owned()]).unwrap();
        assert!(end_point(params.self_signed(&key).unwrap().der()).is_empty());
        assert!(end_point(&CertificateDer::from(b"none".to_vec())).is_empty());
    }
}
