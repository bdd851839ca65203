//! The certificate authorities that this system trusts, for mail hosts and for HTTPS alike: those of its store, or
//! of `SSL_CERT_FILE` and `SSL_CERT_DIR`. Read anew at each call.

use rustls::pki_types::CertificateDer;

/// The certificates of the authorities. Some systems have one or two that no library can read.
///
/// Fails, with words, where there are none.
pub fn authorities() -> Result<Vec<CertificateDer<'static>>, String> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        return Err(format!("this system has no certificate authorities to verify it by{why}"));
    }
    Ok(found.certs)
}
