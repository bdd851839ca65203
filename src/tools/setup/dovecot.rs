//! Dovecot for the users of a site: what is installed, and the configuration that lets it read the users files as they
//! are, keep or read the mail, and show the certificate.
//!
//! Only [`Dovecot::find`] and [`reload`] touch the system; the rest is pure. Dovecot 2.3 and 2.4 have languages of their own.

use super::make::run;
use super::plan::{Owner, SetupStep};
use super::site::{MailPlace, SiteToSetUp};
use crate::config::{LmtpServer, Network};
use crate::mail::address::Domain;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What Dovecot reads behind the files of its package.
pub const LOCAL_CONF: &str = "/etc/dovecot/local.conf";

/// The group that Dovecot asks for passwords with.
pub const GROUP: &str = "dovecot";

/// Where the parts of Dovecot lie, by system.
const PROGRAMS: [&str; 2] = ["/usr/lib/dovecot", "/usr/libexec/dovecot"];
const PLUGINS: [&str; 3] = ["/usr/lib/dovecot/modules", "/usr/lib64/dovecot", "/usr/lib/dovecot"];

/// Where Dovecot takes mail by LMTP.
const SOCKET: &str = "/run/dovecot/lmtp";

/// The directory below a user's Maildir that is Dovecot's for what is no mail: scripts of Sieve, who was answered. No
/// program takes it for a folder, as its name has no dot in front.
const HOME: &str = "dovecot";

/// The language of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DovecotLanguage {
    /// Up to 2.3.
    V23,
    /// From 2.4 on.
    V24,
}

/// The Dovecot that is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dovecot {
    pub language: DovecotLanguage,
    /// Whether it takes mail by LMTP, and has Sieve for it.
    pub takes_mail: bool,
}

impl Dovecot {
    /// Looks for it. The error says what to install.
    pub fn find() -> Result<Dovecot, String> {
        let is_program =
            |name: &str| PROGRAMS.iter().any(|dir| Path::new(dir).join(name).is_file());
        let is_plugin = |name: &str| PLUGINS.iter().any(|dir| Path::new(dir).join(name).is_file());
        let dovecot =
            ["/usr/sbin/dovecot", "/usr/bin/dovecot"].into_iter().find(|p| Path::new(p).is_file());
        let (Some(dovecot), true) = (dovecot, is_program("imap")) else {
            let words = "Dovecot is not installed, or not its IMAP: apt install dovecot-imapd dovecot-lmtpd dovecot-sieve";
            return Err(words.to_owned());
        };
        let output = Command::new(dovecot).arg("--version").stdin(Stdio::null()).output();
        let output = output.map_err(|error| format!("cannot run {dovecot} --version: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let language = language(&said).ok_or_else(|| {
            format!("Dovecot of version {:?} is not known here: expected 2.3 or 2.4", said.trim())
        })?;
        let takes_mail = is_program("lmtp") && is_plugin("lib90_sieve_plugin.so");
        Ok(Dovecot { language, takes_mail })
    }
}

/// The language of what `dovecot --version` has said.
fn language(said: &str) -> Option<DovecotLanguage> {
    let mut numbers = said.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next()?.ok()?, numbers.next()?.ok()?) {
        (2, 2 | 3) => Some(DovecotLanguage::V23),
        (2, 4..) => Some(DovecotLanguage::V24),
        _ => None,
    }
}

