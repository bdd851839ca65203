//! A rotation of keys in a running server, over a scripted DNS that is down in the middle: what the log, the list and
//! the metric say at each step. An hour passes by setting what is remembered an hour back.

use crate::commands::run;
use crate::dnsd::Dnsd;
use crate::metrics::get;
use crate::servers::Binary;
use crate::support::{Place, config, files, skip, until};
use crate::tls::address;
use facteur::mail::proof::dkim::sign::strings;
use facteur::mail::proof::name::Name;
use facteur::store::keys::KeyKind;
use facteur::store::keys::make::{make_dir, make_key};
use nix::unistd::{User, geteuid};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

/// A site with keys and a name server.
struct Trial {
    place: Place,
    dns: Dnsd,
}

impl Trial {
    fn new() -> Trial {
        let place = Place::new();
        make_dir(&place.at("keys"), None).unwrap();
        Trial { place, dns: Dnsd::new("") }
    }

    fn config(&self) -> String {
        let servers = format!("[dns]\nservers = [\"{}\"]\ntimeout = \"2s\"", self.dns.address());
        let listen = "smtp = [\"127.0.0.1:0\"]\nmetrics = [\"127.0.0.1:0\"]";
        let config = config(&format!("dkim = \"keys\"\n{servers}"));
        config.replace("smtp = [\"127.0.0.1:0\"]", listen)
    }

    fn serve(&self) -> Binary {
        Binary::serve(&self.place, &self.config())
    }

    /// A new key; gives the line of a zone that publishes it.
    fn make(&self, selector: &str, kind: KeyKind) -> String {
        let name = Name::parse(selector.as_bytes()).unwrap();
        let key = make_key(&self.place.at("keys"), &name, kind, None).unwrap();
        format!("{selector}._domainkey.mx.test 0 TXT {}\n", strings(&key.record).join("|"))
    }

    /// Each key with its state.
    fn states(&self) -> Vec<String> {
        let (_, out, _) = run(&self.place, &["dkim", "list", "--json"]);
        let row = |line: &str| {
            let row: Value = serde_json::from_str(line).unwrap();
            format!("{} {}", row["selector"].as_str().unwrap(), row["state"].as_str().unwrap())
        };
        out.lines().map(row).collect()
    }

    /// What is remembered, changed by hand.
    fn remember(&self, change: impl Fn(&str) -> String) {
        let path = self.place.at("spool/dkim/mx.test");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, change(&text)).unwrap();
    }
}

/// The metric for the domain.
fn unpublished(server: &Binary) -> String {
    let (_, text) = get(address(server, "metrics"), "/metrics");
    let start = "facteur_dkim_unpublished{domain=\"mx.test\"} ";
    let line = text.lines().find(|line| line.starts_with(start));
    line.map_or("none".to_owned(), |line| line[start.len()..].to_owned())
}

#[test]
fn a_rotation_with_dns_down_in_the_middle() {
    let trial = Trial::new();
    let old = trial.make("a", KeyKind::Rsa);
    let server = trial.serve();
    server.wait_for(&["key domain=mx.test selector=a type=rsa state=waiting"]);
    server.wait_for(&["warning", "DNS has never shown the rsa key at a._domainkey.mx.test"]);
    server.wait_for(&["warning", "mail of mx.test leaves unsigned"]);
    until("the metric counts it", || unpublished(&server) == "1");

    // It is published: a reload asks, though there was another answer a moment before.
    trial.dns.set(&old);
    server.signal("HUP");
    server.wait_for(&["key domain=mx.test selector=a type=rsa state=signs"]);
    until("nothing is missing", || unpublished(&server) == "0");
    assert_eq!(trial.states(), ["a signs"]);

    // A new one appears, which a session shows to the server.
    let new = trial.make("b", KeyKind::Rsa);
    until("the new key is seen", || {
        server.client();
        server.lines().iter().any(|line| line.contains("selector=b type=rsa state=waiting"))
    });
    trial.dns.set(&format!("{old}{new}"));
    server.signal("HUP");
    until("it is shown", || unpublished(&server) == "0");
    assert_eq!(trial.states(), ["a signs", "b waiting"]);

    // DNS is down when its hour is over.
    trial.dns.set("* !servfail");
    let hour_ago = |text: &str| {
        let year = |word: &str| word.starts_with("20") && word.ends_with('Z');
        let word =
            |word: &str| if year(word) { "2026-01-01T00:00:00Z".into() } else { word.to_owned() };
        let line = |line: &str| match line.starts_with("key b") {
            true => line.split(' ').map(word).collect::<Vec<String>>().join(" "),
            false => line.to_owned(),
        };
        text.lines().map(line).map(|line| line + "\n").collect()
    };
    trial.remember(hour_ago);
    server.signal("HUP");
    server.wait_for(&["key domain=mx.test selector=b type=rsa state=signs"]);
    server.wait_for(&["key domain=mx.test selector=a type=rsa state=retired until="]);
    assert_eq!(trial.states(), ["a retired", "b signs"]);

    // The server does not forget over a restart, whatever DNS says.
    server.stop();
    let server = trial.serve();
    server.wait_for(&["key domain=mx.test selector=b type=rsa state=signs"]);
    trial.dns.set("");
    server.signal("HUP");
    server.wait_for(&["warning", "DNS no longer shows the rsa key at b._domainkey.mx.test"]);
    assert_eq!(
        (trial.states(), unpublished(&server)),
        (vec!["a retired".into(), "b signs".into()], "2".into())
    );
    server.stop();
}

