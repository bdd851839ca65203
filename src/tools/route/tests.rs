//! What `facteur route` says is what a delivery does: 1,000 random configurations and messages are asked of
//! `route`, and then really delivered by the server's own session, delivery and relay on a real disk, with
//! next hops that cannot be reached.

mod played;

use super::onward::{Onward, onward};
use super::trial::{TrialCopies, TrialMessage, TrialOutcome};
use crate::config::Config;
use crate::delivery::Writer;
use crate::handoff::Hints;
use crate::mail::address::{Domain, ForwardPath, Mailbox, ReversePath};
use crate::mail::srs::SrsKeys;
use crate::net::dns::{
    DnsAnswer, DnsError, DnsFault, MxHost, Record, RecordKind, Records, Resolver,
};
use crate::net::stream::Endpoint;
use crate::route::next_hop::Ourselves;
use crate::scheduler::turns::SteppedScheduler;
use crate::scheduler::{self, Setting};
use crate::site::Site;
use crate::store::disk::{Disk, RealDisk};
use crate::store::queue::Queue;
use crossbeam_channel::bounded;
use played::{TrialSession, outcome};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{RngSeed, TestRunner};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// How many configurations and messages.
const CASES: u32 = 1000;

/// Names for users, aliases, targets and recipients; few, so that they meet.
const NAMES: [&str; 8] = ["ann", "bob", "Cat", "team", "loop", "postmaster", "ann+x", "dot.name"];
/// The last is our host name alone.
const DOMAINS: [&str; 3] = ["mx.test", "two.test", "mx.host.test"];
const REMOTE: [&str; 8] = [
    "far.test",
    "bare.test",
    "null.test",
    "gone.test",
    "broken.test",
    "routed.test",
    "sub.routed.test",
    "[192.0.2.9]",
];
const ADDRESSES: [&str; 4] = ["127.0.0.1", "192.0.2.1", "2001:db8::1", "10.1.2.3"];

