//! rspamd beside us with what it learns in a redis of its own, configured by the page; and Dovecot, which tells it what
//! people move.

use super::{Machine, by_heading, page};
use crate::daemons::{Daemon, own_address};
use crate::dnsd::Dnsd;
use crate::outside::{Input, installed, program, run};
use crate::real_filters;
use crate::servers::value;
use crate::support::{Place, files, skip, text};
use nix::unistd::{User, getuid};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// The blocks of the page: name of the file, and its text.
fn blocks() -> Vec<(String, String)> {
    let page = page("rspamd.md");
    let parts = page.split("\n```").skip(1).step_by(2);
    let named = parts.filter_map(|part| {
        let (head, text) = part.split_once('\n')?;
        let (_, name) = head.split_once(' ')?;
        Some((name.to_owned(), format!("{text}\n")))
    });
    named.collect()
}

fn block(name: &str) -> String {
    let found = blocks().into_iter().find(|(of, _)| of == name);
    found.unwrap_or_else(|| panic!("no {name}")).1
}

fn executable(place: &Place, name: &str, text: &str) {
    let path = place.write(name, text);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What another page says of the same is the same.
#[test]
fn both_pages_configure_it_alike() {
    let filters = page("filters.md");
    for name in ["facteur.toml", "/etc/rspamd/local.d/milter_headers.conf"] {
        assert!(filters.contains(&format!(" {name}\n{}", block(name))), "{name}");
    }
}

#[test]
fn it_is_asked_and_learns_as_on_the_page() {
    if !installed(&["rspamd", "rspamc", "rspamadm", "redis-server"]) {
        return;
    }
    let [ask, who, teach] = by_heading("rspamd.md", ["Ask it", "Who did what", "Teach it"]);
    let (redis, controller) = (own_address(), own_address());
    let dns = Dnsd::new("example.com A 192.0.2.1\n");
    let mut machine = Machine::new();
    let mut command = program(&machine.place, "redis-server");
    let (ip, port) = (redis.ip().to_string(), redis.port().to_string());
    command.args(["--port", &port, "--bind", &ip, "--save", "", "--protected-mode", "no"]);
    let _redis = Daemon::start(&machine.place, "redis", command, redis);

    let names = ["milter_headers", "classifier-bayes", "greylist", "actions", "dkim_signing"];
    let files_of_page = names.map(|name| {
        let text = block(&format!("/etc/rspamd/local.d/{name}.conf"));
        (format!("{name}.conf"), text.replace("\"127.0.0.1\"", &format!("\"{redis}\"")))
    });
    let mut more: Vec<(&str, String)> =
        files_of_page.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let worker = format!("bind_socket = \"{controller}\";\nsecure_ip = \"127.0.0.0/8\";\n");
    more.push(("worker-controller.inc", worker));
    let running = real_filters::rspamd(dns.address(), &more);

    // The programs of the page ask that one.
    let vars: String =
        [("LOCAL_CONFDIR", ""), ("DBDIR", "db"), ("RUNDIR", "run"), ("LOGDIR", "log")]
            .iter()
            .map(|(name, dir)| format!(" --var={name}={}", running.place.at(dir).display()))
            .collect();
    let admin = format!("#!/bin/sh\nexec /usr/bin/rspamadm{vars} \"$@\"\n");
    executable(&machine.place, "bin/rspamadm", &admin);
    let client = format!("#!/bin/sh\nexec /usr/bin/rspamc -h {controller} \"$@\"\n");
    executable(&machine.place, "bin/rspamc", &client);
    machine.environment.push(("HOME".to_owned(), machine.place.path().display().to_string()));
    let table = block("facteur.toml").replace("inet:127.0.0.1:11332", &running.socket);
    let config = format!(
        "hostname = \"mx.example.org\"\nspool = \"../../var/spool/facteur\"\n\
         [listen]\nsmtp = [\"127.0.0.1:0\"]\n\
         [domain.\"example.org\"]\nmaildir = \"../../var/vmail/{{domain}}/{{user}}\"\nany_user = true\n\
         [dns]\nservers = [\"{}\"]\n[trust]\ngateways = []\n{table}",
        dns.address()
    );
    machine.place.write("etc/facteur/facteur.toml", config);

    let said: Vec<String> = ask.iter().map(|line| machine.run(line, &[]).good()).collect();
    assert!(said[0].contains("syntax OK"), "{said:?}");
    assert!(said[1].contains("rspamd"), "{said:?}");
    let calls = fs::read_to_string(machine.place.at("calls")).unwrap();
    assert_eq!(calls, "reload facteur\n");

    let server = machine.serve();
    // With another first letter rspamd takes this text for something to be marked.
    let gtube = "YJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";
    let words = "Words by which a filter knows one kind of message from another kind again";
    for (subject, line) in [("spam", gtube), ("ham", "the meeting is on Tuesday at ten")] {
        let mail = format!(
            "From: Ann <ann@example.com>\r\nTo: ann@example.org\r\nSubject: {subject}\r\n\
             Date: Tue, 1 Dec 2026 10:00:00 +0000\r\nMessage-ID: <{subject}@example.com>\r\n\r\n\
             {line}\r\n{words} {subject}.\r\n"
        );
        let mut client = server.client();
        client.expect("MAIL FROM:<ann@example.com>", "250 ");
        client.expect("RCPT TO:<ann@example.org>", "250 ");
        client.expect("DATA", "354 ");
        client.send(mail.as_bytes());
        client.send(b".\r\n");
        assert!(client.reply().starts_with("250 "));
    }
    let ann = machine.at("/var/vmail/example.org/ann");
    for dir in [ann.clone(), ann.join(".Junk")] {
        // A program has shown it to somebody.
        let [new] = &files(&dir.join("new"))[..] else { panic!("{dir:?}: {:?}", files(&dir)) };
        let name = format!("{}:2,S", new.file_name().unwrap().to_str().unwrap());
        fs::rename(new, dir.join("cur").join(name)).unwrap();
    }
    let taught: Vec<String> = teach[..2].iter().map(|line| machine.run(line, &[]).good()).collect();
    assert!(taught.iter().all(|said| said.contains("success = true")), "{taught:?}");
    let line = server.wait_for(&["filtered ", "filter=rspamd", "action=changed"]);
    let id = value(&line, "id").unwrap();
    let ran = who.iter().map(|line| machine.run(line, &[("ID", &id)]).good());
    let said: Vec<String> = ran.collect();
    assert!(said[0].contains(&id) && said[1].contains("filter=rspamd stage="), "{said:?}");
    assert!(said[2].contains("Messages scanned: 2"), "{}", said[2]);
    // How many it counts is its own affair: of mail that it knew already, none.
    assert!(!said[2].contains("Messages learned: 0"), "{}", said[2]);
    server.stop();
}

/// The scripts of the page are compiled as Dovecot will run them, and its configuration is one.
#[test]
fn dovecot_takes_the_configuration_and_the_scripts() {
    let is_there = |name: &str| Path::new("/usr/lib/dovecot/modules").join(name).exists();
    if !installed(&["doveconf", "sievec"]) {
        return;
    }
    if !is_there("lib95_imap_sieve_plugin.so") {
        return skip("Dovecot's IMAPSieve is not installed");
    }
    if User::from_uid(getuid()).unwrap().is_none() {
        return skip("sievec wants a user with a name");
    }
    let [_, _, teach] = by_heading("rspamd.md", ["Ask it", "Who did what", "Teach it"]);
    let place = Place::new();
    written_for_dovecot(&place, "exec /usr/bin/rspamc \"$1\"", "exec /usr/bin/rspamc \"$1\"");
    let dir = place.path().display().to_string();
    for line in &teach[2..] {
        let line = line.replace("/etc/dovecot", &dir);
        let line = line.replace("sievec ", &format!("sievec -c {dir}/learn.conf "));
        let mut command = Command::new("sh");
        run(&place, command.args(["-c", &line]), Input::Octets(b""));
    }
    for name in ["learn-spam", "learn-ham"] {
        assert!(place.at(&format!("sieve/{name}.svbin")).exists(), "{name}");
    }
    let mode = fs::metadata(place.at("sieve/learn")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    let mut command = program(&place, "doveconf");
    command.args(["-c", "learn.conf", "-n"]);
    let said = text(&command.output().unwrap().stdout);
    assert!(said.contains("imapsieve_mailbox1_name = Junk"), "{said}");
}

/// The files of the page, below a place: `learn.conf` and the folder `sieve`; with another line in `learn`.
pub fn written_for_dovecot(place: &Place, line: &str, other: &str) {
    fs::create_dir(place.at("sieve")).unwrap();
    let dir = place.path().display().to_string();
    for (name, text) in blocks() {
        let Some(name) = name.strip_prefix("/etc/dovecot/") else { continue };
        let name = name.replace("conf.d/99-learn.conf", "learn.conf");
        assert!(name != "sieve/learn" || text.contains(line), "{text}");
        place.write(&name, text.replace(line, other).replace("/etc/dovecot", &dir));
    }
}