impl SiteToSetUp {
    /// Lets Dovecot keep the mail of all domains where it can, and send what its users' scripts say.
    pub fn keep_by(&mut self, dovecot: &Dovecot) {
        if !dovecot.takes_mail {
            return;
        }
        for domain in &mut self.domains {
            domain.mail = MailPlace::Lmtp(LmtpServer::Unix(SOCKET.into()));
        }
        for address in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            let own = Network { address, bits };
            if !self.networks.contains(&own) {
                self.networks.push(own);
            }
        }
    }

    /// The files of Dovecot, and the text of its configuration, which is among them. The error says what of the site
    /// Dovecot cannot read.
    pub fn dovecot_steps(&self, dovecot: &Dovecot) -> Result<(Vec<SetupStep>, String), String> {
        let kept = self.kept_by_dovecot(dovecot)?;
        let sieve = self.etc.join("sieve");
        let script = sieve.join("junk.sieve");
        let text = match dovecot.language {
            DovecotLanguage::V23 => self.conf_23(&kept, &script),
            DovecotLanguage::V24 => self.conf_24(&kept, &script),
        };
        let mut steps = Vec::new();
        let file = |path: &Path, text: &str| SetupStep::File {
            path: path.to_owned(),
            mode: 0o644,
            owner: Owner::Root,
            text: text.to_owned(),
        };
        if kept.by_lmtp {
            let mail = self.mail.clone();
            steps.push(SetupStep::Dir { path: mail, mode: 0o755, owner: self.server() });
            steps.push(SetupStep::Dir { path: sieve, mode: 0o755, owner: Owner::Root });
            steps.push(file(&script, SIEVE));
        }
        steps.push(file(Path::new(LOCAL_CONF), &text));
        if kept.by_lmtp {
            // Last, because sievec reads the configuration.
            steps.push(SetupStep::Compile { script });
        }
        Ok((steps, text))
    }

    /// What Dovecot has to know of the mail. All domains have to be alike, as its paths are patterns.
    fn kept_by_dovecot(&self, dovecot: &Dovecot) -> Result<KeptMail, String> {
        let users = |name: &Domain| self.at(Path::new(&format!("{name}.users")));
        let with_users = self.domains.iter().filter(|domain| domain.users.is_some());
        for domain in with_users.clone() {
            let (path, wanted) =
                (&domain.users.as_ref().map(|users| self.at(&users.path)), users(&domain.name));
            if path.as_ref() != Some(&wanted) {
                return Err(format!(
                    "Dovecot reads the users of each domain from one pattern: users of {} has to be {}",
                    domain.name,
                    wanted.display()
                ));
            }
        }
        let mut places = with_users.map(|domain| &domain.mail);
        let Some(first) = places.next() else {
            return Err("no domain here has a users file for Dovecot to read".to_owned());
        };
        if places.any(|other| other != first) {
            return Err(
                "Dovecot keeps the mail of all domains at one place; here they differ".to_owned()
            );
        }
        match first {
            MailPlace::Maildir(template) => Ok(KeptMail { mail: template.clone(), by_lmtp: false }),
            MailPlace::Lmtp(LmtpServer::Unix(path)) if path == Path::new(SOCKET) => {
                match dovecot.takes_mail {
                    true => Ok(KeptMail {
                        mail: format!("{}/{{domain}}/{{user}}", self.mail.display()),
                        by_lmtp: true,
                    }),
                    false => {
                        Err("mail is handed over by LMTP: apt install dovecot-lmtpd dovecot-sieve"
                            .to_owned())
                    }
                }
            }
            MailPlace::Lmtp(other) => {
                Err(format!("mail is handed to {other}, not to this Dovecot at unix:{SOCKET}"))
            }
        }
    }

    /// What the configuration begins with.
    fn conf_head(&self) -> String {
        let name = self.domains.first().map_or("example.org", |domain| domain.name.as_str());
        format!(
            "# Dovecot for the users of facteur. Written by facteur setup --dovecot, which never changes it again.\n\
             # Users and passwords are those of `facteur user add ann@{name}`; the login is the whole address.\n\n"
        )
    }

    /// The realm of a login without a domain; none where there are several domains, as with our own logins.
    fn realm(&self) -> Option<&Domain> {
        match (&self.domains[..], &self.alias_domains[..]) {
            ([only], []) => Some(&only.name),
            _ => None,
        }
    }

    /// The pair, where there is one.
    fn pair(&self) -> Option<(PathBuf, PathBuf)> {
        self.tls.as_ref().map(|tls| (self.at(&tls.certificate), self.at(&tls.key)))
    }

    /// Where scripts send: our own port for mail.
    fn submission(&self) -> String {
        let port = self.listen.smtp.first().map_or(25, |address| address.port());
        format!("127.0.0.1:{port}")
    }

    /// The language of Dovecot 2.3.
    fn conf_23(&self, kept: &KeptMail, script: &Path) -> String {
        let (etc, run_as) = (self.etc.display(), &self.run_as);
        let mail = kept.with("%d", "%n");
        let mut conf = self.conf_head();
        if let Some(realm) = self.realm() {
            let _ = writeln!(conf, "auth_default_realm = {realm}");
        }
        let _ = write!(
            conf,
            "auth_mechanisms = plain login\n\
             passdb {{\n  driver = passwd-file\n  args = username_format=%n {etc}/%d.users\n}}\n\
             userdb {{\n  driver = passwd-file\n  args = username_format=%n {etc}/%d.users\n\
             \x20 override_fields = uid={run_as} gid={run_as} home={mail}/{HOME}\n}}\n\n\
             # The mail is the server's, whose user is one of the system.\n\
             mail_location = maildir:{mail}\n\
             first_valid_uid = 1\n\
             namespace inbox {{\n  inbox = yes\n{MAILBOXES}}}\n\n",
        );
        if let Some((certificate, key)) = self.pair() {
            let (certificate, key) = (certificate.display(), key.display());
            let _ = write!(
                conf,
                "# Read by root at the start and at `systemctl reload dovecot`.\n\
                 ssl = required\nssl_cert = <{certificate}\nssl_key = <{key}\n"
            );
        }
        if kept.by_lmtp {
            let (hostname, submission) = (&self.hostname, self.submission());
            let _ = write!(
                conf,
                "\n# Mail comes from facteur by LMTP; what scripts send leaves through it.\n\
                 service lmtp {{\n  unix_listener lmtp {{\n    mode = 0660\n    group = {run_as}\n  }}\n}}\n\
                 recipient_delimiter = {}\nhostname = {hostname}\nsubmission_host = {submission}\n\
                 protocol lmtp {{\n  mail_plugins = $mail_plugins sieve\n  postmaster_address = postmaster@%d\n}}\n\
                 plugin {{\n  sieve = file:~/sieve;active=~/.dovecot.sieve\n  sieve_before = {}\n}}\n",
                self.delimiter(),
                script.display()
            );
        }
        conf
    }

    /// The language of Dovecot 2.4.
    fn conf_24(&self, kept: &KeptMail, script: &Path) -> String {
        const USER: &str = "%{user | username}";
        const DOMAIN: &str = "%{user | domain}";
        let (etc, run_as) = (self.etc.display(), &self.run_as);
        let mail = kept.with(DOMAIN, USER);
        let mut conf = self.conf_head();
        if let Some(realm) = self.realm() {
            let _ = writeln!(conf, "auth_default_domain = {realm}");
        }
        let users =
            format!("  auth_username_format = {USER}\n  passwd_file_path = {etc}/{DOMAIN}.users\n");
        let _ = write!(
            conf,
            "auth_mechanisms = plain login\n\
             passdb passwd-file {{\n{users}}}\n\
             userdb passwd-file {{\n{users}  fields {{\n    uid = {run_as}\n    gid = {run_as}\n    home = {mail}/{HOME}\n  }}\n}}\n\n\
             # The mail is the server's, whose user is one of the system.\n\
             mail_driver = maildir\nmail_path = {mail}\nmail_inbox_path = {mail}\n\
             first_valid_uid = 1\n\
             namespace inbox {{\n  inbox = yes\n{MAILBOXES}}}\n\n",
        );
        if let Some((certificate, key)) = self.pair() {
            let (certificate, key) = (certificate.display(), key.display());
            let _ = write!(
                conf,
                "# Read by root at the start and at `systemctl reload dovecot`.\n\
                 ssl = required\nssl_server_cert_file = {certificate}\nssl_server_key_file = {key}\n"
            );
        }
        if kept.by_lmtp {
            let (hostname, submission) = (&self.hostname, self.submission());
            let _ = write!(
                conf,
                "\n# Mail comes from facteur by LMTP; what scripts send leaves through it.\n\
                 service lmtp {{\n  unix_listener lmtp {{\n    mode = 0660\n    group = {run_as}\n  }}\n}}\n\
                 recipient_delimiter = {}\nhostname = {hostname}\nsubmission_host = {submission}\n\
                 # Not the user's part alone, as the files of Debian's package would have it.\n\
                 protocol lmtp {{\n  auth_username_format = %{{user | lower}}\n  mail_plugins {{\n    sieve = yes\n  }}\n}}\n\
                 sieve_script junk {{\n  type = before\n  path = {}\n}}\n\
                 sieve_script personal {{\n  driver = file\n  path = ~/sieve\n  active_path = ~/.dovecot.sieve\n}}\n",
                self.delimiter(),
                script.display()
            );
        }
        conf
    }

    /// What separates a user from a tag.
    fn delimiter(&self) -> &str {
        self.domains.first().and_then(|domain| domain.subaddress.as_deref()).unwrap_or("+")
    }
}