/// One domain of a configuration.
#[derive(Clone, Debug)]
struct Section {
    /// None: users with a Maildir, unless any name is a user.
    users: Option<Vec<&'static str>>,
    any_user: bool,
    aliases: Vec<(&'static str, Vec<String>)>,
    catch_all: Option<String>,
    subaddress: &'static str,
    /// Things that lie in place of Maildirs.
    lies: Vec<(&'static str, Lie)>,
}

/// A thing in place of a Maildir.
#[derive(Clone, Copy, Debug)]
enum Lie {
    Whole,
    File,
    /// `cur` alone.
    Half,
    /// `new` is a file: a copy can be written and not published.
    NoNew,
    /// `tmp` is a file.
    NoTmp,
    /// Only root may write there.
    ReadOnly,
    Dangling,
}

#[derive(Clone, Debug)]
struct Case {
    sections: Vec<Section>,
    networks: bool,
    smarthost: Option<&'static str>,
    route: Option<&'static str>,
    /// The spool cannot be made.
    no_spool: bool,
    client: &'static str,
    from: Option<String>,
    to: String,
    /// Whether it is a bounce of mail that an alias has sent on.
    is_bounce: bool,
}

fn address() -> impl Strategy<Value = String> {
    let name = || select(&NAMES[..]);
    prop_oneof![
        6 => (name(), select(&DOMAINS[..2])).prop_map(|(name, at)| format!("{name}@{at}")),
        1 => (name(), select(&DOMAINS[..])).prop_map(|(name, at)| format!("{name}@{at}")),
        2 => (name(), select(&REMOTE[..])).prop_map(|(name, at)| format!("{name}@{at}")),
    ]
}

fn section() -> impl Strategy<Value = Section> {
    let name = || select(&NAMES[..]);
    let target = || {
        let plain = name().prop_map(str::to_owned);
        prop_oneof![1 => plain, 1 => address()]
    };
    let lie = select(
        &[
            Lie::Whole,
            Lie::Whole,
            Lie::File,
            Lie::Half,
            Lie::NoNew,
            Lie::NoTmp,
            Lie::ReadOnly,
            Lie::Dangling,
        ][..],
    );
    (
        proptest::option::of(vec(name(), 0..4)),
        any::<bool>(),
        vec((name(), vec(target(), 1..4)), 0..4),
        proptest::option::of(prop_oneof![name().prop_map(str::to_owned), address()]),
        select(&["+", "-", ""][..]),
        vec((name(), lie), 0..4),
    )
        .prop_map(|(users, any_user, aliases, catch_all, subaddress, lies)| Section {
            users,
            any_user,
            aliases,
            catch_all,
            subaddress,
            lies,
        })
}

fn case() -> impl Strategy<Value = Case> {
    (
        prop_oneof![1 => vec(section(), 1), 4 => vec(section(), 2)],
        proptest::bool::weighted(0.8),
        proptest::option::weighted(0.2, select(&["hub.test:2525", "lost.test:25"][..])),
        proptest::option::weighted(0.5, select(&["192.0.2.77:2626", "hub.test:26"][..])),
        proptest::bool::weighted(0.1),
        select(&ADDRESSES[..]),
        proptest::option::of(address()),
        prop_oneof![12 => address(), 1 => Just("Postmaster".to_owned())],
        proptest::bool::weighted(0.05),
    )
        .prop_map(
            |(sections, networks, smarthost, route, no_spool, client, from, to, is_bounce)| Case {
                sections,
                networks,
                smarthost,
                route,
                no_spool,
                client,
                from,
                to,
                is_bounce,
            },
        )
}

/// The names that DNS knows, each with an address of its own.
#[derive(Clone, Copy, Debug)]
struct Names;

impl Resolver for Names {
    fn lookup(&self, name: &[u8], kind: RecordKind) -> Result<DnsAnswer, DnsError> {
        let mx = |preference, host: &str| Record::Mx(MxHost { preference, host: host.to_owned() });
        let address = |last| Records::Found(vec![Record::Address([192, 0, 2, last].into())]);
        let records = match (kind, name) {
            (_, b"broken.test" | b"lost.test") => {
                let (name, what) = (name.escape_ascii().to_string(), DnsFault::ServFail);
                return Err(DnsError { name, what, servers: String::new() });
            }
            (RecordKind::Mx, b"far.test") => {
                Records::Found(vec![mx(10, "one.test"), mx(20, "two.far.test")])
            }
            (RecordKind::Mx, b"null.test") => Records::Found(vec![mx(0, "")]),
            (RecordKind::A, b"one.test") => address(1),
            (RecordKind::A, b"two.far.test") => address(2),
            (RecordKind::A, b"hub.test") => address(3),
            (_, b"bare.test") => Records::Absent,
            _ => Records::NoName,
        };
        Ok(DnsAnswer { records, secure: false })
    }
}

/// A directory of this test, removed when it is dropped.
struct Place(PathBuf);

impl Place {
    /// In memory where that is possible: a sync takes no time there.
    fn new() -> Place {
        let memory = Path::new("/dev/shm");
        let is_good = nix::unistd::access(memory, nix::unistd::AccessFlags::W_OK).is_ok();
        let above = if is_good { memory.to_owned() } else { std::env::temp_dir() };
        let path = above.join(format!("facteur-route-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Place(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Case {
    /// Writes all files; returns the text of the configuration.
    fn lay(&self, dir: &Path) -> String {
        let mut text = format!("hostname = \"mx.host.test\"\nspool = {:?}\n", dir.join("spool"));
        text.push_str("[trust]\ngateways = [\"0.0.0.0/0\", \"::/0\"]\n"); // nothing is judged
        text.push_str("[listen]\nsmtp = [\"127.0.0.1:25\"]\n[relay]\nretry = [\"1h\"]\n");
        if self.networks {
            text.push_str("networks = [\"127.0.0.0/8\", \"2001:db8::/32\"]\n");
        }
        if let Some(smarthost) = self.smarthost {
            let _ = writeln!(text, "smarthost = {smarthost:?}");
        }
        if let Some(route) = self.route {
            let _ = writeln!(text, "[relay.route]\n\"routed.test\" = {route:?}");
            let _ = writeln!(text, "\".routed.test\" = \"192.0.2.78:25\"");
        }
        if self.no_spool {
            fs::write(dir.join("spool"), "").unwrap();
        }
        for (section, name) in self.sections.iter().zip(DOMAINS) {
            section.lay(dir, name, &mut text);
        }
        text
    }

    fn letter(&self, keys: &SrsKeys) -> Option<TrialMessage> {
        let from = match &self.from {
            None => ReversePath::Null,
            Some(from) => ReversePath::Mailbox(Mailbox::parse(from).ok()?),
        };
        let mut to = match self.to.as_str() {
            "Postmaster" => ForwardPath::Postmaster,
            to => ForwardPath::Mailbox(Mailbox::parse(to).ok()?),
        };
        if self.is_bounce {
            let alias = Domain::parse(DOMAINS[0]).unwrap();
            let days = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() / (24 * 3600);
            to = ForwardPath::Mailbox(keys.rewrite(&from, &alias, |_| false, days).ok()?);
        }
        Some(TrialMessage { client: self.client.parse().unwrap(), from, to })
    }
}

impl Section {
    fn lay(&self, dir: &Path, domain: &str, text: &mut String) {
        let mail = dir.join("mail").join(domain);
        fs::create_dir_all(&mail).unwrap();
        let _ = writeln!(text, "[domain.{domain:?}]\nmaildir = \"{}/{{user}}\"", mail.display());
        let _ = writeln!(text, "any_user = {}\nsubaddress = {:?}", self.any_user, self.subaddress);
        if let Some(users) = &self.users {
            let lines: String =
                users.iter().map(|user| format!("{user}:{{PLAIN}}x:::::\n")).collect();
            let file = dir.join(format!("{domain}.users"));
            fs::write(&file, lines).unwrap();
            let _ = writeln!(text, "users = {file:?}");
        }
        let line =
            |(name, targets): &(&str, Vec<String>)| format!("{name}: {}\n", targets.join(", "));
        let file = dir.join(format!("{domain}.aliases"));
        fs::write(&file, self.aliases.iter().map(line).collect::<String>()).unwrap();
        let _ = writeln!(text, "aliases = {file:?}");
        if let Some(catch_all) = &self.catch_all {
            let _ = writeln!(text, "catch_all = {catch_all:?}");
        }
        for (name, lie) in &self.lies {
            let lower = name.to_ascii_lowercase();
            BTreeSet::from([*name, &lower]).into_iter().for_each(|name| lie.lay(&mail.join(name)));
        }
    }
}

impl Lie {
    fn lay(self, maildir: &Path) {
        if fs::symlink_metadata(maildir).is_ok() {
            return;
        }
        let dirs = |names: &[&str]| {
            names.iter().for_each(|name| fs::create_dir_all(maildir.join(name)).unwrap());
        };
        match self {
            Lie::Whole => dirs(&["tmp", "new", "cur"]),
            Lie::File => fs::write(maildir, "").unwrap(),
            Lie::Half => dirs(&["cur"]),
            Lie::NoNew => {
                dirs(&["tmp", "cur"]);
                fs::write(maildir.join("new"), "").unwrap();
            }
            Lie::NoTmp => {
                dirs(&["new", "cur"]);
                fs::write(maildir.join("tmp"), "").unwrap();
            }
            Lie::ReadOnly => {
                fs::create_dir(maildir).unwrap();
                fs::set_permissions(maildir, fs::Permissions::from_mode(0o555)).unwrap();
            }
            Lie::Dangling => symlink(maildir.join("nowhere"), maildir).unwrap(),
        }
    }
}

/// All files below a directory, with what is in them; links are not followed.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        match fs::symlink_metadata(&path).unwrap() {
            kind if kind.is_dir() => found.extend(files(&path)),
            kind if kind.is_file() => found.push((path.clone(), fs::read(&path).unwrap())),
            _ => {}
        }
    }
    found.sort();
    found
}

/// Mailboxes elsewhere, or here with a late copy, and what becomes of their mail.
type Ends = BTreeMap<String, Ending>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Ending {
    /// It still waits, after these addresses were tried.
    Open(BTreeSet<SocketAddr>),
    /// It has gone back.
    Returned,
}

/// What `route` says about all recipients in the queue.
fn said(site: &Site, taken: &TrialCopies) -> Ends {
    let site = &site.clone().with_resolver(Arc::new(Names));
    let ourselves = Ourselves::of(&site.config);
    let ending = |host| match onward(site, &ourselves, host).2 {
        Onward::Sent(hops) => {
            Ending::Open(hops.into_iter().filter_map(|hop| hop.address.address()).collect())
        }
        Onward::Waits(_) => Ending::Open(BTreeSet::new()),
        Onward::Returned(_) => Ending::Returned,
    };
    let late = || Ending::Open(BTreeSet::new());
    let is_here = |mailbox: &Mailbox| match &mailbox.host {
        crate::mail::address::Host::Domain(domain) => site.domain(domain).is_some(),
        crate::mail::address::Host::Literal(_) => false,
    };
    let queued = taken.queued.iter().map(|to| match is_here(&to.mailbox) {
        true => (to.mailbox.to_string(), late()),
        false => (to.mailbox.to_string(), ending(&to.mailbox.host)),
    });
    queued.collect()
}

/// What a scheduler and its worker do with all recipients in the queue, each tried once; no host answers.
fn done(site: &Arc<Site>, disk: &Arc<dyn Disk>) -> Ends {
    let queue = Queue::new(disk.clone(), &site.config.spool);
    let ids = queue.list().unwrap();
    let [id] = &ids[..] else { panic!("{ids:?}") };
    let entry = queue.read(id).unwrap().entry;
    let office = scheduler::RelayShared {
        disk: disk.clone(),
        queue: queue.clone(),
        writer: Arc::new(Writer::new(disk.clone(), queue.clone(), "test")),
        delivered: bounded(1).0,
        hints: Hints::new(64).0,
        reports: Default::default(),
        seen: Default::default(),
        reporting: Default::default(),
        gates: Default::default(),
    };
    let ourselves = Ourselves::of(&site.config);
    let scripted = Arc::new(Site::clone(site).with_resolver(Arc::new(Names)));
    let setting = Setting { site: scripted, ourselves, broken_tls: Arc::default() };
    let called: Arc<Mutex<BTreeSet<SocketAddr>>> = Arc::default();
    let calls = called.clone();
    let dial = move |endpoint: &Endpoint, _| {
        calls.lock().unwrap().extend(endpoint.address());
        Err(io::ErrorKind::ConnectionRefused.into())
    };
    let mut turns = SteppedScheduler::new(Arc::new(office), Arc::new(setting), Box::new(dial));
    let mut all = BTreeSet::new();
    for _ in 0..50 {
        called.lock().unwrap().clear();
        let Some(turn) = turns.turn() else { break };
        // Notices do not count.
        if turn.id == *id {
            all.append(&mut called.lock().unwrap());
        }
    }
    let open = queue.read(id).map(|waiting| waiting.open().collect::<Vec<_>>()).unwrap_or_default();
    let ending = |index| match open.contains(&index) {
        true => Ending::Open(all.clone()),
        false => Ending::Returned,
    };
    let all = entry.recipients.iter().enumerate();
    all.map(|(index, to)| (to.mailbox.to_string(), ending(index))).collect()
}

/// All hosts that were tried, because one attempt serves several recipients.
fn together(ends: &Ends) -> (BTreeMap<&str, bool>, BTreeSet<SocketAddr>) {
    let mut all = BTreeSet::new();
    let mut is_open = BTreeMap::new();
    for (mailbox, ending) in ends {
        is_open.insert(mailbox.as_str(), matches!(ending, Ending::Open(_)));
        if let Ending::Open(hosts) = ending {
            all.extend(hosts);
        }
    }
    (is_open, all)
}

/// The kind of end of a case, to prove that all kinds were met.
fn kind(outcome: &TrialOutcome, ends: &Ends) -> String {
    match outcome {
        TrialOutcome::Refused(no) => format!("{} {} {}", no.command, no.code, &no.text[..5]),
        TrialOutcome::Taken(TrialCopies { copies, queued }) => {
            let returned = ends.values().any(|end| *end == Ending::Returned);
            let called = ends.values().any(|end| matches!(end, Ending::Open(to) if !to.is_empty()));
            let how = match (queued.is_empty(), returned, called) {
                (true, ..) => "",
                (_, true, _) => "returned",
                (_, _, true) => "called",
                _ => "waits",
            };
            format!("{} {how}", if copies.is_empty() { "no copy" } else { "copies" })
        }
    }
}

#[test]
fn the_last_step_is_what_a_delivery_does() {
    let (place, keys) = (Place::new(), Arc::new(SrsKeys::new(&[7; 32], &[])));
    let (count, kinds) = (RefCell::new(0), RefCell::new(BTreeMap::<String, u32>::new()));
    let config = ProptestConfig {
        cases: CASES,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        max_shrink_iters: 300,
        ..ProptestConfig::default()
    };
    let began = Instant::now();
    let result = TestRunner::new(config).run(&case(), |case| {
        let number = count.replace_with(|count| *count + 1);
        let dir = place.0.join(number.to_string());
        fs::create_dir(&dir).unwrap();
        let config = Config::parse(&case.lay(&dir), &dir.join("facteur.toml"));
        let config = config.map_err(|error| TestCaseError::reject(error.to_string()))?;
        let (site, _) = Site::read_names(config).unwrap();
        let site = Arc::new(site.with_keys(keys.clone()));
        let letter = case.letter(&keys).ok_or_else(|| TestCaseError::reject("no letter"))?;

        let before = files(&dir);
        let told = letter.foresee(&site, true);
        prop_assert_eq!(files(&dir), before, "something was left behind");
        let ends = match &told {
            TrialOutcome::Taken(taken) => said(&site, taken),
            TrialOutcome::Refused(_) => Ends::new(),
        };

        let (disk, spool): (Arc<dyn Disk>, _) = (Arc::new(RealDisk), &site.config.spool);
        let refusal = TrialSession::on(disk.clone(), spool).unwrap().play(&letter, &site);
        let found = outcome(refusal, files(&dir), spool);
        prop_assert_eq!(&told, &found);
        if !ends.is_empty() {
            let found = done(&site, &disk);
            prop_assert_eq!(together(&ends), together(&found));
        }
        *kinds.borrow_mut().entry(kind(&told, &ends)).or_default() += 1;
        fs::remove_dir_all(&dir).unwrap();
        Ok(())
    });
    let kinds = kinds.into_inner();
    eprintln!("{kinds:?} in {:?}", began.elapsed());
    result.unwrap();
    for kind in [
        "RCPT 550 5.1.1",
        "RCPT 550 5.4.6",
        "RCPT 550 5.7.1",
        ". 451 4.3.0",
        "copies ",
        "copies waits",
        "copies called",
        "copies returned",
        "no copy called",
        "no copy waits",
        "no copy returned",
    ] {
        assert!(kinds.get(kind).is_some_and(|count| *count >= 3), "{kind}: {kinds:?}");
    }
}
