//! Root given up: what the kernel says of a server that was started as root, and that `check` sees what
//! the server would see.

use crate::servers::{Binary, FACTEUR};
use crate::support::{
    PATIENCE, Place, config, has_program, make_maildir, skip, text, tree, within,
};
use nix::unistd::{Uid, User, geteuid};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A place that belongs to `nobody`, and that user; nothing where there is no root to give up.
fn place_of_nobody() -> Option<(Place, User)> {
    if !geteuid().is_root() {
        skip("only root can become another user");
        return None;
    }
    let Some(nobody) = User::from_name("nobody").unwrap() else {
        skip("there is no user nobody");
        return None;
    };
    let place = Place::new();
    let is_open = |dir: &Path| fs::metadata(dir).unwrap().mode() & 0o001 != 0;
    if !place.path().ancestors().all(is_open) {
        skip("other users do not get into the folder of temporary files");
        return None;
    }
    chown(place.path(), Some(nobody.uid.as_raw()), Some(nobody.gid.as_raw())).unwrap();
    Some((place, nobody))
}

fn as_nobody(more: &str) -> String {
    config(more).replace("spool =", "run_as = \"nobody\"\nspool =")
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A value of a thread's status, as the kernel writes it.
fn status(task: &Path, key: &str) -> String {
    let status = fs::read_to_string(task.join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.trim().to_owned()
}

/// Whoever serves though he should not is stopped, and then has not failed with status 1.
fn run(place: &Place, command: &str) -> Output {
    let mut run = Command::new(FACTEUR);
    run.arg("-c").arg(place.at("facteur.toml")).arg(command).env_remove("RUST_LOG");
    let mut child = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    if !within(PATIENCE, || child.try_wait().unwrap().is_some()) {
        child.kill().unwrap();
    }
    child.wait_with_output().unwrap()
}

/// Both say no, and the same words are in what they say.
fn both_refuse(place: &Place, words: &[&str]) {
    for command in ["serve", "check"] {
        let output = run(place, command);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{command}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{command}: {said}");
    }
}

#[test]
fn no_thread_of_the_server_keeps_anything_of_root() {
    let Some((place, nobody)) = place_of_nobody() else { return };
    let (uid, gid) = (nobody.uid.as_raw(), nobody.gid.as_raw());
    let server = Binary::serve(&place, &as_nobody(""));
    server.client().delivered(&["ann@mx.test"], b"Subject: x\r\n\r\nHello.\r\n");
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let tasks: Vec<_> = tasks.map(|task| task.unwrap().path()).collect();
    assert!(tasks.len() >= 4, "{tasks:?}");
    for task in &tasks {
        let four = |id: u32| [id.to_string().as_str(); 4].join("\t");
        assert_eq!((status(task, "Uid:"), status(task, "Gid:")), (four(uid), four(gid)));
        assert!(!status(task, "Groups:").split(' ').any(|group| group == "0"));
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(status(task, set), "0000000000000000", "{set}");
        }
        assert_eq!(status(task, "NoNewPrivs:"), "1");
        assert_eq!(status(task, "Umask:"), "0077");
    }
    server.stop();
}

#[test]
fn capabilities_that_were_given_for_the_ports_are_given_up() {
    let Some((place, _)) = place_of_nobody() else { return };
    if !has_program("setpriv", "--version") {
        return skip("setpriv is not installed");
    }
    let file = place.write("facteur.toml", config(""));
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--clear-groups", "--inh-caps=+net_bind_service"]);
    command.arg("--ambient-caps=+net_bind_service").arg(FACTEUR).arg("-c").arg(file).arg("serve");
    let mut runs = Command::new("setpriv");
    runs.args(["--reuid=nobody", "--clear-groups", FACTEUR, "--help"]);
    if !runs.output().is_ok_and(|output| output.status.success()) {
        return skip("nobody may not start the binary");
    }
    let server = Binary::start(command);
    let task = format!("/proc/{0}/task/{0}", server.pid());
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(status(Path::new(&task), set), "0000000000000000", "{set}");
    }
    server.stop();
}

