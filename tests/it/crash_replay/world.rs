//! A server on a recorded disk, without its threads but for those of sessions: what it does is done by
//! the functions that the running server calls, one after the other.

use super::letters::{Letter, Piece, notice, piece};
use super::log::{Mark, What};
use super::model::Recorder;
use super::tree::is_in;
use super::wires::{Client, Hosts};
use crate::support::{Place, text};
use crossbeam_channel::{Receiver, Sender, bounded};
use facteur::config::Config;
use facteur::conversation::bounds::Bounds;
use facteur::conversation::{self, converse};
use facteur::delivery::{Wakers, Writer};
use facteur::handoff::{Accepted, Claim, Hint, Hints};
use facteur::housekeeper;
use facteur::limits::MEMORY_BODIES_MAX;
use facteur::login::Login;
use facteur::mail::address::{Mailbox, ReversePath};
use facteur::mail::envelope::Sender as From;
use facteur::net::listener::Service;
use facteur::net::registry::{Registry, Standing};
use facteur::pickup::{Pickup, PickupCall};
use facteur::policy::Facts;
use facteur::route::next_hop::Ourselves;
use facteur::scheduler::turns::{AttemptMade, SteppedScheduler};
use facteur::scheduler::{self, Setting};
use facteur::server::Spool;
use facteur::site::Site;
use facteur::store::body::Budget;
use facteur::store::disk::{Disk, Doing};
use facteur::store::entry::{Addressee, Entry};
use facteur::store::queue::Queue;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::thread;

/// A directory that no machine has: what is on a disk is on the recorded one.
pub const SPOOL: &str = "/facteur-replay/spool";
pub const MAIL: &str = "/facteur-replay/mail/mx.test";

/// Read once: only the keys of a site differ.
static SITE: LazyLock<(Site, Ourselves)> = LazyLock::new(|| {
    let place = Place::new();
    let aliases = place.write("aliases", "out: out@far.test\n");
    let config = format!(
        "hostname = \"mx.test\"\nspool = \"{SPOOL}\"\n[listen]\nsmtp = [\"127.0.0.1:25\"]\n\
         [domain.\"mx.test\"]\nmaildir = \"/facteur-replay/mail/{{domain}}/{{user}}\"\n\
         any_user = true\naliases = {aliases:?}\n[relay]\nnetworks = [\"127.0.0.0/8\"]\n\
         smarthost = \"127.0.0.1:2626\"\n"
    );
    let config = Config::parse(&config, Path::new("/facteur-replay/facteur.toml")).unwrap();
    let ourselves = Ourselves::of(&config);
    let (site, bad) = Site::read(config).unwrap();
    assert!(bad.is_empty());
    (site, ourselves)
});

/// Sees who may give a message up.
pub type Watch = Arc<dyn Fn(Arc<Claim>) + Send + Sync>;

pub struct World {
    pub disk: Recorder,
    pub hosts: Hosts,
    pub site: Arc<Site>,
    pub queue: Queue,
    spool: Spool,
    writer: Arc<Writer>,
    hints: Hints,
    heard: Receiver<Hint>,
    turns: Option<SteppedScheduler>,
    /// Of messages that have left the queue, not yet durably.
    gone: Vec<(String, Vec<String>)>,
    /// All that comes is junk.
    pub is_junk: bool,
    /// Called with the claim of each message that comes to delivery.
    pub watch: Option<Watch>,
}

impl World {
    /// A server starts; the error says why it does not.
    pub fn start(disk: &Recorder) -> Result<World, String> {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let spool = Spool::open(shared.clone(), Path::new(SPOOL))?;
        let (queue, (site, _)) = (spool.queue.clone(), &*SITE);
        let site = Arc::new(site.clone().with_keys(spool.keys.clone()));
        let writer = Arc::new(Writer::new(shared, queue.clone(), "mx.test"));
        let (hints, heard) = Hints::new(256);
        let hosts = Hosts::new(disk.clone());
        let (disk, is_junk, watch) = (disk.clone(), false, None);
        let (turns, gone) = (None, Vec::new());
        let mut world = World {
            disk,
            hosts,
            site,
            queue,
            spool,
            writer,
            hints,
            heard,
            turns,
            gone,
            is_junk,
            watch,
        };
        world.turns = Some(world.turns());
        Ok(world)
    }

    /// One whose files in several directories are synced together from so many on.
    pub fn with_syncfs_from(self, files: usize) -> World {
        let writer = Writer::new(Arc::new(self.disk.clone()), self.queue.clone(), "mx.test");
        World { writer: Arc::new(writer.with_syncfs_from(files)), ..self }
    }

    /// One that delivers messages of more files in slices of so many.
    pub fn with_batch_files(self, files: usize) -> World {
        let writer = Writer::new(Arc::new(self.disk.clone()), self.queue.clone(), "mx.test");
        World { writer: Arc::new(writer.with_batch_files(files)), ..self }
    }

