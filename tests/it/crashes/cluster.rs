//! Two facteurs with spools of their own and one tree of Maildirs on a shared file system, GlusterFS, each by a mount
//! of its own as on two machines. They are killed in turns while mail comes through both.

use super::volume::{BRICKS, MOUNTS, Volume};
use super::{Promises, counted, send};
use crate::client::Client;
use crate::servers::{Binary, FACTEUR};
use crate::support::{Dice, Place, config, files, text, until};
use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

const KILLS: usize = 16;

/// Clients at once.
const CLIENTS: usize = 3;

const USERS: [&str; 2] = ["ann", "bob"];

/// One of the two: its mail lies in the volume, its spool does not. Both bear the same name, as behind one MX.
fn machine(volume: &Volume, place: &Place, number: usize) -> Command {
    let file = format!("facteur{number}.toml");
    let mail = format!("\"{}/mail/", place.at(MOUNTS[number]).display());
    let config = config("").replace("\"mail/", &mail);
    let config = config.replace("\"spool\"", &format!("\"spool{number}\""));
    let file = place.write(&file, config);
    let mut command = volume.command(FACTEUR);
    command.arg("-c").arg(file);
    command
}

fn start(volume: &Volume, place: &Place, number: usize) -> Binary {
    let mut command = machine(volume, place, number);
    command.arg("serve");
    Binary::start(command)
}

/// A client that tries the other machine where one is gone, as by two MX of equal preference.
struct Sender<'a> {
    addresses: &'a Mutex<[SocketAddr; 2]>,
    turn: usize,
    client: Option<Client>,
}

impl Sender<'_> {
    /// Where to go on after a machine was lost; none when it cannot be connected to.
    fn connect(&mut self) -> Option<Client> {
        self.turn += 1;
        let address = self.addresses.lock().unwrap()[self.turn % 2];
        let mut client = Client::of(TcpStream::connect(address).ok()?);
        let is_there = client.reply().starts_with("220 ")
            && client.try_send(b"EHLO client.test\r\n").is_ok()
            && client.reply().starts_with("250");
        is_there.then_some(client)
    }

    /// Sends a message until one of them has taken it; how often it was sent.
    fn deliver(&mut self, to: &[&str], number: usize) -> usize {
        let mut tries = 0;
        until("a machine takes it", || {
            let Some(mut client) = self.client.take().or_else(|| self.connect()) else {
                return false;
            };
            tries += 1;
            let taken = send(&mut client, to, number);
            if taken.is_some() {
                self.client = Some(client);
            }
            taken == Some(true)
        });
        tries
    }
}

/// How often each message lies in a user's Maildir below a root.
fn kept(root: &Path, user: &str) -> HashMap<usize, usize> {
    let new = root.join("mail/mx.test").join(user).join("new");
    counted(files(&new).iter().map(|path| text(&std::fs::read(path).unwrap())))
}

