//! Mail for other hosts: relayhost, transport(5), passwords for next hops, and the domains that Postfix relays for
//! anybody. Pure.

use super::maps::Maps;
use super::master_cf::port_number;
use crate::config::{HostPort, LmtpServer};
use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

/// Where mail goes by an entry of transport(5), or by a setting of that form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// By SMTP to this host; `by_mx`: Postfix looks for its MX.
    Smtp {
        host: HostPort,
        by_mx: bool,
    },
    /// By SMTP to the MX of the recipient's domain.
    Mx,
    Lmtp(LmtpServer),
    /// By Postfix's own delivery (`local`, `virtual`).
    Here,
    /// Nothing is said: the usual way.
    Usual,
    /// `error`, `discard`, a program: as it is written.
    Other(String),
}

/// `relayhost` and the next hop of a transport: `[host]:port`, `host:port`, `host`. The flag: no brackets, so that
/// Postfix looks for MX.
pub fn next_hop(text: &str, port: u16) -> Option<(HostPort, bool)> {
    let text = text.trim();
    let (host, rest, by_mx) = match text.strip_prefix('[') {
        Some(inside) => {
            let (host, rest) = inside.split_once(']')?;
            (host, rest.strip_prefix(':'), false)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port), true),
            None => (text, None, true),
        },
    };
    let port = match rest {
        None | Some("") => port,
        Some(port) => port_number(port)?,
    };
    let ip = host.strip_prefix("ipv6:").or_else(|| host.strip_prefix("IPv6:")).unwrap_or(host);
    let host = match ip.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => host.trim_end_matches('.').to_ascii_lowercase(),
    };
    let is_name =
        crate::mail::address::Domain::of_host(&host).is_ok() || host.parse::<Ipv6Addr>().is_ok();
    (is_name && port > 0).then_some((HostPort { host, port }, by_mx))
}

/// A value of transport(5), `virtual_transport` and the like. `queue`: Postfix's queue directory, where its sockets are.
pub fn transport(text: &str, queue: &Path) -> Transport {
    let text = text.trim();
    let (name, hop) = text.split_once(':').unwrap_or((text, ""));
    let hop = hop.trim();
    match name {
        "" if hop.is_empty() => Transport::Usual,
        "" | "smtp" | "relay" if !hop.is_empty() => match next_hop(hop, 25) {
            Some((host, by_mx)) => Transport::Smtp { host, by_mx },
            None => Transport::Other(text.to_owned()),
        },
        "smtp" | "relay" => Transport::Mx,
        "local" | "virtual" => Transport::Here,
        "lmtp" => match lmtp(hop, queue) {
            Some(server) => Transport::Lmtp(server),
            None => Transport::Other(text.to_owned()),
        },
        _ => Transport::Other(text.to_owned()),
    }
}

/// `unix:private/dovecot-lmtp`, `inet:host:port`.
fn lmtp(hop: &str, queue: &Path) -> Option<LmtpServer> {
    match hop.split_once(':') {
        Some(("unix", path)) if !path.is_empty() => Some(LmtpServer::Unix(queue.join(path))),
        _ => {
            let hop = hop.strip_prefix("inet:").unwrap_or(hop);
            next_hop(hop, 24).map(|(host, _)| LmtpServer::Inet(host))
        }
    }
}

/// User and password for a next hop, by the forms in which smtp_sasl_passwd is asked: as it is written, then its host.
pub fn login(relayhost: &str, passwords: &Maps) -> Option<(String, String)> {
    let bare = relayhost.trim().trim_start_matches('[');
    let host = bare.split([']', ':']).next().unwrap_or_default();
    let value = passwords.get(relayhost.trim()).or_else(|| passwords.get(host))?;
    let (user, password) = value.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::maps::MapEntry;
    use super::*;

    #[test]
    fn hosts() {
        for (text, expected) in [
            ("[smtp.example.net]:submission", "smtp.example.net:587"),
            ("[Smtp.example.net]", "smtp.example.net:25"),
            ("example.net", "example.net:25 mx"),
            ("example.net:2525", "example.net:2525 mx"),
            ("[192.0.2.1]:465", "192.0.2.1:465"),
            ("[ipv6:2001:db8::1]:587", "[2001:db8::1]:587"),
            ("[2001:db8::1]", "[2001:db8::1]:25"),
        ] {
            let (host, by_mx) = next_hop(text, 25).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(format!("{host}{}", if by_mx { " mx" } else { "" }), expected);
        }
        for text in ["", "[", "[a]:nothing", "a b", "[a]:0", "a:99999"] {
            assert_eq!(next_hop(text, 25), None, "{text}");
        }
    }

    #[test]
    fn transports() {
        let queue = Path::new("/var/spool/postfix");
        let smtp = |host: &str, by_mx| {
            let (host, _) = next_hop(host, 25).unwrap();
            Transport::Smtp { host, by_mx }
        };
        for (text, expected) in [
            ("smtp:[10.0.0.1]:26", smtp("[10.0.0.1]:26", false)),
            ("relay:mail.example", smtp("mail.example", true)),
            (":[a.example]", smtp("[a.example]", false)),
            (":", Transport::Usual),
            ("smtp:", Transport::Mx),
            ("smtp", Transport::Mx),
            ("virtual", Transport::Here),
            (
                "lmtp:unix:private/dovecot-lmtp",
                Transport::Lmtp(LmtpServer::Unix("/var/spool/postfix/private/dovecot-lmtp".into())),
            ),
            (
                "lmtp:inet:localhost:2003",
                Transport::Lmtp(LmtpServer::Inet(HostPort {
                    host: "localhost".into(),
                    port: 2003,
                })),
            ),
            (
                "lmtp:[127.0.0.1]",
                Transport::Lmtp(LmtpServer::Inet(HostPort { host: "127.0.0.1".into(), port: 24 })),
            ),
            ("error:5.1.1 gone", Transport::Other("error:5.1.1 gone".into())),
            ("dovecot", Transport::Other("dovecot".into())),
        ] {
            assert_eq!(transport(text, queue), expected, "{text}");
        }
    }

    #[test]
    fn logins() {
        let entry =
            |key: &str, value: &str| MapEntry { key: key.to_owned(), value: value.to_owned() };
        let entries = vec![
            entry("[smtp.example.net]:587", "me@example.net:a:b"),
            entry("other.example", "x:y"),
        ];
        let maps = Maps { entries, ..Maps::default() };
        let found =
            |host: &str| login(host, &maps).map(|(user, password)| format!("{user} {password}"));
        assert_eq!(found("[smtp.example.net]:587").as_deref(), Some("me@example.net a:b"));
        assert_eq!(found("[other.example]:25").as_deref(), Some("x y"));
        assert_eq!(found("[smtp.example.net]:25"), None);
    }
}