    /// Sessions whose messages make one batch; gives what each was told at last.
    pub fn send(&self, letters: &[Letter], budget: usize) -> Vec<String> {
        self.disk.set_phase("session");
        let (delivery, accepted) = bounded(64);
        let shared = conversation::Shared {
            disk: Arc::new(self.disk.clone()),
            writer: Some(self.writer.clone()),
            delivery,
            budget: Budget::new(budget.min(MEMORY_BODIES_MAX)),
            spill: self.spool.spill.clone(),
            queue: self.queue.clone(),
            hints: self.hints.clone(),
            login: Login::start().unwrap(),
            current: None,
            bounds: Bounds::default(),
            gates: Default::default(),
        };
        thread::scope(|scope| {
            let mut talks = Vec::new();
            for letter in letters {
                let (shared, accepted) = (&shared, &accepted);
                let (disk, site) = (self.disk.clone(), &self.site);
                talks.push(scope.spawn(move || talk(shared, site, &disk, letter)));
                // One after the other: the same order each time.
                let is_over = |talk: &&thread::ScopedJoinHandle<'_, _>| talk.is_finished();
                while accepted.len() + talks.iter().filter(is_over).count() < talks.len() {
                    thread::yield_now();
                }
            }
            self.deliver(&accepted);
            talks.into_iter().map(|talk| talk.join().unwrap()).collect()
        })
    }

    /// The delivery thread, in this one: all that waits is one batch.
    fn deliver(&self, accepted: &Receiver<Accepted>) {
        let (sender, batch): (Sender<Accepted>, _) = bounded(64);
        for mut one in accepted.try_iter() {
            if self.is_junk {
                one.entry.is_junk = true;
                let folder = Some(self.site.junk().to_owned());
                one.copies.iter_mut().for_each(|copy| copy.destination.folder = folder.clone());
            }
            self.watch.iter().for_each(|watch| watch(one.claim.clone()));
            sender.send(one).unwrap();
        }
        drop(sender);
        let (delivered, _) = bounded(1);
        self.writer.run(&batch, &Wakers::new(delivered, self.hints.clone()));
    }

    /// `facteur sendmail` by one who may not write the queue.
    pub fn drop_letter(&self, letter: &Letter) -> bool {
        self.disk.set_phase("sendmail");
        // Where it cannot be made for them users hear that they cannot send.
        let Some(drops) = &self.spool.drops else { return false };
        let (id, text) = (facteur::id::secret(&facteur::id::message()), letter.text());
        let put = drops.put(&entry(id, letter), |file, path| {
            file.append(text.as_bytes()).doing("write", path)
        });
        self.submitted(letter, put.is_ok())
    }

    /// The same by root.
    pub fn submit(&self, letter: &Letter) -> bool {
        self.put(&entry(facteur::id::message(), letter), letter)
    }

    /// The same with this envelope.
    pub fn put(&self, entry: &Entry, letter: &Letter) -> bool {
        self.disk.set_phase("sendmail");
        let text = letter.text();
        let put = self
            .queue
            .insert(entry, |file, path| file.append(text.as_bytes()).doing("write", path));
        self.hints.send(Hint::Look(entry.id.clone()));
        self.submitted(letter, put.is_ok())
    }

    fn submitted(&self, letter: &Letter, is_good: bool) -> bool {
        if is_good {
            let Letter { tag, to, .. } = letter.clone();
            self.disk.mark(Mark::Answered { tag, to });
        }
        is_good
    }

    /// The pickup thread looks so many times, then forgets what it knows.
    pub fn pick_up(&self, looks: usize) {
        let Some(drops) = self.spool.drops.clone() else { return };
        self.disk.set_phase("pickup");
        let (site, disk) = (self.site.clone(), Arc::new(self.disk.clone()));
        let hints = self.hints.clone();
        let pickup = Pickup::new(disk, self.queue.clone(), drops, hints, move || site.clone());
        let (calls, called) = bounded(looks);
        let (done, _is_done) = bounded(1);
        (1..looks).for_each(|_| calls.send(PickupCall::Look).unwrap());
        calls.send(PickupCall::Stop(done)).unwrap();
        pickup.run(&called);
    }

    /// Attempts what is due, at most so many times; `at_once`: all that waits is.
    pub fn work(&mut self, at_once: bool, most: usize) -> usize {
        self.disk.set_phase("turn");
        let Some(mut turns) = self.turns.take() else { return 0 };
        self.heard.try_iter().for_each(|hint| turns.hear(hint));
        if at_once {
            turns.hear(Hint::FlushAll);
        }
        let mut count = 0;
        while count < most {
            self.disk.set_phase("turn");
            // Before it is gone.
            let known = self.known();
            let Some(turn) = turns.turn() else { break };
            count += 1;
            let its = known.into_iter().find(|(id, ..)| *id == turn.id);
            its.into_iter().for_each(|(_, piece, to)| self.note(&turn, piece, to));
        }
        self.turns = Some(turns);
        count
    }

    /// An attempt at this has come to its end.
    fn note(&mut self, turn: &AttemptMade, piece: Piece, to: Vec<String>) {
        match (piece, turn.is_gone) {
            (Piece::Letter(tag), true) => self.gone.push((tag, to)),
            (Piece::Letter(tag), false) => {
                let to = turn.done.iter().map(|index| to[*index].clone()).collect();
                self.disk.mark(Mark::Settled { tag, to });
            }
            (Piece::Notice(tag, failed), true) => self.gone.push((notice(&tag), failed)),
            (Piece::Notice(..), false) => {}
        }
    }

