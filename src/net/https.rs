//! Requests over HTTPS: a page is fetched, or a text posted (RFC 8461 §3.3, RFC 8460 §3.2). Each request has a
//! connection of its own and is over in its time, whatever the server does.
//!
//! No redirect is followed, no proxy taken from the environment, no cookie kept, nothing cached. Where the host is
//! says our own resolver; its certificate has to be for its name, by the authorities that are given. What an answer
//! means is the caller's business.

use super::dns::{Record, RecordKind, Records, Resolver};
use super::printable;
use super::public::is_public;
use super::tls;
use crate::limits::policies::HTTPS_HEADER_MAX;
use rustls::pki_types::CertificateDer;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::http::header::CONTENT_TYPE;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::unversioned::resolver::{self, ResolvedSocketAddrs};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Error};

/// Addresses of a host that are tried, as many as ureq has room for.
const ADDRESSES_MAX: usize = 16;

/// IANA's port for HTTPS.
const PORT: u16 = 443;

/// How requests are made.
#[derive(Clone, Debug)]
pub struct Https {
    resolver: Arc<dyn Resolver>,
    roots: RootCerts,
    /// For a whole request, from the question to DNS to the last octet.
    time: Duration,
    /// No address is spoken to that only a network around us can reach.
    is_public_only: bool,
}

/// What a server answered to GET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsPage {
    /// The status of HTTP, such as 200.
    pub status: u16,
    /// Its Content-Type as it was sent, if it was; any octets.
    pub media: Option<Vec<u8>>,
    /// Empty where the status is not 200.
    pub body: Vec<u8>,
}

/// Why there is no answer. In words that are printable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpsFault {
    /// The text is no URL of HTTPS.
    Url(String),
    /// DNS does not say where the host is.
    Name(String),
    /// The server did not show a certificate for its name that an authority of ours vouches for.
    Certificate(String),
    /// The request was not over in this time.
    Late(Duration),
    /// The page has more octets than it may.
    Long(u64),
    /// No connection, or one that broke, or what was said makes no sense.
    Broken(String),
}

impl fmt::Display for HttpsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HttpsFault::Url(what) => write!(f, "no URL of HTTPS: {what}"),
            HttpsFault::Name(what) | HttpsFault::Certificate(what) | HttpsFault::Broken(what) => {
                f.write_str(what)
            }
            HttpsFault::Late(time) => write!(f, "no answer in {time:.0?}"),
            HttpsFault::Long(most) => write!(f, "the answer has more than {most} octets"),
        }
    }
}

impl std::error::Error for HttpsFault {}

