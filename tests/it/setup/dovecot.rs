//! Dovecot beside facteur, by docs/dovecot.md: each command of that page is run here as it stands there.

use super::space::Space;
use super::{send, serve};
use crate::outside::{PYTHON, installed, script};
use crate::support::{skip, text};
use std::fs;
use std::path::Path;

/// In the place of systemctl, which this machine has no use for: Dovecot is there, and takes what a restart would give
/// it; of anything else there is nothing.
const SYSTEMCTL: &str = "#!/bin/sh\n[ \"$*\" != 'restart dovecot' ] || exec doveadm reload\n";

/// A machine with a Dovecot that is not set up; nothing where one is missing, which is said.
fn machine() -> Option<Space> {
    if !installed(&["doveadm", "curl", "sievec", PYTHON]) {
        return None;
    }
    let parts = ["imap", "lmtp", "modules/lib90_sieve_plugin.so"];
    if !parts.iter().all(|part| Path::new("/usr/lib/dovecot").join(part).is_file()) {
        skip("Dovecot's IMAP, LMTP and Sieve are not all installed");
        return None;
    }
    let space = Space::new()?;
    let system = space.seen("/etc/facteur-test");
    fs::create_dir(&system).unwrap();
    fs::write(system.join("systemctl"), SYSTEMCTL).unwrap();
    space.shell("chmod 755 /etc/facteur-test/systemctl");
    Some(space)
}

/// The subjects in a folder, by IMAP.
fn seen(space: &Space, user: &str, password: &str, folder: &str) -> Vec<String> {
    let imap = script("imap_subjects.py").display().to_string();
    let (status, out, err) = space.run(&[PYTHON, &imap, "127.0.0.1", user, password, folder], "");
    assert_eq!(status, 0, "{user} {folder}: {err}{}", dovecot_log(space));
    out.lines().map(str::to_owned).collect()
}

fn dovecot_log(space: &Space) -> String {
    text(&fs::read(space.place.at("dovecot.log")).unwrap_or_default())
}

/// The commands of the page, in their order: the lines of blocks that are for a shell.
fn commands_of_the_page() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/dovecot.md");
    let page = fs::read_to_string(page).unwrap();
    let blocks =
        page.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("sh\n"));
    blocks.flat_map(str::lines).map(|line| line.split("    #").next().unwrap().to_owned()).collect()
}

#[test]
fn the_commands_of_the_page_make_a_mailbox_with_sieve() {
    let Some(space) = machine() else { return };
    let _dovecot = space.dovecot();
    let mut ran = 0;
    for command in commands_of_the_page() {
        // Packages are installed by .ci/run.
        if command.starts_with("apt ") {
            continue;
        }
        let facteur = crate::servers::FACTEUR;
        let line =
            format!("facteur() {{ {facteur} \"$@\"; }}; PATH=/etc/facteur-test:$PATH; {command}");
        let (status, out, err) = space.run(&["sh", "-c", &line], "secret\n");
        assert_eq!(status, 0, "{command}: {out}{err}{}", dovecot_log(&space));
        ran += 1;
    }
    assert!(ran >= 5, "only {ran} commands");
    assert_eq!(
        space.shell("stat -c '%a %U %G' /etc/facteur/example.org.users"),
        "640 facteur dovecot\n"
    );
    let server = serve(&space);
    send(&space, "ann@example.org", "From: x@far.test\nSubject: good\n\nHello.\n");
    send(&space, "ann+lists@example.org", "From: x@far.test\nSubject: tagged\n\nHello.\n");
    // Without an author it is junk, whatever DNS says.
    send(&space, "ann@example.org", "Subject: bad\n\nHello.\n");
    assert_eq!(seen(&space, "ann@example.org", "secret", "INBOX"), ["good", "tagged"]);
    assert_eq!(seen(&space, "ann@example.org", "secret", "Junk"), ["bad"]);
    // As with our own logins the domain may be left out while there is one.
    assert_eq!(seen(&space, "ann", "secret", "Junk"), ["bad"]);
    // Answers of a script leave through facteur, once to each.
    let home = "/var/vmail/example.org/ann/dovecot";
    space.shell(&format!(
        "mkdir -p {home}/sieve && printf 'require [\"vacation\"];\\nvacation \"away\";\\n' >{home}/sieve/v.sieve && \
         ln -s sieve/v.sieve {home}/.dovecot.sieve && chown -R facteur: {home}"
    ));
    for subject in ["first", "second"] {
        let head = format!("From: x@far.test\nTo: ann@example.org\nSubject: {subject}");
        send(&space, "ann@example.org", &format!("{head}\n\nx\n"));
        let waiting = space.facteur(&["queue", "list", "--json"], "");
        assert!(waiting.lines().count() == 1 && waiting.contains("x@far.test"), "{waiting}");
    }
    let inbox = seen(&space, "ann@example.org", "secret", "INBOX");
    assert_eq!(inbox, ["good", "tagged", "first", "second"]);
    server.stop();
    let again = space.facteur(&["setup", "example.org", "--dovecot"], "");
    assert!(again.starts_with("everything is there already"), "{again}");
}

