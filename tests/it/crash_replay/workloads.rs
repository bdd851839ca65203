//! What is recorded: a server's day in a dozen scenes, each on a disk of its own.

use super::invariants::Known;
use super::letters::Letter;
use super::log::{Entry, Mark};
use super::model::{Fault, Recorder};
use super::tree::{Tree, is_in};
use super::world::{SPOOL, Watch, World, entry, maildir};
use crate::support::until;
use facteur::limits::SYNCFS_FROM_APART;
use facteur::store::disk::Disk;
use facteur::store::entry::{JournalLine, What};
use facteur::store::queue::Claimed;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A scene that was played.
#[derive(Clone)]
pub struct Record {
    pub name: &'static str,
    /// What was there before, all of it durable.
    pub before: Tree,
    /// What is there in the end, with every file that ever was.
    pub after: Tree,
    pub log: Vec<Entry>,
    /// The disk keeps its order.
    pub keeps_order: bool,
    pub known: Known,
    /// What clients were told about which letter.
    pub replies: Vec<(String, String)>,
}

/// A scene while it is played.
pub struct Scene {
    pub disk: Recorder,
    known: Known,
    replies: Vec<(String, String)>,
    watch: Option<Watch>,
}

/// A scene: its name, what lies there before it, what happens.
pub struct Workload {
    pub name: &'static str,
    pub before: fn(&mut Scene),
    pub play: fn(&mut Scene) -> Result<(), String>,
}

/// All of them.
pub const WORKLOADS: [Workload; 20] = [
    Workload { name: "one message, each file synced", before: homes, play: one_message },
    Workload { name: "a batch of two, each file synced", before: homes, play: small_batch },
    Workload { name: "a batch of two, by one syncfs", before: homes, play: small_batch_together },
    Workload { name: "a batch for syncfs, new Maildirs", before: spool, play: large_batch },
    Workload { name: "in slices, each file synced", before: homes, play: few_slices },
    Workload { name: "in slices, by syncfs, beside a small one", before: homes, play: slices },
    Workload { name: "the first start", before: nothing, play: first_start },
    Workload { name: "a large message and a small one", before: homes, play: large_message },
    Workload { name: "relayed, deferred, failed", before: homes, play: relaying },
    Workload { name: "a sender elsewhere, an alias, SRS", before: nothing, play: forwarding },
    Workload { name: "dropped, taken in, sent", before: homes, play: dropped },
    Workload { name: "sendmail by root, a late notice", before: homes, play: late },
    Workload { name: "a full disk in the middle", before: homes, play: full_disk },
    Workload { name: "damaged files", before: damaged, play: put_aside },
    Workload { name: "a start after a crash", before: crashed, play: start_again },
    Workload { name: "two attempts at one message", before: homes, play: two_attempts },
    Workload { name: "a batch of two, by link and unlink", before: homes, play: batch_by_link },
    Workload { name: "relayed, by link and unlink", before: homes, play: relaying_by_link },
    Workload { name: "junk, new folders", before: homes, play: junk },
    Workload { name: "junk that is late", before: homes, play: late_junk },
];

impl Workload {
    /// Plays it.
    pub fn record(&self) -> Result<Record, String> {
        self.record_with(|_| {}, None)
    }

    /// The same on a disk that keeps its order.
    pub fn record_in_order(&self) -> Result<Record, String> {
        let record = self.record_with(Recorder::keep_order, None);
        record.map(|record| Record { keeps_order: true, ..record })
    }

    /// The same; `disturb` may let the disk fail, and `watch` sees who may give messages up.
    pub fn record_with(
        &self,
        disturb: impl FnOnce(&Recorder),
        watch: Option<Watch>,
    ) -> Result<Record, String> {
        let mut scene = Scene::new();
        (self.before)(&mut scene);
        let Scene { disk, known, .. } = scene;
        let before = disk.tree();
        let disk = Recorder::new(before.clone(), true);
        disturb(&disk);
        let mut scene = Scene { disk: disk.clone(), known, replies: Vec::new(), watch };
        let played = (self.play)(&mut scene);
        disk.clear_plan();
        let Scene { known, replies, .. } = scene;
        let (after, log) = (disk.tree(), disk.log());
        let (name, keeps_order) = (self.name, false);
        let record = Record { name, before, after, log, keeps_order, known, replies };
        played.map(|()| record)
    }
}

impl Scene {
    fn new() -> Scene {
        let disk = Recorder::new(Tree::new(), false);
        Scene { disk, known: Known::default(), replies: Vec::new(), watch: None }
    }

