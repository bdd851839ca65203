//! Our certificate and its key: read from PEM, held against each other, the clock and our name.

use super::{binding, provider, words};
use crate::limits::{CERTIFICATE_WARNING, DAY, TLS_SESSIONS};
use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ParsedCertificate, ServerConfig, ServerSessionMemoryCache};
use rustls::{Error, InconsistentKeys};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use x509_cert::der::Decode;

/// Our certificate, ready for handshakes. A renewed certificate makes a new one; running sessions keep
/// theirs.
#[derive(Clone, Debug)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    /// Our own certificate first, then those that sign it.
    chain: Vec<CertificateDer<'static>>,
    /// From when until when each certificate is valid; none where that cannot be read.
    times: Vec<Option<(SystemTime, SystemTime)>>,
    /// `tls-server-end-point` of our own certificate, for channel binding; empty where it is not defined.
    end_point: Arc<[u8]>,
}

/// One of the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    Certificate,
    Key,
}

/// Why a certificate and a key cannot be used, and which of them is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPair {
    pub half: Half,
    pub what: String,
}

/// Why clients that verify may not accept our certificate; others do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The place in the file, counted from 1, and since when.
    Expired(usize, SystemTime),
    NotYetValid(usize, SystemTime),
    /// It is good still, but not for long: the place, until when, and how many whole days.
    EndsSoon(usize, SystemTime, u64),
    /// The certificate is not for this name.
    OtherName(String),
}

impl Acceptor {
    /// Reads the octets of both files, in PEM: a chain that begins with our own certificate, and its key as
    /// PKCS #8, SEC 1 or PKCS #1. Other PEM sections are skipped, so one file with both may be named twice.
    pub fn new(certificate: &[u8], key: &[u8]) -> Result<Acceptor, BadPair> {
        let chain = parse_chain(certificate)?;
        let key = private_key(key)?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map(|config| config.with_no_client_auth())
            .and_then(|config| config.with_single_cert(chain.clone(), key));
        let mut config = config.map_err(|error| unfit(&error))?;
        // Scanners ask for this, though each of our ciphers is good.
        config.ignore_client_order = true;
        // Tickets let clients resume without a state of ours.
        config.ticketer = Ticketer::new().map_err(|error| unfit(&error))?;
        // For clients of TLS 1.2 that take no tickets.
        config.session_storage = ServerSessionMemoryCache::new(TLS_SESSIONS);
        let times = chain.iter().map(|certificate| times(certificate)).collect();
        let end_point = chain.first().map(binding::end_point).unwrap_or_default().into();
        Ok(Acceptor { config: Arc::new(config), chain, times, end_point })
    }

    /// See the field.
    pub(super) fn end_point(&self) -> Arc<[u8]> {
        self.end_point.clone()
    }

    /// See the field.
    pub(super) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// What is wrong with a certificate that works, or soon will be.
    pub fn flaws(&self, hostname: &str, now: SystemTime) -> Vec<Flaw> {
        let times = (1..).zip(&self.times).filter_map(|(place, times)| Some((place, (*times)?)));
        let mut flaws: Vec<Flaw> = times
            .filter_map(|(place, (since, until))| {
                let left = until.duration_since(now).unwrap_or_default();
                match () {
                    // The last second belongs to it (RFC 5280 §4.1.2.5).
                    () if now >= until + Duration::from_secs(1) => {
                        Some(Flaw::Expired(place, until))
                    }
                    () if now < since => Some(Flaw::NotYetValid(place, since)),
                    () if left <= CERTIFICATE_WARNING => {
                        Some(Flaw::EndsSoon(place, until, left.as_secs() / DAY.as_secs()))
                    }
                    () => None,
                }
            })
            .collect();
        if !self.is_for(hostname) {
            flaws.push(Flaw::OtherName(hostname.to_owned()));
        }
        flaws
    }

    /// The end of the first certificate in the chain to expire.
    pub fn expires(&self) -> Option<SystemTime> {
        self.times.iter().flatten().map(|(_, until)| *until).min()
    }

    fn is_for(&self, hostname: &str) -> bool {
        let Ok(name) = ServerName::try_from(hostname) else { return false };
        let parsed = self.chain.first().map(ParsedCertificate::try_from);
        matches!(parsed, Some(Ok(parsed)) if verify_server_name(&parsed, &name).is_ok())
    }
}