#[test]
fn without_sieve_dovecot_reads_the_maildirs() {
    let Some(space) = machine() else { return };
    space.shell(
        "cp -a /usr/lib/dovecot/modules /run/modules && rm /run/modules/lib90_sieve_plugin.so && \
         mount --bind /run/modules /usr/lib/dovecot/modules",
    );
    let _dovecot = space.dovecot();
    let said = space.facteur(&["setup", "example.org", "--dovecot"], "");
    assert!(said.contains("Dovecot has taken its new configuration"), "{said}");
    let (status, out, err) = space.run(&[crate::servers::FACTEUR, "check"], "");
    assert!(status == 0 && out.contains("in /var/vmail/{domain}/{user}\n"), "{out}{err}");
    space.facteur(&["user", "add", "ann@example.org"], "secret\n");
    let server = serve(&space);
    send(&space, "ann@example.org", "From: x@far.test\nSubject: good\n\nHello.\n");
    send(&space, "ann@example.org", "Subject: bad\n\nHello.\n");
    assert_eq!(seen(&space, "ann@example.org", "secret", "INBOX"), ["good"]);
    assert_eq!(seen(&space, "ann@example.org", "secret", "Junk"), ["bad"]);
    server.stop();
}

#[test]
fn a_configuration_of_dovecot_that_is_there_stays() {
    let Some(space) = machine() else { return };
    fs::write(space.seen("/etc/dovecot/local.conf"), "# mine\n").unwrap();
    let said = space.facteur(&["setup", "example.org", "--dovecot"], "");
    assert!(said.contains("/etc/dovecot/local.conf is there and stays as it is"), "{said}");
    assert!(said.contains("  args = username_format=%n /etc/facteur/%d.users\n"), "{said}");
    assert_eq!(fs::read_to_string(space.seen("/etc/dovecot/local.conf")).unwrap(), "# mine\n");
    // Users that were there before, and that Dovecot may not read.
    space.shell(
        "chgrp facteur /etc/facteur/example.org.users && chmod 600 /etc/facteur/example.org.users",
    );
    let said = space.facteur(&["setup", "example.org", "--dovecot"], "");
    let (_, line) = said.split_once("     chgrp dovecot ").expect(&said);
    space.shell(&format!("chgrp dovecot {}", line.lines().next().unwrap()));
    let said = space.facteur(&["setup", "example.org", "--dovecot"], "");
    assert!(!said.contains("chgrp"), "{said}");
}

#[test]
fn without_dovecot_the_packages_are_named() {
    let Some(space) = machine() else { return };
    space.shell("mount -t tmpfs none /usr/lib/dovecot");
    let words = [crate::servers::FACTEUR, "setup", "example.org", "--dovecot"];
    let (status, out, err) = space.run(&words, "");
    assert!(
        status == 1 && out.is_empty() && err.contains("apt install dovecot-imapd"),
        "{out}{err}"
    );
    assert!(!space.seen("/etc/facteur").exists());
}
