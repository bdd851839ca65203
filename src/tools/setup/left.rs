//! What is left to do after `facteur setup`, in order, each thing with its command.
//!
//! [`Left::words`] is pure; [`Left::look`] finds out what is done already.

use super::dovecot::LOCAL_CONF;
use super::pair;
use super::site::SiteToSetUp;
use crate::mail::address::Domain;
use crate::net::control;
use crate::net::peer::listeners;
use crate::store::users::Users;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Where the package puts the hook that brings a renewed certificate.
const HOOK: &str = "/etc/letsencrypt/renewal-hooks/deploy/facteur";

/// Where units of systemd lie.
const UNITS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// The directories that the packaged unit lets the server write in.
const UNIT_WRITES: [&str; 4] =
    ["/var/spool/facteur", "/var/vmail", "/var/lib/facteur", "/var/mail"];

/// Programs that listen for mail, and the units that start them.
const OTHERS: [(&str, &str); 3] =
    [("master", "postfix"), ("exim4", "exim4"), ("sendmail-mta", "sendmail")];

/// What is left of a site.
pub struct Left<'a> {
    pub site: &'a SiteToSetUp,
    /// Tables for facteur.toml, which stays as it is.
    pub lines: Option<String>,
    /// Of Dovecot: the text for its local.conf where another one is there, and commands.
    pub dovecot: Option<DovecotLeft>,
    /// Domains whose users file has nobody.
    pub without_users: Vec<Domain>,
    /// The certificate is one of `setup`.
    pub is_self_signed: bool,
    /// Programs that hold our ports, by name, each with the port.
    pub holders: Vec<(String, u16)>,
    pub is_running: bool,
    pub has_unit: bool,
    pub has_certbot: bool,
}

/// What is left of Dovecot.
#[derive(Default)]
pub struct DovecotLeft {
    /// The text to add where there is another local.conf.
    pub text: Option<String>,
    /// Files of users that Dovecot cannot read.
    pub hidden: Vec<PathBuf>,
    /// Whether it runs with this configuration already.
    pub is_read: bool,
    /// Whether users of the system are looked for before those of the site.
    pub asks_pam: bool,
}