impl Https {
    pub fn new(
        resolver: Arc<dyn Resolver>,
        authorities: &[CertificateDer<'static>],
        time: Duration,
    ) -> Https {
        let roots: Vec<Certificate<'static>> =
            authorities.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
        Https { resolver, roots: RootCerts::new_with_certs(&roots), time, is_public_only: false }
    }

    /// The same, which speaks to no address that only a network around us can reach: for URLs that a stranger wrote.
    pub fn only_to_the_world(self) -> Https {
        Https { is_public_only: true, ..self }
    }

    /// Fetches a page of at most so many octets; of a longer one nothing is given.
    pub fn get(&self, url: &str, most: usize) -> Result<HttpsPage, HttpsFault> {
        self.guarded(|agent| {
            let mut answer = agent.get(url).call()?;
            let media = answer.headers().get(CONTENT_TYPE).map(|value| value.as_bytes().to_owned());
            let status = answer.status().as_u16();
            let body = match status {
                200 => answer.body_mut().with_config().limit(most as u64).read_to_vec()?,
                _ => Vec::new(),
            };
            Ok(HttpsPage { status, media, body })
        })
    }

    /// Posts a text of this media type; gives the status of the answer, which is good from 200 to 299.
    pub fn post(&self, url: &str, media: &str, body: &[u8]) -> Result<u16, HttpsFault> {
        self.guarded(|agent| {
            let answer = agent.post(url).header(CONTENT_TYPE, media).send(body)?;
            Ok(answer.status().as_u16())
        })
    }

    /// Makes a request. The library asserts what it expects, and no server must end a thread of ours by what it
    /// sends.
    fn guarded<T>(
        &self,
        request: impl FnOnce(&Agent) -> Result<T, Error>,
    ) -> Result<T, HttpsFault> {
        let answer = catch_unwind(AssertUnwindSafe(|| request(&self.agent())));
        let panicked = || HttpsFault::Broken("what came cannot be read as HTTP".to_owned());
        answer.map_err(|_| panicked())?.map_err(|error| self.fault(error))
    }

    fn agent(&self) -> Agent {
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(tls::provider())
            .root_certs(self.roots.clone())
            .build();
        let config = Agent::config_builder()
            .https_only(true)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .max_response_header_size(HTTPS_HEADER_MAX)
            .max_idle_connections(0)
            .timeout_global(Some(self.time))
            .user_agent("facteur")
            .tls_config(tls)
            .build();
        Agent::with_parts(
            config,
            DefaultConnector::new(),
            HttpsNames(self.resolver.clone(), self.is_public_only),
        )
    }

    fn fault(&self, error: Error) -> HttpsFault {
        match error {
            Error::Timeout(_) => HttpsFault::Late(self.time),
            Error::BodyExceedsLimit(most) => HttpsFault::Long(most),
            Error::LargeResponseHeader(..) => HttpsFault::Broken(format!(
                "the header of the answer has more than {HTTPS_HEADER_MAX} octets"
            )),
            Error::BadUri(what) => HttpsFault::Url(printable(&what)),
            Error::RequireHttpsOnly(_) => HttpsFault::Url("another protocol".to_owned()),
            Error::Http(error) => HttpsFault::Url(printable(&error.to_string())),
            Error::Rustls(error) => of_tls(&error),
            Error::Protocol(error) => HttpsFault::Broken(format!(
                "what came is no HTTP: {}",
                printable(&error.to_string())
            )),
            Error::Io(error) => self.of_io(error),
            Error::Other(error) => match error.downcast::<HttpsFault>() {
                Ok(fault) => *fault,
                Err(error) => HttpsFault::Broken(printable(&error.to_string())),
            },
            error => HttpsFault::Broken(printable(&error.to_string())),
        }
    }

    fn of_io(&self, error: io::Error) -> HttpsFault {
        let within = error.get_ref();
        if let Some(error) = within.and_then(|error| error.downcast_ref::<rustls::Error>()) {
            return of_tls(error);
        }
        match error.kind() {
            io::ErrorKind::TimedOut => HttpsFault::Late(self.time),
            io::ErrorKind::UnexpectedEof => {
                HttpsFault::Broken("the server closed the connection".to_owned())
            }
            _ => HttpsFault::Broken(printable(&error.to_string())),
        }
    }
}

fn of_tls(error: &rustls::Error) -> HttpsFault {
    let words = tls::told(error);
    match error {
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
            HttpsFault::Certificate(words)
        }
        _ => HttpsFault::Broken(words),
    }
}

/// Our resolver, as ureq asks it; and whether it gives public addresses alone.
#[derive(Debug)]
struct HttpsNames(Arc<dyn Resolver>, bool);

impl resolver::Resolver for HttpsNames {
    fn resolve(
        &self,
        url: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let host = url.host().unwrap_or_default();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let found = match bare.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => self
                .addresses(bare, *timeout.after)
                .map_err(|fault| Error::Other(Box::new(fault)))?,
        };
        let found = self.allowed(bare, found).map_err(|fault| Error::Other(Box::new(fault)))?;
        let mut addresses = self.empty();
        for address in found.into_iter().take(ADDRESSES_MAX) {
            addresses.push(SocketAddr::new(address, url.port_u16().unwrap_or(PORT)));
        }
        Ok(addresses)
    }
}

impl HttpsNames {
    /// Those of a host's addresses that may be spoken to.
    fn allowed(&self, host: &str, mut found: Vec<IpAddr>) -> Result<Vec<IpAddr>, HttpsFault> {
        let first = found.first().copied();
        found.retain(|address| !self.1 || is_public(*address));
        match first.filter(|_| found.is_empty()) {
            Some(first) => {
                let host = printable(host);
                Err(HttpsFault::Name(format!("{host} is at {first}, which is no public address")))
            }
            None => Ok(found),
        }
    }

    /// All addresses of a host, within this time; IPv6 first.
    fn addresses(&self, host: &str, time: Duration) -> Result<Vec<IpAddr>, HttpsFault> {
        let mut found = self.0.listed(host);
        if !found.is_empty() {
            return Ok(found);
        }
        let (began, mut unsure) = (Instant::now(), None);
        for kind in [RecordKind::Aaaa, RecordKind::A] {
            let left = time.saturating_sub(began.elapsed());
            match self.0.lookup_within(host.as_bytes(), kind, left) {
                Ok(answer) => match answer.records {
                    Records::Found(records) => {
                        found.extend(records.iter().filter_map(Record::address));
                    }
                    Records::Unsure(error) => unsure = Some(error),
                    Records::Absent | Records::NoName => {}
                },
                // A name server that fails for AAAA must not hide the A.
                Err(error) => unsure = Some(error),
            }
        }
        match (found.is_empty(), unsure) {
            (false, _) => Ok(found),
            (true, Some(error)) => Err(HttpsFault::Name(error.to_string())),
            (true, None) => Err(HttpsFault::Name(format!("{} has no address", printable(host)))),
        }
    }
}