    fn letter(&mut self, tag: &str, from: &str, to: &[&str], size: usize) -> Letter {
        let letter = Letter::new(tag, from, to, size);
        self.known.letters.insert(tag.to_owned(), letter.clone());
        letter
    }

    fn send(&mut self, world: &World, letters: &[Letter], budget: usize) {
        let tags = letters.iter().map(|letter| letter.tag.clone());
        self.replies.extend(tags.zip(world.send(letters, budget)));
    }

    /// A server starts; one that cannot, on a disk that fails, is started again.
    fn start(&self) -> Result<World, String> {
        let mut world = World::start(&self.disk).or_else(|_| World::start(&self.disk))?;
        world.watch = self.watch.clone();
        Ok(world)
    }
}

const BUDGET: usize = 1 << 20;

fn nothing(_: &mut Scene) {}

/// A spool, and no Maildirs.
fn spool(scene: &mut Scene) {
    World::start(&scene.disk).unwrap();
}

/// Both.
fn homes(scene: &mut Scene) {
    spool(scene);
    for dir in ["ann", "bob", "eve"].into_iter().flat_map(maildir) {
        // With a file that is gone at once, so that the directory is there.
        let file = dir.join("x");
        scene.disk.put(&file, b"");
        scene.disk.remove(&file).unwrap();
    }
}

fn one_message(scene: &mut Scene) -> Result<(), String> {
    let world = scene.start()?;
    let to = ["ann@mx.test", "bob@mx.test", "x@far.test", "y@far.test"];
    let letter = scene.letter("one", "eve@mx.test", &to, 200);
    scene.send(&world, &[letter], BUDGET);
    Ok(())
}

fn small_batch(scene: &mut Scene) -> Result<(), String> {
    let world = scene.start()?;
    batch_of_two(scene, &world);
    Ok(())
}

/// As a server does it, whose directories lie on a real disk.
fn small_batch_together(scene: &mut Scene) -> Result<(), String> {
    let world = scene.start()?.with_syncfs_from(SYNCFS_FROM_APART);
    batch_of_two(scene, &world);
    Ok(())
}

fn batch_by_link(scene: &mut Scene) -> Result<(), String> {
    scene.disk.lose_rename_new();
    small_batch(scene)
}

fn junk(scene: &mut Scene) -> Result<(), String> {
    let mut world = scene.start()?;
    world.is_junk = true;
    batch_of_two(scene, &world);
    Ok(())
}

/// Nothing can be written for ann for a while.
fn late_junk(scene: &mut Scene) -> Result<(), String> {
    let mut world = scene.start()?;
    world.is_junk = true;
    let letter = scene.letter("partly", "eve@mx.test", &["ann@mx.test", "bob@mx.test"], 100);
    scene.disk.set_plan(|name, path: &Path| {
        let is_hers = path.iter().any(|part| part == "ann");
        (is_hers && matches!(name, "create" | "make_dir")).then_some(Fault::Fails(28))
    });
    scene.send(&world, &[letter], BUDGET);
    scene.disk.clear_plan();
    world.work(true, 9);
    world.sync_removals();
    Ok(())
}

fn batch_of_two(scene: &mut Scene, world: &World) {
    let first = scene.letter("first", "a@far.test", &["ann@mx.test", "new@mx.test"], 0);
    let second = scene.letter("second", "a@far.test", &["x@far.test", "ann@mx.test"], 0);
    scene.send(world, &[first, second], BUDGET);
}

fn large_batch(scene: &mut Scene) -> Result<(), String> {
    let world = scene.start()?;
    let to = ["ann@mx.test", "bob@mx.test", "x@far.test"];
    let letters = ["b0", "b1", "b2"].map(|tag| scene.letter(tag, "a@far.test", &to, 100));
    scene.send(&world, &letters, BUDGET);
    // The Maildirs are there now.
    let letters = ["b3", "b4", "b5"].map(|tag| scene.letter(tag, "a@far.test", &to, 100));
    scene.send(&world, &letters, BUDGET);
    Ok(())
}

fn few_slices(scene: &mut Scene) -> Result<(), String> {
    let world = scene.start()?.with_batch_files(2);
    let to = ["ann@mx.test", "bob@mx.test", "x@far.test"];
    let letter = scene.letter("list", "a@far.test", &to, 100);
    scene.send(&world, &[letter], BUDGET);
    Ok(())
}

