//! A queue file as it lies there after whatever happened to it: it reads as a model reads it, or is
//! damaged; what is appended to it counts, and nothing that was torn.

#[allow(dead_code, clippy::duplicate_mod, reason = "other tests have it too, and use more of it")]
#[path = "../../tests/it/memory.rs"]
mod memory;

use facteur::mail::address::Mailbox;
use facteur::store::disk::Disk;
use facteur::store::entry::{Entry, JournalLine, RecipientProgress, What};
use facteur::store::queue::Queue;
use memory::MemoryDisk;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

pub fn run(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        text.lines().for_each(line);
    }
    let Some(end) = data.windows(2).position(|two| two == b"\n\n") else { return };
    let Ok(header) = str::from_utf8(&data[..end + 1]) else { return };
    let Ok(entry) = Entry::parse(header, end as u64 + 2) else { return };
    again(&entry, header);
    in_the_queue(&entry, data);
}

/// A journal line means the same when it is written again.
fn line(text: &str) {
    let Some(line) = JournalLine::parse(text) else { return };
    let written = line.to_string();
    assert!(!written.contains('\n'), "{written:?}");
    let read = JournalLine::parse(&written).unwrap_or_else(|| panic!("{written:?} of {text:?}"));
    assert_eq!((read.recipient, read.what, &read.words), (line.recipient, line.what, &line.words));
    // Less than a thousandth of a second is not kept.
    assert_eq!(JournalLine::parse(&read.to_string()), Some(read));
}

fn again(entry: &Entry, header: &str) {
    let written = entry.header();
    let read = |text: &str| Entry::parse(&text[..text.len() - 1], entry.message_at);
    let again = read(&written).unwrap_or_else(|why| panic!("{why}: {written}"));
    assert_eq!(read(&again.header()).as_ref(), Ok(&again));
    // A line end of another system is dropped from behind what it ends, once.
    if !header.contains('\r') {
        let queued = again.queued;
        assert_eq!(again, Entry { queued, ..entry.clone() }, "{written}");
    }
    for recipient in &entry.recipients {
        // What stands in a header or a reply is one line.
        let shown = |mailbox: &Mailbox| assert!(!mailbox.to_string().contains(char::is_control));
        shown(&recipient.mailbox);
        recipient.via.iter().for_each(shown);
    }
}

fn in_the_queue(entry: &Entry, data: &[u8]) {
    let disk = MemoryDisk::new();
    let queue = Queue::new(Arc::new(disk.clone()) as Arc<dyn Disk>, Path::new("/spool"));
    if !facteur::id::is_id(&entry.id) {
        assert!(queue.read(&entry.id).is_err() && queue.claim(&entry.id).is_err());
        return;
    }
    disk.put(&queue.dir().join(&entry.id), data, SystemTime::UNIX_EPOCH);
    let Some(journal) = data.get((entry.message_at + entry.size).min(u64::MAX / 2) as usize..)
    else {
        assert!(queue.read(&entry.id).is_err(), "its end is missing");
        return;
    };
    let Ok(waiting) = queue.read(&entry.id) else { panic!("it is whole") };
    assert_eq!(&waiting.entry, entry);
    let expected = progress(entry.recipients.len(), journal);
    assert_eq!(waiting.progress, expected);

    // Who appends spoils what was torn, and says something that counts.
    let Ok(claimed) = queue.claim(&entry.id) else { panic!("nobody has it") };
    assert_eq!(claimed.open(), waiting.open().collect::<Vec<_>>());
    let failed = JournalLine {
        when: "2026-11-23T14:00:01.200Z".parse().unwrap(),
        recipient: entry.recipients.len() - 1,
        what: What::Failed,
        host: "mx.far.test".to_owned(),
        words: "550 5.1.1 nobody".to_owned(),
    };
    assert!(claimed.record(std::slice::from_ref(&failed)).is_ok());
    drop(claimed);
    let Ok(now) = queue.read(&entry.id) else { panic!("it was whole") };
    let mut expected = expected;
    expected[failed.recipient].apply(&failed);
    assert_eq!(now.progress, expected);
}

/// Each whole line that says something counts, in order.
fn progress(recipients: usize, journal: &[u8]) -> Vec<RecipientProgress> {
    let mut progress = vec![RecipientProgress::default(); recipients];
    let whole = journal.split_inclusive(|&octet| octet == b'\n');
    for line in whole.filter_map(|line| line.strip_suffix(b"\n")) {
        let Some(line) = str::from_utf8(line).ok().and_then(JournalLine::parse) else { continue };
        if let Some(progress) = progress.get_mut(line.recipient) {
            progress.apply(&line);
        }
    }
    progress
}
