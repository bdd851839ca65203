//! Where Postfix listens, by master.cf, inet_interfaces and inet_protocols, as `[listen]` of ours. Pure.

use super::lines::words;
use super::main_cf::MainCf;
use super::master_cf::{PortUse, PostfixService};
use crate::config::Listen;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The addresses of all services, and words for what has no counterpart. `has_ipv6`: whether this kernel has it.
pub fn listen(main: &MainCf, services: &[PostfixService], has_ipv6: bool) -> (Listen, Vec<String>) {
    let mut listen = Listen::default();
    let mut remarks = Vec::new();
    let interfaces = interfaces(main, has_ipv6, &mut remarks);
    for service in services.iter().filter(|service| service.is_smtp_server()) {
        let place = format!("master.cf:{}: {}", service.line, service.name);
        let list = match service.port_use() {
            PortUse::Smtp => &mut listen.smtp,
            PortUse::Submission => &mut listen.submission,
            PortUse::Submissions => &mut listen.submissions,
            PortUse::Other => {
                remarks.push(format!(
                    "{place}: not taken over: a port for mail that a filter gives back is of no use here ([[milter]]); another port \
                     for mail goes into [listen]"
                ));
                continue;
            }
        };
        let addresses: Vec<IpAddr> = match service.host() {
            None => interfaces.clone(),
            Some("localhost") => loopback(main, has_ipv6),
            Some(host) => match host.parse() {
                Ok(address) => vec![address],
                Err(_) => {
                    remarks.push(format!("{place}: write the address of {host} into [listen]; until then all are listened on"));
                    any(main, has_ipv6)
                }
            },
        };
        let port = service.port().unwrap_or_default();
        for address in addresses.into_iter().map(|address| SocketAddr::new(address, port)) {
            if !list.contains(&address) {
                list.push(address);
            }
        }
        remarks.extend(options(service, &place));
    }
    let has_logins = main.flag("smtpd_sasl_auth_enable");
    if has_logins && listen.submission.is_empty() && listen.submissions.is_empty() {
        let at = |port| interfaces.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
        (listen.submission, listen.submissions) = (at(587), at(465));
        remarks.push(
            "smtpd_sasl_auth_enable: users logged in on port 25; here they do on 587 (STARTTLS) and 465 (TLS): change that in \
             their mail programs"
                .to_owned(),
        );
    }
    (listen, remarks)
}

/// `-o` of a service that changes more than a service of ours does by itself.
fn options(service: &PostfixService, place: &str) -> Vec<String> {
    const USUAL: [&str; 18] = [
        "syslog_name",
        "smtpd_tls_security_level",
        "smtpd_tls_wrappermode",
        "smtpd_tls_auth_only",
        "smtpd_sasl_auth_enable",
        "smtpd_sasl_type",
        "smtpd_sasl_path",
        "smtpd_sasl_security_options",
        "smtpd_sasl_tls_security_options",
        "smtpd_sasl_local_domain",
        "smtpd_reject_unlisted_recipient",
        "milter_macro_daemon_name",
        "smtpd_relay_restrictions",
        "smtpd_client_restrictions",
        "smtpd_helo_restrictions",
        "smtpd_recipient_restrictions",
        "smtpd_sender_restrictions",
        "cleanup_service_name",
    ];
    let is_strange = |(name, value): &(&String, &String)| {
        let is_usual = USUAL.contains(&name.as_str());
        // A set of restrictions that is not about logins says something of its own.
        let is_check =
            name.ends_with("_restrictions") && (value.contains("check_") || value.contains("_rbl"));
        !is_usual || is_check
    };
    let strange = service.options.iter().filter(is_strange);
    strange
        .map(|(name, value)| format!("{place}: -o {name}={value}: a service has no settings of its own here: see main.cf's {name} above, or \
                                      docs/configuration.md"))
        .collect()
}

