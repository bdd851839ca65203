//! A power cut on a file system with a journal: what the disk holds at some moment is all that is left.
//!
//! The disk is a file. The server stands still while it is copied (SIGSTOP, and none of its threads still
//! inside the kernel), and the file system commits nothing by itself (`commit=300`). So the copy has what
//! was synced and whatever else had reached the disk, and not what waited in memory, as after a cut. It is
//! mounted, which replays its journal, and a server has to find all there that was promised before.

use super::{Promises, counted, letter, number};
use crate::servers::{Binary, FACTEUR};
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

/// Of each kind; and of those that have minutes.
const CUTS: usize = 6;
const MANY_CUTS: usize = 50;

/// Sessions at once.
const CLIENTS: usize = 3;

/// Between two cuts at most so many messages of each session are promised.
const BETWEEN: usize = 70;

/// A file system, as it is made and mounted.
struct FileSystem {
    kind: &'static str,
    /// Octets of its disk; a copy has only those that were ever written.
    size: u64,
    mkfs: &'static [&'static str],
    /// It commits nothing by itself for a while.
    options: &'static str,
    /// One commit is enough there.
    keeps_order: bool,
}

const EXT4: FileSystem = FileSystem {
    kind: "ext4",
    size: 128 << 20,
    mkfs: &["mkfs.ext4", "-q", "-F"],
    options: "loop,commit=300",
    keeps_order: true,
};

const XFS: FileSystem = FileSystem {
    kind: "xfs",
    size: 320 << 20,
    mkfs: &["mkfs.xfs", "-q"],
    options: "loop",
    keeps_order: true,
};

const BTRFS: FileSystem = FileSystem {
    kind: "btrfs",
    size: 320 << 20,
    mkfs: &["mkfs.btrfs", "-q"],
    options: "loop,commit=300",
    keeps_order: false,
};

/// A disk in a file, mounted; unmounted when it is dropped.
struct Disk(PathBuf);

