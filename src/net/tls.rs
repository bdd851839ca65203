//! TLS 1.2 and 1.3 by rustls, on a connection that began in the clear or from its first octet
//! (RFC 3207, RFC 8314, RFC 9325).
//!
//! Our own side shows one certificate ([`Acceptor`]); towards other hosts there are two ways, any
//! certificate or a verified one ([`Connector`]). The caller decides by a [`Side`] what has to be proved.
//! Speaks no SMTP, and refuses no client for what TLS says.
//!
//! Reads only the certificate authorities of this system.

mod accept;
mod authorities;
mod binding;
mod connect;
mod layer;
#[cfg(test)]
mod tests;
mod tlsa;
mod words;

pub use accept::{Acceptor, BadPair, Flaw, Half, date};
pub use authorities::authorities;
pub use connect::Connector;
pub use layer::Layer;
pub use tlsa::Chain;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{CipherSuite, NamedGroup, ProtocolVersion};
use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;

/// Which end of a connection we are, and with what.
#[derive(Clone, Copy)]
pub enum Side<'a> {
    Server(&'a Acceptor),
    Client {
        connector: &'a Connector,
        /// The host we want to speak to: a name, which is also sent (SNI), or an address.
        name: &'a str,
        /// Whether the certificate has to be that host's; otherwise any is taken.
        must_verify: bool,
    },
}

/// How a connection is protected, after the handshake:
/// "TLSv1.3:TLS_AES_256_GCM_SHA384:X25519MLKEM768:unverified".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protection {
    pub version: &'static str,
    /// The name in IANA's list of TLS cipher suites.
    pub suite: String,
    /// The key exchange, by its name in IANA's list of TLS supported groups; none where a session of TLS
    /// 1.2 was resumed, which exchanges no keys.
    pub group: Option<String>,
    /// Whether the other side proved to be the host that was asked for; none where we do not ask.
    pub is_verified: Option<bool>,
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.version, self.suite)?;
        if let Some(group) = &self.group {
            write!(f, ":{group}")?;
        }
        match self.is_verified {
            None => Ok(()),
            Some(true) => f.write_str(":verified"),
            Some(false) => f.write_str(":unverified"),
        }
    }
}

impl Side<'_> {
    /// The protection after a finished handshake.
    pub(super) fn protection(&self, layer: &Layer) -> io::Result<Protection> {
        let (Some(version), Some(suite)) = (layer.version(), layer.suite()) else {
            return Err(ErrorKind::NotConnected.into());
        };
        let is_verified = match self {
            Side::Server(_) => None,
            // Any other host would have failed in the handshake.
            Side::Client { must_verify: true, .. } => Some(true),
            Side::Client { connector, name, .. } => {
                Some(connector.is_verified(layer.certificates(), name))
            }
        };
        let (version, suite) = (version_name(version), suite_name(suite));
        Ok(Protection { version, suite, group: layer.group().map(group_name), is_verified })
    }
}

/// An error of TLS in words, where another protocol than mail is spoken under it.
pub(super) fn told(error: &rustls::Error) -> String {
    words::words(error, &[])
}

/// The algorithms: those of AWS-LC, X25519MLKEM768 first.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn version_name(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_3 => "TLSv1.3",
        ProtocolVersion::TLSv1_2 => "TLSv1.2",
        _ => "TLS",
    }
}

/// RFC 8314 §4.3: a name of IANA's list, or the number.
fn suite_name(suite: CipherSuite) -> String {
    match suite.as_str() {
        // rustls marks those of TLS 1.3, IANA does not.
        Some(name) => name.replacen("TLS13_", "TLS_", 1),
        None => format!("0x{:04X}", u16::from(suite)),
    }
}

/// The same for a group.
fn group_name(group: NamedGroup) -> String {
    let number = || format!("0x{:04X}", u16::from(group));
    group.as_str().map_or_else(number, str::to_owned)
}
