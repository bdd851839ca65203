//! Programs that people send mail with, by TLS.

use super::submission::serve_users;
use super::{NETWORKS, address, serve};
use crate::hosts::Host;
use crate::outside::{Input, PYTHON, installed, program, run, script};
use crate::secrecy::authority;
use crate::servers::Binary;
use crate::support::{PATIENCE, Place, text, within};

/// A server, and `authority.pem` beside it; nothing where the program is missing, which is said.
fn trial(name: &str) -> Option<(Place, Binary)> {
    if !installed(&[name]) {
        return None;
    }
    let place = Place::new();
    let server = serve(&place, NETWORKS);
    place.write("authority.pem", authority());
    place.write("message", "Subject: by TLS\n\nHello.\n");
    Some((place, server))
}

/// So many messages have come for Ann, all by TLS.
fn assert_arrived(place: &Place, count: usize) {
    let mail = place.mail("ann");
    assert_eq!(mail.len(), count);
    for mail in mail {
        let mail = text(&mail);
        assert!(mail.contains(" with ESMTPS id ") && mail.contains("\n\ttls TLS_"), "{mail}");
        assert!(mail.contains("Subject: by TLS\n"), "{mail}");
    }
}

#[test]
fn openssl() {
    let Some((place, server)) = trial("openssl") else { return };
    let session = b"EHLO client.test\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<ann@mx.test>\r\n\
                    DATA\r\nSubject: by TLS\r\n\r\nHello.\r\n.\r\nQUIT\r\n";
    let mut count = 0;
    for version in ["-tls1_2", "-tls1_3"] {
        for (service, starttls) in [("smtp", true), ("submission", true), ("submissions", false)] {
            let mut openssl = program(&place, "openssl");
            openssl.args(["s_client", "-connect", &address(&server, service).to_string(), version]);
            openssl.args(["-CAfile", "authority.pem", "-verify_hostname", "mx.test"]);
            openssl.args(["-verify_return_error", "-quiet"]);
            if starttls {
                openssl.args(["-starttls", "smtp", "-name", "client.test"]);
            }
            let said = run(&place, &mut openssl, Input::Octets(session));
            assert!(said.contains("Ok: queued as ") && said.contains("221 2.0.0 "), "{said}");
            count += 1;
            assert_arrived(&place, count);
        }
    }
    server.stop();
}

#[test]
fn curl() {
    let Some((place, server)) = trial("curl") else { return };
    for (scheme, service) in [("smtp", "smtp"), ("smtps", "submissions")] {
        let port = address(&server, service).port();
        let mut curl = program(&place, "curl");
        curl.args(["-q", "-sSv", "--noproxy", "*", "--crlf", "--ssl-reqd", "-T", "message"]);
        curl.args(["--cacert", "authority.pem", "--resolve", &format!("mx.test:{port}:127.0.0.1")]);
        curl.args(["--mail-from", "a@client.test", "--mail-rcpt", "ann@mx.test"]);
        curl.arg(format!("{scheme}://mx.test:{port}/client.test"));
        let said = run(&place, &mut curl, Input::Octets(b""));
        assert!(said.contains("Ok: queued as "), "{said}");
    }
    assert_arrived(&place, 2);
    server.stop();
}

#[test]
fn swaks() {
    let Some((place, server)) = trial("swaks") else { return };
    for (option, service) in [("--tls", "smtp"), ("--tls-on-connect", "submissions")] {
        let mut swaks = program(&place, "swaks");
        let port = address(&server, service).port().to_string();
        swaks.args(["--server", "127.0.0.1", "--port", &port, option, "--helo", "client.test"]);
        swaks.args(["--from", "a@client.test", "--to", "ann@mx.test"]);
        swaks.args(["--h-Subject", "by TLS"]);
        let said = run(&place, &mut swaks, Input::Octets(b""));
        assert!(said.contains("Ok: queued as "), "{said}");
    }
    assert_arrived(&place, 2);
    server.stop();
}

#[test]
fn msmtp() {
    let Some((place, server)) = trial("msmtp") else { return };
    place.write("msmtprc", "");
    for (starttls, service) in [("on", "submission"), ("off", "submissions")] {
        let port = address(&server, service).port();
        let mut msmtp = program(&place, "msmtp");
        msmtp.args(["-C", "msmtprc", "--host=127.0.0.1", &format!("--port={port}")]);
        msmtp.args(["--auth=off", "--tls=on", &format!("--tls-starttls={starttls}")]);
        msmtp.args(["--tls-trust-file=authority.pem", "--tls-host-override=mx.test"]);
        msmtp.args(["--domain=client.test", "--logfile=-"]);
        msmtp.args(["--from=a@client.test", "ann@mx.test"]);
        let said = run(&place, &mut msmtp, Input::Octets(b"Subject: by TLS\n\nHello.\n"));
        assert!(said.contains("Ok: queued as "), "{said}");
    }
    assert_arrived(&place, 2);
    server.stop();
}

