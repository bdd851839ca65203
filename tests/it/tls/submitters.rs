//! Programs that people send mail with, as our users: each by STARTTLS and by TLS from the first octet,
//! with each way to log in that it and the server know. What they send lies in the Maildir octet for octet.

use super::address;
use super::submission::serve_users;
use crate::client::stuffed;
use crate::daemons::below_received;
use crate::hosts::Host;
use crate::outside::{Input, PYTHON, has_module, installed, program, run, script};
use crate::secrecy::authority;
use crate::support::{Place, text};
use facteur::smtp::auth::encode;
use std::process::Command;

/// One login to be made by a program.
struct Trial<'a> {
    place: &'a Place,
    port: String,
    is_starttls: bool,
    mechanism: &'a str,
}

/// A whole message, hard on whoever carries it.
fn message() -> String {
    let long = "x".repeat(900);
    format!(
        "Date: Mon, 23 Nov 2026 13:45:07 +0000\nFrom: Ann <ann@mx.test>\nTo: bob@mx.test\n\
         Message-ID: <composed@client.test>\nSubject: submitted\nMIME-Version: 1.0\n\
         Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n\
         .\n..\n.dot\n\t\u{fc}n\u{ef}code \u{6f22}\u{5b57} \n\nFrom here\n{long}\n.\nthe end\n"
    )
}

impl Trial<'_> {
    fn program(&self, name: &str) -> Command {
        program(self.place, name)
    }

    /// One or the other, by how TLS begins.
    fn way<'a>(&self, starttls: &'a str, tls: &'a str) -> &'a str {
        if self.is_starttls { starttls } else { tls }
    }
}

/// Lets a program send by both ways with all these mechanisms. `login`: the command, and what it reads.
fn submits(name: &str, mechanisms: &[&str], login: fn(&Trial) -> (Command, Vec<u8>)) {
    if !installed(&[name]) {
        return;
    }
    let (place, far) = (Place::new(), Host::start(""));
    let server = serve_users(&place, &far, "");
    place.write("authority.pem", authority());
    place.write("message", message());
    let mut count = 0;
    for (is_starttls, service) in [(true, "submission"), (false, "submissions")] {
        let port = address(&server, service).port().to_string();
        for mechanism in mechanisms {
            let trial = Trial { place: &place, port: port.clone(), is_starttls, mechanism };
            let (mut command, input) = login(&trial);
            let said = run(&place, &mut command, Input::Octets(&input));
            let is_named = name == "openssl" || said.contains(&format!("AUTH {mechanism}"));
            assert!(is_named && said.contains("235 2.7.0 welcome"), "{mechanism}: {said}");
            count += 1;
            assert_eq!(place.mail("bob").len(), count, "{service} {mechanism}: {said}");
        }
    }
    for mail in place.mail("bob") {
        let fields = "Return-Path: <ann@mx.test>\nDelivered-To: bob@mx.test\n";
        let rest =
            mail.strip_prefix(fields.as_bytes()).unwrap_or_else(|| panic!("{}", text(&mail)));
        let trace = text(rest);
        assert!(trace.contains(" with ESMTPSA id ") && trace.contains("\n\ttls TLS_"), "{trace}");
        // swaks ends with an empty line of its own.
        let end = if name == "swaks" { "\n" } else { "" };
        let sent = text(below_received(rest, 1));
        assert!(sent == message() + end, "not the same octets: {sent}");
    }
    server.stop();
}

#[test]
fn curl() {
    let version = Command::new("curl").arg("-V").output();
    let has_scram = version.is_ok_and(|version| text(&version.stdout).contains("gsasl"));
    let mechanisms = ["PLAIN", "LOGIN", "SCRAM-SHA-256"];
    submits("curl", &mechanisms[..if has_scram { 3 } else { 2 }], |trial| {
        let port = &trial.port;
        let mut curl = trial.program("curl");
        curl.args(["-q", "-sSv", "--noproxy", "*", "--crlf", "--ssl-reqd", "-T", "message"]);
        curl.args(["--cacert", "authority.pem", "--resolve", &format!("mx.test:{port}:127.0.0.1")]);
        curl.args(["--user", "ann@mx.test:pencil"]);
        curl.args(["--login-options", &format!("AUTH={}", trial.mechanism)]);
        curl.args(["--mail-from", "ann@mx.test", "--mail-rcpt", "bob@mx.test"]);
        curl.arg(format!("{}://mx.test:{port}/client.test", trial.way("smtp", "smtps")));
        (curl, Vec::new())
    });
}

