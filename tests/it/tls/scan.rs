//! What testssl.sh says of both ports for our users: nothing of severity medium or higher.

use super::{address, site};
use crate::outside::{installed, program};
use crate::secrecy::{Pair, authority};
use crate::servers::Binary;
use crate::support::{Place, text};
use std::fs;
use std::thread;

/// What it could not find out, and where else that stands; all else that it could not is a failure.
const UNKNOWN: [(&str, &str); 3] = [
    ("engine_problem", "about the openssl of this machine, which has no GOST"),
    ("sessionresumption_ticket", "its openssl has gone before a ticket comes: see tests/it/tls.rs"),
    ("sessionresumption_ID", "the same"),
];

/// What it has to have looked at, and found well: else it did not come so far.
const GOOD: [&str; 24] = [
    "SSLv2",
    "SSLv3",
    "TLS1_2",
    "TLS1_3",
    "cipherlist_NULL",
    "cipherlist_aNULL",
    "cipherlist_LOW",
    "PFS",
    "cipher_order",
    "cert_trust",
    "cert_chain_of_trust",
    "cert_expirationStatus",
    "heartbleed",
    "CCS",
    "ROBOT",
    "secure_renego",
    "secure_client_renego",
    "CRIME_TLS",
    "POODLE_SSL",
    "SWEET32",
    "FREAK",
    "DROWN",
    "LUCKY13",
    "RC4",
];

/// Protocols, ciphers, key exchange, preferences, certificate and all vulnerabilities; not which suite
/// each mail program of the last years would get, which is no finding and takes as long again.
const CHECKS: &str = "-p -s -f -P -S -U";

/// What is found on a port: severity, name, words.
fn scan(port: u16, more: &[&str]) -> Vec<[String; 3]> {
    let place = Place::new();
    place.write("authority.pem", authority());
    // It ends with the number of things that it found odd, so its status says nothing; a minute is what
    // it takes on a machine with little else to do.
    let mut testssl = program(&place, "timeout");
    testssl.args(["900", "testssl", "--warnings", "batch", "--color", "0", "--quiet"]);
    testssl.args(CHECKS.split(' ')).args(["--ip", "127.0.0.1", "--nodns", "none"]);
    testssl.args(["--add-ca", "authority.pem", "--jsonfile", "found.json"]).args(more);
    let output = testssl.arg(format!("mx.test:{port}")).output().unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    let found = fs::read(place.at("found.json")).unwrap_or_default();
    let found: Vec<serde_json::Value> =
        serde_json::from_slice(&found).unwrap_or_else(|error| panic!("{error}: {said}"));
    let field = |row: &serde_json::Value, name| row[name].as_str().unwrap().to_owned();
    let row = |row| ["severity", "id", "finding"].map(|name| field(row, name));
    found.iter().map(row).collect()
}

#[test]
fn a_scanner_finds_nothing() {
    if !installed(&["testssl", "openssl", "timeout"]) {
        return;
    }
    let place = Place::new();
    Pair::like_a_real_one(&["mx.test"]).write(&place);
    let server = Binary::serve(&place, &site(""));
    let port = |service| address(&server, service).port();
    let ports: [(u16, &[&str]); 2] =
        [(port("submission"), &["-t", "smtp"]), (port("submissions"), &[])];
    let scans = thread::scope(|scope| {
        let scans = ports.map(|(port, more)| scope.spawn(move || scan(port, more)));
        scans.map(|scan| scan.join().unwrap())
    });
    for found in scans {
        let is_told = |[severity, id, _]: &&[String; 3]| match severity.as_str() {
            "OK" | "INFO" | "LOW" | "DEBUG" => false,
            "WARN" => !UNKNOWN.iter().any(|(known, _)| known == id),
            // MEDIUM, HIGH, CRITICAL; FATAL where it gave up.
            _ => true,
        };
        let told: Vec<_> = found.iter().filter(is_told).collect();
        assert!(told.is_empty(), "{told:#?}");
        let is_good = |id: &str| found.iter().any(|row| row[0] == "OK" && row[1] == id);
        let missing: Vec<_> = GOOD.into_iter().filter(|id| !is_good(id)).collect();
        assert!(missing.is_empty(), "{missing:?} in {found:#?}");
    }
    server.stop();
}