/// A server with users and a host to which their mail goes; nothing where the program is missing.
fn submission(name: &str) -> Option<(Place, Host, Binary)> {
    if !installed(&[name]) {
        return None;
    }
    let (place, far) = (Place::new(), Host::start(""));
    let server = serve_users(&place, &far, "");
    place.write("authority.pem", authority());
    place.write("message", "Subject: submitted\n\nHello.\n");
    Some((place, far, server))
}

/// So many messages of Ann have gone to the other host.
fn assert_submitted(far: &Host, count: usize) {
    assert!(within(PATIENCE, || far.mail().len() == count), "{} of {count}", far.mail().len());
    for mail in far.mail() {
        assert_eq!(
            (mail.from.as_str(), &mail.to[..]),
            ("ann@mx.test", &["eve@far.test".to_owned()][..])
        );
        let octets = text(&mail.octets);
        assert!(octets.contains(" with ESMTPSA id "), "{octets}");
        assert!(octets.to_ascii_lowercase().contains("\r\nmessage-id: <"), "{octets}");
    }
}

const WAYS: [(bool, &str); 2] = [(true, "submission"), (false, "submissions")];

#[test]
fn curl_submits() {
    let Some((place, far, server)) = submission("curl") else { return };
    let mut count = 0;
    for (starttls, service) in WAYS {
        for mechanism in ["PLAIN", "LOGIN"] {
            let port = address(&server, service).port();
            let scheme = if starttls { "smtp" } else { "smtps" };
            let mut curl = program(&place, "curl");
            curl.args(["-q", "-sSv", "--noproxy", "*", "--crlf", "--ssl-reqd", "-T", "message"]);
            curl.args(["--cacert", "authority.pem"]);
            curl.args(["--resolve", &format!("mx.test:{port}:127.0.0.1")]);
            curl.args(["--user", "ann@mx.test:pencil"]);
            curl.args(["--login-options", &format!("AUTH={mechanism}")]);
            curl.args(["--mail-from", "ann@mx.test", "--mail-rcpt", "eve@far.test"]);
            curl.arg(format!("{scheme}://mx.test:{port}/client.test"));
            let said = run(&place, &mut curl, Input::Octets(b""));
            assert!(said.contains(&format!("AUTH {mechanism}")), "{said}");
            count += 1;
        }
    }
    assert_submitted(&far, count);
    server.stop();
}

#[test]
fn swaks_submits() {
    let Some((place, far, server)) = submission("swaks") else { return };
    let mut count = 0;
    for (starttls, service) in WAYS {
        for mechanism in ["PLAIN", "LOGIN"] {
            let port = address(&server, service).port().to_string();
            let mut swaks = program(&place, "swaks");
            let way = if starttls { "--tls" } else { "--tls-on-connect" };
            swaks.args(["--server", "127.0.0.1", "--port", &port, way, "--helo", "client.test"]);
            swaks.args(["--auth", mechanism, "--auth-user", "ann@mx.test"]);
            swaks.args(["--auth-password", "pencil", "--from", "ann@mx.test"]);
            swaks.args(["--to", "eve@far.test", "--h-Subject", "submitted"]);
            let said = run(&place, &mut swaks, Input::Octets(b""));
            assert!(said.contains("235 2.7.0 welcome"), "{said}");
            count += 1;
        }
    }
    assert_submitted(&far, count);
    server.stop();
}

#[test]
fn msmtp_submits() {
    let Some((place, far, server)) = submission("msmtp") else { return };
    place.write("msmtprc", "");
    let mut count = 0;
    for (starttls, service) in WAYS {
        for mechanism in ["plain", "login", "scram-sha-256"] {
            let port = address(&server, service).port();
            let starttls = if starttls { "on" } else { "off" };
            let mut msmtp = program(&place, "msmtp");
            msmtp.args(["-C", "msmtprc", "--host=127.0.0.1", &format!("--port={port}")]);
            msmtp.args(["--tls=on", &format!("--tls-starttls={starttls}")]);
            msmtp.args(["--tls-trust-file=authority.pem", "--tls-host-override=mx.test"]);
            msmtp.args([&format!("--auth={mechanism}"), "--user=ann@mx.test"]);
            msmtp.arg("--passwordeval=echo pencil");
            msmtp.args(["--domain=client.test", "--logfile=-"]);
            msmtp.args(["--from=ann@mx.test", "eve@far.test"]);
            let said = run(&place, &mut msmtp, Input::Octets(b"Subject: submitted\n\nHello.\n"));
            assert!(said.contains("Ok: queued as "), "{said}");
            count += 1;
        }
    }
    assert_submitted(&far, count);
    server.stop();
}

#[test]
fn smtplib_submits() {
    let Some((place, far, server)) = submission(PYTHON) else { return };
    for (starttls, service) in WAYS {
        let port = address(&server, service).port().to_string();
        let way = if starttls { "starttls" } else { "tls" };
        let mut python = program(&place, PYTHON);
        python.arg(script("smtplib_submit.py")).args([&port, way, "authority.pem"]);
        run(&place, &mut python, Input::Octets(b""));
    }
    assert_submitted(&far, 4);
    server.stop();
}
