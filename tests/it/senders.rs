//! Programs that send mail by starting `sendmail`, against the real binary under that name: what they
//! compose arrives, for whom and from whom they said.

use crate::outside::{Input, PYTHON, Parcel, SUBJECT, installed, program, run};
use crate::sendmail::{feed, queued};
use crate::servers::{Binary, FACTEUR};
use crate::support::{Place, config, files, skip, text, until};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

/// A server, and what a program has to send by `sendmail` in the same place.
struct Trial {
    place: Place,
    server: Binary,
}

impl Trial {
    /// Nothing where a program is missing, which is said.
    fn of(names: &[&str]) -> Option<Trial> {
        if !installed(names) {
            return None;
        }
        let place = Place::new();
        let server = Binary::serve(&place, &config(""));
        symlink(FACTEUR, place.at("sendmail")).unwrap();
        Some(Trial { place, server })
    }

    fn sendmail(&self) -> String {
        self.place.at("sendmail").display().to_string()
    }

    fn program(&self, name: &str) -> Command {
        program(&self.place, name)
    }

    fn run(&self, command: &mut Command, input: &[u8]) -> String {
        run(&self.place, command, Input::Octets(input))
    }

    /// The one message that has come for a user.
    fn arrived(&self, user: &str) -> (PathBuf, String) {
        self.server.wait_for(&["delivered ", &format!("to={user}@mx.test ")]);
        let mut found = files(&self.place.maildir(user).join("new"));
        assert_eq!(found.len(), 1, "{found:?}");
        (found.remove(0), text(&self.place.mail(user)[0]))
    }
}

#[test]
fn cron() {
    let Some(trial) = Trial::of(&[]) else { return };
    // What Debian's cron starts, and what it writes: the output of a program that shows its progress.
    let input = "From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@host> backup\n\
        MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\n\
        Content-Transfer-Encoding: 8bit\nX-Cron-Env: <SHELL=/bin/sh>\nX-Cron-Env: <HOME=/root>\n\n\
        10%\r50%\r100%\ndone\n.\nreally\n";
    for arguments in [
        &["-i", "-FCronDaemon", "-B8BITMIME", "-oem", "root"][..],
        &["-FCronDaemon", "-odi", "-oem", "-oi", "-or0s", "ann"],
    ] {
        let mut command = Command::new(trial.sendmail());
        command.args(arguments);
        assert_eq!(feed(&trial.place, command, input.as_bytes()), (0, String::new()));
        let (_, got) = trial.arrived(arguments[arguments.len() - 1]);
        assert!(got.ends_with("\n\n10%\n50%\n100%\ndone\n.\nreally\n"), "{got}");
        assert!(got.contains("\nX-Cron-Env: <HOME=/root>\n"), "{got}");
        assert_eq!(got.matches("\nFrom: ").count(), 1, "{got}");
    }
    trial.server.stop();
}

#[test]
fn php() {
    let Some(trial) = Trial::of(&["php"]) else { return };
    let script = r#"
        $headers = "From: Shop <shop@mx.test>\r\nBcc: boss@mx.test\r\nX-Mailer: PHP";
        $sent = mail("ann@mx.test, bob@mx.test", "Votre commande", "Merci.\r\n.\r\nA bientot.\n", $headers,
            "-fbounce@mx.test");
        exit($sent ? 0 : 1);"#;
    let mut php = trial.program("php");
    php.args(["-n", "-d", &format!("sendmail_path={} -t -i", trial.sendmail()), "-r", script]);
    let said = trial.run(&mut php, b"");
    assert_eq!(said, "");
    for user in ["ann", "bob", "boss"] {
        let (_, got) = trial.arrived(user);
        assert!(got.starts_with("Return-Path: <bounce@mx.test>\n"), "{got}");
        assert!(got.contains("\nFrom: Shop <shop@mx.test>\n") && !got.contains("boss@mx.test\nX-"));
        assert!(got.contains("\nSubject: Votre commande\n"), "{got}");
        assert!(got.ends_with("\n\nMerci.\n.\nA bientot.\n\n"), "{got}");
        assert!(!got.contains('\r'), "{got}");
    }
    // And it hears of a failure.
    let mut php = trial.program("php");
    let path = format!("sendmail_path={} -t -i -Z", trial.sendmail());
    php.args(["-n", "-d", &path, "-r", "exit(mail('ann@mx.test', 'x', 'y') ? 1 : 0);"]);
    trial.run(&mut php, b"");
    trial.server.stop();
}

