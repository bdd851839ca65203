//! Programs that people send mail with, against the real binary: what they attach arrives octet for
//! octet, and the id they are told is the message's.

use crate::outside::{Input, PYTHON, Parcel, SUBJECT, has_module, installed, program, run, script};
use crate::servers::{Binary, value};
use crate::support::{Place, config, files, skipped_in, text, until};
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

/// A server, and what a program has to send to it.
struct Trial {
    place: Place,
    server: Binary,
    parcel: Parcel,
}

impl Trial {
    /// Nothing where the program is missing, which is said.
    fn of(name: &str) -> Option<Trial> {
        if !installed(&[name, PYTHON]) {
            return None;
        }
        let place = Place::new();
        let server = Binary::serve(&place, &config(""));
        let parcel = Parcel::new(&place);
        Some(Trial { place, server, parcel })
    }

    fn port(&self) -> String {
        self.server.address.port().to_string()
    }

    fn program(&self, name: &str) -> Command {
        program(&self.place, name)
    }

    fn run(&self, command: &mut Command, input: &[u8]) -> String {
        run(&self.place, command, Input::Octets(input))
    }

    /// One message has come for Ann, under the id that the log and the message itself have, and all
    /// of the parcel is in it. Gives the id.
    fn assert_arrived(&self) -> String {
        let arrived = files(&self.place.maildir("ann").join("new"));
        let [file] = &arrived[..] else { panic!("{arrived:?}") };
        self.parcel.assert_in(&self.place, file);
        let accepted = self.server.wait_for(&["accepted id="]);
        let id = value(&accepted, "id").unwrap();
        self.server.wait_for(&[&format!("delivered id={id} to=ann@mx.test ")]);
        let message = text(&fs::read(file).unwrap());
        let trace = message.split_once("\n\tfor <ann@mx.test>;\n").unwrap().0;
        assert!(trace.ends_with(&format!(" id {id}")), "{trace}");
        assert!(trace.lines().count() == 4 && trace.starts_with("Return-Path: <"), "{trace}");
        id
    }

    /// The same, and the program said the id that it had been told.
    fn assert_told(&self, said: &str) {
        let told = format!("Ok: queued as {}", self.assert_arrived());
        assert!(said.contains(&told), "no {told:?} in {said}");
    }

    /// Below our own three fields stand the composed message and `end`, and nothing else.
    fn assert_as_composed(&self, end: &str) {
        let [message] = &self.place.mail("ann")[..] else { panic!("not one message") };
        let ends = message.iter().enumerate().filter(|(_, octet)| **octet == b'\n');
        let start = ends.map(|(at, _)| at + 1).nth(5).unwrap();
        let sent = [&self.parcel.message[..], end.as_bytes()].concat();
        assert!(message[start..] == sent, "{}", text(&message[..start]));
    }
}

#[test]
fn curl() {
    let Some(trial) = Trial::of("curl") else { return };
    let url = format!("smtp://{}/client.test", trial.server.address);
    let mut curl = trial.program("curl");
    curl.args(["-q", "-sSv", "--noproxy", "*", "--crlf", "-T", "message", &url]);
    curl.args(["--mail-from", "sender@client.test", "--mail-rcpt", "ann@mx.test"]);
    let said = trial.run(&mut curl, b"");
    trial.assert_told(&said);
    trial.assert_as_composed("");
}

#[test]
fn curl_that_composes() {
    let Some(trial) = Trial::of("curl") else { return };
    let url = format!("smtp://{}/client.test", trial.server.address);
    let mut curl = trial.program("curl");
    curl.args(["-q", "-sSv", "--noproxy", "*", "-H", &format!("Subject: {SUBJECT}"), &url]);
    curl.args(["-F", "=<text;type=text/plain;charset=utf-8;encoder=quoted-printable"]);
    curl.args(["-F", "=@attachment;encoder=base64"]);
    curl.args(["--mail-from", "sender@client.test", "--mail-rcpt", "ann@mx.test"]);
    let said = trial.run(&mut curl, b"");
    trial.assert_told(&said);
}

#[test]
fn swaks() {
    let Some(trial) = Trial::of("swaks") else { return };
    let mut swaks = trial.program("swaks");
    swaks.args(["--server", "127.0.0.1", "--port", &trial.port(), "--helo", "client.test"]);
    swaks.args(["--from", "sender@client.test", "--to", "ann@mx.test"]);
    swaks.args(["--attach-type", "text/plain; charset=utf-8", "--attach-body", "@text"]);
    swaks.args(["--attach-type", "application/octet-stream", "--attach", "@attachment"]);
    swaks.args(["--h-Subject", SUBJECT, "--hide-send"]);
    let said = trial.run(&mut swaks, b"");
    trial.assert_told(&said);
}

#[test]
fn msmtp() {
    let Some(trial) = Trial::of("msmtp") else { return };
    trial.place.write("msmtprc", "");
    let mut msmtp = trial.program("msmtp");
    msmtp.args(["-C", "msmtprc", "--host=127.0.0.1", &format!("--port={}", trial.port())]);
    msmtp.args(["--auth=off", "--tls=off", "--domain=client.test", "--logfile=-"]);
    msmtp.args(["--from=sender@client.test", "ann@mx.test"]);
    let said = trial.run(&mut msmtp, &trial.parcel.message);
    trial.assert_told(&said);
    trial.assert_as_composed("");
}