/// What a running server knows of its keys does not go with the file, though DNS is down.
#[test]
fn a_file_that_is_broken_or_removed_is_written_again() {
    let trial = Trial::new();
    trial.dns.set(&trial.make("a", KeyKind::Rsa));
    let server = trial.serve();
    server.wait_for(&["key domain=mx.test selector=a type=rsa state=signs"]);
    trial.dns.set("* !servfail");
    let path = trial.place.at("spool/dkim/mx.test");
    let whole = fs::read_to_string(&path).unwrap();
    for torn in [Some(&whole[..whole.len() - 20]), Some(""), None] {
        match torn {
            Some(text) => fs::write(&path, text).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        until("it is written again", || {
            server.client();
            fs::read_to_string(&path).is_ok_and(|text| text == whole)
        });
    }
    assert_eq!(trial.states(), ["a signs"]);
    let lines = server.lines();
    let bad = |line: &&String| line.contains("leaves unsigned") || line.contains("waits");
    assert_eq!(lines.iter().filter(bad).count(), 0, "{lines:#?}");
    server.stop();
}

#[test]
fn the_first_message_finds_a_key_that_dns_shows_already() {
    let trial = Trial::new();
    trial.dns.set(&format!(
        "{}{}",
        trial.make("a", KeyKind::Rsa),
        trial.make("b", KeyKind::Ed25519)
    ));
    let server = trial.serve();
    // It waited for DNS before it listened.
    let lines = server.lines();
    assert!(fs::read_to_string(trial.place.at("spool/dkim/mx.test")).is_ok(), "{lines:#?}");
    assert_eq!(trial.states(), ["a signs", "b signs"]);
    // A restart without the file asks again.
    server.stop();
    fs::remove_file(trial.place.at("spool/dkim/mx.test")).unwrap();
    let server = trial.serve();
    assert_eq!(trial.states(), ["a signs", "b signs"]);
    server.stop();
}

#[test]
fn what_dns_shows_is_read_as_others_read_it() {
    let trial = Trial::new();
    let by_alias = trial.make("a", KeyKind::Rsa).replace("a._domainkey.mx.test", "x.far.test");
    let of_others = trial.make("b", KeyKind::Ed25519).replace("b._domainkey", "c._domainkey");
    let beside = trial.make("d", KeyKind::Ed25519);
    trial.make("c", KeyKind::Ed25519);
    // `c` shows the key of `b`; `d` has another record before its own.
    trial.dns.set(&format!(
        "a._domainkey.mx.test 0 CNAME x.far.test\n{by_alias}{of_others}\
         d._domainkey.mx.test 0 TXT v=spf1 -all\n{beside}"
    ));
    let server = trial.serve();
    assert_eq!(trial.states(), ["a signs", "b waiting", "c waiting", "d signs"]);
    server.stop();
}

#[test]
fn a_server_that_was_roots_reads_keys_as_its_own_user() {
    let nobody = User::from_name("nobody").unwrap().filter(|_| geteuid().is_root());
    let Some(nobody) = nobody else { return skip("only root can become another user") };
    let trial = Trial::new();
    let place = &trial.place;
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    fs::remove_dir(place.at("keys")).unwrap();
    for dir in ["spool", "mail"] {
        fs::create_dir(place.at(dir)).unwrap();
        chown(place.at(dir), Some(nobody.uid.as_raw()), Some(nobody.gid.as_raw())).unwrap();
    }
    let is_open = |dir: &Path| fs::metadata(dir).unwrap().mode() & 0o001 != 0;
    if !place.path().ancestors().all(is_open) {
        return skip("other users do not get into the folder of temporary files");
    }
    let server = Binary::serve(place, &format!("run_as = \"nobody\"\n{}", trial.config()));
    server.wait_for(&["warning", ".dkim: ", "keys: No such file"]);
    // Made by root beside the running server, which sees it and asks.
    let (status, out, err) = run(place, &["dkim", "new", "mx.test", "--type", "ed25519"]);
    assert_eq!(status, 0, "{err}");
    let (name, record) = out.split_once(". IN TXT ( \"").unwrap();
    trial.dns.set(&format!("{name} 0 TXT {}", record.trim_end().trim_end_matches("\" )")));
    server.signal("HUP");
    server.wait_for(&["key domain=mx.test ", "type=ed25519 state=signs"]);
    let owner = |name: &str| fs::metadata(place.at(name)).unwrap().uid();
    assert_eq!(owner("spool/dkim/mx.test"), nobody.uid.as_raw());
    // A key of root's that only root can read does not sign, and is named.
    chown(&files(&place.at("keys"))[0], Some(0), Some(0)).unwrap();
    until("it is named", || {
        server.client();
        let waits = |line: &String| line.contains("mail of mx.test waits: ");
        server.lines().iter().any(waits)
    });
    server.wait_for(&["warning", ".ed25519.pem: Permission denied"]);
    server.stop();
}

#[test]
fn keys_that_cannot_be_used_keep_no_server_from_starting() {
    let trial = Trial::new();
    trial.dns.set(&trial.make("a", KeyKind::Ed25519));
    trial.serve().stop();
    let key = files(&trial.place.at("keys"))[0].clone();
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    let server = trial.serve();
    server.wait_for(&["warning", "a.ed25519.pem: group or others can read"]);
    server.wait_for(&["warning", "mail of mx.test waits: "]);
    server.client().delivered(&["ann@mx.test"], b"Subject: x\r\n\r\nHello.\r\n");
    // It is mended: a session shows it.
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    until("the key is read again", || {
        server.client();
        trial.states() == ["a signs"]
    });
    let said = server.lines().join("\n");
    let text = fs::read_to_string(&key).unwrap();
    assert!(text.lines().all(|line| !said.contains(line)), "a key stands in the log");
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("1"), "{core}");
    server.stop();
}