/// The addresses of `inet_interfaces`.
fn interfaces(main: &MainCf, has_ipv6: bool, remarks: &mut Vec<String>) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = Vec::new();
    for word in words(&main.text("inet_interfaces")) {
        let bare = word.trim_matches(['[', ']']);
        let more = match bare {
            "all" => any(main, has_ipv6),
            "loopback-only" | "localhost" => loopback(main, has_ipv6),
            text => match text.parse::<IpAddr>() {
                Ok(address) => vec![address],
                Err(_) => {
                    remarks.push(format!(
                        "inet_interfaces: {word}: write its address into [listen]; until then all are listened on"
                    ));
                    any(main, has_ipv6)
                }
            },
        };
        found.extend(
            more.into_iter().filter(|address| !found.contains(address)).collect::<Vec<_>>(),
        );
    }
    // Every address takes what a single one would.
    if let Some(all) = found.iter().find(|address| address.is_unspecified()).copied() {
        return vec![all];
    }
    if found.is_empty() { any(main, has_ipv6) } else { found }
}

fn any(main: &MainCf, has_ipv6: bool) -> Vec<IpAddr> {
    // IPv6's any address takes IPv4 as well.
    vec![match has_ipv6 && speaks(main, "ipv6") {
        true => Ipv6Addr::UNSPECIFIED.into(),
        false => Ipv4Addr::UNSPECIFIED.into(),
    }]
}

fn loopback(main: &MainCf, has_ipv6: bool) -> Vec<IpAddr> {
    let both = [
        (speaks(main, "ipv4"), IpAddr::from(Ipv4Addr::LOCALHOST)),
        (speaks(main, "ipv6") && has_ipv6, IpAddr::from(Ipv6Addr::LOCALHOST)),
    ];
    both.into_iter().filter(|(is_used, _)| *is_used).map(|(_, address)| address).collect()
}

/// Whether `inet_protocols` has this one.
pub fn speaks(main: &MainCf, protocol: &str) -> bool {
    let list = main.text("inet_protocols");
    words(&list).iter().any(|word| word == "all" || word == protocol)
}

#[cfg(test)]
mod tests {
    use super::super::main_cf::SystemNames;
    use super::super::master_cf::services;
    use super::*;

    fn read(main: &str, master: &str) -> (String, Vec<String>) {
        let (main, _) = MainCf::parse(main.as_bytes(), SystemNames::default());
        let (listen, remarks) = super::listen(&main, &services(master.as_bytes()), true);
        let all = |list: &[SocketAddr]| {
            list.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" ")
        };
        (
            format!(
                "{} | {} | {}",
                all(&listen.smtp),
                all(&listen.submission),
                all(&listen.submissions)
            ),
            remarks,
        )
    }

    #[test]
    fn services_and_interfaces() {
        let smtp = "smtp inet n - y - - smtpd\n";
        let three = "smtp inet n - y - - smtpd\nsubmission inet n - y - - smtpd -o smtpd_tls_security_level=encrypt\n\
                     smtps inet n - y - - smtpd -o smtpd_tls_wrappermode=yes -o content_filter=x:[a]:1\n\
                     127.0.0.1:10025 inet n - n - - smtpd\n";
        for (main, master, expected, remarks) in [
            ("", smtp, "[::]:25 |  | ", 0),
            ("inet_protocols = ipv4", smtp, "0.0.0.0:25 |  | ", 0),
            ("inet_interfaces = loopback-only", smtp, "127.0.0.1:25 [::1]:25 |  | ", 0),
            (
                "inet_interfaces = 192.0.2.1, [2001:db8::1], 127.0.0.1",
                smtp,
                "192.0.2.1:25 [2001:db8::1]:25 127.0.0.1:25 |  | ",
                0,
            ),
            ("inet_interfaces = mx.test, 127.0.0.1", smtp, "[::]:25 |  | ", 1),
            ("", three, "[::]:25 | [::]:587 | [::]:465", 2),
            ("smtpd_sasl_auth_enable = yes", smtp, "[::]:25 | [::]:587 | [::]:465", 1),
            ("", "127.0.0.1:smtp inet n - y - - postscreen\n", "127.0.0.1:25 |  | ", 0),
            ("", "", " |  | ", 0),
        ] {
            let (shown, said) = read(main, master);
            assert_eq!((shown.as_str(), said.len()), (expected, remarks), "{main}: {said:#?}");
        }
    }
}
