use super::*;
use crate::config::Config;
use crate::delivery::Writer;
use crate::handoff::Hints;
use crate::mail::address::{Mailbox, ReversePath};
use crate::mail::envelope::{Sender as From, TlsWish};
use crate::store::entry::Addressee;
use crate::store::memory::MemoryDisk;
use crate::store::queue::Queue;
use crate::store::sum::Sum;
use crossbeam_channel::{bounded, unbounded};
use std::path::Path;
use std::time::SystemTime;

const MESSAGE: &str = "Subject: x\n\nbody\n";

/// A worker, and a queue with one message.
pub struct Place {
    pub disk: MemoryDisk,
    pub queue: Queue,
    pub worker: RelayWorker,
    pub setting: Arc<Setting>,
}

impl Place {
    pub fn new(domain: &str, recipients: &[&str], age: Duration) -> Place {
        let disk = MemoryDisk::new();
        let queue = Queue::new(Arc::new(disk.clone()), Path::new("/spool"));
        queue.make().unwrap();
        let text = format!("hostname = \"mx.test\"\n[domain.\"mx.test\"]\n{domain}");
        let config = Config::parse(&text, Path::new("facteur.toml")).unwrap();
        let (site, bad) = Site::read(config).unwrap();
        assert!(bad.is_empty());
        let to = |text: &&str| Addressee {
            mailbox: Mailbox::parse(text).unwrap(),
            notify: None,
            orcpt: None,
            via: None,
        };
        let (from, []) = ReversePath::parse(b"<eve@far.test>").unwrap() else { panic!() };
        let entry = Entry {
            id: "m1".to_owned(),
            queued: Timestamp::now() - age,
            session: "s1".to_owned(),
            sender: From::new(from),
            is_trusted: true,
            recipients: recipients.iter().map(to).collect(),
            size: MESSAGE.len() as u64,
            sum: None,
            wire: None,
            is_junk: false,
            is_proved: false,
            signature: Default::default(),
            quarantine: None,
            is_unfiltered: false,
            others: Vec::new(),
            message_at: 0,
        };
        let octets = entry.header() + MESSAGE;
        disk.put(Path::new("/spool/queue/m1"), octets.as_bytes(), SystemTime::now());
        let shared = RelayShared {
            disk: Arc::new(disk.clone()),
            queue: queue.clone(),
            writer: Arc::new(Writer::new(Arc::new(disk.clone()), queue.clone(), "mx.test")),
            delivered: bounded(9).0,
            hints: Hints::new(9).0,
            reports: Default::default(),
            seen: Default::default(),
            reporting: Default::default(),
            gates: Default::default(),
        };
        let worker = RelayWorker::new(0, Arc::new(shared), Arc::default());
        Place {
            disk,
            queue,
            worker,
            setting: Arc::new(Setting::new(Arc::new(site), Arc::default())),
        }
    }

    fn job(&self, claimed: &Arc<Claimed>, to: &str, order: Order) -> RelayJob {
        let to = Mailbox::parse(to).unwrap();
        let goal = Goal::of(&self.setting.site, &to, TlsWish::Usual);
        let (claimed, setting) = (claimed.clone(), self.setting.clone());
        RelayJob { id: "m1".into(), goal, order, claimed, setting }
    }

    fn claim(&self) -> Arc<Claimed> {
        Arc::new(self.queue.claim("m1").unwrap())
    }

    /// Copies in all Maildirs.
    fn copies(&self) -> usize {
        let files = self.disk.files();
        files.iter().filter(|(path, _)| path.to_string_lossy().contains("/new/")).count()
    }
}

pub const ANY_USER: &str = "maildir = \"/mail/{user}\"\nany_user = true\n";

#[test]
fn a_full_disk_does_not_make_what_has_expired_due_at_once() {
    // With a long wait between two attempts, so that all nine days count.
    let domain = format!("{ANY_USER}[relay]\nretry = [\"5d\"]\n");
    let mut place = Place::new(&domain, &["ann@away.test"], Duration::from_secs(9 * 86_400));
    let order = held(Timestamp::now());
    let job = place.job(&place.claim(), "ann@away.test", order);
    place.disk.set_fault(|o| (o.name == "create").then(|| ErrorKind::StorageFull.into()));
    let report = place.worker.work(&job, &mut Vec::new());
    let soon = retry::later(Timestamp::now(), Duration::from_secs(30));
    assert!(report.due.unwrap() > soon, "tried again and again, and at the next hop too");
    assert_eq!(job.claimed.open(), [0]);
    place.disk.clear_fault();
    let report = place.worker.work(&job, &mut Vec::new());
    assert_eq!((report.is_gone, report.notices.len()), (true, 1));
}

/// The goal is left alone, and was tried at that time.
fn held(tried: Timestamp) -> Order {
    let until = retry::later(Timestamp::now(), Duration::from_secs(60));
    Order::Hold { until, because: "it was down".to_owned(), tried }
}

/// A message expires also while its next hop is left alone, but only when the hop was tried after its time
/// was over.
#[test]
fn nothing_expires_without_an_attempt() {
    let domain = format!("{ANY_USER}[relay]\nretry = [\"5d\"]\n");
    let now = Timestamp::now();
    let day = Duration::from_secs(86_400);
    // Tried after its time, before it, and by a wrong clock.
    for (tried, is_asked) in [(now - 3 * day, false), (now - 5 * day, true), (now + day, true)] {
        let mut place = Place::new(&domain, &["ann@mx.test"], 9 * day);
        let job = place.job(&place.claim(), "ann@mx.test", held(tried));
        let report = place.worker.work(&job, &mut Vec::new());
        assert!(report.is_gone);
        assert_eq!((place.copies() == 1, report.notices.is_empty()), (is_asked, is_asked));
    }
}

