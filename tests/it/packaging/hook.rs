//! certbot's hook: a renewed pair is where the configuration names it, as its owner had it, and the server
//! shows it without a restart.

use crate::secrecy::{Pair, TLS};
use crate::servers::Binary;
use crate::support::{Place, config, has_program, skip, text, tree};
use crate::tls::{address, site};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// In the place of systemctl: the server runs, and a reload is what the unit's ExecReload ends with.
const SYSTEMCTL: &str = "#!/bin/sh
echo \"$*\" >>\"$CALLS\"
[ \"$1\" != reload ] || [ -z \"${SERVER:-}\" ] || kill -HUP \"$SERVER\"
";

/// A place with a configuration whose pair lies in `tls/`, and certbot's directory of a renewed one.
fn place() -> Option<Place> {
    if !has_program("openssl", "version") {
        skip("openssl is not installed");
        return None;
    }
    let place = Place::new();
    for dir in ["tls", "live", "bin"] {
        fs::create_dir(place.at(dir)).unwrap();
    }
    let program = place.write("bin/systemctl", SYSTEMCTL);
    mode(&program, 0o755);
    place.write("calls", "");
    place.write("facteur.toml", in_tls(&config(TLS)));
    renew(&place);
    Some(place)
}

fn in_tls(config: &str) -> String {
    config.replace("mx.pem", "tls/fullchain.pem").replace("mx.key", "tls/privkey.pem")
}

/// A new pair in the place of certbot's, by openssl.
fn renew(place: &Place) {
    let mut command = Command::new("openssl");
    command.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ]);
    command.args(["-subj", "/CN=mx.test", "-addext", "subjectAltName=DNS:mx.test", "-days", "90"]);
    command.arg("-out").arg(place.at("live/fullchain.pem"));
    let output = command.arg("-keyout").arg(place.at("live/privkey.pem")).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The hook, as certbot runs it for a certificate of these names.
fn hook(place: &Place, names: &str) -> Command {
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new(fs::canonicalize("packaging/certbot-deploy-hook").unwrap());
    command
        .env("PATH", format!("{}:{path}", place.at("bin").display()))
        .env("CALLS", place.at("calls"))
        .env("FACTEUR_TOML", place.at("facteur.toml"))
        .env("DOVECOT_CONF", place.at("dovecot.conf"))
        .env("RENEWED_LINEAGE", place.at("live"))
        .env("RENEWED_DOMAINS", names)
        .current_dir("/");
    command
}

fn done(mut command: Command) {
    let output = command.output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
}

fn refused(mut command: Command) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    assert_eq!(status.code(), Some(1), "{}", text(&stderr));
    text(&stderr)
}

fn calls(place: &Place) -> String {
    fs::read_to_string(place.at("calls")).unwrap()
}

fn is_in_use(place: &Place) -> bool {
    ["fullchain.pem", "privkey.pem"].iter().all(|name| {
        let read = |dir: &str| fs::read(place.at(dir).join(name)).ok();
        read("live") == read("tls")
    })
}

#[test]
fn a_first_pair_is_for_the_server_alone() {
    if !nix::unistd::geteuid().is_root() {
        return skip("certbot runs its hooks as root");
    }
    let Some(place) = place() else { return };
    let config = fs::read_to_string(place.at("facteur.toml")).unwrap();
    let group = nix::unistd::Group::from_name("nogroup").unwrap().expect("Debian has it");
    // Of a host name the case of letters does not count.
    let config = config.replace("\"mx.test\"\nspool", "\"MX.test\"\nspool");
    place.write("facteur.toml", format!("run_as = 'nobody' # who serves\n{config}"));
    done(hook(&place, "www.test mx.test"));
    assert!(is_in_use(&place));
    let key = fs::metadata(place.at("tls/privkey.pem")).unwrap();
    assert_eq!((key.uid(), key.gid(), key.mode() & 0o7777), (0, group.gid.as_raw(), 0o640));
    assert_eq!(fs::metadata(place.at("tls/fullchain.pem")).unwrap().mode() & 0o7777, 0o644);
    assert_eq!(calls(&place), "--quiet is-active facteur.service\nreload facteur.service\n");
}