#[test]
fn check_refuses_what_the_server_could_not_read() {
    let Some((place, nobody)) = place_of_nobody() else { return };
    let users = place.write("users", "ann:{PLAIN}x:::::\n");
    place.write("facteur.toml", as_nobody("").replace("any_user = true", "users = \"users\""));
    fs::set_permissions(&users, Permissions::from_mode(0o600)).unwrap();
    let place_of_key = "facteur.toml:8: domain.\"mx.test\".users: expected a file";
    both_refuse(&place, &[place_of_key, "Permission denied", "(as nobody, the user of run_as)"]);
    assert!(!place.at("spool").exists() && !place.at("mail").exists());
    // The other way round as well: what it can read is good for both, whoever else cannot.
    chown(&users, Some(nobody.uid.as_raw()), None).unwrap();
    let output = run(&place, "check");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
    let config = fs::read_to_string(place.at("facteur.toml")).unwrap();
    Binary::serve(&place, &config).stop();
}

#[test]
fn a_configuration_that_only_root_reads_is_refused_at_start() {
    let Some((place, _)) = place_of_nobody() else { return };
    let file = place.write("facteur.toml", as_nobody(""));
    fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
    both_refuse(&place, &["facteur.toml: cannot be read", "(as nobody, the user of run_as)"]);
    assert!(!place.at("spool").exists());
}

#[test]
fn check_finds_directories_that_the_server_could_not_make() {
    let Some((place, _)) = place_of_nobody() else { return };
    let (spool, mail) = (place.at("roots/spool"), place.at("roots/mail/{user}"));
    fs::create_dir(place.at("roots")).unwrap();
    let there = as_nobody("").replace("\"spool\"", &format!("{spool:?}"));
    place.write("facteur.toml", there.replace("\"mail/{domain}/{user}\"", &format!("{mail:?}")));
    let output = run(&place, "check");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for (begin, key) in
        [("fatal: ", ":3: spool: "), ("error: ", ":7: domain.\"mx.test\".maildir: ")]
    {
        let line = said.lines().find(|line| line.starts_with(begin) && line.contains(key));
        assert!(line.is_some_and(|line| line.contains("Permission denied")), "{said}");
    }
    assert!(!spool.exists());
}

#[test]
fn a_spool_of_roots_is_named_by_both() {
    let Some((place, _)) = place_of_nobody() else { return };
    place.write("facteur.toml", as_nobody(""));
    for dir in ["spool", "spool/queue", "spool/tmp", "spool/damaged"] {
        fs::create_dir(place.at(dir)).unwrap();
    }
    both_refuse(&place, &["Permission denied"]);
    let said = text(&run(&place, "check").stderr);
    assert!(said.contains("facteur.toml:3: spool: ") && said.contains("(owner root, "), "{said}");
}

