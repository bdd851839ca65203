//! The units for systemd that lie in `packaging/`: systemd understands them, they hold what they promise,
//! and their configuration is one that the server takes.

use crate::servers::FACTEUR;
use crate::support::{Place, config, has_program, skip, text};
use std::fs;
use std::process::{Command, Output};

fn unit(name: &str) -> String {
    fs::read_to_string(format!("packaging/{name}")).expect("tests run in the crate's folder")
}

/// Both units in a place, with the binary under test; nothing without systemd.
fn units() -> Option<Place> {
    if !has_program("systemd-analyze", "--version") {
        skip("systemd-analyze is not installed");
        return None;
    }
    let place = Place::new();
    place.write("facteur.service", unit("facteur.service").replace("/usr/bin/facteur", FACTEUR));
    place.write("facteur.socket", unit("facteur.socket"));
    Some(place)
}

fn analyze(place: &Place, arguments: &[&str]) -> Output {
    let mut command = Command::new("systemd-analyze");
    command.current_dir(place.path()).args(arguments).arg("./facteur.service").output().unwrap()
}

#[test]
fn systemd_understands_the_units() {
    let Some(place) = units() else { return };
    for unit in ["./facteur.service", "./facteur.socket"] {
        let mut command = Command::new("systemd-analyze");
        let output = command.current_dir(place.path()).args(["verify", unit]).output().unwrap();
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
    let judged = ["security", "--offline=yes", "--threshold=20", "--no-pager"];
    let output = analyze(&place, &judged);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn the_service_is_no_root_and_its_words_are_those_of_the_server() {
    let service = unit("facteur.service");
    for line in [
        "User=facteur",
        "Type=notify",
        "ExecReload=/bin/kill -HUP $MAINPID",
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

/// What is run before the signal, as systemd would run it.
#[test]
fn a_reload_fails_by_what_a_server_would_end_by() {
    let place = Place::new();
    let file = place.at("facteur.toml");
    let service = unit("facteur.service").replace("/usr/bin/facteur", FACTEUR);
    let service = service.replace("/etc/facteur/facteur.toml", file.to_str().unwrap());
    let mut steps = service.lines().filter_map(|line| line.strip_prefix("ExecReload="));
    let (check, signal) = (steps.next().unwrap(), steps.next().unwrap());
    assert_eq!((signal, steps.next()), ("/bin/kill -HUP $MAINPID", None));
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