#[ignore = "a minute or more, and a server of GlusterFS: .ci/run --all runs it"]
#[test]
fn two_machines_on_one_volume_lose_nothing_when_they_die_in_turns() {
    let place = Place::new();
    let Some(volume) = Volume::new(&place) else { return };
    let mut servers = [0, 1].map(|number| Some(start(&volume, &place, number)));
    let addresses = [0, 1].map(|number| servers[number].as_ref().unwrap().address);
    let (addresses, promises, again) =
        (Mutex::new(addresses), Promises::default(), Mutex::new(HashMap::new()));
    let (is_over, mut dice) = (AtomicBool::new(false), Dice::new(20));
    let to = USERS.map(|user| format!("{user}@mx.test"));
    let to = [to[0].as_str(), to[1].as_str()];
    thread::scope(|scope| {
        for turn in 0..CLIENTS {
            let (addresses, promises, again, is_over) = (&addresses, &promises, &again, &is_over);
            scope.spawn(move || {
                let mut sender = Sender { addresses, turn, client: None };
                while !is_over.load(SeqCst) {
                    let number = promises.next();
                    let tries = sender.deliver(&to, number);
                    promises.promised(number);
                    if tries > 1 {
                        again.lock().unwrap().insert(number, tries);
                    }
                    // Now and then by the other machine, while both are there.
                    if number % 5 == 0 {
                        sender.client = None;
                    }
                }
            });
        }
        for kill in 0..KILLS {
            let before = promises.all().len();
            until("mail comes", || promises.all().len() >= before + CLIENTS);
            // A random moment, of no meaning.
            thread::sleep(Duration::from_millis(dice.below(100) as u64));
            let dead = kill % 2;
            drop(servers[dead].take()); // SIGKILL
            let server = start(&volume, &place, dead);
            addresses.lock().unwrap()[dead] = server.address;
            servers[dead] = Some(server);
        }
        is_over.store(true, SeqCst);
    });
    servers.into_iter().flatten().for_each(Binary::stop);

    let (promised, again) = (promises.all(), again.into_inner().unwrap());
    let roots = MOUNTS.map(|mount| volume.seen(mount));
    let bricks = BRICKS.map(|brick| place.at(brick));
    let mut doubles = 0;
    for user in USERS {
        let all = kept(&roots[0], user);
        let lost: Vec<_> = promised.iter().filter(|number| !all.contains_key(number)).collect();
        assert!(lost.is_empty(), "{user} never got {lost:?}");
        for (number, count) in &all {
            let tries = again.get(number).copied().unwrap_or(1);
            assert!(*count <= tries, "{user} got number {number} {count} times of {tries}");
            doubles += count - 1;
        }
        for root in roots.iter().chain(&bricks) {
            assert!(kept(root, user) == all, "{} has other mail of {user}", root.display());
        }
    }
    let numbers: HashSet<_> = promised.iter().collect();
    assert_eq!(numbers.len(), promised.len());
    let (kept, again) = (promised.len(), again.len());
    println!("{kept} promised over {KILLS} kills, {again} sent again, {doubles} copies double");
}

/// The sync of a directory ends at GlusterFS's client, so a 250 must not rest on it.
#[ignore = "a server of GlusterFS: .ci/run --all runs it"]
#[test]
fn a_name_is_on_the_disk_of_each_brick_before_250() {
    let place = Place::new();
    let Some(volume) = Volume::new(&place) else { return };
    let mut check = machine(&volume, &place, 0);
    let output = check.args(["check", "--disk"]).output().unwrap();
    let said = text(&output.stdout);
    assert!(
        said.contains("fuse.glusterfs, link and rename work"),
        "{said}{}",
        text(&output.stderr)
    );
    assert!(said.contains("synced by itself, and once more when it has its name"), "{said}");
    let server = start(&volume, &place, 0);
    // The Maildir is there when the steps are looked at.
    server.client().delivered(&["ann@mx.test"], b"Subject: x\r\n\r\nFirst.\r\n");
    let traces = BRICKS.map(|brick| {
        let (file, pid) = (place.at(&format!("{brick}.trace")), volume.keeper(brick));
        let mut strace = Command::new("strace");
        strace.args(["-f", "-e", "trace=linkat,link,rename,renameat,renameat2,fsync,fdatasync"]);
        strace.args(["-o".as_ref(), file.as_os_str(), "-p".as_ref()]).arg(pid.to_string());
        let tracer = strace.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let traced = format!("TracerPid:\t{}\n", tracer.id());
        until("every thread is traced", || {
            let tasks = files(Path::new(&format!("/proc/{pid}/task")));
            let status = |task: &std::path::PathBuf| std::fs::read_to_string(task.join("status"));
            tasks.iter().all(|task| status(task).is_ok_and(|status| status.contains(&traced)))
        });
        (file, tracer)
    });
    server.client().delivered(&["ann@mx.test"], b"Subject: x\r\n\r\nSecond.\r\n");
    for (file, mut tracer) in traces {
        let ended = Command::new("kill").args(["-INT", &tracer.id().to_string()]).status();
        assert!(ended.unwrap().success() && tracer.wait().is_ok());
        let steps = text(&std::fs::read(file).unwrap());
        let named = steps.find("/ann/new/").unwrap_or_else(|| panic!("no name: {steps}"));
        assert!(steps[named..].contains(" fsync("), "{steps}");
    }
    server.stop();
}