/// Lets a Dovecot that runs take its new configuration; whether one has. The others are left to a person.
pub fn reload() -> bool {
    let is_system = Path::new("/run/systemd/system").is_dir();
    let is_done = |program: &str, words: &[&str]| {
        let words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
        matches!(run(program, &words), Some(Ok(())))
    };
    match is_system {
        true => {
            is_done("systemctl", &["--quiet", "is-active", "dovecot.service"])
                && is_done("systemctl", &["reload", "dovecot.service"])
        }
        false => is_done("doveadm", &["reload"]),
    }
}

/// How Dovecot finds mail.
struct KeptMail {
    /// The Maildir of a user, with `{domain}` and `{user}` in it.
    mail: String,
    /// Whether Dovecot itself puts it there.
    by_lmtp: bool,
}

impl KeptMail {
    /// The Maildir, with the variables of a language of Dovecot.
    fn with(&self, domain: &str, user: &str) -> String {
        self.mail.replace("{domain}", domain).replace("{user}", user)
    }
}

/// Folders that programs of users look for; junk has to be there before there is any.
const MAILBOXES: &str = "  mailbox Junk {
    special_use = \\Junk
    auto = subscribe
  }
";

/// What facteur has found to be junk.
const SIEVE: &str = r#"# Written by facteur setup --dovecot. What facteur has found to be junk (docs/lmtp.md) goes there, before scripts of users.
require ["fileinto", "mailbox"];
if header :contains "X-Facteur-Junk" "yes" {
    fileinto :create "Junk";
    stop;
}
"#;