#[test]
fn swaks() {
    if !has_module("perl", "use Net::SSLeay", "Net::SSLeay, by which swaks speaks TLS,") {
        return;
    }
    submits("swaks", &["PLAIN", "LOGIN"], |trial| {
        let mut swaks = trial.program("swaks");
        swaks.args(["--server", "127.0.0.1", "--port", &trial.port, "--helo", "client.test"]);
        swaks.arg(trial.way("--tls", "--tls-on-connect"));
        swaks.args(["--auth", trial.mechanism, "--auth-user", "ann@mx.test"]);
        swaks.args(["--auth-password", "pencil", "--from", "ann@mx.test"]);
        swaks.args(["--to", "bob@mx.test", "--data", "@message"]);
        (swaks, Vec::new())
    });
}

#[test]
fn msmtp() {
    submits("msmtp", &["PLAIN", "LOGIN", "SCRAM-SHA-256"], |trial| {
        trial.place.write("msmtprc", "");
        let mut msmtp = trial.program("msmtp");
        msmtp.args(["-C", "msmtprc", "--host=127.0.0.1", &format!("--port={}", trial.port)]);
        msmtp.args(["--tls=on", &format!("--tls-starttls={}", trial.way("on", "off"))]);
        msmtp.args(["--tls-trust-file=authority.pem", "--tls-host-override=mx.test"]);
        let auth = trial.mechanism.to_ascii_lowercase();
        msmtp.args([&format!("--auth={auth}"), "--user=ann@mx.test", "--passwordeval=echo pencil"]);
        msmtp.args(["--domain=client.test", "--debug", "--from=ann@mx.test", "bob@mx.test"]);
        (msmtp, message().into_bytes())
    });
}

#[test]
fn smtplib() {
    submits(PYTHON, &["PLAIN", "LOGIN"], |trial| {
        let mut python = trial.program(PYTHON);
        python.arg(script("smtplib_submit.py"));
        python.args([&trial.port, trial.way("starttls", "tls"), trial.mechanism]);
        (python, Vec::new())
    });
}

#[test]
fn nodemailer() {
    if !installed(&["node"]) || !has_module("node", "require('nodemailer')", "nodemailer") {
        return;
    }
    submits("node", &["PLAIN", "LOGIN"], |trial| {
        let mut node = trial.program("node");
        node.arg(script("nodemailer_submit.cjs"));
        node.args([&trial.port, trial.way("starttls", "tls"), trial.mechanism]);
        (node, Vec::new())
    });
}

/// By hand, as somebody types it who looks for what is wrong.
#[test]
fn openssl() {
    submits("openssl", &["PLAIN", "LOGIN"], |trial| {
        let mut openssl = trial.program("openssl");
        openssl.args(["s_client", "-connect", &format!("127.0.0.1:{}", trial.port), "-quiet"]);
        openssl.args(["-CAfile", "authority.pem", "-verify_hostname", "mx.test"]);
        openssl.arg("-verify_return_error");
        if trial.is_starttls {
            openssl.args(["-starttls", "smtp", "-name", "client.test"]);
        }
        let auth = match trial.mechanism {
            "PLAIN" => format!("AUTH PLAIN {}", encode(b"\0ann@mx.test\0pencil")),
            _ => format!("AUTH LOGIN\r\n{}\r\n{}", encode(b"ann@mx.test"), encode(b"pencil")),
        };
        let begin = format!(
            "EHLO client.test\r\n{auth}\r\nMAIL FROM:<ann@mx.test> BODY=8BITMIME\r\n\
             RCPT TO:<bob@mx.test>\r\nDATA\r\n"
        );
        let message = stuffed(message().replace('\n', "\r\n").as_bytes());
        (openssl, [begin.as_bytes(), &message, b"QUIT\r\n"].concat())
    });
}
