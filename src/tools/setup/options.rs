//! What `facteur setup` was told on its command line, and what it asks for on a terminal.

use super::site::SitePlaces;
use crate::mail::address::Domain;
use crate::tools::{Failure, Request, terminal};
use nix::unistd::gethostname;
use std::fs;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Longest answer that is read, in octets; no name and no path of use is longer.
const ANSWER_MAX: u64 = 1024;

/// Longest name of a system user (useradd(8)).
const USER_NAME_MAX: usize = 32;

/// The options of `facteur setup`, as they were written.
#[derive(Default)]
pub struct SetupOptions {
    /// `--hostname`: our name.
    pub hostname: Option<String>,
    /// `--etc`: the directory of the configuration.
    pub etc: Option<PathBuf>,
    /// `--spool`: that of the queue.
    pub spool: Option<PathBuf>,
    /// `--mail`: that of the mail.
    pub mail: Option<PathBuf>,
    /// `--user`: the server's user.
    pub user: Option<String>,
    /// `--dovecot`: a configuration for Dovecot as well.
    pub dovecot: bool,
    /// `--from-postfix`: the directory of a Postfix whose site it is.
    pub from_postfix: Option<PathBuf>,
    /// `--dry-run`: only say what would be done.
    pub dry_run: bool,
}

/// The same, read.
pub struct SetupWish {
    pub domain: Domain,
    /// None where it was not said.
    pub hostname: Option<Domain>,
    pub places: SitePlaces,
    /// Whether the spool and the mail were named.
    pub names_spool: bool,
    pub names_mail: bool,
    pub user: Option<String>,
    pub dovecot: bool,
    pub from_postfix: Option<PathBuf>,
}

impl SetupWish {
    /// Reads the options; asks for the domain where there is a terminal and it was not said.
    pub fn read(request: &Request, domain: Option<&str>) -> Result<SetupWish, Failure> {
        if request.config.is_some() {
            let words =
                "setup writes facteur.toml of a directory: say --etc DIR in the place of -c";
            return Err(Failure::Usage(words.to_owned()));
        }
        let options = &request.setup;
        let domain = match domain {
            Some(domain) => name(domain, "a domain, as example.org")?,
            None if io::stdin().is_terminal() => {
                ask("domain of the mail addresses, as example.org", None, |text| {
                    name(text, "a domain")
                })?
            }
            None => {
                return Err(Failure::Usage(
                    "for which domain? facteur setup example.org".to_owned(),
                ));
            }
        };
        let hostname = options.hostname.as_deref();
        let user = options.user.as_deref();
        let places = SitePlaces {
            etc: place(options.etc.as_deref(), "/etc/facteur")?,
            spool: place(options.spool.as_deref(), "/var/spool/facteur")?,
            mail: place(options.mail.as_deref(), "/var/vmail")?,
        };
        are_apart(&places)?;
        Ok(SetupWish {
            domain,
            hostname: hostname
                .map(|text| name(text, "a host name, as mx.example.org"))
                .transpose()?,
            places,
            names_spool: options.spool.is_some(),
            names_mail: options.mail.is_some(),
            user: user.map(user_name).transpose()?,
            dovecot: options.dovecot,
            from_postfix: options.from_postfix.clone(),
        })
    }

    /// The name of a new host: the one that was said, else what a person answers, else the system's or mx.DOMAIN.
    pub fn new_hostname(&self) -> Result<Domain, Failure> {
        if let Some(hostname) = &self.hostname {
            return Ok(hostname.clone());
        }
        let system = gethostname().unwrap_or_default();
        let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
        let likely = likely_hostname(&system.to_string_lossy(), &hosts, &self.domain);
        match io::stdin().is_terminal() {
            true => ask("name of this host in DNS", Some(likely.as_str()), |text| {
                name(text, "a host name")
            }),
            false => Ok(name(&likely, "a host name")?),
        }
    }
}

/// The system's name in full where it is below the domain, else `mx` there. `hosts` is the text of /etc/hosts, which
/// knows the full name of a system that calls itself by the short one.
fn likely_hostname(system: &str, hosts: &str, domain: &Domain) -> String {
    let is_below = |name: &&str| {
        let rest = name.to_ascii_lowercase();
        rest.strip_suffix(domain.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
    };
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    let full = lines.filter_map(|line| {
        let mut names = line.split_ascii_whitespace().skip(1);
        let first = names.next()?;
        (first == system || names.any(|name| name == system)).then_some(first)
    });
    let found = std::iter::once(system).chain(full).find(is_below);
    let found = found.filter(|name| Domain::of_host(name).is_ok());
    found.map_or_else(|| format!("mx.{domain}"), str::to_ascii_lowercase)
}

/// A name of DNS with a dot in it: other hosts take no other for a domain or a host. `wanted` is for the error.
fn name(text: &str, wanted: &str) -> Result<Domain, String> {
    let shown = terminal::escape(text);
    let name = Domain::of_host(text).map_err(|why| format!("{shown} is not {wanted}: {why}"))?;
    let is_address = name.as_str().parse::<IpAddr>().is_ok();
    match name.as_str().contains('.') && !is_address {
        true => Ok(name),
        false => Err(format!("{shown} is not {wanted}")),
    }
}

/// A directory, absolute and as a configuration can name it.
fn place(said: Option<&Path>, default: &str) -> Result<PathBuf, String> {
    let path = said.unwrap_or(Path::new(default));
    let whole =
        std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let text = whole.to_str().unwrap_or_default();
    // Braces stand for users and domains; Dovecot and systemd have percent signs and blanks for themselves.
    let is_odd = |c: char| c.is_control() || c.is_whitespace() || "{}%\"'\\$:".contains(c);
    if text.is_empty() || text.contains(is_odd) {
        let shown = terminal::escape(&whole.to_string_lossy()).into_owned();
        return Err(format!(
            "{shown}: expected a path without blanks, braces, quotes, colons, %, $ and \\"
        ));
    }
    match whole.parent() {
        None => Err("the root directory can be none of the places".to_owned()),
        Some(_) => Ok(whole.components().collect()),
    }
}

/// Refuses places inside of those that are the server's: whoever has a directory can change all in it, and root reads
/// the configuration. What is the server's may lie below the configuration.
fn are_apart(places: &SitePlaces) -> Result<(), String> {
    let SitePlaces { etc, spool, mail } = places;
    for (option, inner, outer) in [
        ("--etc", etc, spool),
        ("--etc", etc, mail),
        ("--mail", mail, spool),
        ("--spool", spool, mail),
    ] {
        if inner.starts_with(outer) {
            let (inner, outer) = (inner.display(), outer.display());
            return Err(format!(
                "{option} {inner}: it lies in {outer}, which is the server's own; name a place outside of it"
            ));
        }
    }
    Ok(())
}

/// A name that useradd takes, and that is no option of it.
fn user_name(text: &str) -> Result<String, String> {
    let is_first = |c: char| c.is_ascii_lowercase() || c == '_';
    let is_next = |c: char| is_first(c) || c.is_ascii_digit() || c == '-';
    let is_good =
        text.starts_with(is_first) && text.chars().all(is_next) && text.len() <= USER_NAME_MAX;
    match is_good {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "{} is no name of a system user: expected small letters, digits, - and _, a letter first",
            terminal::escape(text)
        )),
    }
}

