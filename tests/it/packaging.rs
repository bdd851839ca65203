//! What lies in `packaging/`, tried by the programs that it is for: the units for systemd hold what they
//! promise, fail2ban finds failed logins, Prometheus knows the numbers, certbot's hook brings a pair, and man pages
//! say what --help says.

mod alerts;
mod deb;
mod guessers;
mod hook;
mod pages;

use crate::servers::FACTEUR;
use crate::support::{Place, config, has_program, skip, text};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

const SOCKETS: [&str; 2] = ["facteur.socket", "facteur-metrics.socket"];

fn unit(name: &str) -> String {
    fs::read_to_string(format!("packaging/{name}")).expect("tests run in the crate's folder")
}

/// All units in a place, with the binary under test; nothing without systemd.
fn units() -> Option<Place> {
    if !has_program("systemd-analyze", "--version") {
        skip("systemd-analyze is not installed");
        return None;
    }
    let place = Place::new();
    place.write("facteur.service", unit("facteur.service").replace("/usr/bin/facteur", FACTEUR));
    for socket in SOCKETS {
        place.write(socket, unit(socket));
    }
    Some(place)
}

fn analyze(place: &Place, arguments: &[&str]) -> Output {
    let mut command = Command::new("systemd-analyze");
    command.current_dir(place.path()).args(arguments).arg("./facteur.service").output().unwrap()
}

#[test]
fn systemd_understands_the_units() {
    let Some(place) = units() else { return };
    for unit in ["./facteur.service", "./facteur.socket", "./facteur-metrics.socket"] {
        let mut command = Command::new("systemd-analyze");
        // The pages that it names are there once the package is.
        command.current_dir(place.path()).args(["verify", "--man=no", unit]);
        let output = command.output().unwrap();
        let said = text(&output.stderr);
        // What it says of other units of this machine is not about ours.
        let ours = said.lines().find(|line| line.contains("facteur"));
        assert!(output.status.success() && ours.is_none(), "{unit}: {said}");
    }
}

#[test]
fn systemd_finds_little_that_is_exposed() {
    let Some(place) = units() else { return };
    let help = text(&analyze(&place, &["--help"]).stdout);
    if !help.contains("--threshold") || !help.contains("--offline") {
        return skip("this systemd-analyze cannot judge a unit that is not installed");
    }
    // Of 100; a unit without any line about security has 96.
    let judged = ["security", "--offline=yes", "--threshold=15", "--no-pager"];
    let output = analyze(&place, &judged);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn the_service_is_no_root_and_its_words_are_those_of_the_server() {
    let service = unit("facteur.service");
    for line in [
        "User=facteur",
        "Type=notify",
        "ExecReload=/bin/sh -c 'kill -HUP $MAINPID'",
        "CapabilityBoundingSet=",
        "AmbientCapabilities=",
        "StartLimitIntervalSec=0",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "UMask=0077",
    ] {
        assert!(service.lines().any(|found| found == line), "no {line}");
    }
    // One bad alias keeps no server from starting.
    assert!(!service.contains("ExecStartPre="));
}

/// What `sysusers.d` and `tmpfiles.d` make is what the unit runs as and may write.
#[test]
fn the_service_writes_where_directories_are_made_for_it() {
    let service = unit("facteur.service");
    let paths = service.lines().find_map(|line| line.strip_prefix("ReadWritePaths=")).unwrap();
    let writable: Vec<&str> = paths.split(' ').map(|path| path.trim_start_matches('-')).collect();
    let directories = unit("tmpfiles.d/facteur.conf");
    let directories: Vec<&str> =
        directories.lines().filter_map(|line| line.strip_prefix("d ")).collect();
    assert_eq!(directories.len(), 2);
    for line in directories {
        let words: Vec<&str> = line.split(' ').collect();
        assert!(writable.contains(&words[0]), "{line}");
        // What is there already keeps what it has.
        assert!(words[1..4].iter().all(|word| word.starts_with(':')), "{line}");
        assert_eq!(words[2..4], [":facteur", ":facteur"]);
    }
    let users = unit("sysusers.d/facteur.conf");
    assert!(users.lines().any(|line| line.starts_with("u facteur - ")), "{users}");
}

/// Both, as systemd makes them below another root.
#[test]
fn systemd_makes_the_user_and_the_directories() {
    if !nix::unistd::geteuid().is_root() {
        return skip("only root makes users");
    }
    if !has_program("systemd-sysusers", "--version")
        || !has_program("systemd-tmpfiles", "--version")
    {
        return skip("systemd-sysusers and systemd-tmpfiles are not installed");
    }
    let place = Place::new();
    fs::create_dir_all(place.at("etc")).unwrap();
    place.write("users.conf", unit("sysusers.d/facteur.conf"));
    place.write("directories.conf", unit("tmpfiles.d/facteur.conf"));
    let make = |program: &str, more: &[&str], file: &str| {
        let mut command = Command::new(program);
        command.arg(format!("--root={}", place.path().display())).args(more);
        let output = command.arg(place.at(file)).output().unwrap();
        assert!(output.status.success(), "{program}: {}", text(&output.stderr));
    };
    make("systemd-sysusers", &[], "users.conf");
    let passwd = fs::read_to_string(place.at("etc/passwd")).unwrap();
    let words: Vec<&str> =
        passwd.lines().find(|line| line.starts_with("facteur:")).unwrap().split(':').collect();
    assert_eq!(words[5..], ["/var/spool/facteur", "/usr/sbin/nologin"]);
    let (uid, gid) = (words[2].parse::<u32>().unwrap(), words[3].parse::<u32>().unwrap());
    make("systemd-tmpfiles", &["--create"], "directories.conf");
    for (path, mode) in [("var/spool/facteur", 0o711), ("var/vmail", 0o755)] {
        let found = fs::metadata(place.at(path)).unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (uid, gid, mode), "{path}");
    }
    // Another mode is somebody's wish.
    fs::set_permissions(place.at("var/vmail"), fs::Permissions::from_mode(0o750)).unwrap();
    make("systemd-tmpfiles", &["--create"], "directories.conf");
    assert_eq!(fs::metadata(place.at("var/vmail")).unwrap().mode() & 0o7777, 0o750);
}

/// What is run before the signal, as systemd would run it.
#[test]
fn a_reload_fails_by_what_a_server_would_end_by() {
    let place = Place::new();
    let file = place.at("facteur.toml");
    let service = unit("facteur.service").replace("/usr/bin/facteur", FACTEUR);
    let service = service.replace("/etc/facteur/facteur.toml", file.to_str().unwrap());
    let mut steps = service.lines().filter_map(|line| line.strip_prefix("ExecReload="));
    let (check, signal) = (steps.next().unwrap(), steps.next().unwrap());
    assert_eq!((signal, steps.next()), ("/bin/sh -c 'kill -HUP $MAINPID'", None));
    let good = config("aliases = \"aliases\"").replace("any_user = true", "users = \"users\"");
    place.write("users", "ann:{PLAIN}x:::::\n");
    for (config, aliases, is_good) in [
        (good.clone(), "team: ann\n", true),
        // One alias is refused, and all else is served.
        (good.clone(), "team: ann, bob\n", true),
        (good.replace("spool =", "spoon ="), "team: ann\n", false),
    ] {
        place.write("facteur.toml", &config);
        place.write("aliases", aliases);
        let output = Command::new("sh").args(["-c", check]).output().unwrap();
        let said = text(&output.stdout);
        assert_eq!(output.status.success(), is_good, "{config}{aliases}{said}");
        assert_eq!(said.starts_with("fatal: "), !is_good, "{said}");
    }
}
