//! What is written is read back as it was meant, and a run may break off behind any of its steps.

use super::make::{carry_out, one};
use super::plan::{SetupStep, TomlState, plan};
use super::site::{
    BackupToSetUp, DomainToSetUp, MailPlace, SitePlaces, SiteToSetUp, SmarthostToSetUp,
    TableToSetUp,
};
use super::toml::{domain_table, quoted, toml};
use crate::config::{CatchAll, Config, HostPort, LmtpServer, Network};
use crate::mail::address::Domain;
use crate::privileges;
use crate::store::keys::{KeyDir, KeyKind};
use nix::unistd::geteuid;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        let dir = std::env::temp_dir().join(format!("facteur-{}", crate::id::message()));
        fs::create_dir(&dir).unwrap();
        Scratch(dir)
    }

    /// A site below it, of whoever runs the test.
    fn site(&self) -> SiteToSetUp {
        let [etc, spool, mail] = ["etc/facteur", "spool", "mail"].map(|name| self.0.join(name));
        let mut site = SiteToSetUp::new(
            name("mx.mx.test"),
            &privileges::name_of(geteuid().as_raw()),
            &SitePlaces { etc, spool, mail: mail.clone() },
        );
        site.domains.push(DomainToSetUp::new(name("mx.test"), &mail.display().to_string()));
        site
    }

    /// All that is there: modes, and the text of files that are the same each time.
    fn tree(&self) -> BTreeMap<String, String> {
        let (mut tree, mut dirs) = (BTreeMap::new(), vec![self.0.clone()]);
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let found = fs::symlink_metadata(&path).unwrap();
                let is_fixed = !path.to_string_lossy().ends_with(".pem");
                let text = match found.is_file() && is_fixed {
                    true => fs::read_to_string(&path).unwrap(),
                    false => String::new(),
                };
                tree.insert(path.display().to_string(), format!("{:o} {text}", found.mode()));
                if found.is_dir() {
                    dirs.push(path);
                }
            }
        }
        tree
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn name(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

/// The configuration of a site, without a server of names that answers.
fn config(site: &SiteToSetUp) -> Config {
    let text = toml(site) + "\n[dns]\nservers = [\"127.0.0.1:1\"]\ntimeout = \"1s\"\n";
    Config::parse(&text, &site.toml()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn steps(site: &SiteToSetUp) -> Vec<SetupStep> {
    let new: Vec<Domain> = site.domains.iter().map(|domain| domain.name.clone()).collect();
    plan(site, TomlState::Missing, &new, None, Vec::new())
}

#[test]
fn a_run_that_breaks_off_is_finished_by_the_next() {
    let whole = Scratch::new();
    let site = whole.site();
    let steps_of_whole = steps(&site);
    let made =
        carry_out(&steps_of_whole, &config(&site), &|_| Ok(())).map_err(|_| "failed").unwrap();
    // All but the user, who is there.
    assert_eq!(made.len(), steps_of_whole.len() - 1);
    let names = |scratch: &Scratch| {
        let root = scratch.0.display().to_string();
        let tree = scratch.tree().into_iter();
        tree.map(|(path, what)| (path.replace(&root, ""), what.replace(&root, "")))
            .collect::<Vec<_>>()
    };
    let wanted = names(&whole);
    assert!(
        carry_out(&steps_of_whole, &config(&site), &|_| Ok(())).is_ok_and(|made| made.is_empty())
    );
    assert_eq!(names(&whole), wanted);
    for count in 0..steps_of_whole.len() {
        let broken = Scratch::new();
        let site = broken.site();
        let steps = steps(&site);
        for step in &steps[..count] {
            assert!(one(step, &config(&site)).is_ok(), "{step}");
        }
        // Within the next step: a draft of a file, a key without the other.
        match &steps[count] {
            SetupStep::File { path, .. } | SetupStep::Copy { path, .. } => {
                let name = path.file_name().unwrap().to_string_lossy();
                fs::write(path.with_file_name(format!(".{name}.{}", crate::id::message())), "x")
                    .unwrap();
            }
            SetupStep::Keys { dir, .. } => {
                let (dir, key) = (dir.as_path(), crate::store::keys::selector("a1").unwrap());
                crate::store::keys::make::make_dir(dir, None).unwrap();
                crate::store::keys::make::make_key(dir, &key, KeyKind::Rsa, None).unwrap();
            }
            SetupStep::Pair { key, .. } => {
                let own = rcgen::KeyPair::generate().unwrap().serialize_pem();
                crate::store::fresh::write_new(key, own.as_bytes(), 0o640, None).unwrap();
            }
            SetupStep::User { .. } | SetupStep::Dir { .. } | SetupStep::Compile { .. } => {}
        }
        assert!(
            carry_out(&steps, &config(&site), &|_| Ok(())).is_ok(),
            "broken off behind {count} steps"
        );
        let is_key = |(path, _): &&(String, String)| path.contains("/keys/mx.test/");
        let other = |all: &[(String, String)]| {
            all.iter().filter(|one| !is_key(one)).cloned().collect::<Vec<_>>()
        };
        assert_eq!(other(&names(&broken)), other(&wanted), "broken off behind {count} steps");
        let mut kinds: Vec<KeyKind> = KeyDir::read(&site.at(Path::new("keys/mx.test")))
            .keys
            .iter()
            .map(|key| key.kind)
            .collect();
        kinds.sort_by_key(|kind| kind.word());
        assert_eq!(kinds, [KeyKind::Ed25519, KeyKind::Rsa]);
        let [certificate, key] = ["fullchain.pem", "privkey.pem"]
            .map(|name| fs::read(site.at(&Path::new("tls").join(name))).unwrap());
        assert!(crate::net::tls::Acceptor::new(&certificate, &key).is_ok());
    }
}

#[test]
fn what_is_there_stays() {
    let scratch = Scratch::new();
    let site = scratch.site();
    let places = [site.etc.clone(), site.at(Path::new("tls")), site.spool.clone()];
    places.iter().for_each(|dir| fs::create_dir_all(dir).unwrap());
    let files =
        ["mx.test.users", "mx.test.aliases", "facteur.toml"].map(|name| site.etc.join(name));
    files.iter().for_each(|file| fs::write(file, "mine\n").unwrap());
    fs::write(site.spool.join("mail"), "").unwrap();
    let before = scratch.tree();
    assert!(carry_out(&steps(&site), &config(&site), &|_| Ok(())).is_ok());
    let after = scratch.tree();
    assert!(
        before.iter().all(|(path, what)| after.get(path) == Some(what)),
        "{before:?}\n{after:?}"
    );
}

#[test]
fn a_file_in_the_place_of_a_directory_is_named() {
    let scratch = Scratch::new();
    let site = scratch.site();
    fs::create_dir_all(&site.etc).unwrap();
    fs::write(site.etc.join("tls"), "").unwrap();
    let steps = steps(&site);
    let failed = carry_out(&steps, &config(&site), &|_| Ok(()));
    let Err(crate::tools::Failure::Failed(why)) = failed else { panic!("it was made") };
    assert!(why.contains("/tls (0755, root): there is a file of that name"), "{why}");
    assert!(!site.toml().exists());
}

#[test]
fn a_configuration_is_read_back_as_it_was_meant() {
    let scratch = Scratch::new();
    let mut site = scratch.site();
    site.networks = vec![Network { address: [127, 0, 0, 0].into(), bits: 8 }];
    let at = |host: &str, port| HostPort { host: host.to_owned(), port };
    let password = TableToSetUp::new("smarthost.password", "se\"cret\n".to_owned());
    site.smarthost = Some(SmarthostToSetUp {
        at: at("2001:db8::1", 587),
        login: Some(("me \"x\" \\ \u{fc}".to_owned(), password.clone())),
    });
    site.routes = vec![
        ("far.test".to_owned(), at("127.0.0.1", 2525)),
        (".far.test".to_owned(), at("b.test", 25)),
    ];
    let recipients = TableToSetUp::new("b.test.recipients", "ann\n".to_owned());
    site.backup = vec![
        BackupToSetUp { name: name("b.test"), recipients: Some(recipients.clone()) },
        BackupToSetUp { name: name("c.test"), recipients: None },
    ];
    (site.message_size, site.recipients) = (Some(10_240_001), Some(2000));
    site.alias_domains = vec![(name("alias.test"), name("mx.test"))];
    let mut kept = DomainToSetUp::new(name("kept.test"), "/unused");
    kept.mail = MailPlace::Lmtp(LmtpServer::Unix("/run/dovecot/lmtp".into()));
    (kept.any_user, kept.subaddress) = (true, Some(String::new()));
    (kept.users, kept.aliases, kept.dkim) = (None, None, None);
    kept.catch_all = Some(CatchAll::Here("postmaster".to_owned()));
    site.domains.push(kept);

    let config = Config::parse(&toml(&site), &site.toml()).unwrap();
    assert_eq!(config.hostname, site.hostname);
    assert_eq!((&config.spool, config.run_as.as_ref()), (&site.spool, Some(&site.run_as)));
    assert_eq!(config.listen, site.listen);
    let tls = config.tls.as_ref().unwrap();
    assert_eq!(
        (&tls.certificate, &tls.key),
        (&site.etc.join("tls/fullchain.pem"), &site.etc.join("tls/privkey.pem"))
    );
    let [first, second] = &config.domains[..] else { panic!("{:?}", config.domains) };
    assert_eq!(first.maildir, format!("{}/{{domain}}/{{user}}", site.mail.display()));
    assert_eq!(first.users, Some(site.etc.join("mx.test.users")));
    assert_eq!(first.aliases, Some(site.etc.join("mx.test.aliases")));
    assert_eq!(first.dkim, Some(site.etc.join("keys/mx.test")));
    assert_eq!(
        (first.lmtp.as_ref(), first.catch_all.as_ref(), first.subaddress.as_str()),
        (None, None, "+")
    );
    assert_eq!(second.lmtp, Some(LmtpServer::Unix("/run/dovecot/lmtp".into())));
    assert_eq!((second.any_user, second.subaddress.as_str()), (true, ""));
    assert_eq!((&second.users, &second.aliases, &second.dkim), (&None, &None, &None));
    assert_eq!(second.catch_all, Some(CatchAll::Here("postmaster".to_owned())));
    assert_eq!(config.target(&name("alias.test")), &name("mx.test"));
    let relay = &config.relay;
    assert_eq!((&relay.networks, &relay.route), (&site.networks, &site.routes));
    assert_eq!(relay.smarthost, Some(at("2001:db8::1", 587)));
    let auth = relay.smarthost_auth.as_ref().unwrap();
    assert_eq!(
        (auth.user.as_str(), &auth.password_file),
        ("me \"x\" \\ \u{fc}", &site.at(&password.path))
    );
    assert_eq!(
        relay.backup_of(&name("b.test")).unwrap().recipients,
        Some(site.at(&recipients.path))
    );
    assert_eq!(relay.backup_of(&name("c.test")).unwrap().recipients, None);
    assert_eq!((config.limit.message_size, config.limit.recipients), (10_240_001, 2000));

    // What a configuration says is a site again, and a table goes behind any file.
    let places =
        SitePlaces { etc: site.etc.clone(), spool: site.spool.clone(), mail: site.mail.clone() };
    let again = SiteToSetUp::of(&config, &places);
    assert_eq!(again.domains[0].users.as_ref().unwrap().path, site.etc.join("mx.test.users"));
    assert_eq!(again.alias_domains, site.alias_domains);
    let more = toml(&site) + &domain_table(&DomainToSetUp::new(name("more.test"), "/mail"));
    assert_eq!(Config::parse(&more, &site.toml()).unwrap().domains.len(), 3);
}

#[test]
fn texts_are_quoted_as_toml_has_them() {
    for (text, wanted) in
        [("a", "\"a\""), ("a\"\\\u{7f}\n\u{fc}", "\"a\\\"\\\\\\u007F\\u000A\u{fc}\"")]
    {
        assert_eq!(quoted(text), wanted);
    }
}
