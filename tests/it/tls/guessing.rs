//! Logins by those who know no password: what they cost us, and what the cost gives away.

use super::submission::{secured, submitting};
use crate::hosts::Host;
use crate::secrecy::Pair;
use crate::servers::Binary;
use crate::support::{Place, text};
use facteur::limits::LOGINS_WAITING;
use facteur::smtp::auth::encode;
use facteur::store::password::{Scheme, make};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fs;

fn serve(place: &Place, far: &Host, users: &str, limits: &str) -> Binary {
    Pair::of(&["mx.test"]).write(place);
    place.write("users", users);
    place.write("aliases", "");
    Binary::serve(place, &submitting(far, &format!("[limit]\n{limits}\n")))
}

fn plain(user: &str, password: &str) -> String {
    format!("AUTH PLAIN {}", encode(format!("\0{user}\0{password}").as_bytes()))
}

/// The most memory that a process has had, in KiB.
fn peak(server: &Binary) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A hash of ARGON2ID takes 64 MiB while it is computed.
#[test]
fn a_thousand_logins_at_once_take_no_thousand_hashes() {
    const LOGINS: usize = 1000;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let (place, far) = (Place::new(), Host::start(""));
    // As much memory as ours, in fewer passes.
    let hash = make(Scheme::Argon2id, "pencil").unwrap().replace(",t=3,", ",t=1,");
    let limits = format!("sessions = {LOGINS}\nsessions_per_client = {LOGINS}");
    let users = format!("ann:{hash}:::::\nbob:{{PLAIN}}pencil:::::\n");
    let server = serve(&place, &far, &users, &limits);
    let mut clients: Vec<_> = (0..LOGINS).map(|_| secured(&server, "submissions")).collect();
    let idle = peak(&server);
    let wrong = format!("{}\r\n", plain("ann", "wrong"));
    clients.iter_mut().for_each(|client| client.send(wrong.as_bytes()));
    let answers: Vec<String> = clients.iter_mut().map(|client| client.reply()).collect();
    let count = |start: &str| answers.iter().filter(|answer| answer.starts_with(start)).count();
    let (denied, busy) = (count("535 5.7.8 "), count("454 4.7.0 "));
    assert_eq!(denied + busy, LOGINS, "{denied} {busy}");
    // Some are done before the last has come.
    assert!(denied >= LOGINS_WAITING && busy > 0, "{denied} {busy}");
    // One hash at a time, beside what the sessions need.
    let more = peak(&server) - idle;
    assert!(more < 128 * 1024, "{more} KiB on top of {idle}");
    // Whoever was sent away may come again.
    assert!(clients[LOGINS - 1].ask(&plain("bob", "pencil")).starts_with("235 2.7.0 "));
    server.stop();
}

/// What the thread that computes hashes has worked so far, in ticks of 10 ms.
fn work(server: &Binary) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let mut tasks = tasks.map(|task| task.unwrap().path());
    let is_it = |name: String| name.trim() == "passwords";
    let task = tasks.find(|task| fs::read_to_string(task.join("comm")).is_ok_and(is_it)).unwrap();
    let stat = text(&fs::read(task.join("stat")).unwrap());
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Time on a clock says little where much else runs, so the work is measured that takes it.
#[test]
fn who_is_not_there_costs_what_a_wrong_password_costs() {
    const ROUNDS: usize = 4;
    let guesses = ["ann@mx.test", "zoe@mx.test", "ann@far.test", "eve@mx.test"];
    for scheme in [Scheme::Argon2id, Scheme::BlfCrypt, Scheme::Sha512Crypt] {
        let (place, far) = (Place::new(), Host::start(""));
        let hash = make(scheme, "pencil").unwrap();
        // Eve has no password at all.
        let users = format!("ann:{hash}:::::\neve::::::\n");
        let server = serve(&place, &far, &users, "auth_failures = 1000\nerrors = 1000");
        let mut client = secured(&server, "submissions");
        let mut worked = [0; 4];
        // By turns, so that what else runs is the same for all.
        for _ in 0..ROUNDS {
            for (name, worked) in guesses.iter().zip(&mut worked) {
                let before = work(&server);
                client.expect(&plain(name, "wrong"), "535 5.7.8 wrong name or password");
                *worked += work(&server) - before;
            }
        }
        let (least, most) = (worked.iter().min().unwrap(), worked.iter().max().unwrap());
        assert!(*least > 0 && *most < 2 * *least, "{scheme}: {worked:?} for {guesses:?}");
        server.stop();
    }
}