/// Asks on the terminal until the answer can be read; an empty answer is `default`.
fn ask<T>(
    what: &str,
    default: Option<&str>,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<T, Failure> {
    loop {
        let shown = default.map(|default| format!(" [{default}]")).unwrap_or_default();
        // To stderr, because stdout may be a file.
        let _ = write!(io::stderr(), "{what}{shown}: ").and_then(|()| io::stderr().flush());
        let mut line = String::new();
        let got = io::stdin().lock().take(ANSWER_MAX).read_line(&mut line);
        if got.map_err(|error| format!("cannot read the answer: {error}"))? == 0 {
            return Err(Failure::Failed("there was no answer; nothing was done".to_owned()));
        }
        let answer = match (line.trim(), default) {
            ("", Some(default)) => default,
            (answer, _) => answer,
        };
        match read(answer) {
            Ok(read) => return Ok(read),
            Err(why) => drop(writeln!(io::stderr(), "{why}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_system_counts_where_it_is_below_the_domain() {
        let hosts = "127.0.0.1 localhost\n127.0.1.1\tpost.example.org post # ours\n192.0.2.1 a.example.net a\n";
        for (system, domain, wanted) in [
            ("mail.example.org", "example.org", "mail.example.org"),
            ("Mail.Example.ORG", "example.org", "mail.example.org"),
            ("post", "example.org", "post.example.org"),
            ("post", "example.net", "mx.example.net"),
            ("a", "example.net", "a.example.net"),
            ("other", "example.org", "mx.example.org"),
            ("example.org", "example.org", "mx.example.org"),
            ("notexample.org", "example.org", "mx.example.org"),
            ("bad_name.example.org", "example.org", "mx.example.org"),
            ("", "example.org", "mx.example.org"),
        ] {
            let domain = Domain::parse(domain).unwrap();
            assert_eq!(likely_hostname(system, hosts, &domain), wanted, "{system} {domain}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        assert_eq!(name("Example.ORG", "x").unwrap().as_str(), "example.org");
        assert_eq!(name("b\u{fc}cher.example", "x").unwrap().as_str(), "xn--bcher-kva.example");
        for text in [
            "",
            "localhost",
            "192.0.2.1",
            "a b.org",
            "ann@example.org",
            "-a.org",
            "a..b",
            "a_b.org",
            "/etc",
        ] {
            assert!(name(text, "x").is_err(), "{text}");
        }
        for text in ["facteur", "_mail", "a-1"] {
            assert_eq!(user_name(text).unwrap(), text);
        }
        for text in ["", "-r", "1a", "a b", "Ann", "a:b", &"a".repeat(33)] {
            assert!(user_name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn places_are_apart() {
        let is_good = |etc: &str, spool: &str, mail: &str| {
            let [etc, spool, mail] = [etc, spool, mail].map(PathBuf::from);
            are_apart(&SitePlaces { etc, spool, mail }).is_ok()
        };
        assert!(is_good("/a/etc", "/a/spool", "/a/mail"));
        assert!(is_good("/a", "/a/spool", "/a/mail"));
        for (etc, spool, mail) in [
            ("/a", "/a", "/b"),
            ("/a", "/b", "/a"),
            ("/a", "/b", "/b"),
            ("/b/etc", "/b", "/c"),
            ("/c/x/etc", "/b", "/c"),
            ("/a", "/b", "/b/mail"),
            ("/a", "/c/b", "/c"),
        ] {
            assert!(!is_good(etc, spool, mail), "{etc} {spool} {mail}");
        }
    }

    #[test]
    fn places_are_whole_paths() {
        assert_eq!(place(None, "/etc/facteur").unwrap(), Path::new("/etc/facteur"));
        assert_eq!(place(Some(Path::new("/a//b/./c/")), "/x").unwrap(), Path::new("/a/b/c"));
        for text in ["/", "/a b", "/a{user}", "/a%d", "/a\nb", "/a\"b", "/a:b"] {
            assert!(place(Some(Path::new(text)), "/x").is_err(), "{text}");
        }
    }
}
