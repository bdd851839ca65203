//! A power cut on a file system with a journal: what the disk holds at some moment is all that is left.
//!
//! The disk is a file. The server stands still while it is copied (SIGSTOP, and none of its threads still
//! inside the kernel), and the file system commits nothing by itself (`commit=300`). So the copy has what
//! was synced and whatever else had reached the disk, and not what waited in memory, as after a cut. It is
//! mounted, which replays its journal, and a server has to find all there that was promised before.

use super::{Promises, counted, letter, number};
use crate::servers::Binary;
use crate::support::{Dice, Place, config, files, has_program, say, skip, text, tree, until};
use facteur::store::disk::RealDisk;
use facteur::store::queue::Queue;
use nix::unistd::geteuid;
use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const CUTS: usize = 8;

/// Octets of the disk; a copy has only those that were ever written.
const DISK: u64 = 128 << 20;

/// Messages of each of so many sessions.
const MESSAGES: usize = 400;
const CLIENTS: usize = 3;

/// A disk in a file, mounted; unmounted when it is dropped.
struct Disk(PathBuf);

impl Disk {
    /// None where there is nothing that could mount it.
    fn mount(image: &Path, place: &Place) -> Option<Disk> {
        let dir = place.at("disk");
        fs::create_dir(&dir).unwrap();
        let mut mount = Command::new("mount");
        let output = mount.args(["-o", "loop,commit=300"]).arg(image).arg(&dir).output().ok()?;
        if !output.status.success() {
            say(&format!("skipped: no disk can be mounted here: {}", text(&output.stderr)));
            return None;
        }
        Some(Disk(dir))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// An empty disk, mounted in that place.
fn new_disk(place: &Place) -> Option<(PathBuf, Disk)> {
    if !geteuid().is_root() {
        say("skipped: only root can mount a disk");
        return None;
    }
    if !has_program("mkfs.ext4", "-V") {
        skip("mkfs.ext4 is not installed");
        return None;
    }
    let image = place.at("disk.img");
    File::create(&image).unwrap().set_len(DISK).unwrap();
    assert!(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image).status().unwrap().success());
    let disk = Disk::mount(&image, place)?;
    Some((image, disk))
}

/// All that a server here writes lies on the disk; nobody is there to whom it could relay.
fn on_the_disk() -> String {
    let more = "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"127.0.0.1:1\"";
    let config = config(more).replace("spool = \"spool\"", "spool = \"disk/spool\"");
    config.replace("\"mail/", "\"disk/mail/")
}

/// The server stands still, and so does all that it has asked the kernel to do.
fn stop_still(server: &Binary) {
    server.signal("STOP");
    let tasks = PathBuf::from(format!("/proc/{}/task", server.pid()));
    let is_stopped = |task: PathBuf| {
        let Ok(stat) = fs::read_to_string(task.join("stat")) else { return true };
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    };
    until("all its threads are stopped", || files(&tasks).into_iter().all(is_stopped));
}

/// Looks at the copy of a disk, then lets a server look.
fn check(image: &Path, promised: &[usize]) {
    let place = Place::new();
    let Some(disk) = Disk::mount(image, &place) else { panic!("it could be mounted before") };
    let is_whole = |promised: &[usize]| {
        let mut mail = Vec::new();
        for path in tree(&disk.0.join("mail")).into_iter().filter(|path| is_new(path)) {
            let octets = fs::read(&path).unwrap();
            let name = path.file_name().unwrap().to_string_lossy();
            assert!(name.ends_with(&format!(",S={}", octets.len())), "{name} is torn");
            mail.push(text(&octets));
        }
        let mail = counted(mail);
        let queue = queued(&disk.0.join("spool"));
        let lost = |number: &&usize| !mail.contains_key(number) || !queue.contains(number);
        let lost: Vec<_> = promised.iter().filter(lost).collect();
        assert!(lost.is_empty(), "{lost:?} of {} are lost", promised.len());
        assert!(mail.values().all(|count| *count == 1), "one is there twice");
    };
    is_whole(promised);
    let server = Binary::serve(&place, &on_the_disk());
    // It goes on as if nothing had happened.
    server.client().delivered(&["ann@mx.test", "x@far.test"], &letter(1_000_000));
    is_whole(promised);
    assert!(files(&disk.0.join("spool/damaged")).is_empty(), "{:#?}", server.lines());
    server.stop();
}

/// The messages of a queue; none of its files may be torn.
fn queued(spool: &Path) -> HashSet<usize> {
    let queue = Queue::new(Arc::new(RealDisk), spool);
    let read = |id: String| {
        let entry = queue.read(&id).unwrap_or_else(|why| panic!("{id}: {why}")).entry;
        let octets = fs::read(queue.dir().join(id)).unwrap();
        number(&text(&octets[entry.message_at as usize..][..entry.size as usize]))
    };
    queue.list().unwrap().into_iter().map(read).collect()
}

fn is_new(path: &Path) -> bool {
    path.parent().is_some_and(|dir| dir.ends_with("new"))
}

#[test]
fn what_was_promised_survives_power_cuts() {
    let place = Place::new();
    let Some((image, _disk)) = new_disk(&place) else { return };
    let server = Binary::serve(&place, &on_the_disk());
    let (promises, mut dice) = (Promises::default(), Dice::new(11));
    let copies: Vec<(PathBuf, Vec<usize>)> = thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let mut client = server.client();
            let to = ["ann@mx.test", "x@far.test"];
            let promises = &promises;
            scope.spawn(move || promises.send_some(&mut client, &to, MESSAGES));
        }
        let cut = |count| {
            // A random moment, of no meaning.
            let enough = promises.all().len() + dice.below(25);
            until("more is promised", || promises.all().len() >= enough);
            thread::sleep(Duration::from_millis(dice.below(20) as u64));
            stop_still(&server);
            // Before the copy: what is promised while it is made may be in it or not.
            let promised = promises.all();
            let copy = place.at(&format!("copy.{count}"));
            let mut copying = Command::new("cp");
            let copied = copying.arg("--sparse=always").arg(&image).arg(&copy).status();
            assert!(copied.unwrap().success());
            server.signal("CONT");
            (copy, promised)
        };
        let copies = (0..CUTS).map(cut).collect();
        server.signal("KILL");
        copies
    });
    let counts: Vec<usize> = copies.iter().map(|(_, promised)| promised.len()).collect();
    println!("promised before each cut: {counts:?}");
    assert!(counts.last() > Some(&50), "too few to say anything: {counts:?}");
    for (copy, promised) in copies {
        check(&copy, &promised);
        fs::remove_file(copy).unwrap();
    }
}