impl Disk {
    /// None where there is nothing that could mount it.
    fn mount(image: &Path, system: &FileSystem, place: &Place) -> Option<Disk> {
        let dir = place.at("disk");
        fs::create_dir(&dir).unwrap();
        let mut mount = Command::new("mount");
        let output = mount.args(["-o", system.options]).arg(image).arg(&dir).output().ok()?;
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
fn new_disk(system: &FileSystem, place: &Place) -> Option<(PathBuf, Disk)> {
    if !geteuid().is_root() {
        say("skipped: only root can mount a disk");
        return None;
    }
    let FileSystem { mkfs: [mkfs, options @ ..], .. } = system else { return None };
    if !has_program(mkfs, "-V") {
        skip(&format!("{mkfs} is not installed"));
        return None;
    }
    let image = place.at("disk.img");
    File::create(&image).unwrap().set_len(system.size).unwrap();
    assert!(Command::new(mkfs).args(options).arg(&image).status().unwrap().success());
    let disk = Disk::mount(&image, system, place)?;
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

/// A copy of the disk, and what was promised before it was made: for a user here, for another host.
struct Cut {
    image: PathBuf,
    here: Vec<usize>,
    away: Vec<usize>,
}

impl Cut {
    /// Stops the server, copies its disk, and lets it go on. What is promised meanwhile may be in the copy
    /// or not.
    fn new(server: &Binary, disk: &Path, [here, away]: [&Promises; 2]) -> Cut {
        stop_still(server);
        let (here, away) = (here.all(), away.all());
        let image = disk.with_extension(facteur::id::message());
        let mut copying = Command::new("cp");
        let copied = copying.arg("--sparse=always").arg(disk).arg(&image).status();
        assert!(copied.unwrap().success());
        server.signal("CONT");
        Cut { image, here, away }
    }
}

/// Looks at the copy of a disk, then lets a server look.
fn check(cut: &Cut, system: &FileSystem) {
    let place = Place::new();
    let Some(disk) = Disk::mount(&cut.image, system, &place) else {
        panic!("it could be mounted before")
    };
    let is_whole = || {
        let mut mail = Vec::new();
        for path in tree(&disk.0.join("mail")).into_iter().filter(|path| is_new(path)) {
            let octets = fs::read(&path).unwrap();
            let name = path.file_name().unwrap().to_string_lossy();
            assert!(name.ends_with(&format!(",S={}", octets.len())), "{name} is torn");
            mail.push(text(&octets));
        }
        let mail = counted(mail);
        let queue = queued(&disk.0.join("spool"));
        let lost: Vec<_> = cut.here.iter().filter(|number| !mail.contains_key(number)).collect();
        assert!(lost.is_empty(), "of {} here {lost:?} are lost", cut.here.len());
        let lost: Vec<_> = cut.away.iter().filter(|number| !queue.contains(number)).collect();
        assert!(lost.is_empty(), "of {} in the queue {lost:?} are lost", cut.away.len());
        assert!(mail.values().all(|count| *count == 1), "one is there twice");
    };
    is_whole();
    let server = Binary::serve(&place, &on_the_disk());
    // It goes on as if nothing had happened.
    server.client().delivered(&["ann@mx.test", "x@far.test"], &letter(1_000_000));
    is_whole();
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

/// Cuts behind a single promise: nothing that comes later has made it durable on the way.
fn after_single_messages(server: &Binary, disk: &Path, cuts: usize) -> Vec<Cut> {
    let (here, away) = (Promises::default(), Promises::starting_at(1000));
    let mut client = server.client();
    let cut = |count| {
        let (to, promises) = match count % 2 {
            0 => ("ann@mx.test", &here),
            _ => ("x@far.test", &away),
        };
        promises.send_some(&mut client, &[to], 1);
        Cut::new(server, disk, [&here, &away])
    };
    (0..cuts).map(cut).collect()
}

/// Cuts in the middle of many messages.
fn among_many_messages(server: &Binary, disk: &Path, cuts: usize) -> Vec<Cut> {
    let (promises, mut dice) = (Promises::starting_at(2000), Dice::new(11));
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            let mut client = server.client();
            let promises = &promises;
            let to = ["ann@mx.test", "x@far.test"];
            scope.spawn(move || promises.send_some(&mut client, &to, cuts * BETWEEN));
        }
        let cut = |_| {
            // A random moment, of no meaning.
            let enough = promises.all().len() + 1 + dice.below(25);
            until("more is promised", || promises.all().len() >= enough);
            thread::sleep(Duration::from_millis(dice.below(20) as u64));
            Cut::new(server, disk, [&promises, &promises])
        };
        let cuts = (0..cuts).map(cut).collect();
        server.signal("KILL");
        cuts
    })
}

/// Cuts of both kinds, on a disk with that file system.
fn cut_off(system: &FileSystem, cuts: usize) {
    let place = Place::new();
    let Some((image, disk)) = new_disk(system, &place) else { return };
    let config = on_the_disk();
    let told = check_disk(&place, &config);
    let words = if system.keeps_order { "one commit" } else { "two commits" };
    assert!(told.contains(words), "{}: {told}", system.kind);
    let server = Binary::serve(&place, &config);
    let mut all = after_single_messages(&server, &image, cuts);
    assert!(all.last().is_some_and(|cut| cut.here.len() + cut.away.len() == cuts));
    all.extend(among_many_messages(&server, &image, cuts));
    let counts: Vec<usize> = all.iter().map(|cut| cut.here.len()).collect();
    println!("{}: promised before each cut: {counts:?}", system.kind);
    assert!(counts.last() > Some(&50), "too few to say anything: {counts:?}");
    // A file system is mounted by the number in it, which its copies have too: never two at once.
    drop(server);
    drop(disk);
    for cut in all {
        check(&cut, system);
        fs::remove_file(&cut.image).unwrap();
    }
}

/// What `check --disk` says.
fn check_disk(place: &Place, config: &str) -> String {
    let file = place.write("check.toml", config);
    let output = Command::new(FACTEUR).arg("-c").arg(file).args(["check", "--disk"]).output();
    text(&output.unwrap().stdout)
}

#[test]
fn what_was_promised_survives_power_cuts() {
    cut_off(&EXT4, CUTS);
}

#[test]
#[ignore = "minutes, and disks of its own: .ci/run --all runs it"]
fn a_hundred_power_cuts_on_ext4() {
    cut_off(&EXT4, MANY_CUTS);
}

#[test]
#[ignore = "minutes, and disks of its own: .ci/run --all runs it"]
fn a_hundred_power_cuts_on_xfs() {
    cut_off(&XFS, MANY_CUTS);
}

#[test]
#[ignore = "minutes, and disks of its own: .ci/run --all runs it"]
fn a_hundred_power_cuts_on_btrfs() {
    cut_off(&BTRFS, MANY_CUTS);
}
