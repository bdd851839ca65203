//! Taking in, on a disk in memory: whatever fails at whatever step, a message is neither lost nor doubled.

use super::*;
use crate::config::Config;
use crate::store::memory::MemoryDisk;
use std::io::{self, ErrorKind};

struct Desk {
    disk: MemoryDisk,
    pickup: Pickup,
    heard: Receiver<Hint>,
}

/// Files of root's in the drop directory: on that disk all are.
fn desk(messages: usize) -> Desk {
    let disk = MemoryDisk::new();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let spool = Path::new("/spool");
    let (queue, drops) = (Queue::new(shared.clone(), spool), Drops::new(shared.clone(), spool));
    queue.make().unwrap();
    drops.make().unwrap();
    let text = "hostname = \"mx.test\"\nspool = \"/spool\"\n[domain.\"mx.test\"]\n\
        maildir = \"/mail/{domain}/{user}\"\nany_user = true\n";
    let config = Config::parse(text, Path::new("/facteur.toml")).unwrap();
    let (site, _) = Site::read(config).unwrap();
    let site = Arc::new(site);
    let (hints, heard) = Hints::new(64);
    let pickup = Pickup::new(shared, queue, drops, hints, move || site.clone());
    for _ in 0..messages {
        let id = crate::id::secret(&crate::id::message());
        let now = jiff::Timestamp::now();
        let header = format!(
            "facteur queue 1\nid: {id}\nqueued: {now}\nfrom: <root@mx.test>\n\
             to: <ann@mx.test>\nsize: 8\n\n"
        );
        let path = pickup.drops.dir().join(id);
        disk.put(&path, (header + "X: y\n\nz\n").as_bytes(), SystemTime::now());
    }
    Desk { disk, pickup, heard }
}

impl Desk {
    fn files(&self, dir: &str) -> Vec<String> {
        let files = self.disk.files().into_iter();
        let inside = files.filter(|(path, _)| path.parent() == Some(Path::new(dir)));
        inside.map(|(_, octets)| String::from_utf8(octets).unwrap()).collect()
    }

    fn counts(&self) -> [usize; 3] {
        ["/spool/drop", "/spool/queue", "/spool/tmp"].map(|dir| self.files(dir).len())
    }
}

#[test]
fn what_lies_there_is_taken_in() {
    let mut desk = desk(3);
    desk.pickup.look().unwrap();
    assert_eq!(desk.counts(), [0, 3, 0]);
    let text = desk.files("/spool/queue").remove(0);
    assert!(text.contains("\n\nReceived: by mx.test (from uid 0 root)\n\tid m"), "{text}");
    assert!(text.contains("\ntrusted: yes\n") && text.ends_with("\n\nz\n"), "{text}");
}

/// Its owner may write a dropped file on: what was judged is what is kept, so it is read once.
#[test]
fn a_file_is_not_read_again_once_it_was_judged() {
    let mut desk = desk(3);
    desk.pickup.look().unwrap();
    let operations = desk.disk.operations();
    let is_draft = |path: &Path| path.starts_with("/spool/tmp");
    let drafted = operations.iter().position(|o| o.name == "create" && is_draft(&o.path));
    let read =
        operations.iter().rposition(|o| o.name == "read_at" && o.path.starts_with("/spool/drop"));
    assert!(read.unwrap() < drafted.unwrap(), "{operations:?}");
}