#[test]
fn the_next_pair_has_owner_and_mode_of_the_one_before() {
    let Some(place) = place() else { return };
    for (name, had) in [("fullchain.pem", 0o640), ("privkey.pem", 0o400)] {
        let path = place.write(&format!("tls/{name}"), "old");
        mode(&path, had);
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(61_001), Some(61_002)).unwrap();
        }
    }
    let owners = |name: &str| {
        let found = fs::metadata(place.at(name)).unwrap();
        (found.uid(), found.gid(), found.mode())
    };
    let before = (owners("tls/fullchain.pem"), owners("tls/privkey.pem"));
    for _ in 0..2 {
        renew(&place);
        done(hook(&place, "mx.test"));
        assert!(is_in_use(&place));
        assert_eq!((owners("tls/fullchain.pem"), owners("tls/privkey.pem")), before);
    }
    let left: Vec<PathBuf> = tree(&place.at("tls"));
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn a_certificate_of_another_name_and_a_torn_one_are_left() {
    let Some(place) = place() else { return };
    for name in ["fullchain.pem", "privkey.pem"] {
        place.write(&format!("tls/{name}"), "old");
    }
    let is_old = || {
        ["fullchain.pem", "privkey.pem"]
            .iter()
            .all(|name| fs::read(place.at("tls").join(name)).unwrap() == b"old")
    };
    for names in ["", "www.test", "mx.test.www.test", "*.mx.test", "*"] {
        done(hook(&place, names));
        assert!(is_old(), "{names}");
    }
    fs::write(place.at("live/privkey.pem"), "").unwrap();
    assert!(refused(hook(&place, "mx.test")).contains("privkey.pem is missing or empty"));
    renew(&place);
    fs::remove_file(place.at("live/fullchain.pem")).unwrap();
    assert!(refused(hook(&place, "mx.test")).contains("fullchain.pem is missing or empty"));
    assert!(is_old());
    assert_eq!(calls(&place), "");
    // Where no TLS is served nothing can be put.
    renew(&place);
    place.write("facteur.toml", config(""));
    assert!(refused(hook(&place, "mx.test")).contains("names no tls.certificate"));
    assert_eq!(tree(&place.at("tls")).len(), 2);
}

#[test]
fn dovecot_reads_again_what_it_shows_too() {
    let Some(place) = place() else { return };
    for name in ["fullchain.pem", "privkey.pem"] {
        place.write(&format!("tls/{name}"), "old");
    }
    let of_facteur = "--quiet is-active facteur.service\nreload facteur.service\n";
    let of_dovecot = "--quiet is-active dovecot.service\nreload dovecot.service\n";
    let certificate = place.at("tls/fullchain.pem").display().to_string();
    for (conf, calls_of_dovecot) in [
        (String::from("ssl_cert = </etc/ssl/other.pem\n"), ""),
        (format!("ssl_cert = <{certificate}\n"), of_dovecot),
        (format!("ssl_server_cert_file = {certificate}\n"), of_dovecot),
    ] {
        place.write("dovecot.conf", &conf);
        place.write("calls", "");
        done(hook(&place, "mx.test"));
        assert_eq!(calls(&place), format!("{of_facteur}{calls_of_dovecot}"), "{conf}");
    }
}

#[test]
fn before_facteur_is_set_up_other_certificates_are_renewed_all_the_same() {
    let Some(place) = place() else { return };
    fs::remove_file(place.at("facteur.toml")).unwrap();
    done(hook(&place, "www.test mx.test"));
    assert_eq!(calls(&place), "");
}

#[test]
fn links_stay() {
    let Some(place) = place() else { return };
    place.write("real.key", "old");
    std::os::unix::fs::symlink("../live/fullchain.pem", place.at("tls/fullchain.pem")).unwrap();
    std::os::unix::fs::symlink("../real.key", place.at("tls/privkey.pem")).unwrap();
    done(hook(&place, "*.test"));
    assert!(is_in_use(&place));
    for name in ["tls/fullchain.pem", "tls/privkey.pem"] {
        assert!(fs::symlink_metadata(place.at(name)).unwrap().is_symlink(), "{name}");
    }
}

#[test]
fn the_server_shows_it_without_a_restart() {
    let Some(place) = place() else { return };
    let first = Pair::of(&["mx.test"]);
    place.write("tls/fullchain.pem", &first.certificate);
    place.write("tls/privkey.pem", &first.key);
    let server = Binary::serve(&place, &in_tls(&site("")));
    let of = |told: &str| {
        let (_, rest) = told.split_once("-----BEGIN CERTIFICATE-----").unwrap();
        rest.split_once("-----END").unwrap().0.split_whitespace().collect::<String>()
    };
    let shown = || {
        let mut command = Command::new("openssl");
        let there = address(&server, "submissions").to_string();
        command.args(["s_client", "-connect", &there]).stdin(std::process::Stdio::null());
        of(&text(&command.output().unwrap().stdout))
    };
    assert_eq!(shown(), of(&first.certificate));
    let mut session = server.client();
    let mut command = hook(&place, "mx.test");
    command.env("SERVER", server.pid().to_string());
    done(command);
    server.wait_for(&["reloaded "]);
    assert_eq!(shown(), of(&fs::read_to_string(place.at("live/fullchain.pem")).unwrap()));
    session.expect("NOOP", "250 ");
    server.stop();
}
