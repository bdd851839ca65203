//! `facteur user`: the file that it writes, who may read it afterwards, and what a person is told.

use crate::commands::{run, run_clean};
use crate::outside::{PYTHON, asked_on_a_terminal};
use crate::servers::FACTEUR;
use crate::support::{Place, config, files, has_program, skip, text};
use facteur::mail::address::Domain;
use facteur::store::users::Users;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::process::{Command, Stdio};

fn place() -> Place {
    let place = Place::new();
    let users = config("").replace("any_user = true", "users = \"mx.users\"");
    place.write("facteur.toml", format!("{users}[domain.\"open.test\"]\nany_user = true\n"));
    place
}

/// `user add` with this on its stdin.
fn add(place: &Place, arguments: &[&str], stdin: &str) -> (i32, String, String) {
    let mut command = Command::new(FACTEUR);
    command.args(["user", "add"]).args(arguments).current_dir(place.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Who refuses before it reads leaves a broken pipe.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// Whether the file takes this password for that user.
fn takes(place: &Place, user: &str, password: &str) -> bool {
    let domain = Domain::parse("mx.test").unwrap();
    let (users, _) = Users::read(&place.at("mx.users"), &domain).unwrap();
    users.password(user).is_some_and(|stored| stored.verify(password).unwrap())
}

#[test]
fn a_user_is_added_changed_listed_and_removed() {
    let place = place();
    let (status, out, err) = add(&place, &["ann@mx.test"], "pencil\nmore\n");
    assert_eq!((status, out.as_str(), err.as_str()), (0, "ann@mx.test added\n", ""));
    let file = fs::read_to_string(place.at("mx.users")).unwrap();
    assert!(file.starts_with("ann:{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$"), "{file}");
    assert!(file.ends_with(":::::\n") && !file.contains("pencil"), "{file}");
    let mode = fs::metadata(place.at("mx.users")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(takes(&place, "ann", "pencil") && !takes(&place, "ann", "pencil\nmore"));

    let (status, out, _) = add(&place, &["ANN@MX.test"], "brush\r\n");
    assert_eq!((status, out.as_str()), (0, "ANN@MX.test has a new password\n"));
    assert!(takes(&place, "ann", "brush") && !takes(&place, "ann", "pencil"));
    assert_eq!(add(&place, &["bob@mx.test", "--scheme", "scram-sha-256"], "x").0, 0);
    assert!(takes(&place, "bob", "x"));

    let (_, out, err) = run_clean(&place, &["user", "list"]);
    assert_eq!(
        (out.as_str(), err.as_str()),
        ("ann@mx.test  ARGON2ID\nbob@mx.test  SCRAM-SHA-256\n", "")
    );
    let (status, out, _) = run_clean(&place, &["user", "list", "--json"]);
    let first = "{\"address\":\"ann@mx.test\",\"scheme\":\"ARGON2ID\"}";
    assert!(status == 0 && out.lines().next() == Some(first) && out.lines().count() == 2, "{out}");

    assert_eq!(run(&place, &["user", "remove", "Ann@mx.test"]), (0, String::new(), String::new()));
    let (_, out, _) = run_clean(&place, &["user", "list"]);
    assert_eq!(out, "bob@mx.test  SCRAM-SHA-256\n");
    let (status, _, err) = run_clean(&place, &["user", "remove", "ann@mx.test"]);
    assert!(status == 1 && err.contains("ann@mx.test: no such user in ./mx.users"), "{err}");
    let names: Vec<_> =
        files(place.path()).into_iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["facteur.toml", "mx.users"], "something was left");
}

#[test]
fn everything_else_in_the_file_stays() {
    let place = place();
    let before = "# people\r\n\nAnn@mx.test:{PLAIN}x:1000:1000:Ann Smith:/home/ann::a=b\nno colon\nbob:{MD5}y";
    let real = place.write("real.users", before);
    symlink(&real, place.at("mx.users")).unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    let root = nix::unistd::geteuid().is_root();
    if root {
        chown(&real, Some(65534), Some(65534)).unwrap();
    }
    assert_eq!(add(&place, &["ann@mx.test", "--scheme", "PLAIN"], "new\n").0, 0);
    assert_eq!(fs::read_to_string(&real).unwrap(), before.replace("{PLAIN}x", "{PLAIN}new"));
    assert_eq!(add(&place, &["zoe@mx.test", "--scheme", "PLAIN"], "z\n").0, 0);
    let after = format!("{}\nzoe:{{PLAIN}}z:::::\n", before.replace("{PLAIN}x", "{PLAIN}new"));
    assert_eq!(fs::read_to_string(&real).unwrap(), after);
    assert_eq!(run(&place, &["user", "remove", "zoe@mx.test"]).0, 0);
    assert!(fs::symlink_metadata(place.at("mx.users")).unwrap().is_symlink());
    let found = fs::metadata(&real).unwrap();
    assert_eq!(found.permissions().mode() & 0o777, 0o640);
    assert!(!root || (found.uid(), found.gid()) == (65534, 65534));
}

#[test]
fn what_is_refused_changes_nothing() {
    let place = place();
    place.write("mx.users", "ann:{PLAIN}x:::::\n");
    let long = "x".repeat(1025);
    for (arguments, stdin, status, why) in [
        (&["ann@mx.test"][..], "", 1, "no password"),
        (&["ann@mx.test"], "\nx\n", 1, "no password"),
        (&["ann@mx.test"], &long, 1, "longer than 1024"),
        (&["ann@mx.test"], "a\tb\n", 1, "control"),
        (&["ann@mx.test", "--scheme", "PLAIN"], "a:b\n", 1, "colon"),
        (&["ann@mx.test", "--scheme", "BLF-CRYPT"], &long[..73], 1, "longer than 72"),
        (&["ann@mx.test", "--scheme", "MD5"], "x\n", 2, "no scheme is called MD5"),
        (&["ann@far.test"], "x\n", 1, "far.test is not delivered here"),
        (&["ann@open.test"], "x\n", 1, "it has no users file"),
        (&["ann"], "x\n", 1, "ann: "),
        (&["\"#ann\"@mx.test"], "x\n", 1, "cannot hold this name"),
        (&["\"a/b\"@mx.test"], "x\n", 1, "cannot hold this name"),
        (&["\"a:b\"@mx.test"], "x\n", 1, "cannot hold this name"),
        (&["a\x1b[2J@mx.test"], "x\n", 1, "\\x1b"),
    ] {
        let (found, out, err) = add(&place, arguments, stdin);
        assert!(found == status && out.is_empty(), "{arguments:?}: {found} {out}{err}");
        assert!(err.contains(why) && !err.contains('\x1b'), "{arguments:?}: {err}");
    }
    assert_eq!(fs::read_to_string(place.at("mx.users")).unwrap(), "ann:{PLAIN}x:::::\n");
    for wrong in [
        &["user"][..],
        &["user", "add"],
        &["user", "add", "a@b", "c@d"],
        &["user", "add", "a@b", "--json"],
        &["user", "list", "more"],
        &["user", "list", "--scheme", "PLAIN"],
        &["user", "remove"],
        &["user", "nonsense"],
    ] {
        let (status, out, err) = run_clean(&place, wrong);
        assert!(status == 2 && out.is_empty() && !err.is_empty(), "{wrong:?}: {status} {out}{err}");
    }
    let (status, out, _) = run_clean(&place, &["user", "--help"]);
    assert!(status == 0 && out.contains("facteur [-c FILE] user add ADDRESS"));
}

/// A site of three domains, each with a users file of its own.
fn three_domains(place: &Place, more: &str) {
    let domains = ["a", "b", "c"].map(|name| {
        format!("[domain.\"{name}.test\"]\nmaildir = \"mail/{{user}}\"\nusers = \"{name}.users\"\n")
    });
    let top = format!("hostname = \"mx.test\"\nspool = \"spool\"\n{more}");
    let listen = "[listen]\nsmtp = [\"127.0.0.1:0\"]\n";
    place.write("facteur.toml", format!("{top}{listen}{}", domains.concat()));
}

/// Owner, group and mode of a file.
fn rights(place: &Place, name: &str) -> (u32, u32, u32) {
    let found = fs::metadata(place.at(name)).unwrap();
    (found.uid(), found.gid(), found.mode() & 0o7777)
}

fn give(place: &Place, name: &str, mode: u32, owner: Option<(u32, u32)>) {
    let path = place.write(name, "ann:{PLAIN}x:::::\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    if let Some((user, group)) = owner {
        chown(&path, Some(user), Some(group)).unwrap();
    }
}

#[test]
fn the_file_of_a_new_domain_is_as_the_others_are() {
    let place = Place::new();
    let root = nix::unistd::geteuid().is_root();
    let owner = root.then_some((61_001, 61_002));
    three_domains(&place, if root { "run_as = \"nobody\"\n" } else { "" });
    give(&place, "a.users", 0o640, owner);
    let like = rights(&place, "a.users");
    let (status, _, err) = add(&place, &["ann@c.test", "--scheme", "PLAIN"], "x\n");
    assert_eq!((status, err.as_str()), (0, ""));
    assert_eq!(rights(&place, "c.users"), like);
    // Another password, and another user, leave it as somebody wanted it.
    fs::set_permissions(place.at("c.users"), fs::Permissions::from_mode(0o600)).unwrap();
    if root {
        chown(place.at("c.users"), Some(61_003), Some(61_004)).unwrap();
    }
    let other = rights(&place, "c.users");
    for address in ["ann@c.test", "bob@c.test"] {
        assert_eq!(add(&place, &[address, "--scheme", "PLAIN"], "y\n").0, 0);
    }
    assert_eq!(rights(&place, "c.users"), other);
}

#[test]
fn where_the_others_differ_the_file_is_for_its_owner_alone_and_that_is_told() {
    let place = Place::new();
    let root = nix::unistd::geteuid().is_root();
    three_domains(&place, if root { "run_as = \"nobody\"\n" } else { "" });
    give(&place, "a.users", 0o640, None);
    give(&place, "b.users", 0o644, None);
    let (status, out, err) = add(&place, &["ann@c.test", "--scheme", "PLAIN"], "x\n");
    assert_eq!((status, out.as_str()), (0, "ann@c.test added\n"));
    assert!(err.contains("c.users is made with mode 0600, for its owner alone"), "{err}");
    assert!(err.contains("a.users: 0640 ") && err.contains("b.users: 0644 "), "{err}");
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let owner = if root { nobody.uid.as_raw() } else { nix::unistd::geteuid().as_raw() };
    let (uid, _, mode) = rights(&place, "c.users");
    assert_eq!((uid, mode), (owner, 0o600));
    // It is there now, so nothing more has to be said.
    let (status, _, err) = add(&place, &["bob@c.test", "--scheme", "PLAIN"], "x\n");
    assert_eq!((status, err.as_str()), (0, ""));
}

/// The server's user, who may not give a file to a group that is none of its own.
#[test]
fn what_only_root_can_make_is_told_to_the_server_s_user() {
    let Some(place) = as_nobody() else { return };
    give(&place, "a.users", 0o640, Some((65534, 61_002)));
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", FACTEUR, "user", "add"]);
    command.args(["ann@c.test", "--scheme", "PLAIN"]).current_dir(place.path());
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"x\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let told = text(&output.stderr);
    assert!(output.status.success() && told.contains("only root can make it as "), "{told}");
    assert!(told.contains("chown --reference="), "{told}");
    assert_eq!(rights(&place, "c.users"), (65534, 65534, 0o600));
    // Nor does it take a file away from its readers.
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", FACTEUR, "user", "remove"]);
    let output = command.arg("ann@a.test").current_dir(place.path()).output().unwrap();
    let told = text(&output.stderr);
    assert!(!output.status.success() && told.contains("call this as root"), "{told}");
    assert_eq!(rights(&place, "a.users"), (65534, 61_002, 0o640));
}

/// A place that belongs to nobody, who can run the program under test; none where this cannot be.
fn as_nobody() -> Option<Place> {
    if !nix::unistd::geteuid().is_root() {
        skip("only root becomes another user");
        return None;
    }
    if !has_program("setpriv", "--version") {
        skip("setpriv is not installed");
        return None;
    }
    let place = Place::new();
    three_domains(&place, "");
    chown(place.path(), Some(65534), Some(65534)).unwrap();
    Some(place)
}

#[test]
fn many_at_once_lose_nobody() {
    let place = place();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let place = &place;
            let address = format!("user{number}@mx.test");
            scope.spawn(move || {
                assert_eq!(add(place, &[&address, "--scheme", "PLAIN"], "x\n").0, 0, "{address}");
            });
        }
    });
    let (_, out, _) = run_clean(&place, &["user", "list"]);
    assert_eq!(out.lines().count(), 8, "{out}");
}

/// A terminal of Python's asks twice, and shows nothing.
#[test]
fn on_a_terminal() {
    if !has_program(PYTHON, "--version") {
        return skip("python3 is not installed");
    }
    let place = place();
    let add = ["user", "add", "ann@mx.test"];
    let ask = |first: &str, second: &str| asked_on_a_terminal(&place, &add, &[first, second]);
    let (status, shown) = ask("pencil", "penci1");
    assert!(status == Some(1) && shown.contains("not the same"), "{shown}");
    assert!(!place.at("mx.users").exists());
    let (status, shown) = ask("pencil", "pencil");
    assert!(status == Some(0) && shown.contains("password for ann@mx.test: "), "{shown}");
    assert!(!shown.contains("pencil"), "{shown}");
    assert!(takes(&place, "ann", "pencil"));
}
