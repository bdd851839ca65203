//! `facteur setup` as an administrator meets it: on a machine with nothing, twice, killed at each step, beside what is
//! there already, and with Dovecot.

mod dovecot;
mod space;

use crate::drops::Yard;
use crate::outside::{asked_on_a_terminal, has_modules, installed};
use crate::servers::{Binary, FACTEUR};
use crate::support::{Place, skip, text, tree, until};
use nix::unistd::geteuid;
use space::Space;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs setup in a place of the test's, with that place's directories; its status, stdout and stderr.
fn dry(place: &Place, words: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(FACTEUR);
    command.args(["setup", "--dry-run"]).args(words).current_dir(place.path());
    let output = command.stdin(Stdio::null()).output().unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// A server in the machine, with the configuration that was made.
fn serve(space: &Space) -> Binary {
    let mut command = space.command(FACTEUR);
    command.arg("serve");
    Binary::start(command)
}

/// Sends a message as a stranger does.
fn send(space: &Space, to: &str, message: &str) {
    let line = format!(
        "curl -sS --crlf --interface 192.0.2.9 smtp://127.0.0.1 --mail-from x@far.test --mail-rcpt {to} -T -"
    );
    let (status, out, err) = space.run(&["sh", "-c", &line], message);
    assert_eq!(status, 0, "{out}{err}");
}

#[test]
fn a_site_from_nothing_takes_mail() {
    if !installed(&["curl"]) {
        return;
    }
    let Some(space) = Space::new() else { return };
    let shown = space.facteur(&["setup", "example.org", "--dry-run"], "");
    for part in
        ["would make the system user facteur\n", "  | smtp = [\"[::]:25\"]", "nothing was changed"]
    {
        assert!(shown.contains(part), "{shown}");
    }
    assert!(!space.seen("/etc/facteur").exists());
    let said = space.facteur(&["setup", "example.org"], "");
    let stat = |path: &str| space.shell(&format!("stat -c '%a %U %G' {path}"));
    for (path, wanted) in [
        ("/etc/facteur", "755 root root"),
        ("/etc/facteur/facteur.toml", "644 root root"),
        ("/etc/facteur/example.org.users", "600 facteur facteur"),
        ("/etc/facteur/example.org.aliases", "644 root root"),
        ("/etc/facteur/keys/example.org", "700 facteur facteur"),
        ("/etc/facteur/keys/example.org/*.pem", "600 facteur facteur\n600 facteur facteur"),
        ("/etc/facteur/tls", "755 root root"),
        ("/etc/facteur/tls/fullchain.pem", "644 root root"),
        ("/etc/facteur/tls/privkey.pem", "640 root facteur"),
        ("/var/spool/facteur", "711 facteur facteur"),
        ("/var/vmail", "755 facteur facteur"),
    ] {
        assert_eq!(stat(path).trim_end(), wanted, "{path}");
    }
    assert!(
        space.shell("getent passwd facteur").ends_with(":/var/spool/facteur:/usr/sbin/nologin\n")
    );
    // What is left, in this order, each with its command.
    let mut at = 0;
    for part in [
        "facteur user add postmaster@example.org",
        "certbot certonly --standalone --reuse-key -d mx.example.org --deploy-hook",
        "facteur dns --zone",
        "facteur check",
    ] {
        let found = said[at..].find(part).unwrap_or_else(|| panic!("no {part}: {said}"));
        at += found;
    }
    let (status, out, err) = space.run(&[FACTEUR, "check"], "");
    assert_eq!(status, 0, "{out}{err}");
    assert!(err.lines().all(|line| line.starts_with("warning: ")), "{err}");
    assert!(
        out.contains("domain example.org: 0 users, 3 aliases, in /var/vmail/{domain}/{user}\n"),
        "{out}"
    );

    let before = space.state("/etc /var");
    let again = space.facteur(&["setup", "example.org"], "");
    assert!(again.starts_with("everything is there already; nothing was changed\n"), "{again}");
    assert_eq!(space.state("/etc /var"), before);

    space.facteur(&["user", "add", "ann@example.org"], "secret\n");
    let server = serve(&space);
    send(&space, "abuse@example.org", "From: x@far.test\nSubject: to abuse\n\nHello.\n");
    // Nobody is postmaster, so the first user is.
    let listed = space.facteur(&["mail", "list", "--json", "ann@example.org"], "");
    assert!(listed.lines().count() == 1 && listed.contains("to abuse"), "{listed}");
    space.shell(
        "printf 'From: ann@example.org\\n\\nHello.\\n' | curl -sSk --crlf smtps://127.0.0.1 -u ann@example.org:secret \
         --mail-from ann@example.org --mail-rcpt ann@example.org -T -",
    );
    assert_eq!(
        space.facteur(&["mail", "list", "--json", "ann@example.org"], "").lines().count(),
        2
    );
    space.shell(&format!("printf 'To: root\\n\\nfrom cron\\n' | {FACTEUR} sendmail root"));
    until("root's mail is the first user's", || {
        space.facteur(&["mail", "list", "--json", "ann@example.org"], "").lines().count() == 3
    });
    server.stop();
    let left = space.facteur(&["setup", "example.org"], "");
    assert!(!left.contains("user add") && left.contains("certbot"), "{left}");
}

/// A certificate by the hook takes the place of the first one, and is nothing more to be done.
#[test]
fn the_hook_of_certbot_puts_a_real_pair_in_its_place() {
    if !installed(&["openssl"]) {
        return;
    }
    let Some(space) = Space::new() else { return };
    space.facteur(&["setup", "example.org", "--hostname", "post.example.org"], "");
    let hook = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/certbot-deploy-hook");
    space.shell(&format!(
        "mkdir /run/live && cd /run/live && openssl req -x509 -newkey rsa:2048 -nodes -days 300 -keyout ca.key \
         -out ca.pem -subj /CN=authority 2>/dev/null && openssl req -newkey rsa:2048 -nodes -keyout privkey.pem \
         -out request -subj /CN=post.example.org -addext subjectAltName=DNS:post.example.org 2>/dev/null && \
         openssl x509 -req -in request -CA ca.pem -CAkey ca.key -days 300 -copy_extensions copy -out fullchain.pem \
         2>/dev/null && RENEWED_LINEAGE=/run/live RENEWED_DOMAINS=post.example.org sh {}",
        hook.display()
    ));
    assert_eq!(
        space.shell("stat -c '%a %U %G' /etc/facteur/tls/privkey.pem"),
        "640 root facteur\n"
    );
    let (status, out, err) = space.run(&[FACTEUR, "check"], "");
    assert_eq!(status, 0, "{out}{err}");
    let left = space.facteur(&["setup", "example.org"], "");
    assert!(left.starts_with("everything is there already"), "{left}");
    assert!(!left.contains("certbot") && left.contains("user add"), "{left}");
}

#[test]
fn a_second_domain_needs_the_lines_that_are_printed() {
    let Some(space) = Space::new() else { return };
    space.facteur(&["setup", "example.org"], "");
    let toml = space.state("/etc/facteur/facteur.toml");
    let said = space.facteur(&["setup", "example.net"], "");
    assert_eq!(space.state("/etc/facteur/facteur.toml"), toml);
    let (_, rest) = said.split_once("cat >>/etc/facteur/facteur.toml <<'END'\n").expect(&said);
    let (lines, _) = rest.split_once("END\n").unwrap();
    space.shell(&format!("cat >>/etc/facteur/facteur.toml <<'END'\n{lines}END\n"));
    let (status, out, err) = space.run(&[FACTEUR, "check"], "");
    assert_eq!(status, 0, "{out}{err}");
    assert!(
        out.contains("domain example.net: 0 users, 3 aliases") && out.contains("sign example.net"),
        "{out}"
    );
    let before = space.state("/etc/facteur");
    let again = space.facteur(&["setup", "example.net"], "");
    assert!(again.starts_with("everything is there already"), "{again}");
    assert_eq!(space.state("/etc/facteur"), before);
    // Options that say another thing than the file are no reason to change it.
    let words = [FACTEUR, "setup", "example.net", "--hostname", "other.example.org"];
    let (status, _, err) = space.run(&words, "");
    assert!(status == 1 && err.contains("says hostname = \"mx.example.org\" and stays"), "{err}");
    // A mistake in the file is named, and nothing is made.
    space.shell("echo nonsense >>/etc/facteur/facteur.toml");
    let (status, _, err) = space.run(&[FACTEUR, "setup", "example.com"], "");
    assert!(status == 1 && err.contains("/etc/facteur/facteur.toml:"), "{err}");
    assert!(!space.seen("/etc/facteur/example.com.users").exists());
}

#[test]
fn a_disk_that_refuses_is_named_and_the_next_run_goes_on() {
    let Some(space) = Space::new() else { return };
    space.shell("mkdir /var/full && mount -t tmpfs -o size=16k none /var/full");
    let words = [FACTEUR, "setup", "example.org", "--etc", "/var/full/etc"];
    let (status, out, err) = space.run(&words, "");
    let is_named = err.contains("/var/full/etc/") && err.contains("No space left on device");
    assert!(status == 1 && is_named && err.contains("goes on from there"), "{out}{err}");
    assert!(!space.seen("/var/full/etc/facteur.toml").exists());
    space.shell("mount -o remount,size=1m /var/full");
    let (status, out, err) = space.run(&words, "");
    assert_eq!(status, 0, "{out}{err}");
    assert!(out.contains("facteur -c /var/full/etc/facteur.toml check\n"), "{out}");
    let (status, out, err) = space.run(&[FACTEUR, "-c", "/var/full/etc/facteur.toml", "check"], "");
    assert_eq!(status, 0, "{out}{err}");

    space.shell("mkdir /var/ro && mount -t tmpfs -o ro none /var/ro");
    let (status, _, err) =
        space.run(&[FACTEUR, "setup", "example.org", "--etc", "/var/ro/etc"], "");
    assert!(
        status == 1 && err.contains("/var/ro/etc") && err.contains("Read-only file system"),
        "{err}"
    );
}

#[test]
fn who_is_not_root_may_only_look() {
    let Some(yard) = Yard::new("") else { return };
    let place = &yard.place;
    let places = ["--etc", "etc", "--spool", "spool-of-it", "--mail", "mail-of-it"];
    let run = |words: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        // The program under a name that is not sendmail's.
        let program = place.at("program");
        if !program.exists() {
            fs::copy(FACTEUR, &program).unwrap();
        }
        command.arg(program).arg("setup").args(words).args(places).current_dir(place.path());
        let output = command.stdin(Stdio::null()).output().unwrap();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    let (status, _, err) = run(&["example.org"]);
    assert!(status == 1 && err.contains("is for root; --dry-run"), "{err}");
    let before = tree(place.path());
    let (status, out, err) = run(&["example.org", "--dry-run"]);
    assert_eq!(status, 0, "{out}{err}");
    assert!(out.contains("nothing was changed: this was --dry-run"), "{out}");
    assert_eq!(tree(place.path()), before);
}

#[test]
fn what_cannot_be_set_up_is_refused_before_anything_is_made() {
    let place = Place::new();
    place.write("file", "");
    let file = place.at("file");
    let [etc, spool, file] =
        [place.at("etc"), place.at("spool"), file].map(|path| path.display().to_string());
    let places = ["--etc", etc.as_str(), "--spool", spool.as_str()];
    let below = format!("{file}/below");
    for (words, wanted) in [
        (&["localhost"][..], "localhost is not a domain"),
        (&["a b.org"], "a b.org is not a domain"),
        (&["ann@example.org"], "ann@example.org is not a domain"),
        (&["192.0.2.1"], "192.0.2.1 is not a domain"),
        (&["example.org\u{1b}[2J"], "example.org\\x1b[2J is not a domain"),
        (&["example.org", "--hostname", "mx"], "mx is not a host name"),
        (&["example.org", "--hostname", "-mx.example.org"], "-mx.example.org is not a host name"),
        (&["example.org", "--user", "--help"], "is no name of a system user"),
        (&["example.org", "--user", "root"], "root is root"),
        (&["example.org", "--mail", "/a b"], "expected a path without blanks"),
        (&["example.org", "--mail", &file], "/file is a file, and a directory is needed there"),
        (&["example.org", "--mail", &below], "a part of it is a file"),
    ] {
        let (status, out, err) = dry(&place, &[words, &places].concat());
        assert!(status == 1 && err.contains(wanted) && out.is_empty(), "{words:?}: {out}{err}");
    }
    for (words, wanted) in [
        (&[][..], "for which domain?"),
        (&["example.org", "-c", "facteur.toml"], "say --etc DIR in the place of -c"),
        (&["example.org", "example.net"], "wrong arguments"),
    ] {
        let (status, _, err) = dry(&place, words);
        assert!(status == 2 && err.contains(wanted), "{words:?}: {err}");
    }
    assert!(!place.at("etc").exists());
}

/// Asked on a terminal, and answered; what a wrong answer brings.
#[test]
fn on_a_terminal_it_asks_for_what_it_does_not_know() {
    if !has_modules("pty") {
        return;
    }
    let place = Place::new();
    let places = ["setup", "--dry-run", "--etc", "etc", "--spool", "s", "--mail", "m"];
    let ask =
        |answer: &str| asked_on_a_terminal(&place, &places, &["nonsense", "example.org", answer]);
    let (status, shown) = ask("post.example.org");
    assert_eq!(status, Some(0), "{shown}");
    for part in [
        "domain of the mail addresses, as example.org: ",
        "nonsense is not a domain",
        "hostname = \"post.example.org\"",
    ] {
        assert!(shown.contains(part), "no {part}: {shown}");
    }
    let (status, shown) = ask("");
    let offered =
        shown.split("name of this host in DNS [").nth(1).and_then(|rest| rest.split(']').next());
    let offered = offered.expect(&shown);
    assert!(status == Some(0) && shown.contains(&format!("hostname = \"{offered}\"")), "{shown}");
}

/// Killed by the kernel at each call that makes a name or gives one away, and finished by the next run.
#[test]
fn a_run_that_is_killed_at_any_step_is_finished_by_the_next() {
    if !installed(&["strace"]) {
        return;
    }
    if !geteuid().is_root() {
        return skip("setup is for root");
    }
    let fresh = || {
        let place = Place::in_memory();
        let places =
            ["etc/facteur", "spool", "mail"].map(|name| place.at(name).display().to_string());
        let [etc, spool, mail] = places;
        let words = [
            "setup",
            "example.org",
            "--user",
            "nobody",
            "--etc",
            &etc,
            "--spool",
            &spool,
            "--mail",
            &mail,
        ]
        .map(str::to_owned);
        (place, words)
    };
    let shape = |place: &Place| {
        let shape = |path: &std::path::PathBuf| {
            let found = fs::symlink_metadata(path).unwrap();
            let name = path.strip_prefix(place.path()).unwrap().display().to_string();
            // Selectors are of the day.
            let key = name.rsplit_once("keys/example.org/").map(|(_, key)| key);
            let digit = |c: char| c.is_ascii_digit();
            let name = key.map_or(name.as_str(), |key| key.trim_start_matches(digit));
            format!("{name} {:o} {} {}", found.permissions().mode(), found.uid(), found.gid())
        };
        tree(place.path()).iter().map(shape).collect::<Vec<_>>()
    };
    let (place, words) = fresh();
    assert!(
        Command::new(FACTEUR)
            .args(&words)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    );
    let wanted = shape(&place);
    let mut kills = 0;
    // Of several calls each is counted by itself.
    for call in ["?mkdir,?mkdirat", "?fchown", "?link,?linkat"] {
        for count in 1.. {
            let (place, words) = fresh();
            let mut command = Command::new("strace");
            command.args(["-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e"]);
            command.arg(format!("inject={call}:signal=KILL:when={count}"));
            command.arg(FACTEUR).args(&words).stdout(Stdio::null()).stderr(Stdio::null());
            let is_killed = !command.status().unwrap().success();
            let mut again = Command::new(FACTEUR);
            let output = again.args(&words).stdin(Stdio::null()).output().unwrap();
            assert!(output.status.success(), "{call} {count}: {}", text(&output.stderr));
            let mut found = shape(&place);
            // A private key whose name was not made yet lies there, for the server alone, and counts for nobody.
            found.retain(|line| !(line.starts_with('.') && line.contains(".pem.")));
            assert_eq!(found, wanted, "killed at {call} {count}");
            if !is_killed {
                break;
            }
            kills += 1;
        }
    }
    assert!(kills > 15, "only {kills} kills");
}
