//! The machine's own settings for DNS: its servers ([`super::resolv`]) and its hosts (hosts(5)).

use super::DnsFault;
use super::ask::Servers;
use super::driver::Driver;
use super::resolv::{self, RESOLV_CONF};
use crate::config;
use crate::limits::{DNS_CACHE, DNS_NEGATIVE_TTL, DNS_PAYLOAD};
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, Resolver};
use nix::sys::stat::stat;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// hickory's own deadline, which must never come before ours: an hour is longer than any list of servers
/// takes.
const NEVER: Duration = Duration::from_secs(3600);

/// The current setup, made at the first question and again after each change of the files.
pub struct System {
    config: config::Dns,
    setup: RwLock<Option<Arc<Setup>>>,
}

/// What a question needs; it is kept until the question is answered.
pub struct Setup {
    pub hickory: Resolver<Driver>,
    pub servers: Arc<Servers>,
    /// `dns.trust_ad`.
    pub trusts_ad: bool,
    hosts: Hosts,
    stamps: [SystemStamp; 2],
}

/// What shows that a file has changed: device, inode, size and time.
type SystemStamp = Option<(u64, u64, i64, i64, i64)>;

impl System {
    pub fn new(config: &config::Dns) -> System {
        System { config: config.clone(), setup: RwLock::default() }
    }

    /// The same settings, with nothing remembered.
    pub fn anew(&self) -> System {
        System::new(&self.config)
    }

    /// The setup for one question; files that have changed are read again. Fails only where there was no
    /// setup before.
    pub fn setup(&self) -> Result<Arc<Setup>, DnsFault> {
        let now = stamps(&self.config);
        let old = self.setup.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(same) = old.as_ref().filter(|old| old.stamps == now) {
            return Ok(same.clone());
        }
        match (Setup::new(&self.config, now), old) {
            (Ok(new), _) => {
                let new = Arc::new(new);
                *self.setup.write().unwrap_or_else(PoisonError::into_inner) = Some(new.clone());
                Ok(new)
            }
            (Err(_), Some(old)) => Ok(old),
            (Err(error), None) => Err(error),
        }
    }
}

impl Setup {
    fn new(config: &config::Dns, stamps: [SystemStamp; 2]) -> Result<Setup, DnsFault> {
        let servers = resolv::servers(&config.servers);
        let servers = Arc::new(Servers::new(servers, config.timeout, config.trust_ad));
        let driver = Driver::new(servers.clone());
        // hickory sees one server, because tries and fail-over are ours (see `ask`). This address is never
        // used.
        let one = NameServerConfig::udp(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let parts = ResolverConfig::from_parts(None, Vec::new(), vec![one]);
        let mut builder = Resolver::builder_with_config(parts, driver);
        *builder.options_mut() = options();
        Ok(Setup {
            hickory: builder.build().map_err(DnsFault::broken)?,
            servers,
            trusts_ad: config.trust_ad,
            hosts: Hosts::from_system().unwrap_or_default(),
            stamps,
        })
    }

    /// Addresses of a name in /etc/hosts, IPv6 first.
    pub fn listed(&self, name: &Name) -> Vec<IpAddr> {
        let mut found = Vec::new();
        for kind in [RecordType::AAAA, RecordType::A] {
            let lookup = self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
            let records = lookup.iter().flat_map(|lookup| lookup.answers());
            found.extend(records.filter_map(|record| record.data.ip_addr()));
        }
        found
    }
}

fn options() -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.timeout = NEVER;
    options.attempts = 0;
    options.num_concurrent_reqs = 1;
    options.edns0 = true;
    options.edns_payload_len = DNS_PAYLOAD;
    options.cache_size = DNS_CACHE;
    options.negative_max_ttl = Some(DNS_NEGATIVE_TTL);
    options.use_hosts_file = ResolveHosts::Never; // `Setup::listed` reads it
    options
}

/// Stamps of the files that are read. This costs two system calls, little against a question over the
/// network.
fn stamps(config: &config::Dns) -> [SystemStamp; 2] {
    let resolv = config.servers.is_empty().then(|| stamp(RESOLV_CONF)).flatten();
    [resolv, stamp("/etc/hosts")]
}

fn stamp(path: &str) -> SystemStamp {
    let stat = stat(path).ok()?;
    Some((stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn setup(hosts: &str) -> Setup {
        let servers = vec![SocketAddr::from(([127, 0, 0, 1], 9)).into()];
        let config = config::Dns { servers, timeout: Duration::from_secs(1), trust_ad: false };
        let mut setup = Setup::new(&config, [None; 2]).unwrap();
        setup.hosts = Hosts::default();
        setup.hosts.read_hosts_conf(hosts.as_bytes()).unwrap();
        setup
    }

    #[test]
    fn names_in_etc_hosts() {
        let setup = setup("192.0.2.1 Mx.Test mx # a comment\n2001:db8::1 mx.test\nnonsense x\n");
        let listed = |name: &str| setup.listed(&Name::from_ascii(name).unwrap());
        let both: [IpAddr; 2] = ["2001:db8::1".parse().unwrap(), "192.0.2.1".parse().unwrap()];
        assert_eq!(listed("mx.test."), both);
        assert_eq!(listed("MX."), both[1..]);
        assert!(listed("x.").is_empty() && listed("mx.test.test.").is_empty());
    }

    #[test]
    fn a_changed_file_makes_a_new_setup() {
        let config =
            config::Dns { servers: Vec::new(), timeout: Duration::from_secs(1), trust_ad: false };
        let system = System::new(&config);
        let first = system.setup().unwrap();
        assert!(Arc::ptr_eq(&first, &system.setup().unwrap()));
        let old = Setup::new(&config, [Some((0, 0, 0, 0, 0)), None]).unwrap();
        *system.setup.write().unwrap() = Some(Arc::new(old));
        let second = system.setup().unwrap();
        assert_eq!(second.stamps, first.stamps);
        assert!(Arc::ptr_eq(&second, &system.setup().unwrap()));
    }
}