/// The small one is delivered before the first slice of the other.
fn slices(scene: &mut Scene) -> Result<(), String> {
    let world = scene.start()?.with_batch_files(1);
    let to: Vec<String> = (0..9).map(|number| format!("u{number}@mx.test")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let list = scene.letter("list", "a@far.test", &to, 100);
    let small = scene.letter("small", "a@far.test", &["ann@mx.test"], 0);
    scene.send(&world, &[list, small], BUDGET);
    Ok(())
}

fn first_start(scene: &mut Scene) -> Result<(), String> {
    let mut world = scene.start()?;
    let letter = scene.letter("hello", "eve@mx.test", &["ann@mx.test", "x@far.test"], 0);
    scene.send(&world, &[letter], BUDGET);
    let letter = scene.letter("again", "eve@mx.test", &["ann@mx.test"], 0);
    scene.send(&world, &[letter], BUDGET);
    world.work(false, 9);
    world.sync_removals();
    Ok(())
}

fn large_message(scene: &mut Scene) -> Result<(), String> {
    let world = scene.start()?;
    let to = ["ann@mx.test", "bob@mx.test", "x@far.test"];
    let large = scene.letter("large", "eve@mx.test", &to, 70_000);
    let small = scene.letter("small", "eve@mx.test", &["ann@mx.test"], 0);
    scene.send(&world, &[large, small], BUDGET);
    Ok(())
}

fn relaying(scene: &mut Scene) -> Result<(), String> {
    let mut world = scene.start()?;
    let to = ["x@far.test", "later@far.test", "no@far.test", "ann@mx.test"];
    let letter = scene.letter("mixed", "eve@mx.test", &to, 100);
    scene.send(&world, &[letter], BUDGET);
    world.work(false, 9);
    world.sync_removals();
    // In the end all of them.
    world.hosts.relent();
    world.work(true, 9);
    world.sync_removals();
    Ok(())
}

fn relaying_by_link(scene: &mut Scene) -> Result<(), String> {
    scene.disk.lose_rename_new();
    relaying(scene)
}

fn forwarding(scene: &mut Scene) -> Result<(), String> {
    let mut world = scene.start()?;
    let letter = scene.letter("on", "a@other.test", &["out@mx.test", "ann@mx.test"], 0);
    scene.send(&world, &[letter], BUDGET);
    let letter = scene.letter("back", "a@other.test", &["no@far.test", "x@far.test"], 0);
    scene.send(&world, &[letter], BUDGET);
    world.work(false, 9);
    world.sync_removals();
    Ok(())
}

fn dropped(scene: &mut Scene) -> Result<(), String> {
    let mut world = scene.start()?;
    let to = ["x@far.test", "ann@mx.test", "no@far.test"];
    for (tag, from) in [("d0", "root@mx.test"), ("d1", "root@mx.test")] {
        let letter = scene.letter(tag, from, &to, 50);
        world.drop_letter(&letter);
    }
    world.pick_up(2);
    world.work(false, 20);
    world.sync_removals();
    let letter = scene.letter("d2", "root@mx.test", &["bob@mx.test"], 0);
    world.drop_letter(&letter);
    world.pick_up(2);
    world.work(true, 20);
    world.sync_removals();
    Ok(())
}

/// A message that has waited longer than anybody waits.
fn late(scene: &mut Scene) -> Result<(), String> {
    let mut world = scene.start()?;
    let letter = scene.letter("root", "eve@mx.test", &["later@far.test", "x@far.test"], 0);
    world.submit(&letter);
    world.work(false, 9);
    let letter = scene.letter("old", "eve@mx.test", &["later2@far.test", "y@far.test"], 0);
    let mut old = entry("m0000000000old".to_owned(), &letter);
    old.queued = jiff::Timestamp::now() - Duration::from_secs(9 * 86_400);
    world.put(&old, &letter);
    world.work(true, 9);
    world.sync_removals();
    Ok(())
}

/// Nothing can be written for ann for a while; then nothing at all; then all is well.
fn full_disk(scene: &mut Scene) -> Result<(), String> {
    let mut world = scene.start()?;
    let to = ["ann@mx.test", "bob@mx.test", "x@far.test"];
    let is_writing = |name: &str| matches!(name, "append" | "create" | "make_dir");
    let letter = scene.letter("partly", "eve@mx.test", &to, 100);
    scene.disk.set_plan(move |name, path: &Path| {
        let is_hers = path.iter().any(|part| part == "ann");
        (is_hers && is_writing(name)).then_some(Fault::Half(28))
    });
    scene.send(&world, &[letter], BUDGET);
    world.work(true, 9);
    let letter = scene.letter("never", "eve@mx.test", &to, 100);
    let count = AtomicUsize::new(0);
    scene.disk.set_plan(move |name, _: &Path| {
        let count = count.fetch_add(1, SeqCst);
        (is_writing(name) && count > 6).then_some(Fault::Half(28))
    });
    scene.send(&world, &[letter], BUDGET);
    world.work(true, 9);
    scene.disk.clear_plan();
    let letter = scene.letter("then", "eve@mx.test", &to, 100);
    scene.send(&world, &[letter], BUDGET);
    world.work(true, 9);
    world.sync_removals();
    Ok(())
}

/// Files in the queue that are none of ours, and one of the drop directory.
fn damaged(scene: &mut Scene) {
    homes(scene);
    let path = |name: &str| PathBuf::from(SPOOL).join(name);
    let garbage = [("queue/m1", &b"no queue file\n"[..]), ("queue/..strange", b"nor this\n")];
    for (name, octets) in garbage.into_iter().chain([("drop/x", &b"a drop of nobody\n"[..])]) {
        scene.disk.put(&path(name), octets);
        scene.known.kept.push(octets.to_vec());
    }
}

fn put_aside(scene: &mut Scene) -> Result<(), String> {
    let mut world = scene.start()?;
    world.pick_up(2);
    world.work(true, 9);
    let letter = scene.letter("beside", "eve@mx.test", &["ann@mx.test", "x@far.test"], 0);
    scene.send(&world, &[letter], BUDGET);
    world.work(true, 9);
    world.sync_removals();
    Ok(())
}

/// A message that lies in the queue and was not removed from the drop directory, one that waits, one
/// that was never whole, and a draft.
fn crashed(scene: &mut Scene) {
    homes(scene);
    let world = scene.start().unwrap();
    let [first, second] = ["twice", "once"]
        .map(|tag| scene.letter(tag, "root@mx.test", &["x@far.test", "ann@mx.test"], 0));
    world.drop_letter(&first);
    scene.disk.set_plan(|name, path| {
        (name == "remove" && is_in(path, "drop")).then_some(Fault::Fails(5))
    });
    world.pick_up(2);
    scene.disk.clear_plan();
    world.submit(&second);
    let old = entry("m0000000000tmp".to_owned(), &second).header();
    scene.disk.put(&world.queue.tmp().join("m0000000000tmp"), old.as_bytes());
    scene.disk.put(&world.queue.dir().join("m000000000torn"), &old.as_bytes()[..60]);
}

fn start_again(scene: &mut Scene) -> Result<(), String> {
    for tag in ["twice", "once"] {
        let Letter { tag, to, .. } = scene.known.letters[tag].clone();
        scene.disk.mark(Mark::Answered { tag, to });
    }
    let mut world = scene.start()?;
    world.pick_up(2);
    world.work(true, 9);
    world.sync_removals();
    Ok(())
}

/// While the outcome of one attempt is made durable, another attempt at the same message writes its own,
/// and a session its message.
fn two_attempts(scene: &mut Scene) -> Result<(), String> {
    let world = scene.start()?;
    let letter =
        scene.letter("shared", "eve@mx.test", &["x@far.test", "y@far.test", "z@far.test"], 0);
    scene.send(&world, &[letter], BUDGET);
    let id = world.queue.list().ok().and_then(|ids| ids.first().cloned());
    let Some(Ok(claimed)) = id.map(|id| world.queue.claim(&id)) else { return Ok(()) };
    let claimed = Arc::new(claimed);
    let disk = scene.disk.clone();
    let attempt = move |claimed: &Claimed, recipient: usize, to: &str| {
        let (tag, to) = ("shared".to_owned(), vec![to.to_owned()]);
        disk.mark(Mark::Taken { tag: tag.clone(), to: to.clone() });
        let when = jiff::Timestamp::now();
        let (host, words) = ("host.test".to_owned(), "250 2.0.0 taken".to_owned());
        let line = JournalLine { when, recipient, what: What::Relayed, host, words };
        if matches!(claimed.record_results(vec![line]), Ok(false)) && !claimed.is_ahead() {
            disk.mark(Mark::Settled { tag, to });
        }
    };
    let (other, second) = (claimed.clone(), attempt.clone());
    scene.disk.set_phase("turn");
    // Each waits for what becomes of the other's sync, so that it needs a thread of its own.
    let thread = Arc::new(Mutex::new(None));
    let (started, disk) = (thread.clone(), scene.disk.clone());
    scene.disk.during_sync_of(&world.queue.dir(), move || {
        let before = disk.synced();
        let thread = thread::spawn(move || second(&other, 1, "y@far.test"));
        until("it has synced, or failed", || disk.synced() > before || thread.is_finished());
        *started.lock().unwrap() = Some(thread);
    });
    attempt(&claimed, 0, "x@far.test");
    let thread = thread.lock().unwrap().take();
    thread.map_or(Ok(()), |thread| thread.join()).map_err(|_| "it panicked".to_owned())?;
    drop(claimed);
    Ok(())
}
