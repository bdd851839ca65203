//! Who sent a message, as far as it can be proved: SPF, DKIM, ARC, DMARC, and the field that says so.
//!
//! Pure, as `smtp` is: octets, answers of DNS and the time of day go in; questions, findings and their
//! reasons come out. Each voice has a file of its own and asks through [`Ask`]; what a question costs, how
//! many there may be and how long they may take is decided by the asker, which answers [`QueryAnswer::Failed`]
//! when its bounds are reached. A finding says "no" only where an answer said it: what DNS did not tell
//! is a temporary error. Nothing here decides what becomes of a message; that is policy.

pub mod arc;
pub mod blocklist;
pub mod canonical;
pub mod dkim;
pub mod dmarc;
pub mod findings;
pub mod forged;
pub mod gather;
pub mod name;
pub mod raw;
pub mod results;
pub mod spf;

use name::Name;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is asked about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QueryType {
    A,
    Aaaa,
    Mx,
    Ptr,
    Txt,
}

/// One record of the kind that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourceRecord {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Mx {
        preference: u16,
        host: Name,
    },
    Ptr(Name),
    /// The strings of one record, joined without anything between them (RFC 7208 §3.3).
    Txt(Vec<u8>),
}

/// What DNS says to a question; aliases have been followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryAnswer {
    /// At least one record of the kind.
    Records(Vec<ResourceRecord>),
    /// The name is there, but has no record of the kind.
    NoRecords,
    /// There is no such name (RFC 8020).
    NoName,
    /// DNS did not say: no answer, an error of a server, or a bound that is reached. In plain words, with
    /// the server where one is known.
    Failed(String),
}

/// Who answers: the process's resolver within the bounds of a message, or a table in tests.
pub trait Ask {
    fn ask(&mut self, name: &Name, kind: QueryType) -> QueryAnswer;
}

/// The addresses of a name in the family of `client`.
pub fn addresses_of(ask: &mut dyn Ask, name: &Name, client: IpAddr) -> QueryAnswer {
    ask.ask(name, if client.is_ipv4() { QueryType::A } else { QueryType::Aaaa })
}
