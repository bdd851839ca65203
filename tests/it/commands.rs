//! The commands of the real binary, as a person or a script meets them.

use crate::servers::{Binary, FACTEUR};
use crate::support::{Place, config, files, make_maildir, skip, text, tree, until};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs a command in a place; gives its exit status and what it said.
pub fn run(place: &Place, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(FACTEUR);
    command.args(arguments).current_dir(place.path()).stdin(Stdio::null());
    let output = command.output().unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// The same, and it leaves nothing behind.
pub fn run_clean(place: &Place, arguments: &[&str]) -> (i32, String, String) {
    let before = tree(place.path());
    let result = run(place, arguments);
    assert_eq!(tree(place.path()), before, "{arguments:?} left something behind");
    result
}

const USERS: &str = "Ann:{PLAIN}x:::::\nbob:{PLAIN}x:::::\n";

/// A configuration with a users file.
fn with_users() -> Place {
    let place = Place::new();
    place.write("users", USERS);
    place.write("facteur.toml", config("").replace("any_user = true", "users = \"users\""));
    place
}

#[test]
fn check_of_the_demo() {
    if Path::new("/etc/facteur/facteur.toml").exists() {
        return skip("there is an /etc/facteur/facteur.toml here");
    }
    let place = Place::new();
    let (status, out, err) = run_clean(&place, &["check"]);
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    for part in ["demo", "hostname localhost\n", "listen smtp 127.0.0.1:2525\n", "any user"] {
        assert!(out.contains(part), "no {part:?} in {out}");
    }
}

#[test]
fn the_demo_says_where_its_mail_lies_and_what_to_type_next() {
    if Path::new("/etc/facteur/facteur.toml").exists() {
        return skip("there is an /etc/facteur/facteur.toml here");
    }
    if TcpListener::bind("127.0.0.1:2525").is_err() {
        return skip("something listens on the demo's port");
    }
    let place = Place::new();
    let mut serve = Command::new(FACTEUR);
    serve.arg("serve").current_dir(place.path()).stdin(Stdio::null());
    serve.stdout(fs::File::create(place.at("stdout")).unwrap());
    let server = Binary::start_with_streams(serve);
    let said = || fs::read_to_string(place.at("stdout")).unwrap();
    until("it has said all", || said().contains("Ctrl-C"));
    let mail = place.path().canonicalize().unwrap().join("facteur-data/mail/localhost/you");
    let words = format!("Mail for you@localhost will lie in {}/new;", mail.display());
    assert!(said().contains(&words), "{}", said());
    let type_it = |line: &str| {
        let output = Command::new("sh").args(["-c", line]).current_dir(place.path()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let said = said();
    let next: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    let [send, list, trace] = next[..] else { panic!("{said}") };
    type_it(send);
    until("the mail is there", || files(&mail.join("new")).len() == 1);
    assert!(type_it(list).contains("Bonjour"));
    // The story is written behind the mail.
    until("the story is there", || {
        let mut shell = Command::new("sh");
        let told = shell.args(["-c", trace]).current_dir(place.path()).output().unwrap();
        text(&told.stdout).contains("you@localhost")
    });
    server.stop();
}

#[test]
fn check_of_a_good_file() {
    let place = with_users();
    let expected =
        ["facteur.toml\n", "hostname mx.test\n", "domain mx.test: 2 users", "listen smtp"];
    // ./facteur.toml is found by itself, and another one by its name.
    let named = place.at("facteur.toml");
    for arguments in [&["check"][..], &["-c", named.to_str().unwrap(), "check"]] {
        let (status, out, err) = run_clean(&place, arguments);
        assert_eq!((status, err.as_str()), (0, ""), "{out}");
        assert!(expected.iter().all(|part| out.contains(part)), "{out}");
    }
}

#[test]
fn check_names_file_line_and_reason() {
    for (more, line, reason) in [
        ("bogus = 1", 8, "bogus"),
        ("[limit]\nsessions = 0", 9, "limit.sessions: expected"),
        ("[limit]\nrecipients = 99", 9, "limit.recipients: expected"),
        ("[limit]\nerrors = \"many\"", 9, "limit.errors: expected"),
        ("[limit]\nmessage_size = \"1 furlong\"", 9, "limit.message_size: expected"),
        ("[timeout]\n\ncommand = 5", 10, "timeout.command: expected"),
        ("[relay]\nnetworks = [\"10.1.0.0/8\"]", 9, "relay.networks: expected"),
        ("[relay]\nretry = []", 9, "relay.retry: expected"),
        ("[relay]\nthreads = 0", 9, "relay.threads: expected"),
        ("[domain.\"not a name\"]", 8, "not a name"),
        ("[nonsense]", 8, "nonsense"),
        ("[limit", 8, ""),
    ] {
        let place = Place::new();
        place.write("facteur.toml", config(more));
        let (status, out, err) = run_clean(&place, &["check"]);
        assert_eq!((status, out.as_str()), (1, ""), "{more}: {err}");
        let place_and_line = format!("facteur.toml:{line}: ");
        assert!(err.contains(&place_and_line) && err.contains(reason), "{more}: {err}");
        assert_eq!(err.lines().count(), 1, "{err}");
        // The server does not start with it either, and says the same.
        let why = err.strip_prefix("fatal: ").unwrap();
        assert_eq!(run(&place, &["serve"]), (1, String::new(), format!("facteur: {why}")));
    }
}

/// Whoever may write where root happens to be does not say where root's commands write.
#[test]
fn root_takes_no_configuration_of_somebody_else() {
    if !nix::unistd::geteuid().is_root() {
        return skip("only root is root");
    }
    let place = Place::new();
    let file = place.write("facteur.toml", config(""));
    std::os::unix::fs::chown(&file, Some(61_234), None).unwrap();
    let (status, _, err) = run_clean(&place, &["queue", "list"]);
    let words = "./facteur.toml belongs to uid 61234, and this is root";
    assert!(status == 1 && err.contains(words), "{err}");
    assert_eq!(run_clean(&place, &["-c", "facteur.toml", "queue", "list"]).0, 0);
}

#[test]
fn check_doubts_what_everybody_can_read() {
    let relay = "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"127.0.0.1:25\"\n";
    for (more, key) in [
        ("[relay.route]\n\"far.test\" = \"127.0.0.1:26\"", None),
        ("[domain.\"far.test\"]\nany_user = true\ncatch_all = \"eve@elsewhere.test\"", None),
        ("smarthost_auth = { user = \"a\", password_file = \"b\" }", None),
        ("listen.metrics = [\"127.0.0.1:0\"]", None),
        ("listen.metrics = [\"[::]:0\"]", Some("listen.metrics")),
    ] {
        let place = Place::new();
        // That table is there already.
        let text = match more.strip_prefix("listen.") {
            Some(line) => config(relay).replacen("[domain", &format!("{line}\n[domain"), 1),
            None => config(&format!("{relay}{more}")),
        };
        place.write("facteur.toml", text);
        place.write("b", "secret");
        let (status, out, err) = run_clean(&place, &["check"]);
        assert_eq!((status, err.lines().count()), (0, usize::from(key.is_some())), "{more}: {err}");
        let named = key.is_none_or(|key| err.contains(key) && err.contains("without a password"));
        assert!(named && out.contains("relay: for 127.0.0.0/8\n"), "{more}: {out}{err}");
    }
}

#[test]
fn check_of_the_password_for_a_smarthost() {
    let place = Place::new();
    let auth = "smarthost_auth = { user = \"a\", password_file = \"secret\" }";
    let relay = format!("[relay]\nsmarthost = \"127.0.0.1:25\"\n{auth}");
    place.write("facteur.toml", config(&relay));
    let (status, _, err) = run_clean(&place, &["check"]);
    let named = "relay.smarthost_auth.password_file: expected a file that can be read: ";
    assert!(status == 1 && err.contains(named), "{err}");
    for (octets, is_good) in [("", false), ("\nx\n", false), ("a\tb", false), ("x y\r\nz", true)] {
        place.write("secret", octets);
        let (status, _, err) = run_clean(&place, &["check"]);
        let named = err.contains("expected a password in the first line of ");
        assert_eq!((status == 0, !named), (is_good, is_good), "{octets:?}: {err}");
    }
    // Who only asks for the way needs no password.
    fs::remove_file(place.at("secret")).unwrap();
    assert_eq!(run_clean(&place, &["route", "eve@far.test"]).0, 0);
}

#[test]
fn check_of_the_files_that_it_names() {
    let place = with_users();
    place.write("users", "ann:{PLAIN}x:::::\nno colon here\n\n.dot:x\nANN:x\n");
    let (status, out, err) = run_clean(&place, &["check"]);
    assert_eq!(status, 1, "{out}{err}");
    assert!(["users:2: ", "users:4: ", "users:5: "].iter().all(|line| err.contains(line)), "{err}");
    assert!(out.contains("domain mx.test: 1 users"), "{out}");
    fs::remove_file(place.at("users")).unwrap();
    let (status, _, err) = run_clean(&place, &["check"]);
    assert!(status == 1 && err.contains("users: No such file"), "{err}");
    let (status, _, err) = run_clean(&place, &["-c", "gone.toml", "check"]);
    assert!(status == 1 && err.contains("gone.toml"), "{err}");
    // A configuration that is there and cannot be read is not passed over for the demo.
    fs::remove_file(place.at("facteur.toml")).unwrap();
    fs::create_dir(place.at("facteur.toml")).unwrap();
    let (status, _, err) = run_clean(&place, &["check"]);
    assert!(status == 1 && err.contains("facteur.toml"), "{err}");
}

#[test]
fn route_says_each_step() {
    let place = with_users();
    for (addresses, status, parts) in [
        (&["ann@mx.test"][..], 0, &["mx.test is delivered here", "mail/mx.test/Ann"][..]),
        (&["ANN+tag@MX.TEST"], 0, &["mail/mx.test/Ann"]),
        (&["postmaster"], 0, &["mail/mx.test/Ann"]),
        (&["postmaster@mx.test", "bob@mx.test"], 0, &["mail/mx.test/Ann", "mail/mx.test/bob"]),
        // As sendmail takes it.
        (&["ann"], 0, &["ann@mx.test\n", "mail/mx.test/Ann"]),
        (&["zoe"], 1, &["zoe@mx.test\n", "550 5.1.1"]),
        (&["zoe@mx.test"], 1, &["zoe is no user of mx.test", "550 5.1.1"]),
        (&["bob@mx.test", "zoe@mx.test", "ann@mx.test"], 1, &["mail/mx.test/Ann", "5.1.1"]),
    ] {
        let arguments = [&["route"], addresses].concat();
        let (found, out, err) = run_clean(&place, &arguments);
        assert_eq!(found, status, "{addresses:?}: {out}{err}");
        assert!(parts.iter().all(|part| out.contains(part)), "{addresses:?}: {out}");
    }
    let (status, out, err) = run_clean(&place, &["route", "no address\x1b[2J"]);
    assert!(status == 1 && !err.contains('\x1b') && !out.contains('\x1b'), "{out}{err}");
}

#[test]
fn mail_list_and_show() {
    let place = with_users();
    let server = Binary::serve(&place, &config("").replace("any_user = true", "users = \"users\""));
    let mut client = server.client();
    for number in 1..=3 {
        let message = format!("From: Zoe <z@x.test>\r\nSubject: mail {number}\r\n\r\n.body\r\n");
        client.delivered(&["ann@mx.test"], message.as_bytes());
    }
    // The server writes it a moment later, and no command does.
    until("the trace has begun", || !files(&place.at("spool/trace")).is_empty());
    // While the server runs, and after.
    let (status, running, err) = run_clean(&place, &["mail", "list", "Ann@mx.test"]);
    assert_eq!((status, err.as_str()), (0, ""));
    drop(client);
    server.stop();
    let (status, out, _) = run_clean(&place, &["mail", "list", "ann@mx.test"]);
    assert_eq!((status, &out), (0, &running));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 3, "{out}");
    let fits = |(number, line): (usize, &&str)| {
        line.contains(&format!("mail {}", number + 1)) && line.contains("Zoe <z@x.test>")
    };
    assert!(lines.iter().enumerate().all(fits), "newest last: {out}");

    let (status, out, _) = run_clean(&place, &["mail", "list", "ann@mx.test", "--json"]);
    assert_eq!((status, out.lines().count()), (0, 3));
    let maildir = place.maildir("Ann");
    for (line, path) in out.lines().zip(files(&maildir.join("new"))) {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        let keys: Vec<&str> = line.split('"').collect();
        for key in ["key", "date", "from", "subject", "size", "flags"] {
            assert!(keys.contains(&key), "no {key} in {line}");
        }
        let size = fs::metadata(&path).unwrap().len();
        assert_eq!((object["size"].as_u64(), object["flags"].as_str()), (Some(size), Some("")));
        let key = object["key"].as_str().unwrap();
        assert!(object["date"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{line}");
        let (status, shown, _) = run_clean(&place, &["mail", "show", "ann@mx.test", key]);
        assert_eq!((status, shown), (0, text(&fs::read(&path).unwrap())));
    }

    let (status, out, err) = run_clean(&place, &["mail", "list", "bob@mx.test"]);
    assert_eq!((status, out.as_str(), err.as_str()), (0, "", ""), "no Maildir is no mail");
    for wrong in [
        &["mail", "list", "zoe@mx.test"][..],
        &["mail", "show", "ann@mx.test", "nothing"],
        &["mail", "show", "ann@mx.test", ""],
    ] {
        let (status, out, err) = run_clean(&place, wrong);
        assert!(status == 1 && out.is_empty() && err.lines().count() == 1, "{wrong:?}: {err}");
    }
}

#[test]
fn nothing_in_a_list_acts_on_a_terminal() {
    let place = with_users();
    let maildir = place.maildir("Ann");
    make_maildir(&maildir);
    let hostile =
        b"From: \x1b]0;title\x07 \xc2\x9b31m <a@b>\nSubject: =?utf-8?q?=1B[2J=E2=80=AE=0D=0A?= \
        \xe2\x80\xaex\x9b\n\n\x1b[2J\n";
    fs::write(maildir.join("new/1795439147.M1.x\x1b[2J"), hostile).unwrap();
    fs::write(maildir.join("cur/1795439148.M1.\u{202e}x:2,S\u{9b}"), b"no\x1b header\n").unwrap();
    for arguments in
        [&["mail", "list", "ann@mx.test"][..], &["mail", "list", "ann@mx.test", "--json"]]
    {
        let (status, out, err) = run_clean(&place, arguments);
        assert_eq!((status, out.lines().count()), (0, 2), "{out:?}{err:?}");
        let acts = |c: char| {
            (c.is_control() && c != '\n')
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        };
        assert!(!out.contains(acts) && !err.contains(acts), "{out:?}{err:?}");
    }
    let (status, out, err) = run_clean(&place, &["mail", "show", "ann@mx.test", "\x1b[2J"]);
    assert!(status == 1 && !out.contains('\x1b') && !err.contains('\x1b'), "{out:?}{err:?}");
}

#[test]
fn words_and_wrong_usage() {
    let place = Place::new();
    let (status, out, err) = run_clean(&place, &["--version"]);
    let version = format!("facteur {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!((status, out, err.as_str()), (0, version, ""));
    let (status, help, _) = run_clean(&place, &["--help"]);
    assert_eq!(status, 0);
    for command in ["serve", "check", "route", "mail", "queue"] {
        assert!(help.contains(command), "{help}");
        let (status, out, err) = run_clean(&place, &[command, "--help"]);
        assert!(
            status == 0 && err.is_empty() && out.contains(&format!("facteur [-c FILE] {command}"))
        );
    }
    for wrong in [
        &[][..],
        &["nonsense"],
        &["--nonsense"],
        &["-c"],
        &["serve", "more"],
        &["check", "more"],
        &["route"],
        &["mail"],
        &["mail", "list"],
        &["mail", "list", "a@b", "c"],
        &["mail", "show", "a@b"],
        &["mail", "nonsense", "a@b"],
        &["check", "--json"],
        &["mail", "show", "a@b", "c", "--json"],
        &["mail", "list", "a@b", "--all"],
        &["queue"],
        &["queue", "list", "more"],
        &["queue", "list", "--all"],
        &["queue", "show"],
        &["queue", "show", "m1", "m2"],
        &["queue", "show", "m1", "--json"],
        &["queue", "retry"],
        &["queue", "retry", "m1", "--all"],
        &["queue", "retry", "m1", "--bounce"],
        &["queue", "remove"],
        &["queue", "remove", "--bounce"],
        &["queue", "remove", "--all"],
        &["queue", "nonsense"],
        &["check", "--nonsense"],
    ] {
        let (status, out, err) = run_clean(&place, wrong);
        assert!(status == 2 && out.is_empty() && !err.is_empty(), "{wrong:?}: {status} {out}{err}");
    }
}
