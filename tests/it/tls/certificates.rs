//! Certificates and keys: what `check` says of them, which forms are read, and how new ones come in.

use super::{MAIL, serve, site};
use crate::client::Client;
use crate::outside::{Input, installed, program, run};
use crate::secrecy::{self, GOOD, Pair};
use crate::servers::{Binary, FACTEUR};
use crate::support::{PATIENCE, Place, skip, text, within};
use facteur::limits::PAIR_LOOK;
use nix::unistd::{User, geteuid};
use rustls::pki_types::CertificateDer;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// What a command of that site says, and whether it is content.
fn said(place: &Place, command: &str) -> (bool, String) {
    let file = place.at("facteur.toml");
    let output = Command::new(FACTEUR).arg("-c").arg(file).arg(command).output().unwrap();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

/// `check`, without what is said of submission.
fn check(place: &Place) -> (bool, String) {
    place.write("facteur.toml", crate::support::config(secrecy::TLS));
    said(place, "check")
}

#[test]
fn check_tells_what_others_would_not_believe() {
    let place = Place::new();
    Pair::of(&["other.test", "mx.test"]).write(&place);
    let (is_good, told) = check(&place);
    assert!(is_good && told.contains("mx.pem, good until 2099-01-01T00:00:00Z\n"), "{told}");
    assert!(!told.contains("facteur: "), "{told}");
    let (long_ago, to_come) = ((2001, 2002), (2098, 2099));
    for (names, years, is_good, words) in [
        (["mx.test"], long_ago, false, "tls.certificate: expired on 2002-01-01T00:00:00Z"),
        (["mx.test"], to_come, false, "tls.certificate: not valid before 2098-01-01T00:00:00Z"),
        (["other.test"], GOOD, true, "tls.certificate: it is not for mx.test"),
        (["*.test"], GOOD, true, "good until"),
    ] {
        Pair::with(&names, years, true).write(&place);
        let (found, told) = check(&place);
        assert!(found == is_good && told.contains(words), "{words}: {told}");
    }
    // A chain is no better than its worst part.
    let (mine, old) = (Pair::of(&["mx.test"]), Pair::with(&["old.test"], long_ago, true));
    mine.write(&place);
    place.write("mx.pem", mine.certificate + &old.certificate);
    let (is_good, told) = check(&place);
    assert!(!is_good && told.contains("the one at place 2 of the file expired on 2002"), "{told}");
}

#[test]
fn a_pair_that_cannot_work_is_refused_with_its_place() {
    let place = Place::new();
    let (mine, other) = (Pair::of(&["mx.test"]), Pair::of(&["mx.test"]));
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let half = &mine.certificate[..mine.certificate.len() / 2];
    for (certificate, key, words) in [
        (&*mine.certificate, &*other.key, "tls.key: *: it does not fit the first certificate"),
        (&mine.certificate, encrypted, "tls.key: *: the key needs a passphrase"),
        (
            &mine.certificate,
            "",
            "tls.key: *: expected \"-----BEGIN PRIVATE KEY-----\" (PEM), found none",
        ),
        (&mine.certificate, &*mine.certificate, "tls.key: *: expected \"-----BEGIN PRIVATE KEY"),
        (&*mine.key, &*mine.key, "tls.certificate: *: expected \"-----BEGIN CERTIFICATE-----\""),
        (half, &*mine.key, "tls.certificate: *: expected a chain of certificates in PEM"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            &*mine.key,
            "tls.certificate: *: the first certificate cannot be used",
        ),
    ] {
        place.write("mx.pem", certificate);
        place.write("mx.key", key);
        let (first, last) = words.split_once('*').unwrap();
        let (is_good, told) = check(&place);
        let line = if first.starts_with("tls.key") { "10: " } else { "9: " };
        let place_of = format!("facteur.toml:{line}{first}");
        assert!(!is_good && told.contains(&place_of) && told.contains(last), "{words}: {told}");
        let (is_good, told) = said(&place, "serve");
        assert!(!is_good && told.contains(last) && !told.contains("listening"), "{words}: {told}");
    }
    fs::remove_file(place.at("mx.key")).unwrap();
    let (is_good, told) = check(&place);
    assert!(!is_good && told.contains("tls.key: expected a file that can be read: "), "{told}");
    // Commands that show nobody a certificate do without.
    let (is_good, told) = said(&place, "queue");
    assert!(!told.contains("tls."), "{is_good} {told}");
}

#[test]
fn submission_without_tls_is_told_and_serves_whom_it_can() {
    let place = Place::new();
    let all = "submission = [\"127.0.0.1:0\"]\n[domain";
    let file = |more: &str| crate::support::config(more).replacen("[domain", all, 1);
    place.write("facteur.toml", file(""));
    let (is_good, told) = said(&place, "check");
    assert!(is_good && told.contains("without relay.networks nobody can send"), "{told}");
    place.write("facteur.toml", file(super::NETWORKS));
    let words = "facteur.toml:5: listen.submission: without [tls] no user can log in there";
    let (is_good, told) = said(&place, "check");
    assert!(is_good && told.contains(words), "{told}");
    let server = Binary::serve(&place, &file(super::NETWORKS));
    server.wait_for(&["warning ", words]);
    Client::greeted(super::address(&server, "submission")).delivered(&["ann@mx.test"], MAIL);
    server.stop();
}

#[test]
fn an_expired_certificate_stops_no_mail() {
    let place = Place::new();
    Pair::with(&["mx.test"], (2001, 2002), true).write(&place);
    let server = Binary::serve(&place, &crate::support::config(secrecy::TLS));
    server.wait_for(&["warning ", "tls.certificate: expired on 2002"]);
    assert!(server.client().ask("EHLO x").contains("250-STARTTLS\n"));
    server.stop();
}

/// One that is renewed in time has a month left; three weeks before its end something is wrong.
#[test]
fn a_certificate_that_ends_soon_is_told_by_check_and_log() {
    let place = Place::new();
    let told_of = |days: u64| {
        Pair::ending_in(&["mx.test"], days).write(&place);
        let (is_good, told) = check(&place);
        assert!(is_good, "{told}");
        let line = told.lines().find(|line| line.contains("tls.certificate: ends "))?;
        assert!(line.starts_with("warning: ") && line.ends_with(": renew it"), "{told}");
        Some(line.to_owned())
    };
    assert_eq!(told_of(22), None);
    assert!(told_of(21).unwrap().contains("tls.certificate: ends in 20 days, on "));
    assert!(told_of(2).unwrap().contains("ends in 1 day, on "));
    // Of a chain the place is told.
    let (mine, next) = (Pair::of(&["mx.test"]), Pair::ending_in(&["next.test"], 5));
    mine.write(&place);
    place.write("mx.pem", mine.certificate + &next.certificate);
    let (is_good, told) = check(&place);
    let words =
        "warning: facteur.toml:9: tls.certificate: the one at place 2 of the file ends in 4 days";
    assert!(
        is_good && told.replace(&format!("{}/", place.path().display()), "").contains(words),
        "{told}"
    );
    Pair::ending_in(&["mx.test"], 9).write(&place);
    let server = Binary::serve(&place, &crate::support::config(secrecy::TLS));
    server.wait_for(&["warning ", "tls.certificate: ends in 8 days, on "]);
    Pair::ending_in(&["mx.test"], 6).write(&place);
    server.signal("HUP");
    server.wait_for(&["warning ", "tls.certificate: ends in 5 days, on "]);
    server.stop();
}

#[test]
fn every_form_of_a_key() {
    if !installed(&["openssl"]) {
        return;
    }
    let place = Place::new();
    let openssl = |arguments: &str| {
        let mut openssl = program(&place, "openssl");
        openssl.args(arguments.split(' '));
        run(&place, &mut openssl, Input::Octets(b""));
    };
    let certify = "-x509 -days 30 -subj /CN=mx.test -addext subjectAltName=DNS:mx.test -out mx.pem";
    for (make, mark) in [
        ("genrsa -traditional -out mx.key 2048", "BEGIN RSA PRIVATE KEY"),
        ("genpkey -algorithm RSA -out mx.key", "BEGIN PRIVATE KEY"),
        ("ecparam -name prime256v1 -genkey -out mx.key", "BEGIN EC PRIVATE KEY"),
        ("ecparam -name secp384r1 -genkey -noout -out mx.key", "BEGIN EC PRIVATE KEY"),
        ("genpkey -algorithm ED25519 -out mx.key", "BEGIN PRIVATE KEY"),
    ] {
        openssl(make);
        assert!(fs::read_to_string(place.at("mx.key")).unwrap().contains(mark), "{make}");
        openssl(&format!("req -new -key mx.key {certify}"));
        let (is_good, told) = check(&place);
        assert!(is_good, "{make}: {told}");
        // Both in one file, as some keep them.
        let both = [fs::read(place.at("mx.key")).unwrap(), fs::read(place.at("mx.pem")).unwrap()];
        place.write("mx.pem", both.concat());
        place.write("mx.key", both.concat());
        let server = Binary::serve(&place, &crate::support::config(secrecy::TLS));
        let mut client = server.client();
        client.expect("STARTTLS", "220 ");
        // Nobody vouches for it; that this is what the client finds wrong means that it was shown.
        let refusal = client.line().secure(&secrecy::client()).unwrap_err().to_string();
        assert!(refusal.contains("certificate"), "{make}: {refusal}");
        server.stop();
    }
}

/// The certificate that a new client is shown.
pub fn shown(server: &Binary) -> CertificateDer<'static> {
    let mut client = server.client();
    client.start_tls(&secrecy::client());
    own(&mut client)
}

