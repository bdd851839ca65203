//! A certificate that its own key has signed: with it a server can speak TLS until a real one takes its place. Other
//! servers take it, programs of users ask whether to trust it.

use super::make::{StepOutcome, file};
use crate::mail::address::Domain;
use crate::tools::Failure;
use jiff::tz::Offset;
use jiff::{Timestamp, ToSpan};
use nix::unistd::{Gid, Uid};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, date_time_ymd};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// Longest common name, in characters (RFC 5280 appendix A.1, ub-common-name).
const COMMON_NAME_MAX: usize = 64;

/// How long the pair is good, in days: ten years, as nobody renews it, and a real one comes before.
const DAYS: i64 = 3650;

/// Makes the pair: the key first, so that a killed run leaves no certificate without one. Where there is a key alone,
/// the certificate is made for it. `owner` is the key's, who reads it by its group.
pub fn make(
    hostname: &Domain,
    certificate: &Path,
    key: &Path,
    owner: Option<(Uid, Gid)>,
) -> Result<StepOutcome, Failure> {
    if fs::symlink_metadata(certificate).is_ok() {
        return match fs::symlink_metadata(key) {
            Ok(_) => Ok(StepOutcome::Kept),
            Err(_) => {
                Err(format!("the certificate is there, and its key {} is not", key.display())
                    .into())
            }
        };
    }
    let own = match fs::read_to_string(key) {
        Ok(text) => KeyPair::from_pem(&text).map_err(|why| unusable(key, &why))?,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let own = KeyPair::generate().map_err(|why| format!("no key could be made: {why}"))?;
            file(key, own.serialize_pem().as_bytes(), 0o640, owner)?;
            own
        }
        Err(error) => return Err(format!("cannot read {}: {error}", key.display()).into()),
    };
    let text = signed(hostname, &own, Timestamp::now());
    let text = text.map_err(|why| format!("no certificate could be made: {why}"))?;
    Ok(file(certificate, text.as_bytes(), 0o644, None)?)
}

fn unusable(key: &Path, why: &rcgen::Error) -> String {
    let key = key.display();
    format!(
        "{key} is there without a certificate, and none can be made for it ({why}); put its certificate beside it"
    )
}

fn signed(hostname: &Domain, key: &KeyPair, now: Timestamp) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::new(vec![hostname.to_string()])?;
    params.distinguished_name = DistinguishedName::new();
    // A longer one would break RFC 5280; the name counts where it stands above.
    if hostname.as_str().len() <= COMMON_NAME_MAX {
        params.distinguished_name.push(DnType::CommonName, hostname.as_str());
    }
    let day = |days: i64| {
        let then = now.checked_add((days * 24).hours()).unwrap_or(now);
        let day = Offset::UTC.to_datetime(then).date();
        date_time_ymd(day.year().into(), day.month().unsigned_abs(), day.day().unsigned_abs())
    };
    // From the day before, for clocks that are behind ours.
    (params.not_before, params.not_after) = (day(-1), day(DAYS));
    Ok(params.self_signed(key)?.pem())
}

/// Whether the first certificate of a file is its own issuer; none where there is no certificate to be read.
pub fn is_self_signed(certificate: &Path) -> Option<bool> {
    let der = CertificateDer::from_pem_file(certificate).ok()?;
    let read = Certificate::from_der(&der).ok()?;
    Some(read.tbs_certificate.issuer == read.tbs_certificate.subject)
}
