//! What TLS a host owes us, and by whose word. Said where the hosts of an attempt are found, and held to where
//! its connection is opened; decides nothing itself.

use crate::mail::address::Domain;
use crate::mail::mta_sts::StsPolicy;
use crate::net::dns::Record;
use crate::net::tls::{UsableRecords, WantedProof};
use crate::smtp::client::Secrecy;
use std::fmt;
use std::sync::Arc;

/// What is demanded of a host before it gets mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Nothing, and no TLS is tried, because it has just failed with this host.
    Nothing,
    /// TLS where the host offers it, with any certificate (RFC 7435).
    Offered,
    /// The same, and the owner of an MTA-STS policy that only tests hears how it went (RFC 8461 §5). `is_named`:
    /// whether the policy names the host.
    Tested { policy: Arc<PolicyDemand>, is_named: bool },
    /// TLS with a certificate for the name of the host, by the authorities of this system.
    Pki(PkiDemand),
    /// TLS as the host's TLSA records say (RFC 7672).
    Tlsa(Arc<TlsaDemand>),
}

/// Why a certificate for the host's name is demanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PkiDemand {
    /// The host gets our password.
    Login,
    /// The message says REQUIRETLS (RFC 8689), and no record or policy holds the host to more.
    Wish,
    /// The MTA-STS policy of the recipient's domain names the host (RFC 8461).
    Policy(Arc<PolicyDemand>),
}

/// The part of a policy that reports show (RFC 8460 §4.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyDemand {
    /// Whose policy it is.
    pub domain: Domain,
    /// The lines of the policy; none where there is a record and the policy could not be had.
    pub lines: Vec<String>,
    /// Its patterns of MX hosts.
    pub hosts: Vec<String>,
}

/// The TLSA records of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsaDemand {
    /// The host's name that has the records (RFC 7672 §2.2.3, the TLSA base domain): it is sent as SNI, and
    /// certificates of usage 2 may be for it.
    pub base: String,
    /// The name that was asked, `_25._tcp.mx.example.net`.
    pub question: String,
    /// The names that a certificate of usage 2 may be for, the base first (RFC 7672 §3.2.2).
    pub names: Vec<String>,
    /// All records, never empty.
    pub records: Vec<Record>,
    /// Those that can be used; none: TLS with any certificate is owed (RFC 7672 §2.2).
    pub usable: Option<UsableRecords>,
}

impl PolicyDemand {
    /// Of a policy; none: of a domain whose policy could not be had.
    pub fn of(domain: &Domain, policy: Option<&StsPolicy>) -> PolicyDemand {
        let lines = policy.map_or(Vec::new(), |policy| policy.lines().to_vec());
        let patterns = policy.into_iter().flat_map(|policy| &policy.mx);
        let hosts = patterns.map(ToString::to_string).collect();
        PolicyDemand { domain: domain.clone(), lines, hosts }
    }
}

impl fmt::Display for PolicyDemand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the MTA-STS policy of {}", self.domain)
    }
}

impl Demand {
    /// Whether the host owes TLS, so that nothing goes in the clear.
    pub fn is_owed(&self) -> bool {
        matches!(self, Demand::Pki(_) | Demand::Tlsa(_))
    }

    /// The use of TLS on a connection.
    pub fn secrecy(&self) -> Secrecy {
        match self {
            Demand::Nothing => Secrecy::Never,
            Demand::Offered | Demand::Tested { .. } => Secrecy::Offered,
            Demand::Pki(_) | Demand::Tlsa(_) => Secrecy::Required,
        }
    }

    /// What the certificate has to show.
    pub fn wanted(&self) -> WantedProof<'_> {
        match self {
            Demand::Nothing | Demand::Offered | Demand::Tested { .. } => WantedProof::Nothing,
            Demand::Pki(_) => WantedProof::Authorities,
            Demand::Tlsa(tlsa) => match &tlsa.usable {
                Some(records) => WantedProof::Records(records, &tlsa.names),
                None => WantedProof::Nothing,
            },
        }
    }

    /// Who says that TLS is owed, for people: "TLSA of _25._tcp.mx.example.net". None where nobody else than
    /// we ourselves says it.
    pub fn owed_by(&self) -> Option<String> {
        match self {
            Demand::Nothing | Demand::Offered | Demand::Tested { .. } => None,
            Demand::Pki(PkiDemand::Login) => None,
            Demand::Pki(PkiDemand::Wish) => Some("REQUIRETLS of the message".to_owned()),
            Demand::Pki(PkiDemand::Policy(policy)) => Some(policy.to_string()),
            Demand::Tlsa(tlsa) => Some(format!("TLSA of {}", tlsa.question)),
        }
    }

    /// The name in counters.
    pub fn name(&self) -> &'static str {
        match self {
            Demand::Nothing | Demand::Offered => "offered",
            Demand::Tested { .. } => "mta-sts-testing",
            Demand::Pki(PkiDemand::Login) => "login",
            Demand::Pki(PkiDemand::Wish) => "requiretls",
            Demand::Pki(PkiDemand::Policy(_)) => "mta-sts",
            Demand::Tlsa(_) => "dane",
        }
    }
}
