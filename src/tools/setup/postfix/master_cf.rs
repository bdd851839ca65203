//! master.cf (master(5)): which services listen, and what their `-o` changes. Pure.

use super::lines::{braced, is_blank, logical_lines, split};
use std::collections::BTreeMap;

/// One service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostfixService {
    pub line: usize,
    /// Its first word: `smtp`, `127.0.0.1:10025`, or a transport's name.
    pub name: String,
    /// `inet`, `unix`, ...
    pub kind: String,
    /// The program: `smtpd`, `pipe`.
    pub command: String,
    /// `-o name=value`, as it is written.
    pub options: BTreeMap<String, String>,
    /// The other words behind the program.
    pub arguments: Vec<String>,
}

/// What a port of master.cf is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortUse {
    Smtp,
    Submission,
    Submissions,
    Other,
}

/// All services; a line with too few words is none.
pub fn services(octets: &[u8]) -> Vec<PostfixService> {
    logical_lines(octets).iter().filter_map(|line| service(line.number, &line.text)).collect()
}

fn service(line: usize, text: &str) -> Option<PostfixService> {
    let mut words = split(text, is_blank).into_iter();
    let (name, kind) = (words.next()?, words.next()?);
    // private, unprivileged, chroot, wakeup, limit.
    let command = words.nth(5)?;
    let (mut options, mut arguments) = (BTreeMap::new(), Vec::new());
    while let Some(word) = words.next() {
        let option = match word.strip_prefix("-o") {
            Some("") => words.next(),
            Some(rest) => Some(rest.to_owned()),
            None => {
                arguments.push(word);
                continue;
            }
        };
        let option = option.unwrap_or_default();
        if let Some((name, value)) = braced(&option).unwrap_or(&option).split_once('=') {
            let value = value.trim_matches(is_blank).to_owned();
            options.insert(name.trim_matches(is_blank).to_owned(), value);
        }
    }
    Some(PostfixService { line, name, kind, command, options, arguments })
}

impl PostfixService {
    /// Whether clients are served here by SMTP.
    pub fn is_smtp_server(&self) -> bool {
        matches!(self.kind.as_str(), "inet" | "pass")
            && matches!(self.command.as_str(), "smtpd" | "postscreen")
    }

    /// The host before the port of a listening service; none: those of `inet_interfaces`.
    pub fn host(&self) -> Option<&str> {
        let (host, _) = self.name.rsplit_once(':')?;
        Some(host.trim_matches(['[', ']'])).filter(|host| !host.is_empty())
    }

    /// The number of its port; none where it has none that is known.
    pub fn port(&self) -> Option<u16> {
        let port = self.name.rsplit_once(':').map_or(self.name.as_str(), |(_, port)| port);
        port_number(port)
    }

    /// What its port is for.
    pub fn port_use(&self) -> PortUse {
        let is_wrapped =
            self.options.get("smtpd_tls_wrappermode").is_some_and(|value| value == "yes");
        match self.port() {
            Some(465) => PortUse::Submissions,
            Some(587) if is_wrapped => PortUse::Submissions,
            Some(587) => PortUse::Submission,
            Some(25) => PortUse::Smtp,
            _ => PortUse::Other,
        }
    }
}

/// The number of a port that is written by name or number.
pub fn port_number(text: &str) -> Option<u16> {
    Some(match text {
        "smtp" => 25,
        "submission" => 587,
        "smtps" | "submissions" | "urd" => 465,
        "lmtp" => 24,
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok()?,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_services() {
        let text = b"# c\nsmtp      inet  n       -       y       -       -       smtpd\n\
            submission inet n - y - - smtpd\n  -o syslog_name=postfix/submission\n\
            # -o x=y\n  -osmtpd_tls_security_level=encrypt -o { smtpd_relay_restrictions = permit_sasl_authenticated, reject }\n\
            smtps inet n - y - - smtpd -o smtpd_tls_wrappermode=yes -v\n\
            127.0.0.1:10025 inet n - n - - smtpd\n[::1]:smtp inet n - n - - postscreen\n\
            dovecot unix - n n - - pipe\n  flags=DRhu user=vmail:vmail argv=/usr/lib/dovecot/deliver -d ${recipient}\n\
            short inet n\npickup unix n - y 60 1 pickup\n";
        let all = services(text);
        let names: Vec<_> = all.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(
            names,
            ["smtp", "submission", "smtps", "127.0.0.1:10025", "[::1]:smtp", "dovecot", "pickup"]
        );
        let uses: Vec<_> = all.iter().map(PostfixService::port_use).collect();
        use PortUse::{Other, Smtp, Submission, Submissions};
        assert_eq!(uses[..5], [Smtp, Submission, Submissions, Other, Smtp]);
        assert_eq!(all[1].options.len(), 3, "{:?}", all[1].options);
        assert_eq!(all[1].options["smtpd_relay_restrictions"], "permit_sasl_authenticated, reject");
        assert_eq!((all[3].host(), all[3].port()), (Some("127.0.0.1"), Some(10025)));
        assert_eq!((all[4].host(), all[4].is_smtp_server()), (Some("::1"), true));
        assert_eq!((all[0].host(), all[5].arguments.len()), (None, 5));
        assert!(!all[5].is_smtp_server() && !all[6].is_smtp_server());
    }
}
