//! What the system sees of the real binary: who it is, and when it syncs.

use crate::client::Client;
use crate::servers::{Binary, FACTEUR};
use crate::support::{Place, config, has_program, skip, text, tree, until};
use nix::unistd::{User, geteuid};
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::Command;

const MAIL: &[u8] = b"Subject: x\r\n\r\nHello.\r\n";

/// The values of a line of a thread's status.
fn status(task: &Path, key: &str) -> Vec<u32> {
    let status = fs::read_to_string(task.join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.split_whitespace().map(|id| id.parse().unwrap()).collect()
}

#[test]
fn run_as_gives_root_up_for_good() {
    if !geteuid().is_root() {
        return skip("only root can become another user");
    }
    let Some(nobody) = User::from_name("nobody").unwrap() else {
        return skip("there is no user nobody");
    };
    let (uid, gid) = (nobody.uid.as_raw(), nobody.gid.as_raw());
    let place = Place::new();
    let is_open = |dir: &Path| fs::metadata(dir).unwrap().mode() & 0o001 != 0;
    if !place.path().ancestors().all(is_open) {
        return skip("other users do not get into the folder of temporary files");
    }
    chown(place.path(), Some(uid), Some(gid)).unwrap();
    let as_nobody = config("").replace("spool =", "run_as = \"nobody\"\nspool =");
    let server = Binary::serve(&place, &as_nobody);
    let mut client = server.client();
    client.delivered(&["ann@mx.test"], MAIL);
    let large = [b"Subject: x\r\n\r\n", &b"spilled\r\n".repeat(20_000)[..]].concat();
    client.delivered(&["ann@mx.test"], &large);
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let tasks: Vec<_> = tasks.map(|task| task.unwrap().path()).collect();
    assert!(tasks.len() >= 4, "{tasks:?}");
    for task in tasks {
        assert_eq!(status(&task, "Uid:"), [uid; 4]);
        assert_eq!(status(&task, "Gid:"), [gid; 4]);
        let groups = status(&task, "Groups:");
        assert!(!groups.contains(&0) && groups.contains(&gid), "{groups:?}");
    }
    assert_eq!(place.mail("ann").len(), 2);
    let made: Vec<_> =
        tree(place.path()).into_iter().filter(|path| !path.ends_with("facteur.toml")).collect();
    assert!(made.iter().any(|path| path.ends_with("spool/spill")), "{made:?}");
    for path in made {
        let found = fs::metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid()), (uid, gid), "{}", path.display());
    }
    assert!(!server.lines().iter().any(|line| line.contains("running as root")));
    drop(client);
    server.stop();
}

#[test]
fn root_is_warned_of_and_a_wrong_user_refused() {
    if !geteuid().is_root() {
        return skip("only root can become another user");
    }
    let place = Place::new();
    let server = Binary::serve(&place, &config(""));
    server.wait_for(&["warning what=", "running as root"]);
    server.stop();
    let wrong = config("").replace("spool =", "run_as = \"no-such-user\"\nspool =");
    let file = place.write("facteur.toml", wrong);
    let output = Command::new(FACTEUR).arg("-c").arg(file).arg("serve").output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("no-such-user"), "{said}");
    assert!(!place.at("spool").exists() || !said.contains("started"), "{said}");
}

/// Lines of a trace where a sync begins; but for the stories, which nobody waits for.
fn syncs(lines: &[&str]) -> Vec<String> {
    let is_sync = |line: &&&str| {
        ["fsync(", "fdatasync(", "syncfs(", "sync(", "sync_file_range("]
            .iter()
            .any(|call| line.split_whitespace().any(|word| word.starts_with(call)))
    };
    let is_story = |line: &&&str| line.contains("/spool/trace/");
    let found = lines.iter().filter(is_sync).filter(|line| !is_story(line));
    found.map(|line| (*line).to_owned()).collect()
}

#[test]
fn one_message_costs_two_syncs_before_its_250() {
    if !has_program("strace", "-V") {
        return skip("strace is not installed");
    }
    if !has_program("strace", "true") {
        return skip("strace may not trace here");
    }
    let place = Place::new();
    let (file, trace) = (place.write("facteur.toml", config("")), place.at("trace"));
    let mut command = Command::new("strace");
    // -D: facteur is our child, and strace beside it.
    command.args([
        "-D",
        "-f",
        "-y",
        "-s",
        "80",
        "-e",
        "trace=fsync,fdatasync,syncfs,sync,sync_file_range,sendto,write",
    ]);
    command.arg("-o").arg(&trace).arg(FACTEUR).arg("-c").arg(file).arg("serve");
    let server = Binary::start(command);
    let mut client = Client::greeted(server.address);
    client.delivered(&["ann@mx.test"], MAIL);
    client.expect("NOOP", "250 2.0.0 Ok");
    let id = client.delivered(&["ann@mx.test"], MAIL);
    client.expect("QUIT", "221 ");
    drop(client);
    server.stop();
    let whole = || fs::read_to_string(&trace).unwrap_or_default();
    until("strace has written all", || whole().contains("+++ exited with 0 +++\n"));
    let trace = whole();
    let lines: Vec<&str> = trace.lines().collect();
    let at = |text: &str| {
        let found = lines.iter().rposition(|line| line.contains("sendto(") && line.contains(text));
        found.unwrap_or_else(|| panic!("no {text} in {trace}"))
    };
    let (begun, ended) = (at("\"354 "), at(&format!("queued as {id}")));
    let during = syncs(&lines[begun..ended]);
    // The file (synced, or waited for where order is kept), and the directory of its new name. Nothing less can be
    // durable.
    assert_eq!(during.len(), 2, "{during:#?}");
    // None is under way any more, either.
    assert_eq!(syncs(&lines[ended..]), [""; 0], "{trace}");
}
