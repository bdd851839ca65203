//! Programs that people send mail with, by TLS, on all ports. With logins: `submitters`.

use super::{NETWORKS, address, serve};
use crate::outside::{Input, has_module, installed, program, run};
use crate::secrecy::authority;
use crate::servers::Binary;
use crate::support::{Place, text};

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
    if !has_module("perl", "use Net::SSLeay", "Net::SSLeay, by which swaks speaks TLS,") {
        return;
    }
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