fn own(client: &mut Client) -> CertificateDer<'static> {
    client.line().tls().peer_certificates().unwrap()[0].clone()
}

#[test]
fn a_renewed_certificate_is_shown_after_sighup_and_sessions_go_on() {
    let place = Place::new();
    let server = serve(&place, "");
    let mut client = server.client();
    client.start_tls(&secrecy::client());
    let old = own(&mut client);
    let new = Pair::of(&["mx.test"]);
    new.write(&place);
    server.signal("HUP");
    server.wait_for(&["reloaded "]);
    assert_eq!(shown(&server), new.der());
    assert_ne!(new.der(), old);
    client.delivered(&["ann@mx.test"], MAIL);
    // A broken one keeps the one before.
    place.write("mx.key", Pair::of(&["mx.test"]).key);
    server.signal("HUP");
    server.wait_for(&["reload-failed ", "it does not fit"]);
    assert_eq!(shown(&server), new.der());
    place.write("mx.pem", "");
    server.signal("HUP");
    server.wait_for(&["reload-failed ", "tls.certificate: "]);
    assert_eq!(shown(&server), new.der());
    client.delivered(&["ann@mx.test"], MAIL);
    // Without [tls] there would be nothing to say on submissions.
    new.write(&place);
    place.write("facteur.toml", crate::support::config(""));
    server.signal("HUP");
    for key in ["listen", "tls"] {
        server.wait_for(&["warning ", &format!("what=\"{key} changed: only a restart can")]);
    }
    assert_eq!(shown(&server), new.der());
    server.stop();
}