impl Flaw {
    /// Whether no client that verifies accepts it now. Another name may be on purpose.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Flaw::Expired(..) | Flaw::NotYetValid(..))
    }

    /// Whether it is about time, so that it comes by itself and has to be told again.
    pub fn is_of_time(&self) -> bool {
        !matches!(self, Flaw::OtherName(_))
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::Expired(1, when) => write!(f, "expired on {}", date(*when)),
            Flaw::Expired(place, when) => {
                write!(f, "the one at place {place} of the file expired on {}", date(*when))
            }
            Flaw::NotYetValid(1, when) => write!(f, "not valid before {}", date(*when)),
            Flaw::NotYetValid(place, when) => {
                write!(
                    f,
                    "the one at place {place} of the file is not valid before {}",
                    date(*when)
                )
            }
            Flaw::EndsSoon(place, when, days) => {
                if *place > 1 {
                    write!(f, "the one at place {place} of the file ")?;
                }
                let left = match days {
                    0 => "within a day".to_owned(),
                    1 => "in 1 day".to_owned(),
                    days => format!("in {days} days"),
                };
                write!(f, "ends {left}, on {}: renew it", date(*when))
            }
            Flaw::OtherName(name) => {
                write!(f, "it is not for {name}; clients that check names will not trust it")
            }
        }
    }
}

/// A moment of a certificate, in UTC.
pub fn date(when: SystemTime) -> String {
    let when = jiff::Timestamp::try_from(when);
    when.map_or_else(|_| "a time beyond all clocks".to_owned(), |when| format!("{when:.0}"))
}

pub(super) fn parse_chain(octets: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadPair> {
    let bad = |what: String| BadPair { half: Half::Certificate, what };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(octets).collect();
    match chain {
        Ok(chain) if chain.is_empty() => {
            Err(bad("expected \"-----BEGIN CERTIFICATE-----\" (PEM), found none".to_owned()))
        }
        Ok(chain) => Ok(chain),
        Err(error) => Err(bad(format!("expected a chain of certificates in PEM: {error}"))),
    }
}

fn private_key(octets: &[u8]) -> Result<PrivateKeyDer<'static>, BadPair> {
    let bad = |what: &str| BadPair { half: Half::Key, what: what.to_owned() };
    // A server cannot ask for a passphrase when it starts.
    let encrypted: [&[u8]; 2] = [b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED"];
    let has = |mark: &[u8]| octets.windows(mark.len()).any(|part| part == mark);
    match PrivateKeyDer::from_pem_slice(octets) {
        _ if encrypted.into_iter().any(has) => {
            Err(bad("the key needs a passphrase; `openssl pkey` writes it without one"))
        }
        Ok(key) => Ok(key),
        Err(PemError::NoItemsFound) => {
            Err(bad("expected \"-----BEGIN PRIVATE KEY-----\" (PEM), found none"))
        }
        Err(error) => Err(bad(&format!("expected a private key in PEM: {error}"))),
    }
}

/// The error of rustls about a certificate and its key.
fn unfit(error: &Error) -> BadPair {
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => BadPair {
            half: Half::Key,
            what:
                "it does not fit the first certificate of tls.certificate, which has to be our own"
                    .to_owned(),
        },
        Error::InvalidCertificate(what) => BadPair {
            half: Half::Certificate,
            what: format!("the first certificate cannot be used: {}", words::certificate(what)),
        },
        other => BadPair {
            half: Half::Key,
            what: format!("the key cannot be used: {}", words::words(other, &[])),
        },
    }
}

/// From when until when a certificate is valid; none where that cannot be read.
pub(super) fn times(certificate: &CertificateDer<'_>) -> Option<(SystemTime, SystemTime)> {
    let parsed = x509_cert::Certificate::from_der(certificate).ok()?;
    let validity = parsed.tbs_certificate.validity;
    let moment = |since: Duration| SystemTime::UNIX_EPOCH + since;
    let (since, until) = (validity.not_before, validity.not_after);
    Some((moment(since.to_unix_duration()), moment(until.to_unix_duration())))
}
