//! The way that mail for another host takes, by the configuration alone, without DNS.

use crate::config::{Config, HostPort, LmtpServer};
use crate::mail::address::{Domain, Host, literal};
use std::fmt;
use std::net::IpAddr;

/// How mail for a host finds its next hop; mail of the same way can share a connection. "far.test by MX"
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Way {
    /// To the MX hosts of a domain (RFC 5321 §5.1), at `relay.port`.
    Mx(Domain),
    /// By a `relay.route`; all domains with this next hop share the way.
    Route(HostPort),
    Smarthost(HostPort),
    /// To an address literal (RFC 5321 §4.1.3), at `relay.port`; an IPv4-mapped address is written as IPv4.
    Literal(IpAddr),
    /// To the server that keeps the mail of a domain here.
    Lmtp(LmtpServer),
}

/// The way for a host: its most specific `relay.route`, else the smarthost, else its MX or address. The
/// smarthost takes address literals too; routes are for names only. A domain that this host is a backup for
/// goes to its better MX: a smarthost would send it back here while that one is away.
pub fn way(config: &Config, host: &Host) -> Way {
    if let Host::Domain(domain) = host
        && let Some(next_hop) = routed(config, domain)
    {
        return Way::Route(next_hop.clone());
    }
    if let Host::Domain(domain) = host
        && config.relay.backup_of(domain).is_some()
    {
        return Way::Mx(domain.clone());
    }
    match (&config.relay.smarthost, host) {
        (Some(smarthost), _) => Way::Smarthost(smarthost.clone()),
        (None, Host::Domain(domain)) => Way::Mx(domain.clone()),
        (None, Host::Literal(address)) => Way::Literal(address.to_canonical()),
    }
}

/// The most specific route: the whole name before a suffix, and a longer suffix before a shorter one.
fn routed<'a>(config: &'a Config, domain: &Domain) -> Option<&'a HostPort> {
    let name = domain.as_str();
    // A suffix begins with a dot, so the domain itself does not match it.
    let fits = |key: &str| key == name || key.starts_with('.') && name.ends_with(key);
    let fitting = config.relay.route.iter().filter(|(key, _)| fits(key));
    // The whole name is longer than each of its suffixes.
    fitting.max_by_key(|(key, _)| key.len()).map(|(_, next_hop)| next_hop)
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Mx(domain) => write!(f, "{domain} by MX"),
            Way::Route(next_hop) => write!(f, "route {next_hop}"),
            Way::Smarthost(next_hop) => write!(f, "smarthost {next_hop}"),
            Way::Literal(address) => write!(f, "literal {}", literal(*address)),
            Way::Lmtp(server) => write!(f, "LMTP {server}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::address::Mailbox;
    use std::collections::{BTreeSet, HashSet};
    use std::path::Path;

    fn shown(config: &Config, host: &str) -> String {
        let mailbox = Mailbox::parse(&format!("ann@{host}")).unwrap();
        way(config, &mailbox.host).to_string()
    }

    fn config(relay: &str) -> Config {
        let text = format!("hostname = \"mx.test\"\n[relay]\nnetworks = [\"10.0.0.0/8\"]\n{relay}");
        Config::parse(&text, Path::new("facteur.toml")).unwrap()
    }

    #[test]
    fn the_most_specific_route_wins_then_the_smarthost_then_mx() {
        let routes = "[relay.route]\n\"example.net\" = \"127.0.0.1:1\"\n\
                      \".example.net\" = \"127.0.0.1:2\"\n\".b.example.net\" = \"[::1]:3\"\n\
                      \"x.b.example.net\" = \"one.test:4\"\n\"b\u{fc}cher.test\" = \"127.0.0.1:5\"\n";
        let (without, with) =
            (config(routes), format!("smarthost = \"smtp.isp.test:587\"\n{routes}"));
        let with = config(&with);
        for (host, routed) in [
            ("example.net", "route 127.0.0.1:1"),
            ("EXAMPLE.net", "route 127.0.0.1:1"),
            ("a.example.net", "route 127.0.0.1:2"),
            ("b.example.net", "route 127.0.0.1:2"),
            ("a.b.example.net", "route [::1]:3"),
            ("x.b.example.net", "route one.test:4"),
            ("y.x.b.example.net", "route [::1]:3"),
            ("b\u{fc}cher.test", "route 127.0.0.1:5"),
            ("xn--bcher-kva.test", "route 127.0.0.1:5"),
        ] {
            assert_eq!((shown(&without, host), shown(&with, host)), (routed.into(), routed.into()));
        }
        for (host, own) in [
            ("notexample.net", "notexample.net by MX"),
            ("net", "net by MX"),
            ("Fern.B\u{fc}cher.test", "fern.xn--bcher-kva.test by MX"),
            ("[192.0.2.1]", "literal [192.0.2.1]"),
            ("[IPv6:2001:DB8::1]", "literal [IPv6:2001:db8::1]"),
            ("[IPv6:::ffff:192.0.2.1]", "literal [192.0.2.1]"),
        ] {
            assert_eq!(shown(&without, host), own);
            assert_eq!(shown(&with, host), "smarthost smtp.isp.test:587", "{host}");
        }
    }

    #[test]
    fn a_backup_goes_to_its_mx_or_where_it_is_routed() {
        let config = config(
            "smarthost = \"smtp.isp.test:587\"\n[relay.route]\n\"two.test\" = \"h.test:25\"\n\
             [relay.backup]\n\"one.test\" = \"\"\n\"two.test\" = \"\"\n",
        );
        assert_eq!(shown(&config, "one.test"), "one.test by MX");
        assert_eq!(shown(&config, "two.test"), "route h.test:25");
        assert_eq!(shown(&config, "sub.one.test"), "smarthost smtp.isp.test:587");
    }

    #[test]
    fn a_way_is_a_key() {
        let config =
            config("[relay.route]\n\"one.test\" = \"h.test:25\"\n\"two.test\" = \"h.test:25\"");
        let ways = ["one.test", "two.test", "far.test", "FAR.test"]
            .map(|host| way(&config, &Mailbox::parse(&format!("ann@{host}")).unwrap().host));
        let sorted: BTreeSet<_> = ways.iter().collect();
        assert_eq!((sorted.len(), ways.iter().collect::<HashSet<_>>().len()), (2, 2));
    }
}