/// As long as the files are not looked at: a minute.
#[test]
fn a_renewed_certificate_is_found_without_a_signal() {
    let began = Instant::now();
    let (good, bad) = (Place::new(), Place::new());
    let (renewed, broken) = (serve(&good, ""), serve(&bad, ""));
    let olds = [shown(&renewed), shown(&broken)];
    // First one file, then the other, as programs do that renew certificates.
    let new = Pair::of(&["mx.test"]);
    good.write("mx.pem", &new.certificate);
    assert_eq!(shown(&renewed), olds[0]);
    good.write("mx.key", &new.key);
    bad.write("mx.key", "no key");
    let told = || broken.lines().iter().filter(|line| line.starts_with("reload-failed ")).count();
    let is_seen = within(PAIR_LOOK + PATIENCE, || {
        thread::sleep(Duration::from_millis(200)); // of a minute
        shown(&renewed) == new.der() && shown(&broken) == olds[1] && told() > 0
    });
    assert!(is_seen && began.elapsed() >= PAIR_LOOK, "{:?}", began.elapsed());
    renewed.wait_for(&["reloaded config=\"certificate and key\""]);
    broken.wait_for(&["reload-failed ", "tls.key: ", "found none"]);
    assert_eq!((shown(&broken), told()), (olds[1].clone(), 1));
    renewed.stop();
    broken.stop();
}

#[test]
fn a_key_that_only_root_may_read_fails_at_start() {
    if !geteuid().is_root() {
        return skip("only root can become another user");
    }
    let Some(nobody) = User::from_name("nobody").unwrap() else {
        return skip("there is no user nobody");
    };
    let place = Place::new();
    let is_open = |dir: &std::path::Path| fs::metadata(dir).unwrap().mode() & 0o001 != 0;
    if !place.path().ancestors().all(is_open) {
        return skip("other users do not get into the folder of temporary files");
    }
    chown(place.path(), Some(nobody.uid.as_raw()), Some(nobody.gid.as_raw())).unwrap();
    Pair::of(&["mx.test"]).write(&place);
    fs::set_permissions(place.at("mx.key"), fs::Permissions::from_mode(0o600)).unwrap();
    place.write("facteur.toml", site("").replace("spool =", "run_as = \"nobody\"\nspool ="));
    let (is_good, told) = said(&place, "serve");
    let words =
        ["tls.key: expected a file", "Permission denied", "(as nobody, the user of run_as)"];
    assert!(!is_good && words.iter().all(|word| told.contains(word)), "{told}");
    chown(place.at("mx.key"), Some(nobody.uid.as_raw()), None).unwrap();
    let config = fs::read_to_string(place.at("facteur.toml")).unwrap();
    let server = Binary::serve(&place, &config);
    shown(&server);
    server.stop();
}