#[cfg(test)]
mod tests {
    use super::super::site::{DomainToSetUp, SitePlaces};
    use super::*;

    #[test]
    fn versions_have_their_language() {
        for (said, wanted) in [
            ("2.3.19.1 (9b53102964)\n", Some(DovecotLanguage::V23)),
            ("2.4.1-4 (7d8c0e5759)\n", Some(DovecotLanguage::V24)),
            ("2.10.0", Some(DovecotLanguage::V24)),
            ("3.0.0", None),
            ("", None),
            ("dovecot", None),
        ] {
            assert_eq!(language(said), wanted, "{said}");
        }
    }

    fn name(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    fn site() -> SiteToSetUp {
        let [etc, spool, mail] = ["/etc/f", "/var/spool/f", "/srv/mail"].map(PathBuf::from);
        let mut site =
            SiteToSetUp::new(name("mx.mx.test"), "post", &SitePlaces { etc, spool, mail });
        site.domains.push(DomainToSetUp::new(name("mx.test"), "/srv/mail"));
        site
    }

    fn hand_to(site: &mut SiteToSetUp, socket: &str) {
        for domain in &mut site.domains {
            domain.mail = MailPlace::Lmtp(LmtpServer::Unix(socket.into()));
        }
    }

    #[test]
    fn both_languages_say_the_same() {
        use DovecotLanguage::{V23, V24};
        for (language, takes_mail, lines) in [
            (
                V23,
                true,
                &[
                    "auth_default_realm = mx.test",
                    "  args = username_format=%n /etc/f/%d.users",
                    "  override_fields = uid=post gid=post home=/srv/mail/%d/%n/dovecot",
                    "mail_location = maildir:/srv/mail/%d/%n",
                    "ssl_key = </etc/f/tls/privkey.pem",
                    "    group = post",
                    "submission_host = 127.0.0.1:25",
                    "  sieve_before = /etc/f/sieve/junk.sieve",
                ][..],
            ),
            (
                V24,
                true,
                &[
                    "auth_default_domain = mx.test",
                    "  auth_username_format = %{user | username}",
                    "  passwd_file_path = /etc/f/%{user | domain}.users",
                    "    uid = post",
                    "    home = /srv/mail/%{user | domain}/%{user | username}/dovecot",
                    "mail_path = /srv/mail/%{user | domain}/%{user | username}",
                    // Else it is the folder .INBOX, or what the package says.
                    "mail_inbox_path = /srv/mail/%{user | domain}/%{user | username}",
                    "ssl_server_key_file = /etc/f/tls/privkey.pem",
                    "    group = post",
                    // The package cuts the domain off there.
                    "  auth_username_format = %{user | lower}",
                    "submission_host = 127.0.0.1:25",
                    "  path = /etc/f/sieve/junk.sieve",
                ],
            ),
            (V23, false, &["mail_location = maildir:/srv/mail/%d/%n"]),
            (V24, false, &["mail_path = /srv/mail/%{user | domain}/%{user | username}"]),
        ] {
            let dovecot = Dovecot { language, takes_mail };
            let mut site = site();
            site.keep_by(&dovecot);
            assert_eq!(site.networks.len(), if takes_mail { 2 } else { 0 });
            let (steps, conf) = site.dovecot_steps(&dovecot).unwrap();
            for line in lines {
                assert!(conf.lines().any(|it| it == *line), "no {line}: {conf}");
            }
            assert_eq!(conf.contains("lmtp") && conf.contains("sieve"), takes_mail, "{conf}");
            let opened = conf.lines().filter(|line| line.ends_with('{')).count();
            let closed = conf.lines().filter(|line| line.trim() == "}").count();
            assert_eq!(opened, closed, "{conf}");
            assert_eq!(steps.len(), if takes_mail { 5 } else { 1 });
        }
    }

    #[test]
    fn what_dovecot_cannot_read_is_named() {
        let dovecot = Dovecot { language: DovecotLanguage::V23, takes_mail: false };
        let refused = |change: &dyn Fn(&mut SiteToSetUp)| {
            let mut site = site();
            site.domains.push(DomainToSetUp::new(name("b.test"), "/srv/mail"));
            // Users of two domains log in by the whole address only.
            let (_, conf) = site.dovecot_steps(&dovecot).unwrap();
            assert!(!conf.contains("auth_default_realm"), "{conf}");
            change(&mut site);
            site.dovecot_steps(&dovecot).unwrap_err()
        };
        for (why, wanted) in [
            (
                refused(&|site| site.domains[1].users.as_mut().unwrap().path = "other".into()),
                "users of b.test has to be /etc/f/b.test.users",
            ),
            (
                refused(&|site| site.domains[1].mail = MailPlace::Maildir("/b/{user}".into())),
                "here they differ",
            ),
            (
                refused(&|site| site.domains.iter_mut().for_each(|domain| domain.users = None)),
                "no domain here has a users file",
            ),
            (refused(&|site| hand_to(site, SOCKET)), "apt install dovecot-lmtpd dovecot-sieve"),
            (refused(&|site| hand_to(site, "/x")), "mail is handed to unix:/x"),
        ] {
            assert!(why.contains(wanted), "{why}");
        }
    }
}
