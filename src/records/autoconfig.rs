//! What programs of users look for beside SRV records: the file by which Thunderbird, K-9 Mail and others set
//! themselves up for an address (Mozilla's autoconfig, `config-v1.1.xml`). A web server has to give it, which is
//! none of ours, as is the IMAP server that it has to name: without one Thunderbird takes no such file.

use super::port;
use crate::config::Config;
use crate::limits::IMAPS_PORT;
use crate::mail::address::Domain;

/// The file, for users of all these domains; none where users cannot log in. All of it but `%EMAILADDRESS%` are names
/// as domains have them, and numbers: nothing in it could be markup.
pub fn autoconfig(config: &Config, domains: &[&Domain]) -> Option<String> {
    let first = domains.first().filter(|_| config.tls.is_some())?;
    let submissions = port(&config.listen.submissions).map(|port| (port, "SSL"));
    let submission = port(&config.listen.submission).map(|port| (port, "STARTTLS"));
    let host = &config.hostname;
    // The one that is preferred comes first (RFC 8314 §3.3).
    let outgoing: String = [submissions, submission]
        .into_iter()
        .flatten()
        .map(|(port, socket)| server("outgoingServer", "smtp", host, port, socket))
        .collect();
    if outgoing.is_empty() {
        return None;
    }
    let names: String =
        domains.iter().map(|domain| format!("    <domain>{domain}</domain>\n")).collect();
    let incoming = server("incomingServer", "imap", host, IMAPS_PORT, "SSL");
    Some(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <clientConfig version=\"1.1\">\n  <emailProvider id=\"{first}\">\n{names}    \
         <displayName>{first}</displayName>\n    <displayShortName>{first}</displayShortName>\n    \
         <!-- Dovecot on the same host; another IMAP server has to be named here. -->\n\
         {incoming}{outgoing}  </emailProvider>\n</clientConfig>\n"
    ))
}

/// Where it has to lie for a domain, without a redirection.
pub fn autoconfig_place(domain: &Domain) -> String {
    format!("https://autoconfig.{domain}/mail/config-v1.1.xml")
}

/// By which name a user logs in is the whole address, which always holds; passwords go over TLS only.
fn server(element: &str, kind: &str, host: &Domain, port: u16, socket: &str) -> String {
    format!(
        "    <{element} type=\"{kind}\">\n      <hostname>{host}</hostname>\n      <port>{port}</port>\n      \
         <socketType>{socket}</socketType>\n      <authentication>password-cleartext</authentication>\n      \
         <username>%EMAILADDRESS%</username>\n    </{element}>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const TLS: &str = "[tls]\ncertificate = \"a\"\nkey = \"a\"\n";

    fn file(listen: &str, tls: &str) -> Option<String> {
        let text = format!(
            "hostname = \"mx.a.test\"\n[listen]\nsmtp = [\"[::]:25\"]\n{listen}\n{tls}\
             [domain.\"a.test\"]\nany_user = true\n"
        );
        let config = Config::parse(&text, Path::new("facteur.toml")).unwrap();
        let domains = ["a.test", "xn--bcher-kva.test"].map(|name| Domain::parse(name).unwrap());
        autoconfig(&config, &[&domains[0], &domains[1]])
    }

    #[test]
    fn only_what_is_listened_on_is_named_and_only_where_users_log_in() {
        let both = "submission = [\"[::]:587\"]\nsubmissions = [\"[::]:465\"]";
        let ports = |text: &str| {
            let rest = text.split("<port>").skip(1);
            rest.map(|rest| rest.split('<').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        for (listen, expected) in [
            (both, vec!["993", "465", "587"]),
            ("submission = [\"[::]:587\"]", vec!["993", "587"]),
            ("submissions = [\"[::]:1465\"]", vec!["993", "1465"]),
        ] {
            assert_eq!(ports(&file(listen, TLS).unwrap()), expected, "{listen}");
        }
        assert_eq!(file("", TLS), None);
        assert_eq!(file("submission = [\"[::]:587\"]", ""), None);
        let text = file(both, TLS).unwrap();
        for line in ["<domain>a.test</domain>", "<domain>xn--bcher-kva.test</domain>"] {
            assert_eq!(text.matches(line).count(), 1, "{text}");
        }
        assert_eq!(text.matches("%EMAILADDRESS%").count(), 3, "{text}");
    }
}