#[test]
fn a_torn_file_is_named_and_dns_asked_again() {
    let trial = Trial::new();
    trial.dns.set(&trial.make("a", KeyKind::Ed25519));
    trial.serve().stop();
    trial.remember(|text| text[..text.len() / 2].to_owned());
    let (_, _, err) = run(&trial.place, &["dkim", "list"]);
    assert!(err.contains("spool/dkim/mx.test: ") && err.contains("DNS is asked anew"), "{err}");
    let server = trial.serve();
    until("it is known again", || trial.states() == ["a signs"]);
    server.stop();
}

#[test]
fn a_site_without_keys_asks_nothing_and_has_no_thread_for_them() {
    let trial = Trial::new();
    let config = trial.config().replace("dkim = \"keys\"\n", "");
    let server = Binary::serve(&trial.place, &config);
    server.client();
    let names = || {
        let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
        let name = |task: std::io::Result<fs::DirEntry>| {
            fs::read_to_string(task.unwrap().path().join("comm"))
        };
        tasks.filter_map(|task| name(task).ok()).collect::<String>()
    };
    assert!(!names().contains("keys\n") && !trial.place.at("spool/dkim").exists());
    assert_eq!((trial.dns.log(), unpublished(&server).as_str()), (vec![], "none"));
    // A reload brings keys, and the next one takes them away.
    trial.place.write("facteur.toml", trial.config());
    server.signal("HUP");
    until("the thread is there", || names().contains("keys\n"));
    trial.place.write("facteur.toml", config);
    server.signal("HUP");
    until("the thread is gone", || !names().contains("keys\n"));
    server.stop();
}