/// A server that did not run for a week, or a clock that is ten years ahead for a moment.
#[test]
fn time_without_attempts_does_not_count() {
    for age in [Duration::from_secs(7 * 86_400), Duration::from_secs(3650 * 86_400)] {
        // Nothing listens there.
        let domain = format!("{ANY_USER}[relay]\nsmarthost = \"127.0.0.1:1\"\n");
        let mut place = Place::new(&domain, &["ann@away.test"], age);
        for attempt in 1..4 {
            let job = place.job(&place.claim(), "ann@away.test", Order::Attempt);
            let report = place.worker.work(&job, &mut Vec::new());
            assert_eq!((report.is_gone, report.notices.len()), (false, 0), "attempt {attempt}");
            assert_eq!(job.claimed.progress(0).attempts, attempt);
            let left = report.expires.duration_since(Timestamp::now()).as_hours();
            assert!(left > 4 * 24, "{left} hours after {age:?}");
        }
    }
}

#[test]
fn what_the_disk_did_not_take_is_written_as_soon_as_it_can_be() {
    let mut place = Place::new(ANY_USER, &["ann@mx.test", "bob@away.test"], Duration::ZERO);
    let job = place.job(&place.claim(), "ann@mx.test", Order::Attempt);
    let full = |o: &crate::store::memory::Operation| o.name == "append" && o.path.ends_with("m1");
    place.disk.set_fault(move |o| full(o).then(|| ErrorKind::StorageFull.into()));
    let report = place.worker.work(&job, &mut Vec::new());
    assert_eq!(place.copies(), 1);
    assert!(report.due.is_some(), "nobody would write it down");
    place.disk.clear_fault();
    let report = place.worker.work(&job, &mut Vec::new());
    assert_eq!((report.due, place.copies()), (None, 1));
    // As after a kill.
    assert_eq!(place.queue.read("m1").unwrap().open().collect::<Vec<_>>(), [1]);
}

#[test]
fn no_recipient_is_attempted_by_two_at_once() {
    let mut place = Place::new(ANY_USER, &["ann@mx.test", "bob@away.test"], Duration::ZERO);
    let claimed = place.claim();
    // It went another way before a reload, and is still under way there.
    let elsewhere = claimed.take_recipients(|index| index == 0);
    let job = place.job(&claimed, "ann@mx.test", Order::Attempt);
    let report = place.worker.work(&job, &mut Vec::new());
    assert_eq!((report.is_astray, report.due, place.copies()), (true, None, 0));
    drop(elsewhere);
    place.worker.work(&job, &mut Vec::new());
    assert_eq!(place.copies(), 1);
}

/// To close it takes time, and the scheduler is to wait for no disk.
#[test]
fn a_file_that_another_worker_removed_is_not_given_to_the_scheduler_to_close() {
    for is_removed in [false, true] {
        let place = Place::new(ANY_USER, &["ann@away.test"], Duration::ZERO);
        let claimed = place.claim();
        let job = place.job(&claimed, "ann@away.test", held(Timestamp::now()));
        if is_removed {
            claimed.remove().unwrap();
        }
        let (jobs, given) = unbounded();
        let (sender, reports) = unbounded();
        jobs.send(job).unwrap();
        drop(jobs);
        place.worker.run(&given, &sender);
        let report = reports.try_recv().unwrap();
        assert_eq!((report.is_gone, report.claimed.is_none()), (false, is_removed));
    }
}

#[test]
fn an_alias_of_its_own_name_is_not_sent_on_for_ever() {
    let aliases = std::env::temp_dir().join(format!("facteur-{}", crate::id::message()));
    std::fs::write(&aliases, "postmaster: postmaster, bob@away.test\n").unwrap();
    let domain = format!("maildir = \"/mail/{{user}}\"\naliases = {aliases:?}\n");
    let mut place = Place::new(&domain, &["postmaster@mx.test"], Duration::ZERO);
    std::fs::remove_file(&aliases).unwrap();
    let job = place.job(&place.claim(), "postmaster@mx.test", Order::Attempt);
    let report = place.worker.work(&job, &mut Vec::new());
    assert!(report.is_gone);
    assert_eq!((place.copies(), place.queue.list().unwrap().len()), (1, 0));
}

/// A disk may lose a page without an error: the damaged message is not sent, and is put aside.
#[test]
fn a_message_that_is_not_what_was_taken_is_put_aside() {
    let domain = format!("{ANY_USER}[relay]\nretry = [\"5d\"]\n");
    let days = |days: u64| Duration::from_secs(days * 86_400);
    for (to, order, age) in [
        ("ann@mx.test", Order::Attempt, days(0)),
        ("ann@away.test", Order::Attempt, days(0)),
        ("ann@away.test", held(Timestamp::now() - days(3)), days(9)),
    ] {
        let mut place = Place::new(&domain, &[to], age);
        let path = Path::new("/spool/queue/m1");
        let sum = Some(Sum::of(MESSAGE.as_bytes()).value());
        let entry = Entry { sum, ..place.queue.read("m1").unwrap().entry };
        let damaged = entry.header() + &MESSAGE.replace("body", "\0\0\0\0");
        place.disk.put(path, damaged.as_bytes(), SystemTime::now());
        let job = place.job(&place.claim(), to, order);
        let report = place.worker.work(&job, &mut Vec::new());
        assert!(report.is_gone && report.notices.is_empty());
        let files = place.disk.files();
        assert_eq!(files, [("/spool/damaged/m1".into(), damaged.into_bytes())], "{to}");
        // Another worker with the same message finds that too.
        assert!(place.worker.work(&job, &mut Vec::new()).is_gone);
    }
}
