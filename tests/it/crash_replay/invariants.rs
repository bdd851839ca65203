//! What has to hold after every restart, and the restart itself: the functions a starting server calls.
//!
//! 1. Whoever was promised a message has it in the end, whole: in `new/`, or from a next hop; or somebody
//!    has a notice that he has not.
//! 2. Nothing torn is ever seen as mail, neither in `new/` at once nor anywhere later.
//! 3. Nobody gets it twice but one whose delivery was under way, and that is over once the journal line
//!    or the removal of its queue file is durable.
//! 4. The server starts; it leaves nothing in `tmp/`, `drop/`, `spill/` and the queue; what was put aside
//!    is still there; another restart finds nothing to do.
//! 5. A sender of ours (SRS) that has left finds its way back.

use super::letters::{Letter, Piece, flaw, notice, piece};
use super::log::{Entry, Mark, What};
use super::model::Recorder;
use super::tree::{Tree, is_in};
use super::world::World;
use crate::support::text;
use facteur::mail::address::ReversePath;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::time::{Duration, SystemTime};

type Counts = BTreeMap<(String, String), usize>;

/// What a workload knows of its messages.
#[derive(Clone, Default)]
pub struct Known {
    pub letters: BTreeMap<String, Letter>,
    /// Files that are no mail, and are never thrown away.
    pub kept: Vec<Vec<u8>>,
}

/// What was promised up to some moment.
#[derive(Default, Hash)]
pub struct Promises {
    answered: BTreeSet<(String, String)>,
    settled: BTreeSet<(String, String)>,
    taken: Counts,
    told: Counts,
    signed: BTreeSet<String>,
}

impl Promises {
    pub fn take(&mut self, entry: &Entry) {
        let What::Mark(mark) = &entry.what else { return };
        let each = |tag: &String, to: &[String]| -> Vec<(String, String)> {
            to.iter().map(|to| (tag.clone(), name(to))).collect()
        };
        match mark {
            Mark::Answered { tag, to } => self.answered.extend(each(tag, to)),
            Mark::Settled { tag, to } => self.settled.extend(each(tag, to)),
            Mark::Taken { tag, to } => {
                each(tag, to).into_iter().for_each(|it| add(&mut self.taken, it));
            }
            Mark::Told { tag, to } => {
                each(tag, to).into_iter().for_each(|it| add(&mut self.told, it));
            }
            Mark::Signed(sender) => drop(self.signed.insert(sender.clone())),
        }
    }

    pub fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        Hash::hash(self, &mut hasher);
        hasher.finish()
    }
}

/// By which recipient a sender knows an address: the alias that led there.
fn name(to: &str) -> String {
    to.replace("out@far.test", "out@mx.test")
}

fn add(counts: &mut Counts, it: (String, String)) {
    *counts.entry(it).or_insert(0) += 1;
}

/// Restarts from this tree; the error is the invariant that does not hold.
pub fn check(mut tree: Tree, promises: &Promises, known: &Known) -> Result<(), String> {
    let is_mail = |path: &Path| is_in(path, "new") || is_in(path, "cur");
    for (path, octets) in tree.files().iter().filter(|(path, _)| is_mail(path)) {
        if let Some(flaw) = flaw(&text(octets), Some(path), &known.letters) {
            return Err(format!("{} is seen as mail, and {flaw}", path.display()));
        }
    }
    // Old enough for all that is ever cleared away.
    let past = SystemTime::now() - Duration::from_secs(100 * 24 * 3600);
    tree.modified.fill(past);
    let disk = Recorder::new(tree, false);
    let world = restart(&disk, false)?;
    let end = disk.tree();
    let mut found = Found { copies: promises.taken.clone(), told: promises.told.clone() };
    for (path, octets) in end.files() {
        let all = text(&octets);
        match path.parent().and_then(Path::file_name).map(super::tree::text).unwrap_or_default() {
            "new" | "cur" => {
                if let Some(flaw) = flaw(&all, Some(&path), &known.letters) {
                    return Err(format!("{} was delivered, and {flaw}", path.display()));
                }
                let mut above = path.iter().rev().skip(2).map(super::tree::text);
                let user = above.find(|name| !name.starts_with('.')).unwrap_or_default();
                found.add(&all, &[format!("{user}@mx.test")]);
            }
            "queue" | "tmp" | "drop" | "spill" => {
                return Err(format!("left behind: {}", path.display()));
            }
            _ => {}
        }
    }
    for mail in world.hosts.taken() {
        if let Some(flaw) = flaw(&mail.text, None, &known.letters) {
            return Err(format!("it was sent to {:?}, and {flaw}", mail.to));
        }
        found.add(&mail.text, &mail.to);
    }
    found.judge(promises)?;
    for kept in &known.kept {
        if !end.files().iter().any(|(_, octets)| **octets == *kept) {
            return Err(format!("thrown away: {}", kept.escape_ascii()));
        }
    }
    for sender in &promises.signed {
        let (path, _) = ReversePath::parse(format!("<{sender}>").as_bytes()).unwrap();
        let ReversePath::Mailbox(mailbox) = path else { continue };
        if !matches!(world.site.restored(&mailbox), Ok(Some(_))) {
            return Err(format!("a bounce to {sender} would be refused"));
        }
    }
    drop(world);
    restart(&disk, true)?;
    match disk.tree().hash() == end.hash() {
        true => Ok(()),
        false => Err("a second restart changes something".to_owned()),
    }
}

/// A server starts, does all there is to do, and has its next hops take what they refused for now.
fn restart(disk: &Recorder, is_second: bool) -> Result<World, String> {
    let mut world =
        World::start(disk).map_err(|error| format!("the server does not start: {error}"))?;
    world.hosts.relent();
    let mut turns = 0;
    for _ in 0..3 {
        world.pick_up(1);
        let done = world.work(true, 100);
        turns += done;
        if done == 0 {
            break;
        }
    }
    world.sync_removals();
    world.keep_house();
    match is_second && turns > 0 {
        true => Err("a second restart finds something to do".to_owned()),
        false => Ok(world),
    }
}

/// Who has got what.
struct Found {
    copies: Counts,
    /// Of whom somebody was told that they did not get it.
    told: Counts,
}

impl Found {
    fn add(&mut self, all: &str, to: &[String]) {
        match piece(all) {
            Some(Piece::Letter(tag)) => {
                to.iter().for_each(|to| add(&mut self.copies, (tag.clone(), name(to))));
            }
            Some(Piece::Notice(tag, failed)) => {
                failed.iter().for_each(|to| add(&mut self.told, (tag.clone(), name(to))));
            }
            None => {}
        }
    }

    fn judge(&self, promises: &Promises) -> Result<(), String> {
        for it in &promises.answered {
            if !self.copies.contains_key(it) && !self.told.contains_key(it) {
                return Err(format!("lost: {} for {}", it.0, it.1));
            }
        }
        let under_way = |it: &(String, String)| usize::from(!promises.settled.contains(it));
        for (it, count) in &self.copies {
            if *count > 1 + under_way(it) {
                return Err(format!("{count} times: {} for {}", it.0, it.1));
            }
        }
        // A notice is a message, too, whose own delivery may be under way.
        for (it, count) in &self.told {
            if *count > 1 + under_way(it) + under_way(&(notice(&it.0), it.1.clone())) {
                return Err(format!("{count} notices: {} for {}", it.0, it.1));
            }
        }
        Ok(())
    }
}