#[test]
fn python_smtplib() {
    let Some(trial) = Trial::of(PYTHON) else { return };
    let mut python = trial.program(PYTHON);
    python.arg(script("smtplib_send.py")).args([&trial.port(), SUBJECT, "text", "attachment"]);
    let said = trial.run(&mut python, b"");
    trial.assert_told(&said);
    assert!(said.contains("SMTPUTF8") && said.contains("BODY=8BITMIME"), "{said}");
    let [message] = &trial.place.mail("ann")[..] else { panic!("not one message") };
    assert!(text(message).contains("From: jürgen@client.test\n"));
}

#[test]
fn nodemailer() {
    let Some(trial) = Trial::of("node") else { return };
    if !has_module("node", "require('nodemailer')", "nodemailer") {
        return;
    }
    let mut node = trial.program("node");
    node.arg(script("nodemailer_send.cjs"));
    node.args([&trial.port(), SUBJECT, "text", "attachment"]);
    let said = trial.run(&mut node, b"");
    trial.assert_told(&said);
}

#[test]
fn perl_net_smtp() {
    let Some(trial) = Trial::of("perl") else { return };
    if !has_module("perl", "use Net::SMTP", "Net::SMTP") {
        return;
    }
    let mut perl = trial.program("perl");
    perl.arg(script("net_smtp_send.pl")).arg(trial.port());
    let said = trial.run(&mut perl, &trial.parcel.message);
    trial.assert_told(&said);
    trial.assert_as_composed("");
}

#[test]
fn mutt() {
    let Some(trial) = Trial::of("mutt") else { return };
    let settings = format!(
        "set smtp_url=smtp://{} ssl_starttls=no ssl_force_tls=no hostname=client.test copy=no\n\
         set from=sender@client.test use_envelope_from=yes charset=utf-8 send_charset=utf-8\n",
        trial.server.address
    );
    trial.place.write("muttrc", settings);
    let mut mutt = trial.program("mutt");
    mutt.args(["-n", "-F", "muttrc", "-s", SUBJECT, "-a", "attachment", "--", "ann@mx.test"]);
    trial.run(&mut mutt, trial.parcel.text.as_bytes());
    // It keeps the reply for itself.
    trial.assert_arrived();
}

#[test]
fn s_nail() {
    let Some(trial) = Trial::of("s-nail") else { return };
    let server = format!("-Smta=smtp://{}", trial.server.address);
    let mut nail = trial.program("s-nail");
    nail.args(["-:/", "-Sv15-compat", "-Ssendwait", "-Ssmtp-auth=none", &server]);
    nail.args(["-Sfrom=sender@client.test", "-Shostname=client.test", "-s", SUBJECT]);
    nail.args(["-a", "attachment", "-.", "ann@mx.test"]);
    trial.run(&mut nail, trial.parcel.text.as_bytes());
    // It keeps the reply for itself.
    trial.assert_arrived();
}

#[test]
fn smtp_source() {
    let Some(trial) = Trial::of("smtp-source") else { return };
    let mut source = trial.program("smtp-source");
    source.args(["-v", "-F", "message", "-M", "client.test", "-f", "sender@client.test"]);
    source.args(["-t", "ann@mx.test", &trial.server.address.to_string()]);
    let said = trial.run(&mut source, b"");
    trial.assert_told(&said);
    // It ends with an empty line of its own.
    trial.assert_as_composed("\n");
}

#[test]
fn smtp_source_with_many_sessions() {
    let Some(trial) = Trial::of("smtp-source") else { return };
    let mut source = trial.program("smtp-source");
    source.args(["-s", "10", "-m", "200", "-l", "20000", "-M", "client.test"]);
    source.args(["-f", "sender@client.test", "-t", "ann@mx.test"]);
    trial.run(source.arg(trial.server.address.to_string()), b"");
    let ids = |lines: &[String], event: &str| -> BTreeSet<String> {
        let of_event = lines.iter().filter(|line| line.starts_with(event));
        of_event.map(|line| value(line, "id").unwrap()).collect()
    };
    // A line is written once its message has been answered for, perhaps after the program has gone.
    until("all are in the log", || ids(&trial.server.lines(), "delivered ").len() == 200);
    let lines = trial.server.lines();
    assert_eq!(ids(&lines, "accepted "), ids(&lines, "delivered "));
    let mail = trial.place.mail("ann");
    let id =
        |mail: &Vec<u8>| text(mail).split_once(" id ").unwrap().1.lines().next().map(str::to_owned);
    let arrived: BTreeSet<String> = mail.iter().filter_map(id).collect();
    assert_eq!((mail.len(), arrived), (200, ids(&lines, "delivered ")));
    let length = |mail: &Vec<u8>| mail.len() - 20_000;
    assert!(mail.iter().all(|mail| length(mail) < 1000), "{:?}", mail.iter().map(length).max());
}

#[test]
fn a_skip_is_seen_and_can_be_made_a_failure() {
    let run = |require: Option<&str>| {
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "programs::swaks"]).env("PATH", "/nonexistent");
        again.env_remove("FACTEUR_REQUIRE_ALL");
        again.envs(require.map(|value| ("FACTEUR_REQUIRE_ALL", value)));
        let output = again.output().unwrap();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let (passed, out, err) = run(None);
    // Another user may not have written it.
    let _ = fs::remove_file(skipped_in(std::process::id()));
    assert!(passed && out.contains("1 passed"), "{out}{err}");
    assert_eq!(err, "skipped: swaks is not installed\n");
    let (passed, out, _) = run(Some("1"));
    assert!(!passed && out.contains("skipped: swaks is not installed"), "{out}");
}