#[test]
fn mutt() {
    let Some(trial) = Trial::of(&["mutt", PYTHON]) else { return };
    let parcel = Parcel::new(&trial.place);
    let settings = format!(
        "set sendmail=\"{} -oem -oi\" use_envelope_from=yes from=sender@mx.test copy=no\n\
         set dsn_notify='failure,delay' dsn_return=hdrs charset=utf-8 send_charset=utf-8\n",
        trial.sendmail()
    );
    trial.place.write("muttrc", settings);
    let mut mutt = trial.program("mutt");
    mutt.args(["-n", "-F", "muttrc", "-s", SUBJECT, "-a", "attachment", "-b", "bob@mx.test"]);
    mutt.args(["--", "ann@mx.test"]);
    trial.run(&mut mutt, parcel.text.as_bytes());
    for user in ["ann", "bob"] {
        let (file, got) = trial.arrived(user);
        parcel.assert_in(&trial.place, &file);
        assert!(got.starts_with("Return-Path: <sender@mx.test>\n") && !got.contains("\nBcc:"));
    }
    trial.server.stop();
}

#[test]
fn s_nail() {
    let Some(trial) = Trial::of(&["s-nail", PYTHON]) else { return };
    let parcel = Parcel::new(&trial.place);
    let mut nail = trial.program("s-nail");
    nail.args(["-:/", "-Sv15-compat", "-Ssendwait", &format!("-Smta={}", trial.sendmail())]);
    nail.args(["-Sfrom=sender@mx.test", "-r", "sender@mx.test", "-s", SUBJECT]);
    nail.args(["-a", "attachment", "-.", "ann@mx.test"]);
    trial.run(&mut nail, parcel.text.as_bytes());
    let (file, got) = trial.arrived("ann");
    parcel.assert_in(&trial.place, &file);
    assert!(got.starts_with("Return-Path: <sender@mx.test>\n"), "{got}");
    trial.server.stop();
}

#[test]
fn git_send_email() {
    let Some(trial) = Trial::of(&["git"]) else { return };
    let mut probe = trial.program("git");
    if !probe.args(["send-email", "--dump-aliases"]).output().unwrap().status.success() {
        return skip("git send-email is not installed");
    }
    let patch = "From 0123456789abcdef0123456789abcdef01234567 Mon Sep 17 00:00:00 2001\n\
        From: Ann <ann@mx.test>\nDate: Mon, 23 Nov 2026 12:00:00 +0000\nSubject: [PATCH] Mend it\n\n\
        It was broken.\n\nSigned-off-by: Ann <ann@mx.test>\n---\n file | 2 +-\n\n\
        diff --git a/file b/file\n--- a/file\n+++ b/file\n@@ -1 +1 @@\n-From here\n+.\n--\n2.0\n";
    trial.place.write("0001-mend.patch", patch);
    let mut git = trial.program("git");
    git.args(["-c", "user.name=Eve", "-c", "user.email=eve@mx.test", "send-email"]);
    git.args(["--confirm=never", "--suppress-cc=all", "--from=Eve <eve@mx.test>"]);
    git.args(["--envelope-sender=eve@mx.test", "--to=list@mx.test", "--bcc=bob@mx.test"]);
    git.arg(format!("--smtp-server={}", trial.sendmail())).arg("0001-mend.patch");
    git.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CEILING_DIRECTORIES", trial.place.path());
    trial.run(&mut git, b"");
    for user in ["list", "bob"] {
        let (_, got) = trial.arrived(user);
        assert!(got.starts_with("Return-Path: <eve@mx.test>\n"), "{got}");
        assert!(got.contains("\nSubject: [PATCH] Mend it\n"), "{got}");
        assert!(got.contains("\n-From here\n+.\n--\n2.0\n"), "{got}");
    }
    trial.server.stop();
}

#[test]
fn a_mail_program_that_speaks_smtp_to_it() {
    let Some(trial) = Trial::of(&[PYTHON]) else { return };
    let script = r#"
import smtplib, socket, subprocess, sys
ours, theirs = socket.socketpair()
child = subprocess.Popen([sys.argv[1], "-bs"], stdin=theirs, stdout=theirs)
theirs.close()
class Client(smtplib.SMTP):
    def _get_socket(self, *_):
        return ours
with Client("local") as client:
    client.sendmail("eve@mx.test", ["ann@mx.test", "bob@mx.test"], "Subject: x\r\n\r\n.\r\n" + 9000 * "0123456789\r\n")
sys.exit(child.wait())
"#;
    let mut python = trial.program(PYTHON);
    python.args(["-c", script, &trial.sendmail()]);
    trial.run(&mut python, b"");
    for user in ["ann", "bob"] {
        let (_, got) = trial.arrived(user);
        assert!(got.contains("\n\n.\n0123456789\n") && got.len() > 99_000, "{}", got.len());
    }
    until("the queue is empty", || queued(&trial.place).is_empty());
    trial.server.stop();
}