/// One that cannot be read is left alone for a while, as one is that cannot be put aside; the others go.
#[test]
fn a_file_that_makes_trouble_holds_up_no_other() {
    for (step, kind) in [("open", ErrorKind::Other), ("rename", ErrorKind::ResourceBusy)] {
        let mut desk = desk(5);
        let bad = desk.pickup.drops.dir().join(crate::id::secret(&crate::id::message()));
        desk.disk.put(&bad, b"no header", SystemTime::now());
        let its = |path: &Path| path == bad || path.starts_with("/spool/damaged");
        desk.disk.set_fault({
            let bad = bad.clone();
            move |o| {
                let is_its = o.path == bad || o.path.starts_with("/spool/damaged");
                (o.name == step && is_its).then(|| kind.into())
            }
        });
        desk.pickup.look().unwrap();
        assert_eq!(desk.counts(), [1, 5, 0], "{step}");
        let tries =
            || desk.disk.operations().iter().filter(|o| o.name == step && its(&o.path)).count();
        let before = tries();
        desk.pickup.look().unwrap();
        assert_eq!(tries(), before, "it rests");
        desk.disk.clear_fault();
        desk.pickup.backlog.wake();
        desk.pickup.look().unwrap();
        assert_eq!(desk.counts(), [0, 5, 0], "{step}: put aside");
    }
}

/// A lease of its owner is no trouble of the disk.
#[test]
fn a_file_that_another_program_keeps_to_itself_is_put_aside() {
    let mut desk = desk(3);
    let kept = desk.disk.files().remove(0).0;
    desk.disk.set_fault(move |o| {
        (o.name == "open" && o.path == kept).then(|| ErrorKind::WouldBlock.into())
    });
    desk.pickup.look().unwrap();
    assert_eq!(desk.counts(), [0, 2, 0]);
    assert_eq!(desk.files("/spool/damaged").len(), 1);
}

#[test]
fn a_fault_at_any_step_neither_loses_nor_doubles() {
    for messages in [1, 3, 20] {
        for step in 0.. {
            let mut desk = desk(messages);
            let mut count = 0;
            let (done, seen) = crossbeam_channel::bounded(1);
            desk.disk.set_fault(move |_| {
                let hit = count == step;
                count += 1;
                hit.then(|| {
                    let _ = done.try_send(());
                    io::Error::other("fault")
                })
            });
            let _ = desk.pickup.look();
            desk.disk.clear_fault();
            // Nothing has left the queue meanwhile, so what is there twice was taken twice.
            let [dropped, queued, _] = desk.counts();
            assert!(dropped + queued >= messages, "step {step}: {:?}", desk.counts());
            for _ in 0..3 {
                desk.pickup.seen = None;
                desk.pickup.backlog.wake();
                desk.pickup.look().unwrap();
            }
            // A draft's name that could not be removed goes at the next start.
            let [dropped, queued, _] = desk.counts();
            assert_eq!([dropped, queued], [0, messages], "step {step} of {messages}");
            // The scheduler does not look for them by itself.
            assert_eq!(desk.heard.try_iter().count(), messages, "step {step} of {messages}");
            if seen.try_recv().is_err() {
                assert!(step > 15, "{step}");
                break;
            }
        }
    }
}

/// As in a session: who was reached by an alias and is asked for as well hears as the one asked for.
#[test]
fn a_recipient_counts_before_the_alias_that_leads_to_it() {
    let dir = std::env::temp_dir().join(format!("facteur-pickup-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("aliases"), "team: eve@far.test, bob@far.test\n").unwrap();
    let text = "hostname = \"mx.test\"\n[domain.\"mx.test\"]\nmaildir = \"mail/{user}\"\n\
        any_user = true\naliases = \"aliases\"\n";
    let config = Config::parse(text, &dir.join("facteur.toml")).unwrap();
    let (site, _) = Site::read(config).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    for order in [["team@mx.test", "eve@far.test"], ["eve@far.test", "team@mx.test"]] {
        let to = order.map(|to| {
            let mailbox = Mailbox::parse(to).unwrap();
            Addressee { mailbox, notify: None, orcpt: None, via: None }
        });
        let about = (&ReversePath::Null, &Summary::default());
        let resolved = resolve(&site, &MemoryDisk::new(), "s1", &to, about);
        let mut found: Vec<(String, bool)> =
            resolved.to.iter().map(|to| (to.mailbox.to_string(), to.via.is_some())).collect();
        found.sort();
        assert_eq!(found, [("bob@far.test".to_owned(), true), ("eve@far.test".to_owned(), false)]);
    }
}
