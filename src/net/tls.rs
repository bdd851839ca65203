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
mod dane;
mod der;
mod layer;
#[cfg(test)]
mod tests;
mod tlsa;
mod words;

pub use accept::{Acceptor, BadPair, Flaw, Half, date};
pub use authorities::authorities;
pub use connect::Connector;
pub use dane::UsableRecords;
pub use layer::Layer;
pub use tlsa::Chain;

use crate::smtp::tls_failure::TlsTrouble;
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
        /// What the certificate has to show.
        wanted: WantedProof<'a>,
    },
}

/// What a host's certificate has to show.
#[derive(Clone, Copy)]
pub enum WantedProof<'a> {
    /// Nothing: any is taken, and looked at.
    Nothing,
    /// The name of the host, by the authorities of this system.
    Authorities,
    /// That it fits one of these records; and one of these names, where it stands below a trust anchor of
    /// theirs.
    Records(&'a UsableRecords, &'a [String]),
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
    /// By what the other side proved to be the host that was asked for; none where we do not ask.
    pub proof: Option<PeerProof>,
    /// Why the certificate is not one for the host's name by the authorities of this system, where any was taken.
    pub flaw: Option<TlsTrouble>,
}

/// What shows that the other side is the host that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerProof {
    /// Nothing: any certificate was taken, and this one says nothing.
    Nothing,
    /// A certificate for its name, by the authorities of this system.
    Authorities,
    /// The same, and the MTA-STS policy of the recipient's domain names the host (RFC 8461).
    Policy,
    /// TLSA records (RFC 7672).
    Records,
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.version, self.suite)?;
        if let Some(group) = &self.group {
            write!(f, ":{group}")?;
        }
        match self.proof {
            None => Ok(()),
            Some(PeerProof::Nothing) => f.write_str(":unverified"),
            Some(PeerProof::Authorities) => f.write_str(":verified"),
            Some(PeerProof::Policy) => f.write_str(":mta-sts"),
            Some(PeerProof::Records) => f.write_str(":dane"),
        }
    }
}

impl Side<'_> {
    /// The protection after a finished handshake.
    pub(super) fn protection(&self, layer: &Layer) -> io::Result<Protection> {
        let (Some(version), Some(suite)) = (layer.version(), layer.suite()) else {
            return Err(ErrorKind::NotConnected.into());
        };
        let mut flaw = None;
        let proof = match self {
            Side::Server(_) => None,
            // Any other host would have failed in the handshake.
            Side::Client { wanted: WantedProof::Authorities, .. } => Some(PeerProof::Authorities),
            Side::Client { wanted: WantedProof::Records(..), .. } => Some(PeerProof::Records),
            Side::Client { wanted: WantedProof::Nothing, connector, name } => {
                flaw = connector.verify(layer.certificates(), name).err();
                Some(if flaw.is_none() { PeerProof::Authorities } else { PeerProof::Nothing })
            }
        };
        let (version, suite) = (version_name(version), suite_name(suite));
        Ok(Protection { version, suite, group: layer.group().map(group_name), proof, flaw })
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
