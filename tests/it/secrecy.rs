//! TLS for tests: certificates of an authority of their own, and a connection that begins in the clear.

use crate::support::Place;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CrlDistributionPoint, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use rustls::{SupportedProtocolVersion, version};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

/// Who vouches for the certificates of all tests.
static AUTHORITY: LazyLock<CertifiedIssuer<'static, KeyPair>> = LazyLock::new(|| {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "authority of the tests");
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
});

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// The authority's certificate, in PEM.
pub fn authority() -> String {
    AUTHORITY.pem()
}

/// From and until when a certificate is good, in years.
pub const GOOD: (i32, i32) = (2020, 2099);

impl Pair {
    /// For these names, good for a long time.
    pub fn of(names: &[&str]) -> Pair {
        Pair::with(names, GOOD, true)
    }

    /// Vouched for by nobody else.
    pub fn self_signed(names: &[&str]) -> Pair {
        Pair::with(names, GOOD, false)
    }

    pub fn with(names: &[&str], (since, until): (i32, i32), vouched: bool) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(since, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        Pair::made(params, vouched)
    }

    /// As real authorities make them: good for some weeks, and with a list of what was revoked.
    pub fn like_a_real_one(names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
        let day =
            |date: Date| date_time_ymd(date.year().into(), date.month() as u8, date.day() as u8);
        params.not_before = day(today.saturating_sub(7.days()));
        params.not_after = day(today.saturating_add(90.days()));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let uris = vec!["http://authority.test/revoked".to_owned()];
        params.crl_distribution_points = vec![CrlDistributionPoint { uris }];
        Pair::made(params, true)
    }

    /// Good for so many days from now.
    pub fn ending_in(names: &[&str], days: u64) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = (SystemTime::now() + Duration::from_secs(days * 24 * 3600)).into();
        Pair::made(params, true)
    }

    fn made(params: CertificateParams, vouched: bool) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = match vouched {
            true => params.signed_by(&key, &*AUTHORITY).unwrap(),
            false => params.self_signed(&key).unwrap(),
        };
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// As `mx.pem` and `mx.key`, where [`TLS`] names them.
    pub fn write(&self, place: &Place) {
        place.write("mx.pem", &self.certificate);
        place.write("mx.key", &self.key);
    }

    /// A server that shows it.
    pub fn server(&self) -> Arc<ServerConfig> {
        let chain = CertificateDer::pem_slice_iter(self.certificate.as_bytes());
        let chain = chain.collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(provider());
        let config = config.with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap())
    }

    /// As clients see it.
    pub fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()
    }
}

/// The section of a configuration.
pub const TLS: &str = "[tls]\ncertificate = \"mx.pem\"\nkey = \"mx.key\"\n";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// A client that believes the authority, and speaks these versions.
pub fn client_of(versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(AUTHORITY.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(provider());
    let config = config.with_protocol_versions(versions).unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(16);
    Arc::new(config)
}

/// One that speaks all we do.
pub fn client() -> Arc<ClientConfig> {
    client_of(&[&version::TLS13, &version::TLS12])
}

/// A connection, in the clear or by TLS.
pub enum Line {
    Clear(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Line {
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Line::Clear(tcp) => tcp,
            Line::Tls(tls) => &tls.sock,
        }
    }

    pub fn is_tls(&self) -> bool {
        matches!(self, Line::Tls(_))
    }

    /// The handshake with mx.test.
    pub fn secure(&mut self, config: &Arc<ClientConfig>) -> io::Result<()> {
        let name = ServerName::try_from("mx.test").unwrap();
        let mut connection = ClientConnection::new(config.clone(), name).unwrap();
        let mut tcp = self.tcp().try_clone()?;
        while connection.is_handshaking() || connection.wants_write() {
            connection.complete_io(&mut tcp)?;
        }
        *self = Line::Tls(Box::new(StreamOwned::new(connection, tcp)));
        Ok(())
    }

    /// What TLS says of it.
    pub fn tls(&mut self) -> &mut ClientConnection {
        match self {
            Line::Clear(_) => panic!("a connection in the clear"),
            Line::Tls(tls) => &mut tls.conn,
        }
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Line::Clear(tcp) => tcp.read(buffer),
            Line::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Line {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Line::Clear(tcp) => tcp.write(octets),
            Line::Tls(tls) => tls.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Line::Clear(tcp) => tcp.flush(),
            Line::Tls(tls) => tls.flush(),
        }
    }
}