#[test]
fn a_queue_file_that_the_server_cannot_read_is_named() {
    let Some((place, _)) = place_of_nobody() else { return };
    let file =
        place.write("facteur.toml", as_nobody("[relay.route]\n\"far.test\" = \"127.0.0.1:1\""));
    let ask = |words: &[&str]| {
        let mut command = Command::new(FACTEUR);
        let output =
            command.arg("-c").arg(&file).args(words).stdin(Stdio::null()).output().unwrap();
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    assert_eq!(ask(&["sendmail", "-f", "ann@mx.test", "eve@far.test"]).0, Some(0));
    let [queued] = &crate::support::files(&place.at("spool/queue"))[..] else { panic!("not one") };
    let id = queued.file_name().unwrap().to_str().unwrap();
    assert!(ask(&["queue", "why", id]).1.contains("waits for a server"));
    chown(queued, Some(0), Some(0)).unwrap();
    let (status, said) = ask(&["queue", "why", id]);
    let why = format!("{id}: waits because the server's user nobody cannot use its file ");
    assert!(status == Some(0) && said.starts_with(&why), "{said}");
    assert!(said.contains(&format!("released by: `chown nobody {}`", queued.display())), "{said}");
    let (status, said) = ask(&["queue", "retry", id]);
    assert!(status == Some(1) && said.contains("the server's user nobody cannot use"), "{said}");
    // The server says whose it is, too.
    let server = Binary::serve(&place, &fs::read_to_string(&file).unwrap());
    let whose = "it belongs to root, mode 0600, and this is nobody; `chown nobody ";
    server.wait_for(&["warning what=", "/spool/queue/", whose]);
    server.stop();
}

#[test]
fn a_maildir_that_only_root_may_write_is_named() {
    let Some((place, nobody)) = place_of_nobody() else { return };
    place.write("facteur.toml", as_nobody("").replace("any_user = true", "users = \"users\""));
    place.write("users", "ann:{PLAIN}x:::::\nbob:{PLAIN}x:::::\n");
    for user in ["ann", "bob"] {
        make_maildir(&place.maildir(user));
    }
    for dir in tree(&place.at("mail")).iter().chain([&place.at("mail")]) {
        chown(dir, Some(nobody.uid.as_raw()), None).unwrap();
        set_mode(dir, 0o755);
    }
    set_mode(&place.at("facteur.toml"), 0o644);
    set_mode(&place.at("users"), 0o644);
    let output = run(&place, "check");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let tmp = place.maildir("bob").join("tmp");
    chown(&tmp, Some(0), None).unwrap();
    let output = run(&place, "check");
    let said = text(&output.stderr);
    let why = format!(
        "no mail can be delivered to bob@mx.test: cannot create a file in {}: ",
        tmp.display()
    );
    assert!(output.status.code() == Some(1) && said.contains(&why), "{said}");
    assert!(said.contains("Permission denied") && !said.contains("ann@"), "{said}");
    for (address, is_good) in [("ann@mx.test", true), ("bob@mx.test", false)] {
        let mut route = Command::new(FACTEUR);
        route.arg("-c").arg(place.at("facteur.toml")).args(["route", address]);
        let output = route.output().unwrap();
        let said = text(&output.stdout);
        assert_eq!(
            (output.status.success(), said.contains("Permission denied")),
            (is_good, !is_good)
        );
        assert!(said.contains(": owner nobody, mode 0755, "), "{said}");
    }
    assert!(tree(&tmp).is_empty() && !place.at("spool").exists());
}

#[test]
fn without_run_as_the_spool_shows_who_the_server_is() {
    let Some((place, nobody)) = place_of_nobody() else { return };
    let file = place.write("facteur.toml", config(""));
    make_maildir(&place.maildir("ann"));
    fs::create_dir(place.at("spool")).unwrap();
    for path in tree(place.path()) {
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        set_mode(&path, mode);
    }
    let ask = |command: &mut Command, words: &[&str]| {
        let output = command.arg("-c").arg(&file).args(words).output().unwrap();
        (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
    };
    // Root's own server may write anywhere, and that of nobody not there.
    assert_eq!(ask(&mut Command::new(FACTEUR), &["route", "ann@mx.test"]).0, 0);
    chown(place.at("spool"), Some(nobody.uid.as_raw()), None).unwrap();
    let (status, said) = ask(&mut Command::new(FACTEUR), &["route", "ann@mx.test"]);
    assert!(status == 1 && said.contains("Permission denied"), "{said}");
    // Who is neither root nor the server cannot say.
    chown(place.at("spool"), Some(0), None).unwrap();
    let mut command = Command::new(FACTEUR);
    command.uid(nobody.uid.as_raw()).gid(nobody.gid.as_raw());
    if !command.arg("--version").output().is_ok_and(|output| output.status.success()) {
        return skip("nobody may not start the binary");
    }
    let other = || {
        let mut command = Command::new(FACTEUR);
        command.uid(nobody.uid.as_raw()).gid(nobody.gid.as_raw());
        command
    };
    let (status, said) = ask(&mut other(), &["route", "ann@mx.test"]);
    let step = "no delivery is tried: the server is the owner of the spool, and this is nobody\n";
    assert!(status == 0 && said.contains(step) && said.contains("delivered to ann@"), "{said}");
    let (status, said) = ask(&mut other(), &["check"]);
    let why = "mailboxes were not tried: only root and the server's user can say what it meets\n";
    assert!(status == 0 && said.contains(why), "{said}");
    let (status, said) = ask(&mut other(), &["check", "--disk"]);
    assert!(status == 1 && said.contains("the disks were not tried"), "{said}");
}

#[test]
fn nothing_is_tried_as_root_where_the_server_has_no_name() {
    let Some((place, _)) = place_of_nobody() else { return };
    let uid = 1_234_567_890;
    if User::from_uid(Uid::from_raw(uid)).unwrap().is_some() {
        return skip("somebody has that number");
    }
    place.write("facteur.toml", config(""));
    fs::create_dir(place.at("spool")).unwrap();
    if chown(place.at("spool"), Some(uid), None).is_err() {
        return skip("not every user can be had here");
    }
    let why =
        format!("the spool belongs to uid {uid}, which has no name here; set run_as, or run ");
    for (words, status, begin) in [
        (&["route", "ann@mx.test"][..], 1, ""),
        (&["check"], 0, "mailboxes were not tried: "),
        (&["check", "--disk"], 1, "the disks were not tried: "),
    ] {
        let mut command = Command::new(FACTEUR);
        let output = command.arg("-c").arg(place.at("facteur.toml")).args(words).output().unwrap();
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(status), "{words:?}: {said}");
        assert!(said.contains(&format!("{begin}{why}")), "{words:?}: {said}");
        assert!(!text(&output.stdout).contains("delivered"), "{words:?}");
    }
}

#[test]
fn homes_of_users_above_which_nothing_can_be_written_or_listed() {
    let Some((place, nobody)) = place_of_nobody() else { return };
    let there = as_nobody("").replace("mail/{domain}/{user}", "homes/{user}/Maildir");
    let file = place.write("facteur.toml", there.replace("any_user = true", "users = \"users\""));
    // Only the second of them can have a Maildir, and has none yet.
    let users = place.write("users", "ann:{PLAIN}x:::::\nbob:{PLAIN}x:::::\n");
    fs::create_dir_all(place.at("homes/bob")).unwrap();
    chown(place.at("homes/bob"), Some(nobody.uid.as_raw()), None).unwrap();
    fs::create_dir(place.at("spool")).unwrap();
    chown(place.at("spool"), Some(nobody.uid.as_raw()), None).unwrap();
    let homes = place.at("homes");
    [&place.at("homes/bob"), &place.at("spool"), &homes]
        .iter()
        .for_each(|dir| set_mode(dir, 0o755));
    [&file, &users].iter().for_each(|file| set_mode(file, 0o644));
    let check = || {
        let mut command = Command::new(FACTEUR);
        let output = command.arg("-c").arg(&file).args(["check", "--disk"]).output().unwrap();
        (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
    };
    let (status, said) = check();
    assert!(status == 1 && said.contains("delivered to ann@mx.test: "), "{said}");
    for words in ["cannot keep mail", "not tried", "bob@"] {
        assert!(!said.contains(words), "{said}");
    }
    // Nobody is listed, and nobody can be: mail for bob is delivered all the same.
    place.write("facteur.toml", there.replace("any_user = true", ""));
    set_mode(&homes, 0o711);
    let (status, said) = check();
    let doubts = ["its mailboxes were not tried: cannot list ", "the disk was not tried: "];
    for doubt in doubts {
        let line = format!("facteur.toml:7: domain.\"mx.test\".maildir: {doubt}");
        assert!(status == 0 && said.contains(&line), "{said}");
    }
    // Where not even names can be looked up, nothing is.
    set_mode(&homes, 0o700);
    assert_eq!(check().0, 1);
    assert!(tree(&place.at("homes/bob")).is_empty() && tree(&place.at("spool")).is_empty());
}