    /// Removals become durable.
    pub fn sync_removals(&mut self) {
        self.disk.set_phase("removals");
        let before = self.disk.log().len();
        if let Some(turns) = &mut self.turns {
            turns.sync_removals();
        }
        let since = &self.disk.log()[before..];
        let is_synced = since.iter().any(|entry| matches!(entry.what, What::End(_, _, true)));
        if is_synced {
            let settled = self.gone.drain(..);
            settled.for_each(|(tag, to)| self.disk.mark(Mark::Settled { tag, to }));
        }
    }

    /// The housekeeping thread, as far as it goes at a start.
    pub fn keep_house(&self) {
        let (_, delivered) = bounded(1);
        housekeeper::run(&self.disk, &self.site, &delivered, |_| {});
    }

    fn turns(&self) -> SteppedScheduler {
        let office = scheduler::RelayShared {
            disk: Arc::new(self.disk.clone()),
            queue: self.queue.clone(),
            writer: self.writer.clone(),
            delivered: bounded(1).0,
            hints: self.hints.clone(),
            reports: Default::default(),
            seen: Default::default(),
            reporting: Default::default(),
            gates: Default::default(),
        };
        let (site, ourselves) = (self.site.clone(), SITE.1.clone());
        let setting = Setting { site, ourselves, broken_tls: Arc::default() };
        SteppedScheduler::new(Arc::new(office), Arc::new(setting), self.hosts.dial())
    }

    /// What lies in the queue: ids, and for whom it is.
    fn known(&self) -> Vec<(String, Piece, Vec<String>)> {
        if !self.disk.is_recording() {
            return Vec::new();
        }
        let files = self.disk.tree().files().into_iter();
        let queued = files.filter(|(path, _)| is_in(path, "queue"));
        let known = queued.filter_map(|(path, octets)| {
            let all = text(&octets);
            let (header, message) = all.split_once("\n\n")?;
            let piece = piece(message)?;
            let entry = Entry::parse(header, 0).ok()?;
            let to = entry.recipients.iter().map(|to| to.via.as_ref().unwrap_or(&to.mailbox));
            let id = path.file_name()?.to_string_lossy().into_owned();
            Some((id, piece, to.map(ToString::to_string).collect()))
        });
        known.collect()
    }
}

/// One session; gives the last reply.
fn talk(
    shared: &conversation::Shared,
    site: &Arc<Site>,
    disk: &Recorder,
    letter: &Letter,
) -> String {
    let client = "127.0.0.1".parse().unwrap();
    let ticket = Arc::new(Registry::default()).enter(None, client, Standing::Known, 1, 1).unwrap();
    let facts = Facts::new(facteur::id::session(), client, Service::Smtp);
    let answered = || {
        let Letter { tag, to, .. } = letter.clone();
        // Who has a copy already has nothing under way.
        let has = |to: &String| {
            let dir = Path::new(MAIL).join(to.split('@').next().unwrap());
            let subject = format!("\nSubject: {tag}\n");
            let files = disk.tree().files();
            let is_hers = |path: &Path| path.starts_with(&dir) && is_in(path, "new");
            files.iter().any(|(path, o)| is_hers(path) && text(o).contains(&subject))
        };
        let here: Vec<String> = to.iter().filter(|to| has(to)).cloned().collect();
        disk.mark(Mark::Answered { tag: tag.clone(), to });
        disk.mark(Mark::Settled { tag, to: here });
    };
    let mut wire = Client { sends: letter.session(), told: Vec::new(), answered: &answered };
    converse(shared, site, &facts, &ticket, &mut wire);
    text(&wire.told).lines().last().unwrap_or_default().to_owned()
}

/// The envelope of what a program sends.
pub fn entry(id: String, letter: &Letter) -> Entry {
    let (from, _) = ReversePath::parse(format!("<{}>", letter.from).as_bytes()).unwrap();
    let to = |to: &String| {
        let (notify, orcpt, via) = (None, None, None);
        Addressee { mailbox: Mailbox::parse(to).unwrap(), notify, orcpt, via }
    };
    Entry {
        id,
        queued: jiff::Timestamp::now(),
        session: "s1".to_owned(),
        sender: From::new(from),
        is_trusted: true,
        recipients: letter.to.iter().map(to).collect(),
        size: letter.text().len() as u64,
        // The order of steps has to be enough: a sum would find what a missing sync spoils.
        sum: None,
        wire: None,
        is_junk: false,
        is_proved: false,
        signature: Default::default(),
        quarantine: None,
        is_unfiltered: false,
        others: Vec::new(),
        message_at: 0,
    }
}

/// The directories of somebody's Maildir.
pub fn maildir(user: &str) -> [PathBuf; 3] {
    ["tmp", "new", "cur"].map(|name| Path::new(MAIL).join(user).join(name))
}
