use super::*;
use crate::limits::{QUEUE_KNOWN, QUEUE_READ};
use crate::mail::address::{Domain, Host, LocalPart, Mailbox, ReversePath};
use crate::mail::envelope::Sender;
use crate::store::entry::{Addressee, What};
use crate::store::memory::MemoryDisk;
use crate::store::sum::Sum;
use std::time::SystemTime;

const MESSAGE: &str = "Subject: x\n\nbody\n";

/// A queue with one message for two recipients, and what its file holds.
fn queue() -> (MemoryDisk, Queue, String) {
    let disk = MemoryDisk::new();
    let queue = Queue::new(Arc::new(disk.clone()), Path::new("/spool"));
    queue.make().unwrap();
    let sender = Sender::new(ReversePath::Null);
    let to = |text| Addressee {
        mailbox: Mailbox::parse(text).unwrap(),
        notify: None,
        orcpt: None,
        via: None,
    };
    let entry = Entry {
        id: "m1".to_owned(),
        queued: "2026-11-23T14:00:00Z".parse().unwrap(),
        session: String::new(),
        sender,
        is_trusted: false,
        recipients: vec![to("ann@far.test"), to("bob@far.test")],
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
    let text = entry.header() + MESSAGE;
    disk.put(Path::new("/spool/queue/m1"), text.as_bytes(), SystemTime::now());
    (disk, queue, text)
}

fn line(recipient: usize, what: What) -> JournalLine {
    let when = "2026-11-23T14:00:01Z".parse().unwrap();
    JournalLine {
        when,
        recipient,
        what,
        host: "mx.far.test".to_owned(),
        words: "451 later".to_owned(),
    }
}

#[test]
fn what_the_disk_does_not_take_is_not_forgotten() {
    let (disk, queue, _) = queue();
    let claimed = queue.claim("m1").unwrap();
    disk.set_fault(|o| (o.name == "append").then(|| ErrorKind::StorageFull.into()));
    assert!(claimed.record_results(vec![line(0, What::Relayed)]).is_err());
    assert_eq!((claimed.open(), claimed.is_ahead()), (vec![1], true));
    disk.clear_fault();
    assert!(!claimed.record_results(vec![line(1, What::Deferred)]).unwrap());
    assert!(!claimed.is_ahead());
    drop(claimed);
    assert_eq!(queue.read("m1").unwrap().open().collect::<Vec<_>>(), [1]);
    assert!(queue.claim("m1").unwrap().record_results(vec![line(1, What::Relayed)]).unwrap());
}

#[test]
fn a_small_message_is_read_once() {
    let (disk, queue, small) = queue();
    let large = small.clone() + &"x".repeat(QUEUE_KNOWN) + "\n";
    for (text, is_small) in [(small, true), (large, false)] {
        disk.put(Path::new("/spool/queue/m1"), text.as_bytes(), SystemTime::now());
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        disk.set_fault(move |o| {
            counted.fetch_add(usize::from(o.name == "read_at"), Ordering::SeqCst);
            None
        });
        let claimed = queue.claim("m1").unwrap();
        let (part, mut octets) = (claimed.message.entry.message_at, Vec::new());
        for _ in 0..2 {
            octets = claimed.file().read_up_to(part, MESSAGE.len()).unwrap();
        }
        assert_eq!(str::from_utf8(&octets).unwrap(), MESSAGE);
        assert_eq!(count.load(Ordering::SeqCst) == 1, is_small);
        // Past what is known the file is asked, which has grown meanwhile.
        claimed.record(&[line(0, What::Deferred)]).unwrap();
        let grown = claimed.file().read_up_to(text.len() as u64 - 1, 9).unwrap();
        assert_eq!(str::from_utf8(&grown).unwrap(), "\n2026-11-");
        disk.clear_fault();
    }
}

/// Makes the message one that is not read with its header.
fn put_long(disk: &MemoryDisk, queue: &Queue) {
    let message = "x".repeat(2 * QUEUE_READ);
    let (size, sum) = (message.len() as u64, Some(Sum::of(message.as_bytes()).value()));
    let entry = Entry { size, sum, ..queue.read("m1").unwrap().entry };
    rewrite(disk, &(entry.header() + &message));
}

#[test]
fn who_wants_no_octets_of_a_message_reads_its_header() {
    let (disk, queue, _) = queue();
    put_long(&disk, &queue);
    let reads = || disk.operations().iter().filter(|o| o.name == "read_at").count();
    for (is_brief, expected) in [(false, 0), (true, 1)] {
        let claimed = if is_brief { queue.claim_briefly("m1") } else { queue.claim("m1") }.unwrap();
        let before = reads();
        assert_eq!(claimed.file().read_up_to(QUEUE_READ as u64, 9).unwrap(), [b'x'; 9]);
        assert_eq!(reads() - before, expected);
    }
}

/// Or it would never be tried, and so never expire, nor could a command remove it.
#[test]
fn a_message_that_the_disk_cannot_give_back_can_be_claimed() {
    let (disk, queue, _) = queue();
    put_long(&disk, &queue);
    disk.set_bad_from(QUEUE_READ as u64);
    let claimed = queue.claim("m1").unwrap();
    let error = claimed.part(&claimed.path()).verify().unwrap_err();
    assert_ne!(error.source.kind(), ErrorKind::InvalidData, "it would be put aside as damaged");
    assert_eq!(claimed.open(), [0, 1]);
}

#[test]
fn one_server_and_whole_messages() {
    let (disk, queue, _) = queue();
    let held = queue.lock().unwrap();
    assert!(held.is_some() && queue.lock().unwrap().is_none());
    drop(held);
    assert!(queue.lock().unwrap().is_some());
    let mut entry = queue.read("m1").unwrap().entry;
    entry.id = "m2".to_owned();
    let write =
        |file: &dyn DiskFile, path: &Path| file.append(MESSAGE.as_bytes()).doing("write", path);
    disk.set_fault(|o| (o.name == "sync_dir").then(|| io::Error::other("EIO")));
    assert!(queue.insert(&entry, write).is_err());
    disk.clear_fault();
    assert_eq!(queue.list().unwrap(), ["m1"]);
    queue.insert(&entry, write).unwrap();
    assert!(queue.insert(&entry, write).is_err(), "nothing is ever overwritten");
    assert_eq!(queue.list().unwrap(), ["m1", "m2"]);
    let hours = |n: u64| SystemTime::now() + std::time::Duration::from_secs(n * 3600);
    disk.put(Path::new("/spool/tmp/m3"), b"", SystemTime::now());
    queue.clean_tmp(hours(0)).unwrap();
    assert_eq!(disk.list(&queue.tmp()).unwrap().len(), 1);
    queue.clean_tmp(hours(1)).unwrap();
    assert!(disk.list(&queue.tmp()).unwrap().is_empty());
}

#[test]
fn what_could_not_be_read_again_is_not_written() {
    let (disk, queue, _) = queue();
    let mut entry = queue.read("m1").unwrap().entry;
    entry.id = "m2".to_owned();
    // Made of parts, an address can be longer than any path.
    let domain = Domain::parse(&["a"; 4].map(|a| a.repeat(62)).join(".")).unwrap();
    let local = LocalPart::from_plain("ann.smith").unwrap();
    entry.recipients[0].mailbox = Mailbox { local, host: Host::Domain(domain) };
    assert!(queue.insert(&entry, |_, _| Ok(())).is_err());
    assert_eq!(queue.list().unwrap(), ["m1"]);
    assert!(disk.list(&queue.tmp()).unwrap().is_empty());
}

fn rewrite(disk: &MemoryDisk, text: &str) {
    disk.put(Path::new("/spool/queue/m1"), text.as_bytes(), SystemTime::now());
}

#[test]
fn what_is_recorded_is_read_again() {
    let (_, queue, _) = queue();
    assert_eq!(queue.list().unwrap(), ["m1"]);
    let claimed = queue.claim("m1").unwrap();
    assert!(matches!(queue.claim("m1"), Err(QueueError::Busy)));
    assert!(
        !claimed.record_results(vec![line(0, What::Relayed), line(1, What::Deferred)]).unwrap()
    );
    assert!(!claimed.record_results(vec![line(1, What::Deferred)]).unwrap());
    assert_eq!((claimed.open(), claimed.progress(1).attempts), (vec![1], 2));
    drop(claimed);
    let read = queue.read("m1").unwrap();
    assert_eq!((read.open().collect::<Vec<_>>(), read.progress[1].attempts), (vec![1], 2));
    let at = read.entry.message_at;
    let mut octets = vec![0; MESSAGE.len()];
    queue.open("m1").unwrap().read_at(&mut octets, at).unwrap();
    assert_eq!(octets, MESSAGE.as_bytes());
    queue.claim("m1").unwrap().remove().unwrap();
    assert!(matches!(queue.read("m1"), Err(QueueError::Gone)));
    queue.sync_removals().unwrap();
}

#[test]
fn header_and_journal_are_found_wherever_the_first_read_ends() {
    let (disk, queue, text) = queue();
    let journal = format!("{}\n", line(0, What::Relayed));
    let header = text.strip_suffix(MESSAGE).unwrap();
    let size = format!("size: {}\n\n", MESSAGE.len());
    // A long message, then a long header: its end, and the journal's, pass the end of the read.
    for length in QUEUE_READ - 600..QUEUE_READ + 100 {
        let body = "x".repeat(length);
        let long = header.replace(&size, &format!("size: {length}\n\n")) + &body;
        let id = "y".repeat(length);
        let session = text.replace("session: \n", &format!("session: {id}\n"));
        for whole in [long, session] {
            rewrite(&disk, &format!("{whole}{journal}"));
            let read = queue.read("m1").unwrap();
            assert_eq!((read.open().count(), read.journal.len()), (1, 1), "{length}");
            rewrite(&disk, &whole[..whole.len() - 1]);
            assert!(matches!(queue.read("m1"), Err(QueueError::Damaged(_))), "{length}");
        }
    }
}

#[test]
fn a_torn_line_never_happened_and_spoils_no_other() {
    let (disk, queue, text) = queue();
    let whole = format!("{}\n", line(0, What::Relayed));
    for cut in 0..whole.len() {
        rewrite(&disk, &format!("{text}{}", &whole[..cut]));
        assert_eq!(queue.read("m1").unwrap().open().count(), 2, "cut at {cut}");
        queue.claim("m1").unwrap().record(&[line(1, What::Failed)]).unwrap();
        assert_eq!(queue.read("m1").unwrap().open().collect::<Vec<_>>(), [0], "cut at {cut}");
    }
}

#[test]
fn a_line_that_was_not_synced_is_not_taken_for_written() {
    let (disk, queue, _) = queue();
    let claimed = queue.claim("m1").unwrap();
    disk.set_fault(|o| (o.name == "sync").then(|| io::Error::other("EIO")));
    assert!(claimed.record(&[line(0, What::Relayed)]).is_err());
}

#[test]
fn a_file_that_is_no_whole_queue_file_is_put_aside() {
    let (disk, queue, text) = queue();
    for cut in 0..text.len() {
        rewrite(&disk, &text[..cut]);
        assert!(matches!(queue.read("m1"), Err(QueueError::Damaged(_))), "cut at {cut}");
    }
    rewrite(&disk, &text.replace("id: m1", "id: m2"));
    assert!(matches!(queue.claim("m1"), Err(QueueError::Damaged(_))));
    assert_eq!(queue.put_aside("m1".as_ref()).unwrap(), Path::new("/spool/damaged/m1"));
    assert!(queue.list().unwrap().is_empty());
    for id in ["", "..", "../queue/m1", "a/b"] {
        assert!(matches!(queue.read(id), Err(QueueError::Gone)), "{id}");
    }
}

#[test]
fn a_journal_counts_however_long_it_is() {
    let (disk, queue, text) = queue();
    let old = format!("{}\n", JournalLine { words: "x".repeat(2000), ..line(1, What::Deferred) });
    let times = 17 * 1024 * 1024 / old.len();
    let newest = format!("{}\n", line(0, What::Relayed));
    rewrite(&disk, &format!("{text}{}{newest}", old.repeat(times)));
    let read = queue.read("m1").unwrap();
    // What is not read of it would be sent again, and again.
    assert_eq!(read.open().collect::<Vec<_>>(), [1]);
    assert_eq!(read.progress[1].attempts, times);
    assert_eq!(read.journal.last(), Some(&line(0, What::Relayed)));
    assert!(read.journal.len() < times, "all of it in memory");
    // Behind octets without end a line counts no more than behind a torn one.
    let torn = format!("{text}{}{newest}", "0".repeat(3 * 1024 * 1024));
    rewrite(&disk, &torn);
    assert_eq!(queue.read("m1").unwrap().open().count(), 2);
}

#[test]
fn nobody_attempts_what_another_attempts() {
    let (_, queue, _) = queue();
    let claimed = queue.claim("m1").unwrap();
    let first = claimed.take_recipients(|index| index == 1);
    assert_eq!(first.recipients, [1]);
    let second = claimed.take_recipients(|_| true);
    assert_eq!(second.recipients, [0]);
    assert!(claimed.take_recipients(|_| true).recipients.is_empty());
    drop(first);
    assert!(!claimed.record_results(vec![line(0, What::Relayed)]).unwrap());
    drop(second);
    assert_eq!(claimed.take_recipients(|_| true).recipients, [1]);
}

#[test]
fn what_was_noted_is_known_at_once() {
    let (disk, queue, _) = queue();
    let claimed = queue.claim("m1").unwrap();
    claimed.note(&[line(0, What::Announced)]).unwrap();
    disk.set_fault(|o| (o.name == "append").then(|| ErrorKind::StorageFull.into()));
    assert!(claimed.note(&[line(1, What::Announced)]).is_err());
    // Or its sender would be told once more each time.
    assert!(claimed.progress(0).is_announced && claimed.progress(1).is_announced);
}

#[test]
fn what_is_put_aside_replaces_nothing() {
    let (disk, queue, text) = queue();
    let damaged = |name: &str| Path::new("/spool/damaged").join(name);
    // Somebody has taken it back from there, and mended it badly.
    disk.put(&damaged("m1"), b"as it was", SystemTime::now());
    rewrite(&disk, &text[..text.len() - 2]);
    assert_eq!(queue.put_aside("m1".as_ref()).unwrap(), damaged("m1.1"));
    let files: Vec<_> = disk.files().into_iter().filter(|(_, o)| !o.is_empty()).collect();
    let mended = text.as_bytes()[..text.len() - 2].to_vec();
    assert_eq!(files, [(damaged("m1"), b"as it was".to_vec()), (damaged("m1.1"), mended)]);
    assert!(queue.list().unwrap().is_empty());
}

#[test]
fn what_somebody_else_removed_is_gone_as_well() {
    let (disk, queue, _) = queue();
    let claimed = queue.claim("m1").unwrap();
    disk.remove(Path::new("/spool/queue/m1")).unwrap();
    claimed.remove().unwrap();
}

/// The new file under the old name, or the old one whole: nothing between.
#[test]
fn a_message_takes_the_place_of_another() {
    let (disk, queue, text) = queue();
    let old = queue.claim("m1").unwrap();
    let entry = Entry {
        recipients: old.message.entry.recipients[1..].to_vec(),
        ..old.message.entry.clone()
    };
    let other = "Subject: y\n\nbody\n";
    let write =
        |file: &dyn DiskFile, path: &Path| file.append(other.as_bytes()).doing("write", path);
    for step in ["create", "append", "sync", "rename"] {
        disk.set_fault(move |o| (o.name == step).then(|| io::Error::other("EIO")));
        assert!(queue.replace(&old, &entry, write).is_err(), "{step}");
        disk.clear_fault();
        let file = disk.files().into_iter().find(|(path, _)| path.ends_with("queue/m1"));
        assert_eq!(file.unwrap().1, text.as_bytes(), "{step}");
        assert!(disk.list(&queue.tmp()).unwrap().is_empty(), "{step}");
    }
    disk.put(Path::new("/spool/tmp/m1"), b"of a crash", SystemTime::now());
    queue.replace(&old, &entry, write).unwrap();
    drop(old);
    let found = queue.read("m1").unwrap();
    assert_eq!((found.entry.recipients.len(), found.open().count()), (1, 1));
    assert!(disk.list(&queue.tmp()).unwrap().is_empty());
    assert!(queue.claim("m1").is_ok());
}
