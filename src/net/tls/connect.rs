//! TLS towards other hosts: with any certificate, with one that proves the host's name by the authorities of this
//! system, or with one that fits the host's TLSA records.
//!
//! Mail between servers goes over whatever TLS there is: a certificate that cannot be verified is still
//! better than none (RFC 7435 §1.2, RFC 3207 §4.1), and an attacker that could show us a false one could as
//! well hide the offer of TLS. A password goes only to a host that proved its name.

use super::authorities::authorities;
use super::dane::ByRecords;
use super::words::{self, of_signature};
use super::{WantedProof, provider};
use crate::limits::TLS_SESSIONS;
use crate::smtp::tls_failure::{TlsFailure, TlsTrouble};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption, WebPkiServerVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

/// The settings for TLS to other hosts; remembers sessions, but for hosts with TLSA records.
#[derive(Debug, Default)]
pub struct Connector {
    /// The configuration that takes any certificate.
    open: OnceLock<Result<Arc<ClientConfig>, String>>,
    /// The configuration that takes only a certificate of the host that was asked for.
    strict: OnceLock<Result<Arc<ClientConfig>, String>>,
    /// Verifies by the certificate authorities of this system; read when first needed, because most
    /// commands never need them.
    authorities: OnceLock<Result<Arc<WebPkiServerVerifier>, String>>,
}

impl Connector {
    /// The configuration and the name for a connection to that host.
    pub(super) fn config(
        &self,
        name: &str,
        wanted: WantedProof<'_>,
    ) -> io::Result<(Arc<ClientConfig>, ServerName<'static>)> {
        let config = match wanted {
            WantedProof::Authorities => {
                let strict = || remembering(client_config(self.authorities()?)?);
                self.strict.get_or_init(strict).clone()
            }
            WantedProof::Nothing => {
                let open = || remembering(client_config(Arc::new(Anybody(provider())))?);
                self.open.get_or_init(open).clone()
            }
            // Its own for each connection: a session that is resumed shows no certificate, and may have begun
            // under other records.
            WantedProof::Records(records, names) => {
                let (records, names) = (records.clone(), names.to_vec());
                client_config(Arc::new(ByRecords { records, names, provider: provider() }))
                    .map(Arc::new)
            }
        };
        let bad = |what: String| io::Error::new(ErrorKind::InvalidInput, what);
        let config = config.map_err(bad)?;
        match server_name(name) {
            Some(name) => Ok((config, name)),
            None => Err(bad(format!("{name:?} is no name for TLS"))),
        }
    }

    /// Whether these certificates are valid for that host, by the authorities of this system; if not, why.
    pub(super) fn verify(
        &self,
        certificates: &[CertificateDer<'_>],
        name: &str,
    ) -> Result<(), TlsTrouble> {
        let (Some((own, others)), Some(name)) = (certificates.split_first(), server_name(name))
        else {
            return Err(words::typed(&Error::NoCertificatesPresented));
        };
        let untrusted = |why: String| TlsTrouble::new(TlsFailure::NotTrusted, why);
        let verifier = self.authorities().map_err(untrusted)?;
        let verified = verifier.verify_server_cert(own, others, &name, &[], UnixTime::now());
        verified.map(drop).map_err(|error| words::typed(&error))
    }

    fn authorities(&self) -> Result<Arc<WebPkiServerVerifier>, String> {
        self.authorities.get_or_init(read_authorities).clone()
    }
}

/// The name for TLS; an address literal loses its brackets.
pub(super) fn server_name(name: &str) -> Option<ServerName<'static>> {
    let inside = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let address = inside.strip_prefix("IPv6:").unwrap_or(inside);
    match address.parse::<IpAddr>() {
        Ok(address) => Some(ServerName::IpAddress(address.into())),
        Err(_) => ServerName::try_from(name.to_owned()).ok(),
    }
}

/// A configuration that remembers no session.
fn client_config(verifier: Arc<dyn ServerCertVerifier>) -> Result<ClientConfig, String> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| words::words(&error, &[]))?;
    // "Dangerous" is what rustls calls each verifier that is given to it; see the head of this file.
    let config = config.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = config.with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The same that remembers sessions, so that the next handshake is short.
fn remembering(mut config: ClientConfig) -> Result<Arc<ClientConfig>, String> {
    config.resumption = Resumption::in_memory_sessions(TLS_SESSIONS);
    Ok(Arc::new(config))
}

fn read_authorities() -> Result<Arc<WebPkiServerVerifier>, String> {
    let mut roots = RootCertStore::empty();
    let (good, _) = roots.add_parsable_certificates(authorities()?);
    if good == 0 {
        return Err("this system has no certificate authorities that can be read".to_owned());
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
    verifier.build().map_err(|error| error.to_string())
}

/// Takes any certificate, but only from a host that has its key: so [`Connector::verify`] holds for
/// the host we speak to.
struct Anybody(Arc<CryptoProvider>);

/// How rustls verifies a signature, in either version of TLS.
type Verify = fn(
    &[u8],
    &CertificateDer<'_>,
    &DigitallySignedStruct,
    &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error>;

impl Anybody {
    /// Old mail servers show certificates of X.509 version 1, which rustls cannot read. Such a certificate
    /// never counts as verified, so its signature need not be checked.
    fn signed(
        &self,
        verify: Verify,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match ParsedCertificate::try_from(certificate) {
            Ok(_) => {
                let algorithms = &self.0.signature_verification_algorithms;
                let verified = verify(message, certificate, signature, algorithms);
                verified.map_err(|error| of_signature(error, certificate))
            }
            Err(_) => Ok(HandshakeSignatureValid::assertion()),
        }
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(verify_tls12_signature, message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(verify_tls13_signature, message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Debug for Anybody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Anybody")
    }
}
