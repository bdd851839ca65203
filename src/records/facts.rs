//! What this host is, as far as its records say it: addresses and certificate.

use super::asker::{RecordsAsker, ShownRecords};
use crate::config::Config;
use crate::limits::records::OWN_ADDRESSES_MAX;
use crate::net::dns::{Record, RecordKind};
use crate::net::interfaces;
use crate::net::public::is_public;
use crate::net::tls::Chain;
use std::net::IpAddr;

/// What records are made of beside the configuration.
#[derive(Clone, Debug, Default)]
pub struct HostFacts {
    /// Where others reach us, and from where we send; IPv4 first, each once.
    pub addresses: Vec<OwnAddress>,
    /// The certificates that we show, or why they cannot be read; none without `[tls]`.
    pub chain: Option<Result<Chain, String>>,
}

/// An address of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnAddress {
    pub address: IpAddr,
    pub source: AddressSource,
}

/// How an address is known to be ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressSource {
    /// One of our interfaces has it, and all the world can reach it.
    Interface,
    /// DNS gives it to our host name. No interface has an address of its kind that all the world can reach.
    Dns,
    /// One of our interfaces has it, but only the network around us can reach it.
    Inside,
}

impl AddressSource {
    pub(super) fn mark(self) -> Option<String> {
        match self {
            AddressSource::Interface => None,
            AddressSource::Dns => Some(
                "as DNS has it: no interface of this host has a public address of this kind"
                    .to_owned(),
            ),
            AddressSource::Inside => Some("put the public address of this host here".to_owned()),
        }
    }
}

impl HostFacts {
    /// Finds the addresses by the interfaces, and where these have none that are public, by DNS.
    pub fn find(
        config: &Config,
        chain: Option<Result<Chain, String>>,
        asker: &mut RecordsAsker<'_>,
    ) -> HostFacts {
        let mut addresses = Vec::new();
        for kind in [RecordKind::A, RecordKind::Aaaa] {
            let public = public(&interfaces(), kind);
            match public.is_empty() {
                false => addresses.extend(public),
                true => addresses.extend(by_dns(config, kind, asker)),
            }
        }
        addresses.truncate(OWN_ADDRESSES_MAX);
        HostFacts { addresses, chain }
    }

    /// The same without a question: where no interface has a public address, those that there are.
    pub fn without_dns(chain: Option<Result<Chain, String>>) -> HostFacts {
        let all = interfaces();
        let mut addresses = public(&all, RecordKind::A);
        addresses.extend(public(&all, RecordKind::Aaaa));
        if addresses.is_empty() {
            let inside = |address: &&IpAddr| !address.is_loopback() && !is_link_local(**address);
            let inside: Vec<&IpAddr> = all.iter().filter(inside).collect();
            let inside = if inside.is_empty() { all.iter().collect() } else { inside };
            // The one that most likely is changed into the public one on its way out.
            let first = inside.iter().find(|address| address.is_ipv4()).or(inside.first());
            let source = AddressSource::Inside;
            addresses.extend(first.map(|address| OwnAddress { address: **address, source }));
        }
        addresses.truncate(OWN_ADDRESSES_MAX);
        HostFacts { addresses, chain }
    }

    /// Whether this is one of our addresses.
    pub fn has(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.address == address)
    }
}

/// The addresses of all interfaces; none where the system does not tell.
fn interfaces() -> Vec<IpAddr> {
    let mut all = interfaces::addresses().unwrap_or_default();
    all.sort();
    all.dedup();
    all
}

fn public(all: &[IpAddr], kind: RecordKind) -> Vec<OwnAddress> {
    let own = all.iter().filter(|address| is_of(**address, kind) && is_public(**address));
    own.map(|address| OwnAddress { address: *address, source: AddressSource::Interface }).collect()
}

fn by_dns(config: &Config, kind: RecordKind, asker: &mut RecordsAsker<'_>) -> Vec<OwnAddress> {
    let shown = asker.look(config.hostname.as_str().as_bytes(), kind);
    let ShownRecords::Records { records, .. } = shown else { return Vec::new() };
    let addresses = records.iter().filter_map(Record::address);
    addresses.map(|address| OwnAddress { address, source: AddressSource::Dns }).collect()
}

pub(super) fn is_of(address: IpAddr, kind: RecordKind) -> bool {
    address.is_ipv4() == (kind == RecordKind::A)
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    }
}