impl<'a> Left<'a> {
    /// Looks what is done already.
    pub fn look(
        site: &'a SiteToSetUp,
        lines: Option<String>,
        dovecot: Option<DovecotLeft>,
    ) -> Left<'a> {
        let is_empty = |name: &Domain, path: &Path| {
            Users::read(path, name).map_or(true, |(users, _)| users.first().is_none())
        };
        let without_users = site.domains.iter().filter(|domain| {
            domain.users.as_ref().is_some_and(|users| is_empty(&domain.name, &site.at(&users.path)))
        });
        let certificate = site.tls.as_ref().map(|tls| site.at(&tls.certificate));
        let is_running = matches!(control::send(&site.spool, &[]), Ok(true));
        let (listen, mut holders) = (&site.listen, Vec::new());
        let ports = [&listen.smtp, &listen.submission, &listen.submissions].into_iter().flatten();
        // A server that runs has its ports.
        for address in ports.filter(|_| !is_running) {
            let others = listeners(address.port()).into_iter().map(|process| process.name);
            let mut others = others.filter(|name| name != "systemd" && name != "facteur");
            if let Some(other) = others.next() {
                holders.push((other, address.port()));
            }
        }
        let has =
            |dirs: &[&str], name: &str| dirs.iter().any(|dir| Path::new(dir).join(name).is_file());
        Left {
            lines,
            dovecot,
            without_users: without_users.map(|domain| domain.name.clone()).collect(),
            // What is not there yet will be of setup.
            is_self_signed: certificate
                .is_some_and(|path| pair::is_self_signed(&path).unwrap_or(true)),
            holders,
            is_running,
            has_unit: has(&UNITS, "facteur.service"),
            has_certbot: has(&["/usr/bin", "/usr/local/bin", "/snap/bin"], "certbot"),
            site,
        }
    }

    /// The list, for a person.
    pub fn words(&self) -> String {
        let steps =
            [self.files(), self.users(), self.certificate(), self.records(), self.service()];
        let mut words = String::from("What is left to do, in this order:\n");
        for (number, step) in steps.iter().filter(|step| !step.is_empty()).enumerate() {
            let _ = write!(words, "\n{}. {step}", number + 1);
        }
        words
    }

    /// The command, with `-c` where the configuration is not where it is looked for.
    fn facteur(&self) -> String {
        let toml = self.site.toml();
        match toml == Path::new("/etc/facteur/facteur.toml") {
            true => "facteur".to_owned(),
            false => format!("facteur -c {}", toml.display()),
        }
    }

    /// Files of others that stay as they are.
    fn files(&self) -> String {
        let mut words = String::new();
        if let Some(lines) = &self.lines {
            let toml = self.site.toml();
            let _ = write!(
                words,
                "{} stays as it is; the new domain needs these lines in it:\n\n\
                 cat >>{} <<'END'\n{lines}END\n",
                toml.display(),
                toml.display()
            );
            if self.site.domains.len() == 2 {
                words.push_str(
                    "\n   With a second domain users log in by their whole address only.\n",
                );
            }
        }
        let Some(DovecotLeft { text, hidden, .. }) = &self.dovecot else { return words };
        if let Some(text) = text {
            let _ = write!(
                words,
                "{LOCAL_CONF} is there and stays as it is; for the users of facteur add to it, or put in its place:\n\n{text}\n"
            );
        }
        for file in hidden {
            let file = file.display();
            let _ = writeln!(
                words,
                "Let Dovecot read {file}:\n     chgrp dovecot {file} && chmod 640 {file}"
            );
        }
        words
    }

    fn users(&self) -> String {
        if self.without_users.is_empty() {
            return String::new();
        }
        let mut words = "Users, each with a password; until there is a postmaster, the first gets that mail too:\n".to_owned();
        for domain in &self.without_users {
            let _ = writeln!(words, "     {} user add postmaster@{domain}", self.facteur());
        }
        words
    }

    fn certificate(&self) -> String {
        if !self.is_self_signed {
            return String::new();
        }
        let (site, name) = (self.site, &self.site.hostname);
        let hook = match site.toml() == Path::new("/etc/facteur/facteur.toml") {
            true => HOOK.to_owned(),
            false => format!("'FACTEUR_TOML={} {HOOK}'", site.toml().display()),
        };
        let install = if self.has_certbot { "" } else { "apt install certbot && " };
        format!(
            "A certificate that programs of users trust, in the place of the self-signed one; {name} has to lead here by\n\
             \x20  DNS, and port 80 to be free (with a web server on it: --webroot -w DIR):\n\
             \x20    {install}certbot certonly --standalone --reuse-key -d {name} --deploy-hook {hook}\n"
        )
    }

    fn records(&self) -> String {
        let facteur = self.facteur();
        format!(
            "Records in DNS: what to publish, then what DNS shows of it:\n     {facteur} dns --zone\n     {facteur} dns\n"
        )
    }

    fn service(&self) -> String {
        let mut words = String::from("The service:\n");
        let mut told: Vec<&str> = Vec::new();
        for (name, port) in self.holders.iter().filter(|(name, _)| name != "dovecot") {
            let unit = OTHERS.iter().find(|(program, _)| program == name).map(|(_, unit)| *unit);
            let unit = unit.unwrap_or(name);
            if !told.contains(&unit) {
                told.push(unit);
                let _ = writeln!(
                    words,
                    "     systemctl disable --now {unit}    # {name} listens on port {port}"
                );
            }
        }
        // It listens for mail by that package alone.
        if let Some((_, port)) = self.holders.iter().find(|(name, _)| name == "dovecot") {
            let _ = writeln!(
                words,
                "     apt remove dovecot-submissiond    # it listens on port {port}"
            );
        }
        if let Some(dovecot) = &self.dovecot {
            if dovecot.asks_pam {
                words.push_str(
                    "     # optional: else each login is tried with the users of this system first, which takes two seconds\n\
                     \x20    sed -i 's/^!include auth-system.conf.ext/#&/' /etc/dovecot/conf.d/10-auth.conf\n",
                );
            }
            if dovecot.asks_pam || !dovecot.is_read {
                words.push_str("     systemctl restart dovecot\n");
            }
        }
        // Behind Dovecot, which it speaks with.
        let _ = writeln!(words, "     {} check", self.facteur());
        match (self.has_unit, self.is_running) {
            (true, true) => words.push_str("     systemctl reload facteur\n"),
            (true, false) => {
                words.push_str(&self.drop_in());
                words.push_str("     systemctl enable --now facteur\n");
            }
            (false, true) => words.push_str("     pkill -HUP -x facteur\n"),
            (false, false) => {
                let _ = writeln!(words, "     {} serve", self.facteur());
            }
        }
        words
    }

    /// What the packaged unit has to know of places that are not the usual ones.
    fn drop_in(&self) -> String {
        let site = self.site;
        let is_usual = |dir: &Path| UNIT_WRITES.iter().any(|usual| dir.starts_with(usual));
        let mut lines = Vec::new();
        let mut dirs: Vec<PathBuf> = vec![site.spool.clone()];
        dirs.extend(site.domains.iter().filter_map(|domain| domain.mail_dir()));
        dirs.retain(|dir| !is_usual(dir));
        dirs.dedup();
        lines.extend(dirs.iter().map(|dir| format!("ReadWritePaths={}", dir.display())));
        if site.run_as != "facteur" {
            lines.push(format!("User={}", site.run_as));
            lines.push("Group=".to_owned());
        }
        let toml = site.toml();
        if toml != Path::new("/etc/facteur/facteur.toml") {
            let toml = toml.display();
            lines.push("ExecStart=".to_owned());
            lines.push(format!("ExecStart=/usr/bin/facteur -c {toml} serve"));
            lines.push("ExecReload=".to_owned());
            lines.push("ExecReload=/bin/sh -c 'kill -HUP $MAINPID'".to_owned());
        }
        if lines.is_empty() {
            return String::new();
        }
        let file = "/etc/systemd/system/facteur.service.d/places.conf";
        format!(
            "     mkdir -p /etc/systemd/system/facteur.service.d\n     cat >{file} <<'END'\n[Service]\n{}\nEND\n\
             \x20    systemctl daemon-reload\n",
            lines.join("\n")
        )
    }
}
